"""With fewer rows than dimensions all positive weights end at one solution, by different paths."""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.claim import IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict
from paper_reproduction.sampled_rows import draw_rows
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="interpolation",
    title="With fewer rows than dimensions the weights choose the path and not the end",
    statement=(
        r"Where $n < d$ and the rows are independent, training fits all of them, whatever their weights, as long as "
        r"none is 0: gradient descent from $\theta^\ast$ never leaves $\theta^\ast$ plus the span of the rows, and "
        r"there one point alone fits, $\theta^\ast + X^+ r$ with $r = y - X\theta^\ast$. So the average that FLOW "
        r"keeps under label noise in a population is not kept here: trained to the end, FLOW forgets what standard "
        r"fine-tuning forgets. On the way there it differs, for it fits the easy rows first."
    ),
    equation="beyond the paper",
    formula=(
        r"\lim_{K\to\infty}\theta_K = \theta^\ast + X^{+}(y - X\theta^\ast) "
        r"\quad\text{for all } w_i > 0, \qquad n < d"
    ),
    functions=("solve", "descend", "flow_weights", "population_median_temperature"),
    seconds=15.0,
    quick_seconds=4.0,
    order=140,
    question="Do the weights decide where training ends?",
)

ROWS, DIM, NOISE = 20, 40, 0.5
LAWS = ("standard", "FLOW", "FLOW, shuffled", "at random")
RATIO = 2.0  # of τ to its default, so that the hardest of all rows is fitted in far fewer than 10¹⁵ steps
STEPS = np.unique(np.geomspace(1, 1e6, 121).astype(int))
LOOPED = 300  # steps that are also taken one by one
EPS = float(np.finfo(float).eps)


def _weights(losses: np.ndarray, tau: float, rng: np.random.Generator) -> np.ndarray:
    """Of each law; those of FLOW also in another order, and others drawn from 1/100 to 1."""
    flow = lt.flow_weights(losses, tau)
    return np.stack([np.ones(len(flow)), flow, rng.permutation(flow), 10 ** rng.uniform(-2, 0, len(flow))])


def _by_hand(X: np.ndarray, r: np.ndarray, w: np.ndarray, rate: float) -> np.ndarray:
    """Displacements after the recorded steps up to LOOPED, a step at a time over the rows."""
    h, path = np.zeros(X.shape[1]), {}
    for k in range(1, LOOPED + 1):
        h = h + 2 * rate * X.T @ (w * (r - X @ h)) / len(r)
        path[k] = h
    return np.stack([path[k] for k in STEPS if k <= LOOPED])


