"""Train a student with ReaLM: python train.py                       a tiny student on a built-in task, on the CPU, in minutes
                            python train.py --model Qwen2.5-0.5B  GSM8K on one GPU

One step: draw problems -> with probability p(t) show k routes -> G completions each -> two-stage reward -> GRPO.
Every random number follows from --seed and the step (the order of problems: from --seed and the epoch), so that a resumed
run needs none of them saved.
"""
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import random
import signal
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

import eval as evaluation
from data import check_bounds, flag, given_flags, load_problems, need_routes
from engine.report import closing_table, diagnosis, draw_curves, other_runs, question_hash, show_sample, step_metrics
from grpo import (Optimizer, demonstrations, encode_prompts, group_advantages, grpo_update, is_tiny, load_policy, must_fit, resolve_model,
                  sample, settle_device, sft_update)
from realm import choose_routes, demonstration, mrpv_prompt, parse_response, reasoning_only
from rewards import realm_reward
from schedule import SHAPES, eaai_probability

METHODS = ("realm-zero", "realm-r1", "mrpv", "grpo", "rft")
FORMAT = 2  # of a run folder; another version's is refused, never guessed at
CHANGEABLE = ("steps", "device", "micro_batch", "recompute", "threads", "save_every")  # flags that --resume may change, on record


@dataclass
class Config:
    model: str = flag("tiny", "the student: tiny, a short name (Qwen2.5-0.5B), a Hub id, a local folder or a run folder")
    task: str = flag(("shop", "gsm8k"), "shop or ads (built in), gsm8k, or a JSONL file or folder")
    data: str | None = flag(None, "folder or file with GSM8K's own JSONL, instead of fetching it")
    bank: str | None = flag(None, "JSONL bank with the teacher's routes (made by data.py); by default a teacher writes them first")
    method: str = flag("realm-zero", "realm-zero: RL with fading routes; realm-r1: SFT first; mrpv: routes never fade; grpo: no "
                       "routes at all; rft: only SFT on the teacher's correct routes", choices=METHODS)
    routes: int = flag(3, "k, the routes shown in a prompt that carries any", least=0)
    error_ratio: float | None = flag(None, "fix the share of wrong routes among the k (default: as the bank has them)", least=0, most=1)
    selection: str = flag("random", "how the k are drawn from the N of the bank", choices=("random", "diverse", "balanced"))
    schedule: str = flag("cosine", "shape of p(t), the probability that a prompt carries routes", choices=SHAPES)
    fade: float = flag(0.95, "share of the training over which p(t) falls", least=0, most=1)
    p_end: float = flag(0.0, "p(t) after the fade", least=0, most=1)
    steps: int = flag((300, 500), "RL steps", least=0)
    sft_steps: int | None = flag(None, "SFT steps before RL (default: 0; of realm-r1 and rft 150 for tiny, else 200)", least=0)
    prompts_per_step: int = flag((32, 8), "P, prompts a step (of SFT 2P)", least=1)
    group_size: int = flag(8, "G, completions of each prompt, which are compared with one another", least=2)
    max_new_tokens: int = flag((96, 512), "longest completion", least=1)
    temperature: float = flag(1.0, "sampling temperature, above 0", least=0)
    lr: float = flag((5e-4, 1e-6), "learning rate of RL", least=0)
    sft_lr: float = flag((5e-4, 1e-5), "learning rate of SFT", least=0)
    warmup: int = flag(10, "steps over which the learning rate rises from 0", least=0)
    beta: float = flag(0.0, "weight of the KL to the frozen reference; 0 keeps no reference in memory", least=0)
    utility_weight: float = flag(0.5, "what perfect utility scores add to a right answer's reward of 1", least=0)
    one_stage: bool = flag(False, "pay for scores after wrong answers too (an ablation)")
    loss_type: str = flag("grpo", "how token losses are averaged", choices=("grpo", "dapo", "dr_grpo"))
    clip_low: float = flag(0.2, "lower clip bound: the ratio counts down to 1 - this", least=0, most=1)
    clip_high: float = flag(0.2, "upper clip bound: the ratio counts up to 1 + this", least=0)
    epochs: int = flag(1, "passes over the same rollouts (mu)", least=1)
    micro_batch: int = flag((64, 8), "completions per forward pass: memory and speed, not the gradient; halved when memory runs out", least=1)
    recompute: bool = flag(False, "compute the insides of the MLPs again in the backward pass instead of keeping them: less memory, the same gradient")
    teacher_error: float = flag(0.65, "built-in tasks: probability that the simulated teacher has a fact wrong", least=0, most=1)
    systematic: float = flag(0.5, "built-in tasks: share of its mistakes that are one misconception (else random slips)", least=0, most=1)
    teacher: str | None = flag(None, "who writes routes where there are none: simulated, a model, or a server's address, as in data.py")
    teacher_model: str | None = flag(None, "the model's name at a server")
    n: int = flag(8, "N, routes per question where a teacher writes them now", least=1)
    inject_rules: float = flag(0.0, "q, probability that the expert rules enter the teacher's prompt for a route", least=0, most=1)
    limit: int | None = flag(None, "use only so many training problems", least=1)
    eval_every: int = flag(40, "RL steps between evaluations on validation problems (0: none)", least=0)
    eval_limit: int = flag(200, "test problems for the closing table (validation: at most 64)", least=1)
    save_every: int = flag(50, "steps between checkpoints", least=1)
    seed: int = flag(0, "seed of everything")
    device: str | None = flag(None, "cpu or cuda (tiny: cpu; else a GPU where there is one)")
    threads: int = flag((1, torch.get_num_threads()), "CPU threads, part of the result: sums round differently in another number", least=1)
    out: str | None = flag(None, "run folder (default: runs/METHOD-SEED)")
    resume: str | None = flag(None, "continue the run in this folder, with the flags of its config.json; a flag that would make it "
                             "another run is refused")


