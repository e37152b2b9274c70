"""(17) against (18), Remark 7.6: what each method can reach at its best, and how far the oracle is."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Check, Claim, Settings, Verdict
from paper_reproduction.claims import _plane_search as search
from paper_reproduction.claims._plane_search import Best, Plane

CLAIM = Claim(
    name="error-comparison",
    title="FLOW can reach averaging and often the oracle, but its discrete step can lose to early stopping",
    statement=(
        r"Remark 7.6 sets the best model average, eq. (17), against fine-tuning to convergence, eq. (18). "
        r"With $\bar e^\top\tilde\Sigma\bar e=1$ the average costs $\|e\|^2 A/(1+A)$, always less than "
        r"$\|e\|^2$, while convergence costs $e^\top\Sigma e\geq\|e\|^2$. The stronger rival is fine-tuning "
        r"stopped at its best moment. Each method is given its best parameters by a search that does not use "
        r"the package, and is measured by its excess over the joint optimum, which nobody can beat. In "
        r"continuous time FLOW runs from early stopping ($\tau\to\infty$) to averaging ($\tau\to 0$) and is "
        r"never above either; with the paper's step $\eta=1/(2\mu)$ it is never above averaging, but it can "
        r"lose to early stopping. One step of FLOW is one step of vanilla fine-tuning with $\eta=\mu^2/2$, "
        r"so a win at $K=1$ is a smaller step and not a weight."
    ),
    equation="(4), (13), (17), (18), Remark 7.6",
    formula=r"\min_\omega \mathrm{err}_{\mathrm{tot}}(\theta_{\mathrm{avg}}(\omega))"
    r"=\|e\|^2\,\frac{AB}{A+B}<\|e\|^2\leq e^\top\Sigma e=\mathrm{err}_{\mathrm{tot}}(\tilde\theta_*),"
    r"\qquad A=\bar e^\top\Sigma\bar e,\; B=\bar e^\top\tilde\Sigma\bar e=1",
    functions=(
        "total_error",
        "pretrain_error",
        "target_error",
        "best_model_average",
        "joint_optimum",
        "gap_closed",
        "iterate",
        "gradient_flow",
    ),
    seconds=40,
    quick_seconds=4,
    order=90,
)

# (ρ, a, b, c) with Σ = [[a, c], [c, b]], and what THEORY.md §5 prints for each method, in METHODS' order
# (early stopping, descent, averaging, FLOW by descent, FLOW by flow, oracle; NaN: not printed there).
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

METHODS = ("early_stopping", "descent", "averaging", "flow_descent", "flow", "oracle", "flow_default")
SEARCHES = {
    "early_stopping": search.best_early_stop,
    "descent": search.best_descent,
    "averaging": search.best_average,
    "flow_descent": search.best_flow_descent,
    "flow": search.best_flow,
    "flow_default": search.best_default,
}


def compute(settings: Settings) -> xr.Dataset:
    """The table, a random ensemble, the one-step identity and the two frontiers."""
    return xr.merge(
        [
            _table(settings),
            _ensemble(settings.rng("ensemble"), 60 if settings.quick else 800),
            _one_step(settings.rng("one step"), 20 if settings.quick else 200),
            _frontiers(),
        ]
    ).assign_attrs(description="Best total error of each method in the plane, units of the squared shift")


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
    if method == "oracle":
        return lt.joint_optimum(problem)
    if method == "descent":
        return lt.iterate(problem, int(best.steps), best.rate / 2)
    temperature = _temperature(best.mass2)
    if method in ("early_stopping", "flow"):
        slow = plane.curvatures(best.mass2)[0] * math.sqrt(best.mass2)
        return lt.gradient_flow(problem, -math.log(best.left) / (2 * slow), temperature)
    return lt.iterate(problem, int(best.steps), temperature=temperature)


def _measure(planes: list[Plane], along: str) -> xr.Dataset:
    """Every method at its best on every problem, by the search and by the package."""
    shape = (len(planes), len(METHODS))
    names = ("search_error", "package_error", "bound", "mass2", "steps", "rate", "left", "gap_closed")
    table = {name: np.full(shape, np.nan) for name in names}
    for i, plane in enumerate(planes):
        problem = _problem(plane)
        for j, method in enumerate(METHODS):
            if method == "oracle":
                best = Best(float(plane.total(plane.oracle())), plane.oracle())
            else:
                best = SEARCHES[method](plane)
            theta = _package_point(method, plane, problem, best)
            table["search_error"][i, j] = best.error
            table["package_error"][i, j] = float(lt.total_error(problem, theta))
            table["bound"][i, j] = 64 * np.finfo(float).eps * plane.condition(best.point)
            table["gap_closed"][i, j] = float(lt.gap_closed(problem, theta))
            for name in ("mass2", "steps", "rate", "left"):
                table[name][i, j] = getattr(best, name)
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
    dataset["gap_closed"].attrs = {"long_name": "share of the gap from averaging to the oracle closed"}
    return dataset


def _table(settings: Settings) -> xr.Dataset:
    planes = [Plane(*row[:4]) for row in PROBLEMS]
    dataset = _measure(planes, "problem")
    printed = np.full((len(PROBLEMS), len(METHODS)), np.nan)
    printed[:, :6] = [row[4:] for row in PROBLEMS]
    dims = ("problem", "approach")
    dataset["printed"] = (dims, printed, {"long_name": "THEORY.md section 5, four digits"})
    infimum = [[(i, name) in PRINTED_INFIMA for name in METHODS] for i in range(len(PROBLEMS))]
    dataset["printed_infimum"] = (dims, np.array(infimum, dtype=int))
    corners = [_corners(_problem(plane)) for plane in planes]
    dataset["corner"] = (("problem", "end"), corners, {"long_name": "total error at the two solutions"})
    dataset["flipped"] = (
        dims,
        [_flipped(plane) for plane in planes],
        {"long_name": "cross term's sign turned"},
    )
    grid = [_package_grid(_problem(plane), settings.quick) for plane in planes]
    dataset["package_grid"] = (
        ("problem", "family"), grid, {"long_name": "least total error on a plain grid of the package's paths"},
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
        point = plane.oracle() if method == "oracle" else SEARCHES[method](plane).point
        values.append(float(plane.total((point[0], -point[1]))))
    return values


def _package_grid(problem: lt.FineTuningProblem, quick: bool) -> tuple[float, float]:
    """FLOW's least error over temperatures × steps and × times, all from the package: a search of its own."""
    temperatures = np.geomspace(1e-3, 1e3, 12 if quick else 120)
    steps, times = np.arange(0, 200), np.geomspace(1e-3, 1e5, 300)
    discrete = min(
        lt.total_error(problem, lt.iterate(problem, steps, temperature=t)).min() for t in temperatures
    )
    flow = min(lt.total_error(problem, lt.gradient_flow(problem, times, t)).min() for t in temperatures)
    return float(discrete), float(flow)


