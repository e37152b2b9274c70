"""The best that FLOW can do in continuous time, over every temperature and every time to stop.

For every covariance FLOW's point is an average of points y(t) of standard gradient flow (T17), so it lies in the convex
hull of that curve. Where the shift has a part in two eigenspaces of Σ̃ only, of eigenvalues l₁ < l₂ (the paper's Σ̃;
every Σ̃ in two dimensions), the point that keeps the share Q of the slow part and P of the fast one is reached,
or is a limit of such points, exactly where

    Q^(l₂/l₁) ≤ P ≤ Q ≤ 1,

which is that hull. Its border is early stopping (the left equality, τ → ∞) and averaging (the right one, τ → 0), so the
least of a convex function is on one of them, or inside at its own optimum.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from ..arrays import Array, namespace, share
from ..problem import FineTuningProblem, checked_problem
from ..risk import total_error
from ..trajectories import fixed_point, gradient_flow
from ..trees import pytree
from .early_stop import best_early_stop
from .modes import Modes, asked_of_numpy, searched, seen_forms
from .root import defined, differentiable_root, least, within_span

__all__ = ["BestFlow", "best_flow"]

WINNERS = ("early stopping", "averaging", "joint optimum", "between")
EARLY, AVERAGING, JOINT, BETWEEN = range(4)

SAME = 1e-9
"""Relative difference of two errors up to which a search says that they are one."""


@pytree
class BestFlow:
    """FLOW's least ``total_error`` over ``temperature`` and ``time``, its ``theta`` (d,), and the ``winner`` (T27).

    ``temperature`` 0 is the limit τ → 0 and ``time`` ∞ the limit t → ∞. ``rule`` is the winner's number.

    Examples
    --------
    >>> import linear_theory as lt
    >>> lt.best_flow(lt.paper_problem(0.6)).winner
    'joint optimum'
    """

    temperature: Array
    time: Array
    theta: Array
    total_error: Array
    rule: Array

    @property
    def winner(self) -> Any:
        """ "early stopping", "averaging" or "joint optimum", where FLOW's best is one of these; else "between"."""
        names = np.array([*WINNERS, ""])[np.asarray(self.rule)]
        return names if names.ndim else str(names)


class _Found(NamedTuple):
    temperature: float
    time: float
    kept: float
    rule: int


def best_flow(problem: FineTuningProblem) -> BestFlow:
    """The infimum of the total error (4) over FLOW's temperature and time, in continuous time (T27).

    Where the shift has a part in no more than two eigenspaces of Σ̃ (the paper's Σ̃, every Σ̃ in two dimensions) the
    answer is exact. All points that can be reached lie in one plane, so let A = ēᵀΣē, B = ēᵀΣ̃ē, and let the joint
    optimum of that plane keep the shares Q and P of the shift's slow and fast part, eigenvalues l₁ < l₂:

    - P ≥ Q: **averaging**, ‖e‖²AB/(A + B); a limit τ → 0 without label noise, with it τ = 2σ²B/A and t = ∞;
    - else Q ≥ 0 and P ≥ Q^(l₂/l₁): the **joint optimum**, at a finite τ and t;
    - else **early stopping**, τ = ∞.

    With more parts no rule is known, and the minimum is searched for: over a grid of temperatures and times, and from
    its two lowest points on by Nelder and Mead. It then says "between" where neither end is better; the true minimum
    may be lower.

    Parameters
    ----------
    problem : FineTuningProblem

    Returns
    -------
    BestFlow
        Time as in :func:`gradient_flow`, so without the weights' mass made up for. In JAX derivatives of every order
        are right: that of ``total_error`` is the partial one at the optimum, those of τ, t and θ follow from both
        slopes being 0 there (where the minimum was searched for, to its eight digits). τ or t at 0 or ∞ is a constant:
        τ of early stopping, t of averaging, and without noise its τ, though from σ² = 0 on it is 2σ²B/A; θ moves on.
        Where two minima tie or the winner changes, derivatives are those of the one that is told, from its side. Where
        the shift leaves the span of a low rank of more than 128 dimensions, ``total_error`` has a first derivative
        alone, and τ, t and θ have NaN.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`total_error`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.7, pretrain_covariance=np.array([[3.0, 1.9], [1.9, 3.0]]))
    >>> best = lt.best_flow(problem)
    >>> print(f"{best.winner}: τ = {best.temperature:.4f}, t = {best.time:.2f}, err_tot = {best.total_error:.4f}")
    joint optimum: τ = 0.0414, t = 47.46, err_tot = 0.7489
    """
    space = namespace(problem)
    problem = checked_problem(space, problem)
    if space.xp is np:
        temperature, time, kept, rule = (np.asarray(x)[()] for x in _searched(problem))
        theta = _reached(np.array([temperature, time, kept]), problem)
        return BestFlow(temperature, time, theta, total_error(problem, theta), rule)
    number = jax.ShapeDtypeStruct((), space.dtype)
    shapes = (number, number, number, jax.ShapeDtypeStruct((), jnp.int32))
    *found, rule = asked_of_numpy(_searched, shapes, problem)
    found = jnp.stack(found)
    error = least(_error, _place, found, problem)
    place = _place(found, problem)
    place = place.at[:2].multiply(defined(problem))
    return BestFlow(place[0], place[1], _reached(place, problem), error, rule)


