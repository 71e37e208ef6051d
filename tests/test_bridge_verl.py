"""ReaLM on verl: the reward is ours, the rows are what verl's loader wants, the fade is in them.

Only the first part runs without verl. None of it needs a GPU, and none of it trains.
"""
import dataclasses
import json
import random
import subprocess
import sys
import types
from pathlib import Path

import pytest

import data
from bridges import verl_realm
from bridges.prompts import write_prompt
from realm import mrpv_prompt, parse_response
from rewards import realm_reward

ROOT = Path(__file__).resolve().parent.parent
P, STEPS = 4, 10


def some_texts(n):
    """Completions of every quality: well formed, cut, without tags, with wrong counts of scores."""
    rng = random.Random(0)
    for _ in range(n):
        think = rng.choice(["<think> a</think>", "<think>", "", "x <think> y</think>"])
        answer = rng.choice(["18", "18.0", "$18", "17", "18 dollars", "", "two"])
        marks = rng.choices(["0", "1", "0.5", "2", "x"], k=rng.randint(0, 4))
        scores = ", ".join(marks)
        text = f"{think}\n<answer> {answer}</answer>\n<scores> {scores}</scores>"
        yield text[:rng.choice([len(text), len(text), rng.randint(0, len(text))])]


def test_compute_score_is_realm_reward_on_a_thousand_texts():
    rng, paid = random.Random(1), 0
    for text in some_texts(1000):
        labels = [rng.random() < 0.5 for _ in range(rng.randint(0, 3))]
        weight, one_stage = rng.choice([0.5, 1.0]), rng.random() < 0.5
        response = parse_response(text, len(labels))
        wanted = realm_reward(response, "18", labels, weight, not one_stage)
        found = verl_realm.compute_score(
            "realm", text, "18", {"labels": labels}, utility_weight=weight, one_stage=one_stage,
            reward_router_address=None)
        assert found["score"] == wanted.total and found["acc"] == wanted.answer
        assert found["utility"] == wanted.utility and found["format"] == wanted.format
        paid += wanted.total > 0
    assert 100 < paid < 900


def test_row_of_the_parquet_gives_the_problem_back():
    problem = data.load_problems("shop", "train", 1)[0]
    problem = data.make_routes([problem], lambda ps, g: [["1 + 1. A: 2", "?"]], 2)[0]
    row = verl_realm.to_row(problem, 0, "train")
    assert verl_realm.to_problem(row) == dataclasses.replace(problem, rules=[])
    assert "Route 1" not in row["prompt"][0]["content"]


