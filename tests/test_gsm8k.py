import http.client
import io

import pytest

import data
from tasks import gsm8k


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """The addresses that are asked for; an exception in `failures` is raised instead of a reply."""
    asked, failures = [], []

    def urlopen(address, timeout):
        asked.append(address)
        if failures:
            raise failures.pop()
        return io.BytesIO(b'{"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\\n#### 5"}\n')
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gsm8k.urllib.request, "urlopen", urlopen)
    return asked, failures, tmp_path / "realm" / "gsm8k"


def test_a_file_is_fetched_once_and_read_from_the_cache_after(fetched):
    asked, _, cache = fetched
    for _ in range(2):
        problems = data.load_problems("gsm8k", "test")
        assert [(p.question, p.answer) for p in problems] == [("2 + 3?", "5")]
    assert asked == [gsm8k.URL + "test.jsonl"]
    assert [path.name for path in cache.iterdir()] == ["test.jsonl"]


@pytest.mark.parametrize("failure", [OSError("no network"), http.client.IncompleteRead(b"{")])
def test_a_failed_download_is_one_line_that_names_the_flag_and_leaves_no_file(fetched, failure):
    asked, failures, cache = fetched
    failures.append(failure)
    with pytest.raises(ValueError, match="--data DIR") as error:
        gsm8k.gsm8k_file("train.jsonl")
    assert "\n" not in str(error.value) and not list(cache.iterdir())
    assert gsm8k.gsm8k_file("train.jsonl").is_file()  # and the next attempt asks again
    assert len(asked) == 2
