"""The checks of the theory's assumptions: each by a second route, how often they cry wolf, what they catch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import linear_theory as lt
from linear_theory.diagnosis.checks import MEANING, column_skewness
from linear_theory.significance import as_deviate, f_deviate, four_sigma, kurtosis_deviate, skewness_deviate
from linear_theory.testing.tolerances import SIGMAS, near
from tests.strategies import orthogonal, random_covariance

BY_CHANCE = [name for name in MEANING if name != "labels without noise"]
TWO = 2 * stats.norm.sf(2.0)


def normal(rng, *shape):
    return rng.standard_normal(shape)


def gaussian(rng, n, d, noise=0.5):
    """Rows for which the theory holds, from a start that is not 0."""
    root = np.linalg.cholesky(random_covariance(d, 20.0, 1.0, rng.integers(1 << 30)))
    X, shift, start = normal(rng, n, d) @ root.T, normal(rng, d), normal(rng, d)
    size = float(np.linalg.norm(root.T @ shift))
    return X, X @ (start - shift) + noise * size * normal(rng, n), start


def by_name(d):
    return {check.name: check for check in d.checks}


# -------------------------------------------------------------------------------------------- false alarms


def binomial(count, trials, probability):
    """The deviation of a count from what is expected, in its standard deviations."""
    return (count - trials * probability) / math.sqrt(trials * probability * (1 - probability))


@pytest.fixture(scope="module")
def null():
    """The deviates of all checks, the verdicts and the figures, on Gaussian rows of three shapes."""
    rng, deviates, broken, figures = np.random.default_rng(11), [], 0, []
    for n, d, noise, repeats in ((60, 4, 0.5, 240), (300, 3, 1.0, 240), (40, 1, 0.3, 240)):
        for _ in range(repeats):
            found = by_name(lt.diagnose(*gaussian(rng, n, d, noise)))
            deviates.append([found[name].sigmas for name in BY_CHANCE])
            broken += any(found[name].verdict == "broken" for name in BY_CHANCE)
            checks = [found[name] for name in BY_CHANCE]
            figures.append([(check.figure, check.expected, check.error) for check in checks])
    return np.array(deviates), broken, dict(zip(BY_CHANCE, np.array(figures).transpose(1, 2, 0), strict=True))


def out_of_bounds(deviates):
    """By how many standard deviations the share beyond 2 is off, for each check."""
    beyond = (abs(deviates) > 2).sum(axis=0)
    return {name: binomial(k, len(deviates), TWO) for name, k in zip(BY_CHANCE, beyond, strict=True)}


def test_gaussian_rows_are_beyond_two_sigma_as_often_as_a_normal_deviate(null):
    off = out_of_bounds(null[0])
    fair = off.pop("symmetric rows")  # the worst of several columns, made fair to them by Bonferroni
    assert -2 * SIGMAS <= fair <= SIGMAS
    assert max(abs(value) for value in off.values()) <= SIGMAS, off


@pytest.mark.parametrize("wrong", [1.35, 0.7])
def test_deviates_of_a_wrong_size_would_show(null, wrong):
    off = out_of_bounds(wrong * null[0])
    assert min(abs(value) for name, value in off.items() if name != "symmetric rows") > SIGMAS


def test_gaussian_rows_break_nothing(null):
    """At most so many of the diagnoses as a Poisson count of mean 4 sigma's 6e-5, times 5 for the tails the
    approximations have, reaches with probability 6e-5 itself.
    """
    deviates, broken, _ = null
    mean = 5 * 2 * stats.norm.sf(SIGMAS) * len(deviates)
    assert broken <= stats.poisson.isf(2 * stats.norm.sf(SIGMAS), mean)
    assert not stats.poisson.isf(2 * stats.norm.sf(SIGMAS), mean) >= 0.01 * len(deviates)


@pytest.mark.parametrize("shape", range(3))
def test_figures_of_gaussian_rows_are_as_expected_up_to_their_standard_errors(null, shape):
    """Of the distance of the mean from 0 the mean square is told; the others have a mean, and an error about it."""
    of = {name: figures[:, 240 * shape : 240 * (shape + 1)] for name, figures in null[2].items()}
    squares = np.square(of["centred rows"][0] / of["centred rows"][1])
    assert abs(squares.mean() - 1) <= SIGMAS * squares.std() / math.sqrt(240)
    for name in ("Gaussian residuals", "Gaussian features", "weights across the residual"):
        figure, expected, error = of[name]
        if np.isfinite(error).all():  # across the residual one column has nothing
            z = (figure - expected) / error
            assert abs(z.mean()) <= SIGMAS / math.sqrt(240), name
            slack = SIGMAS * np.std(z**2) / math.sqrt(240)
            assert abs(np.mean(z**2) - 1) <= slack + 0.1, name
    bare = np.mean((of["Gaussian features"][0] - 1) / of["Gaussian features"][2])
    assert shape != 0 or abs(bare) > SIGMAS / math.sqrt(
        240
    )  # rows whitened by their own covariance have less than 1


def test_a_deviate_has_the_sign_of_what_is_off(null):
    deviates, _, figures = null
    for k, name in enumerate(BY_CHANCE):
        figure, expected, _ = figures[name]
        if name == "centred rows":  # a distance has none
            assert (deviates[:, k] >= 0).all()
        elif "Gaussian" in name:  # a transformation of it is normal, whose middle is elsewhere
            assert np.corrcoef(figure - expected, deviates[:, k])[0, 1] > 0.5
        else:
            told = np.isfinite(deviates[:, k])
            off = (figure - expected)[told] * deviates[told, k]
            assert (off >= 0).all(), name
            assert (off > 0).any(), name


def test_the_threshold_is_four_sigma_for_one_and_fair_to_many():
    assert near(four_sigma(1), SIGMAS)
    for m in (2, 8, 100):
        assert near(m * stats.norm.sf(four_sigma(m)), stats.norm.sf(SIGMAS), 100 * m)
        for freedom in (3, 40):  # a standard error from few replicates
            assert near(m * stats.t.sf(four_sigma(m, freedom), freedom), stats.norm.sf(SIGMAS), 1e4 * m)
    d = lt.diagnose(*gaussian(np.random.default_rng(0), 50, 2))
    assert {check.limit for check in d.checks} == {four_sigma(len(BY_CHANCE))}


# ----------------------------------------------------------------------------------------- what they catch

SHIFT = np.array([1.0, 0.5, -0.3, 0.0])


def elliptical(rng, n):
    return normal(rng, n, 4) / np.sqrt(rng.chisquare(5, (n, 1)) / 5)


def uneven(column):
    def rows(rng, n):
        X = normal(rng, n, 4)
        return X, normal(rng, n) * abs(X[:, column])

    return rows


BREAKS = {
    "heavy-tailed noise": (
        lambda rng, n: (normal(rng, n, 4), rng.standard_t(3, n)),
        {"Gaussian residuals"},
        {"Gaussian features", "centred rows"},
    ),
    "heavy-tailed features": (
        lambda rng, n: (elliptical(rng, n), normal(rng, n)),
        {"Gaussian features"},
        {"centred rows", "noise even along the shift"},
    ),
    "skewed features": (
        lambda rng, n: (rng.exponential(size=(n, 4)) - 1, normal(rng, n)),
        {"symmetric rows", "Gaussian features"},
        {"centred rows", "noise even along the shift"},
    ),
    "short-tailed features": (
        lambda rng, n: (math.sqrt(3) * rng.uniform(-1, 1, (n, 4)), normal(rng, n)),
        {"Gaussian features"},
        {"centred rows", "symmetric rows"},
    ),
    "noise along the shift": (
        uneven(0),
        {"noise even along the shift", "noise even across rows"},
        {"Gaussian features", "centred rows"},
    ),
    "noise aside of the shift": (
        uneven(3),
        {"noise even across rows"},
        {"Gaussian features", "centred rows"},
    ),
    "a mean": (
        lambda rng, n: (normal(rng, n, 4) + 0.3, normal(rng, n)),
        {"centred rows"},
        {"Gaussian features", "Gaussian residuals", "symmetric rows", "noise even along the shift"},
    ),
    "an intercept": (
        lambda rng, n: (np.column_stack([normal(rng, n, 3), np.ones(n)]), normal(rng, n)),
        {"centred rows"},
        {"Gaussian features", "Gaussian residuals", "symmetric rows", "noise even along the shift"},
    ),
}


@pytest.mark.parametrize(("law", "caught", "spared"), BREAKS.values(), ids=BREAKS.keys())
def test_a_broken_assumption_is_caught_and_no_other_blamed(law, caught, spared):
    """1000 rows, 12 samples: every one caught, none of the checks of other assumptions broken."""
    rng = np.random.default_rng(5)
    for _ in range(12):
        X, noise = law(rng, 1000)
        found = by_name(lt.diagnose(X, X @ SHIFT + noise, np.zeros(4)))
        assert {name for name in caught if found[name].verdict != "broken"} == set()
        assert {name for name in spared if found[name].verdict != "holds"} == set()


def test_noise_is_seen_for_certain_and_its_absence_too():
    rng = np.random.default_rng(2)
    X, start = normal(rng, 60, 3), np.zeros(3)
    clean = by_name(lt.diagnose(X, X @ [1.0, 2.0, 3.0], start))
    assert clean["labels without noise"].verdict == "holds"
    assert clean["noise even along the shift"].verdict == "not judged"
    y = X @ [1.0, 2.0, 3.0] + 1e-4 * normal(rng, 60)
    noisy = by_name(lt.diagnose(X, y, start))["labels without noise"]
    assert noisy.verdict == "broken"
    left = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    assert near(noisy.figure, left @ left / (y @ y), 1e8)


def test_too_few_rows_are_not_judged():
    rng = np.random.default_rng(2)
    for n, d in ((5, 9), (5, 2), (1, 1)):
        found = by_name(lt.diagnose(*gaussian(rng, n, d)))
        assert {found[name].verdict for name in BY_CHANCE} == {"not judged"}


# ------------------------------------------------------------------------------------------ second routes


def test_one_column_is_scipys_kurtosis_and_skewness():
    rng = np.random.default_rng(4)
    for n in (25, 200, 3000):
        column = rng.standard_t(5, n)
        z = (column - column.mean()) / column.std()
        _, error, deviate = kurtosis_deviate(float((z**4).mean()), n, 1)
        assert near(deviate, stats.kurtosistest(column).statistic, 1e4)
        assert near(error, math.sqrt(24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))), 10)
        skewness = column_skewness(column[:, None], np.ones(n))
        deviates = skewness_deviate(skewness, n)
        assert near(deviates[0], stats.skewtest(column).statistic, 1e4)
        assert near(skewness[0], stats.skew(column), 1e4)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (100, 1), (200, 10)])
def test_the_kurtosis_of_gaussian_rows_is_normal_to_two_sigma(n, d):
    """Within 15 % and the error of 4000 samples; with Mardia's variance halved it would not be."""
    rng, samples = np.random.default_rng(n + d), 4000
    moments = []
    for _ in range(samples):
        x = normal(rng, n, d)
        q = np.linalg.qr(x - x.mean(axis=0))[0]
        moments.append(float((n * (q**2).sum(axis=1)) @ (n * (q**2).sum(axis=1)) / n))
    beyond = lambda z: np.mean(abs(np.array(z)) > 2)
    slack = 0.15 * TWO + SIGMAS * math.sqrt(TWO / samples)
    right = [kurtosis_deviate(m, n, d) for m in moments]
    assert abs(beyond([z for _, _, z in right]) - TWO) <= slack
    mean, error, _ = right[0]
    assert abs(np.mean(moments) - mean) <= SIGMAS * error / math.sqrt(samples)
    assert abs(beyond([(m - mean) / (error / math.sqrt(2)) for m in moments]) - TWO) > slack


