"""EAAI: Enabling Autonomy via Asymptotic Induction (ReaLM, arXiv 2508.12387).

Early in training almost every prompt carries the teacher's routes; later almost none does, so that the student
ends up solving problems alone. The probability that a training prompt carries routes falls along a cosine:

    p(t) = end + (start - end) * (1 + cos(pi * t / (fade * T))) / 2      for t < fade * T,      p(t) = end after that

    p |‾‾‾‾--._            t is the training step, T their number, `fade` the share of training the fall takes.
      |        `-._        The last (1 - fade) * T steps are trained without routes: what the student is
      |            `--.___ then rewarded for is exactly what it is asked to do at inference.
      +-----------------------> t
"""
import math

SHAPES = ("cosine", "linear", "step", "constant")


def eaai_probability(step, total_steps, shape="cosine", start=1.0, end=0.0, fade=0.8):
    """Probability p(t) that a training prompt carries routes.

    step: 0-based training step t; total_steps: T >= 1; start, end: probabilities in [0, 1];
    fade: share of training in [0, 1] over which p falls from exactly `start` to exactly `end`.
    shape: "cosine" (the paper's), "linear", "step" (falls at once in the middle of the fade, so that all three show
    routes equally often: our choice) or "constant" (always `start`: routes never fade). train.py's default for `fade` is 0.95.
    Raises ValueError for an unknown shape or a number out of range.

    >>> [round(eaai_probability(t, 100), 3) for t in (0, 20, 40, 60, 80, 99)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    >>> eaai_probability(99, 100, shape="constant")
    1.0
    """
    if shape not in SHAPES:
        raise ValueError(f"unknown schedule {shape!r}: use one of {', '.join(SHAPES)}")
    if step < 0 or total_steps < 1:
        raise ValueError(f"step must be >= 0 and total_steps >= 1, not {step} and {total_steps}")
    if not all(0.0 <= x <= 1.0 for x in (start, end, fade)):
        raise ValueError(f"start, end and fade must lie in [0, 1], not {start}, {end}, {fade}")
    length = round(fade * total_steps, 9)  # of the fall, in steps; rounding must not leave a rest of it
    progress = min(1.0, step / length) if length else 1.0
    remaining = {"cosine": (1 + math.cos(math.pi * progress)) / 2, "linear": 1 - progress, "step": float(progress < 0.5),
                 "constant": 1.0}[shape]  # of the fall: 1 -> 0
    return start * remaining + end * (1 - remaining)
