"""What a run tells its user: metrics, warnings, curves and tables."""
import ast
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine import report
from realm import Problem, Route
from rewards import Reward


def rl(**changes):
    """An entry of metrics.jsonl of a healthy step."""
    return {"phase": "rl", "step": 0, "truncated": 0.1, "entropy": 0.3, "live": 0.4,
            "answer": 0.2, "format": 0.9, **changes}


def result(accuracy, k=3, teacher=0.25, **changes):
    """What eval.evaluate returns."""
    found = {"accuracy": accuracy, "interval": (0.1, 0.9), "tokens": 30.0}
    routed = {**found, "accuracy": accuracy / 2, "score_auc": 0.5, **changes}
    if k == 0:
        return {"questions": 8, "k": 0, "samples": 0, "alone": found}
    return {"questions": 8, "k": k, "samples": 0, "alone": found, "routes": routed,
            "vote": 0.5, "vote_interval": (0.2, 0.8),
            "teacher": teacher, "teacher_interval": (0.2, 0.3)}


def test_the_engine_knows_nothing_of_the_scripts_above_it():
    tree = ast.parse(Path(report.__file__).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert names == {"hashlib", "json", "math", "pathlib", "matplotlib.figure", "engine.files",
                     "engine.flags", "engine.text"}


def test_the_metrics_of_a_step_are_means_over_its_completions():
    # Two groups of two. The prompt of the first carried a route.
    shown = [[Route("a", "5", True)], []]
    rewards = [Reward(1.25, 1.0, 0.5, 1.0), Reward(0.0, 0.0, 1.0, 1.0), Reward(1.0, 1.0, 0.0, 1.0),
               Reward(0.0, 0.0, 0.0, 0.0)]
    rollouts = SimpleNamespace(
        finished=torch.tensor([True, True, True, False]), lengths=torch.tensor([2, 4, 2, 4]),
        entropy=torch.full((4, 4), 0.75), mask=torch.ones(4, 4))
    advantages = torch.tensor([[0.7, -0.7], [0.0, 0.0]])
    assert report.step_metrics(0.5, rewards, shown, rollouts, advantages) == {
        "p": 0.5, "reward": 0.5625, "answer": 0.5, "answer_alone": 0.5, "answer_routes": 0.5,
        "utility": 0.75, "format": 0.75, "carried": 0.5, "live": 0.5, "truncated": 0.25,
        "length": 3.0, "entropy": 0.75}
    alone = report.step_metrics(0.0, rewards, [[], []], rollouts, advantages)
    assert alone["answer_routes"] is None and alone["utility"] is None and alone["carried"] == 0


def test_a_student_that_never_finds_the_format_is_told_so_after_eight_steps_with_the_cure():
    lost = [rl(format=0.0, answer=0.0, live=0.0)] * 8
    assert report.diagnosis(lost[:7]) is None
    assert "no completion is in the format" in report.diagnosis(lost)
    assert "--method realm-r1" in report.diagnosis(lost)
    assert "--max-new-tokens" not in report.diagnosis(lost)
    assert "--max-new-tokens" in report.diagnosis([rl(format=0.0, answer=0.0, truncated=1.0)] * 8)
    after_sft = report.diagnosis([{"phase": "sft", "step": 0, "loss": 1.0}, *lost])
    assert "--sft-steps" in after_sft and "realm-r1" not in after_sft


@pytest.mark.parametrize("found", [{"format": 0.01}, {"answer": 0.01}], ids=str)
def test_a_student_that_finds_the_format_now_and_then_is_left_in_peace(found):
    lost = rl(format=0.0, answer=0.0, live=0.0)
    assert report.diagnosis([lost] * 4 + [{**lost, **found}] + [lost] * 10) is None


def test_a_run_with_skipped_or_unmeasured_values_is_drawn_all_the_same(tmp_path):
    history = []
    for step in range(120):
        history.append(rl(step=step, p=0.5, reward=random.random(), utility=None, length=9.0,
                          kl=0.0, approx_kl=1e-9, grad_norm=float("nan") if step % 9 else None))
    history[0]["eval_alone"] = 0.25
    measured = [{"step": 3, "x": 1.0}, {"step": 4, "x": float("nan")}, {"step": 5, "x": None},
                {"step": 6}, {"step": 7, "x": float("inf")}, {"step": 8, "x": 2.0}]
    assert report.series(measured, "x") == ([3, 8], [1.0, 2.0])
    for metrics in (history, history[:1], [], [{"phase": "sft", "step": 0, "loss": 1.0}]):
        path = tmp_path / "curves.png"
        report.draw_curves(metrics, path)
        assert path.read_bytes().startswith(b"\x89PNG")
        path.unlink()


@pytest.mark.parametrize("kl, shown", [(1e-7, False), (1e-3, True)])
def test_the_kl_has_a_panel_only_where_it_is_more_than_rounding(kl, shown):
    for field in ("kl", "approx_kl"):
        entries = [rl(kl=0.0, approx_kl=0.0, grad_norm=1.0), rl(**{field: kl})]
        titles = [title for title, _ in report.figure_panels(entries)]
        assert len(titles) == 6 and any("KL" in title for title in titles) == shown


def test_a_smoothed_curve_is_the_mean_of_neighbours_and_keeps_its_length():
    values = [random.Random(0).random() for _ in range(40)]
    assert report.smoothed(values, 0) == values
    found = report.smoothed(values, 3)
    assert len(found) == 40 and found[10] == pytest.approx(sum(values[7:14]) / 7)
    assert report.smoothed([0.3] * 9, 4) == pytest.approx([0.3] * 9)


def test_the_hash_of_questions_ignores_routes_and_nothing_else():
    def problems(answer="4", routes=()):
        return [Problem("2 + 2?", answer, list(routes)), Problem("3?", "3")]
    wanted = report.question_hash([problems()])
    assert report.question_hash([problems(routes=[Route("a", "4", True)])]) == wanted
    others = [problems("5"), problems()[:1], problems()[::-1], [Problem("\ud800", "3")]]
    assert wanted not in [report.question_hash([other]) for other in others]


def test_runs_are_found_by_their_questions_and_old_ones_by_all_their_problems(tmp_path):
    def folder(name, run, saved=None):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"run": run}))
        after = {"of": name, "alone": {"accuracy": 0.5, "interval": [0.4, 0.6]}}
        (tmp_path / name / "result.json").write_text(saved or json.dumps({"after": after}))
    folder("mine", {"problems": "A", "questions": "T"})
    folder("same", {"problems": "B", "questions": "T"})
    folder("other", {"problems": "A", "questions": "U"})
    folder("old", {"problems": "A"})
    folder("old-other", {"problems": "B"})
    folder("broken", {"problems": "A", "questions": "T"}, saved="{")
    folder("list", [])

    def found(record):
        others = report.other_runs(tmp_path / "mine", record)
        return {name: after["of"] for name, after in others.items()}
    assert found({"problems": "A", "questions": "T"}) == {"same": "same", "old": "old"}
    assert found({"problems": "A"}) == {"other": "other", "old": "old"}  # an old run, resumed