def _still_unfitted(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(law,): ln of the share of the loss left on the easiest third of the rows minus the same of the hardest."""
    begin = y**2  # the start is 0
    order = np.argsort(begin)
    third = len(y) // 3
    left = (y - theta @ X.T) ** 2
    share = lambda rows: left[:, rows].mean(axis=1) / begin[rows].mean()
    return np.log(share(order[:third])) - np.log(share(order[-third:]))


def compute(settings: Settings) -> xr.Dataset:
    """Ends and paths of many samples, and one more sample as it is drawn."""
    runs, rng = 60 if settings.quick else 200, settings.rng("rows")
    shift = np.eye(DIM)[0]
    problem = lt.FineTuningProblem(np.zeros(DIM), -shift, np.eye(DIM), noise_variance=NOISE)
    tau = RATIO * lt.population_median_temperature(problem)
    names = ("end", "descended", "more rows")
    ends = {name: np.empty((runs, len(LAWS), DIM)) for name in names}
    pseudo, dropped, pulled = (np.empty((runs, DIM)) for _ in range(3))
    condition, unfitted = np.empty(runs), np.empty((runs, len(LAWS)))
    for run in range(runs):
        X, y = draw_rows(problem, rng, ROWS)
        weights = _weights(y**2, tau, rng)
        many, labels = draw_rows(problem, rng, 2 * DIM)
        pseudo[run] = np.linalg.pinv(X) @ y
        condition[run] = np.linalg.cond(X)
        early, mean_step = [], _mean_step(X, weights)
        for law, w in enumerate(weights):
            ends["end"][run, law] = lt.solve(X, y, problem.pretrained, w).theta
            solver = lt.descent.GradientDescent(mean_step / w.mean())
            few, last = lt.descend(X, y, problem.pretrained, w, solver, steps=[30, 10**15]).theta
            ends["descended"][run, law] = last
            early.append(few)
        unfitted[run] = _still_unfitted(X, y, np.stack(early))
        for law, w in enumerate(_weights(labels**2, tau, rng)):
            ends["more rows"][run, law] = lt.solve(many, labels, problem.pretrained, w).theta
        easy = (y**2 <= np.median(y**2)).astype(float)
        dropped[run] = lt.solve(X, y, problem.pretrained, easy).theta
        pulled[run] = lt.solve(X, y, problem.pretrained, weights[1], ridge=0.1).theta
    axes = ("run", "law", "axis")
    return xr.Dataset(
        {
            **{name.replace(" ", "_"): (axes, values) for name, values in ends.items()},
            "pseudo": (("run", "axis"), pseudo, {"long_name": "X⁺r, by singular values and without weights"}),
            "dropped": (("run", "axis"), dropped, {"long_name": "the end where the harder half weighs 0"}),
            "pulled": (("run", "axis"), pulled, {"long_name": "FLOW's end under a ridge"}),
            "condition": ("run", condition),
            "unfitted": (
                ("run", "law"),
                unfitted,
                {"long_name": "ln of the share left, easy minus hard rows"},
            ),
            **_drawn(problem, tau, settings.rng("drawn")),
        },
        coords={"law": list(LAWS), "step": STEPS},
        attrs={"rows": ROWS, "dim": DIM, "noise": NOISE},
    )


def _mean_step(X: np.ndarray, weights: np.ndarray) -> float:
    """η·E[w], the same for all laws: half of the longest at which every one of them is stable."""
    return 0.5 * min(w.mean() / np.linalg.eigvalsh(X.T * w @ X / len(X))[-1] for w in weights)


def _drawn(problem: lt.FineTuningProblem, tau: float, rng: np.random.Generator) -> dict[str, tuple]:
    """One sample: its paths by both routes, in a plane through both ends, and how far they are from the end."""
    X, y = draw_rows(problem, rng, ROWS)
    weights = _weights(y**2, tau, rng)
    easy = (y**2 <= np.median(y**2)).astype(float)
    mean_step = _mean_step(X, np.vstack([weights, easy]))
    rates = mean_step / weights.mean(axis=1)
    paths = np.stack([
        lt.descend(X, y, problem.pretrained, w, lt.descent.GradientDescent(rate), steps=STEPS).theta
        for w, rate in zip(weights, rates, strict=True)
    ])  # fmt: skip
    looped = np.stack([_by_hand(X, y, w, rate) for w, rate in zip(weights, rates, strict=True)])
    solver = lt.descent.GradientDescent(mean_step / easy.mean())
    fewer = lt.descend(X, y, problem.pretrained, easy, solver, steps=STEPS).theta
    end = np.linalg.pinv(X) @ y
    gaps = paths[1] - paths[0]
    along = end / np.linalg.norm(end)
    widest = gaps[np.argmax(np.linalg.norm(gaps, axis=1))]
    across = widest - along * (along @ widest)
    plane = np.stack([along, across / np.linalg.norm(across)]) / np.linalg.norm(end)
    return {
        "path": (("law", "step", "axis"), paths),
        "looped": (("law", "few", "axis"), looped),
        "seen": (("law", "with_start", "direction"), np.insert(paths @ plane.T, 0, 0.0, axis=1)),
        "far": (("law", "step"), np.linalg.norm(paths - end, axis=2) / np.linalg.norm(end)),
        "far_dropped": ("step", np.linalg.norm(fewer - end, axis=1) / np.linalg.norm(end)),
    }


def verdict(dataset: xr.Dataset) -> Verdict:
    """Equal ends to rounding, other ends where a weight is 0, with a ridge or more rows, and paths apart."""
    ds = dataset
    apart = lambda values, end: (
        np.linalg.norm(values - end, axis=-1) / np.linalg.norm(ds.pseudo.values, axis=-1)
    )
    unit = EPS * ds.condition.values
    one = ds.pseudo.values[:, None]
    off = {name: (_largest(ds[name].values, one, ds) / unit) for name in ("end", "descended")}
    looped = np.abs(ds.path.values[:, : ds.sizes["few"]] - ds.looped.values).max()
    share = -ds.end.sel(law="FLOW", axis=0).values
    error = share.std(ddof=1) / np.sqrt(len(share))
    claimed, kept = ds.attrs["rows"] / ds.attrs["dim"], 1.0  # of γ > 1, and of γ < 1 without weights
    first = (ds.unfitted.sel(law="FLOW") - ds.unfitted.sel(law="FLOW, shuffled")).values
    sooner = max(0.0, -first.mean())
    sure = in_standard_errors(sooner, 0.0, first.std(ddof=1) / np.sqrt(len(first)))
    limit = four_sigma(1, len(first) - 1)
    others = {
        "where the harder half of the rows weighs 0": apart(ds.dropped.values, ds.pseudo.values),
        "under a ridge": apart(ds.pulled.values, ds.pseudo.values),
        "of standard and FLOW with twice as many rows as dimensions": apart(
            ds.more_rows.sel(law="FLOW").values, ds.more_rows.sel(law="standard").values
        ),
    }
    wide = np.linalg.norm(ds.path[1] - ds.path[0], axis=-1).max() / np.linalg.norm(ds.path[0, -1])
    ratio = {law: float(np.exp(ds.unfitted.sel(law=law)).median()) for law in ("FLOW", "FLOW, shuffled")}
    many = 100 * np.median(others["of standard and FLOW with twice as many rows as dimensions"])
    return Verdict(
        checks=(
            # A few units of rounding a row and column; weights do not enter, since each row has a scale of its own.
            Check(f"ends of all weights against X⁺r, {IN_EPSILON_TIMES_CONDITION}", off["end"].max(), 100.0),
            Check(f"where descent ends, {IN_EPSILON_TIMES_CONDITION}", off["descended"].max(), 100.0),
            *(
                Check.at_least(f"ends apart {name}, in the same units", float(np.min(far / unit)), 100.0)
                for name, far in others.items()
            ),
            # Each of 300 steps adds the roundings of two sums over at most 40 terms of size one.
            Check(
                "steps over the rows against the path in one go", looped, LOOPED * 2 * ds.attrs["dim"] * EPS
            ),
            Check(
                "share of the shift that is gone at FLOW's end against n/d, in standard errors",
                float(in_standard_errors(share.mean(), claimed, error)),
                limit,
            ),
            Check.at_least(
                "the same against all of it", float(in_standard_errors(share.mean(), kept, error)), limit
            ),
            Check.at_least(
                "FLOW fits easy rows before hard ones, more than shuffled weights do, in standard errors",
                float(sure),
                limit,
            ),
        ),
        headline=(
            f"No: with {ds.attrs['rows']} rows in {ds.attrs['dim']} dimensions all of them end at one point, on "
            f"average {100 * share.mean():.0f} ± {100 * error:.0f} % of the way to the new optimum, and on the way "
            f"there FLOW is up to {100 * wide:.0f} % of that way apart from standard fine-tuning."
        ),
        measured=(
            f"After 30 steps of one mean length the easiest third of the rows has {ratio['FLOW']:.2f} times as large "
            f"a share of its loss left as the hardest under FLOW, {ratio['FLOW, shuffled']:.1f} times under FLOW's "
            f"weights shuffled (medians over {ds.sizes['run']} samples).",
            f"With twice as many rows as dimensions FLOW ends {many:.0f} % of the way apart from standard fine-tuning: "
            "there the weights do choose the end.",
        ),
    )


def _largest(values: np.ndarray, one: np.ndarray, ds: xr.Dataset) -> np.ndarray:
    """(run,): the largest distance of any law's end from the one end, relative to how far that is from the start."""
    return (np.linalg.norm(values - one, axis=-1) / np.linalg.norm(ds.pseudo.values, axis=-1)[:, None]).max(
        axis=1
    )
