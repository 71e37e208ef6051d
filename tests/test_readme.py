"""The README stays short, plain and true."""
import importlib
import re
import shlex
from pathlib import Path

import pytest

from engine.flags import given_flags
from results import questions, sweep, variants

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")),
         *sorted((ROOT / "results").glob("*.md")), *sorted((ROOT / "bridges").glob("*.md"))]
COMMAND = re.compile(r"python (train|eval|data)\.py([^`\n#|;&>)]*)")
STUDY = re.compile(r"python -m results\.(questions|sweep|variants) ([A-Za-z0-9-]+)")
STUDIES = {"questions": questions.QUESTIONS, "sweep": [*sweep.SWEEPS, "NAME"],
           "variants": variants.VARIANTS}


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


def in_full(page):
    """The text of a page. Commands that go over several lines are put on one."""
    return page.read_text().replace("\\\n", " ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_flags_of_every_command_on_a_page_exist(page):
    for name, rest in COMMAND.findall(in_full(page)):
        if page.name == "4-reward-term.md":
            rest = rest.replace("--detail-weight 1", "")  # the reader of this lab adds it
        rest = re.sub(r"\b(FLAGS|METHOD)\b", "", re.sub(r"\$[a-z]\b", "7", rest))
        words = ["7" if word.isupper() else word for word in shlex.split(rest)]  # SEED, RUN
        command = importlib.import_module(name)
        given_flags(command.Config, command.__doc__, words)  # exits on an unknown flag or value
    for name, study in STUDY.findall(in_full(page)):
        assert study in STUDIES[name]


def test_the_table_of_files_counts_their_lines():
    for name, lines in re.findall(r"\| `(\w+\.py)` \| (\d+) \|", README):
        found = sum(bool(line.strip()) for line in (ROOT / name).read_text().splitlines())
        assert abs(int(lines) - found) <= 0.05 * found, (name, found)


def test_the_readme_names_every_method():
    import train
    assert set(re.findall(r"\| `--method ([\w-]+)` \|", README)) == set(train.METHODS)
