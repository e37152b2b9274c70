"""The loss as solvers see it, a function of the displacement δ = θ − start; and where descent ends on it, δ_∞.

How far rounding may have moved δ_∞ is the ground that every certificate stands on. The bound is Wedin's for the
weighted rows A = √w·X and labels b = √w·(y − X·start), with every quantity perturbed by m·ε of its own size,
m = 8√(n + d): n + d roundings that do not conspire (Higham and Mary; each of the n + d has probability below 1e-13 of
conspiring as far as 8 standard deviations).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace
from ..errors import reject
from ..least_squares import NormalEquations, differentiable
from ..least_squares.blocks import triangle, weighted_rows, weighted_triangles
from ..least_squares.cholesky import residual_sums
from ..least_squares.pseudo_inverse import Split, split
from ..least_squares.rows import Sample, refuse_infinite
from ..least_squares.solver import minimise
from ..trees import is_concrete, pytree

__all__ = ["Eigenbasis", "Limit", "Objective", "Units", "error_units", "length", "limit_error", "root"]

WINDOW_ROOT = 8
"""Within the eighth root of the largest float numbers stay as they are: conjugate gradients take fourth powers."""


class Units(NamedTuple):
    """X = 2^columns·X′ and y = 2^labels·y′: exact, and gradient descent's path in other units is the same path.

    δ = 2^(labels − columns)·δ′, L = 4^labels·L′, η = 4^−columns·η′. Both exponents are 0 for ordinary rows.
    """

    space: Namespace
    columns: Array | int
    labels: Array | int

    @classmethod
    def of(cls, space: Namespace, sample: Sample) -> Units:
        """Such that √w·X′ and √w·y′ are of size 1 at most where they would be very small or large."""
        xp = space.xp
        X, y, start = space.constant((sample.X, sample.y, sample.start))
        if sample.weights is None:
            largest = xp.maximum(X.max(), -X.min())
            labels = xp.abs(y).max()
        else:
            roots = xp.sqrt(space.constant(sample.weights))
            largest = (xp.maximum(X.max(axis=1), -X.min(axis=1)) * roots).max()
            labels = (xp.abs(y) * roots).max()
        labels = xp.maximum(labels, largest * xp.abs(start).max())
        return cls(space, _exponent(space, largest), _exponent(space, labels))

    @property
    def ordinary(self) -> bool:
        """Whether these are known to be 1."""
        return is_concrete(self.columns, self.labels) and int(self.columns) == 0 == int(self.labels)

    def times(self, values: Array, exponent: Array | int) -> Array:
        """2^exponent·values, by two factors that are floats."""
        xp, half = self.space.xp, exponent // 2
        with np.errstate(over="ignore", under="ignore"):
            one = self.space.array(1.0)
            return values * xp.ldexp(one, half) * xp.ldexp(one, exponent - half)

    def scaled(self, sample: Sample) -> Sample:
        """The rows in these units."""
        if self.ordinary:
            return sample
        noise = None if sample.noise is None else self.times(sample.noise, -self.columns)
        return Sample(
            self.times(sample.X, -self.columns),
            self.times(sample.y, -self.labels),
            self.times(sample.start, self.columns - self.labels),
            sample.weights,
            noise,
        )

    def rate(self, learning_rate: Array | float) -> Array:
        """η′."""
        rate = self.space.array(learning_rate)
        return rate if self.ordinary else self.times(rate, 2 * self.columns)

    def displacement(self, values: Array) -> Array:
        """δ, or a distance, in the units given."""
        return values if self.ordinary else self.times(values, self.labels - self.columns)

    def loss(self, values: Array) -> Array:
        """L in the units given."""
        return values if self.ordinary else self.times(values, 2 * self.labels)

    def slope(self, values: Array) -> Array:
        """∇L in the units given."""
        return values if self.ordinary else self.times(values, self.labels + self.columns)


def _exponent(space: Namespace, value: Array) -> Array:
    """Of the power of two at ``value``, 0 if it is within the window, not finite, or 0."""
    xp, window = space.xp, np.finfo(space.dtype).maxexp // WINDOW_ROOT
    exponent = xp.frexp(xp.where(value > 0, value, 1.0))[1]
    ordinary = (abs(exponent) < window) | ~xp.isfinite(value)
    return xp.where(ordinary, 0, exponent)


AFFORDABLE = 512
"""Up to this smaller side of X, its Gram matrix is taken to bound distances also where no step needs it."""

WELL_CONDITIONED = 1e-5
"""λ_min/Σλ of the Gram matrix above which its eigenvectors serve; below, the rows are factorised."""


class Objective:
    """L(start + δ) = (1/n) Σ wᵢ(rᵢ − ⟨xᵢ, δ⟩)², rᵢ = yᵢ − ⟨xᵢ, start⟩: what a solver is handed at each step.

    ``X`` (n, d), ``residual`` r (n,), ``weights`` (n,), ``start`` (d,), ``count`` n; ``gradient`` and ``loss``.
    The gradient costs d² out of the normal equations where n ≥ d, and a pass over the rows where n < d.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> from linear_theory.least_squares.rows import checked_sample
    >>> sample = checked_sample(np.diag([1.0, 2.0]), np.ones(2), np.zeros(2), None)
    >>> objective = lt.descent.Objective(*sample)
    >>> print(objective.gradient(np.zeros(2)), objective.loss(np.array([1.0, 0.5])))  # −(2/n) Xᵀy, 0
    [-1. -2.] 0.0
    """

    def __init__(
        self, space: Namespace, sample: Sample, *, by_rows: bool = False, units: Units | None = None
    ) -> None:
        self.units = Units(space, 0, 0) if units is None else units
        sample = self.units.scaled(sample)
        self.space, self.sample = space, sample
        n, d = sample.X.shape
        self.count, self.affordable = n, min(n, d) <= AFFORDABLE
        self.equations: NormalEquations | None = None
        if n >= d and (self.affordable or not by_rows):
            self.equations = NormalEquations.of_sample(space, sample)
        else:
            refuse_infinite(space, sample.X)
            if is_concrete(self.size) and not np.isfinite(float(self.size) ** 2):
                reject(
                    "X", sample.X, "is so large that squares overflow; rescale the columns, or use solve()"
                )
        if space.xp is not np:  # Now, because what a scan's body computes first cannot be kept for later.
            _ = self.residual, self.weights, self.size, self.affordable and self.limit

    @property
    def X(self) -> Array:
        """The rows (n, d)."""
        return self.sample.X

    @property
    def start(self) -> Array:
        """Where δ = 0 (d,)."""
        return self.sample.start

    @cached_property
    def residual(self) -> Array:
        """y − X·start (n,)."""
        return self.sample.residual

    @cached_property
    def weights(self) -> Array:
        """(n,), ones where none were given."""
        weights = self.sample.weights
        return self.space.xp.ones(self.count, dtype=self.space.dtype) if weights is None else weights

    def gradient(self, displacement: Array) -> Array:
        """∇L at start + δ, (d,): no ½ in the loss, hence its 2."""
        sums = self.equations
        if sums is not None:
            return 2 / sums.count * (displacement @ sums.gram - sums.moment)
        minus_residual = self.X @ displacement - self.residual
        return 2 / self.count * ((self.weights * minus_residual) @ self.X)

    def loss(self, displacement: Array) -> Array:
        """L at start + δ, from the residuals: out of the Gram matrix it would cancel, even below 0."""
        return self._weighted_squares(self.residual - self.X @ displacement).mean()

    def _weighted_squares(self, residual: Array) -> Array:
        """wr² (n,), 0 in a row without weight although its square may be no float."""
        return residual * (self.weights * residual)

    @cached_property
    def row_curvatures(self) -> Array:
        """2wᵢ‖xᵢ‖² (n,), the curvature of each row's own loss; their mean is the trace of ∇²L."""
        return 2 * self.weights * self.space.xp.einsum("ij,ij->i", self.X, self.X)

    @cached_property
    def size(self) -> Array:
        """‖√w·X‖ (Frobenius)."""
        if self.equations is not None:
            return root(self.space.xp, self.space.xp.trace(self.equations.gram))
        with np.errstate(over="ignore"):
            return root(self.space.xp, self.row_curvatures.sum() / 2)

    @property
    def start_loss(self) -> Array:
        """L(start)."""
        if self.equations is not None:
            return self.equations.energy / self.count
        return self._weighted_squares(self.residual).mean()

    @cached_property
    def eigenbasis(self) -> Eigenbasis:
        """The eigenbasis of ∇²L (NumPy only)."""
        return _eigenbasis(self.space, self.sample, self.equations)

    @cached_property
    def limit(self) -> Limit:
        """Where descent ends, and the extreme curvatures."""
        if self.space.xp is np:
            return self.eigenbasis.limit
        xp = self.space.xp
        if self.equations is not None:
            gram = self.equations.gram
        else:
            X, n = self.X, self.count
            if n >= X.shape[1] or X.shape[1] <= AFFORDABLE:
                gram = X.T @ (X * self.weights[:, None])  # not through √w, which has no derivative at 0
            else:
                scaled = X * root(xp, self.weights)[:, None]
                gram = scaled @ scaled.T
        energy = self._weighted_squares(self.residual).sum()
        return _traced_limit(self.space, self.sample, energy, 2 / self.count * gram, self.size)


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


