"""How much of the market does a student know? `python -m results.market_orders RUN...`

Every order of one or two items is asked once, greedily, without and with three routes (four minutes
each on one core): 20 orders of one item and 150 of two. The closing table of a run asks 36 test
questions. They have few different orders, and one order of honey alone comes eleven times, so that
table does not weigh the items alike. This one does.

    rice, honey, oil, plums   share of right answers to the five orders of this item alone
    two items                 share of right answers to the 150 orders of two items
    never trained             the same for those orders of one or two that no training question has
    all                       share of right answers to all 170 orders

Promise: the same questions and routes for every student.
To read: all_orders, then shares.
tests/test_market.py holds this file to that.
"""
import argparse
import itertools
import random
import sys

import torch

from data import make_routes
from engine.policy import resolve_model
from eval import complete
from grpo import load_policy, sample
from realm import Problem, choose_routes, parse_response
from rewards import answers_match
from tasks import in_split, market

ITEMS = list(market.PRICES)
COLUMNS = (*(item.rpartition(" ")[2] for item in ITEMS), "two items", "never trained", "all")


def all_orders():
    """Every order of one or two items, as lists of (quantity, item)."""
    quantities = range(1, market.MOST_OF_AN_ITEM + 1)
    orders = [[(n, item)] for item in ITEMS for n in quantities]
    for first, second in itertools.combinations(ITEMS, 2):
        orders += [[(n, first), (m, second)] for n in quantities for m in quantities]
    return orders


def groups_of(order):
    """The columns of the table that an order counts in."""
    groups = ["all"]
    if len(order) == 1:
        groups.append(order[0][1].rpartition(" ")[2])
    else:
        groups.append("two items")
    if not in_split(market.order_in_words(order), "train"):
        groups.append("never trained")
    return groups


def questions():
    """One question for each order, with the routes of the default teacher."""
    rng = random.Random("every order of the market")
    problems = []
    for order in all_orders():
        question = market.ask(order, rng.choice(market.NAMES), rng.choice(market.DAYS))
        _, total = market.work_out(order, market.PRICES)
        problems.append(Problem(question, str(total)))
    return make_routes(problems, market.teacher(), n=8)


def shares(answers, problems):
    """Share of right answers in every column -> dict. answers: one str or None for each order."""
    right = dict.fromkeys(COLUMNS, 0)
    asked = dict.fromkeys(COLUMNS, 0)
    for order, answer, problem in zip(all_orders(), answers, problems):
        for group in groups_of(order):
            right[group] += answers_match(answer, problem.answer)
            asked[group] += 1
    return {column: right[column] / asked[column] for column in COLUMNS}


def answers_of(model, tokenizer, problems, k, batch):
    """The greedy answers of a student that sees k routes of each problem."""
    shown = [choose_routes(problem.routes, k, random.Random(problem.question))
             for problem in problems]
    texts, _, _ = complete(model, tokenizer, problems, shown, samples=0, max_new_tokens=100, seed=0,
                           batch=batch, sampler=sample)
    return [parse_response(text).answer for text in texts]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="+", help="run folders or models")
    parser.add_argument("--routes", type=int, nargs="+", choices=range(9), default=[0, 3],
                        metavar="K", help="routes shown, of eight (default: 0 3)")
    parser.add_argument("--batch", type=int, default=34, help="questions at a time")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        for name in args.students:
            resolve_model(name)
        problems = questions()
        print(f"| student | routes | {' | '.join(COLUMNS)} |")
        print("|---" * (2 + len(COLUMNS)) + "|")
        for name in args.students:
            model, tokenizer = load_policy(name)
            for k in args.routes:
                found = shares(answers_of(model, tokenizer, problems, k, args.batch), problems)
                cells = " | ".join(f"{share:.2f}" for share in found.values())
                print(f"| {name} | {k} | {cells} |", flush=True)
    except (ValueError, OSError) as error:
        sys.exit(f"market_orders: {error}")


if __name__ == "__main__":
    main()
