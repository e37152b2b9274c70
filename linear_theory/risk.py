"""What a parameter costs on the two tasks, eq. (4), and what costs least on both: averages (16), (17), the optimum."""

from __future__ import annotations

import math

import numpy as np

from .arrays import (
    ANY_NDIM,
    Array,
    Namespace,
    binary_unit,
    bounded,
    finite,
    in_units,
    namespace,
    quotient,
    require,
    shaped,
    share,
)
from .covariance import Covariance, Operator, total
from .covariance.subspace import accept_any
from .errors import reject
from .problem import FineTuningProblem, checked_problem, quadratic_above_rounding
from .propagator.apply import Inverse, invariant_subspace, propagate

__all__ = [
    "best_average_weight",
    "best_model_average",
    "gap_closed",
    "hard_sample_error",
    "joint_optimum",
    "model_average",
    "pretrain_error",
    "target_error",
    "total_error",
]


def checked_parameters(
    problem: object, theta: object, *others: object
) -> tuple[Namespace, FineTuningProblem, Array]:
    """The engine of all the arguments, and problem and θ (…, d) in it."""
    space = namespace(problem, theta, *others)
    checked = checked_problem(space, problem)
    array = finite(space, "theta", theta, ndim=ANY_NDIM[1:])
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
    space, problem, theta = checked_parameters(problem, theta)
    forgetting = _error(space, problem.pretrain_operator, theta, problem.pretrained)
    learning = _error(space, problem.target_operator, theta, problem.target)
    with np.errstate(over="ignore"):
        return representable(space, theta, forgetting + learning)


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


