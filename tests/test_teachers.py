import contextlib
import doctest
import email.utils
import gzip
import json
import random
import re
import threading
import time
import zlib
from collections import Counter
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import data
import grpo
from tasks.gsm8k import teacher as gsm8k_teacher
from tasks.gsm8k_mistakes import STEP, amounts, annotated, arithmetic, corrupt_solution, swap
from engine import teachers
from data import load_problems, make_routes, model_teacher, server_teacher, teacher_for
from helpers import small_model, small_tokenizer
from realm import Problem, Route, teacher_prompt
from rewards import answers_match, final_answer

GSM8K = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "gsm8k"
on_gsm8k = pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K is not here")
CLIPS = ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
         "Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72")
WEIGHTS = ("Al weighs 146 + 38 = <<146+38=184>>184 pounds.\n"
           "Ben weighs 184 - 25 = <<184-25=159>>159 pounds.\n"
           "Carl weighs 159 + 16 = <<159+16=175>>175 pounds.\n#### 175")


# ---- mistakes in gold solutions ------------------------------------------------------------------
@pytest.mark.parametrize("text, value", [
    ("2+3*4", 14), ("(2+3)*4", 20), ("7/2", Fraction(7, 2)), (".1+0.2", Fraction(3, 10)),
    ("-5--3", -2), ("10-2-3", 5), ("1/3*3", 1), ("1e3", 1000),
    ("2**9", None), ("9//2", None), ("7%2", None), ("1/0", None), ("x+1", None), ("", None),
    ("2+", None), ("(2", None),
    ("True+1", None), ("'a'*3", None), ("1j", None), ("__import__('os')", None),
    ("(lambda: 1)()", None), ("[1][0]", None),
    ("9" * 5000, None), ("(" * 150 + "1" + ")" * 150, None), ("1<2", None), ("~1", None)])
def test_arithmetic_is_plain_exact_and_runs_nothing(text, value):
    assert arithmetic(text) == value


def test_numbers_are_replaced_by_value_in_the_style_they_are_written_in():
    text = "24 of 240, 24.0, $24.50, 1,024, the 24th, 24x, A24, 24, 24."
    swapped = "34 of 240, 34, $24.50, 1,024, the 24th, 24x, A24, 34, 34."
    assert swap(text, {Fraction(24): Fraction(34)}) == swapped
    assert swap("$1,200 or 1200", {Fraction(1200): Fraction(3400)}) == "$3,400 or 3400"
    assert swap("$4.50 is 4.5", {Fraction(9, 2): Fraction(6)}) == "$6.00 is 6"


def test_equations_without_annotation_get_one_only_where_they_hold():
    text = "so 2 x 3 = 6, 2+2 = 5, <<1+1=2>>2, 3x + 1 = 4, $1,000 - 1 = $999"
    assert annotated(text) == ("so 2 x 3 = <<2*3=6>>6, 2+2 = 5, <<1+1=2>>2, 3x + 1 = 4, "
                               "$1,000 - 1 = $<<1000-1=999>>999")


def all_of(solution, question="", draws=300):
    return {corrupt_solution(solution, random.Random(i), question) for i in range(draws)}


def test_every_kind_of_mistake_is_made_and_carried_through_to_the_answer():
    made = {text for text, _ in all_of(WEIGHTS)}
    # A carry is forgotten in the first step.
    slip = ("Al weighs 146 + 38 = <<146+38=174>>174 pounds.\n"
            "Ben weighs 174 - 25 = <<174-25=149>>149 pounds.\n"
            "Carl weighs 149 + 16 = <<149+16=165>>165 pounds.\n#### 165")
    # The first step subtracts instead of adding.
    wrong_operation = ("Al weighs 146 - 38 = <<146-38=108>>108 pounds.\n"
                       "Ben weighs 108 - 25 = <<108-25=83>>83 pounds.\n"
                       "Carl weighs 83 + 16 = <<83+16=99>>99 pounds.\n#### 99")
    # The second step uses a number of an earlier line.
    wrong_operand = ("Al weighs 146 + 38 = <<146+38=184>>184 pounds.\n"
                     "Ben weighs 146 - 25 = <<146-25=121>>121 pounds.\n"
                     "Carl weighs 121 + 16 = <<121+16=137>>137 pounds.\n#### 137")
    a_line_too_early = WEIGHTS[:WEIGHTS.index("\nCarl")] + "\n#### 159"
    for wrong in (slip, wrong_operation, wrong_operand, a_line_too_early):
        assert wrong in made
    number_left_out = ("In all, 20 + 25 = <<20+25=45>>45.\n#### 45", "45")
    assert number_left_out in all_of("In all, 20 + 25 + 9 = <<20+25+9=54>>54.\n#### 54")


def test_every_line_that_builds_on_a_mistake_builds_on_its_result():
    early = [STEP.findall(text) for text, _ in all_of(WEIGHTS) if "=184>>" not in text]
    assert len(early) > 1
    for (_, al), (ben_is, ben), (carl_is, _) in early:
        assert ben_is == f"{al}-25"
        assert carl_is == f"{ben}+16"


def test_a_result_that_could_be_another_number_is_left_alone():
    solution = "He has 30 - 19 = <<30-19=11>>11 now.\nSo 11 x 3 = <<11*3=33>>33.\n#### 33"

    def first_step_fails(solution, question=""):
        return any("=11>>" not in text for text, _ in all_of(solution, question))

    assert first_step_fails(solution)
    assert first_step_fails(solution, "In 5 weeks ...")
    assert not first_step_fails(solution, "In 11 weeks ...")
    assert not first_step_fails(solution, "In eleven weeks ...")
    # The 11 in the second line could be either of the two in the first.
    assert not first_step_fails(solution.replace("He has", "Of 11 he has"))
    # An equation in the text would no longer hold.
    assert not first_step_fails(solution.replace("So 11", "As 2y = 22, y = 11, and 11"))


@pytest.mark.parametrize("solution", [
    "", "no steps\n#### 7", "#### 7", "x = <<30=30>>30\n#### 30", "2 + 2 = <<2+2=5>>5\n#### 5",
    "3 + 4"])
def test_where_no_step_can_go_wrong_there_is_no_mistake(solution):
    assert corrupt_solution(solution, random.Random(0)) is None


