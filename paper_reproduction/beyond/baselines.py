"""What FLOW is compared with, in closed form: penalties, EWC, averages of early stops, self-distillation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import minimize, minimize_scalar

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.beyond._planes import CELLS, best_stop_and_average, half_digit_off, problem
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Table, Verdict
from paper_reproduction.claims._plane_search import Plane

CLAIM = Claim(
    name="baselines",
    title="Stopping early and averaging is as good as FLOW, and EWC with all of Σ is the best for both",
    question="Does FLOW beat every baseline?",
    statement=(
        r"Every baseline has a closed form. With $\lambda\,(\theta-\theta^\ast)^\top G\,(\theta-\theta^\ast)$ added "
        r"the loss is least at $\theta^\ast - \kappa(\Sigma'+\lambda G)^{-1}\Sigma'e$: ridge for $G = I$, EWC for "
        r"$G = \Sigma$, which at $\lambda = 1$ is the joint optimum, and the usual EWC for the diagonal of $\Sigma$. "
        r"Labels mixed with the old model's own (self-distillation) are averaging of an early-stopped model, exactly. "
        r"Early stopping is ridge up to a factor: at $\lambda = 1/(2t)$ its total error is at most $1.6859$ times as "
        r"large where $\Sigma$ and $\tilde{\Sigma}$ have the same eigenvectors."
    ),
    equation="beyond the paper",
    formula=r"\theta_\lambda = \theta^\ast - \kappa\,(\Sigma' + \lambda G)^{-1}\Sigma' e, \qquad "
    r"\theta_{\alpha,K} - \tilde{\theta}^\ast = \alpha e + (1-\alpha)(I - 2\eta\tilde{\Sigma})^K e",
    functions=(
        "ridge_optimum",
        "joint_optimum",
        "best_flow",
        "best_early_stop",
        "best_model_average",
        "gradient_flow",
        "iterate",
        "total_error",
        "pretrain_error",
        "target_error",
        "solve",
        "flow_weights",
        "weight_mass",
        "model_average",
    ),
    seconds=15,
    quick_seconds=4,
    order=100,
)

EPS = float(np.finfo(float).eps)
POWER = 1e3
ROWS = (7, 8, 9, 10, 11, 12)  # of CELLS: what was worked out for these
PRINTED = {
    "ridge": (0.4505, 0.6770, 0.7131, 0.5670, 0.4807, 0.7973),
    "diagonal_ewc": (0.4505, 0.6770, 0.6325, 0.4600, 0.4372, 0.9176),
    "stop_and_average": (0.4505, 0.6622, 0.6000, 0.5582, 0.4107, 0.7968),
}
METHODS = ("early_stopping", "averaging", "ridge", "flow_ridge", "ewc", "diagonal_ewc", "stop_and_average", "flow",
           "joint_optimum")  # fmt: skip
NAMES = dict(zip(METHODS, ("early stopping", "averaging", "ridge", "ridge, FLOW's weights", "EWC", "diagonal EWC",
                           "stop, then average", "FLOW", "best for both"), strict=True))  # fmt: skip
SHOWN = 11  # the cell that is drawn
NOISE, TAU, RIDGE = 0.5, 0.8, 0.3  # of the sampled check


def compute(settings: Settings) -> xr.Dataset:
    return xr.merge(
        [_table(), _distilled(), _against_ridge(settings), _sampled(settings), _frontiers()],
        combine_attrs="no_conflicts",
    )


def _least(error: Callable[[float], float]) -> tuple[float, float]:
    """The λ of least error between e^−14 and e^14, and that error."""
    grid = np.linspace(-14, 14, 281)
    k = int(np.argmin([error(math.exp(u)) for u in grid]))
    found: Any = minimize_scalar(
        lambda u: error(math.exp(u)), bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 280)]), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    return math.exp(found.x), float(found.fun)


def _penalised(plane: Plane, metric: np.ndarray, ridge: float, mass2: float = 1.0) -> float:
    """err_tot of e − (Σ'/μ + λG)⁻¹(Σ'/μ)e, by a solve of two equations."""
    r = plane.rho
    new = np.array([[mass2, r * mass2], [r * mass2, 1 - r * r * (1 - mass2)]])
    moved = np.linalg.solve(new + ridge * metric, new[:, 0])
    return float(plane.total((1 - moved[0], -moved[1])))


def _table() -> xr.Dataset:
    value, route, halved = [], [], []
    for k in ROWS:
        plane = Plane(*CELLS[k][:4])
        of, old = problem(plane), np.array([[plane.a, plane.c], [plane.c, plane.b]])
        metrics = {"ridge": np.eye(2), "ewc": old, "diagonal_ewc": np.diag(np.diag(old))}
        found = {name: _least(lambda x, m=m, p=plane: _penalised(p, m, x)) for name, m in metrics.items()}
        (log_ridge, logit), both = _with_flow(plane)
        mass2 = 1 / (1 + math.exp(logit))
        tau = 2 * mass2 / (1 - mass2)
        weighted = lt.ridge_optimum(of, math.exp(log_ridge) * math.sqrt(mass2), tau)
        at = lambda half=1.0, found=found, of=of, metrics=metrics: {
            name: lt.ridge_optimum(of, half * found[name][0], metric=metrics[name]) for name in metrics
        }
        early, flow = lt.best_early_stop(of), lt.best_flow(of)
        thetas = at() | {
            "early_stopping": early.theta, "averaging": lt.best_model_average(of), "flow_ridge": weighted,
            "flow": flow.theta, "joint_optimum": lt.joint_optimum(of),
        }  # fmt: skip
        errors = {name: float(lt.total_error(of, theta)) for name, theta in thetas.items()}
        errors["stop_and_average"] = _stopped_and_averaged(of, early)
        value.append([errors[name] for name in METHODS])
        route.append([found[name][1] for name in metrics] + [both, best_stop_and_average(plane)])
        halved.append([float(lt.total_error(of, theta)) for theta in at(0.5).values()])
    printed = [[PRINTED.get(name, (math.nan,) * 6)[k] for name in METHODS] for k in range(len(ROWS))]
    return xr.Dataset(
        {
            "value": (("cell", "approach"), value, {"long_name": "least total error", "units": "‖e‖²"}),
            "printed": (("cell", "approach"), printed, {"long_name": "worked out beforehand"}),
            "route": (("cell", "second"), route, {"long_name": "the same by a second route"}),
            "halved": (("cell", "penalty"), halved, {"long_name": "with half of the penalty"}),
            "cell_plane": (("cell", "entry"), [CELLS[k][:4] for k in ROWS]),
        },
        {
            "approach": list(METHODS), "second": ["ridge", "ewc", "diagonal_ewc", "flow_ridge", "stop_and_average"],
            "penalty": ["ridge", "ewc", "diagonal_ewc"], "entry": ["rho", "a", "b", "c"],
        },
    )  # fmt: skip


def _with_flow(plane: Plane) -> tuple[np.ndarray, float]:
    """Ridge on FLOW's weighted loss: the best ln λ/μ and −ln(τ/2‖e‖²) = −logit μ², from a grid on."""
    error = lambda p: _penalised(plane, np.eye(2), math.exp(p[0]), 1 / (1 + math.exp(p[1])))
    grid = [(u, w) for u in np.linspace(-16, 4, 41) for w in np.linspace(-4, 16, 41)]
    start = min(grid, key=error)
    found = minimize(error, start, method="Nelder-Mead", bounds=((-25, 6), (-8, 25)),
                     options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 2000})  # fmt: skip
    return found.x, float(found.fun)