def test_the_closing_table_reads_as_in_the_readme():
    others = {"grpo-0": result(0.125, k=0), "k-1": result(0.25, k=1),
              "weak": result(0.5, teacher=0.1)}
    table = report.closing_table(result(0.0), result(0.75), others)
    assert table.splitlines() == [
        "accuracy on test problems   without routes          with 3 routes",
        "before                      0.000 [0.10, 0.90]      0.000 [0.10, 0.90]      ",
        "after                       0.750 [0.10, 0.90]      0.375 [0.10, 0.90]      ",
        "teacher, one route                                  0.250 [0.20, 0.30]",
        "majority vote, 3 routes                             0.500 [0.20, 0.80]",
        "grpo-0, after               0.125 [0.10, 0.90]      ",  # these saw other routes, or none
        "k-1, after                  0.250 [0.10, 0.90]      ",
        "weak, after                 0.500 [0.10, 0.90]      ",
        "utility scores tell right routes from wrong ones (AUC): 0.50 before, 0.50 after"]
    alone = report.closing_table(result(0.0, k=0), result(0.75, k=0), {"zero": result(0.5)})
    assert "with" not in alone.replace("without", "")
    assert "zero, after                 0.500" in alone


def test_precision_recall_and_f1_have_columns_only_in_a_yes_or_no_task():
    plain = {"a": {"test": result(0.5)}}
    assert "F1" not in report.results_table(plain)
    plain["b"] = {"test": result(0.5)}
    plain["b"]["test"]["alone"] |= {"precision": 0.25, "recall": 0.5, "f1": 0.125}
    lines = report.results_table(plain).splitlines()
    assert lines[0].endswith("P     R     F1") and lines[3].endswith("0.250 0.500 0.125")
    assert [line.split()[0] for line in lines[1:]] == ["a", "a", "b", "b", "teacher,", "majority"]


