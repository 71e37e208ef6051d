"""The measurements, against brute force and published numbers."""
import json
import random
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

import eval as evaluation
from tasks import shop
from data import load_problems, make_routes
from engine.policy import must_write
from helpers import write_bank
from realm import Problem, Route


def test_wilson_interval_equals_published_values():
    # Brown, Cai & DasGupta (2001) and statsmodels' proportion_confint(method="wilson")
    assert evaluation.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert evaluation.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert evaluation.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_auc_is_the_share_of_pairs_ranked_rightly():
    rng = random.Random(0)
    for _ in range(50):
        n = rng.randint(2, 30)
        scores = [rng.choice([0, 0.25, 0.5, 1]) for _ in range(n)]
        labels = [rng.random() < 0.4 for _ in range(n)]
        right = [score for score, label in zip(scores, labels) if label]
        wrong = [score for score, label in zip(scores, labels) if not label]
        pairs = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
        share = sum(pairs) / len(pairs) if pairs else None
        assert evaluation.auc(scores, labels) == pytest.approx(share)
    # "always bad" knows nothing, though it agrees 8 times in 10
    assert evaluation.auc([0.0] * 10, [True] * 2 + [False] * 8) == 0.5


def test_the_vote_counts_equal_answers_as_one_and_breaks_ties_evenly():
    assert evaluation.vote(["1,000", "7", "$1000"], random.Random(0)) == "1,000"
    assert evaluation.vote([None, None], random.Random(0)) is None
    assert evaluation.vote(["", "", ".", ".", "7"], random.Random(0)) == "7"
    for split_vote, winner in ((["5 cents", "5 dollars", "5 dollars", "6", "6", "6"], "6"),
                               (["7 am", "7 pm", "8 pm", "8 pm"], "8 pm"),
                               (["C. Rome", "C. Paris", "B", "B"], "B")):
        assert {evaluation.vote(split_vote, random.Random(s)) for s in range(9)} == {winner}
    rng = random.Random(0)
    share = sum(evaluation.vote(["1", "2"], rng) == "1" for _ in range(2000)) / 2000
    assert 0.45 < share < 0.55


class Stub:
    """Stands for a model: sample() is replaced by a table question -> texts."""
    device = torch.device("cpu")


def scripted(monkeypatch, replies):
    def sample(model, tokenizer, prompts, group_size, *args, **kwargs):
        texts = [replies(prompt, i) for prompt in prompts for i in range(group_size)]
        return SimpleNamespace(texts=texts, lengths=torch.full((len(texts),), 7))
    monkeypatch.setattr(evaluation, "sample", sample)


def reply(answer, scores=""):
    text = f"<think>r</think><answer>{answer}</answer>"
    return text + f"<scores>{scores}</scores>" if scores else text


def test_every_figure_equals_a_count_by_hand(monkeypatch):
    routes = [Route("a", "5", True), Route("b", "6", False), Route("c", "6", False)]
    problems = [Problem(f"question {i}", "5", routes) for i in range(4)]

    def replies(prompt, i):
        n = int(prompt.partition("question ")[2][0])
        if "Route 3:" not in prompt:
            return reply("5" if (n + i) % 4 == 0 else "9")
        return reply({0: "5", 1: "5", 2: "6", 3: "8"}[n], "1, 0, 0")
    scripted(monkeypatch, replies)
    result = evaluation.evaluate(Stub(), None, problems, routes=3, samples=4)
    alone = result["alone"]
    routed = result["routes"]
    # greedy is completion 0: right for question 0 only
    assert alone["accuracy"] == 0.25 and alone["tokens"] == 7
    assert alone["pass_at_n"] == 1.0 and alone["mean_at_n"] == 0.25 and alone["majority_at_n"] == 0
    assert alone["format"] == routed["format"] == 1.0
    # one wrong answer is a route's 6, the other its own 8
    assert routed["accuracy"] == 0.5 and routed["same_err"] == 0.5 and routed["scored"] == 1.0
    assert result["teacher"] == pytest.approx(1 / 3) and result["vote"] == 0.0


