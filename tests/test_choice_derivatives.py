"""Derivatives of the best flow, stop and temperature: against NumPy's differences, closed forms, and at every border.

Compiling is what these take time for, so each function is compiled once and asked at many points.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import linear_theory as lt
from linear_theory.choice import flow as best_flow_of
from linear_theory.choice import modes
from linear_theory.choice import temperature as best_temperature_of
from linear_theory.choice.root import defined, differentiable_root, least
from linear_theory.covariance import IdentityPlusLowRank

# ------------------------------------------------------------------------------- the two rules, on functions by hand


def condition(u, p):
    """u₀³ = p₀²p₁ and u₁² = p₁u₀, whose roots are known."""
    return jnp.stack([u[0] ** 3 - p[0] ** 2 * p[1], u[1] ** 2 - p[1] * u[0]])


def formula(p):
    first = (p[0] ** 2 * p[1]) ** (1 / 3)
    return jnp.stack([first, (p[1] * first) ** 0.5])


AT = jnp.array([8.0**0.5, 8.0])
ROOT = jnp.array([4.0, 32.0**0.5])
found = lambda p: differentiable_root(condition, ROOT, p)
NESTINGS = {"forwards": jax.jacfwd, "backwards": jax.jacrev}


def nested(derivative, function, order):
    for _ in range(order):
        function = derivative(function)
    return function


@pytest.mark.parametrize("nesting", NESTINGS)
def test_a_root_has_the_derivatives_of_its_formula_to_every_order(nesting):
    for order in range(4):
        got, want = (jax.jit(nested(NESTINGS[nesting], f, order))(AT) for f in (found, formula))
        assert np.allclose(got, want, rtol=1e-12, atol=1e-13), order


def with_the_root_held(p):
    """The rule with stop_gradient in it: what stands in it moves, but the root there does not."""

    @jax.custom_jvp
    def of(p):
        return ROOT

    @of.defjvp
    def _(primals, tangents):
        slopes = jax.jacfwd(condition)(ROOT, *primals)
        return of(*primals), -jnp.linalg.solve(
            slopes, jax.jvp(lambda p: condition(ROOT, p), primals, tangents)[1]
        )

    return of(p)


def test_a_root_held_in_its_rule_is_right_at_first_order_and_refused_at_second():
    first, second = (
        [np.asarray(nested(jax.jacfwd, f, order)(AT)) for f in (with_the_root_held, formula)]
        for order in (1, 2)
    )
    assert np.allclose(*first, rtol=1e-12)
    assert abs(second[0] - second[1]).max() > 0.1 * abs(second[1]).max()


def value(u, p):
    """A bowl about (p₀², p₀p₁), with a height of its own."""
    return ((u - jnp.stack([p[0] ** 2, p[0] * p[1]])) ** 2 @ jnp.array([1.0, p[1]])) + jnp.sin(p[0]) * p[1]


def lowest(held, p):
    return differentiable_root(jax.grad(value), held, p)


def test_a_least_value_has_every_derivative_and_with_the_place_held_the_first_alone():
    at = jnp.array([1.3, 0.7])
    held = jnp.array([1.3**2, 1.3 * 0.7])
    height = lambda p: jnp.sin(p[0]) * p[1]
    for derivative, order in ((jax.jacfwd, 1), (jax.jacrev, 2), (jax.jacfwd, 3)):
        got, want = (
            jax.jit(nested(derivative, f, order))(at)
            for f in (lambda p: least(value, lowest, held, p), height)
        )
        assert np.allclose(got, want, rtol=1e-12, atol=1e-13), order
    first, second = (nested(jax.jacfwd, lambda p: value(held, p), order)(at) for order in (1, 2))
    assert np.allclose(first, jax.grad(height)(at), rtol=1e-12)
    assert abs(second - jax.hessian(height)(at)).max() > 1


def test_a_first_derivative_of_a_least_value_does_not_ask_how_the_place_moves():
    """Where the minimum is flat the place has no derivative, and the value still has."""
    flat = lambda u, p: (u[0] - 1) ** 4 + p**2
    place = lambda held, p: differentiable_root(lambda u, p: jax.grad(flat)(u, p), held, p)
    assert jax.grad(lambda p: least(flat, place, jnp.ones(1), p))(3.0) == 6.0
    assert not np.isfinite(jax.jacfwd(lambda p: place(jnp.ones(1), p))(3.0)).all()


@pytest.mark.parametrize("border", [0.0, math.inf, math.nan])
@pytest.mark.parametrize("derivative", NESTINGS.values(), ids=NESTINGS)
def test_at_a_border_a_root_is_a_constant_and_the_others_are_not(border, derivative):
    """Of u₀ = p and u₁ = p·u₀ with u₁ at a border."""
    both = lambda u, p: jnp.stack(
        [u[0] - p, jnp.where(jnp.isfinite(u[1]) & (u[1] > 0), u[1], 1.0) - p * u[0]]
    )
    slopes = derivative(lambda p: differentiable_root(both, jnp.array([2.0, border]), p))(2.0)
    assert np.allclose(slopes, [1.0, 0.0], rtol=1e-15)


# --------------------------------------------------------------------------------------- against NumPy's differences


def plane(x, lib):
    """x: ρ, Σ₁₁, Σ₂₂, Σ₁₂, σ²."""
    old = lib.stack([lib.stack([x[1], x[3]]), lib.stack([x[3], x[2]])])
    return lt.paper_problem(x[0], pretrain_covariance=old, noise_variance=x[4])


def differences(function, x, step=1e-4):
    """Two central differences whose h² terms cancel, each step relative to its coordinate."""
    columns = []
    for i, entry in enumerate(x):
        move = np.eye(len(x))[i] * step * entry
        central = lambda s, move=move, entry=entry: (
            (function(x + s * move) - function(x - s * move)) / (2 * s * step * entry)
        )
        columns.append((4 * central(1) - central(2)) / 3)
    return np.stack(columns, axis=-1)


def agree(got, want, x, values, tolerance=1e-8):
    """Of a relative change of each coordinate, beside the value."""
    unit = np.abs(values)[:, None] + np.abs(want * x).max(axis=1, keepdims=True)
    return bool(np.isfinite(got).all() and (np.abs((got - want) * x) <= tolerance * unit).all())


def flow_in_numbers(x, lib):
    best = lt.best_flow(plane(x, lib))
    return lib.concatenate([lib.stack([best.temperature, best.time, best.total_error]), best.theta])


FLOWS = {
    (0.9, 1.5, 5.0, -1.3, 0.3): "joint optimum",
    (0.6, 2.0, 2.0, 0.9, 0.05): "joint optimum",
    (0.5, 4.0, 2.0, 1.0, 0.1): "joint optimum",
    (0.3, 2.0, 1.5, 0.7, 0.3): "averaging",
    (0.8, 1.5, 1.5, -0.4, 0.3): "early stopping",
    (0.3, 2.0, 1.5, 0.7, 0.0): "averaging",
}


def test_the_best_flow_of_many_problems_at_once():
    """Whoever wins: τ, t, the error and θ. What is at a border stays there."""
    points = np.array(list(FLOWS))
    slopes = jax.jit(jax.vmap(jax.jacrev(lambda x: flow_in_numbers(x, jnp))))(jnp.asarray(points))
    for x, winner, got in zip(points, FLOWS.values(), np.asarray(slopes), strict=True):
        values = flow_in_numbers(x, np)
        assert lt.best_flow(plane(x, np)).winner == winner
        border = ~np.isfinite(values) | (values == 0)
        assert (got[:2][border[:2]] == 0).all()
        moves = x != 0  # σ² = 0 is a border of the problem itself
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            want = differences(
                lambda y, x=x, moves=moves: flow_in_numbers(np.where(moves, y, x), np),
                np.where(moves, x, 1.0),
            )
        want[:2][border[:2]] = 0
        assert agree(got[:, moves], want[:, moves], x[moves], np.where(border, 0.0, values)), (x, got, want)
        if winner == "joint optimum":
            wrong = got.copy()
            wrong[0] *= 1 + 1e-5
            assert not agree(wrong, want, x, values)


def path_in_the_plane(problem, time, temperature):
    """FLOW's θ(t) in two dimensions: the exponential of a symmetric matrix by its trace and what is left of it."""
    e, cold = problem.shift, 1 / temperature
    image, noise = problem.target_covariance @ e, problem.noise_variance
    softened = 1 + 2 * noise * cold
    mass2 = 1 / (softened + 2 * (e @ image) * cold)
    matrix = problem.target_covariance - jnp.outer(image, image) * (2 * cold * mass2)
    mean = jnp.trace(matrix) / 2
    rest = matrix - mean * jnp.eye(2)
    half = jnp.sqrt((rest * rest).sum() / 2)
    length = 2 * jnp.where(jnp.isfinite(time), time, 0.0) * jnp.sqrt(mass2)
    slow, fast = jnp.exp(-length * (mean - half)), jnp.exp(-length * (mean + half))
    left = (slow + fast) / 2 * e - (slow - fast) / 2 * (rest @ e) / half
    return problem.pretrained - (e - jnp.where(jnp.isfinite(time), left, 0.0)) / softened


