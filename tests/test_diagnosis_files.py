"""The files of ``diagnose``: what is read from each kind, and what is said of those that cannot be used."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from linear_theory.diagnosis.files import FileError
from linear_theory.diagnosis.parameters import read_covariance, read_start
from linear_theory.diagnosis.readers import read_rows

X = np.array([[1.0, 2.5], [3.0, -0.1], [1e-3, 7e20], [0.1 + 0.2, 1 / 3]])
Y = np.array([-1.0, 2.0, 1e-300, 4.0])
NAMES = ("a", "b")


def text(rows, end="\n", between=","):
    return end.join(between.join(row) for row in rows) + end


CELLS = [["a", "b", "y"], *([repr(float(cell)) for cell in (*x, y)] for x, y in zip(X, Y, strict=True))]
PLAIN = text(CELLS)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def same(table, order=(0, 1)):
    return (
        table.names == tuple(NAMES[k] for k in order)
        and np.array_equal(table.X, X[:, order])
        and np.array_equal(table.y, Y)
    )


GOOD = {
    "plain": PLAIN,
    "CRLF": text(CELLS, "\r\n"),
    "no newline at the end": PLAIN.rstrip(),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "quoted names": PLAIN.replace("a,b,y", '"a","b",y'),
    "spaces around names": PLAIN.replace("a,b,y", " a, b ,y"),
    "blank lines": "\n\n" + PLAIN.replace("\n", "\n\n"),
    "quoted numbers": text([CELLS[0], *([f'"{cell}"' for cell in row] for row in CELLS[1:])]),
    "spaces around numbers": text([CELLS[0], *([f" {cell} " for cell in row] for row in CELLS[1:])]),
    "plus signs": PLAIN.replace("\n1.0", "\n+1.0"),
    "a name over two lines": PLAIN.replace("a,b,y", '"a\n",b,y'),
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD.keys())
def test_csv_to_the_last_bit(tmp_path, content):
    table = read_rows(written(tmp_path / "rows.csv", content), "y")
    assert same(table)
    assert not np.array_equal(np.nextafter(table.X, 9), X)


def test_integers_may_turn_to_fractions_after_a_megabyte(tmp_path):
    """A reader that guesses the type from the first block refuses this."""
    column = np.append(np.arange(300_000), 0.5)
    path = written(tmp_path / "rows.csv", "y,a\n" + "".join(f"{value:g},1\n" for value in column))
    assert read_rows(path, "y").y[-1] == 0.5


def test_features_are_taken_in_the_order_asked_for(tmp_path):
    path = written(tmp_path / "rows.csv", text([[*row, "word"] for row in CELLS]))
    assert same(read_rows(path, "y", ["b", "a"]), (1, 0))
    assert same(read_rows(path, "y", ["a", "b"]))


BAD = {
    "empty": ("", "is empty"),
    "header alone": ("a,b,y\n", "holds no rows"),
    "blank": ("\n\n", "no column 'y'"),
    "no header": (text(CELLS[1:]), "line 1 holds numbers; the first line must name the columns"),
    "no such target": (PLAIN.replace("y", "label"), "no column 'y' (target); its columns are 'a', 'b', 'label'"),
    "close to the target": (PLAIN.replace("y", "Y_"), "no column 'y' (target)"),
    "doubled name": (PLAIN.replace("a,b", "a,a"), "more than one column named 'a'"),
    "target alone": ("y\n1\n", "at least one feature"),
    "semicolons": (text(CELLS, between=";"), "line 1: its columns are separated by semicolons"),
    "tabs": (text(CELLS, between="\t"), "line 1: its columns are separated by tabs"),
    "short line": ("a,b,y\n1,2,3\n1,2\n", "line 3 has 2 cells, the header names 3"),
    "long line": ("a,b,y\n1,2,3\n\n1,2,3,4\n", "line 4 has 4 cells, the header names 3"),
    "text": ("a,b,y\n1,2,3\n1,two,3\n", "line 3, column 'b': 'two' is not a number"),
    "text after CRLF": ("a,b,y\r\n1,2,3\r\n1,2,x\r\n", "line 3, column 'y': 'x' is not a number"),
    "a name of two lines, then text": ('"a\nb",y\n1,2\nx,2\n', "line 4, column 'a\\nb': 'x'"),
    "no cell": ("a,b,y\n,2,3\n", "line 2, column 'a': the cell is empty"),
    "NaN": ("a,b,y\n1,2,3\n1,nan,3\n", "line 3, column 'b': 'nan' is not finite"),
    "infinite": ("a,b,y\n1,2,-inf\n", "line 2, column 'y': '-inf' is not finite"),
    "too large": ("a,b,y\n1,2,1e999\n", "line 2, column 'y': '1e999' is not finite"),
    "boolean": ("a,b,y\ntrue,2,3\n", "line 2, column 'a': 'true' is not a number"),
    "date": ("a,b,y\n2020-01-01,2,3\n", "line 2, column 'a': '2020-01-01' is not a number"),
    "underscore": ("a,b,y\n1_000,2,3\n", "line 2, column 'a': '1_000' is not a number"),
    "open quote": ('a,b,y\n1,2,3\n"1,2,3\n', "line 3: unexpected end of data"),
    "no UTF-8": ("a,b,y\n1,2,é\n".encode("latin-1"), "not UTF-8 text"),
    "UTF-16": (PLAIN.encode("utf-16"), "line 1 or after it: not UTF-8 text"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_csv_is_named_by_line_and_column(tmp_path, content, said):
    path = written(tmp_path / "rows.csv", content)
    with pytest.raises(FileError) as caught:
        read_rows(path, "y")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def parquet_of(path, columns, **options):
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_parquet_of_several_row_groups_and_kinds_of_numbers(tmp_path):
    columns = {"a": X[:, 0], "b": X[:, 1], "y": Y}
    assert same(read_rows(parquet_of(tmp_path / "one.parquet", columns), "y"))
    path = parquet_of(tmp_path / "many.pq", {**columns, "__index_level_0__": [7, 8, 9, 10]}, row_group_size=1)
    assert parquet.ParquetFile(path).num_row_groups == 4
    assert same(read_rows(path, "y"))
    kinds = {
        "a.b": pyarrow.array([1, 2], pyarrow.int8()),
        "c": [Decimal("1.5"), Decimal("2.5")],
        "y": pyarrow.array([1.0, 2.0], pyarrow.float32()),
    }
    table = read_rows(parquet_of(tmp_path / "kinds.parquet", kinds), "y")
    assert np.array_equal(table.X, [[1, 1.5], [2, 2.5]])
    assert table.names == ("a.b", "c")


PARQUET = {
    "null": ({"a": [1.0, None, 3.0], "y": [1, 2, 3]}, "column 'a' has 1 empty cells, the first in row 1 of 0"),
    "NaN": ({"a": [1.0, np.nan], "y": [1, 2]}, "column 'a' has 1 entry that is not finite, the first at index 1"),
    "text": ({"a": ["1", "2"], "y": [1, 2]}, "column 'a' holds string, not numbers"),
    "boolean": ({"a": [True], "y": [1]}, "column 'a' holds bool, not numbers"),
    "lists": ({"a": [[1.0]], "y": [1]}, "column 'a' holds list"),
    "target": ({"a": [1.0], "yy": [1]}, "no column 'y' (target); did you mean 'yy'?"),
    "no rows": ({"a": np.empty(0), "y": np.empty(0)}, "holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "said"), PARQUET.values(), ids=PARQUET.keys())
def test_a_bad_parquet_is_named_by_column(tmp_path, columns, said):
    with pytest.raises(FileError) as caught:
        read_rows(parquet_of(tmp_path / "rows.parquet", columns), "y")
    assert said in str(caught.value)


def npz_of(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npz_holds_a_matrix_or_one_vector_a_column(tmp_path):
    table = read_rows(npz_of(tmp_path / "m.npz", X=X, y=Y, identity=np.arange(4), z=np.eye(3)), "y")
    assert table.names == ("x0", "x1")
    assert np.array_equal(table.X, X)
    assert same(read_rows(npz_of(tmp_path / "v.npz", a=X[:, 0], b=X[:, 1], y=Y), "y"))
    beside = read_rows(tmp_path / "m.npz", "y", ["x1", "identity"])
    assert np.array_equal(beside.X, np.column_stack([X[:, 1], np.arange(4)]))
    one = read_rows(tmp_path / "m.npz", "x0")
    assert np.array_equal(one.X[:, 0], X[:, 1])


NPZ = {
    "no target": ({"X": X}, "no column 'y' (target)"),
    "no matrix": ({"y": Y}, "at least one feature"),
    "lengths": ({"X": X, "y": Y[:3]}, "array 'y' has shape (3,), must have (4,)"),
    "a target of one column": ({"X": X, "y": Y[:, None]}, "array 'y' has shape (4, 1), must have (4,)"),
    "a scalar": ({"X": X, "y": np.float64(1)}, "array 'y' has shape (), must have (4,)"),
    "three axes": ({"X": X[None], "y": Y}, "has shape"),
    "complex": ({"X": X + 1j, "y": Y}, "not real numbers"),
    "text": ({"X": X, "y": Y.astype(str)}, "not real numbers"),
    "objects": ({"X": X, "y": np.array([1, None, "x", 2], dtype=object)}, "array 'y' cannot be read: Object arrays"),
    "NaN": ({"X": np.where(X == 3, np.nan, X), "y": Y}, "array 'x0' has 1 entry that is not finite"),
    "nothing": ({}, "holds no arrays"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "said"), NPZ.values(), ids=NPZ.keys())
def test_a_bad_npz_is_named_by_array(tmp_path, arrays, said):
    with pytest.raises(FileError) as caught:
        read_rows(npz_of(tmp_path / "rows.npz", **arrays), "y")
    assert said in str(caught.value)


def test_a_pickle_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return written, (tmp_path / "sprung", "")

    trap = np.array([Trap()], dtype=object)
    np.save(tmp_path / "trap.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "trap.npz", X=trap, y=Y)
    with pytest.raises(FileError):
        read_start(tmp_path / "trap.npy", NAMES)
    with pytest.raises(FileError):
        read_rows(tmp_path / "trap.npz", "y")
    assert not (tmp_path / "sprung").exists()
    np.load(tmp_path / "trap.npy", allow_pickle=True)
    assert (tmp_path / "sprung").exists()  # the trap does work


@pytest.mark.parametrize("kind", ["npz", "packed.npz", "parquet", "csv", "npy"])
def test_damaged_files_end_in_one_clear_error_or_are_read(tmp_path, kind):
    """Cut short or with bytes changed, at seeded places: a FileError, or rows; nothing else is raised."""
    path = tmp_path / f"rows.{kind}"
    np.save(path, Y) if kind == "npy" else None
    np.savez(path, X=X, y=Y) if kind == "npz" else None
    np.savez_compressed(path, X=X, y=Y) if kind == "packed.npz" else None
    parquet_of(path, {"a": X[:, 0], "y": Y}) if kind == "parquet" else None
    written(path, PLAIN) if kind == "csv" else None
    whole, rng, refused = path.read_bytes(), np.random.default_rng(3), []
    for trial in range(150):
        damaged = bytearray(whole[: rng.integers(len(whole))] if trial % 3 == 0 else whole)
        for place in rng.integers(max(len(damaged), 1), size=trial % 4):
            if damaged:
                damaged[place] = rng.integers(256)
        written(path, bytes(damaged))
        try:
            read_start(path, ["a"] * 4) if kind == "npy" else read_rows(path, "y")
        except FileError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(str(path) in message for message in refused)


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_the_suffix_must_be_true(tmp_path, kind):
    with pytest.raises(FileError, match=f"is named .{kind} but does not begin like one"):
        read_rows(written(tmp_path / f"rows.{kind}", PLAIN), "y")
    with pytest.raises(FileError, match=r"must end in .csv, .parquet, .npz"):
        read_rows(written(tmp_path / "rows.txt", PLAIN), "y")
    with pytest.raises(FileError, match="no such file"):
        read_rows(tmp_path / f"none.{kind}", "y")
    with pytest.raises(FileError, match="is a directory"):
        read_rows(tmp_path, "y")


def test_a_start_is_the_same_from_every_kind(tmp_path):
    start = np.array([0.1, -2e-5])
    np.save(tmp_path / "s.npy", start[:, None])
    files = [tmp_path / "s.npy", npz_of(tmp_path / "s.npz", anything=start)]
    texts = ["0.1\n-2e-5\n", "theta\n0.1\n-2e-5\n", "b,-2e-5\na,0.1\n", "name,value\nb,-2e-5\na,0.1\n"]
    texts.append(",0\na,0.1\nb,-2e-5\n")  # as pandas writes a series
    files += [written(tmp_path / f"{k}.csv", content) for k, content in enumerate(texts)]
    for path in files:
        assert np.array_equal(read_start(path, NAMES), start), path.name
    assert not np.array_equal(read_start(files[-1], ("b", "a")), start)


STARTS = {
    "length": ("1\n2\n3\n", "has shape (3,), must have (2,), one number a feature ('a', 'b')"),
    "text": ("1\ntwo\n", "line 2: 'two' is not a number"),
    "twice": ("a,1\na,2\n", "line 2: 'a' is there twice"),
    "unknown": ("a,1\nc,2\n", "line 2: 'c' is no feature"),
    "missing": ("a,1\n", "has no value for 'b'"),
    "no number": ("a,1\nb,x\n", "line 2, 'b': 'x' is not a number"),
    "three cells": ("a,1,2\n", "line 1 has 3 cells"),
    "blank": ("\n", "has no value for 'a', 'b'"),
}


@pytest.mark.parametrize(("content", "said"), STARTS.values(), ids=STARTS.keys())
def test_a_bad_start_is_named_by_line(tmp_path, content, said):
    with pytest.raises(FileError) as caught:
        read_start(written(tmp_path / "s.csv", content), NAMES)
    assert said in str(caught.value)


def test_two_arrays_are_no_start(tmp_path):
    with pytest.raises(FileError, match=r"holds 2 arrays \('a', 'b'\), must hold one"):
        read_start(npz_of(tmp_path / "s.npz", a=Y, b=Y), NAMES)


def test_a_covariance_is_matched_by_name(tmp_path):
    sigma = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.save(tmp_path / "s.npy", sigma)
    texts = ["2,0.5\n0.5,1\n", "a,b\n2,0.5\n0.5,1\n", "b,a\n1,0.5\n0.5,2\n"]
    files = [written(tmp_path / f"{k}.csv", content) for k, content in enumerate(texts)]
    for path in [tmp_path / "s.npy", npz_of(tmp_path / "s.npz", s=sigma), *files]:
        assert np.array_equal(read_covariance(path, NAMES), sigma), path.name
    wrong = {
        "2,0.5\n": r"shape \(1, 2\), must have \(2, 2\)",
        "1\n": "line 1 has 1 cells",
        "a,c\n1,2\n": "line 1 names 'a', 'c'",
    }
    for content, said in wrong.items():
        with pytest.raises(FileError, match=said):
            read_covariance(written(tmp_path / "w.csv", content), NAMES)
