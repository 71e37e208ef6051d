r"""Which answer a text gives: final_answer(text), for a teacher's free text.

An answer may stand in a tag, in a box, behind "####", behind "the answer is", or unmarked in the
last sentence. Models and people end their texts in many ways. MARKERS lists those that are known.

Promise: an answer is read whole or not at all. Of "2, 7" nobody gets 7, of "x^2" nobody gets 2.
To read: `final_answer`, then `marked`, which tries one mark after another.
Held to it by tests/test_rewards.py, `python -m tests.fuzz`, and on GSM8K's own verdicts by
tests/test_real_input.py.

Texts come from language models and from strangers' files, so every pattern is bounded.
"""
import re

from engine.answers import (BOLD, GROUPED, MAX_ANSWER, ONE_SIGN, ONE_SIGN_FRACTIONS, OPTION,
                            OPTIONS, THOUSANDS, answers_match, quantity, tidy)
from engine.units import SCALES

# ---- marks of a final answer in free text, the clearest first ------------------------------------
ANSWER_LINE = r"(?m)^[ \t]*A:[ \t]*(\S.*)"  # or the option A
GOLD_LINE = r"(?<!#)####(?!#)[ \t]*(\S.*)"
HEADING_TEXT = re.compile(
    r"(?i)(?:step|final|answer|solution|note|part|conclusion|check|calculat\w*|[0-9]+[.)]\s)|.*:$")
OPTION_LINE = r"(?-i:\**\(?[A-J]\)?(?:[).:] ?[^\n]{0,80})?\**)"
MARKERS = [
    r"(?i)\b(?:answer|correct (?:option|choice)) is\b[ \t:*]*(?:therefore |thus |simply )?"
    r"([^\s:*].*)",
    ANSWER_LINE,
    r"(?im)^[^\w\n]{0,12}(?:the )?(?:final )?answer[ \t*]{0,9}:[ \t*]*([^\s*].*)",
    rf"(?im)^[^\w\n]{{0,12}}(?:correct|right) answer[ \t*]{{0,9}}:[ \t*]*({OPTION_LINE})[ \t]*$",
    r"(?:答案(?:是|为)?|故选)[:： \t*(]*"
    r"([A-J](?![A-Za-z])|-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?%?(?![0-9万亿千百]))",
    rf"(?i)\b(?:answer|option|choice)(?: is)?[ \t*]*:[ \t*]*\n\s{{0,9}}"  # on the last line
    rf"({OPTION_LINE}|\*\*[^*\n]{{1,80}}\*\*)[ \t]*$",
    r"\b([A-J])\W{1,3}is the (?:correct|right) (?:answer|option|choice)\b"]
REASON = re.compile(r"\s(?:because|since)\s")  # behind an answer
THINKING = "</think>"
ANSWER_TAG = re.compile(r"<\s?(/?)\s?answer\b[^<>]{0,40}>", flags=re.IGNORECASE)
DIGITS = r"(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
IN_TEXT = re.compile(  # the last of these counts where no answer is marked
    r"[(\[]\s{0,3}-?[0-9./]{1,20}(?:\s{0,3},\s{0,3}-?[0-9./]{1,20}){1,9}\s{0,3}[)\]]"  # (1, 2)
    r"|(?<![\w/.-])[0-9]{1,4}([-/])[0-9]{1,2}\1[0-9]{1,4}(?![\w/-])"  # 12/25/2020
    r"|(?<![\w:.])[0-9]{1,2}:[0-9]{2}(?![\w:])(?:\s?[AaPp]\.?\s?[Mm]\b\.?)?"  # 7:30 PM
    r"|(?<![\w:.])[0-9]{1,9}:[0-9]{1,9}(?![\w:])"  # 3:2
    r"|(?<![\w.])-?[0-9.]{1,20}\s?(?:[×x*]|\\times|\\cdot)\s?10\^\{?-?[0-9]{1,3}\}?"  # 2 x 10^3
    r"|(?<![\w.])-?[0-9]{0,9}\s?\\[dtc]?frac\s?(?:\{[-0-9.,\s]{1,20}\}\s?|[0-9]){2}"
    r"|(?<![\w.])-?[0-9.]{0,20}\s?\\sqrt\s?(?:\{[^{}]{1,20}\}|[0-9])"
    r"|(?<![\w.])-?[0-9.]{1,20}\s?(?:\\pi\b|π)"
    r"|(?<![\w.])-?[0-9]{1,20}\^\{?-?[0-9]{1,20}\}?"  # 2^10
    r"|(?<![\w.])-?[0-9]{1,20}(?:\.[0-9]{1,20})?[eE][-+]?[0-9]{1,3}(?!\w)"  # 1.5e-3
    rf"|(?<![\w.])-?(?:[0-9]{{1,9}} ?)?[{''.join(ONE_SIGN_FRACTIONS)}]"  # 1½
    r"|(?<![\w.])-?[0-9]{1,9} [0-9]{1,9}/[0-9]{1,9}"  # 1 1/2
    rf"|(?<![\w.^])(?<!\^[-{{])(?<!\^\{{-)-?[$€£]?{DIGITS}"  # but not the 2 of cm^2
    r"|(?<=[^\W0-9]|\.)\$?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")
