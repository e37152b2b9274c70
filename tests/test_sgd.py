"""Laws of one-pass SGD's exact second moment (T9, T14) and of what it forgets."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import near, not_above, within_standard_errors
from linear_theory.weights import KLDRO, Uniform
from tests.agreement import numpy_problem
from tests.laws import NOISELESS, RELATIVE_TEMPERATURES, condition, problems, remade, rotated, scaled, squared
from tests.strategies import SEEDS, orthogonal, random_case

EXAMPLE = numpy_problem(random_case(2, 5.0, noise=0.3, seed=4))


def stable(problem, share=0.2):
    """A step well within mean-square stability: 1/((d+2)λ_max) or more is allowed."""
    return share / ((problem.dim + 2) * np.linalg.norm(problem.target_covariance, 2))


@given(problems(), RELATIVE_TEMPERATURES)
def test_no_steps_are_the_pretrained_error(problem, t):
    got = lt.sgd_error(problem, 0, 0.1, t * squared(problem))
    assert near(got, lt.target_error(problem, problem.pretrained), condition(problem))


@given(problems(), RELATIVE_TEMPERATURES, st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_a_vector_of_steps_is_an_entry_for_each(problem, t, steps):
    tau, eta = t * squared(problem), stable(problem)
    table = lt.sgd_error(problem, np.array(steps), eta, tau)
    assert near(table, [lt.sgd_error(problem, k, eta, tau) for k in steps])


@given(problems(), RELATIVE_TEMPERATURES, st.integers(0, 100))
def test_noise_in_the_steps_only_costs(problem, t, steps):
    """Jensen: the mean of SGD is gradient descent, so its error is at least that one's."""
    tau, eta = t * squared(problem), stable(problem)
    descent = lt.target_error(problem, lt.iterate(problem, steps, eta, tau))
    scale = lt.target_error(problem, problem.pretrained) + problem.noise_variance
    around = 1 + np.linalg.norm(problem.target) / np.linalg.norm(problem.shift)
    assert not_above(
        descent, lt.sgd_error(problem, steps, eta, tau), 100 * condition(problem) * around, scale
    )


@given(problems(), RELATIVE_TEMPERATURES, SEEDS, st.integers(-20, 20).map(lambda k: 2.0**k))
def test_rotation_and_units(problem, t, seed, c):
    tau, eta = t * squared(problem), stable(problem)
    want = lt.sgd_error(problem, 20, eta, tau)
    turned = rotated(problem, orthogonal(problem.dim, np.random.default_rng(seed)))
    around = 1 + np.linalg.norm(problem.target) / np.linalg.norm(problem.shift)
    assert near(lt.sgd_error(turned, 20, eta, tau), want, 100 * condition(problem) * around)
    assert near(lt.sgd_error(scaled(problem, c), 20, eta, c**2 * tau), c**2 * want, 10)


def small_step_limit(error, problem, tau, time=1.0):
    """K steps of η = t/K tend to the flow: apart by O(1/K), so a tenth of η leaves a tenth."""
    flow = lt.target_error(problem, lt.gradient_flow(problem, time, tau))
    gaps = [error(problem, k, time / k, tau) - flow for k in (200, 2000)]
    return bool(abs(gaps[1] / gaps[0] - 0.1) < 0.02)


def test_small_steps():
    assert small_step_limit(lt.sgd_error, EXAMPLE, 1.0)
    assert not small_step_limit(lambda p, k, eta, tau: lt.sgd_error(p, k, eta / 2, tau), EXAMPLE, 1.0)
    assert not small_step_limit(lambda p, k, eta, tau: lt.sgd_error(p, k, eta), EXAMPLE, 1.0)


