"""Few rows for each dimension, by one resolvent where the package has two."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.reference import population
from linear_theory.testing.reference import rows as data
from linear_theory.testing.reference.population import mp

from ..law import Law
from .condition import by_differences, exactly
from .sequences import sequence_of

Quantity = testing.Quantity

HALF_WIDTH, SPACING = 9.5, 0.05
"""Of the trapezoidal rule over a normal number: beyond, and between, less than 1e-18 is left out."""


@lru_cache(None)
def _normal() -> tuple[list[Any], list[Any]]:
    """Nodes on half the line and their masses."""
    nodes = [k * mp.mpf(SPACING) for k in range(int(HALF_WIDTH / SPACING) + 1)]
    mass = [2 * SPACING * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi) for z in nodes]
    return nodes, [mass[0] / 2, *mass[1:]]


class OneResolvent:
    """T28 and T29 by one resolvent, where the package has two: E[cᵀ(S + λ)⁻¹c], S = XᵀWX/n and c = XᵀWr/n.

    Σ̃ is the identity but for one correlation ρ, e a multiple of the first unit vector: what happens is in the plane.
    ``h`` is the mean of (S + λ)⁻¹c there and ``form`` that quadratic form, of which E‖(S + λ)⁻¹c‖² is −d/dλ.
    """

    def __init__(self, rho: Any, noise: Any, ratio: Any, temperature: Any, signal: Any = 1) -> None:
        self.b, self.length = (mp.mpf(1), mp.mpf(rho)), mp.sqrt(signal)
        self.noise, self.ratio, self.variance = mp.mpf(noise), mp.mpf(ratio), mp.mpf(signal) + mp.mpf(noise)
        nodes, mass = _normal()
        tau = mp.mpf(temperature)
        self.parts = []  # of every node: its mass, its square, its weight
        for z, m in zip(nodes, mass, strict=True):
            weight = mp.mpf(1) if tau == mp.inf else mp.exp(-self.variance * z * z / tau)
            self.parts.append((m * weight, z * z, weight))

    def moments(self, gain: Any) -> tuple[Any, Any, Any]:
        """E[w/(1 + gw)], the same with Z², and the slope of the first."""
        kept = [(m / (1 + gain * w), square, w) for m, square, w in self.parts]
        slope = -mp.fsum(k * w / (1 + gain * w) for k, _, w in kept)
        return mp.fsum(k for k, _, _ in kept), mp.fsum(k * square for k, square, _ in kept), slope

    def gain(self, ridge: Any) -> Any:
        """g of g(E[w/(1 + gw)] + λ) = γ, by Newton's steps on its logarithm."""
        gain = self.ratio / (self.moments(mp.mpf(0))[0] + ridge)
        for _ in range(200):
            mass, _, slope = self.moments(gain)
            left = gain * (mass + ridge)
            step = (left - self.ratio) / (left + gain**2 * slope)
            gain = gain * mp.exp(-min(step, mp.mpf(1)))
            if abs(step) < mp.mpf(10) ** -28:
                return gain
        raise ArithmeticError("g was not found")

    def at(self, ridge: Any) -> tuple[Any, Any]:
        """h and the form."""
        mass, square, _ = self.moments(self.gain(ridge))
        b = mp.matrix(self.b) * self.length
        sigma = mp.matrix([[1, self.b[1]], [self.b[1], 1]])
        whole = ridge * mp.eye(2) + mass * sigma - (mass - square) * b * b.T / self.variance
        h = -square * mp.lu_solve(whole, b)
        plain = mp.fsum(m * z for m, z, _ in self.parts)
        return h, self.variance * (plain - square) - square * population.inner(b, h)

    def fit(self, ridge: Any) -> tuple[Any, Any]:
        """h, and E‖(S + λ)⁻¹c‖² − ‖h‖²."""
        step = mp.mpf(10) ** -12
        (h, _), (_, below), (_, above) = (self.at(ridge + k * step) for k in (0, -1, 1))
        return h, (below - above) / (2 * step) - population.inner(h, h)


