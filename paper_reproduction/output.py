"""What is printed outside of tables. Imports little, so that the first line need not wait."""

from __future__ import annotations

import re
import sys
from typing import NoReturn, TextIO

import typer

from linear_theory.command.output import discard_output, output_lost

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would obey instead of showing it, or what turns the direction of writing; lines and tabs are left."""


def say(text: str, stream: TextIO | None = None) -> None:
    """Print plainly, also where the stream's encoding knows no ≤, and where a name or an error steers terminals."""
    text = _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)
    stream = stream or sys.stdout  # which is None where it was closed: then nothing is printed
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for mark, ascii_mark in (("≤", "<="), ("≥", ">="), ("–", "-")):
        try:
            mark.encode(encoding)
        except UnicodeEncodeError:
            text = text.replace(mark, ascii_mark)
    try:
        print(text.encode(encoding, errors="replace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:  # as by head: nobody is left to be told, and the results are wanted all the same
        discard_output(stream or sys.stderr)
    except OSError as error:
        output_lost(error)


def complain(text: str) -> None:
    """One line to standard error."""
    say(text, sys.stderr)


def refuse(reason: str) -> NoReturn:
    """One clear sentence, no traceback, exit status 2."""
    complain(f"error: {reason}")
    raise typer.Exit(2)
