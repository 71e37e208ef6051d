"""One step of RL, taken apart for a reader: as text for a terminal, and as a figure for slides.

Promise: every number shown is one that the method itself computed. Nothing here writes the
    formulas of the reward, the advantage or the loss a second time.
To read: take_apart makes the step, as_text prints it, draw makes the picture.
Tests:   tests/test_explain.py
"""
import random
import textwrap
from dataclasses import dataclass

import torch

from engine.optimizer import Optimizer
from engine.policy import must_write
from engine.text import printable
from grpo import (Rollouts, completion_logps, group_advantages, grpo_loss, grpo_update, sample,
                  token_weights)
from realm import Problem, Response, choose_routes, mrpv_prompt, parse_response
from rewards import Reward, answers_match, realm_reward

WIDTH = 100       # columns of the text
MOST_TOKENS = 80  # rows of the token table; the middle of a longer completion is left out
LONGEST = 600     # characters shown of a text; the middle of a longer one is left out


@dataclass
class Tokens:
    """What the loss makes of every token. All are [B, C]; 0 beyond a completion's end."""
    logps: torch.Tensor         # log pi now
    ratio: torch.Tensor         # pi now / pi when sampled
    clipped: torch.Tensor       # bool: the clip has taken the gradient away
    contribution: torch.Tensor  # to the loss; they sum to it
    push: torch.Tensor          # -d loss / d log pi: above 0 where the token is made likelier


@dataclass
class Anatomy:
    """One step with two prompts. G completions of each; B = 2G rows."""
    config: object
    problems: list[Problem]      # [2]
    shown: list[list]            # [2] the routes that each prompt carries
    responses: list[Response]    # [B]
    rewards: list[Reward]        # [B]
    totals: torch.Tensor         # [2, G]
    advantages: torch.Tensor     # [2, G]
    rollouts: Rollouts
    weights: torch.Tensor        # [B, C]
    before: Tokens
    after: Tokens                # after one update; old is still the sampler's
    update: dict                 # the metrics of that update
    tokens: list                 # [B] the text of each token
    candidates: int              # prompts that were sampled, of which these are two


# ---- the step ------------------------------------------------------------------------------------
def take_apart(model, tokenizer, problems, config):
    """Make one step with two prompts -> Anatomy. The model is updated once.

    problems: with at least k routes each; a step's number of them is sampled. config: train.py's.
    The two prompts are the first whose group has rewards that differ, one with routes and one
    without, or else the first. The learning rate is the full one, for there is no warm-up here.
    Raises ValueError for fewer than two problems, for a method without RL, and for a tokenizer that
    cannot write the questions.
    """
    if config.method == "rft":
        raise ValueError("--explain: --method rft has no RL step to take apart")
    if len(problems) < 2:
        raise ValueError("--explain shows two prompts: --prompts-per-step must be at least 2")
    must_write(tokenizer, [problem.question for problem in problems], config.model)
    shown = routes_of(problems, config)
    rollouts = sample_groups(model, tokenizer, problems, shown, config)
    responses, rewards = reward_all(problems, shown, rollouts.texts, config)
    pair = two_prompts(shown, rewards, config.group_size)
    rows, rollouts = rollouts.select(pair)
    responses = [responses[i] for i in rows.tolist()]
    rewards = [rewards[i] for i in rows.tolist()]

    totals = torch.tensor([reward.total for reward in rewards]).view(2, config.group_size)
    advantages = group_advantages(totals, "none" if config.loss_type == "dr_grpo" else "std")
    with torch.no_grad():
        reference = completion_logps(model, rollouts, config.temperature)  # the policy as it is
    before, weights = look_at(model, rollouts, advantages, reference, config)
    optimizer = Optimizer(model, config.lr)
    update = grpo_update(
        model, optimizer, rollouts, advantages, micro_batch=config.micro_batch,
        temperature=config.temperature, loss_type=config.loss_type, clip_low=config.clip_low,
        clip_high=config.clip_high, max_len=config.max_new_tokens)
    after, _ = look_at(model, rollouts, advantages, reference, config)
    ids = [row[:n] for row, n in zip(rollouts.completion_ids.tolist(), rollouts.lengths.tolist())]
    return Anatomy(
        config, [problems[p] for p in pair], [shown[p] for p in pair], responses, rewards, totals,
        advantages, rollouts, weights, before, after, update,
        [[tokenizer.decode([i]) for i in row] for row in ids], len(problems))