def fitted_plane(rho: float, noise: float, ratio: float, ridge: float, temperature: float) -> Any:
    """θ in the plane, the variance, and err₂, of e = (1, 0, …)."""
    h, variance = OneResolvent(rho, noise, ratio, temperature).fit(mp.mpf(ridge))
    theta, sigma = mp.matrix([1, 0]) + h, mp.matrix([[1, rho], [rho, 1]])
    return mp.matrix([*theta, variance, population.inner(theta, sigma * theta) + variance])


def tasks_of_few_rows(
    optima: Any, ratio: float, noise_variances: Any, temperatures: Any, ridge: float, start: Any
) -> Any:
    """Errors after each task: of the mean, which keeps 1 − κ of the way, and of the spread, kept so and added to."""
    goals = [mp.matrix(list(row)) for row in optima]
    mean, spread, errors = data.exact_vector(start), mp.mpf(0), []
    for goal, noise, tau in zip(goals, noise_variances, temperatures, strict=True):
        away = mean - goal
        signal = population.inner(away, away) + spread
        h, added = OneResolvent(0, noise, ratio, tau, signal).fit(mp.mpf(ridge))
        kept = 1 + h[0] / mp.sqrt(signal) if signal else mp.mpf(0)  # of nothing
        mean, spread = goal + kept * away, kept**2 * spread + added
        errors.append([population.inner(mean - other, mean - other) + spread for other in goals])
    return mp.matrix(errors)


def resolvent_on_a_contour(
    z: Any, ratio: float, noise: float, temperature: float, rho: float
) -> tuple[Any, Any]:
    """As :class:`OneResolvent`, at −λ = z (m,), complex, in float64: h (m, 2) and the form (m,)."""
    nodes = 0.036 * np.arange(251)  # the trapezoidal rule on half the line
    mass = np.exp(-(nodes**2) / 2) * 0.072 / math.sqrt(2 * math.pi)
    mass[0] /= 2
    s2, b = 1 + noise, np.array([1.0, rho])
    w = np.exp(-s2 * nodes**2 / temperature)
    gain = np.zeros(len(z), dtype=complex)
    for _ in range(4000):  # an average of two is a contraction
        new = ratio / ((mass * w / (1 + gain[:, None] * w)).sum(axis=1) - z)
        gain, last = (gain + new) / 2, gain
        if (abs(gain - last) < 1e-15 * abs(gain)).all():
            break
    kept = mass * w / (1 + gain[:, None] * w)
    m0, m2 = kept.sum(axis=1), kept @ nodes**2
    sigma = np.array([[1.0, rho], [rho, 1.0]])
    at = lambda values: values[:, None, None]
    whole = at(-z) * np.eye(2) + at(m0) * sigma - at(m0 - m2) * np.outer(b, b) / s2
    h = -m2[:, None] * np.linalg.solve(whole, np.tile(b[:, None], (len(z), 1, 1)))[..., 0]
    return h, s2 * (mass * w * nodes**2).sum() - s2 * m2 - m2 * (h @ b)


def integrated(
    f: Callable[[Any], Any],
    left: float,
    ratio: float,
    noise: float,
    temperature: float,
    rho: float,
    points: int = 120,
) -> Any:
    """θ in the plane, the variance and err₂ of h = f(S)c, by one integral each around the spectrum of S."""
    edge = 2.0 * (1 + math.sqrt(ratio)) ** 2
    angles = (np.arange(points) + 0.5) / points * math.pi  # the upper half: the lower is its conjugate
    z = (edge - left) / 2 + (edge + left) / 2 * np.cos(angles) + 0.7j * np.sin(angles)
    dz = (-(edge + left) / 2 * np.sin(angles) + 0.7j * np.cos(angles)) * math.pi / points
    means, forms = resolvent_on_a_contour(z, ratio, noise, temperature, rho)
    h = -np.imag((f(z) * dz) @ means) / math.pi
    variance = -np.imag((f(z) ** 2 * dz) @ forms) / math.pi - h @ h
    theta = np.array([1.0, 0.0]) + h
    return exactly([*theta, variance, theta @ np.array([[1.0, rho], [rho, 1.0]]) @ theta + variance])


def flowed_plane(rho: float, noise: float, ratio: float, temperature: float, time: float) -> Any:
    return integrated(lambda z: -np.expm1(-2 * time * z) / z, 0.5 / time, ratio, noise, temperature, rho)


