"""Laws of the diagnosis of a user's own rows."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.diagnosis.findings import by_how_much, findings, headline
from linear_theory.diagnosis.paths import METHODS
from linear_theory.diagnosis.report import number
from linear_theory.propagator.powers import steps_to_halve
from linear_theory.testing.tolerances import near, not_above, spectral_condition
from tests.reference_sentences import Facts, judged
from tests.strategies import SEEDS, data, log_uniform, orthogonal, random_covariance, random_data
from tests.test_least_squares import extent, loss

TALL = data(rows=st.integers(8, 20), columns=st.integers(1, 5), full_rank=True, weights=st.just(False))
WARMTH = log_uniform(0.1, 1e3)


def losses_of(problem):
    return (problem.y - problem.X @ problem.start) ** 2


def diagnosed(problem, warmth, **options):
    tau = warmth * float(np.median(losses_of(problem)))
    return lt.diagnose(problem.X, problem.y, problem.start, tau, **options), tau


@given(TALL, WARMTH)
def test_it_is_made_of_the_public_parts(problem, warmth):
    d, tau = diagnosed(problem, warmth)
    X, y, start = problem.X, problem.y, problem.start
    rule = lt.weights.Flow(tau)
    log_weights = rule.log_weights(losses_of(problem))
    w = np.exp(log_weights - log_weights.max())
    kappa = loss(problem, 0) * w.max() / w.min()
    unweighted, weighted = lt.solve(X, y, start).theta, lt.solve(X, y, start, w).theta
    assert d.temperature == tau
    assert near(d.effective_samples, lt.effective_sample_size(w))
    assert near(d.shift, start - unweighted, kappa, extent(problem))
    excess = [np.mean((X @ (theta - unweighted)) ** 2) for theta in (start, weighted, unweighted)]
    scale = np.linalg.norm(X) ** 2 * extent(problem) ** 2
    assert near(d.target_errors, excess, kappa, scale)
    moved = [np.mean((X @ (theta - start)) ** 2) for theta in (start, weighted, unweighted)]
    assert near(d.forgetting, moved, kappa, scale)
    assert d.forgetting_measure == "(θ − θ*)ᵀG(θ − θ*)"


@given(TALL, WARMTH)
def test_spectra_and_stalled_direction(problem, warmth):
    d, tau = diagnosed(problem, warmth)
    w = np.exp(-(losses_of(problem) - losses_of(problem).min()) / tau)
    for row, share in zip(d.spectrum, (np.ones_like(w), w), strict=True):
        gram = (problem.X * (share / share.sum())[:, None]).T @ problem.X
        assert near(row, np.linalg.eigvalsh(gram), 10 * gram.shape[0], np.linalg.norm(gram, 2))
        assert (np.diff(row) >= 0).all()
    v = d.stalled_direction
    assert near(v @ v, 1.0)
    step = 1.0 if d.spectrum.max() < 2 else 1 / d.spectrum.max()
    kept = abs(1 - step * d.spectrum[1])
    slow = d.spectrum[1, np.argmax(kept)]
    assert near(gram @ v, slow * v, 10 * gram.shape[0], np.linalg.norm(gram, 2))
    assert not_above(d.overlap, 1.0)
    assert near(d.overlap * np.linalg.norm(d.shift), abs(v @ d.shift), 10, np.linalg.norm(d.shift))
    if 0 < step * slow < 1:
        assert near(d.half_life * math.log1p(-step * slow), -math.log(2))


def test_the_half_life_rejects_another_unit():
    """Steps at η = 1/(2 mean w), under which the slow direction keeps 1 − λ a step."""
    problem = random_data(20, 3, 3, condition=5.0, seed=1)
    d, _ = diagnosed(problem, 1.0)
    slow = d.spectrum[1, 0]
    assert near((1 - slow) ** d.half_life, 0.5, d.half_life)
    assert not near((1 - slow / 2) ** d.half_life, 0.5, d.half_life)


@given(TALL, WARMTH)
def test_infinite_temperature_is_unweighted(problem, warmth):
    d = lt.diagnose(problem.X, problem.y, problem.start, math.inf)
    assert near(d.effective_samples, len(problem.y))
    assert near(d.spectrum[0], d.spectrum[1], 100, d.spectrum.max())
    assert near(d.target_errors[1:], np.zeros(2), loss(problem, 0), d.target_errors[0] + 1)


@given(TALL, SEEDS)
def test_a_rotation_changes_no_number(problem, seed):
    basis = orthogonal(len(problem.start), np.random.default_rng(seed))
    one, _ = diagnosed(problem, 1.0)
    other = lt.diagnose(problem.X @ basis.T, problem.y, basis @ problem.start, one.temperature)
    kappa = 100 * loss(problem, 0) * np.exp(losses_of(problem).max() / one.temperature).clip(max=1e8)
    assert near(other.effective_samples, one.effective_samples, kappa)
    assert near(other.spectrum, one.spectrum, kappa, one.spectrum.max())
    assert near(other.target_errors, one.target_errors, kappa, one.target_errors.max() + 1)


@given(TALL, WARMTH, SEEDS)
def test_a_pretraining_covariance_weighs_the_forgetting(problem, warmth, seed):
    dim = len(problem.start)
    sigma = random_covariance(dim, 10.0, 3.0, seed)
    with_sigma, _ = diagnosed(problem, warmth, pretrain_covariance=sigma)
    without, _ = diagnosed(problem, warmth, pretrain_covariance=np.eye(dim))
    assert with_sigma.forgetting_measure == "(θ − θ*)ᵀΣ(θ − θ*)"
    kappa = spectral_condition(sigma)
    assert not_above(with_sigma.forgetting, 3.0 * without.forgetting, kappa)
    assert not_above(0.3 * without.forgetting, with_sigma.forgetting, kappa)


def test_the_default_temperature_is_the_median_and_its_absence_is_named():
    problem = random_data(9, 3, 3, seed=4)
    d = lt.diagnose(problem.X, problem.y, problem.start)
    assert d.temperature == np.median(losses_of(problem))
    fitted = problem.X @ problem.start
    fitted[0] += 1.0
    with pytest.raises(lt.InvalidValueError, match="already fits half"):
        lt.diagnose(problem.X, fitted, problem.start)


def test_cold_weights_do_not_underflow():
    """Only differences of losses count, in logs: τ = 1e-300 keeps the easiest row."""
    problem = random_data(9, 3, 3, seed=4)
    d = lt.diagnose(problem.X, problem.y, problem.start, 1e-300)
    assert d.effective_samples == 1
    assert np.isfinite(d.spectrum).all()


@given(TALL, WARMTH, SEEDS, log_uniform(1e-3, 1e3))
def test_order_and_units(problem, warmth, seed, factor):
    """The order of the rows changes nothing; y and the start times c: τ and every error times c²."""
    one, tau = diagnosed(problem, warmth)
    X, y, start = problem.X, problem.y, problem.start
    order = np.random.default_rng(seed).permutation(len(y))
    shuffled = lt.diagnose(X[order], y[order], start, tau)
    scaled = lt.diagnose(X, factor * y, factor * start, factor**2 * tau)
    spread = float((losses_of(problem) / tau).max())
    kappa = 100 * loss(problem, 0) * np.exp(min(spread, 18.0)) * (1 + spread)
    for other, square in ((shuffled, 1.0), (scaled, factor**2)):
        size = square * (one.target_errors.max() + extent(problem) ** 2)
        assert near(other.spectrum, one.spectrum, kappa, one.spectrum.max())
        assert near(other.effective_samples, one.effective_samples, kappa)
        assert near(other.target_errors, square * one.target_errors, kappa, size)
        assert near(other.forgetting, square * one.forgetting, kappa, size)
    default = lt.diagnose(X, y, start), lt.diagnose(X, factor * y, factor * start)
    assert near(default[1].temperature, factor**2 * default[0].temperature, 1e3 * (1 + extent(problem) ** 2))


# ---------------------------------------------------------------------------------------------- the paths


@given(TALL, WARMTH)
def test_paths_begin_at_the_start_and_end_at_the_optima(problem, warmth):
    d, _ = diagnosed(problem, warmth)
    paths = d.paths
    assert paths.steps[0] == 0
    assert (np.diff(paths.steps) > 0).all()
    assert (paths.steps == np.round(paths.steps)).all()
    assert np.array_equal(paths.forgetting[:, 0], np.zeros(3))
    kappa = 100 * loss(problem, 0) * float(d.rows.weights.max() / d.rows.weights.min())
    size = d.target_errors[0] + d.target_errors.max()
    assert near(paths.target_errors[:, 0], np.full(3, d.target_errors[0]), kappa, size)
    # After ten half-lives of the slowest direction, 2⁻¹⁰ of each displacement is left.
    ends = d.forgetting[[2, 1, 2]]
    left = 2.0**-10 * np.sqrt(len(d.shift))
    assert (abs(np.sqrt(paths.forgetting[:, -1]) - np.sqrt(ends)) <= 2 * left * np.sqrt(ends) + 1e-12).all()
    for name, total in zip(METHODS, paths.total, strict=True):
        best = paths.best(name)
        assert best.total <= 1.001 * total.min()
        assert (total[paths.steps < best.steps] > 1.001 * total.min()).all()


def test_learning_rates_say_when_they_are_curtailed():
    """½/mean w where FLOW, and the same mean step ½, converge with it; FLOW's for all where that does."""
    rows = random_data(30, 3, 3, condition=2.0, seed=2)
    for scale, curtailed in ((0.1, (False, False)), (6.0, (True, False)), (60.0, (True, True))):
        d = lt.diagnose(scale * rows.X, rows.y, rows.start)
        standard, flow, same = d.paths.learning_rates
        L, weighted = d.spectrum[:, -1]
        assert tuple(d.paths.curtailed[:2]) == curtailed, (L, weighted)
        assert near(same, flow * d.mean_weight, 10)
        assert near(same, 0.5 if max(L, weighted) < 2 else 0.5 / max(L, weighted), 10)
        assert near(standard, flow if flow * L < 1 else max(same, 0.5 / L), 10)
    with pytest.raises(lt.InvalidValueError, match="must be one of 'standard'"):
        d.paths.best("averaging")


