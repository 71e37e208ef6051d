"""How are the wrong routes of a bank wrong?

    python -m results.error_patterns bank.jsonl --gold train.jsonl
    python -m results.error_patterns ../shared/data/gsm8k/model_solutions_6b.jsonl --figure errors.png

Two questions, and one rule for each.

1. Do two wrong routes of one question agree? The share of pairs with the same final answer, a mean
   over questions. Chance is the same share for two wrong routes of *different* questions, each
   answer divided by its gold answer: "half of what it should be" can meet "half" elsewhere. An
   interval comes from drawing the questions again, with replacement.
2. Where is the first wrong step, and of which kind is it? A step is an equation. From the first
   step on, these rules are asked in this order (KINDS):

   slip         the equation does not hold, or the answer is no step's result
   number       an operand that is not in the question, the rules, an earlier step or the gold solution
   missing      the numbers behind the answer are some of those behind the gold answer, not all
   added        they are all of those, and more
   reading      anything else: the arithmetic holds, the question was read another way
   unreadable   no equation, or no answer

The last three need a gold solution. Without one, or where it has no equation, a wrong route in which
every equation holds and every number is known counts as "reading". A bank's own lines bring
no gold solution; --gold names a file of GSM8K's format that does. OpenAI's file of solutions
(question, ground_truth, solutions) is read as it is.
"""
import argparse
import ast
import json
import math
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

from assets.gsm8k import COUNTS, UNITS, amounts, arithmetic
from data import read_bank, read_lines, to_problem
from rewards import answers_match, canonical, final_answer, number

KINDS = ("slip", "number", "missing", "added", "reading", "unreadable")
NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
SIDE = rf"[($]*{NUMBER}%?\)*(?:\s*[-+*/x×÷]\s*[($]*{NUMBER}%?\)*)+"
EQUATION = re.compile(rf"<<([^<>=]+)=([^<>=]+)>>\s*\$?({NUMBER})?|(?<![\w.])({SIDE})\s*=\s*\$?({NUMBER})")
WORDS = {"half": 2, "halves": 2, "twice": 2, "double": 2, "doubles": 2, "doubled": 2, "couple": 2, "pair": 2,
         "both": 2, "third": 3, "thirds": 3, "thrice": 3, "triple": 3, "tripled": 3, "quarter": 4, "quarters": 4,
         "fourth": 4, "fourths": 4, "quadruple": 4, "fifth": 5, "fifths": 5, "sixth": 6, "tenth": 10, "dozen": 12,
         "dozens": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100,
         **{word: i for i, word in enumerate(COUNTS)}}
SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
BRACKET = re.compile("[-+*(]")
TOO_COMMON = {Fraction(1), Fraction(100)}  # 1 + 20/100: they say nothing about which numbers were used


@dataclass(frozen=True)
class Step:
    """One equation. values: its results as written (the annotation's, and the one in the text if another)."""
    expression: str
    operands: tuple
    values: tuple
    holds: bool | None


# ---- steps ----------------------------------------------------------------------------------------------------------
def plain(expression):
    """An expression as Python writes it: no $ and commas, * for x, 20% as (20/100)."""
    text = re.sub(r"[$,]|(?<=\d)\s+(?=\()", "", expression)
    text = re.sub(r"[x×]", "*", text).replace("÷", "/")
    return re.sub(rf"({NUMBER})%", r"(\1/100)", text).strip()


def same(exact, written):
    """Is this result what the expression gives? A number written with fewer decimals may be rounded, up or down.

    >>> same(Fraction(10, 3), "3.33"), same(Fraction(7, 2), "4"), same(Fraction(184), "174")
    (True, True, False)
    """
    value, decimals = number(written), len(written.partition(".")[2])
    if value is None or value == exact:
        return value is not None
    return abs(value - exact) < Fraction(1, 10 ** decimals) and (exact * 10 ** decimals).denominator > 1


