"""Weighted least squares in NumPy: the way is chosen by what is measured on the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.lapack

from ..arrays import Array, Namespace, namespace
from ..threads import limit_blas_threads
from . import pivoted
from .blocks import BLOCK_ENTRIES, one_root, residual_products, weighted_products
from .fit import CHOLESKY, CONTRACTION, DIRECT, DUAL, DUAL_REFINED, IDLE, NOISY, REFINED, Fit, far_from
from .refinement import refined
from .rows import Sample, largest_entries, refuse_infinite, refuse_overflow

lapack: Any = scipy.linalg.lapack

MAX_REFINEMENTS = 8

SQUARES = 1e-280, 1e280
"""Between these a sum of squares has neither underflowed nor overflowed on the way."""


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


def fit(space: Namespace, sample: Sample, ridge: Array) -> Fit:
    """The displacement (d,) or (d, m) for checked rows."""
    pull = len(sample.X) * float(ridge)
    with np.errstate(over="ignore", invalid="ignore"):  # looked for where it shows
        found = _fit_twice(space, sample, pull)
        if not np.isfinite(found.displacement).all():
            # Squares of the labels or of the start may be no floats. δ is linear in both together.
            size = max(np.abs(sample.y).max(initial=1.0), np.abs(sample.start).max(initial=1.0))
            unit = _power_of_two(float(size))
            found = _fit_twice(space, sample.labelled(sample.y / unit, sample.start / unit), pull)
            displacement, energy = found.displacement * unit, found.residual * unit * unit
            found = found._replace(displacement=displacement, residual=energy, rest=found.rest * unit)
        refuse_overflow(space, sample, sample.start + found.displacement)
    return found


def _fit_twice(space: Namespace, sample: Sample, pull: float) -> Fit:
    """Once more from where the first ended, where the start is far."""
    found = _fit(space, sample, pull)
    end = sample.start + found.displacement
    if not far_from(space, sample.start, end, found.columns):
        return found
    # Seen from where it ended, the residual is not the small difference of two large ones.
    again = _fit(space, _pulled(sample, pull).seen_from(end), 0.0)
    left = _left(sample.seen_from(end), again.displacement)[1] if pull > 0 else again.residual
    return found._replace(residual=left, rest=again.displacement)


def _pulled(sample: Sample, pull: float) -> Sample:
    """The ridge as rows of their own: √pull·θ = √pull·start."""
    if pull == 0:
        return sample
    (n, d), many = sample.X.shape, sample.y.ndim
    weights = np.ones(n) if sample.weights is None else sample.weights
    X = np.concatenate([sample.X, np.eye(d)])
    y = np.concatenate([sample.y, sample.start])
    assert y.ndim == many
    return Sample(X, y, sample.start, np.concatenate([weights, np.full(d, pull)]), sample.noise)


def _fit(space: Namespace, sample: Sample, pull: float) -> Fit:
    n, d = sample.X.shape
    weights = sample.weights
    largest = 1.0 if weights is None else float(weights.max())
    if largest == 0 or not np.isfinite(pull):  # an infinite pull: no row moves it
        refuse_infinite(space, sample.X)
        nothing = np.zeros(sample.start.shape)
        energy = _left(sample, nothing)[1]
        return Fit(nothing, d if pull > 0 else 0, 1.0, energy, IDLE, 0, np.zeros(d), 0.0)
    # All weights and the ridge times c is the same optimum: in these units the largest is about 1.
    root = _power_of_two(max(largest, pull) ** 0.5)
    unit = root * root
    found = None
    scaled = _in_units(sample, unit)
    even = pull == 0 or pull / unit >= TINY
    if scaled is not None and even and not noisy(sample):
        gram_way = _by_inner_products if n < d else _by_normal_equations
        small = min(n, d)
        with limit_blas_threads(n * d * small, d * small**2):
            found = gram_way(scaled, pull / unit)
    if found is None:
        refuse_infinite(space, sample.X)
        roots = np.ones(n) if weights is None else np.sqrt(weights)
        found = pivoted.fit(sample, roots / root, pull**0.5 / root)
    residual, columns = found.residual * unit, found.columns * root
    return found._replace(rank=d if pull > 0 else found.rank, residual=residual, columns=columns)


def noisy(sample: Sample) -> bool:
    """Whether so little is left of some column that combinations of it may be rounding."""
    return sample.noise is not None and drowned(sample.noise, largest_entries(namespace(), sample.X))


def drowned(noise: Array, largest: Array) -> bool:
    """The same from the columns' noise and largest entries."""
    return bool((noise > NOISY * largest).any())


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


def unrefined_error(condition: float, dim: int) -> float:
    """About d·κ²·ε: what Cholesky on normal equations loses, and what a step of refinement leaves of an error."""
    return dim * condition**2 * float(np.finfo(float).eps)


