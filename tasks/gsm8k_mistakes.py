"""How a GSM8K gold solution is made wrong: one mistake, carried through to the answer.

    Al: 146 + 38 = <<146+38=184>>184 pounds.         Al: 146 + 38 = <<146+38=174>>174 pounds.
    Ben: 184 - 25 = <<184-25=159>>159 pounds.   ->   Ben: 174 - 25 = <<174-25=149>>149 pounds.
    #### 159                                         #### 149

One step goes wrong in the way people's steps do. Whatever is computed from it afterwards is
computed again, in GSM8K's <<annotations>> and in the text around them. If a mistake cannot be
carried through cleanly, another one is made. STEP.split cuts a solution into pieces:

    [text, expression, result, text, expression, result, ..., text]

Promise: a corrupted solution breaks at most one equation, ends in another answer than the gold one,
and reads like the solution it was made of. No text raises an error or is executed.
To read: corrupt_solution (the last function), then mistakes, then carry_forward. The method of
ReaLM can be followed without this file. tests/test_teachers.py holds this file to that, on all
kinds of mistakes and on GSM8K itself.
"""
import ast
import functools
import operator
import re
from dataclasses import dataclass
from fractions import Fraction

from rewards import final_answer, number

# The annotation of one step: <<146+38=184>>.
STEP = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
# A number in the text: 24, 1,200, 4.50, .5; but not the one in 24th or 24x or A24.
FIGURE = re.compile(r"(?<![\w.])(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
                    r"(?!\d|\.\d|x\b|st\b|nd\b|rd\b|th\b)")
# An annotation, or an equation without one: 2 x 3 = $6 (its left side, its "= $", its right side).
TERM = r"\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
JOINED_BY = r"\s*[-+*/x]\s*"
EQUATION = re.compile(rf"<<[^<>]*>>|(?<![\w.)/*+–-])({TERM}(?:{JOINED_BY}{TERM})+)"
                      rf"(\s*=\s*\$?)({TERM})(?!{JOINED_BY}\$?\d)")
# An operator, in an annotation or in the text.
SIGN = re.compile(r"[-+*/–×÷]|(?<![A-Za-z])x(?![A-Za-z])")
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub,
              ast.Mult: operator.mul, ast.Div: operator.truediv}
TAKEN_FOR = {"+": "-", "-": "+", "*": "/", "/": "*"}  # the operation people confuse it with
# Words that name an operation. Beside them, another operation would be an odd mistake.
NAMES_AN_OPERATION = re.compile(
    r"(?i)divid|multipl|add|subtract|total|together|combin|\bmore|fewer|less|\ball\b|sum|per\b|each"
    r"|half|twice")
# Days, hours, minutes, cents: such a number in the text need not be a result that has its value.
UNITS = [Fraction(n) for n in (7, 12, 24, 30, 52, 60, 100, 365, 1000)]
NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
                "ten", "eleven", "twelve"]


# ---- numbers in text -----------------------------------------------------------------------------
def arithmetic(text):
    """The exact value of + - * / and brackets over plain numbers, else None. Nothing is executed.

    >>> [str(arithmetic(t)) for t in ("0.2*(30+20)/4", "2**9", "1/0", "x")]
    ['5/2', 'None', 'None', 'None']
    """
    def value(node):
        if isinstance(node, ast.BinOp):
            operation = OPERATIONS[type(node.op)]
            return operation(value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Constant):
            return Fraction(repr(node.value))
        raise ValueError("not arithmetic")

    if len(text) > 200:
        return None
    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError):
        return None


def amount(figure):
    """The value of one number of a text."""
    return Fraction(figure.replace(",", ""))


def amounts(text):
    """The values of all numbers of a text, in order."""
    return [amount(figure) for figure in FIGURE.findall(text)]


def styled(value, like):
    """A number written as the one it replaces.

    >>> styled(Fraction(9, 2), "6"), styled(Fraction(9, 2), "6.25"), styled(Fraction(1200), "3,400")
    ('4.5', '4.50', '1,200')
    """
    text = format(float(value), ",.2f" if "," in like else ".2f")
    if re.search(r"\.\d\d$", like):
        return text
    return text.rstrip("0").rstrip(".")


def swap(text, changed):
    """A text with its numbers replaced. changed: old value -> new value."""
    def replace(match):
        figure = match[0]
        value = amount(figure)
        return styled(changed[value], figure) if value in changed else figure
    return FIGURE.sub(replace, text)


