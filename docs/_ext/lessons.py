"""``{lessons}``: a card for each lesson, with its last-but-one picture, and the pages in the table of contents."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

LESSONS = Path(__file__).resolve().parents[2] / "paper_reproduction" / "notebooks"


def pictures(notebook: dict) -> list[tuple[bytes, str]]:
    """The stored pictures of a lesson, each with its words."""
    shown = [
        one
        for cell in notebook["cells"]
        for one in cell.get("outputs", [])
        if "image/png" in one.get("data", {})
    ]
    return [
        (base64.b64decode(one["data"]["image/png"]), one["metadata"]["image/png"]["alt"]) for one in shown
    ]


def with_alts(notebook: dict) -> dict:
    """The lesson as myst-nb reads it: the words of a picture in its cell's metadata, and not in its output's."""
    for cell in notebook["cells"]:
        for one in cell.get("outputs", []):
            if alt := one.get("metadata", {}).get("image/png", {}).get("alt"):
                cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    return notebook


def copied(path: Path) -> str:
    """What the site builds from a lesson's file."""
    return json.dumps(with_alts(json.loads(path.read_text(encoding="utf-8"))), ensure_ascii=False, indent=1)


class LessonsDirective(SphinxDirective):
    """The gallery of lessons, in the order in which they are read."""

    def run(self) -> list[nodes.Node]:
        gallery = nodes.container(classes=["gallery"])
        names = sorted(path.stem for path in LESSONS.glob("[0-9][0-9]_*.ipynb"))
        for name in names:
            notebook = json.loads((LESSONS / f"{name}.ipynb").read_text(encoding="utf-8"))
            heading, about = re.match(
                r"# (.*)\n\n((?:.+\n?)+)", "".join(notebook["cells"][0]["source"])
            ).groups()
            drawn, alt = pictures(notebook)[-2]
            file = Path(self.env.srcdir) / "notebooks" / f"{name}.png"
            if not file.exists() or file.read_bytes() != drawn:
                file.write_bytes(drawn)
            card = nodes.container(classes=["card"])
            about = re.split(r"(?<=[.?]) ", " ".join(about.split()))
            card += self.parse_text_to_nodes(
                f":::{{image}} {name}.png\n:alt: {alt}\n:target: {name}.html\n:::\n\n"
                f"**[{heading}]({name}.ipynb)**\n\n{about[0]}\n"
            )
            gallery += card
        listed = "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"
        return [gallery, *self.parse_text_to_nodes(listed)]


def setup(app) -> dict[str, bool]:
    app.add_directive("lessons", LessonsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
