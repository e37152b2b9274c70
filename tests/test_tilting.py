"""Laws of the weighted Gaussian: Lemma F.1 and section 3, for every covariance, noise and rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, norm

import linear_theory as lt
from linear_theory.testing.tolerances import near, not_above, within_standard_errors
from linear_theory.tilting import weighted_moments
from linear_theory.weights import KLDRO, HardThreshold, Uniform
from tests.agreement import numpy_problem
from tests.laws import (
    FINITE_TEMPERATURES,
    NOISELESS,
    RELATIVE_TEMPERATURES,
    condition,
    problems,
    remade,
    rotated,
    scaled,
    squared,
)
from tests.strategies import SEEDS, log_uniform, orthogonal, random_case


def per_mass(problem, tau):
    """Σ'/μ."""
    return lt.weighted_covariance(problem, tau) / lt.weight_mass(problem, tau)


EXAMPLE = numpy_problem(random_case(3, 30.0, noise=0.5, seed=4))
NO_NOISE = remade(EXAMPLE, noise_variance=0.0)


# ------------------------------------------------------------------------------------------------- the mass


@given(problems(), RELATIVE_TEMPERATURES, st.floats(1, 100), log_uniform(1e-3, 1e3))
def test_mass_rises_with_temperature_and_falls_with_noise(problem, t, warmer, noise):
    tau = t * squared(problem)
    mass = lt.weight_mass(problem, tau)
    assert 0 < mass <= 1
    assert not_above(mass, lt.weight_mass(problem, warmer * tau))
    noisier = remade(problem, noise_variance=problem.noise_variance + noise * squared(problem))
    assert not_above(lt.weight_mass(noisier, tau), mass)
    assert lt.weight_mass(problem, math.inf) == 1


@given(problems(), RELATIVE_TEMPERATURES)
def test_mass_depends_on_temperature_over_residual_variance(problem, t):
    """One dimension, unit variance, shift s: the same r, so the same mass."""
    s2 = problem.residual_variance
    alone = lt.FineTuningProblem([math.sqrt(s2)], [0.0], [[1.0]])
    tau = t * squared(problem)
    assert near(lt.weight_mass(problem, tau), lt.weight_mass(alone, tau))


@given(FINITE_TEMPERATURES)
def test_effective_sample_share(t):
    """Where s² = 1, √(1+4/τ)/(1+2/τ): w² is the tilt at τ/2."""
    problem = lt.FineTuningProblem([1.0], [0.0], [[1.0]])
    share = lt.population_effective_sample_size(problem, t)
    assert near(share, math.sqrt(1 + 4 / t) / (1 + 2 / t), 10)


@given(problems())
def test_population_median(problem):
    """Half of the losses s²·χ²₁ are below it, and then μ² = 0.185315… and ESS/n = 0.580… always."""
    tau = lt.population_median_temperature(problem)
    # The density of χ²₁ at its median turns a relative error of τ into less than as much probability.
    assert near(chi2.cdf(tau / problem.residual_variance, 1), 0.5)
    share = lt.weight_mass(problem, tau) ** 2
    assert abs(share - 0.185315) < 5e-7
    assert abs(share / lt.weight_mass(problem, tau / 2) - 0.580) < 5e-4


# ------------------------------------------------------------------------------------------- the covariance


def shift_law(covariance, problem, tau, loss=0.0):
    """Σ'e = μ³ Σ̃e, without noise."""
    mass = lt.weight_mass(problem, tau)
    applied = problem.target_covariance @ problem.shift
    scale = np.linalg.norm(covariance(problem, tau)) * np.linalg.norm(problem.shift)
    return near(covariance(problem, tau) @ problem.shift, mass**3 * applied, loss, scale)


@given(problems(noise=NOISELESS), RELATIVE_TEMPERATURES)
def test_shift_law(problem, t):
    assert shift_law(lt.weighted_covariance, problem, t * squared(problem), condition(problem))


def wrong_tilt(factor):
    def covariance(p, tau):
        image = p.target_covariance @ p.shift
        inner = p.target_covariance - factor / tau * np.outer(image, image) / (1 + 2 * p.shift_variance / tau)
        return lt.weight_mass(p, tau) * inner

    return covariance


@pytest.mark.parametrize(
    "mutant",
    [
        wrong_tilt(1),
        wrong_tilt(0),
        lambda p, t: lt.weighted_covariance(p, t) / lt.weight_mass(p, t),
        lambda p, t: lt.weighted_covariance(p, t / 2),
    ],
    ids=["1/τ", "untilted", "normalised", "w²"],
)
def test_shift_law_rejects(mutant):
    assert shift_law(wrong_tilt(2), NO_NOISE, 0.7, condition(NO_NOISE))
    assert not shift_law(mutant, NO_NOISE, 0.7, condition(NO_NOISE))


