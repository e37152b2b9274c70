"""``python -m benchmarks.mutants``: try a sample of mutants, store what no test notices, write the page.

To measure which test runs which lines takes longest. So the sample is first tried by the tests that were measured in
earlier runs, and then only what none of them noticed by the others, module by module.

What is finished is kept at once in ``out/mutants``: a run that was ended goes on where it stopped. Only a run over the
whole package (no ``--only``, no ``--function``) is stored in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..report import store
from . import page, reasons
from .found import ROOT, Mutant, drawn, files, mutants, within
from .reach import Reach, Test, kept, measured
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
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="no more is measured after so many"
    )
    parser.add_argument("--list", action="store_true", help="show what would be tried, and try nothing")
    parser.add_argument("--page", action="store_true", help="write the page from what is stored")
    given, began = parser.parse_args(arguments), time.monotonic()
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
    trials, tests, unmeasured = sifted(sample, modules(), given.most, began + 60 * given.minutes, say)
    asked = {"mutants": len(every), "seed": given.seed, "tests": len(tests), "unmeasured": unmeasured}
    asked["most"] = given.most
    results = asked | summary(sample, trials)
    if not given.only and not given.function:
        store(results, page.STORED)
        page.write()
        say(f"written: {page.STORED.relative_to(ROOT)}, {page.TRUST.relative_to(ROOT)}")
    return int(complaints(results, everywhere, [m for m in sample if trials[m.name].killed], say) > 0)


def sifted(
    sample: list[Mutant], paths: list[Path], most: float, until: float, say: Callable[[str], None]
) -> tuple[dict[str, Trial], list[Test], int]:
    """The trial of each by the tests that are known, and of what is left by one module of others after the other, until
    nothing is; then the tests, and how many modules were left unmeasured.
    """
    tests, waiting = known(paths)
    trials = held(sample, Reach(tuple(tests)), most, say)
    while left := [m for m in sample if not trials[m.name].killed and reasons.reason(m) is None]:
        if not waiting or time.monotonic() > until:
            return trials, tests, len(waiting)
        path = max(waiting, key=lambda path: named(path, left))
        waiting.remove(path)
        old = {test.name for test in tests}
        tests += [test for test in measured(path, say) if test.name not in old]
        trials |= held(left, Reach(tuple(tests)), most, lambda line: None)
        for mutant in left:
            if trials[mutant.name].killed:
                say(f"{trials[mutant.name].by}: {mutant}")
    return trials, tests, 0


def known(paths: list[Path]) -> tuple[list[Test], list[Path]]:
    """The tests that were measured, and the modules with others."""
    found = {path: kept(path) for path in paths}
    tests = [test for measured, _ in found.values() for test in measured]
    return tests, [path for path, (_, missing) in found.items() if missing]


def named(path: Path, mutants: list[Mutant]) -> float:
    """How often a module of tests has the words of the places of these mutants, at most once each word and place."""
    words = set(re.findall(r"[a-z]+", path.read_text(encoding="utf-8").lower()))
    of = lambda mutant: set(re.findall(r"[a-z]+", f"{mutant.path.stem} {mutant.function}".lower()))
    return sum(len(of(mutant) & words) / len(of(mutant)) for mutant in mutants)


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
