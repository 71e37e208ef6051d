"""GRPO: Group Relative Policy Optimization (DeepSeekMath, arXiv 2402.03300), by hand.

For each of P prompts sample G completions from the policy, reward them, and compare each with its
own group. R_i is the reward of completion i, token_it is its token at place t, pi is the policy
being trained, and pi_old is the policy that sampled:

    A_i   = (R_i - mean(R)) / (std(R) + eps)                                    group_advantages
    r_it  = pi(token_it) / pi_old(token_it)                                     ratio
    l_it  = -min(r_it A_i, clip(r_it, 1 - clip_low, 1 + clip_high) A_i)         grpo_loss
            + beta * k3_it
    k3_it = pi_ref/pi - log(pi_ref/pi) - 1                                      KL to a reference
    loss  = the mean over completions of the mean over their tokens of l_it     token_weights

docs/grpo_questions.md answers six questions about these five lines.

Shapes: P prompts, G completions each, B = P * G rows (row p * G + g), Tp prompt tokens, C
completion tokens, V vocabulary, E hidden size. This file knows nothing of routes.

Why is each prompt computed once a group? A ReaLM prompt carries k routes and is several times
longer than a completion. Computing it for each of G completions costs G * (Tp + C) tokens, and
computing it once costs Tp + G * C. With Tp = 4C and G = 8 these are 40C and 12C. `sample` and
`completion_logps` compute it once. The plain forms that they must equal are in tests/helpers.py:
sample_slowly and full_logps make a full forward pass for every token or row.
"""
import math
from dataclasses import dataclass

import torch

from engine.layers import completion_pass, is_token, logits_of, pad, prompt_pass, token_logps
from engine.optimizer import Optimizer  # noqa: F401  it is offered here, beside the updates
from engine.policy import (decode_completions, encode_prompts, end_ids, load_policy,  # noqa: F401
                           must_fit, turn_end)
from engine.sampler import Decoder, LiveRows
from engine.shared_prompt import shared_prompt_parts


@dataclass
class Rollouts:
    """P prompts and the G completions of each. The mask comes from lengths and never from token
    values, because the pad token may be the end token. Where it is 0, so are logps and entropy."""
    prompt_ids: torch.Tensor      # [P, Tp] right-padded
    prompt_lengths: torch.Tensor  # [P]
    completion_ids: torch.Tensor  # [B, C] right-padded; the ids as sampled, with the end token
    lengths: torch.Tensor         # [B]
    logps: torch.Tensor           # [B, C] log pi_old, at the temperature of sampling
    entropy: torch.Tensor         # [B, C] of the distribution each token is drawn from, in nats
    finished: torch.Tensor        # [B] bool: has an end token, was not cut at max_new_tokens
    texts: list                   # [B] str, without special tokens
    group_size: int               # G

    @property
    def mask(self):
        """[B, C], 1.0 at the completion's tokens."""
        return is_token(self.lengths, self.completion_ids.shape[1]).float()

    def select(self, prompts, first=0, last=None):
        """Completions first to last - 1 of each of these prompts (list of indices), padded only as
        far as they need -> (row indices [n], Rollouts)."""
        last = self.group_size if last is None else min(last, self.group_size)
        prompts = torch.as_tensor(prompts, device=self.lengths.device)
        members = torch.arange(first, last, device=prompts.device)
        rows = (prompts[:, None] * self.group_size + members).flatten()
        width = int(self.lengths[rows].max())
        prompt_width = int(self.prompt_lengths[prompts].max())
        return rows, Rollouts(
            self.prompt_ids[prompts, :prompt_width], self.prompt_lengths[prompts],
            self.completion_ids[rows, :width], self.lengths[rows], self.logps[rows, :width],
            self.entropy[rows, :width], self.finished[rows],
            [self.texts[i] for i in rows.tolist()], last - first)


# ---- advantage, loss, update ---------------------------------------------------------------------
def group_advantages(rewards, scale="std", eps=1e-4):
    """A = (R - mean) / (std + eps) within each group (GRPO, arXiv 2402.03300, section 4.1.2).

    rewards [P, G] -> advantages [P, G]. std is the unbiased one (n - 1), as in TRL. scale="none"
    only subtracts the mean (Dr. GRPO, arXiv 2503.20783). A group of one, or without spread, gets
    exact zeros: rounding noise must not become an advantage. Raises ValueError for an unknown
    scale.

    >>> R = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.9, 0.9, 0.9, 0.9]])
    >>> group_advantages(R).round(decimals=3)
    tensor([[ 0.8660, -0.8660, -0.8660,  0.8660],
            [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """
    if scale not in ("std", "none"):
        raise ValueError(f"unknown scale {scale!r}: use std or none")
    advantages = rewards - rewards.mean(dim=1, keepdim=True)
    if scale == "std" and rewards.shape[1] > 1:
        advantages = advantages / (rewards.std(dim=1, keepdim=True) + eps)
    best = rewards.max(dim=1, keepdim=True).values
    worst = rewards.min(dim=1, keepdim=True).values
    return torch.where(best - worst > 1e-6, advantages, torch.zeros_like(advantages))


