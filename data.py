"""Problems, teachers and banks. A bank is a JSONL file, one problem with its N routes a line:

    {"question": str, "answer": str, "rules": [str],
     "routes": [{"text": str, "answer": str, "correct": bool, "guided": bool}]}

    python data.py --task shop --out bank.jsonl      a simulated teacher, in seconds
    python data.py --task gsm8k --out bank.jsonl     gold solutions, six in ten with a mistake
    python data.py --task my.jsonl --teacher Qwen2.5-1.5B-Instruct --out bank.jsonl
    python data.py --task my.jsonl --teacher http://localhost:8000/v1 --teacher-model NAME

The third asks a model on this machine, the fourth a server. The same command continues a bank
that was cut short. The file bank.jsonl.config.json beside it records how it is made.
A teacher is a function (problems, guided, attempt=0) -> texts. guided[i][j] says whether the expert
rules of problem i enter the prompt of its route j (guided CoT distillation). A rule reaches the
student only through what the teacher writes. attempt: see engine/teachers.py.
"""
import dataclasses
import random
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from engine.bank import (append_batch, bank_settings, bank_summary, continue_bank, cut_summary,
                         lack_routes, open_bank, read_bank, recorded_tally, why_it_cannot_teach)
from engine.flags import (DEFAULT_TEACHER, TEACHER_FLAGS, TeacherFlags, check_bounds, flag,
                          given_flags, idle_source_rules, idle_teacher_flags, is_address,
                          problem_source, refuse_out, say, shown_address, without_effect)
from engine.teachers import (TRIES, CutText, address_hint, model_teacher, server_teacher,
                             whole_texts)
from realm import Route
from rewards import answers_match, final_answer
from tasks import ads, gsm8k, market, shop

# name -> module with SIZES, problems(split, limit) and teacher(error, systematic, seed)
BUILT_IN = {"shop": shop, "ads": ads, "market": market}
SPLITS = ("train", "validation", "test", "ood", "all")


@dataclass(kw_only=True)
class Config(TeacherFlags):
    split: str = flag("all", "which problems; train.py splits a bank by a hash of its questions",
                      choices=SPLITS, heading="problems")
    limit: int | None = flag(None, "use only so many problems", least=1)
    temperature: float = flag(0.8, "sampling temperature of the teacher", least=0, most=100,
                              heading="teacher")
    max_new_tokens: int = flag(400, "longest route, in tokens", least=1)
    keep_cut: bool = flag(False, "keep routes that were cut at --max-new-tokens (by default they "
                          "are asked for again, twice at most; a question that then has fewer "
                          "than N routes is left out)")
    batch: int = flag(16, "questions the teacher is given at a time", least=1)
    out: str = flag("bank.jsonl", "the bank; one that was cut short is continued", heading="bank")


