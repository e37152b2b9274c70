"""Weighted least squares in JAX: the same under ``jit``, ``vmap`` and ``grad``, on one device or many.

The value comes from a factorisation that no derivative passes through. The derivative is that of H⁺g,
H = XᵀWX + n·ridge·I, by the implicit function theorem (Golub and Pereyra where the rank is deficient):

    dH⁺ = −H⁺ dH H⁺ + H⁺H⁺ dH N + N dH H⁺H⁺,      dN = −H⁺ dH N − N dH H⁺,      N = I − H⁺H,

written with H⁺ and N themselves, so that it can be taken again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ..arrays import Array, Namespace, is_concrete
from .fit import (
    CHOLESKY,
    CONTRACTION,
    DIRECT,
    REFINED,
    SPECTRAL,
    SVD,
    Fit,
    Inverse,
    column_scale,
    spectral_inverse,
)
from .rows import Sample

if TYPE_CHECKING:
    from .equations import NormalEquations

MAX_REFINEMENTS = 4

Apply = Callable[[Any, Array], Array]


def _rows_apply(held: tuple[Array, Array, Array], vector: Array) -> Array:
    """(XᵀWX + pull·I) v."""
    X, weights, pull = held
    return X.T @ ((X @ vector).T * weights).T + pull * vector


def _gram_apply(held: tuple[Array, Array], vector: Array) -> Array:
    gram, pull = held
    return gram @ vector + pull * vector


def _change(apply: Apply, held: Any, moved: Any, vector: Array) -> Array:
    """(dH) v."""
    return jax.jvp(lambda h: apply(h, vector), (held,), (moved,))[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _inverse(apply: Apply, known: Inverse, held: Any, vector: Array) -> Array:
    """H⁺v."""
    return known.root @ (known.root.T @ vector)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unseen(apply: Apply, known: Inverse, held: Any, vector: Array) -> Array:
    """N v."""
    return known.unseen @ vector


@_inverse.defjvp
def _(apply: Apply, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (known, held, vector), (_, moved, d_vector) = primals, tangents
    inverse, unseen = partial(_inverse, apply, known, held), partial(_unseen, apply, known, held)
    change = partial(_change, apply, held, moved)
    value = inverse(vector)
    seen = inverse(d_vector - change(value))
    return value, seen + inverse(inverse(change(unseen(vector)))) + unseen(change(inverse(value)))


@_unseen.defjvp
def _(apply: Apply, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (known, held, vector), (_, moved, d_vector) = primals, tangents
    inverse, unseen = partial(_inverse, apply, known, held), partial(_unseen, apply, known, held)
    change = partial(_change, apply, held, moved)
    value = unseen(vector)
    return value, unseen(d_vector) - inverse(change(value)) - unseen(change(inverse(vector)))


def _differentiable(apply: Apply, known: Inverse, held: Any, found: Array, moment: Array) -> Array:
    """H⁺g = Pδ + H⁺(g − Hδ) for every constant δ; taken at δ = found, of which it keeps the value's digits."""
    known, found = jax.lax.stop_gradient((known, found))
    rest = _inverse(apply, known, held, moment - apply(held, found)) - _unseen(apply, known, held, found)
    return found + (rest - jax.lax.stop_gradient(rest))


def fit(space: Namespace, sample: Sample, ridge: Array) -> Fit:
    """The displacement (d,) or (d, m) for checked rows."""
    n, d = sample.X.shape
    residual = sample.residual
    weights = jnp.ones(n, dtype=space.dtype) if sample.weights is None else sample.weights
    pull = n * ridge
    held = (sample.X, weights, pull)
    data = jax.lax.stop_gradient((sample.X, weights, pull, residual))
    if n < d:
        found = _by_svd(space, *data)
    else:
        inverse, usable = _by_cholesky(space, *data[:3])
        refined = lambda: _refined(space, inverse, *data)
        if is_concrete(usable):
            found = refined() if bool(usable) else _by_svd(space, *data)
        else:
            found = jax.lax.cond(usable, refined, lambda: _by_svd(space, *data))
    known, displacement, way, refinements = found
    moment = sample.X.T @ (residual.T * weights).T
    displacement = _differentiable(_rows_apply, known, held, displacement, moment)
    left = residual - sample.X @ displacement
    energy = (left * (left.T * weights).T).sum(axis=0)
    return Fit(displacement, known.rank, known.condition, energy, way, refinements)


Found = tuple[Inverse, Array, Array, Array]