def settle(config):
    """Fill in the defaults that depend on the student, and refuse what cannot work, before any long work starts."""
    if config.model == "tiny" and config.task == "ads":
        config.model = "tiny-ads"  # each built-in task has a student that speaks its words
    tiny = is_tiny(config.model)
    if config.sft_steps is None:  # another method with --sft-steps starts RL where realm-r1 does
        config.sft_steps = (150, 200) if config.method in ("realm-r1", "rft") else 0
    for name, value in vars(config).items():
        if isinstance(value, tuple):
            setattr(config, name, value[0] if tiny else value[1])
    config.out = config.out or f"runs/{config.method}-{config.seed}"
    check_bounds(config)
    resolve_model(config.model)
    if config.routes == 0 and config.method not in ("grpo", "rft"):
        raise ValueError(f"--routes 0: --method {config.method} shows routes; use --method grpo to train without any")
    if config.temperature == 0:
        raise ValueError("--temperature must be above 0: at 0 all completions of a group are the same")
    config.device = settle_device(config.device, tiny)
    if not config.resume and Path(config.out).exists() and any(p.name != "new" for p in Path(config.out).iterdir()):  # new: see put
        raise ValueError(f"--out {config.out}: holds another run; choose another folder, or continue it with --resume {config.out}")
    return config


def load_splits(config):
    """(train, validation, test): problems with at least k routes each, no question in two of them. A bank is split by a
    hash of its questions (80 / 10 / 10), so that held-out questions have routes too; else a teacher writes what is missing."""
    where = config.bank or config.task
    sizes = {"train": config.limit, "validation": min(64, config.eval_limit), "test": config.eval_limit}
    splits = [load_problems(where, split, size, config.data) for split, size in sizes.items()]
    if not all(splits):
        raise ValueError(f"{where}: too few problems to have some for training, validation and test")
    return [need_routes(problems, config) for problems in splits]


