"""The paths of all solvers: one loop for those that are run step by step, and none for those that are linear."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np

from ..arrays import Array
from ..least_squares.blocks import BLOCK_ENTRIES
from ..propagator.momentum import Response
from ..threads import single_threaded_blas
from .linear import Linear
from .objective import Eigenbasis, Objective, error_units, length, limit_error, root
from .path import near_enough

__all__ = ["Record", "bound_roundings", "exact_path", "run_loop", "stops", "traced_exact_path"]


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
    unit = error_units(displacement.shape[-1:])
    stored = length(space, objective.start + displacement) + length(space, displacement)
    return record.roundings + unit * stored


def stops(objective: Objective, solver: Any, record: Record) -> Array:
    """Whether a recorded step is certainly within the solver's tolerance of the limit."""
    tolerance = objective.space.array(getattr(solver, "tolerance", 0.0))
    bound = record.distance + objective.space.eps * bound_roundings(objective, record)
    return near_enough(record.displacement, bound, tolerance)


def run_loop(objective: Objective, solver: Any, recorded: tuple[int, ...]) -> Record:
    """Step by step; every recorded step is measured when it is reached, so that the loop can stop there."""
    space = objective.space
    first = space.xp.zeros_like(objective.start)
    state = solver.init(objective, first)
    if space.xp is not np:
        recorded = _scanned(objective, solver, recorded, (first, state))
        return Record(*jax.lax.map(lambda pair: tuple(_measured(objective, *pair)), recorded))
    displacement, done, records = first, 0, []
    for k in recorded:
        for _ in range(done, k):
            displacement, state = solver.step(objective, displacement, state)
        done = k
        records.append(_measured(objective, displacement, _curvature(objective, solver, state)))
        if bool(stops(objective, solver, records[-1])):
            break
    return Record(*(np.array(column) for column in zip(*records, strict=True)))


def _curvature(objective: Objective, solver: Any, state: Any) -> Array:
    """The solver's own estimate of the smallest one, asked for where none is known; 0 if it has none."""
    estimate = getattr(solver, "smallest_curvature", None)
    if objective.affordable or estimate is None:
        return objective.space.array(0.0)
    return estimate(objective, state)


def _scanned(
    objective: Objective, solver: Any, recorded: tuple[int, ...], carry: tuple[Array, Any]
) -> tuple[Array, Array]:
    """The recorded displacements (k, d) and curvature estimates (k,), by scans of known length."""
    xp = objective.space.xp
    output = lambda carry: (carry[0], _curvature(objective, solver, carry[1]))
    step = lambda carry, _: (solver.step(objective, *carry), None)

    def recorded_step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        carry = solver.step(objective, *carry)
        return carry, output(carry)

    carry, _ = jax.lax.scan(step, carry, length=recorded[0])
    outputs = [jax.tree.map(lambda leaf: leaf[None], output(carry))]
    gaps = np.diff(recorded)
    if (gaps == 1).all():
        outputs.append(jax.lax.scan(recorded_step, carry, length=len(gaps))[1])
    else:
        for gap in gaps:
            carry, _ = jax.lax.scan(step, carry, length=int(gap))
            outputs.append(jax.tree.map(lambda leaf: leaf[None], output(carry)))
    return jax.tree.map(lambda *leaves: xp.concatenate(leaves), *outputs)


def _measured(objective: Objective, displacement: Array, curvature: Array) -> Record:
    """One recorded step: against the limit where that is known, else ‖∇L‖ over the smallest curvature."""
    space, xp = objective.space, objective.space.xp
    loss, gradient = objective.loss(displacement), objective.gradient(displacement)
    slope = length(space, gradient)
    if objective.affordable:
        limit = objective.limit
        distance, error = length(space, displacement - limit.displacement), limit.roundings
    else:
        estimated = curvature > 0
        distance = xp.where(estimated, slope / xp.where(estimated, curvature, 1.0), xp.inf)
        n = objective.count
        labels, residual = root(xp, objective.start_loss * n), root(xp, loss * n)
        sigma = root(xp, curvature * n / 2)
        error = limit_error(space, objective.sample, objective.size, sigma, displacement, labels, residual)
        error = xp.where(estimated, error, 0.0)
    return Record(displacement, loss, slope, distance, error)


def exact_path(objective: Objective, solver: Linear, recorded: tuple[int, ...]) -> Record:
    """In the eigenbasis: 1 − φ_K of the way to the limit along each direction, and a sum of squares as loss."""
    # Several threads in small matrices, and still awake after, cost more than they save.
    with single_threaded_blas if objective.affordable else nullcontext():
        basis = objective.eigenbasis
        rate, momentum, lookahead = solver.constants(objective)
        batch = max(1, BLOCK_ENTRIES // max(len(basis.values), 1))  # what stays in cache
        parts = [recorded[low : low + batch] for low in range(0, len(recorded), batch)]
        records = [
            _exact_record(objective, basis, rate, Response((momentum, lookahead), part)) for part in parts
        ]
        join = lambda name: np.concatenate([getattr(record, name) for record in records])
        return Record(*map(join, Record._fields[:-1]), roundings=np.float64(basis.roundings))


def _exact_record(objective: Objective, basis: Eigenbasis, rate: Array, response: Response) -> Record:
    space, x = objective.space, rate * basis.values
    progress = x * response.value(x)  # 1 − φ_K
    error = (progress - 1) * basis.target
    return Record(
        (progress * basis.target) @ basis.vectors.T,
        basis.floor + (progress - 1) ** 2 @ basis.drops,
        length(space, error * basis.values),
        length(space, error),
        np.float64(basis.roundings),
    )


def traced_exact_path(objective: Objective, solver: Linear, recorded: tuple[int, ...]) -> Record:
    """The same differentiably: ψ_K(ηH) ηh, which asks for no rank and divides by no eigenvalue."""
    space, sample = objective.space, objective.sample
    xp, rows = space.xp, sample.X * objective.weights[:, None]
    gram = rows.T @ sample.X if objective.equations is None else objective.equations.gram
    moment = objective.residual @ rows if objective.equations is None else objective.equations.moment
    displacement = solver.reached(
        objective, 2 / objective.count * gram, 2 / objective.count * moment, recorded
    )
    loss = jax.lax.map(objective.loss, displacement)
    slope = length(space, 2 / objective.count * (displacement @ gram - moment))
    distance = length(space, displacement - objective.limit.displacement)
    return Record(displacement, loss, slope, distance, xp.asarray(objective.limit.roundings))
