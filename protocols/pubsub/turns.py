"""Gives the other tasks a turn now and then, in loops over messages."""

from __future__ import annotations

from typing import Final

import trio

WORK: Final = 32 * 1024
"""Work from one turn of the others to the next, in bytes: half a millisecond of signing and sending."""
MESSAGE_WORK: Final = 2 * 1024
"""Work that a message is besides its bytes."""


class Turns:
    """Counts the work of one loop, so that a pass through trio's scheduler (3 to 5 µs) is shared by many messages."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = WORK

    async def take(self, size: int) -> None:
        """Count a message of `size` bytes, and let the others run if it is their turn; never cancelled."""
        self._left -= MESSAGE_WORK + size
        if self._left <= 0:
            self._left = WORK
            await trio.lowlevel.cancel_shielded_checkpoint()