def model_average(problem: FineTuningProblem, omega: float | Array) -> Array:
    """θ_avg(ω) = ωθ* + (1−ω)θ̃*, eq. (16); ω finite, a number or (m,) → (d,) or (m, d).

    Any other ω raises InvalidValueError or InvalidTypeError (NaN under JAX tracing).

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.model_average(lt.paper_problem(0.6), [1.0, 0.75, 0.0]).tolist())
    [[1.0, 0.0], [0.75, 0.0], [0.0, 0.0]]
    """
    space = namespace(problem, omega)
    problem = checked_problem(space, problem)
    weight = finite(space, "omega", omega, ndim=(0, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        average = problem.target + weight[..., None] * problem.shift
    remedy = "is so large that the average is beyond the largest float"
    return require(space, "omega", average, space.xp.isfinite(average), remedy, omega)


def best_average_weight(problem: FineTuningProblem) -> Array:
    """ω = A/(A+B), the share of θ* in the best model average (Lemma F.4), a float.

    err_tot(θ_avg(ω)) = (1−ω)² eᵀΣe + ω² eᵀΣ̃e, minimal at A/(A+B) with A = ēᵀΣē, B = ēᵀΣ̃ē on *unit*
    vectors. Where both vanish every ω is optimal, and 1 (do nothing) is returned.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, pretrain_covariance=np.diag([3.0, 1.0]))
    >>> print(f"{lt.best_average_weight(problem):.4f}")  # A = 3, B = 1
    0.7500
    """
    space = namespace(problem)
    problem = checked_problem(space, problem)
    e = problem.shift / binary_unit(space, problem.shift)
    a, b = (
        quadratic_above_rounding(space, A, e) for A in (problem.pretrain_operator, problem.target_operator)
    )
    return share(space, a, b, 1.0)[()]


def best_model_average(problem: FineTuningProblem) -> Array:
    """The best θ_avg, eq. (17), shape (d,): its total error is ‖e‖² AB/(A+B).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, pretrain_covariance=np.diag([3.0, 1.0]))
    >>> best = lt.best_model_average(problem)
    >>> print(lt.total_error(problem, [problem.pretrained, best, problem.target]))  # below both ends
    [1.   0.75 3.  ]
    """
    return model_average(problem, best_average_weight(problem))


def joint_optimum(problem: FineTuningProblem) -> Array:
    """θ_joint = (Σ+Σ̃)⁻¹(Σθ* + Σ̃θ̃*), shape (d,): the best for both tasks, which no method beats on err_tot (T7).

    Raises
    ------
    InvalidValueError
        If Σ + Σ̃ is singular to rounding, for then the optimum is not unique (of operators, only the directions
        that Σe reaches are seen). NaN under tracing.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, pretrain_covariance=np.diag([3.0, 1.0]))
    >>> print(f"{lt.total_error(problem, lt.best_model_average(problem)):.4f}")
    0.7500
    >>> print(f"{lt.total_error(problem, lt.joint_optimum(problem)):.4f}")  # best for both
    0.6440
    """
    space = namespace(problem)
    problem = checked_problem(space, problem)
    unit = binary_unit(space, problem.shift)
    pull = problem.pretrain_operator.apply(problem.shift / unit)
    strength = binary_unit(space, pull)
    return problem.target + in_units(space, _solved(space, problem, pull / strength), strength, unit)


def _solved(space: Namespace, problem: FineTuningProblem, pull: Array) -> Array:
    """(Σ+Σ̃)⁻¹ of a vector."""
    both = total(problem.pretrain_operator, problem.target_operator)
    return solved(space, both, pull, "pretrain_covariance + target_covariance", "joint optimum")


def solved(space: Namespace, both: Covariance, pull: Array, name: str, sought: str) -> Array:
    """A⁻¹ of a vector, where A, the curvature of what is ``sought``, is not singular to rounding."""
    one = space.array(1.0)
    reach = invariant_subspace(Inverse(), one, both, pull)
    smallest = space.xp.min(reach.covariance.eigh()[0])
    pull = require(
        space,
        name,
        pull,
        (smallest > 0) & (True if reach.rest is None else reach.rest > 0),
        f"is singular, so the {sought} is not unique; project the problem onto its range",
        both,
    )
    return propagate(Inverse(), one, both, pull)


def gap_closed(problem: FineTuningProblem, theta: Array) -> Array:
    """The share of the gap between the best average and the joint optimum that θ closes; (…, d) → (…).

    1 is the joint optimum (the best for both), 0 the best average, negative is worse than averaging. With the pull
    p(θ) = Σ(θ−θ*) + Σ̃(θ−θ̃*), half the gradient of err_tot, the gap is ⟨p, (Σ+Σ̃)⁻¹p⟩ at p = p(θ_avg), and
    what θ closes of it ⟨p + p(θ), θ_avg − θ⟩: no two errors are subtracted. NaN where there is no gap (Σe ∥ Σ̃e:
    averaging *is* the joint optimum there), that is where p is not more than the rounding of its two terms. Errors
    as in :func:`pretrain_error` and :func:`joint_optimum`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.9, pretrain_covariance=np.array([[1.5, -1.3], [-1.3, 5.0]]))
    >>> flow = lt.iterate(problem, [1, 8, 32], temperature=0.25)
    >>> print(lt.gap_closed(problem, flow).round(2))  # too soon, in time, too late
    [-0.42  0.89 -2.81]
    """
    space, problem, theta = checked_parameters(problem, theta)
    unit = binary_unit(space, problem.shift)  # of θ; the share has none
    e, from_start, from_target = (
        x / unit for x in (problem.shift, theta - problem.pretrained, theta - problem.target)
    )
    pretrain, target = problem.pretrain_operator, problem.target_operator
    a, b = quadratic_above_rounding(space, pretrain, e), quadratic_above_rounding(space, target, e)
    stays, moves = share(space, a, b, 1.0), share(space, b, a, 0.0)  # ω and 1 − ω, each with its digits
    pull = stays * target.apply(e) - moves * pretrain.apply(e)
    rounding = _rounding(space, target, e) * stays + _rounding(space, pretrain, e) * moves
    strength = binary_unit(space, pull)
    pull = pull / strength
    none = space.xp.sqrt(pull @ pull) * strength <= rounding
    gap = pull @ (_solved(space, problem, pull) * strength)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        both = pull + (pretrain.apply(from_start) + target.apply(from_target)) / strength
        way = space.xp.where(stays > 0.5, -moves * e - from_start, stays * e - from_target)  # θ_avg − θ
        found = (both * way).sum(axis=-1) / space.xp.where(none, 1.0, gap)
    remedy = "is so far away that what it closes is beyond the largest float; pass nearer parameters"
    found = require(space, "theta", found, space.xp.isfinite(found) | none, remedy, theta)
    return space.xp.where(none, math.nan, found)[()]


def _rounding(space: Namespace, covariance: Covariance, vector: Array) -> Array:
    """What rounding, of the covariance's entries too, may make of a product Av that is 0: 8(1 + √d)·eps·‖A‖‖v‖."""
    size = covariance.ceiling
    if isinstance(covariance, Operator):  # 16 products in a random direction see nearly all of ‖A‖
        anywhere = np.random.default_rng(0).standard_normal(covariance.dim)
        size = covariance.reach(anywhere, accept_any).covariance.ceiling
    return 8 * (1 + math.sqrt(covariance.dim)) * space.eps * size * space.xp.sqrt(vector @ vector)
