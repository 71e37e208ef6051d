"""Write it yourself: chosen functions of the project, emptied to their docstrings, and a teacher.

    python -m tasks.exercises --list                         the functions, in their order
    python -m tasks.exercises --start DIR                    a copy of the project without them
    python -m tasks.exercises --check DIR                    what is right, and what not yet
    python -m tasks.exercises --check DIR --only grpo_loss   the same of one function

Promise: what you get to hear is a sentence about your function, and never a stack trace.
To read: `main`; tasks/exercise_checks.py says what is asked of each function.
Held to it by tests/test_exercises.py.

Both --start and --check take --only with one or more names. The right results come from the
project's own functions, so there is no second copy of a solution. What is asked of each function
is in tasks/exercise_checks.py. Your code runs in a process of its own, with a time-out.
"""
import argparse
import ast
import importlib
import importlib.util
import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 20  # that one function may take; the project's own take under one second
NOT_COPIED = ("runs", ".git", ".venv", "results", "__pycache__", ".pytest_cache", "*.pyc")


@dataclass(frozen=True)
class Exercise:
    """One function to write."""
    name: str
    file: str     # where it is, from the root of the project
    minutes: int  # what it takes about, for somebody who knows Python and has read the docstring
    about: str


EXERCISES = [
    Exercise("eaai_probability", "schedule.py", 10, "the fade p(t)"),
    Exercise("utility_score", "rewards.py", 10, "how well scores tell right routes from wrong "
                                                "ones"),
    Exercise("realm_reward", "rewards.py", 10, "the two-stage reward"),
    Exercise("mrpv_prompt", "realm.py", 10, "the prompt with routes"),
    Exercise("parse_response", "realm.py", 20, "what the student wrote, taken apart"),
    Exercise("with_share_wrong", "realm.py", 15, "a fixed share of wrong routes"),
    Exercise("choose_routes", "realm.py", 15, "k of the N routes"),
    Exercise("group_advantages", "grpo.py", 10, "better or worse than the group"),
    Exercise("token_weights", "grpo.py", 10, "how much each token counts"),
    Exercise("grpo_loss", "grpo.py", 30, "the clipped loss and its KL"),
    Exercise("lengths_of", "grpo.py", 10, "where a completion ends"),
    Exercise("pick", "grpo.py", 25, "sample a token, with its log-probability"),
    Exercise("draw_problems", "train.py", 10, "the problems of a step"),
    Exercise("vote", "eval.py", 10, "the majority vote"),
    Exercise("auc", "eval.py", 10, "do scores rank right routes above wrong ones?"),
    Exercise("wilson", "eval.py", 10, "the interval of a share"),
]
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


# ---- emptying ------------------------------------------------------------------------------------
def find_function(source, name):
    """The last function of that name in a file -> its ast node. ValueError if there is none."""
    for node in reversed(ast.parse(source).body):  # as Python does, where there are two
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise ValueError(f"there is no function {name} in it any more")


def is_empty(node):
    """Is a function's body only its docstring, or a pass, or three dots behind it?"""
    return all(isinstance(part, ast.Pass) or isinstance(part, ast.Expr)
               and isinstance(part.value, ast.Constant) for part in node.body)


def emptied(source, name):
    """The source of a file with one function emptied to its signature and docstring."""
    node = find_function(source, name)
    lines = source.splitlines(keepends=True)
    del lines[node.body[0].end_lineno:node.end_lineno]  # body[0] is the docstring
    return "".join(lines)


def copy_project(folder):
    """Copy the project into a new folder, without runs, results and environments."""
    try:
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    except shutil.Error as error:  # it holds a list of all files that could not be copied
        source, _, reason = error.args[0][0]
        raise OSError(f"{folder}: {source} cannot be copied ({reason}); delete what is there and "
                      "try again") from None


def start(folder, names):
    """Copy the project into a new folder, with these functions emptied."""
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"--start {folder}: is there already; choose a new folder, or go on with "
                         f"--check {shlex.quote(str(folder))}")
    if folder.resolve().is_relative_to(ROOT):
        raise ValueError(f"--start {folder}: lies inside the project; choose a folder outside, "
                         f"such as ../{folder.name}")
    copy_project(folder)
    for name in names:
        path = folder / BY_NAME[name].file
        path.write_text(emptied(path.read_text(), name))


# ---- judging, in a process of its own ------------------------------------------------------------
class TooLong(BaseException):
    """The time is over. No `except Exception` of a student's code catches it."""


def student_function(name, path):
    """The student's function, in a module whose other functions are the project's own.

    So each exercise is judged by itself, whatever else is still empty.
    """
    module_name = Path(BY_NAME[name].file).stem
    ours = importlib.import_module(module_name)
    spec = importlib.util.spec_from_file_location(f"student_{module_name}", path)
    theirs = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = theirs
    spec.loader.exec_module(theirs)
    function = getattr(theirs, name)
    for key, value in vars(ours).items():
        if key != name and not key.startswith("__"):
            setattr(theirs, key, value)
    return function, getattr(ours, name)


