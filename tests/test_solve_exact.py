"""`solve` against exact rational arithmetic: which minimiser, for every shape, rank and range of scales.

A family draws small problems from a seed. The reference (`rational`) knows the answer without a rounding
and how far one rounding of the rows may move it, in the coordinates given and in the fit of every row; what is
checked is SAFETY such units. Where the rank is deficient it is so exactly: rows are products of small integers,
or repeated, and units are powers of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import lstsq

import linear_theory as lt
from linear_theory.least_squares import pivoted
from linear_theory.testing.reference.rational import closest, excess, sensitivity
from linear_theory.testing.tolerances import EPS, SAFETY, VACUOUS

SEEDS = range(45)


@dataclass(frozen=True)
class Problem:
    X: np.ndarray
    y: np.ndarray
    start: np.ndarray
    weights: np.ndarray | None = None
    ridge: float = 0.0

    @property
    def arguments(self):
        return self.X, self.y, self.start, self.weights, self.ridge


def integers(rng, n, d, rank):
    """(n, d) of small integers, of this rank at most."""
    return (rng.integers(-3, 4, (n, rank)) @ rng.integers(-3, 4, (rank, d))).astype(float)


def labelled(rng, X, weights=None, ridge=0.0, units=0, noise=1.0):
    """The problem with columns times 2^units, a start and labels on the scale of the rows."""
    units = np.broadcast_to(units, X.shape[1])
    start, away = (np.ldexp(rng.integers(-8, 9, X.shape[1]) / 4, -units) for _ in range(2))
    X = np.ldexp(X, units)
    return Problem(X, X @ (start + away) + noise * rng.standard_normal(len(X)), start, weights, ridge)


def weighed(rng, n, decades, zeros=False):
    weights = 10.0 ** rng.uniform(-decades, 0, n)
    if zeros:
        weights[rng.random(n) < 0.4] = 0.0
    return weights


def size(rng, most=6):
    return rng.integers(1, most + 1, 2)


def tall(rng):
    d = rng.integers(1, 5)
    return labelled(rng, rng.standard_normal((d + rng.integers(1, 4), d)), noise=rng.choice([0, 1e-6, 1.0]))


def square(rng):
    d = rng.integers(1, 6)
    return labelled(rng, rng.standard_normal((d, d)), weighed(rng, d, 1))


def wide(rng):
    n = rng.integers(1, 5)
    return labelled(rng, rng.standard_normal((n, n + rng.integers(1, 4))), weighed(rng, n, 3))


def deficient(rng):
    n, d = size(rng)
    return labelled(rng, integers(rng, n, d, rng.integers(1, min(n, d) + 1)), weighed(rng, n, 1))


def one_row(rng):
    return labelled(rng, rng.standard_normal((1, rng.integers(1, 7))), weighed(rng, 1, 300))


def one_column(rng):
    n = rng.integers(1, 7)
    return labelled(rng, rng.standard_normal((n, 1)), weighed(rng, n, 300, zeros=True), units=[1])


def zero_weights(rng):
    n, d = size(rng)
    return labelled(rng, rng.standard_normal((n, d)), weighed(rng, n, 2, zeros=True))


def duplicated_columns(rng):
    n, d = size(rng)
    return labelled(rng, rng.standard_normal((n, d))[:, rng.integers(0, d, d + 1)], weighed(rng, n, 1))


def duplicated_rows(rng):
    n, d = size(rng)
    X = rng.standard_normal((n, d))[rng.integers(0, n, n + 2)]
    return labelled(rng, X, weighed(rng, len(X), 20))


def zero_columns(rng):
    n, d = size(rng)
    X = rng.standard_normal((n, d)) * (rng.random(d) < 0.6)
    X[rng.integers(n)] = 0.0
    return labelled(rng, X, weighed(rng, n, 1))


def scaled_columns(rng):
    """1e-150 to 1e150, any rank."""
    n, d = size(rng)
    X = (
        integers(rng, n, d, rng.integers(1, min(n, d) + 1))
        if rng.random() < 0.5
        else rng.standard_normal((n, d))
    )
    return labelled(rng, X, units=rng.integers(-498, 499, d))


def other_units(rng):
    """Units apart, but not so far that one coordinate is all there is to see: where "closest" is decided."""
    n, d = size(rng)
    return labelled(rng, integers(rng, n, d, rng.integers(1, min(n, d) + 1)), units=rng.integers(-6, 7, d))


def tiny_weights(rng):
    """1e-300 to 1: the light rows decide what the heavy ones leave open, and a tall X is met in groups."""
    n, d = size(rng)
    return labelled(rng, rng.standard_normal((n, d)), weighed(rng, n, 300))


def everything(rng):
    n, d = size(rng)
    X = integers(rng, n, d, rng.integers(1, min(n, d) + 1))[rng.integers(0, n, n)]
    weights = weighed(rng, n, rng.choice([1, 20, 300]), zeros=rng.random() < 0.3)
    return labelled(rng, X, weights, units=rng.integers(-498, 499, d) * int(rng.random() < 0.7))


def ridges(rng):
    n, d = size(rng)
    X = integers(rng, n, d, rng.integers(1, min(n, d) + 1))
    weights = weighed(rng, n, rng.choice([1, 20, 300]), zeros=rng.random() < 0.3)
    return labelled(rng, X, weights, 10.0 ** rng.uniform(-6, 3), rng.integers(-15, 16, d))


FAMILIES = (
    tall,
    square,
    wide,
    deficient,
    one_row,
    one_column,
    zero_weights,
    duplicated_columns,
    duplicated_rows,
    zero_columns,
    scaled_columns,
    other_units,
    tiny_weights,
    everything,
    ridges,
)


@cache
def drawn(family):
    """The problems of a family with the exact answer and its sensitivity."""
    problems = [family(np.random.default_rng([seed, FAMILIES.index(family)])) for seed in SEEDS]
    return [(p, closest(*p.arguments), sensitivity(*p.arguments)) for p in problems]


def complaints(solver, family):
    """Problems of a family that a solver, (X, y, start, weights, ridge) → θ, does not solve."""
    for seed, (problem, exact, allowed) in enumerate(drawn(family)):
        if not np.any(problem.X):
            units = 0.0 if np.array_equal(solver(*problem.arguments), problem.start) else math.inf
        else:
            units = excess(solver(*problem.arguments), problem.start, exact, allowed)
        if not units <= SAFETY:
            yield f"{family.__name__} {seed}: {units:.1e} units"


def solve(X, y, start, weights, ridge):
    return lt.solve(X, y, start, weights, ridge).theta


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_the_minimiser_closest_to_the_start(family):
    assert not list(complaints(solve, family))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_the_rank_is_that_of_the_rows_that_count(family):
    for problem, exact, _ in drawn(family):
        rank = lt.solve(*problem.arguments).rank
        assert rank == (problem.X.shape[1] if problem.ridge else exact.rank)


def test_the_families_are_wide_enough_and_their_units_say_something():
    """In nearly all problems SAFETY units are far less than δ; the scales are those that are promised."""
    widths = []
    for family in FAMILIES:
        for _, exact, allowed in drawn(family):
            length = max(map(abs, exact.displacement))
            if length:
                widths.append(SAFETY * EPS * float(max(allowed.displacement) / length))
    assert np.mean(np.array(widths) > VACUOUS) < 0.01
    assert np.median(widths) < 1e-13
    sizes = [np.abs(p.X).max(axis=0) for p, *_ in drawn(scaled_columns)]
    positive = np.concatenate([size[size > 0] for size in sizes])
    assert positive.min() < 1e-140
    assert positive.max() > 1e140
    assert min(p.weights.min() for p, *_ in drawn(tiny_weights)) < 1e-280
    shapes = {np.sign(len(p.X) - p.X.shape[1]) for family in FAMILIES for p, *_ in drawn(family)}
    assert shapes == {-1, 0, 1}


# ---------------------------------------------------------------------------------------------- wrong variants


def from_zero(X, y, start, weights, ridge):
    """The shortest θ, not the shortest displacement."""
    return solve(X, y, 0 * start, weights, ridge)


def closest_once_equilibrated(X, y, start, weights, ridge):
    """Columns brought to one size, and "closest" measured there."""
    sizes = np.abs(X).max(axis=0)
    units = np.ldexp(1.0, np.frexp(np.where(sizes > 0, sizes, 1.0))[1])
    return solve(X / units, y, start * units, weights, ridge) / units


def zeros_ignored(X, y, start, weights, ridge):
    """A weight of 0 that still counts."""
    return solve(X, y, start, np.where(weights == 0, 1e-30, weights), ridge)


def tiny_weights_as_zero(X, y, start, weights, ridge):
    return solve(X, y, start, np.where(weights < EPS * weights.max(), 0.0, weights), ridge)


def rank_of_the_weighted_rows(X, y, start, weights, ridge):
    """gelsd on √w·X, whose cut-off knows neither rows nor columns."""
    root = np.ones(len(X)) if weights is None else np.sqrt(weights)
    aim = root * (y - X @ start)
    return start + lstsq(root[:, None] * X, aim, lapack_driver="gelsd")[0]


def sum_for_the_mean(X, y, start, weights, ridge):
    return solve(X, y, start, weights, ridge / len(X))


def weights_for_their_roots(X, y, start, weights, ridge):
    return solve(X, y, start, weights**2, ridge)


WRONG = (
    (from_zero, wide),
    (from_zero, deficient),
    (from_zero, one_row),
    (from_zero, duplicated_columns),
    (from_zero, zero_columns),
    (from_zero, ridges),
    (closest_once_equilibrated, other_units),
    (closest_once_equilibrated, everything),
    (zeros_ignored, zero_weights),
    (tiny_weights_as_zero, tiny_weights),
    (tiny_weights_as_zero, duplicated_rows),
    (rank_of_the_weighted_rows, tiny_weights),
    (rank_of_the_weighted_rows, scaled_columns),
    (sum_for_the_mean, ridges),
    (weights_for_their_roots, deficient),
)


@pytest.mark.parametrize(("wrong", "family"), WRONG, ids=lambda function: function.__name__)
def test_wrong_variants_are_rejected(wrong, family):
    assert len(list(complaints(wrong, family))) >= len(SEEDS) // 10


# ---------------------------------------------------------------------------------------------- what is promised


def depending_columns(seed):
    """Columns that repeat, 1e-30 to 1e30, weights down to 1e-300."""
    rng = np.random.default_rng([seed, 30])
    n, d = size(rng)
    X = (
        rng.standard_normal((n, d))
        if rng.random() < 0.5
        else integers(rng, n, d, rng.integers(1, min(n, d) + 1))
    )
    X = X[:, rng.integers(0, d, d + 1)]
    weights = weighed(rng, n, rng.choice([1, 20, 300]))
    return labelled(rng, X, weights, units=rng.integers(-100, 101, d + 1))


def repeated_rows(seed):
    """Rows that repeat with weights 1e-300 to 1, columns 1e-30 to 1e30."""
    rng = np.random.default_rng([seed, 32])
    n, d = size(rng)
    X = integers(rng, n, d, rng.integers(1, min(n, d) + 1))[rng.integers(0, n, n)]
    weights = weighed(rng, n, 300, zeros=rng.random() < 0.3)
    return labelled(rng, X, weights, units=rng.integers(-100, 101, d))


def pivots_for_themselves(monkeypatch):
    """Basic columns as column pivoting takes them, whatever their units."""
    first = lambda matrix, shift: pivoted.qr(matrix).columns[: len(matrix)]
    monkeypatch.setattr(pivoted, "_basic_columns", first)


def digits_of_the_largest(monkeypatch):
    """The shortest δ through the orthogonal factor alone."""
    monkeypatch.setattr(pivoted.Shortest, "_by_combination", lambda self, right: (None, False))


def rows_all_at_once(monkeypatch):
    """Sorted, but not in groups of one size."""
    monkeypatch.setattr(pivoted, "GROUPING_RATIO", 0.0)


PROMISED = (
    (depending_columns, pivots_for_themselves, (23, 511, 754, 951, 1019, 1351, 1535, 1598, 1619)),
    (depending_columns, digits_of_the_largest, (115, 175, 299, 551, 559, 900, 932, 1123, 1400, 1407, 1459)),
    (repeated_rows, rows_all_at_once, (36, 798, 947, 1034, 1291, 1770, 2124, 2307, 2612)),
)
"""Within what `solve` promises: each simplification, and problems that tell it from what is done."""


def units_off(problem):
    return excess(
        solve(*problem.arguments),
        problem.start,
        closest(*problem.arguments),
        sensitivity(*problem.arguments),
    )


@pytest.mark.parametrize(("kind", "simpler", "named"), PROMISED, ids=lambda of: getattr(of, "__name__", None))
def test_columns_1e30_apart_and_weights_of_1e_300(kind, simpler, named, monkeypatch):
    problems = [problem for seed in (*range(20), *named) if (problem := kind(seed)).X.any()]
    assert max(map(units_off, problems)) <= SAFETY
    simpler(monkeypatch)
    # Which of them it gets wrong hangs on roundings, and so on the processor's kernels.
    assert sum(units_off(problem) > SAFETY for problem in problems) >= 2


# ------------------------------------------------------------------------------------------------- the limits


def test_a_ridge_on_columns_far_apart_keeps_the_fit():
    """Columns on scales 1e-150 to 1e150 with a ridge: the fit is held; of the coordinates one is seen."""
    checked = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 99])
        n, d = size(rng)
        X = integers(rng, n, d, rng.integers(1, min(n, d) + 1))
        problem = labelled(
            rng, X, weighed(rng, n, 20), 10.0 ** rng.uniform(-6, 3), rng.integers(-498, 499, d)
        )
        exact, allowed = closest(*problem.arguments), sensitivity(*problem.arguments)
        if not allowed.rows:
            continue
        seen = replace(allowed, displacement=[Fraction(10) ** 400] * d)
        assert excess(solve(*problem.arguments), problem.start, exact, seen) <= SAFETY, seed
        checked += 1
    assert checked > 50


def parallel(light, lightest):
    """Two rows that differ by rounding, the second light, and one lighter still that decides otherwise."""
    X = np.array([[1.0, 1.0], [1.0, 1.0 + 2 * EPS], [0.0, 1.0]])
    return Problem(X, np.array([1.0, 2.0, 3.0]), np.zeros(2), np.array([1.0, light, lightest]))


@pytest.mark.parametrize("lightest", [1e-4, 1e-10, 1e-20, 1e-40, 1e-60, 1e-100])
@pytest.mark.parametrize("light", [1.0, 1e-6, 1e-20])
def test_rows_parallel_to_rounding_and_far_apart_in_weight(light, lightest):
    """Whether such rows differ no float can say. Where that decides, the unit of error is as large as the
    answer, and what ``Solution`` says of itself, κε(1 + κ‖r‖/(‖√wX‖‖δ‖)), admits it; elsewhere θ is right.
    """
    problem = parallel(light, lightest)
    solution = lt.solve(*problem.arguments)
    exact, allowed = closest(*problem.arguments), sensitivity(*problem.arguments)
    assert excess(solution.theta, problem.start, exact, allowed) <= SAFETY
    delta = np.array([float(v) for v in exact.displacement])
    off, length = np.linalg.norm(solution.theta - delta), np.linalg.norm(delta)
    row = np.linalg.norm(np.sqrt(problem.weights)[:, None] * problem.X, 2)
    relative = float(solution.residual) ** 0.5 / (row * np.linalg.norm(solution.theta))
    assert off <= SAFETY * solution.condition * EPS * (1 + solution.condition * relative) * length
    if off > VACUOUS * length:
        assert SAFETY * EPS * max(allowed.displacement) > VACUOUS * length
        assert solution.condition**2 > 1 / EPS


# ----------------------------------------------------------------------------------------- several at a time


@pytest.mark.parametrize("family", [wide, deficient, everything, ridges], ids=lambda family: family.__name__)
def test_several_right_hand_sides_are_as_exact_as_one(family):
    """(n, 3) labels, (d, 3) starts: each column against its own exact solution, sizes 1e-9 to 1e9 side by side."""
    for seed, (problem, *_) in enumerate(drawn(family)[:15]):
        rng = np.random.default_rng([seed, 7])
        y = np.stack([problem.y, 1e-9 * problem.y[::-1], 1e9 * rng.standard_normal(len(problem.y))], axis=1)
        start = np.stack([problem.start, 0 * problem.start, -problem.start], axis=1)
        many = lt.solve(problem.X, y, start, problem.weights, problem.ridge)
        assert many.theta.shape == start.shape
        assert many.residual.shape == (3,)
        for j in range(3):
            one = Problem(problem.X, y[:, j], start[:, j], problem.weights, problem.ridge)
            if not problem.X.any():
                continue
            exact, allowed = closest(*one.arguments), sensitivity(*one.arguments)
            assert excess(many.theta[:, j], one.start, exact, allowed) <= SAFETY
            assert many.rank == lt.solve(*one.arguments).rank
            # A mutant: the columns in another order.
            if j == 0 and exact.rank:
                assert not excess(many.theta[:, 2], one.start, exact, allowed) <= SAFETY


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize(("large", "small"), [(1e308, 1e-300), (1e308, 1.0), (1e200, 1e-200)])
@pytest.mark.parametrize("seed", range(4))
def test_outputs_beside_each_other_are_as_each_alone(seed, large, small, ridge):
    """Also where the square of one is no float: each has a unit of its own."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((6, 2)), rng.uniform(-1, 1, (6, 2)) * [large, small]
    start = rng.uniform(-1, 1, (2, 2)) * [large, small]
    both = lt.solve(X, y, start, ridge=ridge)
    for j in range(2):
        alone = lt.solve(X, y[:, j], start[:, j], ridge=ridge)
        assert np.abs(both.theta[:, j] / alone.theta - 1).max() <= 1e-12
        assert both.residual[j] == pytest.approx(alone.residual, rel=1e-12, abs=1e-305)


