"""The loss as solvers see it: a function of the displacement δ = θ − start, with its rows and their sums."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..arrays import Array, Namespace
from ..errors import reject
from ..least_squares import NormalEquations
from ..least_squares.rows import Sample, refuse_infinite
from ..trees import is_concrete
from .limit import Limit, Spectrum, root, spectrum, traced_limit
from .units import Units

__all__ = ["Objective"]

AFFORDABLE = 512
"""Up to this smaller side of X, its Gram matrix is taken to bound distances also where no step needs it."""


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
        self, space: Namespace, sample: Sample, by_rows: bool = False, units: Units | None = None
    ) -> None:
        self.units = Units(space, 0, 0) if units is None else units
        sample = self.units.scaled(sample)
        self.space, self.sample = space, sample
        n, d = sample.X.shape
        self.count, self.affordable = n, min(n, d) <= AFFORDABLE
        self.equations: NormalEquations | None = None
        if n >= d and (self.affordable or not by_rows):
            self.equations = NormalEquations.of(sample.X, sample.y, sample.start, sample.weights)
        else:
            refuse_infinite(space, sample.X)
            if is_concrete(self.size) and not np.isfinite(float(self.size) ** 2):
                reject(
                    "X", sample.X, "is so large that squares overflow; rescale the columns, or use solve()"
                )
        if space.xp is not np:  # now: what a scan's body computes first cannot be kept for later
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
        given = self.sample.weights
        return self.space.xp.ones(self.count, dtype=self.space.dtype) if given is None else given

    def gradient(self, displacement: Array) -> Array:
        """∇L at start + δ, (d,): no ½ in the loss, hence its 2."""
        if self.equations is not None:
            return self.equations.gradient(displacement)
        left = self.X @ displacement - self.residual
        return 2 / self.count * ((self.weights * left) @ self.X)

    def loss(self, displacement: Array) -> Array:
        """L at start + δ, from the residuals: out of the Gram matrix it would cancel, even below 0."""
        return (self.weights * (self.residual - self.X @ displacement) ** 2).mean()

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
        return (self.weights * self.residual**2).mean()

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigenbasis of ∇²L (NumPy only)."""
        return spectrum(self.space, self.sample, self.equations)

    @cached_property
    def limit(self) -> Limit:
        """Where descent ends, and the extreme curvatures."""
        if self.space.xp is np:
            return self.spectrum.limit
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
        energy = (self.weights * self.residual**2).sum()
        return traced_limit(self.space, self.sample, energy, 2 / self.count * gram, self.size)
