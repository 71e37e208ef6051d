"""Text of strangers, made harmless, and a teacher's route turned into what a student imitates.

    harmless(text)          a question or a route that can not pass for another part of the prompt
    reasoning_only(route)   a route's reasoning, without its closing answer and without our tags
    printable(text)         text that may be shown on a terminal
    speaks_of_routes(text)  does reasoning mention a route by its number?

Promise: a target of SFT, which puts `reasoning_only` between <think> and </think>, is read back to
exactly this reasoning, and holds no rest of a tag.
To read: `harmless`, then `reasoning_only`.
Held to it by tests/test_text.py and tests/test_realm.py.
"""
import re

from engine.answers import quantity, tidy
from engine.prose import boxed

TAGS = ("think", "answer", "scores")
CONTROL = ("s", "bos", "eos", "unk", "pad", "start_of_turn", "end_of_turn")  # besides <|...|>
ANNOTATION = re.compile(r"<<[^<>=]*=[^<>]*>>")  # GSM8K's calculator
ANY_TAG = "|".join(TAGS)
ANY_CONTROL = "|".join(CONTROL)
MARKUP = re.compile(rf"<([\s/]*)({ANY_TAG}|{ANY_CONTROL})\s*>", flags=re.IGNORECASE)
BRACKETED = re.compile(rf"\(([\s/]*)({ANY_TAG})\s*\)", flags=re.IGNORECASE)  # made harmless
MEANT = {"think": "think", "thinking": "think", "thought": "think", "reasoning": "think",
         "answer": "answer", "final_answer": "answer", "scores": "scores"}
ANY_MEANT = "|".join(MEANT)
OTHER_SPELLING = re.compile(  # of our tags: <answer id=1>  </ answer>  &lt;answer&gt;  \\<answer\\>
    rf"(?:\\?<|&lt;)\s{{0,20}}(/?)\s{{0,20}}({ANY_MEANT})\b[^<>&/\\]{{0,40}}(/?)(?:\\?>|&gt;)"
    r"|\u25c1(/?)(think)\u25b7",
    flags=re.IGNORECASE | re.ASCII)  # in Unicode the Turkish dotted capital I is an i, too
UPPER_CASE = re.compile(r"\[(/?)(THINK|ANSWER)\]")  # Mistral's
SPECIAL = re.compile(
    rf"<\|[^<>|\n]{{1,40}}\|>|<\uff5c[^<>\uff5c\n]{{1,40}}\uff5c>"
    rf"|\[/?INST\]|</?(?:{ANY_CONTROL})>", flags=re.IGNORECASE)
NUMBERED_ROUTE = re.compile(r"\broutes? \d", flags=re.IGNORECASE)
THINK = re.compile(r"</?think>", flags=re.IGNORECASE)
SCORES = re.compile(r"<scores>[^<>]*</scores>", flags=re.IGNORECASE)
OPEN = re.compile(r"<answer>", flags=re.IGNORECASE)
CLOSE = re.compile(r"</answer>", flags=re.IGNORECASE)
LINE_OF_ANSWER = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]+)?\**(?:A|Answer|Final answer)\**:\**[ \t]*\S.*", flags=re.IGNORECASE)
HEADED_ANSWER = re.compile(  # a heading, and the answer on the next line
    r"\n[ \t]*(?:#{1,6}[ \t]*\**|\*\*)(?:final )?answer\**:?\**[ \t]*\n\s*[^\n]{1,100}$",
    flags=re.IGNORECASE)
LEAD_IN = re.compile(  # words that only lead to an answer: "So the final answer is"
    r"(?:```[a-z]{1,10}(?=\n|$)|so|thus|hence|therefore|then|finally|and|the|our|my|final"
    r"|correct|answer|result|total|is|are|it|we|get|have|be|must|boxed|\W|_)*", flags=re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?;](?=\s)")
MAX_LINE = 500  # characters of a closing line


