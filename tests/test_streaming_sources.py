"""Where chunks come from, and what is said of the row, the chunk, the file or the column that is at fault."""

from __future__ import annotations

import os
import shutil

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import linear_theory as lt
from linear_theory import streaming
from linear_theory.least_squares.rows import Sample
from linear_theory.streaming.stream import Part, _gathered
from linear_theory.testing.tolerances import near
from tests.strategies import random_data

ROWS = random_data(50, 3, 3, 5.0, seed=4, weights=True)
WANT = lt.NormalEquations.of(ROWS.X, ROWS.y, ROWS.start, ROWS.weights)


def same(source, want=WANT, condition=100):
    got = streaming.normal_equations(source, ROWS.start)
    return near(got.gram, want.gram, condition) and near(got.moment, want.moment, condition)


def saved(folder, **arrays):
    paths = {name: folder / f"{name}.npy" for name in arrays}
    for name, array in arrays.items():
        np.save(paths[name], array)
    return paths


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [1, 7, 50, 1000, None])
def test_mapped_files(tmp_path, order, rows):
    paths = saved(tmp_path, X=np.asarray(ROWS.X, order=order), y=ROWS.y, weights=ROWS.weights)
    source = streaming.from_npy(**paths, rows=rows)
    assert same(source)
    assert same(source)  # again
    assert not same(streaming.from_npy(paths["X"], paths["y"], rows=rows))
    sizes = [len(y) for _, y, _ in source]
    assert sum(sizes) == 50
    assert max(sizes) == min(rows or 50, 50)
    assert isinstance(next(iter(source))[0], np.memmap)


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint8, np.float16])
def test_other_numbers_are_taken_as_they_are(tmp_path, kind):
    X, y = (4 * ROWS.X).astype(kind), (4 * ROWS.y).astype(kind)
    want = lt.NormalEquations.of(X.astype(float), y.astype(float), ROWS.start)
    assert same(streaming.from_npy(**saved(tmp_path, X=X, y=y)), want)
    assert same(streaming.from_arrays(X, y, rows=9), want)


def test_jax_arrays_lists_functions_and_empty_chunks():
    parts = [slice(0, 20), slice(20, 20), slice(20, 50)]
    chunks = [(ROWS.X[part], ROWS.y[part], ROWS.weights[part]) for part in parts]
    assert same(chunks)
    assert same(lambda: iter(chunks))
    assert same([list(chunk) for chunk in chunks])
    assert same([tuple(map(jnp.asarray, chunk)) for chunk in chunks])
    assert same(iter(chunks))
    assert not same(chunks[:2])


FILES = [
    ({"X": "nowhere.npy"}, "X = .*nowhere.npy.*: there is no such file"),
    (
        {"X": "text.npy"},
        "X = .*text.npy.*: is no .npy file; it begins b'1, 2, 3'. Save the array with numpy.save",
    ),
    ({"y": "both.npz"}, "y = .*both.npz.*: holds several arrays"),
    ({"y": "short.npy"}, r"y = .*\(49,\), must have \(50,\)"),
    ({"X": "y.npy"}, "X = .*must have two axes"),
    ({"y": "X.npy"}, r"y = .*has shape \(50, 3\)"),
    ({"y": "objects.npy"}, "y = .*is no .npy file of numbers"),
]


@pytest.mark.parametrize(("change", "message"), FILES, ids=[message for _, message in FILES])
def test_files_that_will_not_do(tmp_path, change, message):
    saved(tmp_path, X=ROWS.X, y=ROWS.y, short=ROWS.y[1:])
    (tmp_path / "text.npy").write_text("1, 2, 3")
    np.savez(tmp_path / "both.npz", X=ROWS.X, y=ROWS.y)
    np.save(tmp_path / "objects.npy", np.array([None] * 50, dtype=object))
    names = {"X": "X.npy", "y": "y.npy"} | change
    with pytest.raises(lt.InvalidValueError, match=message) as caught:
        streaming.from_npy(**{name: tmp_path / file for name, file in names.items()})
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- Parquet


def table(**more):
    columns = {"a": ROWS.X[:, 0], "b": ROWS.X[:, 1], "y": ROWS.y, "c": ROWS.X[:, 2], "w": ROWS.weights}
    return pa.table(columns | more)


def written(folder, value, groups=13):
    path = folder / "rows.parquet"
    parquet.write_table(value, path, row_group_size=groups)
    return path


