"""Laws of the paper's plane: β, Lemma F.3, (14), (15) and Remarks 7.4-7.5, on the whole of 0 < β ≤ 1/ρ."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import EPS, near, not_above
from linear_theory.theorems import model_average_weight
from tests.laws import RELATIVE_TEMPERATURES
from tests.strategies import RHOS, STEPS, log_uniform

NORMS = log_uniform(1e-3, 1e3)


@st.composite
def betas(draw, largest=1.0):
    """(β, ρ) with β spread over (0, 1/ρ), in its logarithm near 0 and near 1/ρ alike."""
    rho = draw(RHOS)
    beta = draw(st.one_of(log_uniform(1e-8, 1.0), st.floats(0.01, largest), log_uniform(1.0, 1e6)))
    if beta * rho >= 1:
        beta = (1 - draw(log_uniform(1e-6, 0.5))) / rho
    return beta, rho


def conditioning(beta, rho):
    """Conditioning of 1 − βρ, 1 − βρ² and 1 − ρ² in β and ρ."""
    tangent = beta * rho if rho else 0.0
    return 8 + 8 / (1 - min(tangent, 1 - EPS)) + 8 / (1 - rho)


# --------------------------------------------------------------------------------------------------- β and τ


@given(RHOS, RELATIVE_TEMPERATURES, st.floats(1.001, 1e3))
def test_beta_rises_with_temperature_up_to_one_over_rho(rho, t, warmer):
    beta = lt.stall_parameter(t, rho)
    assert beta > 0
    assert rho == 0 or beta * rho <= 1 + EPS
    if math.isfinite(beta):
        assert beta <= lt.stall_parameter(warmer * t, rho) * (1 + 8 * EPS)
    assert lt.stall_parameter(math.inf, rho) == (1 / rho if rho else math.inf)


@given(RHOS, RELATIVE_TEMPERATURES, NORMS)
def test_beta_solves_its_equation(rho, t, norm):
    """τρ²β² + 2(1−ρ²)‖e‖²β − τ = 0, each term rounded beside the largest."""
    if math.isinf(t):
        return
    tau = t * norm**2
    beta = lt.stall_parameter(tau, rho, norm)
    terms = [tau * rho**2 * beta**2, 2 * (1 - rho**2) * norm**2 * beta, -tau]
    assert near(sum(terms), 0.0, 10 / (1 - rho), tau)


@given(RHOS, log_uniform(1e-6, 1e4), NORMS)
def test_temperature_inverts_beta(rho, t, norm):
    tau = t * norm**2
    beta = lt.stall_parameter(tau, rho, norm)
    assert near(lt.stall_temperature(beta, rho, norm), tau, conditioning(beta, rho) ** 2)


@given(betas(), NORMS)
def test_beta_inverts_temperature(pair, norm):
    beta, rho = pair
    tau = lt.stall_temperature(beta, rho, norm)
    assert near(lt.stall_parameter(tau, rho, norm), beta, conditioning(beta, rho))
    assert near(lt.stall_temperature(beta, rho, 2 * norm), 4 * tau)


@given(RHOS)
def test_beta_one_is_temperature_two(rho):
    """β = 1 is τ = 2‖e‖², the end of the paper's range."""
    assert near(lt.stall_temperature(1.0, rho), 2.0, 1 / (1 - rho))
    assert near(lt.stall_parameter(2.0, rho), 1.0, 1 / (1 - rho))


def mass_law(squared_mass, tau, rho, norm):
    """μ² = τ/(τ + 2‖e‖²) is β(1−ρ²)/((1+β)(1−βρ²)): of μ², which one text copy of the paper drops."""
    beta = lt.stall_parameter(tau, rho, norm)
    problem = lt.paper_problem(rho, norm)
    return near(squared_mass(beta, rho), lt.weight_mass(problem, tau) ** 2, conditioning(beta, rho))


@given(RHOS, RELATIVE_TEMPERATURES, NORMS)
def test_the_re_parametrisation_is_of_the_squared_mass(rho, t, norm):
    assert mass_law(lt.squared_mass, t * norm**2, rho, norm)


def test_re_parametrisation_rejects():
    assert mass_law(lt.squared_mass, 1.0, 0.6, 1.0)
    assert not mass_law(lambda b, r: lt.squared_mass(b, r) ** 0.5, 1.0, 0.6, 1.0)
    assert not mass_law(lambda b, r: b * (1 - r**2) / ((1 + b) * (1 + b * r**2)), 1.0, 0.6, 1.0)


# -------------------------------------------------------------------------------------------------- spectrum


def Q(beta, rho):
    """I − Σ'/μ in the plane, from the population moments."""
    problem = lt.paper_problem(rho)
    tau = lt.stall_temperature(beta, rho)
    return np.eye(2) - lt.weighted_covariance(problem, tau) / lt.weight_mass(problem, tau)


def spectrum_law(spectrum, beta, rho):
    slow, fast = spectrum(beta, rho)
    want = np.linalg.eigvalsh(Q(beta, rho))
    return near(np.sort([fast, slow]), want, conditioning(beta, rho), 1.0)