def _stopped_and_averaged(of: lt.FineTuningProblem, early: Any) -> float:
    """By the package: a grid of times, refined; at each the best share of the way to θ(t), by a parabola."""

    def error(log_time: float) -> float:
        moved = lt.gradient_flow(of, math.exp(log_time)) - of.pretrained
        zero, half, one = (
            float(lt.total_error(of, of.pretrained + share * moved)) for share in (0.0, 0.5, 1.0)
        )
        bend, slope = 2 * (zero - 2 * half + one), -3 * zero + 4 * half - one
        return float(lt.total_error(of, of.pretrained + min(1.0, -slope / (2 * bend)) * moved))

    start = math.log(float(early.time))
    grid = np.linspace(start - 1, start + 9, 41)
    k = int(np.argmin([error(u) for u in grid]))
    found: Any = minimize_scalar(error, bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 40)]), method="bounded",
                                 options={"xatol": 1e-10})  # fmt: skip
    return min(float(found.fun), float(lt.total_error(of, lt.best_model_average(of))))


def _distilled() -> xr.Dataset:
    """Training on labels (1−α)y + α⟨θ*, x⟩, whose optimum is θ̃* + αe, step by step; and the closed form."""
    off, wrong = [], []
    for k in ROWS:
        of = problem(Plane(*CELLS[k][:4]))
        for alpha, steps in ((0.3, 1), (0.4, 4), (0.8, 40)):
            theta, new = of.pretrained, of.target_covariance
            for _ in range(steps):
                mixed = (1 - alpha) * new @ (theta - of.target) + alpha * new @ (theta - of.pretrained)
                theta = theta - 2 * 0.2 * mixed
            end = lt.iterate(of, steps, 0.2)
            off.append(
                np.abs(theta - (alpha * of.pretrained + (1 - alpha) * end)).max() / (EPS * (1 + steps))
            )
            wrong.append(
                np.abs(theta - (alpha * end + (1 - alpha) * of.pretrained)).max() / (EPS * (1 + steps))
            )
    units = {"long_name": "self-distillation run against averaging, in ε times 1 + K"}
    return xr.Dataset({"distilled": ("run", off, units), "distilled_wrong": ("run", wrong, units)})


