"""What the tests share: a policy small enough to enumerate, and slow, plain oracles to hold grpo.py
against."""
import dataclasses
import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

import grpo

PAD, END, TURN = 0, 1, 2  # ids; TURN ends a turn of CHAT, as <|im_end|> does for Qwen
LETTERS = "abcdefghijklm"
CHAT = ("{% for m in messages %}{{ m['role'][0] + m['content'] + '<turn>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'a' }}{% endif %}")


def small_tokenizer(**changes):
    """One token a letter; 16 ids in all."""
    vocab = {token: i for i, token in enumerate(["<pad>", "<end>", "<turn>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    settings = {"pad_token": "<pad>", "eos_token": "<end>",
                "additional_special_tokens": ["<turn>"], **changes}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False,
                                   **settings)


def small_model(seed=0, **changes):
    """Random weights, two query heads for each key head, and distributions that are far from
    flat."""
    torch.manual_seed(seed)
    settings = dict(vocab_size=16, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                    initializer_range=0.3, tie_word_embeddings=True, bos_token_id=None,
                    eos_token_id=END, pad_token_id=PAD)
    config = Qwen2Config(**{**settings, **changes})
    return Qwen2ForCausalLM(config).eval()


def by_hand(model, group_size=4, seed=0, prompts=("ab", "cdefgh", "k"),
            lengths=(5, 1, 9, 3, 2, 2, 7, 1, 4, 8, 1, 6)):
    """Rollouts nobody sampled: random ids (pad and end tokens among them) in uneven lengths; old
    logps near the policy's."""
    draw = torch.Generator().manual_seed(seed)
    encoded = [small_tokenizer()(p)["input_ids"] for p in prompts]
    prompt_ids, prompt_lengths = grpo.pad(encoded, PAD, "cpu")
    completions = [torch.randint(16, (n,), generator=draw).tolist() for n in lengths]
    ids, lengths = grpo.pad(completions, PAD, "cpu")
    rollouts = grpo.Rollouts(prompt_ids, prompt_lengths, ids, lengths,
                             torch.zeros(ids.shape), torch.zeros(ids.shape),
                             torch.ones(len(ids), dtype=torch.bool), [""] * len(ids), group_size)
    noise = 0.3 * torch.randn(ids.shape, generator=draw)
    rollouts.logps = (full_logps(model, rollouts).detach() + noise) * rollouts.mask
    return rollouts


def full_logits(model, rollouts):
    """Logits [n, V] of every row's n completion tokens: one row at a time, with its own prompt, no
    padding and no cache."""
    for b, n in enumerate(rollouts.lengths.tolist()):
        p = b // rollouts.group_size
        prompt = rollouts.prompt_ids[p, :rollouts.prompt_lengths[p]]
        row = torch.cat([prompt, rollouts.completion_ids[b, :n]])
        yield model(row[None], use_cache=False).logits[0, len(prompt) - 1:-1]


def full_logps(model, rollouts, temperature=1.0):
    """[B, C], 0 beyond each row's length."""
    width = rollouts.completion_ids.shape[1]
    rows = []
    for ids, logits in zip(rollouts.completion_ids, full_logits(model, rollouts)):
        logps = (logits / temperature).log_softmax(-1)
        found = logps.gather(1, ids[:len(logits), None])[:, 0]
        rows.append(torch.nn.functional.pad(found, (0, width - len(found))))
    return torch.stack(rows)


@torch.no_grad()
def sample_slowly(model, tokenizer, prompts, group_size, max_new_tokens, ends, temperature,
                  seed=0):
    """The completions `sample` must draw (lists of ids): a full forward pass for every token of
    every row."""
    draw = torch.Generator().manual_seed(seed)
    rows = [ids for ids in tokenizer(prompts)["input_ids"] for _ in range(group_size)]
    completions = [[] for _ in rows]
    for _ in range(max_new_tokens):
        uniform = torch.rand(len(rows), generator=draw)
        for prompt, completion, u in zip(rows, completions, uniform):
            if not completion or completion[-1] not in ends:
                logits = model(torch.tensor([prompt + completion]), use_cache=False).logits[0, -1]
                below = (logits / (temperature or 1)).softmax(-1).cumsum(0) <= u
                completion.append(int(below.sum()) if temperature else int(logits.argmax()))
    return completions


def plain_loss(logps, old, ref, advantages, lengths, loss_type, max_len=None, low=0.2, high=0.2,
               beta=0.0):
    """GRPO's loss row by row, as its papers write it."""
    rows = []
    for b, n in enumerate(lengths):
        ratio = (logps[b, :n] - old[b, :n]).exp()
        A = advantages[b]
        loss = -torch.minimum(ratio * A, ratio.clamp(1 - low, 1 + high) * A)
        if beta:
            gap = ref[b, :n] - logps[b, :n]
            loss = loss + beta * (gap.exp() - gap - 1)
        rows.append(loss)
    if loss_type == "grpo":
        return torch.stack([row.mean() for row in rows]).mean()
    tokens = sum(lengths) if loss_type == "dapo" else len(rows) * (max_len or max(lengths))
    return torch.cat(rows).sum() / tokens


class Recorder:
    """Stands where the optimizer does, and keeps the gradients of each step instead of applying
    them."""

    def __init__(self, model):
        self.params = list(model.parameters())
        self.steps = []

    def step(self):
        self.steps.append(take_gradients(self.params))
        return 0.0


def take_gradients(params):
    """The gradients of some parameters, which have none afterwards."""
    params = list(params)
    found = [p.grad.clone() for p in params]
    for p in params:
        p.grad = None
    return found


def assert_same_gradients(found, wanted, tolerance=1e-4):
    for a, b in zip(found, wanted, strict=True):
        assert b.abs().max() > 0 and (a - b).norm() <= tolerance * b.norm()


def write_bank(path, problems):
    """Write problems with their routes as a bank."""
    path.write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in problems))
