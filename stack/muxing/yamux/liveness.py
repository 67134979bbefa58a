"""Pings: how far away the peer is, and whether it is still there."""

from __future__ import annotations

from ...errors import ConnectionLost
from .config import Config
from .wire import PING, SYN, encode_header


class Liveness:
    """One ping at a time: it measures the round trip, and anything heard from the peer after it proves life."""

    __slots__ = ("_config", "_last_heard", "_next", "_sent", "_value", "rtt")

    def __init__(self, config: Config, now: float) -> None:
        self._config = config
        self.rtt: float | None = None
        """The latest round-trip time in seconds."""
        self._value = 0
        self._sent: float | None = None
        self._next = now + config.keepalive_interval
        self._last_heard = now

    def heard(self, now: float) -> None:
        """Note that the peer sent something."""
        self._last_heard = now

    def measure_once(self, now: float) -> bytes | None:
        """Return the first ping when bytes begin to flow, in either direction: windows can not grow without it."""
        return self._ping(now) if self.rtt is None and self._sent is None else None

    def answered(self, value: int, now: float) -> None:
        """Take an answer; one that was not asked for means nothing."""
        if self._sent is not None and value == self._value:
            self.rtt = now - self._sent
            self._sent = None

    def next_deadline(self) -> float:
        """Return when `handle_deadline` should be called next."""
        return self._next if self._sent is None else self._sent + self._config.keepalive_timeout

    def handle_deadline(self, now: float) -> bytes | None:
        """Return a ping if one is due at `now`. Raises ConnectionLost when the peer is silent for too long."""
        if self._sent is not None and now >= self._sent + self._config.keepalive_timeout:
            if self._last_heard < self._sent:
                silence = now - self._last_heard
                raise ConnectionLost(f"the peer did not answer a ping and has been silent for {silence:.0f} s")
            self._sent = None
        return self._ping(now) if self._sent is None and now >= self._next else None

    def _ping(self, now: float) -> bytes:
        self._value = (self._value + 1) % 2**32
        self._sent = now
        self._next = now + self._config.keepalive_interval
        return encode_header(PING, SYN, 0, self._value)