def test_no_text_is_too_odd_to_look_at():
    rng = random.Random(0)
    for _ in range(2000):
        text = list(WEIGHTS)
        for _ in range(rng.randrange(1, 12)):
            character = rng.choice("<>=#$%.,0123456789+-*/()x\n \u0663\u00b2")
            text[rng.randrange(len(text))] = character
        made = corrupt_solution("".join(text), rng, "ten of 10, or 7%")
        assert made is None or made[1] == final_answer(made[0])


def holds(expression, result):
    value = arithmetic(expression)
    return value is not None and abs(value - arithmetic(result)) <= Fraction(1, 100)


def check_mistake(gold, text, answer):
    """What must be true of every corrupted solution."""
    steps = STEP.findall(text)
    tail = text.partition("####")[2].strip()
    assert answers_match(tail, answer)
    assert final_answer(text) == answer
    assert not answers_match(answer, final_answer(gold))
    # A slip breaks one equation. The other kinds of mistake break none.
    assert sum(not holds(*step) for step in steps) <= 1
    assert answers_match(steps[-1][1], answer)
    was, now = STEP.split(annotated(gold)), STEP.split(text)
    for i in range(0, len(now) - 1, 3):
        before, expression, result, after = now[i:i + 4]
        was_before, was_expression, was_result, was_after = was[i:i + 4]
        # If the gold text repeats the result behind the annotation, this text still does.
        was_repeated = amounts(was_after)[:1] == amounts(was_result)
        assert amounts(after)[:1] == amounts(result) or not was_repeated
        # If the gold text has the terms before the annotation, this text still does.
        terms = amounts(was_expression)
        if amounts(was_before)[-len(terms):] == terms:
            assert amounts(before)[-len(amounts(expression)):] == amounts(expression)
        assert arithmetic(result) > 0
        # Whole numbers stay whole.
        assert arithmetic(result).denominator == 1 or "." in was_result


def test_a_mistake_reads_like_the_solution_it_was_made_in():
    for gold in (CLIPS, WEIGHTS):
        for text, answer in all_of(gold):
            check_mistake(gold, text, answer)


@on_gsm8k
def test_mistakes_in_real_solutions_are_consistent_but_for_one_step():
    problems = random.Random(0).sample(load_problems("gsm8k", "all", data=str(GSM8K)), 500)
    made = 0
    for p in problems:
        gold = p.solution
        steps = STEP.findall(annotated(gold))
        wrong = corrupt_solution(gold, random.Random(p.question), p.question)
        made += wrong is not None
        sound = all(holds(*step) for step in steps)
        if wrong and sound and answers_match(steps[-1][1], p.answer):
            check_mistake(gold, *wrong)
    assert made > 440  # a mistake is possible in most solutions of GSM8K


# ---- GSM8K's simulated teacher -------------------------------------------------------------------
def gold_problem(i=0):
    a, b, c = 40 + i, 67 + i, 85 + i
    gold = (f"First {a} + 27 = <<{a}+27={b}>>{b}.\n"
            f"Then {b} + 18 = <<{b}+18={c}>>{c}.\n#### {c}")
    return Problem(f"How much is {a} + 27, then + 18?", str(c), solution=gold)


def routes_of(problems, n=40, guided=False, **settings):
    return gsm8k_teacher(**settings)(problems, [[guided] * n for _ in problems])


def test_the_share_of_wrong_routes_is_the_one_asked_for():
    problems = [gold_problem(i) for i in range(30)]
    for error in (0.0, 0.25, 1.0):
        routes = routes_of(problems, error=error)
        wrong = [text != p.solution
                 for p, texts in zip(problems, routes) for text in texts]
        assert abs(sum(wrong) / len(wrong) - error) < 0.04
    guided = routes_of(problems, error=1.0, guided=True)
    assert all(text == p.solution
               for p, texts in zip(problems, guided) for text in texts)


def test_a_misconception_makes_wrong_answers_coincide_and_a_slip_does_not():
    problems = [gold_problem(i) for i in range(10)]
    misled = routes_of(problems, error=1.0, systematic=1.0)
    slips = routes_of(problems, error=1.0, systematic=0.0)
    assert all(len(set(texts)) == 1 for texts in misled)
    assert all(len(set(texts)) > 2 for texts in slips)
    # A misconception depends on the question, not on the seed.
    assert routes_of(problems, error=1.0, systematic=1.0, seed=5) == misled


def test_what_is_written_depends_on_seed_and_question_only():
    problems = [gold_problem(i) for i in range(10)]
    together = routes_of(problems, n=8)
    assert together == [routes_of([p], n=8)[0] for p in problems]
    assert together != routes_of(problems, n=8, seed=1)
    assert [texts[:3] for texts in together] == routes_of(problems, n=3)


def test_a_question_without_gold_solution_is_named():
    not_worked_out = Problem("Why?", "42", [Route("so 42", "42", True)])
    for problem in (Problem("Why?", "42"), not_worked_out):
        with pytest.raises(ValueError, match="Why"):
            routes_of([problem])


# ---- which teacher -------------------------------------------------------------------------------
def asked(task="my.jsonl", problems=(Problem("q", "4"),), **more):
    config = data.Config(**{**dict(task=task, device="cpu"), **more})
    return teacher_for(config, list(problems))[1]


def test_a_teacher_is_simulated_where_it_can_be_and_else_the_default_model_is_announced():
    with_gold = gold_problem()
    assert "simulated" in asked("shop")
    assert "simulated" in asked(problems=[with_gold])
    assert data.DEFAULT_TEACHER in asked()
    assert data.DEFAULT_TEACHER in asked(problems=[with_gold, Problem("q", "4")])
    assert "tiny" in asked("shop", teacher="tiny")
    assert "tiny" in asked(problems=[with_gold], teacher="tiny")
    assert "NAME at http://x/v1" in asked("shop", teacher="http://x/v1", teacher_model="NAME")


# ---- a model as the teacher ----------------------------------------------------------------------
@pytest.fixture
def letters(monkeypatch):
    """A policy that only knows the letters a to m stands in for every model.

    All other characters of a prompt are left out. Returns what it is asked: a list of
    (prompts, seed of the draws).
    """
    policy = small_model(max_position_embeddings=4096), small_tokenizer(unk_token="<pad>")
    seen = []
    real = grpo.sample

    def sample(model, tokenizer, prompts, *rest, generator):
        seen.append((prompts, generator.initial_seed()))
        known = [re.sub("[^a-m]", "", p) for p in prompts]
        return real(model, tokenizer, known, *rest, generator=generator)

    monkeypatch.setattr(grpo, "load_policy", lambda name, device: policy)
    monkeypatch.setattr(grpo, "sample", sample)
    return seen


