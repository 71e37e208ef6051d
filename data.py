"""Problems, teachers and banks. A bank is a JSONL file, one problem with its N routes a line:

    {"question": str, "answer": str, "routes": [{"text": str, "answer": str, "correct": bool, "guided": bool}], "rules": [str]}

    python data.py --task shop --n 8 --out bank.jsonl           a simulated teacher, in seconds
    python data.py --task gsm8k --n 8 --out bank.jsonl          gold solutions, six in ten with a mistake put in
    python data.py --task my.jsonl --teacher Qwen2.5-1.5B-Instruct --out bank.jsonl                    a model, on this machine
    python data.py --task my.jsonl --teacher http://localhost:8000/v1 --teacher-model NAME --out bank.jsonl     behind a server

The same command continues a bank that was cut short; beside it, bank.jsonl.config.json records how it is made.
A teacher is a function (problems, guided) -> texts: guided[i][j] says whether the expert rules of problem i enter the
prompt of its route j (guided CoT distillation; a rule reaches the student only through what the teacher writes).
"""
import argparse
import dataclasses
import functools
import http.client
import json
import math
import os
import random
import sys
import threading
import time
import typing
import urllib.request
import zlib
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from assets import ads, gsm8k, shop
from engine.answers import plain_number
from realm import Problem, Route, teacher_prompt
from rewards import answers_match, canonical, final_answer

BUILT_IN = {"shop": shop, "ads": ads}  # name -> module with SIZES, problems(split, limit) and teacher(error, systematic, seed)
SPLITS = ("train", "validation", "test", "ood", "all")
DEFAULT_TEACHER = "Qwen2.5-1.5B-Instruct"  # where a task has nothing to simulate one from; fits beside a 0.5B student
MAX_LINE, MAX_REPLY = 2 ** 26, 2 ** 20  # bytes of a bank's line and of a server's reply
GSM8K_URL = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"


# ---- GSM8K ----------------------------------------------------------------------------------------------------------
def gsm8k_file(name):
    """The path of train.jsonl or test.jsonl in a cache, fetched once from OpenAI's repository."""
    path = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "realm" / "gsm8k" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            with urllib.request.urlopen(GSM8K_URL + name, timeout=60) as reply:
                partial.write_bytes(reply.read())
        except (OSError, http.client.HTTPException) as error:
            raise ValueError(f"GSM8K could not be fetched from {GSM8K_URL + name} ({error}): give it with --data DIR") from None
        partial.rename(path)
    return path


# ---- files ----------------------------------------------------------------------------------------------------------
def read_lines(path):
    """(line number, object) of a JSONL file; blank lines are skipped. Raises ValueError naming file and line."""
    try:
        if Path(path).exists() and not Path(path).is_file():  # a device or a pipe might never end
            raise OSError("not a file")
        with open(path, "rb") as file:  # only \n ends a line: as text, U+2028 inside a string would too
            for i, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
                if len(line) > MAX_LINE:
                    raise ValueError(f"{path}, line {i}: longer than {MAX_LINE // 2 ** 20} MiB")
                try:
                    text = line.decode("utf-8-sig" if i == 1 else "utf-8").strip()
                    entry = json.loads(text) if text else None
                    json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()  # refuses half a surrogate pair, nan, 1e999
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, line {i}: not {'UTF-8' if isinstance(error, UnicodeError) else 'JSON'} ({error})") from None
                if text:
                    yield i, entry
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None


