"""From losses to weights: the rules, also at both ends of the floats, and the median temperature (section 4).

Losses may be NumPy's, JAX's, or of any framework that speaks DLPack (PyTorch, say): the answer is of their
kind and precision, computed in 32 bits at least. All else (lists, pandas) is read by NumPy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import ANY_NDIM, Array, Namespace, bounded, is_half, namespace, numeric, require, shaped
from .errors import InvalidTypeError, reject, short
from .interchange import preserve_array_type
from .sharding import on_automatic_mesh
from .trees import is_concrete, pytree

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

T = TypeVar("T")


def through_single(function: Callable[..., T]) -> Callable[..., T]:
    """``function``, where JAX would compute in fewer than 32 bits: in float32, the answer rounded once.

    In float16 the sum of 10⁵ ones is infinite and in bfloat16 it stops at 256. An answer that is too large for its
    precision, or 0 in all of its entries though none was, is an error (NaN under tracing).
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        if not namespace(args, kwargs).half:
            return function(*args, **kwargs)
        dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves((args, kwargs)) if is_half(leaf)))
        wide = lambda leaf: leaf.astype(jnp.float32) if is_half(leaf) else leaf
        args, kwargs = jax.tree.map(wide, (args, kwargs))
        return jax.tree.map(lambda leaf: _rounded(leaf, dtype), function(*args, **kwargs))

    return call


def _rounded(exact: Any, dtype: Any) -> Any:
    if not isinstance(exact, jax.Array) or exact.dtype != jnp.float32:
        return exact
    found = exact.astype(dtype)
    # Some of the shortest floats have no infinity: there it is NaN.
    over = (jnp.isinf(found) & jnp.isfinite(exact)) | (jnp.isnan(found) & ~jnp.isnan(exact))
    under = (jnp.max(exact, initial=0.0) > 0) & (jnp.max(found, initial=0.0) == 0)
    lost = over | under
    if not is_concrete(lost):
        return jnp.where(lost, jnp.nan, found)
    if bool(lost.any()):
        what = (
            f"is beyond the largest {dtype}" if bool(over.any()) else f"underflows to 0 in {dtype}, all of it"
        )
        reject("result", exact, f"{what}; pass a higher precision, .astype(jnp.float32)")
    return found


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
    >>> from linear_theory.weights import checked_log_weights
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


def _losses(losses: Array, *parameters: Array | float) -> tuple[Namespace, Array]:
    """The engine of all the arguments, and the losses in it: numbers ≥ 0, infinity allowed."""
    space = namespace(losses, *parameters)
    return space, bounded(space, "losses", losses, lambda v: v >= 0, "must be ≥ 0, without NaN", ANY_NDIM)


def _over(space: Namespace, losses: Array, temperature: Array) -> Array:
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
        space, losses = _losses(losses, self.temperature)
        return (0.0 - _over(space, losses, parameter(space, "temperature", self.temperature)))[()]


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
        space, losses = _losses(losses, self.temperature)
        logarithms = _over(space, losses, parameter(space, "temperature", self.temperature))
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
        space, losses = _losses(losses, self.cutoff)
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
        space, losses = _losses(losses)
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


@preserve_array_type
@on_automatic_mesh
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
    return median(space, checked)[()]


@preserve_array_type
@on_automatic_mesh
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


@preserve_array_type
@on_automatic_mesh
@through_single
def effective_sample_size(weights: Array) -> Array:
    """(Σw)²/Σw² of weights (n,), between 1 and n: how many equally weighted samples they are worth (T1).

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
