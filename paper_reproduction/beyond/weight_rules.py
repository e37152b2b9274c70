"""Which weights stall: rules with tails that fall like 1/|r| or faster, and how fast each."""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt
from linear_theory.significance import four_sigma
from paper_reproduction.beyond._rule_moments import LIMITS, PRINTED, TEN, power_limit
from paper_reproduction.claim import IN_EPSILON, Check, Claim, Settings, Table, Verdict
from paper_reproduction.sampled_rows import jackknife
from paper_reproduction.standard_errors import in_standard_errors

CLAIM = Claim(
    name="weight-rules",
    title="A rule stalls exactly if its weights fall like 1/|r| or faster",
    statement=(
        r"Every rule $w = G(r/c)$ of the residual leaves two numbers of a Gaussian, $m_0 = E[w]$ and "
        r"$m_2 = E[w r^2]/s^2$, and without noise the weighted covariance keeps the share $m_2/m_0$ of its "
        r"variance along the shift. As the "
        r"cutoff falls, that share goes to 0, and the rule stalls, exactly if the tails $|u|^{-\alpha}$ of $G$ have "
        r"$\alpha \ge 1$: slowly for Huber's rule, like $c$ for Cauchy's, like $c^2$ for FLOW's, Tukey's and a "
        r"threshold. Below, it tends to $1 - \alpha$. A floor under the weights ends the stall, and rules that prefer "
        r"hard samples learn the shift faster than the rest."
    ),
    equation="beyond the paper",
    formula=(
        r"h(a) = \frac{m_2}{m_0}, \quad a = \frac{c}{s}; \qquad \lim_{a \to 0} h(a) = "
        r"\begin{cases} 1 - \alpha & \alpha < 1 \\ 0 & \alpha \ge 1 \end{cases}"
    ),
    functions=("residual_tilt", "weighted_covariance", "weight_mass", "stall"),
    seconds=12.0,
    quick_seconds=4.0,
    order=80,
    question="Does every rule that prefers easy samples stall?",
)

EPS = float(np.finfo(float).eps)
RHO, NOISE = 0.6, 0.5
COLD = 1e-60  # so small that only the leading term is left, and far from the smallest float
CUTOFFS = np.geomspace(0.5, 8, 9)
DRAWN = np.geomspace(0.01, 30, 41)
TAILS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)


def _exists(name: str, a: float) -> bool:
    """KL-DRO has moments above a² = 2 only, and hard samples beyond 30 standard deviations are none."""
    return (name != "KL-DRO" or a * a > 2.1) and (name != "hard samples" or a < 30)


def _share(name: str, a: float) -> float:
    return float(lt.residual_tilt(TEN[name].at(a), 1.0).ratio) if _exists(name, a) else np.nan


