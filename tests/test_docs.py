import doctest
import importlib
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
