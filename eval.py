"""Evaluate students, with routes and without: python eval.py RUN_OR_MODEL... [--task shop] [--routes 3]

What is asked of ReaLM: without routes the student must stand alone (autonomy); with routes it must do better than the
teacher, better than a majority vote over the same routes, and not repeat the teacher's mistakes. Every interval is 95%
(Wilson's; of mean@n the normal one over questions, too narrow for a few of them).

columns: accuracy   greedy decoding              mean@n, pass@n, maj@n   mean, best and majority of n samples at temperature 1
         AUC        P(a right route is scored above a wrong one), ties count half; a constant has 0.5
         scores ok  share of the scores on the right side of 0.5
         SAME Err   share of the wrong answers that repeat a wrong route's answer
"""
import dataclasses
import json
import math
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from data import BUILT_IN, load_problems, with_routes
from engine.flags import check_bounds, flag, for_the_record, given_flags
from grpo import is_tiny, load_policy, resolve_model, sample, settle_device
from realm import choose_routes, mrpv_prompt, parse_response
from rewards import answers_match, canonical


def wilson(right, n, z=1.96):
    """95% interval of a share (Wilson score): right of n > 0 -> (low, high).

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.49, 0.943]
    """
    p, z2 = right / n, z * z / n
    middle = (p + z2 / 2) / (1 + z2)
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def vote(answers, rng):
    """The most frequent answer (None: no answer at all); a tie is broken at random.

    >>> vote(["7", "8", "7.0", None], random.Random(0))
    '7'
    """
    counts = Counter(canonical(a) for a in answers if a is not None)
    if not counts:
        return None
    best = rng.choice([key for key, count in counts.items() if count == max(counts.values())])
    return next(a for a in answers if a is not None and canonical(a) == best)


def auc(scores, labels):
    """Probability that a positive route's score lies above a negative one's, ties counting half; None if one kind is
    missing. A constant scores 0.5.

    >>> auc([0.9, 0.2, 0.2, 0.1], [True, True, False, False])
    0.875
    """
    positive, negative = (Counter(s for s, label in zip(scores, labels) if label == kind) for kind in (True, False))
    wins = sum(p * n * ((a > b) + 0.5 * (a == b)) for a, p in positive.items() for b, n in negative.items())
    return wins / (positive.total() * negative.total()) if positive and negative else None


def evaluate(model, tokenizer, problems, routes=3, samples=0, max_new_tokens=96, seed=0, batch=64, positive=None):
    """Everything measured of one student on some problems -> dict of "alone", "routes" (each a dict) and the baselines.

    routes: k (0: only without routes); samples: n completions at temperature 1 for mean@n, pass@n and majority@n (0: greedy only);
    batch: questions at a time; positive: in a yes-or-no task, the answer that precision, recall and F1 count.
    The routes shown to a question depend on the seed and the question alone, so all students see the same.
    """
    def ask(shown):
        return evaluate_prompts(model, tokenizer, problems, shown, samples, max_new_tokens, seed, batch, positive)
    result = {"questions": len(problems), "k": routes, "samples": samples, "alone": ask([()] * len(problems))}
    if routes:
        shown = [choose_routes(p.routes, routes, random.Random(f"{seed} {p.question}")) for p in problems]
        result["routes"] = ask(shown)
        rng = random.Random(seed)  # breaks ties
        votes = [answers_match(vote([r.answer for r in some], rng), p.answer) for p, some in zip(problems, shown)]
        for name, right in (("vote", votes), ("teacher", [r.correct for some in shown for r in some])):
            result |= {name: sum(right) / len(right), f"{name}_interval": wilson(sum(right), len(right))}
    return result


