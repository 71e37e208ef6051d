"""How are the wrong routes of a bank wrong?

    python -m results.error_patterns bank.jsonl --gold train.jsonl
    python -m results.error_patterns model_solutions_6b.jsonl --figure errors.png

It asks two things.

1. Do two wrong routes of one question agree? This is the share of pairs with the same final
   answer, a mean over questions. Chance is that share for two wrong routes of *different*
   questions, each answer divided by its gold answer: half of what is right here, and half of
   what is right there, agree. What follows from a mistake hides it, so the first wrong steps
   of two routes are compared too. Intervals (95%) come from drawing the questions again.
2. Where is the first wrong step, and of which kind? A step is an equation. Going through the
   steps, the first one to which a rule applies is the first wrong step:

   slip         the equation does not hold, or the answer is no step's result
   number       an operand from nowhere: not in the question, the rules or the gold solution,
                no earlier result, not the sum of all of them so far, no unit (7 days), not 1 or
                2, and no way to write a share
   missing      where the route leaves the gold answer it has a part of it, or it stops early
   added        the gold answer is a part of the route's answer
   reading      anything else: the arithmetic holds, the question was read another way
   unreadable   no answer, an equation with an unknown before any wrong step, or fewer equations
                than half of the lines that have a "="

   A step is right if the gold solution has its result and uses its numbers, or if a right step is
   made from it. A part of the gold answer that is never made whole is not right. Slips and numbers
   from nowhere are looked for first, as far as the steps are right or parts of the gold answer.
   For "a part" results are written out as sums of products of the question's numbers.
   (16 - 3 - 4) * 2 is 16*2 - 3*2 - 4*2, and (16 - 3) * 2 is a part of it. 16*2 + 3*2 is none: a
   sign differs.

"missing", "added" and most of "reading" need a gold solution. (If it works its answer out in words,
only a route that has its first equations is "missing".) A bank has none, so --gold names a file of
GSM8K's format. Without one, a wrong route in which every equation holds and every number is known
counts as "reading". OpenAI's file of model solutions is read as it is.
"""

import argparse
import ast
import json
import math
import random
import re
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from engine.answers import quantity
from engine.bank import lack_routes, read_bank, read_lines, to_problem
from engine.report import check_figure, check_json
from rewards import canonical, final_answer, number
from tasks.gsm8k_mistakes import (NUMBER_WORDS, STEP, UNITS, amounts, annotated,
                                  arithmetic)

KINDS = ("slip", "number", "missing", "added", "reading", "unreadable")
PLACES = ("first step", "middle", "last", "after")
NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
SIDE = rf"[($]*{NUMBER}%?\)*(?:\s*[-+*/x×÷]\s*[($]*{NUMBER}%?\)*)+"
ANNOTATION = rf"<<([^<>=]+)=([^<>=]+)>>\s*\$?({NUMBER}(?:/\d+)?)?"
ALONE = (  # not the end of something longer
    r"(?<![\w.)/*+–-])(?<!\d[^\S\n])(?<![-+*/x×÷–][^\S\n])(?<!\bof\s)")
BEHIND = r"(?!\w|\s*[-+*/x×÷]\s*[($]*\d|\d)"
EQUATION = re.compile(rf"{ANNOTATION}|{ALONE}({SIDE})\s*=\s*\$?({NUMBER})(%?){BEHIND}")
WORDS = {
    2: "half halves twice double doubles doubled couple pair both",
    3: "third thirds thrice triple tripled",
    4: "quarter quarters fourth fourths quadruple",
    **{5: "fifth fifths", 6: "sixth", 10: "tenth", 12: "dozen dozens", 15: "fifteen"},
    **{20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 100: "hundred"},
}
VALUE = {word: n for n, words in [*enumerate(NUMBER_WORDS), *WORDS.items()]
         for word in words.split()}
