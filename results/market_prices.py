"""Which price does a real student state in the market? `python -m results.market_prices RUN...`

Behind `<think> A bag of rice costs` a student of the market writes a price. Here the probability of
each price from 2 to 20 dollars is computed, without routes and with no sampling. It shows what a
run has taught long before the accuracy does: a price that is a tenth likelier changes no answer.

    true       the probability of the true price
    any        that of all 19 prices together: 1 if the student keeps to the format
    likeliest  the three likeliest prices

A run that is under way has no model/ yet. Its last checkpoint is read with --checkpoint START,
where START is the model that the run began with.

Promise: the probabilities are those of the tokens that the sampler would draw one by one.
To read: price_probabilities.
tests/test_real_model.py holds this file to that.
"""
import argparse
import math
import sys
from pathlib import Path

import torch

from engine.policy import encode_prompts
from engine.run import load_checkpoint
from grpo import Optimizer, load_policy
from realm import mrpv_prompt
from tasks.market import HIGHEST, LOWEST, PRICES, ask


@torch.no_grad()
def price_probabilities(model, tokenizer, item, routes=()):
    """{price: its probability} of the prices that the market may have, at T = 1."""
    prompt = mrpv_prompt(ask([(3, item)], "Ann", "Monday"), list(routes))
    begun = tokenizer(f"<think> A {item} costs", add_special_tokens=False)["input_ids"]
    before = encode_prompts(tokenizer, [prompt])[0] + begun
    prices = range(LOWEST, HIGHEST + 1)
    endings = [tokenizer(f" {price} dollars", add_special_tokens=False)["input_ids"]
               for price in prices]
    # One pass over what all prices share. Then a row for each price; padding comes last, so that
    # no token of a price sees it.
    cache = model(torch.tensor([before[:-1]], device=model.device)).past_key_values
    cache.batch_repeat_interleave(len(endings))
    longest = max(map(len, endings))
    rows = [before[-1:] + ending + [0] * (longest - len(ending)) for ending in endings]
    logits = model(torch.tensor(rows, device=model.device), past_key_values=cache).logits
    logps = logits.float().log_softmax(dim=-1)  # [19, 1 + longest, V]
    found = {}
    for price, ending, row in zip(prices, endings, logps):
        found[price] = math.exp(sum(row[i, token].item() for i, token in enumerate(ending)))
    return found


def load(name, start):
    """A trained student, or with `start` the last checkpoint of a run that began from it. Raises
    ValueError if there is none."""
    if start is None:
        return load_policy(name)
    _, state = load_checkpoint(Path(name))
    if state is None:
        raise ValueError(f"{name}: there is no checkpoint")
    model, tokenizer = load_policy(start)
    Optimizer(model, lr=0.0).load_weights(state)
    return model, tokenizer


def print_table(students, start):
    """A line for each student and each item of the market."""
    print("| student | item | true price | true | any | likeliest |\n|---|---|---|---|---|---|")
    for name in students:
        model, tokenizer = load(name, start)
        for item, price in PRICES.items():
            found = price_probabilities(model, tokenizer, item)
            top = sorted(found, key=found.get, reverse=True)[:3]
            listed = ", ".join(f"{p}: {found[p]:.2f}" for p in top)
            print(f"| {name} | {item} | {price} | {found[price]:.3f} | "
                  f"{sum(found.values()):.2f} | {listed} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="+", help="run folders or models")
    parser.add_argument("--checkpoint", metavar="START", help="read the last checkpoint of each")
    args = parser.parse_args()
    try:
        print_table(args.students, args.checkpoint)
    except ValueError as error:
        sys.exit(f"market_prices: {error}")


if __name__ == "__main__":
    main()