def _reached(place: Array, problem: FineTuningProblem) -> Array:
    """θ at (τ, t, ω): of FLOW, and in the limit τ = 0 an average that keeps ω of the shift."""
    xp, (temperature, time, kept) = namespace(place).xp, place
    limit = temperature == 0
    kept = xp.where(limit, kept, 0.0)
    path = gradient_flow(problem, time, xp.where(limit, 1.0, temperature))
    average = kept * problem.pretrained + (1 - kept) * fixed_point(problem, math.inf)
    return xp.where(limit, average, path)


def _error(place: Array, problem: FineTuningProblem) -> Array:
    return total_error(problem, _reached(place, problem))


def _slopes(place: Array, problem: FineTuningProblem) -> Array:
    """Of the total error, in (τ, t)."""
    problem = within_span(problem)
    return jax.jacfwd(lambda place: _error(jnp.append(place, 0.0), problem))(place)


def _place(found: Array, problem: FineTuningProblem) -> Array:
    """(τ, t, ω) that were found, with the derivatives that their equations give them."""
    kept = share(namespace(problem), *seen_forms(problem), 1.0)
    return jnp.append(differentiable_root(_slopes, found[:2], problem), jnp.where(found[0] == 0, kept, 0.0))


def _searched(problem: FineTuningProblem) -> _Found:
    early = float(best_early_stop(problem).time)
    return searched(problem, lambda modes: _search(modes, early))


def _search(modes: Modes, early: float) -> tuple[Array, _Found]:
    stopped = _Found(math.inf, early, math.nan, EARLY)
    stopped_at = np.expm1(-2 * early * modes.rate_unit * modes.values) * modes.shift
    if len(modes.values) < 2:
        return stopped_at, stopped
    average = _average(modes)
    average_at = (average.kept - 1) * modes.shift
    if len(modes.values) > 2:
        return _by_search(modes, (stopped_at, stopped), (average_at, average))
    optimum = modes.optimum
    slow, fast = 1 + optimum / modes.shift
    if fast >= slow:
        return average_at, average
    if min(slow, fast) > 0 and math.log(fast) >= modes.values[1] / modes.values[0] * math.log(slow):
        return optimum, _reaching(modes, optimum)
    return stopped_at, stopped


def _average(modes: Modes) -> _Found:
    """As τ → 0 without noise; with noise at the end of training, κ = τ/(τ + 2σ²) = 1 − ω."""
    kept = modes.kept
    temperature = 2 * modes.noise * (1 - kept) / kept if kept > 0 else math.inf
    if modes.noise == 0:
        temperature = 0.0 if kept > 0 else math.inf
    return _Found(temperature * modes.temperature_unit, math.inf, kept, AVERAGING)


