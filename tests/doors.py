"""Every public callable that takes arrays: a good call, and which of its arguments are arrays of numbers.

The laws of what comes in (masks, frames, tensors, precision) and what goes out (NumPy or JAX) walk over this table.
"""

from __future__ import annotations

import inspect

import numpy as np

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.covariance import Dense, IdentityPlusLowRank, as_covariance, checked_covariance
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
    Uniform,
    as_rule,
)
from linear_theory.weights.rules import checked_log_weights
from tests.test_bad_input import TABLE

ANY = np.array([1.0, 2.0])
"""A good value of each argument that a good call of the table leaves out."""
OPTIONAL = {
    "weights": np.array([1.0, 0.5, 0.25]),
    "ridge": np.array(0.5),
    "temperature": np.array(5.0),
    "pretrain_covariance": np.array([[2.0, 0.5], [0.5, 1.0]]),
    "noise_variance": np.array(0.1),
    "shift_norm": np.array(2.0),
    "learning_rate": np.array(0.1),
    "tolerance": np.array(1e-3),
    "momentum": np.array(0.5),
    "column_scale": np.array([0.5, 0.25]),
    "sample_weight": np.array([1.0, 2.0, 1.0]),
}

OBJECTS = {"problem", "family", "predict", "params", "solver", "source", "rule", "space", "product"}
"""Arguments that are no arrays, and whose own are checked where they are made."""
WHOLE = {"dim", "count", "accuracy", "batch_size", "seed", "rows"}
"""Single Python numbers, never arrays."""

X, Y, START = (next(good for f, good, _ in TABLE if f is lt.solve)[name] for name in ("X", "y", "start"))
SUMS = lt.NormalEquations.of(X, Y, START)


def _streamed(function):
    """A function of a source, of the arrays that are its one chunk."""

    def call(X, y, start, weights, **others):
        return function([(X, y, weights)], start, **others)

    call.__qualname__ = f"streaming.{function.__name__}"
    return call


def _listed(source, start):
    return list(lt.streaming.losses(source, start))


def _of_rule(rule):
    def log_weights(losses):
        return rule.log_weights(losses)

    log_weights.__qualname__ = f"{type(rule).__name__}.log_weights"
    return log_weights


def _of_own_rule(losses):
    """What a rule of the user's own says."""
    rule = type("Own", (), {"log_weights": lambda self, _: losses})()
    return checked_log_weights(namespace(losses), rule, np.ones(3))


def _checked(value):
    return checked_covariance(namespace(value), "value", value, 2)


DATA = {"X": X, "y": Y, "start": START, "weights": OPTIONAL["weights"]}
MORE = [
    (SUMS.solve, {"ridge": np.array(0.5)}),
    (SUMS.loss, {"displacement": ANY}),
    (SUMS.gradient, {"displacement": ANY}),
    *((_of_rule(rule), {"losses": np.array([0.5, 1.0, 2.0])}) for rule in (
        Flow(1.0), KLDRO(1.0), HardThreshold(1.0), Uniform(), Cauchy(1.0), Clipped(1.0, 0.1), Focal(1.0, 2.0),
        HardSamples(1.0), Huber(1.0), Power(1.0, 2.0), Tukey(1.0)
    )),
    (_of_own_rule, {"losses": np.array([-0.5, -1.0, -2.0])}),
    (as_rule, {"temperature": np.array(1.0)}),
    (lt.streaming.from_arrays, {"X": X, "y": Y, "weights": OPTIONAL["weights"]}),
    *(
        (_streamed(getattr(lt.streaming, name)), DATA | {"column_scale": OPTIONAL["column_scale"]})
        for name in ("solve", "normal_equations")
    ),
    (_streamed(lt.streaming.median_loss), DATA),
    (_streamed(_listed), DATA),
    (IdentityPlusLowRank, {"factor": np.eye(3, 2), "core": np.eye(2), "scale": np.array(1.0)}),
    (Dense, {"matrix": np.eye(2)}),
    (as_covariance, {"value": np.eye(2)}),
    (_checked, {"value": np.eye(2)}),
]  # fmt: skip


def _whole_call(function, good):
    names = inspect.signature(function).parameters
    return good | {name: OPTIONAL[name] for name in names if name not in good and name in OPTIONAL}


CALLS = [(function, _whole_call(function, good)) for function, good, _ in TABLE] + MORE
CALLS.append((lt.descend, DATA | {"steps": np.array([0, 3])}))
WHOLE_HERE = {("best_temperature", "steps"), ("checkpoint_weights", "steps")}
"""Arguments that are a single number in one function and arrays in others."""
ARRAYS = [
    (function, call, name)
    for function, call in CALLS
    for name in call
    if name not in OBJECTS | WHOLE and (function.__qualname__, name) not in WHOLE_HERE
]


def label(door):
    function, _, name = door
    return f"{function.__qualname__.replace('.<locals>', '')}-{name}"
