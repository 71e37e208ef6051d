"""The paper's claims, measured: python -m results.sweep NAME... | all [--seeds 0 1 2 3 4] [--jobs 2]      (no NAME: list them)

A sweep is a list of train.py arguments (SWEEPS). Each arm is trained on each seed and measured by eval.py on test questions that
no run has seen. results/NAME.json records figures, commands, seeds, commit and machine; table and figure are drawn from it alone
and put into results/README.md (--redraw does only that). A run that is already in runs/sweeps is not run again, so a sweep that was cut goes on, and arms that
two claims share are trained once. On a GPU, with a larger student (no table here is of one; C9 has another task and student, and is left out):

    python -m tasks.make_students --width 512 --layers 8 --lr 1e-3 --device cuda --out runs/base-larger
    python -m results.sweep all --jobs 8 --out runs/larger --more "--model runs/base-larger --task shop --steps 300 --prompts-per-step 32
        --max-new-tokens 96 --micro-batch 64 --lr 1e-4 --sft-lr 1e-4 --device cuda"
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
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADS = "--task ads --method realm-r1 --teacher-error 0.8 --systematic 0.9 --sft-steps 100 --steps 100"
FEW = "--limit 100 --n 3 --teacher-error 0.75"  # C7: few routes are right throughout
ZERO, MRPV, R1, RFT = (f"--method {m}" for m in ("realm-zero", "mrpv", "realm-r1", "rft"))
GRPO = "--method grpo --routes 3"  # trained without routes, evaluated with them too
MIXED = "--n 16 --teacher-error 0.3"  # enough right and wrong routes of every question to mix them at will
WEAK = "--n 512 --teacher-error 0.8"  # the same of a teacher who knows a fifth of the prices: one route in 32 is right
LEARN = "--prompts-per-step 16 --sft-steps 1000 --sft-lr 1e-3 --steps 100"  # a cold start that learns the scores,
BALANCED = f"{R1} --limit 1000 --n 16 --selection balanced"  # from as many right as wrong routes,
HALF = f"{BALANCED} --teacher-error 0.5 {LEARN}"  # of a teacher who knows half of the prices,
JUDGE = f"{HALF} --lr 2e-4"  # and RL that keeps them
COLD = "--method grpo --sft-steps 150"  # GRPO from the cold start of realm-r1
SHORT = f"{FEW} --sft-steps 20"  # a cold start that hardly teaches a price
SHARES = (0, 0.25, 0.5, 0.75, 1)
SWEEPS = {  # name -> (what it shows, {arm: train.py arguments}, [(contrast, (arm, figure), (arm, figure))])
    "C1": ("ReaLM, evaluated without routes, beats GRPO at an equal number of rollouts",
           {"ReaLM-Zero": ZERO, "GRPO": GRPO, "GRPO, its best rate": f"{GRPO} --lr 2e-4"},
           [(f"Zero - {grpo}{out}", ("ReaLM-Zero", f"alone{out}"), (grpo, f"alone{out}")) for grpo in ("GRPO", "GRPO, its best rate") for out in ("", ", ood")]),
    "C1-R1": ("the same from one cold start: a short one, and a long one",
              {"ReaLM-R1, short": f"{R1} {SHORT}", "GRPO, short": f"{GRPO} {SHORT}", "ReaLM-R1, long": R1, "GRPO, long": COLD},
              [(f"R1 - GRPO from R1's start, {start}{out}", (f"ReaLM-R1, {start}", f"alone{out}"), (f"GRPO, {start}", f"alone{out}"))
               for start in ("short", "long") for out in ("", ", ood")]),
    "C2": ("with routes, ReaLM beats a majority vote over the same routes, and the teacher",
           {"ReaLM-Zero": ZERO},
           [("with routes - vote", ("ReaLM-Zero", "with routes"), ("ReaLM-Zero", "vote")),
            ("with routes - teacher", ("ReaLM-Zero", "with routes"), ("ReaLM-Zero", "teacher")),
            ("with routes - alone", ("ReaLM-Zero", "with routes"), ("ReaLM-Zero", "alone"))]),
    "C3": ("the fade makes the student autonomous", {"fading (EAAI)": ZERO, "always shown (MRPV)": MRPV},
           [("fading - always shown, without routes", ("fading (EAAI)", "alone"), ("always shown (MRPV)", "alone"))]),
    "C4": ("the share of wrong routes, of a weak teacher", {f"{e:.0%} wrong": f"{ZERO} {WEAK} --error-ratio {e}" for e in SHARES},
           [(f"alone: 75% wrong - {e}% wrong", ("75% wrong", "alone"), (f"{e}% wrong", "alone")) for e in (0, 100)]),
    "C4-strong": ("the share of wrong routes, of a strong teacher", {f"{e:.0%} wrong": f"{ZERO} {MIXED} --error-ratio {e}" for e in SHARES}, []),
    "C5": ("the shape of the fade, and how early it ends",
           {"cosine, 0.95": ZERO, **{s: f"{ZERO} --schedule {s}" for s in ("linear", "step")}, "constant": MRPV,
            **{f"cosine, {f}": f"{ZERO} --fade {f}" for f in (0.75, 0.5, 0.25)}}, []),
    "C6": ("the two-stage reward", {f"{name}, {how}": f"{m} {flag}".strip() for name, m in (("ReaLM-R1", JUDGE), ("ReaLM-Zero", ZERO))
                                    for how, flag in (("two stages", ""), ("scores unpaid", "--utility-weight 0"), ("scores paid always", "--one-stage"))},
           [(f"{figure}, {of}, two stages - {how}", (f"ReaLM-{of}, two stages", figure), (f"ReaLM-{of}, scores {how}", figure))
            for of, figure in (("R1", "AUC"), ("Zero", "with routes")) for how in ("unpaid", "paid always")]),
    "C7": ("ReaLM-R1, ReaLM-Zero and RFT, with few routes that are right throughout, and with many",
           {**{f"{name}, few": f"{m} {FEW}" for name, m in (("ReaLM-R1", R1), ("GRPO from R1's start", COLD), ("ReaLM-Zero", ZERO), ("RFT", RFT))},
            "ReaLM-R1, many": R1, "ReaLM-Zero, many": ZERO, "RFT, many": RFT},
           [(f"{name} - RFT, few", (f"ReaLM-{name}, few", "alone"), ("RFT, few", "alone")) for name in ("R1", "Zero")] + [
            ("R1 - GRPO from R1's start, few", ("ReaLM-R1, few", "alone"), ("GRPO from R1's start, few", "alone")),
            ("the same, with routes", ("ReaLM-R1, few", "with routes"), ("GRPO from R1's start, few", "with routes")),
            ("R1 - RFT, many", ("ReaLM-R1, many", "alone"), ("RFT, many", "alone"))]),
    "C8": ("the student does not copy the teacher's mistakes", {"ReaLM-Zero": ZERO, "MRPV": MRPV, "GRPO": GRPO, "RFT, few": f"{RFT} {FEW}"},
           [(f"SAME Err, after - before, {arm}", (arm, "SAME Err"), (arm, "SAME Err before")) for arm in ("ReaLM-Zero", "GRPO")]),
    "C9": ("expert rules in the teacher's prompt reach the student", {f"q = {q}": f"{ADS} --inject-rules {q}" for q in (0, 0.5, 1)},
           [("alone, ood: q = 0.5 - q = 0", ("q = 0.5", "alone, ood"), ("q = 0", "alone, ood"))]),
    "C10": ("systematic and random mistakes",
            {f"{kind}, {e:.0%} wrong": f"{ZERO} {MIXED} --error-ratio {e} --systematic {s}"
             for kind, s in (("systematic", 1), ("random", 0)) for e in (0.25, 0.75)}
            | {"systematic": f"{ZERO} --systematic 1", "random": f"{ZERO} --systematic 0"},
            [(f"{kind}: with routes - vote", (kind, "with routes"), (kind, "vote")) for kind in ("systematic", "random")]),
    "rates": ("the learning rate of each method, on validation questions",
              {f"{name}, {lr}": m + (f" --lr {lr}" if lr != "5e-4" else "") for name, m in (("ReaLM-Zero", ZERO), ("GRPO", GRPO), ("MRPV", MRPV))
               for lr in ("2e-4", "5e-4", "1e-3")}, []),  # 5e-4 is the default
    "scores": ("the cold start of C6, on validation questions",
               {"price known 35%": f"{BALANCED} {LEARN}", "price known 50%": HALF, "50%, RL at 2e-4": JUDGE, "50%, RL at 1e-4": f"{HALF} --lr 1e-4"}, []),
    "C11": ("the teacher-student gap", {f"price known {1 - e:.0%}": ZERO + (f" --teacher-error {e}" if e != 0.65 else "") for e in (0.8, 0.65, 0.5, 0.3, 0.1)}, []),
}
FIGURES = {"alone": ("test", "alone", "accuracy"), "alone, ood": ("ood", "alone", "accuracy"), "with routes": ("test", "routes", "accuracy"),
           "with routes, ood": ("ood", "routes", "accuracy"), "vote": ("test", "vote"), "teacher": ("test", "teacher"),
           "AUC": ("test", "routes", "score_auc"), "AUC, ood": ("ood", "routes", "score_auc"), "scores read": ("test", "routes", "scored"),
           "SAME Err before": ("before", "routes", "same_err"), "SAME Err": ("after", "routes", "same_err"),
           "F1 alone": ("test", "alone", "f1"), "F1 alone, ood": ("ood", "alone", "f1")}
ACCURACY, SCORES = list(FIGURES)[:6], ["AUC", "AUC, ood", "scores read"]
COLUMNS = {"C6": ACCURACY + SCORES, "scores": ACCURACY + SCORES, "C8": ["alone", "with routes", "SAME Err before", "SAME Err"],
           "C9": [*ACCURACY, "AUC", "F1 alone", "F1 alone, ood"]}  # what a table shows; the others: ACCURACY
SEEDS = {**dict.fromkeys(("C1", "C2", "C3"), [*range(10)]), "rates": [12], "scores": [*range(12, 17)]}  # of the others: 0 to 4
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # Student's t, by number of seeds


def split_of(name):
    """The questions that a sweep is measured on: to choose by, validation questions (what a run says of test questions is not looked at)."""
    return "validation" if name in ("rates", "scores") else "test"


def commit():
    said = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return said.replace("-dirty", " with changes")


def gpu():
    import torch
    return torch.cuda.get_device_name()


def python(*arguments):
    """Run a command of this project on one core, since many runs go side by side. Ends the program with its last line if it fails."""
    one_core = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=one_core, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")


def measure(arguments, seed, more="", until=None, split="test"):
    """Train one arm on one seed and evaluate it, unless that is done -> its figures, and the commit it was trained at.
    split "validation": the same figures of validation questions."""
    arguments = f"{more} {arguments}".strip()  # what makes the arm comes last, and wins
    folder = ROOT / "runs" / "sweeps" / f"{re.sub(r'[^a-z0-9.]+', '-', arguments.lower()).strip('-')}-seed-{seed}"
    if not (folder / "result.json").exists():
        if until and time.strftime("%H:%M") >= until:
            return None
        shutil.rmtree(folder, ignore_errors=True)
        code = commit()  # that a commit comes in the meantime is common
        python("train.py", *arguments.split(), "--seed", str(seed), "--out", str(folder), "--eval-every", "10000", "--save-every", "1000000")
        (folder / "commit").write_text(code)
    answers = folder / ("eval.json" if split == "test" else "validation.json")
    if not answers.exists():
        python("eval.py", str(folder), "--split", split, "--limit", "300", "--samples", "0", "--json", str(answers))
    found = next(iter(json.loads(answers.read_text())["results"].values()))
    if split == "test":
        found |= json.loads((folder / "result.json").read_text())  # before and after, on the same questions and routes
    found["test"] = found[split]  # where FIGURES look
    figures = {"commit": (folder / "commit").read_text() if (folder / "commit").exists() else None}
    for name, path in FIGURES.items():
        value = found
        for key in path:
            value = value.get(key) if value else None
        figures[name] = value
    print(f"{arguments}, seed {seed}: " + ", ".join(f"{f} {figures[f]:.3f}" for f in [*ACCURACY, "AUC"] if figures[f] is not None), flush=True)
    return figures


def spread(values):
    """'mean ± half of a 95% interval' over seeds (Student's t); one value alone stands without."""
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {T95.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def shown_of(saved):
    """The columns of a table: those it asks for that were measured."""
    return [f for f in saved.get("columns", FIGURES) if any(v is not None for arm in saved["arms"].values() for v in arm.get(f, ()))]


def table(saved):
    """Figures of each arm (behind one that fewer seeds have, their number), and the contrasts, which are paired by seed."""
    shown = shown_of(saved)
    lines = ["| arm | seeds | " + " | ".join(shown) + " |", "|---|---|" + "---|" * len(shown)]
    for arm, figures in saved["arms"].items():
        found = {f: sum(v is not None for v in figures.get(f, ())) for f in shown}
        seeds = max(found.values(), default=0)
        lines.append(f"| {arm} | {seeds} | " + " | ".join(spread(figures.get(f, ())) + f" ({found[f]})" * (0 < found[f] < seeds) for f in shown) + " |")
    lines += [""] * bool(saved["contrasts"])
    for name, (a, f), (b, g) in saved["contrasts"]:
        pairs = [x - y for x, y in zip(saved["arms"][a][f], saved["arms"][b][g]) if x is not None and y is not None]
        lines.append(f"- {name}: **{spread(pairs)}**")
    return "\n".join(lines)


def draw(saved, path):
    """One group of bars per arm, a dot per seed."""
    from matplotlib.figure import Figure
    arms, shown = saved["arms"], shown_of(saved)
    figure = Figure(figsize=(max(7, 2 + 1.5 * len(arms)), 4), layout="constrained")
    ax = figure.subplots()
    for i, f in enumerate(shown):
        for j, arm in enumerate(arms.values()):
            values = [v for v in arm.get(f, ()) if v is not None]
            if values:
                x = j + (i - (len(shown) - 1) / 2) * 0.8 / len(shown)
                ax.bar(x, statistics.mean(values), 0.7 / len(shown), color=f"C{i}", alpha=0.6, label=f if j == 0 else None)
                ax.plot([x] * len(values), values, "k.", markersize=3)
    ax.set(title=saved["claim"], ylim=(0, 1.02), xticks=range(len(arms)))
    ax.set_xticklabels([re.sub(r"[ ,]+", "\n", a, count=1) for a in arms], fontsize=8)
    ax.legend(fontsize=8, ncols=len(shown), loc="upper center", bbox_to_anchor=(0.5, -0.15))
    figure.savefig(path, dpi=110)


def write(name, seeds, results, more, out):
    """Save OUT/NAME.json; results[(arguments, seed, split)] are figures; a run that is not there counts as not measured."""
    claim, arms, contrasts = SWEEPS[name]
    split = split_of(name)
    runs = {(a, s): results[a, s, split] for a in arms.values() for s in seeds if (a, s, split) in results}  # of all that were measured, this sweep's
    saved = {"claim": claim, "commands": {arm: " ".join(f"python train.py {more} {arguments} --seed S".split()) for arm, arguments in arms.items()},
             "evaluation": f"python eval.py RUN --split {split} --limit 300 --samples 0, with the teacher of the run",
             "seeds": seeds, "columns": COLUMNS.get(name, ACCURACY),
             "commit": sorted({r["commit"] for r in runs.values() if r["commit"]}),
             "machine": f"{os.cpu_count()} cores, {platform.machine()}, " + (gpu() if "cuda" in more else "one core a run"),
             "arms": {arm: {f: [runs.get((arguments, s), {}).get(f) for s in seeds] for f in FIGURES} for arm, arguments in arms.items()},
             "contrasts": contrasts}
    (out / f"{name}.json").write_text(json.dumps(saved, indent=1) + "\n")


def fill(page, name, text):
    """Put a text between the marks of this name on a page, if there is one."""
    if page.exists():
        filled = f"<!-- {name} -->\n{text}\n<!-- end -->"
        page.write_text(re.sub(f"<!-- {name} -->.*?<!-- end -->", lambda _: filled, page.read_text(), flags=re.DOTALL))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SWEEPS, "all", []])
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2 3 4; C1, C2, C3, rates and scores have their own")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--more", default="", help="further train.py arguments for every arm")
    parser.add_argument("--until", help="begin no run after this time of day (HH:MM); what is missing then is told as missing")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the JSON files and figures")
    parser.add_argument("--redraw", action="store_true", help="train nothing; print tables and draw figures from the JSON files")
    args = parser.parse_args()
    names = list(SWEEPS) if "all" in args.names else args.names
    if args.more and args.out == ROOT / "results":
        parser.error("--more makes other runs than those on the page: give them an --out of their own")
    if "--model" in args.more and "C9" in names:
        names.remove("C9")
    args.out.mkdir(parents=True, exist_ok=True)
    if not names:
        return print("\n".join(f"{name}: {claim} ({', '.join(arms)})" for name, (claim, arms, _) in SWEEPS.items()))
    seeds = {name: args.seeds or SEEDS.get(name, [0, 1, 2, 3, 4]) for name in names}
    if not args.redraw:
        jobs = list(dict.fromkeys((arguments, seed, split_of(name)) for name in names for seed in seeds[name] for arguments in SWEEPS[name][1].values()))
        with ThreadPoolExecutor(args.jobs) as pool:
            results = dict(zip(jobs, pool.map(lambda job: measure(*job[:2], args.more, args.until, job[2]), jobs)))
        results = {job: figures for job, figures in results.items() if figures}
        for name in names:
            write(name, seeds[name], results, args.more, args.out)
    page = args.out / "README.md"
    for name in names:
        saved = json.loads((args.out / f"{name}.json").read_text())
        draw(saved, args.out / f"{name}.png")
        print(f"\n{name}: {saved['claim']}\n{table(saved)}")
        fill(page, name, f"{table(saved)}\n\nSeeds {saved['seeds']}, commit {', '.join(saved['commit'])}.\n\n![{saved['claim']}]({name}.png)")


if __name__ == "__main__":
    main()
