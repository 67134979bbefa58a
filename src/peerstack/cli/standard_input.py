"""Lines of standard input, without a thread that nobody could end."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import trio

from .failure import CommandError

_CHUNK = 65536


def is_given() -> bool:
    """Say whether standard input is a pipe or a file, and not a terminal, or closed."""
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
    while True:
        await _wait_readable(number)
        chunk = os.read(number, _CHUNK)
        if not chunk:
            return
        yield chunk


async def _wait_readable(number: int) -> None:
    try:
        await trio.lowlevel.wait_readable(number)
    except PermissionError:
        # A file on a disk can always be read, so that the system does not watch it.
        await trio.lowlevel.checkpoint()


def _checked(line: bytes, limit: int) -> bytes:
    if len(line) > limit:
        raise CommandError(f"a line of standard input is over the limit of {limit} bytes for a message")
    return line.removesuffix(b"\r")
