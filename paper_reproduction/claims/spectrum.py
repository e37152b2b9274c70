"""Lemma F.3: the two eigenvalues of Q = I − Σ'/μ, from the strongest weights to equal ones."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import IN_EPSILON, IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict

CLAIM = Claim(
    name="spectrum",
    title="One number β, in place of the temperature, runs from the full stall (0) to standard fine-tuning (1/ρ)",
    statement=(
        r"With $\mu^2$ (not $\mu$) written as $\beta(1-\rho^2)/((1+\beta)(1-\beta\rho^2))$ the matrix "
        r"$Q = I - \Sigma'/\mu$, which carries the error from step to step, has two simple eigenvalues in the "
        r"plane of the shift. The paper takes $\beta \le 1$; the same formulas hold up to $\beta = 1/\rho$, which "
        r"is standard fine-tuning with $\lambda = \pm\rho$. The inequality $\lambda_2 < \rho^2\lambda_1$ holds for "
        r"every $\beta < 1/\rho$, but for the absolute value only up to $\beta = \sqrt{2/(1+\rho^4)}$."
    ),
    equation="Lemma F.3",
    formula=(
        r"\lambda_1 = \frac{1+\beta\rho^2}{1+\beta}, \qquad \lambda_2 = \frac{\rho^2(1-\beta)}{1-\beta\rho^2}, "
        r"\qquad \tau = \frac{2\beta(1-\rho^2)\lVert e \rVert^2}{1-\beta^2\rho^2}"
    ),
    functions=(
        "stall_spectrum",
        "stall_temperature",
        "stall_parameter",
        "squared_mass",
        "weighted_covariance",
        "weight_mass",
    ),
    seconds=8.0,
    quick_seconds=3.0,
    order=50,
)

EPS = float(np.finfo(float).eps)
RHOS = (0.0, 0.3, 0.6, 0.9, 0.999)
SHIFT = 1.7  # ‖e‖, not 1, so that a forgotten factor shows


def _literal(rho: float, temperature: float) -> np.ndarray:
    """Eigenvalues of I − Σ'/μ, largest first, from Lemma F.1 written out with NumPy."""
    sigma = np.array([[1.0, rho], [rho, 1.0]])
    shift = np.array([SHIFT, 0.0])
    image = sigma @ shift
    downdate = 2 / temperature / (1 + 2 * (shift @ image) / temperature) * np.outer(image, image)
    return np.linalg.eigvalsh(np.eye(2) - (sigma - downdate))[::-1]


def _from_package(rho: float, temperature: float) -> np.ndarray:
    problem = lt.paper_problem(rho, SHIFT)
    return np.linalg.eigvalsh(
        np.eye(2) - lt.weighted_covariance(problem, temperature) / lt.weight_mass(problem, temperature)
    )[::-1]


def _without_the_square(beta: float, rho: float) -> np.ndarray:
    """The eigenvalues if the re-parametrisation were of μ, as one copy of the paper's text has it."""
    mass = float(lt.squared_mass(beta, rho))  # taken for μ itself
    return _literal(rho, math.inf if mass >= 1 else 2 * SHIFT**2 / (1 / mass**2 - 1))


def _crossing(rho: float) -> float:
    """The β at which |λ₂| reaches ρ²λ₁, by bisection on the literal eigenvalues."""
    low, high = 1.0, 1 / rho
    for _ in range(80):
        middle = (low + high) / 2
        # β to τ by the definition of μ²(β), not by the package.
        mass2 = middle * (1 - rho**2) / ((1 + middle) * (1 - middle * rho**2))
        first, second = _literal(rho, 2 * SHIFT**2 * mass2 / (1 - mass2))
        low, high = (middle, high) if abs(second) < rho**2 * first else (low, middle)
    return (low + high) / 2


