"""Weighted least squares in NumPy: Cholesky where what is measured on the rows allows it, and pivoted QR elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.lapack

from ..arrays import Array, Namespace, namespace
from ..threads import limit_blas_threads
from . import pivoted
from .blocks import BLOCK_ENTRIES, added, one_root, residual_products, weighted_products
from .refinement import EPS, MAX_CONTRACTION, far_from, refined, unrefined_error
from .rows import Sample, largest_entries, noisy, refuse_infinite, refuse_overflow
from .solution import Method, Solution, from_start

lapack: Any = scipy.linalg.lapack

MAX_REFINEMENTS = 8

UNREFINED_CONDITION = 8.0
"""Up to this condition number a Cholesky solution loses a digit at most: one refinement, where it is cheap."""

SAFE_SQUARES = 1e-280, 1e280
"""Between these a sum of squares has neither underflowed nor overflowed on the way."""

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


def minimise(space: Namespace, sample: Sample, ridge: Array) -> Solution:
    """The minimiser of Σw(y − Xθ)² + pull·‖θ − start‖², pull = n·ridge, for checked rows."""
    pull = len(sample.X) * float(ridge)
    with np.errstate(over="ignore", invalid="ignore"):  # looked for where it shows
        found, correction = _twice(space, sample, pull)
        if not np.isfinite(found.theta).all():
            # Squares of the labels or of the start may be no floats. δ is linear in both together.
            size = max(np.abs(sample.y).max(initial=1.0), np.abs(sample.start).max(initial=1.0))
            unit = _power_of_two(float(size))
            found, correction = _twice(space, sample.labelled(sample.y / unit, sample.start / unit), pull)
            found = replace(found, theta=found.theta * unit, residual=found.residual * unit * unit)
            correction = correction * unit
        refuse_overflow(space, sample, sample.start + found.theta)
    return from_start(space, sample.start, found, correction)


def _twice(space: Namespace, sample: Sample, pull: float) -> tuple[Solution, Array | float]:
    """δ, and where the start is far what a second solution from where the first ended adds to it."""
    found = _displacement(space, sample, pull)
    end = sample.start + found.theta
    if not far_from(space, sample.start, end, found.columns):
        return found, 0.0
    # Seen from where it ended, the residual is not the small difference of two large ones.
    again = _displacement(space, _with_ridge_rows(sample, pull).seen_from(end), 0.0)
    residual = residual_sums(sample.seen_from(end), again.theta)[1] if pull > 0 else again.residual
    return replace(found, residual=residual), again.theta


def _with_ridge_rows(sample: Sample, pull: float) -> Sample:
    """The ridge as rows of their own: √pull·θ = √pull·start."""
    if pull == 0:
        return sample
    n, d = sample.X.shape
    weights = np.ones(n) if sample.weights is None else sample.weights
    X = np.concatenate([sample.X, np.eye(d)])
    y = np.concatenate([sample.y, sample.start])
    return Sample(X, y, sample.start, np.concatenate([weights, np.full(d, pull)]), sample.noise)


def _displacement(space: Namespace, sample: Sample, pull: float) -> Solution:
    """The solution with δ for θ, by the cheapest method that what is measured on the rows allows."""
    n, d = sample.X.shape
    weights = sample.weights
    largest = 1.0 if weights is None else float(weights.max())
    if largest == 0 or not np.isfinite(pull):  # an infinite pull: no row moves it
        refuse_infinite(space, sample.X)
        zero = np.zeros(sample.start.shape)
        energy, rank = residual_sums(sample, zero)[1], d if pull > 0 else 0
        return Solution(zero, rank, 1.0, energy, Method.NO_WEIGHT, 0, np.zeros(d), zero)
    # All weights and the ridge times c is the same optimum: in these units the largest is about 1.
    root = _power_of_two(max(largest, pull) ** 0.5)
    unit = root * root
    found, scaled = None, _in_units(sample, unit)
    if scaled is not None and (pull == 0 or pull / unit >= TINY) and not noisy(sample):
        by_cholesky = _by_inner_products if n < d else _by_normal_equations
        small = min(n, d)
        with limit_blas_threads(n * d * small, d * small**2):
            found = by_cholesky(scaled, pull / unit)
    if found is None:
        refuse_infinite(space, sample.X)
        found = pivoted.minimise(sample, root, pull)
    residual, columns = found.residual * unit, found.columns * root
    return replace(found, rank=d if pull > 0 else found.rank, residual=residual, columns=columns)


def _in_units(sample: Sample, unit: float) -> Sample | None:
    """The rows with weights/unit; None if that underflows for some."""
    if unit == 1:
        return sample
    weights = np.ones(len(sample.X)) if sample.weights is None else sample.weights
    scaled = weights / unit
    if ((scaled < TINY) & (weights > 0)).any():
        return None
    return sample.weighted(scaled)


def _power_of_two(value: float) -> float:
    """The power of two at or below ``value``: dividing by it is exact."""
    return float(2.0 ** (np.frexp(value)[1] - 1)) if 0 < value < np.inf else value


def _by_normal_equations(sample: Sample, pull: float) -> Solution | None:
    d = sample.X.shape[1]
    products = weighted_products(sample.X, sample.y, sample.start, one_root(sample.weights))
    zeros = np.zeros((d, d)), np.zeros(sample.start.shape), np.zeros(sample.y.shape[1:])
    gram, moment, energy = added((sums for (sums,) in products), *zeros)
    if any(sample.X[:, j].any() for j in np.flatnonzero(gram.diagonal() == 0)):
        return None  # underflow: a column that only looks like zeros
    if (energy < SAFE_SQUARES[0]).any() and sample.residual.any():
        return None  # or products with residuals as small
    cheap = sample.X.size <= BLOCK_ENTRIES
    return from_sums(
        gram, moment, energy, pull, lambda displacement: residual_sums(sample, displacement), cheap
    )


def from_sums(
    gram: Array,
    moment: Array,
    energy: Array,
    pull: float,
    residual_sums: Callable[[Array], tuple[Array, ...]],
    cheap: bool = False,
) -> Solution | None:
    """δ from XᵀWX, XᵀWr and Σwr², refined by ``residual_sums(δ)``, a pass over the rows that gives XᵀW(r − Xδ) and
    Σw(r − Xδ)²; where it is not needed, only if it is ``cheap``. None where the condition number is beyond repair by
    refinement, or squares have over- or underflowed.
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
            drop = (change * (missing + slope)).sum(axis=0) / 2
            size = _relative(change, displacement, factor.scale)
            if size == 0 or size > previous / 2:  # only rounding is left
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


