"""The theory fed with the rows' own second moments, beside what the rows do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import LinearTheoryError
from ..problem import FineTuningProblem
from ..tilting import weighted_moments
from ..weights import Flow
from .paths import half_life, safe_step, slowest
from .prior import mean

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["Compared", "compared", "rank_of", "shift_ratio"]


class Compared(NamedTuple):
    """One number of the theory: what it is, on these rows, and by Lemma F.1 for Gaussian rows like them."""

    what: str
    rows: float
    theory: float


def compared(d: Diagnosis) -> list[Compared]:
    """Mean weight, effective samples, curvature along the shift, κ and half-life; theory NaN where it has none."""
    gram, weighted = d.covariances
    along = float(d.shift @ gram @ d.shift)
    rows = {
        "mean weight": float(d.mean_weight),
        "effective samples": float(d.effective_samples),
        "curvature left along the shift": _over(float(d.shift @ weighted @ d.shift), along),
        "way to the new optimum, κ": _over(float(d.shift @ gram @ d.weighted_shift), along),
        "half-life of the slowest, steps": float(half_life(np.float64(slowest(d)[2]))),
    }
    theory = _predicted(d)
    return [Compared(what, value, theory.get(what, math.nan)) for what, value in rows.items()]


def rank_of(d: Diagnosis) -> int:
    """How many directions the rows span."""
    values = d.spectrum[0]
    return int((values > len(values) * np.finfo(float).eps * values[-1]).sum())


def shift_ratio(d: Diagnosis) -> tuple[float, int, float]:
    """F and its degrees of freedom: the shift against the noise; about 1 where there is no shift at all."""
    n, rank = float(d.sample_weight.sum()), rank_of(d)
    left = float(d.sample_weight @ (d.rows.residual + d.rows.X @ d.shift) ** 2)
    if rank == 0 or n <= rank:
        return math.nan, rank, n - rank
    return _over(n * float(d.target_errors[0]) / rank, left / (n - rank), math.inf), rank, n - rank


def _over(above: float, below: float, otherwise: float = math.nan) -> float:
    return above / below if below > 0 else otherwise


def _predicted(d: Diagnosis) -> dict[str, float]:
    """The same by Lemma F.1, with Σ̃ = G, e and σ² measured on the rows."""
    gram = (d.covariances[0] + d.covariances[0].T) / 2
    noise = float(mean(d.sample_weight, (d.rows.residual + d.rows.X @ d.shift) ** 2))
    still = np.zeros_like(d.shift)
    try:
        problem = FineTuningProblem(d.shift, still, gram, noise_variance=noise)
        moments = weighted_moments(problem, d.rule)
    except LinearTheoryError:  # KL-DRO where no Gaussian has its moments, say
        return {}
    curvature = moments.covariance.dense()
    steps = 2 * float(safe_step(d.spectrum)) * np.linalg.eigvalsh(curvature)
    moving = steps[min(slowest(d)[0], len(still) - 1) :]
    along = float(d.shift @ gram @ d.shift)
    found = {
        "mean weight": float(moments.mass),
        "curvature left along the shift": _over(float(d.shift @ curvature @ d.shift), along),
        "way to the new optimum, κ": float(moments.moved),
        "half-life of the slowest, steps": float(half_life(moving).max()),
    }
    if isinstance(d.rule, Flow):  # w² is the weight at τ/2
        squared = float(weighted_moments(problem, Flow(d.rule.temperature / 2)).mass)
        found["effective samples"] = float(d.sample_weight.sum()) * _over(found["mean weight"] ** 2, squared)
    return found
