"""Two ways to credit tokens that GRPO does not have. Both are ours, and off by default.

*Credit by part* (--reward-to-go). GRPO gives every token of a completion the same advantage. But a
student judges the routes behind its answer, and nothing that it writes there changes the answer any
more. Where an answer is wrong, GRPO pushes a flawless judgement of the routes down with it. In the
mean this noise is zero, but it wears a judgement down that is hardly ever paid for. So we use what
policy gradients call the reward to go: a token is credited with what is earned from it on. (GRPO's
authors do so for rewards of single steps of reasoning: DeepSeekMath, arXiv 2402.03300, section
4.1.3.)

    up to the answer's end    A_i = (R_i - mean(R)) / (std(R) + eps), as ever
    behind it                 (s_i - mean(s)) / (std(R) + eps),  s_i = R_i - answer_i: what the
                              scores earn; the mean is over the completions whose scores are paid.
                              Where they are not, 0: nothing that stands here earns anything.

*Groups that are all wrong* (--push-down). GRPO learns nothing from a prompt whose G answers are all
wrong. A student that is sure of a wrong price therefore stays sure of it once the routes are gone.
With this flag each completion of such a group has

    A_i = -m,                 m = the share of right answers among the step's completions of prompts
                              without routes

This is the gradient of one more aim: m times the probability that one of G answers is right
(pass@G). At first m is 0, because no answer without routes is right, and nothing is pushed. NGRPO
(arXiv 2509.18851) pushes such groups, too, by a reward that nobody earned in the group's mean.

Promise: gradients that are right in the mean. A token up to the end of the answer has GRPO's
advantage, unless its whole group is wrong.
To read: our_credit.
Held to it by tests/test_credit.py.
"""
from bisect import bisect_left

import torch

from engine.policy import decode_completions

ANSWER_ENDS = "</answer>"


def our_credit(advantages, scale, config, tokenizer, rollouts, rewards, shown):
    """GRPO's advantages [P, G] -> those that the flags ask for, [P, G] or of tokens [P, G, C].
    Without the two flags they are GRPO's own.

    rewards: a Reward for each of the B = P * G completions, those of a prompt side by side. shown:
    for each prompt the list of its routes, empty where it carried none. scale: as in
    grpo.group_advantages.
    """
    credit = advantages
    if config.push_down:
        credit = push_down(credit, rewards, [not routes for routes in shown])
    if config.reward_to_go:
        behind = behind_answer(tokenizer, rollouts, live=credit.any(1))
        credit = token_advantages(credit, rewards, behind, scale, config.one_stage)
    return credit


def push_down(advantages, rewards, alone):
    """Advantages [P, G] -> the same, but -m in groups without routes whose answers are all wrong.

    rewards: of each of the P * G completions. alone: P bools, does a prompt carry no routes?

    Three prompts without routes, of whose six answers three are right, and one with routes:

    >>> from rewards import Reward
    >>> right, wrong = Reward(1.0, 1.0, 0.0, 1.0), Reward(0.0, 0.0, 0.0, 1.0)
    >>> rewards = [right, wrong, right, right, wrong, wrong, wrong, wrong]
    >>> A = torch.tensor([[0.7, -0.7], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    >>> push_down(A, rewards, [True, True, True, False])
    tensor([[ 0.7000, -0.7000],
            [ 0.0000,  0.0000],
            [-0.5000, -0.5000],
            [ 0.0000,  0.0000]])
    """
    alone = torch.tensor(alone)
    answers = torch.tensor([reward.answer for reward in rewards]).view_as(advantages)  # [P, G]
    m = answers[alone].mean()  # not a number if no prompt is alone, and then nothing is pushed
    all_wrong = alone & (answers == 0).all(1)
    return torch.where(all_wrong[:, None], -m, advantages)


def token_advantages(advantages, rewards, behind, scale="std", one_stage=False):
    """Advantages of completions [P, G] -> those of their tokens [P, G, C].

    rewards: a Reward for each of the B = P * G completions, those of a prompt side by side. behind:
    [B, C] bool, from behind_answer. scale: as in grpo.group_advantages. one_stage: are scores paid
    after a wrong answer, too?

    Two right answers whose scores earn 0.5 and 0.4, and a wrong one:

    >>> from rewards import Reward
    >>> rewards = [Reward(1.5, 1, 1, 1), Reward(1.4, 1, 0.8, 1), Reward(0.0, 0, 1, 1)]
    >>> A = torch.tensor([[0.6, 0.5, -1.1]])
    >>> behind = torch.tensor([[False, True]]).expand(3, 2)  # two tokens each: answer, scores
    >>> token_advantages(A, rewards, behind, scale="none")[0].round(decimals=2) + 0  # no -0.
    tensor([[ 0.6000,  0.0500],
            [ 0.5000, -0.0500],
            [-1.1000,  0.0000]])
    """
    totals = torch.tensor([reward.total for reward in rewards]).view_as(advantages)
    answers = torch.tensor([reward.answer for reward in rewards]).view_as(advantages)
    paid = torch.ones_like(answers) if one_stage else answers
    earned = totals - answers  # s [P, G]
    mean = (earned * paid).sum(1, keepdim=True) / paid.sum(1, keepdim=True).clamp_min(1)
    to_go = (earned - mean) * paid
    if scale == "std":
        to_go = to_go / (totals.std(1, keepdim=True) + 1e-4)
    to_go = to_go * advantages.any(1, keepdim=True)  # a group without spread has no gradient
    behind = behind.view(*advantages.shape, -1)
    return torch.where(behind, to_go[..., None], advantages[..., None])


def behind_answer(tokenizer, rollouts, live=None):
    """Which tokens stand behind the end of a completion's last answer? -> [B, C] bool, on the CPU.

    Without an answer none does. live [P] bool: groups to look at (default: all). Looking takes
    time, and in a group without spread no token has an advantage anyway.
    """
    C = rollouts.completion_ids.shape[1]
    first = []
    for i, text in enumerate(rollouts.texts):
        tag = text.rfind(ANSWER_ENDS)
        is_live = live is None or live[i // rollouts.group_size]
        if tag < 0 or not is_live:
            first.append(C)
            continue
        ids = rollouts.completion_ids[i, :rollouts.lengths[i]].tolist()
        first.append(tokens_of(tokenizer, ids, tag + len(ANSWER_ENDS)))
    return torch.arange(C) >= torch.tensor(first)[:, None]


def tokens_of(tokenizer, ids, characters):
    """How many of the first tokens hold so many characters of their text."""
    def length(n):
        return len(decode_completions(tokenizer, [ids[:n]])[0])

    return bisect_left(range(len(ids) + 1), characters, key=length)
