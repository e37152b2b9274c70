"""The best of FLOW over temperature and time (T27): a table derived elsewhere, brute force, and where no rule holds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.choice import flow as best_flow_of
from linear_theory.testing.tolerances import bound, near
from tests.laws import RHOS, problems
from tests.strategies import log_uniform


def plane(rho, a, b, c, noise=0.0):
    return lt.paper_problem(rho, pretrain_covariance=np.array([[a, c], [c, b]]), noise_variance=noise)


TABLE = [
    ((0.8, 1.5, 1.5, -0.4), 0.4319, "early stopping"),
    ((0.9, 1, 1, 0), 0.3730, "joint optimum"),
    ((0.5, 4, 2, 1), 0.7843, "joint optimum"),
    ((0.3, 2, 1.5, 0.7), 0.6667, "averaging"),
    ((0.7, 3, 3, 1.9), 0.7489, "joint optimum"),
    ((0.95, 8, 2, -2), 0.6302, "early stopping"),
    ((0.4, 2, 9, -2.5), 0.5248, "joint optimum"),
    ((0.6, 1, 1, 0), 0.4505, "joint optimum"),
    ((0.6, 2, 2, 0.9), 0.6622, "joint optimum"),
    ((0.6, 1.5, 5, 1.3), 0.6000, "averaging"),
    ((0.9, 5, 1.5, -1.3), 0.5582, "early stopping"),
    ((0.9, 1.5, 5, -1.3), 0.4107, "joint optimum"),
    ((0.3, 13, 160, -37), 0.796849, "joint optimum"),
]


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(("cell", "error", "winner"), TABLE)
def test_a_table_computed_elsewhere(cell, error, winner, noise):
    """Noise changes where the best is found, and neither what it is nor who wins."""
    best = lt.best_flow(plane(*cell, noise))
    assert best.winner == winner
    assert abs(best.total_error - error) <= 0.5 * 10.0 ** -(len(str(error)) - 2) if error != 0.6 else 1e-12
    if winner == "averaging":
        assert best.time == math.inf
        assert near(best.temperature, 2 * noise / cell[1], bound())


@st.composite
def any_plane(draw):
    """Every Σ̃ of two dimensions, every Σ, with noise or without."""
    return draw(problems(dims=st.just(2), largest=3.0, pretrain=True))


@given(any_plane())
def test_in_two_dimensions_no_temperature_and_time_are_better_and_these_give_it(problem):
    best = lt.best_flow(problem)
    size = float(problem.shift_variance)
    for tau in np.append(size * np.geomspace(1e-4, 1e4, 30), math.inf):
        times = np.geomspace(1e-3, 1e3, 60) / lt.weight_mass(problem, tau)
        least = lt.total_error(problem, lt.gradient_flow(problem, times, tau)).min()
        assert best.total_error <= least * (1 + bound(1e3))
    assert best.winner != "between"
    assert near(best.total_error, lt.total_error(problem, best.theta), bound())
    if best.temperature > 0:
        reached = lt.gradient_flow(problem, best.time, best.temperature)
        assert near(lt.total_error(problem, reached), best.total_error, bound(1e3))
    if best.winner == "joint optimum":
        wanted = lt.total_error(problem, lt.joint_optimum(problem))
        assert near(best.total_error, wanted, bound(1e4))
    if best.winner == "averaging":
        wanted = lt.total_error(problem, lt.best_model_average(problem))
        assert near(best.total_error, wanted, bound(1e3))


@given(RHOS, log_uniform(0.1, 10), log_uniform(0.1, 10), st.floats(-0.99, 0.99))
def test_averaging_wins_exactly_where_the_old_task_couples_more_than_the_new(rho, a, b, coupling):
    c = coupling * math.sqrt(a * b)
    if rho > 1e-3 and abs(c - rho * a) > 1e-9:
        assert (lt.best_flow(plane(rho, a, b, c)).winner == "averaging") == (c > rho * a)


@given(problems(dims=st.integers(3, 5), largest=1.0, pretrain=True))
def test_in_more_dimensions_it_is_at_least_as_good_as_both_ends_and_no_better_than_the_joint_optimum(problem):
    best = lt.best_flow(problem)
    ends = (
        lt.best_early_stop(problem).total_error,
        lt.total_error(problem, lt.best_model_average(problem)),
    )
    assert best.total_error <= min(ends) * (1 + 1e-9)
    assert best.total_error >= lt.total_error(problem, lt.joint_optimum(problem)) * (1 - bound(1e4))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_search_of_its_own_in_four_dimensions(noise):
    """A fine grid finds nothing lower, and the minimum is a stationary point of both parameters."""
    rng = np.random.default_rng(7)
    square = lambda: (lambda m: m @ m.T / 4 + 0.3 * np.eye(4))(rng.standard_normal((4, 4)))
    problem = lt.FineTuningProblem(2 * rng.standard_normal(4), np.zeros(4), square(), square(), noise)
    best = lt.best_flow(problem)
    assert best.winner == "between"
    error = lambda tau, time: lt.total_error(problem, lt.gradient_flow(problem, time, tau))
    for tau in np.geomspace(1e-2, 1e4, 200):
        assert best.total_error <= error(tau, np.geomspace(1e-2, 1e3, 300)).min() * (1 + 1e-9)
    for factor in (1 - 1e-3, 1 + 1e-3):
        assert error(best.temperature * factor, best.time) >= best.total_error
        assert error(best.temperature, best.time * factor) >= best.total_error


@pytest.mark.parametrize(("in_x", "in_y"), [(1.0, 1.0), (8.0, 0.125)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_point_that_flow_passes_is_found_where_it_is_the_joint_optimum(noise, in_x, in_y):
    """In three dimensions: (Σ + Σ̃)h = −Σ̃e at the point h that FLOW reaches at τ = 1 and t = 0.7; in any units."""
    new, e = np.diag([0.3, 1.0, 2.5]), np.array([1.0, 0.8, -0.6])
    h = lt.gradient_flow(lt.FineTuningProblem(e, 0 * e, new, noise_variance=noise), 0.7, 1.0) - e
    pull = -new @ (e + h)
    old = np.outer(pull, pull) / (pull @ h) + np.eye(3) - np.outer(h, h) / (h @ h)
    problem = lt.FineTuningProblem(
        e * in_y / in_x, 0 * e, new * in_x**2, old * in_x**2, noise_variance=noise * in_y**2
    )
    best = lt.best_flow(problem)
    assert best.winner == "joint optimum"
    assert near(best.total_error, in_y**2 * (e + h) @ new @ e, bound(1e3))
    assert [best.temperature / in_y**2, best.time * in_x**2] == pytest.approx([1.0, 0.7], rel=1e-5)


class TwoValleys:
    """In place of a problem's modes: x is (log τ, log of what is gone to what is left), the error a landscape of it."""

    variance = temperature_unit = rate_unit = 1.0
    optimum = np.zeros(2)

    def weighted(self, tau):
        return SimpleNamespace(values=np.ones((len(tau), 1)), moved=self.moved)

    def displacement(self, tau):
        return tau

    def mass(self, tau):
        return 1.0

    def moved(self, factors, displacement):
        left = factors[..., 0]
        return np.stack([np.log(displacement)[:, None] + 0 * left, np.log(1 / left - 1)], axis=-1)

    def error(self, x):
        """A wide valley with its lowest point on the grid, and a narrow one, which is deeper between its points."""
        slope, wide, narrow = 0.01 * x[..., 0] ** 2, x[..., 1] ** 2, (x[..., 1] - 4.2) ** 2
        return np.minimum(1 + slope + 4 * wide, 0.5 + slope + 20 * narrow)


