"""``descend``: the loop of every solver, and what replaces it where the solver is linear."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from ..arrays import Array, Namespace
from ..errors import InvalidTypeError, InvalidValueError, reject
from ..least_squares.rows import Sample, checked_sample, refuse_infinite
from ..propagator.powers import listed_steps
from ..sharding import on_automatic_mesh
from ..trees import is_concrete
from .conjugate import ConjugateGradient
from .linear import GradientDescent, Linear
from .loop import Record, bound_roundings, exact_path, run_loop, stops, traced_exact_path
from .objective import Objective
from .path import Path
from .stochastic import StochasticGradient
from .units import Units

__all__ = ["Solver", "descend"]

MAX_STEPS = 2**31
"""Of steps that a loop takes, or of iterates that are recorded: more must have been meant as something else."""


@runtime_checkable
class Solver(Protocol):
    """What the loop asks of a solver: a state to begin with, and the next displacement (d,) and state.

    ``objective`` offers ``gradient(δ)`` and ``loss(δ)``, and the rows: see :class:`Objective`. Optional:
    ``tolerance`` (0), at which relative distance to stop, and ``by_rows`` (False), that no gradient is asked
    for, so that no normal equations need be taken of X with many columns.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> class SignDescent:
    ...     def init(self, objective, displacement):
    ...         return 0.125  # the size of a step, which is all the state there is
    ...
    ...     def step(self, objective, displacement, size):
    ...         return displacement - size * np.sign(objective.gradient(displacement)), size
    ...
    >>> path = lt.descend(np.diag([1.0, 2.0]), np.ones(2), np.zeros(2), solver=SignDescent(), steps=8)
    >>> print(path.theta[[4, 8]].tolist())
    [[0.5, 0.5], [1.0, 0.5]]
    """

    def init(self, objective: Objective, displacement: Array) -> Any: ...
    def step(self, objective: Objective, displacement: Array, state: Any) -> tuple[Array, Any]: ...


@on_automatic_mesh
def descend(
    X: Array,
    y: Array,
    start: Array,
    weights: Array | None = None,
    solver: Solver | None = None,
    steps: int | Array = 100,
    *,
    column_scale: Array | None = None,
) -> Path:
    """Run a solver on L(θ) = (1/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)² from ``start``.

    Gradient descent, heavy ball and Nesterov are exact at any step from the eigenbasis of ∇²L, without a
    loop: about two passes over the rows whatever the steps (in JAX one more for each recorded loss). Every
    other solver is run step by step, with a pass over the rows for each recorded loss.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
    weights : (n,) array, optional
        ≥ 0; ``None`` is all ones. All four as in :func:`linear_theory.solve`.
    solver : Solver, optional
        ``linear_theory.descent.GradientDescent()`` by default, or ``HeavyBall``, ``Nesterov``,
        ``ConjugateGradient``, ``StochasticGradient``, or one of your own with ``init`` and ``step``.
    steps : int or (k,) array of increasing ints
        K ≥ 0 records every iterate 0 … K; an array or sequence records these alone. Python integers of any
        size where no loop is needed. Not traceable.
    column_scale : (d,) array, optional
        As in :func:`linear_theory.solve`: the magnitude each column was made from.

    Returns
    -------
    Path
        Every recorded iterate with its loss and a bound on its distance to the limit, the minimiser closest
        to ``start``. It ends at the first recorded step that is certainly within the solver's ``tolerance``
        of the limit; under ``jit``, where lengths are fixed, that step is repeated to the end. Divergence is
        no exception: it is the path's ``status``.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For bad rows as in ``solve``, rows so large that their squares overflow, K < 0 or not an integer,
        steps that do not increase, or 2³¹ and more of them where a loop is needed or all are recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 3.0])
    >>> path = lt.descend(X, y, start=np.zeros(2), steps=[1, 10, 10**15])
    >>> print(path.theta.round(4).tolist(), path.status)
    [[1.5279, 1.1459], [1.1277, 1.7934], [1.0, 2.0]] stationary
    """
    solver = GradientDescent() if solver is None else solver
    if not isinstance(solver, Solver) or isinstance(solver, type):
        remedy = "must be a solver object, for instance linear_theory.descent.GradientDescent()"
        raise InvalidTypeError("solver", solver, remedy)
    recorded = _recorded_steps(steps, isinstance(solver, Linear))
    space, sample = checked_sample(X, y, start, weights, solver, steps, column_scale=column_scale)
    if sample.y.ndim != 1:
        reject("y", y, f"must be a vector, not an array of shape {sample.y.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is the path's status, not a warning
        objective = Objective(space, sample, getattr(solver, "by_rows", False), _units(space, sample, solver))
        if not isinstance(solver, Linear):
            record = run_loop(objective, solver, recorded)
        elif space.xp is np:
            record = exact_path(objective, solver, recorded)
        else:
            record = traced_exact_path(objective, solver, recorded)
        return _path(objective, sample, solver, recorded, record)


def _units(space: Namespace, sample: Sample, solver: Any) -> Units:
    """Those in which the rows are of size 1; a solver of one's own is given the rows as they are."""
    units = Units.of(space, sample)
    if isinstance(solver, Linear | ConjugateGradient | StochasticGradient):
        return units
    if is_concrete(units.columns) and 2 * int(units.columns) < np.finfo(space.dtype).minexp:
        reject("X", sample.X, "is so small that squares underflow; rescale the columns, or use solve()")
    return Units(space, 0, 0)


