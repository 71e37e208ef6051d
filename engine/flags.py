"""Command-line flags are the fields of a dataclass, here for train.py, eval.py and data.py alike.

Promise: every field of a Config is one flag, and its default, help and bounds stand beside it.
A number out of bounds and a key in an address are refused in one line, before any work.
To read: `flag` and `TeacherFlags` are what a Config is made of; `given_flags` reads them.
tests/test_data.py and tests/test_hostile.py hold it to that.
"""
import argparse
import dataclasses
import math
import os
import re
import typing
from dataclasses import dataclass
from pathlib import Path

DEFAULT_TEACHER = "Qwen2.5-1.5B-Instruct"  # fits beside a student of 0.5B on one GPU
TEACHER_FLAGS = ("teacher", "teacher_model", "teacher_options", "n", "inject_rules",
                 "teacher_error", "systematic")


# ---- one flag ------------------------------------------------------------------------------------
def flag(default, help, choices=None, least=-math.inf, most=math.inf, heading=None):
    """A field of a Config that is also a command-line flag.

    default: a value, or a pair (of a tiny student, of a larger one). help: one line.
    choices, least, most: what is allowed. heading: --help shows this flag, and those that follow
    it up to the next heading, under these words.
    """
    metadata = {
        "help": help, "choices": choices, "least": least, "most": most, "heading": heading,
    }
    return dataclasses.field(default=default, metadata=metadata)


def same_flag(base, name, default, default_in_words=None):
    """A flag of another Config with another default; its help and bounds stay as they are."""
    metadata = dict(base.__dataclass_fields__[name].metadata)
    if default_in_words:
        metadata["help"] += f" (default: {default_in_words})"
    return dataclasses.field(default=default, metadata=metadata)


def flag_name(name):
    """The name of a field as it stands on a command line.

    >>> flag_name("max_new_tokens")
    '--max-new-tokens'
    """
    return "--" + name.replace("_", "-")


@dataclass(kw_only=True)
class TeacherFlags:
    """The flags that train.py, eval.py and data.py share: which problems, and who writes routes."""

    task: str = flag(
        "shop", "shop, ads or market (built in), gsm8k, or a JSONL file or folder of your own "
        "questions, answers and rules", heading="problems")
    data: str | None = flag(
        None, "folder or file with GSM8K's own JSONL, instead of fetching it")
    teacher: str | None = flag(
        None, "who writes routes: simulated, a model (Hub id, short name, folder), or the address "
        "of an OpenAI-compatible server; by default simulated for shop, ads, market and "
        "gsm8k, else " + DEFAULT_TEACHER, heading="teacher")
    teacher_model: str | None = flag(
        None, "the model's name at the server (its key: OPENAI_API_KEY in the environment)")
    teacher_options: str | None = flag(
        None, "server: more fields of each request, as a JSON object; null leaves a field out: "
        '{"max_completion_tokens": 500, "max_tokens": null}')
    n: int = flag(8, "N, routes that a teacher writes for each question", least=1)
    inject_rules: float = flag(
        0.0, "q, probability that the expert rules enter the teacher's prompt for a route",
        least=0, most=1)
    teacher_error: float = flag(
        0.65, "simulated: probability that a fact (shop, ads, market) or a route (gsm8k) is "
        "wrong",
        least=0, most=1)
    systematic: float = flag(
        0.5, "simulated: share of its mistakes that are one misconception (else random slips)",
        least=0, most=1)
    seed: int = flag(0, "seed of all random draws", heading="machine")
    device: str | None = flag(None, "cpu or cuda (default: a GPU if there is one)")


# ---- a command line ------------------------------------------------------------------------------
def check_bounds(config):
    """Raises ValueError, in one line, for a number outside its flag's bounds (nan is in none), and
    for a --bank that is not there."""
    bank = getattr(config, "bank", None)
    if bank is not None and not Path(bank).exists():
        raise ValueError(f"--bank {bank}: no such file or folder (a built-in task is a --task)")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        least = field.metadata["least"]
        most = field.metadata["most"]
        if not isinstance(value, (int, float)):
            continue
        if least <= value <= most and abs(value) < math.inf:
            continue
        if value == math.inf:
            allowed = "be finite"
        elif most == math.inf:
            allowed = f"be at least {least}"
        else:
            allowed = f"lie in [{least}, {most}]"
        raise ValueError(f"{flag_name(field.name)} must {allowed}, not {value}")


