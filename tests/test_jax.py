"""JAX: the same numbers under jit and vmap, derivatives that exist everywhere, and precision that stays as it came."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.tolerances import EPS, near
from linear_theory.weights import KLDRO, Flow, HardThreshold, Uniform
from tests.agreement import numpy_problem
from tests.networks import network, tanh_network
from tests.strategies import random_case, random_data

ROWS = random_data(7, 3, 3, seed=3, weights=True)
THETA = np.array([0.3, -1.2, 0.7])
GENERAL = numpy_problem(random_case(3, 20.0, noise=0.4, seed=8, pretrain_condition=4.0))
STEPS = np.array([0, 1, 2, 1001])


def determined(solution):
    """Without the condition number, which carries no derivative."""
    return solution.theta, solution.rank, solution.residual


def numbers(path):
    """Without the counts, which are known before any number is."""
    return path.temperatures, path.theta, path.mean_weight


NETWORK = network("wide, one output", seed=4)


def linearized(params, X, y, weights):
    """Of several methods what no sign of an eigenvector changes."""
    lin = lt.linearize(tanh_network, params, X, y)
    modes = lin.modes(weights, 2)
    return (
        lin.gradient(weights),
        lin.jvp(lin.gradient(weights)),
        lin.spectrum(2, weights).values,
        modes.ratios,
        lin.curvature_ratio(modes.directions, weights),
        lin.iterate((0, 3, 1001), 0.05, weights),
    )


def stalled(problem, temperature):
    """Without the bounds, which have no derivatives."""
    found = lt.stall(problem, temperature)
    return found.rate, found.direction, found.overlap, found.half_life


def undone(X, y, start, temperature):
    """Of the minimiser, as it takes no other."""
    return lt.undo_averaging(X, y, start, lt.standard_errors(X, y, start, temperature).theta, temperature)


# name -> (function of arrays only, its arguments)
CALLS = {
    "paper_problem": (lt.paper_problem, (0.6, 2.0)),
    "median_temperature": (lt.median_temperature, (np.array([1.0, 3.0, 2.0]),)),
    "flow_weights": (lt.flow_weights, (np.array([1.0, 3.0, 2.0]), 0.7)),
    "effective_sample_size": (lt.effective_sample_size, (np.array([1.0, 3.0, 2.0]),)),
    "weight_mass": (lt.weight_mass, (GENERAL, 0.7)),
    "weighted_covariance": (lt.weighted_covariance, (GENERAL, 0.7)),
    "population_median_temperature": (lt.population_median_temperature, (GENERAL,)),
    "iterate": (lambda p, t: lt.iterate(p, STEPS, temperature=t), (GENERAL, 0.7)),
    "stable_learning_rate": (lt.stable_learning_rate, (GENERAL, 0.7)),
    "gradient_flow": (lt.gradient_flow, (GENERAL, np.array([0.3, 1.0, 2.0]), 0.7)),
    "fixed_point": (lt.fixed_point, (GENERAL, 0.7)),
    "residual_tilt": (lt.residual_tilt, (0.7, np.array([0.5, 2.0]))),
    "displacement": (lt.displacement, (GENERAL, 0.7)),
    "population_effective_sample_size": (lt.population_effective_sample_size, (GENERAL, 0.7)),
    "stall": (stalled, (GENERAL, 0.7)),
    "best_early_stop": (lt.best_early_stop, (GENERAL,)),
    "best_flow": (lambda problem: lt.best_flow(problem).total_error, (GENERAL,)),
    "best_temperature": (lambda p, eta: lt.best_temperature(p, 4, eta).total_error, (GENERAL, 0.2)),
    "ridge_optimum": (lt.ridge_optimum, (GENERAL, 0.3, 0.7, np.eye(3))),
    "ridge_optimum, identity": (lt.ridge_optimum, (GENERAL, 0.3, 0.7)),
    "sgd_stability_limit": (lt.sgd_stability_limit, (GENERAL, 0.7)),
    "sgd_errors": (lambda p, eta, t: lt.sgd_errors(p, np.array([0, 5]), eta, t), (GENERAL, 0.05, 0.7)),
    "sgd_error": (lambda p, eta, t: lt.sgd_error(p, np.array([0, 5]), eta, t), (GENERAL, 0.05, 0.7)),
    "stall_parameter": (lt.stall_parameter, (0.7, 0.6, 2.0)),
    "stall_temperature": (lt.stall_temperature, (0.7, 0.6, 2.0)),
    "stall_spectrum": (lt.stall_spectrum, (1.2, 0.6)),
    "stall_direction": (lt.stall_direction, (1.2, 0.6)),
    "squared_mass": (lt.squared_mass, (1.2, 0.6)),
    "half_life": (lt.half_life, (1.2, 0.6)),
    "closed_form": (lambda b, r: lt.closed_form(b, r, STEPS), (1.2, 0.6)),
    "stall_approximation": (lambda b, r: lt.stall_approximation(b, r, STEPS), (1.2, 0.6)),
    "model_average_weight": (lambda b, r: lt.model_average_weight(b, r, STEPS), (1.2, 0.6)),
    "pretrain_error": (lt.pretrain_error, (GENERAL, THETA)),
    "target_error": (lt.target_error, (GENERAL, THETA)),
    "total_error": (lt.total_error, (GENERAL, THETA)),
    "gap_closed": (lt.gap_closed, (GENERAL, THETA)),
    "model_average": (lt.model_average, (GENERAL, 0.3)),
    "best_average_weight": (lt.best_average_weight, (GENERAL,)),
    "best_model_average": (lt.best_model_average, (GENERAL,)),
    "joint_optimum": (lt.joint_optimum, (GENERAL,)),
    "hard_sample_error": (lt.hard_sample_error, (GENERAL, THETA, 0.1)),
    "solve": (lambda *rows: determined(lt.solve(*rows)), (ROWS.X, ROWS.y, ROWS.start, ROWS.weights, 0.1)),
    "temperature_path": (
        lambda *rows: numbers(lt.temperature_path(*rows)),
        (ROWS.X, ROWS.y, ROWS.start, np.array([0.5, 3.0]), 0.1),
    ),
    "checkpoint_weights": (lambda p, eta, t: lt.checkpoint_weights(p, 4, eta, t), (GENERAL, 0.2, 0.7)),
    "standard_errors": (lt.standard_errors, (ROWS.X, ROWS.y, ROWS.start, 2.0)),
    "undo_averaging": (undone, (ROWS.X, ROWS.y, ROWS.start, 2.0)),
    "descend": (lambda *a: lt.descend(*a, steps=4), (ROWS.X, ROWS.y, ROWS.start, ROWS.weights)),
    "linearize": (linearized, (NETWORK.params, NETWORK.X, NETWORK.y, NETWORK.weights)),
    "diagnose": (lt.diagnose, (ROWS.X, ROWS.y, ROWS.start, 2.0, np.eye(3))),
    "NormalEquations": (lt.NormalEquations.of, (ROWS.X, ROWS.y, ROWS.start, ROWS.weights)),
}
CALL = pytest.mark.parametrize(("function", "arguments"), CALLS.values(), ids=CALLS.keys())


def to_jax(arguments, dtype=jnp.float64):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=dtype), arguments)


def agree(got, want, loss, eps=EPS):
    """Leaf by leaf, to loss · ε of that precision."""
    leaves, wanted = jax.tree.leaves(got), jax.tree.leaves(want)
    return len(leaves) == len(wanted) and all(
        near(leaf, reference, loss * eps / EPS) for leaf, reference in zip(leaves, wanted, strict=True)
    )


def test_every_public_function_is_here():
    functions = {name for name in lt.__all__ if inspect.isfunction(getattr(lt, name))}
    assert functions <= set(CALLS)


def numbers_in(result):
    """Whatever has no axes in a result, however deep."""
    if dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            if field.name != "carry":  # what merged sums keep for themselves
                yield from numbers_in(getattr(result, field.name))
    elif isinstance(result, tuple | list):
        for part in result:
            yield from numbers_in(part)
    elif result is not None and np.ndim(result) == 0:
        yield result


@CALL
def test_a_number_comes_back_as_one_kind(function, arguments):
    """NumPy's scalar: never an array without axes, never Python's own."""
    for number in numbers_in(function(*arguments)):
        assert isinstance(number, np.float64 | np.int64), type(number)


@CALL
def test_under_jit_it_is_numpy(function, arguments):
    want = function(*arguments)
    for leaf in jax.tree.leaves(want):
        assert not isinstance(leaf, jax.Array)
    assert agree(jax.jit(function)(*to_jax(arguments)), want, 2e3)


def stays_float32(result):
    return all(
        leaf.dtype == jnp.float32 or jnp.issubdtype(leaf.dtype, jnp.integer)
        for leaf in jax.tree.leaves(result)
    )


@CALL
def test_float32_stays_float32(function, arguments):
    """With float64 at hand and strict promotion: nothing of the package's own widens it."""
    got = jax.jit(function)(*to_jax(arguments, jnp.float32))
    assert stays_float32(got)
    assert agree(got, function(*arguments), 2e3, float(jnp.finfo(jnp.float32).eps))


