"""The tables of results/: intervals, pairing by seed, runs that are missing."""
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from results import questions, sweep

RESULTS = Path(sweep.__file__).resolve().parent
OTHER_FILES = ("error_patterns", "error_patterns_hand", "formats")  # these are not of sweep.py
SWEEP_FILES = sorted(path for path in RESULTS.glob("*.json") if path.stem not in OTHER_FILES)


def saved(a, b):
    """What a JSON file holds of two arms, A and B, with these values of "alone" and no others."""
    nothing = {f: [None] * len(a) for f in sweep.FIGURES}
    return {
        "claim": "c",
        "arms": {
            "A": {**nothing, "alone": a},
            "B": {**nothing, "alone": b},
        },
        "contrasts": [("A - B", ("A", "alone"), ("B", "alone"))],
        "seeds": list(range(len(a))),
        "commit": ["x"],
    }


def stop_at_the_first_command(monkeypatch):
    """Let the next command of sweep.py raise KeyboardInterrupt -> a list that will hold it."""
    called = []

    def stopped(command, **_):
        called.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep.subprocess, "run", stopped)
    return called


# ---- tables --------------------------------------------------------------------------------------
def test_an_interval_is_students_t_over_seeds():
    # 2.776, from a table of t, * 0.15811 / sqrt(5)
    assert sweep.spread([0.1, 0.2, 0.3, 0.4, 0.5]) == "0.300 ± 0.196"
    assert sweep.spread([0.5, None]) == "0.500"
    assert sweep.spread([None]) == "-"


def test_contrasts_are_paired_by_seed_and_a_missing_run_pairs_with_nothing():
    text = sweep.table(saved([0.9, 0.5, 0.7, None], [0.4, 0.1, 0.2, 0.0]))
    # The differences are 0.5, 0.4 and 0.5. Half of the interval is 4.303 * 0.057735 / sqrt(3).
    assert "- A - B: **0.467 ± 0.143**" in text
    assert "| A | 3 | 0.700 ± 0.497 |" in text
    assert "| B | 4 |" in text


def test_a_figure_that_fewer_seeds_have_says_how_many_and_only_the_columns_of_the_sweep_are_shown():
    found = saved([0.9, 0.5, 0.7], [0.4, 0.1, 0.2])
    found["arms"]["A"] |= {"AUC": [0.5, None, 0.5], "vote": [0.1, 0.1, 0.1]}
    text = sweep.table({**found, "columns": ["alone", "AUC"]})
    assert "| arm | seeds | alone | AUC |" in text
    assert "| A | 3 | 0.700 ± 0.497 | 0.500 ± 0.000 (2) |" in text
    assert "| B | 3 | 0.233 ± 0.379 | - |" in text


@pytest.mark.parametrize("path", SWEEP_FILES, ids=lambda path: path.stem)
def test_the_page_shows_what_the_files_hold(path):
    found = json.loads(path.read_text())
    marks = f"<!-- {path.stem} -->\n(.*?)<!-- end -->"
    page = re.search(marks, (RESULTS / "README.md").read_text(), re.DOTALL)[1]
    assert sweep.table(found) in page
    assert (RESULTS / f"{path.stem}.png").exists()
    assert found["commit"]
    assert len(found["seeds"]) >= 1
    assert all("train.py" in command for command in found["commands"].values())


# ---- one run -------------------------------------------------------------------------------------
def test_what_makes_an_arm_wins_over_what_all_arms_are_given(monkeypatch, tmp_path):
    called = stop_at_the_first_command(monkeypatch)
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    monkeypatch.setattr(sweep, "commit", lambda: "x")
    with pytest.raises(KeyboardInterrupt):
        sweep.measure("--lr 1e-3", 0, more="--lr 1e-4 --steps 7")
    command = called[0]
    rates = [value for name, value in zip(command, command[1:]) if name == "--lr"]
    assert rates[-1] == "1e-3"
    assert "7" in command


def test_what_is_measured_does_not_depend_on_the_default_student(monkeypatch, tmp_path):
    called = stop_at_the_first_command(monkeypatch)
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    monkeypatch.setattr(sweep, "commit", lambda: "x")
    for more, last in (("", "tiny"), ("--model x", "x")):
        with pytest.raises(KeyboardInterrupt):
            sweep.measure("--lr 1e-3", 0, more=more)
        command = called[-1]
        students = [value for name, value in zip(command, command[1:]) if name == "--model"]
        assert students[0] == "tiny" and students[-1] == last
    for arms, _, _ in questions.QUESTIONS.values():
        assert all(arm.command().count("--model") == 1 for arm in arms())
    saved = [json.loads(path.read_text()) for path in RESULTS.glob("C*.json")]
    assert all("--model tiny" in c for found in saved for c in found["commands"].values())


def test_a_run_that_is_cut_has_noted_the_commit_it_began_at(monkeypatch, tmp_path):
    stop_at_the_first_command(monkeypatch)
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    monkeypatch.setattr(questions, "RUNS", tmp_path / "runs" / "questions")
    monkeypatch.setattr(sweep, "commit", lambda: "x")
    arm = questions.map_arms()[0]
    with pytest.raises(KeyboardInterrupt):
        sweep.measure("--steps 7", 0)
    with pytest.raises(KeyboardInterrupt):
        questions.measure(arm, 0)
    for folder in (sweep.folder_of("--steps 7", 0), arm.folder(0)):
        assert sweep.commit_file(folder).read_text() == "x"


