"""GRPO on a bandit with five arms: python -m docs.labs.bandit [--help]

The policy is five numbers, one logit for each arm. A prompt is a turn to play, a completion is one
token, the arm. Loss and advantages are the project's own.
"""
import argparse

import torch

from grpo import group_advantages, grpo_loss

PAYS = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.8])  # the probability that an arm pays 1


def play(steps=100, P=4, G=8, lr=0.1, epochs=1, beta=0.0, sign=1, scale="std", seed=0):
    """Train the policy -> the share of its best arm after each step [steps]."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=lr)
    reference = torch.full((5,), 0.2).log()
    mask = torch.ones(P * G, 1)  # every completion has one token
    shares = []
    for _ in range(steps):
        old = logits.detach().log_softmax(0)
        arms = torch.multinomial(old.exp(), P * G, replacement=True, generator=draw)  # [B]
        rewards = (torch.rand(P * G, generator=draw) < PAYS[arms]).float().view(P, G)
        A = sign * group_advantages(rewards, scale).flatten()                         # [B]
        for _ in range(epochs):
            now = logits.log_softmax(0)
            loss, stats = grpo_loss(now[arms, None], old[arms, None], reference[arms, None], A,
                                    mask, beta=beta)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        shares.append(logits.softmax(0)[4].item())
    return shares, logits.softmax(0).tolist(), stats


def at_least(least, kind):
    """What argparse calls to read a number, int or float, that must not be smaller."""
    def number(text):
        value = kind(text)
        if not least <= value < 1e6:  # nan is refused, too
            raise argparse.ArgumentTypeError(f"must be at least {least} and below 1e6, not {text}")
        return value
    return number


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default, least in (("steps", 100, 1), ("P", 4, 1), ("G", 8, 2), ("lr", 0.1, 0),
                                 ("epochs", 1, 1), ("beta", 0.0, 0), ("seeds", 20, 1)):
        parser.add_argument(f"--{name}", type=at_least(least, type(default)), default=default)
    parser.add_argument("--sign", type=int, choices=(1, -1), default=1)
    parser.add_argument("--scale", choices=("std", "none"), default="std")
    flags = vars(parser.parse_args())
    seeds = flags.pop("seeds")
    runs = [play(**flags, seed=seed) for seed in range(seeds)]
    print("step   share of the best arm (mean of all seeds)")
    for t in range(0, flags["steps"] + 1, max(1, flags["steps"] // 10)):
        mean = sum(shares[t - 1] if t else 0.2 for shares, _, _ in runs) / len(runs)
        print(f"{t:>4}   {mean:.3f} {'#' * round(40 * mean)}")
    policy = [sum(column) / len(runs) for column in zip(*(p for _, p, _ in runs))]
    print("the policy at the end: " + " ".join(f"{p:.2f}" for p in policy))
    clipped = sum(stats["clip_fraction"] for _, _, stats in runs) / len(runs)
    print(f"clipped in the last pass: {clipped:.3f}")


if __name__ == "__main__":
    main()
