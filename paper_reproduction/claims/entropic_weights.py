"""Proposition 4.3: FLOW's weights minimise average loss minus temperature times entropy on the simplex."""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize
import scipy.special
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.claim import IN_EPSILON, IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict
from paper_reproduction.claims._weighted_population import weighted_population
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="entropic-weights",
    title="FLOW's weights are the cheapest ones that stay close to uniform",
    statement=(
        "Among all ways to distribute one unit of weight over the samples, the weights "
        r"$\pi_i \propto e^{-f_i/\tau}$ have the smallest average loss plus $\tau$ times negative entropy, where "
        r"$f_i$ is the loss of sample $i$ under the pre-trained model. Easy samples go up. With the sign of the "
        r"loss turned, the same problem gives KL-DRO, $\pi_i \propto e^{+f_i/\tau}$: hard samples go up. "
        "A constrained Newton method that contains no exponential, and SciPy's BFGS, search the simplex and "
        "must end there. In the linear model the loss is a multiple $s^2$ of a chi-square variable, so the "
        "effective sample size, the minimum and its distance from uniform depend on $s^2/\\tau$ alone."
    ),
    equation="Proposition 4.3",
    formula=(
        r"\pi^\star = \mathrm{argmin}_{\pi \in \Delta_n} \sum_i \pi_i f_i(\theta^\ast) + \tau \sum_i \pi_i \ln \pi_i,"
        r"\qquad \pi^\star_i = \frac{e^{-f_i(\theta^\ast)/\tau}}{\sum_j e^{-f_j(\theta^\ast)/\tau}}"
    ),
    functions=(
        "flow_weights",
        "median_temperature",
        "effective_sample_size",
        "weight_mass",
        "population_median_temperature",
        "weights",
    ),
    seconds=15.0,
    quick_seconds=2.0,
    order=10,
)

EPS = float(np.finfo(float).eps)
RATIOS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # τ over the median loss
# A black box cannot resolve a π below about e^−12, and its certificate is a minimum over all of them: it
# searches where no weight of any sample is that small. Newton's method covers the sharper temperatures.
BLACK_BOX_RATIO = 10.0
METHODS = {"flow": 1.0, "kl_dro": -1.0}  # the sign of the loss


def compute(settings: Settings) -> xr.Dataset:
    """The simplex searched by two optimisers, and the population by quadrature and by simulation."""
    return xr.merge([_on_the_simplex(settings), weighted_population(settings)])


# Proposition 4.3 itself ---------------------------------------------------------------------------