def steps(text):
    """The equations of a solution, in order: GSM8K's <<annotations>>, and plain ones beside them. What cannot be worked out
    (a letter for an unknown, say) is a step if it is annotated, whose `holds` is None.

    >>> [(s.expression, [str(v) for v in s.values], s.holds) for s in steps("2 x 3 = $6, then <<6+1=8>>8")]
    [('2*3', ['6'], True), ('6+1', ['8'], False)]
    """
    found = []
    for match in EQUATION.finditer(text):
        expression, written = plain(match[1] or match[4]), [t.strip() for t in (match[2] or match[5], match[3]) if t]
        written = [t.rstrip(",").lstrip("$") for t in written]
        exact, values = arithmetic(expression), [number(t) for t in written]
        if exact is None and match[1]:  # an annotation that cannot be worked out
            found.append(Step(expression, (), (), None))
        elif exact is not None and None not in values and len(amounts(expression)) > 1:
            holds = all(same(exact, t) for t in written)
            found.append(Step(expression, tuple(amounts(expression)), tuple(dict.fromkeys(values)), holds))
    return found


# ---- numbers --------------------------------------------------------------------------------------------------------
def stated(text):
    """The numbers that a question states, in figures or in words."""
    words = re.findall("[a-z]+", text.lower())
    return {*amounts(text), *(Fraction(WORDS[w]) for w in words if w in WORDS)}


def given_numbers(question, rules=(), gold=()):
    """What a route may use without having worked it out: numbers of the question, of the rules and of the gold solution,
    units (7 days), and how a share is written (20%: 0.2, 0.8, 1.2, 80, 120; a half: 0.5)."""
    base = stated(" ".join([question, *rules])) | {v for step in gold for v in step.operands}
    shares = {f for v in base if 0 < v < 100 for f in (v / 100, 1 - v / 100, 1 + v / 100, 100 - v, 100 + v)}
    parts = {1 / v for v in base if 1 < v <= 12} | {Fraction(1, 2), Fraction(3, 4)}
    return base | shares | parts | set(UNITS) | {Fraction(1)}


def plain_use(value, sign, base):
    """One name for the ways in which one number of the question is used: "* 0.2", "* 0.8" and "* 1.2" are all "* 20" if the
    question says 20 (percent), and "* 0.5" is "/ 2"."""
    if value not in base:
        for whole in (value * 100, 100 - value * 100, value * 100 - 100):
            if 0 < value < 2 and whole in base:
                return whole, sign
    if 0 < value < 1 and value.numerator == 1 and sign == "*":
        return 1 / value, "/"
    return value, sign


def uses_of(expression):
    """[(number, the operation it enters)], in order. A share is one number: 20/100 of 20/100*50 is 0.2.

    >>> [(str(v), sign) for v, sign in uses_of("16-3*(1/2)")]
    [('16', '-'), ('3', '*'), ('1/2', '*')]
    """
    found = []

    def walk(node, sign):
        if isinstance(node, ast.UnaryOp):
            return walk(node.operand, sign)
        if isinstance(node, ast.Constant):
            return found.append((Fraction(repr(node.value)), sign))
        mine = SYMBOLS[type(node.op)]
        if mine == "/" and sign in ("*", "/") and arithmetic(ast.unparse(node)) < 2 and not BRACKET.search(ast.unparse(node)):
            return found.append((arithmetic(ast.unparse(node)), sign))
        walk(node.left, mine), walk(node.right, mine)
    walk(ast.parse(expression.strip(), mode="eval").body, "")
    return found


def sources(route_steps, base):
    """What each step is made from -> ([Counter of (number of the question, operation)], [the earlier steps that it uses]).
    An operand that is an earlier step's result is that step: the latest such step which no other has used yet. If all have
    been used, it is the question's number where the question states it, else the step again."""
    own, uses, used = [], [], set()
    for step in route_steps:
        numbers, mine = Counter(), set()
        for value, sign in uses_of(step.expression):
            earlier = [j for j in range(len(own)) if value in route_steps[j].values]
            fresh = [j for j in earlier if j not in used]
            if fresh or earlier and value not in base:
                mine.add((fresh or earlier)[-1])
            elif value not in TOO_COMMON:
                numbers[plain_use(value, sign, base)] += 1
        used |= mine
        own.append(numbers)
        uses.append(mine)
    return own, uses


def behind(i, own, uses):
    """All numbers of the question behind the result of step i. A step counts once, however often its result is used."""
    reached, todo = set(), [i]
    while todo:
        j = todo.pop()
        todo += uses[j] - reached
        reached |= {j}
    return sum((own[j] for j in reached), Counter())


