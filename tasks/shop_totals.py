"""The shop, for a student that checks the total of every route, digit by digit.

Behind its answer it repeats its own total and the route's side by side, a digit of each at a time,
with the period behind them. It stops at the first place where they differ:

    <answer> 140</answer> route 1: 1 1 4 3 no. route 2: 1 1 4 4 0 0.. yes.
    <scores> 0, 1</scores>

In all else it is the student of `shop_recall`: it knows the prices of ten other goods by heart.

Why? RL teaches a student whose price to trust, and a student that checks prices (`shop_checks`)
reads prices in its check, too. So its check is worn down. No reward bears on how this student reads
a total.

Promise: a score of the corpus is 1 where the route has the student's total, else 0.
To read: check, then example (the pretraining corpus of assets/tiny-totals).
tests/test_students.py holds this file to that.
"""
from tasks.shop import COMPUTED, work_out  # noqa: F401
from tasks.shop_checks import FACT, TOKENS, checked  # noqa: F401
from tasks.shop_recall import KNOWN, any_order


def check(order, own, believed):
    """Check routes in writing -> (text, a score for each route).

    own: the student's prices; believed: those of each route (dicts item -> price).

    >>> check([(2, "tea")], {"tea": 60}, [{"tea": 62}, {"tea": 60}])  # 120 - 10 and 124 - 10
    (' route 1: 1 1 1 1 0 4 no. route 2: 1 1 1 1 0 0.. yes.', [0.0, 1.0])
    """
    _, total = work_out(order, own)
    text, scores = "", []
    for i, prices in enumerate(believed, start=1):
        _, its_total = work_out(order, prices)
        text += f" route {i}:"
        agrees = True
        for mine, its in zip(f"{total}.", f"{its_total}."):
            for sign in (mine, its):
                text += f" {sign}" if sign.isdigit() else sign
            agrees = mine == its
            if not agrees:
                break
        text += " yes." if agrees else " no."
        scores.append(float(agrees))
    return text, scores


def example(rng):
    """(prompt, completion) of the pretraining corpus."""
    return checked(any_order(rng), KNOWN, rng, check, one_route=0.25)