@pytest.mark.parametrize("rows", [1, 7, 50, None])
def test_parquet(tmp_path, rows):
    path = written(tmp_path, table())
    assert same(streaming.from_parquet(path, "y", weights="w", rows=rows))
    assert same(streaming.from_parquet(str(path), "y", features=["a", "b", "c"], weights="w", rows=rows))
    assert not same(streaming.from_parquet(path, "y", features=["b", "a", "c"], weights="w", rows=rows))
    plain = lt.NormalEquations.of(ROWS.X, ROWS.y, ROWS.start)
    assert same(streaming.from_parquet(path, "y", features=["a", "b", "c"], rows=rows), plain)


@pytest.mark.parametrize("groups", [20_000, 10**9], ids=["many row groups", "one row group"])
def test_memory_of_parquet_is_flat(tmp_path, groups):
    """Arrow's own memory, which tracemalloc does not see, for ten times the rows."""

    def peak(rows, batches):
        rng, before = np.random.default_rng(0), pa.total_allocated_bytes()
        path = written(tmp_path, pa.table({name: rng.random(rows) for name in "ay"}), groups)
        return max(pa.total_allocated_bytes() - before for _ in batches(path))

    def as_it_comes(path):
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(20_000)

    ours = lambda path: streaming.from_parquet(path, "y", rows=20_000)
    assert peak(1_500_000, ours) <= 1.1 * peak(150_000, ours)
    if groups > 1_500_000:  # of many groups Arrow before 17 keeps no more than we do
        assert peak(1_500_000, as_it_comes) > 2 * peak(150_000, as_it_comes)


def test_integers_in_parquet(tmp_path):
    whole = (4 * ROWS.X).astype(np.int32)
    path = written(tmp_path, pa.table({"a": whole[:, 0], "b": whole[:, 1], "c": whole[:, 2], "y": ROWS.y}))
    assert same(streaming.from_parquet(path, "y"), lt.NormalEquations.of(whole, ROWS.y, ROWS.start))


def with_null(row=23, values=ROWS.y):
    return pa.array([None if k == row else v for k, v in enumerate(values)])


COLUMNS = [
    (table, {"target": "z"}, "column = 'z': is not among its columns: .*'a', 'b'"),
    (table, {"features": ["a", "q"]}, "column = 'q': is not among"),
    (table, {"features": ["a", "a"]}, "each named once"),
    (table, {"features": ["a", "y"]}, "each named once, target and weights apart"),
    (table, {"features": []}, "at least one column"),
    (table, {"features": "abc"}, "must be a list of column names"),
    (table, {"features": [1]}, "column = 1: must be the name of a column"),
    (table, {"target": None}, "column = None: must be the name of a column"),
    (table, {"weights": "y"}, "each named once, target and weights apart"),
    (table, {"rows": 0}, "rows = 0: must be ≥ 1"),
    (lambda: table(name=["n"] * 50), {}, "column = 'name': holds string, not numbers"),
    (lambda: table(flag=[True] * 50), {}, "column = 'flag': holds bool"),
    (lambda: pa.table([ROWS.y, ROWS.y, ROWS.y], names=["a", "a", "y"]), {"features": ["a"]}, "more than once"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "change", "message"), COLUMNS, ids=[message for *_, message in COLUMNS])
def test_columns_that_will_not_do(tmp_path, made, change, message):
    path = written(tmp_path, made())
    with pytest.raises(lt.LinearTheoryError, match=message):
        streaming.from_parquet(path, **({"target": "y"} | change))


def test_a_null_is_named_by_column_and_row(tmp_path):
    source = streaming.from_parquet(written(tmp_path, table(d=with_null())), "y", rows=10)
    with pytest.raises(lt.InvalidValueError, match=r"column = 'd': holds a null in row 23 \(from 0\)"):
        streaming.normal_equations(source, np.zeros(5))


@pytest.mark.parametrize(("name", "row"), [("y", 0), ("w", 49), ("y", 13), ("w", 12)])
def test_a_null_in_labels_or_weights_too(tmp_path, name, row):
    """First, last, and on both sides of where a row group ends."""
    columns = {"a": ROWS.X[:, 0], "y": ROWS.y, "w": ROWS.weights}
    path = written(tmp_path, pa.table(columns | {name: with_null(row, columns[name])}))
    with pytest.raises(
        lt.InvalidValueError, match=rf"column = '{name}': holds a null in row {row} \(from 0\)"
    ):
        streaming.normal_equations(streaming.from_parquet(path, "y", weights="w", rows=5), np.zeros(1))