def draw_problems(problems, config, step):
    """The P problems of step t: a new random order every time all have been used; the last ones are not dropped."""
    first, n, order = step * config.prompts_per_step, len(problems), []
    for epoch in range(first // n, (first + config.prompts_per_step - 1) // n + 1):
        order += random.Random(f"{config.seed} order {epoch}").sample(problems, n)
    return order[first % n:first % n + config.prompts_per_step]


def route_probability(config, step):
    """p(t) of the method."""
    if config.method == "grpo":
        return 0.0
    shape = "constant" if config.method == "mrpv" else config.schedule
    return eaai_probability(step, config.steps, shape, end=config.p_end, fade=config.fade)


def fitting(config, optimizer, update):
    """update(micro_batch) with micro-batches that fit: when memory runs out they are halved, for the rest of the run, and the
    update is done again. That is sound while no optimizer step has been taken, for the gradient does not depend on them."""
    steps = optimizer.steps
    while True:
        try:
            return update(config.micro_batch)
        except torch.OutOfMemoryError:
            if config.micro_batch == 1 or optimizer.steps != steps:
                raise
        optimizer.skip()  # forgets the part of the gradient that was gathered
        torch.cuda.empty_cache()
        config.micro_batch //= 2
        tqdm.write(f"out of memory: going on with --micro-batch {config.micro_batch}")


def rl_step(model, tokenizer, reference, optimizer, problems, config, step):
    """One step of ReaLM -> (metrics, timing, a sample to show)."""
    began = time.perf_counter()
    rng = random.Random(f"{config.seed} step {step}")
    p_t = route_probability(config, step)
    batch = draw_problems(problems, config, step)
    shown = [choose_routes(p.routes, config.routes, rng, config.error_ratio, config.selection) if rng.random() < p_t else []
             for p in batch]  # one decision per prompt: its whole group sees the same
    prompts = [mrpv_prompt(p.question, routes) for p, routes in zip(batch, shown)]
    generator = torch.Generator(model.device).manual_seed(rng.getrandbits(63))
    rollouts = sample(model, tokenizer, prompts, config.group_size, config.max_new_tokens, config.temperature, generator=generator)
    sampled = time.perf_counter()

    rows = [pair for pair in zip(batch, shown) for _ in range(config.group_size)]  # of each completion: its problem, its routes
    rewards = [realm_reward(parse_response(text, len(routes)), problem.answer, [r.correct for r in routes], config.utility_weight,
                            not config.one_stage) for text, (problem, routes) in zip(rollouts.texts, rows)]
    totals = torch.tensor([r.total for r in rewards]).view(-1, config.group_size)  # [P, G]
    advantages = group_advantages(totals, "none" if config.loss_type == "dr_grpo" else "std")
    scored = time.perf_counter()

    metrics = fitting(config, optimizer, lambda micro_batch: grpo_update(
        model, optimizer, rollouts, advantages, reference=reference, epochs=config.epochs, micro_batch=micro_batch,
        temperature=config.temperature, beta=config.beta, loss_type=config.loss_type, clip_low=config.clip_low,
        clip_high=config.clip_high, max_len=config.max_new_tokens))
    updated = time.perf_counter()

    metrics = {"phase": "rl", "step": step, **step_metrics(p_t, rewards, shown, rollouts, advantages), **metrics}
    tokens = int(rollouts.lengths.sum())
    timing = {"sample_s": sampled - began, "score_s": scored - sampled, "update_s": updated - scored, "tokens": tokens,
              "tokens_per_s": tokens / (sampled - began)}
    best = max(range(len(rewards)), key=lambda i: (len(rows[i][1]), rewards[i].total))  # to show: one with routes, if any
    return metrics, timing, (prompts[best // config.group_size], rollouts.texts[best], rewards[best])


def sft_step(model, tokenizer, optimizer, problems, config, step):
    """One step of SFT on 2P correct routes -> metrics. A cold start shows k routes in half of the prompts, with the true labels
    as the scores to write, so that the student knows both formats; rft is trained on the plain prompt only."""
    rng = random.Random(f"{config.seed} sft {step}")
    prompts, completions = [], []
    for problem in rng.choices(problems, k=config.prompts_per_step * 2):
        target = rng.choice([r for r in problem.routes if r.correct])
        carry = config.method != "rft" and rng.random() < 0.5
        routes = choose_routes(problem.routes, config.routes, rng, config.error_ratio, config.selection) if carry else []
        prompts.append(mrpv_prompt(problem.question, routes))
        completions.append(demonstration(reasoning_only(target.text), problem.answer, [float(r.correct) for r in routes] or None))
    batch = demonstrations(model, tokenizer, prompts, completions)
    loss, norm = fitting(config, optimizer, lambda micro_batch: sft_update(model, optimizer, batch, micro_batch))
    return {"phase": "sft", "step": step, "loss": loss, "grad_norm": norm, "skipped": float(not math.isfinite(norm))}


# ---- the run folder -------------------------------------------------------------------------------------------------
def log(path, entry):
    """Append one line of JSON, on the disk when this returns. Six decimals; what is not a number (nan, inf) is null."""
    entry = {k: (round(v, 6) if math.isfinite(v) else None) if isinstance(v, float) else v for k, v in entry.items()}
    with open(path, "a") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush(), os.fsync(file.fileno())


def read_log(path, n, cut=False):
    """The first n entries of a log. What a killed run logged after its checkpoint is done again: cut=True drops it."""
    lines = path.read_bytes().split(b"\n")[:-1][:n] if path.exists() else []
    if len(lines) < n:
        raise ValueError(f"{path}: {len(lines)} whole lines, where the checkpoint has {n} steps")
    if cut and path.exists():
        os.truncate(path, sum(len(line) + 1 for line in lines))
    return [json.loads(line) for line in lines]


def put(path, write):
    """write(path) to a file that is whole or not there, whatever the moment the run is killed at."""
    new = path.with_name("new")
    try:
        write(new)
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except SafetensorError as error:  # a full disk, say, which it does not name
        raise OSError(f"{path}: {error}") from None
    finally:
        new.unlink(missing_ok=True)


def put_json(path, value):
    put(path, lambda new: new.write_text(json.dumps(value, indent=1) + "\n"))


def checksum(path):
    crc = 0
    with open(path, "rb") as file:
        while part := file.read(2 ** 24):
            crc = zlib.crc32(part, crc)
    return f"{crc:08x}"


def save_checkpoint(run, optimizer, done):
    """RUN/checkpoint/STEPS-CHECKSUM.safetensors: fp32 weights and AdamW's state after so many steps. The last two are kept;
    the older goes first, so that the disk never holds more than two."""
    folder = run / "checkpoint"
    folder.mkdir(exist_ok=True)
    for old in sorted(folder.glob("*-*.safetensors"))[:-1]:
        old.unlink()
    part = folder / f"{done:06}.part"
    put(part, lambda new: save_file({k: v.contiguous() for k, v in optimizer.state_dict().items()}, new))
    os.replace(part, folder / f"{done:06}-{checksum(part)}.safetensors")


def load_checkpoint(run):
    """(steps done, state) of the newest checkpoint that is whole; (0, None) if the run was killed before its first."""
    files = sorted((run / "checkpoint").glob("*-*.safetensors"), reverse=True)
    for path in files:
        done, _, recorded = path.stem.partition("-")
        if checksum(path) == recorded:
            return int(done), load_file(path)
        print(f"{path}: damaged; the checkpoint before it is used", flush=True)
    if files:
        raise ValueError(f"--resume {run}: every checkpoint is damaged; delete {run / 'checkpoint'} to do the run again from its start")
    return 0, None


def resume(given):
    """(config, record) of a run that was cut. given: the flags on the command line. Raises ValueError, in one line, for one
    that would make it another run; those of CHANGEABLE may change, and the record says so."""
    run = Path(given["resume"])
    try:
        stored = json.loads((run / "config.json").read_text())
        record = stored.pop("run", {})
        if record.get("format") != FORMAT:
            raise ValueError(f"--resume {run}: a run folder of another version of train.py (format {record.get('format', 1)}, not {FORMAT})")
        config = Config(**{**stored, "resume": given["resume"], "out": str(run)})
    except OSError:
        raise ValueError(f"--resume {run}: not a run folder (no config.json); a run killed before it had one is started again") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"--resume {run}: its config.json is damaged ({error})") from None
    new = {name: value for name, value in given.items() if value != getattr(config, name)}
    other = [f"--{name.replace('_', '-')} {getattr(config, name)}" for name in new if name not in CHANGEABLE]
    if other:
        raise ValueError(f"--resume {run}: it was begun with {', '.join(other)}; leave the flag out, or start another run")
    if new.get("steps", config.steps) < config.steps:
        raise ValueError(f"--steps {new['steps']}: the run was begun with {config.steps}; it can become longer, not shorter")
    if "steps" in new:
        config.fade *= config.steps / new["steps"]  # p(t) of the steps that are done must not change: the fall ends where it did
    if new:
        record["changes"].append({name: [getattr(config, name), value] for name, value in new.items()})
    return settle(dataclasses.replace(config, **new)), record


@contextlib.contextmanager
def patient():
    """Within it, Ctrl-C (or SIGTERM, a cluster's warning) is only noted, in the list it gives: a step is finished, and saved,
    before the run stops. The second one stops at once."""
    asked = []

    def note(number, _):
        asked.append(number)
        os.write(2, b"\nstopping after this step (again: at once)\n")
        signal.signal(number, signal.default_int_handler)
    main = threading.current_thread() is threading.main_thread()  # elsewhere (a notebook's thread, say) no handler can be set
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- the run --------------------------------------------------------------------------------------------------------
def train(config, record=None):
    """The whole run, from the first evaluation to model/ and the closing table. Returns (before, after). record: what
    config.json says of a run to continue."""
    torch.set_num_threads(config.threads)
    run = Path(config.out)
    steps = [("sft", t) for t in range(config.sft_steps)] + [("rl", t) for t in range(config.steps) if config.method != "rft"]
    train_set, validation, test = load_splits(config)
    problems = hashlib.sha256(repr((train_set, validation, test)).encode(errors="backslashreplace")).hexdigest()
    if record and record["problems"] != problems:
        raise ValueError(f"--resume {run}: {config.bank or config.task} gives other problems or routes than those the run began with")
    demonstrable = [p for p in train_set if any(r.correct for r in p.routes)]
    if config.sft_steps and not demonstrable:
        raise ValueError(f"--method {config.method}: no question of the bank has a correct route to learn from")
    done, state = load_checkpoint(run) if record else (0, None)
    history = read_log(run / "metrics.jsonl", done)
    model, tokenizer = load_policy(config.model, config.device)
    model.recompute = config.recompute  # grpo.Layers asks for it
    if state:
        Optimizer(model, 0.0).load_state_dict(state)  # the weights; AdamW's state follows in the loop

    longest = [mrpv_prompt(p.question, sorted(p.routes, key=lambda r: -len(r.text))[:config.routes])
               for p in train_set + validation + test]  # each problem with its k longest routes
    must_fit(model, encode_prompts(tokenizer, longest), config.max_new_tokens)  # now, not at the step that draws it
    prompt = mrpv_prompt(train_set[0].question)
    written = tokenizer.decode(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    if "".join(written.split()) != "".join(prompt.split()):  # spaces aside
        raise ValueError(f"--model {config.model}: its tokenizer cannot write {train_set[0].question[:60]!r} (tiny and tiny-ads know "
                         "only the words of their own tasks)")

    def evaluate(problems):
        rows = 0 if config.device == "cpu" else config.prompts_per_step * config.group_size  # what a GPU holds when it samples
        return evaluation.evaluate(model, tokenizer, problems, config.routes, max_new_tokens=config.max_new_tokens,
                                   batch=max(16, config.micro_batch, rows))

    run.mkdir(parents=True, exist_ok=True)
    if (run / "before.json").is_file():
        before = json.loads((run / "before.json").read_text())
    else:  # the run begins after it: one that runs out of memory here can be started anew with other flags
        print(f"evaluating the student on {len(test)} test problems, before training", flush=True)
        before = evaluate(test)
    record = record or {"format": FORMAT, "problems": problems, "test": question_hash(test), "changes": []}
    put_json(run / "config.json", {**dataclasses.asdict(config), "resume": None, "run": record})
    put_json(run / "before.json", before)
    for name in ("metrics.jsonl", "timing.jsonl"):
        read_log(run / name, done, cut=True)
    for path in (run / "checkpoint").glob("*"):  # whatever is newer than the one that was loaded is damaged, or half written
        if path.name > f"{done:06}" and not path.name.startswith(f"{done:06}-"):
            path.unlink()

    optimizer = reference = ailment = None
    bar = tqdm(steps[done:], initial=done, total=len(steps), desc=config.method, disable=None if steps else True)
    with patient() as asked:
        for phase, step in bar:
            if optimizer is None or step == 0:  # each phase has an optimizer of its own
                optimizer = Optimizer(model, config.lr if phase == "rl" else config.sft_lr, config.warmup)
                if state and step > 0:
                    optimizer.load_state_dict(state)
                state = None  # of a large model, gigabytes
            if phase == "rl" and config.beta > 0 and reference is None:
                if step == 0:
                    model.save_pretrained(run / "reference"), tokenizer.save_pretrained(run / "reference")
                reference = load_policy(str(run / "reference"), config.device)[0].requires_grad_(False)
            began = time.perf_counter()
            if phase == "sft":
                metrics, timing, show = sft_step(model, tokenizer, optimizer, demonstrable, config, step), {}, None
            else:
                metrics, timing, show = rl_step(model, tokenizer, reference, optimizer, train_set, config, step)
            spent, done = time.perf_counter() - began, done + 1
            last = done == len(steps)
            if phase == "rl" and config.eval_every and (step % config.eval_every == 0 or last):
                result = evaluate(validation)
                with_routes = result.get("routes", {})
                metrics |= {"eval_alone": result["alone"]["accuracy"], "eval_routes": with_routes.get("accuracy"),
                            "eval_auc": with_routes.get("score_auc")}
                bar.set_postfix(reward=f"{metrics['reward']:.2f}", alone=f"{metrics['eval_alone']:.2f}",
                                routes=f"{metrics['eval_routes'] or 0:.2f}", p=f"{metrics['p']:.2f}")
                if step % (2 * config.eval_every) == 0:
                    bar.write(show_sample(*show))
            log(run / "metrics.jsonl", metrics)
            log(run / "timing.jsonl", {"phase": phase, "step": step, "step_s": spent, **timing})
            history.append(metrics)
            hopeless = len(history) >= 5 and all(m["skipped"] for m in history[-5:])
            if last or asked or hopeless or done % config.save_every == 0:
                draw_curves(history, run / "curves.png")
                save_checkpoint(run, optimizer, done)
            if hopeless:
                raise ValueError(f"5 steps in a row gave a loss or gradient that is not a number, and were skipped: start again with a "
                                 f"lower --lr; the weights before them are in {run / 'checkpoint'}")
            if asked and not last:
                raise KeyboardInterrupt
            if not ailment and (ailment := diagnosis(history)):
                bar.write(f"step {step}: {ailment}")
    model.save_pretrained(run / "model"), tokenizer.save_pretrained(run / "model")
    after = evaluate(test)
    put_json(run / "result.json", {"before": before, "after": after})
    print("\n" + closing_table(before, after, other_runs(run, record)) + f"\n\nrun folder: {run}")
    return before, after


def main(argv=None):
    given = given_flags(Config, __doc__, argv)
    config = Config(**given)
    try:
        config, record = resume(given) if config.resume else (settle(config), None)
        train(config, record)
    except ValueError as error:
        sys.exit(f"train.py: {error}")
    except RuntimeError as error:  # a GPU's memory has an exception of its own, a CPU's has not
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        sys.exit("train.py: out of memory where smaller micro-batches do not help (sampling, say): lower --max-new-tokens, "
                 "--prompts-per-step or --group-size")
    except (OSError, SafetensorError, KeyboardInterrupt) as error:
        begun = config.out and Path(config.out, "config.json").is_file()
        sys.exit(f"train.py: {str(error) or 'stopped'}" + (f"; go on with: python train.py --resume {config.out}" if begun else ""))


if __name__ == "__main__":
    main()
