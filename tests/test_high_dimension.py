"""As many rows as dimensions (T28, T29): digits derived by hand, other routes, limits, laws, and rows themselves."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special

import linear_theory as lt
from benchmarks.routes.high_dimension import flowed_plane
from linear_theory.high_dimension import optimum, path
from linear_theory.high_dimension.quadrature import normal_quadrature
from linear_theory.significance import four_sigma
from linear_theory.weights import KLDRO, HardSamples, HardThreshold, Uniform

FEW = settings(max_examples=10)
MEDIAN = 2 * special.erfinv(0.5) ** 2
RATIOS = st.floats(0.05, 3.0).filter(lambda ratio: abs(ratio - 1) > 0.02)
RELATIVE = st.floats(0.05, 30.0)
LARGE = 1000
"""Dimensions beyond which a covariance of the paper is an identity plus a low rank, whose trace is the limit's."""


def paper(rho=0.0, noise=1.0, temperature=1.0, **more):
    """v = 1, and the temperature in units of the default."""
    problem = lt.paper_problem(rho, dim=LARGE, noise_variance=noise, **more)
    return problem, temperature * MEDIAN * (1 + noise)


def plane(found, problem):
    return (found.theta - problem.pretrained)[..., :2]


def second_moment(found, problem):
    """E‖h‖²."""
    return ((found.theta - problem.pretrained) ** 2).sum(axis=-1) + found.variance


# ------------------------------------------------------------------------------------- digits derived by hand

CONVERGED = [  # ridge, ratio, noise, temperature; κ, V, err₂
    (0.0, 0.5, 1.0, 1.0, 0.466188746, 0.777055508, 1.062009962),
    (0.0, 0.1, 1.0, 1.0, 0.334561493, 0.042843039, None),
    (0.0, 0.9, 1.0, 1.0, 0.788648248, 22.000077037, None),
    (0.0, 0.5, 1.0, 0.1, 0.254724230, 5.169253346, None),
    (0.1, 0.5, 0.0, 1.0, 0.337208401, 0.035398450, None),
    (0.1, 2.0, 1.0, 1.0, 0.138153859, 0.188476795, None),
]


@pytest.mark.parametrize(("ridge", "ratio", "noise", "relative", "kappa", "variance", "error"), CONVERGED)
def test_the_optimum_has_its_digits(ridge, ratio, noise, relative, kappa, variance, error):
    problem, tau = paper(noise=noise, temperature=relative)
    found = optimum(problem, ratio, ridge, tau)
    assert abs(found.displacement - kappa) <= 5.1e-10
    assert abs(found.variance - variance) <= 5.1e-10
    assert error is None or abs(found.target_error - error) <= 5.1e-10


def test_so_has_a_ridge_in_the_plane():
    problem, tau = paper(rho=0.6)
    found = optimum(problem, 0.9, 0.1, tau)
    assert np.allclose(plane(found, problem), [-0.184041193, -0.062795463], rtol=0, atol=5.1e-10)
    assert abs(found.target_error - 0.812611261) <= 5.1e-10


@pytest.mark.parametrize(
    ("when", "h", "squares", "error"),
    [
        ({"time": None}, (-0.240967525, -0.065808992), 0.262468368, 0.720591924),
        ({"steps": 30, "learning_rate": 0.15}, (-0.239250657, -0.066316929), 0.259646160, 0.720604173),
    ],
)
def test_the_path_has_its_digits(when, h, squares, error):
    problem, tau = paper(rho=0.6)
    if "time" in when:
        when = {"time": 2 / float(lt.weight_mass(problem, tau))}
    found = path(problem, 0.5, temperature=tau, **when)
    assert np.allclose(plane(found, problem), h, rtol=0, atol=5.1e-10)
    assert abs(second_moment(found, problem) - squares) <= 5.1e-10
    assert abs(found.target_error - error) <= 5.1e-10


# -------------------------------------------------------------------------------------------------- other routes


@pytest.mark.parametrize(("ratio", "noise", "relative", "time"), [(0.5, 1.0, 1.0, 3.0), (2.0, 0.3, 4.0, 6.0)])
def test_the_second_moment_is_that_of_the_single_integral(ratio, noise, relative, time):
    """E‖h(t)‖² = −(1/2πi)∮ f² Ψ dz, Ψ the quadratic form of the resolvent: one integral in place of two."""
    problem, tau = paper(0.6, noise, relative)
    found = path(problem, ratio, time, temperature=tau)
    *theta, variance, error = map(float, flowed_plane(0.6, noise, ratio, tau, time))
    assert np.allclose(found.theta[:2], theta, rtol=0, atol=1e-10)
    assert abs(found.variance - variance) <= 1e-10
    assert abs(found.target_error - error) <= 1e-10


