"""Derivatives where eigh has none of its own: repeated eigenvalues, null directions, β = 1, τ = ∞, t = ∞."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.weights import KLDRO, Flow, HardThreshold, Huber
from tests.test_jax import to_jax

KS = (0, 1, 2, 3, 10, 1000)
TIMES = (0.0, 0.7, math.inf)
STEP = 1e-5


def errors(problem, tau):
    """err_tot along steps and along times: one number each."""
    thetas = (
        *lt.iterate(problem, np.array(KS), temperature=tau),
        *lt.gradient_flow(problem, np.array(TIMES), tau),
    )
    engine = jnp if isinstance(problem.pretrained, jax.Array) else np
    return lt.total_error(problem, engine.stack(thetas))


def moved(problem, h, direction):
    return jax.tree.map(lambda leaf, move: leaf + h * move, problem, direction)


def differences(value):
    """Two central differences whose h² terms cancel: h⁴ and ε/h stay. 1000 steps bend on the scale of 1/K."""
    central = lambda h: (value(h) - value(-h)) / (2 * h)
    return (4 * central(STEP) - central(2 * STEP)) / 3


def close(slope, want):
    """(K h)⁴ = 1e-8 of the derivative, and ε/h < 1e-10 of the value."""
    return bool(np.isfinite(slope).all() and np.all(np.abs(slope - want) <= 1e-7 * (1 + np.abs(want))))


def off_the_family(problem, seed):
    """A direction in which every entry of every argument moves: out of the paper's covariance."""
    rng, dim = np.random.default_rng(seed), problem.dim
    move = rng.standard_normal((dim, dim)) / (4 * dim)
    leaves = [rng.standard_normal(dim), rng.standard_normal(dim), move + move.T, np.array(0.5)]
    return jax.tree.unflatten(jax.tree.structure(problem), leaves)


@pytest.mark.parametrize(
    "dim", [pytest.param(d, marks=() if d in (1, 3, 4, 8) else pytest.mark.deep) for d in range(1, 9)]
)
def test_gradients_in_the_paper_case(dim):
    """Σ̃ = I at ρ = 0, its repeated 1 from d = 3, β = 1 (τ = 2), τ = ∞; an eigenvalue exactly 1 at even K."""
    slopes = jax.jit(
        jax.jacrev(lambda h, tau, *rest: errors(moved(rest[0], h, rest[1]), tau), argnums=(0, 1))
    )
    for rho in (0.0, 0.6) if dim > 1 else (0.0,):
        problem = lt.paper_problem(rho, dim=dim, noise_variance=0.3)
        direction = off_the_family(problem, dim)
        traced = to_jax((problem, direction))
        value = lambda h, tau, p=problem, move=direction: errors(moved(p, h, move), tau)  # in NumPy
        for tau in (0.5, 2.0, math.inf):
            along, in_temperature = slopes(0.0, tau, *traced)
            assert close(along, differences(lambda h: value(h, tau)))  # noqa: B023
            if tau == math.inf:
                assert not in_temperature.any()
            else:
                assert close(in_temperature, differences(lambda h: value(0.0, tau + h)))  # noqa: B023


def test_the_gradient_of_a_lost_sign_is_seen():
    """A mutant: |1 − x|^K for (1 − x)^K at odd K."""
    problem = lt.paper_problem(0.6)
    component = lambda t: lt.iterate(problem, 3, temperature=t)[1]
    want = differences(lambda h: component(2.0 + h))
    assert close(jax.jit(jax.grad(component))(2.0), want)
    assert not close(jax.jit(jax.grad(lambda t: abs(component(t))))(2.0), want)


@pytest.mark.parametrize("form", [lt.closed_form, lt.stall_approximation])
def test_gradients_of_the_closed_form(form):
    """Through β = 1, where the two charts of β meet, and at ρ = 0."""
    value = lambda b, rho, k: np.stack(form(b, rho, k))
    slope = jax.jit(jax.jacrev(lambda b, rho, k: jnp.stack(form(b, rho, k))))
    for rho in (0.0, 0.5):
        for steps in (0, 1, 2, 7):
            for beta in (0.3, 1.0, 1.4):
                assert close(slope(beta, rho, steps), differences(lambda h: value(beta + h, rho, steps)))  # noqa: B023


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_gradients_of_the_re_parametrisation(rho):
    for function, beta in ((lt.stall_parameter, 2.0), (lt.half_life, 1.0), (lt.squared_mass, 1.0)):
        assert close(jax.jit(jax.grad(function))(beta, rho), differences(lambda h: function(beta + h, rho)))  # noqa: B023
    assert np.isfinite(jax.jit(jax.grad(lt.stall_parameter))(1e100, rho))


def test_gradients_beyond_every_float():
    problem = to_jax(lt.paper_problem(0.6))
    for steps in (10**12, 10**400):
        error = lambda t, k=steps: lt.total_error(problem, lt.iterate(problem, k, temperature=t))
        assert jax.jit(jax.grad(error))(1.0) == 0


@pytest.mark.parametrize("rule", [Flow, KLDRO, HardThreshold, Huber])
def test_gradients_through_rules(rule):
    """Also at e = 0, where v = 0 stands in denominators."""
    value = lambda n, c: lt.gradient_flow(lt.paper_problem(0.6, n, noise_variance=0.2), 1.0, rule(c))[0]
    slopes = jax.jit(jax.grad(value, argnums=(0, 1)))
    for norm in (0.0, 1.0):
        in_norm, in_number = slopes(norm, 10.0)
        assert close(in_number, differences(lambda h: value(norm, 10.0 + h)))  # noqa: B023
        if norm:
            assert close(in_norm, differences(lambda h: value(norm + h, 10.0)))  # noqa: B023
        assert np.isfinite(in_norm)
    bare = jax.grad(lambda n: lt.iterate(lt.paper_problem(0.6, n), 3, temperature=rule(10.0)).sum())
    assert np.isfinite(jax.jit(bare)(0.0))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_gradient_of_the_stable_step(dim):
    """1/λ_max(Σ') through a repeated spectrum: vᵀ(dΣ')v."""
    problem = lt.paper_problem(0.6 if dim > 1 else 0.0, dim=dim, noise_variance=0.3)
    value = lambda tau: lt.stable_learning_rate(problem, tau)
    assert close(jax.jit(jax.grad(value))(1.0), differences(lambda h: value(1.0 + h)))
