"""MRPV: Multi-Route Process Verification (ReaLM, arXiv 2508.12387), as text.

The prompt holds the question and k of the teacher's N routes. They are drawn at random, right and
wrong ones mixed, and nothing tells which is which. The student writes its own reasoning, its
answer, and a utility score for every route:

    Problem: 2 tea, 3 jam                           <think> tea @40 x 2 = 80 sum 80; ... </think>
    Route 1: tea @40 x 2 = 80 sum 80; ...     ->    <answer> 120</answer>
    Route 2: tea @55 x 2 = 110 sum 110; ...         <scores> 1, 0</scores>

A route is *positive* if its final answer equals the gold answer, else *negative*. Without routes
the prompt is the plain prompt, which is the prompt of inference. Expert rules go into the
teacher's prompt (guided CoT distillation), and never into the student's: at inference it has none.

This file holds no tensors. rewards.py says what a completion earns. engine/text.py keeps
questions and routes, which may come from anyone, from imitating the tags of the format.
"""
import re
from dataclasses import dataclass, field

from engine.answers import answers_match, canonical
from engine.prose import tagged
from engine.text import harmless, plain_answer, reasoning_only  # noqa: F401  re-exported

PLAIN_INSTRUCTION = (
    "Solve the problem. Reply in exactly this form:\n"
    "<think>your reasoning, step by step</think>\n"
    "<answer>the final answer only</answer>\n\n")
MRPV_INSTRUCTION = (
    "Solve the problem. Routes written by another solver follow; any of them may be wrong. Reason "
    "for yourself, then judge each route. Reply in exactly this form:\n"
    "<think>your own reasoning, step by step</think>\n"
    "<answer>the final answer only</answer>\n"
    "<scores>one number from 0 (wrong) to 1 (right) for every route, in order, separated by "
    "commas</scores>\n\n")
TEACHER_INSTRUCTION = (
    "Solve the problem step by step. End with a line that holds only the final answer, as "
    "<answer>...</answer>.\n\n")
SELECTIONS = ("random", "diverse", "balanced")
SCORE = re.compile(r"0|1|0?\.[0-9]{1,6}|1\.0{1,6}")  # in [0, 1]; float() would also take "1e-3"


# ---- what flows through the program --------------------------------------------------------------
@dataclass
class Route:
    """One chain of thought of the teacher."""
    text: str
    answer: str | None    # the final answer; None if none could be read
    correct: bool         # the label y: does the final answer equal the gold answer?
    guided: bool = False  # were the expert rules in the teacher's prompt?


@dataclass
class Problem:
    """One line of a bank."""
    question: str
    answer: str                                        # the gold answer
    routes: list[Route] = field(default_factory=list)  # the teacher's N routes
    rules: list[str] = field(default_factory=list)     # expert rules, for the teacher only
    solution: str | None = field(default=None, repr=False)  # GSM8K's own, which no prompt shows


@dataclass
class Response:
    """What the student wrote, taken apart. A field is None where the text does not hold it."""
    reasoning: str | None
    answer: str | None
    scores: list[float] | None  # one for each route, in [0, 1]; None without routes


# ---- prompts -------------------------------------------------------------------------------------
def mrpv_prompt(question, routes=()):
    r"""The student's prompt (ReaLM, MRPV): the question, then the routes in the order given.

    routes: Route objects or plain strings. Only their text is shown: no label, no score, no rule.
    Without routes the result is exactly the plain prompt.

    >>> mrpv_prompt("2 + 2?", [Route("2 + 2 = 4", "4", True)])[-45:]
    'Problem: 2 + 2?\nRoute 1: 2 + 2 = 4\nSolution:\n'
    """
    lines = [f"Problem: {harmless(question).strip()}"]
    for i, route in enumerate(routes, start=1):
        text = route if isinstance(route, str) else route.text
        lines.append(f"Route {i}: {harmless(text).strip()}")
    instruction = MRPV_INSTRUCTION if routes else PLAIN_INSTRUCTION
    return instruction + "\n".join(lines) + "\nSolution:\n"


def teacher_prompt(question, rules=()):
    """The teacher's prompt. `rules` are the expert comments of guided CoT distillation."""
    guide = ""
    if rules:
        listed = "".join(f"- {rule}\n" for rule in rules)
        guide = f"Rules of this domain, written by experts:\n{listed}\n"
    problem = f"Problem: {harmless(question).strip()}\nSolution:\n"
    return TEACHER_INSTRUCTION + harmless(guide) + problem


