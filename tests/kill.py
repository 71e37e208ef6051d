"""Kill a run again and again, then let it finish:

    python -m tests.kill [--kills 20] [--methods realm-zero realm-r1 rft kl] [--seed 0]

A process of its own trains and dies of SIGKILL, at a random moment or just before a random one of
its file operations (so that every gap in the writing of a checkpoint is met). Whatever was there
when it died, `train.py --resume RUN` must end with the same bytes as a run that nobody disturbed.
"""
import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

# Imported once, here: the processes below are forked, and start at once.
import matplotlib.pyplot  # noqa: E402, F401
import engine.run  # noqa: E402
import train  # noqa: E402

SMALL = ("--model tiny --steps 4 --prompts-per-step 6 --group-size 6 --max-new-tokens 60 "
         "--eval-limit 3 --limit 12 --eval-every 3 --save-every 2 --warmup 2 --lr 1e-3").split()
METHODS = {
    "realm-zero": ["--method", "realm-zero"],
    "realm-r1": ["--method", "realm-r1", "--sft-steps", "2"],
    "rft": ["--method", "rft", "--sft-steps", "5"],
    "remember": ["--method", "mrpv", "--remember", "--teacher-error", "0"],
    "kl": ["--method", "realm-r1", "--sft-steps", "2", "--beta", "0.1"]}
RESULTS = ("config.json", "before.json", "metrics.jsonl", "result.json", "model/model.safetensors")
# The audit events of file operations.
WRITES = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "open")


def trained(argv, folder, after_s=None, at_write=None):
    """Train in a new process -> (was it killed?, number of file operations in its folder). It is
    killed after after_s seconds or before its file operation number at_write, whichever is
    given."""
    counted, count = os.pipe()
    pid = os.fork()
    if not pid:
        def watch(event, args):
            if event in WRITES and str(folder) in str(args[0]):
                os.write(count, b".")
                watch.seen += 1
                if watch.seen == at_write:
                    os.kill(os.getpid(), signal.SIGKILL)

        watch.seen = 0
        status = 1
        sys.addaudithook(watch)
        try:
            with (open(os.devnull, "w") as null, contextlib.redirect_stdout(null),
                  contextlib.redirect_stderr(null)):
                train.main(argv)
            status = 0
        except SystemExit as stop:
            print(stop.code, file=sys.stderr)
        finally:
            os._exit(status)
    os.close(count)
    end = time.monotonic() + (after_s or 600)
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    status = ended[1]
    operations = len(os.read(counted, 2 ** 16))
    os.close(counted)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"{' '.join(argv)} failed"
    return os.WIFSIGNALED(status), operations


def differing(folder, whole):
    """The files that are not as the undisturbed run left them, and what should not be left
    behind."""
    def content(run, name):
        return (run / name).read_bytes().replace(str(run).encode(), b"RUN")

    left = [str(p.relative_to(folder)) for p in folder.rglob("*")
            if p.suffix in (".new", ".part")]
    names = [*RESULTS, *(str(p.relative_to(folder)) for p in folder.glob("checkpoint/*"))]
    return left + [name for name in names if not (whole / name).is_file()
                   or content(folder, name) != content(whole, name)]


def torment(method, kills, rng, work):
    """Kill runs of one method `kills` times in all -> (kills, runs that were finished, file
    operations of a run)."""
    whole, folder = work / "whole", work / "killed"
    begin = [*SMALL, *METHODS[method]]
    began = time.monotonic()
    _, operations = trained([*begin, "--out", str(whole)], whole)
    lasted = time.monotonic() - began
    log = engine.run.read_log(whole / "metrics.jsonl", 3)
    assert any(m["grad_norm"] for m in log), "the weights must move for this to show anything"
    done = finished = 0
    while done < kills or folder.exists():
        if (folder / "config.json").exists():
            argv = ["--resume", str(folder)]
        else:
            argv = [*begin, "--out", str(folder)]
        if done >= kills:
            how = {}
        elif rng.random() < 0.5:
            how = {"after_s": rng.uniform(0, lasted)}
        else:
            how = {"at_write": rng.randint(1, operations)}
        killed, _ = trained(argv, folder, **how)
        done += killed
        if not killed:
            wrong = ", ".join(differing(folder, whole))
            assert not wrong, f"{method}: after {done} kills {wrong} differ from an undisturbed run"
            finished += 1
            shutil.rmtree(folder)
    return done, finished, operations


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each method")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    for method in given.methods:
        with tempfile.TemporaryDirectory() as work:
            began = time.monotonic()
            rng = random.Random(f"{given.seed} {method}")
            done, finished, operations = torment(method, given.kills, rng, Path(work))
            seconds = time.monotonic() - began
            print(f"{method}: killed {done} times (a run has {operations} file operations); "
                  f"{finished} runs finished, each with the bytes of the undisturbed one; "
                  f"{seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
