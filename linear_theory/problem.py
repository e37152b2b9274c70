"""The fine-tuning problem of the paper's section 7, and its special case, eq. (3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .arrays import (
    ANY_NDIM,
    Array,
    Namespace,
    binary_unit,
    bounded,
    finite,
    namespace,
    numeric,
    require,
    shaped,
    whole_or_nan,
)
from .covariance import Covariance, IdentityPlusLowRank, Operator, as_covariance, checked_covariance
from .covariance.operator import checked_dim
from .errors import InvalidTypeError, reject, short
from .reading import same_labels
from .trees import is_concrete, pytree

__all__ = ["FineTuningProblem", "paper_problem"]

LARGEST_MATRIX = 100
"""Dimensions up to which the paper's covariance is handed out as a matrix."""


@pytree
class FineTuningProblem:
    """Linear regression fine-tuned from a pre-trained solution (section 7).

    Fine-tuning data: y = ⟨θ̃*, x⟩ + ξ with x ~ N(0, Σ̃) and ξ ~ N(0, σ²); training starts at θ*.
    Squared error carries no ½ anywhere in this package.

    Parameters
    ----------
    pretrained : (d,) array
        θ*, the pre-trained solution and the start of fine-tuning.
    target : (d,) array
        θ̃*, the optimum of the fine-tuning task.
    target_covariance : (d, d) array or structured covariance
        Σ̃, symmetric positive semi-definite; in its null space every method stays at θ*. For large d, where a
        matrix has no room: ``covariance.IdentityPlusLowRank`` (time and memory O(d)) or
        ``covariance.Operator`` (a function v → Σ̃v, a SciPy ``LinearOperator`` or a sparse matrix).
    pretrain_covariance : the same, optional
        Σ of the pre-training task, symmetric positive semi-definite; ``None`` is the identity.
    noise_variance : float
        σ² ≥ 0, in the units of y².

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For wrong shapes, NaN or infinity, a covariance that is not symmetric or not positive
        semi-definite, a negative noise variance; for covariances, a shift variance eᵀΣ̃e or a residual variance
        that are neither 0 nor of a size whose multiples are floats (4e-301 to 1e301; 2e-31 to 2e31 in float32): x or
        y need another unit. Under JAX tracing a bad value gives NaN instead.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.FineTuningProblem([1.0, 0.0], [0.0, 2.0], np.diag([1.0, 3.0]), noise_variance=0.5)
    >>> problem.dim, problem.shift.tolist()
    (2, [1.0, -2.0])
    >>> float(problem.shift_variance), float(problem.residual_variance)  # eᵀΣ̃e, and with the noise
    (13.0, 13.5)
    """

    pretrained: Array
    target: Array
    target_covariance: Any  # a matrix, or a Covariance
    pretrain_covariance: Array | Covariance | None = None
    noise_variance: Array | float = 0.0

    def __post_init__(self) -> None:
        space = namespace(*(getattr(self, name) for name in self.__dataclass_fields__))  # pyright: ignore
        axes = {"target_covariance": (0, 1), "pretrain_covariance": (0, 1)}
        names = ("pretrained", "target", *axes)
        same_labels("parameters", **{name: (getattr(self, name), *axes.get(name, (0,))) for name in names})
        pretrained = finite(space, "pretrained", self.pretrained, ndim=1)
        dim = pretrained.shape[0]
        if dim == 0:
            reject("pretrained", self.pretrained, "is empty; a problem needs at least one parameter")
        target = finite(space, "target", self.target, ndim=1)
        checked = {
            "pretrained": pretrained,
            "target": shaped("target", target, (dim,), "as long as pretrained"),
            "target_covariance": checked_covariance(space, "target_covariance", self.target_covariance, dim),
            "noise_variance": bounded(
                space,
                "noise_variance",
                self.noise_variance,
                lambda v: (v >= 0) & (v < math.inf),
                "must be ≥ 0",
            ),
        }
        if self.pretrain_covariance is not None:
            checked["pretrain_covariance"] = checked_covariance(
                space, "pretrain_covariance", self.pretrain_covariance, dim
            )
        for name, value in whole_or_nan(space, checked).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "pretrained", self._in_range(space))

    def _in_range(self, space: Namespace) -> Array:
        """θ*, if Σ̃, Σ, v and s² are 0 or of sizes that can be reckoned with; NaN under tracing if not."""
        pretrained, (smallest, largest) = self.pretrained, space.range
        wanted = f"must be 0 or between {smallest:.1e} and {largest:.1e}, or digits are lost; rescale"

        def accept(name: str, given: object, size: Array, zero: Array | bool, remedy: str) -> Array:
            return require(
                space, name, pretrained, zero | ((size >= smallest) & (size <= largest)), remedy, given
            )

        with np.errstate(over="ignore", invalid="ignore"):
            for name in ("target_covariance", "pretrain_covariance"):
                given = getattr(self, name)
                if given is not None and not isinstance(given, Operator):
                    size = as_covariance(given).ceiling
                    remedy = f"has entries of size {short(size)}, which {wanted} x"
                    pretrained = accept(name, given, size, size == 0, remedy)
            _, unit, spread = shift_in_units(space, self)
            v, noise = spread * unit * unit, self.noise_variance
            remedy = f"is so far from target, or so near it, that eᵀΣ̃e = {short(v)}, which {wanted} y"
            pretrained = accept("pretrained", self.pretrained, v, spread == 0, remedy)
            remedy = f"gives s² = eᵀΣ̃e + noise_variance = {short(v + noise)}, which {wanted} y"
            pretrained = accept("noise_variance", noise, v + noise, (spread == 0) & (noise == 0), remedy)
        return pretrained

    @property
    def dim(self) -> int:
        """d, the number of parameters."""
        return self.pretrained.shape[-1]

    @property
    def shift(self) -> Array:
        """e = θ* − θ̃*, shape (d,), from the new optimum to the pre-trained solution."""
        return self.pretrained - self.target

    @property
    def target_operator(self) -> Covariance:
        """Σ̃ as a covariance object."""
        return as_covariance(self.target_covariance)

    @property
    def pretrain_operator(self) -> Covariance:
        """Σ as a covariance object."""
        if self.pretrain_covariance is not None:
            return as_covariance(self.pretrain_covariance)
        return identity(namespace(self), self.dim)

    @property
    def shift_variance(self) -> Array:
        """v = eᵀΣ̃e, which is also the target error of θ*; 0 where e is in the null space of Σ̃ to rounding."""
        _, unit, spread = shift_in_units(namespace(self), self)
        return spread * unit * unit

    @property
    def residual_variance(self) -> Array:
        """s² = eᵀΣ̃e + σ², the variance of the residual r = y − ⟨θ*, x⟩ of the pre-trained model."""
        return self.shift_variance + self.noise_variance


