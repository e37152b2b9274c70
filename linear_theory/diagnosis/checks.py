"""Which assumption of the theory do these rows break? Each with the figure that shows it.

Lemma F.1 and what follows from it take rows (x, ξ) that are Gaussian, centred, and ξ independent of x. It then
needs three things of them: the residual's law, that the features given the residual have a mean linear in it,
and a covariance that does not depend on it. Theorem 7.2 takes ξ = 0 as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from ..arrays import Array, namespace
from ..significance import SIGMAS, as_deviate, f_deviate, four_sigma, kurtosis_deviate, skewness_deviate
from ..tilting import residual_tilt
from ..weights import Flow
from .measured import Measured, gram, mean, scaled

__all__ = ["Check", "at_the_median", "equal_weights", "run_checks"]

NUMPY = namespace()

MEANING = {
    "centred rows": "A mean is one more direction, along which rows are no Gaussian around 0. Centre X and y.",
    "Gaussian residuals": "The mean weight, the effective sample size and the stall's depth follow the tails of "
    "the residual; the theory's values of these are for a Gaussian.",
    "Gaussian features": "Where long rows have large residuals, weights that fall with the loss drop long rows (where "
    "tails are short, keep more of them): they change the curvature in every direction and not along the shift alone.",
    "symmetric rows": "Given the residual the mean of the features may bend: the direction that the weights stall "
    "then turns away from the shift.",
    "weights along the residual": "The curvature along the shift is not what Lemma F.1 says. "
    "Trust the paths, which are computed from the rows.",
    "weights across the residual": "Lemma F.1 leaves the other directions alone; here the weights change their "
    "curvature too, so that part of what looks like a stall is a change of step.",
    "noise even along the shift": "Where easy rows are the quiet ones FLOW's end need be no model average, nor κ "
    "τ/(τ + 2σ²).",
    "noise even across rows": "Where easy rows are the quiet ones, among short rows or among long ones, the "
    "weights tilt the features' covariance as well.",
    "labels without noise": "Theorem 7.2 has none. With Gaussian noise FLOW trained to the end does not reach the new "
    "optimum but tends to the model average that keeps the share 1 − κ of the start.",
}  # fmt: skip

EQUAL_WEIGHTS = 1e-9
"""Weights that differ by no more, beside the largest, are equal: what is left is rounding of the losses."""

SKEWNESS_ATOL = 1e-12
"""A skewness below this is that of rounding."""

RANK_RTOL = 1e-10
"""Directions of the equilibrated rows flatter than this, beside the steepest, are taken for rounding."""

GRAM_MIN_RATIO = 1e-6
"""Down to this ratio of eigenvalues the Gram matrix gives the basis to 1e-9, in a tenth of the time."""


def equal_weights(m: Measured) -> bool:
    """Whether FLOW's weights are the same for every row that counts: they then do nothing but scale the loss."""
    return float(np.ptp(m.rows.weights[m.sample_weight > 0])) <= EQUAL_WEIGHTS


