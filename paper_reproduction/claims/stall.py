"""Remark 7.4: FLOW turns into one direction and stalls there, and for how long."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.claim import IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict
from paper_reproduction.claims._half_life import RHO, SHIFT, law, moments_by_quadrature, sampled

CLAIM = Claim(
    name="stall",
    title="FLOW turns into one direction and stalls there",
    statement=(
        r"Standard fine-tuning runs from the pre-trained solution $\theta^*$ to the optimum "
        r"$\tilde{\theta}^*$ of the new task in a few steps. FLOW's weights flatten the loss in one direction, "
        r"$\bar{e} - \beta\rho\bar{e}_\perp$, where $\beta$ is the root in $(0, 1/\rho]$ of "
        r"$\tau(1-\beta^2\rho^2) = 2\beta(1-\rho^2)\lVert e\rVert^2$, about $\tau/(2(1-\rho^2)\lVert e\rVert^2)$ "
        r"where $\tau$ is small: the path turns into it, and from then on the distance shrinks by "
        r"$\lambda_1$ in each step, the more slowly the lower the temperature. Its half-life grows like $1/\tau$ at "
        r"the step $\eta = 1/(2\mu)$, which makes up for the small weights, and like $\tau^{-3/2}$ at the fixed "
        r"step $\eta = 1/2$, where the small weights also shrink the step. Standard fine-tuning with the same "
        r"mean step does not stall."
    ),
    equation="Remark 7.4",
    formula=(
        r"K_{1/2} = \frac{\ln 2}{-\ln\lambda_1} \approx \frac{2\ln 2\,\lVert e\rVert^2}{\tau}, \qquad "
        r"\theta_K - \tilde{\theta}^* \approx "
        r"\lambda_1^K\,\frac{e - \beta\rho\lVert e\rVert\bar{e}_\perp}{1+\beta^2\rho^2}"
    ),
    functions=(
        "iterate",
        "stall_parameter",
        "stall_temperature",
        "stall_direction",
        "stall_spectrum",
        "half_life",
        "weight_mass",
        "total_error",
        "joint_optimum",
        "best_model_average",
    ),
    seconds=12.0,
    quick_seconds=4.0,
    order=70,
)

EPS = float(np.finfo(float).eps)
STEP_ERROR = 16  # rounding errors, in units of ε, that one step of either route may add
POWER = 1000.0  # by how many bounds a wrong formula has to miss

BETAS = (0.02, 0.1, 0.5, 1.0)
MAIN = 0.02  # the β that is shown with both step sizes, beside standard fine-tuning
SAME_MEAN_STEP = "standard, same mean step"
LAST = 400  # steps of the paths
RING = 10  # "after ten steps"


def descend(matrix: np.ndarray, steps: int) -> np.ndarray:
    """(θ_K − θ̃*)/‖e‖ for K = 0 … steps, one literal step after the other; (paths, steps + 1, 2)."""
    path = np.empty((steps + 1, len(matrix), 2))
    path[0] = 1.0, 0.0
    for k in range(steps):
        path[k + 1] = (matrix @ path[k][..., None])[..., 0]
    return path.swapaxes(0, 1)


def compute(settings: Settings) -> xr.Dataset:
    """Paths, progress beside standard fine-tuning with the same mean step, and the half-life law, by two routes."""
    return xr.merge([_paths(), _progress(), law(settings), sampled(settings)], combine_attrs="no_conflicts")


def _paths() -> xr.Dataset:
    problem = lt.paper_problem(RHO, SHIFT)
    beta = np.append(BETAS, 1 / RHO)  # the last is standard fine-tuning
    tau = lt.stall_temperature(beta, RHO, SHIFT)
    steps = np.arange(LAST + 1)
    paths = np.stack([lt.iterate(problem, steps, temperature=one) for one in tau])
    covariance, mass = moments_by_quadrature(tau)
    unit = covariance / mass[:, None, None]
    values, vectors = np.linalg.eigh(unit)
    x, y = np.linspace(-0.3, 1.42, 216), np.linspace(-0.72, 0.4, 142)
    grid = SHIFT * np.stack(np.meshgrid(x, y), axis=-1)
    corners = np.stack(
        [problem.pretrained, problem.target, lt.best_model_average(problem), lt.joint_optimum(problem)]
    )
    error = lambda theta: lt.total_error(problem, theta) / SHIFT**2
    # Standard fine-tuning with the same mean step, η = μ/2 with the main temperature's μ, to be stopped early.
    same_mean_step = lt.iterate(problem, steps, float(mass[0]) / 2)
    place = ("path_beta", "step", "axis")
    return xr.Dataset(
        {
            "path": (place, paths / SHIFT, {"long_name": "(θ_K − θ̃*)/‖e‖, exact", "units": "‖e‖"}),
            "loop": (place, descend(np.eye(2) - unit, LAST), {"long_name": "the same, each step taken"}),
            "halved": (place, descend(np.eye(2) - unit / 2, LAST), {"long_name": "without the gradient's 2"}),
            "path_error": (("path_beta", "step"), error(paths), {"units": "‖e‖²", "long_name": "err_tot"}),
            "same_mean_step_error": (
                "step",
                error(same_mean_step),
                {"units": "‖e‖²", "long_name": "err_tot, standard fine-tuning, η = μ/2"},
            ),
            "slow": ("path_beta", lt.stall_spectrum(beta, RHO)[0], {"long_name": "λ₁"}),
            "slow_by_matrix": (
                "path_beta",
                1 - values[:, 0],
                {"long_name": "λ₁ by eigh of the quadrature's"},
            ),
            "eigenvector": (("path_beta", "axis"), vectors[:, :, 0] * np.sign(vectors[:, :1, 0])),
            "spectral_gap": ("path_beta", values[:, 1] - values[:, 0], {"long_name": "λ₁ − λ₂"}),
            "direction": (("path_beta", "axis"), np.stack(lt.stall_direction(beta, RHO), axis=-1)),
            "error": (("y", "x"), error(grid), {"long_name": "err_tot", "units": "‖e‖²"}),
            "corner": (("landmark", "axis"), corners / SHIFT, {"units": "‖e‖"}),
            "corner_error": ("landmark", error(corners), {"units": "‖e‖²"}),
        },
        coords={
            "path_beta": ("path_beta", beta, {"long_name": "β"}),
            "path_temperature": ("path_beta", tau / SHIFT**2, {"long_name": "τ", "units": "‖e‖²"}),
            "step": steps,
            "axis": ["along", "across"],
            "landmark": ["pretrained", "target", "average", "joint_optimum"],
            "x": ("x", x, {"units": "‖e‖"}),
            "y": ("y", y, {"units": "‖e‖"}),
        },
        attrs={"rho": RHO, "shift_norm": SHIFT, "ring": RING, "main_beta": MAIN},
    )


def _progress() -> xr.Dataset:
    """What is left along the stalled direction: FLOW at each β, the main one also with η = 1/2; standard."""
    problem = lt.paper_problem(RHO, SHIFT)
    few = np.unique(np.geomspace(1, 3000, 18).astype(int))
    steps = np.union1d(np.geomspace(1, 1e4, 240).astype(int), few)
    rows, loops, names, halves = [], [], [], []
    for beta in BETAS:
        tau = lt.stall_temperature(beta, RHO, SHIFT)
        mass = float(lt.weight_mass(problem, tau))
        covariance, quadrature_mass = moments_by_quadrature(tau)
        unweighted = np.array([[1, RHO], [RHO, 1]])
        runs = {f"flow {beta:g}": (tau, 1 / (2 * mass), covariance[0] / quadrature_mass[0])}
        if beta == MAIN:
            runs["flow fixed"] = (tau, 0.5, covariance[0])
            runs["standard"] = (math.inf, 0.5, unweighted)
            runs[SAME_MEAN_STEP] = (math.inf, mass / 2, unweighted * quadrature_mass[0])
        direction = np.array(lt.stall_direction(beta, RHO))
        for name, (temperature, rate, covariance_step) in runs.items():
            names.append(name)
            rows.append(lt.iterate(problem, steps, rate, temperature) @ direction / (SHIFT * direction[0]))
            walked = descend((np.eye(2) - covariance_step)[None], int(few[-1]))[0] @ direction / direction[0]
            loops.append(walked[few])
            halves.append(np.argmax(walked <= 0.5))
    return xr.Dataset(
        {
            "left": (
                ("run", "count"),
                np.array(rows),
                {"long_name": "share left along the stalled direction"},
            ),
            "left_loop": (("run", "few"), np.array(loops), {"long_name": "the same, each step taken"}),
            "halved_at": ("run", np.array(halves), {"long_name": "first step with at most half left"}),
        },
        coords={"run": names, "count": steps, "few": few},
    )


def verdict(dataset: xr.Dataset) -> Verdict:
    """Exact routes against rounding, sampled ones against four standard errors, wrong ones beyond both."""
    d = dataset
    size = np.sqrt((d.loop**2).sum("axis"))
    # Each literal step perturbs by ‖Σ̃‖ε while the path shrinks by no less than λ₁: relative loss K(1+ρ)ε/λ₁.
    bound = STEP_ERROR * EPS * (1 + d.step * (1 + d.attrs["rho"]) / d.slow) * size
    bound = bound.where(size > 1e-290)  # beyond, the numbers leave the normal range
    apart = lambda other: np.sqrt(((d.path - d[other]) ** 2).sum("axis")) / bound
    left = np.abs(d.left.sel(count=d.few) - d.left_loop).max()
    # Both eigenvalues are known to a rounding of ‖Σ̃‖, and λ₁ with ρ for ρ² is (1 + βρ)/(1 + β).
    shrinks = lambda slow: np.abs(slow - d.slow_by_matrix) / (EPS * (2 + d.attrs["rho"]))
    crude = (1 + d.path_beta * d.attrs["rho"]) / (1 + d.path_beta)
    turned = np.sqrt(((d.direction - d.eigenvector) ** 2).sum("axis"))
    # The slow gap is ln 2 over the half-life, and the matrix knows it to a rounding of ‖Σ̃‖ = 1 + ρ.
    gap_unit = EPS * (1 + (1 + d.attrs["rho"]) * d.half_life / math.log(2))
    # The first whole step past one half is the half-life rounded up; the matrix knows the slow gap only to rounding.
    rounding = STEP_ERROR * EPS * np.maximum(d.half_life, 1) ** 2
    beyond = lambda half_life: np.maximum(half_life - d.counted, d.counted - half_life - 1)
    off = (np.maximum(beyond(d.half_life), 0) / rounding).max()
    unsquared = (beyond(d.unsquared) / rounding).sel(rate="same mean step").max()
    # −ln λ₁ = (τ/2)(1 + O(τ/(1−ρ²))) in units of ‖e‖², and a whole step is a share 1/K of the half-life.
    cold = d.ratio <= d.attrs["asymptotic"] * (1 + 1e-9)
    bend = d.attrs["asymptotic"] / (1 - d.attrs["rho"] ** 2) + 1 / float(d.counted.where(cold).min())
    law = dict(zip(d.rate.values, (-1.0, -1.5), strict=True))
    steps = dict(zip(d.rate.values, ("1/(2μ)", "1/2"), strict=True))
    wrong_law = -1.25  # half-way: the sample has to tell the two exponents apart
    dof = d.attrs["replicates"] - 1
    points = np.abs(d.sampled - d.sampled_exact) / d.sampled_error
    slope = np.abs(d.slope - d.slope_exact) / d.slope_error
    checks = [
        Check(
            "exact paths against gradient descent really run, in units of the bound on rounding errors",
            apart("loop").max(),
            1,
        ),
        Check.at_least(
            "forgetting the gradient's 2 would show, in the same units",
            apart("halved").max("step").min(),
            POWER,
        ),
        Check(f"λ₁ against eigh, {IN_EPSILON_TIMES_CONDITION}", shrinks(d.slow).max(), STEP_ERROR),
        Check.at_least("the same with ρ for ρ²", shrinks(crude).min(), POWER * STEP_ERROR),
        Check(
            f"stalled direction against eigh, {IN_EPSILON_TIMES_CONDITION}",
            (turned / (EPS * (1 + (1 + d.attrs["rho"]) / d.spectral_gap))).max(),
            STEP_ERROR,
        ),
        Check(
            "share left along the stalled direction against steps really taken",
            left,
            STEP_ERROR * EPS * (1 + float(d.few.max()) * math.log(2)),
        ),
        Check(
            f"half-life against eigvalsh of the quadrature's matrix, {IN_EPSILON_TIMES_CONDITION}",
            (np.abs(d.half_life / d.from_eigenvalue - 1) / gap_unit).max(),
            STEP_ERROR,
        ),
        Check(
            "counted first step past one half against the half-life rounded up, in units of its rounding error",
            off,
            1,
        ),
        Check.at_least("‖e‖ for ‖e‖² would show, in the same units", unsquared, POWER),
    ]
    checks += [
        Check(
            f"exponent in τ as τ → 0, step η = {steps[name]}: distance from {law[name]:g}".replace("-", "−"),
            abs(float(d.exponent.sel(rate=name)) - law[name]),
            bend,
        )
        for name in d.rate.values
    ]
    checks += [
        Check(
            "half-lives on sampled rows against the law, in standard errors",
            points.max(),
            four_sigma(points.size, dof),
        ),
        Check(
            "exponents of the half-life in τ against the law's, in standard errors",
            slope.max(),
            four_sigma(slope.size, dof),
        ),
        Check.at_least(
            "an exponent off by a quarter would show, in standard errors",
            (abs(wrong_law + 1) / d.slope_error).min(),
            4 + four_sigma(slope.size, dof),
        ),
    ]
    return Verdict(tuple(checks), measured=_measured(d))


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    main = d.attrs["main_beta"]
    half = lambda run: int(d.halved_at.sel(run=run))
    tau = f"$\\tau = {float(d.path_temperature.sel(path_beta=main)):.3f}\\lVert e\\rVert^2$"
    flow = float(d.path_error.isel(path_beta=slice(None, -1)).min())
    average, optimum = (float(d.corner_error.sel(landmark=name)) for name in ("average", "joint_optimum"))
    standard, same = float(d.path_error.isel(path_beta=-1).min()), float(d.same_mean_step_error.min())
    return (
        f"At {tau} half of the way along the stalled direction takes FLOW {half(f'flow {main:g}')} steps at "
        f"$\\eta = 1/(2\\mu)$ and {half('flow fixed')} at $\\eta = 1/2$. Standard fine-tuning takes "
        f"{half('standard')} at $\\eta = 1/2$ and {half(SAME_MEAN_STEP)} at $\\eta = \\mu/2$, where it has the same "
        "mean step as FLOW at $\\eta = 1/2$, which takes "
        f"{half('flow fixed') / half(SAME_MEAN_STEP):.0f} times as many: the smaller step accounts for only a part of "
        "the stall, the weights for the rest.",
        f"With $\\Sigma = I$ the best iterate of the four FLOW paths has a total error of {flow:.4f}, the best average "
        f"has {average:.4f}, and standard fine-tuning at $\\eta = 1/2$ has {standard:.4f} at its best iterate. But "
        f"standard fine-tuning at $\\eta = \\mu/2$, stopped at its best moment, has {same:.4f}, and the best for both "
        f"(the joint optimum) {optimum:.4f}.",
        f"Every path ends at the new optimum, where the total error is as large as at the start "
        f"({float(d.corner_error.sel(landmark='target')):.2f}): after {int(d.step[-1])} steps even the path at {tau} "
        f"is back at {float(d.path_error.sel(path_beta=main).isel(step=-1)):.2f}.",
    )
