"""Laws of the weights: section 4, Proposition 4.3, and the twins of FLOW."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import linear_theory as lt
from linear_theory import weights
from linear_theory.testing.tolerances import near, not_above
from linear_theory.weights import KLDRO, Flow, HardThreshold, Uniform, as_rule
from tests.strategies import SEEDS, log_uniform

LOSSES = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1e3, allow_subnormal=False))
WARMTH = log_uniform(2e-2, 1e4)
"""τ beside the largest loss: exponents stay above −50."""


def temperature_for(losses, warmth):
    return warmth * (1.0 + losses.max())


@given(LOSSES, WARMTH)
def test_weights_fall_with_the_loss_within_zero_and_one(losses, warmth):
    weights = lt.flow_weights(losses, temperature_for(losses, warmth))
    assert weights.shape == losses.shape
    assert ((weights > 0) & (weights <= 1)).all()
    assert (np.diff(weights[np.argsort(losses)]) <= 0).all()
    assert (weights[losses == 0] == 1).all()


@given(LOSSES, WARMTH, SEEDS)
def test_weights_follow_their_samples(losses, warmth, seed):
    order = np.random.default_rng(seed).permutation(len(losses))
    tau = temperature_for(losses, warmth)
    assert near(lt.flow_weights(losses[order], tau), lt.flow_weights(losses, tau)[order])


@given(LOSSES, WARMTH, log_uniform(1e-6, 1e6))
def test_only_the_ratio_of_loss_and_temperature_counts(losses, warmth, c):
    tau = temperature_for(losses, warmth)
    exponent = (losses / tau).max(initial=0.0)
    assert near(lt.flow_weights(c * losses, c * tau), lt.flow_weights(losses, tau), exponent)


@given(LOSSES, WARMTH, st.floats(0, 1e3))
def test_a_constant_loss_is_a_common_factor(losses, warmth, constant):
    tau = temperature_for(losses, warmth) + constant
    together = lt.flow_weights(losses + constant, tau)
    assert near(together, math.exp(-constant / tau) * lt.flow_weights(losses, tau), 10 / warmth)


@given(LOSSES, WARMTH)
def test_the_square_is_the_tilt_at_half_the_temperature(losses, warmth):
    tau = temperature_for(losses, warmth)
    assert near(lt.flow_weights(losses, tau / 2), lt.flow_weights(losses, tau) ** 2, 100 / warmth)


@given(LOSSES)
def test_infinite_temperature_is_unweighted(losses):
    assert (lt.flow_weights(losses, math.inf) == 1).all()
    assert (np.exp(Uniform().log_weights(losses)) == 1).all()
    assert lt.effective_sample_size(lt.flow_weights(losses, math.inf)) == pytest.approx(len(losses))


@given(LOSSES)
def test_the_default_is_the_median(losses):
    if np.median(losses) == 0:
        with pytest.raises(lt.InvalidValueError, match="already fits half"):
            lt.flow_weights(losses)
        return
    assert lt.median_temperature(losses) == np.median(losses)
    if losses.min() < 700 * np.median(losses):
        assert (lt.flow_weights(losses) == lt.flow_weights(losses, np.median(losses))).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_traced_median_of_losses_one_of_which_is_none_is_none(count, bad):
    """Wherever it stands; sorted, it would be the last and leave the middle alone."""
    median = jax.jit(lt.median_temperature)
    for place in range(count):
        assert jnp.isnan(median(jnp.ones(count).at[place].set(bad)))
    assert median(jnp.ones(count)) == 1


# ------------------------------------------------------------------------------------------- Proposition 4.3


def objective(shares, losses, tau):
    """Σ πᵢfᵢ + τ Σ πᵢ log πᵢ, with 0 log 0 = 0."""
    positive = np.where(shares > 0, shares, 1.0)
    return shares @ losses + tau * (shares * np.log(positive)).sum()


def free_energy(losses, tau):
    """The minimum over the simplex: −τ log Σ exp(−fᵢ/τ)."""
    return losses.min() - tau * np.log(np.exp(-(losses - losses.min()) / tau).sum())


def attains_the_minimum(weights, losses, tau):
    shares = weights / weights.sum()
    scale = losses.max(initial=0.0) + tau * (1 + math.log(len(losses)))
    return not_above(objective(shares, losses, tau), free_energy(losses, tau), scale=scale)


@given(LOSSES, WARMTH, SEEDS)
def test_no_other_distribution_is_lower(losses, warmth, seed):
    """The Gibbs variational inequality; near the optimum, at its corners and anywhere."""
    tau, n = temperature_for(losses, warmth), len(losses)
    weights = lt.flow_weights(losses, tau)
    assert attains_the_minimum(weights, losses, tau)
    rng = np.random.default_rng(seed)
    nearby = weights * np.exp(0.01 * rng.standard_normal((5, n)))
    others = [*rng.dirichlet(np.ones(n), 5), *(nearby / nearby.sum(axis=1, keepdims=True)), np.eye(n)[0]]
    best = objective(weights / weights.sum(), losses, tau)
    scale = losses.max() + tau * (1 + math.log(n))
    assert all(not_above(best, objective(other, losses, tau), scale=scale) for other in others)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda f, tau: lt.flow_weights(f, 2 * tau),
        lambda f, tau: lt.flow_weights(f, 0.999 * tau),
        lambda f, tau: np.exp(KLDRO(tau).log_weights(f)),
        lambda f, tau: np.ones_like(f),
        lambda f, tau: np.exp(-np.sqrt(f) / tau),
    ],
    ids=["2τ", "0.999 τ", "KL-DRO", "uniform", "|r| for r²"],
)
def test_minimum_rejects(mutant):
    losses = np.array([0.1, 1.0, 3.0, 0.7])
    assert attains_the_minimum(lt.flow_weights(losses, 0.5), losses, 0.5)
    assert not attains_the_minimum(mutant(losses, 0.5), losses, 0.5)


# --------------------------------------------------------------------------------------------------- others


@given(LOSSES, WARMTH)
def test_kl_dro_is_the_twin_with_the_sign_flipped(losses, warmth):
    tau = temperature_for(losses, warmth)
    assert (KLDRO(tau).log_weights(losses) == -Flow(tau).log_weights(losses)).all()
    assert (np.diff(KLDRO(tau).log_weights(np.sort(losses))) >= 0).all()


@given(LOSSES, log_uniform(1e-2, 1e2))
def test_hard_threshold_is_on_the_residual(losses, cutoff):
    weights = np.exp(HardThreshold(cutoff).log_weights(losses))
    assert set(np.unique(weights)) <= {0.0, 1.0}
    inside = losses < cutoff**2
    clear = abs(losses - cutoff**2) > 4 * np.spacing(cutoff**2)
    assert (weights[clear] == inside[clear]).all()


def test_a_number_means_flow_and_a_rule_itself():
    assert isinstance(as_rule(2.0), Flow)
    rule = KLDRO(3.0)
    assert as_rule(rule) is rule


POSITIVE = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(1e-3, 1.0))


@given(POSITIVE, log_uniform(1e-200, 1e200))
def test_effective_samples_lie_between_one_and_n_whatever_the_unit(weights, c):
    worth = lt.effective_sample_size(weights)
    assert not_above(1.0, worth)
    assert not_above(worth, len(weights))
    assert near(lt.effective_sample_size(c * weights), worth)
    assert near(lt.effective_sample_size(np.r_[weights, weights]), 2 * worth)
    assert near(lt.effective_sample_size(np.r_[weights, 0.0, 0.0]), worth)
    assert lt.effective_sample_size(np.eye(len(weights))[0]) == 1
    with pytest.raises(lt.InvalidValueError, match="must be finite and ≥ 0"):
        lt.effective_sample_size(np.r_[weights, math.inf])


@given(LOSSES, WARMTH, st.floats(1, 100))
def test_more_warmth_more_samples(losses, warmth, factor):
    tau = temperature_for(losses, warmth)
    cold, warm = (lt.effective_sample_size(lt.flow_weights(losses, t)) for t in (tau, factor * tau))
    assert not_above(cold, warm)


def test_tiny_and_huge_temperatures_pass_in_silence():
    losses = np.array([0.0, 1.0, 1e300])
    assert (lt.flow_weights(losses, 5e-324) == [1, 0, 0]).all()
    assert (lt.flow_weights(losses, 1e308) > 0.98).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_parameter_that_xla_takes_for_zero_is_refused_there_and_no_other(dtype):
    """Numbers below the smallest normal one: divided by 0, losses of 0 would have no weight."""
    smallest, losses = float(jnp.finfo(dtype).tiny), np.zeros(2)
    rules = (
        Flow, KLDRO, HardThreshold, weights.HardSamples, weights.Cauchy, weights.Huber, weights.Tukey,
        lambda c: weights.Focal(c, 1.0), lambda c: weights.Power(1.0, c), lambda c: weights.Clipped(c, 0.1),
        lambda c: weights.Clipped(1.0, c),
    )  # fmt: skip
    for rule in rules:
        assert not np.isnan(rule(smallest / 64).log_weights(losses)).any()
        assert not np.isnan(rule(smallest).log_weights(jnp.asarray(losses, dtype))).any()
        with pytest.raises(lt.InvalidValueError, match="must be above the smallest number of float"):
            rule(smallest / 64).log_weights(jnp.asarray(losses, dtype))
    traced = jax.jit(lambda tau, given: Flow(tau).log_weights(given))
    assert np.isnan(traced(dtype(smallest / 64), jnp.asarray(losses, dtype))).all()


def test_the_median_of_two_losses_whose_sum_is_no_float_is_in_their_middle():
    assert lt.median_temperature([1.2e308, 1.6e308]) == 0.6e308 + 0.8e308
    found = lt.streaming.median_loss([(np.zeros((2, 1)), np.array([1.1e154, 1.3e154]))], np.zeros(1))
    assert np.isclose(found.value, (1.1e154**2) / 2 + (1.3e154**2) / 2, rtol=1e-12)
