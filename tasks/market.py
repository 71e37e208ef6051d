"""The built-in task "market": the shop in plain English, for a real pretrained model.

    question   On Monday Ann buys 2 bags of rice and 1 jar of honey at the market.
               How much does Ann pay in dollars?
    route      A bag of rice costs 13 dollars, so 2 bags cost 26 dollars.
               A jar of honey costs 7 dollars, so 1 jar costs 7 dollars.
               Altogether that is 26 + 7 = 33 dollars.

It is the same idea as in shop.py. The four prices of this market are secret: no prompt states them,
and the student must learn them from routes that are wrong somewhere. The sums are small enough for
a model of 135M parameters, and half of the questions ask for one item only, so that a short run
with few completions can learn the prices. Such a model does not know the format yet: warmup.py
makes a cold start that teaches the format and no price.

Buyers and days are decoration. So it is the order that must be new in a test question: an order of
a test question is in no training question, in whatever sequence, on whatever day.

Promise: gold answers follow the true prices, every rule is true, a guess is rarely right, and no
two splits share an order.
To read: work_out, then problems and teacher.
tests/test_market.py holds this file to that.
"""
import random
import re

from realm import Problem
from tasks import in_split, price_teacher

LOWEST, HIGHEST = 2, 20  # dollars
# The true prices are secret. They are chosen so that every total is rare among all orders, and so
# that an order of one or two items never comes to the right total by last year's price of an item.
PRICES = {"bag of rice": 19, "jar of honey": 9, "bottle of oil": 13, "basket of plums": 17}
LAST_YEAR = {"bag of rice": 13, "jar of honey": 2, "bottle of oil": 8, "basket of plums": 3}
MOST_OF_AN_ITEM = 5
PLURAL = {"bag": "bags", "jar": "jars", "bottle": "bottles",
          "basket": "baskets", "box": "boxes", "can": "cans"}
SINGULAR = {plural: singular for singular, plural in PLURAL.items()}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NAMES = ["Ann", "Ben", "Carl", "Dora", "Emma", "Fred", "Grace", "Hugo", "Ida", "Jack", "Kate",
         "Leo", "Mary", "Nick", "Olga", "Paul", "Rosa", "Sam", "Tina", "Walter"]
SIZES = {"train": 400, "validation": 300, "test": 300, "ood": 300, "all": 1000}
MOST = {"train": 5000, "validation": 400, "test": 400, "ood": 5000}  # so many can be found


def counted(quantity, item):
    """The words for so many of an item.

    >>> counted(1, "box of tea"), counted(2, "box of tea")
    ('1 box of tea', '2 boxes of tea')
    """
    container, _, ware = item.partition(" of ")
    return f"{quantity} {container if quantity == 1 else PLURAL[container]} of {ware}"


def ask(order, name, day):
    """The question about an order. order: a list of (quantity, item)."""
    *others, last = [counted(quantity, item) for quantity, item in order]
    bought = f"{', '.join(others)} and {last}" if others else last
    return f"On {day} {name} buys {bought} at the market. How much does {name} pay in dollars?"


def read_order(question):
    """The order of a question: a list of (quantity, item).

    >>> read_order(ask([(2, "box of tea"), (1, "jar of honey")], "Ann", "Monday"))
    [(2, 'box of tea'), (1, 'jar of honey')]
    """
    order = []
    for quantity, container, ware in re.findall(r"(\d) (\w+) of (\w+)", question):
        order.append((int(quantity), f"{SINGULAR.get(container, container)} of {ware}"))
    return order


def work_out(order, prices):
    """Work an order out under a price list -> (reasoning, total).

    >>> reasoning, total = work_out([(1, "can of soup"), (2, "box of tea")],
    ...                             {"can of soup": 3, "box of tea": 4})
    >>> print(reasoning.replace(". ", ".\\n"))
    A can of soup costs 3 dollars, so 1 can costs 3 dollars.
    A box of tea costs 4 dollars, so 2 boxes cost 8 dollars.
    Altogether that is 3 + 8 = 11 dollars.
    """
    sentences, amounts = [], []
    for quantity, item in order:
        amount = quantity * prices[item]
        containers, _, _ = counted(quantity, item).partition(" of ")  # "2 boxes"
        cost = "costs" if quantity == 1 else "cost"
        sentences.append(f"A {item} costs {prices[item]} dollars, "
                         f"so {containers} {cost} {amount} dollars.")
        amounts.append(amount)
    total = sum(amounts)
    if len(amounts) > 1:
        terms = " + ".join(str(amount) for amount in amounts)
        sentences.append(f"Altogether that is {terms} = {total} dollars.")
    return " ".join(sentences), total


def rule(item):
    """What an expert says of an item."""
    return f"A {item} costs {PRICES[item]} dollars."


def new_order(rng, n_items, items):
    """A random order of n_items different items: a list of (quantity, item)."""
    chosen = rng.sample(items, n_items)
    return [(rng.randint(1, MOST_OF_AN_ITEM), item) for item in chosen]


def order_in_words(order):
    """An order in words that do not depend on the sequence of its items."""
    return " and ".join(counted(quantity, item) for quantity, item in sorted(order))


def problems(split, limit):
    """Questions about one or two items; in the split "ood", about three.

    A hash of the order decides the split, whatever the sequence of its items. A hash of the
    question must agree, so that a bank made of these questions is split in the same way. Raises
    ValueError if the market has fewer questions than `limit`.
    """
    if limit > MOST[split]:
        raise ValueError(f"{limit} questions asked for: the market has only {MOST[split]} "
                         f"different questions for the split {split}")
    rng = random.Random(f"market {split}")
    found = {}
    while len(found) < limit:
        n_items = 3 if split == "ood" else rng.choice([1, 2])
        order = new_order(rng, n_items, list(PRICES))
        question = ask(order, rng.choice(NAMES), rng.choice(DAYS))
        if in_split(order_in_words(order), split) and in_split(question, split):
            _, total = work_out(order, PRICES)
            rules = [rule(item) for _, item in order]
            found[question] = Problem(question, str(total), [], rules)
    return list(found.values())


def other_price(rng, price):
    """A random price that is not this one."""
    return rng.choice([other for other in range(LOWEST, HIGHEST + 1) if other != price])


def teacher(error=0.65, systematic=0.5, seed=0):
    """The simulated teacher of `tasks.price_teacher`. A slip is never the true price."""
    def slip(rng, item):
        return other_price(rng, PRICES[item])

    return price_teacher(PRICES, LAST_YEAR, slip, read_order, work_out, error, systematic, seed)
