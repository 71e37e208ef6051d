"""Make the shipped tiny students: python -m assets.make_tiny --task shop --out assets/tiny
                                python -m assets.make_tiny --task ads --out assets/tiny-ads

A Qwen2-architecture model of about 0.2M parameters with its own tokenizer, pretrained from scratch on generated text. Every
example of the corpus is worked out under *new random* facts (a price list, say), so that the student becomes fluent in the
steps of the task and in both prompt formats, learns to read routes and to copy each fact from one of them at random, and
knows none of the facts the task uses. RL can then only pick among behaviours it already has.
"""
import argparse
import random
import sys

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from assets import ads, shop
from realm import MRPV_INSTRUCTION, PLAIN_INSTRUCTION

# The fixed parts of the prompts are single tokens: a student this small should spend its context on the problem.
PHRASES = [PLAIN_INSTRUCTION, MRPV_INSTRUCTION, "Problem:", "\nSolution:\n", "<think>", "</think>\n", "<answer>", "</answer>",
           "\n<scores>", "</scores>", "\nRoute"]
TASKS = {"shop": shop, "ads": ads}


def tiny_tokenizer(task_tokens=shop.TOKENS):
    """One token per word of the task (with the space before it), digit and sign; decoding is plain concatenation.

    All are "added tokens", matched in the raw text before anything else: AutoTokenizer gives every Qwen2 folder Qwen2's own
    pre-tokenizer, whatever tokenizer.json says, and would cut the text differently.
    """
    tokens = [*task_tokens, *",;.:\n ", *(space + str(d) for space in (" ", "") for d in range(10)), *PHRASES]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(("<|pad|>", "<|end|>", "<|unk|>"))}, [], unk_token="<|unk|>"))
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in tokens])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", unk_token="<|unk|>",
                                   model_max_length=1024, clean_up_tokenization_spaces=False)


def batches_of(task, tokenizer, rng, size, pool=16):
    """Endless (ids, labels, starts): ids and labels [size, T], right-padded, rows of like length together; starts: where
    each completion begins. The whole text is trained: a route is as good a lesson in arithmetic as a completion."""
    while True:
        examples = [task.example(rng) for _ in range(pool * size)]
        starts = [len(ids) for ids in tokenizer([p for p, _ in examples])["input_ids"]]
        rows = [ids + [tokenizer.eos_token_id] for ids in tokenizer([p + c for p, c in examples])["input_ids"]]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for first in rng.sample(range(0, len(rows), size), pool):
            chosen = order[first:first + size]
            width = max(len(rows[i]) for i in chosen)
            ids = torch.tensor([rows[i] + [tokenizer.pad_token_id] * (width - len(rows[i])) for i in chosen])
            labels = torch.tensor([rows[i] + [-100] * (width - len(rows[i])) for i in chosen])
            yield ids, labels, [starts[i] for i in chosen]


@torch.no_grad()
def fluency(task, model, tokenizer, rng, n=256):
    """Greedy one-token-ahead accuracy on new text, of those tokens of the completions that the text before them determines."""
    ids, labels, starts = next(batches_of(task, tokenizer, rng, n, pool=1))
    right = model(ids.to(model.device)).logits[:, :-1].argmax(-1).cpu() == ids[:, 1:]
    found = []
    for row, pieces in enumerate(map(tokenizer.convert_ids_to_tokens, ids.tolist())):
        computed = False
        for t in range(starts[row], int((labels[row] != -100).sum())):
            if computed:
                found.append(right[row, t - 1].item())
            computed = pieces[t].strip() in task.COMPUTED or computed and pieces[t].strip().isdigit() and pieces[t + 1].isdigit()
    return sum(found) / len(found)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--task", choices=TASKS, default="shop")
    args.add_argument("--steps", type=int, default=2000)
    args.add_argument("--batch", type=int, default=64)
    args.add_argument("--width", type=int, default=64)
    args.add_argument("--layers", type=int, default=4)
    args.add_argument("--lr", type=float, default=3e-3)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--init", help="go on from the student in this folder")
    args.add_argument("--device", default="cpu")
    args.add_argument("--out", default="assets/tiny")
    args = args.parse_args()
    torch.manual_seed(args.seed)
    task, rng = TASKS[args.task], random.Random(args.seed)
    tokenizer = tiny_tokenizer(task.TOKENS)
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=args.width, intermediate_size=args.width * 3,
                         num_hidden_layers=args.layers, num_attention_heads=4, num_key_value_heads=1,
                         initializer_range=0.1,  # transformers' 0.02 is for wide models: here it delays copying tenfold
                         max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
                         eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model = Qwen2ForCausalLM.from_pretrained(args.init) if args.init else Qwen2ForCausalLM(config)
    model.to(args.device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(tokenizer)} tokens")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    warmup, cooldown = max(1, args.steps // 15), max(1, args.steps // 2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min(1, (t + 1) / warmup, (args.steps - t) / cooldown + 0.01))
    batches = batches_of(task, tokenizer, rng, args.batch)
    bar = tqdm(range(args.steps), mininterval=10)
    for step in bar:
        ids, labels, _ = next(batches)
        loss = model(ids.to(args.device), labels=labels.to(args.device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), scheduler.step(), optimizer.zero_grad()
        if step % 100 == 99:
            right = fluency(task, model, tokenizer, random.Random("held out"))
            bar.write(f"step {step + 1}  loss {loss.item():.3f}  computed tokens right {right:.4f}")
            sys.stdout.flush()
        if step % 500 == 499 or step == args.steps - 1:
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
