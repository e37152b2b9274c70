"""The options that may stand before or after a word of the command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The four options that may stand before or after ``run`` and ``mlp``."""

    quick: bool = False
    out: Path | None = None
    seed: int | None = None
    resume: bool = False

    def then(self, later: Options) -> Options:
        """Both sets together; what is said later wins."""
        return Options(
            quick=self.quick or later.quick,
            out=self.out if later.out is None else later.out,
            seed=self.seed if later.seed is None else later.seed,
            resume=self.resume or later.resume,
        )

    @property
    def directory(self) -> Path:
        """Where results go."""
        return self.out or Path("out")
