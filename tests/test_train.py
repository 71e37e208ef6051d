"""The whole run: its folder, its determinism, what it refuses."""
import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import engine.run
import engine.team
import grpo
import train
from data import load_problems, make_routes, split_by_question
from tasks import shop
from helpers import by_hand, small_model
from realm import Problem, Route

SMALL = ["--steps", "4", "--prompts-per-step", "4", "--group-size", "4", "--max-new-tokens", "60", "--eval-limit", "8", "--limit", "30",
         "--eval-every", "2", "--save-every", "2", "--warmup", "2"]


@pytest.fixture(autouse=True)
def no_curves(monkeypatch, request):
    """Drawing is half of the time of so short a run; test_report.py draws."""
    if "everything" not in request.node.name:
        monkeypatch.setattr(engine.run, "draw_curves", lambda history, path: None)


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
    return train.prepare(dataclasses.replace(train.Config(), **{"out": "/nonexistent/run", **changes}), {})


def test_a_run_leaves_everything_it_promises(tmp_path, capsys):
    folder = run(tmp_path / "run")
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "metrics.jsonl", "timing.jsonl", "curves.png", "model", "checkpoint"} <= names
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    wanted = {"p", "reward", "answer", "utility", "format", "live", "truncated", "length", "entropy", "kl", "approx_kl", "clip_fraction", "grad_norm"}
    assert all(wanted <= set(line) for line in lines)
    assert not any(key.endswith("_s") for line in lines for key in line), "wall-clock figures belong to timing.jsonl"
    for line in map(json.loads, (folder / "timing.jsonl").read_text().splitlines()):  # the rest is an evaluation, and the log
        assert 0 < line["sample_s"] + line["score_s"] + line["update_s"] <= line["step_s"] + 1e-5
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder / "model"), AutoTokenizer.from_pretrained(folder / "model")
    assert model(**tokenizer("Problem: 2 tea", return_tensors="pt")).logits.shape[-1] == len(tokenizer)
    table = capsys.readouterr().out
    assert all(word in table for word in ("before", "after", "without routes", "with 3 routes", "teacher", "majority vote"))


