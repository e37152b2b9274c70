"""Sums that merge in any tree, on any host, and lose no digits over as many parts as there are."""

from __future__ import annotations

import copy
import functools
import operator
import pickle
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.reference.rational import closest
from linear_theory.testing.tolerances import EPS, near
from tests.strategies import SEEDS, Data, data, random_data

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


def held(sums, k):
    """The k-th sum with its carry, in rational numbers."""
    both = np.vectorize(lambda g, c: Fraction(float(g)) + Fraction(float(c)), otypes=[object])
    return both(getattr(sums, SUMS[k]), sums.carry[k])


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


def beyond(got, moments, terms):
    """By how many times a moment is further off than one rounding of it and the carries' own roundings."""
    want, size = sum(moments), sum(map(abs, moments))
    allowed = EPS * abs(want) + terms * Fraction(EPS) ** 2 * size
    return abs(Fraction(float(got)) - want) / allowed if allowed else Fraction(0)


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(-30, 30)), min_size=1, max_size=20), SEEDS)
def test_what_cancels_leaves_the_rest(numbers, seed):
    """Moments over sixty decades, each there with both signs beside one more: all that is large goes."""
    sizes = [value * 10.0**decade for value, decade in numbers]
    y = np.array([*sizes, 1 / 3, *[-size for size in sizes]])
    parts = one_by_one(Data(np.ones((len(y), 1)), y, np.zeros(1)))
    moments = [held(part, 1)[0] for part in parts]
    for got in (functools.reduce(operator.add, parts), in_a_tree(parts, np.random.default_rng(seed))):
        assert beyond(got.moment[0], moments, len(parts)) <= 1


def test_what_cancels_is_lost_without_a_carry():
    moments = [Fraction(v) for v in (1e10, 1 / 3, -1e10)]
    assert beyond(1e10 + 1 / 3 - 1e10, moments, 3) > 1000


@given(data(rows=st.integers(2, 10)), st.integers(1, 3), SEEDS)
def test_several_columns_of_labels(problem, columns, seed):
    """Each column as if it were alone, in the sum as in its parts; and the rows of one's own weights."""
    rng = np.random.default_rng(seed)
    y, start = (rng.standard_normal((size, columns)) for size in problem.X.shape)
    many = Data(problem.X, y, start, problem.weights)
    got = in_a_tree(one_by_one(many), rng)
    sizes = 1 + (np.abs(problem.X).max(axis=0) @ np.abs(start) + np.abs(y).max(axis=0)) ** 2 * len(y)
    for k in range(columns):
        alone = equations(Data(problem.X, y[:, k], start[:, k], problem.weights))
        assert near(got.gram, alone.gram, 50)
        assert near(got.moment[:, k], alone.moment, 50, sizes[k] * (1 + np.abs(problem.X).max()))
        assert near(got.energy[k], alone.energy, 50, sizes[k])
    none = lt.NormalEquations.empty(start)
    for same in (got + none, none + got):
        for name, k in zip(SUMS, range(4), strict=True):
            assert np.array_equal(getattr(same, name), getattr(got, name))
            assert np.array_equal(same.carry[k], got.carry[k])


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("outputs", [None, 1, 2, 3])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_loss_and_gradient_are_those_of_the_rows_for_every_output(xp, outputs, batch):
    """Of a δ for each output, and of many: also where there are as many outputs as columns, or as many δ."""
    rng, many = np.random.default_rng(0), () if outputs is None else (outputs,)
    X, y, start, w = (rng.standard_normal(shape) for shape in ((20, 2), (20, *many), (2, *many), 20))
    sums = lt.NormalEquations.of(*map(xp.asarray, (X, y, start, w**2)))
    delta = rng.standard_normal((*batch, 2, *many))
    weighted = lambda values: np.moveaxis(np.moveaxis(values, -1 - len(many), -1) * w**2, -1, -1 - len(many))
    residual = (
        y - np.einsum("ij,...j->...i", X, start + delta) if outputs is None else y - X @ (start + delta)
    )
    want = weighted(residual**2).mean(axis=-1 - len(many))
    assert np.allclose(sums.loss(xp.asarray(delta)), want, rtol=1e-12, atol=0)
    slope = -2 / 20 * (weighted(residual) @ X if outputs is None else X.T @ weighted(residual))
    assert np.allclose(sums.gradient(xp.asarray(delta)), slope, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 2, 3)])
