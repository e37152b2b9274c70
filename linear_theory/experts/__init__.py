"""FLOW with a negative log-likelihood: the product of two experts, and the path to it.

The rows are weighted by w = p*(y|x)^(1/τ), p* the law of the label under the pre-trained model. If the labels are drawn
from a law p̃(y|x), training to convergence fits p_τ ∝ p̃ · p*^(1/τ) (T23), a product of experts: for classifiers
:func:`fixed_point`, sharper than an average of the two by :func:`sharpening`, and taken apart by :func:`undo`. Until
then the path of a generalised linear model on Gaussian rows is :func:`iterate`. Losses are plain negative
log-likelihoods: ℓ = −ln p, a step is θ ← θ − η ∇E[w ℓ].

Examples
--------
>>> import numpy as np
>>> import linear_theory as lt
>>> end = lt.experts.fixed_point(np.array([1.5, 0.0]), np.array([0.3, 1.0]), temperature=0.5)
>>> print(end, (end / lt.experts.sharpening(0.5)).round(3))  # 3 times the average with ω = 1/(1 + τ)
[3.3 1. ] [1.1   0.333]
"""

from .families import Family, Logistic, Poisson
from .paths import curvature, iterate, mean_weight
from .product import fixed_point, sharpening, undo

__all__ = [
    "Family",
    "Logistic",
    "Poisson",
    "curvature",
    "fixed_point",
    "iterate",
    "mean_weight",
    "sharpening",
    "undo",
]
