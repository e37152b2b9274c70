"""Remark 7.4, the heart of the paper: FLOW's path stalls in one direction, and for how long."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy import stats

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Verdict

CLAIM = Claim(
    name="stall",
    title="FLOW stalls in the one direction that would undo the old task",
    statement=(
        r"Standard fine-tuning runs from the pre-trained solution $\theta^\ast$ to the new optimum "
        r"$\tilde\theta^\ast$ in a few steps. With FLOW's weights the path first turns into the direction "
        r"$\bar e - \beta\rho\bar e_\perp$ and then hardly moves: the weights have flattened the loss there. "
        r"The smaller the temperature, the longer the stall: its half-life grows like $1/\tau$ when the learning "
        r"rate makes up for the weights' small mean, $\eta = 1/(2\mu)$, and like $\tau^{-3/2}$ when it does not. "
        "On the way the path passes through parameters that serve both tasks."
    ),
    equation="Remark 7.4",
    formula=(
        r"\theta_K - \tilde\theta^\ast \approx \lambda_1^K\, \frac{e - \beta\rho\lVert e\rVert\bar e_\perp}"
        r"{1+\beta^2\rho^2}, \qquad K_{1/2} = \frac{\ln 2}{-\ln\lambda_1} \approx 2\ln 2\, "
        r"\frac{\lVert e\rVert^2}{\tau}"
    ),
    functions=(
        "iterate",
        "stall_parameter",
        "stall_direction",
        "half_life",
        "total_error",
        "joint_optimum",
        "best_model_average",
    ),
    seconds=15.0,
    quick_seconds=4.0,
    order=70,
)

EPS = float(np.finfo(float).eps)
RHO = 0.6
PRETRAIN = ((2.0, 0.9), (0.9, 2.0))  # Σ: the second row of the table of errors
BETAS = (1.0, 0.3, 0.1)
MAIN = 0.1  # the β of the controls


def _literal_covariance(temperature: float) -> tuple[np.ndarray, float]:
    """Σ' and μ of Lemma F.1, written out."""
    sigma = np.array([[1.0, RHO], [RHO, 1.0]])
    mass = 1 / math.sqrt(1 + 2 / temperature)
    return mass * (sigma - 2 / (temperature + 2) * np.outer(sigma[0], sigma[0])), mass


