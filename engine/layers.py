"""The student's layers, written out once for three passes: over prompts, over one new token of
every row (sampling), and over whole completions (scoring).

Promise: sampler and scorer are one policy, because they are one computation. It equals the model's
own forward pass up to rounding.
To read: `Layers.__call__` is one forward pass. `prompt_pass` computes prompts, `completion_pass`
computes completions that attend to them. Shapes: P prompts, G completions each, B = P * G rows,
Tp prompt tokens, L completion tokens that are read, H query heads, Hkv heads of keys and values,
Q = H / Hkv query heads to each of them, D head size, E hidden size, V vocabulary, N tokens.
Held to it by tests/test_grpo.py, against full forward passes (tests/helpers.py, full_logps).

The block is the one that Qwen2, Qwen3, Llama, Mistral and SmolLM share. It is written out because
transformers' attention copies keys and values for every query head under a mask. In sampling it
also copies a prompt's keys and values for every row.
"""
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def pad(rows, value, device):
    """Lists of ids -> (ids [N, T] right-padded, lengths [N]). Under a causal mask no token sees
    what is to its right, so padding needs no mask."""
    lengths = torch.tensor([len(row) for row in rows], device=device)
    width = int(lengths.max())
    padded = [list(row) + [value] * (width - len(row)) for row in rows]
    return torch.tensor(padded, device=device), lengths


def is_token(lengths, width):
    """Which places of right-padded rows hold a token: lengths [N] -> bool [N, width]."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def recomputed(function, *inputs):
    """Activation checkpointing: function(*inputs), of which only the inputs are kept. The backward
    pass computes the rest again."""
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


class Layers:
    """All layers of a model, without its language model head.

    A layer computes x + attention(norm x), then x + mlp(norm x). Each token is computed by itself
    except in attention, where it looks at other tokens. Only there the three passes differ, so each
    supplies its own `attend`.

    Three quarters of what a layer keeps for the backward pass lie inside its MLP. At the shape of
    Qwen2.5-0.5B these are 4 x 4864 numbers a token, beside about 6 x 896 others. With
    model.recompute (train.py --recompute) they are not kept but computed again.
    """

    def __init__(self, model):
        self.body = model.base_model
        self.recompute = torch.is_grad_enabled() and getattr(model, "recompute", False)
        self.qkv = []  # of each layer, (weight, bias) of its three projections as one
        for layer in self.body.layers:
            attention = layer.self_attn
            parts = [attention.q_proj, attention.k_proj, attention.v_proj]
            weight = torch.cat([part.weight for part in parts])
            bias = None
            if parts[0].bias is not None:
                bias = torch.cat([part.bias for part in parts])
            self.qkv.append((weight, bias))
        first = self.body.layers[0].self_attn  # all layers have one shape
        self.head_dim = first.head_dim
        self.heads = first.q_proj.out_features // first.head_dim
        self.kv_heads = first.k_proj.out_features // first.head_dim

    def __call__(self, tokens, positions, attend, needed=None):
        """tokens, positions [N] -> hidden states [N, E], each of which predicts the next token.

        needed [M]: the tokens whose hidden states are wanted -> [M, E] (default: all).
        attend(layer number, query [N, H, D], key [N, Hkv, D], value [N, Hkv, D], scaling)
        -> [N, H * D], or [M, H * D] in the last layer.
        """
        x = self.body.embed_tokens(tokens)  # [N, E]
        cos, sin = self.rotation(x, positions)
        for i, layer in enumerate(self.body.layers):
            query, key, value = self.project(i, layer, x, cos, sin)
            if needed is not None and i + 1 == len(self.qkv):
                x = x[needed]  # nothing reads the last layer's output for the other tokens
                query = query[needed]
            attention = layer.self_attn
            x = x + attention.o_proj(attend(i, query, key, value, attention.scaling))
            if self.recompute:
                x = x + recomputed(feed_forward, x, layer)
            else:
                x = x + feed_forward(x, layer)
        return norm(self.body.norm, x)

    def rotation(self, x, positions):
        """(cos, sin), each [N, 1, D], of the rotary position embedding.

        A head has two halves, and (a, b) becomes (a cos - b sin, b cos + a sin). The first half of
        `sin` already has the minus sign. So a rotation is x * cos + roll(x) * sin, where roll swaps
        the halves.
        """
        cos, sin = self.body.rotary_emb(x, positions[None])  # [1, N, D]
        cos, sin = cos[0, :, None], sin[0, :, None]
        half = self.head_dim // 2
        return cos, torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)

    def project(self, i, layer, x, cos, sin):
        """x [N, E] -> query [N, H, D], key [N, Hkv, D], value [N, Hkv, D], queries and keys
        rotated."""
        H, Hkv = self.heads, self.kv_heads
        weight, bias = self.qkv[i]
        qkv = F.linear(norm(layer.input_layernorm, x), weight, bias)
        qkv = qkv.view(len(x), -1, self.head_dim)  # [N, H + 2 Hkv, D]
        query_key, value = qkv.split([H + Hkv, Hkv], dim=1)
        attention = layer.self_attn
        if hasattr(attention, "q_norm"):  # Qwen3
            query = norm(attention.q_norm, query_key[:, :H])
            key = norm(attention.k_norm, query_key[:, H:])
            query_key = torch.cat([query, key], dim=1)
        query_key = query_key * cos + query_key.roll(self.head_dim // 2, -1) * sin
        query, key = query_key.split([H, Hkv], dim=1)
        return query, key, value


def norm(module, x):
    """RMSNorm with a module's weight."""
    return F.rms_norm(x, module.weight.shape, module.weight, module.variance_epsilon)


