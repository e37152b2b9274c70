"""Mutants that no test can notice, or not the verdict of a claim, and why: each was looked at by a person.

A reason belongs to one change of one line, written as it stands in ``docs/trust.md``. Where the line is written anew,
or a test or the verdict begins to notice, the commands that try mutants say that the reason is out of date.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .found import Mutant


@dataclass(frozen=True)
class Reason:
    """In this function of this file ``was`` may as well be ``now``."""

    file: str
    function: str
    was: str
    now: str
    why: str

    def fits(self, mutant: Mutant) -> bool:
        here = mutant.file, mutant.function, mutant.was, mutant.now
        return here == (self.file, self.function, self.was, self.now)


REASONS: tuple[Reason, ...] = (
    Reason(
        "linear_theory/least_squares/equations.py",
        "_compensated_products",
        """with np.errstate(over="ignore", invalid="ignore"):  # What overflows is looked for in the sums.""",
        """with np.errstate(over="ignore", ):  # What overflows is looked for in the sums.""",
        "the generator that the loop reads ignores both; after the loop NumPy has no word for what is NaN already",
    ),
    Reason(
        "linear_theory/diagnosis/findings.py",
        "_amounts",
        """return f"{percent(abs(ratio - 1))} {'less' if ratio < 1 else 'more'}\"""",
        """return f"{percent(abs(ratio - 1))} {'less' if ratio <= 1 else 'more'}\"""",
        "a ratio of 1 is said to be as much, three lines above",
    ),
    Reason(
        "linear_theory/diagnosis/picture.py",
        "",
        "SMALL = 13.5",
        "SMALL = 14.5",
        "the size of letters, of which a least one is promised",
    ),
    Reason(
        "linear_theory/propagator/apply.py",
        "_movable",
        "return base.factor.sum() + _vector_or_direction(covariance, vector).sum()",
        "return base.factor.sum() - _vector_or_direction(covariance, vector).sum()",
        "it is asked whether the number moves, not what it is",
    ),
    Reason(
        "linear_theory/diagnosis/findings.py",
        "_totals.total_of",
        "total = number(one.total if one.total > ROUNDING_SHARE * comparison.start.total else 0.0)",
        "total = number(one.total if one.total >= ROUNDING_SHARE * comparison.start.total else 0.0)",
        "another figure only where a total is the bound to the bit, and there it is rounding",
    ),
)
"""Of mutants that no test notices."""