def _loop(covariance: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Gradient descent, a step at a time: θ ← θ − 2ηΣ'(θ − θ̃*), θ̃* = 0."""
    path = np.empty((steps + 1, 2))
    path[0] = 1.0, 0.0
    for k in range(steps):
        path[k + 1] = path[k] - 2 * rate * covariance @ path[k]
    return path


def _measured_half_lives(temperatures: np.ndarray, fixed: bool) -> np.ndarray:
    """Steps until the component along the stalled direction has halved, by running gradient descent.

    All temperatures at once, each step literally taken. Along an eigenvector the decay is geometric, so the
    crossing of ½ between two steps is found by interpolating the logarithm.
    """
    pairs = [_literal_covariance(float(tau)) for tau in temperatures]
    covariance = np.stack([pair[0] for pair in pairs])
    rate = np.full(len(pairs), 0.5) if fixed else np.array([1 / (2 * pair[1]) for pair in pairs])
    slow = np.linalg.eigh(covariance)[1][..., 0]
    step = np.eye(2) - 2 * rate[:, None, None] * covariance
    theta = np.tile([1.0, 0.0], (len(pairs), 1))
    start = np.abs((slow * theta).sum(-1))
    crossed, before, k = np.full(len(pairs), np.nan), np.zeros(len(pairs)), 0
    while np.isnan(crossed).any():
        theta, k = (step @ theta[..., None])[..., 0], k + 1
        after = np.log(np.abs((slow * theta).sum(-1)) / start)
        new = np.isnan(crossed) & (after <= -math.log(2))
        crossed[new] = (k - 1 + (before + math.log(2)) / (before - after))[new]
        before = after
    return crossed


def _exponent(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of ln y over ln x, and half of its 95 % confidence interval."""
    fit = np.array(stats.linregress(np.log(x), np.log(y)))  # slope, intercept, r, p, standard error
    return float(fit[0]), float(fit[4] * stats.t.ppf(0.975, x.size - 2))


def compute(settings: Settings) -> xr.Dataset:
    """Paths by formula and by loop, contours, progress with its controls, half-lives."""
    problem = lt.paper_problem(RHO, pretrain_covariance=np.array(PRETRAIN))
    taus = np.append(lt.stall_temperature(np.array(BETAS), RHO), math.inf)
    steps, longest = np.arange(201), 200
    paths = np.stack([lt.iterate(problem, steps, temperature=tau) for tau in taus])
    loops, wrong = np.empty_like(paths), np.empty_like(paths)
    for i, tau in enumerate(taus):
        covariance, mass = _literal_covariance(float(tau))
        loops[i] = _loop(covariance, 1 / (2 * mass), longest)
        wrong[i] = _loop(covariance, 1 / (4 * mass), longest)  # the gradient without its 2
    # Progress along the stalled direction of the main β, with the controls for the step's size.
    tau = float(lt.stall_temperature(MAIN, RHO))
    slow = np.array(lt.stall_direction(MAIN, RHO))
    mass = float(lt.weight_mass(problem, tau))
    runs = {
        "FLOW, η = 1/(2μ)": (tau, 1 / (2 * mass)),
        "FLOW, η = 1/2": (tau, 0.5),
        "vanilla, η = 1/2": (math.inf, 0.5),
        "vanilla, η = μ/2": (math.inf, mass / 2),
    }
    fine = np.unique(np.append(0, np.geomspace(1, 3000, 160).astype(int)))
    remains = np.stack([lt.iterate(problem, fine, eta, t) @ slow / slow[0] for t, eta in runs.values()])
    temperatures = np.geomspace(1e-3, 1e-2, 5 if settings.quick else 9)
    betas = lt.stall_parameter(temperatures, RHO)
    half = np.stack([_measured_half_lives(temperatures, fixed) for fixed in (False, True)])
    exact = np.stack([
        lt.half_life(betas, RHO),
        [_fixed_half_life(float(b), float(t)) for b, t in zip(betas, temperatures, strict=True)],
    ])  # fmt: skip
    fits = np.array([_exponent(temperatures, row) for row in half])
    x, y = np.linspace(-0.12, 1.12, 160), np.linspace(-0.62, 0.14, 110)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    return xr.Dataset(
        {
            "temperature": ("path", taus, {"long_name": "τ/‖e‖²; the last is vanilla"}),
            "path_beta": ("path", np.append(BETAS, 1 / RHO)),
            "path": (("path", "step", "axis"), paths, {"long_name": "θ_K − θ̃*, exact, in units of ‖e‖"}),
            "loop": (("path", "step", "axis"), loops, {"long_name": "the same by steps literally taken"}),
            "wrong": (("path", "step", "axis"), wrong, {"long_name": "the same without the gradient's 2"}),
            "path_error": (("path", "step"), lt.total_error(problem, paths), {"long_name": "err_tot on the path"}),
            "error": (("y", "x"), lt.total_error(problem, grid), {"long_name": "err_tot"}),
            "direction": (("beta", "axis"), np.stack(lt.stall_direction(np.array(BETAS), RHO), axis=-1)),
            "oracle": ("axis", lt.joint_optimum(problem)),
            "average": ("axis", lt.best_model_average(problem)),
            "landmark_error": (
                "landmark",
                [float(lt.total_error(problem, t)) for t in (problem.pretrained, problem.target,
                                                            lt.best_model_average(problem),
                                                            lt.joint_optimum(problem))],
            ),
            "remains": (("run", "fine"), remains, {"long_name": "error left along the stalled direction"}),
            "half_life": (("rate", "tau"), half, {"long_name": "half-life in steps, by gradient descent"}),
            "half_life_exact": (("rate", "tau"), exact, {"long_name": "half-life in steps, ln 2/−ln λ₁"}),
            "exponent": (("rate", "fit"), fits, {"long_name": "exponent in τ, half its 95 % interval"}),
        },
        coords={
            "step": steps, "axis": ["shift", "across"], "x": x, "y": y, "beta": list(BETAS), "run": list(runs),
            "fine": fine, "tau": temperatures, "rate": ["matched", "fixed"],
            "landmark": ["pretrained", "target", "average", "oracle"],
        },
        attrs={"rho": RHO, "main_beta": MAIN, "main_temperature": tau, "main_mass": mass},
    )  # fmt: skip


def _fixed_half_life(beta: float, temperature: float) -> float:
    """ln 2/−ln(1 − μ(1 − λ₁)): at η = 1/2 the weights' mean μ multiplies the step."""
    mass = math.sqrt(float(lt.squared_mass(beta, RHO)))
    slow = (1 - RHO**2) * beta / (1 + beta)
    return math.log(2) / -math.log1p(-mass * slow)


def verdict(dataset: xr.Dataset) -> Verdict:
    """Exact paths against loops, half-lives against the law, and both exponents."""
    ds = dataset
    size = np.hypot(*np.moveaxis(ds.loop.values, -1, 0))
    unit = EPS * (1 + ds.step.values) * np.maximum(size, np.finfo(float).tiny)
    apart = lambda other: (np.hypot(*np.moveaxis(ds.path.values - ds[other].values, -1, 0)) / unit)[:, :40]
    # K steps taken one by one lose K roundings, and the half-life is where their sum crosses ln 2.
    off = np.abs(ds.half_life / ds.half_life_exact - 1) / (EPS * ds.half_life_exact)
    slopes, widths = ds.exponent.values.T
    # Over this decade the exponent still bends: −ln λ₁ = (τ/2)(1 + O(τ/(1 − ρ²))).
    bend = 2 * float(ds.tau.max()) / (1 - ds.attrs["rho"] ** 2)
    best = ds.path_error.min("step")
    errors = dict(zip(ds.landmark.values, ds.landmark_error.values, strict=True))
    flow, vanilla = float(best[:-1].min()), float(best[-1])
    left = ds.remains.sel(fine=50, method="nearest")
    flow_left, matched_left = float(left.sel(run="FLOW, η = 1/2")), float(left.sel(run="vanilla, η = μ/2"))
    return Verdict(
        checks=(
            Check("exact paths against steps literally taken, in roundings × K", apart("loop").max(), 32),
            Check.at_least("the same distance without the gradient's 2", apart("wrong")[:, 1:].min(), 32e3),
            Check("half-life by gradient descent against ln 2/−ln λ₁, in roundings × K", off.max(), 32),
            Check("exponent of the half-life in τ at η = 1/(2μ), distance from −1", abs(slopes[0] + 1), bend),
            Check(
                "exponent of the half-life in τ at η = 1/2, distance from −3/2", abs(slopes[1] + 1.5), bend
            ),
            Check("width of the 95 % intervals of both exponents", 2 * widths.max(), bend),
            Check.at_least("distance of the two exponents", abs(slopes[0] - slopes[1]), 0.4),
            Check("best total error on FLOW's paths, beside that of standard fine-tuning", flow, vanilla),
        ),
        findings=(
            f"Part of the stall is only a smaller step. At η = 1/2 after 50 steps FLOW (β = {ds.attrs['main_beta']:g}) "
            f"still has {100 * flow_left:.0f} % of the error along the stalled direction; vanilla with the same mean "
            f"step, η = μ/2, has {100 * matched_left:.2g} %. The rest is the direction itself.",
            f"In the plane drawn here (Σ = (2, 2, 0.9)) the best point of FLOW's three paths has a total error of "
            f"{flow:.4f}, the best of standard fine-tuning {vanilla:.4f}, the best average {errors['average']:.4f}, "
            f"and no parameter is below {errors['oracle']:.4f}. A stall is not a stop: run for ever, every path ends "
            f"at the new optimum, {errors['target']:.2f}.",
        ),
    )
