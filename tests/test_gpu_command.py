"""The command that measures all that needs a GPU (results/gpu.py), tested without one."""
import argparse
import json
import shlex

import pytest

import train
from engine.flags import given_flags
from results import gpu


@pytest.fixture
def planned(capsys, tmp_path):
    """The commands that --dry-run prints, each a list of words."""
    gpu.main(["--dry-run", "--out", str(tmp_path / "gpu")])
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert not list(tmp_path.iterdir()), "a dry run writes nothing"
    return [shlex.split(command) for line in lines for command in line.split(" & ")]


def test_a_dry_run_prints_every_measurement_and_writes_nothing(planned):
    words = [" ".join(command) for command in planned]
    for wanted in ("Qwen2.5-0.5B-shape --method", "gpu/smollm2 --method", "--rows P4,P5,P6",
                   "tests.full_shape --device cuda", "results.bf16_drift", "results.formats"):
        assert sum(wanted in line for line in words) == 1
    seeds = [line.partition("--seed ")[2].split()[0] for line in words if "--task market" in line]
    assert sorted(seeds) == sorted(list("01234") * len(gpu.ARMS))
    assert sum(gpu.MINUTES.values()) < 30


def test_train_py_knows_every_flag_and_no_two_runs_share_a_folder(planned):
    runs = [command[2:] for command in planned if command[1] == "train.py"]
    configs = [given_flags(train.Config, "", arguments) for arguments in runs]
    assert len({config["out"] for config in configs}) == len(configs) > 15
    assert all(config["device"] == "cuda" for config in configs)


def test_without_a_gpu_and_with_an_unknown_part_one_line_says_so(tmp_path):
    with pytest.raises(SystemExit, match="no GPU here"):
        gpu.main(["--out", str(tmp_path / "gpu")])
    with pytest.raises(SystemExit, match="no part memory; there are readme, bench"):
        gpu.main(["--only", "bench,memory"])


def test_a_command_runs_once_and_its_failure_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    until = gpu.time.monotonic() + 60
    good = ("good", ["-c", "import os; print('ran', os.getpid())"])
    bad = ("bad", ["-c", "raise SystemExit('no memory')"])
    slow = ("slow", ["-c", "import time; time.sleep(60)"])
    assert gpu.run(good, tmp_path, until) is None
    first = (tmp_path / "logs" / "good.txt").read_text()
    assert gpu.run(good, tmp_path, until) is None
    assert (tmp_path / "logs" / "good.txt").read_text() == first
    assert gpu.run(bad, tmp_path, until) == "failed: no memory"
    assert gpu.run(slow, tmp_path, gpu.time.monotonic()) == "no time was left"


def test_a_training_run_that_was_cut_is_resumed_and_one_that_is_done_is_left_alone(
        tmp_path, monkeypatch):
    ran, folder = [], tmp_path / "some"

    def fake_run(arguments, **_):
        ran.append(arguments[1:])
        return argparse.Namespace(returncode=0)
    monkeypatch.setattr(gpu.subprocess, "run", fake_run)
    command = ("some", ["train.py", "--model", "tiny", "--out", str(folder)])
    until = gpu.time.monotonic() + 60
    gpu.run(command, tmp_path, until)
    folder.mkdir()
    for name in ("config.json", "result.json"):
        (folder / name).write_text("{}")
        gpu.run(command, tmp_path, until)
    assert ran == [command[1], ["train.py", "--resume", str(folder)]]


def test_the_tables_name_the_card_and_show_what_is_done_and_what_is_not(tmp_path):
    given = argparse.Namespace(out=str(tmp_path), parts=["bench", "market"])
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "bench.txt").write_text("P4  peak memory: 1.00 GiB\n")
    run = tmp_path / "market-ReaLM-0"
    run.mkdir()
    found = {"alone": {"accuracy": 0.25}, "routes": {"accuracy": 0.5, "score_auc": 0.75}}
    (run / "result.json").write_text(json.dumps({"before": found, "after": found}))
    step = {"phase": "rl", "step": 0, "step_s": 2.0, "sample_s": 1.5, "tokens_per_s": 100.0}
    (run / "timing.jsonl").write_text(json.dumps(step) + "\n")
    text = gpu.tables(given, "NVIDIA H200")
    assert text.count("NVIDIA H200") == 3
    assert "P4  peak memory: 1.00 GiB" in text
    assert "| ReaLM | 1 | 0.250 [0.250, 0.250] | 0.500 [0.500, 0.500] |" in text
    row = "| market-ReaLM-0 | 0.250 -> 0.250 | 0.500 -> 0.500 | 0.75 | 2.00 | 1.50 | 100.00 |"
    assert row in text
    assert "| market-GRPO-4 | not done |" in text