def simulate(problem, steps, eta, rule, runs=40_000, seed=3):
    """err₂ after K steps of θ ← θ + 2ηw(y − ⟨θ,x⟩)x on fresh rows, w from the loss at θ*."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(problem.target_covariance)
    away = np.tile(problem.shift, (runs, 1))
    for _ in range(steps):
        X = rng.standard_normal((runs, problem.dim)) @ root.T
        noise = math.sqrt(problem.noise_variance) * rng.standard_normal(runs)
        w = np.exp(rule.log_weights((noise - X @ problem.shift) ** 2))
        residual = noise - (X * away).sum(axis=1)
        away = away + 2 * eta * (w * residual)[:, None] * X
    return ((away @ problem.target_covariance) * away).sum(axis=1)


@pytest.mark.parametrize(
    "rule", [lt.weights.Flow(0.7), KLDRO(12.0), Uniform()], ids=lambda r: type(r).__name__
)
def test_simulation(rule):
    errors = simulate(EXAMPLE, 15, 0.05, rule)
    assert within_standard_errors(errors, lt.sgd_error(EXAMPLE, 15, 0.05, rule))
    quiet = remade(EXAMPLE, noise_variance=0.0)
    for wrong in (
        lt.sgd_error(EXAMPLE, 20, 0.05, rule),
        lt.sgd_error(quiet, 15, 0.05, rule),
        lt.target_error(EXAMPLE, lt.iterate(EXAMPLE, 15, 0.05, rule)),
    ):
        assert not within_standard_errors(errors, wrong)


def test_a_number_and_its_rule_agree():
    assert lt.sgd_error(EXAMPLE, 5, 0.05, 0.7) == lt.sgd_error(EXAMPLE, 5, 0.05, lt.weights.Flow(0.7))
    assert lt.sgd_error(EXAMPLE, 5, 0.05) == lt.sgd_error(EXAMPLE, 5, 0.05, Uniform())


# ------------------------------------------------------------------------------------ mean-square stability


def threshold(problem, tau):
    """The smallest positive root of Σᵢ ημ₂c₂ᵢ²/(μ₁c₁ᵢ − 2ημ₂c₂ᵢ²) = 1, for Σ̃ = I, by bisection below the pole."""
    mass1, mass2 = lt.weight_mass(problem, tau), lt.weight_mass(problem, tau / 2)
    # Σ̃ = I: Σ' and the tilt at τ/2 share their eigenvectors, e and its complement, in ascending order.
    c1 = np.linalg.eigvalsh(lt.weighted_covariance(problem, tau)) / mass1
    c2 = np.linalg.eigvalsh(lt.weighted_covariance(problem, tau / 2)) / mass2
    low, high = 0.0, float((mass1 * c1 / (2 * mass2 * c2**2)).min())
    for _ in range(60):
        eta = (low + high) / 2
        total = (eta * mass2 * c2**2 / (mass1 * c1 - 2 * eta * mass2 * c2**2)).sum()
        low, high = (eta, high) if total < 1 else (low, eta)
    return low


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("tau", [0.5, 3.0, math.inf])
def test_stability_threshold(dim, tau):
    problem = lt.paper_problem(0.0, dim=dim)
    edge = threshold(problem, tau)
    if tau == math.inf:
        assert near(edge, 1 / (dim + 2), 100)
    late = np.array([20_000, 20_500])
    before, after = lt.sgd_error(problem, late, 0.99 * edge, tau)
    assert after < before or after < 1e-200
    before, after = lt.sgd_error(problem, np.array([1500, 2000]), 1.03 * edge, tau)
    assert after > before


def test_an_unstable_step_grows_to_infinity_not_nan():
    error = lambda rate: lt.sgd_error(EXAMPLE, [0, 5000], rate)
    for start, end in (error(2.0), jax.jit(error)(2.0)):
        assert near(start, lt.target_error(EXAMPLE, EXAMPLE.pretrained), 10)
        assert end == math.inf


@given(problems(noise=NOISELESS), RELATIVE_TEMPERATURES)
def test_without_noise_a_stable_step_learns(problem, t):
    tau, eta = t * squared(problem), stable(problem)
    start, later = lt.sgd_error(problem, np.array([0, 200]), eta, tau)
    assert not_above(later, start)


def test_nothing_to_learn_and_extremes():
    assert lt.sgd_error(lt.paper_problem(0.6, 0.0), 10, 0.1, 1.0) == 0
    for tau in (1e-320, 1e-300, 1e300):
        assert np.isfinite(lt.sgd_error(lt.paper_problem(0.6, noise_variance=1.0), 10, 0.1, tau))


def second_moment_radius(problem, tau, learning_rate, kick=(2.0, 1.0)):
    """Spectral radius of one step on vec(E[(θ − θ̃*)(θ − θ̃*)ᵀ]), written out with Kronecker products from Lemma F.1."""
    S, e, one = problem.target_covariance, problem.shift, np.eye(problem.dim)
    s2 = e @ S @ e + problem.noise_variance
    tilted = lambda t: S - np.outer(S @ e, S @ e) * (2 / (t + 2 * s2))
    (m1, A), (m2, B) = (((1 + 2 * s2 / t) ** -0.5, tilted(t)) for t in (tau, tau / 2))
    both, trace = kick
    fresh = both * np.kron(B, B) + trace * np.outer(B.ravel(), B.ravel())
    step = np.kron(one, one) - 2 * learning_rate * m1 * (np.kron(A, one) + np.kron(one, A))
    return abs(np.linalg.eigvals(step + 4 * learning_rate**2 * m2 * fresh)).max()


@given(problems(), st.floats(-3, 3).map(lambda x: 10.0**x))
def test_the_stability_limit_is_where_the_second_moment_starts_to_grow(problem, t):
    tau = t * squared(problem)
    limit = float(lt.sgd_stability_limit(problem, tau))
    loss = 1e-7 * condition(problem)  # an eigenvalue near 1 moves by this little for a step so much longer
    assert second_moment_radius(problem, tau, limit * (1 - 1e-3)) < 1 + loss
    assert second_moment_radius(problem, tau, limit * (1 + 1e-3)) > 1
    forgotten = second_moment_radius(problem, tau, limit * (1 + 1e-3), kick=(2.0, 0.0))
    assert forgotten < 1 + loss, "without the trace the step would look safe"


def test_the_error_stays_below_the_limit_and_explodes_above():
    limit = lt.sgd_stability_limit(EXAMPLE, 1.0)
    steps = np.array([20_000, 40_000])
    below, above = (lt.sgd_error(EXAMPLE, steps, limit * factor, 1.0) for factor in (0.98, 1.02))
    assert below[1] < 1.01 * below[0]
    assert above[1] > 1e6 * above[0]


@pytest.mark.parametrize("dim", [1, 2, 7, 100, 10**6])
def test_the_limit_where_all_directions_are_alike(dim):
    """E[x xᵀ S x xᵀ] = 2S + tr(S)I: −4η + 4η²(d + 2) = 0."""
    assert near(lt.sgd_stability_limit(lt.paper_problem(0.0, dim=dim)), 1 / (dim + 2))


def test_small_weights_allow_gradient_descent_long_steps_but_not_sgd():
    """An easy row has weight 1 however cold it is: the limit of the mean grows, that of the variance does not."""
    problem = lt.paper_problem(0.6, noise_variance=0.1)
    mean = [float(lt.stable_learning_rate(problem, tau)) for tau in (1e-4, 1e-8)]
    square = [float(lt.sgd_stability_limit(problem, tau)) for tau in (1e-4, 1e-8)]
    assert mean[1] > 50 * mean[0]
    assert abs(square[1] / square[0] - 1) < 1e-3


def test_nothing_to_learn_bounds_no_step():
    assert lt.sgd_stability_limit(lt.FineTuningProblem([1.0], [0.0], [[0.0]])) == math.inf


def test_the_limit_has_one_derivative_and_says_so():
    value = lambda tau: lt.sgd_stability_limit(lt.paper_problem(0.6, dim=4), tau)
    assert near(jax.jit(jax.grad(value))(1.0), (value(1 + 1e-5) - value(1 - 1e-5)) / 2e-5, 1e6)
    with pytest.raises(lt.InvalidValueError, match="first derivatives only"):
        jax.jit(jax.grad(jax.grad(value)))(1.0)


@pytest.mark.parametrize("tau", [1e-300, 1e-200, 1e-162, 1e-100, 1e-16, 1e-12, 1e-6, 1.0])
def test_the_limit_keeps_its_digits_where_all_directions_stall(tau):
    """One dimension: √h₁ h₁/(3 √h₂ h₂²), h = τ/(τ + 2) under w and τ/(τ + 4) under w²."""
    one, two = tau / (tau + 2), tau / (tau + 4)
    limit = lt.sgd_stability_limit(lt.FineTuningProblem([1.0], [0.0], [[1.0]]), tau)
    assert near(limit, math.sqrt(one / two) * one / two / two / 3, 100)


# ------------------------------------------------------------------------------------------------ what it forgets

FORGETTING = numpy_problem(random_case(3, 5.0, noise=0.3, seed=4, pretrain_condition=4.0))


def around_target(problem, steps, eta, tau, sign=1):
    """E err₁ from the second moment around θ̃*, written out: tr(ΣM_θθ) + 2eᵀΣM_θ,last + eᵀΣe."""
    d, e, S = problem.dim, problem.shift, problem.pretrain_operator.dense()
    C = np.zeros((d + 1, d + 1))
    C[:d, :d], C[d, d] = problem.target_covariance, problem.noise_variance
    u = np.append(e, -1.0)
    s2 = u @ C @ u
    tilt = lambda t: ((1 + 2 * s2 / t) ** -0.5, C - np.outer(C @ u, C @ u) * (2 / (t + 2 * s2)))
    (m1, A), (m2, B), keep = tilt(tau), tilt(tau / 2), np.diag([1.0] * d + [0.0])
    M = np.outer(u, u)
    for _ in range(steps):
        kick = keep @ (2 * B @ M @ B + np.trace(M @ B) * B) @ keep
        M = M - 2 * eta * m1 * (keep @ A @ M + M @ A @ keep) + 4 * eta**2 * m2 * kick
    return np.trace(S @ M[:d, :d]) + sign * 2 * e @ S @ M[:d, d] + e @ S @ e


@given(problems(pretrain=True), RELATIVE_TEMPERATURES, st.integers(0, 60))
def test_forgetting_is_that_of_the_second_moment_around_the_target(problem, t, steps):
    tau, eta = min(t * squared(problem), 1e300), stable(problem)
    forgotten, left = lt.sgd_errors(problem, steps, eta, tau)
    assert left == lt.sgd_error(problem, steps, eta, tau)
    whole = float(lt.pretrain_error(problem, problem.target))
    want = around_target(problem, steps, eta, tau)
    scale = 100 * (steps + 1) * condition(problem) * np.finfo(float).eps
    assert abs(forgotten - want) <= scale * (whole + want)
    if steps == 0:
        assert forgotten == 0
    elif want > 1e3 * scale * whole:
        assert abs(forgotten - around_target(problem, steps, eta, tau, sign=-1)) > scale * whole


@given(problems(pretrain=True), RELATIVE_TEMPERATURES, st.integers(1, 100))
def test_noise_in_the_steps_only_forgets(problem, t, steps):
    tau, eta = t * squared(problem), stable(problem)
    descent = lt.pretrain_error(problem, lt.iterate(problem, steps, eta, tau))
    around = 1 + np.linalg.norm(problem.target) / np.linalg.norm(problem.shift)
    scale = lt.pretrain_error(problem, problem.target)
    forgotten, _ = lt.sgd_errors(problem, steps, eta, tau)
    assert not_above(descent, forgotten, 100 * condition(problem) * around, scale)


def test_the_first_step_has_all_its_digits():
    """E err₁ after one step of η = 1e-150: 4η²E[w²r² xᵀΣx], which around θ̃* is lost in eᵀΣe."""
    problem, eta = lt.paper_problem(0.0, dim=3, noise_variance=0.5), 1e-150
    forgotten, _ = lt.sgd_errors(problem, 1, eta)
    # x ~ N(0, I), r = ξ − x₁: E[r² ‖x‖²] = 3σ² + (3 + 2).
    assert near(forgotten, 4 * eta**2 * (3 * 0.5 + 5), 10)


@pytest.mark.parametrize("tau", [1e-300, 1e-200, 1e-162, 1e-16, 1.0])
def test_the_first_step_forgets_however_cold_it_is(tau):
    """One dimension: E[(2ηw x²)²] = 12η²√h₂ h₂², h₂ = τ/(τ + 4) under w², in steps on the scale of the limit."""
    problem, two, rate = lt.FineTuningProblem([1.0], [0.0], [[1.0]]), tau / (tau + 4), 0.1 / tau
    forgotten, _ = lt.sgd_errors(problem, 1, rate, tau)
    assert near(forgotten, 12 * (rate * two) ** 2 * math.sqrt(two), 100)


def test_forgetting_simulated():
    steps, eta, tau, runs = 15, 0.05, 0.7, 40_000
    rng, root = np.random.default_rng(5), np.linalg.cholesky(FORGETTING.target_covariance)
    moved = np.zeros((runs, FORGETTING.dim))
    for _ in range(steps):
        X = rng.standard_normal((runs, FORGETTING.dim)) @ root.T
        r = math.sqrt(FORGETTING.noise_variance) * rng.standard_normal(runs) - X @ FORGETTING.shift
        moved = moved + 2 * eta * (np.exp(-(r**2) / tau) * (r - (X * moved).sum(axis=1)))[:, None] * X
    errors = ((moved @ FORGETTING.pretrain_covariance) * moved).sum(axis=1)
    assert within_standard_errors(errors, lt.sgd_errors(FORGETTING, steps, eta, tau)[0])
    for wrong in (
        lt.sgd_errors(FORGETTING, steps + 1, eta, tau)[0],
        lt.pretrain_error(FORGETTING, lt.iterate(FORGETTING, steps, eta, tau)),
        lt.sgd_errors(remade(FORGETTING, noise_variance=0.0), steps, eta, tau)[0],
        lt.sgd_errors(remade(FORGETTING, pretrain_covariance=np.eye(3)), steps, eta, tau)[0],
    ):
        assert not within_standard_errors(errors, wrong)


def structured(dim, rank, seed):
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((dim, rank)) / math.sqrt(dim)
    return lt.covariance.IdentityPlusLowRank(factor, np.diag(rng.uniform(1, 4, rank)), rng.uniform(0.5, 2))


@pytest.mark.parametrize(
    ("pretrain_rank", "shift"),
    [(3, 1.0), (0, 0.0), *(pytest.param(*more, marks=pytest.mark.deep) for more in ((3, 0.0), (0, 1.0)))],
)
def test_a_low_rank_forgets_as_its_matrix_does(pretrain_rank, shift):
    dim = 150
    target, pretrain = structured(dim, 2, 1), structured(dim, pretrain_rank, 2)
    e = shift * np.random.default_rng(3).standard_normal(dim) / math.sqrt(dim)
    made = lambda *covariances: lt.FineTuningProblem(e, 0 * e, *covariances, noise_variance=0.3)
    ask = lambda problem: lt.sgd_errors(problem, [0, 1, 40], 1e-3, 1.0)
    want = ask(made(target.dense(), pretrain.dense()))
    for covariances in ((target, pretrain), (target, pretrain.dense()), (target.dense(), pretrain)):
        for got, wanted in zip(ask(made(*covariances)), want, strict=True):
            assert near(got, wanted, 1000)
    traced = jax.jit(ask)(jax.tree.map(jax.numpy.asarray, made(target, pretrain)))
    assert near(traced[0], want[0], 1000)


@pytest.mark.parametrize("c", [2.0**-70, 8.0])
@pytest.mark.parametrize("kind", ["matrix", "low rank"])
def test_units_of_x_do_not_matter(kind, c):
    """x → cx: θ → θ/c, Σ̃ → c²Σ̃, Σ → c²Σ, η → η/c², and so the limit; errors are in the units of y."""
    dim = 3 if kind == "matrix" else 150
    target, pretrain = structured(dim, 2, 1), structured(dim, 3, 2)
    e = np.random.default_rng(3).standard_normal(dim) / math.sqrt(dim)

    def ask(c):
        larger = (covariance.times(c * c) for covariance in (target, pretrain))
        covariances = (one.dense() if kind == "matrix" else one for one in larger)
        problem = lt.FineTuningProblem(e / c, 0 * e, *covariances, noise_variance=0.3)
        limit = c * c * lt.sgd_stability_limit(problem, 1.0)
        return *lt.sgd_errors(problem, [1, 5], 1e-2 / dim / c / c, 1.0), limit

    for found, want in zip(ask(c), ask(1.0), strict=True):
        assert near(found, want, 10)


def test_a_derivative_that_a_low_rank_does_not_know_is_refused():
    target, e = structured(150, 2, 1), np.ones(150)
    problem = jax.tree.map(jax.numpy.asarray, lt.FineTuningProblem(e, 0 * e, target))
    with pytest.raises(lt.InvalidValueError, match="give Σ̃ as its matrix"):
        jax.jit(jax.grad(lambda e: lt.sgd_errors(remade(problem, pretrained=e), 2, 1e-3)[0]))(
            problem.pretrained
        )


def test_an_operator_has_no_trace():
    operator = lt.covariance.Operator(lambda v: v, 2)
    problem = lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], np.eye(2), operator)
    assert lt.sgd_error(problem, 1, 0.1) > 0
    with pytest.raises(lt.InvalidTypeError, match=r"pretrain_covariance.*whole spectrum"):
        lt.sgd_errors(problem, 1, 0.1)
