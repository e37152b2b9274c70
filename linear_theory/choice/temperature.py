"""The temperature at which a given number of steps ends with the least total error.

With φ(x) = (1 − αx)^K, α = 2ημ, p = φ(M)e and M = Σ̃ − (1 − R)Σ̃e eᵀΣ̃/v, R = (τ + 2σ²)/(τ + 2s²), training moves by
h = κ(p − e), and

    d err_tot/dτ = 2⟨dh/dτ, Σh + Σ̃(h + e)⟩,        dh/dτ = κ'(p − e) + κ(R'/v)·V(φ[mᵢ, mⱼ] ∘ uuᵀ)Vᵀe + κα'·∂p/∂α,

V the eigenvectors of M, mᵢ its eigenvalues, φ[·,·] the divided difference and u = VᵀΣ̃e.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from ..arrays import Array, Namespace, integer, namespace, positive, quotient, require
from ..errors import reject
from ..problem import FineTuningProblem, checked_problem
from ..propagator.powers import Power, count_steps
from ..risk import total_error
from ..tilting import weight_mass
from ..trajectories import fixed_point, iterate
from ..trees import is_concrete, pytree
from .modes import Modes, Weighted, asked_of_numpy, searched, seen_forms
from .root import defined, differentiable_root, least, within_span

__all__ = ["BestTemperature", "best_temperature"]

MINIMA = 4
"""Of the local minima in τ, the lowest, that are told."""

MOST_STEPS = 10**12
GRID_TEMPERATURES = 600
"""Evenly in logarithm, between which a minimum is looked for."""

MOST_NUMBERS = 10**6
"""Of one table over temperatures and pairs of eigenvalues, which are looked at in parts."""

FURTHEST = 600.0
"""In ln τ, how far below the other temperatures the coldest one may be: there the floats end."""


@pytree
class BestTemperature:
    """The best ``temperature``, with its ``theta`` (d,) and ``total_error``; and its lowest ``minima`` (T26).

    ``minima`` (4,) are temperatures with ``errors`` (4,), the lowest first, NaN where there are no more.

    Examples
    --------
    >>> import linear_theory as lt
    >>> found = lt.best_temperature(lt.paper_problem(0.6), steps=5)
    >>> print(f"{found.temperature:.4f} {found.total_error:.4f}")
    0.3054 0.4664
    """

    temperature: Array
    theta: Array
    total_error: Array
    minima: Array
    errors: Array


def best_temperature(
    problem: FineTuningProblem, steps: int | None = None, learning_rate: float | Array | None = None
) -> BestTemperature:
    """The τ at which K steps of FLOW, or training to convergence, ends with the least total error (4) (T26).

    To convergence (``steps=None``) FLOW is averaging with ω = 2σ²/(τ + 2σ²), so τ = 2σ²B/A, A = ēᵀΣē, B = ēᵀΣ̃ē. One
    step without noise at the default rate moves by μ²Σ̃e, and μ² = min(1, eᵀΣ̃²e/(eᵀΣ̃ΣΣ̃e + eᵀΣ̃³e)). In general it is a
    root of one equation in τ that may have several: all are taken between 600 temperatures, evenly in logarithm, from
    where no weight is left to where all are 1, and τ = ∞ (unweighted) is a candidate too. The default rate does not
    know the units of x: where it is too long at every temperature the best is not to move, the limit τ → 0, and a
    temperature is told that is as good.

    Parameters
    ----------
    problem : FineTuningProblem
    steps : int, optional
        K from 1 to 10¹²; ``None`` trains to convergence.
    learning_rate : float, optional
        η, the same at every temperature; by default 1/(2μ), which makes up for the small weights. At the temperature
        found either may be beyond :func:`stable_learning_rate`.

    Returns
    -------
    BestTemperature
        NaN under tracing where the arguments are bad. In JAX derivatives of every order are right, of each of the
        ``minima`` too: that of an error is the partial one at its minimum, that of τ follows from the slope being 0
        there. A τ at a border is a constant: ∞, or the one that is as good as τ → 0. Where two minima tie,
        ``total_error`` bends as the lower of two curves does, and derivatives are those of the one that is told. Where
        the shift leaves the span of a low rank of more than 128 dimensions, errors of K steps have a first derivative
        alone, and τ and θ have NaN.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For K < 1 or too large, a rate that is not positive; and where no temperature matters: to convergence without
        label noise, or where there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.9, 1.0, 2, np.array([[1.5, -1.3], [-1.3, 5.0]]), noise_variance=0.5)
    >>> found = lt.best_temperature(problem, steps=10)
    >>> for temperature, error in zip(found.minima[:2], found.errors[:2]):
    ...     print(f"τ = {temperature:.4f}, err_tot = {error:.4f}")
    τ = 1.3150, err_tot = 0.4478
    τ = 44.0012, err_tot = 0.7030
    """
    space = namespace(problem, learning_rate)
    problem = checked_problem(space, problem)
    if learning_rate is not None:
        learning_rate = positive(space, "learning_rate", learning_rate)
    still = problem.shift_variance == 0
    if is_concrete(still) and still:
        reject("problem", problem, "has a shift that no sample sees (Σ̃e = 0), so that no temperature matters")
    if steps is None:
        return _to_convergence(space, problem)
    count = integer("steps", steps, "must be one integer from 1 to 10¹², or None; under jit it must be known")
    if not 1 <= count <= MOST_STEPS:
        reject("steps", steps, "must be from 1 to 10¹²; None is training to convergence")

    if space.xp is np:
        minima, errors, _ = _minima(count, problem, learning_rate)
        if not math.isfinite(errors[0]):
            reject(
                "learning_rate",
                learning_rate,
                f"is so long that {count} steps leave the floats at every temperature (None is 1/(2μ)); pass one below "
                "stable_learning_rate, or scale the columns",
            )
        theta = _Error(count).end(minima[0], problem, learning_rate)
        return BestTemperature(minima[0], theta, total_error(problem, theta), minima, errors)
    return _differentiable(space, count, problem, learning_rate)


def _differentiable(
    space: Namespace, count: int, problem: FineTuningProblem, rate: Array | None
) -> BestTemperature:
    """The same in JAX: each minimum is a root of the error's slope."""
    shapes = (*(jax.ShapeDtypeStruct((MINIMA,), space.dtype),) * 2, jax.ShapeDtypeStruct((MINIMA,), bool))
    minima, errors, inside = asked_of_numpy(partial(_minima, count), shapes, problem, rate)
    # Where there are fewer, or one leaves the floats, the first stands in: no derivative of it is to be NaN.
    there = jnp.isfinite(errors)
    standing = jnp.where(there, minima, minima[0])
    error = _Error(count)

    def place(held: tuple[Array, Array], problem: FineTuningProblem, rate: Array | None) -> Array:
        temperature, inside = held
        return differentiable_root(_Slope(error), temperature[None], problem, rate, inside=inside)[0]

    of_each = lambda function: jax.vmap(lambda *held: function(held))(standing, inside)
    least_errors = of_each(lambda held: least(error, place, held, problem, rate))
    temperatures = of_each(lambda held: place(held, problem, rate)) * defined(problem)
    return BestTemperature(
        temperatures[0],
        error.end(temperatures[0], problem, rate),
        least_errors[0],
        jnp.where(there, temperatures, minima),
        errors + jnp.where(there, least_errors - jax.lax.stop_gradient(least_errors), 0.0),
    )


