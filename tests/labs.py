"""Run every command of docs/labs in a copy of the project: python -m tests.labs [--fast] [LAB...]

A block of a lab that begins with ```bash is run, all blocks of one lab in one copy, in their order.
Lines of a ```text block that follows it must be in what it printed. --fast runs only plain blocks,
which take a moment, and leaves out those marked slow (seconds) and long (minutes).
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from tasks.exercises import copy_project  # noqa: E402

LABS = ROOT / "docs" / "labs"
BLOCK = re.compile(r"^```(bash|text)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(path):
    """The blocks of a lab -> list of (kind, code, lines that must be printed).

    kind: "" (a moment), "slow" or "long".
    """
    blocks = []
    for language, kind, body in BLOCK.findall(path.read_text()):
        if language == "bash":
            blocks.append((kind.strip(), body, []))
        elif blocks:
            blocks[-1][2].extend(body.splitlines())
    return blocks


def copy_of_project(folder):
    """A copy of the project, with a `python` that is this one -> (folder, environment)."""
    copy = Path(folder) / "project"
    copy_project(copy)
    tools = Path(folder) / "bin"
    tools.mkdir()
    python = tools / "python"  # not a link: a linked python would not find its environment
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return copy, os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def run_lab(path, kinds, say=print):
    """Run the blocks of these kinds of one lab -> list of what was wrong, in words."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        copy, environment = copy_of_project(folder)
        for kind, code, wanted in blocks_of(path):
            if kind not in kinds:
                continue
            done = subprocess.run(["bash", "-eu"], input=code, cwd=copy, env=environment, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            say(f"{path.name}: {code.splitlines()[0]} ...\n{done.stdout}")
            if done.returncode:
                wrong.append(f"{path.name}: exit {done.returncode} "
                             f"of\n{code}\n{done.stdout[-2000:]}")
            for line in wanted:
                if line not in done.stdout.splitlines():
                    wrong.append(f"{path.name}: not printed any more: "
                                 f"{line}\n{done.stdout[-2000:]}")
    return wrong


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="only blocks that take a moment")
    parser.add_argument("--no-long", action="store_true", help="leave out blocks that take minutes")
    parser.add_argument("labs", nargs="*", help="numbers or names of labs (default: all)")
    args = parser.parse_args()
    kinds = {""} if args.fast else {"", "slow"} if args.no_long else {"", "slow", "long"}
    wrong = []
    for path in sorted(LABS.glob("*.md")):
        if not args.labs or any(path.name.startswith(lab) for lab in args.labs):
            wrong += run_lab(path, kinds)
    print("\n".join(wrong) or "every command of the labs does what they say")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
