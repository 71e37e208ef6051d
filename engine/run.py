"""The folder of a run: what is written to it, and how an interrupted run continues.

Promise: a run may be killed at any moment. After --resume it ends with the same bytes as a run that
was never interrupted (on the CPU). Checkpoints and JSON files are whole or do not exist. A half
line at the end of a log, the curves and model/ are written again on resuming.
To read: `Run` is what train.train uses, and `resume` is what --resume does.
Held to it by tests/test_survive.py, tests/test_train.py and `python -m tests.kill`.

    config.json    the flags, and under "run" the format, hashes of the problems, changed flags
    before.json    the evaluation before training; result.json: before and after
    metrics.jsonl  one line a step, without clock times; timing.jsonl: the clock times
    curves.png     the metrics, drawn
    checkpoint/    STEPS-CHECKSUM.safetensors: fp32 weights, AdamW's state; the last two are kept
    model/         the trained student, as save_pretrained writes it
    reference/     the frozen reference, if --beta is above 0
"""
import contextlib
import dataclasses
import functools
import json
import math
import os
import re
import shlex
import signal
import threading
import zlib
from pathlib import Path

from safetensors.torch import load_file, save_file

from engine.files import lock, write_json, write_whole
from engine.flags import flag_name, for_the_record, is_address, problem_source, shown_address
from engine.policy import is_tiny, run_behind
from engine.report import diagnosis, draw_curves, hash_of, question_hash

FORMAT = 2  # of a run folder; a folder of another format is refused
# Flags that --resume may change. config.json records the change.
CHANGEABLE = ("steps", "device", "micro_batch", "recompute", "processes", "threads",
              "save_every", "bank", "data")  # the last two: where things are, not what they hold
HOPELESS = 5  # so many skipped steps in a row end a run