@dataclass(frozen=True)
class _Error:
    """The total error of K steps as a function of (τ, problem, learning rate)."""

    count: int

    def __call__(self, temperature: Array, problem: FineTuningProblem, rate: Array | None) -> Array:
        return total_error(problem, self.end(temperature, problem, rate))

    def end(self, temperature: Array, problem: FineTuningProblem, rate: Array | None) -> Array:
        """θ_K, also where the default rate is beyond the stable ones."""
        if rate is None:
            rate = 1 / (2 * weight_mass(problem, temperature))
        return iterate(problem, self.count, rate, temperature)


@dataclass(frozen=True)
class _Slope:
    """Its slope in τ (1,)."""

    error: _Error

    def __call__(self, temperature: Array, problem: FineTuningProblem, rate: Array | None) -> Array:
        problem = within_span(problem)
        error = lambda temperature: self.error(temperature[0], problem, rate)
        return jax.jacfwd(error)(temperature)


def _to_convergence(space: Namespace, problem: FineTuningProblem) -> BestTemperature:
    """κ = B/(A + B), of the part of the shift that training can see."""
    noise = require(
        space,
        "problem",
        space.array(problem.noise_variance),
        space.array(problem.noise_variance) > 0,
        "has no label noise, so that training to convergence ends in the new optimum at every temperature; pass steps",
        problem,
    )
    a, b = seen_forms(problem)
    temperature = quotient(space, 2 * noise * b, a, math.inf)[()]
    theta = fixed_point(problem, temperature)
    error = total_error(problem, theta)
    rest = space.xp.full(MINIMA - 1, math.nan, dtype=space.dtype)
    minima, errors = (space.xp.concatenate([one[None], rest]) for one in (temperature, error))
    return BestTemperature(temperature, theta, error, minima, errors)


def _minima(count: int, problem: FineTuningProblem, rate: Array | None = None) -> tuple[Array, Array, Array]:
    """The lowest local minima of the total error in τ, the errors there, and where the slope has a root."""
    return searched(problem, lambda modes: _search(modes, count, rate))