def test_pages_that_do_not_decompress_are_said_of_their_file(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"a": np.random.default_rng(0).random(5000), "y": np.ones(5000)}), path)
    source, whole = streaming.from_parquet(path, "y"), path.read_bytes()
    assert streaming.normal_equations(source, [0.0]).count == 5000
    path.write_bytes(whole[:4] + bytes(1000) + whole[1004:])
    source = streaming.from_parquet(path, "y")  # what has been written to since is refused for that
    with pytest.raises(
        lt.InvalidValueError, match=r"path = '.*rows.parquet': (cannot be read|is no Parquet file): "
    ):
        streaming.normal_equations(source, [0.0])


SOURCES = {
    "npy": (
        ("X.npy", "y.npy"),
        lambda folder: streaming.from_npy(folder / "X.npy", folder / "y.npy", rows=5),
    ),
    "parquet": (
        ("rows.parquet",),
        lambda folder: streaming.from_parquet(folder / "rows.parquet", "y", rows=5),
    ),
}
CHANGES = {
    "other rows": lambda path: path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 40),
    "put in its place": lambda path: shutil.copy(path, f"{path}.new") and os.replace(f"{path}.new", path),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_that_changes_between_passes_is_refused(tmp_path, kind, change):
    """Also where labels and number of rows stay: two passes would see two problems."""
    names, make = SOURCES[kind]
    for name in names:
        saved(tmp_path, X=ROWS.X, y=ROWS.y)
        written(tmp_path, pa.table({"a": ROWS.X[:, 0], "b": ROWS.X[:, 1], "c": ROWS.X[:, 2], "y": ROWS.y}))
        source = make(tmp_path)
        first = streaming.normal_equations(source, ROWS.start)
        assert np.array_equal(streaming.normal_equations(source, ROWS.start).gram, first.gram)
        os.utime(tmp_path / name, ns=(0, 0))  # so that a clock of coarse ticks sees the change
        source = make(tmp_path)
        CHANGES[change](tmp_path / name)
        with pytest.raises(
            lt.InvalidValueError, match=f"{name}'.*: (has been written to|there is no such file)"
        ):
            streaming.normal_equations(source, ROWS.start)


def test_a_file_that_changes_within_a_pass_is_refused(tmp_path):
    saved(tmp_path, X=ROWS.X, y=ROWS.y)
    os.utime(tmp_path / "X.npy", ns=(0, 0))
    chunks = iter(streaming.from_npy(tmp_path / "X.npy", tmp_path / "y.npy", rows=5))
    next(chunks)
    np.save(tmp_path / "X.npy", ROWS.X + 1)
    with pytest.raises(lt.InvalidValueError, match="has been written to since this source was made"):
        next(chunks)


