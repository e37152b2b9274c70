"""Columns, labels, weights and starts of any size; columns that are only rounding; what the answer says of itself."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.tolerances import EPS, VACUOUS, near
from tests.descents import curvatures
from tests.strategies import random_data

SOLVERS = {
    "gradient descent": lt.descent.GradientDescent(),
    "heavy ball": lt.descent.HeavyBall(),
    "Nesterov": lt.descent.Nesterov(),
    "conjugate gradients": lt.descent.ConjugateGradient(),
    "stochastic gradients": lt.descent.StochasticGradient(2),
}
ROWS = random_data(6, 2, 2, condition=2.0, seed=4, weights=True)


def walked(columns, labels, weights, solver):
    """In other units: powers of two, so that the same path has the same digits."""
    X, y = np.ldexp(ROWS.X, columns), np.ldexp(ROWS.y, labels)
    start = np.ldexp(ROWS.start, labels - columns)
    path = lt.descend(X, y, start, np.ldexp(ROWS.weights, weights), solver=solver, steps=[1, 9])
    return np.ldexp(path.theta, columns - labels), path


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    ("columns", "labels", "weights"),
    [
        (-525, 0, 0),
        (-996, 0, 0),
        (-333, 0, 0),
        (333, 0, 0),
        (500, 0, 0),
        (996, 0, 0),
        (0, -600, 0),
        (0, 500, 0),
        (0, 0, -1000),
        (0, 0, 900),
        (-996, -333, 664),
    ],
)
def test_units_do_not_change_the_path(name, columns, labels, weights):
    want, plain = walked(0, 0, 0, SOLVERS[name])
    found, path = walked(columns, labels, weights, SOLVERS[name])
    assert near(found, want, 100.0)
    assert path.status == plain.status
    slope = np.ldexp(path.gradient_norm, -columns - labels - weights)
    assert near(slope, plain.gradient_norm, 100.0, 1.0)  # at the end of conjugate gradients it is rounding
    if labels > -500:
        assert near(np.ldexp(path.loss, -2 * labels - weights), plain.loss, 100.0)
    # What is told beside the path is in the units given, too.
    for name in ("start", "distance", "roundings"):
        got, told = np.ldexp(getattr(path, name), columns - labels), getattr(plain, name)
        assert near(
            got, told, 1e3, abs(want).max() * (plain.roundings.max() if name == "roundings" else 1)
        ), name


@pytest.mark.parametrize("weights", [None, ROWS.weights], ids=["", "weighted"])
@pytest.mark.parametrize("columns", [-996, 996])
def test_rows_of_one_sign_have_the_size_of_those_of_the_other(columns, weights):
    """−X and −y have the same loss: the same path to the bit, also where no entry is above 0."""
    X, start = np.ldexp(abs(ROWS.X), columns), np.ldexp(ROWS.start, -columns)
    one, other = (
        lt.descend(sign * X, sign * ROWS.y, start, weights, steps=[1, 9]).theta for sign in (1.0, -1.0)
    )
    assert np.array_equal(one, other)
    assert not np.array_equal(one, [start] * 2)


@pytest.mark.parametrize(("columns", "labels"), [(-500, 0), (333, 0), (0, -600), (-500, -600)])
def test_a_step_and_a_tolerance_of_ones_own_stop_at_the_same_place_in_any_units(columns, labels):
    """A step size is in the units of 1/∇²L, a tolerance in none."""
    for kind in (lt.descent.GradientDescent, lt.descent.ConjugateGradient):
        ends = []
        for k, m in ((0, 0), (columns, labels)):
            rate = (
                {"learning_rate": np.ldexp(0.9 / curvatures(ROWS)[0], -2 * k)}
                if kind is lt.descent.GradientDescent
                else {}
            )
            rows = np.ldexp(ROWS.X, k), np.ldexp(ROWS.y, m), np.ldexp(ROWS.start, m - k), ROWS.weights
            path = lt.descend(*rows, solver=kind(**rate, tolerance=1e-3), steps=200)
            ends.append((path.status, int(path.steps[-1]), np.ldexp(path.theta[-1], k - m)))
        assert ends[0][:2] == ends[1][:2] == ("converged", ends[0][1])
        assert ends[0][1] < 200
        assert near(ends[1][2], ends[0][2], 100.0)


@pytest.mark.parametrize("name", SOLVERS)
def test_labels_too_small_to_be_seen_beside_the_start_are_as_good_as_none(name):
    walk = lambda y: lt.descend(ROWS.X, y, ROWS.start, ROWS.weights, solver=SOLVERS[name], steps=[1, 9])
    small, none = walk(np.ldexp(ROWS.y, -900)), walk(np.zeros(6))
    assert near(small.theta, none.theta, 100.0)
    assert near(small.loss, none.loss, 100.0, float(none.start_loss))


def test_what_no_float_holds_is_refused():
    with pytest.raises(lt.InvalidValueError, match=r"y.*squared residuals overflow; rescale y"):
        walked(0, 600, 0, None)
    with pytest.raises(lt.InvalidValueError, match=r"X.*beside y that the path overflows"):
        lt.descend(np.ldexp(ROWS.X, -900), np.ldexp(ROWS.y, 400), np.zeros(2))

    class Own:
        def init(self, objective, displacement):
            return 0.1

        def step(self, objective, displacement, size):
            return displacement - size * objective.gradient(displacement), size

    with pytest.raises(lt.InvalidValueError, match=r"X.*so small that squares underflow"):
        walked(-600, 0, 0, Own())


@pytest.mark.parametrize("offset", [1e8, 3e7, 1e10, 1e14])
def test_sums_say_where_they_cannot_see(offset):
    """A column far from zero beside a constant: the sums say so, and the rows tell the slope."""
    rng = np.random.default_rng(0)
    x = offset + rng.standard_normal(50).round(1)
    X, y = np.column_stack([np.ones(50), x]), 2 * (x - offset)
    sums = lt.NormalEquations.of(X, y, np.zeros(2)).solve()
    assert sums.condition == np.inf
    assert "use solve() on the rows" in sums.advice
    rows = lt.solve(X, y, np.zeros(2))
    assert abs(rows.theta[1] - 2) <= rows.error_bound[1]
    assert rows.error_bound[1] < 0.1 or offset > 1e13


def test_sums_that_see_everything_say_their_condition():
    for rank, shape in ((2, (6, 2)), (3, (3, 5))):  # wide rows of full rank hide nothing
        data = random_data(*shape, rank, condition=3.0, seed=1)
        assert lt.NormalEquations.of(data.X, data.y, data.start).solve().condition < 10
    zeros = np.column_stack([np.arange(1.0, 5.0), np.zeros(4)])  # nor do columns of zeros
    assert lt.NormalEquations.of(zeros, np.ones(4), np.zeros(2)).solve().condition == 1


CENTRED = [0.1, 1e-3, 7.7, 1e5 / 3, 1e30 / 7]


@pytest.mark.parametrize("constant", CENTRED)
@pytest.mark.parametrize("digits", [1, 2, 3])
def test_what_centring_leaves_of_a_constant_is_no_column(constant, digits):
    """The mean off by a few units of the last place; θ is that of the other columns alone."""
    rng = np.random.default_rng(digits)
    x = rng.standard_normal((12, 2))
    x -= x.mean(axis=0)
    left = digits * np.spacing(constant)
    X, y, scale = (
        np.column_stack([x[:, 0], np.full(12, left), x[:, 1]]),
        rng.standard_normal(12),
        [3, constant, 3],
    )
    start, weights = np.array([1.0, -3.0, 0.5]), rng.uniform(0.5, 1.0, 12)
    only = [0, 2]
    for ridge in (0.0, 0.1):
        want = lt.solve(x, y, start[only], weights, ridge).theta
        sums = lt.NormalEquations.of(X, y, start, weights, column_scale=scale)
        for found in (lt.solve(X, y, start, weights, ridge, column_scale=scale), sums.solve(ridge)):
            assert near(found.theta[only], want, 100.0)
            assert near(found.theta[1], -3.0)
    path = lt.descend(X, y, start, weights, steps=[10**6], column_scale=scale)
    assert near(path.theta[-1][only], lt.solve(x, y, start[only], weights).theta, 1e3)
    assert path.theta[-1][1] == -3.0
    cold = lt.temperature_path(X, y, start, [1.0, np.inf], column_scale=scale).theta
    assert np.array_equal(cold[:, 1], [-3.0, -3.0])
    told = lt.solve(X, y, start, weights)  # without being told, it is a column
    assert told.rank == 3
    assert ("column_scale" in told.advice) == (left < 1e-12 or left > 1e12)


@pytest.mark.parametrize("columns", [-500, 500])
def test_what_centring_leaves_is_no_column_in_any_units(columns):
    x = np.random.default_rng(1).standard_normal((12, 2))
    X, start = np.column_stack([x[:, 0], np.full(12, np.spacing(7.7)), x[:, 1]]), np.array([1.0, -3.0, 0.5])
    walk = lambda k: lt.descend(
        np.ldexp(X, k),
        x[:, 0] ** 2,
        np.ldexp(start, -k),
        steps=[10**6],
        column_scale=np.ldexp([3.0, 7.7, 3.0], k),
    )
    want, found = walk(0), np.ldexp(walk(columns).theta, columns)
    assert near(found, want.theta, 100.0)
    assert found[0, 1] == -3.0
    assert abs(found[0, 0] - 1.0) > 0.1


def test_the_column_that_may_be_rounding_is_named_with_its_size():
    """Beside the largest, wherever that stands."""
    X = np.random.default_rng(2).choice([-1.0, 1.0], (16, 4)) * [2.0, 8.0, 1.0, 4e-14]
    advice = lt.solve(X, np.arange(16.0), np.zeros(4)).advice
    assert advice.startswith("column 3 is 5e-15 times as large as the largest")


def test_a_column_of_numbers_below_zero_is_as_large_as_they_are():
    """Of which the largest is the smallest: known to a thousandth of that, it is no rounding."""
    X = -np.random.default_rng(3).uniform(1.0, 2.0, (9, 2))
    y = X @ [1.0, -2.0]
    for found in (lt.solve(X, y, np.zeros(2), column_scale=[1e3, 0.0]),
                  lt.streaming.solve([(X, y)], np.zeros(2), column_scale=[1e3, 0.0])):  # fmt: skip
        assert found.rank == 2
        assert np.allclose(found.theta, [1.0, -2.0], rtol=1e-10)


def test_columns_that_differ_by_rounding_are_one():
    """Years, and years times 1.1, centred."""
    rng = np.random.default_rng(5)
    years = 2000.0 + rng.integers(0, 20, 30)
    X = np.column_stack([years - years.mean(), 1.1 * years - (1.1 * years).mean()])
    y = X[:, 0] + rng.standard_normal(30)
    slope = float(X[:, 0] @ y / (X[:, 0] @ X[:, 0]))
    found = lt.solve(X, y, np.zeros(2), column_scale=[2020.0, 2222.0])
    assert found.rank == 1
    assert np.allclose(found.theta, slope * np.array([1, 1.1]) / (1 + 1.1**2), rtol=1e-9)
    assert abs(lt.solve(X, y, np.zeros(2)).theta).max() > 1e6


@pytest.mark.parametrize("small", [1e-12, 1e-30, 1e-100, 1e-250])
def test_honest_columns_stay_however_small(small):
    data = random_data(8, 3, 3, condition=3.0, seed=2)
    unit = np.array([1.0, small, 1.0])
    start = data.start / unit
    for scale in (None, [1.0, small, 1.0], [0.0, 0.0, 0.0]):
        found = lt.solve(data.X * unit, data.y, start, column_scale=scale)
        assert found.rank == 3
        assert near(found.theta * unit, lt.solve(data.X, data.y, data.start).theta, 1e3)


@pytest.mark.parametrize("bad", [[1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], "ab"])
def test_bad_column_scales(bad):
    with pytest.raises((lt.InvalidValueError, lt.InvalidTypeError), match="column_scale"):
        lt.solve(np.eye(2), np.ones(2), np.zeros(2), column_scale=bad)


def exactly(X, y):
    """Two columns, by Cramer's rule in fractions."""
    rows = [[Fraction(v) for v in row] for row in X.tolist()]
    labels = [Fraction(v) for v in y.tolist()]
    a, b, c = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    p, q = (sum(r[i] * v for r, v in zip(rows, labels, strict=True)) for i in (0, 1))
    return [(c * p - b * q) / (a * c - b * b), (a * q - b * p) / (a * c - b * b)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e3, 1e9])
