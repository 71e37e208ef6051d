"""The prompts whose format rates are measured (results/formats.py)."""
import json

import pytest

from helpers import CHAT, small_tokenizer
from realm import mrpv_prompt, parse_response
from results import formats
from rewards import realm_reward

ROUTES = ["first", "second"]


@pytest.mark.parametrize("k", [0, 2])
def test_the_worked_example_is_right_and_in_the_full_format(k):
    example, reply, prompt = formats.dialogue("turn", "2 + 2?", ROUTES[:k])
    assert example.count("Route") - prompt.count("Route") == 0 and "54" in reply
    assert prompt == mrpv_prompt("2 + 2?", ROUTES[:k])
    reward = realm_reward(parse_response(reply, k), "54", [True, False][:k])
    assert reward.total == (1.5 if k else 1.0) and reward.format == 1


@pytest.mark.parametrize("k", [0, 2])
def test_an_example_in_the_prompt_stands_between_instruction_and_problem(k):
    [today] = formats.dialogue("today", "2 + 2?", ROUTES[:k])
    [example] = formats.dialogue("both", "2 + 2?", ROUTES[:k])
    assert today == mrpv_prompt("2 + 2?", ROUTES[:k])
    instruction, problem = today.split("Problem: ")
    assert example.startswith(instruction) and example.endswith("Problem: " + problem)
    assert example.count("Problem: ") == 2 and example.count("<answer> 54</answer>") == 1


def test_an_opened_reply_begins_behind_the_template():
    tokenizer = small_tokenizer(chat_template=CHAT)
    assert formats.in_chat(tokenizer, ["ab"], False) == "uab<turn>a"
    assert formats.in_chat(tokenizer, ["ab", "c", "d"], True) == "uab<turn>ac<turn>ud<turn>a<think>"
    plain = formats.as_written(tokenizer)
    assert plain.chat_template is None and plain.eos_token == "<turn>"
    assert tokenizer.eos_token == "<end>"


def test_a_table_shows_every_cell_in_order_and_other_settings_are_refused(tmp_path, capsys):
    cell = {"n": 16, "format": 1, "answer": 2, "right": 0, "any_tag": 3, "lenient": 9,
            "lenient_right": 1, "finished": 5, "tokens": 99.0}
    cells = [{"prompt": name, "routes": k, "temperature": T, **cell}
             for name, k, T in formats.CELLS]
    settings = {"questions": 8, "samples": 2, "max_new_tokens": 160, "seed": 0}
    path = tmp_path / "formats.json"
    path.write_text(json.dumps({"settings": settings, "cells": cells[::-1]}))
    formats.main(["no-model", "--out", str(path)])  # nothing is missing: no model is loaded
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 20 and lines[2].startswith("| today | 0 | 1.0 | 1 of 16 [0.01, 0.28]")
    with pytest.raises(SystemExit, match="choose another --out"):
        formats.main(["no-model", "--out", str(path), "--seed", "1"])