@given(betas())
def test_spectrum(pair):
    assert spectrum_law(lt.stall_spectrum, *pair)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda b, r: (1 / (1 + b), r**2 * (1 - b) / (1 - b * r**2)),
        lambda b, r: ((1 + b * r**2) / (1 + b), r**2 * (1 - b) / (1 + b * r**2)),
        lambda b, r: lt.stall_spectrum(b / 2, r),
    ],
    ids=["ρ² lost above", "sign below", "β/2"],
)
def test_spectrum_rejects(mutant):
    assert not spectrum_law(mutant, 0.4, 0.6)


@given(betas(largest=10.0))
def test_order_of_the_eigenvalues(pair):
    """λ₁ in (0, 1); λ₂ < ρ²λ₁ signed for every β < 1/ρ, in size only for β < √(2/(1+ρ⁴))."""
    beta, rho = pair
    slow, fast = lt.stall_spectrum(beta, rho)
    assert 0 < slow < 1
    assert not_above(fast, rho**2 * slow, conditioning(beta, rho))
    if rho > 1e-3 and beta * (1 - rho) > 1e-3:
        assert fast < rho**2 * slow
    edge = math.sqrt(2 / (1 + rho**4))
    if rho > 1e-3 and min(beta, abs(beta - edge)) * (1 - rho) > 1e-5:  # the two part like β²
        assert (abs(fast) < rho**2 * slow) == (beta < edge)


@given(RHOS.filter(lambda rho: rho > 1e-6))
def test_the_end_point_is_standard_fine_tuning(rho):
    slow, fast = lt.stall_spectrum(1 / rho, rho)
    assert near(slow, rho, 1 / (1 - rho))
    assert near(fast, -rho, 1 / (1 - rho))
    assert near(lt.squared_mass(1 / rho, rho), 1.0, 1 / (1 - rho))


@pytest.mark.parametrize("lead", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_at_the_end_point_the_temperature_is_infinite(lead):
    """At every ρ, also where 1/(1/ρ) is not ρ; and the derivative in β is that just below the end."""
    rho = np.random.default_rng(0).uniform(1e-6, 1, 10_000)
    assert np.isinf(lt.stall_temperature(lead(1 / rho), lead(rho))).all()
    assert np.isfinite(lt.stall_temperature(lead((1 - 1e-14) / rho), lead(rho))).all()


def test_at_the_end_point_derivatives_are_those_of_the_last_beta_before_it():
    mass = jax.vmap(jax.grad(lt.squared_mass, argnums=(0, 1)))
    rho = np.random.default_rng(0).uniform(0.1, 0.9, 100)
    at, before = (mass(jnp.asarray(beta / rho), jnp.asarray(rho)) for beta in (1.0, 1 - 1e-12))
    for one, other in zip(at, before, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_without_correlation_there_is_no_end():
    assert lt.stall_spectrum(math.inf, 0.0) == (0, 0)
    assert lt.stall_temperature(math.inf, 0.0) == math.inf
    assert lt.squared_mass(math.inf, 0.0) == 1
    assert lt.half_life(math.inf, 0.0) == 0
    assert lt.closed_form(math.inf, 0.0, 0) == (1, 0)
    assert lt.closed_form(math.inf, 0.0, 3) == (0, 0)


def direction_law(direction, beta, rho):
    """Q's slow eigenvector, of length one."""
    vector = np.array(direction(beta, rho))
    slow, _ = lt.stall_spectrum(beta, rho)
    residual = Q(beta, rho) @ vector - slow * vector
    return near(residual, np.zeros(2), conditioning(beta, rho), 1.0) and near(vector @ vector, 1.0)


@given(betas())
def test_stalled_direction(pair):
    assert direction_law(lt.stall_direction, *pair)


def test_stalled_direction_rejects():
    turned = lambda b, r: (lt.stall_direction(b, r)[0], -lt.stall_direction(b, r)[1])
    assert not direction_law(turned, 0.4, 0.6)
    assert not direction_law(lambda b, r: lt.stall_direction(b, r**2), 0.4, 0.6)


# --------------------------------------------------------------------------------------------- (14) and (15)


def closed_form_law(form, beta, rho, steps):
    """(14) is the exact iterate at τ(β), η = 1/(2μ), on the scale of ‖e‖."""
    tau = lt.stall_temperature(beta, rho)
    theta = lt.iterate(lt.paper_problem(rho), steps, temperature=tau)
    # λ^K: K(1−λ₁)·λ₁^K ≤ 1/e of a relative error in 1 − λ₁, and K|λ₂|^K ≤ 1/(e(1−|λ₂|)).
    return near(np.array(form(beta, rho, steps)), theta, conditioning(beta, rho) ** 2, 1.0)


@given(betas(), STEPS)
def test_closed_form_is_the_iterate(pair, steps):
    assert closed_form_law(lt.closed_form, *pair, steps)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda b, r, k: lt.stall_approximation(b, r, k),
        lambda b, r, k: (lt.closed_form(b, r, k)[0], -lt.closed_form(b, r, k)[1]),
        lambda b, r, k: lt.closed_form(b, r, k + 1),
        lambda b, r, k: tuple(np.array(lt.closed_form(b, r, k)) * (1 + (b * r) ** 2)),
    ],
    ids=["(15)", "the other side of ē", "one step too many", "1 + β²ρ² lost"],
)
def test_closed_form_rejects(mutant):
    assert not closed_form_law(mutant, 0.4, 0.6, 2)


