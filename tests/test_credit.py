"""--reward-to-go: a token behind the answer is credited with what the scores earn, and no other.
--push-down: groups without routes whose answers are all wrong become less likely, and no others."""
import itertools
import random
from types import SimpleNamespace

import pytest
import torch

import engine.team
import train
from data import load_problems, make_routes
from engine.credit import behind_answer, push_down, token_advantages
from engine.policy import decode_completions
from grpo import group_advantages, grpo_update, load_policy
from helpers import Recorder, assert_same_gradients, by_hand, full_logps, small_model
from realm import Response
from rewards import Reward, realm_reward
from tasks import shop

SCALES = ("std", "none")


def random_rewards(rng, n, two_stage=True):
    """Rewards of n completions whose prompt has a right route and two wrong ones."""
    found = []
    for _ in range(n):
        response = Response("", rng.choice(["4", "5"]), [rng.random() for _ in range(3)])
        found.append(realm_reward(response, "4", [True, False, False], two_stage=two_stage))
    return found


def totals_of(rewards, group_size):
    return torch.tensor([reward.total for reward in rewards]).view(-1, group_size)


def everywhere(P, G, is_behind):
    return torch.full((P * G, 1), is_behind)


# ---- the advantages ------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("one_stage", [False, True])
def test_up_to_the_answer_the_advantages_are_those_of_grpo(scale, one_stage):
    rewards = random_rewards(random.Random(0), 40, not one_stage)
    A = group_advantages(totals_of(rewards, 8), scale)
    found = token_advantages(A, rewards, everywhere(5, 8, False), scale, one_stage)
    assert found.shape == (5, 8, 1) and torch.equal(found[..., 0], A)


def test_behind_a_wrong_answer_no_token_is_credited():
    rewards = random_rewards(random.Random(1), 400)
    A = group_advantages(totals_of(rewards, 8))
    found = token_advantages(A, rewards, everywhere(50, 8, True)).flatten()
    wrong = torch.tensor([reward.answer == 0 for reward in rewards])
    assert 100 < wrong.sum() < 300
    assert (found[wrong] == 0).all() and (found[~wrong] != 0).sum() > 100


def test_a_judgement_as_good_as_the_others_is_not_credited_with_its_answer():
    """GRPO gives the first one -1.5 for all of its tokens, the judgement among them."""
    rewards = [Reward(0.0, 0.0, 1.0, 1.0), *[Reward(1.5, 1.0, 1.0, 1.0)] * 3]
    A = group_advantages(totals_of(rewards, 4))
    assert A[0, 0] == pytest.approx(-1.5, abs=1e-3)
    assert (token_advantages(A, rewards, everywhere(1, 4, True)) == 0).all()


def test_where_all_scores_are_paid_the_answer_does_not_count_behind_it():
    rewards = [Reward(0.5, 0.0, 1.0, 1.0), *[Reward(1.5, 1.0, 1.0, 1.0)] * 3]  # one stage
    A = group_advantages(totals_of(rewards, 4))
    assert (token_advantages(A, rewards, everywhere(1, 4, True), one_stage=True) == 0).all()


def test_behind_the_answer_the_unit_is_the_spread_of_the_whole_rewards():
    """So that a token behind the answer and one before it are pushed on the same scale."""
    rewards = [Reward(1.5, 1.0, 1.0, 1.0), Reward(1.3, 1.0, 0.6, 1.0), Reward(0.0, 0.0, 1.0, 1.0)]
    totals = totals_of(rewards, 3)
    A = group_advantages(totals)
    found = token_advantages(A, rewards, everywhere(1, 3, True))[0, :, 0]
    wanted = torch.tensor([0.1, -0.1, 0.0]) / (totals.std() + 1e-4)
    assert torch.allclose(found, wanted)


def test_a_group_without_spread_has_no_gradient_behind_the_answer_either():
    """Rounding noise must not become an advantage."""
    rewards = [Reward(1.5 + 1e-7 * i, 1.0, 1.0, 1.0) for i in range(8)]
    A = group_advantages(totals_of(rewards, 8))
    assert (token_advantages(A, rewards, everywhere(1, 8, True)) == 0).all()


