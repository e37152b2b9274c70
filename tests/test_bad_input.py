"""Bad input: one exception of the package's own family, naming the argument, its value and what would be right.

A table: for each public function a good call, and for each of its arguments the values it must refuse.
"""

from __future__ import annotations

import inspect
import math

import jax
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.descent import ConjugateGradient, GradientDescent, HeavyBall, Nesterov, StochasticGradient
from linear_theory.weights import (
    KLDRO,
    Cauchy,
    Clipped,
    Flow,
    Focal,
    HardSamples,
    HardThreshold,
    Huber,
    Power,
    Tukey,
)
from tests.networks import tanh_network

P = lt.paper_problem(0.6, noise_variance=0.1)
THETA = np.array([1.0, 2.0])
X = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.1]])
Y = np.array([1.0, 2.0, 3.0])
START = np.zeros(2)
LOSSES = np.array([0.5, 1.0, 2.0])

DURATION = np.timedelta64(3, "ns")
NOT_NUMBERS = [
    "one",
    None,
    1j,
    True,
    [[1], [1, 2]],
    np.array([1, None], dtype=object),
    {},
    {1.0},
    DURATION,
    iter([1.0]),
    jax.random.key(0),
]
NOT_SCALARS = [*NOT_NUMBERS, [1.0, 2.0], math.nan]
POSITIVE = [*NOT_SCALARS, 0.0, -1.0, -math.inf]
FINITE_POSITIVE = [*POSITIVE, math.inf]
NON_NEGATIVE = [*NOT_SCALARS, -1e-300, math.inf]
TEMPERATURE = [*POSITIVE, Flow]
OPTIONAL = lambda table: [value for value in table if value is not None]
NOT_INTEGERS = [
    "3",
    None,
    1j,
    True,
    2.0,
    [1.0],
    [True],
    [[1], [1, 2]],
    -1,
    [3, -1],
    np.array([1.5]),
    math.nan,
    DURATION,
    np.array([3], dtype="m8[ns]"),
    iter([1]),
    jax.random.key(0),
]
STEPS = [*NOT_INTEGERS, [[1]]]
RATE = OPTIONAL(FINITE_POSITIVE)
MOMENTUM = [*OPTIONAL(NOT_SCALARS), 1.0, -0.1]
PROBLEM = [None, "problem", P.pretrained, lt.paper_problem, 3.0]
THETAS = [*NOT_NUMBERS, 1.0, [1.0], [1.0, 2.0, 3.0], [1.0, math.nan], [math.inf, 0.0], [[1.0], [2.0]]]
VECTOR = [*NOT_NUMBERS, 1.0, [], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]]
LABELS = [*NOT_NUMBERS, 1.0, [], [1.0], [1.0, 2.0, math.nan], [1.0, 2.0, math.inf], [[1.0, 2.0, 3.0]]]
ROWS = [
    *NOT_NUMBERS,
    1.0,
    [],
    THETA,
    np.zeros((0, 2)),
    np.zeros((3, 0)),
    np.zeros((4, 2)),
    np.zeros((3, 3)),
    np.zeros((3, 2, 1)),
    X * math.nan,
    np.full((3, 2), math.inf),
]
MATRIX = [
    *NOT_NUMBERS,
    1.0,
    THETA,
    np.eye(3),
    np.eye(2)[:1],
    np.array([[1.0, 0.5], [0.4, 1.0]]),
    np.diag([1.0, -1e-6]),
    np.array([[1.0, 2.0], [2.0, 1.0]]),
    np.full((2, 2), math.nan),
    np.diag([1.0, math.inf]),
]
SAMPLE_LOSSES = [*NOT_NUMBERS, 1.0, [], [1.0, -1e-300], [1.0, math.nan], [math.inf], [[1.0, 2.0]]]
WEIGHTS = [
    *OPTIONAL(NOT_NUMBERS),
    1.0,
    [],
    [1.0],
    [1, 1, -1e-300],
    [1, 1, math.nan],
    [1, 1, math.inf],
    [[1, 1, 1]],
]
COLUMN_SCALE = [
    *OPTIONAL(NOT_NUMBERS),
    1.0,
    [],
    [1.0],
    [-1.0, 1.0],
    [math.nan, 1.0],
    [math.inf, 1.0],
    [[1.0, 1.0]],
]
RHO = [*NOT_NUMBERS, -0.1, 1.0, 1.5, math.nan, -math.inf]
BETA = [*NOT_NUMBERS, 0.0, -1.0, 2.01, math.inf, math.nan]
NORM = [*NOT_NUMBERS, 0.0, -1.0, math.inf, math.nan]

