"""Gradient flow and descent on n rows in d dimensions, as contour integrals of the resolvent's equivalent.

On rows h' = 2(c − Sh) with S = XᵀWX/n and c = XᵀWr/n, so h(t) = f(S)c, f(z) = (1 − exp(−2tz))/z, and K steps of size η
are f(z) = (1 − (1 − 2ηz)^K)/z. With a contour around the spectrum of S,

    E h = −(1/2πi) ∮ f(z) h̄(z) dz,        E[hᵀBh] = (1/2πi)² ∮∮ f(z₁) f(z₂) E[h(z₁)ᵀBh(z₂)] dz₁ dz₂,

h̄(z) and the bilinear form those of ``equivalent`` at λ = −z. As f is entire, the contour may pass to the left of 0,
but not so far that f becomes large; on the right it passes between the largest eigenvalue and where a step blows up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize, special

from ..arrays import Array, bounded, namespace, positive
from ..errors import DivergenceError, reject
from ..problem import FineTuningProblem
from ..propagator.powers import count_steps
from ..weights import WeightRule
from .contour import Contour
from .equivalent import EPS, LARGEST_LOG, Expected, Population, Response, population, root_between, scaled
from .optimum import expected
from .quadrature import normal_quadrature

__all__ = ["path"]

FIRST_POINTS, MOST_POINTS = 16, 512
"""Of the upper half of the contour, doubled until nothing changes."""

AGREEMENT = 1e-11
"""Of N and 2N points, beside the largest result: ten digits."""

LONGEST = 0.1 / EPS
"""Time in units of the largest eigenvalue, beyond which the contour's parameters are not known from 1."""

NEWTON_STEPS, NEWTON_RTOL, NEAREST = 40, 64 * EPS, 1e-9
"""NEAREST is how near, of a contour of length 2, one starts from a point whose g is known."""


def path(
    problem: FineTuningProblem,
    ratio: float,
    time: float | Array | None = None,
    steps: int | Array | None = None,
    learning_rate: float | None = None,
    temperature: float | Array | WeightRule = math.inf,
) -> Expected:
    """Gradient flow or descent on n weighted rows in d dimensions, n, d → ∞ with d/n → ratio: what to expect (T29).

    Of dθ/dt = −∇L or θ ← θ − η∇L from θ*, L = (1/n) Σ w(rᵢ)(yᵢ − ⟨xᵢ,θ⟩)² without a ½, as integrals around the spectrum
    of XᵀWX/n, to ten digits. With few rows that spectrum is wide: FLOW is slow in many directions at once, and not
    along the shift alone.

    Parameters
    ----------
    problem, ratio, temperature
        As in :func:`optimum`.
    time : float or (m,) array, optional
        t ≥ 0 of gradient flow; where it ends is :func:`optimum`. Either this or ``steps``.
    steps : int or (m,) integer array, optional
        K ≥ 0 of gradient descent.
    learning_rate : float, optional
        η > 0; ``None`` is 1/(2λ), λ the limit of the largest eigenvalue of XᵀWX/n, as in :func:`linear_theory.descend`.

    Returns
    -------
    Expected
        The mean ``theta`` (d,), or (m, d), and numbers, or (m,). NumPy only, as :func:`optimum`.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`optimum`; for both or neither of ``time`` and ``steps``; for a time so long that ten digits are not
        reached.
    DivergenceError
        For a learning rate so far above 1/λ that they are not.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.6, dim=1000, noise_variance=1.0)
    >>> tau = lt.population_median_temperature(problem)
    >>> for time in (1.0, 5.0, 100.0):
    ...     found = lt.high_dimension.path(problem, 0.5, time, temperature=tau)
    ...     print(f"κ = {found.displacement:.4f}, variance {found.variance:.4f}, target error {found.target_error:.4f}")
    κ = 0.1341, variance 0.0438, target error 0.7951
    κ = 0.2877, variance 0.2119, target error 0.7221
    κ = 0.4638, variance 0.7617, target error 1.0493
    """
    found = population(problem, ratio, temperature, time, steps, learning_rate)
    if (time is None) == (steps is None):
        reject("time", time, "must be given, or steps, and not both")
    edge = _edge(found)
    kernel, times, shape, reach = _kernel(time, steps, learning_rate, edge, found.units.target)
    if not (times > 0).any():
        nothing = np.zeros(shape)[()]
        return expected(found, np.zeros((*shape, len(found.values))), nothing, nothing, nothing)
    longest = float(times.max())
    integrals = None
    if longest <= LONGEST / edge:
        integrals = _integrals(found, kernel, Contour.around(edge, longest, reach))
    if integrals is None:
        if reach < edge:
            limit = scaled(1 / edge, (), (found.units.target,))
            remedy = f"is beyond {limit:.6g}, below which descent on these rows converges"
            raise DivergenceError("learning_rate", learning_rate, remedy)
        name, given = ("time", time) if steps is None else ("steps", steps)
        reject(name, given, "is so long that ten digits are not reached; optimum() is the limit")
    h, rest = integrals[:, :-3].reshape(*shape, -1), integrals[:, -3:].reshape(*shape, 3)
    return expected(found, h, *(rest[..., k][()] for k in range(3)))


