"""What a run tells its user: the metrics of a step, warnings, curves and tables.

Promise: nothing here changes a run. These functions read results and return text or numbers, or
    draw a figure. Drawing needs no display.
To read: step_metrics and diagnosis speak of one run while it trains. closing_table ends a run,
    and results_table and draw_comparison end an evaluation.
Tests:   tests/test_report.py; tests/test_survive.py for the warnings.
"""
import hashlib
import json
import math
from pathlib import Path

from engine.files import write_json
from engine.flags import refuse_out
from engine.text import printable

EARLY_STEPS = 8  # RL steps after which a student that never found the format is told
SLOW = 2e7  # parameters that are too many for a CPU to be done in minutes
ROUNDING = 1e-5  # a KL that stays below this is rounding noise


# ---- while a run trains --------------------------------------------------------------------------
def step_metrics(p_t, rewards, shown, rollouts, advantages):
    """The metrics of one RL step, all but those of the update -> dict (docs/metrics.md).

    p_t: p(t); rewards: a Reward for each of the B = P * G completions, those of a prompt side by
    side; shown: for each of the P prompts the list of its routes, empty where it carried none;
    rollouts: the grpo.Rollouts of the step; advantages [P, G].
    A mean over no completions is None.
    """
    group_size = len(rewards) // len(shown)
    with_routes = []
    alone = []
    for i, reward in enumerate(rewards):
        if shown[i // group_size]:
            with_routes.append(reward)
        else:
            alone.append(reward)
    live = (advantages != 0).any(1)  # [P]
    return {
        "p": p_t,
        "reward": mean_of(rewards, "total"),
        "answer": mean_of(rewards, "answer"),
        "answer_alone": mean_of(alone, "answer"),
        "answer_routes": mean_of(with_routes, "answer"),
        "utility": mean_of(with_routes, "utility"),
        "format": mean_of(rewards, "format"),
        "carried": len(with_routes) / len(rewards),
        "live": live.double().mean().item(),
        "truncated": 1 - rollouts.finished.double().mean().item(),
        "length": rollouts.lengths.double().mean().item(),
        "entropy": (rollouts.entropy.sum() / rollouts.mask.sum()).item(),
    }


def mean_of(rewards, field):
    """The mean of one field over some rewards, or None if there are none."""
    if not rewards:
        return None
    return sum(getattr(reward, field) for reward in rewards) / len(rewards)


def diagnosis(history, n=20):
    """What is wrong with a run and the usual cure, in one line, or None.

    history: the entries of metrics.jsonl so far. Most signs are means over the last n steps. A
    student that never wrote the format is told after EARLY_STEPS steps of RL.
    """
    rl = [entry for entry in history if entry["phase"] == "rl"]
    if len(rl) >= EARLY_STEPS and all(m["format"] == 0 and m["answer"] == 0 for m in rl):
        return no_format(rl, cold_start=len(rl) < len(history))
    last = [entry for entry in history[-n:] if entry["phase"] == "rl"]
    if len(last) < n:
        return None  # too early to tell
    mean = {}
    for field in ("truncated", "entropy", "live", "answer"):
        mean[field] = sum(entry[field] or 0.0 for entry in last) / n
    if mean["answer"] > 0.9:
        return None  # nothing is left to learn
    if mean["truncated"] > 0.9:
        return ("nearly every completion is cut off: raise --max-new-tokens, or teach the format "
                "first (--method realm-r1)")
    if mean["entropy"] < 0.01 and mean["answer"] < 0.5:
        return ("the policy has collapsed (entropy near 0, answers wrong): lower --lr, raise "
                "--clip-high, or add a little --beta")
    if mean["live"] < 0.01:
        return ("no group has rewards that differ, so nothing is learnt: show more routes "
                "(--routes), take easier problems, or start with --method realm-r1")
    return None


def no_format(rl, cold_start):
    """The diagnosis of a student that never wrote the format. cold_start: did it begin with SFT?"""
    if cold_start:
        cure = "make the cold start longer (--sft-steps)"
    else:
        cure = "begin with --method realm-r1, whose cold start teaches the format"
    if sum(entry["truncated"] for entry in rl) > 0.9 * len(rl):
        cure += "; nearly every completion is cut off, too: raise --max-new-tokens"
    return f"no completion is in the format, so nothing is paid and nothing is learnt: {cure}"


def describe(model, name):
    """What a run says of its student: model, parameters, device and dtype.

    A run on a CPU with a model that is not tiny says that this is slow.
    """
    parameters = sum(p.numel() for p in model.parameters())
    if parameters < 1e9:
        size = f"{parameters / 1e6:.3g}M"
    else:
        size = f"{parameters / 1e9:.3g}B"
    dtype = {"torch.float32": "fp32", "torch.bfloat16": "bf16"}.get(str(model.dtype), model.dtype)
    line = f"student: {name}, {size} parameters, on {model.device}, in {dtype}"
    if model.device.type == "cpu" and parameters > SLOW:
        line += ("\nThis is a large model for a CPU: a step may take minutes. The time is shown "
                 "after the first step. A GPU is used where there is one.")
    return line


def report_step(bar, config, metrics, timing, show, steps_left):
    """Tell what a step gave: the pace after the first one, a result and a sample now and then.

    bar: the tqdm bar; metrics, timing: of this step; show: a sample, or None; steps_left: after it.
    """
    if metrics["step"] == 0 and timing["step_s"] > 5:
        seconds = timing["step_s"] * steps_left
        left = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
        bar.write(f"the first {metrics['phase']} step took {timing['step_s']:.0f} s; the "
                  f"{steps_left} steps that are left would take about {left} at this pace")
    if "eval_alone" not in metrics:
        return
    bar.set_postfix(reward=f"{metrics['reward']:.2f}", alone=f"{metrics['eval_alone']:.2f}",
                    routes=f"{metrics['eval_routes'] or 0:.2f}", p=f"{metrics['p']:.2f}")
    if metrics["step"] % (2 * config.eval_every) == 0:
        bar.write(printable(show_sample(*show)))


def validation_metrics(result):
    """What metrics.jsonl keeps of an evaluation. result: eval.evaluate's."""
    routes = result.get("routes", {})
    return {"eval_alone": result["alone"]["accuracy"], "eval_routes": routes.get("accuracy"),
            "eval_auc": routes.get("score_auc")}


def step_timing(began, sampled, scored, updated, rollouts):
    """The clock times of an RL step, in seconds. The first four are readings of one clock."""
    tokens = int(rollouts.lengths.sum())
    return {"sample_s": sampled - began, "score_s": scored - sampled, "update_s": updated - scored,
            "tokens": tokens, "tokens_per_s": tokens / (sampled - began)}


def sample_to_show(prompts, shown, rollouts, rewards):
    """The best completion of a step, one with routes if there is any -> (prompt, text, Reward)."""
    group_size = rollouts.group_size

    def rank(i):
        return len(shown[i // group_size]), rewards[i].total

    best = max(range(len(rewards)), key=rank)
    return prompts[best // group_size], rollouts.texts[best], rewards[best]


def show_sample(prompt, completion, reward):
    """One whole sample as text: what the student saw, wrote and earned."""
    question = prompt.partition("\n\n")[2]  # without the fixed instruction
    rule = "-" * 30
    return f"{rule} prompt\n{question}{rule} completion\n{completion}\n{rule} {reward}\n"


# ---- curves --------------------------------------------------------------------------------------
NAMES = {  # field of metrics.jsonl -> its name in the figure
    "p": "p(t)",
    "eval_alone": "without routes",
    "eval_routes": "with routes",
    "live": "live groups",
    "format": "in the format",
    "truncated": "cut off",
    "kl": "to the reference",
    "approx_kl": "old to new policy",
}


def draw_curves(metrics, path):
    """Draw a run in six panels into a file. metrics: the entries of metrics.jsonl.

    A run without RL (rft) shows its SFT steps. The KL has a panel only where there is some.
    """
    from matplotlib.figure import Figure  # without pyplot: no display is needed, nothing to close

    rl = [entry for entry in metrics if entry["phase"] == "rl"]
    entries = rl or metrics
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    panels = figure_panels(entries)
    rows = 1 if len(panels) < 3 else 2
    grid = figure.subplots(rows, len(panels) // rows, squeeze=False)
    for ax, (title, fields) in zip(grid.flat, panels):
        for i, field in enumerate(fields):
            draw_field(ax, entries, field, f"C{i}")
        ax.set(title=title, xlabel="RL step" if rl else "SFT step")
        ax.grid(alpha=0.3)
        if title.startswith(("accuracy", "share")):
            ax.set_ylim(0, 1.02)
        _, labels = ax.get_legend_handles_labels()
        if labels and fields[0] in NAMES or len(labels) > 1:
            ax.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def figure_panels(entries):
    """The panels that these entries of one phase fill: a list of (title, fields)."""
    if entries and entries[0]["phase"] == "sft":
        return [("loss", ["loss"]), ("norm of the gradient", ["grad_norm"])]
    last = ("norm of the gradient", ["grad_norm"])
    moved = []
    for field in ("kl", "approx_kl"):
        _, values = series(entries, field)
        if values and max(values) > ROUNDING:
            moved.append(field)
    if moved:
        last = ("KL (nats per token)", moved)
    return [
        ("reward", ["reward", "answer", "utility"]),
        ("accuracy on validation problems", ["eval_alone", "eval_routes", "p"]),
        ("share of groups or completions", ["live", "format", "truncated"]),
        ("entropy (nats per token)", ["entropy"]),
        ("completion length (tokens)", ["length"]),
        last,
    ]


def draw_field(ax, entries, field, color):
    """One curve: p(t) as a grey area, evaluations as points, the rest smoothed over faint raw."""
    steps, values = series(entries, field)
    if not steps:
        return
    name = NAMES.get(field, field)
    if field == "p":
        ax.fill_between(steps, values, color="0.88", linewidth=0, zorder=0, label=name)
    elif field.startswith("eval"):
        ax.plot(steps, values, color=color, marker="o", markersize=4, label=name)
    else:
        half = len(values) // 50
        if half:
            ax.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        ax.plot(steps, smoothed(values, half), color=color, label=name)


def series(entries, field):
    """(steps, values) of the entries in which a field was measured and is a finite number."""
    steps = []
    values = []
    for entry in entries:
        value = entry.get(field)
        if value is not None and math.isfinite(value):
            steps.append(entry["step"])
            values.append(value)
    return steps, values


def smoothed(values, half):
    """Each value replaced by the mean of itself and up to `half` neighbours on either side.

    >>> smoothed([0, 3, 0, 3], 1)
    [1.5, 1.0, 2.0, 1.5]
    """
    result = []
    for i in range(len(values)):
        near = values[max(0, i - half):i + half + 1]
        result.append(sum(near) / len(near))
    return result


# ---- the end of a run ----------------------------------------------------------------------------
def hash_of(value):
    """A hash of problems or questions, to tell whether two runs had the same."""
    return hashlib.sha256(repr(value).encode(errors="backslashreplace")).hexdigest()


def question_hash(splits):
    """A hash of the questions and gold answers of a run, whatever their routes.

    splits: (train, validation, test) problems.
    """
    pairs = [[(p.question, p.answer) for p in problems] for problems in splits]
    return hash_of(pairs)


def other_runs(folder, record):
    """The runs beside this one that had the same questions -> {name: its "after"}.

    folder: Path of this run; record: what its config.json says under "run". A run of an older
    version has no "questions" there. It counts if all its problems and routes are the same.
    """
    found = {}
    for path in sorted(folder.parent.glob("*/result.json")):
        name = path.parent.name
        if name == folder.name:
            continue
        try:
            other = json.loads((path.parent / "config.json").read_text())["run"]
            both = "questions" in other and "questions" in record
            key = "questions" if both else "problems"
            if other[key] == record[key]:
                after = json.loads(path.read_text())["after"]
                closing_row(name, after, after)  # fails if a value is missing
                found[name] = after
        except (OSError, ValueError, LookupError, TypeError):
            continue  # another version's folder, or a damaged one
    return found


def closing_table(before, after, others):
    """The table that ends a run, as text.

    before, after: eval.evaluate's results on the test problems; others: name -> "after" of other
    runs on the same questions. Accuracy with routes is shown where k, the teacher's and the vote's
    accuracy are equal, for then the routes are most likely the same.
    """
    k = after["k"]
    header = f"{'accuracy on test problems':<28}{'without routes':<24}"
    if k:
        header += f"with {k} routes"
    lines = [header, closing_row("before", before, after), closing_row("after", after, after)]
    for key, name in (("teacher", "teacher, one route"), ("vote", f"majority vote, {k} routes")):
        if key in after:
            lines.append(f"{name:<52}{with_interval(after[key], after[f'{key}_interval'])}")
    for name, result in others.items():
        lines.append(closing_row(f"{name}, after", result, after))
    if "routes" in after:
        areas = [result["routes"].get("score_auc") for result in (before, after)]
        if None not in areas:
            lines.append("utility scores tell right routes from wrong ones (AUC): "
                         f"{areas[0]:.2f} before, {areas[1]:.2f} after")
    return "\n".join(lines)


def closing_row(name, result, after):
    """One row of the closing table. after: the result of the run that the table is about."""
    cells = [with_interval(result["alone"]["accuracy"], result["alone"]["interval"])]
    same_routes = all(result.get(key) == after.get(key) for key in ("k", "teacher", "vote"))
    if "routes" in result and same_routes:
        cells.append(with_interval(result["routes"]["accuracy"], result["routes"]["interval"]))
    return f"{name:<28}" + "".join(f"{cell:<24}" for cell in cells)


# ---- the end of an evaluation --------------------------------------------------------------------
def check_figure(flag, path):
    """Raises ValueError, in one line, if no figure can be written there. flag: its name."""
    refuse_out(flag, path)
    if not path.endswith((".png", ".pdf", ".svg", ".jpg")):
        raise ValueError(f"{flag} {path}: its name must end in .png, .pdf, .svg or .jpg")


def check_json(flag, path):
    """Raises ValueError, in one line, if results should not be written there. flag: its name."""
    refuse_out(flag, path)
    if path.endswith(".jsonl"):
        raise ValueError(f"{flag} {path}: is named like a bank; the results are one .json file")


def write_results(results, config, json_path, figure_path):
    """Print the table of an evaluation, and write its JSON file and its figure if asked for.

    results: model -> split -> eval.evaluate's result; config: the flags, as a dict.
    """
    print(results_table(results))
    if json_path:
        saved = {"config": config, "results": results,
                 "lm_eval": {name: harness_form(found, config["bank"] or config["task"])
                             for name, found in results.items()}}
        write_json(json_path, saved)
    if figure_path:
        draw_comparison(results, figure_path)
        print(f"figure: {figure_path}")


def harness_form(found, task):
    """A student's results under the names that users of lm-evaluation-harness look for -> dict.

    found: split -> eval.evaluate's result; task: a name. One task of the harness is one split asked
    in one way. The standard error is that of a mean over questions.
    """
    form = {"results": {}, "n-samples": {}, "higher_is_better": {}}
    for split, result in found.items():
        n = result["questions"]
        for how in ("alone", "routes"):
            if how not in result:
                continue
            name = f"realm_{Path(task).stem}_{split}_{how}"
            accuracy = result[how]["accuracy"]
            error = math.sqrt(accuracy * (1 - accuracy) / max(1, n - 1))
            form["results"][name] = {"alias": name, "exact_match,none": accuracy,
                                     "exact_match_stderr,none": error}
            form["n-samples"][name] = {"original": n, "effective": n}
            form["higher_is_better"][name] = {"exact_match": True}
    return form


WIDTHS = {  # column -> characters
    "model": 24, "split": 12, "routes": 8, "accuracy": 21, "format": 8, "mean@n": 21, "pass@n": 8,
    "maj@n": 8, "AUC": 7, "scores ok": 11, "SAME Err": 10, "tokens": 8, "P": 6, "R": 6, "F1": 0,
}


def with_interval(value, interval):
    """A share and its interval as text, or a dash for what was not measured.

    >>> with_interval(0.92, (0.87, 0.95)), with_interval(None, None)
    ('0.920 [0.87, 0.95]', '-')
    """
    if value is None:
        return "-"
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def results_table(results):
    """The table that ends an evaluation, as text. One row per model, split and way of asking.

    results: model -> split -> eval.evaluate's result. Precision (P), recall (R) and F1 are shown
    only if a model was asked a yes-or-no task.
    """
    columns = [name for name in WIDTHS if name not in ("P", "R", "F1")]
    for splits in results.values():
        for result in splits.values():
            if "f1" in result["alone"]:
                columns = list(WIDTHS)
    rows = [columns]
    for name, splits in results.items():
        for split, result in splits.items():
            rows.append(student_cells(name, split, 0, result["alone"]))
            if "routes" in result:
                rows.append(student_cells(name, split, result["k"], result["routes"]))
    for split, result in next(iter(results.values())).items():  # every model saw the same routes
        if "vote" in result:
            teacher = with_interval(result["teacher"], result["teacher_interval"])
            rows.append(["teacher, one route", split, 1, teacher])
            vote = with_interval(result["vote"], result["vote_interval"])
            rows.append(["majority vote", split, result["k"], vote])
    lines = []
    for cells in rows:
        lines.append("".join(f"{cell:<{WIDTHS[name]}}" for cell, name in zip(cells, columns)))
    return "\n".join(lines)


def student_cells(name, split, k, found):
    """The cells of one model, asked in one way. found: the "alone" or the "routes" of a result."""
    cells = [name[-23:], split, k, with_interval(found["accuracy"], found["interval"]),
             share(found.get("format")),
             with_interval(found.get("mean_at_n"), found.get("mean_interval"))]
    for field in ("pass_at_n", "majority_at_n", "score_auc", "score_accuracy", "same_err"):
        cells.append(share(found.get(field)))
    cells.append(f"{found['tokens']:.1f}")
    for field in ("precision", "recall", "f1"):
        cells.append(share(found.get(field)))
    return cells


def share(value):
    """Three decimals, or a dash for what was not measured."""
    return "-" if value is None else f"{value:.3f}"


def draw_comparison(results, path):
    """Draw the accuracy of every model into a file, beside the teacher's and the vote's.

    results: model -> split -> eval.evaluate's result. The bars carry their 95% intervals.
    """
    from matplotlib.figure import Figure

    first = next(iter(results.values()))
    width = 4.5 + 1.3 * len(results) * len(first)
    figure = Figure(figsize=(width, 4), layout="constrained")
    axes = figure.subplots(1, len(first), squeeze=False)[0]
    for ax, split in zip(axes, first):
        found = [splits[split] for splits in results.values()]
        draw_bars(ax, found, "alone", -0.2, "without routes")
        draw_bars(ax, found, "routes", 0.2, "with routes")
        for key, label, style in (("teacher", "teacher", ":"), ("vote", "majority vote", "--")):
            if key in first[split]:
                level = first[split][key]
                ax.axhline(level, color="black", linestyle=style, linewidth=1, label=label)
        ax.set(title=split, ylim=(0, 1.05), ylabel="accuracy")
        names = [name[-18:] for name in results]
        ax.set_xticks(range(len(results)), names, rotation=20, ha="right", parse_math=False)
        ax.grid(alpha=0.3, axis="y")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_bars(ax, found, how, shift, label):
    """One bar per model for one way of asking ("alone" or "routes"), with its interval."""
    for i, result in enumerate(found):
        if how not in result:
            continue
        color = "C0" if how == "alone" else "C1"
        ax.bar(i + shift, result[how]["accuracy"], 0.38, color=color, label=label)
        ax.vlines(i + shift, *result[how]["interval"], color="black")
        label = None  # the legend names it once
