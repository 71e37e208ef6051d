"""ReaLM on TRL: the same loss and gradient as here, the same prompts whatever the processes."""
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", minversion="1.16")
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import data  # noqa: E402
import grpo  # noqa: E402
from bridges import trl_realm  # noqa: E402
from bridges.prompts import score, write_prompt  # noqa: E402
from helpers import Recorder, assert_same_gradients, take_gradients  # noqa: E402
from schedule import eaai_probability  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TINY = str(ROOT / "assets" / "tiny")
P, G, LONGEST = 3, 4, 64


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A bank of 40 orders at the shop, with four routes each."""
    path = tmp_path_factory.mktemp("bank") / "bank.jsonl"
    data.main(["--task", "shop", "--split", "train", "--limit", "40", "--n", "4",
               "--out", str(path)])
    return path


# ---- prompts ------------------------------------------------------------------------------------
def test_share_of_prompts_with_routes_is_p(bank):
    problems = data.load_problems(str(bank), "all")
    for step in (0, 30, 60, 96):
        drawn = [write_prompt(problems, step, d, steps=100, routes=2) for d in range(600)]
        share = sum(bool(row["labels"]) for row in drawn) / len(drawn)
        p_t = eaai_probability(step, 100, fade=0.95)
        assert abs(share - p_t) <= 4 * (p_t * (1 - p_t) / 600) ** 0.5
        assert all(row["p"] == p_t for row in drawn)


def test_every_problem_is_drawn_once_before_any_comes_again(bank):
    problems = data.load_problems(str(bank), "all")
    n = len(problems)
    prompts = [write_prompt(problems, 0, d, steps=1, fade=0)["prompt"] for d in range(2 * n)]
    assert len(set(prompts[:n])) == len(set(prompts[n:])) == n
    assert prompts[:n] != prompts[n:]


def test_labels_are_those_of_the_routes_shown(bank):
    problems = {p.question: p for p in data.load_problems(str(bank), "all")}
    for d in range(30):
        row = write_prompt(list(problems.values()), 0, d, steps=9, routes=3, seed=5)
        question, *routes = row["prompt"].partition("Problem: ")[2].splitlines()[:-1]
        known = {route.text: route.correct for route in problems[question].routes}
        assert [known[route.partition(": ")[2]] for route in routes] == row["labels"]
        assert row["gold"] == problems[question].answer


# ---- the loss -----------------------------------------------------------------------------------
def config(bank, folder, **options):
    return trl_realm.RealmConfig(**{**dict(
        bank=str(bank), output_dir=str(folder), use_cpu=True, max_steps=1, routes=2, seed=3,
        num_generations=G, per_device_train_batch_size=P * G // 2, gradient_accumulation_steps=2,
        max_completion_length=LONGEST, gradient_checkpointing=False, one_stage=True,
        disable_tqdm=True, save_strategy="no"), **options})


class Shared(trl_realm.RealmTrainer):
    """The bridge, with completions of our own sampler, so that both sides train on the same."""

    def _generate_single_turn(self, prompt_ids, *others):
        prompts = [self.processing_class.decode(ids) for ids in prompt_ids[::G]]
        self.rollouts = rollouts_of(self.model, self.processing_class, prompts)
        rows = zip(self.rollouts.completion_ids.tolist(), self.rollouts.lengths.tolist())
        return [ids[:n] for ids, n in rows], None


def rollouts_of(model, tokenizer, prompts):
    draw = torch.Generator().manual_seed(7)
    return grpo.sample(model, tokenizer, prompts, G, LONGEST, generator=draw)


def ours(bank, args):
    """What our own code makes of the first step: model, rollouts, advantages [P, G]."""
    model, tokenizer = grpo.load_policy("tiny", "cpu")
    problems = data.load_problems(str(bank), "train")
    rows = [write_prompt(problems, 0, d, steps=1, routes=2, seed=3) for d in range(P)]
    rollouts = rollouts_of(model, tokenizer, [row["prompt"] for row in rows])
    pairs = zip(rollouts.texts, [row for row in rows for _ in range(G)])
    pay = [score(text, row["gold"], row["labels"], 0.5, True).total for text, row in pairs]
    scale = "none" if args.loss_type == "dr_grpo" else "std"
    return model, rollouts, grpo.group_advantages(torch.tensor(pay).view(P, G), scale)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_step_has_the_gradient_of_grpo_update(bank, tmp_path, loss_type):
    """The whole step: prompts, rewards, advantages, and two micro-batches that TRL shuffles."""
    args = config(bank, tmp_path, loss_type=loss_type, max_grad_norm=1e9)
    problems, found = data.load_problems(str(bank), "train"), []
    trainer = Shared(TINY, problems, args)
    step = trainer.training_step

    def recorded(*arguments):
        loss = step(*arguments)
        found[:] = [p.grad.clone() for p in trainer.model.parameters()]
        return loss
    trainer.training_step = recorded
    trainer.train()
    model, rollouts, advantages = ours(bank, args)
    assert rollouts.texts == trainer.rollouts.texts and (advantages != 0).any(1).all()
    recorder = Recorder(model)
    grpo.grpo_update(model, recorder, rollouts, advantages, loss_type=loss_type, max_len=LONGEST)
    assert_same_gradients(found, recorder.steps[0])


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_loss_and_gradient_off_policy_equal_ours(bank, tmp_path, loss_type):
    """Ratios beyond both clips, a reference, a temperature: after the weights have moved."""
    options = dict(beta=0.1, epsilon=0.1, epsilon_high=0.15, temperature=0.8, loss_type=loss_type)
    args = config(bank, tmp_path, per_device_train_batch_size=P * G, gradient_accumulation_steps=1,
                  **options)
    trainer = Shared(TINY, data.load_problems(str(bank), "train"), args)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # set by Trainer's loop, which does not run
    rows = [{"draw": d} for d in range(P) for _ in range(G)]
    batch = trainer._generate_and_score_completions(rows)
    model, rollouts, advantages = ours(bank, args)
    reference = grpo.completion_logps(model, rollouts, 0.8).detach()
    rollouts.logps = reference
    batch["old_per_token_logps"] = reference
    for policy in (model, trainer.model):  # both move, and by the same
        torch.manual_seed(1)
        for p in policy.parameters():
            p.data += 0.03 * torch.randn_like(p)
    logps = grpo.completion_logps(model, rollouts, 0.8)
    wanted, stats = grpo.grpo_loss(
        logps, rollouts.logps, reference, advantages.flatten(), rollouts.mask, clip_low=0.1,
        clip_high=0.15, beta=0.1, loss_type=loss_type, max_len=LONGEST)
    assert stats["clip_fraction"] > 0.01 and stats["kl"] > 0.001
    wanted.backward()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    found = take_gradients(trainer.model.parameters())
    assert_same_gradients(found, take_gradients(model.parameters()))


def test_prompts_are_encoded_as_in_train_and_completions_end_where_ours_do(bank, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = ("{% for m in messages %}{{ m['content'] + '</answer>' }}{% endfor %}"
                               "{% if add_generation_prompt %}{{ 'Solution:' }}{% endif %}")
    args = config(bank, tmp_path, gradient_accumulation_steps=1, per_device_train_batch_size=P * G)
    problems = data.load_problems(str(bank), "train")
    trainer = trl_realm.RealmTrainer(TINY, problems, args, processing_class=tokenizer)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([{"draw": i // G} for i in range(P * G)])
    prompts = [write_prompt(problems, 0, i // G, steps=1, routes=2, seed=3) for i in range(P * G)]
    wanted = trl_realm.encode_prompts(tokenizer, [row["prompt"] for row in prompts])
    seen = zip(batch["prompt_ids"], batch["prompt_mask"].bool())
    assert [ids[mask].tolist() for ids, mask in seen] == wanted
    ends = trl_realm.end_ids(trainer.model, tokenizer)
    assert len(ends) == 2  # the turn's end, and the tokenizer's
    for ids, mask in zip(batch["completion_ids"], batch["completion_mask"].bool()):
        *rest, last = ids[mask].tolist()
        assert last in ends or len(rest) + 1 == LONGEST
        assert not set(rest) & set(ends)
    assert any(tokenizer.eos_token_id not in ids for ids in batch["completion_ids"].tolist())


def test_defaults_are_those_of_train():
    args = trl_realm.RealmConfig(max_steps=1, use_cpu=True)
    assert args.scale_rewards == "group" and not args.use_bias_correction_kl
    assert (args.top_k, args.top_p, args.mask_truncated_completions) == (0, 1.0, False)
    dr_grpo = trl_realm.RealmConfig(max_steps=1, use_cpu=True, loss_type="dr_grpo")
    assert dr_grpo.scale_rewards == "none"
    import train
    theirs = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    for name in ("selection", "error_ratio", "schedule", "fade", "p_end", "loss_type",
                 "utility_weight", "one_stage", "beta", "temperature"):
        assert theirs[name] == getattr(train.Config(), name)


@pytest.mark.parametrize("accumulate, per_generation, iterations, steps", [
    (2, 2, 1, [0, 1, 2, 3]),                  # the usual: one generation a step
    (2, 1, 1, [0, 0, 1, 1, 2, 2, 3, 3]),      # two generations a step, at the same t
    (1, 2, 1, [0, 2]),                        # completions serve two steps
    (2, 2, 2, [0, 2]),                        # the same, as --epochs 2
])
def test_fade_follows_the_global_step_however_steps_are_cut(
        bank, tmp_path, accumulate, per_generation, iterations, steps):
    args = config(bank, tmp_path, max_steps=4, gradient_accumulation_steps=accumulate, routes=2,
                  per_device_train_batch_size=G, num_iterations=iterations, max_completion_length=8,
                  steps_per_generation=per_generation)
    problems, seen = data.load_problems(str(bank), "train"), []

    class Watched(trl_realm.RealmTrainer):
        def _calculate_rewards(self, inputs, *others):
            seen.append((self.state.global_step, [row["prompt"] for row in inputs]))
            return super()._calculate_rewards(inputs, *others)
    Watched(TINY, problems, args).train()
    assert [step for step, _ in seen] == steps
    draws = iter(range(1000))
    for step, prompts in seen:
        for first in range(0, len(prompts), G):
            row = write_prompt(problems, step, next(draws), steps=4, routes=2, seed=3)
            assert prompts[first:first + G] == [row["prompt"]] * G


def test_fade_needs_to_know_the_number_of_steps():
    with pytest.raises(ValueError, match="max_steps"):
        trl_realm.RealmConfig(use_cpu=True)


# ---- processes, and runs that are cut -----------------------------------------------------------
def run(bank, folder, processes=1, *flags):
    """Six steps of two micro-batches a process -> (exit code, the log of each process)."""
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    per_device = P * G // 2 // processes  # 3 with two processes: a group of 4 is cut by both
    done = subprocess.run(
        [*launch, "tests/trl_run.py", str(folder / "log"), "--bank", str(bank), "--use_cpu",
         "--model_name_or_path", "tiny", "--output_dir", str(folder / "out"), "--max_steps", "6",
         "--num_generations", str(G), "--per_device_train_batch_size", str(per_device),
         "--gradient_accumulation_steps", "2", "--routes", "2", "--one_stage", "--learning_rate",
         "1e-3", "--gradient_checkpointing", "no", "--save_steps", "3", *flags],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    logs = [[json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted(folder.glob("log-*.jsonl"))]
    return done, logs


@pytest.fixture(scope="module")
def uncut(bank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uncut")
    done, logs = run(bank, folder)
    assert done.returncode == 0, done.stderr
    return folder, logs[0]


def test_group_sees_one_prompt_and_the_fade_has_happened(uncut):
    lines = uncut[1]
    assert [line["step"] for line in lines] == list(range(6))
    for line in lines:
        assert all(len(set(line["prompts"][i:i + G])) == 1 for i in range(0, P * G, G))
    carried = [sum("Route 1:" in prompt for prompt in line["prompts"]) for line in lines]
    assert carried[0] == P * G and carried[5] == 0


def test_two_processes_give_the_prompts_and_rewards_of_one(bank, uncut, tmp_path):
    done, logs = run(bank, tmp_path, 2)
    assert done.returncode == 0, done.stderr
    for alone, first, second in zip(uncut[1], *logs, strict=True):
        for name in ("prompts", "completions"):
            assert first[name] + second[name] == alone[name]
        assert alone["rewards"] == first["rewards"] == second["rewards"]
    a, b = (load_file(folder / "out/model/model.safetensors") for folder in (uncut[0], tmp_path))
    assert all((a[name] - b[name]).abs().max() < 1e-3 for name in a)


def test_run_that_was_killed_resumes_with_the_fade_where_it_was(bank, uncut, tmp_path):
    killed, logs = run(bank, tmp_path, 1, "--die_at", "4")
    assert killed.returncode != 0 and [line["step"] for line in logs[0]] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "out/model").exists()
    done, logs = run(bank, tmp_path, 1, "--resume_from_checkpoint", "last")
    assert done.returncode == 0, done.stderr
    assert logs[0][5:] == uncut[1][3:]
    a, b = (load_file(folder / "out/model/model.safetensors") for folder in (uncut[0], tmp_path))
    assert all(torch.equal(a[name], b[name]) for name in a)
