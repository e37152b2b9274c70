"""Weighted least squares by Cholesky in NumPy, on normal equations or on the rows' inner products, and refined.

Each answers None where what it measures says that refinement cannot be relied on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.lapack

from ..arrays import Array, namespace
from .blocks import BLOCK_ENTRIES, added, one_root, residual_products, weighted_products
from .pivoted import refined
from .rows import Sample, largest_entries
from .solution import EPS, MAX_CONTRACTION, Method, Solution, unrefined_error

lapack: Any = scipy.linalg.lapack

MAX_REFINEMENTS = 8
"""Passes over the rows at most: while refinement contracts, each regains three digits at least."""

UNREFINED_CONDITION = 8.0
"""Up to this condition number a Cholesky solution loses a digit at most: one refinement, where it is cheap."""

SAFE_SQUARES = 1e-280, 1e280
"""Between these a sum of squares has neither underflowed nor overflowed on the way."""

SAFE_ENTRIES = 1e-140, 1e140
"""The largest entry of each row whose squares are such sums."""

MIN_RESIDUAL_SHARE = 1e-3
"""Of the energy before: a residual that is a smaller difference is taken from the rows, for it would cancel."""

TINY = float(np.finfo(float).tiny)


class Factor(NamedTuple):
    """A Cholesky factor of D H D, D = diag(scale), and √ of its condition number, LAPACK's estimate."""

    lower: Array
    scale: Array
    condition: float

    def solve(self, right: Array) -> Array:
        """H⁻¹ right, for (d,) or (d, m)."""
        return (self.scale * lapack.dpotrs(self.lower, (self.scale * right.T).T, lower=1)[0].T).T


def factorise(matrix: Array, pull: float) -> Factor | None:
    """Of matrix + pull·I, equilibrated; None where it is not positive definite to working precision."""
    squares = matrix.diagonal() + pull
    scale = 1 / np.sqrt(np.where(squares == 0, 1.0, squares))
    scaled = matrix * scale
    scaled *= scale[:, None]
    np.fill_diagonal(scaled, 1.0)
    norm = np.abs(scaled).sum(axis=0).max()
    lower, failed = lapack.dpotrf(scaled.T, lower=1, overwrite_a=1)  # symmetric: its transpose is no copy
    if failed:
        return None
    inverse_condition, _ = lapack.dpocon(lower, norm, uplo="L")
    return Factor(lower, scale, inverse_condition**-0.5 if inverse_condition > 0 else np.inf)


def by_normal_equations(sample: Sample, pull: float) -> Solution | None:
    """δ for rows that are no fewer than the columns; None where Cholesky cannot be relied on."""
    d = sample.X.shape[1]
    products = weighted_products(sample.X, sample.y, sample.start, one_root(sample.weights))
    zeros = np.zeros((d, d)), np.zeros(sample.start.shape), np.zeros(sample.y.shape[1:])
    gram, moment, energy = added((sums for (sums,) in products), *zeros)
    if any(sample.X[:, j].any() for j in np.flatnonzero(gram.diagonal() == 0)):
        return None  # A column whose squares underflow only looks like zeros.
    if (energy < SAFE_SQUARES[0]).any() and sample.residual.any():
        return None  # So do the products with residuals as small as that.
    cheap = sample.X.size <= BLOCK_ENTRIES
    return from_sums(gram, moment, energy, pull, lambda delta: residual_sums(sample, delta), cheap)


