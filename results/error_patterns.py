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
PERCENT = re.compile(r"[\d.]+ (?:/ 100|\* 0\.01)")
MOST_TERMS = 64  # of one result written out


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
    value, decimals = number(written), min(9, len(written.partition(".")[2]))  # a float's last digits are no slip
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
    """What a route may use without having worked it out: numbers of the question, of the rules and of the gold solution, 1,
    2, units (7 days), and how a share is written (20%: 0.2, 0.8, 1.2, 80, 120; a half: 0.5)."""
    base = stated(" ".join([question, *rules])) | {v for step in gold for v in step.operands}
    shares = {f for v in base if 0 < v < 100 for f in (v / 100, 1 - v / 100, 1 + v / 100, 100 - v, 100 + v)}
    parts = {1 / v for v in base if 1 < v <= 12} | {Fraction(1, 2), Fraction(3, 4)}
    return base | shares | parts | set(UNITS) | {Fraction(1), Fraction(2), Fraction(1, 100)}


# ---- a result as a sum of products ----------------------------------------------------------------------------------
def times(a, b, power=1):
    """The product of two terms (sign, {number: power}), or with power -1 the quotient."""
    factors = Counter(dict(a[1]))
    for number_, p in b[1]:
        factors[number_] += power * p
    return a[0] * b[0], frozenset((n, p) for n, p in factors.items() if p)


def one_number(value, base):
    """A number as terms. If the question says 20, then 0.2 is 20%, which is another number than 20, and 0.8 is 1 - 20%.
    0.75 is 3/4. 1 and 100 are left out: they say nothing about which numbers were used."""
    for rest, sign in ((0, 1), (1, -1), (1, 1)):
        whole = (value - rest) * sign * 100
        if value not in base and 0 < value < 2 and whole in base:
            return [(1, frozenset())] * rest + [(sign, frozenset({(whole / 100, 1)}))]
    if value.denominator > 1 and max(value.numerator, value.denominator) <= 12:
        pair = {(Fraction(value.numerator), 1), (Fraction(value.denominator), -1)}
        return [(1, frozenset(f for f in pair if f[0] != 1))]
    return [(1, frozenset() if value in (1, 100, Fraction(1, 100)) else frozenset({(value, 1)}))]


