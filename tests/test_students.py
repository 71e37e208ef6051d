"""tasks/make_students.py: how the tiny students are pretrained."""
import sys

import pytest
import torch
from safetensors.torch import load_file

from tasks import make_students
from tasks.make_students import learning_rates, new_student, optimizers, tiny_tokenizer


def made(monkeypatch, folder, *flags):
    """The weights that the command writes with a few small steps."""
    monkeypatch.setattr(sys, "argv", ["make_students", "--width", "16", "--layers", "1", "--batch",
                                      "2", "--steps", "2", "--out", str(folder), *flags])
    make_students.main()
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_flags_give_the_same_weights(monkeypatch, tmp_path):
    first = made(monkeypatch, tmp_path / "a")
    assert same(first, made(monkeypatch, tmp_path / "b"))
    assert not same(first, made(monkeypatch, tmp_path / "c", "--seed", "1"))


def test_a_student_can_be_trained_on(monkeypatch, tmp_path):
    made(monkeypatch, tmp_path / "a")
    on = made(monkeypatch, tmp_path / "b", "--init", str(tmp_path / "a"), "--lr", "1e-12")
    for name, weight in load_file(tmp_path / "a" / "model.safetensors").items():
        torch.testing.assert_close(on[name], weight)


@pytest.mark.parametrize("muon_lr", [None, 0.01])
def test_each_weight_has_one_optimizer_and_muon_only_the_attentions_matrices(muon_lr):
    model = new_student(tiny_tokenizer(), 16, 2)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = []
    for optimizer in optimizers(model, 1e-3, muon_lr):
        groups.append([names[id(p)] for group in optimizer.param_groups for p in group["params"]])
    assert sorted(sum(groups, [])) == sorted(names.values())
    of_muon = groups[1] if muon_lr else []
    assert len(of_muon) == (8 if muon_lr else 0)  # q, k, v and o of two layers
    assert all(".self_attn." in name and name.endswith("weight") for name in of_muon)


def test_the_rate_rises_stays_and_falls():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    scheduler = learning_rates(optimizer, 30)
    rates = []
    for _ in range(30):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:3] == [0.5, 1, 1] and max(rates) == 1
    assert rates[16] < 1 and rates[15:] == sorted(rates[15:], reverse=True)
    assert 0 < rates[-1] < 0.1
