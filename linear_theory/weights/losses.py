"""From losses to weights: the median temperature, FLOW's weights, and how many samples weights are worth (section 4).

Losses may be NumPy's, JAX's, or of any framework that speaks DLPack (PyTorch, say): the answer is of their
kind and precision, computed in 32 bits at least. All else (lists, pandas) is read by NumPy.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array, Namespace, bounded, namespace, require
from ..errors import reject
from ..interchange import preserve_array_type
from ..sharding import on_automatic_mesh
from .precision import through_single
from .rules import Flow

__all__ = ["effective_sample_size", "flow_weights", "median_temperature"]


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
    weights = bounded(
        space, "weights", weights, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0", ndim=1
    )
    largest = space.xp.max(weights, initial=0.0)
    scaled = weights / require(space, "weights", largest, largest > 0, "must not all be 0")
    return scaled.sum() ** 2 / (scaled**2).sum()