@pytest.mark.parametrize("said, wanted", [
    # the answers of four questions, of which the first and the third are "yes"
    ("yes yes no no", {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2}),
    ("yes no yes yes", {"precision": 2 / 3, "recall": 1, "f1": 4 / 5}),
    ("no yes no no", {"precision": 0, "recall": 0, "f1": 0}),
    ("no no no no", {"precision": None, "recall": 0, "f1": 0})])
def test_precision_recall_and_f1_equal_counts_by_hand(monkeypatch, said, wanted):
    gold = ("yes", "no", "yes", "no")
    problems = [Problem(f"question {i}", answer) for i, answer in enumerate(gold)]

    def replies(prompt, i):
        return reply(said.split()[int(prompt.partition("question ")[2][0])])
    scripted(monkeypatch, replies)
    found = evaluation.evaluate(Stub(), None, problems, routes=0, positive="yes")["alone"]
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_format_counts_the_completions_that_hold_every_field(monkeypatch):
    problems = [Problem(f"question {i}", "5", [Route("a", "5", True)]) for i in range(4)]
    texts = {0: reply("5"), 1: reply("5", "1"), 2: "<answer>5</answer><scores>1</scores>", 3: "5"}

    def replies(prompt, i):
        return texts[int(prompt.partition("question ")[2][0])]
    scripted(monkeypatch, replies)
    result = evaluation.evaluate(Stub(), None, problems, routes=1)
    assert result["alone"]["format"] == 0.5   # scores are asked for only with routes
    assert result["routes"]["format"] == 0.25


def test_scores_are_compared_with_the_routes_in_the_order_shown(monkeypatch):
    routes = [Route("right", "5", True), Route("wrong", "6", False), Route("wrong", "7", False)]
    problems = [Problem(f"q{i}", "5", routes) for i in range(12)]

    def replies(prompt, i):
        shown = [line for line in prompt.splitlines() if line.startswith("Route ")]
        return reply("5", ", ".join("0.9" if "right" in line else "0.2" for line in shown))
    scripted(monkeypatch, replies)
    result = evaluation.evaluate(Stub(), None, problems, routes=3)
    assert result["routes"]["score_auc"] == 1.0 and result["routes"]["score_accuracy"] == 1.0


def test_all_students_see_the_same_routes(monkeypatch):
    routes = [Route(str(j), str(j), j == 5) for j in range(8)]
    problems = [Problem(f"q{i}", "5", routes) for i in range(5)]
    seen = []
    scripted(monkeypatch, lambda prompt, i: seen.append(prompt) or "")
    for _ in range(2):
        evaluation.evaluate(Stub(), None, problems, routes=3)
    assert seen[:10] == seen[10:]


def test_the_command_prints_a_table_and_writes_json_and_a_figure(tmp_path, capsys):
    flags = "--limit 4 --samples 2 --max-new-tokens 40".split()
    flags += ["--json", str(tmp_path / "e.json"), "--figure", str(tmp_path / "e.png")]
    evaluation.main(["tiny", "tiny", *flags])
    out = capsys.readouterr().out
    assert "majority vote" in out and "ood" in out and "SAME Err" in out
    saved = json.loads((tmp_path / "e.json").read_text())
    assert set(saved["results"]["tiny"]) == {"test", "ood"}
    assert (tmp_path / "e.png").stat().st_size > 5000


