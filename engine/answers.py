r"""Comparing answers: are two of them the same?

    answers_match(a, b)    are two answers the same? Numbers by value, words by letters
    canonical(answer)      a key that equal answers share

An answer is read in three steps. `tidy` takes off the markup, in any nesting: "**\boxed{5}**" is
"5". `read` says what is left: a number and its unit, an option such as "B. Paris", or words.
`answers_match` compares two readings. Numbers are exact fractions, and nothing is ever evaluated.

Promise: no wrong answer is paid. What may follow a number is what engine/units.py knows to be a
unit. To read: `answers_match`, then `read` and `tidy`. engine/prose.py finds the answer in a text.
Held to it by tests/test_answers.py, tests/test_rewards.py, `python -m tests.fuzz`, and on GSM8K's
own verdicts by tests/test_real_input.py.

Texts come from language models and from strangers' files. No pattern that could backtrack ever sees
more than MAX_ANSWER characters. A longer answer is compared as text.
"""
import functools
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from engine.units import CURRENCIES, same_unit, unit_of, with_currency

MAX_ANSWER = 200  # characters
MAX_MARKUP = 2000  # characters an answer may have before its markup is taken off

# ---- spellings of one sign -----------------------------------------------------------------------
ONE_SIGN_FRACTIONS = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5",
    "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8",
    "⅞": "7/8"}
ONE_SIGN = {0xFF01 + i: 0x21 + i for i in range(94)}  # full-width forms of ASCII
ONE_SIGN |= {ord(minus): "-" for minus in "\u2212\u2013\u2012\ufe63\uff0d"}
ONE_SIGN |= {0x2044: "/", 0x2215: "/", 0x3000: " ", 0xFFE5: "¥", 0xFFE1: "£"}
THOUSANDS = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")  # no plain space

# ---- markup --------------------------------------------------------------------------------------
BRACED = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # {...} with up to two levels inside
WRAPPER = re.compile(
    r"\\(?:boxed|fbox|framebox|text|textbf|textit|textrm|textnormal|texttt|mathrm|mathbf"
    rf"|mathit|mathsf|mathtt|mbox|operatorname|emph|underline|bm|rm|bf)\s?{BRACED}")
DOUBLE = re.compile(r"\\\\(?=[A-Za-z$%(){}\[\],!;: ])")  # a backslash that was escaped twice
GROUPED = r"(?<=[0-9])(?:\{,\}(?:\\!)?|,\\!\s?|\\,)(?=[0-9]{3}(?![0-9]))"  # 10{,}000
LATEX = [(re.compile(pattern), plain) for pattern, plain in (
    (GROUPED, ","),
    (r"\^\{([0-9A-Za-z])\}(?![0-9A-Za-z])", r"^\1"),
    (r"_\{([0-9A-Za-z]{1,3})\}(?![0-9A-Za-z])", r"_\1"),
    (r"\\(?:left|right|[bB]igg?[lr]?)(?=[()\[\]])", ""),
    (r"\\(?:displaystyle|[,;:! ]|q?quad\b|space\b)", " "),
    (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge)\b", " "),
    (r"\\(?:text)?color\s?\{[A-Za-z]{1,20}\}", " "),
    (r"\\boxed\s(?=[0-9A-Za-z]+$)", " "),
    (r"\\pounds\b", "£"),
    (r"\\colon\b", ":"),
    (r"(?<=\w)~(?=[\w\\])|(?<=\{)~|(?<= )~(?=[A-Za-z])", " "),
    (r"\^\s?(?:\\circ\b|\{\s?\\circ\s?\})|\\degree\b", "°"))]
PAIRS = [re.compile(pair, flags=re.DOTALL) for pair in (  # marks around a whole answer
    r"\$\$(.+)\$\$", r"\$(.+?)\$", r"\\\((.+)\\\)", r"\\\[(.+)\\\]", r"\{(.+)\}", r"\(([^(),]+)\)",
    r"\*+([^*]+)\*+", r"_+([^_]+)_+", r"`(.+)`", r'"([^"]+)"', r"'([^']+)'", "“([^”]+)”",
    "‘([^’]+)’", "«([^»]+)»", r"<(?!(?:del|strike|s|sub|sup)>)([A-Za-z]{1,10})>(.+)</\1>",
    r"(.+)<br\s?/?>")]
OPENING = tuple("$\\{(*_`\"'“‘«<")
MATHS_AND_UNIT = re.compile(  # $5$ km
    r"(?:\$((?:\\\$|[^$\\]|\\[^$])+)\$|\\\(([^()]+)\\\))(?=\s+[A-Za-z\\°%])")
