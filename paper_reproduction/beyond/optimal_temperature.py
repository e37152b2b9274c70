"""The temperature with which K steps end best: a root of one equation, sometimes one of several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar

import linear_theory as lt
from paper_reproduction.beyond._planes import half_digit_off, problem
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Verdict
from paper_reproduction.claims._plane_search import Plane

CLAIM = Claim(
    name="optimal-temperature",
    title="The best temperature is a root of one equation, and the median is rarely near it",
    question="Is the median a good temperature?",
    statement=(
        r"For a given number of steps at $\eta = 1/(2\mu)$ the total error is a function of $\tau$ alone. For one step "
        r"its minimum is a quotient of quadratic forms; at $\rho = 0$ it makes FLOW the best model average; at "
        r"convergence under label noise it is $\tau = 2\sigma^2 B/A$, with $A = \bar{e}^\top\Sigma\bar{e}$ and $B = "
        r"\bar{e}^\top\tilde{\Sigma}\bar{e}$. Else it is a root of one equation, which may have several: then there is "
        r"more than one local minimum. The median of the losses knows neither $\Sigma$ nor the number of steps."
    ),
    equation="beyond the paper",
    formula=r"\tau_{K=\infty} = \frac{2\sigma^2 B}{A}, \qquad \mu^2_{K=1} = \min\left(1,\, "
    r"\frac{e^\top\tilde{\Sigma}^2 e}{e^\top\tilde{\Sigma}\Sigma\tilde{\Sigma}e + e^\top\tilde{\Sigma}^3 e}\right), "
    r"\qquad \mu^2_{\rho=0} = 1 - \left(\frac{A}{A+1}\right)^{1/K}",
    functions=("best_temperature", "population_median_temperature", "iterate", "fixed_point", "total_error"),
    seconds=15,
    quick_seconds=4,
    order=40,
)

EPS = float(np.finfo(float).eps)
SEARCH = math.sqrt(EPS)  # a search that compares values knows its parameter to √ε, and the value to more
POWER = 1e3
NAN = math.nan
# ρ, Σ = [[a, c], [c, b]], K, σ², and what was worked out beforehand: τ, its error, and the second minimum.
TABLE = (
    (0.6, 2.0, 2.0, 0.9, 1, 0.0, 0.601770, 0.685442, NAN, NAN),
    (0.6, 2.0, 2.0, 0.9, 5, 0.0, 0.157638, 0.662309, NAN, NAN),
    (0.6, 2.0, 2.0, 0.9, 5, 0.5, 0.585811, 0.663024, NAN, NAN),
    (0.9, 1.5, 5.0, -1.3, 10, 0.5, 1.315028, 0.447843, 44.0012, 0.703037),
    (0.6, 1.0, 1.0, 0.0, 20, 1.0, 2.000247, 0.499980, NAN, NAN),
)
TWO_MINIMA = 3
DIGITS = (6, 6, 4, 6)
ORTHOGONAL = ((2.0, 5, 0.168943542), (7.0, 20, 0.013397815))  # A, K and τ at ρ = 0
CONVERGED = (3.0, 0.8, 0.6, 0.32, 0.631579)  # A, B, σ², τ, error
STEPS = (1, 10, 100)


class Literal:
    """The second route: e, Σ, Σ̃ and loops, no package."""

    def __init__(self, e: np.ndarray, old: np.ndarray, new: np.ndarray, noise: float) -> None:
        self.e, self.old, self.new, self.noise = e, old, new, noise
        self.image, self.v = new @ e, float(e @ new @ e)

    def error(self, tau: Any, steps: int, kappa_noise: float | None = None) -> np.ndarray:
        """err_tot after K steps with η = 1/(2μ), one after the other, at many temperatures (n,)."""
        total = np.atleast_1d(tau) + 2 * self.noise
        taken = 2 / (total + 2 * self.v)  # Σ'/μ = Σ̃ − taken · Σ̃e eᵀΣ̃
        p = np.tile(self.e, (len(total), 1))
        for _ in range(steps):
            p = p - p @ self.new + taken[:, None] * (p @ self.image)[:, None] * self.image
        noise = self.noise if kappa_noise is None else kappa_noise
        kappa = (np.atleast_1d(tau) / (np.atleast_1d(tau) + 2 * noise))[:, None]
        h = kappa * (p - self.e)
        z = h + self.e
        return ((h @ self.old) * h).sum(axis=1) + ((z @ self.new) * z).sum(axis=1)

    def slope(self, tau: float, steps: int, moving_end: bool = True) -> tuple[float, float]:
        """d err_tot/d ln τ, by the sum over steps, and the sum of its terms' sizes."""
        total = tau + 2 * self.noise
        path = [self.e]
        step = lambda p: p - self.new @ p + 2 / (total + 2 * self.v) * self.image * (self.image @ p)
        for _ in range(steps):
            path.append(step(path[-1]))
        carried = np.zeros_like(self.e)
        for p in path[:-1]:  # Q^(K−1−j) Σ̃e ⟨Σ̃e, p_j⟩, summed up as one goes
            carried = step(carried) + self.image * (self.image @ p)
        kappa, rate = tau / total, 2 * self.v / (total + 2 * self.v) ** 2
        change = -kappa * rate / self.v * carried
        if moving_end:
            change = change + 2 * self.noise / total**2 * (path[-1] - self.e)
        h = kappa * (path[-1] - self.e)
        z = h + self.e
        sizes = abs(self.old) @ abs(h) + abs(self.new) @ abs(z)
        return 2 * tau * float(change @ (self.old @ h + self.new @ z)), 2 * tau * float(abs(change) @ sizes)

    def best(self, steps: int, **how: float) -> tuple[float, float]:
        """The least error over τ, and where, by a grid and a bounded search."""
        grid = np.geomspace(1e-4 / steps, 1e4 * steps, 300) * (self.v + self.noise)
        k = int(self.error(grid, steps, **how).argmin())
        low, high = np.log(grid[max(k - 1, 0)]), np.log(grid[min(k + 1, 299)])
        found: Any = minimize_scalar(
            lambda u: float(self.error(math.exp(u), steps, **how)[0]), bounds=(low, high), method="bounded",
            options={"xatol": 1e-9},
        )  # fmt: skip
        return math.exp(found.x), min(float(found.fun), float(self.error(grid[k], steps, **how)[0]))


