"""The command, run on tiny claims made for the purpose: what it prints, what it writes, what it survives."""

from __future__ import annotations

import io
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from paper_reproduction import registry, writing
from paper_reproduction.claim import Check, Settings, Verdict
from paper_reproduction.command import app
from paper_reproduction.mathml import FormulaError, formula, prose
from paper_reproduction.output import say
from paper_reproduction.terminal import plain_text
from tests.processes import LIMIT
from tests.workshop import BREAKS, NAN, ROOT, Page, Workshop, wait_for

JOBS = pytest.mark.parametrize("jobs", [pytest.param("1", marks=pytest.mark.deep), "2"])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    import jax

    workshop = Workshop(tmp_path)
    workshop.install(monkeypatch)
    before = jax.config.read("jax_enable_x64")  # the command switches it on for its whole process
    yield workshop
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def pair(shop: Workshop) -> Workshop:
    """Two claims that hold."""
    shop.claim("first", order=1)
    shop.claim("second-one", order=2)
    return shop


# what is printed and how it ends -----------------------------------------------------------------------


def test_list_names_every_claim_in_order(pair: Workshop) -> None:
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    assert [line.split(" ")[0] for line in result.stdout.splitlines()] == [
        "claims,", "claim", "first", "second-one"
    ]  # fmt: skip
    assert "seconds" not in result.stdout  # what a claim may cost is for its developers
    assert not pair.computed()
    assert "seconds" in CliRunner().invoke(app, ["list", "--budgets"]).stdout.splitlines()[1].split()


def test_everything_runs_and_holds(pair: Workshop) -> None:
    result = pair("--quick")
    assert result.exit_code == 0
    assert pair.computed() == ["first", "draw", "second-one", "draw"]
    first, *table, blank, summary, where = result.stdout.splitlines()
    assert first.startswith("computing and checking the paper's claims (")
    assert first.endswith(f"results go to {pair.out}")
    assert [line.split()[0] for line in table] == ["claim", "first", "second-one"]
    assert table[0].split("  ")[0] == "claim"
    assert re.fullmatch(r"first +holds +\(1\) +size: \d\.\d+ ≤ 100", table[1])
    assert (blank, summary) == ("", "2 of 2 claims hold")
    assert where == f"open {pair.out / 'report.html'}"
    written = {path.name for path in pair.out.iterdir()}
    pictures = {f"{name}.{kind}" for name in ("first", "second-one") for kind in ("nc", "png", "pdf")}
    assert written == pictures | {"claims.json", "report.html"}


@pytest.mark.parametrize(("verdict", "state"), [(BREAKS, "fails"), (NAN, "fails"), ("Verdict(())", "error")])
def test_a_claim_that_does_not_hold_ends_in_1(shop: Workshop, verdict: str, state: str) -> None:
    shop.claim("bad", verdict)
    shop.claim("good", order=2)
    result = shop()
    assert result.exit_code == 1
    assert {name: record["state"] for name, record in shop.records().items()} == {
        "bad": state,
        "good": "holds",
    }
    assert "1 of 2 claims hold" in result.stdout
    assert "bad:" in result.stderr
    assert result.stdout.splitlines()[2].split()[:2] == ["bad", state]


def test_a_claim_that_raises_is_recorded_and_the_others_run(shop: Workshop) -> None:
    shop.claim("bad", body="raise ArithmeticError('no <such> number')")
    shop.claim("good", order=2)
    assert shop().exit_code == 1
    records = shop.records()
    assert "ArithmeticError: no <such> number" in records["bad"]["error"]
    assert records["good"]["holds"]
    assert not list(shop.out.glob("bad.*"))
    assert "no &lt;such&gt; number" in (shop.out / "report.html").read_text(encoding="utf-8")


def test_a_figure_that_raises_fails_its_claim_but_keeps_the_verdict(shop: Workshop) -> None:
    shop.claim("bad")
    shop.source("figures", "bad").write_text(
        "def draw(dataset):\n    raise KeyError('x')\n", encoding="utf-8"
    )
    assert shop().exit_code == 1
    record = shop.records()["bad"]
    assert record["state"] == "error"
    assert record["checks"][0]["holds"]
    assert {path.suffix for path in shop.out.glob("bad.*")} == {".nc"}


