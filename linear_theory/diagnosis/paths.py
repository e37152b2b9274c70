"""Both errors along every path from the start, where to stop on it, and the theory's numbers beside the rows' own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..arrays import Array, binary_unit, namespace
from ..covariance import Dense, total
from ..covariance.spectrum import eigenbasis, rank_cutoff
from ..descent import GradientDescent, descend
from ..errors import LinearTheoryError, reject
from ..propagator.apply import propagate
from ..propagator.powers import Power, Steps, steps_to_halve
from ..risk import best_average_weight, joint_optimum, model_average, pretrain_error, target_error
from ..tilting import population_effective_sample_size, weighted_moments
from ..trajectories import gradient_flow
from .measured import Measured, displacement_problem

__all__ = [
    "METHODS",
    "Paths",
    "Point",
    "RowsAndTheory",
    "best_average",
    "best_of_flow",
    "compare_with_theory",
    "compute_paths",
    "contraction_factors",
    "first_near_best",
    "gradient_flow_path",
    "half_learned",
    "joint_optimum_point",
    "learning_rate",
    "overlap",
    "point",
    "power_kernel",
    "safe_step",
    "shift_ratio",
    "slowest",
    "tried_descents",
]

METHODS = ("standard", "FLOW", "same mean step")
"""Standard fine-tuning, FLOW, and standard fine-tuning with the same mean step: its rate times the mean weight."""

NEAR_BEST = 1e-3
"""Total errors this near to the smallest, in its units, are as good."""

TRIED_STEPS, TRIED_SIZES = np.arange(1, 41), np.linspace(0.02, 1.9, 95)
"""Numbers of steps, and steps 2ηλ_max (from 2 on they diverge), among which the best learning rate is looked for."""

EVERY, PER_DECADE, MAX_STEPS = 32, 24, 10**12
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


def point(m: Measured, displacement: Array, steps: float = math.nan) -> Point:
    """What a displacement (d,) from the start costs."""
    problem = m._problem
    return Point(
        steps, float(pretrain_error(problem, displacement)), float(target_error(problem, displacement))
    )


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
        k = first_near_best(self.total[row])
        return Point(float(self.steps[k]), float(self.forgetting[row, k]), float(self.target_errors[row, k]))

    def _row(self, method: str) -> int:
        if method not in METHODS:
            reject("method", method, f"must be one of {', '.join(map(repr, METHODS))}")
        return METHODS.index(method)

    def __repr__(self) -> str:
        head = f"Paths: {len(self.steps)} recorded steps, 0 to {self.steps[-1]:.4g}"
        best = [
            f"  {name}: learning rate {rate:.4g}, lowest total error {row.min():.4g}"
            for name, rate, row in zip(METHODS, self.learning_rates, self.total, strict=True)
        ]
        return "\n".join([head, *best])


def first_near_best(totals: Array) -> int:
    """Nobody trains a thousand steps more for the last thousandth."""
    return int(np.argmax(totals <= totals.min() * (1 + NEAR_BEST)))


def half_learned(paths: Paths, method: str) -> Point:
    """The first recorded step that leaves half of the start's target error; NaN where none does."""
    row = paths._row(method)
    target = paths.target_errors[row]
    enough = target <= target[0] / 2
    k = int(np.argmax(enough))
    if not enough.any():
        return Point(math.nan, math.nan, math.nan)
    return Point(float(paths.steps[k]), float(paths.forgetting[row, k]), float(target[k]))


# ------------------------------------------------------------------------------------- points of the theory


def gradient_flow_path(m: Measured, weighted: bool) -> tuple[Array, Array, Array]:
    """Times, forgetting and target errors of gradient flow: as of steps so small that no stop falls between.

    Times in units of the same mean step; (k,) each, from 0 until nothing moves any more.
    """
    values, times = m.spectrum[int(weighted)], np.zeros(1)
    moving = values[values > rank_cutoff(namespace(), values)]
    if len(moving):
        first, last = 1e-3 / moving[-1], 10 / moving[0]
        times = np.append(0.0, np.geomspace(first, last, math.ceil(100 * math.log10(last / first))))
    theta = gradient_flow(m._training_problem(weighted), times)
    step = float(safe_step(m.spectrum))
    return times / step, pretrain_error(m._problem, theta), target_error(m._problem, theta)


def best_of_flow(m: Measured, weighted: bool) -> Point:
    """Where to stop if steps are small."""
    times, forgetting, target = gradient_flow_path(m, weighted)
    k = first_near_best(forgetting + target)
    return Point(float(times[k]), float(forgetting[k]), float(target[k]))