def compute(settings: Settings) -> xr.Dataset:
    """Printed numbers, random problems by both routes, the closed forms, and what the median costs."""
    return xr.merge([_printed(), _random(settings), _curve()], combine_attrs="no_conflicts")


def _printed() -> xr.Dataset:
    found = []
    for rho, a, b, c, steps, noise, *_ in TABLE:
        best = lt.best_temperature(problem(Plane(rho, a, b, c), noise), steps)
        found.append((best.temperature, best.total_error, best.minima[1], best.errors[1]))
    orthogonal = [
        float(lt.best_temperature(problem(Plane(0.0, A, 1.0, 0.0)), steps).temperature)
        for A, steps, _ in ORTHOGONAL
    ]
    A, B, noise, *_ = CONVERGED
    best = lt.best_temperature(lt.FineTuningProblem([1.0], [0.0], np.array([[B]]), np.array([[A]]), noise))
    return xr.Dataset(
        {
            "printed": (("row", "entry"), [row[6:] for row in TABLE]),
            "found": (
                ("row", "entry"),
                found,
                {"long_name": "τ, its error, the second minimum and its error"},
            ),
            "orthogonal": ("orthogonal_row", orthogonal),
            "orthogonal_printed": ("orthogonal_row", [row[2] for row in ORTHOGONAL]),
            "converged": ("converged_entry", [float(best.temperature), float(best.total_error)]),
            "converged_printed": ("converged_entry", list(CONVERGED[3:])),
        },
        {"entry": ["temperature", "error", "second", "second_error"]},
    )


