"""Exact population iterates: gradient descent, gradient flow, and their limit.

The loss carries no ½, so a step is θ ← θ − 2ηΣ'(θ − θ_∞). In every case the path is
θ̃* + (1 − κ)e + κ φ(Σ')e, with κ = 1 where the labels carry no noise (Theorem 7.2).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import Array, Namespace, bounded, namespace, positive, require
from .errors import DivergenceError
from .problem import FineTuningProblem
from .propagator.apply import Decay, largest_reached, propagate, steepest
from .propagator.matrix_functions import Kernel
from .propagator.powers import Power, count_steps
from .tilting import WeightedMoments, weighted_moments
from .trees import is_concrete
from .weights import WeightRule

__all__ = ["fixed_point", "gradient_flow", "iterate", "stable_learning_rate"]


def remaining(problem: FineTuningProblem, moments: WeightedMoments, kernel: Kernel, scale: Array) -> Array:
    """θ̃* + (1 − κ)e + κ φ(scale·Σ'/μ)e: what φ leaves of the shift."""
    left = moments.unit * propagate(kernel, scale, moments.covariance)
    return problem.target + moments.one_minus_kappa * problem.shift + moments.kappa * left


def iterate(
    problem: FineTuningProblem,
    steps: int | Array,
    learning_rate: float | Array | None = None,
    temperature: float | Array | WeightRule = math.inf,
) -> Array:
    """θ_K of gradient descent on the population loss, exactly (eqs. (6), (8), (11), (12)).

    θ_K = θ̃* + (1 − κ)e + κ(I − 2ηΣ')^K e, without a loop over K.

    Parameters
    ----------
    problem : FineTuningProblem
    steps : int or (m,) integer array
        K ≥ 0: a Python int of any size (under ``jit`` beyond int32/int64, pass it as a static constant).
    learning_rate : float, optional
        η > 0; any finite value is evaluated, also a divergent one. ``None`` is 1/(2μ), the step of (11),
        which for unweighted descent is ½.
    temperature : float or weight rule
        τ > 0 in the units of y²; ``inf`` is standard fine-tuning.

    Returns
    -------
    (d,) array, or (m, d) for an array of steps

    Raises
    ------
    DivergenceError
        If the *default* step would not converge for this covariance (under JAX tracing: NaN), or a
        divergent one has carried θ_K beyond the largest float (infinity or NaN). Pass a learning rate below
        :func:`stable_learning_rate`.
    InvalidValueError, InvalidTypeError
        For K < 0 or not an integer, η ≤ 0 or not finite, τ ≤ 0 or NaN.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(lt.iterate(problem, [0, 2, 4])[:, 0].round(4))  # standard fine-tuning: ρ^K e for even K
    [1.     0.36   0.1296]
    >>> stalled = lt.iterate(problem, 10**12, temperature=1e-12)
    >>> print(f"{stalled[0]:.4f}")  # a stall: exp(−τK/2) of the way is left, and no loop has run
    0.6065
    >>> import jax
    >>> error = lambda tau: lt.total_error(problem, lt.iterate(problem, 10, temperature=tau))
    >>> print(f"{jax.jit(jax.grad(error))(0.1):.3f}")  # a higher temperature would end lower
    -1.365
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments, learning_rate, steps if isinstance(steps, jax.Array) else None)
    problem, moments = space.tree((problem, moments))
    if learning_rate is None:
        rate = _default_scaled_step(space, moments)
    else:
        with np.errstate(over="ignore"):  # a step so long that the iterate is beyond the floats, too
            rate = positive(space, "learning_rate", learning_rate) * moments.mass * 2
    with np.errstate(over="ignore", invalid="ignore"):
        theta = remaining(problem, moments, Power(count_steps(space, steps)), rate)
    if is_concrete(theta) and not bool(space.xp.isfinite(theta).all()):
        limit = float(stable_learning_rate(problem, temperature))
        remedy = f"the iterate is beyond the largest float; it converges below {limit:.6g}"
        raise DivergenceError("learning_rate", learning_rate, remedy)
    return theta


def _default_scaled_step(space: Namespace, moments: WeightedMoments) -> Array:
    """2ημ = 1 at η = 1/(2μ), refused where a reachable eigenvalue of Σ'/μ is 2 or more."""
    one = space.array(1.0)
    if is_concrete(moments) and float(moments.covariance.ceiling) < 2:
        return one  # no spectrum needed
    largest = steepest(space.constant(moments.covariance))[0]  # to be compared only: nothing to differentiate
    if is_concrete(largest) and float(largest) >= 2:
        mass = float(moments.mass)
        raise DivergenceError(
            "learning_rate",
            None,
            f"the default 1/(2μ) = {1 / (2 * mass):.6g} diverges for this covariance; "
            f"pass a learning rate below stable_learning_rate = {1 / (mass * float(largest)):.6g}",
        )
    return space.xp.where(largest < 2, one, space.xp.nan)


def stable_learning_rate(
    problem: FineTuningProblem, temperature: float | Array | WeightRule = math.inf
) -> Array:
    """The supremum of the η for which :func:`iterate` converges, a float: 1/λ_max(Σ') where the path (8) goes.

    The path from θ* stays in the Krylov space of (Σ̃, e), so only eigenvectors with a component of the shift
    (beyond rounding) count, which makes it jump where eigenvalues coincide; ``inf`` where there is nothing
    to learn. At η equal to it the iterates oscillate for ever.
    Arguments and errors as in :func:`iterate`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(f"{lt.stable_learning_rate(problem):.4f}")  # 1/(1 + ρ)
    0.6250
    >>> print(f"{lt.stable_learning_rate(problem, temperature=0.1):.4f}")  # small weights, large steps
    6.9593
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments)
    largest_eigenvalue = largest_reached(moments.covariance)
    no_motion = largest_eigenvalue == 0
    with np.errstate(over="ignore"):
        limit = 1 / space.xp.where(no_motion, 1.0, largest_eigenvalue) / moments.mass
    remedy = (
        "gives weights so small that the largest stable learning rate is beyond the largest float; raise it"
    )
    limit = require(space, "temperature", limit, space.xp.isfinite(limit) | no_motion, remedy, temperature)
    return space.xp.where(no_motion, space.xp.inf, limit)[()]


def gradient_flow(
    problem: FineTuningProblem, time: float | Array, temperature: float | Array | WeightRule = math.inf
) -> Array:
    """θ(t) of dθ/dt = −∇L: θ̃* + (1 − κ)e + κ exp(−2tΣ')e; ``time = inf`` is the limit.

    Parameters
    ----------
    problem : FineTuningProblem
    time : float or (m,) array
        t ≥ 0. The loss has no ½, so the rate is 2Σ', and K steps of size η approximate t = Kη.
    temperature : float or weight rule
        As in :func:`iterate`.

    Returns
    -------
    (d,) array, or (m, d) for an array of times
        In the null space of Σ̃ it stays at θ*.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For t < 0 or NaN, or a bad temperature.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6)
    >>> print(lt.gradient_flow(problem, 1.0).round(4))
    [ 0.245  -0.2043]
    >>> print(lt.iterate(problem, 10**6, learning_rate=1e-6).round(4))  # t = Kη
    [ 0.245  -0.2043]
    """
    moments = weighted_moments(problem, temperature)
    space = namespace(problem, moments, time)
    problem, moments = space.tree((problem, moments))
    time = bounded(space, "time", time, lambda v: v >= 0, "must be ≥ 0 (inf is the limit)", ndim=(0, 1))
    limit = space.xp.isinf(time)  # whatever the mass, and without a derivative
    with np.errstate(over="ignore"):
        rate = space.xp.where(limit, 1.0, 2 * moments.mass * space.xp.where(limit, 1.0, time))
    # An infinite product would make ∞·0 of an eigenvalue 0, along which nothing moves however long.
    rate = space.xp.minimum(rate, float(jnp.finfo(space.dtype).max))
    return remaining(problem, moments, Decay(limit), rate)


def fixed_point(problem: FineTuningProblem, temperature: float | Array | WeightRule) -> Array:
    """θ_∞ = θ* − κe, where training on the weighted samples ends under label noise; shape (d,).

    For FLOW κ = τ/(τ + 2σ²): training to convergence is model averaging with ω = 1 − κ. Where Σ̃ is
    singular the null components stay at θ*. Arguments and errors as in :func:`iterate`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, noise_variance=1.0)
    >>> print(lt.fixed_point(problem, 2.0).round(4), lt.model_average(problem, 0.5))  # κ = 1 − ω = ½
    [0.5 0. ] [0.5 0. ]
    """
    return gradient_flow(problem, math.inf, temperature)