def token_weights(mask, loss_type="grpo", max_len=None):
    """How much each token's loss counts in the batch's loss: mask [B, C] -> weights [B, C].

    grpo: the mean over a completion's tokens, then over completions. dapo (arXiv 2503.14476): the
    mean over all tokens. dr_grpo (arXiv 2503.20783): the sum over tokens / (B * max_len); max_len
    is C unless given. Because the weights come from the whole batch, the gradient does not depend
    on how the batch is cut into micro-batches. Raises ValueError for an unknown loss type.

    >>> mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])  # a token of the longer one counts half
    >>> token_weights(mask).tolist()
    [[0.5, 0.0], [0.25, 0.25]]
    """
    rows = mask.shape[0]
    if loss_type == "grpo":
        return mask / mask.sum(1, keepdim=True).clamp_min(1) / rows
    if loss_type == "dapo":
        return mask / mask.sum().clamp_min(1)
    if loss_type == "dr_grpo":
        return mask / (rows * (max_len or mask.shape[1]))
    raise ValueError(f"unknown loss type {loss_type!r}: use grpo, dapo or dr_grpo")


def grpo_loss(logps, old_logps, ref_logps, advantages, mask, *, clip_low=0.2, clip_high=0.2,
              beta=0.0, loss_type="grpo", max_len=None, weights=None):
    """The clipped GRPO loss (arXiv 2402.03300, eq. 3, as a loss) -> (loss, stats).

    logps, old_logps, ref_logps, mask: [B, C]; ref_logps may be None if beta is 0. advantages: [B],
    or of tokens [B, C]. weights [B, C]: these rows of the token_weights of a larger batch. If they
    are given, loss_type and max_len are not used. stats: means over the tokens of kl (k3 to the
    reference), approx_kl (k3 of KL(old || new), on old's samples) and clip_fraction.

    >>> one = torch.ones(1, 1)  # the ratio is e^0.5 = 1.65, which is clipped at 1.2
    >>> loss, stats = grpo_loss(one.log() + 0.5, one.log(), None, torch.tensor([1.0]), one)
    >>> round(loss.item(), 4), stats["clip_fraction"]
    (-1.2, 1.0)
    """
    if weights is None:
        weights = token_weights(mask, loss_type, max_len)
    is_real = mask > 0
    log_ratio = torch.where(is_real, logps - old_logps, 0.0)
    ratio = log_ratio.exp()                                    # r [B, C]
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    A = advantages.reshape(len(mask), -1)                      # [B, 1] or [B, C]
    token_loss = -torch.min(ratio * A, clipped * A)            # l [B, C]

    count = mask.sum().clamp_min(1)
    is_clipped = (clipped * A < ratio * A) & is_real
    stats = {
        "approx_kl": ((ratio - 1 - log_ratio) * mask).sum().item() / count.item(),
        "kl": 0.0,
        "clip_fraction": is_clipped.sum().item() / count.item(),
    }
    if beta != 0.0:
        log_ref = torch.where(is_real, ref_logps - logps, 0.0)  # log(pi_ref / pi)
        kl = log_ref.exp() - log_ref - 1  # k3: never negative, unbiased for KL(pi || pi_ref)
        token_loss = token_loss + beta * kl
        stats["kl"] = (kl.detach() * mask).sum().item() / count.item()
    return (token_loss * weights).sum(), stats


