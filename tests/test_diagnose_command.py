"""``python -m linear_theory diagnose``: what it prints and writes, and that every failure is one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import linear_theory as lt
from linear_theory.__main__ import app
from tests.tolerances import near

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("along", "across")
SIGMA = np.array([[2.0, 0.5], [0.5, 1.0]])
RNG = np.random.default_rng(7)
X = RNG.standard_normal((150, 2)) @ np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]]).T
START = np.array([1.0, 0.5])
Y = X @ (START - [1.0, 0.0]) + 0.3 * RNG.standard_normal(150)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the same rows as Parquet, CSV and npz, a start and a covariance."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    columns = {"along": X[:, 0], "y": Y, "across": X[:, 1]}
    parquet.write_table(pyarrow.table(columns), "rows.parquet", row_group_size=40)
    lines = [
        ",".join(columns),
        *(",".join(map(repr, row)) for row in np.column_stack([*columns.values()]).tolist()),
    ]
    Path("rows.csv").write_text("\n".join(lines), encoding="utf-8")
    np.savez("rows.npz", **columns)
    np.save("theta.npy", START)
    Path("theta.csv").write_text("across,0.5\nalong,1.0\n", encoding="utf-8")
    np.save("sigma.npy", SIGMA)
    return tmp_path


def command(*arguments):
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


def refused(*arguments):
    """What is said, once, on stderr, with exit status 2 and no traceback; nothing else is written."""
    before = sorted(Path().iterdir())
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith(("error: ", "Usage: "))
    if result.stderr.startswith("error: "):
        assert len(result.stderr.splitlines()) == 1
    assert sorted(Path().iterdir()) == before
    return result.stderr


def is_png(path):
    from matplotlib.image import imread

    return Path(path).read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and min(imread(path).shape[:2]) > 500


# ------------------------------------------------------------------------------------------------ success


@pytest.mark.parametrize("rows", ["rows.parquet", "rows.csv", "rows.npz"])
@pytest.mark.parametrize("start", ["theta.npy", "theta.csv"])
def test_it_prints_the_diagnosis_of_the_rows_whatever_the_file(here, rows, start):
    result = command(rows, "--start", start)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    want = lt.diagnose(X, Y, START).report(80, NAMES)
    assert result.stdout == f"{want}\n\npicture: rows-diagnosis.png\n"
    assert want != lt.diagnose(X, Y, START[::-1]).report(80, NAMES)
    assert is_png("rows-diagnosis.png")


def test_options_reach_the_diagnosis(here):
    result = command(
        "rows.parquet", "--target", "y", "--start", "theta.npy", "--features", "along, across",
        "--temperature", "0.25", "--pretrain-covariance", "sigma.npy", "--out", "p.PNG",
    )  # fmt: skip
    want = lt.diagnose(X, Y, START, 0.25, SIGMA).report(80, NAMES)
    assert result.stdout == f"{want}\n\npicture: p.PNG\n"
    turned = command("rows.csv", "--start", "theta.csv", "--features", "across,along")
    assert lt.diagnose(X[:, ::-1], Y, START[::-1]).report(80, NAMES[::-1]) in turned.stdout
    np.save("one.npy", START[:1])
    alone = command("rows.csv", "--start", "one.npy", "--features", "along", "--target", "across")
    assert "150 rows and 1 column\n" in alone.stdout
    assert lt.diagnose(X[:, :1], X[:, 1], START[:1]).report(80, NAMES[:1]) in alone.stdout


def test_it_says_which_forgetting_it_is(here):
    for more, said, other in (
        ((), "Moved is (θ − θ*)ᵀG(θ − θ*)", "(θ − θ*)ᵀΣ(θ − θ*)"),
        (("--pretrain-covariance", "sigma.npy"), "Forgetting is (θ − θ*)ᵀΣ(θ − θ*)", "No verdict"),
    ):
        flat = " ".join(command("rows.npz", "--start", "theta.npy", *more).stdout.split())
        assert said in flat
        assert other not in flat


OLD = RNG.standard_normal((40, 2)) * [2.0, 0.5]
COUNTS = RNG.integers(0, 4, 150).astype(float)


def table(path, columns):
    lines = [
        ",".join(columns),
        *(",".join(map(repr, row)) for row in np.column_stack([*columns.values()]).tolist()),
    ]
    Path(path).write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_old_rows_by_name(here, kind):
    """In any order, with labels or without, beside other columns."""
    columns = {"y": OLD[:, 0], "across": OLD[:, 1], "other": OLD[:, 0], "along": OLD[:, 0]}
    {
        "csv": lambda: table("old.csv", columns),
        "parquet": lambda: parquet.write_table(pyarrow.table(columns), "old.parquet"),
        "npz": lambda: np.savez("old.npz", **columns),
    }[kind]()
    result = command("rows.csv", *AT, "--pretrain-rows", f"old.{kind}")
    assert result.exit_code == 0, result.output
    want = lt.diagnose(X, Y, START, pretrain_rows=OLD)
    assert want.report(80, NAMES) in result.stdout
    assert "on the 40 old rows" in " ".join(result.stdout.split())
    assert near(want.forgetting[2], np.mean((OLD @ want.shift) ** 2), 1e6)


def test_a_column_of_prior_weights(here):
    """Neither a feature nor ignored; of old rows as well, where they have the column."""
    columns = {"along": X[:, 0], "many": COUNTS, "across": X[:, 1], "y": Y}
    table("counted.csv", columns)
    counted = command("counted.csv", *AT, "--sample-weight", "many")
    weighted = lt.diagnose(X, Y, START, sample_weight=COUNTS)
    assert weighted.report(80, NAMES) in counted.stdout
    assert f"150 rows of total weight {COUNTS.sum():.0f} and 2 columns" in counted.stdout
    table("old.csv", {"along": OLD[:, 0], "across": OLD[:, 1], "many": COUNTS[:40]})
    both = command("counted.csv", *AT, "--sample-weight", "many", "--pretrain-rows", "old.csv")
    second = (OLD.T * COUNTS[:40]) @ OLD / COUNTS[:40].sum()
    want = lt.diagnose(X, Y, START, None, second, sample_weight=COUNTS)
    line = next(line for line in want.report(80, NAMES).splitlines() if line.startswith("oracle"))
    assert line in both.stdout


@pytest.mark.parametrize("name", ["weight", "Weights", "sample_weight", "sample weight", "case_weights"])
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_column_named_like_weights_is_decided_upon(here, name, kind):
    columns = {"along": X[:, 0], "across": X[:, 1], "y": Y, name: COUNTS}
    if kind == "csv":
        table("w.csv", columns)
    else:
        np.savez("w.npz", X=X, y=Y, **{name: COUNTS})
        columns = {"x0": X[:, 0], "x1": X[:, 1]}
    np.save("three.npy", np.zeros(3))
    file = f"w.{kind}"
    assert f"has a column {name!r}: a weight of rows? Give --sample-weight {name}" in refused(file, *AT)
    weighted = command(file, *AT, "--sample-weight", name)
    assert "of total weight" in weighted.stdout
    features = ",".join([*columns][:2])
    assert "150 rows and 2 columns" in command(file, *AT, "--features", features).stdout
    assert (
        "150 rows and 3 columns"
        in command(file, "--start", "three.npy", "--features", f"{features},{name}").stdout
    )


@pytest.mark.parametrize("kind", ["npy", "NPY", "csv", "parquet"])
@pytest.mark.parametrize("temperature", [None, 0.2, np.inf])
def test_the_weights_are_the_users_own(here, kind, temperature):
    """exp(−loss/τ), not divided by anything, in the order of the rows."""
    path = f"w.{kind}"
    more = () if temperature is None else ("--temperature", temperature)
    result = command("rows.parquet", "--start", "theta.npy", "--weights-out", path, *more)
    assert f"weights: {path}\n" in result.stdout
    read = {"npy": np.load, "csv": lambda p: np.loadtxt(p, skiprows=1)}
    got = read.get(kind.lower(), lambda p: np.asarray(parquet.read_table(p)["weight"]))(path)
    losses = (Y - X @ START) ** 2
    want = np.exp(-losses / (np.median(losses) if temperature is None else temperature))
    assert near(got, want, 100)
    assert near(got, lt.flow_weights(losses, temperature), 100)
    for wrong in (want / want.mean(), np.sort(want), np.exp(-losses / (2 * np.median(losses)))):
        assert temperature == np.inf or not near(got, wrong, 100)


@pytest.mark.parametrize(("name", "magic"), [("p.png", b"\x89PNG"), ("p.pdf", b"%PDF"), ("p.svg", b"<?xml")])
def test_the_picture_is_what_its_name_says(here, name, magic):
    assert command("rows.npz", "--start", "theta.npy", "--out", name).exit_code == 0
    assert Path(name).read_bytes().startswith(magic)


@pytest.mark.parametrize("columns", [40, 60, 80, 300])
def test_lines_are_at_most_60_or_the_terminal_or_100(here, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = command("rows.csv", "--start", "theta.npy").stdout.splitlines()
    allowed = max(60, min(columns, 100))
    assert allowed - 12 < max(map(len, lines)) <= allowed


def process(*arguments, first="", **environment):
    """The command in a process of its own, without colours unless asked for."""
    run = f"import runpy, sys; sys.argv[0] = 'x'; {first}; runpy.run_module('linear_theory', run_name='__main__')"
    start = [sys.executable, "-W", "error", *(("-c", run) if first else ("-m", "linear_theory"))]
    plain = {k: v for k, v in os.environ.items() if k not in {"FORCE_COLOR", "NO_COLOR"}}
    env = plain | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"} | environment
    return subprocess.run([*start, *arguments], capture_output=True, env=env, timeout=300)


def test_a_process_of_its_own_says_the_same(here):
    done = process("diagnose", "rows.parquet", "--target", "y", "--start", "theta.npy")
    assert (done.returncode, done.stderr) == (0, b"")
    assert lt.diagnose(X, Y, START).report(80, NAMES) in done.stdout.decode()
    assert is_png("rows-diagnosis.png")


def test_a_stream_that_knows_no_greek_is_served_too(here):
    done = process("diagnose", "rows.npz", "--start", "theta.npy", PYTHONIOENCODING="ascii", FORCE_COLOR="1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Moved is (? ? ?*)?G(? ? ?*)" in done.stdout
    assert b"\x1b[1;31mbroken\x1b[0m" in done.stdout
    none = process(
        "diagnose", "no-\u03c4.csv", "--start", "theta.npy", PYTHONIOENCODING="ascii", NO_COLOR="1"
    )
    assert none.returncode == 2
    assert none.stderr.decode().strip() == "error: no-\u03c4.csv: there is no such file"


# ----------------------------------------------------------------------------------------------- failures

FILES = {
    "ragged.csv": b"a,y\n1,2\n1\n",
    "word.csv": b"a,y\n1,2\n1,x\n",
    "hole.csv": b"a,y\n,2\n",
    "bare.csv": b"1,2\n3,4\n",
    "old.csv": b"along\n1\n",
    "heavy.csv": b"along,across,weight\n1,2,3\n",
    "header.csv": b"along,across\n",
    "signed.csv": b"along,across,y,k\n" + b"1,2,3,-1\n2,1,1,2\n" * 8,
    "empty.csv": b"",
    "no.parquet": b"a,y\n1,2\n",
    "cut.npz": b"PK\x03\x04",
    "short.csv": b"1\n",
    "huge.csv": b"along,across,y\n1e200,1,1\n2,1,1\n3,1,1\n",
    "far.csv": b"along,across,y\n1,1,1e200\n2,1,1\n3,1,1\n",
    "fitted.csv": b"along,across,y\n1,0,1\n2,0,2\n3,1,9\n",
}
AT = ("--start", "theta.npy")
OLDER = ("--pretrain-rows",)
FAILURES = {
    "no rows file": (("none.csv", *AT), "none.csv: there is no such file"),
    "ragged line": (("ragged.csv", *AT), "ragged.csv: line 3 has 1 cells, the header names 2"),
    "a word": (("word.csv", *AT), "word.csv: line 3, column 'y': 'x' is not a number"),
    "a hole": (("hole.csv", *AT), "hole.csv: line 2, column 'a': the cell is empty"),
    "no header": (("bare.csv", *AT), "bare.csv: line 1 holds numbers"),
    "empty": (("empty.csv", *AT), "empty.csv: is empty"),
    "no Parquet": (("no.parquet", *AT), "is named .parquet but does not begin like one"),
    "damaged npz": (("cut.npz", *AT), "cut.npz: is damaged"),
    "too large": (("huge.csv", *AT), "has squares beyond the largest float"),
    "too far": (("far.csv", *AT), "--target"),
    "half fitted": (("fitted.csv", *AT), "by default the median loss of the start, 0.0: the pre-trained"),
    "no target": (("rows.csv", "--target", "z", *AT), "has no column 'z' (target); its columns are"),
    "no feature": (("rows.csv", "--features", "along,acros", *AT), "no column 'acros' (feature); did you mean"),
    "no start": (("rows.csv", "--start", "none.npy"), "none.npy: there is no such file"),
    "start left out": (("rows.csv",), "--start"),
    "short start": (("rows.csv", "--start", "short.csv"), "has shape (1,), must have (2,)"),
    "start of rows": (("rows.csv", "--start", "rows.npz"), "rows.npz: holds 3 arrays"),
    "negative temperature": (("rows.csv", *AT, "--temperature", "-1"), "--temperature -1.0: must be > 0"),
    "no temperature": (("rows.csv", *AT, "--temperature", "nan"), "--temperature nan"),
    "warm": (("rows.csv", *AT, "--temperature", "warm"), "Invalid value for '--temperature'"),
    "skew": (("rows.csv", *AT, "--pretrain-covariance", "skew.npy"), "--pretrain-covariance"),
    "indefinite": (("rows.csv", *AT, "--pretrain-covariance", "minus.npy"), "--pretrain-covariance"),
    "two of Σ": (
        ("rows.csv", *AT, "--pretrain-covariance", "sigma.npy", "--pretrain-rows", "rows.csv"),
        "--pretrain-rows array of shape (150, 2): are there to make pretrain_covariance of; give one of the two",
    ),
    "old without a feature": (("rows.csv", *AT, *OLDER, "old.csv"), "old.csv: has no column 'across' (feature)"),
    "old with weights": (("rows.csv", *AT, *OLDER, "heavy.csv"), "heavy.csv: has a column 'weight'; drop it"),
    "old missing": (("rows.csv", *AT, "--pretrain-rows", "none.csv"), "none.csv: there is no such file"),
    "old of no rows": (("rows.csv", *AT, "--pretrain-rows", "header.csv"), "header.csv: holds no rows"),
    "no such weights": (("rows.csv", *AT, "--sample-weight", "many"), "has no column 'many' (sample weight)"),
    "weights of the target": (("rows.csv", *AT, "--sample-weight", "y"), "'y' is asked for twice, as target, sample"),
    "negative weights": (("signed.csv", *AT, "--sample-weight", "k"), "--sample-weight array of shape"),
    "over old rows": (("rows.csv", *AT, "--pretrain-rows", "old.csv", "--weights-out", "old.csv"), "would overwrite"),
    "other size": (("rows.csv", *AT, "--pretrain-covariance", "three.npy"), "has shape (3, 3), must have (2, 2)"),
    "picture": (("rows.csv", *AT, "--out", "p.jpg"), "--out p.jpg: must end in .png, .pdf, .svg"),
    "nowhere": (("rows.csv", *AT, "--out", "none/p.png"), "there is no directory none"),
    "directory": (("rows.csv", *AT, "--out", "folder.png"), "--out folder.png: is a directory"),
    "long name": (("rows.csv", *AT, "--out", "x" * 300 + ".png"), "ame too long"),
    "long rows": (("x" * 300 + ".csv", *AT, "--out", "p.png"), "cannot be read: "),
    "weights": (("rows.csv", *AT, "--weights-out", "w.txt"), "--weights-out w.txt: must end in .npy, .csv, .parquet"),
    "over the rows": (("rows.csv", *AT, "--weights-out", "./rows.csv"), "would overwrite another file"),
    "over the start": (("rows.csv", *AT, "--weights-out", "link.npy"), "would overwrite another file"),
    "an option unknown": (("rows.csv", *AT, "--tau", "1"), "--tau"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_one_sentence_and_exit_2(here, arguments, said):
    for name, content in FILES.items():
        Path(name).write_bytes(content)
    np.save("skew.npy", [[1.0, 0.5], [0.0, 1.0]])
    np.save("minus.npy", [[1.0, 0.0], [0.0, -1.0]])
    np.save("three.npy", np.eye(3))
    Path("folder.png").mkdir()
    Path("link.npy").symlink_to("theta.npy")
    assert said in refused(*arguments)


@pytest.mark.parametrize("name", ["p.png", "p.svg"])
def test_a_picture_that_cannot_be_written(here, monkeypatch, name):
    def full(*_, **__):
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    result = command("rows.csv", *AT, "--out", name)
    assert result.exit_code == 2
    assert result.stderr == f"error: cannot write {name}: No space left on device\n"
    assert "In short" in result.stdout


PIP = 'is not installed; the command needs: pip install "linear-theory[cli]"'


@pytest.mark.parametrize("pair", ["pyarrow rows.csv", "pyarrow rows.parquet", "matplotlib rows.npz"])
def test_a_missing_extra_is_named_with_its_remedy(here, monkeypatch, pair):
    missing, rows = pair.split()
    monkeypatch.delitem(sys.modules, "linear_theory.diagnosis.picture", raising=False)
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    said = refused(rows, *AT)
    assert said.startswith(f"error: {missing} is")
    assert said.endswith(f"{PIP}\n")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_terminal_library_too(here, missing):
    done = process("diagnose", "rows.csv", *AT, first=f"sys.modules[{missing!r}] = None")
    assert done.returncode == 2
    assert done.stderr.decode() == f"error: {missing} {PIP}\n"


def test_help_names_every_option(here):
    said = CliRunner().invoke(app, ["diagnose", "--help"]).stdout
    more = ("pretrain-covariance", "pretrain-rows", "sample-weight", "weights-out", "out")
    for option in ("target", "start", "features", "temperature", *more):
        assert f"--{option}" in said
