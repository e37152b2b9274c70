"""The product of experts (T23) and the paths of weighted generalised linear models (T24)."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mpmath import mp
from scipy import integrate, optimize, special, stats

import linear_theory as lt
from benchmarks.routes import experts as routes
from linear_theory.experts import families
from linear_theory.testing.tolerances import EPS, bound
from tests.strategies import log_uniform

LOGISTIC, POISSON = lt.experts.Logistic(), lt.experts.Poisson()
MARGINS = st.floats(-20, 20).filter(lambda m: m == 0 or abs(m) > 1e-9)  # the square of a shift has its digits
TEMPERATURES = st.floats(0.05, 50)
PLANE = np.eye(2)


def problem(pretrained, target, covariance=None):
    return lt.FineTuningProblem(pretrained, target, np.eye(len(target)) if covariance is None else covariance)


# ------------------------------------------------------------------------------------------ the product


@given(st.integers(2, 4), st.integers(1, 3), TEMPERATURES, st.integers(0, 10**6))
@settings(max_examples=30)
def test_softmax_has_no_gradient_at_the_fixed_point_whatever_the_law_of_x(classes, d, tau, seed):
    rng = np.random.default_rng(seed)
    old, new = rng.normal(size=(2, classes, d))
    x, mass = rng.standard_t(3, size=(40, d)), rng.dirichlet(np.ones(40))
    law = special.softmax(x @ new.T, axis=1)
    joint = law * special.softmax(x @ old.T, axis=1) ** (1 / tau) * mass[:, None]  # P(x, y) w
    gradient = lambda theta: (
        (special.softmax(x @ theta.T, axis=1) * joint.sum(axis=1, keepdims=True) - joint).T @ x
    )
    rounding = bound(40) * abs(x).max() * (1 + 1 / tau) * (1 + abs(x).max())
    assert abs(gradient(lt.experts.fixed_point(old, new, tau))).max() <= rounding


@given(hnp.arrays(float, (3, 2), elements=MARGINS), hnp.arrays(float, (3, 2), elements=MARGINS), TEMPERATURES)
def test_undoing_gives_the_target_back(old, new, tau):
    fitted = lt.experts.fixed_point(old, new, tau)
    size = abs(new).max() + abs(old).max() / tau
    assert abs(lt.experts.undo(fitted, old, tau) - new).max() <= bound(4) * size
    average = lt.model_average(problem(old[0], new[0]), 1 / (1 + tau))
    assert abs(fitted[0] / lt.experts.sharpening(tau) - average).max() <= bound(8) * size


def test_unweighted_it_is_the_target():
    assert np.array_equal(lt.experts.fixed_point([1.0, 2.0], [0.5, 1.0], math.inf), [0.5, 1.0])
    assert lt.experts.sharpening(math.inf) == 1


@pytest.mark.parametrize(
    ("method", "values"),
    [("mean", [710.0]), ("variance", [[1.0, 1e308]]), ("loss", [710.0, 1.0]), ("loss", [-1e308, 1e300])],
)
def test_what_is_no_float_is_refused_and_not_infinite(method, values):
    with pytest.raises(lt.InvalidValueError, match="no float"):
        getattr(POISSON, method)(*values)


def test_the_largest_rate_is_a_float():
    assert np.isfinite(POISSON.mean(709.0))
    assert POISSON.loss(-1e5, 1e300) == pytest.approx(1e305 + special.gammaln(1e300), rel=1e-15)


def test_labels_of_a_frame_in_another_order_are_refused():
    pd = pytest.importorskip("pandas")
    one = pd.Series([1.0, 2.0], index=["a", "b"])
    with pytest.raises(lt.InvalidValueError, match="rows"):
        lt.experts.fixed_point(one, one[::-1], 1.0)


def test_jax_comes_back_and_has_derivatives():
    found = jax.jit(lt.experts.fixed_point)(jnp.ones(2), jnp.zeros(2), 0.5)
    assert isinstance(found, jax.Array)
    assert np.array_equal(found, [2.0, 2.0])
    assert jax.grad(lt.experts.sharpening)(0.5) == -4


# ------------------------------------------------------------------------------------------ the families


@given(MARGINS, MARGINS, TEMPERATURES)
def test_the_product_of_two_coins_is_two_sums(new, old, tau):
    law = lambda z: special.expit([-z, z])
    parts = law(new) * law(old) ** (1 / tau)
    log_weight, mean = LOGISTIC.product(new, old, tau)
    assert math.isclose(math.exp(log_weight), parts.sum(), rel_tol=bound(400 * (1 + 1 / tau)))
    assert mean == special.expit(new + old / tau)


@given(st.floats(-4, 3), st.floats(-4, 3), TEMPERATURES)
def test_the_product_of_two_poissons_is_a_literal_sum(new, old, tau):
    y = np.arange(0, 400)
    logs = stats.poisson.logpmf(y, math.exp(new)) + stats.poisson.logpmf(y, math.exp(old)) / tau
    log_weight, mean = POISSON.product(new, old, tau)
    assert math.isclose(log_weight, special.logsumexp(logs), rel_tol=1e-11, abs_tol=1e-11 * (1 + 1 / tau))
    assert math.isclose(mean, special.softmax(logs) @ y, rel_tol=1e-10, abs_tol=1e-13)


@pytest.mark.parametrize("predictor", [6.0, 9.0, 13.0])
def test_at_high_rates_every_tenth_term_will_do(predictor):
    """Of two equal laws p_τ has the mean λ − (ν − 1)/(2ν) + O(1/λ), ν = 1 + 1/τ."""
    _, mean = POISSON.product(predictor, predictor, 0.5)
    assert abs(mean - math.exp(predictor) + 1 / 3) < math.exp(-predictor)
    _, exact = POISSON.product(predictor, predictor, math.inf)
    assert math.isclose(exact, math.exp(predictor), rel_tol=1e-11)


@given(st.floats(-30, 50))
def test_two_equal_poissons_have_a_bessel_function_in_all_digits(predictor):
    """Σ p(y)² = e^(−2λ) I₀(2λ), which for large λ is 1/(2√(πλ))."""
    log_weight, _ = POISSON.product(predictor, predictor, 1.0)
    rate = math.exp(predictor)
    exact = math.log(special.ive(0, 2 * rate)) if predictor < 20 else -math.log(4 * math.pi * rate) / 2
    beyond = 1 / (8 * rate) if predictor >= 20 else 0.0
    assert abs(log_weight - exact) <= bound(100) + 8 * np.finfo(float).eps * math.sqrt(rate) + beyond


@pytest.mark.parametrize("family", [LOGISTIC, POISSON], ids=["logistic", "Poisson"])
def test_the_products_of_many_predictors_are_those_of_each(family):
    """Beside each other those whose counts are summed one by one and those of which every tenth will do."""
    new, old = np.array([[-30.0], [2.0], [9.0]]), np.array([13.0, 0.5, -4.0, 6.0])
    log_weights, means = family.product(new, old, 0.7)
    for i, j in np.ndindex(3, 4):
        alone = family.product(new[i, 0], old[j], 0.7)
        assert np.allclose([log_weights[i, j], means[i, j]], alone, rtol=1e-13, atol=0)


@pytest.mark.parametrize("family", [LOGISTIC, POISSON], ids=["logistic", "Poisson"])
def test_families_refuse_what_has_no_law(family):
    calls = [
        (lambda tau=tau: family.product(1.0, 1.0, tau), "temperature")
        for tau in (0.0, -1.0, math.nan, "cold", [1.0])
    ]
    for z in (math.nan, math.inf, [0.0, -math.inf], "steep", True):
        calls += [
            (lambda z=z: family.product(z, 1.0, 1.0), "target"),
            (lambda z=z: family.product(1.0, z, 1.0), "pretrained"),
            (lambda z=z: family.loss(z, 0), "predictor"),
            (lambda z=z: family.mean(z), "predictor"),
            (lambda z=z: family.variance(z), "predictor"),
        ]
    calls += [(lambda y=y: family.loss(0.0, y), "label") for y in (-1, math.nan, math.inf)]
    calls += [(lambda: family.product([1.0, 2.0], [1.0, 2.0, 3.0], 1.0), "target")]
    for call, argument in calls:
        with pytest.raises(lt.LinearTheoryError) as caught:
            call()
        assert caught.value.argument == argument
    for found in (family.loss([0.5, 1.0], [0, 1]), family.mean([0, 1]), *family.product([1, 2], [1, 2], 1)):
        assert found.shape == (2,)


def test_rates_at_which_counts_have_no_digits_are_refused():
    for arguments, name in (((51.0, 1.0), "target"), ((1.0, [0.0, 51.0]), "pretrained")):
        with pytest.raises(lt.InvalidValueError, match="at most 50") as caught:
            POISSON.product(*arguments, 1.0)
        assert caught.value.argument == name


@pytest.mark.parametrize(("family", "labels"), [(LOGISTIC, (0, 1)), (POISSON, (0, 3))])
@given(predictor=st.floats(-3, 3))
def test_mean_and_variance_are_derivatives_of_the_loss(family, labels, predictor):
    for y in labels:
        slope = optimize.approx_fprime([predictor], lambda z, y=y: float(family.loss(z[0], y)), 1e-6)[0]
        assert math.isclose(slope, float(family.mean(predictor)) - y, abs_tol=1e-4)
    bend = optimize.approx_fprime([predictor], lambda z: float(family.mean(z[0])), 1e-6)[0]
    assert math.isclose(bend, float(family.variance(predictor)), abs_tol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40, 1000])
def test_a_count_has_its_loss_in_all_digits(count):
    """−ln of its probability: up to 15 by a table, from 16 on by four terms of a series."""
    for predictor in (math.log(max(count, 1)), 0.3):
        z = mp.mpf(predictor)
        exact = mp.loggamma(count + 1) + mp.exp(z) - count * z
        assert abs(POISSON.loss(predictor, count) - exact) <= bound(8) * exact


@given(st.floats(-700, 700), st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)))
def test_a_coin_has_its_loss_in_all_digits_however_sure_it_is(predictor, label):
    with mp.workprec(1200):
        z, y = mp.mpf(predictor), mp.mpf(label)
        exact = y * mp.log1p(mp.exp(-z)) + (1 - y) * mp.log1p(mp.exp(z))
        assert abs(LOGISTIC.loss(predictor, label) - exact) <= bound(8) * exact


@given(log_uniform(1e-3, 1e300), st.one_of(st.floats(-1e-6, 1e-6), st.floats(-3, 3)), st.booleans())
def test_counts_of_any_size_have_their_loss_in_all_digits(label, away, whole):
    label = float(round(label)) if whole else label
    predictor = math.log(max(label, 1.0)) + away
    found = POISSON.loss(predictor, label)
    with mp.workprec(1200):
        z, y = mp.mpf(predictor), mp.mpf(label)
        rate = mp.exp(z)
        exact = rate - y * z + mp.loggamma(y + 1)
        rounding = exact + abs(rate - y) * (1 + abs(z)) + rate * EPS
        assert abs(found - exact) <= bound(32) * rounding + bound(100) * (label < 16)


# ------------------------------------------------------------------------------------------ the paths

PRINTED = [
    (
        LOGISTIC, [1.5, 0.0], [0.3, 1.0], 0.693, 2.0, 0.43751,
        {1: (1.62627, 0.23692), 5: (1.91467, 0.65990), 30: (2.39503, 0.97682)},
    ),
    (POISSON, [0.5, 0.0], [0.1, 0.4], 1.3, 0.3, 0.37841, {30: (0.30911, 0.25191)}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "old", "new", "tau", "step", "mass", "path"), PRINTED)
def test_paths_have_the_digits_derived_by_hand(family, old, new, tau, step, mass, path):
    case = problem(old, new)
    weight = lt.experts.mean_weight(case, family, tau)
    assert abs(weight - mass) <= 6e-6
    found = lt.experts.iterate(case, family, list(path), step / weight, tau)
    assert abs(found - np.array(list(path.values()))).max() <= 6e-6


def hermite(case, family, tau, theta):
    """E[w], the gradient and the Hessian by Gauss's nodes."""
    name = type(family).__name__
    return routes.hermite(case.pretrained, case.target, case.target_covariance, name, tau, theta)