def routes_of(problems, config):
    """The routes that each prompt carries: k for the first half, none for the second.

    With --method mrpv every prompt carries some, and with --method grpo none does.
    """
    rng = random.Random(f"{config.seed} explain")
    shown = []
    for i, problem in enumerate(problems):
        carries_routes = config.method == "mrpv" or i < len(problems) / 2
        if config.method == "grpo" or not carries_routes:
            shown.append([])
        else:
            shown.append(choose_routes(problem.routes, config.routes, rng, config.error_ratio,
                                       config.selection))
    return shown


def sample_groups(model, tokenizer, problems, shown, config):
    """G completions of each prompt -> Rollouts, as in a step of a run."""
    prompts = [mrpv_prompt(problem.question, routes) for problem, routes in zip(problems, shown)]
    generator = torch.Generator(model.device).manual_seed(config.seed)
    return sample(model, tokenizer, prompts, config.group_size, config.max_new_tokens,
                  config.temperature, generator=generator)


def reward_all(problems, shown, texts, config):
    """What the parser took from each completion and what it earned -> (Responses, Rewards)."""
    responses, rewards = [], []
    for i, text in enumerate(texts):
        problem, routes = problems[i // config.group_size], shown[i // config.group_size]
        response = parse_response(text, n_routes=len(routes))
        labels = [route.correct for route in routes]
        responses.append(response)
        rewards.append(realm_reward(response, problem.answer, labels, config.utility_weight,
                                    not config.one_stage))
    return responses, rewards


def two_prompts(shown, rewards, group_size):
    """The indices of two prompts, one with routes and one without where there are both."""
    def dull(p):
        totals = {reward.total for reward in rewards[p * group_size:(p + 1) * group_size]}
        return len(totals) == 1

    ordered = sorted(range(len(shown)), key=dull)  # groups that differ come first
    first = next((p for p in ordered if shown[p]), ordered[0])
    others = [p for p in ordered if p != first]
    second = next((p for p in others if not shown[p]), others[0])
    return [first, second]


def look_at(model, rollouts, advantages, reference, config):
    """What the loss is now, token by token -> (Tokens, weights [B, C]). The model is not changed.

    The loss is the sum of token losses times weights. So its derivative by a weight is a token's
    loss, and grpo_loss itself says what each token contributes.
    """
    with torch.no_grad():
        logps = completion_logps(model, rollouts, config.temperature)
    logps.requires_grad_()
    mask = rollouts.mask
    weights = token_weights(mask, config.loss_type, config.max_new_tokens).requires_grad_()
    A = advantages.flatten().to(logps.device)

    def derivatives(beta):
        loss, _ = grpo_loss(logps, rollouts.logps, reference, A, mask, clip_low=config.clip_low,
                            clip_high=config.clip_high, beta=beta, weights=weights)
        return torch.autograd.grad(loss, [logps, weights])

    by_logp, _ = derivatives(0.0)
    clipped = (by_logp == 0) & (A[:, None] != 0) & (mask > 0)
    by_logp, token_loss = derivatives(config.beta)
    weights = weights.detach()
    ratio = (logps.detach() - rollouts.logps).exp() * mask
    contribution = token_loss * weights + 0.0  # + 0.0 makes a zero of a negative zero
    return Tokens(logps.detach(), ratio, clipped, contribution, -by_logp), weights


# ---- the text ------------------------------------------------------------------------------------
def as_text(anatomy):
    """The step as text of at most WIDTH columns."""
    config = anatomy.config
    G = config.group_size
    lines = wrap(
        f"ONE STEP, TAKEN APART. {anatomy.candidates} prompts were sampled, {G} completions of "
        f"each, at temperature {config.temperature:g}. The step is made from the two below alone, "
        "so that every number can be followed. Groups whose rewards differ are shown first.")
    for p in range(2):
        lines += ["", *prompt_lines(anatomy, p)]
        for g in range(G):
            lines += ["", *completion_lines(anatomy, p * G + g)]
        lines += ["", *group_lines(anatomy, p)]
    lines += ["", *token_table(anatomy, chosen_completion(anatomy))]
    lines += ["", *effect_lines(anatomy)]
    return "\n".join(lines)


def heading(words):
    """A heading across the page."""
    return f"==== {words} ".ljust(WIDTH, "=")


def wrap(text, indent=""):
    """Text in lines of at most WIDTH columns."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def block(text, indent):
    """Text of a stranger in lines of at most WIDTH columns; a long one loses its middle."""
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]} [... {len(text) - LONGEST} characters ...] {text[-half:]}"
    lines = []
    for line in printable(text).split("\n"):
        lines += wrap(line, indent) or [""]
    return lines


def prompt_lines(anatomy, p):
    """The prompt, its gold answer and its routes with the labels that the student does not see."""
    problem, routes = anatomy.problems[p], anatomy.shown[p]
    carried = f"with {len(routes)} routes" if routes else "without routes"
    lines = [heading(f"PROMPT {p + 1}, {carried}"), *block(f"Problem: {problem.question}", "")]
    for i, route in enumerate(routes, start=1):
        label = "right" if route.correct else "wrong"
        lines += block(f"Route {i} [{label}]: {route.text}", "")
    lines += block(f"The gold answer is {problem.answer}.", "")
    if routes:
        lines += wrap("The labels in brackets and the gold answer are hidden from the student.")
    return lines


def completion_lines(anatomy, b):
    """One completion: its text, what the parser took, its reward part by part, its advantage."""
    G = anatomy.config.group_size
    p, g = b // G, b % G
    reward, response = anatomy.rewards[b], anatomy.responses[b]
    advantage = anatomy.advantages[p, g].item()
    n = int(anatomy.rollouts.lengths[b])
    cut = "" if anatomy.rollouts.finished[b] else ", cut off at the limit"
    scores = ""
    if anatomy.shown[p]:
        read = response.scores
        scores = ", scores " + ("none" if read is None else " ".join(f"{s:g}" for s in read))
    lines = [f"completion {p + 1}.{g + 1}: {n} tokens{cut}; reward {reward.total:.3f}, "
             f"advantage {advantage:+.3f}"]
    lines += block(anatomy.rollouts.texts[b], "    ")
    reasoning = "none" if response.reasoning is None else "read"
    taken = f"parser: reasoning {reasoning}, answer {response.answer or 'none'}{scores}"
    lines += block(taken, "    ")
    lines += wrap("reward: " + reward_in_words(anatomy, b), "    ")
    return lines


def reward_in_words(anatomy, b):
    """How a completion came by its reward: the rule, then the numbers."""
    config = anatomy.config
    reward, response = anatomy.rewards[b], anatomy.responses[b]
    p = b // config.group_size
    routes, gold = anatomy.shown[p], anatomy.problems[p].answer
    if reward.answer:
        rule = "the answer is the gold answer (answer 1)"
    elif response.answer is None:
        rule = "no answer could be read (answer 0)"
    elif response.reasoning is None and answers_match(response.answer, gold):
        rule = "the answer is right, but has no reasoning in <think> (answer 0)"
    else:
        rule = "the answer is wrong (answer 0)"
    if not routes:
        return f"{rule}. Without routes there are no scores. R = {reward.total:g}"
    if response.scores is None:
        rule += f"; there is not one score for each of {len(routes)} routes (utility 0)"
    else:
        labels = " ".join(str(int(route.correct)) for route in routes)
        rule += f"; the labels are {labels} (utility {reward.utility:.3g})"
    w = f"{config.utility_weight:g} x {reward.utility:.3g}"
    if config.one_stage:
        return f"{rule}. R = {reward.answer:g} + {w} = {reward.total:.3f}"
    if not reward.answer:
        rule += "; a wrong answer is not paid for its scores"
    return f"{rule}. R = {reward.answer:g} x (1 + {w}) = {reward.total:.3f}"


def group_lines(anatomy, p):
    """The group's rewards, mean, spread and advantages."""
    totals, advantages = anatomy.totals[p], anatomy.advantages[p]
    mean, spread = totals.mean().item(), totals.std().item()
    lines = [f"group {p + 1}: mean reward {mean:.3f}, spread {spread:.3f} (standard deviation, "
             "over n - 1)"]
    lines += wrap("rewards     " + " ".join(f"{x:7.3f}" for x in totals.tolist()), "    ")
    lines += wrap("advantages  " + " ".join(f"{x:+7.3f}" for x in advantages.tolist()), "    ")
    if not advantages.any():
        return lines + wrap("All earned the same. There is nothing to compare, every advantage is "
                            "exactly 0, and this group teaches nothing.", "    ")
    how = "R - mean" if anatomy.config.loss_type == "dr_grpo" else "(R - mean) / (spread + 0.0001)"
    total = abs(advantages.sum().item())
    return lines + wrap(f"advantage = {how}. They sum to {total:.3f}.", "    ")


def chosen_completion(anatomy):
    """The row whose tokens are shown: of the largest advantage."""
    return int(anatomy.advantages.flatten().argmax())


def token_table(anatomy, b):
    """One completion token by token, before the update and after it."""
    G = anatomy.config.group_size
    advantage = anatomy.advantages.flatten()[b].item()
    low, high = 1 - anatomy.config.clip_low, 1 + anatomy.config.clip_high
    lines = [heading(f"COMPLETION {b // G + 1}.{b % G + 1}, TOKEN BY TOKEN")]
    lines += wrap(
        f"Its advantage is {advantage:+.3f}. A token's loss is -min(ratio x A, clip(ratio, "
        f"{low:g}, {high:g}) x A); times its weight it is what the token contributes. In the first "
        "pass the policy is the one that sampled: all ratios are 1, and nothing is clipped. The "
        "second pass is after one update (what --epochs 2 would see).")
    lines += ["", f"{'':22}{'':>9}   {'first pass':<28}second pass",
              f"   t  {'token':<16}{'weight':>9}{'log p':>9}{'ratio':>8}{'loss':>10}"
              f"{'log p':>11}{'ratio':>8}{'':3}{'loss':>10}{'clipped':>10}"]
    n = int(anatomy.rollouts.lengths[b])
    for t in range(n):
        if n > MOST_TOKENS and MOST_TOKENS // 2 <= t < n - MOST_TOKENS // 2:
            if t == MOST_TOKENS // 2:
                lines.append(f"   ... {n - MOST_TOKENS // 2 * 2} tokens are left out ...")
            continue
        lines.append(token_row(anatomy, b, t))
    sums = [tokens.contribution[b].sum().item() for tokens in (anatomy.before, anatomy.after)]
    total = anatomy.weights[b].sum().item()
    lines.append(f"      {'sum':<16}{total:>9.5f}{'':17}{sums[0]:>+10.5f}{'':22}{sums[1]:>+10.5f}")
    losses = [tokens.contribution.sum().item() for tokens in (anatomy.before, anatomy.after)]
    return lines + ["", *loss_in_words(anatomy, losses)]


def token_row(anatomy, b, t):
    """One row of the token table."""
    token = repr(printable(anatomy.tokens[b][t].replace("\n", "\\n")))[1:-1].replace("\\\\", "\\")
    token = f"|{token[:13]}|"
    first, second = anatomy.before, anatomy.after
    clipped = "clipped" if second.clipped[b, t] else ""
    return (f"{t + 1:>4}  {token:<16}{anatomy.weights[b, t].item():>9.5f}"
            f"{first.logps[b, t].item():>9.3f}{first.ratio[b, t].item():>8.3f}"
            f"{first.contribution[b, t].item():>+10.5f}"
            f"{second.logps[b, t].item():>11.3f}{second.ratio[b, t].item():>8.3f}{'':3}"
            f"{second.contribution[b, t].item():>+10.5f}{clipped:>10}").rstrip()


def loss_in_words(anatomy, losses):
    """What the loss of the whole step is, before and after, and what that means."""
    mask = anatomy.rollouts.mask
    lines = wrap(f"The loss of the whole step is {losses[0]:+.5f} in the first pass and "
                 f"{losses[1]:+.5f} in the second.")
    if not anatomy.advantages.any():
        return lines + wrap("No group has rewards that differ, so there is no gradient and no "
                            "update was made.")
    if anatomy.config.loss_type == "grpo" and not anatomy.config.beta:
        lines += wrap("In the first pass it is 0 up to rounding, because the advantages of a group "
                      "sum to 0 and every ratio is 1. Its gradient is not 0: each token of a "
                      "completion is pushed by its advantage times its weight.")
    share = (anatomy.after.clipped.sum() / mask.sum()).item()
    return lines + wrap(f"In the second pass {share:.1%} of all tokens are clipped: their ratio "
                        "has already moved far enough with the advantage, and they have no "
                        "gradient.")


def effect_lines(anatomy):
    """What the update did to the probability of the best and the worst completion of each group."""
    G = anatomy.config.group_size
    lines = [heading("WHAT THE UPDATE DID")]
    if not anatomy.advantages.any():
        return lines + wrap("There was none: no advantage differs from 0.")
    lines += wrap(f"One step of AdamW at a learning rate of {anatomy.config.lr:g}, without "
                  f"warm-up. The norm of the gradient was {anatomy.update['grad_norm']:.3f}.")
    for p in range(2):
        order = anatomy.totals[p].argsort(descending=True, stable=True)
        for name, g in (("best", int(order[0])), ("worst", int(order[-1]))):
            before, after = (tokens.logps[p * G + g].sum().item()
                             for tokens in (anatomy.before, anatomy.after))
            advantage = anatomy.advantages[p, g].item()
            lines.append(f"  {name:<5} of group {p + 1} ({p + 1}.{g + 1}, advantage "
                         f"{advantage:+.3f}): log p {before:.2f} -> {after:.2f}, "
                         f"{times(before, after)}")
    live = anatomy.advantages.any(1).tolist()
    if live.count(True) == 1:
        lines += wrap("A group whose advantages are all 0 pushes nothing. It moves all the same, "
                      "because the weights that the other group moved are its weights too.")
    return lines


def times(before, after):
    """How much likelier a completion is, in words.

    >>> times(-3.0, -2.0), times(-2.0, -3.0), times(-2.0, -2.0)
    ('2.72 times as likely', '0.368 times as likely', 'as likely as before')
    """
    ratio = f"{torch.tensor(after - before).exp().item():.3g}"
    return "as likely as before" if ratio == "1" else f"{ratio} times as likely"


# ---- the figure ----------------------------------------------------------------------------------
def draw(anatomy, path):
    """The step in four panels, for slides."""
    from matplotlib.figure import Figure  # without pyplot: no display is needed

    figure = Figure(figsize=(13, 7.3), layout="constrained")
    grid = figure.subplots(2, 2)
    draw_rewards(grid[0, 0], anatomy)
    draw_advantages(grid[0, 1], anatomy)
    draw_ratios(grid[1, 0], anatomy, chosen_completion(anatomy))
    draw_effect(grid[1, 1], anatomy)
    for ax in grid.flat:
        ax.grid(alpha=0.3, axis="y")
        ax.set_axisbelow(True)
    figure.savefig(path, dpi=110)


def labels_of(anatomy):
    """The names of the completions: 1.1 to 2.G."""
    G = anatomy.config.group_size
    return [f"{b // G + 1}.{b % G + 1}" for b in range(2 * G)]


def draw_rewards(ax, anatomy):
    """A bar for each completion: what the answer earned, and what the scores added."""
    G, rewards = anatomy.config.group_size, anatomy.rewards
    names = labels_of(anatomy)
    answers = [reward.answer for reward in rewards]
    ax.bar(names, answers, color="C0", label="answer")
    ax.bar(names, [reward.total - reward.answer for reward in rewards], bottom=answers, color="C1",
           label="scores")
    for p in range(2):
        mean = anatomy.totals[p].mean().item()
        ax.plot([p * G - 0.5, p * G + G - 0.5], [mean, mean], color="black", linestyle="--",
                label="mean of the group" if p == 0 else None)
    carried = ["with routes" if routes else "without routes" for routes in anatomy.shown]
    ax.set(title=f"1  reward (group 1 {carried[0]}, group 2 {carried[1]})", ylabel="R",
           ylim=(0, 1.05 + anatomy.config.utility_weight))
    ax.legend(fontsize=8)


def draw_advantages(ax, anatomy):
    """A bar for each completion: its advantage."""
    values = anatomy.advantages.flatten().tolist()
    ax.bar(labels_of(anatomy), values, color=["C2" if x > 0 else "C3" for x in values])
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(title="2  advantage: better or worse than the group", ylabel="A")


def draw_ratios(ax, anatomy, b):
    """The ratio of every token of one completion after the update, and the clip range."""
    config, n = anatomy.config, int(anatomy.rollouts.lengths[b])
    n = min(n, MOST_TOKENS)
    ratios = anatomy.after.ratio[b, :n].tolist()
    clipped = anatomy.after.clipped[b, :n].tolist()
    ax.axhspan(1 - config.clip_low, 1 + config.clip_high, color="0.9", label="not clipped")
    ax.bar(range(n), [r - 1 for r in ratios], bottom=1, width=0.8,
           color=["C3" if c else "C0" for c in clipped])
    names = [printable(token.replace("\n", ""))[:9] for token in anatomy.tokens[b][:n]]
    ax.set_xticks(range(n), names, rotation=90, fontsize=6, parse_math=False)
    name = labels_of(anatomy)[b]
    ax.set(title=f"3  ratio of each token of {name} after the update (red: clipped)",
           ylabel="ratio")
    ax.legend(fontsize=8)


def draw_effect(ax, anatomy):
    """A bar for each completion: how its log-probability moved."""
    moved = (anatomy.after.logps - anatomy.before.logps).sum(1).tolist()
    values = anatomy.advantages.flatten().tolist()
    colors = ["C2" if x > 0 else "C3" if x < 0 else "0.6" for x in values]
    ax.bar(labels_of(anatomy), moved, color=colors)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(title="4  what the update did (green: advantage above 0, red: below)",
           ylabel="change of log p of the completion")