def to_problem(entry, where):
    """One line of a bank, checked field by field -> Problem. A missing `correct` is computed, a missing route answer read
    from the route's text; GSM8K's own lines (answer "... #### 72") give the gold solution as a route."""
    def need(value, kind, name):
        if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
            raise ValueError(f"{where}: field {name!r} must be a {getattr(kind, '__name__', 'string or number')}, "
                             f"not {'missing' if value is None else type(value).__name__}")
        return value
    need(entry, dict, "(the whole line)")
    question, answer = need(entry.get("question"), str, "question"), plain_number(need(entry.get("answer"), (str, int, float), "answer"))
    if not question.strip() or not answer.strip():
        raise ValueError(f"{where}: field {'question' if not question.strip() else 'answer'!r} is empty")
    routes = []
    if "####" in answer:
        routes.append(Route(answer, final_answer(answer), True))
        answer = need(routes[0].answer, str, "answer (behind its ####)")
    for i, route in enumerate(need(entry.get("routes", []), list, "routes")):
        need(route, dict, f"routes[{i}]")
        text = need(route.get("text"), str, f"routes[{i}].text")
        given = route.get("answer")
        given = final_answer(text) if given is None else plain_number(need(given, (str, int, float), f"routes[{i}].answer"))
        correct = need(route.get("correct", answers_match(given, answer)), bool, f"routes[{i}].correct")
        routes.append(Route(text, given, correct, need(route.get("guided", False), bool, f"routes[{i}].guided")))
    rules = [need(rule, str, f"rules[{i}]") for i, rule in enumerate(need(entry.get("rules", []), list, "rules"))]
    return Problem(question.strip(), answer, routes, rules)  # stripped as in a prompt: the same prompt is the same question


def read_bank(path):
    """The problems of a JSONL file. Raises ValueError naming file, line and field; ValueError if it holds none, or one
    question with two gold answers."""
    problems, seen = [], {}
    for i, entry in read_lines(path):
        problem = to_problem(entry, f"{path}, line {i}")
        first, answer = seen.setdefault(problem.question, (i, problem.answer))
        if not answers_match(problem.answer, answer) and problem.answer != answer:
            raise ValueError(f"{path}, line {i}: asks what line {first} asks, with another answer")
        problems.append(problem)
    if not problems:
        raise ValueError(f"{path}: holds no problems")
    return problems


def load_problems(task, split, limit=None, data=None):
    """The problems of a split ("train", "validation", "test", "all", or "ood" for built-in tasks) -> list[Problem].

    task: a built-in task ("shop"), "gsm8k", or the path of a JSONL file or of a folder with train.jsonl and test.jsonl.
    A single file is split by a hash of each question: 80% train, 10% validation, 10% test; a folder's validation problems
    are the last of its train.jsonl. No two splits share a question. "all" is what a bank is made of (train.py splits a bank
    by the same hash): the whole file, and of a folder train.jsonl only, so that its test.jsonl stays unseen.
    data: where GSM8K's files are, if not to be fetched. Raises ValueError in one line.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
    if task in BUILT_IN:
        if data:
            raise ValueError(f"--data {data}: holds GSM8K, but the task is {task}; add --task gsm8k")
        n = limit or BUILT_IN[task].SIZES[split]
        if split == "all":
            parts = {"train": n - n // 10 * 2, "validation": n // 10, "test": n // 10}
            return [p for part, size in parts.items() if size for p in BUILT_IN[task].problems(part, size)]
        return BUILT_IN[task].problems(split, n)
    if split == "ood":
        raise ValueError(f"only the built-in tasks ({', '.join(BUILT_IN)}) have an out-of-distribution split")
    where = data if task == "gsm8k" and data else task
    if Path(where).is_file():
        return split_by_question(read_bank(where), split)[:limit]
    if where != "gsm8k" and not Path(where).is_dir():
        raise ValueError(f"--data {data}: neither a folder with train.jsonl and test.jsonl, nor a file" if where != task else
                         f"{task}: neither a built-in task ({', '.join(BUILT_IN)}), nor gsm8k, nor a JSONL file or folder that is there")
    name, test = "test.jsonl" if split == "test" else "train.jsonl", Path(where) / "test.jsonl"
    problems = read_bank(gsm8k_file(name) if where == "gsm8k" else Path(where) / name)
    if split != "test" and test.is_file():  # a folder of one's own; GSM8K's files share no question
        unseen = {p.question for p in read_bank(test)}
        problems = [p for p in problems if p.question not in unseen]
    if split in ("train", "validation"):
        first = len(problems) - min(500, len(problems) // 10)  # of the validation problems
        held = {p.question for p in problems[first:]}
        problems = problems[first:] if split == "validation" else [p for p in problems if p.question not in held]
    return problems[:limit]


def split_by_question(problems, split):
    """80 / 10 / 10 by a hash of the question, so that a question stays in its split whatever else the file holds."""
    share = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100), "all": range(100)}[split]
    return [p for p in problems if zlib.crc32(p.question.encode()) % 100 in share]


# ---- teachers -------------------------------------------------------------------------------------------------------
def by_prompt(answer):
    """The teacher that writes what answer(prompts) -> texts does: one prompt per route, in order."""
    def teach(problems, guided):
        prompts = [teacher_prompt(p.question, p.rules if reads_rules else ())
                   for p, flags in zip(problems, guided) for reads_rules in flags]
        texts = iter(answer(prompts))
        return [[next(texts) for _ in flags] for flags in guided]
    return teach


def model_teacher(name, device=None, temperature=0.8, max_new_tokens=400, seed=0):
    """Any Hub id or local folder as the teacher, sampled with the project's own sampler; loaded when it is first asked. What
    it draws depends on the seed and on the prompts asked together, so that a bank continued later repeats no draw."""
    import torch
    from grpo import load_policy, sample, settle_device
    device = settle_device(device)
    policy = functools.cache(lambda: load_policy(name, device))

    @by_prompt
    def teach(prompts):
        generator = torch.Generator(device).manual_seed(zlib.crc32(json.dumps([seed, prompts]).encode()))
        try:
            return sample(*policy(), prompts, 1, max_new_tokens, temperature, generator=generator).texts
        except ValueError as error:
            raise ValueError(str(error).replace("--model", "--teacher", 1)) from None
        except torch.OutOfMemoryError:
            raise ValueError(f"--teacher {name}: out of GPU memory: lower --batch, --n or --max-new-tokens") from None
    return teach


class AnyStatus(urllib.request.HTTPErrorProcessor):
    """Every reply is handed back as it is: no exception, and no redirect that would carry the key to another host."""

    def http_response(self, request, response):
        return response
    https_response = http_response


def within(seconds, work):
    """work(), given up after so many seconds: a server that sends a byte now and then never meets a socket's time-out."""
    reply = Future()

    def try_it():
        try:
            reply.set_result(work())
        except Exception as error:
            reply.set_exception(error)
    thread = threading.Thread(target=try_it, daemon=True)
    thread.start(), thread.join(seconds)
    if not reply.done():
        raise TimeoutError(f"no whole reply in {seconds:g} s")
    return reply.result()