# --------------------------------------------------------------------------------------------------------- in JAX


def solve_in_jax(X, y, start, weights, ridge):
    """Op by op: a loop compiled for every shape would be most of the time."""
    with jax.disable_jit():
        given = (None if value is None else jnp.asarray(value) for value in (X, y, start, weights))
        return np.asarray(lt.solve(*given, ridge).theta)


def equilibrated_excess(theta, problem, exact, allowed):
    """How many units of error θ is off in equilibrated coordinates, cⱼθⱼ with c the lengths of the columns."""
    weights = np.ones(len(problem.X)) if problem.weights is None else problem.weights
    largest = np.maximum(np.abs(problem.X).max(axis=0), np.finfo(float).tiny)
    lengths = largest * np.sqrt(weights @ (problem.X / largest) ** 2)
    moved = np.array([float(v) for v in allowed.displacement])
    delta = np.array([float(v) for v in exact.displacement])
    unit = EPS * (lengths * (moved + np.abs(delta) + np.abs(problem.start))).max()
    off = np.abs(lengths * (theta - problem.start - delta)).max()
    return off / unit if unit else math.inf if off else 0.0


WITHIN_JAX = (
    tall,
    square,
    wide,
    deficient,
    one_row,
    one_column,
    zero_weights,
    duplicated_columns,
    zero_columns,
    scaled_columns,
    other_units,
)
"""Weights within three decades, or one row or column: what the SVD of √w·X sees."""