# What a run or a model keeps for itself, beside its config.json.
KEPT = ("config.json", "before.json", "result.json", "curves.png", "generation_config.json",
        "tokenizer.json", "tokenizer_config.json")


def refuse_out(flag, path):
    """Raises ValueError, in one line, if no file can or should be written there. flag: as the user
    knows it.

    >>> refuse_out("--out", "no/such/folder/bank.jsonl")
    Traceback (most recent call last):
    ValueError: --out no/such/folder/bank.jsonl: there is no folder no/such/folder
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{flag} {path}: is a folder, not a file")
    if path.exists() and not path.is_file():
        raise ValueError(f"{flag} {path}: is a device, not a file")
    if not path.parent.is_dir():
        raise ValueError(f"{flag} {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{flag} {path}: may not be written here")
    if path.name in KEPT and (path.parent / "config.json").is_file():
        raise ValueError(f"{flag} {path}: belongs to the run or the model in this folder; choose "
                         "another name")


def under_headings(config_class):
    """{heading: its fields}, both in the order of the class. The first heading may be None."""
    groups, heading = {}, None
    for field in dataclasses.fields(config_class):
        heading = field.metadata["heading"] or heading
        groups.setdefault(heading, []).append(field)
    return groups


def add_flag(parser, field):
    """Add one field to an argparse parser. A list without default is positional."""
    kinds = typing.get_args(field.type) or (field.type,)
    kind = kinds[0]  # str of `str`, of `str | None` and of `list[str]`
    shown = field.metadata["help"].replace("%", "%%")  # argparse would take a % for a format
    if typing.get_origin(field.type) is list:
        parser.add_argument(field.name, nargs="+", metavar=field.name.upper(), help=shown)
        return
    if kind is bool:
        parser.add_argument(flag_name(field.name), action="store_true", help=shown)
        return
    if isinstance(field.default, tuple):
        shown += " (default: tiny {}, else {})".format(*field.default)
    elif field.default is not None:
        shown += f" (default: {field.default})"
    choices = field.metadata["choices"]
    metavar = None if choices else "X"
    parser.add_argument(
        flag_name(field.name), type=kind, choices=choices, metavar=metavar, help=shown)


def given_flags(config_class, doc, argv=None):
    """The flags that stand on the command line -> {field name: value}.

    doc: shown above them by --help. argv: list of str (default: the command line's). Ends the
    program with one line for a flag that does not exist, is empty, or may hold a key.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS)
    for heading, fields in under_headings(config_class).items():
        group = parser.add_argument_group(heading) if heading else parser
        for field in fields:
            add_flag(group, field)
    given = vars(parser.parse_args(argv))
    for name, value in given.items():
        if value == "":  # an unset variable in a shell, most likely
            parser.error(f"{flag_name(name)}: is empty")
    teacher = given.get("teacher") or ""
    if may_hold_a_key(teacher) and not os.path.exists(teacher):  # may be a folder of that name
        parser.error(
            "--teacher: no folder, and neither an address nor a name holds an @ or a # (nor a "
            "name a ?): a key belongs in OPENAI_API_KEY")
    return given


def without_effect(given, rules):
    """What to say of flags that were given but change nothing -> list of sentences.

    given: {field name: value}, from `given_flags`. rules: triples (field names, applies, reason).
    Where `applies` is true, none of these fields has an effect, for this reason.

    >>> without_effect({"n": 8, "seed": 1}, [(("n", "batch"), True, "the bank has routes")])
    ['--n has no effect: the bank has routes']
    """
    sentences = []
    for names, applies, reason in rules:
        idle = [flag_name(name) for name in names if name in given]
        if idle and applies:
            verb = "has" if len(idle) == 1 else "have"
            sentences.append(f"{' and '.join(idle)} {verb} no effect: {reason}")
    return sentences


def say(sentences):
    """Print what `without_effect` found, on one line; nothing if it found nothing."""
    if sentences:
        print("; ".join(sentences), flush=True)


def idle_teacher_flags(given, kind, has_rules):
    """`without_effect` for the flags of a teacher who is asked -> list of sentences.

    kind: of the teacher: "simulated", "server" or "model". has_rules: does any question have expert
    rules?
    """
    rules = [
        (("teacher_error", "systematic"), kind != "simulated", "this teacher is not simulated"),
        (("teacher_model", "teacher_options"), kind != "server", "the teacher is no server"),
        (("inject_rules",), not has_rules, "no question has rules")]
    return without_effect(given, rules)


