"""UDP sockets of Linux over real loopback: datagrams in batches, missing offload, and closed ports."""

from __future__ import annotations

import errno
import socket
import sys

import pytest
import trio

from peerstack.stack.identity import Identity
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.net.udp import UdpNetwork
from peerstack.stack.report import StageName
from peerstack.transports.quic import QuicTransport
from peerstack.transports.quic.address import quic_address

from ...stack.net.test_datagrams import V4, V6, received
from .hosts import attempt

if sys.platform != "linux":
    pytest.skip("other systems have neither batches nor a queue of errors", allow_module_level=True)

assert sys.platform == "linux"  # type checkers of other systems see nothing below

from peerstack.stack.net.datagrams import MAX_BATCH, group  # noqa: E402


def test_batches_hold_one_size_and_a_shorter_last() -> None:
    sizes = [[len(item) for item in batch] for batch in group([bytes(size) for size in (9, 9, 5, 9, 12, 12, 12)])]
    assert sizes == [[9, 9, 5], [9], [12, 12, 12]]
    many = group([bytes(1350)] * 1000)
    assert all(sum(map(len, batch)) <= MAX_BATCH and len(batch) <= 64 for batch in many)
    assert sum(map(len, many)) == 1000
    assert group([]) == []


class Refusing:
    """A kernel socket that refuses what it is told to."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock, self.number, self.calls = sock, number, 0

    def sendmsg(self, *_: object) -> int:
        self.calls += 1
        raise OSError(self.number, "no")

    def sendto(self, datagram: bytes, address: SocketAddress) -> int:
        return self.sock.sendto(datagram, address)


@pytest.mark.parametrize(
    ("number", "again"), [(errno.EIO, 1), (errno.EOPNOTSUPP, 1), (errno.EINVAL, 1), (errno.EMSGSIZE, 2)]
)
async def test_without_segmentation_offload_datagrams_go_one_by_one(number: int, again: int) -> None:
    near, far = UdpNetwork().bind(V4), UdpNetwork().bind(V4)
    refusing = Refusing(near._socket, number)
    real, near._socket = near._socket, refusing  # type: ignore[assignment]  # a stand-in for the kernel
    for _ in range(2):
        near.send([b"one", b"two"], far.address)
    near._socket = real
    assert await received(far, 4) == [b"one", b"two"] * 2
    assert refusing.calls == again, "a kernel that cannot is asked once; a path that is too narrow each time"
    near.close()
    far.close()


@pytest.mark.parametrize("here", [V4, V6], ids=["ip4", "ip6"])
async def test_a_closed_port_is_told_at_once(here: SocketAddress) -> None:
    closed = UdpNetwork().bind(here)
    closed.close()
    record, transport = attempt(), QuicTransport(Identity.generate())
    with trio.fail_after(3), pytest.raises(ConnectionRefusedError):
        await transport.dial(quic_address(closed.address), None, record)
    assert record.failure is not None
    assert record.failure.name is StageName.CONNECT
    assert "nothing listens there" in str(record.failure.advice)
