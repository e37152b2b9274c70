"""Training to convergence on n rows in d dimensions: the minimiser's mean, its fluctuation, and both errors."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array, binary_unit, bounded, namespace
from ..errors import reject
from ..problem import FineTuningProblem
from ..trees import leaves
from ..weights import WeightRule
from .equivalent import (
    EPS,
    Expected,
    Population,
    Response,
    bracketed_root,
    over,
    population,
    root_between,
    scaled,
)

__all__ = ["optimum"]


def optimum(
    problem: FineTuningProblem,
    ratio: float,
    ridge: float = 0.0,
    temperature: float | Array | WeightRule = math.inf,
) -> Expected:
    """Weighted least squares on n rows in d dimensions, n, d → ∞ with d/n → ratio: what to expect of it (T28).

    The minimiser of (1/n) Σ w(rᵢ)(yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − θ*‖², rᵢ = yᵢ − ⟨xᵢ,θ*⟩, as of
    :func:`linear_theory.solve`: with no ridge and more dimensions than rows, the one closest to θ*. Its mean is the
    population's with the weights w/(1 + gw) in place of w, where γ = ridge·g + E[gw/(1 + gw)] (Σ̃ = I): flatter, so
    that FLOW averages less. For ridge = 0 and γ < 1 the mean is θ* − κe for every Σ̃, and the covariance VΣ̃⁻¹/d with
    the V of Σ̃ = I; for γ > 1 positive weights do not matter at all.

    Parameters
    ----------
    problem : FineTuningProblem
        Gaussian rows and noise. Of a covariance as a matrix all d eigenvalues are counted in the traces, of an
        ``IdentityPlusLowRank`` its ``scale``, as in the limit; an ``Operator`` is refused.
    ratio : float
        γ = d/n > 0, also above 1 (1e-100 to 1e100).
    ridge : float
        ≥ 0, in the units of x². The loss is a mean over n.
    temperature : float or weight rule
        τ > 0 in the units of y², at least 1e-11 of the residual variance (the variance of the fit, which without a
        ridge diverges as 1/τ, has six digits there at γ = ½); or a rule with bounded weights: any object with
        ``log_weights``, not KL-DRO.

    Returns
    -------
    Expected
        The mean ``theta`` (d,), and numbers. NumPy only: it has no derivatives and cannot be traced by JAX. The error
        of n rows' mean is O(1/d); one fit fluctuates by O(1/√d), and the variance is heavy-tailed where both γ is
        near 1 and τ far below the median loss.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For bad arguments; temperatures below that, or so cold that no digit of the variance is left, as happens
        earlier near γ = 1; JAX tracers; and, without a ridge, as many dimensions as rows that have a weight, where the
        variance is infinite.

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.0, dim=1000, noise_variance=1.0)
    >>> tau = lt.population_median_temperature(problem)
    >>> print(f"{lt.displacement(problem, tau):.4f}")  # of the population
    0.3127
    >>> found = lt.high_dimension.optimum(problem, 0.5, temperature=tau)  # two rows for each dimension
    >>> print(f"{found.displacement:.4f}, variance {found.variance:.4f}")
    0.4662, variance 0.7771
    >>> found = lt.high_dimension.optimum(problem, 2.0, ridge=0.1, temperature=tau)  # half a row for each
    >>> print(f"{found.displacement:.4f}, variance {found.variance:.4f}")
    0.1382, variance 0.1885
    """
    found, response, fluctuation = _fitted(problem, ratio, ridge, temperature)
    return expected(found, found.mean(response)[0], *fluctuation)


def _fitted(
    problem: FineTuningProblem, ratio: float, ridge: float, temperature: float | Array | WeightRule
) -> tuple[Population, Response, Array]:
    """The checked problem, its response, and the fluctuation for B = I, Σ and Σ̃."""
    found = population(problem, ratio, temperature, ridge)
    space = namespace()
    penalty = float(
        bounded(space, "ridge", ridge, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0")
    )
    z, mass, response = _solved(found, penalty)
    with np.errstate(divide="ignore", over="ignore"):  # E[p(1 − p)] that is 0 in floats
        fluctuation = found.fluctuation(response, response, z, mass)[:, 0, 0]
    if not np.isfinite(fluctuation).all():
        remedy = f"is so cold that the variance, at {ratio} dimensions a row, has no digits; raise it or add a ridge"
        reject("temperature", temperature, remedy)
    return found, response, fluctuation


def mean_and_spread(
    problem: FineTuningProblem, ratio: float, ridge: float, temperature: float | Array | WeightRule
) -> tuple[Array, Array, Array]:
    """Of a matrix Σ̃ = VΛVᵀ: V, what the mean keeps of the shift along each vector, and the variance along each.

    The mean of the fit is θ̃* + V(kept ∘ Vᵀe) and its covariance V diag(spread) Vᵀ: both are functions of Σ̃, and of
    the shift only through its squared coordinates in V.
    """
    found, response, fluctuation = _fitted(problem, ratio, ridge, temperature)
    resolved = found.resolvent(response, found.values)[0]
    whole = found.direction(response)[2][0]
    strength = found.variance * response.second[0] / whole if found.variance > 0 else 0.0
    shape = found.values * resolved**2
    spread = scaled(fluctuation[0] * shape / shape.sum(), 2 * (found.units.shift,))
    return found.vectors, 1 - strength * found.values * resolved, spread


def expected(found: Population, h: Array, variance: Array, forgetting: Array, learning: Array) -> Expected:
    """The result of means h (…, m) and of what the fluctuation adds to ‖h‖² and to both errors."""
    problem, units = found.problem, found.units
    moved, square = found.embed(h), (units.shift, units.shift)
    unit = float(
        binary_unit(namespace(), found.shift)
    )  # of e beside the residual, for its square to have a float
    e = found.shift / unit
    along = (h / unit) @ (found.values * e)
    to_go = h + found.shift
    forgotten = over(problem.pretrain_operator, units.pretrain).quadratic(moved)
    result = Expected(
        theta=problem.pretrained + scaled(moved, (units.shift,)),
        displacement=0.0 - along / (e**2 @ found.values) if problem.shift_variance > 0 else 0.0 * along,
        variance=scaled(variance, square),
        pretrain_error=scaled(forgotten + forgetting, (units.pretrain, *square)),
        target_error=scaled((to_go**2 * found.values).sum(axis=-1) + learning, (units.target, *square)),
    )
    if not all(np.isfinite(part).all() for part in leaves(result)):
        remedy = "leads to parameters or squares beyond the largest float; give x or y in other units"
        reject("problem", problem, remedy)
    return result


def _solved(found: Population, ridge: float) -> tuple[Array, Array, Response]:
    """The solution of (1/n) tr Σ̃R = 1 at this ridge, with nodes for it."""
    if ridge > 0:
        log_ridge = math.log(ridge) - math.log(found.units.target)
        gain = found.log_gain(log_ridge)
        inner = math.exp(log_ridge + gain)
    else:
        gain, inner = _without_ridge(found)
    z, mass = found.nodes(gain)
    p, rest = (part[None] for part in found.leverage(gain, z))
    return z, mass, Response(p, rest, np.array([inner]), p @ mass, p @ (z**2 * mass))


def _without_ridge(found: Population) -> tuple[float, float]:
    """log g and Λ = lim λg."""
    z, mass = found.nodes(math.inf)
    weighted = float(mass @ (found.log_weights(z) > -math.inf))
    needed = found.ratio * found.positive_share
    if abs(needed - weighted) <= 64 * EPS * weighted:
        remedy = "has as many dimensions as rows with a weight: there the variance is infinite; add a ridge"
        reject("ratio", found.ratio, remedy)
    if needed < weighted:
        return bracketed_root(lambda u: needed - float(found.mean_leverage(u))), 0.0
    # Fewer rows than dimensions: all that have a weight are fitted, p = 1, and only Λ is left to find.
    excess = lambda inner: float(found.fit(np.asarray(inner), np.asarray(weighted))) - 1
    most = found.ratio * float(found.shares @ found.bulk)
    return math.inf, root_between(excess, 0.0, most * (1 + 1e-9))
