"""What does a student judge routes by? python -m results.judge RUN...

A score can be right in two ways: the student compares a route's answer with its own, or it knows by itself that the route is wrong.
Here its reasoning and answer are *written for it*: worked out under the true prices, under last year's, under random ones. If it
compares, it then scores the true routes low, because its own answer is another; if it knows, nothing changes.
"""
import random
import sys

import torch

from assets import shop
from data import make_routes
from eval import auc
from grpo import load_policy
from realm import choose_routes, demonstration, mrpv_prompt


@torch.no_grad()
def judged(model, tokenizer, problems, prices, k=3):
    """The student's logits of "1" over "0" for k routes of each problem, half of them right, and the labels: two lists. Its own
    solution is the one that follows from `prices`; each score is read behind true labels of the routes before it."""
    one, zero, begin = (tokenizer.convert_tokens_to_ids(t) for t in (" 1", " 0", "\n<scores>"))
    found, labels = [], []
    for problem in problems:
        routes = choose_routes(problem.routes, k, random.Random(problem.question), selection="balanced")
        reasoning, answer = shop.work_out(shop.read_order(problem.question), prices)
        completion = demonstration(reasoning, answer, [float(r.correct) for r in routes])
        ids = tokenizer(mrpv_prompt(problem.question, routes) + completion)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0]
        places = [i for i in range(ids.index(begin), len(ids)) if ids[i] in (one, zero)]
        found += [(logits[i - 1, one] - logits[i - 1, zero]).item() for i in places]
        labels += [r.correct for r in routes]
    return found, labels


def main(runs):
    prices, old = shop.price_lists()
    problems = make_routes(shop.problems("test", 300), shop.teacher(), n=16)
    problems = [p for p in problems if any(r.correct for r in p.routes)]
    rng = random.Random(0)
    own = {"true prices": prices, "last year's": old, "random ones": {item: rng.randint(11, 99) for item in prices}}
    print(f"{len(problems)} test questions\n{'own solution by':<18}{'AUC':>8}{'right routes scored 1':>24}{'wrong routes scored 1':>24}")
    for run in runs:
        print(run)
        for name, known in own.items():
            found, labels = judged(*load_policy(run), problems, known)
            share = [sum(s > 0 for s, l in zip(found, labels) if l == kind) / labels.count(kind) for kind in (True, False)]
            print(f"{name:<18}{auc(found, labels):>8.3f}{share[0]:>24.2f}{share[1]:>24.2f}")


if __name__ == "__main__":
    main(sys.argv[1:]) if sys.argv[1:] else sys.exit(__doc__)
