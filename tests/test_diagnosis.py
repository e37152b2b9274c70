"""Laws of the diagnosis of a user's own rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from tests.strategies import SEEDS, data, log_uniform, orthogonal, random_covariance, random_data
from tests.test_least_squares import extent, loss
from tests.tolerances import near, not_above, spectral_condition

TALL = data(rows=st.integers(8, 20), columns=st.integers(1, 5), full_rank=True, weights=st.just(False))
WARMTH = log_uniform(0.1, 1e3)


def losses_of(problem):
    return (problem.y - problem.X @ problem.start) ** 2


def diagnosed(problem, warmth, **options):
    tau = warmth * float(np.median(losses_of(problem)))
    return lt.diagnose(problem.X, problem.y, problem.start, tau, **options), tau


@given(TALL, WARMTH)
def test_it_is_made_of_the_public_parts(problem, warmth):
    d, tau = diagnosed(problem, warmth)
    X, y, start = problem.X, problem.y, problem.start
    rule = lt.weights.Flow(tau)
    log_weights = rule.log_weights(losses_of(problem))
    w = np.exp(log_weights - log_weights.max())
    kappa = loss(problem, 0) * w.max() / w.min()
    plain, weighted = lt.solve(X, y, start).theta, lt.solve(X, y, start, w).theta
    assert d.temperature == tau
    assert near(d.effective_samples, lt.effective_sample_size(w))
    assert near(d.shift, start - plain, kappa, extent(problem))
    excess = [np.mean((X @ (theta - plain)) ** 2) for theta in (start, weighted, plain)]
    scale = np.linalg.norm(X) ** 2 * extent(problem) ** 2
    assert near(d.target_errors, excess, kappa, scale)
    moved = [0.0, ((weighted - start) ** 2).sum(), ((plain - start) ** 2).sum()]
    assert near(d.forgetting, moved, kappa, extent(problem) ** 2 * kappa**0.5)
    assert d.forgetting_measure == "‖θ − θ*‖²"


@given(TALL, WARMTH)
def test_spectra_and_stalled_direction(problem, warmth):
    d, tau = diagnosed(problem, warmth)
    w = np.exp(-(losses_of(problem) - losses_of(problem).min()) / tau)
    for row, share in zip(d.spectrum, (np.ones_like(w), w), strict=True):
        gram = (problem.X * (share / share.sum())[:, None]).T @ problem.X
        assert near(row, np.linalg.eigvalsh(gram), 10 * gram.shape[0], np.linalg.norm(gram, 2))
        assert (np.diff(row) >= 0).all()
    v = d.stalled_direction
    assert near(v @ v, 1.0)
    assert near(gram @ v, d.spectrum[1, 0] * v, 10 * gram.shape[0], np.linalg.norm(gram, 2))
    assert not_above(d.overlap, 1.0)
    assert near(d.overlap * np.linalg.norm(d.shift), abs(v @ d.shift), 10, np.linalg.norm(d.shift))
    slow = d.spectrum[1, 0]
    if 0 < slow < 1:
        assert near(d.half_life * math.log1p(-slow), -math.log(2))


def test_the_half_life_rejects_another_unit():
    """Steps at η = 1/(2 mean w), under which the slow direction keeps 1 − λ a step."""
    problem = random_data(20, 3, 3, condition=5.0, seed=1)
    d, _ = diagnosed(problem, 1.0)
    slow = d.spectrum[1, 0]
    assert near((1 - slow) ** d.half_life, 0.5, d.half_life)
    assert not near((1 - slow / 2) ** d.half_life, 0.5, d.half_life)


@given(TALL, WARMTH)
def test_infinite_temperature_is_unweighted(problem, warmth):
    d = lt.diagnose(problem.X, problem.y, problem.start, math.inf)
    assert near(d.effective_samples, len(problem.y))
    assert near(d.spectrum[0], d.spectrum[1], 100, d.spectrum.max())
    assert near(d.target_errors[1:], np.zeros(2), loss(problem, 0), d.target_errors[0] + 1)


@given(TALL, SEEDS)
def test_a_rotation_changes_no_number(problem, seed):
    basis = orthogonal(len(problem.start), np.random.default_rng(seed))
    one, _ = diagnosed(problem, 1.0)
    other = lt.diagnose(problem.X @ basis.T, problem.y, basis @ problem.start, one.temperature)
    kappa = 100 * loss(problem, 0) * np.exp(losses_of(problem).max() / one.temperature).clip(max=1e8)
    assert near(other.effective_samples, one.effective_samples, kappa)
    assert near(other.spectrum, one.spectrum, kappa, one.spectrum.max())
    assert near(other.target_errors, one.target_errors, kappa, one.target_errors.max() + 1)


@given(TALL, WARMTH, SEEDS)
def test_a_pretraining_covariance_weighs_the_forgetting(problem, warmth, seed):
    dim = len(problem.start)
    sigma = random_covariance(dim, 10.0, 3.0, seed)
    with_sigma, _ = diagnosed(problem, warmth, pretrain_covariance=sigma)
    identity, _ = diagnosed(problem, warmth, pretrain_covariance=np.eye(dim))
    without, _ = diagnosed(problem, warmth)
    assert np.array_equal(identity.forgetting, without.forgetting)
    assert with_sigma.forgetting_measure == "(θ − θ*)ᵀΣ(θ − θ*)"
    kappa = spectral_condition(sigma)
    assert not_above(with_sigma.forgetting, 3.0 * without.forgetting, kappa)
    assert not_above(0.3 * without.forgetting, with_sigma.forgetting, kappa)


def test_the_default_temperature_is_the_median_and_its_absence_is_named():
    problem = random_data(9, 3, 3, seed=4)
    d = lt.diagnose(problem.X, problem.y, problem.start)
    assert d.temperature == np.median(losses_of(problem))
    fitted = problem.X @ problem.start
    fitted[0] += 1.0
    with pytest.raises(lt.InvalidValueError, match="already fits half"):
        lt.diagnose(problem.X, fitted, problem.start)


def test_cold_weights_do_not_underflow():
    """Only differences of losses count, in logs: τ = 1e-300 keeps the easiest row."""
    problem = random_data(9, 3, 3, seed=4)
    d = lt.diagnose(problem.X, problem.y, problem.start, 1e-300)
    assert d.effective_samples == 1
    assert np.isfinite(d.spectrum).all()


def test_lists_will_do():
    d = lt.diagnose([[1, 0], [0, 1], [1, 1]], [1, 2, 4], [0, 0], 1.0, [[2, 0], [0, 2]])
    assert d.forgetting[0] == 0
    assert d.half_life > 0