def _reaching(modes: Modes, moved: Array) -> _Found:
    """The temperature and time at which FLOW passes a point of the hull's inside.

    In the plane (ē, ē⊥), ⟨ē, Σ̃ē⊥⟩ = g > 0, let ē − tē⊥ be M's slow eigenvector. By M⁻¹ = Σ̃⁻¹ + (2/T)eeᵀ, T = τ + 2σ²,

        T = 2‖e‖² D t/(g(1 − t²) + (B − C)t),    m₁ = D t/(g + B t),    m₂ = D/(B − g t),    D = BC − g²,

    and of the point (a, b)‖e‖ without noise FLOW has left the shares a − tb and a + b/t of the slow and the fast part.
    They fix a time each; t is where these agree.
    """
    (l1, l2), (c1, c2) = modes.values, modes.shift
    n2 = c1 * c1 + c2 * c2
    sign = math.copysign(1.0, c1 * c2)
    B, C, D = (l1 * c1 * c1 + l2 * c2 * c2) / n2, (l1 * c2 * c2 + l2 * c1 * c1) / n2, l1 * l2
    g = (l2 - l1) * abs(c1 * c2) / n2
    along, across = float(moved @ modes.shift) / n2, sign * float(moved[1] * c1 - moved[0] * c2) / n2

    def at(t: float) -> tuple[float, float, float, float]:
        """T, 2·time·μ by the slow and by the fast part, and κ."""
        denominator = g * (1 - t * t) + (B - C) * t
        total = 2 * n2 * D * t / denominator if denominator > 0 else math.inf
        kappa = 1 - 2 * modes.noise / total
        if kappa <= 0:
            return total, math.nan, math.inf, kappa
        slow, fast = along - t * across, along + across / t
        if min(kappa + slow, kappa + fast) <= 0:
            return total, math.nan, math.inf, kappa
        return (
            total,
            -math.log1p(slow / kappa) * (g + B * t) / (D * t),
            -math.log1p(fast / kappa) * (B - g * t) / D,
            kappa,
        )

    cold, warm = 0.0, abs(c2 / c1)
    while cold < (middle := cold + (warm - cold) / 2) < warm:
        _, by_slow, by_fast, _ = at(middle)
        cold, warm = (cold, middle) if by_slow >= by_fast else (middle, warm)
    total, twice_time, _, kappa = at(warm)
    temperature = kappa * total
    time = twice_time / 2 / float(modes.mass(np.float64(temperature)))
    return _Found(temperature * modes.temperature_unit, time / modes.rate_unit, math.nan, JOINT)


Candidate = tuple[Array, _Found]


def _by_search(modes: Modes, stopped: Candidate, average: Candidate) -> Candidate:
    """More than two parts: a grid over τ and the share left of the slow part, refined from its lowest points."""
    v = modes.variance

    def point(tau: Array, left: Array) -> tuple[Array, Array]:
        """x (n, m, k) and the time × μ, at n temperatures and m shares each."""
        at = modes.weighted(tau)
        with np.errstate(divide="ignore"):
            time = -np.log(left) / (2 * at.values[:, :1])
        factors = np.exp(-2 * time[..., None] * at.values[:, None, :])
        return at.moved(factors, modes.displacement(tau)), time

    tau = v * np.geomspace(1e-6, 1e6, 97)
    shares = 1 / (1 + np.exp(np.linspace(-12, 12, 61)))
    errors = modes.error(point(tau, np.broadcast_to(shares, (len(tau), len(shares))))[0])
    padded = np.pad(errors, 1, constant_values=math.inf)
    around = np.min(
        [padded[i : i + len(tau), j : j + len(shares)] for i in (0, 1, 2) for j in (0, 1, 2)], axis=0
    )
    lowest = np.argwhere(errors <= around)
    lowest = sorted(lowest.tolist(), key=lambda place: errors[tuple(place)])[:2]

    def one(p: Array) -> tuple[Array, float, float]:
        temperature = np.array([math.exp(p[0])])
        x, time = point(temperature, np.array([[1 / (1 + math.exp(p[1]))]]))
        return x[0, 0], float(temperature[0]), float(time[0, 0])

    candidates = [stopped, average]
    for i, j in lowest:
        start = math.log(tau[i]), math.log(1 / shares[j] - 1)
        found = minimize(
            lambda p: float(modes.error(one(p)[0])), start, method="Nelder-Mead",
            bounds=((math.log(v) - 15, math.log(v) + 15), (-30, 30)), options={"xatol": 1e-9, "fatol": 1e-16},
        )  # fmt: skip
        x, temperature, time = one(found.x)
        time = time / float(modes.mass(np.float64(temperature))) / modes.rate_unit
        candidates.append((x, _Found(temperature * modes.temperature_unit, time, math.nan, BETWEEN)))
    ends = min(candidates[:2], key=lambda candidate: float(modes.error(candidate[0])))
    inside = min(candidates[2:], key=lambda candidate: float(modes.error(candidate[0])))
    least = float(modes.error(inside[0]))
    if not least < float(modes.error(ends[0])) * (1 - SAME):
        return ends
    best = float(modes.error(modes.optimum))
    return (inside[0], inside[1]._replace(rule=JOINT)) if least <= best * (1 + SAME) else inside