def test_what_an_evaluation_on_validation_problems_found_stands_in_metrics(tmp_path, monkeypatch):
    evaluate = train.evaluation.evaluate

    def marked(*args, **more):
        result = evaluate(*args, **more)
        result["alone"]["accuracy"], result["routes"]["accuracy"], result["routes"]["score_auc"] = 0.25, 0.5, 0.75
        return result
    monkeypatch.setattr(train.evaluation, "evaluate", marked)
    last = json.loads((run(tmp_path / "run") / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["eval_alone"], last["eval_routes"], last["eval_auc"]) == (0.25, 0.5, 0.75)


@pytest.mark.parametrize("flags", [[], ["--recompute"]])
def test_the_student_is_told_whether_to_recompute(tmp_path, monkeypatch, flags):
    told, rl_step = [], train.rl_step
    monkeypatch.setattr(train, "rl_step", lambda model, *rest: (told.append(model.recompute), rl_step(model, *rest))[1])
    run(tmp_path / "run", *flags)
    assert set(told) == {bool(flags)}


def test_what_sft_imitates_is_the_teachers_reasoning_with_the_answer_in_its_own_place(monkeypatch):
    problem, seen = Problem("2 + 2?", "4", [Route("2 + 2 is four.\n<answer>4</answer>", "4", True)]), []
    monkeypatch.setattr(train, "demonstrations", lambda model, tokenizer, prompts, completions: seen.extend(zip(prompts, completions)))
    monkeypatch.setattr(train, "sft_update", lambda *rest: (0.0, 0.0))
    train.sft_step(None, None, SimpleNamespace(steps=0), [problem], config(method="realm-r1", routes=1), 0)
    train.sft_step(None, None, SimpleNamespace(steps=0), [problem], config(method="grpo", routes=0, sft_steps=1), 0)
    plain = "<think> 2 + 2 is four.</think>\n<answer> 4</answer>"
    assert {c for p, c in seen[:64] if "Route 1" in p} == {plain + "\n<scores> 1</scores>"}
    assert {c for p, c in seen if "Route 1" not in p} == {plain} and len(seen) == 128


def test_the_closing_table_shows_runs_of_the_same_questions_and_no_others(tmp_path, capsys):
    run(tmp_path / "first", "--steps", "1", "--method", "grpo")  # which has no routes
    run(tmp_path / "other", "--steps", "1", "--limit", "29")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{}")
    capsys.readouterr()
    run(tmp_path / "second", "--steps", "1")
    table = capsys.readouterr().out.rpartition("accuracy on test")[2]
    after = json.loads((tmp_path / "first" / "result.json").read_text())["after"]["alone"]["accuracy"]
    assert f"first, after                {after:.3f}" in table
    assert not any(word in table for word in ("other", "broken", "second, after"))


def test_a_cut_run_resumes_bit_for_bit(tmp_path, monkeypatch):  # realm-r1: test_survive.py
    flags = ["--method", "realm-zero", "--beta", "0.05", "--epochs", "2"]
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
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() != (whole / "metrics.jsonl").read_bytes()
    train.main(["--resume", str(tmp_path / "cut")])
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(tmp_path / "cut")[name]), name


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, again, other = (run(tmp_path / name, "--seed", seed) for name, seed in (("a", "1"), ("b", "1"), ("c", "2")))
    assert (first / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes() != (other / "metrics.jsonl").read_bytes()


def test_rft_is_sft_only_and_moves_the_weights(tmp_path):
    folder = run(tmp_path / "rft", "--method", "rft", "--sft-steps", "3")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["sft"] * 3 and lines[0]["loss"] > 0
    start = AutoModelForCausalLM.from_pretrained(train.__file__.replace("train.py", "assets/tiny")).state_dict()
    assert any(not torch.equal(t, start[name]) for name, t in weights(folder).items())


def short_of_memory(monkeypatch, most):
    """A machine that cannot score more than `most` completions at once."""
    score = grpo.completion_logps

    def scarce(model, part, *rest, **more):
        if part.mask.shape[0] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(model, part, *rest, **more)
    monkeypatch.setattr(grpo, "completion_logps", scarce)


@pytest.mark.parametrize("method", ["realm-zero", "rft"])
def test_where_memory_is_short_micro_batches_are_halved_and_nothing_else_changes(tmp_path, monkeypatch, capsys, method):
    flags = ["--method", method, "--sft-steps", "3" if method == "rft" else "0"]
    wanted = run(tmp_path / "a", *flags, "--micro-batch", "3")
    short_of_memory(monkeypatch, 3)
    found = run(tmp_path / "b", *flags, "--micro-batch", "12")
    assert (found / "metrics.jsonl").read_bytes() == (wanted / "metrics.jsonl").read_bytes()
    assert all(torch.equal(a, b) for a, b in zip(weights(wanted).values(), weights(found).values()))
    assert capsys.readouterr().out.count("going on with --micro-batch") == 2


def test_memory_that_suffices_for_nothing_ends_the_run_in_one_line_that_names_the_flags(tmp_path, monkeypatch, capsys):
    short_of_memory(monkeypatch, 0)
    assert "--max-new-tokens" in refused(capsys, *SMALL, "--out", str(tmp_path / "run"))


def test_what_a_failed_update_had_gathered_of_the_gradient_is_forgotten():
    model = small_model()

    def update(micro_batch):
        sum(p.sum() for p in model.parameters()).backward()
        if micro_batch > 2:
            raise torch.OutOfMemoryError
        return [p.grad.clone() for p in model.parameters()]
    assert all((grad == 1).all() for grad in train.with_smaller_parts(config(micro_batch=8), grpo.Optimizer(model, 0.1), update))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_memory_that_runs_out_between_the_parts_of_a_group_leaves_no_gradient_behind(monkeypatch, dtype, parts):
    def updated(fails_at):
        score, scored = grpo.completion_logps, []

        def scarce(*arguments):
            scored.append(1)
            if len(scored) == fails_at:
                assert fails_at == 1 or any(p.grad is not None for p in optimizer.masters)
                raise torch.OutOfMemoryError
            return score(*arguments)
        model = small_model().to(dtype)
        optimizer = grpo.Optimizer(model, 0.1)
        monkeypatch.setattr(grpo, "completion_logps", scarce)
        metrics = train.with_smaller_parts(config(micro_batch=2 if fails_at else 1), optimizer, lambda n: grpo.grpo_update(
            model, optimizer, by_hand(small_model()), torch.tensor([[1.0, -1, 0, 0]] * 3), micro_batch=n))
        monkeypatch.setattr(grpo, "completion_logps", score)
        assert all(p.grad is None for p in model.parameters())
        return metrics, optimizer.masters
    (found, weights), (wanted, expected) = updated(parts), updated(0)
    assert found == wanted and all(torch.equal(a, b) for a, b in zip(weights, expected))


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
        assert falling[0] == 1.0 and falling[-1] == 0.0 and falling == sorted(falling, reverse=True)


def test_p_decides_for_each_prompt_and_the_whole_group_sees_the_same(monkeypatch):
    c = config(steps=100, prompts_per_step=64, group_size=2, max_new_tokens=8)
    problems = make_routes(load_problems("shop", "train", 64), shop.teacher(), 4)
    model, tokenizer = train.load_policy("tiny")
    seen, real = {}, engine.team.sample
    monkeypatch.setattr(engine.team, "sample", lambda m, t, prompts, *a, **k: seen.update(prompts=prompts) or real(m, t, prompts, *a, **k))
    metrics, _, _ = train.rl_step(model, tokenizer, None, train.Optimizer(model, 0.0), problems, c, 40)  # p(40) = 0.5
    carried = sum("Route 1:" in prompt for prompt in seen["prompts"])
    assert len(seen["prompts"]) == 64 and 20 <= carried <= 44 and metrics["carried"] == carried / 64


def test_every_problem_is_drawn_once_before_any_is_drawn_again():
    c = config(prompts_per_step=4)
    problems = [Problem(str(i), "1") for i in range(10)]  # 10 is no multiple of 4: the last partial batch is not dropped
    drawn = [p.question for step in range(5) for p in train.draw_problems(problems, c, step)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(p.question for p in problems) and drawn[:10] != drawn[10:]


@pytest.mark.parametrize("method", ["realm-r1", "grpo", "rft"])
def test_sft_imitates_only_correct_routes(monkeypatch, method):
    c = config(method=method, sft_lr=0.0, routes=3)
    problems = [p for p in make_routes(load_problems("shop", "train", 40), shop.teacher(), 8) if any(r.correct for r in p.routes)]
    answers, seen = {p.question: p.answer for p in problems}, []
    monkeypatch.setattr(train, "demonstrations", lambda m, t, prompts, texts: seen.extend(zip(prompts, texts)))
    monkeypatch.setattr(train, "sft_update", lambda *a: (0.0, 0.0))
    train.sft_step(None, None, SimpleNamespace(steps=0), problems, c, 0)
    carried = 0
    for prompt, text in seen:
        question = prompt.partition("Problem: ")[2].partition("\n")[0]
        response = train.parse_response(text, prompt.count("\nRoute "))
        assert response.answer == answers[question] and response.reasoning
        carried += response.scores is not None
    assert len(seen) == 64  # a cold start shows routes in about half, each with one true label per route; rft in none
    assert carried == 0 if method == "rft" else 15 < carried < 49


def test_any_method_can_begin_where_realm_r1_does():
    assert [config(method=m).sft_steps for m in train.METHODS] == [0, 150, 0, 0, 150]  # by default only realm-r1 and rft do SFT
    assert config(method="grpo", sft_steps=7).sft_steps == 7


def test_training_never_sees_a_question_of_validation_or_test(tmp_path):
    everything = [p for split in ("train", "validation", "test") for p in load_problems("shop", split, 30)]
    bank = tmp_path / "bank.jsonl"
    taught = make_routes(everything, shop.teacher(), 3)
    bank.write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in taught))
    splits = [{p.question for p in part} for part in train.load_splits(config(bank=str(bank), eval_limit=30))]
    assert splits[0] and not splits[0] & splits[1] and not splits[0] & splits[2] and not splits[1] & splits[2]


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
    (["--fade", "1.5"], "--fade must lie in [0, 1], not 1.5"), (["--lr", "nan"], "--lr must be at least 0, not nan"), (["--limit", "0"], "--limit must be at least 1"),
    (["--routes", "0"], "--routes"),
    (["--device", "cuda:7"], "cuda"), (["--device", "gpu"], "use cpu or cuda"), (["--temperature", "0"], "--temperature"), (["--temperature", "nan"], "--temperature must be at least 0, not nan"), (["--beta", "-1"], "--beta"),
    (["--resume", "/no/run"], "/no/run"),
    (["--lr", "inf"], "--lr must be finite"), (["--data", "/tmp"], "--task gsm8k"), (["--eval-limit", "301"], "301 questions"),
], ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_stops_at_once_with_one_clear_line_and_writes_nothing(tmp_path, capsys, flags, words):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    good = [json.dumps(dataclasses.asdict(p)) for p in problems]
    (tmp_path / "bank.jsonl").write_text("\n".join(good) + "\n")
    (tmp_path / "broken.jsonl").write_text(good[0] + '\n{"question": "2 tea", "answer":\n')
    foreign = [json.dumps({"question": f"Why {i}?", "answer": "5", "routes": [{"text": "so 5"}] * 3}) for i in range(60)]
    (tmp_path / "foreign.jsonl").write_text("\n".join(foreign) + "\n")
    flags = [{"FOREIGN": str(tmp_path / "foreign.jsonl"), "BANK": str(tmp_path / "bank.jsonl"), "BROKEN": str(tmp_path / "broken.jsonl")}.get(f, f) for f in flags]
    assert words in refused(capsys, "--out", str(tmp_path / "run"), *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--resume", "--bank", "--model"])
def test_an_empty_flag_is_an_unset_variable_and_no_default(capsys, flag):
    with pytest.raises(SystemExit):
        train.main([flag, ""])
    assert f"{flag}: is empty" in capsys.readouterr().err


def test_a_training_prompt_that_does_not_fit_the_context_is_refused_before_the_step_that_draws_it(tmp_path, capsys):
    problems = make_routes(load_problems("shop", "all", 60), shop.teacher(), 3)
    for route in split_by_question(problems, "train")[-1].routes[:2]:
        route.text = " ".join([route.text] * 60)
    (tmp_path / "bank.jsonl").write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in problems))
    assert "context" in refused(capsys, "--bank", str(tmp_path / "bank.jsonl"), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_did_not_get_through_its_first_evaluation_can_be_begun_with_other_flags(tmp_path, monkeypatch, capsys):
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


@pytest.mark.parametrize("error, told", [(torch.OutOfMemoryError("CUDA"), True), (RuntimeError("alloc_cpu.cpp: can't allocate memory: 8 GiB"), True),
                                         (RuntimeError("shape mismatch"), False)])
def test_memory_that_runs_out_is_told_in_one_line_and_a_bug_is_not_hidden_by_it(tmp_path, monkeypatch, capsys, error, told):
    def fails(*_):
        raise error
    monkeypatch.setattr(train, "train", fails)
    if told:
        assert "--group-size" in refused(capsys, "--out", str(tmp_path / "run"))
    else:
        with pytest.raises(RuntimeError, match="shape"):
            train.main(["--out", str(tmp_path / "run")])


@pytest.mark.parametrize("flags, weight, two_stage", [([], 0.5, True), (["--utility-weight", "0"], 0.0, True), (["--one-stage"], 0.5, False)])
def test_how_scores_are_paid_is_what_the_flags_say(tmp_path, monkeypatch, flags, weight, two_stage):
    paid, realm_reward = [], train.realm_reward
    monkeypatch.setattr(train, "realm_reward", lambda *a: (paid.append(a[3:]), realm_reward(*a))[1])
    run(tmp_path / "run", "--steps", "1", "--eval-every", "0", *flags)
    assert set(paid) == {(weight, two_stage)}


# ---- what a run says, and what it spares itself ----------------------------------------------------------------------
def test_the_first_line_names_the_student_its_size_the_device_and_the_dtype(tmp_path, capsys):
    run(tmp_path / "run", "--steps", "0")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("student"))
    assert line == "student: tiny, 0.199M parameters, on cpu, in fp32"


