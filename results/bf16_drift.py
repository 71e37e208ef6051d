"""How far are sampler and scorer apart in bf16? With logits in fp32, and rounded to bf16.

    python -m tests.real_model runs/smollm2
    python -m results.bf16_drift runs/smollm2

In exact arithmetic both give a token the same probability. In bf16 they do not: their sums are
rounded at other places. The table is of the first update on tokens that the model has just sampled:

    mean drift   mean of |log pi(scorer) - log pi(sampler)| over the tokens
    max drift    the largest of them: the metric `drift` of a run
    outside      share of tokens whose ratio lies outside 1 +- 0.2
    approx_kl    the metric of that name, which would be 0
"""
from unittest import mock

import torch

import engine.layers
import grpo
from realm import mrpv_prompt
from results.command import sampling_flags, sampling_parser
from results.formats import DATA, questions


def rounded(head, hidden):
    """Logits as the model's own head makes them: rounded to bf16."""
    return head(hidden).float()


def measure(model, tokenizer, prompts, given, logits_of):
    """One line of the table -> dict. Both sides make their logits by logits_of(head, hidden)."""
    generator = torch.Generator(model.device).manual_seed(given.seed)
    with mock.patch.object(grpo, "logits_of", logits_of), \
            mock.patch.object(engine.layers, "logits_of", logits_of), torch.no_grad():
        rollouts = grpo.sample(model, tokenizer, prompts, given.samples, given.max_new_tokens,
                               generator=generator)
        gap = grpo.completion_logps(model, rollouts) - rollouts.logps
    gap = gap[rollouts.mask > 0]
    ratio = gap.exp()
    return {"tokens": len(gap), "mean drift": gap.abs().mean().item(),
            "max drift": gap.abs().max().item(),
            "outside": ((ratio - 1).abs() > 0.2).float().mean().item(),
            "approx_kl": (ratio - 1 - gap).mean().item()}


def main(argv=None):
    parser = sampling_parser(__doc__, DATA, questions=4, samples=4, max_new_tokens=64)
    given = sampling_flags(parser, argv)
    model, tokenizer = grpo.load_policy(given.model, given.device, torch.bfloat16)
    prompts = [mrpv_prompt(q, routes) for q, _, routes in questions(given.data, given.questions)]
    card = torch.cuda.get_device_name() if model.device.type == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}, {given.model} in bf16, seed {given.seed}: "
          f"{given.questions} x {given.samples} completions, {given.max_new_tokens} tokens at most")
    print("| logits | tokens | mean drift | max drift | outside 20% | approx_kl |")
    print("|---|---|---|---|---|---|")
    for name, logits_of in (("rounded to bf16", rounded), ("in fp32", engine.layers.logits_of)):
        found = measure(model, tokenizer, prompts, given, logits_of)
        print(f"| {name} | {found['tokens']} | {found['mean drift']:.4f} | "
              f"{found['max drift']:.2f} | {found['outside']:.2%} | {found['approx_kl']:.5f} |",
              flush=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"bf16_drift: {error}") from None
