"""The README stays short, plain and true."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")),
         *sorted((ROOT / "results").glob("*.md"))]


def prose(text):
    """Sentences outside of code, tables and headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "!", "<"))]
    text = re.sub(r"\]\([^)]*\)", "]", "\n".join(lines))
    return [s for s in re.split(r"(?<=[.!?:])\s+", text) if len(s.split()) > 1]


def test_the_readme_is_short_and_its_sentences_are():
    sentences = prose(README)
    assert README.count("\n") <= 150 and len(README.split()) <= 1500
    assert sum(len(s.split()) for s in sentences) / len(sentences) < 16


def test_the_picture_and_the_two_commands_are_on_the_first_screen():
    lines = README.splitlines()
    assert next(i for i, line in enumerate(lines) if line.startswith("![")) < 15
    assert next(i for i, line in enumerate(lines) if "train.py" in line and "venv" in line) < 35


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path)
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.*)$", file.read_text())
            slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, target


def test_the_table_of_files_counts_their_lines():
    for name, lines in re.findall(r"\| `(\w+\.py)` \| (\d+) \|", README):
        found = sum(bool(line.strip()) for line in (ROOT / name).read_text().splitlines())
        assert abs(int(lines) - found) <= 0.05 * found, (name, found)


def test_the_readme_names_every_method():
    import train
    assert set(re.findall(r"\| `--method ([\w-]+)` \|", README)) == set(train.METHODS)