def _by_inner_products(sample: Sample, pull: float) -> Solution | None:
    """Wide rows: δ = Aᵀλ, (AAᵀ + pull)λ = b with A = √w X, b = √w r. Rows without weight are left out."""
    X = sample.X
    weights = np.ones(len(X)) if sample.weights is None else sample.weights
    kept = weights > 0
    root = np.sqrt(weights[kept])
    if not kept.any() or not np.isfinite(X).all():
        return None
    residual = sample.residual
    A, b = X[kept] * root[:, None], (residual[kept].T * root).T
    largest = np.abs(A).max(axis=1)
    if not largest.all():
        return None  # a row of zeros, or one that has underflowed
    if pull == 0:  # the rows can all be met, whatever their size
        A, b = A / largest[:, None], (b.T / largest).T
    elif not (largest > 1e-140).all():
        return None
    if not np.abs(A).max() < 1e140:
        return None
    factor = factorise(A @ A.T, pull)
    if factor is None or not unrefined_error(factor.condition, len(A)) < MAX_CONTRACTION:
        return None
    # A δ + pull·λ = b in both: δ is added to, and not formed anew from a λ that may be κ times as large. And it is
    # judged by the rows, for the inner products do not see in which units a column is.
    d, equations = X.shape[1], A if pull == 0 else np.concatenate([A, pull * np.eye(len(A))], axis=1)

    def inverse(missing: Array) -> Array:
        multiplier = factor.solve(missing)
        return A.T @ multiplier if pull == 0 else np.concatenate([A.T @ multiplier, multiplier])

    both, count = refined(equations, b.reshape(len(b), -1), inverse, MAX_REFINEMENTS)
    displacement = both[:d].reshape(sample.start.shape)
    misfit = (residual.T - (X @ displacement).T) * np.sqrt(weights)
    entries = np.maximum(largest_entries(namespace(), X), TINY)
    columns = entries * np.sqrt(weights @ (X / entries) ** 2)
    energy, zero = (misfit**2).sum(axis=-1), np.zeros(sample.start.shape)
    method = Method.REFINED_INNER_PRODUCTS if count else Method.INNER_PRODUCTS
    return Solution(displacement, len(A), factor.condition, energy, method, count, columns, zero)
