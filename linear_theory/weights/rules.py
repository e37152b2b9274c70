"""The rules: from a loss to the logarithm of a weight, also at both ends of the floats (section 4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np

from ..arrays import ANY_NDIM, Array, Namespace, bounded, namespace, numeric, require, shaped
from ..errors import InvalidTypeError, short
from ..interchange import preserve_array_type
from ..trees import pytree
from .precision import through_single

__all__ = ["KLDRO", "Flow", "HardThreshold", "Uniform", "WeightRule", "as_rule"]

M = TypeVar("M", bound=Callable[[Any, Any], Any])


def of_losses(method: M) -> M:
    """``log_weights`` of losses of any shape, whatever holds them, in their kind and precision."""

    @preserve_array_type
    @through_single
    @functools.wraps(method)
    def call(self: Any, losses: Array) -> Array:
        return method(self, numeric(namespace(self, losses), "losses", losses, ndim=ANY_NDIM))

    return call  # pyright: ignore[reportReturnType]


def checked_log_weights(space: Namespace, rule: Any, losses: Array) -> Array:
    """What ``rule`` says of losses (n,): one logarithm a loss, −∞ for no weight at all.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> from linear_theory.arrays import namespace
    >>> from linear_theory.weights.rules import checked_log_weights
    >>> print(checked_log_weights(namespace(), lt.weights.Flow(0.5), np.ones(2)))
    [-2. -2.]
    """
    found = numeric(space, "log_weights", rule.log_weights(losses), ndim=1)
    return shaped("log_weights", found, losses.shape, f"one a loss, from {type(rule).__name__}")


@runtime_checkable
class WeightRule(Protocol):
    """A rule gives the logarithm of each sample's weight from its loss under the pre-trained model.

    Any object with this one method is a rule of rows: :func:`linear_theory.diagnose` and ``linear_theory.streaming``
    take it where they take a temperature, and ``solve`` and ``descend`` take its weights. Functions of a *population*
    need its moments under a Gaussian as well: those of the rules here are built in, those of your own
    are added by ``linear_theory.tilting.residual_tilt.register``; :func:`linear_theory.sgd_error` takes only the
    rules that keep Gaussian samples Gaussian.

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


def parameter(space: Namespace, name: str, value: Array | float) -> Array:
    """A rule's parameter in this engine and precision, in which it must not have become 0."""
    array = space.array(value)
    smallest = 0.0 if space.xp is np else float(jnp.finfo(space.dtype).tiny)  # XLA takes smaller ones for 0
    remedy = (
        f"must be above the smallest number of {space.dtype}; rescale y, or compute in a higher precision"
    )
    return require(space, name, array, (array > 0) & (array >= smallest), remedy, value)


def nonnegative(losses: Array, *parameters: Array | float) -> tuple[Namespace, Array]:
    """The engine of all the arguments, and the losses in it: numbers ≥ 0, infinity allowed."""
    space = namespace(losses, *parameters)
    return space, bounded(space, "losses", losses, lambda v: v >= 0, "must be ≥ 0, without NaN", ANY_NDIM)


def over(space: Namespace, losses: Array, temperature: Array) -> Array:
    """loss/τ, 0 at τ = ∞ whatever the loss."""
    endless = space.xp.isinf(temperature)
    with np.errstate(over="ignore"):  # an exponent of −∞, the weight 0, is what a tiny temperature asks for
        return space.xp.where(endless, 0.0, losses / space.xp.where(endless, 1.0, temperature))


@pytree
class Flow:
    """FLOW: w = exp(−loss/τ), easy samples up (section 4); τ > 0, τ = inf is unweighted.

    An infinite loss has the weight 0 (the logarithm −inf) at every finite τ, and 1 at τ = inf. Losses that are negative
    or NaN are refused, by every rule here (under JAX tracing: NaN).

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
        space, losses = nonnegative(losses, self.temperature)
        return (0.0 - over(space, losses, parameter(space, "temperature", self.temperature)))[()]


@pytree
class KLDRO:
    """KL-DRO's rule at θ*: w = exp(+loss/τ), hard samples up; FLOW's twin with the sign flipped; τ = inf is unweighted.

    A loss so large beside τ that even the logarithm of its weight is beyond the largest float is refused.

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
        space, losses = nonnegative(losses, self.temperature)
        logarithms = over(space, losses, parameter(space, "temperature", self.temperature))
        remedy = f"hold one whose weight exp(loss/τ) has no finite logarithm at temperature {short(self.temperature)}"
        valid = space.xp.isfinite(logarithms)
        return require(
            space, "losses", logarithms, valid, f"{remedy}; raise it, or leave the sample out", losses
        )[()]


@pytree
class HardThreshold:
    """w = 1 where the residual is smaller than the cutoff > 0 (that is, loss < cutoff²), else 0; inf is unweighted.

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
        space, losses = nonnegative(losses, self.cutoff)
        cutoff = parameter(space, "cutoff", self.cutoff)
        kept = (space.xp.sqrt(losses) < cutoff) | space.xp.isinf(cutoff)
        logarithms = space.xp.where(kept, space.array(0.0), -math.inf)
        return space.xp.where(space.xp.isnan(losses) | space.xp.isnan(cutoff), math.nan, logarithms)[()]


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
        space, losses = nonnegative(losses)
        return space.xp.where(space.xp.isnan(losses), math.nan, space.xp.zeros_like(losses))[()]


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