@pytest.mark.parametrize("family", [LOGISTIC, POISSON], ids=["logistic", "Poisson"])
@pytest.mark.parametrize("tau", [0.4, 3.0, math.inf])
def test_one_step_and_the_curvature_in_three_correlated_dimensions(family, tau):
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(3, 3))
    covariance = mix @ mix.T / 4 + 0.3 * np.eye(3)
    case = problem(0.3 * rng.normal(size=3), 0.3 * rng.normal(size=3), (covariance + covariance.T) / 2)
    mass, gradient, _ = hermite(case, family, tau, case.pretrained)
    assert math.isclose(lt.experts.mean_weight(case, family, tau), mass, rel_tol=1e-9)
    one = lt.experts.iterate(case, family, 1, 0.5, tau)
    assert abs(one - case.pretrained + 0.5 * gradient).max() <= 1e-8
    theta = np.array([0.2, -0.3, 0.4])
    _, gradient, hessian = hermite(case, family, tau, theta)
    u = rng.normal(size=3)
    assert math.isclose(lt.experts.curvature(case, family, theta, u, tau), u @ hessian @ u, rel_tol=1e-7)
    from_there = lambda pretrained: lt.FineTuningProblem(pretrained, case.target, case.target_covariance)
    # Where no weight depends on the start, a step may begin anywhere: the third axis of the quadrature.
    _, plain, _ = hermite(case, family, math.inf, theta)
    two = lt.experts.iterate(from_there(theta), family, 1, 0.5)
    assert abs(two - theta + 0.5 * plain).max() <= 1e-8