# ------------------------------------------------------------------------------------- a random ensemble


def _ensemble(rng: np.random.Generator, size: int) -> xr.Dataset:
    """Σ = I + R diag(d) Rᵀ with a uniform rotation and log-uniform d in [0.01, 100]; ρ uniform in (0, 0.95)."""
    planes = []
    for _ in range(size):
        angle, (d1, d2) = rng.uniform(0, math.pi), 10 ** rng.uniform(-2, 2, 2)
        cos, sin = math.cos(angle), math.sin(angle)
        a, b = 1 + d1 * cos**2 + d2 * sin**2, 1 + d1 * sin**2 + d2 * cos**2
        planes.append(Plane(rng.uniform(0.0, 0.95), a, b, (d1 - d2) * cos * sin))
    dataset = _measure(planes, "draw")
    average = dataset.search_error.sel(approach="averaging", drop=True)
    omega = dataset.left.sel(approach="averaging", drop=True)
    # As τ → 0 what is left beside the average is −βρω ē⊥, first order in β. In continuous time the search
    # ends at the smallest μ² ≈ β(1−ρ²), by descent at the largest K, where λ₁^K = ω.
    smallest = np.maximum(search.SMALLEST, -np.log(omega) / search.LARGEST_STEPS) / (1 - dataset.rho**2)
    slope = 2 * abs(dataset.c * (omega - 1) + dataset.rho * omega)
    rounding = average * dataset["bound"].sel(approach="averaging", drop=True)
    dataset["infimum_allowance"] = 2 * smallest * dataset.rho * omega * slope + rounding
    dataset["corner"] = (("draw", "end"), [_corners(_problem(plane)) for plane in planes])
    return dataset.drop_vars("end", errors="ignore")


# --------------------------------------------------------------------------------- one step, for every Σ̃


