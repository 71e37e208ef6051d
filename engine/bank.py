"""Bank files: JSONL, one problem with its N routes a line.

    {"question": str, "answer": str, "rules": [str],
     "routes": [{"text": str, "answer": str, "correct": bool, "guided": bool}]}

Promise: a bad line is one error that names file, line and field. A bank that was cut at any byte
is continued to what it would have been. A bank that cannot teach is said to be one.
To read: `to_problem` is the format; `continue_bank` and `append_batch` write it.
tests/test_data.py and tests/test_hostile.py hold it to that.
"""
import contextlib
import dataclasses
import json
import os
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

from engine.answers import tidy
from engine.files import lock, write_json
from engine.flags import flag_name, for_the_record
from engine.prose import last_side
from engine.text import plain_answer
from realm import Problem, Route
from rewards import answers_match, canonical, final_answer

MAX_LINE = 2 ** 26  # bytes
JSONL = "every line must be one JSON object"
MAX_WORDS, MAX_CHARACTERS = 12, 200  # of a gold answer that a student may be asked to repeat


# ---- reading -------------------------------------------------------------------------------------
def read_lines(path):
    """(line number, object) of each line of a JSONL file; blank lines are skipped.

    Raises ValueError that names the file, and the line if one is bad.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a device or a pipe might never end
            raise OSError("not a file")
        with open(path, "rb") as file:  # in text mode, U+2028 inside a string would end a line too
            number_of_line = 0
            while line := file.readline(MAX_LINE + 1):
                number_of_line += 1
                where = f"{path}, line {number_of_line}"
                text = decoded(line, where, first=number_of_line == 1)
                if text:
                    yield number_of_line, parsed(text, where)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None


def decoded(line, where, first):
    """A line of bytes as text. Only the first line of a file may begin with a byte order mark."""
    if len(line) > MAX_LINE:
        raise ValueError(f"{where}: longer than {MAX_LINE // 2 ** 20} MiB")
    try:
        return line.decode("utf-8-sig" if first else "utf-8").strip()
    except UnicodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error}); {JSONL}") from None


def parsed(text, where):
    """The JSON value of a line. Refuses nan, 1e999 and half a surrogate pair too."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); {JSONL}") from None
    return value


def check_kind(value, kind, where, name):
    """Raises ValueError, naming place and field, unless the value is of this kind of JSON."""
    wrong_bool = isinstance(value, bool) and kind is not bool  # in Python True is an int
    if isinstance(value, kind) and not wrong_bool:
        return
    wanted = getattr(kind, "__name__", "string or number")
    found = "null" if value is None else type(value).__name__
    raise ValueError(f"{where}: field {name!r} must be a {wanted}, not {found}")


def read_field(entry, name, kind, where, prefix="", default=None):
    """One field of a JSON object. Where it is missing: the default, or ValueError if it is None."""
    if name in entry:
        check_kind(entry[name], kind, where, prefix + name)
        return entry[name]
    if default is None:
        wanted = getattr(kind, "__name__", "string or number")
        raise ValueError(f"{where}: field {prefix + name!r} must be a {wanted}, not missing"
                         f" (there are: {', '.join(list(entry)[:6])[:80]})")
    return default


def as_text(answer):
    """An answer as text. A JSON number is written out in plain decimals.

    >>> as_text(1e16), as_text(0.00001), as_text(1000), as_text(" 7 ")
    ('10000000000000000', '0.00001', '1000', ' 7 ')
    """
    if isinstance(answer, float):
        return format(Decimal(repr(answer)), "f")
    return str(answer)


def to_problem(entry, where):
    """One line of a bank, checked field by field -> Problem.

    A `correct` that is missing is computed; a route's answer that is missing is read from its
    text. A line of GSM8K (answer "... #### 72") has a gold solution, which is no teacher's route.
    Raises ValueError that begins with `where` and names the field.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: holds a {type(entry).__name__}; {JSONL}")
    question = read_field(entry, "question", str, where)
    answer = as_text(read_field(entry, "answer", (str, int, float), where))
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            raise ValueError(f"{where}: field {name!r} is empty")
    solution = None
    if "####" in answer:
        solution = answer
        # All that stands behind the last mark, commas too: it is no teacher's prose.
        answer = last_side(tidy(solution.rpartition("####")[2]))
        if answer is None:
            raise ValueError(
                f"{where}: field 'answer (behind its ####)' must be a str, not missing")
    routes = []
    for i, route in enumerate(read_field(entry, "routes", list, where, default=[])):
        routes.append(to_route(route, answer, where, f"routes[{i}]"))
    rules = read_field(entry, "rules", list, where, default=[])
    for i, rule in enumerate(rules):
        check_kind(rule, str, where, f"rules[{i}]")
    # Stripped as in a prompt: the same prompt is the same question.
    return Problem(question.strip(), answer, routes, list(rules), solution)


def to_route(entry, gold, where, name):
    """One route of a line, checked field by field -> Route. gold: the problem's answer."""
    check_kind(entry, dict, where, name)
    text = read_field(entry, "text", str, where, f"{name}.")
    if entry.get("answer") is None:
        answer = final_answer(text)
    else:
        answer = as_text(read_field(entry, "answer", (str, int, float), where, f"{name}."))
    label = answers_match(answer, gold)
    correct = read_field(entry, "correct", bool, where, f"{name}.", default=label)
    guided = read_field(entry, "guided", bool, where, f"{name}.", default=False)
    return Route(text, answer, correct, guided)