@pytest.mark.parametrize("ratio", [0.3, 2.0])
def test_without_weights_and_noise_it_is_the_marchenko_pastur_integral(ratio):
    """err₂ = E[exp(−4tλ)] over the law of XᵀX/n."""
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    density = lambda x: math.sqrt(max((x - low) * (high - x), 0.0)) / (2 * math.pi * ratio * x)
    time = 0.7
    bulk = integrate.quad(lambda x: math.exp(-4 * time * x) * density(x), low, high, epsabs=1e-12)[0]
    want = bulk + max(0.0, 1 - 1 / ratio)
    problem, _ = paper(noise=0.0)
    assert abs(path(problem, ratio, time).target_error - want) <= 1e-9


def test_a_matrix_whose_eigenvalues_are_all_alike_has_the_traces_of_the_identity():
    small, large = (lt.paper_problem(0.0, dim=dim, noise_variance=0.5) for dim in (30, LARGE))
    for call in (lambda p: optimum(p, 0.6, 0.2, 0.7), lambda p: path(p, 0.6, 2.0, temperature=0.7)):
        one, other = call(small), call(large)
        assert np.allclose(one.theta[:2], other.theta[:2], rtol=0, atol=1e-12)
        for name in ("variance", "target_error", "pretrain_error"):
            assert abs(getattr(one, name) - getattr(other, name)) <= 1e-10


# --------------------------------------------------------------------------------------------------------- limits


def random_problem(seed, dim=6, noise=0.5):
    rng = np.random.default_rng(seed)
    root, other = rng.standard_normal((2, dim, dim))
    return lt.FineTuningProblem(
        rng.standard_normal(dim), rng.standard_normal(dim), root @ root.T / dim + 0.1 * np.eye(dim),
        other @ other.T / dim + np.eye(dim), noise,
    )  # fmt: skip


@pytest.mark.parametrize("rule", [0.8, HardThreshold(0.9), Uniform()], ids=str)
def test_with_very_many_rows_it_is_the_population(rule):
    problem = random_problem(3)
    found = optimum(problem, 1e-9, temperature=rule)
    assert abs(found.displacement - lt.displacement(problem, rule)) <= 1e-8
    assert found.variance <= 1e-6
    along = path(problem, 1e-9, [0.5, 3.0], temperature=rule)
    assert np.allclose(along.theta, lt.gradient_flow(problem, [0.5, 3.0], rule), rtol=0, atol=1e-7)
    theta = lt.iterate(problem, 5, 0.05, rule)
    stepped = path(problem, 1e-9, steps=5, learning_rate=0.05, temperature=rule)
    assert np.allclose(stepped.theta, theta, rtol=0, atol=1e-7)
    assert abs(stepped.pretrain_error - lt.pretrain_error(problem, theta)) <= 1e-6


@FEW
@given(st.floats(0.02, 0.97), st.floats(0.1, 3.0))
def test_ordinary_least_squares_is_known(ratio, noise):
    problem, _ = paper(0.6, noise)
    found = optimum(problem, ratio)
    assert abs(found.displacement - 1) <= 1e-12
    assert math.isclose(found.variance, noise * ratio / (1 - ratio), rel_tol=1e-10)


@FEW
@given(st.floats(1.05, 20.0), RELATIVE)
def test_with_fewer_rows_than_dimensions_positive_weights_do_not_matter(ratio, relative):
    """h̄ = −e/γ, and V what is left: ‖h‖² of X⁺r is (v/γ) + σ²/(γ − 1)."""
    problem, tau = paper(0.0, 0.5, relative)
    found, unweighted = optimum(problem, ratio, temperature=tau), optimum(problem, ratio)
    assert math.isclose(found.displacement, 1 / ratio, rel_tol=1e-12)
    assert math.isclose(found.variance, unweighted.variance, rel_tol=1e-12)
    assert math.isclose(second_moment(found, problem), 1 / ratio + 0.5 / (ratio - 1), rel_tol=1e-10)


@FEW
@given(RATIOS, st.floats(0.5, 30.0), st.floats(0.05, 2.0))
def test_a_small_ridge_is_no_ridge_and_a_long_time_is_the_optimum(ratio, relative, noise):
    problem, tau = paper(0.3, noise, relative)
    end = optimum(problem, ratio, temperature=tau)
    near = optimum(problem, ratio, 1e-250, tau)  # where γ > 1 weights fade but slowly
    assert math.isclose(near.displacement, end.displacement, rel_tol=1e-4)
    late = path(problem, ratio, [1.0, 1e2, 1e4], temperature=tau).displacement
    gaps = abs(late - end.displacement)
    assert (np.diff(gaps) <= 1e-8).all()
    assert gaps[-1] <= (1e-3 if ratio <= 0.3 else 0.5)  # slowly, where the weighted rows hardly suffice


@FEW
@given(st.floats(0.05, 0.95), RELATIVE)
def test_without_noise_rows_enough_recover_the_optimum_exactly(ratio, relative):
    problem, tau = paper(0.6, 0.0, relative)
    found = optimum(problem, ratio, temperature=tau)
    assert abs(found.displacement - 1) <= 1e-12
    assert found.variance <= 1e-24


