"""``python -m linear_theory diagnose``: what it prints and writes, and that every failure is one sentence."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import linear_theory as lt
from linear_theory.command import installation
from linear_theory.command.app import app
from linear_theory.testing.tolerances import near

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
    line = next(line for line in want.report(80, NAMES).splitlines() if line.startswith("best for both"))
    assert line in both.stdout


def test_a_column_that_is_only_rounding(here):
    """Told what it was made from, it is a column of zeros: in the rows and in the old ones."""
    left = 0.1 - np.nextafter(0.1, 1.0)
    rounding = np.where(np.arange(150) % 2, left, 0.0)
    table("centred.csv", {"along": X[:, 0], "one": rounding, "across": X[:, 1], "y": Y})
    table("old.csv", {"along": OLD[:, 0], "one": rounding[:40], "across": OLD[:, 1]})
    Path("start.csv").write_text("across,0.5\none,3\nalong,1.0\n", encoding="utf-8")
    Path("scale.csv").write_text("along,0\none,0.1\nacross,0\n", encoding="utf-8")
    call = "centred.csv", "--start", "start.csv", "--pretrain-rows", "old.csv"
    untold, told = command(*call), command(*call, "--column-scale", "scale.csv")
    assert told.exit_code == 0, told.output
    joined = " ".join(untold.stdout.split())
    assert "- one: no entry is beyond 1e−12" in joined
    assert "or give column_scale" in joined
    assert "one has mean" not in joined  # said once
    assert "one is −" not in joined
    assert "one: no entry" not in told.stdout
    zeros = np.insert(X, 1, 0.0, axis=1), np.insert(OLD, 1, 0.0, axis=1)
    want = lt.diagnose(zeros[0], Y, np.insert(START, 1, 3.0), pretrain_rows=zeros[1])
    assert want.report(80, ["along", "one", "across"]) in told.stdout


NAMED = ["weight", "Weights", "sample_weight", "sample weight", "case_weights"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("csv", name) for name in NAMED),
        *(pytest.param("npz", name, marks=() if " " in name else pytest.mark.deep) for name in NAMED),
    ],
)
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


def process(*arguments, first="", streams=None, **environment):
    """The command in a process of its own, without colours unless asked for; ``streams`` that are not captured."""
    run = f"import runpy, sys; sys.argv[0] = 'x'; {first}; runpy.run_module('linear_theory', run_name='__main__')"
    start = [sys.executable, "-W", "error", *(("-c", run) if first else ("-m", "linear_theory"))]
    plain = {k: v for k, v in os.environ.items() if k not in {"FORCE_COLOR", "NO_COLOR"}}
    env = plain | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"} | environment
    ways = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | (streams or {})
    return subprocess.run([*start, *arguments], env=env, timeout=300, **ways)


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
    "word.csv": b"a,y\n1,2\n1,x\n",
    "old.csv": b"along\n1\n",
    "heavy.csv": b"along,across,weight\n1,2,3\n",
    "header.csv": b"along,across\n",
    "signed.csv": b"along,across,y,k\n" + b"1,2,3,-1\n2,1,1,2\n" * 8,
    "cut.npz": b"PK\x03\x04",
    "huge.csv": b"along,across,y\n1e200,1,1\n2,1,1\n3,1,1\n",
    "far.csv": b"along,across,y\n1,1,1e200\n2,1,1\n3,1,1\n",
    "fitted.csv": b"along,across,y\n1,0,1\n2,0,2\n3,1,9\n",
}
AT = ("--start", "theta.npy")
OLDER = ("--pretrain-rows",)
FAILURES = {
    "no rows file": (("none.csv", *AT), "none.csv: there is no such file"),
    "a word": (("word.csv", *AT), "word.csv: line 3, column 'y': 'x' is not a number"),
    "damaged npz": (("cut.npz", *AT), "cut.npz: is damaged"),
    "too large": (("huge.csv", *AT), "has squares beyond the largest float"),
    "too far": (("far.csv", *AT), "--target"),
    "half fitted": (("fitted.csv", *AT), "by default the median loss of the start, 0.0: the pre-trained"),
    "no target": (("rows.csv", "--target", "z", *AT), "has no column 'z' (target); its columns are"),
    "no start": (("rows.csv", "--start", "none.npy"), "none.npy: there is no such file"),
    "start left out": (("rows.csv",), "--start"),
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
    "old of no rows": (("rows.csv", *AT, "--pretrain-rows", "header.csv"), "header.csv: holds no rows"),
    "no such weights": (("rows.csv", *AT, "--sample-weight", "many"), "has no column 'many' (sample weight)"),
    "weights of the target": (("rows.csv", *AT, "--sample-weight", "y"), "'y' is asked for twice, as target, sample"),
    "negative weights": (("signed.csv", *AT, "--sample-weight", "k"), "--sample-weight array of shape"),
    "scale of another size": (("rows.csv", *AT, "--column-scale", "three.npy"), "has shape (3, 3), must have (2,)"),
    "negative scale": (("rows.csv", *AT, "--column-scale", "minus1.npy"), "--column-scale array([ 1., -1.]): must be"),
    "over old rows": (("rows.csv", *AT, "--pretrain-rows", "old.csv", "--weights-out", "old.csv"), "would overwrite"),
    "picture": (("rows.csv", *AT, "--out", "p.jpg"), "--out p.jpg: must end in .png, .pdf, .svg"),
    "nowhere": (("rows.csv", *AT, "--out", "none/p.png"), "there is no directory none"),
    "directory": (("rows.csv", *AT, "--out", "folder.png"), "--out folder.png: is a directory"),
    "long name": (("rows.csv", *AT, "--out", "x" * 300 + ".png"), "ame too long"),
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
    np.save("minus1.npy", [1.0, -1.0])
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


PIP_INSTALL = [".venv/bin/python", "-m", "pip", "install"]
PIP = f"-m pip install -c {ROOT / 'constraints.txt'} -e '{ROOT}[cli]'"


@pytest.mark.parametrize("pair", ["pyarrow rows.csv", "pyarrow rows.parquet", "matplotlib rows.npz"])
def test_a_missing_extra_is_named_with_its_remedy(here, monkeypatch, pair):
    missing, rows = pair.split()
    monkeypatch.delitem(sys.modules, "linear_theory.diagnosis.picture", raising=False)
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    said = refused(rows, *AT)
    assert said.startswith(f"error: {missing} is not installed; the command needs: ")
    assert said.endswith(f" {PIP}\n")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_terminal_library_too(here, missing):
    done = process("diagnose", "rows.csv", *AT, first=f"sys.modules[{missing!r}] = None")
    assert done.returncode == 2
    needs = f"error: {missing} is not installed; the command needs: {sys.executable} {PIP}\n"
    assert done.stderr.decode() == needs


@pytest.mark.parametrize("clone", [True, False])
def test_what_to_install_can_be_typed_where_one_is(tmp_path, monkeypatch, clone):
    """In a clone as the README does it, with the interpreter that was called; from the index where there is none."""
    module = tmp_path / "a folder" / "linear_theory" / "command" / "installation.py"
    monkeypatch.setattr(installation, "__file__", str(module))
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", "-m", "linear_theory"])
    module.parent.mkdir(parents=True)
    home = tmp_path / "a folder"
    if clone:
        (home / "pyproject.toml").touch()
    where = f"{home}[cli]"
    wanted = ["-e", where] if clone else ["linear-theory[cli]"]
    assert shlex.split(installation.install_command("cli")) == [*PIP_INSTALL, *wanted]
    if clone:
        (home / "constraints.txt").touch()
        monkeypatch.chdir(home)
        assert shlex.split(installation.install_command("cli")) == [
            *PIP_INSTALL, "-c", "constraints.txt", "-e", ".[cli]"
        ]  # fmt: skip


@pytest.mark.parametrize("called", [[], [""]], ids=["embedded", "without a name"])
def test_an_interpreter_that_was_not_called_by_a_name_is_named_by_its_file(monkeypatch, called):
    monkeypatch.setattr(sys, "orig_argv", called)
    assert installation.python() == sys.executable
    monkeypatch.setattr(sys, "orig_argv", ["python3", ""])
    assert installation.python() == "python3"


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("diagnose", "--help"), ("diagnose",), ()], ids=str
)
def test_what_needs_no_mathematics_does_not_wait_for_it(here, words):
    """By what is imported when the command ends, not by a clock; a wrong command line is one of them."""
    heavy = ("jax", "scipy", "numpy", "matplotlib", "pyarrow", "rich")
    after = f"import atexit; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))"
    assert process(*words, first=after).stdout.decode().splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_where_somebody_watches_the_first_line_comes_before_the_mathematics(here):
    """A reader of a pipe gets the report alone; that nothing else is printed there is tested above."""
    ours, theirs = os.openpty()
    done = process(
        "diagnose", "none.csv", *AT, streams={"stdout": theirs}, first="sys.modules['rich'] = None"
    )
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"reading 'none.csv'")
    assert done.stderr.startswith(b"error: rich is not installed; ")


def test_it_says_its_version(here):
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"linear-theory {lt.__version__}\n")


# ------------------------------------------------------------------------------ standard output, and files to write

ALL = ("diagnose", "rows.csv", *AT, "--weights-out", "w.npy")


def written():
    """The files of ``ALL``, whole."""
    return is_png("rows-diagnosis.png") and np.load("w.npy").shape == (150,)


@pytest.mark.parametrize(
    "arguments",
    [
        ALL,
        ("--help",),
        *(pytest.param(words, marks=pytest.mark.deep) for words in (("diagnose", "--help"), ("--version",))),
    ],
    ids=str,
)
def test_a_full_disk_behind_standard_output_is_one_sentence_and_no_file_is_lost(here, arguments):
    with open("/dev/full", "wb") as full:
        done = process(*arguments, streams={"stdout": full})
    assert done.returncode == 2
    assert done.stderr == b"error: cannot write to standard output: No space left on device\n"
    assert arguments != ALL or written()


def test_a_closed_standard_output_is_one_sentence_and_no_file_is_lost(here):
    done = process(*ALL, first="import os; os.close(1); sys.stdout = None")
    assert (done.returncode, done.stderr) == (2, b"error: standard output is closed\n")
    assert written()


def test_a_reader_who_leaves_is_told_nothing_and_no_file_is_lost(here):
    """As ``| head -1``, at its earliest."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        done = process(*ALL, streams={"stdout": pipe})
    assert (done.returncode, done.stderr) == (1, b"")
    assert written()


