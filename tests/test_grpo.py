import copy
import io
import json
import math
import random
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import processors
from transformers import (AutoModelForCausalLM, GemmaConfig, GraniteConfig, LlamaConfig,
                          MistralConfig, Olmo2Config, Qwen2Config, Qwen3Config, SmolLM3Config)

import engine.layers
import engine.policy
import engine.run
import engine.sampler
import engine.shared_prompt
import grpo
from grpo import (Optimizer, completion_logps, end_ids, group_advantages, grpo_loss, grpo_update,
                  sample)
from realm import Problem, Route, demonstration, mrpv_prompt
from helpers import (CHAT, END, LETTERS, PAD, TURN, Recorder, assert_same_gradients, by_hand,
                     full_logits, full_logps, plain_loss, sample_slowly, small_model,
                     small_tokenizer, take_gradients)

LOSS_TYPES = ["grpo", "dapo", "dr_grpo"]
PROMPTS = ["ab", "cdefghij", "k", "mlk"]
ADVANTAGES = torch.tensor([[1.0, -0.5, 0.25, -0.75],
                           [0.0, 0.0, 0.0, 0.0],  # a flat group
                           [-1.0, 1.0, -1.0, 1.0]])
ENDS = [END, TURN, 9, 13]  # enough of them that the completions' lengths vary


@pytest.fixture(scope="module")
def many_ends():
    model = small_model()
    model.generation_config.eos_token_id = ENDS
    return model


def draw(model, tokenizer, seed=0, group_size=5, max_new_tokens=12, **options):
    generator = torch.Generator().manual_seed(seed)
    return sample(model, tokenizer, PROMPTS, group_size, max_new_tokens, generator=generator,
                  **options)


def completions(rollouts):
    rows = rollouts.completion_ids.tolist()
    return [row[:n] for row, n in zip(rows, rollouts.lengths.tolist())]


# ---- ends and masks ------------------------------------------------------------------------------
def test_every_end_id_of_the_model_its_tokenizer_and_its_chat_template_is_known(model, tokenizer):
    assert end_ids(model, tokenizer) == [END]
    model.generation_config.eos_token_id = [7, 5, END]
    assert end_ids(model, tokenizer) == [END, 5, 7]
    model.generation_config.eos_token_id = None
    assert end_ids(model, small_tokenizer(chat_template=CHAT)) == [END, TURN]
    letter_after_a_turn = CHAT.replace("<turn>", "b")  # a letter ends nothing
    assert end_ids(model, small_tokenizer(chat_template=letter_after_a_turn)) == [END]


def test_every_end_id_stops_a_row_and_a_row_that_ended_is_not_truncated(many_ends, tokenizer):
    rollouts = draw(many_ends, tokenizer, group_size=40, max_new_tokens=5)
    rows = completions(rollouts)
    assert {row[-1] for row in rows} >= set(ENDS)
    assert all(token not in ENDS for row in rows for token in row[:-1])
    assert rollouts.finished.tolist() == [row[-1] in ENDS for row in rows]
    assert all(len(row) == 5 for row in rows if row[-1] not in ENDS)
    # A row that ends on the very last token is finished too.
    assert any(len(row) == 5 and row[-1] in ENDS for row in rows)


def test_the_turn_end_of_the_chat_template_stops_a_row(model):
    rollouts = draw(model, small_tokenizer(chat_template=CHAT), group_size=40)
    assert any(row[-1] == TURN for row in completions(rollouts))
    assert not any({END, TURN} & set(row[:-1]) for row in completions(rollouts))


def test_the_end_token_is_trained_also_where_it_is_the_pad(many_ends):
    rollouts = draw(many_ends, small_tokenizer(pad_token="<end>"))
    assert rollouts.finished.any()
    assert rollouts.mask.sum(1).tolist() == rollouts.lengths.tolist()
    logps = completion_logps(many_ends, rollouts).detach().requires_grad_()
    loss, _ = grpo_loss(logps, rollouts.logps, None, torch.ones(len(logps)), rollouts.mask)
    loss.backward()
    for row, gradient in zip(completions(rollouts), logps.grad):
        assert (gradient[:len(row)] < 0).all()
        assert (gradient[len(row):] == 0).all()


@pytest.mark.parametrize("opened", ["<think>", "<think>\n"])
def test_a_chat_template_that_opens_the_reasoning_leaves_that_to_the_student(opened):
    asked = [small_tokenizer(chat_template=CHAT + end) for end in (opened, "")]
    assert grpo.encode_prompts(asked[0], ["abc"]) == grpo.encode_prompts(asked[1], ["abc"])


def test_a_chat_template_that_writes_todays_date_writes_the_same_day_always():
    dated = "{% if date_string is not defined %}fff{% endif %}" + CHAT
    asked = [small_tokenizer(chat_template=template) for template in (dated, CHAT)]
    assert grpo.encode_prompts(asked[0], ["abc"]) == grpo.encode_prompts(asked[1], ["abc"])


def test_a_tokenizer_that_ends_every_text_does_not_end_a_prompt():
    plain, ending = small_tokenizer(), small_tokenizer()
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", END)])
    assert ending(["abc"])["input_ids"][0][-1] == END
    assert grpo.encode_prompts(ending, ["abc", ""]) == grpo.encode_prompts(plain, ["abc", ""])


def test_the_routes_that_must_fit_are_those_of_the_most_tokens_not_characters(model):
    problem = Problem("a", "1", [Route("abc" * 9, "1", True), Route("<<1=1>>" * 20, "1", True)])
    tokenizer = small_tokenizer()
    long, short = grpo.encode_prompts(
        tokenizer, [mrpv_prompt("a", [route]) for route in problem.routes])
    assert len(long) > len(short)
    model.config.max_position_embeddings = len(long) + 3
    engine.policy.routes_must_fit(model, tokenizer, [problem], 1, 3)
    with pytest.raises(ValueError, match="the question 'a': a prompt of .* show fewer --routes"):
        engine.policy.routes_must_fit(model, tokenizer, [problem], 1, 4)


