"""What a computation is said to have cost."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from paper_reproduction.mlp import hardware
from paper_reproduction.mlp.experiments import lazy_limit


@partial(jax.jit, static_argnums=(1, 3))
def product(A, times: int, factor, more: tuple[int, ...]):
    for _ in range(times):
        A = A @ A
    return factor * A, jnp.asarray(more)


def test_a_timed_function_returns_what_it_returns_and_counts_its_operations():
    A = np.eye(64) / 2
    (got, more), cost = hardware.timed(product, A, 3, 2.0, (1, 2))
    np.testing.assert_array_equal(got, np.eye(64) * 2.0**-7)
    np.testing.assert_array_equal(more, [1, 2])
    assert set(cost) == {"wall", "flops_per_second", "share_of_peak"}
    wall, rate = float(cost["wall"]), float(cost["flops_per_second"])
    assert wall > 0
    assert rate * wall >= 3 * 2 * 64**3 * (1 - 1 / 64)  # three products, as XLA counts them
    assert all(value.attrs["long_name"] for value in cost.values())


def test_a_share_is_given_where_the_peak_is_known_alone(monkeypatch):
    kind = jax.devices()[0].device_kind
    monkeypatch.setattr(hardware, "PEAKS", {})
    assert np.isnan(hardware.timed(product, np.eye(8), 1, 1.0, ())[1]["share_of_peak"])
    monkeypatch.setattr(hardware, "PEAKS", {kind: 1e12})
    _, cost = hardware.timed(product, np.eye(8), 1, 1.0, ())
    assert float(cost["share_of_peak"]) == float(cost["flops_per_second"]) / 1e12


def side_by_side(jaxpr) -> int:
    """The most eigendecompositions of one level of a program, what is called for once being on that level."""
    inner = lambda equation: [one for one in jax.tree.leaves(equation.params, is_leaf=holds) if holds(one)]
    holds = lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
    here, deeper = 0, 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        below = [side_by_side(one) for one in inner(equation)]
        here += equation.primitive.name == "eigh"
        if equation.primitive.name in ("scan", "while", "cond"):
            deeper = max([deeper, *below])
        else:
            here += sum(below)
    return max(here, deeper)


def test_no_two_eigendecompositions_of_the_lazy_limit_stand_side_by_side():
    """On two cores JAX would wait for ever where both are batched (docs/api/index.md)."""
    with jax.enable_x64(True):
        keys = jnp.stack([jax.random.key(0)] * 2)
        program = jax.make_jaxpr(lazy_limit.gaps, static_argnums=(1, 3, 4))(keys, 8, 0.1, 12, (0, 1, 2))
        twice = jax.make_jaxpr(jax.vmap(lambda A: (jnp.linalg.eigh(A), jnp.linalg.eigh(2 * A))))
        assert side_by_side(twice(jnp.stack([jnp.eye(3)] * 2))) == 2
    assert side_by_side(program) == 1
