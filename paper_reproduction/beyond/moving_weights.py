"""Weights recomputed at the current model change the clock of standard fine-tuning and not its path."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Verdict
from paper_reproduction.sampled_rows import draw_rows
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="moving-weights",
    title="Weights that move with the model change the clock, not the path",
    statement=(
        r"FLOW's weights are those of the pre-trained model and stay as they are. Recomputed at the current $\theta$ "
        r"they make, for Gaussian inputs and noise and every $\tilde\Sigma$, the gradient "
        r"$2\mu(\theta)^3\,\tilde\Sigma(\theta - \tilde\theta^\ast)$: standard fine-tuning's, times a number. Gradient "
        r"flow then runs along standard fine-tuning's path, slowly at first and at full speed later, to the same end. "
        r"It can be no better than standard fine-tuning stopped early, and label noise no longer ends it in an "
        r"average. Only static weights bend the path."
    ),
    equation="beyond the paper",
    formula=(
        r"-2\,E\left[e^{-\varrho^2/\tau}\varrho\,x\right] = 2\mu(\theta)^3\,\tilde\Sigma(\theta - \tilde\theta^\ast), "
        r"\quad \varrho = y - \langle\theta, x\rangle, \quad \frac{dt}{dt_{\mathrm{standard}}} = \mu(\theta)^{-3}"
    ),
    functions=(
        "residual_tilt",
        "gradient_flow",
        "weight_mass",
        "weighted_covariance",
        "best_early_stop",
        "total_error",
    ),
    seconds=12.0,
    quick_seconds=4.0,
    order=90,
    question="Do weights that move with the model stall?",
)

EPS = float(np.finfo(float).eps)
TOLERANCE = 1e-11  # of the solver of the differential equation, relative and absolute
RHO, TEMPERATURE = 0.6, 0.3
ROWS_TEMPERATURE, RATE, STEPS = 1.0, 0.3, np.array([4, 12])
Reals = np.ndarray


def _grid(step: float, dims: int) -> tuple[Reals, Reals]:
    """Nodes (m, dims) and weights of the trapezoidal rule for standard normal coordinates."""
    one = np.arange(-9, 9 + step / 2, step)
    nodes = np.stack(np.meshgrid(*[one] * dims, indexing="ij"), axis=-1).reshape(-1, dims)
    return nodes, step**dims * np.exp(-(nodes**2).sum(axis=1) / 2) / (2 * math.pi) ** (dims / 2)


def _field(x: Reals, noise: Reals, mass: Reals, u: Reals, rule: lt.weights.WeightRule) -> tuple[Reals, float]:
    """−2E[w ϱ x] at θ = θ̃* + u, summed over nodes of (x, ξ), and the sum of sizes: no Gaussian algebra."""
    residual = noise - x @ u
    # NumPy adds pairs of partial sums, which loses least, along an axis that lies together in memory.
    terms = np.ascontiguousarray(2 * x.T) * (mass * np.exp(rule.log_weights(residual**2)) * residual)
    return -terms.sum(axis=1), float(np.linalg.norm(np.abs(terms).sum(axis=1)))


def _fields(settings: Settings) -> dict[str, Reals]:
    """The gradient at random θ of random problems: summed, by the closed form, and what two mistakes would give."""
    rng = settings.rng("fields")
    nodes, mass = _grid(0.25, 3)
    found = {name: [] for name in ("field", "closed", "linear", "static", "size")}
    for k in range(6 if settings.quick else 30):
        factor = np.linalg.qr(rng.normal(size=(2, 2)))[0] * np.sqrt(rng.uniform(0.4, 1.6, 2))
        covariance = factor @ factor.T
        e, u = rng.normal(size=(2, 2))
        e, u = (one * rng.uniform(0.5, 1.2) / np.linalg.norm(one) for one in (e, u))
        noise, scale = rng.uniform(0.1, 0.8), rng.uniform(1.0, 3.0)
        rule = lt.weights.Flow(scale) if k % 2 else lt.weights.Cauchy(scale + 1)
        rows = nodes[:, :2] @ factor.T, math.sqrt(noise) * nodes[:, 2], mass, u, rule
        field, size = _field(*rows)
        found["field"].append(field)
        found["size"].append(size)
        problem = lt.FineTuningProblem(e, np.zeros(2), covariance, noise_variance=noise)
        tilt = lt.residual_tilt(rule, float(u @ covariance @ u) + noise)
        found["closed"].append(2 * tilt.mass * tilt.ratio * covariance @ u)
        found["linear"].append(2 * tilt.mass * covariance @ u)
        end = lt.fixed_point(problem, rule)
        found["static"].append(2 * lt.weighted_covariance(problem, rule) @ (u - end))
    return {name: np.array(values) for name, values in found.items()}


def _paths() -> dict[str, Reals]:
    """In the plane without noise: the differential equation solved, and standard fine-tuning's path by the clock."""
    problem = lt.paper_problem(RHO)
    nodes, mass = _grid(0.25, 2)
    x = nodes @ np.linalg.cholesky(problem.target_covariance).T
    rule = lt.weights.Flow(TEMPERATURE)
    standard_time = np.linspace(0, 2, 41)
    gauss, share = np.polynomial.legendre.leggauss(12)  # t = ∫ μ⁻³ ds along the standard path, piece by piece
    piece = standard_time[1] / 2
    z = lt.gradient_flow(problem, (standard_time[:-1, None] + piece * (1 + gauss)).ravel())
    variance = ((z @ problem.target_covariance) * z).sum(axis=1).reshape(-1, len(gauss))
    clock = np.append(0.0, np.cumsum(piece * (1 + 2 * variance / TEMPERATURE) ** 1.5 @ share))
    solved = solve_ivp(
        lambda _, u: -_field(x, np.zeros(1), mass, u, rule)[0],
        (0, clock[-1]), np.array([1.0, 0.0]), "DOP853", clock, rtol=TOLERANCE, atol=TOLERANCE,
    ).y.T  # fmt: skip
    curve = lt.gradient_flow(problem, np.linspace(0, 3, 3001))
    static = lt.gradient_flow(problem, clock, TEMPERATURE)
    late = np.geomspace(1e-2, 1e3, 121)
    away = lambda path: np.linalg.norm(path[:, None] - curve, axis=-1).min(axis=1)
    return {
        "solved": solved, "clocked": lt.gradient_flow(problem, standard_time), "static_path": static, "clock": clock,
        "solved_away": away(solved), "static_away": away(static), "curve": curve[::10],
        "solved_error": lt.total_error(problem, solved),
        "standard_left": np.linalg.norm(lt.gradient_flow(problem, late), axis=1),
        "static_left": np.linalg.norm(lt.gradient_flow(problem, late, TEMPERATURE), axis=1),
        "late": late,
    }  # fmt: skip


