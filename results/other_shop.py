"""A bank of another shop: `python -m results.other_shop --items 10 --facts 2 --out bank.jsonl`.

The built-in shop sells six items, and an order has two or three. Here both numbers are free, so
that a rule found on the shop can be tested where it was not found (results/open_questions.md, O2).
Items and prices are those of tasks/shop.py, so that its tiny student speaks the language.

Promise: the same flags give the same bank, and labels follow the true prices.
tests/test_variants.py holds this file to that.
"""
import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path

from realm import Problem, Route
from tasks import price_teacher
from tasks.shop import HIGHEST, ITEMS, LOWEST, new_order, price_lists, read_order, work_out


def other_shop(items, facts, known, n, limit, seed=0):
    """`limit` problems with n routes each: orders of `facts` of the first `items` items."""
    prices, last_year = price_lists()

    def slip(rng, item):
        return rng.randint(LOWEST, HIGHEST)

    teach = price_teacher(prices, last_year, slip, read_order, work_out, 1 - known, 0.5, seed)
    rng = random.Random(f"another shop {items} {facts}")
    found = {}
    for _ in range(20 * limit):  # a small shop has fewer different orders than `limit`
        if len(found) == limit:
            break
        question = new_order(rng, facts, ITEMS[:items])
        _, total = work_out(read_order(question), prices)
        found[question] = Problem(question, str(total))
    problems = list(found.values())
    texts = teach(problems, [[False] * n] * len(problems))
    for problem, written in zip(problems, texts):
        for text in written:
            answer = text.split()[-1].rstrip(".")
            problem.routes.append(Route(text, answer, answer == problem.answer))
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6, help="items the shop sells, at most 16")
    parser.add_argument("--facts", type=int, default=3, help="items of an order")
    parser.add_argument("--known", type=float, default=0.35, help="q, how often the teacher knows "
                        "a price")
    parser.add_argument("--n", type=int, default=8, help="routes of a question")
    parser.add_argument("--limit", type=int, default=1000, help="questions at most")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not 1 <= args.facts <= args.items <= len(ITEMS):
        parser.error(f"--facts must be at most --items, and --items at most {len(ITEMS)}")
    problems = other_shop(args.items, args.facts, args.known, args.n, args.limit)
    lines = [json.dumps(asdict(problem)) for problem in problems]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")
    print(f"{len(problems)} questions: {args.out}")


if __name__ == "__main__":
    main()
