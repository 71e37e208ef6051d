"""Hostile text by the million: python -m tests.fuzz [--n 1000000] [--seed 0] [--sizes]

Every text goes through the parser, the answer finder, the matcher, the reward and the prompts.
What must hold of each is in `check`; none of it looks at how they work. --sizes measures instead
how the time grows from 10 kB to 1 MB.
"""
import argparse
import math
import random
import re
import sys
import time
import unicodedata
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from engine.text import plain_answer, reasoning_only  # noqa: E402
from realm import (MRPV_INSTRUCTION, PLAIN_INSTRUCTION, Response, Route,  # noqa: E402
                   demonstration, harmless, mrpv_prompt, parse_response)
from rewards import (answers_match, canonical, final_answer, number,  # noqa: E402
                     realm_reward, utility_score)

PIECES = """\
<think> </think> <answer> </answer> <scores> </scores> <THINK> </Answer > < /answer> <answer
<scores/> <|im_end|> <|im_start|> <|endoftext|> </s> <eos> <end_of_turn> << >> <<1+1=2>> <| |> < > /
| \\boxed{ \\frac{ \\dfrac{1}{2} { } #### # A: answer: Final answer: the answer is The answer is:
Problem: Route 1: Route 2: Route 9: Solution: True False None nan inf -inf NaN Infinity
1e5 1e999999999 1E400 99**98**97 9**9**9 __import__('os').abort() (lambda:0)() 0x12 0b1 1_8
18 18.0 18.00 1,8 1 8 1.8e1 018 -18 +18 --18 $18 -$18 $-18 18$ 18% 18\\% 36/2 18/1 18/0 0/0
17 19 180 118 18 dollars 18 thousand 18 or 19 18 and a half 18 hundred (18) 18 (no) 18. 18.. .18
١٨ १८ １８ ¹⁸ ①⑧ ⅒ 1⁄2 Ⅻ 十八 0 1 0.5 .5 1.0 1.5 -1 2
0,1 1,0 1, 0 0.0000001 , ; . - + * % $ € £ \\ ( ) [ ] * ** \n \r \t
\x00 \x0b \x0c \x1c \x85 \xa0 \u2028 \u2029
\u200b \u200d \u2060 \ufeff \u00ad \u202e \u202d \u2066 \u2069 \ud800 \udfff
\U0001f914 \u0301 \u0130 \u212a ß ſ İ é é relevant not relevant notrelevant yes no x A B
− ５ ０ ％ \\text{ \\boxed{18} \\\\boxed{18} \\text{km} \\$ \\% {,} \\, x =
km dollars eggs left per hour in total fifths halves negative bn lakh k dozen
squared thousand cents percent mph quarters B) B. Paris 7:30 PM (1, 2) a.m. 1/2 ½ ² ° ^\\circ
= " ` _ 3 7 40 12 2.5 1e1""".split(" ")
PIECES = [part for piece in PIECES for part in piece.split("\n")]
PIECES += [" ", "  ", "\n", "\n\n", "9" * 30, "9" * 5000, "0" * 300, "-" * 50, "1/" * 20]
LABELS = ([], [True], [False], [True, False], [False, False, True], [True, True, True])
TAG = re.compile(r"<[\s/]*(think|answer|scores)\s*>|<\||\|>", re.IGNORECASE)
GOLDS = {  # and what they are worth, with their unit
    "18": (Fraction(18), ""), "-7": (Fraction(-7), ""), "0.5": (Fraction(1, 2), ""),
    "1,000": (Fraction(1000), ""), "1/3": (Fraction(1, 3), ""), "not relevant": None, "B": None,
    "2.50": (Fraction(5, 2), ""),
    "$40": (Fraction(40), "dollar"), "12%": (Fraction(12), "percent"), "3 km": (Fraction(3), "km"),
    "5 eggs": (Fraction(5), "egg"), "\\boxed{7}": (Fraction(7), "")}
ALLOWED = {  # the only words and signs that may stand behind a number, and the unit they are
    "$": "dollar", "dollars": "dollar", "%": "percent", "percent": "percent", "km": "km",
    "eggs": "egg", "€": "euro", "£": "pound", "cents": "cent", "mph": "mph", "left": "",
    "in": "inch", "total": "", "hour": "hour", "per": "", "a": "", "°": "degree",
    "quarters": "quarter", "a.m": "am", "pm": "pm", "answer": "answer", "solution": "solution",
    "problem": "problem"}
SPOILERS = [
    " fifths", " halves", " negative", " bn", " lakh", "k", " dozen", " squared", " thousand",
    "^2", "!", " or 6", " x", " (thousand)", " and a half", "i", "²", "/0", ",5", " 5", " times",
    " million eggs", " below zero", " hundred", " tenths of a km", " wrong"]


