"""What the claims say of themselves, on the pages of their derivations and in the gallery.

``{claim} NAME`` sets statement, formula, picture, functions and files of one claim, and what is stored of its result;
``{claims} WORD`` the gallery of a chapter, with its pages in the table of contents; ``{networks}`` the network
experiments with the verdicts on their stored results.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import linear_theory as lt
from paper_reproduction import numbers, registry, shipped
from paper_reproduction.claim import Table, Verdict
from paper_reproduction.mlp.overview import Part, overview
from paper_reproduction.registry import Chapter, Entry

ROOT = Path(__file__).resolve().parents[2]
GALLERY = "/../figures/gallery"


CHAPTERS = {chapter.word: chapter for chapter in (registry.PAPER, registry.BEYOND)}
"""Those with a page for each claim, by the word of the command."""


@cache
def entries(word: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in CHAPTERS[word].discover()}


@cache
def tests() -> dict[str, str]:
    """Figure module → test file, from the README's table."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return dict(
        re.findall(r"^\|.*\]\(figures/(\w+)\.py\).*\]\((tests/[\w/]+\.py)\)", readme, flags=re.MULTILINE)
    )


def reference(name: str) -> str:
    """A link to the API page of a public name, or of a namespace."""
    named = functools.reduce(getattr, name.split("."), lt)
    if isinstance(named, ModuleType):
        return f"{{doc}}`{name} </api/{name}>`"
    kind = "class" if isinstance(named, type) else "func"
    return f"{{{kind}}}`~linear_theory.{name}`"


def picture(name: str, alt: str, target: str = "") -> str:
    link = f":target: {target}\n" if target else ""
    return f":::{{image}} {GALLERY}/{name}.png\n:alt: {alt}\n{link}:::\n"


def link_text(title: str) -> str:
    """A title as the text of a link: its brackets, which a link would take for its own, escaped outside formulas."""
    parts = title.split("$")
    return "$".join(part if i % 2 else re.sub(r"([\[\]])", r"\\\1", part) for i, part in enumerate(parts))


def contents(names: Iterable[str]) -> str:
    """The pages of the claims, in order, for the table of contents."""
    return "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"


def picture_of(chapter: Chapter, entry: Entry, target: str = "") -> str:
    """The picture of a claim; a name may be used once in each chapter."""
    room = f"{chapter.room}-" if chapter.room else ""
    return picture(f"{room}{entry.name}", entry.seen, target)


class ClaimDirective(SphinxDirective):
    """One claim, above its derivation."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        known = {one: word for word in CHAPTERS for one in entries(word)}
        if name not in known:
            raise self.error(f"there is no claim {name!r}; there are {', '.join(known)}")
        chapter = CHAPTERS[known[name]]
        entry = entries(chapter.word)[name]
        claim, place = entry.claim, chapter.claims.replace(".", "/")
        text = (
            f"**{claim.equation}.** {numbers.spelled(claim.statement)}\n\n$$\n{claim.formula}\n$$\n\n"
            f"{picture_of(chapter, entry)}\n{_said(entry)}"
            f"Computed by\n: {', '.join(reference(function) for function in claim.functions)}\n\n"
            f"Checked by\n: `{place}/{claim.module}.py` (two routes and their verdict), "
            f"{', '.join(f'`{path}`' for path in _tested(chapter, claim.module))}\n\n"
            f"Drawn by\n: `{chapter.figures.replace('.', '/')}/{claim.module}.py`; to see it again: "
            f"`python -m paper_reproduction {chapter.word} {name}`\n"
        )
        return self.parse_text_to_nodes(text)


def _tested(chapter: Chapter, module: str) -> list[str]:
    """The tests of a claim: in the README's table for the paper's, and in a file of its own name."""
    folder = f"tests/{chapter.room or 'claims'}"
    own = sorted(path.name for path in (ROOT / folder).glob(f"test_{module}.py"))
    return [*([tests()[module]] if module in tests() else []), *(f"{folder}/{path}" for path in own)]


def _said(entry: Entry) -> str:
    """What the stored result of a claim says; nothing where none is stored."""
    stored = shipped.stored(entry) if entry.results else None
    if stored is None:
        return ""
    verdict = entry.verdict(stored)
    holds = sum(check.holds for check in verdict.checks)
    return (
        f"**{numbers.spelled(verdict.headline)}**\n\n"
        f"{holds} of {len(verdict.checks)} checks hold on the stored results.\n\n{_lists(verdict)}\n"
    )


def _lists(verdict: Verdict) -> str:
    """What does not fit, and what was also measured."""
    lists = {"What does not fit": verdict.findings, "Also measured": verdict.measured}
    return "".join(f"{name}:\n\n{_listed(sentences)}\n" for name, sentences in lists.items() if sentences)


class ClaimsDirective(SphinxDirective):
    """The gallery of a chapter: a card for each claim, in order."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        chapter = CHAPTERS[self.arguments[0]]
        found = entries(chapter.word)
        folder = Path(self.env.doc2path(self.env.docname)).parent
        if missing := [name for name in found if not (folder / f"{name}.md").is_file()]:
            raise self.error(f"claims without a page: {', '.join(missing)}")
        gallery = nodes.container(classes=["gallery"])
        for name, entry in found.items():
            card = nodes.container(classes=["card"])
            text = (
                f"{picture_of(chapter, entry, f'{name}.html')}\n"
                f"**[{link_text(entry.claim.title)}]({name}.md)**\n\n{entry.claim.equation}\n"
            )
            card += self.parse_text_to_nodes(text)
            gallery += card
        return [gallery, *self.parse_text_to_nodes(contents(found))]


class NetworksDirective(SphinxDirective):
    """Each network experiment: what was asked, what came out, and what does not fit."""

    def run(self) -> list[nodes.Node]:
        experiments = registry.NETWORKS.discover()
        results = {
            entry.name: stored for entry in experiments if (stored := shipped.stored(entry)) is not None
        }
        found = [node for part in overview(results) for node in self._part(part)]
        for entry in experiments:
            found += self._section(entry)
        return found

    def _part(self, part: Part) -> list[nodes.Node]:
        """One of the questions that all experiments together answer."""
        section = nodes.section(ids=[nodes.make_id(part.question)])
        section += nodes.title(text=part.question)
        section += self.parse_text_to_nodes(
            _listed(part.sentences) + (_table(part.table) if part.table else "")
        )
        return [section]

    def _section(self, entry: Entry) -> list[nodes.Node]:
        claim = entry.claim
        if shipped.shown(entry) is None:
            raise self.error(f"no stored result of {entry.name}")
        text = (
            f"{numbers.spelled(claim.statement)}\n\n{picture(entry.name, entry.seen)}\n{_said(entry)}"
            f"To compute it again: `python -m paper_reproduction mlp {entry.name}`.\n"
        )
        section = nodes.section(ids=[entry.name])
        heading = nodes.title()
        heading += self.parse_inline(claim.question or claim.title)[0]
        section += heading
        section += self.parse_text_to_nodes(text)
        return [section]


def _table(table: Table) -> str:
    line = lambda cells: "| " + " | ".join(cells) + " |\n"
    rows = (table.header, ("---",) * len(table.header), *table.rows)
    return f"\n{table.caption}:\n\n" + "".join(map(line, rows)) + "\n"


def _listed(sentences: Iterable[str]) -> str:
    return "".join(f"- {numbers.spelled(sentence)}\n" for sentence in sentences)


def setup(app) -> dict[str, bool]:
    app.add_directive("claim", ClaimDirective)
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("networks", NetworksDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
