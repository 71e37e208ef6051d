"""Our answer reading against math-verify's: python -m tests.differential

math-verify (PyPI) is an independent checker. It is for this check only and no dependency. Without
it, nothing is run. Three sets of pairs (answer, gold) are judged by both:

    golds       every gold answer of GSM8K against itself, in a box, and against the next problem's
    solutions   the answers of real model solutions against their golds; OpenAI's verdict is true
    generated   pairs whose truth is known by construction

Each disagreement is counted under a kind that says who is right. A pair that we accept and that is
false is a *false accept*. There must be none.
"""
import json
import logging
import random
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from rewards import answers_match, final_answer  # noqa: E402

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
N = 14_000  # generated pairs

# What follows a number. This list is independent of engine/units.py.
UNITS = {
    "dollar": [" dollars", " USD"], "kilometer": ["km", " km", " kilometers"], "egg": [" eggs"],
    "apple": [" apples"], "hour": [" hours", " h", " hrs"], "percent": ["%", " percent", "\\%"],
    "mile/hour": [" mph", " miles per hour"], "euro": [" €", " euros"], "square meter": [" m^2",
    " square meters"],
    "cent": [" cents"], "marble": [" marbles"], "degree": ["°", " degrees"], "slice": [" slices"]}
CHANGES = [  # words that make another number of it
    " fifths", " halves", " negative", " bn", " lakh", " k", "k", " dozen", " squared", " cubed",
    " thousand",
    " million", " hundred", " tenths", "^2", "!", " and a half", " thirds", " crore", " mn",
    " below zero",
    " times 2", " + 1", " or 7", " (thousand)", " (negative)", " pi", "i", " x", " grand",
    " score", " point 5"]


def plain(value):
    """A value in one of its plain spellings: a decimal where it has one, else a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 7):
        scaled = value * 10 ** places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).zfill(places + 1)
            return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]
    return f"{value.numerator}/{value.denominator}"


def spellings(value, rng):
    """A value in one of many spellings of mathematics -> (kind, text)."""
    text = plain(value)
    sign = "-" if value < 0 else ""
    kinds = [("plain", text), ("bold", f"**{text}**"), ("stop", f"{text}."),
    ("dollars", f"${text}$")]
    kinds += [("boxed", rf"\boxed{{{text}}}"), ("boxed twice", rf"\boxed{{\boxed{{{text}}}}}")]
    kinds += [("boxed text", rf"\boxed{{\text{{{text}}}}}"), ("escaped box", rf"\\boxed{{{text}}}")]
    kinds += [("brackets", rf"\({text}\)"), ("tag", f"<answer>{text}</answer>"),
    ("letter", f"x = {text}")]
    if value < 0:
        kinds.append(("minus sign", text.replace("-", "\u2212")))
    if value.denominator == 1:
        grouped = f"{value.numerator:,}"
        kinds += [("commas", grouped), ("latex commas", grouped.replace(",", "{,}")),
        ("zeros", f"{text}.00")]
        kinds += [("full width", "".join(chr(ord(c) + 0xFEE0) for c in text)),
        ("thin space", grouped.replace(",", "\\,"))]
    else:
        top, bottom = abs(value.numerator), value.denominator
        kinds += [("frac", rf"{sign}\frac{{{top}}}{{{bottom}}}"),
        ("dfrac", rf"{sign}\dfrac{{{top}}}{{{bottom}}}")]
        kinds.append(("slash", f"{value.numerator}/{bottom}"))
        if top > bottom:
            kinds.append(("mixed", rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}"))
    return rng.choice(kinds)


def a_value(rng):
    """A number as exercises have them."""
    kind = rng.random()
    if kind < 0.6:
        return Fraction(rng.choice([1, 1, 1, -1]) * rng.randint(0, 10 ** rng.randint(1, 6)))
    if kind < 0.8:
        return Fraction(rng.randint(1, 9999), 100)
    return Fraction(rng.choice([1, -1]) * rng.randint(1, 40), rng.randint(2, 12))


def near(value, rng):
    """Another value, of those that are easily mistaken for it."""
    others = [value + 1, value - 1, -value, value * 10, value / 10, value * 2, value / 2]
    others += [1 / value if value else 1, value + Fraction(1, 10), value * 1000, value / 100]
    return rng.choice([other for other in others if other != value] or [value + 1])


def generated(rng):
    """One pair -> (kind, answer, gold, truth)."""
    value = a_value(rng)
    gold = plain(value)
    kind = rng.random()
    if kind < 0.35:
        name, text = spellings(value, rng)
        return f"same value, {name}", text, gold, True
    if kind < 0.6:
        name, text = spellings(near(value, rng), rng)
        return f"other value, {name}", text, gold, False
    if kind < 0.75:
        unit = rng.choice(list(UNITS))
        return "unit behind, bare gold", gold + rng.choice(UNITS[unit]), gold, True
    if kind < 0.86:
        first, second = rng.sample(list(UNITS), 2)
        if kind > 0.82:
            second = first
        texts = gold + rng.choice(UNITS[first]), gold + rng.choice(UNITS[second])
        return ("same unit" if first == second else "units differ"), *texts, first == second
    if kind < 0.9 and value.denominator == 1 and value > 2:
        work = [f"{value - 1}+1", f"{value - 2} + 2", f"{2 * value}/2*1", f"{value}*1"]
        return "an unfinished sum", rng.choice(work), gold, False
    change = rng.choice(CHANGES)
    if value in (0, 1) and change in ("^2", " squared", " cubed", "!", " times 2", "i", " x"):
        change = " lakh"
    if value == 0:
        return "another number in words", "7" + change, "7" if change != "!" else "5", False
    if value == 2 and change == "!":
        change = "!!!"
    return "another number in words", gold + change, gold, False


def real():
    """The pairs of real texts -> (set, kind, answer, gold, truth)."""
    golds = []
    for name in ("train.jsonl", "test.jsonl"):
        for line in (GSM8K / name).read_text(encoding="utf-8").splitlines():
            golds.append(final_answer(json.loads(line)["answer"]))
    for gold, other in zip(golds, golds[1:] + golds[:1]):
        same = Fraction(gold.replace(",", "")) == Fraction(other.replace(",", ""))
        yield "golds", "itself", gold, gold, True
        yield "golds", "boxed", rf"\boxed{{{gold}}}", gold, True
        yield "golds", "another problem's", other, gold, same
    for line in (GSM8K / "model_solutions_6b.jsonl").read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        for solution in problem["solutions"]:
            answer = final_answer(solution["solution"]) or ""
            gold = final_answer(problem["ground_truth"])
            yield "solutions", "real answer", answer, gold, solution["is_correct"]


def theirs(answer, gold):
    """math-verify's verdict; both texts are read as LaTeX or as a plain expression."""
    from math_verify import parse, verify
    texts = [parse(text, parsing_timeout=None) for text in (gold, answer)]
    return bool(verify(*texts, timeout_seconds=None))


