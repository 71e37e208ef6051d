"""GSM8K: school problems in English. The download, and a simulated teacher for it.

    gold route     Al weighs 146 + 38 = <<146+38=184>>184 pounds. ...
    wrong route    Al weighs 146 + 38 = <<146+38=174>>174 pounds. ...

The teacher needs no LLM. A route is the gold solution, or the gold solution with one mistake in it
that is carried through to the answer.

Promise: the file is fetched once, and half a file is never kept. The share of wrong routes is
`error`, except where no mistake can be made.
To read: teacher. How a mistake is made is in gsm8k_mistakes.py and not needed to follow ReaLM.
tests/test_gsm8k.py and tests/test_teachers.py hold this file to that.
"""
import http.client
import os
import random
import urllib.request
from pathlib import Path

from tasks import simulated_teacher
from tasks.gsm8k_mistakes import corrupt_solution

URL = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"


def gsm8k_file(name):
    """The path of train.jsonl or test.jsonl. It is fetched once from OpenAI's repository.

    The cache is $XDG_CACHE_HOME/realm/gsm8k. Raises ValueError in one line without a network.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    path = cache / "realm" / "gsm8k" / name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")  # renamed when it is whole
    try:
        with urllib.request.urlopen(URL + name, timeout=60) as reply:
            partial.write_bytes(reply.read())
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"GSM8K could not be fetched from {URL + name} ({error}): "
                         "give it with --data DIR") from None
    partial.rename(path)
    return path


def gold_solution(problem):
    """The gold solution of a problem. Raises ValueError if it has none."""
    if problem.solution is None:
        raise ValueError(f"{problem.question[:60]!r} has no gold solution (an answer like GSM8K's "
                         "'... #### 72'), which the simulated teacher needs: name another "
                         "with --teacher")
    return problem.solution


def teacher(error=0.65, systematic=0.5, seed=0):
    """A simulated teacher whose routes are wrong with probability `error`.

    With probability `systematic` a wrong route makes the one fixed mistake of its question. This
    is a misconception: wrong answers coincide, and a majority vote fails. Else it makes a random
    one, a slip. With the rules in its prompt it makes none. One question in twelve has no step
    that can go wrong; it is always solved.
    """
    def write_route(problem, reads_rules, rng):
        gold = gold_solution(problem)
        wrong = rng.random() < error
        misled = rng.random() < systematic
        if not wrong:
            return gold
        if misled:  # the misconception depends on the question, and not on the seed
            mistake = corrupt_solution(gold, random.Random(f"misconception {problem.question}"),
                                       problem.question)
        else:
            mistake = corrupt_solution(gold, rng, problem.question)
        if mistake is None or reads_rules:
            return gold
        text, _ = mistake
        return text

    return simulated_teacher(write_route, seed)