BOLD = re.compile(r"(?<!\S)(\*\*|__)([^*_\s](?:[^*_]*[^*_\s])?)\1(?!\w)")  # a part in bold
HEADING = re.compile(r"^#{1,6}\s+|^####\s*")
REMARK = re.compile(r"(.*[^\s)])\s+\(([^()]*)\)", flags=re.DOTALL)  # 42 (see step 3)
POINTER = re.compile(
    r"(see|from|by(?!\s*[0-9$])|because|since|using|step|line|eq|equation|rounded|approximately"
    r"|exactly)\b", flags=re.IGNORECASE)
WORDY = re.compile(  # words only, which do not lead on to what is in brackets
    r"(?!.*\b(?:and|or|not|nor|but|than|of)$)[^\W\d_]{2,}(?:[ '-][^\W\d_]{2,})*",
    flags=re.IGNORECASE)
SUM = re.compile(r"=?\s*[0-9.,]+(?:\s*[-+*/x×÷]\s*[0-9.,]+)+(?:\s*=\s*[0-9.,]+)?")  # 42 (6 x 7)

# ---- numbers -------------------------------------------------------------------------------------
UNSIGNED = (
    r"(?:(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]{1,3}(?![0-9A-Za-z]))?")
PREFIX = "|".join(re.escape(sign) for sign in sorted(CURRENCIES, key=len, reverse=True))
NUMBER = re.compile(
    rf"([-+]?)(?:({PREFIX})\s?)?([-+]?)"  # 1 sign, 2 currency, 3 sign
    rf"(?:([0-9]{{1,9}})\s{{1,2}}(?=[0-9]+/[0-9]))?"  # 4 the whole part of a mixed number, 3 1/2
    rf"({UNSIGNED})(?:\s*/\s*([-+]?{UNSIGNED}))?")  # 5 and 6, a fraction's two sides
SIDE = r"\s?(?:\{\s{0,3}([-+]?[0-9.,]+)\s{0,3}\}|([0-9]))"
FRACTION = re.compile(rf"\\[dtc]?frac{SIDE}{SIDE}")
SCIENTIFIC = re.compile(  # 5 x 10^3
    r"([-+]?[0-9]+(?:\.[0-9]+)?)\s?(?:[×x*]|\\times|\\cdot)\s?10\^\{?([-+]?[0-9]{1,3})\}?")
NAMED = re.compile(r"([A-Za-z])\s*=\s*([^=]+)")  # x = 5
OPTIONS = re.compile(  # A, C and D
    r"\W?[A-J]\)?(?:(?:\s?[,;&]| and| or)+ ?\(?[A-J]\)?)+\W*")
OPTION = re.compile(  # B)   B. Paris
    r"\(?([A-Ja-j])(?:\)|(?<=[A-J])[.:])(?:\s+(.+))?", flags=re.DOTALL)
CALLED = re.compile(  # option B
    r"^(?:option|choice|answer)\s+(?=\(?[a-j](?![a-z]))|^(?:final\s)?answer:\s*",
    flags=re.IGNORECASE)
OPTION_AND_TEXT = re.compile(r"^([A-E]) \(([A-Za-z]{3}[^()]*)\)$")  # B (Paris)
BINOMIAL = re.compile(r"[A-J]\.\s+[a-z]+")  # E. coli: not to be taken for the option E
HEDGE = re.compile(  # what takes an option back: another letter ("B. or C"), but not "A dog"
    r"^[A-Z]\.\s|"  # J. S. Bach
    r"^(?:[Oo]r|[Aa]nd|[Ii]s|[Ii]sn|[Nn]ot?|[Bb]ut)(?![A-Za-z])|"
    r"(?<![A-Za-z0-9'’])(?:[B-HJb-hj](?![A-Za-z'’])|[Aai](?!\s+[a-z]{2}|[A-Za-z'’])|nor|neither"
    r"|[Ww]rong|incorrect|false|except|correct|right|answer|maybe|[Ww]ait|actually)(?![A-Za-z])")


@dataclass(frozen=True)
class Reading:
    """What an answer says. Two answers are the same if all fields agree; "" agrees with all."""
    key: str  # a number's exact value, an option's letter, or the words without spaces
    unit: str = ""  # of a number; or the text of an option
    name: str = ""  # the x of "x = 5"
    whole: bool = False  # does its text belong to it, as in "E. coli"?


# ---- markup off ----------------------------------------------------------------------------------
def tidy(answer):
    r"""An answer without the marks around it, in any nesting, or None if nothing is left.

    Marks are spaces, asterisks, maths delimiters, \boxed, \text, quotes, the brackets of "(B)",
    a remark in brackets behind the answer, and the final stop.

    >>> [tidy(t) for t in ("**18**.", "$\\boxed{5\\text{ km}}$", "\\$1{,}000", "(B)")]
    ['18', '5 km', '$1,000', 'B']
    >>> tidy("42 (see step 3)")
    '42'
    """
    answer = answer.strip()
    if len(answer) <= MAX_MARKUP:
        answer = unicodedata.normalize("NFC", answer).translate(ONE_SIGN).replace("&nbsp;", " ")
        answer = THOUSANDS.sub(",", answer.strip())
    if len(answer) <= MAX_ANSWER:
        answer = BOLD.sub(r"\2", answer)
    answer = stripped(answer)
    before = None
    while answer != before and len(answer) <= MAX_ANSWER:  # each turn but the last takes some off
        before = answer
        answer = stripped(without_remark(stripped(unwrapped(answer))))
    return answer or None


