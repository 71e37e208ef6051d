"""A team computes what one process computes, and says in one line what goes wrong."""
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import engine.team
import grpo
import train
from engine.team import (Follower, Team, add_gradient, joined, load, shares, take_gradient,
                         weights_of)
from helpers import by_hand, small_model

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--model", "tiny", "--steps", "3", "--prompts-per-step", "3", "--group-size", "4",
         "--limit", "30", "--eval-limit", "8", "--eval-every", "2", "--max-new-tokens", "80",
         "--device", "cpu"]
PROMPTS = ["ab", "cdefgh", "k", "lm", "a"]


class Recorder:
    """An optimizer that keeps the gradient and moves the weights a little."""
    steps = 0

    def __init__(self, model):
        self.model = model

    @torch.no_grad()
    def step(self):
        self.gradient = take_gradient(self.model)
        for param in self.model.parameters():
            param.mul_(1.01)
        return self.gradient.norm().item()

    def skip(self):
        take_gradient(self.model)
        self.gradient = None
        return math.nan


@pytest.fixture
def three():
    with Team(3) as team:
        yield team


@pytest.mark.parametrize("settings", [{}, {"loss_type": "dapo"}, {"loss_type": "dr_grpo"},
                                      {"beta": 0.1, "epochs": 2}, {"micro_batch": 2}],
                         ids=["grpo", "dapo", "dr_grpo", "KL, twice", "small parts"])
def test_the_shares_gradients_sum_to_that_of_one_process(three, settings):
    advantages = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for update in (grpo.grpo_update, three.update):
        model, reference = small_model(), small_model(seed=5)
        recorder = Recorder(model)
        metrics = update(model, recorder, by_hand(model), advantages, reference=reference,
                         **settings)
        found.append((metrics, recorder.gradient))
    (wanted, whole), (metrics, summed) = found
    assert whole.norm() > 0.01
    torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-6)
    assert metrics == {name: pytest.approx(value, rel=1e-3, abs=1e-5)
                       for name, value in wanted.items()}


@pytest.mark.parametrize("group", range(3))
def test_the_drift_is_the_largest_of_all_shares(three, model, group):
    rollouts = by_hand(model)
    rollouts.logps[4 * group, 0] -= 3  # of the first completion of a group, which one process has
    metrics = three.update(model, Recorder(model), rollouts, torch.randn(3, 4))
    assert metrics["drift"] > 2


def test_fewer_live_groups_than_processes(three):
    model, advantages = small_model(), torch.zeros(3, 4)
    advantages[1, 0] = 1
    recorder = Recorder(model)
    three.update(model, recorder, by_hand(model), advantages)
    wanted = Recorder(small_model())
    grpo.grpo_update(wanted.model, wanted, by_hand(wanted.model), advantages)
    torch.testing.assert_close(recorder.gradient, wanted.gradient, rtol=1e-4, atol=1e-6)
    # There is no step at all.
    metrics = three.update(model, None, by_hand(model), torch.zeros(3, 4))
    assert metrics["grad_norm"] == 0


def test_helpers_sample_the_last_shares_from_the_leaders_policy(three, model, tokenizer):
    generator = torch.Generator().manual_seed(7)
    whole = three.sample(model, tokenizer, PROMPTS, 4, 12, 0.9, generator)
    assert whole.prompt_lengths.tolist() == [len(prompt) for prompt in PROMPTS]
    logps = grpo.completion_logps(model, whole, 0.9)
    torch.testing.assert_close(logps, whole.logps, rtol=1e-4, atol=1e-5)
    leaders = torch.Generator().manual_seed(7)
    seeds = [torch.randint(2 ** 62, (), generator=leaders).item() for _ in range(2)]
    generators = [leaders, *(torch.Generator().manual_seed(seed) for seed in seeds)]
    alone = [grpo.sample(model, tokenizer, some, 4, 12, 0.9, generator=own)
             for some, own in zip(shares(PROMPTS, 3), generators)]
    assert whole.texts == sum([part.texts for part in alone], [])
    assert len(set(whole.texts)) > 10
    assert whole.texts != three.sample(model, tokenizer, PROMPTS, 4, 12, 0.9, generator).texts
    again = joined(alone, tokenizer.pad_token_id)
    assert all(torch.equal(vars(again)[name], vars(whole)[name]) for name in
               ("prompt_ids", "completion_ids", "lengths", "logps", "entropy", "finished"))


def test_helpers_follow_the_leaders_weights_whatever_moved_them(three, model, tokenizer):
    three.sample(model, tokenizer, PROMPTS, 2, 4)
    with torch.no_grad():
        for param in model.parameters():
            param.mul_(1.5)
    greedy = three.sample(model, tokenizer, PROMPTS, 1, 12, 0.0)
    assert greedy.texts == grpo.sample(model, tokenizer, PROMPTS, 1, 12, 0.0).texts


def test_fewer_prompts_than_processes(three, model, tokenizer):
    assert three.sample(model, tokenizer, ["ab"], 2, 4).prompt_lengths.tolist() == [2]


