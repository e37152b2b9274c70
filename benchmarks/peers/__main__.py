"""``python -m benchmarks.peers``: run everything, store it, write the page.

What is stored is whole or nothing: with ``--only``, or if a peer's tests do not run, no file changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from ..race import processor
from ..report import store
from . import digits, page, runs
from .suites import SUITES

VERSIONS = ("numpy", "scipy", "jax", "scikit-learn", "statsmodels", "lineax")


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 where a test fails for no reason that we know, is excused in vain, or nothing notices an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", choices=[*SUITES, "digits"], help="one part, shown and not stored")
    parser.add_argument("--page", action="store_true", help="write the page from what is stored")
    given = parser.parse_args(arguments)
    say = lambda line: print(line, flush=True)
    if given.page:
        page.write()
        return 0
    chosen = [given.only] if given.only else [*SUITES, "digits"]
    suites = {name: runs.measured(name, say) for name in chosen if name in SUITES}
    results = {
        "processor": processor(),
        "versions": {name: version(name) for name in VERSIONS},
        "suites": suites,
        "digits": digits.measured(say) if "digits" in chosen else {},
    }
    if not given.only:
        store(results, page.STORED)
        page.write()
        say(f"written: {page.STORED.relative_to(runs.ROOT)}, {page.TRUST.relative_to(runs.ROOT)}")
    return int(sum(complaints(name, suite, say) for name, suite in suites.items()) > 0)


def complaints(name: str, suite: dict[str, Any], say: Callable[[str], None] = print) -> int:
    """How much of a suite's result is not as it should be; each is said."""
    found = [
        f"{name}: {failure['test']} fails with our solver alone: {failure['message']}"
        for failure in suite["failures"]
        if failure["reason"] is None
    ]
    found += [f"{name}: {start} is excused and does not fail" for start in suite["stale"]]
    if not suite["wrong"]["noticed"]:
        found.append(f"{name}: no test notices a solution that is wrong by {suite['wrong']['error']:g}")
    for line in found:
        say(line)
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