def test_a_model_writes_a_route_for_every_prompt_and_sees_rules_only_where_guided(letters):
    problems = [Problem("abc?", "d", [], ["RULE"]), Problem("kl?", "m", [], ["RULE"])]
    guided = [[True, False, False], [False, True, False]]
    texts = model_teacher("any", "cpu", max_new_tokens=12)(problems, guided)
    assert [len(t) for t in texts] == [3, 3]
    assert texts[0][1] != texts[0][2]  # sampled, not greedy
    wanted = [teacher_prompt(p.question, ["RULE"] if reads_rules else [])
              for p, flags in zip(problems, guided) for reads_rules in flags]
    assert [prompts for prompts, _ in letters] == [wanted]


def test_what_a_model_draws_depends_on_the_seed_and_on_the_batch_alone(letters):
    a, b = [Problem("abc?", "d")], [Problem("abd?", "d")]
    once = model_teacher("any", "cpu", max_new_tokens=12, seed=0)
    other = model_teacher("any", "cpu", max_new_tokens=12, seed=1)
    # As after a restart. It is asked in another order.
    again = model_teacher("any", "cpu", max_new_tokens=12)
    calls = [(once, a), (once, b), (again, b), (again, a), (other, a)]
    written = [teach(problems, [[False] * 2]) for teach, problems in calls]
    seeds = [seed for _, seed in letters]
    assert written[0] == written[3] and written[1] == written[2] and written[0] != written[4]
    assert seeds[0] == seeds[3] and seeds[1] == seeds[2] and len(set(seeds)) == 3


def test_a_model_that_cannot_be_loaded_is_one_line_that_names_the_flag():
    teach = model_teacher("no/such/folder", "cpu")  # nothing is loaded before it is asked
    with pytest.raises(ValueError, match="^--teacher no/such/folder") as error:
        teach([Problem("q", "4")], [[False]])
    assert "\n" not in str(error.value)


# ---- a server as the teacher ---------------------------------------------------------------------
def completion(text, **message):
    message = {"role": "assistant", "content": text, **message}
    return json.dumps({"choices": [{"finish_reason": "stop", "message": message}]})


class Server(ThreadingHTTPServer):
    """Speaks the protocol of /v1/chat/completions on the loopback.

    script(request, attempt) says what to do with a prompt's attempt-th request. It returns the
    reply as (status, body) or (status, body, headers), or None: the connection is dropped.
    """
    daemon_threads = True

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.lock = threading.Lock()
        self.now = 0  # requests that are open
        self.most = 0  # the most that were open at once
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01},
                         daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = {"path": self.path, "key": self.headers.get("Authorization"), "body": body,
                   "headers": self.headers, "prompt": body["messages"][0]["content"]}
        with self.server.lock:
            attempt = sum(r["prompt"] == request["prompt"] for r in self.server.requests)
            self.server.requests.append(request)
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        what = self.server.script(request, attempt)
        with self.server.lock:
            self.server.now -= 1
        if what is None:
            return self.connection.close()
        status, text, headers = (*what, {})[:3]
        content = text if isinstance(text, bytes) else text.encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # the client has given up waiting

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """serve(script) -> a running server.

    The key is set. For pauses between attempts, see the fixture `pauses`.
    """
    servers = []
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "*")

    def start(script):
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pauses(monkeypatch):
    """Pauses between attempts are recorded in this list instead of slept."""
    slept = []
    monkeypatch.setattr(teachers.ServerTeacher, "rest", lambda self, pause: slept.append(pause))
    return slept


KEY = "sk-very-secret-42"
ONE = [Problem("q?", "4")]


def ask(server, problems=ONE, n=1, url=None, **settings):
    teach = server_teacher(url or server.url, "NAME", **settings)
    return teach(problems, [[False] * n for _ in problems])


def test_a_server_is_asked_once_for_each_route_as_the_protocol_has_it(serve, pauses):
    server = serve(lambda request, attempt: (200, completion(f"re: {request['prompt']}")))
    problems = [Problem("abc?", "d", [], ["RULE"]), Problem("kl?", "m", [], ["RULE"])]
    texts = server_teacher(server.url, "NAME", 0.7, 123)(problems, [[True, False], [False, False]])
    wanted = [[teacher_prompt("abc?", ["RULE"]), teacher_prompt("abc?")],
              [teacher_prompt("kl?")] * 2]
    # The texts come in order, whichever reply comes first.
    assert texts == [[f"re: {p}".strip() for p in prompts] for prompts in wanted]
    assert sorted(r["prompt"] for r in server.requests) == sorted(sum(wanted, []))
    assert not pauses
    assert all(r["key"] == f"Bearer {KEY}" for r in server.requests)
    assert all(r["path"] == "/v1/chat/completions" for r in server.requests)
    body = server.requests[0]["body"]
    assert set(body) == {"model", "messages", "temperature", "max_tokens"}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("NAME", 0.7, 123)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_address_may_end_as_people_write_it(serve, end):
    server = serve(lambda request, attempt: (200, completion("4")))
    assert ask(server, url=server.url + end) == [["4"]]
    assert server.requests[0]["path"] == "/v1/chat/completions"


def test_without_a_key_none_is_sent(serve, monkeypatch):
    server = serve(lambda request, attempt: (200, completion("4")))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(server) == [["4"]]
    assert server.requests[0]["key"] is None


FAILURES = {
    "500": (500, "oops"),
    "503": (503, ""),
    "429": (429, "slow down", {"Retry-After": "0"}),
    "dropped": None,
    "not JSON": (200, "<html>"),
    "half a reply": (200, completion("4")[:30]),
    "no choices": (200, '{"choices": []}'),
    "a list": (200, "[]"),
    "no text": (200, '{"choices": [{"message": "4"}]}'),
    "text of another kind": (200, completion(["4"])),
    "cut short": (200, completion("4"), {"Content-Length": "999"}),
    "nested without end": (200, "[" * 200_000)}


@pytest.mark.parametrize("failure", FAILURES)
def test_after_a_failure_the_server_is_asked_again(serve, pauses, failure):
    def script(request, attempt):
        if attempt < 2:
            return FAILURES[failure]
        return 200, completion("4"), {"Connection": "close"}

    server = serve(script)
    assert ask(server, timeout=0.5) == [["4"]]
    assert len(server.requests) == 3 and len(pauses) == 2


