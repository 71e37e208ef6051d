"""The policy: how a name becomes a model and a tokenizer, and how prompts become token ids.

Promise: a model is loaded whole or refused in one line. Only safetensors are read, and no code that
comes with a model is run. A model is also refused if this project would compute its layers wrongly.
To read: `load_policy`, then `encode_prompts` and `end_ids`.
Held to it by tests/test_grpo.py and tests/test_hostile.py.
"""
import contextlib
import json
import re
import unicodedata
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from engine.sampler import decodable
from engine.text import TAGS, harmless
from realm import demonstration, mrpv_prompt, reasoning_only

# cuDNN's gradients under a mask may be nan (pytorch#196678), and it plans anew for each new shape.
torch.backends.cuda.enable_cudnn_sdp(False)
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()  # load_policy raises an error where a warning matters

ASSETS = Path(__file__).resolve().parent.parent / "assets"
# The students that ship with this project -> where they differ from a tiny student's defaults.
# Those that check routes in writing need more tokens.
TINY = {"tiny": {}, "tiny-ads": {}, "tiny-checks": {"max_new_tokens": 128},
        "tiny-recall": {"max_new_tokens": 128}, "tiny-totals": {"max_new_tokens": 128, "lr": 8e-4}}
ALL_TAGS = "".join(f"<{tag}></{tag}>" for tag in TAGS)
# Llama's template writes today's date, unless it is told one. A run must not depend on the day.
SAME_DAY = {"date_string": "26 Jul 2024"}  # what the template itself writes without a clock
HUB_OWNERS = {"Qwen": "Qwen", "SmolLM": "HuggingFaceTB", "Llama": "meta-llama",
              "Mistral": "mistralai"}


# ---- names ---------------------------------------------------------------------------------------
def run_behind(name):
    """The folder that a name is of -> Path: RUN/model, where a run keeps its model, is of RUN."""
    path = Path(name)
    for place in (path, path.resolve()):  # a link leads to the second, and "." from inside
        if place.name == "model" and (place.parent / "before.json").is_file():
            return place.parent
    return path


def resolve_model(name):
    """What from_pretrained takes for a name: one of TINY, a run folder, a local folder, a Hub id,
    or a short name (`Qwen2.5-0.5B`).

    Raises ValueError, in one line, for a name that is none of these.
    """
    if name in TINY:
        return str(ASSETS / name)
    path = run_behind(name)
    has_model = (path / "model" / "config.json").is_file()
    finished = has_model and (path / "result.json").is_file()
    if (path / "before.json").is_file() and not finished:
        raise ValueError(f"model {name}: a run that is not finished, so its model/ is not there or "
                         f"older: python train.py --resume {path}")
    if has_model:  # a run folder of train.py
        return str(path / "model")
    if (path / "config.json").is_file():
        return str(path)
    owner = next((owner for start, owner in HUB_OWNERS.items() if name.startswith(start)), None)
    runs = [found.parent.name for found in path.parent.glob("*/before.json")]
    if runs and "/" in name and not path.exists():
        raise ValueError(f"model {name}: no such run; in {path.parent} there are "
                         + ", ".join(sorted(runs)[:10]))
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    is_short = "/" not in name
    if path.exists() or looks_like_a_path or (is_short and owner is None):
        raise ValueError(f"model {name}: neither a folder with a config.json, nor a Hub id like "
                         f"Qwen/Qwen2.5-0.5B, nor a short name that begins with "
                         f"{', '.join(HUB_OWNERS)}")
    return f"{owner}/{name}" if is_short else name


def is_tiny(name):
    """Is this one of the students that ship with this project, or a run folder of one?"""
    if name in TINY:
        return True
    # Anything else is not tiny: no run folder, a damaged one, or a run that is its own model.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError,
                             RecursionError):
        config = json.loads((run_behind(name) / "config.json").read_text())
        recorded = config.get("run", {}).get("tiny")  # the model it began from may have moved
        return is_tiny(config["model"]) if recorded is None else recorded
    return False


