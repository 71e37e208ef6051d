import re
from fractions import Fraction

MAX_ANSWER = 200  # characters; a longer "number" is compared as text (and never reaches int())
NUMBER = r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+|(?<=[0-9])\.)?"
NO_UNIT = set("and or not no wrong plus minus times over point squared cubed k hundred thousand million billion trillion dozen "
              "percent hundreds thousands millions billions half third quarter tenth hundredth thousandth tenths hundredths thousandths "
              "factorial pi".split())  # they change the value of a number
IN_TEXT = re.compile(r"(?<![\w.])-?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?|(?<=[\w.])\$?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")


def tagged(tag, text):
    """Content of the last <tag>...</tag> with no tag of that name inside, or None."""
    found = re.findall(rf"<{tag}>((?:(?!</?{tag}>).)*)</{tag}>", text, flags=re.DOTALL)
    return found[-1] if found else None


def boxed(text):
    """Content of the last \\boxed{...} with its braces balanced, or None."""
    start = text.rfind("\\boxed{")
    depth = 0
    for i in range(start + 6, len(text)) if start >= 0 else ():
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start + 7:i]
    return None


def final_answer(text):
    r"""The final answer in a teacher's free text, or None: the *last* of the first kind of these
    that occurs: <answer>..</answer>, \boxed{..}, "#### ..", a line "A: ..", "the answer is ..", a
    line "Answer: ..", any number.

    >>> [final_answer(t) for t in ("6 x 7 = 42\nA: 42", "The answer is $1,000.", "so \\boxed{\\frac{1}{2}}", "3 + 4 is 7", "?")]
    ['42', '$1,000', '\\frac{1}{2}', '7', None]
    """
    if not isinstance(text, str):
        return None
    for marked in (tagged("answer", text), boxed(text)):
        if marked is not None:
            return tidy(marked)
    for marker in (r"####[ \t]*(\S.*)", r"(?m)^[ \t]*A:[ \t]*(\S.*)", r"(?i)\banswer is\b[ \t:*]*([^\s:*].*)",
                   r"(?im)^[ \t*]*(?:final )?answer:[ \t*]*([^\s*].*)"):
        found = re.findall(marker, text)
        answer = tidy(re.split(r"\.\s|[,;]\s|\s\(", found[-1])[0]) if found else None  # prose may run on: cut at the end of the sentence
        if answer and answer.strip("\\[](){}$:`"):  # else the answer stands on another line: the last number, most likely
            return answer
    numbers = IN_TEXT.findall(text)
    return tidy(numbers[-1]) if numbers else None


def tidy(answer):
    """An answer without the marks around it: spaces, asterisks, maths delimiters, the brackets of
    "(B)", a remark in brackets behind it, the final stop."""
    answer = answer.strip().rstrip(".,;").strip("*").strip()
    if len(answer) <= MAX_ANSWER:  # backtracking patterns: never on text without a bound
        answer = re.sub(r"([^\s)])\s+\([^()]*\)$", r"\1", answer)  # but not a factor
        answer = re.sub(r"(?s)^(?:\$\$|\$|\\\(|\\\[)(.+?)(?:\$\$|\$|\\\)|\\\])$", r"\1", answer).strip()
        answer = re.sub(r"^\(([^(),]+)\)$", r"\1", answer).strip()
    return answer.rstrip(".,;").strip() or None


def number(text):
    r"""The value of a text that is one number (sign, thousands commas, decimals, a fraction, $ or
    %), else None.

    >>> [str(number(t)) for t in ("1,000.0", "-$7", "18.", "3/4", "\\frac{1}{2}", "50%", "1,00", "2^9", "1/0")]
    ['1000', '-7', '18', '3/4', '1/2', '50', 'None', 'None', 'None']
    """
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text.strip())
    text = re.sub(r"^([-+]?)\\?[$€£]\s?", r"\1", text).removesuffix("%").removesuffix("\\")
    parts = [part.strip() for part in text.split("/")]
    if len(text) > MAX_ANSWER or len(parts) > 2 or not all(re.fullmatch(NUMBER, p) and re.search(r"[0-9]", p) for p in parts):
        return None
    values = [Fraction(p.replace(",", "").rstrip(".")) for p in parts]
    return values[0] if len(values) == 1 else values[0] / values[1] if values[1] else None


def canonical(answer):
    """A key that equal answers share: the value of a number, else the words in lower case without
    spaces and final stop.

    >>> canonical("1,000.0") == canonical("$1000"), canonical(" Not  relevant.")
    (True, 'notrelevant')
    """
    answer = tidy(str(answer)) or ""
    value = number(answer)
    words = re.sub(r"\s+", "", answer).lower()
    return str(value) if value is not None else words if number(words) is None else answer  # "1 8" is not 18


def answers_match(predicted, gold):
    """Are two answers the same? Numbers by value, words by letters. A number on one side may
    carry a unit (at most two plain words) if the other is bare. Never by substring.

    >>> [answers_match(p, "18") for p in ("18.00", "$18", "18 dollars", "42 (see step 3)", "118", "18 thousand", "", None)]
    [True, True, True, False, False, False, False, False]
    """
    keys = ["" if answer is None else canonical(answer) for answer in (predicted, gold)]
    if "" in keys:
        return False
    if keys[0] == keys[1]:
        return True
    for bare, other in ((predicted, gold), (gold, predicted)):
        value, words = number(tidy(str(bare)) or ""), (tidy(str(other)) or "").split()
        units = [w.lower() for w in words[1:]]
        if value is not None and 1 <= len(units) <= 2 and number(words[0]) == value and all(
                w.isascii() and w.isalpha() and w not in NO_UNIT for w in units):
            return True
    return False