def may_hold_a_key(address):
    """Is there more in a server's address than host, port and path? It is recorded, and shown in errors."""
    return not set("@?#").isdisjoint(address)


def server_teacher(url, model, temperature=0.8, max_tokens=400, concurrency=8, retries=5, timeout=60):
    """An OpenAI-compatible server (vLLM, Ollama, llama.cpp, a hosted API) as the teacher: one request a route, at most
    `concurrency` at a time. url: its base, with or without /v1. The key is read from OPENAI_API_KEY, sent, and shown nowhere.

    A busy, failing or silent server is asked again, `retries` times, after a growing pause or the one it names (Retry-After);
    any other refusal (a wrong key, an unknown model) raises ValueError at once. timeout: seconds without a sign of life; a
    whole reply may take twice that, and hold MAX_REPLY bytes.
    A reply without text (a refusal, say) is an empty route; one cut at max_tokens stays as it is.
    """
    key, opener = os.environ.get("OPENAI_API_KEY", "").strip(), urllib.request.build_opener(AnyStatus)
    if not model or may_hold_a_key(url) or not (key.isascii() and key.isprintable()):
        raise ValueError("--teacher: a key belongs in OPENAI_API_KEY, not in the address" if may_hold_a_key(url) else
                         f"--teacher {url}: a server needs --teacher-model NAME" if not model else
                         "OPENAI_API_KEY: holds characters that cannot be sent")
    address = url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1") + "/v1/chat/completions"
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def told(failure):  # in one line, and without the key, which a server may quote
        failure = " ".join(failure.split())
        return ValueError(f"--teacher {url}: {(failure.replace(key, '(the key)') if key else failure)[:300]}")

    def ask(prompt):
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": temperature,
                           "max_tokens": max_tokens}).encode()
        def request():
            with opener.open(urllib.request.Request(address, body, headers), timeout=timeout) as reply:
                raw = reply.read(MAX_REPLY + 1)
                if reply.length and len(raw) <= MAX_REPLY:  # dropped in the middle
                    raise http.client.IncompleteRead(raw)
                return reply.status, raw, reply.headers.get("Retry-After", "")

        for attempt in range(retries + 1):
            status, pause = 0, min(30.0, 0.5 * 2 ** attempt) * random.uniform(0.5, 1)  # jitter: they do not all return at once
            try:
                status, raw, after = within(2 * timeout, request)
                text = raw.decode(errors="replace")
                pause = min(300.0, float(after)) if after.isdecimal() else pause
                failure = f"{status} {text}"
                if len(raw) > MAX_REPLY:
                    failure, status = f"a reply of more than {MAX_REPLY} bytes: {text}", 400  # asking again would not help
                if status == 200:
                    failure = f"not a chat completion: {text}"
                    message = json.loads(text)["choices"][0]["message"]
                    thought = message.get("reasoning_content") or message.get("reasoning") or ""  # some servers split it off
                    written = "\n".join([thought, message.get("content") or ""]).strip()
                    return written.encode(errors="replace").decode()  # half a surrogate pair is no text
            except (OSError, http.client.HTTPException) as error:  # refused, dropped, cut short, timed out
                status, failure = 0, f"{type(error).__name__} {error}"
            except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
                if status == 0:  # else it is a reply of another form
                    raise told(f"cannot be asked: {error}") from None
            if 300 <= status < 500 and status not in (408, 409, 425, 429):
                raise told(failure)
            if attempt < retries:
                time.sleep(pause)
        raise told(f"no answer after {retries + 1} attempts; the last: {failure}")

    @by_prompt
    def teach(prompts):
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(ask, prompts))
    return teach