PERCENT = re.compile(r"[\d.]+ (?:/ 100|\* 0\.01)")  # 20/100, or 20*.01, as ast writes it
REPEATED = re.compile(rf"<<({NUMBER})=\1>>")  # an annotation that says nothing: <<6=6>>
SIGNS = str.maketrans({"−": "-", "·": "*", "⋅": "*", "∗": "*"})
MOST_TERMS = 64  # of one result written out


@dataclass(frozen=True)
class Step:
    """One equation. values: its result as written, and a second one where annotation and text
    differ. holds: None if the equation cannot be worked out."""

    expression: str
    operands: tuple
    values: tuple
    holds: bool | None


@dataclass(frozen=True)
class Error:
    """The first wrong step of a route: kind (of KINDS), index, number of steps, result."""

    kind: str
    step: int | None
    steps: int
    result: Fraction | None = None


# ---- steps ---------------------------------------------------------------------------------------
def plain(expression):
    """An expression as Python writes it: no $ and commas, * for x, and a share in brackets.

    >>> plain("20% x 50"), plain("$50*20/100")
    ('(20/100) * 50', '50*(20/100)')
    """
    text = re.sub(r"[$,]|(?<=\d)\s+(?=\()", "", expression)
    text = re.sub(r"[x×]", "*", text).replace("÷", "/")
    text = re.sub(rf"({NUMBER})%", r"(\1/100)", text)
    share = rf"(?<=\*)\s*({NUMBER})\s*(/\s*100|\*\s*0?\.01)(?![\d.])"
    return re.sub(share, r"(\1\2)", text).strip()


def same(exact, written):
    """Is this result what the expression gives? A number written with fewer decimals may be
    rounded, up or down.

    >>> same(Fraction(10, 3), "3.33"), same(Fraction(7, 2), "4"), same(Fraction(184), "174")
    (True, True, False)
    """
    value = number(written)
    decimals = len(written.partition(".")[2])
    if value is None or value == exact:
        return value is not None
    if decimals > 9:  # a float's last digits are no slip: 0.30000000000000004
        return abs(value - exact) < Fraction(1, 10**9)
    return abs(value - exact) < Fraction(1, 10**decimals) and (exact * 10**decimals).denominator > 1


def steps(text):
    """The equations of a solution, in order: GSM8K's <<annotations>>, and plain ones beside them.
    An annotation that cannot be worked out, because it has an unknown, is a step too.

    >>> [(s.expression, str(s.values[0]), s.holds) for s in steps("2 x 3 = $6, then <<6+1=8>>8")]
    [('2 * 3', '6', True), ('6+1', '8', False)]
    """
    found = []
    text = re.sub(r"\\(?:times|cdot)\b", "*", text.translate(SIGNS))
    for match in EQUATION.finditer(REPEATED.sub("", text)):
        expression = plain(match[1] or match[4])
        written = [t.strip().strip(",$") for t in (match[2] or match[5], match[3]) if t]
        exact, values = arithmetic(expression), [number(t) for t in written]
        if exact is None and match[1]:
            found.append(Step(expression, (), (), None))
        elif exact is not None and None not in values and len(amounts(expression)) > 1:
            holds = all(same(exact, t) or match[6] and same(100 * exact, t) for t in written)
            operands, values = tuple(amounts(expression)), tuple(dict.fromkeys(values))
            found.append(Step(expression, operands, values, holds))
    return found


# ---- numbers -------------------------------------------------------------------------------------
def stated(text):
    """The numbers that a question states, in figures or in words."""
    words = re.findall("[a-z]+", text.lower())
    return {*amounts(text), *(Fraction(VALUE[w]) for w in words if w in VALUE)}


