"""What a formula is held against: quantities of the theory in 60 digits, by means that share nothing with the package.

Moments are integrals by quadrature, iterates are the literal gradient step repeated, minimisers are linear solves,
half-lives and temperatures are roots. A :class:`Simulation` is held against where there is nothing exact.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..problem import FineTuningProblem
from ..weights import KLDRO, HardThreshold
from .reference import population, risk, sgd, stall
from .reference.population import Case, Rule, flow, freeze
from .strategies import (
    correlations,
    learning_rates,
    log_uniform,
    problems,
    rules,
    steps,
    temperatures,
    times,
    vectors,
)

__all__ = ["QUANTITIES", "Quantity", "Simulation", "case_of", "rule_of"]

REQUIRED = object()
"""Of an argument that a formula must take."""


@dataclass(frozen=True)
class Quantity:
    """A quantity, how it is known, and over what it is asked.

    ``function`` takes the arguments as exact numbers, a ``Case`` named ``case`` for a problem and a ``Rule`` named
    ``rule`` for its temperature, and returns an mpmath number, vector or matrix. ``arguments`` draws a dict of them as
    the package's functions take and name them, ``problem`` and ``temperature``; ``defaults`` holds those that a formula
    may leave out, and what they are then. Those that ``function`` has a default for are not asked.
    """

    name: str
    statement: str
    function: Callable[..., Any]
    arguments: st.SearchStrategy[dict[str, Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> dict[str, Any]:
        """The arguments in the order of ``function``, and what they are if left out."""
        parameters = inspect.signature(self.function).parameters.values()
        asked = [p.name for p in parameters if p.default is p.empty or p.name in self.defaults]
        called = {"case": "problem", "rule": "temperature"}
        return {name: self.defaults.get(name, REQUIRED) for name in (called.get(n, n) for n in asked)}


@dataclass(frozen=True)
class Simulation:
    """A quantity known by independent samples: ``sample(rng, **arguments)`` is one, a number or an array.

    A formula agrees if it is within the standard error of ``repetitions`` of them, times Student's quantile for a
    chance of 1e-4 that a right one is refused anywhere in a run.
    """

    name: str
    sample: Callable[..., Any]
    arguments: st.SearchStrategy[dict[str, Any]]
    repetitions: int = 400
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> dict[str, Any]:
        """The arguments of ``sample`` but the generator, and what they are if left out."""
        asked = [name for name in inspect.signature(self.sample).parameters if name != "rng"]
        return {name: self.defaults.get(name, REQUIRED) for name in asked}

    @property
    def statement(self) -> str:
        """How it is known."""
        return f"{self.repetitions} samples"


def case_of(problem: FineTuningProblem) -> Case:
    """The problem by its exact floats."""
    dense = lambda A: () if A is None else freeze(np.asarray(A, dtype=float))
    return Case(
        tuple(map(float, problem.pretrained)),
        tuple(map(float, problem.target)),
        dense(problem.target_covariance),
        dense(problem.pretrain_covariance),
        float(problem.noise_variance),
    )


def rule_of(temperature: Any) -> Rule:
    """The rule that a temperature stands for."""
    if isinstance(temperature, HardThreshold):
        return Rule("hard", float(temperature.cutoff))
    if isinstance(temperature, KLDRO):
        return Rule("kldro", float(temperature.temperature))
    return flow(temperature)


@st.composite
def _asked(draw: Any, *names: str, **options: Any) -> dict[str, Any]:
    """A problem, and those of its arguments that are named, in its own units."""
    problem = draw(problems(**options))
    squared = float(problem.shift @ problem.shift)
    steepest = float(np.linalg.eigvalsh(problem.target_covariance)[-1])
    of = {
        "temperature": lambda: rules(squared),
        "exponential": lambda: temperatures(squared),  # of which w² is one of the kind again
        "steps": steps,
        "few steps": lambda: st.integers(0, 6) | st.integers(7, 300),
        "learning_rate": lambda: learning_rates(1 / steepest),
        "stable rate": lambda: learning_rates(1 / steepest / (problem.dim + 2)),  # of one row at a time
        "time": lambda: times(1 / steepest),
        "theta": lambda: vectors(problem.dim).map(lambda v: v * math.sqrt(squared)),
        "fraction": lambda: st.sampled_from([0.5, 1.0, 0.1]) | log_uniform(1e-3, 1.0),
    }
    drawn = {name: draw(of[name]()) for name in names}
    plain = {"few steps": "steps", "stable rate": "learning_rate", "exponential": "temperature"}
    return {"problem": problem, **{plain.get(name, name): value for name, value in drawn.items()}}


@st.composite
def _plane(draw: Any, *names: str) -> dict[str, Any]:
    """ρ, and β from 0 to 1/ρ, a norm, K."""
    rho = draw(correlations().filter(bool))
    of = {
        "beta": lambda: (st.sampled_from([0.5, 0.1, 0.9]) | st.floats(0.02, 0.98)).map(
            lambda share: share / rho
        ),
        "temperature": lambda: log_uniform(1e-3, 1e3),
        "steps": lambda: st.integers(0, 6) | st.integers(7, 1000),
    }
    return {"rho": rho, **{name: draw(of[name]()) for name in names}}


UNWEIGHTED, DEFAULT_STEP = {"temperature": math.inf}, {"learning_rate": None}

_KNOWN = (
    Quantity("weight_mass", "μ = E[w], by quadrature", population.mass, _asked("temperature", singular=True)),
    Quantity(
        "weighted_covariance",
        "Σ' = E[w x xᵀ], by quadrature",
        population.weighted_covariance,
        _asked("temperature", singular=True),
    ),
    Quantity(
        "iterate",
        "θ_K, the literal gradient step K times",
        population.iterate,
        _asked("steps", "learning_rate", "temperature"),
        UNWEIGHTED | DEFAULT_STEP,
    ),
    Quantity(
        "gradient_flow",
        "θ(t) of dθ/dt = −∇L, by eigenvectors in 60 digits",
        population.gradient_flow,
        _asked("time", "temperature"),
        UNWEIGHTED,
    ),
    Quantity(
        "fixed_point", "where training ends, by a linear solve", population.fixed_point, _asked("temperature")
    ),
    Quantity(
        "stable_learning_rate",
        "the largest stable step, by the eigenvalues of Σ'",
        population.stable_learning_rate,
        _asked("temperature"),
        UNWEIGHTED,
    ),
    Quantity(
        "population_median_temperature",
        "the median of the losses, by a root of their law",
        lambda problem: risk.residual_split(problem)[0] * risk.median_chi_square(),
        _asked(),
    ),
    Quantity("pretrain_error", "(θ − θ*)ᵀΣ(θ − θ*), summed", risk.pretrain_error, _asked("theta")),
    Quantity("target_error", "(θ − θ̃*)ᵀΣ̃(θ − θ̃*), summed", risk.target_error, _asked("theta")),
    Quantity("total_error", "both errors of (4), summed", risk.total_error, _asked("theta")),
    Quantity("best_average_weight", "the best ω of averaging, by a root", risk.best_average_weight, _asked()),
    Quantity("joint_optimum", "the best θ for both tasks, by a linear solve", risk.joint_optimum, _asked()),
    Quantity(
        "hard_sample_error",
        "the error on the hardest, by a root and quadrature over the tail",
        risk.hard_sample_error,
        _asked("theta", "fraction"),
    ),
    Quantity(
        "sgd_error",
        "E err₂ of one-pass SGD, by the map of second moments entry by entry",
        sgd.sgd_error,
        _asked("few steps", "stable rate", "exponential", dims=st.sampled_from([2, 1])),
        UNWEIGHTED,
    ),
    Quantity(
        "stall_parameter",
        "β, read off the stalled eigenvector of Σ'/μ by quadrature",
        stall.stall_parameter,
        _plane("temperature"),
    ),
    Quantity("stall_temperature", "τ of a β, by a root", stall.stall_temperature, _plane("beta")),
    Quantity(
        "stall_spectrum",
        "(λ₁, λ₂) of I − Σ'/μ",
        lambda beta, rho: population.mp.matrix(list(stall.stall_spectrum(beta, rho))),
        _plane("beta"),
    ),
    Quantity(
        "closed_form", "(14): (I − Σ'/μ)^K e, by matrix powers", stall.closed_form, _plane("beta", "steps")
    ),
)

QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _KNOWN}