@pytest.mark.parametrize("failure", ["500", "dropped", "not JSON", "no choices"])
def test_a_server_that_goes_on_failing_is_given_up_in_one_clear_line(serve, pauses, failure):
    server = serve(lambda request, attempt: FAILURES[failure])
    with pytest.raises(ValueError, match="no answer after 3 attempts") as error:
        ask(server, retries=2)
    assert server.url in str(error.value) and "\n" not in str(error.value)
    assert len(server.requests) == 3


def test_pauses_grow_unless_the_server_names_one(serve, pauses):
    with pytest.raises(ValueError):
        ask(serve(lambda request, attempt: (500, "")), retries=5)
    assert len(pauses) == 5
    assert all(0.25 * 2 ** i <= pause <= 0.5 * 2 ** i for i, pause in enumerate(pauses))
    # They are jittered.
    assert len({round(pause / 2 ** i, 9) for i, pause in enumerate(pauses)}) > 1
    pauses.clear()
    with pytest.raises(ValueError):
        ask(serve(lambda request, attempt: (429, "", {"Retry-After": "7"})), retries=2)
    assert pauses == [7.0, 7.0]


def test_a_server_that_falls_silent_is_asked_again(serve, pauses):
    answered = threading.Event()

    def script(request, attempt):
        late = attempt == 0 and not answered.wait(10)
        return 200, completion("late" if late else "4")

    server = serve(script)
    assert ask(server, timeout=0.2) == [["4"]]
    assert len(pauses) == 1
    answered.set()


def test_nobody_at_the_address_is_one_clear_line(serve, pauses):
    server = serve(lambda request, attempt: None)
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match="no answer after 2 attempts.*refused"):
        ask(server, retries=1)


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://[x/v1"])
def test_an_address_that_can_be_nobodys_is_refused_at_once(pauses, url):
    with pytest.raises(ValueError, match="^--teacher .*: cannot be asked: ") as error:
        ask(None, url=url)
    assert url in str(error.value) and "\n" not in str(error.value)
    assert not pauses


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_stops_at_once_and_says_why(serve, pauses, status):
    server = serve(lambda request, attempt: (status, '{"error":\n"no model NAME"}'))
    with pytest.raises(ValueError, match=f"{status} .*no model NAME") as error:
        ask(server)
    assert "\n" not in str(error.value)
    assert "/chat/completions was asked 'q" in str(error.value)  # where, and which question
    assert len(server.requests) == 1 and not pauses


def test_a_refusal_of_one_who_sent_no_key_says_so(serve, pauses, monkeypatch):
    server = serve(lambda request, attempt: (401, "who are you?"))
    with pytest.raises(ValueError) as with_key:
        ask(server)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="no key is in OPENAI_API_KEY: who are you"):
        ask(server)
    assert "OPENAI_API_KEY" not in str(with_key.value) and len(server.requests) == 2


def test_one_refusal_stops_the_rest(serve, pauses):
    server = serve(lambda request, attempt: (401, "no"))
    with pytest.raises(ValueError):
        ask(server, n=200, concurrency=2)
    assert len(server.requests) < 100


@pytest.mark.parametrize("failure", [
    (401, f"bad key {KEY}"),
    (500, f"Bearer {KEY}\n" * 50),
    (200, f"not JSON {KEY}"),
    (302, f"{KEY}", {"Location": "/else"}),
    (200, "x " * 95 + KEY + "y" * teachers.MAX_REPLY)], ids=lambda f: str(f[0]))
def test_the_key_is_sent_and_shown_nowhere(serve, pauses, failure, capfd):
    server = serve(lambda request, attempt: failure)
    with pytest.raises(ValueError) as error:
        ask(server, retries=1)
    assert server.requests[0]["key"] == f"Bearer {KEY}"
    said = str(error.value) + "".join(capfd.readouterr())
    # Where a reply is cut, no part of the key is shown either.
    assert not any(KEY[i:i + 6] in said for i in range(len(KEY) - 5))


def test_a_redirect_does_not_carry_the_key_away(serve, pauses):
    other = serve(lambda request, attempt: (200, completion("4")))
    elsewhere = {"Location": other.url + "/v1/chat/completions"}
    server = serve(lambda request, attempt: (307, "", elsewhere))
    with pytest.raises(ValueError, match="307"):
        ask(server)
    assert not other.requests