def given_numbers(question, rules=(), gold=()):
    """What a route may use without having worked it out: numbers of the question, of the rules and
    of the gold solution, 1, 2, units (7 days), and how a share is written (20%: 0.2, 0.8, 1.2,
    80, 120; a half: 0.5)."""
    base = stated(" ".join([question, *rules])) | {v for step in gold for v in step.operands}
    shares = set()
    for v in base:
        if 0 < v < 100:
            shares |= {v / 100, 1 - v / 100, 1 + v / 100, 100 - v, 100 + v}
    parts = {1 / v for v in base if 1 < v <= 12} | {Fraction(1, 2), Fraction(3, 4)}
    return base | shares | parts | set(UNITS) | {Fraction(1), Fraction(2), Fraction(1, 100)}


# ---- a result as a sum of products ---------------------------------------------------------------
def times(a, b, power=1):
    """The product of two terms (sign, {number: power}), or with power -1 the quotient."""
    factors = Counter(dict(a[1]))
    for number_, p in b[1]:
        factors[number_] += power * p
    return a[0] * b[0], frozenset((n, p) for n, p in factors.items() if p)


def one_number(value, base):
    """A number as terms. If the question says 20, then 0.2 is 20%, which is another number than
    20, and 0.8 is 1 - 20%. 0.75 is 3/4. 1 and 100 are left out: they say nothing about which
    numbers were used."""
    for rest, sign in ((0, 1), (1, -1), (1, 1)):
        whole = (value - rest) * sign * 100
        if value not in base and 0 < value < 2 and whole in base:
            return [(1, frozenset())] * rest + [(sign, frozenset({(whole / 100, 1)}))]
    if value.denominator > 1 and max(value.numerator, value.denominator) <= 12:
        pair = (Fraction(value.numerator), 1), (Fraction(value.denominator), -1)
        return [(1, frozenset(f for f in pair if f[0] != 1))]
    return [(1, frozenset() if value in (1, 100, Fraction(1, 100)) else frozenset({(value, 1)}))]


def terms_of(node, resolve):
    """A parsed expression written out as a sum of products: [(sign, {(number, power)})]. resolve:
    number -> its terms. A division by a sum stays one factor, the sum's value."""
    if isinstance(node, ast.UnaryOp):
        return [(-sign, factors) for sign, factors in terms_of(node.operand, resolve)]
    if isinstance(node, ast.Constant):
        return resolve(Fraction(repr(node.value)))
    if PERCENT.fullmatch(ast.unparse(node)) and node.left.value <= 100:  # 500/100 is no share
        return resolve(arithmetic(ast.unparse(node)))
    left, right = terms_of(node.left, resolve), terms_of(node.right, resolve)
    if isinstance(node.op, (ast.Add, ast.Sub)):
        sign = 1 if isinstance(node.op, ast.Add) else -1
        return (left + [(sign * s, factors) for s, factors in right])[:MOST_TERMS]
    power = 1 if isinstance(node.op, ast.Mult) else -1
    if power == -1 and len(right) > 1:
        right = [(1, frozenset({(arithmetic(ast.unparse(node.right)), 1)}))]
    return [times(a, b, power) for a in left for b in right][:MOST_TERMS]


def written_out(route_steps, base):
    """Each step's result as a sum of products of the question's numbers -> (terms of each step,
    steps that each uses). An operand that is an earlier step's result is that step: the latest
    such step which no other has used yet. If all have been used, it is the question's number
    where the question states it, else the step again.

    >>> terms, uses = written_out(steps("16-3=<<16-3=13>>13, 13*2=<<13*2=26>>26"), {16, 3, 2})
    >>> sorted((s, sorted((int(n), p) for n, p in factors)) for s, factors in terms[1]), uses
    ([(-1, [(2, 1), (3, 1)]), (1, [(2, 1), (16, 1)])], [set(), {0}])
    """
    terms, uses, used = [], [], set()
    for step in route_steps:
        mine = set()

        def resolve(value):
            earlier = [j for j in range(len(terms)) if value in route_steps[j].values]
            fresh = [j for j in earlier if j not in used | mine]
            if not fresh and (not earlier or value in base):
                return one_number(value, base)
            mine.add((fresh or earlier)[-1])
            return terms[(fresh or earlier)[-1]]

        terms.append(terms_of(ast.parse(step.expression, mode="eval").body, resolve))
        uses.append(mine)
        used |= mine
    return terms, uses


