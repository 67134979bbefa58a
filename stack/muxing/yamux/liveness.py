"""Pings measure the round trip, and whether the peer is still there."""

from __future__ import annotations

from ...errors import ConnectionLost
from .config import Config
from .wire import PING, SYN, encode_header


class Liveness:
    """One ping at a time: it measures the round trip, and anything received after it shows that the peer is alive."""

    __slots__ = ("_asked", "_config", "_last_received", "_next", "_sent", "_wanted", "answered_pings", "rtt")

    def __init__(self, config: Config, now: float) -> None:
        self._config = config
        self.rtt: float | None = None
        """The latest round-trip time in seconds."""
        self._asked = self._wanted = self.answered_pings = 0
        """Counted from 1: the newest ping sent, the newest asked for, and the newest answered."""
        self._sent: float | None = None
        self._next = now + config.keepalive_interval
        self._last_received = now

    def received(self, now: float) -> None:
        """Note that the peer sent something."""
        self._last_received = now

    def measure_once(self, now: float) -> bytes | None:
        """Return the first ping when bytes begin to flow, in either direction: windows cannot grow without it."""
        return self._ping(now) if self.rtt is None and self._sent is None else None

    def ask(self, now: float) -> tuple[int, bytes | None]:
        """Return which ping proves, by its answer, that the peer has read what was sent before; and a ping to send now.

        While one is under way the next must wait: one ping a round trip serves all callers.
        """
        if self._sent is None:
            frame = self._ping(now)
            return self._asked, frame
        self._wanted = self._asked + 1
        return self._wanted, None

    def answered(self, value: int, now: float) -> bytes | None:
        """Take an answer, and return the next ping if one was asked for; an answer to no ping of ours means nothing."""
        if self._sent is None or value != self._asked % 2**32:
            return None
        self.rtt = now - self._sent
        self._sent = None
        self.answered_pings = self._asked
        return self._wanted_ping(now)

    def next_deadline(self) -> float:
        """Return when `handle_deadline` should be called next."""
        return self._next if self._sent is None else self._sent + self._config.keepalive_timeout

    def handle_deadline(self, now: float) -> bytes | None:
        """Return a ping if one is due at `now`. Raises ConnectionLost when the peer is silent for too long."""
        if self._sent is not None and now >= self._sent + self._config.keepalive_timeout:
            if self._last_received < self._sent:
                silence = now - self._last_received
                raise ConnectionLost(f"the peer did not answer a ping and has been silent for {silence:.0f} s")
            self._sent = None
        if self._sent is None and now >= self._next:
            return self._ping(now)
        return self._wanted_ping(now)

    def _wanted_ping(self, now: float) -> bytes | None:
        return self._ping(now) if self._sent is None and self._wanted > self._asked else None

    def _ping(self, now: float) -> bytes:
        self._asked += 1
        self._sent = now
        self._next = now + self._config.keepalive_interval
        return encode_header(PING, SYN, 0, self._asked % 2**32)
