"""Iterative solvers on data: one loop, solver objects that supply a step size and a step."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from .arrays import Array, InvalidTypeError, InvalidValueError, Namespace, bounded, namespace, pytree
from .least_squares import NormalEquations, Rows, checked_rows

__all__ = ["GradientDescent", "Path", "Solver", "descend"]


@runtime_checkable
class Solver(Protocol):
    """What the loop asks of a solver: a state to begin with, and the next one."""

    def init(self, equations: NormalEquations, displacement: Array) -> Array: ...
    def step(self, equations: NormalEquations, displacement: Array, state: Array) -> tuple[Array, Array]: ...


@pytree
class GradientDescent:
    """δ ← δ − η∇L(δ). ``learning_rate=None`` is 1/λ_max(∇²L), at which nothing can diverge.

    ∇²L = (2/n) Σ wᵢxᵢxᵢᵀ, so that the step which diverges is η ≥ 2/λ_max(∇²L) = 1/λ_max((1/n) Σ wᵢxᵢxᵢᵀ).
    """

    learning_rate: Array | float | None = None

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            space = namespace(self.learning_rate)
            remedy = "must be finite and > 0, or None for the largest safe one"
            accept = lambda v: (v > 0) & (v < math.inf)
            rate = bounded(space, "learning_rate", self.learning_rate, accept, remedy)
            object.__setattr__(self, "learning_rate", rate)

    def init(self, equations: NormalEquations, displacement: Array) -> Array:
        """The step size."""
        space = namespace(equations)
        if self.learning_rate is not None:
            return space.array(self.learning_rate)
        largest = 2 / equations.count * space.xp.linalg.norm(equations.gram, ord=2)
        return 1 / space.xp.where(largest > 0, largest, 1.0)

    def step(self, equations: NormalEquations, displacement: Array, state: Array) -> tuple[Array, Array]:
        return displacement - state * equations.gradient(displacement), state


@pytree
class Path:
    """Every iterate: ``theta`` (steps+1, d) arrays, ``loss`` = L(θ) (steps+1,), and ‖∇L‖ at the end."""

    theta: Array
    loss: Array
    gradient_norm: Array

    @property
    def status(self) -> str:
        """``"diverged"``, ``"descending"`` or ``"stationary"`` (the gradient is rounding), as a word."""
        if not np.isfinite(np.asarray(self.loss)).all() or self.loss[-1] > 2 * self.loss[0]:
            return "diverged"
        space = namespace(self.loss)
        scale = float(abs(self.theta).max()) + math.sqrt(float(self.loss[0]))
        return "stationary" if float(self.gradient_norm) <= 64 * space.eps * scale else "descending"

    @property
    def advice(self) -> str:
        """What to do about the status."""
        return {
            "diverged": "the step is too large; leave learning_rate out, or lower it",
            "descending": "not at the minimum yet; more steps, or solve() for the limit",
            "stationary": "the gradient is zero to rounding",
        }[self.status]


def descend(
    X: Array,
    y: Array,
    start: Array,
    weights: Array | None = None,
    solver: Solver | None = None,
    steps: int = 100,
) -> Path:
    """Run a solver on L(θ) = (1/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)² from ``start``: d² a step, and a pass over the rows
    for each recorded loss.

    Parameters
    ----------
    X, y, start, weights
        (n, d), (n,), (d,) and (n,) arrays, as in :func:`linear_theory.solve`.
    solver : Solver, optional
        ``linear_theory.descent.GradientDescent(learning_rate)`` by default.
    steps : int
        K ≥ 0.

    Returns
    -------
    Path
        With ``theta[0] == start``. Divergence is no exception: it is the path's ``status``.
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise InvalidTypeError("steps", steps, "must be an integer ≥ 0")
    if steps < 0:
        raise InvalidValueError("steps", steps, "must be an integer ≥ 0")
    solver = GradientDescent() if solver is None else solver
    if not isinstance(solver, Solver) or isinstance(solver, type):
        remedy = "must be a solver object, for instance linear_theory.descent.GradientDescent()"
        raise InvalidTypeError("solver", solver, remedy)
    equations = NormalEquations.of(X, y, start, weights)
    _, rows = checked_rows(X, y, start, weights)
    space = namespace(equations, solver)
    equations = space.tree(equations)
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is the path's status, not a warning
        displacements = _loop(space, solver, equations, int(steps))
        slope = equations.gradient(displacements[-1])
        losses = _losses(space, space.tree(rows), displacements)
        return Path(equations.start + displacements, losses, (slope**2).sum() ** 0.5)


def _loop(space: Namespace, solver: Solver, equations: NormalEquations, steps: int) -> Array:
    """All displacements (steps+1, d): the one loop of every iterative solver."""
    first = space.xp.zeros_like(equations.start)
    state = solver.init(equations, first)
    if space.xp is np:
        path = np.empty((steps + 1, first.shape[0]))
        path[0] = first
        for k in range(steps):
            path[k + 1], state = solver.step(equations, path[k], state)
        return path

    def body(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        displacement, state = solver.step(equations, *carry)
        return (displacement, state), displacement

    _, rest = jax.lax.scan(body, (first, state), length=steps)
    return space.xp.concatenate([first[None], rest])


def _losses(space: Namespace, rows: Rows, displacements: Array) -> Array:
    """L at every displacement, from the residuals: out of the Gram matrix it would cancel, even below 0."""
    loss = lambda delta: (rows.weights * (rows.residual - rows.X @ delta) ** 2).mean()
    return (
        np.array([loss(delta) for delta in displacements])
        if space.xp is np
        else jax.lax.map(loss, displacements)
    )
