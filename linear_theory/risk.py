"""What each parameter costs on the two tasks: the errors (4), and that of the hard samples."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Array, Namespace, bounded, finite, namespace, quotient, require, shaped
from .covariance import Covariance
from .errors import reject
from .problem import FineTuningProblem, checked_problem

__all__ = ["hard_sample_error", "pretrain_error", "target_error", "total_error"]


def checked_parameters(
    problem: object, theta: object, *others: object
) -> tuple[Namespace, FineTuningProblem, Array]:
    """The engine of all the arguments, and problem and θ (…, d) in it."""
    space = namespace(problem, theta, *others)
    checked = checked_problem(space, problem)
    array = finite(space, "theta", theta, ndim=tuple(range(1, 33)))
    if array.shape[-1] != checked.dim:
        reject("theta", theta, f"has shape {array.shape}; its last axis must be the {checked.dim} parameters")
    return space, checked, array


def representable(space: Namespace, theta: Array, error: Array) -> Array:
    remedy = "is so far away that its error is beyond the largest float; rescale y, or pass nearer parameters"
    return require(space, "theta", error, space.xp.isfinite(error), remedy, theta)


def _error(space: Namespace, covariance: Covariance, theta: Array, optimum: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return representable(space, theta, covariance.quadratic(theta - optimum))


def pretrain_error(problem: FineTuningProblem, theta: Array) -> Array:
    """err₁(θ) = (θ−θ*)ᵀΣ(θ−θ*), eq. (4): forgetting. θ (…, d) → (…); no ½, no label noise in it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything but a problem, a θ whose last axis is not d long, NaN or infinity, an error beyond the largest
        float (NaN under JAX tracing).

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(lt.pretrain_error(problem, [problem.pretrained, problem.target]))  # at θ*, at θ̃*
    [0. 1.]
    """
    space, problem, theta = checked_parameters(problem, theta)
    return _error(space, problem.pretrain_operator, theta, problem.pretrained)


def target_error(problem: FineTuningProblem, theta: Array) -> Array:
    """err₂(θ) = (θ−θ̃*)ᵀΣ̃(θ−θ̃*), eq. (4): the fine-tuning task. θ (…, d) → (…); excess over the noise.

    Errors as in :func:`pretrain_error`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(lt.target_error(problem, [problem.pretrained, problem.target]))  # at θ*, at θ̃*
    [1. 0.]
    """
    space, problem, theta = checked_parameters(problem, theta)
    return _error(space, problem.target_operator, theta, problem.target)


def total_error(problem: FineTuningProblem, theta: Array) -> Array:
    """err_tot = err₁ + err₂, eq. (4); θ (…, d) → (…).

    Corners: ‖e‖² at θ* (eq. (5), where ēᵀΣ̃ē = 1), eᵀΣe at θ̃* (13), (18). Errors as in :func:`pretrain_error`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(lt.total_error(problem, [problem.pretrained, [0.5, 0.0], problem.target]))
    [1.  0.5 1. ]
    """
    forgetting, learning = pretrain_error(problem, theta), target_error(problem, theta)
    with np.errstate(over="ignore"):
        return representable(namespace(forgetting), theta, forgetting + learning)


def _hardness_excess(space: Namespace, fraction: Array) -> Array:
    """m(q) − 1 = 2cφ(c)/q with c = Φ⁻¹(1 − q/2): the mean of Z² over the q largest |Z|, less 1."""
    c = -space.special.ndtri(fraction / 2)
    density = space.xp.exp(-(c**2) / 2) / math.sqrt(2 * math.pi)
    return 2 * c * density / fraction


def hard_sample_error(problem: FineTuningProblem, theta: Array, fraction: float | Array) -> Array:
    """E[⟨θ−θ̃*, x⟩²] over the fraction q of samples with the largest pre-trained loss (T10).

    err₂(θ) + (m(q) − 1)(uᵀΣ̃e)²/s², u = θ − θ̃*: conditioning on the residual r of θ* rescales one
    direction of the Gaussian x, and E[r²] there is m(q)s². In the plane with σ = 0, u = ae + b‖e‖ē⊥, it is
    ‖e‖²[(a+bρ)²m(q) + b²(1−ρ²)]. The samples are ranked by r, noise included; the error itself is the
    excess over the noise.

    Parameters
    ----------
    problem : FineTuningProblem
    theta : (…, d) array
    fraction : float
        q in (0, 1]; 1 is all samples, :func:`target_error`.

    Returns
    -------
    (…) array
        In the units of y².

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For q outside (0, 1], and as in :func:`pretrain_error`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> stalled = lt.iterate(problem, 10, temperature=0.5)
    >>> for fraction in (1.0, 0.1):  # all samples, the hardest tenth
    ...     print(f"{lt.hard_sample_error(problem, stalled, fraction):.4f}")
    0.0158
    0.0672
    """
    space, problem, theta = checked_parameters(problem, theta, fraction)
    smallest, _ = space.range  # of a smaller part there is no quantile
    fraction = shaped(
        "fraction",
        bounded(space, "fraction", fraction, lambda q: (q > smallest) & (q <= 1), "must be in (0, 1]"),
        (),
        "one number",
    )
    u, variance = theta - problem.target, problem.residual_variance
    with np.errstate(over="ignore", invalid="ignore"):
        aligned = problem.target_operator.apply(u) @ problem.shift
        explained = quotient(space, aligned, variance, 0.0) * aligned
        error = problem.target_operator.quadratic(u) + _hardness_excess(space, fraction) * explained
    return representable(space, theta, error)
