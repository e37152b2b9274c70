"""(I − 2ηA)^K and exp(−2tA): powers in all sizes, the semigroup law, and divided differences."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.covariance import Dense
from linear_theory.propagator.apply import Decay, propagate
from linear_theory.propagator.powers import GeometricSum, Power, count_steps, one_minus_power, power
from linear_theory.testing.tolerances import TINY, bound, near
from tests.strategies import SEEDS, STEPS, log_uniform, random_covariance

mp = mpmath.mp.clone()
mp.dps = 60
NUMPY = namespace()
RATES = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    log_uniform(1e-15, 0.5),
    st.floats(0, 2),
    log_uniform(1e-15, 0.5).map(lambda x: 2 - x),
)


def agrees(got, want, loss):
    return abs(mp.mpf(float(got)) - want) <= bound(loss) * abs(want) + 8 * TINY


def power_law(function, x, steps):
    """(1 − x)^K to relative accuracy: x is exact, so an exponent of 745, known to ε, is the worst case."""
    want = (1 - mp.mpf(x)) ** steps
    return agrees(function(np.float64(x), count_steps(NUMPY, steps)), want, 745 if want else 0)


@given(RATES, STEPS)
def test_power(x, steps):
    assert power_law(power, x, steps)


@pytest.mark.parametrize("x", [0.0, 0.3, 0.99, 1.01, 1.5, 2.0])
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_taylor_coefficients_on_either_side_of_one(x, steps, order):
    """f⁽ʲ⁾(x)/j! of (1 − x)^K, in units of the radius from the order on."""
    kernel = Power(count_steps(NUMPY, steps))
    at = np.array([x])
    radius = mp.mpf(float(kernel.radius(at)[0]))
    found = kernel.taylor(at, order)
    for j, one in enumerate(np.ravel(found), start=order):
        exact = (
            (-1) ** j * mp.binomial(steps, j) * (1 - mp.mpf(x)) ** (steps - j) if j <= steps else mp.mpf(0)
        )
        assert agrees(one, exact * radius ** (j - order), 1e3)


@given(RATES, STEPS)
def test_one_minus_power(x, steps):
    with mp.workdps(400):  # x may be as small as a float can be
        want = 1 - (1 - mp.mpf(x)) ** steps
    got = one_minus_power(np.float64(x), count_steps(NUMPY, steps))
    # Near x = 2 and even K, 1 − (1−x)^K is expm1 of K log|1−x|, each to relative accuracy.
    assert agrees(got, want, 745)


def test_power_rejects():
    for mutant in (
        lambda x, s: (1 - x) ** s.count,  # 1 − x rounds
        lambda x, s: np.abs(power(x, s)),  # parity lost
        lambda x, s: power(x, s.less(1)),
    ):
        cases = [(1e-9, 10**9), (1.7, 3), (0.3, 5)]
        assert all(power_law(power, *case) for case in cases)
        assert not all(power_law(mutant, *case) for case in cases)


@given(st.integers(0, 10**400))
def test_steps_keep_their_parity_and_magnitude(steps):
    split = count_steps(NUMPY, steps)
    assert bool(split.odd) == bool(steps % 2)
    assert split.count == (float(steps) if steps < 2**1023 else np.finfo(float).max)


def test_more_steps_than_a_narrow_float_holds_have_a_derivative():
    """(1 − x)^K is 0 there, and so is its slope: in float32 as in float64."""
    for dtype in (jnp.float32, jnp.float64):
        steps = count_steps(namespace(dtype(0.0)), 10**400)
        assert power(dtype(0.5), steps) == jax.grad(power)(dtype(0.5), steps) == 0


def test_steps_beyond_every_float():
    for steps in (10**400, 10**400 + 1):
        assert power(np.float64(0.5), count_steps(NUMPY, steps)) == 0
        assert power(np.float64(0.0), count_steps(NUMPY, steps)) == 1
        assert power(np.float64(2.0), count_steps(NUMPY, steps)) == (-1) ** steps
        assert power(np.float64(1.0), count_steps(NUMPY, steps)) == 0
        assert abs(power(np.float64(2.5), count_steps(NUMPY, steps))) == math.inf


# ------------------------------------------------------------------------------------------- vectors


@st.composite
def systems(draw):
    dim, seed = draw(st.integers(1, 5)), draw(SEEDS)
    covariance = Dense(random_covariance(dim, draw(log_uniform(1.0, 100.0)), 1.0, seed))
    return covariance, np.random.default_rng(seed).standard_normal(dim)


def steps_of(k):
    return Power(count_steps(NUMPY, k))


def walk(rate, k, A, v):
    """(I − rate·A)^K v."""
    return propagate(steps_of(k), np.float64(rate), A, v)


def flow(time, A, v):
    """exp(−time·A) v."""
    limit = math.isinf(time)
    return propagate(Decay(np.bool_(limit)), np.float64(1.0 if limit else time), A, v)


SMALL = st.integers(0, 50)


@given(systems(), st.floats(0.01, 1.9), SMALL, SMALL)
def test_steps_add(system, rate, first, second):
    """φ_{K₁+K₂} = φ_{K₂} φ_{K₁}: with fixed weights, descent has no memory."""
    A, v = system
    halfway = walk(rate, first, A, v)
    got = walk(rate, second, A, halfway)
    loss = 10 * len(v) * (1 + first + second)
    assert near(got, walk(rate, first + second, A, v), loss, np.abs(v).max())


@given(systems(), log_uniform(1e-3, 1e3), log_uniform(1e-3, 1e3))
def test_times_add(system, first, second):
    A, v = system
    got = flow(second, A, flow(first, A, v))
    want = flow(first + second, A, v)
    assert near(got, want, 10 * len(v) * (1 + first + second), np.abs(v).max())


@given(systems(), st.floats(0.01, 1.9), SMALL)
def test_it_is_the_matrix_power(system, rate, steps):
    A, v = system
    want = np.linalg.matrix_power(np.eye(len(v)) - rate * A.matrix, steps) @ v
    assert near(walk(rate, steps, A, v), want, 10 * len(v) * (1 + steps), np.abs(v).max())


@given(systems(), st.floats(0.01, 1.9))
def test_many_steps_at_once_are_the_single_ones(system, rate):
    A, v = system
    steps = [0, 1, 2, 10**9, 10**30]
    table = walk(rate, steps, A, v)
    assert table.shape == (5, len(v))
    for row, k in zip(table, steps, strict=True):
        assert near(row, walk(rate, k, A, v), len(v), np.abs(v).max())


def test_a_null_space_is_left_alone():
    A, v = Dense(np.diag([0.0, 1.0])), np.array([3.0, 4.0])
    assert walk(0.5, 10**12, A, v).tolist() == [3, 0]
    assert flow(math.inf, A, v).tolist() == [3, 0]


# ------------------------------------------------------------------------------------ divided differences

POINTS = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1.9, allow_subnormal=False))


SMALL_AND_LARGE = st.one_of(st.integers(0, 60), log_uniform(1.0, 1e40).map(int))


def exact_power_difference(a, b, rate, steps):
    a, b, rate = mp.mpf(a), mp.mpf(b), mp.mpf(rate)
    if a == b:
        return -rate * steps * (1 - rate * a) ** (steps - 1) if steps else mp.mpf(0)
    return ((1 - rate * a) ** steps - (1 - rate * b) ** steps) / (a - b)


def difference_law(difference, a, b, steps, gap_loss=0.0):
    """(φ(a) − φ(b))/(a − b), to the accuracy of its largest term K · max|1 − x|^(K−1) · rate."""
    rate = 1.0
    got = np.squeeze(difference(steps_of(steps), np.float64(a), np.float64(b)))
    want = exact_power_difference(a, b, rate, steps)
    largest = steps * max(abs(1 - mp.mpf(a)), abs(1 - mp.mpf(b))) ** max(steps - 1, 0)
    return abs(mp.mpf(float(got)) - want) <= bound(10 + gap_loss + 2 * steps) * largest + 8 * TINY


@given(POINTS, POINTS, st.one_of(st.just(0.0), log_uniform(1e-18, 1e-2)), st.integers(0, 60), st.booleans())
def test_power_difference(a, b, gap, steps, close):
    b = min(a + gap, 1.9) if close else b
    assume(a == b or abs(a - b) > 1e-30)
    assert difference_law(Power.divided_difference, a, b, steps)
    assert difference_law(lambda k, x, y: k.divided_difference(y, x), a, b, steps)


@given(
    log_uniform(1e-30, 0.9), log_uniform(1e-30, 0.9), log_uniform(1e-18, 1.0), SMALL_AND_LARGE, st.booleans()
)
def test_power_difference_of_many_steps(a, b, gap, steps, close):
    """All terms of −Σ (1 − x)^k (1 − y)^(K−1−k) are of one sign: every digit, though 1 − (1 − x) has none of x."""
    b = min(a * (1 + gap), 0.9) if close else b
    with mp.workdps(120):
        want = exact_power_difference(a, b, 1.0, steps)
        psi = exact_power_difference(a, 0.0, 1.0, steps)
    kernel = steps_of(steps)
    assert agrees(np.squeeze(kernel.divided_difference(np.float64(a), np.float64(b))), want, 745)
    assert agrees(np.squeeze(kernel.divided_difference(np.float64(b), np.float64(a))), want, 745)
    assert agrees(np.squeeze(GeometricSum(kernel.steps).differences(np.float64(a))), -psi, 745)


def test_power_difference_rejects_the_quotient():
    def quotient(kernel, a, b):
        gap = a - b if a != b else 1.0
        return (kernel.value(a[None])[0] - kernel.value(b[None])[0]) / gap

    assert difference_law(Power.divided_difference, 0.3, 0.3 + 1e-12, 7)
    assert not difference_law(quotient, 0.3, 0.3 + 1e-12, 7)
    assert not difference_law(quotient, 0.3, 0.3, 7)


@given(
    st.floats(0, 2),
    st.floats(0, 2),
    st.one_of(st.just(0.0), log_uniform(1e-18, 1e-2)),
    log_uniform(1e-3, 1e2),
)
def test_decay_difference(a, b, gap, rate):
    for other in (b, a + gap):
        assume(a == other or abs(a - other) > 1e-30)
        got = rate * Decay(np.bool_(False)).divided_difference(rate * np.float64(a), rate * np.float64(other))
        x, y, r = mp.mpf(a), mp.mpf(other), mp.mpf(rate)
        want = -r * mp.exp(-r * x) if a == other else (mp.exp(-r * x) - mp.exp(-r * y)) / (x - y)
        assert agrees(np.squeeze(got), want, 10 + 4 * rate)


def test_the_limit_has_no_slope():
    forever = Decay(np.bool_(True))
    table = forever.divided_difference(np.array([[0.0], [1.0]]), np.array([[0.0, 1.0]]))
    assert np.squeeze(table).tolist() == [[0.0, -1.0], [-1.0, 0.0]]


def test_operation_count_does_not_depend_on_the_steps():
    """A loop over K would not come back from here."""
    problem = lt.paper_problem(0.6)
    for steps in (10**12, 10**400):
        assert lt.iterate(problem, steps, temperature=1e-9).shape == (2,)
