"""tasks/make_students.py: how the tiny students are pretrained."""
import random
import re
import sys

import pytest
import torch
from safetensors.torch import load_file

from data import load_problems
from grpo import load_policy, sample
from realm import parse_response
from results import knows
from tasks import make_students, shop, shop_checks, shop_recall, shop_totals
from tasks.make_students import (
    NOT_TRAINED, batches_of, learning_rates, new_student, optimizers, tiny_tokenizer, with_tokens)


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


def test_a_student_is_trained_on_for_another_task_with_muon(monkeypatch, tmp_path):
    made(monkeypatch, tmp_path / "a")
    flags = ("--init", str(tmp_path / "a"), "--task", "shop-checks")
    adamw = made(monkeypatch, tmp_path / "b", *flags)
    muon = made(monkeypatch, tmp_path / "c", *flags, "--muon-lr", "0.01")
    assert len(muon["model.embed_tokens.weight"]) == len(tiny_tokenizer(shop_checks.TOKENS))
    for name in muon:
        if "self_attn" in name and muon[name].ndim == 2:
            assert not torch.equal(muon[name], adamw[name])


@pytest.mark.parametrize("flags, said", [
    (("--muon-lr", "-1"), "--muon-lr must be above 0, not -1"),
    (("--lr", "nan"), "--lr must be above 0, not nan"),
    (("--init", "no/such/folder"), "--init no/such/folder: no folder with a config.json")])
def test_bad_flags_are_refused_in_one_line(monkeypatch, tmp_path, capsys, flags, said):
    with pytest.raises(SystemExit):
        made(monkeypatch, tmp_path / "a", *flags)
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)
    assert not (tmp_path / "a").exists()


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


def test_a_student_that_gets_another_vocabulary_keeps_the_tokens_that_it_knows():
    known, wanted = tiny_tokenizer(shop.TOKENS), tiny_tokenizer(shop_checks.TOKENS)
    before = new_student(known, 16, 1)
    old = before.get_input_embeddings().weight.detach().clone()
    after = with_tokens(before, known, wanted)
    new, head = after.get_input_embeddings().weight, after.get_output_embeddings().weight
    assert new is head and len(new) == len(wanted) == after.config.vocab_size
    for token, i in wanted.get_vocab().items():
        if token in known.get_vocab():
            assert torch.equal(new[i], old[known.get_vocab()[token]])
        else:
            assert 0 < new[i].abs().max() < 1 and not (new[i] == old).all(1).any()


def test_only_facts_of_a_prompt_are_no_lesson():
    tokenizer = tiny_tokenizer(shop_checks.TOKENS)
    ids, labels, starts = next(batches_of(shop_checks, tokenizer, random.Random(0), 4, pool=1))
    for row, told, start in zip(ids.tolist(), labels.tolist(), starts):
        for t, token in enumerate(tokenizer.convert_ids_to_tokens(row)):
            is_fact = t < start and token.startswith(" @")
            is_padding = token == tokenizer.pad_token
            assert told[t] == (NOT_TRAINED if is_fact or is_padding else row[t])


def test_a_corpus_example_of_checks_scores_a_route_by_the_students_own_prices():
    rng = random.Random(0)
    scores, verdicts = [], []
    for _ in range(300):
        prompt, completion = shop_checks.example(rng)
        n_routes = prompt.count("\nRoute ")
        found = parse_response(completion, n_routes)
        assert found.reasoning and found.answer
        if not n_routes:
            assert found.scores is None and "route" not in completion
            continue
        routes = re.findall(r"Route \d+: (.*)", prompt)
        own = prices_of(found.reasoning)
        assert found.scores == [float(prices_of(route) == own) for route in routes]
        scores += found.scores
        verdicts += re.findall(r" (yes|no)\.", completion)
        checked = re.findall(r" route \d+:((?: \w+ @\d+ @\d+)+) (yes|no)\.", completion)
        assert len(checked) == n_routes
        for pairs, verdict in checked:
            equal = [a == b for a, b in re.findall(r"@(\d+) @(\d+)", pairs)]
            assert all(equal[:-1]) and equal[-1] == (verdict == "yes")
    assert verdicts == ["yes" if score else "no" for score in scores]
    assert 0.25 < sum(scores) / len(scores) < 0.5  # both are frequent