def test_tails_too_light_or_too_heavy_for_any_float_have_a_sign():
    """Two points have less kurtosis than the transformation knows of; a ratio may be beyond every probability."""
    assert kurtosis_deviate(1.0, 1000, 1)[2] == -math.inf
    assert -math.inf < kurtosis_deviate(2.5, 1000, 1)[2] < 0 < kurtosis_deviate(4.0, 1000, 1)[2]
    assert f_deviate(1e300, 9, 400) == math.inf
    assert near(skewness_deviate(np.array([-0.3]), 40), -skewness_deviate(np.array([0.3]), 40))


def test_deviates_far_out():
    assert near(as_deviate(math.log(2 * stats.norm.sf(3.0))), 3.0, 100)
    assert near(f_deviate(stats.f.isf(2 * stats.norm.sf(5.0), 3, 40), 3, 40), 5.0, 1e4)
    for tail in (-640.0, -660.0, -1e5):  # on, where probabilities are no floats any more
        assert abs(as_deviate(tail) - math.sqrt(-2 * tail)) < 0.15
    both = [f_deviate(ratio, 7, 9, two_sided=True) for ratio in (stats.f.ppf(0.01, 7, 9), 1 / 4)]
    assert near(both[0], stats.norm.isf(0.01), 1e3)


