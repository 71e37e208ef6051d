r"""The paper's claims, measured: `python -m results.sweep NAME... | all`.

    python -m results.sweep                      list the sweeps
    python -m results.sweep C1 C3 --jobs 2       train what is missing, then save and draw
    python -m results.sweep all --redraw         draw the saved figures again, train nothing

A sweep is a list of arms, and an arm is a list of arguments of train.py. Each arm is trained on
each seed. eval.py then measures it on test questions that no run has seen. The sweeps "rates" and
"scores" choose settings, so they use validation questions. results/NAME.json records the figures,
the commands, the seeds, the commit and the machine. The table and its figure go into
results/README.md.

A run that is already in runs/sweeps is not run again. So a sweep that was cut goes on where it
stopped, and an arm that two claims share is trained once.

A larger student can be trained on a GPU, as below. No table of results/README.md shows such a
student. C9 is left out when --more names a model, because C9 has another task and another student.

    python -m tasks.make_students --width 512 --layers 8 --lr 1e-3 --device cuda \
        --out runs/base-larger
    python -m results.sweep all --jobs 8 --out runs/larger --more "--model runs/base-larger
        --task shop --steps 300 --prompts-per-step 32 --max-new-tokens 96 --micro-batch 64
        --lr 1e-4 --sft-lr 1e-4 --device cuda"

Promise: tables and figures are drawn from the JSON files alone.
To read: SWEEPS, then measure, then table.
tests/test_sweep.py holds this file to that.
"""
import argparse
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


# ---- the sweeps ----------------------------------------------------------------------------------
class Sweep(NamedTuple):
    """What a sweep shows, its arms, and its contrasts.

    arms: name -> arguments of train.py. A contrast is (name, (arm, figure), (arm, figure)). Its
    value is the first figure minus the second.
    """
    claim: str
    arms: dict
    contrasts: list


# The student of all arms, unless --more names another. (C9 has its brother for the ads.)
STUDENT = "--model tiny"
# The methods.
ZERO = "--method realm-zero"
MRPV = "--method mrpv"
R1 = "--method realm-r1"
RFT = "--method rft"
# GRPO trains without routes. It is evaluated with three routes too, like the other methods.
GRPO = "--method grpo --routes 3"
# This is GRPO from the cold start of realm-r1.
COLD = "--method grpo --sft-steps 150"

# Few routes of this bank are right throughout.
FEW = "--limit 100 --n 3 --teacher-error 0.75"
# This cold start hardly teaches a price.
SHORT = f"{FEW} --sft-steps 20"
# Each question of this bank has enough right and wrong routes to mix them at will.
MIXED = "--n 16 --teacher-error 0.3"
# The same holds for this bank, but its teacher knows only a fifth of the prices: one route in 32
# is right.
WEAK = "--n 512 --teacher-error 0.8"

# This cold start learns the scores. C6 uses it.
LEARN = "--prompts-per-step 16 --sft-steps 1000 --sft-lr 1e-3 --steps 100"
# This student is shown as many right as wrong routes.
BALANCED = f"{R1} --limit 1000 --n 16 --selection balanced"
# This student has such a cold start, and its teacher knows half of the prices.
HALF = f"{BALANCED} --teacher-error 0.5 {LEARN}"
# RL at this learning rate keeps what the cold start taught about scores.
JUDGE = f"{HALF} --lr 2e-4"

ADS = ("--task ads --method realm-r1 --teacher-error 0.8 --systematic 0.9 --sft-steps 100"
       " --steps 100")


def shares_wrong(bank):
    """The arms that show 0% to 100% wrong routes of this bank."""
    return {
        "0% wrong": f"{ZERO} {bank} --error-ratio 0",
        "25% wrong": f"{ZERO} {bank} --error-ratio 0.25",
        "50% wrong": f"{ZERO} {bank} --error-ratio 0.5",
        "75% wrong": f"{ZERO} {bank} --error-ratio 0.75",
        "100% wrong": f"{ZERO} {bank} --error-ratio 1",
    }