@FEW
@given(st.floats(0.05, 0.95), st.floats(0.1, 3.0), st.integers(0, 9))
def test_without_a_ridge_every_covariance_has_the_same_displacement_and_spread(ratio, relative, seed):
    """Only v matters; the covariance is VΣ̃⁻¹/d."""
    problem = random_problem(seed)
    v = float(problem.shift_variance)
    same = lt.paper_problem(0.0, math.sqrt(v), dim=LARGE, noise_variance=0.5)
    tau = relative * MEDIAN * (v + 0.5)
    found, white = optimum(problem, ratio, temperature=tau), optimum(same, ratio, temperature=tau)
    assert math.isclose(found.displacement, white.displacement, rel_tol=1e-10)
    inverse = np.linalg.inv(problem.target_covariance)
    share = lambda form: white.variance * np.trace(form @ inverse) / problem.dim
    assert math.isclose(found.variance, share(np.eye(problem.dim)), rel_tol=1e-9)
    kappa, e = white.displacement, problem.shift
    forgotten = kappa**2 * (e @ problem.pretrain_covariance @ e) + share(problem.pretrain_covariance)
    assert math.isclose(found.pretrain_error, forgotten, rel_tol=1e-9)
    assert math.isclose(found.target_error, (1 - kappa) ** 2 * v + white.variance, rel_tol=1e-9)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_cold_flow_is_a_cut_at_the_easiest_rows(ratio):
    """As many as dimensions: w̃ ∝ 1{|Z| < a} with P(|Z| < a) = γ, and V grows like 1/τ."""
    problem, tau = paper(0.0, 1.0, 1e-6)
    a = special.ndtri((1 + ratio) / 2)
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    m2 = ratio - 2 * a * density
    missing = 1 - m2 / ratio
    kappa = 1 - missing / (2 - missing)
    found = optimum(problem, ratio, temperature=tau)
    assert abs(found.displacement - kappa) <= 2e-5
    residual = (1 - kappa / 2) ** 2 * 2 * m2 + kappa**2 / 2 * ratio
    assert math.isclose(found.variance, a * 2 / (density * tau) * residual, rel_tol=1e-3)


@pytest.mark.parametrize(("ratio", "ridge"), [(0.5, 0.1), (1.5, 0.1), (1.5, 0.01)])
def test_with_a_ridge_cold_flow_sees_a_spike_of_rows(ratio, ridge):
    """Hardly any row counts, so g = γ/λ and κ = E[Z²w/(1 + gw)]/λ, in units of the spike's width √(τ/s²)."""
    problem, _ = paper(0.0, 1.0)
    weight = lambda t: math.exp(-t * t)
    moment = integrate.quad(lambda t: t * t * weight(t) / (1 + ratio / ridge * weight(t)), -9, 9)[0]
    for relative in (1e-8, 1e-10, 2e-11):
        found = optimum(problem, ratio, ridge, relative * problem.residual_variance)
        want = relative**1.5 * moment / math.sqrt(2 * math.pi) / ridge
        assert math.isclose(found.displacement, want, rel_tol=10 * math.sqrt(relative) / ridge)


def test_cold_paths_begin_along_the_mean_gradient():
    problem, _ = paper(0.0, 1.0)
    for relative in (1e-8, 1e-10, 2e-11):
        found = path(problem, 0.5, 1e-3, temperature=relative * problem.residual_variance)
        assert math.isclose(found.displacement, 2e-3 * (relative / 2) ** 1.5, rel_tol=0.02)


def test_temperatures_without_digits_are_refused():
    problem, _ = paper(0.0, 1.0)
    for call in (optimum, partial(path, time=1.0)):
        with pytest.raises(lt.InvalidValueError, match="at least 2e-11") as caught:
            call(problem, 0.5, temperature=1e-11)
        assert caught.value.argument == "temperature"
    with pytest.raises(lt.InvalidValueError, match="so cold that the variance"):
        optimum(problem, 0.999, temperature=2.1e-11)
    unit = 2e-11
    cold, warm = (optimum(problem, 0.5, temperature=tau).variance * tau for tau in (1.01 * unit, 1e4 * unit))
    assert math.isclose(cold, warm, rel_tol=3e-6)


def test_a_cut_is_the_same_rows_fewer():
    """Rows with |r| < c alone, unweighted: γ/q of them, and the rest is thrown away."""
    problem, _ = paper(0.0, 1.0)
    rule = HardThreshold(1.0)
    q = math.erf(0.5)  # of |r| < 1, r ~ N(0, 2)
    with pytest.raises(lt.InvalidValueError, match="as many dimensions as rows with a weight"):
        optimum(problem, q, temperature=rule)
    below, above = (optimum(problem, q * factor, temperature=rule) for factor in (0.5, 2.0))
    assert abs(below.displacement - lt.displacement(problem, rule)) <= 1e-12
    assert above.displacement < below.displacement


# ------------------------------------------------------------------------------------------------------------ laws