@pytest.mark.parametrize("n", [80, 81])  # of an odd number the middle row is in neither half
def test_each_figure_by_hand(n):
    rng = np.random.default_rng(9)
    X, y, start = gaussian(rng, n, 3)
    X = X + 0.2
    d = lt.diagnose(X, y, start)
    found = by_name(d)
    r = y - X @ start
    w = np.exp(-(r**2) / np.median(r**2))
    joint = np.column_stack([X, r])
    mean, scatter = joint.mean(axis=0), np.cov(joint.T)
    T2 = n * mean @ np.linalg.solve(scatter, mean)
    tail = stats.f.sf(T2 * (n - 4) / (4 * (n - 1)), 4, n - 4)
    assert near(found["centred rows"].figure, math.sqrt(T2 / (n - 1)), 1e4)
    assert near(found["centred rows"].sigmas, stats.norm.isf(tail / 2), 1e4)
    centred = X - X.mean(axis=0)
    size = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(centred.T @ centred / n), centred)
    assert near(found["Gaussian features"].figure, np.mean(size**2) / 15, 1e4)
    assert near(found["Gaussian residuals"].figure, (stats.kurtosis(r) + 3) / 3, 1e4)
    skew = stats.skew(joint)
    worst = int(np.argmax(abs(stats.skewtest(joint).statistic)))
    assert near(found["symmetric rows"].figure, skew[worst], 1e4)
    assert found["symmetric rows"].culprit == (worst if worst < 3 else -1)
    h = (w * r**2).sum() / (w.sum() * (r**2).mean())
    assert near(found["weights along the residual"].figure, h, 1e4)
    assert near(
        found["weights along the residual"].expected,
        1 / (1 + 2 * np.mean(r**2) / np.median(r**2)),
        1e4,
    )
    rest = X - np.outer(r, X.T @ r) / (r @ r)
    rest = rest - rest.mean(axis=0)
    q = np.einsum("ij,jk,ik->i", rest, np.linalg.inv(rest.T @ rest / n), rest)
    assert near(found["weights across the residual"].figure, (w @ q) / w.sum() / q.mean(), 1e4)
    t, p = stats.pearsonr(w, q)
    assert near(abs(found["weights across the residual"].sigmas), stats.norm.isf(p / 2), 1e4)
    assert found["weights across the residual"].sigmas * t > 0
    shift = start - np.linalg.lstsq(X, y, rcond=None)[0]
    leverage = np.einsum("ij,jk,ik->i", X, np.linalg.inv(X.T @ X), X)
    for name, order in (
        ("noise even along the shift", abs(X @ shift)),
        ("noise even across rows", leverage),
    ):
        ranks = np.argsort(order)
        near_rows, far_rows = ranks[:40], ranks[-40:]
        sums = [np.linalg.lstsq(X[k], y[k], rcond=None)[1][0] for k in (near_rows, far_rows)]
        assert near(found[name].figure, sums[1] / sums[0], 1e4)
        tail = min(stats.f.sf(sums[1] / sums[0], 37, 37), stats.f.cdf(sums[1] / sums[0], 37, 37))
        assert near(abs(found[name].sigmas), stats.norm.isf(tail), 1e4)


