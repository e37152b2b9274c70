"""Which formulas a claim is about, each as one line of ``linear_theory``: with one of them wrong, its verdict fails.

Of each line every mutant counts, but for the value where a divisor is 0: an edge, which no claim is about. What lies
behind these lines (algebra of covariances, solvers) has tests of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..found import PACKAGE, Mutant, mutants, within


class Formula(NamedTuple):
    """What is computed, and where: a file of the package, a function, and a piece of the line."""

    says: str
    file: str
    function: str
    line: str

    @property
    def mutants(self) -> Iterator[Mutant]:
        """Every change in that line. Raises ``LookupError`` where there is no such line, so that none is forgotten."""
        found = [
            one
            for one in mutants(PACKAGE / self.file)
            if within(one.function, self.function)
            and self.line in one.was
            and "\n" not in one.was  # an argument that is left out of a call of many lines
            and not _at_the_edge(one)
        ]
        if not found:
            raise LookupError(
                f"{self.file} has no {self.function} with a line {self.line!r} that can be changed"
            )
        return iter(found)


def _at_the_edge(mutant: Mutant) -> bool:
    """Whether it changes the last argument of a quotient or a share: what they are where the divisor is 0."""
    text = mutant.path.read_text(encoding="utf-8")
    before = re.search(r"\b(share|quotient)\(([^()]|\([^()]*\))*, [\d.]*$", text[: mutant.start][-LONGEST:])
    return bool(before) and bool(re.match(r"[\d.]*\)", text[mutant.stop :]))


LONGEST = 240
"""Characters that a call may have."""

TILT = Formula("2s² in h = τ/(τ + 2s²)", "tilting/residual.py", "_", "temperature, twice = ")
KEPT = Formula("(σ² + vh)/s²", "tilting/population.py", "_kept_along_shift", "tilt.ratio")
MEDIAN = Formula(
    "median of χ²₁",
    "tilting/population.py",
    "population_median_temperature",
    "median = 2 * space.special.erfinv",
)
MEDIAN_SCALE = Formula(
    "times s²", "tilting/population.py", "population_median_temperature", "median * variance"
)
LOSSES = Formula("ln w = −loss/τ", "weights/rules.py", "Flow.log_weights", "return")
EFFECTIVE = Formula("(Σw)²/Σw²", "weights/losses.py", "effective_sample_size", "scaled.sum() ** 2")
MASS = Formula("μ = √h", "tilting/residual.py", "_", "mass = xp.where(small_temperature")
KEPT_START = Formula("1 − κ", "tilting/population.py", "weighted_moments", "one_minus_kappa=quotient")
FLOW_TIME = Formula("2μt", "trajectories.py", "gradient_flow", "2 * moments.mass")
STEP = Formula("2ημ", "trajectories.py", "iterate", "moments.mass * 2")
REMAINS = Formula(
    "θ̃* + (1 − κ)e + κφ(Σ')e",
    "trajectories.py",
    "remaining",
    "return problem.target + moments.one_minus_kappa",
)
AVERAGE = Formula("ωθ* + (1 − ω)θ̃*", "risk.py", "model_average", "average = problem.target")
ANGLE = Formula("cos²φ, cosφ sinφ", "theorems.py", "_angle", "return")
TANGENT = Formula("tan φ = βρ", "theorems.py", "_tangent", "return quotient")
APPROXIMATION = Formula("the approximation", "theorems.py", "stall_approximation", "return")
SLOW = Formula("λ₁ = (1 + β²ρ²)/(1 + β²), 1 − λ₁", "theorems.py", "_slow", "return")
JOINT = Formula("θ̃* + (Σ + Σ̃)⁻¹Σe", "risk.py", "joint_optimum", "return problem.target +")
TOTAL = Formula("err₁ + err₂", "risk.py", "total_error", "forgetting + learning")

FORMULAS: dict[str, tuple[Formula, ...]] = {
    "claims.entropic_weights": (LOSSES, MEDIAN, MEDIAN_SCALE, EFFECTIVE, MASS),
    "claims.tilted_covariance": (
        TILT,
        KEPT,
        Formula("KL-DRO: 2s²/(τ − 2s²)", "tilting/residual.py", "_", "negative_deficit = 2 * variance"),
        Formula(
            "KL-DRO: its deficit", "tilting/residual.py", "_", "return ResidualTilt(space.xp.sqrt(ratio)"
        ),
        Formula("KL-DRO: τ > 2s²", "tilting/residual.py", "_", "temperature > 2 * variance"),
        Formula("hard threshold", "tilting/residual.py", "truncated", "beyond = 2 / math.sqrt"),
        Formula("hard threshold: deficits", "tilting/residual.py", "truncated", "deficit = "),
        Formula(
            "Σ' = μ(…)", "tilting/population.py", "weighted_covariance", "return mass * weighted.dense()"
        ),
    ),
    "claims.standard_iterates": (
        STEP,
        Formula("η < 1/(μλ)", "trajectories.py", "stable_learning_rate", "limit = 1 /"),
    ),
    "claims.flow_iterates": (STEP, REMAINS, TILT, KEPT_START),
    "claims.spectrum": (
        SLOW,
        Formula("λ₂", "theorems.py", "_fast", "lambda2 = "),
        Formula("μ² = β(1 − ρ²)/…", "theorems.py", "squared_mass", "return quotient"),
        Formula("1 − ρ²", "theorems.py", "complement", "return"),
        Formula("τ = 2β(1 − ρ²)/…", "theorems.py", "stall_temperature", "temperature = p * norm"),
        Formula("β(τ)", "theorems.py", "stall_parameter", "at_small = ratio"),
    ),
    "claims.closed_form": (
        ANGLE,
        TANGENT,
        Formula("λ₁^K cos² + λ₂^K sin²", "theorems.py", "_closed_form", "return slow *"),
        APPROXIMATION,
    ),
    "claims.stall": (
        TANGENT,
        SLOW,
        Formula("the stalled direction", "theorems.py", "stall_direction", "cosine = "),
        Formula("its sign", "theorems.py", "stall_direction", "return"),
    ),
    "claims.model_averaging": (AVERAGE, APPROXIMATION, KEPT_START, TOTAL),
    "claims.error_comparison": (
        TOTAL,
        Formula("ΣA + Σ̃B of the gap", "risk.py", "gap_closed", "pull = stays *"),
        Formula("the gap", "risk.py", "gap_closed", "gap = pull @"),
        Formula("what is closed", "risk.py", "gap_closed", "both = pull +"),
        Formula("what is closed: the way", "risk.py", "gap_closed", "way = "),
        JOINT,
    ),
    "claims.finite_data": (MEDIAN, MEDIAN_SCALE, TILT, LOSSES),
    "claims.real_data": (EFFECTIVE, TILT, KEPT, KEPT_START, LOSSES),
    "beyond.precision": (
        Formula("(1/h − 1)/v", "stalling.py", "_bounds", "precision_gain = "),
        Formula("cᵀΛ⁻¹c and 1/λ_min", "stalling.py", "_bounds", "inverse, largest = "),
        Formula("the angle's bound", "stalling.py", "_bounds", "perpendicular = "),
        Formula("its gap", "stalling.py", "_bounds", "gap = precision_gain"),
        Formula("both bounds", "stalling.py", "_bounds", "bounds = "),
        Formula("ln 2/(2λ)", "stalling.py", "stall", "half_life = math.log(2)"),
    ),
    "beyond.checkpoint_averaging": (
        Formula("weight of θ*", "checkpoints.py", "checkpoint_weights", "first = "),
        Formula("weights between", "checkpoints.py", "checkpoint_weights", "between = taken"),
        Formula("(v/s²)(1 − h)", "checkpoints.py", "checkpoint_weights", "taken = share"),
    ),
    "beyond.who_wins": (
        Formula("the stop's equation", "choice/early_stop.py", "_best_time.slope", "return -("),
        Formula("what is left by then", "choice/early_stop.py", "_best_time.slope", "exponent = "),
        Formula("ω = A/(A + B)", "choice/modes.py", "Modes.kept", "return a / (a + b)"),
        Formula("the average", "choice/flow.py", "_reached", "average = kept"),
        Formula("ridge's λ", "choice/penalty.py", "ridge_optimum", "moments.mass / ridge"),
    ),
    "beyond.optimal_temperature": (
        Formula("τ* = 2σ²B/A", "choice/temperature.py", "_to_convergence", "2 * noise * b"),
        Formula("κ = τ/(τ + 2σ²)", "choice/modes.py", "Modes.displacement", "return"),
        Formula("h", "choice/modes.py", "Modes.ratio", "return np.where"),
        Formula("κ'", "choice/temperature.py", "_search.slope", "kappa_slope = "),
        Formula("h'", "choice/temperature.py", "_search.slope", "ratio_slope = "),
    ),
    "beyond.label_noise": (KEPT, KEPT_START, TILT, MASS),
    "beyond.product_of_experts": (
        Formula("θ̃* + θ*/τ", "experts/product.py", "fixed_point", "return new + old"),
        Formula("1 + 1/τ", "experts/product.py", "sharpening", "return"),
    ),
    "beyond.glm_paths": (
        Formula("logistic: variance", "experts/families.py", "Logistic.variance", "return"),
        Formula("logistic: p_τ", "experts/families.py", "Logistic.product", "return np.logaddexp"),
        Formula("logistic: its two labels", "experts/families.py", "Logistic.product", "log_expit(-new)"),
        Formula("Poisson: loss", "experts/families.py", "Poisson.loss", "few = _rate"),
    ),
    "beyond.weight_rules": (
        Formula("Cauchy, powers: −rw'/w", "tilting/robust.py", "_power", "fall = 2 * exponent"),
        Formula("focal: rw'/w", "tilting/robust.py", "_focal", "rise = 2 * exponent"),
        Formula("hard samples: excess", "tilting/robust.py", "_hard_samples", "excess = 2 /"),
        Formula("Huber: beyond the cut-off", "tilting/robust.py", "_huber", "beyond = cutoff * _exp"),
        Formula("clipped: fall", "tilting/robust.py", "_clipped", "fall = share"),
        Formula("Tukey: −rw'/w", "tilting/robust.py", "_tukey", "fall = 2 * degree"),
    ),
    "beyond.moving_weights": (
        TILT,
        FLOW_TIME,
        Formula("Cauchy: w", "tilting/robust.py", "_power", "weighted = quadrature"),
        Formula("Cauchy: r²/c²", "tilting/robust.py", "_power", "square = (z / unit"),
    ),
    "beyond.baselines": (
        Formula("ridge's λ", "choice/penalty.py", "ridge_optimum", "moments.mass / ridge"),
        Formula("Σ' + λG", "choice/penalty.py", "ridge_optimum", "return problem.pretrained - moments.kappa"),
        JOINT,
    ),
    "beyond.one_pass_sgd": (
        Formula("the kick", "sgd.py", "Recursion.noise", "inside = 2 * second"),
        Formula("the drift", "sgd.py", "Recursion.drift", "inside = free"),
        Formula("2ημ, 4η²μ₂", "sgd.py", "_expected", "shrink, grow ="),
        Formula("one step", "sgd.py", "_expected.step", "state.moment - shrink"),
        Formula("the limit", "sgd.py", "sgd_stability_limit", "limit = drift"),
        Formula("the kick forgets", "sgd.py", "_forgotten.around_start", "cross, last ="),
    ),
    "beyond.hard_samples": (
        Formula("2cφ(c)/q", "risk.py", "_hardness_excess", "return 2 * c"),
        Formula("φ(c)", "risk.py", "_hardness_excess", "density = "),
        Formula("c", "risk.py", "_hardness_excess", "c = -space"),
        Formula("(uᵀΣ̃e)²/s²", "risk.py", "hard_sample_error", "explained = quotient"),
        Formula("err₂ + …", "risk.py", "hard_sample_error", "error = problem.target_operator"),
    ),
    "beyond.high_dimension": (
        Formula("leverages", "high_dimension/equivalent.py", "Population.fit", "return self.ratio"),
        Formula("the resolvent", "high_dimension/equivalent.py", "Population.resolvent", "below = "),
        Formula("the mean", "high_dimension/equivalent.py", "Population.mean", "return -(self.variance"),
        Formula("E r²", "high_dimension/equivalent.py", "Population._residual", "return np.multiply.outer"),
        Formula(
            "the fluctuation",
            "high_dimension/equivalent.py",
            "Population.fluctuation",
            "return self._residual",
        ),
    ),
    "beyond.interpolation": (
        LOSSES,
        Formula("√w for each row", "least_squares/cholesky.py", "by_inner_products", "A, b = "),
        Formula("Xᵀλ", "least_squares/cholesky.py", "by_inner_products.inverse", "return A.T"),
        Formula("descent's curvature, 2λ/n", "descent/objective.py", "_from_rows", "return Eigenbasis"),
        Formula("where descent ends", "descent/objective.py", "_from_rows", "target = shares"),
    ),
    "beyond.standard_errors": (
        Formula("leave one out", "inference.py", "standard_errors", "moved = influence / (1 - leverage)"),
        Formula("the median's own error", "inference.py", "standard_errors", "drift = (losses / tau)"),
        Formula("the sandwich", "inference.py", "standard_errors", "within = moved.T"),
        Formula("a density", "inference.py", "_density", "return xp.mean(kernel"),
    ),
    "beyond.undo": (
        Formula("1 − κ = 2 E r²/τ", "inference.py", "undo_averaging", "averaged = 2 * left"),
        Formula("κ", "inference.py", "undo_averaging", "kappa = 1 - averaged"),
        Formula("leave one out", "inference.py", "undo_averaging", "squares = residual**2"),
        Formula("the error of κ", "inference.py", "undo_averaging", "error = 2 / tau"),
        Formula("the way back", "inference.py", "undo_averaging", "averaged / kappa"),
    ),
    "beyond.task_sequences": (
        Formula("κ: τ beside 2σ²", "sequences.py", "flow", "space.xp.where(large, tau / 2"),
        Formula("2σ²/(t − 1)", "sequences.py", "harmonic_temperatures", "2 * (noise"),
        Formula("a moving average", "sequences.py", "flow", "rest[t] * theta"),
        Formula("few rows: n/d", "sequences.py", "plain_distance", "added = entering"),
        Formula("spread", "sequences.py", "sampled", "spread = frame @"),
        Formula("mean", "sequences.py", "sampled", "mean = optimum + axes"),
    ),
}
"""By the module of the claim."""

WITHOUT = {
    "claims.network_stall": "trains networks, which takes minutes for each change",
}
"""Claims of the same chapters that have no formulas here, and why."""
