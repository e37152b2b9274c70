"""The ground floor: which engine answers, what is checked, and how an error reads."""

from __future__ import annotations

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import linear_theory as lt
from linear_theory.arrays import (
    blockwise,
    bounded,
    broadcast,
    finite,
    in_units,
    namespace,
    numeric,
    quotient,
    require,
    share,
)
from linear_theory.errors import short
from linear_theory.trees import is_concrete, pytree

NUMPY = namespace()
JAX32 = namespace(jnp.zeros(1, jnp.float32))
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def test_any_jax_leaf_decides_the_engine_and_its_precision():
    assert NUMPY.xp is np
    assert NUMPY.dtype == np.float64
    assert namespace(1.0, [2.0], np.float32(3), None, "text").xp is np
    for dtype in (jnp.float32, jnp.float64):
        for values in (
            (jnp.zeros(1, dtype),),
            (1.0, [np.ones(2), jnp.zeros((), dtype)]),
            ({"a": jnp.ones(1, dtype)},),
        ):
            space = namespace(*values)
            assert space.xp is jnp
            assert space.dtype == dtype
            assert space.array(1).dtype == dtype
            assert space.eps == np.finfo(dtype).eps
    assert namespace(jnp.arange(3)).dtype == jnp.float64  # integers have no precision of their own
    assert namespace(lt.paper_problem(jnp.asarray(0.5, jnp.float32))).dtype == jnp.float32


@given(hnp.arrays(st.sampled_from([np.int32, np.uint8, np.float32, np.float64]), SHAPES), st.integers(0, 3))
def test_the_number_of_axes_is_never_changed(value, axes):
    if value.ndim == axes:
        result = numeric(NUMPY, "x", value, axes)
        assert result.dtype == np.float64
        assert np.array_equal(result, value, equal_nan=value.dtype.kind == "f")
    else:
        with pytest.raises(lt.InvalidValueError, match=r"x = .*shape"):
            numeric(NUMPY, "x", value, axes)


