"""The figures of the open questions, drawn from results/open_questions/NAME.json alone.

Promise: a run that is missing is not drawn, and each dot is one run.
To read: draw. results/questions.py calls it.
tests/test_variants.py holds this file to that.
"""
import statistics

from results.sweep import present

# A dot plot: which label makes the rows, which labels the panels, and which figures the dots if
# not the usual two.
ROWS = {"O1": ("selection", ("price known", "routes in bank")),
        "O2-test": (None, ("first rule",)),
        "O2-votes": (None, ("second rule",)),
        "O3": ("curriculum", ("price known",)),
        "O3-test": (None, ("items", "facts")),
        "lesson": ("method", ("routes",)),
        "scores": ("flags", (), ("with routes", "alone", "AUC")),
        "recall": ("flags", (), ("with routes", "alone", "AUC")),
        "totals": ("flags", (), ("with routes", "alone", "AUC"))}
DOTS = {"with routes": ("x", "0.5"), "alone": ("o", "C0"), "AUC": ("^", "C1")}


def draw(saved, path):
    """Draw the figure of a question into a file."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 6), layout="constrained")
    if saved["question"] == "O2":
        draw_map(figure, saved["arms"])
    else:
        draw_dots(figure, saved["arms"], *ROWS[saved["question"]])
    figure.savefig(path, dpi=110)


# ---- dots: one line an arm -----------------------------------------------------------------------
def panels_of(arms, names):
    """{title: arms}, in the order of the arms."""
    found = {}
    for arm in arms:
        title = ", ".join(f"{name} {arm['labels'][name]}" for name in names)
        found.setdefault(title, []).append(arm)
    return found


def row_name(arm, row, names):
    """What a row is called: one label, or all that do not name the panel."""
    if row is not None:
        return arm["labels"][row]
    return ", ".join(f"{k} {v}" for k, v in arm["labels"].items() if k not in names)


def draw_dots(figure, arms, row, names, figures=("with routes", "alone")):
    """A panel for each value of `names`, and in it a line for each arm and a dot for each run and
    each of the figures."""
    panels = panels_of(arms, names)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for ax, (title, shown) in zip(axes.flat, panels.items()):
        for y, arm in enumerate(shown):
            for figure_name in figures:
                marker, color = DOTS[figure_name]
                values = present(arm["figures"][figure_name])
                ax.plot(values, [y] * len(values), marker, color=color, alpha=0.8,
                        label=figure_name if y == 0 else None)
        ax.set_yticks(range(len(shown)), [row_name(arm, row, names) for arm in shown], fontsize=7)
        ax.set_title(title, fontsize=9)
        ax.set(xlim=(-0.03, 1.03), ylim=(len(shown) - 0.5, -0.5))
        ax.grid(alpha=0.3)
    for ax in list(axes.flat)[len(panels):]:
        ax.set_visible(False)
    axes[-1, 0].set_xlabel("accuracy, AUC" if "AUC" in figures else "accuracy")
    axes[0, 0].legend(fontsize=7, loc="best")


# ---- the map: q and k ----------------------------------------------------------------------------
def mean_of(arm, name):
    """The mean of a figure over the seeds, or None if no run has it."""
    values = present(arm["figures"][name])
    return statistics.mean(values) if values else None


def draw_map(figure, arms):
    """Above: the map of accuracy. Below: does it follow coverage, the share of live groups, or what
    a student earns that only votes?"""
    above, below = figure.subplots(2, 3)
    for ax, name in zip(above, ("alone", "with routes", "seconds a step")):
        draw_cells(ax, arms, name)
    for ax, name in zip(below, ("coverage", "live", "voting")):
        for arm in arms:
            alone = present(arm["figures"]["alone"])
            ax.plot([mean_of(arm, name)] * len(alone), alone, "o", alpha=0.8,
                    color=f"C{arm['labels']['k'] - 1}")
        ax.set(xlabel=name, ylabel="alone", ylim=(-0.03, 1.03))
        ax.grid(alpha=0.3)
    below[0].set_title("colour: k, as below", fontsize=8)
    for k in sorted({arm["labels"]["k"] for arm in arms}):
        below[2].plot([], [], "o", color=f"C{k - 1}", label=f"k = {k}")
    below[2].legend(fontsize=7)


def draw_cells(ax, arms, name):
    """One figure over q (across) and k (upwards). A cell that is not measured stays white."""
    known = sorted({arm["labels"]["price known"] for arm in arms})
    ks = sorted({arm["labels"]["k"] for arm in arms})
    cells = [[float("nan")] * len(known) for _ in ks]
    for arm in arms:
        x, y = known.index(arm["labels"]["price known"]), ks.index(arm["labels"]["k"])
        cells[y][x] = mean_of(arm, name)
        ax.text(x, y, f"{cells[y][x]:.2f}", ha="center", va="center", fontsize=8)
    limits = {} if name.endswith("step") else {"vmin": 0, "vmax": 1}
    ax.imshow(cells, origin="lower", aspect="auto", cmap="Blues", alpha=0.6, **limits)
    ax.set_xticks(range(len(known)), known)
    ax.set_yticks(range(len(ks)), ks)
    ax.set(xlabel="price known, q", ylabel="routes shown, k")
    ax.set_title(name, fontsize=9)
