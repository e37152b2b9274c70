"""The splits of the digits: nothing lost, nothing shared, exactly so many wrong labels, and the turns."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from linear_theory.testing.tolerances import SIGMAS
from paper_reproduction.mlp import digits

KINDS = [range(5), range(5, 10)]
NOISES = [0.0, 0.1, 0.2, 0.37]
each_kind = pytest.mark.parametrize("kinds", KINDS, ids=["old", "new"])


def source(kinds: range) -> tuple[np.ndarray, np.ndarray]:
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    chosen = (labels >= kinds.start) & (labels < kinds.stop)
    return images[chosen] / 16.0, labels[chosen] - kinds.start


def numbered(images: np.ndarray) -> np.ndarray:
    """The number of the row in place of the first pixel, which is empty in every image."""
    images = images.copy()
    assert not images[:, 0].any()
    images[:, 0] = np.arange(len(images))
    return images


def split(kinds: range, seed: int, noise: float = 0.0, change=numbered) -> digits.Parts:
    return digits.split(kinds, np.random.default_rng(seed), noise, change)


def rows(part: digits.Part) -> np.ndarray:
    return part.images[:, 0].astype(int)


@each_kind
@pytest.mark.parametrize("seed", [0, 1])
def test_parts_are_disjoint_and_complete(kinds, seed):
    parts = split(kinds, seed, 0.2)
    images, truth = source(kinds)
    seen = np.concatenate([rows(part) for part in parts.values()])
    np.testing.assert_array_equal(np.sort(seen), np.arange(len(truth)))
    for part in parts.values():
        np.testing.assert_array_equal(part.truth, truth[rows(part)])
        np.testing.assert_array_equal(part.images[:, 1:], images[rows(part), 1:].astype(np.float32))


@each_kind
def test_sizes(kinds):
    parts = split(kinds, 0)
    sizes = {name: len(part.truth) for name, part in parts.items()}
    assert sizes == {**digits.SIZES, "test": len(source(kinds)[1]) - sum(digits.SIZES.values())}
    for part in parts.values():
        assert (part.images.shape, part.images.dtype) == ((len(part.truth), 64), np.float32)
        assert part.labels.dtype == part.truth.dtype == np.int32
        assert part.images[:, 1:].min() >= 0
        assert part.images[:, 1:].max() <= 1
        assert set(part.truth) == set(range(digits.CLASSES))


@each_kind
@pytest.mark.parametrize("noise", NOISES)
def test_exactly_so_many_labels_are_wrong(kinds, noise):
    # A label counts as wrong only where it differs from the truth, so none of those drawn kept its own.
    parts = split(kinds, 3, noise)
    for name, size in digits.SIZES.items():
        part = parts[name]
        assert int((part.labels != part.truth).sum()) == round(noise * size)
        assert set(part.labels) <= set(range(digits.CLASSES))
    np.testing.assert_array_equal(parts["test"].labels, parts["test"].truth)


def test_the_four_wrong_classes_are_equally_likely():
    moves = []
    for seed in range(10):
        part = split(range(5), seed, 0.4)["train"]
        moves.append((part.labels - part.truth)[part.labels != part.truth] % digits.CLASSES)
    counts = np.bincount(np.concatenate(moves), minlength=digits.CLASSES)
    share = 1 / (digits.CLASSES - 1)
    spread = np.sqrt(counts.sum() * share * (1 - share))
    assert counts[0] == 0
    assert np.all(abs(counts[1:] - counts.sum() * share) <= SIGMAS * spread)


def test_one_seed_one_split_another_seed_another():
    one, same, other = split(range(5), 1, 0.2), split(range(5), 1, 0.2), split(range(5), 2, 0.2)
    for name, part in one.items():
        for mine, again, theirs in zip(part, same[name], other[name], strict=True):
            np.testing.assert_array_equal(mine, again)
            assert mine.shape == theirs.shape
            assert (mine != theirs).any()


def test_the_noise_does_not_move_the_split():
    clean, noisy = split(range(5, 10), 4), split(range(5, 10), 4, 0.4)
    for name, part in clean.items():
        np.testing.assert_array_equal(part.images, noisy[name].images)
        np.testing.assert_array_equal(part.truth, noisy[name].truth)


def test_stacked_puts_the_seeds_first():
    many = [split(range(5), seed, 0.1) for seed in range(3)]
    joined = digits.stacked(many)
    assert list(joined) == list(many[0])
    for seed, parts in enumerate(many):
        for name, part in parts.items():
            for mine, field in zip(part, joined[name], strict=True):
                np.testing.assert_array_equal(field[seed], mine)


# ------------------------------------------------------------------------------------------- the changes


def turned(images: np.ndarray, quarters: int) -> np.ndarray:
    return np.rot90(images.reshape(-1, 8, 8), quarters, axes=(1, 2)).reshape(-1, 64)


IMAGES = source(range(5))[0][:50]


def test_no_turn_is_no_change():
    np.testing.assert_array_equal(digits.rotated(IMAGES, 0.0), IMAGES)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_is_that_of_rot90_against_the_clock(quarters):
    """From the first axis (down) to the second (right) in the counting of np.rot90: the top goes to the left."""
    np.testing.assert_array_equal(digits.rotated(IMAGES, 90.0 * quarters), turned(IMAGES, quarters))
    assert (turned(IMAGES, quarters) != turned(IMAGES, quarters - 1)).any()


def test_half_a_quarter_lets_background_in_and_stays_in_range():
    full = digits.rotated(np.ones((1, 64)), 45.0).reshape(8, 8)
    assert not full[[0, 0, 7, 7], [0, 7, 0, 7]].any()
    assert full[3:5, 3:5].all()
    many = digits.rotated(IMAGES, 45.0)
    assert many.min() >= 0
    assert many.max() <= 1


def test_each_image_is_turned_by_itself():
    for image, alone in zip(digits.rotated(IMAGES, 30.0), IMAGES, strict=True):
        np.testing.assert_array_equal(image, digits.rotated(alone[None], 30.0)[0])


def test_inverted_twice_is_the_identity():
    # Sixteenths: 1 − x is exact.
    np.testing.assert_array_equal(digits.inverted(digits.inverted(IMAGES)), IMAGES)
    np.testing.assert_array_equal(digits.inverted(np.zeros((1, 64))), np.ones((1, 64)))
