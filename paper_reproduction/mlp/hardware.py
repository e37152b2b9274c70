"""What a computation cost on this machine, and how it is kept from disturbing itself."""

from __future__ import annotations

import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

# Peak of float64 outside the tensor cores, flop/s, as the makers state it; elsewhere no share is given.
PEAKS = {"NVIDIA H100 80GB HBM3": 33.5e12, "NVIDIA H200": 33.5e12}

# Decorator: small matrices on one BLAS thread. Two threads that wait for each other beside other work take ten times
# as long.
quiet = threadpool_limits.wrap(limits=1, user_api="blas")


def double(function: Any) -> Any:
    """Decorator: in float64, whatever JAX's own precision is at the moment; what it is afterwards is what it was."""

    @functools.wraps(function)
    def in_double(*arguments: Any, **named: Any) -> Any:
        with jax.enable_x64(True):
            return function(*arguments, **named)

    return in_double


_compiled: dict[Any, Any] = {}


def timed(function: Any, *arguments: Any) -> tuple[Any, dict[str, Any]]:
    """The result of a jitted function, and seconds, flop/s and share of peak as scalars of a dataset.

    Integers and tuples among the arguments are static. Compiled first, so that the seconds are those of running. The
    operations are XLA's own count (a loop whose length it does not know counts once: the rate is a lower bound).
    """
    static = tuple(value for value in arguments if isinstance(value, int | tuple))
    moving = [value for value in arguments if not isinstance(value, int | tuple)]
    which = (function, static, *((np.shape(v), str(jnp.result_type(v))) for v in moving))
    if which not in _compiled:
        _compiled[which] = function.lower(*arguments).compile()
    compiled = _compiled[which]
    clock = time.perf_counter()
    result = jax.block_until_ready(compiled(*moving))
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
