"""FLOW's minimiser at many temperatures: each beside a solve of its own, what they cost together, derivatives in τ.

How far one may be off is asked for: `accuracy` in units of ‖θ − start‖. What comes on top is the rounding of the two
answers compared, bound(κ) of ‖θ − start‖ and ε of the start they are added to.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.least_squares import solver, temperatures
from linear_theory.testing.tolerances import EPS, SAFETY, TINY, bound, near
from tests.strategies import SEEDS, Data, log_uniform, orthogonal, random_data
from tests.test_jax import to_jax
from tests.test_jax_gradients import close, differences

ACCURACY = 1e-8  # the default


def losses_of(problem):
    return (problem.y - problem.X @ problem.start) ** 2


def decades(problem, count, low=-1.0, high=1.0):
    return np.median(losses_of(problem)) * np.logspace(low, high, count)


def tailed(rows, columns, condition=10.0, tail=None, seed=0):
    """Random rows whose losses have the tail of Student's t: ``tail`` 1 is Cauchy, None is Gaussian."""
    rng = np.random.default_rng([seed, 7])
    left = np.linalg.qr(rng.standard_normal((rows, columns)))[0]
    X = (left * condition ** -np.linspace(0, 1, columns)) @ orthogonal(columns, rng)
    start = rng.standard_normal(columns)
    return Data(X, X @ start + (rng.standard_t(tail, rows) if tail else rng.standard_normal(rows)), start)


def alone(problem, tau, ridge=0.0):
    """θ of one solve; without a ridge all weights × c are the same, so that none need underflow."""
    losses = losses_of(problem)
    weights = np.exp(-(losses - (0.0 if ridge else losses.min())) / tau)
    return lt.solve(problem.X, problem.y, problem.start, weights, ridge).theta


def complaints(path, problem, ridge=0.0, accuracy=ACCURACY, condition=1e3, few=12, told=True):
    """What is wrong with some of the answers; if ``told``, the error reported must not be below the true one."""
    if not path.error <= accuracy:
        yield f"error {path.error:.1e} where {accuracy:.0e} is asked for"
    chosen = np.unique(np.linspace(0, len(path.temperatures) - 1, few).astype(int))
    rounding, losses, error = bound(condition), losses_of(problem), path.error if told else accuracy
    for t in chosen:
        tau = float(path.temperatures[t])
        want, mass = alone(problem, tau, ridge), np.exp(-losses / tau).mean()
        size, gap = np.linalg.norm(want - problem.start), np.linalg.norm(path.theta[t] - want)
        if not gap <= (error + rounding) * size + SAFETY * EPS * np.linalg.norm(problem.start):
            yield f"{gap / size if size else gap:.1e} off at temperature {tau:.3g}, error {path.error:.1e}"
        if not abs(path.mean_weight[t] - mass) <= (accuracy + rounding) * mass + 8 * TINY:
            yield f"mean weight {path.mean_weight[t]} for {mass} at temperature {tau:.3g}"


def path_of(problem, taus, ridge=0.0, accuracy=ACCURACY):
    return lt.temperature_path(problem.X, problem.y, problem.start, taus, ridge, accuracy=accuracy)


SHAPES = st.tuples(st.integers(30, 300), st.integers(1, 5))
TAILS, ACCURACIES = st.sampled_from([None, 3, 1]), st.sampled_from([1e-5, ACCURACY, 1e-10])


@given(SHAPES, log_uniform(1.0, 1e5), TAILS, st.integers(1, 150), st.floats(0.25, 3.0), ACCURACIES, SEEDS)
@example((30, 1), 1.0, None, 26, 1.0, 1e-5, 25)  # θ passes by the start, beside which its error is large
@example((86, 2), 3.0, None, 244, 2.0, ACCURACY, 978)
def test_every_answer_is_that_of_a_solve(shape, kappa, tail, count, reach, accuracy, seed):
    problem = tailed(*shape, kappa, tail, seed)
    taus = np.random.default_rng(seed).permutation(decades(problem, count, -reach, reach))
    path = path_of(problem, taus, accuracy=accuracy)
    # Where few rows weigh anything, κ of what they see is not bounded by that of all.
    assert not list(complaints(path, problem, accuracy=accuracy, condition=1e3 * kappa, few=count))