NETWORK = {"a": np.array([[0.5, -1.0], [1.0, 0.2]]), "b": np.array([0.1, -0.3]), "c": np.array([1.0, 2.0])}
LINEARIZED = lt.linearize(tanh_network, NETWORK, X, Y)
ANY = np.linspace(1.0, 2.0, LINEARIZED.dim)
ALONG = [*NOT_NUMBERS, 1.0, [], [1.0], np.append(ANY, 1.0), ANY[None, None], math.nan * ANY, [[1.0, 2.0]]]
COUNT = [0, -1, 4, 2.0, "2", None, True, [2]]
NETWORK_WITH = lambda c: NETWORK | {"c": c}
PARAMS = [
    None,
    "one",
    {},
    [],
    NETWORK_WITH("one"),
    NETWORK_WITH(True),
    NETWORK_WITH(1j * NETWORK["c"]),
    NETWORK_WITH(NETWORK["c"] > 0),
    NETWORK_WITH(math.nan * NETWORK["c"]),
    NETWORK_WITH(np.array([None, 1.0], dtype=object)),
    NETWORK_WITH(jax.numpy.tanh),
]


class Unhashable:
    __hash__ = None

    def __call__(self, params, X):
        return tanh_network(params, X)


PREDICT = [
    None,
    "tanh",
    3.0,
    Unhashable(),
    lambda p, X: tanh_network(p, X).sum(),
    lambda p, X: tanh_network(p, X)[:2],
    lambda p, X: tanh_network(p, X)[:, None, None],
    lambda p, X: [1.0, 2.0, 3.0],
    lambda p, X: (tanh_network(p, X),),
    lambda p, X: tanh_network(p, X) > 0,
    lambda p, X: jax.numpy.arange(len(X)),
    lambda p, X: tanh_network(p, X).astype(complex),
    lambda p, X: tanh_network(p, X) * math.nan,
    lambda p, X: tanh_network(p, X) - tanh_network(p, X).mean(),
    lambda p, X: jax.numpy.cumsum(tanh_network(p, X)),
    lambda p, X: tanh_network(p, X).reshape(3),
]

OPTIMA, COVARIANCES = np.array([[1.0, 2.0], [0.5, -1.0]]), np.stack([np.eye(2), np.diag([1.0, 0.0])])
SEVERAL = [*NOT_NUMBERS, 1.0, THETA, np.zeros((0, 2)), np.zeros((2, 0)), OPTIMA * math.nan, OPTIMA[None]]
ONE_A_TASK = [*NOT_NUMBERS, [1.0, 1.0, 1.0], 0.0, [1.0, -1.0], math.nan, [[1.0, 1.0]]]
MATRICES = [
    *NOT_NUMBERS,
    np.eye(2),
    COVARIANCES[:1],
    np.full((2, 2, 2), math.inf),
    np.stack([np.eye(2), np.array([[1.0, 0.5], [0.4, 1.0]])]),
    np.stack([np.eye(2), np.diag([1.0, -1e-6])]),
]

FAMILY = [None, "logistic", lt.experts.Logistic, 3.0]
VECTORS = [*NOT_NUMBERS, 1.0, [1.0, math.nan], [1.0, math.inf]]
ON_LABELS = {
    "problem": lt.FineTuningProblem(THETA, np.zeros(2), np.eye(2)),
    "family": lt.experts.Logistic(),
    "temperature": 1.0,
}
ON_PROBLEM = {"problem": P, "temperature": 1.0}
STALL = {"beta": 0.5, "rho": 0.5}
DATA = {"X": X, "y": Y, "start": START}