@pytest.mark.parametrize("key", ["sk-\u20ac", "sk-a\nX-Evil: 1"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(serve, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as error:
        ask(None, url="http://127.0.0.1:9")
    assert key not in str(error.value)


def test_a_key_in_the_address_is_refused():
    with pytest.raises(ValueError) as error:
        server_teacher("http://me:secret@host/v1", "NAME")
    assert "secret" not in str(error.value)


def test_an_address_as_a_run_records_it_is_not_asked():
    with pytest.raises(ValueError, match="give the whole address again"):
        server_teacher("http://host/v1?key=(hidden)", "NAME")


@pytest.mark.parametrize("address", [
    "http://me:secret@host/v1", "me:secret@host/v1", "host/v1?key=secret",
    "https://host/v1#secret"])
def test_a_key_in_an_address_is_neither_shown_nor_recorded(tmp_path, monkeypatch, capsys,
                                                           address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        data.main(["--teacher", address, "--teacher-model", "NAME"])
    said = capsys.readouterr().err
    assert "OPENAI_API_KEY" in said and "secret" not in said
    assert not list(tmp_path.iterdir())


def test_when_one_request_fails_the_others_are_not_waited_for(serve):
    ended = threading.Event()

    def script(request, attempt):
        if "Problem: bad" in request["prompt"]:
            return 401, "no \x1b[2J credit"
        ended.wait(20)
        return 200, completion("4")
    server = serve(script)
    teach = server_teacher(server.url, "NAME")
    began = time.monotonic()
    with pytest.raises(ValueError, match="401 no .2J credit") as error:
        teach([Problem("slow", "4"), Problem("bad", "4")], [[False], [False]])
    ended.set()
    assert time.monotonic() - began < 10
    assert str(error.value).isprintable()


def test_a_question_that_is_too_long_for_the_teacher_is_named_before_it_writes(tmp_path):
    task = tmp_path / "my.jsonl"
    questions = ["2 + 1 ?"] * 3 + ["3 + 4 " * 2000]
    task.write_text("".join(json.dumps({"question": f"{i} : {q}", "answer": "3"}) + "\n"
                            for i, q in enumerate(questions)))
    with pytest.raises(SystemExit, match="--teacher tiny: the question '3 : 3 [+] 4 .*leave it"):
        data.main(["--task", str(task), "--teacher", "tiny", "--n", "1", "--batch", "1",
                   "--max-new-tokens", "4", "--out", str(tmp_path / "bank.jsonl")])
    assert not (tmp_path / "bank.jsonl").exists()


def test_no_more_requests_are_open_than_allowed(serve):
    def slow(request, attempt):
        time.sleep(0.02)
        return 200, completion("4")

    for concurrency in (1, 3):
        server = serve(slow)
        ask(server, n=12, concurrency=concurrency)
        assert server.most == concurrency and len(server.requests) == 12


@pytest.mark.parametrize("reply, text", [
    ("\ufeff" + completion("4"), "4"),
    (completion(None), ""),
    (completion("", refusal="no"), ""),
    (completion("  4\n"), "4"),
    # The reasoning is part of the route, but no answer is read from it.
    (completion("so 4", reasoning_content="2 + 2"), "<think>2 + 2</think>\nso 4"),
    (completion("so 4", reasoning="2 + 2"), "<think>2 + 2</think>\nso 4"),
    (completion(None, reasoning_content="2 + 2 is"), "<think>2 + 2 is</think>"),
    (completion("so 4", reasoning="2 + 2", reasoning_content="2 + 2"),
     "<think>2 + 2</think>\nso 4"),
    (json.dumps({"choices": [{"finish_reason": "length", "message": {"content": "2 + 2"}}]}),
     "2 + 2"),
    (json.dumps({"choices": [{"finish_reason": "content_filter", "message": {}}]}), "")])
def test_whatever_a_reply_holds_becomes_a_route(serve, pauses, reply, text):
    assert ask(serve(lambda request, attempt: (200, reply))) == [[text]]
    assert not pauses


@pytest.mark.parametrize("message", [
    {"content": "She sells 5 eggs, so **5**.",
     "reasoning": "Perhaps \\boxed{7}? I must end with <answer>...</answer>."},
    {"content": "The answer is 5.", "reasoning_content": "First try: <answer>7</answer>? No."},
    {"content": [{"type": "thinking", "thinking": "#### 7"}, {"type": "text", "text": "It is 5"}]}])
def test_no_answer_is_read_from_reasoning_that_a_server_splits_off(message):
    text = teachers.text_of_reply(json.dumps({"choices": [{"message": message}]}))
    assert final_answer(text) == "5"


@pytest.mark.parametrize("error, asked", [
    ({"error": {"message": "upstream is busy", "code": 429}}, 2),
    ({"error": {"code": "x"}}, 2),
    ({"error": {"message": "no such model", "code": 404}}, 1),
    ({"choices": [{"error": {"code": 502}, "finish_reason": "error", "message": {"content": ""}}]},
     2)])
def test_an_error_behind_a_status_of_200_is_no_route(serve, pauses, error, asked):
    server = serve(lambda request, attempt: (200, json.dumps(error)))
    with pytest.raises(ValueError, match="error in the reply") as caught:
        ask(server, retries=1)
    assert len(server.requests) == asked
    assert "\n" not in str(caught.value)


def test_an_empty_account_is_said_at_once_and_a_filtered_question_is_an_empty_route(serve, pauses):
    server = serve(lambda request, attempt: (429, '{"error": {"code": "insufficient_quota"}}'))
    with pytest.raises(ValueError, match="429 .*insufficient_quota"):
        ask(server)
    assert len(server.requests) == 1 and not pauses
    reply = '{"error": {"message": "filtered", "code": "content_filter"}}'
    assert ask(serve(lambda request, attempt: (400, reply))) == [[""]]
    assert ask(serve(lambda request, attempt: (201, completion("4")))) == [["4"]]


@pytest.mark.parametrize("end", teachers.OTHER_INTERFACES)
def test_the_address_of_another_interface_is_refused(end):
    with pytest.raises(ValueError, match="another interface"):
        server_teacher("http://localhost:1" + end, "NAME")


def test_a_bank_is_built_from_a_server_and_continued_after_it_fails(serve, pauses, tmp_path,
                                                                    capsys):
    task, out = tmp_path / "my.jsonl", tmp_path / "bank.jsonl"
    lines = [json.dumps({"question": f"{i} + 1?", "answer": i + 1, "rules": ["RULE"]}) + "\n"
             for i in range(12)]
    task.write_text("".join(lines))
    up = threading.Event()

    def script(request, attempt):
        if up.is_set() or "\nProblem: 7 " not in "\n" + request["prompt"]:
            number = int(re.findall(r"Problem: ([0-9]+)", request["prompt"])[0])
            return 200, completion(f"A: {number + 1}")
        return 500, "down"

    server = serve(script)
    flags = ["--task", str(task), "--teacher", server.url, "--teacher-model", "NAME", "--n", "2",
             "--batch", "4", "--inject-rules", "1", "--out", str(out)]
    with pytest.raises(SystemExit, match="data.py: --teacher .*no answer after 6 attempts.*; "
                       f"{out} keeps 4 questions, and the same command continues it"):
        data.main(flags)
    assert len(data.read_bank(out)) == 4  # what was written stays
    up.set()
    data.main(flags)
    bank = data.read_bank(out)
    assert [p.question for p in bank] == [f"{i} + 1?" for i in range(12)]
    assert all(r.correct and r.guided for p in bank for r in p.routes)
    assert all("RULE" in r["prompt"] for r in server.requests)
    record = (tmp_path / "bank.jsonl.config.json").read_text()
    assert KEY not in record + out.read_text() + "".join(capsys.readouterr())


def test_a_reply_without_end_and_one_that_drips_are_given_up(serve, pauses, monkeypatch):
    monkeypatch.setattr(teachers, "MAX_REPLY", 10_000)
    server = serve(lambda request, attempt: (200, completion("9" * 20_000)))
    with pytest.raises(ValueError, match="more than 10000 bytes") as error:
        ask(server)
    assert len(server.requests) == 1 and len(str(error.value)) < 500
    given_up = threading.Event()

    def drip(handler):
        """Never silent for long, and never done."""
        with contextlib.suppress(OSError):
            while not given_up.wait(0.05):
                handler.wfile.write(b"X")
                handler.wfile.flush()

    monkeypatch.setattr(Handler, "do_POST", drip)
    began = time.monotonic()
    with pytest.raises(ValueError, match="TimeoutError"):
        ask(serve(None), timeout=0.15, retries=1)
    assert time.monotonic() - began < 3
    given_up.set()


def test_a_reply_that_is_no_text_can_still_be_written_to_a_bank_and_read_back(serve, tmp_path):
    reply = '{"choices": [{"message": {"content": "so \\ud800 5"}}]}'
    text = ask(serve(lambda request, attempt: (200, reply)))[0][0]
    line = {"question": "q", "answer": "5", "routes": [{"text": text}]}
    (tmp_path / "bank.jsonl").write_text(json.dumps(line))
    assert data.read_bank(tmp_path / "bank.jsonl")[0].routes[0].text == text == "so ? 5"


# ---- how servers are reached, and what they speak ------------------------------------------------
@pytest.mark.parametrize("end, path", [
    ("/chat/completions", "/chat/completions"),
    ("/openai/v1/chat/completions", "/openai/v1/chat/completions"),
    ("/api/paas/v4", "/api/paas/v4/chat/completions"),
    ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
    ("?api-version=1", "/v1/chat/completions?api-version=1"),
    ("/v1?a=b&c=%20", "/v1/chat/completions?a=b&c=%20"),
    ("/openai/deployments/x?api-version=1", "/openai/deployments/x/chat/completions?api-version=1"),
    ("/x/chat/completions?api-version=1", "/x/chat/completions?api-version=1")])
def test_an_address_with_a_path_is_asked_there_and_keeps_its_query(serve, end, path):
    server = serve(lambda request, attempt: (200, completion("4")))
    assert ask(server, url=server.url + end) == [["4"]]
    assert [r["path"] for r in server.requests] == [path]


def test_a_request_says_who_asks_and_gives_azure_its_key(serve):
    server = serve(lambda request, attempt: (200, completion("4")))
    ask(server)
    ask(server, url=server.url + "/openai?api-version=1")
    assert all(r["headers"]["User-Agent"] == teachers.USER_AGENT for r in server.requests)
    assert "ReaLM" in teachers.USER_AGENT
    assert [r["headers"]["api-key"] for r in server.requests] == [None, KEY]


@pytest.mark.parametrize("reply", [
    (401, "no such key: s3cret/value"),
    (404, "not found: /v1?code=s3cret%2Fvalue"),
    (307, "", {"Location": "/v2?code=s3cret%2Fvalue"}),
    (200, "s3cret%2Fvalue")], ids=lambda r: str(r[0]))
def test_the_values_of_a_query_are_shown_nowhere(serve, pauses, tmp_path, capfd, reply):
    server = serve(lambda request, attempt: reply)
    address = server.url + "/v1?code=s3cret%2Fvalue"
    with pytest.raises(SystemExit) as stop:
        data.main(["--task", "shop", "--limit", "10", "--teacher", address,
                   "--teacher-model", "NAME", "--out", str(tmp_path / "bank.jsonl")])
    said = str(stop.value) + "".join(capfd.readouterr())
    assert f"{server.url}/v1?code=(hidden)" in said and "s3cret" not in said


def test_the_values_of_a_query_are_recorded_nowhere(serve, tmp_path, capfd):
    server = serve(lambda request, attempt: (200, completion("4")))
    out = tmp_path / "bank.jsonl"
    data.main(["--task", "shop", "--limit", "10", "--n", "1",
               "--teacher", server.url + "?code=s3cret", "--teacher-model", "NAME",
               "--out", str(out)])
    files = "".join(path.read_text() for path in tmp_path.iterdir())
    written = files + "".join(capfd.readouterr())
    assert "s3cret" not in written
    assert written.count("?code=(hidden)") == 2  # in the record, and in what is said
    assert server.requests[0]["path"] == "/v1/chat/completions?code=s3cret"


def test_more_fields_are_sent_and_null_leaves_one_out(serve, tmp_path):
    server = serve(lambda request, attempt: (200, completion("4")))
    options = ('{"max_completion_tokens": 500, "max_tokens": null, "temperature": 1, '
               '"extra": {"top_k": [1, null]}}')
    data.main(["--task", "shop", "--limit", "10", "--n", "1", "--teacher", server.url,
               "--teacher-model", "NAME", "--teacher-options", options,
               "--out", str(tmp_path / "bank.jsonl")])
    body = server.requests[0]["body"]
    assert set(body) == {"model", "messages", "temperature", "max_completion_tokens", "extra"}
    assert body["max_completion_tokens"] == 500
    assert body["temperature"] == 1
    assert body["extra"] == {"top_k": [1, None]}
    record = json.loads((tmp_path / "bank.jsonl.config.json").read_text())
    assert record["teacher_options"] == options


@pytest.mark.parametrize("options, words", [
    ("{'a': 1}", "not JSON"), ("[1]", "not a JSON object"), ('{"a": NaN}', "not JSON"),
    ('{"stream": true}', "'stream' must be false"),
    ('{"messages": []}', "'messages' is set by the program"),
    ('{"model": "x"}', "'model' is set by the program")])
def test_fields_that_cannot_be_sent_are_refused_before_anything_is(serve, options, words):
    server = serve(lambda request, attempt: (200, completion("4")))
    with pytest.raises(ValueError, match=f"^--teacher-options: .*{words}"):
        ask(server, options=options)
    assert not server.requests


@pytest.mark.parametrize("content, text", [
    ([{"type": "text", "text": "2 + 2 "}, {"type": "text", "text": "= 4"}], "2 + 2 = 4"),
    ([], ""),
    ([{"type": "image_url"}], ""),
    ([{"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2"}]},
      {"type": "text", "text": "so 4"}], "<think>2 + 2</think>\nso 4"),
    ([{"type": "reasoning", "text": "2 + 2"}, {"type": "output_text", "text": "so 4"}],
     "<think>2 + 2</think>\nso 4"),
    ([{"type": "text", "text": {"value": "4"}}], "4"),
    ([{"type": "thinking", "thinking": "2 + 2"}, {"text": "4"}], "<think>2 + 2</think>\n4")])
def test_content_that_comes_in_parts_is_read(serve, pauses, content, text):
    assert ask(serve(lambda request, attempt: (200, completion(content)))) == [[text]]
    assert not pauses


@pytest.mark.parametrize("location, shown", [
    ("/v2/chat", "/v2/chat"),
    ("https://host/x?key=1234", "https://host/x?key=(hidden)"),
    ("https://me:5678@host/x", "https://(hidden)@host/x")])
def test_a_redirects_target_is_named(serve, pauses, location, shown):
    server = serve(lambda request, attempt: (308, "", {"Location": location}))
    with pytest.raises(ValueError, match="308: redirects to ") as error:
        ask(server)
    target = server.url + shown if shown[0] == "/" else shown
    assert f"redirects to {target}, " in str(error.value)
    assert "1234" not in str(error.value) and "5678" not in str(error.value)
    assert len(server.requests) == 1


def bare_deflate(content):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("pack, encoding", [
    (gzip.compress, "gzip"), (gzip.compress, "X-GZIP"), (gzip.compress, ""),
    (zlib.compress, "deflate"), (bare_deflate, "deflate"), (bytes, "identity")])
def test_a_packed_reply_is_read(serve, pauses, pack, encoding):
    def reply(text):
        return pack(text.encode()), {"Content-Encoding": encoding}

    assert ask(serve(lambda request, attempt: (200, *reply(completion("4"))))) == [["4"]]
    assert not pauses
    with pytest.raises(ValueError, match="401 no, not you"):
        ask(serve(lambda request, attempt: (401, *reply("no, not you"))))


def test_a_reply_that_grows_when_it_is_unpacked_is_given_up(serve, pauses):
    bomb = gzip.compress(b" " * (50 * teachers.MAX_REPLY))
    server = serve(lambda request, attempt: (200, bomb, {"Content-Encoding": "gzip"}))
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        ask(server)
    assert len(teachers.unpacked(bomb, "gzip")) == teachers.MAX_REPLY + 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("content", [
    gzip.compress(completion("4").encode(), mtime=0)[:-9], b"\x1f\x8bnothing"])
def test_a_packed_reply_that_is_damaged_is_asked_for_again(serve, pauses, content):
    def script(request, attempt):
        if attempt == 0:
            return 200, content, {"Content-Encoding": "gzip"}
        return 200, completion("4")

    assert ask(serve(script)) == [["4"]]
    assert len(pauses) == 1


def test_a_packing_that_is_not_known_is_named(serve, pauses):
    with pytest.raises(ValueError, match="packed with br"):
        ask(serve(lambda request, attempt: (200, b"\x8b\x01", {"Content-Encoding": "br"})))
    assert not pauses


@pytest.mark.parametrize("name", [
    "localhost:8000", "localhost", "127.0.0.1:8000/v1", "[::1]:8000", "my-box:11434/v1",
    "api.host.com/v1", "api.host.com/openai/v1/chat/completions", "LOCALHOST:1"])
def test_an_address_without_http_is_not_taken_for_a_model(name, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="^--teacher .*: did you mean http://") as error:
        asked(teacher=name)
    assert f"http://{name}?" in str(error.value)
    assert teachers.address_hint("ftp://host")
    assert teachers.address_hint("http:/host")


@pytest.mark.parametrize("name", [
    "Qwen/Qwen2.5-1.5B-Instruct", "Qwen2.5-0.5B", "./models/v1", "models/v1",
    "runs/realm-zero-0", "tiny"])
def test_a_model_is_not_taken_for_an_address(name):
    assert name in asked(teacher=name)


@pytest.mark.parametrize("body, headers", [
    (f"data: {completion('4')}\n\ndata: [DONE]\n\n",
     {"Content-Type": "text/event-stream; charset=utf-8"}),
    ("", {"Content-Type": "text/event-stream"}),
    ("data: {}\n\n", {}),
    (": ping\n\n", {}),
    ("event: message\ndata: {}\n\n", {})])
def test_a_server_that_streams_is_told_apart(serve, pauses, body, headers):
    wanted = "streams its reply.*--teacher-options '{\"stream\": false}'"
    with pytest.raises(ValueError, match=wanted):
        ask(serve(lambda request, attempt: (200, body, headers)))
    assert not pauses


def test_a_pause_may_be_named_as_a_date_or_with_decimals(serve, pauses):
    in_90_seconds = email.utils.formatdate(time.time() + 90, usegmt=True)
    in_100_days = email.utils.formatdate(time.time() + 9e6)
    for header, least, most in (
            (in_90_seconds, 80, 91),
            ("2.5", 2.5, 2.5),
            ("Mon, 01 Jan 2001 00:00:00 GMT", 0, 0),
            (in_100_days, 300, 300),
            ("soon", 0.25, 0.5)):
        def script(request, attempt):
            if attempt == 0:
                return 429, "", {"Retry-After": header}
            return 200, completion("4")

        assert ask(serve(script)) == [["4"]]
        assert least <= pauses.pop() <= most
        assert not pauses


# ---- replies that are cut at the token limit -----------------------------------------------------
def cut(text):
    return json.dumps({"choices": [{"finish_reason": "length", "message": {"content": text}}]})


def by_number(replies):
    """A script whose attempt-th reply to question number i is replies(i, attempt).

    replies returns (text, is it cut?).
    """
    def script(request, attempt):
        number = int(re.findall(r"Problem: ([0-9]+)", request["prompt"])[0])
        text, is_cut = replies(number, attempt)
        return 200, cut(text) if is_cut else completion(text)
    return script


def build(tmp_path, server, *flags, n=1, questions=12):
    """(lines of the bank, its record) that data.py makes of some questions."""
    task, out = tmp_path / "my.jsonl", tmp_path / "bank.jsonl"
    lines = [json.dumps({"question": f"{i} + 1?", "answer": i + 1}) + "\n"
             for i in range(questions)]
    task.write_text("".join(lines))
    data.main(["--task", str(task), "--teacher", server.url, "--teacher-model", "NAME",
               "--n", str(n), "--batch", "4", "--out", str(out), *flags])
    record = json.loads((tmp_path / "bank.jsonl.config.json").read_text())
    return out.read_text().splitlines(), record


def test_a_route_that_was_cut_is_asked_for_again(serve, tmp_path, capsys):
    def replies(i, attempt):
        if i % 3 == 0 and attempt < 2:
            return "well, 7", True
        return f"A: {i + 1}", False

    server = serve(by_number(replies))
    lines, record = build(tmp_path, server)
    assert len(lines) == 12
    assert "well" not in "".join(lines)
    assert all(len(json.loads(line)["routes"]) == 1 for line in lines)
    said = capsys.readouterr().out
    assert "replies cut at the token limit   0.400 (8 of 20;" in said
    assert "questions left out for that      0" in said
    assert len(server.requests) == 20
    assert all(batch["left_out"] == [] for batch in record["cut_replies"].values())


def test_a_question_whose_routes_are_always_cut_is_left_out(serve, tmp_path, capsys):
    left_out = (3, 5, 11)
    server = serve(by_number(lambda i, attempt: ("well, 7", i in left_out)))
    lines, record = build(tmp_path, server, n=2)
    assert [json.loads(line)["question"] for line in lines] == [
        f"{i} + 1?" for i in range(12) if i not in left_out]
    said = capsys.readouterr().out
    assert "0.500 (18 of 36;" in said
    assert "questions left out for that      3" in said
    assert [batch["left_out"] for batch in record["cut_replies"].values()] == [[3], [5], [11]]
    assert all(len(p.routes) == 2 for p in data.read_bank(tmp_path / "bank.jsonl"))
    build(tmp_path, server, n=2)  # a whole bank stays as it is
    assert len(server.requests) == 36
    assert capsys.readouterr().out.splitlines()[1:] == said.splitlines()[1:]


def test_a_bank_with_questions_left_out_is_continued_to_the_same_bytes(serve, tmp_path):
    left_out = (3, 5, 8, 9, 10, 11)
    server = serve(by_number(lambda i, attempt: (f"A: {i + 1}", i in left_out)))
    build(tmp_path, server)
    out, record = tmp_path / "bank.jsonl", tmp_path / "bank.jsonl.config.json"
    whole, wanted = out.read_bytes(), record.read_text()
    for at in range(0, len(whole) + 1, 31):
        out.write_bytes(whole[:at])
        build(tmp_path, server)
        assert out.read_bytes() == whole and record.read_text() == wanted
    changed = (tmp_path / "bank.jsonl").read_bytes().replace(b"1 + 1?", b"9 + 9?")
    out.write_bytes(changed)
    with pytest.raises(SystemExit, match="line 2: not the question"):
        build(tmp_path, server)


def test_what_is_asked_anew_after_a_kill_is_also_counted_anew(serve, tmp_path):
    healed = threading.Event()

    def replies(i, attempt):
        return f"A: {i + 1}", i in (3, 5) and not healed.is_set()

    server = serve(by_number(replies))
    build(tmp_path, server)
    out = tmp_path / "bank.jsonl"
    # The cut is in the middle of the second batch.
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:4]))
    healed.set()
    lines, record = build(tmp_path, server)
    assert len(lines) == 11
    assert list(record["cut_replies"]) == ["0"]


