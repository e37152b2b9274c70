"""Laws of descent on rows: the literal loop, its limit, and what its path says of itself."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.descent import ConjugateGradient, GradientDescent, HeavyBall, StochasticGradient
from linear_theory.testing.tolerances import near, not_above
from tests.strategies import data, random_data
from tests.test_least_squares import extent, loss, objective, weights_of

EXAMPLE = random_data(9, 3, 3, condition=3.0, seed=1, weights=True)


def largest_step(problem):
    """1/λ_max(∇²L), ∇²L = (2/n) XᵀWX."""
    A = np.sqrt(weights_of(problem))[:, None] * problem.X
    curvature = 2 / len(problem.y) * np.linalg.norm(A, 2) ** 2
    return 1 / curvature if curvature else 1.0


def literal(problem, eta, steps):
    """θ ← θ + (2η/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)xᵢ, row by row."""
    theta, path = problem.start, [problem.start]
    for _ in range(steps):
        gradient = np.zeros_like(theta)
        for x, y, w in zip(problem.X, problem.y, weights_of(problem), strict=True):
            gradient -= 2 / len(problem.y) * w * (y - x @ theta) * x
        theta = theta - eta * gradient
        path.append(theta)
    return np.array(path)


def is_the_loop(descend, problem, share, steps):
    eta = share * largest_step(problem)
    path = descend(problem, eta, steps)
    growth = max(1.0, 2 * share - 1) ** steps
    return near(path, literal(problem, eta, steps), 10 * loss(problem, 0) * growth, extent(problem))


def run(problem, eta, steps):
    return lt.descend(problem.X, problem.y, problem.start, problem.weights, GradientDescent(eta), steps).theta


@given(data(), st.floats(0.01, 2.5), st.integers(0, 12))
def test_it_is_the_loop_over_rows(problem, share, steps):
    assert is_the_loop(run, problem, share, steps)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda p, eta, k: run(p, eta / 2, k),
        lambda p, eta, k: run(p, eta * len(p.y) / p.weights.sum(), k),
        lambda p, eta, k: lt.descend(p.X, p.y, p.start, None, GradientDescent(eta), k).theta,
    ],
    ids=["a loss with ½", "a mean over Σw", "unweighted"],
)
def test_the_loop_rejects(mutant):
    assert is_the_loop(run, EXAMPLE, 0.7, 4)
    assert not is_the_loop(mutant, EXAMPLE, 0.7, 4)


@given(data(), st.integers(0, 30))
def test_path_and_losses_belong_together(problem, steps):
    path = lt.descend(problem.X, problem.y, problem.start, problem.weights, steps=steps)
    assert path.theta.shape == (steps + 1, len(problem.start))
    assert np.array_equal(path.theta[0], problem.start)
    size = objective(problem, problem.start) * loss(problem, 0) ** 0.5
    for theta, value in zip(path.theta, path.loss, strict=True):
        assert near(value, objective(problem, theta), 100, size)
    assert not_above(path.loss[1:], path.loss[:-1], 100, size)


@given(data(full_rank=True))
def test_the_default_is_the_largest_safe_step(problem):
    eta = largest_step(problem)
    default = lt.descend(problem.X, problem.y, problem.start, problem.weights, steps=5).theta
    assert near(default, run(problem, eta, 5), 10 * loss(problem, 0), extent(problem))


@pytest.mark.parametrize("shape", [(9, 3, 3), (3, 5, 3), (8, 5, 2), (1, 4, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_converges_to_solve(shape, weighted):
    """Tall, wide and rank-deficient: the limit is the minimiser closest to the start."""
    problem = random_data(*shape, condition=3.0, seed=2, weights=weighted)
    path = lt.descend(problem.X, problem.y, problem.start, problem.weights, steps=20_000)
    want = lt.solve(problem.X, problem.y, problem.start, problem.weights).theta
    assert near(path.theta[-1], want, loss(problem, 0), extent(problem))
    assert path.status == "stationary"
    assert "zero" in path.advice


def test_divergence_is_a_status():
    for steps in (20, 3000):
        path = lt.descend(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, None, GradientDescent(100.0), steps)
        assert path.status == "diverged"
        assert "learning_rate" in path.advice
    path = lt.descend(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, steps=2)
    assert path.status == "descending"
    assert "more steps" in path.advice


@given(data(weights=st.just(True)), st.integers(1, 10))
def test_weight_zero_is_a_row_removed_at_the_step_of_the_mean(problem, steps):
    """The mean is over n: with m of n rows kept, the step η on the whole is η·m/n on the part."""
    n, m = len(problem.y), (len(problem.y) + 1) // 2
    w = np.where(np.arange(n) < m, problem.weights, 0.0)
    eta = 0.5 * largest_step(problem)
    whole = lt.descend(problem.X, problem.y, problem.start, w, GradientDescent(eta), steps).theta
    rows = problem.X[:m], problem.y[:m], problem.start, w[:m]
    part = lt.descend(*rows, GradientDescent(eta * m / n), steps).theta
    assert near(part, whole, 10 * loss(problem, 0), extent(problem))


@pytest.mark.parametrize(
    ("array", "label"), [(np.asarray, 1e200), (lambda value: jnp.asarray(value, dtype=jnp.float32), 1e30)]
)
@pytest.mark.parametrize(
    "solver",
    [None, HeavyBall(0.1, momentum=0.5), ConjugateGradient(), StochasticGradient(learning_rate=0.1)],
    ids=str,
)
def test_a_row_of_weight_zero_may_have_any_label(array, label, solver):
    """Its square may be no float, and 0 times that no number."""
    rows = [np.ones((3, 1)), np.array([1.0, 2.0, label]), np.zeros(1), np.array([1.0, 1.0, 0.0])]
    path = lt.descend(*map(array, rows), solver, 20)
    assert path.status != "diverged"
    assert np.isfinite(path.loss).all()
    rows[1][2] = 0.0
    assert np.array_equal(path.loss, lt.descend(*map(array, rows), solver, 20).loss)


@pytest.mark.parametrize("start", [0.0, 1e10, 1e300])
@pytest.mark.parametrize("entry", [1e100, 1e300])
@pytest.mark.parametrize(
    "solver", [None, HeavyBall(), ConjugateGradient(), StochasticGradient(2, learning_rate=0.01)], ids=str
)
def test_a_row_of_weight_zero_may_have_any_entries(solver, entry, start):
    """It is the same path to the bit, also where its label is no float under the start."""
    rng = np.random.default_rng(0)
    X, y, theta = rng.standard_normal((7, 2)), rng.standard_normal(7), np.array([0.0, 1.0])
    X[:6, 1], X[6], weights = 0.0 if start == 1e300 else X[:6, 1], entry, np.array([1.0] * 6 + [0.0])
    theta[1] = start
    path = lt.descend(X, y, theta, weights, solver, 5)
    X[6], y[6] = 0.0, 0.0
    want = lt.descend(X, y, theta, weights, solver, 5)
    assert path.status == want.status != "diverged"
    assert np.array_equal(path.theta, want.theta)
    assert np.array_equal(path.loss, want.loss)


def test_a_solver_that_works_in_place():
    """What was reached is kept, whatever the solver does to its array then."""

    class InPlace:
        def init(self, equations, displacement):
            return None

        def step(self, equations, displacement, state):
            displacement -= 0.1 * equations.gradient(displacement)
            return displacement, state

    rows = EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights
    path = lt.descend(*rows, InPlace(), 5)
    assert near(path.theta, literal(EXAMPLE, 0.1, 5), 10 * loss(EXAMPLE, 0), extent(EXAMPLE))


def test_a_solver_of_ones_own():
    """The loop asks for init and step, nothing else: here momentum."""

    class HeavyBall:
        def init(self, equations, displacement):
            return displacement

        def step(self, equations, displacement, before):
            slope = equations.gradient(displacement)
            return displacement - 0.5 * slope + 0.5 * (displacement - before), displacement

    path = lt.descend(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights, HeavyBall(), 4000)
    want = lt.solve(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights).theta
    assert near(path.theta[-1], want, loss(EXAMPLE, 0), extent(EXAMPLE))