def _random(settings: Settings) -> xr.Dataset:
    """d from 2 to 5, eigenvalues of Σ̃ below 2 so that η = 1/(2μ) is stable, every second one with noise."""
    rng = settings.rng("problems")
    rows, costs, ends = [], [], []
    for k in range(4 if settings.quick else 48):
        dim = 2 + k % 4
        new, old = (_turned(rng, rng.uniform(*sizes, dim)) for sizes in ((0.2, 1.8), (0.3, 6.0)))
        e, noise = rng.standard_normal(dim), (k % 2) * 10 ** rng.uniform(-1, 1)
        of = lt.FineTuningProblem(e, np.zeros(dim), new, old, noise)
        literal, median = Literal(e, old, new, noise), float(lt.population_median_temperature(of))
        for steps in STEPS:
            best = lt.best_temperature(of, steps)
            tau, least = float(best.temperature), float(best.total_error)
            slope = literal.slope(tau, steps) if math.isfinite(tau) else (0.0, 1.0)
            still = literal.slope(tau, steps, moving_end=False) if math.isfinite(tau) else (0.0, 1.0)
            at_median = float(lt.total_error(of, lt.iterate(of, steps, temperature=median)))
            found = literal.best(steps)[1]
            ignoring = (
                float(literal.error(literal.best(steps, kappa_noise=0.0)[0], steps)[0]) if noise else found
            )
            rows.append((least, found, ignoring, slope[0] / slope[1], still[0] / still[1]))
            costs.append(at_median / least - 1)
        A, B = e @ old @ e, e @ new @ e
        if noise:
            best, half = lt.best_temperature(of), lt.fixed_point(of, noise * B / A)  # the 2 forgotten
            exact = A * B / (A + B)
            ends.append((best.total_error / exact - 1, lt.total_error(of, half) / exact - 1))
    one = _one_step(settings)
    run = np.array(rows).reshape(-1, len(STEPS), 5)
    names = ("least", "search", "noise_ignored", "slope", "slope_still")
    return xr.Dataset(
        {name: (("problem", "steps"), run[..., k]) for k, name in enumerate(names)}
        | {
            "cost": (
                ("problem", "steps"),
                np.reshape(costs, (-1, len(STEPS))),
                {"long_name": "excess at the median"},
            ),
            "end": (
                ("noisy", "what"),
                np.array(ends, dtype=float),
                {"long_name": "at convergence, over AB/(A+B) − 1"},
            ),
            "one_step": (("one", "what"), one, {"long_name": "one step: error over the closed form − 1"}),
        },
        {"steps": list(STEPS), "what": ["right", "wrong"]},
    )