def test_a_large_model_on_a_cpu_is_said_to_be_slow_and_its_pace_is_told_after_the_first_step(capsys):
    from engine import report
    model = SimpleNamespace(parameters=lambda: iter([torch.empty(25_000_000, device="meta")]), device=torch.device("cpu"), dtype=torch.float32)
    assert "a step may take minutes" in report.describe(model, "X") and report.describe(model, "X").startswith("student: X, 25M parameters")
    said = []
    bar = SimpleNamespace(write=said.append)
    step = {"phase": "rl", "step": 0}
    report.report_step(bar, None, step, {"step_s": 36.0}, None, 200)
    report.report_step(bar, None, {**step, "step": 1}, {"step_s": 36.0}, None, 199)
    report.report_step(bar, None, step, {"step_s": 0.5}, None, 200)
    assert said == ["the first rl step took 36 s; the 200 steps that are left would take about 2.0 h at this pace"]


def test_grpo_writes_no_routes_and_asks_no_teacher_unless_told_to_evaluate_with_some(tmp_path, monkeypatch, capsys):
    import data
    monkeypatch.setattr(data, "teacher_for", lambda *a, **k: pytest.fail("a teacher was asked"))
    folder = run(tmp_path / "run", "--method", "grpo", "--steps", "1")
    result = json.loads((folder / "result.json").read_text())["after"]
    assert "routes" not in result and "vote" not in result and "with" not in capsys.readouterr().out.rpartition("accuracy on test")[2].split("\n")[0].replace("without", "")
    assert config(method="grpo", sft_steps=3).routes == config(method="realm-zero").routes == 3, "a cold start needs routes"