def evaluate_prompts(model, tokenizer, problems, shown, samples, max_new_tokens, seed, batch, positive):
    """One way of asking, with the routes shown for each problem, or with none: greedy accuracy and scores, and samples at
    temperature 1 -> dict."""
    n, prompts = len(problems), [mrpv_prompt(p.question, routes) for p, routes in zip(problems, shown)]
    generator = torch.Generator(model.device).manual_seed(seed)
    texts, lengths, sampled = [], [], []
    for first in tqdm(range(0, n, batch), desc="with routes" if any(shown) else "without routes", leave=False, disable=None):
        part = prompts[first:first + batch]
        greedy = sample(model, tokenizer, part, 1, max_new_tokens, temperature=0.0, generator=generator)
        texts += greedy.texts
        lengths += greedy.lengths.tolist()
        if samples:
            sampled += sample(model, tokenizer, part, samples, max_new_tokens, generator=generator).texts
    responses = [parse_response(text, len(routes)) for text, routes in zip(texts, shown)]
    right = [answers_match(response.answer, p.answer) for response, p in zip(responses, problems)]
    result = {"accuracy": sum(right) / n, "interval": wilson(sum(right), n), "tokens": sum(lengths) / n}
    if positive is not None:  # a yes-or-no task: how well is the answer "yes" found?
        said, true = ([answers_match(x.answer, positive) for x in some] for some in (responses, problems))
        both = sum(s and t for s, t in zip(said, true))
        result |= {"precision": both / max(1, sum(said)), "recall": both / max(1, sum(true)),
                   "f1": 2 * both / max(1, sum(said) + sum(true))}
    if any(shown):
        read = [(score, r.correct)  # of each route whose score could be read
                for response, routes in zip(responses, shown) for score, r in zip(response.scores or (), routes)]
        repeats = [any(not r.correct and answers_match(response.answer, r.answer) for r in routes)
                   for response, routes, ok in zip(responses, shown, right) if not ok]  # of each wrong answer: is it a wrong route's?
        result["scored"] = len(read) / sum(map(len, shown))  # share of scores that could be read
        result["score_accuracy"] = sum((score > 0.5) == label for score, label in read) / len(read) if read else None
        result["score_auc"] = auc(*zip(*read)) if read else None
        result["same_err"] = sum(repeats) / len(repeats) if repeats else None
    if samples:
        answers = [[parse_response(text).answer for text in sampled[i:i + samples]] for i in range(0, n * samples, samples)]
        hits = [[answers_match(a, p.answer) for a in some] for p, some in zip(problems, answers)]
        means = [sum(h) / samples for h in hits]
        mean = sum(means) / n
        half = 1.96 * math.sqrt(sum((m - mean) ** 2 for m in means) / max(1, n - 1) / n)  # questions are the independent unit
        result["mean_at_n"], result["mean_interval"] = mean, (max(0.0, mean - half), min(1.0, mean + half))
        result["pass_at_n"] = sum(any(h) for h in hits) / n
        rng = random.Random(seed)
        result["majority_at_n"] = sum(answers_match(vote(some, rng), p.answer) for p, some in zip(problems, answers)) / n
    return result


# ---- the command ----------------------------------------------------------------------------------------------------
@dataclass
class Config:
    models: list[str] = flag(dataclasses.MISSING, "run folders of train.py, or models: tiny, a short name, a Hub id, a folder")
    task: str | None = flag(None, "shop, ads, gsm8k, or a JSONL file or folder (default: the first run's, else shop for tiny, else gsm8k)")
    data: str | None = flag(None, "folder or file with GSM8K's own JSONL, instead of fetching it")
    bank: str | None = flag(None, "JSONL bank: evaluate on its questions (those of its test part) and show its routes (default: the first run's)")
    split: str = flag("test", "test (of built-in tasks also ood), or validation, to choose models or flags by", choices=("test", "validation"))
    routes: int | None = flag(None, "k, the routes shown (default: the first run's, else 3)", least=0)
    samples: int = flag(8, "n, completions sampled for each question beside the greedy one; 0: greedy only", least=0)
    limit: int = flag(200, "questions of each split", least=1)
    max_new_tokens: int | None = flag(None, "longest completion (default: the first run's, else 96 for tiny, else 512)", least=1)
    batch: int = flag(64, "questions at a time", least=1)
    teacher_error: float | None = flag(None, "built-in tasks: probability that the simulated teacher has a fact wrong (default: the "
                                       "first run's, else 0.65)", least=0, most=1)
    systematic: float | None = flag(None, "built-in tasks: share of its mistakes that are one misconception (the first run's, else 0.5)", least=0, most=1)
    teacher: str | None = flag(None, "who writes routes where there are none (default: the first run's): simulated, a model, or a server's address, as in data.py")
    teacher_model: str | None = flag(None, "the model's name at a server")
    teacher_options: str | None = flag(None, "more fields of each request to a server, as in data.py")
    n: int = flag(8, "N, routes per question where a teacher writes them now", least=1)
    inject_rules: float = flag(0.0, "q, probability that the expert rules enter that teacher's prompt, whatever it was in training", least=0, most=1)
    positive: str | None = flag(None, "yes-or-no tasks: the answer that precision, recall and F1 count (ads: relevant)")
    seed: int = flag(0, "seed of the routes and the samples")
    device: str | None = flag(None, "cpu or cuda (tiny: cpu; else a GPU where there is one)")
    json: str | None = flag(None, "write the results to this file")
    figure: str | None = flag(None, "draw the comparison into this file (default with several models: compare.png)")


