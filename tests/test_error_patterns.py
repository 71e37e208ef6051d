"""How wrong routes are wrong: each rule on examples that one can check by eye."""

import json
import random
from fractions import Fraction

import pytest

from realm import Problem, Route
from results import error_patterns as patterns

DUCKS = "Ducks lay 16 eggs a day. She eats 3 and bakes with 4. How much are the others at $2 each?"
GOLD = "16 - 3 - 4 = <<16-3-4=9>>9 eggs\n9 * 2 = $<<9*2=18>>18\n#### 18"


def error(text, question=DUCKS, gold=GOLD, rules=()):
    answer = text.rsplit("A: ", 1)[1] if "A: " in text else None
    found = patterns.first_error(question, text, answer, gold, rules)
    return found.kind, found.step


@pytest.mark.parametrize(
    "text, kind, step",
    [
        ("16-3-4=<<16-3-4=8>>8\n8*2=<<8*2=16>>16\nA: 16", "slip", 0),
        (
            "16-3-4=<<16-3-4=9>>8\n8*2=<<8*2=16>>16\nA: 16",
            "slip",
            0,
        ),  # the text says another result
        (
            "16-3-4=<<16-3-4=9>>9\n9*2=<<9*2=18>>18\nA: 81",
            "slip",
            2,
        ),  # the answer is no step's result
        ("16-3-4=<<16-3-4=9>>9\n9*17=<<9*17=153>>153\nA: 153", "number", 1),
        ("16-3=<<16-3=13>>13\n13*2=<<13*2=26>>26\nA: 26", "missing", 0),  # the 4
        ("16-3-4=<<16-3-4=9>>9\nA: 9", "missing", 1),  # stops too early
        ("16*2=<<16*2=32>>32\n3*2=<<3*2=6>>6\n32-6=<<32-6=26>>26\nA: 26", "missing", 0),
        ("16-3-4=<<16-3-4=9>>9\n9*2=<<9*2=18>>18\n18*3=<<18*3=54>>54\nA: 54", "added", 2),
        # A part that is never made whole is the first wrong step, whatever follows.
        ("3+4=<<3+4=7>>7\n16*7=<<16*7=112>>112\n112*2=<<112*2=224>>224\nA: 224", "reading", 0),
        ("16+3+4=<<16+3+4=23>>23\n23*2=<<23*2=46>>46\nA: 46", "reading", 0),
        ("She has many eggs.\nA: 7", "unreadable", None),
        ("16-3-4=<<16-3-4=9>>9", "unreadable", None),  # no answer
        ("x=<<2*x=9>>9\nA: 9", "unreadable", None),
        ("2x=16\n2x=16-3\n3x=2\nx = 2 * 3 = 6\nA: 6", "unreadable", None),
    ],
)
def test_each_rule_on_one_question(text, kind, step):
    assert error(text) == (kind, step)


@pytest.mark.parametrize(
    "text",
    [
        GOLD.replace("####", "A:"),
        "3+4=<<3+4=7>>7\n16-7=<<16-7=9>>9\n9*2=<<9*2=18>>18\nA: 18",  # other parts of the same sum
        "16*2=<<16*2=32>>32\n7*2=<<7*2=14>>14\n32-14=<<32-14=18>>18\nA: 18".replace(
            "7*2=<<7*2=14>>14", "3+4=<<3+4=7>>7\n7*2=<<7*2=14>>14"
        ),  # the brackets multiplied out
    ],
)
def test_another_right_way_has_no_wrong_step(text):
    found = patterns.first_error(DUCKS, text, "18", GOLD)
    assert found.step == found.steps


def test_a_share_may_be_written_in_several_ways():
    question, gold = (
        "20% of 50 people left. How many stayed?",
        "50*.2=<<50*.2=10>>10\n50-10=<<50-10=40>>40",
    )
    for text in (
        "50*20/100=<<50*20/100=10>>10\n50-10=<<50-10=40>>40",
        "50*.8=<<50*.8=40>>40",
        "20% * 50 = 10\n50 - 10 = 40",
    ):
        found = patterns.first_error(question, text, "40", gold)
        assert found.step == found.steps
    assert (
        patterns.first_error(question, "50-20=<<50-20=30>>30", "30", gold).kind == "reading"
    )  # 20 is no share


