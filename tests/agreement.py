"""What the agreement tests share: the grids, the bridge from a reference case to the package, the verdict.

A comparison is a function of the implementation under test. It is run on the package in NumPy, on the
package in JAX under `jit`, and on mutants — implementations with one deliberate mistake — which it must
reject.
"""

from __future__ import annotations

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

import linear_theory as lt
from linear_theory.testing.reference.population import (
    Rule,
    flow,
    mass,
    paper_case,
    residual_split,
    stable_learning_rate,
)
from tests.strategies import random_case

RHOS = (0.0, 0.1, 0.6, 0.9, 0.999)
TEMPERATURES = (1e-6, 1e-3, 0.1, 0.454936423119572, 1.0, 2.0, 10.0, 1e3, 1e6, math.inf)
NOISES = (0.0, 0.01, 1.0, 10.0)
STEPS = (0, 1, 2, 3, 10, 101, 10**4, 10**6, 10**12)
TIMES = (0.0, 1e-3, 0.5, 3.0, 1e3, 1e6, 1e12, math.inf)

GENERAL_CASES = (
    *(random_case(dim, 10.0, noise=0.0, seed=dim) for dim in (1, 2, 3, 4, 5)),
    random_case(2, 1e3, noise=0.5, seed=6, pretrain_condition=7.0),
    random_case(3, 1e3, noise=0.0, seed=7, pretrain_condition=7.0),
    random_case(3, 2.0, noise=2.0, seed=8, shift_norm=1e-3),
    random_case(4, 30.0, noise=0.01, seed=9, shift_norm=40.0, pretrain_condition=40.0),
    random_case(5, 1e4, noise=10.0, seed=10, shift_norm=0.1),
)


def paper_cases(rho, noises=NOISES, dims=(2, 5)):
    """The paper's problem at one ρ: every noise in the plane, and one larger dimension."""
    yield from (paper_case(rho, noise=noise) for noise in noises)
    yield from (paper_case(rho, shift_norm=3.0, dim=dim, noise=9 * 0.25) for dim in dims[1:])


def rules(case, temperatures=TEMPERATURES):
    """FLOW at temperatures in units of ‖e‖²."""
    return tuple(flow(t * case.shift_squared) for t in temperatures)


def other_rules(case):
    """Two hard thresholds, and KL-DRO within its domain (also for w², τ > 4s²) where its default step
    converges.
    """
    s2 = residual_split(case)[0]
    candidates = [Rule("hard", float(f * s2**0.5)) for f in (0.3, 1.0, 2.5)]
    candidates += [Rule("kldro", float(f * s2)) for f in (5, 500, 1e6)]
    return tuple(
        rule for rule in candidates if 2 * mass(case, rule) * stable_learning_rate(case, rule) > 1.01
    )


def problem(case, array=np.asarray):
    """The package's problem for a reference case."""
    sigma = array(np.array(case.pretrain_covariance)) if case.pretrain_covariance else None
    return lt.FineTuningProblem(
        array(np.array(case.pretrained)),
        array(np.array(case.target)),
        array(np.array(case.covariance)),
        pretrain_covariance=sigma,
        noise_variance=case.noise if array is np.asarray else array(np.array(case.noise)),
    )


def numpy_problem(case):
    return problem(case)


def jax_problem(case):
    return problem(case, jnp.asarray)


def weight_rule(rule):
    """A float for FLOW, the package's object otherwise."""
    return {"flow": float, "kldro": lt.weights.KLDRO, "hard": lt.weights.HardThreshold}[rule.kind](rule.value)


@lru_cache(None)
def under_jit(function):
    """`function` under jit, every argument traced (floats as float64 arrays), the result checked to be JAX
    float64.
    """
    compiled = jax.jit(function)

    def call(*arguments):
        traced = [jnp.asarray(a, dtype=float) if isinstance(a, float) else a for a in arguments]
        result = compiled(*traced)
        for leaf in jax.tree.leaves(result):
            assert isinstance(leaf, jax.Array)
            assert leaf.dtype == jnp.float64
        return result

    return call


def few_shapes(cases, shapes=3):
    """The cases of the last few shapes: under jit every dimension, and Σ given or not, compiles anew."""
    shape = lambda case: (case.dim, bool(case.pretrain_covariance))
    kept = list(dict.fromkeys(map(shape, reversed(cases))))[:shapes]
    return tuple(case for case in cases if shape(case) in kept)


def failures(checks):
    """The complaints among the checks; refuses an empty comparison, which could not fail."""
    results = list(checks)
    assert results, "a comparison without a single check"
    return [line for line in results if line is not None]


def assert_agrees(checks):
    lines = failures(checks)
    shown = "\n".join(lines[:25])
    assert not lines, f"{len(lines)} disagreements, the first of them:\n{shown}"


def assert_rejects(checks):
    assert failures(checks), "the comparison accepts a wrong formula"
