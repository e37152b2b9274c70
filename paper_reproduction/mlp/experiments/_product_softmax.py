"""The product of experts where it is exact: softmax regression, labels drawn from the model.

Two routes to where FLOW ends. In the population the weighted cross-entropy is minimised by Newton's method over a
discrete law of x, the expectation over labels being a finite sum. In a sample the gradient of FLOW's loss on drawn rows
is looked at: at the true end its mean is zero.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.claim import Check, Settings
from paper_reproduction.mlp import experts

FLOW, SAME, SHUFFLED = "flow", "standard-same-mean-step", "permuted"
RUNS = (FLOW, SAME, SHUFFLED)
TEMPERATURES = (0.5, 1.0, 2.0, 10.0)
POINTS, INPUTS, CLASSES = 40, 3, 4
DRAWN = 40_000  # rows of a sample
FORMULAS = {
    "product": "θ̃ + θ*/τ",
    "turned": "θ̃ + τθ*",
    "averaging": "(1 − ω)θ̃ + ωθ*, ω = 1/(1 + τ)",
    "label law": "θ̃",
}
AGREEMENTS = ("same task", "another task")
WRONG, CLASSES_OF_TABLE = (0.05, 0.2, 0.4), 5
MARGINS = np.array(
    [0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 1.5, 2.0]
)  # over the largest one from which the label is learned
CONVERGED = 1e-12  # Newton's last step


def minimiser(inputs: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Θ (d, C), the last column 0, of the least −Σ mass · ln softmax(xΘ); inputs (m, d), mass (m, C) ≥ 0.

    Newton's method, steps halved until the loss falls.
    """
    mass = mass / mass.sum()
    classes, row = mass.shape[1], mass.sum(axis=1)
    free = classes - 1
    theta, last = np.zeros((inputs.shape[1], classes)), np.inf
    loss = lambda at: -(mass * experts.normalised(inputs @ at)).sum()
    for _ in range(100):
        p = np.exp(experts.normalised(inputs @ theta))[:, :free]
        slope = inputs.T @ (row[:, None] * p - mass[:, :free])
        bend = np.einsum("m,mi,mj,mab->iajb", row, inputs, inputs, _covariance(p))
        step = -np.linalg.solve(bend.reshape(slope.size, -1), slope.ravel()).reshape(slope.shape)
        step = np.pad(step, ((0, 0), (0, 1)))
        size = abs(step).max()
        # Near the end the loss is flat to rounding, and Newton's own step is the best there is.
        while size > 1e-3 and not loss(theta + step) < loss(theta):
            step, size = step / 2, size / 2
        theta = theta + step
        # Quadratic convergence ends where rounding begins, over the smallest probability.
        if size <= CONVERGED or (last < 1e-6 and size >= last / 2):
            return theta
        last = size
    raise ArithmeticError("Newton's method has not converged in 100 steps")


def _covariance(p: np.ndarray) -> np.ndarray:
    """diag(p) − ppᵀ for each row, (m, a) → (m, a, a)."""
    return p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]


def weighted(label_law: np.ndarray, pretrained: np.ndarray, temperature: float, share: np.ndarray) -> dict:
    """q(x) p̃(y|x) w(x, y), (m, C), for each run; weights that do not depend on the row are their mean."""
    drawn = share[:, None] * np.exp(label_law)
    weights = lt.flow_weights(-pretrained.ravel(), temperature).reshape(pretrained.shape)
    mean = (drawn * weights).sum()
    return {FLOW: drawn * weights, SAME: drawn * mean, SHUFFLED: drawn * mean}


def compute(settings: Settings, seeds: int) -> xr.Dataset:
    """Every temperature and seed; a seed is a law of x and two sets of parameters."""
    softmax = xr.concat([_one(settings, seed) for seed in range(seeds)], "seed")
    return xr.merge([softmax, _table()])


def _one(settings: Settings, seed: int) -> xr.Dataset:
    rng = settings.rng(f"softmax {seed}")
    inputs = np.column_stack([np.ones(POINTS), rng.standard_normal((POINTS, INPUTS - 1))])
    share = rng.dirichlet(np.ones(POINTS))
    new, old = rng.standard_normal((2, INPUTS, CLASSES))
    found = [_at(settings, seed, inputs, share, new, old, temperature) for temperature in TEMPERATURES]
    return xr.concat(found, "temperature").assign_coords(temperature=list(TEMPERATURES))


