"""A user's own rows: what will the weights stall here, how long, and at what price."""

from __future__ import annotations

import math

from .arrays import Array, is_concrete, pytree, reject
from .covariance import checked_covariance
from .least_squares import checked_rows, solve
from .weights import as_rule, effective_sample_size, median_temperature

__all__ = ["Diagnosis", "diagnose"]


@pytree
class Diagnosis:
    """What FLOW's weights do to these rows.

    ``temperature``; ``effective_samples`` (Σw)²/Σw²; ``spectrum`` (2, d), ascending eigenvalues of the
    unweighted (1/n)XᵀX and of the weighted (1/Σw)XᵀWX; ``shift`` (d,), start − the unweighted optimum;
    ``stalled_direction`` (d,), the unit eigenvector of the weighted one with the smallest eigenvalue;
    ``overlap`` its |cosine| with the shift; ``half_life`` in steps at η = 1/(2 mean w), ∞ where the
    eigenvalue is 0; ``target_errors`` and ``forgetting`` of (start, weighted optimum, unweighted optimum):
    excess mean squared error on these rows, and (θ − start)ᵀΣ(θ − start).
    """

    temperature: Array
    effective_samples: Array
    spectrum: Array
    shift: Array
    stalled_direction: Array
    overlap: Array
    half_life: Array
    target_errors: Array
    forgetting: Array
    pretrain_covariance: Array | None

    @property
    def forgetting_measure(self) -> str:
        """Which forgetting error this is: without a pre-training covariance it is only a distance."""
        return "‖θ − θ*‖²" if self.pretrain_covariance is None else "(θ − θ*)ᵀΣ(θ − θ*)"


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
    temperature : float, optional
        τ > 0 in the units of y²; ``None`` is the median loss of the start on these rows.
    pretrain_covariance : (d, d) array, optional
        Σ for the forgetting error; without it forgetting is ‖θ − θ*‖², and ``forgetting_measure`` says so.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve` and :func:`linear_theory.flow_weights`.
    """
    space, rows = checked_rows(X, y, start, None, temperature, pretrain_covariance)
    xp, X, y, start = space.xp, rows.X, space.array(y), rows.start
    losses = rows.residual**2
    tau = median_temperature(losses) if temperature is None else temperature
    log_weights = space.array(as_rule(tau).log_weights(losses))
    largest = xp.max(log_weights)
    if is_concrete(largest) and float(largest) == -math.inf:
        reject("temperature", tau, "leaves no row with any weight; raise it")
    weights = xp.exp(log_weights - largest)  # scale-free, so that none of this underflows
    if pretrain_covariance is not None:
        pretrain_covariance = checked_covariance(
            space, "pretrain_covariance", pretrain_covariance, start.shape[0]
        )
    plain, weighted = solve(X, y, start), solve(X, y, start, weights)
    share = weights / weights.sum()
    gram = rows.X.T @ rows.X / rows.X.shape[0]
    values, vectors = xp.linalg.eigh((rows.X * share[:, None]).T @ rows.X)
    shift = rows.start - plain.theta
    length = xp.sqrt(shift @ shift)
    slow = values[0]
    displaced = xp.stack([xp.zeros_like(shift), weighted.theta - rows.start, plain.theta - rows.start])
    excess = displaced + shift
    price = displaced if pretrain_covariance is None else displaced @ pretrain_covariance
    return Diagnosis(
        temperature=space.array(getattr(tau, "temperature", tau)),
        effective_samples=effective_sample_size(weights),
        spectrum=xp.stack([xp.linalg.eigvalsh(gram), values]),
        shift=shift,
        stalled_direction=vectors[:, 0],
        overlap=abs(vectors[:, 0] @ shift) / xp.where(length > 0, length, 1.0),
        half_life=xp.where(
            (slow > 0) & (slow < 1),
            math.log(2) / -xp.log1p(-xp.where((slow > 0) & (slow < 1), slow, 0.5)),
            xp.where(slow > 0, 0.0, xp.inf),
        ),
        target_errors=(excess * (excess @ gram)).sum(axis=-1),
        forgetting=(price * displaced).sum(axis=-1),
        pretrain_covariance=pretrain_covariance,
    )