@pytest.mark.parametrize(
    ("name", "hint"), [("frist", "first"), ("second_one", "second-one"), ("xyz", "the claims are")]
)
def test_an_unknown_name_is_one_clear_error(pair: Workshop, name: str, hint: str) -> None:
    result = pair("run", name)
    assert result.exit_code == 2
    assert name in result.stderr
    assert hint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not pair.computed()


def test_out_that_cannot_be_written_is_one_clear_error(pair: Workshop) -> None:
    pair.out.write_text("a file, not a directory")
    for out in (pair.out, pair.out / "below"):
        pair.out = out
        result = pair()
        assert result.exit_code == 2
        assert f"--out {out}" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_options_count_before_and_after_run(pair: Workshop) -> None:
    assert pair("--quick", "--seed", "7", "run", "first").exit_code == 0
    assert (pair.records()["first"]["seed"], pair.records()["first"]["quick"]) == (7, True)
    assert pair("--seed", "7", "run", "first", "--seed", "8", "--quick").exit_code == 0
    assert pair.records()["first"]["seed"] == 8
    assert pair("run", "first", "--seed", "-1").exit_code == 2


def test_a_blown_budget_is_told_and_recorded_but_no_failure(shop: Workshop) -> None:
    shop.claim("slow", budget=0.0)
    result = shop()
    assert (result.exit_code, result.stderr) == (0, "")
    assert "over its time budget" in shop("--budgets").stderr
    assert shop.records()["slow"]["over_budget"]
    assert "budget" not in (shop.out / "report.html").read_text(encoding="utf-8")


@JOBS
def test_a_pipe_gets_plain_lines(pair: Workshop, jobs: str) -> None:
    process = pair.start("--quick", "--jobs", jobs)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert err == ""
    assert "\x1b" not in out
    assert "\r" not in out
    assert (
        len(out.splitlines()) == 1 + 3 + 3
    )  # what is done, the table, an empty line, how many hold, the page


def test_a_stream_that_knows_no_unicode_is_served_too() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    say("0.5 ≤ 1 – θ", stream)
    assert raw.getvalue().split() == [b"0.5", b"<=", b"1", b"-", b"?"]


def test_no_error_and_no_name_steers_the_terminal(shop: Workshop) -> None:
    shop.claim("bad", body=r"raise ValueError('\x1b[2J\x9b2J\r\u202e of a file')")
    shop.out = shop.path / "o\x1b]0;t\x07ut"
    told = shop()
    assert told.exit_code == 1
    assert r"ValueError: \x1b[2J\x9b2J\r\u202e of a file" in told.stderr
    assert r"o\x1b]0;t\x07ut" in told.stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told.stdout + told.stderr)


# what --resume and interruptions do --------------------------------------------------------------------


def test_resume_computes_nothing_again_and_says_the_same(pair: Workshop) -> None:
    first, before = pair(), pair.records()
    pair.computed()
    second = pair("--resume")
    assert pair.computed() == []
    assert second.stdout.replace("holds, kept", "holds      ") == first.stdout
    assert second.stdout.count("holds, kept") == 2
    assert pair.records() == before


@pytest.mark.parametrize("change", [["--seed", "1"], ["--quick"]])
def test_resume_computes_again_under_other_settings(pair: Workshop, change: list[str]) -> None:
    pair()
    pair.computed()
    pair("--resume", *change)
    assert pair.computed() == ["first", "draw", "second-one", "draw"]


def test_resume_notices_changed_sources(pair: Workshop) -> None:
    pair()
    pair.computed()
    with pair.source("claims", "first").open("a") as source:
        source.write("# changed\n")
    pair("--resume")
    assert pair.computed() == ["first", "draw"]
    with pair.source("figures", "second-one").open("a") as source:
        source.write("# changed\n")
    pair("--resume")
    assert pair.computed() == ["draw"]


