"""One policy in bf16, too: logits are made in fp32 on both sides (engine/layers.py, logits_of)."""
import pytest
import torch

import engine.layers
import grpo
from engine.layers import LogitsInFp32, logits_of
from grpo import completion_logps, sample
from helpers import assert_same_gradients, small_model, take_gradients


def rounded_logits(head, hidden):
    """Logits as a model's own head makes them: rounded to its dtype."""
    return head(hidden).float()


def draw(model, tokenizer, group_size=8, new=30):
    return sample(model, tokenizer, ["ab", "cdefgh", "mlkjihg"], group_size, new,
                  generator=torch.Generator().manual_seed(0))


def bf16_head(bias=False):
    torch.manual_seed(0)
    return torch.nn.Linear(32, 50, bias=bias).bfloat16()


def random_hidden(n=7):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n, 32, generator=draw).bfloat16().requires_grad_()


def test_logits_of_bf16_hidden_states_are_those_of_fp32():
    head, hidden = bf16_head(), random_hidden()
    found = logits_of(head, hidden)
    wanted = hidden.float() @ head.weight.float().t()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    assert (rounded_logits(head, hidden) - wanted).abs().max() > 1e-3  # so the rounding would show


def test_their_gradients_are_those_of_fp32_autograd_up_to_bf16():
    head, hidden = bf16_head(), random_hidden()
    upstream = torch.randn(7, 50, generator=torch.Generator().manual_seed(2))
    (logits_of(head, hidden) * upstream).sum().backward()
    found = take_gradients([hidden, head.weight])
    exact = [t.detach().float().requires_grad_() for t in (hidden, head.weight)]
    ((exact[0] @ exact[1].t()) * upstream).sum().backward()
    assert [g.dtype for g in found] == [torch.bfloat16] * 2
    assert_same_gradients([g.float() for g in found], take_gradients(exact), 0.005)


def test_a_chunked_score_in_bf16_has_the_gradients_of_an_unchunked_one():
    head, hidden, ids = bf16_head(), random_hidden(), torch.arange(7)
    found = []
    for chunk_elements in (50 * 2, 50 * 7):
        grpo.token_logps(head, hidden, ids, 0.7, chunk_elements).sum().backward()
        found.append([g.float() for g in take_gradients([hidden, head.weight])])
    assert_same_gradients(*found, 0.01)


def test_fp32_and_a_head_with_a_bias_keep_the_models_own_head():
    torch.manual_seed(0)
    head, hidden = bf16_head(bias=True), random_hidden()
    assert torch.equal(logits_of(head, hidden), head(hidden).float())
    assert torch.equal(logits_of(head.float(), hidden.float()), head(hidden.float()))


def test_sampler_and_scorer_make_their_logits_so(tokenizer, monkeypatch):
    model, rows = small_model().bfloat16(), []

    def watched(hidden, weight):
        rows.append(len(hidden))
        return real(hidden, weight)
    real = LogitsInFp32.apply
    monkeypatch.setattr(engine.layers.LogitsInFp32, "apply", watched)
    rollouts = draw(model, tokenizer, group_size=2, new=6)
    assert rows[0] == 3  # the prompts' ends
    assert len(rows) == rollouts.lengths.max()  # and every pass
    rows.clear()
    completion_logps(model, rollouts)
    assert sum(rows) == rollouts.lengths.sum()  # every token that was sampled


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_makes_sampler_and_scorer_differ_less(tokenizer, monkeypatch, seed):
    model = small_model(seed)
    with torch.no_grad():  # logits of 10 to 30, as a real model's are: bf16 knows every 1/8 there
        model.get_output_embeddings().weight += 2.0
    model, drift = model.bfloat16(), []
    for make_logits in (logits_of, rounded_logits):
        for module in (grpo, engine.layers):  # the sampler's and the scorer's
            monkeypatch.setattr(module, "logits_of", make_logits)
        rollouts = draw(model, tokenizer)
        gap = (completion_logps(model, rollouts) - rollouts.logps)[rollouts.mask > 0]
        drift.append(gap.abs().mean().item())
    assert drift[0] < 0.6 * drift[1], drift