@pytest.mark.parametrize("family", [LOGISTIC, POISSON], ids=["logistic", "Poisson"])
@given(st.integers(1, 5), st.sampled_from([0.05, 1.0, math.inf]), st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_nodes_half_as_far_apart_change_nothing(family, d, tau, seed):
    rng = np.random.default_rng(seed)
    mix, scale = rng.normal(size=(d, d)), 1.5 if family is LOGISTIC else 0.5
    old, new = (v * scale / np.linalg.norm(v) for v in rng.normal(size=(2, d)))
    case = problem(old, new, (mix @ mix.T + np.eye(d)) / np.trace(mix @ mix.T + np.eye(d)))
    finer = type(
        "Finer", (type(family),), {"spacing": lambda self, *how: type(family).spacing(self, *how) / 2}
    )()

    def numbers(rule):
        path = lt.experts.iterate(case, rule, 3, 0.3, tau)
        return np.append(
            path, [lt.experts.mean_weight(case, rule, tau), lt.experts.curvature(case, rule, path, old, tau)]
        )

    assert abs(numbers(finer) - numbers(family)).max() <= bound(2000) * (abs(old).max() + abs(new).max() + 1)


def test_without_weights_logistic_descent_ends_at_the_target_and_with_them_at_the_product():
    case = problem([1.0, -0.5, 0.3], [0.2, 0.8, 0.0])
    for tau in (math.inf, 2.0):
        rate = 4 / lt.experts.mean_weight(case, LOGISTIC, tau)
        end = lt.experts.iterate(case, LOGISTIC, 600, rate, tau)
        assert abs(end - lt.experts.fixed_point(case.pretrained, case.target, tau)).max() <= 1e-9
    assert abs(end - case.target).max() > 0.4


def test_a_cold_path_follows_the_steep_end():
    """θ_∞ = θ̃* + θ*/τ is ten times as steep as what the grid was first made for."""
    case = problem([1.0, 0.0], [0.0, 0.5])
    end = lt.experts.fixed_point(case.pretrained, case.target, 0.1)
    near = lt.experts.iterate(problem(case.pretrained, case.target), LOGISTIC, 5000, 200.0, 0.1)
    assert near[0] > 6
    at = lambda theta: lt.experts.curvature(case, LOGISTIC, theta, [0.0, 1.0], 0.1)
    assert at(end) < at(near)


def test_a_shift_that_no_row_sees_does_not_move():
    case = problem([1.0, 2.0], [0.0, 5.0], np.diag([1.0, 0.0]))
    assert lt.experts.iterate(case, LOGISTIC, 4, 1.0, 0.7)[1] == 2
    alone = problem([0.0, 2.0], [0.0, 5.0], np.diag([1.0, 0.0]))
    assert np.array_equal(lt.experts.iterate(alone, LOGISTIC, 4, 1.0, 0.7), [0.0, 2.0])
    assert math.isclose(lt.experts.mean_weight(alone, LOGISTIC, 0.5), 0.25, rel_tol=1e-14)


def test_in_a_hundred_thousand_dimensions_as_in_three():
    small = lt.experts.iterate(lt.paper_problem(0.6, dim=3), LOGISTIC, 5, 1.0, 0.7)
    large = lt.experts.iterate(lt.paper_problem(0.6, dim=10**5), LOGISTIC, 5, 1.0, 0.7)
    assert abs(large[:3] - small).max() <= bound(1000)
    assert not large[3:].any()


def test_an_array_of_steps_is_one_path():
    case = problem([0.5, 0.0], [0.1, 0.4])
    path = lt.experts.iterate(case, POISSON, [0, 2, 2, 1], 0.2, 1.0)
    assert path.shape == (4, 2)
    assert np.array_equal(path[0], case.pretrained)
    assert np.array_equal(path[1], path[2])
    assert np.array_equal(path[3], lt.experts.iterate(case, POISSON, 1, 0.2, 1.0))


def test_jax_in_jax_out_and_tracing_is_refused():
    case = lt.FineTuningProblem(jnp.array([0.5, 0.0], dtype=jnp.float32), np.array([0.1, 0.4]), np.eye(2))
    found = lt.experts.iterate(case, LOGISTIC, 2, 0.2, 1.0)
    assert found.dtype == jnp.float32
    assert lt.experts.mean_weight(case, LOGISTIC, 1.0).dtype == jnp.float32
    with pytest.raises(lt.InvalidTypeError, match="outside jit"):
        jax.jit(lambda tau: lt.experts.mean_weight(case, LOGISTIC, tau))(1.0)


def test_what_is_too_steep_and_what_diverges_is_said():
    with pytest.raises(lt.InvalidValueError, match="too steep"):
        lt.experts.mean_weight(problem([4.0, 0.0], [0.0, 4.0]), POISSON, 1.0)
    with pytest.raises(lt.InvalidValueError, match="so long that step") as caught:
        lt.experts.iterate(problem([0.5, 0.0], [0.1, 0.4]), POISSON, 50, 100.0)
    assert caught.value.argument == "learning_rate"


def test_shorter_spacing_for_steeper_predictors():
    assert families.Logistic().spacing(30.0, 30.0, 1.0) < families.Logistic().spacing(3.0, 3.0, 1.0) / 8
    assert families.Poisson().spacing(0.5, 1.0, 0.1) < families.Poisson().spacing(0.5, 1.0, 10.0)


def test_one_number_is_an_array_and_none_is_not():
    assert lt.experts.fixed_point(np.array([2.0]), np.array([3.0]), 2.0) == pytest.approx([4.0])
    for empty in (np.zeros(0), np.zeros((2, 0))):
        with pytest.raises(lt.InvalidValueError, match="is empty"):
            lt.experts.fixed_point(empty, empty, 2.0)


@pytest.mark.parametrize("family", [LOGISTIC, POISSON], ids=["logistic", "Poisson"])
def test_curvature_outside_the_span_is_the_limit_of_that_inside(family):
    """A direction that θ, the start and the target hardly enter is one that they do not."""
    problem = lt.FineTuningProblem([0.5, 0.0, 0.0], [0.1, 0.3, 0.0], np.eye(3))
    direction = [0.2, 0.1, 1.0]
    outside, entered = (
        lt.experts.curvature(problem, family, [0.2, 0.1, last], direction, 2.0) for last in (0.0, 1e-7)
    )
    assert np.isclose(outside, entered, rtol=1e-5)


def test_rates_without_weights_have_the_moments_of_their_generating_function():
    """E[e^⟨θ,x⟩x] = e^(θᵀΣ̃θ/2) Σ̃θ, and its derivative: also where θ leaves the models' plane, to either side of it."""
    mix = np.random.default_rng(5).normal(size=(3, 3))
    covariance = mix @ mix.T / 4 + 0.3 * np.eye(3)
    case = problem([0.9, 0.0, 0.0], [-0.6, 0.5, 0.0], (covariance + covariance.T) / 2)
    rate = lambda theta: math.exp(theta @ case.target_covariance @ theta / 2)
    moment = lambda theta: rate(theta) * case.target_covariance @ theta
    theta = case.pretrained
    for _ in range(3):
        theta = theta - 0.2 * (moment(theta) - moment(case.target))
    assert abs(lt.experts.iterate(case, POISSON, 3, 0.2) - theta).max() <= bound(100)
    u = np.array([0.3, -1.0, 0.8])
    for theta in (np.array([0.4, -0.3, 1.2]), np.array([-1.0, 0.0, 0.0])):
        image = case.target_covariance @ theta
        want = rate(theta) * (u @ case.target_covariance @ u + (u @ image) ** 2)
        assert math.isclose(lt.experts.curvature(case, POISSON, theta, u), want, rel_tol=bound(200))


@pytest.mark.parametrize("direction", [(0.0, 1.0), (0.6, -0.8)])
def test_the_curvature_of_coins_where_the_predictor_is_ten_times_as_steep_as_those_of_the_models(direction):
    """E[A''(6z)⟨u, x⟩²] is an integral over z alone."""
    along, across = direction
    integrand = lambda z: special.expit(6 * z) * special.expit(-6 * z) * ((along * z) ** 2 + across**2)
    want = 2 * integrate.quad(lambda z: integrand(z) * stats.norm.pdf(z), 0, 12, epsabs=1e-14, limit=200)[0]
    found = lt.experts.curvature(problem([0.5, 0.0], [0.0, 0.5]), LOGISTIC, [6.0, 0.0], direction)
    assert math.isclose(found, want, rel_tol=1e-11)


def test_the_step_that_is_told_is_the_first_that_no_float_holds():
    case = problem([0.5, 0.0], [0.1, 0.4])
    with pytest.raises(lt.InvalidValueError, match="so long that step") as caught:
        lt.experts.iterate(case, POISSON, 50, 3.0)
    (told,) = re.findall(r"step (\d+)", str(caught.value))
    assert np.isfinite(lt.experts.iterate(case, POISSON, int(told) - 1, 3.0)).all()
    with pytest.raises(lt.InvalidValueError, match=f"step {told} "):
        lt.experts.iterate(case, POISSON, int(told), 3.0)
