"""The whole run: its folder, its determinism, what it refuses."""
import dataclasses
import json
import math
import random
import re
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import data
import engine.team
from engine import report
import grpo
import train
from data import load_problems, make_routes, split_by_question
from tasks import shop
from helpers import by_hand, small_model, write_bank
from realm import Problem, Route, demonstration, mrpv_prompt, parse_response
from rewards import realm_reward

SMALL = ["--model", "tiny", "--steps", "4", "--prompts-per-step", "4", "--group-size", "4",
         "--max-new-tokens", "60", "--eval-limit", "8", "--limit", "30", "--eval-every", "0",
         "--save-every", "2", "--warmup", "2"]


def run(folder, *flags):
    train.main([*SMALL, "--out", str(folder), *flags])
    return folder


def refused(capsys, *flags):
    """train.py's last words for flags it must refuse: one line."""
    with pytest.raises(SystemExit) as stop:
        train.main(list(flags))
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code
    return stop.value.code


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()


def config(**changes):
    changes = {"out": "/nonexistent/run", **changes}
    return train.prepare(dataclasses.replace(train.Config(), **changes), {})


def test_a_run_leaves_everything_it_promises(tmp_path, capsys, curves):
    folder = run(tmp_path / "run")
    names = {p.name for p in folder.iterdir()}
    promised = {"config.json", "metrics.jsonl", "timing.jsonl", "curves.png", "model", "checkpoint"}
    assert promised <= names
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    wanted = {"p", "reward", "answer", "utility", "format", "live", "truncated", "length",
              "entropy", "kl", "approx_kl", "clip_fraction", "grad_norm"}
    assert all(wanted <= set(line) for line in lines)
    timed = [key for line in lines for key in line if key.endswith("_s")]
    assert not timed, "clock times belong to timing.jsonl"
    for line in map(json.loads, (folder / "timing.jsonl").read_text().splitlines()):
        parts = line["sample_s"] + line["score_s"] + line["update_s"]
        assert 0 < parts <= line["step_s"] + 1e-5  # the rest is an evaluation, and the log
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tokens = tokenizer("Problem: 2 tea", return_tensors="pt")
    assert model(**tokens).logits.shape[-1] == len(tokenizer)
    table = capsys.readouterr().out
    for words in ("before", "after", "without routes", "with 3 routes", "teacher", "majority vote"):
        assert words in table


def test_what_an_evaluation_on_validation_problems_found_stands_in_metrics(tmp_path, monkeypatch):
    evaluate = train.evaluation.evaluate

    def marked(*args, **more):
        result = evaluate(*args, **more)
        result["alone"]["accuracy"] = 0.25
        result["routes"]["accuracy"] = 0.5
        result["routes"]["score_auc"] = 0.75
        return result

    monkeypatch.setattr(train.evaluation, "evaluate", marked)
    folder = run(tmp_path / "run", "--eval-every", "2")
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["eval_alone"], last["eval_routes"], last["eval_auc"]) == (0.25, 0.5, 0.75)


@pytest.mark.parametrize("flags", [[], ["--recompute"]])
def test_the_student_is_told_whether_to_recompute(tmp_path, monkeypatch, flags):
    rl_step = train.rl_step
    told = []

    def watched(model, *rest):
        told.append(model.recompute)
        return rl_step(model, *rest)

    monkeypatch.setattr(train, "rl_step", watched)
    run(tmp_path / "run", *flags)
    assert set(told) == {bool(flags)}


def test_what_sft_imitates_is_the_teachers_reasoning_with_the_answer_in_its_own_place(monkeypatch):
    route = Route("2 + 2 is four.\n<answer>4</answer>", "4", True)
    problem = Problem("2 + 2?", "4", [route])
    seen = []

    def watched(model, tokenizer, prompts, completions):
        seen.extend(zip(prompts, completions))

    monkeypatch.setattr(train, "as_rollouts", watched)
    monkeypatch.setattr(train, "sft_update", lambda *rest: (0.0, 0.0))
    with_routes = config(method="realm-r1", routes=1)
    train.sft_step(None, None, SimpleNamespace(steps=0), [problem], with_routes, 0)
    without_routes = config(method="grpo", routes=0, sft_steps=1)
    train.sft_step(None, None, SimpleNamespace(steps=0), [problem], without_routes, 0)
    plain = "<think> 2 + 2 is four.</think>\n<answer> 4</answer>"
    scored = plain + "\n<scores> 1</scores>"
    assert {c for p, c in seen[:64] if "Route 1" in p} == {scored}
    assert {c for p, c in seen if "Route 1" not in p} == {plain} and len(seen) == 128


def test_the_closing_table_shows_runs_of_the_same_questions_and_no_others(tmp_path, capsys):
    run(tmp_path / "first", "--steps", "1", "--method", "grpo")  # which has no routes
    run(tmp_path / "other", "--steps", "1", "--limit", "29")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{}")
    capsys.readouterr()
    run(tmp_path / "second", "--steps", "1")
    table = capsys.readouterr().out.rpartition("accuracy on test")[2]
    result = json.loads((tmp_path / "first" / "result.json").read_text())
    after = result["after"]["alone"]["accuracy"]
    assert f"first, after                {after:.3f}" in table
    assert not any(word in table for word in ("other", "broken", "second, after"))


