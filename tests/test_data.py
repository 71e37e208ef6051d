import dataclasses
import doctest
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import data
from tasks import shop
from data import bank_summary, load_problems, make_routes, with_routes, read_bank
from engine import bank as bank_file, flags as flags_file
from engine.bank import each_once, why_it_cannot_teach
from engine.flags import TeacherFlags, check_bounds, flag, given_flags, same_flag
from engine.report import hash_of
from realm import Problem, Route, mrpv_prompt, parse_response, teacher_prompt

ROOT = Path(__file__).resolve().parent.parent
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k"
on_gsm8k = pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K is not here")


def write(path, *lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return str(path)


def questions(n, **more):
    return [{"question": f"What is {i} + 1?", "answer": i + 1, **more} for i in range(n)]


def build(*flags):
    data.main([str(flag) for flag in flags])


def refused(capsys, *flags):
    """What data.py says on its way out: one line."""
    with pytest.raises(SystemExit) as stop:
        build(*flags)
    message = str(stop.value)
    assert message.startswith("data.py: ") and "\n" not in message
    return message


# ---- reading a bank ------------------------------------------------------------------------------
GOOD = {"question": "2 + 3?", "answer": "5",
        "routes": [{"text": "so 5", "answer": "5", "correct": True}], "rules": ["Add."]}


def changed(**fields):
    return {**GOOD, **fields}


@pytest.mark.parametrize("line, words", [
    ('{"question": "2 + 3?", ', "not JSON"),
    ("question,answer", "not JSON (Expecting value: line 1 column 1 (char 0)); every line must be "
     "one JSON object"),
    ("[1]", "holds a list; every line must be one JSON object"),
    ({"answer": "5"}, "'question'"),
    (changed(question=7), "'question'"),
    (changed(question="  "), "'question'"),
    ({"question": "2 + 3?"}, "'answer' must be a string or number, not missing"),
    (changed(answer=None), "'answer' must be a string or number, not null"),
    (changed(question=None), "'question' must be a str, not null"),
    (changed(rules=None), "'rules' must be a list, not null"),
    (changed(answer=["5"]), "'answer'"),
    (changed(answer=True), "'answer'"),
    (changed(answer="so what ####"), "'answer"),
    (changed(routes="so 5"), "'routes'"),
    (changed(routes=["so 5"]), "'routes[0]'"),
    (changed(routes=[GOOD["routes"][0], {"answer": "5"}]), "'routes[1].text'"),
    (changed(routes=[{"text": "so 5", "answer": {}}]), "'routes[0].answer'"),
    (changed(routes=[{"text": "so 5", "correct": 1}]), "'routes[0].correct'"),
    (changed(routes=[{"text": "so 5", "guided": "yes"}]), "'routes[0].guided'"),
    (changed(rules="Add."), "'rules'"),
    (changed(rules=["Add.", 3]), "'rules[1]'"),
], ids=str)
def test_a_bad_line_is_an_error_that_names_file_line_and_field(tmp_path, line, words):
    path = write(tmp_path / "bank.jsonl", GOOD, "", line, GOOD)
    with pytest.raises(ValueError) as error:
        read_bank(path)
    message = str(error.value)
    assert f"{path}, line 3" in message and words in message
    assert "\n" not in message


def test_what_a_line_leaves_out_is_computed(tmp_path):
    routes = [{"text": "so $1,000"}, {"text": "A: 7"}, {"text": "?"},
              {"text": "x", "answer": 1000.0}, {"text": "x", "correct": True}]
    path = write(tmp_path / "bank.jsonl", {"question": "q", "answer": 1000, "routes": routes})
    problem, = read_bank(path)
    assert problem.answer == "1000" and problem.rules == []
    assert [(r.answer, r.correct) for r in problem.routes] == [
        ("$1,000", True), ("7", False), (None, False), ("1000.0", True), (None, True)]


@pytest.mark.parametrize("written, text", [
    ("1e16", "10000000000000000"), ("0.00001", "0.00001"), ("1e-7", "0.0000001"),
    ("2.50", "2.5"), ("-0.5", "-0.5"), ("12", "12"),
    ("123456789012345678901", "123456789012345678901")])
def test_a_gold_answer_that_is_a_json_number_becomes_plain_decimals(tmp_path, written, text):
    line = (f'{{"question": "q", "answer": {written}, '
            f'"routes": [{{"text": "A: 7", "answer": {written}}}, {{"text": "so {text}"}}]}}')
    problem, = read_bank(write(tmp_path / "bank.jsonl", line))
    assert problem.answer == text
    assert [(r.answer, r.correct) for r in problem.routes] == [(text, True)] * 2


def test_the_solution_of_a_line_of_gsm8k_is_no_teachers_route(tmp_path):
    solution = "1 + 1 = <<1+1=2>>2\n#### 2"
    line = {"question": "q", "answer": solution}
    problem, = read_bank(write(tmp_path / "x.jsonl", line))
    assert (problem.answer, problem.solution, problem.routes) == ("2", solution, [])
    line["routes"] = [{"text": "1 + 1 = 3\n#### 3"}]
    problem, = read_bank(write(tmp_path / "x.jsonl", line))
    assert problem.routes == [Route("1 + 1 = 3\n#### 3", "3", False)]


def test_a_bank_whose_only_routes_are_right_keeps_them(tmp_path, capsys):
    route = {"text": "1 + 1 = 2\n#### 2", "answer": "2", "correct": True}
    bank = write(tmp_path / "x.jsonl", {"question": "q", "answer": "2", "routes": [route]})
    problems = data.with_routes(read_bank(bank), Run(task=bank, routes=1))
    assert [r.text for r in problems[0].routes] == [route["text"]]
    assert "teacher" not in capsys.readouterr().out


def test_the_lines_of_one_question_are_one_problem(tmp_path):
    lines = [{"question": "q", "answer": "2", "rules": ["Add."],
              "routes": [{"text": f"so {i}"} for i in some]} for some in ([1, 1], [2, 2], [1, 3])]
    lines[2] |= {"rules": ["Add.", "Check."], "answer": "1 + 1 = 2\n#### 2"}
    problem, = read_bank(write(tmp_path / "x.jsonl", *lines))
    assert [route.text for route in problem.routes] == ["so 1", "so 1", "so 2", "so 2", "so 3"]
    assert problem.rules == ["Add.", "Check."] and problem.solution == lines[2]["answer"]


def test_a_run_from_before_there_was_a_solution_still_finds_its_problems():
    """The hash that such a run recorded (commit 1c8a82c), so that it can be resumed."""
    route = Route("so 2", "2", True, True)
    splits = [[Problem("1 + 1?", "2", [route], ["Add."])], [Problem("q", "5", solution="any")]]
    assert hash_of(splits).startswith("5fb977e3c9e01686")


@pytest.mark.parametrize("poor", ["validation", "test"])
def test_no_other_teacher_fills_in_the_routes_that_one_split_lacks(poor):
    splits = {}
    for split in ("train", "validation", "test"):
        routes = [] if split == poor else [Route("so 2", "2", True)]
        splits[split] = [Problem(f"1 + 1, {split}?", "2", routes, solution="1 + 1 = 2\n#### 2")]
    asked = Run(task="my.jsonl", routes=1)
    with pytest.raises(ValueError, match=f"my.jsonl: has routes, but none for {poor}; write them"):
        data.all_with_routes(splits, asked)
    went_on = Run(task="my.jsonl", routes=1, resume="run")  # as it was begun
    assert data.all_with_routes(splits, went_on)[poor][0].routes
    asked.teacher = "simulated"
    assert all(p.routes for problems in data.all_with_routes(splits, asked).values()
               for p in problems)


@pytest.mark.parametrize("gold", ["Alice, Bob", "x > 3, x < 7", "red; blue", "5%, 10%",
                                  "5 feet, 6 inches", "x = 1, x = 2"])
def test_a_gold_answer_is_all_that_stands_behind_its_mark(tmp_path, gold):
    first = re.split("[,;]", gold)[0]
    routes = [{"text": f"<answer>{text}</answer>"} for text in (gold, first)]
    line = {"question": "q", "answer": f"as said\n#### {gold}", "routes": routes}
    problem, = read_bank(write(tmp_path / "x.jsonl", line))
    assert problem.answer == gold
    assert [route.correct for route in problem.routes] == [True, False]


def test_a_wrong_route_is_no_gold_solution(tmp_path):
    text = "13 + 16 = <<13+16=30>>30\n#### 30"
    bank = write(tmp_path / "x.jsonl", *[
        {"question": f"{i}?", "answer": "29", "routes": [{"text": text}] * 2} for i in range(3)])
    with pytest.raises(SystemExit, match="has no gold solution"):
        build("--task", bank, "--teacher", "simulated", "--out", tmp_path / "bank.jsonl")
    assert data.teacher_kind(data.Config(task=str(bank)), read_bank(bank)) == "model"


def test_text_of_all_kinds_survives_the_disk(tmp_path):
    route = Route("so\u2029\n<answer>5</answer>", "5", True, True)
    odd = Problem("Wie\u2028viel\x85\r\x0b \U0001f914\n\"?\"", "5", [route], ["R\u00fcle"])
    path = write(tmp_path / "ours.jsonl", dataclasses.asdict(odd))
    assert read_bank(path) == [odd]
    # Other tools write such characters as they are, and a byte order mark first.
    theirs = tmp_path / "theirs.jsonl"
    line = json.dumps(dataclasses.asdict(odd), ensure_ascii=False)
    theirs.write_text("\ufeff" + line + "\r\n", encoding="utf-8", newline="")
    assert read_bank(theirs) == [odd]


def test_files_that_hold_nothing_to_read_are_refused_by_name(tmp_path):
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.jsonl", tmp_path / "binary.jsonl", tmp_path,
                 Path(write(tmp_path / "empty.jsonl", ""))):
        with pytest.raises(ValueError, match=str(path)):
            read_bank(path)


