"""The median of streamed losses: NumPy's to the last bit, in flat memory and one pass."""

from __future__ import annotations

import resource
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from benchmarks.memory import traced_rise
from linear_theory import streaming
from tests.strategies import SEEDS, random_data

ROOTS = st.one_of(
    st.floats(-1e150, 1e150),
    st.floats(-1e-150, 1e-150),
    st.sampled_from([0.0, 1.0, -1.0, 5e-324, 1.0 + 2**-52, 1e154]),
)
"""Square roots of losses over all that float64 has, with ties, zeros and losses that underflow."""


def of_losses(roots, rows):
    """Chunks whose losses at the start 0 are the squares of these."""
    roots = np.asarray(roots)
    return streaming.from_arrays(np.ones((len(roots), 1)), roots, rows=rows)


def all_losses(source, start):
    return np.concatenate(list(streaming.losses(source, start)))


ZERO = np.zeros(1)


def median(roots, rows, **options):
    return streaming.median_loss(of_losses(roots, rows), ZERO, **options)


def numpys(roots):
    """numpy.median, which overflows where the middle two do."""
    squares = np.sort(np.square(roots))
    low, high = squares[(len(roots) - 1) // 2], squares[len(roots) // 2]
    return low / 2 + high / 2 if low + high == np.inf else (low + high) / 2


@given(st.lists(ROOTS, min_size=1, max_size=40), st.integers(1, 12))
def test_it_is_numpys_median_to_the_last_bit(roots, rows):
    with np.errstate(over="ignore", under="ignore"):
        want = numpys(roots)
        if want == 0:
            with pytest.raises(lt.InvalidValueError, match=r"median of losses = 0.0: .*mean loss"):
                median(roots, rows)
            return
        got = median(roots, rows)
    assert got == (want, len(roots), 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda roots: np.median([np.median(part**2) for part in np.split(roots, 5)]),
        lambda roots: np.median(np.abs(roots)),
        lambda roots: np.sort(roots**2)[len(roots) // 2],
        lambda roots: np.mean(roots**2),
    ],
    ids=["median of medians", "of residuals", "upper middle", "mean"],
)
def test_other_medians_are_told_apart(wrong):
    roots = np.random.default_rng(1).standard_normal(1000)
    assert median(roots, 200).value == np.median(roots**2) != wrong(roots)


@given(SEEDS, st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_losses_do_not_depend_on_the_chunks(seed, cuts):
    """To the last bit: else the median would depend on how rows are read."""
    problem = random_data(60, 5, 5, seed=seed)
    bounds = np.minimum(np.cumsum([0, *cuts, 60]), 60)
    pieces = [(problem.X[a:b], problem.y[a:b]) for a, b in pairwise(bounds)]
    whole = all_losses([(problem.X, problem.y)], problem.start)
    assert np.array_equal(all_losses(pieces, problem.start), whole)
    columns = [(np.asfortranarray(X), y) for X, y in pieces]
    assert np.array_equal(all_losses(columns, problem.start), whole)
    plain = (problem.y - problem.X @ problem.start) ** 2
    assert np.allclose(whole, plain, rtol=1e-9, atol=1e-12 * plain.max())


def test_rows_wider_than_one_inner_product():
    """BLAS divides a product of more than 10 000 numbers among its threads, if there are any at hand: chunks worth
    threads of their own would be rounded otherwise than small ones.
    """
    rng = np.random.default_rng(5)
    X, y, start = rng.standard_normal((200, 20_000)), rng.standard_normal(200), rng.standard_normal(20_000)
    one, whole = (all_losses(streaming.from_arrays(X, y, rows=rows), start) for rows in (1, 200))
    assert np.array_equal(one, whole)
    assert np.allclose(whole, (y - X @ start) ** 2, rtol=1e-9, atol=1e-9)  # of all columns, not of some


def test_a_start_with_gaps_in_memory():
    """Every other number of an array: BLAS rounds a strided product otherwise."""
    problem, wide = random_data(200, 7, 7, seed=2), np.random.default_rng(1).standard_normal(14)
    source = [(problem.X, problem.y)]
    gaps, none = all_losses(source, wide[::2]), all_losses(source, wide[::2].copy())
    assert np.array_equal(gaps, none)


# ------------------------------------------------------------------------------------------------------- on disk


def test_a_column_stays_in_the_order_of_the_rows(tmp_path):
    roots = np.random.default_rng(2).standard_normal(3000)
    path = tmp_path / "losses.npy"
    got = streaming.median_loss(iter(list(of_losses(roots, 500))), ZERO, column=path)
    assert got == (np.median(roots**2), 3000, 1)
    assert np.array_equal(np.load(path), roots**2)
    with pytest.raises(lt.InvalidValueError, match="name a new file"):
        median(roots, 500, column=path)
    assert np.array_equal(np.load(path), roots**2)


def test_an_interrupted_column_leaves_no_file(tmp_path):
    def broken():
        yield np.ones((3, 1)), np.ones(3)
        yield np.ones((3, 1)), np.array([1.0, np.nan, 1.0])

    path = tmp_path / "losses.npy"
    with pytest.raises(lt.InvalidValueError, match=r"row 4 \(row 1 of chunk 1, all from 0\)"):
        streaming.median_loss(broken, ZERO, column=path)
    assert not path.exists()
    with pytest.raises(lt.InvalidValueError, match="cannot be written"):
        median([1.0], 1, column=tmp_path / "nowhere" / "losses.npy")


def test_an_existing_column_costs_an_iterator_nothing(tmp_path):
    path = tmp_path / "losses.npy"
    path.write_bytes(b"mine")
    chunks = iter(list(of_losses(np.ones(10), 5)))
    with pytest.raises(lt.InvalidValueError, match="name a new file"):
        streaming.median_loss(chunks, ZERO, column=path)
    assert path.read_bytes() == b"mine"
    assert len(list(chunks)) == 2


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "nowhere/losses.npy", "."])
def test_a_column_that_no_file_can_be_is_said_of_the_column(name, tmp_path):
    with pytest.raises(lt.InvalidValueError, match=r"column = .*: cannot be written: .*; name a new file"):
        median([1.0, 2.0], 1, column=tmp_path / name)