Kernel = Callable[[Array], Array]


def _kernel(
    time: Any, steps: Any, learning_rate: Any, edge: float, unit: float
) -> tuple[Kernel, Array, tuple[int, ...], float]:
    """f(z) for every time, the times, their shape, and the z at which a step begins to grow; z in this unit."""
    space = namespace()
    if steps is None:
        if learning_rate is not None:
            reject("learning_rate", learning_rate, "belongs to steps; gradient flow has none")
        accept = lambda v: (v >= 0) & (v < math.inf)
        remedy = "must be ≥ 0 and finite; optimum() is where it ends"
        times = bounded(space, "time", time, accept, remedy, ndim=(0, 1))
        shape, times = times.shape, np.atleast_1d(scaled(times, (unit,)))
        return lambda z: -np.expm1(-2 * times[:, None] * z) / z, times, shape, math.inf
    count = count_steps(space, steps).count
    shape, count = count.shape, np.atleast_1d(count)
    rate = 1 / (2 * edge)
    if learning_rate is not None:
        rate = float(scaled(positive(space, "learning_rate", learning_rate), (unit,)))

    def descent(z: Array) -> Array:
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # log 0; a step that blows up
            return -np.expm1(count[:, None] * special.log1p(-2 * rate * z)) / z

    with np.errstate(over="ignore"):
        return descent, count * rate, shape, 1 / rate if rate > 0 else math.inf


def _integrals(found: Population, kernel: Kernel, contour: Contour) -> Array | None:
    """E h in the eigenbasis and the fluctuation's parts of ‖h‖² and the two errors, (times, m + 3)."""
    left = found.log_gain(math.log(-contour.at(np.array([-1.0]))[0].real))
    z, mass = found.nodes(left)
    places = _places(FIRST_POINTS)
    gains = _continued(found, z, mass, contour, places, left)
    last = None
    while gains is not None and len(places) <= MOST_POINTS + 1:
        z, mass = _nodes(found, gains)
        at = contour.at(places)
        gains, settled = _polished(found, z, mass, at, gains)
        if not settled.all():
            gains = _continued(found, z, mass, contour, places, left)
            if gains is None:
                return None
        with np.errstate(over="ignore", invalid="ignore"):
            now = _summed(found, z, mass, at, gains, kernel(at) * contour.derivative(places))
            if last is not None and abs(now - last).max() <= AGREEMENT * abs(now).max():
                return now
        if not np.isfinite(now).all():  # a step that blows up
            return None
        last, places = now, _places(2 * (len(places) - 1))
        between = np.empty(len(places), dtype=complex)
        between[::2], between[1::2] = gains, (gains[1:] + gains[:-1]) / 2
        gains = between
    return None


def _places(points: int) -> Array:
    """Along the upper half of the contour, from its left end to its right end."""
    return np.linspace(-1.0, 1.0, points + 1)


def _respond(found: Population, z: Array, mass: Array, at: Array, gain: Array) -> Response:
    """At λ = −``at`` and a complex g."""
    product = gain[:, None] * np.exp(found.log_weights(z))
    p, rest = product / (1 + product), 1 / (1 + product)
    return Response(p, rest, -at * gain, p @ mass, p @ (z**2 * mass))


def _polished(found: Population, z: Array, mass: Array, at: Array, gain: Array) -> tuple[Array, Array]:
    """Newton's steps for log((1/n) tr Σ̃R) = 0 as an equation for log g, and where they have settled on its root."""
    seen = found.bulk > 0
    bulk, shares = found.bulk[seen], found.ratio * found.shares[seen]
    step = np.full(len(gain), math.inf)
    with np.errstate(all="ignore"):  # of a start too far away, which is then given a nearer one
        for _ in range(NEWTON_STEPS):
            response = _respond(found, z, mass, at, gain)
            resolvent = 1 / (response.inner[:, None] + response.mass[:, None] * bulk)
            fit = resolvent @ (shares * bulk)
            # d(Λ + E[p]σ)/d log g = Λ + E[p(1 − p)]σ
            slope = (response.leverage * response.rest) @ mass
            fall = (resolvent**2 * (response.inner[:, None] + slope[:, None] * bulk)) @ (shares * bulk)
            step = np.log(fit) * fit / fall
            gain = gain * np.exp(step)
            if (abs(step) <= NEWTON_RTOL).all():
                break
        # g is a Stieltjes transform: above the axis where z is.
        return gain, (abs(step) <= NEWTON_RTOL) & ((gain.imag > 0) | (at.imag == 0))


