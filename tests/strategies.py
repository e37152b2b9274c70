"""What hypothesis draws: problems by their spectrum, data by its singular values, everything else on the
scale it lives on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from linear_theory.testing.reference.population import Case, freeze, paper_case

SEEDS = st.integers(0, 2**32 - 1)

DIMS = st.integers(1, 6)
PLANE_OR_MORE = st.integers(2, 6)
ROWS = st.integers(1, 12)
MAYBE = st.booleans()

RHOS = st.one_of(st.just(0.0), st.floats(0.0, 0.999, allow_subnormal=False))
"""The paper's correlation."""

STEPS = st.one_of(st.integers(0, 6), st.integers(7, 1000), st.integers(3, 12).map(lambda k: 10**k))


def log_uniform(low, high):
    """Floats whose logarithm is spread evenly over [low, high]."""
    return st.floats(math.log(low), math.log(high)).map(math.exp)


RELATIVE_TEMPERATURES = st.one_of(log_uniform(1e-6, 1e6), st.just(math.inf))
"""τ in units of ‖e‖²."""

NOISE = st.one_of(st.just(0.0), log_uniform(1e-4, 1e2))
"""Noise variances in units of ‖e‖²."""


def orthogonal(dim, rng):
    """A random orthogonal matrix, uniform up to the signs that QR fixes."""
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    return q * np.sign(np.diag(r))


def random_covariance(dim, condition, largest, seed):
    """Eigenvalues spread geometrically from largest/condition to largest, random basis, symmetric to the
    last bit.
    """
    if condition == 1:
        return largest * np.eye(dim)
    rng = np.random.default_rng(seed)
    eigenvalues = largest * condition ** -np.linspace(0, 1, dim) if dim > 1 else np.array([largest])
    V = orthogonal(dim, rng)
    A = (V * eigenvalues) @ V.T
    return (A + A.T) / 2


def random_case(dim, condition=10.0, noise=0.0, seed=0, shift_norm=1.0, largest=1.2, pretrain_condition=None):
    """Any Σ̃ with λ_max = `largest` (below 2: the default step converges), θ̃* of size one, Σ ⪰ I where
    asked for.

    `noise` is in units of ‖e‖².
    """
    rng = np.random.default_rng([seed, 1])
    target, shift = rng.standard_normal((2, dim))
    pretrained = target + shift * shift_norm / np.linalg.norm(shift)
    sigma = ()
    if pretrain_condition is not None:
        sigma = freeze(np.eye(dim) + random_covariance(dim, 1e3, pretrain_condition - 1, [seed, 2]))
    return Case(
        tuple(map(float, pretrained)),
        tuple(map(float, target)),
        freeze(random_covariance(dim, condition, largest, [seed, 3])),
        sigma,
        float(noise * shift_norm**2),
    )


@st.composite
def cases(draw, dims=DIMS, noise=NOISE, largest=1.2, pretrain=True):
    """A general problem."""
    sigma = draw(st.one_of(st.none(), log_uniform(1.5, 100.0))) if pretrain else None
    return random_case(
        draw(dims),
        draw(log_uniform(1.0, 1e3)),
        draw(noise),
        draw(SEEDS),
        draw(log_uniform(1e-3, 1e3)),
        largest,
        sigma,
    )


@st.composite
def paper_cases(draw, dims=PLANE_OR_MORE, noise=NOISE):
    """The paper's problem (3)."""
    norm = draw(log_uniform(1e-3, 1e3))
    return paper_case(draw(RHOS), norm, draw(dims), draw(noise) * norm**2)


@dataclass(frozen=True)
class Data:
    """Rows, labels, a start and weights."""

    X: np.ndarray
    y: np.ndarray
    start: np.ndarray
    weights: np.ndarray | None = None


def random_data(rows, columns, rank, condition=10.0, seed=0, weights=False, noise=1.0):
    """X with `rank` singular values from 1 to 1/condition, labels with noise outside its range, positive
    weights.

    Where the rank is deficient X is a product of small integers, so that its rank is exact in float64 too.
    """
    rng = np.random.default_rng(seed)
    rank = min(rank, rows, columns)
    if rank < min(rows, columns):
        X = (rng.integers(-3, 4, (rows, rank)) @ rng.integers(-3, 4, (rank, columns))).astype(float)
    else:
        singular = condition ** -np.linspace(0, 1, rank) if rank > 1 else np.ones(rank)
        left, right = orthogonal(rows, rng)[:, :rank], orthogonal(columns, rng)[:, :rank]
        X = (left * singular) @ right.T
    y = X @ rng.standard_normal(columns) + noise * rng.standard_normal(rows)
    start = rng.standard_normal(columns)
    return Data(X, y, start, rng.uniform(0.05, 1.0, rows) if weights else None)


@st.composite
def data(draw, rows=ROWS, columns=DIMS, full_rank=False, weights=MAYBE):
    """Tall, square or wide rows of any rank."""
    n, d = draw(rows), draw(columns)
    rank = min(n, d) if full_rank else draw(st.integers(1, min(n, d)))
    return random_data(n, d, rank, draw(log_uniform(1.0, 1e4)), draw(SEEDS), draw(weights))
