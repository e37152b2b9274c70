"""What ``diagnose`` does: files in, the report to the terminal, the picture and the weights into files."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

import numpy as np
from rich.console import Console
from rich.text import Text

from ..diagnosis import Diagnosis, diagnose
from ..diagnosis.report import NARROWEST, printable
from ..errors import LinearTheoryError, short
from ..files import not_regular, written_whole
from ..weights import Flow
from .files import FileError
from .inputs import WEIGHTS, read_covariance, read_old_rows, read_rows, read_start, write_weights
from .installation import missing_package
from .output import refuse, standard_output

if TYPE_CHECKING:
    from ..arrays import Array

PICTURES = (".png", ".pdf", ".svg")
ARGUMENTS = {
    "X": "ROWS",
    "y": "--target",
    "start": "--start",
    "temperature": "--temperature",
    "median of losses": "--temperature, by default the median loss of the start,",
    "pretrain_covariance": "--pretrain-covariance",
    "pretrain_rows": "--pretrain-rows",
    "sample_weight": "--sample-weight",
    "column_scale": "--column-scale",
}


def diagnose_files(
    *,
    rows: Path,
    start: Path,
    target: str,
    features: str | None,
    temperature: float | None,
    pretrain_covariance: Path | None,
    pretrain_rows: Path | None,
    sample_weight: str | None,
    column_scale: Path | None,
    weights_out: Path | None,
    out: Path | None,
) -> None:
    """Read the files, diagnose, write what is asked for, and show the report; or say in one sentence why not."""
    picture = out or Path(f"{rows.stem}-diagnosis.png")
    inputs = [
        path for path in (rows, start, pretrain_covariance, pretrain_rows, column_scale) if path is not None
    ]
    _refuse_unwritable("--out", picture, PICTURES, inputs)
    if weights_out is not None:
        _refuse_unwritable("--weights-out", weights_out, WEIGHTS, [*inputs, picture])
    try:
        chosen = None if features is None else [name.strip() for name in features.split(",")]
        table = read_rows(rows, target, chosen, sample_weight)
        theta = read_start(start, table.names)
        sigma = None if pretrain_covariance is None else read_covariance(pretrain_covariance, table.names)
        old = None if pretrain_rows is None else read_old_rows(pretrain_rows, table.names, sample_weight)
        scale = None if column_scale is None else read_start(column_scale, table.names)
        diagnosis = diagnose(
            table.X,
            table.y,
            theta,
            temperature,
            sigma,
            pretrain_rows=old,
            sample_weight=table.sample_weight,
            column_scale=scale,
        )
    except FileError as error:
        refuse(str(error))
    except ImportError as error:
        refuse(missing_package(error, "cli"))
    except LinearTheoryError as error:
        named = ARGUMENTS.get(error.argument, error.argument)
        refuse(f"{named} {short(error.value)}: {error.remedy}")
    draw = lambda file: diagnosis.picture(table.names).savefig(
        file, format=picture.suffix[1:].lower(), dpi=150
    )
    files: dict[Path, tuple[str, Callable[[BinaryIO], None]]] = {picture: ("picture", draw)}
    if weights_out is not None:
        kind, weights = weights_out.suffix.lower(), _flow_weights(diagnosis)
        write = functools.partial(write_weights, kind=kind, weights=weights)
        files = {weights_out: ("weights", write)} | files
    # Before anything is shown, so that a reader who leaves early (head) loses no file.
    failures = {
        path: failure for path, (_, write) in files.items() if (failure := _write_failure(path, write))
    }
    with standard_output() as stdout:
        _show(diagnosis, table.names, stdout)
        for path, (what, _) in files.items():
            if path not in failures:
                print(f"{what}: {printable(str(path))}", file=stdout)
    if failures:
        refuse("; ".join(failures.values()))


def _write_failure(path: Path, write: Callable[[BinaryIO], None]) -> str:
    """Write a file, whole or not at all; what went wrong, or nothing."""
    try:
        with written_whole(path) as file:
            write(file)
    except ImportError as error:
        return missing_package(error, "cli")
    except OSError as error:
        return f"cannot write {path}: {error.strerror or error}"
    return ""


def _refuse_unwritable(option: str, path: Path, kinds: tuple[str, ...], taken: list[Path]) -> None:
    """Refuse, before any work is done, what could not be written at the end."""
    if path.suffix.lower() not in kinds:
        refuse(f"{option} {path}: must end in {', '.join(kinds)}")
    try:
        wrong = not_regular(path)
        if wrong:
            refuse(f"{option} {path}: {wrong}")
        if not path.absolute().parent.is_dir():
            refuse(f"{option} {path}: there is no directory {path.parent}")
        folder = path.resolve().parent
        if not folder.is_dir():
            refuse(f"{option} {path}: is a link into {folder}, which is no directory")
        for place in (folder, path):
            if place.exists() and not os.access(place, os.W_OK):
                refuse(
                    f"{option} {path}: {'the directory may' if place == folder else 'may'} not be written to"
                )
    except OSError as error:  # a name too long, a loop of links, a directory not to be entered
        refuse(f"{option} {path}: {error.strerror}")
    if path.resolve() in [other.resolve() for other in taken]:
        refuse(f"{option} {path}: would overwrite another file of this command")


def _flow_weights(diagnosis: Diagnosis) -> Array:
    """exp(−loss/τ), not normalised, as the user's own training loop multiplies them."""
    return np.exp(Flow(diagnosis.temperature).log_weights(diagnosis.rows.residual**2))


def _show(diagnosis: Diagnosis, names: tuple[str, ...], stdout: TextIO) -> None:
    """The report as wide as the terminal, up to 100; headings and verdicts in colour where there is any."""
    console = Console(file=stdout, highlight=False, soft_wrap=True)
    text = Text(diagnosis.report(max(NARROWEST, min(console.width, 100)), names))
    text.highlight_regex(r"(?m)^.+(?=\n─+$)", "bold")
    text.highlight_regex(r"\bbroken\b", "bold red")
    text.highlight_regex(r"\bholds\b", "green")
    console.print(text)
    console.print()