def _slowest(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The slowest rate in the plane by ``stall``, and from the written-out moments and Lemma F.1's matrix, inverted."""
    problem = lt.paper_problem(RHO, noise_variance=noise)
    s2, e = float(problem.residual_variance), np.array([1.0, 0.0])
    found, want = np.ones((2, len(TEN), len(CUTOFFS)))
    for i, (name, rule) in enumerate(TEN.items()):
        for j, a in enumerate(CUTOFFS):
            if not _exists(name, a):
                continue
            found[i, j] = lt.stall(problem, rule.at(a * np.sqrt(s2))).rate
            mass, square = rule.moments(np.float64(a))
            kept = 1 - (1 - square / mass) / s2  # v = 1
            precision = np.linalg.inv(problem.target_covariance) + (1 / kept - 1) * np.outer(e, e)
            want[i, j] = 1 / np.linalg.eigvalsh(precision)[-1]
    return found, want


def _sampled(settings: Settings) -> dict[str, np.ndarray]:
    """m₂/m₀ of rows by the rules' own weights, with the jackknife's errors; and with these weights shuffled."""
    rng = settings.rng("rows")
    blocks, size = 50, 1500 if settings.quick else 8000
    r = rng.standard_normal((blocks, size))
    found = {name: np.empty((len(TEN), 3)) for name in ("sampled", "error", "shuffled", "shuffled_error")}
    for i, rule in enumerate(TEN.values()):
        for j, a in enumerate(rule.sampled):
            w = np.exp(rule.at(a).log_weights(r**2))
            for name, one in (("", w), ("shuffled", rng.permuted(w, axis=1))):
                sums = np.stack([one.mean(axis=1), (one * r**2).mean(axis=1)], axis=1)
                value, error = jackknife(sums, lambda m: m[1] / m[0])
                found[name or "sampled"][i, j] = value
                found[f"{name}_error" if name else "error"][i, j] = error
    return found


def compute(settings: Settings) -> xr.Dataset:
    """Shares by the library and written out, limits, digits derived by hand, the slowest rate, and sampled rows."""
    both = np.array([[_share(name, a) for a in CUTOFFS] for name in TEN])
    tilts = [
        [lt.residual_tilt(rule.at(a), 1.0) if _exists(name, a) else None for a in CUTOFFS]
        for name, rule in TEN.items()
    ]
    masses, deficits = (
        np.array([[np.nan if one is None else float(getattr(one, part)) for one in row] for row in tilts])
        for part in ("mass", "deficit")
    )
    places = [rule.sampled for rule in TEN.values()]
    with np.errstate(invalid="ignore"):
        written = np.array([rule.moments(CUTOFFS) for rule in TEN.values()])
        scaled = np.array([rule.moments(CUTOFFS * np.sqrt(2)) for rule in TEN.values()])
    exists = np.array([[_exists(name, a) for a in CUTOFFS] for name in TEN])
    rate, want_rate = (np.stack(one) for one in zip(*map(_slowest, (0.0, NOISE)), strict=True))
    return xr.Dataset(
        {
            "drawn_share": (("rule", "drawn"), np.array([[_share(n, a) for a in DRAWN] for n in TEN])),
            "mass": (("rule", "cutoff"), np.where(exists, masses, 1.0), {"long_name": "m₀"}),
            "share": (("rule", "cutoff"), np.where(exists, both, 1.0), {"long_name": "m₂/m₀"}),
            "deficit": (("rule", "cutoff"), np.where(exists, deficits, 0.0), {"long_name": "E[−rw'(r)]/m₀"}),
            "written_mass": (("rule", "cutoff"), np.where(exists, written[:, 0], 1.0)),
            "written_share": (("rule", "cutoff"), np.where(exists, written[:, 1] / written[:, 0], 1.0)),
            "wrong_share": (("rule", "cutoff"), np.where(exists, scaled[:, 1] / scaled[:, 0], 1.0)),
            "printed": (("printed_rule", "moment"), np.array([one[1:] for one in PRINTED.values()])),
            "digits": (("printed_rule", "moment"), np.array([
                (float((tilt := lt.residual_tilt(one[0], 1.0)).mass), float(tilt.mass * tilt.ratio))
                for one in PRINTED.values()
            ])),
            "cold": ("limited", np.array([_share(name, COLD) for name in LIMITS])),
            "limit": ("limited", np.array([limit(COLD) for limit, _ in LIMITS.values()])),
            "wrong_factor": ("limited", np.array([factor for _, factor in LIMITS.values()])),
            "tail_share": ("exponent", np.array([
                float(lt.residual_tilt(lt.weights.Power(COLD, alpha / 2), 1.0).ratio) for alpha in TAILS
            ])),
            "tail_limit": ("exponent", np.array([power_limit(alpha, COLD) for alpha in TAILS])),
            "rate": (("noise", "rule", "cutoff"), rate, {"long_name": "slowest rate, by stall"}),
            "written_rate": (("noise", "rule", "cutoff"), want_rate),
            "sampled_exact": (("rule", "place"), np.array([
                [_share(name, a) for a in rule.sampled] for name, rule in TEN.items()
            ])),
            "sampled_wrong": (("rule", "place"), np.array([
                [_share(name, 1.15 * a) for a in rule.sampled] for name, rule in TEN.items()
            ])),
            "sampled_cutoff": (("rule", "place"), np.array(places)),
        }
        | {name: (("rule", "place"), values) for name, values in _sampled(settings).items()},
        coords={"rule": list(TEN), "cutoff": CUTOFFS, "drawn": DRAWN, "printed_rule": list(PRINTED),
                "limited": list(LIMITS), "exponent": list(TAILS), "noise": [0.0, NOISE]},
        attrs={"rho": RHO, "blocks": 50, "coldest": COLD},
    )  # fmt: skip


def verdict(dataset: xr.Dataset) -> Verdict:
    """Moments by two routes, the limits with their constants, sampled rows, and what each would miss."""
    d = dataset
    # Written out, m₂ = a²(1 − m₀) loses a⁴. Tukey's holds 15 m₀/a⁴, known to ε, beside (8/105)√(2/π) a³: 200 a⁻⁶.
    unit = EPS * (1 + d.cutoff**4 + 200 * d.cutoff**-6.0)
    off = lambda found, want: np.abs(found / want - 1)
    wrong = (off(d.share, d.wrong_share) / unit).max("cutoff").min()
    stein = lambda factor: np.abs(factor * d.deficit - (1 - d.share)) / (EPS * (1 + d.share))
    cold = EPS * abs(np.log(d.attrs["coldest"]))  # a float knows ln a to a rounding, and so a power of a
    rows = in_standard_errors(d.sampled, d.sampled_exact, d.error)
    bound = four_sigma(rows.size, int(d.attrs["blocks"]) - 1)
    checks = (
        Check(
            f"m₀ of ten rules against the moment written out, {IN_EPSILON} times what that loses",
            (off(d.mass, d.written_mass) / unit).max(),
            8,
        ),
        Check(
            f"m₂/m₀ of ten rules against the moments written out, {IN_EPSILON} times what those lose",
            (off(d.share, d.written_share) / unit).max(),
            8,
        ),
        Check.at_least("the same with 2c² for c², of every rule", wrong, 8e3),
        Check(
            f"E[−rw'(r)]/m₀ of ten rules against 1 − m₂/m₀ (by parts), {IN_EPSILON} times 1 + m₂/m₀",
            stein(1.0).max(),
            16,
        ),
        Check.at_least("the same with half of it, of every rule", stein(0.5).max("cutoff").min(), 16e3),
        Check(
            "moments derived by hand that differ in one of their ten digits",
            (d.digits.round(10) != d.printed).sum(),
            0,
        ),
        Check(
            f"m₂/m₀ of six rules that stall against their limits, at a = 10⁻⁶⁰, {IN_EPSILON} times |ln a|",
            (off(d.cold, d.limit) / cold).max(),
            4,
        ),
        Check.at_least(
            "the first of these with ∫G left out",
            (off(d.cold, d.limit * d.wrong_factor) / cold).min(),
            4000,
        ),
        Check(
            f"m₂/m₀ with tails |r|^(−α) against its limit, α from 1/4 to 6, at a = 10⁻⁶⁰, {IN_EPSILON} times |ln a|",
            (off(d.tail_share, d.tail_limit) / cold).max(),
            4,
        ),
        Check.at_least(
            "smallest share that is left where α < 1", d.tail_share.where(d.exponent < 1).min(), 0.2
        ),
        Check("largest share that is left where α ≥ 1", d.tail_share.where(d.exponent >= 1).max(), 0.02),
        Check(
            f"slowest rate against the precision form with moments written out, {IN_EPSILON} times what those lose",
            (off(d.rate, d.written_rate) / unit).max(),
            8,
        ),
        Check("m₂/m₀ of sampled rows, in standard errors", rows.max(), bound),
        Check.at_least(
            "the same with a cutoff 15 % too large, of every rule",
            in_standard_errors(d.sampled, d.sampled_wrong, d.error).max(axis=-1).min(),
            bound,
        ),
        Check.at_least(
            "the same with shuffled weights, of every rule",
            in_standard_errors(d.shuffled, d.sampled_exact, d.shuffled_error).max(axis=-1).min(),
            bound,
        ),
    )
    at = lambda name: float(d.drawn_share.sel(rule=name).sel(drawn=0.01, method="nearest"))
    at_one = lambda name: float(d.share.sel(rule=name).sel(cutoff=1.0, method="nearest"))
    tail = lambda alpha: float(d.tail_share.sel(exponent=alpha))
    return Verdict(
        checks,
        headline=(
            f"No: at a hundredth of the residual's standard deviation FLOW keeps {at('FLOW'):.5f} of the variance "
            f"along the shift, Cauchy's rule {at('Cauchy'):.4f}, Huber's {at('Huber'):.2f}, but FLOW with a floor of "
            f"5 % {at('clipped'):.2f}. Tails $|r|^{{-1/2}}$ never keep less than {tail(0.5):.2f}."
        ),
        measured=(
            "With label noise no rule stalls for good: at $\\sigma^2 = 0.5\\,v$ the slowest rate of a threshold at "
            f"$s/2$ is {float(d.rate.sel(rule='threshold', noise=NOISE)[0]):.3f}, without noise "
            f"{float(d.rate.sel(rule='threshold', noise=0.0)[0]):.3f}.",
            "At a cutoff of one standard deviation the shares are "
            + ", ".join(f"{name} {at_one(name):.3f}" for name in d.rule.values if name != "KL-DRO") + ".",
        ),
    )  # fmt: skip


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """Every rule with its share at three cutoffs."""
    places = (0.1, 1.0, 3.0)
    near = lambda name, a: float(dataset.drawn_share.sel(rule=name).sel(drawn=a, method="nearest"))
    cell = lambda value: "–" if np.isnan(value) else f"{value:.4f}"
    rows = tuple((str(name), *(cell(near(name, a)) for a in places)) for name in dataset.rule.values)
    header = ("rule", *(f"$a \\approx {a:g}$" for a in places))
    return (Table("What a rule keeps along the shift, $m_2/m_0$", header, rows),)
