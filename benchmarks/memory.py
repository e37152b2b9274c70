"""Peak memory beyond the inputs, in a fresh process for every number.

``python -m benchmarks.memory NAME SIZE…`` makes the inputs, runs the work once on a few rows (so that the code
is loaded), notes what is resident, runs it, and prints how far the resident set rose above that. A second run
under ``tracemalloc`` counts what Python and NumPy allocated, which misses what LAPACK and JAX take.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .packages import PACKAGES
from .race import cores
from .works import chunks, rows, streamed

STREAM = "stream"


def measure(job: tuple[Any, ...]) -> dict[str, float]:
    """Bytes ``resident`` and ``traced`` of a job: (package, n, d) or ("stream", n, width, chunk)."""
    command = [sys.executable, "-m", "benchmarks.memory", *map(str, job)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"memory of {job}: {done.stderr}")
    return json.loads(done.stdout)


def measure_all(jobs: Iterable[tuple[Any, ...]]) -> list[dict[str, float]]:
    """A process a core at a time: memory does not depend on who runs beside."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(measure, jobs))


def resident(which: str) -> int:
    """``VmRSS``, what is resident now, or ``VmHWM``, the most since the last reset, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"this system does not tell {which}; peak memory is measured on Linux")


def resident_rise(call: Callable[[], Any]) -> int:
    """Bytes by which the resident set rose, at its highest, while the call ran."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from VmRSS
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


def traced_rise(call: Callable[[], Any]) -> int:
    """Bytes that Python and NumPy held at most while the call ran."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _job(name: str, *size: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The work on a few rows, and the work."""
    if name == STREAM:
        n, width, length = size
        start, parts = chunks(length, width)
        few_start, few = chunks(8, 4)
        return lambda: streamed(few_start, few, 64), lambda: streamed(start, parts, n)
    n, d = size
    return PACKAGES[name](rows(64, 4)), PACKAGES[name](rows(n, d))


if __name__ == "__main__":
    few, work = _job(sys.argv[1], *map(int, sys.argv[2:]))
    few()
    print(json.dumps({"resident": resident_rise(work), "traced": traced_rise(work)}))
