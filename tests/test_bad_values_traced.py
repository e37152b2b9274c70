"""Under tracing a value cannot be looked at: there what would be an error makes NaN of all that depends on it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.covariance import IdentityPlusLowRank
from tests.doors import WHOLE
from tests.test_bad_input import TABLE

SETTINGS = ("GradientDescent", "HeavyBall", "Nesterov", "ConjugateGradient", "StochasticGradient")
LOOKED_AT = {"solve", "temperature_path", "descend", "diagnose"}
"""Their counts say nothing of the answer; what they answer is asked for below."""


STEPS_TRACED = {"iterate", "closed_form", "model_average_weight", "stall_approximation"}
"""Elsewhere the length of a loop must be known."""

IN_NUMPY = {
    lt.experts.iterate,
    lt.experts.mean_weight,
    lt.experts.curvature,
    lt.high_dimension.optimum,
    lt.high_dimension.path,
    lt.sequences.sampled,
}
"""They cannot be traced at all, and say so."""


def refused(function, call):
    try:
        function(**call)
    except lt.InvalidValueError:
        return True
    return False


def bad_values():
    """Of every argument in the table of bad input, two values of the right shape and type."""
    for row, (function, good, bad) in enumerate(TABLE):
        if function.__qualname__ in SETTINGS:
            continue
        for name, values in bad.items():
            if name in WHOLE or name not in good or not isinstance(good[name], np.ndarray | float | int):
                continue
            like, found = np.asarray(good[name]), []
            for value in values:
                try:
                    array = np.asarray(value)
                except (ValueError, TypeError):
                    continue
                if array.dtype.kind == like.dtype.kind and array.shape == like.shape:
                    found.append(array)
            for array in sorted(found, key=lambda a: bool(np.isnan(a).any()))[:2]:
                yield pytest.param(row, name, array, id=f"{function.__qualname__}-{name}-{array.tolist()}")


def answers(function, result):
    """The floats of what is answered."""
    if function.__qualname__ in LOOKED_AT:
        names = (
            "theta",
            "residual",
            "condition",
            "error_bound",
            "loss",
            "shift",
            "weighted_shift",
            "target_errors",
            "forgetting",
            "half_life",
        )
        result = [getattr(result, name) for name in names if hasattr(result, name)]
    return [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]


BAD_VALUES = list(bad_values())


@functools.cache
def compiled(row):
    """The function of that row, of all that may be bad at once: what is compiled serves every bad value."""
    function, good, _ = TABLE[row]
    names = {case.values[1] for case in BAD_VALUES if case.values[0] == row}
    if function.__qualname__ not in STEPS_TRACED:
        names.discard("steps")
    arrays = {name: jnp.asarray(good[name]) for name in sorted(names)}
    traced = jax.jit(lambda arrays: answers(function, function(**good | arrays)))
    return traced, arrays, traced(arrays)


@pytest.mark.parametrize(("row", "name", "bad"), BAD_VALUES)
def test_no_answer_that_depends_on_a_bad_value_is_finite(row, name, bad):
    function, good, _ = TABLE[row]
    if function in IN_NUMPY:
        with pytest.raises(lt.InvalidTypeError, match=r"trac|must be known"):
            jax.eval_shape(lambda value: function(**good | {name: value}), bad)
        return
    if not refused(function, good | {name: bad}):
        return  # bad beside another argument only
    if name == "steps" and function.__qualname__ not in STEPS_TRACED:
        with pytest.raises(lt.InvalidTypeError, match="must be known"):
            jax.eval_shape(lambda value: function(**good | {name: value}), jnp.asarray(bad))
        return
    traced, arrays, right = compiled(row)
    wrong = traced(arrays | {name: jnp.asarray(bad)})
    assert not any(np.isnan(leaf).any() for leaf in right)
    changed = [not np.array_equal(one, other) for one, other in zip(right, wrong, strict=True)]
    assert any(changed)
    for leaf, depends in zip(wrong, changed, strict=True):
        assert np.isnan(leaf).any() or not depends


# --------------------------------------------------------------------------------------------- covariances

GOOD = [[[1.0, 0.5], [0.5, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]]]
BAD = [
    [[1.0, 0.5], [0.4, 1.0]],
    [[1.0, 2.0], [2.0, 1.0]],
    [[1.0, 0.0], [0.0, -1e-6]],
    [[1.0, 0.0], [0.0, np.inf]],
    [[1.0, np.nan], [np.nan, 1.0]],
]
ASK = {
    "iterate": lambda p: lt.iterate(p, 3, 0.1),
    "weighted": lambda p: lt.iterate(p, 3, 0.1, 1.0),
    "flow": lambda p: lt.gradient_flow(p, 1.0, 2.0),
    "limit": lambda p: lt.fixed_point(p, 2.0),
    "mass": lambda p: lt.weight_mass(p, 1.0),
    "sgd": lambda p: lt.sgd_error(p, 3, 0.1),
    "total": lambda p: lt.total_error(p, jnp.array([2.0, 3.0])),
    "average": lt.best_model_average,
    "hard": lambda p: lt.hard_sample_error(p, jnp.array([2.0, 3.0]), 0.2),
}
START, END = jnp.array([1.0, 0.5]), jnp.array([0.0, 0.25])
WHERE = {
    "target": lambda C: lt.FineTuningProblem(START, END, C),
    "pretrain": lambda C: lt.FineTuningProblem(START, END, jnp.eye(2), C),
    "low rank": lambda C: lt.FineTuningProblem(START, END, IdentityPlusLowRank(jnp.eye(2), C, 0.0)),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK.keys())
@pytest.mark.parametrize("make", WHERE.values(), ids=WHERE.keys())
def test_a_bad_covariance_is_nan_and_only_that(make, ask):
    """Everything that is asked of a bad problem, also what that covariance plays no part in; under vmap each alone."""
    found = jax.jit(jax.vmap(lambda C: ask(make(C))))(jnp.array(GOOD + BAD))
    for value, matrix in zip(found, GOOD, strict=False):
        assert np.allclose(value, ask(make(np.array(matrix))), rtol=1e-12, atol=1e-15)
    assert np.isnan(found[len(GOOD) :]).all()
    for matrix in BAD:
        with pytest.raises(lt.InvalidValueError):
            make(np.array(matrix))


@pytest.mark.parametrize("matrix", GOOD)
def test_the_check_leaves_derivatives_alone(matrix):
    """Of (θ − θ*)ᵀΣ(θ − θ*) = the outer product, at full rank and at a zero eigenvalue; nothing to second order."""
    theta = jnp.array([2.0, 3.0])
    error = lambda C: lt.pretrain_error(lt.FineTuningProblem(START, END, jnp.eye(2), C), theta)
    want = np.outer(theta - START, theta - START)
    assert np.array_equal(jax.grad(error)(jnp.array(matrix)), want)
    assert np.array_equal(jax.jit(jax.jacfwd(error))(jnp.array(matrix)), want)
    assert not np.any(jax.hessian(error)(jnp.array(matrix)))