@pytest.mark.parametrize("method, k", [("realm-r1", 2), ("rft", 2), ("realm-r1", 0)])
def test_a_demonstration_is_as_long_as_what_sft_imitates(model, capsys, method, k):
    tokenizer = small_tokenizer()
    # A calculator's annotations are not shown, and a wrong route is not imitated.
    routes = [Route("abc", "a", True), Route("ab<<1=1>>c", "a", True), Route("abc" * 9, "b", False)]
    problems = [Problem("a", "a", routes)]
    assert engine.policy.route_lengths(tokenizer, problems)["ab<<1=1>>c"] == 3
    scores = [1.0, 0.0] if method == "realm-r1" and k else None
    lesson = grpo.as_rollouts(model, tokenizer, ["a"], [demonstration("abc", "a", scores)])
    length = int(lesson.lengths[0])
    for limit, said in ((length, ""), (length - 1, f"2 of 2 demonstrations are longer than "
                                                   f"--max-new-tokens {length - 1}:")):
        config = SimpleNamespace(method=method, routes=k, max_new_tokens=limit)
        engine.policy.say_too_long(tokenizer, problems, config)
        found = capsys.readouterr().out
        assert found.startswith(said) and bool(found) == bool(said)


def test_pad_and_end_tokens_inside_a_prompt_are_part_of_it(model):
    tokenizer = small_tokenizer(pad_token="<end>", chat_template=CHAT + "<end><turn>")
    # The tokenizer does not know the template's "u", which becomes <pad>.
    assert grpo.encode_prompts(tokenizer, ["ab"]) == [[PAD, 3, 4, TURN, 3, END, TURN]]
    rollouts = draw(model, tokenizer, max_new_tokens=6)
    assert rollouts.prompt_lengths.tolist() == [len(p) + 5 for p in PROMPTS]
    torch.testing.assert_close(rollouts.logps, full_logps(model, rollouts).detach())


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_an_immediate_end_is_one_trained_token_and_gives_no_nan(model, tokenizer, loss_type):
    model.generation_config.eos_token_id = list(range(16))
    rollouts = draw(model, tokenizer)
    assert rollouts.lengths.tolist() == [1] * 20 and rollouts.finished.all()
    logps = completion_logps(model, rollouts)
    torch.testing.assert_close(logps, full_logps(model, rollouts))
    loss, _ = grpo_loss(logps, rollouts.logps, logps, torch.randn(20), rollouts.mask, beta=0.1,
                        loss_type=loss_type)
    loss.backward()
    gradients = take_gradients(model.parameters())
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)


def test_a_sampled_pad_neither_stops_a_row_nor_escapes_training(model, tokenizer):
    rollouts = draw(model, tokenizer, seed=3, group_size=20)
    rows = completions(rollouts)
    inside = [b for b, row in enumerate(rows) if PAD in row[:-1]]
    assert inside and all(rollouts.mask[b].sum() == rollouts.lengths[b] for b in inside)
    # The text has lost the pad.
    assert any(tokenizer(rollouts.texts[b])["input_ids"] != rows[b] for b in inside)
    torch.testing.assert_close(completion_logps(model, rollouts), full_logps(model, rollouts))


# ---- sampler and scorer --------------------------------------------------------------------------
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_sampler_scorer_and_a_full_forward_pass_agree_while_rows_end_one_by_one(
        many_ends, tokenizer, temperature, monkeypatch):
    keep = grpo.Decoder.keep
    sizes, lines = [], []  # of each smaller grid: its number of rows, and the prompt of each line

    def watched(decoder, prompts, rows):
        sizes.append(len(rows))
        lines.append(prompts.tolist())
        return keep(decoder, prompts, rows)

    monkeypatch.setattr(grpo.Decoder, "keep", watched)
    rollouts = draw(many_ends, tokenizer, temperature=temperature, group_size=8)
    assert len(sizes) >= 3 and sizes == sorted(sizes, reverse=True)
    assert len(set(rollouts.lengths.tolist())) > 4
    assert any(len(prompts) > len(set(prompts)) for prompts in lines), "no line was ever cut"
    wanted = full_logps(many_ends, rollouts, temperature).detach()
    scored = completion_logps(many_ends, rollouts, temperature)
    torch.testing.assert_close(rollouts.logps, wanted, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(scored, wanted, atol=2e-5, rtol=1e-5)
    all_logits = full_logits(many_ends, rollouts)
    for n, found, logits in zip(rollouts.lengths, rollouts.entropy, all_logits):
        wanted = torch.distributions.Categorical(logits=logits / temperature).entropy()
        torch.testing.assert_close(found[:n], wanted.detach(), atol=2e-5, rtol=1e-5)
        assert (found[n:] == 0).all()


def test_prompts_of_any_length_in_any_order_are_computed_in_pieces_and_each_gets_its_own_back(
        model, tokenizer, monkeypatch):
    lengths = random.Random(0).choices(range(1, 40), k=30)
    prompts = ["".join(random.Random(i).choices(LETTERS, k=n)) for i, n in enumerate(lengths)]
    prompt_pass = grpo.prompt_pass
    shapes = []  # of the pieces

    def watched(model, ids, lengths):
        shapes.append(tuple(ids.shape))
        return prompt_pass(model, ids, lengths)

    monkeypatch.setattr(engine.sampler, "prompt_pass", watched)
    monkeypatch.setattr(engine.sampler, "PREFILL_TOKENS", 200)
    generator = torch.Generator().manual_seed(0)
    rollouts = grpo.sample(model, tokenizer, prompts, 2, 5, generator=generator)
    assert len(shapes) > 4 and all(n * width <= 200 for n, width in shapes)
    assert sum(n for n, _ in shapes) == 30
    computed = sum(n * width for n, width in shapes)
    assert computed < 1.3 * sum(lengths), "each piece is padded only to its own longest prompt"
    wanted = full_logps(model, rollouts).detach()
    torch.testing.assert_close(rollouts.logps, wanted, atol=2e-5, rtol=1e-5)


def test_sampling_stops_when_the_last_row_has_ended_whatever_ended_rows_go_on_to_draw(
        many_ends, tokenizer, monkeypatch):
    step = grpo.Decoder.step
    passes = []

    def watched(decoder, tokens, positions):
        passes.append(len(tokens))
        return step(decoder, tokens, positions)

    monkeypatch.setattr(grpo.Decoder, "step", watched)
    for seed in range(20):
        passes.clear()
        rollouts = draw(many_ends, tokenizer, seed=seed, max_new_tokens=60)
        assert rollouts.finished.all() and len(passes) == rollouts.lengths.max() - 1


SHAPE = dict(vocab_size=16, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             initializer_range=0.3, bos_token_id=None, eos_token_id=END, pad_token_id=PAD)


@pytest.mark.parametrize("config", [
    Qwen2Config(**SHAPE),
    Qwen3Config(**SHAPE, head_dim=16),
    LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    LlamaConfig(**SHAPE),
    LlamaConfig(**SHAPE,
                rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}),
    MistralConfig(**SHAPE, sliding_window=None),
], ids=lambda config: config.model_type)
def test_sampler_and_scorer_compute_what_the_model_does_in_every_family_they_accept(
        config, tokenizer):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in model.parameters():  # biases begin at 0 and norms at 1, which hides mistakes
            p += 0.2 * torch.randn(p.shape)
    rollouts = draw(model, tokenizer)
    assert engine.sampler.decodable(model) and rollouts.lengths.sum() > 50
    wanted = full_logps(model, rollouts)
    found = completion_logps(model, rollouts)
    weight = torch.randn(rollouts.mask.shape)
    torch.testing.assert_close(rollouts.logps, wanted.detach(), atol=5e-5, rtol=1e-4)
    torch.testing.assert_close(found, wanted, atol=5e-5, rtol=1e-4)
    gradients = []
    for logps in (wanted, found):
        (logps * weight).sum().backward()
        gradients.append(torch.cat([g.flatten() for g in take_gradients(model.parameters())]))
    assert (gradients[1] - gradients[0]).norm() < 1e-5 * gradients[0].norm()