LIST = re.compile(rf"\W?{DIGITS}\$?(?:(?:[,;]| and| or)+ \W?{DIGITS}\$?)+\W*")  # 3, 4 and 5
NEXT_WORD = re.compile(r"[\s-]?([A-Za-z]{1,12}|[万亿千百])(?![A-Za-z])")
LETTER_SCALES = "MBT万亿千百"
PART_OF_NAME = re.compile(  # 3 half-hour sessions, but not 3 half-dozens and 5 million-dollar deals
    r"(?:half|third|quarter|\w+th)-(?!dozen)", flags=re.IGNORECASE)
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
    r"|(?:\\text\{)?\s?([A-Za-z]{1,12})\}?))")
LINK_BEFORE_BOX = re.compile(  # \boxed{3} hours and \boxed{5}
    r"\}\$?\s?(?:[,;&]|,?\s?(?:[a-z]{1,10},?\s)?(?:and|or)\b)\s?\$?$")
NEGATIVE = re.compile(r"(?<![0-9]\s)\b(?:minus|negative)\s$", flags=re.IGNORECASE)
SENTENCE = re.compile(  # with a verb, as far as one can tell: no "Henry the Great of France"
    r"(?:(?:The|It|She|He|They|There|We|You|So)\s(?:\S+\s+)|[A-Z][\w'’]*\s(?:has|had|have|will"
    r"|can|makes|earns|needs|gets|pays|spends|sells|saves|made|sold|spent|paid|got)\s)"
    r"(?:\S+\s+){1,40}\S*$")
UNSURE = re.compile(  # what makes its number no answer: not 5, half of 18, CO2, x > 5, two and 5
    r"[<>=≠√^!\\]|[0-9][A-Za-z]|[A-Za-z][0-9]|(?i:\b(?:not?|never|neither|half|third|quarter|than"
    r"|below|above|under|over|least|most|about|between|or|and|one|two|three|four|five|six|seven"
    r"|eight|nine|ten|dozen|hundred|thousand|million)\b)")
END_TOKEN = re.compile(r"(?:</s>|<\|[a-z_]{1,20}\|>)$")
ABBREVIATED = re.compile(  # a stop that ends no sentence: Dr. Smith
    r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Mt|Ft|vs|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)$"
    r"|\b[A-Z]\.[A-Z]$")
INITIAL = re.compile(r"\b[A-Z]$")  # E. coli
MATHS = re.compile(  # $...$, and no two amounts of money with words between them
    r"\$((?:\\[A-Za-z]+|(?!\.\s)[^$\nA-Za-z]|[A-Za-z]{1,3}(?![A-Za-z])){1,100})\$(?![0-9])")
CLAUSE_MARK = re.compile(  # what ends a clause, and formulas and brackets, in which nothing does
    rf"{MATHS.pattern}|"
    r"\[[^\[\]\n]{1,100}\]|\{[^{}\n]{1,100}\}"
    r"|(?<!\\)[()]|\.\s|[,;]\s")
