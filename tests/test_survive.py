"""Runs that are cut, numbers that go wrong, and what a continued run may change."""
import dataclasses
import errno
import fcntl
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import engine.run
import eval as evaluation
import grpo
import train
from tasks import shop
from data import load_problems, make_routes
from engine.files import write_json, write_whole
from engine.flags import for_the_record
from engine.policy import resolve_model
from engine.run import resume
from helpers import by_hand, small_model, write_bank
from test_train import refused

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--model tiny --steps 4 --prompts-per-step 6 --group-size 6 --max-new-tokens 60 "
         "--eval-limit 2 --limit 12 --eval-every 2 --save-every 2 --warmup 1 --lr 1e-3").split()
RESULTS = ("metrics.jsonl", "before.json", "result.json", "model/model.safetensors")


def run(folder, *flags):
    train.main([*SMALL, "--out", str(folder), *flags])
    return folder


def go_on(folder, *flags):
    train.main(["--resume", str(folder), *flags])


def results(folder):
    return [(folder / name).read_bytes() for name in RESULTS]


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def checkpoints(folder):
    return sorted(int(p.name[:6]) for p in (folder / "checkpoint").glob("*.safetensors"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    torch.set_num_threads(1)
    folder = run(tmp_path_factory.mktemp("whole") / "run")
    # Without a gradient in its second half, the run would prove nothing.
    assert any(m["grad_norm"] for m in metrics(folder)[2:])
    return folder


@pytest.fixture
def folder(undisturbed, tmp_path):
    return Path(shutil.copytree(undisturbed, tmp_path / "copy"))


# ---- runs that are cut ---------------------------------------------------------------------------
def test_a_run_killed_anywhere_ends_with_the_bytes_of_an_undisturbed_one():
    command = [sys.executable, "-m", "tests.kill", "--kills", "2", "--methods", "kl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "killed 2 times" in done.stdout, said


def damage_a_byte(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [
    damage_a_byte, lambda p: os.truncate(p, 1000), lambda p: p.write_bytes(b"")],
    ids=["one bit", "half written", "empty"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(undisturbed, folder, capsys,
                                                                    damage):
    damage(max((folder / "checkpoint").glob("*")))
    go_on(folder)
    assert "damaged" in capsys.readouterr().out
    assert results(folder) == results(undisturbed)
    assert checkpoints(folder) == [2, 4]


def test_files_in_the_checkpoint_folder_that_are_not_ours_stay(undisturbed, folder):
    ours = max((folder / "checkpoint").glob("*"))
    shutil.copy(ours, ours.with_name("good-step.safetensors"))
    (folder / "checkpoint" / "keep").mkdir()
    go_on(folder)
    left = {path.name for path in (folder / "checkpoint").glob("*")}
    assert left == {path.name for path in (undisturbed / "checkpoint").glob("*")} | {
        "good-step.safetensors", "keep"}


def test_a_run_that_begins_where_another_one_has_begun_in_the_meantime_is_refused(
        tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"

    def meanwhile(*args, **more):
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(train, "evaluate_student", meanwhile)
    assert "another run has begun there" in refused(capsys, *SMALL, "--out", str(out))
    assert (out / "config.json").read_text() == "{}"


def test_two_processes_do_not_run_in_one_folder(folder, tmp_path, capsys):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for flags in (["--resume", str(folder)], [*SMALL, "--out", str(tmp_path / "new")]):
        (tmp_path / "new").mkdir(exist_ok=True)
        other = os.open(flags[-1], os.O_RDONLY)  # the other process
        fcntl.flock(other, fcntl.LOCK_EX)
        assert f"{flags[-1]}: a run is going on in this folder" in refused(capsys, *flags)
        os.close(other)
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert (tmp_path / "new").is_dir()  # it is the other one's
    with engine.run.alone_in(folder):
        with pytest.raises(ValueError, match="a run is going on"), engine.run.alone_in(folder):
            pass
    go_on(folder)


def test_a_file_system_without_locks_is_no_reason_not_to_run(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with engine.run.alone_in(tmp_path / "run"):
        (tmp_path / "run" / "config.json").write_text("{}")
    assert (tmp_path / "run" / "config.json").is_file()


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, capsys):
    (tmp_path / "bank.jsonl").write_text('{"question": "a", "answer": "1"}\n')
    refused(capsys, *SMALL, "--bank", str(tmp_path / "bank.jsonl"), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_while_a_finished_run_becomes_longer_its_old_student_and_results_are_not_taken_for_the_new(
        folder, monkeypatch, capsys):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "rl_step", stop)
        refused(capsys, "--resume", str(folder), "--steps", "5")
    assert not (folder / "result.json").exists()
    with pytest.raises(ValueError, match="not finished, so its model/ is not there or older"):
        resolve_model(str(folder))
    go_on(folder)
    assert resolve_model(str(folder)) == str(folder / "model") and len(metrics(folder)) == 5


def test_the_command_to_go_on_can_be_pasted_whatever_the_folder_is_called(tmp_path, monkeypatch):
    out = tmp_path / "my run"

    def stopped(*args):
        out.mkdir()
        (out / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stopped)
    with pytest.raises(SystemExit) as stop:
        train.main(["--out", str(out)])
    assert shlex.split(str(stop.value).partition("; go on with: ")[2])[-1] == str(out)


def test_a_tokenizer_that_finds_the_disk_full_raises_the_error_of_a_full_disk(tmp_path):
    def full(folder):
        raise Exception("No space left on device (os error 28)")

    model = SimpleNamespace(save_pretrained=lambda folder: None)
    with pytest.raises(OSError, match="model: No space left"):
        engine.run.save_student(model, SimpleNamespace(save_pretrained=full), tmp_path / "model")


def test_the_history_is_what_the_log_holds(tmp_path):
    entry = engine.run.append_line(tmp_path / "log", {"a": 0.12345678, "b": math.nan, "n": 3})
    assert entry == {"a": 0.123457, "b": None, "n": 3}
    assert engine.run.read_log(tmp_path / "log", 1) == [entry]
    run = object.__new__(engine.run.Run)
    run.folder, run.history, run.done = tmp_path, [], 0
    run.log({"phase": "rl", "step": 0, "approx_kl": 0.12345678}, {"step_s": 1.0})
    assert run.history == engine.run.read_log(tmp_path / "metrics.jsonl", 1)


def test_a_run_without_a_whole_checkpoint_says_so_and_loses_nothing(folder, capsys):
    for path in (folder / "checkpoint").glob("*"):
        damage_a_byte(path)
    before = results(folder)
    assert "damaged" in refused(capsys, "--resume", str(folder))
    assert results(folder) == before


def test_a_full_disk_is_one_line_and_nothing_is_lost(undisturbed, tmp_path, monkeypatch, capsys):
    real = engine.run.save_file
    out = tmp_path / "run"

    def full(tensors, path):
        if not checkpoints(out):
            return real(tensors, path)
        Path(path).write_bytes(b"half of it")
        raise train.SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(engine.run, "save_file", full)
    said = refused(capsys, *SMALL, "--out", str(out))
    assert "No space left" in said and f"--resume {out}" in said
    # No half file is left to fill the disk.
    assert [p.name[:6] for p in (out / "checkpoint").iterdir()] == ["000002"]
    monkeypatch.setattr(engine.run, "save_file", real)
    go_on(out)
    assert results(out) == results(undisturbed)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(undisturbed, tmp_path, monkeypatch,
                                                              capsys, sent):
    real = train.rl_step
    handlers = signal.getsignal(signal.SIGINT)
    out = tmp_path / "run"

    def interrupted(*args):
        if args[6] == 2:
            os.kill(os.getpid(), sent)
        return real(*args)

    monkeypatch.setattr(train, "rl_step", interrupted)
    said = refused(capsys, *SMALL, "--out", str(out))
    assert f"--resume {out}" in said
    assert checkpoints(out) == [2, 3] and len(metrics(out)) == 3
    assert signal.getsignal(signal.SIGINT) is handlers
    monkeypatch.setattr(train, "rl_step", real)
    go_on(out)
    assert results(out) == results(undisturbed)


def test_a_notebooks_own_thread_may_train_too():
    def handlers():
        with train.stop_after_step():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as elsewhere:  # where Python lets no handler be set
        there = elsewhere.submit(handlers).result()
        assert there is signal.getsignal(signal.SIGINT) is not handlers()


def test_a_run_cut_before_its_first_checkpoint_begins_again(undisturbed, folder):
    shutil.rmtree(folder / "checkpoint")
    (folder / "before.json").unlink()
    (folder / "metrics.jsonl").write_text('{"phase": "rl", "st')
    go_on(folder)
    assert results(folder) == results(undisturbed)


def test_a_run_cut_after_its_last_step_still_writes_its_model_and_its_result(undisturbed, folder):
    shutil.rmtree(folder / "model")
    (folder / "result.json").unlink()
    go_on(folder)
    assert results(folder) == results(undisturbed)


def test_a_log_that_lacks_steps_is_refused_not_patched(folder, capsys):
    (folder / "metrics.jsonl").write_text("{}\n")
    assert "1 whole lines" in refused(capsys, "--resume", str(folder))
    assert (folder / "metrics.jsonl").read_text() == "{}\n"


# ---- what a continued run may change -------------------------------------------------------------
@pytest.mark.parametrize("flags, named", [
    (["--lr", "0.1"], "--lr 0.001"),
    (["--seed", "7"], "--seed 0"),
    (["--method", "grpo"], "--method realm-zero"),
    (["--one-stage"], "--one-stage False"),
    (["--eval-every", "3"], "--eval-every 2"),
    (["--out", "elsewhere"], "--out"),
    (["--steps", "3"], "not shorter"),
    (["--micro-batch", "0"], "--micro-batch"),
    (["--device", "cuda:9"], "cuda"),
], ids=" ".join)
def test_a_flag_that_would_make_it_another_run_is_refused_by_name(folder, capsys, flags, named):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert named in refused(capsys, "--resume", str(folder), *flags)
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_folder_may_be_written_as_the_shell_completes_it(folder):
    go_on(f"{folder}/")
    go_on(f"{folder.parent}/./{folder.name}")


def test_harmless_changes_are_allowed_and_recorded(undisturbed, folder):
    # The last two flags change nothing.
    go_on(folder, "--save-every", "3", "--recompute", "--lr", "0.001", "--device", "cpu")
    assert results(folder) == results(undisturbed)
    changes = json.loads((folder / "config.json").read_text())["run"]["changes"]
    assert changes == [{"save_every": [2, 3], "recompute": [False, True]}]


def test_more_steps_leave_the_schedule_of_those_that_are_done_as_it_was(undisturbed, folder):
    go_on(folder, "--steps", "6")
    longer = metrics(folder)
    config = json.loads((folder / "config.json").read_text())
    assert longer[:4] == metrics(undisturbed) and [m["p"] for m in longer[4:]] == [0.0, 0.0]
    assert config["steps"] == 6 and config["fade"] == pytest.approx(0.95 * 4 / 6)
    assert config["run"]["changes"] == [{"steps": [4, 6], "fade": [0.95, config["fade"]]}]
    assert checkpoints(folder) == [4, 6]  # two, never more


def test_a_run_that_became_longer_may_be_asked_for_with_the_fade_that_it_was_begun_with(folder,
                                                                                       capsys):
    recorded = json.loads((folder / "config.json").read_text())
    for steps in (5, 6):
        given = {"resume": str(folder), "steps": steps, "fade": 0.95}
        config, record = resume(given, train.Config)
        write_json(folder / "config.json", {**for_the_record(config), "run": record})
    assert config.fade == pytest.approx(0.95 * 4 / 6) and recorded["fade"] == 0.95
    # A run that became longer before the fade was recorded.
    record["changes"] = [{"steps": change["steps"]} for change in record["changes"]]
    assert engine.run.first_fade(config, record["changes"]) == 0.95
    assert "begun with --fade 0.95;" in refused(capsys, "--resume", str(folder), "--fade", "0.9")
    write_json(folder / "config.json", {**recorded, "method": "grpo"})  # it has no fade
    config, record = resume({"resume": str(folder), "steps": 5, "fade": 0.95}, train.Config)
    assert config.fade == 0.95 and record["changes"] == [{"steps": [4, 5]}]


def test_a_bank_that_was_moved_is_asked_for_and_its_new_place_is_taken(tmp_path, capsys):
    bank = tmp_path / "old.jsonl"
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    write_bank(bank, problems)
    run = tmp_path / "run"
    train.main(["--bank", str(bank), "--steps", "1", "--prompts-per-step", "2", "--eval-limit",
                "4", "--max-new-tokens", "8", "--processes", "1", "--out", str(run)])
    bank.rename(tmp_path / "new.jsonl")
    said = refused(capsys, "--resume", str(run), "--steps", "2")
    assert f"its bank {bank} is not there" in said and "--bank" in said
    with pytest.raises(ValueError, match=f"the bank of this run, {bank}, is not there.*--bank"):
        evaluation.prepare(evaluation.Config(models=[str(run)]))
    train.main(["--resume", str(run), "--steps", "2", "--bank", str(tmp_path / "new.jsonl")])
    assert len(metrics(run)) == 2
    assert json.loads((run / "config.json").read_text())["bank"] == str(tmp_path / "new.jsonl")
    other = tmp_path / "other.jsonl"
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(seed=1), 3)
    write_bank(other, problems)
    said = refused(capsys, "--resume", str(run), "--steps", "3", "--bank", str(other))
    assert "gives other problems or routes" in said


def test_a_models_folder_is_not_called_a_run_of_another_version(folder, capsys):
    said = refused(capsys, "--resume", str(folder / "model"))
    assert "holds a model, and is not the folder of a run" in said


def test_a_run_begun_without_rl_steps_keeps_its_fade_when_it_gets_some(tmp_path):
    begun = dataclasses.asdict(train.Config(steps=0, out=str(tmp_path)))
    begun["run"] = {"format": engine.run.FORMAT, "changes": []}
    (tmp_path / "config.json").write_text(json.dumps(begun))
    longer, _ = resume({"resume": str(tmp_path), "steps": 300}, train.Config)
    assert longer.steps == 300 and longer.fade == 0.95


def test_a_run_from_before_there_were_helpers_goes_on_without_any(tmp_path, monkeypatch, capsys):
    whole = run(tmp_path / "whole", "--processes", "1")
    real = train.rl_step

    def cut(*args):
        if args[6] == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train, "rl_step", cut)
    refused(capsys, *SMALL, "--processes", "1", "--out", str(tmp_path / "cut"))
    monkeypatch.setattr(train, "rl_step", real)
    path = tmp_path / "cut" / "config.json"
    stored = json.loads(path.read_text())
    assert stored.pop("processes") == 1
    path.write_text(json.dumps(stored))
    go_on(tmp_path / "cut")
    assert results(tmp_path / "cut") == results(whole)


@pytest.mark.parametrize("text, named", [
    (lambda t: t.replace('"format": 2', '"format": 1'), "another version"),
    (lambda t: t[:100], "damaged"),
    (lambda t: "[]", "damaged"),
    (lambda t: t.replace('"lr"', '"learning"'), "damaged"),
    (lambda t: t.replace('"tiny"', '"tiny-ads"'), "another shape"),
], ids=["another format", "half", "a list", "another field", "another model"])
def test_a_run_folder_that_is_not_ours_is_refused(folder, capsys, text, named):
    path = folder / "config.json"
    path.write_text(text(path.read_text()))
    assert named in refused(capsys, "--resume", str(folder))


def test_another_bank_is_refused_and_the_same_one_written_otherwise_is_not(tmp_path, capsys):
    problems = []
    for split in ("train", "validation", "test"):
        problems += load_problems("shop", split, 12)
    lines = [json.dumps(dataclasses.asdict(p)) for p in make_routes(problems, shop.teacher(), 3)]
    bank = tmp_path / "bank.jsonl"
    flags = ["--steps", "1", "--max-new-tokens", "4", "--eval-every", "0", "--eval-limit", "40"]
    bank.write_text("\n".join(lines))
    run(tmp_path / "run", "--bank", str(bank), *flags)
    bank.write_text("\n\n".join(lines) + "\r\n")
    go_on(tmp_path / "run")
    bank.write_text("\n".join([lines[0].replace("sum", "makes"), *lines[1:]]))
    assert "other problems or routes" in refused(capsys, "--resume", str(tmp_path / "run"))


def test_the_number_of_threads_is_the_runs_own(undisturbed, tmp_path):
    torch.set_num_threads(2)
    out = run(tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    assert torch.get_num_threads() == 1 == config["threads"]
    assert results(out) == results(undisturbed)


# ---- files ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, error):
    path = tmp_path / "result.json"
    write_json(path, "before")

    def half(new):
        new.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_whole(path, half)
    assert json.loads(path.read_text()) == "before" and list(tmp_path.iterdir()) == [path]


# ---- numbers that go wrong -----------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [
    lambda loss: loss * math.nan,
    lambda loss: loss * math.inf,
    lambda loss: loss.detach() * 0 + math.inf + loss,
], ids=["nan", "inf", "inf, with a finite gradient"])
def test_a_step_without_a_number_changes_nothing_and_is_counted(monkeypatch, wrong):
    model = small_model()
    real = grpo.grpo_loss
    optimizer = grpo.Optimizer(model, 0.1)
    rollouts = by_hand(model)
    advantages = torch.tensor([[1.0, -1.0, 0.5, -0.5]] * 3)
    before = [p.detach().clone() for p in model.parameters()]

    def broken(*args, **settings):
        loss, stats = real(*args, **settings)
        return wrong(loss), stats

    monkeypatch.setattr(grpo, "grpo_loss", broken)
    found = grpo.grpo_update(model, optimizer, rollouts, advantages)
    assert found["skipped"] == 1 and optimizer.steps == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    monkeypatch.setattr(grpo, "grpo_loss", real)
    # Nothing of the skipped step is left behind.
    found = grpo.grpo_update(model, optimizer, rollouts, advantages)
    assert found["skipped"] == 0 and math.isfinite(found["grad_norm"]) and optimizer.steps == 1
    assert all(p.isfinite().all() for p in model.parameters())


def test_weights_that_are_no_numbers_are_noticed_also_where_nothing_they_write_is_rewarded():
    model = small_model()
    rollouts = by_hand(small_model())

    def skipped(advantages):
        optimizer = grpo.Optimizer(model, 0.1)
        return grpo.grpo_update(model, optimizer, rollouts, advantages)["skipped"]

    assert skipped(torch.zeros(3, 4)) == 0
    rollouts.logps[0, 0] = math.nan
    assert skipped(torch.zeros(3, 4)) == 1
    # Where something is rewarded, its step is skipped, and it is counted once.
    assert skipped(torch.tensor([[1.0, -1.0, 0.5, -0.5]] * 3)) == 1


def test_after_five_such_steps_in_a_row_the_run_stops_with_a_checkpoint_and_a_hint(
        tmp_path, monkeypatch, capsys):
    real = train.sft_update
    out = tmp_path / "run"

    def broken(model, optimizer, rollouts, micro_batch, weight=1.0):
        if optimizer.steps >= 2:
            param = next(iter(model.parameters()))
            param.grad = torch.full_like(param, math.nan)
        return real(model, optimizer, rollouts, micro_batch)

    monkeypatch.setattr(train, "sft_update", broken)
    said = refused(capsys, *SMALL, "--out", str(out), "--method", "rft", "--sft-steps", "20")
    assert "5 steps in a row" in said and "--lr" in said
    assert [m["skipped"] for m in metrics(out)] == [0, 0, 1, 1, 1, 1, 1]
    assert checkpoints(out) == [6, 7]
    assert metrics(out)[2]["grad_norm"] is None  # JSON has no nan
    _, state = engine.run.load_checkpoint(out)
    assert all(tensor.isfinite().all() for tensor in state.values())


HEALTHY = {"phase": "rl", "truncated": 0.1, "entropy": 0.3, "live": 0.4, "answer": 0.2,
           "format": 0.9}


@pytest.mark.parametrize("signs, cure", [
    ({}, None),
    ({"truncated": 1.0}, "--max-new-tokens"),
    ({"entropy": 0.001}, "--clip-high"),
    ({"live": 0.0}, "--routes"),
    ({"live": 0.0, "entropy": 0.001, "answer": 1.0}, None),
    ({"entropy": 0.001, "answer": 0.7}, None),
], ids=str)
def test_a_collapsed_run_is_named_with_its_cure_and_a_finished_one_is_not_called_ill(signs, cure):
    ill = [{**HEALTHY, **signs}] * 20
    found = engine.run.diagnosis(ill)
    assert found is None if cure is None else cure in found
    # A bad moment is not enough.
    assert engine.run.diagnosis(ill[1:]) is None
    assert engine.run.diagnosis([HEALTHY] * 10 + ill[:10]) is None


def test_it_is_named_once(folder, monkeypatch, capsys):
    def diagnosis(history):
        return "ILL: the cure" if len(history) > 4 else None

    monkeypatch.setattr(engine.run, "diagnosis", diagnosis)
    go_on(folder, "--steps", "7")
    assert capsys.readouterr().out.count("ILL: the cure") == 1


def test_a_run_that_goes_on_is_not_explained(folder, capsys):
    assert "without --resume" in refused(capsys, "--resume", str(folder), "--explain")


def test_an_addresss_query_is_hidden_in_the_record_and_is_no_other_flag_on_resume(tmp_path):
    config = train.Config(teacher="https://host/v1?key=secret", model="tiny", out=str(tmp_path))
    path = tmp_path / "config.json"
    record = {"format": engine.run.FORMAT, "changes": []}
    path.write_text(json.dumps({**for_the_record(config), "run": record}))
    given = {"resume": str(tmp_path), "teacher": "https://host/v1?key=secret"}
    found, record = engine.run.resume(given, train.Config)
    assert "secret" not in path.read_text()
    assert found.teacher == "https://host/v1?key=secret" and not record["changes"]
    # Without the flag the address is the hidden one, which server_teacher refuses.
    found, _ = engine.run.resume({"resume": str(tmp_path)}, train.Config)
    assert found.teacher == "https://host/v1?key=(hidden)"
    with pytest.raises(ValueError, match="begun with --teacher"):
        engine.run.resume({**given, "teacher": "https://other/v1"}, train.Config)
