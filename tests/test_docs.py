import doctest
import importlib
import runpy
from pathlib import Path

import pytest

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