def parts_of(expression):
    """What parts of a sum or of a product come to: of 16-3-4 also 3+4 and 16-4, of 2*3*5 also 2*5."""
    expression = expression.replace(" ", "")
    if re.fullmatch(r"[\d.]+(?:[-+][\d.]+)+", expression):
        terms, combine = [Fraction(t) for t in re.findall(r"[-+]?[\d.]+", expression)], sum
    elif re.fullmatch(r"[\d.]+(?:\*[\d.]+)+", expression):
        terms, combine = [Fraction(t) for t in expression.split("*")], math.prod
    else:
        return set()
    return {abs(combine(part)) for size in range(2, min(len(terms), 6)) for part in combinations(terms, size)}


# ---- the first wrong step -------------------------------------------------------------------------------------------
def on_the_way(route_steps, own, uses, gold_steps, gold_own):
    """Which steps are right as far as one can see: those whose result the gold solution has, too, and those that such a step
    is made from. The result of a part of a gold expression (3 + 4 of 16 - 3 - 4) counts if the route goes on with it. A
    result that is reached by a number which the gold solution does not use is a coincidence."""
    whole = {v for step in gold_steps for v in step.values}
    parts = {v for step in gold_steps for v in parts_of(step.expression)}
    numbers = {v for uses_it in gold_own for v, _ in uses_it}
    went_on = set().union(*uses)
    fine = []
    for i, step in enumerate(route_steps):
        results = set(step.values)
        known = {v for v, _ in behind(i, own, uses)} <= numbers
        fine.append(known and bool(results & whole or results & parts and i in went_on))
    for i in reversed(range(len(route_steps))):
        for j in uses[i] if fine[i] else ():
            fine[j] = True
    return fine


def compared(route_uses, gold_uses):
    """"missing", "added" or "reading", by the numbers behind two answers, each with its operation.

    >>> compared(Counter([(16, "-"), (3, "-"), (2, "*")]), Counter([(16, "-"), (3, "-"), (4, "-"), (2, "*")]))
    'missing'
    """
    lacks, extra = gold_uses - route_uses, route_uses - gold_uses
    return "missing" if lacks and not extra else "added" if extra and not lacks else "reading"


def first_error(question, text, answer, gold="", rules=()):
    """A wrong route -> (kind, index of its first wrong step, number of steps). The index is None if it is unreadable, and
    the number of steps if all of them are right (it stops too early, or its answer is another number)."""
    found, right, value = steps(text), [s for s in steps(gold) if s.holds is not None], number(answer or "")
    known, base = given_numbers(question, rules, right), stated(" ".join([question, *rules]))
    readable = [s for s in found if s.holds is not None]
    if not readable or value is None:
        return "unreadable", None, len(found)
    own, uses = sources(readable, base)
    gold_own, gold_uses = sources(right, base)
    fine = on_the_way(readable, own, uses, right, gold_own) if right else [True] * len(readable)
    fine, ends = iter(fine), [i for i, step in enumerate(readable) if value in step.values]
    for i, step in enumerate(found):
        if step.holds is None:
            return "unreadable", None, len(found)
        if not step.holds:
            return "slip", i, len(found)
        if not known.issuperset(step.operands):
            return "number", i, len(found)
        if not next(fine):
            break
        known |= set(step.values)
    else:
        i = len(found)
        if not ends:
            return "slip", i, len(found)
    if not right:
        return "reading", i, len(found)
    last = ends[-1] if ends else len(readable) - 1
    return compared(behind(last, own, uses), behind(len(right) - 1, gold_own, gold_uses)), i, len(found)


# ---- agreement ------------------------------------------------------------------------------------------------------
def relative(answer, gold):
    """A wrong answer as a multiple of the gold answer, so that wrong answers of different questions can be compared."""
    value, right = number(answer or ""), number(gold)
    return str(value / right) if value is not None and right else canonical(answer or "none")


def agreeing(answers):
    """Share of the pairs among these answers that are the same, by value."""
    counts, n = Counter(map(canonical, answers)), len(answers)
    return sum(c * (c - 1) for c in counts.values()) / (n * (n - 1))