@given(betas(), STEPS)
def test_approximation_error_is_the_second_eigenvalue(pair, steps):
    """(14) − (15) = λ₂^K βρ(βρ e + ‖e‖ē⊥)/(1+β²ρ²): at most |λ₂|^K βρ/√(1+β²ρ²) of ‖e‖."""
    beta, rho = pair
    gap = np.subtract(lt.closed_form(beta, rho, steps), lt.stall_approximation(beta, rho, steps))
    t = beta * rho
    limit = abs(float(lt.stall_spectrum(beta, rho)[1])) ** float(steps) * t / math.hypot(1, t)
    assert not_above(np.linalg.norm(gap), limit, conditioning(beta, rho) ** 2, 1.0)


@given(betas(), STEPS)
def test_the_approximation_lies_on_the_stalled_direction(pair, steps):
    along, across = lt.stall_approximation(*pair, steps)
    ahead, aside = lt.stall_direction(*pair)
    assert near(along * aside, across * ahead)
    assert model_average_weight(*pair, steps) == along


@given(st.floats(0, 0.9), log_uniform(1e-8, 1e-4), st.floats(0.05, 0.95))
def test_as_beta_falls_flow_tends_to_every_model_average(rho, beta, omega):
    """Remark 7.5: with γ(K, β) → ω the iterate tends to θ_avg(ω); −βργ‖e‖ē⊥ and rounding K remain."""
    _, fast = lt.stall_spectrum(beta, rho)
    steps = round(lt.half_life(beta, rho) * math.log2(1 / omega))
    got = np.array(lt.closed_form(beta, rho, steps))
    # K is rounded to an integer: half a step of 1 − λ₁ < β; γ's denominator adds β²ρ²; (λ₂)^K is gone.
    assert np.linalg.norm(got - [omega, 0.0]) <= 0.5 * beta + beta * rho + beta**2 + abs(fast) ** steps


def half_life_law(half_life, beta, rho):
    """λ₁ to the power of the half-life is ½."""
    slow, _ = lt.stall_spectrum(beta, rho)
    return near(half_life(beta, rho) * math.log(slow), -math.log(2), 10 + 10 / (1 - slow))


@given(betas())
def test_half_life(pair):
    assert half_life_law(lt.half_life, *pair)
    assert not half_life_law(lambda b, r: lt.half_life(b, r) * math.e, *pair)


@given(st.floats(0, 0.9), log_uniform(1e-9, 1e-6))
def test_half_life_of_cold_weights(rho, t):
    """2 ln 2 ‖e‖²/τ for τ ≪ 2(1−ρ²)‖e‖², to first order in τ."""
    life = lt.half_life(lt.stall_parameter(t, rho), rho)
    assert abs(life * t / (2 * math.log(2)) - 1) <= 2 * t / (1 - rho**2)


@given(betas(), st.lists(STEPS, min_size=1, max_size=4))
def test_arguments_broadcast(pair, steps):
    beta, rho = pair
    for form in (lt.closed_form, lt.stall_approximation):
        table = form(np.array([[beta], [beta / 2]]), rho, np.array(steps))
        for part in range(2):
            assert table[part].shape == (2, len(steps))
            for row, b in enumerate((beta, beta / 2)):
                alone = [form(b, rho, k)[part] for k in steps]
                assert near(table[part][row], alone, scale=1.0)
    betas_, rhos = np.array([[beta], [beta / 2]]), np.array([rho, rho / 2, 0.0])
    for each in (*lt.stall_spectrum(betas_, rhos), lt.squared_mass(betas_, rhos), lt.half_life(betas_, rhos)):
        assert each.shape == (2, 3)


def test_a_large_table_is_its_rows():
    """42 000 entries, which are worked out in pieces; odd and even K beside each other, and β on both sides of 1."""
    beta, rho, steps = (
        np.linspace(0.01, 1.2, 200)[:, None],
        np.linspace(0, 0.8, 7),
        np.arange(30)[:, None, None],
    )
    table = lt.closed_form(beta, rho, steps)
    for part, k in np.ndindex(2, 30):
        assert near(table[part][k], lt.closed_form(beta, rho, k)[part], scale=1.0)


def test_extreme_arguments_pass_in_silence():
    for beta in (5e-324, 1e-310, 1e-160, 1e-20):
        along, across = lt.closed_form(beta, 0.5, 3)
        assert along == 1
        assert abs(across) <= 4 * beta
        assert lt.stall_spectrum(beta, 0.5) == (1, 0.25)
        assert np.isfinite(lt.half_life(beta, 0.5)) or beta < 1e-307
        assert lt.stall_temperature(beta, 0.5) <= 2 * beta
    for tau in (1e-320, 1e-300, 1e300, 1e308):
        assert lt.stall_parameter(tau, 0.5) > 0
        assert lt.stall_parameter(tau, 0.0) > 0