@dataclass(frozen=True)
class Check:
    """One assumption: the ``figure`` that shows it, what the theory ``expects``, and how far off that is.

    ``what`` the figure is; ``error`` its standard error under the assumption, NaN where the reference
    distribution is exact and not normal; ``sigmas`` the standard normal deviate of the same probability, NaN
    where the rows are too few to judge; ``culprit`` the column that is furthest off, −1 the residual, or
    None; ``limit`` the largest ``|deviate|`` that passes, 4 made fair to as many checks at once (Bonferroni).
    """

    name: str
    what: str
    figure: float
    expected: float
    error: float
    sigmas: float
    culprit: int | None = None
    limit: float = SIGMAS

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"broken"``, or ``"not judged"``."""
        if math.isnan(self.sigmas):
            return "not judged"
        return "broken" if abs(self.sigmas) > self.limit else "holds"

    @property
    def meaning(self) -> str:
        """What follows where it is broken."""
        return MEANING[self.name]

    def __repr__(self) -> str:
        error = "" if math.isnan(self.error) else f" ± {self.error:.2g}"
        return (
            f"Check {self.name!r}: {self.verdict}\n"
            f"  {self.what}\n"
            f"  {self.figure:.4g}, expected {self.expected:.4g}{error}; "
            f"{self.sigmas:.3g} sigmas of {self.limit:.3g} allowed"
        )


def at_the_median(m: Measured) -> bool:
    """Whether the temperature is the median loss of the start."""
    return float(m.temperature) == m._median_loss


def run_checks(m: Measured) -> tuple[Check, ...]:
    """Every check of a diagnosis in NumPy."""
    limit = four_sigma(len(MEANING) - 1)  # labels have noise or have none: no error to allow for
    with np.errstate(all="ignore"):
        return tuple(Check(name, *numbers, limit=limit) for name, *numbers in _measure_all(m))


def _measure_all(m: Measured) -> Iterator[tuple[Any, ...]]:
    counted = m.sample_weight > 0
    every = m.rows.X, m.rows.residual, m.rows.weights, m.sample_weight
    X, r, w, v = every if counted.all() else (array[counted] for array in every)
    explained = X @ m.shift  # −E[r | x]
    noise = r + explained
    noise_energy, energy = float(v @ noise**2), float(v @ r**2)
    noiseless = not noise_energy > RANK_RTOL**2 * energy
    joint = np.column_stack([X, r])
    yield "centred rows", *_centred(joint, v)
    yield (
        "Gaussian residuals",
        *_kurtosis(r[:, None], v, "kurtosis of the residual, over a Gaussian's,"),
    )
    yield "Gaussian features", *_kurtosis(X, v, "kurtosis of the features, over a Gaussian's,")
    yield "symmetric rows", *_skewness(joint, v)
    yield "weights along the residual", *_along(m, r, w, v)
    yield "weights across the residual", *_across(w, X, r, v)
    size = (basis(scaled(v, X)) ** 2).sum(axis=1) / v
    for name, what, order in (
        (
            "noise even along the shift",
            "noise variance, strongly against weakly shifted rows",
            abs(explained),
        ),
        ("noise even across rows", "noise variance, long rows against short ones", size),
    ):
        yield name, *(_not_judged(what, 1.0) if noiseless else _evenness(X, noise, order, v, what))
    share = 0.0 if noiseless else noise_energy / energy
    yield (
        "labels without noise",
        "share of the start's loss that no line explains",
        share,
        0.0,
        math.nan,
        (0.0 if noiseless else math.inf),
    )


def _not_judged(what: str, expected: float) -> tuple[Any, ...]:
    return what, math.nan, expected, math.nan, math.nan


# ------------------------------------------------------------------------------------- the law of the rows


def _centred(joint: Array, counts: Array) -> tuple[Any, ...]:
    """Hotelling's T²/n = mᵀS⁻¹m against its exact F distribution."""
    what = "distance of the rows' mean from 0, in standard deviations"
    n, span = float(counts.sum()), basis(scaled(counts, joint))
    k = span.shape[1]
    # T²/(T² + n − 1) is the squared length of the direction √v/√n within the span of the columns.
    inside = float(((np.sqrt(counts) @ span) ** 2).sum() / n)
    if n <= k + 2:
        return _not_judged(what, 0.0)
    means = mean(counts, joint)
    spread = np.sqrt(mean(counts, (joint - means) ** 2))
    culprit = int(np.argmax(abs(means) / np.where(spread > RANK_RTOL * abs(means), spread, 1e-300)))
    ratio = inside / max(1 - inside, 1e-300)
    sigmas = math.inf if 1 - inside < RANK_RTOL else f_deviate(ratio * (n - k) / k, k, n - k) if k else 0.0
    # As a distance; its mean under the assumption, k/(n − k − 2), is what sampling alone makes of it.
    distance, sampling = math.sqrt(ratio), math.sqrt(k / (n - k - 2))
    distance = distance if distance > RANK_RTOL else 0.0
    return what, distance, sampling, math.nan, sigmas, culprit if culprit < joint.shape[1] - 1 else -1


