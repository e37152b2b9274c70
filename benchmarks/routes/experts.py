"""Products of experts by Newton's steps, labels summed, rows integrated with Gauss's nodes in all dimensions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special

import linear_theory as lt
from linear_theory import testing
from linear_theory.testing.reference import population
from linear_theory.testing.reference import rows as data
from linear_theory.testing.reference.population import Case, Rule, mp

from ..law import Law
from .condition import by_differences, exactly

Quantity = testing.Quantity

FACES = ((1, 0), (0, 1), (1, 1), (-1, 2))
"""Where x may be: the product of two experts does not depend on its law."""


def _coin(predictor: Any) -> Any:
    return 1 / (1 + mp.exp(-predictor))


def trained_coin(pretrained: Any, target: Any, temperature: float) -> Any:
    """Where Newton's steps in 60 digits end on E[w ℓ], w = p*(y|x)^(1/τ), in logistic regression."""
    old, new, power = data.exact_vector(pretrained), data.exact_vector(target), 1 / mp.mpf(temperature)
    faces = [mp.matrix(face[: len(new)]) for face in FACES]
    parts = []  # of each face: it, and P(y|x) w for y = 1 and y = 0
    for x in faces:
        z, before = population.inner(new, x), population.inner(old, x)
        parts.append((x, _coin(z) * _coin(before) ** power, _coin(-z) * _coin(-before) ** power))

    def loss(theta: Any) -> Any:
        z = [population.inner(theta, x) for x, _, _ in parts]
        return mp.fsum(
            a * mp.log1p(mp.exp(-u)) + b * mp.log1p(mp.exp(u)) for u, (_, a, b) in zip(z, parts, strict=True)
        )

    theta = mp.zeros(len(new), 1)
    for _ in range(1000):
        slope, bend = mp.zeros(len(new), 1), mp.zeros(len(new))
        for x, a, b in parts:
            p = _coin(population.inner(theta, x))
            slope += (b * p - a * (1 - p)) * x
            bend += (a + b) * p * (1 - p) * x * x.T
        step = mp.lu_solve(bend, slope)
        if population.norm(step) <= mp.mpf(10) ** -25 * (1 + population.norm(theta)):
            return theta - step
        while loss(theta - step) > loss(theta):
            step = step / 2
        theta = theta - step
    raise ArithmeticError("Newton's steps did not settle")


def law_of_labels(fitted: Any, pretrained: Any, temperature: float) -> Any:
    """Log-odds of p̃ ∝ p_τ / p*^(1/τ), label by label, at each unit vector."""
    power, odds = 1 / mp.mpf(temperature), []
    for fit, old in zip(data.exact_vector(fitted), data.exact_vector(pretrained), strict=True):
        one, zero = (_coin(sign * fit) / _coin(sign * old) ** power for sign in (1, -1))
        odds.append(mp.log(one / zero))
    return mp.matrix(odds)


def confidence(temperature: float) -> Any:
    """Log-odds of p · p^(1/τ) over those of p, of one coin."""
    p, power = mp.mpf(3) / 4, 1 / mp.mpf(temperature)
    return mp.log(p * p**power / ((1 - p) * (1 - p) ** power)) / mp.log(p / (1 - p))


def _probabilities(family: str, predictor: Any) -> list[Any]:
    """p(y|z) in 60 digits, of all labels that have any."""
    z = mp.mpf(predictor)
    if family == "Logistic":
        return [_coin(-z), _coin(z)]
    rate, found = mp.exp(z), [mp.exp(-mp.exp(z))]
    while len(found) <= rate or found[-1] > mp.mpf(10) ** -70:
        found.append(found[-1] * rate / len(found))
    return found


def summed_labels(family: str, predictor: float, label: int, pretrained: float, temperature: float) -> Any:
    """ℓ, E[y], Var[y], and of the product with another law E[w] and E[wy]/E[w], label by label."""
    p, power = _probabilities(family, predictor), 1 / mp.mpf(temperature)
    mean = mp.fsum(y * v for y, v in enumerate(p))
    spread = mp.fsum((y - mean) ** 2 * v for y, v in enumerate(p))
    weighted = [v * w**power for v, w in zip(p, _probabilities(family, pretrained), strict=False)]
    mass = mp.fsum(weighted)
    return mp.matrix(
        [-mp.log(p[label]), mean, spread, mass, mp.fsum(y * v for y, v in enumerate(weighted)) / mass]
    )