SWEEPS = {
    "C1": Sweep(
        "ReaLM, evaluated without routes, beats GRPO at an equal number of rollouts",
        {
            "ReaLM-Zero": ZERO,
            "GRPO": GRPO,
            "GRPO, its best rate": f"{GRPO} --lr 2e-4",
        },
        [
            ("Zero - GRPO", ("ReaLM-Zero", "alone"), ("GRPO", "alone")),
            ("Zero - GRPO, ood", ("ReaLM-Zero", "alone, ood"), ("GRPO", "alone, ood")),
            ("Zero - GRPO, its best rate",
             ("ReaLM-Zero", "alone"), ("GRPO, its best rate", "alone")),
            ("Zero - GRPO, its best rate, ood",
             ("ReaLM-Zero", "alone, ood"), ("GRPO, its best rate", "alone, ood")),
        ]),
    "C1-R1": Sweep(
        "the same from one cold start: a short one, and a long one",
        {
            "ReaLM-R1, short": f"{R1} {SHORT}",
            "GRPO, short": f"{GRPO} {SHORT}",
            "ReaLM-R1, long": R1,
            "GRPO, long": COLD,
        },
        [
            ("R1 - GRPO from R1's start, short",
             ("ReaLM-R1, short", "alone"), ("GRPO, short", "alone")),
            ("R1 - GRPO from R1's start, short, ood",
             ("ReaLM-R1, short", "alone, ood"), ("GRPO, short", "alone, ood")),
            ("R1 - GRPO from R1's start, long",
             ("ReaLM-R1, long", "alone"), ("GRPO, long", "alone")),
            ("R1 - GRPO from R1's start, long, ood",
             ("ReaLM-R1, long", "alone, ood"), ("GRPO, long", "alone, ood")),
        ]),
    "C2": Sweep(
        "with routes, ReaLM beats a majority vote over the same routes, and the teacher",
        {"ReaLM-Zero": ZERO},
        [
            ("with routes - vote", ("ReaLM-Zero", "with routes"), ("ReaLM-Zero", "vote")),
            ("with routes - teacher", ("ReaLM-Zero", "with routes"), ("ReaLM-Zero", "teacher")),
            ("with routes - alone", ("ReaLM-Zero", "with routes"), ("ReaLM-Zero", "alone")),
        ]),
    "C3": Sweep(
        "the fade makes the student autonomous",
        {
            "fading (EAAI)": ZERO,
            "always shown (MRPV)": MRPV,
        },
        [
            ("fading - always shown, without routes",
             ("fading (EAAI)", "alone"), ("always shown (MRPV)", "alone")),
        ]),
    "C4": Sweep(
        "the share of wrong routes, of a weak teacher",
        shares_wrong(WEAK),
        [
            ("alone: 75% wrong - 0% wrong", ("75% wrong", "alone"), ("0% wrong", "alone")),
            ("alone: 75% wrong - 100% wrong", ("75% wrong", "alone"), ("100% wrong", "alone")),
        ]),
    "C4-strong": Sweep(
        "the share of wrong routes, of a strong teacher",
        shares_wrong(MIXED),
        []),
    "C5": Sweep(
        "the shape of the fade, and how early it ends",
        {
            "cosine, 0.95": ZERO,
            "linear": f"{ZERO} --schedule linear",
            "step": f"{ZERO} --schedule step",
            "constant": MRPV,
            "cosine, 0.75": f"{ZERO} --fade 0.75",
            "cosine, 0.5": f"{ZERO} --fade 0.5",
            "cosine, 0.25": f"{ZERO} --fade 0.25",
        },
        []),
    "C6": Sweep(
        "the two-stage reward",
        {
            "ReaLM-R1, two stages": JUDGE,
            "ReaLM-R1, scores unpaid": f"{JUDGE} --utility-weight 0",
            "ReaLM-R1, scores paid always": f"{JUDGE} --one-stage",
            "ReaLM-Zero, two stages": ZERO,
            "ReaLM-Zero, scores unpaid": f"{ZERO} --utility-weight 0",
            "ReaLM-Zero, scores paid always": f"{ZERO} --one-stage",
        },
        [
            ("AUC, R1, two stages - unpaid",
             ("ReaLM-R1, two stages", "AUC"), ("ReaLM-R1, scores unpaid", "AUC")),
            ("AUC, R1, two stages - paid always",
             ("ReaLM-R1, two stages", "AUC"), ("ReaLM-R1, scores paid always", "AUC")),
            ("with routes, Zero, two stages - unpaid",
             ("ReaLM-Zero, two stages", "with routes"),
             ("ReaLM-Zero, scores unpaid", "with routes")),
            ("with routes, Zero, two stages - paid always",
             ("ReaLM-Zero, two stages", "with routes"),
             ("ReaLM-Zero, scores paid always", "with routes")),
        ]),
    "C7": Sweep(
        "ReaLM-R1, ReaLM-Zero and RFT, with few routes that are right throughout, and with many",
        {
            "ReaLM-R1, few": f"{R1} {FEW}",
            "GRPO from R1's start, few": f"{COLD} {FEW}",
            "ReaLM-Zero, few": f"{ZERO} {FEW}",
            "RFT, few": f"{RFT} {FEW}",
            "ReaLM-R1, many": R1,
            "ReaLM-Zero, many": ZERO,
            "RFT, many": RFT,
        },
        [
            ("R1 - RFT, few", ("ReaLM-R1, few", "alone"), ("RFT, few", "alone")),
            ("Zero - RFT, few", ("ReaLM-Zero, few", "alone"), ("RFT, few", "alone")),
            ("R1 - GRPO from R1's start, few",
             ("ReaLM-R1, few", "alone"), ("GRPO from R1's start, few", "alone")),
            ("the same, with routes",
             ("ReaLM-R1, few", "with routes"), ("GRPO from R1's start, few", "with routes")),
            ("R1 - RFT, many", ("ReaLM-R1, many", "alone"), ("RFT, many", "alone")),
        ]),
    "C8": Sweep(
        "the student does not copy the teacher's mistakes",
        {
            "ReaLM-Zero": ZERO,
            "MRPV": MRPV,
            "GRPO": GRPO,
            "RFT, few": f"{RFT} {FEW}",
        },
        [
            ("SAME Err, after - before, ReaLM-Zero",
             ("ReaLM-Zero", "SAME Err"), ("ReaLM-Zero", "SAME Err before")),
            ("SAME Err, after - before, GRPO",
             ("GRPO", "SAME Err"), ("GRPO", "SAME Err before")),
        ]),
    "C9": Sweep(
        "expert rules in the teacher's prompt reach the student",
        {
            "q = 0": f"{ADS} --inject-rules 0",
            "q = 0.5": f"{ADS} --inject-rules 0.5",
            "q = 1": f"{ADS} --inject-rules 1",
        },
        [
            ("alone, ood: q = 0.5 - q = 0", ("q = 0.5", "alone, ood"), ("q = 0", "alone, ood")),
        ]),
    "C10": Sweep(
        "systematic and random mistakes",
        {
            "systematic, 25% wrong": f"{ZERO} {MIXED} --error-ratio 0.25 --systematic 1",
            "systematic, 75% wrong": f"{ZERO} {MIXED} --error-ratio 0.75 --systematic 1",
            "random, 25% wrong": f"{ZERO} {MIXED} --error-ratio 0.25 --systematic 0",
            "random, 75% wrong": f"{ZERO} {MIXED} --error-ratio 0.75 --systematic 0",
            "systematic": f"{ZERO} --systematic 1",
            "random": f"{ZERO} --systematic 0",
        },
        [
            ("systematic: with routes - vote",
             ("systematic", "with routes"), ("systematic", "vote")),
            ("random: with routes - vote", ("random", "with routes"), ("random", "vote")),
        ]),
    "rates": Sweep(
        "the learning rate of each method, on validation questions",
        {
            "ReaLM-Zero, 2e-4": f"{ZERO} --lr 2e-4",
            "ReaLM-Zero, 5e-4": ZERO,  # 5e-4 is the default of this student
            "ReaLM-Zero, 1e-3": f"{ZERO} --lr 1e-3",
            "GRPO, 2e-4": f"{GRPO} --lr 2e-4",
            "GRPO, 5e-4": GRPO,
            "GRPO, 1e-3": f"{GRPO} --lr 1e-3",
            "MRPV, 2e-4": f"{MRPV} --lr 2e-4",
            "MRPV, 5e-4": MRPV,
            "MRPV, 1e-3": f"{MRPV} --lr 1e-3",
        },
        []),
    "scores": Sweep(
        "the cold start of C6, on validation questions",
        {
            "price known 35%": f"{BALANCED} {LEARN}",
            "price known 50%": HALF,
            "50%, RL at 2e-4": JUDGE,
            "50%, RL at 1e-4": f"{HALF} --lr 1e-4",
        },
        []),
    "C11": Sweep(
        "the teacher-student gap",
        {
            "price known 20%": f"{ZERO} --teacher-error 0.8",
            "price known 35%": ZERO,  # the default teacher errs in 0.65 of the prices
            "price known 50%": f"{ZERO} --teacher-error 0.5",
            "price known 70%": f"{ZERO} --teacher-error 0.3",
            "price known 90%": f"{ZERO} --teacher-error 0.1",
        },
        []),
}

