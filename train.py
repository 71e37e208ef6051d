"""Train a student with ReaLM.

    python train.py                         a tiny student, on the CPU, in minutes
    python train.py --model Qwen2.5-0.5B    GSM8K on one GPU
    python train.py --explain               one step, explained number by number

One step: draw problems -> with probability p(t) show k routes -> G completions each -> two-stage
reward -> GRPO. This is `rl_step`. `train` runs it from the first evaluation to the closing table.
Every random number follows from --seed and the step, and the order of the problems from --seed and
the epoch. So a resumed run needs no saved random state. engine/run.py writes the folder of a run.
"""
import functools
import math
import random
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from tqdm import tqdm

import eval as evaluation
from data import BUILT_IN, all_with_routes, load_problems, with_routes
from engine import explain
from engine.bank import why_it_cannot_teach, with_correct_route
from engine.credit import our_credit
from engine.flags import (TeacherFlags, check_bounds, flag, given_flags, idle_rules,
                          problem_source, same_flag, say, without_effect)
from engine.policy import TINY, check_prompts, choose_device, is_tiny, resolve_model
from engine.report import (check_figure, closing_table, describe, other_runs, report_step,
                           sample_to_show, step_metrics, step_timing, validation_metrics)
from engine.run import Run, alone_in, refuse_folder, resume, save_student, stop_after_step
from engine.shared_prompt import is_out_of_memory, with_smaller_parts
from engine.team import ALONE, Team
from engine.text import speaks_of_routes
from grpo import Optimizer, as_rollouts, group_advantages, load_policy, sft_update
from realm import (SELECTIONS, choose_routes, demonstration, mrpv_prompt, parse_response,
                   reasoning_only)
from rewards import realm_reward
from schedule import SHAPES, eaai_probability

METHODS = ("realm-zero", "realm-r1", "mrpv", "grpo", "rft")


@dataclass(kw_only=True)
class Config(TeacherFlags):
    """The flags. A pair holds two defaults, one for a tiny student and one for a larger model."""
    task: str = same_flag(TeacherFlags, "task", ("shop", "gsm8k"))

    model: str = flag("tiny", "the student: tiny, tiny-checks, tiny-recall, tiny-totals, a short "
                      "name (Qwen2.5-0.5B), a Hub id, a local folder or a run folder",
                      heading="student")
    bank: str | None = flag(None, "JSONL bank with the teacher's routes (made by data.py); by "
                            "default a teacher writes them first")
    limit: int | None = flag(None, "use only so many training problems", least=1)
    eval_limit: int | None = flag(None, "test problems for the closing table; validation has at "
                                  "most 64 (default: 200 of a built-in task or for tiny, else "
                                  "1319, all of GSM8K's)", least=1)

    method: str = flag("realm-zero", "realm-zero: RL with fading routes; realm-r1: SFT first; "
                       "mrpv: routes never fade; grpo: no routes at all; rft: only SFT on the "
                       "teacher's correct routes", choices=METHODS, heading="ReaLM")
    routes: int | None = flag(None, "k, the routes shown in a prompt that carries any (default: 3, "
                              "but 0 for grpo without a cold start, which needs routes only to be "
                              "evaluated with them)", least=0)
    error_ratio: float | None = flag(None, "fix the share of wrong routes among the k (default: as "
                                     "the bank has them)", least=0, most=1)
    selection: str = flag("random", "how the k are drawn from the N of the bank",
                          choices=SELECTIONS)
    schedule: str = flag("cosine", "shape of p(t), the probability that a prompt carries routes",
                         choices=SHAPES)
    fade: float = flag(0.95, "share of the training over which p(t) falls", least=0, most=1)
    p_end: float = flag(0.0, "p(t) after the fade", least=0, most=1)
    one_by_one: bool = flag(False, "take the routes away one by one: every prompt carries k * p(t) "
                            "of them, rounded at random (ours, not the paper's)")
    utility_weight: float = flag(0.5, "what perfect utility scores add to a right answer's "
                                 "reward of 1", least=0, most=1000)
    one_stage: bool = flag(False, "pay for scores after wrong answers too (an ablation)")
    remember: bool = flag(False, "after each step, imitate on the prompt without routes what was "
                          "answered right with them (ours, not the paper's)")
    reward_to_go: bool = flag(False, "credit what stands behind the answer with the scores alone "
                              "(ours, not the paper's)")
    push_down: bool = flag(False, "where all G answers to a prompt without routes are wrong, make "
                           "them less likely (ours, not the paper's)")

    steps: int = flag((300, 500), "RL steps", least=0, heading="training")
    sft_steps: int | None = flag(None, "SFT steps before RL (default: 0; of realm-r1 and rft 150 "
                                 "for tiny, else 200)", least=0)
    prompts_per_step: int = flag((32, 16), "P, prompts a step (of SFT 2P)", least=1)
    group_size: int = flag(8, "G, completions of each prompt, which are compared with one another",
                           least=2)
    max_new_tokens: int = flag((96, 512), "longest completion", least=1)
    temperature: float = flag(1.0, "sampling temperature, above 0", least=0, most=100)
    lr: float = flag((5e-4, 3e-6), "learning rate of RL", least=0)
    sft_lr: float = flag((5e-4, 1e-5), "learning rate of SFT", least=0)
    warmup: int = flag(10, "updates over which the learning rate rises from 0", least=0)
    beta: float = flag(0.0, "weight of the KL to the frozen reference; 0 keeps no reference in "
                       "memory", least=0, most=1000)
    loss_type: str = flag("grpo", "how token losses are averaged",
                          choices=("grpo", "dapo", "dr_grpo"))
    clip_low: float = flag(0.2, "lower clip bound: the ratio counts down to 1 - this", least=0,
                           most=1)
    clip_high: float = flag(0.2, "upper clip bound: the ratio counts up to 1 + this", least=0,
                            most=1000)
    epochs: int = flag(1, "passes over the same rollouts (mu)", least=1)

    micro_batch: int = flag((64, 8), "completions per forward pass: memory and speed, not the "
                            "gradient; halved when memory runs out", least=1, heading="the run")
    recompute: bool = flag(False, "compute the insides of the MLPs again in the backward pass "
                           "instead of keeping them: less memory, the same gradient")
    eval_every: int = flag(40, "RL steps between evaluations on validation problems (0: none)",
                           least=0)
    save_every: int = flag(50, "steps between checkpoints", least=1)
    processes: int = flag((2, 1), "processes that share the prompts of a step, on the CPU; their "
                          "number changes random numbers and rounding, and so the result", least=1)
    threads: int = flag((1, torch.get_num_threads()), "CPU threads; their number changes how sums "
                        "round, and so the result", least=1)
    out: str | None = flag(None, "run folder (default: runs/METHOD-SEED)")
    resume: str | None = flag(None, "continue the run in this folder, with the flags of its "
                              "config.json; a flag that would make it another run is refused")

    explain: bool = flag(False, "take one step apart for a reader, and stop", heading="look inside")
    explain_figure: str | None = flag(None, "beside --explain: draw that step into this file")