OF_CLAIMS: dict[str, tuple[Reason, ...]] = {
    "claims.tilted_covariance": (
        Reason(
            "linear_theory/tilting/residual.py",
            "truncated",
            "deficit = xp.where(near, 1 / (1 + excess), beyond)",
            "deficit = xp.where(near, 0 / (1 + excess), beyond)",
            "1 − h with digits of its own moves where training ends and not Σ'; weight-rules asks it",
        ),
    ),
    "claims.standard_iterates": (
        Reason(
            "linear_theory/trajectories.py",
            "iterate",
            'rate = positive(space, "learning_rate", learning_rate) * moments.mass * 2',
            'rate = positive(space, "learning_rate", learning_rate) / moments.mass * 2',
            "without weights μ is 1",
        ),
        Reason(
            "linear_theory/trajectories.py",
            "stable_learning_rate",
            "limit = 1 / space.xp.where(no_motion, 1.0, largest_eigenvalue) / moments.mass",
            "limit = 1 / space.xp.where(no_motion, 1.0, largest_eigenvalue) * moments.mass",
            "without weights μ is 1",
        ),
    ),
    "claims.spectrum": (
        Reason(
            "linear_theory/theorems.py",
            "_slow",
            "return (q + p * rho**2) / (p + q), p * complement(rho) / (p + q)",
            "return (q + p * rho**2) / (p + q), p / complement(rho) / (p + q)",
            "1 − λ₁ with digits of its own is for powers and half-lives, which closed-form and stall ask",
        ),
        Reason(
            "linear_theory/theorems.py",
            "_slow",
            "return (q + p * rho**2) / (p + q), p * complement(rho) / (p + q)",
            "return (q + p * rho**2) / (p + q), p * complement(rho) / (p - q)",
            "1 − λ₁ with digits of its own is for powers and half-lives, which closed-form and stall ask",
        ),
    ),
    "claims.model_averaging": (
        Reason(
            "linear_theory/theorems.py",
            "stall_approximation",
            "return (slow * cos2)[()], (-slow * cossin)[()]",
            "return (slow * cos2)[()], (+slow * cossin)[()]",
            "γ is the part of (15) along e; closed-form asks the part across",
        ),
        Reason(
            "linear_theory/theorems.py",
            "stall_approximation",
            "return (slow * cos2)[()], (-slow * cossin)[()]",
            "return (slow * cos2)[()], (-slow / cossin)[()]",
            "γ is the part of (15) along e; closed-form asks the part across",
        ),
    ),
    "claims.error_comparison": (
        Reason(
            "linear_theory/risk.py",
            "gap_closed",
            "gap = pull @ (_solved(space, problem, pull) * strength)",
            "gap = (_solved(space, problem, pull) * strength) @ pull",
            "a scalar product is the same both ways",
        ),
        Reason(
            "linear_theory/risk.py",
            "gap_closed",
            "way = space.xp.where(stays > 0.5, -moves * e - from_start, stays * e - from_target)  # θ_avg − θ",
            "way = space.xp.where(stays > 0.5, -moves * e - from_start, stays * e + from_target)  # θ_avg − θ",
            "where A > B, as in the paper's plane, the other form of θ_avg − θ is taken",
        ),
    ),
    "beyond.precision": (
        Reason(
            "linear_theory/stalling.py",
            "_bounds",
            "inverse, largest = c**2 @ (1 / values), xp.max(xp.where(in_range, 1 / values, 0.0))",
            "inverse, largest = (1 / values) @ (c**2), xp.max(xp.where(in_range, 1 / values, 0.0))",
            "a scalar product is the same both ways",
        ),
    ),
    "beyond.optimal_temperature": (
        Reason(
            "linear_theory/choice/modes.py",
            "Modes.ratio",
            "return np.where(np.isinf(temperature), 1.0, total / (total + 2 * self.variance))",
            "return np.where(np.isinf(temperature), 2.0, total / (total + 2 * self.variance))",
            "in none of the 202 problems of the claim is τ = ∞ the best; tests/test_best_temperature.py has some",
        ),
    ),
    "beyond.label_noise": (
        Reason(
            "linear_theory/tilting/residual.py",
            "_",
            "mass = xp.where(small_temperature, root, xp.sqrt(xp.where(small_temperature, 1.0, ratio)))",
            "mass = xp.where(small_temperature, root, xp.where(small_temperature, 1.0, ratio))",
            "the learning rate is 0.3/μ, in which μ drops out; entropic-weights and tilted-covariance ask for μ itself",
        ),
        Reason(
            "linear_theory/tilting/residual.py",
            "_",
            "mass = xp.where(small_temperature, root, xp.sqrt(xp.where(small_temperature, 1.0, ratio)))",
            "mass = xp.where(small_temperature, root, xp.sqrt(xp.where(small_temperature, 2.0, ratio)))",
            "where the temperature is small this root is not taken",
        ),
    ),
    "beyond.one_pass_sgd": (
        Reason(
            "linear_theory/sgd.py",
            "_forgotten.around_start",
            "cross, last = -ratio * image[:, None], (ratio * variance)[None, None]",
            "cross, last = +ratio * image[:, None], (ratio * variance)[None, None]",
            "turns θ − θ* round as a whole, and err₁ is the same of both",
        ),
    ),
    "beyond.high_dimension": (
        Reason(
            "linear_theory/high_dimension/equivalent.py",
            "Population.fit",
            "return self.ratio * (self.shares[seen] * self.bulk[seen] / at_bulk[..., seen]).sum(axis=-1)",
            "return self.ratio * (self.shares[seen] * self.bulk[seen] / at_bulk[..., seen]).sum(axis=-0)",
            "it is called with numbers, so that there is one axis",
        ),
    ),
    "beyond.interpolation": (
        Reason(
            "linear_theory/weights/rules.py",
            "Flow.log_weights",
            'return (0.0 - over(space, losses, parameter(space, "temperature", self.temperature)))[()]',
            'return (1.0 - over(space, losses, parameter(space, "temperature", self.temperature)))[()]',
            "weights that are all e times as large have the same end, and the same path at the same mean step",
        ),
        Reason(
            "linear_theory/least_squares/cholesky.py",
            "by_inner_products",
            "A, b = X[kept] * root[:, None], (residual[kept].T * root).T",
            "A, b = X[kept] * root[:, None], (residual[kept] * root).T",
            "labels of one column have no transpose",
        ),
    ),
    "beyond.task_sequences": (
        Reason(
            "linear_theory/sequences.py",
            "harmonic_temperatures",
            "return space.xp.where(before > 0, 2 * (noise / space.xp.where(before > 0, before, 1.0)), math.inf)",
            "return space.xp.where(before > 0, 2 * (noise / space.xp.where(before >= 0, before, 1.0)), math.inf)",
            "what is divided where before is 0 is not taken",
        ),
        Reason(
            "linear_theory/sequences.py",
            "sampled",
            "spread = frame @ (kept[:, None] * inside * kept + np.diag(added * unit * unit)) @ frame.T",
            "spread = (kept[:, None] * inside * kept + np.diag(added * unit * unit)) @ frame @ frame.T",
            "inputs of unit covariance, as here, have one number for a frame",
        ),
    ),
}
"""Of mutants that a claim's verdict does not notice, by the claim's module."""


def _known(claim: str) -> tuple[Reason, ...]:
    return OF_CLAIMS.get(claim, ()) if claim else REASONS


def reason(mutant: Mutant, claim: str = "") -> str | None:
    """Why nothing changes, or nothing that the claim is about, if it is known."""
    return next((each.why for each in _known(claim) if each.fits(mutant)), None)


def outdated(mutants: Collection[Mutant], killed: Collection[Mutant], claim: str = "") -> list[Reason]:
    """Reasons for changes that can no longer be made in the files of these mutants, or that are noticed."""
    here, known = {mutant.file for mutant in mutants}, _known(claim)
    gone = [r for r in known if r.file in here and not any(r.fits(mutant) for mutant in mutants)]
    return gone + [r for r in known if any(r.fits(mutant) for mutant in killed)]