# Each figure has a path through what eval.py and train.py report.
FIGURES = {
    "alone": ("test", "alone", "accuracy"),
    "alone, ood": ("ood", "alone", "accuracy"),
    "with routes": ("test", "routes", "accuracy"),
    "with routes, ood": ("ood", "routes", "accuracy"),
    "vote": ("test", "vote"),
    "teacher": ("test", "teacher"),
    "AUC": ("test", "routes", "score_auc"),
    "AUC, ood": ("ood", "routes", "score_auc"),
    "scores read": ("test", "routes", "scored"),
    "SAME Err before": ("before", "routes", "same_err"),
    "SAME Err": ("after", "routes", "same_err"),
    "F1 alone": ("test", "alone", "f1"),
    "F1 alone, ood": ("ood", "alone", "f1"),
}

# The columns of a table. A sweep that is not named here shows ACCURACY.
ACCURACY = ["alone", "alone, ood", "with routes", "with routes, ood", "vote", "teacher"]
SCORES = ["AUC", "AUC, ood", "scores read"]
COLUMNS = {
    "C6": ACCURACY + SCORES,
    "scores": ACCURACY + SCORES,
    "C8": ["alone", "with routes", "SAME Err before", "SAME Err"],
    "C9": [*ACCURACY, "AUC", "F1 alone", "F1 alone, ood"],
}

