"""Standard errors of FLOW's minimiser and the undone average: against derivatives, a closed form and coverage."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import linear_theory as lt
from linear_theory.significance import SIGMAS, four_sigma
from linear_theory.testing.tolerances import near
from tests.strategies import SEEDS, random_data

COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.5]])
SHIFT, NOISE = np.array([1.0, 0.0, 0.0]), 1.0
OTHER_SHIFT, OTHER_NOISE = np.array([0.8, -0.5, 0.4]), 0.3
MEDIAN = 0.454936423119572  # of χ²₁


def drawn(n, shift=SHIFT, noise=NOISE, seed=0):
    """Gaussian rows and noise around θ̃* = 0, seen from θ* = e."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)) @ np.linalg.cholesky(COVARIANCE).T
    return X, math.sqrt(noise) * rng.standard_normal(n), shift


def asymptotic(shift, noise, temperature=None):
    """n times the covariance of θ̂ for Gaussian rows and noise, by Isserlis' theorem; with the median's share, too."""
    v = shift @ COVARIANCE @ shift
    variance = v + noise
    tau = MEDIAN * variance if temperature is None else temperature
    kappa, k, q = tau / (tau + 2 * noise), 2 / (tau + 2 * noise), 4 / (tau + 4 * variance)
    mass, shrunk = (1 + 2 * variance / tau) ** -0.5, 1 + 4 * variance / tau
    rest = (noise + (1 - kappa**2) * v) / shrunk
    along = (
        rest * (2 * k + k**2 * v - q * (1 + k * v) ** 2) + 2 * (1 - kappa) ** 2 * (1 + k * v) ** 2 / shrunk**2
    )
    outer = np.outer(shift, shift)
    fixed = shrunk**-0.5 / mass**2 * (rest * np.linalg.inv(COVARIANCE) + along * outer)
    if temperature is not None:
        return fixed
    speed = 2 * noise / (tau + 2 * noise) ** 2
    density = stats.chi2(1).pdf(MEDIAN) / variance
    edge, steep = math.sqrt(MEDIAN), math.sqrt(1 + 2 / MEDIAN)
    zeroth = (2 * stats.norm.cdf(steep * edge) - 1) / steep
    second = (
        2 * stats.norm.cdf(steep * edge) - 1 - 2 * steep * edge * stats.norm.pdf(steep * edge)
    ) / steep**3
    below = kappa * noise / variance * zeroth - (1 - kappa * v / variance) * second
    return fixed + (speed**2 / (4 * density**2) + 2 * speed * (1 + k * v) * below / (mass * density)) * outer


def test_the_closed_form_has_the_digits_derived_by_hand():
    fixed, both = asymptotic(SHIFT, NOISE, 2 * MEDIAN), asymptotic(SHIFT, NOISE)
    assert np.allclose(np.diag(fixed), [0.689689733, 0.463102885, 0.231551442], rtol=0, atol=5e-10)
    assert math.isclose(fixed[0, 1], -0.231551442, rel_tol=0, abs_tol=5e-10)
    assert math.isclose(both[0, 0], 1.134831589, rel_tol=0, abs_tol=5e-10)
    assert np.array_equal(np.delete(both - fixed, 0), np.zeros(8))
    unit = OTHER_SHIFT / np.linalg.norm(OTHER_SHIFT)
    tau = MEDIAN * (OTHER_SHIFT @ COVARIANCE @ OTHER_SHIFT + OTHER_NOISE)
    assert math.isclose(unit @ asymptotic(OTHER_SHIFT, OTHER_NOISE, tau) @ unit, 0.5764, abs_tol=5e-5)
    assert math.isclose(unit @ asymptotic(OTHER_SHIFT, OTHER_NOISE) @ unit, 1.1759, abs_tol=5e-5)


@pytest.mark.parametrize(("shift", "noise"), [(SHIFT, NOISE), (OTHER_SHIFT, OTHER_NOISE)])
@pytest.mark.parametrize("median", [True, False])
def test_the_sandwich_approaches_the_closed_form(shift, noise, median):
    n, draws = 20_000, 24
    tau = None if median else MEDIAN * (shift @ COVARIANCE @ shift + noise)
    found = np.stack(
        [n * lt.standard_errors(*drawn(n, shift, noise, s), tau).covariance for s in range(draws)]
    )
    mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(draws)
    off = lambda want: (
        abs(mean - want) / (error + 0.01 * np.sqrt(np.outer(*2 * [np.diag(want)])))
    )  # and O(n^(−2/5))
    assert off(asymptotic(shift, noise, tau)).max() <= four_sigma(
        9, draws - 1
    )  # an independent check of the density
    wrong = asymptotic(shift, noise, MEDIAN * (shift @ COVARIANCE @ shift + noise) if median else None)
    assert off(wrong).max() > 3 * four_sigma(9, draws - 1)  # the other one of the two