def test_a_displacement_of_another_shape_is_refused(shape):
    sums = lt.NormalEquations.of(np.ones((4, 2)), np.ones((4, 2)), np.zeros((2, 2)))
    for ask in (sums.loss, sums.gradient):
        with pytest.raises(lt.InvalidValueError, match="displacement"):
            ask(np.ones(shape))


def test_where_nothing_is_known_the_bound_is_infinite():
    """Also beside labels of 0, where all that the condition multiplies is 0."""
    solution = lt.NormalEquations.of([[1.0, 1.0], [2.0, 2.0]], [0.0, 0.0], np.zeros(2)).solve()
    assert np.isinf(solution.condition)
    assert np.isinf(solution.error_bound).all()


def test_rows_far_apart_in_size_do_not_lose_the_small_ones():
    """1e16 beside 1s, and gone again would be all: the plain sum has none of the small ones left."""
    X = np.ones((1001, 2))
    X[0] = 1e8
    problem = Data(X, np.zeros(1001), START)
    want, parts = exact(problem), one_by_one(problem)
    assert off(functools.reduce(operator.add, parts).gram, want) <= EPS
    assert off(functools.reduce(operator.add, [part.gram for part in parts]), want) > 100 * EPS


def test_a_thousand_million_parts_lose_no_digits():
    """The sum of a part and its copies, doubled thirty times with an odd part in between: 2 · 10⁹ rows and more.

    ⅓ is no float, so that every addition rounds; what one by one adding of 2³⁰ rows would lose is shown by
    what it loses over 10⁶.
    """
    X = np.array([[1 / 3, 0.1], [0.7, 1 / 7]])
    problem = Data(X, np.zeros(2), START)
    part, want = equations(problem), exact(problem)
    unit = held(part, 0)
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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_million_jax_parts_carry_too(dtype):
    """One after another, compiled: XLA must not simplify what rounding took to 0."""
    X = jnp.full((1, 1), 1 / 3, dtype=dtype)
    part = lt.NormalEquations.of(X, X[:, 0], jnp.zeros(1, dtype=dtype))
    copies, eps = 10**6, float(jnp.finfo(dtype).eps)

    @jax.jit
    def added(one):
        return jax.lax.scan(lambda total, _: (total + one, None), one, length=copies - 1)[0]

    got, plain = added(part), added(part.gram)
    want = copies * held(part, 0)[0, 0]
    assert got.gram.dtype == dtype
    assert got.count == copies
    assert abs(Fraction(float(got.gram[0, 0])) - want) <= eps * want
    assert abs(held(got, 0)[0, 0] - want) <= 4 * eps**2 * copies * want
    assert abs(Fraction(float(plain[0, 0])) - want) > 1000 * eps * want


def test_numpy_and_jax_parts_merge():
    """A worker on an accelerator and one without: JAX then, as everywhere."""
    problem = random_data(20, 3, 3, seed=1)
    here = equations(problem, slice(0, 9))
    there = lt.NormalEquations.of(*map(jnp.asarray, (problem.X[9:], problem.y[9:], problem.start)))
    for both in (here + there, there + here):
        assert isinstance(both.gram, jax.Array)
        assert near(both.gram, equations(problem).gram, 50)
        assert not near(both.gram, there.gram, 50)