def test_an_unknown_model_is_refused_before_any_evaluation(monkeypatch):
    for work in ("evaluate", "all_with_routes"):
        monkeypatch.setattr(evaluation, work, lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(SystemExit, match="no/such/model/here"):
        evaluation.main(["tiny", "no/such/model/here"])


def stand_in(run, flags):
    """The folder of a run with these flags, as far as prepare reads it."""
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    (run / "config.json").write_text(json.dumps(flags))


def test_a_student_that_was_trained_on_what_is_asked_is_named(tmp_path, capsys):
    # A bank is split by a hash of its questions, and the train.jsonl of a folder by position.
    problems = random.Random(1).sample(load_problems("shop", "all", 400), 400)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder / "train.jsonl", folder / "test.jsonl", tmp_path / "bank.jsonl"):
        write_bank(path, problems[:1] if path.name == "test.jsonl" else problems)
    stand_in(tmp_path / "ours", {"bank": str(tmp_path / "bank.jsonl"), "limit": None})
    stand_in(tmp_path / "plain", {"task": str(folder), "bank": None, "limit": None})
    stand_in(tmp_path / "short", {"task": str(folder), "bank": None, "limit": 1})
    stand_in(tmp_path / "lost", {"task": str(tmp_path / "nowhere"), "bank": None})
    names = [str(tmp_path / name) for name in ("ours", "short", "lost")] + ["tiny"]

    def asked(*models):
        return evaluation.prepare(evaluation.Config(models=list(models), routes=0))["test"]

    asked(*names)
    assert not capsys.readouterr().out  # what a bank and a limit leave out was not seen
    test = asked(*names, str(tmp_path / "plain"))
    trained = {p.question for p in load_problems(str(folder), "train")}
    seen = sum(p.question in trained for p in test)
    assert 0.5 * len(test) < seen
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'plain'} was trained on {seen} of the {len(test)} "
                           f"questions asked (from {folder})") and said.count("\n") == 1
    # What the student of an earlier run has seen, a later run's student has seen, too.
    stand_in(tmp_path / "later", {"model": str(tmp_path / "plain"), "task": "shop"})
    asked(*names, str(tmp_path / "later"))
    assert f"{tmp_path / 'later'} was trained on {seen} of" in capsys.readouterr().out
    stand_in(tmp_path / "last", {"model": str(tmp_path / "later"), "task": "shop"})
    asked(*names, str(tmp_path / "last"))
    assert f"{tmp_path / 'last'} was trained on {seen} of" in capsys.readouterr().out
    # A run and the run that it came from may have had the same problems.
    stand_in(tmp_path / "same", {"model": str(tmp_path / "plain"), "task": str(folder)})
    stand_in(tmp_path / "itself", {"model": str(tmp_path / "itself"), "task": "shop"})
    asked(*names, str(tmp_path / "same"), str(tmp_path / "itself"))
    assert capsys.readouterr().out.count("was trained on") == 1
    for damaged in ("[]", '{"model": 5}'):  # what it came from cannot be told now
        (tmp_path / "later" / "config.json").write_text(damaged)
        asked(*names, str(tmp_path / "last"))
        assert not capsys.readouterr().out


def test_a_student_of_an_own_bank_is_asked_that_bank_unless_told_otherwise(tmp_path, capsys):
    bank = tmp_path / "bank.jsonl"
    run = tmp_path / "run"
    lines = []
    for i in range(40):
        lines.append(json.dumps({"question": f"{i}?", "answer": i, "routes": [{"text": str(i)}]}))
    bank.write_text("\n".join(lines))
    stand_in(run, {"task": "gsm8k", "bank": str(bank), "routes": 1})

    def asked(**flags):
        return evaluation.prepare(evaluation.Config(models=[str(run)], **flags))
    test = asked()["test"]
    assert 0 < len(test) < 40 and all(p.question.endswith("?") for p in test)
    assert not capsys.readouterr().out
    to_choose_by = asked(split="validation")["validation"]
    assert to_choose_by and not {p.question for p in to_choose_by} & {p.question for p in test}
    assert set(asked(task="shop", limit=5)) == {"test", "ood"}
    assert set(asked(task="shop", limit=5, split="validation")) == {"validation"}
    bank.write_text(lines[0])
    asked()
    assert "no question is in its test part" in capsys.readouterr().out
    assert len(asked(task=str(bank), routes=0)["test"]) == 1
    for damaged in (b"[]", b'{"task": "gs', b"\xff"):
        (run / "config.json").write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{run}/config.json: not the config.json of a run"):
            asked()


@pytest.mark.parametrize("flags, words", [
    ("--samples -1", "--samples must be at least 0, not -1"),
    ("--limit 0", "--limit must be at least 1"),
    ("--json no/such/x.json", "--json no/such/x.json: there is no folder no/such"),
    ("--figure no/x.png", "--figure no/x.png: there is no folder no"),
    ("--json /tmp", "--json /tmp: is a folder"),
    ("--json bank.jsonl", "--json bank.jsonl: is named like a bank"),
    ("--json /dev/null", "--json /dev/null: is a device"),
    ("--figure x.xyz", "--figure x.xyz: its name must end in "),
    ("--positive 7", "--positive 7: is the answer of no question"),
    ("--data /tmp", "--data /tmp: holds GSM8K"),
    ("--teacher-error 1.5", "--teacher-error must lie in \\[0, 1\\]"),
])
def test_a_flag_that_cannot_be_is_refused_in_one_line_before_the_work(monkeypatch, flags, words):
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **k: pytest.fail("evaluated"))
    with pytest.raises(SystemExit, match=f"eval.py: {words}[^\n]*$"):
        evaluation.main(["tiny", *flags.split()])


