"""The one loop of every solver that is run step by step."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..arrays import Array
from .limit import length, limit_roundings, root
from .objective import Objective
from .record import Record, stops

__all__ = ["walked"]


def walked(objective: Objective, solver: Any, chosen: tuple[int, ...]) -> Record:
    """Step by step; every recorded step is measured when it is reached, so that the loop can stop there."""
    space = objective.space
    first = space.xp.zeros_like(objective.start)
    state = solver.init(objective, first)
    if space.xp is not np:
        displacement, curvature = _scanned(objective, solver, chosen, (first, state))
        return _measured_all(objective, displacement, curvature)
    displacement, done, found = first, 0, []
    for k in chosen:
        for _ in range(done, k):
            displacement, state = solver.step(objective, displacement, state)
        done = k
        found.append(_measured(objective, displacement, _curvature(objective, solver, state)))
        if bool(stops(objective, solver, found[-1])):
            break
    return Record(*(np.array(column) for column in zip(*found, strict=True)))


def _curvature(objective: Objective, solver: Any, state: Any) -> Array:
    """The solver's own estimate of the smallest one, asked for where none is known; 0 if it has none."""
    estimate = getattr(solver, "smallest_curvature", None)
    if objective.affordable or estimate is None:
        return objective.space.array(0.0)
    return estimate(objective, state)


def _scanned(
    objective: Objective, solver: Any, chosen: tuple[int, ...], carry: tuple[Array, Any]
) -> tuple[Array, Array]:
    """The chosen displacements (k, d) and curvature estimates (k,), by scans of known length."""
    xp = objective.space.xp
    seen = lambda carry: (carry[0], _curvature(objective, solver, carry[1]))
    step = lambda carry, _: (solver.step(objective, *carry), None)

    def recorded(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        carry = solver.step(objective, *carry)
        return carry, seen(carry)

    carry, _ = jax.lax.scan(step, carry, length=chosen[0])
    found = [jax.tree.map(lambda leaf: leaf[None], seen(carry))]
    gaps = np.diff(chosen)
    if (gaps == 1).all():
        found.append(jax.lax.scan(recorded, carry, length=len(gaps))[1])
    else:
        for gap in gaps:
            carry, _ = jax.lax.scan(step, carry, length=int(gap))
            found.append(jax.tree.map(lambda leaf: leaf[None], seen(carry)))
    return jax.tree.map(lambda *leaves: xp.concatenate(leaves), *found)


def _measured_all(objective: Objective, displacement: Array, curvature: Array) -> Record:
    return Record(*jax.lax.map(lambda pair: tuple(_measured(objective, *pair)), (displacement, curvature)))


def _measured(objective: Objective, displacement: Array, curvature: Array) -> Record:
    """One recorded step: against the limit where that is known, else ‖∇L‖ over the smallest curvature."""
    space, xp = objective.space, objective.space.xp
    loss, gradient = objective.loss(displacement), objective.gradient(displacement)
    slope = length(space, gradient)
    if objective.affordable:
        limit = objective.limit
        distance, error = length(space, displacement - limit.displacement), limit.roundings
    else:
        known = curvature > 0
        distance = xp.where(known, slope / xp.where(known, curvature, 1.0), xp.inf)
        n = objective.count
        labels, left = root(xp, objective.start_loss * n), root(xp, loss * n)
        sigma = root(xp, curvature * n / 2)
        error = limit_roundings(space, objective.sample, objective.size, sigma, displacement, labels, left)
        error = xp.where(known, error, 0.0)
    return Record(displacement, loss, slope, distance, error)