def _summed_labels(family: str) -> Callable[..., Any]:
    def formula(predictor: float, label: int, pretrained: float, temperature: float) -> Any:
        law = getattr(lt.experts, family)()
        log_weight, mean = law.product(predictor, pretrained, temperature)
        own = (law.loss(predictor, label), law.mean(predictor), law.variance(predictor))
        return np.array([*own, np.exp(log_weight), mean])

    return formula


@lru_cache(None)
def _hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    points, mass = np.polynomial.hermite_e.hermegauss(nodes)
    return points, mass / mass.sum()


def hermite(
    pretrained: Any,
    target: Any,
    covariance: Any,
    family: str,
    temperature: float,
    theta: Any,
    nodes: int = 48,
) -> tuple[float, np.ndarray, np.ndarray]:
    """E[w], ∇E[w ℓ] and ∇²E[w ℓ] at θ: Gauss's nodes in all of x, every label; no frame, no span, no family."""
    dim, (points, mass) = len(target), _hermite(nodes)
    grid = np.stack(np.meshgrid(*[points] * dim, indexing="ij"), -1).reshape(-1, dim)
    probability = np.prod(np.meshgrid(*[mass] * dim, indexing="ij"), axis=0).ravel()
    keep = probability > 1e-40
    x = grid[keep] @ np.linalg.cholesky(np.asarray(covariance, dtype=float)).T
    z, new, old = (x @ np.asarray(v, dtype=float) for v in (theta, target, pretrained))
    if family == "Logistic":
        log_p = lambda y, u: -np.logaddexp(0, u - 2 * y * u)
        mean, labels = 1 / (1 + np.exp(-z)), range(2)
        spread = mean / (1 + np.exp(z))
    else:
        log_p = lambda y, u: y * u - np.exp(u) - special.gammaln(y + 1)
        mean = spread = np.exp(z)
        labels = range(160)
    total, gradient, hessian = 0.0, np.zeros(dim), np.zeros((dim, dim))
    for y in labels:
        w = probability[keep] * np.exp(log_p(y, new) + log_p(y, old) / temperature)
        total += w.sum()
        gradient += (w * (mean - y)) @ x
        hessian += (w * spread * x.T) @ x
    return total, gradient, hessian


NODES = {
    ("Logistic", 1): 160,
    ("Logistic", 2): 120,
    ("Logistic", 3): 64,
    ("Poisson", 1): 120,
    ("Poisson", 2): 80,
}
"""For all digits, where predictors scatter as little as below."""


def _seen(case: Case, family: str, rule: Rule, theta: Any) -> tuple[float, np.ndarray, np.ndarray]:
    nodes = NODES[family, case.dim]
    return hermite(case.pretrained, case.target, case.covariance, family, float(rule.value), theta, nodes)


def mean_weight(case: Case, family: str, rule: Rule) -> Any:
    return mp.mpf(_seen(case, family, rule, case.target)[0])


def descended_likelihood(case: Case, family: str, rule: Rule, steps: int, learning_rate: float) -> Any:
    """θ ← θ − η∇E[w ℓ], literally."""
    theta = np.array(case.pretrained)
    for _ in range(steps):
        theta = theta - learning_rate * _seen(case, family, rule, theta)[1]
    return exactly(theta)


def bend(case: Case, family: str, rule: Rule, theta: Any, direction: Any) -> Any:
    u = np.array(direction)
    return mp.mpf(float(u @ _seen(case, family, rule, theta)[2] @ u))


