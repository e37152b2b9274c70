"""Second derivatives, by reverse and by forward mode twice, against differences of the gradient, and symmetric.

The gradient itself is held against 50 digits elsewhere; here it is only differenced. At the places where branches meet:
β = 1, ρ = 0, τ = ∞ and its neighbourhood, no shift, no noise.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.weights import KLDRO, Flow, HardThreshold
from tests.test_jax_gradients import close, differences

STEP = 2.0**-17
"""ε^(1/3): a central difference errs by STEP²·f''' and by ε·f'/STEP, about 1e-10 of the scale each."""

SQUARE = jnp.array([[1.0, 0.3, 0.0], [0.3, 1.2, -0.2], [0.0, -0.2, 0.7]])
PRETRAIN = jnp.array([[2.0, 0.1, 0.4], [0.1, 1.5, 0.2], [0.4, 0.2, 3.0]])
START = jnp.array([1.0, -0.5, 0.25])


def problem(start=START, covariance=SQUARE, noise=0.3):
    covariance = (covariance + covariance.T) / 2
    return lt.FineTuningProblem(start, 0.1 * START, covariance, PRETRAIN, noise)


def entries(x):
    return SQUARE + x[0] * jnp.eye(3) + x[1] * jnp.outer(START, START)


THETA = jnp.array([0.4, 0.2, -0.3])
FUNCTIONS = {
    "stall_parameter": (lambda x: lt.stall_parameter(x[0], x[1], x[2]), [(0.5, 0.6, 1.3), (40.0, 0.6, 1.0)]),
    "stall_parameter at β = 1": (lambda x: lt.stall_parameter(x[0], x[1]), [(2.0, 0.6)]),
    "stall_parameter at ρ = 0": (lambda x: lt.stall_parameter(x[0], 0.0), [(0.5,), (2.0,), (30.0,)]),
    "stall_temperature": (
        lambda x: lt.stall_temperature(x[0], x[1], x[2]),
        [(0.3, 0.6, 1.2), (1.0, 0.6, 1.0)],
    ),
    "squared_mass": (
        lambda x: lt.squared_mass(x[0], x[1]),
        [(0.3, 0.6), (1.0, 0.6), (1.5, 0.6), (1.0, 0.01)],
    ),
    "stall_spectrum": (
        lambda x: jnp.stack(lt.stall_spectrum(x[0], x[1])).sum(),
        [(0.3, 0.6), (1.0, 0.6), (1.4, 0.6)],
    ),
    "stall_direction": (lambda x: jnp.stack(lt.stall_direction(x[0], x[1])).sum(), [(0.3, 0.6), (1.0, 0.6)]),
    "half_life": (lambda x: lt.half_life(x[0], x[1]), [(0.01, 0.6), (1.0, 0.6), (1.4, 0.6)]),
    "stall_approximation": (lambda x: lt.stall_approximation(x[0], x[1], 5)[1], [(0.3, 0.6), (1.0, 0.6)]),
    "weight_mass of FLOW": (
        lambda x: lt.weight_mass(problem(noise=x[1]), Flow(x[0])),
        [(0.5, 0.3), (1e3, 0.3), (0.5, 0.01)],
    ),
    "weight_mass of KL-DRO": (lambda x: lt.weight_mass(problem(noise=x[1]), KLDRO(x[0])), [(9.0, 0.3)]),
    "weight_mass of the threshold": (
        lambda x: lt.weight_mass(problem(noise=x[1]), HardThreshold(x[0])),
        [(0.7, 0.3), (2.2, 0.3), (0.01, 0.3), (20.0, 0.3)],
    ),
    "weight_mass in θ*": (
        lambda x: lt.weight_mass(problem(START + x), 0.7),
        [(0.0, 0.0, 0.0), (0.1, 0.2, 0.3)],
    ),
    "weight_mass in θ* without a shift": (
        lambda x: lt.weight_mass(problem(0.1 * START + x, noise=0.0), 0.7),
        [(0.0, 0.0, 0.0)],
    ),
    "weight_mass in Σ̃": (lambda x: lt.weight_mass(problem(covariance=entries(x)), 0.7), [(0.0, 0.0)]),
    "population_median_temperature": (
        lambda x: lt.population_median_temperature(problem(START + x)),
        [(0.0, 0.0, 0.0)],
    ),
    "shift_variance without a shift": (lambda x: problem(0.1 * START + x).shift_variance, [(0.0, 0.0, 0.0)]),
    "total_error": (lambda x: lt.total_error(problem(), x), [tuple(THETA.tolist()), tuple(START.tolist())]),
    "hard_sample_error": (
        lambda x: lt.hard_sample_error(problem(noise=x[3]), x[:3], 0.1),
        [(*THETA.tolist(), 0.3)],
    ),
    "hard_sample_error in the fraction": (lambda x: lt.hard_sample_error(problem(), THETA, x[0]), [(0.2,)]),
    "best_average_weight": (lambda x: lt.best_average_weight(problem(START + x)), [(0.0, 0.0, 0.0)]),
    "model_average": (
        lambda x: (lt.model_average(problem(START + x[1:]), x[0]) ** 2).sum(),
        [(0.3, 0.1, 0.0, 0.2)],
    ),
    "sgd_error": (
        lambda x: lt.sgd_error(problem(noise=x[2]), 4, x[0], x[1]),
        [(0.03, 0.8, 0.3), (0.03, 9.0, 0.01)],
    ),
    "sgd_error in θ*": (lambda x: lt.sgd_error(problem(START + x), 4, 0.03, 0.8), [(0.0, 0.0, 0.0)]),
    "sgd_error in Σ̃": (lambda x: lt.sgd_error(problem(covariance=entries(x)), 4, 0.03, 0.8), [(0.0, 0.0)]),
    "sgd_error of KL-DRO": (lambda x: lt.sgd_error(problem(), 3, 0.02, KLDRO(x[0])), [(20.0,)]),
}
CASES = [(name, point) for name, (_, points) in FUNCTIONS.items() for point in points]
NESTINGS = {
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f)),
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
}


@functools.cache
def compiled(function):
    """The value and the gradient."""
    return jax.jit(jax.value_and_grad(function))


def differenced(function, point):
    """Central differences of the gradient, each step relative to its coordinate where that is large."""
    columns = []
    for i, value in enumerate(point):
        step = STEP * max(abs(value), min(1.0, abs(value)) or 1.0)
        away = np.zeros(len(point))
        away[i] = step
        ahead, behind = (np.asarray(compiled(function)(jnp.asarray(point + s * away))[1]) for s in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    return np.array(columns)


def agrees(found, function, point):
    want = differenced(function, point)
    unit = np.maximum(np.abs(point), 1e-3)
    scale = np.outer(unit, unit)  # of what a relative change of each coordinate does
    value, slopes = (np.abs(np.asarray(of)) for of in compiled(function)(jnp.asarray(point)))
    size = max(np.abs(want * scale).max(), (slopes * unit).max(), value)
    return bool(np.isfinite(found).all() and np.abs((found - want) * scale).max() <= 1e-8 * size)


FIRST_POINTS = {(name, points[0]) for name, (_, points) in FUNCTIONS.items()}
ALWAYS = (
    "stall_parameter at",
    "half_life",
    "weight_mass of",
    "hard_sample_error in",
    "best_average",
    "sgd_error in Σ̃",
)


def marked(name, point):
    kept = (name, point) in FIRST_POINTS and name.startswith(ALWAYS)
    return pytest.param(name, point, id=f"{name} {point}", marks=() if kept else pytest.mark.deep)


@pytest.mark.parametrize(("name", "point"), [marked(*case) for case in CASES])
def test_every_nesting_is_the_second_derivative(name, point):
    function, point = FUNCTIONS[name][0], np.array(point)
    for nesting in NESTINGS.values():
        found = np.asarray(jax.jit(nesting(function))(jnp.asarray(point)))
        assert agrees(found, function, point), (found, differenced(function, point))
        assert np.abs(found - found.T).max() <= 1e-12 * max(1e-300, np.abs(found).max())


def test_a_second_derivative_with_a_part_held_is_refused():
    """What stop_gradient inside a rule does: the slope stays right, the curvature does not."""
    function, point = FUNCTIONS["sgd_error"][0], np.array([0.03, 0.8, 0.3])
    held = lambda x: jnp.stack([x[0], jax.lax.stop_gradient(x[1]), x[2]])
    wrong = np.asarray(jax.jit(jax.jacfwd(lambda x: jax.grad(function)(held(x))))(jnp.asarray(point)))
    assert not agrees(wrong, function, point)


def test_at_infinite_temperature_nothing_curves():
    for rule in (Flow, KLDRO):
        f = lambda t, rule=rule: lt.weight_mass(problem(), rule(t))
        assert float(jax.jit(jax.grad(f))(math.inf)) == 0
        assert float(jax.jit(jax.grad(jax.grad(f)))(math.inf)) == 0
    f = lambda c: lt.weight_mass(problem(), HardThreshold(c))
    assert float(jax.jit(jax.grad(jax.grad(f)))(math.inf)) == 0


def test_a_form_that_rounding_makes_zero_has_its_derivatives():
    """e is in the null space of Σ̃ but for rounding: v = 0, and dv = eᵀ dΣ̃ e all the same."""
    e = jnp.array([0.1, 0.2, -0.3])
    v = lambda matrix: lt.FineTuningProblem(e, jnp.zeros(3), matrix, noise_variance=1.0).shift_variance
    singular = jnp.full((3, 3), 0.3 * 0.3)
    assert v(singular) == 0
    assert np.allclose(jax.grad(v)(singular), jnp.outer(e, e), rtol=1e-12, atol=0)


@pytest.mark.parametrize("path", [
    pytest.param(lambda time, rho: lt.gradient_flow(lt.paper_problem(rho), time, 1.3), marks=pytest.mark.deep),
    lambda rate, rho: lt.iterate(lt.paper_problem(rho), 6, rate / 3, 1.3),
], ids=["flow", "steps"])  # fmt: skip
def test_third_derivatives_twice_along_the_path_and_then_in_the_covariance(path):
    twice = jax.jit(jax.jacfwd(jax.jacfwd(path)))
    slope = jax.jacfwd(twice, argnums=1)(0.7, 0.4)
    assert close(np.asarray(slope), differences(lambda h: np.asarray(twice(0.7, 0.4 + h))))
