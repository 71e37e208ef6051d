import doctest
import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest

from engine.flags import given_flags
from results import questions, sweep, variants

ROOT = Path(__file__).resolve().parent.parent
FILES = [path for folder in ("", "engine", "tasks", "results")
         for path in sorted((ROOT / folder).glob("*.py"))]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts)
           for path in FILES if ">>>" in path.read_text()]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("page", ["docs/grpo_questions.md"])
def test_the_examples_in_the_pages_are_true(page):
    result = doctest.testfile(str(ROOT / page), module_relative=False)
    assert result.attempted > 0 and result.failed == 0


PAGES = [path for folder in ("", "docs", "docs/labs", "results", "bridges")
         for path in sorted((ROOT / folder).glob("*.md"))]
COMMAND = re.compile(r"python (train|eval|data)\.py([^`\n#|;&>)]*)")
STUDY = re.compile(r"python -m results\.(questions|sweep|variants) ([A-Za-z0-9-]+)")
STUDIES = {"questions": questions.QUESTIONS, "sweep": [*sweep.SWEEPS, "NAME"],
           "variants": variants.VARIANTS}


def in_full(page):
    """The text of a page. Commands that go over several lines are put on one."""
    return page.read_text().replace("\\\n", " ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_flags_of_every_command_on_a_page_exist(page):
    for name, rest in COMMAND.findall(in_full(page)):
        if page.name == "4-reward-term.md":
            rest = rest.replace("--detail-weight 1", "")  # the reader of this lab adds it
        rest = re.sub(r"\b(FLAGS|METHOD)\b", "", re.sub(r"\$[a-z]\b", "7", rest))
        words = ["7" if word.isupper() else word for word in shlex.split(rest)]  # SEED, RUN
        command = importlib.import_module(name)
        given_flags(command.Config, command.__doc__, words)  # exits on an unknown flag or value
    for name, study in STUDY.findall(in_full(page)):
        assert study in STUDIES[name]


def commands():
    """The modules that are commands, as `python -m` names them."""
    found = []
    for folder in ("", "tasks", "results", "docs", "docs/labs"):
        for path in sorted((ROOT / folder).glob("*.py")):
            if "__main__" in path.read_text():
                found.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found


@pytest.mark.parametrize("name", commands())
def test_help_says_what_a_command_does_and_runs_nothing(monkeypatch, capsys, name):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    doc = importlib.import_module(name).__doc__
    try:
        runpy.run_path(str(ROOT / name.replace(".", "/")) + ".py", run_name="__main__")
    except SystemExit as stopped:
        assert stopped.code == 0
    first_line = doc.strip().splitlines()[0]
    said = " ".join(capsys.readouterr().out.split())  # argparse wraps some lines
    assert first_line in said
