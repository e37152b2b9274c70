"""A covariance through its operations: each agrees with the matrix, and the downdate does not cancel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.covariance import Dense, RankOneDowndate, checked_covariance
from linear_theory.testing.tolerances import EPS, near, spectral_condition
from tests.strategies import SEEDS, log_uniform, random_covariance

RATIOS = st.one_of(st.just(0.0), log_uniform(1e-12, 1.0), log_uniform(1.0, 1e3))


@st.composite
def downdates(draw, dims=st.integers(1, 6)):
    """A − (1 − ratio) A e eᵀA/(eᵀAe)."""
    dim, seed = draw(dims), draw(SEEDS)
    matrix = random_covariance(dim, draw(log_uniform(1.0, 1e3)), 1.2, seed)
    direction = np.random.default_rng(seed).standard_normal(dim)
    return RankOneDowndate(Dense(matrix), direction, np.float64(draw(RATIOS)))


def literal(covariance):
    """The defining formula, cancellation and all."""
    image = covariance.base.matrix @ covariance.direction
    pulled = np.outer(image, image) / (covariance.direction @ image)
    return covariance.base.matrix - (1 - covariance.ratio) * pulled


def scale(covariance):
    return np.abs(covariance.base.matrix).max() * max(1.0, float(covariance.ratio))


@given(downdates(), SEEDS)
def test_operations_agree_with_the_matrix(covariance, seed):
    V = np.random.default_rng(seed).standard_normal((3, covariance.direction.shape[0]))
    matrix, loss = covariance.dense(), spectral_condition(covariance.base.matrix)
    size = scale(covariance) * np.abs(V).max() ** 2
    assert near(matrix, literal(covariance), loss, scale(covariance))
    assert np.array_equal(matrix, matrix.T)
    assert near(covariance.apply(V), V @ matrix, loss, size)
    assert near(covariance.quadratic(V), np.einsum("ni,ij,nj->n", V, matrix, V), loss, size)
    assert near(covariance.apply(V)[0], covariance.apply(V[0]), loss, size)


@given(downdates())
def test_eigenbasis(covariance):
    for either in (covariance, covariance.base):
        values, vectors = either.eigh()
        loss = spectral_condition(covariance.base.matrix)
        assert (values >= 0).all()
        assert near(vectors @ vectors.T, np.eye(len(values)), len(values))
        assert near((vectors * values) @ vectors.T, either.dense(), loss, scale(covariance))


def quadratic_keeps_its_digits(form, covariance):
    """vᵀ(·)v at v = e is ratio · eᵀAe, to relative accuracy however small the ratio."""
    want = covariance.ratio * covariance.base.quadratic(covariance.direction)
    loss = spectral_condition(covariance.base.matrix)
    return near(form(covariance, covariance.direction), want, loss)


@given(downdates())
def test_quadratic_form_does_not_cancel(covariance):
    assert quadratic_keeps_its_digits(RankOneDowndate.quadratic, covariance)


def test_quadratic_form_rejects_the_subtraction():
    covariance = RankOneDowndate(
        Dense(random_covariance(3, 3.0, 1.2, 5)), np.array([0.3, -1.1, 0.7]), np.float64(1e-12)
    )
    assert quadratic_keeps_its_digits(RankOneDowndate.quadratic, covariance)
    assert not quadratic_keeps_its_digits(lambda c, v: v @ literal(c) @ v, covariance)


def test_nothing_in_that_direction_changes_nothing():
    matrix = np.diag([0.0, 1.0, 2.0])
    for direction in (np.zeros(3), np.array([1.0, 0, 0])):
        downdated = RankOneDowndate(Dense(matrix), direction, np.float64(0.5))
        assert np.array_equal(downdated.dense(), matrix)


def test_rank_is_decided_once():
    """An eigenvalue that is rounding is exactly 0, so that a null space stays one for every K and t."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    singular = (basis * [0.0, 0.0, 1.0, 2.0]) @ basis.T
    singular = (singular + singular.T) / 2
    assert (Dense(singular).eigh()[0][:2] == 0).all()
    assert (RankOneDowndate(Dense(singular), basis @ np.ones(4), np.float64(0.5)).eigh()[0] == 0).sum() == 2
    assert (Dense(np.zeros((2, 2))).eigh()[0] == 0).all()


@given(st.integers(1, 6), SEEDS, log_uniform(1e-8, 1e8))
def test_check_passes_the_matrix_on_unchanged(dim, seed, unit):
    matrix = unit * random_covariance(dim, 100.0, 1.0, seed)
    assert np.array_equal(checked_covariance(namespace(), "C", matrix, dim), matrix)


@given(st.integers(2, 6), SEEDS, log_uniform(1e-8, 1e8), log_uniform(1e-9, 1.0))
def test_check_refuses_what_is_more_than_rounding(dim, seed, unit, gap):
    matrix = unit * random_covariance(dim, 1.0, 1.0, seed)
    assert gap > 100 * dim * EPS
    lopsided = matrix.copy()
    lopsided[0, 1] += gap * unit
    with pytest.raises(lt.InvalidValueError, match=r"(?s)C = .*not symmetric.*\(C \+ C\.T\)/2"):
        checked_covariance(namespace(), "C", lopsided, dim)
    with pytest.raises(lt.InvalidValueError, match="not positive semi-definite"):
        checked_covariance(namespace(), "C", matrix - (1 + gap) * unit * np.eye(dim), dim)


def test_what_the_direction_does_not_reach_stays_between_what_it_does():
    """In JAX, too, where eigenvalues that are moved up or down pass by those that are not."""
    A, e, ratios = np.diag([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, 2.0, 0.0]), [1e-3, 0.3, 1.0, 7.0, 1e3]
    values = lambda ratio: RankOneDowndate(Dense(jnp.asarray(A)), jnp.asarray(e), ratio).eigh()[0]
    for ratio, found in zip(ratios, jax.jit(jax.vmap(values))(jnp.array(ratios)), strict=True):
        want = np.linalg.eigvalsh(literal(RankOneDowndate(Dense(A), e, ratio)))
        assert near(np.sort(found), want, 100, max(ratio, 1.0))
        assert {2.0, 4.0} <= set(np.asarray(found).tolist())


def test_the_direction_is_known_by_its_value():
    """An equal vector has the same coordinates to the bit, also 10⁻²⁰⁰ small ones, and under ``jit`` their digits."""
    base = lt.covariance.Dense(np.array([[2.0, 0.5, 0.0], [0.5, 3.0, 1.0], [0.0, 1.0, 5.0]]))
    e = np.array([1.0, 2.0, 3.0])
    weighted = lt.covariance.RankOneDowndate(base, e, np.array(1e-200))
    for one, other in zip(weighted.spectrum(e), weighted.spectrum(e.copy()), strict=True):
        assert np.array_equal(one, other)
    assert abs(weighted.spectrum(e).coordinates).min() < 1e-150
    operator = lt.covariance.Operator(lambda v: v @ base.matrix, 3)
    weighted = lt.covariance.RankOneDowndate(operator, e, np.array(1e-200))
    itself, equal = (weighted.reach(v, lambda _: True) for v in (e, e.copy()))
    assert np.array_equal(itself.coordinates, equal.coordinates)
    weighted = lt.covariance.RankOneDowndate(base, e, np.array(1e-20))
    with jax.enable_x64(True):
        traced = jax.jit(lambda A, v: abs(A.spectrum(v).coordinates))
        got = traced(jax.tree.map(jnp.asarray, weighted), jnp.asarray(e))
    assert np.allclose(got, abs(weighted.spectrum(e).coordinates), rtol=1e-12, atol=0)