def feed_forward(x, layer):
    """The MLP of a layer, with its norm: [N, E] -> [N, E]."""
    h = norm(layer.post_attention_layernorm, x)
    mlp = layer.mlp
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(h)) * mlp.up_proj(h))


# ---- prompts -------------------------------------------------------------------------------------
def prompt_pass(model, prompt_ids, prompt_lengths):
    """Compute each prompt once, for sampling and for scoring.

    prompt_ids [P, Tp], right-padded; prompt_lengths [P] -> a list of tensors: the hidden state that
    predicts the first completion token [P, E], then each layer's keys and values [P, Hkv, Tp, D].
    """
    P, Tp = prompt_ids.shape
    device = prompt_ids.device
    stored = []
    ends = torch.arange(P, device=device) * Tp + prompt_lengths - 1  # [P] the last token of each
    sees = is_token(prompt_lengths, Tp)[:, None, None]  # [P, 1, 1, Tp]: it sees the whole prompt

    def attend(_, query, key, value, scaling):
        key, value = (t.view(P, Tp, -1, t.shape[-1]).transpose(1, 2) for t in (key, value))
        key = key.contiguous()  # a view would keep the whole projection in memory
        value = value.contiguous()
        stored.append(key)      # [P, Hkv, Tp, D]
        stored.append(value)
        Hkv, D = key.shape[1], key.shape[3]
        if len(query) == P:  # the last layer has one query a prompt, from its last token
            query = query.view(P, Hkv, -1, D)  # the Q query heads of a key head, as Q queries
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=sees, scale=scaling)
            return out.reshape(P, -1)
        query = query.view(P, Tp, -1, D).transpose(1, 2)  # [P, H, Tp, D]
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling,
                                             enable_gqa=True)
        return out.transpose(1, 2).reshape(P * Tp, -1)

    positions = torch.arange(Tp, device=device).repeat(P)
    last = Layers(model)(prompt_ids.flatten(), positions, attend, needed=ends)
    return [last, *stored]


