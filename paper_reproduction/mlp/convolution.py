"""A residual convolutional network of some 22 000 parameters, without norm layers.

A convolution is written as patches times a matrix: on a CPU XLA runs that an order of magnitude faster than its own
convolution, and a kernel is then a matrix like any other, to which LoRA adds a product of thin ones.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from paper_reproduction.mlp.networks import Array, Network

KERNEL = 3


class ResidualNetwork:
    """Images (n, side, side), halved in side once, → features (n, width) → linear head.

    h₀ = relu(conv(x)),  h_{l+1} = h_l + conv(relu(conv(h_l))),  features = the mean of relu(h) over the pixels.
    The second convolution of a block starts small, so that each block starts near the identity: what norm layers
    would be for. Hashable by identity: compiled once.
    """

    def __init__(self, side: int, width: int, blocks: int, outputs: int) -> None:
        if side % 2:
            raise ValueError(f"the side of the images is halved once, so that it is even; got {side}")
        self._side, self._width, self._blocks, self._outputs = side, width, blocks, outputs

    def initial(self, key: Array) -> Network:
        """He's initialisation; the head is zero."""
        keys = jax.random.split(key, 1 + 2 * self._blocks)
        stem = _convolution(keys[0], 4, self._width)
        blocks = [
            (_convolution(a, self._width, self._width), _convolution(b, self._width, self._width, 0.1))
            for a, b in zip(keys[1::2], keys[2::2], strict=True)
        ]
        head = (jnp.zeros((self._width, self._outputs), jnp.float32), jnp.zeros(self._outputs, jnp.float32))
        return Network((stem, blocks), head)

    def features(self, trunk: Any, images: Array) -> Array:
        """(n, side, side) → (n, width)."""
        stem, blocks = trunk
        half = self._side // 2
        # Each 2 × 2 pixels become four channels, so that nothing is thrown away where the side is halved.
        squares = images.reshape(-1, half, 2, half, 2).transpose(0, 1, 3, 2, 4).reshape(-1, half, half, 4)
        hidden = jax.nn.relu(_convolved(squares, stem))
        for first, second in blocks:
            hidden = hidden + _convolved(jax.nn.relu(_convolved(hidden, first)), second)
        return jax.nn.relu(hidden).mean(axis=(1, 2))

    def logits(self, network: Network, images: Array) -> Array:
        """(n, side, side) → (n, outputs)."""
        matrix, offset = network.head
        return self.features(network.trunk, images) @ matrix + offset


def _convolution(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> tuple[Array, Array]:
    """The matrix (9 · inputs, outputs) of a convolution, and its offset."""
    rows = KERNEL**2 * inputs
    matrix = scale * (2.0 / rows) ** 0.5 * jax.random.normal(key, (rows, outputs), jnp.float32)
    return matrix, jnp.zeros(outputs, jnp.float32)


def _convolved(hidden: Array, layer: tuple[Array, Array]) -> Array:
    """(n, h, w, c) → (n, h, w, c'), what is outside being 0."""
    matrix, offset = layer
    return _patches(hidden) @ matrix + offset


def _patches(hidden: Array) -> Array:
    """(n, h, w, c) → (n, h, w, 9c): around each pixel, row by row."""
    _, height, width, _ = hidden.shape
    edge = KERNEL // 2
    padded = jnp.pad(hidden, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    around = [padded[:, i : i + height, j : j + width] for i in range(KERNEL) for j in range(KERNEL)]
    return jnp.concatenate(around, axis=-1)
