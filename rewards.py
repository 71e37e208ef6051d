r"""Answers, and the two-stage reward (ReaLM, arXiv 2508.12387). Pure functions of text; nothing is ever evaluated.

    stage 1   is the student's answer the gold answer?                      answer  in {0, 1}
    stage 2   paid only if it is: do its scores s_i agree with the labels?  utility in [0, 1]

    R = answer * (1 + utility_weight * utility)

y_i = 1 for a positive route, 0 for a negative one. The paper leaves the scale of the scores open; *our choice* is s_i in
[0, 1] and a mean over the two kinds of routes, not over routes: were it the plain mean, "always bad" would be paid 83% by
a teacher that is right 17% of the time. Balanced, every constant earns 0.5 wherever both kinds are shown.
"""
from dataclasses import dataclass

from engine.answers import answers_match, canonical, final_answer, number  # noqa: F401 (read from here)


@dataclass(frozen=True)
class Reward:
    """total is what GRPO sees; the parts are logged. format: 1.0 if every field asked for could be read (never paid for)."""
    total: float
    answer: float
    utility: float
    format: float


def utility_score(scores, labels):
    """How well the scores s_i tell positive routes from negative ones, in [0, 1]; 1 = perfect.

    scores: one number in [0, 1] per route; labels: was the route right? The mean of 1 - |s_i - y_i| over positive and
    over negative routes, averaged over the kinds present. Anything malformed (None, wrong count, out of range) earns 0.

    >>> utility_score([1, 0, 0], [True, False, False]), utility_score([0, 0, 0], [True, False, False])
    (1.0, 0.5)
    """
    if not scores or len(scores) != len(labels) or not all(isinstance(s, (int, float)) and 0.0 <= s <= 1.0 for s in scores):
        return 0.0
    kinds = [[1.0 - abs(s - kind) for s, label in zip(scores, labels) if bool(label) == kind] for kind in (True, False)]
    means = [sum(fits) / len(fits) for fits in kinds if fits]
    return sum(means) / len(means)


def realm_reward(response, gold, labels, utility_weight=0.5, two_stage=True):
    """The two-stage reward of a realm.Response -> Reward.

    gold: the gold answer; labels: correctness of the routes shown, in the order shown (empty: none were).
    two_stage=False pays for scores after a wrong answer too (the ablation, not the method). *Our choice*: an answer without
    its reasoning in <think> is not paid; else that part of the format is soon forgotten.

    >>> from realm import Response
    >>> realm_reward(Response("2 + 2", "4", [1.0, 0.0]), "4", [True, False])
    Reward(total=1.5, answer=1.0, utility=1.0, format=1.0)
    >>> realm_reward(Response("2 + 2", "5", [1.0, 0.0]), "4", [True, False]).total  # a wrong answer earns nothing
    0.0
    """
    answer = float(response.reasoning is not None and answers_match(response.answer, gold))
    utility = utility_score(response.scores, labels) if labels else 0.0
    read = response.reasoning is not None and response.answer is not None and (response.scores is not None or not labels)
    paid = answer if two_stage else 1.0
    return Reward(answer + paid * utility_weight * utility, answer, utility, float(read))