@pytest.mark.parametrize(
    "rule", [None, 0.7, pytest.param(20.0, marks=pytest.mark.deep), lt.weights.HardThreshold(1.0)]
)
def test_the_standard_error_along_the_residual_is_that_of_samples(rule):
    """At the median, at given temperatures and for another rule; the spread of 300 samples of 400 rows."""
    rng, samples = np.random.default_rng(8), 300
    found = []
    for _ in range(samples):
        x, r = normal(rng, 400, 1), normal(rng, 400)
        tau = float(np.median(r**2)) if rule is None else rule
        d = lt.diagnose(x, r, [0.0], rule)
        assert rule is not None or d.temperature == tau
        found.append(_along_alone(d))
    figure, expected, error = np.array(found).T
    spread = (figure - expected).std(ddof=1)
    allowed = (
        SIGMAS / math.sqrt(2 * samples) + 0.02
    )  # the spread's own error, and what is of the order 1/rows
    assert abs(error.mean() / spread - 1) <= allowed
    assert abs(1.35 * error.mean() / spread - 1) > allowed
    assert abs((figure - expected).mean()) <= SIGMAS * spread / math.sqrt(samples) + 2 / 400


def _along_alone(d):
    from linear_theory.diagnosis.checks import _along

    return _along(d, d.rows.residual, d.rows.weights, d.sample_weight)[1:4]