# ---- splits --------------------------------------------------------------------------------------
def by_split(task, splits=("train", "validation", "test"), limit=None, where=None):
    return {split: [p.question for p in load_problems(task, split, limit, where)]
            for split in splits}


def assert_apart(splits):
    for a in splits:
        for b in splits:
            assert splits[a] and (a == b or not set(splits[a]) & set(splits[b])), (a, b)


def test_no_two_splits_share_a_question(tmp_path):
    assert_apart(by_split("shop", data.SPLITS[:4], limit=300))
    lines = questions(300) + questions(40)  # some twice
    random.Random(0).shuffle(lines)
    one = by_split(write(tmp_path / "one.jsonl", *lines))
    assert_apart(one)
    assert 0.7 < len(one["train"]) / 300 < 0.9
    # No question is lost, and none is there twice.
    assert sorted(sum(one.values(), [])) == sorted({line["question"] for line in lines})
    write(tmp_path / "train.jsonl", *lines)
    write(tmp_path / "test.jsonl", {"question": "new", "answer": "5"})
    assert_apart(by_split(str(tmp_path)))


def test_a_question_of_the_test_file_is_in_no_other_split_however_it_is_spaced(tmp_path):
    write(tmp_path / "train.jsonl", *questions(200))
    spaced = [{**q, "question": f"  {q['question']} "} for q in questions(20)]
    write(tmp_path / "test.jsonl", *spaced)
    parts = {split: {p.question for p in load_problems(str(tmp_path), split)}
             for split in ("train", "validation", "test", "all")}
    assert not parts["test"] & (parts["train"] | parts["validation"] | parts["all"])
    assert len(parts["test"]) == 20 and len(parts["all"]) == 180


