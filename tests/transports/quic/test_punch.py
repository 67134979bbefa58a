"""Dials in which the peer is the client: both sides dial, and each lets in only what it has sent something to."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import DialOptions, Direction
from peerstack.stack.background import open_background
from peerstack.stack.errors import ConnectionLost, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.report import Outcome, StageName
from peerstack.stack.testing.checks import cancel_at_each_step, transfer
from peerstack.transports.quic import QuicConfig, QuicConnection, QuicTransport
from peerstack.transports.quic.address import quic_address
from peerstack.transports.quic.engine_aioquic import AioquicEngine

from .hosts import ANYWHERE, accept, attempt
from .link import MemoryNetwork
from .raw import RawClient
from .test_handshake import bare_certificate

SERVE = DialOptions(direction=Direction.INBOUND, from_listener=True)
Clock = trio.testing.MockClock


class Nats(MemoryNetwork):
    """Every socket is behind a NAT of its own: it gets only what comes from where it has sent something."""

    def __init__(self) -> None:
        super().__init__(latency=0.05)
        self.opened: set[tuple[SocketAddress, SocketAddress]] = set()
        self.sizes: dict[SocketAddress, list[int]] = {}
        self.tap = self._pass

    def _pass(self, datagram: bytes, source: SocketAddress, destination: SocketAddress) -> bytes | None:
        self.opened.add((source, destination))
        self.sizes.setdefault(source, []).append(len(datagram))
        return datagram if (destination, source) in self.opened else None


@asynccontextmanager
async def listening(network: MemoryNetwork) -> AsyncIterator[tuple[QuicTransport, Multiaddr]]:
    """Run a transport that listens; a connection that its listener sees is a failure."""
    transport = QuicTransport(Identity.generate(), network=network)

    async def nothing_arrives(listener: object) -> None:
        await accept(listener)  # type: ignore[arg-type]
        raise AssertionError("the listener saw the connection of a dial")

    async with await transport.listen(ANYWHERE) as listener, open_background() as nursery:
        nursery.start_soon(nothing_arrives, listener)
        yield transport, listener.address


async def both(
    client: QuicTransport, clients: Multiaddr, server: QuicTransport, servers: Multiaddr
) -> tuple[QuicConnection, QuicConnection]:
    found: dict[str, QuicConnection] = {}

    async def dial() -> None:
        found["client"] = await client.dial(servers, server.local_peer, attempt())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        found["server"] = await server.dial(clients, client.local_peer, attempt(), SERVE)
    return found["client"], found["server"]


async def check_works(near: QuicConnection, far: QuicConnection) -> None:
    async with open_background() as nursery:
        nursery.start_soon(near.run)
        nursery.start_soon(far.run)
        for one, other in ((near, far), (far, near)):
            stream = await one.open_stream()
            await stream.send_all(b"x")
            accepted = await other.accept_stream()
            assert await accepted.receive_some() == b"x"
            await transfer(stream, accepted, bytes(100_000))
            await transfer(accepted, stream, bytes(100_000))
        await near.aclose()
        await far.aclose()


async def test_two_hosts_behind_nats_get_one_connection(autojump_clock: Clock) -> None:
    network = Nats()
    async with listening(network) as (one, ones), listening(network) as (other, others):
        near, far = await both(one, ones, other, others)
        assert (near.info.direction, far.info.direction) == (Direction.OUTBOUND, Direction.INBOUND)
        assert (near.info.remote_peer, far.info.remote_peer) == (other.local_peer, one.local_peer)
        assert (near.info.remote_address, far.info.remote_address) == (others, ones)
        assert (near.info.local_address, far.info.local_address) == (ones, others)
        await check_works(near, far)
    assert not network.sockets


async def test_without_the_noise_nothing_comes_through(autojump_clock: Clock) -> None:
    network = Nats()
    async with listening(network) as (one, _), listening(network) as (_, others):
        with pytest.raises(trio.TooSlowError):
            await one.dial(others, None, attempt())


async def test_the_noise_is_small_and_now_and_then(autojump_clock: Clock) -> None:
    network = Nats()
    record = attempt()
    async with listening(network) as (one, _):
        with pytest.raises(trio.TooSlowError, match="no answer within 5 s"):
            await one.dial(quic_address(("127.0.0.1", 9)), None, record, SERVE)
    (sizes,) = network.sizes.values()
    assert set(sizes) == {64}
    assert 25 <= len(sizes) <= 500
    assert record.failure is not None
    assert record.failure.name is StageName.CONNECT
    assert not network.sockets


async def test_a_host_that_does_not_listen_takes_the_one_connection_and_no_other(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    server = QuicTransport(Identity.generate(), QuicConfig(connect_timeout=60), network=network)
    other = QuicTransport(Identity.generate(), network=network)
    found: list[QuicConnection] = []
    async with listening(network) as (client, clients), trio.open_nursery() as nursery:

        async def serve() -> None:
            found.append(await server.dial(clients, client.local_peer, attempt(), SERVE))

        nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        (address,) = (quic_address(address) for address in network.sockets if quic_address(address) != clients)
        with pytest.raises(trio.TooSlowError):
            await other.dial(address, None, attempt())
        near = await client.dial(address, server.local_peer, attempt())
        await trio.sleep(0.1)
        await check_works(near, found[0])
    assert not network.sockets


async def test_others_still_arrive_at_the_listener(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    server = QuicTransport(Identity.generate(), network=network)
    async with await server.listen(ANYWHERE) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(server.dial, quic_address(("127.0.0.1", 9)), None, attempt(), SERVE)
        await trio.testing.wait_all_tasks_blocked()
        accepted: list[QuicConnection] = []

        async def take() -> None:
            accepted.append(await accept(listener))

        nursery.start_soon(take)
        near = await QuicTransport(Identity.generate(), network=network).dial(listener.address, None, attempt())
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    await check_works(near, accepted[0])


async def test_another_peer_than_the_expected_is_told_with_both_names(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with listening(network) as (one, ones), listening(network) as (other, others):
        expected, record = Identity.generate().peer_id, attempt()

        async def dial() -> None:
            connection = await one.dial(others, None, attempt())
            await connection.run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial)
            with pytest.raises(PeerIdMismatch) as caught:
                await other.dial(ones, expected, record, SERVE)
        assert (caught.value.expected, caught.value.actual) == (expected, one.local_peer)
        assert record.failure is not None
        assert (record.failure.name, record.failure.expected) == (StageName.SECURITY, str(expected))
    assert not network.sockets


async def test_both_stages_are_recorded(autojump_clock: Clock) -> None:
    network = MemoryNetwork(latency=0.05)
    async with listening(network) as (one, ones), listening(network) as (other, others), open_background() as nursery:
        record = attempt()
        nursery.start_soon(one.dial, others, None, attempt())
        connection = await other.dial(ones, one.local_peer, record, SERVE)
        assert [(stage.name, stage.outcome) for stage in record.stages] == [
            (StageName.CONNECT, Outcome.OK),
            (StageName.SECURITY, Outcome.OK),
        ]
        assert record.stages[1].found == str(one.local_peer)
        connection.abandon()


async def test_two_dials_do_not_wait_for_one_connection(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with listening(network) as (one, _), trio.open_nursery() as nursery:
        silent = quic_address(("127.0.0.1", 9))
        nursery.start_soon(one.dial, silent, None, attempt(), SERVE)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="another dial waits") as caught:
            await one.dial(silent, None, attempt(), SERVE)
        assert caught.value.errno == errno.EADDRINUSE
        nursery.cancel_scope.cancel()


async def test_without_a_route_the_dial_ends_at_once(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    transport, record = QuicTransport(Identity.generate(), network=network), attempt()
    socket = network.bind(("127.0.0.1", 0))
    socket.send = lambda datagrams, address: OSError(errno.ENETUNREACH, "no way")  # type: ignore[method-assign]
    network.bind = lambda address: socket  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no way"):
        await transport.dial(quic_address(("203.0.113.1", 4001)), None, record, SERVE)
    assert trio.current_time() == 0
    assert record.failure is not None
    assert record.failure.name is StageName.CONNECT


async def test_what_is_left_of_an_earlier_dial_is_not_waited_for(autojump_clock: Clock) -> None:
    network = MemoryNetwork(latency=0.05)
    async with listening(network) as (one, ones), listening(network) as (other, others), trio.open_nursery() as nursery:
        with trio.move_on_after(0.01):
            await one.dial(others, None, attempt())

        async def dial_again() -> None:
            await trio.sleep(0.2)
            await (await one.dial(others, None, attempt())).run()

        nursery.start_soon(dial_again)
        connection = await other.dial(ones, one.local_peer, attempt(), SERVE)
        assert trio.current_time() < 1
        connection.abandon()
    assert not network.sockets


async def test_of_two_connections_the_first_is_taken_and_the_other_ends(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with listening(network) as (one, ones), listening(network) as (other, others), trio.open_nursery() as nursery:
        dialed: list[QuicConnection] = []
        ended: list[QuicConnection] = []

        async def dial() -> None:
            connection = await one.dial(others, None, attempt())
            dialed.append(connection)
            await connection.run()
            ended.append(connection)

        nursery.start_soon(dial)
        nursery.start_soon(dial)
        taken = await other.dial(ones, one.local_peer, attempt(), SERVE)
        nursery.start_soon(taken.run)
        await trio.sleep(1)
        (left,) = (connection for connection in dialed if connection not in ended)
        await taken.aclose()
        await trio.sleep(1)
        assert left in ended
    assert not network.sockets


async def test_a_dial_that_is_cancelled_at_any_step_leaves_nothing(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with listening(network) as (client, clients):
        server = QuicTransport(Identity.generate(), network=network)

        async def meet() -> None:
            await trio.testing.wait_all_tasks_blocked()
            (address,) = (quic_address(address) for address in network.sockets if quic_address(address) != clients)
            with suppress(ConnectionLost):
                await (await client.dial(address, None, attempt())).run()

        async def serve() -> None:
            async with open_background() as nursery:
                nursery.start_soon(meet)
                (await server.dial(clients, client.local_peer, attempt(), SERVE)).abandon()

        async def nothing_is_left() -> None:
            assert [quic_address(address) for address in network.sockets] == [clients]

        assert await cancel_at_each_step(serve, nothing_is_left) > 4


async def test_a_flood_from_the_address_is_bounded(autojump_clock: Clock) -> None:
    """Each answer costs a handshake, and an attacker can send in the name of that address."""
    network = MemoryNetwork()
    answered: set[bytes] = set()
    transport, flooding = QuicTransport(Identity.generate(), network=network), network.bind(("127.0.0.1", 9))

    def note(datagram: bytes, source: object, destination: object) -> bytes:
        if destination == flooding.address and len(datagram) > 64 and datagram[0] & 0x80:
            ours = 6 + datagram[5]
            answered.add(datagram[ours + 1 : ours + 1 + datagram[ours]])
        return datagram

    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.dial, quic_address(flooding.address), None, attempt(), SERVE)
        await trio.testing.wait_all_tasks_blocked()
        (target,) = network.sockets.keys() - {flooding.address}
        network.tap = note
        for _ in range(24):
            client = RawClient()
            client.connect(target, trio.current_time())
            flooding.send([datagram for datagram, _ in client.datagrams_to_send(trio.current_time())], target)
        await trio.sleep(0.1)
        assert len(answered) == 8
        nursery.cancel_scope.cancel()
    flooding.close()
    assert not network.sockets


@pytest.mark.aioquic
async def test_a_client_with_a_false_certificate_is_told_at_once(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with listening(network) as (one, ones), listening(network) as (other, others), open_background() as nursery:
        (endpoint,) = one._endpoints
        assert isinstance(endpoint.engine, AioquicEngine)
        endpoint.engine._settings = replace(one._settings, credentials=bare_certificate())

        async def dial() -> None:
            with suppress(ConnectionLost, RemoteProtocolError):
                await (await one.dial(others, None, attempt())).run()

        nursery.start_soon(dial)
        record = attempt()
        with pytest.raises(RemoteProtocolError, match="no libp2p extension"):
            await other.dial(ones, None, record, SERVE)
        assert trio.current_time() < 1
        assert record.failure is not None
        assert record.failure.name is StageName.SECURITY


async def test_a_socket_that_breaks_ends_the_dial(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    transport = QuicTransport(Identity.generate(), network=network)
    async with trio.open_nursery() as nursery:

        async def dial() -> None:
            with pytest.raises(ConnectionLost, match="the socket broke"):
                await transport.dial(quic_address(("127.0.0.1", 9)), None, attempt(), SERVE)

        nursery.start_soon(dial)
        await trio.testing.wait_all_tasks_blocked()
        (socket,) = network.sockets.values()
        socket.close()


async def test_a_dial_that_is_cancelled_at_any_time_leaves_nothing(autojump_clock: Clock) -> None:
    outcomes = set()
    for step in range(0, 300, 10):
        network = MemoryNetwork(latency=0.05)
        server = QuicTransport(Identity.generate(), network=network)
        async with listening(network) as (client, clients):

            async def meet(
                network: MemoryNetwork = network, client: QuicTransport = client, clients: Multiaddr = clients
            ) -> None:
                await trio.testing.wait_all_tasks_blocked()
                (address,) = (quic_address(address) for address in network.sockets if quic_address(address) != clients)
                await (await client.dial(address, None, attempt())).run()

            with trio.move_on_after(step / 1000) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(meet)
                    connection = await server.dial(clients, client.local_peer, attempt(), SERVE)
                    connection.abandon()
                    nursery.cancel_scope.cancel()
            outcomes.add(scope.cancelled_caught)
        assert not network.sockets
    assert outcomes == {True, False}
