"""The convolution against a literal sum, and the network: its start, its features, what LoRA adds to it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_reproduction.mlp.convolution import ResidualNetwork, convolved
from paper_reproduction.mlp.training import adapted, adapter


def literal(images: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(n, rows, columns, c) → (n, rows, columns, c'), pixel by pixel."""
    kernel = matrix.reshape(3, 3, images.shape[-1], -1)
    n, height, width, _ = images.shape
    made = np.zeros((n, height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            for k in range(3):
                for m in range(3):
                    a, b = i + k - 1, j + m - 1
                    if 0 <= a < height and 0 <= b < width:
                        made[:, i, j] += images[:, a, b] @ kernel[k, m]
    return made + offset


@pytest.mark.parametrize("shape", [(2, 7, 7, 3), (1, 4, 5, 1)])
def test_is_a_convolution(shape):
    rng = np.random.default_rng(0)
    images, matrix, offset = rng.normal(size=shape), rng.normal(size=(9 * shape[-1], 4)), rng.normal(size=4)
    given = images.transpose(1, 0, 2, 3).astype(np.float32)
    layer = jnp.asarray(matrix, jnp.float32), jnp.asarray(offset, jnp.float32)
    made = np.asarray(convolved(jnp.asarray(given), layer)).transpose(1, 0, 2, 3)
    # A sum of 9c + 1 products of order one.
    bound = 4 * (9 * shape[-1] + 1) * np.finfo(np.float32).eps * np.abs(made).max()
    assert np.abs(made - literal(images, matrix, offset)).max() < bound
    flipped = literal(images, matrix.reshape(3, 3, -1, 4)[::-1, ::-1].reshape(matrix.shape), offset)
    assert np.abs(made - flipped).max() > 100 * bound


def test_a_block_is_the_identity_where_its_second_kernel_is_zero():
    deep, shallow = ResidualNetwork(14, 5, 2, 3), ResidualNetwork(14, 5, 0, 3)
    stem, blocks = deep.initial(jax.random.key(0)).trunk
    silent = [(first, jax.tree.map(jnp.zeros_like, second)) for first, second in blocks]
    images = jnp.asarray(np.random.default_rng(1).normal(size=(4, 14, 14)), jnp.float32)
    ours = deep.features((stem, silent), images)
    np.testing.assert_array_equal(ours, shallow.features((stem, []), images))
    assert not np.array_equal(ours, deep.features((stem, blocks), images))


def test_features_are_means_over_the_corners():
    """A stem that passes the first channel on: means of the positive part of every second pixel."""
    net = ResidualNetwork(14, 1, 0, 2)
    matrix = np.zeros((3, 3, 4, 1), np.float32)
    matrix[1, 1, 0, 0] = 1.0
    images = np.random.default_rng(2).normal(size=(3, 14, 14)).astype(np.float32)
    trunk = ((jnp.asarray(matrix.reshape(36, 1)), jnp.zeros(1, jnp.float32)), [])
    positive = np.maximum(images[:, ::2, ::2], 0)
    corners = [positive[:, a : a + 4, b : b + 4].mean(axis=(1, 2)) for a in (0, 3) for b in (0, 3)]
    np.testing.assert_allclose(net.features(trunk, jnp.asarray(images)), np.stack(corners, axis=1), rtol=1e-5)


@pytest.mark.parametrize("x64", [False, True])
def test_is_single_precision_whatever_jax_is_set_to(x64):
    with jax.enable_x64(x64):
        net = ResidualNetwork(14, 4, 1, 3)
        network = net.initial(jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(network)} == {np.dtype(np.float32)}
        assert net.logits(network, np.zeros((2, 14, 14), np.float32)).dtype == np.float32


def test_lora_adds_a_product_to_every_kernel():
    network = ResidualNetwork(14, 4, 1, 3).initial(jax.random.key(0))
    thin = adapter(network, 2, jax.random.key(1))
    assert len(thin.factors) == 3  # the stem and both convolutions of the block
    moved = adapted(thin._replace(factors=[(jnp.ones_like(a), b) for a, b in thin.factors]), network)
    for before, after in zip(jax.tree.leaves(network.trunk), jax.tree.leaves(moved.trunk), strict=True):
        rank = np.linalg.matrix_rank(np.asarray(after - before)) if before.ndim == 2 else 0
        assert rank == (1 if before.ndim == 2 else 0)
        assert before.ndim == 2 or np.array_equal(before, after)


def test_an_odd_side_cannot_be_halved():
    with pytest.raises(ValueError, match="the side of the images is halved once, so that it is even; got 7"):
        ResidualNetwork(7, 4, 1, 3)