DAY = re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? [0-9]{1,2}$")


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
    said = REASON.split(text[:MAX_ANSWER], maxsplit=1)[0]
    if says_a_number(said) or re.fullmatch(r"\W{0,4}[A-J]\W{0,4}", said):
        text = said
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
            before = text[mark.start() - 1:mark.start()]
            remark = remark or depth == 0 and before.isspace()
            depth += 1
        elif mark[0] == ")":
            depth -= 1
            if depth == 0 and remark:
                return text[:mark.end()]
        elif depth <= 0 and not is_in_name(text, mark):
            return text[:mark.start()]
    return re.split(r"\.\s|[,;]\s|\s\(", text)[0] if depth > 0 else text


def says_a_number(text):
    """Is a short text a number, with at most a unit, in any markup? (true or false)"""
    return len(text) <= MAX_ANSWER and quantity(tidy(text) or "") is not None


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
    if answer is None and len(text) <= MAX_ANSWER and not re.search(r"[0-9\n]", text.strip()):
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
    solved, headed = gold_lines(text)
    for said in [solved, *(last_match(marker, text, in_tag) for marker in MARKERS), headed]:
        said = re.sub(r"(?i)^the (?:final )?answer is:?\s", "", said)
        answer = answer_of_sentence(said) or last_side(tidy(clause(said)))
        if answer and answer.strip("\\[](){}$:`"):
            return answer
    return None


def last_match(marker, text, in_tag):
    """What stands behind the last of these marks, or ""."""
    if in_tag and marker == ANSWER_LINE:
        return ""
    found = re.findall(marker, text)
    return found[-1] if found else ""


def gold_lines(text):
    """What stands behind "####" -> (in GSM8K's last line, or else in what may be a heading).

    GSM8K's line is the last one, or holds one number. Models also write headings like this.

    >>> gold_lines("#### 5\\nSo it is."), gold_lines("#### Step 1\\n5"), gold_lines("#### B\\n5")
    (('5', ''), ('', ''), ('', 'B'))
    """
    for match in reversed(list(re.finditer(GOLD_LINE, text))[-20:]):
        said = match[1]
        if match.end() == len(text):
            return said, ""
        if says_a_number(said):
            return said, ""
        if not HEADING_TEXT.match(said):
            return "", said
    return "", ""


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
    sure = len(IN_TEXT.findall(text)) == 1 and not UNSURE.search(text)
    return last_number(text) if sure else None


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
    if not all(answers_match(box, inside) for box, _ in earlier):
        return tidy("".join(box + link for box, link in earlier) + inside)
    before = SIGN_BEFORE_BOX.search(text[:start][-20:])
    behind = BEHIND_BOX.match(text[end:end + 40])
    if behind and behind[2] and not is_scale(text, end + behind.start(2), behind[2]):
        behind = None
    if not before and not behind:
        return last_side(tidy(inside))
    return tidy((before[0] if before else "") + inside + (behind[1] if behind else ""))


def is_scale(text, start, word):
    """Does the word that begins there make another number of the one before it? (true or false)"""
    return word.lower() in SCALES and not PART_OF_NAME.match(text, start)


def linked_boxes(text, start):
    r"""The boxes before a box that a comma or "and" links to it -> [(what is inside, the link)].

    >>> text = "\\boxed{3} hours and \\boxed{5}"
    >>> linked_boxes(text, text.rfind("\\boxed{"))
    [('3', ' hours and ')]
    """
    earlier = []
    for _ in range(10):
        before = text[max(0, start - MAX_ANSWER):start]
        link = LINK_BEFORE_BOX.search(before[-24:])
        inside = boxed(before) if link else None
        first = before.rfind("\\boxed{")
        if inside is None or first + len("\\boxed{" + inside + link[0]) != len(before):
            break
        earlier.insert(0, (inside, re.sub(r"[}$]", "", link[0])))
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
        if behind and behind[1] not in LETTER_SCALES and not is_scale(
                text, behind.start(1), behind[1]):
            behind = None
    return tidy(negative + text[last.start():behind.end() if behind else last.end()])
