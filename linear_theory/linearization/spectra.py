"""The largest eigenvalues by Lanczos, for a matrix known by its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from ..arrays import Array, Namespace
from ..errors import reject

__all__ = ["lanczos"]


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
