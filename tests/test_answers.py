"""Which answers are the same. Each table is one kind of input that people and models bring."""
import random
from fractions import Fraction

import pytest

from engine.bank import to_problem
from engine.bank import as_text
from engine.answers import MAX_ANSWER, answers_match, canonical, number, tidy
from engine.prose import final_answer
from engine.units import COUNTED, SCALES, SPELLINGS, same_unit, unit_of
from realm import parse_response
from rewards import realm_reward

MARKUP = [
    (r"\boxed{5}", "5"), (r"\\boxed{5}", "5"), (r"\\(5\\)", "5"), (r"R\&D", "R&D"),
    (r"$\boxed{5}$", "5"), (r"\boxed{**5** km}", "5"), (r"5\,\text{km}", "5 km"),
    (r"\boxed{\boxed{5}}", "5"),
    (r"\boxed{\text{5}}", "5"), (r"\boxed{5\text{ km}}", "5"), (r"\boxed{\frac{1}{2}}", "0.5"),
    (r"\boxed{\text{Monday}}", "Monday"), (r"\boxed{\textbf{(B) Paris}}", "B"),
    ("\\[\n\\boxed{5}\n\\]", "5"),
    (r"**\boxed{5}**", "5"), (r"\boxed{\$18}", "18"), (r"\boxed{18\%}", "18"), (r"x = \boxed{5}",
    "5"),
    (r"\boxed{-7}.", "-7"), (r"\boxed{1,000}", "1000"), ("<answer>5</answer>", "5"), ("#### 5",
    "5"),
    ("`5`", "5"), ('"5"', "5"), ("<b>5</b>", "5"), ("**5** km", "5"), (r"\text{yes}", "Yes"),
    (r"\left(1, 2\right)", "(1,2)"), (r"$\$18$", "18"), (r"\boxed{\frac{\text{1}}{\text{2}}}",
    r"\frac{1}{2}")]
MARKUP += [  # of other hands
    (r"\boxed 5", "5"), (r"\boxed{10,\!080}", "10080"), ("\u20185\u2019", "5"),
    ("\u00ab5\u00bb", "5"),
    (r"\textcolor{red}{5}", "5"), (r"{\color{red}5}", "5"), (r"\boxed{\large 5}", "5"),
    ("$5$ km", "5 km"), (r"\boxed{5 \mathrm{~km}}", "5 km"), (r"5 \mathrm{~cm}^{2}", "5 cm^2"),
    (r"\framebox{5}", "5"), (r"\boxed{\pounds 5}", "\u00a35"), ("5<br>", "5"), ("&nbsp;5", "5"),
    (r"\bigl(1,2\bigr)", "(1,2)"), (r"3\colon 2", "3:2"), ("Answer: 5", "5"), ("Answer: B", "B")]
SPELLING = [
    ("\u22127", "-7"), ("\u20137", "-7"), ("\uff11\uff18", "18"), ("\uff15km", "5"), ("x = 5",
    "5"), ("n=5", "5"),
    ("1{,}000", "1000"), (r"1\,000", "1000"), (r"1{,}\!000", "1000"), ("Zu\u0308rich",
    "Z\u00fcrich"),
    ("7:30 p.m.", "7:30 PM"), ("7:30pm", "7:30 PM"), ("1e16", "10000000000000000"), ("1e-05",
    "0.00001"),
    ("3 1/2", "3.5"), (r"1\frac{1}{2}", "1.5"), ("\u00bd", "0.5"), ("2\u00bd", "2.5"), (r"\frac12",
    "0.5"),
    (r"-\frac{1}{2}", "-0.5"), ("42 (6 x 7)", "42"), ("42 (see step 3)", "42")]
SPELLING += [
    ("1\u00a0000", "1000"), ("1\u202f000\u2009000", "1000000"), ("1 \u00bd", "1.5"),
    ("\u215e", "7/8"),
    ("1\u20442", "0.5"), ("1 3\u22154", "1.75")]
OPTIONS = [("B)", "B"), ("B.", "B"), ("B. Paris", "B"), ("b) Paris", "B"), ("(B) Paris", "B"),
    ("B: Paris", "B"),
           ("B. A dog", "B"), ("B) Paris", "B. paris"), ("Option B", "B"), ("option (B)", "B"),
           ("choice B. Paris", "B")]