def test_half_lives():
    x = np.array([-1.0, 0.0, 0.25, 1.0, 1.75, 2.0, 3.0])
    want = [math.inf, math.inf, math.log(2) / -math.log(0.75), 0.0, math.log(2) / -math.log(0.75)]
    got = steps_to_halve(x)
    assert near(got[2:5], want[2:5], 10)
    assert np.isinf(got[[0, 1, 5, 6]]).all()


# --------------------------------------------------------------------------- what is said, what is drawn


def gaussian_rows(seed, n, covariance, shift, noise, mean=0.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, len(shift))) @ np.linalg.cholesky(covariance).T
    return X, mean - X @ shift + noise * rng.standard_normal(n), np.zeros(len(shift))


CORRELATED = np.array([[1.0, 0.6], [0.6, 1.0]])
SAYINGS = {
    "FLOW helps here": gaussian_rows(3, 80_000, np.array([[1, 0.9], [0.9, 1]]), np.array([1.0, 0.0]), 0.05),
    "averaging with the start gains as much": gaussian_rows(1, 2000, CORRELATED, np.array([1.0, 0.0]), 0.05),
    "early stopping": gaussian_rows(1, 500, np.diag([2.0, 0.05]), np.array([0.5, 1.0]), 0.3, mean=3.0),
    "A tie with the start": gaussian_rows(1, 500, 1e-4 * np.eye(2), 10 * np.ones(2), 0.01),
    "A tie between": gaussian_rows(1, 2000, 0.25 * np.eye(2), np.array([1.0, 0.0]), 0.3),
}