def test_in_bf16_the_sampler_agrees_with_the_scorer_also_where_key_biases_make_scores_of_hundreds(
        tokenizer):
    model = small_model().bfloat16()
    with torch.no_grad():
        for layer in model.model.layers:  # key biases as large as Qwen2's
            generator = torch.Generator().manual_seed(0)
            layer.self_attn.k_proj.bias.normal_(std=60.0, generator=generator)
    prompts = ["ab", "cdefgh", "bcdabcdefghijklm" * 3]
    generator = torch.Generator().manual_seed(0)
    rollouts = sample(model, tokenizer, prompts, 8, 12, generator=generator)
    gaps = rollouts.logps - completion_logps(model, rollouts)
    drift = gaps[rollouts.mask > 0].abs().mean()
    assert engine.sampler.decodable(model)
    assert drift < 0.03, drift  # it is 0.07 if scores are kept in bf16


@pytest.mark.parametrize("config", [
    GemmaConfig(**SHAPE, head_dim=8),
    Olmo2Config(**SHAPE),
    MistralConfig(**SHAPE, sliding_window=4),
    MistralConfig(**SHAPE, sliding_window=100),
    # Its rotary frequencies change from 64 tokens on.
    LlamaConfig(**SHAPE, rope_parameters={
        "rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4, "original_max_position_embeddings": 64, "factor": 4.0}),
    # Its queries are scaled from 64 tokens on, as Ministral3's are.
    LlamaConfig(**SHAPE, rope_parameters={
        "rope_type": "default", "rope_theta": 100.0, "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 64}),
    # Only its head differs.
    GraniteConfig(**SHAPE, logits_scaling=8.0, attention_multiplier=8 ** -0.5),
    # Only its fourth layer differs, and hardly so before any training.
    SmolLM3Config(**SHAPE | {"num_hidden_layers": 4, "initializer_range": 0.02}),
    Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=100, max_window_layers=1),
], ids=lambda config: config.model_type)
def test_a_family_whose_layers_are_built_otherwise_is_refused_before_anything_is_sampled(
        config, tokenizer, tmp_path):
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="layers are not built like") as error:
        grpo.load_policy(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_bf16_model_is_not_refused_for_what_bf16_rounds():
    model = small_model(tie_word_embeddings=False)
    ids, length = torch.arange(6)[None], torch.tensor([5])
    with torch.no_grad():  # the logits nearly cancel, so most of what is left of them is rounding
        hidden = model.base_model(ids).last_hidden_state[0, -1]
        head = model.lm_head.weight
        head -= torch.outer(head @ hidden, hidden) / hidden.square().sum()
        model.to(torch.bfloat16)
        decoder = engine.sampler.Decoder(model, ids[:, :5], length, 1, 1)
        found = engine.sampler.logits_of(model.lm_head, decoder.step(ids[:, 5], length))
        wanted = model(ids).logits[:, -1].float()
    assert (found - wanted).norm() > 0.1 * wanted.norm()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert engine.sampler.decodable(model) and model.dtype == torch.bfloat16
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_repacked_grid_holds_every_live_row_once_and_no_more_keys_than_there_is_room_for():
    draw = torch.Generator().manual_seed(0)
    cut = 0  # how often lines were cut
    for _ in range(500):
        lines, S, Tp, C = [int(torch.randint(low, high, (), generator=draw))
                           for low, high in ((1, 9), (1, 13), (1, 300), (1, 100))]
        going = torch.rand(lines, S, generator=draw) < torch.rand((), generator=draw)
        if going.any():
            room = lines * (Tp + S * C)
            line, cells = engine.sampler.repack(going, Tp, C, room)
            n, s = len(line), len(cells) // len(line)
            assert len(set(cells.tolist())) == len(cells) == n * s <= going.numel()
            assert n * (Tp + s * C) <= room
            assert set(going.flatten().nonzero()[:, 0].tolist()) <= set(cells.tolist())
            own = line[:, None].expand(n, s)
            assert torch.equal(cells.view(n, s) // S, own), "a row would read another prompt"
            cut += s < S
    assert cut > 100


@pytest.mark.parametrize("temperature, seed", [(0.7, 0), (1.0, 1), (0.0, 2)])
def test_the_sampler_draws_what_a_full_forward_pass_for_every_token_would(
        many_ends, tokenizer, temperature, seed):
    rollouts = draw(many_ends, tokenizer, seed, temperature=temperature)
    rows = completions(rollouts)
    assert rows == sample_slowly(many_ends, tokenizer, PROMPTS, 5, 12, ENDS, temperature, seed)
    assert rollouts.texts == [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def test_the_same_seed_draws_the_same_rollouts_and_leaves_the_global_one_alone(
        many_ends, tokenizer):
    before = torch.get_rng_state()
    a, b, c = (draw(many_ends, tokenizer, seed) for seed in (0, 0, 1))
    assert torch.equal(a.completion_ids, b.completion_ids) and torch.equal(a.logps, b.logps)
    assert completions(a) != completions(c)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_sampled_frequencies_are_those_of_the_softmax(frozen_model, tokenizer, temperature):
    generator = torch.Generator().manual_seed(0)
    rollouts = sample(frozen_model, tokenizer, ["abc"], 4000, 1, temperature, generator=generator)
    logits = frozen_model(rollouts.prompt_ids).logits[0, -1].detach()
    wanted = 4000 * (logits / temperature).softmax(-1)
    found = torch.bincount(rollouts.completion_ids[:, 0], minlength=16)
    often = wanted > 5
    chi_square = ((found - wanted)[often] ** 2 / wanted[often]).sum()
    assert often.sum() > 4 and chi_square < 37.7  # 15 degrees of freedom, p = 0.001
    assert (found[~often] <= 20).all()


@pytest.mark.parametrize("top_p, kept", [
    (0.01, [2]), (0.49, [2]), (0.51, [2, 0]), (0.79, [2, 0]), (0.81, [2, 0, 3]),
    (0.96, [2, 0, 3, 1]), (1.0, [2, 0, 3, 1])])
def test_top_p_keeps_the_smallest_set_that_holds_it_and_reports_the_whole_distributions_logps(
        top_p, kept):
    probs = torch.tensor([0.3, 0.05, 0.5, 0.15])
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    tokens, logps, entropy = grpo.pick(probs.log().expand(10_000, 4), 1.0, top_p, uniform)
    wanted = torch.zeros(4).index_copy(0, torch.tensor(kept), probs[kept] / probs[kept].sum())
    found = torch.bincount(tokens, minlength=4) / 10_000
    torch.testing.assert_close(found, wanted, atol=3e-4, rtol=0)
    torch.testing.assert_close(logps, probs.log()[tokens])
    torch.testing.assert_close(entropy, -(probs * probs.log()).sum().expand(10_000))


def test_no_draw_picks_a_token_of_probability_zero():
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf"), 1.0, float("-inf")]]).expand(3, 5)
    uniform = torch.tensor([0.0, 0.5, 1 - 2 ** -24])
    tokens, logps, entropy = grpo.pick(logits, 1.0, 1.0, uniform)
    assert tokens.tolist() == [1, 3, 3]
    assert logps.isfinite().all() and entropy.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_sampling_leaves_the_model_as_it_was_also_when_it_fails(
        tokenizer, training, fails, monkeypatch):
    model = small_model(attention_dropout=0.5).train(training)

    def state():
        modules = [(name, sorted(vars(m)), m.training) for name, m in model.named_modules()]
        return (modules, model.config.to_dict(), model.config._attn_implementation,
                list(model.state_dict()))

    before = state()
    weights = copy.deepcopy(model.state_dict())
    if fails:
        monkeypatch.setattr(grpo, "pick", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            draw(model, tokenizer)
    else:
        rollouts = draw(model, tokenizer)
        assert not rollouts.logps.requires_grad
        without_dropout = copy.deepcopy(model).eval()
        wanted = full_logps(without_dropout, rollouts).detach()
        torch.testing.assert_close(rollouts.logps, wanted)
    assert state() == before
    assert all(torch.equal(weights[name], w) for name, w in model.state_dict().items())


def test_a_completion_that_would_not_fit_the_context_is_refused(frozen_model, tokenizer):
    sample(frozen_model, tokenizer, ["a" * 250], 1, 6)
    with pytest.raises(ValueError, match="context of 256"):
        sample(frozen_model, tokenizer, ["a" * 251], 1, 6)
    for top_p in (0.0, 1.1):
        with pytest.raises(ValueError, match="top_p"):
            draw(frozen_model, tokenizer, top_p=top_p)


@pytest.mark.parametrize("prompts, options", [
    (["ab", ""], {}), (["ab"], {"top_p": 0.0}), (["ab"], {"temperature": -1.0})])
def test_what_cannot_be_sampled_is_refused(frozen_model, tokenizer, prompts, options):
    with pytest.raises(ValueError, match="empty|top_p"):
        sample(frozen_model, tokenizer, prompts, 2, 4, **options)


def test_while_sampling_one_copy_of_each_prompts_keys_and_values_is_kept_and_nothing_is_recomputed(
        tokenizer, monkeypatch):
    model = small_model()
    model.recompute = True
    real_pass, real_step = grpo.prompt_pass, grpo.Decoder.step
    computed, kept = [], []

    def prompt_pass(*args):
        found = real_pass(*args)
        computed.extend(weakref.ref(t) for t in found[1:])
        return found

    def step(decoder, *args):
        own = {t.untyped_storage().data_ptr() for layer in decoder.prompt for t in layer}
        kept.append([t().untyped_storage().data_ptr() in own for t in computed if t()])
        return real_step(decoder, *args)

    monkeypatch.setattr(engine.sampler, "prompt_pass", prompt_pass)
    monkeypatch.setattr(grpo.Decoder, "step", step)
    monkeypatch.setattr(engine.layers, "recomputed", pytest.fail)
    draw(model, tokenizer)
    assert len(computed) == 4 and len(kept) > 5
    assert all(all(some) for some in kept)


def test_gradients_through_the_shared_prompt_are_those_of_every_completion_with_its_own(model):
    rollouts, advantages = by_hand(model), torch.randn(12, 1)
    found = []
    for logps in (completion_logps(model, rollouts, 0.7), full_logps(model, rollouts, 0.7)):
        (logps * advantages).sum().backward()
        found.append(take_gradients(model.parameters()))
    assert_same_gradients(*found)


def test_scoring_in_chunks_changes_neither_value_nor_gradient(model):
    head = model.get_output_embeddings()
    hidden = torch.randn(11, 32, requires_grad=True)
    ids = torch.arange(11)
    results = []
    for size in (16 * 3, 16 * 11, 1):  # chunks of 3 rows, one chunk, row by row
        logps = grpo.token_logps(head, hidden, ids, 0.7, chunk_elements=size)
        (logps * torch.arange(11)).sum().backward()
        results.append((logps.detach(), take_gradients([hidden, head.weight])))
    wanted = (head(hidden) / 0.7).log_softmax(-1)[range(11), ids].detach()
    for logps, gradients in results:
        torch.testing.assert_close(logps, wanted)
        assert_same_gradients(gradients, results[1][1], 1e-5)


def test_the_logits_of_all_tokens_never_stand_in_memory_together(model):
    head = model.get_output_embeddings()
    hidden = torch.randn(11, 32, requires_grad=True)
    rows = []
    hook = head.register_forward_hook(lambda module, inputs, logits: rows.append(len(logits)))
    grpo.token_logps(head, hidden, torch.arange(11), chunk_elements=16 * 3).sum().backward()
    hook.remove()
    message = "each chunk is computed once for its value and once more for its gradient"
    assert sorted(rows) == [2, 2, 3, 3, 3, 3, 3, 3], message


# ---- advantages ----------------------------------------------------------------------------------
def test_the_advantage_is_the_distance_to_the_groups_mean_in_unbiased_deviations():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.5], [3.0, 3.0, 2.0, -1.0]])
    found = group_advantages(rewards)
    for group, row in zip(rewards.tolist(), found.tolist()):
        mean = sum(group) / 4
        std = math.sqrt(sum((r - mean) ** 2 for r in group) / 3)
        assert row == pytest.approx([(r - mean) / (std + 1e-4) for r in group], abs=1e-6)
    assert torch.equal(group_advantages(rewards, scale="none"),
                       rewards - rewards.mean(1, keepdim=True))
    assert rewards.tolist() == [[1.0, 0.0, 0.0, 1.5], [3.0, 3.0, 2.0, -1.0]]
    with pytest.raises(ValueError, match="scale"):
        group_advantages(rewards, scale="batch")


@pytest.mark.filterwarnings("error")  # torch warns of the deviation of a single number
@pytest.mark.parametrize("scale", ["std", "none"])
@pytest.mark.parametrize("rewards", [
    [[0.9] * 12], [[0.1] * 7, [1.1] * 7], [[5.0], [0.0]], [[1 / 3] * 3, [1e3 / 7] * 3],
    [[0.0] * 4]])
def test_groups_of_one_and_groups_without_spread_get_exact_zeros(rewards, scale):
    for rewards in (torch.tensor(rewards), torch.tensor(rewards).double()):
        assert torch.equal(group_advantages(rewards, scale), torch.zeros_like(rewards))


# ---- the loss ------------------------------------------------------------------------------------
@pytest.mark.parametrize("A, ratio, low, high, slope", [
    (1, 0.5, 0.2, 0.2, 0.5), (1, 1.0, 0.2, 0.2, 1.0), (1, 1.5, 0.2, 0.2, 0.0),
    (-1, 0.5, 0.2, 0.2, 0.0), (-1, 1.0, 0.2, 0.2, -1.0), (-1, 1.5, 0.2, 0.2, -1.5),
    (0, 1.5, 0.2, 0.2, 0.0),
    (1, 1.25, 0.2, 0.28, 1.25), (1, 1.25, 0.28, 0.2, 0.0),
    (-1, 0.75, 0.28, 0.2, -0.75), (-1, 0.75, 0.2, 0.28, 0.0)])
def test_the_clip_stops_the_gradient_only_where_the_ratio_has_gone_the_way_of_the_advantage(
        A, ratio, low, high, slope):
    logps, one = torch.tensor([[math.log(ratio)]], requires_grad=True), torch.ones(1, 1)
    loss, stats = grpo_loss(logps, 0 * one, None, A * one[0], one, clip_low=low, clip_high=high)
    loss.backward()
    # d(-loss)/d(log pi) is ratio * A where the ratio is not clipped.
    assert -logps.grad.item() == pytest.approx(slope, abs=1e-6)
    clipped = A != 0 and slope == 0
    assert stats["clip_fraction"] == float(clipped)
    bound = 1 + high if A > 0 else 1 - low
    counted = bound if clipped else ratio
    assert loss.item() == pytest.approx(-counted * A)


OLD = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1])  # a policy of five actions
ACTIONS = torch.tensor([0] * 4 + [1, 1, 2, 2, 3, 4])  # ten actions, each as often as in OLD
OTHER = torch.tensor([0.1, 0.5, 0.1, 0.2, 0.1])


def divergence(p, q):
    return (p * (p / q).log()).sum()


def test_k3_is_on_average_the_kl_divergence_and_its_gradient_that_of_the_reverse_one():
    theta = OLD.log().requires_grad_()
    logps = theta.log_softmax(-1)[ACTIONS][:, None]
    ref = OTHER.log()[ACTIONS][:, None]
    loss, stats = grpo_loss(logps, logps.detach(), ref, torch.zeros(10), torch.ones(10, 1),
                            beta=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(divergence(OLD, OTHER).item()) == stats["kl"]
    # This bias is known. The samples' distribution is not differentiated, and what is left is the
    # gradient of KL(ref || pi).
    jacobian = torch.autograd.functional.jacobian
    reverse = jacobian(lambda x: divergence(OTHER, x.softmax(-1)), OLD.log())
    forward = jacobian(lambda x: divergence(x.softmax(-1), OTHER), OLD.log())
    torch.testing.assert_close(theta.grad, reverse)
    assert not torch.allclose(theta.grad, forward, atol=0.05)


def test_approx_kl_is_on_average_the_divergence_of_the_new_policy_from_the_old_that_sampled():
    old, new = (p.log()[ACTIONS][:, None] for p in (OLD, OTHER))
    _, stats = grpo_loss(new, old, None, torch.ones(10), torch.ones(10, 1))
    assert stats["approx_kl"] == pytest.approx(divergence(OLD, OTHER).item())


@pytest.mark.parametrize("max_len", [None, 20])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_no_number_behind_a_completions_end_reaches_loss_gradient_or_metrics(
        loss_type, beta, max_len):
    lengths, size = [3, 1, 5, 2], (4, 5)
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None]).float()
    clean = [torch.randn(size) * 0.5 for _ in range(3)]
    advantages = torch.tensor([1.0, -2.0, 0.5, 0.3])
    results = []
    for junk in (0.0, 300.0, float("nan")):
        logps, old, ref = (torch.where(mask > 0, x, junk) for x in clean)
        logps.requires_grad_()
        before = old.clone(), ref.clone(), mask.clone()
        loss, stats = grpo_loss(logps, old, ref, advantages, mask, beta=beta, loss_type=loss_type,
                                max_len=max_len)
        loss.backward()
        for a, b in zip(before, (old, ref, mask)):  # the loss does not change its inputs
            assert torch.equal(a.nan_to_num(7), b.nan_to_num(7))
        results.append((loss.item(), stats, logps.grad))
    wanted = plain_loss(*clean, advantages, lengths, loss_type, max_len, beta=beta).item()
    for loss, stats, gradient in results:
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert stats == pytest.approx(results[0][1])
        torch.testing.assert_close(gradient, results[0][2])
    with pytest.raises(ValueError, match="loss type"):
        grpo_loss(*clean, advantages, mask, loss_type="ppo")