def test_the_best_flow_has_the_slopes_of_its_equations_along_one_direction_of_every_argument(monkeypatch):
    """Of each winner the same τ, t, error and θ as in NumPy, and the slopes of those; at a border there are none.

    The path is one in closed form, with its end, for those of the package have derivatives that take long to compile.
    """
    points = np.array(list(FLOWS))
    moves = points * np.array([0.1, -0.2, 0.3, 0.1, 0.2])
    expected = [flow_in_numbers(x, np) for x in points]
    ahead, behind = (
        {
            h: [flow_in_numbers(x + sign * h * move, np) for x, move in zip(points, moves, strict=True)]
            for h in (1e-4, 2e-4)
        }
        for sign in (1, -1)
    )
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        near, far = (np.subtract(ahead[h], behind[h]) / (2 * h) for h in (1e-4, 2e-4))
        want = np.where(np.isfinite(expected), (4 * near - far) / 3, 0.0)
    monkeypatch.setattr(best_flow_of, "gradient_flow", path_in_the_plane)
    for module in (best_flow_of, modes):
        monkeypatch.setattr(module, "fixed_point", lambda problem, unweighted: problem.target)
    slopes = jax.jit(lambda x, move: jax.jvp(lambda x: flow_in_numbers(x, jnp), (x,), (move,)))
    for x, move, *wanted in zip(points, moves, expected, want, strict=True):
        for found, one in zip(slopes(x, move), wanted, strict=True):
            assert np.allclose(found, one, rtol=1e-7, atol=1e-8)


