"""What a computation cost: seconds without compiling, floating-point operations, share of the chip's peak."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import xarray as xr

# Peak of float64 outside the tensor cores, flop/s, as the makers state it; elsewhere no share is given.
PEAKS = {"NVIDIA H100 80GB HBM3": 33.5e12, "NVIDIA H200": 33.5e12}


def timed(function: Any, *arguments: Any) -> tuple[Any, dict[str, Any]]:
    """The result of a jitted function, and seconds, flop/s and share of peak as scalars of a dataset.

    Compiled first, so that the seconds are those of running; the operations are XLA's own count of one pass (a loop
    whose length it does not know counts once, so that the rate is a lower bound).
    """
    compiled = function.lower(*arguments).compile()
    dynamic = compiled.in_tree.num_leaves
    leaves = [a for a in arguments if not isinstance(a, int | tuple)]
    assert dynamic == len(leaves)
    clock = time.perf_counter()
    result = jax.block_until_ready(compiled(*leaves))
    seconds = time.perf_counter() - clock
    counted = (compiled.cost_analysis() or {}).get("flops", math.nan)
    rate = counted / seconds if counted > 0 else math.nan
    share = rate / PEAKS.get(jax.devices()[0].device_kind, math.nan)
    cost = {
        "wall": xr.DataArray(seconds, attrs={"long_name": "seconds, without compiling"}),
        "flops_per_second": xr.DataArray(rate, attrs={"long_name": "XLA's operations a second"}),
        "share_of_peak": xr.DataArray(share, attrs={"long_name": "of the chip's float64 peak"}),
    }
    return result, cost
