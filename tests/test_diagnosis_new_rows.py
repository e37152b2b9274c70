"""Errors on new rows: every row left out literally, the equivalent of many rows, who is picked, what is said when."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

import linear_theory as lt
from linear_theory.diagnosis import new_rows as package
from linear_theory.diagnosis.findings import findings, headline
from linear_theory.diagnosis.left_out import ACCURACY, Descents, Flows, LeftOut
from linear_theory.diagnosis.new_rows import FEW
from linear_theory.diagnosis.paths import tried_descents
from linear_theory.diagnosis.report import named
from linear_theory.high_dimension.contour import Contour
from linear_theory.significance import four_sigma, standard_error
from linear_theory.testing.tolerances import SIGMAS, near, not_above, within_standard_errors
from tests.strategies import SEEDS, log_uniform, orthogonal

# -------------------------------------------------------------------------------------- every row left out


def rows_of(seed, n=14, d=4, noise=1.0):
    """Centred rows of some condition, labels, and how often each counts: 0 to 3 times, one of them 0.4 times."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.geomspace(1, 0.2, d) @ orthogonal(d, rng)
    counts = rng.integers(0, 4, n).astype(float)
    counts[:d] += 1
    counts[-1] = 0.4
    return X, X @ rng.standard_normal(d) + noise * rng.standard_normal(n), counts


def literally(X, residual, weights, counts, runs, left=1.0):
    """xᵀδ (runs, n) of each row by training without one of its copies: the eigenvectors of what is left."""
    total, found = counts @ weights, []
    for i in range(len(X)):
        kept = counts.copy()
        kept[i] -= left * min(1.0, kept[i])
        share = kept * weights / total
        values, vectors = np.linalg.eigh((share[:, None] * X).T @ X)
        if isinstance(runs, Flows):
            gone = -np.expm1(-2 * runs.times[:, None] * values) / values
        else:
            gone = (1 - (1 - runs.sizes[:, None] * values) ** runs.counts[:, None]) / values
        found.append((gone * (vectors.T @ (X.T @ (share * residual)))) @ (vectors.T @ X[i]))
    return np.array(found).T


def runs_of(values):
    """From the start to the end; and steps of every size, whose contour is narrow."""
    sizes, steps = (grid.ravel() for grid in np.meshgrid([0.02, 1.0, 1.9], [1, 7, 40]))
    return (
        Flows(np.append(0, np.geomspace(1e-3 / values[-1], 10 / values[0], 40))),
        Descents(sizes / values[-1], steps),
    )


@given(SEEDS, st.booleans(), log_uniform(0.05, 30.0))
def test_a_row_left_out_is_one_that_was_not_trained_on(seed, weighted, warmth):
    X, y, counts = rows_of(seed)
    tau = warmth * float(np.median(y**2))
    d = lt.diagnose(X, y, np.zeros(4), tau, sample_weight=counts)
    values = d.spectrum[int(weighted)]
    if values[0] < 1e-5 * values[-1]:  # rounding of the eigenvectors is then more than the promise
        return
    weights, size = d.rows.weights if weighted else np.ones(len(y)), abs(y).max()
    for runs in runs_of(values):
        left_out = LeftOut(d, weighted)
        found, want = left_out.predictions(runs), literally(X, y, weights, counts, runs)
        assert abs(found - want).max() <= 10 * ACCURACY * size
        losses = (y - want) ** 2 @ counts / counts.sum()
        assert abs(left_out.losses(runs) - losses).max() <= 30 * ACCURACY * size**2
        for share, apart in ((0.0, 1e-4), (0.9, 1e-5)):
            assert abs(found - literally(X, y, weights, counts, runs, share)).max() > apart * size


def test_strips_of_rows_are_the_rows(monkeypatch):
    X, y, counts = rows_of(1, n=50)
    left_out, runs = (
        LeftOut(lt.diagnose(X, y, np.zeros(4), sample_weight=counts), True),
        Flows(np.geomspace(0.1, 10, 7)),
    )
    whole, losses = left_out.predictions(runs), left_out.losses(runs)
    monkeypatch.setattr("linear_theory.diagnosis.left_out.NUMBERS_AT_ONCE", 500)
    assert len(list(left_out._parts(runs))) > 5
    assert near(left_out.predictions(runs), whole, 1e3, abs(whole).max())
    assert near(left_out.losses(runs), losses, 1e6, losses.max())