# ---- completions ---------------------------------------------------------------------------------
def completion_pass(model, stored, prompt_lengths, inputs, group_size):
    """Compute completions that attend to their group's prompt through its keys and values.
    Gradients flow back into the prompt pass.

    stored: each layer's keys and values of the prompts [P, Hkv, Tp, D]; inputs [B, L]: the
    completion tokens that are read, all but the last -> hidden states [B, L, E].
    """
    layers, G = Layers(model), group_size
    P, Hkv, Tp, D = stored[0].shape
    L = inputs.shape[1]
    Q = layers.heads // Hkv  # a key head's Q query heads are treated as Q * L queries of one head
    bias = completion_mask(stored[0], prompt_lengths, L, Q)

    def with_prompt(shared, own):
        """[P, Hkv, Tp, D] and [B * L, Hkv, D] -> [P, G * Hkv, Tp + L, D]."""
        shared = shared[:, None].expand(-1, G, -1, -1, -1)    # [P, G, Hkv, Tp, D]
        own = own.view(P, G, L, Hkv, D).transpose(2, 3)       # [P, G, Hkv, L, D]
        return torch.cat([shared, own], dim=3).flatten(1, 2)

    def attend(i, query, key, value, scaling):
        query = query.view(P, G, L, Hkv, Q, D)
        query = query.permute(0, 1, 3, 4, 2, 5)               # [P, G, Hkv, Q, L, D]
        query = query.reshape(P, G * Hkv, Q * L, D)
        keys = with_prompt(stored[2 * i], key)
        values = with_prompt(stored[2 * i + 1], value)
        out = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scaling)
        out = out.view(P, G, Hkv, Q, L, D)
        out = out.permute(0, 1, 4, 2, 3, 5)                   # [P, G, L, Hkv, Q, D]
        return out.reshape(P * G * L, -1)

    starts = prompt_lengths.repeat_interleave(G)[:, None]
    positions = starts + torch.arange(L, device=inputs.device)  # [B, L]
    out = layers(inputs.flatten(), positions.flatten(), attend)
    return out.view(P * G, L, -1)


def completion_mask(like, prompt_lengths, L, Q):
    """What the queries of a completion may see, as a bias on attention scores: 0 or -inf,
    [P, 1, Q * L, Tp + L], one for the whole group. `like` gives dtype and [P, Hkv, Tp, D]."""
    P, _, Tp, _ = like.shape
    sees_prompt = is_token(prompt_lengths, Tp)[:, None].expand(-1, L, -1)              # [P, L, Tp]
    sees_own = torch.ones(P, L, L, dtype=torch.bool, device=like.device).tril()        # [P, L, L]
    sees = torch.cat([sees_prompt, sees_own], dim=-1).repeat(1, Q, 1)[:, None]
    T = Tp + L
    width = (T + 7) // 8 * 8  # a GPU kernel copies a mask of any other line length in every layer
    bias = like.new_zeros(P, 1, Q * L, width)[..., :T]
    return bias.masked_fill_(~sees, float("-inf"))


# ---- logits --------------------------------------------------------------------------------------
def logits_of(head, hidden):
    """Logits in fp32: hidden [N, E] -> [N, V].

    A bf16 model's products are added up, and kept, in fp32 here (LogitsInFp32). If logits were
    rounded to bf16, this would be most of the difference between sampler and scorer.
    """
    if hidden.dtype == torch.float32 or head.bias is not None:
        return head(hidden).float()
    return LogitsInFp32.apply(hidden, head.weight)


class LogitsInFp32(torch.autograd.Function):
    """hidden [N, E] and weight [V, E], both bf16 -> logits [N, V] in fp32, with a backward pass.

    It is written by hand because torch.mm(..., out_dtype=torch.float32) has no derivative, and
    exists on CUDA only. On other devices the same sums are made in fp32.
    """

    @staticmethod
    def forward(ctx, hidden, weight):
        ctx.save_for_backward(hidden, weight)
        if hidden.is_cuda:
            return torch.mm(hidden, weight.t(), out_dtype=torch.float32)
        return hidden.float() @ weight.float().t()

    @staticmethod
    def backward(ctx, gradient):
        hidden, weight = ctx.saved_tensors
        gradient = gradient.to(hidden.dtype)  # [N, V]
        return gradient @ weight, gradient.t() @ hidden


def token_logps(head, hidden, ids, temperature=1.0, chunk_elements=2 ** 25):
    """log softmax(logits / temperature) at ids: hidden [N, E], ids [N] -> [N] in fp32.

    Logits [N, V] in fp32 would be the largest tensor of all. They are made chunk by chunk, and
    again in the backward pass.
    """
    def score(hidden, ids):
        logits = logits_of(head, hidden) / temperature
        return logits.gather(-1, ids[:, None])[:, 0] - logits.logsumexp(-1)

    size = max(1, chunk_elements // head.weight.shape[0])
    if len(ids) <= size:
        return score(hidden, ids)
    chunks = zip(hidden.split(size), ids.split(size))
    return torch.cat([recomputed(score, h, i) for h, i in chunks])
