"""The files of ``diagnose``: what is read from each kind, and what is said of those that cannot be used."""

from __future__ import annotations

import ast
import csv
import gzip
import itertools
import os
import re
import socket
import zipfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

import linear_theory as lt
from linear_theory.command import files
from linear_theory.command.files import FileError
from linear_theory.command.inputs import Table, read_covariance, read_old_rows, read_rows, read_start
from linear_theory.diagnosis.report import printable
from linear_theory.files import written_whole

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
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "quoted names": PLAIN.replace("a,b,y", '"a","b",y'),
    "spaces around names": PLAIN.replace("a,b,y", " a, b ,y"),
    "quoted text with commas, quotes and line ends beside them": text(
        [["t", *CELLS[0]]] + [['"1,""2\n\r\n"', *row] for row in CELLS[1:]]
    ),
    "a name over two lines": PLAIN.replace("a,b,y", '"a\n",b,y'),
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD.keys())
def test_csv_to_the_last_bit(tmp_path, content):
    table = read_rows(written(tmp_path / "rows.csv", content), "y", NAMES)
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
    "doubled name": (PLAIN.replace("a,b", "a,a"), "more than one column named 'a'"),
    "target alone": ("y\n1\n", "at least one feature"),
    "semicolons": (text(CELLS, between=";"), "line 1: its columns are separated by semicolons"),
    "tabs": (text(CELLS, between="\t"), "line 1: its columns are separated by tabs"),
    "text": ("a,b,y\n1,2,3\n1,two,3\n", "line 3, column 'b': 'two' is not a number"),
    "a name of two lines, then text": ('"a\nb",y\n1,2\nx,2\n', "line 4, column 'a\\nb': 'x'"),
    "no cell": ("a,b,y\n,2,3\n", "line 2, column 'a': the cell is empty"),
    "too large": ("a,b,y\n1,2,1e999\n", "line 2, column 'y': '1e999' is not finite"),
    "open quote": ('a,b,y\n1,2,3\n"1,2,3\n', "line 3 breaks the rules of quotes (unexpected end of data)"),
    "no UTF-8": ("a,b,y\n1,2,é\n".encode("latin-1"), "not UTF-8 text"),
    "no UTF-8 at a line's end": ("a,b,y\n1,2,3\n1,2,é\n".encode("latin-1"), "line 3: not UTF-8 text (byte 0xe9)"),
    "a cell too many": ("a,b,y\n1,2,3\n1,2,3,4\n", "line 3 has 4 cells, the header names 3"),
    "no such target among many": (",".join(f"c{k}" for k in range(15)) + "\n", "'c11' and 3 more"),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), "line 1 holds a NUL byte"),
    "NUL after carriage returns": ("a,b,y\r1,2,3\r1,2\0,3\r", "line 3 holds a NUL byte"),
    "NUL": ("a,b,y\n1,2,3\n1,2\0,3\n", "line 3 holds a NUL byte, so it is no text"),
    "a comma in it": ('a,b,y\n"1,5",2,3\n', "line 2, column 'a': '1,5' is not a number; write 1234.5 for it"),
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbf" + PLAIN.encode(), "no column 'a' (feature)"),
    "row numbers of pandas": (",a,y\n0,2,3\n", "column '' has no name of its own"),
    "zip": (b"PK\x03\x04" + PLAIN.encode(), "is named .csv but is a zip or .xlsx file"),
    "gzip": (gzip.compress(PLAIN.encode()), "is named .csv but is a gzip file; unpack it"),
    "UTF-16": (PLAIN.encode("utf-16"), "is UTF-16 text, not UTF-8 text; save it as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_csv_is_named_by_line_and_column(tmp_path, content, said):
    path = written(tmp_path / "rows.csv", content)
    with pytest.raises(FileError) as caught:
        read_rows(path, "y", ["a", "b"] if "(feature)" in said else None)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


# ----------------------------------------------------------------------- a second reading of RFC 4180, and its law


class Malformed(Exception):
    """A text that is no table of RFC 4180, or no table of numbers: the line on which the record at fault begins, and
    the column if it is one.
    """


def records_of(text):
    """Section 2 of the RFC, one character after another: cells with the line on which each begins."""
    record, line, at = [], 1, 0
    ends_line = lambda k: next((end for end in ("\r\n", "\r", "\n") if text.startswith(end, k)), "")
    while at < len(text) or record:
        begin, cell, quoted = line, "", text[at : at + 1] == '"'
        at += quoted
        while quoted:
            if at == len(text):
                raise Malformed(record[0][0] if record else begin)
            if text.startswith('""', at):
                cell, at = cell + '"', at + 2
            elif text[at] == '"':
                at += 1
                break
            else:
                end = ends_line(at) or text[at]
                line, cell, at = line + (end in "\r\n"), cell + end, at + len(end)
        while not quoted and at < len(text) and text[at] not in ',"\r\n':
            cell, at = cell + text[at], at + 1
        record.append((begin, cell, quoted))
        if at < len(text) and text[at] not in ",\r\n":
            raise Malformed(record[0][0])
        if text[at : at + 1] == ",":
            at += 1
            continue
        at, line = at + len(ends_line(at)), line + 1
        if record != [(begin, "", False)]:  # a blank line
            yield record
        record = []


def number_of(text):
    """Sign, digits, point, digits, power of ten, taken apart by hand; exactly, as a fraction."""
    text = text.strip(" \t")
    sign, text = (-1 if text[:1] == "-" else 1), text[text[:1] in ("+", "-") :]
    mantissa, _, power = text.replace("E", "e").partition("e")
    whole, _, part = mantissa.partition(".")
    size = power[power[:1] in ("+", "-") :]
    digits = lambda word: all(letter in "0123456789" for letter in word)
    if not (
        whole + part
        and digits(whole)
        and digits(part)
        and digits(size)
        and bool(size) == ("e" in text.lower())
    ):
        raise ValueError
    return sign * Fraction(int(whole + part), 10 ** len(part)) * Fraction(10) ** int(power or 0)


def table_of(text):
    """The rows below a header a,b,y, as floats, and of which line and column the first fault is."""
    rows, records = [], records_of(text)
    next(records)
    for record in records:
        if len(record) != 3:
            raise Malformed(record[0][0])
        for (_, cell, _), name in zip(record, "yab", strict=True):
            try:
                rows.append(float(number_of(cell)))
            except (ValueError, OverflowError):
                raise Malformed(record[0][0], name) from None
    return np.array(rows).reshape(-1, 3)


PIECES = [
    "1", "-2.5", "3e2", "0", ".5", "7.", "+4", "e", "-", "1e999", "nan", "inf", "0x1", "1_0", "1d5", "NA", "true",
    "１", "٣", "−", "x", "é", "'", ";", ",", ",", '"', '"', '""', '"3"', " ", "\t", "\u00a0", "\n", "\r\n", "\r", "1\n",
]  # fmt: skip
LINE = st.lists(st.sampled_from(["1", "-2.5", '"3"', " 4", '"5 "', "6e-1"]), min_size=3, max_size=3).map(
    ",".join
)


@st.composite
def nearly_right(draw):
    """A good table, and pieces put in or taken out at a few places."""
    text = "".join(
        draw(LINE) + draw(st.sampled_from(["\n", "\r\n", "\r"])) for _ in range(draw(st.integers(1, 4)))
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from([*PIECES, ""])) + text[at + draw(st.integers(0, 2)) :]
    return text


def agrees(reader, folder, body):
    """The same numbers to the last bit; or an error that names the line, and the column where a cell is at fault."""
    text = "y,a,b\n" + body
    path = written(folder / "rows.csv", text)
    try:
        want = table_of(text)
    except Malformed as fault:
        try:
            reader(path)
        except FileError as error:
            line, *column = fault.args
            return f"line {line}" in str(error) and all(f"column {name!r}" in str(error) for name in column)
        return False
    try:
        table = reader(path)
    except FileError as error:
        return len(want) == 0 and "holds no rows" in str(error)
    return np.array_equal(np.column_stack([table.y, table.X]), want)


@given(body=st.one_of(nearly_right(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
@example(body='"3"4,1,2\n')
@example(body='1,3"4",2\n')
@example(body='1,2,"3\n4,5,6\n')
@example(body='1,2,"3""4"\n')
@example(body='"1","2","3"\r4,5,6')
@example(body='1,2,3\n"4\n",2,3\n')
@example(body="1,2,3\r1,2\r")
@example(body="1,2,3\r\n\r\n1,2,3,4\r\n")
def test_a_csv_is_read_as_the_standard_says_or_refused_by_line_and_column(tmp_path_factory, body):
    assert agrees(lambda path: read_rows(path, "y"), tmp_path_factory.getbasetemp(), body)


@pytest.mark.parametrize("piece", sorted(set(PIECES)))
@pytest.mark.parametrize("cell", ["{}", '"{}"', " {}\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_cell_is_the_number_that_it_is_or_is_named(tmp_path, piece, cell, end):
    body = f"1,2,3\n4,{cell.format(piece)},6\n".replace("\n", end)
    assert agrees(lambda path: read_rows(path, "y"), tmp_path, body)


def by_python_floats(path):
    """The usual way: ``csv`` and ``float``."""
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    values = np.array([list(map(float, row)) for row in rows if row])
    return Table(values[:, 1:], ("a", "b"), values[:, 0], None)


@pytest.mark.parametrize(("reader", "body"), [
    (by_python_floats, "1_0,2,3\n"), (by_python_floats, "１,2,3\n"), (by_python_floats, '"3"4,2,3\n')])  # fmt: skip
def test_the_law_rejects_lenient_readers(tmp_path, reader, body):
    assert agrees(reader, tmp_path, "1,2,3\n4,5,6\n")
    assert not agrees(reader, tmp_path, body)


def test_a_cell_may_go_on_across_a_block_of_the_fast_reader(tmp_path):
    """pyarrow parts a file into blocks at line ends, of which one may be inside a cell."""
    rows = "".join(f'"{k}\n,{k}",{k},1\n' for k in range(120_000))
    table = read_rows(written(tmp_path / "rows.csv", "text,y,a\n" + rows), "y", ["a"])
    assert np.array_equal(table.y, np.arange(120_000.0))


# ------------------------------------------------------------------------------------------- what is no regular file


def fifo(path):
    os.mkfifo(path)
    return path


def listening(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


def linked(path, to):
    path.symlink_to(to)
    return path


ODD = {
    "a pipe": (fifo, "is a pipe, not a file, and can be read only once"),
    "a device": (lambda path: linked(path, "/dev/zero"), "is a device, not a file"),
    "a terminal": (lambda path: linked(path, "/dev/tty"), "is a device, not a file"),
    "a socket": (listening, "is a socket, not a file"),
    "a folder": (lambda path: path.mkdir() or path, "is a directory, not a file"),
    "a loop of links": (
        lambda path: linked(path, path.name),
        "cannot be read: Too many levels of symbolic links",
    ),
    "a link to nothing": (lambda path: linked(path, "nothing"), "there is no such file"),
    "nothing": (lambda path: path, "there is no such file"),
    "below a file": (lambda path: written(path, "x") / path.name, "cannot be read: Not a directory"),
}
READERS = {
    ".csv": lambda path: read_rows(path, "y"),
    ".parquet": lambda path: read_rows(path, "y"),
    ".npz": lambda path: read_rows(path, "y"),
    ".npy": lambda path: read_start(path, NAMES),
    "covariance.csv": lambda path: read_covariance(path, NAMES),
    "chunks.npy": lambda path: lt.streaming.from_npy(path, path),
    "chunks.parquet": lambda path: lt.streaming.from_parquet(path, "y"),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(("made", "said"), ODD.values(), ids=ODD.keys())
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, kind, made, said):
    """A pipe is not waited for, nor is /dev/zero read to its end."""
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    path = made(Path(f"x{kind}"))
    with pytest.raises((FileError, lt.InvalidValueError)) as caught:
        READERS[kind](path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, kind):
    """As root everything may be read, so the refusal is put in."""
    path = written(tmp_path / f"x{kind}", "a,y\n1,2\n")

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises((FileError, lt.InvalidValueError), match="cannot be read: Permission denied"):
        READERS[kind](path)


ENDS = [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()]


@pytest.mark.parametrize("error", ENDS, ids=repr)
@pytest.mark.parametrize("before", [[], ["what was there"]], ids=["new", "old"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, error, before):
    path = tmp_path / ("n" * 250 + ".csv")  # nothing can be added to this name
    for content in before:
        path.write_text(content)
    contents = lambda: [file.read_text() for file in tmp_path.iterdir()]

    def half():
        with written_whole(path) as file:
            file.write(b"half")
            file.flush()
            assert sorted(contents()) == sorted([*before, "half"])
            raise error

    with pytest.raises(type(error)):
        half()
    assert contents() == before
    with written_whole(path) as file:
        file.write(b"whole")
    assert contents() == ["whole"]


@given(st.text())
def test_what_is_printed_can_be_seen_and_nothing_is_lost(name):
    shown = printable(name)
    assert shown.isprintable()
    assert (shown == name) == name.isprintable()
    if "\\" not in name:
        of = lambda found: ast.literal_eval(f"'{found[0]}'")
        assert re.sub(r"\\(x..|u....|U.{8}|[trn])", of, shown) == name


NAMED = [("rows.csv.gz", "is compressed; unpack it first, to .csv"), ("-", "standard input is not read")]


@pytest.mark.parametrize(("name", "said"), NAMED, ids=[name for name, _ in NAMED])
def test_names_that_stand_for_something_else(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    written(Path("rows.csv.gz"), gzip.compress(PLAIN.encode()))
    with pytest.raises(FileError, match=said):
        read_rows(Path(name), "y")


def test_nobody_is_told_to_allow_pickles(tmp_path):
    """NumPy does tell, of anything that it cannot read."""
    csv_file, objects = written(tmp_path / "rows.npy", PLAIN), tmp_path / "objects.npy"
    np.save(objects, np.array([None]))
    wide = tmp_path / "wide.npy"
    np.save(wide, np.zeros(1, dtype=[(f"field{k}", float) for k in range(2000)]))
    for path in (csv_file, objects, wide):
        for read in (
            lambda path: read_start(path, NAMES),
            lambda path: lt.streaming.from_npy(path, path),
            lambda path: read_rows(npz_with(tmp_path / "rows.npz", path), "y"),
        ):
            with pytest.raises((FileError, lt.InvalidValueError)) as caught:
                read(path)
            assert "pickle" not in str(caught.value)
        with pytest.raises(ValueError, match="pickle"):
            np.load(path)


def npz_with(path, member):
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(member, "y.npy")
    return path


# ------------------------------------------------------------------------------------------------------ Parquet


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


def pandas_files(folder):
    """Row labels as pandas leaves them: unnamed, named, of two levels, and a range, which is no column."""
    import pandas

    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": Y})
    labels = [[7, 8, 9, 10], pandas.Index([7, 8, 9, 10], name="id"), None]
    labels.append(pandas.MultiIndex.from_product([[0, 1], [0.0, 1.0]], names=["group", None]))
    for number, index in enumerate(labels):
        path = folder / f"{number}.parquet"
        (frame if index is None else frame.set_axis(index)).to_parquet(path)
        yield path


def test_row_labels_of_pandas_are_no_features_for_either_reader(tmp_path):
    seen = set()
    for path in pandas_files(tmp_path):
        seen |= set(parquet.read_schema(path).names)
        assert same(read_rows(path, "y"))
        ((chunk, labels),) = lt.streaming.from_parquet(path, "y")
        assert np.array_equal(chunk, X)
        assert np.array_equal(labels, Y)
    assert {"__index_level_0__", "id", "group", "__index_level_1__"} < seen
    asked = read_rows(tmp_path / "1.parquet", "y", ["id"])
    ((chunk, _),) = lt.streaming.from_parquet(tmp_path / "1.parquet", "y", features=["id"])
    assert np.array_equal(asked.X, chunk)
    assert np.array_equal(chunk[:, 0], [7, 8, 9, 10])


KINDS = {
    "int8": pyarrow.array([1, 2, 3], pyarrow.int8()), "half": pyarrow.array(np.array([1, 2, 3], np.float16)),
    "decimal": pyarrow.array([Decimal("1.5"), Decimal("2.5"), Decimal("-1")]), "null": pyarrow.array([1, None, 3]),
    "nothing": pyarrow.nulls(3), "bool": pyarrow.array([True, False, True]), "text": pyarrow.array(list("123")),
    "category": pyarrow.array(["1", "2", "1"]).dictionary_encode(), "list": pyarrow.array([[1], [2], [3]]),
    "codes": pyarrow.array([1, 2, 1]).dictionary_encode(), "day": pyarrow.array([1, 2, 3], pyarrow.date32()),
    "time": pyarrow.array([1, 2, 3], pyarrow.timestamp("s")), "struct": pyarrow.array([{"a": 1}] * 3),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_and_the_chunks_read_the_same_columns_and_refuse_the_same(tmp_path, kind):
    path = parquet_of(tmp_path / "rows.parquet", {"a": KINDS[kind], "y": [1.0, 2.0, 3.0]})

    def chunks():
        ((features, _),) = lt.streaming.from_parquet(path, "y")
        return features

    def of(read):
        try:
            return read().tolist()
        except (FileError, lt.LinearTheoryError) as error:
            return str(error).replace("column = 'a':", "column 'a'").rpartition(f"{path}: ")[2]

    found = of(lambda: read_rows(path, "y").X)
    assert found == of(chunks)
    assert isinstance(found, list) == (kind in ("int8", "half", "decimal", "codes"))
    assert isinstance(found, list) or "column 'a' holds" in found


PARQUET = {
    "null": ({"a": [1.0, None, 3.0], "y": [1, 2, 3]}, "column 'a' holds a null in row 1 (from 0); fill it"),
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
    "objects": ({"X": X, "y": np.array([1, None, "x", 2], dtype=object)}, "array 'y' cannot be read: it holds Py"),
    "NaN": ({"X": np.where(X == 3, np.nan, X), "y": Y}, "array 'x0' has 1 entry that is not finite"),
    "nothing": ({}, "holds no arrays"),
    "a column of X twice": ({"X": X, "y": Y, "x0": Y}, "has an array 'x0', as column 0 of its X is called; rename"),
    "the last, too": ({"x1": np.eye(2), "X": X, "y": Y}, "has an array 'x1', as column 1 of its X is called"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "said"), NPZ.values(), ids=NPZ.keys())
def test_a_bad_npz_is_named_by_array(tmp_path, arrays, said):
    with pytest.raises(FileError) as caught:
        read_rows(npz_of(tmp_path / "rows.npz", **arrays), "y")
    assert said in str(caught.value)


def test_entries_that_are_not_finite_are_counted_and_the_first_is_named(tmp_path):
    bad = np.where(np.arange(len(Y)) % 2 == 1, np.nan, Y)
    many = int(np.isnan(bad).sum())
    with pytest.raises(
        FileError, match=f"array 'y' has {many} entries that are not finite, the first at index 1 of"
    ):
        read_rows(npz_of(tmp_path / "rows.npz", X=X, y=bad), "y")


def test_old_rows_are_read_from_one_place_alone(tmp_path):
    old = read_old_rows(npz_of(tmp_path / "old.npz", X=X, x2=Y), ("x1", "x2"))
    assert np.array_equal(old, np.column_stack([X[:, 1], Y]))
    with pytest.raises(FileError, match="has an array 'x1', as column 1 of its X is called"):
        read_old_rows(npz_of(tmp_path / "both.npz", X=X, x1=Y), ("x0",))


@pytest.mark.parametrize("kind", [".npz", ".parquet"])
def test_what_is_too_large_once_unpacked_is_not_unpacked(tmp_path, monkeypatch, kind):
    """A few bytes of file may be any number of zeros."""
    path, rows = tmp_path / f"rows{kind}", 10_000
    columns = {name: np.zeros(rows) for name in ("a", "y")}
    if kind == ".npz":
        np.savez_compressed(path, **columns)
    else:
        parquet.write_table(pyarrow.table(columns), path)
    assert path.stat().st_size < 8 * rows / 10
    assert read_rows(path, "y").X.shape == (rows, 1)
    monkeypatch.setattr(files, "memory", lambda: 2 * 2 * 8 * rows)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("unpacked"))
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("unpacked"))
    if kind == ".parquet":  # whose numbers are exactly as much as fits; an archive has a header for each
        monkeypatch.setattr(files, "memory", lambda: 2 * 2 * 8 * rows - 1)
    with pytest.raises(FileError, match=r"holds \d+ bytes once unpacked"):
        read_rows(path, "y")


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
    "a first value misspelt": ("1_0\n2\n3\n", "line 1: '1_0' is not a number"),
    "a first value with a comma": ('"1,5"\n2\n3\n', "line 1: '1,5' is not a number"),
    "an intercept first": ("intercept,1\na,1\nb,2\n", "line 1: 'intercept' is no feature"),
    "length": ("1\n2\n3\n", "has shape (3,), must have (2,), one number a feature ('a', 'b')"),
    "text": ("1\ntwo\n", "line 2: 'two' is not a number"),
    "twice": ("a,1\na,2\n", "line 2: 'a' is there twice"),
    "unknown": ("a,1\nc,2\n", "line 2: 'c' is no feature"),
    "missing": ("a,1\n", "has no value for 'b'"),
    "no number": ("a,1\nb,x\n", "line 2, 'b': 'x' is not a number"),
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


@pytest.mark.parametrize("names", [("0", "1"), ("1", "0"), ("7", "b"), ("1.5", "-2"), ("1", "2", "3")])
def test_names_may_be_numbers(tmp_path, names):
    """As Parquet has them: a line above as many as there are names is a header, one among them is none."""
    d = len(names)
    sigma = np.arange(d * d, dtype=float).reshape(d, d)
    for k, order in enumerate(itertools.permutations(range(d))):
        body = [[str(sigma[i, j]) for j in order] for i in order]
        header = [names[j] for j in order]
        assert np.array_equal(
            read_covariance(written(tmp_path / f"{k}.csv", text([header, *body])), names), sigma
        )
    named = [float(name) if name != "b" else 2.0 for name in names]
    own = text([[f"{value:g}" for value in named]] * d)
    assert np.array_equal(read_covariance(written(tmp_path / "own.csv", own), names), [named] * d)


@pytest.mark.parametrize("after", ["", "\n", "\n\n", "\r\n \r\n"])
def test_of_no_rows_pyarrow_is_not_asked(tmp_path, monkeypatch, after):
    """It leaves a thread behind where there are none, and then the process may abort at its end."""
    from pyarrow import csv

    monkeypatch.setattr(csv, "read_csv", None)
    (tmp_path / "header.csv").write_text("a,y" + after, encoding="utf-8")
    with pytest.raises(FileError, match=r"holds no rows|has 1 cells"):
        read_rows(tmp_path / "header.csv", "y")