def main():
    try:
        import math_verify  # noqa: F401
    except ImportError:
        print("math_verify is not installed: nothing is compared")
        return
    logging.disable(logging.CRITICAL)
    rng = random.Random(17)
    pairs = list(real()) if GSM8K.is_dir() else []
    pairs += [("generated", *generated(rng)) for _ in range(N)]
    judged, kinds, examples, false_accepts = Counter(), Counter(), {}, []
    for where, kind, answer, gold, truth in pairs:
        ours = answers_match(answer, gold)
        other = theirs(answer, gold)
        judged[where, ours == truth, other == truth] += 1
        if ours and not truth:
            false_accepts.append((answer, gold))
        if ours != other:
            who = "we are right" if ours == truth else "math-verify is right"
            said = "we accept" if ours else "we refuse"
            kinds[where, kind, said, who] += 1
            examples.setdefault((where, kind, said, who), (answer, gold))
        elif ours != truth:
            kinds[where, kind, "both accept" if ours else "both refuse", "both are wrong"] += 1
            examples.setdefault((where, kind, "both accept" if ours else "both refuse",
            "both are wrong"), (answer, gold))
    for where in ("golds", "solutions", "generated"):
        total = sum(count for key, count in judged.items() if key[0] == where)
        ours = sum(count for key, count in judged.items() if key[0] == where and key[1])
        other = sum(count for key, count in judged.items() if key[0] == where and key[2])
        print(f"{where}: {total} pairs; right verdicts: ours {ours}, math-verify's {other}")
    for key, count in kinds.most_common():
        print(f"{count:6d}  {', '.join(key)}; such as {examples[key]}")
    print(f"false accepts of ours: {len(false_accepts)} {false_accepts[:10]}")


if __name__ == "__main__":
    main()
