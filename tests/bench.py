"""Speed, as ratios measured in one process, interleaved: python -m tests.bench [--rows P1,P2,...] [--repeat 5]

P1  a GRPO step against TRL's GRPOTrainer (needs an environment with TRL 1.16; never a dependency of this project)
P2  sampling against model.generate: equal and varied lengths, the tiny student's shape and 35M parameters
P3  the update with the prompt computed once per group against computing it for every completion
P7  what a step costs as rows, completion tokens and group size grow
Rows that the machine or the environment cannot run are skipped with a word. Figures are medians of the repeats.
"""
import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
from assets.make_tiny import tiny_tokenizer  # noqa: E402
from grpo import Optimizer, completion_logps, group_advantages, grpo_loss, grpo_update, sample  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = {"tiny": dict(hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1),
          "35M": dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2)}


def random_model(shape, ends=False):
    """A model of this shape with random weights. ends: its end token comes now and then, so that lengths vary; else the end
    token is one that the model has no row for, and every completion runs to its full length."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    vocabulary = len(tokenizer)
    if not ends:
        tokenizer.add_tokens(["<|never|>"])
        tokenizer.eos_token = "<|never|>"
    config = Qwen2Config(vocab_size=vocabulary, tie_word_embeddings=True, max_position_embeddings=4096, bos_token_id=None,
                         eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **SHAPES[shape])
    return Qwen2ForCausalLM(config).to(DEVICE).eval(), tokenizer


def timed(functions, repeat):
    """Median seconds of each function, called in turn so that the machine's drift hits all alike; one warm-up each."""
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


