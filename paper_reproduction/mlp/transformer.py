"""A byte-level transformer of some 209 000 parameters: small enough to be really pre-trained on one core."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from paper_reproduction.mlp.networks import Array
from paper_reproduction.mlp.training import cross_entropy


class Transformer(NamedTuple):
    """Its sizes; hashable, so that what is compiled for one is kept."""

    symbols: int = 128
    context: int = 64
    width: int = 64
    heads: int = 4
    layers: int = 4

    def initial(self, key: Array) -> dict[str, Any]:
        """Gaussian matrices of variance 1/inputs; what is added to the stream is smaller, the more layers there are."""
        keys = iter(jax.random.split(key, 2 + 4 * self.layers))
        quieter = (2 * self.layers) ** -0.5
        draw = lambda rows, columns, scale: (
            scale * jax.random.normal(next(keys), (rows, columns), jnp.float32)
        )
        matrix = lambda rows, columns, scale=1.0: draw(rows, columns, scale * rows**-0.5)
        d = self.width
        ones = lambda: jnp.ones(d, jnp.float32)
        layer = lambda: {
            "attend": matrix(d, 3 * d),
            "gather": matrix(d, d, quieter),
            "up": matrix(d, 4 * d),
            "down": matrix(4 * d, d, quieter),
            "before_attention": ones(),
            "before_perceptron": ones(),
        }
        return {
            "symbols": draw(self.symbols, d, 0.02),
            "places": draw(self.context, d, 0.02),
            "layers": [layer() for _ in range(self.layers)],
            "last": ones(),
        }

    def logits(self, parameters: dict[str, Any], text: Array) -> Array:
        """(n, length) → (n, length, symbols): what follows each letter, seen the letters up to it."""
        length = text.shape[1]
        stream = parameters["symbols"][text] + parameters["places"][:length]
        for layer in parameters["layers"]:
            stream = stream + self._attention(layer, _normalised(stream, layer["before_attention"]))
            hidden = _normalised(stream, layer["before_perceptron"]) @ layer["up"]
            stream = stream + jax.nn.gelu(hidden) @ layer["down"]
        return _normalised(stream, parameters["last"]) @ parameters["symbols"].T

    def losses(self, parameters: dict[str, Any], windows: Array) -> Array:
        """(n, length + 1) → (n, length): the cross-entropy of each letter but the first, in nats."""
        return cross_entropy(self.logits(parameters, windows[:, :-1]), windows[:, 1:])

    def _attention(self, layer: dict[str, Array], stream: Array) -> Array:
        """Causal: a letter looks at itself and at what stands before it."""
        n, length, width = stream.shape
        each = width // self.heads
        # (n, 3 heads, length, each): queries, keys and values of all heads.
        seen = (stream @ layer["attend"]).reshape(n, length, 3 * self.heads, each).transpose(0, 2, 1, 3)
        query, key, value = jnp.split(seen, 3, axis=1)
        score = query @ key.swapaxes(-1, -2) * each**-0.5
        before = jnp.tril(jnp.ones((length, length), bool))
        share = jax.nn.softmax(jnp.where(before, score, -jnp.inf), axis=-1)
        return (share @ value).transpose(0, 2, 1, 3).reshape(n, length, width) @ layer["gather"]


def _normalised(stream: Array, scale: Array) -> Array:
    """Divided by its root mean square."""
    return scale * stream * jax.lax.rsqrt(jnp.mean(stream**2, axis=-1, keepdims=True) + 1e-6)