@pytest.mark.parametrize("answers", [(1, 1, 0), (1, 1, 1), (1, 0, 0)])
@pytest.mark.parametrize("one_stage", [False, True])
def test_the_gradient_of_the_judgement_is_right_in_the_mean(answers, one_stage):
    """Enumerated: each completion ends in one of three judgements, drawn from a softmax. A mean
    that holds the completion itself shrinks the gradient by (n - 1) / n, as it does in GRPO; n is
    the number of completions whose scores are paid."""
    utilities = torch.tensor([0.0, 0.3, 1.0])
    logits = torch.tensor([0.2, -0.4, 0.5], dtype=torch.float64, requires_grad=True)
    logps = torch.log_softmax(logits, 0)
    surrogate = 0.0
    for choice in itertools.product(range(3), repeat=3):
        rewards = []
        for answer, judgement in zip(answers, choice):
            utility = utilities[judgement].item()
            gate = 1.0 if one_stage else answer
            rewards.append(Reward(answer + gate * 0.5 * utility, float(answer), utility, 1.0))
        A = group_advantages(totals_of(rewards, 3), "none")
        A = token_advantages(A, rewards, everywhere(1, 3, True), "none", one_stage).flatten()
        probability = logps[list(choice)].sum().exp().detach()
        surrogate = surrogate + probability * (A * logps[list(choice)]).sum()
    found, = torch.autograd.grad(surrogate, logits)
    earned = (torch.softmax(logits, 0) * 0.5 * utilities).sum()  # by one completion that is paid
    wanted, = torch.autograd.grad(earned, logits)
    n = 3 if one_stage else sum(answers)
    assert torch.allclose(found, (n - 1) * wanted, atol=1e-6)
    assert n == 1 or found.abs().max() > 0.01