PRETRAINING = {  # from the table of best errors in the plane: where FLOW beats early stopping
    "FLOW helps here": np.array([[1.5, -1.3], [-1.3, 5.0]]),
    "averaging with the start gains as much": np.array([[2.0, 0.9], [0.9, 2.0]]),
}


@pytest.mark.parametrize(("saying", "rows"), SAYINGS.items())
def test_the_headline_is_what_brute_force_finds(saying, rows):
    """Over times, by scipy's matrix exponential, rates, steps and shares."""
    tau, sigma = 1.5 if saying.startswith("FLOW helps") else None, PRETRAINING.get(saying, np.eye(2))
    d = lt.diagnose(*rows, tau, sigma)
    assert saying in headline(d._comparison)
    facts = Facts(*rows, float(d.temperature), sigma, None)
    assert [
        wrong for finding in findings(d._comparison, ["c0", "c1"]) for wrong in judged(finding, facts)
    ] == []


def test_nothing_to_learn():
    rows = random_data(30, 3, 3, seed=2)
    best = np.linalg.lstsq(rows.X, rows.y, rcond=None)[0]
    report = lt.diagnose(rows.X, rows.X @ best, best + 0.0, 1.0).report()
    assert "there is nothing to learn" in " ".join(report.split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_report_fits_and_says_what_it_measures(width):
    X, y, start = gaussian_rows(1, 200, CORRELATED, np.array([1.0, 0.0]), 0.3)
    d = lt.diagnose(X, y, start)
    report = d.report(width, ["speed", "size"])
    assert max(map(len, report.splitlines())) <= width
    flat = " ".join(report.split())
    assert "200 rows and 2 columns" in flat
    assert "Moved is (θ − θ*)ᵀG(θ − θ*), the mean square by which predictions on these rows move" in flat
    assert "No verdict" in flat
    assert " total " not in flat
    assert "speed" in flat
    assert "column 0" not in flat
    with_sigma = " ".join(lt.diagnose(X, y, start, None, np.eye(2)).report().split())
    assert "Forgetting is (θ − θ*)ᵀΣ(θ − θ*), target" in with_sigma
    assert "column 0" in with_sigma
    for value in (d.temperature, d.mean_weight, d.half_life, d.overlap):
        assert f"{float(value):.3g}" in flat.replace("−", "-")
    for check in d.checks:
        assert (" ".join(check.meaning.split()) in flat) == (check.verdict == "broken")
    with pytest.raises(lt.InvalidValueError, match="at least 60"):
        d.report(20)
    with pytest.raises(lt.InvalidValueError, match="one a column"):
        d.report(80, ["speed"])


@pytest.mark.parametrize("d", [1, 2, 9])
@pytest.mark.parametrize("scale", [1.0, 1e-100])
def test_what_a_session_echoes_fits_a_screen(d, scale):
    X = scale * np.random.default_rng(d).standard_normal((50, d))
    found = lt.diagnose(X, X[:, 0] / scale, np.zeros(d), None, np.eye(d))
    traced = []
    jax.jit(lambda X: traced.append(repr(lt.diagnose(X, X[:, 0], np.zeros(d), 1.0))) or X)(
        jnp.asarray(X / scale)
    )
    for said in (repr(found), repr(found.paths), *map(repr, found.checks), *traced):
        assert len(said.splitlines()) <= 24
        assert max(map(len, said.splitlines())) <= 80
    assert len(repr(found).splitlines()) == 9 + (d > 1)  # with a word on rows that are few
    for name in ("temperature", "effective_samples", "half_life"):
        assert f"{name:<20}{number(float(getattr(found, name)), 4)}\n" in repr(found)
    assert all(check.name in repr(check) and check.verdict in repr(check) for check in found.checks)


def test_noise_alone_is_doubted():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 5))
    assert "may be sampling noise" in " ".join(
        str(lt.diagnose(X, rng.standard_normal(50), np.zeros(5))).split()
    )
    y = X @ np.ones(5) + rng.standard_normal(50)
    assert "sampling noise" not in " ".join(str(lt.diagnose(X, y, np.zeros(5))).split())