@pytest.mark.parametrize("alone", [False, True])
def test_the_end_left_out_is_least_squares_without_the_row(alone):
    """Closest to the start, also where a row is alone in a direction, which is then not reached without it."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((12, 5))
    if alone:
        X[:, 0], X[:, 1] = 0, 0
        X[2, 0], X[5, 1] = 1, -2
    y = rng.standard_normal(12)
    left_out = LeftOut(lt.diagnose(X, y, np.zeros(5)), False)
    want = [x @ np.linalg.lstsq(np.delete(X, i, 0), np.delete(y, i), rcond=1e-12)[0] for i, x in enumerate(X)]
    assert near(left_out.end(), want, 100, abs(y).max())
    assert abs(left_out.predictions(Flows(np.array([1e4])))[0] - want).max() <= 1e-6


@pytest.mark.parametrize("condition", [1e1, 1e4])
@pytest.mark.parametrize("accuracy", [1e-4, 1e-9])
def test_so_many_points_are_needed(condition, accuracy):
    """Of ∮ f(z)/(λ − z) dz around [0, 1], for λ on it: the points asked for do it, and half of them do not."""
    contour, time = Contour.around(1.0, condition, math.inf), condition
    values = np.append(0.0, np.geomspace(1 / condition, 1, 30))
    exact = np.where(values > 0, -np.expm1(-2 * time * values) / np.where(values > 0, values, 1), 2 * time)

    def error(points):
        places = np.linspace(-1, 1, points + 1)
        z = contour.at(places)
        parts = -np.expm1(-2 * time * z) / z * contour.derivative(places)
        return abs(-(parts @ (1 / (values - z[:, None]))).imag / math.pi - exact).max() / exact.max()

    assert error(contour.points(accuracy)) <= accuracy
    assert error(contour.points(accuracy) // 2) > accuracy


# ------------------------------------------------------------------------------------- many rows and dimensions


@cache
def paper(noise, dim, rho=0.9):
    """The problem in which the median temperature helps with ten rows a dimension and hurts with two."""
    plane = lt.paper_problem(rho, dim=dim)
    sigma = np.eye(dim)
    sigma[:2, :2] = [[1.5, -1.3], [-1.3, 5.0]]
    return lt.FineTuningProblem(
        plane.pretrained, plane.target, plane.target_operator.dense(), sigma, noise_variance=noise
    )


@cache
def diagnosed(noise, each, draws, dim=100):
    """Diagnoses of rows of it, so many a dimension."""
    problem = paper(noise, dim)
    found, root = [], np.linalg.cholesky(problem.target_covariance)
    for seed in range(draws):
        rng = np.random.default_rng([seed, round(10 * each)])
        X = rng.standard_normal((round(each * problem.dim), problem.dim)) @ root.T
        y = X @ problem.target + math.sqrt(noise) * rng.standard_normal(len(X))
        found.append(lt.diagnose(X, y, problem.pretrained, None, problem.pretrain_covariance))
    return found


def truth(noise, one):
    """The total error of what a method has trained."""
    problem = paper(noise, len(one.displacement))
    return float(lt.total_error(problem, problem.pretrained + one.displacement))


TIMES = np.array([0.5, 3.0, 20.0])


def estimates(d, weighted, spare=None, leave=LeftOut):
    """Target errors on new rows at TIMES, as the package has them."""
    n, fitted = len(d.rows.residual), d.rows.residual + d.rows.X @ d.shift
    noise = float(fitted @ fitted) / (n - len(d.shift) if spare is None else spare(n))
    return leave(d, weighted).losses(Flows(TIMES)) - noise


class Fitted(LeftOut):
    """A wrong variant: rows predicted by what was trained on them."""

    def losses(self, runs):
        return ((self.measured.rows.residual - self.predictions(runs)) ** 2).mean(axis=1)

    def predictions(self, runs):
        return (runs.f(self.values) * self.moment) @ (self.measured.rows.X @ self.vectors).T


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_over_samples_is_the_equivalent_of_many_rows_and_dimensions(weighted):
    """By ``high_dimension``: no row is left out there, and no sample drawn."""
    noise, each, draws = 1.0, 2, 24
    problem = paper(noise, 100)
    tau = float(lt.population_median_temperature(problem)) if weighted else math.inf
    mass = float(lt.weight_mass(problem, tau)) if weighted else 1.0
    want = lambda ratio: lt.high_dimension.path(problem, ratio, TIMES / mass, temperature=tau).target_error

    def off(found, equivalent):
        samples = np.array(found)
        return abs((samples.mean(axis=0) - equivalent) / standard_error(samples)).max()

    rows, limit = diagnosed(noise, each, draws), four_sigma(3, draws - 1)
    assert off([estimates(d, weighted) for d in rows], want(1 / each)) <= limit
    assert off([estimates(d, weighted) for d in rows], want(each)) > limit
    assert off([estimates(d, weighted, spare=lambda n: n) for d in rows], want(1 / each)) > limit
    assert off([estimates(d, weighted, leave=Fitted) for d in rows], want(1 / each)) > limit


# ------------------------------------------------------------------------------------------------ who is picked


@pytest.mark.parametrize(("each", "name"), [(2, "early"), (10, "FLOW")])
def test_the_better_one_is_picked_and_stopped_well(each, name):
    """On the same rows: the right one, near the best there is, and better than always the other."""
    noise, right, picked, wrong, best = 0.1, [], [], [], []
    for d in diagnosed(noise, each, 20):
        new = d.new_rows
        assert new.better in (new.early, new.flow)
        right.append(new.better.name.startswith(name))
        picked.append(truth(noise, new.better))
        wrong.append(truth(noise, new.flow if name == "early" else new.early))
        best.append(min(lowest(d, noise, weighted) for weighted in (False, True)))
    gain = np.array(wrong) - picked
    assert np.mean(right) >= 0.9
    assert np.mean(np.array(picked) / best) <= 1.02
    assert gain.mean() >= SIGMAS * standard_error(gain)


def lowest(d, noise, weighted):
    """The lowest total error of gradient flow, and of descent, on these rows, known only to who has drawn them."""
    problem = paper(noise, 100)
    times = np.append(0, np.geomspace(1e-3, 10 / d.spectrum[int(weighted), 0], 600))
    path = lt.gradient_flow(d._training_problem(weighted), times)
    displacements = np.concatenate([path, tried_descents(d, weighted)[2]])
    return float(lt.total_error(problem, problem.pretrained + displacements).min())


def test_paths_that_were_trained_on_the_rows_stop_too_late(monkeypatch):
    rows, noise = diagnosed(1.0, 2, 20), 1.0
    right = np.array([truth(noise, d.new_rows.better) for d in rows])
    monkeypatch.setattr(package, "LeftOut", Fitted)
    wrong = np.array([truth(noise, package.NewRows(d).better) for d in rows])
    assert (wrong - right).mean() >= SIGMAS * standard_error(wrong - right)
    assert (right / wrong).mean() < 0.95


def test_leads_have_their_errors():
    """Over samples their deviates have the variance 1; errors of which neither knows of the other are too large."""
    noise, draws, paired, apart = 1.0, 40, [], []
    for d in diagnosed(noise, 2, draws, 50):
        new = d.new_rows
        lead, true = new.lead(new.early, new.flow), truth(noise, new.flow) - truth(noise, new.early)
        assert lead.difference == pytest.approx(new.flow.total - new.early.total, abs=1e-9)
        paired.append((lead.difference - true) / lead.error)
        apart.append((lead.difference - true) / math.hypot(new.early.error, new.flow.error))
    low, high = stats.chi2.ppf(stats.norm.cdf([-SIGMAS, SIGMAS]), draws) / draws
    assert low <= np.mean(np.square(paired)) <= high
    assert not low <= np.mean(np.square(apart)) <= high


@pytest.mark.parametrize("each", [1.1, 5])
def test_target_errors_have_theirs(each):
    """The noise variance is estimated, too, and that from few rows to spare."""
    noise, draws, deviates, without = 1.0, 40, [], []
    problem = paper(noise, 50)
    for d in diagnosed(noise, each, draws, 50):
        one, new = d.new_rows.early, d.new_rows
        off = one.target_error - float(lt.target_error(problem, problem.pretrained + one.displacement))
        deviates.append(off / one.error)
        without.append(off / (np.std(one.losses - noise) / math.sqrt(new.rows)))
    low, high = stats.chi2.ppf(stats.norm.cdf([-SIGMAS, SIGMAS]), draws) / draws
    assert low <= np.mean(np.square(deviates)) <= high
    if each < 2:
        assert np.mean(np.square(without)) > high


def test_the_error_counts_how_much_less_is_known_of_the_noise_than_of_a_mean_over_rows():
    """Drawn: the variance of χ²₂₀/20, of what 20 of 40 rows have to spare, less that of χ²₄₀/40."""
    X, y, start = plain(40, 20)
    new = lt.diagnose(X, y, start, None, np.eye(20)).new_rows
    noise = 2 * (y - X @ np.linalg.lstsq(X, y)[0]) ** 2
    spare, rows = (np.random.default_rng(1).chisquare(k, 10**6) / k for k in (20, 40))
    beyond = new.noise_variance**2 * (np.var(spare) - np.var(rows))
    for one in (new.early, new.start, new.average):
        assert one.error**2 - np.var(one.losses - noise) / 40 == pytest.approx(beyond, rel=0.02)


def test_the_noise_variance_has_no_bias():
    noise, each, draws = 1.0, 2, 24
    rows = diagnosed(noise, each, draws)
    found = np.array([d.new_rows.noise_variance for d in rows])
    assert within_standard_errors(found, noise)
    assert not within_standard_errors(found * (1 - 1 / each), noise)


# ------------------------------------------------------------------------------------------------ what is said


def plain(n, d, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] + noise * rng.standard_normal(n), np.zeros(d)


def said(d):
    return " ".join(d.report(100).split())


@pytest.mark.parametrize("n", [FEW * 3 - 1, FEW * 3])
@pytest.mark.parametrize("columns", [3, 5])
def test_it_is_quiet_where_rows_are_many(n, columns):
    """Rows a direction that they span: a copied column is none."""
    X, y, _ = plain(n, 3)
    X = np.column_stack([X, X[:, : columns - 3]])
    d = lt.diagnose(X, y, np.zeros(columns), None, np.eye(columns))
    few = n < FEW * 3
    assert d.new_rows.few == few
    assert d.new_rows.directions == 3
    legend = d.picture().legends[0].get_title().get_text()
    for text, word in (
        (said(d), "Few rows"),
        (said(d), "On new rows"),
        (repr(d), "new_rows"),
        (legend, "Few rows"),
    ):
        assert (word in text) == few
    assert d.new_rows.better is not None  # which may be asked for all the same


def test_with_no_row_to_spare_it_warns_and_tells_nothing():
    for n, d in ((5, 9), (6, 6), (1, 1)):
        X, y, start = plain(n, d)
        found = lt.diagnose(X, y, start, 1.0, np.eye(d))
        new = found.new_rows
        assert new.few
        assert new.better is None
        assert math.isnan(new.noise_variance)
        for one in (new.start, new.early, new.flow, new.average):
            assert math.isnan(one.total)
            assert math.isnan(one.target_error)
            assert math.isnan(one.error)
        assert new.lead(new.early, new.flow).noise
        assert repr(new).endswith("not told")
        assert "Few rows, none of them to spare" in said(found)
        assert "On new rows" not in said(found)


def test_what_is_said_are_the_fields():
    X, y, start = plain(200, 40)
    d = lt.diagnose(X, y, start, None, np.eye(40))
    new, text = d.new_rows, said(d)
    assert "Few rows: 200 for 40 directions, 5 each." in text
    for one in (new.start, new.early, new.flow, new.average):
        assert f"{one.total:.3g}" in text
        assert f"{one.total:.4g}" in repr(new)
    lead = new.lead(new.better, new.flow)
    assert new.better is new.early
    assert (
        f"Take {named(new.better)}: {lead.difference:.3g} ± {lead.error:.2g} below {named(new.flow)}" in text
    )
    section = d.report(80).split("On new rows")[1].split("The weights")[0]
    assert f"{new.early.steps:.3g}" in section
    assert f"{new.noise_variance:.3g}" in section
    assert max(map(len, d.report(60).splitlines())) <= 60


def test_without_old_rows_no_total_is_told():
    X, y, start = plain(100, 20)
    d = lt.diagnose(X, y, start)
    new = d.new_rows
    assert new.better is None
    assert math.isnan(new.early.total)
    assert "Which to take depends on the old rows" in said(d)
    assert " total " not in said(d)
    # Then each is at its best in the target error: by no stop is it lower.
    losses = LeftOut(d, False).losses(Flows(np.geomspace(1e-2, 1e2, 50)))
    assert new.early.target_error <= losses.min() - new.noise_variance + 2e-3 * np.mean(y**2)


def test_a_gain_on_new_rows_is_not_called_noise():
    """The F test is of all directions at once; early stopping learns along the few that matter."""
    rng = np.random.default_rng(4)
    spread = np.append(4.0, np.full(59, 0.3))
    X = rng.standard_normal((80, 60)) * spread
    y = 0.4 * X[:, 0] + 1.5 * rng.standard_normal(80)
    d = lt.diagnose(X, y, np.zeros(60), None, np.diag(0.01 * spread**2))
    new = d.new_rows
    assert not new.lead(new.best, new.start).noise
    assert "may be sampling noise" in headline(d._comparison)
    assert headline(d._comparison).endswith("lowers the total error on new rows all the same")
    noise = lt.diagnose(X, 1.5 * rng.standard_normal(80), np.zeros(60), None, np.diag(spread**2))
    assert headline(noise._comparison).endswith("these rows give no reason to fine-tune")


def test_old_rows_have_errors_of_their_own():
    X, y, start = plain(100, 20)
    old = np.random.default_rng(9).standard_normal((30, 20))
    with_rows = lt.diagnose(X, y, start, pretrain_rows=old).new_rows
    known = lt.diagnose(X, y, start, None, old.T @ old / 30).new_rows
    one, other = (new.lead(new.average, new.start) for new in (with_rows, known))
    assert one.difference == pytest.approx(other.difference)
    assert one.error > other.error
    squares = (old @ with_rows.average.displacement) ** 2
    assert one.error**2 - other.error**2 == pytest.approx(np.var(squares, ddof=1) / 30)
    single = lt.diagnose(X, y, start, pretrain_rows=old[:1]).new_rows
    assert single.lead(single.average, single.start).error == math.inf


# ------------------------------------------------------------------------------------------------------- laws

FIELDS = ("forgetting", "target_error", "error")
METHODS = ("start", "early", "flow", "average")


def alike(one, other, square=1.0, condition=1e7):
    """All the numbers of two predictions; errors in units of the other's, times ``square``."""
    size = float(np.mean(other.start.losses)) * square
    assert near(one.noise_variance, square * other.noise_variance, condition, size)
    for method in METHODS:
        a, b = getattr(one, method), getattr(other, method)
        for name in FIELDS:
            assert near(getattr(a, name), square * getattr(b, name), condition, size)


