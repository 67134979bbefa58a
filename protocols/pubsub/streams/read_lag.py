"""How old the messages read from a stream may be: a reader that lags behind forwards them late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

GAP: Final = 0.25
"""Seconds without a message after which the peer has nothing older to send: it fills a window that we open again after
one round trip, even from a full queue."""
WAITED: Final = 1.0
"""Seconds of waiting for messages, taken together, in which a peer sends all that it held back."""
BACKLOG: Final = 8192
"""Messages that may wait at a peer and on the way (the queue of peerstack; other implementations hold fewer)."""
BACKLOG_BYTES: Final = 32 << 20
"""The same in bytes: that queue, and the largest window of yamux."""


class ReadLag:
    """When what is read from one stream was sent, at the earliest.

    Messages carry no time, but they come in order. Once as many were read as can have been waiting at some moment, or
    none was left, what follows was sent after that moment.
    """

    __slots__ = ("_asked", "_began", "_bytes", "_messages", "_waited", "sent_after")

    def __init__(self, now: float) -> None:
        self.sent_after = now
        """What was read last was sent later than this."""
        self._began = now
        self._asked: float | None = None
        """When the read that waits began."""
        self._waited = 0.0
        self._messages = 0
        self._bytes = 0

    def oldest_unread(self, now: float) -> float:
        """Return when what is still unread was sent, at the earliest; now if there is nothing."""
        return now if self._asked is not None and now - self._asked >= GAP else self.sent_after

    def begin_read(self, now: float) -> None:
        """Note that a read begins."""
        self._asked = now

    def end_read(self, now: float, messages: Sequence[bytes]) -> None:
        """Note what the read brought."""
        waited = 0.0 if self._asked is None else now - self._asked
        self._asked = None
        if waited >= GAP:
            self.sent_after = now
        else:
            self._waited += waited
            self._messages += len(messages)
            self._bytes += sum(map(len, messages))
            if self._waited < WAITED and self._messages < BACKLOG and self._bytes < BACKLOG_BYTES:
                return
            self.sent_after = self._began
        self._began, self._waited, self._messages, self._bytes = now, 0.0, 0, 0
