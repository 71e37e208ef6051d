r"""The two-stage reward (ReaLM, arXiv 2508.12387).

    stage 1   Is the student's answer the gold answer?              answer  in {0, 1}
    stage 2   Only if it is: do its scores s_i agree with the
              labels y_i of the routes it was shown?                utility in [0, 1]

    R = answer * (1 + utility_weight * utility)

y_i is 1 for a positive route and 0 for a negative one. A wrong answer earns nothing, however good
its scores are. Otherwise a student could earn by judging routes and never solve a problem.

Our choices, where the paper's public text is silent. A score lies in [0, 1]. The utility is a mean
over the two *kinds* of routes, not over routes. With a plain mean, a student that always writes
"bad" would be paid 83% by a teacher that is right 17% of the time. With a mean over kinds, every
constant earns 0.5 wherever both kinds are shown.

engine/prose.py finds answers and engine/answers.py compares them. Neither evaluates them as code.
"""
from dataclasses import dataclass

from engine.answers import answers_match, canonical, number  # noqa: F401  re-exported
from engine.prose import final_answer  # noqa: F401


@dataclass(frozen=True)
class Reward:
    """What one completion earned. GRPO sees only `total`; the parts are logged."""
    total: float    # R, in [0, 1 + utility_weight]
    answer: float   # stage 1: 1.0 for the gold answer with its reasoning, else 0.0
    utility: float  # stage 2, in [0, 1]; it is logged even where a wrong answer leaves it unpaid
    format: float   # 1.0 if every field that was asked for could be read (never paid)


def realm_reward(response, gold, labels, utility_weight=0.5, two_stage=True):
    """The two-stage reward R of a realm.Response -> Reward (ReaLM, two-stage reward).

    gold: the gold answer. labels: for each route that was shown, in the order shown, whether it is
    positive; empty if none was shown. two_stage=False also pays for scores after a wrong answer.
    This is an ablation and not the method. Our choice: an answer without <think> and </think>
    is not paid, because a student soon forgets what is not paid. What stands there is free.

    >>> from realm import Response
    >>> realm_reward(Response("2 + 2", "4", [1.0, 0.0]), "4", [True, False])
    Reward(total=1.5, answer=1.0, utility=1.0, format=1.0)
    >>> realm_reward(Response("2 + 2", "5", [1.0, 0.0]), "4", [True, False]).total
    0.0
    """
    has_reasoning = response.reasoning is not None
    has_answer = response.answer is not None
    has_scores = response.scores is not None

    answer = float(has_reasoning and answers_match(response.answer, gold))  # stage 1
    utility = utility_score(response.scores, labels) if labels else 0.0     # stage 2
    gate = answer if two_stage else 1.0
    total = answer + gate * utility_weight * utility
    complete = has_reasoning and has_answer and (has_scores or not labels)
    return Reward(total, answer, utility, float(complete))


def utility_score(scores, labels):
    """How well the scores s_i tell positive routes from negative ones: in [0, 1], 1 is perfect.

    scores: one number in [0, 1] for each route; labels: is the route positive? The fit of a score
    is 1 - |s_i - y_i|. We take the mean fit of the positive routes and that of the negative ones.
    The utility is the mean of these two, or the only one if all routes are of one kind. Malformed
    scores (None, a wrong count, a number out of range) earn 0.

    >>> labels = [True, False, False]
    >>> utility_score([1, 0, 0], labels), utility_score([0, 0, 0], labels)
    (1.0, 0.5)
    """
    if not scores or len(scores) != len(labels):
        return 0.0
    if not all(isinstance(s, (int, float)) and 0.0 <= s <= 1.0 for s in scores):
        return 0.0
    fit_of_positive = [1.0 - abs(s - 1) for s, label in zip(scores, labels) if label]
    fit_of_negative = [1.0 - abs(s - 0) for s, label in zip(scores, labels) if not label]
    means = [sum(fits) / len(fits) for fits in (fit_of_positive, fit_of_negative) if fits]
    return sum(means) / len(means)
