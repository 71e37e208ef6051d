"""A cold start for the market. It teaches the format, the sums and the reading of routes; no price.

    python -m tasks.warmup --n 1000 --out warmup.jsonl
    python train.py --model MODEL --bank warmup.jsonl --method realm-r1 --steps 0 --out runs/warm
    python train.py --model runs/warm --task market

A real pretrained model does not write <think>, <answer> and <scores> by itself. RL from it would
never see a reward. This bank holds questions like those of market.py, each with one right route and
several that may be wrong. SFT on it makes the model fluent with routes and without.

Nothing about the market's prices can be learnt from it. The market sells none of these items, and
every question has a random price list of its own. Two beliefs about each price recur in the routes,
as the truth and the misconception do at the market. The price that counts as true comes from a
random route. So the model learns to copy each price from some route, and not from which. It learns
to give a high score to the routes that agree with its own answer. Without routes it learns to state
some price.

Promise: no item of the market occurs, and the prices of an item do not depend on the item.
To read: taught_problem.
tests/test_market.py holds this file to that.
"""
import argparse
import dataclasses
import json
import random
from pathlib import Path

from engine.flags import refuse_out
from realm import Problem, Route
from tasks import market

ITEMS = ["bag of flour", "bag of nuts", "bag of salt", "jar of jam", "jar of olives",
         "jar of mustard", "bottle of milk", "bottle of juice", "bottle of vinegar",
         "basket of apples", "basket of figs", "basket of pears", "box of eggs", "box of matches",
         "box of cookies", "can of beans", "can of corn", "can of peas"]
MIXED_ROUTES = 3  # routes of a question besides the right one


def random_price(rng):
    """A price, whatever the item."""
    return rng.randint(market.LOWEST, market.HIGHEST)


def mixed_prices(beliefs, noise, rng):
    """The prices of one route. beliefs: item -> two prices. noise: how often it is neither."""
    prices = {}
    for item, pair in beliefs.items():
        prices[item] = random_price(rng) if rng.random() < noise else rng.choice(pair)
    return prices


def taught_problem(rng):
    """One problem with its routes, under a price list of its own. At least one route is wrong."""
    order = market.new_order(rng, rng.choice([1, 1, 2, 2, 3]), ITEMS)
    name, day = rng.choice(market.NAMES), rng.choice(market.DAYS)
    question = market.ask(order, name, day)
    while True:
        beliefs = {item: (random_price(rng), random_price(rng)) for _, item in order}
        noise = rng.random() * 0.6
        mixed = [mixed_prices(beliefs, noise, rng) for _ in range(MIXED_ROUTES)]
        true_prices = {item: rng.choice(mixed)[item] for item in beliefs}
        _, answer = market.work_out(order, true_prices)
        routes = []
        for prices in [true_prices, *mixed]:
            text, total = market.work_out(order, prices)
            routes.append(Route(text, str(total), total == answer))
        if not all(route.correct for route in routes):
            rng.shuffle(routes)
            return Problem(question, str(answer), routes)


def bank(n, seed=0):
    """n different problems, each with at least one right and one wrong route."""
    rng = random.Random(f"warm-up {seed}")
    found = {}
    while len(found) < n:
        problem = taught_problem(rng)
        found.setdefault(problem.question, problem)
    return list(found.values())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="questions (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other questions")
    parser.add_argument("--out", default="warmup.jsonl", help="the bank (default: warmup.jsonl)")
    args = parser.parse_args(argv)
    if args.n < 1:
        parser.error(f"--n must be at least 1, not {args.n}")
    try:
        refuse_out("--out", args.out)
    except ValueError as error:
        parser.error(str(error))
    problems = bank(args.n, args.seed)
    text = "".join(json.dumps(dataclasses.asdict(problem)) + "\n" for problem in problems)
    out = Path(args.out)
    if out.exists() and out.read_bytes() not in (b"", text.encode()):
        parser.error(f"--out {out}: holds something else already; name another file")
    out.write_text(text, encoding="utf-8")
    print(f"{args.n} questions with {1 + MIXED_ROUTES} routes each: {args.out}")


if __name__ == "__main__":
    main()
