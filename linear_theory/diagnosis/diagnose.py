"""``diagnose``: rows checked, weighed and solved for, into a :class:`Diagnosis` and all that follows from it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..arrays import Array, finite, namespace
from ..covariance import Dense, checked_covariance
from ..errors import InvalidTypeError, reject, short
from ..least_squares import Solution, checked_sample
from ..least_squares.rows import checked_scale, largest_entries, refuse_infinite, without_rounding
from ..least_squares.solver import minimise
from ..propagator.powers import steps_to_halve
from ..reading import _labels, same_labels, same_rows
from ..risk import pretrain_error, target_error
from ..sharding import on_automatic_mesh
from ..trees import is_concrete, pytree
from ..weights import as_rule
from ..weights.rules import checked_log_weights
from .checks import Check, run_checks
from .comparison import Comparison
from .findings import findings
from .measured import Measured, checked_counts, displacement_problem, gram, mean, median_loss
from .new_rows import NewRows
from .paths import Paths, compute_paths, contraction_factors, overlap, safe_step
from .report import column_names, format_report, number, plural

if TYPE_CHECKING:
    from .picture import Figure

__all__ = ["Diagnosis", "diagnose", "weight_like"]


@pytree
class Diagnosis(Measured):
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

    These may be traced by JAX. ``paths``, ``checks``, ``new_rows``, :meth:`report` and :meth:`picture` are made of them
    and of the ``rows`` (whose weights are divided by the largest) when first asked for, by NumPy, and need values.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X = np.random.default_rng(0).standard_normal((500, 2))
    >>> diagnosis = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2))
    >>> print(f"overlap {diagnosis.overlap:.2f}, half-life {diagnosis.half_life:.1f} steps")
    overlap 1.00, half-life 3.0 steps
    """

    @cached_property
    def _host(self) -> Diagnosis:
        """The same in NumPy float64: itself, where it is that already."""
        if not is_concrete(self):
            raise InvalidTypeError("diagnosis", self, "must have values; return it from jit or vmap first")
        if self.rows.X.ndim != 2:
            one = "jax.tree.map(lambda leaf: leaf[0], diagnosis) is the first"
            reject("diagnosis", self, f"must be one and not the many that vmap returns; {one}")
        if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(self)):
            return self
        move = lambda leaf: np.asarray(leaf, dtype=float) if isinstance(leaf, jax.Array) else leaf
        return jax.tree.map(move, self)

    @cached_property
    def _comparison(self) -> Comparison:
        """Each method at its best; of a diagnosis in NumPy."""
        return Comparison(self, self.paths, self.new_rows)

    @cached_property
    def paths(self) -> Paths:
        """Both errors step by step, of standard fine-tuning, FLOW and standard fine-tuning with the same mean step.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> paths = lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2)).paths
        >>> print(paths.forgetting[:, 1].round(2))  # after one step: standard, FLOW, same mean step
        [9.75 0.41 9.32]
        """
        return compute_paths(self) if self._host is self else self._host.paths

    @cached_property
    def new_rows(self) -> NewRows:
        """What to expect on rows that were not fitted, and whether these are so few that this matters.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> lt.diagnose(X, X @ np.array([3.0, 1.0]), np.zeros(2)).new_rows.few
        False
        """
        return NewRows(self) if self._host is self else self._host.new_rows

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
        return run_checks(self) if self._host is self else self._host.checks

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
        host = self._host
        labels = column_names(len(host.shift), names)
        sentences = findings(host._comparison, labels)
        return format_report(host._comparison, host.checks, sentences, labels, width)

    def __str__(self) -> str:
        return self.report() if is_concrete(self) else repr(self)

    def __repr__(self) -> str:
        n, d = self.rows.X.shape[-2:]
        line = lambda name: f"  {name:<20}{_brief(getattr(self, name))}"
        few = is_concrete(self) and self.rows.X.ndim == 2 and self._host.new_rows.few
        lines = [
            f"Diagnosis of {plural(n, 'row')} and {plural(d, 'column')}; print it for the report",
            *map(line, ("temperature", "mean_weight", "effective_samples", "half_life", "overlap")),
            "  of the start, of FLOW trained to the end, and of standard fine-tuning:",
            *map(line, ("target_errors", "forgetting")),
            *["  rows are few: on new ones errors are others, see new_rows"] * few,
        ]
        return "\n".join(line if len(line) <= 80 else f"{line[:77]}..." for line in lines)

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
        from .picture import draw

        host = self._host
        return draw(host._comparison, host.checks)


def _brief(value: Any) -> str:
    """A number, the numbers of an array where they are few, its shape where they are many."""
    if not isinstance(value, np.ndarray | np.generic | jax.Array) or not is_concrete(value) or value.size > 8:
        return short(value)
    array = np.asarray(value)
    return (
        number(float(array), 4) if array.ndim == 0 else " ".join(np.array2string(array, precision=4).split())
    )


