import doctest
import importlib

import pytest


@pytest.mark.parametrize("script", ["schedule", "rewards", "realm", "grpo", "eval", "engine.answers", "engine.report", "engine.sampler", "engine.flags", "tasks.shop",
    "tasks.ads", "tasks.gsm8k_mistakes"])
def test_the_examples_in_the_docstrings_are_true(script):
    result = doctest.testmod(importlib.import_module(script))
    assert result.attempted > 0 and result.failed == 0
