"""What does a student judge routes by? `python -m results.judge RUN...`

A score can be right in two ways. The student may compare a route's answer with its own answer. Or
it may see by itself that the route is wrong. Two tests tell these ways apart.

First, the student's reasoning and answer are *written for it*. They follow the true prices, last
year's prices or random prices. If the student compares, it then scores the right routes low,
because its own answer is another one.

Second, some routes are lucky: their prices are wrong, but the errors cancel out, and the answer is
right. The label of a lucky route is "right". A student that compares agrees with this label.
"""
import random
import re

import torch

from tasks import shop
from data import make_routes
from eval import auc
from grpo import load_policy
from realm import choose_routes, demonstration, mrpv_prompt
from results.command import measure_runs

# The kinds of routes: (is the label "right"?, are all prices right?).
KINDS = {"right": (True, True), "lucky": (True, False), "wrong": (False, False)}


@torch.no_grad()
def judged(model, tokenizer, problems, prices, k=3):
    """The scores of k routes of each problem -> [(logit of "1" over "0", label, sound)].

    A route is sound if all its prices are right. Half of the routes are labelled right, if the
    problem has enough of them. The student's own solution is the one that follows from `prices`. A
    score is read behind the true labels of the routes before it.
    """
    one, zero, begin = (tokenizer.convert_tokens_to_ids(t) for t in (" 1", " 0", "\n<scores>"))
    true = shop.price_lists()[0]
    found = []
    for problem in problems:
        rng = random.Random(problem.question)
        routes = choose_routes(problem.routes, k, rng, selection="balanced")
        reasoning, answer = shop.work_out(shop.read_order(problem.question), prices)
        labels = [float(route.correct) for route in routes]
        completion = demonstration(reasoning, answer, labels)
        ids = tokenizer(mrpv_prompt(problem.question, routes) + completion)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0]
        places = [i for i in range(ids.index(begin), len(ids)) if ids[i] in (one, zero)]
        for i, route in zip(places, routes, strict=True):
            logit = (logits[i - 1, one] - logits[i - 1, zero]).item()
            found.append((logit, route.correct, is_sound(route, true)))
    return found


def is_sound(route, true):
    """Are all prices of a route the true ones?"""
    prices = re.findall(r"([a-z]+) @(\d+)", route.text)
    return all(true[item] == int(price) for item, price in prices)


def by_kind(found):
    """For each kind of routes, whether each route was scored 1 -> a list of lists of bools."""
    kinds = []
    for wanted in KINDS.values():
        kinds.append([logit > 0 for logit, label, sound in found if (label, sound) == wanted])
    return kinds


def print_line(name, found):
    """Print one line of the table. name: whose prices the student's own solution follows."""
    logits, labels, sound = zip(*found)
    line = f"{name:<18}{auc(logits, labels):>14.3f}{auc(logits, sound):>14.3f}"
    for scored_1 in by_kind(found):
        line += f"{sum(scored_1) / len(scored_1):>10.2f}"
    print(line)


def main(runs):
    prices, old = shop.price_lists()
    problems = make_routes(shop.problems("test", 300), shop.teacher(), n=16)
    problems = [p for p in problems if any(route.correct for route in p.routes)]
    rng = random.Random(0)
    own = {
        "true prices": prices,
        "last year's": old,
        "random ones": {item: rng.randint(11, 99) for item in prices},
    }
    print(f"{len(problems)} test questions; routes scored 1: right ones, "
          "those right by luck (prices that cancel out), wrong ones")
    head = f"{'own solution by':<18}{'AUC, labels':>14}{'AUC, prices':>14}"
    print(head + "".join(f"{kind:>10}" for kind in KINDS))
    for run in runs:
        print(run)
        model, tokenizer = load_policy(run)
        for name, known in own.items():
            found = judged(model, tokenizer, problems, known)
            if name == "true prices":
                counts = ", ".join(str(len(routes)) for routes in by_kind(found))
                print(f"routes of each kind: {counts}")
            print_line(name, found)


if __name__ == "__main__":
    measure_runs("judge", __doc__, main)