def _recorded_steps(steps: Any, any_size: bool) -> tuple[int, ...]:
    """The steps to record."""
    remedy = "must be an integer ≥ 0, or an array of increasing ones"
    numbers, single = listed_steps(steps, remedy)
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise InvalidValueError("steps", steps, remedy)
    if numbers[-1] >= MAX_STEPS and (single or not any_size):
        remedy = "is too many: this solver is run step by step"
        every = "is too many to record each; pass an array of the steps that are wanted"
        raise InvalidValueError("steps", steps, every if any_size else remedy)
    return tuple(range(numbers[0] + 1)) if single else numbers


def _path(
    objective: Objective, sample: Sample, solver: Any, recorded: tuple[int, ...], record: Record
) -> Path:
    """Up to the first record that is near enough; where that cannot be looked at, held there to the end."""
    space, units = objective.space, objective.units
    xp, dtype = space.xp, _step_type(space, recorded[-1])
    largest = float(np.finfo(dtype).max) if np.issubdtype(dtype, np.floating) else math.inf
    steps = xp.asarray(np.array([min(k, largest) for k in recorded[: len(record.loss)]], dtype=dtype))
    stopped = stops(objective, solver, record)
    roundings = xp.broadcast_to(bound_roundings(objective, record), record.loss.shape)
    start_loss = units.loss(objective.start_loss)
    if is_concrete(start_loss) and not bool(xp.isfinite(start_loss)):
        refuse_infinite(space, objective.X)
        reject("y", sample.y, "is so far from X·start that squared residuals overflow; rescale y")
    theta = sample.start + units.displacement(record.displacement)
    distance, roundings = units.displacement(record.distance), units.displacement(roundings)
    if is_concrete(theta) and bool(xp.isfinite(record.distance).all()) and not bool(xp.isfinite(theta).all()):
        reject("X", sample.X, "is so small beside y that the path overflows; rescale the columns")
    rows = (theta, units.loss(record.loss), steps, distance, roundings)
    slope = units.slope(record.slope)
    if is_concrete(stopped):
        end = int(stopped.argmax()) + 1 if bool(stopped.any()) else len(stopped)
        rows, last = tuple(row[:end] for row in rows), end - 1
    else:
        last = xp.where(stopped.any(), stopped.argmax(), len(stopped) - 1)
        rows = tuple(row[xp.minimum(xp.arange(len(stopped)), last)] for row in rows)
    certified = (
        objective.affordable or isinstance(solver, Linear) or not hasattr(solver, "smallest_curvature")
    )
    return Path(
        *rows,
        gradient_norm=slope[last],
        start=sample.start,
        start_loss=start_loss,
        tolerance=space.array(getattr(solver, "tolerance", 0.0)),
        certified=xp.asarray(int(certified)),
    )


def _step_type(space: Namespace, largest: int) -> Any:
    """The integer type that holds the steps; beyond every one of them, floats (at most the largest)."""
    widest = 2**63 if space.xp is np or jax.config.jax_enable_x64 else 2**31  # pyright: ignore
    return (np.int64 if widest > 2**31 else np.int32) if largest < widest else space.dtype
