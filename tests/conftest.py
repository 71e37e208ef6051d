import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may download
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # same bytes are promised on a CPU only
sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

import pytest  # noqa: E402
import torch  # noqa: E402

from helpers import small_model, small_tokenizer  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def frozen_model():
    """One random-weight policy for the tests that only read it."""
    return small_model()


@pytest.fixture
def model():
    return small_model()


@pytest.fixture(scope="session")
def tokenizer():
    return small_tokenizer()
