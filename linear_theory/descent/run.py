"""``descend``: what a solver is, the loop that runs any, and what replaces the loop where the solver is linear."""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from ..arrays import Array, Namespace
from ..errors import InvalidTypeError, InvalidValueError, reject
from ..least_squares.blocks import BLOCK_ENTRIES
from ..least_squares.rows import Sample, checked_sample, refuse_infinite
from ..propagator.momentum import Response
from ..propagator.powers import listed_steps
from ..sharding import on_automatic_mesh
from ..threads import single_threaded_blas
from ..trees import is_concrete
from .objective import Eigenbasis, Objective, Units, error_units, length, limit_error, root
from .path import Path, near_enough
from .solvers import ConjugateGradient, GradientDescent, Linear, StochasticGradient

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
        sample = _without_large_idle_rows(space, sample)
        objective = Objective(
            space, sample, by_rows=getattr(solver, "by_rows", False), units=_units(space, sample, solver)
        )
        if not isinstance(solver, Linear):
            record = _run_loop(objective, solver, recorded)
        elif space.xp is np:
            record = _exact_path(objective, solver, recorded)
        else:
            record = _traced_exact_path(objective, solver, recorded)
        return _path(objective, sample, solver, recorded, record)


def _without_large_idle_rows(space: Namespace, sample: Sample) -> Sample:
    """Zeros in place of the rows of weight 0, where one is so large that 0 times its loss may be no number (NumPy)."""
    if space.xp is not np or sample.weights is None:
        return sample
    idle = sample.weights == 0
    X, y = sample.X[idle], sample.y[idle]
    sizes = np.abs(np.column_stack([X, y, y - X @ sample.start]))
    if not np.isfinite(X).all() or (sizes <= np.finfo(space.dtype).max ** 0.25).all():
        return sample
    X, y = np.where(idle[:, None], 0.0, sample.X), np.where(idle, 0.0, sample.y)
    return Sample(X, y, sample.start, sample.weights, sample.noise)


def _units(space: Namespace, sample: Sample, solver: Any) -> Units:
    """The units in which the rows are of size 1; a solver of one's own is given the rows as they are."""
    units = Units.of(space, sample)
    if isinstance(solver, Linear | ConjugateGradient | StochasticGradient):
        return units
    if is_concrete(units.columns) and 2 * int(units.columns) < np.finfo(space.dtype).minexp:
        reject("X", sample.X, "is so small that squares underflow; rescale the columns, or use solve()")
    return Units(space, 0, 0)


def _recorded_steps(steps: Any, any_size: bool) -> tuple[int, ...]:
    """The steps to record, of any size where no loop is needed."""
    remedy = "must be an integer ≥ 0, or an array of increasing ones"
    numbers, single = listed_steps(steps, remedy)
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise InvalidValueError("steps", steps, remedy)
    if numbers[-1] >= MAX_STEPS and (single or not any_size):
        loop = "is too many: this solver is run step by step"
        every = "is too many to record each; pass an array of the steps that are wanted"
        raise InvalidValueError("steps", steps, every if any_size else loop)
    return tuple(range(numbers[0] + 1)) if single else numbers


class _Record(NamedTuple):
    """At each recorded step: δ (k, d), L, ‖∇L‖ and ‖δ − δ_∞‖ (k,); the error of δ_∞ in units of ε."""

    displacement: Array
    loss: Array
    slope: Array
    distance: Array
    roundings: Array


def _bound_roundings(objective: Objective, record: _Record) -> Array:
    """By how many ε rounding may have falsified the distance: that of the limit, and of storing θ = start + δ."""
    space, displacement = objective.space, record.displacement
    sizes = length(space, objective.start + displacement) + length(space, displacement)
    return record.roundings + error_units(displacement.shape[-1:]) * sizes


def _stops(objective: Objective, solver: Any, record: _Record) -> Array:
    """Whether a recorded step is certainly within the solver's tolerance of the limit."""
    tolerance = objective.space.array(getattr(solver, "tolerance", 0.0))
    bound = record.distance + objective.space.eps * _bound_roundings(objective, record)
    return near_enough(record.displacement, bound, tolerance)


