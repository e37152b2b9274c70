"""Table 5 in closed form: what FLOW has not learned lies on the samples that were hardest for the pre-trained model."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy import integrate, optimize, stats

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Table, Verdict
from paper_reproduction.sampled_rows import draw_rows
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="hard-samples",
    title="FLOW pays on the hard samples: what it has not learned is just what they needed",
    statement=(
        r"Rank the samples of the new task by their loss under the pre-trained model. On the hardest share $q$ the "
        r"error of any $\theta$ is a closed form: its mean error, plus $m(q) - 1$ times the part of it that lies "
        r"along the shift. FLOW stalls along the shift, so nearly all that it has left is multiplied by $m(q)$, "
        r"fourfold on the hardest tenth. Standard fine-tuning with the same mean error left has it in other "
        r"directions, where the hard samples are like all others. Under label noise the ranking says less, and the "
        r"excess fades."
    ),
    equation="Table 5",
    formula=(
        r"\mathrm{err}_q(\theta) = \mathrm{err}_2(\theta) + (m(q) - 1)\,\frac{(u^\top\tilde\Sigma e)^2}{s^2}, \quad "
        r"m(q) = 1 + \frac{2c\,\varphi(c)}{q}, \quad c = \Phi^{-1}(1 - q/2), \quad u = \theta - \tilde\theta^\ast"
    ),
    functions=(
        "hard_sample_error",
        "target_error",
        "iterate",
        "model_average",
        "flow_weights",
        "weight_mass",
    ),
    seconds=12.0,
    quick_seconds=4.0,
    order=120,
    question="Does FLOW pay on the hard samples?",
)

EPS = float(np.finfo(float).eps)
RHO, STEPS = 0.6, 10
METHODS = ("standard", "same mean error", "model average", "FLOW")
CURVE = np.geomspace(0.005, 1, 60)
PLACES = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
TENTH = 0.1


def _tilted_moments(problem: lt.FineTuningProblem, theta: np.ndarray, q: float) -> np.ndarray:
    """E[⟨u, x⟩² | |r| > cs] by integration over r, and over what is left of ⟨u, x⟩: right, and with a one-sided cut.

    (x, ξ) = L g with g standard normal; the loadings of r and ⟨u, x⟩ span a plane, turned so that r is its first axis.
    """
    d = problem.dim
    L = np.zeros((d + 1, d + 1))
    L[:d, :d] = np.linalg.cholesky(problem.target_covariance)
    L[d, d] = math.sqrt(problem.noise_variance)
    residual, u = np.append(-problem.shift, 1.0) @ L, np.append(theta - problem.target, 0.0) @ L
    triangle = np.linalg.qr(np.stack([residual, u], axis=1))[1]
    along, across = triangle[:, 1]
    nodes, mass = np.polynomial.hermite_e.hermegauss(4)
    inner = lambda z: (mass @ (along * z + across * nodes) ** 2) / mass.sum()
    found = []
    for cut in (stats.norm.isf(q / 2), stats.norm.isf(q)):
        density = lambda z: inner(z) * stats.norm.pdf(z)
        integral = integrate.quad(density, cut, cut + 40, epsabs=0, epsrel=1e-13, points=[cut + 1, cut + 4])[
            0
        ]
        found.append(2 * integral / q)
    return np.array(found)


def _random(settings: Settings) -> dict[str, np.ndarray]:
    """Random problems with label noise, random models and shares: the closed form and the integrals."""
    rng = settings.rng("problems")
    closed, integrals, unranked = [], [], []
    for _ in range(20 if settings.quick else 100):
        d = int(rng.integers(1, 7))
        factor = rng.normal(size=(d, d + 2))
        covariance = factor @ factor.T / d
        pretrained, target, theta = rng.normal(size=(3, d))
        problem = lt.FineTuningProblem(pretrained, target, covariance, noise_variance=rng.uniform(0.0, 2.0))
        q = float(np.exp(rng.uniform(math.log(0.003), math.log(0.7))))
        closed.append(lt.hard_sample_error(problem, theta, q))
        integrals.append(_tilted_moments(problem, theta, q))
        unranked.append(lt.target_error(problem, theta))
    return {"closed": np.array(closed), "integrals": np.array(integrals), "mean_error": np.array(unranked)}


def _models(problem: lt.FineTuningProblem, tau: float) -> np.ndarray:
    """Standard fine-tuning and FLOW after ten steps; standard and the average with FLOW's mean error."""
    flow = lt.iterate(problem, STEPS, temperature=tau)
    error = float(lt.target_error(problem, flow))
    excess = lambda t: math.log(lt.target_error(problem, lt.gradient_flow(problem, t)) / error)
    time = optimize.brentq(excess, 0, 50, xtol=1e-14)
    omega = math.sqrt(error / float(lt.target_error(problem, problem.pretrained)))
    return np.array([
        lt.iterate(problem, STEPS), lt.gradient_flow(problem, time), lt.model_average(problem, omega), flow,
    ])  # fmt: skip


