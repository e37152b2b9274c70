"""The product of two laws of the label: what FLOW's fixed point is made of, and how to find it in a trained model.

FLOW weighs a row by p*(y|x)^(1/τ). Where the label is drawn from a law p̃(y|x), the weighted cross-entropy is

    E[w · −ln p(y|x)] = E_x[ W(x) · ( KL(p_τ ‖ p) + entropy of p_τ ) ],   p_τ ∝ p̃ · p*^(1/τ),   W(x) = Σ_y p̃ p*^(1/τ),

so that a model that can represent p_τ ends there. Laws are logarithms of probabilities (…, classes) here.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

EXPERTS = ("label law", "pre-trained")


def normalised(logits: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, in float64."""
    logits = np.asarray(logits, dtype=float)
    return logits - logsumexp(logits, axis=-1, keepdims=True)


def product(label_law: np.ndarray, pretrained: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """ln p_τ, p_τ ∝ p̃ · p*^(1/τ)."""
    return normalised(label_law + pretrained / temperature)


def divergence(law: np.ndarray, other: np.ndarray) -> np.ndarray:
    """KL(law ‖ other) in nats, the mean over rows: (…, rows, classes) → (…)."""
    return (np.exp(law) * (law - other)).sum(axis=-1).mean(axis=-1)


def exponents(law: np.ndarray, label_law: np.ndarray, pretrained: np.ndarray) -> np.ndarray:
    """(…, 2): a, b of ln p = a ln p̃ + b ln p* + a constant for each row, (…, rows, classes) each.

    Least squares weighted by p, which is KL(p ‖ p̃^a p*^b) to second order; 1 and 1/τ for p_τ.
    """
    weights = np.exp(law)
    centred = lambda values: values - (weights * values).sum(axis=-1, keepdims=True)
    both = np.stack([centred(label_law), centred(pretrained)], axis=-1)
    gram = np.einsum("...rc,...rci,...rcj->...ij", weights, both, both)
    right = np.einsum("...rc,...rci,...rc->...i", weights, both, centred(law))
    return np.linalg.solve(gram, right[..., None])[..., 0]


def softening(law: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T for which softmax(ln p / T) has the least cross-entropy on these labels.

    ``law`` (rows, classes); ``labels`` are the share of each class in each row, (rows, classes). There the mean of ln p
    over labels is that over the softened law, which falls with T: one root. Infinite where the law is worse than none
    at every T, 0 where it is the better the colder.
    """
    total, rows = labels.sum(), labels.sum(axis=-1)
    reached = (labels * law).sum() / total

    def excess(cold: float) -> float:
        return float((rows * (np.exp(normalised(cold * law)) * law).sum(axis=-1)).sum() / total - reached)

    hottest, coldest = 1e-4, 1e4
    if excess(hottest) >= 0:
        return float("inf")
    if excess(coldest) <= 0:
        return 0.0
    return float(1 / np.asarray(brentq(excess, hottest, coldest, xtol=1e-15, maxiter=200)))


def overconfidence(law: np.ndarray, labels: np.ndarray) -> float:
    """Mean confidence of the guesses minus the share of them that is right; ``labels`` as in :func:`softening`."""
    guess = law.argmax(axis=-1)[..., None]
    right = np.take_along_axis(labels, guess, axis=-1).sum() / labels.sum()
    rows = labels.sum(axis=-1)
    return float((rows * np.exp(law.max(axis=-1))).sum() / rows.sum() - right)


def largest_margin(temperature: float | np.ndarray, wrong: float, classes: int) -> np.ndarray:
    """τ ln((1 − ε)(C − 1)/ε): up to which margin against it the label is learned, labels being wrong uniformly.

    Let p̃ be 1 − ε on the true class and ε/(C − 1) on each other, and ln p* lower on the true class than on another
    one by m. In p_τ their log-odds are ln((1 − ε)(C − 1)/ε) − m/τ, so that the true class is ahead of all others if and
    only if the largest m is below this.
    """
    return np.asarray(temperature) * np.log((1 - wrong) * (classes - 1) / wrong)


def margin(pretrained: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """By how much ln p* of the true class is behind that of the best other one; negative where it is ahead."""
    true = np.arange(pretrained.shape[-1]) == truth[..., None]
    return np.where(true, -np.inf, pretrained).max(axis=-1) - pretrained[true].reshape(truth.shape)
