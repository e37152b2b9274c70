"""Problems with covariances of every kind, for what holds for all of them, and what FLOW makes of them."""

from __future__ import annotations

import math

import numpy as np

import linear_theory as lt
from paper_reproduction.beyond._sampled_precision import NOISES, RHO
from paper_reproduction.claim import Settings
from paper_reproduction.claims import _diabetes

PRINTED = {  # the derivation's digits for the plane at ρ = 0.6, β = 0.5, and at τ → 0 under noise
    "rate": 0.2133333,
    "lower": 0.1871345,
    "upper": 0.2269504,
    "tangent": 0.3,
    "tangent bound": 0.4918033,
    "rate at τ → 0, σ² = 0.25": 0.1732704,
    "rate at τ → 0, σ² = 1": 0.32,
}
FAMILIES = ("paper's plane", "random", "power law", "diabetes")
FACTS = ("rate", "lower", "upper", "tangent", "tangent bound")


def random_covariance(rng: np.random.Generator, dim: int, low: float, high: float) -> np.ndarray:
    """Eigenvalues spread evenly in logarithms, in a random basis, symmetric to the last bit."""
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    matrix = basis * np.exp(rng.uniform(math.log(low), math.log(high), dim)) @ basis.T
    return (matrix + matrix.T) / 2


def power_law(dim: int) -> np.ndarray:
    """Eigenvalues 1, 1/2, 1/3, …"""
    return np.diag(1.0 / np.arange(1, dim + 1))


def drawn(rng: np.random.Generator) -> tuple[lt.FineTuningProblem, float]:
    """A problem with 1 to 30 dimensions, with noise or without, and a temperature over five decades."""
    dim = int(rng.integers(1, 31))
    matrix, e = random_covariance(rng, dim, 0.1, 2.0), rng.standard_normal(dim)
    tau = math.exp(rng.uniform(-9.0, 3.0)) * float(e @ e)
    noise = math.exp(rng.uniform(-6.0, 1.0)) * float(e @ e) if rng.random() < 0.5 else 0.0
    target = rng.standard_normal(dim)
    return lt.FineTuningProblem(target + e, target, matrix, noise_variance=noise), tau


