"""A minimiser of weighted least squares, how it was found, and how exactly it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import Any

import jax
import numpy as np

from ..arrays import Array, Namespace, namespace
from ..trees import is_concrete, pytree

__all__ = ["Method", "Solution", "from_start", "is_far", "seen_from_end", "unrefined_error"]

EPS = float(np.finfo(float).eps)

ROUNDINGS = 32.0
"""The rounding error, in units of ε, that ``error_bound`` allows for."""

TINY_COLUMN_RATIO = 1e-12
"""A column so small beside the largest may be what rounding has left of one."""


MAX_CONTRACTION = 1e-3
"""Refinement is relied on while ``unrefined_error``, about what a step leaves of the error, is below this."""

FAR_START_RATIO = 8.0
"""How many times as long as θ the start is, in units of the columns, where its rounding costs a digit."""

MAX_RETURNS = 8
"""Solutions from the end at most: with a condition number of 1e13 each of them still gains two digits."""


class Method(IntEnum):
    """How a minimiser was found: a number that JAX can carry, and its ``words``."""

    words: str

    NO_WEIGHT = 0, "nothing to fit: no row has any weight"
    CHOLESKY = 1, "Cholesky on the normal equations"
    REFINED = 2, "Cholesky on the normal equations, refined over the rows"
    INNER_PRODUCTS = 3, "Cholesky on the rows' inner products"
    REFINED_INNER_PRODUCTS = 4, "Cholesky on the rows' inner products, refined"
    QR = 5, "row-sorted QR with column pivoting"
    CLOSEST_BY_QR = 6, "row-sorted QR with column pivoting, closest of the minimisers"
    SVD = 7, "equilibrated SVD"
    SPECTRAL = 8, "eigenvectors of the equilibrated normal equations"

    def __new__(cls, code: int, words: str) -> Method:
        member = int.__new__(cls, code)
        member._value_, member.words = code, words
        return member


@pytree
class Solution:
    """A minimiser and how it was found.

    ``theta`` (d,) or (d, m). ``rank`` of the weighted X (of X and ridge together if ridge > 0: d).
    ``condition``: an estimate of κ₂ of the column-equilibrated √w·X over its range (of its rows, where X is
    wide); from sums alone, of the whole: infinite where they cannot show a direction. ``residual``
    Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)², () or (m,). ``refinements``: how many passes over the rows the answer was corrected
    with. ``columns`` (d,): √Σ wᵢxᵢⱼ², the units in which errors are even. ``method``: what was done, in words.

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
    method_code: Array
    refinements: Array
    columns: Array
    start: Array

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
        if not is_concrete(self.method_code):
            return "not known while traced"
        return Method(int(self.method_code.max())).words

    @property
    def error_bound(self) -> Array:
        """About how far rounding may have moved each entry of ``theta``, in its own units: (d,) or (d, m).

        Wedin's bound in equilibrated coordinates, cⱼθⱼ with c the ``columns``, read coordinate by coordinate:

            abs(θⱼ − θⱼ exact) ≤ 32 ε (κ‖√w·r‖(1 + κ) + κ(‖c∘δ‖ + Σ c·abs(start)))/cⱼ + ε·abs(θⱼ),    r = y − Xθ:

        of first order, for X, y and weights with errors of a few ε of their own. A direction the rows do not
        determine has no part in it; infinite where κ is. In a column that is small beside the others it is
        large: that is how well such an entry can be known at all.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.array([[1.0, 1e-9], [1.0, 2e-9], [1.0, 3e-9]])
        >>> solution = lt.solve(X, np.array([1.0, 2.0, 4.0]), np.zeros(2))
        >>> bool((abs(solution.theta - [-2 / 3, 1.5e9]) <= solution.error_bound).all())
        True
        """
        space = namespace(self.theta)
        xp, columns = space.xp, self.columns
        size = lambda values: xp.sqrt((((values.T * columns).T) ** 2).sum(axis=0))
        misfit = xp.sqrt(xp.maximum(self.residual, 0.0))
        with np.errstate(invalid="ignore"):
            terms = misfit * (1 + self.condition) + size(self.theta - self.start)
            equilibrated = self.condition * (terms + (xp.abs(self.start).T * columns).T.sum(axis=0))
        weighted = columns > 0
        # Where the condition is infinite and what it multiplies is 0, nothing is known either.
        equilibrated = xp.where(xp.isinf(self.condition), xp.inf, equilibrated)
        bound = (xp.ones_like(self.theta) * equilibrated).T / xp.where(weighted, columns, 1.0)
        return ROUNDINGS * space.eps * xp.where(weighted, bound, 0.0).T + space.eps * xp.abs(self.theta)

    @property
    def advice(self) -> str:
        """What to look at before the answer is used, in words.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> left, x = 0.1 - np.nextafter(0.1, 1.0), np.arange(10.0)  # of 0.1 less a mean in its last digit off
        >>> centred = np.column_stack([np.full(10, left), x - 4.5])
        >>> solution = lt.solve(centred, x, np.zeros(2))
        >>> print(solution.advice.split(":")[0], "|", solution.rank)
        column 0 is 5e-18 times as large as the largest | 2
        >>> solution = lt.solve(centred, x, np.zeros(2), column_scale=[0.1, 9.0])
        >>> print(solution.advice, "|", solution.rank, solution.theta.round(4))
        nothing to do | 1 [0. 1.]
        """
        if not is_concrete(self.columns, self.condition):
            return "not known while traced"
        columns, advice = np.asarray(self.columns, dtype=float), []
        small = np.flatnonzero((columns > 0) & (columns < TINY_COLUMN_RATIO * columns.max(initial=0.0)))
        if small.size:
            advice.append(
                f"column {small[0]} is {columns[small[0]] / columns.max():.0e} times as large as the largest: if "
                "that is what centring or a difference has left of a constant, pass column_scale="
            )
        if np.isinf(float(np.max(self.condition))):
            advice.append("the sums cannot show every direction: use solve() on the rows, or streaming.solve")
        return "; ".join(advice) or "nothing to do"


