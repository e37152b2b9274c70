"""Sums that merge in any tree, on any host, and lose no digits over as many parts as there are."""

from __future__ import annotations

import functools
import operator
import pickle
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from tests.strategies import SEEDS, data, random_data
from tests.tolerances import EPS, near

SUMS = ("gram", "moment", "energy", "count")
START = np.zeros(2)


def equations(problem, rows=slice(None)):
    weights = None if problem.weights is None else problem.weights[rows]
    return lt.NormalEquations.of(problem.X[rows], problem.y[rows], problem.start, weights)


def one_by_one(problem):
    return [equations(problem, slice(k, k + 1)) for k in range(len(problem.y))]


def in_a_tree(parts, rng):
    """Two at random become one, until one is left."""
    parts = list(parts)
    while len(parts) > 1:
        i, j = rng.choice(len(parts), 2, replace=False)
        merged = parts[i] + parts[j]
        parts = [part for k, part in enumerate(parts) if k not in (i, j)] + [merged]
    return parts[0]


def exact(problem):
    """Σ wᵢxᵢxᵢᵀ of the roots that are squared, in rational numbers; the weights are 1."""
    columns = [[Fraction(float(v)) for v in column] for column in problem.X.T]
    return np.array([[sum(map(operator.mul, a, b)) for b in columns] for a in columns], dtype=object)


def off(got, want):
    """The largest difference of a Gram matrix to the exact one, beside its largest entry."""
    gap = [abs(Fraction(float(g)) - w) for g, w in zip(got.ravel(), want.ravel(), strict=True)]
    return float(max(gap) / max(map(abs, want.ravel())))


@given(data(rows=st.integers(1, 25)), SEEDS)
def test_any_tree_gives_the_same(problem, seed):
    """The carry makes the order a matter of the last rounding."""
    rng = np.random.default_rng(seed)
    parts = one_by_one(problem)
    want = functools.reduce(operator.add, parts)
    for got in (in_a_tree(parts, rng), sum(parts, lt.NormalEquations.empty(problem.start))):
        for name in SUMS:
            scale = np.abs(getattr(want, name)).max(initial=0.0)
            largest = max(np.abs(getattr(part, name)).max(initial=0.0) for part in parts)
            assert np.abs(getattr(got, name) - getattr(want, name)).max() <= 2 * EPS * max(scale, largest)


def test_rows_far_apart_in_size_do_not_lose_the_small_ones():
    """1e16 beside 1s, and gone again would be all: the plain sum has none of the small ones left."""
    X = np.ones((2001, 2))
    X[0] = 1e8
    problem = random_data(2001, 2, 2)
    problem = type(problem)(X, np.zeros(2001), START)
    want, parts = exact(problem), one_by_one(problem)
    assert off(functools.reduce(operator.add, parts).gram, want) <= EPS
    assert off(functools.reduce(operator.add, [part.gram for part in parts]), want) > 100 * EPS


def test_a_thousand_million_parts_lose_no_digits():
    """The sum of a part and its copies, doubled thirty times with an odd part in between: 2 · 10⁹ rows and more.

    ⅓ is no float, so that every addition rounds; what one by one adding of 2³⁰ rows would lose is shown by
    what it loses over 10⁶.
    """
    X = np.array([[1 / 3, 0.1], [0.7, 1 / 7]])
    problem = type(random_data(1, 1, 1))(X, np.zeros(2), START)
    part, want = equations(problem), exact(problem)
    unit = np.vectorize(lambda g, c: Fraction(float(g)) + Fraction(float(c)), otypes=[object])(
        part.gram, part.carry[0]
    )
    total, factor = part, 1
    for k in range(30):
        total, factor = total + total, 2 * factor
        if k % 3 == 0:
            total, factor = total + part, factor + 1
    assert factor > 10**9
    assert off(total.gram, factor * unit) <= EPS
    assert float(total.count) == 2 * factor
    assert off(unit, want) <= 2 * EPS

    total, plain = part, part.gram.copy()
    for _ in range(20_000):
        total, plain = total + part, plain + part.gram
    assert off(total.gram, 20_001 * unit) <= EPS
    assert off(plain, 20_001 * unit) > 100 * EPS


def test_a_sum_of_many_rows_at_once_keeps_them_too():
    """Strips are added with what rounding takes; in float32's place a plain cumulative sum would show."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.9, 1.1, (400_000, 1))
    got = lt.NormalEquations.of(X, np.zeros(len(X)), np.zeros(1)).gram[0, 0]
    want = sum(int(v * 2**53) ** 2 for v in X[:, 0])  # uniform() has 53 bits: exact
    assert abs(Fraction(float(got)) * 2**106 - want) <= 40 * EPS * want
    assert abs(Fraction(float(np.cumsum(X[:, 0] ** 2)[-1])) * 2**106 - want) > 40 * EPS * want


@pytest.mark.parametrize("several", [False, True])
def test_they_travel(several):
    """As pickles: Dask, Ray and Spark send them so."""
    problem = random_data(20, 3, 3, seed=1, weights=True)
    y = np.stack([problem.y, -problem.y], axis=1) if several else problem.y
    start = np.stack([problem.start] * 2, axis=1) if several else problem.start
    here = lt.NormalEquations.of(problem.X, y, start, problem.weights)
    there = pickle.loads(pickle.dumps(here))
    for name in SUMS:
        assert np.array_equal(getattr(there, name), getattr(here, name))
    assert np.array_equal((here + there).gram, 2 * here.gram)
    both = (here + there).solve().theta
    assert near(both, lt.solve(problem.X, y, start, problem.weights).theta, 1e3)
    assert len(pickle.dumps(here)) < 4000


def test_jax_parts_carry_too():
    """In float32, where the loss shows: 20 000 parts of ⅓² one after another."""
    X = jnp.full((1, 1), 1 / 3, dtype=jnp.float32)
    part = lt.NormalEquations.of(X, X[:, 0], jnp.zeros(1, dtype=jnp.float32))
    many = functools.reduce(operator.add, [part] * 20_000)
    plain = functools.reduce(operator.add, [np.float32(part.gram[0, 0])] * 20_000)
    want, eps = 20_000 * float(part.gram[0, 0]), float(np.finfo(np.float32).eps)
    assert many.gram.dtype == jnp.float32
    assert abs(float(many.gram[0, 0]) - want) <= eps * want
    assert abs(float(plain) - want) > 30 * eps * want


def test_what_does_not_merge():
    part = lt.NormalEquations.of(np.ones((2, 2)), np.ones(2), START)
    with pytest.raises(TypeError):
        part + 1
    with pytest.raises(lt.InvalidValueError, match="another start"):
        part + lt.NormalEquations.empty(START + 1)
    with pytest.raises(lt.InvalidValueError, match="has 3 columns, this has 2"):
        part + lt.NormalEquations.empty(np.zeros(3))
    with pytest.raises(lt.InvalidValueError, match="no rows yet"):
        lt.NormalEquations.empty(START).solve()
