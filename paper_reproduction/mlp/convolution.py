"""A residual convolutional network of some 10 000 parameters, without norm layers.

A convolution is written as patches times a matrix: on a CPU XLA runs that an order of magnitude faster than its own
convolution, and a kernel is then a matrix like any other, to which LoRA adds a product of thin ones.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from paper_reproduction.mlp.networks import Array, Network

KERNEL = 3
EDGE = KERNEL // 2
CORNERS = 4


class ResidualNetwork:
    """Images (n, side, side), halved in side once, → features (n, 4 · width) → linear head.

    h₀ = relu(conv(x)),  h_{l+1} = h_l + conv(relu(conv(h_l))),  features = the means of relu(h) over the four corners
    of the image, which share the middle where the side is odd: a mean over the whole would not tell where a stroke is.
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
        features = CORNERS * self._width
        head = (jnp.zeros((features, self._outputs), jnp.float32), jnp.zeros(self._outputs, jnp.float32))
        return Network((stem, blocks), head)

    def features(self, trunk: Any, images: Array) -> Array:
        """(n, side, side) → (n, 4 · width)."""
        stem, blocks = trunk
        half = self._side // 2
        # Each 2 × 2 pixels become four channels, so that nothing is thrown away where the side is halved.
        squares = images.reshape(-1, half, 2, half, 2).transpose(1, 0, 3, 2, 4).reshape(half, -1, half, 4)
        hidden = jax.nn.relu(convolved(squares, stem))
        for first, second in blocks:
            hidden = hidden + convolved(jax.nn.relu(convolved(hidden, first)), second)
        hidden = jax.nn.relu(hidden)
        parts = (slice(None, (half + 1) // 2), slice(half // 2, None))
        corners = [hidden[rows, :, columns].mean(axis=(0, 2)) for rows in parts for columns in parts]
        return jnp.concatenate(corners, axis=-1)

    def read(self, network: Network, features: Array) -> Array:
        """(n, 4 · width) → (n, outputs)."""
        matrix, offset = network.head
        return features @ matrix + offset

    def logits(self, network: Network, images: Array) -> Array:
        """(n, side, side) → (n, outputs)."""
        return self.read(network, self.features(network.trunk, images))


def _convolution(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> tuple[Array, Array]:
    """The matrix (9 · inputs, outputs) of a convolution, its rows ordered by (row, column, channel), and its offset."""
    rows = KERNEL**2 * inputs
    matrix = scale * (2.0 / rows) ** 0.5 * jax.random.normal(key, (rows, outputs), jnp.float32)
    return matrix, jnp.zeros(outputs, jnp.float32)


def convolved(hidden: Array, layer: tuple[Array, Array]) -> Array:
    """(rows, n, columns, c) → (rows, n, columns, c'), what is outside being 0.

    Out_{ij} = Σ_{kl} in_{i+k, j+l} W_{kl} + b. The neighbours in a row are laid side by side and multiplied at once
    with the kernels of all three rows; a shift by a whole row then copies nothing, as rows come first.
    """
    matrix, offset = layer
    height, count, width, channels = hidden.shape
    outputs = matrix.shape[1]
    padded = jnp.pad(hidden, ((EDGE, EDGE), (0, 0), (EDGE, EDGE), (0, 0)))
    beside = jnp.concatenate([padded[:, :, j : j + width] for j in range(KERNEL)], axis=-1)
    kernels = matrix.reshape(KERNEL, KERNEL * channels, outputs).transpose(1, 0, 2)
    products = (beside.reshape(-1, KERNEL * channels) @ kernels.reshape(KERNEL * channels, -1)).reshape(
        height + 2 * EDGE, count, width, KERNEL, outputs
    )
    return sum(products[k : k + height, :, :, k] for k in range(KERNEL)) + offset
