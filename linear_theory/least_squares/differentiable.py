"""Weighted least squares in JAX: the same under ``jit``, ``vmap`` and ``grad``, on one device or many.

The value comes from a factorisation that no derivative passes through. The derivative, of any order, is that of
H⁺g, H = XᵀWX + n·ridge·I, g = XᵀWr, by the implicit function theorem (``pseudo_inverse``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..arrays import Array, Namespace
from ..trees import is_concrete, pytree
from .pseudo_inverse import Inverse, column_sizes, differentiable_split, minimiser, spectral_inverse
from .rows import MAX_NOISE, Sample, refuse_overflow
from .solution import MAX_CONTRACTION, Method, Solution, from_start, seen_from_end, unrefined_error

MAX_REFINEMENTS = 4
"""Passes over the rows at most."""


@pytree
class Weighted:
    """Of weighted rows: H = XᵀWX + pull·I, g = XᵀWr."""

    X: Array
    weights: Array
    pull: Array
    residual: Array

    def matrix(self) -> Array:
        """H (d, d)."""
        identity = jnp.eye(self.X.shape[1], dtype=self.X.dtype)
        return self.X.T @ (self.X.T * self.weights).T + self.pull * identity

    def apply(self, vectors: Array) -> Array:
        """H v."""
        return self.X.T @ ((self.X @ vectors).T * self.weights).T + self.pull * vectors

    def slope(self, displacement: Array) -> Array:
        """g − Hδ."""
        residual = self.residual - self.X @ displacement
        return self.X.T @ (residual.T * self.weights).T - self.pull * displacement


def minimise(space: Namespace, sample: Sample, ridge: Array) -> Solution:
    """The minimiser, (d,) or (d, m), for checked rows."""
    weights = sample.row_weights
    problem = Weighted(sample.X, weights, sample.X.shape[0] * ridge, sample.residual)
    rows, y, start = jax.lax.stop_gradient((problem, sample.y, sample.start))
    sizes = jnp.sqrt(((rows.X.T * jnp.sqrt(rows.weights)) ** 2).sum(axis=1))
    noise = jnp.zeros_like(sizes) if sample.noise is None else sample.noise * jnp.sqrt(rows.weights.sum())
    solver = _Solver(space, rows, sizes, noise)
    inverse, value, method, refinements = solver.displacement(rows.residual, jnp.zeros_like(start))
    solve_from = lambda end: solver.displacement(y - rows.X @ end, end - start)[1]
    value, correction = seen_from_end(space, start, value, sizes, solve_from)
    end = start + value
    refuse_overflow(space, sample, end)
    displacement = minimiser(differentiable_split(space, inverse, sizes), value, problem)
    residual = (sample.y - sample.X @ end) - sample.X @ ((sample.start + displacement - end) + correction)
    energy = (residual * (residual.T * weights).T).sum(axis=0)
    rank = jnp.where(rows.pull > 0, sample.X.shape[1], inverse.rank)
    known = ~jnp.isnan(sizes + noise + rows.pull).any()  # A bad value that cannot be looked at is NaN.
    condition = jnp.where(known, inverse.condition, jnp.nan)
    zero = jnp.zeros_like(start)
    solution = Solution(displacement, rank, condition, energy, method, refinements, sizes, zero)
    return from_start(space, sample.start, solution, correction)


Displacement = tuple[Inverse, Array, Array, Array]
"""The inverse of H, δ, the method and the number of refinements."""


class _Solver:
    """The refined Cholesky solution where that can be relied on, else the SVD."""

    def __init__(self, space: Namespace, rows: Weighted, sizes: Array, noise: Array) -> None:
        self.space, self.rows, self.noise = space, rows, noise
        n, d = rows.X.shape
        self.tall = n >= d
        if self.tall:
            self.inverse, usable = _by_cholesky(space, rows)
            self.usable = usable & (noise <= MAX_NOISE * sizes).all()

    def displacement(self, residual: Array, offset: Array) -> Displacement:
        """δ, argmin Σw(r − Xδ)² + pull·‖offset + δ‖²."""
        rows = Weighted(self.rows.X, self.rows.weights, self.rows.pull, residual)
        by_svd = lambda: _by_svd(self.space, rows, offset, self.noise)
        if not self.tall:
            return by_svd()
        refined = lambda: _refined(self.space, self.inverse, rows, offset)
        if is_concrete(self.usable):
            return refined() if bool(self.usable) else by_svd()
        return jax.lax.cond(self.usable, refined, by_svd)


def _by_cholesky(space: Namespace, rows: Weighted) -> tuple[Inverse, Array]:
    """A root of (XᵀWX + pull)⁻¹ from the equilibrated normal equations, and whether it can be relied on."""
    d = rows.X.shape[1]
    scaled = (rows.X.T * jnp.sqrt(rows.weights)).T
    gram = scaled.T @ scaled
    scale = column_sizes(space, jnp.diagonal(gram) + rows.pull)
    identity = jnp.eye(d, dtype=space.dtype)
    matrix = (gram + rows.pull * identity) / scale / scale[:, None]
    values = jnp.linalg.eigvalsh(matrix)
    condition = jnp.sqrt(values[-1] / values[0])
    usable = (
        unrefined_error(condition, d, space.eps) < MAX_CONTRACTION
    )  # NaN, of a negative eigenvalue, is not.
    factor = jnp.linalg.cholesky(jnp.where(usable, matrix, identity))
    inverse = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    zero_unless_usable = lambda value: jnp.where(usable, value, 0.0)
    root = zero_unless_usable(inverse.T / scale[:, None])
    projector = jnp.zeros((d, d), dtype=space.dtype)
    return Inverse(root, projector, jnp.asarray(d), zero_unless_usable(condition)), usable


def _refined(space: Namespace, inverse: Inverse, rows: Weighted, offset: Array) -> Displacement:
    """δ ← δ + H⁻¹(XᵀW(r − Xδ) − pull·δ) from 0, until a step no longer changes anything but rounding."""
    correction = lambda delta: inverse.root @ (inverse.root.T @ (rows.slope(delta) - rows.pull * offset))

    def changing(state: tuple[Array, Array, Array]) -> Array:
        _, size, count = state
        return (size > 4 * space.eps) & (count < MAX_REFINEMENTS)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        delta, size, count = state
        change = correction(delta)
        length = jnp.max(jnp.abs(delta), initial=0.0)
        now = jnp.max(jnp.abs(change), initial=0.0) / jnp.where(length > 0, length, 1.0)
        return delta + change, jnp.where(now < size / 4, now, 0.0), count + 1

    first = correction(jnp.zeros_like(offset))
    delta, _, count = jax.lax.while_loop(changing, step, (first, space.array(jnp.inf), jnp.asarray(0)))
    return inverse, delta, jnp.where(count > 0, int(Method.REFINED), int(Method.CHOLESKY)), count


def _by_svd(space: Namespace, rows: Weighted, offset: Array, noise: Array) -> Displacement:
    """The shortest solution of √w·X δ = √w·r (and √pull·δ = −√pull·offset) by the SVD of the equilibrated rows.

    A column of which less is left than its noise stands in units of that: then it is as small as it is unsure.
    """
    X, weights, pull, residual = rows.X, rows.weights, rows.pull, rows.residual
    n, d = X.shape
    root = jnp.sqrt(weights)
    weighted = jnp.concatenate([X, residual.reshape(n, -1)], axis=1) * root[:, None]
    weighted = _triangle(weighted) if n >= d else weighted
    tall = jnp.concatenate([weighted[:, :d], jnp.sqrt(pull) * jnp.eye(d, dtype=space.dtype)])
    target = weighted[:, d:].reshape(-1, *residual.shape[1:])
    target = jnp.concatenate([target, -jnp.sqrt(pull) * offset])
    squares = (tall**2).sum(axis=0)
    scale = jnp.maximum(column_sizes(space, squares), noise)
    # A column of zeros gets a singular value that no other can have, so that no other vector has a part in it.
    zero_columns, apart = squares == 0, 2.0 * d**0.5
    with_apart = jnp.concatenate([tall / scale, apart * jnp.diag(zero_columns.astype(space.dtype))])
    left, sizes, right = jnp.linalg.svd(with_apart, full_matrices=False)
    of_zero_column = sizes > 0.75 * apart
    sizes = jnp.where(of_zero_column, 0.0, sizes)
    kept = sizes > (n + d) * space.eps * jnp.maximum(jnp.max(sizes), 1.0)
    right = jnp.where(zero_columns[:, None] | of_zero_column, 0.0, right.T)
    inverse = spectral_inverse(space, sizes, right, kept, scale, zero_columns, power=1)
    displacement = inverse.root @ (left[: len(tall)].T @ target)
    return inverse, displacement, jnp.asarray(int(Method.SVD)), jnp.asarray(0)


def _triangle(rows: Array) -> Array:
    """R of the QR factorisation, through one for each device: of sharded rows the triangles alone travel."""
    parts = jax.device_count()
    n, width = rows.shape
    rows = jnp.pad(rows, ((0, -n % parts), (0, 0)))
    triangles = jnp.linalg.qr(rows.reshape(parts, -1, width), mode="r")
    return jnp.linalg.qr(triangles.reshape(-1, width), mode="r")
