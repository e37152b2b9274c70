"""A column that is only rounding moves nothing, in whatever function rows are given to; honest ones all do."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import streaming
from linear_theory.testing.tolerances import EPS, near
from tests.strategies import SEEDS, log_uniform, random_data

SMALL = 1e-30
"""The unit of an honest column beside one of unit 1."""

ONLY = [0, 2]
"""The honest ones; between them stands what centring has left of a constant."""

CONDITION = 3.0


def centred(constant, n, rng):
    """A constant minus its mean, each as far off as the rounding of n terms may take it."""
    whole = np.full(n, constant) + rng.integers(-n // 3, n // 3 + 1, n) * np.spacing(constant)
    return whole - constant - (np.full(n, constant).mean() - constant)


def rows(n, constant, seed):
    """X (n, 3), y, a start and what the columns were made from."""
    rng = np.random.default_rng(seed)
    data = random_data(n, 2, 2, condition=CONDITION, seed=seed)
    left = centred(constant, n, rng)
    assert abs(left).max() <= n * EPS * constant
    X = np.column_stack([data.X[:, 0], left, SMALL * data.X[:, 1]])
    start = np.array([data.start[0], float(rng.integers(-3, 4)), data.start[1] / SMALL])
    return X, data.y, start, np.array([abs(data.X[:, 0]).max(), constant, abs(X[:, 2]).max()])


def exact(X, y, start):
    """The displacement along the two honest columns, in fractions: Cramer's rule on XᵀX δ = Xᵀr."""
    columns = [[Fraction(v) for v in X[:, k].tolist()] for k in ONLY]
    labels, origin = map(Fraction, y.tolist()), [Fraction(float(start[k])) for k in ONLY]
    residual = [v - sum(c[i] * o for c, o in zip(columns, origin, strict=True)) for i, v in enumerate(labels)]
    dot = lambda one, other: sum(a * b for a, b in zip(one, other, strict=True))
    a, b, c = dot(columns[0], columns[0]), dot(columns[0], columns[1]), dot(columns[1], columns[1])
    p, q = (dot(column, residual) for column in columns)
    whole = a * c - b * b
    return np.array([float((c * p - b * q) / whole), float((a * q - b * p) / whole)])


def diagnosed(X, y, start, scale):
    d = lt.diagnose(X, y, start, np.inf, column_scale=scale, pretrain_rows=X)
    assert d.shift[1] == d.weighted_shift[1]
    return start - d.shift


DOORS = {
    "solve": lambda X, y, start, scale: lt.solve(X, y, start, column_scale=scale).theta,
    "sums": lambda X, y, start, scale: lt.NormalEquations.of(X, y, start, column_scale=scale).solve().theta,
    "temperature_path": lambda X, y, start, scale: lt.temperature_path(
        X, y, start, [np.inf], column_scale=scale
    ).theta[0],
    "streaming.solve": lambda X, y, start, scale: (
        streaming.solve(streaming.from_arrays(X, y, rows=3), start, column_scale=scale).theta
    ),
    "streaming.normal_equations": lambda X, y, start, scale: (
        streaming.normal_equations(streaming.from_arrays(X, y, rows=3), start, column_scale=scale)
        .solve()
        .theta
    ),
    "diagnose": diagnosed,
}


@pytest.mark.parametrize("name", DOORS)
@given(n=st.integers(6, 30), constant=log_uniform(1e-20, 1e20), seed=SEEDS, known=st.booleans())
def test_a_column_that_is_only_rounding_moves_nothing(name, n, constant, seed, known):
    """And the others go where they would without it, whether their own scale is told or not."""
    X, y, start, scale = rows(n, constant, seed)
    told = scale if known else np.array([0.0, constant, 0.0])
    theta = DOORS[name](X, y, start, told)
    assert theta[1] == start[1]
    unit = np.array([1.0, SMALL])
    want = exact(X, y, start)
    room = abs(start[ONLY] * unit).max() + abs(want * unit).max()
    assert near((theta[ONLY] - start[ONLY]) * unit, want * unit, 100 * CONDITION**2, room)


@pytest.mark.parametrize("name", DOORS)
def test_untold_it_is_a_column(name):
    """The wrong variant that the law above rejects: the same rows, and the scale left out or at 0."""
    X, y, start, scale = rows(12, 0.1, 3)
    assert X[:, 1].any()
    for untold in (None, scale * [1, 0, 1]):
        assert abs(DOORS[name](X, y, start, untold)[1]) > 1e6


@given(st.integers(6, 30), log_uniform(1e-20, 1e20), SEEDS)
def test_descent_does_not_move_along_it(n, constant, seed):
    X, y, start, scale = rows(n, constant, seed)
    for solver in (lt.descent.GradientDescent(), lt.descent.ConjugateGradient()):
        path = lt.descend(X, y, start, solver=solver, steps=[1, 7], column_scale=scale)
        assert np.all(path.theta[:, 1] == start[1])


