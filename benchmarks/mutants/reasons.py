"""Mutants that no test can notice, and why: each was looked at by a person.

A reason belongs to one change of one line, written as it stands in ``docs/trust.md``. Where the line is written anew,
or a test begins to notice, ``python -m benchmarks.mutants`` says that the reason is out of date.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .found import Mutant


@dataclass(frozen=True)
class Reason:
    """In this function of this file ``was`` may as well be ``now``."""

    file: str
    function: str
    was: str
    now: str
    why: str

    def fits(self, mutant: Mutant) -> bool:
        here = mutant.file, mutant.function, mutant.was, mutant.now
        return here == (self.file, self.function, self.was, self.now)


REASONS: tuple[Reason, ...] = ()


def reason(mutant: Mutant) -> str | None:
    """Why nothing changes, if it is known."""
    return next((each.why for each in REASONS if each.fits(mutant)), None)


def outdated(mutants: Collection[Mutant], killed: Collection[Mutant]) -> list[Reason]:
    """Reasons for changes that can no longer be made in the files of these mutants, or that a test notices."""
    here = {mutant.file for mutant in mutants}
    gone = [r for r in REASONS if r.file in here and not any(r.fits(mutant) for mutant in mutants)]
    return gone + [r for r in REASONS if any(r.fits(mutant) for mutant in killed)]