def temperature_in_numbers(x, lib):
    best = lt.best_temperature(plane(x, lib), 10)
    return lib.concatenate([best.minima[:2], best.errors[:2], lib.stack([best.total_error]), best.theta])


@pytest.fixture(scope="module")
def slopes_of_two_minima():
    return jax.jit(jax.jacrev(lambda x: temperature_in_numbers(x, jnp)))


TWO = np.array([0.9, 1.5, 5.0, -1.3, 0.5])


def test_both_minima_of_ten_steps(slopes_of_two_minima):
    got, want = (
        np.asarray(slopes_of_two_minima(TWO)),
        differences(lambda x: temperature_in_numbers(x, np), TWO),
    )
    assert agree(got, want, TWO, temperature_in_numbers(TWO, np), 1e-6)
    assert (got[4] == got[2]).all()


def test_where_two_minima_tie_the_one_that_is_told_decides(slopes_of_two_minima):
    """Along ρ the warm minimum overtakes the cold one: the error bends there, as the lower of two curves does."""
    at = lambda rho: np.array([rho, *TWO[1:]])

    def gap(rho):
        best = lt.best_temperature(plane(at(rho), np), 10)
        cold, warm = best.errors[np.argsort(best.minima[:2])]
        return cold - warm

    tie = brentq(gap, 0.9, 0.99, xtol=1e-12)
    below, above = (np.asarray(slopes_of_two_minima(at(tie + h))) for h in (-1e-6, 1e-6))
    assert np.allclose(below[[0, 2]], above[[1, 3]], rtol=1e-3)  # the same curves, in the other order
    assert abs(below[4, 0] - above[4, 0]) > 1
    assert below[4, 0] == below[2, 0]
    assert above[4, 0] == above[2, 0]


