"""The built-in task "shop": orders at a shop whose price list the student has never seen.

    question   2 tea, 3 jam
    route      tea @40 x 2 = 80 sum 80; jam @25 x 2 = 50 sum 130; total 130 - 10 = 120.

A route states the price of each item, multiplies, and keeps a running sum. There are two house
rules: the third of an item is free, and an order of 100 or more gets 10 off. The student was
pretrained on such orders, each under a random price list of its own. It is fluent in everything
but the six prices of this shop. No prompt states them and no guess finds a total. Only the routes
know some of them, and most routes are wrong somewhere. What stays right from order to order is the
price list. A student that has learnt it needs no routes any more.

Promise: the gold answer of an order is what its true prices give, and every expert rule is true.
To read: work_out first, then teacher (who knows which price) and example (the pretraining corpus).
tests/test_data.py holds this file to that.
"""
import random
import re

from realm import Problem, Route, demonstration, mrpv_prompt
from tasks import corpus_scores, in_split, price_teacher

ITEMS = ["tea", "milk", "jam", "bread", "rice", "salt", "soap", "eggs",
         "oil", "nuts", "corn", "figs", "beans", "honey", "pasta", "lemons"]
SOLD = ITEMS[:6]  # what this shop sells; the pretraining corpus uses all items
LOWEST, HIGHEST = 11, 99  # prices
HOUSE_RULES = ["The third of an item is free.", "Orders of 100 or more get 10 off."]
SIZES = {"train": 400, "validation": 300, "test": 300, "ood": 300, "all": 1000}
MOST = {"train": 2500, "validation": 300, "test": 300, "ood": 2500}  # so many can be found

# For tasks/make_students.py: the tokens of the tiny tokenizer. Behind a token in COMPUTED stands a
# number that the text before it determines.
WORDS = [*ITEMS, "x", "=", "-", "sum", "total"]
TOKENS = [f" {word}" for word in WORDS] + [f" @{price}" for price in range(LOWEST, HIGHEST + 1)]
COMPUTED = ("=", "sum", "total")


def price_lists(seed=0):
    """(this year's prices, last year's prices), each a dict item -> price.

    This year's prices are the true ones. A teacher with the misconception still believes last
    year's.
    """
    rng = random.Random(f"price list {seed}")
    prices = {item: rng.randint(LOWEST, HIGHEST) for item in ITEMS}
    old = {}
    for item in ITEMS:
        others = [price for price in range(LOWEST, HIGHEST + 1) if price != prices[item]]
        old[item] = rng.choice(others)
    return prices, old


def read_order(question):
    """The question's order: a list of (quantity, item).

    >>> read_order("2 tea, 3 jam")
    [(2, 'tea'), (3, 'jam')]
    """
    return [(int(quantity), item) for quantity, item in re.findall(r"(\d) ([a-z]+)", question)]


def work_out(order, prices):
    """Work an order out under a price list -> (reasoning, total).

    >>> work_out([(3, "tea"), (1, "milk")], {"tea": 40, "milk": 35})
    ('tea @40 x 2 = 80 sum 80; milk @35 x 1 = 35 sum 115; total 115 - 10 = 105.', 105)
    """
    steps, total = [], 0
    for quantity, item in order:
        price = prices[item]
        paid = min(quantity, 2)  # house rule: the third of an item is free
        total += paid * price
        steps.append(f"{item} @{price} x {paid} = {paid * price} sum {total};")
    if total >= 100:  # house rule: 10 off
        steps.append(f"total {total} - 10 = {total - 10}.")
        return " ".join(steps), total - 10
    steps.append(f"total {total}.")
    return " ".join(steps), total


def new_order(rng, n_items, items=SOLD):
    """A random order of n_items different items, one to three of each, as text."""
    chosen = rng.sample(items, n_items)
    return ", ".join(f"{rng.randint(1, 3)} {item}" for item in chosen)


def problems(split, limit):
    """Orders of two or three items; in the split "ood", of four.

    Only 270 different orders have two items. The more problems are asked for, the more of them have
    three. Raises ValueError if the shop has fewer orders than `limit`.
    """
    if limit > MOST[split]:
        raise ValueError(f"{limit} questions asked for: the shop has only {MOST[split]} "
                         f"different orders for the split {split}")
    prices, _ = price_lists()
    rng = random.Random(f"shop {split}")
    found = {}
    while len(found) < limit:
        n_items = 4 if split == "ood" else rng.choice([2, 2, 3])
        question = new_order(rng, n_items)
        if in_split(question, split):
            order = read_order(question)
            _, total = work_out(order, prices)
            rules = [f"{item} costs {prices[item]}." for _, item in order] + HOUSE_RULES
            found[question] = Problem(question, str(total), [], rules)
    return list(found.values())


def teacher(error=0.65, systematic=0.5, seed=0):
    """The simulated teacher of `tasks.price_teacher`. A slip may be any price, the true one too."""
    prices, old = price_lists()

    def slip(rng, item):
        return rng.randint(LOWEST, HIGHEST)

    return price_teacher(prices, old, slip, read_order, work_out, error, systematic, seed)


def example(rng):
    """(prompt, completion) of the pretraining corpus, under a price list of this example's own.

    The student takes each price from a random route: it learns to copy, and not from whom.
    """
    order = read_order(new_order(rng, rng.choice([1, 2, 2, 3, 3, 4, 5]), ITEMS))
    routes, believed = routes_of_beliefs(order, [0, 0, 1, 2, 3, 3, 4], rng)
    text, total = work_out(order, own_prices(order, believed, rng))
    scores = corpus_scores(routes, str(total), rng)
    return mrpv_prompt(question_of(order), routes), demonstration(text, total, scores)


def question_of(order):
    """An order as it is asked."""
    return ", ".join(f"{quantity} {item}" for quantity, item in order)


def routes_of_beliefs(order, how_many, rng, known=None):
    """Routes of a corpus example -> (routes, the prices of each as a dict).

    Two beliefs about each price recur in them, as the truth and the misconception do in the task.
    how_many: the numbers of routes to choose from. known: prices that are the same in all examples
    (a dict), and the first belief about these items.
    """
    beliefs = {item: (random_price(rng), random_price(rng)) for _, item in order}
    for item, price in (known or {}).items():
        if item in beliefs:
            beliefs[item] = price, beliefs[item][1]
    second_share = rng.random()  # how often a route holds the second belief
    noise = rng.random() * 0.6  # how often it holds neither
    routes, believed = [], []
    for _ in range(rng.choice(how_many)):
        prices = {}
        for item, (first, second) in beliefs.items():
            if rng.random() < noise:
                prices[item] = random_price(rng)
            else:
                prices[item] = second if rng.random() < second_share else first
        text, total = work_out(order, prices)
        routes.append(Route(text, str(total), False))
        believed.append(prices)
    return routes, believed


def own_prices(order, believed, rng):
    """The student's prices in a corpus example: each from a random route, or random without any."""
    prices = {}
    for _, item in order:
        prices[item] = rng.choice(believed)[item] if believed else random_price(rng)
    return prices


def random_price(rng):
    """Any price."""
    return rng.randint(LOWEST, HIGHEST)