def power_kernel(steps: Array | float) -> Power:
    """φ(x) = (1 − x)^K for whole numbers K, held as floats."""
    count = np.asarray(steps, dtype=float)
    return Power(Steps(count, count % 2 == 1))


def tried_descents(m: Measured, weighted: bool) -> tuple[Array, Array, Array]:
    """Gradient descent with each of many learning rates: 2η on moments of mean weight 1 and K (k,), and where that is
    from the start (k, d); none where no feature is.
    """
    problem, steepest = m._training_problem(weighted), float(m.spectrum[int(weighted), -1])
    if not steepest > 0:
        return np.zeros(0), np.zeros(0), np.zeros((0, len(m.shift)))
    sizes, counts = (grid.ravel() for grid in np.meshgrid(TRIED_SIZES, TRIED_STEPS, indexing="ij"))
    remaining = propagate(power_kernel(counts), sizes / steepest, problem.target_operator, problem.shift)
    return sizes / steepest, counts.astype(float), remaining - problem.shift


def learning_rate(m: Measured, weighted: bool, two_eta: float) -> float:
    """η on the user's own losses, of a step 2η on moments of mean weight 1."""
    with np.errstate(divide="ignore", over="ignore"):  # weights as they are may all underflow
        return float(np.float64(two_eta) / 2 / (m.mean_weight if weighted else 1.0))


def best_average(m: Measured) -> tuple[float, Point]:
    """(16), (17) on these rows: ω, the start's share in the best model average, and what that one costs."""
    omega = float(best_average_weight(m._problem))
    return omega, point(m, model_average(m._problem, omega))


def joint_optimum_point(m: Measured) -> Point:
    """The best for both: no parameters have a lower total error on these rows.

    Of the problem projected onto the directions that old rows or new ones reach, in units in which these are as long.
    """
    sigma, gram = m._problem.pretrain_operator, m._problem.target_operator
    both = total(sigma, gram).dense()
    sizes = np.sqrt(both.diagonal())
    units = np.where(sizes > 0, sizes, 1.0)
    scaled = both / units / units[:, None]
    values, vectors = eigenbasis(namespace(), scaled, 4 * rank_cutoff(namespace(), scaled))
    into = vectors[:, values > 0]
    if into.shape[1] == 0:
        return point(m, m._problem.pretrained)
    out = into / units[:, None]
    projected = displacement_problem(
        Dense(gram.apply(out.T) @ out), (units * m.shift) @ into, Dense(sigma.apply(out.T) @ out)
    )
    return point(m, out @ joint_optimum(projected))


# --------------------------------------------------------------------------------------------- speed and steps


def safe_step(spectrum: Array) -> Array:
    """FLOW's learning rate times the mean weight: ½, or 1/(2λ_max) where that would diverge.

    λ_max the larger of both covariances', so that standard fine-tuning with the same mean step converges as well.
    """
    space = namespace(spectrum)
    largest = spectrum[:, -1].max()
    return 0.5 / space.xp.where(largest < 2 * _largest_stable(spectrum), 1.0, largest)


def _largest_stable(spectrum: Array) -> float:
    """How near to 1 ηλ may be: nearer, it may be 1 but for the rounding of sums over many rows, and never end."""
    return 1 - spectrum.shape[1] * namespace(spectrum).eps ** 0.5


def contraction_factors(spectrum: Array) -> Array:
    """``|1 − 2ηλ|`` (d,): what FLOW's step leaves of the error along each eigenvector of C."""
    return abs(1 - 2 * safe_step(spectrum) * spectrum[1])


def overlap(direction: Array, shift: Array) -> Array:
    """``|cosine|`` of a unit vector with the shift; 0 where there is none."""
    space = namespace(shift)
    xp, e = space.xp, shift / binary_unit(space, shift)  # so that its square has a float
    length = xp.sqrt(e @ e)
    return abs(direction @ e) / xp.where(length > 0, length, 1.0)


def slowest(m: Measured, row: int = 1) -> tuple[int, Array, float]:
    """How many directions no row with any weight reaches; the slowest of the others, a unit vector, and 2ηλ there.

    The slowest keeps most of its error in a step: its ``|1 − 2ηλ|`` is the largest. Of C, or for ``row`` 0 of G.
    """
    unreached = int((m.spectrum[row] <= 0).sum())
    x = 2 * float(safe_step(m.spectrum)) * m.spectrum[row]
    k = unreached + int(np.argmax(abs(1 - x[unreached:]))) if unreached < len(x) else len(x) - 1
    return unreached, m._curvatures[row].eigh()[1][:, k], float(x[k])