def _loss_samples(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    problem = lt.paper_problem(0.6, dim=3, noise_variance=0.2)
    rows = rng.multivariate_normal(np.zeros(3), problem.target_covariance, size, method="cholesky")
    gaussian = (rows @ problem.shift + rng.normal(0.0, math.sqrt(0.2), size)) ** 2
    return {
        "squared Gaussian residuals": gaussian,
        "log-normal, heavy-tailed": rng.lognormal(0.0, 1.0, size),
        "integers, ties and zeros": np.sort(np.arange(size) % 5).astype(float),
    }


def _closed(losses: np.ndarray, temperature: float, method: str) -> np.ndarray:
    """π of the package: FLOW's weights, or KL-DRO's rule, normalised."""
    if method == "flow":
        weights = lt.flow_weights(losses, temperature)
    else:
        logs = lt.weights.KLDRO(temperature).log_weights(losses)
        weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def _newton(cost: np.ndarray, temperature: float) -> tuple[np.ndarray, int]:
    """min ⟨π, cost⟩ + τ⟨π, ln π⟩ on the simplex: Newton on the KKT equations, kept inside by damping.

    The Hessian τ/π is scaled to τ by the square roots of π, without which the system would be as badly
    conditioned as the weights are unequal. No exponential anywhere.
    """
    n = len(cost)
    weights = np.full(n, 1 / n)
    kkt = np.zeros((n + 1, n + 1))
    kkt[:n, :n] = np.eye(n)
    floor = 4 * EPS * (1 + np.ptp(cost) / temperature)
    for iteration in range(5000):
        root = np.sqrt(weights)
        slope = cost / temperature + 1 + np.log(weights)
        kkt[n, :n] = kkt[:n, n] = root
        relative = np.linalg.solve(kkt, np.append(-root * slope, 1 - weights.sum()))[:n] / root
        weights = weights * (1 + min(1.0, 0.99 / max(float(-relative.min()), 1e-300)) * relative)
        if np.abs(relative).max() <= floor:
            return weights, iteration + 1
    raise RuntimeError("Newton's method has not converged")


def _bfgs(cost: np.ndarray, temperature: float) -> tuple[np.ndarray, float]:
    """The same minimum by a black box, and how far from it the black box can be at most, in 1-norm.

    SciPy's BFGS over π = softmax(z), which cannot get stuck on an edge of the simplex. The objective F is
    convex, so F(π) − min F ≤ ⟨∇F(π), π⟩ − minᵢ ∇F(π)ᵢ, whatever the optimiser reports; and by Pinsker
    F(π) − min F ≥ (τ/2)‖π − π*‖₁².
    """
    slope = lambda p: cost + temperature * (1 + np.log(p))

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        p = scipy.special.softmax(z)
        return float(p @ cost + temperature * p @ np.log(p)), p * (slope(p) - p @ slope(p))

    found = scipy.optimize.minimize(
        objective, np.zeros(len(cost)), jac=True, method="BFGS", options={"gtol": 1e-10, "maxiter": 2000}
    )
    weights = scipy.special.softmax(found.x)
    gap = slope(weights) @ weights - slope(weights).min()
    return weights, math.sqrt(2 * max(gap, 0.0) / temperature)


def _on_the_simplex(settings: Settings) -> xr.Dataset:
    size = 16 if settings.quick else 32
    samples = _loss_samples(settings.rng("losses"), size)
    shape = (len(METHODS), len(samples), len(RATIOS), size)
    closed, newton, half, steps = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape[:3])
    temperature, condition = np.empty(shape[1:3]), np.empty(shape[1:3])
    bfgs, radius = np.empty((shape[0], shape[1], size)), np.empty(shape[:2])
    for i, losses in enumerate(samples.values()):
        for j, ratio in enumerate(RATIOS):
            tau = ratio * lt.median_temperature(losses)
            temperature[i, j], condition[i, j] = tau, 1 + losses.max() / tau
            for m, (method, sign) in enumerate(METHODS.items()):
                closed[m, i, j] = _closed(losses, tau, method)
                half[m, i, j] = _closed(losses, 2 * tau, method)
                newton[m, i, j], steps[m, i, j] = _newton(sign * losses, tau)
                if ratio == BLACK_BOX_RATIO:
                    bfgs[m, i], radius[m, i] = _bfgs(sign * losses, tau)
    loss = np.stack(list(samples.values()))
    grid = np.linspace(0.0, 1.04 * loss[0].max(), 60)
    drawn = temperature[0, RATIOS.index(1.0)]
    # The closed curve through the drawn sample: its weights at any loss, in units of 1/n.
    curve = [
        size * np.exp(-sign * grid / drawn) / np.exp(-sign * loss[0] / drawn).sum()
        for sign in METHODS.values()
    ]
    every, each = ("rule", "sample", "ratio", "index"), ("sample", "ratio")
    return xr.Dataset(
        {
            "loss": (("sample", "index"), loss, {"long_name": "loss under the pre-trained model"}),
            "temperature": (each, temperature, {"long_name": "temperature, in the units of the loss"}),
            "condition": (each, condition, {"long_name": "condition of ln π: 1 + largest loss/τ"}),
            "closed": (every, closed, {"long_name": "π of Proposition 4.3"}),
            "newton": (every, newton, {"long_name": "π found by Newton's method"}),
            "half": (every, half, {"long_name": "π of a wrong formula: a ½ in the loss"}),
            "newton_steps": (every[:3], steps, {"long_name": "Newton steps"}),
            "bfgs": (("rule", "sample", "index"), bfgs, {"long_name": "π found by BFGS"}),
            "radius": (
                ("rule", "sample"),
                radius,
                {"long_name": "largest 1-norm distance, by the certificate"},
            ),
            "curve": (("rule", "loss_grid"), np.stack(curve), {"long_name": "nπ as a function of the loss"}),
        },
        coords={
            "rule": list(METHODS),
            "sample": list(samples),
            "ratio": ("ratio", list(RATIOS), {"long_name": "τ over the median loss"}),
            "loss_grid": ("loss_grid", grid, {"long_name": "loss"}),
        },
    )