# trl_numbers.py made trl_numbers.json.
TRL = json.loads(Path(__file__).with_name("trl_numbers.json").read_text())


@pytest.mark.parametrize("case", TRL["losses"],
                         ids=lambda case: f"{case['loss_type']}, beta {case['beta']}")
def test_loss_gradient_and_metrics_are_those_of_trl(case):
    names = ("logps", "old_logps", "ref_logps", "mask", "advantages")
    logps, old, ref, mask, advantages = (torch.tensor(TRL[name]) for name in names)
    given = {**TRL, **case}
    options = {name: given[name]
               for name in ("clip_low", "clip_high", "beta", "loss_type", "max_len")}
    loss, stats = grpo_loss(logps.requires_grad_(), old, ref, advantages, mask, **options)
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], abs=1e-6)
    torch.testing.assert_close(logps.grad, torch.tensor(case["gradient"]), atol=1e-6, rtol=0)
    found = [stats["kl"], stats["clip_fraction"]]
    assert found == pytest.approx([case["kl"], case["clip_fraction"]], abs=1e-6)


@pytest.mark.parametrize("scale", ["std", "none"])
def test_advantages_are_those_of_trl(scale):
    found = group_advantages(torch.tensor(TRL["rewards"]), scale)
    wanted = torch.tensor(TRL["group_advantages"][scale])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


