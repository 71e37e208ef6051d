"""The machinery of sampling: a decoder that stores each prompt once, and rows that leave when
they end.

Promise: the tokens and log-probabilities are those of full forward passes. Which random numbers a
row draws does not depend on how rows are packed.
To read: `Decoder.step` advances every row by one token, and `Decoder.attend` is its attention.
`LiveRows` says which row is in which cell of the grid: a grid has lines, and a line has cells for
rows of one prompt. `repack` finds the smallest grid for the rows that still run. Shapes are named
as in engine/layers.py.
Held to it by tests/test_grpo.py, against a full forward pass for every token (tests/helpers.py,
sample_slowly).
"""
import contextlib

import torch

from engine.layers import Layers, is_token, logits_of, prompt_pass

PREFILL_TOKENS = 2048  # tokens of prompts that are computed together before sampling


def attention_scores(query, keys, scaling, bias=None):
    """Attention scores in fp32: query [N, M, D] and keys [N, T, D] -> [N, M, T]; bias [N, 1, T].

    Products of bf16 numbers must be added up, and kept, in fp32. Qwen2's key biases make scores
    above a hundred, which bf16 would round to halves or whole numbers. The scorer's attention uses
    fp32 here too, and sampler and scorer must be the same policy. torch.bmm with out_dtype has no
    backward pass, but sampling needs none.
    """
    keys = keys.transpose(1, 2)
    if query.dtype == torch.float32:
        if bias is None:
            bias = query.new_zeros(1)  # baddbmm always adds something
        return torch.baddbmm(bias, query, keys, alpha=scaling)
    if query.is_cuda:
        scores = torch.bmm(query, keys, out_dtype=torch.float32)
    else:
        scores = query.float() @ keys.float()
    scores = scores.mul_(scaling)
    return scores if bias is None else scores.add_(bias)