HARD = {
    "wide": random_data(5, 9, 5, seed=1),
    "one row": random_data(1, 2, 1, seed=1),
    "no curvature": random_data(20, 2, 2, seed=1),
    "rank-deficient": random_data(30, 4, 2, seed=1),
    "one column": random_data(30, 1, 1, seed=1),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize(
    "rule", [None, 1e-9, math.inf, lt.weights.HardThreshold(3.0), lt.weights.KLDRO(40.0)]
)
def test_every_shape_and_rule_has_a_report(name, rule):
    rows = HARD[name]
    X = 0.0 * rows.X if name == "no curvature" else rows.X
    assert "What the theory assumes" in lt.diagnose(X, rows.y, rows.start, rule).report()


@pytest.mark.parametrize("name", [*HARD, "ordinary"])
def test_the_picture_states_the_finding(name):
    rows = HARD[name] if name in HARD else random_data(60, 3, 3, seed=4)
    d = lt.diagnose(rows.X, rows.y, rows.start)
    figure = d.picture()
    sentences = [f"{said}." for said in (by_how_much(d._comparison), headline(d._comparison)) if said]
    assert figure.get_suptitle().replace("\n", " ") == " ".join(sentences)
    top, _, plane, judged = figure.axes
    shown = {text.get_text() for text in judged.texts}
    assert {check.name for check in d.checks} <= shown
    verdicts = [check.verdict for check in d.checks]
    known = len(verdicts) - verdicts.count("not judged")
    assert judged.get_title(loc="right") == f"{verdicts.count('broken')} of {known} assumptions broken"
    assert plane.get_xlabel().endswith(d.forgetting_measure)
    # FLOW's line is its target error: drawn, not recomputed.
    drawn = [
        line.get_ydata() for line in top.lines if line.get_color() == "#0072B2" and len(line.get_ydata()) > 1
    ]
    assert np.array_equal(drawn[0], d.paths.target_errors[1, : len(drawn[0])])
    assert (
        not np.array_equal(drawn[0], d.paths.forgetting[1, : len(drawn[0])]) or not d.paths.forgetting.any()
    )
    figure.savefig(io.BytesIO(), format="png", dpi=20)


class Plain:
    """A rule of one's own: whatever says log_weights."""

    def __init__(self, rule):
        self.rule = rule

    def log_weights(self, losses):
        return self.rule.log_weights(losses)


class Named(NamedTuple):
    """To JAX a tree, of text and an object."""

    kind: str
    rule: Plain

    def log_weights(self, losses):
        return self.rule.log_weights(losses)


OWN = {"plain": Plain, "named": lambda rule: Named("as another", Plain(rule))}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN.keys())
@given(TALL, st.sampled_from([lt.weights.Huber(1.0), lt.weights.HardThreshold(3.0), lt.weights.Cauchy(2.0)]))
def test_a_rule_of_ones_own_is_the_rule_whose_weights_it_gives(own, problem, rule):
    same_but_for_the_rule(own, rule, problem.X, problem.y, problem.start)


