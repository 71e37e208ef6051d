"""Problems, teachers and banks. A bank is a JSONL file, one problem with its N routes a line:

    {"question": str, "answer": str, "routes": [{"text": str, "answer": str, "correct": bool, "guided": bool}], "rules": [str]}

    python data.py --task shop --n 8 --out bank.jsonl                                  a simulated teacher, in seconds
    python data.py --task gsm8k --teacher Qwen2.5-1.5B-Instruct --n 8 --out bank.jsonl a model on this machine

A teacher is a function (problems, guided) -> texts: guided[i][j] says whether the expert rules of problem i enter the
prompt of its route j (guided CoT distillation; a rule reaches the student only through what the teacher writes).
"""
import argparse
import dataclasses
import json
import os
import random
import re
import typing
import urllib.request
import zlib
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from assets import shop
from realm import Problem, Route, teacher_prompt
from rewards import answers_match, canonical, final_answer

BUILT_IN = {"shop": shop}  # name -> module with problems(split, limit) and teacher(error, systematic, seed)
SPLITS = ("train", "validation", "test", "ood")
GSM8K_URL = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"


# ---- GSM8K ----------------------------------------------------------------------------------------------------------
def gsm8k_file(split, data=None):
    """The path of train.jsonl or test.jsonl: in the folder `data`, else fetched once from OpenAI's repository into a cache."""
    name = "test.jsonl" if split == "test" else "train.jsonl"  # validation is the end of the training set
    if data is not None:
        path = Path(data) / name if Path(data).is_dir() else Path(data)
        if not path.is_file():
            raise ValueError(f"--data {data}: no {name} there (GSM8K comes as train.jsonl and test.jsonl)")
        return path
    path = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "realm" / "gsm8k" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            with urllib.request.urlopen(GSM8K_URL + name, timeout=60) as reply:
                partial.write_bytes(reply.read())
        except OSError as error:
            raise ValueError(f"GSM8K could not be fetched from {GSM8K_URL + name} ({error}): give it with --data DIR") from None
        partial.rename(path)
    return path


# ---- files ----------------------------------------------------------------------------------------------------------
def read_lines(path):
    """(line number, object) of a JSONL file; blank lines are skipped. Raises ValueError naming file and line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    for i, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield i, json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {i}: not JSON ({error.msg} at column {error.colno})") from None


def to_problem(entry, where):
    """One line of a bank, checked field by field -> Problem. A missing `correct` is computed, a missing route answer read
    from the route's text; GSM8K's own lines (answer "... #### 72") give the gold solution as a route."""
    def need(value, kind, name):
        if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
            raise ValueError(f"{where}: field {name!r} must be a {getattr(kind, '__name__', 'string or number')}, "
                             f"not {'missing' if value is None else type(value).__name__}")
        return value
    need(entry, dict, "(the whole line)")
    question, answer = need(entry.get("question"), str, "question"), str(need(entry.get("answer"), (str, int, float), "answer"))
    if not question.strip() or not answer.strip():
        raise ValueError(f"{where}: field {'question' if not question.strip() else 'answer'!r} is empty")
    routes = []
    if "####" in answer:
        answer, solution = final_answer(answer), answer
        routes.append(Route(solution, answer, True))
    for i, route in enumerate(need(entry.get("routes", []), list, "routes")):
        need(route, dict, f"routes[{i}]")
        text = need(route.get("text"), str, f"routes[{i}].text")
        given = route.get("answer")
        given = final_answer(text) if given is None else str(need(given, (str, int, float), f"routes[{i}].answer"))
        correct = need(route.get("correct", answers_match(given, answer)), bool, f"routes[{i}].correct")
        routes.append(Route(text, given, correct, need(route.get("guided", False), bool, f"routes[{i}].guided")))
    rules = [need(rule, str, f"rules[{i}]") for i, rule in enumerate(need(entry.get("rules", []), list, "rules"))]
    return Problem(question, answer, routes, rules)


def read_bank(path):
    """The problems of a JSONL file. Raises ValueError naming file, line and field; ValueError if it holds none."""
    problems = [to_problem(entry, f"{path}, line {i}") for i, entry in read_lines(path)]
    if not problems:
        raise ValueError(f"{path}: holds no problems")
    return problems


def load_problems(task, split, limit=None, data=None):
    """The problems of a split ("train", "validation", "test", or "ood" for built-in tasks) -> list[Problem].

    task: a built-in task ("shop"), "gsm8k", or the path of a JSONL file or of a folder with train.jsonl and test.jsonl.
    A single file is split by a hash of each question: 80% train, 10% validation, 10% test. No two splits share a question.
    data: where GSM8K's files are, if not to be fetched. Raises ValueError in one line.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
    if task in BUILT_IN:
        return BUILT_IN[task].problems(split, limit or (2000 if split == "train" else 500))
    if split == "ood":
        raise ValueError(f"only the built-in tasks ({', '.join(BUILT_IN)}) have an out-of-distribution split")
    if task == "gsm8k" or Path(task).is_dir():
        path = gsm8k_file(split, data if task == "gsm8k" else task)
        problems = read_bank(path)
        if path.name == "train.jsonl" and split != "test":  # model selection never reads the test set
            held = min(500, len(problems) // 10)
            problems = problems[-held:] if split == "validation" else problems[:len(problems) - held]
    elif Path(task).is_file():
        problems = split_by_question(read_bank(task), split)
    else:
        raise ValueError(f"--task {task}: neither built in ({', '.join(BUILT_IN)}), nor gsm8k, nor a JSONL file or folder")
    return problems[:limit]


def split_by_question(problems, split):
    """80 / 10 / 10 by a hash of the question, so that a question stays in its split whatever else the file holds."""
    share = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100)}[split]
    return [p for p in problems if zlib.crc32(p.question.encode()) % 100 in share]