def _trained(problem: lt.FineTuningProblem, tau: float, settings: Settings) -> dict[str, np.ndarray]:
    """Gradient descent on sampled rows, and its error on the hardest rows of another sample; weights also shuffled."""
    rng = settings.rng("rows")
    samples, n = settings.repetitions(full=24, quick=16), 8000 if settings.quick else 20_000
    rate = 1 / (2 * float(lt.weight_mass(problem, tau)))
    kinds = ("FLOW", "standard", "shuffled", "ranked by chance")
    found = {kind: np.empty((samples, len(PLACES))) for kind in kinds}
    for k in range(samples):
        X, y = draw_rows(problem, rng, n)
        w = lt.flow_weights((y - X @ problem.pretrained) ** 2, tau)
        test, labels = draw_rows(problem, rng, n)
        order = np.argsort(-((labels - test @ problem.pretrained) ** 2))
        for kind in kinds:
            here, step = (np.ones(n), 0.5) if kind == "standard" else (w, rate)
            here = rng.permutation(here) if kind == "shuffled" else here
            theta = problem.pretrained
            for _ in range(STEPS):
                theta = theta + 2 * step * (here * (y - X @ theta)) @ X / n
            ranks = rng.permutation(n) if kind == "ranked by chance" else order
            losses = (test[ranks] @ (theta - problem.target)) ** 2
            found[kind][k] = [losses[: round(q * n)].mean() for q in PLACES]
    stacked = np.stack([found[kind] for kind in kinds])
    return {"sampled": stacked.mean(axis=1), "sampled_error": stacked.std(axis=1, ddof=1) / math.sqrt(samples),
            "samples": np.array(samples)}  # fmt: skip


def compute(settings: Settings) -> xr.Dataset:
    """The closed form against integrals, four models in the plane, the fading under noise, and trained rows."""
    problem = lt.paper_problem(RHO)
    tau = float(lt.population_median_temperature(problem))
    models = _models(problem, tau)
    steps = np.arange(41)
    paths = np.stack([lt.iterate(problem, steps, 0.5), lt.iterate(problem, steps, temperature=tau)])
    noises = np.array([0.0, 0.25, 1.0, 4.0])
    fading = [
        float(lt.hard_sample_error(noisy, models[-1], TENTH) / lt.target_error(noisy, models[-1]))
        for noisy in (lt.paper_problem(RHO, noise_variance=one) for one in noises)
    ]
    of = lambda theta, shares: np.stack([lt.hard_sample_error(problem, theta, q) for q in shares], axis=-1)
    random, trained = _random(settings), _trained(problem, tau, settings)
    return xr.Dataset(
        {
            "error": (("model", "share"), of(models, CURVE), {"long_name": "err_q", "units": "‖e‖²"}),
            "place_error": (("model", "place"), of(models, PLACES)),
            "step_error": (("path", "step", "which"), of(paths, (1.0, TENTH))),
            "fading": ("noise", np.array(fading), {"long_name": "err_0.1/err_2 of FLOW's model"}),
            "fading_limit": ("noise", 1 + (np.array(fading)[0] - 1) / (1 + noises)),
            "closed": ("problem", random["closed"]),
            "integrals": (("problem", "cut"), random["integrals"]),
            "mean_error": ("problem", random["mean_error"]),
            "sampled": (("kind", "place"), trained["sampled"]),
            "sampled_error": (("kind", "place"), trained["sampled_error"]),
            "samples": ((), trained["samples"]),
        },
        coords={"model": list(METHODS), "share": CURVE, "place": PLACES, "path": ["standard", "FLOW"], "step": steps,
                "which": ["all", "hardest tenth"], "noise": noises, "cut": ["two-sided", "one-sided"],
                "kind": ["FLOW", "standard", "shuffled", "ranked by chance"]},
        attrs={"rho": RHO, "steps": STEPS, "temperature": tau},
    )  # fmt: skip