@FEW
@given(RATIOS, st.floats(0.2, 5.0), st.integers(0, 9), st.floats(0.1, 10.0))
def test_units_of_y_and_of_x_do_not_matter(ratio, tau, seed, unit):
    problem = random_problem(seed)
    in_y = lt.FineTuningProblem(
        unit * problem.pretrained, unit * problem.target, problem.target_covariance,
        problem.pretrain_covariance, unit**2 * 0.5,
    )  # fmt: skip
    in_x = lt.FineTuningProblem(
        problem.pretrained / unit, problem.target / unit, unit**2 * problem.target_covariance,
        unit**2 * problem.pretrain_covariance, 0.5,
    )  # fmt: skip
    want = optimum(problem, ratio, 0.3, tau)
    of_y, of_x = optimum(in_y, ratio, 0.3, unit**2 * tau), optimum(in_x, ratio, unit**2 * 0.3, tau)
    assert np.allclose(of_y.theta / unit, want.theta, rtol=1e-9, atol=1e-11)
    assert np.allclose(of_x.theta * unit, want.theta, rtol=1e-9, atol=1e-11)
    assert math.isclose(of_y.total_error, unit**2 * want.total_error, rel_tol=1e-9)
    assert math.isclose(of_x.target_error, want.target_error, rel_tol=1e-9)
    one, other = path(problem, ratio, 0.7, temperature=tau), path(in_x, ratio, 0.7 / unit**2, temperature=tau)
    assert math.isclose(one.target_error, other.target_error, rel_tol=1e-8)
    assert math.isclose(one.pretrain_error, other.pretrain_error, rel_tol=1e-7)


ALL = ("theta", "displacement", "variance", "pretrain_error", "target_error")


def in_other_units(problem, of_x, of_theta):
    """Features times 2^(of_x/2), parameters times 2^of_theta, so y² times 2^(of_x + 2 of_theta)."""
    x, theta, y = 2.0**of_x, 2.0**of_theta, 2.0 ** (of_x + 2 * of_theta)
    return lt.FineTuningProblem(
        problem.pretrained * theta, problem.target * theta, problem.target_covariance * x,
        problem.pretrain_covariance * x, problem.noise_variance * y,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of_x", "of_theta"), [(1, 0), (0, 1), (-901, 0), (903, 0), (0, 450), (0, -450), (901, -451), (-901, 451)]
)
def test_units_that_are_powers_of_two_change_no_bit(of_x, of_theta):
    """Up to the smallest and the largest squares that a problem may have."""
    problem, x, y = random_problem(4), 2.0**of_x, 2.0 ** (of_x + 2 * of_theta)
    other = in_other_units(problem, of_x, of_theta)
    units = dict(zip(ALL, (2.0**of_theta, 1.0, 4.0**of_theta, y, y), strict=True))
    pairs = (
        (optimum(problem, 0.6, temperature=0.8), optimum(other, 0.6, temperature=0.8 * y)),
        (path(problem, 0.6, 0.5, temperature=0.8), path(other, 0.6, 0.5 / x, temperature=0.8 * y)),
        (path(problem, 2.0, steps=3, temperature=0.8), path(other, 2.0, steps=3, temperature=0.8 * y)),
    )
    for want, found in pairs:
        for name, unit in units.items():
            assert np.array_equal(getattr(found, name), unit * getattr(want, name)), name
    want, found = optimum(problem, 0.6, 0.3, 0.8), optimum(other, 0.6, 0.3 * x, 0.8 * y)
    for name, unit in units.items():  # the ridge is a logarithm, which takes on another rounding
        assert np.allclose(getattr(found, name) / unit, getattr(want, name), rtol=1e-11, atol=1e-14), name
    forgotten = 4.0**of_theta * want.pretrain_error  # a Σ in its old units
    assert of_x == 0 or not math.isclose(found.pretrain_error, forgotten, rel_tol=1e-3)


@pytest.mark.parametrize(
    ("ratio", "rule"),
    [
        *((ratio, 0.8) for ratio in (1e-100, 1e-30, 1e-16)),
        (1e-100, HardThreshold(0.9)),
        *(pytest.param(ratio, HardThreshold(0.9), marks=pytest.mark.deep) for ratio in (1e-30, 1e-16)),
    ],
    ids=str,
)
def test_with_more_rows_than_any_float_counts_it_is_the_population(ratio, rule):
    """The fluctuation falls like the ratio; an outlier of the spectrum does not hide the population's step."""
    problem = random_problem(3)
    with np.errstate(all="raise", under="ignore"):
        found = optimum(problem, ratio, temperature=rule)
        ridged = optimum(problem, ratio, 0.7, rule)
        along = path(problem, ratio, [0.5, 3.0], temperature=rule)
        stepped = path(problem, ratio, steps=5, learning_rate=0.05, temperature=rule)
        large = path(paper(0.6)[0], ratio, steps=5, temperature=rule)
    assert np.allclose(found.theta, lt.fixed_point(problem, rule), rtol=0, atol=1e-11)
    assert np.allclose(ridged.theta, lt.ridge_optimum(problem, 0.7, rule), rtol=0, atol=1e-11)
    assert np.allclose(along.theta, lt.gradient_flow(problem, [0.5, 3.0], rule), rtol=0, atol=1e-9)
    assert np.allclose(stepped.theta, lt.iterate(problem, 5, 0.05, rule), rtol=0, atol=1e-9)
    near = [optimum(problem, 1e-9, temperature=rule), path(problem, 1e-9, [0.5, 3.0], temperature=rule)]
    for one, other in zip((found, along), near, strict=True):
        assert np.allclose(one.variance / ratio, other.variance / 1e-9, rtol=1e-5)
    half = lt.stable_learning_rate(paper(0.6)[0], rule) / 2  # 1/(2λ)
    assert np.allclose(large.theta, lt.iterate(paper(0.6)[0], 5, half, rule), rtol=0, atol=1e-9)
    wrong = lt.gradient_flow(problem, [0.25, 1.5], rule)
    assert abs(along.theta - wrong).max() > 1e-3


