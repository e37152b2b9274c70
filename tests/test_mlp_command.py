"""The word ``mlp`` of the command and the stored results of the plain one, on tiny experiments."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from rich.console import Console
from typer.testing import CliRunner

from paper_reproduction import provenance, registry, terminal
from paper_reproduction.claim import Table
from paper_reproduction.command import app
from tests.workshop import Page, Workshop

EXPERIMENT = """
import os
import numpy as np
import xarray as xr
from paper_reproduction.claim import Check, Claim, Settings, Table, Verdict

CLAIM = Claim(
    name={name!r}, title="The stall of {name}", statement="Prose.", equation="B", formula="x",
    functions=("iterate",), seconds=60, quick_seconds=60, order={order}, question="Does {name} stall?",
)

def compute(settings):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write({name!r} + "\\n")
    seeds = settings.repetitions(full=4, quick=2)
    return xr.Dataset({{"x": ("seed", settings.rng("x").normal(size=seeds))}}, attrs={{"seeds": seeds}})

def verdict(dataset):
    size = float(abs(dataset.x).max())
    return Verdict((Check("size", size, {bound}),), headline=f"Yes: $\\\\sigma$ is {{size:.3f}}.")

def tables(dataset):
    return (Table("By $\\\\sigma$", ("level", "mean"), (("low", "1.5"), ("*high", "*<b>2.5</b>")), "A note."),)
