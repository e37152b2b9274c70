"""What a verdict may promise on every machine: the same of the same arrays, and nothing decided at its bound."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from paper_reproduction.claim import Verdict

CLOSE = 0.85
"""The share of its bound that a check may use up.

Rounding moves a figure by far less. So does another processor, thread count or memory layout, except where training
amplifies roundings: there, and under another seed, a figure moves by its standard error, and a check in standard
errors has 15 % of four or more of them left.
"""


def as_stored(dataset: xr.Dataset) -> xr.Dataset:
    """The same numbers, laid out in memory as they are when read from a file.

    A sum depends on the order of its terms, and NumPy's order on the layout: bits can be the same of these alone.
    """
    packed = {
        name: (one.dims, np.array(one.values, order="C"), one.attrs)
        for name, one in dataset.variables.items()
    }
    coordinates = {name: packed.pop(name) for name in dataset.coords}
    return xr.Dataset(packed, coordinates, dataset.attrs)


def close(verdict: Verdict) -> list[tuple[str, float, float]]:
    """The checks that hold, if at all, by a hair. Of a count nothing lies between the bound and broken."""
    counts = lambda check: check.figure.is_integer() and check.bound.is_integer() and check.holds
    return [(c.name, c.figure, c.bound) for c in verdict.checks if c.margin > CLOSE and not counts(c)]


YES_OR_NO = re.compile(
    r"(do|does|did|is|are|was|were|can|could|will|would|has|have|may|must|should)\b", re.IGNORECASE
)
ANSWER = re.compile(r"(yes|no|partly)\b", re.IGNORECASE)


def answered(question: str, headline: str) -> bool:
    """Whether a question is one of yes or no, and its answer begins with *yes*, *no* or *partly*.

    Where there is no question, the headline may say what it likes.
    """
    return not question or bool(YES_OR_NO.match(question) and ANSWER.match(headline))
