"""Two compiled engines that hand each other datagrams in simulated time; skips the tests where there is no engine."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peerstack.stack.identity import Identity
from peerstack.stack.security.tls.certificate import make_certificate, verify_certificate

if TYPE_CHECKING:
    import peerstack_engine as engine
else:
    engine = pytest.importorskip("peerstack_engine", reason="the engine in Rust is not built: say `make engine`")

__all__ = ["ADDRESSES", "SIZE", "Pair", "engine", "make_engine", "verify"]

DELAY: Final = 0.01
"""Seconds that a datagram takes."""
ADDRESSES: Final[tuple[engine.Address, engine.Address]] = (("10.0.0.1", 1001), ("10.0.0.2", 1002))
SIZE: Final = 1350

Events: TypeAlias = "list[engine.Event]"


def make_engine(identity: Identity | None = None, *, now: float = 0.0, **options: Any) -> engine.Engine:
    """Return an engine with a fresh certificate of an identity."""
    credentials = make_certificate(identity or Identity.generate())
    key = credentials.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return engine.Engine(credentials.certificate.public_bytes(Encoding.DER), key, bytes(32), now, **options)


def verify(certificates: Sequence[bytes]) -> bool:
    """Take every peer whose certificate is right."""
    verify_certificate(certificates[0])
    return len(certificates) == 1


class Pair:
    """Two engines, of which the second listens."""

    def __init__(self, near: engine.Engine | None = None, far: engine.Engine | None = None) -> None:
        self.engines = (near or make_engine(), far or make_engine())
        self.events: tuple[Events, Events] = ([], [])
        self.now = 0.0
        self.tap: Callable[[int, bytes], bytes | None] = lambda to, datagram: datagram
        """Looks at each datagram before it is under way, may change it, or lose it."""
        self._deadlines: list[float | None] = [None, None]
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._order = count()
        self.engines[1].listen(True)

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while True:
            for side in (0, 1):
                self._flush(side)
            times = [time for time in self._deadlines if time is not None]
            times += [self._under_way[0][0]] if self._under_way else []
            self.now = max(self.now, min([end, *times]))
            if self.now >= end:
                return
            while self._under_way and self._under_way[0][0] <= self.now:
                _, _, to, datagram = heapq.heappop(self._under_way)
                self.engines[to].receive(datagram, len(datagram), ADDRESSES[1 - to], self.now)

    def _flush(self, side: int) -> None:
        more = True
        while more or self.engines[side].needs_flush:
            events, batches, self._deadlines[side], more = self.engines[side].flush(self.now, 64)
            self.events[side].extend(events)
            for data, segment, address in batches:
                if address != ADDRESSES[1 - side]:
                    continue  # to an unknown address
                for start in range(0, len(data), segment):
                    datagram = self.tap(1 - side, data[start : start + segment])
                    if datagram:
                        heapq.heappush(self._under_way, (self.now + DELAY, next(self._order), 1 - side, datagram))

    def dial(self, verifier: engine.Verify = verify) -> int:
        """Begin a connection from the first to the second."""
        return self.engines[0].connect(ADDRESSES[1], verifier, SIZE, self.now)

    def arrival(self) -> int:
        """Return what arrived last."""
        number: int = [event for event in self.events[1] if event[0] == engine.ARRIVED][-1][1]
        return number

    def accept(self, verifier: engine.Verify = verify) -> int:
        """Let it in."""
        return self.engines[1].accept(self.arrival(), verifier, SIZE, self.now)

    def connect(self) -> tuple[int, int]:
        """Return the two ends of a new connection."""
        near = self.dial()
        self.run(0.1)
        far = self.accept()
        self.run(0.5)
        assert (engine.CONNECTED, near) in self.events[0]
        assert (engine.CONNECTED, far) in self.events[1]
        return near, far

    def lost(self, side: int) -> engine.Event:
        """Return how the first connection that ended did."""
        return next(event for event in self.events[side] if event[0] == engine.LOST)
