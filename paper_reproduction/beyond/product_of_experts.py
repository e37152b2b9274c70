"""(T23): with a negative log-likelihood FLOW fits the product of the labels' law and the old model."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import brentq

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.beyond._labelled_rows import (
    LAWS,
    draw_inputs,
    draw_labels,
    fit,
    log_law,
    loss,
)
from paper_reproduction.claim import IN_EPSILON, IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict

CLAIM = Claim(
    name="product-of-experts",
    title="Trained to the end, a weighted classifier is the product of two experts",
    statement=(
        r"Weigh each row by $w = p_\ast(y\mid x)^{1/\tau}$, the likelihood of its label under the pre-trained model. "
        r"If labels are drawn from a law $\tilde p(y\mid x)$, training a negative log-likelihood to convergence fits "
        r"the product $p_\tau \propto \tilde p\,p_\ast^{1/\tau}$. In logistic and softmax regression its parameters "
        r"are $\tilde\theta^\ast + \theta^\ast/\tau$, for every law of $x$: the average of both models' logits with "
        r"$\omega = 1/(1+\tau)$, $1 + 1/\tau$ times too sharp. Dividing the logits by $1 + 1/\tau$ makes it the "
        r"average, subtracting $f_\ast/\tau$ gives the law of the labels back. Squares are the Gaussian case; weights "
        r"that prefer hard samples divide by the old model instead."
    ),
    equation="beyond the paper",
    formula=(
        r"p_\tau(y\mid x) \propto \tilde p(y\mid x)\,p_\ast(y\mid x)^{1/\tau}, \qquad \theta_\infty = "
        r"\tilde\theta^\ast + \frac{\theta^\ast}{\tau} = \left(1 + \frac1\tau\right)\left((1-\omega)\tilde\theta^\ast "
        r"+ \omega\theta^\ast\right), \quad \omega = \frac{1}{1+\tau}"
    ),
    functions=("experts", "fixed_point", "displacement", "model_average", "flow_weights", "weights"),
    seconds=15.0,
    quick_seconds=4.0,
    order=60,
    question="Is a weighted classifier an average of the old model and the new one?",
)

EPS = float(np.finfo(float).eps)
TEMPERATURES = (0.5, 2.0, 10.0)
MODELS = {"logistic": 2, "softmax, 4 classes": 4}
WRONG = ("not sharpened", "1/τ left out", "target alone")
DIM, ATOMS = 3, 300
OLD, NEW = np.array([[0.5, 1.5, 0.0]]), np.array([[-0.3, 0.3, 1.2]])
POWERS = (-0.4, -0.2, 0.25, 0.5, 1.0, 2.0)  # 1/τ, below 0 for weights that prefer hard samples
SHUFFLED = (0.5, 2.0)  # of these powers, without what they say of their rows
SCORED = ("FLOW", "shuffled weights", "levelled weights")


def _masses(x: np.ndarray, new: np.ndarray, old: np.ndarray, power: float) -> np.ndarray:
    """P(y|x) w(x, y) of every label, w = p*(y|x)^power."""
    return np.exp(log_law(x, new) + power * log_law(x, old))


def _end(old: np.ndarray, new: np.ndarray, power: float) -> np.ndarray:
    """What the public function says; hard samples up is the product with the old model turned round."""
    return lt.experts.fixed_point(np.sign(power) * old, new, 1 / abs(power))


def _exact(rng: np.random.Generator, law: str, classes: int, tau: float) -> dict[str, Any]:
    """A law of x on 300 points, all labels of each with their probability: the minimiser, literally."""
    x = draw_inputs(law, rng, ATOMS, DIM)
    old, new = rng.normal(size=(2, classes - 1, DIM))
    fitted, bend = fit(x, _masses(x, new, old, 1 / tau))
    unit = EPS * np.linalg.cond(bend) * (1 + abs(fitted).max())
    end = _end(old, new, 1 / tau)
    off = lambda parameters: abs(parameters - fitted).max() / unit
    average = np.stack(
        [
            lt.model_average(lt.FineTuningProblem(a, b, np.eye(DIM)), 1 / (1 + tau))
            for a, b in zip(old, new, strict=True)
        ]
    )
    same, same_bend = fit(x, _masses(x, new, new, 1 / tau))
    return {
        "off": off(end),
        "wrong": np.array([off(average), off(new + old), off(new)]),
        "averaged": off(average * lt.experts.sharpening(tau)),
        "undone": abs(lt.experts.undo(fitted, old, tau) - new).max() / unit,
        "softness": _softness(x, new, same),
        "softness_unit": EPS * np.linalg.cond(same_bend),
        "softness_apart": _softness(x, new, fitted),
    }  # fmt: skip


def _softness(x: np.ndarray, new: np.ndarray, fitted: np.ndarray) -> float:
    """The factor c of softmax(c f) at which labels of the law ``new`` have the least cross-entropy."""
    labels, logits = np.exp(log_law(x, new)), np.column_stack([x @ fitted.T, np.zeros(len(x))])
    slope = lambda cold: float(((np.exp(log_law(x, cold * fitted)) - labels) * logits).sum())
    return float(np.asarray(brentq(slope, -1e2, 1e2, xtol=1e-16)))


def _gaussian() -> np.ndarray:
    """Linear regression under label noise: by how much it is not the product of two Gaussian experts, in ε."""
    off = []
    for tau, noise in itertools.product((0.3, 1.0, 8.0), (0.1, 2.0)):
        problem = lt.paper_problem(0.6, noise_variance=noise)
        nll = tau / (2 * noise)  # the temperature in nats
        mean = lt.experts.fixed_point(problem.pretrained, problem.target, nll) / lt.experts.sharpening(nll)
        variance = noise / lt.experts.sharpening(nll)  # of the product; of the tilted noise it is κσ²
        off.append(abs(mean - lt.fixed_point(problem, tau)).max())
        off.append(abs(variance / noise - lt.displacement(problem, tau)))
    return np.array(off) / EPS


def _score(rng: np.random.Generator, law: str, tau: float, n: int) -> np.ndarray:
    """The mean gradient of sampled rows at the product, in standard errors: (weights, d). It has no bias at any n."""
    x = draw_inputs(law, rng, n, DIM)
    labels = draw_labels(log_law(x, NEW), rng)
    weights = lt.flow_weights(loss(x, labels, OLD), tau)
    slope = (np.exp(log_law(x, _end(OLD, NEW, 1 / tau))) - labels)[:, :1] * x
    rows = [w[:, None] * slope for w in (weights, rng.permutation(weights), np.full(n, weights.mean()))]
    return np.stack([one.mean(axis=0) / (one.std(axis=0, ddof=1) / np.sqrt(n)) for one in rows])


def _exponent(rng: np.random.Generator, law: str, power: float, n: int) -> tuple[float, float]:
    """b of the fit θ̃* + bθ* to sampled rows, with their weights and with these shuffled."""
    x = draw_inputs(law, rng, n, DIM)
    labels = draw_labels(log_law(x, NEW), rng)
    rule = lt.weights.Flow(1 / power) if power > 0 else lt.weights.KLDRO(-1 / power)
    weights = np.exp(rule.log_weights(loss(x, labels, OLD)))

    def along(w: np.ndarray) -> float:
        fitted, bend = fit(x, w[:, None] * labels)
        old = bend @ OLD.ravel()
        return float(old @ (fitted - NEW).ravel() / (old @ OLD.ravel()))

    return along(weights), along(rng.permutation(weights)) if power in SHUFFLED else np.nan


def compute(settings: Settings) -> xr.Dataset:
    """Laws of x with all of their labels, sampled rows, and what the picture shows."""
    cells = list(itertools.product(LAWS, MODELS, TEMPERATURES))
    found = [
        _exact(settings.rng(f"{cell}"), law, MODELS[model], tau)
        for cell in cells
        for law, model, tau in [cell]
    ]
    shape = (len(LAWS), len(MODELS), len(TEMPERATURES))
    dims = ("law", "model", "temperature")
    stacked = {key: np.array([one[key] for one in found]) for key in found[0]}
    exact = {
        key: ((*dims, "mistake")[: 3 + values.ndim - 1], values.reshape(*shape, *values.shape[1:]))
        for key, values in stacked.items()
    }
    many, repeats = (2500, 12) if settings.quick else (15000, 16)
    score = [
        [_score(settings.rng(f"score {law} {tau}"), law, tau, 4 * many) for tau in TEMPERATURES]
        for law in LAWS
    ]
    exponents = np.full((len(LAWS), len(POWERS), repeats, 2), np.nan)
    for i, j in itertools.product(range(len(LAWS)), range(len(POWERS))):
        if POWERS[j] > 0 or LAWS[i] == "discrete":  # weights above 1 have a mean where x is bounded
            rng = settings.rng(f"exponent {LAWS[i]} {POWERS[j]}")
            exponents[i, j] = [_exponent(rng, LAWS[i], POWERS[j], many) for _ in range(repeats)]
    hard = draw_inputs("discrete", settings.rng("hard"), ATOMS, DIM)
    contrast = [fit(hard, _masses(hard, NEW, OLD, power)) for power in POWERS[:2]]
    shown = settings.rng("picture")
    x = np.column_stack([np.ones(240), shown.normal(size=(240, 2))])
    return xr.Dataset(
        exact
        | {
            "gaussian": ("case", _gaussian(), {"long_name": "squares against two Gaussian experts, in ε"}),
            "score": (("law", "temperature", "weighting", "parameter"), np.array(score)),
            "exponents": (("law", "power", "repeat", "weights"), exponents),
            "contrast": ("hard", [abs(_end(OLD, NEW, p) - t).max() / (EPS * np.linalg.cond(h) * (1 + abs(t).max()))
                                  for p, (t, h) in zip(POWERS[:2], contrast, strict=True)]),
            "x": (("row", "input"), x[:, 1:]),
            "label": ("row", draw_labels(log_law(x, NEW), shown)[:, 0]),
            "boundary": (("line", "parameter"), np.concatenate([OLD, NEW, _end(OLD, NEW, 1.0)])),
        },
        coords={
            "law": list(LAWS), "model": list(MODELS), "temperature": list(TEMPERATURES), "mistake": list(WRONG),
            "weighting": list(SCORED), "power": list(POWERS), "weights": ["FLOW", "shuffled"],
            "line": ["old model", "labels' law", "FLOW"],
            "sharpening": ("temperature", lt.experts.sharpening(np.array(TEMPERATURES))),
        },
        attrs={"picture_temperature": 1.0},
    )  # fmt: skip


def _off_the_line(d: xr.Dataset, weights: str, wanted: Any) -> xr.DataArray:
    """Fitted exponents of the old model against ``wanted``, in standard errors over repetitions."""
    one = d.exponents.sel(weights=weights)
    error = one.std("repeat", skipna=False, ddof=1) / np.sqrt(d.sizes["repeat"])
    return abs(one.mean("repeat", skipna=False) - wanted) / error


def verdict(dataset: xr.Dataset) -> Verdict:
    """The minimiser of laws of x, taken apart and calibrated; sampled rows, and those whose weights are not theirs."""
    d = dataset
    scores, limit = abs(d.score), four_sigma(d.score.sel(weighting="FLOW").size)
    sampled = _off_the_line(d, "FLOW", d.power)
    several = four_sigma(int(np.isfinite(sampled).sum()), d.sizes["repeat"] - 1)
    shuffled = _off_the_line(d, "shuffled", d.power).sel(power=list(SHUFFLED))
    farthest, nearest = float(sampled.max()), float(shuffled.min())
    return Verdict(
        checks=(
            Check(
                f"θ̃* + θ*/τ against the minimiser by Newton's method, {IN_EPSILON_TIMES_CONDITION}",
                d.off.max(),
                16,
            ),
            Check(
                f"(1 + 1/τ) times the average with ω = 1/(1+τ) against it, {IN_EPSILON_TIMES_CONDITION}",
                d.averaged.max(),
                16,
            ),
            Check.at_least(
                "the same for the average itself, θ̃* + θ* and θ̃* (the nearest of all)", d.wrong.min(), 16e6
            ),
            Check(f"θ̃* from the fit, undone, {IN_EPSILON_TIMES_CONDITION}", d.undone.max(), 16),
            Check(
                "factor that calibrates FLOW where both models agree, against 1/(1 + 1/τ), "
                f"{IN_EPSILON_TIMES_CONDITION}",
                (abs(d.softness * d.sharpening - 1) / d.softness_unit).max(),
                16,
            ),
            Check(
                f"hard samples up: θ̃* − θ*/τ against the minimiser, {IN_EPSILON_TIMES_CONDITION}",
                d.contrast.max(),
                16,
            ),
            Check(
                f"squares under label noise against the product of two Gaussians, {IN_EPSILON}",
                d.gaussian.max(),
                16,
            ),
            Check(
                "mean gradient of sampled rows at θ̃* + θ*/τ, in standard errors",
                scores.sel(weighting="FLOW").max(),
                limit,
            ),
            *(
                Check.at_least(
                    f"the same with {name}, for every law and temperature",
                    scores.sel(weighting=name).max("parameter").min(),
                    limit,
                )
                for name in SCORED[1:]
            ),
            Check("exponent of the old model fitted to sampled rows, in standard errors", farthest, several),
            Check.at_least(
                "the same with shuffled weights, for every law, 1/τ = 1/2 and 2", nearest, several
            ),
        ),
        headline=(
            "Partly: its logits are the average's with $\\omega = 1/(1+\\tau)$, but "
            f"{float(d.sharpening[0]):.0f} times too large at $\\tau = {float(d.temperature[0]):g}$ and "
            f"{float(d.sharpening[-1]):.1f} times at $\\tau = {float(d.temperature[-1]):g}$. The guess is the "
            "average's, the confidence is not."
        ),
        findings=_findings(d),
        measured=(
            "The law of $x$ does not enter: discrete, Student's $t_3$ and exponential inputs, none of them Gaussian, "
            "have the same minimiser. It enters the path.",
        ),
    )  # fmt: skip


def _findings(d: xr.Dataset) -> tuple[str, ...]:
    apart = d.softness_apart * d.sharpening
    return (
        r"Dividing by $1 + 1/\tau$ calibrates FLOW on the new task only where both models agree. For two models drawn "
        f"at random the best factor is from {float(apart.min()):.2f} to {float(apart.max()):.2f} times "
        r"$1/(1 + 1/\tau)$, because the average itself is no law of the new labels.",
    )