UNITS = [
    ("5km", "5"), ("5 \u20ac", "5"), ("\u20ac5", "5 \u20ac"), ("18 dollars", "18"), ("18 dollars",
    "$18"), ("18 USD", "$18"),
    ("5 kilometers", "5km"), ("18 apples", "18"), ("5 slices", "5"), ("20 marbles", "20"),
    ("18 Eggs", "18"),
    ("50 percent", "50%"), (r"50\%", "50"), ("5 miles per hour", "5 mph"), ("5 km/h", "5"),
    ("3/4 cup", "3/4"),
    ("$5 per hour", "5 dollars an hour"), ("5 m^2", "5 square meters"), ("5 cm\u00b2", "5"),
    (r"5^\circ", "5"),
    ("5\u00b0C", "5 degrees Celsius"), ("5 years old", "5"), ("$5 each", "$5"), ("5 people",
    "5 persons"),
    ("5 eggs left", "5 eggs"), ("18 duck eggs", "18"), ("5 slices of pizza", "5"), ("12 quarters",
    "12"),
    ("5 lbs", "5 pounds"), ("\u00a35", "5 pounds"), ("5 hrs", "5 hours"), ("5 PM", "5 p.m."),
    ("5 more apples", "5 apples"), ("18 (eggs)", "18"),
    ("-5 degrees", "-5"), ("4 wolves", "4"), ("3 children", "3"), ("2 boxes", "2"),
    ("18 students in total", "18"), ("$18 an hour", "$18 per hour"), ("$18 a day", "$18/day")]
RIGHT = MARKUP + SPELLING + OPTIONS + UNITS

ANOTHER_NUMBER = [f"5 {word}" for word in """
    fifths halves thirds quarter tenths negative bn lakh k K M mn mio dozen squared cubed thousand
    million crore grand score gross pair hundred half double times minus plus not no wrong false
    short debt loss less ago i x pi mod r bill log
    point o factorial""".split()]
ANOTHER_NUMBER += [
    "5k", "5M", "5th", "5i", "5!", "5?", "5+", "> 5", "~5", "5-6", "5:6", "5,6", "5 6", "5^2",
    "5_2", "5\u00b2", "5\u03c0",
    "0x5", "5e", "5e3", "5 (thousand)", "5 (negative)", "5 (or 6)", "5 below zero",
    "5 degrees below zero", "5 and a half",
    "5 hundred eggs", "5 half apples", "5 thousand dollars", "$5 thousand", "$5m", "$5 cents",
    "5 feet 3 inches",
    "5 quarters of pizza", "5 eighths of pizza", "5 point 2", "5 remainder 2",
    "5 dollars 50 cents", "half of 5", "not 5",
    "5 choose 2", "5\u200b", "\u0665", r"\sqrt{5}", r"\boxed{5}\boxed{6}",
    r"\boxed{5} or \boxed{6}", "x = 5 or x = 6",
    "2 + 3 = 5", "The answer is 5", "y = x = 5 k", "5 \u4e07", "-5", "1 4", "55"]
UNITS_DIFFER = [
    ("5 cents", "$5"), ("5 km", "5 miles"), ("5 kg", "5 g"), ("5 m^2", "5 m"), ("$5", "\u20ac5"),
    ("50%", "$50"),
    ("5 per hour", "5 per day"), ("5 AM", "5 PM"), ("18 apples", "18 oranges"), ("5 red marbles",
    "5 blue marbles"),
    ("x = 5", "y = 5"), ("B. Paris", "B. London"), ("5 miles per hour", "5 miles per day")]
OTHER_WRONG = [
    ("--5", "-5"), ("-$-5", "-5"), ("5/0", "5"), ("1 3/2", "2.5"),
    ("3 fifths", "3"), ("3 halves", "3"), ("3 quarters", "3"), ("69 negative", "69"), ("A. B",
    "A"), ("A or B", "A"),
    ("B) not B", "B"), ("B. wrong", "B"), ("A and B", "A"), ("B. Paris", "A"),
    (r"\boxed{1}\boxed{8}", "18"),
    (r"1\frac{1}{2}", "5.5"), (r"\frac{1}{2}5", "0.04"), (r"\frac{1 2}{3}", "5/3"), ("18\u00b2",
    "182"), ("2**3**4", "234"),
    ("50%", "0.5"), ("5%", "0.05"), ("7:30 AM", "7:30 PM"), ("(1, 2)", "(2, 1)"), ("**1** **8**",
    "18"), ("1~8", "18")]
NAMES = [("E. coli", "E"), ("C. difficile", "C"), ("E. coli", "E. faecalis"), ("H. pylori", "H"),
         ("J. S. Bach", "J"), ("D. H. Lawrence", "D")]
