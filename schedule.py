"""EAAI: Enabling Autonomy via Asymptotic Induction (ReaLM, arXiv 2508.12387).

Early in training almost every prompt carries the teacher's routes. Later almost none does, so the
student ends up solving problems alone. The probability that a training prompt carries routes falls
along a cosine:

    p(t) = end + (start - end) * (1 + cos(pi * t / (fade * T))) / 2      while t < fade * T
    p(t) = end                                                           after that

    p |----.._             t is the training step and T is the number of steps.
      |       `-._         `fade` is the share of training that the fall takes.
      |           `-.___   In the steps after it the student is rewarded for exactly what it is
      +----------------> t asked to do at inference: answers without routes.
"""
import math

SHAPES = ("cosine", "linear", "step", "constant")


def eaai_probability(step, total_steps, shape="cosine", start=1.0, end=0.0, fade=0.8):
    """Probability p(t) that a training prompt carries routes (ReaLM, EAAI).

    step: the training step t, counted from 0; total_steps: T, at least 1. start, end:
    probabilities in [0, 1]. fade: a share of training, in [0, 1]. Its default 0.8 holds for direct
    calls only, because train.py always passes --fade (0.95). shape: "cosine" is the paper's.
    "linear" falls evenly. "step" falls at once in the middle of the fade, so that all three show
    routes equally often (our choice). "constant" stays at `start`. Raises ValueError for an
    unknown shape or a number out of range.

    >>> [round(eaai_probability(t, 100), 3) for t in (0, 20, 40, 60, 80, 99)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    >>> round(eaai_probability(150, 300, fade=0.95), 2)  # halfway in the default run
    0.46
    """
    if shape not in SHAPES:
        raise ValueError(f"unknown schedule {shape!r}: use one of {', '.join(SHAPES)}")
    if step < 0 or total_steps < 1:
        raise ValueError(f"step must be >= 0 and total_steps >= 1, not {step} and {total_steps}")
    if not all(0.0 <= x <= 1.0 for x in (start, end, fade)):
        raise ValueError(f"start, end and fade must lie in [0, 1], not {start}, {end}, {fade}")

    fade_steps = round(fade * total_steps, 9)  # rounded, so that float error adds no extra step
    progress = min(1.0, step / fade_steps) if fade_steps else 1.0
    if shape == "cosine":
        remaining = (1 + math.cos(math.pi * progress)) / 2  # the part still to fall: from 1 to 0
    elif shape == "linear":
        remaining = 1 - progress
    elif shape == "step":
        remaining = float(progress < 0.5)
    else:
        remaining = 1.0
    return start * remaining + end * (1 - remaining)
