"""What ends a run from outside, told apart from what fails in it. Imports little, as the first line need not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

ENDINGS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
"""By what a batch system, a machine that goes down, or a terminal that is closed ends its processes."""


class Ended(KeyboardInterrupt):
    """The process was asked to end by a signal of this number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_status(stop: KeyboardInterrupt) -> int:
    """What a shell gives for a process that this stopped."""
    return 128 + (stop.number if isinstance(stop, Ended) else signal.SIGINT)


@contextmanager
def endings_interrupt() -> Iterator[None]:
    """Whoever is asked to end in here is interrupted, as by Ctrl-C; one that was told to ignore it (nohup) goes on."""
    if threading.current_thread() is not threading.main_thread():  # which has no say in signals
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDINGS}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Ended(number)


@contextmanager
def left_to_the_parent() -> Iterator[None]:
    """A process that starts in here ignores all of these, and Ctrl-C, from its first instruction on."""
    before: dict[int, Any] = {}
    for number in (signal.SIGINT, *ENDINGS):
        before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