@CALL
def test_one_jax_argument_among_numpy_decides(function, arguments):
    for k, one in enumerate(arguments):
        mixed = lambda a, k=k: function(*arguments[:k], a, *arguments[k + 1 :])
        assert stays_float32(jax.eval_shape(mixed, to_jax(one, jnp.float32)))


@pytest.mark.parametrize("name", ["iterate", "solve", "closed_form", "weight_mass", "flow_weights"])
def test_without_jit_too(name):
    function, arguments = CALLS[name]
    for k, one in enumerate(arguments):
        got = function(*arguments[:k], to_jax(one, jnp.float32), *arguments[k + 1 :])
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))
        assert stays_float32(got)


@functools.cache
def side_by_side(function):
    """Compiled once, for every batch of two."""
    return jax.jit(jax.vmap(function))


def stacked(*batch):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(to_jax, batch))


@CALL
def test_vmap_is_a_loop(function, arguments):
    batch = [arguments, jax.tree.map(lambda leaf: 0.95 * np.asarray(leaf), arguments)]
    got = side_by_side(function)(*stacked(*batch))
    for k, one in enumerate(batch):
        assert agree(jax.tree.map(lambda leaf, k=k: leaf[k], got), function(*one), 2e3)


@CALL
def test_grad_is_the_central_difference(function, arguments):
    """Along one random direction of all arguments; the difference errs by h² and ε/h, best at h = ε^(1/3)."""
    leaves, structure = jax.tree.flatten(to_jax(arguments))
    rng = np.random.default_rng(0)
    moves = [jnp.asarray(rng.uniform(0.02, 0.04, leaf.shape)) for leaf in leaves]
    moves = [m + m.T if m.ndim == 2 and m.shape[0] == m.shape[1] else m for m in moves]

    def moved(h):
        there = [leaf + h * move for leaf, move in zip(leaves, moves, strict=True)]
        return jax.tree.unflatten(structure, there)

    def squares(result):
        """An eigenvector has no sign, and a rank no derivative."""
        numbers = [r for r in jax.tree.leaves(result) if jnp.issubdtype(r.dtype, jnp.floating)]
        return sum((r**2).sum() for r in numbers)

    slope, h = jax.jit(jax.grad(lambda h: squares(function(*moved(h)))))(0.0), EPS ** (1 / 3)
    both = jax.tree.map(np.asarray, side_by_side(function)(*stacked(moved(h), moved(-h))))
    ahead, behind = (squares(jax.tree.map(lambda leaf, k=k: leaf[k], both)) for k in (0, 1))
    assert np.isfinite(slope)
    assert abs(slope - (ahead - behind) / (2 * h)) <= 1e3 * h**2 * (
        abs(slope) + squares(function(*arguments))
    )


