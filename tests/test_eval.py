"""The measurements, against brute force and published numbers."""
import dataclasses
import json
import random
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from assets import shop
import eval as evaluation
from data import load_problems, make_routes
from realm import Problem, Route


def test_wilson_interval_equals_published_values():
    # Brown, Cai & DasGupta (2001) and statsmodels' proportion_confint(method="wilson")
    for right, n, low, high in ((0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)):
        assert evaluation.wilson(right, n) == pytest.approx((low, high), abs=1e-4)


def test_auc_is_the_share_of_pairs_ranked_rightly():
    rng = random.Random(0)
    for _ in range(50):
        n = rng.randint(2, 30)
        scores, labels = [rng.choice([0, 0.25, 0.5, 1]) for _ in range(n)], [rng.random() < 0.4 for _ in range(n)]
        pairs = [(a > b) + 0.5 * (a == b) for a, la in zip(scores, labels) if la for b, lb in zip(scores, labels) if not lb]
        assert evaluation.auc(scores, labels) == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)
    assert evaluation.auc([0.0] * 10, [True] * 2 + [False] * 8) == 0.5  # "always bad" knows nothing, though it agrees 8 times in 10


def test_the_vote_counts_equal_answers_as_one_and_breaks_ties_evenly():
    assert evaluation.vote(["1,000", "7", "$1000"], random.Random(0)) == "1,000"
    assert evaluation.vote([None, None], random.Random(0)) is None
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
    return f"<think>r</think><answer>{answer}</answer>" + (f"<scores>{scores}</scores>" if scores else "")


def test_every_figure_equals_a_count_by_hand(monkeypatch):
    routes = [Route("a", "5", True), Route("b", "6", False), Route("c", "6", False)]
    problems = [Problem(f"question {i}", "5", routes) for i in range(4)]

    def replies(prompt, i):
        n, carried = int(prompt.partition("question ")[2][0]), "Route 3:" in prompt
        if not carried:
            return reply("5" if (n + i) % 4 == 0 else "9")
        return reply({0: "5", 1: "5", 2: "6", 3: "8"}[n], "1, 0, 0")
    scripted(monkeypatch, replies)
    result = evaluation.evaluate(Stub(), None, problems, routes=3, samples=4)
    alone, routed = result["alone"], result["routes"]
    assert alone["accuracy"] == 0.25 and alone["tokens"] == 7  # greedy is completion 0: right for question 0 only
    assert alone["pass_at_n"] == 1.0 and alone["mean_at_n"] == 0.25 and alone["majority_at_n"] == 0.0
    assert routed["accuracy"] == 0.5 and routed["same_err"] == 0.5  # one wrong answer is a route's 6, the other its own 8
    assert result["teacher"] == pytest.approx(1 / 3) and result["vote"] == 0.0 and routed["scored"] == 1.0


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
    problems = [Problem(f"q{i}", "5", [Route(str(j), str(j), j == 5) for j in range(8)]) for i in range(5)]
    seen = []
    scripted(monkeypatch, lambda prompt, i: seen.append(prompt) or "")
    for _ in range(2):
        evaluation.evaluate(Stub(), None, problems, routes=3)
    assert seen[:10] == seen[10:]


def test_the_command_prints_a_table_and_writes_json_and_a_figure(tmp_path, capsys):
    evaluation.main(["tiny", "tiny", "--limit", "4", "--samples", "2", "--json", str(tmp_path / "e.json"),
                     "--figure", str(tmp_path / "e.png"), "--max-new-tokens", "40"])
    out = capsys.readouterr().out
    assert "majority vote" in out and "ood" in out and "SAME Err" in out
    saved = json.loads((tmp_path / "e.json").read_text())
    assert set(saved["results"]["tiny"]) == {"test", "ood"} and (tmp_path / "e.png").stat().st_size > 5000


def test_an_unknown_model_is_refused_before_any_evaluation(monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **k: pytest.fail("evaluated"))
    monkeypatch.setattr(evaluation, "with_routes", lambda *a, **k: pytest.fail("a teacher was asked"))
    with pytest.raises(SystemExit, match="no/such/model/here"):
        evaluation.main(["tiny", "no/such/model/here"])


