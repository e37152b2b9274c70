"""What each row is predicted to be by training on the others, for every row and time at once.

Without row i the second moments A, b of the rows are A − ux xᵀ and b − ur x, u its share of them, and of the resolvent
(A − z)⁻¹ a rank-one update is known. With a = xᵀ(A − z)⁻¹b and the leverage ℓ = u xᵀ(A − z)⁻¹x,

    xᵀδ₋ᵢ(t) = −(1/2πi) ∮ f(z) (a − rℓ)/(1 − ℓ) dz,        f(z) = (1 − exp(−2tz))/z,

around the spectrum of A, between whose eigenvalues those without the row lie. It is the step by which
``high_dimension`` finds what to expect of rows, taken on the rows themselves: exact for all of them, Gaussian or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..arrays import Array
from ..high_dimension.contour import Contour
from .measured import Measured

__all__ = ["end_left_out", "path_left_out"]

ACCURACY = 1e-9
"""Of a prediction, beside the labels."""

NUMBERS_AT_ONCE = 2_000_000

ALONE = 1e-8
"""A row whose leverage is nearer to 1 is taken for the only one in a direction."""


def path_left_out(m: Measured, weighted: bool, times: Array) -> Iterator[tuple[slice, Array]]:
    """Of some rows after others: which, and xᵀδ₋ᵢ (times, rows) of gradient flow from the start, with mean weight 1.

    Of a row that counts v times one copy is left out, and all of it where v < 1. In floats, to 1e-9 of the labels.
    """
    values, vectors, moment, copies = _moments(m, weighted)
    longest = float(times.max(initial=0.0))
    if longest == 0 or len(values) == 0:
        yield slice(0, len(m.rows.residual)), np.zeros((len(times), len(m.rows.residual)))
        return
    contour = Contour.around(float(values[-1]), longest, math.inf)
    places = np.linspace(-1.0, 1.0, contour.points(ACCURACY) + 1)
    z = contour.at(places)
    resolvent = 1 / (values[:, None] - z)
    kernel = -np.expm1(-2 * times[:, None] * z) / z * contour.derivative(places)
    size = max(1, NUMBERS_AT_ONCE // max(len(times), len(z), len(m.shift)))
    for begin in range(0, len(m.rows.residual), size):
        strip = slice(begin, begin + size)
        inside, residual = m.rows.X[strip] @ vectors, m.rows.residual[strip, None]
        fitted = _times_complex(inside * moment, resolvent)
        leverage = copies[strip, None] * _times_complex(inside**2, resolvent)
        predicted = (fitted - residual * leverage) / (1 - leverage)
        # The lower half of the contour has the conjugates.
        yield strip, -(kernel @ predicted.T).imag / math.pi


def end_left_out(m: Measured) -> Array:
    """The same (n,) of unweighted training to the end: of the optimum closest to the start without row i.

    A row that is alone in a direction q takes it away: what is left of the optimum is that across q.
    """
    values, vectors, moment, copies = _moments(m, weighted=False)
    inside, residual = m.rows.X @ vectors, m.rows.residual
    fitted, leverage = inside @ (moment / values), copies * (inside**2 @ (1 / values))
    direction = inside / values
    length = (direction**2).sum(axis=1)
    without = (inside * direction).sum(axis=1) * (direction @ (moment / values))
    alone = 1 - leverage <= ALONE
    rest = np.where(alone, 1.0, 1 - leverage)
    return np.where(
        alone,
        fitted - without / np.where(length > 0, length, 1.0),
        (fitted - residual * leverage) / rest,
    )


def _moments(m: Measured, weighted: bool) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues (k,) and eigenvectors (d, k) of A where rows are, b there, and the share (n,) that a copy has."""
    values, vectors = m._curvatures[weighted].eigh()
    values, vectors = values[values > 0], vectors[:, values > 0]
    weights = m.rows.weights if weighted else np.ones_like(m.sample_weight)
    total = m.sample_weight @ weights
    moment = vectors.T @ (m.rows.X.T @ (m.sample_weight * weights * m.rows.residual / total))
    return values, vectors, moment, np.minimum(m.sample_weight, 1.0) * weights / total


def _times_complex(real: Array, other: Array) -> Array:
    """real @ other, in real arithmetic."""
    product = real @ np.concatenate([other.real, other.imag], axis=1)
    return product[:, : other.shape[1]] + 1j * product[:, other.shape[1] :]