# The verdict ---------------------------------------------------------------------------------------


def verdict(dataset: xr.Dataset) -> Verdict:
    """Both optimisers end at the closed form, and the population is what its formulas say."""
    return Verdict((*_simplex_checks(dataset), *_population_checks(dataset)), measured=_measured(dataset))


def _simplex_checks(ds: xr.Dataset) -> list[Check]:
    unit = EPS * ds.condition.values[:, :, None]
    found = np.log(ds.newton.values)
    apart = lambda weights: np.abs(found - np.log(weights.values)) / unit
    wrong = {
        "a ½ in the loss": apart(ds.half),
        "the loss with the opposite sign": apart(ds.closed[::-1]),
    }
    here = {"ratio": BLACK_BOX_RATIO}
    away, away_half = (
        np.abs(ds.bfgs.values - weights.sel(here).values).sum(axis=-1) / ds.radius.values
        for weights in (ds.closed, ds.half)
    )
    return [
        Check(
            f"Newton on the simplex against the formula, ln π {IN_EPSILON_TIMES_CONDITION}",
            apart(ds.closed).max(),
            32,
        ),
        *(
            Check.at_least(f"the same distance if the formula had {name}", gap.max(axis=-1).min(), 32e3)
            for name, gap in wrong.items()
        ),
        Check("BFGS against the formula, 1-norm in units of BFGS's own certificate", away.max(), 1),
        Check.at_least("the same distance if the formula had a ½ in the loss", away_half.min(), 4),
    ]


def _population_checks(ds: xr.Dataset) -> list[Check]:
    exact, batches = ds.fact_exact.values, int(ds.batches)
    gap = np.abs(exact / ds.fact_quadrature.values - 1) / (EPS * ds.fact_condition.values)
    error = ds.fact_error.values
    off = in_standard_errors(ds.fact_simulated.values, exact, error)
    power = in_standard_errors(ds.fact_simulated.values[:, None], ds.fact_wrong.values, error[:, None])
    limit = four_sigma(off.size, batches - 1)
    default = np.abs(ds.default_exact.values / ds.default_independent.values - 1) / EPS
    median = in_standard_errors(ds.default_simulated.values, ds.default_exact.values, ds.default_error.values)
    return [
        Check(
            f"population facts against quadrature, {IN_EPSILON_TIMES_CONDITION}",
            gap.max(),
            32,
        ),
        Check("population facts against simulation, in standard errors", off.max(), limit),
        Check.at_least(
            "the same if a formula were wrong, at every temperature", power.max(axis=2).min(), limit
        ),
        Check(
            f"default temperature and its μ² against the χ² median, {IN_EPSILON}",
            default.max(),
            32,
        ),
        Check(
            "default temperature and its μ² against simulation, in standard errors",
            median.max(),
            four_sigma(median.size, batches - 1),
        ),
    ]


def _measured(ds: xr.Dataset) -> tuple[str, ...]:
    one = ds.closed.sel(ratio=1.0)
    hardest = one.sel(rule="kl_dro").max("index").values
    median, mass = ds.default_exact.values[0]
    size = float(ds.default_size[0])
    shares = ", ".join(f"{100 * share:.0f} %" for share in hardest)
    return (
        f"At the default temperature, {median:.4f} $s^2$, the weights of Gaussian losses are worth "
        f"{100 * size:.0f} % "
        f"of the rows and $\\mu^2$ = {mass:.4f}, whatever the shift and the noise.",
        "KL-DRO has no counterpart of this default: $E[e^{+f/\\tau}]$ is infinite for $\\tau \\le 2s^2$, and the "
        f"median is far below. On the finite samples here, its single hardest row gets {shares} of all the weight "
        "at the median temperature.",
    )