def from_sums(
    gram: Array,
    moment: Array,
    energy: Array,
    pull: float,
    residual_sums: Callable[[Array], tuple[Array, ...]],
    cheap: bool = False,
) -> Solution | None:
    """δ from XᵀWX, XᵀWr and Σwr², refined by ``residual_sums(δ)``, XᵀW(r − Xδ) and Σw(r − Xδ)² of a pass over the rows.

    Where no refinement is needed, that pass is taken only if it is ``cheap``. None where the condition number is
    beyond repair by refinement, or squares have over- or underflowed.
    """
    squares, d = gram.diagonal(), len(gram)
    if not (np.isfinite(gram).all() and np.isfinite(moment).all() and np.isfinite(energy).all()):
        return None
    weighted = squares > 0
    if weighted.any() and not (SAFE_SQUARES[0] < squares[weighted].min() and squares.max() < SAFE_SQUARES[1]):
        return None
    factor = factorise(gram, pull)
    if factor is None or not unrefined_error(factor.condition, d) < MAX_CONTRACTION:
        return None
    displacement, method, count = factor.solve(moment), Method.CHOLESKY, 0
    before, drop = energy, (moment * displacement).sum(axis=0) + pull * (displacement**2).sum(axis=0)
    if cheap or factor.condition > UNREFINED_CONDITION:
        previous = np.inf
        while count < MAX_REFINEMENTS:
            missing, before = residual_sums(displacement)
            slope = missing - pull * displacement
            change = factor.solve(slope)
            drop = (change * (missing + pull * (displacement + change))).sum(axis=0)
            size = _relative(change, displacement, factor.scale)
            if size == 0 or size > previous / 2:  # Only rounding is left.
                drop = np.zeros_like(before)
                break
            displacement, count, method = displacement + change, count + 1, Method.REFINED
            # What the next step would change is this one times what a step leaves of the error.
            if size * unrefined_error(factor.condition, d) < EPS / 8:
                break
            previous = size
    residual = before - drop
    if not (residual > MIN_RESIDUAL_SHARE * before).all():
        residual = residual_sums(displacement)[1]
    rank = int(weighted.sum())
    zero = np.zeros(moment.shape)
    return Solution(displacement, rank, factor.condition, residual, method, count, np.sqrt(squares), zero)


def residual_sums(sample: Sample, displacement: Array) -> tuple[Array, ...]:
    """XᵀW(r − Xδ) and Σw(r − Xδ)²: a pass over the rows."""
    ends, zeros = (sample.start, displacement), (np.zeros(sample.start.shape), np.zeros(sample.y.shape[1:]))
    return added(residual_products(sample.X, sample.y, ends, sample.weights), *zeros)


def _relative(change: Array, displacement: Array, scale: Array) -> float:
    """The largest column's ‖change‖/‖δ‖, in equilibrated coordinates."""
    size = lambda value: np.sqrt((((value.T / scale) ** 2).T).sum(axis=0))
    length = size(displacement)
    return float(np.max(size(change) / np.where(length > 0, length, 1.0), initial=0.0))


def by_inner_products(sample: Sample, pull: float) -> Solution | None:
    """δ = Aᵀλ for fewer rows than columns: (AAᵀ + pull)λ = b with A = √w X, b = √w r; None as above.

    Rows without weight are left out.
    """
    X, weights = sample.X, sample.row_weights
    kept = weights > 0
    root = np.sqrt(weights[kept])
    if not kept.any() or not np.isfinite(X).all():
        return None
    residual = sample.residual
    A, b = X[kept] * root[:, None], (residual[kept].T * root).T
    largest = np.abs(A).max(axis=1)
    if not largest.all():
        return None  # A row is zero, or has underflowed.
    if pull == 0:  # The rows can all be met, whatever their size.
        A, b = A / largest[:, None], (b.T / largest).T
    elif not (largest > SAFE_ENTRIES[0]).all():
        return None
    if not np.abs(A).max() < SAFE_ENTRIES[1]:
        return None
    factor = factorise(A @ A.T, pull)
    if factor is None or not unrefined_error(factor.condition, len(A)) < MAX_CONTRACTION:
        return None
    # A δ + pull·λ = b is solved for both: δ is added to, and not formed anew from a λ that may be κ times as large. And
    # δ is judged by the rows, for the inner products do not see in which units a column is.
    d, equations = X.shape[1], A if pull == 0 else np.concatenate([A, pull * np.eye(len(A))], axis=1)

    def inverse(missing: Array) -> Array:
        multiplier = factor.solve(missing)
        return A.T @ multiplier if pull == 0 else np.concatenate([A.T @ multiplier, multiplier])

    unknowns, count = refined(equations, b.reshape(len(b), -1), inverse, MAX_REFINEMENTS)
    displacement = unknowns[:d].reshape(sample.start.shape)
    misfit = (residual.T - (X @ displacement).T) * np.sqrt(weights)
    entries = np.maximum(largest_entries(namespace(), X), TINY)
    columns = entries * np.sqrt(weights @ (X / entries) ** 2)
    energy, zero = (misfit**2).sum(axis=-1), np.zeros(sample.start.shape)
    method = Method.REFINED_INNER_PRODUCTS if count else Method.INNER_PRODUCTS
    return Solution(displacement, len(A), factor.condition, energy, method, count, columns, zero)
