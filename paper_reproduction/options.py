"""The options that may stand before or after a word of the command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linear_theory.command.installation import python


@dataclass(frozen=True)
class Options:
    """What may stand before or after ``run`` and ``mlp``."""

    quick: bool = False
    out: Path | None = None
    seed: int | None = None
    resume: bool = False
    jobs: int | None = None
    budgets: bool = False

    def then(self, later: Options) -> Options:
        """Both sets together; what is said later wins."""
        return Options(
            quick=self.quick or later.quick,
            out=self.out if later.out is None else later.out,
            seed=self.seed if later.seed is None else later.seed,
            resume=self.resume or later.resume,
            jobs=self.jobs if later.jobs is None else later.jobs,
            budgets=self.budgets or later.budgets,
        )

    @property
    def directory(self) -> Path:
        """Where results go."""
        return self.out or Path("out")

    def resuming(self, *words: str) -> str:
        """The command line that goes on from here: these words, these options, and ``--resume``."""
        given: Sequence[tuple[str, object]] = (
            ("--out", self.out), ("--seed", self.seed), ("--jobs", self.jobs)
        )  # fmt: skip
        flags = [name for name, on in (("--quick", self.quick), ("--budgets", self.budgets)) if on]
        values = [text for name, value in given if value is not None for text in (name, str(value))]
        return shlex.join([python(), "-m", "paper_reproduction", *words, *flags, *values, "--resume"])
