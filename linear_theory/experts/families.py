"""Generalised linear models of one predictor z = ⟨θ, x⟩: the law of the label, and its product with another one.

ℓ(z, y) = A(z) − y z + h(y), canonical, so that E[y] = A'(z) and the Hessian of the loss is A''(z) x xᵀ. What quadrature
needs of a family besides is how finely its integrands have to be seen.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.special import expit, gammaln, log_expit, xlogy

from ..arrays import ANY_NDIM, Array, bounded, broadcast, finite, namespace, require
from .product import checked_temperature

__all__ = ["Family", "Logistic", "Poisson"]

DIGITS = -math.log(np.finfo(float).eps)
"""What an integrand is followed down to: exp(−DIGITS) = ε of its maximum."""

MOST_LOG_RATE = 50.0
"""e^(z/2) is the width of a bell of counts, in which a float of the size e^z is exact to ε e^(z/2)."""

MOST_COUNT = 1e300
"""A count whose logarithm times it is a float."""

LARGEST_LOG = 709.0
"""A predictor whose exponential is a float."""

_FIRST = np.arange(16.0)
FEW = xlogy(_FIRST, _FIRST) - _FIRST - gammaln(_FIRST + 1)
"""ln p(y) of Poisson's law of the rate y; from 16 on four terms of Stirling's series have all digits."""


@runtime_checkable
class Family(Protocol):
    """A law of the label y given the predictor z. Elementwise, NumPy in and out.

    The families of this package refuse predictors that are not finite, labels that they do not know and τ ≤ 0 with
    InvalidValueError or InvalidTypeError.

    Examples
    --------
    >>> import linear_theory as lt
    >>> isinstance(lt.experts.Logistic(), lt.experts.Family), isinstance(3, lt.experts.Family)
    (True, False)
    """

    easiest: tuple[float, ...]  # labels that the smallest losses have, as they go to 0
    growth: float  # A'(z) grows at most like exp(growth · z)

    def loss(self, predictor: Any, label: Any) -> Array: ...
    def mean(self, predictor: Any) -> Array: ...
    def variance(self, predictor: Any) -> Array: ...
    def product(self, target: Any, pretrained: Any, temperature: float) -> tuple[Array, Array]: ...
    def spacing(self, slope: float, steepest: float, temperature: float) -> float: ...


_NUMPY = namespace()


def _predictor(value: Any, name: str = "predictor") -> Array:
    return finite(_NUMPY, name, value, ANY_NDIM)


def _with_label(predictor: Any, label: Any, largest: float, remedy: str) -> tuple[Array, Array]:
    """Predictors, and labels from 0 to ``largest``, in shapes that go together."""
    z = _predictor(predictor)
    accept = lambda y: (y >= 0) & (y <= largest)
    y = bounded(_NUMPY, "label", label, accept, remedy, ANY_NDIM)
    broadcast(predictor=z, label=y)
    return z, y


def _two_experts(target: Any, pretrained: Any, temperature: Any) -> tuple[Array, Array, float]:
    """z̃ and z* in shapes that go together, and τ."""
    new, old = _predictor(target, "target"), _predictor(pretrained, "pretrained")
    broadcast(target=new, pretrained=old)
    return new, old, float(checked_temperature(_NUMPY, temperature))


class Logistic:
    """Labels 0 and 1, P(y = 1) = 1/(1 + e^(−z)); ℓ = ln(1 + e^z) − y z (T24).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> log_weight, mean = lt.experts.Logistic().product(0.3, 1.5, temperature=2.0)
    >>> print(f"E[w|x] = {np.exp(log_weight):.4f}, P(y = 1) = {mean:.4f}")  # at the margin 0.3 + 1.5/2
    E[w|x] = 0.7012, P(y = 1) = 0.7408
    """

    easiest = (0.0, 1.0)
    growth = 0.0

    def loss(self, predictor: Any, label: Any) -> Array:
        """ℓ = −ln p(y|z)."""
        z, y = _with_label(predictor, label, 1.0, "must be from 0 to 1")
        return -y * log_expit(z) - (1 - y) * log_expit(-z)

    def mean(self, predictor: Any) -> Array:
        """A'(z), P(y = 1)."""
        return expit(_predictor(predictor))

    def variance(self, predictor: Any) -> Array:
        """A''(z), also the curvature of the loss."""
        z = _predictor(predictor)
        return expit(z) * expit(-z)

    def product(self, target: Any, pretrained: Any, temperature: float) -> tuple[Array, Array]:
        """ln E[w|x] and the mean label under p_τ ∝ p̃ · p*^(1/τ), at the predictors z̃ and z*."""
        new, old, temperature = _two_experts(target, pretrained, temperature)
        one = log_expit(new) + log_expit(old) / temperature
        zero = log_expit(-new) + log_expit(-old) / temperature
        return np.logaddexp(one, zero), expit(new + old / temperature)

    def spacing(self, slope: float, steepest: float, temperature: float) -> float:
        """Distance of quadrature nodes along an axis on which predictors rise by ``slope`` at most.

        The trapezoidal rule errs by exp(−2πa/h), times what the integrand grows to when shifted by ia: here e^(a²/2)
        of the Gaussian, as long as a · slope ≤ π/2, half the distance of the poles of 1/(1 + e^(−z)).
        """
        shift = min(math.pi / 2 / slope if slope else math.inf, math.sqrt(2 * DIGITS))
        return 2 * math.pi * shift / (DIGITS + shift**2 / 2)