def _kurtosis(A: Array, counts: Array, what: str) -> tuple[Any, ...]:
    """mean ‖z‖⁴ over d(d + 2): 1 for Gaussian rows, more where tails are heavy (Mardia)."""
    z, n = whitened(A, counts), float(counts.sum())
    d = z.shape[1]
    if d == 0 or n < 3 * (d + 1) or n < 20:
        return _not_judged(what, 1.0)
    moment, unit = float(mean(counts, (z**2).sum(axis=1) ** 2)), d * (d + 2)
    expected, error, sigmas = kurtosis_deviate(moment, n, d)
    return what, moment / unit, expected / unit, error / unit, sigmas


def _skewness(joint: Array, counts: Array) -> tuple[Any, ...]:
    """The most skewed of the columns of (x, r), made fair to as many."""
    what, n, columns = "largest skewness of a column", float(counts.sum()), joint.shape[1]
    if n < 20:
        return _not_judged(what, 0.0)
    skewness = column_skewness(joint, counts)
    z = skewness_deviate(skewness, n)
    worst = int(np.argmax(abs(z)))
    fair = special.log_ndtr(-abs(z[worst])) + math.log(2 * columns)
    sigmas = math.copysign(as_deviate(float(fair)), skewness[worst])
    error = math.sqrt(6 * (n - 2) / ((n + 1) * (n + 3)))
    return what, float(skewness[worst]), 0.0, error, sigmas, worst if worst < columns - 1 else -1


def column_skewness(columns: Array, counts: Array) -> Array:
    """The skewness of each column of (n, m), each row counted so often; 0 for a constant column."""
    share = counts / counts.sum()
    centred = columns - share @ columns
    squares = centred**2
    second, third = share @ squares, share @ (squares * centred)
    varies = abs(centred).max(axis=0) > RANK_RTOL * abs(columns).max(axis=0)
    skewness = np.where(varies, third / np.where(varies, second, 1.0) ** 1.5, 0.0)
    return np.where(abs(skewness) > SKEWNESS_ATOL, skewness, 0.0)


# ------------------------------------------------------------------------------- what Lemma F.1 says of Σ'


def _along(m: Measured, r: Array, w: Array, counts: Array) -> tuple[Any, ...]:
    """h = E[w r²]/(E[w] E[r²]) against the Gaussian's, its error by the delta method."""
    what = "curvature that the weights leave along the residual"
    n, s2 = float(counts.sum()), float(mean(counts, r**2))
    if n < 20 or s2 == 0:
        return _not_judged(what, math.nan)
    try:
        expected = float(residual_tilt(m.rule, s2).ratio)
        error = _along_error(m, s2) / math.sqrt(n)
    except (ValueError, TypeError):  # a rule that has no Gaussian moments there
        return _not_judged(what, math.nan)
    figure = float(mean(counts, w * r**2) / (mean(counts, w) * s2))
    return what, figure, expected, error, (figure - expected) / error if error > RANK_RTOL else 0.0


def _along_error(m: Measured, s2: float) -> float:
    """√n times the standard error of h − its prediction, for Gaussian residuals of variance s².

    Both see the same residuals: through the weights, through s², and through τ where that is their median.
    The standard deviation of the sum of these influences is an integral over the normal law.
    """
    z = np.linspace(-9, 9, 36_001)
    density = lambda z: np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    law = density(z) * (z[1] - z[0])
    r2 = s2 * z**2
    w = np.exp(m.rule.log_weights(r2))
    average = lambda values: float(law @ values)
    mass, second = average(w), average(w * r2)
    h = second / (mass * s2)
    predicted = lambda variance: float(residual_tilt(m.rule, variance).ratio)
    log_step = 1e-5
    slope = (predicted(s2 * math.exp(log_step)) - predicted(s2 * math.exp(-log_step))) / (
        2 * log_step
    )  # by ln s²
    influence = h * (w * r2 / second - w / mass) - (h + slope) * (z**2 - 1)
    if isinstance(m.rule, Flow) and at_the_median(m):
        tau, a = float(m.temperature), math.sqrt(float(m.temperature) / s2)
        # d ln τ of the median; w changes by w r²/τ of it, and the prediction by −slope, being one of s²/τ.
        moved = (0.5 - (r2 <= tau)) / (a * density(a))
        change = h * (average(w * r2**2) / second - average(w * r2) / mass) / tau + slope
        influence = influence + change * moved
    return math.sqrt(average((influence - average(influence)) ** 2))


