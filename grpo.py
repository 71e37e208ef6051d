"""GRPO: Group Relative Policy Optimization (DeepSeekMath, arXiv 2402.03300), by hand, and the policy it trains.

For each of P prompts sample G completions from the policy, score them, and compare each with its own group:

    A_i   = (R_i - mean(R)) / (std(R) + eps)                                            group_advantages
    r_it  = pi(token_it) / pi_old(token_it)                                             ratio
    l_it  = -min(r_it A_i, clip(r_it, 1 - clip_low, 1 + clip_high) A_i) + beta * k3_it  grpo_loss
    k3_it = pi_ref/pi - log(pi_ref/pi) - 1                                              KL to a frozen reference
    loss  = mean over completions of the mean over their tokens of l_it                 token_weights

What stands in a prompt is none of this file's business. Shapes: P prompts, G completions each, B = P * G rows (row p * G + g),
Tp prompt tokens, C completion tokens (L = C - 1 of them are read), V vocabulary, H heads (Hkv of keys and values, R = H / Hkv
query heads to each), D head size, E hidden size.

Why the prompt is computed once per group. A ReaLM prompt carries k routes and is several times longer than a completion.
Computing it for each of G completions costs G * (Tp + C) tokens, computing it once Tp + G * C: with Tp = 4C and G = 8,
40C against 12C. (A prompt without routes, Tp = C/4, gains little: 10C against 8.25C.) Sampling (`sample`) and scoring
(`completion_logps`) both do the latter, and give the same numbers.
"""
import contextlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

torch.backends.cuda.enable_cudnn_sdp(False)  # its gradients under a mask may be nan (pytorch#196678), and each new shape costs it a plan
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()  # what matters of its warnings load_policy raises
ASSETS = Path(__file__).resolve().parent / "assets"
AT_ONCE = 2048  # tokens of prompts that sampling computes at a time
TINY = ("tiny", "tiny-ads")  # the students that ship with this project
HUB_OWNERS = {"Qwen": "Qwen", "SmolLM": "HuggingFaceTB", "Llama": "meta-llama"}


# ---- the policy -----------------------------------------------------------------------------------------------------
def resolve_model(name):
    """`tiny` (or `tiny-ads`), a run folder, a local folder, a Hub id, or a short name (`Qwen2.5-0.5B`) -> what from_pretrained takes.

    Raises ValueError, in one line, for a name that is none of these.
    """
    if name in TINY:
        return str(ASSETS / name)
    path = Path(name)
    if (path / "model" / "config.json").is_file():  # a run folder of train.py
        return str(path / "model")
    if (path / "before.json").is_file():
        raise ValueError(f"--model {name}: a run that is not finished has no model/ yet: python train.py --resume {name}")
    if (path / "config.json").is_file():
        return str(path)
    owner = next((owner for start, owner in HUB_OWNERS.items() if name.startswith(start)), None)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" not in name and owner is None):
        raise ValueError(f"--model {name}: neither a folder with a config.json, nor a Hub id like Qwen/Qwen2.5-0.5B, "
                         f"nor a short name that begins with {', '.join(HUB_OWNERS)}")
    return name if "/" in name else f"{owner}/{name}"


def is_tiny(name):
    """Is this one of the students that ship with this project, or a run folder of one?"""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):  # no run folder, or one of itself
        return name in TINY or is_tiny(json.loads((Path(name) / "config.json").read_text())["model"])
    return False


def settle_device(device=None, tiny=False):
    """The device asked for; without one, a GPU where there is one, but the CPU for a tiny student, which gains nothing there.
    Raises ValueError, in one line, for a device that is not here."""
    if device is None:
        return "cuda" if torch.cuda.is_available() and not tiny else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: use cpu or cuda")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {device}: no such GPU here; use --device cpu")
    return device


def load_policy(name, device="cpu", dtype=None):
    """(model, tokenizer), the model in eval mode. dtype: fp32 on the CPU and bf16 on a GPU unless given.

    Only safetensors are read and no code of the repository is run. Raises ValueError in one line if it cannot be loaded
    whole: a folder comes from anyone, and what is wrong with it may surface as any exception.
    """
    where = resolve_model(name)
    dtype = dtype or (torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        model, info = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, use_safetensors=True, trust_remote_code=False,
                                                           output_loading_info=True, ignore_mismatched_sizes=True)
        if lost := sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]):  # would be left at random
            raise ValueError(f"its weights lack {lost[0]}, or have it in another shape")
        if not all(p.isfinite().all() for p in model.parameters()):
            raise ValueError("its weights hold nan or infinity")
        ids, ends = encode_prompts(tokenizer, ["Problem: a"])[0], end_ids(model, tokenizer)
        known = model.get_input_embeddings().num_embeddings  # ids
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= known:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.eos_token_id is None or not ids or max(ids + ends) >= known:
            raise ValueError("its tokenizer has no end token, is empty, or belongs to another model")
        if not decodable(model):
            raise ValueError("its layers are not built like those of Qwen, Llama, Mistral and SmolLM, which grpo.Layers computes")
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        kind = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
        raise ValueError(f"--model {name}: cannot load {where} ({kind}{reason})") from None
    return model.to(device).eval(), tokenizer


def turn_end(tokenizer):
    """The token id with which the chat template ends a turn, or None where there is no template, or no such token."""
    if not tokenizer.chat_template:
        return None
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "q"}, {"role": "assistant", "content": "REPLY"}], tokenize=False)
    after = tokenizer(turn.rpartition("REPLY")[2], add_special_tokens=False)["input_ids"]
    return after[0] if after and after[0] in tokenizer.all_special_ids + list(tokenizer.added_tokens_decoder) else None