def part_of(terms, whole):
    """Is each product a part of one of the whole's products, another for each, with the same sign
    (or all with the other)?

    >>> a, b, c = ((Fraction(n), 1) for n in (16, 3, 2))
    >>> part_of([(1, frozenset({a}))], [(1, frozenset({a, c})), (-1, frozenset({b, c}))])
    True
    """

    def within(small, large):
        powers = dict(large)
        return bool(small) >= bool(large) and all(powers.get(n, 0) * p >= p * p for n, p in small)

    def finds_a_place(i, flip, taken, tried):
        """Give product i a place, and move those that hold it to others if need be."""
        sign, factors = terms[i]
        for j, (other, larger) in enumerate(whole):
            if j in tried or other != flip * sign or not within(factors, larger):
                continue
            tried.add(j)
            if j not in taken or finds_a_place(taken[j], flip, taken, tried):
                taken[j] = i
                return True
        return False

    for flip in (1, -1):
        taken = {}  # place -> product
        if all(finds_a_place(i, flip, taken, set()) for i in range(len(terms))):
            return True
    return False


# ---- the first wrong step ------------------------------------------------------------------------
def on_the_way(route_steps, terms, uses, gold_steps, gold_terms, whole=None):
    """Which steps are right as far as one can see: the gold solution has their result, too; or
    such a step is made from them; or, if the terms of the gold answer are given (whole), their
    result is a part of it, and the route goes on with it. A result that is reached by a number
    which the gold solution does not use is a coincidence."""
    results = {v for step in gold_steps for v in step.values}
    numbers = {n for step in gold_terms for _, factors in step for n, _ in factors}
    went_on, fine = set().union(*uses) if whole else set(), []
    for i, step in enumerate(route_steps):
        known = {n for _, factors in terms[i] for n, _ in factors} <= numbers
        reached = not results.isdisjoint(step.values)
        fine.append(known and (reached or i in went_on and part_of(terms[i], whole)))
    for i in reversed(range(len(route_steps))):
        for j in uses[i] if fine[i] else ():
            fine[j] = True
    return fine


def value_of(answer):
    """The value of an answer that is a number and at most a unit, else None."""
    found = quantity(answer or "")
    return found[0] if found else None


def gold_answer(gold, right, terms):
    """The terms of the gold answer, or None if no equation of the gold solution results in it."""
    value = value_of(final_answer(gold))
    ends = [terms[i] for i, step in enumerate(right) if value in step.values]
    return ends[-1] if ends else None


def is_beginning(route_steps, gold_steps):
    """Are a route's equations the first ones of the gold solution, and not all of them?"""
    def content(some):
        return [(sorted(step.operands), step.values[-1]) for step in some]

    n = len(route_steps)
    return n < len(gold_steps) and content(route_steps) == content(gold_steps[:n])


