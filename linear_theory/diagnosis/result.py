"""``diagnose``: the numbers that decide what FLOW does to these rows, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..arrays import Array, InvalidTypeError, is_concrete, meshed, namespace, pytree, reject
from ..covariance import Covariance, Dense, checked_covariance
from ..least_squares import Rows, Solution, checked_rows, solve
from ..losses import checked_log_weights
from ..tables import same_labels
from ..weights import as_rule, effective_sample_size, median_temperature
from .bases import gram
from .checks import Check, judged
from .paths import Paths, followed, half_life, price, safe_step

if TYPE_CHECKING:
    from .picture import Figure

__all__ = ["Diagnosis", "diagnose"]


@pytree
class Diagnosis:
    """What FLOW's weights do to these rows.

    ``temperature``; ``mean_weight`` and ``effective_samples`` (Σw)²/Σw²; ``covariances`` (2, d, d), the
    unweighted G = (1/n)XᵀX and the weighted C = (1/Σw)XᵀWX, and ``spectrum`` (2, d), their ascending
    eigenvalues, 0 where no row reaches; ``shift`` e (d,), start − the unweighted optimum, and
    ``weighted_shift``, start − the
    weighted one; ``stalled_direction`` (d,), the unit eigenvector of C with the smallest eigenvalue;
    ``overlap`` its ``|cosine|`` with the shift; ``half_life`` of the error along it in steps at FLOW's learning
    rate, 1/(2 mean w) where that converges and one that never overshoots else, ∞ where the eigenvalue is 0;
    ``target_errors`` and ``forgetting`` of (start, weighted optimum, unweighted optimum): excess mean
    squared error on these rows, and (θ − start)ᵀΣ(θ − start).

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
    rule: Any
    rows: Rows

    @property
    def forgetting_measure(self) -> str:
        """Which forgetting error this is; without a pre-training covariance it is only a distance.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.diagnose(np.eye(2), np.ones(2), np.zeros(2)).forgetting_measure
        '‖θ − θ*‖²'
        """
        return "‖θ − θ*‖²" if self.pretrain_covariance is None else "(θ − θ*)ᵀΣ(θ − θ*)"

    @cached_property
    def _host(self) -> Diagnosis:
        """The same in NumPy float64."""
        if not is_concrete(self):
            raise InvalidTypeError("diagnosis", self, "must have values; return it from jit or vmap first")
        move = lambda leaf: np.asarray(leaf, dtype=float) if isinstance(leaf, jax.Array) else leaf
        return jax.tree.map(move, self)

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
        [9.98 0.42 9.54]
        """
        return followed(self._host)

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
        return judged(self._host)

    def report(self, width: int = 80, names: Sequence[str] | None = None) -> str:
        """All of it in words and tables, in lines of ``width``; ``names`` are those of the columns of X.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> report = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2)).report(names=["dose", "age"])
        >>> print(*(line for line in report.splitlines() if "direction:" in line))
        Stalled direction: 0.94 dose, 0.33 age; half-life 3.05 steps.
        """
        from .report import written

        return written(self._host, self.paths, self.checks, width, names)

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

        return drawn(self._host, self.paths, self.checks, names)


@meshed
def diagnose(
    X: Array,
    y: Array,
    start: Array,
    temperature: float | Array | None = None,
    pretrain_covariance: Array | None = None,
) -> Diagnosis:
    """What FLOW will stall on the rows X (n, d), y (n,) from ``start`` (d,), how long, at what price.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
        θ*: the losses are those of yᵢ − ⟨xᵢ, start⟩.
    temperature : float or weight rule, optional
        τ > 0 in the units of y²; ``None`` is the median loss of the start on these rows.
    pretrain_covariance : (d, d) array, optional
        Σ for the forgetting error; without it forgetting is ‖θ − θ*‖², and ``forgetting_measure`` says so.

    Returns
    -------
    Diagnosis
        ``print`` it for the report; ``.picture()`` draws it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve` and :func:`linear_theory.flow_weights`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X = np.random.default_rng(0).standard_normal((500, 2))
    >>> y = X @ np.array([3.0, 1.0])
    >>> for temperature in (10.0, 1.0, 0.1):
    ...     diagnosis = lt.diagnose(X, y, start=np.zeros(2), temperature=temperature)
    ...     print(f"{diagnosis.half_life:.1f} steps, {diagnosis.effective_samples:.0f} effective samples")
    1.7 steps, 380 effective samples
    13.6 steps, 146 effective samples
    194.9 steps, 46 effective samples
    """
    space, rows = checked_rows(X, y, start, None, temperature, pretrain_covariance)
    same_labels("parameters", X=(X, 1), pretrain_covariance=(pretrain_covariance, 0, 1))
    xp, start = space.xp, rows.start
    with np.errstate(over="ignore"):
        losses, unweighted = rows.residual**2, gram(rows.X) / rows.X.shape[0]
    _representable("X", X, unweighted)
    _representable("y", y, losses)
    tau = median_temperature(losses) if temperature is None else temperature
    rule = as_rule(tau)
    log_weights = checked_log_weights(space, rule, losses)
    largest = xp.max(log_weights)
    if is_concrete(largest) and float(largest) == -math.inf:
        reject("temperature", tau, "leaves no row with any weight; raise it")
    weights = xp.exp(log_weights - largest)  # scale-free, so that none of this underflows
    sigma = pretrain_covariance
    if sigma is not None:
        sigma = checked_covariance(space, "pretrain_covariance", sigma, start.shape[0])
        sigma = sigma if hasattr(sigma, "quadratic") else Dense(sigma)
    still = xp.zeros_like(start)  # solved for the displacement: the start's size costs no digits
    plain, flow = solve(rows.X, rows.residual, still), solve(rows.X, rows.residual, still, weights)
    displaced, shift = xp.stack([still, flow.theta, plain.theta]), -plain.theta
    weighted = gram(rows.X, weights / weights.sum())
    values, vectors = xp.linalg.eigh(weighted)
    spectrum = xp.stack([_reached(xp.linalg.eigvalsh(unweighted), plain), _reached(values, flow)])
    excess, length = displaced + shift, xp.sqrt(shift @ shift)
    with np.errstate(over="ignore"):  # KL-DRO's may be larger than any float
        mass = xp.exp(largest) * weights.mean()
    return Diagnosis(
        temperature=space.array(getattr(rule, "temperature", xp.nan)),
        mean_weight=mass,
        effective_samples=effective_sample_size(weights),
        covariances=xp.stack([unweighted, weighted]),
        spectrum=spectrum,
        shift=shift,
        weighted_shift=-displaced[1],
        stalled_direction=vectors[:, 0],
        overlap=abs(vectors[:, 0] @ shift) / xp.where(length > 0, length, 1.0),
        half_life=half_life(2 * safe_step(spectrum) * spectrum[1, 0]),
        target_errors=(excess * (excess @ unweighted)).sum(axis=-1),
        forgetting=price(sigma, displaced),
        pretrain_covariance=sigma,
        rule=space.tree(rule),
        rows=Rows(rows.X, rows.residual, weights, start),
    )


def _representable(name: str, given: object, squares: Array) -> None:
    if is_concrete(squares) and not np.isfinite(squares).all():
        reject(name, given, "has squares beyond the largest float; use larger units")


def _reached(values: Array, solution: Solution) -> Array:
    """Ascending eigenvalues, with 0 instead of rounding along what no row reaches; none negative."""
    xp = namespace(values).xp
    unreached = xp.arange(values.shape[0]) < values.shape[0] - solution.rank
    return xp.where((unreached & ~xp.isnan(values)) | (values < 0), 0.0, values)
