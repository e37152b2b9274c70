"""``results/peers.json`` → the tables of ``docs/trust.md``, each between its two marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..packages import OURS
from ..report import RESULTS
from ..sections import TRUST, cell, spaced, written

STORED = RESULTS / "peers.json"
TIED = 0.5
"""Digits within which two packages are called equal: half a digit comes and goes with the order of a sum."""

Lines = list[str]


def tests(results: dict[str, Any]) -> Lines:
    """What the peers' own tests say."""
    suites = results["suites"]
    total = lambda what: sum(suite["ours"].get(what, 0) for suite in suites.values())
    new = [failure for suite in suites.values() for failure in suite["failures"]]
    unexplained = [failure for failure in new if failure["reason"] is None]
    error = f"{next(iter(suites.values()))['wrong']['error']:g}".replace("e-0", "e-")
    summed = lambda what: spaced(sum(suite[what] for suite in suites.values()))
    lines = [
        f"{spaced(total('passed'))} of the peers' tests pass with `lt.solve` put in; it was called {summed('calls')} "
        f"times, by {summed('callers')} tests. Pass with the peer's solver and not with ours: {len(new)}; of these "
        f"for no reason that we know: {len(unexplained)}.",
        "",
        f"| tests of | pass, theirs | pass, ours | calls | tests that call | notice an error of {error} |",
        "|---|---|---|---|---|---|",
    ]
    for name, suite in suites.items():
        cells = [
            f"{name} ({suite['package']})",
            suite["theirs"].get("passed", 0),
            suite["ours"].get("passed", 0),
            suite["calls"],
            suite["callers"],
            suite["wrong"]["noticed"],
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += ["", "Put in for: " + "; ".join(_replaced(name, suites[name]) for name in suites) + "."]
    if new:
        lines += ["", "| passes with theirs, not with ours | why |", "|---|---|"]
        lines += [
            f"| `{failure['test']}` | {failure['reason'] or '**not known**: ' + cell(failure['message'])} |"
            for failure in new
        ]
    return lines


def _replaced(name: str, suite: dict[str, Any]) -> str:
    return f"{name}: " + ", ".join(f"`{place}`" for place in suite["replaced"])


def digits(results: dict[str, Any]) -> Lines:
    """A problem a row, a package a column."""
    table = results["digits"]
    packages = list(next(iter(table.values()))["digits"])
    lines = [
        "| problem | rows × columns | in the data | " + " | ".join(packages) + " |",
        "|---" * (len(packages) + 3) + "|",
    ]
    for name, one in table.items():
        best = max(one["digits"].values())
        shown = (_digits(one["digits"][package], best) for package in packages)
        n, d = one["shape"]
        held = "–" if one["data"] is None else f"{one['data']:.1f}"
        lines.append(f"| {name} | {n} × {d} | {held} | " + " | ".join(shown) + " |")
    return lines


def _digits(value: float, best: float) -> str:
    return f"**{value:.1f}**" if value >= best - TIED else f"{value:.1f}"


def places(results: dict[str, Any]) -> Lines:
    """Where ours is first, tied, alone, and where another has more."""
    table = {name: one["digits"] for name, one in results["digits"].items()}
    others = {name: max(v for package, v in one.items() if package != OURS) for name, one in table.items()}
    first = [name for name in table if table[name][OURS] > others[name] + TIED]
    tied = [name for name in table if abs(table[name][OURS] - others[name]) <= TIED]
    lines = [
        f"Of {len(table)} problems, `lt.solve` is first on {len(first)} and within {TIED:g} digits of the first on "
        f"{len(tied)} more. Where another package has more digits:",
        "",
        "| problem | ours | the best | whose | in the data |",
        "|---|---|---|---|---|",
    ]
    behind = [name for name in table if name not in first and name not in tied]
    for name in behind:
        whose = " and ".join(package for package, v in table[name].items() if v == others[name])
        held = results["digits"][name]["data"]
        in_data = "–" if held is None else f"{held:.1f}"
        lines.append(f"| {name} | {table[name][OURS]:.1f} | {others[name]:.1f} | {whose} | {in_data} |")
    return (
        lines
        if behind
        else [lines[0].replace(" Where another package has more digits:", " No other has more.")]
    )


def versions(results: dict[str, Any]) -> Lines:
    """What it was measured with."""
    listed = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return [f"Measured on {results['processor']} with {listed}."]


SECTIONS = {"tests": tests, "digits": digits, "places": places, "versions": versions}
"""Each is written between ``<!-- peers: name -->`` and ``<!-- /peers: name -->``."""


def rendered(page: str, results: dict[str, Any]) -> str:
    """The page with every table in its place."""
    return written(page, {f"peers: {name}": section(results) for name, section in SECTIONS.items()})


def write(stored: Path = STORED, page: Path = TRUST) -> None:
    """The page again from the stored numbers."""
    results = json.loads(stored.read_text(encoding="utf-8"))
    page.write_text(rendered(page.read_text(encoding="utf-8"), results), encoding="utf-8")