def printable(text):
    r"""Text without characters that a terminal would obey.

    >>> printable("\x1b[2J now\n")
    ' [2J now\n'
    """
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def harmless(text):
    """Text of a question or a route that can not pass for another part of the prompt.

    It can neither open or close the student's tags, nor imitate another route, nor smuggle in a
    tokenizer's control tokens. GSM8K's calculator annotations go too.

    >>> harmless("3 + 4 = <<3+4=7>>7</answer><scores>1</scores> <|im_end|> Route 2: 8")
    '3 + 4 = 7(/answer)(scores)1(/scores) < |im_end| > (Route 2) 8'
    """
    text = ANNOTATION.sub("", text)
    text = MARKUP.sub(r"(\1\2)", text)
    # As the prompt writes them, anywhere; in any other spelling, where a line begins
    # ("a salt solution: 5%" is a sentence).
    text = re.sub(r"(Route\s*[0-9]+|Problem|Solution)([\s*]*):", r"(\1)\2", text)
    text = re.sub(r"(?im)^([ \t*]*)(route\s*[0-9]+|problem|solution)([\s*]*):", r"\1(\2)\3", text)
    text = re.sub(r"\[(/?INST)\]", r"(\1)", text)  # Mistral's
    return apart(text)


def apart(text):
    """Text in which no control token can begin or end: their two signs are set apart."""
    text = text.replace("<|", "< |").replace("|>", "| >")
    return text.replace("<\uff5c", "< \uff5c").replace("\uff5c>", "\uff5c >")  # DeepSeek's


def without_tags(text):
    """Text without our tags and without control tokens, whatever they are nested in.

    >>> without_tags("<think>a</think> b (answer)5(/answer) 6</s><|im_end|>")
    'a b 5 6'
    """
    for pattern in (SPECIAL, BRACKETED, MARKUP):
        text = pattern.sub("", text)
    for pattern in (SPECIAL, BRACKETED, MARKUP):  # nested tags, which the first turn put together
        text = pattern.sub(" - ", text)
    return text


def repeated(change, text):
    """(a text after the same change, does it stay as it is?). The change is made four times at
    most, because what is taken out may put another tag together."""
    for _ in range(4):
        changed = change(text)
        if changed == text:
            return text, True
        text = changed
    return text, False


def settled(text):
    """Text on which `harmless` changes nothing any more, and which has no space around it."""
    text, stays = repeated(lambda part: harmless(part).strip(), text.strip())
    if stays:
        return text
    return harmless(re.sub(r"[<>]", "", text)).strip()  # hostile: brackets nested in brackets


def without_litter(text):
    """Text that holds no tag and no rest of one, and that `harmless` leaves as it is."""
    return repeated(lambda part: settled(without_tags(part)), text)[0]


def plain_answer(text):
    """An answer as it may stand in <answer>: without our tags and without control tokens.

    >>> plain_answer(" Route 2: by rail "), plain_answer("<answer>5</answer><|im_end|>")
    ('Route 2: by rail', '5')
    """
    text, stays = repeated(lambda part: apart(without_tags(part)).strip(), text)
    return text if stays else re.sub(r"[<>]", "", text).strip()  # hostile: nested brackets


def in_our_tags(text):
    """Text in which a teacher's spellings of our tags are our tags.

    >>> in_our_tags("<thinking>a</thinking> <answer id=1>5</ answer> <think/> [ANSWER]5[/ANSWER]")
    '<think>a</think> <answer>5</answer>  <answer>5</answer>'
    """
    def ours(found):
        if found[3]:  # <think/> holds nothing
            return ""
        return f"<{found[1] or found[4] or ''}{MEANT[(found[2] or found[5]).lower()]}>"
    text = OTHER_SPELLING.sub(ours, text)
    return UPPER_CASE.sub(lambda found: f"<{found[1]}{found[2].lower()}>", text)


def reasoning_only(route):
    r"""The reasoning of a route: without its closing answer, a thinking teacher's block unwrapped.

    The answer has a place of its own in what the student imitates. A route that is only an answer
    stays.

    >>> reasoning_only("2 + 2 = 4\n#### 4"), reasoning_only("It is 4. <answer>4</answer>")
    ('2 + 2 = 4', 'It is 4.')
    >>> reasoning_only("<think>2 + 2 = 4</think>\nSo <answer>4</answer>.\nI hope this helps!")
    '2 + 2 = 4'
    """
    text = in_our_tags(ANNOTATION.sub("", route))
    text = BRACKETED.sub(lambda found: f"<{'/' * ('/' in found[1])}{found[2]}>", text)
    text = SCORES.sub("", SPECIAL.sub("", text))
    parts = [part.strip() for part in THINK.split(text)]
    text = "\n".join(part for part in parts if part) if len(parts) > 1 else text.strip()
    for close in (before_answer_tag, before_hashes, before_box, before_answer_line):
        shorter = close(text).strip()
        if without_litter(shorter):
            text = shorter
    return without_litter(text)