def end_ids(model, tokenizer):
    """Every token id that ends a completion: the model's (its generation config may list several), the tokenizer's, and
    the one with which the chat template ends a turn (a *base* model's configs name only <|endoftext|>)."""
    named = model.generation_config.eos_token_id if model.generation_config else None
    ids = {tokenizer.eos_token_id, turn_end(tokenizer), *(named if isinstance(named, list) else [named])}
    return sorted(ids - {None})


def encode_prompts(tokenizer, prompts):
    """Token ids of prompts (list of str), through the chat template where there is one."""
    if tokenizer.chat_template:
        prompts = [tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False,
                                                 add_generation_prompt=True) for prompt in prompts]
        prompts = [re.sub(r"<think>\s*$", "", prompt) for prompt in prompts]  # some templates open it; here the student does
    return tokenizer(prompts, add_special_tokens=not tokenizer.chat_template)["input_ids"]


def must_fit(model, encoded, max_new_tokens):
    """Raises ValueError if one of the encoded prompts is empty, or would not fit the model's context with its completion."""
    context, longest = getattr(model.config, "max_position_embeddings", None) or float("inf"), max(map(len, encoded))
    if not all(encoded):
        raise ValueError("a prompt is empty: there is no token to predict a first one from")
    if longest + max_new_tokens > context:
        raise ValueError(f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed the model's context of {context}: "
                         f"shorten the prompt (fewer --routes) or lower --max-new-tokens")


def pad(rows, value, device):
    """Lists of ids -> (ids [N, T] right-padded, lengths [N]). Under a causal mask no real token sees padding on its right."""
    lengths = torch.tensor([len(row) for row in rows], device=device)
    width = int(lengths.max())
    return torch.tensor([list(row) + [value] * (width - len(row)) for row in rows], device=device), lengths


def real(lengths, width):
    """Which places of right-padded rows hold a token: lengths [N] -> bool [N, width]."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def again(function, *inputs):
    """function(*inputs), of which the backward pass keeps only the inputs: what it needs from within, it computes again."""
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


# ---- rollouts and the sampler ---------------------------------------------------------------------------------------
@dataclass
class Rollouts:
    """P prompts and their G completions each. Masks come from lengths, never from token values: pad may equal the end token."""
    prompt_ids: torch.Tensor      # [P, Tp] right-padded
    prompt_lengths: torch.Tensor  # [P]
    completion_ids: torch.Tensor  # [B, C] right-padded; the ids that were sampled, the end token included
    lengths: torch.Tensor         # [B]
    logps: torch.Tensor           # [B, C] log-probabilities at the sampling temperature; 0 where mask is 0
    entropy: torch.Tensor         # [B, C] entropy of each sampling distribution, in nats; 0 where mask is 0
    finished: torch.Tensor        # [B] bool: ended by itself (else truncated at max_new_tokens)
    texts: list                   # [B] str, without special tokens
    group_size: int

    @property
    def mask(self):
        """[B, C], 1.0 at the completion's tokens."""
        return real(self.lengths, self.completion_ids.shape[1]).float()

    def select(self, prompts, first=0, last=None):
        """(row indices, Rollouts) of some prompts (list of indices): completions first to last - 1 of each group, padding trimmed."""
        last = self.group_size if last is None else min(last, self.group_size)
        prompts = torch.as_tensor(prompts, device=self.lengths.device)
        rows = (prompts[:, None] * self.group_size + torch.arange(first, last, device=prompts.device)).flatten()
        width, prompt_width = int(self.lengths[rows].max()), int(self.prompt_lengths[prompts].max())
        return rows, Rollouts(self.prompt_ids[prompts, :prompt_width], self.prompt_lengths[prompts],
                              self.completion_ids[rows, :width], self.lengths[rows], self.logps[rows, :width],
                              self.entropy[rows, :width], self.finished[rows], [self.texts[i] for i in rows.tolist()],
                              last - first)


