"""`solve` to each entry's own digits: columns in units far apart, small entries and zeros of X that stay what they are.

The unit of error is the least there is: how far a relative change of every entry of X by one rounding, zeros staying
zeros, moves a coordinate of the closest minimiser, in exact fractions.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.least_squares import cholesky, pivoted
from linear_theory.least_squares.pivoted import refined
from linear_theory.testing.reference.rational import closest, each_excess, sensitivity
from linear_theory.testing.tolerances import EPS, SAFETY, VACUOUS
from tests.strategies import MAYBE, SEEDS


def scattered(rng, n, d):
    """Entries over fourteen decades in a row, a third of them zero."""
    return rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.7) * 10.0 ** rng.uniform(-14, 0, (n, d))


def sparse(rng, n, d):
    return rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.7)


def deficient(rng, n, d):
    """Small integers of a rank that is deficient exactly."""
    rank = rng.integers(1, max(min(n, d), 2))
    few = lambda *shape: rng.integers(-3, 4, shape) * (rng.random(shape) < 0.6)
    return (few(n, rank) @ few(rank, d)).astype(float)


KINDS = (scattered, sparse, deficient)


def drawn(kind, shape, seed, decades=20, started=False, weighted=False):
    """X, y, start and weights; columns over twice so many decades, rows over a quarter of that, as powers of two."""
    rng = np.random.default_rng(seed)
    bits = int(decades * 3.3)
    columns, rows = (
        rng.integers(-bits, bits + 1, shape[1]),
        rng.integers(-bits // 4, bits // 4 + 1, (shape[0], 1)),
    )
    X = np.ldexp(kind(rng, *shape), columns + rows)
    start = np.ldexp(rng.standard_normal(shape[1]), -columns) * started
    weights = 10.0 ** rng.uniform(-3, 0, shape[0]) if weighted else None
    return X, rng.standard_normal(shape[0]), start, weights


def off(problem, theta=None):
    """Units of error; 0 where the rank that floats can see is not that of the fractions."""
    exact = closest(*problem)
    found = lt.solve(*problem)
    if not problem[0].any() or found.rank != exact.rank:
        return 0.0
    theta = found.theta if theta is None else theta(*problem)
    return each_excess(theta, problem[2], exact, sensitivity(*problem, entries=True))


SMALL_BESIDE_LARGE = (
    np.array(
        [
            [-6.64674446e12, 3.45917985e4, -8.97875925e-20, 4.28176289e7],
            [1.2955884e17, 0, 0, 14.1492872],
            [0, 0, 1.93065728e-23, -3.87657071e-8],
        ]
    ),
    np.array([-0.03331586, 0.68623404, -0.23998023]),
    np.zeros(4),
    None,
)


@st.composite
def problems(draw, weighted=MAYBE):
    """Of any shape up to 5 × 7. Units are farthest apart where all rows can be met, and none gives way to another."""
    n, d = draw(st.tuples(st.integers(1, 5), st.integers(1, 7)))
    kind = draw(st.sampled_from(KINDS if n < d else [sparse, deficient]))
    decades = draw(st.sampled_from([0, 6, 20, 60] if n < d and kind is not deficient else [0, 6]))
    return drawn(kind, (n, d), draw(SEEDS), decades, draw(MAYBE), draw(weighted))


@given(problem=problems())
@example(problem=SMALL_BESIDE_LARGE)
def test_each_coordinate_of_the_closest_minimiser_has_its_own_digits(problem):
    assert off(problem) <= SAFETY


def streamed(X, y, start, weights):
    return lt.streaming.solve(lt.streaming.from_arrays(X, y, weights, rows=2), start).theta


@given(problem=problems(weighted=st.just(False)))
@example(problem=SMALL_BESIDE_LARGE)
def test_rows_that_come_in_chunks_too(problem):
    """Where there are not more than columns, and independent: else QR has mixed them."""
    if closest(*problem).rank == len(problem[0]):
        assert off(problem, streamed) <= SAFETY


@given(problem=problems())
@example(problem=SMALL_BESIDE_LARGE)
def test_a_second_solve_from_the_answer_finds_nothing_to_mend(problem):
    X, y, _, weights = problem
    again = lambda *problem: lt.solve(X, y, lt.solve(*problem).theta, weights).theta
    assert off(problem, again) <= SAFETY


def test_the_example():
    theta = lt.solve(*SMALL_BESIDE_LARGE).theta
    for found, want in zip(theta, closest(*SMALL_BESIDE_LARGE).displacement, strict=True):
        assert abs(found - float(want)) <= 4 * EPS * abs(found)
    assert f"{theta[0]:.6e}" == "-6.760756e-10"


GRID = [
    (kind, shape, seed, decades)
    for kind in KINDS
    for shape, decades in (((3, 5), 20), ((4, 7), 20), ((4, 7), 60), ((5, 4), 20))
    for seed in range(25)
]


def test_the_kinds_are_wide_and_their_units_say_something():
    """Nearly all ranks are seen, ways and shapes differ, coordinates range over decades, and units are small."""
    ranks, methods, spreads, units = [], set(), [], []
    for place in GRID:
        problem = drawn(*place)
        exact, found = closest(*problem), lt.solve(*problem)
        ranks.append(found.rank == exact.rank)
        methods.add(found.method)
        sizes = np.array([abs(float(v)) for v in exact.displacement])
        if sizes.any():
            spreads.append(sizes.max() / sizes[sizes > 0].min())
            moved = np.array([float(v) for v in sensitivity(*problem, entries=True).displacement])
            units.append(SAFETY * EPS * np.max(moved[sizes > 0] / sizes[sizes > 0]))
    assert np.mean(ranks) > 0.95
    assert len(methods) >= 3
    assert np.median(spreads) > 1e14
    assert np.mean(np.array(units) > VACUOUS) < 0.05


def uncorrected(monkeypatch):
    monkeypatch.setattr(pivoted, "refined", lambda matrix, right, inverse: (inverse(right), 0))
    monkeypatch.setattr(cholesky, "refined", lambda matrix, right, inverse, passes: (inverse(right), 0))


def one_correction(monkeypatch):
    """What is left of an equation beside the largest of all."""
    monkeypatch.setattr(pivoted, "refined", lambda matrix, right, inverse: refined(matrix, right, inverse, 1))


def rounding_kept(monkeypatch):
    """As a combination of columns, however small."""
    monkeypatch.setattr(pivoted, "MAX_ZERO_ROUNDING", 0.0)


def pivots_for_themselves(monkeypatch):
    """Columns that are basic whatever their units."""
    monkeypatch.setattr(pivoted, "PIVOT_SLACK", 1.0)


@pytest.mark.parametrize("wrong", [uncorrected, one_correction, rounding_kept, pivots_for_themselves])
def test_wrong_variants_are_rejected(wrong, monkeypatch):
    wrong(monkeypatch)
    assert any(off(drawn(*place)) > SAFETY for place in GRID)
