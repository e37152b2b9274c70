"""FLOW's iterate as an average of standard fine-tuning's checkpoints, for any covariance, noise and weight rule.

Both take steps of the same mean length, α = 2ημ: y_{k+1} = (I − αΣ̃)y_k for standard fine-tuning and
z_{k+1} = (I − αM)z_k for FLOW without noise, y₀ = z₀ = e, M = Σ'/μ = Σ̃ − d Σ̃e eᵀΣ̃/v. So what FLOW does differently
at each step is α d ⟨Σ̃e, z_k⟩/v along Σ̃e, and α Σ̃ y_k = y_k − y_{k+1}:

    z_K = y_K + d Σ_{k<K} g_k (y_{K−1−k} − y_{K−k}),        g_k = ⟨Σ̃e, z_k⟩/v.

Sorted by checkpoints, with g₀ = 1, that is an average of y₀ … y_K. With noise it is the same around (1 − κ)e.
"""

from __future__ import annotations

import math

import numpy as np

from .arrays import Array, integer, namespace, positive, quotient, share
from .errors import reject
from .problem import FineTuningProblem, checked_problem
from .tilting import displacement, residual_tilt
from .trajectories import iterate
from .weights import WeightRule

__all__ = ["checkpoint_weights"]

MOST_NUMBERS = 10**9
"""Of the iterates that are held at once: 8 GB."""


def checkpoint_weights(
    problem: FineTuningProblem,
    steps: int,
    learning_rate: float | Array | None = None,
    temperature: float | Array | WeightRule = math.inf,
) -> Array:
    """The weights a₀ … a_K, sum 1, with which θ_K is the average Σ a_k y_k of standard checkpoints (T17).

    y_k is :func:`iterate` without weights at the learning rate ημ, whose steps are as long on average. With
    h = E[w r²]/(E[w] s²), δ = (1 − h)v/s², v = eᵀΣ̃e, s² = v + σ², and g_k = ⟨Σ̃e, θ_k − θ̃*⟩/v, what FLOW has left of the
    shift after k steps,

        a_K = h,    a_{K−k} = δ(g_{k−1} − g_k) for 0 < k < K,    a₀ = (1 − κ) + δ(g_{K−1} − 1 + κ).

    An identity for every step, Σ̃, noise and rule. Where 2ηλ_max(Σ') ≤ 1 all weights are ≥ 0 (to rounding): FLOW is an
    average of the models that standard fine-tuning has passed, and its total error is at most that average of theirs.
    At a longer step one may be negative; a rule that prefers hard samples (h > 1) extrapolates.

    Parameters
    ----------
    problem : FineTuningProblem
    steps : int
        K ≥ 0; K·d at most 10⁹.
    learning_rate, temperature
        As in :func:`iterate`.

    Returns
    -------
    (K + 1,) array

    Raises
    ------
    InvalidValueError, InvalidTypeError, DivergenceError
        As :func:`iterate`; for K that is no single integer, or too large.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem, tau = lt.paper_problem(0.6), lt.stall_temperature(0.5, 0.6)
    >>> weights = lt.checkpoint_weights(problem, 5, temperature=tau)
    >>> print(weights.round(3))
    [0.214 0.059 0.08  0.125 0.262 0.26 ]
    >>> standard = lt.iterate(problem, range(6), 0.5)  # ημ = ½: as long a mean step
    >>> print((weights @ standard).round(4), lt.iterate(problem, 5, temperature=tau).round(4))
    [ 0.2764 -0.0828] [ 0.2764 -0.0828]
    """
    space = namespace(problem, learning_rate, temperature)
    problem = checked_problem(space, problem)
    if learning_rate is not None:
        learning_rate = positive(space, "learning_rate", learning_rate)
    count = integer("steps", steps, "must be one integer ≥ 0; under jit it must be known")
    if count < 0 or count * problem.dim > MOST_NUMBERS:
        reject("steps", steps, f"must be ≥ 0 and, times d = {problem.dim}, at most {MOST_NUMBERS:.0e}")
    path = iterate(problem, np.arange(max(count, 1)), learning_rate, temperature)
    space = namespace(path)
    problem = space.tree(problem)
    v, noise = problem.shift_variance, space.array(problem.noise_variance)
    tilt, kappa = residual_tilt(temperature, v + noise), displacement(problem, temperature)
    if count == 0:
        return space.array([1.0]) + 0.0 * kappa
    left = quotient(space, (path - problem.target) @ problem.target_operator.apply(problem.shift), v, 1.0)
    taken = share(space, v, noise, 0.0) * tilt.deficit
    first = (1 - kappa) + taken * (left[-1] - (1 - kappa))
    between = taken * (left[:-1] - left[1:])
    return space.xp.concatenate([first[None], between[::-1], tilt.ratio[None]])
