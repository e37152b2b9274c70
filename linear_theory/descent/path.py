"""What ``descend`` returns: the recorded iterates, how far each is from the limit, and what that means."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array, namespace
from ..trees import is_concrete, pytree

__all__ = ["Path"]


@pytree
class Path:
    """The recorded iterates of a solver: ``theta`` (k, d), their ``loss`` = L(θ) (k,) and ``steps`` (k,).

    ``distance`` (k,) to the computed limit θ_∞ (of the minimisers, the one closest to the start), and
    ``roundings`` (k,), by how many ε rounding may have falsified it; ``distance_bound`` is their sum.
    ``gradient_norm`` ‖∇L‖ at the end. ``start`` (d,), ``start_loss`` and ``tolerance`` are what it began with;
    ``certified`` is 0 where the distance is only an estimate.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> path = lt.descend(np.diag([1.0, 2.0]), np.ones(2), np.zeros(2), steps=2)
    >>> print(path.theta.round(4).tolist(), path.loss.round(3), path.steps)
    [[0.0, 0.0], [0.25, 0.5], [0.4375, 0.5]] [1.    0.281 0.158] [0 1 2]
    """

    theta: Array
    loss: Array
    steps: Array
    distance: Array
    roundings: Array
    gradient_norm: Array
    start: Array
    start_loss: Array
    tolerance: Array
    certified: Array

    @property
    def distance_bound(self) -> Array:
        """A bound on ‖θ − θ_∞‖ for each recorded θ, (k,), in exact arithmetic on the given data.

        Infinite where none is known. Only an estimate where ``certified`` is 0.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> path = lt.descend(np.diag([1.0, 2.0]), np.ones(2), np.zeros(2), steps=10)
        >>> bool(np.linalg.norm(path.theta[-1] - [1.0, 0.5]) <= path.distance_bound[-1])
        True
        """
        space = namespace(self.loss)
        bound = self.distance + space.eps * self.roundings
        return space.xp.where(space.xp.isnan(bound), math.inf, bound)

    @property
    def status(self) -> str:
        """How it ended, in words.

        ``"converged"``: the tolerance is met for certain; ``"converged (estimated)"``: by an estimate.
        ``"stationary"``: the distance left is of the size of rounding. ``"descending"``: more steps get nearer.
        ``"unresolved"``: rounding hides a direction, so that the limit is not known. ``"diverged"``: the loss is not
        finite, or ended above twice that of the start.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.descend(np.diag([1.0, 2.0]), np.ones(2), np.zeros(2), steps=10).status
        'descending'
        """
        if not is_concrete(self.loss, self.distance):
            return "not known while traced"
        if not np.isfinite(np.asarray(self.loss)).all() or self.loss[-1] > 2 * self.start_loss:
            return "diverged"
        estimated = "" if int(self.certified) else " (estimated)"
        if bool(near_enough(self.theta[-1] - self.start, self.distance_bound[-1], self.tolerance)):
            return "converged" + estimated
        if np.isinf(self.roundings[-1]):
            return "unresolved"
        rounding = namespace(self.loss).eps * self.roundings[-1]
        return "stationary" + estimated if self.distance[-1] <= rounding else "descending"

    @property
    def advice(self) -> str:
        """What to do about the status.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.descend(np.eye(2), np.ones(2), np.zeros(2), solver=lt.descent.GradientDescent(3.0)).advice
        'the step is too large; leave learning_rate and momentum out, or lower them'
        """
        return {
            "diverged": "the step is too large; leave learning_rate and momentum out, or lower them",
            "descending": "not at the minimum yet; more steps (of StochasticGradient, which hovers: smaller "
            "ones), or solve() for the limit",
            "stationary": "the gradient is zero to rounding; no tolerance below distance_bound can be met",
            "converged": "the tolerance is met; nothing to do",
            "unresolved": "some directions are too flat beside the steepest for float arithmetic; rescale the "
            "columns, or use solve()",
            "not known while traced": "return the path from jit and look again",
        }[self.status.removesuffix(" (estimated)")] + (
            "; the distance is an estimate" if self.status.endswith("(estimated)") else ""
        )


def near_enough(displacement: Array, bound: Array, tolerance: Array) -> Array:
    """Whether ‖δ − δ_∞‖ ≤ bound makes ‖δ − δ_∞‖ ≤ tolerance·‖δ_∞‖ certain: ‖δ_∞‖ ≥ ‖δ‖ − bound."""
    xp = namespace(displacement, bound).xp
    largest = xp.abs(displacement).max(axis=-1)
    # In units of the largest entry, for the squares of very large or small δ are no floats.
    unit = xp.where((largest > 0) & (largest < math.inf), largest, 1.0)
    norm = unit * xp.sqrt(((displacement / unit[..., None]) ** 2).sum(axis=-1))
    return (tolerance > 0) & (bound * (1 + tolerance) <= tolerance * norm)