def test_a_model_that_cannot_write_the_questions_is_refused_before_the_work(monkeypatch):
    for work in ("evaluate", "all_with_routes"):
        monkeypatch.setattr(evaluation, work, lambda *a, **k: pytest.fail("work was done"))
    for models in (["tiny"], ["tiny-ads", "tiny"]):
        refusal = "eval.py: model tiny: its tokenizer cannot write 'query"
        with pytest.raises(SystemExit, match=refusal):
            evaluation.main([*models, "--task", "ads"])


def test_a_tokenizer_is_asked_to_keep_every_character_but_spaces():
    tokenizer = AutoTokenizer.from_pretrained(evaluation.resolve_model("tiny"))
    question = load_problems("shop", "test", 1)[0].question
    must_write(tokenizer, [question], "tiny")
    with pytest.raises(ValueError, match="model tiny: its tokenizer cannot write 'Why [?]'"):
        must_write(tokenizer, [question, "Why ?"], "tiny")


def test_each_shipped_student_is_asked_its_own_task_unless_told_otherwise():
    for model, task, longest, positive in (("tiny", "shop", 96, None),
                                           ("tiny-totals", "shop", 128, None),
                                           ("tiny-ads", "ads", 96, "relevant")):
        config = evaluation.Config(models=[model], limit=2)
        assert set(evaluation.prepare(config)) == {"test", "ood"}
        assert (config.task, config.max_new_tokens, config.positive) == (task, longest, positive)


def test_a_positive_answer_that_nobody_asked_for_is_left_out_where_no_question_has_it(tmp_path):
    asked = [p for p in load_problems("ads", "test", 20) if p.answer != "relevant"]
    write_bank(tmp_path / "bank.jsonl", asked)
    config = evaluation.Config(models=["tiny-ads"], bank=str(tmp_path / "bank.jsonl"), routes=0)
    evaluation.prepare(config)
    assert config.positive is None


def test_a_prompt_that_does_not_fit_the_model_is_refused_before_it_is_asked(monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **k: pytest.fail("evaluated"))
    refusal = "eval.py: the question '.*: a prompt of [0-9]+ tokens and 5000 new ones exceed "
    with pytest.raises(SystemExit, match=refusal):
        evaluation.main(["tiny", "--max-new-tokens", "5000", "--limit", "3"])


def test_flags_that_change_nothing_are_said_in_one_line(tmp_path, capsys):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    bank = tmp_path / "bank.jsonl"
    write_bank(bank, problems)

    def said(**flags):
        given = {"models": ["tiny"], "limit": 5, **flags}
        evaluation.prepare(evaluation.Config(**given), given)
        return capsys.readouterr().out
    assert said(bank=str(bank)) == ""
    assert said(bank=str(bank), task="shop") == (
        f"--task has no effect: --bank {bank} names the problems\n")
    assert said(task=str(bank), systematic=0.1, teacher_error=0.5) == (
        "--teacher-error and --systematic have no effect: the problems have routes\n")
    assert said(task=str(bank), data="/tmp") == (
        f"--data has no effect: the task is {bank}, not gsm8k\n")
    assert said(task="shop", teacher="simulated", n=4, routes=0) == (
        "--teacher and --n have no effect: --routes is 0\n")
    assert said(task="shop", teacher_options="{}").startswith(
        "--teacher-options has no effect: the teacher is no server\n")
    assert "no effect" not in said(task="shop", teacher_error=0.5, systematic=0.1)


def test_a_first_run_without_routes_says_that_no_student_is_shown_any(tmp_path, capsys):
    stand_in(tmp_path, {"task": "shop", "routes": 0})

    def said(**flags):
        evaluation.prepare(evaluation.Config(models=[str(tmp_path), "tiny"], limit=5, **flags))
        return capsys.readouterr().out
    assert said() == (f"--routes is 0, as in {tmp_path}, so no student is shown routes; "
                      f"--routes 3 shows them to all\n")
    assert said(routes=0) == "" and "--routes" not in said(routes=3)