class Eigenbasis(NamedTuple):
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


def error_units(shape: tuple[int, ...]) -> float:
    """m = 8√(n + d): what as many roundings may add up to, in units of ε."""
    return 8 * float(sum(shape)) ** 0.5


def limit_error(
    space: Namespace,
    sample: Sample,
    size: Array,
    smallest: Array,
    displacement: Array,
    labels: Array,
    residual: Array,
) -> Array:
    """Wedin: m[(‖√w y‖ + 2‖A‖‖start‖ + ‖A‖‖δ_∞‖)/σ_min + ‖A‖‖residual‖/σ_min²], in units of ε.

    ``size`` ‖A‖ (Frobenius), ``smallest`` σ_min of A, ``labels`` ‖b‖, ``residual`` its norm at δ_∞.
    """
    xp = space.xp
    unit = error_units(sample.X.shape)
    sigma_error = unit * space.eps * size  # what rounding may take from σ_min
    resolved = smallest > 2 * sigma_error
    sigma = xp.where(resolved, smallest - xp.where(resolved, sigma_error, 0.0), 1.0)
    label_error = labels + size * (2 * length(space, sample.start) + length(space, displacement))
    bound = unit * (label_error / sigma + size * residual / sigma**2)
    return xp.where(resolved, bound, xp.where(size == 0, 0.0, xp.inf))


