"""The lessons: which there are, and how one is run from its script and stored as a notebook."""

from __future__ import annotations

import os
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
PATTERN = "[0-9][0-9]_*"
STRICT = {
    "PYTHONSTARTUP": str(FOLDER / "strict.py")
}  # in a kernel's environment: warnings are errors

# What Jupyter would write, less the versions of this machine: the same lesson gives the same file.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}


def scripts() -> list[Path]:
    """The scripts, in the order in which they are read."""
    return sorted(FOLDER.glob(f"{PATTERN}.py"))


def notebook_of(script: Path) -> NotebookNode:
    """The lesson as a notebook without outputs."""
    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
    return notebook


def store(script: Path) -> Path:
    """Run a lesson in a strict kernel, and write its notebook beside the script; raises where a cell fails."""
    notebook = notebook_of(script)
    os.environ.update(STRICT)
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(
        notebook, timeout=300, resources=where, record_timing=False
    ).execute()
    notebook.metadata = nbformat.from_dict(
        METADATA
    )  # the kernel has added its versions
    path = script.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    return path