def _continued(
    found: Population, z: Array, mass: Array, contour: Contour, places: Array, left: float
) -> Array | None:
    """g along the upper half of the contour, from its real point on the left of 0, each from the one before."""
    gain = np.array([math.exp(left)], dtype=complex)
    gains, here = [gain], places[0]
    for place in places[1:]:
        ahead = [place]
        while ahead:
            new, settled = _polished(found, z, mass, contour.at(np.array(ahead[-1:])), gain)
            if settled[0]:
                gain, here = new, ahead.pop()
            elif ahead[-1] - here > NEAREST:
                ahead.append((here + ahead[-1]) / 2)
            else:
                return None
        gains.append(gain)
    return np.concatenate(gains)


def _nodes(found: Population, gains: Array) -> tuple[Array, Array]:
    """Nodes for p at some of these g."""
    some = gains[:: max(1, (len(gains) - 1) // 16)]

    def functions(z: Array) -> Array:
        w = np.exp(found.log_weights(z))
        product = some[:, None] * w
        p = product / (1 + product)
        stack = np.concatenate([p.real, p.imag[1:-1], w[None]])
        return np.concatenate([stack, z**2 * stack])

    return normal_quadrature(functions, 64 * EPS)


def _summed(found: Population, z: Array, mass: Array, at: Array, gains: Array, parts: Array) -> Array:
    """The integrals, of ``parts`` (times, points): f(z) dz on the upper half; the lower half is its conjugate."""
    response = _respond(found, z, mass, at, gains)
    mirrored = Response(*(part.conj() for part in response))
    h = -(parts @ found.mean(response)).imag / math.pi
    same, across = (found.fluctuation(response, other, z, mass) for other in (response, mirrored))
    both = ((parts @ same) * parts - (parts @ across) * parts.conj()).sum(axis=-1)
    return np.concatenate([h, 0.0 - both.real.T / (2 * math.pi**2)], axis=1)


def _edge(found: Population) -> float:
    """The largest eigenvalue of S in the limit: of the bulk, or of an outlier beside it.

    To the right of the bulk g runs from 0 down to where z(g), of (1/n) tr Σ̃R = 1, has its least value; an eigenvalue
    further out is where Λ + E[p]Σ̃ − (E[p] − E[Z²p]) Σ̃e eᵀΣ̃/s² is singular.
    """
    top = float(found.log_weights(np.linspace(0.0, 38.0, 4097)).max())
    if not abs(top) < LARGEST_LOG:
        remedy = f"has a largest weight of e^{top:.4g}, or on too few residuals, from which there is no path"
        reject("temperature", found.rule, remedy)
    top = math.exp(top)
    most = float(found.bulk.max())
    alone = most * float(found.shares[found.bulk == most].sum())

    def right_of(share: float) -> tuple[float, float, float, float]:
        """z, and Λ + E[p]·(the bulk's largest), E[p], E[Z²p], at g = −share/(largest weight)."""
        gain = -share / top

        def functions(z: Array) -> Array:
            product = gain * np.exp(found.log_weights(z))
            p = product / (1 + product)
            return np.stack([p, z**2 * p])

        z, mass = normal_quadrature(functions, 64 * EPS)
        p, second = functions(z) @ mass
        away = -p / found.ratio * (most - found.bulk)
        excess = lambda x: float((found.shares * found.bulk / (x + away)).sum()) - 1
        above = found.ratio * root_between(excess, alone * (1 - 1e-9), most * (1 + 1e-9))
        return (above - p * most) / -gain, above, p, second

    share_of = special.expit
    best: Any = optimize.minimize_scalar(
        lambda x: math.log(right_of(share_of(x))[0]),
        bounds=(-30.0, 14.0),
        method="bounded",
        options={"xatol": 1e-3},
    )
    image = found.values * found.shift

    def inside(x: float) -> float:
        """Where no eigenvalue is further out, positive."""
        _, above, p, second = right_of(share_of(x))
        weighted = np.diag(above - p * (most - found.values))
        if found.variance > 0:
            weighted = weighted - (p - second) / found.variance * np.outer(image, image)
        return float(np.linalg.eigvalsh(weighted)[0])

    at = float(best.x)
    if inside(at) < 0:
        low = -30.0
        while inside(low) < 0:  # with very many rows
            low -= 30.0
        at = root_between(inside, low, at)
    return right_of(share_of(at))[0]