# The seeds of a sweep. A sweep that is not named here has the seeds 0 to 4.
SEEDS = {
    "C1": [*range(10)],
    "C2": [*range(10)],
    "C3": [*range(10)],
    "rates": [12],
    "scores": [*range(12, 17)],
}

# Student's t for a 95% interval, by the number of seeds.
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262,
       11: 2.228, 12: 2.201, 13: 2.179, 14: 2.160, 15: 2.145, 16: 2.131, 17: 2.120, 18: 2.110,
       19: 2.101, 20: 2.093}


def split_of(name):
    """The questions that a sweep is measured on.

    A sweep that chooses settings uses validation questions. Nobody looks at what its runs say about
    test questions.
    """
    return "validation" if name in ("rates", "scores") else "test"


# ---- one run -------------------------------------------------------------------------------------
def commit():
    """The commit of this folder. The words "with changes" follow if a file differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return said.replace("-dirty", " with changes")


def gpu():
    """The name of the GPU."""
    import torch
    return torch.cuda.get_device_name()


def python(*arguments):
    """Run a command of this project on one core, because many runs go side by side.

    If the command fails, this program ends with the last line that the command wrote.
    """
    one_core = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=one_core, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        sys.exit(f"{' '.join(arguments)}: {said[-1]}")


def measure(arguments, seed, more="", until=None, split="test"):
    """Train an arm on a seed and evaluate it, unless that is done -> its figures (dict).

    more: arguments that all arms are given. until: begin no training after this datetime; the
    result is then None. split: "test", or "validation" for the figures of validation questions.
    """
    arguments = f"{more} {arguments}".strip()  # the last of two equal flags wins
    folder = folder_of(arguments, seed)
    if not (folder / "result.json").exists():
        if until and datetime.now() >= until:
            return None
        train_arm(["train.py", *STUDENT.split(), *arguments.split(), "--eval-every", "10000",
                   "--save-every", "1000000"], seed, folder)
    figures = figures_of(folder, split)
    known = [f for f in [*ACCURACY, "AUC"] if figures[f] is not None]
    told = ", ".join(f"{f} {figures[f]:.3f}" for f in known)
    print(f"{arguments}, seed {seed}: {told}", flush=True)
    return figures


def run_name(arguments, seed):
    """The name of the folder of the run with these arguments and this seed.

    >>> run_name("--method realm-r1 --lr 1e-4", 3)
    'method-realm-r1-lr-1e-4-seed-3'
    """
    name = re.sub(r"[^a-z0-9.]+", "-", arguments.lower()).strip("-")
    return f"{name}-seed-{seed}"


def folder_of(arguments, seed):
    """Where the run with these arguments and this seed is."""
    return ROOT / "runs" / "sweeps" / run_name(arguments, seed)


def train_arm(command, seed, folder):
    """Run a training command (a list) from the beginning. Each run has one process: a sweep uses
    cores better for several runs at once (--jobs).

    The commit is noted before the run, because a sweep may be cut and commits come in the meantime.
    It is noted beside the folder, because train.py wants an empty one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    commit_file(folder).write_text(commit())
    python(*command, "--seed", str(seed), "--out", str(folder), "--processes", "1")


