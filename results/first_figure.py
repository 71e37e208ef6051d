"""The README's first figure: accuracy without routes while three methods train.

    python -m results.first_figure --runs runs/figure       train what is missing, then draw
    python -m results.first_figure --draw                   draw docs/first_figure.json again

Each run is `python train.py --model tiny --method METHOD --seed SEED --eval-every 10`. The figure
shows the mean over the seeds as a line, and their range as a band. The grey area is p(t) of
ReaLM-Zero.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAVED = ROOT / "docs" / "first_figure.json"
METHODS = {"realm-zero": "ReaLM-Zero: routes fade", "mrpv": "routes always shown",
           "grpo": "GRPO: no routes"}


def train_missing(folder, seeds):
    """Train every run that has no result.json yet. One that was cut is resumed."""
    for seed in seeds:
        for method in METHODS:
            run = folder / f"{method}-{seed}"
            if (run / "result.json").is_file():
                continue
            command = ["--model", "tiny", "--method", method, "--seed", str(seed),
                       "--eval-every", "10", "--processes", "1", "--out", str(run)]
            if (run / "config.json").is_file():
                command = ["--resume", str(run)]
            subprocess.run([sys.executable, "train.py", *command], cwd=ROOT, check=True)


def collect(folder, seeds):
    """What the figure shows -> dict: steps, p(t), and for each method and seed its accuracies."""
    found = {"seeds": list(seeds), "accuracy without routes, 64 validation questions": {}}
    curves = found["accuracy without routes, 64 validation questions"]
    for method in METHODS:
        curves[method] = []
        for seed in seeds:
            lines = (folder / f"{method}-{seed}" / "metrics.jsonl").read_text().splitlines()
            entries = [json.loads(line) for line in lines]
            measured = [m for m in entries if m.get("eval_alone") is not None]
            curves[method].append([m["eval_alone"] for m in measured])
            found["steps"] = [m["step"] for m in measured]
            if method == "realm-zero":
                found["p"] = [m["p"] for m in measured]
    return found


def draw(found, path):
    """Draw the figure into a file."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    ax = figure.subplots()
    ax.fill_between(found["steps"], found["p"], color="0.9", linewidth=0,
                    label="p(t): prompts with routes")
    curves = found["accuracy without routes, 64 validation questions"]
    for i, (method, label) in enumerate(METHODS.items()):
        by_step = list(zip(*curves[method]))
        mean = [sum(values) / len(values) for values in by_step]
        ax.fill_between(found["steps"], [min(v) for v in by_step], [max(v) for v in by_step],
                        color=f"C{i}", alpha=0.2, linewidth=0)
        ax.plot(found["steps"], mean, color=f"C{i}", label=label)
    ax.set(xlabel="RL step", ylabel="accuracy without routes", ylim=(0, 1.02),
           xlim=(0, max(found["steps"])))
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    ax.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="runs/figure", help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--draw", action="store_true", help="only draw")
    given = parser.parse_args()
    if not given.draw:
        train_missing(Path(given.runs).resolve(), given.seeds)
        found = collect(Path(given.runs).resolve(), given.seeds)
        SAVED.write_text(json.dumps(found) + "\n")
    draw(json.loads(SAVED.read_text()), SAVED.with_suffix(".png"))


if __name__ == "__main__":
    main()