def demonstration(reasoning, answer, scores=None):
    """The completion that a perfect student would write. SFT trains on it.

    scores: one number for each route that is shown, or None where none is.
    """
    answer = plain_answer(str(answer))  # parse_response must read it back unchanged
    text = f"<think> {harmless(reasoning).strip()}</think>\n<answer> {answer}</answer>"
    if scores is None:
        return text
    return text + f"\n<scores> {', '.join(f'{s:g}' for s in scores)}</scores>"


# ---- the student's reply -------------------------------------------------------------------------
def parse_response(text, n_routes=0):
    """Take a completion apart -> Response. It is strict about the format and never raises.

    Reasoning counts only if the completion begins with it. The answer is the last
    <answer>...</answer> after it; one inside of <think> does not count. Scores count only if
    there is exactly one number in [0, 1] for each of the n_routes routes.

    >>> parse_response("<think>2 + 2</think> <answer>4</answer> <scores>1, 0.5</scores>", 2)
    Response(reasoning='2 + 2', answer='4', scores=[1.0, 0.5])
    >>> parse_response("<think>maybe <answer>5</answer>", 2)
    Response(reasoning=None, answer=None, scores=None)
    """
    if not isinstance(text, str):
        return Response(None, None, None)
    thought, closed, reply = text.partition("</think>")
    if closed:
        before, opened, inside = thought.partition("<think>")
        reasoning = inside.strip() if opened and not before.strip() else None
    else:  # the reasoning does not end, so only the text before it can hold an answer
        reasoning = None
        reply = text.partition("<think>")[0]
    reply = re.sub(r"<think>.*?(?:</think>|$)", "", reply, flags=re.DOTALL)  # a second thought
    answer = (tagged("answer", reply) or "").strip() or None
    scores = parse_scores(reply, n_routes) if n_routes else None
    return Response(reasoning, answer, scores)


def parse_scores(reply, n_routes):
    """The numbers of the last <scores>...</scores>: n_routes numbers in [0, 1], else None."""
    parts = re.split(r"[,\s]+", (tagged("scores", reply) or "").strip())
    if len(parts) != n_routes:
        return None
    if not all(SCORE.fullmatch(part) for part in parts):
        return None
    return [float(part) for part in parts]


# ---- which routes are shown ----------------------------------------------------------------------
def choose_routes(routes, k, rng, error_ratio=None, selection="random"):
    """Draw k of a problem's N routes, in random order (ReaLM, MRPV). rng: a random.Random.

    selection: "random" is the paper's. "diverse" takes routes with distinct final answers first.
    "balanced" takes as many right routes as wrong ones. error_ratio, in [0, 1], fixes the expected
    share of wrong routes instead: the paper's error-ratio experiment. Where a problem has too few
    routes of one kind, the other kind fills up, so that k are always shown.
    Raises ValueError if there are fewer than k routes, or for an unknown selection.
    """
    if selection not in SELECTIONS:
        raise ValueError(f"unknown selection {selection!r}: use random, diverse or balanced")
    if len(routes) < k:
        raise ValueError(
            f"{k} routes asked for, but the bank has only {len(routes)} for this question")
    drawn = rng.sample(routes, len(routes))  # all of them, shuffled; "random" takes the first k
    if error_ratio is not None:
        drawn = with_share_wrong(drawn, k, error_ratio, rng)
    elif selection == "balanced":
        drawn = with_share_wrong(drawn, k, 0.5, rng)
    elif selection == "diverse":
        drawn = new_answers_first(drawn)
    return rng.sample(drawn[:k], k)  # in a new order, so that a place in the prompt tells nothing


def with_share_wrong(drawn, k, share, rng):
    """k of the routes drawn. k * share are wrong, rounded down or up at random, if so many are."""
    wanted = int(k * share)  # rounded so that its mean is right
    if rng.random() < k * share - wanted:
        wanted += 1
    wrong = [route for route in drawn if not route.correct]
    right = [route for route in drawn if route.correct]
    n_wrong = min(wanted, len(wrong))
    n_wrong = max(n_wrong, k - len(right))  # too few right ones: wrong ones fill up
    return wrong[:n_wrong] + right[:k - n_wrong]


def new_answers_first(drawn):
    """The routes drawn. One that has no final answer, or an earlier one's, is moved to the end."""
    new, others = [], []
    for route in drawn:
        is_known = any(answers_match(route.answer, earlier.answer) for earlier in new)
        if is_known or not canonical(route.answer):  # a blank answer is none
            others.append(route)
        else:
            new.append(route)
    return new + others
