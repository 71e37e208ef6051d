"""Write trl_numbers.json, what TRL's own code makes of fixed inputs:

    python tests/trl_numbers.py         needs trl==1.16 and datasets

The losses come out of GRPOTrainer._compute_loss, whose one call of the model is answered with the
logps below. The advantages come out of GRPOTrainer._generate_and_score_completions, for which a
real tiny model generates and a reward function pays by list.
"""
import itertools
import json
import sys
import tempfile
from pathlib import Path

import torch
import trl
from datasets import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers import small_model, small_tokenizer  # noqa: E402

LENGTHS, WIDTH, MAX_LEN = [7, 1, 4, 6, 2, 5], 7, 9  # uneven completions; one of a single token
REWARDS = [
    [1.0, 0.0, 0.0, 1.5],
    [0.25, 0.5, 0.75, 1.0],
    [0.0, 0.0, 0.0, 1.0],
    [2.0, -1.0, 2.0, -1.0],
    [1.0, 1.0, 1.0, 1.0]]


def trainer(folder, reward, **options):
    config = trl.GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, report_to=[],
        per_device_train_batch_size=20, num_generations=4, gradient_accumulation_steps=1,
        steps_per_generation=1, max_completion_length=MAX_LEN, use_bias_correction_kl=False,
        **{"beta": 0.0, **options})
    data = Dataset.from_dict({"prompt": [c * 3 for c in "abcdefghij"]})
    small_model().save_pretrained(folder)  # from a folder, for TRL loads its reference from there
    return trl.GRPOTrainer(model=folder, processing_class=small_tokenizer(), reward_funcs=reward,
                           args=config, train_dataset=data)


def main():
    assert trl.__version__.startswith("1.16"), trl.__version__
    torch.manual_seed(0)
    size = (len(LENGTHS), WIDTH)
    logps = -3 * torch.rand(size)
    # The ratios lie on both sides of both clips.
    old = logps + 0.4 * torch.randn(size)
    ref = logps + 0.5 * torch.randn(size)
    mask = (torch.arange(WIDTH) < torch.tensor(LENGTHS)[:, None]).float()
    advantages = torch.tensor([1.2, -0.7, 0.3, -1.5, 0.9, 0.0])
    numbers = {
        "trl": trl.__version__, "max_len": MAX_LEN, "clip_low": 0.2, "clip_high": 0.28,
        "logps": logps.tolist(), "old_logps": old.tolist(), "ref_logps": ref.tolist(),
        "mask": mask.tolist(), "advantages": advantages.tolist(), "losses": [],
        "rewards": REWARDS, "group_advantages": {}}

    def pay(completions, **_):
        return [r for row in REWARDS for r in row]

    with tempfile.TemporaryDirectory() as folder:
        for loss_type, beta in itertools.product(("grpo", "dapo", "dr_grpo"), (0.0, 0.1)):
            grpo = trainer(folder, pay, loss_type=loss_type, beta=beta, epsilon=0.2,
                           epsilon_high=0.28)
            grpo.model.train()
            grpo.current_gradient_accumulation_steps = 1  # Trainer's loop sets it, but does not run
            leaf = logps.clone().requires_grad_()
            answer = leaf, torch.zeros(size), None
            grpo._get_per_token_logps_and_entropies = lambda *_, **__: answer
            loss = grpo._compute_loss(grpo.model, {
                "prompt_ids": torch.ones(len(LENGTHS), 2).long(),
                "prompt_mask": torch.ones(len(LENGTHS), 2).long(),
                "completion_ids": torch.ones(size).long(), "completion_mask": mask,
                "advantages": advantages, "old_per_token_logps": old,
                "ref_per_token_logps": ref, "num_items_in_batch": mask.sum()})
            loss.backward()
            metrics = grpo._metrics["train"]
            kl = metrics["kl"][-1] if "kl" in metrics else 0.0
            numbers["losses"].append({
                "loss_type": loss_type, "beta": beta, "loss": loss.item(),
                "gradient": leaf.grad.tolist(), "kl": kl,
                "clip_fraction": metrics["clip_ratio/region_mean"][-1]})
        for scale, trl_scale in (("std", "group"), ("none", "none")):
            grpo = trainer(folder, pay, scale_rewards=trl_scale)
            inputs = [{"prompt": c * 3} for c in "abcde" for _ in range(4)]
            found = grpo._generate_and_score_completions(inputs)["advantages"]
            numbers["group_advantages"][scale] = found.view(-1, 4).tolist()
    Path(__file__).with_suffix(".json").write_text(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