def test_without_correlation_the_slopes_are_those_of_the_closed_form(slopes_of_two_minima):
    """μ² = 1 − (A/(A + 1))^(1/K), τ = 2μ²/(1 − μ²), err_tot = A/(A + 1), Σ = A times the identity."""
    A = 2.0
    slopes = np.asarray(slopes_of_two_minima(np.array([0.0, A, A, 0.0, 0.0])))[:, 1:3].sum(axis=1)
    mass2 = 1 - (A / (A + 1)) ** 0.1
    change = -0.1 * (A / (A + 1)) ** (0.1 - 1) / (A + 1) ** 2
    assert np.allclose(slopes[[0, 4]], [2 * change / (1 - mass2) ** 2, 1 / (A + 1) ** 2], rtol=1e-10)


def test_with_one_minimum_the_places_left_have_no_derivative_that_spoils(slopes_of_two_minima):
    x = np.array([0.6, 2.0, 2.0, 0.9, 0.5])
    got, values = np.asarray(slopes_of_two_minima(x)), temperature_in_numbers(x, np)
    assert np.isnan(values[[1, 3]]).all()
    assert (got[[1, 3]] == 0).all()
    there = [0, 2, 4, 5, 6]
    want = differences(lambda y: temperature_in_numbers(y, np)[there], x)
    assert agree(got[there], want, x, values[there])


@pytest.mark.deep
def test_of_a_minimum_that_is_searched_for():
    """In four dimensions, to the digits of the search: along one direction of every argument."""
    base, moves = drawn(7, 4)

    def numbers(h, lib):
        parts = [b + h * one for b, one in zip(base, moves[0], strict=True)]
        best = lt.best_flow(lt.FineTuningProblem(*parts, 0.5))
        return lib.concatenate([lib.stack([best.total_error, best.temperature, best.time]), best.theta])

    assert lt.best_flow(lt.FineTuningProblem(*base, 0.5)).winner == "between"
    got = np.asarray(jax.jit(jax.jacfwd(lambda h: numbers(h, jnp)))(0.0))
    central = lambda h: (numbers(h, np) - numbers(-h, np)) / (2 * h)
    want = (4 * central(1e-3) - central(2e-3)) / 3
    assert abs(got[0] - want[0]) <= 1e-8 * abs(want[0])
    assert np.allclose(got[1:], want[1:], rtol=1e-3, atol=1e-4)


@pytest.mark.deep
def test_of_a_rate_that_is_given():
    def numbers(x, lib):
        best = lt.best_temperature(plane(x, lib), 10, x[5])
        return lib.concatenate([lib.stack([best.temperature, best.total_error]), best.theta])

    x = np.array([0.6, 2.0, 2.0, 0.9, 0.3, 0.4])
    got, want = jax.jit(jax.jacrev(lambda x: numbers(x, jnp)))(x), differences(lambda y: numbers(y, np), x)
    assert agree(np.asarray(got), want, x, numbers(x, np))


# ------------------------------------------------------------------------------------------------------ closed forms