# ---- teachers and banks ---------------------------------------------------------------------------------------------
def model_teacher(name, device="cpu", temperature=0.8, max_new_tokens=400, seed=0):
    """Any Hub id or local folder as the teacher, sampled with the project's own sampler."""
    import torch
    from grpo import load_policy, sample
    model, tokenizer = load_policy(name, device)
    generator = torch.Generator(device).manual_seed(seed)

    def teach(problems, guided):
        prompts = [teacher_prompt(p.question, p.rules if flag else ()) for p, flags in zip(problems, guided) for flag in flags]
        texts = iter(sample(model, tokenizer, prompts, 1, max_new_tokens, temperature, generator=generator).texts)
        return [[next(texts) for _ in flags] for flags in guided]
    return teach


def teacher_for(config):
    """(teacher, what it is in words) for a task without a bank; config: train.py's or eval.py's."""
    if config.task in BUILT_IN:
        return BUILT_IN[config.task].teacher(config.teacher_error, config.systematic, config.seed), \
            f"a simulated teacher (wrong on {config.teacher_error:.0%} of the facts, {config.systematic:.0%} of that one misconception)"
    raise ValueError(f"--task {config.task}: give routes with --bank FILE (python data.py makes one)")


def make_routes(problems, teacher, n, inject_rules=0.0, seed=0):
    """Let the teacher write n routes for each problem -> new Problems. inject_rules: the probability q that a route is
    guided. A route is positive if its final answer equals the gold answer."""
    guided = []
    for problem in problems:
        rng = random.Random(f"guided {seed} {problem.question}")
        guided.append([bool(problem.rules) and rng.random() < inject_rules for _ in range(n)])
    taught = []
    for problem, flags, texts in zip(problems, guided, teacher(problems, guided)):
        answers = [final_answer(text) for text in texts]
        routes = [Route(t, a, answers_match(a, problem.answer), g) for t, a, g in zip(texts, answers, flags)]
        taught.append(Problem(problem.question, problem.answer, routes, problem.rules))
    return taught


def need_routes(problems, config):
    """Problems with at least config.routes routes each: where there are fewer, a teacher writes them now, in memory
    (python data.py writes a bank to keep). config: train.py's or eval.py's."""
    if min(len(p.routes) for p in problems) >= config.routes:
        return problems
    teacher, what = teacher_for(config)
    print(f"{what} writes {max(config.n, config.routes)} routes for each of {len(problems)} questions", flush=True)
    return make_routes(problems, teacher, max(config.n, config.routes), config.inject_rules, config.seed)


def bank_summary(problems):
    """What a bank holds, as lines of text."""
    routes = [r for p in problems for r in p.routes]
    kinds = [{r.correct for r in p.routes} for p in problems]
    distinct = [len({canonical(r.answer or "") for r in p.routes}) for p in problems]
    wrong = Counter(canonical(r.answer or "(none)") for r in routes if not r.correct).most_common(5)
    n = max(1, len(problems))
    return [f"questions                        {len(problems)}",
            f"routes                           {len(routes)} ({sum(r.guided for r in routes)} guided)",
            f"accuracy of the teacher          {sum(r.correct for r in routes) / max(1, len(routes)):.3f}",
            f"questions with right and wrong   {sum(len(k) == 2 for k in kinds) / n:.3f}",
            f"distinct answers per question    {sum(distinct) / n:.2f}",
            f"most frequent wrong answers      {', '.join(f'{a} ({c})' for a, c in wrong)}"]


# ---- command lines --------------------------------------------------------------------------------------------------
def flag(default, help, **more):
    """A field of a config dataclass that is also a command-line flag: its default, one line of help, and choices."""
    return dataclasses.field(default=default, metadata={"help": help, **more})


def parse_flags(config_class, doc, argv=None):
    """Command line -> config: every field is a flag of its name (a field without default is positional)."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(config_class):
        kind = (typing.get_args(field.type) or (field.type,))[0]  # str of `str`, of `str | None` and of `list[str]`
        more, shown = dict(field.metadata), field.metadata["help"].replace("%", "%%")
        name = "--" + field.name.replace("_", "-")
        if typing.get_origin(field.type) is list:
            parser.add_argument(field.name, nargs="+", metavar=field.name.upper(), help=shown)
        elif kind is bool:
            parser.add_argument(name, action="store_true", help=shown)
        else:
            more["help"] = shown if field.default is None else f"{shown} (default: {field.default})"
            parser.add_argument(name, type=kind, default=field.default, metavar=None if "choices" in more else "X", **more)
    return config_class(**vars(parser.parse_args(argv)))