def commit_file(folder):
    """Where the commit is noted at which the run in this folder began."""
    return folder.with_name(f"{folder.name}.commit")


def figures_of(folder, split):
    """The FIGURES of a trained run, and the commit that it was trained at.

    eval.py is run if it has not answered yet. A figure that was not measured is None.
    """
    answers = folder / ("eval.json" if split == "test" else "validation.json")
    if not answers.exists():
        python("eval.py", str(folder), "--split", split, "--limit", "300", "--samples", "0",
               "--json", str(answers))
    found = next(iter(json.loads(answers.read_text())["results"].values()))
    if split == "test":
        # train.py reports "before" and "after". Both ask the same questions with the same routes.
        found |= json.loads((folder / "result.json").read_text())
    found["test"] = found[split]  # the paths of FIGURES say "test" for both splits
    noted = commit_file(folder)
    figures = {"commit": noted.read_text() if noted.exists() else None}
    for name, path in FIGURES.items():
        value = found
        for key in path:
            value = value.get(key) if value else None
        figures[name] = value
    return figures


# ---- what is shown -------------------------------------------------------------------------------
def present(values):
    """The values that were measured. A value that was not measured is None."""
    return [v for v in values if v is not None]


def spread(values):
    """'mean ± half of a 95% interval' over seeds (Student's t). One value has no interval."""
    values = present(values)
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    half = T95.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.3f} ± {half:.3f}"