def read_bank(path):
    """The problems of a JSONL file, each question once (see `each_once`).

    Raises ValueError that names file, line and field; also if the file holds no problems, or one
    question with two different gold answers.
    """
    problems = []
    first_asked = {}  # question -> (line, gold answer)
    for line, entry in read_lines(path):
        problem = to_problem(entry, f"{path}, line {line}")
        before, answer = first_asked.setdefault(problem.question, (line, problem.answer))
        if problem.answer != answer and not answers_match(problem.answer, answer):
            raise ValueError(
                f"{path}, line {line}: asks what line {before} asks, with another answer")
        problems.append(problem)
    if not problems:
        raise ValueError(f"{path}: holds no problems")
    return each_once(problems)


def each_once(problems):
    """Each question once, at its first place, with the routes and rules of all its lines. What two
    lines both hold is there once."""
    found = {}
    for problem in problems:
        first = found.setdefault(problem.question, problem)
        if first is not problem:
            first.routes += [route for route in problem.routes if route not in first.routes]
            first.rules += [rule for rule in problem.rules if rule not in first.rules]
            first.solution = first.solution or problem.solution
    return list(found.values())


# ---- writing -------------------------------------------------------------------------------------
def record_path(path):
    """The file beside a bank that says how it is made."""
    return Path(f"{path}.config.json")


def read_record(path):
    """(settings, cut) of the record beside a bank. cut: see `append_batch`.

    Raises ValueError if there is no record.
    """
    record = record_path(path)
    try:
        settings = json.loads(record.read_text())
        return settings, settings.pop("cut_replies", {})
    except (OSError, ValueError, AttributeError, TypeError):
        raise ValueError(f"--out {path}: exists, and no {record.name} says how it was made; "
                         "choose another file") from None


def write_record(path, settings, cut):
    """Write the record beside a bank. A killed program leaves the old one or the new one."""
    content = {**settings, "cut_replies": cut} if cut else settings
    write_json(record_path(path), content)


def continue_bank(path, problems, settings):
    """Make a bank ready to be appended to -> the number of problems that are done.

    A new bank gets its record. An interrupted bank keeps its whole batches, and the rest is CUT OFF
    the file. problems: all that the bank will hold. settings: dict of the flags that decide what
    is written. Raises ValueError if it was made with other settings, or from other questions.
    """
    path = Path(path)
    if not path.exists() or path.stat().st_size == 0:
        write_record(path, settings, {})
        return 0
    before, cut = read_record(path)
    refuse_other_settings(path, before, settings)
    left_out = {i for batch in cut.values() for i in batch["left_out"]}
    expected = [problem for i, problem in enumerate(problems) if i not in left_out]
    lines = path.read_bytes().split(b"\n")[:-1]  # behind the last newline is half a line or none
    done, whole = whole_batches(len(lines), len(problems), settings["batch"], left_out)
    for i, line in enumerate(lines, start=1):
        too_many = i > len(expected)
        if too_many or i <= whole and not is_line_of(line, expected[i - 1]):
            raise ValueError(f"--out {path}, line {i}: not the question, answer and rules that "
                             f"--task {settings['task']} has there now; choose another file")
    os.truncate(path, sum(len(line) + 1 for line in lines[:whole]))
    kept = {first: replies for first, replies in cut.items() if int(first) < done}
    if kept != cut:
        write_record(path, before, kept)
    return done


def whole_batches(n_lines, n_problems, batch, left_out):
    """(problems, lines) of the batches that are whole in a bank of so many lines.

    left_out: indices of the problems that have no line.

    >>> whole_batches(5, 10, 4, set()), whole_batches(7, 10, 4, {1}), whole_batches(9, 10, 4, {1})
    ((4, 4), (8, 7), (10, 9))
    """
    done, whole, lines = 0, 0, 0
    for i in range(n_problems):
        if i not in left_out:
            lines += 1
        if lines > n_lines:
            break
        if (i + 1) % batch == 0 or i + 1 == n_problems:
            done, whole = i + 1, lines
    return done, whole