def joined(pieces):
    """The solution that STEP.split took apart into these pieces."""
    solution = pieces[0]
    for i in range(1, len(pieces), 3):
        expression, result, text = pieces[i:i + 3]
        solution += f"<<{expression}={result}>>{text}"
    return solution


def annotated(solution):
    """A solution in which equations without an annotation get one, if they hold.

    >>> annotated("2 + 1 = <<2+1=3>>3, so 3 x 4 = $12")
    '2 + 1 = <<2+1=3>>3, so 3 x 4 = $<<3*4=12>>12'
    """
    def annotate(match):
        left, equals, right = match.groups()
        if left is None:  # it is an annotation
            return match[0]
        expression = re.sub(r"[\s$,]", "", left).replace("x", "*")
        result = re.sub(r"[$,]", "", right)
        if arithmetic(expression) != arithmetic(result):
            return match[0]
        return f"{left}{equals}<<{expression}={result}>>{right}"
    return EQUATION.sub(annotate, solution)


# ---- what can go wrong in one step ---------------------------------------------------------------
@dataclass
class Change:
    """What a step becomes: the text before its annotation, and the two sides of the annotation."""
    text: str
    expression: str
    result: Fraction | None


@dataclass
class WrittenStep:
    """A step whose text says the same as its annotation: "146 + 38 = " before <<146+38=184>>.

    sentence: the line of the text that the step is in. values: the numbers of the expression.
    signs: the set of its operators.
    """
    text: str
    expression: str
    sentence: str
    values: list
    signs: set

    def marks(self, whole):
        """Where the numbers of the step begin and end in `whole`, its text or its expression.

        Number t begins at mark 2t and ends at mark 2t + 1:

            146 + 38 + 9
            0  1  2 3  4 5
        """
        figures = list(FIGURE.finditer(whole))[-len(self.values):]
        places = []
        for figure in figures:
            places += figure.span()
        return places

    def between(self, first, last):
        """What is written between two marks, in the text and in the expression."""
        found = []
        for whole in (self.text, self.expression):
            marks = self.marks(whole)
            found.append(whole[marks[first]:marks[last]])
        return found

    def after(self, mark):
        """The text behind a mark."""
        return self.text[self.marks(self.text)[mark]:]

    def rewritten(self, first, last, rewrite):
        """The Change that rewrites what is between two marks, in the text and in the expression."""
        changed = []
        for whole in (self.text, self.expression):
            marks = self.marks(whole)
            begin, end = marks[first], marks[last]
            new = rewrite(whole[begin:end])
            changed.append(whole[:begin] + new + whole[end:])
        text, expression = changed
        return Change(text, expression, arithmetic(expression))


def slips(signs, values, result):
    """Wrong results of the right operation. values: the operands; signs: the set of operators.

    A carry is forgotten, or a zero or decimal point is in the wrong place, or the product is a
    neighbour in the times table, or the quotient is off by one.
    """
    wrong = []
    if signs == {"+"}:
        for place in (10, 100, 1000):
            carried = sum(v % place for v in values) >= place
            if carried and place <= max(values) < result - place:
                wrong.append(result - place)
        return wrong
    if signs == {"-"}:
        first, *others = values
        for place in (10, 100, 1000):
            borrowed = first % place < sum(v % place for v in others)
            if borrowed and result + place < first:
                wrong.append(result + place)
        return wrong
    hard_to_count = [v for v in values if v % 10 == 0 or v.denominator > 1]  # zeros and decimals
    if result.denominator > 1 or (signs == {"*"} and hard_to_count):
        if len(hard_to_count) > 1:
            wrong.append(result * 10)
        if min(values) < 1 or result / 10 > max(values):
            wrong.append(result / 10)
        return wrong
    if signs == {"*"} and 2 < min(values) <= 12:
        return [result + max(values), result - max(values)]
    if signs == {"/"} and values[-1] > 2 and result > 10 and result % 10:
        return [result + 1, result - 1]
    return []