def choose_device(device=None, tiny=False):
    """The device asked for. If none is: a GPU where there is one, but the CPU for a tiny student,
    which gains nothing on a GPU.

    Raises ValueError, in one line, for a device that is not here.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() and not tiny else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: use cpu or cuda")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {device}: no such GPU here; use --device cpu")
    return device


# ---- loading -------------------------------------------------------------------------------------
def load_policy(name, device="cpu", dtype=None):
    """(model, tokenizer), the model in eval mode. dtype: by default fp32 on the CPU, bf16 on a GPU.

    Raises ValueError, in one line, if the model cannot be loaded whole. It catches every exception,
    because a folder may come from anyone and its faults may surface as any of them.
    """
    where = resolve_model(name)
    if dtype is None:
        on_cpu = torch.device(device).type == "cpu"
        dtype = torch.float32 if on_cpu else torch.bfloat16
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        model, info = AutoModelForCausalLM.from_pretrained(
            where, dtype=dtype, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True, ignore_mismatched_sizes=True)
        check_weights(model, info)
        check_tokens(model, tokenizer)
        if not decodable(model):
            raise ValueError("its layers are not built like those of Qwen, Llama, Mistral and "
                             "SmolLM, which engine/layers.py computes")
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        expected = isinstance(error, (OSError, ValueError))
        kind = "" if expected else f"{type(error).__name__}: "
        raise ValueError(f"model {name}: cannot load {where} ({kind}{reason})") from None
    return model.to(device).eval(), tokenizer


def check_weights(model, info):
    """Raises ValueError if a weight was not in the files (it would stay random), or is not finite.
    info: what from_pretrained reports about the loading."""
    lost = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
    if lost:
        raise ValueError(f"its weights lack {lost[0]}, or have it in another shape")
    if not all(p.isfinite().all() for p in model.parameters()):
        raise ValueError("its weights hold nan or infinity")


def check_tokens(model, tokenizer):
    """Raises ValueError if the tokenizer does not fit the model. Gives it a pad token if it lacks
    one. This may be the end token, because masks come from lengths."""
    known = model.get_input_embeddings().num_embeddings
    prompt = encode_prompts(tokenizer, ["Problem: a"])[0]
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= known:
        tokenizer.pad_token = tokenizer.eos_token
    unusable = tokenizer.eos_token_id is None or not prompt
    if unusable or max(prompt + end_ids(model, tokenizer)) >= known:
        raise ValueError("its tokenizer has no end token, is empty, or belongs to another model")


# ---- text and token ids --------------------------------------------------------------------------
def turn_end(tokenizer):
    """The token id with which the chat template ends a turn, or None where there is no template or
    no such token.

    To find it, we let the template write a turn with a known text. What follows the text ends the
    turn.
    """
    if not tokenizer.chat_template:
        return None
    dialogue = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "REPLY"}]
    written = tokenizer.apply_chat_template(dialogue, tokenize=False, **SAME_DAY)
    end = written.rpartition("REPLY")[2]
    ids = tokenizer(end, add_special_tokens=False)["input_ids"]
    known = tokenizer.all_special_ids + list(tokenizer.added_tokens_decoder)
    return ids[0] if ids and ids[0] in known else None


def end_ids(model, tokenizer):
    """Every token id that ends a completion, sorted: the model's (its generation config may list
    several), the tokenizer's, and the one with which the chat template ends a turn. The last is
    needed because the configs of a *base* model name only <|endoftext|>."""
    named = model.generation_config.eos_token_id if model.generation_config else None
    if not isinstance(named, list):
        named = [named]
    ids = {tokenizer.eos_token_id, turn_end(tokenizer), *named}
    return sorted(ids - {None})


def encode_prompts(tokenizer, prompts):
    """Token ids of prompts (list of str), through the chat template where there is one."""
    if not tokenizer.chat_template:
        rows = tokenizer(prompts, add_special_tokens=True)["input_ids"]
        # Some tokenizers end every text with the end token. A prompt goes on.
        return [row[:-1] if row[-1:] == [tokenizer.eos_token_id] else row for row in rows]
    written = []
    for prompt in prompts:
        text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False,
                                             add_generation_prompt=True, **SAME_DAY)
        # Some templates open <think> themselves. Here the student writes it.
        written.append(re.sub(r"<think>\s*$", "", text))
    return tokenizer(written, add_special_tokens=False)["input_ids"]


def decode_completions(tokenizer, rows):
    """The text of completions (lists of ids), without special tokens, but with the tags of the
    format.

    Some tokenizers hold <think> or <answer> as a special token. These are text here.
    """
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    tags = {i for i in special if is_tag(tokenizer.convert_ids_to_tokens(i))}
    if not tags:
        return tokenizer.batch_decode(rows, skip_special_tokens=True)
    kept = [[i for i in row if i not in special or i in tags] for row in rows]
    return tokenizer.batch_decode(kept, skip_special_tokens=False)


def is_tag(token):
    """Is a token one of <think>, </think>, <answer>, </answer>, <scores>, </scores>, or a part?

    >>> is_tag("<think>"), is_tag("</think>\\n"), is_tag("</"), is_tag("</s>"), is_tag("")
    (True, True, True, False, False)
    """
    text = "".join((token or "").split())
    return bool(text) and text in ALL_TAGS


def must_fit(model, encoded, max_new_tokens):
    """Raises ValueError if one of the encoded prompts is empty, or does not fit the model's context
    together with its completion."""
    context = getattr(model.config, "max_position_embeddings", None) or float("inf")
    longest = max(map(len, encoded))
    if not all(encoded):
        raise ValueError("a prompt is empty: there is no token to predict a first one from")
    if longest + max_new_tokens > context:
        raise ValueError(f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed the "
                         f"model's context of {context}")


def all_must_fit(model, tokenizer, prompts, problems, max_new_tokens, advice):
    """must_fit for one prompt of each problem. Its error names the longest one's question."""
    if not prompts:
        return
    encoded = encode_prompts(tokenizer, prompts)
    try:
        must_fit(model, encoded, max_new_tokens)
    except ValueError as error:
        longest = max(range(len(problems)), key=lambda i: len(encoded[i]))
        question = problems[longest].question[:60]
        raise ValueError(f"the question {question!r}: {error}: {advice}") from None