def noise_is_a_temperature(covariance, problem, tau):
    """(Σ'/μ)(τ, σ²) = (Σ'/μ)(τ + 2σ², 0)."""
    quiet = remade(problem, noise_variance=0.0)
    warmer = tau + 2 * problem.noise_variance
    return near(covariance(problem, tau), covariance(quiet, warmer), condition(problem))


@given(problems(), RELATIVE_TEMPERATURES)
def test_noise_is_a_temperature(problem, t):
    assert noise_is_a_temperature(per_mass, problem, t * squared(problem))


def test_noise_is_a_temperature_rejects():
    assert not noise_is_a_temperature(lt.weighted_covariance, EXAMPLE, 0.7)
    assert not noise_is_a_temperature(lambda p, t: per_mass(p, t + p.noise_variance), EXAMPLE, 0.7)


@given(problems(), RELATIVE_TEMPERATURES)
def test_spectra_interlace(problem, t):
    """λᵢ(Σ'/μ) ≤ λᵢ(Σ̃) ≤ λᵢ₊₁(Σ'/μ): one direction is pushed down, none above the others."""
    before = np.linalg.eigvalsh(problem.target_covariance)
    after = np.linalg.eigvalsh(per_mass(problem, t * squared(problem)))
    loss, scale = condition(problem), before[-1]
    assert not_above(after, before, loss, scale)
    assert not_above(before[:-1], after[1:], loss, scale)
    assert (after >= -1e3 * np.spacing(scale)).all()


def rayleigh(covariance, problem, tau):
    """ēᵀ(Σ'/μ)ē = ēᵀΣ̃ē (τ+2σ²)/(τ+2s²), and the smallest eigenvalue is at most that."""
    unit = problem.shift / np.linalg.norm(problem.shift)
    along = unit @ problem.target_covariance @ unit
    softening = (tau + 2 * problem.noise_variance) / (tau + 2 * problem.residual_variance)
    matrix = covariance(problem, tau)
    loss, scale = condition(problem), np.linalg.norm(problem.target_covariance)
    return near(unit @ matrix @ unit, along * softening, loss, scale) and not_above(
        np.linalg.eigvalsh(matrix)[0], along * softening, loss, scale
    )


@given(problems(), FINITE_TEMPERATURES)
def test_rayleigh_quotient_at_the_shift(problem, t):
    assert rayleigh(per_mass, problem, t * squared(problem))


def test_rayleigh_rejects():
    assert rayleigh(per_mass, EXAMPLE, 0.7)
    assert not rayleigh(lt.weighted_covariance, EXAMPLE, 0.7)
    assert not rayleigh(lambda p, t: per_mass(remade(p, noise_variance=0.0), t), EXAMPLE, 0.7)


@given(problems(), RELATIVE_TEMPERATURES, st.floats(1, 1e3))
def test_covariance_grows_with_temperature_up_to_the_unweighted(problem, t, warmer):
    """w rises with τ at every sample, so E[w x xᵀ] does in the Loewner order; its end is Σ̃."""
    tau, scale = t * squared(problem), np.linalg.norm(problem.target_covariance)
    cold, warm = (lt.weighted_covariance(problem, temperature) for temperature in (tau, warmer * tau))
    loss = condition(problem)
    assert not_above(0.0, np.linalg.eigvalsh(warm - cold), loss, scale)
    assert not_above(0.0, np.linalg.eigvalsh(problem.target_covariance - warm), loss, scale)
    assert near(lt.weighted_covariance(problem, math.inf), problem.target_covariance, loss)


# ------------------------------------------------------------------------------------------------ symmetries


@given(problems(), RELATIVE_TEMPERATURES, SEEDS)
def test_rotations_turn_everything(problem, t, seed):
    basis, tau = orthogonal(problem.dim, np.random.default_rng(seed)), t * squared(problem)
    turned = rotated(problem, basis)
    loss = 4 * condition(problem) * (1 + np.linalg.norm(problem.target) / np.linalg.norm(problem.shift))
    assert near(lt.weight_mass(turned, tau), lt.weight_mass(problem, tau), loss)
    want = basis @ lt.weighted_covariance(problem, tau) @ basis.T
    assert near(lt.weighted_covariance(turned, tau), want, loss, np.linalg.norm(problem.target_covariance))