def _eigenbasis(space: Namespace, sample: Sample, equations: NormalEquations | None) -> Eigenbasis:
    """From the Gram matrix where that is well-conditioned, from the rows themselves else."""
    basis = None if equations is None else _from_equations(space, sample, equations)
    return _from_rows(space, sample) if basis is None else basis


def _from_equations(space: Namespace, sample: Sample, equations: NormalEquations) -> Eigenbasis | None:
    squares, vectors = np.linalg.eigh(equations.gram)
    total = float(np.trace(equations.gram))
    if not squares[0] > WELL_CONDITIONED * total:
        return None
    n, moment = float(equations.count), equations.moment @ vectors
    target = moment / squares
    # One pass over the rows gives the residual, and what the Gram matrix's rounding took from the target.
    slope, energy = residual_sums(sample, vectors @ target)
    change = (slope @ vectors) / squares
    target, gain = target + change, float(change @ (slope @ vectors))
    if gain > energy / 2:  # The difference would cancel.
        _, energy = residual_sums(sample, vectors @ target)
        gain = 0.0
    energy -= gain
    error = limit_error(
        space,
        sample,
        np.sqrt(total),
        np.sqrt(squares[0]),
        target,
        np.sqrt(float(equations.energy)),
        np.sqrt(energy),
    )
    contraction = error_units(sample.X.shape) * total / squares[0]
    error = float(error) + contraction * float(np.linalg.norm(change))
    # λ c² would carry the rounding of λ; |⟨moment, v⟩ c| is the same without.
    return Eigenbasis(vectors, 2 / n * squares, target, abs(moment * target) / n, energy / n, error)


