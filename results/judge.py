"""What does a student judge routes by? python -m results.judge RUN...

A score can be right in two ways: the student compares a route's answer with its own, or it sees by itself that the route is wrong.
Two things tell them apart. Its reasoning and answer are *written for it*: worked out under the true prices, under last year's, under
random ones; if it compares, it then scores the right routes low, because its own answer is another. And some routes come to
the right answer by wrong prices that cancel out: their label is "right", and a student that compares agrees.
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


@torch.no_grad()
def judged(model, tokenizer, problems, prices, k=3):
    """[(logit of "1" over "0", label, are all prices of the route right?)] of k routes of each problem, half of them labelled right.
    The student's own solution is the one that follows from `prices`; a score is read behind the true labels of the routes before it."""
    one, zero, begin = (tokenizer.convert_tokens_to_ids(t) for t in (" 1", " 0", "\n<scores>"))
    true, found = shop.price_lists()[0], []
    for problem in problems:
        routes = choose_routes(problem.routes, k, random.Random(problem.question), selection="balanced")
        reasoning, answer = shop.work_out(shop.read_order(problem.question), prices)
        completion = demonstration(reasoning, answer, [float(r.correct) for r in routes])
        ids = tokenizer(mrpv_prompt(problem.question, routes) + completion)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0]
        places = [i for i in range(ids.index(begin), len(ids)) if ids[i] in (one, zero)]
        for i, route in zip(places, routes, strict=True):
            sound = all(true[item] == int(price) for item, price in re.findall(r"([a-z]+) @(\d+)", route.text))
            found.append(((logits[i - 1, one] - logits[i - 1, zero]).item(), route.correct, sound))
    return found


def main(runs):
    prices, old = shop.price_lists()
    problems = make_routes(shop.problems("test", 300), shop.teacher(), n=16)
    problems = [p for p in problems if any(r.correct for r in p.routes)]
    rng = random.Random(0)
    own = {"true prices": prices, "last year's": old, "random ones": {item: rng.randint(11, 99) for item in prices}}
    print(f"{len(problems)} test questions; routes scored 1: right ones, those right by luck (prices that cancel out), wrong ones")
    print(f"{'own solution by':<18}{'AUC, labels':>14}{'AUC, prices':>14}{'right':>10}{'lucky':>10}{'wrong':>10}")
    for run in runs:
        print(run)
        for name, known in own.items():
            scores, labels, sound = zip(*judged(*load_policy(run), problems, known))
            kinds = [(True, True), (True, False), (False, False)]
            shares = [[s > 0 for s, *kind in zip(scores, labels, sound) if tuple(kind) == wanted] for wanted in kinds]
            if name == "true prices":
                print("routes of each kind: " + ", ".join(str(len(x)) for x in shares))
            print(f"{name:<18}{auc(scores, labels):>14.3f}{auc(scores, sound):>14.3f}" + "".join(f"{sum(x) / len(x):>10.2f}" for x in shares))


if __name__ == "__main__":
    measure_runs("judge", __doc__, main)