def shown_of(saved):
    """The columns of a table: those that the sweep asks for, if any arm has a value."""
    shown = []
    for column in saved.get("columns", FIGURES):
        if any(present(arm.get(column, ())) for arm in saved["arms"].values()):
            shown.append(column)
    return shown


def table(saved):
    """A Markdown table with one line for each arm, and a list of the contrasts below it.

    If fewer seeds have a figure than the arm has, their number follows the figure in brackets.
    """
    shown = shown_of(saved)
    lines = [f"| arm | seeds | {' | '.join(shown)} |", "|---|---|" + "---|" * len(shown)]
    for arm, figures in saved["arms"].items():
        counts = [len(present(figures.get(column, ()))) for column in shown]
        seeds = max(counts, default=0)
        cells = []
        for column, count in zip(shown, counts):
            cell = spread(figures.get(column, ()))
            if 0 < count < seeds:
                cell += f" ({count})"
            cells.append(cell)
        lines.append(f"| {arm} | {seeds} | {' | '.join(cells)} |")
    if saved["contrasts"]:
        lines.append("")
    for name, first, second in saved["contrasts"]:
        lines.append(f"- {name}: **{spread(differences(saved, first, second))}**")
    return "\n".join(lines)


def differences(saved, first, second):
    """The first figure minus the second, for each seed that has both.

    first, second: (arm, figure).
    """
    arm, figure = first
    other_arm, other_figure = second
    pairs = zip(saved["arms"][arm][figure], saved["arms"][other_arm][other_figure])
    return [x - y for x, y in pairs if x is not None and y is not None]


def draw(saved, path):
    """Draw a group of bars for each arm, with a bar for each figure and a dot for each seed."""
    from matplotlib.figure import Figure
    arms = saved["arms"]
    shown = shown_of(saved)
    figure = Figure(figsize=(max(7, 2 + 1.5 * len(arms)), 4), layout="constrained")
    ax = figure.subplots()
    for i, column in enumerate(shown):
        for j, arm in enumerate(arms.values()):
            values = present(arm.get(column, ()))
            if not values:
                continue
            x = j + (i - (len(shown) - 1) / 2) * 0.8 / len(shown)  # the groups are centred on j
            height = statistics.mean(values)
            width = 0.7 / len(shown)
            label = column if j == 0 else None
            ax.bar(x, height, width, color=f"C{i}", alpha=0.6, label=label)
            ax.plot([x] * len(values), values, "k.", markersize=3)
    ax.set(title=saved["claim"], ylim=(0, 1.02), xticks=range(len(arms)))
    labels = [re.sub(r"[ ,]+", "\n", arm, count=1) for arm in arms]  # on two lines
    ax.set_xticklabels(labels, fontsize=8)
    ax.legend(fontsize=8, ncols=len(shown), loc="upper center", bbox_to_anchor=(0.5, -0.15))
    figure.savefig(path, dpi=110)


def fill(page, name, text):
    """Put a text between the marks of this name on a page, if the page exists."""
    if page.exists():
        filled = f"<!-- {name} -->\n{text}\n<!-- end -->"
        marks = f"<!-- {name} -->.*?<!-- end -->"
        old = page.read_text()
        page.write_text(re.sub(marks, lambda _: filled, old, flags=re.DOTALL))


def show(name, out):
    """Print the table of OUT/NAME.json, draw its figure, and put both on the page OUT/README.md."""
    path = out / f"{name}.json"
    if not path.exists():
        sys.exit(f"results.sweep: {path} is not there yet: run `python -m results.sweep {name}`")
    saved = json.loads(path.read_text())
    draw(saved, out / f"{name}.png")
    text = table(saved)
    claim = saved["claim"]
    print(f"\n{name}: {claim}\n{text}")
    made = f"Seeds {saved['seeds']}, commit {', '.join(saved['commit'])}."
    fill(out / "README.md", name, f"{text}\n\n{made}\n\n![{claim}]({name}.png)")


