"""Rows whose inputs or noise are not Gaussian, and where FLOW ends on some of them, by quadrature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
LAWS: dict[str, Draw] = {  # of independent entries, mean 0 and variance 1
    "Gaussian": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-(3**0.5), 3**0.5, shape),
    "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "Student, 6 degrees": lambda rng, shape: rng.standard_t(6, shape) / 1.5**0.5,
}
OTHERS = ("Laplace noise", "noise that grows along the shift")
GROWTH = 1.0  # its variance is proportional to 1 + p²/v, p = ⟨e, x⟩


def noise(kind: str, p: np.ndarray, v: float, variance: float, rng: np.random.Generator) -> np.ndarray:
    """ξ of each row, of that variance on average, given p = ⟨e, x⟩ of variance v; Gaussian where no kind is named."""
    if kind == OTHERS[0]:
        return rng.laplace(scale=(variance / 2) ** 0.5, size=len(p))
    spread = (1 + GROWTH * p**2 / v) / (1 + GROWTH) if kind == OTHERS[1] else 1.0
    return np.sqrt(variance * spread) * rng.standard_normal(len(p))


def displacement(kind: str, tau: float, v: float, variance: float, nodes: int) -> float:
    """κ = −E[w r p]/E[w p²] for Gaussian x, by Gauss and Legendre over p and over the noise, in two halves each."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    half, share = (node + 1) / 2, weight / 2
    both = lambda far: (np.concatenate([-far * half, far * half]), np.concatenate([far * share, far * share]))
    p, dp = both(9 * v**0.5)
    dp = dp * np.exp(-(p**2) / (2 * v))
    if kind == OTHERS[0]:
        scale = (variance / 2) ** 0.5
        xi, dxi = both(25 * scale)
        density = dxi * np.exp(-np.abs(xi) / scale)
        xi, density = xi[None], density[None]
    else:
        z, dz = both(9.0)
        spread = np.sqrt(variance * (1 + GROWTH * p**2 / v) / (1 + GROWTH))
        xi, density = spread[:, None] * z, (dz * np.exp(-(z**2) / 2))[None]
    r = xi - p[:, None]
    tilted = dp[:, None] * density * np.exp(-(r**2) / tau)
    return float(-(tilted * r * p[:, None]).sum() / (tilted * p[:, None] ** 2).sum())