# ---- the update ----------------------------------------------------------------------------------
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_size_of_the_micro_batches_changes_neither_gradient_nor_metrics(
        model, loss_type, beta):
    rollouts = by_hand(model)
    reference = small_model(seed=1)
    flat = ADVANTAGES.flatten()
    lengths = [5, 1, 9, 3, 2, 2, 7, 1, 4, 8, 1, 6]
    logps = full_logps(model, rollouts)
    ref = full_logps(reference, rollouts).detach()
    loss = plain_loss(logps, rollouts.logps, ref, flat, lengths, loss_type, 20, 0.2, 0.28, beta)
    loss.backward()
    wanted = take_gradients(model.parameters())
    rollouts_before, advantages_before = copy.deepcopy((rollouts, ADVANTAGES))
    kl = grpo_loss(logps, logps, ref, flat, rollouts.mask, beta=1.0)[1]["kl"] if beta else 0.0
    metrics = []
    # Sizes below, at and above that of a group, some of which divide it.
    for micro_batch in (1, 2, 3, 4, 5, 8, 100):
        optimizer = Recorder(model)
        metrics.append(grpo_update(model, optimizer, rollouts, ADVANTAGES, reference=reference,
                                   micro_batch=micro_batch, beta=beta, loss_type=loss_type,
                                   clip_high=0.28, max_len=20))
        assert len(optimizer.steps) == 1
        assert_same_gradients(optimizer.steps[0], wanted)
        assert metrics[-1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-6)
    first = metrics[0]
    assert [first["loss"], first["kl"]] == pytest.approx([loss.item(), kl], rel=1e-4)
    assert first["clip_fraction"] > 0
    for name, value in vars(rollouts_before).items():  # the update does not change its inputs
        now = getattr(rollouts, name)
        assert torch.equal(value, now) if torch.is_tensor(value) else value == now
    assert torch.equal(advantages_before, ADVANTAGES)