@pytest.mark.parametrize("ratio", [1e30, 1e100])
def test_with_hardly_a_row_nothing_moves(ratio):
    """‖h‖² of X⁺r is (v + σ²)/γ."""
    problem, tau = paper(0.0, 0.5)
    with np.errstate(all="raise", under="ignore"):
        for found in (optimum(problem, ratio), optimum(problem, ratio, 1e-3)):
            assert np.array_equal(found.theta[0], problem.pretrained[0])
            assert math.isclose(found.variance, 1.5 / ratio, rel_tol=1e-9)
            assert math.isclose(found.displacement, 1 / ratio, rel_tol=1e-9)
        stepped = path(problem, ratio, steps=3, temperature=tau)
        with pytest.raises(lt.InvalidValueError, match="so long that ten digits"):
            path(problem, ratio, 1.0, temperature=tau)
    assert stepped.target_error == 1


@pytest.mark.parametrize(
    ("name", "arguments", "remedy"),
    [
        ("ratio", {"ratio": 1e-101, "time": 1.0}, "from 1e-100 to 1e100"),
        ("ratio", {"ratio": 1e101, "time": 1.0}, "from 1e-100 to 1e100"),
        ("time", {"ratio": 0.5, "time": 1e17}, "so long that ten digits"),
        ("time", {"ratio": 0.5, "time": 1e300}, "so long that ten digits"),
        ("time", {"ratio": 1e100, "time": 1e300}, "so long that ten digits"),
        ("learning_rate", {"ratio": 0.5, "steps": 5, "learning_rate": 1e300}, "converges"),
    ],
)
def test_extremes_of_the_path_are_refused_by_name(name, arguments, remedy):
    with (
        np.errstate(all="raise", under="ignore"),
        pytest.raises(lt.InvalidValueError, match=remedy) as caught,
    ):
        path(random_problem(1), temperature=1.0, **arguments)
    assert caught.value.argument == name


def test_what_has_no_float_is_refused():
    """A variance of γσ²/(1 − γ)/Σ̃, and a bulk of which the resolvent's squares have none."""
    tiny = lt.FineTuningProblem(np.zeros(2), np.zeros(2), 1e-200 * np.eye(2), noise_variance=1e200)
    low = lt.FineTuningProblem(
        np.ones(2), np.zeros(2), lt.covariance.IdentityPlusLowRank(np.eye(2)[:, :1], np.eye(1), 1e-60)
    )
    with np.errstate(all="raise", under="ignore"):
        for call in (partial(optimum, ratio=0.5), partial(path, ratio=0.5, time=1e200)):
            for problem, match in ((tiny, "beyond the largest float"), (low, "no row says anything")):
                with pytest.raises(lt.InvalidValueError, match=match) as caught:
                    call(problem)
                assert caught.value.argument == "problem"
        for rule in (Weighty(500.0), Weighty(-math.inf)):
            with pytest.raises(lt.InvalidValueError, match="largest weight"):
                path(paper()[0], 0.5, 1.0, temperature=rule)
    assert optimum(paper()[0], 2.0, temperature=Weighty(500.0)).displacement == pytest.approx(0.5)


class Weighty:
    """The same weight for every row."""

    def __init__(self, logarithm):
        self.logarithm = logarithm

    def log_weights(self, losses):
        return np.full(losses.shape, self.logarithm)


def test_a_shift_far_below_the_noise_keeps_its_displacement():
    """v = 1e-300, σ² = 1e300: of the shift least squares goes all the way, and what it adds is no less."""
    problem = lt.FineTuningProblem(np.full(1, 1e-150), np.zeros(1), np.eye(1), noise_variance=1e300)
    found = optimum(problem, 0.5)
    assert found.displacement == pytest.approx(1, rel=1e-12)
    assert found.theta[0] == pytest.approx(0, abs=1e-162)
    assert found.variance == pytest.approx(1e300, rel=1e-12)


