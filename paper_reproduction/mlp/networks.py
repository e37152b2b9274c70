"""The networks: a trunk that both tasks share, and a head for each task; plain pytrees, float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from paper_reproduction.claim import Settings

Array = Any  # jax.Array, or NumPy on the way in


class Network(NamedTuple):
    """Trunk and head, each the arrays of an equinox module."""

    trunk: Any
    head: Any


class Architecture:
    """Pixels → tanh layers → features → linear head. Hashable by identity: compiled once."""

    def __init__(self, inputs: int, width: int, depth: int, outputs: int) -> None:
        self._make = lambda dtype, key: eqx.nn.MLP(
            inputs,
            width,
            width,
            depth - 1,
            activation=jnp.tanh,
            final_activation=jnp.tanh,
            dtype=dtype,
            key=key,
        )
        self._head = lambda dtype, key: eqx.nn.Linear(width, outputs, dtype=dtype, key=key)
        self._static_trunk, self._static_head = _without_arrays(self._make), _without_arrays(self._head)

    def initial(self, key: Array, dtype: Any = jnp.float32) -> Network:
        """Equinox's own initialisation, drawn in this precision, whatever JAX's default one is."""
        one, two = jax.random.split(key)
        trunk = eqx.filter(self._make(dtype, one), eqx.is_inexact_array)
        head = eqx.filter(self._head(dtype, two), eqx.is_inexact_array)
        return Network(trunk, head)

    def features(self, trunk: Any, images: Array) -> Array:
        """(n, pixels) → (n, width)."""
        return jax.vmap(eqx.combine(trunk, self._static_trunk))(images)

    def read(self, network: Network, features: Array) -> Array:
        """(n, width) → (n, outputs)."""
        return jax.vmap(eqx.combine(network.head, self._static_head))(features)

    def logits(self, network: Network, images: Array) -> Array:
        """(n, pixels) → (n, outputs)."""
        return self.read(network, self.features(network.trunk, images))


def _without_arrays(make: Callable[[Any, Array], Any]) -> Any:
    """What a module holds besides its arrays; none of them is made, as that would compile."""
    outline = eqx.filter_eval_shape(lambda: make(jnp.float32, jax.random.key(0)))
    return eqx.filter(outline, lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))


def keys(settings: Settings, name: str, seeds: int) -> Array:
    """One key a seed; a seed's is the same however many seeds there are."""
    return jnp.stack([jax.random.key(int(settings.rng(f"{name} {s}").integers(2**31))) for s in range(seeds)])


def blank_head(network: Network) -> Network:
    """The same trunk with a head of zeros."""
    return Network(network.trunk, jax.tree.map(jnp.zeros_like, network.head))


def accuracy(logits: Array, labels: Array) -> Array:
    """Share of rows classified right; NaN where the network has left the floats: that is no guess."""
    right = jnp.mean((jnp.argmax(logits, axis=-1) == labels.astype(int)).astype(jnp.float32))
    return jnp.where(jnp.isfinite(logits).all(), right, jnp.nan)


def mixed(one: Network, other: Network, share: float) -> Network:
    """share · one + (1 − share) · other, parameter by parameter: WiSE-FT."""
    return jax.tree.map(lambda a, b: share * a + (1 - share) * b, one, other)