class Layers:
    """The student's layers, written out once for all three passes: a prompt's, one token of every row when sampling, and a
    completion's when scoring. Sampler and scorer are one policy because they are one computation.

    Every token goes its own way through a layer, x + attention(norm x), then x + mlp(norm x); only attention looks at others, and
    there the three passes differ: `attend`. This is the block that Qwen2, Qwen3, Llama, Mistral and SmolLM share, written out because
    transformers' attention copies keys and values for every query head under a mask, and when sampling a prompt's for every row.
    (The scorer copies a prompt's too: 2 * Hkv * D numbers a token and layer, where computing it again would leave a hundred times that.)

    Of what a layer leaves for the backward pass, three quarters lie inside its MLP (at the Qwen2.5-0.5B shape 4 x 4864 numbers a
    token, beside about 6 x 896). With model.recompute (train.py --recompute) they are not kept, but computed again.
    """

    def __init__(self, model):
        self.body, self.recompute = model.base_model, torch.is_grad_enabled() and getattr(model, "recompute", False)
        self.qkv = []  # each layer's three projections as one (weight, bias)
        for layer in self.body.layers:
            parts = [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]
            bias = None if parts[0].bias is None else torch.cat([p.bias for p in parts])
            self.qkv.append((torch.cat([p.weight for p in parts]), bias))
        first = self.body.layers[0].self_attn  # all are of one shape
        self.head_dim, self.heads = first.head_dim, first.q_proj.out_features // first.head_dim
        self.kv_heads = first.k_proj.out_features // first.head_dim

    def __call__(self, tokens, positions, attend, needed=None):
        """tokens, positions [N] -> the hidden states that predict what follows each token [N, E], or only those at `needed` [M].

        attend(layer number, query [N, H, D], key [N, Hkv, D], value [N, Hkv, D], scaling) -> [N, H * D]
        """
        def norm(module, x):
            return F.rms_norm(x, module.weight.shape, module.weight, module.variance_epsilon)

        def feed_forward(x, layer):
            h, mlp = norm(layer.post_attention_layernorm, x), layer.mlp
            return mlp.down_proj(mlp.act_fn(mlp.gate_proj(h)) * mlp.up_proj(h))

        x, H, Hkv, half = self.body.embed_tokens(tokens), self.heads, self.kv_heads, self.head_dim // 2  # x [N, E]
        cos, sin = (t[0, :, None] for t in self.body.rotary_emb(x, positions[None]))  # [N, 1, D]
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)  # halves of a head: (a, b) -> (a cos - b sin, b cos + a sin)
        for i, layer in enumerate(self.body.layers):
            attention = layer.self_attn
            qkv = F.linear(norm(layer.input_layernorm, x), *self.qkv[i]).view(len(x), -1, self.head_dim)  # [N, H + 2 Hkv, D]
            heads, value = qkv.split([H + Hkv, Hkv], dim=1)  # queries and keys [N, H + Hkv, D]
            if hasattr(attention, "q_norm"):  # Qwen3
                heads = torch.cat([norm(attention.q_norm, heads[:, :H]), norm(attention.k_norm, heads[:, H:])], dim=1)
            heads = heads * cos + heads.roll(half, -1) * sin  # rotary position embedding
            query, key = heads.split([H, Hkv], dim=1)
            if needed is not None and i + 1 == len(self.qkv):  # of the last layer, nobody reads the others' outputs
                x, query = x[needed], query[needed]
            x = x + attention.o_proj(attend(i, query, key, value, attention.scaling))
            x = x + (again(feed_forward, x, layer) if self.recompute else feed_forward(x, layer))
        return norm(self.body.norm, x)


def prompt_pass(model, prompt_ids, prompt_lengths):
    """Compute each prompt once, for sampling and for scoring. prompt_ids [P, Tp], right-padded; prompt_lengths [P] -> a list of
    tensors: the hidden state that predicts the first token [P, E], then each layer's keys and values [P, Hkv, Tp, D]."""
    (P, Tp), stored, device = prompt_ids.shape, [], prompt_ids.device
    ends = torch.arange(P, device=device) * Tp + prompt_lengths - 1  # [P]: the last token of each, among all P * Tp
    sees = real(prompt_lengths, Tp)[:, None, None]  # [P, 1, 1, Tp]: such a token sees all of its prompt

    def attend(_, query, key, value, scaling):
        key, value = (t.view(P, Tp, -1, t.shape[-1]).transpose(1, 2).contiguous() for t in (key, value))
        stored.extend((key, value))  # [P, Hkv, Tp, D]; a view would keep all of the layer's projections in memory
        if len(query) == P:  # in the last layer only `ends` ask; the R query heads of a key head stand as R queries of it
            query = query.view(P, key.shape[1], -1, key.shape[3])  # [P, Hkv, R, D]
            return F.scaled_dot_product_attention(query, key, value, attn_mask=sees, scale=scaling).reshape(P, -1)
        query = query.view(P, Tp, -1, key.shape[3]).transpose(1, 2)  # [P, H, Tp, D]
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2).reshape(P * Tp, -1)
    last = Layers(model)(prompt_ids.flatten(), torch.arange(Tp, device=device).repeat(P), attend, needed=ends)
    return [last, *stored]


def attention_scores(query, keys, scaling, bias=None):
    """Attention scores in fp32: query [N, M, D] and keys [N, T, D] -> [N, M, T]; bias [N, 1, T].

    Products of bf16 numbers must be added up, and kept, in fp32: Qwen2's key biases make scores of a hundred and more, of
    which bf16 knows only every half or whole number. The scorer's attention does so too; else the two would not be the same policy.
    """
    keys = keys.transpose(1, 2)
    if query.dtype == torch.float32:
        return torch.baddbmm(query.new_zeros(1) if bias is None else bias, query, keys, alpha=scaling)
    product = torch.bmm(query, keys, out_dtype=torch.float32) if query.is_cuda else query.float() @ keys.float()
    return product.mul_(scaling) if bias is None else product.mul_(scaling).add_(bias)