def settle(config):
    """Fill in what the first run folder knows, look at every name, and find the problems -> {split: problems}."""
    for name in config.models:
        resolve_model(name)
    folder, run = Path(config.models[0]), {}
    if (folder / "model" / "config.json").is_file() and (folder / "config.json").is_file():
        try:
            run = json.loads((folder / "config.json").read_text())
        except ValueError:
            run = None
    if not isinstance(run, dict):
        raise ValueError(f"{folder / 'config.json'}: not the config.json of a run")
    for path in (config.json, config.figure):
        if path and (Path(path).is_dir() or not Path(path).parent.is_dir()):
            raise ValueError(f"{path}: {'a folder, not a file' if Path(path).is_dir() else 'there is no such folder'}")
    if config.figure and not config.figure.endswith((".png", ".pdf", ".svg", ".jpg")):
        raise ValueError(f"--figure {config.figure}: its name must end in .png, .pdf, .svg or .jpg")
    tiny = is_tiny(config.models[0])
    config.device = settle_device(config.device, tiny)
    if config.bank is None and config.task is None:
        config.bank = run.get("bank")
    for name, default in (("task", "shop" if tiny else "gsm8k"), ("data", None), ("max_new_tokens", 96 if tiny else 512), ("routes", 3),
                          ("teacher", None), ("teacher_model", None), ("teacher_error", 0.65), ("systematic", 0.5)):
        if getattr(config, name) is None:
            setattr(config, name, run.get(name, default))
    config.positive = config.positive or ("relevant" if config.task == "ads" else None)
    check_bounds(config)
    where = config.bank or config.task
    splits = ("test", "ood") if where in BUILT_IN and config.split == "test" else (config.split,)
    problems = {split: load_problems(where, split, config.limit, config.data) for split in splits}
    if not problems[config.split]:
        print(f"{where}: so small that no question is in its {config.split} part; all of them are asked", flush=True)
        problems = {config.split: load_problems(where, "all", config.limit, config.data)}
    return {split: with_routes(some, config) for split, some in problems.items()}


def with_interval(value, interval):
    """0.920 [0.87, 0.95], or a dash for what was not measured."""
    return "-" if value is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def table(results):
    """One row per model, split and way of asking."""
    yes_or_no = any("f1" in result["alone"] for splits in results.values() for result in splits.values())
    columns = {"model": 24, "split": 12, "routes": 8, "accuracy": 21, "mean@n": 21, "pass@n": 8, "maj@n": 8, "AUC": 7, "scores ok": 11,
               "SAME Err": 10, "tokens": 8, **({"P": 6, "R": 6, "F1": 0} if yes_or_no else {})}  # name -> width

    def row(*cells):
        return "".join(f"{cell:<{width}}" for cell, width in zip(cells, columns.values()))

    def shares(result, *names):
        return ["-" if result.get(name) is None else f"{result[name]:.3f}" for name in names]
    lines = [row(*columns)]
    for name, splits in results.items():
        for split, result in splits.items():
            for how, k in (("alone", 0), ("routes", result["k"])):
                if r := result.get(how):
                    lines.append(row(name[-23:], split, k, with_interval(r["accuracy"], r["interval"]),
                                     with_interval(r.get("mean_at_n"), r.get("mean_interval")),
                                     *shares(r, "pass_at_n", "majority_at_n", "score_auc", "score_accuracy", "same_err"),
                                     f"{r['tokens']:.1f}", *shares(r, "precision", "recall", "f1")))
    for split, result in next(iter(results.values())).items():  # the same routes for every model
        if "vote" in result:
            lines.append(row("teacher, one route", split, 1, with_interval(result["teacher"], result["teacher_interval"])))
            lines.append(row("majority vote", split, result["k"], with_interval(result["vote"], result["vote_interval"])))
    return "\n".join(lines)


def draw_comparison(results, path):
    """Accuracy without and with routes of every model, with intervals, beside the teacher's and the vote's."""
    from matplotlib.figure import Figure
    first = next(iter(results.values()))
    figure = Figure(figsize=(1.5 + 1.3 * len(results) * len(first) + 3, 4), layout="constrained")
    axes = figure.subplots(1, len(first), squeeze=False)[0]
    for ax, split in zip(axes, first):
        for shift, how, label in ((-0.2, "alone", "without routes"), (0.2, "routes", "with routes")):
            rows = [(i + shift, r[split][how]) for i, r in enumerate(results.values()) if how in r[split]]
            if rows:
                at, found = zip(*rows)
                ax.bar(at, [r["accuracy"] for r in found], 0.38, label=label)
                ax.vlines(at, *zip(*(r["interval"] for r in found)), color="black")
        for key, label, style in (("teacher", "teacher", ":"), ("vote", "majority vote", "--")):
            if key in first[split]:
                ax.axhline(first[split][key], color="black", linestyle=style, linewidth=1, label=label)
        ax.set(title=split, ylim=(0, 1.05), ylabel="accuracy")
        ax.set_xticks(range(len(results)), [name[-18:] for name in results], rotation=20, ha="right")
        ax.grid(alpha=0.3, axis="y")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main(argv=None):
    config = Config(**given_flags(Config, __doc__, argv))
    try:
        problems, results = settle(config), {}
        settings = config.routes, config.samples, config.max_new_tokens, config.seed, config.batch, config.positive
        for name in config.models:
            model, tokenizer = load_policy(name, config.device)
            results[name.rstrip("/")] = {split: evaluate(model, tokenizer, part, *settings) for split, part in problems.items()}
        print(table(results))
        if config.json:
            Path(config.json).write_text(json.dumps({"config": for_the_record(config), "results": results}, indent=1) + "\n")
        if config.figure or len(results) > 1:
            draw_comparison(results, config.figure or "compare.png")
            print(f"figure: {config.figure or 'compare.png'}")
    except (ValueError, OSError) as error:
        sys.exit(f"eval.py: {error}")
    except torch.OutOfMemoryError:
        sys.exit("eval.py: out of GPU memory: lower --batch, --samples or --max-new-tokens")


if __name__ == "__main__":
    main()
