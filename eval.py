"""Evaluate students without routes and with them: python eval.py RUN_OR_MODEL... [--task shop]

ReaLM asks two things of a student. Without routes it must stand alone (autonomy). With routes it
must beat the teacher and a majority vote over the same routes, and not repeat their mistakes.

The columns of the table:
    accuracy   share of right answers under greedy decoding
    format     share of these completions that hold reasoning, answer and, with routes, every score
    mean@n     mean accuracy of n samples at temperature 1
    pass@n     share of questions that at least one of the n samples answers
    maj@n      accuracy of the majority vote over the n samples
    AUC        P(a right route is scored above a wrong one), ties count half; a constant has 0.5
    scores ok  share of the scores on the right side of 0.5; a score of 0.5 counts half
    SAME Err   share of the wrong answers that repeat the answer of a wrong route shown
    tokens     mean length of a greedy completion
    P, R, F1   precision, recall and F1 of the answer --positive, for yes-or-no tasks
Every interval is a 95% interval. All are Wilson's except that of mean@n. It is the normal interval
over questions, which is too narrow if there are only a few. The teacher's counts every route as
independent. Routes of one question are not, so it may be too narrow.
"""
import dataclasses
import math
import random
import sys
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import torch
from tqdm import tqdm

from data import BUILT_IN, all_with_routes, load_problems
from engine.flags import (TeacherFlags, check_bounds, flag, for_the_record, given_flags,
                          idle_source_rules, problem_source, same_flag, say, without_effect)
from engine.policy import (TINY, check_tokenizers, choose_device, is_tiny, resolve_model,
                           routes_must_fit)
from engine.report import check_figure, check_json, write_results
from engine.run import must_be_there, read_run, seen_in_training
from engine.shared_prompt import is_out_of_memory
from grpo import load_policy, sample
from realm import choose_routes, mrpv_prompt, parse_response
from rewards import answers_match, canonical, realm_reward


# ---- statistics ----------------------------------------------------------------------------------
def wilson(right, n, z=1.96):
    """The 95% Wilson score interval of a share: right of n > 0 -> (low, high).

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.49, 0.943]
    """
    p = right / n
    z2 = z * z / n
    middle = (p + z2 / 2) / (1 + z2)
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def share(part, whole):
    """part / whole, or None where there is nothing to take a part of."""
    return part / whole if whole else None


def vote(answers, rng):
    """The most frequent answer. A tie is broken at random. No answer, or a blank one, has no vote.

    >>> vote(["7", "8", "7.0", None], random.Random(0))
    '7'
    """
    answers = [answer for answer in answers if canonical(answer)]
    if not answers:
        return None
    counts = {}  # an answer in its first spelling -> how many gave it
    for answer in answers:
        first = next((other for other in counts if answers_match(other, answer)), answer)
        counts[first] = counts.get(first, 0) + 1
    most = max(counts.values())
    return rng.choice([answer for answer, count in counts.items() if count == most])


def auc(scores, labels):
    """The share of pairs (right route, wrong route) in which the right one has the higher score.

    That is P(right above wrong). An equal pair counts half, so a constant score has 0.5. labels:
    was the route right? None if there is no pair.

    >>> auc([0.9, 0.2, 0.2, 0.1], [True, True, False, False])  # of 4 pairs 3 are won, 1 is equal
    0.875
    """
    right = [score for score, label in zip(scores, labels) if label]
    wrong = sorted(score for score, label in zip(scores, labels) if not label)
    if not right or not wrong:
        return None
    wins = 0.0
    for score in right:
        lower = bisect_left(wrong, score)
        equal = bisect_right(wrong, score) - lower
        wins += lower + 0.5 * equal
    return wins / (len(right) * len(wrong))