def hostile(rng):
    """One text: pieces of the formats and their imitations, or any code points at all."""
    kind = rng.random()
    if kind < 0.8:
        return "".join(rng.choices(PIECES, k=min(int(rng.expovariate(0.12)), 80)))
    if kind < 0.9:  # a good completion with something put in, cut out or doubled
        answer = rng.choice(list(GOLDS))
        scores = rng.choice([None, [1.0], [1.0, 0.0]])
        text = demonstration("6 x 3 = 18", answer, scores)
        for _ in range(rng.randint(1, 4)):
            i, j = sorted(rng.choices(range(len(text) + 1), k=2))
            inside = rng.choice([rng.choice(PIECES), "", text[i:j] * 2])
            text = text[:i] + inside + text[rng.choice([i, j]):]
        return text
    top = rng.choice([0x7f, 0x7ff, 0xffff, 0x10ffff])
    return "".join(chr(rng.randint(0, top)) for _ in range(rng.randint(0, 60)))


def worth(text):
    """An oracle that shares nothing with rewards.number: the value of a text that is a plain
    number, else None."""
    text = text.strip(" \n\t") if len(text) < 60 else ""
    plain = re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", text, re.ASCII)
    try:
        return Decimal(text) if plain else None
    except InvalidOperation:
        return None


def letters(text):
    """What is left of an answer if only its letters and digits count."""
    return "".join(c for c in text.casefold() if c.isalnum())


