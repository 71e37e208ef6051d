"""Draw the figures of docs/symptoms.md: a sick run beside a healthy one.

    python -m docs.symptoms    draws docs/symptoms/*.png from the runs in docs/labs/sick

The runs are real ones (docs/labs/make_sick_runs.py makes them).
"""
import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from engine.report import series

RUNS = Path(__file__).resolve().parent / "labs" / "sick"
FIGURES = Path(__file__).resolve().parent / "symptoms"


@dataclass(frozen=True)
class Symptom:
    """One figure: some fields of metrics.jsonl in two runs, in the same range."""
    name: str             # of the figure
    fields: tuple
    sick: str             # the name of a run
    healthy: str = "healthy"
    log: bool = False     # a logarithmic axis
    smooth: bool = False  # a mean over five steps


SYMPTOMS = [
    Symptom("flat-reward", ("reward", "live"), "no-routes", "default"),
    Symptom("rate-too-high", ("answer", "truncated"), "C"),
    Symptom("entropy", ("entropy",), "C"),
    Symptom("grad-norm", ("grad_norm",), "C"),
    Symptom("spikes", ("grad_norm", "answer"), "unsteady"),
    Symptom("entropy-falls", ("entropy", "live"), "cold"),
    Symptom("cut-off", ("truncated", "format"), "B"),
    Symptom("stale", ("drift",), "A", log=True),
    Symptom("wrong-mask", ("drift",), "E", log=True),
    Symptom("hacked", ("reward", "eval_alone"), "D", "default"),
    Symptom("too-far", ("approx_kl", "clip_fraction"), "epochs", "epochs-healthy"),
    Symptom("kl", ("kl",), "kl", "kl-healthy", log=True),
    Symptom("only-with-routes", ("eval_routes", "eval_alone"), "never-fade", "default"),
    Symptom("scores", ("utility", "format"), "unpaid", smooth=True),
    Symptom("constant", ("utility", "eval_auc"), "constant", "judged", smooth=True),
    Symptom("loss", ("loss",), "E"),
]


def read(name):
    """The entries of a run."""
    return [json.loads(line) for line in (RUNS / f"{name}.jsonl").read_text().splitlines()]


def means_of_five(values):
    """Each value replaced by the mean of the last five."""
    return [sum(values[max(0, i - 4):i + 1]) / min(5, i + 1) for i in range(len(values))]


def draw(symptom):
    """Draw one figure into docs/symptoms."""
    from matplotlib.figure import Figure  # without pyplot: no display is needed

    figure = Figure(figsize=(7, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, name, title in ((left, symptom.sick, "sick"), (right, symptom.healthy, "healthy")):
        for i, field in enumerate(symptom.fields):
            steps, values = series(read(name), field)
            if symptom.log:
                values = [max(value, 1e-7) for value in values]
            if symptom.smooth and not field.startswith("eval"):
                values = means_of_five(values)
            marker = "o" if field.startswith("eval") else None
            ax.plot(steps, values, color=f"C{i}", marker=marker, markersize=4, label=field)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("step", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.grid(alpha=0.3)
        if symptom.log:
            ax.set_yscale("log")
    left.legend(fontsize=8)
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / f"{symptom.name}.png", dpi=90)


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    for symptom in SYMPTOMS:
        if (RUNS / f"{symptom.sick}.jsonl").exists():
            draw(symptom)
            print(f"docs/symptoms/{symptom.name}.png")


if __name__ == "__main__":
    main()