@given(problems(), RELATIVE_TEMPERATURES, st.integers(-20, 20).map(lambda k: 2.0**k))
def test_units_do_not_matter(problem, t, c):
    """e → ce, τ → c²τ, σ² → c²σ² with c a power of two: not even the rounding changes."""
    tau = t * squared(problem)
    other = scaled(problem, c)
    assert lt.weight_mass(other, c * c * tau) == lt.weight_mass(problem, tau)
    got, want = lt.weighted_covariance(other, c * c * tau), lt.weighted_covariance(problem, tau)
    assert np.array_equal(got, want)


def test_nothing_to_learn():
    problem = lt.paper_problem(0.6, shift_norm=0.0, noise_variance=0.3)
    assert near(lt.weight_mass(problem, 1.0), 1.6**-0.5)
    assert near(per_mass(problem, 1.0), problem.target_covariance)
    assert lt.weight_mass(lt.paper_problem(0.6, 0.0), 1.0) == 1


# -------------------------------------------------------------------------------------------- rule by rule


def by_definition(problem, rule, rows, rng):
    """w and w x xᵀ of sampled rows."""
    root = np.linalg.cholesky(problem.target_covariance)
    X = rng.standard_normal((rows, problem.dim)) @ root.T
    r = math.sqrt(problem.noise_variance) * rng.standard_normal(rows) - X @ problem.shift
    w = np.exp(rule.log_weights(r**2))
    return w, w[:, None, None] * X[:, :, None] * X[:, None, :]