# ---- one way of asking ---------------------------------------------------------------------------
def evaluate_prompts(model, tokenizer, problems, shown, samples, max_new_tokens, seed, batch,
                     positive, sampler):
    """Ask every problem, greedily and with n samples, with the routes in `shown` -> dict.

    shown: for each problem the list of its routes; all of these lists are empty if no routes are
    shown. The other arguments are those of evaluate.
    """
    greedy, lengths, sampled = complete(
        model, tokenizer, problems, shown, samples, max_new_tokens, seed, batch, sampler)
    responses = []
    right = []
    whole = []  # does the completion hold every field that was asked for?
    for text, routes, problem in zip(greedy, shown, problems):
        response = parse_response(text, len(routes))
        reward = realm_reward(response, problem.answer, [route.correct for route in routes])
        responses.append(response)
        right.append(answers_match(response.answer, problem.answer))
        whole.append(reward.format == 1)
    n = len(problems)
    result = {
        "accuracy": sum(right) / n,
        "interval": wilson(sum(right), n),
        "format": sum(whole) / n,
        "tokens": sum(lengths) / n,
    }
    if positive is not None:
        result |= precision_and_recall(responses, problems, positive)
    if any(shown):
        result |= route_scores(responses, shown)
        result["same_err"] = same_errors(responses, shown, right)
    if samples:
        result |= sampled_accuracy(sampled, problems, samples, seed)
    return result


def complete(model, tokenizer, problems, shown, samples, max_new_tokens, seed, batch, sampler):
    """Completions of every problem -> (greedy texts, their lengths in tokens, sampled texts).

    The n = samples texts of a problem are side by side.
    """
    prompts = [mrpv_prompt(p.question, routes) for p, routes in zip(problems, shown)]
    generator = torch.Generator(model.device).manual_seed(seed)
    texts = []
    lengths = []
    sampled = []
    title = "with routes" if any(shown) else "without routes"
    for first in tqdm(range(0, len(prompts), batch), desc=title, leave=False, disable=None):
        part = prompts[first:first + batch]
        greedy = sampler(model, tokenizer, part, 1, max_new_tokens, temperature=0.0,
                         generator=generator)
        texts += greedy.texts
        lengths += greedy.lengths.tolist()
        if samples:
            drawn = sampler(model, tokenizer, part, samples, max_new_tokens, generator=generator)
            sampled += drawn.texts
    return texts, lengths, sampled


def precision_and_recall(responses, problems, positive):
    """How well a yes-or-no task's answer `positive` is found -> dict. None: nobody says it."""
    said = [answers_match(response.answer, positive) for response in responses]
    true = [answers_match(problem.answer, positive) for problem in problems]
    both = sum(s and t for s, t in zip(said, true))
    return {
        "precision": share(both, sum(said)),
        "recall": share(both, sum(true)),
        "f1": share(2 * both, sum(said) + sum(true)),
    }


def route_scores(responses, shown):
    """How well utility scores tell right routes from wrong ones -> dict.

    scored: share of the routes shown whose score could be read. The other two are over these
    routes, or None if there are none.
    """
    scores = []
    labels = []
    for response, routes in zip(responses, shown):
        if response.scores is None:
            continue
        scores += response.scores
        labels += [route.correct for route in routes]
    agree = []
    for score, label in zip(scores, labels):
        agree.append(0.5 if score == 0.5 else (score > 0.5) == label)
    return {
        "scored": len(scores) / sum(len(routes) for routes in shown),
        "score_accuracy": share(sum(agree), len(agree)),
        "score_auc": auc(scores, labels),
    }


def same_errors(responses, shown, right):
    """SAME Err: the share of wrong answers that are also a wrong route's. None: none is wrong."""
    repeats = []
    for response, routes, is_right in zip(responses, shown, right):
        if is_right:
            continue
        mistakes = [route.answer for route in routes if not route.correct]
        repeats.append(any(answers_match(response.answer, mistake) for mistake in mistakes))
    return share(sum(repeats), len(repeats))


def sampled_accuracy(sampled, problems, samples, seed):
    """mean@n, pass@n and majority@n of n = samples completions of each problem -> dict."""
    rng = random.Random(seed)  # breaks ties
    means = []
    passed = []
    voted = []
    for i, problem in enumerate(problems):
        texts = sampled[i * samples:(i + 1) * samples]
        answers = [parse_response(text).answer for text in texts]
        hits = [answers_match(answer, problem.answer) for answer in answers]
        means.append(sum(hits) / samples)
        passed.append(any(hits))
        voted.append(answers_match(vote(answers, rng), problem.answer))
    n = len(problems)
    mean = sum(means) / n
    variance = sum((m - mean) ** 2 for m in means) / max(1, n - 1)
    half = 1.96 * math.sqrt(variance / n)  # the questions are independent, their samples are not
    return {
        "mean_at_n": mean,
        "mean_interval": (max(0.0, mean - half), min(1.0, mean + half)),
        "pass_at_n": sum(passed) / n,
        "majority_at_n": sum(voted) / n,
    }