def test_a_flag_keeps_what_was_cut_and_it_is_still_counted(serve, tmp_path, capsys):
    server = serve(by_number(lambda i, attempt: (f"A: {i + 1}", i % 2 == 0)))
    lines, record = build(tmp_path, server, "--keep-cut")
    assert len(lines) == len(server.requests) == 12
    assert all(json.loads(line)["routes"][0]["correct"] for line in lines)
    assert "0.500 (6 of 12;" in capsys.readouterr().out
    assert record["keep_cut"] is True
    with pytest.raises(SystemExit, match="was made with --keep-cut"):
        build(tmp_path, server)


def test_a_limit_that_cuts_everything_is_said_after_the_first_batch(serve, tmp_path):
    server = serve(by_number(lambda i, attempt: ("well,", True)))
    wanted = "data.py: .*first 4 questions were all cut: raise --max-new-tokens"
    with pytest.raises(SystemExit, match=wanted):
        build(tmp_path, server)
    assert len(server.requests) == 12
    assert {path.name for path in tmp_path.iterdir()} == {"my.jsonl"}


def test_a_limit_that_leaves_no_question_all_its_routes_is_said(serve, tmp_path):
    # Of the two routes of a question, only one ends.
    server = serve(by_number(lambda i, attempt: ("A: 7", attempt > 0)))
    wanted = "data.py: no question got 2 routes that were not cut: raise --max-new-tokens"
    with pytest.raises(SystemExit, match=wanted):
        build(tmp_path, server, n=2)
    assert {path.name for path in tmp_path.iterdir()} == {"my.jsonl"}