def _by_cholesky(space: Namespace, X: Array, weights: Array, pull: Array) -> tuple[Inverse, Array]:
    """A root of (XᵀWX + pull)⁻¹ from the equilibrated normal equations, and whether it can be relied on."""
    d = X.shape[1]
    scaled = (X.T * jnp.sqrt(weights)).T
    gram = scaled.T @ scaled
    scale = column_scale(space, jnp.diagonal(gram) + pull)
    identity = jnp.eye(d, dtype=space.dtype)
    matrix = (gram + pull * identity) / scale / scale[:, None]
    values = jnp.linalg.eigvalsh(matrix)
    condition = jnp.sqrt(values[-1] / values[0])
    usable = d * condition**2 * space.eps < CONTRACTION  # false for the NaN of a negative eigenvalue
    factor = jnp.linalg.cholesky(jnp.where(usable, matrix, identity))
    inverse = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    safe = lambda value: jnp.where(usable, value, 0.0)
    root = safe(inverse.T / scale[:, None])
    none = jnp.zeros((d, d), dtype=space.dtype)
    return Inverse(root, none, jnp.asarray(d), safe(condition)), usable


def _refined(
    space: Namespace, inverse: Inverse, X: Array, weights: Array, pull: Array, residual: Array
) -> Found:
    """δ ← δ + H⁻¹(XᵀW(r − Xδ) − pull·δ) from 0, until a step no longer changes anything but rounding."""

    def correction(delta: Array) -> Array:
        left = residual - X @ delta
        return inverse.root @ (inverse.root.T @ (X.T @ (left.T * weights).T - pull * delta))

    def going(state: tuple[Array, Array, Array]) -> Array:
        _, size, count = state
        return (size > 4 * space.eps) & (count < MAX_REFINEMENTS)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        delta, size, count = state
        change = correction(delta)
        length = jnp.max(jnp.abs(delta), initial=0.0)
        now = jnp.max(jnp.abs(change), initial=0.0) / jnp.where(length > 0, length, 1.0)
        return delta + change, jnp.where(now < size / 4, now, 0.0), count + 1

    first = correction(jnp.zeros((X.shape[1], *residual.shape[1:]), dtype=space.dtype))
    needed = jnp.where(inverse.condition > DIRECT, jnp.inf, 0.0).astype(space.dtype)
    delta, _, count = jax.lax.while_loop(going, step, (first, needed, jnp.asarray(0)))
    return inverse, delta, jnp.where(count > 0, REFINED, CHOLESKY), count


def _by_svd(space: Namespace, X: Array, weights: Array, pull: Array, residual: Array) -> Found:
    """The shortest solution of √w·X δ = √w·r (and √pull·δ = 0) by the SVD of the equilibrated rows."""
    n, d = X.shape
    root = jnp.sqrt(weights)
    seen = jnp.concatenate([X, residual.reshape(n, -1)], axis=1) * root[:, None]
    seen = _triangle(seen) if n >= d else seen
    tall = jnp.concatenate([seen[:, :d], jnp.sqrt(pull) * jnp.eye(d, dtype=space.dtype)])
    aim = seen[:, d:].reshape(-1, *residual.shape[1:])
    aim = jnp.concatenate([aim, jnp.zeros((d, *aim.shape[1:]), dtype=space.dtype)])
    scale = column_scale(space, (tall**2).sum(axis=0))
    left, sizes, right = jnp.linalg.svd(tall / scale, full_matrices=False)
    kept = sizes > (n + d) * space.eps * sizes[0]
    inverse = spectral_inverse(space, sizes, right.T, kept, scale)
    return inverse, inverse.root @ (left.T @ aim), jnp.asarray(SVD), jnp.asarray(0)


def _triangle(rows: Array) -> Array:
    """R of the QR factorisation, through one for each device: of sharded rows the triangles alone travel."""
    parts = jax.device_count()
    n, width = rows.shape
    rows = jnp.pad(rows, ((0, -n % parts), (0, 0)))
    triangles = jnp.linalg.qr(rows.reshape(parts, -1, width), mode="r")
    return jnp.linalg.qr(triangles.reshape(-1, width), mode="r")


def fit_equations(space: Namespace, equations: NormalEquations, ridge: Array) -> Fit:
    """The displacement from sums alone, in NumPy as in JAX: eigenvectors of the equilibrated Gram matrix."""
    xp, gram, moment = space.xp, equations.gram, equations.moment
    pull = equations.count * ridge
    stop = jax.lax.stop_gradient if xp is jnp else lambda value: value
    matrix = stop(gram + pull * xp.eye(gram.shape[0], dtype=space.dtype))
    scale = column_scale(space, xp.diagonal(matrix))
    values, vectors = xp.linalg.eigh(matrix / scale / scale[:, None])
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > matrix.shape[0] * space.eps * xp.maximum(values[0], 0.0)
    inverse = spectral_inverse(space, xp.sqrt(xp.where(kept, values, 0.0)), vectors, kept, scale)
    displacement = inverse.root @ (inverse.root.T @ stop(moment))
    if xp is jnp:
        displacement = _differentiable(_gram_apply, inverse, (gram, pull), displacement, moment)
    drop = (moment * displacement).sum(axis=0)
    curved = pull * (displacement * displacement).sum(axis=0)
    residual = equations.energy - drop - curved
    return Fit(displacement, inverse.rank, inverse.condition, residual, SPECTRAL, 0)
