"""The paper's open questions, measured: `python -m results.questions QUESTION`.

O1: selections of routes. O2: their number. O2-test and O2-votes: what two rules predicted. O3:
curricula. O3-test: what was predicted of one of them. lesson: --remember where right routes are
rare. scores: runs that learn the utility scores. recall: a student that knows some things by heart.

    python -m results.questions O2 --jobs 2               train what is missing, then save
    python -m results.questions O2 --have                 save the runs that are done so far
    python -m results.questions O2 --draw                 table and picture again

A question is a list of arms, and an arm is a command of train.py (or of results.variants). Each is
trained on each seed, one core a run, and tested by eval.py on 300 test questions that no run has
seen. A run that is there already is not run again, so that a sweep that was cut goes on.
results/open_questions/NAME.json holds the figures, and they are kept: a sweep that began on one
machine goes on on another. To measure a question anew, delete its file. The table and a picture go
into the question's page beside that file. results/open_questions.md leads to these pages.

Promise: a figure that is not measured is missing, and never filled in.
To read: QUESTIONS, then measure. results/sweep.py does the same for the paper's claims.
tests/test_variants.py holds this file to that.
"""
import argparse
import json
import re
import statistics
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data import load_problems, make_routes
from engine.policy import encode_prompts
from grpo import load_policy
from realm import mrpv_prompt
from results.conditions import conditions_of, second_verdict, shown_prompts, verdict
from results.knows import measure as measure_parts
from results.question_figures import draw
from results.sweep import (FEW, STUDENT, commit_file, fill, present, python, run_name, spread,
                           train_arm)
from tasks.shop import teacher

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "questions"
SAVED = ROOT / "results" / "open_questions"
LOADING = threading.Lock()  # transformers cannot load two models at a time
CONDITIONS = ("possible", "copying", "voting")
FIGURES = ("alone", "with routes", "unseen", "AUC", "vote", "teacher", "live", "seconds a step",
           "1000 tokens a step")
# Questions that stand on another question's page.
PAGES = {"O2-test": "O2", "O2-votes": "O2", "O3-test": "O3", "lesson": "O3", "recall": "scores",
         "totals": "scores"}


@dataclass
class Arm:
    """One choice of flags. labels: what a table and a figure call it (name -> value)."""
    labels: dict
    flags: str
    variant: str = ""  # of results.variants; "" is train.py itself
    shop: str = ""     # flags of results.other_shop; "" is the built-in shop

    def command(self):
        """The arguments of python, without the seed."""
        program = ["-m", "results.variants", self.variant] if self.variant else ["train.py"]
        student = [] if "--model" in self.flags else STUDENT.split()
        return [*program, *student, *self.all_flags().split()]

    def all_flags(self):
        """The flags, with those that name the bank of another shop."""
        return f"--bank {self.bank()} {self.flags}".strip() if self.shop else self.flags

    def bank(self):
        """Where the bank of another shop is, as seen from the project's folder."""
        return "runs/shops/" + re.sub("[^a-z0-9.]+", "-", self.shop).strip("-")

    def folder(self, seed):
        """Where the run of this seed is."""
        return RUNS / run_name(f"{self.variant} {self.all_flags()}", seed)


def selection_arms():
    """O1: which routes to show, of three teachers and from a bank of few or many routes."""
    arms = []
    for known in (0.2, 0.35, 0.7):
        for n in (4, 16):
            bank = f"--teacher-error {round(1 - known, 2)} --n {n}"
            for name, more, variant in (
                    ("random", "--selection random", ""),
                    ("diverse", "--selection diverse", ""),
                    ("balanced", "--selection balanced", ""),
                    ("never-agree", "", "never-agree"),
                    # Right routes only where too few are wrong.
                    ("wrong-first", "--error-ratio 1", "")):
                labels = {"price known": known, "routes in bank": n, "selection": name}
                arms.append(Arm(labels, f"{bank} {more}".strip(), variant))
    return arms


def map_arms():
    """O2: what the teacher knows, and how many of its routes are shown."""
    arms = []
    for known in (0.2, 0.35, 0.5, 0.65, 0.8, 0.9):
        for k in (1, 2, 3, 4, 6):
            flags = f"--teacher-error {round(1 - known, 2)} --routes {k}"
            arms.append(Arm({"price known": known, "k": k}, flags))
    return arms