def test_a_sample_is_shown_whole_but_for_the_fixed_instruction():
    text = report.show_sample("Do this.\n\nProblem: 2 + 2?\n", "<answer>4</answer>", "R")
    assert "Do this" not in text and "Problem: 2 + 2?" in text and "<answer>4</answer>" in text


def test_results_are_named_after_the_bank_that_was_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "results_table", lambda results: "")
    found = {"tiny": {"test": {"questions": 4, "alone": {"accuracy": 0.5}}}}
    for bank, name in (("banks/my.jsonl", "realm_my_test_alone"), (None, "realm_shop_test_alone")):
        report.write_results(found, {"task": "shop", "bank": bank}, str(tmp_path / "e.json"), None)
        saved = json.loads((tmp_path / "e.json").read_text())
        assert list(saved["lm_eval"]["tiny"]["results"]) == [name]


@pytest.mark.parametrize("check, name", [
    (report.check_json, "result.json"), (report.check_json, "config.json"),
    (report.check_json, "model/config.json"), (report.check_figure, "curves.png")])
def test_what_a_run_keeps_for_itself_is_not_written_over(tmp_path, check, name):
    (tmp_path / "model").mkdir()
    for folder in (tmp_path, tmp_path / "model"):
        (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=f"--flag {tmp_path}/{name}: belongs to the run"):
        check("--flag", str(tmp_path / name))
    check("--flag", str(tmp_path / f"my-{Path(name).name}"))
    (tmp_path / "config.json").unlink()
    (tmp_path / "model" / "config.json").unlink()
    check("--flag", str(tmp_path / name))


def test_a_model_may_have_dollars_in_its_name(tmp_path):
    alone = {"accuracy": 0.5, "interval": (0.4, 0.6)}
    report.draw_comparison({"runs/a$b_$c": {"test": {"alone": alone}}}, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_results_are_also_under_the_names_that_users_of_lm_evaluation_harness_look_for():
    found = {"test": {"questions": 101, "alone": {"accuracy": 0.5}, "routes": {"accuracy": 1.0}},
             "ood": {"questions": 1, "alone": {"accuracy": 0.0}}}
    form = report.harness_form(found, "banks/my.jsonl")
    results = form["results"]
    assert results["realm_my_test_alone"] == {"alias": "realm_my_test_alone",
                                              "exact_match,none": 0.5,
                                              "exact_match_stderr,none": 0.05}
    assert results["realm_my_test_routes"]["exact_match_stderr,none"] == 0
    assert set(results) == set(form["n-samples"])
    assert form["n-samples"]["realm_my_test_alone"] == {"original": 101, "effective": 101}
    assert "realm_my_ood_routes" not in results
