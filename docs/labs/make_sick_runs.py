"""Make the runs of lab 6 and of docs/symptoms.md: short real runs, each with one fault.

    python -m docs.labs.make_sick_runs            all of them, 15 minutes on one core
    python -m docs.labs.make_sick_runs healthy    only those named

It writes the metrics.jsonl of each run to docs/labs/sick/NAME.jsonl. A fault is a wrong flag where
a flag can make it, else a function that is put in the place of one of the project's for that run.
The file itself gives the answers of lab 6 away.
"""
import argparse
import contextlib
import copy
import tempfile
from pathlib import Path
from unittest import mock

import torch

import engine.team
import grpo
import rewards
import train

FOLDER = Path(__file__).resolve().parent / "sick"
SHORT = {  # the flags of a healthy short run; each fault changes a few of them, or one function
    "task": "ads", "method": "realm-zero", "steps": 60, "prompts_per_step": 16, "limit": 400,
    "eval_every": 10, "eval_limit": 64, "lr": 5e-4, "warmup": 5, "save_every": 1000,
    "processes": 1,  # a fault is put into this process only
}
FULL = {  # the flags of the default run of train.py
    "task": "shop", "steps": 300, "prompts_per_step": 32, "limit": None, "eval_limit": None,
    "warmup": 10,
}
BALANCED = {"selection": "balanced", "p_end": 1.0}
KEEP = 5  # of a run of 100 steps or more, every fifth is kept


# ---- faults that no flag can make ----------------------------------------------------------------
def wrong_mask(stack):
    """The mask is 1 behind the end of a completion, too: padding is trained."""
    everywhere = property(lambda rollouts: torch.ones_like(rollouts.logps))
    stack.enter_context(mock.patch.object(grpo.Rollouts, "mask", everywhere))


def stale_logps(stack):
    """The sampler has the weights of up to ten steps ago, as an engine that is seldom told has."""
    right, seen = engine.team.sample, {"calls": 0}

    def sample(model, *args, **flags):
        if seen["calls"] % 10 == 0:
            seen["old"] = copy.deepcopy(model)
        seen["calls"] += 1
        return right(seen["old"], *args, **flags)

    stack.enter_context(mock.patch.object(engine.team, "sample", sample))


def substring_reward(stack):
    """The gold answer is looked for inside the student's: "irrelevant" holds "relevant"."""
    right = rewards.realm_reward

    def reward(response, gold, *args):
        paid = copy.copy(response)
        if response.answer and gold in response.answer:
            paid.answer = gold
        return right(paid, gold, *args)

    stack.enter_context(mock.patch.object(train, "realm_reward", reward))


# ---- the runs ------------------------------------------------------------------------------------
RUNS = {  # name -> (flags that differ from SHORT, a fault or None)
    "healthy": ({}, None),
    "A": ({}, stale_logps),
    "B": ({"max_new_tokens": 20}, None),
    "C": ({"lr": 1e-2}, None),
    "D": ({}, substring_reward),
    "E": ({}, wrong_mask),
    "no-routes": ({"task": "shop", "method": "grpo", "steps": 30}, None),
    "epochs": ({"epochs": 4, "lr": 2e-3}, None),
    "epochs-healthy": ({"epochs": 2, "lr": 2e-4}, None),
    "kl": ({"beta": 0.001, "lr": 5e-3}, None),
    "kl-healthy": ({"beta": 0.05}, None),
    "default": (FULL, None),
    "never-fade": (FULL | {"method": "mrpv"}, None),
    "unsteady": ({"lr": 3e-3, "steps": 100}, None),
    "cold": ({"temperature": 0.4}, None),
    "constant": (BALANCED, None),
    "judged": (BALANCED | {"method": "realm-r1", "sft_steps": 150}, None),
    "unpaid": ({"utility_weight": 0.0, "selection": "balanced", "p_end": 1.0}, None),
}


def make(name):
    """Do one run in a folder that goes away, and keep its metrics."""
    flags, fault = RUNS[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if fault:
            fault(stack)
        out = Path(folder) / "run"
        given = SHORT | flags | {"out": str(out), "device": "cpu"}
        config = train.prepare(train.Config(**given), given)
        with contextlib.suppress(ValueError):  # a run that is beyond hope stops by itself
            train.train(config)
        FOLDER.mkdir(exist_ok=True)
        lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
        lines = [line for line in lines if '"phase": "rl"' in line]
        if len(lines) >= 100:
            lines = [line for i, line in enumerate(lines) if i % KEEP == 0 or "eval_alone" in line]
        (FOLDER / f"{name}.jsonl").write_text("".join(lines))


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN",
                        help=f"of {', '.join(RUNS)} (default: all)")
    names = parser.parse_args(argv).runs or list(RUNS)
    unknown = set(names) - set(RUNS)
    if unknown:
        parser.error(f"no run {', '.join(sorted(unknown))}: choose from {', '.join(RUNS)}")
    for name in names:
        print(f"making the run {name}", flush=True)
        make(name)


if __name__ == "__main__":
    main()