def _across(w: Array, X: Array, r: Array, counts: Array) -> tuple[Any, ...]:
    """What the weights make of the features less their part along r: by permutations, mean 0 and 1/√(n − 1)."""
    what, n = "curvature that the weights leave across the residual", float(counts.sum())
    across = X - np.outer(r, (counts * r @ X) / max(float(counts @ r**2), 1e-300))
    # Where r is in the span of X, one direction is rounding.
    across = whitened(across, counts, np.linalg.norm(scaled(counts, X), axis=0))
    k = across.shape[1]
    if k == 0 or n < 3 * (k + 1) or n < 20 or not np.ptp(w) > 0:
        return _not_judged(what, 1.0)
    q = (across**2).mean(axis=1)
    spread = lambda values: math.sqrt(mean(counts, (values - mean(counts, values)) ** 2))
    figure = float(mean(counts, w * q) / (mean(counts, w) * mean(counts, q)))
    error = float(spread(w) / mean(counts, w) * spread(q) / mean(counts, q) / math.sqrt(n - 1))
    if not error > 0:  # every row as long as any other
        return _not_judged(what, 1.0)
    correlation = (figure - 1) / (error * math.sqrt(n - 1))
    student = correlation * math.sqrt((n - 2) / max(1 - correlation**2, 1e-300))
    sigmas = f_deviate(student**2, 1, n - 2)
    return what, figure, 1.0, error, math.copysign(sigmas, figure - 1)


# ------------------------------------------------------------------------------------------------ the noise


def _evenness(X: Array, noise: Array, order: Array, counts: Array, what: str) -> tuple[Any, ...]:
    """Goldfeld and Quandt: the residual variances of two fits, one to each half, under their exact F.

    ``order`` may depend on X and on the fitted shift, of which Gaussian noise's residuals are independent.
    """
    n = float(counts.sum())
    ranks = np.argsort(order, kind="stable")
    up_to = np.cumsum(counts[ranks])
    means, freedoms = [], []
    for above in (up_to, n - up_to + counts[ranks]):  # a row across the middle counts in part on either side
        part = np.clip(n // 2 - (above - counts[ranks]), 0.0, counts[ranks])
        rows, part = ranks[part > 0], part[part > 0]
        span, residual = basis(scaled(part, X[rows])), scaled(part, noise[rows])
        residual = residual - span @ (span.T @ residual)
        freedoms.append(n // 2 - span.shape[1])
        means.append(float(residual @ residual) / max(freedoms[-1], 1))
    if min(freedoms) < 5 or n < 20 or min(means) <= 0:
        return _not_judged(what, 1.0)
    ratio = means[1] / means[0]
    sigmas = f_deviate(ratio, freedoms[1], freedoms[0], two_sided=True)
    return what, ratio, 1.0, math.nan, math.copysign(sigmas, ratio - 1)


# ------------------------------------------------------------------- bases whatever the columns' units


def basis(A: Array, sizes: Array | None = None) -> Array:
    """An orthonormal basis (n, rank) of the columns of A; ``sizes`` are the lengths, by default their own,
    beside which a column or what is left of it may be rounding.
    """
    if not len(A):
        return A[:, :0]
    products = gram(A)
    lengths = np.sqrt(products.diagonal()) if sizes is None else sizes
    units = np.where(lengths > 0, lengths, 1.0)
    values, vectors = np.linalg.eigh(products / units / units[:, None])
    if values[0] > GRAM_MIN_RATIO * max(values[-1], 1.0):
        return A @ (vectors / np.sqrt(values) / units[:, None])
    vectors, values, _ = np.linalg.svd(A / units, full_matrices=False)
    return vectors[:, values > RANK_RTOL * max(values[0], 1.0)]


def whitened(A: Array, counts: Array, sizes: Array | None = None) -> Array:
    """The rows (n, rank), each counted so often, centred and in coordinates in which their covariance is the
    identity; every count above 0.
    """
    centred = A - mean(counts, A)
    constant = abs(centred).max(axis=0) <= RANK_RTOL * abs(A).max(axis=0)
    span = basis(scaled(counts, np.where(constant, 0.0, centred)), sizes)
    return scaled(counts.sum() / counts, span)
