"""Many tasks, one after the other: moving averages, projections, ridges, sampled tasks (T19 to T21, T30)."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import EPS, near, within_standard_errors
from tests.strategies import SEEDS, random_covariance

TASKS, DIMS = st.integers(1, 8), st.integers(1, 5)


def drawn(tasks, dim, seed, rank=None):
    """Optima, a start, and covariances, of full rank if none is given."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((tasks, rank or dim + 3, dim))
    return rng.standard_normal((tasks, dim)), X.transpose(0, 2, 1) @ X, rng.standard_normal(dim)


# ------------------------------------------------------------------------------------------------------- FLOW


@given(TASKS, DIMS, SEEDS)
def test_flow_goes_to_the_fixed_point_of_each_task(tasks, dim, seed):
    """Of a population of its own covariance, task by task."""
    optima, covariances, start = drawn(tasks, dim, seed)
    rng = np.random.default_rng(seed + 1)
    tau, noise = rng.uniform(0.1, 3, tasks), rng.uniform(0, 2, tasks)
    path, theta = lt.sequences.flow(optima, tau, noise, start), start
    for t in range(tasks):
        problem = lt.FineTuningProblem(theta, optima[t], covariances[t], noise_variance=noise[t])
        theta = lt.fixed_point(problem, tau[t])
        scale = 1e3 * np.linalg.cond(covariances[t]) * EPS
        assert abs(path[t] - theta).max() <= scale * (1 + abs(optima).max() + abs(start).max())
        theta = path[t]


@given(TASKS, SEEDS)
def test_flow_is_the_moving_average_of_the_optima(tasks, seed):
    """The sum of (T19), written out."""
    optima, _, start = drawn(tasks, 3, seed)
    rng = np.random.default_rng(seed + 1)
    tau, noise = rng.uniform(0.1, 3, tasks), rng.uniform(0, 2, tasks)
    kappa = tau / (tau + 2 * noise)
    left = np.append(np.cumprod((1 - kappa)[::-1])[::-1], 1.0)
    want = left[0] * start + (kappa * left[1:]) @ optima
    assert np.allclose(lt.sequences.flow(optima, tau, noise, start)[-1], want, rtol=0, atol=100 * EPS)


@given(TASKS, SEEDS)
def test_harmonic_temperatures_make_it_the_mean(tasks, seed):
    optima, _, start = drawn(tasks, 3, seed)
    noise = np.random.default_rng(seed + 1).uniform(0.1, 4, tasks)
    tau = lt.sequences.harmonic_temperatures(noise)
    means = np.cumsum(optima, axis=0) / np.arange(1, tasks + 1)[:, None]
    assert np.allclose(lt.sequences.flow(optima, tau, noise, start), means, rtol=0, atol=100 * EPS)
    if tasks > 2:  # one task later is another average
        wrong = lt.sequences.flow(optima, np.append(tau[1:], tau[-1]), noise, start)
        assert not np.allclose(wrong, means, atol=1e-6)


@pytest.mark.parametrize(
    ("lead", "unit"),
    [(lead, unit) for lead in (np.asarray, jnp.asarray) for unit in (1e-300, 1.0, 1e150, 4e307)]
    + [(np.asarray, 5e-324)],
)
def test_only_the_ratio_of_temperature_and_noise_counts(lead, unit):
    """Up to the largest noise that is a float; and at τ = ∞ no noise does."""
    optima, tau, noise = [[1.0], [2.0], [-1.0]], np.array([1.0, 4.0, 2.0]), np.array([4.0, 1.0, 2.0])
    found = lt.sequences.flow(optima, lead(unit * tau), lead(unit * noise))
    np.testing.assert_allclose(found, lt.sequences.flow(optima, tau, noise), rtol=1e-14)
    np.testing.assert_array_equal(lt.sequences.flow(optima, math.inf, lead(unit * noise)), optima)


