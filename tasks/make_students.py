r"""Make the shipped tiny students.

    python -m tasks.make_students --task shop --out assets/tiny
    python -m tasks.make_students --task ads --out assets/tiny-ads
    python -m tasks.make_students --task shop-checks --init assets/tiny --steps 1600 --lr 2e-3 \
        --muon-lr 0.01 --out assets/tiny-checks
    python -m tasks.make_students --task shop-recall --init assets/tiny-checks --steps 1000 \
        --lr 2e-3 --muon-lr 0.01 --out assets/tiny-recall
    python -m tasks.make_students --task shop-totals --init assets/tiny-recall --steps 1400 \
        --lr 2e-3 --muon-lr 0.01 --out assets/tiny-totals

A student is a Qwen2-architecture model of about 0.2M parameters with a tokenizer of its own. It is
pretrained on generated text, from scratch or from another student. Each example of this corpus has
random facts of its own (a price list, say). So the student becomes fluent in the steps of the task
and in both prompt formats. It learns to read routes, and to copy each fact from a random one. It
knows none of the facts of the task itself: RL can only choose among behaviours that the student
already has. Only tiny-recall and tiny-totals know some other facts by heart (tasks/shop_recall.py
says why).

Promise: the same flags give the same weights on the same kind of CPU.
To read: main, then batches_of; tiny_tokenizer is plumbing.
tests/test_students.py holds it to that, and tests/test_data.py and tests/test_ads.py the corpus.
"""
import argparse
import math
import random
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from engine.flags import refuse_out
from engine.policy import choose_device
from realm import MRPV_INSTRUCTION, PLAIN_INSTRUCTION
from tasks import ads, shop, shop_checks, shop_recall, shop_totals

TASKS = {"shop": shop, "ads": ads, "shop-checks": shop_checks, "shop-recall": shop_recall,
         "shop-totals": shop_totals}
SPECIAL = ("<|pad|>", "<|end|>", "<|unk|>")
# Each fixed part of the prompts is a single token: a student this small should spend its context on
# the problem.
PHRASES = [PLAIN_INSTRUCTION, MRPV_INSTRUCTION, "Problem:", "\nSolution:\n", "<think>",
           "</think>\n", "<answer>", "</answer>", "\n<scores>", "</scores>", "\nRoute"]
NOT_TRAINED = -100  # the label of padding, and of a task's FACT tokens in a prompt


def tiny_tokenizer(task_tokens=shop.TOKENS):
    """One token per word of the task (with the space before it), digit and sign.

    All are "added tokens", which are matched in the raw text before anything else. AutoTokenizer
    gives every Qwen2 folder Qwen2's own pre-tokenizer, whatever tokenizer.json says; that one
    would cut the text differently. Decoding joins the tokens.
    """
    digits = [*(f" {digit}" for digit in range(10)), *"0123456789"]
    tokens = [*task_tokens, *",;.:\n ", *digits, *PHRASES]
    vocabulary = {token: i for i, token in enumerate(SPECIAL)}
    pad, end, unknown = SPECIAL
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=unknown))
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in tokens])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=end,
                                   unk_token=unknown, model_max_length=1024,
                                   clean_up_tokenization_spaces=False)


def batches_of(task, tokenizer, rng, size, pool=16):
    """Endless batches (ids, labels, starts) of the pretraining corpus.

    ids, labels: [size, T], padded on the right. starts: where each completion begins. The whole
    text is trained, for a route is as good a lesson in arithmetic as a completion. Only tokens of a
    prompt that begin with task.FACT are not, if the task has it. `pool` batches are made at a time,
    so that each can hold rows of similar length.
    """
    facts = set()
    if hasattr(task, "FACT"):
        facts = {i for token, i in tokenizer.get_vocab().items() if token.startswith(task.FACT)}
    while True:
        examples = [task.example(rng) for _ in range(pool * size)]
        prompts = tokenizer([prompt for prompt, _ in examples])["input_ids"]
        texts = tokenizer([prompt + completion for prompt, completion in examples])["input_ids"]
        starts = [len(ids) for ids in prompts]
        rows = [ids + [tokenizer.eos_token_id] for ids in texts]
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for first in rng.sample(range(0, len(rows), size), pool):
            chosen = by_length[first:first + size]
            width = max(len(rows[i]) for i in chosen)
            ids, labels = [], []
            for i in chosen:
                padding = width - len(rows[i])
                prompt, completion = rows[i][:starts[i]], rows[i][starts[i]:]
                told = [NOT_TRAINED if token in facts else token for token in prompt]
                ids.append(rows[i] + [tokenizer.pad_token_id] * padding)
                labels.append(told + completion + [NOT_TRAINED] * padding)
            yield torch.tensor(ids), torch.tensor(labels), [starts[i] for i in chosen]