@pytest.mark.parametrize("own", OWN.values(), ids=OWN.keys())
def test_a_rule_of_ones_own_takes_rows_in_jax(own):
    rows = gaussian_rows(1, 100, CORRELATED, np.array([1.0, 0.0]), 0.3)
    same_but_for_the_rule(own, lt.weights.Huber(1.0), *map(jnp.asarray, rows))


def same_but_for_the_rule(own, rule, *rows):
    one, other = (lt.diagnose(*rows, given) for given in (own(rule), rule))
    for field in dataclasses.fields(one):
        if field.name not in ("rule", "rows"):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert type(a) is type(b)
            assert np.array_equal(a, b, equal_nan=True) if a is not None else b is None
    assert np.array_equal(one.paths.total, other.paths.total)
    assert one._comparison.flow.total == other._comparison.flow.total
    assert repr(one) == repr(other)
    assert "Rule " in one.report()
    assert " at 0x" not in one.report()


@pytest.mark.parametrize("own", OWN.values(), ids=OWN.keys())
def test_a_rule_of_ones_own_under_tracing_and_in_a_picture(own):
    X, y, start = gaussian_rows(1, 100, CORRELATED, np.array([1.0, 0.0]), 0.3)
    d = lt.diagnose(X, y, start, own(lt.weights.Huber(1.0)))
    assert d.picture(["speed", "size"]).axes
    traced = jax.jit(lambda X: lt.diagnose(X, y, start, own(lt.weights.Huber(1.0))).target_errors)(X)
    assert near(traced, d.target_errors, 1e5, d.target_errors.max())


def test_a_rule_of_ones_own_may_leave_jit_where_jax_knows_it():
    @jax.tree_util.register_static
    class Static(Plain):
        pass

    X, y, start = gaussian_rows(1, 100, CORRELATED, np.array([1.0, 0.0]), 0.3)
    rule = Static(lt.weights.Huber(1.0))
    d = jax.jit(lambda X: lt.diagnose(X, y, start, rule))(jnp.asarray(X))
    assert d.report() == lt.diagnose(X, y, start, rule).report()


# --------------------------------------------------------------------------------------------------- JAX


def test_jax_rows_have_the_same_report():
    X, y, start = gaussian_rows(1, 100, CORRELATED, np.array([1.0, 0.0]), 0.3)
    in_jax = lt.diagnose(jnp.asarray(X), y, start, None, np.eye(2))
    assert isinstance(in_jax.half_life, jax.Array)
    assert in_jax.report() == lt.diagnose(X, y, start, None, np.eye(2)).report()
    narrow = lt.diagnose(jnp.asarray(X, dtype=jnp.float32), y, start)
    assert narrow.half_life.dtype == jnp.float32
    assert narrow.paths.total.dtype == np.float64


def test_a_traced_diagnosis_says_that_it_has_no_values():
    X, y, start = gaussian_rows(1, 100, CORRELATED, np.array([1.0, 0.0]), 0.3)
    for ask in (lambda d: d.paths, lambda d: d.checks, lambda d: d.report(), lambda d: d.picture()):
        with pytest.raises(lt.InvalidTypeError, match="return it from jit"):
            jax.jit(lambda X, ask=ask: ask(lt.diagnose(X, y, start)))(X)
    d = jax.jit(lambda X: lt.diagnose(X, y, start))(jnp.asarray(X))
    assert "FLOW on 100 rows" in str(d)