def test_there_is_no_step_if_the_loss_of_one_share_is_not_a_number(three):
    for bad in range(3):
        model, advantages = small_model(), torch.ones(3, 4)
        advantages[bad, 0] = math.inf
        recorder, before = Recorder(model), weights_of(model)
        metrics = three.update(model, recorder, by_hand(model), advantages)
        assert recorder.gradient is None and metrics["skipped"] == 1
        assert torch.equal(weights_of(model), before)
        three.update(model, recorder, by_hand(model), torch.randn(3, 4))  # nothing of it is left
        assert recorder.gradient.isfinite().all()


def test_what_a_helper_raises_the_leader_raises_and_the_team_goes_on(three, model, tokenizer):
    with pytest.raises(ValueError, match="top_p must lie"):
        three.sample(model, tokenizer, PROMPTS, 2, 4, -1.0)
    with pytest.raises(ValueError, match="text input must be"):
        three.sample(model, tokenizer, [*PROMPTS[:4], None], 2, 4)  # only the last share fails
    assert len(three.sample(model, tokenizer, PROMPTS, 2, 4).texts) == 10


def test_weights_and_gradients_travel_as_one_vector(model):
    sum((param ** 2).sum() for param in model.parameters()).backward()
    gradient = take_gradient(model)
    torch.testing.assert_close(gradient, 2 * weights_of(model))
    assert all(param.grad is None for param in model.parameters())
    add_gradient(model, gradient)
    add_gradient(model, gradient)
    torch.testing.assert_close(take_gradient(model), 2 * gradient)
    other = small_model(seed=3)
    load(other, weights_of(model))
    assert torch.equal(weights_of(other), weights_of(model))
    assert torch.equal(take_gradient(model), torch.zeros_like(gradient))  # a share without tokens


def test_a_follower_takes_over_the_weights_that_the_leader_sends(model):
    here, there = engine.team.multiprocessing.Pipe()
    engine.team.send(here, (0.5, torch.zeros_like(weights_of(model))))
    assert Follower(model, there).step() == 0.5
    assert weights_of(model).abs().max() == 0
    assert engine.team.receive(here).abs().max() == 0  # the gradient, which it handed in


def run(folder, *flags):
    train.main([*SMALL, *flags, "--out", str(folder)])
    return (folder / "metrics.jsonl").read_bytes()


def test_a_process_of_its_own_gives_the_bytes_of_a_thread(tmp_path, monkeypatch):
    flags = ["--beta", "0.05", "--epochs", "2"]  # the reference travels too
    thread = run(tmp_path / "thread", *flags)
    monkeypatch.setattr(engine.team, "CORES", 2)
    assert run(tmp_path / "process", *flags) == thread
    assert run(tmp_path / "alone", *flags, "--processes", "1") != thread


def test_a_killed_helper_ends_the_run_in_one_line_that_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(engine.team, "CORES", 2)
    helpers, step = [], train.rl_step

    def killed(*arguments):
        if arguments[6] == 1:
            helpers.append(arguments[7].helpers[0])
            helpers[0].process.kill()
        return step(*arguments)

    monkeypatch.setattr(train, "rl_step", killed)
    with pytest.raises(SystemExit, match="a helper process has ended.*--resume"):
        run(tmp_path / "run")
    assert not helpers[0].process.is_alive()


def test_a_helper_ends_when_its_leader_is_gone():
    before = threading.active_count()
    team = Team(3)
    assert threading.active_count() == before + 2
    for helper in team.helpers:
        helper.connection.close()
    for _ in range(1000):  # ten seconds at most
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_gpu_is_not_shared(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(train, "choose_device", lambda name, tiny: "cuda")
    given = {"processes": 2, "out": str(tmp_path / "run")}
    assert train.prepare(train.Config(**given), given).processes == 1
    assert "--processes has no effect: a GPU is not shared" in capsys.readouterr().out


def test_evaluations_are_shared_too(tmp_path, monkeypatch):
    asked, sample = [], Team.sample

    def counted(team, model, tokenizer, prompts, group_size, *rest, **more):
        asked.append(len(prompts) * group_size)
        return sample(team, model, tokenizer, prompts, group_size, *rest, **more)

    monkeypatch.setattr(Team, "sample", counted)
    run(tmp_path / "run")
    # 3 steps, and 8 questions before, twice between, and after.
    assert sum(asked) == 3 * 3 * 4 + 4 * 2 * 8


def test_a_helper_thread_is_over_when_the_team_is(model, tokenizer, monkeypatch):
    monkeypatch.setattr(engine.team, "CORES", 1)
    with Team(2) as team:
        helper = team.helpers[0]
        helper.ask("sample", model, tokenizer, PROMPTS, 4, 12, 0.9, 7)  # nobody waits for it
    assert not helper.thread.is_alive()


def test_shares_are_nearly_equal_and_keep_the_order():
    for length in range(12):
        for n in range(1, 6):
            found = shares(list(range(length)), n)
            assert sum(found, []) == list(range(length)) and len(found) == n
            sizes = [len(some) for some in found]
            assert max(sizes) - min(sizes) <= 1 and sizes[0] == max(sizes)


def test_a_script_needs_no_guard_against_being_loaded_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
print("begins")
from engine.team import Team
from grpo import load_policy
team = Team(2)
model, tokenizer = load_policy("tiny")
assert team.helpers[0].process.is_alive()
print(len(team.sample(model, tokenizer, ["2 tea, 1 jam", "1 milk, 1 jam"], 2, 4).texts))
team.close()
""")
    settings = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=settings, cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.stdout.split() == ["begins", "4"], done.stderr