def problem_source(config):
    """What names the problems: --bank, which train.py and eval.py have, or else --task."""
    return getattr(config, "bank", None) or config.task


def idle_source_rules(config, bank="--bank"):
    """When have --task and --data no effect? -> rules for without_effect. bank: how a reason names
    the bank."""
    has_bank = getattr(config, "bank", None) is not None
    beside_a_bank = ("task", "data")
    if config.task == "ads":  # it also chooses train.py's student and eval.py's --positive
        beside_a_bank = ("data",)
    return [
        (beside_a_bank, has_bank, f"{bank} names the problems"),
        (("data",), not has_bank and config.task != "gsm8k",
         f"the task is {config.task}, not gsm8k"),
    ]


def idle_rules(config):
    """When does a flag of train.py have no effect? -> rules for without_effect."""
    no_rl = config.method == "rft"
    shows_none = no_rl or (config.method == "grpo" and config.sft_steps == 0)
    is_constant = config.schedule == "constant" and config.method.startswith("realm")
    return [
        *idle_source_rules(config),
        (("error_ratio", "selection"), shows_none,
         f"--method {config.method} trains on prompts without routes"),
        (("selection",), config.error_ratio is not None and not shows_none,
         "--error-ratio decides what is shown"),
        (("utility_weight", "one_stage", "reward_to_go", "remember"), config.method == "grpo",
         "--method grpo shows no routes"),
        (("steps", "lr", "beta", "epochs", "loss_type", "schedule", "fade", "p_end", "one_by_one",
          "group_size", "temperature", "utility_weight", "one_stage", "reward_to_go", "push_down",
          "remember", "clip_low", "clip_high", "eval_every"), no_rl,
         "--method rft has no RL steps"),
        (("schedule", "fade", "p_end", "one_by_one"), config.method in ("mrpv", "grpo"),
         f"--method {config.method} has no fade"),
        (("fade", "p_end", "one_by_one"), is_constant, "--schedule constant has no fade"),
        (("push_down",), config.method == "mrpv" or is_constant, "every prompt carries routes"),
        (("sft_lr",), config.sft_steps == 0, "there are no SFT steps"),
        (("explain_figure",), not config.explain, "there is no --explain"),
        (("push_down", "remember"), config.explain, "--explain shows the step of GRPO alone"),
        (("limit", "eval_limit"), config.explain, "--explain takes P problems, and tests none"),
        (("one_by_one",), config.explain, "--explain shows all routes or none"),
        (("reward_to_go",), config.explain, "--explain shows one advantage for a whole completion"),
        (("epochs", "warmup", "schedule", "fade", "p_end", "steps", "sft_steps", "eval_every",
          "save_every"), config.explain, "--explain makes one update, without warm-up or fade"),
        (("processes",), config.device != "cpu", "a GPU is not shared"),
    ]


# ---- what is shown of an address -----------------------------------------------------------------
def is_address(name):
    """Is this the address of a server, and not the name of a model?"""
    return name.lower().startswith(("http://", "https://"))


def may_hold_a_key(name):
    """May the value of --teacher hold a password or a key that would be shown and recorded?

    An address may have a query, whose values are hidden wherever it is shown.

    >>> [may_hold_a_key(name) for name in ("http://me:key@host", "http://host?v=1", "host?v=1")]
    [True, False, True]
    """
    forbidden = "@#" if is_address(name) else "@?#"
    return any(character in forbidden for character in name)


def shown_address(address):
    """An address as it may be shown and recorded: the values of its query are hidden.

    >>> shown_address("https://host/v1?api-version=2024-10-21&key=secret")
    'https://host/v1?api-version=(hidden)&key=(hidden)'
    >>> shown_address("https://host/v1?secret")
    'https://host/v1?(hidden)'
    """
    base, question_mark, query = address.partition("?")
    shown = []
    for part in re.split("[&;]", query) if query else []:
        name, equals, _ = part.partition("=")
        shown.append(f"{name}=(hidden)" if equals else "(hidden)")
    return base + question_mark + "&".join(shown)


def for_the_record(config):
    """A Config as a dict for a file: like dataclasses.asdict, but without hidden values."""
    record = dataclasses.asdict(config)
    if record.get("teacher") and is_address(record["teacher"]):
        record["teacher"] = shown_address(record["teacher"])
    return record