def _discrete(problem: lt.FineTuningProblem, wrong: str = "") -> Reals:
    """θ_K of steps with weights of the current θ, exactly; ``wrong`` names a mistake."""
    u, path = problem.shift, []
    for _ in range(STEPS[-1]):
        tilt = lt.residual_tilt(
            ROWS_TEMPERATURE, float(u @ problem.target_covariance @ u) + problem.noise_variance
        )
        factor = tilt.mass * (1.0 if wrong else tilt.ratio)
        u = u - 2 * RATE * factor * problem.target_covariance @ u
        path.append(problem.target + u)
    return np.array(path)[STEPS - 1]


def _rows(settings: Settings) -> dict[str, Reals]:
    """Gradient descent on rows with recomputed weights, on average over samples; static and shuffled beside it."""
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.5]])
    problem = lt.FineTuningProblem(np.array([0.8, -0.5, 0.4]), np.zeros(3), covariance, noise_variance=0.5)
    rng = settings.rng("rows")
    samples, n = settings.repetitions(full=24, quick=16), 4000 if settings.quick else 20_000
    ends = {name: np.empty((samples, len(STEPS), 3)) for name in ("moving", "static", "shuffled")}
    for k in range(samples):
        X, y = draw_rows(problem, rng, n)
        for name, end in ends.items():
            theta, path = problem.pretrained, []
            for _ in range(STEPS[-1]):
                at = problem.pretrained if name == "static" else theta
                w = lt.flow_weights((y - X @ at) ** 2, ROWS_TEMPERATURE)
                w = rng.permutation(w) if name == "shuffled" else w
                theta = theta + 2 * RATE * (w * (y - X @ theta)) @ X / n
                path.append(theta)
            end[k] = np.array(path)[STEPS - 1]
    return {
        "rows": np.stack([ends[name].mean(axis=0) for name in ends]),
        "rows_error": np.stack([ends[name].std(axis=0, ddof=1) / math.sqrt(samples) for name in ends]),
        "rows_exact": _discrete(problem), "rows_linear": _discrete(problem, "μ for μ³"), "samples": np.array(samples),
    }  # fmt: skip