TABLE = [
    (
        lt.FineTuningProblem,
        {"pretrained": THETA, "target": START, "target_covariance": np.eye(2)},
        {
            "pretrained": VECTOR,
            "target": VECTOR,
            "target_covariance": MATRIX,
            "pretrain_covariance": OPTIONAL(MATRIX),
            "noise_variance": NON_NEGATIVE,
        },
    ),
    (
        lt.paper_problem,
        {"rho": 0.5},
        {
            "rho": [*RHO, [0.1, 0.2]],
            "shift_norm": NON_NEGATIVE,
            "dim": [0, -1, 2.0, "2", None, True, [2], DURATION, 2**60, 10**400, jax.random.key(0)],
            "pretrain_covariance": OPTIONAL(MATRIX),
            "noise_variance": NON_NEGATIVE,
        },
    ),
    (lt.median_temperature, {"losses": LOSSES}, {"losses": SAMPLE_LOSSES}),
    (lt.flow_weights, {"losses": LOSSES}, {"losses": SAMPLE_LOSSES, "temperature": OPTIONAL(POSITIVE)}),
    (lt.effective_sample_size, {"weights": LOSSES}, {"weights": [*SAMPLE_LOSSES, [0.0, 0.0]]}),
    (lt.weight_mass, ON_PROBLEM, {"problem": PROBLEM, "temperature": TEMPERATURE}),
    (lt.weighted_covariance, ON_PROBLEM, {"problem": PROBLEM, "temperature": TEMPERATURE}),
    (lt.stable_learning_rate, ON_PROBLEM, {"problem": PROBLEM, "temperature": TEMPERATURE}),
    *(
        (each, ON_PROBLEM, {"problem": PROBLEM, "temperature": TEMPERATURE})
        for each in (lt.fixed_point, lt.displacement, lt.stall)
    ),
    *(
        (each, ON_PROBLEM, {"problem": PROBLEM, "temperature": [*TEMPERATURE, KLDRO(0.5)]})
        for each in (lt.population_effective_sample_size,)
    ),
    (
        lt.sgd_stability_limit,
        ON_PROBLEM,
        {"problem": PROBLEM, "temperature": [*TEMPERATURE, HardThreshold(1.0), KLDRO(0.5)]},
    ),
    (
        lt.residual_tilt,
        {"temperature": 1.0, "variance": 0.5},
        {"temperature": [*TEMPERATURE, KLDRO(0.5)], "variance": [*NOT_NUMBERS, -1.0, math.nan, math.inf]},
    ),
    (lt.population_median_temperature, {"problem": P}, {"problem": PROBLEM}),
    (
        lt.iterate,
        {"problem": P, "steps": 3},
        {
            "problem": PROBLEM,
            "steps": STEPS,
            "learning_rate": OPTIONAL(FINITE_POSITIVE),
            "temperature": TEMPERATURE,
        },
    ),
    (
        lt.checkpoint_weights,
        {"problem": P, "steps": 3},
        {
            "problem": PROBLEM,
            "steps": [*STEPS, [3], 10**12],
            "learning_rate": OPTIONAL(FINITE_POSITIVE),
            "temperature": TEMPERATURE,
        },
    ),
    *(
        (
            each,
            {first: THETA, second: np.ones(2), "temperature": 2.0},
            {first: [*VECTORS, []], second: [*VECTORS, [1.0], [[1.0, 2.0]]], "temperature": POSITIVE},
        )
        for each, first, second in (
            (lt.experts.fixed_point, "pretrained", "target"),
            (lt.experts.undo, "fitted", "pretrained"),
        )
    ),
    (
        lt.experts.sharpening,
        {"temperature": 2.0},
        {"temperature": [*NOT_NUMBERS, 0.0, -1.0, math.nan, [1.0, 0.0]]},
    ),
    (
        lt.experts.mean_weight,
        ON_LABELS,
        {"problem": [*PROBLEM, P], "family": FAMILY, "temperature": POSITIVE},
    ),
    (
        lt.experts.iterate,
        ON_LABELS | {"steps": 3, "learning_rate": 0.1},
        {
            "problem": [*PROBLEM, P],
            "family": FAMILY,
            "steps": [*STEPS, [], 10**7],
            "learning_rate": FINITE_POSITIVE,
            "temperature": POSITIVE,
        },
    ),
    (
        lt.experts.curvature,
        ON_LABELS | {"theta": THETA, "direction": THETA},
        {
            "problem": [*PROBLEM, P],
            "family": FAMILY,
            "theta": THETAS,
            "direction": THETAS,
            "temperature": POSITIVE,
        },
    ),
    (
        lt.high_dimension.optimum,
        {"problem": P, "ratio": 0.5},
        {
            "problem": PROBLEM,
            "ratio": [*FINITE_POSITIVE, 1.0],
            "ridge": NON_NEGATIVE,
            "temperature": [*TEMPERATURE, KLDRO(9.0)],
        },
    ),
    (
        lt.high_dimension.path,
        {"problem": P, "ratio": 0.5, "steps": 3},
        {
            "problem": PROBLEM,
            "ratio": FINITE_POSITIVE,
            "time": [1.0],
            "steps": OPTIONAL(STEPS),
            "learning_rate": RATE,
            "temperature": [*TEMPERATURE, KLDRO(9.0)],
        },
    ),
    (
        lt.gradient_flow,
        {"problem": P, "time": 1.0},
        {
            "problem": PROBLEM,
            "time": [*NOT_NUMBERS, -1.0, math.nan, [1.0, -1.0], [[1.0]], -math.inf],
            "temperature": TEMPERATURE,
        },
    ),
    *(
        (
            each,
            {"problem": P, "steps": 3, "learning_rate": 0.1},
            {
                "problem": PROBLEM,
                "steps": [*STEPS, 10**12, 10**400],
                "learning_rate": FINITE_POSITIVE,
                "temperature": [*TEMPERATURE, HardThreshold(1.0)],
            },
        )
        for each in (lt.sgd_error, lt.sgd_errors)
    ),
    (
        lt.stall_parameter,
        {"temperature": 1.0, "rho": 0.5},
        {"temperature": [*NOT_NUMBERS, 0.0, -1.0, math.nan], "rho": RHO, "shift_norm": NORM},
    ),
    (lt.stall_temperature, STALL, {"beta": BETA, "rho": RHO, "shift_norm": NORM}),
    (lt.squared_mass, STALL, {"beta": BETA, "rho": RHO}),
    (lt.stall_spectrum, STALL, {"beta": BETA, "rho": RHO}),
    (lt.stall_direction, STALL, {"beta": BETA, "rho": RHO}),
    (lt.half_life, STALL, {"beta": BETA, "rho": RHO}),
    (lt.closed_form, {**STALL, "steps": 3}, {"beta": BETA, "rho": RHO, "steps": NOT_INTEGERS}),
    (lt.stall_approximation, {**STALL, "steps": 3}, {"beta": BETA, "rho": RHO, "steps": NOT_INTEGERS}),
    (lt.model_average_weight, {**STALL, "steps": 3}, {"beta": BETA, "rho": RHO, "steps": NOT_INTEGERS}),
    *(
        (error, {"problem": P, "theta": THETA}, {"problem": PROBLEM, "theta": THETAS})
        for error in (lt.pretrain_error, lt.target_error, lt.total_error, lt.gap_closed)
    ),
    (
        lt.model_average,
        {"problem": P, "omega": 0.5},
        {"problem": PROBLEM, "omega": [*NOT_NUMBERS, math.nan, math.inf, [[0.5]]]},
    ),
    *(
        (each, {"problem": P}, {"problem": PROBLEM})
        for each in (
            lt.best_average_weight,
            lt.best_model_average,
            lt.best_early_stop,
            lt.best_flow,
            lt.joint_optimum,
        )
    ),
    (
        lt.best_temperature,
        {"problem": P, "steps": 3},
        {
            "problem": PROBLEM,
            "steps": OPTIONAL([*STEPS, [3], 0, 10**13]),
            "learning_rate": OPTIONAL(FINITE_POSITIVE),
        },
    ),
    (
        lt.ridge_optimum,
        {"problem": P, "ridge": 0.5},
        {
            "problem": PROBLEM,
            "ridge": FINITE_POSITIVE,
            "temperature": TEMPERATURE,
            "metric": OPTIONAL(MATRIX),
        },
    ),
    (
        lt.hard_sample_error,
        {"problem": P, "theta": THETA, "fraction": 0.1},
        {"problem": PROBLEM, "theta": THETAS, "fraction": [*POSITIVE, 1.0000001, math.inf]},
    ),
    (
        lt.sequences.flow,
        {"optima": OPTIMA, "temperatures": 1.0, "noise_variances": 0.5},
        {
            "optima": SEVERAL,
            "temperatures": ONE_A_TASK,
            "noise_variances": [*NOT_NUMBERS, [1.0, 1.0, 1.0], -1.0, math.nan, math.inf],
            "start": OPTIONAL(VECTOR),
        },
    ),
    (
        lt.sequences.harmonic_temperatures,
        {"noise_variances": THETA},
        {"noise_variances": [*NOT_NUMBERS, 1.0, [0.0], [-1.0], [math.nan], [math.inf]]},
    ),
    (
        lt.sequences.plain,
        {"optima": OPTIMA, "covariances": COVARIANCES},
        {"optima": SEVERAL, "covariances": MATRICES, "start": OPTIONAL(VECTOR)},
    ),
    (
        lt.sequences.ridge,
        {"optima": OPTIMA, "covariances": COVARIANCES, "strength": 0.5},
        {
            "optima": SEVERAL,
            "covariances": MATRICES,
            "strength": FINITE_POSITIVE,
            "start": OPTIONAL(VECTOR),
        },
    ),
    (
        lt.sequences.plain_distance,
        {"optima": np.ones((2, 4)), "reference": np.ones(4), "rows": 2},
        {
            "optima": [*NOT_NUMBERS, 1.0, np.ones(4), math.nan * np.ones((2, 4))],
            "reference": [*NOT_NUMBERS, 1.0, [1.0], math.nan * np.ones(4)],
            "rows": [*OPTIONAL(NOT_INTEGERS), None, 0, 3],
            "noise_variance": NON_NEGATIVE,
            "start": [*OPTIONAL(NOT_NUMBERS), 1.0, [1.0], math.inf * np.ones(4)],
        },
    ),
    (
        lt.sequences.sampled,
        {"optima": OPTIMA, "ratio": 0.5},
        {
            "optima": SEVERAL,
            "ratio": [*FINITE_POSITIVE, 1.0],
            "noise_variances": [*NOT_NUMBERS, [1.0, 1.0, 1.0], -1.0, math.nan, math.inf],
            "temperatures": [*OPTIONAL(ONE_A_TASK), 1e-13],
            "ridge": NON_NEGATIVE,
            "covariances": OPTIONAL(MATRICES),
            "start": OPTIONAL(VECTOR),
        },
    ),
    (
        lt.sequences.task_errors,
        {"path": OPTIMA, "optima": OPTIMA},
        {"path": SEVERAL, "optima": SEVERAL, "covariances": OPTIONAL(MATRICES)},
    ),
    (
        lt.solve,
        DATA,
        {
            "X": ROWS,
            "y": LABELS,
            "start": VECTOR,
            "weights": WEIGHTS,
            "ridge": NON_NEGATIVE,
            "column_scale": COLUMN_SCALE,
        },
    ),
    (
        lt.temperature_path,
        DATA | {"temperatures": [1.0, 2.0]},
        {
            "X": ROWS,
            "y": LABELS,
            "start": VECTOR,
            "temperatures": [*NOT_NUMBERS, 1.0, [], [0.0], [1.0, -1.0], [math.nan], [[1.0]]],
            "ridge": NON_NEGATIVE,
            "accuracy": [*NOT_SCALARS, 0.0, 1.0, -1e-8],
            "column_scale": COLUMN_SCALE,
        },
    ),
    (
        lt.standard_errors,
        DATA,
        {"X": ROWS, "y": LABELS, "start": VECTOR, "temperature": OPTIONAL(POSITIVE)},
    ),
    (
        lt.undo_averaging,
        DATA | {"theta": lt.standard_errors(X, Y, START, 100.0).theta, "temperature": 100.0},
        {"X": ROWS, "y": LABELS, "start": VECTOR, "theta": VECTOR, "temperature": OPTIONAL(POSITIVE)},
    ),
    (
        lt.NormalEquations.of,
        DATA,
        {"X": ROWS, "y": LABELS, "start": VECTOR, "weights": WEIGHTS, "column_scale": COLUMN_SCALE},
    ),
    (lt.NormalEquations.empty, {"start": START}, {"start": [*NOT_NUMBERS, 1.0, [math.nan], [[[1.0]]]]}),
    (
        lt.descend,
        DATA,
        {
            "X": ROWS,
            "y": LABELS,
            "start": VECTOR,
            "weights": WEIGHTS,
            "solver": ["cg", 3, GradientDescent, {}],
            "steps": [*NOT_INTEGERS, [], [2, 1], [1, 1], [[1]], 2**31, np.array([0.0, 1.0])],
            "column_scale": COLUMN_SCALE,
        },
    ),
    (
        lt.linearize,
        {"predict": tanh_network, "params": NETWORK, "X": X, "y": Y},
        {
            "predict": PREDICT,
            "params": PARAMS,
            "X": [*NOT_NUMBERS, 1.0, [], X * math.nan, X * 1j, X > 0],
            "y": [*LABELS, Y[:2], [[1.0], [2.0], [3.0]]],
        },
    ),
    *(
        (getattr(LINEARIZED, method), good, bad)
        for method, good, bad in (
            ("flatten", {"params": NETWORK}, {"params": PARAMS}),
            ("unflatten", {"theta": ANY}, {"theta": ALONG}),
            ("jvp", {"direction": ANY}, {"direction": ALONG}),
            (
                "vjp",
                {"cotangent": Y},
                {"cotangent": [*NOT_NUMBERS, 1.0, [], [1.0], Y * math.nan, ANY, [[1.0, 2.0]]]},
            ),
            ("jacobian", {}, {}),
            ("gradient", {"weights": Y}, {"weights": WEIGHTS}),
            ("outputs_at", {"theta": ANY}, {"theta": ALONG}),
            ("spectrum", {"count": 2}, {"count": COUNT, "weights": WEIGHTS}),
            ("modes", {"weights": Y, "count": 2}, {"weights": WEIGHTS, "count": COUNT}),
            (
                "curvature_ratio",
                {"direction": ANY, "weights": Y},
                {"direction": [*ALONG, 0 * ANY], "weights": WEIGHTS},
            ),
            (
                "progress",
                {"theta": ANY, "direction": ANY},
                {"theta": ALONG, "direction": [*ALONG, 0 * ANY, [ANY, ANY]]},
            ),
            (
                "iterate",
                {"steps": 3, "learning_rate": 0.1},
                {"steps": [*STEPS, []], "learning_rate": [*FINITE_POSITIVE, 1e300], "weights": WEIGHTS},
            ),
        )
    ),
    (
        lt.diagnose,
        DATA,
        {
            "X": ROWS,
            "y": LABELS,
            "start": VECTOR,
            "temperature": OPTIONAL(TEMPERATURE),
            "pretrain_covariance": OPTIONAL(MATRIX),
            "pretrain_rows": [rows for rows in OPTIONAL(ROWS) if getattr(rows, "shape", None) != (4, 2)],
            "sample_weight": [*WEIGHTS, [0.0, 0.0, 0.0]],
            "column_scale": COLUMN_SCALE,
        },
    ),
    *(
        (rule, {name: 1.0}, {name: POSITIVE})
        for rule, name in (
            (Flow, "temperature"),
            (KLDRO, "temperature"),
            *((rule, "cutoff") for rule in (HardThreshold, Cauchy, Huber, Tukey)),
        )
    ),
    (HardSamples, {"cutoff": 1.0}, {"cutoff": FINITE_POSITIVE}),
    (Power, {"cutoff": 1.0, "exponent": 2.0}, {"cutoff": POSITIVE, "exponent": FINITE_POSITIVE}),
    (Clipped, {"temperature": 1.0, "floor": 0.5}, {"temperature": POSITIVE, "floor": [*POSITIVE, 1.1]}),
    (
        Focal,
        {"temperature": 1.0, "exponent": 2.0},
        {"temperature": FINITE_POSITIVE, "exponent": [*FINITE_POSITIVE, 101.0]},
    ),
    (GradientDescent, {"learning_rate": 0.1}, {"learning_rate": RATE, "tolerance": NON_NEGATIVE}),
    *(
        (solver, {"momentum": 0.5}, {"learning_rate": RATE, "momentum": MOMENTUM, "tolerance": NON_NEGATIVE})
        for solver in (HeavyBall, Nesterov)
    ),
    (ConjugateGradient, {"tolerance": 1e-6}, {"tolerance": NON_NEGATIVE}),
    (
        StochasticGradient,
        {"batch_size": 2},
        {
            "batch_size": [*NOT_INTEGERS, 0, 2**31],
            "seed": [*NOT_INTEGERS, 2**31],
            "learning_rate": RATE,
            "tolerance": NON_NEGATIVE,
        },
    ),
]

