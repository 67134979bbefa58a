"""QUIC shares its socket with a user shaped like WebRTC, which takes what looks like STUN; see RFC 9443."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack.stack.identity import Identity
from peerstack.stack.net.datagrams import DatagramSocket, SocketAddress
from peerstack.stack.net.shared import MAX_QUEUED, SharedNetwork
from peerstack.stack.net.udp import DatagramNetwork
from peerstack.transports.quic import QuicTransport

from .hosts import ANYWHERE, join
from .link import MemoryNetwork

V4 = ("127.0.0.1", 0)


def is_stun(datagram: bytes, address: SocketAddress) -> bool:
    return datagram[0] <= 3


class StunResponder:
    """Answers what looks like STUN with the same bytes reversed, but for the first."""

    def __init__(self, sock: DatagramSocket) -> None:
        self.socket = sock
        self.got: list[bytes] = []

    async def run(self) -> None:
        while True:
            await self.socket.wait_readable()
            for datagram, address in self.socket.receive_nowait():
                self.got.append(datagram)
                self.socket.send([datagram[:1] + datagram[:0:-1]], address)


@pytest.fixture(params=["kernel", "memory"])
def below(request: pytest.FixtureRequest) -> DatagramNetwork | None:
    return MemoryNetwork() if request.param == "memory" else None


@asynccontextmanager
async def shared(below: DatagramNetwork | None) -> AsyncIterator[tuple[QuicTransport, QuicTransport, SharedNetwork]]:
    network = SharedNetwork(below)
    yield (
        QuicTransport(Identity.generate(), network=network),
        QuicTransport(Identity.generate(), network=below),
        network,
    )


async def answer(sock: DatagramSocket) -> bytes:
    with trio.fail_after(5):
        while not (found := sock.receive_nowait()):
            await sock.wait_readable()
    return found[0][0]


async def test_stun_goes_to_its_user_and_the_rest_to_quic_both_ways(below: DatagramNetwork | None) -> None:
    async with shared(below) as (server, client, network), await server.listen(ANYWHERE) as listener:
        where = listener._endpoint.address
        stun = StunResponder(network.share(where, is_stun))
        assert stun.socket.address == where
        outside = SharedNetwork(below).bind(V4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stun.run)
            outside.send([b"\x00abc"], where)
            assert await answer(outside) == b"\x00cba"
            near, far = await join(client, listener)
            nursery.start_soon(near.run)
            nursery.start_soon(far.run)
            outgoing = await near.open_stream()
            for number in range(20):
                await outgoing.send_all(b"x" * 10_000)
                outside.send([bytes([number % 4]) + b"again"], where)
                assert await answer(outside) == bytes([number % 4]) + b"niaga"
            await outgoing.send_eof()
            incoming = await far.accept_stream()
            size = 0
            while data := await incoming.receive_some():
                size += len(data)
            assert size == 200_000
            assert len(stun.got) == 21
            nursery.cancel_scope.cancel()
        for connection in (near, far):
            connection.abandon()
        outside.close()
        stun.socket.close()


async def test_a_flood_to_one_user_is_bounded_and_harms_no_other(below: DatagramNetwork | None) -> None:
    """The other user reads nothing at all."""
    async with shared(below) as (server, client, network), await server.listen(ANYWHERE) as listener:
        where = listener._endpoint.address
        idle = network.share(where, is_stun)
        outside = SharedNetwork(below).bind(V4)
        outside.send([bytes(1200)] * 2000 + [b"\xff" * 1200] * 50, where)
        near, far = await join(client, listener)
        assert near.info.remote_peer == server.local_peer
        assert idle._queued <= MAX_QUEUED  # type: ignore[attr-defined]
        for connection in (near, far):
            connection.abandon()
        outside.close()
        idle.close()


async def test_a_classifier_that_fails_costs_its_user_only(caplog: pytest.LogCaptureFixture) -> None:
    def broken(datagram: bytes, address: SocketAddress) -> bool:
        raise ZeroDivisionError

    network = SharedNetwork()
    rest = network.bind(V4)
    user = network.share(rest.address, broken)
    rest.send([b"one"], rest.address)
    assert await answer(rest) == b"one"
    assert "a classifier of datagrams failed" in caplog.text
    user.close()
    rest.close()


async def test_users_come_and_go_and_the_last_closes_the_socket() -> None:
    network = SharedNetwork()
    first = network.share(V4, is_stun)
    rest = network.bind(first.address)
    assert rest.address == first.address
    with pytest.raises(OSError, match="in use"):
        network.bind(first.address)

    async def wait(sock: DatagramSocket) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await read(sock)

    async def read(sock: DatagramSocket) -> None:
        while True:
            await sock.wait_readable()
            got.extend(datagram for datagram, _ in sock.receive_nowait())

    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait, rest)
        await trio.testing.wait_all_tasks_blocked()
        first.close()  # it waits for the kernel; the other takes over
        first.close()
        await trio.testing.wait_all_tasks_blocked()
        rest.send([b"\x01 has no other user"], rest.address)
        nursery.cancel_scope.deadline = trio.current_time() + 5
        await trio.testing.wait_all_tasks_blocked()
        rest.close()
    assert got == [b"\x01 has no other user"]
    with pytest.raises(trio.ClosedResourceError):
        rest.receive_nowait()
    again = network.bind(rest.address)
    again.close()


async def test_dials_are_not_harmed_by_another_user_of_their_socket() -> None:
    network = SharedNetwork()
    dialer, server = QuicTransport(Identity.generate(), network=network), QuicTransport(Identity.generate())
    async with await dialer.listen(ANYWHERE) as own, await server.listen(ANYWHERE) as listener:
        other = network.share(own._endpoint.address, is_stun)
        stun = StunResponder(other)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stun.run)
            near, far = await join(dialer, listener)
            assert far.info.remote_address == own.address, "it dials from where it listens"
            nursery.cancel_scope.cancel()
        for connection in (near, far):
            connection.abandon()
        other.close()