@st.composite
def _experts(draw: Any, *names: str) -> dict[str, Any]:
    """Predictors that scatter so little that Gauss's nodes have all digits; three dimensions where labels are two."""
    family = draw(st.sampled_from(["Logistic", "Poisson"]))
    dim = draw(st.sampled_from([2, 1, 3] if family == "Logistic" else [2, 1]))
    steepest = {"Logistic": 1.2, "Poisson": 0.4}[family]
    covariance = testing.spectra.random_covariance(
        dim, draw(testing.log_uniform(1.0, 30.0)), 1.0, draw(testing.seeds())
    )
    unit = lambda v: v / np.linalg.norm(v)
    vector = lambda: unit(draw(testing.vectors(dim))) * draw(testing.log_uniform(0.2, 1.0)) * steepest
    of = {
        "steps": lambda: draw(st.integers(0, 3)),
        "learning_rate": lambda: draw(testing.log_uniform(0.05, 1.0)),
        "theta": vector,
        "direction": lambda: draw(testing.vectors(dim)),
    }
    return {
        "problem": lt.FineTuningProblem(vector(), vector(), covariance),
        "family": family,
        "temperature": draw(testing.temperatures(coldest=0.3, warmest=30.0)),
        **{name: of[name]() for name in names},
    }


@st.composite
def _coins(draw: Any, first: str, second: str) -> dict[str, Any]:
    dim = draw(st.sampled_from([2, 1]))
    tau = draw(testing.temperatures(coldest=0.3, warmest=30.0))
    return {first: draw(testing.vectors(dim)), second: draw(testing.vectors(dim)), "temperature": tau}


def _labels(family: str) -> Any:
    predictors = st.sampled_from([0.0, 1.0, -1.0]) | st.floats(-3.0, 2.0).filter(lambda z: abs(z) > 1e-3)
    return st.fixed_dictionaries(
        {
            "predictor": predictors,
            "label": st.integers(0, 1 if family == "Logistic" else 6),
            "pretrained": predictors,
            "temperature": testing.temperatures(coldest=0.1, warmest=100.0),
        }
    )


def _by_sums(family: str) -> Quantity:
    return Quantity(
        f"{family}'s labels",
        "loss, mean and variance of the label, weight and mean of the product, label by label",
        lambda predictor, label, pretrained, temperature: summed_labels(
            family, predictor, label, pretrained, temperature
        ),
        _labels(family),
    )


LAWS = (
    Law(
        "experts.Logistic", _by_sums("Logistic"), _summed_labels("Logistic")
    ),
    Law(
        "experts.Poisson", _by_sums("Poisson"), _summed_labels("Poisson")
    ),
    Law(
        "experts.curvature",
        Quantity(
            "bend",
            "uᵀ∇²E[w ℓ]u, by Gauss's nodes in all of x, label by label",
            bend,
            _experts("theta", "direction"),
            measure=by_differences(bend),
        ),
        lambda problem, family, temperature, theta, direction: lt.experts.curvature(
            problem, getattr(lt.experts, family)(), theta, direction, temperature
        ),
        slow=True,
    ),
    Law(
        "experts.fixed_point",
        Quantity("trained_coin", "Newton's steps on weighted logistic regression, to the end", trained_coin,
                 _coins("pretrained", "target")),
        lt.experts.fixed_point,
    ),
    Law(
        "experts.iterate",
        Quantity(
            "descended_likelihood",
            "the literal step K times, ∇E[w ℓ] by Gauss's nodes in all of x, label by label",
            descended_likelihood,
            _experts("steps", "learning_rate"),
            measure=by_differences(descended_likelihood),
        ),
        lambda problem, family, temperature, steps, learning_rate: lt.experts.iterate(
            problem, getattr(lt.experts, family)(), steps, learning_rate, temperature
        ),
        slow=True,
    ),
    Law(
        "experts.mean_weight",
        Quantity(
            "mean_weight",
            "E[w], by Gauss's nodes in all of x, label by label",
            mean_weight,
            _experts(),
            measure=by_differences(mean_weight),
        ),
        lambda problem, family, temperature: lt.experts.mean_weight(
            problem, getattr(lt.experts, family)(), temperature
        ),
    ),
    Law(
        "experts.sharpening",
        Quantity("confidence", "log-odds of p · p^(1/τ) over those of p", confidence,
                 st.fixed_dictionaries({"temperature": testing.temperatures()})),
        lt.experts.sharpening,
    ),
    Law(
        "experts.undo",
        Quantity("law_of_labels", "log-odds of p_τ/p*^(1/τ), label by label", law_of_labels,
                 _coins("fitted", "pretrained")),
        lt.experts.undo,
    ),
)  # fmt: skip
