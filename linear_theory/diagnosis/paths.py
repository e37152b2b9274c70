"""The price and the gain of every step: standard fine-tuning, FLOW, and the control with FLOW's own steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..arrays import Array, namespace
from ..covariance import Covariance
from ..descent import GradientDescent, descend
from ..errors import reject

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = [
    "METHODS",
    "Paths",
    "Point",
    "averaged",
    "followed",
    "gentle",
    "gentle_best",
    "half_life",
    "joint_optimum",
    "kept",
    "price",
    "safe_step",
    "slowest",
]

METHODS = ("standard", "FLOW", "step-matched control")

NEAR = 1e-3
"""Total errors this near to the smallest, in its units, are as good."""

EVERY, PER_DECADE, LONGEST = 32, 24, 10**12
"""Every step up to the first; then so many a decade; and none beyond the last."""


class Point(NamedTuple):
    """One parameter vector and what it costs: its step (NaN where it is no step), and both errors."""

    steps: float
    forgetting: float
    target_error: float

    @property
    def total(self) -> float:
        """err_tot = err₁ + err₂."""
        return self.forgetting + self.target_error


@dataclass(frozen=True)
class Paths:
    """Both errors along gradient descent from the start, exactly, for the three ``METHODS``.

    ``steps`` (k,) from 0, all of the first and then evenly in the logarithm, until the slowest direction has
    come to rest (at most 10¹²); ``learning_rates`` (3,) on the user's own losses, (1/Σv) Σ v·loss, FLOW's on
    weights as they are, (1/Σv) Σ vw·loss, not normalised; ``forgetting`` and ``target_errors`` (3, k).
    ``curtailed`` (3,): whether 1/(2 mean w), or for standard fine-tuning FLOW's learning rate, would diverge, so that
    a safe one is shown.
    """

    learning_rates: Array
    curtailed: Array
    steps: Array
    forgetting: Array
    target_errors: Array

    @property
    def total(self) -> Array:
        """err_tot = err₁ + err₂, (3, k)."""
        return self.forgetting + self.target_errors

    def best(self, method: str) -> Point:
        """Where to stop: the first recorded step whose total error is within a thousandth of the smallest."""
        row = self._row(method)
        k = _first_best(self.total[row])
        return Point(float(self.steps[k]), float(self.forgetting[row, k]), float(self.target_errors[row, k]))

    def _row(self, method: str) -> int:
        if method not in METHODS:
            reject("method", method, f"must be one of {', '.join(map(repr, METHODS))}")
        return METHODS.index(method)


def gentle(d: Diagnosis, weighted: bool) -> tuple[Array, Array, Array]:
    """Times, forgetting and target errors of gradient flow: as of steps so small that no stop falls between.

    Times in units of the control's step; (k,) each, from 0 until nothing moves any more.
    """
    values, vectors = np.linalg.eigh(d.covariances[int(weighted)])
    aim = -(d.weighted_shift if weighted else d.shift) @ vectors
    moving = values > len(values) * np.finfo(float).eps * values[-1]
    times = np.zeros(1)
    if moving.any():
        ends = 1e-3 / values[-1], 10 / values[moving][0]
        times = np.append(0.0, np.geomspace(*ends, math.ceil(100 * math.log10(ends[1] / ends[0]))))
    moved = (-np.expm1(-2 * times[:, None] * np.where(moving, values, 0.0)) * aim) @ vectors.T
    left = moved + d.shift
    target = (left * (left @ d.covariances[0])).sum(axis=-1)
    return times / float(safe_step(d.spectrum)), price(d._sigma, moved), target


def gentle_best(d: Diagnosis, weighted: bool) -> Point:
    """Where to stop if steps are small."""
    times, forgetting, target = gentle(d, weighted)
    k = _first_best(forgetting + target)
    return Point(float(times[k]), float(forgetting[k]), float(target[k]))


def averaged(d: Diagnosis) -> tuple[float, Point]:
    """(16), (17) on these rows: ω, the start's share in the best model average, and what that one costs."""
    all_the_way = float(d.forgetting[2]), float(d.target_errors[0])  # eᵀΣe, eᵀGe
    omega = all_the_way[0] / sum(all_the_way) if sum(all_the_way) > 0 else 1.0
    return omega, Point(math.nan, (1 - omega) ** 2 * all_the_way[0], omega**2 * all_the_way[1])


def joint_optimum(d: Diagnosis) -> Point:
    """The oracle, −(Σ + G)⁺Ge away from the start: nobody is below its total error on these rows."""
    gram, unit = d.covariances[0], np.eye(len(d.shift))
    both = gram + d._sigma.apply(unit)
    moved = -np.linalg.lstsq(both, gram @ d.shift, rcond=None)[0]
    left = moved + d.shift
    return Point(math.nan, float(price(d._sigma, moved)), float(left @ gram @ left))