def unit_largest(e: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same problem in the unit of x in which λ_max(Σ̃) = 1."""
    largest = np.linalg.eigvalsh(matrix)[-1]
    return e * math.sqrt(largest), matrix / largest


def weighted_second_moment(problem: lt.FineTuningProblem, tau: float) -> np.ndarray:
    """E[w x xᵀ]/E[w] by a trapezoidal rule over r; given r, ⟨e, x⟩ is Gaussian and the rest independent."""
    v = float(problem.shift @ problem.target_covariance @ problem.shift)
    s2 = v + float(problem.noise_variance)
    r = np.linspace(-9.0, 9.0, 241) * min(math.sqrt(s2), math.sqrt(tau / 2))
    mass = np.exp(-(r**2) / tau - r**2 / (2 * s2))
    square = mass @ r**2 / mass.sum()
    along = problem.target_covariance @ problem.shift
    return problem.target_covariance + (square / s2 - 1) / s2 * np.outer(along, along)


def stall_facts(problem: lt.FineTuningProblem, tau: float) -> np.ndarray:
    """FACTS of lt.stall, the tangent from its vector."""
    found = lt.stall(problem, tau)
    unit = problem.shift / np.linalg.norm(problem.shift)
    along = found.direction @ unit
    tangent = np.linalg.norm(found.direction - along * unit) / along
    return np.array([found.rate, found.lower, found.upper, tangent, found.tangent_bound], dtype=float)


def named(settings: Settings) -> list[lt.FineTuningProblem]:
    """FAMILIES without noise, λ_max(Σ̃) = 1 in each."""
    rng = settings.rng("families")
    real = _diabetes.split("age").problem
    pairs = (
        (np.array([1.0, 0.0]), np.array([[1.0, RHO], [RHO, 1.0]])),
        (rng.standard_normal(10), random_covariance(rng, 10, 0.04, 1.0)),
        (rng.standard_normal(100), power_law(100)),
        (real.shift, real.target_covariance),
    )
    scaled = [unit_largest(*pair) for pair in pairs]
    return [lt.FineTuningProblem(e, np.zeros(len(e)), matrix) for e, matrix in scaled]


def over_temperature(settings: Settings) -> dict[str, tuple]:
    """Half-lives of named covariances against ‖e‖²/τ, the plane under noise, and the figures with printed digits."""
    inverse = np.geomspace(1e-2, 1e4, 31)
    families = named(settings)
    tau = lambda problem, x: float(problem.shift @ problem.shift) / x
    half_life = lambda rate: math.log(2) / 2 / rate
    facts = np.array([[stall_facts(p, tau(p, x)) for x in inverse] for p in families])
    mass = np.array([[lt.weight_mass(p, tau(p, x)) for x in inverse] for p in families])
    smallest = np.array([np.linalg.eigvalsh(p.target_covariance)[0] for p in families])
    along = np.array([p.shift_variance / (p.shift @ p.shift) for p in families], dtype=float)
    noisy = [lt.paper_problem(RHO, noise_variance=noise) for noise in NOISES]
    rates = np.array([[lt.stall(p, 1 / x).rate for x in inverse] for p in noisy])
    floor = [1 / np.linalg.eigvalsh(np.linalg.inv(p.target_covariance) + np.outer(p.shift, p.shift) / noise)[-1]
             if noise else 0.0 for p, noise in zip(noisy, NOISES, strict=True)]  # fmt: skip
    digits = [
        *stall_facts(lt.paper_problem(RHO), lt.stall_temperature(0.5, RHO)),
        *(lt.stall(p, 1e-14).rate for p in noisy[1:]),
    ]
    grid = ("family", "inverse")
    return {
        "half_life": (grid, half_life(facts[..., 0]), {"long_name": "half-life, in time × μ"}),
        "raw_half_life": (grid, half_life(facts[..., 0]) / mass, {"long_name": "half-life in time"}),
        "raw_limit": (grid, math.log(2) * inverse**1.5 * np.sqrt(2 * along)[:, None], {"long_name": "its limit"}),
        "longest": (grid, half_life(facts[..., 1]), {"long_name": "its upper bound"}),
        "shortest": (grid, half_life(facts[..., 2]), {"long_name": "its lower bound"}),
        "smallest": ("family", smallest, {"long_name": "λ_min(Σ̃) over λ_max(Σ̃)"}),
        "noisy_rate": (("noise", "inverse"), rates, {"long_name": "λ_b in the paper's plane"}),
        "floor": ("noise", np.array(floor), {"long_name": "1/λ_max(Σ̃⁻¹ + eeᵀ/σ²)"}),
        "printed": ("printed_name", np.array(list(PRINTED.values()))),
        "digits": ("printed_name", np.array(digits, dtype=float)),
        "inverse": ("inverse", inverse, {"long_name": "‖e‖²/τ"}),
    }  # fmt: skip


def real_groups() -> dict[str, tuple]:
    """By how much the weights lengthen the longest half-life of the diabetes groups, at the default and at τ → 0."""
    problems = [_diabetes.split(name).problem for name in _diabetes.SPLITS]
    slowest = np.array([np.linalg.eigvalsh(p.target_covariance)[0] for p in problems])
    rate = lambda p, tau: float(lt.stall(p, tau).rate)
    default = [rate(p, lt.population_median_temperature(p)) for p in problems]
    cold = [rate(p, 1e-9 * float(p.noise_variance)) for p in problems]
    limit = [
        1 + float(p.shift @ p.shift) * low / float(p.noise_variance)
        for p, low in zip(problems, slowest, strict=True)
    ]
    return {
        "slower": ("split", slowest / default, {"long_name": "λ_min(Σ̃)/λ_b at the default temperature"}),
        "slowest": ("split", slowest / cold, {"long_name": "the same as τ → 0"}),
        "slower_limit": ("split", np.array(limit), {"long_name": "1 + ‖e‖²λ_min(Σ̃)/σ², its bound"}),
    }  # fmt: skip
