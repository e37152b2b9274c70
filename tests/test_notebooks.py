"""The lessons: pairs in sync, outputs stored, every number from the package, and a warning fails under nbmake.

That they run is nbmake's to say: ``pytest --nbmake paper_reproduction/notebooks``.
"""

from __future__ import annotations

import ast
import base64
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
from matplotlib.image import imread
from nbformat import NotebookNode

from paper_reproduction.mathml import FormulaError, formula
from paper_reproduction.notebooks.lessons import FOLDER, METADATA, PATTERN, notebook_of, scripts

ROOT = FOLDER.parent.parent
SCRIPTS = scripts()
LARGEST = 800 * 1024
FOLDED = {"source_hidden": True, "outputs_hidden": True}
FITS = {"08_from_line_to_network": {"log"}}  # an exponent that is measured is a slope of logarithms
WIDEST = 88  # columns, of the page that shows a lesson
PACKAGES = {"linear_theory", "figures", "numpy", "jax", "matplotlib", "textwrap"}
SIMPLEX = {
    "softmax",
    "xlogy",
    "rel_entr",
}  # of scipy.special: what Proposition 4.3 states, nothing that it proves

# A formula of the package, typed again, needs one of these; data need none of them.
RECODED = {"exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "linalg", "matrix_power", "expm", "erf"}

lessons = pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])


def stored(script: Path) -> NotebookNode:
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def python(source: str) -> ast.Module:
    return ast.parse(re.sub(r"^%", "# %", source, flags=re.M))


def is_solution(cell: NotebookNode) -> bool:
    return "solution" in cell.metadata.get("tags", [])


# --- pairs ---------------------------------------------------------------------------------------------------


def out_of_sync(written: NotebookNode, read: NotebookNode) -> list[str]:
    """What differs between a script and its notebook: kinds, sources, tags and folds, cell by cell."""
    if len(written.cells) != len(read.cells):
        return [f"{len(written.cells)} cells in the script, {len(read.cells)} in the notebook"]
    face = lambda cell: (cell.cell_type, cell.source, dict(cell.metadata))
    pairs = enumerate(zip(written.cells, read.cells, strict=True), start=1)
    return [f"cell {k}: {face(a)} ≠ {face(b)}" for k, (a, b) in pairs if face(a) != face(b)]


def test_the_lessons_are_there_in_pairs() -> None:
    assert [script.stem[:2] for script in SCRIPTS] == [f"{k:02}" for k in range(1, 11)]
    assert sorted(FOLDER.glob("*.ipynb")) == sorted(script.with_suffix(".ipynb") for script in SCRIPTS)
    assert sorted(FOLDER.glob(PATTERN)) == sorted(
        path for script in SCRIPTS for path in (script, script.with_suffix(".ipynb"))
    )


@lessons
def test_script_and_notebook_agree(script: Path) -> None:
    assert out_of_sync(notebook_of(script), stored(script)) == []
    assert stored(script).metadata == METADATA


@pytest.mark.parametrize("spoil", ["source", "tags", "kind", "missing"])
def test_a_pair_out_of_sync_is_noticed(spoil: str) -> None:
    written, read = notebook_of(SCRIPTS[0]), stored(SCRIPTS[0])
    cell = next(cell for cell in read.cells if is_solution(cell))
    if spoil == "source":
        cell.source += " "
    elif spoil == "tags":
        cell.metadata.tags = ["solution"]
    elif spoil == "kind":
        cell.cell_type = "markdown"
    else:
        read.cells.remove(cell)
    assert len(out_of_sync(written, read)) == 1


def test_jupytext_finds_the_pairs_by_the_folders_settings() -> None:
    """So that Jupyter with jupytext keeps both in step, whichever is edited, and writes no header."""
    configuration = jupytext.config.load_jupytext_config(str(SCRIPTS[0]))
    read = jupytext.read(SCRIPTS[0])
    assert configuration is not None
    assert configuration.default_formats(str(SCRIPTS[0])) == "ipynb,py:percent"
    assert jupytext.writes(read, "py:percent", config=configuration) == SCRIPTS[0].read_text(encoding="utf-8")


