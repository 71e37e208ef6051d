import doctest
import importlib

import pytest


@pytest.mark.parametrize("script", ["schedule", "rewards", "realm", "engine.answers", "engine.units", "engine.text", "grpo", "eval", "assets.shop", "assets.ads", "assets.gsm8k"])
def test_the_examples_in_the_docstrings_are_true(script):
    result = doctest.testmod(importlib.import_module(script))
    assert result.attempted > 0 and result.failed == 0