class Poisson:
    """Counts y = 0, 1, … of rate e^z; ℓ = e^z − y z + ln y!, a negative log-likelihood in full (T24).

    With ln y! the weight is at most 1 and p_τ is a Conway-Maxwell-Poisson law. Without it E[w] is infinite for Gaussian
    x, as soon as somewhere z* > 0 and z̃ > (1 − 1/τ)z*.

    Examples
    --------
    >>> import linear_theory as lt
    >>> _, mean = lt.experts.Poisson().product(3.0, 4.0, temperature=0.5)
    >>> print(f"{mean:.6f}")  # the average of log-rates would be 39.12
    38.786996
    """

    easiest = (0.0,)
    growth = 1.0

    def loss(self, predictor: Any, label: Any) -> Array:
        """ℓ = −ln p(y|z)."""
        z, y = _with_label(predictor, label, MOST_COUNT, f"must be from 0 to {MOST_COUNT:g}")
        with np.errstate(over="ignore"):  # looked for in the result
            few = _rate(z) - y * z + gammaln(y + 1)
            log_y = np.log(np.maximum(y, 1))
            many = _deviance(y, log_y, z) - _log_at_its_own_rate(y, log_y)
            loss = np.where(y < len(FEW), few, many)[()]  # of many the three terms of the sum cancel
        return require(_NUMPY, "label", loss, np.isfinite(loss), "has a loss that is no float", label)

    def mean(self, predictor: Any) -> Array:
        """A'(z) = e^z."""
        return _rate(_predictor(predictor))

    def variance(self, predictor: Any) -> Array:
        """A''(z) = e^z, also the curvature of the loss."""
        return _rate(_predictor(predictor))

    def product(self, target: Any, pretrained: Any, temperature: float) -> tuple[Array, Array]:
        """ln E[w|x] and the mean label under p_τ ∝ p̃ · p*^(1/τ), by the sum over y around its largest term.

        Far from 0 the terms are a smooth bell, of which every other or every tenth will do: the trapezoidal rule again.
        ln E[w|x] errs by a few ε e^(z/2), the rounding of the counts beside the bell's width: predictors above 50,
        where that passes 1e-6, are refused.
        """
        new, old, temperature = _two_experts(target, pretrained, temperature)
        for name, z in (("target", new), ("pretrained", old)):
            remedy = f"must be at most {MOST_LOG_RATE:g}: the sum over counts has no digits at such rates"
            require(_NUMPY, name, z, z <= MOST_LOG_RATE, remedy)
        new, old = np.broadcast_arrays(new, old)
        shape, new, old = new.shape, new.ravel(), old.ravel()
        power, predictor = 1 + 1 / temperature, new + old / temperature
        largest = np.exp(predictor / power)
        spread = np.sqrt(largest / power)
        first = np.floor(np.maximum(largest - 12 * spread - 12, 0))
        stride = np.where(first > 0, np.maximum(np.floor(spread / 2), 1), 1)
        count = (largest + 12 * spread + 24 - first) // stride

        def log_term(y: Array, new: Array, old: Array) -> Array:
            """ln p̃(y) + ln p*(y)/τ, each −(deviance) and what does not depend on the rate (Loader 2000)."""
            log_y = np.log(np.maximum(y, 1))
            differ = _deviance(y, log_y, new) + _deviance(y, log_y, old) / temperature
            return power * _log_at_its_own_rate(y, log_y) - differ

        height = log_term(np.floor(largest), new, old)
        total, moment = np.zeros_like(new), np.zeros_like(new)
        left = np.arange(new.size)
        for k in range(int(count.max(initial=0.0)) + 1):
            left = left[count[left] >= k]
            y = first[left] + k * stride[left]
            term = np.exp(log_term(y, new[left], old[left]) - height[left])
            total[left] += term
            moment[left] += term * y
        log_weight = height + np.log(stride * total)
        return log_weight.reshape(shape)[()], (moment / total).reshape(shape)[()]

    def spacing(self, slope: float, steepest: float, temperature: float) -> float:
        """Distance of quadrature nodes along an axis on which predictors rise by ``slope``, in all by ``steepest``.

        At the rate λ two laws agree only as far as their predictors differ by less than about λ^(−½): there, at the
        radius r, the integrand is e^(−r²/2) times a bell of the precision 1 + slope²(1 + 1/τ)e^(steepest · r), on which
        the trapezoidal rule errs by exp(−2π²/(h² precision)).
        """
        radius = np.linspace(0, math.sqrt(2 * DIGITS), 400)[:-1]
        precision = 1 + slope**2 * (1 + 1 / temperature) * np.exp(steepest * radius)
        return float(np.sqrt(2 * math.pi**2 / ((DIGITS - radius**2 / 2) * precision)).min())


def _rate(predictor: Array) -> Array:
    """e^z, if it is a float."""
    remedy = f"must be at most {LARGEST_LOG:g}: its rate is no float beyond"
    return np.exp(require(_NUMPY, "predictor", predictor, predictor <= LARGEST_LOG, remedy))


def _deviance(count: Array, log_count: Array, predictor: Array) -> Array:
    """y ln(y/λ) − y + λ at λ = e^z, also where λ is large and y near it: a difference of numbers like λ otherwise."""
    rate = np.exp(predictor)
    away = count - rate
    near = abs(away) <= rate / 2
    u = away / np.where(near, rate, math.inf)
    with np.errstate(over="ignore"):  # of a predictor near −1e308, whose law has the count 0 alone
        return np.where(near, rate * ((1 + u) * np.log1p(u) - u), count * (log_count - predictor) - away)


def _log_at_its_own_rate(count: Array, log_count: Array) -> Array:
    """ln p(y) of Poisson's law of the rate y, y ln y − y − ln y!: by Stirling's series where y is large."""
    y = np.maximum(count, len(FEW))
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * y**2)) / y**2) / y**2) / y
    few = FEW[np.minimum(count, len(FEW) - 1).astype(int)]
    return np.where(count < len(FEW), few, -series - (math.log(2 * math.pi) + log_count) / 2)