def test_a_traced_ridge_on_numpy_sums():
    """The sums can be looked at, and are; a bad ridge gives NaN, also of the condition."""
    sums = lt.NormalEquations.of(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1))
    solve = jax.jit(lambda ridge: sums.solve(ridge))
    assert np.allclose(solve(1.0).theta, sums.solve(1.0).theta)
    for bad in (-1.0, np.nan, np.inf):
        found = solve(bad)
        assert np.isnan([found.theta[0], found.condition, found.residual]).all()


def test_sums_that_overflow_together_are_refused():
    """Each part alone is finite; Σ is not, and no singular value of it converges."""
    for xp in (np, jnp):
        part = lt.NormalEquations.of(xp.full((1, 2), 1e154), xp.ones(1), xp.zeros(2))
        assert np.isfinite(part.solve().theta).all()
        with pytest.raises(lt.InvalidValueError, match="overflowed as parts were added; rescale"):
            (part + part + part).solve()


@pytest.mark.parametrize("xp", [np, jnp])
def test_rows_that_overflow_by_themselves_are_refused_without_a_word_of_numpys(xp):
    """What rounding takes from an infinite sum is no number."""
    with pytest.raises(lt.InvalidValueError, match="so large that sums of squares overflow"):
        lt.NormalEquations.of(xp.full((4, 2), 1e200), xp.ones(4), xp.zeros(2))


def test_copies_are_parts():
    part = equations(random_data(5, 2, 2, seed=3))
    for copied in (copy.copy(part), copy.deepcopy(part), jax.tree.map(np.copy, part)):
        assert np.array_equal((part + copied).gram, 2 * part.gram)


def test_sum_begins_with_its_own_zero():
    parts = [equations(random_data(5, 2, 2, seed=3))] * 3
    for total in (sum(parts), sum(iter(parts)), 0 + parts[0] + parts[1] + parts[2]):
        assert np.array_equal(total.gram, sum(parts, lt.NormalEquations.empty(parts[0].start)).gram)


def test_what_does_not_merge():
    part = lt.NormalEquations.of(np.ones((2, 2)), np.ones(2), START)
    for other in (1, 0.0, False, None, np.float64(0.0), np.zeros(())):
        with pytest.raises(TypeError):
            part + other
        with pytest.raises(TypeError):
            other + part
    with pytest.raises(TypeError):
        part + 0  # nobody's beginning
    with pytest.raises(lt.InvalidValueError, match="another start"):
        part + lt.NormalEquations.empty(START + 1)
    with pytest.raises(lt.InvalidValueError, match="has 3 columns, this has 2"):
        part + lt.NormalEquations.empty(np.zeros(3))
    with pytest.raises(lt.InvalidValueError, match="no rows yet"):
        lt.NormalEquations.empty(START).solve()


UNITS = st.sampled_from([0, -13, -26, -50, -100])


def in_jax(function):
    """As arrays of JAX, in double precision."""

    def call(*arrays):
        with jax.enable_x64(True):
            return np.asarray(function(*map(jnp.asarray, arrays)))

    return call


WITH_NULL_SPACE = {
    "sums": lambda X, y, start: lt.NormalEquations.of(X, y, start).solve().theta,
    "sums in JAX": in_jax(lambda X, y, start: lt.NormalEquations.of(X, y, start).solve().theta),
    "rows in JAX": in_jax(lambda X, y, start: lt.solve(X, y, start).theta),
    "rows": lambda X, y, start: lt.solve(X, y, start).theta,
}


@pytest.mark.parametrize("name", WITH_NULL_SPACE)
@settings(max_examples=25)
@given(
    st.lists(st.sampled_from([None, 0, 1, 2]), min_size=2, max_size=6),
    st.lists(UNITS, min_size=6, max_size=6),
    SEEDS,
)
def test_what_depends_in_one_unit_leaves_columns_of_another_alone(name, copied, units, seed):
    """Columns of zeros, and copies of three columns, each in a unit of its own (a power of two): against fractions."""
    data = random_data(9, 3, 3, condition=2.0, seed=seed)
    copies = np.array([np.zeros(9) if k is None else data.X[:, k] for k in copied]).T
    scale = np.array(units[: len(copied)])
    X, start = np.ldexp(copies, scale), np.ldexp(np.arange(1.0, 1 + len(copied)), -scale)
    want = start + np.array(list(map(float, closest(X, data.y, start).displacement)))
    found = WITH_NULL_SPACE[name](X, data.y, start)
    room = np.ldexp(abs(np.ldexp(want, scale)).max() + len(copied), -scale)
    assert near(found / room, want / room, 400.0, 1.0)
    idle = np.array([k is None for k in copied])
    assert np.array_equal(found[idle], start[idle])