def _against_ridge(settings: Settings) -> xr.Dataset:
    """err_tot of early stopping at t over that of ridge at λ = 1/(2t), at its largest over t."""
    rng, times = settings.rng("ridge"), np.geomspace(1e-3, 1e3, 61)
    ratio = {"common": [], "other": []}
    for k in range(24 if settings.quick else 160):
        values, old = 10 ** rng.uniform(-1, 1, 3), 10 ** rng.uniform(-2, 3, 3)
        for name, basis in (("common", np.eye(3)), ("other", np.linalg.qr(rng.standard_normal((3, 3)))[0])):
            matrix = (basis * old) @ basis.T
            of = lt.FineTuningProblem(
                rng.standard_normal(3), np.zeros(3), np.diag(values), (matrix + matrix.T) / 2
            )
            stopped = lt.total_error(of, lt.gradient_flow(of, times))
            penalised = [
                float(lt.total_error(of, lt.ridge_optimum(of, 1 / (2 * t))))
                for t in times[:: 1 + 2 * (k > 0)]
            ]
            ratio[name].append(float((stopped[:: 1 + 2 * (k > 0)] / penalised).max()))
    x = np.linspace(1.5, 2.1, 60_001)
    worst = float(x[np.argmax((1 - np.exp(-x)) * (1 + x) / x)])
    one = lt.FineTuningProblem([1.0], [0.0], np.eye(1), 1e12 * np.eye(1))  # only forgetting counts
    reached = lt.total_error(one, lt.gradient_flow(one, worst / 2)) / lt.total_error(
        one, lt.ridge_optimum(one, 1 / worst)
    )
    # Σ heavy across ridge's way from θ*, which early stopping does not go.
    values = np.array([1.0, 10.0])
    across = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ (values / (1 + values))
    old = np.eye(2) + 1e4 * np.outer(across, across)
    apart = lt.FineTuningProblem(np.ones(2), np.zeros(2), np.diag(values), old)
    unbounded = lt.total_error(apart, lt.gradient_flow(apart, 0.5)) / lt.total_error(
        apart, lt.ridge_optimum(apart, 1.0)
    )
    constant = ((1 - math.exp(-worst)) * (1 + worst) / worst) ** 2
    return xr.Dataset(
        {
            "ratio_common": ("draw", ratio["common"], {"long_name": "early stopping over ridge, same eigenvectors"}),
            "ratio_other": ("draw", ratio["other"], {"long_name": "early stopping over ridge, other eigenvectors"}),
            "constant": ((), constant), "reached": ((), float(reached)),
            "unbounded": ((), float(unbounded), {"long_name": "the same where Σ is heavy across ridge's way"}),
        }
    )  # fmt: skip


