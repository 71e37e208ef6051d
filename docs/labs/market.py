"""A domain of one's own: the orders of a market stall, with rules and a simulated teacher (lab 5).

    python -m docs.labs.market --q 0.5 --out market.jsonl

It writes a bank of 200 questions, each with its rules and three routes, and an exam of 300 others.
The stall sells six things at prices that nobody told the student. A bank is plain JSONL. This file
needs nothing of the project but the arithmetic of an order.
"""
import argparse
import json
import random
from pathlib import Path

from data import BUILT_IN

shop = BUILT_IN["shop"]
PRICES = {"nuts": 37, "corn": 14, "figs": 52, "beans": 23, "honey": 88, "pasta": 41}
LAST_YEAR = {"nuts": 31, "corn": 19, "figs": 45, "beans": 28, "honey": 79, "pasta": 36}


def questions(n, rng, taken=()):
    """n different orders of two or three things, none of those taken."""
    found = []
    while len(found) < n:
        order = shop.new_order(rng, rng.choice([2, 3]), list(PRICES))
        if order not in found and order not in taken:
            found.append(order)
    return found


def rules_of(question):
    """What an expert would say of this order: a price for each thing in it, and the house rules."""
    prices = [f"{item} costs {PRICES[item]}." for _, item in shop.read_order(question)]
    return prices + shop.HOUSE_RULES


def write_route(question, rules, rng, error=0.8):
    """A route of the teacher. With the rules in its prompt it reads the prices there.

    Without them it knows a price one time in five. Else it states last year's, or any.
    """
    believed = {}
    for _, item in shop.read_order(question):
        if rules or rng.random() >= error:
            believed[item] = PRICES[item]
        else:
            believed[item] = rng.choice([LAST_YEAR[item], rng.randint(11, 99)])
    text, total = shop.work_out(shop.read_order(question), believed)
    return {"text": text, "answer": str(total), "guided": bool(rules)}


def line(question, n, q, rng):
    """One line of a bank: a question with n routes, each of which is guided with probability q."""
    answer = shop.work_out(shop.read_order(question), PRICES)[1]
    rules = rules_of(question)
    routes = [write_route(question, rules if rng.random() < q else [], rng) for _ in range(n)]
    return {"question": question, "answer": str(answer), "routes": routes, "rules": rules}


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--q", type=float, default=0.0, help="probability that a route is guided")
    parser.add_argument("--n", type=int, default=3, help="routes of a question")
    parser.add_argument("--out", default="market.jsonl", help="the bank")
    parser.add_argument("--exam", default="exam/test.jsonl", help="300 other questions")
    args = parser.parse_args()
    if not (0 <= args.q <= 1 and args.n >= 1):
        parser.error("--q must lie in [0, 1], and --n be at least 1")
    if Path(args.out).resolve() == Path(args.exam).resolve():
        parser.error("--out and --exam are the same file")
    rng = random.Random("market")
    bank = questions(200, rng)
    exam = questions(300, rng, taken=bank)
    for path, some, n, q in ((args.out, bank, args.n, args.q), (args.exam, exam, 3, 0.0)):
        lines = [line(question, n, q, random.Random(f"teacher {question}")) for question in some]
        try:
            Path(path).parent.mkdir(exist_ok=True)
            with open(path, "w") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in lines)
        except OSError as error:
            parser.error(f"{path}: {error.strerror}")
        right = sum(r["answer"] == entry["answer"] for entry in lines for r in entry["routes"])
        print(f"{path}: {len(lines)} questions, {right} of {n * len(lines)} routes have the right "
              "answer")


if __name__ == "__main__":
    main()
