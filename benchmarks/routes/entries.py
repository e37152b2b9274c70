"""Rules of weights by their definitions, covariances entry by entry."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.reference import rows as data
from linear_theory.testing.reference.population import mp

from ..law import Law

Quantity = testing.Quantity

RULES: dict[str, tuple[str, Callable[..., Any]]] = {
    "KLDRO": ("exp(f/τ)", lambda f, temperature: mp.exp(f / temperature)),
    "Cauchy": ("1/(1 + f/c²)", lambda f, cutoff: 1 / (1 + f / cutoff**2)),
    "Clipped": ("exp(−f/τ), but the floor below it",
                lambda f, temperature, floor: max(floor, mp.exp(-f / temperature))),
    "Flow": ("exp(−f/τ)", lambda f, temperature: mp.exp(-f / temperature)),
    "Focal": ("(1 − exp(−f/τ))ᵖ", lambda f, temperature, exponent: (1 - mp.exp(-f / temperature)) ** exponent),
    "HardSamples": ("whether |r| ≥ c", lambda f, cutoff: mp.mpf(mp.sqrt(f) >= cutoff)),
    "HardThreshold": ("whether |r| < c", lambda f, cutoff: mp.mpf(mp.sqrt(f) < cutoff)),
    "Huber": ("1 within c, c/|r| beyond", lambda f, cutoff: mp.mpf(1) if f <= cutoff**2 else cutoff / mp.sqrt(f)),
    "Power": ("(1 + f/c²)⁻ᵖ", lambda f, cutoff, exponent: (1 + f / cutoff**2) ** -exponent),
    "Tukey": ("(1 − f/c²)² within c", lambda f, cutoff: (1 - f / cutoff**2) ** 2 if f < cutoff**2 else mp.mpf(0)),
    "Uniform": ("1", lambda f: mp.mpf(1)),
}  # fmt: skip
"""Every rule, as it is defined."""

OF_RULES = {
    "temperature": testing.log_uniform(0.5, 1e3),
    "cutoff": testing.log_uniform(0.1, 10.0),
    "floor": testing.log_uniform(1e-3, 1.0),
    "exponent": testing.log_uniform(0.1, 10.0),
}


def _losses() -> Any:
    return st.lists(testing.log_uniform(1e-2, 1e2), min_size=1, max_size=6).map(np.array)


def _rule_law(name: str) -> Law:
    """A rule's weights of a few losses."""
    said, weight = RULES[name]
    asked = tuple(field.name for field in fields(getattr(lt.weights, name)))
    order = ("losses", *asked)
    known = lambda losses, *own: mp.matrix([weight(mp.mpf(f), *map(mp.mpf, own)) for f in losses])
    claimed = lambda losses, *own: np.exp(getattr(lt.weights, name)(*own).log_weights(losses))
    drawn = st.fixed_dictionaries({"losses": _losses(), **{one: OF_RULES[one] for one in asked}})
    quantity = Quantity(f"{name}'s weights", said, _named(known, order), drawn)
    return Law(f"weights.{name}", quantity, _named(claimed, order))


def _named(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """The same function of arguments with these names."""

    def call(*given: Any, **by_name: Any) -> Any:
        return function(*given) if given else function(*(by_name[name] for name in names))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    call.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # pyright: ignore
    return call


@st.composite
def _matrix_and_vector(draw: Any) -> dict[str, Any]:
    dim = draw(testing.DIMENSIONS)
    return {"matrix": draw(testing.covariances(dim)), "vector": draw(testing.vectors(dim))}


@st.composite
def _low_rank_and_more(draw: Any) -> dict[str, Any]:
    dim = draw(testing.DIMENSIONS)
    more = {name: draw(testing.log_uniform(0.1, 10.0)) for name in ("core", "scale")}
    return {"factor": draw(testing.vectors(dim)), **more, "matrix": draw(testing.covariances(dim))}


def _added(factor: Any, core: float, scale: float, matrix: Any) -> Any:
    entries = list(matrix)
    size = range(len(factor))
    entry = lambda i, j: (
        mp.mpf(scale) * (i == j) + mp.mpf(factor[i]) * core * factor[j] + mp.mpf(entries[i][j])
    )
    return mp.matrix([[entry(i, j) for j in size] for i in size])


LAWS = (
    Law(
        "covariance.as_covariance",
        Quantity("times", "Σx, entry by entry",
                 lambda matrix, vector: data.exact_matrix(matrix) * data.exact_vector(vector), _matrix_and_vector()),
        lambda matrix, vector: lt.covariance.as_covariance(matrix).apply(vector),
    ),
    Law(
        "covariance.total",
        Quantity("added", "the sum, entry by entry", _added, _low_rank_and_more()),
        lambda factor, core, scale, matrix: lt.covariance.total(
            lt.covariance.IdentityPlusLowRank(factor[:, None], np.array([[core]]), scale), lt.covariance.Dense(matrix)
        ).dense(),
    ),
    Law(
        "weights.as_rule",
        "flow_weights",
        lambda losses, temperature: np.exp(lt.weights.as_rule(temperature).log_weights(losses)),
    ),
    *map(_rule_law, sorted(RULES)),
)  # fmt: skip
