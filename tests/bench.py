"""Speed, as ratios measured in one process, interleaved:

    python -m tests.bench [--rows P1,P2,...] [--repeat 5]

P1  a GRPO step against TRL's GRPOTrainer (needs an environment with TRL 1.16; never a dependency
    of this project)
P2  sampling against model.generate: equal and varied lengths, the tiny student's shape and
    35M parameters
P3  the update with the prompt computed once per group against computing it for every completion
P4  peak memory of a GRPO step at the Qwen2.5-0.5B shape, bf16 with fp32 masters, G 8, prompts of
    1,000 tokens, 512 new. On the CPU only if P4 stands in --rows: the update of that step, by the
    allocator's own count, in ten minutes for each size of micro-batch
P5  decoding at that shape: steps per second, as a share of what reading weights and cache once
    per step allows (GPU). On the CPU the tiny student's, against the time of its multiplications
P6  P1 at that shape (GPU)
P7  what a step costs as rows, completion tokens and group size grow

Rows that the machine or the environment cannot run are skipped with a word. Figures are medians of
the repeats. On a GPU nobody here uses cuDNN's attention: grpo.py switches it off for the whole
process.
"""
import argparse
import functools
import itertools
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, Qwen2Config

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
from tasks.make_students import tiny_tokenizer  # noqa: E402
from grpo import (Optimizer, Rollouts, completion_logps, group_advantages,  # noqa: E402
                  grpo_loss, grpo_update, sample)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ALL = "P1,P2,P3,P4,P5,P6,P7"
SHAPES = {
    "tiny": dict(hidden_size=96, intermediate_size=256, num_hidden_layers=4,
                 num_attention_heads=4, num_key_value_heads=1),
    "35M": dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=8,
                num_attention_heads=8, num_key_value_heads=2),
    "0.5B": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                 num_attention_heads=14, num_key_value_heads=2, vocab_size=151936)}


def random_model(shape, ends=False, dtype=torch.bfloat16 if DEVICE == "cuda" else torch.float32):
    """A model of this shape with random weights. ends: four of its tokens end a completion, one
    draw in 40, so that lengths vary; else the end token is one that the model has no row for, and
    every completion runs to its full length."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    vocabulary = SHAPES[shape].get("vocab_size", len(tokenizer))
    # One word for each row of the model: then the next word has no row.
    tokenizer.add_tokens([f"<|{i}|>" for i in range(len(tokenizer), vocabulary)])
    if not ends:
        tokenizer.add_tokens(["<|never|>"])
        tokenizer.eos_token = "<|never|>"
    config = Qwen2Config(**{**SHAPES[shape], "vocab_size": vocabulary}, tie_word_embeddings=True,
                         max_position_embeddings=4096, bos_token_id=None,
                         eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    # from_config takes the dtype, because .to(dtype) would round the rotary frequencies.
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).to(DEVICE).eval()
    if ends:
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, 10, 11, 12]
    return model, tokenizer


def timed(functions, repeat):
    """Median seconds of each function, after one warm-up each. They are called in turn, so that
    the machine's drift hits all alike."""
    seconds = [[] for _ in functions]
    for round_ in range(repeat + 1):
        for function, record in zip(functions, seconds):
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if round_:
                record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in seconds]


def seeded():
    """The generator that every sampling here draws from."""
    return torch.Generator(DEVICE).manual_seed(0)