def first_error(question, text, answer, gold="", rules=()):
    """How a wrong route is wrong -> Error. Its step is None if it is unreadable, and its number of
    steps if all of them are right: it stops too early, or its answer is another number."""
    found, value = steps(text), value_of(answer)
    readable, right = ([s for s in every if s.holds is not None] for every in (found, steps(gold)))
    n = len(found)
    if not readable or value is None or 2 * n < sum("=" in line for line in text.splitlines()):
        return Error("unreadable", None, n)
    known, base = given_numbers(question, rules, right), stated(" ".join([question, *rules]))
    terms, uses = written_out(readable, base)
    gold_terms, _ = written_out(right, base)
    whole = gold_answer(gold, right, gold_terms)
    fine = [True] * n
    if right:
        fine = on_the_way(readable, terms, uses, right, gold_terms, whole)
    i = 0
    while i < n:
        step = found[i]
        if step.holds is None:
            return Error("unreadable", None, n)
        running = sum(s.values[-1] for s in found[:i]) if i > 1 else None
        if not step.holds or not known.issuperset({*step.operands} - {running}):
            return Error("number" if step.holds else "slip", i, n, step.values[-1])
        if not fine[i]:
            break
        known |= set(step.values)
        i += 1
    result = found[i].values[-1] if i < n else value
    ends = [terms[j] for j, step in enumerate(readable) if value in step.values]
    if i == n and not ends:
        return Error("slip", i, n, result)
    if not right:
        return Error("reading", i, n, result)
    is_part = whole and part_of(terms[i] if i < n else ends[-1], whole)
    if is_part or i == n and is_beginning(readable, right):
        kind = "missing"
    elif whole and part_of(whole, (ends or terms)[-1]):
        kind = "added"
    else:
        kind = "reading"
    # A part of the gold answer that is never made whole is the first wrong step, whatever follows.
    first = [*on_the_way(readable, terms, uses, right, gold_terms), False].index(False)
    return Error(kind, first, n, found[first].values[-1] if first < n else value)


# ---- agreement -----------------------------------------------------------------------------------
def agreeing(values):
    """Share of the pairs among these values that are equal.

    >>> agreeing(["1", "1", "2"])
    0.3333333333333333
    """
    n = len(values)
    return sum(c * (c - 1) for c in Counter(values).values()) / (n * (n - 1))


def relative(answer, gold):
    """A wrong answer as a multiple of the gold answer, so that wrong answers of different
    questions can be compared."""
    value, right = value_of(answer), value_of(gold)
    return str(value / right) if value is not None and right else canonical(answer)


def chance(questions, weights):
    """Probability that two wrong routes of different questions are off by the same factor.
    questions: a Counter of factors each; weights: how often each question was drawn."""
    together, total, within, same_question = Counter(), 0, 0, 0
    for factors, w in zip(questions, weights):
        n = w * sum(factors.values())
        total, same_question = total + n, same_question + n * n
        for factor, c in factors.items():
            together[factor] += w * c
            within += (w * c) ** 2
    pairs = total * total - same_question
    return (sum(c * c for c in together.values()) - within) / pairs if pairs else 0.0


def with_interval(statistics_of, n, resamples=1000, seed=0):
    """Several statistics of n questions, each as (value, low, high): a 95% interval from questions
    drawn again with replacement. statistics_of: weights of the questions -> tuple."""
    rng, drawn = random.Random(seed), []
    for _ in range(resamples):
        counts = Counter(rng.choices(range(n), k=n))
        drawn.append(statistics_of([counts[i] for i in range(n)]))
    low, high = round(0.025 * resamples), round(0.975 * resamples) - 1
    ends = [sorted(column) for column in zip(*drawn)]
    return [(value, e[low], e[high]) for value, e in zip(statistics_of([1] * n), ends)]


def agreement(problems, resamples=1000):
    """How often two wrong routes of one question agree, what chance gives, and the difference.
    Questions count alike, however many wrong routes they have; those with fewer than two do not
    count. None if fewer than two questions are left."""
    wrong = [(p, [r.answer for r in p.routes if not r.correct and r.answer]) for p in problems]
    wrong = [(p, answers) for p, answers in wrong if len(answers) >= 2]
    if len(wrong) < 2:
        return None
    shares = [agreeing([canonical(a) for a in answers]) for _, answers in wrong]
    factors = [Counter(relative(a, p.answer) for a in answers) for p, answers in wrong]

    def statistics_of(weights):
        agree = sum(w * s for w, s in zip(weights, shares)) / len(wrong)
        by_chance = chance(factors, weights)
        return agree, by_chance, agree - by_chance

    agree, by_chance, excess = with_interval(statistics_of, len(wrong), resamples)
    return {"questions": len(wrong), "agree": agree, "chance": by_chance, "excess": excess}