def _search(modes: Modes, count: int, rate: Array | None) -> tuple[Array, tuple[Array, Array, Array]]:
    kernel, v = Power(count_steps(namespace(), count)), modes.variance
    if v == 0:  # traced, so that it cannot be refused
        nothing = np.full(MINIMA, math.nan)
        return np.zeros(modes.shift.size), (nothing, nothing, np.zeros(MINIMA, dtype=bool))
    twice = 1.0 if rate is None else 2 * float(rate) * modes.rate_unit

    def scale(temperature: Array) -> Array:
        """2ημ, of M in its own units."""
        return np.full_like(temperature, modes.rate_unit) if rate is None else twice * modes.mass(temperature)

    def moved(temperature: Array, at: Weighted) -> Array:
        left = kernel.value(scale(temperature)[:, None] * at.values)
        return at.moved(left, modes.displacement(temperature))

    def slope(temperature: Array, at: Weighted) -> Array:
        """Of half the total error, in τ."""
        tau, alpha = temperature[:, None], scale(temperature)[:, None]
        x = alpha * at.values
        image = np.einsum("k,nkj->nj", modes.values * modes.shift, at.vectors)
        ratio_slope = 2 * v / (temperature + 2 * (v + modes.noise)) ** 2
        table = kernel.divided_difference(x[:, :, None], x[:, None, :])
        turned = alpha * (ratio_slope / v)[:, None] * image * (table @ (image * at.shift)[..., None])[..., 0]
        if rate is not None:
            growth = modes.mass(temperature)[:, None] ** 2 * (v + modes.noise) / tau**2  # μ'/μ
            turned += growth * x * kernel.divided_difference(x, x) * at.shift
        kappa, kappa_slope = modes.displacement(tau), 2 * modes.noise / (tau + 2 * modes.noise) ** 2
        change = kappa_slope * (kernel.value(x) - 1) * at.shift + kappa * turned
        change = np.einsum("nk,njk->nj", change, at.vectors)
        h = moved(temperature, at)
        return (change * (h @ modes.old + modes.values * (modes.shift + h))).sum(axis=-1)

    with np.errstate(all="ignore"):  # steps so long that the error is infinite at high temperatures
        grid = _grid(modes, count, twice, modes.rate_unit if rate is None else 1.0)
        parts = np.array_split(grid, 1 + len(grid) * modes.values.size**2 // MOST_NUMBERS)
        decreasing = np.concatenate([slope(part, modes.weighted(part)) < 0 for part in parts])

        def exact(tau: float) -> float:
            one = np.array([tau])
            return float(slope(one, modes.weighted_to_the_last_digit(one))[0])

        turns = np.flatnonzero(decreasing[:-1] & ~decreasing[1:])
        roots = [_root(exact, *grid[k : k + 2]) for k in turns]
        coldest = [] if exact(grid[0]) < 0 else [(grid[0], False)]  # as good as τ → 0, where nothing moves
        unweighted = [(math.inf, False)] if decreasing[-1] or not roots else []
        found, inside = map(np.array, zip(*coldest, *roots, *unweighted, strict=True))
        x = moved(found, modes.weighted_to_the_last_digit(found))
        errors = np.nan_to_num(modes.error(x), nan=math.inf, posinf=math.inf)
    order = np.argsort(errors, kind="stable")[:MINIMA]
    rest = (0, MINIMA - len(order))
    fill = lambda values, unit: np.pad(values[order] * unit, rest, constant_values=math.nan)
    best = x[order[0]] if math.isfinite(errors[order[0]]) else np.zeros(modes.shift.size)
    is_root = np.pad(inside[order], rest)
    return best, (fill(found, modes.temperature_unit), fill(errors, modes.temperature_unit), is_root)


def _root(function: Callable[[float], float], low: float, high: float) -> tuple[float, bool]:
    """Between two temperatures, and True; the lower one where rounding has shown a turn that there is none."""
    if not function(low) < 0 <= function(high) < math.inf:
        return low, False
    root = brentq(function, low, high, xtol=np.finfo(float).tiny, rtol=4 * np.finfo(float).eps)
    return float(root), True  # pyright: ignore[reportArgumentType]


def _grid(modes: Modes, count: int, rate: float, longest: float) -> Array:
    """From where K steps do not move along the stalled direction to where τ = ∞ is as good, to rounding."""
    v, noise, a = modes.variance, modes.noise, float(modes.shift @ modes.old @ modes.shift)
    end = [2 * noise * v / a] if noise * a > 0 else []  # the best to convergence
    low, high = v / (count * max(rate, 1.0)) ** (1 if rate == 1.0 else 2), (v + noise) * count
    # A step of default length multiplies what it overshoots by up to ``longest`` − 1, and colder weights shrink that.
    growth = min(count * math.log(max(longest - 1, 1.0)), FURTHEST)
    lowest = 1e-3 * min(low, *end, v) * math.exp(-growth)
    return np.geomspace(lowest, 1e9 * max(high, *end, v), GRID_TEMPERATURES)
