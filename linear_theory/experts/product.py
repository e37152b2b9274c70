"""Where training with these weights ends, what that does to confidence, and the way back."""

from __future__ import annotations

from ..arrays import ANY_NDIM, Array, Namespace, bounded, finite, namespace, shaped
from ..errors import reject
from ..reading import same_labels

__all__ = ["fixed_point", "sharpening", "undo"]


def fixed_point(pretrained: Array, target: Array, temperature: float | Array) -> Array:
    """θ̃* + θ*/τ, the minimiser of FLOW's population loss where labels are drawn from the model at θ̃* (T23).

    For every law of x: minimising E[w ℓ], w = p*(y|x)^(1/τ), fits p_τ ∝ p̃ · p*^(1/τ), which in logistic and softmax
    regression, as in every family whose log-density is linear in the parameters but for its normaliser, is the model
    at θ̃* + θ*/τ. It is (1 + 1/τ) times the average with ω = 1/(1 + τ). The same holds of the logits of any network
    that can represent them. Needed: random labels with a law in the model, E[w] finite, a nonsingular weighted Gram;
    softmax is determined up to one vector added to all classes. In Poisson regression it holds where the loss leaves
    out ln y!, as long as E[w] is finite, which for Gaussian x it seldom is.

    Parameters
    ----------
    pretrained, target : arrays of one shape
        θ* and θ̃*: (d,) for logistic and Poisson regression, (classes, d) for softmax, or logits (…, classes).
    temperature : float
        τ > 0 in nats, the units of the loss; ``inf`` is standard fine-tuning and gives the target.

    Returns
    -------
    array of their shape

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For entries that are not finite, shapes that differ, τ ≤ 0 or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(lt.experts.fixed_point(np.array([1.5, 0.0]), np.array([0.3, 1.0]), temperature=2.0))
    [1.05 1.  ]
    """
    space = namespace(pretrained, target, temperature)
    old, new = _pair(space, pretrained=pretrained, target=target)
    return new + old / checked_temperature(space, temperature)


def undo(fitted: Array, pretrained: Array, temperature: float | Array) -> Array:
    """θ_∞ − θ*/τ, the law of the labels out of what FLOW has fitted (T23): parameters, or logits row by row.

    The inverse of :func:`fixed_point`, for whoever wants the new task alone after all. From a finite sample its
    errors are those of the fit, not magnified.

    Parameters
    ----------
    fitted, pretrained : arrays of one shape
        What training to convergence gave, and the pre-trained one: parameters, or logits (…, classes) of the same
        rows.
    temperature : float
        τ > 0 in nats, with which the rows were weighted.

    Returns
    -------
    array of their shape

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`fixed_point`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(lt.experts.undo(np.array([1.05, 1.0]), np.array([1.5, 0.0]), temperature=2.0))
    [0.3 1. ]
    """
    space = namespace(fitted, pretrained, temperature)
    fit, old = _pair(space, fitted=fitted, pretrained=pretrained)
    return fit - old / checked_temperature(space, temperature)


def sharpening(temperature: float | Array) -> Array:
    """1 + 1/τ, by which FLOW's logits are larger than those of the average of both models (T23).

    Where both models say the same, FLOW is over-confident by exactly this factor: divide its logits by it. The guess,
    the largest logit, does not change.

    Parameters
    ----------
    temperature : float or array
        τ > 0 in nats.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For τ ≤ 0 or NaN.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.experts.sharpening(0.5))
    3.0
    """
    space = namespace(temperature)
    return (1 + 1 / checked_temperature(space, temperature, ANY_NDIM))[()]


def checked_temperature(space: Namespace, temperature: object, ndim: int | tuple[int, ...] = 0) -> Array:
    """τ > 0, perhaps infinite."""
    remedy = "must be > 0 (inf: unweighted)"
    return bounded(space, "temperature", temperature, lambda tau: tau > 0, remedy, ndim)


def _pair(space: Namespace, **arrays: object) -> list[Array]:
    """Two arrays of finite numbers and of one shape, with at least one axis."""
    (first, one), (name, other) = arrays.items()
    for axis, what in enumerate(("rows", "columns")):
        same_labels(what, **{first: (one, axis), name: (other, axis)})
    read = finite(space, first, one, ANY_NDIM[1:])
    if read.size == 0:
        reject(first, one, "is empty")
    return [read, shaped(name, finite(space, name, other, ANY_NDIM[1:]), read.shape, f"that of {first}")]