def test_prompts_without_routes_are_not_padded_to_the_length_of_those_with(model, monkeypatch):
    prompt_pass = grpo.prompt_pass
    shapes = []

    def watched(model, ids, lengths):
        shapes.append(ids.shape)
        return prompt_pass(model, ids, lengths)

    monkeypatch.setattr(engine.shared_prompt, "prompt_pass", watched)
    texts = ["abcdefghijklm"[:n] for n in (13, 2, 13, 2, 12, 3, 2)]
    rollouts = grpo.as_rollouts(model, small_tokenizer(), texts, ["b"] * len(texts))
    grpo.sft_update(model, Recorder(model), rollouts, micro_batch=100)
    assert len(shapes) == 2
    # Padded to one length, they would take 7 x 13 tokens.
    assert sum(n * width for n, width in shapes) <= 1.1 * sum(map(len, texts))
    shapes.clear()
    grpo.sft_update(model, Recorder(model), rollouts, micro_batch=2)
    assert max(n for n, _ in shapes) == 2
    assert sum(n for n, _ in shapes) == len(texts)


def test_a_group_without_spread_is_skipped_and_a_batch_of_them_changes_nothing(
        model, monkeypatch):
    rollouts = by_hand(model)
    scored = []

    def watched(model, part, *rest):
        scored.extend(part.lengths)
        return completion_logps(model, part, *rest)

    monkeypatch.setattr(grpo, "completion_logps", watched)
    optimizer = Optimizer(model, lr=0.1, weight_decay=0.1)
    before = copy.deepcopy(model.state_dict())
    metrics = grpo_update(model, optimizer, rollouts, torch.zeros(3, 4), epochs=2)
    assert scored == [] and optimizer.steps == 0 and set(metrics.values()) == {0.0}
    assert all(torch.equal(before[name], w) for name, w in model.state_dict().items())
    # The test of the micro-batches, above, checks the gradient without the flat group.
    grpo_update(model, optimizer, rollouts, ADVANTAGES)
    assert len(scored) == 8 and optimizer.steps == 1


def test_in_the_first_epoch_the_ratio_is_one_and_a_wrong_temperature_is_seen_as_drift(
        many_ends, tokenizer):
    rollouts, advantages = draw(many_ends, tokenizer, temperature=0.7), torch.randn(4, 5)
    metrics = grpo_update(many_ends, Recorder(many_ends), rollouts, advantages, temperature=0.7)
    assert metrics["drift"] < 1e-4
    assert metrics["clip_fraction"] == 0.0
    assert abs(metrics["approx_kl"]) < 1e-8
    wrong = grpo_update(many_ends, Recorder(many_ends), rollouts, advantages, temperature=1.0)
    assert wrong["drift"] > 0.1
    broken = copy.deepcopy(many_ends)
    next(broken.parameters()).data.fill_(math.nan)
    assert grpo_update(broken, Optimizer(broken, 0.1), rollouts, advantages)["drift"] == math.inf
    rollouts.logps[0, 0] = -math.inf
    whole = copy.deepcopy(many_ends)
    assert grpo_update(whole, Optimizer(whole, 0.1), rollouts, advantages)["drift"] == math.inf


def test_every_epoch_is_one_step_against_the_same_old_policy(model):
    twin, rollouts = copy.deepcopy(model), by_hand(model)
    metrics = grpo_update(model, Optimizer(model, lr=1e-2), rollouts, ADVANTAGES, epochs=2)
    optimizer = Optimizer(twin, lr=1e-2)
    once = [grpo_update(twin, optimizer, rollouts, ADVANTAGES) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters()))
    assert metrics == {**once[1], "drift": once[0]["drift"]}
    assert once[0]["loss"] != once[1]["loss"]


def test_a_demonstration_ends_as_the_chat_template_ends_a_turn_whatever_else_ends_a_completion(
        model):
    # An Instruct model names its end of a turn first, then other ends.
    model.generation_config.eos_token_id = [TURN, 9, END]
    for eos in ("<turn>", "<end>"):
        tokenizer = small_tokenizer(chat_template=CHAT, eos_token=eos)
        demos = grpo.as_rollouts(model, tokenizer, ["a", "b"], ["c", "dd"])
        assert [row[-1] for row in completions(demos)] == [TURN, TURN]