def bare(text):
    """A text without markup and remarks, in one spelling of signs and digits."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in text)
    text = re.sub("[\u2212\u2013\u2012\ufe63]", "-", text).replace("\u3000", " ")
    text = re.sub("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]",
                  lambda found: f" {unicodedata.normalize('NFKC', found[0])} ", text)
    text = re.sub("[\u2044\u2215]", "/", text)
    text = re.sub("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))", "", text)
    text = re.sub(r"\\\\(?=\w|[$%({\[])", r"\\", text)
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r" \1/\2 ", text)
    text = text.replace("{,}", ",").replace("\\,", ",").replace("^\\circ", "°")
    text = re.sub(r"\\(boxed|text)(?![a-z])|</?[A-Za-z]{1,10}>|####", " ", text)
    remark = r"(?<=[^\s(])\s+\((?!km\)|eggs|dollars|left|cents|percent|mph)[^()]*\)[\W_]*$"
    text = re.sub(remark, "", text)
    lead = r"(?i)^[\W_]*(?:(?:the )?(?:final )?answer(?: is)?:?)(?=[\W_0-9])"  # as in "Answer: 5"
    text = re.sub(lead, "", text)
    return re.sub(r"[\\{}*_`\"“”‘’«»()\[\]]", " ", text).strip().rstrip(".,; \n\t")


def allowed(text, value, unit):
    """An oracle: may this text pass for a number with this value and unit? It may hold the number
    once, in one of few ways, and units that are ALLOWED; nothing else."""
    text = bare(text)
    figures = r"[0-9][0-9,]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+"
    shape = re.fullmatch(r"\W*?(?:[A-Za-z]\s*=)?\s*([-+\s$€£]*)"  # a name and signs
                         r"(?:([0-9]+)\s+(?=[0-9]+/))?"  # the whole part of a mixed number
                         rf"({figures})(?:\s*/\s*([-+]?(?:{figures})))?"  # a number or a fraction
                         r"\s*(.*)", text, re.DOTALL)  # what stands behind it
    if not shape:
        return False
    signs, whole, top, bottom, behind = shape.groups()
    top = Fraction(Decimal(top.replace(",", "")))
    bottom = Fraction(Decimal((bottom or "1").replace(",", "")))
    found = (top / bottom + int(whole or 0)) * (-1 if "-" in signs else 1)
    behind = behind.replace("/", " per ").replace("°", " ° ")
    behind = behind.replace("$", " $ ").replace("%", " % ")
    words = behind.split() + [s for s in signs if s in "$€£"]
    units = {ALLOWED.get(word.strip(".,;'#-").lower(), "unknown") for word in words} - {""}
    agree = not unit or not units - {"inch"} or unit in units
    return found == value and "unknown" not in units and agree


def check_answer(text, gold):
    """What must hold of a text as an answer."""
    found, value = final_answer(text), number(text)
    assert found is None or isinstance(found, str) and found and found == found.strip()
    assert isinstance(canonical(text), str)
    assert answers_match(text, text) == bool(canonical(text))
    match = answers_match(text, gold)
    assert match is answers_match(gold, text)
    if match and GOLDS[gold] is not None:
        assert allowed(text, *GOLDS[gold]), "more than a number and its unit"
    elif match and gold == "B":
        assert re.match(r"\W*[Bb](?![^\W_])", bare(text)), "another option"
    elif match:
        assert letters(bare(text)) == letters(gold)
    if worth(text) is not None:
        assert value is not None and (value == worth(text)), "a plain number is read as it is"
    assert value is None or len(text) <= 300


def check_target(text):
    """A route, whatever it holds, becomes a target that is read back exactly and holds no rest of
    a tag."""
    reasoning = reasoning_only(text)
    scores = [1.0, 0.0]
    target = demonstration(reasoning, "18", scores)
    assert parse_response(target, 2) == Response(reasoning, "18", scores)
    assert not TAG.search(reasoning)
    assert not re.search(r"\([\s/]*(think|answer|scores)\s*\)", reasoning, re.IGNORECASE)
    answer = parse_response(demonstration("r", text)).answer
    assert answer == (plain_answer(text) or None) and not TAG.search(answer or "")
    assert parse_response(demonstration("r", text)).reasoning == "r"


def dressed(gold, rng):
    """A gold answer in some layers of markup: still right."""
    text = gold
    for _ in range(rng.randint(0, 4)):
        around = rng.choice([
            "\\boxed{%s}", "\\text{%s}", "**%s**", " %s\n", "%s.", "\\(%s\\)", "\\[\n%s\n\\]",
            "<answer>%s</answer>", "`%s`", "\\\\boxed{%s}", "\\boxed{\\text{%s}}",
            "%s (see line 3)" if text == gold else "%s", "$%s$" if "$" not in text else "%s"])
        text = around.replace("%s", text)
    return text


def check_dressed(rng):
    """What is right stays right in any dress, and what is wrong stays wrong."""
    gold = rng.choice(list(GOLDS))
    text = dressed(gold, rng)
    if text.count("{") <= 4:
        is_right = f"{text!r} is {gold!r}"
        assert answers_match(text, gold) and answers_match(gold, text), is_right
    if GOLDS[gold] is not None and "boxed" not in gold and "%" not in gold:
        wrong = dressed(re.sub("[ a-z]+$", "", gold) + rng.choice(SPOILERS), rng)
        is_wrong = f"{wrong!r} is not {gold!r}"
        assert not answers_match(wrong, gold) and not answers_match(gold, wrong), is_wrong


def check_response(text, response, labels):
    """Whatever is found in a text stands in it, and scores are as many as the labels."""
    answer, reasoning, scores = response.answer, response.reasoning, response.scores
    assert answer is None or answer and answer in text and not re.search("</?answer>", answer)
    assert reasoning is None or reasoning in text and "</think>" in text
    if scores is not None:
        assert len(scores) == len(labels) > 0
        assert all(type(s) is float and 0.0 <= s <= 1.0 for s in scores)


def check_reward(text, response, gold, labels):
    """Nothing but the right answer is paid, and nothing but the true labels is paid in full."""
    answer = response.answer
    reward = realm_reward(response, gold, labels)
    right = (response.reasoning is not None and answer is not None
             and answers_match(answer, gold))
    assert math.isfinite(reward.total) and 0.0 <= reward.total <= 1.5
    assert (reward.total >= 1.0) == right == (reward.total > 0.0)
    told_the_labels = bool(labels) and response.scores == [float(y) for y in labels]
    assert (reward.utility == 1.0) == told_the_labels
    assert reward.utility == utility_score(response.scores, labels)
    if right:
        behind = text[text.index("</think>"):]
        assert re.search(r"<answer>\s*" + re.escape(answer) + r"\s*</answer>", behind)


def check_prompts(text, gold):
    """A question or a route, whatever it holds, is one question or one route in the prompt."""
    shown = mrpv_prompt(text, [text, Route(text, gold, True)])
    assert shown.startswith(MRPV_INSTRUCTION)
    assert mrpv_prompt(text, []).startswith(PLAIN_INSTRUCTION)
    with_routes = shown[len(MRPV_INSTRUCTION):]
    plain = mrpv_prompt(text)[len(PLAIN_INSTRUCTION):]
    for prompt, routes in ((with_routes, 2), (plain, 0)):
        assert not TAG.search(prompt) and len(re.findall(r"Route ?[0-9]+:", prompt)) == routes
        assert prompt.count("Problem:") == prompt.count("Solution:") == 1
        assert prompt.endswith("\nSolution:\n")
    assert shown == mrpv_prompt(text, [Route(text, "other", False), text]), "a label shows"


def check(text, rng):
    """Assert everything that must hold of one text."""
    gold = rng.choice(list(GOLDS))
    labels = rng.choice(LABELS)
    check_answer(text, gold)
    check_target(text)
    check_dressed(rng)
    response = parse_response(text, len(labels))
    check_response(text, response, labels)
    check_reward(text, response, gold, labels)
    check_prompts(text, gold)
    # A route quoted in the student's reasoning is no answer of the student's.
    quoting = parse_response(demonstration(text, "5", [0.0]), 1)
    assert quoting.answer == "5" and quoting.scores == [0.0]
    assert quoting.reasoning == harmless(text).strip()


# Families of texts that make careless patterns slow: a unit, repeated, with a head and a tail.
UNITS = (
    "<answer>", "</answer>", "<answer>a", "<scores>", "<scores>1,", "<think>", "</think>",
    "<", "<<", "<<=", "<=", "< ", "</", "<think ", "9", "9,", "9.", "9/", "1 ", "-", "$", "$1",
    "-$", " ", "\t", "\n", "\r", " \n", "* ", "*", "(", ")", "()", " (", "(a) ", "#", "####",
    "#### \t", "A:", "A: ", "\nA:", "answer:", "\nfinal answer", "answer is ", "answer is:",
    "\\boxed{", "\\boxed{}", "{", "}", "\\frac{", "\\frac{1}", "\\frac{1}{2}",
    ".", ",", ";", ". ", "%", "\\", "Route 1", "Route 1:", "Route ", "Problem", "Problem:",
    "Problem ", "|", "<|", "|>", "\u200b", "\u202e", "\U0001f914", "\ud800", "é", "1e9", "**9",
    "18 ")
NASTY = [("", unit, tail) for tail in ("", "x", "\n", "</answer>", ">") for unit in UNITS]
NASTY += [
    ("<think>a</think><answer>", "9", "</answer>"),
    ("<think>a</think><answer>18 ", "x", "</answer>"),
    ("<think>a</think><answer>18", " ", "</answer>"),
    ("<think>a</think><answer>18</answer><scores>", "1,", "1</scores>"),
    ("<think>a</think><answer>18</answer><scores>0.", "0", "</scores>"),
    ("<<", "=", ""), ("<<", "1", "=2>"), ("#### ", "x. ", ""), ("A:", " ", ""), ("18 ", "(", ")"),
    ("\\boxed{5}", " and \\boxed{5}", ""), ("", "x\n#### ", ""), ("answer:", "\n", ""),
    ("answer: $", "[", ""), ("$", "1, ", "$"), ("", "$x", ""), ("answer is 1", " because", ""),
    ("9", ",999", ""), ("1/", "9", ""), ("2 (", "\n", ""), ("<", "\n", ""), ("(", " / ", "think")]


def everything(text):
    """All that ever looks at a text, once."""
    parse_response(text, 2)
    final_answer(text)
    answers_match(text, "18")
    answers_match("18", text)
    answers_match(text, text)
    number(text)
    realm_reward(parse_response(text, 2), text, [True, False])
    mrpv_prompt(text, [text])
    demonstration(reasoning_only(text), text)


def measure(sizes=(10_000, 100_000, 1_000_000)):
    """Seconds of CPU time that each family takes at each size -> {family: [seconds]}."""
    taken = {}
    for head, unit, tail in NASTY:
        row = taken[head + unit + "..." + tail] = []
        for size in sizes:
            text = head + unit * ((size - len(head + tail)) // len(unit)) + tail
            began = time.process_time()
            everything(text)
            row.append(time.process_time() - began)
    return taken


def fuzz(n, seed, first=0):
    """Check n texts; the i-th depends on seed and i alone, so that a failure can be looked at by
    itself."""
    for i in range(first, first + n):
        rng = random.Random(f"{seed} {i}")
        text = hostile(rng)
        try:
            check(text, rng)
        except Exception as error:
            where = f"seed {seed}, text {i}: {text[:500]!r}"
            raise AssertionError(f"{where}: {type(error).__name__} {error}") from error


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0,
                        help="number of the first text, to go on or to see one again")
    parser.add_argument("--sizes", action="store_true",
                        help="measure how time grows with length instead")
    given = parser.parse_args(argv)
    began = time.perf_counter()
    if given.sizes:
        slowest_first = sorted(measure().items(), key=lambda item: -item[1][-1])
        for family, row in slowest_first[:12]:
            print(f"{family!r:<50}" + "  ".join(f"{1000 * s:9.2f} ms" for s in row))
        return
    fuzz(given.n, given.seed, given.first)
    seconds = time.perf_counter() - began
    print(f"{given.n} texts, seed {given.seed}: all as they must be; {seconds:.0f} s")


if __name__ == "__main__":
    main()