def test_rounding_is_no_slip_and_a_fraction_in_prose_is_no_equation():
    assert all(s.holds for s in patterns.steps("10/3=<<10/3=3.33>>3.33 and 7/2=<<7/2=3.5>>4"))
    assert all(s.holds for s in patterns.steps("8/3=<<8/3=2.6666666666666665>>2.67, 3/6 = 50%"))
    assert patterns.steps("1 1/2 / 1/2 = 3 and 14 * 1/2 = 14/2 and 60g * 4/5 = 240g/5") == []


def test_rules_of_a_bank_are_known_numbers_and_so_is_a_running_total():
    order, rules = "2 rice, 1 milk", [
        "rice costs 97.",
        "milk costs 66.",
        "Orders of 100 or more get 10 off.",
    ]
    right = "rice @97 x 2 = 194 sum 194; milk @66 x 1 = 66 sum 260; total 260 - 10 = 250."
    found = patterns.first_error(order, right, "250", "", rules)
    assert found.step == found.steps  # 260 is no equation's result, but their sum
    wrong = right.replace(
        "@66 x 1 = 66 sum 260; total 260 - 10 = 250", "@71 x 1 = 71 sum 265; total 265 - 10 = 255"
    )
    assert patterns.first_error(order, wrong, "255", "", rules) == patterns.Error(
        "number", 1, 3, 71
    )


COWS = "15 liters, 5 cows, 3 liters each, 25 liters"
COWS_GOLD = "5*3=<<5*3=15>>15\n25-15=<<25-15=10>>10\n10/5=<<10/5=2>>2\n#### 2"
PAIRS = "2*2=<<2*2=4>>4\n4*2=<<4*2=8>>8\n2*2=<<2*2=4>>4\n"
TIRES = "25 cents a tire, 20 tires"


@pytest.mark.parametrize("question, text, gold, kind", [
    # The first equations of the gold solution, also where its last ones cancel a number.
    (COWS, "5*3=<<5*3=15>>15\n25-15=<<25-15=10>>10\nA: 10", COWS_GOLD, "missing"),
    ("two books, one", "2+1=<<2+1=3>>3\nA: 3", "2+1=<<2+1=3>>3\n3*2=<<3*2=6>>6", "missing"),
    # Which product of two is looked at first does not matter.
    ("2 at 2, 6", PAIRS + "8+4=<<8+4=12>>12\nA: 12", PAIRS + "8+4=<<8+4=12>>12\n12/6=<<12/6=2>>2",
     "missing"),
    ("2 at 2, 6", PAIRS + "4+8=<<4+8=12>>12\nA: 12", PAIRS + "8+4=<<8+4=12>>12\n12/6=<<12/6=2>>2",
     "missing"),
    # A gold solution that works its answer out in words cannot say what is missing or added.
    ("10 of 54, and 7 more", "54+7=<<54+7=61>>61\nA: 61", "54+7=<<54+7=61>>61\nso x = 51\n#### 51",
     "reading"),
    ("3 for 200 cents a day", "200/100=<<200/100=2>>2\n2*3=<<6=6>>6\nA: 6",
     "200/100=<<200/100=2>>2\n2*3=<<6=6>>6\n6*7=<<6*7=42>>42", "missing"),
    # 500/100 turns cents into dollars; it is no share, like 20/100.
    (TIRES, "20*25=<<20*25=500>>500\nA: 500", "20*25=<<20*25=500>>500\n500/100=<<500/100=5>>5",
     "missing")])
def test_what_an_outside_reader_found_read_wrongly(question, text, gold, kind):
    assert error(text, question, gold)[0] == kind


def test_equations_are_read_in_other_spellings():
    def read(text):
        return [(step.expression, step.holds) for step in patterns.steps(text)]

    assert read("16 - 3 = 13\n13 * 2 = 26") == [("16 - 3", True), ("13 * 2", True)]
    assert read("20 \u2212 4 \u00d7 2 = 12") == [("20 - 4 * 2", True)]
    assert read(r"$3 \times 4 + 2 = 14$, 2 \u00b7 4 = 8"[:24]) == [("3 * 4 + 2", True)]
    assert read("30% of 40 + 2 = 14 and half of 16 - 3 = 5") == []
    assert read("1/2+1/4=<<1/2+1/4=3/4>>3/4") == [("1/2+1/4", True)]
    assert read("0.1+0.2=<<0.1+0.2=0.30000000000000004>>0.3") == [("0.1+0.2", True)]
    assert error("16-3-4=<<16-3-4=9>>9\nA: 9 eggs") == ("missing", 1)


