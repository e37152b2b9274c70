"""Weights of checkpoints at long steps, and the paths and weights that are drawn."""

from __future__ import annotations

import numpy as np

import linear_theory as lt

RHO = 0.6
DRAWN_STEPS, DRAWN_STEP, DRAWN_BETA, DRAWN_KLDRO = 16, 0.1, 0.2, 5.0  # of the picture; ημ is the second
LONG_STEPS = (2, 3, 5, 10)


def threshold(rho: float) -> float:
    """The β from which on a weight is negative at the step 1/(2μ) and K ≥ 3, by bisection on its equation."""
    r2, low, high = rho**2, 1.0, 1 / rho
    for _ in range(100):
        beta = (low + high) / 2
        negative = (1 + beta * r2) * (1 - beta * r2) ** 3 < r2**2 * (beta - 1) * (1 + beta) ** 3
        low, high = (low, beta) if negative else (beta, high)
    return (low + high) / 2


def long_steps() -> dict[str, tuple]:
    """The least weight at the paper's step against β, and where it turns negative."""
    problem, beta = lt.paper_problem(RHO), np.linspace(0.1, 1.6, 31)
    at = lambda one, steps: lt.checkpoint_weights(problem, steps, temperature=lt.stall_temperature(one, RHO))
    least = np.array([[at(one, steps).min() for one in beta] for steps in LONG_STEPS])
    turn = threshold(RHO)
    beside = np.array(
        [[at(turn * (1 + sign * 1e-9), steps).min() for sign in (-1, 1)] for steps in LONG_STEPS[1:]]
    )
    return {
        "least_long": (("long", "beta"), least, {"long_name": "least weight at the step 1/(2μ)"}),
        "beside": (("longer", "side"), beside, {"long_name": "the same just below and above the threshold"}),
        "threshold": ((), turn, {"long_name": "β from which on it is negative, K ≥ 3"}),
        "beta": ("beta", beta, {"long_name": "β"}),
        "printed_smallest": ((), at(1.4, 5).min()),
    }


def drawn_paths() -> dict[str, tuple]:
    problem = lt.paper_problem(RHO)
    k = np.arange(DRAWN_STEPS + 1)
    rules = (lt.stall_temperature(DRAWN_BETA, RHO), lt.weights.KLDRO(DRAWN_KLDRO))
    rates = [DRAWN_STEP / float(lt.weight_mass(problem, rule)) for rule in rules]
    paths = [lt.iterate(problem, k, rate, rule) for rate, rule in zip(rates, rules, strict=True)]
    weights = [
        lt.checkpoint_weights(problem, DRAWN_STEPS, rate, rule)
        for rate, rule in zip(rates, rules, strict=True)
    ]
    return {
        "standard": (("k", "axis"), lt.iterate(problem, k, DRAWN_STEP), {"long_name": "y_k − θ̃*, over ‖e‖"}),
        "path": (("rule", "k", "axis"), np.stack(paths), {"long_name": "θ_k − θ̃*, over ‖e‖"}),
        "weight": (("rule", "k"), np.stack(weights), {"long_name": "a_k"}),
        "kldro_last": ((), 1 / (1 - 2 / DRAWN_KLDRO), {"long_name": "1/(1 − 2s²/τ)"}),
        "temperature": ((), rules[0]),
    }  # fmt: skip