def wrong_operations(step):
    """Mistakes in the operator: plus for minus, times for divided by, and the reverse.

    Only two numbers or a product are changed: a minus amid a sum would look odd. A minus read as a
    plus is a last resort. So is every change where the sentence names the right operation.
    """
    found = []
    for t in range(len(step.values) - 1):
        gap = (2 * t + 1, 2 * t + 2)  # from the end of number t to the beginning of the next
        in_text, in_expression = (SIGN.findall(between) for between in step.between(*gap))
        if len(in_text) != 1 or len(in_expression) != 1:
            continue
        if len(step.values) == 2 or step.signs <= {"*", "/"}:
            wrong = TAKEN_FOR[in_expression[0]]
            odd = wrong == "+" or NAMES_AN_OPERATION.search(step.sentence)
            kind = "operation?" if odd else "operation"

            def replace(between, new=wrong):
                return SIGN.sub(new, between)
            found.append((kind, step.rewritten(*gap, replace)))
    return found


def wrong_operands(step, earlier):
    """Mistakes in one number: it is replaced by a number of an earlier line, if not too unlike.

    In "8 hours * 12" only the 12 can be replaced, for no other number is known to be hours.
    """
    if "%" in step.sentence:
        return []
    found = []
    for t, value in enumerate(step.values):
        has_unit = re.match(r"\s*[A-Za-z]", step.after(2 * t + 1))
        if has_unit or value in fraction_parts(step.expression):
            continue
        for other in sorted(earlier - set(step.values)):
            if value / 5 <= other <= value * 5:
                def replace(figure, new=other):
                    return styled(new, figure)
                change = step.rewritten(2 * t, 2 * t + 1, replace)
                found.append(("operand", change))
    return found


def forgotten_terms(step):
    """The mistake to forget the last term of a sum."""
    is_sum = len(step.values) > 2 and step.signs <= {"+", "-"}
    if not is_sum or re.search("[A-Za-z)]", step.after(1)):
        return []
    return [("term", step.rewritten(-3, -1, lambda term: ""))]


def fraction_parts(expression):
    """The numbers that the proper fractions of an expression consist of: {2, 3} in 2/3*90."""
    parts = set()
    for above, below in re.findall(r"(\d+)/(\d+)", expression):
        if int(above) < int(below):
            parts |= {Fraction(above), Fraction(below)}
    return parts


def mistakes(text, expression, result, rest, earlier):
    """What can go wrong in one step -> [(kind, Change)].

    text and rest: the text before the annotation and behind it. earlier: the numbers of earlier
    lines. A kind with a question mark reads less like a person's mistake: it is a last resort.
    """
    values, signs = amounts(expression), set(SIGN.findall(expression))
    right = arithmetic(result)
    if len(values) < 2 or right is None or arithmetic(expression) != right:
        return []
    found = []
    for wrong in slips(signs, values, right):
        found.append(("slip", Change(text, expression, wrong)))
    if right <= 100:
        for wrong in (right - 1, right + 1):
            found.append(("slip?", Change(text, expression, wrong)))
    same_numbers = amounts(text)[-len(values):] == values
    if not (same_numbers and re.search(r"=[\s$]*$", text)):
        return found  # text and annotation differ: only the result can be changed in both
    sentence = text.rpartition("\n")[2] + rest.partition("\n")[0]
    step = WrittenStep(text, expression, sentence, values, signs)
    return found + wrong_operations(step) + wrong_operands(step, earlier) + forgotten_terms(step)


# ---- one mistake in a whole solution -------------------------------------------------------------
def plausible(new, old):
    """Could a person believe this wrong number?

    A whole number stays whole, an amount has cents at most. It is positive and not off by more
    than a factor of ten.
    """
    if new is None or new == old:
        return False
    hundredths = new if old.denominator == 1 else new * 100
    return hundredths.denominator == 1 and 0 < old / 10 <= new <= old * 10


def carry_forward(pieces, step, change, given):
    """The solution with one step changed, and all that follows from it.

    pieces: STEP.split of the solution. given: numbers of the question. Returns None if the old
    result cannot be told from another number of its size, or if something implausible comes out.
    """
    at = 3 * step
    for text in pieces[at + 3::3]:
        if re.search(r"[<>=](?![\s$]*$)", text.partition("####")[0]):
            return None  # an equation without annotation: it would no longer hold
    out, changed = pieces[:at], {}  # changed: old value -> new value
    for i in range(at, len(pieces) - 1, 3):
        text, expression, written = pieces[i:i + 3]
        old = arithmetic(written)
        if i == at:
            new_text, new_expression, new = change.text, change.expression, change.result
        else:
            new_text, new_expression = swap(text, changed), swap(expression, changed)
            new = old if new_expression == expression else arithmetic(new_expression)
            if new != old and arithmetic(expression) != old:
                return None  # the old result was rounded, and we do not know how
        if new != old:
            before = given + amounts(" ".join(pieces[:i + 1:3]))
            if not can_be_replaced(old, new, text, before, pieces[i + 3:]):
                return None
            changed[old] = new
        elif old in changed:
            return None
        out += [new_text, new_expression, written if new == old else styled(new, written)]
    return joined(out + [swap(pieces[-1], changed)])


