"""One short run of bridges/trl_realm.py for test_bridge_trl.py, alone or as one process of several.

    python tests/trl_run.py LOG [--die_at STEP] + flags of bridges/trl_realm.py

Completions are scripted, not sampled: what row i of a generation writes is a function of its
prompt, of i and of the step, whichever process holds it. Each process writes LOG-RANK.jsonl, a
line for each generation: the step, its own prompts and completions, and everybody's rewards.
"""
import json
import os
import random
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bridges import trl_realm  # noqa: E402

torch.set_num_threads(1)


def scripted(tokenizer, prompt_ids, row, step):
    """The ids of a completion in the student's format, with uneven lengths and arbitrary scores."""
    rng = random.Random(f"{prompt_ids} {row} {step}")
    scores = ", ".join(rng.choice("01") for _ in range(rng.choice([2, 2, 2, 3])))
    sums = " ".join(f"sum {rng.randint(1, 99)};" for _ in range(rng.randint(1, 5)))
    answer = rng.randint(1, 99)
    text = f"<think> {sums}</think>\n<answer> {answer}</answer>\n<scores> {scores}</scores>"
    return tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]


class Scripted(trl_realm.RealmTrainer):
    log_file, die_at = None, None

    def _generate_single_turn(self, prompt_ids, *others):
        first = self.accelerator.process_index * len(prompt_ids)
        return [scripted(self.processing_class, ids, first + i, self.state.global_step)
                for i, ids in enumerate(prompt_ids)], None

    def _calculate_rewards(self, inputs, prompts, completions, *others):
        rewards = super()._calculate_rewards(inputs, prompts, completions, *others)
        line = {"step": self.state.global_step, "prompts": prompts, "completions": completions,
                "rewards": rewards[:, 0].tolist()}
        with open(f"{self.log_file}-{self.accelerator.process_index}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        if self.die_at == self.state.global_step:
            os._exit(9)  # as a kill would: nothing is saved, nothing is closed
        return rewards


if __name__ == "__main__":
    Scripted.log_file = sys.argv.pop(1)
    if "--die_at" in sys.argv:
        where = sys.argv.index("--die_at")
        Scripted.die_at = int(sys.argv.pop(where + 1))
        del sys.argv[where]
    trl_realm.RealmTrainer = Scripted
    trl_realm.main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A process of gloo sometimes aborts while Python closes it ("terminate called without an active
    # exception": 6 of 25 runs of a script of ten lines that only calls DDP). All is done by now.
    os._exit(0)