def agreement_at_first(errors, resamples=1000):
    """Two wrong routes of one question that go wrong at the same step first: how often do they
    have the same result there? What follows from a mistake does not count, only the mistake.
    errors: the Errors of each question."""
    shares = []
    for found in errors:
        places = {}
        for e in found:
            places.setdefault(e.step, []).append(e.result)
        together = [r for i, r in places.items() if i is not None and len(r) >= 2]
        pairs = [len(results) * (len(results) - 1) for results in together]
        if pairs:
            same_result = sum(n * agreeing(results) for n, results in zip(pairs, together))
            shares.append(same_result / sum(pairs))
    if len(shares) < 2:
        return None

    def statistics_of(weights):
        return (sum(w * s for w, s in zip(weights, shares)) / len(shares),)

    return {
        "questions": len(shares),
        "agree": with_interval(statistics_of, len(shares), resamples)[0],
    }


# ---- a bank --------------------------------------------------------------------------------------
def read(path, gold_file=None):
    """A bank, or OpenAI's file of solutions -> (problems, {question: gold solution}). Raises
    ValueError, naming file and line."""
    gold = {}
    if gold_file:
        gold = {p.question: p.solution for p in read_bank(gold_file) if p.solution}
    entries = list(read_lines(path))
    if not entries or not all(isinstance(e, dict) and "ground_truth" in e for _, e in entries):
        problems = read_bank(path)
        if lack_routes(problems):
            raise ValueError(f"{path}: holds no routes")
        return problems, gold
    problems = []
    for i, entry in entries:
        try:
            truth, routes = entry["ground_truth"], [s["solution"] for s in entry["solutions"]]
        except (KeyError, TypeError):
            raise ValueError(f"{path}, line {i}: not a line of question, ground_truth, solutions")
        line = {"question": entry.get("question"), "answer": final_answer(truth)}
        line["routes"] = [{"text": text} for text in routes]
        problems.append(to_problem(line, f"{path}, line {i}"))
        gold[problems[-1].question] = truth
    return problems, gold


def error_of(problem, route, gold):
    """first_error of one route of a problem. gold: {question: gold solution}."""
    solution = gold.get(problem.question, "")
    return first_error(problem.question, route.text, route.answer, solution, problem.rules)


def patterns(problems, gold):
    """All that the table and the figure show of a bank. "alarms": right routes in which the rules
    see a wrong step."""
    errors, alarms = [], []
    for p in problems:
        errors.append([error_of(p, r, gold) for r in p.routes if not r.correct])
        for e in (error_of(p, r, gold) for r in p.routes if r.correct):
            alarms.append(e.step is None or e.step < e.steps)
    every = [e for found in errors for e in found]
    placed = [e for e in every if e.step is not None]
    kinds = Counter(e.kind for e in every)
    where = Counter(place(e) for e in placed)
    return {
        "routes": sum(len(p.routes) for p in problems),
        "wrong": len(every),
        "with gold": sum(p.question in gold for p in problems) / len(problems),
        "kinds": {kind: kinds[kind] / max(1, len(every)) for kind in KINDS},
        "where": {name: where[name] / max(1, len(placed)) for name in PLACES},
        "alarms": sum(alarms) / max(1, len(alarms)),
        "agreement": agreement(problems),
        "agreement at first": agreement_at_first(errors),
    }


def place(error):
    """Where in its route the first wrong step is (PLACES). "after": no step is wrong."""
    if error.step == error.steps:
        return "after"
    if error.step == 0:
        return "first step"
    return "last" if error.step == error.steps - 1 else "middle"


