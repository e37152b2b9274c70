"""Linear solvers without a loop: any step of theirs in the eigenbasis of ∇²L."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import numpy as np

from ..arrays import Array
from ..least_squares.blocks import BLOCK_ENTRIES
from ..propagator.momentum import Response
from ..threads import single_threaded_blas
from .limit import Spectrum, length
from .linear import Linear
from .objective import Objective
from .record import Record

__all__ = ["exact", "exact_traced"]


def exact(objective: Objective, solver: Linear, chosen: tuple[int, ...]) -> Record:
    """In the eigenbasis: 1 − φ_K of the way to the limit along each direction, and a sum of squares as loss."""
    # Several threads in small matrices, and still awake after, cost more than they save.
    with single_threaded_blas if objective.affordable else nullcontext():
        basis = objective.spectrum
        rate, momentum, lookahead = solver.constants(objective)
        batch = max(1, BLOCK_ENTRIES // max(len(basis.values), 1))  # what stays in cache
        parts = [chosen[low : low + batch] for low in range(0, len(chosen), batch)]
        records = [
            _responded(objective, basis, rate, Response((momentum, lookahead), part)) for part in parts
        ]
        join = lambda name: np.concatenate([getattr(record, name) for record in records])
        return Record(*map(join, Record._fields[:-1]), roundings=np.float64(basis.roundings))


def _responded(objective: Objective, basis: Spectrum, rate: Array, response: Response) -> Record:
    space, x = objective.space, rate * basis.values
    gone = x * response.value(x)
    left = (gone - 1) * basis.target
    return Record(
        (gone * basis.target) @ basis.vectors.T,
        basis.floor + (gone - 1) ** 2 @ basis.drops,
        length(space, left * basis.values),
        length(space, left),
        np.float64(basis.roundings),
    )


def exact_traced(objective: Objective, solver: Linear, chosen: tuple[int, ...]) -> Record:
    """The same differentiably: ψ_K(ηH) ηh, which asks for no rank and divides by no eigenvalue."""
    space, sample = objective.space, objective.sample
    xp, rows = space.xp, sample.X * objective.weights[:, None]
    gram = rows.T @ sample.X if objective.equations is None else objective.equations.gram
    moment = objective.residual @ rows if objective.equations is None else objective.equations.moment
    displacement = solver.reached(objective, 2 / objective.count * gram, 2 / objective.count * moment, chosen)
    loss = jax.lax.map(objective.loss, displacement)
    slope = length(space, 2 / objective.count * (displacement @ gram - moment))
    distance = length(space, displacement - objective.limit.displacement)
    return Record(displacement, loss, slope, distance, xp.asarray(objective.limit.roundings))