# --- what is stored ------------------------------------------------------------------------------------------


@lessons
def test_outputs_are_stored_and_clean(script: Path) -> None:
    cells = code(stored(script))
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    shown = [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
    assert len(shown) == len(pictures), "a cell shows what it did not print"
    assert script.with_suffix(".ipynb").stat().st_size < LARGEST


@lessons
def test_every_picture_says_what_is_seen(script: Path) -> None:
    """Its alt text is stored with it: sentences of its own, and not the title, which says what follows."""
    outputs = [output for cell in code(stored(script)) for output in cell.outputs]
    alts = [one.metadata["image/png"]["alt"] for one in outputs if "image/png" in one.get("data", {})]
    titles = re.findall(r'title\(fig, r?"([^"]*)"', script.read_text(encoding="utf-8"))
    assert len(set(alts)) == len(alts) == len(titles)
    assert all(len(alt) > 80 and alt.endswith(".") for alt in alts)
    assert not set(alts) & set(titles)


def ink(picture: str) -> np.ndarray:
    """(height, width): where the lower two thirds of a stored picture, below its titles, are not white."""
    pixels = imread(io.BytesIO(base64.b64decode(picture)), format="png")[..., :3]
    return (pixels[len(pixels) // 3 :] < 0.98).any(axis=2)


@lessons
def test_no_canvas_is_left_blank(script: Path) -> None:
    """What is drawn spans the picture: no strip at a side is wider than a tenth of it."""
    outputs = [output for cell in code(stored(script)) for output in cell.outputs]
    for picture in (one.data["image/png"] for one in outputs if "image/png" in one.get("data", {})):
        columns = np.flatnonzero(ink(picture).any(axis=0))
        width = ink(picture).shape[1]
        assert columns[0] < 0.1 * width
        assert columns[-1] > 0.9 * width


@lessons
def test_code_and_print_fit_the_page(script: Path) -> None:
    lines = [line for cell in code(notebook_of(script)) for line in cell.source.splitlines()]
    printed = [output.get("text", "") for cell in code(stored(script)) for output in cell.outputs]
    lines += [line for text in printed for line in text.splitlines()]
    assert [line for line in lines if len(line) > WIDEST] == []


@lessons
def test_how_to_run_it_stands_at_the_top(script: Path) -> None:
    first = notebook_of(script).cells[0].source
    assert 'pip install -e ".[notebooks]"' in first
    assert f"jupyter lab {script.with_suffix('.ipynb').relative_to(ROOT).as_posix()}" in first.replace(
        "\n", " "
    )


@lessons
def test_no_place_of_a_machine_is_stored(script: Path) -> None:
    text = re.sub(r'"image/png": "[^"]*"', "", script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert re.search(r"/(home|root|tmp|usr|Users|work|var|opt)/|[A-Z]:\\\\|0x[0-9a-f]{6,}", text) is None


# --- what is written -----------------------------------------------------------------------------------------


@lessons
def test_two_exercises_whose_solutions_are_folded_and_tested(script: Path) -> None:
    notebook = notebook_of(script)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(re.findall(r"^\*\*[12]\. ", "\n\n".join(prose), flags=re.M)) == 2
    solutions = [cell for cell in notebook.cells if is_solution(cell)]
    assert len(solutions) == 2
    for cell in solutions:
        assert cell.metadata == {"tags": ["solution", "hide-cell"], "jupyter": FOLDED}
        assert any(isinstance(node, ast.Assert) for node in ast.walk(python(cell.source)))
    headings = [line for text in prose for line in text.splitlines() if line.startswith("#")]
    assert headings[0] == f"# {prose[0][2:].splitlines()[0]}"
    assert headings[0].startswith(f"# {int(script.stem[:2])} ")
    assert headings[-2:] == ["## Exercises", "## Where to go on"]


def formulas(markdown: str) -> Iterator[tuple[str, str]]:
    """Every formula with how it is shown; code between backticks holds none."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.S)
    for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", text, flags=re.S):
        yield (display, "block") if display else (inline, "inline")


@lessons
def test_every_formula_can_be_set(script: Path) -> None:
    found = [
        f for cell in notebook_of(script).cells if cell.cell_type == "markdown" for f in formulas(cell.source)
    ]
    assert len(found) >= 10
    for latex, display in found:
        assert formula(latex, display)


def test_a_formula_that_cannot_be_set_is_noticed() -> None:
    ((latex, display),) = formulas("`$x$` costs $\\nosuchcommand{x}$")
    with pytest.raises(FormulaError):
        formula(latex, display)


# --- every number from the package ---------------------------------------------------------------------------


def recoded(source: str, allowed: set[str]) -> list[str]:
    """Imports beyond those allowed, and functions that only a formula typed again would need."""
    found = []
    for node in ast.walk(python(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.partition(".")[0] not in allowed]
        elif isinstance(node, ast.ImportFrom):
            module, names = node.module or "", {name.name for name in node.names}
            of_simplex = module == "scipy.special" and names <= SIMPLEX
            if module.partition(".")[0] not in allowed and module != "sklearn.datasets" and not of_simplex:
                found.append(module)
            found += sorted((names | set(module.split("."))) & RECODED)
        elif isinstance(node, ast.Attribute) and node.attr in RECODED:
            found.append(ast.unparse(node))
    return found


@lessons
def test_no_formula_is_coded_again(script: Path) -> None:
    found = [use for cell in code(notebook_of(script)) for use in recoded(cell.source, PACKAGES)]
    assert [use for use in found if use.rpartition(".")[2] not in FITS.get(script.stem, set())] == []


@pytest.mark.parametrize(
    "source",
    [
        "weights = np.exp(-losses / tau)",
        "weights = jnp.exp(-losses / tau)",
        "from numpy import exp",
        "theta = np.linalg.solve(A, b)",
        "from numpy.linalg import solve",
        "half = -math.log(2) / np.log(x)",
        "import math",
        "from scipy.linalg import expm",
        "from scipy.special import erf",
        "import scipy",
        "import scipy.stats as st",
        "from sklearn.linear_model import Ridge",
        "from paper_reproduction.claims import stall",
    ],
)
def test_a_formula_coded_again_is_noticed(source: str) -> None:
    assert recoded(source, PACKAGES)


def test_data_and_the_package_are_no_formula_coded_again() -> None:
    assert not recoded(
        "%matplotlib inline\nimport numpy as np\nimport linear_theory as lt\nfrom figures.style import title\n"
        "from scipy.special import rel_entr, softmax\nfrom sklearn.datasets import load_diabetes\n"
        "y = X @ theta + 0.1 * np.random.default_rng(0).normal(size=9)\nw = lt.flow_weights(y**2)",
        PACKAGES,
    )


# --- nbmake --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("x = 1", None),
        ("warnings.warn('look out')", "UserWarning"),
        ("warnings.warn('old', DeprecationWarning)", "DeprecationWarning"),
        ("np.ones(1) / np.zeros(1)", "RuntimeWarning"),
    ],
)
def test_a_lesson_that_warns_fails(tmp_path: Path, line: str, warning: str | None) -> None:
    notebook = nbformat.v4.new_notebook(metadata=METADATA)
    notebook.cells = [nbformat.v4.new_code_cell(f"import warnings\nimport numpy as np\n{line}")]
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbmake", "-p", "paper_reproduction.notebooks.conftest",
         "-p", "no:cacheprovider", "-q", str(tmp_path / "lesson.ipynb")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == (1 if warning else 0), run.stdout
    assert ("1 failed" if warning else "1 passed") in run.stdout
    assert warning is None or warning in run.stdout