def table(banks):
    """The banks' figures as two Markdown tables."""

    def row(*cells):
        return "| " + " | ".join(map(str, cells)) + " |"

    def cell(found, figure):
        return "{:.3f} [{:.3f}, {:.3f}]".format(*found[figure]) if found else "-"

    head = "bank", "routes", "wrong", "questions", "agree", "chance", "excess", "agree at first"
    lines = [row(*head), "|---" * len(head) + "|"]
    for name, found in banks.items():
        agreed = found["agreement"]
        cells = [cell(agreed, figure) for figure in head[4:7]]
        cells.append(cell(found["agreement at first"], "agree"))
        questions = agreed["questions"] if agreed else 0
        lines.append(row(name, found["routes"], found["wrong"], questions, *cells))
    head = "bank", *KINDS, *PLACES, "alarms"
    lines += ["", row(*head), "|---" * len(head) + "|"]
    for name, found in banks.items():
        shares = {**found["kinds"], **found["where"], "alarms": found["alarms"]}
        if not found["with gold"]:
            shares["missing"] = shares["added"] = None  # only a gold solution could tell
        cells = ["-" if share is None else f"{share:.2f}" for share in shares.values()]
        lines.append(row(name, *cells))
    return "\n".join(lines)


# ---- are the rules right? ------------------------------------------------------------------------
def kappa(pairs):
    """Cohen's kappa of two labellers: [(label of one, label of the other)] -> agreement beyond
    chance, 1 at most.

    >>> kappa([("a", "a"), ("a", "a"), ("b", "b"), ("b", "a")])
    0.5
    """
    n = len(pairs)
    one, other = (Counter(column) for column in zip(*pairs))
    expected = sum(one[label] * other[label] for label in one) / n**2
    return (sum(a == b for a, b in pairs) / n - expected) / (1 - expected) if expected < 1 else 1.0


def compare_by_hand(problems, gold, hand):
    """Labels given by hand against the rules' -> lines of text, by round. hand: [{line, crc32,
    route, hand, "hand step", round}]; lines and steps count from 1; crc32 is the question's, so
    that another file is noticed."""
    rounds = {}
    for entry in hand:
        line = entry["line"]
        p = problems[line - 1] if line <= len(problems) else None
        if p is None or zlib.crc32(p.question.encode()) != entry.get("crc32"):
            raise ValueError(f"--hand: line {line} of the bank is not the question that was read")
        e = error_of(p, p.routes[entry["route"]], gold)
        step = None if e.step is None else e.step + 1
        labels = (entry["hand"], e.kind), entry["hand step"] == step
        rounds.setdefault(entry["round"], []).append(labels)
    lines = []
    for name, found in rounds.items():
        pairs, placed = zip(*found)
        kinds = sum(a == b for a, b in pairs) / len(pairs)
        lines.append(
            f"round {name}: {len(pairs)} read by hand; the same kind {kinds:.2f} (kappa "
            f"{kappa(pairs):.2f}), the same first wrong step {sum(placed) / len(placed):.2f}"
        )
        apart = Counter(f"{a} by hand, {b} by rule" for a, b in pairs if a != b)
        lines.append("    " + "; ".join(f"{what}: {n}" for what, n in apart.most_common()))
    return lines


def known_mistakes(problems, gold):
    """The rules against tasks/gsm8k_mistakes, whose wrong routes are the gold solution with one
    mistake in it: the first step that differs -> lines of text, one for each kind of mistake."""
    found = {}
    for p in problems:
        before = STEP.findall(annotated(gold.get(p.question, "").strip()))
        for r in {r.text: r for r in p.routes if before and not r.correct}.values():
            after = STEP.findall(r.text)
            if [s.expression for s in steps(r.text)] != [plain(written) for written, _ in after]:
                continue  # equations beside the annotations: steps are counted otherwise
            step = next((i for i, (a, b) in enumerate(zip(after, before)) if a != b), len(after))
            e = error_of(p, r, gold)
            found.setdefault(what_changed(after, before, step), []).append((e.kind, e.step == step))
    lines = []
    for mistake, labels in sorted(found.items()):
        kinds, placed = zip(*labels)
        shares = ", ".join(f"{k} {n / len(kinds):.2f}" for k, n in Counter(kinds).most_common())
        lines.append(
            f"{mistake}: {len(kinds)} different routes; the step found in "
            f"{sum(placed) / len(placed):.2f}; by rule {shares}"
        )
    return lines