class Decoder:
    """One token of every row through the model's layers.

    It stores the keys and values of each prompt once for its group, and those of each row's own
    tokens. A pass reads Tp + G * t keys a prompt instead of G * (Tp + t). With Tp = 4C and G = 8,
    these are 8C instead of 36C in the middle of the completions (t = C / 2).
    """

    def __init__(self, model, prompt_ids, prompt_lengths, group_size, capacity):
        """Compute the prompts [P, Tp] (right-padded; lengths [P]). capacity: new tokens at most."""
        self.layers = Layers(model)
        self.kv_heads = self.layers.kv_heads
        self.length = 0  # completion tokens stored so far
        Tp = prompt_ids.shape[1]
        self.last, stored = self.prefill(model, prompt_ids, prompt_lengths)
        # Heads first, so that rows [Hkv * B, ...] are also groups [Hkv * P, G, ...].
        flat = [t.flatten(0, 1) for t in stored]
        self.prompt, self.own = [], []  # of each layer, [keys, values]
        for keys, values in zip(flat[::2], flat[1::2]):
            self.prompt.append([keys, values])  # each [Hkv * P, Tp, D]
            rows = len(keys) * group_size
            room = [t.new_empty(rows, capacity, t.shape[2]) for t in (keys, values)]
            self.own.append(room)               # each [Hkv * B, capacity, D]
        padding = ~is_token(prompt_lengths, Tp).repeat(self.kv_heads, 1)
        bias = torch.zeros(padding.shape, device=padding.device)
        self.bias = bias.masked_fill(padding, float("-inf"))[:, None]  # [Hkv * P, 1, Tp]

    def prefill(self, model, prompt_ids, prompt_lengths):
        """The hidden states that predict the first tokens [P, E], and each layer's keys and
        values of the prompts [Hkv, P, Tp, D].

        Prompts of similar length are computed together, about PREFILL_TOKENS tokens at a time. So
        little is padding, and a layer's tensors stay in a CPU's cache. For the tiny student this
        takes two thirds of the time that all prompts at once would take.
        """
        P, Tp = prompt_ids.shape
        stored, last = [], []
        order = prompt_lengths.argsort(descending=True, stable=True)
        rest = order
        while len(rest):
            width = int(prompt_lengths[rest[0]])  # the longest prompt that is left
            part, rest = rest.tensor_split([max(1, PREFILL_TOKENS // width)])
            hidden, *computed = prompt_pass(model, prompt_ids[part, :width], prompt_lengths[part])
            last.append(hidden)
            if not stored:
                stored = [t.new_zeros(self.kv_heads, P, Tp, t.shape[3]) for t in computed]
            for whole, t in zip(stored, computed):
                whole[:, part, :width] = t.transpose(0, 1)
        return torch.cat(last)[order.argsort()], stored

    def step(self, tokens, positions):
        """tokens, positions [B] -> the hidden states that predict the next tokens [B, E]."""
        hidden = self.layers(tokens, positions, self.attend)
        self.length += 1
        return hidden

    def attend(self, layer, query, key, value, scaling):
        """Attention of one new token of each row to its group's prompt and to its own completion.

        query [B, H, D]; key, value [B, Hkv, D], which are stored -> [B, H * D]. The G rows of a
        group and the Q query heads of a key head are rows of one matrix product with the prompt's
        keys. One softmax goes over both parts.
        """
        prompt_keys, prompt_values = self.prompt[layer]
        own_keys, own_values = self.own[layer]
        B, H, D = query.shape
        Hkv, Tp, t = self.kv_heads, prompt_keys.shape[1], self.length
        own_keys[:, t] = key.transpose(0, 1).reshape(Hkv * B, D)
        own_values[:, t] = value.transpose(0, 1).reshape(Hkv * B, D)
        query = query.view(B, Hkv, -1, D).transpose(0, 1).reshape(Hkv * B, -1, D)  # [Hkv*B, Q, D]
        by_group = query.reshape(len(prompt_keys), -1, D)                        # [Hkv*P, G*Q, D]
        to_prompt = attention_scores(by_group, prompt_keys, scaling, self.bias)  # [Hkv*P, G*Q, Tp]
        to_own = attention_scores(query, own_keys[:, :t + 1], scaling)           # [Hkv*B, Q, t+1]
        scores = torch.cat([to_prompt.view(Hkv * B, -1, Tp), to_own], dim=-1)
        weights = scores.softmax(dim=-1).to(query.dtype)                        # [Hkv*B, Q, Tp+t+1]
        from_prompt = weights[..., :Tp].reshape(to_prompt.shape) @ prompt_values
        out = torch.baddbmm(from_prompt.view(query.shape), weights[..., Tp:], own_values[:, :t + 1])
        return out.view(Hkv, B, -1).transpose(0, 1).reshape(B, H * D)

    def keep(self, prompts, rows):
        """Keep only these prompts and rows (index tensors). A prompt may be named more than once,
        and each has the same number of rows."""
        def kept(t, index):
            return t.unflatten(0, (self.kv_heads, -1))[:, index].flatten(0, 1)

        for prompt, own in zip(self.prompt, self.own):  # in turn, so that one layer is held twice
            prompt[:] = [kept(t, prompts) for t in prompt]
            own[:] = [kept(t, rows) for t in own]
        self.bias = kept(self.bias, prompts)


class LiveRows:
    """Which row is in which cell of the grid, and which rows have ended.

    At first the grid has a line for each prompt and a cell for each of its G rows. When a quarter
    of the cells hold rows that have ended, the decoder goes on with a smaller grid (`repack`).
    """

    def __init__(self, decoder, prompt_lengths, Tp, group_size, max_new_tokens, ends):
        """ends [n]: the token ids that end a row. A repacked grid holds no more keys than the
        full one (`room`)."""
        device = prompt_lengths.device
        P, G, C = len(prompt_lengths), group_size, max_new_tokens
        self.decoder, self.ends = decoder, ends
        self.Tp, self.C, self.room = Tp, C, P * (Tp + G * C)
        self.lines = P
        # Of each cell: its row, the position where its completion begins, whether it has ended.
        self.rows = torch.arange(P * G, device=device)
        self.starts = prompt_lengths.repeat_interleave(G)
        self.ended = torch.zeros(P * G, dtype=torch.bool, device=device)
        # To ask whether rows have ended, the CPU must wait for the GPU. So it does not ask often.
        self.look_every = 1 if device.type == "cpu" else 16

    def after(self, token, t):
        """Note which rows end with the tokens of step t (one a cell), and drop ended rows if that
        saves enough -> the tokens of the cells that are left, or None when all rows have ended."""
        self.ended = self.ended | (token[:, None] == self.ends).any(1)
        if t % self.look_every:
            return token
        cells = len(self.rows)
        live = cells - int(self.ended.sum())
        if live == 0:
            return None
        if live > 0.75 * cells:
            return token
        line, kept = repack(~self.ended.view(self.lines, -1), self.Tp, self.C, self.room)
        if len(kept) > 0.75 * cells:
            return token
        self.decoder.keep(line, kept)
        self.rows = self.rows[kept]
        self.starts = self.starts[kept]
        self.ended = self.ended[kept]
        self.lines = len(line)
        return token[kept]


def repack(running, Tp, C, room):
    """The smallest grid for the rows that still run.

    running [lines, S]: which cells hold such a row -> (line [n]: whose prompt each of the n new
    lines takes; cells [n * s]: which old cells fill them, s in each).

    All lines have the same number of cells, so one prompt with many live rows would keep them all
    long. Therefore a line may be cut into several of s cells, where s divides S. Each of these has
    a copy of the prompt, and the n * (Tp + s * C) keys must not exceed `room`.

    >>> repack(torch.tensor([[1, 1, 1, 1], [0, 0, 1, 0]]) > 0, Tp=8, C=4, room=48)
    (tensor([0, 0, 1]), tensor([0, 1, 2, 3, 6, 4]))
    """
    live = running.sum(1)  # [lines] how many rows of each line still run
    S = running.shape[1]
    best = None
    for s in range(1, S + 1):
        if S % s:
            continue
        n = int(((live + s - 1) // s).sum())  # lines of s cells that hold them all
        if s < S and n * (Tp + s * C) > room:
            continue
        cost = (n * s, -s)  # the fewest cells, then the fewest copies of prompts
        if best is None or cost < best[0]:
            best = cost, s
    s = best[1]
    live_first = running.int().argsort(dim=1, descending=True, stable=True)  # [lines, S]
    parts = live_first.view(len(live), -1, s)                                # [lines, S / s, s]
    needed = torch.arange(0, S, s, device=running.device) < live[:, None]    # [lines, S / s]
    line, part = needed.nonzero(as_tuple=True)                               # [n], [n]
    return line, (line[:, None] * S + parts[line, part]).flatten()


@torch.no_grad()
def decodable(model):
    """Does this project compute the same as the model's own forward pass? Some families of models
    have other layers. The two are compared in fp32: of a trained SmolLM2 the logits in bf16 differ
    by up to a sixth, whoever computes them. In fp32 rounding makes a difference of 1e-6, or
    1e-4 where the logits nearly cancel. SmolLM3 without training, whose every fourth layer has no
    rotary positions, has one of 7e-4."""
    ids = torch.arange(6, device=model.device)[None] % model.config.vocab_size  # [1, 6]
    length = torch.tensor([5], device=model.device)
    try:
        with in_fp32(model):
            decoder = Decoder(model, ids[:, :5], length, 1, 1)
            found = logits_of(model.get_output_embeddings(), decoder.step(ids[:, 5], length))
            wanted = model(ids).logits[:, -1]
    except (AttributeError, TypeError, RuntimeError, ValueError):
        return False
    close = (found - wanted).norm() < 2e-4 * wanted.norm()
    return bool(close) and not has_hidden_traits(model.config)


@contextlib.contextmanager
def in_fp32(model):
    """Inside of it the model's weights are fp32. What bf16 holds, fp32 holds too, so they come back
    as they were."""
    dtypes = [param.dtype for param in model.parameters()]
    try:
        for param in model.parameters():
            param.data = param.data.float()
        yield
    finally:
        for param, dtype in zip(model.parameters(), dtypes):
            param.data = param.data.to(dtype)


def has_hidden_traits(config):
    """Does a model have a trait that a test on six tokens cannot show? Such traits are attention to
    a window only, and rotary frequencies or queries that change with the length."""
    kinds = getattr(config, "layer_types", None)
    if not kinds:  # the layers are not named one by one
        windowed = getattr(config, "sliding_window", None)
        kinds = ["sliding_attention" if windowed else "full_attention"]
    windowed = any(kind != "full_attention" for kind in kinds)
    rotary = [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")]
    return windowed or any(trait in str(rotary) for trait in ("longrope", "llama_4_scaling"))
