"""Every page of the site keeps its word: its Python blocks run as they stand, and print what is shown below them.

The blocks of one page share a namespace, as a reader's session would. Blocks marked ``<!-- run: name -->`` need more
than one process and have tests of their own; a page marked ``<!-- needs: package -->`` is skipped without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import warnings
from pathlib import Path

import matplotlib
import pytest

from paper_reproduction import registry

ROOT = Path(__file__).parent.parent
STATEMENT = re.compile(r"\(\d+\)|(?:Proposition|Theorem|Lemma|Remark) [F\d.]+\d")
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?P<mark><!-- run: \w+ -->\n)?^```python\n(?P<code>.*?)^```$(?:\n+^```text\n(?P<shown>.*?)^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "project")  # those are copies


def blocks(text: str) -> list[tuple[str, str | None]]:
    """The code of each block that is to run here, and what is shown as its output, if anything."""
    return [(found["code"], found["shown"]) for found in BLOCK.finditer(text) if not found["mark"]]


AGREED = re.compile(r"on (\d+) problems, at worst (\S+) of what")
UNTOLD = re.compile(r"; \d+ more were too ill-conditioned to tell")


def alike(said: str, shown: str) -> bool:
    """The same text, but for how many problems an agreement was seen on, and how sharply: within the bound.

    Hypothesis also tries numbers that stand in the modules at hand, and sums are rounded in other orders: a session of
    its own meets other problems, and with those of another page loaded before it yet others.
    """
    said, shown = UNTOLD.sub("", said), UNTOLD.sub("", shown)
    if AGREED.sub("", said) != AGREED.sub("", shown):
        return False
    return all(int(count) > 0 and float(worst) <= 1 for count, worst in AGREED.findall(said))


def run(name: str, text: str) -> None:
    """Run the blocks of a page in turn; what they print must be what is shown."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, (code, shown) in enumerate(blocks(text)):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(code, f"{name}, block {number}", "exec"), namespace)
        if shown is not None:
            lines = [line.rstrip() for line in said.getvalue().splitlines()]
            wanted = [line.rstrip() for line in shown.splitlines()]
            same = alike("\n".join(lines), "\n".join(wanted))
            assert same or lines == wanted, f"{name}, block {number}"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page.read_text(encoding="utf-8"))],
    ids=lambda page: page.relative_to(DOCS).as_posix(),
)
def test_blocks_run_and_print_what_is_shown(page, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    for package in re.findall(r"<!-- needs: (\w+) -->", text):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context():
        run(page.name, text)


def test_a_page_that_shows_another_number_is_rejected():
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    run("right", page.format(2))
    with pytest.raises(AssertionError, match="wrong, block 0"):
        run("wrong", page.format(3))


@pytest.mark.parametrize(("count", "worst", "alike_"), [
    (30, "0.001", True), (14, "0.001", True), (61, "0.001", True), (30, "0.2", True), (30, "1.0", True),
    (0, "0.001", False), (30, "1.5", False), (30, "inf", False), (30, "nan", False),
])  # fmt: skip
def test_an_agreement_is_any_within_its_bound(count, worst, alike_):
    said = "law agrees with weight_mass (μ) on {} problems, at worst {} of what rounding explains"
    assert alike(said.format(count, worst), said.format(30, "0.001")) == alike_
    assert not alike(said.format(30, "0.001").replace("law", "lie"), said.format(30, "0.001"))
    told = said.format(29, "0.001") + "; 1 more were too ill-conditioned to tell"
    assert alike(told, said.format(30, "0.001"))
    assert not alike(told + " apart", said.format(30, "0.001"))


def test_a_page_that_warns_is_rejected():
    with pytest.raises(DeprecationWarning):
        run("warns", "```python\nimport warnings\nwarnings.warn('old', DeprecationWarning)\n```\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_linked_files_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for path in re.findall(r"\]\((?!\w+:)([^)#\s]+)\)", text):
        assert (page.parent / path).exists(), path
    for path in re.findall(r"\{doc\}`(?:[^<`]*<)?([^>`]+)>?`", text):
        place = DOCS / path[1:] if path.startswith("/") else page.parent / path
        others = (
            ROOT / "paper_reproduction" / "notebooks" / f"{place.name}.ipynb",
            ROOT / f"{place.name.upper()}.md",  # CONTRIBUTING and CHANGELOG have copies in /project
        )
        assert place.with_name(f"{place.name}.md").exists() or any(map(Path.exists, others)), path


def test_the_theory_has_every_statement_that_is_checked():
    """Every number of the paper that a claim names stands in the page and in its table; the project's own run on."""
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    text, table = page.split("## Where each statement is computed, derived and drawn")
    named = {
        number for entry in registry.PAPER.discover() for number in STATEMENT.findall(entry.claim.equation)
    }
    assert len(named) > 10
    for number in named:
        assert number in text, number
        assert number in table, number
    own = re.findall(r"\\text\{\((T\d+)\)\}", text)
    assert own == [f"T{k}" for k in range(1, len(own) + 1)]
    assert set(own) == set(re.findall(r"\bT\d+\b", table))