class Run:
    """A run folder. `done`: the number of steps done; `history`: their metrics; `state`: the
    optimizer's state to continue from, or None."""

    def __init__(self, config, record, splits):
        """record: what config.json says under "run" if the run is resumed, else None. splits:
        (train, validation, test) problems. Writes nothing yet. Raises ValueError if a resumed run
        has other problems than it began with, or is damaged."""
        self.folder = Path(config.out)
        self.config = config
        self.done, self.state = 0, None
        self.resumed = record is not None
        problems = hash_of(splits)
        if record and record["problems"] != problems:
            raise ValueError(f"--resume {self.folder}: {problem_source(config)} gives other "
                             f"problems or routes than those the run began with")
        if record:
            self.done, self.state = load_checkpoint(self.folder)
        self.record = record or {"format": FORMAT, "problems": problems,
                                 "questions": question_hash(splits), "changes": [],
                                 "tiny": is_tiny(config.model)}
        self.history = read_log(self.folder / "metrics.jsonl", self.done)
        self.diagnosed = False

    def begin(self, evaluate):
        """Write the folder, or tidy up what a killed run left in it -> the result before training.

        evaluate() gives that result if the folder does not hold it yet. No file is written before
        it, so a run that runs out of memory here can be started again with other flags.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "before.json"
        before = json.loads(path.read_text()) if path.is_file() else evaluate()
        if not self.resumed and (self.folder / "config.json").exists():
            # Only where the file system has no locks (alone_in).
            raise ValueError(f"--out {self.folder}: another run has begun there in the meantime")
        flags = {**for_the_record(self.config), "resume": None}
        # A finished run that becomes longer is not finished any more. Its model/ is replaced later.
        (self.folder / "result.json").unlink(missing_ok=True)
        write_json(self.folder / "config.json", {**flags, "run": self.record})
        write_json(path, before)
        for name in ("metrics.jsonl", "timing.jsonl"):
            cut_log(self.folder / name, self.done)
        for path in own_files(self.folder / "checkpoint"):
            newer = path.name > f"{self.done:06}" and not path.name.startswith(f"{self.done:06}-")
            if newer:  # than the loaded checkpoint, so it is damaged or half written
                path.unlink()
        return before

    def take_state(self):
        """Hand over the state to continue from, and forget it: it may take gigabytes."""
        state, self.state = self.state, None
        return state

    def log(self, metrics, timing):
        """Record a step that is done."""
        self.history.append(append_line(self.folder / "metrics.jsonl", metrics))
        step = {"phase": metrics["phase"], "step": metrics["step"]}
        append_line(self.folder / "timing.jsonl", {**step, **timing})
        self.done += 1

    def save(self, optimizer):
        """Write a checkpoint and draw the curves."""
        draw_curves(self.history, self.folder / "curves.png")
        save_checkpoint(self.folder, optimizer, self.done)

    def is_hopeless(self):
        """Were the last steps all skipped, because their loss or gradient was not a number?"""
        last = self.history[-HOPELESS:]
        return len(last) == HOPELESS and all(m["skipped"] for m in last)

    def new_diagnosis(self):
        """What is wrong with the run, in one line, the first time that something is; else None."""
        if self.diagnosed:
            return None
        found = diagnosis(self.history)
        self.diagnosed = found is not None
        return found

    def save_or_stop(self, optimizer, is_last, stop_asked, bar):
        """After a step: write a checkpoint if one is due, and stop the run if there is a reason to.

        Raises ValueError if nothing can be learnt any more, KeyboardInterrupt if a stop was asked
        for.
        """
        hopeless = self.is_hopeless()
        due = self.done % self.config.save_every == 0
        if is_last or stop_asked or hopeless or due:
            self.save(optimizer)
        if hopeless:
            raise ValueError(f"{HOPELESS} steps in a row gave a loss or gradient that is not a "
                             "number, and were skipped: start again with a lower --lr")
        if stop_asked and not is_last:
            raise KeyboardInterrupt
        found = self.new_diagnosis()
        if found:
            bar.write(f"step {self.history[-1]['step']}: {found}")

    def finish(self, model, tokenizer, before, after):
        """Write the trained student and the results."""
        save_student(model, tokenizer, self.folder / "model")
        write_json(self.folder / "result.json", {"before": before, "after": after})


# ---- files ---------------------------------------------------------------------------------------
def append_line(path, entry):
    """Append one line of JSON -> the entry as it is read back. It is on the disk when this returns.
    Floats are rounded to six decimals, and nan and infinity become null (None)."""
    rounded = {}
    for name, value in entry.items():
        if isinstance(value, float):
            value = round(value, 6) if math.isfinite(value) else None
        rounded[name] = value
    with open(path, "a") as file:
        file.write(json.dumps(rounded) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return rounded


def save_student(model, tokenizer, folder):
    """Write a model and its tokenizer as save_pretrained does. Raises OSError if the disk is full:
    the tokenizers library raises a bare Exception then."""
    model.save_pretrained(folder)
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        raise OSError(f"{folder}: {error}") from None


def whole_lines(path, n):
    """The first n lines of a log, as bytes. Raises ValueError if it has fewer whole ones."""
    lines = path.read_bytes().split(b"\n")[:-1][:n] if path.exists() else []
    if len(lines) < n:
        raise ValueError(f"{path}: {len(lines)} whole lines, where the checkpoint has {n} steps")
    return lines


def read_log(path, n):
    """The first n entries of a log."""
    return [json.loads(line) for line in whole_lines(path, n)]


def cut_log(path, n):
    """Drop what a killed run logged after its checkpoint of n steps: it does these steps again."""
    lines = whole_lines(path, n)
    if path.exists():
        os.truncate(path, sum(len(line) + 1 for line in lines))


# ---- checkpoints ---------------------------------------------------------------------------------
def checksum(path):
    """The CRC-32 of a file, as eight hexadecimal digits."""
    crc = 0
    with open(path, "rb") as file:
        while part := file.read(2 ** 24):
            crc = zlib.crc32(part, crc)
    return f"{crc:08x}"


def own_files(folder):
    """What this file writes into a folder of checkpoints, sorted. Other files are not ours."""
    name = r"[0-9]{6,}(-[0-9a-f]{8}\.safetensors|\.part(\.new)?)"
    return sorted(path for path in folder.glob("*") if re.fullmatch(name, path.name))


def checkpoints(folder):
    """The checkpoints in a folder, the oldest first. One of them may be damaged."""
    return [path for path in own_files(folder) if path.suffix == ".safetensors"]


def save_checkpoint(run, optimizer, done):
    """Write RUN/checkpoint/STEPS-CHECKSUM.safetensors and keep the one before it. Older ones are
    deleted first, so that the disk never holds more than two."""
    folder = run / "checkpoint"
    folder.mkdir(exist_ok=True)
    for old in checkpoints(folder)[:-1]:
        old.unlink()
    state = {name: tensor.contiguous() for name, tensor in optimizer.state_dict().items()}
    part = folder / f"{done:06}.part"
    write_whole(part, lambda new: save_file(state, new))
    os.replace(part, folder / f"{done:06}-{checksum(part)}.safetensors")


def load_checkpoint(run):
    """(steps done, state) of the newest checkpoint that is whole; (0, None) if the run was killed
    before its first. Raises ValueError if all are damaged."""
    files = checkpoints(run / "checkpoint")
    for path in reversed(files):
        done, _, recorded = path.stem.partition("-")
        if checksum(path) == recorded:
            return int(done), load_file(path)
        print(f"{path}: damaged; the checkpoint before it is used", flush=True)
    if files:
        raise ValueError(f"--resume {run}: every checkpoint is damaged; delete "
                         f"{run / 'checkpoint'} to do the run again from its start")
    return 0, None


def refuse_folder(config):
    """Raises ValueError, in one line, if config.out cannot become the folder of this run."""
    folder = Path(config.out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {config.out}: is a file, not a folder")
    # A run killed before it began leaves at most this file (engine/files.py).
    taken = folder.exists() and any(path.name != "config.json.new" for path in folder.iterdir())
    if taken and not (config.resume or config.explain):
        raise ValueError(f"--out {config.out}: holds another run; choose another folder, or "
                         f"continue it with --resume {shlex.quote(str(run_behind(config.out)))}")
    standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (standing.is_dir() and os.access(standing, os.W_OK)) and not config.explain:
        raise ValueError(f"--out {config.out}: nothing may be written in {standing}")


@contextlib.contextmanager
def alone_in(folder):
    """Inside of it no other process can run in this folder. Raises ValueError if one does."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as at_the_end:
        handle = os.open(folder, os.O_RDONLY)
        at_the_end.callback(os.close, handle)
        lock(handle, f"{folder}: a run is going on in this folder")
        at_the_end.callback(remove_if_empty, folder)
        yield


