"""The anatomy of a step shows what the method computed, and nothing else."""
import re

import pytest
import torch

import train
from engine import explain
from grpo import completion_logps, group_advantages, grpo_loss, load_policy, token_weights


def config_for(**changes):
    """train.py's flags for a small step."""
    flags = {"explain": True, "prompts_per_step": 16, "threads": 1, "device": "cpu"} | changes
    return train.prepare(train.Config(**flags), {})


def take_apart(**changes):
    """A step of the tiny student -> (its anatomy, the model after it)."""
    config = config_for(**changes)
    problems = train.load_problems("shop", "train", config.prompts_per_step, None)
    model, tokenizer = load_policy("tiny")
    return explain.take_apart(model, tokenizer, train.with_routes(problems, config), config), model


@pytest.fixture(scope="module")
def step():
    """One step at the default flags."""
    return take_apart()


def test_one_prompt_carries_routes_and_the_other_does_not(step):
    anatomy, _ = step
    assert [len(routes) for routes in anatomy.shown] == [3, 0]
    assert anatomy.advantages[0].any()  # the first group teaches something


def test_the_advantages_are_those_of_the_rewards_shown(step):
    anatomy, _ = step
    shown = torch.tensor([reward.total for reward in anatomy.rewards]).view(2, 8)
    assert torch.equal(anatomy.totals, shown)
    assert torch.equal(anatomy.advantages, group_advantages(shown))


@pytest.mark.parametrize("flags", [{}, {"loss_type": "dapo"}, {"loss_type": "dr_grpo"},
                                   {"beta": 0.1, "clip_high": 0.28}])
def test_the_contributions_of_the_tokens_sum_to_the_loss(flags):
    anatomy, model = take_apart(**flags)
    config, rollouts = anatomy.config, anatomy.rollouts
    weights = token_weights(rollouts.mask, config.loss_type, config.max_new_tokens)
    assert torch.equal(anatomy.weights, weights)
    now = completion_logps(model, rollouts)
    assert torch.allclose(now, anatomy.after.logps)
    for tokens in (anatomy.before, anatomy.after):
        loss, stats = grpo_loss(
            tokens.logps, rollouts.logps, anatomy.before.logps, anatomy.advantages.flatten(),
            rollouts.mask, clip_low=config.clip_low, clip_high=config.clip_high, beta=config.beta,
            weights=weights)
        assert tokens.contribution.sum().item() == pytest.approx(loss.item(), abs=1e-6)
        found = (tokens.clipped.sum() / rollouts.mask.sum()).item()
        assert found == pytest.approx(stats["clip_fraction"], abs=1e-6)


def test_ratios_are_1_before_the_update_and_some_are_clipped_after_it(step):
    anatomy, _ = step
    real = anatomy.rollouts.mask > 0
    assert (anatomy.before.ratio[real] - 1).abs().max() < 1e-3
    assert not anatomy.before.clipped.any()
    assert anatomy.after.clipped.any()
    assert not anatomy.after.push[anatomy.after.clipped].any()  # no gradient is left there


def test_the_text_fits_into_100_columns_and_has_the_numbers(step):
    anatomy, _ = step
    text = explain.as_text(anatomy)
    assert max(map(len, text.splitlines())) <= 100
    rows = re.findall(r"^completion (\d)\.(\d): .*reward (\S+), advantage (\S+)$", text, re.M)
    assert len(rows) == 16
    for p, g, reward, advantage in rows:
        at = int(p) - 1, int(g) - 1
        assert float(reward) == pytest.approx(anatomy.totals[at].item(), abs=1e-3)
        assert float(advantage) == pytest.approx(anatomy.advantages[at].item(), abs=1e-3)
    b = explain.chosen_completion(anatomy)
    table = re.findall(r"^ *(\d+)  \|.*\|" + r" +(\S+)" * 7, text, re.M)
    assert len(table) == anatomy.rollouts.lengths[b]
    for t, *numbers in table:
        t = int(t) - 1
        wanted = [anatomy.weights[b, t], anatomy.before.logps[b, t], anatomy.before.ratio[b, t],
                  anatomy.before.contribution[b, t], anatomy.after.logps[b, t],
                  anatomy.after.ratio[b, t], anatomy.after.contribution[b, t]]
        assert [float(x) for x in numbers] == pytest.approx([x.item() for x in wanted], abs=1e-3)


def test_the_rule_of_each_reward_is_named(step):
    anatomy, _ = step
    text = " ".join(explain.as_text(anatomy).split())
    assert "the answer is wrong (answer 0)" in text
    assert "the answer is the gold answer (answer 1)" in text
    assert "Without routes there are no scores" in text


def test_grpo_shows_no_routes_and_mrpv_always_does():
    assert [len(routes) for routes in take_apart(method="grpo")[0].shown] == [0, 0]
    assert [len(routes) for routes in take_apart(method="mrpv")[0].shown] == [3, 3]


def test_a_step_in_which_nothing_differs_says_so(step):
    anatomy, _ = take_apart(max_new_tokens=4)  # too short for any answer
    text = " ".join(explain.as_text(anatomy).split())
    assert "no answer could be read" in text and "cut off" in text
    assert "this group teaches nothing" in text and "no update was made" in text


def test_the_command_prints_a_step_and_draws_it_and_makes_no_run(tmp_path, capsys):
    figure = tmp_path / "step.png"
    out = tmp_path / "run"
    train.main(["--explain", "--explain-figure", str(figure), "--prompts-per-step", "4",
                "--out", str(out)])
    assert "WHAT THE UPDATE DID" in capsys.readouterr().out
    assert figure.stat().st_size > 10_000 and not out.exists()


@pytest.mark.parametrize("flags, reason", [(["--method", "rft"], "no RL step"),
                                           (["--prompts-per-step", "1"], "at least 2"),
                                           (["--task", "market"], "tokenizer cannot write")])
def test_what_cannot_be_taken_apart_is_refused_in_one_line(flags, reason, tmp_path):
    with pytest.raises(SystemExit, match=reason):
        train.main(["--explain", "--out", str(tmp_path / "run"), *flags])
