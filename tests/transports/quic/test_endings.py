"""How streams and connections over QUIC end: who is told what, in which order, and what is counted meanwhile."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.stack.errors import ConnectionLost, StreamReset
from peerstack.stack.identity import Identity
from peerstack.stack.negotiation import optimistic_prefix
from peerstack.stack.swarm.optimistic import OptimisticStream
from peerstack.transports.quic import QuicConfig, QuicTransport
from peerstack.transports.quic.connection import MAX_UNREAD

from .hosts import ANYWHERE, Pair, connected, inside, join
from .link import MemoryNetwork

Clock = trio.testing.MockClock
SMALLEST_ANSWERED = 43
"""Bytes of a datagram to which quic-go answers with a stateless reset."""


def counted(pair: Pair) -> int:
    """Return the bytes that the near side has counted off its connection window."""
    return inside(pair.near)._flow.connection.consumed


@pytest.mark.aioquic
async def test_a_stream_closed_unread_lets_the_peer_answer_its_proposal(autojump_clock: Clock) -> None:
    # rust-libp2p drops what came with a proposal when it cannot send the answer.
    async with connected() as pair:
        stream = OptimisticStream(await pair.near.open_stream(), "/echo/1")
        await stream.send_all(b"fire and forget")
        await stream.aclose()
        accepted = await pair.far.accept_stream()
        await trio.sleep(1)
        echo = optimistic_prefix("/echo/1")  # an answer looks as the proposal does
        await accepted.send_all(echo)
        await trio.sleep(1)
        assert b"".join([data async for data in accepted]) == echo + b"fire and forget"
        await accepted.send_all(b"more")
        await accepted.aclose()
        await trio.sleep(1)
        assert (pair.near.stream_count, pair.far.stream_count) == (0, 0)
        assert not pair.near._unread
        assert counted(pair) == len(echo) + len(b"more")


@pytest.mark.aioquic
async def test_a_peer_that_sends_much_on_a_stream_closed_unread_is_stopped(autojump_clock: Clock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        await stream.aclose()
        accepted = await pair.far.accept_stream()
        await accepted.send_all(bytes(MAX_UNREAD))
        await trio.sleep(1)
        await accepted.send_all(b"x")
        await trio.sleep(1)
        with pytest.raises(StreamReset, match="no longer read by the peer"):
            await accepted.send_all(b"x")
        await accepted.aclose()
        await trio.sleep(1)
        assert counted(pair) == MAX_UNREAD + 1


async def test_a_peer_that_does_not_end_a_stream_closed_unread_is_stopped_after_a_while(autojump_clock: Clock) -> None:
    async with connected(near=QuicConfig(close_timeout=5)) as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        await stream.aclose()
        accepted = await pair.far.accept_stream()
        await trio.sleep(4.9)
        await accepted.send_all(b"x")
        await trio.sleep(0.2)
        with pytest.raises(StreamReset, match="garbage collected"):
            await accepted.send_all(b"x")


async def test_a_stream_closed_amid_reading_stops_the_peer_at_once(autojump_clock: Clock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"question")
        accepted = await pair.far.accept_stream()
        await accepted.send_all(b"answer")
        await stream.receive_some(1)
        await stream.aclose()
        await trio.sleep(1)
        with pytest.raises(StreamReset, match="no longer read by the peer"):
            await accepted.send_all(b"x")
        await accepted.send_eof()  # nothing is left to be promised
        assert [await accepted.receive_some(), await accepted.receive_some()] == [b"question", b""]


@pytest.mark.aioquic
async def test_what_was_handed_out_before_a_reset_is_counted_until_it_is_read(autojump_clock: Clock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        accepted = await pair.far.accept_stream()
        await accepted.send_all(bytes(100_000))
        await trio.sleep(1)
        accepted.reset()
        await trio.sleep(1)
        assert counted(pair) == 0
        got = 0
        while got < 100_000:
            got += len(await stream.receive_some())
            assert counted(pair) == got
        with pytest.raises(StreamReset):
            await stream.receive_some()
        await stream.aclose()
        assert counted(pair) == 100_000
        assert pair.near.stream_count == 0


@pytest.mark.aioquic
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_unread_data_of_a_reset_stream_is_counted_off_when_it_is_dropped(way: str, autojump_clock: Clock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        accepted = await pair.far.accept_stream()
        await accepted.send_all(bytes(100_000))
        await trio.sleep(1)
        accepted.reset()
        await trio.sleep(1)
        if way == "close":
            await stream.aclose()
        else:
            stream.reset()
        assert counted(pair) == 100_000
        assert pair.near.stream_count == 0


async def test_nothing_opens_and_nothing_is_taken_while_we_are_closing(autojump_clock: Clock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"the last words")
        accepted = await pair.far.accept_stream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.near.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert pair.near.closed
            assert not pair.near_end.ended.is_set()
            with pytest.raises(ConnectionLost, match="this side closed the connection"):
                await stream.send_all(b"x")
            with pytest.raises(ConnectionLost, match="this side closed the connection"):
                await pair.near.open_stream()
        assert await accepted.receive_some() == b"the last words"


async def test_a_peer_that_missed_our_close_gets_it_again(autojump_clock: Clock) -> None:
    async with connected() as pair:
        pair.nursery.start_soon(pair.listener.accept)
        pair.network.tap = lambda datagram, source, destination: None
        await pair.far.aclose()
        pair.network.tap = lambda datagram, source, destination: datagram
        stream = await pair.near.open_stream()
        await stream.send_all(bytes(100))
        await pair.near_end.ended.wait()
        assert pair.near_end.failure is None, "an orderly end is told as a failure"


# ---- a peer that was restarted


async def test_pings_are_large_enough_to_be_answered_by_a_stateless_reset(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await trio.sleep(1)
        sizes: list[int] = []

        def look(datagram: bytes, source: object, destination: object) -> bytes:
            sizes.append(len(datagram))
            return datagram

        pair.network.tap = look
        await trio.sleep(16)
        assert max(sizes) >= SMALLEST_ANSWERED
        sizes.clear()
        # What is lost is asked for by probes, which are PINGs, too.
        stream = await pair.near.open_stream()
        pair.network.tap = lambda datagram, source, destination: sizes.append(len(datagram))
        await stream.send_all(b"x")
        await trio.sleep(2)
        assert sizes[0] < SMALLEST_ANSWERED <= max(sizes)


@pytest.mark.parametrize("restarted", ["who listened", "who dialed"])
async def test_a_restarted_peer_is_noticed_at_the_next_keepalive(restarted: str, autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    identities = [Identity.generate(), Identity.generate()]
    # The one who dials listens as well, so that it comes back at the same address.
    transports = [QuicTransport(identity, network=network) for identity in identities]
    listeners = [await transport.listen(ANYWHERE) for transport in transports]
    near, far = await join(transports[0], listeners[1])
    async with trio.open_nursery() as nursery:
        living, dead = (near, far) if restarted == "who listened" else (far, near)
        number = 1 if restarted == "who listened" else 0

        async def survive() -> None:
            with pytest.raises(ConnectionLost, match="forgotten this connection"):
                await living.run()
            nursery.cancel_scope.cancel()

        nursery.start_soon(survive)
        running = trio.CancelScope()

        async def run_until_killed() -> None:
            with running:
                await dead.run()

        nursery.start_soon(run_until_killed)
        await trio.sleep(1)
        network.tap = lambda datagram, source, destination: None
        running.cancel()
        await trio.testing.wait_all_tasks_blocked()
        await listeners[number].aclose()
        network.tap = lambda datagram, source, destination: datagram
        again = await QuicTransport(identities[number], network=network).listen(listeners[number].address)
        nursery.start_soon(again.accept)
        await trio.sleep(16)
        raise AssertionError("the restart went unnoticed")


async def test_what_is_read_as_the_connection_ends_stays_in_order(autojump_clock: Clock) -> None:
    async with connected(near=QuicConfig(stream_window=150, idle_timeout=20)) as pair:
        stream = await pair.far.open_stream()
        await stream.send_all(bytes(range(100)))
        accepted = await pair.near.accept_stream()
        await trio.sleep(1)
        pair.network.tap = lambda *datagram: None
        autojump_clock.jump(60)
        # More than half of the window: the peer is to be told, and then it shows that time is up.
        received = await accepted.receive_some(80)
        received += await accepted.receive_some(80)
        assert received == bytes(range(100))
        with pytest.raises(ConnectionLost, match="too long"):
            await accepted.receive_some(80)


async def test_a_stream_is_done_with_when_the_end_came_before_this_side_ended(autojump_clock: Clock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"question")
        accepted = await pair.far.accept_stream()
        assert await accepted.receive_some() == b"question"
        await stream.send_eof()
        await trio.sleep(1)
        await accepted.send_eof()
        await trio.sleep(1)
        assert await stream.receive_some() == b""
        assert (pair.near.stream_count, pair.far.stream_count) == (0, 0)