def prepare(config, given):
    """Fill in the defaults that depend on the student, and refuse what cannot work, before any
    long work starts -> config. given: the flags on the command line (name -> value)."""
    if config.model == "tiny" and config.task == "ads":
        config.model = "tiny-ads"  # each built-in task has a student that speaks its words
    tiny = is_tiny(config.model)
    fill_in_defaults(config, tiny)
    check_bounds(config)
    resolve_model(config.model)
    if config.routes == 0 and config.method not in ("grpo", "rft"):
        raise ValueError(f"--routes 0: --method {config.method} shows routes; use --method grpo to "
                         f"train without any")
    if config.temperature < 0.001:
        raise ValueError("--temperature must be at least 0.001: at 0 all completions of a group "
                         "are the same")
    if config.sft_steps == 0 and config.method in ("realm-r1", "rft"):
        raise ValueError(f"--sft-steps 0: SFT is what --method {config.method} begins with")
    config.device = choose_device(config.device, tiny)
    config.processes = config.processes if config.device == "cpu" else 1
    refuse_folder(config)
    if config.explain_figure:
        check_figure("--explain-figure", config.explain_figure)
    say(without_effect(given, idle_rules(config)))
    return config


def fill_in_defaults(config, tiny):
    """Give every flag that was not given its default for this student and this method."""
    of_student = TINY.get(config.model, {})
    for name, value in vars(config).items():
        if isinstance(value, tuple):
            value = value[0] if tiny else value[1]
            setattr(config, name, of_student.get(name, value))
    if config.sft_steps is None:  # --sft-steps with another method starts RL where realm-r1 does
        cold_start = 150 if tiny else 200
        config.sft_steps = cold_start if config.method in ("realm-r1", "rft") else 0
    if config.routes is None:  # GRPO needs routes for nothing but a cold start
        config.routes = 0 if config.method == "grpo" and not config.sft_steps else 3
    if config.eval_limit is None:
        built_in = problem_source(config) in BUILT_IN
        config.eval_limit = 200 if built_in or tiny else 1319
    config.out = config.out or f"runs/{config.method}-{config.seed}"


