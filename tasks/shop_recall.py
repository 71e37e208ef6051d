"""The shop, for a student that checks every route in writing and knows some prices by heart.

It checks as `shop_checks` says. In its corpus the ten goods that this shop does not sell cost the
same in every example. So this student knows their prices, and trusts them more than any route. The
prices of what the shop sells are random in each example, as for the other students.

Why? To the other students no price is worth remembering: each example of their corpus has another
price list. They only know how to copy. A real model comes with things that it knows by heart. One
that is used to recall learns new prices so that it can recall them without routes, too.

Promise: the corpus tells nothing about a price of the shop.
To read: example (the pretraining corpus of assets/tiny-recall).
tests/test_students.py holds this file to that.
"""
import random

from tasks import shop
from tasks.shop import COMPUTED, HIGHEST, ITEMS, LOWEST, SOLD  # noqa: F401
from tasks.shop_checks import FACT, TOKENS, checked  # noqa: F401

KNOWN = {item: random.Random(f"known {item}").randint(LOWEST, HIGHEST)
         for item in ITEMS if item not in SOLD}


def example(rng):
    """(prompt, completion) of the pretraining corpus."""
    return checked(any_order(rng), KNOWN, rng)


def any_order(rng):
    """An order. Half of them have only what the shop sells."""
    n_items = rng.choice([1, 2, 2, 3, 3, 3, 4, 5])
    goods = ITEMS if rng.random() < 0.5 else SOLD
    return shop.read_order(shop.new_order(rng, n_items, goods))
