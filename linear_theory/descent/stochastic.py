"""Stochastic gradient descent on rows drawn with replacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..arrays import Array, integer
from ..errors import InvalidValueError
from .linear import check_settings
from .objective import Objective

__all__ = ["StochasticGradient"]


@dataclass(frozen=True, eq=False)
class StochasticGradient:
    """δ ← δ − (2η/b) Σ_{i ∈ B} wᵢ(⟨xᵢ, δ⟩ − rᵢ)xᵢ, B of ``batch_size`` b row numbers drawn with replacement.

    The expected step is gradient descent's. ``learning_rate=None`` is 1/((1 − 1/b)λ_max(∇²L) + (1/b) max 2wᵢ‖xᵢ‖²):
    E[Ĥ²] ⪯ that curvature times ∇²L for the batch's Hessian Ĥ, so that where every row can be fitted no
    direction's mean square grows, for any η below twice the default. (λ_max is replaced by the trace of ∇²L
    where the smaller side of X is above 512.) Where the rows cannot all be fitted, a constant step does not
    converge: it ends at a distance ∝ √η of the minimiser, and ``tolerance`` stops it only if it comes so near.

    The same ``seed`` (≥ 0) gives the same path: NumPy's PCG64 for NumPy arrays, ``jax.random`` for JAX.
    Distances on the path are those of this very run, not expectations.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.tile(np.eye(2), (50, 1)), np.tile([1.0, 2.0], 50)
    >>> solver = lt.descent.StochasticGradient(batch_size=8, seed=0)
    >>> path = lt.descend(X, y, np.zeros(2), solver=solver, steps=400)
    >>> print(path.theta[-1].round(4))  # every row can be fitted, so that a constant step converges
    [1. 2.]
    """

    batch_size: int = 1
    seed: int = 0
    learning_rate: Array | float | None = None
    tolerance: Array | float = 0.0

    by_rows = True

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0)):
            value, remedy = getattr(self, name), f"must be an integer ≥ {least}"
            number = integer(name, value, remedy)
            if not least <= number < 2**31:
                raise InvalidValueError(name, value, remedy + " and < 2³¹")
            object.__setattr__(self, name, number)
        check_settings(self)

    def init(self, objective: Objective, displacement: Array) -> tuple[Array, Any]:
        """The step size, and the source of row numbers."""
        numpy_only = objective.space.xp is np
        source = np.random.default_rng(self.seed) if numpy_only else jax.random.key(self.seed)
        return self._rate(objective), source

    def _rate(self, objective: Objective) -> Array:
        xp = objective.space.xp
        if self.learning_rate is not None:
            return objective.units.rate(self.learning_rate)
        rows = objective.row_curvatures
        mean = objective.limit.largest if objective.affordable else rows.mean()
        curvature = (1 - 1 / self.batch_size) * mean + rows.max() / self.batch_size
        return 1 / xp.where(curvature > 0, curvature, 1.0)

    def step(self, objective: Objective, displacement: Array, state: Any) -> tuple[Array, Any]:
        rate, source = state
        if isinstance(source, np.random.Generator):
            batch = source.integers(objective.count, size=self.batch_size)
        else:
            source, once = jax.random.split(source)
            batch = jax.random.randint(once, (self.batch_size,), 0, objective.count)
        rows = objective.X[batch]
        minus_residual = objective.weights[batch] * (rows @ displacement - objective.residual[batch])
        return displacement - 2 * rate / self.batch_size * (minus_residual @ rows), (rate, source)


def _unflatten(fixed: tuple[int, int], leaves: Any) -> StochasticGradient:
    solver = object.__new__(StochasticGradient)
    for name, value in zip(
        ("batch_size", "seed", "learning_rate", "tolerance"), (*fixed, *leaves), strict=True
    ):
        object.__setattr__(solver, name, value)
    return solver


jax.tree_util.register_pytree_node(
    StochasticGradient,
    lambda solver: ((solver.learning_rate, solver.tolerance), (solver.batch_size, solver.seed)),
    _unflatten,
)
