"""Teachers that write routes: a model on this machine, or an OpenAI-compatible server.

A teacher is a function (problems, guided, attempt=0) -> texts. guided[i][j] says whether the expert
rules of problem i enter the prompt of its route j; texts[i][j] is that route. attempt: how often
these were asked before. A teacher that never returns a CutText needs no attempt.

Promise: a busy server is asked again, a refusal is one clear line, and the key is shown nowhere.
A text that was cut at the token limit is a CutText.
To read: `by_prompt` first, then `model_teacher`, then `ServerTeacher.ask`.
tests/test_teachers.py holds it to that.
"""
import email.utils
import http.client
import json
import os
import random
import re
import threading
import time
import urllib.parse
import urllib.request
import zlib
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from engine.flags import is_address, may_hold_a_key, shown_address
from engine.text import printable
from realm import teacher_prompt

MAX_REPLY = 2 ** 20  # bytes of a server's reply
MAX_PAUSE = 300.0  # seconds that a server may ask for between two attempts
TRIES = 3  # replies to one prompt, until one ends before the token limit
BUSY = (408, 409, 425, 429)  # client errors after which a server is asked again
OTHER_INTERFACES = (
    "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate")
CUT = ("length", "max_tokens", "max_output_tokens", "model_length")  # finish reasons, by provider
USER_AGENT = "ReaLM-from-scratch/1.0"  # common fronts refuse Python-urllib


class CutText(str):
    """A text that stops at the token limit, not at its end."""


def by_prompt(answer):
    """Make a teacher of a function answer(prompts, attempt) -> texts, one for each prompt.

    attempt: 0, or how many times these prompts were asked before.
    """
    def teach(problems, guided, attempt=0):
        prompts = []
        for problem, flags in zip(problems, guided):
            for reads_rules in flags:
                rules = problem.rules if reads_rules else ()
                prompts.append(teacher_prompt(problem.question, rules))
        texts = iter(answer(prompts, attempt))
        return [[next(texts) for _ in flags] for flags in guided]
    return teach


def whole_texts(teacher, problems, guided, tally, tries=TRIES):
    """Ask a teacher, and ask again for every text that was cut, up to so many times in all.

    Returns texts[i][j]; one that was cut each time is a CutText. tally: a Counter, in which the
    replies ("replies") and those that were cut ("cut") are counted.
    """
    texts = [list(row) for row in teacher(problems, guided)]
    tally["replies"] += sum(map(len, texts))
    for attempt in range(1, tries + 1):
        places = [(i, j) for i, row in enumerate(texts) for j, text in enumerate(row)
                  if isinstance(text, CutText)]
        tally["cut"] += len(places)
        if not places or attempt == tries:
            break
        flags = [[] for _ in problems]
        for i, j in places:
            flags[i].append(guided[i][j])
        again = teacher(problems, flags, attempt)
        tally["replies"] += len(places)
        written = iter([text for row in again for text in row])
        for (i, j), text in zip(places, written):
            texts[i][j] = text
    return texts


# ---- a model on this machine ---------------------------------------------------------------------
def model_teacher(name, device=None, temperature=0.8, max_new_tokens=400, seed=0, problems=()):
    """A teacher: any Hub id or local folder, sampled with the project's own sampler.

    It is loaded when it is first asked. What it draws depends on the seed, on the prompts that are
    asked together and on the attempt, so that a bank continued later repeats no draw. problems:
    all that it will be asked. Raises ValueError, in one line, if it cannot be loaded or does not
    fit, and for a question that is too long for it.
    """
    import torch
    from engine.shared_prompt import is_out_of_memory
    from engine.policy import all_must_fit, choose_device
    from grpo import load_policy, sample
    device = choose_device(device)
    loaded = []  # the model and its tokenizer, once they are

    def answer(prompts, attempt):
        draws = [seed, prompts, attempt] if attempt else [seed, prompts]
        generator = torch.Generator(device).manual_seed(zlib.crc32(json.dumps(draws).encode()))
        try:
            if not loaded:
                loaded.extend(load_policy(name, device))
                all_must_fit(*loaded, [teacher_prompt(p.question, p.rules) for p in problems],
                             problems, max_new_tokens, "leave it out, or lower --max-new-tokens")
            model, tokenizer = loaded
            rollouts = sample(model, tokenizer, prompts, 1, max_new_tokens, temperature,
                              generator=generator)
        except ValueError as error:
            failure = str(error).removeprefix(f"model {name}: ")
            raise ValueError(f"--teacher {name}: {failure}") from None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ValueError(f"--teacher {name}: out of memory: lower --batch, --n or "
                             "--max-new-tokens") from None
        ended = rollouts.finished.tolist()
        return [text if whole else CutText(text) for text, whole in zip(rollouts.texts, ended)]

    return by_prompt(answer)