@FEW
@given(RATIOS, RELATIVE)
def test_small_steps_are_the_flow(ratio, relative):
    problem, tau = paper(0.5, 0.4, relative)
    flow = path(problem, ratio, 0.8, temperature=tau)
    steps = path(problem, ratio, steps=8 * 10**6, learning_rate=1e-7, temperature=tau)
    assert math.isclose(steps.target_error, flow.target_error, rel_tol=1e-5)
    assert math.isclose(steps.variance, flow.variance, rel_tol=1e-5)


def test_the_first_step_is_the_mean_gradient_s():
    """θ₁ − θ* = −2ημ³Σ̃e whatever the ratio, and its variance that of a mean over n rows."""
    problem, tau = paper(0.6, 0.0)
    mu = float(lt.weight_mass(problem, tau))
    found = path(problem, 0.7, steps=1, learning_rate=0.2, temperature=tau)
    assert np.allclose(plane(found, problem), -0.4 * mu**3 * np.array([1.0, 0.6]), rtol=0, atol=1e-12)
    # (1/n²) Σ E[w² r² ‖x⊥‖²] = γ E[w²r²], the moment of the temperature halved
    half = (1 + 4 / tau) ** -1.5
    assert math.isclose(found.variance, 0.16 * 0.7 * half, rel_tol=1e-9)


def test_beside_a_low_rank_the_old_task_may_come_as_a_matrix_or_as_a_low_rank_itself():
    dim = 60
    shift, target = np.eye(dim)[0], lt.covariance.IdentityPlusLowRank(np.eye(dim, 1), [[0.5]])
    spread = lt.covariance.IdentityPlusLowRank(np.eye(dim, 1), [[0.0]], 2.0)
    by_kind = [
        optimum(lt.FineTuningProblem(shift, 0 * shift, target, old, 0.5), 0.5, ridge=0.1)
        for old in (spread, spread.dense())
    ]
    assert np.isclose(by_kind[0].pretrain_error, by_kind[1].pretrain_error, rtol=1e-12)


def test_many_times_at_once_are_each_alone():
    problem, tau = paper(0.6)
    times = np.array([0.0, 0.5, 4.0])
    together = path(problem, 1.4, times, temperature=tau)
    assert together.theta.shape == (3, LARGE)
    for k, time in enumerate(times):
        alone = path(problem, 1.4, time, temperature=tau)
        assert abs(alone.total_error - together.total_error[k]) <= 1e-9
    counted = path(problem, 1.4, steps=[0, 3], temperature=tau)
    assert np.array_equal(counted.theta[0], problem.pretrained)
    assert math.isclose(counted.target_error[0], 1.0)


def test_where_nothing_is_to_learn_noise_alone_moves_it():
    problem = lt.paper_problem(0.0, 0.0, dim=LARGE, noise_variance=2.0)
    found = optimum(problem, 0.5)
    assert found.displacement == 0
    assert math.isclose(found.variance, 2.0)
    still = optimum(lt.paper_problem(0.0, 0.0, dim=LARGE), 0.5, 0.1, 1.0)
    assert still.variance == still.total_error == 0


def test_a_null_space_is_never_entered():
    problem = lt.FineTuningProblem([1.0, 2.0], [0.0, 0.0], np.diag([0.0, 1.0]), noise_variance=1.0)
    found = optimum(problem, 0.8, temperature=2.0)  # one dimension of two: 0.4 of a dimension for each row
    white = optimum(lt.paper_problem(0.0, 2.0, dim=LARGE, noise_variance=1.0), 0.4, temperature=2.0)
    assert found.theta[0] == 1.0
    assert math.isclose(found.displacement, white.displacement, rel_tol=1e-12)


class OwnCut:
    """A rule of one's own: any object with log_weights."""

    def log_weights(self, losses):
        return np.where(np.sqrt(losses) < 0.7, 0.0, -math.inf)


def test_a_rule_of_ones_own_is_taken():
    problem, _ = paper()
    own, built_in = (optimum(problem, 0.2, 0.1, rule) for rule in (OwnCut(), HardThreshold(0.7)))
    assert own.target_error == built_in.target_error


def test_a_function_that_jumps_is_integrated_to_rounding():
    for edge in (0.3, math.sqrt(2), 5.0):
        z, mass = normal_quadrature(lambda z, edge=edge: np.stack([1.0 * (z < edge), z**2 * (z < edge)]), 0.0)
        assert abs(mass @ (z < edge) - math.erf(edge / math.sqrt(2))) <= 1e-15


# ---------------------------------------------------------------------------------------------------------- rows

GENERAL = random_problem(5, 300)


