"""The same works on an accelerator, in absolute times, float64.

``python -m benchmarks.gpu`` measures on JAX's default device and writes ``results/gpu-CHIP.json``, which the
table shows; where JAX finds no accelerator it refuses. ``--quick`` takes small sizes and any device, and writes
into ``out/benchmarks``: it shows that the code runs, and its times are nobody's.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linear_theory as lt

from . import works
from .goals import FULL, QUICK, Sizes, goals
from .race import Spread, timed
from .report import RESULTS, gpu_lines, store

ROUNDS = 11


def seconds(call: Callable[[], Any]) -> tuple[list[float], Any]:
    """Of ``ROUNDS`` calls after the first, which compiles; and the answer."""
    finished = lambda: jax.block_until_ready(call())
    answer = finished()
    return [timed(finished)[0] for _ in range(ROUNDS)], answer


def product_rate(side: int) -> float:
    """Flops a second of a product of two (side, side) matrices in float64: the limit here."""
    factor = jnp.asarray(np.random.default_rng(0).standard_normal((side, side)))
    multiply = jax.jit(lambda a: a @ a)
    return 2.0 * side**3 / min(seconds(lambda: multiply(factor))[0])


def measured(sizes: Sizes, side: int) -> dict[str, dict[str, Any]]:
    """By the words of the goal: the seconds of each work, and their multiple of the bare flops."""
    rate = product_rate(side)
    words = {name: goal.work.removesuffix(", one core") for name, goal in goals(sizes).items()}
    found: dict[str, dict[str, Any]] = {}

    def enter(name: str, taken: list[float], flops: float = 0.0) -> None:
        spread = Spread.of(taken)
        limit = {"multiple": spread.median * rate / flops} if flops else {}
        found[words[name]] = {"seconds": spread, **limit}

    held = works.rows(*sizes.solve)
    given = works.Rows(*map(jnp.asarray, held))
    taken, theta = seconds(lambda: _solve(given))
    assert works.relative_error(theta, works.solve(held), held.start) <= works.AGREE
    enter("solve", taken, float(held.X.size) * held.X.shape[1])

    for count in sizes.temperatures:
        taus = works.two_decades(held, count)
        call = partial(_temperatures, given, jnp.asarray(taus))
        taken, theta = seconds(call)
        works.check_temperatures(held, taus, np.asarray(theta))
        enter(f"{count} temperatures", taken, float(held.X.size) * held.X.shape[1] * count)

    held, steps = works.rows(*sizes.path, spread=1.5), works.chosen_steps(sizes.steps, sizes.chosen)
    given = works.Rows(*map(jnp.asarray, held))
    along = jax.jit(works.path(steps))
    taken, theta = seconds(lambda given=given: along(given))
    works.check_path(held, steps, theta)
    enter("path", taken, float(held.X.size) * held.X.shape[1])

    start, parts = works.chunks(sizes.chunk, sizes.width)
    start, parts = jnp.asarray(start), [tuple(map(jnp.asarray, part)) for part in parts]
    taken, total = seconds(lambda: _streamed(start, parts, sizes.streamed))
    works.check_stream(start, parts, sizes.streamed, total)
    enter("stream", taken, float(sizes.streamed) * sizes.width**2)

    problem = lt.paper_problem(jnp.asarray(works.RHO), dim=sizes.dim)
    run = jax.jit(works.iterate(sizes.power))
    taken, theta = seconds(lambda: run(problem))
    works.check_iterate(sizes.power, theta)
    enter("iterate", taken)

    table = works.cells(sizes.cells)
    placed = works.Cells(*map(jnp.asarray, table))
    run_cells = jax.jit(works.closed_forms)
    taken, answer = seconds(lambda: run_cells(placed))
    works.check_cells(table, answer)
    enter("cells", taken)
    return found


_solve = jax.jit(works.solve)
_temperatures = jax.jit(lambda given, taus: works.temperatures(taus)(given))


@jax.jit
def _added(total: lt.NormalEquations, chunk: tuple[Any, ...]) -> lt.NormalEquations:
    X, y, weights = chunk
    return total + lt.NormalEquations.of(X, y, total.start, weights)


def _streamed(start: Any, parts: list[tuple[Any, ...]], n: int) -> lt.NormalEquations:
    total = lt.NormalEquations.empty(start)
    for chunk in works.handed_over(parts, n):
        total = _added(total, chunk)
    return total


def main(arguments: list[str] | None = None) -> Path:
    """Measure, write, show; the file that was written."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="The works of the benchmark table on an accelerator."
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, any device, into out/benchmarks")
    quick = parser.parse_args(arguments).quick
    device = jax.devices()[0]
    if device.platform == "cpu" and not quick:
        parser.error("JAX finds no accelerator here; --quick runs the same code on the CPU")
    with jax.enable_x64(True):
        found = measured(QUICK if quick else FULL, side=512 if quick else 8192)
    run = {
        "device": f"{device.device_kind} (JAX {jax.__version__}, {device.platform})",
        "command": "python -m benchmarks.gpu" + (" --quick" if quick else ""),
        "quick": quick,
        "works": found,
    }
    folder = Path("out/benchmarks") if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    chip = re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")
    path = folder / f"gpu-{chip}.json"
    store(run, path)
    print("\n".join(gpu_lines([run])))
    print(f"written: {path}")
    return path


if __name__ == "__main__":
    main()
