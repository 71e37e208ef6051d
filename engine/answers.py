r"""Reading answers: which answer a text gives, and whether two answers are the same.

    final_answer(text)     the answer in a teacher's free text: in a tag, in a box, behind "####"
    answers_match(a, b)    are two answers the same? Numbers by value, words by letters
    canonical(answer)      a key that equal answers share

An answer is read in three steps. `tidy` takes off the markup, in any nesting: "**\boxed{5}**" is
"5". `read` says what is left: a number and its unit, an option such as "B. Paris", or words.
`answers_match` compares two readings. Numbers are exact fractions, and nothing is ever evaluated.

Promise: no wrong answer is paid. What may follow a number is what engine/units.py knows to be a
unit. To read: `answers_match`, then `read` and `tidy`; `final_answer` is for a teacher's prose.
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

from engine.units import CURRENCIES, SCALES, same_unit, unit_of, with_currency

MAX_ANSWER = 200  # characters
MAX_MARKUP = 2000  # characters an answer may have before its markup is taken off

# ---- marks of a final answer in free text, the clearest first ------------------------------------
ANSWER_LINE = r"(?m)^[ \t]*A:[ \t]*(\S.*)"  # or the option A
GOLD_LINE = r"(?<!#)####(?!#)[ \t]*(\S.*)"
MARKERS = [
    GOLD_LINE,
    r"(?i)\b(?:answer|correct (?:option|choice)) is\b[ \t:*]*(?:therefore |thus |simply )?"
    r"([^\s:*].*)",
    ANSWER_LINE,
    r"(?im)^[^\w\n]{0,12}(?:the )?(?:(?:final|correct|right) )?answer[ \t*]{0,9}:[ \t*]*"
    r"([^\s*].*)",
    r"(?m)(?:答案(?:是|为)?|故选)[:： \t*]*([^\s*].*)",
    r"(?im)\b(?:answer|option|choice)(?: is)?[ \t*]*:[ \t*]*\n\s{0,9}"  # on the next line
    r"((?-i:\**\(?[A-J]\)?(?:[).:] ?[^\n]{0,80})?\**|\*\*[^*\n]{1,80}\*\*))[ \t]*$",
    r"\b([A-J])\W{1,4}is (?:the )?(?:correct|right)\b"]
REASON = re.compile(r"\s(?:because|since)\s")  # behind an answer
THINKING = "</think>"
ANSWER_TAG = re.compile(r"<\s?(/?)\s?answer\b[^<>]{0,40}>", flags=re.IGNORECASE)
DIGITS = r"(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
ONE_SIGN_FRACTIONS = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5",
    "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8",
    "⅞": "7/8"}
IN_TEXT = re.compile(  # the last of these counts where no answer is marked
    r"[(\[]\s{0,3}-?[0-9./]{1,20}(?:\s{0,3},\s{0,3}-?[0-9./]{1,20}){1,9}\s{0,3}[)\]]"  # (1, 2)
    r"|(?<![\w/.-])[0-9]{1,4}([-/])[0-9]{1,2}\1[0-9]{1,4}(?![\w/-])"  # 12/25/2020
    r"|(?<![\w:.])[0-9]{1,2}:[0-9]{2}(?![\w:])(?:\s?[AaPp]\.?\s?[Mm]\b\.?)?"  # 7:30 PM
    r"|(?<![\w:.])[0-9]{1,9}:[0-9]{1,9}(?![\w:])"  # 3:2
    r"|(?<![\w.])-?[0-9.]{1,20}\s?(?:[×x*]|\\times|\\cdot)\s?10\^\{?-?[0-9]{1,3}\}?"  # 2 x 10^3
    r"|(?<![\w.])-?[0-9]{0,9}\s?\\[dtc]?frac\s?(?:\{[-0-9.,\s]{1,20}\}\s?|[0-9]){2}"
    r"|(?<![\w.])-?[0-9.]{0,20}\s?(?:\\pi\b|π|\\sqrt\s?(?:\{[^{}]{1,20}\}|[0-9]))"
    r"|(?<![\w.])-?[0-9]{1,20}\^\{?-?[0-9]{1,20}\}?"  # 2^10
    r"|(?<![\w.])-?[0-9]{1,20}(?:\.[0-9]{1,20})?[eE][-+]?[0-9]{1,3}(?!\w)"  # 1.5e-3
    rf"|(?<![\w.])-?(?:[0-9]{{1,9}} ?)?[{''.join(ONE_SIGN_FRACTIONS)}]"  # 1½
    r"|(?<![\w.])-?[0-9]{1,9} [0-9]{1,9}/[0-9]{1,9}"  # 1 1/2
    rf"|(?<![\w.^])(?<!\^\{{)-?[$€£]?{DIGITS}"  # but not the 2 of cm^2
    r"|(?<=[\w.])\$?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")
LIST = re.compile(rf"\W?{DIGITS}\$?(?:(?:[,;]| and| or)+ \W?{DIGITS}\$?)+\W*")  # 3, 4 and 5
OPTIONS = re.compile(  # A, C and D
    r"\W?[A-J]\)?(?:(?:\s?[,;&]| and| or)+ ?\(?[A-J]\)?)+\W*")
NEXT_WORD = re.compile(r"[\s-]?([A-Za-z]{1,12})(?![A-Za-z-])")
HALF_OF_DAY = re.compile(r"\s?[AaPp]\.?[Mm]\b")
BEHIND = re.compile(r"\s+(?:and a (?:half|third|quarter)|below)\b")
FIRST_PART = re.compile(  # of two that belong together: 5 or 6, 5 feet 6 inches
    r"[0-9]+(?:\s+or\s+|\s?(?:hours?|hrs?|h|feet|foot|ft|pounds?|lbs?|dollars?|minutes?|mins?)"
    r"(?:,? and)?\s)$")
SECOND_UNIT = re.compile(
    r"\s?(?:minutes?|mins?|m|seconds?|secs?|s|inch(?:es)?|in|ounces?|oz|cents?)\b")
SIGN_BEFORE_BOX = re.compile(  # "- \\boxed{5}" is an item of a list
    r"(?:(?<![^\s=:$(])[-\u2212]|[/^]\s?|\\[dt]?frac\{)\$?$")
BEHIND_BOX = re.compile(  # what changes its value, also where the box ends its maths or its bold
    r"(?:\$|\\\)|\*\*)?(\s?(?:[/^!][^\s$]{1,20}"
    r"|\\(?:times|cdot)\s?10\^\S{1,8}|\\pi\b|\\sqrt\S{1,12}"
    r"|(?:\\text\{)?\s?([A-Za-z]{1,12})(?![A-Za-z-])\}?))")
LINK_BEFORE_BOX = re.compile(  # \boxed{3} hours and \boxed{5}
    r"\}\$?\s?(?:[,;&]|,?\s?(?:[a-z]{1,10},?\s)?(?:and|or)\b)\s?\$?$")
NEGATIVE = re.compile(r"(?<![0-9]\s)\b(?:minus|negative)\s$", flags=re.IGNORECASE)
SENTENCE = re.compile(r"(?:[A-Z][A-Za-z'’]*|I)\s(?:\S+\s+){2,40}\S*\.?$")
END_TOKEN = re.compile(r"(?:</s>|<\|[a-z_]{1,20}\|>)$")
ABBREVIATED = re.compile(  # a stop that ends no sentence: Dr. Smith
    r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Mt|Ft|vs|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)$"
    r"|\b[A-Z]\.[A-Z]$")
INITIAL = re.compile(r"\b[A-Z]$")  # E. coli
MATHS = re.compile(r"\$([^$\n]{1,100})\$(?![0-9])")
CLAUSE_MARK = re.compile(  # what ends a clause, and formulas and brackets, in which nothing does
    rf"{MATHS.pattern}|"
    r"\[[^\[\]\n]{1,100}\]|\{[^{}\n]{1,100}\}"
    r"|(?<!\\)[()]|\.\s|[,;]\s")
DAY = re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? [0-9]{1,2}$")

# ---- spellings of one sign -----------------------------------------------------------------------
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
    (r"\^\{([0-9A-Za-z])\}", r"^\1"),
    (r"_\{([0-9A-Za-z]{1,3})\}", r"_\1"),
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
    r"(see|from|by|because|since|using|step|line|eq|equation|rounded|approximately|exactly)\b",
    flags=re.IGNORECASE)
PLACES = ("see", "step", "line", "eq", "equation")
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
SCIENTIFIC = re.compile(r"(?<=[0-9])\s?(?:[×x*]|\\times|\\cdot)\s?10\^\{?([-+]?[0-9]{1,3})\}?$")
NAMED = re.compile(r"([A-Za-z])\s*=\s*([^=]+)")  # x = 5
OPTION = re.compile(  # B)   B. Paris
    r"\(?([A-Ja-j])(?:\)|(?<=[A-J])[.:])(?:\s+(.+))?", flags=re.DOTALL)
CALLED = re.compile(  # option B
    r"^(?:option|choice|answer)\s+(?=\(?[a-j](?![a-z]))|^(?:final\s)?answer:\s*",
    flags=re.IGNORECASE)
OPTION_AND_TEXT = re.compile(r"^([A-J]) \(([A-Za-z]{2}[^()]*)\)$")  # B (Paris)
BINOMIAL = re.compile(r"[A-J]\.\s+[a-z]+")  # E. coli: not to be taken for the option E
HEDGE = re.compile(  # what takes an option back: another letter ("B. or C"), but not "A dog"
    r"^[A-Z]\.\s|"  # J. S. Bach
    r"^(?:or|and|is|isn|not|no|but)(?![A-Za-z])|"
    r"\b(?:or|and|not|but|nor)\s+\(?[A-Ja-j]\)?(?!\s+[a-z]{2}|[A-Za-z'’])|"
    r"(?<![A-Za-z'’])(?:[B-HJ](?![A-Za-z'’])|A(?!\s+[a-z]{2}|[A-Za-z'’])|nor|neither|wrong"
    r"|incorrect|false|except)(?![A-Za-z])")


@dataclass(frozen=True)
class Reading:
    """What an answer says. Two answers are the same if all fields agree; "" agrees with all."""
    key: str  # a number's exact value, an option's letter, or the words without spaces
    unit: str = ""  # of a number; or the text of an option
    name: str = ""  # the x of "x = 5"
    whole: bool = False  # does its text belong to it, as in "E. coli"?


# ---- the answer in a text ------------------------------------------------------------------------
def tagged(tag, text):
    """Content of the last <tag>...</tag> with no tag of that name inside, or None."""
    found = re.findall(rf"<{tag}>((?:(?!</?{tag}>).)*)</{tag}>", text, flags=re.DOTALL)
    return found[-1] if found else None


def boxed(text):
    r"""Content of the last \boxed{...} with its braces balanced, or None.

    >>> boxed("so \\boxed{\\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for brace in re.finditer("[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start:start + brace.start()]
    return None


def clause(text):
    """The first clause of prose that begins with an answer. Commas in brackets or lists are no end.

    >>> [clause(t) for t in ("5. We had 6", "(1, 2), as said", "42 (see step 3) or so")]
    ['5', '(1, 2)', '42 (see step 3)']
    >>> clause("3, 4 and 5.")
    '3, 4 and 5.'
    """
    text = REASON.split(text, maxsplit=1)[0]
    if len(text) <= MAX_ANSWER and (LIST.fullmatch(text) or OPTIONS.fullmatch(text)):
        return text
    depth = 0
    remark = False
    closed = 0  # where the last formula or pair of brackets ended
    for mark in CLAUSE_MARK.finditer(text):
        if mark.start() < closed:
            continue
        if len(mark[0]) > 2 or mark[0][0] in "$[{":
            closed = mark.end()
        elif mark[0] == "(":
            remark = remark or depth == 0 and text[:mark.start()][-1:].isspace()
            depth += 1
        elif mark[0] == ")":
            depth -= 1
            if depth == 0 and remark:
                return text[:mark.end()]
        elif depth <= 0 and not is_in_name(text, mark):
            return text[:mark.start()]
    return re.split(r"\.\s|[,;]\s|\s\(", text)[0] if depth > 0 else text


def is_in_name(text, mark):
    """Is a stop or a comma a part of a name or of a date? (true or false)

    >>> [clause(t) for t in ("Dr. Smith. He", "May 5, 2020, a day", "E. coli. It", "5, 2020 ended")]
    ['Dr. Smith', 'May 5, 2020', 'E. coli', '5']
    """
    before = text[max(0, mark.start() - 20):mark.start()]
    if mark[0][0] == ".":
        lower = text[mark.end():mark.end() + 1].islower()
        return lower and INITIAL.search(before) or ABBREVIATED.search(before)
    if "=" in before and re.match(r"(?:and )?[A-Za-z]\s?=", text[mark.end():mark.end() + 7]):
        return True  # x = 5, y = 6
    year = re.match("[0-9]{4}(?![0-9])", text[mark.end():mark.end() + 5])
    return year and DAY.search(before)


def last_side(answer):
    """The last side of an equation that ends in a number; any other answer as it is.

    >>> [last_side(t) for t in ("256+37 = 293", "x = 5", "total cost = $5", "y = 2x + 1")]
    ['293', '5', '$5', 'y = 2x + 1']
    >>> last_side("x = 5 or x = 6")
    'x = 5 or x = 6'
    """
    if answer is None or "=" not in answer or len(answer) > MAX_ANSWER:
        return answer
    left, _, right = answer.rpartition("=")
    last = tidy(right)
    if last is None or quantity(last) is None or re.search(r"[<>!≠,;]|\b(?:or|and|not)\b", left):
        return answer
    return last


def final_answer(text):
    r"""The final answer in a teacher's free text, or None.

    It is the *last* of the first kind of these that occurs: <answer>..</answer>, \boxed{..},
    "#### ..", "the answer is ..", a line "A: ..", a line "Answer: ..", any number or time.

    >>> [final_answer(t) for t in ("6 x 7 = 42\nA: 42", "The answer is $1,000.", "3 + 4 is 7", "?")]
    ['42', '$1,000', '7', None]
    >>> final_answer("so \\boxed{\\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    if not isinstance(text, str):
        return None
    thought, _, behind = text.rpartition(THINKING)
    text = ANSWER_TAG.sub(r"<\1answer>", behind if behind.strip() else thought)
    text = END_TOKEN.sub("", text.rstrip())
    inside = tagged("answer", text)
    if inside is not None:
        inner = boxed_answer(inside)
        inner = marked(inside, in_tag=True) if inner is None else inner
        return last_side(tidy(inside)) if inner is None else inner
    inside = boxed_answer(text)
    if inside is not None:
        return inside
    answer = marked(text)
    if answer is None and len(text) <= MAX_ANSWER:
        whole = tidy(text) or ""
        if OPTION.fullmatch(whole) or re.fullmatch("[A-J]", whole):
            return whole
    return last_number(text) if answer is None else answer


def marked(text, in_tag=False):
    """The answer behind the clearest mark in prose, or None.

    Where a mark has nothing behind it, the answer stands on another line. It is the last number,
    most likely. in_tag: the text stands in <answer>, where "A: Paris" is an option.
    """
    text = text.rstrip()
    for marker in MARKERS:
        if in_tag and marker == ANSWER_LINE:
            continue
        found = [match for match in re.finditer(marker, text)
                 if marker != GOLD_LINE or ends_a_solution(match)]
        said = re.sub(r"(?i)^the (?:final )?answer is:?\s", "", found[-1][1]) if found else ""
        answer = answer_of_sentence(said) or last_side(tidy(clause(said)))
        if answer and answer.strip("\\[](){}$:`"):
            return answer
    return None


def ends_a_solution(match):
    """Is a line "#### .." that of GSM8K, and no heading? It is the last one, or holds one number.
    """
    is_last = match.end() == len(match.string)
    return is_last or len(match[1]) <= MAX_ANSWER and quantity(tidy(match[1]) or "") is not None


def answer_of_sentence(text):
    """The answer in a whole sentence: what is in bold, or its only number. None if it is not one.

    >>> [answer_of_sentence(t) for t in ("She makes **$18** a day.", "So she has 5 left.", "5 km.")]
    ['$18', '5', None]
    """
    text = text.strip()
    if len(text) > MAX_ANSWER or not SENTENCE.match(text):
        return None
    bold = BOLD.findall(text)
    if len(bold) == 1:
        return last_side(tidy(bold[0][1]))
    return last_number(text) if len(IN_TEXT.findall(text)) == 1 else None


def boxed_answer(text):
    r"""The answer in the last box. What stands close to it and changes its value comes along.

    >>> [boxed_answer(t) for t in ("\\boxed{5} km", "-\\boxed{5}", "\\boxed{5} million")]
    ['5', '-5', '5 million']
    """
    inside = boxed(text)
    if inside is None:
        return None
    start = text.rfind("\\boxed{")
    end = start + len("\\boxed{") + len(inside) + 1
    earlier = linked_boxes(text, start)
    if earlier:
        return tidy(earlier + inside)
    before = SIGN_BEFORE_BOX.search(text[:start][-20:])
    behind = BEHIND_BOX.match(text[end:end + 40])
    if behind and behind[2] and behind[2].lower() not in SCALES:
        behind = None
    if not before and not behind:
        return last_side(tidy(inside))
    return tidy((before[0] if before else "") + inside + (behind[1] if behind else ""))


def linked_boxes(text, start):
    r"""What stands before a box and belongs to it, because a comma or "and" links the two, or "".

    >>> text = "\\boxed{3} hours and \\boxed{5}"
    >>> linked_boxes(text, text.rfind("\\boxed{"))
    '3 hours and '
    """
    earlier = ""
    for _ in range(10):
        before = text[max(0, start - MAX_ANSWER):start]
        link = LINK_BEFORE_BOX.search(before[-24:])
        inside = boxed(before) if link else None
        first = before.rfind("\\boxed{")
        if inside is None or first + len("\\boxed{" + inside + link[0]) != len(before):
            break
        earlier = inside + re.sub(r"[}$]", "", link[0]) + earlier
        start -= len(before) - first
    return earlier


def last_number(text):
    """The last number or time in prose. A word behind that changes its value comes along.

    >>> [last_number(t) for t in ("18 every day", "at 7:30 PM.", "at (1, 2)", "it is 3 fifths")]
    ['18', '7:30 PM', '(1, 2)', '3 fifths']
    """
    text = re.sub(GROUPED, ",", THOUSANDS.sub(",", text.translate(ONE_SIGN)))
    text = MATHS.sub(r" \1 ", text)  # so that its $ is no currency
    last = None
    for last in IN_TEXT.finditer(text):
        pass
    if last is None:
        return None
    before = text[max(0, last.start() - 40):last.start()]
    first = FIRST_PART.search(before)
    second = SECOND_UNIT.match(text, last.end())
    if first and (second or " or" in first[0]):
        return tidy(first[0] + last[0] + (second[0] if second else ""))
    negative = "-" if NEGATIVE.search(before) else ""
    behind = HALF_OF_DAY.match(text, last.end()) or BEHIND.match(text, last.end())
    if behind is None:
        behind = NEXT_WORD.match(text, last.end())
        if behind and behind[1].lower() not in SCALES and behind[1] not in ("M", "B", "T"):
            behind = None
    return tidy(negative + text[last.start():behind.end() if behind else last.end()])


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
    if quantity(head) is None:  # "sin (x)" and "(1, 2) and (3, 4)" are no remarks
        pointer = POINTER.match(remark)
        says_how_many = pointer and pointer[0] not in PLACES and re.search("[0-9]", remark)
        return head if pointer and not says_how_many else answer
    if POINTER.match(remark) or SUM.fullmatch(remark) or not remark:
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
    text = SCIENTIFIC.sub(r"e\1", text.strip())
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


@functools.lru_cache(maxsize=2048, typed=True)  # a gold answer is compared with many others
def read(answer):
    """What an answer says -> Reading.

    >>> read("$1,000"), read("x = 5 km"), read("B. Paris")
    (Reading(key='1000', unit='dollar', name='', whole=False), Reading(key='5', unit='kilometer', \
name='x', whole=False), Reading(key='b', unit='paris', name='', whole=False))
    """
    answer = tidy("" if answer is None else str(answer)) or ""
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

    >>> [row_of_numbers(t) for t in ("6 and 8", "(1, 4.5)", "[0,1/2)", "1,000", "5 or 6")]
    ['6,8', '(1,9/2)', '[0,1/2)', None, None]
    """
    first, inner, last = "", text, ""
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        first, inner, last = text[0], text[1:-1], text[-1]
    comma = r",\s*" if first else r",\s+"  # without brackets and space it groups digits
    parts = [part.strip(" $") for part in re.split(rf"(?:{comma}|;\s*)(?:and )?|\sand\s", inner)]
    values = [None if re.match("0[0-9]", part) else number(part) for part in parts]
    if len(parts) < 2 or None in values:
        return None
    return first + ",".join(map(str, values)) + last


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
