"""UDP sockets over real loopback: datagrams apart and in order, of whatever size, and full sockets."""

from __future__ import annotations

import errno

import pytest
import trio

from peerstack.stack.net.datagrams import MAX_BACKLOG, SocketAddress, UdpSocket
from peerstack.stack.net.udp import UdpNetwork

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


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENETUNREACH, True), (errno.EINVAL, True), (errno.EMSGSIZE, True), (errno.ENOBUFS, False)],
)
async def test_an_address_to_which_nothing_can_be_sent_is_told(number: int, told: bool) -> None:
    near = UdpNetwork().bind(V4)

    class Unreachable:
        def sendto(self, datagram: bytes, address: SocketAddress) -> int:
            raise OSError(number, "no")

    real, near._socket = near._socket, Unreachable()  # type: ignore[assignment]
    error = near.send([b"one"], V4)
    near._socket = real
    assert (error is not None and error.errno == number) == told
    assert near.send([b"x"], near.address) is None, "what was told of one address is told of the next"
    near.close()


async def test_a_full_socket_keeps_a_bounded_backlog_and_sends_it_later() -> None:
    near, far = UdpNetwork().bind(V4), UdpNetwork().bind(V4)
    near._send_batch = lambda batch, segment, address: False  # type: ignore[method-assign]  # the kernel is full
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
