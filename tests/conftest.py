import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may download
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # same bytes are promised on a CPU only
sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

import pytest  # noqa: E402
import torch  # noqa: E402

import engine.run  # noqa: E402
from engine.report import draw_curves  # noqa: E402
from helpers import small_model, small_tokenizer  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_curves():
    """Drawing takes half of the time of a short run, so the runs of the tests draw nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.run, "draw_curves", lambda history, path: None)
        yield


@pytest.fixture
def curves(monkeypatch):
    """For a test whose run shall draw its curves all the same."""
    monkeypatch.setattr(engine.run, "draw_curves", draw_curves)


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
