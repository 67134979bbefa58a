"""Signals that end the command: the first ends it in good order, another one at once; 130 or 143 either way.

Imports little: it is at work before the libraries are loaded.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM)
_undo: list[Callable[[], None]] = []
"""What the terminal needs when the process ends without leaving its blocks."""


def exit_code(number: int) -> int:
    """Return the exit code of a command that was stopped by a signal."""
    return 128 + number


def leave_at_once(number: int, _frame: FrameType | None = None) -> None:
    """End the process now, with the terminal as it was."""
    for undo in reversed(_undo):
        with suppress(OSError, ValueError, RuntimeError):
            undo()
    os._exit(exit_code(number))


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo` if the process has to end at once during the block."""
    _undo.append(undo)
    try:
        yield
    finally:
        _undo.remove(undo)


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have the signals that stop handled so during the block; in a thread that cannot have signals, nothing changes."""
    before: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}
    try:
        for number in STOP:
            before[number] = signal.signal(number, handler)
    except ValueError:
        assert not before, "either all signals can be handled here, or none"
    try:
        yield
    finally:
        for each, was in before.items():
            signal.signal(each, signal.SIG_DFL if was is None else was)
