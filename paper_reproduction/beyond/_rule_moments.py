"""Ten weight rules at the cutoff a, their moments on z ~ N(0, 1) written out, and where those go as a → 0.

The residual has unit variance, FLOW's temperature is a². Nothing here asks the library for a moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from linear_theory import weights as rules

Reals = Any
"""A number or an array of them, and so is what comes back."""
FLOOR = 0.05


def phi(a: Reals) -> Reals:
    return stats.norm.pdf(a)


def inside(a: Reals) -> Reals:
    """P(|z| < a)."""
    return special.erf(a / math.sqrt(2))


def _flow(a: Reals) -> tuple[Reals, Reals]:
    k = np.sqrt(1 + 2 / a**2)
    return 1 / k, 1 / k**3


def _threshold(a: Reals) -> tuple[Reals, Reals]:
    return inside(a), inside(a) - 2 * a * phi(a)


def _tukey(a: Reals) -> tuple[Reals, Reals]:
    moments = [inside(a)]
    for k in (1, 3, 5):  # E[z^(k+1); |z| < a], by parts
        moments.append(k * moments[-1] - 2 * a**k * phi(a))
    zero, two, four, six = moments
    return zero - 2 * two / a**2 + four / a**4, two - 2 * four / a**2 + six / a**4


def _cauchy(a: Reals) -> tuple[Reals, Reals]:
    mass = math.sqrt(math.pi / 2) * a * special.erfcx(a / math.sqrt(2))
    return mass, a**2 * (1 - mass)


def _square_of_cauchy(a: Reals) -> tuple[Reals, Reals]:
    mass, square = _cauchy(a)  # ∂w/∂a = (2/a)(w − w²) gives the moments of w²
    return (mass + square) / 2, a**2 * (mass - square) / 2


def _huber(a: Reals) -> tuple[Reals, Reals]:
    return inside(a) + a * special.exp1(a**2 / 2) / math.sqrt(2 * math.pi), inside(a)


def _clipped(a: Reals) -> tuple[Reals, Reals]:
    k, edge = np.sqrt(1 + 2 / a**2), a * math.sqrt(-math.log(FLOOR))
    outside = special.erfc(edge / math.sqrt(2))
    within = inside(k * edge)
    return (
        within / k + FLOOR * outside,
        (within - 2 * k * edge * phi(k * edge)) / k**3 + FLOOR * (outside + 2 * edge * phi(edge)),
    )


def _focal(a: Reals) -> tuple[Reals, Reals]:
    terms = [(math.comb(2, j) * (-1) ** j, 1 + 2 * j / a**2) for j in range(3)]
    return sum(b * k**-0.5 for b, k in terms), sum(b * k**-1.5 for b, k in terms)


def _hard(a: Reals) -> tuple[Reals, Reals]:
    mass = special.erfc(a / math.sqrt(2))
    return mass, mass + 2 * a * phi(a)


def _kl_dro(a: Reals) -> tuple[Reals, Reals]:
    k = np.sqrt(1 - 2 / a**2)
    return 1 / k, 1 / k**3


@dataclass(frozen=True)
class Rule:
    """A rule of the library at a cutoff, (m₀, m₂) written out, and the cutoffs of its sampled rows."""

    at: Callable[[float], rules.WeightRule]
    moments: Callable[[Reals], tuple[Reals, Reals]]
    sampled: tuple[float, ...] = (0.3, 1.0, 3.0)


TEN = {
    "FLOW": Rule(lambda a: rules.Flow(a**2), _flow),
    "threshold": Rule(rules.HardThreshold, _threshold),
    "Tukey": Rule(rules.Tukey, _tukey),
    "power 2": Rule(lambda a: rules.Power(a, 2.0), _square_of_cauchy),
    "Cauchy": Rule(rules.Cauchy, _cauchy),
    "Huber": Rule(rules.Huber, _huber),
    "clipped": Rule(lambda a: rules.Clipped(a**2, FLOOR), _clipped),
    "focal": Rule(lambda a: rules.Focal(a**2, 2.0), _focal),
    "hard samples": Rule(rules.HardSamples, _hard),
    "KL-DRO": Rule(lambda a: rules.KLDRO(a**2), _kl_dro, (3.0, 4.0, 6.0)),
}

PRINTED = {
    "Huber": (rules.Huber(1.0), 0.9060068465, 0.6826894921),
    "Cauchy": (rules.Cauchy(1.0), 0.6556795424, 0.3443204576),
    "power 2": (rules.Power(1.0, 2.0), 0.5, 0.1556795424),
    "power 3": (rules.Power(1.0, 3.0), 0.4139198856, 0.0860801144),
    "clipped": (rules.Clipped(1.0, FLOOR), 0.5799547904, 0.2063943849),
    "focal": (rules.Focal(1.0, 2.0), 0.2925130571, 0.7045425396),
    "threshold": (rules.HardThreshold(1.0), 0.6826894921, 0.1987480431),
    "Tukey": (rules.Tukey(1.0), 0.3974960862, 0.0517146348),
}
"""m₀ and m₂ at a = 1 as they were derived by hand, before this code was."""

EULER = float(np.euler_gamma)


def power_limit(alpha: float, a: float) -> float:
    """What h tends to for tails |u|^(−α), α = 2p, of (1 + u²)^(−p)."""
    p = alpha / 2
    if alpha < 1:
        return 1 - alpha
    if alpha == 1:
        return 2 / (math.log(8 / a**2) - EULER)
    if alpha < 3:
        gammas = math.gamma(1.5 - p) * math.gamma(p) / math.gamma(p - 0.5)
        return a ** (alpha - 1) * 2 ** (1.5 - p) * gammas / math.sqrt(math.pi)
    if alpha == 3:
        return a**2 / 2 * (math.log(8 / a**2) - 2 - EULER)
    return a**2 / (alpha - 3)


LIMITS: dict[str, tuple[Callable[[float], float], float]] = {
    "FLOW": (lambda a: a**2 / 2, math.sqrt(math.pi)),
    "threshold": (lambda a: a**2 / 3, 2.0),
    "Tukey": (lambda a: a**2 / 7, 16 / 15),
    "power 2": (lambda a: a**2, math.pi / 2),
    "Cauchy": (lambda a: a * math.sqrt(2 / math.pi), math.pi),
    "Huber": (lambda a: 1 / (1 - EULER / 2 + math.log(2) / 2 - math.log(a)), 2.0),
}
"""h as a → 0, and the factor by which it is wrong with ∫G left out (Huber's: with one tail of the two)."""