# A wrong shape is seen beside another argument, and either may be the one to change.
PARTNERS = {"X": {"X", "y", "start", "weights"}, "pretrained": {"pretrained", "target"}}
PARTNERS["start"] = PARTNERS["X"]
PARTNERS["pretrained"] |= {"target_covariance"}
PARTNERS["target"] = PARTNERS["pretrained"]


def label(value):
    return getattr(
        value, "__qualname__", " ".join(repr(value).split(" at 0x")[0].split())[:40]
    )  # an address would differ between workers


def bad_calls():
    for function, good, bad in TABLE:
        for argument, values in bad.items():
            for value in values:
                name = function.__qualname__
                yield pytest.param(
                    function,
                    good | {argument: value},
                    argument,
                    value,
                    id=f"{name}-{argument}-{label(value)}",
                )


def test_the_good_calls_are_good_and_the_table_is_complete():
    seen = set()
    for function, good, bad in TABLE:
        function(**good)
        seen.add(function)
        parameters = set(inspect.signature(function).parameters)
        assert parameters == set(bad), (
            f"{function.__qualname__} has untested arguments: {parameters ^ set(bad)}"
        )
    functions = {getattr(lt, name) for name in lt.__all__ if inspect.isfunction(getattr(lt, name))}
    assert functions <= seen