GAUSSIAN, TALL = tailed(600, 4, seed=1), tailed(3000, 5, 3.0, 2, seed=2)
RNG = np.random.default_rng(3)
SIGNS = np.where(RNG.random(600) < 0.5, -1, 1)


def labelled(residual, problem=GAUSSIAN):
    """The rows with these residuals at the start."""
    return Data(problem.X, problem.X @ problem.start + residual, problem.start)


def with_leverage():
    """Seven rows of large leverage, whose loss no quantile shows, below a thousand of larger losses."""
    rows, taus = tailed(20_000, 4, 1.0, seed=4), 10.0 * np.logspace(-1, 1, 60)
    X, residual = 100 * rows.X, RNG.standard_normal(20_000)
    X[:7] *= 1e3
    residual[:7], residual[7:1000] = 5.0, np.linspace(6.0, 9.0, 993)
    return Data(X, X @ rows.start + residual, rows.start), taus


def with_rare_column():
    """A column that 20 rows of high loss see, and nobody else."""
    rows, taus = tailed(3000, 4, 1.0, seed=5), np.logspace(-1, 1, 60)
    X, residual = rows.X.copy(), RNG.standard_normal(3000)
    X[:, 3], X[:20, 3], residual[:20], residual[20:99] = 0, 1, 4.5, 6.0
    return Data(X, X @ rows.start + residual, rows.start), taus


SQUARE, SCATTERED = random_data(5, 5, 5, seed=6), RNG.permutation(decades(GAUSSIAN, 50))
CASES = {
    "repeated, infinite": (GAUSSIAN, np.array([math.inf, *np.repeat(SCATTERED, 2), math.inf])),
    "one row": (random_data(1, 1, 1, seed=8), np.logspace(-1, 1, 40)),
    "only infinite": (GAUSSIAN, np.full(9, math.inf)),
    "a ridge": (GAUSSIAN, SCATTERED, 0.01),
    "six decades": (GAUSSIAN, decades(GAUSSIAN, 120, -3, 3)),
    "few rows with weight": (GAUSSIAN, decades(GAUSSIAN, 60, -8, -4)),
    "far tail": (TALL, decades(TALL, 200, 3, 6)),
    "outliers": (TALL, decades(TALL, 100, 0, 3)),
    "four losses": (labelled(SIGNS * RNG.choice([0.1, 1.0, 3.0, 30.0], 600)), np.logspace(-1, 1, 60)),
    "no loss": (labelled(0.0), np.logspace(-1, 1, 60)),
    "weights underflow": (labelled(1e3 * SIGNS + RNG.standard_normal(600)), np.logspace(-1, 1, 60)),
    "a ridge beside no weight": (labelled(1e3 * SIGNS), np.logspace(-1, 1, 60), 0.1),
    "square": (SQUARE, decades(SQUARE, 60)),
    "wide": (random_data(3, 5, 3, seed=7), np.logspace(-1, 1, 40)),
    "deficient": (random_data(40, 5, 3, seed=9), np.logspace(-1, 1, 40)),
    "deficient, a ridge": (random_data(40, 5, 3, seed=9), np.logspace(-1, 1, 40), 0.1),
    "duplicates": (Data(*(np.repeat(a, 40, 0) for a in (SQUARE.X, SQUARE.y)), SQUARE.start), SCATTERED),
    "leverage": with_leverage(),
    "a rare column": with_rare_column(),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("accuracy", [1e-3, ACCURACY])
def test_cases(name, accuracy):
    problem, taus, ridge = (*CASES[name], 0.0)[:3]
    path = path_of(problem, taus, ridge, accuracy=accuracy)
    assert np.array_equal(path.temperatures, taus)
    assert not list(complaints(path, problem, ridge, accuracy, condition=1e6, few=40))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(12, 10), (20, 5), (6, 5), (5, 5)])
def test_hardly_more_rows_than_columns(shape, seed):
    """Where few rows decide, at weights of 1e-9, the sums at the nodes must not be believed."""
    problem = random_data(*shape, shape[1], 3.0, seed)
    for accuracy in (1e-2, ACCURACY):
        path = path_of(problem, decades(problem, 100, -1.5, 1.5), accuracy=accuracy)
        assert not list(complaints(path, problem, 0.0, accuracy, 1e6, few=50, told=False))