# -------------------------------------------------------------------------------------------- invariances


def deviates(d):
    return np.array([check.sigmas for check in d.checks if check.name in BY_CHANCE])


def test_the_standard_error_of_a_skewness_is_that_of_samples():
    """Within four standard errors of 20 000 samples of Gaussian numbers."""
    rng, n, samples = np.random.default_rng(12), 40, 20_000
    error = by_name(lt.diagnose(*gaussian(rng, n, 2)))["symmetric rows"].error
    skewness = stats.skew(normal(rng, samples, n), axis=1)
    slack = SIGMAS * math.sqrt((stats.kurtosis(skewness) + 2) / samples) / 2
    assert abs(error / skewness.std() - 1) <= slack
    assert abs(math.sqrt(6 / n) / skewness.std() - 1) > slack


def test_order_units_and_coordinates_change_no_verdict():
    rng = np.random.default_rng(6)
    X, y, start = gaussian(rng, 90, 4)
    one = deviates(lt.diagnose(X, y, start))
    order = rng.permutation(90)
    assert near(deviates(lt.diagnose(X[order], y[order], start)), one, 1e5)
    assert near(deviates(lt.diagnose(X, 1e6 * y, 1e6 * start)), one, 1e5)
    units = np.array([1e-8, 1.0, 1e3, 1e9])
    assert near(deviates(lt.diagnose(X * units, y, start / units)), one, 1e6)
    turn = orthogonal(4, rng)
    turned = deviates(lt.diagnose(X @ turn.T, y, turn @ start))
    same = [k for k, name in enumerate(BY_CHANCE) if name != "symmetric rows"]  # that one is of columns
    assert near(turned[same], one[same], 1e5)
