"""The files about the project say what is true: the example claim is a claim, versions agree, nothing is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import linear_theory as lt
from paper_reproduction import mathml, registry
from paper_reproduction.claim import Settings

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"^<!-- file: (\S+) -->\n```python\n(.*?)^```$", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL)
)
CLAIM, FIGURE = "paper_reproduction/claims/one_step.py", "figures/one_step.py"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Writes the two files of the page into a package of their own, and finds the claim in it."""

    def write(claim: str = FILES[CLAIM]) -> registry.Entry:
        package = f"contributed_{abs(hash((tmp_path, claim)))}"
        for part, text in (("claims", claim), ("figures", FILES[FIGURE])):
            folder = tmp_path / package / part
            folder.mkdir(parents=True)
            (folder / "__init__.py").touch()
            (folder / "one_step.py").write_text(text, encoding="utf-8")
        (tmp_path / package / "__init__.py").touch()
        (entry,) = registry.discover(f"{package}.claims", f"{package}.figures")
        return entry

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in [name for name in sys.modules if name.startswith("contributed_")]:
        del sys.modules[name]


def test_the_example_is_a_claim_that_holds_and_draws(example):
    entry = example()
    for latex in (entry.claim.formula, *mathml.formulas_in(entry.claim.statement)):
        mathml.formula(latex)
    assert all(hasattr(lt, name) for name in entry.claim.functions)
    dataset = entry.compute(Settings(quick=True))
    assert entry.verdict(dataset).holds
    picture = entry.draw(dataset)
    assert [line for line in picture.axes[0].lines if len(line.get_xdata()) == dataset.temperature.size]


def test_a_wrong_step_breaks_the_example(example):
    wrong = FILES[CLAIM].replace("m**2 / 2", "m**2")  # the ½ forgotten
    assert wrong != FILES[CLAIM]
    entry = example(wrong)
    assert not entry.verdict(entry.compute(Settings(quick=True))).holds


def test_the_page_writes_formatted_code(tmp_path):
    for name, code in FILES.items():
        file = tmp_path / Path(name).name
        file.write_text(code, encoding="utf-8")
        command = ["--config", str(ROOT / "pyproject.toml"), str(file)]
        for verb in (["check"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *verb, *command], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout


def test_linked_files_exist():
    for page in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / path).exists(), (page, path)


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(
        r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert newest is not None
    assert lt.__version__ == project["version"] == citation["version"] == newest.group(1)
    assert citation["license"] == project["license"]


def test_the_package_is_marked_as_typed():
    assert (Path(lt.__file__).parent / "py.typed").is_file()


def workflow(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_hosted_ci_runs_commands_that_the_readme_has():
    """On every Python that pyproject.toml allows, and with no version pinned twice."""
    matrix = workflow("ci")["jobs"]["readme"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f">={matrix['python'][0]}" == project["requires-python"]
    for command in matrix["command"]:
        found = subprocess.run([ROOT / ".ci" / "readme", command], capture_output=True, text=True, check=True)
        assert found.stdout.startswith("python3 -m venv"), command


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_a_release_finds_its_notes_in_the_changelog(tmp_path):
    """The workflow's own lines, run here for the version of now."""
    steps = workflow("release")["jobs"]["release"]["steps"]
    scripts = [step["run"] for step in steps if "GITHUB_REF_NAME#v" in step.get("run", "")]
    assert len(scripts) == 2
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    run = lambda script, tag: subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=os.environ | {"GITHUB_REF_NAME": tag}, check=False
    )
    for script in scripts:
        assert run(script, f"v{lt.__version__}").returncode == 0
        assert run(script, "v99.0.0").returncode != 0
    run(scripts[1], f"v{lt.__version__}")
    assert "### Numbers" in (tmp_path / "notes.md").read_text(encoding="utf-8")