# ---- a server ------------------------------------------------------------------------------------
def server_teacher(url, model, temperature=0.8, max_tokens=400, concurrency=8, retries=5,
                   timeout=60, options=None):
    """A teacher behind an OpenAI-compatible server (vLLM, Ollama, llama.cpp, a hosted API).

    One request is sent for each route, at most `concurrency` at a time. url: see `chat_address`.
    options: JSON object of more fields of a request, as text; null leaves a field out. The key is
    read from OPENAI_API_KEY, sent, and shown nowhere.
    A busy, failing or silent server is asked again, `retries` times, after a growing pause or the
    one it names (Retry-After). Any other refusal (a wrong key, an unknown model) raises ValueError
    at once. timeout: seconds without a sign of life; a whole reply may take twice that and have
    MAX_REPLY bytes. A reply without text (a refusal, say) is an empty route.
    """
    fields = {"temperature": temperature, "max_tokens": max_tokens, **request_options(options)}
    server = ServerTeacher(url, model, fields, retries, timeout)

    def answer(prompts, attempt):
        with ThreadPoolExecutor(concurrency) as pool:
            futures = [pool.submit(server.ask, prompt) for prompt in prompts]
            try:
                ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in ended:
                    future.result()  # raises what a request has raised
                return [future.result() for future in futures]
            except BaseException:  # Ctrl-C, or a request has failed: do not wait for the others
                server.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return by_prompt(answer)


def address_hint(name):
    """A hint, if the name of a teacher looks like an address that lacks http://; else None.

    >>> address_hint("localhost:8000/v1")
    "did you mean http://localhost:8000/v1? A server's address begins with http:// or https://"
    >>> address_hint("Qwen/Qwen2.5-0.5B") is address_hint("models/v1") is None
    True
    """
    host = r"(localhost|\d+\.\d+\.\d+\.\d+|\[[\da-f:]+\])(:\d+)?"
    host_and_port = r"[\w.-]+:\d+"
    interface = r"[\w-]+(\.[\w-]+)+(/.*)?/(v\d+|chat/completions)/?"  # api.host.com/v1
    plain = re.fullmatch(rf"(?i)({host}|{host_and_port})(/.*)?|{interface}", name)
    rule = "A server's address begins with http:// or https://"
    if plain and not os.path.exists(name):
        return f"did you mean http://{name}? {rule}"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/|//", name) and not is_address(name):
        return rule
    return None


def chat_address(url):
    """The address that is asked. Raises ValueError for one that can be nobody's.

    >>> chat_address("http://localhost:8000")
    'http://localhost:8000/v1/chat/completions'
    >>> chat_address("https://host/api/paas/v4/?api-version=1")
    'https://host/api/paas/v4/chat/completions?api-version=1'
    >>> chat_address("https://host/chat/completions")
    'https://host/chat/completions'
    """
    parts = urllib.parse.urlsplit(url)
    path = parts.path.rstrip("/")
    if path.endswith(OTHER_INTERFACES):
        raise ValueError("this is the address of another interface: leave its last part out")
    if not path:
        path = "/v1/chat/completions"
    elif not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urllib.parse.urlunsplit(parts._replace(path=path))