class Decoder:
    """One token of every row through the model's layers, for sampling. Keeps keys and values: one copy of each prompt's, shared by
    its group, and a growing one for each row. A pass reads Tp + G * t keys a prompt instead of G * (Tp + t): with Tp = 4C and
    G = 8, in the middle of the completions (t = C/2), 8C against 36C."""

    def __init__(self, model, prompt_ids, prompt_lengths, group_size, capacity):
        """Compute the prompts [P, Tp] (right-padded; lengths [P]); capacity: new tokens at most.

        Prompts of like length are computed together, about AT_ONCE tokens at a time: little of it is padding, and a layer's tensors
        stay in a CPU's cache (for the tiny student that takes two thirds of the time of all at once).
        """
        self.layers, (P, Tp) = Layers(model), prompt_ids.shape
        self.kv_heads, stored, last = self.layers.kv_heads, [], []  # stored: keys and values of each layer, [Hkv, P, Tp, D]
        order = rest = prompt_lengths.argsort(descending=True, stable=True)
        while len(rest):
            width = int(prompt_lengths[rest[0]])  # of the longest prompt that is left
            part, rest = rest.tensor_split([max(1, AT_ONCE // width)])
            hidden, *computed = prompt_pass(model, prompt_ids[part, :width], prompt_lengths[part])
            last.append(hidden)
            stored = stored or [t.new_zeros(self.kv_heads, P, Tp, t.shape[3]) for t in computed]
            for whole, t in zip(stored, computed):
                whole[:, part, :width] = t.transpose(0, 1)
        self.last = torch.cat(last)[order.argsort()]  # [P, E]: the hidden states that predict the first tokens
        flat = [t.flatten(0, 1) for t in stored]  # heads first, so that rows [Hkv*B, ...] are groups [Hkv*P, G, ...]
        self.prompt = [list(layer) for layer in zip(flat[::2], flat[1::2])]  # keys and values [Hkv*P, Tp, D]
        self.own = [[t.new_empty(len(t) * group_size, capacity, t.shape[2]) for t in layer] for layer in self.prompt]  # of the rows
        padding = ~real(prompt_lengths, Tp).repeat(self.kv_heads, 1)
        self.bias = torch.zeros(padding.shape, device=padding.device).masked_fill(padding, float("-inf"))[:, None]  # [Hkv*P, 1, Tp]
        self.length = 0  # completion tokens stored so far

    def step(self, tokens, positions):
        """tokens, positions [B] -> the hidden states that predict the next tokens [B, E]."""
        hidden = self.layers(tokens, positions, self.attend)
        self.length += 1
        return hidden

    def attend(self, layer, query, key, value, scaling):
        """Attention of one new token per row to its group's prompt, of which there is one copy, and to its own completion.

        query [B, H, D]; key, value [B, Hkv, D] are stored -> [B, H * D]. The G rows of a group and the R = H/Hkv query
        heads of a key head become rows of one matrix product with the prompt's keys; one softmax goes over both parts.
        """
        (prompt_keys, prompt_values), (own_keys, own_values) = self.prompt[layer], self.own[layer]
        (B, H, D), Hkv, Tp, t = query.shape, self.kv_heads, prompt_keys.shape[1], self.length
        own_keys[:, t], own_values[:, t] = (new.transpose(0, 1).reshape(Hkv * B, D) for new in (key, value))
        query = query.view(B, Hkv, -1, D).transpose(0, 1).reshape(Hkv * B, -1, D)  # [Hkv*B, R, D]
        by_group = query.reshape(len(prompt_keys), -1, D)  # [Hkv*P, G*R, D]: all that ask the same copy of a prompt
        prompt_scores = attention_scores(by_group, prompt_keys, scaling, self.bias)  # [Hkv*P, G*R, Tp]
        own_scores = attention_scores(query, own_keys[:, :t + 1], scaling)  # [Hkv*B, R, t + 1]
        weights = torch.cat([prompt_scores.view(Hkv * B, -1, Tp), own_scores], dim=-1).softmax(dim=-1).to(query.dtype)
        from_prompt = weights[..., :Tp].reshape(prompt_scores.shape) @ prompt_values  # [Hkv*P, G*R, D]
        out = torch.baddbmm(from_prompt.view(query.shape), weights[..., Tp:], own_values[:, :t + 1])  # [Hkv*B, R, D]
        return out.view(Hkv, B, -1).transpose(0, 1).reshape(B, H * D)

    def keep(self, prompts, rows):
        """Go on with these prompts (one may stand there twice) and rows only, len(rows) / len(prompts) to each; index tensors."""
        def kept(t, index):
            return t.unflatten(0, (self.kv_heads, -1))[:, index].flatten(0, 1)
        for prompt, own in zip(self.prompt, self.own):  # in place, layer by layer: the old goes as the new comes
            prompt[:], own[:] = [kept(t, prompts) for t in prompt], [kept(t, rows) for t in own]
        self.bias = kept(self.bias, prompts)


@torch.no_grad()
def decodable(model):
    """Do Layers compute what the model's own forward pass does? Other families of models have layers of another kind."""
    ids, length = torch.arange(6, device=model.device)[None] % model.config.vocab_size, torch.tensor([5], device=model.device)
    try:
        decoder = Decoder(model, ids[:, :5], length, 1, 1)
        found, wanted = model.get_output_embeddings()(decoder.step(ids[:, 5], length)), model(ids).logits[:, -1]
    except (AttributeError, TypeError, RuntimeError, ValueError):
        return False
    # What six tokens do not show: attention to a window only, and rotary frequencies that change with the length
    window = "sliding_attention" if getattr(model.config, "sliding_window", None) else "full_attention"  # where layers are not named one by one
    windowed = any(kind != "full_attention" for kind in getattr(model.config, "layer_types", None) or [window])
    longrope = "longrope" in str([getattr(model.config, name, None) for name in ("rope_parameters", "rope_scaling")])
    close = (found - wanted).norm() < (1e-3 if found.dtype == torch.float32 else 0.05) * wanted.norm()
    return bool(close) and not windowed and not longrope


def pick(logits, temperature, top_p, uniform):
    """Sample one token per row by inverting the cumulative distribution -> (tokens, logps, entropy), each [N].

    logits [N, V]; uniform [N] in [0, 1); top_p in (0, 1]. The log-probability is that of the whole distribution at this
    temperature, top_p or not: it is what completion_logps computes. temperature 0 is greedy, with log-probabilities at 1.
    """
    logps = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    probs = logps.exp()
    entropy = -torch.linalg.vecdot(probs, logps.clamp_min(-1e4))
    if temperature == 0:
        tokens = logps.argmax(-1)
    else:
        if top_p < 1.0:  # keep the smallest set of tokens that holds top_p: those before which less than top_p lies
            ordered, index = probs.sort(-1, descending=True)
            ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
            probs = torch.zeros_like(probs).scatter_(-1, index, ordered)
        cumulative = probs.cumsum(-1)
        target = uniform[:, None] * cumulative[:, -1:] * (1 - 1e-6)  # strictly below the last value, rounding included
        tokens = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)
    return tokens, logps.gather(-1, tokens[:, None])[:, 0], entropy


def repack(going, Tp, C, room):
    """The smallest grid for the rows that still run. going [lines, S] -> (line [n], cells [n * s]): whose prompt each of the n new
    lines takes, and which old cells fill it, s in each.

    A line may be cut into several of s cells (s divides S), so that a prompt with many live rows does not keep all lines long.
    That copies its prompt, and n * (Tp + s * C) keys must not exceed `room`.

    >>> repack(torch.tensor([[1, 1, 1, 1], [0, 0, 1, 0]]) > 0, Tp=8, C=4, room=48)  # two lines of 4 cells become three of 2
    (tensor([0, 0, 1]), tensor([0, 1, 2, 3, 6, 4]))
    """
    live, S = going.sum(1), going.shape[1]  # live rows of each line
    needs = {s: int((-(-live // s)).sum()) for s in range(1, S + 1) if S % s == 0}  # s -> n
    fits = [s for s, n in needs.items() if s == S or n * (Tp + s * C) <= room]
    s = min(fits, key=lambda s: (needs[s] * s, -s))  # the fewest cells, then the fewest copies of prompts
    order = going.int().argsort(dim=1, descending=True, stable=True)  # [lines, S]: of each line, live cells first
    line, part = (torch.arange(0, S, s, device=going.device) < live[:, None]).nonzero(as_tuple=True)
    return line, (line[:, None] * S + order.view(len(live), -1, s)[line, part]).flatten()


@torch.no_grad()
def sample(model, tokenizer, prompts, group_size, max_new_tokens, temperature=1.0, top_p=1.0, generator=None):
    """Sample group_size completions of each prompt (list of str) -> Rollouts.

    The prompts are computed once (prefill), then all rows advance together, one token a pass. Rows stand in a grid, the G of a
    prompt in a line; when a quarter of it can go because its rows have ended, it is repacked: into shorter lines (a prompt with
    many live rows then takes several) if that leaves fewer empty cells. Which numbers a row draws does not depend on that: every
    pass draws one for each of the B rows. Training or eval mode makes no difference: Layers have no dropout.
    Raises ValueError if a prompt and its completion would not fit the model's context.
    """
    device, encoded = model.device, encode_prompts(tokenizer, prompts)
    must_fit(model, encoded, max_new_tokens)
    if not 0 < top_p <= 1 or temperature < 0:
        raise ValueError(f"top_p must lie in (0, 1] and temperature be at least 0, not {top_p} and {temperature}")
    prompt_ids, prompt_lengths = pad(encoded, tokenizer.pad_token_id, device)  # [P, Tp], [P]
    (P, Tp), G, C = prompt_ids.shape, group_size, max_new_tokens
    B, room = P * G, P * (Tp + G * C)  # room: the keys of the full grid; a repacked one holds no more
    ends, head = torch.tensor(end_ids(model, tokenizer), device=device), model.get_output_embeddings()
    look_every = 1 if device.type == "cpu" else 16  # looking at which rows have ended makes the CPU wait for the GPU
    ids = torch.full((B, C), tokenizer.pad_token_id, device=device)
    logps, entropy = (torch.zeros(B, C, device=device) for _ in range(2))
    decoder = Decoder(model, prompt_ids, prompt_lengths, G, C)
    logits = head(decoder.last).repeat_interleave(G, dim=0)  # [B, V]: a group shares its first token's distribution
    # The grid, flat, of each cell: the row that stands there, the position where its completion begins, whether it has ended
    rows, positions, lines = torch.arange(B, device=device), prompt_lengths.repeat_interleave(G), P
    ended = torch.zeros(B, dtype=torch.bool, device=device)
    with torch.inference_mode():  # less bookkeeping an operation than no_grad
        for t in range(C):
            uniform = torch.rand(B, generator=generator, device=device)
            token, logps[rows, t], entropy[rows, t] = pick(logits, temperature, top_p, uniform[rows])
            ids[rows, t] = token
            ended = ended | (token[:, None] == ends).any(1)
            if t + 1 == C:
                break
            if t % look_every == 0:
                live = len(rows) - int(ended.sum())
                if live == 0:
                    break
                if live <= 0.75 * len(rows):
                    line, cells = repack(~ended.view(lines, -1), Tp, C, room)
                    if len(cells) <= 0.75 * len(rows):
                        decoder.keep(line, cells)
                        rows, ended, token, positions, lines = rows[cells], ended[cells], token[cells], positions[cells], len(line)
            logits = head(decoder.step(token, positions + t))
    hits = (ids[..., None] == ends).any(-1)  # [B, C]; a row's first is its end, whatever stands behind it
    finished = hits.any(1)
    lengths = torch.where(finished, hits.int().argmax(1) + 1, C)
    width, beyond = int(lengths.max()), ~real(lengths, C)  # beyond: what an ended row drew while it still stood in the grid
    ids.masked_fill_(beyond, tokenizer.pad_token_id), logps.masked_fill_(beyond, 0.0), entropy.masked_fill_(beyond, 0.0)
    texts = tokenizer.batch_decode([row[:n].tolist() for row, n in zip(ids.cpu(), lengths.tolist())], skip_special_tokens=True)
    return Rollouts(prompt_ids, prompt_lengths, ids[:, :width], lengths, logps[:, :width], entropy[:, :width], finished, texts,
                    group_size)


# ---- scoring --------------------------------------------------------------------------------------------------------
def completion_logps(model, rollouts, temperature=1.0, computed=None):
    """Log-probabilities of the completion tokens [B, C], differentiable; 0 where rollouts.mask is 0.

    Two passes: the prompts alone [P, Tp] (unless `computed`, a prompt_pass, is given), then all completions [B, C] attending to
    their group's prompt through its keys and values, through which gradients flow back into the prompt pass. Logits are
    made for completion positions only.
    """
    last, *stored = computed or prompt_pass(model, rollouts.prompt_ids, rollouts.prompt_lengths)
    G, mask, device, (P, Hkv, Tp, D) = rollouts.group_size, rollouts.mask.bool(), last.device, stored[0].shape
    hidden = last.repeat_interleave(G, dim=0)[:, None]  # [B, 1, E] predicts token 0
    inputs = rollouts.completion_ids[:, :-1]  # [B, L], L = C - 1: the last token predicts nothing
    if L := inputs.shape[1]:
        layers = Layers(model)
        R, T = layers.heads // Hkv, Tp + L  # the R query heads of a key head stand below each other, as R * L queries
        sees_prompt = real(rollouts.prompt_lengths, Tp)[:, None].expand(-1, L, -1)
        sees_own = torch.ones(P, L, L, dtype=torch.bool, device=device).tril()
        sees = torch.cat([sees_prompt, sees_own], dim=-1).repeat(1, R, 1)[:, None]  # [P, 1, R*L, T], one for the group
        width = -(-T // 8) * 8  # a GPU's kernel would copy, in every layer, a mask whose lines are no multiple of 8
        bias = last.new_zeros(P, 1, R * L, width)[..., :T].masked_fill_(~sees, float("-inf"))

        def with_prompt(shared, own):  # [P, Hkv, Tp, D], [B*L, Hkv, D] -> [P, G*Hkv, T, D]
            shared, own = shared[:, None].expand(-1, G, -1, -1, -1), own.view(P, G, L, Hkv, D).transpose(2, 3)
            return torch.cat([shared, own], dim=3).flatten(1, 2)

        def attend(i, query, key, value, scaling):
            query = query.view(P, G, L, Hkv, R, D).permute(0, 1, 3, 4, 2, 5).reshape(P, G * Hkv, R * L, D)
            keys, values = with_prompt(stored[2 * i], key), with_prompt(stored[2 * i + 1], value)
            out = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scaling)
            return out.view(P, G, Hkv, R, L, D).permute(0, 1, 4, 2, 3, 5).reshape(P * G * L, -1)
        positions = rollouts.prompt_lengths.repeat_interleave(G)[:, None] + torch.arange(L, device=device)  # [B, L]
        out = layers(inputs.flatten(), positions.flatten(), attend)  # [B*L, E]
        hidden = torch.cat([hidden, out.view(P * G, L, -1)], dim=1)  # [B, C, E]: position t predicts completion token t
    found = token_logps(model.get_output_embeddings(), hidden[mask], rollouts.completion_ids[mask], temperature)  # [N]
    return found.new_zeros(mask.shape).masked_scatter(mask, found)


def token_logps(head, hidden, ids, temperature=1.0, chunk_elements=2 ** 25):
    """log softmax(head(hidden) / temperature) at ids: hidden [N, E], ids [N] -> [N] in fp32.

    [N, V] logits in fp32 would be the largest tensor of all: they are made chunk by chunk, and again in the backward pass.
    """
    def score(hidden, ids):
        logits = head(hidden).float() / temperature
        return logits.gather(-1, ids[:, None])[:, 0] - logits.logsumexp(-1)
    size = max(1, chunk_elements // head.weight.shape[0])
    if len(ids) <= size:
        return score(hidden, ids)
    return torch.cat([again(score, h, i) for h, i in zip(hidden.split(size), ids.split(size))])


# ---- GRPO -----------------------------------------------------------------------------------------------------------
def group_advantages(rewards, scale="std", eps=1e-4):
    """A = (R - mean) / (std + eps) within each group; std is the unbiased one (n - 1), as in TRL.

    rewards [P, G] -> advantages [P, G]. scale="none" only subtracts the mean (Dr. GRPO, arXiv 2503.20783). A group of one
    or without spread gets exact zeros: rounding noise must not become an advantage.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.9, 0.9, 0.9, 0.9]])).round(decimals=3)
    tensor([[ 0.8660, -0.8660, -0.8660,  0.8660],
            [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """
    if scale not in ("std", "none"):
        raise ValueError(f"unknown scale {scale!r}: use std or none")
    advantages = rewards - rewards.mean(dim=1, keepdim=True)
    spread = rewards.max(dim=1, keepdim=True).values - rewards.min(dim=1, keepdim=True).values
    if scale == "std" and rewards.shape[1] > 1:
        advantages = advantages / (rewards.std(dim=1, keepdim=True) + eps)
    return torch.where(spread > 1e-6, advantages, torch.zeros_like(advantages))


def token_weights(mask, loss_type="grpo", max_len=None):
    """What each token's loss counts in the batch's loss: mask [B, C] -> weights [B, C].

    grpo: mean over a completion's tokens, then over completions. dapo (arXiv 2503.14476): mean over all tokens.
    dr_grpo (arXiv 2503.20783): sum over tokens / (B * max_len); max_len defaults to C.
    Taken from the whole batch, they make the gradient independent of how it is cut into micro-batches.
    """
    rows = mask.shape[0]
    if loss_type == "grpo":
        return mask / mask.sum(1, keepdim=True).clamp_min(1) / rows
    if loss_type == "dapo":
        return mask / mask.sum().clamp_min(1)
    if loss_type == "dr_grpo":
        return mask / (rows * (max_len or mask.shape[1]))
    raise ValueError(f"unknown loss type {loss_type!r}: use grpo, dapo or dr_grpo")


def grpo_loss(logps, old_logps, ref_logps, advantages, mask, *, clip_low=0.2, clip_high=0.2, beta=0.0, loss_type="grpo",
              max_len=None, weights=None):
    """The clipped GRPO loss (arXiv 2402.03300, eq. 3, as a loss) -> (loss, stats).

    logps, old_logps, ref_logps, mask: [B, C] (ref_logps may be None if beta is 0); advantages [B], one per completion.
    weights [B, C]: token_weights of the whole batch, when this is a micro-batch of it.
    stats: means over this call's tokens of kl (k3 to the reference), approx_kl (k3 of KL(old || new), on old's samples) and clip_fraction.

    >>> one = torch.ones(1, 1)
    >>> loss, stats = grpo_loss(one.log() + 0.5, one.log(), None, torch.tensor([1.0]), one)  # ratio e^0.5, clipped at 1.2
    >>> round(loss.item(), 4), stats["clip_fraction"]
    (-1.2, 1.0)
    """
    weights = token_weights(mask, loss_type, max_len) if weights is None else weights
    seen = mask > 0
    log_ratio = torch.where(seen, logps - old_logps, 0.0)
    ratio, A = log_ratio.exp(), advantages[:, None]  # [B, C], [B, 1]
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    token_loss = -torch.min(ratio * A, clipped * A)
    count = mask.sum().clamp_min(1)
    stats = {"approx_kl": ((ratio - 1 - log_ratio) * mask).sum().item() / count.item(), "kl": 0.0,
             "clip_fraction": ((clipped * A < ratio * A) & seen).sum().item() / count.item()}
    if beta != 0.0:
        log_ref = torch.where(seen, ref_logps - logps, 0.0)
        kl = log_ref.exp() - log_ref - 1  # k3: never negative, unbiased for KL(pi || pi_ref) (Schulman, "Approximating KL")
        token_loss = token_loss + beta * kl
        stats["kl"] = (kl.detach() * mask).sum().item() / count.item()
    return (token_loss * weights).sum(), stats


class Optimizer:
    """AdamW on fp32 master weights, with gradient clipping and a linear warm-up of the learning rate.

    In bf16 a weight of size 1 cannot change by less than 0.004: at lr 1e-6 nearly every update would be rounded away. A bf16
    model is therefore only a copy of fp32 masters, made anew after each step, and the gradients of its micro-batches are added
    up in fp32: each weight's as soon as a backward call has it, so that a second, bf16 copy of them all never exists (1 GB at
    0.5B parameters). An fp32 model is its own master.
    """

    def __init__(self, model, lr, warmup_steps=0, max_grad_norm=1.0, weight_decay=0.0):
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.masters = [p if p.dtype == torch.float32 else p.detach().float().requires_grad_() for p in self.params]
        self.adam = torch.optim.AdamW(self.masters, lr=lr, betas=(0.9, 0.999), weight_decay=weight_decay, fused=True)  # no copies of all weights
        self.lr, self.warmup_steps, self.max_grad_norm, self.steps = lr, warmup_steps, max_grad_norm, 0
        for param, master in zip(self.params, self.masters):
            if master is not param:
                if not hasattr(param, "master"):
                    param.register_post_accumulate_grad_hook(Optimizer.gather)
                param.master = master  # the newest optimizer's: SFT and RL have one each

    @staticmethod
    def gather(param):
        """Add what a backward call left in a bf16 weight to its master's gradient."""
        param.master.grad = param.grad.float() if param.master.grad is None else param.master.grad.add_(param.grad)
        param.grad = None

    def step(self):
        """Apply and clear the gradients; return their norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.max_grad_norm).item()
        if not math.isfinite(norm):
            return self.skip()
        self.steps += 1
        for group in self.adam.param_groups:
            group["lr"] = self.lr * min(1.0, self.steps / max(1, self.warmup_steps))
        self.adam.step()
        self.adam.zero_grad()
        with torch.no_grad():
            for param, master in zip(self.params, self.masters):
                if master is not param:
                    param.copy_(master)
        return norm

    def skip(self):
        """Forget the gradients gathered: from a loss or gradient that is not a number nothing can be learnt. Returns nan."""
        for p in self.params + self.masters:
            p.grad = None
        return math.nan

    def state_dict(self):
        """Name -> tensor: the masters, what AdamW keeps of each, and the number of steps."""
        kept = {f"{name}.{i}": value for i, m in enumerate(self.masters)
                for name, value in {"master": m.detach(), **self.adam.state.get(m, {})}.items()}
        return {**kept, "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state):
        if any(f"master.{i}" not in state or state[f"master.{i}"].shape != m.shape for i, m in enumerate(self.masters)):
            raise ValueError("the checkpoint is of a model of another shape")
        adam = {i: {name: state[f"{name}.{i}"] for name in ("step", "exp_avg", "exp_avg_sq")}
                for i in range(len(self.masters)) if f"step.{i}" in state}
        self.adam.load_state_dict({**self.adam.state_dict(), "state": adam})
        self.steps = int(state["steps"])
        with torch.no_grad():
            for i, (param, master) in enumerate(zip(self.params, self.masters)):
                master.copy_(state[f"master.{i}"]), param.copy_(master)


def update_by_parts(model, optimizer, rollouts, prompts, micro_batch, loss_of):
    """One optimizer step on the sum of loss_of(row indices, part, prompt pass) over some prompts' rollouts, at most `micro_batch`
    completions at a time -> (loss, gradient norm). A loss that is not a number is no step.

    Each prompt is computed once even if its group is cut: its parts stop at a detached copy of the prompt's tensors (leaves),
    whose gradients add up and then go through the prompt pass in one backward call. Only rollouts of like length (prompt and
    longest completion) go together: padding costs as much as tokens, and a prompt without routes is a fraction of one with.
    """
    G, parts, total = rollouts.group_size, [], 0.0
    longest = (rollouts.lengths.view(-1, G).max(1).values + rollouts.prompt_lengths).tolist()
    for p in sorted(prompts, key=lambda p: (longest[p], p)):
        if not parts or len(parts[-1]) == max(1, micro_batch // G) or longest[p] > 1.5 * longest[parts[-1][0]]:
            parts.append([])
        parts[-1].append(p)
    for some in parts:
        whole = rollouts.select(some)[1]
        computed = prompt_pass(model, whole.prompt_ids, whole.prompt_lengths)
        leaves = [t.detach().requires_grad_() for t in computed]
        for start in range(0, G, micro_batch):
            loss = loss_of(*rollouts.select(some, start, start + micro_batch), leaves)
            loss.backward()
            total += loss.item()
        tensors, gradients = zip(*((t, leaf.grad) for t, leaf in zip(computed, leaves) if leaf.grad is not None))
        torch.autograd.backward(tensors, gradients)  # a leaf has none where all completions are of one token
    return total, optimizer.step() if math.isfinite(total) else optimizer.skip()


def grpo_update(model, optimizer, rollouts, advantages, *, reference=None, epochs=1, micro_batch=64, temperature=1.0,
                beta=0.0, loss_type="grpo", clip_low=0.2, clip_high=0.2, max_len=None):
    """One GRPO step: `epochs` passes over the same rollouts, each ending in one optimizer step -> metrics (dict of float).

    advantages [P, G]. A group whose advantages are all zero has no gradient (beta = 0) and is not computed at all, but it
    still counts in the batch's means. Metrics are of the last epoch, but drift (of the first) and skipped (a sum); no live group: no step,
    and zeros, but skipped is 1 if the rollouts' log-probabilities are no numbers.
    """
    live = (advantages != 0).any(dim=1) if beta == 0.0 else torch.ones(len(advantages), dtype=torch.bool)
    prompts = live.nonzero()[:, 0].tolist()
    weights, flat = token_weights(rollouts.mask, loss_type, max_len), advantages.flatten().to(rollouts.logps.device)
    total = rollouts.mask.sum().item()
    metrics = {"loss": 0.0, "approx_kl": 0.0, "kl": 0.0, "clip_fraction": 0.0, "grad_norm": 0.0, "drift": 0.0,
               "skipped": float(not prompts and not rollouts.logps.isfinite().all())}  # weights of nan draw tokens too, but earn nothing
    for epoch in range(epochs if prompts else 0):
        metrics = {**dict.fromkeys(metrics, 0.0), "drift": metrics["drift"], "skipped": metrics["skipped"]}

        def loss_of(rows, part, computed):
            ref_logps = None
            if beta != 0.0:
                with torch.no_grad():
                    ref_logps = completion_logps(reference, part, temperature)
            logps = completion_logps(model, part, temperature, computed)
            loss, stats = grpo_loss(logps, part.logps, ref_logps, flat[rows], part.mask, clip_low=clip_low,
                                    clip_high=clip_high, beta=beta, weights=weights[rows, :part.mask.shape[1]])
            for name, value in stats.items():
                metrics[name] += value * part.mask.sum().item() / total
            if epoch == 0:  # before any step, sampler and scorer are the same policy: what differs is rounding
                metrics["drift"] = max(metrics["drift"], (logps.detach() - part.logps).abs().max().item())
            return loss
        metrics["loss"], metrics["grad_norm"] = update_by_parts(model, optimizer, rollouts, prompts, micro_batch, loss_of)
        metrics["skipped"] += not math.isfinite(metrics["grad_norm"])
    return metrics


def demonstrations(model, tokenizer, prompts, completions):
    """Prompts and the completions to imitate (lists of str) as Rollouts of one completion each, for SFT."""
    device, end = model.device, turn_end(tokenizer)
    end = [tokenizer.eos_token_id if end is None else end]
    prompt_ids, prompt_lengths = pad(encode_prompts(tokenizer, prompts), tokenizer.pad_token_id, device)
    encoded = tokenizer(completions, add_special_tokens=False)["input_ids"]
    ids, lengths = pad([row + end for row in encoded], tokenizer.pad_token_id, device)
    zeros = torch.zeros(ids.shape, device=device)
    return Rollouts(prompt_ids, prompt_lengths, ids, lengths, zeros, zeros, lengths > 0, completions, 1)


def sft_update(model, optimizer, rollouts, micro_batch):
    """One step of supervised fine-tuning on demonstrations -> (loss, gradient norm). loss: mean over all completion tokens
    of -log pi(token), the same scoring as GRPO's."""
    total = rollouts.mask.sum()
    return update_by_parts(model, optimizer, rollouts, range(len(rollouts.lengths)), micro_batch,
                           lambda _, part, computed: -completion_logps(model, part, computed=computed).sum() / total)