def stripped(answer):
    """An answer without spaces and asterisks around it, and without the final stop."""
    return answer.strip().rstrip(".,;\\").strip("*").strip()


def unwrapped(answer):
    """One layer of marks taken off an answer of bounded length."""
    answer = DOUBLE.sub(r"\\", answer)
    if answer.startswith(OPENING) or answer.endswith(">"):
        for pair in PAIRS:
            around = pair.fullmatch(answer)
            if around:
                return around[around.lastindex]
        answer = MATHS_AND_UNIT.sub(r"\1\2", answer, count=1)
    if not set("\\~^{").isdisjoint(answer):
        for pattern, plain in LATEX:
            answer = pattern.sub(plain, answer)
        # With spaces around, so that \boxed{1}\boxed{8} is not 18.
        answer = re.sub(r"  +", " ", WRAPPER.sub(r" \1 ", answer))
        answer = re.sub(r"\\([$%#&_])", r"\1", answer)
    answer = OPTION_AND_TEXT.sub(r"\1) \2", CALLED.sub("", HEADING.sub("", answer)))
    return BOLD.sub(r"\2", answer)


def without_remark(answer):
    """An answer without a remark behind it. One that might change a number stays.

    >>> [without_remark(t) for t in ("42 (see step 3)", "42 (km)", "42 (thousand)", "f (x)")]
    ['42', '42 km', '42 (thousand)', 'f (x)']
    """
    found = REMARK.fullmatch(answer)
    if not found:
        return answer
    head, remark = found[1].strip(), found[2].strip()
    if split_number(head) is None:  # "sin (x)" and "(1, 2) and (3, 4)" are no remarks
        return head if POINTER.match(remark) else answer
    is_sum = SUM.fullmatch(remark) and quantity(head) is not None  # but "6 + (8 + 12)" goes on
    if POINTER.match(remark) or is_sum or not remark:
        return head
    return f"{head} {remark}" if unit_of(remark) is not None else answer


# ---- what an answer says -------------------------------------------------------------------------
def split_number(text):
    """A text that begins with a number -> (value, currency or None, the text behind), else None."""
    if len(text) > MAX_ANSWER:
        return None
    if not text.isascii():
        for sign, plain in ONE_SIGN_FRACTIONS.items():
            text = text.replace(sign, f" {plain} ")
    text = FRACTION.sub(lambda found: f" {found[1] or found[2]}/{found[3] or found[4]} ", text)
    text = text.strip()
    scientific = SCIENTIFIC.fullmatch(text)
    if scientific:
        text = f"{scientific[1]}e{scientific[2]}"
    text = re.sub(r"^(?:negative|minus)\s+(?=[0-9.$])", "-", text)
    text = re.sub(r"^([-+]?)\\?\s+", r"\1", text)
    text = re.sub(r"^([-+]?)\\(?=[$€£])", r"\1", text)
    found = NUMBER.match(text)
    if not found or found[1] and found[3]:
        return None
    whole, top, bottom = found[4], exact(found[5]), exact(found[6] or "1")
    if bottom == 0:
        return None
    value = top / bottom
    if whole is not None:
        if not 0 < value < 1 or not (found[5] + found[6]).isdigit():
            return None
        value += int(whole)
    negative = "-" in (found[1], found[3])
    return -value if negative else value, found[2], text[found.end():]


def exact(digits):
    """The value of digits with a sign, commas, a decimal point and an exponent, as a fraction."""
    return Fraction(digits.replace(",", "").rstrip("."))


def number(text):
    r"""The value of a text that is one number, else None.

    The number may have a sign, commas, decimals, an exponent, $ or %. It may be a fraction.

    >>> [str(number(t)) for t in ("1,000.0", "-$7", "18.", "3/4", "\\frac{1}{2}", "50%", "1e-2")]
    ['1000', '-7', '18', '3/4', '1/2', '50', '1/100']
    >>> [number(t) for t in ("1,00", "2^9", "1/0", "5 km", "1 8")]
    [None, None, None, None, None]
    """
    found = split_number(text.strip())
    if found is None or found[2].strip().removeprefix("\\") not in ("", "%"):
        return None
    return found[0]


