"""Powers of two for columns and labels, in which no square of ordinary rows leaves the floats."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from ..arrays import Array, Namespace
from ..least_squares.rows import Sample
from ..trees import is_concrete

__all__ = ["Units"]

WINDOW_ROOT = 8
"""Within the eighth root of the largest float numbers stay as they are: conjugate gradients take fourth powers."""


class Units(NamedTuple):
    """X = 2^columns·X′ and y = 2^labels·y′: exact, and gradient descent's path in other units is the same path.

    δ = 2^(labels − columns)·δ′, L = 4^labels·L′, η = 4^−columns·η′. Both exponents are 0 for ordinary rows.
    """

    space: Namespace
    columns: Array | int
    labels: Array | int

    @classmethod
    def of(cls, space: Namespace, sample: Sample) -> Units:
        """Such that √w·X′ and √w·y′ are of size 1 at most where they would be very small or large."""
        xp = space.xp
        X, y, start = sample.X, sample.y, sample.start
        if space.xp is not np:
            X, y, start = jax.lax.stop_gradient((X, y, start))
        if sample.weights is None:
            largest = xp.maximum(X.max(), -X.min())
            labels = xp.abs(y).max()
        else:
            root = xp.sqrt(sample.weights if xp is np else jax.lax.stop_gradient(sample.weights))
            largest = (xp.maximum(X.max(axis=1), -X.min(axis=1)) * root).max()
            labels = (xp.abs(y) * root).max()
        labels = xp.maximum(labels, largest * xp.abs(start).max())
        return cls(space, _exponent(space, largest), _exponent(space, labels))

    @property
    def ordinary(self) -> bool:
        """Whether these are known to be 1."""
        return is_concrete(self.columns, self.labels) and int(self.columns) == 0 == int(self.labels)

    def times(self, values: Array, exponent: Array | int) -> Array:
        """2^exponent·values, by two factors that are floats."""
        xp, half = self.space.xp, exponent // 2
        with np.errstate(over="ignore", under="ignore"):
            one = self.space.array(1.0)
            return values * xp.ldexp(one, half) * xp.ldexp(one, exponent - half)

    def scaled(self, sample: Sample) -> Sample:
        """The rows in these units."""
        if self.ordinary:
            return sample
        noise = None if sample.noise is None else self.times(sample.noise, -self.columns)
        return Sample(
            self.times(sample.X, -self.columns),
            self.times(sample.y, -self.labels),
            self.times(sample.start, self.columns - self.labels),
            sample.weights,
            noise,
        )

    def rate(self, learning_rate: Array | float) -> Array:
        """η′."""
        rate = self.space.array(learning_rate)
        return rate if self.ordinary else self.times(rate, 2 * self.columns)

    def displacement(self, values: Array) -> Array:
        """δ, or a distance, in the units given."""
        return values if self.ordinary else self.times(values, self.labels - self.columns)

    def loss(self, values: Array) -> Array:
        """L in the units given."""
        return values if self.ordinary else self.times(values, 2 * self.labels)

    def slope(self, values: Array) -> Array:
        """∇L in the units given."""
        return values if self.ordinary else self.times(values, self.labels + self.columns)


def _exponent(space: Namespace, value: Array) -> Array:
    """Of the power of two at ``value``, 0 if it is within the window, not finite, or 0."""
    xp, window = space.xp, np.finfo(space.dtype).maxexp // WINDOW_ROOT
    exponent = xp.frexp(xp.where(value > 0, value, 1.0))[1]
    ordinary = (abs(exponent) < window) | ~xp.isfinite(value)
    return xp.where(ordinary, 0, exponent)