@pytest.mark.parametrize("first", [5, pytest.param(12, marks=pytest.mark.deep)])
@pytest.mark.parametrize("family", WITHIN_JAX, ids=lambda family: family.__name__)
def test_jax_in_equilibrated_coordinates(family, first):
    for seed, (problem, exact, allowed) in enumerate(drawn(family)[:first]):
        if problem.X.any():
            theta = solve_in_jax(*problem.arguments)
            assert equilibrated_excess(theta, problem, exact, allowed) <= SAFETY, seed


@pytest.mark.parametrize("light", [1e-40, 1e-100, 1e-300])
def test_in_jax_rows_that_are_rounding_beside_the_heaviest_count_as_none(light):
    """What their temperature is too low for: NumPy lets them decide what the heavy rows leave open."""
    for seed in range(6):
        rng = np.random.default_rng([seed, 33])
        n, d = 2, 4
        X, start = rng.standard_normal((n + 3, d)), rng.standard_normal(d)
        y = rng.standard_normal(n + 3)
        weights = np.concatenate([rng.uniform(0.5, 1, n), light * rng.uniform(0.5, 1, 3)])
        removed = np.where(weights > 0.1, weights, 0.0)
        found, heavy = solve_in_jax(X, y, start, weights, 0.0), Problem(X, y, start, removed)
        exact, allowed = closest(*heavy.arguments), sensitivity(*heavy.arguments)
        assert equilibrated_excess(found, heavy, exact, allowed) <= SAFETY, seed
        every = Problem(X, y, start, weights)
        exact, allowed = closest(*every.arguments), sensitivity(*every.arguments)
        assert excess(solve(*every.arguments), start, exact, allowed) <= SAFETY
        assert not equilibrated_excess(found, every, exact, allowed) <= SAFETY
