"""The README keeps its word: every block runs, every name in its table exists.

The commands that make an environment are run as written by ``.ci/run`` (one of them starts this test suite, so
it cannot be run from inside); here it is checked that ``.ci/run`` does find and run exactly these.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import linear_theory as lt
from paper_reproduction import hero, registry, shipped
from paper_reproduction.mlp import choice, overview
from paper_reproduction.mlp.methods import FLOW, SAME, SHUFFLED, STANDARD
from paper_reproduction.mlp.protocol import MEMORISED
from paper_reproduction.mlp.statistics import ahead, percent
from tests.test_pages import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = dict(
    re.findall(r"^<!-- command: (\w+) -->\n```bash\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if line.startswith("|") and ".py" in line
]


def test_every_block_is_python_or_a_command_with_a_name():
    assert set(COMMANDS) == {"main", "tests", "diagnose", "beyond", "networks", "site", "frameworks"}
    outputs = [code for language, code in BLOCKS if language == "text"]
    assert len(PYTHON) + len(COMMANDS) + len(outputs) == len(BLOCKS)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_opening_picture_is_told_in_the_same_words_everywhere(page):
    told = re.findall(
        r"!\[([^]]*)\]\([./]*figures/gallery/hero\.png\)", (ROOT / page).read_text(encoding="utf-8")
    )
    assert told == [hero.ALT]


def test_python_blocks_run_and_print_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert README.count("```text") == len(PYTHON) + 1  # and what the first command says last
    run("README.md", README)


def test_the_training_loop_learns_and_forgets_less_than_it_would_unweighted():
    """What the first block is for: weights that start at one solution and end near the other."""
    namespace: dict[str, object] = {}
    exec(compile(next(code for code in PYTHON if "sample_loss" in code), "README.md", "exec"), namespace)
    losses = namespace["sample_loss"]
    assert losses(namespace["theta"]).mean() < losses(namespace["pretrained"]).mean()


def test_the_files_of_the_last_block_are_diagnosed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = next(code for code in PYTHON if "rows.npz" in code)
    exec(compile(rows, "README.md", "exec"), {})
    command = COMMANDS["diagnose"].replace(".venv/bin/python", sys.executable)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert re.search(r"FLOW gains 1\.\d+ ± 0\.\d+ % on early stopping", said)
    assert "averaging with the start gains as much" in said
    assert (tmp_path / "rows-diagnosis.png").stat().st_size > 10_000


RESULTS = {entry.name: shipped.stored(entry) for entry in registry.NETWORKS.discover()}


def numbers():
    """What the README says in passing, from the stored results and the problem that it draws."""
    accuracy = lambda values: f"{percent(values)} %"
    hard, noisy = RESULTS["hard-samples"], RESULTS["images-own-head"].sel(noise=0.4)
    at = lambda run, place: choice.at(noisy.accuracy, run).sel(place=place)
    hardest = lambda run: choice.at(hard.by_decile, run).sel(decile=10)
    found = overview.tally(RESULTS)
    short = {"flow": FLOW, "standard": STANDARD, "same": SAME, "shuffled": SHUFFLED}
    problem = hero.PROBLEM
    total = lambda steps: lt.total_error(problem, lt.iterate(problem, steps, temperature=0.1))
    at_default = lt.iterate(problem, range(1000), temperature=lt.population_median_temperature(problem))
    return {
        "flow": f"{total(8):.3f}",
        "default": f"{lt.total_error(problem, at_default).min():.3f}",
        "average": f"{lt.total_error(problem, lt.best_model_average(problem)):.3f}",
        "early": f"{lt.best_early_stop(problem).total_error:.3f}",
        "heart-flow": accuracy(at(FLOW, MEMORISED)),
        "heart-standard": accuracy(at(STANDARD, MEMORISED)),
        **{f"test-{name}": accuracy(at(run, "target")) for name, run in short.items()},
        "settings": str(found.settings),
        "more": str(found.more),
        "comparisons": str(found.comparisons),
        "averaging": str(found.averaging),
        "hard-flow": accuracy(hardest("flow")),
        "hard-standard": accuracy(hardest("standard")),
    }


def test_the_numbers_in_the_text_are_right():
    quoted = dict(re.findall(r"<!-- number: ([\w-]+) -->(.*?)<!-- /number -->", README))
    assert quoted == numbers()


def test_what_is_said_of_these_numbers_is_so():
    """By heart FLOW learns less than all others and so has more right; at equal learning it is nowhere ahead."""
    noisy = RESULTS["images-own-head"].sel(noise=0.4)
    at = lambda run, place: choice.at(noisy.accuracy, run).sel(place=place)
    for other in (STANDARD, SAME, SHUFFLED):
        assert ahead(at(other, MEMORISED), at(FLOW, MEMORISED))
        assert ahead(at(FLOW, "target"), at(other, "target"))
        assert ahead(
            *(choice.at(RESULTS["hard-samples"].by_decile, one).sel(decile=10) for one in (other, FLOW))
        )
    found = overview.tally(RESULTS)
    assert found.more == 0
    assert found.averaging == found.settings
    prose = RESULTS["language"].kept.isel(level=0)
    assert ahead(prose.sel(way="permuted"), prose.sel(way="flow"))
    assert float(prose.sel(way="wise").mean()) < float(prose.sel(way="flow").mean())


def test_the_default_temperature_is_behind_averaging_and_tiny_steps():
    said = numbers()
    assert said["flow"] < said["average"] < said["early"] < said["default"]


def test_the_least_there_is_is_that_of_the_joint_optimum():
    problem = hero.PROBLEM
    assert f"where {lt.total_error(problem, lt.joint_optimum(problem)):.3f} is the least there is" in README


def test_the_opening_picture_is_of_the_problem_whose_numbers_are_printed():
    drawn = hero.compute()
    assert f"tau = {drawn.attrs['temperature']:g}\n" in README
    assert f"FLOW, {drawn.attrs['steps']} steps" in README
    for run_, row in (("flow", "FLOW, 8 steps"), ("standard", "standard, 8 steps")):
        at = drawn.sel(run=run_, step=drawn.attrs["steps"])
        shown = re.search(rf"^{row} +forgotten ([\d.]+)  still to learn ([\d.]+)", README, flags=re.MULTILINE)
        assert shown
        assert shown.groups() == (f"{float(at.forgotten):.3f}", f"{float(at.to_learn):.3f}")
    assert (ROOT / "figures" / "gallery" / "stall.gif").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", ["main", "tests", "frameworks", "site"])
def test_ci_runs_the_commands_as_written(name):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(rf"^(run_readme {name}|again {name} tests( &)?)$", script, flags=re.MULTILINE)
    extract = re.search(r"^readme_command\(\) \{.*?^\}$", script, flags=re.MULTILINE | re.DOTALL)
    assert extract is not None
    shown = subprocess.run(
        ["bash", "-c", f"{extract.group()}\nreadme_command {name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == COMMANDS[name]


def test_the_table_has_a_row_for_every_claim():
    claims = {path.stem for path in (ROOT / "paper_reproduction" / "claims").glob("[a-z]*.py")}
    drawn = {Path(name).stem for row in ROWS for name in re.findall(r"figures/[\w/]+\.py", row[2])}
    assert claims
    assert drawn == claims


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_names_in_the_table_exist(row):
    _, functions, figure, test = row
    names = re.findall(r"`(\w+)`", functions)
    assert names
    assert [name for name in names if not hasattr(lt, name)] == []
    for path in re.findall(r"\]\(([^)]+)\)", figure + test):
        assert (ROOT / path).is_file(), path


def test_the_counts_of_the_first_command_are_those_of_the_claims():
    claims = len(registry.PAPER.discover())
    said = [f"{claims} of {claims} claims hold"]
    for chapter in (registry.BEYOND, registry.NETWORKS):
        count = len(chapter.discover())
        said.append(f"{count} of {count} {chapter.noun.results} stored, all of which hold")
    assert ", ".join(said) + "\n" in README


def test_linked_files_exist():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
