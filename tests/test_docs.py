import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["schedule", "rewards", "realm", "grpo", "eval", "engine.answers", "engine.bank", "engine.flags", "engine.report", "engine.sampler",
           "engine.teachers", "engine.text", "engine.units", "tasks.shop", "tasks.ads", "tasks.gsm8k_mistakes"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("page", ["docs/grpo_questions.md"])
def test_the_examples_in_the_pages_are_true(page):
    result = doctest.testfile(str(ROOT / page), module_relative=False)
    assert result.attempted > 0 and result.failed == 0


def test_no_module_has_examples_that_nobody_runs():
    for path in [*ROOT.glob("*.py"), *(ROOT / "engine").glob("*.py"), *(ROOT / "tasks").glob("*.py")]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert name in MODULES or ">>>" not in path.read_text(), name