@given(SEEDS)
@example(0)
def test_a_row_of_weight_k_is_k_rows(seed):
    rng = np.random.default_rng(seed)
    X, y, _ = rows_of(seed)
    counts = rng.integers(0, 3, len(y))
    counts[:6] = 1
    sigma = np.diag([1.0, 2.0, 0.5, 0.1])
    tau = float(np.mean(y**2))
    weighted = lt.diagnose(X, y, np.zeros(4), tau, sigma, sample_weight=counts.astype(float)).new_rows
    repeated = lt.diagnose(np.repeat(X, counts, 0), np.repeat(y, counts), np.zeros(4), tau, sigma).new_rows
    alike(weighted, repeated)


@given(SEEDS, log_uniform(1e-3, 1e3))
def test_order_units_and_axes(seed, factor):
    """Labels times c: errors times c². Rows in another order, features along other axes: nothing."""
    X, y, _ = rows_of(seed)
    rng = np.random.default_rng(seed)
    sigma, turn, order = np.diag([1.0, 2.0, 0.5, 0.1]), orthogonal(4, rng), rng.permutation(len(y))
    tau, start = float(np.mean(y**2)), np.zeros(4)
    one = lt.diagnose(X, y, start, tau, sigma).new_rows
    turned = lt.diagnose((X @ turn)[order], y[order], start, tau, turn.T @ sigma @ turn).new_rows
    alike(turned, one)
    alike(lt.diagnose(X, factor * y, start, factor**2 * tau, sigma).new_rows, one, factor**2)


