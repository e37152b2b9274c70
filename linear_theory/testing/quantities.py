"""What a formula is held against: quantities of the theory in 60 digits, by means that share nothing with the package.

Moments are integrals by quadrature, iterates are the literal gradient step repeated, minimisers are linear solves,
half-lives and temperatures are roots, weighted least squares of any rank is solved in fractions. A :class:`Simulation`
is held against where there is nothing exact.
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
from .reference import rows as data
from .reference.population import Case, Rule, flow, freeze
from .strategies import (
    correlations,
    learning_rates,
    log_uniform,
    problems,
    rows,
    rules,
    steps,
    temperatures,
    times,
    vectors,
)
from .tolerances import least_squares_measure, measured_condition, norm_of

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

    κ is measured by moving each float of the arguments. Where that says nothing, as on rows whose rank would change,
    ``measure(*arguments, want=known)`` returns what a gap is relative to, and κ.
    """

    name: str
    statement: str
    function: Callable[..., Any]
    arguments: st.SearchStrategy[dict[str, Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    measure: Callable[..., Any] | None = None

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
    chance of 1e-4 that a right one is refused anywhere in a run. ``said`` tells in words what is sampled.
    """

    name: str
    sample: Callable[..., Any]
    arguments: st.SearchStrategy[dict[str, Any]]
    repetitions: int = 400
    defaults: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""

    def names(self) -> dict[str, Any]:
        """The arguments of ``sample`` but the generator, and what they are if left out."""
        asked = [name for name in inspect.signature(self.sample).parameters if name != "rng"]
        return {name: self.defaults.get(name, REQUIRED) for name in asked}

    @property
    def statement(self) -> str:
        """How it is known."""
        return f"{self.said}, {self.repetitions} samples" if self.said else f"{self.repetitions} samples"


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
        "omega": lambda: st.sampled_from([0.5, 0.0, 1.0]) | st.floats(-1.0, 2.0, allow_subnormal=False),
        "ridge": lambda: log_uniform(1e-3, 1e3).map(lambda ridge: ridge * steepest),
    }
    drawn = {name: draw(of[name]()) for name in names}
    plain = {"few steps": "steps", "stable rate": "learning_rate", "exponential": "temperature"}
    return {"problem": problem, **{plain.get(name, name): value for name, value in drawn.items()}}


def _has_a_gap(problem: FineTuningProblem) -> bool:
    """Whether Σe and Σ̃e are not parallel, so that averaging is not the best for both."""
    sigma = np.eye(problem.dim) if problem.pretrain_covariance is None else problem.pretrain_covariance
    old, new = sigma @ problem.shift, problem.target_covariance @ problem.shift
    return abs(old @ new) < 0.999 * float(np.linalg.norm(old) * np.linalg.norm(new))


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


@st.composite
def _rows(draw: Any, *names: str, **options: Any) -> dict[str, Any]:
    """Rows of every kind, and a ridge, or steps and a stable learning rate."""
    kind = draw(st.sampled_from([{}, {"rank_deficient": True}, {"units": True}, {"weightless": True}]))
    drawn = draw(rows(**kind, **options))
    root = np.sqrt(drawn["weights"])[:, None] * drawn["X"]
    steepest = float(np.linalg.norm(root, 2) ** 2 / len(root)) or 1.0
    of = {
        "ridge": lambda: st.just(0.0) | log_uniform(1e-3, 10.0).map(lambda ridge: ridge * steepest),
        "steps": lambda: st.integers(0, 6) | st.integers(7, 60),
        "learning_rate": lambda: learning_rates(0.9 / steepest),
    }
    return drawn | {name: draw(of[name]()) for name in names}


def _losses() -> st.SearchStrategy[Any]:
    """Of a few samples, none of them beyond a hundred times the temperature."""
    return st.lists(log_uniform(1e-2, 1e2), min_size=1, max_size=8).map(np.array)


def _descended_measure(
    X: Any, y: Any, start: Any, steps: int, learning_rate: float, weights: Any, *, want: Any
) -> Any:
    """Relative to the largest of θ and what it is made of, where it vanishes by cancellation."""
    size = max(norm_of(want), norm_of(data.exact_vector(start)), norm_of(data.exact_vector(y)) * 2**-20)
    inputs = (X, y, start, steps, learning_rate, weights)
    return size, measured_condition(data.descended, *inputs, want=want, size=size)


def _of_entered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Of a quantity that counts the directions which e enters: κ is infinite where floats cannot tell if it does."""

    def measure(case: Case, rule: Rule, *, want: Any) -> Any:
        if population.hardly_entered(case, rule):
            return norm_of(want), math.inf
        return norm_of(want), measured_condition(function, case, rule, want=want)

    return measure


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
        _of_entered(population.stable_learning_rate),
    ),
    Quantity(
        "population_median_temperature",
        "the median of the losses, by a root of their law",
        lambda problem: risk.residual_split(problem)[0] * risk.median_chi_square(),
        _asked(),
    ),
    Quantity(
        "population_effective_sample_size",
        "E[w]²/E[w²], by quadrature",
        population.effective_sample_size,
        _asked("temperature"),
    ),
    Quantity(
        "gradient",
        "∇L(θ), at θ* if left out, by quadrature",
        population.gradient,
        _asked("temperature", "theta"),
        {"theta": None},
    ),
    Quantity(
        "least_loss",
        "the weighted loss where training ends, by quadrature",
        population.least_loss,
        _asked("temperature"),
    ),
    Quantity(
        "displacement",
        "κ, the share of the shift that is gone where training ends, by a linear solve",
        population.displaced,
        _asked("temperature"),
    ),
    Quantity(
        "ridge_optimum",
        "where the gradient of the ridged loss is 0, by a linear solve",
        population.ridge_optimum,
        _asked("ridge", "temperature"),
    ),
    Quantity(
        "stall_rate",
        "the smallest eigenvalue of Σ'/μ on the path, in 60 digits",
        population.stall_rate,
        _asked("temperature"),
        measure=_of_entered(population.stall_rate),
    ),
    Quantity("pretrain_error", "(θ − θ*)ᵀΣ(θ − θ*), summed", risk.pretrain_error, _asked("theta")),
    Quantity("target_error", "(θ − θ̃*)ᵀΣ̃(θ − θ̃*), summed", risk.target_error, _asked("theta")),
    Quantity("total_error", "both errors of (4), summed", risk.total_error, _asked("theta")),
    Quantity("best_average_weight", "the best ω of averaging, by a root", risk.best_average_weight, _asked()),
    Quantity("model_average", "ωθ* + (1 − ω)θ̃*, summed", risk.average, _asked("omega")),
    Quantity("best_model_average", "the average at the best ω, by a root", risk.best_model_average, _asked()),
    Quantity("joint_optimum", "the best θ for both tasks, by a linear solve", risk.joint_optimum, _asked()),
    Quantity(
        "gap_closed",
        "the share of the gap between averaging and the best for both, by a root and a linear solve",
        risk.gap_closed,
        _asked("theta", dims=st.sampled_from([2, 3])).filter(lambda given: _has_a_gap(given["problem"])),
    ),
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
        "sgd_pretrain_error",
        "E err₁ of one-pass SGD, by the same map",
        sgd.sgd_pretrain_error,
        _asked("few steps", "stable rate", "exponential", dims=st.sampled_from([2, 1])),
        UNWEIGHTED,
    ),
    Quantity(
        "sgd_stability_limit",
        "the largest η with which the second moment of SGD stays bounded, by the eigenvalues of the same map",
        sgd.sgd_stability_limit,
        _asked("exponential", dims=st.sampled_from([2, 1])),
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
    Quantity("squared_mass", "μ² at a β, by a root and quadrature", stall.squared_mass, _plane("beta")),
    Quantity("half_life", "ln ½/ln λ₁, by an eigenvalue", stall.half_life, _plane("beta")),
    Quantity("stall_direction", "the stalled eigenvector of I − Σ'/μ", stall.stall_direction, _plane("beta")),
    Quantity(
        "closed_form", "(14): (I − Σ'/μ)^K e, by matrix powers", stall.closed_form, _plane("beta", "steps")
    ),
    Quantity(
        "stall_approximation",
        "(15): the part of (14) along the stalled eigenvector",
        stall.stall_approximation,
        _plane("beta", "steps"),
    ),
    Quantity(
        "model_average_weight",
        "γ, the component of that along e",
        stall.model_average_weight,
        _plane("beta", "steps"),
    ),
    Quantity(
        "flow_weights",
        "exp(−f/τ)",
        lambda losses, temperature: population.mp.matrix(data.flow_weights(losses, temperature)),
        st.fixed_dictionaries({"losses": _losses(), "temperature": temperatures()}),
    ),
    Quantity(
        "median_temperature",
        "the middle loss",
        lambda losses: data.median(losses),
        st.fixed_dictionaries({"losses": _losses()}),
    ),
    Quantity(
        "effective_sample_size",
        "(Σw)²/Σw², summed",
        data.effective_sample_size,
        st.fixed_dictionaries({"weights": _losses()}),
    ),
    Quantity(
        "solve",
        "weighted least squares, closest to θ*, in exact fractions",
        data.closest_minimiser,
        _rows("ridge"),
        {"weights": None, "ridge": 0.0},
        least_squares_measure,
    ),
    Quantity(
        "descend",
        "gradient descent on rows, the literal step K times",
        data.descended,
        _rows("steps", "learning_rate"),
        {"weights": None},
        _descended_measure,
    ),
)

QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _KNOWN}
