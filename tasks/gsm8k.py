"""GSM8K without an LLM: a simulated teacher whose routes are the gold solution, or the gold solution with one mistake in it.

    Al weighs 146 + 38 = <<146+38=184>>184 pounds.          Al weighs 146 + 38 = <<146+38=174>>174 pounds.
    Ben weighs 184 - 25 = <<184-25=159>>159 pounds.   ->    Ben weighs 174 - 25 = <<174-25=149>>149 pounds.
    #### 159                                                #### 149

One step goes wrong as people's steps do; whatever is computed from it afterwards, in GSM8K's <<annotations>> and in the text
around them, is computed again. A mistake that cannot be carried through cleanly is not made: another one is.
"""
import ast
import functools
import operator
import random
import re
from fractions import Fraction

from rewards import final_answer, number

STEP = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")  # the annotation of one step
FIGURE = re.compile(r"(?<![\w.])(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?!\d|\.\d|x\b|st\b|nd\b|rd\b|th\b)")  # no 3rd
PLAIN, AND = r"\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)", r"\s*[-+*/x]\s*"
EQUATION = re.compile(rf"<<[^<>]*>>|(?<![\w.)/*+–-])({PLAIN}(?:{AND}{PLAIN})+)(\s*=\s*\$?)({PLAIN})(?!{AND}\$?\d)")
SIGN = re.compile(r"[-+*/–×÷]|(?<![A-Za-z])x(?![A-Za-z])")  # an operator, in an annotation or in the text
SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
NAMED = re.compile(r"(?i)divid|multipl|add|subtract|total|together|combin|\bmore|fewer|less|\ball\b|sum|per\b|each|half|twice")
UNITS = [Fraction(n) for n in (7, 12, 24, 30, 52, 60, 100, 365, 1000)]  # days, hours, minutes, cents: never a result's echo
COUNTS = "zero one two three four five six seven eight nine ten eleven twelve".split()


# ---- numbers in text ------------------------------------------------------------------------------------------------
def arithmetic(text):
    """The exact value of + - * / and brackets over plain numbers, else None. Nothing is handed to Python's eval.

    >>> [str(arithmetic(t)) for t in ("0.2*(30+20)/4", "2**9", "1/0", "x")]
    ['5/2', 'None', 'None', 'None']
    """
    def value(node):
        if isinstance(node, ast.BinOp):
            return SIGNS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        return Fraction(repr(node.value)) if isinstance(node, ast.Constant) else Fraction("none")
    try:
        return value(ast.parse(text.strip(), mode="eval").body) if len(text) <= 200 else None
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError):
        return None


def amount(figure):
    return Fraction(figure.replace(",", ""))


def amounts(text):
    """The numbers of a text, by value."""
    return [amount(figure) for figure in FIGURE.findall(text)]


def styled(value, like):
    """A number written as the one it replaces: 4.5, or 4.50 where cents stood, or 1,200 where there were commas."""
    text = format(float(value), ",.2f" if "," in like else ".2f")
    return text if re.search(r"\.\d\d$", like) else text.rstrip("0").rstrip(".")


def swap(text, changed):
    """A text with its numbers replaced; changed: old value -> new."""
    return FIGURE.sub(lambda m: styled(changed[amount(m[0])], m[0]) if amount(m[0]) in changed else m[0], text)


def joined(pieces):
    """STEP.split undone: [text, expression, result, text, expression, result, ..., text] -> a solution."""
    return "".join((p, f"<<{p}=", f"{p}>>")[i % 3] for i, p in enumerate(pieces))


def annotated(solution):
    """A solution whose few equations without an annotation have one too.

    >>> annotated("2 + 1 = <<2+1=3>>3, so 3 x 4 = $12")
    '2 + 1 = <<2+1=3>>3, so 3 x 4 = $<<3*4=12>>12'
    """
    def annotate(match):
        if match[1] is None:  # an annotation
            return match[0]
        expression, result = re.sub(r"[\s$,]", "", match[1]).replace("x", "*"), re.sub(r"[$,]", "", match[3])
        holds = arithmetic(expression) == arithmetic(result)
        return f"{match[1]}{match[2]}<<{expression}={result}>>{match[3]}" if holds else match[0]
    return EQUATION.sub(annotate, solution)


