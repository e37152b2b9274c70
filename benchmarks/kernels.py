"""Which numbers are the same on every processor, and to what: ``python -m benchmarks.kernels``.

The claims at ``--quick`` and a handful of functions are computed again, in a process of its own each time, with the
kernels of other processors in OpenBLAS, NumPy and XLA, as far as this processor can run them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

EPS = float(np.finfo(float).eps)
Numbers = dict[str, dict[str, float]]


def kernels() -> Iterator[tuple[str, dict[str, str]]]:
    """Names and environments; the first is that of the library's own choice."""
    from numpy._core import _multiarray_umath as loops  # pyright: ignore[reportAttributeAccessIssue]

    wide = [name for name in loops.__cpu_dispatch__ if loops.__cpu_features__[name]]
    yield "the libraries' own choice", {}
    yield "one thread", {"OPENBLAS_NUM_THREADS": "1"}
    narrow = (
        {"NPY_DISABLE_CPU_FEATURES": " ".join(wide), "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"} if wide else {}
    )
    for core, needed in {"SkylakeX": "AVX512F", "Haswell": "AVX2", "Nehalem": "SSE42"}.items():
        if loops.__cpu_features__.get(needed, False):
            more = {} if core == "SkylakeX" else narrow
            told = f" with NumPy's {', '.join(wide)} off and XLA up to AVX2" if more else ""
            yield f"OpenBLAS for {core}{told}", {"OPENBLAS_CORETYPE": core} | more


def functions() -> dict[str, list[float]]:
    """Values of functions of every room, on fixed problems."""
    import linear_theory as lt

    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    spread = (basis * np.geomspace(0.1, 1.0, 20)) @ basis.T
    shift = rng.standard_normal(20)
    problem = lt.FineTuningProblem(shift, np.zeros(20), (spread + spread.T) / 2, noise_variance=0.3)
    tau = lt.population_median_temperature(problem)
    X = rng.standard_normal((5000, 20))
    y = X @ shift + rng.standard_normal(5000)
    losses = (y - X @ np.zeros(20)) ** 2
    weights = lt.flow_weights(losses)
    steps, beta = np.array([1, 10, 1000]), np.geomspace(1e-6, 1.5, 50)
    found = {
        "weight_mass": lt.weight_mass(problem, tau),
        "weighted_covariance": lt.weighted_covariance(problem, tau),
        "iterate": lt.iterate(problem, steps, temperature=tau),
        "gradient_flow": lt.gradient_flow(problem, 3.0, tau),
        "fixed_point": lt.fixed_point(problem, tau),
        "closed_form": lt.closed_form(beta, 0.6, 1000),
        "half_life": lt.half_life(beta, 0.6),
        "joint_optimum": lt.joint_optimum(problem),
        "total_error": lt.total_error(problem, lt.fixed_point(problem, tau)),
        "sgd_error": lt.sgd_error(problem, 100, 1e-3, tau),
        "flow_weights": weights,
        "solve": lt.solve(X, y, np.zeros(20), weights).theta,
        "descend": lt.descend(X, y, np.zeros(20), weights, steps=100).theta[-1],
    }
    return {name: np.ravel(np.asarray(value, dtype=float)).tolist() for name, value in found.items()}


def margins() -> Numbers:
    """Of every check of every claim the share of its bound that it uses up."""
    from paper_reproduction import registry
    from paper_reproduction.claim import Settings

    def of(entry: registry.Entry) -> dict[str, float]:
        verdict = entry.verdict(entry.compute(Settings(quick=True)))
        assert verdict.holds, [check.name for check in verdict.checks if not check.holds]
        return {check.name: check.margin for check in verdict.checks}

    # A trained network is the same within standard errors only.
    return {entry.name: of(entry) for entry in registry.PAPER.discover() if entry.name != "network-stall"}


def measured(environment: dict[str, str]) -> dict[str, dict]:
    """Functions and margins in a process with these variables."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.kernels", "here"]
    root = Path(__file__).resolve().parent.parent
    inherited = os.environ | {"PYTHONPATH": str(root), "JAX_ENABLE_X64": "1"} | environment
    done = subprocess.run(command, env=inherited, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def apart(one: list[float], other: list[float]) -> float:
    """The largest difference over the largest number, in ε."""
    a, b = np.array(one), np.array(other)
    return float(np.abs(a - b).max() / np.abs(a).max() / EPS)


def main() -> None:
    """Print the two tables of docs/portability.md, and under which kernels they were made."""
    names, environments = zip(*kernels(), strict=True)
    own, *others = (measured(environment) for environment in environments)
    print("Compared with " + names[0] + ": " + "; ".join(names[1:]) + ".\n")
    print("| function | largest difference, in ε of the largest number |\n| --- | ---: |")
    for name, values in own["functions"].items():
        print(f"| `{name}` | {max(apart(values, other['functions'][name]) for other in others):.1f} |")
    print("\n| claim | largest change of a figure, share of its bound |\n| --- | ---: |")
    for name, checks in own["margins"].items():
        moved = [abs(other["margins"][name][c] - m) for other in others for c, m in checks.items()]
        print(f"| {name} | {max(moved):.1g} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["here"]:
        print(json.dumps({"functions": functions(), "margins": margins()}))
    else:
        main()