def drawn(seed=3, dim=3):
    """A problem without noise, and two directions in which all of it moves."""
    rng = np.random.default_rng(seed)
    square = lambda m: m @ m.T / dim + 0.3 * np.eye(dim)
    normal = lambda: rng.standard_normal((dim, dim))
    base = (*rng.standard_normal((2, dim)), square(normal()), square(normal()))
    moves = [
        (*rng.standard_normal((2, dim)), *(0.3 * (m + m.T) for m in (normal(), normal()))) for _ in range(2)
    ]
    return base, moves


def moved(base, moves, x):
    return lt.FineTuningProblem(
        *(b + x[0] * one + x[1] * two for b, one, two in zip(base, *moves, strict=True))
    )


def one_step(problem):
    """(F1): the best μ² < 1, its temperature and its error, of two quadratic forms."""
    e, new, old = problem.shift, problem.target_covariance, problem.pretrain_covariance
    image = new @ e
    m = image @ image / (image @ old @ image + image @ new @ image)
    return jnp.stack([2 * (e @ image) * m / (1 - m), _of_one_step(problem, m)]), m


def _of_one_step(problem, m):
    e, new, old = problem.shift, problem.target_covariance, problem.pretrain_covariance
    image = new @ e
    return e @ image - 2 * m * image @ image + m**2 * (image @ old @ image + image @ new @ image)


def numbers_of_one_step(base, moves, x):
    best = lt.best_temperature(moved(base, moves, x), 1)
    return jnp.stack([best.temperature, best.total_error])


def slope(function):
    """Along a direction in which all of x moves."""
    return jax.jvp(function, (jnp.zeros(2),), (jnp.array([1.0, -0.4]),))[1]


@pytest.fixture(scope="module")
def slopes_of_one_step():
    return jax.jit(lambda base, moves: slope(lambda x: numbers_of_one_step(base, moves, x)))


def test_one_step_has_the_slopes_of_its_closed_form(slopes_of_one_step):
    for seed in (3, 4, 5):
        base, moves = drawn(seed)
        closed = lambda x, base=base, moves=moves: one_step(moved(base, moves, x))[0]
        want, values = np.asarray(slope(closed)), np.asarray(closed(jnp.zeros(2)))
        assert (abs(slopes_of_one_step(base, moves) - want) <= 1e-9 * (abs(values) + abs(want))).all()


def test_unweighted_is_a_border_and_the_error_moves_as_that_of_standard_training(slopes_of_one_step):
    _, moves = drawn()
    base = (np.array([1.0, 0.2, 0.0]), np.zeros(3), 0.3 * np.eye(3), 0.01 * np.eye(3))
    assert lt.best_temperature(moved(base, moves, np.zeros(2)), 1).temperature == math.inf
    got = np.asarray(slopes_of_one_step(base, moves))
    assert got[0] == 0
    assert np.allclose(got[1], slope(lambda x: _of_one_step(moved(base, moves, x), 1.0)), rtol=1e-10)


@pytest.mark.deep
def test_the_curvature_of_one_step():
    """Against the closed form; and with μ² held, as where a rule stops gradients, that of the error is another."""
    base, moves = drawn()
    closed = lambda x: one_step(moved(base, moves, x))[0]
    twice = lambda f: jax.jacfwd(jax.jacfwd(f))(jnp.zeros(2))
    got = np.asarray(jax.jit(lambda: twice(lambda x: numbers_of_one_step(base, moves, x)))())
    want = np.asarray(twice(closed))
    assert abs(got - want).max() <= 1e-8 * abs(want).max()
    assert abs(got - got.transpose(0, 2, 1)).max() <= 1e-10 * abs(want).max()
    held = one_step(moved(base, moves, np.zeros(2)))[1]
    wrong = lambda x: _of_one_step(moved(base, moves, x), held)
    assert np.allclose(jax.grad(wrong)(jnp.zeros(2)), jax.jacfwd(closed)(jnp.zeros(2))[1])
    assert abs(twice(wrong) - want[1]).max() > 1e-3 * abs(want[1]).max()