def stepped_plane(
    rho: float, noise: float, ratio: float, temperature: float, steps: int, learning_rate: float
) -> Any:
    f = lambda z: sum(2 * learning_rate * (1 - 2 * learning_rate * z) ** k for k in range(steps)) + 0 * z
    return integrated(f, 0.5, ratio, noise, temperature, rho)


@st.composite
def _rows_and_dimensions(draw: Any, *names: str) -> dict[str, Any]:
    """The paper's problem, where neither quadrature has to be fine."""
    noise = draw(testing.log_uniform(0.1, 3.0))
    ridge = draw(st.just(0.0) | testing.log_uniform(0.05, 3.0)) if "ridge" in names else None
    ratio = draw(testing.log_uniform(0.1, 0.7 if ridge == 0 else 3.0))
    of = {
        "ridge": lambda: ridge,
        "time": lambda: draw(testing.log_uniform(0.3, 3.0)),
        "steps": lambda: draw(st.integers(0, 6)),
        "learning_rate": lambda: draw(testing.log_uniform(0.01, 0.1)),
    }
    tau = (1 + noise) * draw(testing.log_uniform(0.5 if "ridge" in names else 1.0, 20.0))
    given = {
        "rho": draw(testing.correlations(largest=0.8)),
        "noise": noise,
        "ratio": ratio,
        "temperature": tau,
    }
    return given | {name: of[name]() for name in names}


@st.composite
def _tasks_and_dimensions(draw: Any) -> dict[str, Any]:
    given = draw(sequence_of("optima", "noise_variances", "start"))
    ridge = draw(st.just(0.0) | testing.log_uniform(0.05, 1.0))
    scale = [1 + noise for noise in given["noise_variances"]]
    return given | {
        "ratio": draw(testing.log_uniform(0.1, 0.6 if ridge == 0 else 2.0)),
        "temperatures": np.array([s * draw(testing.log_uniform(3.0, 30.0)) for s in scale]),
        "ridge": ridge,
    }


def _in_a_thousand(rho: float, noise: float) -> Any:
    """The paper's problem in so many dimensions that its traces are the limit's."""
    return lt.paper_problem(rho, dim=1000, noise_variance=noise)


def _seen_in_the_plane(found: Any) -> np.ndarray:
    return np.array([*found.theta[:2], found.variance, found.target_error])


LAWS = (
    Law(
        "high_dimension.optimum",
        Quantity(
            "fitted_plane",
            "one resolvent and its derivative by λ, by quadrature in 60 digits",
            fitted_plane,
            _rows_and_dimensions("ridge"),
        ),
        lambda rho, noise, ratio, ridge, temperature: _seen_in_the_plane(
            lt.high_dimension.optimum(_in_a_thousand(rho, noise), ratio, ridge, temperature)
        ),
        slow=True,
    ),
    Law(
        "high_dimension.path",
        Quantity(
            "flowed_plane",
            "gradient flow, one resolvent around the spectrum",
            flowed_plane,
            _rows_and_dimensions("time"),
            measure=by_differences(flowed_plane),
        ),
        lambda rho, noise, ratio, temperature, time: _seen_in_the_plane(
            lt.high_dimension.path(_in_a_thousand(rho, noise), ratio, time, temperature=temperature)
        ),
        slow=True,
    ),
    Law(
        "high_dimension.path",
        Quantity(
            "stepped_plane",
            "K steps, one resolvent around the spectrum",
            stepped_plane,
            _rows_and_dimensions("steps", "learning_rate"),
            measure=by_differences(stepped_plane),
        ),
        lambda rho, noise, ratio, temperature, steps, learning_rate: _seen_in_the_plane(
            lt.high_dimension.path(
                _in_a_thousand(rho, noise),
                ratio,
                steps=steps,
                learning_rate=learning_rate,
                temperature=temperature,
            )
        ),
        slow=True,
    ),
    Law(
        "sequences.sampled",
        Quantity(
            "tasks_of_few_rows",
            "errors, task by task, by one resolvent and its derivative in 60 digits",
            tasks_of_few_rows,
            _tasks_and_dimensions(),
        ),
        lambda optima, ratio, noise_variances, temperatures, ridge, start: (
            lt.sequences.sampled(
                optima, ratio, noise_variances, temperatures=temperatures, ridge=ridge, start=start
            ).errors
        ),
        slow=True,
    ),
)