# ----------------------------------------------------------------------------------- what may be traced


def test_a_problem_is_an_argument_of_jit_and_vmap():
    problems = jax.jit(jax.vmap(lambda r: lt.paper_problem(r, noise_variance=0.1)))(
        jnp.array([0.0, 0.3, 0.6])
    )
    assert problems.target_covariance.shape == (3, 2, 2)
    got = jax.jit(jax.vmap(lambda p: lt.iterate(p, 5, temperature=1.0)))(problems)
    for rho, row in zip((0.0, 0.3, 0.6), got, strict=True):
        assert near(row, lt.iterate(lt.paper_problem(rho, noise_variance=0.1), 5, temperature=1.0), 100)
    assert isinstance(jax.jit(lambda p: p)(lt.paper_problem(0.3)), lt.FineTuningProblem)


def test_steps_may_be_traced_or_large_constants():
    problem = lt.paper_problem(0.6)
    compiled = jax.jit(lambda k: lt.iterate(problem, k, temperature=1.0))
    for k in (0, 1, 2, 10, 10**12):
        assert near(compiled(k), lt.iterate(problem, k, temperature=1.0), 100, 1.0)
    rows = jax.vmap(compiled)(jnp.arange(4))
    assert near(rows, lt.iterate(problem, np.arange(4), temperature=1.0), 100)
    static = jax.jit(lambda t: lt.iterate(problem, 10**400 + 1, temperature=t))
    assert not np.asarray(static(1.0)).any()
    forms = jax.jit(lambda k: (lt.closed_form(0.5, 0.5, k), lt.stall_approximation(0.5, 0.5, k)))
    assert agree(forms(3), (lt.closed_form(0.5, 0.5, 3), lt.stall_approximation(0.5, 0.5, 3)), 100)
    with pytest.raises(lt.InvalidTypeError, match="static"):
        jax.jit(lambda k: lt.sgd_error(problem, k, 0.1))(3)