RULES = [
    lt.weights.Flow(0.4),
    KLDRO(20.0),
    HardThreshold(0.8),
    Uniform(),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_simulation(rule):
    w, outer = by_definition(EXAMPLE, rule, 100_000, np.random.default_rng(11))
    assert within_standard_errors(w, lt.weight_mass(EXAMPLE, rule))
    assert within_standard_errors(outer, lt.weighted_covariance(EXAMPLE, rule))
    if not isinstance(rule, Uniform):  # 20 % of a wrong rule is seen
        wrong = type(rule)(1.2 * next(iter(vars(rule).values())))
        assert not within_standard_errors(w, lt.weight_mass(EXAMPLE, wrong))


def quadrature(rule, variance, power):
    """E[w^power] and E[w^power r²] of r ~ N(0, s²), by adaptive quadrature of the rule's own weights."""
    scale = math.sqrt(variance)
    weight = lambda z: np.exp(power * rule.log_weights([(scale * z) ** 2])[0]) * norm.pdf(z)
    edges = [1.0, *([rule.cutoff / scale] if isinstance(rule, HardThreshold) else [])]
    integral = lambda f: 2 * scipy.integrate.quad(f, 0, 12, points=edges, epsabs=1e-13, limit=200)[0]
    return integral(weight), variance * integral(lambda z: z * z * weight(z))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("variance", [0.05, 1.3])
def test_the_moments_on_the_residual_are_their_integrals(rule, variance):
    tilt = lt.residual_tilt(rule, variance)
    mass, square = quadrature(rule, variance, 1)
    assert near(tilt.mass, mass, 1e4)
    assert near(tilt.ratio, square / (mass * variance), 1e4)
    assert near(tilt.deficit, 1 - square / (mass * variance), 1e4, 1.0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_effective_sample_size_of_a_population(rule):
    """By quadrature of w and w²; and a hundred thousand rows are worth n times as much, the same within their error."""
    variance = float(EXAMPLE.residual_variance)
    (one, _), (two, _) = quadrature(rule, variance, 1), quadrature(rule, variance, 2)
    share = lt.population_effective_sample_size(EXAMPLE, rule)
    assert near(share, one**2 / two, 1e4)
    w, _ = by_definition(EXAMPLE, rule, 100_000, np.random.default_rng(3))
    assert abs(lt.effective_sample_size(w) / len(w) / share - 1) < 0.02


@given(problems(), RELATIVE_TEMPERATURES)
def test_displacement_is_how_far_training_goes(problem, t):
    tau = t * squared(problem)
    kappa = lt.displacement(problem, tau)
    want = problem.pretrained - kappa * problem.shift
    around = 1 + np.linalg.norm(problem.target) / np.linalg.norm(problem.shift)
    assert near(lt.fixed_point(problem, tau), want, 100 * condition(problem) * around)
    if problem.noise_variance > 0 and math.isfinite(tau):
        assert near(kappa, tau / (tau + 2 * problem.noise_variance), 10)


@pytest.mark.parametrize("cutoff", [1e-300, 1e-160, 1e-100, 0.1])
def test_without_noise_training_ends_at_the_target_however_few_rows_it_keeps(cutoff):
    """κ = 1, also where h, of which it is a quotient, is no float: a third of the cutoff's square, over s²."""
    problem = lt.paper_problem(0.6)
    assert lt.displacement(problem, HardThreshold(cutoff)) == 1
    assert weighted_moments(problem, HardThreshold(cutoff)).one_minus_kappa == 0
    noisy = remade(problem, noise_variance=0.5)
    assert near(lt.displacement(noisy, HardThreshold(1e-100)), 1e-200 / 3 / 0.5, 1e3)


def kl_dro_is_flow_at_minus_tau(problem, tau):
    s2, image = problem.residual_variance, problem.target_covariance @ problem.shift
    mass = (1 - 2 * s2 / tau) ** -0.5
    matrix = mass * (problem.target_covariance + 2 / tau * np.outer(image, image) / (1 - 2 * s2 / tau))
    return mass, matrix


@given(problems(), st.floats(1.001, 1e3))
def test_kl_dro(problem, factor):
    tau = 2 * factor * problem.residual_variance
    loss = condition(problem) / (factor - 1)
    mass, matrix = kl_dro_is_flow_at_minus_tau(problem, tau)
    assert near(lt.weight_mass(problem, KLDRO(tau)), mass, loss)
    assert near(lt.weighted_covariance(problem, KLDRO(tau)), matrix, loss)
    assert not_above(0.0, np.linalg.eigvalsh(matrix - problem.target_covariance), loss, matrix.max())


def test_kl_dro_is_worth_something_from_four_times_the_residual_variance_on():
    """√(1 − 4s²/τ)/(1 − 2s²/τ), FLOW's at −τ: it goes to 0 there, and below E[w²] is infinite."""
    for share in (1e-9, 1e-3, 0.5):
        tau = 4 * float(EXAMPLE.residual_variance) * (1 + share)
        want = math.sqrt(share / (1 + share)) / (1 - 0.5 / (1 + share))
        assert near(lt.population_effective_sample_size(EXAMPLE, KLDRO(tau)), want, 1e3 + 100 / share)
    for number in (lt.population_effective_sample_size, lambda p, rule: lt.sgd_error(p, 1, 1e-3, rule)):
        with pytest.raises(lt.InvalidValueError, match="four times"):
            number(EXAMPLE, KLDRO(4 * EXAMPLE.residual_variance * (1 - 1e-9)))


@given(problems(), log_uniform(1e-3, 30))
def test_hard_threshold(problem, a):
    """m₀ = 2Φ(a) − 1 and m₀ − m₂ = 2aφ(a), a = c/s."""
    s2, image = problem.residual_variance, problem.target_covariance @ problem.shift
    rule = HardThreshold(a * math.sqrt(s2))
    mass = chi2.cdf(a * a, 1)
    want = mass * problem.target_covariance - 2 * a * norm.pdf(a) * np.outer(image, image) / s2
    assert near(lt.weight_mass(problem, rule), mass, 100)
    assert near(lt.weighted_covariance(problem, rule), want, condition(problem), mass)


@given(problems(), st.sampled_from(RULES[:1] + RULES[2:]), log_uniform(0.1, 10))
def test_convergence_under_any_rule_is_averaging(problem, rule, unit):
    """ω = σ²δ/(s² − δv), δ = 1 − m₂/m₀, read off Σ' itself: (m₀ − m₂) Σ̃e eᵀΣ̃/s² = m₀Σ̃ − Σ'."""
    rule = rule if isinstance(rule, Uniform) else type(rule)(unit * math.sqrt(problem.residual_variance))
    moments = weighted_moments(problem, rule)
    v, s2, e = problem.shift_variance, problem.residual_variance, problem.shift
    delta = (v - e @ moments.covariance.dense() @ e) * s2 / v**2
    omega = problem.noise_variance * delta / (s2 - delta * v)
    loss = condition(problem) * s2 / v * (1 + s2 / (s2 - delta * v))
    assert near(moments.one_minus_kappa, omega, loss, 1.0)
    assert near(moments.one_minus_kappa + moments.kappa, 1.0)


def test_extreme_temperatures_pass_in_silence():
    for tau in (5e-324, 1e-300, 1e300, math.inf):
        for noise in (0.0, 1.0):
            problem = lt.paper_problem(0.6, noise_variance=noise)
            assert np.isfinite(lt.weighted_covariance(problem, tau)).all()
            assert np.isfinite(lt.weight_mass(problem, tau))
    assert lt.weight_mass(problem, HardThreshold(1e-300)) > 0
    assert lt.weight_mass(problem, HardThreshold(1e300)) == 1
