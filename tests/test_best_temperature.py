"""The best temperature (T26): closed forms, a table derived elsewhere, brute force, and more than one minimum."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import linear_theory as lt
from linear_theory.testing.tolerances import bound, near
from tests.laws import NOISELESS, problems
from tests.strategies import log_uniform


def plane(rho, a, b, c, noise=0.0):
    return lt.paper_problem(rho, pretrain_covariance=np.array([[a, c], [c, b]]), noise_variance=noise)


TABLE = [
    ((0.6, 2, 2, 0.9), 1, 0.0, "0.601770", "0.685442"),
    ((0.6, 2, 2, 0.9), 5, 0.0, "0.157638", "0.662309"),
    ((0.6, 2, 2, 0.9), 5, 0.5, "0.585811", "0.663024"),
    ((0.9, 1.5, 5, -1.3), 10, 0.5, "1.315028", "0.447843"),
    ((0.6, 1, 1, 0), 20, 1.0, "2.000247", "0.499980"),
]


@pytest.mark.parametrize(("cell", "steps", "noise", "temperature", "error"), TABLE)
def test_a_table_computed_elsewhere(cell, steps, noise, temperature, error):
    best = lt.best_temperature(plane(*cell, noise), steps)
    assert f"{best.temperature:.6f}" == temperature
    assert f"{best.total_error:.6f}" == error


def test_of_two_minima_both_are_told():
    best = lt.best_temperature(plane(0.9, 1.5, 5, -1.3, 0.5), 10)
    assert f"{best.minima[1]:.4f} {best.errors[1]:.6f}" == "44.0012 0.703037"
    assert np.isnan(best.minima[2:]).all()
    assert near(best.minima[0], best.temperature, bound())


@given(problems(noise=NOISELESS, largest=1.0, pretrain=True))
def test_one_step_in_closed_form(problem):
    """(F1): two quadratic forms."""
    e, new, old = problem.shift, problem.target_covariance, problem.pretrain_operator.dense()
    image = new @ e
    mass2 = min(1.0, image @ image / (image @ old @ image + image @ new @ image))
    best = lt.best_temperature(problem, 1)
    error = e @ image - 2 * mass2 * image @ image + mass2**2 * (image @ old @ image + image @ new @ image)
    assert near(best.total_error, error, bound(1e4))
    if mass2 < 0.99:
        assert near(best.temperature, 2 * (e @ image) * mass2 / (1 - mass2), 1e6)


@given(log_uniform(0.05, 50), st.integers(1, 1000))
def test_without_correlation_it_makes_the_best_average(A, steps):
    problem = lt.paper_problem(0.0, pretrain_covariance=A * np.eye(2))
    best = lt.best_temperature(problem, steps)
    mass2 = -math.expm1(-math.log1p(1 / A) / steps)  # 1 − (A/(A + 1))^(1/K), which cancels
    assert near(best.temperature, 2 * mass2 / (1 - mass2), 100)
    assert near(best.total_error, A / (A + 1), bound(100))


@given(problems(noise=st.floats(0.01, 10.0), largest=1.0, pretrain=True))
def test_to_convergence_it_makes_the_best_average(problem):
    best = lt.best_temperature(problem)
    assert near(best.theta, lt.best_model_average(problem), bound(1e3))


def test_to_convergence_in_numbers():
    """A = 3, B = 0.8, σ² = 0.6."""
    problem = lt.FineTuningProblem([1.0], [0.0], np.array([[0.8]]), np.array([[3.0]]), 0.6)
    best = lt.best_temperature(problem)
    assert f"{best.temperature:.6f} {best.total_error:.6f}" == "0.320000 0.631579"


@given(problems(largest=1.0, pretrain=True), st.integers(1, 40), st.sampled_from([None, 0.05, 0.4]))
def test_no_other_temperature_is_better(problem, steps, rate):
    best = lt.best_temperature(problem, steps, rate)
    unit = float(problem.residual_variance)
    for tau in np.append(unit * np.geomspace(1e-5, 1e5, 120), math.inf):
        error = lt.total_error(problem, lt.iterate(problem, steps, rate, tau))
        assert best.total_error <= error * (1 + 1e-9)
    known = best.errors[np.isfinite(best.errors)]
    assert (np.diff(known) >= 0).all()
    assert near(known[0], best.total_error, bound(1e3))


@pytest.mark.parametrize("rate", [None, 0.1, 0.4])
@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_it_is_where_a_search_over_the_error_itself_ends(rate, noise):
    """To 10⁻⁶: the least error is flat, and a slope that is a little wrong moves its place before its height."""
    problem = plane(0.6, 2, 2, 0.9, noise)
    found = math.log(lt.best_temperature(problem, 10, rate).temperature)
    error = lambda at: float(lt.total_error(problem, lt.iterate(problem, 10, rate, math.exp(at))))
    searched = optimize.minimize_scalar(
        error, bounds=(found - 0.2, found + 0.3), method="bounded", options={"xatol": 1e-9}
    )
    assert abs(searched.x - found) < 1e-6


def test_where_no_temperature_matters_it_says_so():
    with pytest.raises(lt.InvalidValueError, match="no label noise"):
        lt.best_temperature(lt.paper_problem(0.5))
    with pytest.raises(lt.InvalidValueError, match="no temperature matters"):
        lt.best_temperature(lt.FineTuningProblem([1.0, 0.0], np.zeros(2), np.diag([0.0, 1.0])), 3)


def test_a_part_that_no_sample_sees_does_not_count():
    seen, both = (
        lt.FineTuningProblem(e, np.zeros(2), np.diag([1.0, 0.0]), np.array([[2.0, 0.3], [0.3, 1.0]]), 0.4)
        for e in ([1.0, 0.0], [1.0, 5.0])
    )
    for steps in (None, 3):
        assert near(
            lt.best_temperature(both, steps).temperature, lt.best_temperature(seen, steps).temperature, 1e-9
        )


@pytest.mark.parametrize("seed", [1, 13, 15])
def test_products_alone_say_what_the_matrix_says(seed):
    """In as few dimensions the Krylov space becomes all of it, after a smaller one has been looked at."""
    rng = np.random.default_rng(seed)
    dim = int(rng.integers(17, 32))
    spread = 10 ** rng.uniform(-4, 0, dim)
    spread /= spread.max()
    shift = rng.normal(size=dim) / spread ** rng.choice([0.0, 0.5, 1.0])
    old, steps = np.diag(10 ** rng.uniform(-3, 0, dim)), int(10 ** rng.uniform(1, 5))
    matrix, operator = (
        lt.best_temperature(lt.FineTuningProblem(shift, 0 * shift, covariance, old), steps)
        for covariance in (np.diag(spread), lt.covariance.Operator(lambda v: spread * v, dim))
    )
    assert near(operator.total_error, matrix.total_error, 1e-9)
    assert near(operator.temperature, matrix.temperature, 1e-6)


def test_to_convergence_the_temperature_has_every_derivative():
    """τ = 2σ²B/A, in the size of Σ at ρ = 0; the error is A/(A + 1), and so is what θ keeps of the shift."""

    def best(A):
        problem = lt.paper_problem(0.0, pretrain_covariance=A * jax.numpy.eye(2), noise_variance=0.3)
        return lt.best_temperature(problem)

    twice = jax.grad(jax.grad(lambda A: best(A).temperature))
    found, curvature = jax.jit(lambda A: (jax.jacfwd(best)(A), twice(A)))(2.0)
    assert near(curvature, 2 * 2 * 0.3 / 2.0**3, bound(1e4))
    slopes = [found.temperature, found.total_error, found.theta[0], found.minima[0], found.errors[0]]
    assert near(slopes, [-2 * 0.3 / 2.0**2, *[1 / 3.0**2] * 2, -2 * 0.3 / 2.0**2, 1 / 3.0**2], bound(1e4))


@pytest.mark.parametrize("learning_rate", [None, 0.5])
@pytest.mark.parametrize(
    ("problem", "steps", "error"),
    [
        (lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], [[1.32, 0.57], [0.57, 1.32]], [[0.32, 0.85], [0.85, 3.02]],
                              0.024), 12, 0.16553563163930615),
        (lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], 0.3 * np.eye(2), 0.01 * np.eye(2)), 1, 0.1479),
    ],
)  # fmt: skip
def test_unweighted_may_be_the_best(problem, steps, error, learning_rate):
    """At τ = ∞ the default rate is ½."""
    found = lt.best_temperature(problem, steps, learning_rate)
    assert found.temperature == math.inf
    unweighted = lt.total_error(problem, lt.iterate(problem, steps, 0.5))
    np.testing.assert_allclose([found.total_error, found.errors[0], unweighted], error, rtol=1e-12)


@pytest.mark.parametrize("unit", [2.0, 3.0, 10.0, 1e3, 1e8])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_columns_in_any_unit_end_no_worse_than_the_start(unit, noise):
    """The default step then overshoots at every temperature, and cold weights keep it small."""
    new, old = np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([[1.5, -1.3], [-1.3, 5.0]])
    problem = lt.FineTuningProblem([1 / unit, 0.0], [0.0, 0.0], new * unit**2, old * unit**2, noise)
    found = lt.best_temperature(problem, 10)
    colder = [
        lt.iterate(problem, 10, _default(problem, t), t) for t in found.temperature * np.geomspace(0.1, 10, 9)
    ]
    assert found.total_error <= lt.total_error(problem, problem.pretrained) * (1 + 1e-6)
    assert found.total_error <= min(lt.total_error(problem, theta) for theta in colder) * (1 + 1e-6)


def _default(problem, temperature):
    return 1 / (2 * lt.weight_mass(problem, temperature))


def test_steps_that_leave_the_floats_at_every_temperature_are_refused():
    problem = lt.FineTuningProblem([1e-60, 0.0], [0.0, 0.0], 1e120 * np.array([[1.0, 0.9], [0.9, 1.0]]))
    with pytest.raises(lt.InvalidValueError, match="scale the columns"):
        lt.best_temperature(problem, 10)


def test_a_shift_that_no_sample_sees_is_nan_where_it_is_traced():
    jnp, jax = pytest.importorskip("jax.numpy"), pytest.importorskip("jax")
    best = lambda start: (
        lt.best_temperature(lt.FineTuningProblem(start, jnp.zeros(2), jnp.eye(2)), 3).temperature
    )
    assert np.isnan(jax.jit(best)(jnp.zeros(2)))


def test_winners_of_many_problems():
    jnp, jax = pytest.importorskip("jax.numpy"), pytest.importorskip("jax")
    new, old = jnp.array([[1.0, 0.6], [0.6, 1.0]]), 2 * jnp.eye(2)
    best = lambda noise: lt.best_flow(
        lt.FineTuningProblem(jnp.array([1.0, 0.0]), jnp.zeros(2), new, old, noise)
    )
    assert list(jax.vmap(best)(jnp.array([0.1, -1.0])).winner) == ["joint optimum", ""]