def test_a_file_that_changes_under_the_last_chunk_is_refused(tmp_path):
    """What a pass has read of it last is of another file, too."""
    for kind, (names, make) in SOURCES.items():
        saved(tmp_path, X=ROWS.X, y=ROWS.y)
        written(tmp_path, pa.table({"a": ROWS.X[:, 0], "y": ROWS.y}))
        os.utime(tmp_path / names[0], ns=(0, 0))
        chunks = iter(make(tmp_path))
        for _ in range(len(ROWS.y) // 5):
            next(chunks)
        os.utime(tmp_path / names[0], ns=(1, 1))
        with pytest.raises(lt.InvalidValueError, match="has been written to since this source was made"):
            pytest.fail(f"{kind}: {next(chunks, None)}")


@pytest.mark.parametrize("name", ["", " ", "Unnamed: 0"])
def test_a_column_without_a_name_is_no_feature_unless_asked_for(tmp_path, name):
    path = written(tmp_path, pa.table({name: np.arange(50.0), "a": ROWS.X[:, 0], "y": ROWS.y}))
    with pytest.raises(lt.InvalidValueError, match=f"column = '{name}': has no name of its own"):
        streaming.from_parquet(path, "y")
    assert next(iter(streaming.from_parquet(path, "y", features=["a"])))[0].shape == (50, 1)
    assert next(iter(streaming.from_parquet(path, "y", features=[name])))[0][7, 0] == 7


def test_names_of_columns_from_a_generator(tmp_path):
    path = written(tmp_path, table())
    assert same(streaming.from_parquet(path, "y", features=(name for name in "abc"), weights="w"))


def test_what_is_no_parquet_file(tmp_path):
    (tmp_path / "rows.parquet").write_text("a,b,y\n1,2,3\n")
    with pytest.raises(lt.InvalidValueError, match="is no Parquet file"):
        streaming.from_parquet(tmp_path / "rows.parquet", "y")
    with pytest.raises(lt.InvalidValueError, match="there is no such file"):
        streaming.from_parquet(tmp_path / "none.parquet", "y")
    with pytest.raises(lt.InvalidTypeError, match="path = 3: must be the path of a file"):
        streaming.from_parquet(3, "y")
    with pytest.raises(lt.InvalidTypeError, match="X = 3: must be the path of a file"):
        streaming.from_npy(3, "y.npy")


# ------------------------------------------------------------------------------------------------- chunks at fault

GOOD = (np.ones((4, 3)), np.ones(4))
NONE = (GOOD[0][:0], GOOD[1][:0])


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


CHUNKS = [
    ([GOOD, (changed(GOOD[0], (2, 1), np.nan), GOOD[1])], r"X = nan: .*row 6 \(row 2 of chunk 1.*column 1"),
    ([GOOD, (GOOD[0], changed(GOOD[1], 3, np.inf))], r"y = inf: .*row 7 \(row 3 of chunk 1"),
    ([(*GOOD, changed(GOOD[1], 0, -1.0))], r"weights = -1.0: must be finite and ≥ 0: row 0"),
    ([GOOD, (np.ones((4, 2)), GOOD[1])], r"has 2 columns, start has 3 entries \(chunk 1, from row 4\)"),
    ([GOOD, (GOOD[0], np.ones(3))], r"has shape \(3,\), must have \(4,\).*chunk 1"),
    ([GOOD, (*GOOD, GOOD[1])], "chunk 1 and the ones before differ: weights in all, or in none"),
    ([GOOD, GOOD[0]], r"chunk 1 must be a tuple \(X, y\)"),
    ([GOOD, (*GOOD, GOOD[1], GOOD[1])], "not 4 things"),
    ([(np.full((4, 3), "a"), GOOD[1])], r"X = .*must hold real numbers.*chunk 0"),
    ([], "has no rows"),
    ([NONE], "has no rows"),
    (3, "must be an iterable of chunks"),
    (lambda: 3, r"source\(\) = 3: must be an iterable of chunks"),
    (
        [GOOD, NONE, (GOOD[0], changed(GOOD[1], 1, np.nan))],
        r"y = nan: .*row 5 \(row 1 of chunk 2",
    ),
    ([([[1.0, 2.0, 3.0], [1.0]], [1.0, 2.0])], "rectangular array of numbers.*chunk 0"),
]


@pytest.mark.parametrize(("source", "message"), CHUNKS, ids=[message for _, message in CHUNKS])
@pytest.mark.parametrize("call", [streaming.normal_equations, streaming.solve, streaming.median_loss])
def test_chunks_that_will_not_do(call, source, message):
    with pytest.raises((lt.LinearTheoryError, TypeError), match=message):
        call(source, np.zeros(3))


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, np.True_, "2", None])
def test_rows_of_a_chunk(bad):
    if bad is not None:
        with pytest.raises(lt.LinearTheoryError, match="rows"):
            streaming.from_arrays(ROWS.X, ROWS.y, rows=bad)
    with pytest.raises(lt.LinearTheoryError, match="start"):
        streaming.normal_equations(streaming.from_arrays(ROWS.X, ROWS.y), [])


FRAME = pd.DataFrame(ROWS.X, columns=["a", "b", "c"])
FRAMED = {
    "chunks": lambda path: [(FRAME, ROWS.y)],
    "from_arrays": lambda path: streaming.from_arrays(FRAME, ROWS.y, rows=7),
    "from_arrays, Arrow": lambda path: streaming.from_arrays(pa.table(dict(FRAME)), ROWS.y, rows=7),
    "from_parquet": lambda path: streaming.from_parquet(path, "y", rows=7),
    "from_parquet, chosen": lambda path: streaming.from_parquet(path, "y", features=["a", "b", "c"]),
}
CALLS = {
    "start of solve": streaming.solve,
    "start of normal_equations": streaming.normal_equations,
    "start of median_loss": streaming.median_loss,
    "start of losses": lambda source, start: list(streaming.losses(source, start)),
    "scale of solve": lambda source, scale: streaming.solve(source, ROWS.start, column_scale=scale),
    "scale of normal_equations": lambda source, scale: streaming.normal_equations(
        source, ROWS.start, column_scale=scale
    ),
}