def prediction_arms():
    """O2: cells that the map does not hold, to test what it says. Other shops, and other shares of
    wrong routes."""
    arms = []
    for items, fewest, facts, known, k in (
            (4, 1, 2, 0.35, 3), (4, 1, 2, 0.7, 3), (9, 1, 3, 0.35, 4), (9, 1, 3, 0.65, 3),
            (6, 1, 4, 0.35, 4), (6, 1, 4, 0.8, 3), (4, 2, 2, 0.35, 4), (4, 2, 2, 0.8, 3),
            (9, 2, 3, 0.35, 4), (9, 2, 3, 0.8, 3), (6, 3, 4, 0.5, 3), (6, 3, 4, 0.8, 3)):
        labels = {"items": items, "facts": f"{fewest} to {facts}", "price known": known, "k": k,
                  "error ratio": "-"}
        flags = f"--routes {k}" if facts < 4 else f"--routes {k} --max-new-tokens 128"
        shop = f"--items {items} --fewest {fewest} --facts {facts} --known {known}"
        arms.append(Arm(labels, flags, shop=shop))
    for known, ratio in ((0.35, 0.25), (0.5, 0.5), (0.5, 0.75), (0.8, 1)):
        labels = {"items": 6, "facts": "2 to 3", "price known": known, "k": 3,
                  "error ratio": ratio}
        flags = f"--teacher-error {round(1 - known, 2)} --n 16 --error-ratio {ratio}"
        arms.append(Arm(labels, flags))
    return arms


def vote_arms():
    """O2: cells that neither the map nor its test holds, to test the second rule. Systematic is
    what share of a teacher's errors is its misconception; without any, a vote is easy."""
    arms = []
    for known, k, systematic in ((0.5, 6, 0), (0.55, 6, 0.5), (0.6, 2, 0.5), (0.6, 6, 0.5),
                                 (0.65, 3, 1), (0.65, 4, 1), (0.7, 2, 0.5)):
        flags = f"--teacher-error {round(1 - known, 2)} --routes {k} --systematic {systematic}"
        arms.append(Arm({"price known": known, "k": k, "systematic": systematic}, flags))
    return arms


def curriculum_arms():
    """O3: how the routes are taken away, of three teachers."""
    arms = []
    for known in (0.9, 0.7, 0.35):
        flags = f"--teacher-error {round(1 - known, 2)} --n 16"
        for name in ("cosine", "tail", "error", "error-on", "thinned", "paced", "shorter"):
            labels = {"price known": known, "curriculum": name}
            arms.append(Arm(labels, flags, "" if name == "cosine" else name))
        for name, more in (
                # "All wrong": every route shown is wrong somewhere (what C4 found to last).
                ("cosine, all wrong", "--error-ratio 1"),
                # Ours: the routes are taken away one by one.
                ("one by one", "--one-by-one"),
                ("one by one, all wrong", "--one-by-one --error-ratio 1"),
                # More steps: the same fade and then 165 steps without routes, or a slower fade.
                ("cosine, then alone, 450 steps", "--steps 450 --fade 0.633"),
                ("cosine, 450 steps", "--steps 450"),
                # Ours: beside the cosine, right answers are imitated without the routes.
                ("remember", "--remember"),
                ("remember, 150 steps", "--remember --steps 150"),
                # Ours: groups without routes whose answers are all wrong are pushed down.
                ("push down", "--push-down"),
                ("push down, 450 steps", "--push-down --steps 450")):
            arms.append(Arm({"price known": known, "curriculum": name}, f"{flags} {more}"))
    return arms


def untied_arms():
    """O3: cells in which nothing stays with the cosine, to test what was said of --one-by-one with
    routes that are all wrong."""
    arms = []
    for known, k in ((0.65, 4), (0.65, 6), (0.8, 3), (0.8, 4), (0.9, 2), (0.9, 4)):
        flags = f"--teacher-error {round(1 - known, 2)} --n 16 --routes {k}"
        arms.append(Arm({"items": 6, "facts": "2 to 3", "price known": known, "k": k}, flags))
    for items, fewest, facts in ((9, 2, 3), (6, 3, 4), (6, 1, 4)):
        labels = {"items": items, "facts": f"{fewest} to {facts}", "price known": 0.8, "k": 3}
        flags = "--routes 3" if facts < 4 else "--routes 3 --max-new-tokens 128"
        shop = f"--items {items} --fewest {fewest} --facts {facts} --known 0.8"
        arms.append(Arm(labels, flags, shop=shop))
    for arm in arms:
        arm.flags += " --one-by-one --error-ratio 1"
    return arms


def lesson_arms():
    """O3: where hardly a route is right throughout, is the lesson without routes worth more than
    plain SFT on the right ones? C7 has the other methods with few routes, C11 with price known 0.2.
    """
    arms = []
    for bank, flags in (("few (C7)", FEW), ("price known 0.2", "--teacher-error 0.8")):
        for method in ("--remember", "--method rft"):
            arms.append(Arm({"routes": bank, "method": method}, f"{flags} {method}"))
    return arms