def shift_in_units(space: Namespace, problem: FineTuningProblem) -> tuple[Array, Array, Array]:
    """e/unit, the unit, a power of two near the largest entry of e, and v/unit²: only v itself can leave the floats."""
    shift = problem.shift
    unit = binary_unit(space, shift)
    shift = shift / unit
    return shift, unit, quadratic_above_rounding(space, problem.target_operator, shift)


def quadratic_above_rounding(space: Namespace, covariance: Covariance, e: Array) -> Array:
    """eᵀAe, and 0 where that is not more than the rounding of its terms: there e is in the null space of A.

    Entries are off by ε each, and a sum of d terms by √d·ε, as its roundings are a random walk (Higham and Mary 2019).
    The bound for the worst order of adding, d·ε, is in float32 all of the form where d is a million.
    """
    form = covariance.quadratic(e)
    factor = 4 * (1 + math.sqrt(covariance.dim)) * space.eps
    if space.xp is np and isinstance(covariance, IdentityPlusLowRank):
        # Beyond twice a bound that costs no pass over the low rank, the terms need not be looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            if form > 2 * factor * (e @ e) * covariance.absolute_ceiling:
                return form
    rounding = factor * _absolute_form(covariance, abs(e))
    constant = space.constant(form)
    return form - space.xp.where(constant < rounding, constant, 0.0)  # the derivatives stay