def price(covariance: Covariance, displacement: Array) -> Array:
    """err₁ = δᵀΣδ of displacements (…, d) from the start."""
    return covariance.quadratic(displacement)


def safe_step(spectrum: Array) -> Array:
    """FLOW's learning rate times the mean weight: ½, or 1/(2λ_max) where that would diverge.

    λ_max the larger of both covariances', so that the control with the same steps converges as well.
    """
    space = namespace(spectrum)
    largest = spectrum[:, -1].max()
    return 0.5 / space.xp.where(largest < 2 * _edge(spectrum), 1.0, largest)


def _edge(spectrum: Array) -> float:
    """How near to 1 ηλ may be: nearer, it may be 1 but for the rounding of sums over many rows, and never end."""
    return 1 - spectrum.shape[1] * namespace(spectrum).eps ** 0.5


def kept(spectrum: Array) -> Array:
    """``|1 − 2ηλ|`` (d,): what FLOW's step leaves of the error along each eigenvector of C."""
    return abs(1 - 2 * safe_step(spectrum) * spectrum[1])


def half_life(x: Array) -> Array:
    """Steps after which ``|1 − x|^K`` is ½: ∞ where x ≤ 0 or x ≥ 2, and 0 at x = 1."""
    xp = namespace(x).xp
    slow, fast = (x > 0) & (x < 1), (x > 1) & (x < 2)
    rate = -xp.log1p(-xp.where(slow, x, 0.5))
    rate = xp.where(fast, -xp.log(xp.where(fast, x, 1.5) - 1), rate)
    with np.errstate(over="ignore"):  # longer than the largest float
        return xp.where(
            slow | fast, math.log(2) / rate, xp.where(x == 1, 0.0, xp.where(xp.isnan(x), x, math.inf))
        )


def slowest(d: Diagnosis, row: int = 1) -> tuple[int, Array, float]:
    """How many directions no row with any weight reaches; the slowest of the others, a unit vector, and 2ηλ there.

    The slowest keeps most of its error in a step: its ``|1 − 2ηλ|`` is the largest. Of C, or for ``row`` 0 of G.
    """
    idle = int((d.spectrum[row] <= 0).sum())
    x = 2 * float(safe_step(d.spectrum)) * d.spectrum[row]
    k = idle + int(np.argmax(abs(1 - x[idle:]))) if idle < len(x) else len(x) - 1
    return idle, np.linalg.eigh(d.covariances[row])[1][:, k], float(x[k])


def followed(d: Diagnosis) -> Paths:
    """The paths of a diagnosis in NumPy."""
    step, mass, steepest = float(safe_step(d.spectrum)), float(d.mean_weight), float(d.spectrum[0, -1])
    with np.errstate(divide="ignore", over="ignore"):
        flow_rate = float(np.float64(step) / mass)
        converges = 0 < flow_rate < math.inf and flow_rate * steepest < _edge(d.spectrum)
        standard_rate = flow_rate if converges else max(step, 0.5 / steepest) if steepest > 0 else step
    count = d.sample_weight / d.sample_weight.mean()
    weights = count * d.rows.weights
    weights = weights / weights.mean()  # FLOW's step on mean weight 1, whatever underflows
    runs = ((count, standard_rate, 0), (weights, step, 1), (count, step, 0))
    steps = _steps(max(_slowest(2 * rate * d.spectrum[row]) for _, rate, row in runs))
    still = np.zeros_like(d.shift)
    errors = []
    for w, rate, _ in runs:
        moved = descend(d.rows.X, d.rows.residual, still, w, GradientDescent(rate), steps).theta
        left = moved + d.shift
        errors.append((price(d._sigma, moved), (left * (left @ d.covariances[0])).sum(axis=-1)))
    forgetting, target = np.stack(errors, axis=1)
    return Paths(
        np.array([standard_rate, flow_rate, step]),
        np.array([not converges, step < 0.5, step < 0.5]),
        np.array(steps, dtype=float),
        forgetting,
        target,
    )


def _first_best(total: Array) -> int:
    """Nobody trains a thousand steps more for the last thousandth."""
    return int(np.argmax(total <= total.min() * (1 + NEAR)))


def _slowest(x: Array) -> float:
    """The longest half-life of the directions that move at all."""
    moving = x > len(x) * np.finfo(float).eps * x[-1]
    return float(half_life(x[moving]).max(initial=1.0))


def _steps(half: float) -> list[int]:
    """From 0 to ten half-lives (a thousandth is left), each once."""
    last = min(max(10 * half, 100.0), LONGEST)
    count = math.ceil(PER_DECADE * math.log10(last / EVERY)) + 1
    later = {round(step) for step in np.geomspace(EVERY, last, count)}
    return sorted({*range(EVERY), *later})
