"""Pulled back to θ*: ridge regression, EWC, and any other quadratic penalty, on a weighted population."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import Array, binary_unit, in_units, namespace, positive
from ..covariance import (
    Covariance,
    Dense,
    IdentityPlusLowRank,
    Operator,
    as_covariance,
    checked_covariance,
    total,
)
from ..problem import FineTuningProblem
from ..propagator.apply import Shrinkage
from ..risk import solved
from ..tilting import weighted_covariance, weighted_moments
from ..trajectories import remaining
from ..weights import WeightRule

__all__ = ["ridge_optimum"]


def ridge_optimum(
    problem: FineTuningProblem,
    ridge: float | Array,
    temperature: float | Array | WeightRule = math.inf,
    metric: Any = None,
) -> Array:
    """The minimiser of E[w (y − ⟨θ, x⟩)²] + λ(θ − θ*)ᵀG(θ − θ*), in closed form, shape (d,) (T25).

    θ − θ̃* = e − κ(Σ' + λG)⁻¹Σ'e. With G = I that is the path of training, of each eigenvalue m of Σ' the factor
    exp(−2tm) replaced by λ/(m + λ). G = Σ is EWC (elastic weight consolidation, with the whole Fisher matrix of the
    old task), and then λ = 1 without weights is :func:`joint_optimum`; the diagonal of Σ is EWC as it is mostly used.
    The loss is a mean over all samples and is not divided by E[w], as in :func:`solve`.

    Parameters
    ----------
    problem : FineTuningProblem
    ridge : float
        λ > 0. As λ → 0 the minimiser tends to :func:`fixed_point`, as λ → ∞ to θ*.
    temperature : float or weight rule
        As in :func:`iterate`.
    metric : (d, d) array or structured covariance, optional
        G, symmetric positive semi-definite; ``None`` is the identity, to whose minimiser nothing cancels.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For λ ≤ 0, a bad temperature or metric; where Σ' + λG is singular to rounding (NaN under JAX tracing).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, pretrain_covariance=np.diag([3.0, 1.0]))
    >>> for ridge in (0.01, 1.0, 100.0):  # from the new optimum to θ*
    ...     print(lt.ridge_optimum(problem, ridge).round(4))
    [ 0.0153 -0.0091]
    [ 0.5495 -0.1648]
    [ 0.9901 -0.0059]
    >>> print(lt.ridge_optimum(problem, 1.0, metric=np.diag([3.0, 1.0])).round(4), lt.joint_optimum(problem).round(4))
    [ 0.7853 -0.2356] [ 0.7853 -0.2356]
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments, ridge, metric)
    problem, moments = space.tree((problem, moments))
    ridge = positive(space, "ridge", ridge)
    if metric is None:
        with np.errstate(over="ignore"):  # 1/λ of the smallest floats, which makes ∞·0 of an eigenvalue 0
            scale = space.xp.minimum(moments.mass / ridge, float(np.finfo(space.dtype).max))
        return remaining(problem, moments, Shrinkage(), scale)
    metric = as_covariance(checked_covariance(space, "metric", metric, problem.dim))
    pull = moments.mass * moments.covariance.apply(moments.covariance.direction)
    strength = binary_unit(space, pull)
    loss = as_covariance(weighted_covariance(problem, temperature))
    moved = solved(
        space, total(loss, _multiple(ridge, metric)), pull / strength, "ridge · metric", "minimiser"
    )
    return problem.pretrained - moments.kappa * in_units(space, moved, strength, moments.unit)


def _multiple(number: Array, covariance: Covariance) -> Covariance:
    if isinstance(covariance, IdentityPlusLowRank):
        return covariance.times(number)
    if isinstance(covariance, Operator):
        return Operator(lambda vector: number * covariance.apply(vector), covariance.dim)
    return Dense(number * covariance.dense())