def _absolute_form(covariance: Covariance, sizes: Array) -> Array:
    """|e|ᵀ|A||e|, of whose size are the terms that are added up to eᵀAe; of an operator they are not known (0)."""
    if isinstance(covariance, Operator):
        return np.zeros(())
    if isinstance(covariance, IdentityPlusLowRank):
        inside = sizes @ abs(covariance.factor)
        return abs(covariance.scale) * (sizes @ sizes) + inside @ abs(covariance.core) @ inside
    return sizes @ abs(covariance.dense()) @ sizes


def identity(space: Namespace, dim: int) -> IdentityPlusLowRank:
    """I, in no memory."""
    zeros = lambda *shape: space.xp.zeros(shape, dtype=space.dtype)
    return IdentityPlusLowRank(zeros(dim, 0), zeros(0, 0), space.array(1.0))


def checked_problem(space: Namespace, problem: object) -> FineTuningProblem:
    """``problem`` with every array in this engine and precision; anything but a problem is refused."""
    if not isinstance(problem, FineTuningProblem):
        raise InvalidTypeError(
            "problem", problem, "must be a FineTuningProblem; paper_problem(rho) makes one"
        )
    return space.tree(problem)


def checked_rho(rho: object, *others: object) -> Array:
    """ρ in [0, 1), in the engine of all the arguments."""
    space = namespace(rho, *others)
    array = numeric(space, "rho", rho, ndim=ANY_NDIM)
    return require(space, "rho", array, (array >= 0) & (array < 1), "must be in [0, 1)")


def paper_problem(
    rho: float | Array,
    shift_norm: float | Array = 1.0,
    dim: int = 2,
    pretrain_covariance: Array | None = None,
    noise_variance: float | Array = 0.0,
) -> FineTuningProblem:
    """The paper's problem, eq. (3): Σ̃ = I + ρ(ē ē⊥ᵀ + ē⊥ ēᵀ), target 0, ē = axis 0, ē⊥ = axis 1.

    Parameters
    ----------
    rho : float in [0, 1)
        Correlation between the shift's direction and ē⊥; must be 0 in one dimension, which has no ē⊥.
    shift_norm : float
        ‖e‖ ≥ 0.
    dim : int
        d ≥ 1. Up to 100 the covariance is a (d, d) array, beyond it ``covariance.IdentityPlusLowRank``, with which
        a million dimensions cost a few vectors.
    pretrain_covariance, noise_variance
        As in :class:`FineTuningProblem`.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For values outside these ranges.

    Examples
    --------
    >>> import linear_theory as lt
    >>> lt.paper_problem(0.5, shift_norm=2.0).target_covariance.tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    >>> large = lt.paper_problem(0.5, dim=10**6)
    >>> large.dim, type(large.target_covariance).__name__
    (1000000, 'IdentityPlusLowRank')
    """
    space = namespace(rho, shift_norm, pretrain_covariance, noise_variance)
    xp = space.xp
    space.refuse_half("pretrain_covariance", pretrain_covariance)
    space.refuse_half("noise_variance", noise_variance)
    rho = shaped("rho", checked_rho(rho, shift_norm, pretrain_covariance, noise_variance), (), "one number")
    shift_norm = bounded(space, "shift_norm", shift_norm, lambda v: (v >= 0) & (v < math.inf), "must be ≥ 0")
    dim = checked_dim(dim)
    if dim == 1 and (not is_concrete(rho) or float(rho) != 0):
        reject("rho", rho, "must be the number 0 in one dimension, where there is no second direction")
    origin = xp.zeros(dim, dtype=space.dtype)
    pretrained = xp.where(xp.arange(dim) == 0, shift_norm, origin)
    plane = xp.eye(dim, min(dim, 2), dtype=space.dtype)
    core = rho * xp.eye(plane.shape[1], dtype=space.dtype)[::-1]
    covariance = IdentityPlusLowRank(plane, core, space.array(1.0))
    matrix = covariance if dim > LARGEST_MATRIX else covariance.dense()
    return FineTuningProblem(pretrained, origin, matrix, pretrain_covariance, noise_variance)