def test_resume_computes_again_what_is_damaged(pair: Workshop) -> None:
    pair()
    pair.computed()
    (pair.out / "first.nc").write_bytes(b"half a file")
    (pair.out / "second-one.png").unlink()
    assert pair("--resume").exit_code == 0
    assert pair.computed() == ["first", "draw", "draw"]


def test_resume_never_shows_the_picture_of_another_run(pair: Workshop) -> None:
    """Interrupted between the arrays of seed 1 and their picture: the picture there is of seed 0."""
    pair("run", "first", "--seed", "1")
    arrays = (pair.out / "first.nc").read_bytes()
    pair("run", "first")
    pair.computed()
    (pair.out / "first.nc").write_bytes(arrays)
    pair("run", "first", "--seed", "1", "--resume")
    assert pair.computed() == ["draw"]


def test_running_one_claim_keeps_the_others(pair: Workshop) -> None:
    pair()
    report = pair("run", "second-one")
    assert set(pair.records()) == {"first", "second-one"}
    assert [line.split()[0] for line in report.stdout.splitlines()[1:3]] == ["claim", "second-one"]
    assert not any(record["stale"] for record in pair.records().values())
    told = pair("run", "second-one", "--seed", "3")
    assert pair.records()["first"]["stale"] == "seed 0, this run has 3"
    assert "first: the result" in told.stderr
    page = (pair.out / "report.html").read_text(encoding="utf-8")
    assert "From another run: seed 0, this run has 3." in page
    assert "1 of 1 claims hold." in page


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a child is a POSIX matter")


