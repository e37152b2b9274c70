"""The command line: its words and its options. What they do is imported where it is done, so that ``--help`` need not
wait for JAX.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from .installation import missing_package
from .output import output_lost, refuse, standard_output

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

FILE = "FILE"  # readable=False beside it: whether it may be read is said by its reader


def _version(asked: bool) -> None:
    if asked:
        with standard_output() as stdout:
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
    if sys.stdout is not None and sys.stdout.isatty():
        with standard_output() as stdout:
            print(f"reading {str(rows)!r}", file=stdout)  # at once; the rest takes seconds to come
    try:
        from .session import diagnose_files as work
    except ImportError as error:
        refuse(missing_package(error, "cli"))
    work(
        rows=rows,
        start=start,
        target=target,
        features=features,
        temperature=temperature,
        pretrain_covariance=pretrain_covariance,
        pretrain_rows=pretrain_rows,
        sample_weight=sample_weight,
        column_scale=column_scale,
        weights_out=weights_out,
        out=out,
    )


def run() -> None:
    """The command line; what typer itself prints may meet a full disk as well."""
    try:
        app(prog_name="python -m linear_theory")
    except OSError as error:
        if error.filename is not None:
            raise
        output_lost(error)