@pytest.mark.parametrize("flags, said", [
    (["--bank", "BANK", "--task", "shop"], "--task has no effect: --bank names the problems"),
    (["--error-ratio", "0.5", "--selection", "diverse"], "--selection has no effect"),
    (["--method", "rft", "--fade", "0.5"], "--fade has no effect: --method rft has no RL steps"),
    (["--method", "mrpv", "--fade", "0.5"], "--fade has no effect: --method mrpv has no fade"),
    (["--sft-lr", "0.1"], "--sft-lr has no effect: there are no SFT steps"), (["--fade", "0.5"], None)])
def test_a_flag_without_effect_is_said_once(tmp_path, capsys, flags, said):
    given = train.given_flags(train.Config, "", [*flags, "--out", str(tmp_path / "run")])
    train.prepare(train.Config(**given), given)
    out = capsys.readouterr().out
    assert out.count("no effect") == (said is not None) and (said or "") in out


@pytest.mark.parametrize("route, wrong, words", [("5 - 1 = {}", "7", "no route is wrong"), ("so 99", "98", "no route is right"), ("so {}", "7", None)])
def test_a_bank_that_cannot_teach_is_said_before_training(tmp_path, capsys, route, wrong, words):
    texts = [route, route if words == "no route is wrong" else f"so {wrong}"]
    lines = [json.dumps({"question": f"What is {i} + {i}?", "answer": str(2 * i), "routes": [{"text": t.format(2 * i)} for t in texts * 2]})
             for i in range(100, 160)]
    (tmp_path / "bank.jsonl").write_text("\n".join(lines))
    with pytest.raises(SystemExit):  # tiny cannot write these questions: it stops behind the warning
        train.main(["--bank", str(tmp_path / "bank.jsonl"), "--out", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert out.count("cannot teach") == (words is not None) and (words or "") in out


@pytest.mark.parametrize("flags", [["--method", "grpo"], ["--method", "rft", "--routes", "0"]])
def test_gold_solutions_alone_are_enough_for_a_method_that_shows_no_routes(tmp_path, capsys, flags):
    lines = [json.dumps({"question": f"What is {i} + {i}?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"}) for i in range(100, 160)]
    (tmp_path / "gold.jsonl").write_text("\n".join(lines))
    with pytest.raises(SystemExit, match="cannot write"):
        train.main(["--task", str(tmp_path / "gold.jsonl"), "--out", str(tmp_path / "run"), *flags])
    assert "cannot teach" not in capsys.readouterr().out


def test_real_models_get_the_defaults_of_a_practitioner(tmp_path):
    small_model().save_pretrained(tmp_path / "model")
    large = config(model=str(tmp_path / "model"))
    assert (large.task, large.prompts_per_step, large.lr, large.eval_limit, large.max_new_tokens) == ("gsm8k", 16, 3e-6, 1319, 512)
    assert config(model=str(tmp_path / "model"), task="shop").eval_limit == config().eval_limit == 200