@on_gsm8k
def test_no_two_splits_of_gsm8k_share_a_question_however_its_files_are_named():
    for where in (GSM8K, GSM8K / "train.jsonl"):
        assert_apart(by_split("gsm8k", where=str(where)))
    all_of_it = load_problems("gsm8k", "all", data=str(GSM8K))
    test = load_problems("gsm8k", "test", data=str(GSM8K))
    assert len(all_of_it) == 7473
    assert not {p.question for p in all_of_it} & {p.question for p in test}


def test_a_question_stays_in_its_split_whatever_else_the_file_holds(tmp_path):
    few = by_split(write(tmp_path / "60.jsonl", *questions(60)))
    many = by_split(write(tmp_path / "200.jsonl", *questions(200)))
    assert all(set(few[split]) <= set(many[split]) for split in few)


@pytest.mark.parametrize("task", ["shop", "FILE"])
def test_a_bank_of_the_split_all_has_something_for_every_split_of_train(tmp_path, task):
    task = write(tmp_path / "my.jsonl", *questions(100)) if task == "FILE" else task
    problems = load_problems(task, "all", 100)
    assert len(problems) == 100
    assert all(data.split_by_question(problems, split)
               for split in ("train", "validation", "test"))


def test_the_shops_corpus_is_worked_out_right_under_prices_of_its_own():
    rng, seen = random.Random(0), set()
    for _ in range(6000):
        prompt, completion = shop.example(rng)
        response = parse_response(completion, prompt.count("\nRoute "))
        written = re.findall("([a-z]+) @([0-9]+) x", response.reasoning)
        prices = {item: int(price) for item, price in written}
        order = shop.read_order(re.search("Problem: (.*)\n", prompt)[1])
        reasoning, total = shop.work_out(order, prices)
        assert (response.reasoning, response.answer) == (reasoning, str(total))
        assert ("Route 1:" in prompt) == (response.scores is not None)
        seen.add(prices.get("tea"))
    # Tea has every price from 11 to 99, and some orders are without tea.
    assert len(seen) == 90


def test_the_shop_has_as_many_orders_as_it_says_and_refuses_more():
    for split, most in shop.MOST.items():
        found = shop.problems(split, most)
        assert len({p.question for p in found}) == most
        assert most >= shop.SIZES[split] == len(load_problems("shop", split))
        # If this were not refused, the search for another order would never end.
        refusal = f"{most + 1} questions asked for: the shop has only {most}"
        with pytest.raises(ValueError, match=refusal):
            load_problems("shop", split, most + 1)


@pytest.mark.parametrize("task, split, where, words", [
    ("chess", "train", None, "chess: neither a built-in task"),
    ("shop", "dev", None, "'dev'"),
    ("gsm8k", "ood", None, "out-of-distribution"),
    ("gsm8k", "train", "/no/such", "--data /no/such"),
    ("/no/such.jsonl", "train", None, "/no/such.jsonl: neither"),
    ("FOLDER", "train", None, "train.jsonl")])
def test_problems_that_are_not_there_are_one_clear_line(tmp_path, task, split, where, words):
    with pytest.raises(ValueError) as error:
        load_problems(str(tmp_path) if task == "FOLDER" else task, split, data=where)
    assert words in str(error.value) and "\n" not in str(error.value)


# ---- making routes -------------------------------------------------------------------------------
def echo(problems, guided):
    """A teacher that answers with its own prompt."""
    return [[teacher_prompt(p.question, p.rules if reads_rules else ()) for reads_rules in flags]
            for p, flags in zip(problems, guided)]