def remove_if_empty(folder):
    with contextlib.suppress(OSError):
        os.rmdir(folder)


# ---- resuming, and stopping ----------------------------------------------------------------------
def resume(given, config_class):
    """(config, record) of an interrupted run, with the new values of flags that may change.

    given: the flags on the command line (name -> value). Raises ValueError, in one line, for a flag
    that would make it another run, and for a folder that is not a run's.
    """
    run = Path(given["resume"])
    config, record = read_config(run, config_class)
    config.resume, config.out = given["resume"], str(run)
    if "bank" not in given:
        must_be_there(config.bank, f"--resume {run}: its bank {config.bank}")
    if given.get("explain"):
        raise ValueError(f"--resume {run}: a run that goes on cannot be explained; without "
                         f"--resume, --explain takes another step apart")
    teacher = given.get("teacher", "")
    if is_address(teacher) and shown_address(teacher) == config.teacher:
        config.teacher = teacher  # config.json hides the values of its query
    at_first = {**vars(config), "fade": first_fade(config, record["changes"])}
    if given.get("fade") == at_first["fade"]:
        given = {**given, "fade": config.fade}
    new = {name: value for name, value in given.items() if value != getattr(config, name)}
    other = [name for name in new if name not in CHANGEABLE]
    if other:
        begun = ", ".join(f"{flag_name(name)} {at_first[name]}" for name in other)
        raise ValueError(f"--resume {run}: it was begun with {begun}; leave the flag out, or start "
                         f"another run")
    if new.get("steps", config.steps) < config.steps:
        raise ValueError(f"--steps {new['steps']}: the run was begun with {config.steps}; it can "
                         f"become longer, not shorter")
    if "steps" in new and config.steps > 0 and fades(config):  # done steps keep their p(t)
        new["fade"] = config.fade * config.steps / new["steps"]
    if new:
        changes = {name: [getattr(config, name), value] for name, value in new.items()}
        record["changes"].append(changes)
    return dataclasses.replace(config, **new), record