# ---- where the answer ends -----------------------------------------------------------------------
def written(tokenizer, texts):
    """Completions with these texts, as a sampler leaves them."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    rows = [row + [tokenizer.eos_token_id] for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max()) + 2), tokenizer.pad_token_id)
    for i, row in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
    return SimpleNamespace(completion_ids=ids, lengths=lengths,
                           texts=decode_completions(tokenizer, rows), group_size=2)


def test_behind_the_answer_is_what_follows_the_last_one():
    tokenizer = load_policy("tiny-checks")[1]
    texts = ["<think> tea @40;</think>\n<answer> 40</answer> route 1: tea @40 @55 no.\n"
             "<scores> 0</scores>",
             "<think> tea @40;</think>\n<answer> 40</answer>\n<answer> 55</answer> yes.",
             "<think> tea @40;</think>\n<answer> 40",
             ""]
    rollouts = written(tokenizer, texts)
    behind = behind_answer(tokenizer, rollouts)
    assert behind.shape == rollouts.completion_ids.shape
    for row, n, text, first in zip(range(4), rollouts.lengths.tolist(), texts,
                                   (" route 1:", " yes.", None, None)):
        ids = rollouts.completion_ids[row, :n][behind[row, :n]].tolist()
        if first is None:
            assert not behind[row].any()
        else:
            assert tokenizer.decode(ids, skip_special_tokens=True) == text[text.index(first):]


def test_groups_without_spread_are_not_looked_at():
    tokenizer = load_policy("tiny-checks")[1]
    text = "<think> tea @40;</think>\n<answer> 40</answer>\n<scores> 1</scores>"
    rollouts = written(tokenizer, [text] * 4)  # two groups of two
    everywhere = behind_answer(tokenizer, rollouts)
    found = behind_answer(tokenizer, rollouts, live=torch.tensor([False, True]))
    assert not found[:2].any() and everywhere.any(1).all()
    assert torch.equal(found[2:], everywhere[2:])


class Pieces:
    """A tokenizer whose token i is the text pieces[i]."""
    all_special_ids, added_tokens_decoder = [], {}

    def __init__(self, pieces):
        self.pieces = pieces

    def batch_decode(self, rows, skip_special_tokens):
        return ["".join(self.pieces[i] for i in row) for row in rows]


@pytest.mark.parametrize("seed", range(20))
def test_a_token_that_ends_the_answer_and_begins_what_follows_is_not_behind_it(seed):
    """A real tokenizer cuts a tag anywhere, also in the middle of a token."""
    text = "<think>a</think><answer>4</answer>\n<scores>1, 0</scores>"
    cuts = sorted(random.Random(seed).sample(range(1, len(text)), 12))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    rollouts = SimpleNamespace(completion_ids=torch.arange(len(pieces))[None],
                               lengths=torch.tensor([len(pieces)]), texts=[text],
                               group_size=1)
    behind = behind_answer(Pieces(pieces), rollouts)[0].tolist()
    end = text.index("</answer>") + len("</answer>")
    assert behind == [a >= end for a in [0, *cuts]]


# ---- groups that are all wrong -------------------------------------------------------------------
def answered(*answers):
    return [Reward(float(answer), float(answer), 0.0, 1.0) for answer in answers]


def test_the_push_is_the_gradient_of_pass_at_G():
    """Enumerated: a group of three answers, drawn from a policy of five of which one is right. The
    second prompt has two right answers of three, so that m is 2/6 where the first has none."""
    logits = torch.tensor([0.3, -0.7, 0.1, 1.2, 0.5], dtype=torch.float64, requires_grad=True)
    logps = torch.log_softmax(logits, 0)
    surrogate = 0.0
    for choice in itertools.product(range(5), repeat=3):
        rewards = answered(*[answer == 1 for answer in choice], 1, 1, 0)
        A = push_down(torch.zeros(2, 3), rewards, [True, True])[0]
        probability = logps[list(choice)].sum().exp().detach()
        surrogate = surrogate + probability * (A * logps[list(choice)]).sum()
    found, = torch.autograd.grad(surrogate, logits)
    pass_at_3 = 1 - (1 - torch.softmax(logits, 0)[1]) ** 3
    wanted, = torch.autograd.grad(2 / 6 * pass_at_3, logits)
    assert torch.allclose(found, wanted, atol=1e-6) and found.abs().max() > 0.01


@pytest.mark.parametrize("seed", range(10))
def test_only_groups_without_routes_that_are_all_wrong_are_pushed(seed):
    rng = random.Random(seed)
    alone = [rng.random() < 0.6 for _ in range(30)]
    rights = [rng.choice([0, 0, 1, 4]) for _ in range(30)]  # right answers of four
    rewards = answered(*[i < right for right in rights for i in range(4)])
    A = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
    found = push_down(A, rewards, alone)
    shown_none = [right for right, without in zip(rights, alone) if without]
    m = sum(shown_none) / (4 * len(shown_none))
    pushed = 0
    for before, after, without, right in zip(A, found, alone, rights):
        if without and right == 0:
            assert after.tolist() == pytest.approx([-m] * 4)
            pushed += 1
        else:
            assert torch.equal(after, before)
    assert 0 < pushed < 30 and m > 0


@pytest.mark.parametrize("alone", [[False, False], [True, True]])
def test_nothing_is_pushed_while_no_answer_without_routes_is_right(alone):
    """Nor is anything not a number where all prompts carry routes."""
    rewards = answered(0, 0, 0, 0)
    assert torch.equal(push_down(torch.zeros(2, 2), rewards, alone).abs(), torch.zeros(2, 2))


# ---- the update ----------------------------------------------------------------------------------
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_each_token_is_pushed_by_its_own_advantage(loss_type):
    """Against the loss of each token, written out. Parts of 4 rows cut the groups' widths."""
    model = small_model()
    rollouts = by_hand(model)
    B, C = rollouts.completion_ids.shape
    A = torch.randn(B, C, generator=torch.Generator().manual_seed(0))
    recorder = Recorder(model)
    grpo_update(model, recorder, rollouts, A.view(3, 4, C), micro_batch=4, loss_type=loss_type)

    losses = []
    logps = full_logps(model, rollouts)
    for b, n in enumerate(rollouts.lengths.tolist()):
        ratio = (logps[b, :n] - rollouts.logps[b, :n]).exp()
        loss = -torch.minimum(ratio * A[b, :n], ratio.clamp(0.8, 1.2) * A[b, :n])
        share = {"grpo": 1 / (n * B), "dapo": 1 / rollouts.lengths.sum(), "dr_grpo": 1 / (B * C)}
        losses.append(loss.sum() * share[loss_type])
    wanted = torch.autograd.grad(sum(losses), list(model.parameters()))
    assert_same_gradients(recorder.steps[0], wanted)