def verdict(dataset: xr.Dataset) -> Verdict:
    """The closed form against integrals and against rows, and what the hard samples cost whom."""
    d = dataset
    off = lambda want: (np.abs(d.closed / want - 1) / EPS).values
    z = lambda kind, method: in_standard_errors(
        d.sampled.sel(kind=kind), d.place_error.sel(model=method), d.sampled_error.sel(kind=kind)
    )
    right = np.stack([z("FLOW", "FLOW"), z("standard", "standard")])
    limit = four_sigma(right.size, int(d.samples) - 1)
    tenth = d.place_error.sel(place=TENTH)
    ratio = tenth / d.place_error.sel(place=1.0)
    equal = d.place_error.sel(place=1.0, model=["same mean error", "model average"])
    size = float(d.place_error.sel(place=1.0, model="FLOW"))
    checks = (
        Check(
            f"error on the hardest share against integrals, {IN_EPSILON}", off(d.integrals[:, 0]).max(), 512
        ),
        Check.at_least("the same with a one-sided cut", off(d.integrals[:, 1]).min(), 512e3),
        Check.at_least("the same with the mean error (median)", np.median(off(d.mean_error)), 512e3),
        Check(
            "models trained on rows, on the hardest shares of other rows, in standard errors",
            right.max(),
            limit,
        ),
        Check.at_least("the same with shuffled weights", z("shuffled", "FLOW").min(), limit),
        Check.at_least(
            "the same with rows ranked by chance", z("ranked by chance", "FLOW")[:-1].min(), limit
        ),
        Check(
            f"mean error of the two models beside FLOW's, over FLOW's, from 1, {IN_EPSILON}",
            (np.abs(equal / size - 1) / EPS).max(),
            64,
        ),
        Check.at_least(
            "FLOW's error on the hardest tenth over standard fine-tuning's at the same mean error",
            ratio.sel(model="FLOW") / ratio.sel(model="same mean error"),
            1.5,
        ),
        Check(
            f"excess on the hardest tenth under noise against its share v/s², {IN_EPSILON}",
            (np.abs(d.fading / d.fading_limit - 1) / EPS).max(),
            64,
        ),
    )
    of = lambda method: float(ratio.sel(model=method))
    return Verdict(
        checks,
        headline=(
            f"Yes: after {STEPS} steps its error on the hardest tenth is {of('FLOW'):.2f} times that on all samples; "
            f"standard fine-tuning with the same mean error has {of('same mean error'):.2f} times."
        ),
        measured=(
            f"A model average with that mean error has {of('model average'):.2f} times: it pays as FLOW does, and so "
            "does whatever stays on the line between the two models.",
            "Standard fine-tuning after as many steps has a mean error of "
            f"{float(d.place_error.sel(model='standard', place=1.0)):.1e}, FLOW {size:.3f}: in Table 5, too, the "
            "methods have not learned equally much, so most of the gap there is what FLOW has not learned at all.",
            f"With label noise $\\sigma^2 = 4v$ the ratio is {float(d.fading[-1]):.2f} for the same model.",
        ),
    )


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Table 5's columns, standard and FLOW, beside two models with FLOW's mean error."""
    cell = lambda method, q: f"{float(dataset.place_error.sel(model=method, place=q)):.4f}"
    rows = tuple((method, *(cell(method, q) for q in (1.0, 0.1, 0.01))) for method in METHODS)
    header = ("model", "all samples", "hardest 10 %", "hardest 1 %")
    return (Table("Error in units of $\\lVert e\\rVert^2$, closed form", header, rows),)
