"""Every claim has a page with its derivation, in one order, whose formulas can be set."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path

import pytest

import linear_theory as lt
from paper_reproduction import mathml, registry

DOCS = Path(__file__).parent.parent / "docs"
ROOMS = {"theorems": registry.PAPER, "beyond": registry.BEYOND}
CLAIMS = [(entry.claim, room) for room, chapter in ROOMS.items() for entry in chapter.discover()]
PAGES = sorted(page for room in ROOMS for page in (DOCS / room).glob("*.md") if page.stem != "index")
SECTIONS = ["Derivation", "Check it", "What it does not say", "The law as code"]
CODE = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
DERIVATIONS = [page for page in PAGES if page.stem != "networks"]
of_claims = pytest.mark.parametrize(("claim", "room"), CLAIMS, ids=[claim.name for claim, _ in CLAIMS])
of_pages = pytest.mark.parametrize("page", DERIVATIONS, ids=lambda page: page.stem)


@of_claims
def test_a_claim_has_a_page_under_its_title_with_its_directive(claim, room):
    text = (DOCS / room / f"{claim.name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {claim.title}\n\n```{{claim}} {claim.name}\n```\n")


@of_claims
def test_the_page_says_where_each_function_comes_in(claim, room):
    text = (DOCS / room / f"{claim.name}.md").read_text(encoding="utf-8")
    code = [name for name in claim.functions if callable(attrgetter(name)(lt))]
    missing = [name for name in code if not re.search(rf"\{{(func|class)\}}`~?linear_theory\.{name}`", text)]
    assert missing == []


@of_pages
def test_sections_come_in_one_order(page):
    assert re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE) == SECTIONS


@of_pages
def test_a_page_checks_itself_before_the_readers_eyes(page):
    """The output is held against the block's by tests/test_pages.py."""
    shown = re.findall(
        r"^```text\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    assert shown
    assert "FILL" not in "".join(shown)


@of_pages
def test_a_page_uses_another_route_than_the_package(page):
    before, _ = page.read_text(encoding="utf-8").split(f"## {SECTIONS[-1]}\n")
    blocks = CODE.findall(before)
    assert blocks
    assert "linear_theory" not in "".join(blocks)


@of_pages
def test_a_page_ends_with_its_law_that_agrees_and_a_wrong_one_that_is_refused(page):
    _, last = page.read_text(encoding="utf-8").split(f"## {SECTIONS[-1]}\n")
    (code,) = CODE.findall(last)
    assert "testing.check(" in code
    assert "testing.refutes(" in code
    (shown,) = re.findall(r"^```text\n(.*?)^```$", last, flags=re.MULTILINE | re.DOTALL)
    assert re.search(r"^\w+ agrees with .* on \d+ problems, at worst", shown, flags=re.MULTILINE)
    assert "refused: True" in shown or "refused on tall rows: True" in shown
    assert "False" not in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_formula_can_be_set(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    displayed = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    inline = re.findall(r"\$([^$]+)\$", re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL))
    for latex in displayed + inline:
        mathml.formula(latex.strip())