def quantity(text):
    """The value and the unit ("" if none) of a text that is a number and at most a unit, else None.

    >>> [quantity(t) for t in ("18", "5 km", "$5 per hour")]
    [(Fraction(18, 1), ''), (Fraction(5, 1), 'kilometer'), (Fraction(5, 1), 'dollar/hour')]
    >>> [quantity(t) for t in ("3 fifths", "5 lakh", "$5 cents", "3 quarters")]
    [None, None, None, None]
    """
    found = split_number(text)
    if found is None:
        return None
    value, currency, behind = found
    unit = unit_of(behind.strip())
    if unit is not None and currency is not None:
        unit = with_currency(currency, unit)
    if unit is None:
        return None
    if "quarters" in unit and (unit != "quarters" or value < 4):
        return None  # three quarters are a fraction, twelve are coins
    return value, unit


def read(answer):
    """What an answer says -> Reading. Anything but text is read as it is printed."""
    return read_text("" if answer is None else str(answer))


@functools.lru_cache(maxsize=2048)  # a gold answer is compared with many others
def read_text(answer):
    """What an answer says -> Reading.

    >>> read_text("$1,000"), read_text("x = 5 km"), read_text("B. Paris")
    (Reading(key='1000', unit='dollar', name='', whole=False), Reading(key='5', unit='kilometer', \
name='x', whole=False), Reading(key='b', unit='paris', name='', whole=False))
    """
    answer = tidy(answer) or ""
    if len(answer) <= MAX_ANSWER:
        named = NAMED.fullmatch(answer)
        found = quantity(named[2].strip() if named else answer)
        if found is not None:
            return Reading(str(found[0]), found[1], named[1] if named else "")
        row = row_of_numbers(answer)
        if row is not None:
            return Reading(row)
        if OPTIONS.fullmatch(answer) and " or " not in answer:
            return Reading(",".join(re.findall("[A-J]", answer)).lower())  # A, C and D
        option = OPTION.fullmatch(answer)
        if option and not HEDGE.search(option[2] or ""):
            whole = BINOMIAL.fullmatch(answer) is not None
            return Reading(option[1].lower(), words(option[2] or ""), whole=whole)
        remark = REMARK.fullmatch(answer)
        words_only = remark and WORDY.fullmatch(remark[1]) and WORDY.fullmatch(remark[2])
        if words_only and not re.match(r"(?:or|and|not|nor|but)\b", remark[2]):
            return Reading(words(remark[1]), words(remark[2]))  # yes (all of them)
    key = words(answer)
    return Reading(key if number(key) is None else answer)  # "1 8" is not 18


def row_of_numbers(text):
    """A key for several numbers: a list, a pair or an interval. None for anything else.

    >>> [row_of_numbers(t) for t in ("6 and 8", "(1, 4.5)", "[0,1/2)", "1,000", "5 or 6", "$5, $6")]
    ['6,8', '(1,9/2)', '[0,1/2)', None, None, None]
    """
    first, inner, last = "", text, ""
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        first, inner, last = text[0], text[1:-1], text[-1]
    inner = re.sub(r"\$(\s?(?:[,;]|and)\s?)\$", r"\1", inner)  # $2$, $7$, without its outer marks
    parts = re.split(r"[,;]\s*(?:and )?|\sand\s", inner)
    found = [None if re.match("0[0-9]", part.strip()) else quantity(part) for part in parts]
    if len(parts) < 2 or None in found or any(unit for _, unit in found):
        return None
    return first + ",".join(str(value) for value, _ in found) + last


def words(text):
    """Words to compare: in lower case, without spaces, "p.m." as "pm"."""
    text = re.sub(r"\s+", " ", text.strip()).lower()
    text = re.sub(r"(?<![0-9.]) | (?![0-9.])", "", text)  # but "1 1/2" is not 11/2
    return re.sub(r"(?<=[0-9])([ap])\.m(?:\.|$)", r"\1m", text)


def canonical(answer):
    """A key that equal answers share.

    It is a number's value, an option's letter, or the words in lower case without spaces.

    >>> canonical("1,000.0") == canonical("$1000"), canonical(" Not  relevant.")
    (True, 'notrelevant')
    """
    return read(answer).key


def answers_match(predicted, gold):
    """Are two answers the same? Numbers by value, words by letters, never by substring.

    Where both numbers have a unit, the units must agree too.

    >>> [answers_match(p, "18") for p in ("18.00", "$18", "18 dollars", "x = 18")]
    [True, True, True, True]
    >>> [answers_match(p, "18") for p in ("118", "18 thousand", "18 fifths", "", None)]
    [False, False, False, False, False]
    """
    first, second = read(predicted), read(gold)
    if not first.key or first.key != second.key:
        return False
    if first.name and second.name and first.name != second.name:
        return False
    if first.whole or second.whole:
        return first.unit == second.unit
    return same_unit(first.unit, second.unit)
