"""Weighted least squares from a start, solved: the minimiser closest to where training began.

L(θ) = (1/n) Σ wᵢ (yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖²: a mean over n, not over Σw, as in the paper.
Everything is solved for the displacement δ = θ − start.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from ..arrays import Array, Namespace, bounded, is_concrete, meshed, pytree
from . import dense, traced
from .equations import NormalEquations
from .fit import METHODS, Fit
from .rows import checked_sample

__all__ = ["Solution", "solve"]


@pytree
class Solution:
    """A minimiser and how it was found.

    ``theta`` (d,) or (d, m). ``rank`` of the weighted X (of X and ridge together if ridge > 0: d).
    ``condition``: an estimate of κ₂ of the column-equilibrated √w·X over its range (of its rows, where X is
    wide). ``residual`` Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)², () or (m,). ``refinements``: how many passes over the rows the
    answer was corrected with. ``method``: what was done, in words.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> solution = lt.solve([[1.0, 0.0], [1.0, 0.0]], [1.0, 3.0], start=[0.0, 7.0])
    >>> print(solution.theta.round(4), solution.rank, f"{solution.residual:.4f}")  # column 1 says nothing
    [2. 7.] 1 2.0000
    """

    theta: Array
    rank: Array
    condition: Array
    residual: Array
    way: Array
    refinements: Array

    @property
    def method(self) -> str:
        """What was done, in words.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.solve(np.eye(2), np.ones(2), np.zeros(2)).method
        'Cholesky on the normal equations'
        """
        if not is_concrete(self.way):
            return "not known while traced"
        return METHODS[int(self.way.max())]


def _solution(space: Namespace, start: Array, fit: Fit) -> Solution:
    whole = lambda value: space.xp.asarray(value)
    return Solution(
        start + fit.displacement,
        whole(fit.rank),
        space.array(fit.condition),
        fit.residual,
        whole(fit.way),
        whole(fit.refinements),
    )


@meshed
def solve(
    X: Array, y: Array, start: Array, weights: Array | None = None, ridge: float | Array = 0.0
) -> Solution:
    """The minimiser of (1/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖² that is closest to ``start``.

    That is the limit of gradient descent from ``start``, for every shape and rank: where X is wide,
    rank-deficient or weights are 0, the components the rows do not determine stay at the start.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) or (n, m) array
        (n, m) are m problems with the same rows and weights.
    start : (d,) array, or (d, m) beside (n, m) labels
    weights : (n,) array, optional
        ≥ 0; ``None`` is all ones. With ``ridge = 0``: weight 0 = row removed, weight 2 = row twice, all
        weights × c = the same θ.
    ridge : float
        ≥ 0, on the scale of the *mean* loss; scikit-learn's ``alpha`` is n·ridge, SciPy's ``damp²`` too.

    Returns
    -------
    Solution

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For wrong shapes, empty data, NaN or infinity, negative weights or ridge.

    Notes
    -----
    The way is chosen by what is measured. Normal equations in cache-sized blocks (of the rows' inner
    products, where X is wide) and Cholesky, where the equilibrated condition number κ is small; corrected by
    passes over the rows, r = y − Xθ and δ ← δ + G⁻¹XᵀWr, while d·κ²·ε leaves these a contraction; beyond
    that, and where the rank is deficient, Householder QR with rows sorted and columns pivoted, stable row by
    row. The rank is that of X's rows with positive weight, rows and columns equilibrated: a tiny weight is a
    weight. "Closest" is in the coordinates given. In float64 the relative error is a small multiple of
    κε(1 + κ‖r‖/(‖X‖‖δ‖)).

    In JAX the rank is that of √w·X, the QR is an SVD, and the derivative is the implicit function theorem's,
    of any order, never through the factorisation: exact wherever the rank does not change.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y, start = np.array([[1.0], [1.0], [1.0]]), np.array([1.0, 2.0, 9.0]), np.zeros(1)
    >>> print(lt.solve(X, y, start).theta.round(4))
    [4.]
    >>> print(lt.solve(X, y, start, weights=[1.0, 1.0, 0.0]).theta.round(4))  # weight 0 = row removed
    [1.5]
    >>> print(lt.solve([[1.0, 1.0]], [3.0], [3.0, 2.0]).theta.round(4))  # the closest of all that fit
    [2. 1.]
    """
    space, sample = checked_sample(X, y, start, weights, ridge)
    accept = lambda v: (v >= 0) & (v < math.inf)
    ridge = bounded(space, "ridge", ridge, accept, "must be finite and ≥ 0")
    engine = traced if space.xp is jnp else dense
    return _solution(space, sample.start, engine.fit(space, sample, ridge))


def from_equations(space: Namespace, equations: NormalEquations, ridge: Array) -> Solution:
    """The same from the sums alone."""
    return _solution(space, equations.start, traced.fit_equations(space, equations, ridge))
