"""The tables of results/: intervals, pairing by seed, runs that are missing."""
import json
import re
from pathlib import Path

import pytest

from results import sweep

RESULTS = Path(sweep.__file__).resolve().parent


def saved(a, b):
    nothing = {f: [None] * len(a) for f in sweep.FIGURES}
    return {"claim": "c", "arms": {"A": {**nothing, "alone": a}, "B": {**nothing, "alone": b}},
            "contrasts": [("A - B", ("A", "alone"), ("B", "alone"))], "seeds": list(range(len(a))), "commit": ["x"]}


def test_an_interval_is_students_t_over_seeds():
    assert sweep.spread([0.1, 0.2, 0.3, 0.4, 0.5]) == "0.300 ± 0.196"  # 2.776 * 0.15811 / sqrt(5), from a table of t
    assert sweep.spread([0.5, None]) == "0.500" and sweep.spread([None]) == "-"


def test_contrasts_are_paired_by_seed_and_a_missing_run_pairs_with_nothing():
    text = sweep.table(saved([0.9, 0.5, 0.7, None], [0.4, 0.1, 0.2, 0.0]))
    assert "- A - B: **0.467 ± 0.143**" in text  # differences 0.5, 0.4, 0.5: 4.303 * 0.057735 / sqrt(3)
    assert "| A | 3 | 0.700 ± 0.497 |" in text and "| B | 4 |" in text


def test_a_figure_that_fewer_seeds_have_says_how_many_and_only_the_columns_of_the_sweep_are_shown():
    found = saved([0.9, 0.5, 0.7], [0.4, 0.1, 0.2])
    found["arms"]["A"] |= {"AUC": [0.5, None, 0.5], "vote": [0.1, 0.1, 0.1]}
    text = sweep.table({**found, "columns": ["alone", "AUC"]})
    assert "| arm | seeds | alone | AUC |" in text and "| A | 3 | 0.700 ± 0.497 | 0.500 ± 0.000 (2) |" in text and "| B | 3 | 0.233 ± 0.379 | - |" in text


@pytest.mark.parametrize("path", sorted(p for p in RESULTS.glob("*.json") if p.stem not in ("error_patterns", "error_patterns_hand", "formats")), ids=lambda p: p.stem)
def test_the_page_shows_what_the_files_hold(path):
    found = json.loads(path.read_text())
    page = re.search(f"<!-- {path.stem} -->\n(.*?)<!-- end -->", (RESULTS / "README.md").read_text(), re.DOTALL)[1]
    assert sweep.table(found) in page and (RESULTS / f"{path.stem}.png").exists()
    assert found["commit"] and len(found["seeds"]) >= 1 and all("train.py" in command for command in found["commands"].values())


def test_what_makes_an_arm_wins_over_what_all_arms_are_given(monkeypatch, tmp_path):
    called = []

    def stopped(command, **_):
        called.append(command)
        raise KeyboardInterrupt
    monkeypatch.setattr(sweep.subprocess, "run", stopped)
    monkeypatch.setattr(sweep, "ROOT", tmp_path), monkeypatch.setattr(sweep, "commit", lambda: "x")
    with pytest.raises(KeyboardInterrupt):
        sweep.measure("--lr 1e-3", 0, more="--lr 1e-4 --steps 7")
    assert [value for name, value in zip(called[0], called[0][1:]) if name == "--lr"][-1] == "1e-3" and "7" in called[0]


def test_what_is_chosen_by_is_of_validation_questions_and_before_and_after_ask_the_same_ones(monkeypatch, tmp_path):
    folder = tmp_path / "runs" / "sweeps" / "steps-7-seed-0"
    folder.mkdir(parents=True)
    for name, result in (("eval.json", {"test": {"alone": {"accuracy": 0.1}, "routes": {"same_err": 0.2}}}),
                         ("validation.json", {"validation": {"alone": {"accuracy": 0.3}, "routes": {"same_err": 0.4}}})):
        (folder / name).write_text(json.dumps({"results": {"run": result}}))
    (folder / "result.json").write_text(json.dumps({w: {"routes": {"same_err": e}} for w, e in (("before", 0.6), ("after", 0.5))}))
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    test, validation = sweep.measure("--steps 7", 0), sweep.measure("--steps 7", 0, split="validation")
    assert (test["alone"], test["SAME Err"], test["SAME Err before"]) == (0.1, 0.5, 0.6)  # eval.py asks other questions: not its 0.2
    assert (validation["alone"], validation["SAME Err"], validation["SAME Err before"]) == (0.3, None, None)
    (folder / "validation.json").unlink()
    asked = []

    def stopped(command, **_):
        asked.extend(command)
        raise KeyboardInterrupt
    monkeypatch.setattr(sweep.subprocess, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.measure("--steps 7", 0, split="validation")
    assert asked[asked.index("--split") + 1] == "validation"


@pytest.mark.parametrize("name, split", [("rates", "validation"), ("scores", "validation"), ("C1", "test"), ("C6", "test")])
def test_a_sweep_to_choose_by_shows_no_figure_of_test_questions(tmp_path, name, split):
    arm, arguments = next(iter(sweep.SWEEPS[name][1].items()))
    figures = {s: {**dict.fromkeys(sweep.FIGURES), "alone": value, "commit": s} for s, value in (("test", 0.1), ("validation", 0.3))}
    other = {(arguments, 1, split): {**figures[split], "commit": "of another sweep's seed"}}
    sweep.write(name, [0], {(arguments, 0, s): f for s, f in figures.items()} | other, "", tmp_path)
    saved = json.loads((tmp_path / f"{name}.json").read_text())
    assert saved["commit"] == [split]
    assert saved["arms"][arm]["alone"] == [figures[split]["alone"]] and f"--split {split} " in saved["evaluation"]


def test_what_is_chosen_by_has_seeds_of_its_own_unless_told_otherwise(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(sweep, "measure", lambda arguments, seed, more, until, split: (
        asked.append((seed, split)), {**dict.fromkeys(sweep.FIGURES, 0.5), "commit": "x"})[1])
    for flags, wanted in (([], {(12, "validation"), *((s, "test") for s in range(5))}), (["--seeds", "7"], {(7, "validation"), (7, "test")})):
        asked.clear()
        monkeypatch.setattr(sweep.sys, "argv", ["sweep", "rates", "C10", "--out", str(tmp_path), *flags])
        sweep.main()
        assert set(asked) == wanted and (tmp_path / "rates.png").exists()


def test_every_arm_is_a_command_line_that_train_py_accepts():
    import train
    for claim, arms, contrasts in sweep.SWEEPS.values():
        for arguments in arms.values():
            train.prepare(train.Config(**train.given_flags(train.Config, "", arguments.split()), out="/nonexistent/run"), {})
        assert all(arm in arms and figure in sweep.FIGURES for _, *pair in contrasts for arm, figure in pair)