def teacher_for(config, problems, temperature=0.8, longest=400):
    """(teacher, what it is in words) for these problems. config: train.py's, eval.py's or this file's; longest: tokens of a
    route. Without --teacher it is simulated where that is possible, else DEFAULT_TEACHER."""
    if not problems:
        raise ValueError(f"--task {config.task}: no problems in this split")
    name = config.teacher
    if name == "simulated" or not name and (
            config.task in BUILT_IN or all(p.routes and "####" in p.routes[0].text for p in problems)):
        wrong = "of the facts" if config.task in BUILT_IN else "of the routes, a mistake put into the gold one"
        teacher = BUILT_IN.get(config.task, gsm8k).teacher(config.teacher_error, config.systematic, config.seed)
        return teacher, f"a simulated teacher (wrong on {config.teacher_error:.0%} {wrong}; {config.systematic:.0%} of it a misconception)"
    if name and name.startswith(("http://", "https://")):
        # A server that does not stream writes the whole route before it sends a byte: hence the long time-out.
        return server_teacher(name, config.teacher_model, temperature, longest, timeout=300), f"{config.teacher_model} at {name}"
    teacher = model_teacher(name or DEFAULT_TEACHER, config.device, temperature, longest, config.seed)
    return teacher, (name or f"{DEFAULT_TEACHER}, the default --teacher,") + f" on {config.device or 'this machine'}"


# ---- banks ----------------------------------------------------------------------------------------------------------
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


def taught_in_batches(problems, teacher, config, n, done=0, batch=16):
    """make_routes for a batch of problems at a time, from problem `done` on, with a progress bar -> the taught, one by one."""
    with tqdm(total=len(problems), initial=done, desc="teacher", unit="question", delay=1) as bar:
        for first in range(done, len(problems), batch):
            part = make_routes(problems[first:first + batch], teacher, n, config.inject_rules, config.seed)
            yield from part
            bar.update(len(part))


def need_routes(problems, config):
    """Problems with at least config.routes routes each: where no problem has any, a teacher writes them now, in memory
    (python data.py writes a bank to keep). A gold solution alone is no teacher's route. config: train.py's or eval.py's.
    Raises ValueError, in one line, for a bank in which a problem has too few."""
    untaught = all(not p.routes or len(p.routes) == 1 and p.routes[0].correct and "####" in p.routes[0].text for p in problems)
    if untaught and config.routes:
        (teacher, what), n = teacher_for(config, problems), max(config.n, config.routes)
        print(f"{what} writes {n} routes for each of {len(problems)} questions", flush=True)
        return list(taught_in_batches(problems, teacher, config, n))
    poorest = min(problems, key=lambda p: len(p.routes))
    if len(poorest.routes) < config.routes:
        raise ValueError(f"--routes {config.routes}: the question {poorest.question[:60]!r} has only {len(poorest.routes)} routes")
    return problems


