"""``python -m benchmarks.mutants.verdicts``: ask the verdicts, store what they notice, write the page."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper_reproduction.provenance import claim_fingerprint

from ...report import store
from .. import engine, reasons
from ..found import ROOT, Mutant, drawn
from ..trial import SURVIVED, Trial
from . import page
from .formulas import FORMULAS, Formula

TRIALS = ROOT / "out" / "mutants" / "verdicts"
LIMIT = 300.0
"""Seconds after which a computation that does not end is noticed."""
BY_CHECK = "check: "
"""Before the name of the check that failed; what begins otherwise ended the computation."""


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 where a verdict notices nothing and nobody knows why, or a reason is out of date."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants.verdicts", description=__doc__)
    parser.add_argument(
        "--sample", type=int, help="so many mutants of each claim, in turn from its formulas; or all"
    )
    parser.add_argument("--only", choices=sorted(FORMULAS), help="one claim")
    parser.add_argument("--page", action="store_true", help="write the page from what is stored")
    given = parser.parse_args(arguments)
    if given.page:
        page.write()
        return 0
    say = lambda line: print(line, flush=True)
    asked, stale = {}, 0
    for claim in [given.only] if given.only else FORMULAS:
        every = in_turn(claim)
        trials = [(formula, mutant, tried(claim, mutant, say)) for formula, mutant in every[: given.sample]]
        asked[claim] = summary(claim, len(every), trials)
        stale += complaints(claim, [mutant for _, mutant in every], trials, say)
    if not given.only:
        store(asked, page.STORED)
        page.write()
    return int(stale + sum(not one["why"] for each in asked.values() for one in each["survivors"]) > 0)


Tried = tuple[Formula, Mutant, Trial]


def in_turn(claim: str) -> list[tuple[Formula, Mutant]]:
    """The mutants of a claim's formulas at random, one of each formula before the second of any."""
    rows = [
        [(formula, mutant) for mutant in drawn(list(formula.mutants), None, seed=0)]
        for formula in FORMULAS[claim]
    ]
    return [pair for turn in itertools.zip_longest(*rows) for pair in turn if pair]


def tried(claim: str, mutant: Mutant, say: Callable[[str], None], stored: Path = TRIALS) -> Trial:
    """What the claim says where the mutant is true; as kept, where none of the sources that decide it has changed."""
    file = stored / claim / f"{mutant.name}.json"
    source = ROOT.joinpath("paper_reproduction", *claim.split(".")).with_suffix(".py")
    text = f"{mutant.path.read_text(encoding='utf-8')}\n{claim_fingerprint(source)}"
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    trial = Trial.kept(file)
    if not trial or trial.mark != mark:
        answer = engine.called(
            mutant, "benchmarks.mutants.checks:failing", f"paper_reproduction.{claim}", limit=LIMIT
        )
        trial = Trial(mutant.name, noticed(answer), round(answer.seconds, 1), mark).keep(file)
    say(f"{claim}: {trial.seconds:.0f} s, {trial.by}: {mutant}")
    return trial


def noticed(answer: engine.Answer) -> str:
    """By what: the first check that fails, an error, or the time."""
    if answer.ended:
        return "the time limit"
    if answer.error is not None:
        return f"an error: {answer.error}"
    return BY_CHECK + answer.value[0] if answer.value else SURVIVED


def summary(claim: str, every: int, trials: list[Tried]) -> dict[str, Any]:
    """What is stored of a claim."""
    survivors = [
        {
            "says": formula.says,
            "file": mutant.file,
            "was": mutant.was,
            "now": mutant.now,
            "why": reasons.reason(mutant, claim),
        }
        for formula, mutant, trial in trials
        if not trial.killed
    ]
    return {
        "formulas": len(FORMULAS[claim]),
        "mutants": every,
        "tried": len(trials),
        "by check": sum(trial.by.startswith(BY_CHECK) for *_, trial in trials),
        "otherwise": sum(trial.killed and not trial.by.startswith(BY_CHECK) for *_, trial in trials),
        "survivors": survivors,
    }


def complaints(claim: str, every: list[Mutant], trials: list[Tried], say: Callable[[str], None]) -> int:
    """How many reasons are out of date; each is said."""
    stale = reasons.outdated(every, [mutant for _, mutant, trial in trials if trial.killed], claim)
    for each in stale:
        say(f"out of date: the reason for {claim}: {each.file} {each.function}: {each.now}")
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
