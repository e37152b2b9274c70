"""What was measured on the rows: one object, of which everything else here is a function."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..arrays import Array, namespace
from ..covariance import Covariance, Dense
from ..covariance.low_rank import construct_unchecked
from ..covariance.spectrum import rank_cutoff
from ..least_squares import Sample
from ..problem import FineTuningProblem
from ..trees import pytree
from .prior import mean, median

__all__ = ["Measured", "displacement_problem"]


def displacement_problem(
    target_covariance: Array,
    shift: Array,
    pretrain_covariance: Covariance,
    noise_variance: Array | float = 0.0,
) -> FineTuningProblem:
    """The problem of the displacement θ − θ*, which the start's size costs no digits: θ* = 0 and θ̃* = −e.

    Its parts come from checked rows, and are not checked again.
    """
    dense = isinstance(pretrain_covariance, Dense)
    return construct_unchecked(
        FineTuningProblem,
        pretrained=namespace(shift).xp.zeros_like(shift),
        target=-shift,
        target_covariance=target_covariance,
        pretrain_covariance=pretrain_covariance.dense() if dense else pretrain_covariance,
        noise_variance=noise_variance,
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

    @property
    def _sigma(self) -> Covariance:
        """Σ, or what stands in for it."""
        return Dense(self.covariances[0]) if self.pretrain_covariance is None else self.pretrain_covariance

    @cached_property
    def _noise_variance(self) -> float:
        """σ², what the best line leaves of the labels."""
        noise = self.rows.residual + self.rows.X @ self.shift
        return float(mean(self.sample_weight, noise**2))

    @cached_property
    def _problem(self) -> FineTuningProblem:
        """These rows as a population: e, Σ̃ = G, Σ and σ²."""
        return displacement_problem(self.covariances[0], self.shift, self._sigma, self._noise_variance)

    def _training_problem(self, weighted: bool) -> FineTuningProblem:
        """The population that a method trains on without weights: of FLOW the weighted rows, Σ̃ = C with its optimum."""
        if not weighted:
            return self._problem
        return displacement_problem(self.covariances[1], self.weighted_shift, self._sigma)

    @cached_property
    def _rank(self) -> int:
        """How many directions the rows span."""
        values = self.spectrum[0]
        return int((values > rank_cutoff(namespace(), values)).sum())

    @cached_property
    def _median_loss(self) -> float:
        """The median loss of the start."""
        return float(median(namespace(), self.rows.residual**2, self.sample_weight))