def order_prompts(n, tokens):
    """n prompts of about this many tokens, in words the tiny tokenizer knows."""
    return [f"Problem: {i % 9 + 1} tea" + "".join(f", {(i + j) % 3 + 1} milk" for j in range(tokens // 3 - 2)) for i in range(n)]


def against_generate(shape, varied, repeat, P=8, G=8, new=64, prompt_tokens=180):
    model, tokenizer = random_model(shape, ends=varied)
    prompts = order_prompts(P, prompt_tokens)
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(DEVICE)
    encoded.pop("token_type_ids", None)
    settings = GenerationConfig(do_sample=True, top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=new, num_return_sequences=G,
                                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)

    def theirs():
        with torch.no_grad():
            model.generate(**encoded, generation_config=settings)
    ours = lambda: sample(model, tokenizer, prompts, G, new, generator=torch.Generator(DEVICE).manual_seed(0))  # noqa: E731
    t_ours, t_theirs = timed([ours, theirs], repeat)
    lengths = ours().lengths.float()
    return f"P2  sampling, {shape}, {'varied' if varied else 'equal'} lengths (mean {lengths.mean():.0f} of {new})", t_ours, t_theirs


def plain_logps(model, rollouts):
    """What the shared prompt is measured against: every completion with a prompt of its own."""
    G, mask = rollouts.group_size, rollouts.mask.bool()
    rows = [torch.cat([rollouts.prompt_ids[b // G, :rollouts.prompt_lengths[b // G]], rollouts.completion_ids[b, :n]])
            for b, n in enumerate(rollouts.lengths.tolist())]
    starts = [len(r) - n for r, n in zip(rows, rollouts.lengths.tolist())]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    hidden = model.base_model(ids).last_hidden_state
    hidden = torch.stack([torch.nn.functional.pad(h[s - 1:s - 1 + n], (0, 0, 0, mask.shape[1] - n))
                          for h, s, n in zip(hidden, starts, rollouts.lengths.tolist())])
    logps = model.lm_head(hidden).float().log_softmax(-1).gather(-1, rollouts.completion_ids[..., None])[..., 0]
    return logps * mask


def shared_prompt(shape, repeat, C=48, G=8, P=4):
    model, tokenizer = random_model(shape)
    rollouts = sample(model, tokenizer, order_prompts(P, 4 * C), G, C, generator=torch.Generator(DEVICE).manual_seed(0))
    A = group_advantages(torch.rand(P, G, generator=torch.Generator().manual_seed(0))).flatten().to(DEVICE)
    gradients = {}

    def update(logps_of, name):
        model.zero_grad()
        logps = logps_of(model, rollouts)
        grpo_loss(logps, rollouts.logps, None, A, rollouts.mask)[0].backward()
        gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()]), logps.detach()
    t_ours, t_plain = timed([lambda: update(completion_logps, "shared"), lambda: update(plain_logps, "plain")], repeat)
    (g1, l1), (g2, l2) = gradients["shared"], gradients["plain"]
    width = rollouts.prompt_ids.shape[1]
    return (f"P3  update, {shape}, prompt:completion {width}:{C}, G {G}; relative error of log-probs {((l1 - l2).norm() / l2.norm()):.0e}, "
            f"gradients {((g1 - g2).norm() / g2.norm()):.0e}", t_ours, t_plain)


def against_trl(repeat, P=8, G=8, prompt_tokens=240, new=48):
    """One whole step (sample, score, update) at equal sampled tokens: random rewards, no end token, beta 0."""
    import logging
    import tempfile
    import datasets
    from trl import GRPOConfig, GRPOTrainer
    from transformers.utils import logging as transformers_logging
    logging.disable(logging.WARNING), transformers_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    model, tokenizer = random_model("tiny")
    prompts, optimizer = order_prompts(P, prompt_tokens), Optimizer(model, 1e-5)
    draw = torch.Generator().manual_seed(0)

    def ours():
        rollouts = sample(model, tokenizer, prompts, G, new, generator=torch.Generator(DEVICE).manual_seed(0))
        assert rollouts.lengths.min() == new
        grpo_update(model, optimizer, rollouts, group_advantages(torch.rand(P, G, generator=draw)), micro_batch=32)
    theirs_model, theirs_tokenizer = random_model("tiny")
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(output_dir=folder, per_device_train_batch_size=P * G, num_generations=G, max_completion_length=new,
                            max_steps=10 ** 6, learning_rate=1e-5, beta=0.0, report_to=[], save_strategy="no", disable_tqdm=True,
                            logging_steps=10 ** 6, gradient_checkpointing=False, bf16=False, use_cpu=DEVICE == "cpu", loss_type="grpo",
                            scale_rewards="group", temperature=1.0, top_k=0, top_p=1.0)
        trainer = GRPOTrainer(model=theirs_model, processing_class=theirs_tokenizer, args=config,
                              reward_funcs=lambda completions, **_: torch.rand(len(completions), generator=draw).tolist(),
                              train_dataset=datasets.Dataset.from_list([{"prompt": p} for p in prompts] * 50))
        trainer.create_optimizer_and_scheduler(10 ** 6)
        trainer.current_gradient_accumulation_steps = 1  # Trainer.train would set it
        batches = iter(trainer.get_train_dataloader())

        def theirs():
            trainer.training_step(trainer.model, next(batches), P * G)
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
            trainer.optimizer.step(), trainer.lr_scheduler.step(), trainer.optimizer.zero_grad()
        t_ours, t_theirs = timed([ours, theirs], repeat)
    return f"P1  GRPO step, tiny, {P} x {G} completions of {new} tokens, prompts of {prompt_tokens}, against TRL", t_ours, t_theirs


def scaling(repeat):
    """Seconds of a step (sample and update) while one size grows and the others stay."""
    model, tokenizer = random_model("tiny")
    base, lines = dict(P=4, G=8, new=32), []
    for name, values in (("P", (4, 8, 16)), ("new", (16, 32, 64)), ("G", (4, 8, 16, 32))):
        def step(P, G, new):
            rollouts = sample(model, tokenizer, order_prompts(P, 200), G, new, generator=torch.Generator(DEVICE).manual_seed(0))
            grpo_update(model, Optimizer(model, 0.0), rollouts, group_advantages(torch.rand(P, G)), micro_batch=32)
        seconds = timed([lambda v=v: step(**{**base, name: v}) for v in values], repeat)
        lines.append(f"P7  step against {({'P': 'prompts', 'new': 'completion tokens', 'G': 'group size'})[name]}: "
                     + ", ".join(f"{v}: {s:.2f} s" for v, s in zip(values, seconds)))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="P1,P2,P3,P7")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
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
    if "P7" in rows:
        print("\n".join(scaling(args.repeat)))


if __name__ == "__main__":
    main()
