"""What tests/test_devices.py runs in processes of its own: several devices, or several hosts, see the same rows.

    python -m tests.device_script devices OUT.npz AXES    4 devices, on a mesh with Auto or Explicit axes
    python -m tests.device_script host OUT.npz PORT ID    one of two hosts, each with half of the rows

Measures only; what is right is decided by the test.
"""

from __future__ import annotations

import math
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import linear_theory as lt
from tests.strategies import random_data

N, D = 512, 3
ROWS = random_data(N, D, D, condition=5.0, seed=7, weights=True)
X, Y, START, WEIGHTS = ROWS.X, ROWS.y, ROWS.start, ROWS.weights
DEFICIENT = np.column_stack([X[:, :2], 2 * X[:, 0]])
"""Exactly: no Gram matrix will do, the rows are factorised."""


def _gradient(solution, place):
    """Of ‖θ‖² in one argument."""
    return lambda *rows: jax.grad(lambda *rows: (solution(*rows) ** 2).sum(), argnums=place)(*rows)


def _solved(X, y, start, weights):
    return lt.solve(X, y, start, weights).theta


def _summed(X, y, start, weights):
    return lt.NormalEquations.of(X, y, start, weights).solve().theta


def _walk(solver, steps):
    def walked(X, y, start, weights):
        path = lt.descend(X, y, start, weights, solver, steps)
        return path.theta, path.loss, path.distance

    return walked


def _diagnosed(X, y, start, weights):
    found = lt.diagnose(X, y, start)
    return found.temperature, found.mean_weight, found.target_errors


# name -> function of (X, y, start, weights); its results are what one device must give, too
CALLS = {
    "solve": lambda *rows: (lambda s: (s.theta, s.residual, s.rank))(lt.solve(*rows)),
    "ridge": lambda *rows: lt.solve(*rows, 0.3).theta,
    "normal equations": lambda *rows: (lambda e: (e.gram, e.solve(0.1).theta))(lt.NormalEquations.of(*rows)),
    "merged": lambda *rows: (
        sum([lt.NormalEquations.of(*rows)] * 2, lt.NormalEquations.empty(rows[2])).solve().theta
    ),
    "gradient descent": _walk(lt.descent.GradientDescent(), 6),
    "conjugate gradients": _walk(lt.descent.ConjugateGradient(), 2),
    "stochastic gradients": _walk(lt.descent.StochasticGradient(8, seed=1, learning_rate=0.1), 3),
    "temperature path": lambda X, y, start, _: lt.temperature_path(X, y, start, np.array([0.5, 4.0])).theta,
    "derivative in X": _gradient(_solved, 0),
    "derivative in the weights": _gradient(_solved, 3),
    "derivative of the sums": _gradient(_summed, 0),
    "flow weights": lambda X, y, start, _: lt.flow_weights((y - X @ start) ** 2),
    "median": lambda X, y, start, _: lt.median_temperature((y - X @ start) ** 2),
    "diagnose": _diagnosed,
}
SORTED = {"flow weights", "median", "diagnose"}
"""Where the median is taken: it sorts, and for that the n losses (not the rows) come to every device."""


def columns(name):
    """The rows for this call."""
    return DEFICIENT if name == "deficient" else X


CALLS["deficient"] = CALLS["solve"]
AS_IT_IS = {
    "solve",
    "deficient",
    "normal equations",
    "gradient descent",
    "flow weights",
    "median",
    "diagnose",
}
"""What is run without ``jit`` too, on explicit axes, which are automatic inside; more would only cost time."""
HOSTED = "solve", "deficient", "normal equations", "gradient descent", "conjugate gradients", "flow weights"


def travels(compiled):
    """How many numbers the largest array holds that leaves its device, or is summed over devices."""
    ways = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
    moved = re.findall(rf"= \(?(.*?)\)? (?:{ways})(?:-start)?\(", compiled.as_text())
    shapes = [shape for line in moved for shape in re.findall(r"\w\d+\[([\d,]*)\]", line)]
    return max((math.prod(int(size) for size in shape.split(",") if size) for shape in shapes), default=0)


def _wrong(mesh, rows):
    """Without the sum over devices: every device its own normal equations, and the first one's answer."""
    split, whole = PartitionSpec("rows"), PartitionSpec()
    own = jax.shard_map(
        _summed, mesh=mesh, in_specs=(split, split, whole, split), out_specs=whole, check_vma=False
    )
    return jax.jit(own)(*rows)


def _gathers(X, y, start, weights):
    """What the library must not do: every row on every device."""
    return jnp.linalg.lstsq(X, y)[0]


def devices(out, axes):
    """Every call on sharded rows, as it is and compiled."""
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType[axes],))
    split = NamedSharding(mesh, PartitionSpec("rows"))
    found = {}

    def given(name=""):
        sharded = [jax.device_put(array, split) for array in (columns(name), Y, WEIGHTS)]
        return (*sharded[:2], START, sharded[2])

    with jax.set_mesh(mesh):
        for name, call in CALLS.items():
            rows = given(name)
            compiled = jax.jit(call).lower(*rows).compile()
            found[f"{name}/travels"] = travels(compiled)
            ways = {"compiled": compiled} | (
                {"as it is": call} if name in AS_IT_IS and axes == "Explicit" else {}
            )
            for way, run in ways.items():
                for i, value in enumerate(jax.tree.leaves(run(*rows))):
                    found[f"{name}/{way}/{i}"] = np.asarray(value)
        rows = given()
        left = rows[1] - rows[0] @ lt.solve(*rows).theta  # what comes out meets what went in
        found["meets"] = np.asarray(left * lt.flow_weights(left**2))
        if axes == "Auto":
            found["wrong"] = np.asarray(_wrong(mesh, rows))
            found["gathers/travels"] = travels(jax.jit(_gathers).lower(*rows).compile())
    np.savez(out, **found)


def host(out, port, number):
    """One of two hosts with 2 devices each: half of the rows is all it ever holds."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, number, initialization_timeout=30)
    found = {"devices": jax.device_count(), "local devices": jax.local_device_count()}
    split = NamedSharding(jax.make_mesh((4,), ("rows",)), PartitionSpec("rows"))
    half = slice(number * N // 2, (number + 1) * N // 2)
    for name in HOSTED:
        own = (array[half] for array in (columns(name), Y, WEIGHTS))
        X, y, weights = (jax.make_array_from_process_local_data(split, array) for array in own)
        run = CALLS[name] if name == "solve" else jax.jit(CALLS[name])
        for i, value in enumerate(jax.tree.leaves(run(X, y, START, weights))):
            parts = {str(shard.index): np.asarray(shard.data) for shard in value.addressable_shards}
            found[f"{name}/{i}"] = (
                np.concatenate(list(parts.values())) if len(parts) > 1 else parts.popitem()[1]
            )
    np.savez(out, **found)
    jax.distributed.shutdown()


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    if sys.argv[1] == "devices":
        devices(*sys.argv[2:])
    else:
        host(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