def _by_normal_equations(sample: Sample, pull: float) -> Fit | None:
    d = sample.X.shape[1]
    gram, moment, energy = np.zeros((d, d)), np.zeros(sample.start.shape), np.zeros(sample.y.shape[1:])
    for ((gram_part, moment_part, energy_part),) in weighted_products(
        sample.X, sample.y, sample.start, one_root(sample.weights)
    ):
        gram, moment, energy = gram + gram_part, moment + moment_part, energy + energy_part
    if any(sample.X[:, j].any() for j in np.flatnonzero(gram.diagonal() == 0)):
        return None  # underflow: a column that only looks like zeros
    if (energy < SQUARES[0]).any() and sample.residual.any():
        return None  # or products with residuals as small
    cheap = sample.X.size <= BLOCK_ENTRIES
    return by_cholesky(gram, moment, energy, pull, lambda displacement: _left(sample, displacement), cheap)


def by_cholesky(
    gram: Array,
    moment: Array,
    energy: Array,
    pull: float,
    left: Callable[[Array], tuple[Array, Array]],
    cheap: bool = False,
) -> Fit | None:
    """From XᵀWX, XᵀWr and Σwr², refined by ``left(δ)``, a pass over the rows that gives XᵀW(r − Xδ) and
    Σw(r − Xδ)²; where it is not needed, only if it is ``cheap``. None where the condition number is beyond repair
    by refinement, or squares have over- or underflowed.
    """
    squares, d = gram.diagonal(), len(gram)
    if not (np.isfinite(gram).all() and np.isfinite(moment).all() and np.isfinite(energy).all()):
        return None
    seen = squares > 0
    if seen.any() and not (SQUARES[0] < squares[seen].min() and squares.max() < SQUARES[1]):
        return None
    factor = factorise(gram, pull)
    if factor is None or not unrefined_error(factor.condition, d) < CONTRACTION:
        return None
    displacement, way, count = factor.solve(moment), CHOLESKY, 0
    before, drop = energy, (moment * displacement).sum(axis=0) + pull * (displacement**2).sum(axis=0)
    if cheap or factor.condition > DIRECT:
        previous = np.inf
        while count < MAX_REFINEMENTS:
            left_moment, before = left(displacement)
            slope = left_moment - pull * displacement
            change = factor.solve(slope)
            drop = (change * (left_moment + slope)).sum(axis=0) / 2
            size = _relative(change, displacement, factor.scale)
            if size == 0 or size > previous / 2:  # only rounding is left
                drop = np.zeros_like(before)
                break
            displacement, count, way = displacement + change, count + 1, REFINED
            # What the next step would change is this one times what a step leaves of the error.
            if size * unrefined_error(factor.condition, d) < np.finfo(float).eps / 8:
                break
            previous = size
    residual = before - drop
    if not (residual > 1e-3 * before).all():  # it would cancel
        residual = left(displacement)[1]
    rank = int(seen.sum())
    return Fit(displacement, rank, factor.condition, residual, way, count, np.sqrt(squares), 0.0)


def _left(sample: Sample, displacement: Array) -> tuple[Array, Array]:
    """XᵀW(r − Xδ) and Σw(r − Xδ)²: a pass over the rows."""
    moment, energy = 0.0, 0.0
    both = sample.start, displacement
    for moment_part, energy_part in residual_products(sample.X, sample.y, both, sample.weights):
        moment, energy = moment + moment_part, energy + energy_part
    return np.asarray(moment), np.asarray(energy)


def _relative(change: Array, whole: Array, scale: Array) -> float:
    """The largest column's ‖change‖/‖whole‖, in equilibrated coordinates."""
    size = lambda value: np.sqrt((((value.T / scale) ** 2).T).sum(axis=0))
    length = size(whole)
    return float(np.max(size(change) / np.where(length > 0, length, 1.0), initial=0.0))


def _by_inner_products(sample: Sample, pull: float) -> Fit | None:
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
    if factor is None or not unrefined_error(factor.condition, len(A)) < CONTRACTION:
        return None
    # A δ + pull·λ = b in both: δ is added to, and not formed anew from a λ that may be κ times as large. And it is
    # judged by the rows, for the inner products do not see in which units a column is.
    d, pulled = X.shape[1], A if pull == 0 else np.concatenate([A, pull * np.eye(len(A))], axis=1)

    def inverse(missing: Array) -> Array:
        multiplier = factor.solve(missing)
        return A.T @ multiplier if pull == 0 else np.concatenate([A.T @ multiplier, multiplier])

    both, count = refined(pulled, b.reshape(len(b), -1), inverse, MAX_REFINEMENTS)
    displacement = both[:d].reshape(sample.start.shape)
    left = (residual.T - (X @ displacement).T) * np.sqrt(weights)
    entries = np.maximum(largest_entries(namespace(), X), TINY)
    columns = entries * np.sqrt(weights @ (X / entries) ** 2)
    way = DUAL_REFINED if count else DUAL
    return Fit(displacement, len(A), factor.condition, (left**2).sum(axis=-1), way, count, columns, 0.0)
