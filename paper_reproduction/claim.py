"""What a claim is: its metadata, the settings it runs under, and the verdict it reaches.

A claim is one module in ``paper_reproduction/claims`` and one figure of the same name in ``figures``. The
module holds

- ``CLAIM``: a :class:`Claim`,
- ``compute(settings: Settings) -> xarray.Dataset``: all the work, and no picture,
- ``verdict(dataset) -> Verdict``: reads the dataset and nothing else, so that a stored run can be judged again,
- if it likes, ``tables(dataset) -> tuple[Table, ...]``: what the report shows below the picture.

The network experiments in ``paper_reproduction/mlp/experiments`` are claims too, with their pictures in
``figures/mlp``.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from enum import Enum

import numpy as np

IN_EPSILON = "in units of rounding error (ε)"
IN_EPSILON_TIMES_CONDITION = f"{IN_EPSILON} times the condition number"
"""How the checks of what is exact say how exact it is."""

_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Claim:
    """One statement of the paper: what it says, where it stands, what it uses and what it may cost."""

    name: str  # kebab-case; the module of the same name in snake_case
    title: str  # the claim itself, in one short sentence
    statement: str  # plain prose, one paragraph; may hold $inline latex$
    equation: str  # where it stands in the paper: "Lemma F.1", "(14), (15)"
    formula: str  # LaTeX, set on a line of its own
    functions: tuple[str, ...]  # public names of linear_theory that it uses
    seconds: float  # time budget of a full run
    quick_seconds: float  # time budget under --quick
    order: int  # position in every table
    question: str = ""  # short, answered by the verdict's headline: "Does the stall survive?"

    def __post_init__(self) -> None:
        if not _KEBAB.fullmatch(self.name):
            raise ValueError(f"a claim's name is kebab-case, as in 'tilted-covariance', not {self.name!r}")

    @property
    def module(self) -> str:
        """The name of its file, without the suffix."""
        return self.name.replace("-", "_")

    def budget(self, quick: bool) -> float:
        """Seconds this claim may take."""
        return self.quick_seconds if quick else self.seconds


@dataclass(frozen=True)
class Settings:
    """What a run may vary. Everything random in a claim comes from :meth:`rng`."""

    seed: int = 0
    quick: bool = False
    seeds: int | None = None  # random repetitions; None: the claim's own number

    def repetitions(self, full: int = 10, quick: int = 3) -> int:
        """How many random repetitions: what was asked for, else the claim's own number for this mode.

        An experiment whose own numbers are not these defaults says so in ``dataset.attrs["seeds"]``.
        """
        if self.seeds is not None:
            return self.seeds
        return quick if self.quick else full

    def rng(self, name: str = "") -> np.random.Generator:
        """A generator that depends on the seed and on ``name`` alone, in every process and on every machine.

        Give each independent use a name of its own: adding one then leaves the numbers of the others as they
        were.
        """
        return np.random.default_rng(np.random.SeedSequence([self.seed, zlib.crc32(name.encode())]))


class Sense(Enum):
    """Which side of its bound a figure has to be on."""

    AT_MOST = "≤"
    AT_LEAST = "≥"


@dataclass(frozen=True)
class Check:
    """One number against one bound. NaN never holds, on either side.

    ``Check("relative error", 3e-14, 1e-12)`` asks for *at most*;
    ``Check.at_least("power of the test", 12.0, 4.0)`` for *at least*.
    """

    name: str
    figure: float
    bound: float
    sense: Sense = Sense.AT_MOST

    def __post_init__(self) -> None:
        # NumPy and xarray scalars are welcome; from here on they are floats.
        object.__setattr__(self, "figure", float(self.figure))
        object.__setattr__(self, "bound", float(self.bound))

    @classmethod
    def at_least(cls, name: str, figure: float, bound: float) -> Check:
        """The one-sided check the other way round: the figure must reach the bound."""
        return cls(name, figure, bound, Sense.AT_LEAST)

    @property
    def holds(self) -> bool:
        """Whether the figure is on the right side; False where either is NaN."""
        return self.figure <= self.bound if self.sense is Sense.AT_MOST else self.figure >= self.bound

    @property
    def margin(self) -> float:
        """How much of the bound is used up: 0 at ease, 1 at the bound, above 1 broken.

        For two positive numbers this is figure/bound (bound/figure for *at least*). A bound of 0 that holds
        counts as at ease, one that does not as infinitely broken; so does NaN.
        """
        sign = 1.0 if self.sense is Sense.AT_MOST else -1.0
        return _share(sign * self.figure, sign * self.bound)


def _share(figure: float, bound: float) -> float:
    """The used part of ``figure <= bound``, for either sign of either number."""
    if math.isnan(figure) or math.isnan(bound):
        return math.inf
    if bound == 0.0:
        return 0.0 if figure <= 0.0 else math.inf
    if figure == bound:
        return 1.0
    if bound > 0.0:
        return figure / bound
    return bound / figure if figure < 0.0 else math.inf


@dataclass(frozen=True)
class Verdict:
    """What a dataset says: checks that hold or not, what does not fit, and what else was measured."""

    checks: tuple[Check, ...]
    findings: tuple[str, ...] = ()  # sentences on what does not fit, and on nothing else
    headline: str = ""  # one sentence with numbers that answers the claim's question; may hold $latex$
    measured: tuple[str, ...] = ()  # sentences on what was also measured

    def __post_init__(self) -> None:
        object.__setattr__(self, "checks", tuple(self.checks))
        for name in ("findings", "measured"):
            sentences = getattr(self, name)
            if isinstance(sentences, str):
                raise TypeError(f"{name} is a tuple of sentences; a lone string needs a comma after it")
            object.__setattr__(self, name, tuple(sentences))
        if not self.checks:
            raise ValueError("a verdict needs at least one check: a claim that checks nothing cannot hold")

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def tightest(self) -> Check:
        """The check closest to its bound, a broken one before every other."""
        return max(self.checks, key=lambda check: (not check.holds, check.margin))

    @property
    def figure(self) -> float:
        """The figure of the tightest check."""
        return self.tightest.figure

    @property
    def bound(self) -> float:
        """The bound of the tightest check."""
        return self.tightest.bound


@dataclass(frozen=True)
class Table:
    """A table of the report. Cells are strings that may hold $latex$; one that starts with "*" is set bold."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(self.header))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.caption!r}: a row of {len(row)} cells under a header of {len(self.header)}"
                )
        for cell in (*self.header, *(cell for row in self.rows for cell in row)):
            if not isinstance(cell, str):
                raise TypeError(f"table {self.caption!r}: {cell!r} is {type(cell).__name__}, not a string")