def check_prompts(model, tokenizer, problems, to_imitate, config):
    """Raises ValueError, which names the question, if a prompt cannot be written or does not fit.
    Says if SFT will imitate completions that are longer than the student may write.

    config: train.py's; to_imitate: problems whose correct routes SFT imitates. This is said before
    the run, and not at the step that draws the prompt.
    """
    routes_must_fit(model, tokenizer, problems, config.routes, config.max_new_tokens)
    must_write(tokenizer, [problem.question for problem in problems], config.model)
    if config.sft_steps:
        say_too_long(tokenizer, to_imitate, config)


def route_lengths(tokenizer, problems):
    """{text of a route: its tokens as a prompt shows it}, of all routes of these problems."""
    texts = list(dict.fromkeys(route.text for problem in problems for route in problem.routes))
    if not texts:
        return {}
    encoded = tokenizer([harmless(text) for text in texts])["input_ids"]
    return dict(zip(texts, map(len, encoded)))


def routes_must_fit(model, tokenizer, problems, k, max_new_tokens):
    """Raises ValueError, which names the question, if a prompt with k routes does not fit."""
    lengths = route_lengths(tokenizer, problems)
    longest = []  # of each problem: its prompt with the k longest routes
    for problem in problems:
        routes = sorted(problem.routes, key=lambda route: -lengths[route.text])
        longest.append(mrpv_prompt(problem.question, routes[:k]))
    all_must_fit(model, tokenizer, longest, problems, max_new_tokens,
                 "show fewer --routes, lower --max-new-tokens, or leave it out")


def say_too_long(tokenizer, problems, config):
    """Say how many demonstrations of SFT are longer than a completion may be, if any are."""
    scores = None if config.method == "rft" else [0.0] * config.routes
    texts = [demonstration(reasoning_only(route.text), problem.answer, scores or None)
             for problem in problems for route in problem.routes if route.correct]
    if not texts:
        return
    # One more: the end token.
    lengths = [len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    too_long = sum(length > config.max_new_tokens for length in lengths)
    if too_long:
        print(f"{too_long} of {len(texts)} demonstrations are longer than --max-new-tokens "
              f"{config.max_new_tokens}: a student that imitates them will be cut before its end",
              flush=True)


def check_tokenizers(names, problems):
    """Raises ValueError if one of these models cannot write a question. It loads no weights."""
    for name in names:
        try:
            tokenizer = AutoTokenizer.from_pretrained(resolve_model(name), trust_remote_code=False)
        except Exception:
            continue  # load_policy says in one line what is wrong with such a model
        must_write(tokenizer, [problem.question for problem in problems], name)


def must_write(tokenizer, questions, name):
    """Raises ValueError if the tokenizer loses a part of a question, of the instruction of a
    prompt, or a tag of a completion.

    The tiny students know only the words of their own tasks. Spaces are ignored, and so are
    Unicode's different ways to write one character.
    """
    def characters(text):
        return "".join(unicodedata.normalize("NFKC", text).split())

    prompts = [mrpv_prompt(question) for question in questions]
    written = tokenizer.batch_decode(tokenizer(prompts, add_special_tokens=False)["input_ids"])
    for question, prompt, copy in zip(questions, prompts, written):
        if characters(copy) != characters(prompt):
            raise ValueError(f"model {name}: its tokenizer cannot write {question[:60]!r} (the "
                             "tiny students know only the words of their own tasks)")
    spaced = "<think> </think>\n<answer> </answer>\n<scores> </scores>"
    tags = decode_completions(tokenizer, [tokenizer(spaced, add_special_tokens=False)["input_ids"]])
    if characters(tags[0]) != ALL_TAGS:
        raise ValueError(f"model {name}: its tokenizer cannot write the tags of the format: "
                         f"{spaced!r} becomes {tags[0]!r}")