# ---- everything measured of one student ----------------------------------------------------------
def evaluate(model, tokenizer, problems, routes=3, samples=0, max_new_tokens=96, seed=0, batch=64,
             positive=None, sampler=None):
    """Everything measured of one student on some problems -> dict.

    "alone" and "routes" hold what evaluate_prompts measured without and with routes. The teacher's
    and the vote's accuracy on the same routes stand beside them.
    routes: k (0: only without routes); samples: n completions at temperature 1 (0: greedy only);
    batch: questions at a time; positive: the answer that precision, recall and F1 count; sampler:
    grpo.sample, or that of a team (engine/team.py).
    The routes of a question depend on the seed and the question alone: all students see the same.
    """
    settings = {"samples": samples, "max_new_tokens": max_new_tokens, "seed": seed,
                "batch": batch, "positive": positive, "sampler": sampler or sample}
    none_shown = [()] * len(problems)
    result = {"questions": len(problems), "k": routes, "samples": samples}
    result["alone"] = evaluate_prompts(model, tokenizer, problems, none_shown, **settings)
    if routes:
        shown = []
        for problem in problems:
            rng = random.Random(f"{seed} {problem.question}")
            shown.append(choose_routes(problem.routes, routes, rng))
        result["routes"] = evaluate_prompts(model, tokenizer, problems, shown, **settings)
        result |= baselines(problems, shown, seed)
    return result


def baselines(problems, shown, seed):
    """Accuracy of the majority vote over the routes shown, and of one route of the teacher."""
    rng = random.Random(seed)  # breaks ties
    votes = []
    single = []
    for problem, routes in zip(problems, shown):
        winner = vote([route.answer for route in routes], rng)
        votes.append(answers_match(winner, problem.answer))
        single += [route.correct for route in routes]
    return {
        "vote": sum(votes) / len(votes),
        "vote_interval": wilson(sum(votes), len(votes)),
        "teacher": sum(single) / len(single),
        "teacher_interval": wilson(sum(single), len(single)),
    }


# ---- the command ---------------------------------------------------------------------------------
FIRST_RUNS = "the first run's"


@dataclass(kw_only=True)
class Config(TeacherFlags):
    """The flags. Those of TeacherFlags say which problems, and who writes routes where there are
    none. What is not given is the first run's, except the seed, which is 0: so different runs are
    asked with the same routes."""
    task: str | None = same_flag(TeacherFlags, "task", None, FIRST_RUNS + ", else ads for "
                                 "tiny-ads, shop for the other tiny students, else gsm8k")
    teacher_error: float | None = same_flag(TeacherFlags, "teacher_error", None,
                                            FIRST_RUNS + ", else 0.65")
    systematic: float | None = same_flag(TeacherFlags, "systematic", None,
                                         FIRST_RUNS + ", else 0.5")
    n: int | None = same_flag(TeacherFlags, "n", None, FIRST_RUNS + ", else 8")
    inject_rules: float | None = same_flag(TeacherFlags, "inject_rules", None,
                                           FIRST_RUNS + ", else 0")
    bank: str | None = flag(None, "JSONL bank: ask its test questions and show its routes "
                            "(default: the first run's)", heading="problems")
    split: str = flag("test", "test (of built-in tasks also ood), or validation, to choose models "
                      "or flags by", choices=("test", "validation"))
    limit: int = flag(200, "questions of each split", least=1)

    models: list[str] = flag(dataclasses.MISSING, "run folders of train.py, or models: tiny, a "
                             "short name, a Hub id, a folder", heading="students")
    routes: int | None = flag(None, "k, the routes shown (default: the first run's, else 3)",
                              least=0)
    samples: int = flag(8, "n, completions sampled for each question beside the greedy one; 0: "
                        "greedy only", least=0)
    max_new_tokens: int | None = flag(None, "longest completion (default: the first run's, else "
                                      "that of the tiny student, else 512)", least=1)
    batch: int = flag(64, "questions at a time", least=1)
    positive: str | None = flag(None, "yes-or-no tasks: the answer that precision, recall and F1 "
                                "count (ads: relevant)")
    json: str | None = flag(None, "write the results to this file", heading="output")
    figure: str | None = flag(None, "draw the comparison into this file (default with several "
                              "models: compare.png)")