STRUCK_OUT = [(f"<{tag}>5</{tag}>", "5") for tag in ("del", "strike", "s", "sup", "sub")]
OTHER_WRONG += [  # what stands in brackets behind words is a part of the answer
    (r"(-\infty, -2) \cup (99, \infty)", r"(-\infty, -2) \cup (3, \infty)"),
    ("(1, 2), (9, 9)", "(1, 2), (3, 4)"), ("(1, 2)", "(1, 2), (3, 4)"), ("(A) and (C)",
    "(A) and (B)"),
    ("A, (D)", "A, (B)"), ("(A), (B)", "A"), ("A, C", "A"), ("A or B", "A, B"), ("sin (2x)",
    "sin (x)"),
    ("copper (I)", "copper (II)"), ("Washington (DC)", "Washington (state)")]
OTHER_WRONG += [  # a space between digits is one
    ("2 or 11/2", "2 or 1 1/2"), ("[11/2, 3]", "[1 1/2, 3]"), ("12 and 3", "1 2 and 3"),
    ("21/2 million", "2 1/2 million"), ("May 11 2", "May 1 12")]
OTHER_WRONG += [(rf"5{command}", "5") for command in (r"\in", r"\cup", r"\min", r"\dots", r"\star")]
OTHER_WRONG += [  # found with the test cases of other graders
    ("0,245", "245"), ("0,001", "1"), ("-0,125", "-125"), ("01,234", "1234"),
    ("6 + (8 + 12)", "6 + (8 \u00d7 12)"), ("2x (5x4)", "2x (5+ 4)"),
    ("increase (by 5)", "increase (by 6)"), ("cat (or dog)", "cat"), ("F (3)", "F (4)"),
    ("B. or C", "B"), ("B) maybe c, or d", "B"), ("(B) is wrong", "B"), ("B. no, C", "B"),
    ("(1, 2)", "[1, 2]"), ("(1, 02)", "(1, 2)"), ("6 or 8", "6"), ("6 and 8", "8 and 6"),
    (r"5 \times 10^3", "53"), (r"5 \times 10^3 + 1", "5000"),
    (r"2 \times 10^{-3}", "2000"), ("minus 5", "5"),
    (r"\frac1{72}", "72"), (r"$3$ $\$5$", "3")]
OTHER_WRONG += [  # found by one who attacked what was mended
    ("1/2*10^2", "1/200"), ("3/4 x 10^3", "3/4000"), (r"\frac{1}{2}\times 10^3", "0.0005"),
    ("$5 and $6", "\u00a35 and \u00a36"), ("50% and 25%", "$50 and $25"),
    ("$3 and 50%", "3% and $50"),
    ("b) paris, c) rome", "B"), ("a) 1 b) 2 c) 3 d) 4", "A"), ("B) maybe c", "B"),
    ("B. This is not correct", "B"), ("B. The answer is not here", "B"), ("F (ab)", "F"),
    ("A. Not this, it is the last one", "A"), ("B. Wait, A is correct", "B"),
    ("B (this is not correct)", "B"), ("2^{3}5", "2^35")]
OTHER_WRONG += NAMES + STRUCK_OUT + [
    ("5 each way", "5"), ("1\u00a000", "100"), ("$5$ $6$", "56"), ("5 a dozen", "5")]
WRONG = [(text, "5") for text in ANOTHER_NUMBER] + UNITS_DIFFER + OTHER_WRONG


RIGHT += [  # found with the test cases of other graders
    ("(B) Rome and Paris", "B"), ("C: 1 and 2 only", "C"), ("A. 2f", "A"),
    ("D. There is no change", "D"), ("B (Paris)", "B"), ("B (Paris)", "B. Paris"),
    (r"\(35\) apples", "35"), (r"$\$35$ per day", "$35 per day"), (r"5\,", "5"),
    (r"\frac1{72}", "1/72"), (r"\frac{29}4", "29/4"), (r"\frac {40}7", "40/7"),
    (r"\frac { 1 } { 2 }", "0.5"), (r"11,\! 111,\! 100", "11111100"), ("4210_{5}", "4210_5"),
    ("x^{2}", "x^2"), (r"5 \times 10^3", "5000"), ("5 \u00d7 10^3", "5e3"), ("5 x 10^{-2}", "0.05"),
    ("negative 5", "-5"), ("$48$, $384$", "48, 384"), ("6 and 8", "6, 8"),
    ("6, 8, and 9", "6, 8, 9"), ("(1, 4.5)", r"(1, \frac{9}{2})"), ("[0.5,1)", "[1/2, 1)"),
    ("5 integers", "5")]
