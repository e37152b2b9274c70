"""Files that nobody would write, for ``python -m linear_theory diagnose``: random bytes, and good files with some of
their bytes changed.

``python -m benchmarks.fuzz --seconds 600`` looks for a file which its readers do not understand and do not refuse,
guided by which of their lines are run (atheris, the extra ``[fuzz]``), and writes what came of it into
``docs/trust.md``. ``tests/test_fuzz.py`` asks the same of some hundred files.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .report import RESULTS, ROOT, store
from .sections import TRUST, spaced, written

STORED = RESULTS / "fuzz.json"
FOUND = ROOT / "out" / "fuzz"
NAMES = ("along", "across")
LARGEST = 2_000
"""Numbers in a table that is diagnosed as well as read."""
MEMORY = 1024
"""MiB that no file may ask for."""
LONGEST = 20
"""Seconds that no file may take."""


def _good_files() -> dict[str, bytes]:
    """One of each kind, by what it is and how its name ends; an archive's member is packed by :func:`tried`."""
    import pyarrow
    from pyarrow import parquet

    rng = np.random.default_rng(3)
    X, start = rng.standard_normal((12, 2)).round(2), np.array([1.0, 0.5])
    columns = {"along": X[:, 0], "y": (X @ [0.0, 0.5]).round(2), "across": X[:, 1]}

    def saved(save, *values, **named) -> bytes:
        buffer = io.BytesIO()
        save(buffer, *values, **named)
        return buffer.getvalue()

    table = lambda rows: "\n".join(",".join(map(str, row)) for row in rows).encode()
    return {
        "rows.csv": table([list(columns), *np.column_stack([*columns.values()]).tolist()]),
        "rows.npz": saved(np.savez, **columns),
        "rows.parquet": saved(lambda buffer: parquet.write_table(pyarrow.table(columns), buffer)),
        "member.npz": saved(np.save, columns["y"]),
        "start.csv": table(zip(NAMES, start, strict=True)),
        "start.npy": saved(np.save, start),
        "sigma.csv": table([NAMES, [2.0, 0.5], [0.5, 1.0]]),
        "sigma.npy": saved(np.save, np.array([[2.0, 0.5], [0.5, 1.0]])),
    }


GOOD = _good_files()
KINDS = tuple(GOOD)


def tried(data: bytes, folder: Path) -> str:
    """Read ``data[1:]`` as the kind of file that ``data[0]`` stands for, and diagnose the rows: "refused" where one of
    the package's own errors says why, else "read". Anything else is raised.
    """
    from linear_theory import LinearTheoryError, diagnose
    from linear_theory.command.files import FileError
    from linear_theory.command.inputs import read_covariance, read_rows, read_start

    kind, content = KINDS[data[0] % len(KINDS)], data[1:]
    path = folder / kind
    path.write_bytes(content if kind != "member.npz" else _archive(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            table = None
            if kind.startswith("start"):
                found = [read_start(path, NAMES)]
            elif kind.startswith("sigma"):
                found = [read_covariance(path, NAMES)]
            else:
                table = read_rows(path, "y")
                found = [table.X, table.y]
            assert all(np.isfinite(values).all() for values in found), "what was read is not finite"
            if table is not None and table.X.size <= LARGEST:
                diagnosis = diagnose(table.X, table.y, np.zeros(table.X.shape[1]))
                said = diagnosis.report(80)
                assert not re.search(r"\bnan\b", said), "the report says nan"
        except (FileError, LinearTheoryError):
            return "refused"
    return "read"


def _archive(member: bytes) -> bytes:
    """The bytes as the array ``y`` of an archive that is whole, beside a good column: its sums of bytes are right."""
    buffer, column = io.BytesIO(), io.BytesIO()
    np.save(column, np.arange(12.0))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", column.getvalue())
        archive.writestr("y.npy", member)
    return buffer.getvalue()


def hunt(seconds: int) -> None:
    """In a process that does not come back from it: what is found is written to ``out/fuzz``."""
    atheris: Any = importlib.import_module("atheris")  # found by name: nothing else needs it

    with atheris.instrument_imports(include=["linear_theory.command", "linear_theory.streaming.sources"]):
        import linear_theory.command.inputs  # noqa: F401 - instrumented as it is imported
    corpus = FOUND / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (kind, content) in enumerate(GOOD.items()):
        (corpus / kind).write_bytes(bytes([number]) + content)
    flags = [
        f"-max_total_time={seconds}", f"-timeout={LONGEST}", f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={FOUND}/",
        "-max_len=8192", "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup([sys.argv[0], *flags], lambda data: data and tried(data, Path(folder)))
        atheris.Fuzz()


def main(arguments: list[str] | None = None) -> int:
    """0 where nothing was found, and the page then says so; what was found stays in ``out/fuzz``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    seconds = parser.parse_args(arguments).seconds
    call = f"from benchmarks import fuzz; fuzz.hunt({seconds})"
    hunted = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True)
    if hunted.returncode:
        print(hunted.stdout + hunted.stderr)
        return 1
    counts = {
        name: int(value) for name, value in re.findall(r"^stat::(\w+):\s+(\d+)$", hunted.stderr, re.MULTILINE)
    }
    store(counts | {"seconds": seconds}, STORED)
    TRUST.write_text(written(TRUST.read_text(encoding="utf-8"), {"fuzz": lines(kept())}), encoding="utf-8")
    return 0


def kept() -> dict[str, int]:
    """What was stored."""
    return json.loads(STORED.read_text(encoding="utf-8"))


def lines(counts: dict[str, int]) -> list[str]:
    """What came of it, for the page."""
    return [
        f"{spaced(counts['number_of_executed_units'])} files in {spaced(counts['seconds'])} s: each was read or "
        f"refused in one sentence, the slowest in less than {counts['slowest_unit_time_sec'] + 1} s, with at most "
        f"{spaced(counts['peak_rss_mb'])} MiB for the whole process."
    ]


if __name__ == "__main__":
    sys.exit(main())