def test_the_same_advantage_for_all_tokens_is_grpo():
    model = small_model()
    rollouts = by_hand(model)
    C = rollouts.completion_ids.shape[1]
    A = torch.tensor([[1.0, -0.5, 0.25, -0.75], [0.0] * 4, [-1.0, 1.0, -1.0, 1.0]])
    found, wanted = Recorder(model), Recorder(model)
    grpo_update(model, found, rollouts, A[..., None].expand(3, 4, C))
    grpo_update(model, wanted, rollouts, A)
    for a, b in zip(found.steps[0], wanted.steps[0], strict=True):
        assert torch.equal(a, b)


def watch_updates(monkeypatch):
    """A dict that gets the rollouts and the advantages of each update of a step."""
    seen = {}

    def watched(model, optimizer, rollouts, advantages, **settings):
        seen.update(rollouts=rollouts, advantages=advantages)
        return grpo_update(model, optimizer, rollouts, advantages, **settings)

    monkeypatch.setattr(engine.team, "grpo_update", watched)
    return seen


@pytest.mark.parametrize("one_stage", [False, True])
def test_a_step_credits_what_stands_behind_the_answer_with_the_scores_alone(monkeypatch, one_stage):
    config = train.Config(model="tiny-checks", steps=10, prompts_per_step=8, group_size=4,
                          max_new_tokens=128, reward_to_go=True, one_stage=one_stage)
    train.fill_in_defaults(config, tiny=True)
    problems = make_routes(load_problems("shop", "train", 8), shop.teacher(error=0.1), 4)
    model, tokenizer = load_policy("tiny-checks")
    seen = watch_updates(monkeypatch)
    rewards, real_reward = [], train.realm_reward

    def rewarded(*given):
        rewards.append(real_reward(*given))
        return rewards[-1]

    monkeypatch.setattr(train, "realm_reward", rewarded)
    metrics, _, _ = train.rl_step(model, tokenizer, None, train.Optimizer(model, 0.0), problems,
                                  config, 0)
    A = seen["advantages"]  # [P, G, C]
    live = (A != 0).flatten(1).any(1)
    behind = behind_answer(tokenizer, seen["rollouts"]).view(A.shape)[live]
    A = A[live]
    assert metrics["live"] == live.double().mean() > 0
    first = A[..., :1]  # no answer ends with the first token
    assert torch.equal(A[~behind], first.expand_as(A)[~behind])
    assert (A[behind] != first.expand_as(A)[behind]).any()
    assert one_stage or (A[behind] == 0).any()
    wrong = torch.tensor([reward.answer == 0 for reward in rewards]).view(8, 4)[live]
    credited = ((A != 0) & behind).any(-1)
    assert (credited & wrong).any() == one_stage


@pytest.mark.parametrize("reward_to_go", [False, True])
def test_a_step_pushes_groups_that_are_all_wrong(monkeypatch, reward_to_go):
    """Of three prompts the first has right and wrong answers, the second only wrong ones, the third
    only right ones. `live` stays the share of groups with spread. With --reward-to-go nothing that
    stands behind a wrong answer is pushed."""
    config = train.Config(steps=10, prompts_per_step=3, group_size=4, max_new_tokens=96,
                          method="grpo", push_down=True, reward_to_go=reward_to_go)
    train.fill_in_defaults(config, tiny=True)
    model, tokenizer = load_policy("tiny")
    rewards = iter(answered(1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1))
    seen = watch_updates(monkeypatch)
    monkeypatch.setattr(train, "realm_reward", lambda *given: next(rewards))
    metrics, _, _ = train.rl_step(model, tokenizer, None, train.Optimizer(model, 0.0),
                                  load_problems("shop", "train", 3), config, 0)
    A = seen["advantages"].view(3, 4, -1)[..., 0]  # of each completion's first token
    assert (A[0] != 0).all() and A[0].sum().item() == pytest.approx(0, abs=1e-6)
    assert A[1].tolist() == pytest.approx([-0.5] * 4)
    assert (A[2] == 0).all()
    assert metrics["live"] == pytest.approx(1 / 3) and metrics["grad_norm"] > 0
    if reward_to_go:
        behind = behind_answer(tokenizer, seen["rollouts"])[4:8]  # of the second prompt
        assert behind.any() and (seen["advantages"][1][behind] == 0).all()