def order_prompts(n, tokens):
    """n prompts of about this many tokens, in words the tiny tokenizer knows."""
    def prompt(i):
        more = (f", {(i + j) % 3 + 1} milk" for j in range(tokens // 3 - 2))
        return f"Problem: {i % 9 + 1} tea" + "".join(more)

    return [prompt(i) for i in range(n)]


def against_generate(shape, varied, repeat, G=8, new=64, prompt_tokens=180):
    P = 32 if shape == "tiny" else 8  # as many as a step of the default run has
    model, tokenizer = random_model(shape, ends=varied)
    prompts = order_prompts(P, prompt_tokens)
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(DEVICE)
    encoded.pop("token_type_ids", None)
    settings = GenerationConfig(do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
                                max_new_tokens=new, num_return_sequences=G,
                                eos_token_id=model.generation_config.eos_token_id,
                                pad_token_id=tokenizer.pad_token_id)

    def theirs():
        with torch.no_grad():
            model.generate(**encoded, generation_config=settings)

    def ours():
        return sample(model, tokenizer, prompts, G, new, generator=seeded())

    t_ours, t_theirs = timed([ours, theirs], repeat)
    mean = ours().lengths.float().mean()
    lengths = f"{'varied' if varied else 'equal'} lengths (mean {mean:.0f} of {new})"
    return f"P2  sampling, {shape}, {lengths}, {P} x {G}", t_ours, t_theirs


def plain_logps(model, rollouts):
    """What the shared prompt is measured against: every completion with a prompt of its own."""
    G, mask = rollouts.group_size, rollouts.mask.bool()
    lengths = rollouts.lengths.tolist()

    def row(b, n):
        prompt = rollouts.prompt_ids[b // G, :rollouts.prompt_lengths[b // G]]
        return torch.cat([prompt, rollouts.completion_ids[b, :n]])

    def completion(h, start, n):
        return torch.nn.functional.pad(h[start - 1:start - 1 + n], (0, 0, 0, mask.shape[1] - n))

    rows = [row(b, n) for b, n in enumerate(lengths)]
    starts = [len(r) - n for r, n in zip(rows, lengths)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    hidden = model.base_model(ids).last_hidden_state
    hidden = torch.stack([completion(h, s, n) for h, s, n in zip(hidden, starts, lengths)])
    logps = model.lm_head(hidden).float().log_softmax(-1)
    return logps.gather(-1, rollouts.completion_ids[..., None])[..., 0] * mask


def shared_prompt(shape, repeat, C=48, G=8, P=4):
    model, tokenizer = random_model(shape)
    rollouts = sample(model, tokenizer, order_prompts(P, 4 * C), G, C, generator=seeded())
    rewards = torch.rand(P, G, generator=torch.Generator().manual_seed(0))
    A = group_advantages(rewards).flatten().to(DEVICE)
    gradients = {}

    def update(logps_of, name):
        model.zero_grad()
        logps = logps_of(model, rollouts)
        grpo_loss(logps, rollouts.logps, None, A, rollouts.mask)[0].backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        gradients[name] = gradient, logps.detach()

    t_ours, t_plain = timed([lambda: update(completion_logps, "shared"),
                             lambda: update(plain_logps, "plain")], repeat)
    (g1, l1), (g2, l2) = gradients["shared"], gradients["plain"]
    width = rollouts.prompt_ids.shape[1]
    return (f"P3  update, {shape}, prompt:completion {width}:{C}, G {G}; "
            f"relative error of log-probs {((l1 - l2).norm() / l2.norm()):.0e}, "
            f"gradients {((g1 - g2).norm() / g2.norm()):.0e}", t_ours, t_plain)


def against_trl(repeat, shape="tiny", P=8, G=8, prompt_tokens=240, new=48):
    """One whole step (sample, score, update) at equal sampled tokens: random rewards, no end
    token, beta 0."""
    import logging
    import tempfile
    import datasets
    from trl import GRPOConfig, GRPOTrainer
    from transformers.utils import logging as transformers_logging
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    model, tokenizer = random_model(shape)
    prompts = order_prompts(P, prompt_tokens)
    optimizer = Optimizer(model, 1e-5)
    draw = torch.Generator().manual_seed(0)

    def ours():
        rollouts = one_step(model, tokenizer, optimizer, P, G, prompt_tokens, new, 64)
        assert rollouts.lengths.min() == new

    def reward(completions, **_):
        return torch.rand(len(completions), generator=draw).tolist()

    theirs_model, theirs_tokenizer = random_model(shape)
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(output_dir=folder, per_device_train_batch_size=P * G,
                            num_generations=G, max_completion_length=new, max_steps=10 ** 6,
                            learning_rate=1e-5, beta=0.0, report_to=[], save_strategy="no",
                            disable_tqdm=True, logging_steps=10 ** 6,
                            gradient_checkpointing=False, bf16=DEVICE == "cuda",
                            use_cpu=DEVICE == "cpu", loss_type="grpo", scale_rewards="group",
                            temperature=1.0, top_k=0, top_p=1.0)
        data = datasets.Dataset.from_list([{"prompt": p} for p in prompts] * 50)
        trainer = GRPOTrainer(model=theirs_model, processing_class=theirs_tokenizer, args=config,
                              reward_funcs=reward, train_dataset=data)
        trainer.create_optimizer_and_scheduler(10 ** 6)
        trainer.current_gradient_accumulation_steps = 1  # Trainer.train would set it
        batches = iter(trainer.get_train_dataloader())

        def theirs():
            trainer.training_step(trainer.model, next(batches), P * G)
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
            trainer.optimizer.step()
            trainer.lr_scheduler.step()
            trainer.optimizer.zero_grad()

        t_ours, t_theirs = timed([ours, theirs], repeat)
    row = "P1" if shape == "tiny" else "P6"
    return (f"{row}  GRPO step, {shape}, {P} x {G} completions of {new} tokens, "
            f"prompts of {prompt_tokens}, against TRL", t_ours, t_theirs)


def one_step(model, tokenizer, optimizer, P, G, prompt_tokens, new, micro_batch):
    """Sample and update once, with random rewards -> the rollouts."""
    prompts = order_prompts(P, prompt_tokens)
    rollouts = sample(model, tokenizer, prompts, G, new, generator=seeded())
    advantages = group_advantages(torch.rand(P, G))
    grpo_update(model, optimizer, rollouts, advantages, micro_batch=micro_batch)
    return rollouts


def peak_gib(work):
    """The most that tensors hold while work() runs, on top of what they hold before. On the CPU:
    the sum over what its allocator gives out and takes back, which torch's profiler records."""
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2 ** 30
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes)) / 2 ** 30


def peak_memory(shape="0.5B", P=4, G=8, prompt_tokens=1000, new=512):
    """Peak memory of a step, for micro-batches of a whole group and smaller, and with the MLPs
    recomputed."""
    if DEVICE == "cuda":
        what = "step"
        settings = ((8, False), (4, False), (2, False), (8, True), (1, True))
    else:
        what = "update, counted on the CPU"
        settings = ((8, False), (8, True))
    for micro_batch, recompute in settings:
        model, tokenizer = random_model(shape, dtype=torch.bfloat16)
        model.recompute = recompute
        held = sum(p.nbytes for p in model.parameters()) / 2 ** 30

        def work():
            optimizer = Optimizer(model, 0.0)
            for master in optimizer.masters:  # as in any step but the first: Adam's moments exist
                master.grad = torch.zeros_like(master)
            optimizer.step()
            if DEVICE == "cuda":
                return one_step(model, tokenizer, optimizer, P, G, prompt_tokens, new, micro_batch)
            # Sampling would take an hour here, so the rollouts are random ids.
            ids = torch.randint(0, model.config.vocab_size, (G, prompt_tokens))
            lengths = torch.full((G,), new)
            zeros = torch.zeros(G, new)
            rollouts = Rollouts(ids[:1], torch.tensor([prompt_tokens]), ids[:, :new], lengths,
                                zeros, zeros, lengths > 0, [""] * G, G)
            grpo_update(model, optimizer, rollouts, torch.randn(1, G), micro_batch=micro_batch)

        flags = f"--micro-batch {micro_batch}{' --recompute' * recompute}"
        yield (f"P4  peak memory, {shape}, {what}, {G} x {new} tokens, prompts of {prompt_tokens}, "
               f"{flags}: {held + peak_gib(work):.2f} GiB")


def seconds_a_pass(model, tokenizer, P, G, prompt_tokens, few, many, repeat):
    """Seconds of one decoding pass: the difference of two lengths, so that the prompts' cost
    cancels."""
    def decode(n):
        prompts = order_prompts(P, prompt_tokens)
        return sample(model, tokenizer, prompts, G, n, generator=seeded())

    t_few, t_many = timed([lambda: decode(few), lambda: decode(many)], repeat)
    return (t_many - t_few) / (many - few)


def decoding(shape="0.5B", G=16, prompt_tokens=400, few=32, many=160):
    """Decode steps per second, and the bandwidth bound."""
    model, tokenizer = random_model(shape)
    size = 2 ** 28 if DEVICE == "cuda" else 2 ** 24
    block = torch.empty(size, dtype=torch.bfloat16, device=DEVICE)
    bandwidth = 2 * block.nbytes / timed([block.clone], 5)[0]  # read and written
    weights = sum(p.nbytes for p in model.parameters())
    c = model.config
    kv_size = c.num_key_value_heads * c.hidden_size // c.num_attention_heads
    token = 2 * c.num_hidden_layers * kv_size * next(model.parameters()).element_size()
    lines = []
    for rows in (64, 128, 256, 512):
        step = seconds_a_pass(model, tokenizer, rows // G, G, prompt_tokens, few, many, 3)
        cached = rows // G * prompt_tokens + rows * (few + many) / 2
        bound = (weights + token * cached) / bandwidth
        lines.append(f"P5  decoding, {shape}, {rows} rows: "
                     f"{1 / step:.0f} steps/s ({rows / step:.0f} tokens/s), "
                     f"bound {1 / bound:.0f} steps/s "
                     f"at {bandwidth / 1e9:.0f} GB/s = {bound / step:.0%}")
    return lines


def arithmetic(repeat, P=32, G=8, prompt_tokens=180, few=8, many=64):
    """The CPU's counterpart of P5: a decoding pass of the tiny student against its multiplications
    at the speed of a large product."""
    model, tokenizer = random_model("tiny")
    a = torch.randn(1024, 1024)
    c = model.config
    rows = P * G
    step = seconds_a_pass(model, tokenizer, P, G, prompt_tokens, few, many, repeat)
    peak = 2 * 1024 ** 3 / timed([lambda: a @ a], repeat)[0]
    weights = sum(p.numel() for p in model.parameters())  # the tied embedding counts once, as head
    attention = 2 * c.num_hidden_layers * c.hidden_size * (prompt_tokens + (few + many) / 2)
    bound = 2 * rows * (weights + attention) / peak
    return (f"P5  decoding, tiny, {rows} rows: {step * 1e3:.1f} ms a token; "
            f"its multiplications alone at {peak / 1e9:.0f} GFLOP/s: "
            f"{bound * 1e3:.1f} ms = {bound / step:.0%}")


def scaling(repeat, figure=None):
    """Seconds of a step (sample and update) while one size grows and the others stay; drawn into
    `figure`."""
    model, tokenizer = random_model("tiny")
    base = dict(P=4, G=8, new=32)
    curves = {}

    def step(name, value):
        one_step(model, tokenizer, Optimizer(model, 0.0), prompt_tokens=200, micro_batch=32,
                 **{**base, name: value})

    for name, values in (("P", (4, 8, 16, 32)), ("new", (16, 32, 64, 128)), ("G", (4, 8, 16, 32))):
        steps = [functools.partial(step, name, value) for value in values]
        curves[name] = values, timed(steps, repeat)
    words = {"P": "prompts", "new": "completion tokens", "G": "group size"}
    if figure:
        from matplotlib.figure import Figure
        drawing = Figure(figsize=(11, 3.2), layout="constrained")
        axes = drawing.subplots(1, 3)
        for ax, (name, (values, seconds)) in zip(axes, curves.items()):
            in_proportion = [0, seconds[0] / values[0] * values[-1]]
            ax.plot(values, seconds, "o-", label="measured")
            ax.plot([0, values[-1]], in_proportion, "k:", linewidth=1,
                    label="in proportion to the first")
            rest = ", ".join(f"{base[n]} {words[n]}" for n in base if n != name)
            ax.set(xlabel=words[name], ylabel="seconds of a step", title=f"with {rest}", ylim=0,
                   xlim=0)
            ax.title.set_fontsize(9)
        axes[0].legend(fontsize=8)
        drawing.savefig(figure, dpi=110)
    lines = []
    for name, curve in curves.items():
        points = ", ".join(f"{v}: {s:.2f} s" for v, s in zip(*curve))
        lines.append(f"P7  step against {words[name]}: {points}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=ALL)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--figure", help="draw P7 into this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = args.rows.split(",")
    print(f"{DEVICE}, {args.threads} threads, torch {torch.__version__}; medians of {args.repeat}")

    def show(name, ours, theirs):
        print(f"{name}: {ours:.3f} s against {theirs:.3f} s = {theirs / ours:.2f}x", flush=True)

    if "P1" in rows:
        try:
            show(*against_trl(args.repeat))
        except ImportError as error:
            print(f"P1  skipped: {error}")
    for shape in ("tiny", "35M"):
        for varied in (False, True):
            if "P2" in rows:
                show(*against_generate(shape, varied, args.repeat))
    if "P3" in rows:
        show(*shared_prompt("tiny", args.repeat))
        show(*shared_prompt("35M", max(1, args.repeat // 2)))
    if DEVICE == "cpu" and "P5" in rows:
        print(arithmetic(args.repeat))
    if DEVICE == "cpu" and {"P5", "P6"} & set(rows):
        print("P5 at 0.5B, P6  skipped: no GPU")
    if DEVICE == "cpu" and args.rows == ALL:
        print("P4  skipped: no GPU (--rows P4 counts it on the CPU)", flush=True)
    elif "P4" in rows:
        for line in peak_memory():
            print(line, flush=True)
    if DEVICE == "cuda" and "P5" in rows:
        print("\n".join(decoding()))
    if DEVICE == "cuda" and "P6" in rows:
        try:
            show(*against_trl(max(2, args.repeat // 2), "0.5B", prompt_tokens=1000, new=128))
        except ImportError as error:
            print(f"P6  skipped: {error}")
    if "P7" in rows:
        print("\n".join(scaling(args.repeat, args.figure)))


if __name__ == "__main__":
    main()
