"""The shop, for a student that checks every route in writing before it scores it.

Behind its answer it goes through the routes, item by item. It repeats its own price and the route's
side by side, and stops at the first item where they differ:

    <answer> 140</answer> route 1: tea @40 @40 jam @25 @31 no. route 2: tea @40 @40 jam @25 @25 yes.
    <scores> 0, 1</scores>

Why? A model of 0.2M parameters cannot compare two totals that are far apart, so its scores stay a
constant. It can compare two prices side by side. This student can tell from the start which routes
agree with it. It knows no price, so agreement says little until RL has taught it some. With three
routes its completions have up to 100 tokens: train.py needs `--max-new-tokens 128`.

Promise: a score of the corpus is 1 where the route has the student's price of every item, else 0.
To read: check, then example (the pretraining corpus of assets/tiny-checks).
tests/test_students.py holds this file to that.
"""
from realm import demonstration, mrpv_prompt
from tasks import shop
from tasks.shop import COMPUTED, own_prices, question_of, routes_of_beliefs, work_out  # noqa: F401

NUMBERED = range(1, 9)  # routes that have tokens of their own
TOKENS = [*shop.TOKENS, *(f"\nRoute {i}:" for i in NUMBERED), *(f" route {i}:" for i in NUMBERED),
          " yes.", " no."]
FACT = " @"  # a token of a prompt that begins so is random, and not a lesson


def check(order, own, believed):
    """Check routes in writing -> (text, a score for each route).

    own: the student's prices; believed: those of each route (dicts item -> price).

    >>> check([(2, "tea"), (3, "jam")], {"tea": 40, "jam": 25}, [{"tea": 55, "jam": 25}])
    (' route 1: tea @40 @55 no.', [0.0])
    """
    text, scores = "", []
    for i, prices in enumerate(believed, start=1):
        text += f" route {i}:"
        agrees = True
        for _, item in order:
            text += f" {item} @{own[item]} @{prices[item]}"
            agrees = own[item] == prices[item]
            if not agrees:
                break
        text += " yes." if agrees else " no."
        scores.append(float(agrees))
    return text, scores


def example(rng):
    """(prompt, completion) of the pretraining corpus, under a price list of this example's own.

    The student takes each price from a random route, as in the shop's own corpus. In some examples
    it takes all from one route, so that both verdicts are frequent.
    """
    n_items = rng.choice([1, 2, 2, 3, 3, 3, 4, 5])
    return checked(shop.read_order(shop.new_order(rng, n_items, shop.ITEMS)), {}, rng)


def checked(order, known, rng, check=check, one_route=0.15):
    """An example with this order. known: prices that the student knows by heart (a dict). It takes
    them whatever the routes say. check: how it checks. one_route: how often it takes all prices
    from one route."""
    routes, believed = routes_of_beliefs(order, [0, 0, 1, 2, 3, 3, 4, 6], rng, known)
    of_one_route = believed and rng.random() < one_route
    own = own_prices(order, [rng.choice(believed)] if of_one_route else believed, rng)
    own.update({item: price for item, price in known.items() if item in own})
    text, total = work_out(order, own)
    checks, scores = check(order, own, believed)
    completion = demonstration(text, total, scores or None)
    completion = completion.replace("\n<scores>", f"{checks}\n<scores>")  # behind the answer
    return mrpv_prompt(question_of(order), routes), completion
