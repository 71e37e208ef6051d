"""The labs: commands that take a moment are run, and links and names are right."""
import re

import pytest

from tests.labs import LABS, blocks_of, run_lab

PAGES = sorted(LABS.glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_quick_commands_of_a_lab_print_what_it_says(path):
    assert run_lab(path, {""}, say=lambda text: None) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_lab_leads_somewhere(path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_lab_has_something_to_run_and_every_block_is_marked(path):
    blocks = blocks_of(path)
    assert blocks and all(kind in ("", "slow", "long") for kind, _, _ in blocks)
    assert path.read_text().count("<details>") == path.read_text().count("</details>")
