"""Standard output for whatever may become of it, and refusals in one sentence."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import NoReturn, TextIO

import typer

__all__ = ["discard_output", "output_lost", "refuse", "standard_output"]


@contextlib.contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output, for whatever may become of it: closed, full, or left by its reader."""
    if sys.stdout is None:
        refuse("standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no τ shows ? and goes on
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        output_lost(error)


def output_lost(error: OSError) -> NoReturn:
    """End without a second failure: Python would write what is left once more."""
    discard_output(sys.stdout)
    if error.errno == errno.EPIPE:  # as by head: nobody is left to be told
        raise SystemExit(1)
    refuse(f"cannot write to standard output: {error.strerror or error}")


def discard_output(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere: Python would try to write it again at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def refuse(reason: str) -> NoReturn:
    """One clear sentence, no traceback, exit status 2."""
    from ..diagnosis.report import printable

    try:
        typer.echo(f"error: {printable(reason)}", err=True)
    except OSError:
        discard_output(sys.stderr)
    raise SystemExit(2)