@given(
    a=st.integers(-1000, 1000), b=st.integers(-1000, 1000), shape=st.sampled_from([(5, 2), (2, 4), (1, 1)])
)
@example(a=-1000, b=0, shape=(5, 2)).via("squares of X below the floats")
@example(a=-300, b=-1000, shape=(5, 2)).via("squares of residuals below the floats")
def test_units_of_any_size_scale_the_answer_or_are_refused(a, b, shape):
    """X in units of 2ᵃ and y of 2ᵇ: θ comes in units of 2ᵇ⁻ᵃ, or one error says that squares are no floats."""
    rng = np.random.default_rng(shape)
    X, y = rng.integers(-9, 10, shape) + 0.5, rng.integers(1, 9, shape[0]) + 0.0
    want = lt.NormalEquations.of(X, y, np.zeros(shape[1])).solve().theta
    assume(-1000 < b - a < 1000)
    solve = lambda: lt.NormalEquations.of(np.ldexp(X, a), np.ldexp(y, b), np.zeros(shape[1])).solve().theta
    if min(a, b) < -500 or max(a, b) > 515:  # their squares are no floats
        with pytest.raises(lt.InvalidValueError, match="flow"):
            solve()
    elif min(a, b) > -480 and max(a, b) < 500:
        assert near(np.ldexp(solve(), a - b), want, 100 * np.linalg.cond(X) ** 2)


@pytest.mark.parametrize("traced", [False, True])
def test_a_row_without_weight_is_no_sum_that_underflowed(traced):
    """The only one in which a column, or a label, is not 0."""
    X, y = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 5.0]]), np.array([0.0, 0.0, 7.0])
    solved = lambda *rows: lt.NormalEquations.of(*rows).solve()
    solved = jax.jit(solved) if traced else solved
    for labels, theta in ((y + np.array([1.0, 2.0, 0.0]), [1.0, 4.0]), (y, [0.0, 4.0])):
        solution = solved(X, labels, np.array([0.0, 4.0]), np.array([1.0, 1.0, 0.0]))
        assert np.allclose(solution.theta, theta, rtol=1e-14)
        assert solution.rank == 1
        assert abs(solution.residual) <= 64 * EPS * (labels**2).sum()  # a difference of sums


def test_under_tracing_sums_of_what_is_too_small_are_no_number():
    of = jax.jit(lambda X, y: lt.NormalEquations.of(X, y, jnp.zeros(2)).solve().theta)
    X, y = np.array([[1.0, 2.0], [3.0, 1.0]]), np.ones(2)
    assert jnp.isfinite(of(X, y)).all()
    for small in ((1e-200 * X, y), (X, 1e-200 * y)):
        assert jnp.isnan(of(*small)).all()


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_residual_is_that_of_the_labels_alone_beside_a_ridge_too(ridge):
    rng = np.random.default_rng(23)
    X, y, weights, start = rng.normal(size=(8, 2)), rng.normal(size=8), rng.uniform(0.1, 1.0, 8), [0.3, -0.4]
    found = lt.NormalEquations.of(X, y, start, weights).solve(ridge)
    assert np.isclose(found.residual, weights @ (y - X @ found.theta) ** 2, rtol=1e-12)
    assert np.isclose(found.residual, lt.solve(X, y, start, weights, ridge).residual, rtol=1e-12)
