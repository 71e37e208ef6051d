"""One real step at the full Qwen2.5-0.5B shape (random weights, the real tokenizer), and its peak
memory:

    python -m tests.full_shape [--device cpu] [--group-size 4] ...

It needs ../shared/data (GSM8K and the tokenizer).
"""
import resource
import sys
import tempfile
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
import train  # noqa: E402
from test_real_input import SHARED, hub_folder, six_billion_bank  # noqa: E402

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        student = hub_folder(folder / "Qwen2.5-0.5B", hidden_size=896, intermediate_size=4864,
                             num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2)
        bank = six_billion_bank(folder / "bank.jsonl", 60)
        train.main(["--model", str(student), "--task", "gsm8k", "--data", str(SHARED / "gsm8k"),
                    "--bank", str(bank), "--routes", "2", "--steps", "1",
                    "--prompts-per-step", "1", "--group-size", "4", "--max-new-tokens", "24",
                    "--eval-limit", "1", "--eval-every", "0", "--beta", "0.001",
                    "--out", str(folder / "run"), *sys.argv[1:]])
        metrics = (folder / "run" / "metrics.jsonl").read_text()
        timing = (folder / "run" / "timing.jsonl").read_text()
        print(metrics + timing)
        peak = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20:.2f} GiB"
        if torch.cuda.is_available():
            peak += f", GPU {torch.cuda.max_memory_allocated() / 2 ** 30:.2f} GiB"
        print(f"peak memory: {peak}")