@on_automatic_mesh
def diagnose(
    X: Array,
    y: Array,
    start: Array,
    temperature: float | Array | None = None,
    pretrain_covariance: Array | None = None,
    *,
    pretrain_rows: Array | None = None,
    sample_weight: Array | None = None,
    column_scale: Array | None = None,
) -> Diagnosis:
    """What FLOW will stall on the rows X (n, d), y (n,) from ``start`` (d,), how long, at what price.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
        θ*: the losses are those of yᵢ − ⟨xᵢ, start⟩.
    temperature : float or weight rule, optional
        τ > 0 in the units of y²; ``None`` is the median loss of the start on these rows. A diagnosis with a rule of
        your own leaves ``jit`` where JAX knows the rule, by ``jax.tree_util.register_static`` on its class, say.
    pretrain_covariance : (d, d) array, optional
        Σ for the forgetting error, the second moment of the rows the start was trained on.
    pretrain_rows : (m, d) array, optional
        Instead of Σ rows the start was trained on, without labels: Σ = (1/m) X_oldᵀX_old. Scaled as X was, and
        centred, by their own means, if X was. With neither, no total of forgetting and target error is told
        and no method is called the best: that depends on Σ. Forgetting is then measured on X itself.
    sample_weight : (n,) array, optional
        Prior weights v ≥ 0: a row counts as v rows like it, in every sum, in the median, and in the number of rows by
        which standard errors and checks go. Integers are counts; others should have mean 1. FLOW's w multiplies them.
    column_scale : (d,) array, optional
        The magnitude each column was made from, as in :func:`linear_theory.solve`: of X, and of ``pretrain_rows``.
        Columns of which centring has left no more than rounding are then taken for zeros; nothing moves along them.

    Returns
    -------
    Diagnosis
        ``print`` it for the report; ``.picture()`` draws it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve` and :func:`linear_theory.flow_weights`; where both Σ and rows for it are given.

    Warns
    -----
    UserWarning
        Where X has named columns and one is named like weights of rows: it is taken for a feature.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> rng = np.random.default_rng(0)
    >>> X, old = rng.standard_normal((500, 2)), rng.standard_normal((300, 2)) * [2.0, 1.0]
    >>> y = X @ np.array([3.0, 1.0])
    >>> for temperature in (10.0, 1.0, 0.1):
    ...     diagnosis = lt.diagnose(X, y, np.zeros(2), temperature, pretrain_rows=old)
    ...     print(f"{diagnosis.half_life:.1f} steps, {diagnosis.effective_samples:.0f} effective samples")
    1.7 steps, 380 effective samples
    13.6 steps, 146 effective samples
    194.9 steps, 46 effective samples
    """
    for name, array in (("X", X), ("pretrain_rows", pretrain_rows)):
        _warn_of_weights(name, array)
    space, rows = checked_sample(
        X,
        y,
        start,
        None,
        temperature,
        pretrain_covariance,
        pretrain_rows,
        sample_weight,
        column_scale=column_scale,
    )
    if rows.y.ndim == 2:
        reject("y", y, f"must be a vector, not an array of shape {rows.y.shape}")
    refuse_infinite(space, rows.X)
    same_labels(
        "parameters",
        X=(X, 1),
        start=(start, 0),
        column_scale=(column_scale, 0),
        pretrain_covariance=(pretrain_covariance, 0, 1),
        pretrain_rows=(pretrain_rows, 1),
    )
    same_rows(X=X, y=y, sample_weight=sample_weight)
    xp, start = space.xp, rows.start
    counts = checked_counts(space, "sample_weight", sample_weight, rows.X.shape[0])
    with np.errstate(over="ignore"):
        losses = rows.residual**2
        _representable("X", X, largest_entries(space, rows.X) ** 2)
    _representable("y", y, losses)
    tau = (
        median_loss(space, losses, None if sample_weight is None else counts)
        if temperature is None
        else temperature
    )
    rule = as_rule(tau)
    log_weights = xp.where(counts > 0, checked_log_weights(space, rule, losses), -math.inf)
    largest = xp.max(log_weights)
    if is_concrete(largest) and float(largest) == -math.inf:
        reject("temperature", tau, "leaves no row with any weight; raise it")
    weights = xp.exp(log_weights - largest)  # scale-free, so that none of this underflows
    old, sigma = _remembered(space, start.shape[0], pretrain_covariance, pretrain_rows, column_scale)
    still, no_ridge, both = xp.zeros_like(start), space.array(0.0), counts * weights
    displaced = rows.labelled(rows.residual, still)  # From zero on, so that the start's size costs no digits.
    free = minimise(space, displaced.weighted(None if sample_weight is None else counts), no_ridge)
    flow = minimise(space, displaced.weighted(both), no_ridge)
    shift, weighted_shift = -free.theta, -flow.theta
    unweighted, weighted = gram(rows.X, counts / counts.sum()), gram(rows.X, both / both.sum())
    values, vectors = xp.linalg.eigh(weighted)
    spectrum = xp.stack([_reached(xp.linalg.eigvalsh(unweighted), free), _reached(values, flow)])
    slow = xp.argmax(contraction_factors(spectrum))
    target_covariance = Dense(unweighted)
    problem = displacement_problem(target_covariance, shift, target_covariance if sigma is None else sigma)
    ends = xp.stack([still, flow.theta, free.theta])
    # A rule of the user's own may be, or hold, what is no number: to JAX that is a leaf as well.
    own_kind = lambda leaf: space.tree(leaf) if isinstance(leaf, float | np.number | jax.Array) else leaf
    with np.errstate(over="ignore"):  # KL-DRO's may be larger than any float
        mass = xp.exp(largest) * mean(counts, weights)
    return Diagnosis(
        temperature=space.array(getattr(rule, "temperature", xp.nan)),
        mean_weight=mass,
        effective_samples=counts.sum() * mean(counts, weights) ** 2 / mean(counts, weights**2),
        covariances=xp.stack([unweighted, weighted]),
        spectrum=spectrum,
        shift=shift,
        weighted_shift=weighted_shift,
        stalled_direction=vectors[:, slow],
        overlap=overlap(vectors[:, slow], shift),
        half_life=steps_to_halve(2 * safe_step(spectrum) * spectrum[1, slow]),
        target_errors=target_error(problem, ends),
        forgetting=pretrain_error(problem, ends),
        pretrain_covariance=sigma,
        pretrain_rows=old,
        sample_weight=counts,
        rule=jax.tree.map(own_kind, rule),
        rows=rows.weighted(weights),
    )