def _from_rows(space: Namespace, sample: Sample) -> Eigenbasis:
    """The SVD of √w·X, through a triangle taken block by block where there are more rows than columns.

    Which of its directions are rounding is decided as in :func:`solve`, after equilibrating rows and columns.
    A direction that exists and that the SVD cannot see, beside a steeper one, makes the limit unknown.
    """
    (n, d), given = sample.X.shape, (sample.X, sample.y, sample.start, sample.weights)
    if n < d:
        rows = weighted_rows(*given)
        left, sizes, right = np.linalg.svd(rows[:, :d], full_matrices=False)
        shares, outside = left.T @ rows[:, d], 0.0
    else:
        joined = triangle(weighted_triangles(*given))
        # A few rows come as they are, and are no triangle yet.
        factor: Array = np.linalg.qr(joined, mode="r")
        left, sizes, right = np.linalg.svd(factor[:d, :d])
        shares = left.T @ factor[:d, d]
        outside = float(factor[d, d] ** 2) if n > d else 0.0
    rank = int(minimise(space, sample, np.float64(0.0)).rank)
    resolved = min(int((sizes > max(n, d) * space.eps * sizes[0]).sum()), rank)
    energy = float((shares[resolved:] ** 2).sum()) + outside
    sizes, shares, vectors = sizes[:resolved], shares[:resolved], right[:resolved].T
    target = shares / sizes
    error = np.inf
    if rank == resolved:
        norms = np.sqrt([(sizes**2).sum(), (shares**2).sum() + energy, energy])
        smallest = np.float64(sizes[-1] if resolved else 0.0)
        error = float(limit_error(space, sample, norms[0], smallest, target, norms[1], norms[2]))
    return Eigenbasis(vectors, 2 / n * sizes**2, target, shares**2 / n, energy / n, error)


def _traced_limit(space: Namespace, sample: Sample, energy: Array, hessian: Array, size: Array) -> Limit:
    """The same in JAX, by :func:`solve` and the eigenvalues of ∇²L, or of the matrix of its rows where that is smaller.

    Without an SVD the bound is infinite from σ_min/‖A‖ = √(mε) on.
    """
    xp, (n, _) = space.xp, sample.X.shape
    shifted = sample.labelled(sample.residual, xp.zeros_like(sample.start))
    solution = differentiable.minimise(space, shifted, space.array(0.0))
    rank = solution.rank
    largest, smallest = _eigenvalues(space, hessian, xp.stack([xp.ones_like(rank), rank]))
    smallest = xp.where(rank > 0, smallest, 0.0)
    square, square_error = n / 2 * smallest, error_units(sample.X.shape) * space.eps * size**2
    sigma = root(xp, xp.where(square > 2 * square_error, square - square_error, 0.0))
    labels, residual = root(xp, energy), root(xp, solution.residual)
    error = limit_error(space, sample, size, sigma, solution.theta, labels, residual)
    return Limit(solution.theta, error, largest, smallest)


@pytree
class _Shifted:
    """H − value·I, which is singular in value."""

    hessian: Array
    value: Array

    def matrix(self) -> Array:
        return self.hessian - self.value * jnp.eye(len(self.hessian), dtype=self.hessian.dtype)


def _eigenvalues(space: Namespace, matrix: Array, places: Array) -> list[Array]:
    """The eigenvalues of H ⪰ 0 at these places, 1 for the largest, with derivatives whatever the others do.

    Those equal to rounding count as one, with their mean derivative.
    """
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(matrix))
    rounding, eigenvalues = len(matrix) * space.eps * jnp.abs(values).max(), []
    for place in places:
        value = values[jnp.clip(len(matrix) - place, 0, len(matrix) - 1)]
        same = jnp.abs(values - value) <= rounding
        inverse = jnp.where(same, 0.0, 1 / jnp.where(same, 1.0, values - value))
        known = Split.of((vectors * inverse) @ vectors.T, (vectors * jnp.where(same, 1.0, 0.0)) @ vectors.T)
        change = jnp.trace(split(known, _Shifted(matrix, value)).remainder)
        eigenvalues.append(jnp.maximum(value, 0.0) + change / space.array(same.sum()))
    return eigenvalues