@given(SEEDS)
def test_equal_weights_are_standard_fine_tuning(seed):
    X, y, _ = rows_of(seed)
    d = lt.diagnose(X, y, np.zeros(4), math.inf, np.eye(4))
    new = d.new_rows
    assert near(new.flow.total, new.early.total, 1e6, np.mean(y**2))
    assert new.better is new.early
    assert "FLOW" not in next(one for one in findings(d._comparison, list("abcd")) if one.startswith("Few"))


@given(SEEDS)
def test_no_average_is_better(seed):
    """The share of the start is that of the lowest point of a parabola."""
    X, y, _ = rows_of(seed)
    new = lt.diagnose(X, y, np.zeros(4), None, np.diag([1.0, 2.0, 0.5, 0.1])).new_rows
    predicted = LeftOut(new.measured, False).end()
    cost = float(new.measured.shift @ np.diag([1.0, 2.0, 0.5, 0.1]) @ new.measured.shift)
    totals = [
        share**2 * cost + np.mean((y - share * predicted) ** 2) - new.noise_variance
        for share in np.linspace(0, 1, 101)
    ]
    assert new.average.total <= min(totals) + 1e-9 * np.mean(y**2)
    assert 0 <= new.kept <= 1


@given(
    SEEDS,
    st.sampled_from(["no weight", "few copies"]),
    st.booleans(),
    log_uniform(1e-9, 0.01),
    st.integers(1, 3),
)
def test_where_no_learning_rate_can_be_tried_small_steps_are_taken(seed, why, known, spare, d):
    """All weight on rows without features; so little more than one row that no step is stable without one."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((2, d)), rng.standard_normal(2)
    counts, rule = np.full(2, (1 + spare) / 2), None
    if why == "no weight":
        X = np.concatenate([np.zeros((2, d)), rng.standard_normal((2 * d + 2, d))])
        y = np.concatenate([[0.1, -0.1], 10 + rng.random(2 * d + 2)])
        counts, rule = np.ones(len(y)), lt.weights.HardThreshold(1.0)
    else:
        X[:, 1:] = 0.0
    found = lt.diagnose(X, y, np.zeros(d), rule, np.eye(d) if known else None, sample_weight=counts)
    new = found.new_rows
    assert new.told
    assert len(found.report()) > 0
    assert "small steps" in new.flow.name or "before the first step" in new.flow.name
    assert math.isnan(new.flow.rate)
    assert np.isfinite(new.error_of(new.flow))
    assert not_above(new.error_of(new.flow), new.error_of(new.start), 1e6, abs(new.error_of(new.start)))
    if why == "no weight":
        assert np.array_equal(new.flow.displacement, np.zeros(d))


def test_jax_rows_have_the_same_and_traced_ones_no_values():
    X, y, start = plain(100, 20)
    one = lt.diagnose(jnp.asarray(X), y, start, None, np.eye(20)).new_rows
    alike(one, lt.diagnose(X, y, start, None, np.eye(20)).new_rows)
    with pytest.raises(lt.InvalidTypeError, match="return it from jit"):
        jax.jit(lambda X: lt.diagnose(X, y, start).new_rows)(X)


def test_a_start_that_fits_has_nothing_to_tell():
    X = plain(30, 3)[0]
    theta = np.array([1.0, -2.0, 0.5])
    d = lt.diagnose(X, X @ theta, theta, 1.0, np.eye(3))
    assert not d.new_rows.told
    assert "Few rows" not in said(d)


@pytest.mark.parametrize("rule", [lt.weights.HardThreshold(1.0), lt.weights.KLDRO(40.0), 1e-9, math.inf])
def test_every_rule_has_predictions(rule):
    X, y, start = plain(60, 10)
    new = lt.diagnose(X, y, start, rule, np.eye(10)).new_rows
    assert all(math.isfinite(getattr(new, method).total) for method in METHODS)


SCALES = (1e-150, 1e-100, 1e100, 1e150)


@pytest.mark.parametrize(
    ("of_features", "of_labels"), [*product(SCALES, SCALES), (1.0, 1e-150), (1.0, 1e150)]
)
def test_no_scale_is_too_small_or_too_large(of_features, of_labels):
    """Features and labels in other units: no error vanishes, nothing overflows, and the gains are the same.

    Beside learning rates of a unit of their own, whose steps are others: that is a share of a thousandth.
    """
    X, y, start = plain(30, 4)
    old = np.random.default_rng(1).standard_normal((9, 4))

    def measured(of_features, of_labels):
        d = lt.diagnose(of_features * X, of_labels * y, start, pretrain_rows=of_features * old)
        new, comparison = d.new_rows, d._comparison
        lead = new.lead(new.early, new.flow)
        errors = [
            error for one in (new.start, new.early, new.flow, new.average) for error in (one.total, one.error)
        ]
        ends = comparison.gain(*comparison.ends), comparison.gain(comparison.average, comparison.start)
        shares = [
            new.kept,
            *(figure for gain in ends for figure in (gain.share, gain.error)),
            float(d.overlap),
        ]
        assert "nan" not in d.report()
        return np.array([*errors, lead.difference, lead.error]) / of_labels / of_labels, shares

    with np.errstate(all="raise", under="ignore"):
        errors, shares = measured(of_features, of_labels)
        want_errors, want_shares = measured(1.0, 1.0)
    assert errors == pytest.approx(want_errors, rel=1e-9)
    assert shares == pytest.approx(want_shares, rel=1e-9)


def test_noise_is_told_from_the_directions_that_are_counted():
    """A column that is another to nine digits is no direction, and takes nothing of the noise."""
    X, y, _ = plain(30, 4)
    nearly = np.column_stack([X, X[:, 0] + 1e-9 * np.random.default_rng(2).standard_normal(30)])
    new = lt.diagnose(nearly, y, np.zeros(5), None, np.eye(5)).new_rows
    assert new.directions == 4
    left = lambda columns: float(np.linalg.lstsq(columns, y)[1][0])
    assert new.noise_variance == pytest.approx(left(X) / 26, rel=1e-6)
    assert new.noise_variance != pytest.approx(left(nearly) / 26, rel=1e-3)


def test_many_diagnoses_are_to_be_read_one_by_one():
    X, y, start = plain(30, 4)
    diagnosed = jax.vmap(lambda y: lt.diagnose(jnp.asarray(X), y, start, None, np.eye(4)))
    many = jax.jit(diagnosed)(jnp.stack([y, 2 * y]))
    for read in (
        lambda d: d.new_rows.better,
        lambda d: d.report(),
        lambda d: d.checks,
        lambda d: d.paths,
        str,
    ):
        with pytest.raises(lt.InvalidValueError, match=r"diagnosis = Diagnosis .*leaf: leaf\[0\]"):
            read(many)
    one = jax.tree.map(lambda leaf: leaf[0], many)
    alike(one.new_rows, lt.diagnose(jnp.asarray(X), y, start, None, np.eye(4)).new_rows)


def test_a_lead_has_the_standard_error_of_its_differences():
    rng = np.random.default_rng(12)
    X = rng.normal(size=(20, 6))
    y = X @ np.ones(6) + rng.normal(size=20)
    new = lt.diagnose(X, y, np.zeros(6), pretrain_covariance=np.eye(6)).new_rows
    differences = new.early.losses - new.start.losses
    assert np.isclose(
        new.lead(new.early, new.start).error, differences.std(ddof=1) / math.sqrt(20), rtol=1e-9
    )
