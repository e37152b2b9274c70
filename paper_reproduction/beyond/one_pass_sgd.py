"""(T9), (T14), (T18): both errors of one-pass SGD exactly, and the step beyond which they explode."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.beyond._second_moment import WRONG, both_errors, one_step, radius, sampled
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Verdict
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="one-pass-sgd",
    title="One-pass SGD has the path's mean, and a second moment in closed form",
    statement=(
        r"SGD on fresh Gaussian rows, one a step, has the exact path as its mean. Its second moment obeys a linear "
        r"recursion with no term left over, so that what it forgets and what it has left to learn are known exactly, "
        r"at every step and in every dimension: where $\tilde\Sigma$ is the identity plus a low rank, a step costs the "
        r"same in ten dimensions and in ten thousand. The recursion is stable below a learning rate that falls like "
        r"$1/d$. Weights hardly raise it, however small they are, because the rows that move the parameters most are "
        r"those of weight 1; what they buy is a smaller spread around where training ends."
    ),
    equation="beyond the paper",
    formula=(
        r"M \leftarrow M - 2\eta\mu_1(A + A^\top) + 4\eta^2\mu_2\,\Pi B\Pi, \qquad A = \Pi C_1 M, \qquad "
        r"B = 2C_2 M C_2 + \mathrm{tr}(M C_2)\,C_2, \qquad E\,\mathrm{err}_1 = \mathrm{tr}(\Sigma M_{\theta\theta}) + "
        r"2e^\top\Sigma M_{\theta,\mathrm{last}} + e^\top\Sigma e"
    ),
    functions=(
        "sgd_errors",
        "sgd_error",
        "sgd_stability_limit",
        "iterate",
        "fixed_point",
        "flow_weights",
        "population_median_temperature",
        "weight_mass",
    ),
    seconds=18.0,
    quick_seconds=4.0,
    order=110,
    question="Do small weights allow SGD longer steps?",
)

EPS = float(np.finfo(float).eps)
POWER = 1000.0  # by how many bounds a wrong formula has to miss
RHO, NOISE, DIM, LAST, SHARE = 0.6, 0.5, 4, 120, 0.25  # SHARE: of the limit, so that errors have a variance
PRETRAIN = np.array(
    [[2.0, 0.6, 0.0, 0.3], [0.6, 1.5, -0.4, 0.0], [0.0, -0.4, 3.0, 0.2], [0.3, 0.0, 0.2, 1.2]]
)
METHODS = ("FLOW", "standard, same mean step")
WALLS = (8, 32)  # dimensions
WEIGHTED = ("FLOW", "standard")
COLD = (1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0, math.inf)  # temperatures over ‖e‖²
LARGE = 10_000


def _paths(settings: Settings) -> dict:
    """Both errors along FLOW and standard fine-tuning with the same mean step: exact, entry by entry, and sampled."""
    problem = lt.paper_problem(RHO, 1.0, DIM, PRETRAIN, NOISE)
    tau = float(lt.population_median_temperature(problem))
    mass, rate = float(lt.weight_mass(problem, tau)), SHARE * float(lt.sgd_stability_limit(problem, tau))
    steps, few = np.arange(LAST + 1), np.arange(0, LAST + 1, 10)
    runs = 4000 if settings.quick else 40_000
    exact, mean, entries, cross, wrong, samples, shuffled = [], [], [], [], [], [], []
    for name, (t, eta) in zip(METHODS, ((tau, rate), (math.inf, mass * rate)), strict=True):
        exact.append(lt.sgd_errors(problem, steps, eta, t))
        path = lt.iterate(problem, steps, eta, t)
        mean.append((lt.pretrain_error(problem, path), lt.target_error(problem, path)))
        matrix = one_step(problem, t, eta)
        entries.append(both_errors(problem, few, matrix))
        cross.append(both_errors(problem, few, matrix, sign=-1))
        wrong.append([both_errors(problem, few, one_step(problem, t, eta, each)) for each in WRONG])
        samples.append(sampled(problem, t, eta, few, runs, settings.rng(f"rows {name}")))
    shuffled = sampled(problem, tau, rate, few, runs, settings.rng("shuffled"), shuffle=True)
    end = [lt.fixed_point(problem, t) for t in (tau, math.inf)]
    floor = [lt.sgd_error(problem, 3000, eta, t) for t, eta in ((tau, rate), (math.inf, mass * rate))]
    place = ("training", "error")
    at = np.array(samples)
    return {
        "exact": ((*place, "step"), np.array(exact), {"long_name": "E err₁ and E err₂"}),
        "mean_path": ((*place, "step"), np.array(mean), {"long_name": "errors of the mean path"}),
        "entries": ((*place, "few"), np.array(entries)),
        "cross": (
            (*place, "few"),
            np.array(cross),
            {"long_name": "with the sign of 2eᵀΣM_last turned round"},
        ),
        "wrong": (("training", "variant", "error", "few"), np.array(wrong)),
        "sampled": ((*place, "few"), at[:, 0]),
        "sampled_error": ((*place, "few"), at[:, 1]),
        "shuffled": (("error", "few"), shuffled[0]),
        "shuffled_error": (("error", "few"), shuffled[1]),
        "end": (
            "training",
            lt.target_error(problem, np.array(end)),
            {"long_name": "err₂ of where the mean ends"},
        ),
        "floor": ("training", np.array(floor), {"long_name": "E err₂ after 3000 steps"}),
    }


def _walls(settings: Settings) -> dict:
    """E err₂ after 20(d + 2) steps against the learning rate, and the limit; by eigenvalues in four dimensions."""
    low = np.geomspace(0.01, 0.7, 6 if settings.quick else 20)
    shares = np.append(low, [0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.04, 1.06])
    small = lt.paper_problem(RHO, 1.0, DIM, noise_variance=NOISE)
    taus, shape = np.array(COLD), (len(WALLS), len(WEIGHTED))
    after, rates, means = np.empty((*shape, len(shares))), np.empty(shape), np.empty(shape)
    for i, dim in enumerate(WALLS):
        problem = lt.paper_problem(RHO, 1.0, dim, noise_variance=NOISE)
        for j, tau in enumerate((float(lt.population_median_temperature(problem)), math.inf)):
            rates[i, j] = lt.sgd_stability_limit(problem, tau)
            means[i, j] = lt.stable_learning_rate(problem, tau)
            after[i, j] = [lt.sgd_error(problem, 20 * (dim + 2), x * rates[i, j], tau) for x in shares]
    limits = np.array([float(lt.sgd_stability_limit(small, t)) for t in taus])
    around = [
        [radius(small, t, x * limit) for x in (0.999, 1.001)] for t, limit in zip(taus, limits, strict=True)
    ]
    forgotten = [radius(small, t, 1.001 * limit, WRONG[0]) for t, limit in zip(taus, limits, strict=True)]
    return {
        "after": (("wall", "weighted", "share"), after, {"long_name": "E err₂ after 20(d + 2) steps"}),
        "limit": (("wall", "weighted"), rates, {"long_name": "largest stable learning rate of SGD"}),
        "mean_limit": (("wall", "weighted"), means, {"long_name": "that of its mean"}),
        "limit_of_temperature": ("temperature", limits),
        "mass": ("temperature", [float(lt.weight_mass(small, t)) for t in taus]),
        "radius": (("temperature", "side"), np.array(around)),
        "radius_forgotten": ("temperature", np.array(forgotten)),
        "share": ("share", shares),
    }


def _large() -> dict:
    """Ten thousand dimensions, Σ = Σ̃ = I and no noise: m ← (1 − 4η + 4η²(d + 2))m, in plain numbers."""
    problem, steps = lt.paper_problem(0.0, dim=LARGE), np.array([1, 10, 100, 1000])
    rate = 0.5 / (LARGE + 2)
    gone = np.expm1(steps * np.log1p(-4 * rate * (1 - rate * (LARGE + 2))))
    wrong = np.expm1(steps * np.log1p(-4 * rate * (1 - rate * (LARGE + 1))))
    # E‖θ − θ*‖² = E‖θ − θ̃*‖² − 2⟨e, E[θ − θ̃*]⟩ + ‖e‖², here without the cancellation.
    forgotten = lambda gone: gone - 2 * np.expm1(steps * np.log1p(-2 * rate))
    return {
        "large": (("error", "many"), np.array(lt.sgd_errors(problem, steps, rate))),
        "large_numbers": (("error", "many"), np.array([forgotten(gone), 1 + gone])),
        "large_wrong": (("error", "many"), np.array([forgotten(wrong), 1 + wrong])),
        "large_limit": ((), float(lt.sgd_stability_limit(problem))),
        "many": ("many", steps),
    }


def compute(settings: Settings) -> xr.Dataset:
    """Paths, walls and ten thousand dimensions."""
    few, step = np.arange(0, LAST + 1, 10), np.arange(LAST + 1)
    return xr.Dataset(
        _paths(settings) | _walls(settings) | _large(),
        coords={"training": list(METHODS), "error": ["err1", "err2"], "step": step, "few": few,
                "variant": list(WRONG), "wall": list(WALLS), "weighted": list(WEIGHTED), "temperature": list(COLD)},
        attrs={"rho": RHO, "noise": NOISE, "dim": DIM, "large_dim": LARGE},
    )  # fmt: skip


def verdict(dataset: xr.Dataset) -> Verdict:
    """The recursion entry by entry to rounding, samples to their standard errors, the limit by eigenvalues."""
    d = dataset
    exact, moving = d.exact.sel(step=d.few), d.few >= 10
    # A step multiplies D × D matrices three times, and shrinks what was lost before.
    size = d.exact.max() + float(d.entries.max())
    unit = EPS * (d.few + 1) * (3 * (d.attrs["dim"] + 1) ** 2 + 8) * size
    apart = lambda other: np.abs(exact - other) / unit
    off = in_standard_errors(d.sampled, exact, d.sampled_error)[..., moving]
    limit = four_sigma(off.size)
    of_mean = in_standard_errors(d.sampled, d.mean_path.sel(step=d.few), d.sampled_error)[..., moving]
    shuffled = in_standard_errors(d.shuffled, exact.sel(training="FLOW"), d.shuffled_error)[..., moving]
    large_unit = EPS * (d.many + 1) * 16
    digits = np.abs(d.large / d.large_numbers - 1) / large_unit
    below, above = d.radius.isel(side=0) < 1, d.radius.isel(side=1) > 1
    after = d.after.sel(share=[0.98, 1.06])
    return Verdict(
        (
            Check("both errors against the recursion entry by entry, in units of the bound on rounding errors",
                  apart(d.entries).max(), 1),
            Check.at_least("the same with a pairing forgotten or w for w² (where there are weights)",
                           min(apart(d.wrong.sel(variant=WRONG[0])).max(("error", "few")).min(),
                               apart(d.wrong.sel(variant=WRONG[1])).sel(training="FLOW").max()), POWER),
            Check.at_least("err₁ with the sign of 2eᵀΣM_last turned round, in the same units",
                           apart(d.cross).sel(error="err1").max("few").min(), POWER),
            Check("both errors of sampled runs, every method and step, in standard errors", off.max(), limit),
            Check.at_least("the errors of the mean path in their place", of_mean.max(axis=-1).min(), limit),
            Check.at_least("runs with shuffled weights in their place", shuffled.max(axis=-1).min(), limit),
            Check("temperatures at which 0.999 of the limit is unstable or 1.001 is stable, by eigenvalues",
                  (~(below & above)).sum(), 0),
            Check("temperatures at which 1.001 of it would look unstable with a pairing forgotten",
                  (~(d.radius_forgotten < 1)).sum(), 0),
            Check("walls at which 1.06 of the limit leaves less than twice what 0.98 of it leaves",
                  (~(after.isel(share=1) > 2 * after.isel(share=0))).sum(), 0),
            Check(f"ten thousand dimensions against m ← (1 − 4η + 4η²(d + 2))m, {IN_EPSILON}", digits.max(), 8),
            Check.at_least("the same with d + 1 for d + 2",
                           (np.abs(d.large / d.large_wrong - 1) / large_unit).max("many").min(), 8 * POWER),
            Check(f"the limit there against 1/(d + 2), {IN_EPSILON}",
                  abs(float(d.large_limit) * (d.attrs["large_dim"] + 2) - 1) / EPS, 16),
        ),
        headline=_headline(d),
        measured=_measured(d),
    )  # fmt: skip


def _headline(d: xr.Dataset) -> str:
    cold, hot = float(d.limit_of_temperature[0]), float(d.limit_of_temperature[-1])
    return (
        f"No: from weights of 1 to $\\tau = 10^{{-6}}\\lVert e\\rVert^2$ the mean weight falls to "
        f"{float(d.mass[0]):.1g}, and the largest stable learning rate rises only from {hot:.3f} to {cold:.3f}."
    )


def _measured(d: xr.Dataset) -> tuple[str, ...]:
    spread = d.floor - d.end
    walls = ", ".join(
        f"{float(d.limit.sel(wall=k, weighted='FLOW')):.3f} for FLOW and "
        f"{float(d.limit.sel(wall=k, weighted='standard')):.3f} for standard fine-tuning (d = {int(k)})"
        for k in d.wall.values
    )
    mean = ", ".join(f"{float(d.mean_limit[0].sel(weighted=name)):.2f}" for name in WEIGHTED)
    forgotten = lambda array, name: float(array.sel(training=name, error="err1")[-1])
    return (
        f"The noise floor: with the same mean step the spread of SGD around where it ends adds {float(spread[0]):.4f} "
        f"to FLOW's error on the new task and {float(spread[1]):.4f} to that of standard fine-tuning. But under label "
        f"noise FLOW ends between both models, where that error is {float(d.end[0]):.3f} already: in all "
        f"{float(d.floor[0]):.3f} against {float(d.floor[1]):.3f}.",
        f"After {int(d.step[-1])} steps FLOW has forgotten {forgotten(d.exact, METHODS[0]):.3f}, standard fine-tuning "
        f"{forgotten(d.exact, METHODS[1]):.3f}; their mean paths have {forgotten(d.mean_path, METHODS[0]):.3f} and "
        f"{forgotten(d.mean_path, METHODS[1]):.3f}: what the spread adds is forgotten, too.",
        f"Limits at the default temperature: {walls}; for the mean alone they are {mean}, in every dimension.",
    )