def test_what_is_chosen_by_is_of_validation_questions_and_before_and_after_ask_the_same_ones(
        monkeypatch, tmp_path):
    folder = tmp_path / "runs" / "sweeps" / "steps-7-seed-0"
    folder.mkdir(parents=True)
    test = {"test": {"alone": {"accuracy": 0.1}, "routes": {"same_err": 0.2}}}
    validation = {"validation": {"alone": {"accuracy": 0.3}, "routes": {"same_err": 0.4}}}
    result = {"before": {"routes": {"same_err": 0.6}}, "after": {"routes": {"same_err": 0.5}}}
    (folder / "eval.json").write_text(json.dumps({"results": {"run": test}}))
    (folder / "validation.json").write_text(json.dumps({"results": {"run": validation}}))
    (folder / "result.json").write_text(json.dumps(result))
    monkeypatch.setattr(sweep, "ROOT", tmp_path)

    found = sweep.measure("--steps 7", 0)
    assert found["alone"] == 0.1
    assert found["SAME Err"] == 0.5  # eval.py asks other questions, so its 0.2 is not used
    assert found["SAME Err before"] == 0.6
    found = sweep.measure("--steps 7", 0, split="validation")
    assert found["alone"] == 0.3
    assert found["SAME Err"] is None
    assert found["SAME Err before"] is None

    (folder / "validation.json").unlink()
    called = stop_at_the_first_command(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        sweep.measure("--steps 7", 0, split="validation")
    asked = called[0]
    assert asked[asked.index("--split") + 1] == "validation"


# ---- a sweep -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name, split", [("rates", "validation"), ("scores", "validation"),
                                         ("C1", "test"), ("C6", "test")])
def test_a_sweep_to_choose_by_shows_no_figure_of_test_questions(tmp_path, name, split):
    arm, arguments = next(iter(sweep.SWEEPS[name][1].items()))
    nothing = dict.fromkeys(sweep.FIGURES)
    figures = {
        "test": {**nothing, "alone": 0.1, "commit": "test"},
        "validation": {**nothing, "alone": 0.3, "commit": "validation"},
    }
    results = {(arguments, 0, s): f for s, f in figures.items()}
    results[arguments, 1, split] = {**figures[split], "commit": "of another sweep's seed"}
    sweep.write(name, [0], results, "", tmp_path)
    saved = json.loads((tmp_path / f"{name}.json").read_text())
    assert saved["commit"] == [split]
    assert saved["arms"][arm]["alone"] == [figures[split]["alone"]]
    assert f"--split {split} " in saved["evaluation"]


BY_DEFAULT = {(12, "validation"), *((seed, "test") for seed in range(5))}
TOLD = {(7, "validation"), (7, "test")}


@pytest.mark.parametrize("flags, wanted", [([], BY_DEFAULT), (["--seeds", "7"], TOLD)],
                         ids=["by default", "--seeds 7"])
def test_what_is_chosen_by_has_seeds_of_its_own_unless_told_otherwise(
        monkeypatch, tmp_path, flags, wanted):
    asked = []

    def measure(arguments, seed, more, until, split):
        asked.append((seed, split))
        return {**dict.fromkeys(sweep.FIGURES, 0.5), "commit": "x"}

    monkeypatch.setattr(sweep, "measure", measure)
    command = ["sweep", "rates", "C10", "--out", str(tmp_path), *flags]
    monkeypatch.setattr(sweep.sys, "argv", command)
    sweep.main()
    assert set(asked) == wanted
    assert (tmp_path / "rates.png").exists()


def test_every_arm_is_a_command_line_that_train_py_accepts():
    import train
    for claim, arms, contrasts in sweep.SWEEPS.values():
        for arguments in arms.values():
            given = train.given_flags(train.Config, "", arguments.split())
            config = train.prepare(train.Config(**given, out="/nonexistent/run"), {})
            assert config.routes == 3, "every arm is evaluated with routes, too"
        for name, *pair in contrasts:
            for arm, figure in pair:
                assert arm in arms
                assert figure in sweep.FIGURES


def test_a_command_that_is_killed_without_a_word_is_named():
    with pytest.raises(SystemExit, match="it ended with code 7"):
        sweep.python("-c", "import os; os._exit(7)")


@pytest.mark.parametrize("now, text, expected", [
    ("2026-11-29 21:00", "23:30", "2026-11-29 23:30"),
    ("2026-11-29 23:50", "02:00", "2026-11-30 02:00"),
    ("2026-11-29 02:00", "02:00", "2026-11-30 02:00"),
])
def test_until_is_the_next_time_that_the_clock_shows_it(monkeypatch, now, text, expected):
    class Clock(datetime):
        @classmethod
        def now(cls):
            return cls.fromisoformat(now)

    monkeypatch.setattr(sweep, "datetime", Clock)
    assert sweep.next_time(text) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("flags, said", [
    (["C1", "--redraw"], "C1.json is not there yet"),
    (["C9", "--more", "--model x"], "C9 has another task"),
    (["C1", "--until", "25 o'clock"], "--until"),
])
def test_what_cannot_be_done_is_said_in_one_line(monkeypatch, tmp_path, capsys, flags, said):
    monkeypatch.setattr(sweep.sys, "argv", ["sweep", *flags, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        sweep.main()
    told = f"{stopped.value} {capsys.readouterr().err}"
    assert said in told and "Traceback" not in told
    assert not list(tmp_path.iterdir())
