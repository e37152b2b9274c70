"""What each row is predicted to be by training on the others, for every row and many runs at once.

Without row i the second moments A, b of the rows are A − ux xᵀ and b − ur x, u its share of them, and of the resolvent
(A − z)⁻¹ a rank-one update is known. With a = xᵀ(A − z)⁻¹b and the leverage ℓ = u xᵀ(A − z)⁻¹x,

    xᵀδ₋ᵢ = −(1/2πi) ∮ f(z) (a − rℓ)/(1 − ℓ) dz,        f(z) = (1 − φ(z))/z,

around the spectrum of A, between whose eigenvalues those without the row lie; φ(z) is exp(−2tz) of gradient flow and
(1 − 2ηz)^K of K steps. It is the step by which ``high_dimension`` finds what to expect of rows, taken on the rows
themselves: exact for all of them, Gaussian or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..arrays import Array
from ..high_dimension.contour import Contour
from .measured import Measured

__all__ = ["Descents", "Flows", "LeftOut"]

ACCURACY = 1e-9
"""Of a prediction, beside the labels."""

NUMBERS_AT_ONCE = 2_000_000

ALONE = 1e-8
"""A row whose leverage is nearer to 1 is taken for the only one in a direction."""


@dataclass(frozen=True, eq=False)
class Flows:
    """Gradient flow, dδ/dt = 2(b − Aδ), to these ``times`` (k,)."""

    times: Array

    @property
    def longest(self) -> float:
        """The longest time."""
        return float(self.times.max())

    @property
    def reach(self) -> float:
        """The z from which on φ is not small: none."""
        return math.inf

    def f(self, z: Array) -> Array:
        """(k, points)."""
        return -np.expm1(-2 * self.times[:, None] * z) / z

    def one(self, k: int) -> Flows:
        """One of them."""
        return Flows(self.times[k : k + 1])


@dataclass(frozen=True, eq=False)
class Descents:
    """K = ``counts`` (k,) ≥ 1 steps δ ← δ + 2η(b − Aδ), 2η the ``sizes`` (k,), each below 2 over the largest λ."""

    sizes: Array
    counts: Array

    @property
    def longest(self) -> float:
        """The longest ηK."""
        return float((self.sizes * self.counts).max()) / 2

    @property
    def reach(self) -> float:
        """The z from which on a step overshoots by more than it had to go."""
        return 2 / float(self.sizes.max())

    def f(self, z: Array) -> Array:
        """(k, points): 2η times the sum of (1 − 2ηz)^j, j < K, for each size once."""
        sizes, which = np.unique(self.sizes, return_inverse=True)
        powers = np.empty((int(self.counts.max()), len(sizes), len(z)), z.dtype)
        powers[0], powers[1:] = sizes[:, None], 1 - sizes[:, None] * z
        return np.cumsum(np.cumprod(powers, axis=0), axis=0)[self.counts.astype(int) - 1, which]

    def one(self, k: int) -> Descents:
        """One of them."""
        return Descents(self.sizes[k : k + 1], self.counts[k : k + 1])


class LeftOut:
    """Standard fine-tuning, or with ``weighted`` FLOW, each row predicted by the others.

    Moments are those of mean weight 1, and without a row still divided by the sum over all. Of a row that counts v
    times one copy is left out, and all of it where v < 1.
    """

    def __init__(self, measured: Measured, weighted: bool) -> None:
        m = self.measured = measured
        values, vectors = m._curvatures[weighted].eigh()
        self.values, self.vectors = values[values > 0], vectors[:, values > 0]
        weights = m.rows.weights if weighted else np.ones_like(m.sample_weight)
        total = m.sample_weight @ weights
        self.moment = self.vectors.T @ (m.rows.X.T @ (m.sample_weight * weights * m.rows.residual / total))
        self.copies = np.minimum(m.sample_weight, 1.0) * weights / total

    def losses(self, runs: Flows | Descents) -> Array:
        """(k,) mean squares of what is left of the labels; to 1e-9 of that of the labels."""
        share = self.measured.sample_weight / self.measured.sample_weight.sum()
        weights, gram = self._weights(runs), 0.0
        for strip, parts in self._parts(runs):
            # They are quadratic in the integrand's weights, of which rows may be many more than points.
            all_of_it = np.column_stack([parts, self.measured.rows.residual[strip]])
            gram = gram + all_of_it.T @ (all_of_it * share[strip, None])
        form = np.column_stack([-weights, np.ones(len(weights))])
        return ((form @ gram) * form).sum(axis=1)

    def predictions(self, runs: Flows | Descents) -> Array:
        """xᵀδ₋ (k, n)."""
        weights = self._weights(runs)
        return np.concatenate([weights @ parts.T for _, parts in self._parts(runs)], axis=1)

    def end(self) -> Array:
        """The same (n,) of training to the end: of the optimum closest to the start without row i.

        A row that is alone in a direction q takes it away: what is left of the optimum is that across q.
        """
        steepest, vectors, moment = self._in_units
        values = self.values / steepest
        inside, residual = self.measured.rows.X @ vectors, self.measured.rows.residual
        optimum = moment / values
        fitted, leverage = inside @ optimum, self.copies * (inside**2 @ (1 / values))
        direction = inside / values
        length = (direction**2).sum(axis=1)
        along = (inside * direction).sum(axis=1) * (direction @ optimum)
        alone = 1 - leverage <= ALONE
        rest = np.where(alone, 1.0, 1 - leverage)
        across = fitted - along / np.where(length > 0, length, 1.0)
        return np.where(alone, across, (fitted - residual * leverage) / rest)

    @property
    def _in_units(self) -> tuple[float, Array, Array]:
        """The largest eigenvalue; and in units in which it is 1, as products of three may have no float in others,
        what takes features to coordinates, and the moment in these.
        """
        steepest = float(self.values[-1]) if len(self.values) else 1.0
        return steepest, self.vectors / math.sqrt(steepest), self.moment / math.sqrt(steepest)

    def _contour(self, runs: Flows | Descents) -> tuple[Array, Array]:
        """z and dz on the upper half; none where nothing moves."""
        if runs.longest == 0 or len(self.values) == 0:
            return np.zeros(0, complex), np.zeros(0, complex)
        contour = Contour.around(float(self.values[-1]), runs.longest, runs.reach)
        places = np.linspace(-1.0, 1.0, contour.points(ACCURACY) + 1)
        return contour.at(places), contour.derivative(places)

    def _weights(self, runs: Flows | Descents) -> Array:
        """f dz (k, 2 points), by which the parts add up to predictions; the lower half has the conjugates."""
        z, dz = self._contour(runs)
        f = runs.f(z) * dz
        return -np.concatenate([f.imag, f.real], axis=1) / math.pi

    def _parts(self, runs: Flows | Descents) -> Iterator[tuple[slice, Array]]:
        """Of some rows after others: which, and (a − rℓ)/(1 − ℓ), real parts and imaginary ones (rows, 2 points)."""
        z, _ = self._contour(runs)
        (steepest, vectors, moment), rows = self._in_units, self.measured.rows
        resolvent = steepest / (self.values[:, None] - z)
        size = max(1, NUMBERS_AT_ONCE // max(2 * len(z), len(self.measured.shift)))
        for begin in range(0, len(rows.residual), size):
            strip = slice(begin, begin + size)
            inside, residual = rows.X[strip] @ vectors, rows.residual[strip, None]
            fitted = _times_complex(inside * moment, resolvent)
            leverage = self.copies[strip, None] * _times_complex(inside**2, resolvent)
            predicted = (fitted - residual * leverage) / (1 - leverage)
            yield strip, np.concatenate([predicted.real, predicted.imag], axis=1)


def _times_complex(real: Array, other: Array) -> Array:
    """real @ other, in real arithmetic."""
    product = real @ np.concatenate([other.real, other.imag], axis=1)
    return product[:, : other.shape[1]] + 1j * product[:, other.shape[1] :]
