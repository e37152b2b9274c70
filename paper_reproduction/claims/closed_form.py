"""Eq. (14) against exact rational arithmetic, and (15) with the step from which it is good to 1 %."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import IN_EPSILON_TIMES_CONDITION, Check, Claim, Settings, Verdict

CLAIM = Claim(
    name="closed-form",
    title="Two eigenvalues give every iterate, and soon one of them is enough",
    statement=(
        "The error after $K$ steps of FLOW has two components, one along the shift and one across, and both are "
        "sums of two geometric sequences. "
        r"$\beta$ stands for the temperature: $\tau = 2\beta(1-\rho^2)\lVert e\rVert^2/(1-\beta^2\rho^2)$. "
        "Here the formula is held against the matrix power itself, in exact rational arithmetic. "
        r"After a few steps the faster sequence is gone and only $\gamma(e - \beta\rho"
        r"\lVert e\rVert\bar e_\perp)$ is left: the error has turned into the stalled direction. The step from "
        r"which this holds to one percent follows from the ratio of the eigenvalues."
    ),
    equation="(14), (15)",
    formula=(
        r"\theta_K - \tilde\theta^\ast = \frac{(\lambda_1^K + \beta^2\rho^2\lambda_2^K)\, e - \beta\rho"
        r"(\lambda_1^K - \lambda_2^K)\lVert e \rVert \bar e_\perp}{1 + \beta^2\rho^2} \approx "
        r"\gamma\,(e - \beta\rho \lVert e \rVert \bar e_\perp)"
    ),
    functions=("closed_form", "stall_approximation", "stall_spectrum", "stall_temperature", "iterate"),
    seconds=8.0,
    quick_seconds=3.0,
    order=60,
)

EPS = float(np.finfo(float).eps)
RHOS = (0.1, 0.3, 0.6, 0.9)
SHARES = (0.003, 0.03, 0.1, 0.3, 0.7, 0.95, 0.9999)  # βρ
STEPS = (0, 1, 2, 3, 10, 31, 100, 240)
TOLERANCE = 0.01


def _powers(beta: float, rho: float, squared: bool = True) -> list[tuple[Fraction, Fraction]]:
    """Q^K applied to (1, 0) for each K of STEPS, exactly: floats are rational numbers, and so is Q of eq. (9)."""
    b, r = Fraction(beta), Fraction(rho)
    mass = b * (1 - r**2) / ((1 + b) * (1 - b * r**2))
    mass2 = mass if squared else mass**2
    a, c, d = 1 - mass2, -r * mass2, r**2 * (1 - mass2)
    found: dict[int, tuple[Fraction, Fraction]] = {}
    along, across = Fraction(1), Fraction(0)
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            found[step] = (along, across)
        along, across = a * along + c * across, c * along + d * across
        along, across = _trim(along), _trim(across)
    return [found[step] for step in STEPS]


def _trim(value: Fraction) -> Fraction:
    """Cut to 400 significant bits: 10⁻¹²⁰ relative, a hundred digits below what is compared."""
    if value == 0:
        return value
    shift = 400 - (value.numerator.bit_length() - value.denominator.bit_length())
    scaled = value * Fraction(2) ** shift
    return Fraction(round(scaled)) / Fraction(2) ** shift


def _relative(found: float, exact: Fraction) -> float:
    """|found/exact − 1| without rounding the exact number first; 0/0 is agreement."""
    if exact == 0:
        return math.inf if found else 0.0
    return float(abs(Fraction(float(found)) - exact) / abs(exact))


def _onset(beta: float, rho: float) -> tuple[float, float]:
    """The first step from which (15) is within 1 % of (14): seen on the iterates, and predicted."""
    first, second = lt.stall_spectrum(beta, rho)
    ratio = abs(second) / first
    # ‖(14) − (15)‖/‖(14)‖ = r/√(1 + r²) with r = βρ|λ₂/λ₁|^K
    level = TOLERANCE / math.sqrt(1 - TOLERANCE**2)
    if beta * rho <= level:
        predicted = 0.0
    else:
        predicted = 1.0 if ratio == 0 else math.ceil(math.log(beta * rho / level) / -math.log(ratio))
    steps = np.arange(int(2 * predicted) + 20)
    exact, simple = (
        np.array(lt.closed_form(beta, rho, steps)),
        np.array(lt.stall_approximation(beta, rho, steps)),
    )
    bad = np.hypot(*(exact - simple)) > TOLERANCE * np.hypot(*exact)
    return float(bad.nonzero()[0].max(initial=-1) + 1), predicted


def compute(settings: Settings) -> xr.Dataset:
    """Errors of (14) and of iterate() on a grid, each in units of its derived bound; and the onset of (15)."""
    cells = (len(RHOS), len(SHARES), len(STEPS))
    closed, wrong, iterated = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    for i, rho in enumerate(RHOS):
        problem = lt.paper_problem(rho)
        for j, share in enumerate(SHARES):
            beta = share / rho
            first, _ = lt.stall_spectrum(beta, rho)
            found = np.array(lt.closed_form(beta, rho, STEPS))
            path = lt.iterate(problem, STEPS, temperature=lt.stall_temperature(beta, rho)).T
            exact, mistaken = _powers(beta, rho), _powers(beta, rho, squared=False)
            for k, step in enumerate(STEPS):
                # λ^K loses K|ln λ| units of ε in the logarithm; near standard fine-tuning λ₁ + λ₂ ∝ 1 − βρ, and a
                # rounding of β or ρ moves that by 1/(1 − βρ). That is all (14) may lose.
                unit = EPS * (1 + step * abs(math.log(first)) + 1 / (1 - share))
                closed[i, j, k] = max(_relative(found[c, k], exact[k][c]) for c in (0, 1)) / unit
                wrong[i, j, k] = max(_relative(found[c, k], mistaken[k][c]) for c in (0, 1)) / unit
                # An eigenvalue solver knows λ to a rounding of 1, so λ^K to K/λ.
                gap = math.hypot(*(float(Fraction(float(path[c, k])) - exact[k][c]) for c in (0, 1)))
                size = math.hypot(*(float(exact[k][c]) for c in (0, 1)))
                iterated[i, j, k] = gap / size / (EPS * (1 + step / first)) if size else gap
    fine = np.geomspace(0.012, 0.97, 40 if settings.quick else 150)
    onset = np.array([[_onset(share / rho, rho) for share in fine] for rho in RHOS])
    shown = np.arange(0, 41)
    drawn = np.array([0.1, 0.3, 1.0, 1.5])
    exact, simple = (f(drawn[:, None], 0.6, shown) for f in (lt.closed_form, lt.stall_approximation))
    apart = np.hypot(exact[0] - simple[0], exact[1] - simple[1]) / np.hypot(*exact)
    grid = ("rho", "share", "step")
    return xr.Dataset(
        {
            "closed_error": (grid, closed, {"long_name": "(14) against the power, in ε times the condition number"}),
            "wrong_error": (grid, wrong, {"long_name": "the same with μ in place of μ²"}),
            "iterate_error": (grid, iterated, {"long_name": "iterate() against the power, same units"}),
            "onset": (("rho", "fine"), onset[..., 0], {"long_name": "step from which (15) holds to 1 %"}),
            "onset_predicted": (("rho", "fine"), onset[..., 1], {"long_name": "the same, predicted"}),
            "apart": (("beta", "shown"), apart, {"long_name": "relative distance of (15) from (14), ρ = 0.6"}),
        },
        coords={"temperature": ("beta", lt.stall_temperature(drawn, 0.6), {"long_name": "τ", "units": "‖e‖²"}),
                "rho": list(RHOS), "share": list(SHARES), "step": list(STEPS), "fine": fine,
                "beta": drawn, "shown": shown},
        attrs={"tolerance": TOLERANCE, "drawn_rho": 0.6},
    )  # fmt: skip


def verdict(dataset: xr.Dataset) -> Verdict:
    """Formula, iterates and onset."""
    ds = dataset
    off = np.abs(ds.onset - ds.onset_predicted)
    moving = ds.step.values >= 1
    late = ds.onset.max("fine").values
    return Verdict(
        checks=(
            Check(
                f"(14) against the exact power, each component, {IN_EPSILON_TIMES_CONDITION}",
                ds.closed_error.max(),
                64,
            ),
            Check.at_least(
                "the same distance if μ stood for μ²", ds.wrong_error.values[:, :-1, moving].min(), 64e3
            ),
            Check(
                f"iterate() against the exact power, {IN_EPSILON_TIMES_CONDITION}",
                ds.iterate_error.max(),
                64,
            ),
            Check("step from which (15) holds to 1 %: seen minus predicted", off.max(), 0),
            Check.at_least(
                "cells of (ρ, β) in which (15) is not good to 1 % at once", int((ds.onset > 0).sum()), 20
            ),
        ),
        findings=(
            "One eigenvalue is not soon enough at every temperature. Near standard fine-tuning (τ → ∞) both "
            "eigenvalues have the same size and there is no single stalled direction: over all temperatures "
            f"shown, (15) is good to 1 % from step {late.min():.0f} on for ρ = {ds.rho.values[late.argmin()]:g}, but "
            f"only from step {late.max():.0f} on for ρ = {ds.rho.values[late.argmax()]:g}.",
        ),
    )