def test_without_a_gold_solution_what_is_left_counts_as_reading():
    assert error("16-3=<<16-3=13>>13\nA: 13", gold="") == ("reading", 1)


def bank(answers_of, n=200):
    """n questions, with gold answers 1000, 1001, ..., and the wrong answers answers_of(gold)."""
    return [
        Problem(
            f"q{i}", str(1000 + i), [Route("", str(a), False) for a in answers_of(1000 + i)], []
        )
        for i in range(n)
    ]


def test_agreement_where_the_truth_is_known():
    rng = random.Random(0)
    one = patterns.agreement(bank(lambda gold: [gold + 7] * 3), 50)  # one misconception a question
    assert (
        one["agree"] == (1, 1, 1) and one["chance"][0] == 0
    )  # by another factor everywhere
    half = patterns.agreement(bank(lambda gold: [gold * rng.choice([2, 3]) for _ in range(4)]), 200)
    assert abs(half["agree"][0] - 0.5) < 0.05 and abs(half["chance"][0] - 0.5) < 0.02  # only chance
    assert half["excess"][1] < 0 < half["excess"][2]


def test_agreement_counts_questions_alike_and_answers_by_value():
    problems = [
        Problem("a", "1", [Route("", a, False) for a in ("2", "2.0", "$2", "2")], []),
        Problem("b", "1", [Route("", a, False) for a in ("3", "4")], []),
        Problem("c", "1", [Route("", "3", False), Route("", "1", True)], []),
    ]
    found = patterns.agreement(problems, 20)
    assert found["questions"] == 2 and found["agree"][0] == 0.5
    assert patterns.agreement(problems[1:]) is None


def test_chance_pairs_only_different_questions_also_where_one_is_drawn_twice():
    from collections import Counter

    questions = [Counter({"2": 2}), Counter({"3": 1, "2": 1})]
    assert patterns.chance(questions, [1, 1]) == 0.5
    assert patterns.chance(questions, [2, 0]) == 0  # a question against itself says nothing


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
    held = 0
    for seed in range(40):
        rng = random.Random(seed)
        sample = [rng.random() < 0.3 for _ in range(80)]
        ((_, low, high),) = patterns.with_interval(
            lambda w: (sum(a * b for a, b in zip(w, sample)) / 80,), 80, 100, seed
        )
        held += low <= 0.3 <= high
    assert held >= 34


def test_at_the_first_wrong_step_what_follows_does_not_count():
    same, other = patterns.Error("slip", 1, 4, Fraction(5)), patterns.Error(
        "slip", 1, 4, Fraction(6)
    )
    early, lost = patterns.Error("slip", 0, 4, Fraction(5)), patterns.Error("unreadable", None, 0)
    found = patterns.agreement_at_first(
        [[same, same, early], [same, other, lost], [early, same], [lost, lost]], 20
    )
    assert found["questions"] == 2 and found["agree"][0] == 0.5