def compute_paths(m: Measured) -> Paths:
    """Gradient descent on the rows, by each of the ``METHODS``."""
    step, mass, steepest = float(safe_step(m.spectrum)), float(m.mean_weight), float(m.spectrum[0, -1])
    with np.errstate(divide="ignore", over="ignore"):
        flow_rate = float(np.float64(step) / mass)
        converges = 0 < flow_rate < math.inf and flow_rate * steepest < _largest_stable(m.spectrum)
        standard_rate = flow_rate if converges else max(step, 0.5 / steepest) if steepest > 0 else step
    count = m.sample_weight / m.sample_weight.mean()
    weights = count * m.rows.weights
    weights = weights / weights.mean()  # FLOW's step on mean weight 1, whatever underflows
    runs = ((count, standard_rate, 0), (weights, step, 1), (count, step, 0))
    steps = _recorded_steps(max(_longest_half_life(2 * rate * m.spectrum[row]) for _, rate, row in runs))
    start = np.zeros_like(m.shift)
    theta = np.stack(
        [
            descend(m.rows.X, m.rows.residual, start, w, GradientDescent(rate), steps).theta
            for w, rate, _ in runs
        ]
    )
    return Paths(
        np.array([standard_rate, flow_rate, step]),
        np.array([not converges, step < 0.5, step < 0.5]),
        np.array(steps, dtype=float),
        pretrain_error(m._problem, theta),
        target_error(m._problem, theta),
    )


def _longest_half_life(x: Array) -> float:
    """Of the directions that move at all."""
    moving = x[x > rank_cutoff(namespace(), x)]
    return float(steps_to_halve(moving).max(initial=1.0))


def _recorded_steps(half_life: float) -> list[int]:
    """From 0 to ten half-lives (a thousandth is left), each once."""
    last = min(max(10 * half_life, 100.0), MAX_STEPS)
    count = math.ceil(PER_DECADE * math.log10(last / EVERY)) + 1
    later = {round(step) for step in np.geomspace(EVERY, last, count)}
    return sorted({*range(EVERY), *later})


# ------------------------------------------------------------------------------------- the theory and the rows


class RowsAndTheory(NamedTuple):
    """One number of the theory: what it is, on these rows, and by Lemma F.1 for Gaussian rows like them."""

    what: str
    rows: float
    theory: float


def compare_with_theory(m: Measured) -> list[RowsAndTheory]:
    """Mean weight, effective samples, curvature along the shift, κ and half-life; theory NaN where it has none."""
    gram, weighted = m.covariances
    along = float(m.shift @ gram @ m.shift)
    rows = {
        "mean weight": float(m.mean_weight),
        "effective samples": float(m.effective_samples),
        "curvature left along the shift": _ratio(float(m.shift @ weighted @ m.shift), along),
        "way to the new optimum, κ": _ratio(float(m.shift @ gram @ m.weighted_shift), along),
        "half-life of the slowest, steps": float(steps_to_halve(np.float64(slowest(m)[2]))),
    }
    theory = _predicted(m)
    return [RowsAndTheory(what, value, theory.get(what, math.nan)) for what, value in rows.items()]


def _predicted(m: Measured) -> dict[str, float]:
    """The same by Lemma F.1, with Σ̃ = G, e and σ² measured on the rows."""
    try:
        moments = weighted_moments(m._problem, m.rule)
    except LinearTheoryError:  # KL-DRO where no Gaussian has its moments, say
        return {}
    curvature = moments.covariance.dense()
    x = 2 * float(safe_step(m.spectrum)) * np.linalg.eigvalsh(curvature)
    moving = x[min(slowest(m)[0], len(x) - 1) :]
    along = float(m.shift @ m.covariances[0] @ m.shift)
    predicted = {
        "mean weight": float(moments.mass),
        "curvature left along the shift": _ratio(float(m.shift @ curvature @ m.shift), along),
        "way to the new optimum, κ": float(moments.kappa),
        "half-life of the slowest, steps": float(steps_to_halve(moving).max()),
    }
    try:
        share = float(population_effective_sample_size(m._problem, m.rule))
        predicted["effective samples"] = float(m.sample_weight.sum()) * share
    except LinearTheoryError:  # a rule without second moments, or KL-DRO where they are infinite
        pass
    return predicted


def shift_ratio(m: Measured) -> tuple[float, int, float]:
    """F and its degrees of freedom: the shift against the noise; about 1 where there is no shift at all."""
    n, rank = float(m.sample_weight.sum()), m._rank
    if rank == 0 or n <= rank:
        return math.nan, rank, n - rank
    noise = n * m._noise_variance / (n - rank)
    return _ratio(n * float(m.target_errors[0]) / rank, noise, math.inf), rank, n - rank


def _ratio(above: float, below: float, otherwise: float = math.nan) -> float:
    return above / below if below > 0 else otherwise