def judge(name, folder, seconds=SECONDS):
    """What is right and what not -> {"right": [sentence], "wrong": [sentence]}. Never raises."""
    from tasks.exercise_checks import CHECKS

    path = Path(folder) / BY_NAME[name].file
    verdict = {"right": [], "wrong": []}

    def over(*_):
        raise TooLong

    signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        if is_empty(find_function(path.read_text(), name)):
            verdict["wrong"].append("It is still empty.")
            return verdict
        function, ours = student_function(name, path)
        for promise, problem in CHECKS[name](function, ours):
            verdict["wrong" if problem else "right"].append(problem or promise)
    except TooLong:
        verdict["wrong"].append(f"It did not come back within {seconds} seconds. Does a loop "
                                "never end?")
    except SyntaxError as error:
        line = (error.text or "").strip()
        verdict["wrong"].append(f"Python cannot read {path.name}, line {error.lineno} "
                                f"({error.msg}): {line}")
    except BaseException as error:  # SystemExit, too
        verdict["wrong"].append(in_words(error, path))
    finally:
        signal.alarm(0)
    return verdict


def in_words(error, path):
    """An exception in one sentence: what it was, and in which line of the student's file."""
    if isinstance(error, NotImplementedError):
        return "It still raises NotImplementedError."
    if isinstance(error, OSError) and not path.exists():
        return f"The file {path} is not there."
    reason = " ".join(str(error).split())[:200]
    what = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if Path(frame.filename).resolve() == path.resolve()]
    if not frames:
        return f"What it returned could not be used ({what})."
    return f"It stopped in line {frames[-1].lineno}, `{frames[-1].line}` ({what})."


def serve(folder, names):
    """In the process of its own: judge these functions and print each verdict as a line of JSON."""
    out = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the student's code prints is not a verdict
    os.dup2(nowhere, 2)
    for name in names:
        verdict = judge(name, folder)
        print(json.dumps([name, verdict]), file=out, flush=True)


def check(folder, names, seconds=SECONDS):
    """Yield (name, verdict) for each function. A process that hangs or dies is started again."""
    folder, left = Path(folder).resolve(), list(names)
    while left:
        command = [sys.executable, "-m", "tasks.exercises", "--serve", str(folder), "--only", *left]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waited = 120  # for the first, which loads torch
        while left and (line := read_line(process.stdout, waited)):
            name, verdict = json.loads(line)
            left.remove(name)
            yield name, verdict
            waited = seconds + 20
        process.kill()
        process.wait()
        process.stdout.close()
        if left:
            yield left.pop(0), {"right": [], "wrong": [
                "It did not come back, or ended the whole program. Does a loop never end?"]}


def read_line(pipe, seconds):
    """The next line of a pipe, or b"" if it has ended or the time is over."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return pipe.readline() if selector.select(seconds) else b""


# ---- the command ---------------------------------------------------------------------------------
def as_list(names):
    """The functions in the order to take them, as text."""
    lines = [f"{'function':<20}{'file':<14}{'minutes':<9}what it is"]
    for name in names:
        exercise = BY_NAME[name]
        lines.append(f"{name:<20}{exercise.file:<14}{exercise.minutes:<9}{exercise.about}")
    return "\n".join(lines)


def as_text(name, verdict):
    """A verdict as text."""
    exercise = BY_NAME[name]
    mark = "not yet" if verdict["wrong"] else "right"
    lines = [f"{name} ({exercise.file}): {mark}"]
    for sign, sentences in (("  + ", verdict["right"]), ("  - ", verdict["wrong"])):
        for sentence in sentences:
            lines += textwrap.wrap(sentence, 98, initial_indent=sign, subsequent_indent="    ")
    return "\n".join(lines)


def report(folder, names):
    """Judge the functions and print what is right and what is not -> are all right?"""
    if Path(folder).resolve() == ROOT:
        raise ValueError(f"--check {folder}: would judge this folder by itself; run the command in "
                         "the project, and name the copy")
    if not (Path(folder) / "grpo.py").is_file():
        raise ValueError(f"--check {folder}: no copy of the project; make one with --start "
                         f"{shlex.quote(str(folder))}")
    done = 0
    for name, verdict in check(folder, names):
        shown = verdict if verdict["wrong"] else {"right": [], "wrong": []}
        print(as_text(name, shown), flush=True)
        done += not verdict["wrong"]
    print(f"\n{done} of {len(names)} functions are right")
    return done == len(names)


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="the functions, in the order to take "
                                                          "them")
    what.add_argument("--start", metavar="DIR", help="make a copy of the project to work in")
    what.add_argument("--check", metavar="DIR", help="say what is right in that copy")
    what.add_argument("--serve", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=BY_NAME,
                        default=list(BY_NAME), help="only these functions")
    args = parser.parse_args(argv)
    try:
        if not hasattr(signal, "SIGALRM"):
            raise ValueError("no time-out can be set here; on Windows use WSL")
        if args.list:
            print(as_list(args.only))
        elif args.start:
            start(args.start, args.only)
            print(as_list(args.only), f"\n{args.start} is a copy of the project in which these are "
                  "empty. Write one, then ask:", "python -m tasks.exercises --check "
                  f"{shlex.quote(args.start)} --only {args.only[0]}", sep="\n")
        elif args.serve:
            serve(args.serve, args.only)
        else:
            sys.exit(0 if report(args.check, args.only) else 1)
    except (ValueError, OSError) as error:
        sys.exit(f"exercises: {error}")


if __name__ == "__main__":
    main()
