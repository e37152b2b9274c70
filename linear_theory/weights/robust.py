"""Rules of robust statistics, and two that prefer hard samples: w = G(r/cutoff), the cutoff in the units of y (T22).

The residual r is that of the pre-trained model, and its square the loss. At infinity a cutoff or temperature is
unweighted, or refused where the rule would leave no weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..arrays import Array, Namespace, bounded, namespace
from ..trees import pytree
from .precision import through_single
from .rules import nonnegative, of_losses, over, parameter

__all__ = ["Cauchy", "Clipped", "Focal", "HardSamples", "Huber", "Power", "Tukey"]


Limit = tuple[Callable[[Array], Array], str]
"""What a parameter may be, and what to do about one that is not."""
ANY: Limit = (lambda v: v > 0), "must be > 0"
FINITE: Limit = (lambda v: (v > 0) & (v < math.inf)), "must be finite and > 0"
EMPTY: Limit = FINITE[0], f"{FINITE[1]}; at infinity no weight is left"
SHARE: Limit = (lambda v: (v > 0) & (v <= 1)), "must be above 0 and at most 1"
MODERATE: Limit = (lambda v: (v > 0) & (v <= 100)), "must be above 0 and at most 100"


def _check(rule: object, **limits: Limit) -> None:
    """Refuse a field beyond its limit; all fields are then of one engine and precision."""
    values = tuple(getattr(rule, name) for name in limits)
    for place, (name, limit) in enumerate(limits.items()):
        object.__setattr__(rule, name, _checked(name, values, place, *limit))


@through_single
def _checked(name: str, values: tuple[object, ...], place: int, *limit: Any) -> Array:
    return bounded(namespace(*values), name, values[place], *limit)


def _squares(losses: Array, cutoff: Array | float, *others: Array | float) -> tuple[Namespace, Array, Array]:
    """The engine, q = r²/cutoff² and log q where q > 1 (0 elsewhere), which is a float also where q is none."""
    space, losses = nonnegative(losses, cutoff, *others)
    xp, cutoff = space.xp, parameter(space, "cutoff", cutoff)
    square = over(space, over(space, losses, cutoff), cutoff)
    beyond = square > 1
    endless = xp.where(beyond, cutoff, 1.0)
    return space, square, xp.log(xp.where(beyond, losses, 1.0)) - 2 * xp.log(endless)


@pytree
class Cauchy:
    """w = 1/(1 + r²/cutoff²): the weight of Cauchy's (Lorentz's) loss.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.Cauchy(2.0).log_weights([0.0, 4.0])))  # |residual| is √loss
    [1.  0.5]
    """

    cutoff: Array | float

    def __post_init__(self) -> None:
        _check(self, cutoff=ANY)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        return _log_power(losses, self.cutoff, 1.0)


@pytree
class Power:
    """w = (1 + r²/cutoff²)^(−exponent): tails ``|r|^(−2 exponent)``, the exponent finite and > 0; :class:`Cauchy` is 1.

    Its population moments need a cutoff of at least 10⁻¹⁰⁰ residual standard deviations (in float32, 10⁻¹⁵), as do
    those of Cauchy and Huber.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.Power(2.0, 2.0).log_weights([0.0, 4.0])))
    [1.   0.25]
    """

    cutoff: Array | float
    exponent: Array | float

    def __post_init__(self) -> None:
        _check(self, cutoff=ANY, exponent=FINITE)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        return _log_power(losses, self.cutoff, self.exponent)


def _log_power(losses: Array, cutoff: Array | float, exponent: Array | float) -> Array:
    space, square, logarithm = _squares(losses, cutoff, exponent)
    xp, beyond = space.xp, square > 1
    # log(1 + q) = log q + log(1 + 1/q), in which q may be infinite.
    rest = xp.log1p(xp.where(beyond, 1 / xp.where(beyond, square, 1.0), square))
    return (0.0 - parameter(space, "exponent", exponent) * (logarithm + rest))[()]


@pytree
class Huber:
    """w = ``min(1, cutoff/|r|)``: the weight of Huber's loss.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.Huber(2.0).log_weights([1.0, 16.0])).round(12))
    [1.  0.5]
    """

    cutoff: Array | float

    def __post_init__(self) -> None:
        _check(self, cutoff=ANY)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        space, square, logarithm = _squares(losses, self.cutoff)
        return space.xp.where(space.xp.isnan(square), math.nan, 0.0 - logarithm / 2)[()]


@pytree
class Tukey:
    """w = (1 − r²/cutoff²)² within the cutoff, 0 beyond: Tukey's biweight.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.Tukey(2.0).log_weights([0.0, 2.0, 4.0])))
    [1.   0.25 0.  ]
    """

    cutoff: Array | float

    def __post_init__(self) -> None:
        _check(self, cutoff=ANY)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        space, square, _ = _squares(losses, self.cutoff)
        xp, within = space.xp, square < 1
        logarithms = xp.where(within, 2 * xp.log1p(-xp.where(within, square, 0.0)), -math.inf)
        return (xp.where(xp.isnan(square), math.nan, logarithms) + 0.0)[()]


@pytree
class Clipped:
    """FLOW with a floor, w = max(floor, exp(−loss/temperature)), the floor above 0 and at most 1.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.Clipped(1.0, 0.25).log_weights([0.0, 1.0, 100.0])).round(4))
    [1.     0.3679 0.25  ]
    """

    temperature: Array | float
    floor: Array | float

    def __post_init__(self) -> None:
        _check(self, temperature=ANY, floor=SHARE)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        space, losses = nonnegative(losses, self.temperature, self.floor)
        exponents = over(space, losses, parameter(space, "temperature", self.temperature))
        lowest = space.xp.log(parameter(space, "floor", self.floor))
        return (0.0 - space.xp.minimum(exponents, 0.0 - lowest))[()]


@pytree
class Focal:
    """w = (1 − exp(−loss/temperature))^exponent: hard samples up, a focal loss with exp(−loss/τ) for probability.

    The temperature is finite, the exponent above 0 and at most 100. A loss of 0 has the weight 0.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.Focal(1.0, 2.0).log_weights([0.0, 1.0, 100.0])).round(4))
    [0.     0.3996 1.    ]
    """

    temperature: Array | float
    exponent: Array | float

    def __post_init__(self) -> None:
        _check(self, temperature=EMPTY, exponent=MODERATE)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        space, losses = nonnegative(losses, self.temperature, self.exponent)
        xp, exponent = space.xp, parameter(space, "exponent", self.exponent)
        scaled = over(space, losses, parameter(space, "temperature", self.temperature))
        some = scaled != 0
        logarithms = exponent * xp.log(-xp.expm1(-xp.where(some, scaled, 1.0)))
        return (xp.where(some, logarithms, -math.inf) + 0.0)[()]


@pytree
class HardSamples:
    """w = 1 where the residual is at least the cutoff (loss ≥ cutoff²), else 0: the rest of :class:`HardThreshold`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(np.exp(lt.weights.HardSamples(2.0).log_weights([1.0, 3.9, 4.0])))
    [0. 0. 1.]
    """

    cutoff: Array | float

    def __post_init__(self) -> None:
        _check(self, cutoff=EMPTY)

    @of_losses
    def log_weights(self, losses: Array) -> Array:
        space, losses = nonnegative(losses, self.cutoff)
        xp, cutoff = space.xp, parameter(space, "cutoff", self.cutoff)
        logarithms = xp.where(xp.sqrt(losses) >= cutoff, space.array(0.0), -math.inf)
        return xp.where(xp.isnan(losses) | xp.isnan(cutoff), math.nan, logarithms)[()]
