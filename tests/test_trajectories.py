"""Laws of the exact paths: gradient descent, gradient flow, their limit (sections 4 and 6)."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import near, not_above
from linear_theory.weights import KLDRO, HardThreshold, Uniform
from tests.agreement import numpy_problem
from tests.laws import (
    FINITE_TEMPERATURES,
    NOISELESS,
    RELATIVE_TEMPERATURES,
    condition,
    paper_problems,
    problems,
    remade,
    rotated,
    scaled,
    size,
    squared,
)
from tests.strategies import SEEDS, STEPS, log_uniform, orthogonal, random_case

EXAMPLE = numpy_problem(random_case(3, 30.0, noise=0.5, seed=4))
QUIET = remade(EXAMPLE, noise_variance=0.0)
SHARES = st.floats(0.01, 1.5)
"""η as a share of the supremum of stable steps, up to where 50 steps grow by 2^50."""


def learning_rate(problem, tau, share):
    return share * lt.stable_learning_rate(problem, tau)


def descent_step(problem, theta, eta, tau):
    """θ − 2η(Σ'(θ − θ̃*) − E[w x ξ]) with E[w x ξ] = (1 − κ)Σ'e: one step from the definition."""
    covariance = lt.weighted_covariance(problem, tau)
    pull = lt.fixed_point(problem, tau)
    return theta - 2 * eta * covariance @ (theta - pull)


# ---------------------------------------------------------------------------------------- gradient descent


@given(problems(), RELATIVE_TEMPERATURES, SHARES, st.integers(0, 30))
def test_each_iterate_is_a_step_from_the_last(problem, t, share, steps):
    tau = t * squared(problem)
    eta = learning_rate(problem, tau, share)
    before, after = lt.iterate(problem, np.array([steps, steps + 1]), eta, tau)
    growth = max(1.0, 2 * share - 1) ** (steps + 1)
    loss = 10 * condition(problem) * (steps + 1) * growth
    assert near(after, descent_step(problem, before, eta, tau), loss, size(problem))


@given(problems(), RELATIVE_TEMPERATURES)
def test_no_steps_leave_the_start(problem, t):
    assert near(
        lt.iterate(problem, 0, temperature=t * squared(problem)), problem.pretrained, 1, size(problem)
    )


@given(problems(), RELATIVE_TEMPERATURES, st.lists(STEPS, min_size=1, max_size=4))
def test_a_vector_of_steps_is_a_row_for_each(problem, t, steps):
    tau = t * squared(problem)
    path = lt.iterate(problem, np.array(steps), temperature=tau)
    assert path.shape == (len(steps), problem.dim)
    for row, k in zip(path, steps, strict=True):
        assert near(row, lt.iterate(problem, k, temperature=tau), condition(problem), size(problem))


@given(problems(), RELATIVE_TEMPERATURES)
def test_the_default_step_is_one_over_twice_the_mass(problem, t):
    tau = t * squared(problem)
    eta = 1 / (2 * lt.weight_mass(problem, tau))
    want = lt.iterate(problem, 7, eta, tau)
    assert near(lt.iterate(problem, 7, temperature=tau), want, 10 * condition(problem), size(problem))
    assert lt.stable_learning_rate(problem, tau) > eta


def one_step_is_a_standard_one(problem, tau, eta):
    """θ₁ of FLOW at η = 1/(2μ) is θ₁ of standard fine-tuning at `eta`."""
    flow = lt.iterate(problem, 1, temperature=tau)
    return near(flow, lt.iterate(problem, 1, learning_rate=eta), 10 * condition(problem), size(problem))


@given(problems(noise=NOISELESS), RELATIVE_TEMPERATURES)
def test_one_step_of_flow_is_one_smaller_step_of_standard_fine_tuning(problem, t):
    tau = t * squared(problem)
    assert one_step_is_a_standard_one(problem, tau, lt.weight_mass(problem, tau) ** 2 / 2)


@pytest.mark.parametrize("power", [0, 1, 3])
def test_one_step_rejects_another_power_of_the_mass(power):
    tau = squared(QUIET)
    assert one_step_is_a_standard_one(QUIET, tau, lt.weight_mass(QUIET, tau) ** 2 / 2)
    assert not one_step_is_a_standard_one(QUIET, tau, lt.weight_mass(QUIET, tau) ** power / 2)


@given(paper_problems(noise=NOISELESS), STEPS)
def test_standard_iterates_alternate(problem, steps):
    """(12): ρ^K e for even K, −ρ^K‖e‖ē⊥ for odd K."""
    rho, norm = problem.target_covariance[0, 1], problem.shift[0]
    want = np.zeros(problem.dim)
    want[steps % 2] = (-1) ** steps * norm * float(rho) ** float(steps)
    # ρ as an eigenvalue 1 ± ρ is known to ε, so ρ^K to Kε, times ρ^K: at most 1/(e(1 − ρ)) of ‖e‖.
    assert near(lt.iterate(problem, steps), want, 10 / (1 - rho), norm)


@given(problems(), RELATIVE_TEMPERATURES, STEPS)
def test_noise_is_a_temperature(problem, t, steps):
    """θ_K − θ̃* = (1−κ)e + κ Q_{τ+2σ²}^K e."""
    tau, noise = t * squared(problem), problem.noise_variance
    quiet = remade(problem, noise_variance=0.0)
    kappa = 1 / (1 + 2 * noise / tau)
    free = lt.iterate(quiet, steps, temperature=tau + 2 * noise) - problem.target
    want = problem.target + (1 - kappa) * problem.shift + kappa * free
    assert near(lt.iterate(problem, steps, temperature=tau), want, 20 * condition(problem), size(problem))


@given(problems(), RELATIVE_TEMPERATURES, STEPS, SEEDS)
def test_rotations_turn_the_path(problem, t, steps, seed):
    basis, tau = orthogonal(problem.dim, np.random.default_rng(seed)), t * squared(problem)
    got = lt.iterate(rotated(problem, basis), steps, temperature=tau)
    want = basis @ lt.iterate(problem, steps, temperature=tau)
    assert near(got, want, 50 * condition(problem), size(problem))


@given(problems(), RELATIVE_TEMPERATURES, STEPS, st.integers(-20, 20).map(lambda k: 2.0**k))
def test_units_do_not_matter(problem, t, steps, c):
    tau = t * squared(problem)
    got = lt.iterate(scaled(problem, c), steps, temperature=c * c * tau)
    assert near(got, c * lt.iterate(problem, steps, temperature=tau), condition(problem), c * size(problem))


@given(problems(), RELATIVE_TEMPERATURES, st.booleans())
def test_the_stable_step_is_the_supremum(problem, t, below):
    """A little below it the distance to the limit shrinks, a little above it grows: by 0.98² and 1.02²."""
    tau = t * squared(problem)
    limit = lt.fixed_point(problem, tau)
    eta = lt.stable_learning_rate(problem, tau) * (0.99 if below else 1.01)
    early, late = (lt.iterate(problem, k, eta, tau) - limit for k in (10**4, 10**4 + 2))
    if below:
        assert not_above(np.linalg.norm(late), np.linalg.norm(early), condition(problem), size(problem))
    else:
        assert np.linalg.norm(late) > 1.03 * np.linalg.norm(early)


@pytest.mark.parametrize("matrix", [np.diag([2.0, 1.0]), np.array([[3, 0.5], [0.5, 3]])])
def test_a_default_step_that_diverges_is_refused(matrix):
    problem = lt.FineTuningProblem(np.array([1.0, 1.0]), np.zeros(2), matrix)
    with pytest.raises(lt.DivergenceError, match="stable_learning_rate"):
        lt.iterate(problem, 3)
    assert np.isfinite(lt.iterate(problem, 3, learning_rate=0.9 * lt.stable_learning_rate(problem))).all()


@pytest.mark.parametrize(("ratio", "converges"), [(1.99, True), (2.01, False)])
def test_hard_samples_that_count_more_may_make_a_default_step_diverge(ratio, converges):
    """Σ̃ = I converges; exp(loss/τ) multiplies the curvature along the shift by τ/(τ − 2‖e‖²)."""
    problem = lt.FineTuningProblem(np.array([1.0, 1.0]), np.zeros(2), np.eye(2))
    rule = KLDRO(4 * ratio / (ratio - 1))
    curvature = lt.weighted_covariance(problem, rule) / lt.weight_mass(problem, rule)
    assert near(curvature @ problem.shift, ratio * problem.shift, 100)
    if converges:
        assert near(lt.iterate(problem, 3, temperature=rule), (1 - ratio) ** 3 * problem.shift, 1e3)
    else:
        with pytest.raises(lt.DivergenceError, match="stable_learning_rate"):
            lt.iterate(problem, 3, temperature=rule)


@pytest.mark.parametrize(("largest", "converges"), [(2.0, False), (np.nextafter(2.0, 0.0), True)])
def test_where_it_is_traced_a_default_step_that_diverges_is_nan(largest, converges):
    """At 2 the step swings from one side to the other for ever, as it does without a trace."""
    end = lambda matrix: lt.iterate(lt.FineTuningProblem(jnp.ones(2), jnp.zeros(2), matrix), 3)
    assert bool(jnp.isfinite(jax.jit(end)(largest * jnp.eye(2))).all()) == converges


@pytest.mark.parametrize("entered", range(4))
def test_a_direction_that_rounding_alone_enters_cannot_diverge(entered):
    """No entry of the shift is 0, and yet it is one eigenvector, of which the others are known to rounding."""
    square = np.array([[1.0, 1.0], [1.0, -1.0]])
    basis, values = np.kron(square, square) / 2, np.array([1.0, 3.0, 4.0, 7.0])
    problem = lt.FineTuningProblem(basis[:, entered], np.zeros(4), (basis * values) @ basis.T)
    assert near(lt.stable_learning_rate(problem), 1 / values[entered], 100)


def test_only_directions_the_path_enters_can_diverge():
    problem = lt.FineTuningProblem(np.array([1.0, 0.0]), np.zeros(2), np.diag([1.0, 50.0]))
    assert lt.stable_learning_rate(problem) == 1
    assert np.isfinite(lt.iterate(problem, 10**6)).all()


@pytest.mark.parametrize("temperature", [5.0, 100.0, math.inf])
def test_what_diverges_is_told_its_own_learning_rates(temperature):
    """The default, 1/(2μ), and the largest stable one, of these weights."""
    problem = lt.FineTuningProblem(np.array([0.1, 1.0]), np.zeros(2), np.diag([3.0, 0.5]))
    stable, default = (
        lt.stable_learning_rate(problem, temperature),
        0.5 / lt.weight_mass(problem, temperature),
    )
    numbers = re.escape(f"the default 1/(2μ) = {default:.6g} ") + ".*" + re.escape(f" = {stable:.6g}")
    with pytest.raises(lt.DivergenceError, match=f"{numbers}$"):
        lt.iterate(problem, 3, temperature=temperature)
    with pytest.raises(lt.DivergenceError, match=re.escape(f"converges below {stable:.6g}") + "$"):
        lt.iterate(problem, 10**4, 10 * stable, temperature)


def test_beyond_the_largest_float_is_an_error_not_nan():
    with pytest.raises(lt.DivergenceError, match="converges below"):
        lt.iterate(lt.paper_problem(0.5, dim=3), 10**4, learning_rate=10.0)


# ------------------------------------------------------------------------------------------- gradient flow


def flow_is_the_limit_of_small_steps(problem, tau, time, eta_times=1.0, steps=1000):
    """K steps of η = t/K against exp(−2tΣ'): apart by at most ½ K (2ηλ)² of ‖e‖, λ the largest eigenvalue."""
    eta = time / steps
    curvature = 1 / lt.stable_learning_rate(problem, tau)
    apart = lt.iterate(problem, steps, eta_times * eta, tau) - lt.gradient_flow(problem, time, tau)
    # x²e^{−x} ≤ 4/e² < 0.55: the worst eigenvalue; the next order is at most as large again.
    bound = 2 * 0.55 / steps * math.sqrt(squared(problem))
    return bool(np.linalg.norm(apart) <= bound) and 2 * eta * curvature < 1


@given(problems(), RELATIVE_TEMPERATURES, log_uniform(1e-3, 100.0))
def test_flow_is_the_limit_of_small_steps(problem, t, time):
    tau = t * squared(problem)
    time = time * float(lt.stable_learning_rate(problem, tau))
    assert flow_is_the_limit_of_small_steps(problem, tau, time)


def test_small_steps_reject_another_unit_of_time():
    tau = squared(EXAMPLE)
    assert flow_is_the_limit_of_small_steps(EXAMPLE, tau, 1.0)
    assert not flow_is_the_limit_of_small_steps(EXAMPLE, tau, 1.0, eta_times=0.5)
    assert not flow_is_the_limit_of_small_steps(EXAMPLE, tau, 1.0, eta_times=lt.weight_mass(EXAMPLE, tau))


@given(problems(), RELATIVE_TEMPERATURES, st.lists(st.floats(0, 1e6), min_size=1, max_size=4))
def test_a_vector_of_times_is_a_row_for_each(problem, t, times):
    tau = t * squared(problem)
    path = lt.gradient_flow(problem, np.array(times), tau)
    assert path.shape == (len(times), problem.dim)
    for row, time in zip(path, times, strict=True):
        assert near(row, lt.gradient_flow(problem, time, tau), condition(problem), size(problem))


@given(problems(), RELATIVE_TEMPERATURES)
def test_flow_starts_at_the_start_and_ends_at_the_fixed_point(problem, t):
    tau = t * squared(problem)
    assert near(lt.gradient_flow(problem, 0, tau), problem.pretrained, 1, size(problem))
    end = lt.gradient_flow(problem, math.inf, tau)
    assert near(end, lt.fixed_point(problem, tau), condition(problem), size(problem))


@given(problems(), RELATIVE_TEMPERATURES, log_uniform(1e-3, 1e3), st.floats(1, 1e3))
def test_the_weighted_loss_falls_along_the_flow(problem, t, time, factor):
    tau = t * squared(problem)
    covariance, limit = lt.weighted_covariance(problem, tau), lt.fixed_point(problem, tau)
    losses = []
    for moment in (time, factor * time):
        away = lt.gradient_flow(problem, moment, tau) - limit
        losses.append(away @ covariance @ away)
    scale = np.abs(covariance).max() * size(problem) ** 2
    assert not_above(losses[1], losses[0], condition(problem), scale)


# --------------------------------------------------------------------------------------------- fixed point


def averaging_law(point, problem, tau):
    """θ_∞ = θ* − κe, κ = τ/(τ + 2σ²)."""
    kappa = 1 / (1 + 2 * problem.noise_variance / tau)
    return near(point(problem, tau), problem.pretrained - kappa * problem.shift, 4, size(problem))


@given(problems(), RELATIVE_TEMPERATURES)
def test_convergence_under_noise_is_averaging(problem, t):
    assert averaging_law(lt.fixed_point, problem, t * squared(problem))


@pytest.mark.parametrize(
    "mutant",
    [
        lambda p, t: p.target,
        lambda p, t: lt.fixed_point(p, t / 2),
        lambda p, t: p.pretrained + p.target - lt.fixed_point(p, t),
    ],
    ids=["target", "σ² for 2σ²", "ω and 1−ω exchanged"],
)
def test_averaging_rejects(mutant):
    assert not averaging_law(mutant, EXAMPLE, 0.3 * squared(EXAMPLE))


def test_kappa_at_the_default_temperature():
    """With τ the median: κ = 0.958, 0.313, 0.200 at σ²/v = 0.01, 1, 10."""
    for noise, want in ((0.01, 0.958), (1.0, 0.313), (10.0, 0.200)):
        problem = lt.paper_problem(0.6, noise_variance=noise)
        kappa = 1 - lt.fixed_point(problem, lt.population_median_temperature(problem))[0]
        assert abs(kappa - want) < 5e-4


RULES = st.one_of(
    FINITE_TEMPERATURES.map(lambda t: lambda s2: t * s2),
    st.floats(2.1, 100).map(lambda t: lambda s2: KLDRO(t * s2)),
    log_uniform(0.01, 10).map(lambda a: lambda s2: HardThreshold(a * math.sqrt(s2))),
    st.just(lambda s2: Uniform()),
)


@given(problems(), RULES, SHARES)
def test_the_fixed_point_stays_under_one_more_step(problem, rule, share):
    """∇L = 0 there, from the moments of the definition: E[w x r] at θ_∞ vanishes, under every rule."""
    rule = rule(float(problem.residual_variance))
    mass, s2, v = lt.weight_mass(problem, rule), problem.residual_variance, problem.shift_variance
    covariance, e = lt.weighted_covariance(problem, rule), problem.shift
    # E[w x (y − ⟨θ,x⟩)] = E[w x r] + Σ'(θ* − θ), and E[w x r] = −(E[w r²]/s²) Σ̃e by Gaussian conditioning;
    # E[w r²] is read off eᵀΣ'e = m₀v − (m₀ − m₂)v²/s², m₂ = E[w r²]/s².
    m2 = mass - (mass * v - e @ covariance @ e) * s2 / v**2
    gradient = -m2 * problem.target_covariance @ e + covariance @ (
        problem.pretrained - lt.fixed_point(problem, rule)
    )
    scale = mass * np.abs(problem.target_covariance).max() * size(problem) * (1 + (s2 / v))
    assert near(gradient, np.zeros(problem.dim), 10 * condition(problem), scale)


@given(problems(noise=log_uniform(1e-2, 1e2)), FINITE_TEMPERATURES, st.integers(0, 8))
def test_repeated_flow_is_a_geometric_series(problem, t, rounds):
    """Weights recomputed at each round's optimum, fixed τ: θ − θ̃* = (1−κ)^j e."""
    tau = t * squared(problem)
    current = problem
    for _ in range(rounds):
        current = remade(current, pretrained=lt.fixed_point(current, tau))
    kappa = 1 / (1 + 2 * problem.noise_variance / tau)
    omega = 2 * problem.noise_variance / tau * kappa
    want = problem.target + omega**rounds * problem.shift
    assert near(current.pretrained, want, 8 * (1 + rounds), size(problem))


# ----------------------------------------------------------------------------------------- ordinary inputs


@pytest.mark.parametrize("tau", [1.0, math.inf, KLDRO(10.0), HardThreshold(1.0), Uniform()])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_nothing_to_learn(tau, noise):
    problem = lt.paper_problem(0.6, shift_norm=0.0, noise_variance=noise)
    for theta in (
        lt.iterate(problem, 5, temperature=tau),
        lt.gradient_flow(problem, 2.0, tau),
        lt.fixed_point(problem, tau),
    ):
        assert not theta.any()
    assert lt.stable_learning_rate(problem, tau) == math.inf


@pytest.mark.parametrize("steps", [0, 1, 2, 10**12, 10**12 + 1])
def test_one_dimension(steps):
    """Unit variance, unit shift: 1 − 2ημ³ = 1 − μ² a step."""
    problem = lt.paper_problem(0.0, dim=1)
    keep = 1 - lt.weight_mass(problem, 3.0) ** 2
    assert near(lt.iterate(problem, steps, temperature=3.0), [keep**steps], 2)
    assert lt.iterate(problem, steps).tolist() == [0.0 if steps else 1.0]


@given(st.integers(1, 3), st.integers(1, 3), SEEDS, RELATIVE_TEMPERATURES, STEPS, log_uniform(1e-3, 1e300))
def test_a_null_space_stays_at_the_start(rank, null, seed, t, steps, time):
    rng = np.random.default_rng(seed)
    basis = orthogonal(rank + null, rng)
    covariance = (basis[:, :rank] * np.linspace(0.3, 1.2, rank)) @ basis[:, :rank].T
    pretrained = rng.standard_normal(rank + null)
    problem = lt.FineTuningProblem(
        pretrained, np.zeros(rank + null), (covariance + covariance.T) / 2, None, 0.1
    )
    unseen, tau = basis[:, rank:], t * squared(problem)
    for theta in (
        lt.iterate(problem, steps, temperature=tau),
        lt.gradient_flow(problem, time, tau),
        lt.fixed_point(problem, tau),
    ):
        # The null space itself is known to ε: κ is that of Σ̃ over its range, and of the share of e in it.
        share = np.linalg.norm(pretrained) / np.linalg.norm(basis[:, :rank].T @ pretrained)
        assert near(unseen.T @ theta, unseen.T @ pretrained, 100 * share**2, size(problem))


@pytest.mark.parametrize("time", [1e308, 1.79e308, jnp.float32(3e38)])
def test_the_longest_time_there_is_moves_nothing_that_no_sample_sees(time):
    """Twice as long is no float, and infinity times an eigenvalue of 0 no number."""
    problem = lt.FineTuningProblem([1.0, 2.0], np.zeros(2), np.diag([1.0, 0.0]))
    assert lt.gradient_flow(problem, time).tolist() == [0.0, 2.0]


def test_extreme_steps_and_temperatures_pass_in_silence():
    problem = lt.paper_problem(0.6, noise_variance=0.5)
    for tau in (1e-300, 1e-20, 1e20, 1e308):
        for steps in (10**12, 10**400):
            assert np.isfinite(lt.iterate(problem, steps, temperature=tau)).all()
        for time in (5e-324, 1e308, math.inf):
            assert np.isfinite(lt.gradient_flow(problem, time, tau)).all()