def test_noise_whose_double_is_no_float_and_no_task_have_no_harmonic_temperatures():
    for noise, match in (([1e308, 1e308], "at most 8.988e"), ([], "needs a task"), ([1.0, 0.0], "> 0")):
        with pytest.raises(lt.InvalidValueError, match=match) as caught:
            lt.sequences.harmonic_temperatures(noise)
        assert caught.value.argument == "noise_variances"
    assert np.isfinite(lt.sequences.harmonic_temperatures([8e307, 8e307])[1])


def test_without_noise_or_weights_each_task_is_learned_and_the_last_forgotten():
    optima, _, start = drawn(4, 3, 0)
    for tau, noise in ((0.3, 0.0), (math.inf, 2.0)):
        assert (lt.sequences.flow(optima, tau, noise, start) == optima).all()


def test_repeated_flow_at_the_median_has_the_digits_derived_by_hand():
    """v ← (1 − κ)²v: κ falls to c₀/(c₀ + 2), a ratio of 0.6637 in v, and never stops."""
    v, found, noise = 4.0, [], 1.0
    for _ in range(40):
        problem = lt.FineTuningProblem([math.sqrt(v)], [0.0], [[1.0]], noise_variance=noise)
        tau = lt.population_median_temperature(problem)
        v = float(lt.sequences.flow([[0.0]], tau, noise, problem.pretrained)[-1, 0]) ** 2
        found.append(v)
    assert np.allclose(found[:4], [0.87561, 0.43021, 0.24493, 0.14875], rtol=0, atol=5e-6)
    assert abs(found[-1] / found[-2] - 0.6637) < 5e-5


# ------------------------------------------------------------------------------------------------------- standard


