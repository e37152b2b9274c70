"""What Hypothesis draws: problems, temperatures, steps, rows. Each shrinks to what a person would write down: two
dimensions, small integers, the identity, no noise. Those ``by_spectrum`` are drawn by eigenvalues or singular values
in a random basis instead, and shrink to well-conditioned ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..problem import FineTuningProblem, paper_problem
from ..weights import HardThreshold
from .spectra import random_problem, random_rows

__all__ = [
    "DIMENSIONS",
    "correlations",
    "covariances",
    "learning_rates",
    "log_uniform",
    "noise_variances",
    "paper_problems",
    "problems",
    "problems_by_spectrum",
    "rows",
    "rows_by_spectrum",
    "rules",
    "seeds",
    "steps",
    "temperatures",
    "times",
    "vectors",
]

Strategy = st.SearchStrategy[Any]

PLANE_OR_MORE = st.sampled_from([2, 3, 5])
DIMENSIONS = st.sampled_from([2, 1, 3, 4, 5])
MANY = st.integers(1, 12)


def log_uniform(low: float, high: float) -> Strategy:
    """Floats whose logarithm is spread evenly over [low, high]; powers of two are the simplest, 1 before all."""
    return st.floats(math.log2(low), math.log2(high)).map(lambda bits: 2.0**bits)


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
    """(dim, dim): L D Lᵀ with L a unit lower triangle and D a diagonal, both small; of lower rank where D has a 0. Or
    a multiple of the identity plus one direction, whose other eigenvalues are all one.

    The first drawn is the identity; correlations near 1 and condition numbers to 10⁴ come too.
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
    if whole and draw(st.integers(0, 3)) == 3:  # one in eight
        direction = draw(vectors(dim))
        return (draw(scale) * np.eye(dim) + np.outer(direction, direction))[:asked, :asked]
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
    aligned: bool | None = None,
) -> FineTuningProblem:
    """Any problem: Σ̃ of full rank (or not, if ``singular``; the identity, if ``white``), units from 10⁻³ to 10³, label
    noise from none to ten times the size of the shift, Σ the identity or above it. The shift lies anywhere to Σ̃, in a
    quarter of them along an eigenvector; ``aligned`` says always, or never on purpose.
    """
    dim = draw(dims)
    unit = draw(st.sampled_from([1.0, 10.0, 0.1, 1e3, 1e-3]))
    target = unit * draw(st.just(np.zeros(dim)) | vectors(dim))
    shift = unit * draw(vectors(dim))
    along = draw(st.integers(0, 3)) == 3 if aligned is None else aligned
    if white:
        covariance = np.eye(dim)
    elif along:
        shift = math.copysign(float(np.linalg.norm(shift)), shift[0]) * np.eye(dim)[0]
        covariance = np.eye(dim)
        covariance[0, 0] = draw(log_uniform(1e-2, 1e2))
        if dim > 1:
            covariance[1:, 1:] = draw(covariances(dim - 1, singular=singular))
    else:
        covariance = draw(covariances(dim, singular=singular))
    level = draw(noise_variances()) if noise else 0.0
    sigma = np.eye(dim) + draw(covariances(dim)) if pretrain and draw(st.booleans()) else None
    return FineTuningProblem(target + shift, target, covariance, sigma, level * float(shift @ shift))


@st.composite
def problems_by_spectrum(
    draw: Any,
    dims: Strategy = DIMENSIONS,
    noise: Strategy | None = None,
    *,
    largest: float = 1.2,
    pretrain: bool = True,
) -> FineTuningProblem:
    """:func:`~linear_theory.testing.spectra.random_problem` with condition numbers to 10³ and norms of e from 10⁻³ to
    10³; ``noise`` draws σ² in units of ‖e‖².
    """
    sigma = draw(st.none() | log_uniform(1.5, 100.0)) if pretrain else None
    given = {"condition": log_uniform(1.0, 1e3), "noise": noise_variances() if noise is None else noise}
    drawn = {name: draw(strategy) for name, strategy in given.items()}
    norm = draw(log_uniform(1e-3, 1e3))
    return random_problem(
        draw(dims), **drawn, seed=draw(seeds()), shift_norm=norm, largest=largest, pretrain_condition=sigma
    )


