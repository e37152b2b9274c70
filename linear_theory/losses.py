"""Losses on their way to weights: checked, their median, and what a rule answers of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .arrays import Array, Namespace, bounded, namespace, numeric, require, shaped
from .errors import reject
from .interchange import preserve_array_type
from .precision import through_single

__all__ = ["checked_log_weights", "checked_losses", "median", "of_losses"]

M = TypeVar("M", bound=Callable[[Any, Any], Any])


def of_losses(method: M) -> M:
    """``log_weights`` of losses of any shape, whatever holds them, in their kind and precision."""

    @preserve_array_type
    @through_single
    @functools.wraps(method)
    def call(self: Any, losses: Array) -> Array:
        return method(self, numeric(namespace(self, losses), "losses", losses, ndim=tuple(range(33))))

    return call  # pyright: ignore[reportReturnType]


def checked_log_weights(space: Namespace, rule: Any, losses: Array) -> Array:
    """What ``rule`` says of losses (n,): one logarithm a loss, −∞ for no weight at all.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> from linear_theory.arrays import namespace
    >>> from linear_theory.losses import checked_log_weights
    >>> print(checked_log_weights(namespace(), lt.weights.Flow(0.5), np.ones(2)))
    [-2. -2.]
    """
    found = numeric(space, "log_weights", rule.log_weights(losses), ndim=1)
    return shaped("log_weights", found, losses.shape, f"one a loss, from {type(rule).__name__}")


def checked_losses(losses: object) -> tuple[Namespace, Array]:
    """Their engine, and losses (n,) that are finite and ≥ 0, at least one."""
    space = namespace(losses)
    array = bounded(
        space, "losses", losses, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0", ndim=1
    )
    if array.shape[0] == 0:
        reject("losses", losses, "is empty; weights need at least one sample")
    return space, array


def median(space: Namespace, losses: Array) -> Array:
    """The median, of an even number the mean of the middle two, also where their sum overflows; refused if 0."""
    n = losses.shape[0]
    if space.xp is np:
        ranked = np.partition(losses, [(n - 1) // 2, n // 2])
    else:
        ranked = space.xp.sort(losses)
        ranked = ranked + 0.0 * ranked[-1]  # there NaN would be, and makes all of it NaN
    low, high = ranked[(n - 1) // 2], ranked[n // 2]
    with np.errstate(over="ignore"):
        middle = (low + high) / 2
    median = space.xp.where(space.xp.isinf(middle), low / 2 + high / 2, middle)
    remedy = (
        "the pre-trained model already fits half of the samples exactly; "
        "pass a temperature > 0 of your own, for instance the mean loss"
    )
    return require(space, "median of losses", median, median > 0, remedy)