def from_start(
    space: Namespace, start: Array, displacement: Solution, correction: Array | float = 0.0
) -> Solution:
    """The solution of which ``displacement`` holds δ for θ: θ = (start + δ) + correction."""
    integer = lambda value: space.xp.asarray(value)
    return replace(
        displacement,
        theta=(start + displacement.theta) + correction,
        rank=integer(displacement.rank),
        condition=space.array(displacement.condition),
        residual=space.array(displacement.residual),
        method_code=integer(displacement.method_code),
        refinements=integer(displacement.refinements),
        start=start,
    )


def seen_from_end(
    space: Namespace, start: Array, displacement: Array, columns: Array, solve: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """δ and a correction, solved for anew from where δ ended for as long as that is far: θ = (start + δ) + correction.

    Seen from the end, ``solve(end)``, the residual is not the small difference of two large ones. Where the start is
    farther than floats have digits, corrections go into δ until start + δ is as near as floats can be.
    """

    def far(state: tuple[Array, ...]) -> Array:
        end, delta, correction, count = state
        return is_far(space, end, (start + delta) + correction, columns) & (count < MAX_RETURNS)

    def again(state: tuple[Array, ...]) -> tuple[Array, ...]:
        _, delta, correction, count = state
        delta = delta + correction
        end = start + delta
        return end, delta, solve(end), count + 1

    state = start, displacement, space.xp.zeros_like(displacement), space.xp.asarray(0)
    if is_concrete(start, displacement, columns):
        while far(state):
            state = again(state)
    else:
        state = jax.lax.while_loop(far, again, state)
    return state[1], state[2]


def is_far(space: Namespace, start: Array, end: Array, columns: Array) -> Array:
    """Whether the start of some output is so much longer than its θ, in units of the columns, that digits were lost."""
    length = lambda theta: space.xp.max(space.xp.abs((theta.T * columns).T), axis=0, initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # A column that is no float says nothing.
        return (length(start) > FAR_START_RATIO * length(end)).any()


def unrefined_error(condition: Any, dim: int, eps: float = EPS) -> Any:
    """About d·κ²·ε: what Cholesky on normal equations loses, and what a step of refinement leaves of an error."""
    return dim * condition**2 * eps
