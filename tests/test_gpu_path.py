"""The path through a GPU, guarded without one. The GPU is pretended (tests/pretend_gpu.py).

Every tensor must lie where the operation needs it, and no token may make the CPU wait for the GPU.
"""
import copy

import pytest
import torch

import eval as evaluation
import grpo
import train
from data import load_problems, with_routes
from engine.shared_prompt import is_out_of_memory, with_smaller_parts
from engine.teachers import model_teacher
from grpo import Optimizer, completion_logps, grpo_update, sample, sft_update
from helpers import END, small_model, small_tokenizer
from pretend_gpu import GPU, PretendTensor, pretend_gpu
from realm import Problem

PROMPTS = ["ab", "cdefghij", "k"]
ENDS = [END, 9, 13]
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.fixture
def gpu():
    with pretend_gpu() as found:
        yield found


@pytest.fixture
def tiny():
    """Loaded before the GPU is there: transformers builds models on the device "meta"."""
    return grpo.load_policy("tiny")


def ending_model(**changes):
    model = small_model(**changes)
    model.generation_config.eos_token_id = ENDS
    return model


def endless(model):
    """The model and a tokenizer whose end token is never drawn."""
    model.generation_config.eos_token_id = None
    return model, small_tokenizer(eos_token="<never>")


def draw(model, tokenizer, device, new=20, group_size=4):
    generator = torch.Generator(device).manual_seed(0)
    return sample(model, tokenizer, PROMPTS, group_size, new, generator=generator)


# ---- the pretended GPU itself -------------------------------------------------------------------
@pytest.mark.parametrize("mix", [
    lambda a, b: a + b, lambda a, b: b * a, lambda a, b: torch.cat([a, b]), lambda a, b: b.add_(a),
    lambda a, b: torch.where(a > 0, a, b), lambda a, b: a.masked_fill_(b > 0, 0.0),
    lambda a, b: b[a.long()], lambda a, b: a.index_put_((b.long(),), b),
    lambda a, b: torch.stack([a[0], b[0]]), lambda a, b: b[0].add_(a[0])])
def test_an_operation_that_mixes_gpu_and_cpu_is_refused(gpu, mix):
    with pytest.raises(RuntimeError, match="beside tensors of the GPU"):
        mix(torch.zeros(3, device="cuda:0"), torch.zeros(3))


def test_numbers_indices_and_copies_may_come_from_the_cpu(gpu):
    a = torch.arange(3.0, device=GPU)
    assert (a + torch.tensor(1.0)).tolist() == [1, 2, 3]
    assert a[torch.tensor([2, 0])].tolist() == [2, 0]
    assert a.copy_(torch.ones(3)).tolist() == [1, 1, 1]
    assert torch.ones(3).to(GPU).device == torch.device("cuda:0")


def test_all_that_makes_the_cpu_wait_is_counted(gpu):
    a = torch.arange(3.0, device=GPU)
    waits = [lambda: a[0].item(), lambda: int(a[0]), lambda: bool(a[0] > 1), lambda: a.tolist(),
             lambda: a.cpu(), lambda: a.nonzero(), lambda: a[a > 1], lambda: a.to("cpu"),
             lambda: torch.equal(a, a), lambda: torch.zeros(3).copy_(a),
             lambda: torch.ones(2).to(GPU), lambda: torch.tensor([1.0], device=GPU),
             lambda: a.masked_select(a > 1)]
    for wait in waits:
        before = gpu.waits
        wait()
        assert gpu.waits == before + 1
    before = gpu.waits
    no_waits = [lambda: (a * 2).sum(), a.argmax, lambda: a[1:], a.clone,
                lambda: torch.zeros(3, device=GPU), lambda: a.new_ones(2)]
    for go_on in no_waits:
        go_on()
    assert gpu.waits == before


# ---- the project on it --------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sampling_while_rows_leave_scoring_and_updates_stay_on_the_gpu(gpu, monkeypatch, dtype):
    tokenizer, kept, keep = small_tokenizer(), [], grpo.Decoder.keep
    monkeypatch.setattr(grpo.Decoder, "keep", lambda *a: (kept.append(len(a[2])), keep(*a)))
    here, there = ending_model().to(dtype), gpu.take(ending_model().to(dtype))
    rollouts = draw(there, tokenizer, "cuda:0")
    assert kept and type(rollouts.logps) is PretendTensor, "no grid was repacked"
    found = completion_logps(there, rollouts)
    assert found.device == GPU
    tolerance = 1e-4 if dtype == torch.float32 else 0.2
    assert (found - rollouts.logps).abs().max().item() < tolerance
    if dtype == torch.float32:
        assert rollouts.texts == draw(here, tokenizer, "cpu").texts

    before = [p.inner.clone() for p in there.parameters()]
    optimizer = Optimizer(there, lr=1e-2)
    advantages = torch.tensor([[1.0, -1.0, 0.5, -0.5], [0.0] * 4, [1.0, 1.0, -1.0, -1.0]])
    metrics = grpo_update(there, optimizer, rollouts, advantages, reference=copy.copy(there),
                          epochs=2, micro_batch=2, beta=0.01)
    assert metrics["skipped"] == 0 and metrics["drift"] < tolerance
    demos = grpo.as_rollouts(there, tokenizer, PROMPTS, ["ab", "c", "defg"])
    loss, norm = sft_update(there, optimizer, demos, 2)
    assert loss > 0 and norm > 0 and optimizer.steps == 3
    assert not any(torch.equal(p.inner, old) for p, old in zip(there.parameters(), before))