def can_be_replaced(old, new, text, before, rest):
    """Can every later number of value `old` be taken for this step's result, and become `new`?

    text: before the annotation. before: all numbers up to here. rest: the pieces behind.
    """
    if old is None or not plausible(new, old):
        return False
    if old in amounts(text.rpartition("\n")[2]):
        return False
    # Of the numbers behind, the first is this result itself, and the last is the final answer.
    later = amounts(" ".join(rest))[1:-1]
    return old not in before or old not in later


def stopped_early(solution, pieces):
    """The mistake to stop a line early: (kind, solution) or None."""
    lines = solution.split("\n")
    if len(lines) <= 2 or not lines[-1].startswith("####"):
        return None
    line_before, last_line = lines[-3:-1]
    if len(STEP.findall(last_line)) != 1 or not STEP.search(line_before):
        return None
    results = set(amounts(" ".join(pieces[2:-2:3])))
    used_last = results & set(amounts(pieces[-3]))  # the results that the last line is made from
    kind = "unfinished" if used_last == set(amounts(pieces[-5])) else "unfinished?"
    answer = f"#### {pieces[-5]}"
    return kind, "\n".join([*lines[:-2], answer])


def numbers_given(question):
    """The numbers of a question, in digits and in words, and those that are units."""
    words = re.findall("[a-z]+", question.lower())
    in_words = [Fraction(i) for i, word in enumerate(NUMBER_WORDS) if word in words]
    return amounts(question) + UNITS + in_words


@functools.lru_cache(maxsize=1)  # a teacher asks for several mistakes in the same solution
def all_mistakes(solution, question):
    """All mistakes of a solution -> (its pieces, the numbers given, {kind: mistakes}).

    A mistake is a pair (step, Change). One of stopping early is the whole wrong solution.
    """
    solution = annotated(solution.strip())
    pieces = STEP.split(solution)
    kinds, earlier = {}, set()
    for step in range(len(pieces) // 3):
        text, expression, result, rest = pieces[3 * step:3 * step + 4]
        for kind, change in mistakes(text, expression, result, rest, earlier):
            kinds.setdefault(kind, []).append((step, change))
        # What a later step may take by mistake: results, and numbers from 10 on that are no
        # percentages and no parts of a fraction.
        percentages = amounts(" ".join(re.findall(r"([\d.]+) ?%", text)))
        numbers = set(amounts(result)) | {v for v in amounts(expression) if v >= 10}
        earlier |= numbers - set(percentages) - fraction_parts(expression)
    early = stopped_early(solution, pieces)
    if early is not None:
        kind, wrong_solution = early
        kinds[kind] = [wrong_solution]
    return pieces, numbers_given(question), kinds


def corrupt_solution(solution, rng, question=""):
    """A GSM8K gold solution with one mistake, carried forward -> (text, its final answer).

    rng: random.Random. question: its numbers are told apart from results of the same size. Returns
    None where no mistake can be made.
    """
    pieces, given, kinds = all_mistakes(solution, question)
    left = {kind: list(found) for kind, found in kinds.items()}  # mistakes that were not tried yet
    gold = number(final_answer(solution) or "")
    if gold is None:
        return None
    while left:
        likely = [kind for kind in left if not kind.endswith("?")]
        kind = rng.choice(sorted(likely or left))
        mistake = left[kind].pop(rng.randrange(len(left[kind])))
        if not left[kind]:
            del left[kind]
        if kind.startswith("unfinished"):
            wrong = mistake
        else:
            step, change = mistake
            wrong = carry_forward(pieces, step, change, given)
        if wrong and plausible(number(final_answer(wrong) or ""), gold):
            return wrong, final_answer(wrong)
    return None