def problems_done(path, problems, settings):
    """How many problems a bank holds already, which is then ready to be appended to: the batches that are whole stay, what a
    cut left behind them goes. A new one's settings are recorded beside it. Raises ValueError if a bank was made with other
    settings, or from other questions."""
    path, record = Path(path), Path(f"{path}.config.json")
    if not path.exists() or path.stat().st_size == 0:
        record.write_text(json.dumps(settings, indent=1) + "\n")
        return 0
    try:
        before = json.loads(record.read_text())
    except (OSError, ValueError):
        raise ValueError(f"--out {path}: exists, and no {record.name} says how it was made; choose another file") from None
    other = [f"--{name.replace('_', '-')} {before.get(name)}" for name in settings if before.get(name) != settings[name]]
    if other:
        raise ValueError(f"--out {path}: was made with {', '.join(other)}; use the same, or choose another file")
    lines = path.read_bytes().split(b"\n")[:-1]  # what stands behind the last newline is half a line, or nothing
    done = len(lines) if len(lines) == len(problems) else len(lines) // settings["batch"] * settings["batch"]
    for i, line in enumerate(lines[:done]):
        if i >= len(problems) or not line.startswith(f'{{"question": {json.dumps(problems[i].question)},'.encode()):
            raise ValueError(f"--out {path}, line {i + 1}: not the question that --task {settings['task']} has there now")
    os.truncate(path, sum(len(line) + 1 for line in lines[:done]))
    return done


def bank_summary(problems):
    """What a bank holds, as lines of text. A route is redundant if another route of its question has the same answer."""
    routes = [r for p in problems for r in p.routes]
    kinds = [{r.correct for r in p.routes} for p in problems]
    answers = [Counter(canonical(r.answer or "none") for r in p.routes) for p in problems]
    wrong = Counter(canonical(r.answer or "none") for r in routes if not r.correct).most_common(5)
    n, m = len(problems), len(routes)
    return [f"questions                        {n}",
            f"routes                           {m} ({sum(r.guided for r in routes)} guided)",
            f"accuracy of the teacher          {sum(r.correct for r in routes) / m:.3f}",
            f"questions with right and wrong   {sum(len(k) == 2 for k in kinds) / n:.3f}",
            f"distinct answers per question    {sum(map(len, answers)) / n:.2f}",
            f"redundant routes                 {sum(c for a in answers for c in a.values() if c > 1) / m:.3f}",
            f"most frequent wrong answers      {', '.join(f'{a} ({c})' for a, c in wrong)}"]


# ---- command lines --------------------------------------------------------------------------------------------------
def flag(default, help, choices=None, least=-math.inf, most=math.inf):
    """A field of a config dataclass that is also a command-line flag: its default (or two, of a tiny student and of a larger
    one), one line of help, choices and bounds."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "least": least, "most": most})


def check_bounds(config):
    """Raises ValueError, in one line, for a number outside its flag's bounds (nan lies in none)."""
    for field in dataclasses.fields(config):
        value, least, most = getattr(config, field.name), field.metadata["least"], field.metadata["most"]
        if isinstance(value, (int, float)) and not (least <= value <= most and abs(value) < math.inf):
            allowed = "be finite" if value == math.inf else f"be at least {least}" if most == math.inf else f"lie in [{least}, {most}]"
            raise ValueError(f"--{field.name.replace('_', '-')} must {allowed}, not {value}")