# ---- one step of ReaLM ---------------------------------------------------------------------------
def rl_step(model, tokenizer, reference, optimizer, problems, config, step, team=ALONE):
    """One step of ReaLM -> (metrics, timing, a sample to show). P = config.prompts_per_step,
    G = config.group_size. The team samples and updates as grpo.sample and grpo.grpo_update do."""
    began = time.perf_counter()
    rng = random.Random(f"{config.seed} step {step}")
    p_t = route_probability(config, step)  # p(t)
    batch = draw_problems(problems, config, step)
    shown = []  # each prompt's routes; the whole group sees the same, so that its mean is fair
    for problem in batch:
        k = number_of_routes(config, p_t, rng)
        shown.append(draw_routes(problem, config, rng, k) if k else [])
    prompts = [mrpv_prompt(problem.question, routes) for problem, routes in zip(batch, shown)]
    generator = torch.Generator(model.device).manual_seed(rng.getrandbits(63))
    rollouts = team.sample(model, tokenizer, prompts, config.group_size, config.max_new_tokens,
                           config.temperature, generator=generator)
    sampled = time.perf_counter()

    rewards = []  # of each of the P * G completions
    for i, text in enumerate(rollouts.texts):
        problem, routes = batch[i // config.group_size], shown[i // config.group_size]
        response = parse_response(text, n_routes=len(routes))
        labels = [route.correct for route in routes]
        rewards.append(realm_reward(response, problem.answer, labels, config.utility_weight,
                                    not config.one_stage))
    totals = torch.tensor([reward.total for reward in rewards]).view(len(batch), -1)  # [P, G]
    scale = "none" if config.loss_type == "dr_grpo" else "std"
    advantages = group_advantages(totals, scale)  # [P, G]
    # The same, unless one of our flags is given; of tokens [P, G, C] with --reward-to-go.
    credit = our_credit(advantages, scale, config, tokenizer, rollouts, rewards, shown)
    scored = time.perf_counter()

    def update(micro_batch):
        return team.update(  # called again with smaller parts if memory runs out
            model, optimizer, rollouts, credit, reference=reference, epochs=config.epochs,
            micro_batch=micro_batch, temperature=config.temperature, beta=config.beta,
            loss_type=config.loss_type, clip_low=config.clip_low, clip_high=config.clip_high,
            max_len=config.max_new_tokens)

    updated = with_smaller_parts(config, optimizer, update)
    if config.remember:
        share, norm = remember(model, tokenizer, optimizer, batch, shown, rewards, rollouts.texts,
                               config, rng)
        learnt = math.isfinite(norm)
        updated |= {"remembered": share * learnt, "skipped": updated["skipped"] + (not learnt)}
    metrics = {"phase": "rl", "step": step,
               **step_metrics(p_t, rewards, shown, rollouts, advantages), **updated}
    timing = step_timing(began, sampled, scored, time.perf_counter(), rollouts)
    return metrics, timing, sample_to_show(prompts, shown, rollouts, rewards)


def route_probability(config, step):
    """p(t) of the method: 0 for GRPO, 1 for MRPV, and the fade of EAAI for ReaLM."""
    if config.method == "grpo":
        return 0.0
    shape = "constant" if config.method == "mrpv" else config.schedule
    return eaai_probability(step, config.steps, shape, end=config.p_end, fade=config.fade)


def number_of_routes(config, p_t, rng):
    """How many routes a prompt carries: k with probability p(t), or else none (ReaLM, EAAI). With
    --one-by-one it is k * p(t), rounded at random so that the mean is the same (ours)."""
    if config.one_by_one:
        return int(config.routes * p_t + rng.random())
    return config.routes if rng.random() < p_t else 0


def draw_problems(problems, config, step):
    """The P problems of step t. All problems are used once in a random order, then once in a new
    one. A batch may span two orders, so that none is dropped."""
    first = step * config.prompts_per_step
    last = first + config.prompts_per_step - 1
    n = len(problems)
    orders = []
    for epoch in range(first // n, last // n + 1):
        orders += random.Random(f"{config.seed} order {epoch}").sample(problems, n)
    return orders[first % n:first % n + config.prompts_per_step]


def draw_routes(problem, config, rng, k):
    """The k routes that a prompt of this problem carries."""
    return choose_routes(problem.routes, k, rng, config.error_ratio, config.selection)


def remember(model, tokenizer, optimizer, batch, shown, rewards, texts, config, rng):
    """Imitate, without the routes, one right answer of each prompt that carried some (ours; STaR,
    arXiv 2203.14465, is similar) -> (share of the P prompts that gave one, gradient norm).

    What a student learns with routes may stay tied to prompts that show some. Here it learns to do
    without, with RL's optimizer and rate. Reasoning that speaks of routes is left out.
    """
    prompts, completions = [], []
    for p, (problem, routes) in enumerate(zip(batch, shown)):
        members = range(p * config.group_size, (p + 1) * config.group_size)
        right = [i for i in members if rewards[i].answer]
        if routes and right:
            found = parse_response(texts[rng.choice(right)], n_routes=len(routes))
            if not speaks_of_routes(found.reasoning):
                prompts.append(mrpv_prompt(problem.question, []))
                completions.append(demonstration(found.reasoning, found.answer))
    if not prompts:
        return 0.0, 0.0
    share = len(prompts) / len(batch)  # a lesson of few answers counts less
    return share, imitate(model, tokenizer, optimizer, prompts, completions, config, share)[1]


def sft_step(model, tokenizer, optimizer, problems, config, step):
    """One step of SFT on 2P correct routes -> metrics.

    A cold start (ReaLM-R1) shows k routes in half of the prompts, with the true labels as the
    scores to write, so that the student knows both formats. rft is trained on the plain prompt
    only. Every problem must have a correct route.
    """
    rng = random.Random(f"{config.seed} sft {step}")
    prompts, completions = [], []
    for problem in rng.choices(problems, k=2 * config.prompts_per_step):
        target = rng.choice([route for route in problem.routes if route.correct])
        carries_routes = config.method != "rft" and rng.random() < 0.5
        routes = draw_routes(problem, config, rng, config.routes) if carries_routes else []
        scores = [float(route.correct) for route in routes] or None
        prompts.append(mrpv_prompt(problem.question, routes))
        completions.append(demonstration(reasoning_only(target.text), problem.answer, scores))
    loss, norm = imitate(model, tokenizer, optimizer, prompts, completions, config)
    return {"phase": "sft", "step": step, "loss": loss, "grad_norm": norm,
            "skipped": float(not math.isfinite(norm))}


def imitate(model, tokenizer, optimizer, prompts, completions, config, weight=1.0):
    """One optimizer step towards these completions (lists of str) -> (loss, gradient norm)."""
    lesson = as_rollouts(model, tokenizer, prompts, completions)

    def update(micro_batch):
        return sft_update(model, optimizer, lesson, micro_batch, weight)

    return with_smaller_parts(config, optimizer, update)


# ---- the run -------------------------------------------------------------------------------------
def train(config, record=None, given=()):
    """The whole run, from the first evaluation to model/ and the closing table -> (before, after).

    config: as `prepare` returns it. record: what config.json says of a run to continue. given: the
    flags on the command line; those without effect are said. Raises ValueError, in one line, for
    what cannot work, before any long work starts.

        given = {"steps": 20, "out": "runs/short"}
        train(prepare(Config(**given), given))
    """
    with alone_in(config.out), Team(config.processes, config.threads) as team:
        return train_with(team, config, record, given)


def train_with(team, config, record, given):
    """train, with the processes of a team."""
    splits = load_splits(config, given)
    train_set, validation, test = splits
    trouble = why_it_cannot_teach(train_set, judges=config.method not in ("grpo", "rft"))
    if trouble:
        print(trouble, flush=True)
    to_imitate = with_correct_route(train_set, config)
    run = Run(config, record, splits)
    model, tokenizer = load_student(config, run.state)
    check_prompts(model, tokenizer, sum(splits, []), to_imitate, config)
    evaluate = functools.partial(evaluate_student, model, tokenizer, config, team)
    before = run.begin(lambda: evaluate(test, when="before training"))

    steps = [("sft", t) for t in range(config.sft_steps)]
    if config.method != "rft":
        steps += [("rl", t) for t in range(config.steps)]
    optimizer = reference = None
    bar = tqdm(steps[run.done:], initial=run.done, total=len(steps), desc=config.method,
               disable=None if steps else True)  # None: a bar on a terminal only
    with stop_after_step() as stop_asked:
        for phase, step in bar:
            if optimizer is None or step == 0:  # each phase has an optimizer of its own
                optimizer = new_optimizer(model, config, phase, step, run.take_state())
            if phase == "rl" and config.beta > 0 and reference is None:
                reference = frozen_reference(model, tokenizer, config, step)
            began = time.perf_counter()
            timing, show = {}, None
            if phase == "sft":
                metrics = sft_step(model, tokenizer, optimizer, to_imitate, config, step)
            else:
                metrics, timing, show = rl_step(model, tokenizer, reference, optimizer, train_set,
                                                config, step, team)
            timing = {"step_s": time.perf_counter() - began, **timing}
            is_last = run.done + 1 == len(steps)
            if phase == "rl" and config.eval_every and (step % config.eval_every == 0 or is_last):
                metrics |= validation_metrics(evaluate(validation))
            run.log(metrics, timing)
            report_step(bar, config, metrics, timing, show, len(steps) - run.done)
            run.save_or_stop(optimizer, is_last, stop_asked, bar)
    after = evaluate(test)
    run.finish(model, tokenizer, before, after)
    table = closing_table(before, after, other_runs(run.folder, run.record))
    print(f"\n{table}\n\nrun folder: {run.folder}")
    return before, after


def load_splits(config, given=()):
    """(train, validation, test): problems with at least k routes each. No question is in two.

    A bank is split by a hash of its questions (80 / 10 / 10), so that held-out questions have
    routes too. Where routes are missing, a teacher writes them. Raises ValueError if a split is
    empty.
    """
    where = problem_source(config)
    sizes = {"train": config.limit, "validation": min(64, config.eval_limit),
             "test": config.eval_limit}
    splits = {split: load_problems(where, split, size, config.data)
              for split, size in sizes.items()}
    if not all(splits.values()):
        raise ValueError(f"{where}: too few problems for training, validation and test")
    return tuple(all_with_routes(splits, config, given).values())


def load_student(config, state):
    """(model, tokenizer) of the run. state: what a checkpoint holds, or None at the start."""
    model, tokenizer = load_policy(config.model, config.device)
    model.recompute = config.recompute  # engine/layers.py asks for it
    if state:
        Optimizer(model, 0.0).load_weights(state)  # a checkpoint holds an optimizer's fp32 weights
    print(describe(model, config.model), flush=True)
    return model, tokenizer


def evaluate_student(model, tokenizer, config, team, problems, when=None):
    """eval.evaluate with the sizes of the run. when: words for a line that announces it."""
    if when:
        print(f"evaluating the student on {len(problems)} test problems, {when}", flush=True)
    # A GPU has room for as many rows as a step samples.
    rows = 0 if config.device == "cpu" else config.prompts_per_step * config.group_size
    return evaluation.evaluate(model, tokenizer, problems, config.routes,
                               max_new_tokens=config.max_new_tokens, sampler=team.sample,
                               batch=max(16, config.micro_batch, rows))


def new_optimizer(model, config, phase, step, state):
    """The optimizer of a phase. state: what a checkpoint holds; None at the start of a run."""
    optimizer = Optimizer(model, config.lr if phase == "rl" else config.sft_lr, config.warmup)
    if state and step > 0:
        optimizer.load_state_dict(state)
    return optimizer


def frozen_reference(model, tokenizer, config, step):
    """The KL term's reference policy: the student as RL began, kept in the run folder."""
    folder = Path(config.out) / "reference"
    if step == 0:
        save_student(model, tokenizer, folder)
    return load_policy(str(folder), config.device)[0].requires_grad_(False)


def explain_step(config):
    """Print one step, token by token (engine/explain.py)."""
    problems = load_problems(problem_source(config), "train", config.prompts_per_step, config.data)
    model, tokenizer = load_student(config, None)
    anatomy = explain.take_apart(model, tokenizer, with_routes(problems, config), config)
    print(explain.as_text(anatomy))
    if config.explain_figure:
        explain.draw(anatomy, config.explain_figure)


def main(argv=None):
    """The command."""
    given = given_flags(Config, __doc__, argv)
    config = Config(**given)
    try:
        config, record = resume(given, Config) if config.resume else (config, None)
        config = prepare(config, given)
        if config.explain:
            explain_step(config)
        else:
            train(config, record, given)
    except ValueError as error:
        sys.exit(f"train.py: {error}")
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        sys.exit("train.py: out of memory where smaller micro-batches do not help (sampling, say): "
                 "lower --max-new-tokens, --prompts-per-step or --group-size")
    except (OSError, SafetensorError, KeyboardInterrupt) as error:
        go_on = ""
        if not config.explain and config.out and Path(config.out, "config.json").is_file():
            go_on = f"; go on with: python train.py --resume {shlex.quote(config.out)}"
        sys.exit(f"train.py: {str(error) or 'stopped'}{go_on}")


if __name__ == "__main__":
    main()
