"""What to expect on new rows: errors without the flattery of rows that were fitted, and which method to take.

All else in a diagnosis takes e, Σ̃ and the errors from the rows that were fitted. With d of them not far from n that
is wrong by about σ²d/n: the start looks worse than it is, training to the end better, and the best stop too late.
Here every row is predicted by training on the others, so that

    (1/Σv) Σ v (r − xᵀδ₋)² − σ̂²,        σ̂² = (1/(Σv − rank)) Σ v (r + xᵀe)²,

is a target error on new rows, of the law that these have and no other. Forgetting needs no new rows: Σ is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..arrays import Array, binary_unit, namespace
from ..risk import pretrain_error
from ..trajectories import gradient_flow
from .checks import equal_weights
from .left_out import Descents, Flows, LeftOut
from .measured import ROUNDING_SHARE, Measured, mean, within_noise
from .paths import NEAR_BEST, gradient_flow_path, learning_rate, safe_step, tried_descents

__all__ = ["FEW", "Lead", "NewRows", "Predicted"]

FEW = 50
"""Fewer rows a direction than this are few.

Of eleven problems in 100 dimensions, in which σ² is up to six times what the shift makes of the labels' variance, with
as many rows the total errors on rows that were fitted are at most 7 % off, and the method and stop they choose cost at
most 0.8 % of the best there is. With 20 a direction it is 23 % and 6 %.
"""


@dataclass(frozen=True, eq=False)
class Predicted:
    """One method on new rows, where it is best there: its errors, and the standard ``error`` of the target error.

    ``steps`` at the learning ``rate``, on weights as they are; or where that is NaN, steps too small to jump over that
    place, in units of the same mean step (``steps`` are NaN where a method takes none). ``forgetting`` is NaN where
    nothing is known of the old rows. A target error is an estimate without a bias, but for that the best of many stops
    is the best by this very estimate; it may be below 0 where noise is much and rows are few. All of it is NaN where
    rows are no more than directions.
    """

    name: str
    steps: float
    rate: float
    forgetting: float
    target_error: float
    error: float
    losses: Array = field(repr=False)  # (n,) of each row, predicted by the others
    displacement: Array = field(repr=False)

    @property
    def total(self) -> float:
        """err_tot = err₁ + err₂."""
        return self.forgetting + self.target_error


class Lead(NamedTuple):
    """How far the error of one method is below another's, the standard ``error`` of that, and whether noise alone makes
    of methods as good as each other as large a difference one time in twenty.
    """

    difference: float
    error: float
    noise: bool


class NewRows:
    """Standard fine-tuning stopped early, FLOW, and averaging with the start, each at its best on rows not fitted.

    ``few``: whether rows are fewer than 50 a direction, so that the errors of all else in the diagnosis mislead.
    ``start``, ``early``, ``flow`` and ``average`` are :class:`Predicted`; where nothing is known of the old rows each
    is at its best in the target error alone. ``better`` is that of FLOW and early stopping which has the lower total
    error, None where that cannot be said: with no old rows, or no more rows than directions.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((200, 100)), rng.standard_normal(200)
    >>> found = lt.diagnose(X, y + X[:, 0], np.zeros(100), None, np.eye(100)).new_rows
    >>> print(f"{found.better.name} {found.better.total:.2f}, {found.flow.name} {found.flow.total:.2f}")
    early stopping in small steps 0.81, FLOW in small steps 0.93
    >>> lead = found.lead(found.better, found.flow)
    >>> print(f"{lead.difference:.2f} ± {lead.error:.2f}, beyond noise: {not lead.noise}")
    0.12 ± 0.05, beyond noise: True
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured

    @property
    def rows(self) -> float:
        """Σv, how many rows these count as."""
        return float(self.measured.sample_weight.sum())

    @property
    def directions(self) -> int:
        """How many the rows span: d, or fewer."""
        return self.measured._rank

    @property
    def rows_each(self) -> float:
        """How many rows there are a direction; ∞ where there is none."""
        return self.rows / self.directions if self.directions else math.inf

    @property
    def few(self) -> bool:
        """Whether rows are fewer than 50 a direction."""
        return self.rows_each < FEW

    @property
    def none_to_spare(self) -> bool:
        """Whether rows are no more than the directions, so that nothing tells noise from shift."""
        return self.directions > 0 and self.rows <= self.directions

    @property
    def told(self) -> bool:
        """Whether there is anything to learn on new rows, and rows to spare by which to tell how much."""
        return 0 < self.directions < self.rows and not self.measured._start_fits

    @property
    def known(self) -> bool:
        """Whether anything is known of the old rows, and so of forgetting."""
        return self.measured.pretrain_covariance is not None

    @cached_property
    def noise_variance(self) -> float:
        """σ̂², without the bias of a fit; NaN where no row is left over."""
        return float(mean(self.measured.sample_weight, self._noise)) if self.told else math.nan

    @cached_property
    def start(self) -> Predicted:
        return self._predicted("the start", 0.0, self._residual**2, 0 * self.measured.shift)

    @cached_property
    def early(self) -> Predicted:
        return self._stopped("early stopping", weighted=False)

    @cached_property
    def flow(self) -> Predicted:
        return self._stopped("FLOW", weighted=True)

    @cached_property
    def average(self) -> Predicted:
        """The unweighted optimum averaged with the start, of which it keeps ``kept``."""
        return self._predicted(
            "averaging with the start",
            math.nan,
            (self._residual - (1 - self.kept) * self._end_left_out) ** 2,
            -(1 - self.kept) * self.measured.shift,
        )

    @cached_property
    def kept(self) -> float:
        """The share of the start in the best average: the total error is a parabola in it."""
        if not self.told:
            return math.nan
        m, predicted = self.measured, self._end_left_out
        curvature = mean(m.sample_weight, predicted**2) + (self._forgetting(m.shift) if self.known else 0.0)
        gone = mean(m.sample_weight, self._residual * predicted) / curvature if curvature > 0 else 0.0
        return 1 - min(max(float(gone), 0.0), 1.0)

    @property
    def better(self) -> Predicted | None:
        """Of FLOW and early stopping the one to take; None where that cannot be said."""
        return self._lower if self.told and self.known else None

    @property
    def best(self) -> Predicted:
        """Of these two and averaging the one with the lowest error."""
        return min((self._lower, self.average), key=self.error_of)

    def error_of(self, one: Predicted) -> float:
        """The total error, or where nothing is known of the old rows the target error."""
        return one.total if self.known else one.target_error

    def shown(self, error: float) -> float:
        """An error, or 0 where it is rounding beside the start's loss."""
        rounding = ROUNDING_SHARE * float(mean(self.measured.sample_weight, self.start.losses))
        return error if abs(error) > rounding else 0.0

    def lead(self, one: Predicted, other: Predicted) -> Lead:
        """How far ``one`` is below ``other``, in the total error, or where Σ is unknown in the target error.

        The noise variance is in both and drops out. The standard error is that of a mean over rows, and over old rows
        where these are given; it holds the places where both stop. What is noise is judged by the ratio of both errors
        with the noise variance in them, as losses of few rows are far from normal and its logarithm is less so.
        """
        if not self.told:
            return Lead(math.nan, math.inf, True)
        losses = [self._loss(method) for method in (one, other)]
        ratio = losses[0] / losses[1] if losses[1] > 0 else 1.0
        of_difference = self._error_of_difference(one, other)
        of_logarithm = self._error_of_difference(one, other, *(loss if loss > 0 else 1.0 for loss in losses))
        noise = within_noise(ratio, of_logarithm, self.rows - 1)
        return Lead(losses[1] - losses[0], of_difference, noise)

    def __repr__(self) -> str:
        few = " (few)" if self.few else ""
        head = f"Errors on new rows, from {self.rows:.6g} for {self.directions} directions{few}"
        if not self.told:
            return f"{head}: not told"
        lines = [
            f"  {one.name}: target {one.target_error:.4g} ± {one.error:.2g}"
            + (f", total {one.total:.4g}" if self.known else "")
            for one in (self.start, self.early, self.flow, self.average)
        ]
        return "\n".join([head, *lines])

    # ------------------------------------------------------------------------------------------ parts

    @property
    def _lower(self) -> Predicted:
        """Of FLOW and early stopping; of two that are the same, early stopping."""
        lower = not equal_weights(self.measured) and self.error_of(self.flow) < self.error_of(self.early)
        return self.flow if lower else self.early

    @property
    def _residual(self) -> Array:
        return self.measured.rows.residual

    @property
    def _longer(self) -> float:
        """How much longer steps are without a row: of a mean over one fewer, by moments divided by the sum over all."""
        return self.rows / (self.rows - 1)

    @cached_property
    def _noise(self) -> Array:
        """(n,) what the best line leaves of each row, squared, of which the fit has taken a share.

        The line moves in the directions that are counted alone: more would take more of each row than its share.
        """
        m, share = self.measured, self.rows / (self.rows - self.directions)
        counted = m._curvatures[0].eigh()[1][:, len(m.shift) - self.directions :]
        shift = m.shift if self.directions == len(m.shift) else counted @ (counted.T @ m.shift)
        return share * (self._residual + m.rows.X @ shift) ** 2

    @cached_property
    def _end_left_out(self) -> Array:
        return LeftOut(self.measured, weighted=False).end()

    def _forgetting(self, displacement: Array) -> float:
        return float(pretrain_error(self.measured._problem, displacement))

    def _loss(self, one: Predicted) -> float:
        """The error to compare, and the noise variance."""
        forgetting = one.forgetting if self.known else 0.0
        return forgetting + float(mean(self.measured.sample_weight, one.losses))

    def _error_of_difference(
        self, one: Predicted, other: Predicted, unit: float = 1.0, other_unit: float = 1.0
    ) -> float:
        """The standard error of one loss less the other, each in a unit of its own."""
        m, old = self.measured, self.measured.pretrain_rows
        change = one.losses / unit - other.losses / other_unit
        error = deviation(m.sample_weight, change) / math.sqrt(self.rows - 1)
        if old is None:
            return error
        if len(old) == 1:
            return math.inf
        moved = (old @ one.displacement) ** 2 / unit - (old @ other.displacement) ** 2 / other_unit
        return math.hypot(error, deviation(np.ones(len(old)), moved) / math.sqrt(len(old) - 1))

    def _stopped(self, name: str, weighted: bool) -> Predicted:
        """Where its error on new rows is lowest: in small steps, or if that is lower at a learning rate of its own."""
        m = self.measured
        if not self.told:
            return self._predicted(name, math.nan, self._residual**2, 0 * m.shift)
        left_out = LeftOut(m, weighted)
        steps, forgetting, _ = gradient_flow_path(m, weighted)
        unit = float(safe_step(m.spectrum))
        flows = Flows(self._longer * unit * steps)
        sizes, counts, displacements = tried_descents(m, weighted)
        # Rates of the grid fall on this border for 5 rows, 10, 20 …: rounding is not to decide about them.
        stable = self._longer * sizes <= (1 + 1e-9) * sizes.max(initial=0.0)
        sizes, counts, displacements = sizes[stable], counts[stable], displacements[stable]
        descents = Descents(self._longer * sizes, counts)
        of_flows = left_out.losses(flows)
        of_descents = left_out.losses(descents) if len(sizes) else np.zeros(0)
        if self.known:
            of_flows = of_flows + forgetting
            of_descents = of_descents + pretrain_error(m._problem, displacements)
        # The first that is near the best: differences of less are not worth a longer training.
        near = NEAR_BEST * (of_flows[0] - min(of_flows.min(), of_descents.min(initial=math.inf)))
        first = lambda errors: int(np.argmax(errors <= errors.min() + near))
        k = first(of_flows)
        if of_flows[k] <= of_descents.min(initial=math.inf) + near:
            displacement = gradient_flow(m._training_problem(weighted), unit * float(steps[k]))
            name = f"{name} in small steps" if k else f"{name} (before the first step)"
            return self._predicted(name, float(steps[k]), self._losses(left_out, flows.one(k)), displacement)
        k = first(of_descents)
        rate = learning_rate(m, weighted, float(sizes[k]))
        losses = self._losses(left_out, descents.one(k))
        return self._predicted(name, float(counts[k]), losses, displacements[k], rate)

    def _losses(self, left_out: LeftOut, run: Flows | Descents) -> Array:
        return (self._residual - left_out.predictions(run)[0]) ** 2

    def _predicted(
        self, name: str, steps: float, losses: Array, displacement: Array, rate: float = math.nan
    ) -> Predicted:
        m, n = self.measured, self.rows
        if not self.told:
            return Predicted(name, math.nan, math.nan, math.nan, math.nan, math.nan, losses, displacement)
        excess = losses - self._noise
        target = float(mean(m.sample_weight, excess))
        # Of a mean over n rows; and of a variance that is estimated from those to spare alone, more than from all.
        error = math.hypot(
            deviation(m.sample_weight, excess) / math.sqrt(n),
            self.noise_variance * math.sqrt(2 * (1 / (n - self.directions) - 1 / n)),
        )
        forgetting = self._forgetting(displacement) if self.known else math.nan
        return Predicted(name, steps, rate, forgetting, target, error, losses, displacement)


def deviation(counts: Array, losses: Array) -> float:
    """The standard deviation of losses (n,), each counted so often: as far as squares of squares have no float, too."""
    away = losses - mean(counts, losses)
    unit = float(binary_unit(namespace(), away))
    return unit * math.sqrt(mean(counts, (away / unit) ** 2))
