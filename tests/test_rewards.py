import itertools
import json
import math
import random
from pathlib import Path

import pytest

from realm import Response
from rewards import (Reward, answers_match, canonical, final_answer, number, realm_reward,
                     utility_score)

GSM8K = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "gsm8k"
SOLUTIONS = GSM8K / "model_solutions_6b.jsonl"


@pytest.mark.parametrize("text, answer", [
    ("... so <answer> 42 </answer>", "42"),
    # The last of two equal marks counts.
    ("<answer>1</answer> no, <answer>2</answer>", "2"),
    # The clearest mark counts.
    ("<answer>1</answer> and then 99", "1"), ("<answer>1</answer> \\boxed{2} #### 3", "1"),
    # Every mark, as teachers write it.
    ("<answer> <answer>5</answer>", "5"), (r"so \boxed{12}", "12"),
    (r"\boxed{1}, no, \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ("16 - 3 = 13\n#### 1,000", "1,000"), ("#### -7", "-7"),
    ("2 + 2 = 4\nA: 4", "4"), ("A: 4\nA: 5", "5"),
    ("The answer is $1,000.", "$1,000"), ("The answer is 3.5.", "3.5"),
    ("The answer is: **18**", "18"), ("The answer is 5. We had 6 apples", "5"),
    ("the answer is 42 (see step 3)", "42"), ("Final answer: not this.", "not this"),
    ("The answer is:\n42", "42"), ("The answer is:\n\n**42**", "42"),
    ("The answer is: \n$$42$$", "42"), ("The answer is **42**.", "42"),
    ("A:\nLet's see. 9*2 = 18.\nThe answer is 18.", "18"),
    ("Answer:\n1. 9 eggs.\n2. 9*2 = 18\n\nSo Janet makes 18 dollars.", "18"),
    ("**Answer:**\n\nJanet makes $18 every day", "$18"), ("Final Answer:\nAnswer: 18", "18"),
    ("what the answer is\nThe answer is 18", "18"), ("She makes 18.\n####\n\nLet me know!", "18"),
    ("Answer:\n| Total | 18 |", "18"), ("1 2 3\nThe answer is >.", ">"), ("A: =", "="),
    ("The answer is: \\[\n42\n\\]", "42"), ("**Final Answer:**\n42", "42"), ("#### \n42", "42"),
    (r"The final answer is: \(42\)", "42"), ("so\n\\[\n42\n\\]\nThe answer is:", "42"),
    ("Answer: (B)", "B"), (r"\boxed{(1,2)}", "(1,2)"),
    ("Final answer: $42$.", "42"), ("The answer is.", None),
    # Options: "A:" is one inside of a tag, and where the answer is named behind it.
    ("<answer>A: Paris</answer>", "A: Paris"), ("<answer>B: Bonn</answer>", "B: Bonn"),
    ("A: Paris is a capital.\nB: Bonn is not.\nThe answer is B.", "B"),
    ("The correct answer is:\n\n(B) Paris", "(B) Paris"), ("**Answer:**\n\n**B**", "B"),
    ("Correct Answer: (B)", "B"), ("### Answer: B", "B"), ("\u2705 **Answer: B**", "B"),
    ("So, B is the correct answer.", "B"), ("B", "B"), ("\u7b54\u6848\u662f\uff1aB", "B"),
    ("The answer is B because A and C are wrong.", "B"), ("The answer is B (Paris).", "B) Paris"),
    # A heading is no answer, and a whole sentence holds one.
    ("#### 3. Multiply\n9*2=18\n\nThe answer is **18**.", "18"), ("#### Final Answer\n35", "35"),
    ("### Step 1\n#### 2x = 10\nThe answer is 5", "5"), ("##### 3\nThe answer is 18", "18"),
    ("#### 35\n\nQuestion: more?", "35"), ("2 of them\n#### both", "both"),
    ("So the answer is clear.\n#### both", "both"), ("She has 3 half-hour sessions.", "3"),
    ("She has 3 half-dozens.", "3 half"), ("The answer is 35.<|im_end|>", "35"),
    ("**Final Answer:** Janet makes **$18** in 7 days.", "$18"),
    ("Answer: She has 5 apples left.", "5"), ("Answer: Janet makes 18 a day", "18"),
    ("Answer: Henry the 8th of England", "Henry the 8th of England"),
    ("Answer: Louis 14 of France", "Louis 14 of France"),
    ("Answer: She has 5 or 6.", "She has 5 or 6"),
    # Several answers belong together, and a formula is no clause.
    (r"$\boxed{5}$ or $\boxed{6}$", "5 or 6"), (r"\boxed{A} and \boxed{C}", "A and C"),
    (r"\boxed{3} hours and \boxed{30} minutes", "3 hours and 30"),
    (r"First \boxed{5}. Then \boxed{6}", "6"),
    (r"\boxed{2}, \boxed{3}, and \boxed{4}", "2, 3, and 4"),
    ("The answer is $-2, 7$.", "-2, 7"), ("The answer is $[-2, 7]$. So", "[-2, 7]"),
    ("Answer: x = 5, y = 6", "x = 5, y = 6"), ("The answer is 5, y = 6 is none", "5"),
    ("The answer is $5, as said, or $6.", "$5"),
    # A number is read whole.
    ("So the total is $10{,}000$.", "10,000"), ("12\u00a0500 people", "12,500"),
    (r"It is $2\frac{3}{4}$.", r"2\frac{3}{4}"), (r"It is $-\frac{3}{4}$.", r"-\frac{3}{4}"),
    ("The area is 25 cm^2.", "25"), ("25 m/s^2", "25"), ("so 1.5 \u00d7 10^3", "1.5 \u00d7 10^3"),
    (r"It is $3\sqrt{2}$.", r"3\sqrt{2}"), (r"so $9\pi$", r"9\pi"), ("x^2", None),
    (r"$\boxed{49}$ fourth-grade boys", "49"), (r"\boxed{3} half-hour sessions", "3"),
    (r"\boxed{3} half of it", "3 half"), ("35.</s>", "35"), ("35.<|im_end|>", "35"),
    # Found by one who attacked what was mended.
    ("#### B\n\nExplanation: 5 things are red.", "B"), ("#### yes\n\nLet me know", "yes"),
    ("#### (3, 4)\nIn step 2 we added.", "(3, 4)"), ("#### 3x\n\nI hope this helps!", "3x"),
    ("#### 12 + 6 = 18\n\nThat was question 1.", "18"),
    ("Answer: The solution is x > 5.", "The solution is x > 5"),
    ("Answer: The gas is CO2.", "The gas is CO2"), ("Answer: It is not 5.", "It is not 5"),
    ("Answer: She saves half of 18 dollars.", "She saves half of 18 dollars"),
    ("The answer is The 3 Musketeers.", "The 3 Musketeers"),
    ("#### The Boeing 747", "The Boeing 747"),
    ("The answer is I (see step 1).", "I"),
    ("Angle C is the right angle, so AB = 5.", "5"), ("So plan A is correct: 18.", "18"),
    ("Neither A nor B is correct", None), ("Find the answer:\n**Step 1: Add**\n9*2 = 18.", "18"),
    ("Choose the correct option:\nA. 10\nB. 12\n\n4*3 = 12, so it must be B.", "12"),
    ("a) 16 - 7 = 9 eggs\nb) 9 * 2 = 18", "18"),
    ("\u7b54\u6848\u662f5\u4e2a\u82f9\u679c\u3002", "5"),
    ("\u7b54\u6848\u662f15\u4e07", "15\u4e07"), ("Correct answer: 20 x 4 = 80 points\nso 75", "75"),
    ("The answer is $18. Let $x$ be the eggs.", "$18"),
    ("The answer is $18, where $x = 9$ is the number.", "$18"),
    ("It is a $5 million-dollar deal.", "$5 million"), (r"\boxed{3} thousand-dollar", "3 thousand"),
    ("The area is 78.5 cm\u00b2 (using \u03c0).", "78.5"), ("the result is x^{12}", None),
    ("The result is x^{-2}.", None), (r"\boxed{18}, \boxed{18}", "18"),
    (r"$\boxed{\frac{1}{2}}$ or $\boxed{0.5}$", "0.5"),
    ("Answer: increase because of inflation", "increase because of inflation"),
    # The last resort: the last number.
    ("3, then 4, then 7 of them", "7"), ("it falls to -7 degrees", "-7"),
    ("it costs .5 dollars", ".5"),
    # There is no answer.
    ("", None), ("no idea", None), ("<answer></answer>", None), (None, None), (42, None)])
def test_a_teachers_final_answer_is_the_last_of_the_clearest_marks(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize("group", [
    ["1,000", "1000.0", "$1000", "1000", "1,000.", " 1000 ", "+1000", "$1,000.00", r"\$1000",
     "1000/1", "**1000**"],
    ["-7", "-7.0", "-$7", "$-7", "-7."],
    ["18", "18.", "18.00", "$18", "018"],
    ["1/2", "0.5", ".5", r"\frac{1}{2}", "2/4"],
    ["42", "42 (see step 3)", "42 ", r"\(42\)", "$$42$$", "**42**."],
    ["(B)", "B", "b."],
    ["(1, 2)", "(1,2)"],
    ["f(2)", "f( 2 )"],
    ["(x+1)(x-2)", "(x + 1) (x - 2)"],
    ["18", "$\n18\n$"],
    ["(4) (5)", "(4)(5)"],
    ["50%", "50"],
    ["Not Relevant", "not  relevant.", "notrelevant"],
    ["0", "-0", "0.0"],
    ["1/3", r"\dfrac{1}{3}", "2/6"]])
def test_equal_answers_match_however_they_are_written_and_no_others(group):
    assert all(answers_match(a, b) for a, b in itertools.product(group, group))
    others = ["(x+1)", "x+1", "5", "f(3)", "C(2)", "(1, 3)", "(x+1)(x-3)", "(A)", "3", "-1000",
              "7", "1", "100", "1001", "81", "4", "relevant", "not", "0.333", "one half", "", None]
    assert not any(answers_match(a, b) or answers_match(b, a)
                   for a, b in itertools.product(group, others))


def test_a_unit_may_follow_a_number_only_where_the_other_side_is_bare():
    assert answers_match("18 dollars", "18") and answers_match("18", "18 eggs left")
    for word in ("thousandths", "tenths", "factorial", "pi"):
        assert not answers_match(f"18 {word}", "18")
    assert answers_match("12 quarters", "12") and answers_match("5 incorrect answers", "5")
    assert not answers_match("18 dollars", "18 eggs") and not answers_match("18 or 19", "18")
    assert not answers_match("18 is wrong by one", "18") and not answers_match("18 -19", "18")


@pytest.mark.parametrize("wrong", [
    "118", "180", "1 8", "1.8", "18 19", "18, 19", "8", "18x", "17 or 18", "20 - 2", "9*2",
    "36/2/1", "", " ", ".", "-", "/", "18/0", "1e1", "2 + 16=18", "a b c 18", "18\n18", None])
def test_a_substring_or_an_unfinished_sum_earns_no_credit(wrong):
    assert not answers_match(wrong, "18")


HOSTILE = ["99**98**97", "9**9**9**9", "__import__('os').abort()", "9" * 200_000, "-" * 200_000,
           "(" * 200_000, "1/" * 100_000, "1," * 100_000, "0." + "0" * 200_000,
           "1/" + "9" * 200_000, "<answer>" * 50_000, "\\boxed{" * 50_000, "#" * 200_000,
           "\\frac{" * 50_000, " " * 200_000 + "x", "A:" * 100_000, "18" + " " * 200_000 + "(",
           "answer is " * 50_000, "1e999999999", "\x00", "\ud800", "१८", "18" * 500 + ".",
           "9" * 4_400 + "/" + "9" * 4_400]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_read_as_text_and_never_computed(text):
    assert number(text) is None
    assert not answers_match(text, "18") and not answers_match("18", text)
    assert final_answer(text) is None or isinstance(final_answer(text), str)
    assert isinstance(canonical(text), str) and answers_match(text, text) == bool(canonical(text))
    assert realm_reward(Response("r", text, [1.0]), "18", [True]).total == 0.0


@pytest.mark.parametrize("labels", [
    labels for n in (1, 2, 3, 4) for labels in itertools.product((True, False), repeat=n)])
def test_only_the_true_labels_earn_the_full_score(labels):
    for scores in itertools.product((0.0, 0.5, 1.0), repeat=len(labels)):
        earned = utility_score(list(scores), list(labels))
        assert 0.0 <= earned <= 1.0 and (earned == 1.0) == (scores == tuple(map(float, labels)))


def test_right_and_wrong_routes_weigh_the_same_so_that_every_constant_earns_one_half():
    for labels in ([True, False], [True, False, False, False, False], [True, True, True, False]):
        for constant in (0.0, 0.17, 0.5, 1.0):
            assert utility_score([constant] * len(labels), labels) == pytest.approx(0.5)
    one_of_four = [True, False, False, False]
    assert utility_score([1, 0, 0, 1], one_of_four) == pytest.approx((1 + 2 / 3) / 2)
    # With routes of one kind only, it is the mean over that kind.
    assert utility_score([0.25, 0.5], [True, True]) == pytest.approx(0.375)
    for no_score in (None, math.nan):
        assert utility_score([no_score, 1.0], [True, True]) == 0.0


@pytest.mark.parametrize("scores", [
    None, [], [1.0], [1.0, 0.0, 0.0], [1.0, -0.1], [1.0, 1.1], [1.0, math.nan], [1.0, math.inf],
    [1.0, "0"]])
def test_scores_of_the_wrong_count_or_range_earn_nothing(scores):
    assert utility_score(scores, [True, False]) == 0.0
    # The answer is still right.
    assert realm_reward(Response("r", "4", scores), "4", [True, False]).total == 1.0


def test_a_wrong_answer_earns_nothing_for_its_scores():
    wrong, labels = Response("r", "5", [1.0, 0.0]), [True, False]
    unpaid = Reward(0.0, answer=0.0, utility=1.0, format=1.0)
    assert realm_reward(wrong, "4", labels) == unpaid
    assert realm_reward(Response("r", None, [1.0, 0.0]), "4", labels).total == 0.0
    assert realm_reward(wrong, "4", labels, two_stage=False).total == 0.5  # the ablation


def test_a_right_answer_is_paid_for_its_scores_in_proportion():
    for scores, utility in (([1.0, 0.0], 1.0), ([0.0, 1.0], 0.0), ([0.5, 0.5], 0.5), (None, 0.0)):
        for weight in (0.0, 0.5, 2.0):
            reward = realm_reward(Response("r", "4", scores), "4", [True, False],
                                  utility_weight=weight)
            assert reward == Reward(1 + weight * utility, answer=1.0, utility=utility,
                                    format=float(scores is not None))
    unreasoned = realm_reward(Response(None, "4", [1.0, 0.0]), "4", [True, False])
    # An answer without its reasoning is not paid.
    assert unreasoned == Reward(0.0, 0.0, 1.0, format=0.0)


def test_without_routes_the_reward_is_the_answer_alone():
    for scores in (None, [1.0], []):
        assert realm_reward(Response("r", "4", scores), "4", []) == Reward(1.0, 1.0, 0.0, 1.0)
        assert realm_reward(Response("r", "5", scores), "4", []) == Reward(0.0, 0.0, 0.0, 1.0)


def test_a_route_copied_into_the_answer_is_not_the_answer():
    for copied in ("2 + 2 = 4", "tea 40 x 2 = 80 sum 80; total 4", "The answer is 4", "3 4 5",
                   "4 5"):
        assert realm_reward(Response("r", copied, [1.0]), "4", [True]).total == 0.0


def test_the_parser_never_raises_on_random_text():
    rng = random.Random(0)
    pieces = ["<answer>", "</answer>", "\\boxed{", "}", "#### ", "A: ", "the answer is", "1,000",
              "-", "$", "/", "0", ".", "%", "\\frac{", "{", "\n", " ", "18", "(", ")", "**", "é",
              "x"]
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 12)))
        found = final_answer(text)
        assert found is None or (found and found == found.strip())
        assert answers_match(text, text) == bool(canonical(text))
        assert answers_match(text, "18") == answers_match("18", text)


@pytest.mark.skipif(not SOLUTIONS.is_file(), reason="needs ../shared/data/gsm8k")
def test_our_verdicts_on_gsm8ks_model_solutions_are_gsm8ks():
    problems = [json.loads(line) for line in SOLUTIONS.read_text(encoding="utf-8").splitlines()]
    verdicts = []
    for problem in problems:
        gold = final_answer(problem["ground_truth"])
        for solution in problem["solutions"]:
            found = answers_match(final_answer(solution["solution"]), gold)
            verdicts.append(found == solution["is_correct"])
    assert len(verdicts) > 2000 and sum(verdicts) >= 0.995 * len(verdicts)
