"""``python -m benchmarks.mutants``: try a sample of mutants, store what no test notices, write the page.

What is finished is kept at once in ``out/mutants``: a run that was ended goes on where it stopped. Only a run over the
whole package (no ``--only``, no ``--function``) is stored in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..report import store
from . import page, reasons
from .found import ROOT, Mutant, files, mutants, within
from .reach import Reach, measured
from .trial import MOST, UNREACHED, Trial, tried

GOAL = 0.95
"""Of a sample, the share that is noticed or known to change nothing."""
TESTS = ROOT / "tests"
ELSEWHERE = "beyond", "claims", "frameworks", "mlp"
"""Folders of tests that are not asked: they take longest, and what they call has tests of its own."""


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 where too few are noticed or a reason is out of date."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="how many mutants are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--whole", action="store_true", help="try all of them")
    parser.add_argument("--only", type=Path, help="one file, as in linear_theory/risk.py")
    parser.add_argument("--function", help="one function of it, or Class.method")
    parser.add_argument("--most", type=float, default=MOST, help="seconds that the tests of a round may take")
    parser.add_argument("--list", action="store_true", help="show what would be tried, and try nothing")
    parser.add_argument("--page", action="store_true", help="write the page from what is stored")
    given = parser.parse_args(arguments)
    say = lambda line: print(line, flush=True)
    if given.page:
        page.write()
        return 0
    chosen = [(ROOT / given.only).resolve()] if given.only else files()
    everywhere = [mutant for path in chosen for mutant in mutants(path)]
    every = [mutant for mutant in everywhere if within(mutant.function, given.function)]
    sample = every if given.whole else drawn(every, given.sample, given.seed)
    if given.list:
        for mutant in sample:
            say(str(mutant))
        return 0
    reach = measured(modules(), say)
    trials = held(sample, reach, given.most, say)
    asked = {"mutants": len(every), "seed": given.seed, "tests": len(reach.tests)}
    results = asked | summary(sample, trials)
    if not given.only and not given.function:
        store(results, page.STORED)
        page.write()
        say(f"written: {page.STORED.relative_to(ROOT)}, {page.PAGE.relative_to(ROOT)}")
    return int(complaints(results, everywhere, [m for m in sample if trials[m.name].killed], say) > 0)


def drawn(every: list[Mutant], size: int, seed: int) -> list[Mutant]:
    """So many of them at random: more of the same seed are these and others, and those that stay are drawn again
    when the code changes elsewhere.
    """
    place = lambda mutant: hashlib.sha256(f"{seed} {mutant.name}".encode()).hexdigest()
    return sorted(every, key=place)[:size]


def held(sample: list[Mutant], reach: Reach, most: float, say: Callable[[str], None]) -> dict[str, Trial]:
    """The trial of each, said as it goes."""
    trials = {}
    for i, mutant in enumerate(sample, start=1):
        trials[mutant.name] = trial = tried(mutant, reach, most)
        say(f"{i}/{len(sample)} {trial.seconds:.0f} s, {trial.by}: {mutant}")
    return trials


def modules() -> list[Path]:
    """Modules of tests whose reach is measured."""
    found = sorted(TESTS.rglob("test_*.py"))
    return [path for path in found if path.relative_to(TESTS).parts[0] not in ELSEWHERE]


def summary(sample: list[Mutant], trials: dict[str, Trial]) -> dict[str, Any]:
    """What is stored of a sample."""
    left = [mutant for mutant in sample if not trials[mutant.name].killed]
    survivors = [
        {
            "file": mutant.file,
            "function": mutant.function,
            "was": mutant.was,
            "now": mutant.now,
            "reached": trials[mutant.name].by != UNREACHED,
            "reason": reasons.reason(mutant),
        }
        for mutant in left
    ]
    return {"tried": len(sample), "killed": len(sample) - len(left), "survivors": survivors}


def complaints(
    results: dict[str, Any], every: list[Mutant], killed: list[Mutant], say: Callable[[str], None] = print
) -> int:
    """How much is not as it should be; each is said."""
    unexplained = [one for one in results["survivors"] if one["reason"] is None]
    tried = results["tried"]
    say(
        f"noticed: {results['killed']} of {tried}, {page.share(results['killed'], tried)}"
        if tried
        else "no mutants"
    )
    for one in unexplained:
        say(f"no test notices: {one['file']} {one['function']}\n    - {one['was']}\n    + {one['now']}")
    stale = reasons.outdated(every, killed)
    for each in stale:
        say(f"out of date: the reason for {each.file} {each.function}: {each.now}")
    return len(stale) + (len(unexplained) > (1 - GOAL) * tried)


if __name__ == "__main__":
    sys.exit(main())