@given(n=st.integers(8, 40), size=st.integers(1, 40), seed=SEEDS)
def test_chunks_do_not_change_what_is_rounding(n, size, seed):
    """How large a column is shows in all rows only: with a 1 in its last row it is an honest one."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal(n), rng.integers(-1, 2, n) * np.spacing(0.1)])
    y, start = X[:, 0] + 0.1 * rng.standard_normal(n), np.array([0.5, 2.0])
    for last in (X[-1, 1], 1.0):
        X[-1, 1] = last
        source = streaming.from_arrays(X, y, rows=size)
        found = streaming.solve(source, start, 2.0, column_scale=[0.0, 0.1])
        weights = lt.flow_weights((y - X @ start) ** 2, 2.0)
        want = lt.solve(X, y, start, weights, column_scale=[0.0, 0.1])
        assert found.rank == want.rank == 1 + (last == 1.0)
        assert near(found.theta, want.theta, 1e4)
        # A column that is all rounding is no column of a Cholesky factor: nothing is summed in vain.
        assert found.passes == 2


@pytest.mark.parametrize("size", [1, 7, 30])
def test_columns_that_differ_by_rounding_are_one_from_chunks_too(size):
    """Years, and years times 1.1, centred: the slope is shared as 1 : 1.1."""
    rng = np.random.default_rng(5)
    years = 2000.0 + rng.integers(0, 20, 30)
    X = np.column_stack([years - years.mean(), 1.1 * years - (1.1 * years).mean()])
    y = X[:, 0] + rng.standard_normal(30)
    slope = float(X[:, 0] @ y / (X[:, 0] @ X[:, 0]))
    source, start, scale = streaming.from_arrays(X, y, rows=size), np.zeros(2), [2020.0, 2222.0]
    found = streaming.solve(source, start, column_scale=scale)
    assert found.rank == 1
    assert np.allclose(found.theta, slope * np.array([1, 1.1]) / (1 + 1.1**2), rtol=1e-9)
    assert abs(streaming.solve(source, start).theta).max() > 1e6


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("roundings", "rank"), [(0.3, 1), (10.0, 2)])
def test_what_tells_two_columns_apart_is_held_against_the_noise_of_all_rows(roundings, rank, weighted):
    """Known to n·ε each, which n rows add up as they add up the column; also in chunks, with weights or without."""
    n = 400
    rng = np.random.default_rng(1)
    one, other = np.linalg.qr(rng.standard_normal((n, 2)))[0].T * np.sqrt(n)
    X = np.column_stack([1e-9 * one, 1e-9 * one + roundings * n * EPS * other])
    y, start, weights = rng.standard_normal(n), np.zeros(2), np.ones(n) if weighted else None
    source = streaming.from_arrays(X, y, weights, rows=50)
    assert lt.solve(X, y, start, weights, column_scale=np.ones(2)).rank == rank
    assert streaming.solve(source, start, column_scale=np.ones(2)).rank == rank


def test_what_can_be_gone_through_once_has_no_pass_for_it():
    chunks = ((np.ones((2, 1)), np.ones(2)) for _ in range(2))
    with pytest.raises(lt.InvalidTypeError, match="column_scale takes a pass of its own"):
        streaming.solve(chunks, np.zeros(1), column_scale=[1.0])


@pytest.mark.parametrize("bad", [[1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], "ab"])
@pytest.mark.parametrize("name", DOORS)
def test_bad_column_scales(name, bad):
    with pytest.raises((lt.InvalidValueError, lt.InvalidTypeError), match="column_scale"):
        DOORS[name](np.eye(2), np.ones(2), np.zeros(2), bad)


def test_a_column_that_is_only_rounding_needs_no_other_method():
    """The others are as well conditioned as without it; one that is mostly rounding does need another."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((60, 3)), rng.standard_normal(60)
    known = lt.solve(X, y, np.zeros(3), column_scale=np.ones(3))
    for factor, same in ((1e-17, True), (1e-13, False)):
        Z = np.column_stack([X, factor * rng.standard_normal(60)])
        found = lt.solve(Z, y, np.zeros(4), column_scale=np.ones(4))
        assert (found.method == known.method) == same


@pytest.mark.parametrize("unit", [4.0**-40, 4.0**-10, 4.0**10, 4.0**40])
def test_the_unit_of_weights_does_not_change_what_is_rounding(unit):
    """A column's noise grows as its length does, by √w; in chunks as at once."""
    rng = np.random.default_rng(0)
    X, y, weights = rng.standard_normal((60, 3)), rng.standard_normal(60), rng.uniform(0.5, 2, 60)
    X[:, 1] *= 1e-6  # what is left of 1e3: six digits, so that combinations are looked at
    scale = np.array([1.0, 1e3, 1.0])
    of = lambda w: streaming.solve(streaming.from_arrays(X, y, w, rows=20), np.zeros(3), column_scale=scale)
    want, got = of(weights), of(unit * weights)
    assert want.rank == got.rank == 3
    assert np.array_equal(want.theta, got.theta)
