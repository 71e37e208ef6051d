"""What does a student know, and what has training broken? `python -m results.knows RUN_OR_MODEL...`

A wrong answer in the shop may come from a wrong price, or from wrong sums with right prices. The
closing table cannot tell them apart. Here 100 validation orders are answered greedily, and each
line of the reasoning is checked by itself:

    names     share of the lines that name the item of the order
    prices    share of the lines whose price is the true price of the order's item
    unseen    the same, of the items whose true price no shown route states
    products  share of the products that follow from the stated price and quantity
    sums      share of the running sums that follow from the sum before and the stated product
    totals    share of the answers whose total and discount follow from the last sum
    right     share of right final answers

The base knows no price, but it calculates well. RL first damages its sums and repairs them later.
Only the final answer is paid, so a student may call an item by another item's name. What a student
knows may be tied to prompts with routes: then it has many of "unseen" with them, and few without.

Promise: a wrong number is counted once, where it arises, and not again where it is used.
tests/test_variants.py holds this file to that.
"""
import random
import re
from collections import Counter

from data import load_problems, make_routes
from engine.answers import answers_match
from grpo import load_policy, sample
from realm import choose_routes, mrpv_prompt, parse_response
from results.command import measure_runs
from tasks.shop import price_lists, read_order, teacher

LINE = re.compile(r"([a-z]+) @(\d+) x (\d) = (\d+) sum (\d+);")
TOTAL = re.compile(r"total (\d+)(?: - 10 = (\d+))?\.")
PARTS = ("names", "prices", "unseen", "products", "sums", "totals", "right")


def shown_prices(routes):
    """item -> the prices that the routes state for it.

    >>> from realm import Route
    >>> shown_prices([Route("tea @40 x 2 = 80 sum 80; total 80.", "80", True),
    ...               Route("tea @45 x 2 = 90 sum 90; total 90.", "90", False)])
    {'tea': [40, 45]}
    """
    found = {}
    for route in routes:
        for item, price, *_ in LINE.findall(route.text):
            found.setdefault(item, []).append(int(price))
    return found


def check(reasoning, order, prices, routes=()):
    """Check a solution of the shop -> (right, seen), two Counters over the parts. routes: those
    that the prompt showed.

    >>> right, seen = check("tea @40 x 2 = 80 sum 80; oil @30 x 2 = 60 sum 150; total 150 - 10 = "
    ...                     "140.", [(3, "tea"), (2, "jam")], {"tea": 40, "jam": 30})
    >>> [f"{part} {right[part]}/{seen[part]}" for part in PARTS[:6]]
    ['names 1/2', 'prices 2/2', 'unseen 2/2', 'products 2/2', 'sums 1/2', 'totals 1/1']
    """
    right, seen = Counter(), Counter()
    shown = shown_prices(routes)
    before = 0
    for (name, *numbers), (_, item) in zip(LINE.findall(reasoning), order):
        price, quantity, product, total = map(int, numbers)
        right["names"] += name == item
        right["prices"] += price == prices[item]
        right["products"] += product == price * quantity
        right["sums"] += total == before + product
        if prices[item] not in shown.get(item, ()):
            right["unseen"] += price == prices[item]
            seen["unseen"] += 1
        seen.update(("names", "prices", "products", "sums"))
        before = total
    seen["totals"] += 1
    found = TOTAL.search(reasoning)
    if found:
        total, discounted = int(found[1]), found[2]
        expected = str(before - 10) if before >= 100 else None
        right["totals"] += total == before and discounted == expected
    return right, seen


def measure(model, tokenizer, asked, k):
    """The shares of a student that sees k routes of each problem -> dict."""
    prices, _ = price_lists()
    shown = []
    for problem in asked:
        rng = random.Random(problem.question)
        shown.append(choose_routes(problem.routes, k, rng) if k else [])
    prompts = [mrpv_prompt(problem.question, routes) for problem, routes in zip(asked, shown)]
    texts = sample(model, tokenizer, prompts, 1, 128, temperature=0.0).texts
    right, seen = Counter(), Counter()
    for problem, routes, text in zip(asked, shown, texts):
        response = parse_response(text)
        order = read_order(problem.question)
        found, looked_at = check(response.reasoning or "", order, prices, routes)
        found["right"] += answers_match(response.answer, problem.answer)
        looked_at["right"] += 1
        right.update(found)
        seen.update(looked_at)
    return {part: right[part] / max(1, seen[part]) for part in PARTS}


def main(students):
    asked = make_routes(load_problems("shop", "validation", 100), teacher(), n=8)
    print(f"| student | routes | {' | '.join(PARTS)} |")
    print("|---" * (2 + len(PARTS)) + "|")
    for name in students:
        model, tokenizer = load_policy(name, "cpu")
        for k in (0, 3):
            shares = measure(model, tokenizer, asked, k).values()
            print(f"| {name} | {k} | {' | '.join(f'{share:.2f}' for share in shares)} |")


if __name__ == "__main__":
    measure_runs("knows", __doc__, main, default="tiny")