def test_vmap_over_temperature():
    problem = lt.paper_problem(0.6, noise_variance=0.1)
    taus = jnp.array([0.1, 1.0, jnp.inf])
    rows = jax.jit(jax.vmap(lambda t: lt.iterate(problem, 4, temperature=t)))(taus)
    for tau, row in zip((0.1, 1.0, math.inf), rows, strict=True):
        assert near(row, lt.iterate(problem, 4, temperature=tau), 100)


def test_a_rule_may_carry_a_traced_number():
    got = jax.jit(lambda c: lt.weight_mass(GENERAL, HardThreshold(c)))(1.0)
    assert near(got, lt.weight_mass(GENERAL, HardThreshold(1.0)), 100)
    assert near(jax.jit(lt.weight_mass)(GENERAL, Flow(1.0)), lt.weight_mass(GENERAL, 1.0), 100)
    assert jax.jit(lambda p: lt.weight_mass(p, Uniform()))(GENERAL) == 1


BAD = {
    "temperature": lambda v: lt.weight_mass(GENERAL, -v),
    "temperature of the path": lambda v: lt.iterate(GENERAL, 3, temperature=-v),
    "temperature of SGD": lambda v: lt.sgd_error(GENERAL, 3, 0.1, -v),
    "KL-DRO under SGD": lambda v: lt.sgd_error(GENERAL, 3, 0.1, KLDRO(1e-3 * v)),
    "ρ": lambda v: lt.stall_spectrum(0.5, v),
    "β": lambda v: lt.closed_form(3 * v, 0.5, 2),
    "ρ of the problem": lambda v: lt.iterate(lt.paper_problem(v), 1),
    "steps": lambda v: lt.iterate(GENERAL, -v.astype(int)),
    "learning rate": lambda v: lt.iterate(GENERAL, 3, -v),
    "time": lambda v: lt.gradient_flow(GENERAL, -v),
    "default step": lambda v: lt.iterate(
        lt.FineTuningProblem(jnp.ones(2), jnp.zeros(2), 3 * v * jnp.array([[1.0, 0.1], [0.1, 1.0]])), 3
    ),
    "noise": lambda v: lt.weight_mass(
        lt.FineTuningProblem(jnp.ones(1), jnp.zeros(1), jnp.eye(1), None, -v), 1.0
    ),
    "losses": lambda v: lt.flow_weights(-v * jnp.ones(3), 1.0),
    "median": lambda v: lt.median_temperature(0.0 * v * jnp.ones(3)),
    "underflow": lambda v: lt.flow_weights(v * jnp.ones(3), 1e-5),
    "fraction": lambda v: lt.hard_sample_error(GENERAL, THETA, 2 * v),
    "weights": lambda v: lt.solve(ROWS.X, ROWS.y, ROWS.start, -v * jnp.ones(7)).residual,
    "ridge": lambda v: lt.solve(ROWS.X, ROWS.y, ROWS.start, ridge=-v).theta,
    "labels": lambda v: lt.solve(ROWS.X, jnp.inf * v * jnp.ones(7), ROWS.start).theta,
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD.keys())
def test_under_tracing_a_bad_value_is_nan(call):
    for leaf in jax.tree.leaves(jax.jit(call)(1.0)):
        assert np.isnan(leaf).any()
    with pytest.raises(lt.InvalidValueError):
        call(jnp.asarray(1.0))
