"""The delta method for weighted Gaussian rows: what a mean of n samples deviates by, times √n.

Every quantity sampled here is, to first order, a mean over rows of ψ = w zᵀBz with z = (x, ξ) Gaussian and
w = exp(−r²/τ), r = ξ − ⟨e, x⟩ the residual of θ*. A weight tilts z into another Gaussian, w² is the tilt
at τ/2, and Isserlis' theorem does the rest: E[w² (zᵀBz)²] = μ₂[(tr BC₂)² + 2 tr(BC₂BC₂)]. Plain numpy; the
population formulas under check are the package's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Rows:
    """The law of a row: x ~ N(0, Σ̃), y = ⟨θ̃*, x⟩ + ξ, seen from θ* = θ̃* + e with θ̃* = 0."""

    covariance: np.ndarray
    shift: np.ndarray
    noise_variance: float

    @property
    def dim(self) -> int:
        """d."""
        return self.shift.size

    @property
    def residual(self) -> np.ndarray:
        """The vector u with r = ⟨u, z⟩."""
        return np.append(-self.shift, 1.0)

    def joint(self) -> np.ndarray:
        """The covariance of z."""
        joint = np.zeros((self.dim + 1, self.dim + 1))
        joint[:-1, :-1], joint[-1, -1] = self.covariance, self.noise_variance
        return joint

    def tilt(self, temperature: float) -> tuple[float, np.ndarray]:
        """E[w] and the covariance of z under w, from the precision matrix C⁻¹ + (2/τ)uuᵀ."""
        joint, u = self.joint(), self.residual
        precision = np.linalg.inv(joint) + 2 / temperature * np.outer(u, u)
        tilted = np.linalg.inv(precision)
        return math.sqrt(np.linalg.det(tilted) / np.linalg.det(joint)), (tilted + tilted.T) / 2

    def quadratic_variance(self, forms: np.ndarray, temperature: float, power: float = 2.0) -> np.ndarray:
        """Var(w zᵀBz) for each form B (…, d+1, d+1). ``power=1`` is deliberately wrong: E[w] for E[w²]."""
        (mass, first), (mass2, second) = self.tilt(temperature), self.tilt(temperature / power)
        forms = (forms + np.swapaxes(forms, -1, -2)) / 2
        turned = forms @ second
        square = np.trace(turned, axis1=-2, axis2=-1) ** 2
        square = square + 2 * np.trace(turned @ turned, axis1=-2, axis2=-1)
        mean = mass * np.trace(forms @ first, axis1=-2, axis2=-1)
        return mass2 * square - mean**2

    def mass_variance(self, temperature: float, power: float = 2.0) -> float:
        """Var(w)."""
        return self.tilt(temperature / power)[0] - self.tilt(temperature)[0] ** 2

    def median_variance(self) -> float:
        """n·Var of the sample median of r²: 1/(4f²) with the density f of s²χ²₁ at its median."""
        scale = float(self.residual @ self.joint() @ self.residual)
        median = scale * stats.chi2.ppf(0.5, 1)
        return float(1 / (4 * (stats.chi2.pdf(median / scale, 1) / scale) ** 2))

    def entries(self) -> np.ndarray:
        """The forms of x xᵀ, entry by entry: (d·d, d+1, d+1)."""
        d = self.dim
        forms = np.zeros((d, d, d + 1, d + 1))
        for i in range(d):
            for j in range(d):
                forms[i, j, i, j] = 1.0
        return forms.reshape(d * d, d + 1, d + 1)

    def iterate(self, steps: int, rate: float, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """θ_K − θ* and the forms B of its first-order change, (d, d+1, d+1); ``rate`` is 2η.

        δ ← δ + rate (g − Gδ) is differentiated beside itself: dδ ← (I − rate G) dδ + rate (dg − dG δ), and
        a row's share of dg − dG δ is w x (r − ⟨x, δ⟩).
        """
        mass, tilted = self.tilt(temperature)
        gram = mass * tilted[:-1, :-1]
        moment = mass * tilted[:-1] @ self.residual
        select = np.eye(self.dim + 1)[:-1]
        delta, forms = np.zeros(self.dim), np.zeros((self.dim, self.dim + 1, self.dim + 1))
        for _ in range(steps):
            left = self.residual - select.T @ delta
            drive = np.einsum("ia,b->iab", select, left)
            forms = np.tensordot(np.eye(self.dim) - rate * gram, forms, 1) + rate * drive
            delta = delta + rate * (moment - gram @ delta)
        return delta, forms