def grpo_update(model, optimizer, rollouts, advantages, *, reference=None, epochs=1, micro_batch=64,
                temperature=1.0, beta=0.0, loss_type="grpo", clip_low=0.2, clip_high=0.2,
                max_len=None, share=(0, 1)):
    """One GRPO step: `epochs` passes over the same rollouts, each of which ends in one optimizer
    step -> metrics (dict of float).

    advantages [P, G], or of tokens [P, G, C]. A group is live if they are not all zero, or if there
    is a KL term. Other groups have no gradient. They are not computed, but count in the batch's
    means. If none is live, no step is taken and the metrics are 0 (`skipped`: 1 for nan weights).
    share (i, n): only the i-th of n shares of the live groups (engine/team.py). pi_old is the
    sampler's own, because sampler and scorer are one computation (engine/layers.py). `drift` is the
    largest gap between them in the first epoch, `skipped` a sum over epochs, the rest the last's.
    """
    live = (advantages != 0).flatten(1).any(dim=1) | (beta != 0.0)  # [P]
    prompts = live.nonzero()[:, 0].tolist()
    weights = token_weights(rollouts.mask, loss_type, max_len)  # [B, C]
    A = advantages.reshape(len(weights), -1).to(weights.device)  # [B, 1] or [B, C]
    tokens = rollouts.mask.sum().item()
    metrics = dict.fromkeys(
        ("loss", "approx_kl", "kl", "clip_fraction", "grad_norm", "drift", "skipped"), 0.0)
    if not prompts:  # there is nothing to learn; if the weights are broken, the logps are nan
        metrics["skipped"] = float(not rollouts.logps.isfinite().all())
        return metrics

    mine = prompts[share[0]::share[1]]
    for epoch in range(epochs):
        metrics.update(loss=0.0, approx_kl=0.0, kl=0.0, clip_fraction=0.0)
        for rows, part, prompt in shared_prompt_parts(model, rollouts, mine, micro_batch):
            ref_logps = None
            if beta != 0.0:
                with torch.no_grad():
                    ref_logps = completion_logps(reference, part, temperature)
            logps = completion_logps(model, part, temperature, prompt)
            loss, stats = grpo_loss(
                logps, part.logps, ref_logps, A[rows, :logps.shape[1]], part.mask,
                clip_low=clip_low, clip_high=clip_high, beta=beta,
                weights=weights[rows, :logps.shape[1]])
            loss.backward()

            metrics["loss"] += loss.item()
            of_tokens = part.mask.sum().item() / tokens  # this part's share of all tokens
            for name, value in stats.items():
                metrics[name] += value * of_tokens
            if epoch == 0:  # no step was taken yet, so sampler and scorer have the same weights
                gaps = (logps.detach() - part.logps).abs().nan_to_num(math.inf, math.inf)
                metrics["drift"] = max(metrics["drift"], gaps.max().item())
        finite = math.isfinite(metrics["loss"])
        metrics["grad_norm"] = optimizer.step() if finite else optimizer.skip()
        metrics["skipped"] += not math.isfinite(metrics["grad_norm"])
    return metrics


# ---- sampling and scoring ------------------------------------------------------------------------
@torch.no_grad()
def sample(model, tokenizer, prompts, group_size, max_new_tokens, temperature=1.0, top_p=1.0,
           generator=None):
    """Sample group_size completions of each prompt (list of str) -> Rollouts.

    The prompts are computed once. Then all rows advance together, one token a pass, and a row
    leaves when it has ended (engine/sampler.py). Every pass draws one number for each of the B
    rows, whether it has ended or not, so that a row's numbers do not depend on the others.
    temperature 0 is greedy. Raises ValueError if a prompt and its completion do not fit the
    model's context, or for a temperature or top_p out of range.
    """
    if not 0 < top_p <= 1 or temperature < 0:
        raise ValueError(f"top_p must lie in (0, 1] and temperature be at least 0, "
                         f"not {top_p} and {temperature}")
    device, pad_id = model.device, tokenizer.pad_token_id
    encoded = encode_prompts(tokenizer, prompts)
    must_fit(model, encoded, max_new_tokens)
    prompt_ids, prompt_lengths = pad(encoded, pad_id, device)      # [P, Tp], [P]
    P, Tp = prompt_ids.shape
    G, C = group_size, max_new_tokens
    B = P * G
    ids = torch.full((B, C), pad_id, device=device)
    logps = torch.zeros(B, C, device=device)
    entropy = torch.zeros(B, C, device=device)
    ends = torch.tensor(end_ids(model, tokenizer), device=device)

    head = model.get_output_embeddings()
    decoder = Decoder(model, prompt_ids, prompt_lengths, G, C)
    live = LiveRows(decoder, prompt_lengths, Tp, G, C, ends)
    with torch.inference_mode():  # less bookkeeping for each operation than no_grad
        logits = logits_of(head, decoder.last).repeat_interleave(G, dim=0)  # [B, V]
        for t in range(C):
            uniform = torch.rand(B, generator=generator, device=device)[live.rows]
            token, logp, token_entropy = pick(logits, temperature, top_p, uniform)
            ids[live.rows, t] = token
            logps[live.rows, t] = logp
            entropy[live.rows, t] = token_entropy
            token = live.after(token, t) if t + 1 < C else None  # rows that have ended may leave
            if token is None:
                break
            logits = logits_of(head, decoder.step(token, live.starts + t))

    lengths, finished = lengths_of(ids, ends)
    beyond = ~is_token(lengths, C)  # an ended row may have drawn tokens until it left the grid
    ids.masked_fill_(beyond, pad_id)
    logps.masked_fill_(beyond, 0.0)
    entropy.masked_fill_(beyond, 0.0)
    rows = [row[:n].tolist() for row, n in zip(ids.cpu(), lengths.tolist())]
    width = int(lengths.max())
    return Rollouts(prompt_ids, prompt_lengths, ids[:, :width], lengths, logps[:, :width],
                    entropy[:, :width], finished, decode_completions(tokenizer, rows), G)