# ---- one mistake ----------------------------------------------------------------------------------------------------
def slips(signs, values, old):
    """Wrong results of the right operation: a carry forgotten, a neighbour in the times table, a zero or a decimal point in
    the wrong place, a quotient one off."""
    if signs == {"+"}:
        return [old - d for d in (10, 100, 1000) if sum(v % d for v in values) >= d and d <= max(values) < old - d]
    if signs == {"-"}:
        return [old + d for d in (10, 100, 1000) if values[0] % d < sum(v % d for v in values[1:]) and old + d < values[0]]
    if old.denominator > 1 or signs == {"*"} and any(v % 10 == 0 or v.denominator > 1 for v in values):
        many = sum(v % 10 == 0 or v.denominator > 1 for v in values) > 1  # zeros or decimals to count together
        return [old * 10] * many + [old / 10] * (min(values) < 1 or old / 10 > max(values))
    if signs == {"*"} and 2 < min(values) <= 12:
        return [old + max(values), old - max(values)]
    return [old + 1, old - 1] if signs == {"/"} and values[-1] > 2 and old > 10 and old % 10 else []


def shares(expression):
    """The numbers that a proper fraction is written with: {2, 3} of 2/3*90."""
    return {Fraction(n) for a, b in re.findall(r"(\d+)/(\d+)", expression) if int(a) < int(b) for n in (a, b)}


def mistakes(text, expression, result, rest, earlier):
    """What can go wrong in one step -> (kind, text before it, expression, result) each. Kinds: a slip; a wrong operation; an
    operand that is another number of an earlier line (earlier: their values); a term of a sum forgotten. rest: text behind.
    A kind with a question mark reads less like a person's mistake: a last resort."""
    values, signs, old = amounts(expression), set(SIGN.findall(expression)), arithmetic(result)
    if len(values) < 2 or old is None or arithmetic(expression) != old:
        return
    for slip in slips(signs, values, old):
        yield "slip", text, expression, slip
    for slip in (old - 1, old + 1) if old <= 100 else ():
        yield "slip?", text, expression, slip
    if amounts(text)[-len(values):] != values or not re.search(r"=[\s$]*$", text):
        return  # the text does not say what the annotation says: nothing but the result can be changed in both
    line = text.rpartition("\n")[2] + rest.partition("\n")[0]
    spans = [[m.span() for m in FIGURE.finditer(t)][-len(values):] for t in (text, expression)]

    def edited(kind, place, rewrite):  # place(spans) -> (from, to), what of the text and of the expression is rewritten
        cuts = [(t, *place(s)) for t, s in zip((text, expression), spans)]
        changed = [t[:i] + rewrite(t[i:j]) + t[j:] for t, i, j in cuts]
        return kind, *changed, arithmetic(changed[1])
    for t in range(len(values) - 1):
        gaps = [SIGN.findall(whole[s[t][1]:s[t + 1][0]]) for whole, s in zip((text, expression), spans)]
        if [len(gap) for gap in gaps] == [1, 1] and (len(values) == 2 or signs <= {"*", "/"}):  # no minus amid a sum
            wrong = {"+": "-", "-": "+", "*": "/", "/": "*"}[gaps[1][0]]
            kind = "operation?" if wrong == "+" or NAMED.search(line) else "operation"  # the sentence names the right one
            yield edited(kind, lambda s: (s[t][1], s[t + 1][0]), lambda gap: SIGN.sub(wrong, gap))
    for t, value in enumerate(values):
        if not re.match(r"\s*[A-Za-z]", text[spans[0][t][1]:]) and value not in shares(expression) and "%" not in line:
            for other in sorted(earlier - set(values)):  # of "8 hours * 12" only the 12 is replaced: no other number is hours
                if value / 5 <= other <= value * 5:
                    yield edited("operand", lambda s: s[t], lambda figure: styled(other, figure))
    if len(values) > 2 and signs <= {"+", "-"} and not re.search("[A-Za-z)]", text[spans[0][0][1]:]):
        yield edited("term", lambda s: (s[-2][1], s[-1][1]), lambda term: "")


def plausible(new, old):
    """A whole number stays one, an amount has cents at most; nothing is negative, none, or off by more than ten times."""
    return new is not None and new != old and (new * (1 if old.denominator == 1 else 100)).denominator == 1 \
        and 0 < old / 10 <= new <= old * 10


