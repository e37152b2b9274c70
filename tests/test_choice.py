"""The best early stop (T13): against the plane's closed form, a search of its own, and a table derived elsewhere."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given

import linear_theory as lt
from linear_theory.testing.tolerances import bound, near
from tests.laws import problems
from tests.strategies import log_uniform


def flow(problem, time):
    """θ(t) by a matrix exponential."""
    return problem.target + scipy.linalg.expm(-2 * time * problem.target_covariance) @ problem.shift


def error(problem, theta):
    """err₁ + err₂, written out."""
    old, new = theta - problem.pretrained, theta - problem.target
    return old @ problem.pretrain_operator.dense() @ old + new @ problem.target_covariance @ new


@given(problems(largest=1.0, pretrain=True))
def test_no_time_is_better(problem):
    """Of a thousand times on a grid of their own, and its error is that of the path at that time."""
    stop = lt.best_early_stop(problem)
    times = np.logspace(-4, 4, 1000)
    values, vectors = np.linalg.eigh(problem.target_covariance)
    left = np.exp(-2 * np.outer(times, values)) * (vectors.T @ problem.shift)
    thetas = problem.target + left @ vectors.T
    assert stop.total_error <= min(error(problem, theta) for theta in thetas) * (1 + 1e-9)
    if math.isfinite(stop.time):
        assert near(stop.total_error, error(problem, flow(problem, stop.time)), bound(1e3))


@given(log_uniform(1e-6, 1e6))
def test_where_the_covariances_are_round_it_is_averaging(A):
    problem = lt.paper_problem(0.0, pretrain_covariance=A * np.eye(2))
    stop = lt.best_early_stop(problem)
    assert near(stop.time, math.log1p(1 / A) / 2, bound(10))
    assert near(stop.total_error, A / (A + 1), bound(10))
    assert near(stop.total_error, lt.total_error(problem, lt.best_model_average(problem)), bound(10))


TABLE = [
    (0.8, (1.5, 1.5, -0.4), 0.2684, 0.4319),
    (0.9, (1, 1, 0), 0.2817, 0.3738),
    (0.5, (4, 2, 1), 0.0987, 0.7843),
    (0.3, (2, 1.5, 0.7), 0.1784, 0.6843),
    (0.7, (3, 3, 1.9), 0.0907, 0.7673),
    (0.95, (8, 2, -2), 0.1214, 0.6302),
    (0.4, (2, 9, -2.5), 0.2888, 0.5248),
    (0.3, (13, 160, -37), 0.104535, 0.803515),
]
"""ρ, (Σ₁₁, Σ₂₂, Σ₁₂), time and error to the digits given, from a search that was not this one."""


@pytest.mark.parametrize(("rho", "old", "time", "total"), TABLE)
def test_a_table_computed_elsewhere(rho, old, time, total):
    a, b, c = old
    stop = lt.best_early_stop(lt.paper_problem(rho, pretrain_covariance=np.array([[a, c], [c, b]])))
    assert abs(stop.time - time) <= 0.51 * 10.0 ** -(len(str(time)) - 2)
    assert abs(stop.total_error - total) <= 0.51 * 10.0 ** -(len(str(total)) - 2)


def test_of_two_minima_the_lower_one():
    """A fast direction and a slow one, coupled in Σ: a first minimum long before the best."""
    old = np.array([[2.817522, -1.627552], [-1.627552, 0.941256]])
    problem = lt.FineTuningProblem([1.0, 22.77], np.zeros(2), np.diag([1.0, 0.0087]), old)
    errors = np.array([error(problem, flow(problem, t)) for t in np.logspace(-2, 4, 2000)])
    first, second = np.flatnonzero((errors[1:-1] < errors[:-2]) & (errors[1:-1] < errors[2:])) + 1
    assert errors[first] > 1.1 * errors[second]
    assert errors[second] * (1 - 1e-4) < lt.best_early_stop(problem).total_error <= errors[second]


def test_the_end_may_be_the_best_of_several_minima():
    """Where the first coordinate has come half way, 5 is the least error near; where both have come all the way, 0."""
    opposed = np.array([[10.0, -10.0], [-10.0, 10.0]])
    problem = lt.FineTuningProblem(np.ones(2), np.zeros(2), np.diag([10.0, 0.1]), opposed)
    errors = lt.total_error(problem, lt.gradient_flow(problem, [0.0, 0.03, 0.3, math.inf]))
    assert errors[1] < min(errors[0], errors[2])
    assert errors[1] > errors[3]
    assert lt.best_early_stop(problem).time == math.inf


def test_the_ends():
    never = lt.FineTuningProblem([1.0, 1.0], np.zeros(2), np.eye(2), np.zeros((2, 2)))
    assert lt.best_early_stop(never).time == math.inf
    still = lt.FineTuningProblem([1.0, 1.0], [1.0, 1.0], np.eye(2))
    assert lt.best_early_stop(still).time == 0
    assert lt.best_early_stop(still).total_error == 0


@pytest.mark.parametrize(
    "lead", [np.float64, jax.numpy.float64, jax.numpy.float32], ids=["numpy", "jax", "single"]
)
@pytest.mark.parametrize("slow", [1.0, 0.4, 1e-3])
def test_where_nothing_is_forgotten_training_never_stops(slow, lead):
    """Also where what is left has no square in single precision long before the last time that is looked at."""
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    new = turn @ np.diag([1.0, slow]) @ turn.T
    problem = lt.FineTuningProblem(
        *(lead(x) for x in ([1.0, 0.0], [0.0, 0.0], (new + new.T) / 2, np.zeros((2, 2))))
    )
    assert lt.best_early_stop(problem).time == math.inf


def test_every_kind_of_covariance_says_the_same():
    decay, cost = np.linspace(0.01, 1, 300), np.diag(np.linspace(3, 0.1, 300))
    matrix, operator = (
        lt.best_early_stop(lt.FineTuningProblem(np.ones(300), np.zeros(300), kind, cost))
        for kind in (np.diag(decay), lt.covariance.Operator(lambda v: decay * v, 300))
    )
    assert near(operator.time, matrix.time, 1e-9)
    small, large = (lt.best_early_stop(lt.paper_problem(0.6, dim=dim)) for dim in (2, 10**6))
    assert near(large.time, small.time, bound())


@pytest.mark.parametrize("orders", [2, pytest.param(3, marks=pytest.mark.deep)])
def test_derivatives(orders):
    """In the size of Σ: at ρ = 0 the closed form's own, to the third order."""
    time = lambda A: lt.best_early_stop(lt.paper_problem(0.0, pretrain_covariance=A * np.eye(2))).time
    closed = lambda A: jax.numpy.log1p(1 / A) / 2
    for _ in range(orders):
        time, closed = jax.grad(time), jax.grad(closed)
        assert near(jax.jit(time)(2.0), closed(2.0), 1e-9)


MATRIX, OLD, E = np.array([[1.0, 0.3], [0.3, 2.0]]), np.diag([1.0, 2.0]), np.array([1.0, 0.5])


@pytest.mark.parametrize("lead", [np.asarray, jax.numpy.asarray], ids=["numpy", "jax"])
@pytest.mark.parametrize(
    ("new", "old"), [(1, 1e12), (1e-8, 1e12), (1e100, 1e100), (1e-100, 1e-100), (1e12, 1)]
)
def test_units_and_sizes(new, old, lead):
    """The time is that of Σ/new and Σ̃/new, over ``new``, and JAX finds the same as NumPy where θ has hardly moved."""
    want = lt.best_early_stop(lt.FineTuningProblem(E, np.zeros(2), MATRIX, OLD * (old / new)))
    found = lt.best_early_stop(lt.FineTuningProblem(lead(E), np.zeros(2), new * MATRIX, old * OLD))
    assert near(found.time * new, want.time, bound(1e4))