@pytest.mark.parametrize("column", [1, True, 1.5, b"losses.npy"])
def test_a_column_is_a_path(column, capfd):
    """open(1) would be the standard output, and closed afterwards."""
    with pytest.raises(lt.InvalidTypeError, match=r"column = .*: must be the path of a file"):
        median([1.0, 2.0], 1, column=column)
    assert capfd.readouterr().out == ""


def test_a_column_half_written_is_not_taken_for_a_whole_one(tmp_path):
    """Its header says so until the end: what a power cut leaves has no rows."""
    path, seen = tmp_path / "losses.npy", []

    def chunks():
        for _ in range(4):
            yield np.ones((3000, 1)), np.ones(3000)
            if seen or path.stat().st_size > 128:
                seen.append(len(np.load(path)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linear_theory.streaming.stream.GATHERED_ENTRIES", 1000)
        assert streaming.median_loss(chunks, ZERO, column=path) == (1.0, 12_000, 1)
    assert set(seen) == {0}


@given(st.lists(st.integers(0, 120), min_size=1, max_size=12).filter(any), st.integers(1, 3))
def test_losses_come_in_the_order_of_their_rows_whatever_the_chunks(sizes, columns):
    """Small chunks are gathered, 100 // columns rows at most; a large one must not overtake those before it."""
    n = sum(sizes)
    X, y = np.zeros((n, columns)), np.arange(1.0, n + 1)
    cuts = np.cumsum([0, *sizes])
    chunks = [(X[low:high], y[low:high]) for low, high in pairwise(cuts)]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr("linear_theory.streaming.stream.GATHERED_ENTRIES", 100)
        start, path = np.zeros(columns), Path(folder) / "losses.npy"
        assert np.array_equal(np.concatenate(list(streaming.losses(chunks, start))), y**2)
        assert streaming.median_loss(chunks, start, column=path).rows == n
        assert np.array_equal(np.load(path), y**2)
        row = int(np.random.default_rng(n).integers(n))
        X[row, -1] = np.nan
        number = next(k for k, high in enumerate(cuts[1:]) if row < high)
        place = rf"row {row} \(row {row - cuts[number]} of chunk {number}, all from 0\), column {columns - 1}"
        with pytest.raises(lt.InvalidValueError, match=place):
            streaming.normal_equations(chunks, start)


def test_a_full_disk_leaves_no_file(tmp_path):
    """No file beyond 10 kB: the error of the system comes through, what was written of the column goes."""
    path, (soft, hard) = tmp_path / "losses.npy", resource.getrlimit(resource.RLIMIT_FSIZE)
    source = of_losses(np.ones(3000), 100)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(OSError, match="too large"):
            streaming.median_loss(source, ZERO, column=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()
    assert streaming.median_loss(source, ZERO, column=path).rows == 3000


def test_what_stopped_a_column_is_said_though_its_file_is_gone(tmp_path):
    path = tmp_path / "losses.npy"

    def chunks():
        yield np.ones((3, 1)), np.ones(3)
        path.unlink()
        raise RuntimeError("the reader's own")

    with pytest.raises(RuntimeError, match="the reader's own"):
        streaming.median_loss(chunks, ZERO, column=path)


def test_an_iterator_will_do():
    roots = np.random.default_rng(6).standard_normal(1001)
    assert streaming.median_loss(iter(list(of_losses(roots, 50))), ZERO) == (np.median(roots**2), 1001, 1)


def test_losses_that_overflow_are_named():
    with pytest.raises(lt.InvalidValueError, match=r"overflows at row 7 \(row 1 of chunk 2"):
        median([1.0] * 7 + [1e160], 3)


def test_memory_is_flat(tmp_path):
    """Ten times the rows, the same memory: of the median, with a column or without, of the solution and the sums."""
    rows, start = 20_000, np.zeros(8)

    def source(count):
        def chunks():
            for k in range(count):
                rng = np.random.default_rng(k)
                yield rng.standard_normal((rows, 8)), rng.standard_normal(rows)

        return chunks

    works = {
        "median": lambda count: streaming.median_loss(source(count), start),
        "column": lambda count: streaming.median_loss(source(count), start, column=tmp_path / f"{count}.npy"),
        "sums": lambda count: streaming.normal_equations(source(count), start, 1.0),
        "solve": lambda count: streaming.solve(source(count), start, 1.0),
        "once": lambda count: streaming.solve(source(count)(), start, 1.0),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linear_theory.threads.MIN_THREADED_FLOPS", np.inf)  # else a matter of timing
        for name, work in works.items():
            few, many = traced_rise(lambda work=work: work(8)), traced_rise(lambda work=work: work(80))
            assert many <= 1.1 * few, (name, few, many)
    assert traced_rise(lambda: list(source(80)())) > 5 * traced_rise(
        lambda: list(source(8)())
    )  # what the check would see