def _remembered(space: Any, dim: int, sigma: Any, old: Any, scale: Any) -> tuple[Array | None, Any]:
    """The old rows, checked, and Σ: theirs, or the one given."""
    if old is None:
        if sigma is None:
            return None, None
        sigma = checked_covariance(space, "pretrain_covariance", sigma, dim)
        return None, sigma if hasattr(sigma, "quadratic") else Dense(sigma)
    if sigma is not None:
        reject("pretrain_rows", old, "are there to make pretrain_covariance of; give one of the two")
    rows = finite(space, "pretrain_rows", old, ndim=2)
    if rows.shape[0] == 0 or rows.shape[1] != dim:
        reject("pretrain_rows", old, f"has shape {rows.shape}, must have (m, {dim}), m ≥ 1: the columns of X")
    if scale is not None:
        made_from, largest = checked_scale(space, scale, dim), largest_entries(space, rows)
        rows, _ = without_rounding(space, rows, made_from, largest, rows.shape[0])
    with np.errstate(over="ignore"):
        _representable("pretrain_rows", old, largest_entries(space, rows) ** 2)
    share = space.xp.ones_like(rows[:, 0]) / rows.shape[0]
    return rows, Dense(gram(rows, share))


def _representable(name: str, given: object, squares: Array) -> None:
    if is_concrete(squares) and not np.isfinite(squares).all():
        reject(name, given, "has squares beyond the largest float; use larger units")


def _reached(values: Array, solution: Solution) -> Array:
    """Ascending eigenvalues, with 0 instead of rounding along what no row reaches; none negative."""
    xp = namespace(values).xp
    unreached = xp.arange(values.shape[0]) < values.shape[0] - solution.rank
    return xp.where((unreached & ~xp.isnan(values)) | (values < 0), 0.0, values)


# ----------------------------------------------------------------------- columns that look like weights of rows

WEIGHT = re.compile(
    r"((sample|case|prior|row|obs(ervation)?|freq(uency)?|importance)[ _.-]?)?weights?", re.IGNORECASE
)


def weight_like(names: Sequence[Any]) -> list[str]:
    """Names under which people keep weights of rows: weight, weights, sample_weight, ..."""
    return [name for name in map(str, names) if WEIGHT.fullmatch(name.strip())]


def _warn_of_weights(argument: str, given: Any) -> None:
    """Say that a named column of an array's is a feature, whatever its name."""
    names = _labels(given, 1)
    if names is None:
        names = getattr(given, "columns", None)
    for name in [] if names is None else weight_like(list(names)):
        advice = "is taken for a feature; if it is a weight of rows, drop it and pass it as sample_weight="
        warnings.warn(f"the column {name!r} of {argument} {advice}", stacklevel=4)