@pytest.mark.parametrize("micro_batch", [1, 2, 100])
def test_sft_is_the_mean_negative_log_likelihood_of_the_completions_and_their_end_token(
        model, micro_batch):
    tokenizer, texts = small_tokenizer(chat_template=CHAT), ["bb", "cdefa", "k"]
    rollouts = grpo.as_rollouts(model, tokenizer, PROMPTS[:3], texts)
    rows = completions(rollouts)
    assert rows == [tokenizer(text)["input_ids"] + [TURN] for text in texts]
    total = 0
    for prompt, completion in zip(grpo.encode_prompts(tokenizer, PROMPTS), rows):
        ids = torch.tensor([prompt + completion])
        labels = torch.tensor([[-100] * len(prompt) + completion])
        total = total + model(ids, labels=labels).loss * len(completion)
    (total / 11).backward()
    wanted, optimizer = take_gradients(model.parameters()), Recorder(model)
    loss, _ = grpo.sft_update(model, optimizer, rollouts, micro_batch)
    assert loss == pytest.approx(total.item() / 11, rel=1e-5)
    assert_same_gradients(optimizer.steps[0], wanted)
    assert completions(grpo.as_rollouts(model, small_tokenizer(), ["a"], ["b"])) == [[4, END]]


def test_every_attention_call_is_one_that_a_gpus_fast_kernels_take(model, monkeypatch):
    attention = torch.nn.functional.scaled_dot_product_attention
    masks = []

    def watched(query, key, value, attn_mask=None, enable_gqa=False, **more):
        masks.append(attn_mask)
        if attn_mask is not None:
            # Otherwise torch takes the kernel that writes all scores to memory.
            assert not enable_gqa
            # Otherwise torch copies the mask in each layer.
            strides = attn_mask.stride()[:-1]
            assert attn_mask.dtype == torch.bool or all(step % 8 == 0 for step in strides)
        return attention(query, key, value, attn_mask=attn_mask, enable_gqa=enable_gqa, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    rollouts = by_hand(model)
    completion_logps(model, rollouts)
    assert sum(m is not None for m in masks) == 3 and not torch.backends.cuda.cudnn_sdp_enabled()
    *_, key, value = grpo.prompt_pass(model, rollouts.prompt_ids, rollouts.prompt_lengths)
    assert key.untyped_storage().nbytes() == key.nbytes
    assert value.untyped_storage().nbytes() == value.nbytes


def test_recomputing_the_mlps_keeps_nothing_of_their_insides_and_changes_no_bit():
    model, rollouts = small_model(intermediate_size=192), by_hand(small_model())

    def score(recompute):
        model.recompute = recompute
        kept = []  # shapes of what is kept for the backward pass

        def keep(t):
            kept.append(tuple(t.shape))
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            logps = completion_logps(model, rollouts)
        (logps * torch.arange(logps.numel()).view(logps.shape)).sum().backward()
        # The insides of an MLP have the shape [N, 192]. [32, 192] is a weight.
        insides = [shape for shape in kept if shape[-1:] == (192,) and shape[0] != 32]
        return [logps.detach(), *take_gradients(model.parameters())], insides

    plain, inside = score(False)
    again, nothing = score(True)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert len(inside) >= 4 * 2 and not nothing


# ---- the optimizer -------------------------------------------------------------------------------
def test_in_bf16_the_masters_take_the_small_steps_that_the_weights_would_round_away():
    model = small_model().bfloat16()
    plain = copy.deepcopy(model)
    optimizer = Optimizer(model, lr=1e-6)
    rounded = torch.optim.AdamW(plain.parameters(), lr=1e-6, weight_decay=0.0)
    start = [m.clone() for m in optimizer.masters]

    def moved(now):
        changed = sum((a.float() != b).sum().item() for a, b in zip(now, start))
        return changed / sum(b.numel() for b in start)

    for _ in range(3):
        sum(p.sum() for p in [*model.parameters(), *plain.parameters()]).backward()
        optimizer.step()
        rounded.step()
        rounded.zero_grad()
    assert moved(optimizer.masters) > 0.99
    assert moved(plain.parameters()) < 0.05 and moved(model.parameters()) < 0.05
    for master, first in zip(optimizer.masters, start):
        torch.testing.assert_close(first - master, torch.full_like(first, 3e-6), atol=5e-7, rtol=0)
    for p, m in zip(model.parameters(), optimizer.masters):
        assert p.dtype == torch.bfloat16 and p.grad is None and torch.equal(p, m.bfloat16())


def test_in_bf16_the_gradients_of_micro_batches_are_added_up_in_fp32():
    model = small_model().bfloat16()
    small = 2.0 ** -10  # 1 + small is 1 in bf16
    optimizers = []
    for _ in ("SFT", "RL"):  # the newest optimizer takes all gradients
        optimizers.append(Optimizer(model, lr=1e-6))
        for value in [1.0] + [small] * 300:
            sum(value * p.sum() for p in model.parameters()).backward()
            # There is no copy of all gradients in bf16.
            assert all(p.grad is None for p in model.parameters())
    for optimizer in optimizers:
        for m in optimizer.masters:
            assert torch.equal(m.grad, torch.full_like(m, 1 + 300 * small))
    optimizer.skip()
    assert all(m.grad is None for m in optimizer.masters)
    gathered, weight = [], model.model.norm.weight
    weight.register_post_accumulate_grad_hook(lambda p: gathered.append(p.grad is None))
    grpo_update(model, optimizer, by_hand(small_model()), torch.randn(3, 4), micro_batch=2)
    # A prompt has two parts, and a backward pass of its own. None leaves a gradient in bf16.
    assert gathered == [True] * 3 * (2 + 1)


def test_gradients_are_clipped_by_their_norm_and_the_rate_warms_up_linearly(model):
    optimizer = Optimizer(model, lr=1e-3, warmup_steps=4, max_grad_norm=1.0)
    first = model.model.norm.weight
    for rate in (0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3):
        before = first.detach().clone()
        for p in model.parameters():
            p.grad = torch.full_like(p, 2.0)
        count = sum(p.numel() for p in model.parameters())
        norm = optimizer.step()  # the norm before clipping
        assert norm == pytest.approx(2 * math.sqrt(count), rel=1e-4)
        change = before - first
        torch.testing.assert_close(change, torch.full_like(first, rate), rtol=1e-2, atol=0)
        assert all(p.grad is None for p in model.parameters())  # the next step begins with none
    average = next(iter(optimizer.adam.state.values()))["exp_avg"]
    wanted = torch.full_like(average, (1 - 0.9 ** 5) / math.sqrt(count))
    torch.testing.assert_close(average, wanted, rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_resumed_from_a_saved_state_continues_bit_for_bit(dtype):
    def train(model, optimizer, steps):
        for step in steps:
            draw = torch.Generator().manual_seed(step)
            slopes = [torch.randn(p.shape, generator=draw).to(dtype) for p in model.parameters()]
            sum((slope * p).sum() for slope, p in zip(slopes, model.parameters())).backward()
            optimizer.step()

    model = small_model().to(dtype)
    optimizer, file = Optimizer(model, lr=1e-3, warmup_steps=5), io.BytesIO()
    train(model, optimizer, range(3))
    torch.save(optimizer.state_dict(), file)
    train(model, optimizer, range(3, 6))
    resumed = small_model(seed=1).to(dtype)
    again = Optimizer(resumed, lr=1e-3, warmup_steps=5)
    file.seek(0)
    again.load_state_dict(torch.load(file))
    train(resumed, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(optimizer.masters, again.masters))


# ---- the policy ----------------------------------------------------------------------------------
def test_a_policy_is_found_by_folder_run_short_name_or_hub_id(tmp_path, model):
    run = tmp_path / "run"
    run.mkdir()
    model.save_pretrained(run / "model")
    for name, pad in ((run, None), (run / "model", "<no row of the embedding>")):
        small_tokenizer(pad_token=pad).save_pretrained(run / "model")
        loaded, tokenizer = grpo.load_policy(str(name), dtype=torch.float32)
        assert not loaded.training
        assert tokenizer.pad_token_id == tokenizer.eos_token_id == END
        saved = model.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(saved, loaded.state_dict().values()))
    assert loaded.dtype == grpo.load_policy(name, "cpu:0")[0].dtype == torch.float32
    assert engine.policy.resolve_model("Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"
    assert engine.policy.resolve_model("some/where") == "some/where"


def test_a_student_is_tiny_if_it_ships_with_the_project_or_descends_from_one_that_does(tmp_path):
    students = {"first": "tiny-ads", "second": str(tmp_path / "first"), "large": "Qwen2.5-0.5B",
                "odd": 3, "own": str(tmp_path / "own")}
    for run, student in students.items():
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.json").write_text(json.dumps({"model": student}))
    moved = {"model": "gone", "run": {"tiny": True}}
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "config.json").write_text(json.dumps(moved))
    (tmp_path / "tiny-llama").mkdir()
    (tmp_path / "tiny-llama" / "config.json").write_text("{}")
    wanted = {"tiny": True, "tiny-ads": True, "first": True, "second": True, "large": False,
              "odd": False, "own": False, "tiny-llama": False, "none": False, "moved": True}
    found = {}
    for name in wanted:
        where = name if name in engine.policy.TINY else str(tmp_path / name)
        found[name] = engine.policy.is_tiny(where)
    assert found == wanted


def test_the_model_folder_of_a_run_stands_for_the_run(tmp_path, monkeypatch):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"model": "tiny", "task": "ads"}))
    (run / "model" / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert not engine.policy.is_tiny(f"{run}/model")  # a folder of that name, and no run
    (run / "before.json").write_text("{}")
    assert engine.policy.is_tiny(f"{run}/model") and engine.policy.is_tiny(f"{run}/model/")
    (tmp_path / "link").symlink_to(run / "model")
    monkeypatch.chdir(run / "model")
    assert engine.policy.is_tiny(str(tmp_path / "link")) and engine.policy.is_tiny(".")
    assert engine.run.read_run(f"{run}/model") == engine.run.read_run(str(run)) != {}
    with pytest.raises(ValueError, match=f"not finished.*--resume {run}$"):
        engine.policy.resolve_model(f"{run}/model")


def test_a_run_that_is_not_finished_is_not_taken_for_a_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "before.json").write_text("{}")
    with pytest.raises(ValueError, match="not finished.*--resume"):
        engine.policy.resolve_model(str(tmp_path))


