"""n times the covariance of FLOW's minimiser as n → ∞, for Gaussian rows: in closed form, and (T15) integrated."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import stats

MEDIAN = float(stats.chi2.median(1))
"""Of the losses, in units of s²."""


def closed(matrix: np.ndarray, e: np.ndarray, noise: float, sample_median: bool) -> np.ndarray:
    """At the median temperature, known beforehand or taken from the same rows, by Isserlis' theorem."""
    v = float(e @ matrix @ e)
    s2 = v + noise
    tau = MEDIAN * s2
    kappa, k, q = tau / (tau + 2 * noise), 2 / (tau + 2 * noise), 4 / (tau + 4 * s2)
    mass, shrunk, gain = (1 + 2 * s2 / tau) ** -0.5, 1 + 4 * s2 / tau, 1 + k * v
    rest = (noise + (1 - kappa**2) * v) / shrunk
    along = rest * (2 * k + k**2 * v - q * gain**2) + 2 * (1 - kappa) ** 2 * gain**2 / shrunk**2
    known = (rest * np.linalg.inv(matrix) + along * np.outer(e, e)) / (math.sqrt(shrunk) * mass**2)
    if not sample_median:
        return known
    speed, density = 2 * noise / (tau + 2 * noise) ** 2, stats.chi2.pdf(MEDIAN, 1) / s2
    edge, steep = math.sqrt(MEDIAN), math.sqrt(1 + 2 / MEDIAN)
    inside = 2 * stats.norm.cdf(steep * edge) - 1
    zeroth, second = inside / steep, (inside - 2 * steep * edge * stats.norm.pdf(steep * edge)) / steep**3
    below = kappa * noise / s2 * zeroth - (1 - kappa * v / s2) * second
    return known + (speed**2 / (4 * density**2) + 2 * speed * gain * below / (mass * density)) * np.outer(
        e, e
    )


def integrated(matrix: np.ndarray, e: np.ndarray, noise: float, sample_median: bool) -> np.ndarray:
    """The same: the mean of IF IFᵀ over r, in three pieces that end at its step, and over p = ⟨e, x⟩ given r = ξ − p.

    The rest of x is independent of both.
    """
    v = float(e @ matrix @ e)
    s2 = v + noise
    s, tau = math.sqrt(s2), MEDIAN * s2
    nodes, widths = np.polynomial.legendre.leggauss(60)
    edges = s * np.array([-10, -math.sqrt(MEDIAN), math.sqrt(MEDIAN), 10])
    r = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in itertools.pairwise(edges)])
    share = np.concatenate([(b - a) / 2 * widths for a, b in itertools.pairwise(edges)])
    share = share * stats.norm.pdf(r, scale=s)
    z, mass = np.polynomial.hermite_e.hermegauss(20)
    r, z = r[:, None], z[None, :]
    p = share[:, None] * mass / mass.sum()
    x = -v / s2 * r + math.sqrt(v * noise / s2) * z  # ⟨e, x⟩ given r
    w, direction = np.exp(-(r**2) / tau), matrix @ e / v
    mean = lambda value: float((p * value).sum())
    rest = matrix - np.outer(direction, direction) * v  # of x that is independent of r
    inverse = np.linalg.inv(mean(w * x**2) * np.outer(direction, direction) + mean(w) * rest)
    displacement = -mean(w * r * x) / mean(w * x**2)  # κ: the weighted fit of r by x, along e alone
    residual = r + displacement * x
    drift = mean(w * residual * r**2 / tau**2 * x) * direction
    density = 2 * stats.norm.pdf(math.sqrt(tau), scale=s) / (2 * math.sqrt(tau))
    step = np.where(r**2 <= tau, -0.5, 0.5) / density if sample_median else np.zeros_like(r)
    # IF = H⁻¹(wρ(x·direction + rest) + drift·step)
    score, moved = w * residual * x, inverse @ drift
    cross = np.outer(inverse @ direction, moved) * mean(score * step)
    own = mean(score**2) * np.outer(direction, direction) + mean((w * residual) ** 2) * rest
    return inverse @ own @ inverse + cross + cross.T + np.outer(moved, moved) * mean(step**2 + 0 * x)