def test_the_search_goes_down_into_the_two_lowest_valleys_and_not_twice_into_one():
    """Along the wide one, whose floor is nearly flat, every point of the grid is lower than the narrow one's lowest."""
    landscape, far = TwoValleys(), np.array([9.0, 9.0])
    nowhere = (far, best_flow_of._Found(1.0, 1.0, math.nan, "far"))
    x, _ = best_flow_of._by_search(landscape, nowhere, nowhere)
    assert x == pytest.approx([0.0, 4.2], abs=1e-6)
    grid = np.stack(np.meshgrid(np.linspace(-6, 6, 97) * math.log(10), np.linspace(-12, 12, 61)), axis=-1)
    lowest = grid.reshape(-1, 2)[np.argsort(landscape.error(grid).ravel())[:9]]
    assert abs(lowest[:, 1]).max() < 1e-9


def test_the_ends():
    still = lt.best_flow(lt.FineTuningProblem([1.0, 1.0], [1.0, 1.0], np.eye(2)))
    assert (still.time, still.total_error, still.winner) == (0, 0, "early stopping")
    half_seen = lt.FineTuningProblem([1.0, 1.0], np.zeros(2), np.diag([1.0, 0.0]), np.diag([3.0, 1.0]))
    assert near(lt.best_flow(half_seen).total_error, 0.75, bound())
    free = lt.FineTuningProblem([1.0, 1.0], np.zeros(2), np.diag([1.0, 2.0]), np.zeros((2, 2)))
    assert lt.best_flow(free).total_error == 0


def test_every_kind_of_covariance_says_the_same():
    small, large = (lt.best_flow(lt.paper_problem(0.6, dim=dim)) for dim in (2, 10**6))
    assert near(large.temperature, small.temperature, bound(1e3))
    decay, old = np.linspace(0.5, 1, 40), np.diag(np.linspace(3, 0.1, 40))
    matrix, operator = (
        lt.best_flow(lt.FineTuningProblem(np.ones(40), np.zeros(40), kind, old))
        for kind in (np.diag(decay), lt.covariance.Operator(lambda v: decay * v, 40))
    )
    assert matrix.winner == operator.winner
    assert near(operator.total_error, matrix.total_error, 1e-9)


@pytest.mark.parametrize(("new", "length"), [(1e60, 1.0), (1e-60, 1.0), (1.0, 1e60), (1.0, 1e-60)])
def test_units(new, length):
    matrix, old, e = np.array([[1.0, 0.3], [0.3, 2.0]]), np.diag([1.0, 2.0]), np.array([1.0, 0.5])
    want = lt.best_flow(lt.FineTuningProblem(e, np.zeros(2), matrix, old, 0.2))
    found = lt.best_flow(
        lt.FineTuningProblem(length * e, np.zeros(2), new * matrix, new * old, 0.2 * new * length**2)
    )
    assert found.winner == want.winner
    assert near(found.total_error / new / length**2, want.total_error, bound(1e3))
    assert near(found.time * new, want.time, bound(1e4))
    assert near(found.temperature / new / length**2, want.temperature, bound(1e4))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_where_the_old_task_does_not_see_the_shift_one_trains_to_convergence_and_weights_are_idle(noise):
    problem = lt.FineTuningProblem([1.0, 0.5], [0.0, 0.0], np.diag([1.0, 2.0]), np.zeros((2, 2)), noise)
    best = lt.best_flow(problem)
    assert (best.temperature, best.time) == (math.inf, math.inf)
    assert best.total_error == 0
