"""The numbers that decide what FLOW does to these rows, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..arrays import Array, namespace
from ..covariance import Covariance, Dense
from ..errors import InvalidTypeError
from ..least_squares import Sample
from ..trees import is_concrete, pytree
from .checks import Check, judged
from .contest import Contest, contested
from .paths import Paths, followed
from .prior import median

if TYPE_CHECKING:
    from .picture import Figure

__all__ = ["Diagnosis"]


@pytree
class Diagnosis:
    """What FLOW's weights do to these rows.

    ``temperature``; ``mean_weight`` Σvw/Σv and ``effective_samples`` (Σvw)²/Σvw², v the ``sample_weight`` (n,), ones
    if left out; ``covariances`` (2, d, d), the unweighted G = (1/Σv) XᵀVX and the weighted C = (1/Σvw) XᵀVWX, and
    ``spectrum`` (2, d), their ascending eigenvalues λ, 0 where no row reaches; ``shift`` e (d,), start − the
    unweighted optimum, and ``weighted_shift``, start − the weighted one; ``stalled_direction`` (d,), the slowest:
    the unit eigenvector of C whose ``|1 − 2ηλ|`` is largest, 2η the step of FLOW on C (the smallest λ, or where the
    step overshoots by more, the largest); ``overlap`` its ``|cosine|`` with the shift; ``half_life`` of the error
    along it in steps at FLOW's learning rate, 1/(2 mean w) where that converges and one that never overshoots else,
    ∞ where λ is 0; ``target_errors`` and ``forgetting`` of (start, weighted optimum, unweighted optimum): excess
    mean squared error on these rows, and (θ − start)ᵀΣ(θ − start). Σ is the ``pretrain_covariance``, that of the
    ``pretrain_rows`` (m, d) where they are given; where neither is, both are None and G stands in for Σ, so that
    forgetting is the mean square by which predictions move on these very rows.

    These may be traced by JAX. ``paths``, ``checks``, :meth:`report` and :meth:`picture` are made of them and of
    the ``rows`` (whose weights are divided by the largest) when first asked for, by NumPy, and need values.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X = np.random.default_rng(0).standard_normal((500, 2))
    >>> diagnosis = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2))
    >>> print(f"overlap {diagnosis.overlap:.2f}, half-life {diagnosis.half_life:.1f} steps")
    overlap 1.00, half-life 3.0 steps
    """

    temperature: Array
    mean_weight: Array
    effective_samples: Array
    covariances: Array
    spectrum: Array
    shift: Array
    weighted_shift: Array
    stalled_direction: Array
    overlap: Array
    half_life: Array
    target_errors: Array
    forgetting: Array
    pretrain_covariance: Covariance | None
    pretrain_rows: Array | None
    sample_weight: Array
    rule: Any
    rows: Sample

    @property
    def forgetting_measure(self) -> str:
        """Which forgetting error this is: by Σ, or where nothing is known of the old rows by G, which stands in.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.diagnose(np.eye(2), np.ones(2), np.zeros(2)).forgetting_measure
        '(θ − θ*)ᵀG(θ − θ*)'
        """
        return f"(θ − θ*)ᵀ{'G' if self.pretrain_covariance is None else 'Σ'}(θ − θ*)"

    @property
    def _sigma(self) -> Covariance:
        """Σ, or what stands in for it."""
        return Dense(self.covariances[0]) if self.pretrain_covariance is None else self.pretrain_covariance

    @cached_property
    def _host(self) -> Diagnosis:
        """The same in NumPy float64: itself, where it is that already."""
        if not is_concrete(self):
            raise InvalidTypeError("diagnosis", self, "must have values; return it from jit or vmap first")
        if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(self)):
            return self
        move = lambda leaf: np.asarray(leaf, dtype=float) if isinstance(leaf, jax.Array) else leaf
        return jax.tree.map(move, self)

    @cached_property
    def _median(self) -> float:
        """The median loss of the start; of a diagnosis in NumPy."""
        return float(median(namespace(), self.rows.residual**2, self.sample_weight))

    @cached_property
    def _contest(self) -> Contest:
        """Each method at its best; of a diagnosis in NumPy."""
        return contested(self, self.paths)

    @cached_property
    def paths(self) -> Paths:
        """Both errors step by step, of standard fine-tuning, FLOW and the step-matched control.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> paths = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2)).paths
        >>> print(paths.forgetting[:, 1].round(2))  # after one step: standard, FLOW, step-matched control
        [9.75 0.41 9.32]
        """
        return followed(self) if self._host is self else self._host.paths

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Each assumption of the theory, with the figure that says whether these rows break it.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_t(3, size=(500, 2))  # heavy tails
        >>> checks = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2)).checks
        >>> [check.name for check in checks if check.verdict == "broken"]
        ['Gaussian residuals', 'Gaussian features']
        """
        return judged(self) if self._host is self else self._host.checks

    def report(self, width: int = 80, names: Sequence[str] | None = None) -> str:
        """All of it in words and tables, in lines of ``width``; ``names`` are those of the columns of X.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> report = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2)).report(names=["dose", "age"])
        >>> print(*(line for line in report.splitlines() if "direction:" in line))
        Slowest direction: 0.94 dose, 0.33 age; half-life 3.05 steps.
        """
        from .report import written

        return written(self._host, width, names)

    def __str__(self) -> str:
        return self.report() if is_concrete(self) else object.__repr__(self)

    def picture(self, names: Sequence[str] | None = None) -> Figure:
        """Both errors against the step and against each other, as a matplotlib figure (extra ``[cli]``).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> diagnosis = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2))
        >>> diagnosis.picture(names=["dose", "age"]).savefig("stall.png")
        """
        from .picture import drawn

        return drawn(self._host, names)