@pytest.mark.parametrize("made", FRAMED)
@pytest.mark.parametrize("call", CALLS)
def test_parameters_are_paired_by_their_names(tmp_path, call, made):
    """As in memory: under other names or in another order they are refused, whatever the rows come from."""
    path = written(tmp_path, pa.table(dict(FRAME) | {"y": ROWS.y}))
    for labels in (["a", "b", "c"], None):
        CALLS[call](FRAMED[made](path), pd.Series([1.0, 2.0, 3.0], index=labels))
    for labels in (["b", "a", "c"], ["a", "b", "d"]):
        with pytest.raises(lt.InvalidValueError, match=r"under other labels than .*, or in another order"):
            CALLS[call](FRAMED[made](path), pd.Series([1.0, 2.0, 3.0], index=labels))


def test_an_iterator_that_a_function_gives_twice_is_seen():
    """The function must return a fresh one."""
    spent = iter([(ROWS.X, ROWS.y)])
    with pytest.raises(lt.InvalidValueError, match="empty the second time; return a fresh iterator"):
        streaming.normal_equations(lambda: spent, ROWS.start, column_scale=np.ones(len(ROWS.start)))


def test_how_many_rows_each_pass_gave_is_said():
    """Another chunk in the third pass, where a refinement takes it."""
    X, y, passes = random_data(60, 3, 3, 100.0, seed=1).X, np.arange(60.0), []

    def source():
        passes.append(None)
        return [(X, y)] + [(X[:4], y[:4])] * (len(passes) == 3)

    with pytest.raises(lt.InvalidValueError, match=r"gave 64 rows in pass 3, 60 before"):
        streaming.solve(source, ROWS.start, column_scale=np.ones(3))


def test_labels_that_change_between_the_passes_of_a_solution_are_seen():
    """As many rows, from a reader without a seed: a refinement by other rows would mend nothing."""
    rng, X, y = np.random.default_rng(0), random_data(60, 3, 3, 100.0, seed=1).X, np.arange(60.0)
    assert streaming.solve(lambda: iter([(X, y)]), ROWS.start).passes > 1
    with pytest.raises(lt.InvalidValueError, match=r"gave other labels than in the pass before.*seed"):
        streaming.solve(lambda: iter([(X, y + rng.standard_normal(60))]), ROWS.start)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("chunks", [1, 4])
def test_rows_that_change_between_the_passes_are_seen(part, chunks):
    """Whichever of X, y and the weights: a refinement by other rows would mend nothing."""
    rows = random_data(60, 3, 3, 100.0, seed=1)
    rng, kept = np.random.default_rng(0), [rows.X, np.arange(60.0), np.ones(60)]

    def source():
        given = [array * (1 + (k == part) * 1e-6 * rng.random(array.shape)) for k, array in enumerate(kept)]
        return zip(*(np.split(array, chunks) for array in given), strict=True)

    assert streaming.solve(lambda: [tuple(kept)], ROWS.start).passes > 1
    with pytest.raises(lt.InvalidValueError, match=r"gave other .* than in the pass before.*seed"):
        streaming.solve(source, ROWS.start)


def test_a_row_of_many_small_chunks_is_found():
    count = 10_000
    sample = Sample(np.ones((1, 1)), np.ones(1), np.zeros(1), None)
    (gathered,) = _gathered(Part(sample, row, [(row, row)]) for row in range(count))
    for row in (0, 1, count - 1):
        assert gathered.place(row) == f"row {row} (row 0 of chunk {row}, all from 0)"


def test_a_source_is_opened_once_a_pass():
    """To open it may be dear, or leave something open."""

    class Counted:
        opened = 0

        def __iter__(self):
            self.opened += 1
            return iter([(ROWS.X, ROWS.y)])

    source = Counted()
    assert streaming.solve(source, ROWS.start, column_scale=ROWS.X.max(axis=0)).passes == source.opened == 2
    # To ask whether iter(source) is source, the other way to tell an iterator, opens it.
    assert iter(source) is not source
    assert source.opened == 3


def test_numbers_in_the_other_byte_order(tmp_path):
    paths = saved(
        tmp_path, X=ROWS.X.astype(">f8"), y=ROWS.y.astype(">f8"), weights=ROWS.weights.astype(">f4")
    )
    want = lt.NormalEquations.of(ROWS.X, ROWS.y, ROWS.start, ROWS.weights.astype(np.float32))
    source = streaming.from_npy(**paths, rows=7)
    assert same(source, want)
    assert not same(source, WANT)  # the weights as they were before float32