def test_columns_in_other_units():
    """θ·units, to the accuracy: powers of two round nothing, and κ of the rows as given is 1e180."""
    units = 2.0 ** np.array([0, 300, -300, 40])
    path = path_of(Data(GAUSSIAN.X * units, GAUSSIAN.y, GAUSSIAN.start / units), SCATTERED)
    assert near(path.theta * units, path_of(GAUSSIAN, SCATTERED).theta, 2 * ACCURACY / EPS / SAFETY)


def test_laws():
    """The order does not matter; y and start × c, τ × c² is θ × c; integers and float32 are numbers."""
    path = path_of(GAUSSIAN, SCATTERED)
    in_order = path_of(GAUSSIAN, np.sort(SCATTERED)).theta
    assert near(in_order, path.theta[SCATTERED.argsort()], 2 * ACCURACY / EPS / SAFETY)
    for c in (2.0**-400, 2.0**400):
        scaled = Data(GAUSSIAN.X, c * GAUSSIAN.y, c * GAUSSIAN.start)
        assert near(path_of(scaled, c * c * SCATTERED).theta, c * path.theta, ACCURACY / EPS / SAFETY)
    whole, taus = (RNG.integers(-3, 4, (90, 3)), RNG.integers(-9, 10, 90), np.arange(3)), np.arange(1, 60)
    want = lt.temperature_path(*(a.astype(float) for a in whole), taus).theta
    assert np.array_equal(lt.temperature_path(*whole, taus).theta, want)
    assert np.array_equal(lt.temperature_path(*(a.astype(np.float32) for a in whole), taus).theta, want)


def test_extreme_temperatures_pass_in_silence():
    taus = np.array([5e-324, 1e-308, 1e-300, 1e-30, *SCATTERED, 1e300, 1.7e308, math.inf])
    for ridge in (0.0, 1e-300, 1.0, 1e300):
        path = path_of(GAUSSIAN, taus, ridge)
        assert np.isfinite(np.column_stack([path.theta, path.mean_weight])).all()
    assert np.array_equal(path.theta[0], GAUSSIAN.start)