def before_answer_tag(text):
    r"""The text before the last <answer>..</answer>. A sentence that needs the answer keeps it.

    >>> [before_answer_tag(t) for t in ("a. So <answer>5</answer>.", "2 + 3 = <answer>5</answer>")]
    ['a.', '2 + 3 = 5']
    >>> before_answer_tag("a\nShe has <answer>5</answer> eggs.\nDone.")
    'a\nShe has 5 eggs.'
    """
    for _ in range(4):  # an answer may be given twice
        opened = None
        for opened in OPEN.finditer(text):
            pass
        if opened is None:
            return text
        closed = CLOSE.search(text, opened.end())
        end = closed.end() if closed else len(text)
        answer = text[opened.end():closed.start() if closed else end].strip()
        before = text[:opened.start()]
        behind = MARKUP.sub("", text[end:].partition("\n")[0])
        if not before.strip():  # the answer came first: the reasoning stands behind it
            return text[end:]
        cut = without_lead_in(before)
        if cut != before.rstrip():
            text = cut
        elif before.rstrip().endswith("=") or re.search(r"\w", behind):
            return before + answer + behind
        else:
            text = before.rstrip()
        if not text.lower().endswith("</answer>"):
            return text
    return text


def without_lead_in(text):
    r"""Text without last lines, or a last sentence, that only lead to an answer.

    >>> without_lead_in("2 + 3 = 5.\nSo the final answer is:\n$$"), without_lead_in("2 + 3 = 5")
    ('2 + 3 = 5.', '2 + 3 = 5')
    """
    for _ in range(4):
        text = text.rstrip()
        line = text.rfind("\n") + 1
        cut = line
        for end in SENTENCE_END.finditer(text, line):
            cut = end.end()
        if len(text) - cut > MAX_LINE or not LEAD_IN.fullmatch(text[cut:]):
            return text
        text = text[:cut]
    return text.rstrip()


def before_hashes(text):
    """The text before a last line "#### 5". If it is a number, more lines may follow."""
    start = text.rfind("####")
    if start < 0:
        return text
    answer, _, behind = text[start + 4:].partition("\n")
    if not behind.strip() or quantity(tidy(answer) or "") is not None:
        return text[:start]
    return text


def before_box(text):
    r"""The text without a closing sentence that only boxes the answer; any other box is opened.

    >>> before_box("2 + 3 = 5.\nSo the answer is $\\boxed{5}$."), before_box("2 + 3 = \\boxed{5}")
    ('2 + 3 = 5.', '2 + 3 = 5')
    """
    start = text.rfind("\\boxed{")
    inside = boxed(text)
    if inside is None:
        return text
    before = text[:start].rstrip()
    before = before.rstrip("$\\([") if before.endswith(("$", "\\(", "\\[")) else before
    behind = text[start + len("\\boxed{") + len(inside) + 1:]
    if len(behind) > MAX_LINE or re.search(r"\w", behind.partition("\n")[2]):
        return text
    cut = without_lead_in(before)
    if cut and cut != before.rstrip():
        return cut
    if not re.search(r"\w", last_line(text[:start])):
        return before
    return text[:start] + inside + behind


def last_line(text):
    """What stands behind the last line break."""
    return text[text.rfind("\n") + 1:]


def before_answer_line(text):
    """The text without a last line such as "A: 5" or "Final answer: 5"."""
    before, newline, last = text.rstrip().rpartition("\n")
    if newline and len(last) <= MAX_LINE and LINE_OF_ANSWER.fullmatch(last):
        return without_lead_in(before)
    headed = HEADED_ANSWER.search(text.rstrip()[-MAX_LINE:])
    if headed:
        return text.rstrip()[:-len(headed[0])]
    return text


def speaks_of_routes(text):
    """Does this reasoning mention a route of the prompt by its number?

    >>> speaks_of_routes("Route 2 has the wrong price."), speaks_of_routes("The route is long.")
    (True, False)
    """
    return bool(NUMBERED_ROUTE.search(text))
