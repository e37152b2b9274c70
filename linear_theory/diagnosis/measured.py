"""What was measured on the rows, of which everything else here is a function; and the sums over rows it is made of.

A row of prior weight v counts as v rows like it, in every sum, mean and median.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from ..arrays import Array, Namespace, bounded, namespace, shaped
from ..covariance import Covariance, Dense
from ..covariance.spectrum import Spectrum, eigenbasis, rank_cutoff
from ..errors import reject
from ..least_squares import NormalEquations, Sample
from ..problem import FineTuningProblem
from ..trees import construct_unchecked, is_concrete, pytree
from ..weights import median_temperature

__all__ = [
    "CONFIDENCE",
    "ROUNDING_SHARE",
    "Measured",
    "checked_counts",
    "displacement_problem",
    "gram",
    "mean",
    "median",
    "median_loss",
    "scaled",
    "within_noise",
]

CONFIDENCE = 0.95
"""The probability with which noise alone stays within what is called noise."""

ROUNDING_SHARE = 1e-12
"""Errors below this share of the start's are rounding."""


@pytree
class Diagonalised(Dense):
    """A matrix in NumPy whose eigenbasis is computed once, for all the paths that are taken in it."""

    @cached_property
    def _basis(self) -> tuple[Array, Array]:
        return eigenbasis(namespace(), self.matrix, self.cutoff)

    def eigh(self) -> tuple[Array, Array]:
        """Ascending eigenvalues (d,), 0 where they are rounding, and eigenvectors (d, d) in columns."""
        return self._basis

    def spectrum(self, vector: Array) -> Spectrum:
        """The eigenbasis, and the vector's coordinates in it."""
        values, vectors = self._basis
        return Spectrum(values, vectors, vector, values > 0).of(namespace(), vector)


def displacement_problem(
    target_covariance: Covariance,
    shift: Array,
    pretrain_covariance: Covariance,
    noise_variance: Array | float = 0.0,
) -> FineTuningProblem:
    """The problem of the displacement θ − θ*, which the start's size costs no digits: θ* = 0 and θ̃* = −e.

    Its parts come from checked rows, and are not checked again.
    """
    space = namespace(shift)
    return construct_unchecked(
        FineTuningProblem,
        pretrained=space.xp.zeros_like(shift),
        target=-shift,
        target_covariance=target_covariance,
        pretrain_covariance=pretrain_covariance,
        noise_variance=space.array(noise_variance),
    )


@pytree
class Measured:
    """The numbers that decide what FLOW does to these rows, and the rows themselves.

    What each of them is stands in :class:`linear_theory.Diagnosis`.
    """

    temperature: Array
    mean_weight: Array
    effective_samples: Array
    covariances: Array
    spectrum: Array
    shift: Array
    weighted_shift: Array
    stalled_direction: Array
    overlap: Array
    half_life: Array
    target_errors: Array
    forgetting: Array
    pretrain_covariance: Covariance | None
    pretrain_rows: Array | None
    sample_weight: Array
    rule: Any
    rows: Sample

    @property
    def forgetting_measure(self) -> str:
        """Which forgetting error this is: by Σ, or where nothing is known of the old rows by G, which stands in.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.diagnose(np.eye(2), np.ones(2), np.zeros(2)).forgetting_measure
        '(θ − θ*)ᵀG(θ − θ*)'
        """
        return f"(θ − θ*)ᵀ{'G' if self.pretrain_covariance is None else 'Σ'}(θ − θ*)"

    @cached_property
    def _curvatures(self) -> tuple[Diagonalised, Diagonalised]:
        """G and C."""
        unweighted, weighted = self.covariances
        return Diagonalised(unweighted), Diagonalised(weighted)

    @property
    def _sigma(self) -> Covariance:
        """Σ, or what stands in for it."""
        return self._curvatures[0] if self.pretrain_covariance is None else self.pretrain_covariance

    @cached_property
    def _noise_variance(self) -> float:
        """σ², what the best line leaves of the labels."""
        noise = self.rows.residual + self.rows.X @ self.shift
        return float(mean(self.sample_weight, noise**2))

    @cached_property
    def _problem(self) -> FineTuningProblem:
        """These rows as a population: e, Σ̃ = G, Σ and σ²."""
        return displacement_problem(self._curvatures[0], self.shift, self._sigma, self._noise_variance)

    @cached_property
    def _weighted_problem(self) -> FineTuningProblem:
        """The weighted rows as a population, Σ̃ = C with its own optimum: FLOW is standard fine-tuning on it."""
        return displacement_problem(self._curvatures[1], self.weighted_shift, self._sigma)

    def _training_problem(self, weighted: bool) -> FineTuningProblem:
        """The population on which a method is standard fine-tuning: these rows, or the weighted ones."""
        return self._weighted_problem if weighted else self._problem

    @cached_property
    def _rank(self) -> int:
        """How many directions the rows span."""
        values = self.spectrum[0]
        return int((values > rank_cutoff(namespace(), values)).sum())

    @cached_property
    def _start_fits(self) -> bool:
        """Whether what the start leaves of y is rounding."""
        rows = self.rows
        size = float((abs(rows.X) @ abs(rows.start)).max())
        return float(abs(rows.residual).max()) <= 8 * len(self.shift) * np.finfo(float).eps * size

    @cached_property
    def _median_loss(self) -> float:
        """The median loss of the start."""
        return float(median(namespace(), self.rows.residual**2, self.sample_weight))


