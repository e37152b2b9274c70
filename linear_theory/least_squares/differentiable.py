"""Weighted least squares in JAX: the same under ``jit``, ``vmap`` and ``grad``, on one device or many.

The value comes from a factorisation that no derivative passes through. The derivative, of any order, is that of
H⁺g, H = XᵀWX + n·ridge·I, g = XᵀWr, by the implicit function theorem (``split``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace
from ..trees import is_concrete, pytree
from .pseudo_inverse import Inverse, column_sizes, spectral_inverse
from .refinement import MAX_CONTRACTION, far_from
from .rows import MAX_NOISE, Sample, refuse_overflow
from .solution import Method, Solution, from_start
from .split import Split, minimiser

MAX_REFINEMENTS = 4

MAX_DERIVATIVE_ROUNDING = 1e-2
"""The relative rounding of a derivative from which it is no number."""


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


@pytree
class Summed:
    """Of sums: H = Gram + pull·I, g = moment."""

    gram: Array
    pull: Array
    moment: Array

    def matrix(self) -> Array:
        """H (d, d)."""
        return self.gram + self.pull * jnp.eye(len(self.gram), dtype=self.gram.dtype)

    def apply(self, vectors: Array) -> Array:
        """H v."""
        return self.gram @ vectors + self.pull * vectors

    def slope(self, displacement: Array) -> Array:
        """g − Hδ."""
        return self.moment - self.apply(displacement)


def minimise(space: Namespace, sample: Sample, ridge: Array) -> Solution:
    """The minimiser, (d,) or (d, m), for checked rows."""
    n, _ = sample.X.shape
    weights = jnp.ones(n, dtype=space.dtype) if sample.weights is None else sample.weights
    problem = Weighted(sample.X, weights, n * ridge, sample.residual)
    rows, y, start = jax.lax.stop_gradient((problem, sample.y, sample.start))
    sizes = jnp.sqrt(((rows.X.T * jnp.sqrt(rows.weights)) ** 2).sum(axis=1))
    noise = jnp.zeros_like(sizes) if sample.noise is None else sample.noise * jnp.sqrt(rows.weights.sum())
    solver = _Solver(space, rows, sizes, noise)
    inverse, value, method, refinements = solver.displacement(rows.residual, jnp.zeros_like(start))
    end = start + value
    # Seen from where it ended, the residual is not the small difference of two large ones.
    again = lambda: solver.displacement(y - rows.X @ end, end - start)[1]
    far = far_from(space, start, end, sizes)
    if is_concrete(far):
        correction = again() if bool(far) else jnp.zeros_like(end)
    else:
        correction = jax.lax.cond(far, again, lambda: jnp.zeros_like(end))
    refuse_overflow(space, sample, end)
    displacement = minimiser(_split(space, inverse, sizes), value, problem)
    residual = (sample.y - sample.X @ end) - sample.X @ ((sample.start + displacement - end) + correction)
    energy = (residual * (residual.T * weights).T).sum(axis=0)
    rank = jnp.where(rows.pull > 0, sample.X.shape[1], inverse.rank)
    known = ~jnp.isnan(sizes + noise + rows.pull).any()  # what cannot be looked at may be a bad value
    condition = jnp.where(known, inverse.condition, jnp.nan)
    found = Solution(displacement, rank, condition, energy, method, refinements, sizes, jnp.zeros_like(start))
    return from_start(space, sample.start, found, correction)


def _split(space: Namespace, inverse: Inverse, sizes: Array) -> Split:
    """P = H⁺ and N for derivatives, which are NaN where their own rounding would be all there is.

    N dH P is 0 where the rank is kept, and in floats a difference of terms (largest column/smallest)² times as large.
    """
    largest, smallest = jnp.max(sizes), jnp.min(jnp.where(sizes > 0, sizes, jnp.inf))
    rounding = len(sizes) * space.eps * largest * largest
    lost = rounding > MAX_DERIVATIVE_ROUNDING * smallest * smallest
    lost = lost & jnp.where(sizes > 0, inverse.projector, 0.0).any()
    return Split.of(inverse.root @ inverse.root.T, jnp.where(lost, jnp.nan, inverse.projector))


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
    usable = d * condition**2 * space.eps < MAX_CONTRACTION  # false for the NaN of a negative eigenvalue
    factor = jnp.linalg.cholesky(jnp.where(usable, matrix, identity))
    inverse = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    safe = lambda value: jnp.where(usable, value, 0.0)
    root = safe(inverse.T / scale[:, None])
    none = jnp.zeros((d, d), dtype=space.dtype)
    return Inverse(root, none, jnp.asarray(d), safe(condition)), usable


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
    both = jnp.concatenate([tall / scale, apart * jnp.diag(zero_columns.astype(space.dtype))])
    left, sizes, right = jnp.linalg.svd(both, full_matrices=False)
    idle_sizes = sizes > 0.75 * apart
    sizes = jnp.where(idle_sizes, 0.0, sizes)
    kept = sizes > (n + d) * space.eps * jnp.maximum(jnp.max(sizes), 1.0)
    right = jnp.where(zero_columns[:, None] | idle_sizes, 0.0, right.T)
    inverse = spectral_inverse(space, sizes, right, kept, scale, zero_columns, power=1)
    return (
        inverse,
        inverse.root @ (left[: len(tall)].T @ target),
        jnp.asarray(int(Method.SVD)),
        jnp.asarray(0),
    )


def _triangle(rows: Array) -> Array:
    """R of the QR factorisation, through one for each device: of sharded rows the triangles alone travel."""
    parts = jax.device_count()
    n, width = rows.shape
    rows = jnp.pad(rows, ((0, -n % parts), (0, 0)))
    triangles = jnp.linalg.qr(rows.reshape(parts, -1, width), mode="r")
    return jnp.linalg.qr(triangles.reshape(-1, width), mode="r")


def minimise_sums(space: Namespace, sums: Summed, energy: Array, count: Array, start: Array) -> Solution:
    """The minimiser from sums alone, in NumPy as in JAX: eigenvectors of the equilibrated Gram matrix.

    Where the sums cannot show whether there is a direction, the condition number of the whole is infinite.
    """
    xp, gram, moment, pull = space.xp, sums.gram, sums.moment, sums.pull
    d = gram.shape[0]
    stop = jax.lax.stop_gradient if xp is jnp else lambda value: value
    matrix, squares = stop(gram + pull * xp.eye(d, dtype=space.dtype)), stop(xp.diagonal(gram))
    scale = column_sizes(space, xp.diagonal(matrix))
    # A column of zeros gets an eigenvalue that no other can have, so that no other vector has a part in it.
    zero_columns = xp.diagonal(matrix) == 0
    values, vectors = xp.linalg.eigh(
        matrix / scale / scale[:, None] - xp.diag(zero_columns.astype(space.dtype))
    )
    vectors = xp.where(zero_columns[:, None] | (values < -0.5), 0.0, vectors)
    kept = values > d * space.eps * xp.maximum(values[-1], 0.0)
    inverse = spectral_inverse(
        space, xp.sqrt(xp.where(kept, values, 0.0)), vectors, kept, scale, zero_columns, power=2
    )
    displacement = inverse.root @ (inverse.root.T @ stop(moment))
    unknown = xp.isnan(matrix).any()  # what cannot be looked at: it has no rank, and no minimiser
    displacement = xp.where(unknown, xp.nan, displacement)
    if xp is jnp:
        displacement = minimiser(_split(space, inverse, stop(xp.sqrt(squares))), displacement, sums)
    with np.errstate(over="ignore", invalid="ignore"):
        drop = (moment * displacement).sum(axis=0)
        curved = pull * (displacement * displacement).sum(axis=0)
        residual = energy - drop - curved
    most = xp.where(pull > 0, float(d), xp.minimum(space.array((squares > 0).sum()), count))
    condition = xp.where(space.array(inverse.rank) < most, xp.inf, inverse.condition)
    condition = xp.where(unknown, xp.nan, condition)
    rank, sizes = xp.where(pull > 0, d, inverse.rank), xp.sqrt(squares)
    found = Solution(displacement, rank, condition, residual, int(Method.SPECTRAL), 0, sizes, 0.0 * start)
    return from_start(space, start, found)