def _one_step(rng: np.random.Generator, size: int) -> xr.Dataset:
    """FLOW's first step against vanilla's with η = μ²/2, Σ̃ of every kind in five dimensions, and Σ'e = μ³Σ̃e."""
    eps, names = np.finfo(float).eps, ("step", "covariance", "plain", "bound", "wrong")
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
        vanilla = lt.iterate(problem, 1, mass**2 / 2)
        squared = 1 / (1 + 2 * (shift @ covariance @ shift) / temperature)  # μ², by hand
        literal = shift - squared * covariance @ shift
        image = lt.weighted_covariance(problem, temperature) @ shift
        size_of = float(np.linalg.norm(shift))
        largest = max(1.0, squared * sizes.max())
        rows.append(
            (
                np.linalg.norm(flow - vanilla) / (size_of * largest),
                np.linalg.norm(image - mass**3 * covariance @ shift) / (mass * sizes.max() * size_of),
                np.linalg.norm(flow - literal) / (size_of * largest),
                64 * eps * sizes.max() / sizes.min(),
                np.linalg.norm(flow - lt.iterate(problem, 1, mass / 2)) / (size_of * largest),
            )
        )
    values = np.array(rows)
    labels = {"long_name": "one step of FLOW against one of vanilla with half the squared mass, relative"}
    return xr.Dataset({f"one_step_{name}": ("trial", values[:, k], labels) for k, name in enumerate(names)})


# ----------------------------------------------------------------------------------------- the frontiers


def _frontiers() -> xr.Dataset:
    """Pre-training and target error along each family, on the problem FLOW wins and on the one it loses."""
    points = 481
    out = np.full((2, 5, points, 2), np.nan)
    families = ["early_stopping", "averaging", "flow", "flow_descent", "oracle"]
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


# ------------------------------------------------------------------------------------------- the verdict


def verdict(dataset: xr.Dataset) -> Verdict:
    """The printed table, the two routes, Remark 7.6 and the order of the methods."""
    checks = (*_table_checks(dataset), *_ensemble_checks(dataset), *_step_checks(dataset))
    return Verdict(checks, (*_table_findings(dataset), *_ensemble_findings(dataset)))


def _table_checks(d: xr.Dataset) -> tuple[Check, ...]:
    off = abs(d.table_search_error - d.table_printed)
    flipped = abs(d.table_flipped - d.table_printed).max("approach")[:6]
    routes = max(
        float((abs(d[f"{p}package_error"] / d[f"{p}search_error"] - 1) / d[f"{p}bound"]).max())
        for p in ("table_", "")
    )
    grid = (d.table_search_error.sel(approach=d.family.values).values - d.table_package_grid.values).max()
    infima = _infimum(d).values != d.table_printed_infimum.values.astype(bool)
    return (
        Check(
            "THEORY §5's table: largest difference from the printed digits", off.max(), HALF_DIGIT * 1.000001
        ),
        Check.at_least("a wrong sign of ρ in (9) would move the table by", flipped.min(), 20 * HALF_DIGIT),
        Check("cells wrongly said, or not said, to be an infimum", infima[:PARALLEL].sum(), 0),
        Check("package against search at the same parameters, in units of 64 ε κ", routes, 1.0),
        Check("the package's own grid of FLOW's paths goes below the search by", grid, d.table_bound.max()),
    )


def _infimum(d: xr.Dataset) -> xr.DataArray:
    """Where FLOW's optimum lies at an end of its family: τ → 0, or in continuous time τ → ∞."""
    ended = (d.table_mass2 < 1e-6) | ((d.table_mass2 > 1 - 1e-6) & (d.approach == "flow"))
    return ended & (d.approach != "early_stopping")


def _ensemble_checks(d: xr.Dataset) -> tuple[Check, ...]:
    error = d.search_error
    average, oracle = error.sel(approach="averaging"), d.package_error.sel(approach="oracle")
    rounding = d["bound"].max()
    flow = error.sel(approach=["flow", "flow_descent"])
    formula = abs(d.package_error.sel(approach="averaging") * (1 + d.a) / d.a - 1).max()
    unit = abs(d.corner.sel(end="pretrained") - 1).max()
    cost = abs(d.corner.sel(end="target") / d.a - 1).max()
    wrong = abs(d.a / (1 + d.a) - d.a**2 / (1 + d.a**2)).max()  # A, B on vectors that are not unit vectors
    order = ((flow - average) / d.infimum_allowance).max()
    return (
        Check(
            "(17): the package's best average against A/(1+A), relative", formula, 64 * np.finfo(float).eps
        ),
        Check.at_least("(17) with A² for A would show, in the same units", wrong, 1e-3),
        Check("(5): err_tot(θ*) against ‖e‖², relative", unit, 64 * np.finfo(float).eps),
        Check("(18): err_tot(θ̃*) against eᵀΣe, relative", cost, 64 * np.finfo(float).eps),
        Check("Remark 7.6: the largest best average, units of ‖e‖²", average.max(), 1 - 1e-3),
        Check.at_least(
            "Remark 7.6: the least err_tot(θ̃*), units of ‖e‖²", d.corner.sel(end="target").min(), 1
        ),
        Check("FLOW's infimum above averaging, in units of what τ > 0 leaves", order, 1.0),
        Check("the oracle above any method, relative", (oracle / error - 1).max(), rounding),
    )


