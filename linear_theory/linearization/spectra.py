"""The largest eigenvalues by Lanczos, and the kernel of the path, for a matrix known by its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from ..arrays import Array, Namespace, reject
from ..descent.transfer import Response

__all__ = ["Displacement", "lanczos"]


def lanczos(space: Namespace, times: Callable[[Array], Array], size: int, count: int) -> tuple[Array, Array]:
    """The ``count`` largest eigenvalues, descending, zero where they are rounding, and vectors in columns."""
    begin = np.random.default_rng(0).standard_normal(size).astype(space.dtype)  # the same each time
    matvec = lambda v: np.asarray(times(v.reshape(-1)))
    if not matvec(begin).any():  # ARPACK would find no vector to go on with
        return space.xp.zeros(count, dtype=space.dtype), space.xp.eye(size, count, dtype=space.dtype)
    operator: Any = LinearOperator((size, size), matvec=matvec, dtype=space.dtype)  # pyright: ignore
    try:
        values, vectors = eigsh(operator, k=count, which="LA", v0=begin)
    except ArpackError as error:
        found = f"must be another number: Lanczos has not found them all ({error}); {size} takes no Lanczos"
    else:
        values = np.where(values <= size * space.eps * values[-1], 0.0, values)
        return space.array(values[::-1].copy()), space.array(vectors[:, ::-1].copy())
    return reject("count", count, found)


@dataclass(frozen=True)
class Displacement:
    """ψ_K(rate·a), ψ_K(x) = (1 − (1 − x)^K)/x: a kernel of ``propagator.propagate``; K of any size, fixed."""

    rate: Array
    steps: tuple[int, ...]

    @property
    def _unit(self) -> Response:
        none = 0.0 * self.rate
        return Response((none, none), self.steps)

    def value(self, rate: Array, a: Array) -> Array:
        return self._unit.value(self._unit.rate, rate * a)

    def divided_difference(self, a: Array, b: Array) -> Array:
        return self.rate * self._unit.divided_difference(self.rate * a, self.rate * b)


jax.tree_util.register_dataclass(Displacement, data_fields=["rate"], meta_fields=["steps"])