@pytest.mark.parametrize("mean", [0.0, 3.0, 1e4])
def test_the_stated_error_holds_in_the_coordinates_given(seed, unit, mean):
    rng = np.random.default_rng(seed)
    x = unit * (mean + rng.standard_normal(20))
    X, y = np.column_stack([np.ones(20), x]), 1 + 2 * x / unit + rng.standard_normal(20)
    solution = lt.solve(X, y, np.zeros(2))
    for found, want, bound in zip(solution.theta, exactly(X, y), solution.error_bound, strict=True):
        assert abs(Fraction(found) - want) <= Fraction(bound)
        assert bound <= VACUOUS * max(abs(want), 1 / unit)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("far", [1e3, 1e9, 1e12])
def test_a_start_far_away_costs_no_digits(far, ridge):
    data = random_data(20, 3, 3, condition=3.0, seed=6, weights=True)
    away = np.array([far, -far, far])
    away = away if ridge == 0 else away * 1e-12  # what a ridge pulls to is part of the answer
    found = lt.solve(data.X, data.y, away, data.weights, ridge)
    near_by = lt.solve(data.X, data.y, away if ridge else np.zeros(3), data.weights, ridge)
    assert near(found.theta, near_by.theta, 100.0)


@pytest.mark.parametrize("unit", [1.0, 1e4, 1e8, 1e12])
def test_wide_rows_are_met_whatever_the_units_of_a_column(unit):
    """The inner products of rows hide that one column is large; what it costs a second look regains."""
    X = np.array([[1.0, 0.0, unit], [0.0, 1.0, 1.0]])
    theta = lt.solve(X, np.ones(2), np.zeros(3)).theta
    terms = np.abs(X) @ np.abs(theta)
    assert np.all(np.abs(X @ theta - 1) <= 8 * EPS * terms)
