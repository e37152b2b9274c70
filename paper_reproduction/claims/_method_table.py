"""Every method at its best, by the search and by the package: a table, an ensemble, one step, two frontiers."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.claims import _plane_search as search
from paper_reproduction.claims._plane_search import Best, Plane

# (ρ, a, b, c) with Σ = [[a, c], [c, b]], and what was worked out beforehand for each method, in METHODS' order
# (early stopping, descent, averaging, FLOW by descent, FLOW by flow, best for both; NaN: not printed there).
PROBLEMS = (
    (0.6, 1.0, 1.0, 0.0, 0.4538, 0.4540, 0.5000, 0.4506, 0.4505, 0.4505),
    (0.6, 2.0, 2.0, 0.9, 0.6813, 0.6814, 0.6667, 0.6622, 0.6622, 0.6622),
    (0.6, 1.5, 5.0, 1.3, 0.7244, 0.6382, 0.6000, 0.6000, 0.6000, 0.5944),
    (0.9, 5.0, 1.5, -1.3, 0.5582, 0.5515, 0.8333, 0.5515, 0.5582, 0.4555),
    (0.9, 1.5, 5.0, -1.3, 0.4972, 0.4213, 0.6000, 0.4108, 0.4107, 0.4107),
    (0.3, 13.0, 160.0, -37.0, 0.8035, math.nan, 0.9286, 0.8164, math.nan, math.nan),
    (0.6, 2.0, 3.0, 1.2, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan),  # Σe ∥ Σ̃e
)
PRINTED_INFIMA = {(2, "flow_descent"), (2, "flow"), (3, "flow")}
WIN, LOSS, PARALLEL = 4, 5, 6  # rows of PROBLEMS
HALF_DIGIT = 0.5e-4

METHODS = ("early_stopping", "descent", "averaging", "flow_descent", "flow", "joint_optimum", "flow_default")
SEARCHES = {
    "early_stopping": search.best_early_stop,
    "descent": search.best_descent,
    "averaging": search.best_average,
    "flow_descent": search.best_flow_descent,
    "flow": search.best_flow,
    "flow_default": search.best_default,
}


# ------------------------------------------------------------------------------ one problem, both routes


def _problem(plane: Plane) -> lt.FineTuningProblem:
    return lt.paper_problem(plane.rho, pretrain_covariance=np.array([[plane.a, plane.c], [plane.c, plane.b]]))


def _temperature(mass2: float) -> float:
    """τ of μ² = τ/(τ + 2), units of ‖e‖²."""
    return math.inf if mass2 == 1 else 2 * mass2 / (1 - mass2)


def _package_point(method: str, plane: Plane, problem: lt.FineTuningProblem, best: Best) -> np.ndarray:
    """The same parameters handed to the package: its θ, by its own route."""
    if method == "averaging":
        return lt.best_model_average(problem)
    if method == "joint_optimum":
        return lt.joint_optimum(problem)
    if method == "descent":
        return lt.iterate(problem, int(best.steps), best.rate / 2)
    temperature = _temperature(best.mass2)
    if method in ("early_stopping", "flow"):
        slow = plane.curvatures(best.mass2)[0] * math.sqrt(best.mass2)
        return lt.gradient_flow(problem, -math.log(best.left) / (2 * slow), temperature)
    return lt.iterate(problem, int(best.steps), temperature=temperature)


def measure(planes: list[Plane], along: str) -> xr.Dataset:
    """Every method at its best on every problem, by the search and by the package."""
    shape = (len(planes), len(METHODS))
    names = ("search_error", "package_error", "bound", "mass2", "steps", "rate", "left", "gap_closed")
    table = {name: np.full(shape, np.nan) for name in names}
    for i, plane in enumerate(planes):
        problem, thetas = _problem(plane), np.empty((len(METHODS), 2))
        for j, method in enumerate(METHODS):
            if method == "joint_optimum":
                best = Best(float(plane.total(plane.joint_optimum())), plane.joint_optimum())
            else:
                best = SEARCHES[method](plane)
            thetas[j] = _package_point(method, plane, problem, best)
            table["search_error"][i, j] = best.error
            table["bound"][i, j] = 64 * np.finfo(float).eps * plane.condition(best.point)
            for name in ("mass2", "steps", "rate", "left"):
                table[name][i, j] = getattr(best, name)
        table["package_error"][i] = lt.total_error(problem, thetas)
        table["gap_closed"][i] = lt.gap_closed(problem, thetas)
    dims = (along, "approach")
    units = {"units": "squared shift norm"}
    dataset = xr.Dataset(
        {name: (dims, values) for name, values in table.items()}, {"approach": list(METHODS)}
    )
    for name in ("rho", "a", "b", "c"):
        dataset[name] = (along, [getattr(plane, name) for plane in planes])
    dataset["search_error"].attrs = {"long_name": "best total error, scipy search"} | units
    dataset["package_error"].attrs = {
        "long_name": "total error of the package at the same parameters"
    } | units
    dataset["bound"].attrs = {"long_name": "64 eps times the condition number of the total error"}
    dataset["mass2"].attrs = {"long_name": "squared weight mass at the best temperature"}
    dataset["rate"].attrs = {"long_name": "twice the best learning rate"}
    dataset["left"].attrs = {"long_name": "share of the slow direction left at the best time, or omega"}
    dataset["gap_closed"].attrs = {"long_name": "share of the gap from averaging to the best for both closed"}
    return dataset


def table(settings: Settings) -> xr.Dataset:
    planes = [Plane(*row[:4]) for row in PROBLEMS]
    dataset = measure(planes, "problem")
    printed = np.full((len(PROBLEMS), len(METHODS)), np.nan)
    printed[:, :6] = [row[4:] for row in PROBLEMS]
    dims = ("problem", "approach")
    dataset["printed"] = (dims, printed, {"long_name": "worked out beforehand, four digits"})
    infimum = [[(i, name) in PRINTED_INFIMA for name in METHODS] for i in range(len(PROBLEMS))]
    dataset["printed_infimum"] = (dims, np.array(infimum, dtype=int))
    corners = [_corners(_problem(plane)) for plane in planes]
    dataset["corner"] = (("problem", "end"), corners, {"long_name": "total error at the two solutions"})
    # A cell is known to its rounding, and where averaging is FLOW's infimum to what τ > 0 leaves.
    dataset["accuracy"] = dataset.search_error * dataset["bound"] + _infimum_allowance(dataset)
    dataset["flipped"] = (
        dims,
        [_flipped(plane) for plane in planes],
        {"long_name": "cross term's sign turned"},
    )
    grid = [_package_grid(_problem(plane), settings.quick) for plane in planes]
    dataset["package_grid"] = (
        ("problem", "family"), grid, {"long_name": "least total error on a grid of the package's paths"},
    )  # fmt: skip
    return dataset.assign_coords(end=["pretrained", "target"], family=["flow_descent", "flow"]).rename(
        {name: f"table_{name}" for name in (*dataset.data_vars, "rho", "a", "b", "c") if name in dataset}
    )


def _corners(problem: lt.FineTuningProblem) -> list[float]:
    return [float(lt.total_error(problem, theta)) for theta in (problem.pretrained, problem.target)]


def _flipped(plane: Plane) -> list[float]:
    """The same optimal points judged with ē⊥ turned round: what a wrong sign in (9) would print."""
    values = []
    for method in METHODS:
        point = plane.joint_optimum() if method == "joint_optimum" else SEARCHES[method](plane).point
        values.append(float(plane.total((point[0], -point[1]))))
    return values


def _package_grid(problem: lt.FineTuningProblem, quick: bool) -> tuple[float, float]:
    """FLOW's least error over temperatures × steps and × times, all from the package: a search of its own."""
    temperatures = np.geomspace(1e-3, 1e3, 8 if quick else 120)
    steps, times = np.arange(0, 200), np.geomspace(1e-3, 1e5, 300)
    discrete = min(
        lt.total_error(problem, lt.iterate(problem, steps, temperature=t)).min() for t in temperatures
    )
    flow = min(lt.total_error(problem, lt.gradient_flow(problem, times, t)).min() for t in temperatures)
    return float(discrete), float(flow)