def test_where_errors_cannot_be_said_the_status_still_tells(here):
    with open("/dev/full", "wb") as full:
        done = process("diagnose", "none.csv", *AT, streams={"stderr": full})
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("kind", ["npy", pytest.param("csv", marks=pytest.mark.deep), "parquet"])
def test_a_disk_that_is_full_midway_leaves_what_was_there(here, kind):
    """No half file under the final name, no draft beside it; each failure is named, and the report is shown."""
    Path(f"w.{kind}").write_text("the weights of last week")
    Path("rows-diagnosis.png").write_text("the picture of last week")
    before = sorted(Path().iterdir())
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    done = process("diagnose", "rows.csv", *AT, "--weights-out", f"w.{kind}", first=limit)
    assert done.returncode == 2
    why = [f"cannot write {name}: File too large" for name in (f"w.{kind}", "rows-diagnosis.png")]
    assert done.stderr.decode() == f"error: {'; '.join(why)}\n"
    assert lt.diagnose(X, Y, START).report(80, NAMES) in done.stdout.decode()
    assert sorted(Path().iterdir()) == before
    assert Path(f"w.{kind}").read_text() == "the weights of last week"
    assert Path("rows-diagnosis.png").read_text() == "the picture of last week"


def test_one_file_that_fails_does_not_cost_the_other(here, monkeypatch):
    def half(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("linear_theory.command.session.write_weights", half)
    before = sorted(Path().iterdir())
    result = command("rows.csv", *AT, "--weights-out", "w.npy")
    assert result.exit_code == 2
    assert result.stderr == "error: cannot write w.npy: No space left on device\n"
    assert result.stdout.endswith("\n\npicture: rows-diagnosis.png\n")
    assert sorted({*Path().iterdir()} - {*before}) == [Path("rows-diagnosis.png")]


def test_an_output_replaces_what_a_link_leads_to_and_keeps_its_permissions(here):
    Path("elsewhere").mkdir()
    Path("elsewhere/old.npy").write_bytes(b"old")
    Path("elsewhere/old.npy").chmod(0o640)
    Path("w.npy").symlink_to("elsewhere/old.npy")
    Path("new.png").symlink_to("elsewhere/not_there_yet.png")
    done = command("rows.csv", *AT, "--weights-out", "w.npy", "--out", "new.png")
    assert done.exit_code == 0, done.output
    assert Path("w.npy").is_symlink()
    assert np.load("elsewhere/old.npy").shape == (150,)
    assert Path("elsewhere/old.npy").stat().st_mode & 0o777 == 0o640
    assert is_png("elsewhere/not_there_yet.png")
    plain = Path("plain")
    plain.touch()
    assert Path("elsewhere/not_there_yet.png").stat().st_mode == plain.stat().st_mode


OUTPUTS = {
    "a pipe": (os.mkfifo, "is a pipe, not a file\n"),
    "a full device": (lambda path: path.symlink_to("/dev/full"), "is a device, not a file"),
    "a loop": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "a link to nowhere": (lambda path: path.symlink_to("none/w"), "is a link into"),
    "a folder": (lambda path: path.mkdir(), "is a directory"),
}


@pytest.mark.parametrize(("option", "name"), [("--weights-out", "w.npy"), ("--out", "p.png")])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_that_is_no_file_is_refused_before_any_work(here, kind, option, name):
    make, said = OUTPUTS[kind]
    make(Path(name))
    message = refused("none.csv", *AT, option, name)
    assert message.startswith(f"error: {option} {name}: ")
    assert said in message


@pytest.mark.parametrize(("option", "name"), [("--weights-out", "w.npy"), ("--out", "p.png")])
@pytest.mark.parametrize(("kept", "said"), [("", "the directory may not be"), ("name", "may not be")])
def test_what_may_not_be_written_to_is_refused_before_any_work(here, monkeypatch, option, name, kept, said):
    """As root everything may be written to, so the answer of the system is put in. A new file in the place of one
    that is write-protected would go round its protection.
    """
    Path(name).write_text("protected")
    protected = here / name if kept else here
    monkeypatch.setattr(os, "access", lambda path, mode, **_: (here / path, mode) != (protected, os.W_OK))
    assert refused("none.csv", *AT, option, name).endswith(f": {said} written to\n")
    assert Path(name).read_text() == "protected"


STEERING = {
    "clears the screen": "a\x1b[2J\x1b[H", "rings": "a\a", "returns": "a\rb", "new line": "a\nb", "turns": "a\u202eb",
    "isolates": "a\u2066b", "deletes": "a\x7f\x08", "C1": "a\x9b31m", "no width": "a\u200bb",
    "a link": "\x1b]8;;mailto:x\aa",
    "another line end": "a\u2028b", "vertical": "a\x0bb", "tab": "a\tb",
}  # fmt: skip


def seen(text):
    """Whether nothing in it steers a terminal: line ends and letters that are seen."""
    return all(letter == "\n" or letter.isprintable() for letter in text)


@pytest.mark.parametrize("name", STEERING.values(), ids=STEERING.keys())
def test_nothing_that_a_file_is_called_or_holds_steers_the_terminal(here, name):
    """Names of columns and of files, in the report and in errors; they are written out, not dropped."""
    out = repr(name)[1:-1]
    parquet.write_table(pyarrow.table({name: X[:, 0], "y": Y, "across": X[:, 1]}), "odd.parquet")
    done = command("odd.parquet", *AT, "--out", f"{name}.png".replace("/", ""))
    assert done.exit_code == 0, done.output
    assert seen(done.stdout)
    assert f" {out}" in done.stdout
    assert f"picture: {out}.png\n".replace("/", "") in done.stdout
    for arguments in (
        ("odd.parquet", *AT, "--target", f"{name}z"),
        (f"{name}.csv", *AT),
        ("odd.parquet", "--start", f"{name}.npy"),
        ("odd.parquet", *AT, "--features", "x"),
        ("odd.parquet", *AT, "--out", f"{name}/p.png"),
    ):
        message = refused(*arguments)
        assert seen(message)
        assert out in message
    assert not seen(name) or "\n" in name


def test_a_file_name_that_is_no_text_is_read_and_written(here):
    name = b"r\xffws"
    os.rename(b"rows.csv", name + b".csv")
    done = process("diagnose", name + b".csv", *AT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().endswith("\npicture: r\\udcffws-diagnosis.png\n")
    assert os.path.getsize(name + b"-diagnosis.png") > 10_000
