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
    assert set(COMMANDS) == {"main", "tests", "diagnose", "benchmarks", "networks", "site", "frameworks"}
    assert len(PYTHON) + len(COMMANDS) == len(BLOCKS)


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert "lt" in namespace


def test_the_training_loop_learns_and_forgets_less_than_it_would_unweighted():
    """What the first block is for: weights that start at one solution and end near the other."""
    namespace: dict[str, object] = {}
    exec(compile(PYTHON[0], "README.md", "exec"), namespace)
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


@pytest.mark.parametrize("name", ["main", "tests", "frameworks", "site"])
def test_ci_runs_the_commands_as_written(name):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(rf"^(run_readme {name}|again {name} tests)$", script, flags=re.MULTILINE)
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


def test_linked_files_exist():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