def _step_checks(d: xr.Dataset) -> tuple[Check, ...]:
    units = d.one_step_bound
    return (
        Check("one step of FLOW is one of vanilla with η = μ²/2, in units of 64 ε κ", (d.one_step_step / units).max(), 1),
        Check("Σ'e = μ³Σ̃e, in units of 64 ε κ", (d.one_step_covariance / units).max(), 1),
        Check("the same step by hand, in units of 64 ε κ", (d.one_step_plain / units).max(), 1),
        Check.at_least("η = μ/2 in its place would show, in the same units", (d.one_step_wrong / units).median(), 1e6),
    )  # fmt: skip


def _table_findings(d: xr.Dataset) -> tuple[str, ...]:
    loss = d.table_search_error.isel(problem=LOSS)
    four = {name: f"{float(loss.sel(approach=name)):.4f}" for name in METHODS}
    steps = int(d.table_steps.isel(problem=LOSS).sel(approach="flow_descent"))
    closed = d.table_gap_closed
    undefined = int(np.isnan(closed.sel(approach="flow")).sum())
    return (
        f"FLOW loses: with ρ = {float(d.table_rho[LOSS]):g} and Σ = [[{float(d.table_a[LOSS]):g}, "
        f"{float(d.table_c[LOSS]):g}], [{float(d.table_c[LOSS]):g}, {float(d.table_b[LOSS]):g}]], early stopping "
        f"reaches {four['early_stopping']} and averaging {four['averaging']}; FLOW with its discrete step "
        f"{four['flow_descent']} at best (K = {steps}), and {four['flow']} in continuous time.",
        "Share of the gap from averaging to the oracle closed, problem by problem: FLOW with the discrete step "
        f"{_list(closed.sel(approach='flow_descent'))}; FLOW in continuous time {_list(closed.sel(approach='flow'))}; "
        f"early stopping {_list(closed.sel(approach='early_stopping'))}. In {undefined} of "
        f"{d.sizes['problem']} problems Σe ∥ Σ̃e, averaging is the oracle and the share is undefined.",
    )


def _list(values: xr.DataArray) -> str:
    return ", ".join("undefined" if np.isnan(v) else f"{v:.2f}" for v in values.values)


def _ensemble_findings(d: xr.Dataset) -> tuple[str, ...]:
    error = d.search_error
    early, flow = error.sel(approach="early_stopping"), error.sel(approach="flow_descent")
    default, descent = error.sel(approach="flow_default"), error.sel(approach="descent")
    one = d.steps.sel(approach="flow_descent") == 1
    wins = flow < early * (1 - 1e-9)
    worst = (flow / early - 1).max()
    met = error.sel(approach="flow") < error.sel(approach="oracle") * (1 + 1e-9)
    return (
        f"Over {d.sizes['draw']} random problems FLOW (best τ and K, η = 1/(2μ)) beats early stopping in "
        f"{_percent(wins)}, and loses by up to {100 * float(worst):.1f} % of the total error; of its wins "
        f"{_percent(one.where(wins, drop=True))} are at K = 1, where it is vanilla descent with a smaller step. "
        f"Vanilla descent with its best η and K ≤ {search.GD_STEPS} beats FLOW with its discrete step in "
        f"{_percent(descent < flow * (1 - 1e-9))} of the problems.",
        f"At the paper's default, τ = median loss, with the best K, FLOW beats early stopping in only "
        f"{_percent(default < early)} and averaging at its best ω in "
        f"{_percent(default < error.sel(approach='averaging'))} of the problems: the temperature has to be chosen.",
        f"In continuous time FLOW meets the oracle (to 1e-9 relative) in {_percent(met)} of the problems; in "
        f"{_percent((error.sel(approach='flow') > early * (1 - 1e-9)) & ~met)} its best is early stopping itself, "
        f"and in {_percent((d.mass2.sel(approach='flow') < 1e-6) & ~met)} averaging.",
        "All methods are given their best parameters, which needs to know both tasks; the comparison is of what "
        "each family can reach, not of what one would find in practice.",
    )


def _percent(condition: xr.DataArray) -> str:
    return f"{100 * float(condition.mean()):.0f} %"