def _turned(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """A covariance with these eigenvalues in a random basis."""
    basis = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def _one_step(settings: Settings) -> np.ndarray:
    rng, rows = settings.rng("one step"), []
    for _ in range(5 if settings.quick else 25):
        new, old = (_turned(rng, rng.uniform(0.2, 4.0, 4)) for _ in range(2))
        e = rng.standard_normal(4)
        f = new @ e
        pull, bend, own = f @ f, f @ old @ f, f @ new @ f
        error = lambda m, e=e, f=f, pull=pull, bend=bend, own=own: e @ f - 2 * m * pull + m * m * (bend + own)
        right, wrong = min(1.0, pull / (bend + own)), min(1.0, pull / bend)  # eᵀΣ̃³e left out
        found = float(lt.best_temperature(lt.FineTuningProblem(e, np.zeros(4), new, old), 1).total_error)
        rows.append((found / error(right) - 1, error(wrong) / error(right) - 1))
    return np.array(rows)


def _curve() -> xr.Dataset:
    """The total error against τ where it has two minima."""
    rho, a, b, c, steps, noise, *_ = TABLE[TWO_MINIMA]
    of = problem(Plane(rho, a, b, c), noise)
    tau = np.geomspace(0.02, 2000, 161)
    error = [float(lt.total_error(of, lt.iterate(of, steps, temperature=t))) for t in tau]
    literal = Literal(np.array([1.0, 0.0]), np.array([[a, c], [c, b]]), np.array([[1, rho], [rho, 1]]), noise)
    few = tau[::10]
    best = lt.best_temperature(of, steps)
    median = float(lt.population_median_temperature(of))
    return xr.Dataset(
        {
            "curve": ("tau", error, {"long_name": "err_tot", "units": "‖e‖²"}),
            "walked": ("few", literal.error(few, steps), {"long_name": "the same, each step taken"}),
            "walked_exact": ("few", error[::10]),
            "minimum": (("which", "entry2"), np.stack([best.minima[:2], best.errors[:2]], -1)),
            "median": (
                "entry2",
                [median, float(lt.total_error(of, lt.iterate(of, steps, temperature=median)))],
            ),
            "joint": ((), float(lt.total_error(of, lt.joint_optimum(of)))),
        },
        {"tau": tau, "few": few, "entry2": ["temperature", "error"]},
        {"curve_steps": steps, "curve_noise": noise, "curve_rho": rho},
    )


def verdict(dataset: xr.Dataset) -> Verdict:
    """Printed digits, the equation and a search, and the closed forms; wrong ones refused by the same."""
    d = dataset
    off = sum(
        int(half_digit_off(d.found[:, k].values, d.printed[:, k].values, digits).sum())
        for k, digits in enumerate(DIGITS)
    )
    off += int((d.found.isnull() & d.printed.notnull()).sum())
    closed = int(half_digit_off(d.orthogonal.values, d.orthogonal_printed.values, 9).sum())
    closed += int(half_digit_off(d.converged.values, d.converged_printed.values, 6).sum())
    closed += int(d.orthogonal.isnull().sum() + d.converged.isnull().sum())
    noisy = d.problem.values % 2 == 1
    apart = lambda other: float(np.abs(other / d.least - 1).max(skipna=False)) / SEARCH
    count = 64 * EPS * np.maximum(d.steps, 8)
    checks = (
        Check("printed temperatures and errors that the package does not round to", off, 0),
        Check("closed forms at ρ = 0 and at convergence not met to their printed digits", closed, 0),
        Check("least error against a search over τ on literal steps, in units of √ε", apart(d.search), 1),
        Check.at_least("the temperature that is best without noise would show, in units of √ε",
                       apart(d.noise_ignored), POWER),
        Check("d err_tot/dτ at the root, by a sum over steps, over its terms, in units of 64 rounding errors a step",
              float((np.abs(d.slope) / count).max(skipna=False)), 1),
        Check.at_least("leaving out that noise moves the end (κ') would show, in the same units (median)",
                       float((np.abs(d.slope_still) / count)[noisy].median(skipna=False)), POWER),
        Check(f"one step: error against the closed form, {IN_EPSILON}",
              float(np.abs(d.one_step.sel(what="right")).max(skipna=False)) / EPS, 1000),
        Check.at_least("one step without eᵀΣ̃³e would show, in the same units (median)",
                       float(d.one_step.sel(what="wrong").median(skipna=False)) / EPS, 1e6),
        Check(f"at convergence: error against AB/(A+B), {IN_EPSILON}",
              float(np.abs(d.end.sel(what="right")).max(skipna=False)) / EPS, 1000),
        Check.at_least("τ = σ²B/A at convergence, the 2 forgotten, would show, in the same units",
                       float(d.end.sel(what="wrong").min(skipna=False)) / EPS, 1e6),
        Check(f"the curve that is drawn against steps really taken, {IN_EPSILON}",
              float(np.abs(d.walked / d.walked_exact - 1).max(skipna=False)) / EPS, 1000),
    )  # fmt: skip
    return Verdict(checks, _findings(d), _headline(d), _measured(d))


def _headline(d: xr.Dataset) -> str:
    cost = 100 * d.cost
    median = {k: float(cost.sel(steps=k).median()) for k in STEPS}
    return (
        f"Partly: over {d.sizes['problem']} random problems it costs, in the median, {median[1]:.1f} % of the error "
        f"after one step, {median[10]:.0f} % after 10 and {median[100]:.0f} % after 100."
    )


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    low, high = d.minimum.values
    return (
        f"There may be two local minima: at ρ = {d.attrs['curve_rho']:g}, K = {d.attrs['curve_steps']} and σ² = "
        f"{d.attrs['curve_noise']:g} the total error is {low[1]:.4f} at τ = {low[0]:.3f} and {high[1]:.4f} at τ = "
        f"{high[0]:.1f}. Who goes down from the wrong side ends in the worse one.",
    )


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    worst = 100 * d.cost.max("problem")
    said = ", ".join(f"{float(worst.sel(steps=k)):.0f} % at K = {k}" for k in STEPS)
    return (
        f"At its worst the median costs {said}: it is the same for every number of steps, and the best is not.",
    )