def test_rules_guide_a_share_q_of_the_routes_and_each_route_says_whether():
    problems = [Problem(f"{i} + 1?", "1", [], ["RULE"]) for i in range(500)]
    problems.append(Problem("no rules?", "1"))
    for q in (0.0, 0.3, 1.0):
        taught = make_routes(problems, echo, 8, q)
        guided = [r.guided for p in taught[:-1] for r in p.routes]
        assert abs(sum(guided) / len(guided) - q) < 0.03
        assert not any(r.guided for r in taught[-1].routes)  # nothing to be guided by
        assert all(r.guided == ("RULE" in r.text) for p in taught for r in p.routes)
    some = make_routes(problems, echo, 8, 0.3)
    assert any(len({r.guided for r in p.routes}) == 2 for p in some)  # decided route by route


def test_what_a_question_gets_does_not_depend_on_its_company():
    problems = [Problem(f"{i} + 1?", "1", [], ["RULE"]) for i in range(20)]
    together = make_routes(problems, echo, 4, 0.5, seed=3)
    assert together == [make_routes([p], echo, 4, 0.5, seed=3)[0] for p in problems]
    assert together != make_routes(problems, echo, 4, 0.5, seed=4)


def test_rules_reach_the_teachers_prompt_and_never_the_students():
    def teacher(problems, guided):
        return [["4"] * 3]

    taught, = make_routes([Problem("2 + 2?", "4", [], ["RULE 17"])], teacher, 3, 1.0)
    assert taught.rules == ["RULE 17"] and all(r.guided for r in taught.routes)
    assert "RULE 17" not in mrpv_prompt(taught.question, taught.routes)


def test_a_route_is_positive_if_its_final_answer_is_the_gold_answer():
    texts = ["#### 1,000", "A: 7", "", "so <answer> $1000.0 </answer>"]
    problem = Problem("q", "1000")
    taught, = make_routes([problem], lambda problems, guided: [texts], 4)
    assert [r.correct for r in taught.routes] == [True, False, False, True]
    assert taught.routes[2].answer is None


def test_the_summary_counts_what_the_bank_holds():
    def problem(*answers):
        routes = [Route("t", a, a in ("4", "4.0"), i == 0) for i, a in enumerate(answers)]
        return Problem("q", "4", routes)

    problems = [problem("4", "4.0", "5", "6"), problem("7", "7", "7", None)]
    text = "\n".join(bank_summary(problems))
    text = text.replace("most frequent wrong answers ", "wrong  ")
    facts = dict(line.rsplit("  ", 1) for line in text.splitlines())
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    # The redundant routes are 4 and 4.0 of the one question, and 7, 7 and 7 of the other.
    assert facts == {"questions": "2", "routes": "8 (2 guided)",
                     "accuracy of the teacher": "0.250",
                     "questions with right and wrong": "0.500",
                     "distinct answers per question": "2.50",
                     "redundant routes": "0.625",
                     "wrong": "7 (3), 5 (1), 6 (1), none (1)"}


def config(**more):
    return data.Config(**{**dict(device="cpu"), **more})


@dataclasses.dataclass
class Run:
    """What with_routes reads of train.py's or eval.py's config."""
    task: str = "shop"
    routes: int = 3
    n: int = 8
    teacher: str | None = None
    teacher_error: float = 0.5
    systematic: float = 0.5
    inject_rules: float = 0.0
    seed: int = 0
    device: str = "cpu"
    resume: str | None = None


def test_where_routes_are_missing_a_teacher_says_what_it_does_and_does_it(capsys):
    problems = load_problems("shop", "train", 20)
    taught = with_routes(problems, Run())
    assert [len(p.routes) for p in taught] == [8] * 20
    assert "simulated teacher" in capsys.readouterr().out
    assert with_routes(taught, Run()) is taught
    assert capsys.readouterr().out == ""
    assert with_routes(problems, Run(routes=0)) is problems


def test_a_gold_solution_is_not_shown_as_if_a_teacher_had_written_it(tmp_path):
    lines = []
    for i in range(40):
        a, b = 20 + i, 100 + 5 * i
        answer = f"20 + {i} = <<20+{i}={a}>>{a}\n5 x {a} = <<5*{a}={b}>>{b}\n#### {b}"
        lines.append({"question": f"{i}?", "answer": answer})
    path = write(tmp_path / "x.jsonl", *lines)
    taught = with_routes(read_bank(path), Run(task=path, routes=1))
    assert 0.3 < sum(r.correct for p in taught for r in p.routes) / 320 < 0.7


def test_a_bank_with_too_few_routes_is_refused_not_replaced():
    two_routes = [Route("t", "4", True), Route("t", "5", False)]
    with pytest.raises(ValueError, match="only 2 routes"):
        with_routes([Problem("q", "4", two_routes)], Run())
    taught = with_routes(load_problems("shop", "train", 5), Run())
    # A question without routes is no reason to write those of the others anew.
    with pytest.raises(ValueError, match="'q' has only 0 routes"):
        with_routes([*taught, Problem("q", "4")], Run())