def query_values(url):
    """The values in an address's query, as written and decoded: one may be a key.

    >>> query_values("https://host/v1?api-version=1&key=a%2Bb")
    ['1', '1', 'a%2Bb', 'a+b']
    """
    values = []
    for part in re.split("[&;]", url.partition("?")[2]):
        value = part.partition("=")[2] or part
        values += [value, urllib.parse.unquote(value)]
    return values


def request_options(text):
    """The fields that --teacher-options adds to a request -> dict. Raises ValueError for others.

    >>> request_options('{"max_completion_tokens": 500, "max_tokens": null}')
    {'max_completion_tokens': 500, 'max_tokens': None}
    """
    if text is None:
        return {}
    try:
        options = json.loads(text)
        json.dumps(options, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--teacher-options: not JSON ({error})") from None
    if not isinstance(options, dict):
        raise ValueError('--teacher-options: not a JSON object, like {"top_p": 0.9}')
    for name in ("model", "messages"):
        if name in options:
            raise ValueError(f"--teacher-options: {name!r} is set by the program")
    if options.get("stream"):
        raise ValueError("--teacher-options: 'stream' must be false: whole replies are read")
    return options


class Hopeless(Exception):
    """A failure of a server that asking again would not cure."""


@dataclass
class Reply:
    """What a server sent back."""
    status: int
    text: str
    retry_after: str  # the header, or ""
    location: str  # of a redirect, or ""


class ServerTeacher:
    """One server, with what is sent to it. `ask` is safe to call from several threads."""

    def __init__(self, url, model, fields, retries, timeout):
        self.key = os.environ.get("OPENAI_API_KEY", "").strip()
        if may_hold_a_key(url):
            raise ValueError("--teacher: a key belongs in OPENAI_API_KEY, not in the address")
        if "(hidden)" in url:  # read from a run's config.json
            raise ValueError(f"--teacher {url}: the values of its query are recorded nowhere; give "
                             "the whole address again")
        if not model:
            raise ValueError(f"--teacher {shown_address(url)}: a server needs --teacher-model NAME")
        if not (self.key.isascii() and self.key.isprintable()):
            raise ValueError("OPENAI_API_KEY: holds characters that cannot be sent")
        self.url = url
        self.model = model
        self.fields = fields
        self.retries = retries
        self.timeout = timeout
        self.stopped = threading.Event()  # set: give up every request
        self.opener = urllib.request.build_opener(AnyStatus)
        self.headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if self.key:
            self.headers["Authorization"] = f"Bearer {self.key}"
            if "api-version=" in url:  # Azure's own name for it
                self.headers["api-key"] = self.key
        try:
            self.address = chat_address(url)
        except ValueError as error:
            raise self.failed(f"cannot be asked: {error}") from None

    def ask(self, prompt):
        """The server's text for one prompt -> str or CutText. Raises ValueError without one."""
        body = self.body(prompt)
        for attempt in range(self.retries + 1):
            jitter = random.uniform(0.5, 1)  # threads that failed together do not return together
            pause = min(30.0, 0.5 * 2 ** attempt) * jitter
            try:
                reply = within(2 * self.timeout, lambda: self.exchange(body), self.stopped)
                if reply.status in (200, 201):
                    return text_of_reply(reply.text)
                if reply.status == 400 and '"content_filter"' in reply.text:
                    return ""  # a refusal of this one question
                failure = f"{reply.status} {reply.text}"
                pause = named_pause(reply.retry_after, pause)
                refuse(reply, self.key)
            except Hopeless as error:
                asked = " ".join(prompt.rpartition("Problem: ")[2].split())[:40]
                path = urllib.parse.urlsplit(self.address).path
                raise self.failed(f"({path} was asked {asked!r}) {error}") from None
            except (ValueError, http.client.InvalidURL) as error:  # an address nobody can have
                raise self.failed(f"cannot be asked: {error}") from None
            except (OSError, http.client.HTTPException) as error:  # dropped, cut short, timed out
                failure = f"{type(error).__name__} {error}"
            except UnreadableReply as error:
                failure = str(error)
            if attempt < self.retries:
                self.rest(pause)
        raise self.failed(f"no answer after {self.retries + 1} attempts; the last: {failure}")

    def rest(self, seconds):
        """Wait. Raises ValueError if the program is stopped meanwhile."""
        if self.stopped.wait(seconds):
            raise self.failed("the program was stopped")

    def body(self, prompt):
        """The request for one prompt, in bytes. A field that is None is left out."""
        messages = [{"role": "user", "content": prompt}]
        fields = {"model": self.model, "messages": messages, **self.fields}
        return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()

    def exchange(self, body):
        """Send one request -> Reply. Raises what urllib and http.client raise, and Hopeless."""
        request = urllib.request.Request(self.address, body, self.headers)
        with self.opener.open(request, timeout=self.timeout) as reply:
            kind = reply.headers.get("Content-Type", "")
            if reply.status == 200 and "event-stream" in kind.lower():
                refuse_stream()  # unread, for it may have no end
            raw = reply.read(MAX_REPLY + 1)
            if reply.length and len(raw) <= MAX_REPLY:  # dropped in the middle
                raise http.client.IncompleteRead(raw)
            raw = unpacked(raw, reply.headers.get("Content-Encoding", ""))
            text = raw.decode("utf-8-sig", errors="replace")
            if len(raw) > MAX_REPLY:
                raise Hopeless(f"a reply of more than {MAX_REPLY} bytes: {text[:10_000]}")
            location = reply.headers.get("Location", "")
            if location:
                location = urllib.parse.urljoin(self.address, location)
            return Reply(reply.status, text, reply.headers.get("Retry-After", ""), location)

    def failed(self, failure):
        """The ValueError of a failure: one line, without the key, which a server may quote."""
        failure = " ".join(printable(failure).split())
        if self.key:
            failure = failure.replace(self.key, "(hidden)")
        for value in query_values(self.url):
            if len(value) >= 4:  # a shorter one is no secret, and part of many words
                failure = failure.replace(value, "(hidden)")
        return ValueError(f"--teacher {shown_address(self.url)}: {failure[:300]}")


# ---- what a server sends back --------------------------------------------------------------------
class UnreadableReply(Exception):
    """A reply that is not a chat completion."""


class AnyStatus(urllib.request.HTTPErrorProcessor):
    """Hands back every reply as it is: no exception, and no redirect that carries the key away."""

    def http_response(self, request, response):
        return response
    https_response = http_response


def within(seconds, work, stopped):
    """work(), given up after so many seconds, or when `stopped` is set, with TimeoutError.

    A server that sends a byte now and then would never meet a socket's time-out.
    """
    result = Future()

    def run():
        try:
            result.set_result(work())
        except Exception as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while not result.done() and time.monotonic() < end and not stopped.is_set():
        thread.join(min(0.2, seconds))
    if not result.done():
        raise TimeoutError(f"no whole reply in {seconds:g} s")
    return result.result()


def unpacked(raw, encoding):
    """The bytes of a reply without its Content-Encoding: at most MAX_REPLY + 1 of them."""
    encoding = encoding.strip().lower()
    packed_with_gzip = raw[:2] == b"\x1f\x8b"
    if len(raw) > MAX_REPLY or encoding in ("", "identity") and not packed_with_gzip:
        return raw
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Hopeless(f"its reply is packed with {encoding}, which was not asked for")
    for window in (47, -15):  # gzip or zlib, by their first bytes; bare deflate, as some send it
        unpacker = zlib.decompressobj(window)
        try:
            text = unpacker.decompress(raw, MAX_REPLY + 1)
        except zlib.error:
            continue
        if unpacker.eof or len(text) > MAX_REPLY:
            return text
        raise http.client.IncompleteRead(raw)
    raise http.client.HTTPException(f"a reply that is said to be packed with {encoding} is not")


def refuse(reply, key):
    """Raises Hopeless for a status after which asking again would not help. key: that was sent."""
    if reply.status == 401 and not key:
        raise Hopeless(f"401, and no key is in OPENAI_API_KEY: {reply.text}")
    if 300 <= reply.status < 400 and reply.location:
        target = re.sub("//[^/]*@", "//(hidden)@", reply.location)
        raise Hopeless(f"{reply.status}: redirects to {shown_address(target)}, which is not "
                       "followed, for it would get the key; if you trust it, give that address")
    if 300 <= reply.status < 500 and reply.status not in BUSY:
        raise Hopeless(f"{reply.status} {reply.text}")
    if "insufficient_quota" in reply.text:  # no pause would fill an empty account
        raise Hopeless(f"{reply.status} {reply.text}")


def refuse_error(body):
    """Raises Hopeless or UnreadableReply for an error in a reply whose status is 200.

    Routers send such, for the provider behind them. body: the reply's object, or its choice.
    """
    error = body.get("error")
    if not error and body.get("finish_reason") != "error":
        return
    code = error.get("code") if isinstance(error, dict) else None
    failure = f"an error in the reply: {json.dumps(error)}"
    if str(code).isdigit() and 400 <= int(code) < 500 and int(code) not in BUSY:
        raise Hopeless(failure)
    raise UnreadableReply(failure)


def refuse_stream():
    raise Hopeless(
        "it streams its reply (server-sent events), where one whole reply is wanted: switch "
        """streaming off at the server, or try --teacher-options '{"stream": false}'""")


def named_pause(header, otherwise):
    """Seconds that a Retry-After header asks for: a number of seconds, or a date."""
    header = header.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", header):
        return min(MAX_PAUSE, float(header))
    try:
        seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return otherwise
    return min(MAX_PAUSE, max(0.0, seconds))


def text_of_reply(text):
    """The route in a chat completion -> str, or CutText if the token limit cut it.

    Reasoning that a server splits off comes first, in the tags that it lost, so that no answer is
    read from it. Raises UnreadableReply, or Hopeless for a stream.

    >>> text_of_reply('{"choices": [{"message": {"content": "4", "reasoning": "2 + 2"}}]}')
    '<think>2 + 2</think>\\n4'
    """
    if re.match(r"\s*(data|event|id|retry)?:", text):
        refuse_stream()
    try:
        body = json.loads(text)
        refuse_error(body)
        choice = body["choices"][0]
        refuse_error(choice)
        message = choice["message"]
        split_off = message.get("reasoning_content") or message.get("reasoning") or ""
        thought, written = text_of_content(message.get("content"))
        thought = "".join(text_of_content(split_off)) + thought
        if thought.strip():
            written = f"<think>{thought}</think>\n{written}"
        written = written.strip()
        written = written.encode(errors="replace").decode()  # half a surrogate pair is no text
        cut = str(choice.get("finish_reason")).lower() in CUT
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise UnreadableReply(f"not a chat completion: {text}") from None
    return CutText(written) if cut else written


def text_of_content(content):
    """(reasoning, text) of a message's content: a string, None, or a list of parts.

    A part is {"type": "text", "text": str}, or {"type": "thinking", "thinking": str or parts}.
    Parts of other types (an image, say) hold no text. Raises TypeError for anything else.
    """
    if content is None or isinstance(content, str):
        return "", content or ""
    if not isinstance(content, list):
        raise TypeError("content of another kind")
    thoughts, texts = [], []
    for part in content:
        kind = part.get("type", "text")
        for name in ("thinking", "reasoning", "text"):
            value = part.get(name)
            if isinstance(value, dict):
                value = value.get("value")
            thought, text = text_of_content(value)
            if name == "text" and kind not in ("thinking", "reasoning"):
                texts.append(text)
            else:
                thoughts.append(thought + text)
    return "".join(thoughts), "".join(texts)