def test_openais_file_is_read_as_it_is_and_hand_labels_know_their_question(tmp_path, capsys):
    file, hand = tmp_path / "solutions.jsonl", tmp_path / "hand.json"
    wrong = "16-3=<<16-3=13>>13\n13*2=<<13*2=26>>26\nA: 26"
    solutions = [{"solution": wrong}, {"solution": wrong}, {"solution": GOLD.replace("####", "A:")}]
    lines = [
        {"question": q, "ground_truth": GOLD.replace("####", "A:"), "solutions": solutions}
        for q in (DUCKS, f"{DUCKS} Think.")
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    label = {
        "line": 1,
        "crc32": patterns.zlib.crc32(DUCKS.encode()),
        "route": 0,
        "hand": "missing",
        "hand step": 1,
        "round": 1,
    }
    hand.write_text(json.dumps([label]))
    saved, figure = tmp_path / "e.json", tmp_path / "e.png"
    patterns.main(
        [f"ducks={file}", "--hand", str(hand), "--json", str(saved), "--figure", str(figure)]
    )
    said, found = capsys.readouterr().out, json.loads(saved.read_text())["ducks"]
    assert (
        "the same kind 1.00" in said
        and "| ducks | 6 | 4 | 2 | 1.000" in said
        and figure.stat().st_size
    )
    assert (
        found["kinds"]["missing"] == 1
        and found["where"]["first step"] == 1
        and found["alarms"] == 0
    )
    hand.write_text(json.dumps([{**label, "line": 2}]))
    with pytest.raises(SystemExit, match="not the question"):
        patterns.main([str(file), "--hand", str(hand)])


def test_banks_are_told_apart_and_what_gives_nothing_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = json.dumps({"question": DUCKS, "answer": "18", "routes": [{"text": "A: 9"}]}) + "\n"
    for folder in ("a", "s=1"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bank.jsonl").write_text(line)
    (tmp_path / "gold.jsonl").write_text(json.dumps({"question": "else?", "answer": GOLD}) + "\n")
    (tmp_path / "hand.json").write_text(json.dumps([{"line": 1}]))
    patterns.main(["a/bank.jsonl", "x=s=1/bank.jsonl"])
    said = capsys.readouterr().out
    assert "| bank | 1 | 1 |" in said and "| x | 1 | 1 |" in said
    for words, flags in (("two banks are called bank", ["a/bank.jsonl", "s=1/bank.jsonl"]),
                         ("solution of no question", ["a/bank.jsonl", "--gold", "gold.jsonl"]),
                         # A wrong route is no gold solution.
                         ("solution of no question", ["a/bank.jsonl", "--gold", "a/bank.jsonl"]),
                         ("gold.jsonl: holds no routes", ["gold.jsonl"]),
                         ("not the question", ["a/bank.jsonl", "--hand", "hand.json"]),
                         ("--json no/x.json", ["a/bank.jsonl", "--json", "no/x.json"]),
                         ("--figure no/x.png", ["a/bank.jsonl", "--figure", "no/x.png"])):
        with pytest.raises(SystemExit, match=words):
            patterns.main(flags)


def test_gold_solutions_come_from_a_file_and_known_mistakes_are_found(tmp_path, capsys):
    bank, gold = tmp_path / "bank.jsonl", tmp_path / "gold.jsonl"
    gold.write_text(json.dumps({"question": DUCKS, "answer": GOLD}) + "\n")
    routes = [
        GOLD.replace("9*2=18>>18", "9*2=16>>16").replace("#### 18", "#### 16"),
        "16 - 3 = <<16-3=13>>13 eggs\n13 * 2 = $<<13*2=26>>26\n#### 26",
    ]
    bank.write_text(
        json.dumps({"question": DUCKS, "answer": "18", "routes": [{"text": t} for t in routes]})
        + "\n"
    )
    patterns.main([str(bank), "--gold", str(gold), "--known"])
    said = capsys.readouterr().out
    assert "slip: 1 different routes; the step found in 1.00; by rule slip 1.00" in said
    assert "term: 1 different routes; the step found in 1.00; by rule missing 1.00" in said


def test_the_labels_given_by_hand_are_of_the_kinds_that_the_rules_have():
    labels = json.loads(
        (patterns.Path(patterns.__file__).parent / "error_patterns_hand.json").read_text()
    )
    assert len(labels) == 240 and {e["hand"] for e in labels} <= set(patterns.KINDS)
    assert len({(e["line"], e["route"]) for e in labels}) == 240


def test_the_examples_in_the_docstrings_are_true():
    import doctest

    result = doctest.testmod(patterns)
    assert result.attempted > 5 and result.failed == 0


def test_a_right_result_from_a_number_that_the_gold_solution_does_not_use_is_a_coincidence():
    assert error("16-7=<<16-7=9>>9\n9*3=<<9*3=27>>27\nA: 27") == ("reading", 0)


def test_each_product_is_a_part_of_another_one_and_no_number_at_all_is_a_part_of_none():
    a, b, c = ((Fraction(n), 1) for n in (16, 3, 2))
    whole = [(1, frozenset({a, c})), (-1, frozenset({b, c}))]
    assert patterns.part_of([(-1, frozenset({a})), (1, frozenset({b}))], whole)
    assert not patterns.part_of([(1, frozenset({a})), (1, frozenset({a}))], whole)
    assert not patterns.part_of([(1, frozenset())], whole)
    once, twice = ((1, frozenset({(Fraction(2), n)})) for n in (1, 2))
    assert patterns.part_of([once, twice], [twice, once])  # the first leaves its place again