# ---- building a bank -----------------------------------------------------------------------------
class Bar:
    """Stands where tqdm does, and remembers where it began and ended."""
    shown = []

    def __init__(self, total, initial, **_):
        self.first = initial
        self.at = initial
        self.total = total
        Bar.shown.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, n):
        self.at += n


def test_a_bank_is_written_with_a_progress_bar_summed_up_and_read_back(tmp_path, capsys,
                                                                       monkeypatch):
    monkeypatch.setattr(data, "tqdm", Bar)
    out = tmp_path / "bank.jsonl"
    flags = ["--task", "shop", "--n", "3", "--limit", "50", "--inject-rules", "0.5", "--out", out]
    build(*flags)
    assert "accuracy of the teacher" in capsys.readouterr().out
    problems = read_bank(out)
    wanted = load_problems("shop", "all", 50)
    assert problems == make_routes(wanted, data.BUILT_IN["shop"].teacher(), 3, 0.5)
    assert any(r.guided for p in problems for r in p.routes)
    assert all(len(p.routes) == 3 for p in problems)
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:32]))
    build(*flags)
    assert [(bar.first, bar.at, bar.total) for bar in Bar.shown] == [(0, 50, 50), (32, 50, 50)]
    assert "of which 32 are done" in capsys.readouterr().out


def test_a_bank_cut_anywhere_is_continued_to_the_very_same_bytes(tmp_path):
    out = tmp_path / "bank.jsonl"
    flags = ["--task", "shop", "--n", "2", "--limit", "40", "--batch", "7",
             "--inject-rules", "0.5", "--out", out]
    build(*flags)
    whole, rng = out.read_bytes(), random.Random(0)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    cuts = [0, 1, len(whole) - 1, len(whole), ends[0], ends[6], ends[7],
            *rng.sample(range(len(whole)), 40)]
    for cut in cuts:
        out.write_bytes(whole[:cut])
        build(*flags)
        assert out.read_bytes() == whole, cut


def test_every_batch_is_on_disk_before_the_next_is_asked_and_a_cut_one_is_asked_again_as_a_whole(
        tmp_path, monkeypatch):
    out = tmp_path / "bank.jsonl"
    first = [p.question for p in load_problems("shop", "all", 10)][::4]  # of each batch
    asked = []

    def teacher(*_):
        def teach(problems, guided):
            question = problems[0].question
            lines = 4 * first.index(question) if question in first else 0
            assert out.read_bytes().count(b"\n") == lines
            asked.append(len(problems))
            # As with a model, the texts depend on which questions are asked together.
            return [[f"with {question}" for _ in flags] for flags in guided]
        return teach

    monkeypatch.setattr(data.BUILT_IN["shop"], "teacher", teacher)
    flags = ["--task", "shop", "--n", "2", "--limit", "10", "--batch", "4", "--out", out]
    build(*flags)
    whole = out.read_bytes()
    for lines in (3, 4, 6, 9):
        out.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]) + b'{"question": "ha')
        build(*flags)
        assert out.read_bytes() == whole
    assert asked == [4, 4, 2] + [4, 4, 2] + [4, 2] + [4, 2] + [2]


SLOW = """
import sys, time
sys.path.insert(0, {root!r})
import data
quick = data.BUILT_IN["shop"].teacher
def slow(*settings):
    teach = quick(*settings)
    return lambda problems, guided: time.sleep(0.02) or teach(problems, guided)
data.BUILT_IN["shop"].teacher = slow
data.main(sys.argv[1:])
"""


def test_a_builder_killed_ten_times_leaves_what_an_undisturbed_one_leaves(tmp_path):
    flags = ["--task", "shop", "--n", "2", "--limit", "600", "--batch", "4"]  # 150 batches of 20 ms
    build(*flags, "--out", tmp_path / "whole.jsonl")
    out = tmp_path / "bank.jsonl"
    rng = random.Random()
    sizes = []

    def size():
        return out.stat().st_size if out.exists() else 0

    command = [sys.executable, "-c", SLOW.format(root=str(ROOT)), *flags, "--out", str(out)]
    for _ in range(10):
        before = size()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        # It starts, and goes on where it stopped.
        while size() <= before and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        sizes.append(out.stat().st_size)
        written = out.read_bytes()
        complete = written[:written.rfind(b"\n") + 1].splitlines()
        asked = [json.loads(line)["question"] for line in complete]
        assert len(asked) == len(set(asked)) > 0
    whole = (tmp_path / "whole.jsonl").read_bytes()
    # All ten were killed before they were done.
    assert sizes == sorted(sizes) and 0 < sizes[0] < sizes[-1] < len(whole)
    build(*flags, "--out", out)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("flags, words", [
    (["--n", "3"], "--n 2"), (["--seed", "1"], "--seed 0"),
    (["--inject-rules", "1"], "--inject-rules 0.0"),
    (["--teacher-error", "0.1"], "--teacher-error 0.65"), (["--limit", "12"], "--limit 10")])