@pytest.mark.parametrize(("function", "call", "argument", "value"), list(bad_calls()))
def test_one_exception_of_the_family_that_explains(function, call, argument, value):
    with pytest.raises(lt.LinearTheoryError) as caught:
        function(**call)
    error = caught.value
    assert isinstance(error, ValueError | TypeError)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert error.argument in PARTNERS.get(argument, {argument}), error
    text = str(error)
    assert text.startswith(f"{error.argument} = ")
    assert "\n" not in text
    assert len(error.remedy) >= 8
    assert "must" in error.remedy or any(word in error.remedy for word in ("is ", "has ", "shapes")), text


# -------------------------------------------------------------------------------- what the remedies must say

SINGULAR = lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], np.diag([1.0, 0.0]), np.diag([1.0, 0.0]))
STEEP = lt.FineTuningProblem([1.0, 1.0], [0.0, 0.0], np.diag([3.0, 1.0]))

REMEDIES = [
    (lambda: lt.flow_weights([0.0, 0.0, 0.0, 1.0]), "already fits half.*mean loss"),
    (lambda: lt.median_temperature([0.0]), "median of losses = 0.0: .*already fits half.*mean loss"),
    (lambda: lt.flow_weights([1.0, 2.0], 1e-5), "underflow.*raise the temperature.*log_weights"),
    (
        lambda: lt.population_median_temperature(lt.paper_problem(0.1, 0.0)),
        "fits every sample.*temperature > 0",
    ),
    (lambda: lt.iterate(STEEP, 3), r"1/\(2μ\) = 0.5 diverges.*stable_learning_rate = 0.33"),
    (lambda: lt.iterate(STEEP, 10**6, learning_rate=1.0), "learning_rate = 1.0: .*converges below 0.33"),
    (lambda: lt.joint_optimum(SINGULAR), "singular.*not unique"),
    (lambda: lt.weight_mass(P, KLDRO(2.0)), r"temperature = 2.0: is too low for KL-DRO.*2s²"),
    (lambda: lt.sgd_error(P, 3, 0.1, KLDRO(4.0)), r"temperature = 4.0: is too low.*τ > 4s²"),
    (lambda: lt.paper_problem(0.5, dim=1), "rho = 0.5: must be the number 0 in one dimension"),
    (lambda: lt.paper_problem(0.5, shift_norm=1e200), "digits are lost; rescale y"),
    (lambda: lt.closed_form(2.5, 0.5, 3), r"beta = 2.5: must be in \(0, 1/rho\] for rho = 0.5"),
    (lambda: lt.closed_form([0.1, 0.2], [0.1, 0.2, 0.3], 3), r"broadcast together: beta \(2,\), rho \(3,\)"),
    (lambda: lt.stall_approximation([0.1, 0.2], 0.1, [1, 2, 3]), r"broadcast together: .*steps \(3,\)"),
    (lambda: lt.stall_parameter([1.0, 2.0], 0.1, [1, 2, 3]), r"broadcast together: .*shift_norm \(3,\)"),
    (lambda: lt.stall_temperature([1.0, 2.0], 0.1, [1, 2, 3]), r"broadcast together: .*shift_norm \(3,\)"),
    (
        lambda: lt.FineTuningProblem(THETA, START, [[1, 0.5], [0.4, 1]]),
        r"0.1\); pass \(C \+ C.T\)/2 if meant",
    ),
    (lambda: lt.FineTuningProblem(THETA, START, [[1, 2], [2, 1]]), "smallest eigenvalue -1"),
    (lambda: lt.solve(X, Y[:2], START), r"y = .*has shape \(2,\), must have \(3,\)"),
    (lambda: lt.solve(X, Y, START, ridge=-1), r"ridge = -1.0: must be finite and ≥ 0"),
    (lambda: lt.hard_sample_error(P, THETA, 0), r"fraction = 0.0: must be in \(0, 1\]"),
    (lambda: lt.linearize(tanh_network, jax.numpy.tanh, X, Y), r"split a model .* eqx.partition"),
    (lambda: lt.linearize(tanh_network, NETWORK, X, Y[:2]), r"y = .*has shape \(2,\), must have \(3,\)"),
    (lambda: lt.linearize(tanh_network, NETWORK, X[:, :1], Y), "must take these params and X: dot_general"),
    (lambda: lt.linearize(PREDICT[-2], NETWORK, X, Y), "must act row by row: the last output changes"),
    (lambda: lt.linearize(PREDICT[-1], NETWORK, X, Y), "must act row by row: it does not take the first row"),
    (lambda: LINEARIZED.spectrum(4), r"count = 4: must be from 1 to min\(n·k, P\) = 3"),
    (lambda: LINEARIZED.jvp([[1.0, 2.0]]), r"direction = .*has shape \(1, 2\), must have \(1, 8\)"),
    (lambda: LINEARIZED.iterate(3, 1e300), r"learning_rate = 1e\+300: .*converges below"),
    (lambda: lt.diagnose(X, Y, START, HardThreshold(1e-9)), "leaves no row"),
    (lambda: lt.iterate(P, True), "steps = True: must be an integer"),
    (lambda: lt.iterate(P, 2.0), "steps = 2.0: must be an integer"),
    (lambda: lt.iterate(P, -3), "steps = -3: must be an integer ≥ 0"),
]


