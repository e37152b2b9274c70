"""From losses to weights: the rules, and the median temperature (section 4).

Losses may be NumPy's, JAX's, or of any framework that speaks DLPack (PyTorch, say): the answer is of their
kind. All else (lists, pandas) is read by NumPy.
"""

from __future__ import annotations

import math

import jax

from .arrays import (
    Array,
    Namespace,
    bounded,
    meshed,
    namespace,
    reject,
    require,
)
from .interchange import in_kind
from .rules import KLDRO, Flow, HardThreshold, Uniform, WeightRule, as_rule

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


def _checked_losses(losses: object) -> tuple[Namespace, Array]:
    space = namespace(losses)
    array = bounded(
        space, "losses", losses, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0", ndim=1
    )
    if array.shape[0] == 0:
        reject("losses", losses, "is empty; weights need at least one sample")
    return space, array


def _median(space: Namespace, losses: Array) -> Array:
    median = space.xp.median(losses)
    remedy = (
        "the pre-trained model already fits half of the samples exactly; "
        "pass a temperature > 0 of your own, for instance the mean loss"
    )
    return require(space, "median of losses", median, median > 0, remedy)


@in_kind
@meshed
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
    space, checked = _checked_losses(losses)
    median = _median(space, checked)
    return median if isinstance(median, jax.Array) else float(median)


@in_kind
@meshed
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
    own, checked = _checked_losses(losses)
    rule = Flow(_median(own, checked) if temperature is None else temperature)
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