def _infimum_allowance(dataset: xr.Dataset) -> xr.DataArray:
    """How far above averaging FLOW's search may end, where averaging is its infimum.

    As τ → 0 what is left beside the average is −βρω ē⊥, first order in β. In continuous time the search ends at the
    smallest μ² ≈ β(1−ρ²), by descent at the largest K, where λ₁^K = ω.
    """
    average = dataset.search_error.sel(approach="averaging", drop=True)
    omega = dataset.left.sel(approach="averaging", drop=True)
    smallest = np.maximum(search.SMALLEST, -np.log(omega) / search.LARGEST_STEPS) / (1 - dataset.rho**2)
    slope = 2 * abs(dataset.c * (omega - 1) + dataset.rho * omega)
    rounding = average * dataset["bound"].sel(approach="averaging", drop=True)
    return 2 * smallest * dataset.rho * omega * slope + rounding


# ------------------------------------------------------------------------------------- a random ensemble


def ensemble(rng: np.random.Generator, size: int) -> xr.Dataset:
    """Σ = I + R diag(d) Rᵀ with a uniform rotation and log-uniform d in [0.01, 100]; ρ uniform in (0, 0.95)."""
    planes = []
    for _ in range(size):
        angle, (d1, d2) = rng.uniform(0, math.pi), 10 ** rng.uniform(-2, 2, 2)
        cos, sin = math.cos(angle), math.sin(angle)
        a, b = 1 + d1 * cos**2 + d2 * sin**2, 1 + d1 * sin**2 + d2 * cos**2
        planes.append(Plane(rng.uniform(0.0, 0.95), a, b, (d1 - d2) * cos * sin))
    dataset = measure(planes, "draw")
    dataset["infimum_allowance"] = _infimum_allowance(dataset)
    dataset["corner"] = (("draw", "end"), [_corners(_problem(plane)) for plane in planes])
    return dataset.drop_vars("end", errors="ignore")