RIGHT += [  # found by one who attacked what was mended
    ("x = 5 (from equation 2)", "5"), (r"2\pi (approximately 6.28)", r"2\pi"),
    ("Yes (because 5 > 3)", "Yes"), ("Yes (See step 3)", "yes"), ("12:30 (pm)", "12:30 pm"),
    (r"2\sqrt{3} (cm)", r"2\sqrt{3} cm"), ("1.5,2.5", "1.5, 2.5"), ("$48$,$384$", "$48$, $384$"),
    ("$5,$6", "$5, $6"), ("50%,25%", "50%, 25%")]
RIGHT += [
    ("yes (all of them)", "yes"), ("Paris (France)", "paris"), ("A and C", "A, C"),
    ("(A), (C)", "A,C"), ("Yes (see step 2)", "yes"), (r"5\ km", "5 km"), (r"50\%", "50%")]


@pytest.mark.parametrize("answer, gold", RIGHT)
def test_a_right_answer_is_right_in_any_spelling(answer, gold):
    assert answers_match(answer, gold)
    assert answers_match(gold, answer)
    assert canonical(answer) == canonical(gold)  # so that a vote counts them together


def test_what_is_no_text_is_read_as_it_is_printed():
    assert not answers_match(["5"], "5") and not answers_match({}, "5") and answers_match(5, "5")


@pytest.mark.parametrize("answer, gold", WRONG)
def test_a_wrong_answer_is_never_paid(answer, gold):
    assert not answers_match(answer, gold)
    assert not answers_match(gold, answer)
    if answer:
        assert answers_match(answer, answer)


@pytest.mark.parametrize("text, answer", [
    ("The answer is x = 5.", "5"), ("The answer is 256+37 = 293.", "293"),
    ("the answer is 2 + 3 = 5 eggs", "5 eggs"),
    ("Answer: y = 2x + 1", "y = 2x + 1"), (r"\boxed{x = 5}", "5"), ("the answer is x = 5 or x = 6",
    "x = 5 or x = 6"),
    ("So she leaves at 7:30 PM.", "7:30 PM"), ("The answer is 7:30 PM.", "7:30 PM"),
    ("It is at (1, 2).", "(1, 2)"),
    ("The answer is (1, 2), as said.", "(1, 2)"), ("the answer is B. Paris", "B"),
    ("it falls to \u22127", "-7"),
    ("it is \uff11\uff18", "18"), (r"<answer>\boxed{5}</answer>", "5"),
    (r"<answer>So \boxed{5} it is</answer>", "5"),
    (r"\\boxed{5}", "5"), (r"\boxed{<answer>5</answer>}", "5"), ("It was 5 million.", "5 million"),
    ("It is 3 fifths of it", "3 fifths"), ("The answer is 5 (thousand).", "5 (thousand)"),
    ("The answer is 3, 4 and 5.", "3, 4 and 5"), ("The answer is 1{,}000.", "1,000"),
    ("She walks 5km", "5"),
    ("the answer is 42 (see step 3) and so on", "42"), (r"$$\boxed{\text{Monday}}$$", "Monday")])