def test_a_cut_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    # test_survive.py does the same with realm-r1.
    flags = ["--method", "realm-zero", "--beta", "0.05", "--epochs", "2", "--remember",
             "--teacher-error", "0", "--p-end", "1"]
    whole = run(tmp_path / "whole", *flags)
    real, calls = train.rl_step, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 4:  # after a checkpoint and one step more
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train, "rl_step", cut)
    with pytest.raises(SystemExit, match="--resume"):
        run(tmp_path / "cut", *flags)
    monkeypatch.setattr(train, "rl_step", real)
    wanted = (whole / "metrics.jsonl").read_bytes()
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() != wanted
    train.main(["--resume", str(tmp_path / "cut")])
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == wanted
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(tmp_path / "cut")[name]), name


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    found = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        folder = run(tmp_path / name, "--seed", seed, "--steps", "2", "--teacher-error", "0")
        found.append((folder / "metrics.jsonl").read_bytes())
        first_step = json.loads(found[-1].splitlines()[0])
        assert first_step["grad_norm"], "without a gradient the second step would show nothing"
    first, again, other = found
    assert first == again != other


def test_demonstrations_that_are_longer_than_the_student_may_write_are_said(tmp_path, capsys):
    run(tmp_path / "a", "--method", "rft", "--sft-steps", "1", "--max-new-tokens", "20")
    said = re.findall(r"(\d+) of (\d+) demonstrations are longer than --max-new-tokens 20",
                      capsys.readouterr().out)
    train_set = train.load_splits(config(method="rft", limit=30, eval_limit=8))[0]
    correct = sum(route.correct for problem in train_set for route in problem.routes)
    assert [(int(long), int(all_of_them)) for long, all_of_them in said] == [(correct, correct)]


def test_rft_is_sft_only_and_moves_the_weights(tmp_path, capsys):
    folder = run(tmp_path / "rft", "--method", "rft", "--sft-steps", "3")
    assert "demonstrations are longer" not in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["sft"] * 3 and lines[0]["loss"] > 0
    tiny = train.__file__.replace("train.py", "assets/tiny")
    start = AutoModelForCausalLM.from_pretrained(tiny).state_dict()
    assert any(not torch.equal(t, start[name]) for name, t in weights(folder).items())


def short_of_memory(monkeypatch, most):
    """A machine that cannot score more than `most` completions at once."""
    score = grpo.completion_logps

    def scarce(model, part, *rest, **more):
        if part.mask.shape[0] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(model, part, *rest, **more)

    monkeypatch.setattr(grpo, "completion_logps", scarce)


@pytest.mark.parametrize("flags", [
    ["--method", "realm-zero", "--teacher-error", "0"], ["--method", "rft", "--sft-steps", "3"],
    ["--method", "mrpv", "--remember", "--teacher-error", "0"]])
def test_where_memory_is_short_micro_batches_are_halved_and_nothing_else_changes(
        tmp_path, monkeypatch, capsys, flags):
    flags = [*flags, "--steps", "2"]
    wanted = run(tmp_path / "a", *flags, "--micro-batch", "3")
    short_of_memory(monkeypatch, 3)
    found = run(tmp_path / "b", *flags, "--micro-batch", "12")
    assert (found / "metrics.jsonl").read_bytes() == (wanted / "metrics.jsonl").read_bytes()
    pairs = zip(weights(wanted).values(), weights(found).values())
    assert all(torch.equal(a, b) for a, b in pairs)
    assert capsys.readouterr().out.count("going on with --micro-batch") == 2


def test_memory_that_suffices_for_nothing_ends_the_run_in_one_line_that_names_the_flags(
        tmp_path, monkeypatch, capsys):
    short_of_memory(monkeypatch, 0)
    assert "--max-new-tokens" in refused(capsys, *SMALL, "--out", str(tmp_path / "run"))