# --------------------------------------------------------------------------------- one step, for every Σ̃


def one_step(rng: np.random.Generator, size: int) -> xr.Dataset:
    """FLOW's first step against the standard one with η = μ²/2, Σ̃ of every kind in five dimensions, and Σ'e = μ³Σ̃e."""
    eps, names = np.finfo(float).eps, ("step", "covariance", "by_hand", "bound", "wrong")
    rows = []
    for _ in range(size):
        basis = np.linalg.qr(rng.standard_normal((5, 5)))[0]
        sizes = 10 ** rng.uniform(-1, 1, 5)
        covariance = (basis * sizes) @ basis.T
        covariance = (covariance + covariance.T) / 2
        shift, temperature = rng.standard_normal(5), 10 ** rng.uniform(-2, 2)
        problem = lt.FineTuningProblem(shift, np.zeros(5), covariance)
        mass = float(lt.weight_mass(problem, temperature))
        flow = lt.iterate(problem, 1, 1 / (2 * mass), temperature)
        same_first_step = lt.iterate(problem, 1, mass**2 / 2)
        squared = 1 / (1 + 2 * (shift @ covariance @ shift) / temperature)  # μ², by hand
        literal = shift - squared * covariance @ shift
        image = lt.weighted_covariance(problem, temperature) @ shift
        size_of = float(np.linalg.norm(shift))
        largest = max(1.0, squared * sizes.max())
        rows.append(
            (
                np.linalg.norm(flow - same_first_step) / (size_of * largest),
                np.linalg.norm(image - mass**3 * covariance @ shift) / (mass * sizes.max() * size_of),
                np.linalg.norm(flow - literal) / (size_of * largest),
                64 * eps * sizes.max() / sizes.min(),
                np.linalg.norm(flow - lt.iterate(problem, 1, mass / 2)) / (size_of * largest),
            )
        )
    values = np.array(rows)
    labels = {"long_name": "one step of FLOW against a standard one with half the squared mass, relative"}
    return xr.Dataset({f"one_step_{name}": ("trial", values[:, k], labels) for k, name in enumerate(names)})


# ----------------------------------------------------------------------------------------- the frontiers


def frontiers() -> xr.Dataset:
    """Pre-training and target error along each family, on the problem FLOW wins and on the one it loses."""
    points = 481
    out = np.full((2, 5, points, 2), np.nan)
    families = ["early_stopping", "averaging", "flow", "flow_descent", "joint_optimum"]
    for i, row in enumerate((WIN, LOSS)):
        plane = Plane(*PROBLEMS[row][:4])
        problem = _problem(plane)
        left = 1 - (1 - 1e-6) * np.linspace(0.0, 1.0, points) ** 2  # dense where training starts
        shares = np.linspace(1e-6, 1 - 1e-6, points)
        flow, discrete = search.best_flow(plane), search.best_flow_descent(plane)
        slow = plane.curvatures(flow.mass2)[0] * math.sqrt(flow.mass2)
        early = -np.log(left) / (2 * (1 - plane.rho))
        s1, s2 = problem.pretrain_covariance, problem.target_covariance
        paths = (
            lt.gradient_flow(problem, early),
            lt.model_average(problem, left),
            lt.gradient_flow(problem, -np.log(left) / (2 * slow), _temperature(flow.mass2)),
            lt.iterate(problem, np.arange(points), temperature=_temperature(discrete.mass2)),
            [np.linalg.solve(w * s1 + (1 - w) * s2, w * s1 @ problem.shift) for w in shares],
        )
        for j, path in enumerate(paths):
            theta = np.asarray(path)
            out[i, j] = np.stack([lt.pretrain_error(problem, theta), lt.target_error(problem, theta)], -1)
    return xr.Dataset(
        {"frontier": (("case", "path", "point", "task"), out, {"units": "squared shift norm"})},
        {"case": ["win", "loss"], "path": families, "task": ["pretrain", "target"]},
    )