@given(hnp.arrays(np.float64, 3, elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_finite_means_finite(value):
    if np.isfinite(value).all():
        assert np.array_equal(finite(NUMPY, "x", value, 1), value)
    else:
        with pytest.raises(lt.InvalidValueError, match="must be finite"):
            finite(NUMPY, "x", value, 1)


@pytest.mark.parametrize(
    "value", ["1", None, 1j, True, [True], object(), np.array(["a"]), np.datetime64("2020-01-01")]
)
def test_only_real_numbers_are_numbers(value):
    with pytest.raises(lt.InvalidTypeError, match="must hold real numbers"):
        numeric(NUMPY, "x", value, (0, 1))


def test_under_tracing_a_bad_value_is_nan_and_a_bad_shape_an_error():
    accept = lambda v: v > 0
    traced = jax.jit(lambda v: bounded(namespace(v), "x", v, accept, "must be > 0"))
    assert traced(2.0) == 2
    assert math.isnan(traced(-2.0))
    with pytest.raises(lt.InvalidValueError, match="must be a number"):
        traced(jnp.ones(2))
    with pytest.raises(lt.InvalidValueError, match=r"x = -2\.0: must be > 0"):
        bounded(NUMPY, "x", -2.0, accept, "must be > 0")
    assert require(NUMPY, "x", np.ones(2), np.True_, "…").tolist() == [1, 1]
    assert is_concrete(1.0, jnp.ones(2), None)
    assert not jax.jit(lambda v: jnp.asarray(is_concrete(v)))(1.0)


@given(st.floats(-10, 10), st.floats(-10, 10, allow_subnormal=False))
def test_quotient_is_division_except_by_zero(a, b):
    want = a / b if b else 7.0
    assert quotient(NUMPY, np.float64(a), np.float64(b), 7.0) == want
    slope = jax.grad(lambda v: quotient(namespace(v), jnp.asarray(a), v, 7.0))(b)
    assert slope == 0 if b == 0 else np.isfinite(slope) or abs(b) < 1e-150


EXPONENTS = st.integers(-1000, 1000)


@given(EXPONENTS, EXPONENTS, EXPONENTS)
def test_a_product_leaves_the_floats_only_where_the_whole_does(array, one, other):
    """Powers of two, whose products are exact."""
    if -1020 <= array + one + other <= 1020:
        got = in_units(NUMPY, *(np.ldexp(1.0, power) for power in (array, one, other)))
        assert got == np.ldexp(1.0, array + one + other)


SIZES = st.one_of(st.sampled_from([0.0, 5e-324, 1.0, 1e308, math.inf]), st.floats(0, 1e308))


@given(SIZES, SIZES)
@example(0.0, 0.0)
@example(math.inf, 0.0)
@example(0.0, math.inf)
def test_two_shares_are_a_whole(part, other):
    """Of numbers of any size; the larger has more; and of nothing at all they are what the caller says."""
    assume(not math.isinf(part) or not math.isinf(other))
    one, two = (float(share(NUMPY, *map(np.float64, pair), 0.25)) for pair in ((part, other), (other, part)))
    if part == other == 0:
        assert (one, two) == (0.25, 0.25)
        return
    assert math.isclose(one + two, 1.0, rel_tol=1e-15)
    assert (one >= two) == (part >= other) or math.isclose(one, two, rel_tol=1e-15)
    if math.isfinite(part + other):
        assert math.isclose(
            one, Fraction(part) / (Fraction(part) + Fraction(other)), rel_tol=1e-15, abs_tol=1e-320
        )


@pytest.mark.parametrize("shapes", [((50_000,), (), (50_000,)), ((300, 1), (200,), (300, 200))])
def test_what_is_computed_in_blocks_is_what_is_computed_at_once(shapes):
    """Each result in its place, however the arguments broadcast; what is a truth value stays one."""
    rng = np.random.default_rng(0)
    one, other, odd = (rng.standard_normal(shape) for shape in shapes)
    function = lambda a, b, flips: (a - 2 * b, np.where(flips, -a, b))
    want = function(one, other, odd > 0)
    found = blockwise(function, 2, np.asarray(one), np.asarray(other), np.asarray(odd > 0))
    assert all(np.array_equal(a, b) for a, b in zip(found, want, strict=True))


def test_shapes_that_do_not_broadcast_are_named():
    broadcast(a=np.ones((2, 1)), b=np.ones(3))
    with pytest.raises(lt.InvalidValueError, match=r"a \(2,\), b \(3,\)"):
        broadcast(a=np.ones(2), b=np.ones(3))


def test_an_error_carries_its_parts_and_reads_on_one_line():
    error = lt.InvalidValueError("x", np.eye(2), "must be something else")
    assert error.argument == "x"
    assert error.value.shape == (2, 2)
    assert error.remedy == "must be something else"
    assert str(error) == "x = array([[1., 0.], [0., 1.]]): must be something else"
    assert short(np.zeros((3, 3))) == "array of shape (3, 3)"
    assert len(short("a" * 1000)) == 80
    assert short(np.float64(2.5)) == "2.5"
    assert issubclass(lt.InvalidValueError, ValueError)
    assert issubclass(lt.InvalidTypeError, TypeError)


def test_a_pytree_is_rebuilt_without_its_checks():
    @pytree
    class Positive:
        value: float

        def __post_init__(self):
            if not self.value > 0:
                raise ValueError("not positive")

    with pytest.raises(ValueError, match="not positive"):
        Positive(-1.0)
    assert jax.tree.map(lambda v: -v, Positive(1.0)).value == -1


def test_an_overflow_of_the_smaller_precision_is_silent():
    assert JAX32.array(1e300) == jnp.inf
    assert all(leaf.dtype == jnp.float32 for leaf in JAX32.tree((np.ones(2), 1.0)))
