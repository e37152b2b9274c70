"""``results/mutants.json`` → the section of ``docs/trust.md`` on mutants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from ..report import RESULTS
from ..sections import TRUST, cell, spaced, written
from .trial import FEW

STORED = RESULTS / "mutants.json"
LEVEL = 0.95

Lines = list[str]


def share(killed: int, tried: int) -> str:
    """In percent, with the exact binomial interval: 96.0 % (90.1 … 98.9 %)."""
    interval = binomtest(killed, tried).proportion_ci(LEVEL, "exact")
    return f"{100 * killed / tried:.1f} % ({100 * interval.low:.1f} … {100 * interval.high:.1f} %)"


def expressions(results: dict[str, Any] | None) -> Lines:
    """How many were noticed, and every one that was not."""
    if results is None:
        return [
            "No sample has been stored. `python -m benchmarks.mutants` tries one and writes what came of it here."
        ]
    total, tried, killed = results["mutants"], results["tried"], results["killed"]
    survivors = results["survivors"]
    known = [one for one in survivors if one["reason"]]
    beyond = (
        f" Beyond the {FEW} most promising tests no more were asked than take {results['most']:g} s a round."
    )
    unasked = (
        f" {results['unmeasured']} modules of tests were not measured in full: few of their tests were asked."
    )
    drawn = (
        f"{spaced(tried)} were drawn at random (seed {results['seed']})"
        if tried < total
        else "all were tried"
    )
    lines = [
        f"{spaced(total)} single expressions of `linear_theory` can be changed; {drawn}. One of "
        f"{spaced(results['tests'])} tests noticed {spaced(killed)} of them, {share(killed, tried)}. Of the "
        f"{len(survivors)} others {len(known)} change nothing that is promised, each for its reason; leaving these "
        f"out, {share(killed, max(tried - len(known), 1))} were noticed."
        + beyond
        + unasked * (results["unmeasured"] > 0),
    ]
    if survivors:
        lines += ["", "| no test notices, in | the line | as | why |", "|---|---|---|---|"]
        lines += [
            f"| `{one['file']}`, `{one['function'] or 'the module'}` | `{cell(one['was'])}` | `{cell(one['now'])}` | "
            f"{one['reason'] or '**not known**'} |"
            for one in survivors
        ]
    return lines


def kept(stored: Path = STORED) -> dict[str, Any] | None:
    """What was stored, if anything."""
    return json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else None


def rendered(page: str, results: dict[str, Any] | None) -> str:
    """The page with the section in its place."""
    return written(page, {"mutants: expressions": expressions(results)})


def write(stored: Path = STORED, page: Path = TRUST) -> None:
    """The page again from the stored numbers."""
    page.write_text(rendered(page.read_text(encoding="utf-8"), kept(stored)), encoding="utf-8")