def line_of(problem):
    """The line of a problem in a bank, in bytes."""
    fields = dataclasses.asdict(problem)
    del fields["solution"]  # of the task that the bank was made of
    return json.dumps(fields).encode()


def is_line_of(line, problem):
    """Does a line hold this question, answer and rules? Its routes are not compared."""
    begin, end = line_of(dataclasses.replace(problem, routes=[])).split(b'"routes": []')
    return line.startswith(begin) and line.endswith(end)


def refuse_other_settings(path, before, settings):
    """Raises ValueError if a bank was made with other settings; names those it was made with."""
    other = []
    for name in {**settings, **before}:
        if before.get(name) != settings.get(name):
            other.append(f"{flag_name(name)} {before.get(name)}")
    if other:
        raise ValueError(f"--out {path}: was made with {', '.join(other)}; use the same, or "
                         "choose another file")


@contextlib.contextmanager
def open_bank(path):
    """Open a bank to append to it. One that is still empty at the end leaves no file behind. Raises
    ValueError if another process writes it."""
    is_new = not os.path.exists(path)
    with open(path, "ab") as file:
        lock(file, f"--out {path}: another process is writing it")
        try:
            yield file
        finally:
            if is_new and not os.path.getsize(path):
                Path(path).unlink(missing_ok=True)
                record_path(path).unlink(missing_ok=True)


def append_batch(file, path, first, batch, n, tally):
    """Append a batch of problems to an open bank. One with fewer than n routes is left out.

    first: index of the batch's first problem. tally: Counter of the replies ("replies") and of
    those that the token limit cut ("cut"). Where there are such, the record gets, before the
    lines: {first: {"cut": int, "asked_again": int, "left_out": [index of a problem]}}.
    """
    left_out = [first + i for i, problem in enumerate(batch) if len(problem.routes) < n]
    if tally["cut"]:
        settings, cut = read_record(path)
        asked_again = tally["replies"] - n * len(batch)
        cut[str(first)] = {
            "cut": tally["cut"], "asked_again": asked_again, "left_out": left_out}
        write_record(path, settings, cut)
    for problem in batch:
        if len(problem.routes) == n:
            file.write(line_of(problem) + b"\n")
            file.flush()


def bank_settings(config):
    """The flags that decide what a bank holds, as its record has them -> dict."""
    settings = for_the_record(config)
    for name in ("out", "device"):
        del settings[name]
    for name in ("keep_cut", "teacher_options"):  # older records do not have them
        if not settings[name]:
            del settings[name]
    return settings


# ---- summing up ----------------------------------------------------------------------------------
def bank_summary(problems):
    """What a bank holds -> lines of text.

    A route is redundant if another route of its question has the same answer.
    """
    routes = [route for problem in problems for route in problem.routes]
    written = {}  # an answer as it is compared -> as the first route has it
    for route in routes:
        written.setdefault(canonical(route.answer or "none"), route.answer or "none")
    wrong = Counter(canonical(r.answer or "none") for r in routes if not r.correct)
    n_mixed = n_distinct = n_redundant = 0
    for problem in problems:
        answers = Counter(canonical(r.answer or "none") for r in problem.routes)
        n_mixed += len({r.correct for r in problem.routes}) == 2
        n_distinct += len(answers)
        n_redundant += sum(count for count in answers.values() if count > 1)
    most_frequent = ", ".join(
        f"{written[answer]} ({count})" for answer, count in wrong.most_common(5))
    n = len(problems)
    m = len(routes)
    return [f"questions                        {n}",
            f"routes                           {m} ({sum(r.guided for r in routes)} guided)",
            f"accuracy of the teacher          {sum(r.correct for r in routes) / m:.3f}",
            f"questions with right and wrong   {n_mixed / n:.3f}",
            f"distinct answers per question    {n_distinct / n:.2f}",
            f"redundant routes                 {n_redundant / m:.3f}",
            f"most frequent wrong answers      {most_frequent}"]


def cut_summary(tally, left_out):
    """What to say of replies that were cut at the token limit -> lines; none if there are none.

    tally: see `recorded_tally`. left_out: number of questions.
    """
    if not tally["cut"]:
        return []
    share = tally["cut"] / tally["replies"]
    of_all = f"{tally['cut']} of {tally['replies']}"
    return [f"replies cut at the token limit   {share:.3f} ({of_all}; data.py --max-new-tokens)",
            f"questions left out for that      {left_out}"]


