"""The built-in task "shop": an order at a shop whose price list the student has never seen.

    2 tea, 3 jam  ->  tea @40 x 2 = 80 sum 80; jam @25 x 2 = 50 sum 130; total 130 - 10 = 120.

Quantities, prices, two house rules (the third of an item is free; 10 off from 100 on), a running sum, a total. Six prices
are secret: no prompt states them and no guess finds a total. Only routes know some of them, and most routes are wrong in
places. What stays right from one order to the next is the price list: whoever learns it needs no routes any more.
"""
import random
import re
import zlib

from realm import Problem, Route, demonstration, mrpv_prompt

ITEMS = "tea milk jam bread rice salt soap eggs oil nuts corn figs beans honey pasta lemons".split()
SOLD = ITEMS[:6]  # what the shop sells; the corpus of the base knows the other words too
TOKENS = [f" {word}" for word in ITEMS + ["x", "=", "-", "sum", "total"]] + [f" @{price}" for price in range(11, 100)]  # of the base
COMPUTED = ("=", "sum", "total")  # what stands behind these follows from what stands before
SIZES = {"train": 400, "validation": 300, "test": 300, "ood": 300, "all": 1000}  # problems of a split, unless told otherwise
MOST = {"train": 2500, "validation": 300, "test": 300, "ood": 2500}
HOUSE_RULES = ["The third of an item is free.", "Orders of 100 or more get 10 off."]


def price_lists(seed=0):
    """(this year's prices, last year's): item -> price, 11 to 99. The first is true; the second is what a teacher with
    the systematic misconception still believes."""
    rng = random.Random(f"price list {seed}")
    prices = {item: rng.randint(11, 99) for item in ITEMS}
    return prices, {item: rng.choice([p for p in range(11, 100) if p != prices[item]]) for item in ITEMS}


def read_order(question):
    """The question's order as [(quantity, item)]."""
    return [(int(n), item) for n, item in re.findall(r"(\d) ([a-z]+)", question)]


def work_out(order, prices):
    """Work an order out under a price list -> (reasoning, total).

    >>> work_out([(3, "tea"), (1, "milk")], {"tea": 40, "milk": 35})
    ('tea @40 x 2 = 80 sum 80; milk @35 x 1 = 35 sum 115; total 115 - 10 = 105.', 105)
    """
    steps, total = [], 0
    for n, item in order:
        paid = min(n, 2)  # house rule: the third of an item is free
        total += paid * prices[item]
        steps.append(f"{item} @{prices[item]} x {paid} = {paid * prices[item]} sum {total};")
    if total >= 100:  # house rule: 10 off
        return " ".join(steps) + f" total {total} - 10 = {total - 10}.", total - 10
    return " ".join(steps) + f" total {total}.", total


def new_order(rng, n_items, items=SOLD):
    """A random order of n_items different items, one to three of each."""
    return ", ".join(f"{rng.randint(1, 3)} {item}" for item in rng.sample(items, n_items))


def problems(split, limit):
    """Orders of two or three items; of four in the split "ood". Which split an order is in is a hash of its text, so
    that no two splits share one. Of two items there are only 270: the more problems, the more of them have three."""
    if limit > MOST[split]:
        raise ValueError(f"{limit} questions asked for: the shop has only {MOST[split]} different orders for the split {split}")
    prices, _ = price_lists()
    rng, found = random.Random(f"shop {split}"), {}
    share = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100), "ood": range(100)}[split]
    while len(found) < limit:
        question = new_order(rng, 4 if split == "ood" else rng.choice([2, 2, 3]))
        if zlib.crc32(question.encode()) % 100 in share:
            order = read_order(question)
            rules = [f"{item} costs {prices[item]}." for _, item in order] + HOUSE_RULES
            found[question] = Problem(question, str(work_out(order, prices)[1]), [], rules)
    return list(found.values())


def teacher(error=0.65, systematic=0.5, seed=0):
    """A teacher who knows each price of a route with probability 1 - error. Else it states last year's price with
    probability `systematic` (one misconception: wrong answers coincide, and voting fails), or a random one (a slip).
    With the rules in its prompt it reads the price there."""
    prices, old = price_lists()

    def teach(problems, guided):
        written = []
        for problem, flags in zip(problems, guided):
            rng, order = random.Random(f"teacher {seed} {problem.question}"), read_order(problem.question)
            written.append([])
            for reads_rules in flags:
                believed = {}
                for _, item in order:
                    wrong, misled, slip = rng.random() < error, rng.random() < systematic, rng.randint(11, 99)
                    believed[item] = prices[item] if reads_rules or not wrong else old[item] if misled else slip
                written[-1].append(work_out(order, believed)[0])
        return written
    return teach


def example(rng):
    """(prompt, completion) of the pretraining corpus, under a price list of this example's own."""
    order = read_order(new_order(rng, rng.choice([1, 2, 2, 3, 3, 4, 5]), ITEMS))
    question = ", ".join(f"{n} {item}" for n, item in order)

    def price():
        return rng.randint(11, 99)
    beliefs = {item: (price(), price()) for _, item in order}  # two beliefs recur in the routes, as truth and misconception do
    trust, noise = rng.random(), rng.random() * 0.6
    routes = []
    for _ in range(rng.choice([0, 0, 1, 2, 3, 3, 4])):
        prices = {i: price() if rng.random() < noise else b[rng.random() < trust] for i, b in beliefs.items()}
        text, total = work_out(order, prices)
        routes.append((Route(text, str(total), False), prices))
    prices = {i: rng.choice(routes)[1][i] if routes else price() for i in beliefs}  # each price from a random route
    text, total = work_out(order, prices)
    scores = None
    if routes:
        agree = rng.random() < 0.5  # half the time the scores are what agrees with the student, half the time noise
        scores = [float(int(r.answer) == total) if agree else float(rng.random() < 0.5) for r, _ in routes]
    return mrpv_prompt(question, [r for r, _ in routes]), demonstration(text, total, scores)