def test_a_bank_made_with_other_settings_is_not_continued(tmp_path, capsys, flags, words):
    same = ["--task", "shop", "--n", "2", "--limit", "10", "--out", tmp_path / "bank.jsonl"]
    build(*same)
    before = (tmp_path / "bank.jsonl").read_bytes()
    assert words in refused(capsys, *same, *flags)
    build(*same, "--device", "cpu")  # where it is made is no setting
    assert (tmp_path / "bank.jsonl").read_bytes() == before


def test_a_file_of_somebody_else_and_a_bank_of_other_questions_are_left_alone(tmp_path, capsys):
    out = tmp_path / "bank.jsonl"
    out.write_text("my diary\n")
    assert "choose another file" in refused(capsys, "--limit", "10", "--out", out)
    assert out.read_text() == "my diary\n"
    out.unlink()
    gold = [{"question": f"{i}?", "answer": f"1 + {i} = <<1+{i}={1 + i}>>{1 + i}\n#### {1 + i}"}
            for i in range(10)]
    task = write(tmp_path / "my.jsonl", *gold)
    build("--task", task, "--out", out)
    before = out.read_bytes()
    write(tmp_path / "my.jsonl", *gold[1:], gold[0])
    assert "line 1" in refused(capsys, "--task", task, "--out", out)
    assert out.read_bytes() == before


def test_a_question_that_a_file_holds_twice_is_asked_once(tmp_path):
    gold = {"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}
    build("--task", write(tmp_path / "my.jsonl", gold, gold), "--out", tmp_path / "bank.jsonl")
    assert len(read_bank(tmp_path / "bank.jsonl")) == 1


def test_a_question_that_stands_on_two_lines_has_the_rules_of_both():
    lines = [Problem("q", "5", [], ["first", "both"]), Problem("p", "6", [], []),
             Problem("q", "5", [], ["both", "second"])]
    found = each_once(lines)
    assert [p.question for p in found] == ["q", "p"]
    assert found[0].rules == ["first", "both", "second"]


def test_a_refused_bank_takes_nothing_away_that_was_there(tmp_path, capsys):
    (tmp_path / "bank.jsonl").touch()
    refused(capsys, "--teacher", "no/such/folder", "--out", tmp_path / "bank.jsonl")
    assert (tmp_path / "bank.jsonl").exists()


@pytest.mark.parametrize("flags, words", [
    (["--n", "0"], "--n must be at least 1"),
    (["--limit", "0"], "--limit"),
    (["--batch", "0"], "--batch"),
    (["--inject-rules", "1.5"], "--inject-rules must lie in [0, 1]"),
    (["--temperature", "-1"], "--temperature"),
    (["--temperature", "nan"], "--temperature"),
    (["--task", "chess"], "chess: neither a built-in task"),
    (["--split", "ood", "--task", "gsm8k"], "out-of-distribution"),
    (["--out", "/no/such/folder/bank.jsonl"],
     "--out /no/such/folder/bank.jsonl: there is no folder /no/such/folder"),
    (["--out", "/no/such/folder/bank.jsonl", "--task", "chess"], "no folder"),
    (["--out", "/tmp"], "--out /tmp: is a folder"),
    (["--out", "/dev/null"], "--out /dev/null: is a device, not a file"),
    (["--teacher", "localhost:8000"], "did you mean http://localhost:8000?"),
    (["--teacher", "no/such/folder"], "--teacher no/such/folder"),
    (["--teacher", "http://localhost:1/v1"], "--teacher-model"),
    (["--teacher", "tiny", "--device", "cuda:7"], "cuda"),
    (["--task", "FILE", "--teacher", "simulated"], "gold solution"),
    (["--task", "FILE", "--split", "validation"], "no problems")])
def test_bad_flags_are_one_clear_line(tmp_path, capsys, flags, words):
    task = write(tmp_path / "my.jsonl", *questions(3)) if "FILE" in flags else None
    flags = [task if flag == "FILE" else flag for flag in flags]
    bank = tmp_path / "bank.jsonl"
    out = [] if "--out" in flags else ["--out", bank]
    assert words in refused(capsys, *flags, *out)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"my.jsonl"}, "a refused start leaves nothing behind"
    assert not bank.exists() or not bank.read_bytes()


def test_an_older_bank_without_the_newer_settings_is_continued(tmp_path):
    flags = ["--task", "shop", "--n", "2", "--limit", "10", "--batch", "4",
             "--out", tmp_path / "bank.jsonl"]
    build(*flags)
    record = json.loads((tmp_path / "bank.jsonl.config.json").read_text())
    # This is what older versions wrote, and no more.
    assert set(record) == {
        "task", "data", "split", "teacher", "teacher_model", "n", "temperature", "max_new_tokens",
        "inject_rules", "teacher_error", "systematic", "limit", "batch", "seed"}
    build(*flags)


@pytest.mark.parametrize("record", ["[]", "null", "{", "3"])
def test_a_record_that_is_none_is_not_trusted(tmp_path, capsys, record):
    flags = ["--task", "shop", "--n", "2", "--limit", "10", "--out", tmp_path / "bank.jsonl"]
    build(*flags)
    (tmp_path / "bank.jsonl.config.json").write_text(record)
    assert "no bank.jsonl.config.json says how it was made" in refused(capsys, *flags)


