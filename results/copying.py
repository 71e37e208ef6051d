"""How cleanly does a student copy a price from its prompt? `python -m results.copying [MODEL...]`.

It is asked for the price of the first item of 200 orders of the shop, each with three routes. These
state one, two or three different prices of an item. The table shows how much of its probability
lies on the prices that the routes state. A base that copies cleanly would have 1.
"""
import random

import torch

from grpo import load_policy
from realm import mrpv_prompt
from results.command import measure_runs
from tasks.shop import HIGHEST, LOWEST, problems, read_order, work_out


def three_routes(order, n_prices, rng):
    """Three routes that state n_prices different prices of every item -> (the stated prices of the
    first item, the routes)."""
    stated = {item: rng.sample(range(LOWEST, HIGHEST + 1), n_prices) for _, item in order}
    routes = []
    for j in range(3):
        prices = {item: found[j % n_prices] for item, found in stated.items()}
        routes.append(work_out(order, prices)[0])
    return stated[order[0][1]], routes


@torch.no_grad()
def copied(model, tokenizer, n_prices, n_orders=200, seed=0):
    """(mean probability on the stated prices, share of orders whose likeliest token is one)"""
    rng = random.Random(seed)
    on_stated, likeliest = 0.0, 0
    for problem in rng.sample(problems("train", 400), n_orders):
        order = read_order(problem.question)
        prices, routes = three_routes(order, n_prices, rng)
        text = f"{mrpv_prompt(problem.question, routes)}<think> {order[0][1]}"
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        probabilities = model(ids).logits[0, -1].softmax(-1)
        tokens = tokenizer.convert_tokens_to_ids([f" @{price}" for price in prices])
        on_stated += probabilities[tokens].sum().item()
        likeliest += probabilities.argmax().item() in tokens
    return on_stated / n_orders, likeliest / n_orders


def main(students):
    print("| student | different prices in the routes | probability on them | "
          "likeliest token is one |")
    print("|---|---|---|---|")
    for name in students:
        model, tokenizer = load_policy(name, "cpu")
        for n_prices in (1, 2, 3):
            mass, share = copied(model, tokenizer, n_prices)
            print(f"| {name} | {n_prices} | {mass:.2f} | {share:.2f} |")


if __name__ == "__main__":
    measure_runs("copying", __doc__, main, default="tiny")