def first_step(problem, steps, rate, temperature):
    """One step without noise, in closed form: θ* − 2ημ³Σ̃e."""
    assert steps == 1
    mass = lt.weight_mass(problem, temperature)
    return problem.pretrained - 2 * rate * mass**3 * problem.target_operator.apply(problem.shift)


def test_at_a_rate_that_is_given_one_step_has_the_slopes_of_its_closed_form(monkeypatch):
    """2ημ³ is what is best, whatever the rate: with it μ and so τ change, and neither the error nor θ."""
    monkeypatch.setattr(best_temperature_of, "iterate", first_step)
    base, moves = drawn()

    def numbers(x, rate):
        best = lt.best_temperature(moved(base, moves, x), 1, rate)
        return jnp.append(best.theta, jnp.stack([best.temperature, best.total_error]))

    def closed(x, rate):
        problem = moved(base, moves, x)
        m = one_step(problem)[1]
        mass2 = (m / (2 * rate)) ** (2 / 3)
        step = problem.pretrained - m * problem.target_covariance @ problem.shift
        temperature = 2 * problem.shift_variance * mass2 / (1 - mass2)
        return jnp.append(step, jnp.stack([temperature, _of_one_step(problem, m)]))

    at = jnp.zeros(2), jnp.asarray(0.6)
    along = lambda f: jax.jit(lambda *move: jax.jvp(f, at, move))
    found, wanted = along(numbers), along(closed)
    for move in ((jnp.zeros(2), jnp.asarray(1.0)), (jnp.array([1.0, -0.4]), jnp.asarray(0.3))):
        for got, want in zip(found(*move), wanted(*move), strict=True):
            assert np.allclose(got, want, rtol=1e-9, atol=1e-11)


JOINT = np.array([0.6, 2.0, 2.0, 0.9, 0.3])


def about_joint(s, lib):
    """A problem that the joint optimum wins, with ρ and Σ₁₁ changed by these parts."""
    return plane(JOINT * lib.concatenate([1 + s, lib.ones(3)]), lib)


@pytest.mark.deep
def test_the_curvature_of_the_best_flows_error():
    """That of the joint optimum, in closed form; with its θ held the slope is the same, and the curvature is not."""
    got = np.asarray(
        jax.jit(jax.hessian(lambda s: lt.best_flow(about_joint(s, jnp)).total_error))(jnp.zeros(2))
    )

    def optimum(s):
        problem = about_joint(s, jnp)
        old, new, e = problem.pretrain_covariance, problem.target_covariance, problem.shift
        return e @ old @ jnp.linalg.solve(old + new, new @ e)

    theta = lt.best_flow(about_joint(np.zeros(2), np)).theta
    held = lambda s: lt.total_error(about_joint(s, jnp), theta)
    want, wrong = (np.asarray(jax.hessian(f)(jnp.zeros(2))) for f in (optimum, held))
    assert np.allclose(*(jax.grad(f)(jnp.zeros(2)) for f in (optimum, held)), rtol=1e-9)
    assert np.allclose(got, want, rtol=1e-9, atol=1e-10)
    assert abs(wrong - want).max() > 0.1 * abs(want).max()


@pytest.mark.deep
def test_the_curvature_of_the_best_flows_temperature_and_time():
    numbers = lambda s, lib: flow_in_numbers(JOINT * lib.concatenate([1 + s, lib.ones(3)]), lib)[:2]
    got = np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(lambda s: numbers(s, jnp))))(jnp.zeros(2)))
    for direction in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, -0.5])):
        at = lambda h, d=direction: numbers(h * d, np)
        central = lambda h, at=at: (at(h) - 2 * at(0.0) + at(-h)) / h**2
        want = (4 * central(1e-3) - central(2e-3)) / 3
        assert np.allclose(direction @ got @ direction, want, rtol=1e-5)


# --------------------------------------------------------------------------------- a low rank in many dimensions


