"""From losses to weights: the rules, and the median temperature (section 4).

Losses may be NumPy's, JAX's, or of any framework that speaks DLPack (PyTorch, say): the answer is of their
kind and precision, computed in 32 bits at least. All else (lists, pandas) is read by NumPy.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from .arrays import (
    Array,
    InvalidTypeError,
    bounded,
    meshed,
    namespace,
    pytree,
    require,
)
from .interchange import in_kind
from .losses import checked_losses, median, of_losses
from .precision import through_single

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
    """A rule gives the logarithm of each sample's weight from its loss under the pre-trained model.

    Any object with this one method is a rule, and may stand where a temperature does.

    Examples
    --------
    >>> import linear_theory as lt
    >>> [isinstance(rule, lt.weights.WeightRule) for rule in (lt.weights.Flow(1.0), lt.weights.Uniform(), 1.0)]
    [True, True, False]
    """

    def log_weights(self, losses: Array) -> Array: ...


def _positive(instance: object, name: str) -> None:
    object.__setattr__(instance, name, _checked(name, getattr(instance, name)))


@through_single
def _checked(name: str, value: object) -> Array:
    return bounded(namespace(value), name, value, lambda v: v > 0, "must be > 0")


def _scaled(losses: Array, temperature: Array | float) -> Array:
    space = namespace(losses, temperature)
    with np.errstate(over="ignore"):  # a weight of exp(−inf) = 0 is what a tiny temperature asks for
        return space.array(losses) / space.array(temperature)


@pytree
class Flow:
    """FLOW: w = exp(−loss/τ), easy samples up (section 4); τ > 0, τ = inf is unweighted.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.weights.Flow(0.5).log_weights([1.0, 2.0]))
    [-2. -4.]
    """

    temperature: Array | float

    def __post_init__(self) -> None:
        _positive(self, "temperature")

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        return _scaled(losses, -self.temperature)


@pytree
class KLDRO:
    """KL-DRO's rule at θ*: w = exp(+loss/τ), hard samples up; FLOW's twin with the sign flipped.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.weights.KLDRO(0.5).log_weights([1.0, 2.0]))
    [2. 4.]
    """

    temperature: Array | float

    def __post_init__(self) -> None:
        _positive(self, "temperature")

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        return _scaled(losses, self.temperature)


@pytree
class HardThreshold:
    """w = 1 where the residual is smaller than the cutoff > 0 (that is, loss < cutoff²), else 0.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.weights.HardThreshold(2.0).log_weights([1.0, 3.9, 4.0]))  # |residual| is √loss
    [  0.   0. -inf]
    """

    cutoff: Array | float

    def __post_init__(self) -> None:
        _positive(self, "cutoff")

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        space = namespace(losses, self.cutoff)
        kept = space.xp.sqrt(space.array(losses)) < space.array(self.cutoff)
        return space.xp.where(kept, space.array(0.0), -math.inf)


@pytree
class Uniform:
    """w = 1: standard fine-tuning.

    Examples
    --------
    >>> import linear_theory as lt
    >>> import numpy as np
    >>> print(lt.weights.Uniform().log_weights(np.array([1.0, 2.0])))
    [0. 0.]
    """

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        return 0.0 * losses


def as_rule(temperature: float | Array | WeightRule) -> WeightRule:
    """The rule that ``temperature`` means: a number τ is :class:`Flow`, a rule is itself.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For what is neither a number > 0, inf, nor a rule.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.weights.as_rule(0.5).log_weights([1.0]), lt.weights.as_rule(lt.weights.KLDRO(0.5)).log_weights([1.0]))
    [-2.] [2.]
    """
    namespace(temperature).refuse_half("temperature", temperature)
    if isinstance(temperature, WeightRule) and not isinstance(temperature, type):
        return temperature
    if temperature is None or isinstance(temperature, str | type):
        raise InvalidTypeError("temperature", temperature, "must be a number > 0, inf, or a weight rule")
    return Flow(temperature)


@in_kind
@meshed
@through_single
def median_temperature(losses: Array) -> Array:
    """τ = median of the losses (n,) under the pre-trained model: the paper's default (section 4).

    In the units of the loss. JAX in, JAX scalar out; a Python float for all others.

    Raises
    ------
    InvalidValueError
        If the median is 0: the pre-trained model already fits half of the samples, and no weight can be
        scaled by it. Pass a temperature of your own, for instance the mean loss. Also for empty, negative
        or non-finite losses.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.median_temperature([0.5, 1.0, 3.0, 2.0]))
    1.5
    """
    space, checked = checked_losses(losses)
    found = median(space, checked)
    return found if isinstance(found, jax.Array) else float(found)


@in_kind
@meshed
@through_single
def flow_weights(losses: Array, temperature: float | Array | None = None) -> Array:
    """FLOW's weights wᵢ = exp(−lossᵢ/τ), shape (n,), in [0, 1], not normalised (section 4).

    A weight below the smallest float is 0, which drops that row; if *all* are, that is an error. Work
    with ``Flow(temperature).log_weights(losses)`` then, or raise the temperature.

    Parameters
    ----------
    losses : (n,) array
        fᵢ(θ*) ≥ 0, the loss of each sample under the pre-trained model. Besides NumPy and JAX, a tensor of any
        framework that speaks DLPack: the weights have its framework, dtype and device, and are computed in
        float64 by NumPy. They are constants: a tensor that requires a gradient is refused.
    temperature : float, optional
        τ > 0 in the units of the loss; ``None`` is :func:`median_temperature`; ``inf`` gives ones.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For bad losses or temperature, a median loss of 0, weights that all underflow, a tensor that cannot be read
        as it is (it requires a gradient, is sparse, ...), or arguments of two frameworks.

    Examples
    --------
    >>> import linear_theory as lt
    >>> losses = [0.5, 1.0, 4.0]
    >>> print(lt.flow_weights(losses).round(3))  # τ = 1, the median
    [0.607 0.368 0.018]
    >>> print(lt.flow_weights(losses, temperature=4.0).round(3))
    [0.882 0.779 0.368]
    """
    space = namespace(losses, temperature)
    own, checked = checked_losses(losses)
    rule = Flow(median(own, checked) if temperature is None else temperature)
    weights = space.xp.exp(rule.log_weights(space.array(checked)))
    return require(
        space,
        "weights",
        weights,
        space.xp.max(weights) > 0,
        f"all underflow to 0 at temperature {rule.temperature}; raise the temperature towards the smallest "
        "loss, or work with Flow(temperature).log_weights(losses)",
    )


@in_kind
@meshed
@through_single
def effective_sample_size(weights: Array) -> Array:
    """(Σw)²/Σw² of weights (n,), between 1 and n: how many equally weighted samples they are worth.

    JAX in, JAX scalar out; a float for all others.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For weights that are not finite and ≥ 0, or all 0.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.effective_sample_size([1.0, 1.0, 1.0, 0.0]), lt.effective_sample_size([1.0, 0.5]))
    3.0 1.8
    """
    space = namespace(weights)
    weights = bounded(space, "weights", weights, lambda v: (v >= 0) & (v < math.inf), "must be ≥ 0", ndim=1)
    largest = space.xp.max(weights, initial=0.0)
    scaled = weights / require(space, "weights", largest, largest > 0, "must not all be 0")
    return scaled.sum() ** 2 / (scaled**2).sum()