@pytest.mark.parametrize("name", [
    "Quen2.5-0.5B", "./nowhere", "/no/such/folder", "a/b/c", "no-such-owner-at-all/no-such-model"])
def test_a_policy_that_cannot_be_found_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=f"^model {name}: ") as error:
        grpo.load_policy(name)
    assert "\n" not in str(error.value)


def test_a_kl_term_moves_the_policy_and_not_the_reference(model):
    reference = small_model().requires_grad_(False)
    grpo_update(model, Optimizer(model, lr=1e-2), by_hand(model), ADVANTAGES, reference=reference,
                beta=0.1)
    untouched = small_model().parameters()
    assert all(torch.equal(a, b) for a, b in zip(reference.parameters(), untouched))
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters()))


def test_tags_that_a_tokenizer_holds_as_special_tokens_are_read_as_text():
    """The tokenizers of Qwen3 and others hold <think> as a special token. If it were skipped like
    an end token, the reward would always be 0."""
    tokenizer = small_tokenizer()
    special = ["<turn>", "<think>", "</think>", "<answer>", "</answer>", "<tool>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    text = "<think>ab</think><answer>c</answer>"
    ids = tokenizer("<tool>" + text + "<turn><end>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "abc", "this is what would be lost"
    assert engine.policy.decode_completions(tokenizer, [ids, []]) == [text, ""]
    plain = small_tokenizer()
    ids = plain("ab<turn><end>")["input_ids"]
    assert engine.policy.decode_completions(plain, [ids]) == ["ab"]


def test_tags_that_are_special_to_decode_but_not_listed_as_such_are_read_as_text():
    from tokenizers import AddedToken
    tokenizer = small_tokenizer()
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    tokenizer.add_tokens([AddedToken(tag, special=True) for tag in tags])
    assert not set(tokenizer.convert_tokens_to_ids(tags)) & set(tokenizer.all_special_ids)
    text = "<think>ab</think><answer>c</answer>"
    ids = tokenizer(text + "<end>")["input_ids"]
    assert engine.policy.decode_completions(tokenizer, [ids]) == [text]


def test_a_part_of_a_tag_and_two_tags_in_one_token_are_tags_too():
    tags = ["<think>", "</think>\n", "\n<answer>", "</", ">", "answer", "</think>\n<answer>"]
    others = ["</s>", "<s>", "<|im_end|>", "", " ", None, "<pad>"]
    assert all(map(engine.policy.is_tag, tags))
    assert not any(map(engine.policy.is_tag, others))
