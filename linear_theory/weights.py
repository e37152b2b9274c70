"""From losses to weights: the rules, and the median temperature (section 4)."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np

from .arrays import (
    Array,
    InvalidTypeError,
    Namespace,
    bounded,
    is_concrete,
    meshed,
    namespace,
    pytree,
    reject,
    require,
)

__all__ = [
    "KLDRO",
    "Flow",
    "HardThreshold",
    "Uniform",
    "WeightRule",
    "as_rule",
    "effective_sample_size",
    "flow_weights",
    "median_temperature",
]


@runtime_checkable
class WeightRule(Protocol):
    """A rule gives the logarithm of each sample's weight from its loss under the pre-trained model."""

    def log_weights(self, losses: Array) -> Array: ...


def _positive(instance: object, name: str) -> None:
    value = getattr(instance, name)
    space = namespace(value)
    object.__setattr__(instance, name, bounded(space, name, value, lambda v: v > 0, "must be > 0"))


def _scaled(losses: Array, temperature: Array | float) -> Array:
    space = namespace(losses, temperature)
    with np.errstate(over="ignore"):  # a weight of exp(−inf) = 0 is what a tiny temperature asks for
        return space.array(losses) / space.array(temperature)


@pytree
class Flow:
    """FLOW: w = exp(−loss/τ), easy samples up (section 4); τ > 0, τ = inf is unweighted."""

    temperature: Array | float

    def __post_init__(self) -> None:
        _positive(self, "temperature")

    def log_weights(self, losses: Array) -> Array:
        return -_scaled(losses, self.temperature)


@pytree
class KLDRO:
    """KL-DRO's rule at θ*: w = exp(+loss/τ), hard samples up; FLOW's twin with the sign flipped."""

    temperature: Array | float

    def __post_init__(self) -> None:
        _positive(self, "temperature")

    def log_weights(self, losses: Array) -> Array:
        return _scaled(losses, self.temperature)


@pytree
class HardThreshold:
    """w = 1 where |residual| < cutoff (that is, loss < cutoff²), else 0; cutoff > 0."""

    cutoff: Array | float

    def __post_init__(self) -> None:
        _positive(self, "cutoff")

    def log_weights(self, losses: Array) -> Array:
        space = namespace(losses, self.cutoff)
        kept = space.xp.sqrt(space.array(losses)) < space.array(self.cutoff)
        return space.xp.where(kept, space.array(0.0), -math.inf)


@pytree
class Uniform:
    """w = 1: standard fine-tuning."""

    def log_weights(self, losses: Array) -> Array:
        return 0.0 * losses


def as_rule(temperature: float | Array | WeightRule) -> WeightRule:
    """The rule that ``temperature`` means: a number τ is :class:`Flow`, a rule is itself."""
    if isinstance(temperature, WeightRule) and not isinstance(temperature, type):
        return temperature
    if temperature is None or isinstance(temperature, str | type):
        raise InvalidTypeError("temperature", temperature, "must be a number > 0, inf, or a weight rule")
    return Flow(temperature)


def _checked_losses(losses: object) -> tuple[Namespace, Array]:
    space = namespace(losses)
    array = bounded(
        space, "losses", losses, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0", ndim=1
    )
    if array.shape[0] == 0:
        reject("losses", losses, "is empty; weights need at least one sample")
    return space, array


@meshed
def median_temperature(losses: Array) -> Array:
    """τ = median of the losses (n,) under the pre-trained model: the paper's default (section 4).

    In the units of the loss. NumPy in, float out; JAX in, JAX scalar out.

    Raises
    ------
    InvalidValueError
        If the median is 0: the pre-trained model already fits half of the samples, and no weight can be
        scaled by it. Pass a temperature of your own, for instance the mean loss. Also for empty, negative
        or non-finite losses.
    """
    space, losses = _checked_losses(losses)
    median = require(
        space,
        "median of losses",
        space.xp.median(losses),
        space.xp.median(losses) > 0,
        "the pre-trained model already fits half of the samples exactly; "
        "pass a temperature > 0 of your own, for instance the mean loss",
    )
    return float(median) if is_concrete(median) and space.xp.__name__ == "numpy" else median


@meshed
def flow_weights(losses: Array, temperature: float | Array | None = None) -> Array:
    """FLOW's weights wᵢ = exp(−lossᵢ/τ), shape (n,), in [0, 1], not normalised (section 4).

    Parameters
    ----------
    losses : (n,) array
        fᵢ(θ*) ≥ 0, the loss of each sample under the pre-trained model.
    temperature : float, optional
        τ > 0 in the units of the loss; ``None`` is :func:`median_temperature`; ``inf`` gives ones.

    A weight below the smallest float is 0, which drops that row; if *all* are, that is an error. Work
    with ``Flow(temperature).log_weights(losses)`` then, or raise the temperature.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For bad losses or temperature, a median loss of 0, or weights that all underflow.
    """
    space = namespace(losses, temperature)
    _, checked = _checked_losses(losses)
    rule = Flow(median_temperature(losses) if temperature is None else temperature)
    weights = space.xp.exp(space.array(rule.log_weights(space.array(checked))))
    return require(
        space,
        "weights",
        weights,
        space.xp.max(weights) > 0,
        f"all underflow to 0 at temperature {rule.temperature}; raise the temperature towards the smallest "
        "loss, or work with Flow(temperature).log_weights(losses)",
    )


@meshed
def effective_sample_size(weights: Array) -> Array:
    """(Σw)²/Σw² of weights (n,), between 1 and n: how many equally weighted samples they are worth."""
    space = namespace(weights)
    weights = bounded(space, "weights", weights, lambda v: (v >= 0) & (v < math.inf), "must be ≥ 0", ndim=1)
    largest = space.xp.max(weights, initial=0.0)
    scaled = weights / require(space, "weights", largest, largest > 0, "must not all be 0")
    return scaled.sum() ** 2 / (scaled**2).sum()