def test_a_student_of_an_own_bank_is_evaluated_on_that_bank_unless_told_otherwise(tmp_path, capsys):
    bank, run = tmp_path / "bank.jsonl", tmp_path / "run"
    bank.write_text("".join(json.dumps({"question": f"{i}?", "answer": i, "routes": [{"text": str(i)}]}) + "\n" for i in range(40)))
    (run / "model").mkdir(parents=True), (run / "model" / "config.json").write_text("{}")
    (run / "config.json").write_text(json.dumps({"task": "gsm8k", "bank": str(bank), "routes": 1}))
    asked = evaluation.prepare(evaluation.Config(models=[str(run)]))["test"]
    assert 0 < len(asked) < 40 and all(p.question.endswith("?") for p in asked) and not capsys.readouterr().out
    to_choose_by = evaluation.prepare(evaluation.Config(models=[str(run)], split="validation"))["validation"]
    assert to_choose_by and not {p.question for p in to_choose_by} & {p.question for p in asked}
    assert set(evaluation.prepare(evaluation.Config(models=[str(run)], task="shop", limit=5))) == {"test", "ood"}
    assert set(evaluation.prepare(evaluation.Config(models=[str(run)], task="shop", limit=5, split="validation"))) == {"validation"}
    bank.write_text(bank.read_text().splitlines(keepends=True)[0])
    evaluation.prepare(evaluation.Config(models=[str(run)]))
    assert "no question is in its test part" in capsys.readouterr().out
    assert len(evaluation.prepare(evaluation.Config(models=[str(run)], task=str(bank), routes=0))["test"]) == 1
    for damaged in (b"[]", b'{"task": "gs', b"\xff"):
        (run / "config.json").write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{run}/config.json: not the config.json of a run"):
            evaluation.prepare(evaluation.Config(models=[str(run)]))


@pytest.mark.parametrize("flags, words", [(["--samples", "-1"], "--samples must be at least 0, not -1"), (["--limit", "0"], "--limit must be at least 1"),
                                          (["--json", "no/such/x.json"], "no/such/x.json: there is no such folder"), (["--figure", "no/x.png"], "no/x.png"),
                                          (["--json", "/tmp"], "/tmp: a folder"), (["--figure", "x.xyz"], "--figure x.xyz: "), (["--data", "/tmp"], "--data /tmp: holds GSM8K"),
                                          (["--teacher-error", "1.5"], "--teacher-error must lie in \\[0, 1\\]")])
def test_a_flag_that_cannot_be_is_refused_in_one_line_before_anything_is_evaluated(monkeypatch, flags, words):
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **k: pytest.fail("evaluated"))
    with pytest.raises(SystemExit, match=f"eval.py: {words}[^\n]*$"):
        evaluation.main(["tiny", *flags])


def test_a_model_that_cannot_write_the_questions_is_refused_before_anything_is_evaluated(monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **k: pytest.fail("evaluated"))
    monkeypatch.setattr(evaluation, "with_routes", lambda *a, **k: pytest.fail("a teacher was asked"))
    for models in (["tiny"], ["tiny-ads", "tiny"]):
        with pytest.raises(SystemExit, match="eval.py: --model tiny: its tokenizer cannot write 'query"):
            evaluation.main([*models, "--task", "ads"])


def test_a_tokenizer_is_asked_to_keep_every_character_but_spaces():
    tokenizer = AutoTokenizer.from_pretrained(evaluation.resolve_model("tiny"))
    evaluation.must_write(tokenizer, load_problems("shop", "test", 1)[0].question, "tiny")
    with pytest.raises(ValueError, match="--model tiny: its tokenizer cannot write 'Why [?]'"):
        evaluation.must_write(tokenizer, "Why ?", "tiny")


def test_each_shipped_student_is_asked_its_own_task_unless_told_otherwise():
    for model, task, positive in (("tiny", "shop", None), ("tiny-ads", "ads", "relevant")):
        config = evaluation.Config(models=[model], limit=2)
        assert set(evaluation.prepare(config)) == {"test", "ood"}
        assert (config.task, config.positive) == (task, positive)


def test_flags_that_change_nothing_are_said_in_one_line(tmp_path, capsys):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    bank = tmp_path / "bank.jsonl"
    bank.write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in problems))

    def said(**flags):
        evaluation.prepare(evaluation.Config(models=["tiny"], limit=5, **flags))
        return capsys.readouterr().out
    assert said(bank=str(bank)) == ""
    assert said(bank=str(bank), task="shop") == f"--task: no effect beside --bank {bank}\n"
    assert said(task=str(bank), systematic=0.1, teacher_error=0.5) == (
        "--teacher-error, --systematic: no effect beside problems that have routes\n")
    assert said(task="shop", teacher="simulated", routes=0) == "--teacher: no effect beside --routes 0\n"
    assert "no effect" not in said(task="shop", teacher_error=0.5, systematic=0.1)


@pytest.mark.parametrize("device", ["gpu", "cuda:3", "mps"])
def test_a_device_that_is_not_here_is_refused_in_one_line(device):
    with pytest.raises(SystemExit, match=f"eval.py: --device {device}: [^\n]*$"):
        evaluation.main(["tiny", "--device", device])


def test_a_run_is_evaluated_with_the_teacher_and_the_number_of_routes_it_was_trained_with(tmp_path):
    (tmp_path / "model").mkdir(), (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"task": "shop", "teacher_error": 0.0, "systematic": 1.0, "routes": 2}))
    for given, routes, right in (({}, 2, 1.0), ({"routes": 1, "teacher_error": 1.0}, 1, 0.0)):  # a flag on the command line wins
        config = evaluation.Config(models=[str(tmp_path)], limit=20, **given)
        problems = evaluation.prepare(config)["test"]
        assert config.routes == routes and sum(r.correct for p in problems for r in p.routes) == right * 160
