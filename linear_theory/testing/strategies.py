"""What Hypothesis draws: problems, temperatures, steps, rows. Each shrinks to what a person would write down: two
dimensions, small integers, the identity, no noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..problem import FineTuningProblem, paper_problem
from ..weights import HardThreshold

__all__ = [
    "DIMENSIONS",
    "correlations",
    "covariances",
    "learning_rates",
    "log_uniform",
    "paper_problems",
    "problems",
    "rows",
    "rules",
    "steps",
    "temperatures",
    "times",
    "vectors",
]

Strategy = st.SearchStrategy[Any]

PLANE_OR_MORE = st.sampled_from([2, 3, 5])
DIMENSIONS = st.sampled_from([2, 1, 3, 4, 5])


def log_uniform(low: float, high: float) -> Strategy:
    """Floats whose logarithm is spread evenly over [low, high]; 1 first, if it lies between."""
    spread = st.floats(math.log(low), math.log(high)).map(math.exp)
    return st.just(1.0) | spread if low <= 1 <= high else spread


def _numbers(largest: float = 3.0) -> Strategy:
    """Small integers, and floats between them that are no smaller than a thousandth."""
    fine = st.floats(-largest, largest).filter(lambda v: v == 0 or abs(v) >= 1e-3)
    return st.integers(-int(largest), int(largest)).map(float) | fine


def vectors(dim: int) -> Strategy:
    """(dim,), not 0; the first unit vector first, so that a smaller one is tried with fewer entries.

    For one dimension a second entry is drawn and left out: so a problem of one can become one of two, the simplest.
    """
    first = st.just(1.0) | _numbers()
    drawn = st.tuples(first, *[_numbers()] * (max(dim, 2) - 1))
    return drawn.map(lambda entries: np.array(entries[:dim])).filter(np.any)


@st.composite
def covariances(draw: Any, dim: int, *, singular: bool = True) -> np.ndarray:
    """(dim, dim): L D Lᵀ with L a unit lower triangle and D a diagonal, both small; of lower rank where D has a 0.

    The first drawn is the identity; repeated eigenvalues, correlations near 1 and condition numbers to 10⁴ come too.
    """
    asked, dim = dim, max(dim, 2)
    kept = (
        draw(st.lists(st.sampled_from([1.0, 0.0]), min_size=dim, max_size=dim)) if singular else [1.0] * dim
    )
    whole = draw(st.booleans()) or not any(kept[:asked])
    entries = st.integers(-2, 2).map(float)
    if whole:
        kept, entries = [1.0] * dim, _numbers(2.0)
    scale = log_uniform(1e-2, 1e2) if whole else st.sampled_from([1.0, 2.0, 0.5])
    diagonal = [k * draw(scale) for k in kept]
    lower = np.eye(dim)
    for i in range(1, dim):
        lower[i, :i] = draw(st.lists(entries, min_size=i, max_size=i))
    product = (lower * diagonal) @ lower.T
    return ((product + product.T) / 2)[:asked, :asked]


@st.composite
def problems(
    draw: Any,
    dims: Strategy = DIMENSIONS,
    *,
    singular: bool = False,
    noise: bool = True,
    pretrain: bool = True,
    white: bool = False,
) -> FineTuningProblem:
    """Any problem: Σ̃ of full rank (or not, if ``singular``; the identity, if ``white``), e in any place to it, units
    from 10⁻³ to 10³, label noise from none to ten times the size of the shift, Σ the identity or above it.
    """
    dim = draw(dims)
    unit = draw(st.sampled_from([1.0, 10.0, 0.1, 1e3, 1e-3]))
    target = unit * draw(st.just(np.zeros(dim)) | vectors(dim))
    shift = unit * draw(vectors(dim))
    covariance = np.eye(dim) if white else draw(covariances(dim, singular=singular))
    level = draw(st.just(0.0) | log_uniform(1e-3, 10.0)) if noise else 0.0
    sigma = np.eye(dim) + draw(covariances(dim)) if pretrain and draw(st.booleans()) else None
    return FineTuningProblem(target + shift, target, covariance, sigma, level * float(shift @ shift))


@st.composite
def paper_problems(draw: Any, dims: Strategy = PLANE_OR_MORE, *, noise: bool = True) -> FineTuningProblem:
    """The paper's problem, eq. (3)."""
    norm = draw(st.sampled_from([1.0, 2.0, 1e3, 1e-3]))
    level = draw(st.just(0.0) | log_uniform(1e-3, 10.0)) if noise else 0.0
    return paper_problem(draw(correlations()), norm, draw(dims), noise_variance=level * norm**2)


def correlations() -> Strategy:
    """The paper's ρ, from 0 to 0.99."""
    return st.sampled_from([0.5, 0.0, 0.9]) | st.floats(0.01, 0.99)


def temperatures(unit: float = 1.0) -> Strategy:
    """τ from 10⁻³ to 10⁴ of ``unit``, which has the units of a loss, and ∞."""
    return (log_uniform(1e-3, 1e4) | st.just(math.inf)).map(lambda tau: tau * unit)


def rules(unit: float = 1.0) -> Strategy:
    """What may stand for a temperature: τ, or a hard threshold on abs(r)."""
    return temperatures(unit) | log_uniform(0.1, 10.0).map(lambda c: HardThreshold(c * math.sqrt(unit)))


def steps() -> Strategy:
    """K: small ones first, up to 10⁹."""
    return st.integers(0, 6) | st.integers(7, 1000) | st.integers(4, 9).map(lambda k: 10**k)


def learning_rates(largest: float) -> Strategy:
    """η from a hundredth of ``largest`` to it."""
    return log_uniform(1e-2, 1.0).map(lambda share: share * largest)


def times(slowest: float = 1.0) -> Strategy:
    """t from 10⁻² to 10² in units of ``slowest``."""
    return log_uniform(1e-2, 1e2).map(lambda t: t * slowest)


@st.composite
def rows(draw: Any, dims: Strategy = DIMENSIONS, *, rank_deficient: bool = False) -> dict[str, Any]:
    """``X`` (n, d), ``y`` (n,), ``start`` (d,), ``weights`` (n,): tall, square or wide.

    Of full rank and well scaled; or, if ``rank_deficient``, a product of small integers whose rank is exact in floats.
    """
    d, n = draw(dims), draw(st.integers(1, 8))
    matrix = lambda n, d, entries: np.array(
        draw(st.lists(st.lists(entries, min_size=d, max_size=d), min_size=n, max_size=n))
    )
    if rank_deficient:
        rank, whole = draw(st.integers(1, min(n, d))), st.integers(-3, 3).map(float)
        X = matrix(n, rank, whole) @ matrix(rank, d, whole)
    else:
        X = matrix(n, d, _numbers())
        X[np.arange(min(n, d)), np.arange(min(n, d))] += (
            10.0 * d
        )  # rows and columns that none of the others can cancel
    weights = st.sampled_from([1.0, 2.0, 0.5]) | st.floats(0.05, 1.0)
    return {
        "X": X,
        "y": matrix(1, n, _numbers())[0],
        "start": matrix(1, d, _numbers())[0],
        "weights": np.array(draw(st.lists(weights, min_size=n, max_size=n))),
    }
