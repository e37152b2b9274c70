"""What is known of each recorded step while a path is still being made."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arrays import Array
from .limit import length, roundings
from .objective import Objective
from .path import near_enough

__all__ = ["Record", "bound_roundings", "stops"]


class Record(NamedTuple):
    """At each recorded step: δ (k, d), L, ‖∇L‖ and ‖δ − δ_∞‖ (k,); the error of δ_∞ in units of ε."""

    displacement: Array
    loss: Array
    slope: Array
    distance: Array
    roundings: Array


def bound_roundings(objective: Objective, record: Record) -> Array:
    """The limit's, and those of forming and storing θ = start + δ."""
    space, displacement = objective.space, record.displacement
    unit = roundings(displacement.shape[-1:])
    stored = length(space, objective.start + displacement) + length(space, displacement)
    return record.roundings + unit * stored


def stops(objective: Objective, solver: Any, record: Record) -> Array:
    tolerance = objective.space.array(getattr(solver, "tolerance", 0.0))
    bound = record.distance + objective.space.eps * bound_roundings(objective, record)
    return near_enough(record.displacement, bound, tolerance)
