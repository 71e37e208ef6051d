r"""Answers, and the two-stage reward (ReaLM, arXiv 2508.12387). Pure functions of text; nothing is ever evaluated.

    stage 1   is the student's answer the gold answer?                      answer  in {0, 1}
    stage 2   paid only if it is: do its scores s_i agree with the labels?  utility in [0, 1]

    R = answer * (1 + utility_weight * utility)

y_i = 1 for a positive route, 0 for a negative one. The paper leaves the scale of the scores open; *our choice* is s_i in
[0, 1] and a mean over the two kinds of routes, not over routes: were it the plain mean, "always bad" would be paid 83% by
a teacher that is right 17% of the time. Balanced, every constant earns 0.5 wherever both kinds are shown.
"""
import re
from dataclasses import dataclass
from fractions import Fraction

MAX_ANSWER = 200  # characters; a longer "number" is compared as text (and never reaches int())
NUMBER = r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+|(?<=[0-9])\.)?"
NO_UNIT = set("and or not no wrong plus minus times over point squared cubed k hundred thousand million billion trillion dozen "
              "percent hundreds thousands millions billions half third quarter tenth hundredth thousandth tenths hundredths thousandths "
              "factorial pi".split())  # they change the value of a number
IN_TEXT = re.compile(r"(?<![\w.])-?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?|(?<=[\w.])\$?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")


@dataclass(frozen=True)
class Reward:
    """total is what GRPO sees; the parts are logged. format: 1.0 if every field asked for could be read (never paid for)."""
    total: float
    answer: float
    utility: float
    format: float


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
    r"""The final answer in a teacher's free text, or None: the *last* of the first kind of these that occurs:
    <answer>..</answer>, \boxed{..}, "#### ..", a line "A: ..", "the answer is ..", a line "Answer: ..", any number.

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
    """An answer without the marks around it: spaces, asterisks, maths delimiters, the brackets of "(B)", a remark in brackets
    behind it, the final stop."""
    answer = answer.strip().rstrip(".,;").strip("*").strip()
    if len(answer) <= MAX_ANSWER:  # backtracking patterns: never on text without a bound
        answer = re.sub(r"([^\s)])\s+\([^()]*\)$", r"\1", answer)  # but not a factor
        answer = re.sub(r"(?s)^(?:\$\$|\$|\\\(|\\\[)(.+?)(?:\$\$|\$|\\\)|\\\])$", r"\1", answer).strip()
        answer = re.sub(r"^\(([^(),]+)\)$", r"\1", answer).strip()
    return answer.rstrip(".,;").strip() or None


def number(text):
    r"""The value of a text that is one number (sign, thousands commas, decimals, a fraction, $ or %), else None.

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
    """A key that equal answers share: the value of a number, else the words in lower case without spaces and final stop.

    >>> canonical("1,000.0") == canonical("$1000"), canonical(" Not  relevant.")
    (True, 'notrelevant')
    """
    answer = tidy(str(answer)) or ""
    value = number(answer)
    words = re.sub(r"\s+", "", answer).lower()
    return str(value) if value is not None else words if number(words) is None else answer  # "1 8" is not 18


def answers_match(predicted, gold):
    """Are two answers the same? Numbers by value, words by letters. A number on one side may carry a unit (at most two
    plain words) if the other is bare. Never by substring.

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


def utility_score(scores, labels):
    """How well the scores s_i tell positive routes from negative ones, in [0, 1]; 1 = perfect.

    scores: one number in [0, 1] per route; labels: was the route right? The mean of 1 - |s_i - y_i| over positive and
    over negative routes, averaged over the kinds present. Anything malformed (None, wrong count, out of range) earns 0.

    >>> utility_score([1, 0, 0], [True, False, False]), utility_score([0, 0, 0], [True, False, False])
    (1.0, 0.5)
    """
    if not scores or len(scores) != len(labels) or not all(isinstance(s, (int, float)) and 0.0 <= s <= 1.0 for s in scores):
        return 0.0
    kinds = [[1.0 - abs(s - kind) for s, label in zip(scores, labels) if bool(label) == kind] for kind in (True, False)]
    means = [sum(fits) / len(fits) for fits in kinds if fits]
    return sum(means) / len(means)


def realm_reward(response, gold, labels, utility_weight=0.5, two_stage=True):
    """The two-stage reward of a realm.Response -> Reward.

    gold: the gold answer; labels: correctness of the routes shown, in the order shown (empty: none were).
    two_stage=False pays for scores after a wrong answer too (the ablation, not the method). *Our choice*: an answer without
    its reasoning in <think> is not paid; else that part of the format is soon forgotten.

    >>> from realm import Response
    >>> realm_reward(Response("2 + 2", "4", [1.0, 0.0]), "4", [True, False])
    Reward(total=1.5, answer=1.0, utility=1.0, format=1.0)
    >>> realm_reward(Response("2 + 2", "5", [1.0, 0.0]), "4", [True, False]).total  # a wrong answer earns nothing
    0.0
    """
    answer = float(response.reasoning is not None and answers_match(response.answer, gold))
    utility = utility_score(response.scores, labels) if labels else 0.0
    read = response.reasoning is not None and response.answer is not None and (response.scores is not None or not labels)
    paid = answer if two_stage else 1.0
    return Reward(answer + paid * utility_weight * utility, answer, utility, float(read))