def what_changed(after, before, step):
    """The mistake that tasks/gsm8k_mistakes made: a slip, another operation, another operand, a
    term forgotten, or a solution unfinished."""
    if step == len(after):
        return "unfinished"
    (new, _), (old, _) = after[step], before[step]
    if new == old:
        return "slip"
    new, old = amounts(new), amounts(old)
    return "operation" if new == old else "term" if len(new) < len(old) else "operand"


# ---- figure and command line ---------------------------------------------------------------------
def draw(banks, path):
    """Left: how often two wrong routes agree, in their answers and at their first wrong step, with
    intervals, and chance. Right: the kinds of first wrong steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.8 + 0.45 * len(banks)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for y, found in enumerate(banks.values()):
        agreed, first = found["agreement"], found["agreement at first"]
        if agreed:
            left.plot(agreed["chance"][0], y, "k|", markersize=14, label="chance" * (y == 0))
            points = [("same answer", "o", agreed), ("same first wrong step", "s", first)]
            for i, (label, marker, which) in enumerate(points):
                value, low, high = which["agree"] if which else (math.nan,) * 3
                ends = [[value - low], [high - value]]
                at, shown = y - 0.15 + 0.3 * i, label * (y == 0)
                left.errorbar(value, at, xerr=ends, fmt=marker, color=f"C{i}", label=shown)
        start = 0
        for i, (kind, share) in enumerate(found["kinds"].items()):
            right.barh(y, share, left=start, color=f"C{i}", label=kind * (y == 0))
            start += share
    left.set(title="two wrong routes of one question agree", xlim=(-0.02, 1.02))
    left.set(yticks=range(len(banks)), yticklabels=banks)
    left.invert_yaxis()
    right.set(title="kind of the first wrong step", xlim=(0, 1))
    for ax, columns in ((left, 3), (right, 6)):
        ax.legend(fontsize=8, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    figure.savefig(path, dpi=110)


def named(bank):
    """A bank on the command line, FILE or NAME=FILE -> (name, file)."""
    name, equals, file = bank.partition("=")
    if not equals or Path(bank).exists():
        return Path(bank).stem, bank
    return name, file


def main(argv=None):
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    add = parser.add_argument
    add("banks", nargs="+", help="banks, or OpenAI's file of solutions; NAME=FILE names one")
    add("--gold", help="a file of GSM8K's format, with the gold solutions of the questions")
    add("--hand", type=Path, help="labels given by hand to routes of the first bank, to compare")
    add("--known", action="store_true", help="compare with the simulated gsm8k teacher's mistakes")
    add("--figure", help="draw the banks' agreement and kinds")
    add("--json", help="save all figures of the tables")
    args = parser.parse_args(argv)
    found, lines = {}, []
    try:
        if args.json:
            check_json("--json", args.json)
        if args.figure:
            check_figure("--figure", args.figure)
        for bank in args.banks:
            name, file = named(bank)
            if name in found:
                raise ValueError(f"two banks are called {name}: give them names, as NAME=FILE")
            problems, gold = read(file, args.gold)
            if args.hand and not found:
                lines += compare_by_hand(problems, gold, json.loads(args.hand.read_text()))
            if args.known:
                lines += known_mistakes(problems, gold)
            found[name] = patterns(problems, gold)
        if args.gold and not any(figures["with gold"] for figures in found.values()):
            raise ValueError(f"--gold {args.gold}: holds the solution of no question of the banks")
    except (ValueError, OSError) as error:
        sys.exit(f"error_patterns: {error}")
    print("\n".join([table(found), *[""] * bool(lines), *lines]))
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")
    if args.figure:
        draw(found, args.figure)


if __name__ == "__main__":
    main()
