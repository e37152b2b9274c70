"""The command line: its arguments, what it shows, the files it writes, and what it refuses in one sentence."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn, TextIO

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from .. import __version__
from ..diagnosis import Diagnosis, diagnose
from ..diagnosis.report import NARROWEST, printable
from ..errors import LinearTheoryError, short
from ..files import not_regular, written_whole
from ..weights import Flow
from .files import FileError
from .inputs import WEIGHTS, read_covariance, read_old_rows, read_rows, read_start, write_weights

if TYPE_CHECKING:
    from ..arrays import Array

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

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
FILE = "FILE"  # readable=False beside it: whether it may be read is said by its reader


def _version(asked: bool) -> None:
    if asked:
        with _standard_output() as stdout:
            print(f"linear-theory {__version__}", file=stdout)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Name and version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Exact theory of fine-tuning a linear model with weights by pre-trained loss."""


@app.command("diagnose")
def diagnose_files(
    rows: Annotated[Path, typer.Argument(metavar="ROWS", readable=False, help="The rows: .csv, .parquet or .npz.")],
    start: Annotated[
        Path,
        typer.Option(
            "--start", metavar=FILE, readable=False,
            help="The pre-trained parameters, one a feature: .npy, .npz, or .csv (values, or name,value).",
        ),
    ],
    target: Annotated[str, typer.Option("--target", metavar="NAME", help="The column of labels.")] = "y",
    features: Annotated[
        str | None,
        typer.Option("--features", metavar="A,B,…", help="Columns to use.  [default: all the others]"),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="TAU", help="In units of y².  [default: the median loss of the start]"),
    ] = None,
    pretrain_covariance: Annotated[
        Path | None,
        typer.Option(
            "--pretrain-covariance", metavar=FILE, readable=False,
            help="Σ, by which forgetting is measured: .npy, .npz or .csv.  [default: none, and no verdict]",
        ),
    ] = None,
    pretrain_rows: Annotated[
        Path | None,
        typer.Option(
            "--pretrain-rows", metavar=FILE, readable=False,
            help="Instead of Σ the rows the start was trained on: .csv, .parquet or .npz with the same features by "
            "name. Labels are not needed.",
        ),
    ] = None,
    sample_weight: Annotated[
        str | None,
        typer.Option(
            "--sample-weight", metavar="NAME",
            help="A column of prior weights: a row of weight 2 counts as two rows. (Of --pretrain-rows as well, if "
            "the column is there.)  [default: all rows count alike]",
        ),
    ] = None,
    column_scale: Annotated[
        Path | None,
        typer.Option(
            "--column-scale", metavar=FILE, readable=False,
            help="The magnitude each column was made from, before it was centred, one a feature as in --start: what "
            "is only rounding of it counts as zero.  [default: every column counts]",
        ),
    ] = None,
    weights_out: Annotated[
        Path | None,
        typer.Option(
            "--weights-out", metavar=FILE, readable=False,
            help="Write FLOW's weights, --sample-weight not multiplied in: .npy, .csv or .parquet.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar=FILE, readable=False,
            help="The picture: .png, .pdf or .svg.  [default: ROWS-diagnosis.png]",
        ),
    ] = None,
) -> None:  # fmt: skip
    """What FLOW's weights would do to these rows: what is gained, what is lost, when to stop."""
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
        _refuse(str(error))
    except ImportError as error:
        _refuse(_missing_package(error))
    except LinearTheoryError as error:
        named = ARGUMENTS.get(error.argument, error.argument)
        _refuse(f"{named} {short(error.value)}: {error.remedy}")
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
    with _standard_output() as stdout:
        _show(diagnosis, table.names, stdout)
        for path, (what, _) in files.items():
            if path not in failures:
                print(f"{what}: {printable(str(path))}", file=stdout)
    if failures:
        _refuse("; ".join(failures.values()))


def _write_failure(path: Path, write: Callable[[BinaryIO], None]) -> str:
    """Write a file, whole or not at all; what went wrong, or nothing."""
    try:
        with written_whole(path) as file:
            write(file)
    except ImportError as error:
        return _missing_package(error)
    except OSError as error:
        return f"cannot write {path}: {error.strerror or error}"
    return ""


def _refuse_unwritable(option: str, path: Path, kinds: tuple[str, ...], taken: list[Path]) -> None:
    """Refuse, before any work is done, what could not be written at the end."""
    if path.suffix.lower() not in kinds:
        _refuse(f"{option} {path}: must end in {', '.join(kinds)}")
    try:
        wrong = not_regular(path)
        if wrong:
            _refuse(f"{option} {path}: {wrong}")
        if not path.absolute().parent.is_dir():
            _refuse(f"{option} {path}: there is no directory {path.parent}")
        folder = path.resolve().parent
        if not folder.is_dir():
            _refuse(f"{option} {path}: is a link into {folder}, which is no directory")
        for place in (folder, path):
            if place.exists() and not os.access(place, os.W_OK):
                _refuse(
                    f"{option} {path}: {'the directory may' if place == folder else 'may'} not be written to"
                )
    except OSError as error:  # a name too long, a loop of links, a directory not to be entered
        _refuse(f"{option} {path}: {error.strerror}")
    if path.resolve() in [other.resolve() for other in taken]:
        _refuse(f"{option} {path}: would overwrite another file of this command")


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


@contextlib.contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Standard output, for whatever may become of it: closed, full, or left by its reader."""
    if sys.stdout is None:
        _refuse("standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no τ shows ? and goes on
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        _output_lost(error)


def _output_lost(error: OSError) -> NoReturn:
    _discard_output(sys.stdout)
    if error.errno == errno.EPIPE:  # as by head: nobody is left to be told
        raise SystemExit(1)
    _refuse(f"cannot write to standard output: {error.strerror or error}")


def _discard_output(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere: Python would try to write it again at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _missing_package(error: ImportError) -> str:
    package = (error.name or str(error)).partition(".")[0]
    return f'{package} is not installed; the command needs: pip install "linear-theory[cli]"'


def _refuse(reason: str) -> NoReturn:
    """One clear sentence, no traceback, exit status 2."""
    try:
        typer.echo(f"error: {printable(reason)}", err=True)
    except OSError:
        _discard_output(sys.stderr)
    raise SystemExit(2)


def run() -> None:
    """The command line; what typer itself prints may meet a full disk as well."""
    try:
        app(prog_name="python -m linear_theory")
    except OSError as error:
        if error.filename is not None:
            raise
        _output_lost(error)
