"""Where descent ends, δ_∞, and how far rounding may have moved it: the ground every certificate stands on.

The bound is Wedin's for the weighted rows A = √w·X and labels b = √w·(y − X·start), with every quantity
perturbed by m·ε of its own size, m = 8√(n + d): n + d roundings that do not conspire (Higham and Mary; each
of the n + d has probability below 1e-13 of conspiring as far as 8 standard deviations).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace
from ..least_squares import NormalEquations, solve
from ..least_squares.blocks import residual_products
from ..least_squares.rows import Sample
from ..least_squares.split import Split, split
from ..trees import pytree

__all__ = ["Limit", "Spectrum", "length", "limit_roundings", "root", "roundings", "spectrum", "traced_limit"]

WELL_CONDITIONED = 1e-5
"""λ_min/Σλ of the Gram matrix above which its eigenvectors serve; below, the rows are factorised."""


def root(xp: Any, value: Array) -> Array:
    """√ of numbers ≥ 0, with derivative 0 at 0; what is not a number stays so."""
    nothing = value <= 0
    return xp.where(nothing, 0.0, xp.sqrt(xp.where(nothing, 1.0, value)))


def length(space: Namespace, vectors: Array) -> Array:
    """‖·‖ of each of the vectors (…, d)."""
    return root(space.xp, (vectors**2).sum(axis=-1))


class Limit(NamedTuple):
    """δ_∞ (d,), its error in units of ε, and the largest and smallest positive eigenvalue of ∇²L."""

    displacement: Array
    roundings: Array
    largest: Array
    smallest: Array


class Spectrum(NamedTuple):
    """∇²L = V diag(values) Vᵀ on its range, V (d, r) orthonormal, and the loss along each direction.

    ``target`` (r,): δ_∞ = V·target. ``drops`` (r,): L(start) − L_min, direction by direction; ``floor``
    L_min; ``roundings`` the error of δ_∞ in units of ε, infinite where rounding hides a direction.
    """

    vectors: Array
    values: Array
    target: Array
    drops: Array
    floor: float
    roundings: float

    @property
    def limit(self) -> Limit:
        """δ_∞ and the extreme curvatures (0 where no row has weight)."""
        largest, smallest = (self.values.max(), self.values.min()) if len(self.values) else (0.0, 0.0)
        ends = np.float64(largest), np.float64(smallest)
        return Limit(self.vectors @ self.target, np.float64(self.roundings), *ends)


def roundings(shape: tuple[int, ...]) -> float:
    """m = 8√(n + d): what as many roundings may add up to, in units of ε."""
    return 8 * float(sum(shape)) ** 0.5


def limit_roundings(
    space: Namespace,
    sample: Sample,
    size: Array,
    smallest: Array,
    displacement: Array,
    labels: Array,
    left: Array,
) -> Array:
    """Wedin: m[(‖√w y‖ + 2‖A‖‖start‖ + ‖A‖‖δ_∞‖)/σ_min + ‖A‖‖residual‖/σ_min²], in units of ε.

    ``size`` ‖A‖ (Frobenius), ``smallest`` σ_min of A, ``labels`` ‖b‖, ``left`` the residual at δ_∞.
    """
    xp = space.xp
    unit = roundings(sample.X.shape)
    shaken = unit * space.eps * size  # what rounding may take from σ_min
    seen = smallest > 2 * shaken
    sigma = xp.where(seen, smallest - xp.where(seen, shaken, 0.0), 1.0)
    moved = labels + size * (2 * length(space, sample.start) + length(space, displacement))
    bound = unit * (moved / sigma + size * left / sigma**2)
    return xp.where(seen, bound, xp.where(size == 0, 0.0, xp.inf))


def spectrum(space: Namespace, sample: Sample, equations: NormalEquations | None) -> Spectrum:
    """The eigenbasis: from the Gram matrix where that is well-conditioned, from the rows themselves else."""
    if equations is not None:
        found = _from_equations(space, sample, equations)
        if found is not None:
            return found
    return _from_rows(space, sample)


def _from_equations(space: Namespace, sample: Sample, equations: NormalEquations) -> Spectrum | None:
    squares, vectors = np.linalg.eigh(equations.gram)
    total = float(np.trace(equations.gram))
    if not squares[0] > WELL_CONDITIONED * total:
        return None
    n, moment = float(equations.count), equations.moment @ vectors
    target = moment / squares
    # One pass over the rows gives the residual, and what the Gram matrix's rounding took from the target.
    slope, energy = _left(sample, vectors @ target)
    change = (slope @ vectors) / squares
    target, gain = target + change, float(change @ (slope @ vectors))
    if gain > energy / 2:  # the difference would cancel
        _, energy = _left(sample, vectors @ target)
        gain = 0.0
    energy -= gain
    error = limit_roundings(
        space,
        sample,
        np.sqrt(total),
        np.sqrt(squares[0]),
        target,
        np.sqrt(float(equations.energy)),
        np.sqrt(energy),
    )
    contraction = roundings(sample.X.shape) * total / squares[0]
    error = float(error) + contraction * float(np.linalg.norm(change))
    # λ c² would carry the rounding of λ; |⟨moment, v⟩ c| is the same without.
    return Spectrum(vectors, 2 / n * squares, target, abs(moment * target) / n, energy / n, error)


def _left(sample: Sample, displacement: Array) -> tuple[Array, float]:
    """XᵀW(r − Xδ) and Σw(r − Xδ)²: a pass over the rows."""
    ends = sample.start, displacement
    parts = list(residual_products(sample.X, sample.y, ends, sample.weights))
    return sum(slope for slope, _ in parts), float(sum(energy for _, energy in parts))


def _from_rows(space: Namespace, sample: Sample) -> Spectrum:
    """The SVD of √w·X, through a triangle taken block by block where there are more rows than columns.

    Which of its directions are rounding is decided as in :func:`solve`, after equilibrating rows and columns.
    A direction that exists and that the SVD cannot see, beside a steeper one, makes the limit unknown.
    """
    n, d = sample.X.shape
    if n < d:
        left, sizes, right = np.linalg.svd(_weighted(sample, slice(None))[:, :d], full_matrices=False)
        shares, rest = left.T @ _weighted(sample, slice(None))[:, d], 0.0
    else:
        triangle = _triangle(sample)
        left, sizes, right = np.linalg.svd(triangle[:d, :d])
        shares = left.T @ triangle[:d, d]
        rest = float(triangle[d, d] ** 2) if n > d else 0.0
    found = solve(sample.X, sample.y, sample.start, sample.weights, column_scale=sample.noise)
    rank = int(found.rank)
    seen = min(int((sizes > max(n, d) * space.eps * sizes[0]).sum()), rank)
    unseen = float((shares[seen:] ** 2).sum()) + rest
    sizes, shares, vectors = sizes[:seen], shares[:seen], right[:seen].T
    target = shares / sizes
    error = np.inf
    if rank == seen:
        norms = np.sqrt([(sizes**2).sum(), (shares**2).sum() + unseen, unseen])
        smallest = np.float64(sizes[-1] if seen else 0.0)
        error = float(limit_roundings(space, sample, norms[0], smallest, target, norms[1], norms[2]))
    return Spectrum(vectors, 2 / n * sizes**2, target, shares**2 / n, unseen / n, error)


def _weighted(sample: Sample, rows: slice) -> Array:
    """[√w·X, √w·(y − X·start)] of some rows."""
    part = sample.X[rows]
    whole = np.column_stack([part, sample.y[rows] - part @ sample.start])
    return whole if sample.weights is None else whole * np.sqrt(sample.weights[rows])[:, None]


def _triangle(sample: Sample) -> Array:
    """R of the QR factorisation of the weighted rows and labels: one pass, in memory of the order d²."""
    n, d = sample.X.shape
    triangle, block = np.zeros((0, d + 1)), max(4 * (d + 1), 1024)
    for low in range(0, n, block):
        part = _weighted(sample, slice(low, low + block))
        triangle = np.linalg.qr(np.concatenate([triangle, part]), mode="r")
    return triangle


def traced_limit(space: Namespace, sample: Sample, energy: Array, hessian: Array, size: Array) -> Limit:
    """The same in JAX, by :func:`solve` and the eigenvalues of ∇²L, or of the matrix of its rows where that is smaller.

    Without the SVD of :func:`spectrum`, the bound is infinite from σ_min/‖A‖ = √(mε) on.
    """
    xp, (n, _) = space.xp, sample.X.shape
    zero = xp.zeros_like(sample.start)
    found = solve(sample.X, sample.residual, zero, sample.weights, column_scale=sample.noise)
    largest, smallest = _eigenvalues(space, hessian, xp.stack([xp.ones_like(found.rank), found.rank]))
    smallest = xp.where(found.rank > 0, smallest, 0.0)
    square, shaken = n / 2 * smallest, roundings(sample.X.shape) * space.eps * size**2
    sigma = root(xp, xp.where(square > 2 * shaken, square - shaken, 0.0))
    labels, left = root(xp, energy), root(xp, found.residual)
    error = limit_roundings(space, sample, size, sigma, found.theta, labels, left)
    return Limit(found.theta, error, largest, smallest)


@pytree
class _Shifted:
    """H − value·I, which is singular in value."""

    whole: Array
    value: Array

    def matrix(self) -> Array:
        return self.whole - self.value * jnp.eye(len(self.whole), dtype=self.whole.dtype)


def _eigenvalues(space: Namespace, matrix: Array, places: Array) -> list[Array]:
    """The eigenvalues of H ⪰ 0 at these places, 1 for the largest, with derivatives whatever the others do.

    Those equal to rounding count as one, with their mean derivative.
    """
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(matrix))
    rounding, found = len(matrix) * space.eps * jnp.abs(values).max(), []
    for place in places:
        value = values[jnp.clip(len(matrix) - place, 0, len(matrix) - 1)]
        same = jnp.abs(values - value) <= rounding
        inverse = jnp.where(same, 0.0, 1 / jnp.where(same, 1.0, values - value))
        known = Split.of((vectors * inverse) @ vectors.T, (vectors * jnp.where(same, 1.0, 0.0)) @ vectors.T)
        moved = jnp.trace(split(known, _Shifted(matrix, value)).rest)
        found.append(jnp.maximum(value, 0.0) + moved / space.array(same.sum()))
    return found