def _at(settings: Settings, seed: int, inputs, share, new, old, temperature: float) -> xr.Dataset:
    law, star = experts.normalised(inputs @ new), experts.normalised(inputs @ old)
    omega = 1 / (1 + temperature)
    formulas = {
        "product": new + old / temperature,
        "turned": new + temperature * old,
        "averaging": (1 - omega) * new + omega * old,
        "label law": new,
    }
    ends = {run: minimiser(inputs, mass) for run, mass in weighted(law, star, temperature, share).items()}
    laws = {run: experts.normalised(inputs @ theta) for run, theta in ends.items()}
    size = abs(_centred(old / temperature)).max()
    distance = [
        [abs(_centred(theta - formula)).max() / size for formula in formulas.values()]
        for theta in ends.values()
    ]
    predicted = experts.product(law, star, temperature)
    softened = []
    for pretrained in (law, star):
        mass = weighted(law, pretrained, temperature, share)
        trained = [experts.normalised(inputs @ minimiser(inputs, mass[run])) for run in RUNS]
        labels = share[:, None] * np.exp(law)
        softened.append(
            [(experts.softening(one, labels), experts.overconfidence(one, labels)) for one in trained]
        )
    values = np.array(softened)
    return xr.Dataset(
        {
            "softmax_distance": (("run", "formula"), np.array(distance), {"long_name": "over the largest of θ*/τ"}),
            "softmax_exponents": (
                ("run", "expert"), np.stack([experts.exponents(one, law, star) for one in laws.values()])
            ),
            "softmax_to_product": ("run", [experts.divergence(one, predicted) for one in laws.values()]),
            "softmax_to_standard": ("run", [experts.divergence(one, laws[SAME]) for one in laws.values()]),
            "softmax_softening": (("agreement", "run"), values[..., 0]),
            "softmax_overconfidence": (("agreement", "run"), values[..., 1]),
            "softmax_deviate": (
                ("run", "formula"),
                _deviates(settings, seed, inputs, share, law, star, temperature, list(formulas.values())),
            ),
        },
        {"run": list(RUNS), "formula": list(FORMULAS), "agreement": list(AGREEMENTS), "expert": list(experts.EXPERTS)},
    )  # fmt: skip


def _centred(theta: np.ndarray) -> np.ndarray:
    """Without the vector that is common to all classes, which no probability depends on."""
    return theta - theta.mean(axis=1, keepdims=True)