WAVE = np.cos(np.arange(200.0))


def low_rank(rho, h, lib):
    """The paper's covariance in 200 dimensions, with a shift that leaves its span for h ≠ 0."""
    given, old = lt.paper_problem(rho, dim=200), 2 * lib.eye(200)
    return lt.FineTuningProblem(given.pretrained + h * WAVE, given.target, given.target_covariance, old)


@pytest.mark.parametrize("moved", ["pretrained", "target", "factor", "core", "noise"])
def test_what_may_leave_the_span_of_a_low_rank_has_no_derivative_of_a_place(moved):
    """Each by itself, so that none is left out; core and noise stay within the span."""
    given = lt.paper_problem(0.3, dim=200)
    covariance = given.target_covariance
    at = {
        "pretrained": given.pretrained,
        "target": given.target,
        "factor": covariance.factor,
        "core": covariance.core,
        "noise": 0.1,
    }

    def of(value):
        now = {name: jnp.asarray(part) for name, part in at.items()} | {moved: value}
        low_rank = IdentityPlusLowRank(now["factor"], now["core"])
        problem = lt.FineTuningProblem(
            now["pretrained"], now["target"], low_rank, 2 * jnp.eye(200), noise_variance=now["noise"]
        )
        return defined(problem)

    value, slopes = jax.value_and_grad(of)(jnp.asarray(at[moved]))
    assert value == 1
    assert (jnp.isnan(slopes) if moved in ("pretrained", "target", "factor") else slopes == 0).all()


@pytest.mark.deep
def test_a_low_rank_beyond_a_matrix():
    """Out of its span the least error has a slope, and the temperature, which asks for a second derivative, none."""

    def number(name, rho, h, lib):
        return getattr(lt.best_temperature(low_rank(rho, h, lib), 4), name)

    for name in ("total_error", "temperature"):
        slopes = jax.jit(jax.grad(lambda rho, h, name=name: number(name, rho, h, jnp), argnums=(0, 1)))(
            0.3, 0.05
        )
        want = differences(lambda x, name=name: number(name, *x, np), np.array([0.3, 0.05]))
        assert np.allclose(slopes[0], want[0], rtol=1e-6)
        if name == "total_error":
            assert np.allclose(slopes[1], want[1], rtol=1e-6)
        else:
            assert np.isnan(slopes[1])


def test_the_best_temperature_of_one_step_has_a_slope_within_the_span_of_a_low_rank_and_none_out_of_it(
    monkeypatch,
):
    """One that leaves out what is held there would be a number, and wrong."""
    monkeypatch.setattr(best_temperature_of, "iterate", first_step)

    temperature = lambda rho, h, lib: lt.best_temperature(low_rank(rho, h, lib), 1).temperature
    along, out = jax.jit(jax.grad(lambda rho, h: temperature(rho, h, jnp), argnums=(0, 1)))(0.3, 0.05)
    want = differences(lambda x: temperature(x[0], 0.05, np), np.array([0.3]))[0]
    assert abs(along - want) <= 1e-6 * abs(want)
    assert np.isnan(out)


@pytest.mark.deep
def test_its_second_derivative_out_of_the_span_is_refused():
    error = lambda h: lt.best_temperature(low_rank(0.3, h, jnp), 4).total_error
    with pytest.raises(lt.InvalidValueError, match=r"derivative = 'the second'.*span of a low rank"):
        jax.grad(jax.grad(error))(0.05)


def test_an_early_stop_has_a_slope_out_of_the_span_of_a_low_rank():
    """Its equation is written out, so that it asks for first derivatives alone."""
    stop = lambda h, lib: lt.best_early_stop(low_rank(0.3, h, lib)).time
    want = differences(lambda x: stop(x[0], np), np.array([0.05]), 1e-2)[0]
    assert abs(jax.jit(jax.grad(lambda h: stop(h, jnp)))(0.05) - want) <= 1e-6 * abs(want)