@pytest.mark.parametrize("reason, is_cut", [
    ("length", True), ("MAX_TOKENS", True), ("stop", False), ("content_filter", False),
    (None, False)])
def test_why_a_reply_ended_is_read_in_each_providers_words(serve, reason, is_cut):
    reply = json.dumps({"choices": [{"finish_reason": reason, "message": {"content": "4"}}]})
    [[text]] = ask(serve(lambda request, attempt: (200, reply)))
    assert text == "4"
    assert isinstance(text, teachers.CutText) == is_cut


def test_a_models_route_that_did_not_end_is_cut_and_drawn_anew(letters):
    teach = model_teacher("any", "cpu", max_new_tokens=3)
    problems = [Problem("abc?", "d"), Problem("kl?", "m")]
    texts, _ = teach(problems, [[False] * 20] * 2)
    assert 0 < sum(isinstance(text, teachers.CutText) for text in texts) < 20
    letters.clear()
    tally = Counter()
    make_routes(problems, teach, 20, tally=tally)
    seeds = [seed for _, seed in letters]
    asked_for = [len(prompts) for prompts, _ in letters]
    assert len(set(seeds)) == 3
    assert asked_for[0] == 40 > asked_for[1] > asked_for[2] > 0
    assert tally["replies"] == sum(asked_for)
    assert asked_for[1] + asked_for[2] <= tally["cut"] < tally["replies"]
    # The prompt is the same. The attempt alone makes it another draw.
    teach(problems[:1], [[False]], 0)
    teach(problems[:1], [[False]], 1)
    assert letters[-1][1] != letters[-2][1]


def test_where_a_teacher_writes_in_memory_questions_without_enough_whole_routes_are_left_out(
        serve, capsys):
    # Of the two routes of question 2, only one ends.
    server = serve(by_number(lambda i, attempt: (f"A: {i}", i == 2 and attempt % 4 > 0)))
    config = data.Config(teacher=server.url, teacher_model="NAME", n=2)
    config.routes = 2
    taught = data.with_routes([Problem(f"{i} + 1?", str(i)) for i in range(5)], config)
    assert [p.question for p in taught] == [f"{i} + 1?" for i in (0, 1, 3, 4)]
    assert "left out for that      1" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--routes 2: no question got so many"):
        data.with_routes([Problem("2 + 1?", "3")], config)


def test_the_examples_in_its_docstrings_are_true():
    result = doctest.testmod(teachers)
    assert result.attempted > 5
    assert not result.failed
