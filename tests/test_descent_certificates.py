"""The bound on the distance to the limit: never below the truth of 60 digits, never far above; and what stops on it."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.descent import ConjugateGradient, GradientDescent, HeavyBall, Nesterov, StochasticGradient
from linear_theory.testing.reference import rows as ref
from linear_theory.testing.reference.population import norm
from linear_theory.testing.tolerances import EPS, least_squares_condition
from tests.descents import StepByStep, curvatures, descend, gradient
from tests.strategies import DIMS, MAYBE, ROWS, SEEDS, Data, log_uniform, random_data

EXAMPLE = random_data(9, 3, 3, condition=3.0, seed=1, weights=True)
SOLVERS = {
    "gradient descent": (GradientDescent(), [0, 1, 5, 100, 10**4, 10**8, 10**30]),
    "heavy ball": (HeavyBall(), [0, 1, 5, 100, 10**4, 10**8, 10**30]),
    "Nesterov": (Nesterov(), [0, 1, 5, 100, 10**4, 10**8, 10**30]),
    "conjugate gradients": (ConjugateGradient(), 12),
    "SGD": (StochasticGradient(2), [0, 1, 5, 100]),
    "one's own": (StepByStep(Nesterov()), [0, 1, 5, 100]),
}
EACH = pytest.mark.parametrize(("solver", "steps"), SOLVERS.values(), ids=SOLVERS.keys())


def exact_limit(problem):
    return ref.solve(problem.X, problem.y, problem.start, problem.weights)


def distances(theta, limit):
    return np.array([float(norm(ref.exact_vector(row) - limit)) for row in theta])


@st.composite
def any_rows(draw):
    """As strategies.data, with condition numbers up to 1e10."""
    n, d = draw(ROWS), draw(DIMS)
    rank = draw(st.integers(1, min(n, d)))
    return random_data(n, d, rank, draw(log_uniform(1.0, 1e10)), draw(SEEDS), draw(MAYBE))


def slack(problem, limit):
    """What the bound may add: m = 8√(n + d) roundings in each of the norms of Wedin's bound, Frobenius for spectral
    (√d each, twice), four terms. The condition number is taken from the rows in 60 digits.
    """
    n, d = problem.X.shape
    exact = (ref.exact_matrix(problem.X), ref.exact_vector(problem.y), limit, ref.exact_vector(problem.start))
    condition = float(least_squares_condition(*exact, weights=problem.weights))
    size = float(norm(limit)) + np.linalg.norm(problem.start)
    return 8 * math.sqrt(n + d) * 4 * d * EPS * (condition + 2) * size


def holds(bound, problem, theta, limit):
    """truth ≤ bound ≤ truth + slack."""
    truth = distances(theta, limit)
    return bool((truth <= bound).all() and (bound <= truth * (1 + 1e-12) + slack(problem, limit)).all())


@EACH
@given(problem=any_rows())
def test_the_bound_holds_and_is_not_vacuous(solver, steps, problem):
    path, limit = descend(problem, solver, steps), exact_limit(problem)
    if np.isinf(path.roundings[0]):  # only where rounding may hide a direction
        sizes = curvatures(problem)
        assert sizes[0] / sizes[-1] > 1e24 / len(problem.start) ** 2
        return
    assert holds(path.distance_bound, problem, path.theta, limit)


@pytest.mark.parametrize("solver", [GradientDescent(), ConjugateGradient()], ids=["", "conjugate gradients"])
@pytest.mark.parametrize("far", [1e4, 1e12])
def test_the_bound_holds_where_the_start_is_far_away_and_nearly_the_end(solver, far):
    """The labels are X·start but for rounding, which is all that is left to go: it moves the end by κ of itself."""
    problem = random_data(9, 3, 3, condition=1e3, seed=2)
    start = far * np.array([1.0, -1.0, 1.0]) + problem.start
    problem = Data(problem.X, problem.X @ start, start)
    path, limit = descend(problem, solver, [0, 60, 200]), exact_limit(problem)
    assert holds(path.distance_bound, problem, path.theta, limit)


def test_the_bound_rejects():
    """What looks like a certificate and is none."""
    problem = random_data(12, 5, 5, condition=1e4, seed=4)
    path, limit = descend(problem, GradientDescent(), [10**4, 10**4 + 1, 10**12]), exact_limit(problem)
    assert holds(path.distance_bound, problem, path.theta, limit)
    largest, smallest = curvatures(problem)[[0, -1]]
    slope = np.array(
        [
            np.linalg.norm(lt.NormalEquations.of(problem.X, problem.y, problem.start).gradient(d))
            for d in path.theta - problem.start
        ]
    )
    moved = np.linalg.norm(path.theta[1] - path.theta[0])
    for mutant in (
        path.distance,  # without what rounding may have moved
        np.full(3, moved),  # the loss, or θ, moved little
        slope / largest,  # ‖∇L‖/λ_max
        1e8 * path.distance_bound,  # true and useless
        slope / smallest * 0.99 - path.distance,
    ):
        assert not holds(mutant, problem, path.theta, limit)


@pytest.mark.parametrize("kind", [GradientDescent, HeavyBall, Nesterov, ConjugateGradient])
@pytest.mark.parametrize("hidden", [False, True], ids=["", "one's own"])
@given(seed=SEEDS, tolerance=log_uniform(1e-9, 0.5))
def test_it_stops_where_the_tolerance_is_certain(kind, hidden, seed, tolerance):
    problem = random_data(15, 4, 4, condition=2.0, seed=seed)
    solver = kind(tolerance=tolerance)
    path = descend(problem, StepByStep(solver) if hidden else solver, 600)
    limit = exact_limit(problem)
    reach = float(norm(limit - ref.exact_vector(problem.start)))
    assert path.status == "converged"
    assert len(path.theta) == path.steps[-1] + 1 < 601
    slope = np.linalg.norm(gradient(problem, path.theta[-1]))
    assert np.isclose(path.gradient_norm, slope, rtol=1e-6, atol=1e-12)
    assert distances(path.theta[-1:], limit)[0] <= tolerance * reach
    # Not a step too late: what is certain is (1 + tolerance) times more, and rounding.
    early = distances(path.theta[:-1], limit) * (1 + tolerance) ** 2 + slack(problem, limit)
    assert (early > tolerance * reach * (1 - tolerance)).all()


def test_a_tolerance_that_rounding_forbids():
    path = descend(EXAMPLE, GradientDescent(tolerance=1e-16), 500)
    assert path.status == "stationary"
    assert "no tolerance below" in path.advice
    assert len(path.theta) == 501


def test_what_is_rounding_hangs_on_the_precision():
    """The same numbers in float32: ε is 2²⁹ times as large, and a distance that it explains is none."""
    path = descend(EXAMPLE, GradientDescent(), [150])
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float32), path)
    added = [float(p.distance_bound[0] - p.distance[0]) for p in (path, narrow)]
    assert math.isclose(added[1], 2**29 * added[0], rel_tol=1e-2)
    assert (path.status, narrow.status) == ("descending", "stationary")


def test_under_jit_the_last_step_is_held():
    for solver in (ConjugateGradient(tolerance=1e-3), Nesterov(tolerance=1e-3)):
        rows = tuple(map(jnp.asarray, (EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights)))
        run = lambda *rows, solver=solver: lt.descend(*rows, solver=solver, steps=60)
        free, held = run(*rows), jax.jit(run)(*rows)
        end = len(free.theta)
        assert free.status == held.status == "converged"
        assert end < 61 == len(held.theta)
        assert (held.steps[end:] == held.steps[end - 1]).all()
        assert (held.theta[end:] == held.theta[end - 1]).all()
        assert np.allclose(held.theta[:end], free.theta, rtol=1e-12, atol=1e-12)
        assert int(held.steps[-1]) == end - 1
        for path in (free, held):  # of the step that is kept
            slope = np.linalg.norm(gradient(EXAMPLE, np.asarray(path.theta[-1])))
            assert np.isclose(path.gradient_norm, slope, rtol=1e-6, atol=1e-12)


def test_a_direction_that_rounding_hides_is_said():
    """A column 1e-200 times the others: it exists, solve finds it, and no float descent ever moves along it."""
    X = EXAMPLE.X * np.array([1.0, 1.0, 1e-200])
    path = lt.descend(X, EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights, steps=[10**6])
    assert path.status == "unresolved"
    assert "rescale" in path.advice
    assert np.isinf(path.distance_bound).all()
    assert path.theta[-1, 2] == EXAMPLE.start[2]
    zero = lt.descend(EXAMPLE.X * [1.0, 1.0, 0.0], EXAMPLE.y, EXAMPLE.start, EXAMPLE.weights, steps=[10**6])
    assert zero.status == "stationary"


@pytest.mark.parametrize("solver", [s for s, _ in SOLVERS.values()], ids=SOLVERS.keys())
def test_without_weight_nothing_moves(solver):
    path = lt.descend(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, np.zeros(9), solver, [0, 3])
    assert np.array_equal(path.theta, [EXAMPLE.start] * 2)
    assert path.status == "stationary"
    assert (path.loss == 0).all()


def test_where_no_bound_is_known_the_estimate_says_so():
    """Both sides of X above 512: the smallest curvature is estimated from the Lanczos matrix."""
    problem = random_data(700, 600, 600, condition=20.0, seed=5)
    path = descend(problem, ConjugateGradient(tolerance=1e-6), [30, 60, 90, 120, 150, 180, 210, 240])
    truth = np.linalg.norm(path.theta - np.linalg.lstsq(problem.X, problem.y, rcond=None)[0], axis=1)
    assert path.status == "converged (estimated)"
    assert "estimate" in path.advice
    # Late enough to have met the smallest curvature, ‖∇L‖/μ is above the distance, and at most κ above.
    assert (truth[2:] <= 1.1 * path.distance[2:]).all()
    assert (path.distance[2:] <= 1.1 * 20.0**2 * truth[2:]).all()
    jitted = descend(problem, ConjugateGradient(tolerance=1e-6), [30, 60], jnp.asarray)
    assert np.allclose(jitted.distance, path.distance[:2], rtol=1e-6)
    own = descend(problem, StochasticGradient(64), [0, 5])
    assert np.isinf(own.distance_bound).all()
    assert own.status == "descending"


def test_once_it_has_met_the_smallest_curvature_the_estimate_is_the_gradient_over_it():
    sizes = np.append(0.1, np.linspace(1.0, 1.5, 519))  # one apart from the others, which is met at once
    rows = np.diag(sizes), np.ones(520), np.zeros(520)
    path = lt.descend(*rows, solver=ConjugateGradient(), steps=[20])
    assert np.isclose(path.distance[-1], path.gradient_norm / (2 / 520 * 0.1**2), rtol=1e-6)
    # And what rounding may do to the limit is then what the singular values of the rows say.
    assert np.isclose(path.roundings[-1], lt.descend(*rows, steps=[20]).roundings[-1], rtol=0.1)


def test_weights_may_vanish_and_rows_repeat():
    """Rank deficient by weights: the bound is for the minimiser closest to the start."""
    problem = Data(EXAMPLE.X, EXAMPLE.y, EXAMPLE.start, np.where(np.arange(9) < 2, EXAMPLE.weights, 0.0))
    path = descend(problem, Nesterov(), [0, 10, 10**5])
    assert path.status == "stationary"
    assert holds(path.distance_bound, problem, path.theta, exact_limit(problem))
