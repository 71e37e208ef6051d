"""Which prompt stands at which place of a run: a pure function, so that no engine has to keep it.

Draw d of a run is its d-th prompt, counted from 0. Step t is the optimizer step it is drawn for.

    problem  a function of (seed, d): a new random order each time all are used, as in train.py
    routes   a function of (seed, t, d): shown with probability p(t), k of the problem's N

Every process computes this for itself and gets the same. A run that is resumed gets what it would
have got. Nothing depends on how draws are cut into batches, or on who reads ahead.
"""
import functools
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # an engine may load us by path
from realm import choose_routes, mrpv_prompt, parse_response  # noqa: E402
from rewards import realm_reward  # noqa: E402
from schedule import eaai_probability  # noqa: E402


@functools.lru_cache(maxsize=2)
def order(seed, epoch, n):
    """The order of n problems in an epoch, as a list of indices. It is the order of train.py."""
    return random.Random(f"{seed} order {epoch}").sample(range(n), n)


def write_prompt(problems, step, draw, *, steps, seed=0, routes=3, selection="random",
                 error_ratio=None, schedule="cosine", fade=0.95, p_end=0.0):
    """The prompt of a draw at a step of `steps`, and what its reward needs -> a dict.

    prompt: str; gold: the gold answer; labels: is the route right, for each one shown; p: p(t);
    index: of the problem.
    """
    epoch, place = divmod(draw, len(problems))
    index = order(seed, epoch, len(problems))[place]
    problem = problems[index]
    rng = random.Random(f"{seed} step {step} draw {draw}")
    p_t = eaai_probability(step, steps, schedule, end=p_end, fade=fade)
    shown = []
    if rng.random() < p_t:
        shown = choose_routes(problem.routes, routes, rng, error_ratio, selection)
    return {"prompt": mrpv_prompt(problem.question, shown), "gold": problem.answer,
            "labels": [route.correct for route in shown], "p": p_t, "index": index}


def need_enough(problems, routes):
    """Raises ValueError if a problem has fewer than k routes."""
    poorest = min(problems, key=lambda problem: len(problem.routes))
    if len(poorest.routes) < routes:
        raise ValueError(f"{routes} routes asked for, but the question {poorest.question[:60]!r} "
                         f"has only {len(poorest.routes)}: make the bank with a larger --n")


def score(text, gold, labels, utility_weight=0.5, one_stage=False):
    """The two-stage reward of a completion -> rewards.Reward."""
    response = parse_response(text, len(labels))
    return realm_reward(response, gold, labels, utility_weight, not one_stage)
