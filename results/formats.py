"""How often does a real model write the format before any training? By five prompts:

    python -m tests.real_model runs/smollm2
    python -m results.formats runs/smollm2 --out results/formats.json

    today     the project's prompt, which says in words what to write
    opened    the same, but the reply already begins with <think>
    example   the same as today, with one worked example before the problem
    both      one worked example, and a reply that begins with <think>
    turn      the worked example is a turn of the dialogue that went before

Each is asked without routes and with two, at temperature 1.0 and 0.6: 20 cells. The questions are
the first of GSM8K's test questions, the routes are the solutions of OpenAI's two 6B models. A cell
is written when it is done, and the same command goes on with those that are missing. At the end, or
with --table alone, the table is printed.
"""
import copy
import json
import time
from pathlib import Path

import torch

from engine.files import write_json
from eval import wilson
from grpo import load_policy, sample, turn_end
from realm import Route, demonstration, mrpv_prompt, parse_response
from results.command import sampling_flags, sampling_parser
from rewards import answers_match, final_answer, realm_reward

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
PROMPTS = ("today", "opened", "example", "both", "turn")
TEMPERATURES = (1.0, 0.6)
CELLS = [(name, k, T) for k in (0, 2) for name in PROMPTS for T in TEMPERATURES]

QUESTION = ("A box holds 6 red pens and twice as many blue pens. Tom buys 3 boxes. How many pens "
            "does he have?")
ROUTES = ["There are 6 * 2 = 12 blue pens.\nA box holds 6 + 12 = 18 pens.\n"
          "Tom has 18 * 3 = 54 pens.\nA: 54",
          "A box holds 6 + 2 = 8 pens.\nTom has 8 * 3 = 24 pens.\nA: 24"]
REASONING = "Blue pens: 6 * 2 = 12. Pens in a box: 6 + 12 = 18. Pens in 3 boxes: 18 * 3 = 54."


# ---- prompts ------------------------------------------------------------------------------------
def dialogue(name, question, routes):
    """The prompt of one of the five kinds: what user and assistant say in turn, as texts."""
    prompt = mrpv_prompt(question, routes)
    if name in ("today", "opened"):
        return [prompt]
    k = len(routes)  # 0 or 2
    example = mrpv_prompt(QUESTION, ROUTES[:k])
    reply = demonstration(REASONING, "54", [1.0, 0.0] if k else None)
    if name == "turn":
        return [example, reply, prompt]
    _, _, problem = prompt.partition("Problem: ")
    return [f"{example}{reply}\n\nProblem: {problem}"]


def in_chat(tokenizer, texts, opened):
    """A dialogue in the model's chat template. opened: the reply begins with <think>."""
    speakers = ("user", "assistant", "user")
    turns = [{"role": who, "content": text} for who, text in zip(speakers, texts)]
    written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return written + ("<think>" if opened else "")


def as_written(tokenizer):
    """A tokenizer that takes prompts as they are: the template is in them already."""
    plain = copy.deepcopy(tokenizer)
    end = turn_end(tokenizer)
    if end is not None:
        plain.eos_token = tokenizer.convert_ids_to_tokens(end)
    plain.chat_template = None
    return plain


# ---- one cell -----------------------------------------------------------------------------------
def questions(folder, n):
    """The first n of GSM8K's test questions: (question, gold answer, two routes) of each."""
    lines = (Path(folder) / "model_solutions_6b.jsonl").read_text().splitlines()[:n]
    found = []
    for entry in map(json.loads, lines):
        gold = final_answer(entry["ground_truth"])
        routes = []
        for solution in entry["solutions"][:2]:
            answer = final_answer(solution["solution"])
            routes.append(Route(solution["solution"], answer, answers_match(answer, gold)))
        found.append((entry["question"], gold, routes))
    return found


def measure(model, tokenizer, asked, cell, given):
    """The shares of one cell -> dict. asked: what `questions` gave."""
    name, k, temperature = cell
    opened = name in ("opened", "both")
    prompts = [in_chat(tokenizer, dialogue(name, question, routes[:k]), opened)
               for question, _, routes in asked]
    generator = torch.Generator(model.device).manual_seed(given.seed)
    began = time.perf_counter()
    rollouts = sample(model, as_written(tokenizer), prompts, given.samples, given.max_new_tokens,
                      temperature, generator=generator)
    counts = dict.fromkeys(("format", "any_tag", "answer", "lenient", "right", "lenient_right"), 0)
    for i, text in enumerate(rollouts.texts):
        _, gold, routes = asked[i // given.samples]
        text = "<think>" * opened + text
        response = parse_response(text, k)
        reward = realm_reward(response, gold, [route.correct for route in routes[:k]])
        loose = final_answer(text)
        written = text.removeprefix("<think>") if opened else text
        counts["format"] += reward.format == 1
        counts["any_tag"] += any(f"{tag}>" in written for tag in ("think", "answer", "scores"))
        counts["answer"] += response.answer is not None
        counts["lenient"] += loose is not None
        counts["right"] += reward.answer == 1
        counts["lenient_right"] += answers_match(loose, gold)
    return {"prompt": name, "routes": k, "temperature": temperature, "n": len(rollouts.texts),
            **counts, "finished": int(rollouts.finished.sum()),
            "tokens": rollouts.lengths.float().mean().item(),
            "prompt_tokens": rollouts.prompt_lengths.float().mean().item(),
            "seconds": round(time.perf_counter() - began, 1)}


# ---- the table ----------------------------------------------------------------------------------
def table(cells):
    """The cells as a table in Markdown. The interval is Wilson's, of the full format."""
    cells = sorted(cells, key=lambda c: CELLS.index((c["prompt"], c["routes"], c["temperature"])))
    lines = ["| prompt | routes | T | full format | answer tag | right | any tag | a last number | "
             "ended | tokens |", "|---|---|---|---|---|---|---|---|---|---|"]
    for c in cells:
        low, high = wilson(c["format"], c["n"])
        lines.append(
            f"| {c['prompt']} | {c['routes']} | {c['temperature']} | {c['format']} of {c['n']} "
            f"[{low:.2f}, {high:.2f}] | {c['answer']} | {c['right']} | {c['any_tag']} | "
            f"{c['lenient']} ({c['lenient_right']} right) | {c['finished']} | {c['tokens']:.0f} |")
    return "\n".join(lines)


def main(argv=None):
    parser = sampling_parser(__doc__, DATA, questions=8, samples=2, max_new_tokens=160)
    parser.add_argument("--out", default="results/formats.json")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = sampling_flags(parser, argv)
    settings = {name: getattr(given, name) for name in
                ("questions", "samples", "max_new_tokens", "seed")}
    path = Path(given.out)
    stored = json.loads(path.read_text()) if path.is_file() else {"settings": settings, "cells": []}
    if stored["settings"] != settings and not given.table:
        raise SystemExit(f"{path}: measured with {stored['settings']}; choose another --out")
    done = {(c["prompt"], c["routes"], c["temperature"]) for c in stored["cells"]}
    missing = [] if given.table else [cell for cell in CELLS if cell not in done]
    if missing:
        model, tokenizer = load_policy(given.model, given.device)
        asked = questions(given.data, given.questions)
    for cell in missing:
        stored["cells"].append(measure(model, tokenizer, asked, cell, given))
        write_json(path, stored)
        print(stored["cells"][-1], flush=True)
    print(table(stored["cells"]))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"formats: {error}") from None