@pytest.mark.parametrize("rule", [1.0, HardThreshold(1.0)], ids=["flow", "cut"])
def test_rows_of_a_general_covariance_do_that(rule):
    """d = 300, n = 450, 24 samples: a ridge, the flow and ten steps; weights not flattened would be seen."""
    d, n, draws, ridge, time, rate = 300, 450, 24, 0.1, 0.8, 0.1
    rng = np.random.default_rng(7)
    factor = np.linalg.cholesky(GENERAL.target_covariance)
    unit = math.sqrt(GENERAL.residual_variance)
    problem = lt.FineTuningProblem(
        GENERAL.pretrained / unit, GENERAL.target / unit, GENERAL.target_covariance,
        GENERAL.pretrain_covariance, 0.5 / unit**2,
    )  # fmt: skip
    found = []
    for _ in range(draws):
        X = rng.standard_normal((n, d)) @ factor.T
        y = X @ problem.target + math.sqrt(problem.noise_variance) * rng.standard_normal(n)
        r = y - X @ problem.pretrained
        w = np.exp(lt.weights.as_rule(rule).log_weights(r**2))
        values, basis = np.linalg.eigh(X.T @ (w[:, None] * X) / n)
        c = basis.T @ (X.T @ (w * r) / n)
        values = np.maximum(values, 1e-12)
        filters = (
            1 / (values + ridge), -np.expm1(-2 * time * values) / values,
            (1 - (1 - 2 * rate * values) ** 10) / values,
        )  # fmt: skip
        thetas = [problem.pretrained + basis @ (f * c) for f in filters]
        found.append([[lt.pretrain_error(problem, t), lt.target_error(problem, t)] for t in thetas])
    found = np.array(found)
    want = [
        optimum(problem, d / n, ridge, rule),
        path(problem, d / n, time, temperature=rule),
        path(problem, d / n, steps=10, learning_rate=rate, temperature=rule),
    ]
    want = np.array([[one.pretrain_error, one.target_error] for one in want])
    off = abs(found.mean(axis=0) - want) / (found.std(axis=0, ddof=1) / math.sqrt(draws))
    assert off.max() <= four_sigma(off.size, draws - 1)
    population = lt.fixed_point(problem, rule)
    assert abs(lt.target_error(problem, population) - found[:, 0, 1].mean()) > 0.05


# --------------------------------------------------------------------------------------------------- what is refused


def test_what_cannot_be_said_is_refused():
    problem, tau = paper()
    for call, match in (
        (lambda: optimum(problem, 1.0), "as many dimensions as rows"),
        (lambda: optimum(problem, 0.5, temperature=KLDRO(9.0)), "without a bound"),
        (lambda: path(problem, 0.5), "must be given, or steps"),
        (lambda: path(problem, 0.5, 1.0, 2), "must be given, or steps"),
        (lambda: path(problem, 0.5, 1.0, learning_rate=0.1), "belongs to steps"),
        (lambda: path(problem, 0.5, math.inf), "optimum"),
        (lambda: path(problem, 0.5, steps=10**6, learning_rate=3.0, temperature=tau), "converges"),
        (lambda: jax.jit(lambda t: optimum(problem, 0.5, temperature=t).theta)(1.0), "cannot be traced"),
    ):
        with pytest.raises(lt.LinearTheoryError, match=match):
            call()
    operator = lt.covariance.Operator(lambda v: v, 3)
    with pytest.raises(lt.InvalidTypeError, match="traces need its spectrum"):
        optimum(lt.FineTuningProblem(np.ones(3), np.zeros(3), operator), 0.5)


@pytest.mark.parametrize("time", ["one", 1j, True, -1.0, math.nan, math.inf, [1.0, -1.0], [[1.0]]])
def test_what_is_no_time_is_refused(time):
    with pytest.raises(lt.LinearTheoryError) as caught:
        path(lt.paper_problem(0.3), 0.5, time)
    assert caught.value.argument == "time"


def spiked(ell, ratio):
    """The largest eigenvalue of rows with one variance ℓ and else 1, beyond the bulk's (1 + √γ)²."""
    assert ell > 1 + math.sqrt(ratio)
    return ell + ratio * ell / (ell - 1)


def kept_at(cutoff):
    """Of Z with |Z| below it: how many, and their variance; and the same of the others."""
    inside, edge = (
        math.erf(cutoff / math.sqrt(2)),
        2 * cutoff * math.exp(-(cutoff**2) / 2) / math.sqrt(2 * math.pi),
    )
    return (inside, 1 - edge / inside), (1 - inside, 1 + edge / (1 - inside))


def silverstein(values, ratio):
    """The largest eigenvalue of rows of a covariance: the least z(m) = −1/m + γ ⟨σ/(1 + mσ)⟩ between −1/σ_max and 0."""
    z = lambda m: -1 / m + ratio * np.mean(values / (1 + m * values))
    least = optimize.minimize_scalar(
        z, bounds=(-1 / values.max(), 0), method="bounded", options={"xatol": 1e-12}
    )
    return float(least.fun)


def largest_eigenvalues():
    """Problem, ratio, rule, and λ by another theory: rows that a rule keeps or drops are unweighted rows, fewer."""
    alone, (low, _), (high, spike) = paper(0.0, 0.0)[0], *kept_at(1.0)
    general = random_problem(4)
    values = np.linalg.eigvalsh(general.target_covariance)
    yield alone, 0.3, HardThreshold(1.0), low * (1 + math.sqrt(0.3 / low)) ** 2
    yield alone, 0.3, HardSamples(1.0), high * spiked(spike, 0.3 / high)
    yield paper(0.6)[0], 0.1, Uniform(), spiked(1.6, 0.1)
    yield general, 0.7, Uniform(), silverstein(values, 0.7)
    yield general, 3.0, Uniform(), silverstein(values, 3.0)


