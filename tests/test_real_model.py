"""The project on real pretrained weights, made by tests/real_model.py.

The tests are skipped where the packages that hold them are absent.
"""
import copy
import importlib.util
import json

import pytest
import torch

import eval as evaluation
import grpo
import real_model
from grpo import Optimizer, completion_logps, grpo_update, load_policy, sample
from helpers import full_logps
from realm import Route, mrpv_prompt
from results.market_prices import main as market_prices
from results.market_prices import price_probabilities
from tasks.market import ask

LOST = real_model.missing()
needs_weights = pytest.mark.skipif(LOST is not None, reason=str(LOST))
PROMPTS = ["What is 2 + 2?", "Tom has 3 boxes of 12 pens and gives 5 pens away. How many are left?"]
LAYOUT = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
          "tokenizer_config.json", "chat_template.jinja"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return real_model.make(tmp_path_factory.mktemp("real") / "SmolLM2-135M-Instruct")


@pytest.fixture(scope="module")
def policy(folder):
    """(model, tokenizer), to be read only."""
    return load_policy(str(folder))


def draw(model, tokenizer, group_size, max_new_tokens, **options):
    return sample(model, tokenizer, PROMPTS, group_size, max_new_tokens,
                  generator=torch.Generator().manual_seed(0), **options)


def test_where_a_package_is_missing_one_line_says_which_and_how_to_get_it(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name: None if name == "gguf" else found(name))
    with pytest.raises(SystemExit, match="without .*gguf.*: pip install") as error:
        real_model.main([str(tmp_path / "model")])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@needs_weights
def test_the_folder_is_laid_out_as_on_the_hub_and_nothing_in_it_speaks_of_four_bits(folder):
    assert {path.name for path in folder.iterdir()} == LAYOUT
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config


@needs_weights
def test_the_weights_are_those_of_a_model_that_has_learnt_to_read(policy):
    model, tokenizer = policy
    ids = tokenizer("The capital of France is Paris. The capital of Italy is")["input_ids"]
    likeliest = model(torch.tensor([ids])).logits[0, -1].argmax()
    assert tokenizer.decode(likeliest) == " Rome"


@needs_weights
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampler_scorer_and_the_models_own_forward_pass_agree(policy, temperature):
    model, tokenizer = policy
    rollouts = draw(model, tokenizer, 2, 10, temperature=temperature)
    with torch.no_grad():
        wanted = full_logps(model, rollouts, temperature)
        found = completion_logps(model, rollouts, temperature)
    torch.testing.assert_close(rollouts.logps, wanted, atol=3e-4, rtol=0)
    torch.testing.assert_close(found, wanted, atol=3e-4, rtol=0)
    assert wanted.min() < -1  # not only words that are certain


@needs_weights
def test_greedy_decoding_writes_what_generate_writes(policy):
    model, tokenizer = policy
    rollouts = draw(model, tokenizer, 1, 24, temperature=0.0)
    for prompt, n, ids in zip(PROMPTS, rollouts.lengths.tolist(), rollouts.completion_ids.tolist()):
        encoded = torch.tensor(grpo.encode_prompts(tokenizer, [prompt]))
        wanted = model.generate(encoded, attention_mask=torch.ones_like(encoded), do_sample=False,
                                max_new_tokens=24)
        assert ids[:n] == wanted[0, encoded.shape[1]:].tolist()


@needs_weights
def test_the_chat_template_frames_a_prompt(policy):
    _, tokenizer = policy
    text = tokenizer.decode(grpo.encode_prompts(tokenizer, ["What is 2 + 2?"])[0])
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n")


@needs_weights
def test_the_end_of_a_turn_ends_a_completion_and_a_demonstration(policy):
    model, tokenizer = policy
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert grpo.end_ids(model, tokenizer) == [end]
    rollouts = sample(model, tokenizer, ["Reply with the word hello and nothing else."], 1, 40, 0.0)
    assert rollouts.finished.tolist() == [True]
    assert rollouts.completion_ids[0, -1] == end
    assert rollouts.texts[0] and "<|" not in rollouts.texts[0]
    demo = grpo.as_rollouts(model, tokenizer, ["q"], ["<answer> 4</answer>"])
    assert demo.completion_ids[0].tolist()[-1] == end


@needs_weights
def test_a_grpo_step_moves_the_weights_the_right_way_and_they_are_saved_loaded_and_evaluated(
        policy, tmp_path, capsys):
    model, tokenizer = copy.deepcopy(policy[0]), policy[1]
    rollouts = draw(model, tokenizer, 2, 6)
    advantages = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    metrics = grpo_update(model, Optimizer(model, lr=1e-5), rollouts, advantages)
    assert metrics["drift"] < 1e-3 and metrics["grad_norm"] > 0.1 and metrics["skipped"] == 0
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), policy[0].parameters())]
    assert all(moved)
    with torch.no_grad():
        gain = completion_logps(model, rollouts) - rollouts.logps
    assert (gain.sum(1) * advantages.flatten()).sum() > 1  # what was paid became likelier

    model.save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    again, _ = load_policy(str(tmp_path / "student"))
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)

    route = {"text": "2 + 3 = 5", "answer": "5", "correct": True}
    line = {"question": "What is 2 + 3?", "answer": "5", "routes": [route]}
    (tmp_path / "bank.jsonl").write_text(json.dumps(line) + "\n")
    evaluation.main([
        str(tmp_path / "student"), "--bank", str(tmp_path / "bank.jsonl"), "--routes", "1",
        "--samples", "1", "--max-new-tokens", "8", "--device", "cpu",
        "--json", str(tmp_path / "found.json")])
    assert "majority vote" in capsys.readouterr().out
    [result] = json.loads((tmp_path / "found.json").read_text())["results"].values()
    assert result["test"]["routes"]["tokens"] == 8.0


@needs_weights
def test_the_price_of_an_item_is_read_from_a_route(policy):
    model, tokenizer = policy
    route = Route("A bag of rice costs 7 dollars, so 3 bags cost 21 dollars.", "21", False)
    alone = price_probabilities(model, tokenizer, "bag of rice")
    shown = price_probabilities(model, tokenizer, "bag of rice", [route, route])
    assert set(alone) == set(range(2, 21))
    assert 0 < sum(alone.values()) < 1 and sum(shown.values()) < 1.0001
    assert shown[7] > 0.5 > alone[7]


@needs_weights
def test_the_price_probabilities_are_those_of_the_tokens_one_by_one(policy):
    model, tokenizer = policy
    begun = "<think> A jar of honey costs"
    prompt = mrpv_prompt(ask([(3, "jar of honey")], "Ann", "Monday"), [])
    ids = grpo.encode_prompts(tokenizer, [prompt])[0]
    ids = ids + tokenizer(begun, add_special_tokens=False)["input_ids"]
    expected = 1.0
    for token in tokenizer(" 12 dollars", add_special_tokens=False)["input_ids"]:
        expected *= model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1)[token].item()
        ids = ids + [token]
    found = price_probabilities(model, tokenizer, "jar of honey")
    assert found[12] == pytest.approx(expected, rel=1e-3)


@needs_weights
def test_a_run_without_a_checkpoint_is_refused_in_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["market_prices", str(tmp_path), "--checkpoint", str(folder)])
    with pytest.raises(SystemExit, match="^market_prices: .*there is no checkpoint$"):
        market_prices()