@st.composite
def paper_problems(
    draw: Any,
    dims: Strategy = PLANE_OR_MORE,
    *,
    noise: bool | Strategy = True,
    correlation: Strategy | None = None,
    norms: Strategy | None = None,
) -> FineTuningProblem:
    """The paper's problem, eq. (3); ``noise`` says whether there is any, or draws σ² in units of ‖e‖²."""
    norm = draw(st.sampled_from([1.0, 2.0, 1e3, 1e-3]) if norms is None else norms)
    levels = noise_variances() if noise is True else st.just(0.0) if noise is False else noise
    rho = draw(correlations() if correlation is None else correlation)
    return paper_problem(rho, norm, draw(dims), noise_variance=draw(levels) * norm**2)


def seeds() -> Strategy:
    """Of a random generator."""
    return st.integers(0, 2**32 - 1)


def correlations(smallest: float = 0.01, largest: float = 0.99) -> Strategy:
    """The paper's ρ: 0, or from ``smallest`` to ``largest``."""
    return st.sampled_from([0.5, 0.0]) | st.floats(smallest, largest, allow_subnormal=False)


def noise_variances(smallest: float = 1e-3, largest: float = 10.0) -> Strategy:
    """σ² in units of ‖e‖²: none, or from ``smallest`` to ``largest``."""
    return st.just(0.0) | log_uniform(smallest, largest)


def temperatures(unit: float = 1.0, coldest: float = 1e-3, warmest: float = 1e4) -> Strategy:
    """τ from ``coldest`` to ``warmest`` of ``unit``, which has the units of a loss, and ∞."""
    return (log_uniform(coldest, warmest) | st.just(math.inf)).map(lambda tau: tau * unit)


def rules(unit: float = 1.0) -> Strategy:
    """What may stand for a temperature: τ, or a hard threshold on abs(r)."""
    return temperatures(unit) | log_uniform(0.1, 10.0).map(lambda c: HardThreshold(c * math.sqrt(unit)))


def steps(decades: int = 9) -> Strategy:
    """K: small ones first, up to 10 to the ``decades``."""
    return st.integers(0, 6) | st.integers(7, 1000) | st.integers(4, decades).map(lambda k: 10**k)


def learning_rates(largest: float) -> Strategy:
    """η from a hundredth of ``largest`` to it."""
    return log_uniform(1e-2, 1.0).map(lambda share: share * largest)


def times(slowest: float = 1.0) -> Strategy:
    """t from 10⁻² to 10² in units of ``slowest``."""
    return log_uniform(1e-2, 1e2).map(lambda t: t * slowest)


@st.composite
def rows(
    draw: Any,
    dims: Strategy = DIMENSIONS,
    *,
    ratio: Strategy | None = None,
    rank_deficient: bool = False,
    units: bool = False,
    weightless: bool = False,
) -> dict[str, Any]:
    """``X`` (n, d), ``y`` (n,), ``start`` (d,), ``weights`` (n,): tall, square or wide; ``ratio`` draws n/d.

    Of full rank; or, if ``rank_deficient``, a product of small integers whose rank is exact in floats. Columns are of
    one size, or, with ``units``, apart by powers of two to 2¹⁶. Weights are positive, or some 0 if ``weightless``.
    """
    d = draw(dims)
    n = draw(st.integers(1, 8)) if ratio is None else max(1, round(d * draw(ratio)))
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
    powers = st.integers(-8, 8) if units else st.just(0)
    column = np.ldexp(1.0, draw(st.lists(powers, min_size=d, max_size=d)))
    weights = st.sampled_from([1.0, 2.0, 0.5]) | st.floats(0.05, 1.0)
    if weightless:
        weights = weights | st.just(0.0)
    return {
        "X": X * column,
        "y": matrix(1, n, _numbers())[0],
        "start": matrix(1, d, _numbers())[0] / column,
        "weights": np.array(draw(st.lists(weights, min_size=n, max_size=n))),
    }


@st.composite
def rows_by_spectrum(
    draw: Any,
    numbers: Strategy = MANY,
    dims: Strategy = DIMENSIONS,
    *,
    full_rank: bool = False,
    weights: Strategy | None = None,
) -> dict[str, Any]:
    """:func:`~linear_theory.testing.spectra.random_rows`, tall, square or wide and of any rank, with condition numbers
    to 10⁴; ``numbers`` draws n, ``weights`` whether there are any.
    """
    n, d = draw(numbers), draw(dims)
    rank = min(n, d) if full_rank else draw(st.integers(1, min(n, d)))
    weighted = draw(st.booleans() if weights is None else weights)
    return random_rows(n, d, rank, draw(log_uniform(1.0, 1e4)), draw(seeds()), weighted)