def _run_loop(objective: Objective, solver: Any, recorded: tuple[int, ...]) -> _Record:
    """Step by step; every recorded step is measured when it is reached, so that the loop can stop there."""
    space = objective.space
    displacement = space.xp.zeros_like(objective.start)
    state = solver.init(objective, displacement)
    if space.xp is not np:
        iterates = _scanned(objective, solver, recorded, (displacement, state))
        return _Record(*jax.lax.map(lambda pair: tuple(_measured(objective, *pair)), iterates))
    previous, records = 0, []
    for k in recorded:
        for _ in range(previous, k):
            displacement, state = solver.step(objective, displacement, state)
        previous = k
        reached = displacement.copy()  # A solver may work in place.
        records.append(_measured(objective, reached, _curvature(objective, solver, state)))
        if bool(_stops(objective, solver, records[-1])):
            break
    return _Record(*(np.array(column) for column in zip(*records, strict=True)))


def _curvature(objective: Objective, solver: Any, state: Any) -> Array:
    """The solver's own estimate of the smallest curvature, where no bound is known; 0 if it has none."""
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


def _measured(objective: Objective, displacement: Array, curvature: Array) -> _Record:
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
    return _Record(displacement, loss, slope, distance, error)


def _exact_path(objective: Objective, solver: Linear, recorded: tuple[int, ...]) -> _Record:
    """In the eigenbasis: 1 − φ_K of the way to the limit along each direction, and a sum of squares as loss."""
    # Several threads in small matrices, and still awake after, cost more than they save.
    with single_threaded_blas if objective.affordable else nullcontext():
        basis = objective.eigenbasis
        rate, momentum, lookahead = solver.constants(objective)
        batch = max(1, BLOCK_ENTRIES // max(len(basis.values), 1))  # As many steps as stay in cache.
        records = [
            _exact_record(
                objective.space, basis, rate, Response((momentum, lookahead), recorded[low : low + batch])
            )
            for low in range(0, len(recorded), batch)
        ]
        columns = [np.concatenate(column) for column in list(zip(*records, strict=True))[:-1]]
        return _Record(*columns, roundings=np.float64(basis.roundings))


def _exact_record(space: Namespace, basis: Eigenbasis, rate: Array, response: Response) -> _Record:
    x = rate * basis.values
    progress = x * response.value(x)  # 1 − φ_K
    error = (progress - 1) * basis.target
    return _Record(
        (progress * basis.target) @ basis.vectors.T,
        basis.floor + (progress - 1) ** 2 @ basis.drops,
        length(space, error * basis.values),
        length(space, error),
        np.float64(basis.roundings),
    )


def _traced_exact_path(objective: Objective, solver: Linear, recorded: tuple[int, ...]) -> _Record:
    """The same in JAX, differentiably: ψ_K(ηH) ηh, which asks for no rank and divides by no eigenvalue."""
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
    return _Record(displacement, loss, slope, distance, xp.asarray(objective.limit.roundings))


def _path(
    objective: Objective, sample: Sample, solver: Any, recorded: tuple[int, ...], record: _Record
) -> Path:
    """The path up to the first record that is near enough; under tracing that record is repeated to the end."""
    space, units = objective.space, objective.units
    xp, dtype = space.xp, _step_type(space, recorded[-1])
    largest = float(np.finfo(dtype).max) if np.issubdtype(dtype, np.floating) else math.inf
    steps = xp.asarray(np.array([min(k, largest) for k in recorded[: len(record.loss)]], dtype=dtype))
    stopped = _stops(objective, solver, record)
    roundings = xp.broadcast_to(_bound_roundings(objective, record), record.loss.shape)
    start_loss = units.loss(objective.start_loss)
    if is_concrete(start_loss) and not bool(xp.isfinite(start_loss)):
        refuse_infinite(space, objective.X)
        reject("y", sample.y, "is so far from X·start that squared residuals overflow; rescale y")
    theta = sample.start + units.displacement(record.displacement)
    distance, roundings = units.displacement(record.distance), units.displacement(roundings)
    if is_concrete(theta) and bool(xp.isfinite(record.distance).all()) and not bool(xp.isfinite(theta).all()):
        reject("X", sample.X, "is so small beside y that the path overflows; rescale the columns")
    columns = (theta, units.loss(record.loss), steps, distance, roundings)
    slope = units.slope(record.slope)
    if is_concrete(stopped):
        end = int(stopped.argmax()) + 1 if bool(stopped.any()) else len(stopped)
        columns, last = tuple(column[:end] for column in columns), end - 1
    else:
        last = xp.where(stopped.any(), stopped.argmax(), len(stopped) - 1)
        columns = tuple(column[xp.minimum(xp.arange(len(stopped)), last)] for column in columns)
    certified = (
        objective.affordable or isinstance(solver, Linear) or not hasattr(solver, "smallest_curvature")
    )
    return Path(
        *columns,
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