def test_scoring_in_chunks_and_computing_again_stay_on_the_gpu(gpu, monkeypatch):
    model = gpu.take(ending_model())
    model.recompute = True
    rollouts = draw(model, small_tokenizer(), "cuda:0", new=12)
    head, hidden = model.get_output_embeddings(), torch.randn(7, 32, device=GPU, requires_grad=True)
    ids = torch.arange(7, device=GPU)
    grpo.token_logps(head, hidden, ids, 1.0, chunk_elements=32).sum().backward()
    assert type(hidden.grad) is PretendTensor
    completion_logps(model, rollouts).sum().backward()


def test_between_its_looks_at_every_16th_token_sampling_never_waits(gpu):
    model, tokenizer = endless(gpu.take(small_model(num_hidden_layers=1)))
    waits = []
    for new in (16, 32, 48):  # looks at tokens 0; 0 and 16; 0, 16 and 32
        before = gpu.waits
        assert draw(model, tokenizer, "cuda:0", new).lengths.min().item() == new
        waits.append(gpu.waits - before - 1)  # the line above looks, too
    assert waits[1] == waits[0] + 1 and waits[2] == waits[1] + 1, f"{waits}: {gpu.syncs}"


def test_an_update_waits_as_often_for_long_completions_as_for_short_ones(gpu):
    model, tokenizer = endless(gpu.take(small_model(num_hidden_layers=1)))
    advantages, waits = torch.randn(3, 4), []
    for new in (6, 30):
        rollouts = draw(model, tokenizer, "cuda:0", new)
        before = gpu.waits
        grpo_update(model, Optimizer(model, lr=1e-3), rollouts, advantages, micro_batch=4)
        waits.append(gpu.waits - before)
    assert waits[0] == waits[1]


def test_one_step_of_realm_and_an_evaluation_stay_on_the_gpu(tiny, gpu):
    config = train.Config(method="realm-r1", prompts_per_step=2, group_size=4, max_new_tokens=18,
                          n=3, beta=0.01)
    config = train.prepare(config, {})
    problems = with_routes(load_problems("shop", "train", 20), config)
    problems = train.with_correct_route(problems, config)
    model, tokenizer = tiny
    reference = gpu.take(copy.deepcopy(model))
    model = gpu.take(model)
    optimizer = Optimizer(model, 1e-3)
    train.sft_step(model, tokenizer, optimizer, problems, config, 0)
    metrics, _, _ = train.rl_step(model, tokenizer, reference, optimizer, problems, config, 0)
    assert metrics["drift"] < 1e-3 and metrics["skipped"] == 0
    found = evaluation.evaluate(model, tokenizer, problems[:1], 2, samples=1, max_new_tokens=6)
    assert found["routes"]["tokens"] > 0


# ---- out of memory ------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError(CUBLAS),
    RuntimeError(CUBLAS.replace("ALLOC_FAILED", "NOT_INITIALIZED")),
    RuntimeError("CUDA error: out of memory")], ids=str)
def test_memory_that_runs_out_halves_the_parts_whoever_says_so(model, capsys, error):
    assert is_out_of_memory(error)
    config, optimizer, tried = train.Config(micro_batch=8), Optimizer(model, lr=1e-3), []

    def update(micro_batch):
        tried.append(micro_batch)
        assert all(p.grad is None for p in model.parameters())  # of the part that did not fit
        sum(p.sum() for p in model.parameters()).backward()
        if micro_batch > 2:
            raise error
        return "done"
    assert with_smaller_parts(config, optimizer, update) == "done"
    assert tried == [8, 4, 2] and config.micro_batch == 2
    assert "--micro-batch 2" in "".join(capsys.readouterr())


def test_another_error_is_not_taken_for_one_of_memory_and_is_not_tried_again(model):
    error, tried = RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), []

    def update(micro_batch):
        tried.append(micro_batch)
        raise error
    assert not is_out_of_memory(error) and not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        with_smaller_parts(train.Config(micro_batch=8), Optimizer(model, lr=1e-3), update)
    assert tried == [8]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"),
                                   RuntimeError(CUBLAS)], ids=str)
def test_an_evaluation_and_a_teacher_that_do_not_fit_are_told_in_one_line(monkeypatch, error):
    def fails(*_, **__):
        raise error
    monkeypatch.setattr(evaluation, "evaluate", fails)
    with pytest.raises(SystemExit, match="out of memory: lower --batch"):
        evaluation.main(["tiny", "--limit", "1", "--samples", "0"])
    monkeypatch.setattr(grpo, "load_policy", fails)
    with pytest.raises(ValueError, match="--teacher tiny: out of memory: lower --batch"):
        model_teacher("tiny", "cpu")([Problem("2 + 2?", "4")], [[False]])


def test_an_evaluation_does_not_take_another_error_for_one_of_memory(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("shape mismatch")
    monkeypatch.setattr(evaluation, "evaluate", fails)
    with pytest.raises(RuntimeError, match="shape"):
        evaluation.main(["tiny", "--limit", "1", "--samples", "0"])