def _deviates(settings: Settings, seed: int, inputs, share, law, star, temperature, formulas) -> np.ndarray:
    """(run, formula): how surprising the mean gradient of drawn rows is if training ends at that formula.

    n ḡᵀ S⁻¹ ḡ, S the covariance of one row's gradient, is χ² then; as a standard normal deviate by its cube root
    (Wilson and Hilferty).
    """
    rng = settings.rng(f"softmax rows {seed} {temperature:g}")
    rows = DRAWN
    place = rng.choice(POINTS, size=rows, p=share)
    label = (rng.random(rows)[:, None] > np.cumsum(np.exp(law[place]), axis=1)[:, :-1]).sum(axis=1)
    flow = lt.flow_weights(-star[place, label], temperature)
    weights = {FLOW: flow, SAME: np.full(rows, flow.mean()), SHUFFLED: rng.permutation(flow)}
    found = []
    for run in RUNS:
        for theta in formulas:
            short = np.exp(experts.normalised(inputs[place] @ theta)) - np.eye(CLASSES)[label]
            gradient = (weights[run][:, None] * short)[:, :-1, None] * inputs[place][:, None, :]
            flat = gradient.reshape(rows, -1)
            mean = flat.mean(axis=0)
            squared = rows * mean @ np.linalg.solve(np.cov(flat.T), mean)
            freedom = flat.shape[1]
            spread = 2 / (9 * freedom)
            found.append(((squared / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)
    return np.array(found).reshape(len(RUNS), len(formulas))


def _table() -> xr.Dataset:
    """Rows that the old model gets wrong by a margin: which end right, and where that changes.

    A class for each x is softmax regression on indicators, so that the end is the product, if the theory is right.
    """
    shape = (len(WRONG), len(TEMPERATURES), len(RUNS))
    ratio, misjudged = np.zeros(shape), np.zeros(shape)
    classes = CLASSES_OF_TABLE
    for i, wrong in enumerate(WRONG):
        for j, temperature in enumerate(TEMPERATURES):
            said = float(experts.largest_margin(temperature, wrong, classes))
            law = np.log(np.where(np.arange(classes) == 0, 1 - wrong, wrong / (classes - 1)))
            law = np.tile(law, (len(MARGINS), 1))
            # The second class is ahead of the true one by the margin, the others are behind it.
            star = np.zeros_like(law)
            star[:, 1], star[:, 2:] = said * MARGINS, -1.0
            star = experts.normalised(star)
            uniform = np.full(len(MARGINS), 1 / len(MARGINS))
            for k, mass in enumerate(weighted(law, star, temperature, uniform).values()):
                # Each row by itself, scaled: a row's weight does not move its minimum.
                end = experts.normalised(
                    minimiser(np.eye(len(MARGINS)), mass / mass.sum(axis=1, keepdims=True))
                )
                ahead = end[:, 0] - end[:, 1]
                misjudged[i, j, k] = np.sum((end.argmax(axis=1) == 0) != (MARGINS < 1))
                # The log-odds are linear in the margin: 1 − ahead/ahead(0) is margin over the largest one.
                slope = np.polyfit(MARGINS, ahead, 1)
                ratio[i, j, k] = -slope[0] / slope[1]
    return xr.Dataset(
        {
            "table_ratio": (
                ("wrong", "temperature", "run"),
                ratio,
                {"long_name": "threshold said over found"},
            ),
            "table_misjudged": (("wrong", "temperature", "run"), misjudged),
        },
        {"wrong": list(WRONG), "temperature": list(TEMPERATURES), "run": list(RUNS)},
    )


# ------------------------------------------------------------------------------------------- what is asked


def checks(d: xr.Dataset) -> tuple[Check, ...]:
    """The formula holds in the population and in samples, every other one is refused, and so are both controls."""
    flow, others = d.sel(run=FLOW), d.sel(run=[SAME, SHUFFLED])
    wrong = [name for name in FORMULAS if name != "product"]
    # At τ = 1 a formula with τ for 1/τ is none that could be refused.
    asked = ~((flow.formula == "turned") & (flow.temperature == 1.0))
    count = flow.softmax_deviate.sel(formula="product").size
    agreed = d.softmax_softening.sel(agreement="same task")
    said = 1 + 1 / d.temperature
    return (
        Check("softmax: Newton's end from θ̃ + θ*/τ, over θ*/τ",
              float(flow.softmax_distance.sel(formula="product").max(skipna=False)), 1e-12),
        Check.at_least("softmax: every other formula is off by, over θ*/τ",
                       float(flow.softmax_distance.where(asked).sel(formula=wrong).min()), 0.05),
        Check.at_least("softmax: both controls are off by, over θ*/τ",
                       float(others.softmax_distance.sel(formula="product").min(skipna=False)), 0.5),
        Check("softmax, drawn rows: gradient at θ̃ + θ*/τ, as a deviate",
              float(flow.softmax_deviate.sel(formula="product").max(skipna=False)), four_sigma(count)),
        Check.at_least("softmax, drawn rows: the same at every other formula",
                       float(flow.softmax_deviate.where(asked).sel(formula=wrong).min()), four_sigma(count)),
        Check.at_least("softmax, drawn rows: the same of both controls",
                       float(others.softmax_deviate.sel(formula="product").min(skipna=False)), four_sigma(count)),
        Check("softmax: where both models agree, T that undoes it from 1 + 1/τ",
              float(abs(agreed.sel(run=FLOW) / said - 1).max(skipna=False)), 1e-9),
        Check("margin: where the label is lost from τ ln((1 − ε)(C − 1)/ε)",
              float(abs(d.table_ratio.sel(run=FLOW) - 1).max(skipna=False)), 1e-9),
        Check("margin: rows on the wrong side of it", float(d.table_misjudged.sel(run=FLOW).sum(skipna=False)), 0),
        Check.at_least("margin: rows on the wrong side of it, under either control",
                       float(d.table_misjudged.sel(run=[SAME, SHUFFLED]).min(skipna=False)), 1),
    )  # fmt: skip
