"""A page of which commands write parts, each between ``<!-- name -->`` and ``<!-- /name -->``."""

from __future__ import annotations

from pathlib import Path

TRUST = Path(__file__).parents[1] / "docs" / "trust.md"
"""What this project was tried on, told by the commands that tried it."""


def written(page: str, sections: dict[str, list[str]]) -> str:
    """The page with these lines in their places."""
    for name, lines in sections.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = page.split(opening)
        _, after = rest.split(closing)
        page = before + opening + "\n".join(["", *lines, "", ""]) + closing + after
    return page


def spaced(number: int) -> str:
    """13 434."""
    return f"{number:,}".replace(",", " ")


def cell(text: str) -> str:
    """As it may stand in a row of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