def coverage(n, draws, temperature):
    """How often 95 % intervals along e hold θ_∞, and the spread of θ̂ over the mean standard error."""
    problem = lt.FineTuningProblem(SHIFT, np.zeros(3), COVARIANCE, noise_variance=NOISE)
    end = lt.fixed_point(problem, lt.population_median_temperature(problem))
    hits, estimates, errors = 0, [], []
    for seed in range(draws):
        rows = drawn(n, seed=1000 + seed)
        known = lt.standard_errors(*rows, temperature(rows))
        low, high = known.interval(0.95)
        hits += low[0] <= end[0] <= high[0]
        estimates.append(known.theta[0])
        errors.append(known.standard_errors[0])
    return hits / draws, np.std(estimates) / np.mean(errors)


def test_intervals_cover_and_those_that_take_the_sample_median_for_known_do_not():
    draws = 600
    spread = math.sqrt(0.95 * 0.05 / draws)
    right, ratio = coverage(1000, draws, lambda rows: None)
    assert abs(right - 0.95) <= SIGMAS * spread
    assert abs(ratio - 1) <= SIGMAS / math.sqrt(2 * draws)
    forgetful, short = coverage(
        1000, draws, lambda rows: lt.median_temperature((rows[1] - rows[0] @ rows[2]) ** 2)
    )
    assert forgetful <= 0.95 - SIGMAS * spread
    assert short > 1.15


def test_it_is_an_interval_for_the_end_of_training_and_not_for_the_new_optimum():
    known = lt.standard_errors(*drawn(4000))
    low, high = known.interval(0.99)
    kappa = 2 * MEDIAN / (2 * MEDIAN + 2 * NOISE)
    assert low[0] < 1 - kappa < high[0]
    assert not low[0] < 0 < high[0]


# ----------------------------------------------------------------------- what a row does, told by leaving it out


def weighed(data, tau):
    """The minimiser of FLOW's loss by SciPy's least squares, and the leverage of each row."""
    root = np.sqrt(np.exp(-((data.y - data.X @ data.start) ** 2) / tau))
    scaled = data.X * root[:, None]
    hat = scaled @ np.linalg.solve(scaled.T @ scaled, scaled.T)
    fitted = lambda keep: np.linalg.lstsq(scaled[keep], (root * data.y)[keep], rcond=None)[0]
    return fitted, np.diag(hat)


@given(seed=SEEDS)
def test_the_covariance_is_what_leaving_out_each_row_does(seed):
    data = random_data(40, 3, 3, seed=seed)
    tau = float(np.median((data.y - data.X @ data.start) ** 2))
    fitted, _ = weighed(data, tau)
    everything = np.ones(40, dtype=bool)
    without = np.stack([fitted(everything & (np.arange(40) != row)) for row in range(40)])
    apart = without - fitted(everything)
    found = lt.standard_errors(data.X, data.y, data.start, tau)
    assert np.allclose(found.covariance, apart.T @ apart, rtol=1e-6, atol=1e-9 * np.trace(found.covariance))
    assert np.allclose(found.theta, fitted(everything), rtol=1e-7, atol=1e-9)
    assert math.isclose(found.temperature, tau, rel_tol=1e-15)


