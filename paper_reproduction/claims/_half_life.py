"""FLOW's half-life along the stalled direction: the law, counted steps, and really sampled rows."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Settings

RHO = 0.6
SHIFT = 1.7  # ‖e‖, not 1, so that a forgotten square shows
ASYMPTOTIC = 1e-3  # up to this τ/‖e‖² the law is fitted as a pure power

Moments = tuple[np.ndarray, np.ndarray]  # Σ' and μ, with leading axes


def moments_of_rows(residual: np.ndarray, other: np.ndarray, share: np.ndarray, tau: np.ndarray) -> Moments:
    """Σ' and μ summed over rows x = (r, ρr + √(1−ρ²)z) with loss (‖e‖r)² and weight exp(−loss/τ), for each τ."""
    weights = share * np.exp(-((SHIFT * residual) ** 2) / tau[:, None])
    x = np.stack([residual, RHO * residual + math.sqrt(1 - RHO**2) * other])
    off = (weights * (x[0] * x[1])).sum(-1)
    square = np.stack([(weights * x[0] ** 2).sum(-1), off, off, (weights * x[1] ** 2).sum(-1)], axis=-1)
    return square.reshape(-1, 2, 2), weights.sum(-1)


def moments_by_quadrature(tau: np.ndarray) -> Moments:
    """The same over the nodes of a trapezoidal rule instead of sampled rows: it converges beyond every power."""
    pairs = []
    for one in np.atleast_1d(tau):
        # In r the integrand is as narrow as exp(−r²(½ + ‖e‖²/τ)).
        r = np.linspace(-9, 9, 241) / math.sqrt(1 + 2 * SHIFT**2 / one)
        z = np.linspace(-9, 9, 121)
        density = np.exp(-(r[:, None] ** 2 + z**2) / 2) * (r[1] - r[0]) * (z[1] - z[0]) / (2 * math.pi)
        rows = np.meshgrid(r, z, indexing="ij")
        pairs.append(moments_of_rows(rows[0].ravel(), rows[1].ravel(), density.ravel(), np.array([one])))
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def first_step_past_half(matrix: np.ndarray) -> np.ndarray:
    """The first K at which half of the stalled component is gone, by bisection on powers of the step's matrix."""
    slow = np.linalg.eigh(matrix)[1][..., -1]
    theta = np.zeros_like(slow)
    theta[:, 0] = 1.0
    threshold = np.abs(slow[:, 0]) / 2
    powers = [matrix]  # M^(2^j)
    while len(powers) < 40:
        powers.append(powers[-1] @ powers[-1])
    steps = np.zeros(len(matrix))
    for j in reversed(range(len(powers))):
        ahead = (powers[j] @ theta[..., None])[..., 0]
        above = np.abs((slow * ahead).sum(-1)) > threshold
        theta[above] = ahead[above]
        steps[above] += 2.0**j
    return steps + 1


def step_matrices(moments: Moments) -> np.ndarray:
    """I − 2ηΣ' at η = 1/(2μ) and at the fixed η = 1/2; (2, paths, 2, 2)."""
    covariance, mass = moments
    return np.eye(2) - np.stack([covariance / mass[:, None, None], covariance])


def fixed_step_half_life(beta: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """ln 2/−ln(1 − μ(1 − λ₁)), η = 1/2: the mean weight μ shrinks the step."""
    return math.log(2) / -np.log1p(-mass * beta * (1 - RHO**2) / (1 + beta))


def slope_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of ln y over ln x along the last axis."""
    centred = np.log(x) - np.log(x).mean()
    return (np.log(y) * centred).sum(-1) / (centred**2).sum()


def law(settings: Settings) -> xr.Dataset:
    """Half-life against temperature: formula, and first step past one half on the quadrature's matrices."""
    ratio = np.geomspace(1e-6, 1.0, 19 if settings.quick else 61)
    tau = ratio * SHIFT**2
    beta = lt.stall_parameter(tau, RHO, SHIFT)
    mass = np.array([lt.weight_mass(lt.paper_problem(RHO, SHIFT), one) for one in tau])
    exact = np.stack([lt.half_life(beta, RHO), fixed_step_half_life(beta, mass)])
    matrices = step_matrices(moments_by_quadrature(tau))
    counted = np.stack([first_step_past_half(m) for m in matrices])
    cold = ratio <= ASYMPTOTIC * (1 + 1e-9)
    limit = 2 * math.log(2) * np.stack([1 / ratio, math.sqrt(2) * ratio**-1.5])  # μ ≈ √(τ/2)/‖e‖
    return xr.Dataset(
        {
            "half_life": (("rate", "ratio"), exact, {"long_name": "half-life, ln 2/−ln λ", "units": "steps"}),
            "from_eigenvalue": (
                ("rate", "ratio"),
                math.log(2) / -np.log(np.linalg.eigvalsh(matrices)[..., -1]),
                {"long_name": "half-life from eigvalsh of the quadrature's matrix", "units": "steps"},
            ),
            "counted": (("rate", "ratio"), counted, {"long_name": "first step past ½", "units": "steps"}),
            "limit": (("rate", "ratio"), limit, {"long_name": "its pure power as τ → 0", "units": "steps"}),
            "unsquared": ("ratio", 2 * math.log(2) * SHIFT / tau, {"long_name": "‖e‖ in place of ‖e‖²"}),
            "exponent": ("rate", slope_of(ratio[cold], counted[:, cold]), {"long_name": "for τ → 0"}),
        },
        coords={
            "rate": ["same mean step", "fixed"],
            "ratio": ("ratio", ratio, {"long_name": "τ/‖e‖²"}),
        },
        attrs={"asymptotic": ASYMPTOTIC},
    )


def sampled(settings: Settings) -> xr.Dataset:
    """The half-life on really sampled and weighted rows, and the exponent of each replicate."""
    replicates, rows = (20, 20_000) if settings.quick else (60, 100_000)
    rng = settings.rng("half-life")
    ratio = np.geomspace(3e-3, 0.3, 7)
    tau = ratio * SHIFT**2
    beta = lt.stall_parameter(tau, RHO, SHIFT)
    mass = np.array([lt.weight_mass(lt.paper_problem(RHO, SHIFT), one) for one in tau])
    exact = np.stack([lt.half_life(beta, RHO), fixed_step_half_life(beta, mass)])
    found = np.empty((replicates, 2, ratio.size))
    for i in range(replicates):
        residual, other = rng.standard_normal((2, rows))
        matrices = step_matrices(moments_of_rows(residual, other, np.full(rows, 1 / rows), tau))
        found[i] = math.log(2) / -np.log(np.linalg.eigvalsh(matrices)[..., -1])
    slopes = slope_of(ratio, found)
    root = math.sqrt(replicates)
    return xr.Dataset(
        {
            "sampled": (
                ("rate", "few_ratio"),
                found.mean(0),
                {"long_name": "half-life on rows", "units": "steps"},
            ),
            "sampled_error": (("rate", "few_ratio"), found.std(0, ddof=1) / root, {"units": "steps"}),
            "sampled_exact": (("rate", "few_ratio"), exact, {"units": "steps"}),
            "slope": ("rate", slopes.mean(0), {"long_name": "exponent fitted to the sampled half-lives"}),
            "slope_error": ("rate", slopes.std(0, ddof=1) / root, {"long_name": "standard error"}),
            "slope_exact": ("rate", slope_of(ratio, exact), {"long_name": "exponent of the law, same τ"}),
        },
        coords={"few_ratio": ("few_ratio", ratio, {"long_name": "τ/‖e‖²"})},
        attrs={"replicates": replicates, "rows": rows},
    )