def compute(settings: Settings) -> xr.Dataset:
    """The closed eigenvalues, the literal ones, and the package's covariance, on a grid of (ρ, βρ)."""
    share = np.append(np.geomspace(1e-4, 0.999, 60 if settings.quick else 240), 1.0)
    shape = (len(RHOS), share.size)
    beta, back, tau = np.empty(shape), np.empty(shape), np.empty(shape)
    closed, literal, package, wrong = (np.empty((*shape, 2)) for _ in range(4))
    for i, rho in enumerate(RHOS):
        # βρ runs over (0, 1]; at ρ = 0, where β has no upper end, β runs over (0, 100].
        beta[i] = share / rho if rho else 100 * share
        beta[i, -1] = 1 / rho if rho else math.inf
        tau[i] = lt.stall_temperature(beta[i], rho, SHIFT)
        back[i] = lt.stall_parameter(tau[i], rho, SHIFT)
        closed[i] = np.stack(lt.stall_spectrum(beta[i], rho), axis=-1)
        for j in range(share.size):
            literal[i, j], package[i, j] = _literal(rho, tau[i, j]), _from_package(rho, tau[i, j])
            wrong[i, j] = _without_the_square(beta[i, j], rho)
    grid, pair = ("rho", "share"), ("rho", "share", "eigenvalue")
    positive = np.array(RHOS[1:])
    return xr.Dataset(
        {
            "beta": (grid, beta, {"long_name": "β"}),
            "temperature": (grid, tau, {"long_name": "τ(β)"}),
            "beta_back": (grid, back, {"long_name": "β(τ(β))"}),
            "closed": (pair, closed, {"long_name": "eigenvalues of Lemma F.3"}),
            "literal": (pair, literal, {"long_name": "eigenvalues of Q written out"}),
            "package": (pair, package, {"long_name": "eigenvalues from weighted_covariance"}),
            "wrong": (pair, wrong, {"long_name": "eigenvalues with μ in place of μ²"}),
            "crossing": ("positive_rho", [_crossing(rho) for rho in positive]),
            "crossing_formula": ("positive_rho", np.sqrt(2 / (1 + positive**4))),
        },
        coords={
            "rho": ("rho", list(RHOS), {"long_name": "ρ"}),
            "share": (
                "share",
                share,
                {"long_name": "βρ, from the strongest weights to standard fine-tuning at 1"},
            ),
            "eigenvalue": [1, 2],
            "positive_rho": positive,
        },
        attrs={"shift_norm": SHIFT},
    )


def verdict(dataset: xr.Dataset) -> Verdict:
    """Eigenvalues to rounding, β back from τ, both orderings, and standard fine-tuning at the end."""
    ds = dataset
    rho, finite = ds.rho.values, np.isfinite(ds.beta.values)
    beta = np.where(finite, ds.beta.values, 0.0)
    # β is itself rounded: λ₂ moves by β|dλ₂/dβ| = βρ²(1−ρ²)/(1−βρ²)² times that, λ₁ by less.
    r2 = (rho**2)[:, None]
    unit = EPS * (1 + beta * r2 * (1 - r2) / (1 - beta * r2) ** 2)[..., None]
    apart = lambda other: np.abs(ds.closed.values - ds[other].values) / unit
    ends = np.abs(ds.closed.values[:, -1] - np.stack([rho, -rho], axis=-1)) / unit[:, -1]
    back = np.abs(ds.beta_back.values / np.where(finite, ds.beta.values, 1.0) - 1)[finite] / EPS
    inside = (rho[:, None] > 0) & (ds.share.values < 1)[None, :]
    gap = (rho[:, None] ** 2 * ds.closed.values[..., 0] - ds.closed.values[..., 1])[inside]
    off = np.abs(ds.crossing.values / ds.crossing_formula.values - 1)
    # The two sides of the crossing meet with slope ~ρ², known to rounding: at ρ = 0.3 that costs 1/ρ².
    slack = EPS / ds.positive_rho.values**2 / (1 - ds.positive_rho.values)
    middle = (ds.share.values > 0.01) & (ds.share.values < 0.9)
    return Verdict(
        checks=(
            Check(
                f"Lemma F.3 against eigvalsh of Q written out, {IN_EPSILON_TIMES_CONDITION}",
                apart("literal").max(),
                32,
            ),
            Check(
                f"Lemma F.3 against eigvalsh of weighted_covariance, {IN_EPSILON_TIMES_CONDITION}",
                apart("package").max(),
                32,
            ),
            Check.at_least(
                "the same distance if μ stood for μ²", apart("wrong")[:, middle].max(axis=-1).min(), 32e3
            ),
            Check(
                f"at β = 1/ρ: λ against ±ρ of standard fine-tuning, {IN_EPSILON_TIMES_CONDITION}",
                ends.max(),
                8,
            ),
            Check(f"β(τ(β)) against β, relative, {IN_EPSILON}", back.max(), 32),
            Check.at_least(
                "smallest ρ²λ₁ − λ₂ over β < 1/ρ (must be positive)", gap.min(), np.finfo(float).tiny
            ),
            Check(
                f"|λ₂| = ρ²λ₁ at √(2/(1+ρ⁴)), relative, {IN_EPSILON_TIMES_CONDITION}",
                (off / slack).max(),
                64,
            ),
        ),
        findings=(
            f"The paper's ordering of absolute values ends at β = {float(ds.crossing[1]):.4f} for ρ = "
            f"{float(ds.positive_rho[1]):g}: beyond it, and so also in standard fine-tuning, the second direction "
            "oscillates about as slowly as the first one shrinks.",
        ),
    )
