"""``results/mutants-verdicts.json`` → the section of ``docs/trust.md`` on verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...report import RESULTS
from ...sections import TRUST, cell, spaced, written
from ..page import Lines, kept, share
from .formulas import WITHOUT

STORED = RESULTS / "mutants-verdicts.json"


def rows(asked: dict[str, Any] | None) -> Lines:
    """How many the verdicts noticed, claim by claim, and what they did not."""
    if not asked:
        return ["Not tried. `python -m benchmarks.mutants.verdicts` writes here what came of it."]
    total = lambda key: sum(each[key] for each in asked.values())
    tried, by_check, killed = total("tried"), total("by check"), total("by check") + total("otherwise")
    left = [(claim, one) for claim, each in asked.items() for one in each["survivors"]]
    known = sum(bool(one["why"]) for _, one in left)
    lines = [
        f"{spaced(total('formulas'))} formulas of {len(asked)} claims can be changed in {spaced(total('mutants'))} "
        f"ways, of which {spaced(tried)} were tried. {spaced(killed)} were noticed, {share(killed, tried)}: "
        f"{spaced(by_check)} by a check, the others because the computation ended with an error or not at all. Of "
        f"the {len(left)} others {known} have their reason; leaving these out, "
        f"{share(killed, max(tried - known, 1))} were noticed.",
        "",
        "| claim | formulas | ways | tried | noticed | of these by a check | not, for a reason | not |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for claim, each in asked.items():
        reasoned = sum(bool(one["why"]) for one in each["survivors"])
        numbers = (
            each["formulas"], each["mutants"], each["tried"], each["by check"] + each["otherwise"], each["by check"],
            reasoned, len(each["survivors"]) - reasoned,
        )  # fmt: skip
        lines.append(f"| {called(claim)} | " + " | ".join(map(str, numbers)) + " |")
    reasons = [f"{called(claim)} ({why})" for claim, why in WITHOUT.items()]
    lines += ["", f"Not asked: {'; '.join(reasons)}."]
    if left:
        lines += ["", "| not noticed by | in | the line | as | why |", "|---|---|---|---|---|"]
        lines += [
            f"| {called(claim)} | {cell(one['says'])} | `{cell(one['was'])}` | `{cell(one['now'])}` | "
            f"{one['why'] or '**not known**'} |"
            for claim, one in left
        ]
    return lines


def called(claim: str) -> str:
    """A claim's name, by its module's."""
    return claim.rpartition(".")[2].replace("_", "-")


def rendered(page: str, asked: dict[str, Any] | None) -> str:
    """The page with the section in its place."""
    return written(page, {"mutants: verdicts": rows(asked)})


def write(stored: Path = STORED, page: Path = TRUST) -> None:
    """The page again from the stored numbers."""
    page.write_text(rendered(page.read_text(encoding="utf-8"), kept(stored)), encoding="utf-8")