"""


def write(shop: Workshop, name: str = "first", order: int = 1, bound: float = 100.0) -> None:
    shop.experiment(name, EXPERIMENT.format(name=name, order=order, bound=bound))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    import jax

    workshop = Workshop(tmp_path)
    workshop.install(monkeypatch)
    before = jax.config.read("jax_enable_x64")
    yield workshop
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def lab(shop: Workshop) -> Workshop:
    """One claim that holds and one experiment that holds."""
    shop.claim("a-claim")
    write(shop)
    return shop


def arrays(shop: Workshop, name: str = "first") -> xr.Dataset:
    return xr.load_dataset(shop.out / "mlp" / f"{name}.nc", engine="h5netcdf")


def page(shop: Workshop) -> str:
    return (shop.out / "mlp" / "report.html").read_text(encoding="utf-8")


def publish(shop: Workshop) -> None:
    """Ship the result of the experiment, and leave no trace of having computed it."""
    assert shop("mlp", "--publish").exit_code == 0
    shop.out = shop.path / "fresh"
    shop.computed()


# the word mlp ------------------------------------------------------------------------------------------


def test_an_experiment_runs_and_says_on_what(lab: Workshop) -> None:
    result = lab("mlp", "--seeds", "3", "--seed", "2")
    assert result.exit_code == 0
    assert lab.computed() == ["first", "draw"]
    first, device, header, row, _, summary, _ = result.stdout.splitlines()
    assert first == f"training and checking networks (under an hour); results go to {lab.out / 'mlp'}"
    assert summary == "1 of 1 experiments hold"
    assert re.fullmatch(r"on \w+ \(.+\), jax \d+\.\d+.*", device)
    assert header.split()[:2] == ["claim", "result"]
    assert row.split()[:3] == ["first", "holds", "B"]
    written = {path.name for path in (lab.out / "mlp").iterdir()}
    assert written == {"claims.json", "report.html", "first.nc", "first.png", "first.pdf"}
    dataset = arrays(lab)
    assert dataset.sizes["seed"] == 3
    assert dataset.attrs["command"] == "python -m paper_reproduction mlp first --seed 2 --seeds 3"
    assert dataset.attrs["device"] == provenance.device()
    assert (dataset.attrs["seed"], dataset.attrs["seeds"], dataset.attrs["quick"]) == (2, 3, 0)
    assert {"commit", "seconds", "version_jax", "version_equinox", "version_optax"} <= set(dataset.attrs)


def test_an_unknown_experiment_is_one_clear_error(lab: Workshop) -> None:
    result = lab("mlp", "frist")
    assert result.exit_code == 2
    assert result.stderr == "error: no experiment is named 'frist'; did you mean first?\n"
    assert lab("mlp", "--seeds", "1").exit_code == 2
    other = lab("mlp", "a-claim").stderr
    assert other == "error: 'a-claim' is a claim: the word for it is run, as in run a-claim\n"
    other = lab("run", "first").stderr
    assert other == "error: 'first' is a network experiment: the word for it is mlp, as in mlp first\n"


def test_without_experiments_the_word_says_so(shop: Workshop) -> None:
    result = shop("mlp")
    assert (result.exit_code, result.stderr) == (2, "error: there are no network experiments to run\n")


def test_list_has_a_second_table_which_mlp_list_shows_alone(lab: Workshop) -> None:
    lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert lines[0] == "claims, for the word run"
    assert [line.split()[0] if line else "" for line in lines[1:]] == [
        "claim",
        "a-claim",
        "",
        "network",
        "claim",
        "first",
    ]
    assert CliRunner().invoke(app, ["mlp", "list"]).stdout.splitlines() == lines[-3:]
    assert not lab.computed()


def test_what_resumes_an_experiment_is_the_whole_command(lab: Workshop) -> None:
    lab.source("pictures", "first").write_text("def draw(dataset):\n    raise KeyError('x')\n")
    told = lab("mlp", "first", "--seeds", "3", "--seed", "2").stderr.splitlines()[-1]
    words = ["-m", "paper_reproduction", "mlp", "first", "--seeds", "3", "--out", str(lab.out), "--seed", "2"]
    assert shlex.split(told)[1:] == [*words, "--resume"]
    lab.computed()
    lab.experiment("first", EXPERIMENT.format(name="first", order=1, bound=100.0))
    assert lab(*words[2:-4], "--seed", "2", "--resume").exit_code == 0
    assert lab.computed() == ["draw"]


def test_other_repetitions_are_computed_anew(lab: Workshop) -> None:
    lab("mlp")
    lab.computed()
    assert lab("mlp", "--resume").exit_code == 0
    assert lab.computed() == []
    lab("mlp", "--resume", "--seeds", "5")
    assert lab.computed() == ["first", "draw"]
    assert arrays(lab).sizes["seed"] == 5


# stored results ----------------------------------------------------------------------------------------


def test_publish_writes_what_the_plain_command_shows(lab: Workshop) -> None:
    publish(lab)
    kind = lab.shipped / provenance.backend() / "first.nc"
    attributes = xr.load_dataset(kind, engine="h5netcdf").attrs
    assert attributes["command"] == "python -m paper_reproduction mlp first --seed 0"
    assert attributes["seeds"] == 4
    assert not any(str(lab.path) in str(value) for value in attributes.values())
    result = lab("--seed", "3")
    assert result.exit_code == 0
    assert lab.computed() == ["a-claim", "draw", "draw"]
    lines = result.stdout.splitlines()
    assert re.match("first +holds, stored +B ", lines[3])
    assert lines[5] == "1 of 1 claims hold, 1 of 1 network results stored, all of which hold"
    assert lines[6] == f"open {lab.out / 'report.html'} and {lab.out / 'mlp' / 'report.html'}"
    assert result.stderr == ""
    origin = lab.records("mlp")["first"]["origin"]
    assert origin == f"stored: {provenance.device()}, seed 0, python -m paper_reproduction mlp first --seed 0"
    assert lab.records("mlp")["first"]["stale"] == ""
    assert "Stored: " in page(lab)
    assert "The sources have changed since" not in page(lab)
    linear = (lab.out / "report.html").read_text(encoding="utf-8")
    assert '<a href="mlp/report.html">From the line to the network</a>: 1 of 1' in linear
    assert '<a href="../report.html">' in page(lab)


@pytest.mark.parametrize("budgets", [(), ("--budgets",)], ids=["", "budgets"])
def test_a_live_table_marks_what_is_stored_and_gives_it_no_clock(
    lab: Workshop, monkeypatch: pytest.MonkeyPatch, budgets: tuple[str, ...]
) -> None:
    publish(lab)
    frames: list[list[str]] = []
    update = terminal.Board.update

    def watched(board: terminal.Board, event: Any) -> None:
        update(board, event)
        console = Console(width=100, file=io.StringIO(), color_system=None)
        console.print(board.render())
        frames.append([line.strip() for line in console.file.getvalue().splitlines() if line.strip()])  # type: ignore[attr-defined]

    monkeypatch.setattr(terminal.Board, "update", watched)
    lab(*budgets)
    claim, network = [[frame[row] for frame in frames] for row in (2, 3)]
    clock = r"\d\.\d" + (" / 60" if budgets else "")
    for line, state in zip(claim, ("running", "holds", "holds", "holds"), strict=True):
        assert re.fullmatch(rf"a-claim +\(1\) +{state} +{clock}", line)
    for line, state in zip(network, ("waiting", "waiting", "reading", "holds, stored"), strict=True):
        assert re.fullmatch(rf"first +B +{state}", line)
    assert frames[-1][-1] == "2 of 2 done"
    lab("--resume", *budgets)
    assert re.fullmatch(r"a-claim +\(1\) +holds, kept", frames[-1][2])


def test_publish_refuses_quick(lab: Workshop) -> None:
    result = lab("mlp", "--publish", "--quick")
    assert result.exit_code == 2
    assert "--quick" in result.stderr
    assert not lab.shipped.exists()
    assert not lab.computed()


def test_an_error_is_not_published(lab: Workshop) -> None:
    write(lab, bound=0.0)
    lab.source("pictures", "first").write_text("def draw(dataset):\n    raise KeyError('x')\n")
    assert lab("mlp", "--publish").exit_code == 1
    assert not lab.shipped.exists()


def test_a_stored_result_that_does_not_hold_ends_in_1(lab: Workshop) -> None:
    publish(lab)
    write(lab, bound=0.0)
    result = lab()
    assert result.exit_code == 1
    assert "first: size:" in result.stderr
    assert "1 of 1 network results stored, 0 of which hold" in result.stdout
    assert "The sources have changed since (commit " in page(lab)
    assert '"bad">0 of 1 experiments hold.' in page(lab)


def test_a_damaged_stored_result_ends_in_1(lab: Workshop) -> None:
    publish(lab)
    (lab.shipped / provenance.backend() / "first.nc").write_bytes(b"half a file")
    assert lab().exit_code == 1
    assert lab.records("mlp")["first"]["state"] == "error"


def test_what_the_user_computed_comes_before_what_is_stored(lab: Workshop) -> None:
    publish(lab)
    lab("mlp", "--seed", "5")
    lab.computed()
    own = arrays(lab)
    for _ in range(2):
        result = lab()
        assert result.exit_code == 0
        assert "first    holds, computed earlier" in result.stdout
        assert "1 of 1 network results stored or computed earlier, all of which hold" in result.stdout
        assert lab.records("mlp")["first"]["origin"].startswith("computed earlier: ")
        xr.testing.assert_identical(arrays(lab), own)
    assert lab.computed()[-2:] == ["a-claim", "draw"]  # the picture of the experiment is right already
    lab("mlp", "--seed", "5", "--resume")
    assert lab.records("mlp")["first"]["origin"] == ""


def test_what_the_user_computed_and_what_is_damaged_is_named_and_the_stored_result_shown(
    lab: Workshop,
) -> None:
    publish(lab)
    assert lab("mlp", "--seed", "1").exit_code == 0
    path = lab.out / "mlp" / "first.nc"
    path.write_bytes(path.read_bytes()[:-100])
    told = lab()
    assert told.exit_code == 0
    assert f"first: {path} is damaged" in told.stderr
    assert told.stderr.strip().endswith("shown is the stored result")
    assert arrays(lab).attrs["seed"] == 0


def test_arrays_that_are_gone_or_damaged_cost_the_page_of_the_others_nothing(lab: Workshop) -> None:
    write(lab, "second", order=2)
    assert lab("mlp").exit_code == 0
    path = lab.out / "mlp" / "first.nc"
    path.write_bytes(b"")
    assert lab("mlp", "second").exit_code == 0
    path.unlink()
    assert lab("mlp", "second").exit_code == 0
    assert 'id="first"' in page(lab)


def test_a_stored_result_is_not_taken_for_one_of_this_run(lab: Workshop) -> None:
    publish(lab)
    lab()
    lab.computed()
    assert lab("mlp", "--resume").exit_code == 0
    assert lab.computed() == ["first", "draw"]


def test_other_words_show_no_networks(lab: Workshop) -> None:
    publish(lab)
    result = lab("run", "a-claim")
    assert "1 of 1 claims hold\n" in result.stdout
    assert "network" not in result.stdout
    assert not (lab.out / "mlp").exists()


# the page ----------------------------------------------------------------------------------------------


def test_the_page_answers_and_loads_nothing(lab: Workshop) -> None:
    write(lab, "second", order=2)
    lab("mlp")
    text = page(lab)
    seen = Page(text)
    assert all(target.startswith(("data:", "#")) for target in seen.loads)
    assert not {"link", "b"} & set(seen.tags)
    assert seen.tags.count("img") == 3  # the picture that opens it, and one an experiment
    assert "From the line to the network" in seen.text
    assert "2 of 2 experiments hold." in seen.text
    assert re.search(r'<a href="#first">Does first stall\?</a>', text)
    assert seen.text.count("Yes: ") == 6  # in the table, in the section and on the slide of each
    assert seen.text.count("Not run on a GPU.") == 2
    assert "From the paper, other models and data; not reproduced here." in seen.text
    assert "81.17" in seen.text
    assert '<td class="n strong">&lt;b&gt;2.5&lt;/b&gt;</td>' in text
    assert '<th scope="row" class="strong">high</th>' in text
    assert "A note." in seen.text
    assert provenance.device() in seen.text
    assert "!" not in seen.text.replace("<!", "")


def test_the_page_sets_the_gpu_beside_this_run(lab: Workshop) -> None:
    lab("mlp")
    gpu = arrays(lab).assign_attrs(device="gpu (NVIDIA H100)", seed=7, commit="c0ffee" * 6)
    (lab.shipped / "gpu").mkdir(parents=True)
    (gpu * 1.0).assign_attrs(gpu.attrs).to_netcdf(lab.shipped / "gpu" / "first.nc", engine="h5netcdf")
    lab("mlp", "--resume")
    assert "Not run on a GPU." not in page(lab)
    assert "gpu (NVIDIA H100), 4 seeds from 7, commit c0ffeec0ffee" in page(lab)
    (lab.shipped / "gpu" / "first.nc").write_bytes(b"half")
    lab("mlp", "--resume")
    assert "The stored result of the GPU cannot be judged" in page(lab)


def test_headline_and_tables_are_read_back(lab: Workshop) -> None:
    write(lab, "second", order=2)
    lab("mlp", "first")
    lab("mlp", "second")
    assert page(lab).count("By <math") == 2
    assert lab.records("mlp")["first"]["headline"].startswith("Yes: ")
    (entry, _) = registry.NETWORKS.discover()
    assert isinstance(entry.tables(arrays(lab))[0], Table)


def test_a_table_has_rows_as_long_as_its_header() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells under a header of 2"):
        Table("Short", ("a", "b"), (("1",),))
    with pytest.raises(TypeError, match="not a string"):
        Table("Number", ("a",), ((1.0,),))  # pyright: ignore[reportArgumentType]