@given(seed=SEEDS)
def test_the_median_moves_the_minimiser_along_its_derivative_in_the_temperature(seed):
    data = random_data(41, 3, 3, seed=seed)
    size = abs(data.y - data.X @ data.start)
    tau = float(np.median(size**2))
    everything = np.ones(41, dtype=bool)
    at = lambda t: weighed(data, t)[0](everything)
    drift = (at(tau * (1 + 1e-5)) - at(tau * (1 - 1e-5))) / (2e-5 * tau)
    # SciPy's kernel density of the sizes and their mirror images, at the width of Silverman's rule for n of them.
    width = 0.9 * 41**-0.2 * min(size.std(), float(np.subtract(*np.quantile(size, [0.75, 0.25]))) / 1.349)
    mirrored = np.concatenate([size, -size])
    kernel = stats.gaussian_kde(mirrored, bw_method=width / mirrored.std(ddof=1))
    density = 2 * float(kernel(math.sqrt(tau))[0]) / (2 * math.sqrt(tau))
    fitted, leverage = weighed(data, tau)
    root = np.sqrt(np.exp(-(size**2) / tau))
    scaled = data.X * root[:, None]
    score = root * (data.y - data.X @ fitted(everything)) / (1 - leverage)
    moved = np.linalg.solve(scaled.T @ scaled, (scaled * score[:, None]).T)
    median = (0.5 - (size**2 <= tau)) / density / 41
    want = moved + np.outer(drift, median)
    found = lt.standard_errors(data.X, data.y, data.start).covariance
    assert np.allclose(found, want @ want.T, rtol=1e-5, atol=1e-7 * np.trace(found))
    wrong = moved - np.outer(drift, median)
    assert not np.allclose(found, wrong @ wrong.T, rtol=1e-3)


# ---------------------------------------------------------------------------------------------------- symmetries


@given(seed=SEEDS, scale=st.floats(-3, 3).map(lambda power: 10.0**power), median=st.booleans())
def test_units_of_the_labels_and_of_the_columns(seed, scale, median):
    data = random_data(30, 3, 3, seed=seed)
    tau = None if median else float(np.median((data.y - data.X @ data.start) ** 2))
    one = lt.standard_errors(data.X, data.y, data.start, tau)
    other = lt.standard_errors(
        data.X, scale * data.y, scale * data.start, None if tau is None else scale**2 * tau
    )
    assert near(other.theta, scale * one.theta, 1e3)
    assert np.allclose(other.covariance, scale**2 * one.covariance, rtol=1e-9)
    units = np.array([scale, 1.0, 1 / scale])
    columns = lt.standard_errors(data.X / units, data.y, data.start * units, tau)
    assert np.allclose(columns.standard_errors, units * one.standard_errors, rtol=1e-7)


def test_unweighted_it_is_hc3():
    X, y, start = drawn(500)
    residual = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    inverse = np.linalg.inv(X.T @ X)
    leverage = np.einsum("ij,jk,ik->i", X, inverse, X)
    want = inverse @ (X.T * (residual / (1 - leverage)) ** 2) @ X @ inverse
    assert np.allclose(lt.standard_errors(X, y, start, math.inf).covariance, want, rtol=1e-10)


@pytest.mark.parametrize("temperature", [None, 0.7])
def test_jax_says_the_same_and_its_derivative_is_that_of_differences(temperature):
    X, y, start = drawn(60)
    want = lt.standard_errors(X, y, start, temperature)
    found = jax.jit(lambda *rows: lt.standard_errors(*rows, temperature))(jnp.asarray(X), y, start)
    assert np.allclose(found.theta, want.theta, rtol=1e-10)
    assert np.allclose(found.covariance, want.covariance, rtol=1e-9)
    low, high = found.interval(0.9)
    assert np.allclose((high - low) / 2, stats.norm.ppf(0.95) * want.standard_errors, rtol=1e-9)
    by = lambda scale: lt.standard_errors(X, y * scale, start, temperature).covariance[0, 0]
    step = 1e-6
    slope = jax.jit(
        jax.grad(lambda s: lt.standard_errors(X, jnp.asarray(y) * s, start, temperature).covariance[0, 0])
    )(1.0)
    assert math.isclose(slope, (by(1 + step) - by(1 - step)) / (2 * step), rel_tol=1e-4)


# -------------------------------------------------------------------------------------------------- undone averages

LAWS = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "t with 4 degrees": lambda rng, shape: rng.standard_t(4, shape),
    "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, shape),
    "laplace": lambda rng, shape: rng.laplace(size=shape),
    "two variances": lambda rng, shape: rng.choice([0.3, 1.6], shape) * rng.standard_normal(shape),
}
AVERAGES = [
    *((law, "gaussian") for law in LAWS),
    *(("gaussian", law) for law in LAWS if law != "exponential"),
]
N, TARGET, START = 200_000, np.array([0.5, -1.0]), np.array([1.5, 0.0])


def undone(law, noise_law, temperature, vary=lambda X: 1.0):
    """The rows' minimiser, what is undone, and four standard errors of that."""
    rng = np.random.default_rng(7)
    X = LAWS[law](rng, (N, 2))
    y = X @ TARGET + 0.8 * vary(X) * LAWS[noise_law](rng, N)
    known = lt.standard_errors(X, y, START, temperature)
    found = lt.undo_averaging(X, y, START, known.theta, temperature)
    blur = SIGMAS * found.displacement_error
    reach = (
        SIGMAS * known.standard_errors / found.displacement + abs(TARGET - START) * blur / found.displacement
    )
    return known, found, reach, blur