def score_arms():
    """Scores that ReaLM-Zero learns: a student that checks each route in writing. It is shown the
    teacher's routes at random, or a fixed share of wrong ones."""
    common = "--model tiny-checks --remember --max-new-tokens 128"
    arms = []
    for flags in ("", "--n 16 --selection balanced",
                  "--n 16 --selection balanced --utility-weight 1",
                  "--n 16 --utility-weight 1 --selection balanced --steps 120",
                  "--n 16 --utility-weight 1 --error-ratio 0.75",
                  "--n 16 --utility-weight 1 --error-ratio 0.75 --p-end 0.5",
                  "--n 16 --utility-weight 1 --error-ratio 0.75 --method mrpv --steps 200",
                  "--n 16 --utility-weight 1 --error-ratio 0.75 --p-end 0.3 --steps 200",
                  "--n 16 --utility-weight 1 --error-ratio 0.85 --steps 150"):
        labels = {"flags": f"--remember {flags}".strip()}
        arms.append(Arm(labels, f"{common} {flags}".strip()))
    for flags, variant in (  # without our lesson
            ("--n 16 --selection balanced", ""),
            ("--n 16 --selection balanced --steps 450", ""),
            ("--steps 450", ""),
            ("--steps 600", ""),
            ("--steps 300 --epochs 2", ""),
            ("--steps 450 --fade 0.6 --p-end 0.1", ""),
            ("--steps 600 --fade 0.6 --p-end 0.1", ""),
            ("--steps 450 --routes 2", ""),
            ("--steps 600 --prompts-per-step 16", ""),
            ("", "thinned")):
        labels = {"flags": f"{variant} {flags}".strip()}
        flags = f"--model tiny-checks --max-new-tokens 128 {flags}".strip()
        arms.append(Arm(labels, flags, variant))
    return arms


def recall_arms():
    """Scores, and knowledge without routes, of a student that is used to recall."""
    common = "--model tiny-recall --max-new-tokens 128"
    arms = []
    for flags in ("--steps 450", "--steps 450 --method grpo --routes 3",
                  "--steps 450 --method mrpv", "--steps 450 --p-end 0.1",
                  "--steps 450 --p-end 0.1 --beta 0.02",
                  "--steps 300 --lr 8e-4 --p-end 0.1 --beta 0.01", "--steps 300",
                  # Ours: what stands behind the answer is credited with the scores alone.
                  "--steps 450 --p-end 0.1 --reward-to-go",
                  # Two passes over the same rollouts, in fewer steps.
                  "--steps 300 --epochs 2 --p-end 0.1 --reward-to-go",
                  "--steps 300 --epochs 2 --p-end 0.1",
                  # Ours: groups without routes whose answers are all wrong are pushed down.
                  "--steps 300 --epochs 2 --p-end 0.1 --reward-to-go --push-down",
                  "--steps 240 --epochs 2 --p-end 0.3 --reward-to-go --push-down"):
        arms.append(Arm({"flags": flags}, f"{common} {flags}"))
    return arms


def totals_arms():
    """Scores, and knowledge without routes, of a student that checks totals."""
    twice = "--p-end 0.1 --push-down --lr 5e-4 --epochs 2 --reward-to-go"
    arms = []
    for flags in ("", "--method grpo --routes 3", "--method mrpv", "--steps 240",
                  "--p-end 0.1 --push-down", twice, f"{twice} --steps 240 --one-by-one",
                  f"{twice} --steps 200 --one-by-one"):
        arms.append(Arm({"flags": flags or "-"}, f"--model tiny-totals {flags}".strip()))
    return arms


# name -> (its arms, how many seeds, the figures that its table shows). The JSON file has them all.
MAP = ("coverage", *CONDITIONS, "alone", "with routes", "unseen", "live", "prompt tokens",
       "seconds a step")
QUESTIONS = {
    "O1": (selection_arms, 5, ("redundancy", "right", "alone", "with routes", "unseen", "AUC",
                               "live")),
    "O2": (map_arms, 2, MAP),
    "O2-test": (prediction_arms, 2, (*CONDITIONS, "alone", "with routes", "unseen", "live")),
    "O2-votes": (vote_arms, 2, (*CONDITIONS, "alone", "with routes", "unseen", "live")),
    "O3": (curriculum_arms, 5, ("alone", "with routes", "unseen", "vote", "live")),
    "O3-test": (untied_arms, 2, ("alone", "with routes", "unseen", "vote", "live")),
    "lesson": (lesson_arms, 5, ("alone", "with routes", "unseen", "teacher", "live")),
    "scores": (score_arms, 5, ("alone", "with routes", "unseen", "AUC", "live",
                               "seconds a step")),
    "recall": (recall_arms, 5, ("alone", "with routes", "unseen", "AUC", "live",
                                "seconds a step")),
    "totals": (totals_arms, 5, ("alone", "with routes", "unseen", "AUC", "live",
                                "seconds a step")),
}