@pytest.mark.parametrize("field, new", [("answer", "so\n#### 5"), ("rules", ["Subtract."])])
def test_a_bank_is_not_continued_with_corrected_answers_or_rules(tmp_path, capsys, field, new):
    lines = [{"question": f"{i} + 1?", "answer": f"so\n#### {i + 1}", "rules": ["Add."]}
             for i in range(8)]
    task = write(tmp_path / "task.jsonl", *lines)
    flags = ["--task", task, "--n", "2", "--batch", "2", "--out", tmp_path / "bank.jsonl"]
    build(*flags)
    build(*flags)  # nothing has changed
    kept = (tmp_path / "bank.jsonl").read_bytes()
    lines[2][field] = new
    write(tmp_path / "task.jsonl", *lines)
    assert "line 3: not the question, answer and rules" in refused(capsys, *flags)
    assert (tmp_path / "bank.jsonl").read_bytes() == kept


def test_a_bank_with_more_lines_than_questions_is_not_shortened(tmp_path, capsys):
    flags = ["--task", "shop", "--n", "2", "--limit", "10", "--out", tmp_path / "bank.jsonl"]
    build(*flags)
    longer = (tmp_path / "bank.jsonl").read_bytes() + b'{"question": "mine", "answer": "7"}\n'
    (tmp_path / "bank.jsonl").write_bytes(longer)
    assert "line 11: not the question" in refused(capsys, *flags)
    assert (tmp_path / "bank.jsonl").read_bytes() == longer


# ---- can it teach? -------------------------------------------------------------------------------
def taught_by(gold, *answers):
    routes = [Route("t", a, data.answers_match(a, gold)) for a in answers]
    return Problem(f"which {gold}?", gold, routes)


PROSE = "It depends on the weather, on the season and on who is asked, as always."


@pytest.mark.parametrize("problems, words", [
    ([taught_by("5", "7", "8"), taught_by("6", None), taught_by("7", "seven"), taught_by("8", "9")],
     ["no route is right", "gold '5', route says '7' (another number)",
      "gold '6', route has no answer (no answer was found in it)",
      "gold '7', route says 'seven' (words, not a number)"]),
    ([taught_by("5", "5"), taught_by("6", "6.0"), taught_by("7", "7")],
     ["no route is wrong", "gold '6', route says '6.0' (they are equal)"]),
    ([taught_by("5", "5", "6"), taught_by(PROSE, "yes"), taught_by(PROSE + " Or not.", PROSE)],
     ["2 of 3 gold answers are no number and no few words",
      "gold 'It depends on the weather, on the sea...', "
      "route says 'yes' (the gold answer is 15 words long)"]),
    ([taught_by("yes\nor no", "no")], ["gold 'yes\\nor no', route says 'no' (other words)"]),
    ([taught_by("yes", "7")], ["(a number, not words)"])])
def test_a_bank_that_cannot_teach_is_said_in_one_line_with_examples(problems, words):
    line = why_it_cannot_teach(problems)
    assert all(word in line for word in words)
    assert "\n" not in line
    # Where gold answers are too long, only those are given as examples.
    blamed = [p for p in problems if "few words" not in line or len(p.answer) > 9]
    assert line.count("gold '") == min(3, len(blamed))


def test_a_bank_that_can_teach_and_one_without_routes_are_not_blamed():
    assert why_it_cannot_teach([taught_by("5", "5"), taught_by("6", "7")]) is None
    assert why_it_cannot_teach([taught_by("5", "5")], judges=False) is None  # enough to imitate
    assert why_it_cannot_teach([taught_by("5", "6")], judges=False)
    assert why_it_cannot_teach([Problem("q", "4")]) is why_it_cannot_teach([]) is None
    one_of_three = [taught_by(PROSE, "no"), taught_by("5", "5"), taught_by("6", "7")]
    assert why_it_cannot_teach(one_of_three) is None
    simulated = make_routes(load_problems("shop", "train", 20), shop.teacher(), 4)
    assert why_it_cannot_teach(simulated) is None


def test_data_says_so_behind_the_summary(tmp_path, capsys):
    same = ["--task", "shop", "--n", "2", "--limit", "10"]
    build(*same, "--teacher-error", "0", "--out", tmp_path / "bank.jsonl")
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line.startswith("this bank cannot teach: no route is wrong")
    build(*same, "--out", tmp_path / "other.jsonl")
    assert "cannot teach" not in capsys.readouterr().out


# ---- flags ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("flags, said", [
    (["--teacher-model", "M", "--device", "cpu"],
     "--teacher-model has no effect: the teacher is no server; "
     "--device has no effect: the teacher is simulated"),
    (["--temperature", "0.5", "--keep-cut"],
     "--temperature and --keep-cut have no effect: the teacher is simulated"),
    (["--task", "FILE", "--data", "/no/such", "--inject-rules", "1"],
     "--inject-rules has no effect: no question has rules; "
     "--data has no effect: the task is FILE, not gsm8k")])