def pick(logits, temperature, top_p, uniform):
    """Sample one token a row by inverting the cumulative distribution -> (tokens, logps, entropy),
    each [N].

    logits [N, V]; uniform [N] in [0, 1). The log-probability is that of the whole distribution at
    this temperature, top_p or not: it is what completion_logps computes. temperature 0 takes the
    likeliest token and gives log-probabilities at temperature 1.
    """
    logps = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)  # [N, V]
    probs = logps.exp()
    entropy = -torch.linalg.vecdot(probs, logps.clamp_min(-1e4))  # 0 * -inf would be nan
    if temperature == 0:
        tokens = logps.argmax(-1)
    else:
        if top_p < 1.0:  # drop a token if the likelier ones together have top_p or more
            ordered, index = probs.sort(-1, descending=True)
            ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
            probs = torch.zeros_like(probs).scatter_(-1, index, ordered)
        cumulative = probs.cumsum(-1)
        # 1e-6 keeps the target below the last value, which rounding may leave under 1
        target = uniform[:, None] * cumulative[:, -1:] * (1 - 1e-6)
        tokens = torch.searchsorted(cumulative, target, right=True)[:, 0]
        tokens = tokens.clamp_max(logits.shape[-1] - 1)
    return tokens, logps.gather(-1, tokens[:, None])[:, 0], entropy


def lengths_of(ids, ends):
    """Where each row ends: ids [B, C], end tokens [n] -> (lengths [B], finished [B] bool). A
    row ends with its first end token, whatever comes after."""
    is_end = (ids[..., None] == ends).any(-1)  # [B, C]
    finished = is_end.any(1)
    return torch.where(finished, is_end.int().argmax(1) + 1, ids.shape[1]), finished


def completion_logps(model, rollouts, temperature=1.0, prompt=None):
    """Log-probabilities of the completion tokens [B, C], differentiable; 0 where the mask is 0.

    Two passes: over the prompts (unless `prompt`, their prompt_pass, is given), then over all
    completions, which attend to their group's prompt. Logits are made for completion tokens only.
    """
    if prompt is None:
        prompt = prompt_pass(model, rollouts.prompt_ids, rollouts.prompt_lengths)
    last, *stored = prompt  # [P, E], then the keys and values of each layer
    G = rollouts.group_size
    hidden = last.repeat_interleave(G, dim=0)[:, None]  # [B, 1, E] predicts the first token
    inputs = rollouts.completion_ids[:, :-1]            # the last token predicts nothing
    if inputs.shape[1]:
        rest = completion_pass(model, stored, rollouts.prompt_lengths, inputs, G)
        hidden = torch.cat([hidden, rest], dim=1)       # [B, C, E]
    mask = rollouts.mask.bool()
    head = model.get_output_embeddings()
    found = token_logps(head, hidden[mask], rollouts.completion_ids[mask], temperature)
    return found.new_zeros(mask.shape).masked_scatter(mask, found)


# ---- supervised fine-tuning: the cold start of ReaLM-R1 ------------------------------------------
def as_rollouts(model, tokenizer, prompts, completions):
    """Prompts and the completions to imitate (lists of str) -> Rollouts of one completion each.
    They were not sampled, so their logps and entropy are 0."""
    device, pad_id, end = model.device, tokenizer.pad_token_id, turn_end(tokenizer)
    if end is None:
        end = tokenizer.eos_token_id
    encoded = tokenizer(completions, add_special_tokens=False)["input_ids"]
    prompt_ids, prompt_lengths = pad(encode_prompts(tokenizer, prompts), pad_id, device)
    ids, lengths = pad([row + [end] for row in encoded], pad_id, device)
    zeros = torch.zeros(ids.shape, device=device)
    return Rollouts(prompt_ids, prompt_lengths, ids, lengths, zeros, zeros, lengths > 0,
                    completions, 1)


def sft_update(model, optimizer, rollouts, micro_batch, weight=1.0):
    """One step of supervised fine-tuning on demonstrations -> (loss, gradient norm).

    loss: weight times the mean over all completion tokens of -log pi(token), scored as in GRPO. No
    step is taken if it is not a number.
    """
    tokens = rollouts.mask.sum()
    total = 0.0
    everything = range(len(rollouts.lengths))
    for _, part, prompt in shared_prompt_parts(model, rollouts, everything, micro_batch):
        loss = -completion_logps(model, part, prompt=prompt).sum() * weight / tokens
        loss.backward()
        total += loss.item()
    norm = optimizer.step() if math.isfinite(total) else optimizer.skip()
    return total, norm
