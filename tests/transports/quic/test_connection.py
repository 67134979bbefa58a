"""How connections live and end: silence, restarts, limits and windows, over a network in memory."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

from peerstack.stack.errors import ConnectionLost, StreamReset
from peerstack.stack.identity import Identity
from peerstack.stack.limits import WindowBudget
from peerstack.stack.testing import ConnectionEnd, check_transport
from peerstack.transports.quic import QuicConfig, QuicTransport

from .hosts import ANYWHERE, connected, inside, join
from .link import MemoryNetwork


@pytest.mark.parametrize(
    "network",
    [MemoryNetwork(), MemoryNetwork(latency=0.03, jitter=0.02), MemoryNetwork(latency=0.005, loss=0.02)],
    ids=["near", "far and out of order", "lossy"],
)
@pytest.mark.slow
async def test_the_suite_over_a_network_in_memory(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    await check_transport(lambda identity: QuicTransport(identity, network=network), ANYWHERE, settle=2.0)
    assert not network.sockets, "sockets are left open"


async def test_idle_connections_live_by_keepalives(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        passed = pair.network.passed
        await trio.sleep(300)
        assert not pair.near.closed
        assert not pair.far.closed
        assert 20 <= pair.network.passed - passed <= 200, "one ping and one answer each 15 s, not more"


async def test_a_peer_that_vanishes_is_lost_within_the_idle_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        pair.network.tap = lambda datagram, source, destination: None
        start = trio.current_time()
        with pytest.raises(ConnectionLost, match="nothing was heard"):
            await stream.receive_some()
        # A keepalive that is sent counts as activity once (RFC 9000, 10.1).
        assert trio.current_time() - start <= 46
        await pair.near_end.ended.wait()
        assert isinstance(pair.near_end.failure, ConnectionLost)


async def test_a_restarted_peer_says_that_it_has_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    network, identity = MemoryNetwork(), Identity.generate()
    dialer = QuicTransport(Identity.generate(), network=network)
    listener = await QuicTransport(identity, network=network).listen(ANYWHERE)
    near, far = await join(dialer, listener)
    # The process dies: its socket is gone, without a CONNECTION_CLOSE.
    network.tap = lambda datagram, source, destination: None
    far.abandon()
    await listener.aclose()
    network.tap = lambda datagram, source, destination: datagram
    async with await QuicTransport(identity, network=network).listen(listener.address) as again:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.accept)
            stream = await near.open_stream()
            await stream.send_all(b"are you there? " * 10)
            with pytest.raises(ConnectionLost, match="forgotten this connection"):
                await near.run()
            nursery.cancel_scope.cancel()


async def test_a_reset_with_another_token_is_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        source = (str(pair.near.info.remote_address.value_for_protocol("ip4")), 1001)
        for socket in list(pair.network.sockets.values()):
            socket.arrive(b"\x41" + bytes(40), source, trio.current_time())
        await trio.sleep(1)
        assert not pair.near.closed
        assert not pair.far.closed


async def test_opening_waits_while_the_peer_allows_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(far=QuicConfig(max_inbound_streams=3)) as pair:
        streams = [await pair.near.open_stream() for _ in range(3)]
        for stream in streams:
            await stream.send_all(b"x")
        with trio.move_on_after(5) as waiting:
            await pair.near.open_stream()
        assert waiting.cancelled_caught
        for stream in streams:
            await stream.aclose()
            await (await pair.far.accept_stream()).aclose()
        fourth = await pair.near.open_stream()
        await fourth.send_all(b"x")
        assert await (await pair.far.accept_stream()).receive_some() == b"x"


@pytest.mark.aioquic
async def test_unread_data_is_bounded_by_the_windows(autojump_clock: trio.testing.MockClock) -> None:
    config = QuicConfig(stream_window=100_000, connection_window=250_000)
    async with connected(far=config, near=QuicConfig(send_buffer=50_000)) as pair:
        streams = [await pair.near.open_stream() for _ in range(5)]

        async def fill(index: int) -> None:
            with trio.move_on_after(60):
                await streams[index].send_all(bytes(1_000_000))

        async with trio.open_nursery() as nursery:
            for index in range(5):
                nursery.start_soon(fill, index)
        held = [await pair.far.accept_stream() for _ in range(3)]
        await trio.sleep(1)
        kept = inside(pair.far)._flow._streams
        assert 200_000 < sum(sum(map(len, stream._chunks)) for stream in kept.values()) <= 250_000
        for stream in held:
            assert sum(map(len, kept[stream._id]._chunks)) <= 100_000


async def test_windows_grow_within_the_budget(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(latency=0.05)
    budget = WindowBudget(20_000_000)
    dialer = QuicTransport(Identity.generate(), QuicConfig(send_buffer=8_000_000), network=network)
    server = QuicTransport(Identity.generate(), network=network, memory=budget)
    async with await server.listen(ANYWHERE) as listener, trio.open_nursery() as nursery:
        near, far = await join(dialer, listener)
        nursery.start_soon(near.run)
        nursery.start_soon(far.run)
        stream = await near.open_stream()
        nursery.start_soon(stream.send_all, bytes(30_000_000))
        accepted = await far.accept_stream()
        received = 0
        while received < 30_000_000:
            received += len(await accepted.receive_some())
        assert 0 < budget.used <= 15_000_000
        await near.aclose()
        await far.aclose()
        assert budget.used == 0, "a closed connection keeps memory"


@pytest.mark.aioquic
async def test_unread_streams_leave_the_others_room_to_send(
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = QuicConfig(send_buffer=100_000, connection_send_buffer=300_000, least_send_buffer=10_000)
    async with connected(near=config, far=QuicConfig(stream_window=1000, connection_window=1_000_000)) as pair:
        stuck = [await pair.near.open_stream() for _ in range(6)]
        for stream in stuck:
            with trio.move_on_after(1):
                await stream.send_all(bytes(200_000))
        assert inside(pair.near)._send.queued() <= 300_000 + 100_000 + 6 * 10_000
        other = await pair.near.open_stream()
        with trio.fail_after(10):
            await other.send_all(b"through")
        for _ in range(6):
            await pair.far.accept_stream()
        assert await (await pair.far.accept_stream()).receive_some() == b"through"


async def test_the_last_data_of_closed_streams_arrives_before_the_close(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(MemoryNetwork(latency=0.02)) as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"last words" * 1000)
        await stream.aclose()
        await pair.near.aclose()
        accepted = await pair.far.accept_stream()
        received = bytearray()
        async for piece in accepted:
            received += piece
        assert received == b"last words" * 1000


async def test_an_orderly_close_ends_run_well_and_a_cancelled_one_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as pair:
        with trio.CancelScope() as scope:
            scope.cancel()
            await pair.near.aclose()
        await pair.far_end.ended.wait()
        await pair.near_end.ended.wait()
        assert pair.near_end.failure is None
        assert pair.far_end.failure is None
        with pytest.raises(trio.ClosedResourceError):
            await pair.near.run()


async def test_a_connection_runs_while_its_listener_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    """One waiting task reads for all: here none accepts, and the reader of another connection ends meanwhile."""
    async with connected() as pair:
        near, far = await join(pair.dialer, pair.listener)
        pair.nursery.start_soon(near.run)
        pair.nursery.start_soon(far.run)
        await pair.near.aclose()
        await pair.far_end.ended.wait()
        stream = await near.open_stream()
        await stream.send_all(b"still read")
        assert await (await far.accept_stream()).receive_some() == b"still read"


async def test_the_directions_of_a_stream_fail_apart(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"question")
        accepted = await pair.far.accept_stream()
        await accepted.receive_some()
        pair.far._engine.stop(pair.far._handle, accepted._id, 0x1002)
        pair.far._endpoint.flush()
        await trio.sleep(1)
        with pytest.raises(StreamReset, match=r"no longer read by the peer \(resource limit\)") as caught:
            await stream.send_all(b"more")
        assert caught.value.remote
        assert caught.value.code == 0x1002
        await accepted.send_all(b"answer")
        await accepted.send_eof()
        assert await stream.receive_some() == b"answer"
        assert await stream.receive_some() == b""
        assert pair.near.stream_count == 0, "a stream on which nothing can happen is still counted"


async def test_codes_of_resets_arrive(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        accepted = await pair.far.accept_stream()
        assert await accepted.receive_some() == b"x"
        stream.reset(77)
        await trio.sleep(1)
        for operation in (accepted.receive_some, lambda: accepted.send_all(b"x")):
            with pytest.raises(StreamReset) as caught:
                await operation()
            assert caught.value.code == 77
            assert caught.value.remote


@pytest.mark.aioquic
async def test_a_thousand_streams_leave_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:

        async def serve() -> None:
            while True:
                async with await pair.far.accept_stream() as accepted:
                    with suppress(StreamReset):
                        await accepted.receive_some()

        pair.nursery.start_soon(serve)
        for number in range(1000):
            stream = await pair.near.open_stream()
            await stream.send_all(b"x")
            if number % 2:
                stream.reset()
            else:
                await stream.aclose()
        await trio.sleep(5)
        for connection in (pair.near, pair.far):
            kept = inside(connection)
            assert connection.stream_count == 0
            assert len(kept._streams) <= 1  # aioquic forgets one when it sends next
            assert not kept._flow._streams
            assert not kept._send.blocked
            assert not kept._updates
            assert not connection._unread
            assert not connection._blocked


@pytest.mark.aioquic
@pytest.mark.parametrize("where", ["transport", "engine"])
async def test_a_bug_met_in_a_datagram_costs_the_connection_it_belongs_to(
    where: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One task reads for all connections of a socket, and for the listener."""

    def fail(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    async with connected() as pair:
        near, far = await join(pair.dialer, pair.listener)
        async with trio.open_nursery() as nursery:
            other = ConnectionEnd(near)
            for end in (other, ConnectionEnd(far)):
                nursery.start_soon(end.run)
            if where == "transport":
                monkeypatch.setattr(near, "handle", fail)
            else:
                monkeypatch.setattr(inside(near), "collect", fail)
            await (await far.open_stream()).send_all(b"x")
            await other.ended.wait()
            assert "a bug" in str(other.failure)
            assert "ZeroDivisionError" in (caplog.text if where == "transport" else str(other.failure))
            stream = await pair.far.open_stream()
            await stream.send_all(b"still here")
            assert await (await pair.near.accept_stream()).receive_some() == b"still here"
            nursery.cancel_scope.cancel()


@pytest.mark.aioquic
async def test_a_bug_met_in_a_datagram_of_no_connection_costs_none(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    async with connected() as pair:
        await pair.near.probe()
        monkeypatch.setattr(inside(pair.far)._routes, "_answer_unknown", fail)
        stranger = pair.network.bind(("127.0.0.1", 0))
        stranger.send([bytes([0x40]) + bytes(50)], pair.listener._endpoint.address)
        await trio.sleep(1)
        assert "ZeroDivisionError" in caplog.text
        await pair.near.probe()
        assert not pair.far.closed