def given_flags(config_class, doc, argv=None):
    """The flags that stand on the command line (name -> value): every field is a flag of its name (a field without default
    is positional)."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     argument_default=argparse.SUPPRESS)
    for field in dataclasses.fields(config_class):
        kind = (typing.get_args(field.type) or (field.type,))[0]  # str of `str`, of `str | None` and of `list[str]`
        name, choices = "--" + field.name.replace("_", "-"), field.metadata["choices"]
        shown = field.metadata["help"].replace("%", "%%")  # argparse would take a % for a format
        if typing.get_origin(field.type) is list:
            parser.add_argument(field.name, nargs="+", metavar=field.name.upper(), help=shown)
        elif kind is bool:
            parser.add_argument(name, action="store_true", help=shown)
        else:
            default = "tiny {}, else {}".format(*field.default) if isinstance(field.default, tuple) else field.default
            shown += "" if default is None else f" (default: {default})"
            parser.add_argument(name, type=kind, choices=choices, metavar=None if choices else "X", help=shown)
    given = vars(parser.parse_args(argv))
    for name, value in given.items():
        if value == "":  # an unset variable in a shell, most likely
            parser.error(f"--{name.replace('_', '-')}: is empty")
    teacher = given.get("teacher") or ""
    if may_hold_a_key(teacher) and not os.path.exists(teacher):  # Path.exists may raise, with the whole name
        parser.error("--teacher: no folder, and an address or a name holds none of @ ? #: a key belongs in OPENAI_API_KEY")
    return given


@dataclass
class Config:
    task: str = flag("shop", "shop or ads (built in), gsm8k, or a JSONL file or folder of your own questions, answers and rules")
    data: str | None = flag(None, "folder or file with GSM8K's own JSONL, instead of fetching it")
    split: str = flag("all", "which problems; train.py splits a bank by a hash of its questions", choices=SPLITS)
    teacher: str | None = flag(None, "simulated, a model (Hub id, short name, folder), or the address of an OpenAI-compatible "
                               "server; by default simulated for shop, ads and gsm8k, else " + DEFAULT_TEACHER)
    teacher_model: str | None = flag(None, "the model's name at the server (its key: OPENAI_API_KEY in the environment)")
    n: int = flag(8, "N, routes per question", least=1)
    temperature: float = flag(0.8, "sampling temperature of the teacher", least=0, most=100)
    max_new_tokens: int = flag(400, "longest route", least=1)
    inject_rules: float = flag(0.0, "q, probability that the expert rules enter the teacher's prompt for a route", least=0, most=1)
    teacher_error: float = flag(0.65, "simulated: probability that a fact (shop, ads) or a route (gsm8k) is wrong", least=0, most=1)
    systematic: float = flag(0.5, "simulated: share of its mistakes that are one misconception (else random slips)", least=0, most=1)
    limit: int | None = flag(None, "use only so many problems", least=1)
    batch: int = flag(16, "questions the teacher is given at a time", least=1)
    seed: int = flag(0, "seed of the teacher")
    device: str | None = flag(None, "cpu or cuda (default: a GPU if there is one)")
    out: str = flag("bank.jsonl", "the bank; one that was cut short is continued")


def build_bank(config):
    """Write a bank, or the rest of one, line by line."""
    check_bounds(config)
    problems = load_problems(config.task, config.split, config.limit, config.data)
    problems = list({p.question: p for p in problems}.values())  # a question asked twice in a file is asked once
    teacher, what = teacher_for(config, problems, config.temperature, config.max_new_tokens)
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("out", "device")}  # what decides what is written
    done = problems_done(config.out, problems, settings)
    print(f"{what} writes {config.n} routes for each of {len(problems)} questions"
          + (f", of which {done} are done" if done else ""), flush=True)
    begun = not os.path.exists(config.out)
    try:
        with open(config.out, "ab") as file:
            for problem in taught_in_batches(problems, teacher, config, config.n, done, config.batch):
                file.write(json.dumps(dataclasses.asdict(problem)).encode() + b"\n")
                file.flush()
    finally:
        if begun and os.path.isfile(config.out) and not os.path.getsize(config.out):  # refused before the first line: leave nothing
            os.remove(config.out), os.remove(f"{config.out}.config.json")
    return read_bank(config.out)


def main(argv=None):
    config = Config(**given_flags(Config, __doc__, argv))
    try:
        bank = build_bank(config)
    except (ValueError, OSError) as error:
        sys.exit(f"data.py: {error}")
    except KeyboardInterrupt:
        sys.exit(f"data.py: stopped; the same command continues {config.out}")
    print("\n".join([*bank_summary(bank), f"bank                             {config.out}"]))


if __name__ == "__main__":
    main()
