"""Lines of standard input; without a thread that cannot be cancelled, where the system can watch the file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator

import trio

from .failure import CommandError

_CHUNK = 65536


def is_given() -> bool:
    """Return whether standard input is a pipe or a file, and not a terminal, or closed."""
    try:
        return sys.stdin is not None and not os.isatty(sys.stdin.fileno())
    except (ValueError, OSError):
        return False


async def lines(limit: int) -> AsyncIterator[bytes]:
    """Yield the lines of standard input without their ends. Raises CommandError for one over `limit` bytes."""
    held = b""
    async for chunk in chunks():
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            yield _checked(line, limit)
        _checked(held, limit)
    if held:
        yield _checked(held, limit)


async def chunks() -> AsyncIterator[bytes]:
    """Yield what comes from standard input until it ends. Raises CommandError if there is none."""
    if sys.stdin is None:
        raise CommandError("standard input is closed")
    number = sys.stdin.fileno()
    while chunk := await _read(number):
        yield chunk


async def _read(number: int) -> bytes:
    if sys.platform == "win32":
        # Windows can watch sockets only. The thread is abandoned when the caller is cancelled.
        return await trio.to_thread.run_sync(os.read, number, _CHUNK, abandon_on_cancel=True)
    if stat.S_ISREG(os.fstat(number).st_mode):
        # A file on a disk can always be read: Linux does not watch it, and macOS would say nothing at its end.
        await trio.lowlevel.checkpoint()
    else:
        await _wait_readable(number)
    return os.read(number, _CHUNK)


async def _wait_readable(number: int) -> None:
    try:
        await trio.lowlevel.wait_readable(number)
    except OSError:
        # Nor is every device watched, such as /dev/null.
        await trio.lowlevel.checkpoint()


def _checked(line: bytes, limit: int) -> bytes:
    if len(line) > limit:
        raise CommandError(f"a line of standard input is over the limit of {limit} bytes for a message")
    return line.removesuffix(b"\r")
