"""Rows of data, checked: X, y, the start they are seen from, and their weights."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, bounded, finite, namespace, numeric, require, shaped
from ..errors import reject
from ..reading import same_labels, same_rows
from ..trees import is_concrete, pytree
from .blocks import blocks, strips

__all__ = [
    "Sample",
    "checked_ridge",
    "checked_sample",
    "checked_scale",
    "largest_entries",
    "mostly_rounding",
    "noisy",
    "refuse_infinite",
    "refuse_overflow",
    "without_rounding",
]

MAX_NOISE = 16.0
"""How many times its own size a column's noise may be, in units of ε, before it is asked whether it is a column."""


@pytree
class Sample:
    """Rows as they were given: X (n, d), y (n,) or (n, m), start (d,) or (d, m), weights (n,) or None.

    ``noise`` (d,) or None: columns are known to n·ε of it, and those of which no more is left are zero.
    """

    X: Array
    y: Array
    start: Array
    weights: Array  # or None: all ones
    noise: Array | None = None

    def seen_from(self, start: Array) -> Sample:
        """The same rows with another start."""
        return Sample(self.X, self.y, start, self.weights, self.noise)

    def labelled(self, y: Array, start: Array) -> Sample:
        """The same rows with other labels and another start."""
        return Sample(self.X, y, start, self.weights, self.noise)

    def weighted(self, weights: Array | None) -> Sample:
        """The same rows with other weights."""
        return Sample(self.X, self.y, self.start, weights, self.noise)

    @property
    def row_weights(self) -> Array:
        """The weights (n,), ones where none were given."""
        if self.weights is not None:
            return self.weights
        space = namespace(self.X)
        return space.xp.ones(self.X.shape[0], dtype=space.dtype)

    @property
    def residual(self) -> Array:
        """r = y − X·start, by a pass over the rows."""
        return self.y - self.X @ self.start


def checked_sample(
    X: object,
    y: object,
    start: object,
    weights: object | None,
    *others: object,
    column_scale: object | None = None,
) -> tuple[Namespace, Sample]:
    """The engine of all the arguments and the rows in it, with shapes checked and every value but X's.

    Whether X is finite shows in the sums over its rows, which are taken anyway; ``refuse_infinite`` then
    says where it is not.
    """
    space = namespace(X, y, start, weights, *others, column_scale)
    same_rows(X=X, y=y, weights=weights)
    same_labels("parameters", X=(X, 1), start=(start, 0), column_scale=(column_scale, 0))
    same_labels("outputs", y=(y, 1), start=(start, 1))
    matrix = numeric(space, "X", X, ndim=2)
    n, d = matrix.shape
    if n == 0 or d == 0:
        reject("X", X, f"has shape {matrix.shape}; needs at least one row and one column")
    if not is_concrete(matrix):
        matrix = space.xp.where(space.xp.isfinite(matrix), matrix, space.xp.nan)
    labels = finite(space, "y", y, ndim=(1, 2))
    labels = shaped("y", labels, (n, *labels.shape[1:]), "one entry a row of X")
    origin = finite(space, "start", start, ndim=(1, 2))
    remedy = "one entry a column of X" + (", one column a column of y" if labels.ndim == 2 else "")
    origin = shaped("start", origin, (d, *labels.shape[1:]), remedy)
    if weights is not None:
        accept = lambda w: (w >= 0) & (w < math.inf)
        weights = bounded(space, "weights", weights, accept, "must be finite and ≥ 0", ndim=1)
        weights = shaped("weights", weights, (n,), "one a row of X")
    noise = None
    if column_scale is not None:
        scale = checked_scale(space, column_scale, d)
        matrix, noise = without_rounding(space, matrix, scale, largest_entries(space, matrix), n)
    return space, Sample(matrix, labels, origin, weights, noise)


def checked_ridge(space: Namespace, ridge: object) -> Array:
    """The ridge, a number, finite and ≥ 0."""
    accept = lambda v: (v >= 0) & (v < math.inf)
    return bounded(space, "ridge", ridge, accept, "must be finite and ≥ 0")


# ------------------------------------------------------------------------------------- columns that are rounding


def checked_scale(space: Namespace, column_scale: object, d: int) -> Array:
    """The magnitude (d,) that each column was made from, finite and ≥ 0."""
    accept = lambda c: (c >= 0) & (c < math.inf)
    scale = bounded(space, "column_scale", column_scale, accept, "must be finite and ≥ 0", ndim=1)
    return shaped("column_scale", scale, (d,), "one entry a column of X, the magnitude it was made from")


def largest_entries(space: Namespace, X: Array) -> Array:
    """The largest ``|x|`` of each column (d,)."""
    return space.xp.maximum(X.max(axis=0), -X.min(axis=0))


def without_rounding(space: Namespace, X: Array, scale: Array, largest: Array, n: int) -> tuple[Array, Array]:
    """X with those columns set to zero that are no more than centring n rows leaves of a constant; and the noise
    of the others. ``largest`` (d,): the largest ``|x|`` of each column among all n rows, of which X may be some.
    """
    rounding = largest <= n * space.eps * scale
    if not is_concrete(rounding) or bool(rounding.any()):
        X = space.xp.where(rounding, 0.0, space.xp.where(space.xp.isnan(scale), space.xp.nan, X))
    return X, space.xp.where(rounding, 0.0, scale)


def noisy(sample: Sample) -> bool:
    """Whether so little is left of some column that combinations of it may be rounding."""
    return sample.noise is not None and mostly_rounding(sample.noise, largest_entries(namespace(), sample.X))


def mostly_rounding(noise: Array, largest: Array) -> bool:
    """The same from the columns' noise and largest entries."""
    return bool((noise > MAX_NOISE * largest).any())


def refuse_infinite(space: Namespace, X: Array) -> None:
    """Raise if X holds NaN or infinity (block by block: no second array of its size)."""
    if not is_concrete(X):
        return
    if space.xp is np:
        parts, block = strips(*X.shape)
        finite_everywhere = all(
            np.isfinite(X[rows]).all() for strip in parts for rows in blocks(strip, block)
        )
    else:
        finite_everywhere = bool(space.xp.isfinite(X).all())
    if not finite_everywhere:
        require(space, "X", X, np.bool_(False), "must be finite (no NaN, no infinity)")


def refuse_overflow(space: Namespace, sample: Sample, theta: Array) -> None:
    """Raise where the minimiser is no float, and say of what it comes; under tracing that cannot be seen."""
    if not is_concrete(theta) or bool(space.xp.isfinite(theta).all()):
        return
    refuse_infinite(space, sample.X)
    largest = float(jnp.finfo(space.dtype).max) ** 0.5
    for name, value in (("start", sample.start), ("y", sample.y)):
        if float(space.xp.max(abs(value), initial=0.0)) > largest:
            reject(
                name, value, "is so large that the minimiser is no float; give y and start in larger units"
            )
    reject("X", sample.X, "is so small beside y that the minimiser overflows; rescale the columns")