@pytest.mark.parametrize("device", ["gpu", "cuda:3", "mps"])
def test_a_device_that_is_not_here_is_refused_in_one_line(device):
    with pytest.raises(SystemExit, match=f"eval.py: --device {device}: [^\n]*$"):
        evaluation.main(["tiny", "--device", device])


@pytest.mark.parametrize("given, routes, right", [
    ({}, 2, 1.0),
    ({"routes": 1, "teacher_error": 1.0}, 1, 0.0),  # a flag on the command line wins
])
def test_a_run_is_evaluated_with_the_teacher_and_routes_of_its_training(
        tmp_path, given, routes, right):
    stand_in(tmp_path, {"task": "shop", "teacher_error": 0.0, "systematic": 1.0, "routes": 2})
    config = evaluation.Config(models=[str(tmp_path)], limit=20, **given)
    problems = evaluation.prepare(config)["test"]
    assert config.routes == routes
    assert sum(r.correct for p in problems for r in p.routes) == right * 160


def test_a_run_is_evaluated_with_as_many_routes_and_rules_as_in_its_training(tmp_path):
    stand_in(tmp_path, {"task": "shop", "n": 11, "inject_rules": 1.0, "data": "/folder/of/gsm8k"})

    def routes_of(**flags):
        config = evaluation.Config(models=[str(tmp_path)], limit=4, **flags)
        return [p.routes for p in evaluation.prepare(config)["test"]]
    with pytest.raises(ValueError, match="--data /folder/of/gsm8k: holds GSM8K"):
        routes_of()
    # Where another task is named, the run's --data does not belong to it.
    for routes in routes_of(task="shop"):
        assert len(routes) == 11 and all(r.guided and r.correct for r in routes)
    for routes in routes_of(task="shop", n=5, inject_rules=0.0):
        assert len(routes) == 5 and not any(r.guided for r in routes)


@pytest.mark.parametrize("failure, words", [
    (ValueError("model b: cannot load b"), "eval.py: model b: cannot load b"),
    (KeyboardInterrupt(), "eval.py: stopped")])
def test_what_was_found_before_a_later_model_fails_is_kept(
        tmp_path, monkeypatch, capsys, failure, words):
    real = evaluation.load_policy

    def load(name, device):
        if name == "tiny-ads":
            raise failure
        return real(name, device)
    monkeypatch.setattr(evaluation, "load_policy", load)
    monkeypatch.setattr(evaluation, "check_tokenizers", lambda *arguments: None)
    out = tmp_path / "e.json"
    with pytest.raises(SystemExit, match=words):
        evaluation.main(["tiny", "tiny-ads", "--limit", "2", "--samples", "0", "--max-new-tokens",
                         "4", "--task", "shop", "--json", str(out)])
    assert "majority vote" in capsys.readouterr().out
    assert list(json.loads(out.read_text())["results"]) == ["tiny"]
    assert [path.name for path in tmp_path.iterdir()] == ["e.json"]


def test_a_run_that_is_not_there_is_not_taken_for_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "grpo-0").mkdir(parents=True)
    (tmp_path / "runs" / "grpo-0" / "before.json").write_text("{}")
    said = "model runs/gpro-0: no such run; in runs there are grpo-0"
    with pytest.raises(SystemExit, match=said):
        evaluation.main(["runs/gpro-0"])
    assert evaluation.resolve_model("other/gpro-0") == "other/gpro-0"


def test_a_score_of_one_half_is_half_right():
    wrong, right = Route("t", "1", False), Route("t", "2", True)
    shown = [[wrong, right], [wrong, right], [wrong, wrong]]
    for scores, accuracy in (([0.5, 0.5], 0.5), ([0.4, 0.6], 5 / 6), ([0.6, 0.4], 1 / 6)):
        responses = [SimpleNamespace(scores=scores)] * 3
        found = evaluation.route_scores(responses, shown)["score_accuracy"]
        assert found == pytest.approx(accuracy)