@POSIX
@JOBS
def test_an_interruption_loses_nothing_that_was_finished(
    shop: Workshop, jobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever computes; the terminal sends it to all processes, and one of them speaks."""
    shop.claim("first", order=1)
    half = (
        "import pathlib; (pathlib.Path(os.environ['FAKE_OUT']) / f'.second.nc.{os.getpid()}.part').touch(); "
    )
    shop.claim("second", order=2, body=f"{half if jobs == '2' else ''}time.sleep(60)")
    monkeypatch.setenv("FAKE_OUT", str(shop.path / "a folder's"))
    shop.out = shop.path / "a folder's"
    process = shop.start("--jobs", jobs, start_new_session=True)
    assert process.stdout is not None
    assert any(re.match("first +holds ", line) for line in process.stdout)
    wait_for(lambda: "second" in shop.log.read_text())
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "Traceback" not in err
    *_, said, again = err.splitlines()
    assert said == "interrupted after 1 of 2; what is finished is kept. Go on with:"
    words = ["-m", "paper_reproduction", "--out", str(shop.out), "--jobs", jobs, "--resume"]
    assert shlex.split(again) == [sys.executable, *words]
    assert out == ""
    assert shop.records()["first"]["holds"]
    assert 'id="first"' in (shop.out / "report.html").read_text(encoding="utf-8")
    assert not list(shop.out.glob(".*"))
    shop.claim("second", order=2)
    shop.computed()
    assert shop("--resume").exit_code == 0
    assert shop.computed() == ["second", "draw"]


@POSIX
def test_an_interruption_before_anything_is_there_says_how_to_begin_again(pair: Workshop) -> None:
    slow = (
        "import time\nclass Slow:\n    def find_spec(self, name, *more):\n"
        "        if name == 'jax': time.sleep(60)\nsys.meta_path.insert(0, Slow())"
    )
    words = ["run", "first", "--quick"], ["--seed", "3"]
    process = pair.start(*words[0], *words[1], first=slow)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("computing and checking first; results go to ")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (130, "")
    said, again = err.splitlines()
    assert said == "interrupted; go on with:"
    given = [*words[0], "--out", str(pair.out), *words[1], "--resume"]
    assert shlex.split(again) == [sys.executable, "-m", "paper_reproduction", *given]


def test_a_claim_without_a_verdict_is_tried_again_by_what_is_printed(pair: Workshop) -> None:
    pair.claim("second-one", order=2, body="raise ArithmeticError('no such number')")
    told = pair("--quick").stderr.splitlines()
    assert told[0].startswith("second-one: ArithmeticError: no such number")
    assert shlex.split(told[-1]) == [
        *(sys.orig_argv[0], "-m", "paper_reproduction"),
        *("--quick", "--out", str(pair.out), "--jobs", "1", "--resume"),
    ]
    pair.claim("second-one", order=2)
    pair.computed()
    assert pair("--quick", "--resume").exit_code == 0
    assert pair.computed() == ["second-one", "draw"]


def test_a_claim_whose_process_is_killed_fails_and_the_others_run(pair: Workshop) -> None:
    pair.claim("first", order=1, body="os.kill(os.getpid(), 9)", budget=90)
    pair.claim("third", order=3)
    process = pair.start("--jobs", "2")
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "first: its process ended with status -9" in err
    assert {name: record["state"] for name, record in pair.records().items()} == {
        "first": "error",
        "second-one": "holds",
        "third": "holds",
    }
    assert not list(pair.out.glob(".*"))


def test_side_by_side_is_as_one_after_another(pair: Workshop) -> None:
    """The same records and pictures, to the byte, but for what it cost."""
    pair("--seed", "4")
    alone, there = pair.records(), pair.out
    pair.out = pair.path / "beside"
    process = pair.start("--seed", "4", "--jobs", "3")
    _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    costs = ("seconds", "compute_seconds", "draw_seconds", "arrays", "dirty")  # and what is edited meanwhile
    bare = lambda records: [{k: v for k, v in r.items() if k not in costs} for r in records.values()]
    for beside, before in zip(bare(pair.records()), bare(alone), strict=True):
        assert [(k, v, before[k]) for k, v in beside.items() if v != before[k]] == []
    for name in ("first.png", "second-one.pdf"):
        assert (there / name).read_bytes() == (pair.out / name).read_bytes()


def test_a_write_that_fails_leaves_no_half_file(pair: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(draft: Path, data: bytes) -> None:
        draft.write_bytes(data[: len(data) // 2])
        if ".nc." in draft.name:
            raise OSError("disk full")
        draft.write_bytes(data)

    monkeypatch.setattr(writing, "_write", half)
    assert pair().exit_code == 1
    assert {path.name for path in pair.out.iterdir()} == {"claims.json", "report.html"}
    assert "disk full" in pair.records()["first"]["error"]


# what is written ---------------------------------------------------------------------------------------


def test_a_dataset_says_where_it_comes_from(pair: Workshop) -> None:
    pair("--quick", "--seed", "5")
    attributes = xr.load_dataset(pair.out / "first.nc", engine="h5netcdf").attrs
    assert (attributes["name"], attributes["seed"], attributes["quick"]) == ("first", 5, 1)
    assert attributes["seconds"] >= 0
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", attributes["commit"])
    assert re.fullmatch(r"[0-9a-f]{16}", attributes["fingerprint"])
    assert {"dirty"} | {
        f"version_{p}" for p in ("python", "numpy", "scipy", "jax", "xarray", "linear_theory")
    } <= set(attributes)


def test_pictures_are_the_same_bytes_each_time(pair: Workshop) -> None:
    names = ("first.png", "first.pdf")
    pair()
    before = [(pair.out / name).read_bytes() for name in names]
    pair()
    assert [(pair.out / name).read_bytes() for name in names] == before


def test_the_report_holds_everything_and_loads_nothing(pair: Workshop) -> None:
    pair()
    text = (pair.out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(target.startswith(("data:", "#")) for target in page.loads)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert page.tags.count("script") == 1  # its hash is in the page's policy: tests/test_report_pages.py
    assert not re.search(r"url\(|@import", text)
    assert page.tags.count("img") == 3  # the picture that opens it, and one a claim
    assert all(page.alts)
    assert page.tags.count("math") == 6  # for each claim: statement, formula, finding
    for name in ("first", "second-one"):
        assert f"The {name} claim is <small> & true" in page.text
        assert f"Prose of {name} with " in page.text
        assert f"python -m paper_reproduction run {name} --seed 0" in page.text
    assert "It is <b>not</b> exact" in page.text
    assert "b" not in page.tags
    assert "small" not in page.tags


# the vocabulary ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "holds", "margin"),
    [
        (Check("", 1.0, 2.0), True, 0.5),
        (Check("", 3.0, 2.0), False, 1.5),
        (Check("", 2.0, 2.0), True, 1.0),
        (Check("", 0.0, 0.0), True, 0.0),
        (Check("", 1e-300, 0.0), False, math.inf),
        (Check("", -3.0, -2.0), True, 2 / 3),
        (Check("", 1.0, -2.0), False, math.inf),
        (Check("", math.nan, 1.0), False, math.inf),
        (Check("", 1.0, math.nan), False, math.inf),
        (Check("", math.inf, math.inf), True, 1.0),
        (Check.at_least("", 4.0, 2.0), True, 0.5),
        (Check.at_least("", 1.0, 2.0), False, 2.0),
        (Check.at_least("", -1.0, 2.0), False, math.inf),
        (Check.at_least("", math.nan, 0.0), False, math.inf),
    ],
)
def test_a_check_holds_on_the_right_side_of_its_bound(check: Check, holds: bool, margin: float) -> None:
    assert check.holds is holds
    assert check.margin == pytest.approx(margin)


def test_a_verdict_shows_its_tightest_check_and_needs_one() -> None:
    verdict = Verdict((Check("loose", 1.0, 10.0), Check.at_least("tight", 10.0, 9.0)))
    assert (verdict.holds, verdict.figure, verdict.bound) == (True, 10.0, 9.0)
    broken = Verdict((Check("exact", 1.0, 1.0), Check("broken", math.nan, 5.0)))
    assert (broken.holds, broken.bound) == (False, 5.0)
    with pytest.raises(ValueError, match="at least one check"):
        Verdict(())
    with pytest.raises(TypeError, match="comma"):
        Verdict((Check("", 0, 1),), "not a tuple")  # pyright: ignore[reportArgumentType]


def test_random_numbers_depend_on_seed_and_name_alone() -> None:
    draws = [Settings(seed).rng(name).integers(1 << 62) for seed in (0, 1) for name in ("", "rows", "noise")]
    assert len(set(draws)) == 6
    assert Settings(0).rng("rows").integers(1 << 62) == draws[1]


def test_formulas_become_mathml_or_say_why_not() -> None:
    assert "<mfrac>" in formula(r"\frac{a}{b}")
    assert prose("a < b & $x$").startswith("a &lt; b &amp; <math")
    for latex in (
        r"\nonsense x", r"a & b", r"\text{<script>x</script>}",
        r"\href{javascript:alert(1)}{x}", r"\style{background:url(http://x.test)}{x}", r"\class{slide}{x}",
    ):  # fmt: skip
        with pytest.raises(FormulaError):
            formula(latex)
    assert "<code>" in prose(r"see $\nonsense$")


HEAVY = ("jax", "scipy", "matplotlib", "xarray", "sklearn", "rich")


def imported_at_first_line(words: list[str], before: str = "") -> tuple[str, str]:
    """The first line that a process of its own prints, and which heavy modules it had imported by then."""
    watch = (
        "import builtins, runpy, sys\n"
        "class Out:\n"
        "    encoding = 'utf-8'\n"
        "    def write(self, text):\n"
        f"        heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "        sys.__stdout__.write(text.splitlines()[0] + '\\n' + repr(heavy)); sys.__stdout__.flush()\n"
        "        import os; os._exit(0)\n"
        "    def flush(self): pass\n"
        "    def isatty(self): return False\n"
        f"sys.stdout = sys.stderr = Out(); sys.argv = ['x', *{words}]\n{before}\n"
        "runpy.run_module('paper_reproduction', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, timeout=LIMIT)
    line, heavy = done.stdout.splitlines()
    return line, heavy


CHECKING = "computing and checking the paper's claims"
FIRST_LINES = {
    "--help": "Usage: ", "run --help": "Usage: ", "mlp --help": "Usage: ", "list --help": "Usage: ",
    "--version": "linear-theory ",
    "": f"{CHECKING} (some minutes; with --quick less than one); results go to out",
    "--quick --out x": f"{CHECKING} (smaller problems, less than a minute); results go to x",
    "run stall --out x": "computing and checking stall; results go to x",
    "run frist": "error: no claim is named 'frist'; ",
    "mlp stahl": "error: no experiment is named 'stahl'; ",
    "mlp --quick": "training and checking networks (some minutes); results go to out/mlp",
    "mlp --quick --publish": "error: --publish is for full runs; leave out --quick",
    "list": "claims, for the word run",
    "mlp list": "network experiments, for the word mlp",
    "explorer": "writing the page of sliders",
    "picture": "drawing the opening picture and the stall in motion",
    "--quikc": "Usage: ",
    "run": "error: which claims? They are closed-form, ",
    "run list": "claims, for the word run",
}  # fmt: skip


@pytest.mark.parametrize(("words", "line"), FIRST_LINES.items(), ids=FIRST_LINES.keys())
def test_the_first_line_waits_for_nothing(words: str, line: str) -> None:
    """By what is imported when it is printed, not by a clock."""
    said, heavy = imported_at_first_line(words.split())
    assert said.startswith(line)
    assert heavy == "[]"


def test_a_program_that_imports_first_would_be_caught() -> None:
    assert imported_at_first_line(["list"], "import jax, rich")[1] == "['jax', 'rich']"


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
PAPER = [re.split(r"[><=\[]", need)[0].replace("scikit-learn", "sklearn") for need in EXTRAS["paper"]]


MISSING = ["jax", *(name for name in PAPER if name.lower() != "pillow")]
ONE_OF_EACH = {"jax", "rich", "sklearn"}  # of the mathematics, the command, the claims


@pytest.mark.parametrize(
    "missing", [pytest.param(m, marks=() if m in ONE_OF_EACH else pytest.mark.deep) for m in MISSING]
)
def test_without_the_extra_one_sentence_says_what_to_install(missing: str, tmp_path: Path) -> None:
    """Before any claim is computed, whatever of it is missing."""
    run = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; "
        "runpy.run_module('paper_reproduction', run_name='__main__')"
    )
    command, environment = [sys.executable, "-c", run], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 2, done.stderr
    (said,) = done.stderr.splitlines()
    pip = f"{sys.executable} -m pip install -c constraints.txt -e '.[paper]'"
    assert said == f"error: {missing} is not installed; the command needs: {pip}"
    assert list(tmp_path.iterdir()) == []


@POSIX
@pytest.mark.parametrize(
    "words", [("list",), pytest.param(("run", "first"), marks=pytest.mark.deep), ()], ids=str
)
def test_a_reader_who_leaves_is_told_nothing_and_the_results_are_there(
    pair: Workshop, words: tuple[str, ...]
) -> None:
    """As ``| head -1``, at its earliest."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        process = pair.start(*words, stdout=pipe)
    _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    assert words == ("list",) or pair.records()["first"]["holds"]


@POSIX
@pytest.mark.parametrize(
    "words", [("list",), ("--help",), pytest.param(("--version",), marks=pytest.mark.deep)], ids=str
)
def test_a_full_disk_behind_standard_output_is_one_sentence(words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "paper_reproduction", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            timeout=LIMIT,
        )
    said = b"error: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_formulas_are_said_in_letters() -> None:
    said = {
        r"grows like $\delta$": "grows like δ", r"a constant times $n^{-1/2}$ of": "a constant times n^(−1/2) of",
        r"rows, $\rho > 0$, in": "rows, ρ > 0, in", r"$\Sigma_1$ and $x^2$": "Σ_1 and x^2", "no formula": "no formula",
        r"$(d+1)/n$": "(d+1)/n",
    }  # fmt: skip
    assert {text: plain_text(text) for text in said} == said
    for entry in [entry for chapter in registry.chapters() for entry in chapter.discover()]:
        assert not set(plain_text(entry.claim.title)) & set("\\${}")
