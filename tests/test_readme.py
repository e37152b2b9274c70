"""The README keeps its word: every block runs, every name in its table exists.

The two shell blocks are run as written by ``.ci/run`` (one of them starts this test suite, so it cannot be
run from inside); here it is checked that ``.ci/run`` does find and run exactly these two.
"""

import re
import subprocess
from pathlib import Path

import pytest

import linear_theory as lt

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [code for language, code in BLOCKS if language == "bash"]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if line.startswith("|") and ".py" in line
]


def test_every_block_is_python_or_one_of_two_commands():
    assert len(SHELL) == 2
    assert len(PYTHON) + len(SHELL) == len(BLOCKS)


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(code, capsys):
    namespace: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert "lt" in namespace


def test_the_training_loop_learns_and_forgets_less_than_it_would_unweighted():
    """What the first block is for: weights that start at one solution and end near the other."""
    namespace: dict[str, object] = {}
    exec(compile(PYTHON[0], "README.md", "exec"), namespace)
    losses = namespace["sample_loss"]
    assert losses(namespace["theta"]).mean() < losses(namespace["pretrained"]).mean()


@pytest.mark.parametrize(("name", "command"), [("main", SHELL[0]), ("tests", SHELL[1])])
def test_ci_runs_the_commands_as_written(name, command):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"\nrun_readme {name}\n" in script
    extract = re.search(r"^readme_command\(\) \{.*?^\}$", script, flags=re.MULTILINE | re.DOTALL)
    assert extract is not None
    shown = subprocess.run(
        ["bash", "-c", f"{extract.group()}\nreadme_command {name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == command


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