@pytest.mark.parametrize(("call", "pattern"), REMEDIES, ids=[pattern for _, pattern in REMEDIES])
def test_the_message_names_the_remedy(call, pattern):
    with pytest.raises(lt.LinearTheoryError, match=pattern):
        call()


def test_a_wrong_type_is_a_type_error_and_a_wrong_value_a_value_error():
    for kind, family, other in (("one", TypeError, ValueError), (-1.0, ValueError, TypeError)):
        with pytest.raises(family) as caught:
            lt.weight_mass(P, kind)
        assert not isinstance(caught.value, other)
    assert issubclass(lt.DivergenceError, lt.InvalidValueError)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jax_arrays_are_checked_alike(dtype):
    p = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, dtype=dtype), P)
    for bad in (math.nan, 0.0, -1.0):
        with pytest.raises(lt.InvalidValueError, match="temperature"):
            lt.weight_mass(p, jax.numpy.asarray(bad, dtype=dtype))
    with pytest.raises(lt.InvalidValueError, match="shape"):
        lt.total_error(p, jax.numpy.zeros(3, dtype=dtype))
    with pytest.raises(lt.InvalidTypeError):
        lt.iterate(p, jax.numpy.asarray(2.0, dtype=dtype))
    with pytest.raises(lt.DivergenceError):
        lt.iterate(jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, dtype=dtype), STEEP), 3)