def compute(settings: Settings) -> xr.Dataset:
    """The gradient at random models, the path and its clock, and rows with recomputed weights."""
    problem = lt.paper_problem(RHO)
    place = ("time", "axis")
    names = {
        **dict.fromkeys(("field", "closed", "linear", "static"), ("point", "coordinate")),
        "size": ("point",), **dict.fromkeys(("solved", "clocked", "static_path"), place), "curve": ("along", "axis"),
        **dict.fromkeys(("clock", "solved_away", "static_away", "solved_error"), ("time",)),
        **dict.fromkeys(("standard_left", "static_left", "late"), ("late_time",)),
        **dict.fromkeys(("rows", "rows_error"), ("weights", "step", "entry")),
        **dict.fromkeys(("rows_exact", "rows_linear"), ("step", "entry")), "samples": (),
    }  # fmt: skip
    arrays = _fields(settings) | _paths() | _rows(settings)
    return xr.Dataset(
        {name: (names[name], values) for name, values in arrays.items()},
        coords={"axis": ["shift", "across"], "weights": ["moving", "static", "shuffled"], "step": STEPS},
        attrs={"rho": RHO, "temperature": TEMPERATURE,
               "start_mass": float(lt.weight_mass(problem, TEMPERATURE)),
               "best_early_stop": float(lt.best_early_stop(problem).total_error)},
    )  # fmt: skip


def verdict(dataset: xr.Dataset) -> Verdict:
    """The gradient against its sum, the path and the clock against the differential equation, and sampled rows."""
    d = dataset
    apart = lambda other: np.linalg.norm(d.field - d[other], axis=1) / d["size"].values / EPS
    dof = int(d.samples) - 1
    z = lambda name, want: in_standard_errors(
        d.rows.sel(weights=name), want, d.rows_error.sel(weights=name)
    ).max()
    limit = four_sigma(d.rows_exact.size, dof)
    best, found = d.attrs["best_early_stop"], float(d.solved_error.min())
    off = np.linalg.norm(d.solved - d.clocked, axis=1) / TOLERANCE
    checks = (
        Check(
            f"gradient with moving weights against a sum over nodes, {IN_EPSILON} times the sum of sizes",
            apart("closed").max(),
            64,
        ),
        Check.at_least("the same with μ for μ³", apart("linear").min(), 64e3),
        Check.at_least("the same with weights of the pre-trained model", apart("static").min(), 64e3),
        Check(
            "path solved against standard fine-tuning's by the clock, in units of the solver's tolerance",
            off.max(),
            100,
        ),
        Check.at_least(
            "the static path at the same times, in the same units",
            (np.linalg.norm(d.solved - d.static_path, axis=1)[1:] / TOLERANCE).min(),
            1e5,
        ),
        # Points of the standard curve are at most 3/3000 of time apart, and speed is at most 2(1 + ρ).
        Check(
            "distance of the moving path from the standard curve, over ‖e‖",
            d.solved_away.max(),
            1e-3 * (1 + RHO),
        ),
        Check.at_least("distance of the static path from it, over ‖e‖", d.static_away.max(), 0.05),
        Check(
            "how far below the best early stop the moving path comes, in units of the solver's tolerance",
            max(best - found, 0.0) / TOLERANCE,
            100,
        ),
        Check("sampled rows with moving weights, in standard errors", z("moving", d.rows_exact), limit),
        Check.at_least("the same against μ for μ³", z("moving", d.rows_linear), limit),
        Check.at_least("the same with static weights", z("static", d.rows_exact), limit),
        Check.at_least("the same with shuffled weights", z("shuffled", d.rows_exact), limit),
    )
    slow, whole = d.attrs["start_mass"] ** -3, float(d.clock[-1] / 2)
    late = float(np.interp(d.clock[-1], d.late, d.static_left))
    return Verdict(
        checks,
        headline=(
            f"No: at $\\tau = {TEMPERATURE:g}\\lVert e\\rVert^2$ they start {slow:.1f} times slower than standard "
            f"fine-tuning, and reach in {float(d.clock[-1]):.1f} units of time what it reaches in 2 "
            f"({whole:.1f} times as long on average), {float(np.linalg.norm(d.solved[-1])):.2f} of the way left; "
            f"static weights then have {late:.2f} left."
        ),
        measured=(
            f"With $\\Sigma = I$ the least total error on the moving path is {found:.4f} at the times computed; "
            f"standard fine-tuning's best early stop has {best:.4f}.",
            f"The static path leaves the standard curve by up to {float(d.static_away.max()):.2f} $\\lVert e\\rVert$.",
        ),
    )
