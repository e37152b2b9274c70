"""What a computation is said to have cost."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from paper_reproduction.mlp import hardware


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