def _sampled(settings: Settings) -> xr.Dataset:
    """Ridge on FLOW's weighted rows under label noise: the mean over replicates, and what weights do not do."""
    rng, count, rows = settings.rng("rows"), 24, 4000 if settings.quick else 40_000
    plane = Plane(*CELLS[SHOWN][:4])
    of = problem(plane, NOISE)
    root = np.linalg.cholesky(of.target_covariance)
    found = {"flow": [], "shuffled": [], "mean": []}
    for _ in range(count):
        X = rng.standard_normal((rows, 2)) @ root.T
        y = math.sqrt(NOISE) * rng.standard_normal(rows)
        weights = lt.flow_weights((y - X @ of.pretrained) ** 2, TAU)
        for name, w in (
            ("flow", weights), ("shuffled", rng.permutation(weights)), ("mean", np.full(rows, weights.mean()))
        ):  # fmt: skip
            found[name].append(lt.solve(X, y, of.pretrained, w, RIDGE).theta)
    exact = lt.ridge_optimum(of, RIDGE, TAU)
    whole = lt.ridge_optimum(
        of, RIDGE * float(lt.weight_mass(of, TAU)), TAU
    )  # a loss divided by the weights' sum
    return xr.Dataset(
        {f"rows_{name}": (("replicate", "axis"), np.array(values)) for name, values in found.items()}
        | {"rows_exact": ("axis", exact), "rows_divided": ("axis", whole)},
        {"axis": ["along", "across"]},
    )


def _frontiers() -> xr.Dataset:
    """Forgetting against what is left to learn along every method, on the problem that is drawn."""
    plane = Plane(*CELLS[SHOWN][:4])
    of, old = problem(plane), np.array([[plane.a, plane.c], [plane.c, plane.b]])
    flow = lt.best_flow(of)
    times, ridges = np.geomspace(1e-3, 60, 121), np.geomspace(1e-3, 1e3, 121)
    mass = float(lt.weight_mass(of, flow.temperature))
    flow_times = np.sort(np.append(np.geomspace(1e-2, 200, 120) / mass, flow.time))
    penalties = {"ridge": None, "ewc": old, "diagonal_ewc": np.diag(np.diag(old))}
    paths = {
        "early_stopping": lt.gradient_flow(of, times),
        "averaging": lt.model_average(of, np.linspace(1, 0, 121)),
        "flow": lt.gradient_flow(of, flow_times, flow.temperature),
    } | {name: np.stack([lt.ridge_optimum(of, x, metric=m) for x in ridges]) for name, m in penalties.items()}
    errors = [np.stack([lt.pretrain_error(of, p), lt.target_error(of, p)], -1) for p in paths.values()]
    return xr.Dataset(
        {"frontier": (("path", "point", "task"), np.stack(errors), {"units": "‖e‖²"})},
        {"path": list(paths), "task": ["pretrain", "target"]},
        {"shown": ROWS.index(SHOWN)},
    )