# ---- problems ------------------------------------------------------------------------------------
def load_problems(task, split, limit=None, data=None):
    """The problems of a split -> list[Problem].

    task: a built-in task ("shop"), "gsm8k", or the path of a JSONL file or of a folder with
    train.jsonl and test.jsonl. data: where GSM8K's files are, if they are not to be fetched.
    split: "train", "validation", "test", or "ood" (built-in tasks only). No two share a question.
    "all" is for making a bank, which train.py splits by the same hash. It is all of a file. Of a
    folder it is only train.jsonl, so that test.jsonl stays unseen.
    Raises ValueError in one line.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
    if task in BUILT_IN:
        if data:
            raise ValueError(
                f"--data {data}: holds GSM8K, but the task is {task}; add --task gsm8k")
        return built_in_problems(task, split, limit)
    built_in = ", ".join(BUILT_IN)
    if split == "ood":
        raise ValueError(f"only the built-in tasks ({built_in}) have an out-of-distribution split")
    where = data if task == "gsm8k" and data else task
    if Path(where).is_file():
        return split_by_question(read_bank(where), split)[:limit]
    if where == "gsm8k" or Path(where).is_dir():
        return folder_problems(where, split)[:limit]
    if where != task:
        raise ValueError(f"--data {data}: neither a folder with train.jsonl and test.jsonl, nor "
                         "a file")
    raise ValueError(f"{task}: neither a built-in task ({built_in}), nor gsm8k, nor a JSONL file "
                     "or folder that is there")


def built_in_problems(task, split, limit):
    """Problems that a built-in task generates. "all" is 80% train, 10% validation, 10% test."""
    n = limit or BUILT_IN[task].SIZES[split]
    if split != "all":
        return BUILT_IN[task].problems(split, n)
    parts = {"train": n - n // 10 * 2, "validation": n // 10, "test": n // 10}
    problems = []
    for part, size in parts.items():
        if size:
            problems += BUILT_IN[task].problems(part, size)
    return problems


def split_by_question(problems, split):
    """80 / 10 / 10 by a hash of the question: it stays in its split whatever else a file holds."""
    shares = {"train": (0, 80), "validation": (80, 90), "test": (90, 100), "all": (0, 100)}
    first, end = shares[split]
    return [p for p in problems if first <= zlib.crc32(p.question.encode()) % 100 < end]


def folder_problems(where, split):
    """The problems of a folder, or of "gsm8k", which is fetched. Validation: the last of train."""
    name = "test.jsonl" if split == "test" else "train.jsonl"
    problems = read_bank(gsm8k.gsm8k_file(name) if where == "gsm8k" else Path(where) / name)
    if split == "test":
        return problems
    test = Path(where) / "test.jsonl"
    if test.is_file():  # a folder of one's own; GSM8K's files share no question
        unseen = {p.question for p in read_bank(test)}
        problems = [p for p in problems if p.question not in unseen]
    if split == "all":
        return problems
    first = len(problems) - min(500, len(problems) // 10)
    if split == "validation":
        return problems[first:]
    return problems[:first]


# ---- routes --------------------------------------------------------------------------------------
def teacher_kind(config, problems):
    """Who writes routes for these problems: "simulated", "server" or "model".

    Without --teacher it is simulated where that is possible.
    """
    name = config.teacher
    if name and is_address(name):
        return "server"
    if name and name != "simulated":
        return "model"
    has_solutions = all(problem.solution for problem in problems)
    if name == "simulated" or problem_source(config) in BUILT_IN or has_solutions:
        return "simulated"
    return "model"


def teacher_for(config, problems, temperature=0.8, longest=400):
    """(teacher, what it is in words) for these problems.

    config: train.py's, eval.py's or this file's. longest: tokens of a route. Raises ValueError if
    there are no problems, or if --teacher is neither a model nor an address.
    """
    source = problem_source(config)
    if not problems:
        raise ValueError(f"--task {source}: no problems in this split")
    name = config.teacher
    kind = teacher_kind(config, problems)
    if kind == "simulated":
        module = BUILT_IN.get(source, gsm8k)
        teacher = module.teacher(config.teacher_error, config.systematic, config.seed)
        of_what = "of the facts"
        if source not in BUILT_IN:
            of_what = "of the routes, a mistake put into the gold one"
        return teacher, (f"a simulated teacher (wrong on {config.teacher_error:.0%} {of_what}; "
                         f"{config.systematic:.0%} of it a misconception)")
    if kind == "server":
        # It writes the whole route before it sends a byte: hence the long time-out.
        teacher = server_teacher(name, config.teacher_model, temperature, longest, timeout=300,
                                 options=config.teacher_options)
        return teacher, f"{config.teacher_model} at {shown_address(name)}"
    hint = address_hint(name or "")
    if hint:
        raise ValueError(f"--teacher {shown_address(name)}: {hint}")
    what = name or f"{DEFAULT_TEACHER}, the default --teacher,"
    teacher = model_teacher(name or DEFAULT_TEACHER, config.device, temperature, longest,
                            config.seed, problems)
    return teacher, f"{what} on {config.device or 'this machine'}"


def make_routes(problems, teacher, n, inject_rules=0.0, seed=0, keep_cut=False, tally=None):
    """Let the teacher write n routes for each problem -> new Problems.

    inject_rules: the probability q that a route is guided. A route is positive if its final answer
    equals the gold answer. A route that is cut at the token limit is asked for again, and left out
    if that does not help; keep_cut keeps it. tally: see `engine.teachers.whole_texts`.
    """
    guided = []
    for problem in problems:
        rng = random.Random(f"guided {seed} {problem.question}")
        guided.append([bool(problem.rules) and rng.random() < inject_rules for _ in range(n)])
    tally = Counter() if tally is None else tally
    tries = 1 if keep_cut else TRIES
    texts = whole_texts(teacher, problems, guided, tally, tries)
    taught = []
    for i, problem in enumerate(problems):
        routes = []
        for text, reads_rules in zip(texts[i], guided[i]):
            if isinstance(text, CutText) and not keep_cut:
                continue
            answer = final_answer(text)
            correct = answers_match(answer, problem.answer)
            routes.append(Route(str(text), answer, correct, reads_rules))
        taught.append(dataclasses.replace(problem, routes=routes))
    return taught


def taught_in_batches(problems, teacher, config, n, done=0, batch=16, keep_cut=False):
    """make_routes for one batch after another, with a progress bar.

    Yields (index of the batch's first problem, its taught problems, tally), from `done` on.
    """
    with tqdm(total=len(problems), initial=done, desc="teacher", unit="question", delay=1) as bar:
        for first in range(done, len(problems), batch):
            tally = Counter()
            part = make_routes(problems[first:first + batch], teacher, n, config.inject_rules,
                               config.seed, keep_cut, tally)
            if tally["cut"] and not any(p.routes for p in part) and first == 0:
                raise ValueError(f"the teacher's replies to the first {len(part)} questions were "
                                 "all cut: raise --max-new-tokens of data.py, or use --keep-cut")
            yield first, part, tally
            bar.update(len(part))


def all_with_routes(splits, config, given=()):
    """{split: problems} -> the same with at least config.routes routes for each problem.

    One teacher writes them for all splits that lack them. given: the flags on the command line.
    Those of the teacher that have no effect are said. See with_routes.
    """
    poor = [split for split in splits if config.routes and lack_routes(splits[split])]
    to_teach = sum([splits[split] for split in poor], [])
    is_new = not getattr(config, "resume", None)  # an older run may go on as it was begun
    if to_teach and len(poor) < len(splits) and not config.teacher and is_new:
        raise ValueError(f"{problem_source(config)}: has routes, but none for {' and '.join(poor)}"
                         "; write them with data.py, or name a --teacher for these")
    if to_teach:
        kind = teacher_kind(config, to_teach)
        say(idle_teacher_flags(given, kind, any(p.rules for p in to_teach)))
        teacher = teacher_for(config, to_teach)
    else:
        teacher = None
        reason = "the problems have routes" if config.routes else "--routes is 0"
        say(without_effect(given, [(TEACHER_FLAGS, True, reason)]))
    return {split: with_routes(problems, config, teacher) for split, problems in splits.items()}


def with_routes(problems, config, teacher=None):
    """Problems with at least config.routes routes each. config: train.py's or eval.py's.

    Where no problem has any, a teacher writes them now, in memory; data.py writes a bank to keep.
    teacher: what teacher_for returns (by default it is called here). Raises ValueError, in one
    line, for a bank in which a problem has too few.
    """
    if not config.routes:
        return problems
    if lack_routes(problems):
        teacher, what = teacher or teacher_for(config, problems)
        n = max(config.n, config.routes)
        print(f"{what} writes {n} routes for each of {len(problems)} questions", flush=True)
        taught, tally = [], Counter()
        for _, part, counted in taught_in_batches(problems, teacher, config, n):
            taught += [p for p in part if len(p.routes) >= config.routes]
            tally += counted
        if tally["cut"]:
            print("\n".join(cut_summary(tally, len(problems) - len(taught))), flush=True)
        if not taught:
            raise ValueError(f"--routes {config.routes}: no question got so many whole routes")
        return taught
    poorest = min(problems, key=lambda p: len(p.routes))
    if len(poorest.routes) < config.routes:
        raise ValueError(f"--routes {config.routes}: the question {poorest.question[:60]!r} has "
                         f"only {len(poorest.routes)} routes, over all of its lines")
    return problems


# ---- banks ---------------------------------------------------------------------------------------
def say_idle_flags(config, given, problems):
    """Print, on one line, which flags that were given have no effect."""
    kind = teacher_kind(config, problems)
    idle = idle_teacher_flags(given, kind, any(p.rules for p in problems))
    idle += without_effect(given, [
        *idle_source_rules(config),
        (("temperature", "max_new_tokens", "keep_cut", "device"), kind == "simulated",
         "the teacher is simulated"),
        (("device",), kind == "server", "the teacher is a server")])
    say(idle)


def build_bank(config, given=()):
    """Write a bank, or the rest of one, batch by batch -> its problems.

    given: the flags on the command line; those without effect are said. Raises ValueError.
    """
    check_bounds(config)
    refuse_out("--out", config.out)
    problems = load_problems(config.task, config.split, config.limit, config.data)
    teacher, what = teacher_for(config, problems, config.temperature, config.max_new_tokens)
    say_idle_flags(config, given, problems)
    held = sum(bool(problem.routes) for problem in problems)
    if held:
        print(f"{held} of the questions have routes already, which the new bank does not hold",
              flush=True)
    with open_bank(config.out) as file:
        done = continue_bank(config.out, problems, bank_settings(config))
        of_which = f", of which {done} are done" if done else ""
        print(f"{what} writes {config.n} routes for each of {len(problems)} questions{of_which}",
              flush=True)
        try:
            for first, part, tally in taught_in_batches(problems, teacher, config, config.n, done,
                                                        config.batch, config.keep_cut):
                append_batch(file, config.out, first, part, config.n, tally)
                done = first + len(part)
        except (ValueError, OSError) as error:
            if not done:
                raise
            raise ValueError(f"{error}; {config.out} keeps {done} questions, and the same command "
                             "continues it") from None
    if not Path(config.out).exists():
        raise ValueError(f"no question got {config.n} routes that were not cut: raise "
                         "--max-new-tokens, or use --keep-cut")
    return read_bank(config.out)


def main(argv=None):
    given = given_flags(Config, __doc__, argv)
    config = Config(**given)
    try:
        bank = build_bank(config, given)
        cut, left_out = recorded_tally(config.out, len(bank), config.n)
    except ValueError as error:
        sys.exit(f"data.py: {error}")
    except OSError as error:
        sys.exit(f"data.py: {error}" if error.filename else f"data.py: --out {config.out}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"data.py: stopped; the same command continues {config.out}")
    summary = bank_summary(bank) + cut_summary(cut, left_out)
    print("\n".join([*summary, f"bank                             {config.out}"]))
    trouble = why_it_cannot_teach(bank)
    if trouble:
        print(trouble)


if __name__ == "__main__":
    main()