def terms_of(node, resolve):
    """A parsed expression written out as a sum of products: [(sign, {(number, power)})]. resolve: number -> its terms.
    A division by a sum stays one factor, the sum's value."""
    if isinstance(node, ast.UnaryOp):
        return [(-sign, factors) for sign, factors in terms_of(node.operand, resolve)]
    if isinstance(node, ast.Constant):
        return resolve(Fraction(repr(node.value)))
    if PERCENT.fullmatch(ast.unparse(node)):
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
    """Each step's result as a sum of products of the question's numbers -> (terms of each step, steps that each uses).
    An operand that is an earlier step's result is that step: the latest such step which no other has used yet. If all have
    been used, it is the question's number where the question states it, else the step again.

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
    """Is each product a part of one of the whole's products, another for each, with the same sign (or all with the other)?

    >>> a, b, c = ((Fraction(n), 1) for n in (16, 3, 2))
    >>> part_of([(1, frozenset({a}))], [(1, frozenset({a, c})), (-1, frozenset({b, c}))])
    True
    """
    def within(small, large):
        powers = dict(large)
        return bool(small) >= bool(large) and all(powers.get(n, 0) * p >= p * p for n, p in small)

    for flip in (1, -1):
        left = sorted(whole, key=lambda term: len(term[1]))
        for sign, factors in sorted(terms, key=lambda term: -len(term[1])):
            match = next((t for t in left if t[0] == flip * sign and within(factors, t[1])), None)
            if match is None:
                break
            left.remove(match)
        else:
            return True
    return False


# ---- the first wrong step -------------------------------------------------------------------------------------------
def on_the_way(route_steps, terms, uses, gold_steps, gold_terms, incomplete=False):
    """Which steps are right as far as one can see: the gold solution has their result, too; or such a step is made from
    them; with `incomplete`, also if their result is a part of the gold answer, and the route goes on with it. A result that
    is reached by a number which the gold solution does not use is a coincidence."""
    results = {v for step in gold_steps for v in step.values}
    numbers = {n for step in gold_terms for _, factors in step for n, _ in factors}
    went_on, fine = set().union(*uses) if incomplete else set(), []
    for i, step in enumerate(route_steps):
        known = {n for _, factors in terms[i] for n, _ in factors} <= numbers
        fine.append(known and (not results.isdisjoint(step.values) or i in went_on and part_of(terms[i], gold_terms[-1])))
    for i in reversed(range(len(route_steps))):
        for j in uses[i] if fine[i] else ():
            fine[j] = True
    return fine


def first_error(question, text, answer, gold="", rules=()):
    """A wrong route -> (kind, index of its first wrong step, number of steps). The index is None if it is unreadable, and
    the number of steps if all of them are right (it stops too early, or its answer is another number)."""
    found, right, value = steps(text), [s for s in steps(gold) if s.holds is not None], number(answer or "")
    known, base = given_numbers(question, rules, right), stated(" ".join([question, *rules]))
    readable = [s for s in found if s.holds is not None]
    if not readable or value is None or 2 * len(found) < sum("=" in line for line in text.splitlines()):
        return "unreadable", None, len(found)
    terms, uses = written_out(readable, base)
    gold_terms, _ = written_out(right, base)
    fine = on_the_way(readable, terms, uses, right, gold_terms, incomplete=True) if right else [True] * len(readable)
    for i, step in enumerate(found):
        if step.holds is None:
            return "unreadable", None, len(found)
        if not step.holds:
            return "slip", i, len(found)
        if not known.issuperset(step.operands):
            return "number", i, len(found)
        if not fine[i]:
            break
        known |= set(step.values)
    else:
        i = len(found)
    ends = [terms[j] for j, step in enumerate(readable) if value in step.values]
    if i == len(found) and not ends:
        return "slip", i, len(found)
    if not right:
        return "reading", i, len(found)
    if part_of(terms[i] if i < len(found) else ends[-1], gold_terms[-1]):
        strict = on_the_way(readable, terms, uses, right, gold_terms)  # where it began to be incomplete
        return "missing", (strict + [False]).index(False), len(found)
    return "added" if part_of(gold_terms[-1], (ends or terms)[-1]) else "reading", i, len(found)


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


def draw(banks, path):
    """Left: how often wrong routes agree, with the interval, and chance. Right: what kinds of first mistakes there are."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 1.6 + 0.45 * len(banks)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for y, found in enumerate(banks.values()):
        agreed = found["agreement"]
        if agreed:
            value, low, high = agreed["agree"]
            left.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", color="C0", label="observed" * (y == 0))
            left.plot(agreed["chance"][0], y, "k|", markersize=14, label="chance" * (y == 0))
        start = 0
        for i, (kind, share) in enumerate(found["kinds"].items()):
            right.barh(y, share, left=start, color=f"C{i}", label=kind * (y == 0))
            start += share
    left.set(title="two wrong routes have the same answer", xlim=(-0.02, 1.02), yticks=range(len(banks)), yticklabels=banks)
    left.invert_yaxis()
    right.set(title="first wrong step: kind", xlim=(0, 1))
    for ax, columns in ((left, 2), (right, 6)):
        ax.legend(fontsize=8, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.08), columnspacing=1)
    figure.savefig(path, dpi=110)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banks", nargs="+", help="banks, or OpenAI's file of model solutions; NAME=FILE names one in the table")
    parser.add_argument("--gold", help="a file of GSM8K's format, with the gold solutions of the questions")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path, help="save all figures of the table")
    args = parser.parse_args(argv)
    found = {}
    try:
        for bank in args.banks:
            name, _, file = bank.rpartition("=")
            found[name or Path(file).stem] = patterns(*read(file, args.gold))
    except ValueError as error:
        sys.exit(f"error_patterns: {error}")
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.figure:
        draw(found, args.figure)


if __name__ == "__main__":
    main()