@given(TASKS, DIMS, SEEDS)
def test_standard_training_ends_where_solve_does_from_the_last_point(tasks, dim, seed):
    """On rows, of any rank: the minimiser closest to the start."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, dim + 1))
    X = rng.standard_normal((tasks, rank, dim))
    optima, start = rng.standard_normal((tasks, dim)), rng.standard_normal(dim)
    path, theta = lt.sequences.plain(optima, X.transpose(0, 2, 1) @ X / rank, start), start
    for t in range(tasks):
        want = lt.solve(X[t], X[t] @ optima[t], theta).theta
        assert np.allclose(path[t], want, rtol=0, atol=1e3 * EPS * np.linalg.cond(X[t]) ** 2 * 10)
        theta = path[t]


def two_tasks(angle, cycles, first=1.0, second=1.0):
    """F_k after k cycles of two rows in the plane, the first norm and the second, from a point that fits the first."""
    rows = np.array([[0.0, first], [-second * math.sin(angle), second * math.cos(angle)]])
    grams = np.tile(rows[:, :, None] * rows[:, None], (cycles, 1, 1))
    optima = np.zeros((2 * cycles, 2))
    errors = lt.sequences.task_errors(lt.sequences.plain(optima, grams, [1.0, 0.0]), optima, grams)
    return errors[:, :2].mean(axis=1)


@given(st.floats(0.05, 1.5), st.integers(1, 6))
def test_two_tasks_forget_as_the_cycle_of_rows_of_norm_one(angle, cycles):
    k = np.arange(1, 2 * cycles + 1)
    want = np.cos(angle) ** (2 * (k - 1)) * np.sin(angle) ** 2 / 2
    assert np.allclose(two_tasks(angle, cycles), want, rtol=0, atol=100 * EPS)
    assert (two_tasks(angle, cycles)[1:] <= 1 / (2 * math.e * (k[1:] - 1))).all()


def test_rows_of_unequal_norm_break_the_cycle():
    angle = math.pi / 2 - 0.8
    assert np.allclose(two_tasks(angle, 2)[:3], [0.24270, 0.12489, 0.06427], rtol=0, atol=5e-6)
    assert np.allclose(two_tasks(angle, 2, first=2.0)[:3], [0.24270, 0.49957, 0.06427], rtol=0, atol=5e-6)


def test_a_ridge_to_the_last_point_is_descent_of_its_loss():
    optima, covariances, start = drawn(4, 3, 2, rank=2)
    path, theta = lt.sequences.ridge(optima, covariances, 0.7, start), start
    for t in range(4):
        gradient = 2 * covariances[t] @ (path[t] - optima[t]) + 2 * 0.7 * (path[t] - theta)
        assert abs(gradient).max() <= 1e3 * EPS * abs(covariances[t]).max()
        theta = path[t]


@given(TASKS, SEEDS)
def test_a_ridge_of_one_task_again_and_again_is_a_power(count, seed):
    C, rng = random_covariance(3, 10.0, 1.0, seed), np.random.default_rng(seed)
    start, values_vectors = rng.standard_normal(3), np.linalg.eigh(C)
    values, vectors = values_vectors
    path = lt.sequences.ridge(np.zeros((count, 3)), np.stack([C] * count), 0.5, start)
    want = vectors @ ((0.5 / (0.5 + values)) ** count * (vectors.T @ start))
    assert np.allclose(path[-1], want, rtol=0, atol=1e3 * EPS)


def test_a_ridge_without_strength_is_standard_training():
    optima, covariances, start = drawn(5, 4, 3, rank=2)
    want = lt.sequences.plain(optima, covariances, start)
    gaps = [abs(lt.sequences.ridge(optima, covariances, s, start) - want).max() for s in (1e-3, 1e-5)]
    assert gaps[1] < 0.02 * gaps[0] < 0.02


@pytest.mark.parametrize("strength", [1e-13, 1e-17, 1e-300, 5e-324])
def test_a_tiny_ridge_on_few_rows_is_standard_training(strength):
    """Two rows in six dimensions; the relative difference is λ over the least eigenvalue that is not 0."""
    rng = np.random.default_rng(0)
    X, optima = rng.normal(size=(1, 2, 6)), rng.normal(size=(1, 6))
    grams = X.transpose(0, 2, 1) @ X / 2
    want = lt.sequences.plain(optima, grams)
    assert abs(lt.sequences.ridge(optima, grams, strength) - want).max() <= 1e-12
    with jax.enable_x64(True):
        traced = jax.jit(lt.sequences.ridge)(jnp.asarray(optima), jnp.asarray(grams), strength)
        assert abs(traced - want).max() <= 1e-12


def test_a_ridge_has_derivatives_by_covariance_and_strength():
    optima, grams, start = drawn(3, 4, 7, rank=2)
    move = random_covariance(4, 3.0, 1.0, 1)
    moved = lambda h: lt.sequences.ridge(optima, grams + h * move, 0.4 + h, start)
    with jax.enable_x64(True):
        traced = lambda h: lt.sequences.ridge(optima, jnp.asarray(grams) + h * move, 0.4 + h, start)
        slope = jax.jvp(traced, (jnp.array(0.0),), (jnp.array(1.0),))[1]
        # A two-sided derivative needs a covariance that stays positive semi-definite on one side only: 4, −3, −1.
        ends = (4 * moved(5e-5) - 3 * moved(0.0) - moved(1e-4)) / 1e-4
        assert np.allclose(slope, ends, rtol=0, atol=1e-6)


@pytest.mark.parametrize("angle", [0.3, 1.1])
@pytest.mark.parametrize("strength", [0.2, 3.0])
def test_one_cycle_of_ridges_has_the_eigenvalues_worked_out(angle, strength):
    """Two unit rows: determinant (1 − c)², trace 2 − 2c + c²cos²θ, c = 1/(1 + λ)."""
    rows = np.array([[0.0, 1.0], [-math.sin(angle), math.cos(angle)]])
    cycle = np.stack(
        [
            lt.sequences.ridge(np.zeros((2, 2)), rows[:, :, None] * rows[:, None], strength, start)[-1]
            for start in np.eye(2)
        ],
        axis=1,
    )
    c = 1 / (1 + strength)
    assert near(np.linalg.det(cycle), (1 - c) ** 2, 100)
    assert near(np.trace(cycle), 2 - 2 * c + (c * math.cos(angle)) ** 2, 100)


def test_few_rows_simulated():
    """Each task on fresh rows, to convergence: where the squared distance to the second optimum is on average."""
    tasks, dim, n, noise, runs = 3, 12, 5, 0.5, 4000
    rng = np.random.default_rng(6)
    optima, start = rng.standard_normal((tasks, dim)) / math.sqrt(dim), np.zeros(dim)
    theta = np.tile(start, (runs, 1))
    for t in range(tasks):
        X = rng.standard_normal((runs, n, dim))
        y = X @ optima[t] + math.sqrt(noise) * rng.standard_normal((runs, n))
        theta = theta + (np.linalg.pinv(X) @ (y - (X @ theta[:, :, None])[..., 0])[..., None])[..., 0]
    distance = ((theta - optima[1]) ** 2).sum(axis=1)
    right = lambda noise=noise, a=optima[1]: lt.sequences.plain_distance(optima, a, n, noise)[-1]
    assert within_standard_errors(distance, right())
    for wrong in (
        right(noise=0.0),
        right(a=optima[0]),
        right() - n * noise / (dim - n - 1) + n * noise / dim,
    ):
        assert not within_standard_errors(distance, wrong)


def test_few_rows_in_the_closed_form():
    """(T21), written out: T = 5 tasks."""
    rng = np.random.default_rng(1)
    tasks, dim, n, noise = 5, 20, 8, 0.5
    optima, start, a = rng.standard_normal((tasks, dim)), rng.standard_normal(dim), rng.standard_normal(dim)
    kept = 1 - n / dim
    square = lambda x: ((x - a) ** 2).sum()
    want = kept**tasks * square(start) + (1 - kept**tasks) * dim * noise / (dim - n - 1)
    want += (1 - kept) * sum(kept ** (tasks - 1 - t) * square(optima[t]) for t in range(tasks))
    assert near(lt.sequences.plain_distance(optima, a, n, noise, start=start)[-1], want)


# ------------------------------------------------------------------------------------- a few rows for each dimension

RATIOS = st.floats(0.05, 3.0).filter(lambda ratio: abs(ratio - 1) > 0.05)
FEW = settings(max_examples=15)


def random_tasks(tasks, dim, seed):
    """Optima, covariances without small eigenvalues, noises and a start."""
    rng = np.random.default_rng(seed)
    optima, start = rng.standard_normal((tasks, dim)), rng.standard_normal(dim)
    covariances = np.stack([random_covariance(dim, 10.0, 1.0, seed + t) for t in range(tasks)])
    return optima, covariances, rng.uniform(0.2, 2, tasks), start


@FEW
@given(st.integers(1, 4), DIMS, SEEDS)
def test_with_very_many_rows_it_is_the_population(tasks, dim, seed):
    """FLOW's moving average, and a ridge with the tasks' own covariances."""
    optima, covariances, noise, start = random_tasks(tasks, dim, seed)
    tau = np.random.default_rng(seed + 9).uniform(0.3, 3, tasks)
    found = lt.sequences.sampled(optima, 1e-9, noise, temperatures=tau, covariances=covariances, start=start)
    want = lt.sequences.flow(optima, tau, noise, start)
    assert np.allclose(found.theta, want, rtol=0, atol=1e-6)
    assert np.allclose(found.displacement, tau / (tau + 2 * noise), rtol=1e-6)
    assert found.variance.max() <= 1e-5
    assert np.allclose(found.errors, lt.sequences.task_errors(want, optima, covariances), rtol=0, atol=1e-4)
    pulled = lt.sequences.sampled(optima, 1e-9, noise, ridge=0.7, covariances=covariances, start=start)
    assert np.allclose(pulled.theta, lt.sequences.ridge(optima, covariances, 0.7, start), rtol=0, atol=1e-6)
    wrong = lt.sequences.flow(optima, tau, 2 * noise, start)
    assert not np.allclose(found.theta, wrong, rtol=0, atol=1e-4)


@FEW
@given(DIMS, SEEDS, RATIOS, st.sampled_from([0.0, 0.3]), st.floats(0.5, 20.0))
def test_one_task_is_the_optimum(dim, seed, ratio, ridge, tau):
    optima, covariances, noise, start = random_tasks(1, dim, seed)
    found = lt.sequences.sampled(
        optima, ratio, noise, temperatures=tau, ridge=ridge, covariances=covariances, start=start
    )
    problem = lt.FineTuningProblem(start, optima[0], covariances[0], noise_variance=noise[0])
    want = lt.high_dimension.optimum(problem, ratio, ridge, tau)
    size = 1 + float(problem.shift @ problem.shift)
    assert np.allclose(found.theta[0], want.theta, rtol=0, atol=1e-9 * size)
    assert math.isclose(found.variance[0], want.variance, rel_tol=1e-8)
    assert math.isclose(found.displacement[0], want.displacement, rel_tol=1e-8)
    assert math.isclose(found.errors[0, 0], want.target_error, rel_tol=1e-8)


@FEW
@given(st.integers(1, 4), SEEDS, RATIOS, st.sampled_from([0.0, 0.3]), st.sampled_from([None, 2.0, math.inf]))
def test_the_identity_as_a_matrix_says_the_same(tasks, seed, ratio, ridge, tau):
    optima, _, noise, start = random_tasks(tasks, 4, seed)
    options = {"temperatures": tau, "ridge": ridge, "start": start}
    left_out = lt.sequences.sampled(optima, ratio, noise, **options)
    given_in = lt.sequences.sampled(
        optima, ratio, noise, covariances=np.stack([np.eye(4)] * tasks), **options
    )
    for name in ("theta", "variance", "displacement", "errors"):
        one, other = getattr(left_out, name), getattr(given_in, name)
        assert np.allclose(one, other, rtol=1e-8, atol=1e-8), name


@FEW
@given(st.integers(1, 3), SEEDS, st.floats(0.1, 0.8), st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_units_of_y_and_of_x_and_a_rotation_do_not_matter(tasks, seed, ratio, in_y, in_x):
    optima, covariances, noise, start = random_tasks(tasks, 3, seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    sampled = lambda y, x, turn: lt.sequences.sampled(
        y / x * optima @ turn, ratio, y * y * noise, temperatures=2.0 * y * y, ridge=0.2 * x * x,
        covariances=x * x * turn.T @ covariances @ turn, start=y / x * start @ turn,
    )  # fmt: skip
    want, found = sampled(1.0, 1.0, np.eye(3)), sampled(in_y, in_x, turn)
    assert np.allclose(found.errors, in_y**2 * want.errors, rtol=1e-8)
    assert np.allclose(
        found.theta @ turn.T * in_x / in_y, want.theta, rtol=0, atol=1e-8 * (1 + abs(want.theta).max())
    )


def test_what_no_row_of_a_task_sees_stays_where_it_was():
    """With many rows standard training is ``plain``; with few, too, it leaves a null direction as it found it."""
    optima, covariances, noise, start = random_tasks(3, 3, 2)
    values, vectors = np.linalg.eigh(covariances)
    null, values[:, 0] = vectors[:, :, 0], 0.0
    singular = (vectors * values[:, None]) @ vectors.transpose(0, 2, 1)
    singular = (singular + singular.transpose(0, 2, 1)) / 2
    many = lt.sequences.sampled(optima, 1e-9, noise, covariances=singular, start=start)
    assert np.allclose(many.theta, lt.sequences.plain(optima, singular, start), rtol=0, atol=1e-8)
    few = lt.sequences.sampled(optima, 0.4, noise, temperatures=1.0, covariances=singular, start=start)
    moved = np.diff(np.vstack([start, few.theta]), axis=0)
    assert abs(moved).max(axis=1).min() > 1e-2
    assert abs((null * moved).sum(axis=1)).max() < 1e-12


def test_standard_training_forgets_all_but_the_last_and_adds_its_spread():
    optima, covariances, noise, start = random_tasks(4, 3, 1)
    found = lt.sequences.sampled(optima, 0.4, noise, covariances=covariances, start=start)
    assert np.allclose(found.theta, optima, rtol=0, atol=1e-12)
    inverses = np.linalg.inv(covariances)
    spread = noise * 0.4 / 0.6 / 3
    assert np.allclose(found.variance, spread * inverses.trace(axis1=1, axis2=2), rtol=1e-10)
    want = lt.sequences.task_errors(optima, optima, covariances)
    want = want + spread[:, None] * np.einsum("tij,sij->ts", inverses, covariances)
    assert np.allclose(found.errors, want, rtol=1e-10)


@pytest.mark.parametrize("tau", [math.inf, 3.0, None])
def test_with_fewer_rows_than_dimensions_it_is_the_exact_law(tau):
    """Up to O(1/d): the noise has d in place of d − 1; weights do not matter."""
    rng = np.random.default_rng(2)
    dim, rows = 40_000, 16_000
    optima, start = rng.standard_normal((3, dim)) / math.sqrt(dim), rng.standard_normal(dim) / math.sqrt(dim)
    found = lt.sequences.sampled(optima, dim / rows, 0.5, temperatures=tau, start=start)
    want = lt.sequences.plain_distance(optima, optima[0], rows, 0.5, start=start)
    assert np.allclose(found.errors[:, 0], want, rtol=3 / dim)
    assert not np.allclose(found.errors[:, 0], want + 0.5 / 1000, rtol=3 / dim)


def test_the_median_is_that_of_the_losses_each_task_begins_with():
    optima, covariances, noise, start = random_tasks(4, 3, 5)
    found = lt.sequences.sampled(optima, 0.3, noise, temperatures=None, covariances=covariances, start=start)
    before = [float((start - optima[0]) @ covariances[0] @ (start - optima[0]))]
    squares = before + [found.errors[t - 1, t] for t in range(1, 4)]
    tau = 0.454936423119572 * (np.array(squares) + noise)
    given_in = lt.sequences.sampled(
        optima, 0.3, noise, temperatures=tau, covariances=covariances, start=start
    )
    assert np.allclose(found.errors, given_in.errors, rtol=1e-12)


def test_where_nothing_is_left_to_learn_nothing_moves():
    optima = np.ones((3, 2))
    found = lt.sequences.sampled(optima, 0.5, temperatures=None)
    assert np.allclose(found.theta, optima, rtol=0, atol=1e-15)
    assert np.allclose(found.errors, 0, rtol=0, atol=1e-15)


def test_a_few_rows_for_each_dimension_simulated():
    """FLOW with a ridge, one covariance a task; refused: weights that do not flatten, a spread not carried on."""
    dim, rows, runs, noise = 80, 200, 150, 0.5
    rng = np.random.default_rng(4)
    optima = rng.standard_normal((3, dim)) / math.sqrt(dim)
    scales = np.exp(rng.uniform(-0.7, 0.7, (3, dim)))
    covariances = np.stack([np.diag(s) for s in scales])
    ends = []
    for _ in range(runs):
        theta = np.zeros(dim)
        for optimum, scale in zip(optima, scales, strict=True):
            X = rng.standard_normal((rows, dim)) * np.sqrt(scale)
            r = X @ (optimum - theta) + math.sqrt(noise) * rng.standard_normal(rows)
            weighted = X * np.exp(-(r**2))[:, None]
            theta = theta + np.linalg.solve(weighted.T @ X / rows + 0.05 * np.eye(dim), weighted.T @ r / rows)
        ends.append([(theta - a) @ (s * (theta - a)) for a, s in zip(optima, scales, strict=True)])
    ends = np.array(ends)
    options = {"temperatures": 1.0, "ridge": 0.05, "covariances": covariances}
    right = lt.sequences.sampled(optima, dim / rows, noise, **options)
    assert all(within_standard_errors(ends[:, j], right.errors[-1, j]) for j in range(3))
    many = lt.sequences.sampled(optima, 1e-6, noise, **options)
    alone = lt.sequences.sampled(optima[-1:], dim / rows, noise, start=right.theta[-2], temperatures=1.0, ridge=0.05,
                                 covariances=covariances[-1:])  # fmt: skip
    for wrong in (many.errors[-1, 2], alone.errors[-1, 0]):
        assert not within_standard_errors(ends[:, 2], wrong)


def test_it_cannot_be_traced_and_names_the_temperatures():
    with pytest.raises(lt.InvalidTypeError, match="NumPy only"):
        jax.jit(lambda optima: lt.sequences.sampled(optima, 0.5).errors)(jnp.ones((2, 2)))
    with pytest.raises(lt.InvalidValueError, match="in task 2 must be at least") as caught:
        lt.sequences.sampled([[1.0], [1.0]], 0.5, 1.0, temperatures=[1.0, 1e-12])
    assert caught.value.argument == "temperatures"
    assert isinstance(lt.sequences.sampled(jnp.ones((2, 2)), 0.5).theta, np.ndarray)


# ----------------------------------------------------------------------------------------------------------- JAX


def test_jax_says_the_same_under_jit_and_has_derivatives():
    optima, covariances, start = drawn(3, 3, 5, rank=2)
    spaces = {
        "flow": lambda o, c, s: lt.sequences.flow(o, jnp.array([0.5, 1.0, math.inf]), 0.3, s),
        "plain": lt.sequences.plain,
        "ridge": lambda o, c, s: lt.sequences.ridge(o, c, 0.4, s),
        "errors": lambda o, c, s: lt.sequences.task_errors(o + s, o, c),
        "distance": lambda o, c, s: lt.sequences.plain_distance(o, s, 1, 0.1),
    }
    with jax.enable_x64(True):
        given = [jnp.asarray(x) for x in (optima, covariances, start)]
        for name, function in spaces.items():
            want = np.asarray(function(optima, covariances, start))
            assert np.allclose(jax.jit(function)(*given), want, rtol=0, atol=1e-12), name
            move = np.random.default_rng(0).standard_normal(3)
            slope = jax.jvp(lambda s, f=function: f(*given[:2], s), (given[2],), (jnp.asarray(move),))[1]
            ends = [function(optima, covariances, start + h * move) for h in (1e-6, -1e-6)]
            assert np.allclose(slope, (ends[0] - ends[1]) / 2e-6, atol=1e-7), name


def test_under_tracing_a_bad_value_is_nan():
    traced = jax.jit(lambda tau: lt.sequences.flow(np.ones((2, 1)), tau, 1.0))
    assert np.isnan(traced(jnp.array([-1.0, 1.0]))).any()


@pytest.mark.parametrize("unit", [1e-200, 1e-160, 1e-140, 1e-69, 1e69, 1e140])
@pytest.mark.parametrize("covariances", [None, np.stack([np.diag([1.0, 2.0, 0.5])] * 3)])
@pytest.mark.parametrize("tau", [math.inf, 2.0, None])
def test_no_unit_of_labels_is_too_small_or_too_large(unit, covariances, tau):
    """Optima times c: means times c, shares the same; errors times c², 0 only where that has no float."""
    optima, options = np.eye(3), {"covariances": covariances}
    if tau == 2.0 and unit < 1e-150:
        return  # a temperature that has no float
    noise = 0.5 if unit > 1e-150 else 0.0
    in_units = tau * unit**2 if tau == 2.0 else tau
    with np.errstate(all="raise", under="ignore"):
        want = lt.sequences.sampled(optima, 0.4, noise, temperatures=tau, **options)
        found = lt.sequences.sampled(unit * optima, 0.4, noise * unit**2, temperatures=in_units, **options)
    assert found.theta / unit == pytest.approx(want.theta, rel=1e-9, abs=1e-12)
    assert found.displacement == pytest.approx(want.displacement, rel=1e-9)
    assert found.variance == pytest.approx(unit**2 * want.variance, rel=1e-9, abs=0)
    assert found.errors == pytest.approx(unit**2 * want.errors, rel=1e-9, abs=1e-12 * unit**2)


@pytest.mark.parametrize("unit", [2.0**-940, 2.0**-500, 2.0**940])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_no_unit_of_features_is_too_small_or_too_large(unit, ridge):
    """Covariances, noise and ridge times c: the same means and shares, and errors times c."""
    optima, covariances = np.eye(3), np.stack([np.diag([1.0, 2.0, 0.5])] * 3)
    sampled = lambda c: lt.sequences.sampled(
        optima, 0.4, 0.5 * c, temperatures=2.0 * c, ridge=ridge * c, covariances=covariances * c
    )
    with np.errstate(all="raise", under="ignore"):
        want, found = sampled(1.0), sampled(unit)
    for name, size in (("theta", 1.0), ("variance", 1.0), ("displacement", 1.0), ("errors", unit)):
        assert np.allclose(getattr(found, name) / size, getattr(want, name), rtol=1e-11, atol=1e-14), name


@pytest.mark.parametrize(
    ("name", "bad", "remedy"),
    [
        ("ratio", 1e-300, "from 1e-100 to 1e100"),
        ("ratio", 1e300, "from 1e-100 to 1e100"),
        ("optima", 1e160 * np.eye(3), "squares beyond the largest float"),
        ("optima", 1e200 * np.eye(3), "squares beyond the largest float"),
        ("covariances", np.zeros((3, 3, 3)), "in task 1 .* no row says anything"),
        ("covariances", 1e-302 * np.stack([np.eye(3)] * 3), "in task 1 .* rescale x"),
        ("covariances", 1e302 * np.stack([np.eye(3)] * 3), "in task 1 .* rescale x"),
    ],
)
def test_what_has_no_float_is_refused_by_the_name_it_was_given_under(name, bad, remedy):
    arguments = {"optima": np.eye(3), "ratio": 0.5, "noise_variances": 0.5, name: bad}
    with (
        np.errstate(all="raise", under="ignore"),
        pytest.raises(lt.InvalidValueError, match=remedy) as caught,
    ):
        lt.sequences.sampled(**arguments)
    assert caught.value.argument == name


@pytest.mark.parametrize(
    "bad", [[[1.0, 0.1], [0.2, 1.0]], [[1.0, 0.0], [0.0, -1e-3]]], ids=["skew", "indefinite"]
)
@pytest.mark.parametrize("order", [1, -1])
def test_each_covariance_is_judged_by_its_own_size(bad, order):
    """Not by that of another task, which is much larger and as it should be."""
    covariances = [np.array(bad), 1e15 * np.eye(2)][::order]
    with pytest.raises(lt.InvalidValueError, match="each of them") as caught:
        lt.sequences.plain(np.eye(2), covariances)
    assert caught.value.argument == "covariances"


def test_the_most_rows_that_are_told_are_taken():
    few = lambda rows: lt.sequences.plain_distance(np.eye(6), np.zeros(6), rows)
    with pytest.raises(lt.InvalidValueError, match="must be from 1 to") as caught:
        few(6)
    (told,) = re.findall(r"= (\d+),", caught.value.remedy)
    assert np.isfinite(few(int(told))).all()
    with pytest.raises(lt.InvalidValueError, match="must be from 1 to"):
        few(int(told) + 1)


def test_the_lowest_temperature_that_is_told_is_taken_in_the_unit_that_is_told():
    path = lambda tau: lt.sequences.sampled([[8000.0], [4000.0]], 0.5, 1.0, temperatures=[1e9, tau])
    with pytest.raises(lt.InvalidValueError, match="in task 2 must be at least") as caught:
        path(1e-6)
    least, unit = (
        float(x) for x in re.search(r"least (\S+), .*where (\S+) is", caught.value.remedy).groups()
    )
    assert np.isfinite(path(1.01 * least * unit**2).theta).all()
    with pytest.raises(lt.InvalidValueError, match="must be at least"):
        path(0.99 * least * unit**2)


def test_a_step_with_no_float_beside_the_noise_is_refused_by_the_name_it_was_given_under():
    with pytest.raises(lt.InvalidValueError, match="in task 1 is so far") as caught:
        lt.sequences.sampled(np.eye(3), 0.5, 1e308)
    assert caught.value.argument == "optima"


def test_the_largest_ridge_is_taken_and_holds_everything():
    with np.errstate(all="raise", under="ignore"):
        found = lt.sequences.sampled(np.eye(3), 0.5, 0.5, ridge=1e100, start=np.ones(3))
    assert found.theta == pytest.approx(np.ones_like(found.theta))