def fades(config):
    """Does p(t) of this run fall? GRPO and RFT show no routes, and MRPV always does."""
    return config.method.startswith("realm")


def first_fade(config, changes):
    """--fade as the run was begun with it. A run that has become longer has a smaller one, so that
    the fade ends where it would have ended. changes: as config.json records them."""
    fade = config.fade
    for change in changes:
        before, after = change.get("steps", (0, 0))
        if before > 0 and fades(config):
            fade *= after / before
    return round(fade, 12)


def must_be_there(bank, named):
    """Raises ValueError if the bank that a run recorded (a path or None) is not there. named: what
    the message begins with."""
    if bank and not Path(bank).exists():
        raise ValueError(f"{named} is not there (any more, or seen from this folder); say where it "
                         "is with --bank")


def read_config(run, config_class):
    """(config, record) as config.json has them. Raises ValueError, in one line."""
    try:
        stored = json.loads((run / "config.json").read_text())
        if "model_type" in stored:  # of a model, most likely of RUN/model
            raise ValueError(f"--resume {run}: holds a model, and is not the folder of a run")
        record = stored.pop("run", {})
        version = record.get("format", 1)
        if version != FORMAT:
            raise ValueError(f"--resume {run}: a run folder of another version of train.py (format "
                             f"{version}, not {FORMAT})")
        stored.setdefault("processes", 1)  # a run begun before there was this flag had one
        return config_class(**stored), record
    except FileNotFoundError:
        raise ValueError(f"--resume {run}: not a run folder (no config.json); a run killed before "
                         f"it had one is started again") from None
    except OSError as error:
        raise ValueError(f"--resume {run}: cannot be read ({error})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"--resume {run}: its config.json is damaged ({error})") from None


def read_run(name):
    """The config.json of a run, or {} for any other model. Raises ValueError if it is damaged."""
    folder = run_behind(name)
    path = folder / "config.json"
    if not path.is_file() or not (folder / "model" / "config.json").is_file():
        return {}
    try:
        run = json.loads(path.read_text())
    except ValueError:
        run = None
    if not isinstance(run, dict):
        raise ValueError(f"{path}: not the config.json of a run")
    return run


def seen_in_training(config, asked, load):
    """Which students were trained on questions that eval.py asks? -> list of sentences.

    config: eval.py's; asked: the problems; load: data.load_problems. A run with the same source of
    problems is not looked at, because its splits share no question. Two sources may: a bank that
    was made of GSM8K is split in another way than GSM8K.
    """
    questions = {problem.question for problem in asked}
    load = functools.cache(load)  # several runs may have one source
    found = []
    for name in config.models:
        for run in with_earlier_runs(name):
            source = run.get("bank") or run.get("task")
            if not source or (source, run.get("data")) == (problem_source(config), config.data):
                continue
            try:
                trained = load(source, "train", run.get("limit"), run.get("data"))
            except (ValueError, OSError):  # the files are not here any more
                continue
            seen = len(questions & {problem.question for problem in trained})
            if seen:
                found.append(f"{name} was trained on {seen} of the {len(questions)} questions "
                             f"asked (from {source}): choose others with --task, --bank or --split")
    return list(dict.fromkeys(found))


def with_earlier_runs(name):
    """The config.json of a run, and of the runs that its student came from. [] of another model."""
    run, found = read_run(name), []
    while run and run not in found:
        found.append(run)
        try:
            run = read_run(run.get("model", ""))
        except (ValueError, OSError, TypeError):  # an earlier run is not what it was
            break
    return found


@contextlib.contextmanager
def stop_after_step():
    """Inside of it Ctrl-C, or SIGTERM (a cluster's warning), only appends to the list it yields, so
    that the run can finish and save its step before it stops. A second one stops at once."""
    asked = []

    def note(number, _):
        asked.append(number)
        os.write(2, b"\nstopping after this step (again: at once)\n")
        signal.signal(number, signal.default_int_handler)

    before = {}
    # Only the main thread may set a handler. A notebook may run this in another thread.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
