"""Does a student know which price is whose? `python -m results.whose_price RUN_OR_MODEL...`

A student may know an item's price. Or it may only know which prices occur in this shop. Or it may
know what a wrong price stands for: the simulated teachers often state last year's price, and who
has seen that it is wrong and what is right can translate it, without a look at the item.

We ask for the price of the first item of 100 validation orders, and look at the probability of the
next token: of the item's *own* price, of *another's* (the mean of the prices of the five other
items that the shop sells), and of *no one's* (the mean of all other prices). All three routes of a
prompt agree, and no prompt holds a true price:

    no routes           nothing tells the student a price
    random prices       each item has a price that is no one's, this year and last year
    own last year's     each item has its own price of last year
    another's           each item has last year's price of another item

"Translated" is the probability of this year's price of the item whose last year's price is stated.
A student that recalls has "own" in every row. One that translates has "translated".

Promise: no prompt holds a price of the shop.
To read: stated_prices, then ask. tests/test_variants.py holds this file to that.
"""
import random
from statistics import mean

import torch

from data import load_problems
from grpo import load_policy
from realm import mrpv_prompt
from results.command import measure_runs
from tasks.shop import HIGHEST, LOWEST, SOLD, price_lists, read_order, work_out

PRICES, LAST_YEAR = ({item: prices[item] for item in SOLD} for prices in price_lists())
ALL = range(LOWEST, HIGHEST + 1)
NO_ONES = [price for price in ALL if price not in [*PRICES.values(), *LAST_YEAR.values()]]
ROUTES = ("no routes", "random prices", "own last year's", "another's")
COLUMNS = ("own", "translated", "another's", "no one's")


def stated_prices(order, stated, rng):
    """The routes' prices for an order -> (a dict item -> price, the item that the first price is
    last year's of, or None). stated: one of ROUTES."""
    first = order[0][1]
    if stated == "random prices":
        return {item: rng.choice(NO_ONES) for _, item in order}, None
    if stated == "own last year's":
        return {item: LAST_YEAR[item] for _, item in order}, first
    others = {item: rng.choice([other for other in SOLD if other != item]) for _, item in order}
    return {item: LAST_YEAR[other] for item, other in others.items()}, others[first]


@torch.no_grad()
def ask(model, tokenizer, stated, n_orders=100, seed=0):
    """Means over the orders -> a dict over COLUMNS; None where the column says nothing."""
    rng = random.Random(seed)
    found = {column: [] for column in COLUMNS}
    tokens = tokenizer.convert_tokens_to_ids([f" @{price}" for price in ALL])
    for problem in load_problems("shop", "validation", n_orders):
        order = read_order(problem.question)
        routes, meant = [], None
        if stated != "no routes":
            prices, meant = stated_prices(order, stated, rng)
            routes = [work_out(order, prices)[0]] * 3
        text = f"{mrpv_prompt(problem.question, routes)}<think> {order[0][1]}"
        logits = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1]
        of_price = dict(zip(ALL, logits.softmax(-1)[tokens].tolist()))
        own = PRICES[order[0][1]]
        found["own"].append(of_price[own])
        found["another's"].append(mean(of_price[p] for p in PRICES.values() if p != own))
        found["no one's"].append(mean(of_price[p] for p in NO_ONES))
        if meant:
            found["translated"].append(of_price[PRICES[meant]])
    return {column: mean(values) if values else None for column, values in found.items()}


def main(students):
    print(f"| student | routes state | {' | '.join(COLUMNS)} |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for name in students:
        model, tokenizer = load_policy(name, "cpu")
        for stated in ROUTES:
            shares = ask(model, tokenizer, stated).values()
            cells = ["-" if share is None else f"{share:.3f}" for share in shares]
            print(f"| {name} | {stated} | {' | '.join(cells)} |")


if __name__ == "__main__":
    measure_runs("whose_price", __doc__, main, default="tiny")