def test_the_answer_of_a_text(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize("text, gold, right", [
    ("-\\boxed{18}", "-18", True), ("-\\boxed{18}", "18", False), ("$-\\boxed{18}$", "18", False),
    ("\\boxed{18} million", "18", False), ("\\boxed{18}\\text{ thousand}", "18", False),
    ("\\boxed{1}/2", "1", False), ("\\frac{\\boxed{1}}{2}", "1", False),
    ("- \\boxed{18}", "18", True), ("It is = -\\boxed{18}", "-18", True),
    ("The answer is \\boxed{18}!", "18", True), ("\\boxed{18}^\\circ", "18", True),
    ("20 minus 18", "18", True),
    ("So $\\boxed{5}$ million.", "5", False), ("So $\\boxed{5}$ million.", "5 million", True),
    ("\\(\\boxed{5}\\) million", "5", False), ("**\\boxed{5}** thousand", "5", False),
    ("$\\boxed{5} \\times 10^6$", "5", False), ("$\\boxed{5}\\pi$", "5", False),
    ("$\\boxed{5}\\sqrt{2}$", "5", False), ("$\\boxed{5}$ apples, as said", "5", True),
    ("Answer: A, C", "A", False), ("Answer: A, C", "A, C", True), ("Answer: A; C", "A", False),
    ("The answer is A, B and D.", "A", False), ("Answer: B, because A is wrong", "B", True),
    ("\\boxed{2}^3", "2", False), ("\\boxed{18} dollars, as said", "18", True),
    ("<think>\\boxed{20}</think> 18", "18", True), ("<think>20</think>", "20", True),
    ("<think>The answer is 20</think>\n18", "18", True),
    ("<think><answer>20</answer></think> It is 18", "20", False),
    ("<answer>The answer is 18.</answer>", "18", True), ("<answer>Answer: 18</answer>", "18", True),
    ("<Answer>B</Answer>", "B", True), ("<answer id=1>B</ answer >", "B", True),
    ("A: The answer is 18", "18", True), ("The answer is therefore 18", "18", True),
    ("The correct option is B.", "B", True), ("The answer is Dr. Smith.", "Dr. Smith", True),
    ("The answer is E. coli. It grows", "E. coli", True), ("The answer is E. coli.", "E", False),
    ("The answer is St. Louis", "St. Louis", True), ("The answer is Jan. 5", "Jan. 5", True),
    ("The answer is January 5, 2020, a Sunday", "January 5, 2020", True),
    ("The answer is 5, 2020 was better", "5", True), ("The answer is $18$ dollars.", "18", True)])
def test_what_stands_around_an_answer(text, gold, right):
    assert answers_match(final_answer(text), gold) == right


@pytest.mark.parametrize("text, gold, wrong", [
    ("It is 1 1/2 cups", "1.5", "1/2"), ("It is 1\u00bd cups", "1.5", "1"),
    ("takes \u00bd hour", "0.5", "2"),
    ("It is minus 5", "-5", "5"), ("It is negative 5.", "-5", "5"), ("It's 3:2", "3:2", "2"),
    ("Rate is 5e3", "5000", "3"), ("1.5e-3 it is", "0.0015", "3"), ("It's 2^10", "2^10", "10"),
    ("Meet at 5 PM", "5 PM", "5 AM"), ("on 12/25/2020", "12/25/2020", "2020"),
    ("on 2020-12-25", "2020-12-25", "25"), ("in [1, 2)", "[1, 2)", "2"),
    ("it has 18M", "18M", "18"),
    ("5 below zero", "5 below", "5"), ("5 and a half", "5 and a half", "5"),
    ("5 or 6", "5 or 6", "6"),
    ("It is 5 feet 6 inches", "5 feet 6 inches", "6"),
    ("2 hours and 30 min", "2 hours and 30 min", "30")])
def test_the_last_number_is_not_a_part_of_another_value(text, gold, wrong):
    assert answers_match(final_answer(text), gold) and not answers_match(final_answer(text), wrong)


@pytest.mark.parametrize("value, text", [
    (1e16, "10000000000000000"), (0.00001, "0.00001"), (-1e-7, "-0.0000001"), (5, "5"), (2.5,
    "2.5"), (5.0, "5.0"), (1e22, "1" + 22 * "0")])
def test_a_gold_answer_that_is_a_number_of_json_is_a_plain_decimal(value, text):
    problem = to_problem({"question": "q", "answer": value, "routes": [{"text": "so",
    "answer": value}]}, "here")
    assert problem.answer == problem.routes[0].answer == as_text(value) == text
    assert problem.routes[0].correct and number(text) == Fraction(repr(value))
    assert answers_match(repr(value), problem.answer)


def test_a_student_is_paid_for_a_right_answer_in_markup_and_not_for_a_wrong_one():
    for answer, gold in RIGHT:
        text = f"<think>so</think><answer>{answer}</answer>"
        if "answer>" not in answer:
            assert realm_reward(parse_response(text), gold, []).total == 1.0, answer
    for answer, gold in WRONG:
        text = f"<think>so</think><answer>{answer}</answer>"
        assert realm_reward(parse_response(text), gold, []).total == 0.0, answer


def test_a_bank_with_boxed_golds_and_boxed_routes_labels_its_own_answers_right():
    pairs = [
        (r"\boxed{5}", r"so \boxed{5}"), ("5", r"<answer>\boxed{5}</answer>"),
        (r"\boxed{5}", "#### 5"), (r"\\boxed{5}", "the answer is $5$")]
    for gold, text in pairs:
        line = {"question": "q", "answer": gold, "routes": [{"text": text}]}
        assert to_problem(line, "here").routes[0].correct


# ---- properties ----------------------------------------------------------------------------------
def value_of(rng):
    return Fraction(rng.randint(-9999, 99999), rng.choice([1, 1, 1, 2, 4, 5, 10, 100, 3, 7]))


def written(value, rng):
    """A value in a random spelling, in at most three layers of markup."""
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    ways = [f"{sign}{top}/{bottom}", rf"{sign}\frac{{{top}}}{{{bottom}}}"]
    if bottom == 1:
        ways = [f"{sign}{top}", f"{sign}{top:,}", f"{sign}{top}.00", f"{sign}${top:,}"]
        ways.append(f"{sign}{top:,}".replace(",", "{,}"))
    elif 100 % bottom == 0:
        ways += [f"{sign}{top * 100 // bottom // 100}.{top * 100 // bottom % 100:02d}"]
    if bottom > 1 and top > bottom:
        ways.append(f"{sign}{top // bottom} {top % bottom}/{bottom}")
    text = rng.choice(ways)
    if rng.random() < 0.3:
        text = text.replace("-", "\u2212")
    layers = ["%s", r"\boxed{%s}", "**%s**", r"\text{%s}", r"\(%s\)", "<answer>%s</answer>", " %s."]
    for around in rng.choices(layers, k=3):
        text = around % text if text.count("{") < 4 else text
    return text


def test_two_spellings_of_one_number_match_and_those_of_two_numbers_do_not():
    rng = random.Random(0)
    for _ in range(3000):
        value, other = value_of(rng), value_of(rng)
        texts = written(value, rng), written(value, rng), written(other, rng)
        assert answers_match(texts[0], texts[1]) and answers_match(texts[1], texts[0]), texts
        assert answers_match(texts[0], texts[2]) == (value == other), texts
        assert answers_match(texts[2], texts[0]) == (value == other), texts


def test_every_text_is_read_without_an_exception_alike_from_both_sides_and_tidied_once():
    rng = random.Random(1)
    parts = [*sum(RIGHT, ()), *sum(WRONG, ()), "\\", "{", "}", "$", "**", "=", "(", ")", "/", ".",
    " ", "\u0301", "\u200b", "e", "_"]
    for _ in range(3000):
        a, b = ("".join(rng.choices(parts, k=rng.randint(0, 4))) for _ in range(2))
        assert answers_match(a, b) == answers_match(b, a)
        assert answers_match(a, a) == bool(canonical(a))
        assert not answers_match(a, b) or canonical(a) == canonical(b)
        tidied = tidy(a)
        assert tidied is None or tidied == tidy(tidied) or len(a) > MAX_ANSWER, a


def test_no_word_that_scales_a_number_is_a_unit():
    for word in SCALES - {"quarters"}:
        assert unit_of(word) is None and unit_of(word.upper()) is None, word
        for noun in ("eggs", "of eggs", "km", "dollars", "left"):
            assert unit_of(f"{word} {noun}") is None, word
    assert not SCALES & COUNTED and SCALES & set(SPELLINGS) == {"quarters"}


def test_units_are_known_in_their_plurals_and_agree_only_with_themselves():
    names = {
        "boxes": "box", "berries": "berry", "feet": "foot", "Kilometers": "kilometer",
        "in.": "inch", "sq. ft": "square foot", "gallons of water": "gallon of water",
        "left over": "", "/h": "/hour"}
    for text, name in names.items():
        assert unit_of(text) == name
    assert unit_of("square hours") is unit_of("more " * 6 + "eggs") is None
    assert unit_of("foot ladders") is None  # "5 foot ladders" are not five feet
    assert same_unit("", "egg") and same_unit("egg", "egg") and same_unit("lb", "pound")
    assert not same_unit("egg", "duck egg") and not same_unit("lb", "\u00a3")
    assert unit_of("KM") == "kilometer" and unit_of("M") is unit_of("MM") is unit_of("K") is None


@pytest.mark.parametrize("text", [
    "\\boxed{" * 30 + "5" + "}" * 30, "$" * 190, "\\frac{" * 30, "(" * 199,
    "{" * 100 + "5" + "}" * 90, "5 " + "of " * 60,
    "a\u0301" * 1000, "\u0301\u0327" * 900, "1e999", "9" * 190 + "e999", "5 " + "/" * 190,
    "x = " * 50, "**" * 99])
def test_what_is_built_to_be_slow_is_read_as_text(text):
    assert not answers_match(text, "18") and isinstance(canonical(text), str)
