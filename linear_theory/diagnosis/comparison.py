"""Each method at its best: by how much one is ahead of another, and how sure that is.

Every method's end, δ from the start, is δ = p(A) b of second moments (A, b) of the rows: (G, XᵀVr/Σv) without
weights, (C, XᵀVWr/Σvw) with them, where λp(λ) is the share of its way that the direction of eigenvalue λ has gone. Its
total error T = δᵀΣδ + (1/Σv) Σ v [(r − Xδ)² − (r + Xe)²] is then smooth in the law of the rows, and its standard
error that of a mean, of the influences that single rows have on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..arrays import Array
from ..propagator.apply import Decay, propagate
from ..propagator.matrix_functions import Kernel
from ..risk import total_error
from .measured import ROUNDING_SHARE, Measured, within_noise
from .new_rows import NewRows
from .paths import (
    METHODS,
    NEAR_BEST,
    Paths,
    Point,
    best_average,
    best_of_flow,
    first_near_best,
    learning_rate,
    point,
    power_kernel,
    safe_step,
    tried_descents,
)

__all__ = ["MIN_GAIN", "Candidate", "Comparison", "Gain"]

MIN_GAIN = 0.01
"""A total error lower by less than this share is not worth a change of method."""

NO_DIFFERENCE = 1e-6
"""A share of a total error below this is no difference."""

ROWS_AT_ONCE = 50_000

END = Decay(np.array(True))
"""The kernel of training to the end: nothing is left of the way where anything moves."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A method where it is best.

    What is left of its way is φ(sA)e, A = G, or C where it is ``weighted``: φ the ``kernel``, s the ``scale``. An
    average has gone the share 1 − ``kept`` of its way. ``rate`` is the learning rate, where that was chosen.
    """

    name: str
    measured: Measured
    weighted: bool
    kernel: Kernel = END
    scale: float = 1.0
    kept: float = 0.0
    steps: float = math.nan
    rate: float = math.nan

    @cached_property
    def displacement(self) -> Array:
        """δ (d,) from the start."""
        problem = self.measured._training_problem(self.weighted)
        remaining = propagate(self.kernel, np.array(self.scale), problem.target_operator, problem.shift)
        return (1 - self.kept) * (remaining - problem.shift)

    @cached_property
    def point(self) -> Point:
        """What it costs."""
        return point(self.measured, self.displacement, self.steps)

    @property
    def total(self) -> float:
        return self.point.total

    @cached_property
    def influence(self) -> tuple[Array, Array]:
        """What each row (n,), and each old row (m,), adds to the total error: Σ v·influence is 0."""
        return _influence(self)

    def __repr__(self) -> str:
        return f"Candidate({self.name!r}, total error {self.total:.4g})"


class Gain(NamedTuple):
    """How far one total error is below another, as a ``share`` of that, with its standard ``error`` (∞ where the rows
    are too few to have one); and whether the lower one is below the other by no more than 95 % of differences that
    are none (``noise``).
    """

    share: float
    error: float
    noise: bool

    @property
    def tie(self) -> bool:
        """Within noise, or too little to matter."""
        return self.noise or abs(self.share) <= MIN_GAIN

    @property
    def none(self) -> bool:
        """No difference at all, as far as anybody could see."""
        return abs(self.share) < NO_DIFFERENCE and self.error < NO_DIFFERENCE


class Comparison:
    """The start and the three methods at their best; the runners at tuned learning rates; both ends.

    Of runs as good as each other the simplest is taken: as recorded, in small steps, at a learning rate of its own.
    """

    def __init__(self, measured: Measured, paths: Paths, new_rows: NewRows) -> None:
        self.measured, self.paths, self.new_rows = measured, paths, new_rows

    @cached_property
    def start(self) -> Candidate:
        return Candidate("the start", self.measured, False, kept=1.0, steps=0.0)

    @cached_property
    def average(self) -> Candidate:
        omega, _ = best_average(self.measured)
        return Candidate("averaging with the start", self.measured, False, kept=omega)

    @cached_property
    def ends(self) -> tuple[Candidate, Candidate]:
        """Of FLOW, and of standard fine-tuning."""
        return (
            Candidate("FLOW", self.measured, True),
            Candidate("standard fine-tuning", self.measured, False),
        )

    @cached_property
    def tuned(self) -> tuple[Candidate, Candidate]:
        """Gradient descent with the best of many learning rates, of FLOW and of standard fine-tuning."""
        return self._tuned(True), self._tuned(False)

    @cached_property
    def flow(self) -> Candidate:
        return _simplest([*self.recorded(True), self.small_steps(True), self.tuned[0]])

    @cached_property
    def early(self) -> Candidate:
        untrained = Candidate(
            "early stopping (before the first step)", self.measured, False, kept=1.0, steps=0.0
        )
        return _simplest([untrained, *self.recorded(False), self.small_steps(False), self.tuned[1]])

    def recorded(self, weighted: bool) -> Iterator[Candidate]:
        """The recorded paths at their best steps."""
        for row in (1,) if weighted else (2, 0):
            best = self.paths.best(METHODS[row]).steps
            # FLOW's rate is of weights as they are, C of mean weight 1.
            rate = float(safe_step(self.measured.spectrum) if weighted else self.paths.learning_rates[row])
            name = "FLOW" if weighted else "early stopping"
            if best:
                yield Candidate(name, self.measured, weighted, power_kernel(best), scale=2 * rate, steps=best)

    def small_steps(self, weighted: bool) -> Candidate:
        """Gradient flow at its best time."""
        best = best_of_flow(self.measured, weighted).steps
        time = best * float(safe_step(self.measured.spectrum))
        name = "FLOW in small steps" if weighted else "early stopping in small steps"
        return Candidate(name, self.measured, weighted, Decay(np.array(False)), scale=2 * time, steps=best)

    def _tuned(self, weighted: bool) -> Candidate:
        m, name = self.measured, "FLOW" if weighted else "early stopping"
        sizes, counts, displacements = tried_descents(m, weighted)
        if not len(sizes):
            return Candidate(name, m, weighted, power_kernel(1.0), scale=0.0, steps=0.0)
        k = first_near_best(total_error(m._problem, displacements))
        two_eta, steps = float(sizes[k]), float(counts[k])
        rate = learning_rate(m, weighted, two_eta)
        return Candidate(name, m, weighted, power_kernel(steps), scale=two_eta, steps=steps, rate=rate)

    def gain(self, one: Candidate, other: Candidate) -> Gain:
        """By how much the total error of ``one`` is below that of ``other``.

        The standard error is that of the plug-in estimate, for rows drawn independently (and the old rows, where
        they are given, independently of them), from each row's influence (infinitesimal jackknife), times
        √(n/(n − rank)). It holds the temperature, the learning rate and Σ where that is given; it does not cover
        that errors are taken on the rows that were fitted.
        """
        m, floor = self.measured, ROUNDING_SHARE * self.start.total
        ratio = max(one.total, floor) / max(other.total, floor)
        n, rank = float(m.sample_weight.sum()), m._rank
        if n <= rank:
            return Gain(1 - ratio, math.inf, True)
        influences = zip(one.influence, other.influence, strict=True)
        rows, old = (a / max(one.total, floor) - b / max(other.total, floor) for a, b in influences)
        variance = float(m.sample_weight @ rows**2) / n / (n - rank)
        if m.pretrain_rows is not None:
            count = len(old)
            variance = variance + float(old @ old) / count / (count - 1) if count > 1 else math.inf
        error = math.sqrt(variance)  # of ln ratio, so that either may be compared with the other
        return Gain(1 - ratio, ratio * error, within_noise(ratio, error, n - rank))

    def __repr__(self) -> str:
        return "\n  ".join(["Comparison:", *map(repr, (self.start, self.flow, self.early, self.average))])


def _simplest(runs: list[Candidate]) -> Candidate:
    lowest = min(run.total for run in runs)
    return next(run for run in runs if run.total <= lowest * (1 + NEAR_BEST))


# -------------------------------------------------------------------------------------------- standard errors


def _influence(one: Candidate) -> tuple[Array, Array]:
    """What each row (n,), and each old row (m,), adds to the total error of a method: Σ v·influence is 0.

    A stop at its best place moves the total to second order only. What is left is the row's own losses, and by
    the chain rule what it makes of A and b: ∂T/∂δ·[p(A) db + dp(A)[dA] b], p(λ) = −s φ[sλ, 0] and so
    p[λ, μ] = −s² φ[sλ, sμ, 0].
    """
    m = one.measured
    G, sigma, X, r = m.covariances[0], m._sigma, m.rows.X, m.rows.residual
    gradient = 2 * (sigma.apply(one.displacement) + G @ (one.displacement + m.shift))
    problem = m._training_problem(one.weighted)
    spectrum = m._curvatures[one.weighted].spectrum(problem.shift)
    moving = spectrum.values > 0
    values, vectors = spectrum.values[moving], spectrum.vectors[:, moving]
    b, gradient_coordinates = -values * spectrum.coordinates[moving], vectors.T @ gradient
    # An end is one at any scale, but at that of the features alone do the quotients below have a float. For the same
    # reason all is in units in which the features are as long as the scale's root is short.
    scale = 1 / values[-1] if one.kernel is END and len(values) else one.scale
    x, share_gone, root = scale * values, 1 - one.kept, math.sqrt(scale)
    b, gradient_coordinates = root * b, root * gradient_coordinates
    with np.errstate(all="ignore"):  # of series that are not used where they overflow
        p = -share_gone * one.kernel.divided_difference(x, 0.0 * x)
        divided = -share_gone * one.kernel.differences(x[:, None], x[None, :], 0.0 * x)
        slope = -share_gone * one.kernel.divided_difference(x, x)  # of λp(λ)
    quadratic_form = vectors @ (divided * np.outer(gradient_coordinates, b)) @ vectors.T
    linear_form = vectors @ (p * gradient_coordinates)
    scale_slope = float(gradient_coordinates @ (slope * b))  # of A and b together: as of another step
    weights = (
        m.rows.weights / float(m.sample_weight @ m.rows.weights / m.sample_weight.sum())
        if one.weighted
        else None
    )
    rows = np.empty(len(r))
    for begin in range(0, len(r), ROWS_AT_ONCE):
        strip = slice(begin, begin + ROWS_AT_ONCE)
        features, residual = X[strip], r[strip]
        prediction_change, reach = features @ one.displacement, root * features
        through_end = (
            ((reach @ quadratic_form) * reach).sum(axis=1) + (reach @ linear_form) * residual - scale_slope
        )
        rows[strip] = (residual - prediction_change) ** 2 - (residual + features @ m.shift) ** 2
        rows[strip] += through_end if weights is None else weights[strip] * through_end
        rows[strip] += prediction_change**2 if m.pretrain_covariance is None else 0.0
    old = np.zeros(0) if m.pretrain_rows is None else (m.pretrain_rows @ one.displacement) ** 2
    centre = lambda influences, counts: influences - counts @ influences / counts.sum()
    return centre(rows, m.sample_weight), centre(old, np.ones(len(old))) if len(old) else old
