"""UDP sockets over real loopback: datagrams in batches, missing offload, full sockets, and closed ports."""

from __future__ import annotations

import errno
import socket
import sys

import pytest
import trio

from peerstack.stack.identity import Identity
from peerstack.stack.report import StageName
from peerstack.transports.quic import QuicTransport
from peerstack.transports.quic.address import quic_address
from peerstack.transports.quic.interface import SocketAddress
from peerstack.transports.quic.sockets import MAX_BACKLOG, MAX_BATCH, UdpNetwork, UdpSocket, _batches

from .hosts import attempt

V4, V6 = ("127.0.0.1", 0), ("::1", 0, 0, 0)


async def received(sock: UdpSocket, count: int) -> list[bytes]:
    found: list[bytes] = []
    with trio.fail_after(10):
        while len(found) < count:
            await sock.wait_readable()
            found += [datagram for datagram, _ in sock.receive_nowait()]
    return found


@pytest.mark.parametrize("here", [V4, V6], ids=["ip4", "ip6"])
async def test_datagrams_arrive_apart_and_in_order(here: SocketAddress) -> None:
    near, far = UdpNetwork().bind(here), UdpNetwork().bind(here)
    sent = [bytes([number]) * size for number, size in enumerate([1200] * 50 + [700, 1200, 1300, 1300, 5])]
    near.send(sent, far.address)
    assert await received(far, len(sent)) == sent
    near.close()
    far.close()


def test_batches_hold_one_size_and_a_shorter_last() -> None:
    sizes = [[len(item) for item in batch] for batch in _batches([bytes(size) for size in (9, 9, 5, 9, 12, 12, 12)])]
    assert sizes == [[9, 9, 5], [9], [12, 12, 12]]
    many = _batches([bytes(1350)] * 1000)
    assert all(sum(map(len, batch)) <= MAX_BATCH and len(batch) <= 64 for batch in many)
    assert sum(map(len, many)) == 1000
    assert _batches([]) == []


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
    assert refusing.calls == again, "a kernel that can not is asked once; a path that is too narrow each time"
    near.close()
    far.close()


@pytest.mark.parametrize(("number", "told"), [(errno.ENETUNREACH, True), (errno.EINVAL, True), (errno.ENOBUFS, False)])
async def test_an_address_to_which_nothing_can_be_sent_is_told(number: int, told: bool) -> None:
    near = UdpNetwork().bind(V4)

    class Unreachable(Refusing):
        def sendto(self, datagram: bytes, address: SocketAddress) -> int:
            raise OSError(self.number, "no")

    real, near._socket = near._socket, Unreachable(near._socket, number)  # type: ignore[assignment]
    error = near.send([b"one"], V4)
    near._socket = real
    assert (error is not None and error.errno == number) == told
    assert near.send([b"x"], near.address) is None, "what was told of one address is told of the next"
    near.close()


async def test_a_full_socket_keeps_a_bounded_backlog_and_sends_it_later() -> None:
    near, far = UdpNetwork().bind(V4), UdpNetwork().bind(V4)
    near._send_batch = lambda batch, address: False  # type: ignore[method-assign]  # the kernel is full
    for number in range(2000):
        near.send([number.to_bytes(2, "big") * 500], far.address)
    assert near._waiting <= MAX_BACKLOG
    del near._send_batch
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.flush)
        got = await received(far, 1000)
        assert got == [number.to_bytes(2, "big") * 500 for number in range(1000)]
        nursery.cancel_scope.cancel()
    near.close()
    far.close()


async def test_closing_wakes_who_waits() -> None:
    sock = UdpNetwork().bind(V4)

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sock.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(sock.flush)
        await trio.testing.wait_all_tasks_blocked()
        sock.close()
        sock.close()
        nursery.cancel_scope.deadline = trio.current_time() + 5
    with pytest.raises(trio.ClosedResourceError):
        sock.receive_nowait()
    assert sock.unreachable() == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell unconnected sockets")
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