def prepare(config, given=()):
    """Complete the config and find the problems -> {split: problems with their routes}.

    given: the flags on the command line; those without effect are said. Every check comes before
    the long work. Raises ValueError, in one line.
    """
    for name in config.models:
        resolve_model(name)
    run = read_run(config.models[0])
    if config.json:
        check_json("--json", config.json)
    if config.figure:
        check_figure("--figure", config.figure)
    routes_given = config.routes is not None
    fill_defaults(config, run)
    check_bounds(config)
    if config.routes == 0 and not routes_given:
        print(f"--routes is 0, as in {config.models[0]}, so no student is shown routes; --routes 3 "
              "shows them to all", flush=True)
    problems = find_problems(config)
    asked = sum(problems.values(), [])
    check_tokenizers(config.models, asked)
    say(seen_in_training(config, asked, load_problems))
    check_positive(config, problems)
    say(without_effect(given, idle_source_rules(config, f"--bank {config.bank}")))
    return all_with_routes(problems, config, given)


def fill_defaults(config, run):
    """Fill in what was not given: from the first run (its config.json), else by the model."""
    tiny = is_tiny(config.models[0])
    task = "shop" if tiny else "gsm8k"
    if config.models[0] == "tiny-ads":
        task = "ads"
    of_student = TINY.get(config.models[0], {}).get("max_new_tokens", 96)
    config.device = choose_device(config.device, tiny)
    if config.bank is None and config.task is None:
        config.bank = run.get("bank")
        must_be_there(config.bank, f"{config.models[0]}: the bank of this run, {config.bank},")
    if config.task is None and config.data is None:
        config.data = run.get("data")
    defaults = {
        "task": task,
        "max_new_tokens": of_student if tiny else 512,
        "routes": 3,
        "teacher": None,
        "teacher_model": None,
        "teacher_options": None,
        "teacher_error": 0.65,
        "systematic": 0.5,
        "n": 8,
        "inject_rules": 0.0,
    }
    for name, default in defaults.items():
        if getattr(config, name) is None:
            setattr(config, name, run.get(name, default))


def check_positive(config, problems):
    """Complete --positive for ads. Raises ValueError if it is the answer of no question."""
    def is_answer(positive):
        return any(answers_match(problem.answer, positive)
                   for some in problems.values() for problem in some)

    if config.positive and not is_answer(config.positive):
        raise ValueError(f"--positive {config.positive}: is the answer of no question")
    if not config.positive and config.task == "ads" and is_answer("relevant"):
        config.positive = "relevant"


def find_problems(config):
    """The problems to ask, with the routes that they come with -> {split: problems}."""
    where = problem_source(config)
    splits = [config.split]
    if where in BUILT_IN and config.split == "test":
        splits.append("ood")
    problems = {}
    for split in splits:
        problems[split] = load_problems(where, split, config.limit, config.data)
    if not problems[config.split]:
        print(f"{where}: so small that no question is in its {config.split} part; all of them are "
              "asked", flush=True)
        problems = {config.split: load_problems(where, "all", config.limit, config.data)}
    return problems


def evaluate_all(config, problems, results):
    """Evaluate each model on each split, and put what was found into results: model -> split."""
    settings = {name: getattr(config, name) for name in
                ("routes", "samples", "max_new_tokens", "seed", "batch", "positive")}
    asked = sum(problems.values(), [])
    for name in config.models:
        model, tokenizer = load_policy(name, config.device)
        routes_must_fit(model, tokenizer, asked, config.routes, config.max_new_tokens)
        found = {}
        for split, some in problems.items():
            found[split] = evaluate(model, tokenizer, some, **settings)
        results[name.rstrip("/")] = found


def main(argv=None):
    given = given_flags(Config, __doc__, argv)
    config = Config(**given)
    results = {}
    try:
        problems = prepare(config, given)
        try:
            evaluate_all(config, problems, results)
        finally:  # a later model may fail, or Ctrl-C come: what is done is shown and written
            if results:
                figure = config.figure or ("compare.png" if len(results) > 1 else None)
                write_results(results, for_the_record(config), config.json, figure)
    except (ValueError, OSError) as error:
        sys.exit(f"eval.py: {error}")
    except KeyboardInterrupt:
        sys.exit("eval.py: stopped")
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        sys.exit("eval.py: out of memory: lower --batch, --samples or --max-new-tokens")


if __name__ == "__main__":
    main()