# ------------------------------------------------------------- rows, each counted as often as its weight says


def checked_counts(space: Namespace, name: str, counts: object, n: int) -> Array:
    """Weights (n,) finite and ≥ 0, not all 0; ``None`` is ones."""
    if counts is None:
        return space.xp.ones(n, dtype=space.dtype)
    accept = lambda v: (v >= 0) & (v < math.inf)
    checked = bounded(space, name, counts, accept, "must be finite and ≥ 0", ndim=1)
    checked = shaped(name, checked, (n,), "one a row of X")
    if is_concrete(checked):
        with np.errstate(over="ignore"):
            total = float(checked.sum())
        if not 0 < total < math.inf:
            reject(name, counts, "must have a sum that is above 0 and finite")
    return checked


def gram(A: Array, weights: Array | None = None) -> Array:
    """AᵀWA (d, d) of the rows of A (n, d)."""
    space = namespace(A)
    zeros = space.xp.zeros_like(A[:, 0]), space.xp.zeros_like(A[0])
    return NormalEquations.of_sample(space, Sample(A, *zeros, weights)).gram


def mean(counts: Array, values: Array) -> Array:
    """(1/Σv) Σ v·values, over the first axis."""
    return (counts / counts.sum()) @ values


def scaled(counts: Array, A: Array) -> Array:
    """The rows of A (n, …) by √v, so that sums of squares and products count each row v times."""
    return A if np.all(counts == 1) else A * np.sqrt(counts).reshape(-1, *[1] * (A.ndim - 1))


def within_noise(ratio: float, error: float, degrees_of_freedom: float) -> bool:
    """Whether noise alone takes errors that are alike as far apart as this ratio of two, whichever is the divisor.

    ``error`` is the standard error of ln ratio, which is what Student's quantile is asked of: ratios are skewed, and by
    them twice as many differences as promised would be beyond noise where rows are few.
    """
    far = float(special.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
    return ratio > 0 and abs(math.log(ratio)) <= error * far


def median_loss(space: Namespace, losses: Array, counts: Array | None) -> Array:
    """The default temperature; an error where it is 0, as of :func:`median_temperature`."""
    return median_temperature(losses if counts is None else median(space, losses, counts)[None])


def median(space: Namespace, values: Array, counts: Array) -> Array:
    """The median of values (n,) counted as often as their weights say: half of the weight on each side.

    Where exactly half lies below one and half above the next, as far as rounding in the sums tells, their mean.
    """
    xp = space.xp
    order = xp.argsort(xp.where(counts > 0, values, math.inf))  # rows that do not count come last
    below = xp.cumsum(counts[order]) / counts.sum()
    n = values.shape[0]
    # NumPy adds one after another and XLA in pairs of pairs: a slack of n there would soon be beyond any row's share.
    slack, last = (n if xp is np else n.bit_length()) * space.eps, n - 1
    lower, upper = (
        values[order][xp.minimum(xp.searchsorted(below, half), last)] for half in (0.5 - slack, 0.5 + slack)
    )
    return (lower + upper) / 2