MUTANTS = {
    "twice the temperature": lambda p, t: path_of(p, 2 * t, 0.01),
    "1e-6 of the temperature": lambda p, t: path_of(p, t * (1 + 1e-6), 0.01),
    "weights at another start": lambda p, t: path_of(Data(p.X, p.y, 0 * p.start), t, 0.01),
    "a ridge on the sum": lambda p, t: path_of(p, t, 0.01 / len(p.y)),
    "sorted": lambda p, t: path_of(p, np.sort(t), 0.01),
    "less accurate": lambda p, t: path_of(p, t, 0.01, 1e-3),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_rejected(name):
    assert not list(complaints(path_of(GAUSSIAN, SCATTERED, 0.01), GAUSSIAN, 0.01))
    got = MUTANTS[name](GAUSSIAN, SCATTERED)
    path = lt.TemperaturePath(SCATTERED, got.theta, got.mean_weight, 0, min(got.error, ACCURACY))
    assert list(complaints(path, GAUSSIAN, 0.01))


def test_fewer_nodes_than_needed_are_noticed(monkeypatch):
    """The first guess may be too low: what is measured repairs it, and without that the answers are wrong."""
    monkeypatch.setattr(temperatures.Nodes, "needed", lambda self, rates, accuracy: 9)
    assert not list(complaints(path_of(GAUSSIAN, SCATTERED), GAUSSIAN))
    monkeypatch.setattr(temperatures.SharedTemperatures, "_measured", lambda *given: 0.0)
    assert list(complaints(path_of(GAUSSIAN, SCATTERED), GAUSSIAN))


@pytest.mark.parametrize("count", [100, 1000])
def test_at_most_24_weightings_for_two_decades(count):
    """However many temperatures: about 20 where the weights' numerical rank is, and one to turn the rows."""
    for rows in (tailed(2000, 10, 1.0), tailed(5000, 3, 1.0, seed=1)):
        problem = Data(rows.X, rows.y, rows.start + np.sqrt(len(rows.y)) / 3)  # as far off as the noise
        path = path_of(problem, decades(problem, count))
        assert path.weightings <= 24
        assert not list(complaints(path, problem, few=6))


def test_temperatures_that_crowd_together_hide_no_other(monkeypatch):
    """Judged are temperatures evenly over the decades; evenly in their order nearly all would be of the crowd."""
    few, crowd = decades(GAUSSIAN, 30), np.median(losses_of(GAUSSIAN)) * np.geomspace(1, 1.001, 900)
    monkeypatch.setattr(temperatures.Nodes, "needed", lambda self, rates, accuracy: 9)
    path, alone = path_of(GAUSSIAN, RNG.permutation([*few, *crowd])), path_of(GAUSSIAN, few)
    assert path.weightings == alone.weightings
    assert path.error > alone.error / 2 > 0


@pytest.mark.parametrize("name", CASES)
def test_weightings_are_what_was_summed(name, monkeypatch):
    sums, minimise, seen = temperatures.Sums.over, solver.minimise, []
    monkeypatch.setattr(temperatures.Sums, "over", lambda *a: seen.extend(a[-1]) or sums(*a))
    monkeypatch.setattr(solver, "minimise", lambda *a: seen.append(1) or minimise(*a))
    problem, taus, ridge = (*CASES[name], 0.0)[:3]
    path = path_of(problem, taus, ridge)
    assert path.weightings == len(seen)
    # What is tried in vain is bounded: 40 nodes and a turn, in each window of two decades.
    windows = 1 + max(1, math.ceil(np.ptp(np.log10(taus[np.isfinite(taus)])) / 2 if len(taus) > 9 else 1))
    assert path.weightings <= len(np.unique(taus)) + 41 * windows
    if name in ("only infinite", "no loss", "one row"):
        assert path.weightings <= 2
    if name in ("far tail", "outliers"):  # losses that the quantiles do not show are sampled too
        assert path.weightings <= 40


def test_at_most_24_with_a_ridge_too():
    """What the ridge pulls belongs to the error that is measured: with the other sign no sharing would do."""
    rows = tailed(2000, 4, 1.0)
    problem = Data(rows.X, rows.y, rows.start + np.sqrt(len(rows.y)) / 3)
    for ridge in (1e-4, 1e-2):
        path = path_of(problem, decades(problem, 100), ridge)
        assert path.weightings <= 24
        assert not list(complaints(path, problem, ridge, few=6))


def test_the_error_told_is_twice_what_the_last_pass_has_measured(monkeypatch):
    measured, seen = temperatures.SharedTemperatures._measured, []
    monkeypatch.setattr(
        temperatures.SharedTemperatures, "_measured", lambda *a: seen.append(measured(*a)) or seen[-1]
    )
    path = path_of(GAUSSIAN, SCATTERED)
    assert path.error == 2 * seen[-1] > 0


def test_more_rows_than_are_weighed_at_once():
    """In blocks and strips: each row counts once, in θ and in the mean weight."""
    rng = np.random.default_rng(14)
    X = rng.standard_normal((230_000, 1))
    problem = Data(X, X[:, 0] + rng.standard_normal(len(X)) * np.linspace(0.1, 2.0, len(X)), np.zeros(1))
    path = path_of(problem, decades(problem, 40))
    assert path.weightings < 40
    assert not list(complaints(path, problem, few=3))


def test_beyond_repair_by_cholesky_they_are_solved_one_by_one():
    problem = tailed(200, 4, 1e9, seed=1)
    path = path_of(problem, decades(problem, 30))
    assert (path.weightings in (30, 31), path.error) == (True, 0)
    assert not list(complaints(path, problem, condition=1e9))


SMALL, VALIDATION = tailed(40, 3, seed=11), tailed(30, 3, seed=12)


def at(tau, ridge=0.0):
    """The validation loss at one temperature, in NumPy or JAX as the temperature is."""
    xp = jnp if isinstance(tau, jax.Array) else np
    X, y = to_jax((VALIDATION.X, VALIDATION.y)) if xp is jnp else (VALIDATION.X, VALIDATION.y)
    return ((y - X @ path_of(SMALL, xp.stack([tau]), ridge).theta[0]) ** 2).mean()


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_jax_is_numpy(ridge):
    """Eager, compiled, batched; infinity and weights that underflow among them."""
    got = lambda path: (path.theta, path.mean_weight)
    for problem in (SMALL, labelled(1e3 * SIGNS[:40], SMALL)):
        want = path_of(problem, np.array([*decades(SMALL, 5), math.inf]), ridge)
        rows, taus = to_jax((problem.X, problem.y, problem.start)), to_jax(want.temperatures)
        function = lambda t, rows=rows: lt.temperature_path(*rows, t, ridge)
        alone = jax.jit(jax.vmap(lambda t, f=function: got(f(t[None]))))
        batched = jax.tree.map(lambda leaf: leaf[:, 0], alone(taus))
        eager = function(taus)
        assert (eager.weightings, eager.error) == (len(taus), 0)
        assert np.array_equal(eager.temperatures, want.temperatures)
        for theta, mass in (got(eager), got(jax.jit(function)(taus)), batched):
            assert near(theta, want.theta, 1e5)
            assert near(mass, want.mean_weight, 100)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_derivatives(ridge):
    """In log τ, by finite differences of NumPy's; in τ it is 0 at ∞."""
    slope = jax.jit(jax.grad(lambda s: at(jnp.exp(s), ridge)))
    for tau in decades(SMALL, 5):
        want = differences(lambda h, tau=tau: at(tau * np.exp(h), ridge))
        assert close(slope(jnp.log(tau)), want)
        assert not close(2 * slope(jnp.log(tau)), want)
    assert jax.jit(jax.grad(lambda t: at(t, ridge)))(jnp.asarray(math.inf)) == 0


def test_a_temperature_is_tuned_by_its_gradient():
    """Labels with outliers, validation labels without: descent in log τ beats every temperature of a grid."""
    rng = np.random.default_rng(13)
    X, fresh, theta = rng.standard_normal((60, 3)), rng.standard_normal((200, 3)), rng.standard_normal(3)
    y = X @ theta + 0.1 * rng.standard_normal(60)
    y[:12] += 5.0
    rows = to_jax((X, y, theta + 0.2 * rng.standard_normal(3)))
    fresh, answers = to_jax((fresh, fresh @ theta))
    loss = lambda s: ((answers - fresh @ lt.temperature_path(*rows, jnp.exp(s)[None]).theta[0]) ** 2).mean()
    both, s, step = jax.jit(jax.value_and_grad(loss)), jnp.asarray(math.log(30.0)), 1.0
    (first, slope), value = both(s), math.inf
    for _ in range(40):
        trial = s - step * jnp.sign(slope)
        new, new_slope = both(trial)
        s, value, slope, step = (trial, new, new_slope, step) if new < value else (s, value, slope, step / 2)
    assert value < first / 2
    assert value <= min(both(jnp.asarray(g))[0] for g in np.linspace(math.log(0.01), math.log(30.0), 30))


@pytest.mark.parametrize("labels", [[1e20, 1e20, 2e20], [1.0, 1e20, 2e20]])
def test_labels_whose_squares_overflow_are_refused_in_float32_too(labels):
    single = lambda values: jnp.asarray(values, dtype=jnp.float32)
    with pytest.raises(lt.InvalidValueError, match="rescale y"):
        lt.temperature_path(single(np.ones((3, 1))), single(labels), single([0.0]), single([1.0, np.inf]))


def test_labels_whose_squares_overflow_are_refused_with_a_remedy():
    with pytest.raises(lt.InvalidValueError, match=r"y.*squared residuals overflow; rescale y"):
        path_of(labelled(1e160 * SIGNS), SCATTERED)


def test_labels_whose_cubes_overflow_are_labels_in_another_unit():
    unit, taus = 2.0**450, np.geomspace(0.1, 10, 5)
    found = path_of(labelled(unit * SIGNS), unit**2 * taus)
    known = path_of(labelled(1.0 * SIGNS), taus)
    moved = lambda path: path.theta - GAUSSIAN.start
    assert near(moved(found) / unit, moved(known), 1e4)
