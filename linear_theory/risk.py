"""What each parameter costs on the two tasks: errors (4), averaging (16)-(17), the oracle, hard samples."""

from __future__ import annotations

import math

from .arrays import Array, Namespace, bounded, finite, namespace, quotient, reject, require, shaped
from .covariance import total
from .problem import FineTuningProblem, checked_problem
from .propagator import Inverse, propagate, reach_of

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


def _checked(problem: object, theta: object, *others: object) -> tuple[Namespace, FineTuningProblem, Array]:
    """The engine of all the arguments, and problem and θ (…, d) in it."""
    space = namespace(problem, theta, *others)
    checked = checked_problem(space, problem)
    array = finite(space, "theta", theta, ndim=tuple(range(1, 33)))
    if array.shape[-1] != checked.dim:
        reject("theta", theta, f"has shape {array.shape}; its last axis must be the {checked.dim} parameters")
    return space, checked, array


def pretrain_error(problem: FineTuningProblem, theta: Array) -> Array:
    """err₁(θ) = (θ−θ*)ᵀΣ(θ−θ*), eq. (4): forgetting. θ (…, d) → (…); no ½, no label noise in it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything but a problem, a θ whose last axis is not d long, NaN or infinity (NaN under JAX tracing).

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(lt.pretrain_error(problem, [problem.pretrained, problem.target]))  # at θ*, at θ̃*
    [0. 1.]
    """
    _, problem, theta = _checked(problem, theta)
    return problem.pretrain_operator.quadratic(theta - problem.pretrained)


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
    _, problem, theta = _checked(problem, theta)
    return problem.target_operator.quadratic(theta - problem.target)


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
    return pretrain_error(problem, theta) + target_error(problem, theta)


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
    return problem.target + weight[..., None] * problem.shift


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
    a = problem.pretrain_operator.quadratic(problem.shift)
    b = problem.target_operator.quadratic(problem.shift)
    return quotient(space, a, a + b, 1.0)[()]


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
    """θ_joint = (Σ+Σ̃)⁻¹(Σθ* + Σ̃θ̃*), shape (d,): the oracle that no method beats on err_tot (B).

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
    >>> print(f"{lt.total_error(problem, lt.joint_optimum(problem)):.4f}")  # the oracle
    0.6440
    """
    space = namespace(problem)
    problem = checked_problem(space, problem)
    both = total(problem.pretrain_operator, problem.target_operator)
    one, pull = space.array(1.0), problem.pretrain_operator.apply(problem.shift)
    reach = reach_of(Inverse(), one, both, pull)
    smallest = space.xp.min(reach.covariance.eigh()[0])
    pull = require(
        space,
        "pretrain_covariance + target_covariance",
        pull,
        (smallest > 0) & (True if reach.rest is None else reach.rest > 0),
        "is singular, so the joint optimum is not unique; project the problem onto its range",
    )
    return problem.target + propagate(Inverse(), one, both, pull)


def gap_closed(problem: FineTuningProblem, theta: Array) -> Array:
    """The share of the gap between the best average and the oracle that θ closes; (…, d) → (…).

    1 is the oracle, 0 the best average, negative is worse than averaging. NaN where there is no gap
    (Σe ∥ Σ̃e: averaging *is* the oracle there), to rounding. Errors as in :func:`pretrain_error` and
    :func:`joint_optimum`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.9, pretrain_covariance=np.array([[1.5, -1.3], [-1.3, 5.0]]))
    >>> flow = lt.iterate(problem, [1, 8, 32], temperature=0.25)
    >>> print(lt.gap_closed(problem, flow).round(2))  # too soon, in time, too late
    [-0.42  0.89 -2.81]
    """
    space, problem, theta = _checked(problem, theta)
    average = total_error(problem, best_model_average(problem))
    oracle = total_error(problem, joint_optimum(problem))
    gap = average - oracle
    share = quotient(space, average - total_error(problem, theta), gap, math.nan)
    return space.xp.where(gap <= 64 * problem.dim * space.eps * average, math.nan, share)[()]


def _hardness_excess(space: Namespace, fraction: Array) -> Array:
    """m(q) − 1 = 2cφ(c)/q with c = Φ⁻¹(1 − q/2): the mean of Z² over the q largest |Z|, less 1."""
    c = -space.special.ndtri(fraction / 2)
    density = space.xp.exp(-(c**2) / 2) / math.sqrt(2 * math.pi)
    return 2 * c * density / fraction


def hard_sample_error(problem: FineTuningProblem, theta: Array, fraction: float | Array) -> Array:
    """E[⟨θ−θ̃*, x⟩²] over the fraction q of samples with the largest pre-trained loss (B; paper's Table 5).

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
    space, problem, theta = _checked(problem, theta, fraction)
    fraction = shaped(
        "fraction",
        bounded(space, "fraction", fraction, lambda q: (q > 0) & (q <= 1), "must be in (0, 1]"),
        (),
        "one number",
    )
    u = theta - problem.target
    aligned = quotient(
        space, problem.target_operator.apply(u) @ problem.shift, problem.residual_variance, 0.0
    )
    excess = _hardness_excess(space, fraction) * problem.residual_variance
    return problem.target_operator.quadratic(u) + excess * aligned**2