def test_a_flag_without_effect_is_said_once_on_one_line(tmp_path, capsys, flags, said):
    gold = [{"question": f"{i}?", "answer": f"1 + {i} = <<1+{i}={1 + i}>>{1 + i}\n#### {1 + i}"}
            for i in range(10)]
    task = write(tmp_path / "my.jsonl", *gold)
    flags = [task if flag == "FILE" else flag for flag in flags]
    build("--n", "2", "--limit", "10", "--out", tmp_path / "bank.jsonl", *flags)
    lines = [line for line in capsys.readouterr().out.splitlines() if "no effect" in line]
    assert lines == [said.replace("FILE", task)]


def test_a_simulated_teachers_flags_are_idle_beside_another_one(capsys):
    problems = [Problem("q", "4", [], ["RULE"])]
    given = dict(teacher_error=0.1, systematic=0.1, device="cpu", temperature=0.5,
                 inject_rules=1.0)

    def said(teacher, given=given):
        data.say_idle_flags(config(task="my.jsonl", teacher=teacher), given, problems)
        return capsys.readouterr().out

    not_simulated = (
        "--teacher-error and --systematic have no effect: this teacher is not simulated")
    no_device = "--device has no effect: the teacher is a server"
    assert said("tiny") == not_simulated + "\n"
    assert said("http://host") == f"{not_simulated}; {no_device}\n"
    assert said("tiny", {}) == said("tiny", {"n": 3, "task": "my.jsonl"}) == ""


def test_two_processes_do_not_write_one_bank(tmp_path):
    out = tmp_path / "bank.jsonl"
    with bank_file.open_bank(out):
        with pytest.raises(ValueError, match=f"--out {out}: another process is writing it"):
            with bank_file.open_bank(out):
                pass
        assert out.exists()  # the first one's, though it is still empty
    assert not out.exists()
    with bank_file.open_bank(out) as file:
        file.write(b"line")
        file.flush()  # as append_batch does
    assert out.read_bytes() == b"line"


def test_that_a_new_bank_does_not_hold_the_routes_of_the_old_one_is_said(tmp_path, capsys):
    lines = [{"question": "1 milk", "answer": "2", "routes": [{"text": "so 2"}]},
             {"question": "1 rice", "answer": "1 + 2 = 3 #### 3"}]
    (tmp_path / "old.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data.main(["--task", str(tmp_path / "old.jsonl"), "--n", "2", "--out",
               str(tmp_path / "new.jsonl"), "--teacher", "tiny", "--max-new-tokens", "8",
               "--keep-cut"])
    assert "1 of the questions have routes already" in capsys.readouterr().out


def test_a_wrong_answer_is_shown_as_a_route_has_it():
    routes = [Route("so 765.5", "765.5", False), Route("so 4", "4", True)]
    shown = "\n".join(bank_summary([Problem("q", "4", routes)] * 2))
    assert "most frequent wrong answers      765.5 (2)" in shown


def test_help_shows_the_flags_under_headings(capsys):
    with pytest.raises(SystemExit):
        build("--help")
    shown = capsys.readouterr().out
    shown = shown[shown.index("\nproblems:"):]
    sections = dict(re.findall(r"(?m)^(\w+):\n((?:  .*\n)+)", shown))
    flags_of = {heading: re.findall(r"(?m)^  (--[a-z-]+)", text)
                for heading, text in sections.items()}
    assert flags_of["problems"] == ["--task", "--data", "--split", "--limit"]
    assert flags_of["bank"] == ["--out"]
    assert "--temperature" in flags_of["teacher"] and "--teacher-model" in flags_of["teacher"]
    assert "--device" in flags_of["machine"]
    listed = sum(flags_of.values(), [])
    assert listed
    assert sorted(listed) == sorted(
        flags_file.flag_name(field.name) for field in dataclasses.fields(data.Config))


@dataclasses.dataclass(kw_only=True)
class Other(TeacherFlags):
    task: str | None = same_flag(TeacherFlags, "task", None, "the first run's")
    models: list[str] = flag(dataclasses.MISSING, "names", heading="models")
    fast: bool = flag(False, "a switch")


def test_a_config_of_another_script_shares_the_teachers_flags(capsys):
    flags = ["a", "b", "--fast", "--n", "3", "--teacher", "http://host?v=1"]
    given = given_flags(Other, "doc", flags)
    assert given == {"models": ["a", "b"], "fast": True, "n": 3, "teacher": "http://host?v=1"}
    config = Other(**given)
    assert config.task is None and config.teacher_error == 0.65
    assert flags_file.for_the_record(config)["teacher"] == "http://host?v=(hidden)"
    assert config.teacher == "http://host?v=1"
    with pytest.raises(ValueError, match="--teacher-error must lie in"):
        check_bounds(Other(models=[], teacher_error=2))
    with pytest.raises(SystemExit):
        given_flags(Other, "doc", ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "questions, answers and rules (default: the first run's)" in shown


def test_the_examples_of_the_engines_files_are_true():
    for module in (bank_file, flags_file):
        result = doctest.testmod(module)
        assert result.attempted > 2
        assert not result.failed
