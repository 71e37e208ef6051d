"""Make the shipped tiny student: python -m assets.make_tiny [--steps 1500] [--out assets/tiny]

A Qwen2-architecture model of about 0.45M parameters with its own tokenizer, pretrained from scratch on generated text.
Every example of the corpus is worked out under a *new random* price list, so that the student becomes fluent in the
arithmetic, the house rules and both prompt formats, learns to read routes and to copy each price from one of them at
random, and knows nothing of the prices the built-in task uses. RL can then only pick among behaviours it already has.
"""
import argparse
import random
import sys

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from assets.shop import ITEMS, new_order, read_order, work_out
from realm import MRPV_INSTRUCTION, PLAIN_INSTRUCTION, Route, demonstration, mrpv_prompt

# The fixed parts of the prompts are single tokens: a student this small should spend its context on the problem.
PHRASES = [PLAIN_INSTRUCTION, MRPV_INSTRUCTION, "Problem:", "\nSolution:\n", "<think>", "</think>\n", "<answer>", "</answer>",
           "\n<scores>", "</scores>", "\nRoute"]
WORDS = ITEMS + ["x", "=", "-", "sum", "total"]


def tiny_tokenizer():
    """One token per word (with the space before it), price tag, digit and sign; decoding is plain concatenation.

    All are "added tokens", matched in the raw text before anything else: AutoTokenizer gives every Qwen2 folder Qwen2's own
    pre-tokenizer, whatever tokenizer.json says, and would cut the text differently.
    """
    tokens = [f" {w}" for w in WORDS] + [f" @{price}" for price in range(11, 100)] + list(",;.:\n ") + [s + str(d) for s in (" ", "") for d in range(10)] + PHRASES
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(("<|pad|>", "<|end|>", "<|unk|>"))}, [], unk_token="<|unk|>"))
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in tokens])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", unk_token="<|unk|>",
                                   model_max_length=1024, clean_up_tokenization_spaces=False)


def shop_example(rng):
    """(prompt, completion) under a price list of this example's own."""
    order = read_order(new_order(rng, rng.choice([1, 2, 2, 3, 3, 4, 5]), ITEMS))
    question = ", ".join(f"{n} {item}" for n, item in order)
    price = lambda: rng.randint(11, 99)  # noqa: E731
    beliefs = {item: (price(), price()) for _, item in order}  # two beliefs recur in the routes, as truth and misconception do
    trust, noise = rng.random(), rng.random() * 0.6
    routes = []
    for _ in range(rng.choice([0, 0, 1, 2, 3, 3, 4])):
        prices = {i: price() if rng.random() < noise else b[rng.random() < trust] for i, b in beliefs.items()}
        text, total = work_out(order, prices)
        routes.append((Route(text, str(total), False), prices))
    prices = {i: rng.choice(routes)[1][i] if routes else price() for i in beliefs}  # each price from a random route
    text, total = work_out(order, prices)
    scores = None
    if routes:
        agree = rng.random() < 0.5  # half the time the scores are what agrees with the student, half the time noise
        scores = [float(int(r.answer) == total) if agree else float(rng.random() < 0.5) for r, _ in routes]
    return mrpv_prompt(question, [r for r, _ in routes]), demonstration(text, total, scores)


def batches_of(tokenizer, rng, size, pool=16):
    """Endless (ids, labels, starts): ids and labels [size, T], right-padded, rows of like length together; starts: where
    each completion begins. The whole text is trained: a route is as good a lesson in arithmetic as a completion."""
    while True:
        examples = [shop_example(rng) for _ in range(pool * size)]
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
def fluency(model, tokenizer, rng, n=256):
    """One-token-ahead greedy accuracy on new text -> (arithmetic, order): of the digits of computed numbers, and of the items
    in the completion, both of which the text before them determines."""
    ids, labels, starts = next(batches_of(tokenizer, rng, n, pool=1))
    right = model(ids).logits[:, :-1].argmax(-1) == ids[:, 1:]
    pieces = [tokenizer.convert_ids_to_tokens(row.tolist()) for row in ids]
    arithmetic, order = [], []
    for row in range(n):
        computed = False
        for t in range(starts[row], int((labels[row] != -100).sum())):
            piece = pieces[row][t].strip()
            if computed and piece.isdigit():
                arithmetic.append(right[row, t - 1].item())
            else:
                computed = piece in ("=", "sum", "total")
            if piece in ITEMS:
                order.append(right[row, t - 1].item())
    return sum(arithmetic) / len(arithmetic), sum(order) / len(order)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--steps", type=int, default=1500)
    args.add_argument("--batch", type=int, default=64)
    args.add_argument("--width", type=int, default=64)
    args.add_argument("--layers", type=int, default=4)
    args.add_argument("--lr", type=float, default=2e-3)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--init", help="go on from the student in this folder")
    args.add_argument("--out", default="assets/tiny")
    args = args.parse_args()
    torch.manual_seed(args.seed)
    tokenizer, rng = tiny_tokenizer(), random.Random(args.seed)
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=args.width, intermediate_size=args.width * 3,
                         num_hidden_layers=args.layers, num_attention_heads=4, num_key_value_heads=1,
                         initializer_range=0.1,  # transformers' 0.02 is for wide models: here it delays copying tenfold
                         max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
                         eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model = Qwen2ForCausalLM.from_pretrained(args.init) if args.init else Qwen2ForCausalLM(config)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(tokenizer)} tokens")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    warmup, cooldown = args.steps // 15, args.steps // 2
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min(1, (t + 1) / warmup, (args.steps - t) / cooldown + 0.01))
    batches = batches_of(tokenizer, rng, args.batch)
    bar = tqdm(range(args.steps), mininterval=10)
    for step in bar:
        ids, labels, _ = next(batches)
        loss = model(ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), scheduler.step(), optimizer.zero_grad()
        if step % 100 == 99:
            arithmetic, order = fluency(model, tokenizer, random.Random("held out"))
            bar.write(f"step {step + 1}  loss {loss.item():.3f}  arithmetic {arithmetic:.4f}  order {order:.4f}")
            sys.stdout.flush()
        if step % 500 == 499 or step == args.steps - 1:
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
