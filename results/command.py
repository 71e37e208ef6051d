"""What the commands of this folder share: flags, and how they refuse bad input in one line."""
import argparse
import sys

import torch

from engine.policy import resolve_model


def sampling_parser(doc, data, questions, samples, max_new_tokens):
    """The flags of a command that samples a model on a few questions. The numbers are defaults."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", default=str(data), help="folder with model_solutions_6b.jsonl")
    parser.add_argument("--questions", type=int, default=questions)
    parser.add_argument("--samples", type=int, default=samples, help="completions of each question")
    parser.add_argument("--max-new-tokens", type=int, default=max_new_tokens)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser


def sampling_flags(parser, argv=None):
    """Parse the flags of a sampling_parser, refuse sizes below 1, and set the threads."""
    given = parser.parse_args(argv)
    for name in ("questions", "samples", "max_new_tokens", "threads"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    torch.set_num_threads(given.threads)
    return given


def help_was_asked(doc):
    """Print doc and return True, if the command line is --help alone. For commands whose other
    flags are train.py's."""
    asked = sys.argv[1:] in (["-h"], ["--help"])
    if asked:
        print(doc)
    return asked


def measure_runs(name, doc, main, default=None):
    """main(runs), with the runs named on the command line, or the default one if none is. All
    names are checked before the first run is measured, which has one thread."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*" if default else "+", help="run folders or models")
    runs = parser.parse_args().runs or [default]
    torch.set_num_threads(1)
    try:
        for run in runs:
            resolve_model(run)
        main(runs)
    except (ValueError, OSError) as error:
        sys.exit(f"{name}: {error}")