# ---- one run -------------------------------------------------------------------------------------
def measure(arm, seed, may_train=True):
    """Train an arm on a seed and test it, unless that is done -> its figures (dict), or None if it
    is not done and must not be."""
    folder = arm.folder(seed)
    answers = folder / "eval.json"
    if not (answers.exists() or may_train):
        return None
    if not (folder / "result.json").exists():
        make_shop(arm)
        train_or_resume(arm, seed, folder)
    if not answers.exists():
        python("eval.py", str(folder), "--split", "test", "--limit", "300", "--samples", "0",
               "--json", str(answers))
    figures = figures_of(folder)
    print(f"{arm.labels} seed {seed}: {figures}", flush=True)
    return figures


def make_shop(arm):
    """Write the bank of another shop, unless it is there."""
    if arm.shop and not (ROOT / arm.bank()).exists():
        python("-m", "results.other_shop", *arm.shop.split(), "--out", arm.bank())


def train_or_resume(arm, seed, folder):
    """Train an arm. A run of train.py that was cut goes on; one of a variant begins again, because
    a variant may remember what it saw."""
    if (folder / "config.json").exists() and not arm.variant:
        python("train.py", "--resume", str(folder))
    else:
        train_arm([*arm.command(), "--eval-every", "0"], seed, folder)


def figures_of(folder):
    """What a table shows of a run that is trained and tested."""
    found = next(iter(json.loads((folder / "eval.json").read_text())["results"].values()))["test"]
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]
    # RFT samples nothing: it has no groups and no tokens.
    live = [step["live"] for step in steps if "live" in step]
    tokens = [time["tokens"] / 1000 for time in times if "tokens" in time]
    seconds = statistics.median(time["step_s"] for time in times)  # a run may have been paused
    return {
        "commit": commit_file(folder).read_text(),
        "alone": found["alone"]["accuracy"],
        "with routes": found["routes"]["accuracy"],
        "unseen": unseen_prices(folder),
        "AUC": found["routes"]["score_auc"],
        "vote": found["vote"],
        "teacher": found["teacher"],
        "live": round(statistics.mean(live), 4) if live else None,
        "seconds a step": round(seconds, 3),
        "1000 tokens a step": round(statistics.mean(tokens), 3) if tokens else None,
    }


def unseen_prices(folder):
    """The share of right prices of a run's student, in prompts with as many routes as in its
    training, of the items whose price no shown route has right. The routes are those of a weak
    teacher, so that there are many such items."""
    config = json.loads((folder / "config.json").read_text())
    asked = load_problems(config["bank"] or "shop", "validation", 100)
    asked = make_routes(asked, teacher(0.8), n=8)  # in place of a bank's own routes
    with LOADING:
        model, tokenizer = load_policy(str(folder), "cpu")
    return round(measure_parts(model, tokenizer, asked, config["routes"])["unseen"], 4)


# ---- what is shown -------------------------------------------------------------------------------
def redundancy(prompts):
    """The share of shown routes whose final answer another route of the same prompt has. prompts:
    pairs (problem, routes)."""
    repeated = []
    for _, routes in prompts:
        answers = [route.answer for route in routes]
        repeated += [answers.count(answer) > 1 for answer in answers]
    return round(statistics.mean(repeated), 4)


def right_share(prompts):
    """The share of shown routes that are right. A selection may show more or fewer of them than
    the teacher writes."""
    labels = [route.correct for _, routes in prompts for route in routes]
    return round(statistics.mean(labels), 4)


def known_before(name, arm):
    """What can be said of an arm without training it -> (labels, figures)."""
    if name in ("O3", "O3-test", "lesson", "scores", "recall", "totals"):
        return {}, {}
    make_shop(arm)
    prompts = shown_prompts(arm.all_flags(), arm.variant)
    figures = conditions_of(prompts)
    labels = {"first rule": verdict(figures), "second rule": second_verdict(figures)}
    if name == "O1":
        return labels, {"redundancy": [redundancy(prompts)], "right": [right_share(prompts)]}
    figures["prompt tokens"] = prompt_tokens(prompts)
    return labels, {key: [value] for key, value in figures.items()}


