"""Real questions, real model solutions as routes, the real tokenizer. Only the weights are random.

Skipped without ../shared.
"""
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

import eval as evaluation
import grpo
import train
from data import load_problems, read_bank
from rewards import answers_match, final_answer

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = ("qwen2-tokenizer/tokenizer.json", "gsm8k/model_solutions_6b.jsonl")
pytestmark = pytest.mark.skipif(not all((SHARED / f).is_file() for f in FILES),
                                reason="no ../shared/data")


def hub_folder(path, **shape):
    """A folder in the Hub's layout, as Qwen/Qwen2.5-0.5B is: config, generation config,
    safetensors, tokenizer."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "qwen2-tokenizer")
    config = Qwen2Config(vocab_size=151936, max_position_embeddings=32768, rope_theta=1e6,
                         tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151643,
                         **shape)
    model = Qwen2ForCausalLM(config).bfloat16()
    model.generation_config = GenerationConfig(bos_token_id=151643, eos_token_id=151643,
                                               max_new_tokens=2048)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return hub_folder(tmp_path_factory.mktemp("Qwen2.5-small"), hidden_size=64,
                      intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                      num_key_value_heads=2)


def six_billion_lines():
    return (SHARED / "gsm8k" / "model_solutions_6b.jsonl").read_text().splitlines()


def six_billion_bank(path, limit=None):
    """OpenAI's 6B models' solutions as a bank: two routes a question."""
    with open(path, "w") as file:
        for entry in map(json.loads, six_billion_lines()[:limit]):
            problem = {"question": entry["question"],
                       "answer": final_answer(entry["ground_truth"]),
                       "routes": [{"text": s["solution"]} for s in entry["solutions"]]}
            file.write(json.dumps(problem) + "\n")
    return path


def test_a_bank_of_real_solutions_is_labelled_as_openai_labelled_them(tmp_path):
    problems = read_bank(six_billion_bank(tmp_path / "bank.jsonl"))
    verdicts = [s["is_correct"] for line in six_billion_lines()
                for s in json.loads(line)["solutions"]]
    labels = [r.correct for p in problems for r in p.routes]
    assert sum(a == b for a, b in zip(labels, verdicts)) / len(verdicts) >= 0.995
    assert len(labels) == len(verdicts)


def test_every_gold_answer_of_gsm8k_is_a_number_and_matches_itself():
    for split in ("train", "validation", "test"):
        problems = load_problems("gsm8k", split, data=SHARED / "gsm8k")
        assert all(answers_match(final_answer(p.solution), p.answer) for p in problems)


def test_the_real_chat_template_frames_the_prompt_and_its_turn_end_stops_a_row(student):
    model, tokenizer = grpo.load_policy(str(student))
    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # The base model's configs name only the first of these.
    assert grpo.end_ids(model, tokenizer) == [151643, turn_end]
    text = tokenizer.decode(grpo.encode_prompts(tokenizer, ["What is 2 + 2?"])[0])
    assert text.endswith("<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n")
    demo = grpo.as_rollouts(model, tokenizer, ["q"], ["<answer> 4</answer>"])
    assert demo.completion_ids[0, demo.lengths[0] - 1] == turn_end
    rollouts = grpo.sample(model, tokenizer, ["What is 2 + 2?"], 2, 4,
                           generator=torch.Generator().manual_seed(0))
    assert rollouts.completion_ids.shape == (2, 4)


def test_grpo_steps_on_gsm8k_with_real_solutions_as_routes_end_to_end(student, tmp_path, capsys):
    bank = six_billion_bank(tmp_path / "bank.jsonl", 40)
    out = tmp_path / "run"
    train.main(["--model", str(student), "--task", "gsm8k", "--data", str(SHARED / "gsm8k"),
                "--bank", str(bank), "--routes", "2", "--steps", "2", "--prompts-per-step", "2",
                "--group-size", "4", "--max-new-tokens", "12", "--eval-limit", "3",
                "--beta", "0.01", "--device", "cpu", "--out", str(out), "--lr", "1e-4"])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[0]["carried"] == 1.0 and lines[0]["drift"] < 1e-3
    evaluation.main([str(out), "--bank", str(bank), "--routes", "2", "--limit", "3",
                     "--samples", "2", "--device", "cpu", "--json", str(tmp_path / "e.json")])
    assert "majority vote" in capsys.readouterr().out