def test_what_a_failed_update_had_gathered_of_the_gradient_is_forgotten():
    model = small_model()

    def update(micro_batch):
        sum(p.sum() for p in model.parameters()).backward()
        if micro_batch > 2:
            raise torch.OutOfMemoryError
        return [p.grad.clone() for p in model.parameters()]

    optimizer = grpo.Optimizer(model, 0.1)
    gradients = train.with_smaller_parts(config(micro_batch=8), optimizer, update)
    assert all((grad == 1).all() for grad in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_memory_that_runs_out_between_the_parts_of_a_group_leaves_no_gradient_behind(
        monkeypatch, dtype, parts):
    advantages = torch.tensor([[1.0, -1, 0, 0]] * 3)

    def updated(fails_at):
        score, scored = grpo.completion_logps, []
        model = small_model().to(dtype)
        optimizer = grpo.Optimizer(model, 0.1)

        def scarce(*arguments):
            scored.append(1)
            if len(scored) == fails_at:
                assert fails_at == 1 or any(p.grad is not None for p in optimizer.masters)
                raise torch.OutOfMemoryError
            return score(*arguments)

        def update(micro_batch):
            rollouts = by_hand(small_model())
            return grpo.grpo_update(model, optimizer, rollouts, advantages,
                                    micro_batch=micro_batch)

        monkeypatch.setattr(grpo, "completion_logps", scarce)
        settings = config(micro_batch=2 if fails_at else 1)
        metrics = train.with_smaller_parts(settings, optimizer, update)
        monkeypatch.setattr(grpo, "completion_logps", score)
        assert all(p.grad is None for p in model.parameters())
        return metrics, optimizer.masters

    found, weights = updated(parts)
    wanted, expected = updated(0)
    assert found == wanted
    assert all(torch.equal(a, b) for a, b in zip(weights, expected))


def test_an_update_is_not_done_again_once_a_step_was_taken(tmp_path):
    model = small_model()
    optimizer, tried = grpo.Optimizer(model, 0.1), []

    def update(micro_batch):
        tried.append(micro_batch)
        optimizer.step()
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        train.with_smaller_parts(config(micro_batch=8), optimizer, update)
    assert tried == [8]


def test_each_method_shows_routes_as_the_paper_says():
    def probabilities(method):
        c = config(method=method, steps=100)
        return [train.route_probability(c, t) for t in range(100)]

    assert set(probabilities("grpo")) == {0.0} and set(probabilities("mrpv")) == {1.0}
    for method in ("realm-zero", "realm-r1"):
        falling = probabilities(method)
        assert falling[0] == 1.0 and falling[-1] == 0.0
        assert falling == sorted(falling, reverse=True)


def test_p_decides_for_each_prompt_and_the_whole_group_sees_the_same(monkeypatch):
    c = config(steps=100, prompts_per_step=64, group_size=2, max_new_tokens=8)
    problems = make_routes(load_problems("shop", "train", 64), shop.teacher(), 4)
    model, tokenizer = train.load_policy("tiny")
    seen, real = {}, engine.team.sample

    def watched(model, tokenizer, prompts, *rest, **more):
        seen["prompts"] = prompts
        return real(model, tokenizer, prompts, *rest, **more)

    monkeypatch.setattr(engine.team, "sample", watched)
    optimizer = train.Optimizer(model, 0.0)
    metrics, _, _ = train.rl_step(model, tokenizer, None, optimizer, problems, c, 40)  # p(40) = 0.5
    carried = sum("Route 1:" in prompt for prompt in seen["prompts"])
    assert len(seen["prompts"]) == 64 and 20 <= carried <= 44
    assert metrics["carried"] == carried / 64


@pytest.mark.parametrize("p_t, shown", [(1.0, {3: 1}), (0.5, {1: 1 / 2, 2: 1 / 2}),
                                        (0.9, {2: 0.3, 3: 0.7}), (0.1, {0: 0.7, 1: 0.3}),
                                        (0.0, {0: 1})])
def test_one_by_one_shows_as_many_routes_on_average_as_the_fade(p_t, shown):
    """k * p(t), rounded down or up at random. All k or none have the same mean."""
    rng = random.Random(0)
    for c, expected in ((config(routes=3, one_by_one=True), shown),
                        (config(routes=3), {0: 1 - p_t, 3: p_t})):
        counts = Counter(train.number_of_routes(c, p_t, rng) for _ in range(5000))
        for k in range(4):
            assert counts[k] / 5000 == pytest.approx(expected.get(k, 0), abs=0.03)
        assert set(counts) == {k for k, share in expected.items() if share}


def test_one_by_one_the_prompts_of_a_step_carry_one_route_or_two(monkeypatch):
    c = config(steps=100, prompts_per_step=64, group_size=2, max_new_tokens=8, one_by_one=True)
    problems = make_routes(load_problems("shop", "train", 64), shop.teacher(), 4)
    model, tokenizer = train.load_policy("tiny")
    numbers, real = [], train.mrpv_prompt

    def watched(question, routes):
        numbers.append(len(routes))
        return real(question, routes)

    monkeypatch.setattr(train, "mrpv_prompt", watched)
    metrics, _, _ = train.rl_step(model, tokenizer, None, train.Optimizer(model, 0.0), problems, c,
                                  47)
    assert metrics["p"] == pytest.approx(0.51, abs=0.01)  # so that k * p is 1.5
    assert set(numbers) == {1, 2} and 20 <= numbers.count(2) <= 44
    assert metrics["carried"] == 1.0


def test_every_problem_is_drawn_once_before_any_is_drawn_again():
    c = config(prompts_per_step=4)
    # 10 is no multiple of 4, and the last batch, which is not full, is not dropped.
    problems = [Problem(str(i), "1") for i in range(10)]
    drawn = [p.question for step in range(5) for p in train.draw_problems(problems, c, step)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(p.question for p in problems)
    assert drawn[:10] != drawn[10:]


@pytest.mark.parametrize("method", ["realm-r1", "grpo", "rft"])
def test_sft_imitates_only_correct_routes(monkeypatch, method):
    c = config(method=method, sft_lr=0.0, routes=3)
    taught = make_routes(load_problems("shop", "train", 40), shop.teacher(), 8)
    problems = [p for p in taught if any(r.correct for r in p.routes)]
    answers = {p.question: p.answer for p in problems}
    seen = []

    def watched(model, tokenizer, prompts, completions):
        seen.extend(zip(prompts, completions))

    monkeypatch.setattr(train, "as_rollouts", watched)
    monkeypatch.setattr(train, "sft_update", lambda *a: (0.0, 0.0))
    train.sft_step(None, None, SimpleNamespace(steps=0), problems, c, 0)
    carried = 0
    for prompt, text in seen:
        question = prompt.partition("Problem: ")[2].partition("\n")[0]
        response = train.parse_response(text, prompt.count("\nRoute "))
        assert response.answer == answers[question] and response.reasoning
        carried += response.scores is not None
    assert len(seen) == 64
    # A cold start shows routes in about half of the prompts, each with one true label a route.
    # rft shows routes in none.
    assert carried == 0 if method == "rft" else 15 < carried < 49


def test_what_was_right_with_routes_is_imitated_without_them(monkeypatch):
    c = config(group_size=3, remember=True)
    routes = [Route("as it is", "5", False), Route("as it was", "7", True)]
    batch = [Problem(question, "7") for question in ("shown", "plain", "never right")]
    shown = [routes, [], routes]
    right = "<think> so it is</think>\n<answer> 7</answer>"
    scored = right + "\n<scores> 0, 1</scores>"
    wrong = "<think> so it was</think>\n<answer> 5</answer>\n<scores> 0, 1</scores>"
    texts = [wrong, scored, wrong, right, right, right, wrong, wrong, wrong]
    rewards = []  # of one stage: a wrong answer with good scores earns something, and is no lesson
    for text, routes_shown in zip(texts, [shown[0]] * 3 + [[]] * 3 + [shown[2]] * 3):
        labels = [route.correct for route in routes_shown]
        response = parse_response(text, len(labels))
        rewards.append(realm_reward(response, "7", labels, two_stage=False))
    seen = []

    def watched(model, optimizer, lesson, micro_batch, weight):
        seen.append((lesson, weight))
        return 0.0, 0.0

    monkeypatch.setattr(train, "as_rollouts", lambda model, tokenizer, *texts: texts)
    monkeypatch.setattr(train, "sft_update", watched)
    optimizer = SimpleNamespace(steps=0)
    found = train.remember(None, None, optimizer, batch, shown, rewards, texts, c, random.Random(0))
    # Neither an answer that needed no routes, nor a wrong one, nor the scores of absent routes.
    assert seen == [(([mrpv_prompt("shown", [])], [right]), 1 / 3)] and found == (1 / 3, 0.0)
    assert train.remember(None, None, optimizer, batch[1:], shown[1:], rewards[3:], texts[3:], c,
                          random.Random(0)) == (0.0, 0.0) and len(seen) == 1
    texts[1] = scored.replace("so it is", "Route 2 is right")  # the plain prompt has no route 2
    assert train.remember(None, None, optimizer, batch, shown, rewards, texts, c,
                          random.Random(0)) == (0.0, 0.0)
    texts[0] = texts[2] = right  # one of three is drawn, and not always the first
    rewards[0] = rewards[2] = rewards[1]
    shares = [train.remember(None, None, optimizer, batch, shown, rewards, texts, c,
                             random.Random(seed))[0] for seed in range(20)]
    assert set(shares) == {0.0, 1 / 3}


def test_remembering_raises_an_answer_without_routes_and_changes_only_its_own_step(tmp_path):
    flags = ("--schedule", "constant", "--teacher-error", "0", "--steps", "2")
    without = run(tmp_path / "without", *flags)
    whole = run(tmp_path / "with", *flags, "--remember")
    first, second = (json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
                     for folder in (without, whole))
    assert second.pop("remembered") > 0 and first.items() <= second.items()
    problem = load_problems("shop", "train", 30)[0]
    text = make_routes([problem], shop.teacher(error=0), 1)[0].routes[0].text
    found = []
    for folder in (without, whole):
        model, tokenizer = train.load_policy(str(folder))
        lesson = grpo.as_rollouts(model, tokenizer, [mrpv_prompt(problem.question, [])],
                                     [demonstration(text, problem.answer)])
        found.append(grpo.completion_logps(model, lesson).sum().item())
    assert found[1] > found[0]


def test_a_lesson_without_a_number_is_counted_as_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "sft_update", lambda *args: (math.nan, math.nan))
    folder = run(tmp_path / "run", "--remember", "--teacher-error", "0", "--schedule", "constant")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert not any(line["remembered"] for line in lines)
    assert any(line["skipped"] for line in lines)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_weight_of_a_lesson_is_that_of_its_gradient(weight):
    model, tokenizer = train.load_policy("tiny")
    lesson = grpo.as_rollouts(model, tokenizer, ["2 tea"], ["<think> tea</think>"])
    loss, norm = grpo.sft_update(model, train.Optimizer(model, 0.0), lesson, 4, weight)
    whole, whole_norm = grpo.sft_update(model, train.Optimizer(model, 0.0), lesson, 4)
    assert (loss, norm) == pytest.approx((weight * whole, weight * whole_norm))


def test_any_method_can_begin_where_realm_r1_does():
    # By default only realm-r1 and rft do SFT.
    assert [config(method=m).sft_steps for m in train.METHODS] == [0, 150, 0, 0, 150]
    assert config(method="grpo", sft_steps=7).sft_steps == 7


def test_training_never_sees_a_question_of_validation_or_test(tmp_path):
    names = ("train", "validation", "test")
    everything = [p for split in names for p in load_problems("shop", split, 30)]
    bank = tmp_path / "bank.jsonl"
    taught = make_routes(everything, shop.teacher(), 3)
    write_bank(bank, taught)
    splits = train.load_splits(config(bank=str(bank), eval_limit=30))
    training, validation, test = ({p.question for p in part} for part in splits)
    assert training and not training & validation and not training & test
    assert not validation & test


@pytest.mark.parametrize("flags, words", [
    (["--model", "no/such/folder"], "no/such/folder"),
    (["--model", "Mystery-7B"], "Mystery-7B"),
    (["--task", "chess"], "chess"),
    (["--bank", "FOREIGN"], "tokenizer"),
    (["--routes", "9", "--bank", "BANK"], "9"),
    (["--bank", "BROKEN"], "line 2"),
    (["--bank", "/no/bank.jsonl"], "/no/bank.jsonl"),
    (["--max-new-tokens", "5000"], "context"),
    (["--group-size", "1"], "--group-size"),
    (["--steps", "-1"], "--steps"),
    (["--fade", "1.5"], "--fade must lie in [0, 1], not 1.5"),
    (["--lr", "nan"], "--lr must be at least 0, not nan"),
    (["--limit", "0"], "--limit must be at least 1"),
    (["--routes", "0"], "--routes"),
    (["--device", "cuda:7"], "cuda"),
    (["--device", "gpu"], "use cpu or cuda"),
    (["--temperature", "0"], "--temperature"),
    (["--temperature", "nan"], "--temperature must lie in [0, 100], not nan"),
    (["--temperature", "1e-9"], "--temperature must be at least 0.001"),
    (["--clip-high", "1e300"], "--clip-high must lie in [0, 1000]"),
    (["--method", "rft", "--sft-steps", "0"], "--sft-steps 0: SFT is what --method rft begins"),
    (["--method", "rft", "--routes", "0"], "--routes 0: no teacher was asked, and SFT needs"),
    (["--out", "/dev/null/x"], "--out /dev/null/x: nothing may be written in /dev/null"),
    (["--beta", "-1"], "--beta"),
    (["--resume", "/no/run"], "/no/run"),
    (["--lr", "inf"], "--lr must be finite"),
    (["--data", "/tmp"], "--task gsm8k"),
    (["--eval-limit", "301"], "301 questions"),
], ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_stops_at_once_with_one_clear_line_and_writes_nothing(
        tmp_path, capsys, flags, words):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    good = [json.dumps(dataclasses.asdict(p)) for p in problems]
    foreign = [json.dumps({"question": f"Why {i}?", "answer": "5",
                           "routes": [{"text": "so 5"}] * 3}) for i in range(60)]
    files = {"BANK": tmp_path / "bank.jsonl", "BROKEN": tmp_path / "broken.jsonl",
             "FOREIGN": tmp_path / "foreign.jsonl"}
    files["BANK"].write_text("\n".join(good) + "\n")
    files["BROKEN"].write_text(good[0] + '\n{"question": "2 tea", "answer":\n')
    files["FOREIGN"].write_text("\n".join(foreign) + "\n")
    flags = [str(files.get(flag, flag)) for flag in flags]
    assert words in refused(capsys, "--out", str(tmp_path / "run"), *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--resume", "--bank", "--model"])
def test_an_empty_flag_is_an_unset_variable_and_no_default(capsys, flag):
    with pytest.raises(SystemExit):
        train.main([flag, ""])
    assert f"{flag}: is empty" in capsys.readouterr().err


def test_a_training_prompt_that_does_not_fit_the_context_is_refused_before_the_step_that_draws_it(
        tmp_path, capsys):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    for route in split_by_question(problems, "train")[-1].routes[:2]:
        route.text = " ".join([route.text] * 60)
    bank = tmp_path / "bank.jsonl"
    write_bank(bank, problems)
    assert "context" in refused(capsys, "--bank", str(bank), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_did_not_get_through_its_first_evaluation_can_be_begun_with_other_flags(
        tmp_path, monkeypatch, capsys):
    evaluate = train.evaluation.evaluate

    def memory_for_60(*args, max_new_tokens, **more):
        if max_new_tokens > 60:
            raise torch.OutOfMemoryError
        return evaluate(*args, max_new_tokens=max_new_tokens, **more)

    monkeypatch.setattr(train.evaluation, "evaluate", memory_for_60)
    flags = ["--steps", "0", "--limit", "4", "--eval-limit", "2", "--out", str(tmp_path / "run")]
    assert "--max-new-tokens" in refused(capsys, *flags)
    train.main([*flags, "--max-new-tokens", "60"])
    assert (tmp_path / "run" / "result.json").exists()


def test_a_file_where_the_run_folder_should_be_is_refused_in_one_line(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(SystemExit, match="train.py: --out .*run: is a file, not a folder"):
        train.main(["--out", str(tmp_path / "run")])


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text("precious\n")
    assert "--resume" in refused(capsys, "--out", str(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_text() == "precious\n"


def test_help_says_a_line_about_every_flag(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(train.Config):
        assert "--" + field.name.replace("_", "-") in text and field.metadata["help"]


@pytest.mark.parametrize("error, told", [
    (torch.OutOfMemoryError("CUDA"), True),
    (RuntimeError("alloc_cpu.cpp: can't allocate memory: 8 GiB"), True),
    (RuntimeError("shape mismatch"), False)])
def test_memory_that_runs_out_is_told_in_one_line_and_a_bug_is_not_hidden_by_it(
        tmp_path, monkeypatch, capsys, error, told):
    def fails(*_):
        raise error

    monkeypatch.setattr(train, "train", fails)
    if told:
        assert "--group-size" in refused(capsys, "--out", str(tmp_path / "run"))
    else:
        with pytest.raises(RuntimeError, match="shape"):
            train.main(["--out", str(tmp_path / "run")])


@pytest.mark.parametrize("flags, weight, two_stage", [
    ([], 0.5, True), (["--utility-weight", "0"], 0.0, True), (["--one-stage"], 0.5, False)])
def test_how_scores_are_paid_is_what_the_flags_say(tmp_path, monkeypatch, flags, weight, two_stage):
    realm_reward = train.realm_reward
    paid = []

    def watched(response, gold, labels, *how):
        paid.append(how)
        return realm_reward(response, gold, labels, *how)

    monkeypatch.setattr(train, "realm_reward", watched)
    run(tmp_path / "run", "--steps", "1", "--eval-every", "0", *flags)
    assert set(paid) == {(weight, two_stage)}


# ---- what a run says, and what it spares itself --------------------------------------------------
def test_the_first_line_names_the_student_its_size_the_device_and_the_dtype(tmp_path, capsys):
    run(tmp_path / "run", "--steps", "0")
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("student"))
    assert line == "student: tiny, 0.199M parameters, on cpu, in fp32"


def test_a_large_model_on_a_cpu_is_said_to_be_slow_and_its_pace_is_told_after_the_first_step(
        capsys):
    weight = torch.empty(25_000_000, device="meta")
    model = SimpleNamespace(parameters=lambda: iter([weight]), device=torch.device("cpu"),
                            dtype=torch.float32)
    described = report.describe(model, "X")
    assert "a step may take minutes" in described
    assert described.startswith("student: X, 25M parameters")
    said = []
    bar = SimpleNamespace(write=said.append)
    step = {"phase": "rl", "step": 0}
    report.report_step(bar, None, step, {"step_s": 36.0}, None, 200)
    report.report_step(bar, None, {**step, "step": 1}, {"step_s": 36.0}, None, 199)
    report.report_step(bar, None, step, {"step_s": 0.5}, None, 200)
    report.report_step(bar, None, step, {"step_s": 19.0}, None, 2)
    assert said == ["the first rl step took 36 s; the 200 steps that are left would take about "
                    "2.0 h at this pace",
                    "the first rl step took 19 s; the 2 steps that are left would take about "
                    "1 min at this pace"]


def test_grpo_writes_no_routes_and_asks_no_teacher_unless_told_to_evaluate_with_some(
        tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "teacher_for", lambda *a, **k: pytest.fail("a teacher was asked"))
    folder = run(tmp_path / "run", "--method", "grpo", "--steps", "1")
    result = json.loads((folder / "result.json").read_text())["after"]
    assert "routes" not in result and "vote" not in result
    columns = capsys.readouterr().out.rpartition("accuracy on test")[2].split("\n")[0]
    assert "with" not in columns.replace("without", "")
    cold_start = config(method="grpo", sft_steps=3)
    assert cold_start.routes == config(method="realm-zero").routes == 3, "a cold start needs routes"


@pytest.mark.parametrize("flags, said", [
    (["--bank", __file__, "--task", "shop"], "--task has no effect: --bank names the problems"),
    (["--error-ratio", "0.5", "--selection", "diverse"], "--selection has no effect"),
    (["--method", "rft", "--fade", "0.5"], "--fade has no effect: --method rft has no RL steps"),
    (["--method", "mrpv", "--fade", "0.5"], "--fade has no effect: --method mrpv has no fade"),
    (["--sft-lr", "0.1"], "--sft-lr has no effect: there are no SFT steps"),
    (["--schedule", "constant", "--p-end", "0.5"], "--p-end has no effect: --schedule constant"),
    (["--method", "grpo", "--error-ratio", "0.9"],
     "--error-ratio has no effect: --method grpo trains on prompts without routes"),
    (["--method", "grpo", "--one-stage"], "--one-stage has no effect: --method grpo shows no"),
    (["--method", "grpo", "--remember"], "--remember has no effect: --method grpo shows no"),
    (["--explain", "--limit", "3"], "--limit has no effect: --explain takes P problems"),
    (["--explain", "--remember"], "--remember has no effect: --explain shows"),
    (["--explain", "--one-by-one"], "--one-by-one has no effect: --explain shows"),
    (["--explain", "--reward-to-go"], "--reward-to-go has no effect: --explain shows"),
    (["--explain", "--push-down"], "--push-down has no effect: --explain shows"),
    (["--method", "mrpv", "--push-down"], "--push-down has no effect: every prompt carries"),
    (["--schedule", "constant", "--push-down"], "--push-down has no effect: every prompt carries"),
    (["--method", "rft", "--push-down"], "--push-down has no effect: --method rft has no RL steps"),
    (["--method", "grpo", "--push-down"], None),
    (["--explain", "--epochs", "4", "--fade", "0.1"], "--epochs and --fade have no effect"),
    (["--method", "mrpv", "--one-by-one"], "--one-by-one has no effect: --method mrpv has no"),
    (["--method", "rft", "--eval-every", "3"], "--eval-every has no effect: --method rft has no"),
    (["--task", "my.jsonl", "--data", "x"], "--data has no effect: the task is my.jsonl, not"),
    (["--method", "grpo", "--sft-steps", "3", "--error-ratio", "0.9"], None),
    (["--method", "rft", "--sft-lr", "0.1", "--clip-low", "0.2"], "--clip-low has no effect"),
    (["--schedule", "linear", "--fade", "0.5", "--one-stage"], None),
    (["--fade", "0.5"], None)])
def test_a_flag_without_effect_is_said_once(tmp_path, capsys, flags, said):
    given = train.given_flags(train.Config, "", [*flags, "--out", str(tmp_path / "run")])
    train.prepare(train.Config(**given), given)
    out = capsys.readouterr().out
    assert out.count("no effect") == (said is not None)
    assert (said or "") in out


def test_a_bank_without_routes_is_not_for_the_teacher_of_the_default_task(tmp_path, monkeypatch):
    questions = [{"question": f"Fever of 39 for {i} days?", "answer": "2"} for i in range(60)]
    bank = tmp_path / "clinic.jsonl"
    bank.write_text("\n".join(map(json.dumps, questions)))
    asked = []

    def model_teacher(name, *others):
        asked.append(name)
        return lambda problems, guided: [["so 2" for _ in flags] for flags in guided]
    monkeypatch.setattr(data, "model_teacher", model_teacher)
    splits = train.load_splits(config(bank=str(bank)))
    assert asked == [data.DEFAULT_TEACHER], "one teacher, for the three splits"
    assert all(p.routes[0].text == "so 2" for problems in splits for p in problems)


@pytest.mark.parametrize("flags, said", [
    ({"n": 4, "bank": "BANK"}, "--n has no effect: the problems have routes"),
    ({"n": 4, "bank": "BANK", "routes": 0, "method": "grpo"}, "--n has no effect: --routes is 0"),
    ({"n": 4}, None)])
def test_flags_of_a_teacher_who_is_not_asked_are_said(tmp_path, capsys, flags, said):
    bank = tmp_path / "bank.jsonl"
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    write_bank(bank, problems)
    if "bank" in flags:
        flags = {**flags, "bank": str(bank)}
    train.load_splits(config(limit=30, **flags), flags)
    out = capsys.readouterr().out
    assert out.count("no effect") == (said is not None)
    assert (said or "") in out


@pytest.mark.parametrize("path", ["no/such/x.png", "x.xyz"])
def test_a_figure_of_explain_that_cannot_be_drawn_is_refused_first(tmp_path, monkeypatch, path):
    monkeypatch.setattr(train, "explain_step", lambda config: pytest.fail("work was done"))
    with pytest.raises(SystemExit, match=f"^train.py: --explain-figure {path}: "):
        train.main(["--explain", "--explain-figure", path, "--out", str(tmp_path / "run")])


def test_every_question_is_read_by_the_tokenizer_before_the_run(tmp_path, capsys):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    problems.append(dataclasses.replace(problems[0], question="one apple, two pears"))
    bank = tmp_path / "bank.jsonl"
    write_bank(bank, problems)
    said = refused(capsys, "--bank", str(bank), "--out", str(tmp_path / "run"))
    assert "cannot write 'one apple, two pears'" in said and not (tmp_path / "run").exists()


def test_a_question_that_is_too_long_is_named(tmp_path, capsys):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    long = " , ".join([problems[0].question] * 200)
    problems.append(dataclasses.replace(problems[0], question=long))
    bank = tmp_path / "bank.jsonl"
    write_bank(bank, problems)
    said = refused(capsys, "--bank", str(bank), "--out", str(tmp_path / "run"))
    assert f"the question {long[:60]!r}: " in said and "leave it out" in said


def test_a_damaged_run_beside_it_is_left_out_of_the_closing_table(tmp_path):
    for name, after in (("a", {}), ("b", {"alone": {"accuracy": 1.0}}), ("c", {"alone": {
            "accuracy": 1.0, "interval": [1.0, 1.0]}})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"run": {"questions": 1}}')
        (tmp_path / name / "result.json").write_text(json.dumps({"after": after}))
    assert list(report.other_runs(tmp_path / "new", {"questions": 1})) == ["c"]


def test_only_a_run_that_was_stopped_is_told_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr(train, "explain_step", interrupted)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SystemExit, match="^train.py: stopped$"):
        train.main(["--explain", "--out", str(tmp_path)])


@pytest.mark.parametrize("route, wrong, words", [
    ("5 - 1 = {}", "7", "no route is wrong"),
    ("so 99", "98", "no route is right"),
    ("so {}", "7", None)])
def test_a_bank_that_cannot_teach_is_said_before_training(tmp_path, capsys, route, wrong, words):
    texts = [route, route if words == "no route is wrong" else f"so {wrong}"]
    lines = []
    for i in range(100, 160):
        routes = [{"text": text.format(2 * i)} for text in texts * 2]
        lines.append(json.dumps({"question": f"What is {i} + {i}?", "answer": str(2 * i),
                                 "routes": routes}))
    bank = tmp_path / "bank.jsonl"
    bank.write_text("\n".join(lines))
    with pytest.raises(SystemExit):  # tiny cannot write these questions: it stops after the warning
        train.main(["--bank", str(bank), "--out", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert out.count("cannot teach") == (words is not None)
    assert (words or "") in out


@pytest.mark.parametrize("flags", [["--method", "grpo"], ["--method", "rft", "--routes", "0"]])
def test_gold_solutions_alone_are_enough_for_a_method_that_shows_no_routes(tmp_path, capsys, flags):
    lines = [json.dumps({"question": f"What is {i} + {i}?",
                         "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"}) for i in range(100, 160)]
    gold = tmp_path / "gold.jsonl"
    gold.write_text("\n".join(lines))
    with pytest.raises(SystemExit, match="cannot write"):
        train.main(["--task", str(gold), "--out", str(tmp_path / "run"), *flags])
    assert "cannot teach" not in capsys.readouterr().out


def test_sft_imitates_gold_solutions_only_where_no_teacher_is_asked():
    gold = Problem("1 + 1?", "2", solution="1 + 1 = 2\n#### 2")
    taught = Problem("2 + 2?", "4", [Route("so 4", "4", True)], solution="2 + 2 = 4\n#### 4")
    wrong = Problem("3 + 3?", "6", [Route("so 5", "5", False)], solution="3 + 3 = 6\n#### 6")
    asked = SimpleNamespace(routes=0, sft_steps=1)
    found = train.with_correct_route([gold, taught, wrong], asked)
    assert [p.routes[0].text for p in found] == [gold.solution, "so 4", wrong.solution]
    assert gold.routes == []  # the bank's own problems stay as they were
    found = train.with_correct_route([gold, taught], SimpleNamespace(routes=3, sft_steps=1))
    assert found == [taught]


def test_a_bank_that_is_not_there_is_refused_at_once(tmp_path, capsys):
    for name in ("shop", str(tmp_path / "none.jsonl")):
        said = refused(capsys, "--bank", name, "--out", str(tmp_path / "run"))
        assert said == (f"train.py: --bank {name}: no such file or folder (a built-in task is a "
                        "--task)")


@pytest.mark.parametrize("given, student, longest, rate", [
    ({}, "tiny", 96, 5e-4),
    ({"model": "tiny-totals"}, "tiny-totals", 128, 8e-4),
    ({"model": "tiny-totals", "lr": 5e-4, "max_new_tokens": 90}, "tiny-totals", 90, 5e-4),
    ({"model": "tiny-recall"}, "tiny-recall", 128, 5e-4),
    ({"task": "ads"}, "tiny-ads", 96, 5e-4),
])
def test_each_tiny_student_has_its_own_defaults(given, student, longest, rate):
    found = config(**given)
    assert (found.model, found.max_new_tokens, found.lr) == (student, longest, rate)


def test_real_models_get_the_defaults_of_a_practitioner(tmp_path):
    small_model().save_pretrained(tmp_path / "model")
    large = config(model=str(tmp_path / "model"))
    assert (large.task, large.prompts_per_step, large.lr) == ("gsm8k", 16, 3e-6)
    assert (large.eval_limit, large.max_new_tokens) == (1319, 512)
    on_shop = config(model=str(tmp_path / "model"), task="shop")
    assert on_shop.eval_limit == config().eval_limit == 200