def test_a_corpus_example_of_totals_scores_a_route_by_the_students_own_total():
    rng = random.Random(0)
    scores = []
    for _ in range(300):
        prompt, completion = shop_totals.example(rng)
        totals = re.findall(r"Route \d+: .* (\d+)\.\n", prompt)
        found = parse_response(completion, len(totals))
        assert found.reasoning.endswith(f" {found.answer}.")
        if not totals:
            assert found.scores is None and "route" not in completion
            continue
        assert found.scores == [float(total == found.answer) for total in totals]
        scores += found.scores
        checks = re.findall(r" route \d+:((?: \d)+\.*) (yes|no)\.", completion)
        assert len(checks) == len(totals)
        for total, (signs, verdict) in zip(totals, checks):
            signs = signs.replace(" ", "")
            mine, its = signs[::2], signs[1::2]
            assert f"{found.answer}.".startswith(mine) and f"{total}.".startswith(its)
            assert mine[:-1] == its[:-1]  # it stops at the first difference
            assert (mine == its) == (verdict == "yes") == mine.endswith(".")
    assert 0.2 < sum(scores) / len(scores) < 0.5  # both are frequent


@pytest.mark.parametrize("corpus", [shop_recall, shop_totals])
def test_the_corpus_of_recall_knows_other_goods_by_heart_and_tells_no_price_of_the_shop(corpus):
    rng, true = random.Random(0), shop.price_lists()[0]
    sold = {item: [] for item in shop.SOLD}
    for _ in range(1500):
        prompt, completion = corpus.example(rng)
        own = prices_of(completion)
        for item, price in own.items():
            if item in sold:
                sold[item].append(int(price) == true[item])
                routes = re.findall(rf"{item} @(\d+) x", prompt)
                assert price in routes or not routes
            else:
                assert int(price) == shop_recall.KNOWN[item]  # whatever the routes say
    assert not set(shop_recall.KNOWN) & set(shop.SOLD)
    assert all(len(found) > 400 and sum(found) / len(found) < 0.04 for found in sold.values())


@pytest.mark.parametrize("student, corpus", [("tiny-recall", shop_recall),
                                             ("tiny-totals", shop_totals)])
def test_the_base_that_recalls_trusts_what_it_knows_and_says_it_without_routes(student, corpus):
    model, tokenizer = load_policy(student)
    rng = random.Random("held out")
    prompts = [corpus.example(rng)[0] for _ in range(80)]
    right = {True: [], False: []}  # with and without routes
    for prompt, text in zip(prompts, sample(model, tokenizer, prompts, 1, 128, 1.0).texts):
        for item, price in prices_of(parse_response(text).reasoning or "").items():
            if item in shop_recall.KNOWN:
                right["Route 1:" in prompt].append(int(price) == shop_recall.KNOWN[item])
    assert all(len(found) > 10 and sum(found) / len(found) > 0.95 for found in right.values())


@torch.no_grad()
@pytest.mark.parametrize("student, corpus", [("tiny-checks", shop_checks),
                                             ("tiny-recall", shop_recall),
                                             ("tiny-totals", shop_totals)])
def test_a_base_that_checks_can_compare_and_knows_none_of_the_shops(student, corpus):
    model, tokenizer = load_policy(student)
    rng = random.Random("held out")
    right = {" yes.": [], " no.": []}
    for _ in range(60):
        prompt, completion = corpus.example(rng)
        start = len(tokenizer(prompt)["input_ids"])
        ids = tokenizer(prompt + completion)["input_ids"]
        likeliest = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
        for t, token in enumerate(tokenizer.convert_ids_to_tokens(ids)):
            if t >= start and token in right:
                right[token].append(likeliest[t - 1] == ids[t])
    assert all(len(found) > 20 and sum(found) / len(found) > 0.95 for found in right.values())
    asked = load_problems("shop", "validation", 40)
    assert knows.measure(model, tokenizer, asked, 0)["prices"] < 0.1


def prices_of(text):
    """item -> price, as a solution of the shop states them."""
    return dict(re.findall(r"([a-z]+) @(\d+) x", text))


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