@torch.no_grad()
def fluency(task, model, tokenizer, rng, n=256):
    """The share of computed tokens that the model predicts, in n new examples.

    A token is computed if the text before it determines it: it stands behind a token in
    task.COMPUTED, or is a further digit of such a number. Only completions count.
    """
    ids, labels, starts = next(batches_of(task, tokenizer, rng, n, pool=1))
    predicted = model(ids.to(model.device)).logits[:, :-1].argmax(-1).cpu()
    right = predicted == ids[:, 1:]
    found = []
    for row, start in enumerate(starts):
        pieces = tokenizer.convert_ids_to_tokens(ids[row].tolist())
        length = int((labels[row] != NOT_TRAINED).nonzero()[-1]) + 1
        computed = False
        for t in range(start, length):
            if computed:
                found.append(right[row, t - 1].item())
            word = pieces[t].strip()
            # The next token is a further digit if no space is before it.
            number_goes_on = computed and word.isdigit() and pieces[t + 1].isdigit()
            computed = word in task.COMPUTED or number_goes_on
    return sum(found) / len(found)


def new_student(tokenizer, width, layers):
    """A Qwen2 model with random weights."""
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width * 3,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=1,
        # transformers' 0.02 is for wide models: here it would delay copying tenfold.
        initializer_range=0.1,
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


def with_tokens(model, known, wanted):
    """Give a student the vocabulary of another tokenizer. Tokens that it knows keep their row, new
    ones get a random one -> model. known, wanted: its tokenizer, and the new one."""
    old = model.get_input_embeddings().weight.detach().clone()
    rows = known.get_vocab()
    model.resize_token_embeddings(len(wanted), mean_resizing=False)
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        for i, token in enumerate(wanted.convert_ids_to_tokens(range(len(wanted)))):
            if token in rows:
                weight[i] = old[rows[token]]
            else:
                weight[i].normal_(std=model.config.initializer_range)
    return model


def optimizers(model, lr, muon_lr=None):
    """AdamW for all weights. With muon_lr, Muon takes the matrices of the attention from it, and
    the student soon copies from its prompt more cleanly."""
    attention, others = [], []
    for name, parameter in model.named_parameters():
        of_muon = muon_lr is not None and "self_attn" in name and parameter.ndim == 2
        (attention if of_muon else others).append(parameter)
    found = [torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]
    if attention:
        found.append(torch.optim.Muon(attention, lr=muon_lr, weight_decay=0.01))
    return found


def learning_rates(optimizer, steps):
    """A scheduler: the rate rises for a fifteenth of the steps, and falls in the second half."""
    rise, fall = max(1, steps // 15), max(1, steps // 2)

    def factor(step):
        return min(1, (step + 1) / rise, (steps - step) / fall + 0.01)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def flags():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="shop")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--muon-lr", type=float,
                        help="train the matrices of the attention by Muon, at this rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", help="go on from the student in this folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="assets/tiny")
    args = parser.parse_args()
    for name in ("steps", "batch", "width", "layers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    for name in ("lr", "muon_lr"):
        rate = getattr(args, name)
        if rate is not None and not 0 < rate < math.inf:
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {rate:g}")
    if args.muon_lr and not hasattr(torch.optim, "Muon"):
        parser.error(f"--muon-lr: torch {torch.__version__} has no Muon")
    for name in ("config.json", "tokenizer.json"):
        if args.init and not (Path(args.init) / name).is_file():
            parser.error(f"--init {args.init}: no folder with a {name}")
    try:
        choose_device(args.device)
        Path(args.out).mkdir(parents=True, exist_ok=True)
        refuse_out("--out", Path(args.out, "model.safetensors"))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def main():
    args = flags()
    torch.manual_seed(args.seed)
    task, rng = TASKS[args.task], random.Random(args.seed)
    tokenizer = tiny_tokenizer(task.TOKENS)
    if args.init:
        model = Qwen2ForCausalLM.from_pretrained(args.init)
        model = with_tokens(model, AutoTokenizer.from_pretrained(args.init), tokenizer)
    else:
        model = new_student(tokenizer, args.width, args.layers)
    model.to(args.device)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f}M parameters, {len(tokenizer)} tokens")
    chosen = optimizers(model, args.lr, args.muon_lr)
    schedulers = [learning_rates(optimizer, args.steps) for optimizer in chosen]
    batches = batches_of(task, tokenizer, rng, args.batch)
    bar = tqdm(range(args.steps), mininterval=10)
    for step in bar:
        ids, labels, _ = next(batches)
        loss = model(ids.to(args.device), labels=labels.to(args.device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(chosen, schedulers):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        if step % 100 == 99:
            right = fluency(task, model, tokenizer, random.Random("held out"))
            bar.write(f"step {step + 1}  loss {loss.item():.3f}  "
                      f"computed tokens right {right:.4f}")
            sys.stdout.flush()
        if step % 500 == 499 or step == args.steps - 1:
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