def recorded_tally(path, n_questions, n):
    """(tally, number of questions left out) of a whole bank: see `append_batch`.

    n_questions: those that have a line; n: routes for each.
    """
    batches = read_record(path)[1].values()
    left_out = sum(len(batch["left_out"]) for batch in batches)
    asked_again = sum(batch["asked_again"] for batch in batches)
    cut = sum(batch["cut"] for batch in batches)
    replies = n * (n_questions + left_out) + asked_again
    return Counter(replies=replies, cut=cut), left_out


# ---- can it teach? -------------------------------------------------------------------------------
def lack_routes(problems):
    """Has no teacher written a route for any of these problems?"""
    return not any(problem.routes for problem in problems)


def with_correct_route(problems, config):
    """The problems that SFT can imitate, with a correct route. Where no teacher is asked for routes
    (--routes 0) the gold solution is one. Raises ValueError if SFT needs one and there is none."""
    if config.routes == 0:
        problems = [with_gold_route(problem) for problem in problems]
    found = [p for p in problems if any(route.correct for route in p.routes)]
    if config.sft_steps and not found:
        if config.routes == 0:
            raise ValueError("--routes 0: no teacher was asked, and SFT needs its correct routes")
        raise ValueError(f"--method {config.method}: no question of the bank has a correct route "
                         f"to learn from")
    return found


def with_gold_route(problem):
    """The problem with its gold solution as its only route, if it has one and no correct route."""
    if not problem.solution or any(route.correct for route in problem.routes):
        return problem
    route = Route(problem.solution, problem.answer, True)
    return dataclasses.replace(problem, routes=[route])


def why_it_cannot_teach(problems, judges=True):
    """One line that says why a bank cannot teach, with three examples; None if it can.

    It cannot if no route is right (nothing to imitate, and most likely an answer that is never
    recognised), if none is wrong (nothing to judge), or if most gold answers are prose, or nothing
    that can be compared (no student will ever be right). A bank without routes is not judged.
    judges: does the student judge routes? rft only imitates right ones, and grpo shows none.
    """
    pairs = []  # one route of each question
    for problem in problems:
        if problem.routes:
            pairs.append((problem.answer, problem.routes[0].answer))
    if not pairs:
        return None
    labels = {route.correct for problem in problems for route in problem.routes}
    unreadable = [pair for pair in pairs if is_unreadable(pair[0])]
    if 2 * len(unreadable) > len(pairs):
        reason = (f"{len(unreadable)} of {len(pairs)} gold answers are no number and no few words, "
                  "so no student will ever be right")
        pairs = unreadable
    elif True not in labels:
        reason = "no route is right, so the answers may be written in a way that is never accepted"
    elif False not in labels and judges:
        reason = "no route is wrong, so there is nothing to judge in them"
    else:
        return None
    different = list(dict.fromkeys(pairs))
    examples = "; ".join(example(pair) for pair in different[:3])
    return f"this bank cannot teach: {reason}. Examples: {examples}"


def is_unreadable(gold):
    """Is a gold answer too long to be repeated word for word, or nothing that can be compared?
    An answer that is our markup can not be written.

    >>> [is_unreadable(gold) for gold in ("1/2", "not relevant", "word " * 20, ".", "<think>")]
    [False, False, True, True, True]
    """
    if is_number(gold):
        return False
    too_long = len(gold.split()) > MAX_WORDS or len(gold) > MAX_CHARACTERS
    return too_long or not answers_match(plain_answer(gold), gold)


def is_number(answer):
    """Is an answer compared by its value, and not by its letters?"""
    return bool(re.fullmatch(r"-?[0-9]+(/[0-9]+)?", canonical(answer)))


def example(pair):
    """One example for `why_it_cannot_teach`. pair: (gold answer, a route's answer or None)."""
    gold, answer = pair
    said = "has no answer" if answer is None else f"says {shortened(answer)}"
    return f"gold {shortened(gold)}, route {said} ({why_they_differ(gold, answer)})"


def shortened(text):
    """The beginning of a text, quoted and on one line."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def why_they_differ(gold, answer):
    """Why a gold answer and a route's answer differ, in a few words.

    >>> [why_they_differ("5", answer) for answer in (None, "5.0", "7", "five")]
    ['no answer was found in it', 'they are equal', 'another number', 'words, not a number']
    """
    if answer is None:
        return "no answer was found in it"
    if answers_match(answer, gold):
        return "they are equal"
    if is_unreadable(gold):
        return f"the gold answer is {len(gold.split())} words long"
    numbers = is_number(gold), is_number(answer)
    if numbers == (True, True):
        return "another number"
    if numbers == (True, False):
        return "words, not a number"
    if numbers == (False, True):
        return "a number, not words"
    return "other words"