@pytest.mark.parametrize(("law", "noise_law"), AVERAGES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_one_fit_gives_the_whole_way_back_where_x_or_the_noise_is_gaussian(law, noise_law, temperature):
    known, found, reach, blur = undone(law, noise_law, temperature)
    assert (abs(found.theta - TARGET) <= reach).all()
    assert (abs(known.theta - TARGET) > 3 * reach).any()  # what is undone was there
    if noise_law == "gaussian":
        assert abs(found.displacement - temperature / (temperature + 2 * 0.64)) <= blur
        assert abs(found.noise_variance - 0.64) <= blur * temperature / 2 / found.displacement**2


@pytest.mark.parametrize(
    ("law", "noise_law", "vary"),
    [
        ("signs", "laplace", lambda X: 1.0),
        ("signs", "two variances", lambda X: 1.0),
        ("exponential", "two variances", lambda X: 1.0),
        ("gaussian", "gaussian", lambda X: abs(X @ (TARGET - START))),
    ],
)
def test_where_neither_is_or_the_noise_varies_along_the_shift_there_is_no_way_back(law, noise_law, vary):
    _, found, reach, _ = undone(law, noise_law, 1.0, vary)
    assert (abs(found.theta - TARGET) > 2 * reach).any()


def test_the_noise_of_another_law_is_not_told():
    _, found, _, blur = undone("gaussian", "laplace", 1.0)
    assert abs(found.noise_variance / (2 * 0.64) - 1) > 0.1 > 5 * blur


def test_past_the_start_on_the_line_it_leads_back_too():
    """Noise of two values, Gaussian x: FLOW moves away from the new optimum, κ < 0, and κ = 1 − 2m/τ still."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((N, 2)) / math.sqrt(2)
    y = X @ TARGET + 2 * rng.choice([-1.0, 1.0], N)
    tau = 4.0
    known = lt.standard_errors(X, y, START, tau)
    found = lt.undo_averaging(X, y, START, known.theta, tau)
    assert found.displacement < -0.1
    assert (known.theta > START).all()
    reach = known.standard_errors / abs(found.displacement) + found.displacement_error / abs(
        found.displacement
    )
    assert (abs(found.theta - TARGET) <= SIGMAS * reach).all()


@pytest.mark.parametrize("noise_law", ["gaussian", "exponential"])
def test_a_column_of_ones_asks_for_gaussian_noise(noise_law):
    rng = np.random.default_rng(5)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    noise = LAWS[noise_law](rng, N)
    y = X @ TARGET + 0.8 * (noise - noise.mean())
    known = lt.standard_errors(X, y, START, 1.0)
    found = lt.undo_averaging(X, y, START, known.theta, 1.0)
    reach = known.standard_errors / found.displacement + found.displacement_error / found.displacement
    assert (abs(found.theta - TARGET) <= SIGMAS * reach).all() == (noise_law == "gaussian")


def test_its_error_is_that_of_many_samples():
    """Of κ over 300 samples of 400 rows: their spread over the error told, and no bias beyond a tenth of it."""
    found = []
    for seed in range(300):
        X, y, start = drawn(400, seed=seed)
        theta = lt.standard_errors(X, y, start, 2.0).theta
        found.append(lt.undo_averaging(X, y, start, theta, 2.0))
    kappas, errors = np.array([(one.displacement, one.displacement_error) for one in found]).T
    assert abs(np.std(kappas) / np.mean(errors) - 1) <= SIGMAS / math.sqrt(2 * 300)
    assert abs(np.mean(kappas) - 0.5) <= SIGMAS * np.std(kappas) / math.sqrt(300)


def test_half_the_factor_would_not_undo_it():
    X, y, start = drawn(100_000)
    tau = 1.0
    theta = lt.standard_errors(X, y, start, tau).theta
    weights = lt.flow_weights((y - X @ start) ** 2, tau)
    left = (weights * (y - X @ theta) ** 2).sum() / weights.sum()
    wrong = start + (theta - start) / (1 - left / tau)
    right = lt.undo_averaging(X, y, start, theta, tau).theta
    assert abs(right[0]) < 0.03 < 0.2 < abs(wrong[0])


def test_a_far_start_costs_no_digit():
    X, y, _ = drawn(300)
    start = np.array([1e14, 0.0, 0.0])
    theta = lt.standard_errors(X, y, start, math.inf).theta
    assert np.allclose(lt.undo_averaging(X, y, start, theta, math.inf).theta, theta, rtol=1e-12)


def test_unweighted_nothing_is_undone_and_the_noise_is_the_mean_squared_residual():
    X, y, start = drawn(200)
    theta = lt.solve(X, y, start).theta
    undone = lt.undo_averaging(X, y, start, theta, math.inf)
    assert undone.displacement == 1.0
    assert near(undone.theta, theta, 10.0)
    leverage = np.einsum("ij,jk,ik->i", X, np.linalg.inv(X.T @ X), X)
    assert math.isclose(undone.noise_variance, np.mean((y - X @ theta) ** 2 / (1 - leverage)), rel_tol=1e-12)


# --------------------------------------------------------------------------------------------------- scales and JAX


@pytest.mark.parametrize("temperature", [None, 2.0])
@pytest.mark.parametrize("scale", [1e-145, 1e-80, 1e80, 1e150])
def test_units_near_the_ends_of_the_floats(scale, temperature):
    X, y, start = drawn(200)
    tau = None if temperature is None else scale * (temperature * scale)
    one = lt.standard_errors(X, y, start, temperature)
    other = lt.standard_errors(X, scale * y, scale * start, tau)
    assert np.allclose(other.theta / scale, one.theta, rtol=1e-9)
    assert np.allclose(other.standard_errors / scale, one.standard_errors, rtol=1e-9)
    assert math.isclose(other.temperature / scale / scale, one.temperature, rel_tol=1e-9)
    found, want = (
        lt.undo_averaging(X, scale * y, scale * start, other.theta, tau),
        lt.undo_averaging(X, y, start, one.theta, temperature),
    )
    assert np.allclose(found.theta / scale, want.theta, rtol=1e-7)
    for name, unit in (("displacement", 1.0), ("displacement_error", 1.0), ("noise_variance", scale)):
        assert math.isclose(getattr(found, name) / unit / unit, getattr(want, name), rel_tol=1e-7), name


@pytest.mark.parametrize("scale", [1e-160, 1e160, 1e200])
def test_errors_that_are_no_floats_are_refused_without_a_warning(scale):
    X, y, start = drawn(50)
    with pytest.raises(lt.LinearTheoryError):
        lt.standard_errors(X, scale * y, scale * start)


def test_side_by_side_under_vmap():
    X, y, start = drawn(30)
    rows = jnp.asarray(X)
    every = jax.jit(jax.vmap(lambda labels: lt.standard_errors(rows, labels, start)))
    many = every(jnp.stack([y, 2 * y, y + 1.0]))
    _, high = many.interval()
    for place, labels in enumerate([y, 2 * y, y + 1.0]):
        one = lt.standard_errors(X, labels, start)
        assert np.allclose(many.standard_errors[place], one.standard_errors, rtol=1e-9)
        assert np.allclose(high[place], one.interval()[1], rtol=1e-9)


def test_rows_that_a_jitted_function_closes_over():
    X, y, start = map(jnp.asarray, drawn(30))
    want = lt.standard_errors(X, y, start, 1.0)
    assert np.allclose(
        jax.jit(lambda tau: lt.standard_errors(X, y, start, tau))(1.0).covariance, want.covariance
    )
    undone = jax.jit(lambda theta: lt.undo_averaging(X, y, start, theta, 1.0))(want.theta)
    assert np.allclose(undone.theta, lt.undo_averaging(X, y, start, want.theta, 1.0).theta)


def test_single_precision():
    X, y, start = drawn(300)
    single = [jnp.asarray(value, jnp.float32) for value in (X, y, start)]
    found, want = lt.standard_errors(*single), lt.standard_errors(X, y, start)
    assert found.covariance.dtype == jnp.float32
    assert np.allclose(found.standard_errors, want.standard_errors, rtol=1e-3)
    small = lt.standard_errors(single[0], single[1] * 1e-12, single[2] * 1e-12)
    assert np.allclose(small.standard_errors * 1e12, want.standard_errors, rtol=1e-3)


def test_labels_that_are_met_exactly_have_no_error():
    known = lt.standard_errors(np.ones((4, 1)), np.full(4, 2.0), [0.0], math.inf)
    assert known.theta == 2
    assert known.standard_errors == 0


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "argument", "remedy"),
    [
        ({"X": np.ones((6, 2))}, "X", "undetermined"),
        ({"X": np.eye(6), "start": np.zeros(6)}, "X", "more rows than columns"),
        ({"y": np.ones((6, 2)), "start": np.zeros((2, 2))}, "y", "one column of labels"),
        ({"y": np.ones(6), "start": np.zeros(2)}, "median of losses", "shared by many rows"),
        ({"temperature": 1e-4}, "temperature", "worth no more than d"),
        ({"X": np.column_stack([np.ones(6), np.eye(6)[0]]), "temperature": np.inf}, "X", "alone determines"),
        ({"temperature": 0.0}, "temperature", "must be > 0"),
        ({"X": np.full((6, 2), np.nan)}, "X", "finite"),
    ],
)
def test_what_cannot_be_told_is_refused(change, argument, remedy):
    rng = np.random.default_rng(0)
    rows = {"X": rng.standard_normal((6, 2)), "y": rng.standard_normal(6), "start": np.zeros(2)} | change
    with pytest.raises(lt.InvalidValueError, match=remedy) as error:
        lt.standard_errors(**rows)
    assert error.value.argument == argument


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, math.nan, 95])
def test_a_level_is_a_probability(level):
    with pytest.raises(lt.InvalidValueError, match="between 0 and 1"):
        lt.standard_errors(*drawn(20)).interval(level)


def test_a_median_that_many_losses_share_has_no_density():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(400), rng.choice([0.0, 1.0], (400, 2))])
    y = (rng.random(400) < 0.3 + 0.3 * X[:, 1]).astype(float)
    with pytest.raises(lt.InvalidValueError, match="shared by many rows"):
        lt.standard_errors(X, y, [0.2, 0.3, 0.1])
    assert np.isfinite(lt.standard_errors(X, y, [0.2, 0.3, 0.1], 0.2).covariance).all()


def test_labels_of_parameters_are_not_ignored():
    X, y, start = drawn(40)
    frame, names = pd.DataFrame(X, columns=list("abc")), pd.Series(start, index=list("abc"))
    theta = pd.Series(lt.standard_errors(X, y, start, 1.0).theta, index=list("abc"))
    assert np.isfinite(lt.undo_averaging(frame, y, names, theta, 1.0).theta).all()
    with pytest.raises(lt.InvalidValueError):
        lt.undo_averaging(frame, y, names, theta[::-1], 1.0)


def test_a_displacement_that_is_not_told_from_none_is_not_undone():
    rng = np.random.default_rng(1)
    X, start = rng.standard_normal((4000, 1)), np.array([1.0])
    y = 1.35 * rng.choice([-1.0, 1.0], 4000)  # κ is about 0
    theta = lt.standard_errors(X, y, start, 1.66).theta
    with pytest.raises(lt.InvalidValueError, match="within two standard errors of 0"):
        lt.undo_averaging(X, y, start, theta, 1.66)


def test_a_theta_that_is_no_minimiser_is_not_undone():
    X, y, start = drawn(50)
    theta = lt.standard_errors(X, y, start, 4.0).theta
    for wrong in (start, theta + 0.1, lt.standard_errors(X, y, start, 1.0).theta):
        with pytest.raises(lt.InvalidValueError, match="not the minimiser"):
            lt.undo_averaging(X, y, start, wrong, 4.0)
    with pytest.raises(lt.InvalidValueError, match="one entry a column"):
        lt.undo_averaging(X, y, start, np.zeros(2))


def test_where_a_bad_value_cannot_be_looked_at_it_is_nan():
    X, y, start = drawn(20)
    found = jax.jit(lambda rows: lt.standard_errors(rows, y, start, 1.0))(
        jnp.asarray(X).at[3, 1].set(jnp.nan)
    )
    assert np.isnan(found.theta).all()
    assert np.isnan(found.covariance).all()
    weak = 0.03  # the rows are worth 2, for 3 columns
    cold = jax.jit(lambda tau: lt.standard_errors(jnp.asarray(X), y, start, tau))(weak)
    assert np.isnan(cold.theta).all()
    assert np.isnan(cold.covariance).all()
    bent = jax.jit(lambda theta: lt.undo_averaging(X, y, start, theta))(jnp.asarray(start) + 9.0)
    assert np.isnan(bent.theta).all()
    assert np.isnan(bent.displacement)
