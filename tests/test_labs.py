"""The labs: commands that take a moment are run, and links and names are right."""
import re

import pytest

from docs.labs.make_sick_runs import RUNS
from docs.symptoms import SYMPTOMS, read
from tests.labs import LABS, blocks_of, run_lab

PAGES = sorted(LABS.glob("*.md"))
DOCS = LABS.parent


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_quick_commands_of_a_lab_print_what_it_says(path):
    assert run_lab(path, {""}, say=lambda text: None) == []


@pytest.mark.parametrize("path", [*PAGES, DOCS / "lessons.md", DOCS / "symptoms.md"],
                         ids=lambda path: path.name)
def test_every_link_of_a_page_leads_somewhere(path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_lab_has_something_to_run_and_every_block_is_marked(path):
    blocks = blocks_of(path)
    assert blocks and all(kind in ("", "slow", "long") for kind, _, _ in blocks)
    assert path.read_text().count("<details>") == path.read_text().count("</details>")


@pytest.mark.parametrize("symptom", SYMPTOMS, ids=lambda symptom: symptom.name)
def test_every_symptom_has_its_runs_a_small_figure_and_words(symptom):
    figure = DOCS / "symptoms" / f"{symptom.name}.png"
    assert figure.stat().st_size < 60_000
    assert f"symptoms/{symptom.name}.png" in (DOCS / "symptoms.md").read_text()
    for name in (symptom.sick, symptom.healthy):
        assert name in RUNS and all(field in read(name)[0] for field in symptom.fields)


def test_what_lab_6_says_of_its_runs_is_in_them():
    A, B, C, D, E = (read(name) for name in "ABCDE")
    assert [m["step"] for m in A if m["drift"] < 1e-3] == [0, 10, 20, 30, 40, 50]
    assert [m["step"] for m in A if m["loss"] == 0] == [0, 10, 20, 30, 40, 50]
    assert B[0]["truncated"] == 1 and B[0]["length"] == 20 and B[0]["format"] == 0
    assert C[0]["format"] > 0.9 and all(m["live"] == 0 for m in C[7:])
    assert D[0]["answer"] > 0.97 and D[0]["eval_alone"] < 0.6 and D[-1]["eval_alone"] < 0.45
    assert E[0]["drift"] > 10 and E[0]["loss"] != 0