def verdict(dataset: xr.Dataset) -> Verdict:
    """Printed digits, two routes, relabelled training, the constant of early stopping, and sampled rows."""
    d = dataset
    off = half_digit_off(d.value.values, d.printed.values)
    second = d.value.sel(approach=d.second.values).values
    apart = np.abs(second / d.route.values - 1).max() / math.sqrt(EPS)
    kept = d.value.sel(approach=d.penalty.values).values
    replicates = d.sizes["replicate"]
    error = d.rows_flow.std("replicate", ddof=1) / math.sqrt(replicates)
    standard = lambda mean, want: np.abs(mean - want) / error
    bound = four_sigma(2, replicates - 1)
    mean = lambda name: d[f"rows_{name}"].mean("replicate", skipna=False)
    joint = np.abs(d.value.sel(approach="ewc") / d.value.sel(approach="joint_optimum") - 1)
    checks = (
        Check("printed cells that the package does not round to",
              int((off | (np.isnan(d.value.values) & ~np.isnan(d.printed.values))).sum()), 0),
        Check("least errors by the package and by a second route, in units of √ε", float(apart), 1),
        Check.at_least("half the penalty would show, in the same units",
                       float((d.halved.values / kept - 1).min()) / math.sqrt(EPS), POWER),
        Check("EWC at its best is the joint optimum, in units of √ε",
              float(joint.max(skipna=False)) / math.sqrt(EPS), 1),
        Check(f"self-distillation run against an average with θ*, {IN_EPSILON} times 1 + K",
              float(d.distilled.max(skipna=False)), 16),
        Check.at_least("α and 1 − α exchanged would show, in the same units", float(d.distilled_wrong.min()), 1e6),
        Check(f"same eigenvectors: early stopping over ridge at λ = 1/(2t), above the constant, {IN_EPSILON}",
              max(float((d.ratio_common / d.constant - 1).max(skipna=False)), 0.0) / EPS, 64),
        Check.at_least("other eigenvectors would show: the ratio in one problem", float(d.unbounded), 10),
        Check(f"the constant against one dimension in which only forgetting counts, {IN_EPSILON}",
              float(abs(d.reached / d.constant - 1)) / EPS, 1e5),
        Check("ridge on sampled, weighted rows against the closed form, in standard errors",
              float(standard(mean("flow"), d.rows_exact).max(skipna=False)), bound),
        *(
            Check.at_least(f"{what} would show, in the same units", float(standard(other, d.rows_exact).max()),
                           4 + bound)
            for what, other in (
                ("a loss divided by the sum of the weights", d.rows_divided), ("shuffled weights", mean("shuffled")),
                ("their mean in place of the weights", mean("mean")),
            )
        ),
    )  # fmt: skip
    return Verdict(checks, _findings(d), _headline(d), _measured(d))


def _headline(d: xr.Dataset) -> str:
    value = lambda name: d.value.sel(approach=name)
    tied = int((np.abs(value("stop_and_average") / value("flow") - 1) < 1e-6).sum())
    below = int((value("diagonal_ewc") < value("flow") * (1 - 1e-6)).sum())
    return (
        f"No: stopping early and then averaging is as good in {tied} of {d.sizes['cell']} problems, EWC with all of Σ "
        f"is the best for both, and diagonal EWC is below FLOW in {below}."
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    worst, heavy = float(d.ratio_other.max()), float(d.unbounded)
    above = 100 * float((d.ratio_other > d.constant).mean())
    return (
        f"The constant {float(d.constant):.4f} needs Σ and Σ̃ to have the same eigenvectors. With others the total "
        f"error of early stopping was up to {worst:.1f} times that of ridge, and above the constant in {above:.0f} % "
        f"of {d.sizes['draw']} random problems; in one made for it {heavy:.0f} times: there is no bound.",
    )


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    value = lambda name: d.value.sel(approach=name)
    gain = 100 * (1 - value("flow_ridge") / value("ridge")).clip(0)
    return (
        f"FLOW's weights lower the best total error of ridge by {float(gain.min()):.1f} to {float(gain.max()):.1f} % "
        f"in the {d.sizes['cell']} problems, with the best τ and λ.",
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Every method on every cell, four digits."""
    rows = []
    for k, (rho, a, b, c) in enumerate(dataset.cell_plane.values):
        cells = [f"{float(v):.4f}" for v in dataset.value[k]]
        rows.append((f"{rho:g}", f"({a:g}, {b:g}, {c:g})".replace("-", "−"), *cells))
    header = ("ρ", "Σ₁₁, Σ₂₂, Σ₁₂", *(NAMES[name] for name in METHODS))
    return (Table("Best total error of each method, in units of the squared shift", header, tuple(rows)),)