# ---- a sweep -------------------------------------------------------------------------------------
def run_sweeps(names, seeds, args):
    """Train and measure what is missing of these sweeps, then save each one.

    seeds: name of a sweep -> its seeds. args: the flags of the command line.
    """
    jobs = {}  # as an ordered set: a run that two sweeps share is one job
    for name in names:
        for seed in seeds[name]:
            for arguments in SWEEPS[name].arms.values():
                jobs[arguments, seed, split_of(name)] = None

    def one(job):
        arguments, seed, split = job
        return measure(arguments, seed, args.more, args.until, split)

    with ThreadPoolExecutor(args.jobs) as pool:
        results = dict(zip(jobs, pool.map(one, jobs)))
    results = {job: figures for job, figures in results.items() if figures}
    for name in names:
        write(name, seeds[name], results, args.more, args.out)


def write(name, seeds, results, more, out):
    """Save a sweep as OUT/NAME.json.

    results: (arguments, seed, split) -> figures. It may hold runs of other sweeps. The figures of
    a run that it does not hold are saved as None.
    """
    claim, arms, contrasts = SWEEPS[name]
    split = split_of(name)
    commands = {}
    figures = {}
    commits = set()
    for arm, arguments in arms.items():
        student = "" if "--model" in more else STUDENT
        commands[arm] = " ".join(f"python train.py {student} {more} {arguments} --seed S".split())
        runs = [results.get((arguments, seed, split), {}) for seed in seeds]
        figures[arm] = {}
        for figure in FIGURES:
            figures[arm][figure] = [run.get(figure) for run in runs]
        commits |= {run["commit"] for run in runs if run and run["commit"]}
    processor = gpu() if "cuda" in more else "one core a run"
    saved = {
        "claim": claim,
        "commands": commands,
        "evaluation": f"python eval.py RUN --split {split} --limit 300 --samples 0, "
                      "with the teacher of the run",
        "seeds": seeds,
        "columns": COLUMNS.get(name, ACCURACY),
        "commit": sorted(commits),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {processor}",
        "arms": figures,
        "contrasts": contrasts,
    }
    (out / f"{name}.json").write_text(json.dumps(saved, indent=1) + "\n")


def next_time(text):
    """The next datetime at which the clock shows HH:MM, today or tomorrow. Raises ValueError."""
    clock = datetime.strptime(text, "%H:%M")
    now = datetime.now()
    today = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def flags():
    """The flags of this command."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SWEEPS, "all", []])
    parser.add_argument("--seeds", type=int, nargs="+",
                        help="default: 0 1 2 3 4; C1, C2, C3, rates and scores have their own")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--more", default="", help="further train.py arguments for every arm")
    parser.add_argument("--until", type=next_time, metavar="HH:MM",
                        help="begin no run after the clock shows this time for the first time; "
                             "what is missing then is told as missing")
    parser.add_argument("--out", type=Path, default=ROOT / "results",
                        help="folder of the JSON files and figures")
    parser.add_argument("--redraw", action="store_true",
                        help="train nothing; print tables and draw figures from the JSON files")
    return parser


def main():
    parser = flags()
    args = parser.parse_args()
    names = list(SWEEPS) if "all" in args.names else args.names
    if args.more and args.out == ROOT / "results":
        parser.error("--more makes other runs than those on the page: "
                     "give them an --out of their own")
    if "--model" in args.more and "C9" in names:
        names.remove("C9")
        if not names:
            parser.error("C9 has another task than this --model")
    args.out.mkdir(parents=True, exist_ok=True)
    if not names:
        for name, sweep in SWEEPS.items():
            print(f"{name}: {sweep.claim} ({', '.join(sweep.arms)})")
        return
    if not args.redraw:
        seeds = {}
        for name in names:
            seeds[name] = args.seeds or SEEDS.get(name, [0, 1, 2, 3, 4])
        run_sweeps(names, seeds, args)
    for name in names:
        show(name, args.out)


if __name__ == "__main__":
    main()