def test_a_bank_that_leaves_a_split_empty_is_refused_before_anything_is_written(
        tmp_path, monkeypatch):
    for name in ("pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    bank = tmp_path / "bank.jsonl"
    bank.write_text(json.dumps({"question": "1 + 1?", "answer": "2"}) + "\n")
    with pytest.raises(ValueError, match="holds no [a-z]+ questions"):
        verl_realm.main(str(bank), str(tmp_path / "rows"))
    assert not (tmp_path / "rows").exists()


# ---- with verl -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a bank as verl's parquet, and the bank itself."""
    pytest.importorskip("verl")
    folder = tmp_path_factory.mktemp("verl")
    data.main(["--task", "shop", "--limit", "60", "--n", "4", "--out", str(folder / "bank.jsonl")])
    verl_realm.main(str(folder / "bank.jsonl"), str(folder))
    return folder


@pytest.fixture(scope="module")
def config(folder):
    """The configuration of verl_realm.sh, composed by Hydra from verl's own files."""
    import verl.trainer
    from hydra import compose, initialize_config_dir
    from verl.utils.config import validate_config
    printed = subprocess.run(["bash", str(ROOT / "bridges/verl_realm.sh"), "--print"], text=True,
                             capture_output=True, check=True).stdout.splitlines()
    ours = [f"data.train_files={folder}/train.parquet", f"data.val_files={folder}/val.parquet",
            f"data.train_batch_size={P}", f"actor_rollout_ref.actor.ppo_mini_batch_size={P}",
            f"+data.cache_dir={folder}/cache",
            f"++data.realm.steps={STEPS}"]
    where = str(Path(verl.trainer.__file__).parent / "config")
    with initialize_config_dir(where, version_base=None):
        composed = compose("ppo_trainer", overrides=printed + ours)
    validate_config(composed, use_reference_policy=False, use_critic=False)
    return composed


def loader(config, split="train"):
    """The data set and the loader, made as verl's trainer makes them."""
    from torchdata.stateful_dataloader import StatefulDataLoader
    from transformers import AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
    from verl.utils.dataset.rl_dataset import collate_fn
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets/tiny")
    dataset = create_rl_dataset(config.data[f"{split}_files"], config.data, tokenizer, None)
    sampler = create_rl_sampler(config.data, dataset)
    return dataset, StatefulDataLoader(dataset=dataset, batch_size=P, drop_last=True,
                                       collate_fn=collate_fn, sampler=sampler)


def prompts_of(batches):
    return [messages[0]["content"] for batch in batches for messages in batch["raw_prompt"]]


def test_loader_gives_the_prompts_of_the_run_in_order(config, folder):
    dataset, batches = loader(config)
    problems = data.load_problems(str(folder / "bank.jsonl"), "train")
    made = [write_prompt(problems, d // P, d, steps=STEPS, routes=3) for d in range(STEPS * P)]
    rows = list(batches)
    assert len(rows) == STEPS and prompts_of(rows) == [row["prompt"] for row in made]
    assert [list(info["labels"]) for batch in rows for info in batch["extra_info"]] == [
        row["labels"] for row in made]
    assert all("Route 3" in prompt for prompt in prompts_of(rows[:1]))
    assert not any("Route 1" in prompt for prompt in prompts_of(rows[-1:]))


def test_resumed_loader_goes_on_with_the_fade(config):
    _, batches = loader(config)
    whole = list(batches)
    _, cut = loader(config)
    going = iter(cut)
    for _ in range(4):
        next(going)
    state = cut.state_dict()
    _, resumed = loader(config)
    resumed.load_state_dict(state)
    assert prompts_of(resumed) == prompts_of(whole[4:])


def test_validation_shows_no_routes(config, folder):
    dataset, _ = loader(config, "val")
    problems = data.load_problems(str(folder / "bank.jsonl"), "validation")
    rows = [dataset[i] for i in range(len(dataset))]
    assert [row["raw_prompt"][0]["content"] for row in rows] == [
        mrpv_prompt(problem.question) for problem in problems]
    assert all(row["extra_info"]["labels"] == [] for row in rows)


def test_reward_manager_pays_what_compute_score_says(config, folder):
    """verl's own reward manager on its own data protocol, with the reward it loads by path."""
    import asyncio

    import torch
    from transformers import AutoTokenizer
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
    from verl.trainer.ppo.reward import get_custom_reward_fn
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets/tiny")
    _, batches = loader(config)
    batch = next(iter(batches))
    for i in range(P):
        gold, info = batch["reward_model"][i]["ground_truth"], batch["extra_info"][i]
        scores = ", ".join(str(int(label)) for label in info["labels"])
        text = f"<think> sum {gold}.</think>\n<answer> {gold}</answer>\n<scores> {scores}</scores>"
        ids = torch.tensor([tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]])
        names = ("data_source", "reward_model", "extra_info")
        proto = DataProto.from_single_dict({
            "responses": ids, "attention_mask": torch.ones_like(ids),
            **{name: batch[name][i:i + 1] for name in names}})

        async def pay():
            manager = NaiveRewardManager(config, tokenizer, get_custom_reward_fn(config))
            return await manager.run_single(proto)
        paid = asyncio.run(pay())
        assert paid["reward_score"] == 1.5 and paid["reward_extra_info"]["acc"] == 1.0
    assert json.dumps(paid["reward_extra_info"])