def carry_forward(pieces, step, change, given):
    """The solution (STEP.split) with one step changed, (text, expression, result), and all that follows from it. None if the
    old result cannot be told from another number of its size, or if something implausible comes out."""
    at, changed = 3 * step, {}
    if any(re.search(r"[<>=](?![\s$]*$)", text.partition("####")[0]) for text in pieces[at + 3::3]):
        return None  # further equations without annotation: they would no longer hold
    out = pieces[:at]
    for i in range(at, len(pieces) - 1, 3):
        text, expression, written = pieces[i:i + 3]
        old = arithmetic(written)
        if i == at:
            new_text, new_expression, new = change
        else:
            new_text, new_expression = swap(text, changed), swap(expression, changed)
            new = old if new_expression == expression else arithmetic(new_expression)
            if new != old and arithmetic(expression) != old:
                return None  # a rounded result: nobody knows how
        if new != old:
            before, here = given + amounts(" ".join(pieces[:i + 1:3])), amounts(text.rpartition("\n")[2])
            after = amounts(" ".join(pieces[i + 3:]))[1:-1]  # without the result itself, and without the final answer
            if old is None or not plausible(new, old) or old in here or old in before and old in after:
                return None
            changed[old] = new
        elif old in changed:
            return None
        out += [new_text, new_expression, written if new == old else styled(new, written)]
    return joined(out + [swap(pieces[-1], changed)])


@functools.lru_cache(maxsize=1)  # a teacher asks for several mistakes in the same solution
def all_mistakes(solution, question):
    """(STEP.split of the solution, numbers of the question, {kind: [(step, change)]}). A fifth kind is to stop a line early."""
    solution = annotated(solution.strip())
    pieces, lines, kinds, earlier = STEP.split(solution), solution.split("\n"), {}, set()
    for step in range(len(pieces) // 3):
        text, expression, result = pieces[3 * step:3 * step + 3]
        for kind, *change in mistakes(text, expression, result, pieces[3 * step + 3], earlier):
            kinds.setdefault(kind, []).append((step, change))
        percents = amounts(" ".join(re.findall(r"([\d.]+) ?%", text)))  # no numbers to take by mistake, nor are small factors
        earlier |= {*amounts(result), *(v for v in amounts(expression) if v >= 10)} - {*percents, *shares(expression)}
    if len(lines) > 2 and lines[-1].startswith("####") and len(STEP.findall(lines[-2])) == 1 and STEP.search(lines[-3]):
        leads = set(amounts(" ".join(pieces[2:-2:3]))) & set(amounts(pieces[-3]))  # results that the last line is made from
        kind = "unfinished" if leads == set(amounts(pieces[-5])) else "unfinished?"
        kinds[kind] = ["\n".join([*lines[:-2], "#### " + pieces[-5]])]
    words = re.findall("[a-z]+", question.lower())
    return pieces, amounts(question) + UNITS + [Fraction(i) for i, count in enumerate(COUNTS) if count in words], kinds


def corrupt_solution(solution, rng, question=""):
    """A GSM8K gold solution with one mistake, carried forward -> (text, its final answer), or None where none can be made.

    rng: random.Random. question: its numbers are told apart from results of the same size.
    """
    pieces, given, kinds = all_mistakes(solution, question)
    kinds = {kind: list(changes) for kind, changes in kinds.items()}
    gold = number(final_answer(solution) or "")
    while kinds and gold is not None:
        kind = rng.choice(sorted(k for k in kinds if k[-1] != "?") or sorted(kinds))
        change = kinds[kind].pop(rng.randrange(len(kinds[kind])))
        kinds = {kind: changes for kind, changes in kinds.items() if changes}
        wrong = change if kind.startswith("unfinished") else carry_forward(pieces, *change, given)
        if wrong and plausible(number(final_answer(wrong) or ""), gold):
            return wrong, final_answer(wrong)
    return None


def teacher(error=0.5, systematic=0.5, seed=0):
    """The simulated teacher: each route is wrong with probability `error`. A wrong one makes the question's one fixed mistake
    with probability `systematic` (a misconception: wrong answers coincide, and voting fails), or a random one (a slip).
    Guided by rules it makes none. The gold solution is problem.routes[0], where load_problems puts it; a question whose
    solution has no step that can go wrong (one in twelve) is always solved.
    """
    def teach(problems, guided):
        written = []
        for problem, flags in zip(problems, guided):
            gold = problem.routes[0].text if problem.routes else ""
            if "####" not in gold:
                raise ValueError(f"{problem.question[:60]!r} has no gold solution (an answer like GSM8K's '... #### 72'), "
                                 "which the simulated teacher needs: name another with --teacher")
            rng, fixed = (random.Random(f"{part} {problem.question}") for part in (f"teacher {seed}", "misconception"))
            usual = corrupt_solution(gold, fixed, problem.question)
            written.append([])
            for reads_rules in flags:
                wrong, misled = rng.random() < error, rng.random() < systematic
                mistake = usual if misled or not wrong else corrupt_solution(gold, rng, problem.question)
                written[-1].append(mistake[0] if wrong and mistake and not reads_rules else gold)
        return written
    return teach