def prompt_tokens(prompts):
    """The mean number of the tiny student's tokens in these prompts: what more routes cost."""
    _, tokenizer = load_policy("tiny")
    texts = [mrpv_prompt(problem.question, routes) for problem, routes in prompts]
    return round(statistics.mean(map(len, encode_prompts(tokenizer, texts))), 1)


# ---- a question ----------------------------------------------------------------------------------
def figures_kept(before, arm, seed):
    """The figures that an earlier file has of a run, or None."""
    for other in before["arms"]:
        if other["command"] == " ".join(arm.command()) and seed in before["seeds"]:
            at = before["seeds"].index(seed)
            found = {}
            for name in FIGURES:
                values = other["figures"].get(name)  # None: no such figure when it was written
                found[name] = values and values[at]
            return None if found["alone"] is None else found
    return None


def collect(name, seeds, jobs, may_train=True, before=None):
    """Train and test every arm on every seed -> what open_questions/NAME.json holds. An arm of
    which no run is done is left out; a run that is missing has the figure None. before is what the
    file holds so far: its figures are kept, also those of other seeds."""
    before = before or {"seeds": [], "commit": [], "arms": []}

    def figures_of_run(arm, seed):
        old = figures_kept(before, arm, seed)
        if old and old["unseen"] is not None:
            return old
        new = measure(arm, seed, may_train and not old) if old or seed in seeds else None
        return new or old

    arms = QUESTIONS[name][0]()
    by_seed = {}
    with ThreadPoolExecutor(jobs) as pool:
        for seed in sorted({*seeds, *before["seeds"]}):  # a whole seed before the next
            by_seed[seed] = pool.map(figures_of_run, arms, [seed] * len(arms))
    by_seed = {seed: list(found) for seed, found in by_seed.items()}
    by_seed = {seed: found for seed, found in by_seed.items() if any(found)}
    saved = {"question": name, "seeds": list(by_seed), "commit": set(before["commit"]), "arms": []}
    for i, arm in enumerate(arms):
        found = [figures[i] for figures in by_seed.values()]
        if not any(found):
            continue
        saved["commit"] |= {f["commit"] for f in found if f and "commit" in f}
        by_figure = {key: [f and f[key] for f in found] for key in FIGURES}
        labels, figures_before = known_before(name, arm)
        saved["arms"].append({"labels": arm.labels | labels,
                              "command": " ".join(arm.command()),
                              "figures": by_figure | figures_before})
    if not saved["arms"]:
        sys.exit(f"results.questions: no run of {name} is done yet")
    saved["commit"] = sorted(saved["commit"])
    return saved


def cell(values, is_there):
    """Two or three values stand one by one: an interval from so few says nothing, and a mean of
    runs that start and runs that do not is no run's. More are 'mean ± half of a 95% interval'.

    is_there: for each seed, was it run? A run that lacks this value has a dash.
    """
    values = [value for value, there in zip(values, is_there) if there]
    if not present(values) or not 2 <= len(values) <= 3:
        return spread(values)
    return " / ".join("-" if value is None else f"{value:.3f}" for value in values)


def page_of(name):
    """The page with the table of a question."""
    return SAVED / f"{PAGES.get(name, name)}.md"


def table(saved):
    """A Markdown table: one line an arm."""
    shown = QUESTIONS[saved["question"]][2]
    columns = [*saved["arms"][0]["labels"], *shown]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for arm in saved["arms"]:
        cells = [str(value) for value in arm["labels"].values()]
        is_there = [value is not None for value in arm["figures"]["alone"]]
        cells += [cell(arm["figures"][name], is_there) for name in shown]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--seeds", type=int, nargs="+", help="default: as many as the page has")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--have", action="store_true",
                        help="train nothing: save the runs that are done")
    parser.add_argument("--draw", action="store_true",
                        help="only write the table and draw the figure again")
    args = parser.parse_args()
    path = SAVED / f"{args.question}.json"
    if args.draw and not path.exists():
        sys.exit(f"results.questions: {path} is not there yet: no run of {args.question} is saved")
    if not args.draw:
        seeds = args.seeds or range(QUESTIONS[args.question][1])
        before = json.loads(path.read_text()) if path.exists() else None
        saved = collect(args.question, seeds, args.jobs, not args.have, before)
        SAVED.mkdir(exist_ok=True)
        path.write_text(json.dumps(saved, indent=1) + "\n")
    saved = json.loads(path.read_text())
    draw(saved, path.with_suffix(".png"))
    text = f"{table(saved)}\n\n![{args.question}]({args.question}.png)"
    fill(page_of(args.question), args.question, text)
    print(table(saved))


if __name__ == "__main__":
    main()