def chance(questions, weights):
    """Probability that two wrong routes of different questions are off by the same factor. questions: a Counter of factors
    each; weights: how often each question was drawn."""
    together, total, alone, pairs = Counter(), 0, 0, 0
    for counts, w in zip(questions, weights):
        n = w * sum(counts.values())
        total, pairs = total + n, pairs + n * n
        for factor, c in counts.items():
            together[factor] += w * c
            alone += (w * c) ** 2
    return (sum(c * c for c in together.values()) - alone) / (total * total - pairs)


def agreement(problems, resamples=1000, seed=0):
    """How often two wrong routes of one question agree, what chance gives, and the difference: (value, low, high) each.
    Questions count alike, however many wrong routes they have; those with fewer than two do not count."""
    wrong = [(p, [r.answer for r in p.routes if not r.correct and r.answer]) for p in problems]
    wrong = [(p, answers) for p, answers in wrong if len(answers) >= 2]
    if len(wrong) < 2:
        return None
    shares = [agreeing(answers) for _, answers in wrong]
    factors = [Counter(relative(a, p.answer) for a in answers) for p, answers in wrong]
    rng, n = random.Random(seed), len(wrong)

    def both(weights):
        a = sum(w * s for w, s in zip(weights, shares)) / n
        c = chance(factors, weights)
        return a, c, a - c
    drawn = []
    for _ in range(resamples):
        counts = Counter(rng.choices(range(n), k=n))
        drawn.append(both([counts[i] for i in range(n)]))
    ends = [sorted(column) for column in zip(*drawn)]
    low, high = int(0.025 * resamples), int(0.975 * resamples) - 1
    values = [(v, e[low], e[high]) for v, e in zip(both([1] * n), ends)]
    return {"questions": n, **dict(zip(("agree", "chance", "excess"), values))}


# ---- a bank ---------------------------------------------------------------------------------------------------------
def read(path, gold_file=None):
    """A bank, or OpenAI's file of solutions -> (problems, {question: gold solution})."""
    gold = {}
    for _, entry in read_lines(gold_file) if gold_file else ():
        gold[entry["question"].strip()] = entry["answer"]
    entries = list(read_lines(path))
    if not all(isinstance(e, dict) and "ground_truth" in e for _, e in entries):
        return read_bank(path), gold
    problems = []
    for i, entry in entries:
        gold[entry["question"].strip()] = entry["ground_truth"]
        routes = [{"text": s["solution"]} for s in entry["solutions"]]
        line = {"question": entry["question"], "answer": final_answer(entry["ground_truth"]), "routes": routes}
        problems.append(to_problem(line, f"{path}, line {i}"))
    return problems, gold


def patterns(problems, gold):
    """All that the table and the figure show of a bank."""
    found = []
    for p in problems:
        for r in p.routes:
            if not r.correct:
                found.append(first_error(p.question, r.text, r.answer, gold.get(p.question, ""), p.rules))
    counts = Counter(kind for kind, _, _ in found)
    places = [(i, n) for _, i, n in found if i is not None]
    where = {"first": sum(i == 0 for i, n in places), "middle": sum(0 < i < n - 1 for i, n in places),
             "last": sum(0 < i == n - 1 for i, n in places), "after": sum(i == n for i, n in places)}
    total = max(1, len(found))
    return {"routes": sum(len(p.routes) for p in problems), "wrong": len(found),
            "with gold": sum(p.question in gold for p in problems) / len(problems),
            "kinds": {kind: counts[kind] / total for kind in KINDS},
            "where": {name: n / max(1, len(places)) for name, n in where.items()},
            "agreement": agreement(problems)}


def table(banks):
    """The banks' figures as Markdown."""
    names = ["routes", "wrong", "agree", "chance", "excess", *KINDS, "first step", "middle", "last", "after"]
    lines = ["| bank | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name, found in banks.items():
        agreed = found["agreement"] or dict.fromkeys(("agree", "chance", "excess"))
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*agreed[f]) if agreed[f] else "-" for f in ("agree", "chance", "excess")]
        shares = [f"{v:.2f}" for v in (*found["kinds"].values(), *found["where"].values())]
        lines.append(f"| {name} | " + " | ".join([str(found["routes"]), str(found["wrong"]), *cells, *shares]) + " |")
    return "\n".join(lines)
