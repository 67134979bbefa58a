"""The compiled engine on descriptors of ours: it makes the system calls itself."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .pair import SIZE, engine, make_engine, verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system calls are those of Linux")
ROUNDS = 3000


class OnSocket:
    """An engine and its socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.engine = make_engine()
        self.engine.use_socket(sock.fileno())
        self.address = sock.getsockname()
        self.events: list[engine.Event] = []
        self.failures: list[tuple[engine.Address, int]] = []

    def pump(self, now: float) -> None:
        events, _, _, _, failures = self.engine.pump(now, 16, 64)
        self.events += events
        self.failures += failures


@contextmanager
def bound(host: str) -> Iterator[tuple[OnSocket, OnSocket]]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(family, socket.SOCK_DGRAM) as other:
        try:
            one.bind((host, 0))
            other.bind((host, 0))
        except OSError as error:
            pytest.skip(f"this system has no {host}: {error}")
        yield OnSocket(one), OnSocket(other)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_transfer_over_real_sockets(host: str) -> None:
    with bound(host) as (near, far):
        far.engine.listen(True)
        connection, data, got = near.engine.connect(far.address, verify, SIZE, 0.0), bytes(range(256)) * 2000, b""
        stream: int | None = None
        sent, accepted = 0, 0
        for turn in range(ROUNDS):
            now = turn / 1000
            for side in (near, far):
                side.pump(now)
            for event in far.events:
                if event[0] == engine.ARRIVED:
                    assert event[3] == host, "the address that was dialed"
                    accepted = far.engine.accept(event[1], verify, SIZE, now)
            far.events.clear()
            if stream is None and (engine.CONNECTED, connection) in near.events:
                stream = near.engine.open(connection)
            if stream is None:
                continue
            sent += near.engine.write(connection, stream, memoryview(data)[sent:], end=True) or 0
            while accepted and (read := far.engine.read(accepted, stream, 1 << 20)) is not None:
                got += read[0]
            if len(got) == len(data):
                break
        assert got == data
        assert near.engine.statistics(connection)["batches_sent"] < near.engine.statistics(connection)["datagrams_sent"]


def test_what_cannot_be_sent_is_told() -> None:
    with bound("127.0.0.1") as (near, _):
        near.engine.connect(("255.255.255.255", 9), verify, SIZE, 0.0)
        near.pump(0.0)
        assert near.failures == [(("255.255.255.255", 9), errno.EACCES)]


def test_a_descriptor_must_be_a_socket() -> None:
    with pytest.raises(OSError):
        make_engine().use_socket(-1)
    with pytest.raises(ValueError, match="use_socket first"):
        make_engine().pump(0.0, 1, 1)
    with bound("127.0.0.1") as (near, _):
        pass
    with pytest.raises(OSError):
        near.pump(0.0)
