"""Regenerate a table of results/: python -m results.sweep NAME [--seeds 0 1 2] [--jobs 2]     (no NAME: list them)

A sweep is a list of train.py arguments, one a line of SWEEPS. Each arm is trained on each seed and measured by eval.py on test
questions that no run has seen; NAME.json records the figures, the commands, the seeds, the commit and the kind of machine, and
the table is printed from it. Runs that are already there are not run again: a sweep that was cut goes on.
"""
import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADS = "--task ads --method realm-r1 --teacher-error 0.8 --systematic 0.9 --sft-steps 100 --steps 100 --eval-every 0"
SWEEPS = {  # name -> {arm: train.py arguments}
    "default": {m: f"--method {m} --eval-every 0" for m in ("realm-zero", "grpo")},
    "rules": {f"q={q}": f"{ADS} --inject-rules {q}" for q in (0, 0.5, 1)},
}
FIGURES = {"alone": ("alone", "accuracy"), "alone, ood": ("ood", "alone", "accuracy"), "with routes": ("routes", "accuracy"),
           "vote": ("vote",), "teacher": ("teacher",), "AUC": ("routes", "score_auc"), "SAME Err": ("routes", "same_err"),
           "F1 alone": ("alone", "f1"), "F1 alone, ood": ("ood", "alone", "f1")}
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # Student's t, by number of seeds


def measure(name, arm, arguments, seed):
    """Train one arm on one seed, evaluate it -> eval.py's results of that run."""
    folder = ROOT / "runs" / "sweeps" / name / f"{arm}-{seed}"
    result, one_core = folder / "eval.json", {**os.environ, "OMP_NUM_THREADS": "1"}  # many runs side by side: a core each
    if not result.exists():
        if not (folder / "result.json").exists():
            go_on = ["--resume", str(folder)] if (folder / "checkpoint").exists() else [
                *arguments.split(), "--seed", str(seed), "--out", str(folder), "--save-every", "1000000"]
            if not (folder / "checkpoint").exists() and folder.exists():
                subprocess.run(["rm", "-r", str(folder)], check=True)
            subprocess.run([sys.executable, "train.py", *go_on], cwd=ROOT, check=True, env=one_core, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        error = [x for flag in ("--teacher-error", "--systematic") if flag in arguments.split()
                 for x in (flag, arguments.split()[arguments.split().index(flag) + 1])]
        subprocess.run([sys.executable, "eval.py", str(folder), "--limit", "400", "--samples", "0", "--json", str(result), *error],
                       cwd=ROOT, check=True, env=one_core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"{arm}, seed {seed}: done", flush=True)
    return next(iter(json.loads(result.read_text())["results"].values()))


def look_up(result, path):
    """One figure of eval.py's results; of the split test unless the path names another."""
    value = result["ood" if path[0] == "ood" else "test"]
    for key in path[path[0] == "ood":]:
        value = value.get(key) if value else None
    return value


def table(saved):
    """Mean over seeds, with a 95% interval (Student's t)."""
    lines = ["| arm | " + " | ".join(saved["figures"]) + " |", "|---|" + "---|" * len(saved["figures"])]
    for arm, figures in saved["arms"].items():
        cells = []
        for values in figures.values():
            values = [v for v in values if v is not None]
            half = T95.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0
            cells.append(f"{statistics.mean(values):.3f} ± {half:.3f}" if values else "-")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=SWEEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if not args.name:
        return print("\n".join(f"{name}: {', '.join(arms)}" for name, arms in SWEEPS.items()))
    jobs = [(arm, arguments, seed) for seed in args.seeds for arm, arguments in SWEEPS[args.name].items()]
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda job: measure(args.name, *job), jobs))
    arms = {arm: {figure: [look_up(r, path) for job, r in zip(jobs, results) if job[0] == arm] for figure, path in FIGURES.items()}
            for arm in SWEEPS[args.name]}
    used = [f for f in FIGURES if any(v is not None for a in arms.values() for v in a[f])]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    saved = {"commands": {arm: f"python train.py {arguments} --seed S" for arm, arguments in SWEEPS[args.name].items()},
             "evaluation": "python eval.py RUN --limit 400 --samples 0", "seeds": args.seeds, "commit": commit,
             "machine": f"{os.cpu_count()} cores, {platform.machine()}, one core a run", "figures": used,
             "arms": {arm: {f: a[f] for f in used} for arm, a in arms.items()}}
    (ROOT / "results" / f"{args.name}.json").write_text(json.dumps(saved, indent=1) + "\n")
    print(table(saved))


if __name__ == "__main__":
    main()
