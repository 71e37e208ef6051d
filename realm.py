"""MRPV: Multi-Route Process Verification (ReaLM, arXiv 2508.12387), as text.

The prompt is the question and k of the teacher's N routes, drawn at random, right and wrong ones mixed and none of them
labelled. The student writes its own reasoning, its answer, and a utility score for every route:

    Problem: 2 tea, 3 jam                           <think> tea @40 x 2 = 80 sum 80; ... </think>
    Route 1: tea @40 x 2 = 80 sum 80; ...     ->    <answer> 120</answer>
    Route 2: tea @55 x 2 = 110 sum 110; ...         <scores> 1, 0</scores>

A route is *positive* if its final answer equals the gold answer, else *negative*. With no routes the prompt is the plain
prompt, the one of inference. Expert rules go into the teacher's prompt (guided CoT distillation), never into the student's.
This file holds no tensors; what the text earns is in rewards.py.
"""
import re
from dataclasses import dataclass, field

from engine.answers import canonical, tagged
from engine.text import harmless, reasoning_only, settled, without_tags  # noqa: F401 (read from here)

PLAIN_INSTRUCTION = (
    "Solve the problem. Reply in exactly this form:\n"
    "<think>your reasoning, step by step</think>\n"
    "<answer>the final answer only</answer>\n\n")
MRPV_INSTRUCTION = (
    "Solve the problem. Routes written by another solver follow; any of them may be wrong. Reason for yourself, then judge "
    "each route. Reply in exactly this form:\n"
    "<think>your own reasoning, step by step</think>\n"
    "<answer>the final answer only</answer>\n"
    "<scores>one number from 0 (wrong) to 1 (right) for every route, in order, separated by commas</scores>\n\n")
TEACHER_INSTRUCTION = (
    "Solve the problem step by step. End with a line that holds only the final answer, as <answer>...</answer>.\n\n")


@dataclass
class Route:
    """One chain of thought of the teacher. correct: does its final answer equal the gold answer?"""
    text: str
    answer: str | None
    correct: bool
    guided: bool = False  # were the expert rules in the teacher's prompt?


@dataclass
class Problem:
    """One line of a bank: a question, its gold answer, the teacher's N routes, and expert rules (for the teacher only)."""
    question: str
    answer: str
    routes: list[Route] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


@dataclass
class Response:
    """What the student wrote, taken apart. A field is None where the text does not hold it."""
    reasoning: str | None
    answer: str | None
    scores: list[float] | None  # one per route, each in [0, 1]; None without routes


def mrpv_prompt(question, routes=()):
    r"""The student's prompt: question and routes (Route objects or plain strings) in the order given.

    Only the routes' text is shown: no label, no score, no rule. Without routes this is exactly the plain prompt.

    >>> mrpv_prompt("2 + 2?", [Route("2 + 2 = 4", "4", True)])[-45:]
    'Problem: 2 + 2?\nRoute 1: 2 + 2 = 4\nSolution:\n'
    """
    lines = [f"Problem: {harmless(question).strip()}"]
    for i, route in enumerate(routes, start=1):
        lines.append(f"Route {i}: {harmless(getattr(route, 'text', route)).strip()}")
    return (MRPV_INSTRUCTION if routes else PLAIN_INSTRUCTION) + "\n".join(lines) + "\nSolution:\n"


def teacher_prompt(question, rules=()):
    """The teacher's prompt. `rules` (expert comments) are what guided CoT distillation puts in."""
    guide = "Rules of this domain, written by experts:\n" + "".join(f"- {rule}\n" for rule in rules) + "\n" if rules else ""
    return TEACHER_INSTRUCTION + harmless(guide) + f"Problem: {harmless(question).strip()}\nSolution:\n"


def demonstration(reasoning, answer, scores=None):
    """The completion a perfect student would write; what SFT trains on. scores: one number per route shown, or None."""
    answer = settled(without_tags(str(answer)))
    text = f"<think> {harmless(reasoning).strip()}</think>\n<answer> {answer}</answer>"
    return text if scores is None else text + f"\n<scores> {', '.join(f'{s:g}' for s in scores)}</scores>"


def parse_response(text, n_routes=0):
    """Take a completion apart -> Response. Strict about the format, and never raises.

    The answer is the last <answer>...</answer> after the reasoning: one written inside <think> does not count.
    Scores count only if there is exactly one number in [0, 1] for each of the n_routes routes.

    >>> parse_response("<think>2 + 2</think> <answer>4</answer> <scores>1, 0.5</scores>", n_routes=2)
    Response(reasoning='2 + 2', answer='4', scores=[1.0, 0.5])
    >>> parse_response("<think>maybe <answer>5</answer>", n_routes=2)
    Response(reasoning=None, answer=None, scores=None)
    """
    if not isinstance(text, str):
        return Response(None, None, None)
    reasoning, closed, reply = text.partition("</think>")
    if not closed:  # no end of reasoning: what stands before any <think> may still be a reply, the rest may not
        reasoning, reply = None, text.partition("<think>")[0]
    else:
        before, opened, inside = reasoning.partition("<think>")
        reasoning = inside.strip() if opened and not before.strip() else None
    answer = (tagged("answer", reply) or "").strip() or None
    return Response(reasoning, answer, parse_scores(reply, n_routes) if n_routes else None)


def parse_scores(reply, n_routes):
    """The numbers of the last <scores>...</scores>, or None unless they are n_routes numbers in [0, 1]."""
    parts = re.split(r"[,\s]+", (tagged("scores", reply) or "").strip())
    if len(parts) != n_routes or not all(re.fullmatch(r"0|1|0?\.[0-9]{1,6}|1\.0{1,6}", p) for p in parts):
        return None
    return [float(p) for p in parts]


def choose_routes(routes, k, rng, error_ratio=None, selection="random"):
    """Draw k of a problem's N routes, in random order (rng: random.Random).

    selection: "random" (the paper's), "diverse" (routes with distinct final answers first) or "balanced" (as many right
    as wrong ones). error_ratio fixes the expected share of wrong routes instead (the error-ratio experiment). Where a
    problem has too few routes of one kind, the other kind fills up: k are always shown.
    Raises ValueError if there are fewer than k routes.
    """
    if len(routes) < k:
        raise ValueError(f"{k} routes asked for, but the bank has only {len(routes)} for this question")
    drawn = rng.sample(list(routes), len(routes))  # a shuffled copy; its first k are the paper's random choice
    if error_ratio is not None or selection == "balanced":
        share = 0.5 if error_ratio is None else error_ratio
        n_wrong = int(k * share) + (rng.random() < k * share - int(k * share))  # its mean is exactly k * share
        wrong, right = [r for r in drawn if not r.correct], [r for r in drawn if r.correct]
        n_wrong = max(k - len(right), min(n_wrong, len(wrong)))
        drawn = wrong[:n_wrong] + right[:k - n_wrong]
    elif selection == "diverse":
        first = {canonical(route.answer or ""): id(route) for route in reversed(drawn)}  # the first route with each answer
        kept = set(first.values())
        drawn.sort(key=lambda route: id(route) not in kept)  # stable: repeats go behind
    elif selection != "random":
        raise ValueError(f"unknown selection {selection!r}: use random, diverse or balanced")
    return rng.sample(drawn[:k], k)
