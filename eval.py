"""Evaluate students, with routes and without: python eval.py RUN_OR_MODEL... [--task shop] [--routes 3]

What is asked of ReaLM: without routes the student must stand alone (autonomy); with routes it must do better than the
teacher, better than a majority vote over the same routes, and not repeat the teacher's mistakes.
"""
import dataclasses
import json
import math
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from data import flag, load_problems, make_routes, parse_flags, read_bank, teacher_for
from grpo import load_policy, sample
from realm import choose_routes, mrpv_prompt, parse_response
from rewards import answers_match, canonical


def wilson(right, n, z=1.96):
    """95% interval of a share (Wilson score): right of n -> (low, high).

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.49, 0.943]
    """
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return max(0.0, (p + z2 / 2) / (1 + z2) - half), min(1.0, (p + z2 / 2) / (1 + z2) + half)


def vote(answers, rng):
    """The most frequent answer (None: no answer at all); a tie is broken at random.

    >>> vote(["7", "8", "7.0", None], random.Random(0))
    '7'
    """
    counts = Counter(canonical(a) for a in answers if a is not None)
    if not counts:
        return None
    best = rng.choice([key for key, count in counts.items() if count == max(counts.values())])
    return next(a for a in answers if a is not None and canonical(a) == best)


def auc(scores, labels):
    """Probability that a positive route's score lies above a negative one's, ties counting half; None if one kind is
    missing. A constant scores 0.5.

    >>> auc([0.9, 0.2, 0.2, 0.1], [True, True, False, False])
    0.875
    """
    positive, negative = Counter(), Counter()
    for score, label in zip(scores, labels):
        (positive if label else negative)[score] += 1
    pairs = sum(positive.values()) * sum(negative.values())
    wins = sum(p * n * (1.0 if a > b else 0.5 if a == b else 0.0) for a, p in positive.items() for b, n in negative.items())
    return wins / pairs if pairs else None


def pass_at(n, right):
    """Was at least one of n samples right? right: number of right ones."""
    return float(right > 0)


def evaluate(model, tokenizer, problems, routes=3, samples=0, max_new_tokens=96, seed=0, batch=64, with_routes=True, bar=None):
    """Everything measured of one student on some problems -> dict of "alone", "routes" (each a dict) and the baselines.

    routes: k; samples: n completions at temperature 1 for mean@n, pass@n and majority@n (0: greedy only). The routes shown
    to a question depend on the seed and the question alone, so all students see the same.
    """
    shown = {p.question: choose_routes(p.routes, routes, random.Random(f"{seed} {p.question}")) for p in problems} if with_routes else {}
    result = {"questions": len(problems), "k": routes, "samples": samples}
    for name in ("alone", "routes")[:1 + with_routes]:
        result[name] = evaluate_prompts(model, tokenizer, problems, shown if name == "routes" else {}, samples, max_new_tokens,
                                        seed, batch, bar)
    if with_routes:
        rng = random.Random(seed)
        votes = [answers_match(vote([r.answer for r in shown[p.question]], rng), p.answer) for p in problems]
        result["vote"], result["vote_interval"] = sum(votes) / len(votes), wilson(sum(votes), len(votes))
        teacher = [r.correct for p in problems for r in shown[p.question]]
        result["teacher"], result["teacher_interval"] = sum(teacher) / len(teacher), wilson(sum(teacher), len(teacher))
    return result


def evaluate_prompts(model, tokenizer, problems, shown, samples, max_new_tokens, seed, batch, bar):
    """One way of asking (shown: question -> routes, empty: alone): greedy accuracy and scores, and samples at temperature 1."""
    right, tokens, scores, labels, same, sampled = [], [], [], [], [], []
    generator = torch.Generator(model.device).manual_seed(seed)
    for first in range(0, len(problems), batch):
        part = problems[first:first + batch]
        prompts = [mrpv_prompt(p.question, shown.get(p.question, ())) for p in part]
        greedy = sample(model, tokenizer, prompts, 1, max_new_tokens, temperature=0.0, generator=generator)
        for problem, text, length in zip(part, greedy.texts, greedy.lengths.tolist()):
            routes = shown.get(problem.question, ())
            response = parse_response(text, len(routes))
            right.append(answers_match(response.answer, problem.answer))
            tokens.append(length)
            if routes and response.scores is not None:
                scores += response.scores
                labels += [r.correct for r in routes]
            if routes and not right[-1]:  # SAME Err: does the wrong answer repeat a wrong route's?
                same.append(any(not r.correct and answers_match(response.answer, r.answer) for r in routes))
        if samples:
            rollouts = sample(model, tokenizer, prompts, samples, max_new_tokens, generator=generator)
            for i, problem in enumerate(part):
                texts = rollouts.texts[i * samples:(i + 1) * samples]
                sampled.append([parse_response(t, len(shown.get(problem.question, ()))).answer for t in texts])
        if bar is not None:
            bar.update(len(part))
    n = len(problems)
    result = {"accuracy": sum(right) / n, "interval": wilson(sum(right), n), "tokens": sum(tokens) / n}
    if shown:
        result["scored"] = len(scores) / max(1, sum(len(shown[p.question]) for p in problems))  # share of scores that could be read
        result["score_accuracy"] = sum((s > 0.5) == l for s, l in zip(scores, labels)) / len(scores) if scores else None
        result["score_auc"] = auc(scores, labels)
        result["same_err"] = sum(same) / len(same) if same else None
    if samples:
        rng = random.Random(seed)
        hits = [[answers_match(a, p.answer) for a in answers] for p, answers in zip(problems, sampled)]
        means = [sum(h) / samples for h in hits]
        mean = sum(means) / n
        half = 1.96 * math.sqrt(sum((m - mean) ** 2 for m in means) / max(1, n - 1) / n)  # questions are the independent unit
        result["mean_at_n"], result["mean_interval"] = mean, (max(0.0, mean - half), min(1.0, mean + half))
        result["pass_at_n"] = sum(any(h) for h in hits) / n
        result["majority_at_n"] = sum(answers_match(vote(a, rng), p.answer) for p, a in zip(problems, sampled)) / n
    return result