@pytest.mark.parametrize(
    ("problem", "ratio", "rule", "largest"),
    list(largest_eigenvalues()),
    ids=["bulk of easy rows", "outlier of hard rows", "spike", "many rows", "few rows"],
)
def test_the_default_step_is_half_of_one_over_the_largest_eigenvalue_of_the_rows(
    problem, ratio, rule, largest
):
    default = path(problem, ratio, steps=3, temperature=rule)
    known, near = (path(problem, ratio, steps=3, learning_rate=rate, temperature=rule)
                   for rate in (1 / (2 * largest), 1 / (2.001 * largest)))  # fmt: skip
    assert np.allclose(default.theta, known.theta, rtol=0, atol=1e-6)
    assert math.isclose(default.target_error, known.target_error, rel_tol=1e-6)
    assert abs(default.target_error - near.target_error) > 1e-5 * default.target_error


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_a_cut_that_leaves_fewer_rows_than_dimensions_fits_those_and_no_more(ratio):
    """Without noise h = −Pe, P onto the rows that are kept, of which e has the variance v and all others 1."""
    problem, _ = paper(0.0, 0.0)
    (kept, variance), _ = kept_at(1.0)
    fitted = variance / (variance + ratio / kept - 1)
    found = optimum(problem, ratio, temperature=HardThreshold(1.0))
    assert math.isclose(found.displacement, fitted, rel_tol=1e-9)
    assert math.isclose(second_moment(found, problem), fitted, rel_tol=1e-9)
    assert math.isclose(found.target_error, 1 - fitted, rel_tol=1e-9)


@pytest.mark.parametrize("call", [
    partial(optimum, ridge=0.3), partial(path, time=1.5), partial(path, steps=4, learning_rate=0.1),
])  # fmt: skip
@pytest.mark.parametrize("ratio", [0.6, 2.0])
def test_the_old_task_is_only_what_forgetting_is_measured_by(call, ratio):
    """The fit knows nothing of Σ, forgetting is linear in it, and by Σ̃ it is the target error but for 2⟨h̄, Σ̃e⟩ + v."""
    problem = random_problem(6)
    target, e, old = problem.target_covariance, problem.shift, problem.pretrain_covariance

    def found(sigma):
        return call(
            lt.FineTuningProblem(problem.pretrained, problem.target, target, sigma, 0.5),
            ratio,
            temperature=0.8,
        )

    by_target, by_identity, by_old = map(found, (target, np.eye(6), old))
    by_all = found(target + 2 * np.eye(6) + 3 * old)
    for one in (by_identity, by_old, by_all):
        assert np.allclose(one.theta, by_target.theta, rtol=1e-12)
        assert math.isclose(one.variance, by_target.variance, rel_tol=1e-9)
    h = by_target.theta - problem.pretrained
    between = float(2 * h @ target @ e + e @ target @ e)
    assert math.isclose(by_target.pretrain_error + between, by_target.target_error, rel_tol=1e-9)
    assert math.isclose(by_identity.pretrain_error, h @ h + by_identity.variance, rel_tol=1e-9)
    summed = by_target.pretrain_error + 2 * by_identity.pretrain_error + 3 * by_old.pretrain_error
    assert math.isclose(by_all.pretrain_error, summed, rel_tol=1e-9)


def test_jax_arrays_are_read_and_answered_by_numpy():
    problem = jax.tree.map(jnp.asarray, lt.paper_problem(0.3, noise_variance=1.0))
    found = optimum(problem, jnp.asarray(0.5), temperature=jnp.asarray(0.7))
    assert isinstance(found.theta, np.ndarray)
    want = optimum(lt.paper_problem(0.3, noise_variance=1.0), 0.5, temperature=0.7)
    assert found.variance == want.variance


def test_the_default_step_is_half_of_what_is_stable():
    """1/(2λ), λ the largest eigenvalue of the weighted rows."""
    rng = np.random.default_rng(1)
    problem, tau = paper(0.6)
    n, d = 1600, 800
    X = (
        rng.standard_normal((n, d))
        @ np.linalg.cholesky(lt.paper_problem(0.6, dim=d).target_covariance.dense()).T
    )
    r = -X[:, 0] + rng.standard_normal(n)
    largest = np.linalg.eigvalsh(X.T @ (np.exp(-(r**2) / tau)[:, None] * X) / n)[-1]
    found = path(problem, 0.5, steps=4, temperature=tau)
    rate = optimize.brentq(
        lambda rate: path(problem, 0.5, steps=4, learning_rate=rate, temperature=tau).displacement
        - found.displacement, 0.1, 0.5,
    )  # fmt: skip
    assert abs(rate * 2 * largest - 1) <= 0.03
