"""Yamux connections: who may open when, how they end and for what reason, and what time does to them."""

import pytest
import trio
import trio.testing

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, StreamReset
from peerstack.stack.limits import WindowBudget
from peerstack.stack.muxing.yamux import Config, GoAwayCode, Yamux, YamuxConnection
from peerstack.stack.muxing.yamux.wire import ACK, DATA, FIN, GO_AWAY, INITIAL_WINDOW, PING, RST, SYN, WINDOW_UPDATE
from peerstack.stack.testing import PlainChannel, memory_pipe_pair

from .cores import frame
from .raw import OUTBOUND, RawPeer, against_raw, connections, raises, stream_pair


async def open_many(peer: RawPeer, opened: list[int]) -> None:
    """Open streams for ever, each in a task of its own waiting its turn."""
    stream = await peer.connection.open_stream()
    await stream.send_all(b"x")
    opened.append(stream._id)


# ---- opening


@pytest.mark.parametrize("answer", [frame(WINDOW_UPDATE, ACK, 1), frame(DATA, ACK, 3, body=b"x"), frame(DATA, SYN, 2)])
async def test_the_first_answer_lets_all_go_who_wait_to_open(answer: bytes) -> None:
    async with against_raw(Config(early_streams=8), client=True) as peer, trio.open_nursery() as nursery:
        opened: list[int] = []
        for _ in range(50):
            nursery.start_soon(open_many, peer, opened)
        await trio.testing.wait_all_tasks_blocked()
        assert len(opened) == 8
        await peer.send(answer)
        assert len(opened) == 50


async def test_the_acknowledgement_backlog_is_kept() -> None:
    async with against_raw(Config(ack_backlog=3), client=True) as peer, trio.open_nursery() as nursery:
        opened: list[int] = []
        for _ in range(6):
            nursery.start_soon(open_many, peer, opened)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(opened) == [1, 3, 5]
        await peer.send(frame(WINDOW_UPDATE, ACK, 3))
        assert len(opened) == 4
        await peer.send(frame(WINDOW_UPDATE, RST, 1), frame(WINDOW_UPDATE, ACK | FIN, 5))
        assert len(opened) == 6


async def test_a_stream_that_ends_lets_the_next_one_open() -> None:
    async with against_raw(Config(max_outbound_streams=1), client=True) as peer, trio.open_nursery() as nursery:
        stream = await peer.connection.open_stream()
        opened: list[int] = []
        nursery.start_soon(open_many, peer, opened)
        await trio.testing.wait_all_tasks_blocked()
        assert opened == []
        stream.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert opened == [3]


async def test_one_who_gives_up_waiting_does_not_take_the_turn_of_others() -> None:
    async with against_raw(Config(early_streams=1), client=True) as peer, trio.open_nursery() as nursery:
        await open_many(peer, [])
        opened: list[int] = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as impatient:
                impatient.start_soon(open_many, peer, opened)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(open_many, peer, opened)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert opened == []
        await peer.send(frame(WINDOW_UPDATE, ACK, 1))
        assert opened == [3]


async def test_streams_opened_from_both_sides() -> None:
    async with connections() as (near, far):
        one, other = await stream_pair(near, far)
        two, another = await stream_pair(far, near)
        assert (one._id, other._id, two._id, another._id) == (1, 1, 2, 2)
        assert near.stream_count == far.stream_count == 2
        assert one.connection is near
        assert one.remote_peer == near.remote_peer


# ---- running


async def test_a_connection_runs_once() -> None:
    async with against_raw() as peer:
        await raises(trio.ClosedResourceError, peer.connection.run, "has run already")


async def test_a_connection_closed_before_it_ran_does_not_run() -> None:
    near, far = memory_pipe_pair()
    connection = Yamux().mux(PlainChannel(near), OUTBOUND)
    await connection.aclose()
    assert await far.receive_some() == frame(GO_AWAY)
    assert await far.receive_some() == b""
    await raises(trio.ClosedResourceError, connection.run)
    await raises(ConnectionLost, connection.open_stream)


async def test_statistics() -> None:
    async with against_raw() as peer:
        before = peer.connection.statistics()
        assert (before.streams, before.buffered_bytes, before.queued_bytes, before.rtt) == (0, 0, 0, None)
        stream = await peer.accepted(body=b"abc")
        await stream.send_all(b"x")
        await peer.send(frame(PING, ACK, 0, 1))
        after = peer.connection.statistics()
        assert (after.streams, after.buffered_bytes, after.queued_bytes) == (1, 3, 0)
        assert after.rtt is not None
        assert peer.connection.rtt == after.rtt


async def test_all_connections_of_a_muxer_share_its_memory() -> None:
    budget = WindowBudget(10)
    muxer = Yamux(Config(max_window_growth=4), memory=budget)
    connection = muxer.mux(PlainChannel(memory_pipe_pair()[0]), OUTBOUND)
    assert connection._core._budget.limit == 4
    assert connection._core._budget.reserve(3)
    assert budget.used == 3


# ---- ending


async def end_of(peer: RawPeer) -> BaseException | None:
    await peer.side.ended.wait()
    assert peer.connection.stream_count == 0
    await raises(ConnectionLost, peer.connection.open_stream)
    await raises(ConnectionLost, peer.connection.accept_stream)
    return peer.side.failure


async def test_a_normal_go_away_ends_well() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(GO_AWAY, 0, 0, GoAwayCode.NORMAL))
        assert await end_of(peer) is None
        await raises(ConnectionLost, stream.receive_some, "the peer closed the connection$")


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "protocol error"), (2, "internal error"), (0x1007, "shutdown"), (77, "code 0x4d"), (2**32 - 1, "0xffffffff")],
)
async def test_any_other_go_away_is_an_error_and_says_why(code: int, words: str) -> None:
    async with against_raw() as peer:
        await peer.send(frame(GO_AWAY, 0, 0, code))
        failure = await end_of(peer)
        assert isinstance(failure, ConnectionLost)
        assert words in str(failure)


async def test_the_end_of_the_wire_without_streams_is_an_orderly_close() -> None:
    async with against_raw() as peer:
        await peer.pipe.send_eof()
        assert await end_of(peer) is None


async def test_the_end_of_the_wire_with_streams_is_not() -> None:
    async with against_raw() as peer:
        await peer.accepted()
        await peer.pipe.send_eof()
        failure = await end_of(peer)
        assert isinstance(failure, ConnectionLost)
        assert "while streams were open" in str(failure)


async def test_a_peer_that_breaks_the_rules_is_told_so() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(DATA, SYN, 1))
        failure = await end_of(peer)
        assert isinstance(failure, RemoteProtocolError)
        assert peer.received() == [(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR)]
        await raises(ConnectionLost, stream.receive_some, "open already")


async def test_the_peer_s_fault_is_named_even_if_it_is_gone_already() -> None:
    async with against_raw() as peer:
        await peer.pipe.send_all(frame(DATA, 0, 0) + frame(9, 0, 0))
        await peer.pipe.aclose()
        assert isinstance(await end_of(peer), RemoteProtocolError)


@pytest.mark.parametrize("sending", [False, True])
async def test_a_wire_that_breaks(sending: bool) -> None:
    async with against_raw(capacity=1000) as peer:
        stream = await peer.accepted()
        if sending:
            await stream.send_all(bytes(5000))
        peer.pipe.abort()
        failure = await end_of(peer)
        assert isinstance(failure, ConnectionLost)
        assert "the connection broke" in str(failure)


async def test_what_came_before_the_wire_broke_under_a_sender_can_be_read() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.pipe.send_all(frame(DATA, 0, 1, body=b"the answer"))
        await peer.pipe.aclose()  # with what we sent unread, so that our next write fails
        await raises(ConnectionLost, lambda: stream.send_all(b"x"), "the connection broke")
        assert peer.connection.closed
        assert await stream.receive_some() == b"the answer"
        assert isinstance(await end_of(peer), ConnectionLost)
        await raises(ConnectionLost, stream.receive_some, "the connection broke")


async def test_what_came_before_the_peer_broke_the_protocol_can_be_read() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(DATA, 0, 1, body=b"the answer") + b"\xff" * 12)
        assert await stream.receive_some() == b"the answer"
        assert isinstance(await end_of(peer), RemoteProtocolError)


async def test_nothing_is_taken_to_be_sent_once_we_are_closing() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.connection.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert not peer.side.ended.is_set()
            for operation in lambda: stream.send_all(b"x"), stream.send_eof, stream.wait_send_all_might_not_block:
                await raises(ConnectionLost, operation, "this side closed the connection")
            await raises(ConnectionLost, peer.connection.open_stream, "this side closed the connection")
            await peer.pipe.aclose()


async def test_a_wire_that_breaks_under_a_sender() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        peer.pipe.abort()
        await raises(ConnectionLost, lambda: stream.send_all(b"x"), "the connection broke")
        assert isinstance(await end_of(peer), ConnectionLost)
        await raises(ConnectionLost, lambda: stream.send_all(b"x"), "the connection broke")


async def test_after_our_go_away_the_peer_may_break_the_wire() -> None:
    async with against_raw() as peer:
        await peer.accepted()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.connection.aclose)
            await trio.testing.wait_all_tasks_blocked()
            peer.pipe.abort()
        assert await end_of(peer) is None


async def test_after_our_go_away_nothing_opens() -> None:
    async with against_raw(Config(early_streams=1)) as peer:
        await open_many(peer, [])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises, ConnectionLost, peer.connection.open_stream)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(peer.connection.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert peer.connection.closed
            assert not peer.side.ended.is_set()
            await raises(ConnectionLost, peer.connection.open_stream)
            await peer.pipe.aclose()


async def test_closing_with_data_under_way_wakes_every_waiter() -> None:
    async with connections(capacity=1000) as (near, far):
        stream, accepted = await stream_pair(near, far)
        async with trio.open_nursery() as nursery:
            for operation in (
                lambda: stream.send_all(bytes(10_000_000)),
                lambda: accepted.send_all(bytes(10_000_000)),
                near.accept_stream,
                far.accept_stream,
            ):
                nursery.start_soon(raises, ConnectionLost, operation)
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()
        await near.aclose()
        await far.aclose()


async def test_streams_that_wait_to_be_accepted_can_still_be_read() -> None:
    async with against_raw() as peer:
        await peer.send(frame(DATA, SYN | FIN, 1, body=b"one way"), frame(GO_AWAY))
        stream = await peer.connection.accept_stream()
        assert await stream.receive_some() == b"one way"
        assert await stream.receive_some() == b""
        await raises(ConnectionLost, peer.connection.accept_stream)


async def test_after_our_go_away_the_wire_may_end_inside_a_frame_of_the_channel_below() -> None:
    class Channel(PlainChannel):
        async def read(self) -> list[bytes]:
            if not await super().read():
                raise ConnectionLost("the connection ended inside a frame")
            return []

    for leaving in (True, False):
        near, far = memory_pipe_pair()
        connection = Yamux().mux(Channel(near), OUTBOUND)
        async with trio.open_nursery() as nursery:
            if leaving:
                nursery.start_soon(connection.run)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(connection.aclose)
            else:
                nursery.start_soon(raises, ConnectionLost, connection.run, "inside a frame")
            await trio.testing.wait_all_tasks_blocked()
            await far.send_eof()


async def test_bytes_that_the_channel_below_cannot_open_are_a_protocol_error() -> None:
    near, far = memory_pipe_pair()

    class Channel(PlainChannel):
        async def read(self) -> list[bytes]:
            await super().read()
            raise RemoteProtocolError("this does not decrypt")

    connection = Yamux().mux(Channel(near), OUTBOUND)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises, RemoteProtocolError, connection.run, "does not decrypt")
        await far.send_all(b"garbage")
        assert await far.receive_some() == frame(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR)


# ---- time


async def test_a_peer_that_falls_silent_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with against_raw(Config(keepalive_interval=30, keepalive_timeout=10)) as peer:
        stream = await peer.accepted()
        started = trio.current_time()
        await raises(ConnectionLost, stream.receive_some, "silent for 40 s")
        assert trio.current_time() - started == pytest.approx(40)
        assert isinstance(await end_of(peer), ConnectionLost)


async def test_the_first_ping_has_its_timeout_too(autojump_clock: trio.testing.MockClock) -> None:
    # It goes with the first data, long before the deadline that was the next one until then.
    async with against_raw(Config(keepalive_interval=30, keepalive_timeout=10)) as peer:
        stream = await peer.accepted()
        await trio.sleep(5)
        await stream.send_all(b"x")
        await raises(ConnectionLost, stream.receive_some, "silent for 15 s")
        assert trio.current_time() == pytest.approx(15)


async def test_peers_that_answer_stay_connected_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async with connections() as (near, far):
        stream, accepted = await stream_pair(near, far)
        await trio.sleep(3600)
        await stream.send_all(b"still here")
        assert await accepted.receive_some() == b"still here"
        assert near.rtt == far.rtt == 0.0


async def test_a_half_that_the_peer_leaves_open_is_reset_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with connections(Config(close_timeout=7, keepalive_interval=100)) as (near, far):
        stream, accepted = await stream_pair(near, far)
        await trio.sleep(3)
        await stream.aclose()
        assert await accepted.receive_some() == b""
        started = trio.current_time()

        async def drip() -> None:
            while True:
                await accepted.send_all(b"x")
                await trio.sleep(0.1)

        with pytest.raises(StreamReset) as caught:
            await drip()
        assert caught.value.code == StreamCode.GARBAGE_COLLECTED
        assert 7 <= trio.current_time() - started < 7.2
        assert near.stream_count == far.stream_count == 0


async def test_an_outbound_connection_is_the_client() -> None:
    async with against_raw(client=True) as peer:
        stream = await peer.connection.open_stream()
        await stream.send_all(b"x")
        assert peer.received() == [(DATA, SYN, 1, 1)]
        assert isinstance(peer.connection, YamuxConnection)
    async with against_raw() as peer:
        stream = await peer.connection.open_stream()
        await stream.send_eof()
        assert peer.received() == [(DATA, SYN | FIN, 2, 0)]


async def test_a_channel_that_cannot_end_one_direction_is_closed_all_the_same() -> None:
    near, far = memory_pipe_pair()

    class Channel(PlainChannel):
        async def send_eof(self) -> None:
            raise LocalProtocolError("not this one")

    connection = Yamux().mux(Channel(near), OUTBOUND)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(connection.aclose)
        assert await far.receive_some() == frame(GO_AWAY)
        await far.aclose()


async def test_a_large_send_goes_in_frames_that_no_peer_refuses() -> None:
    async with against_raw(capacity=8 * INITIAL_WINDOW) as peer:
        stream = await peer.accepted()
        await peer.send(frame(WINDOW_UPDATE, 0, 1, 16 * INITIAL_WINDOW))
        await stream.send_all(bytes(5 * INITIAL_WINDOW // 2))
        lengths = [length for *_, length in peer.received()]
        assert lengths == [INITIAL_WINDOW, INITIAL_WINDOW, INITIAL_WINDOW // 2]


async def test_a_stream_over_a_window_waits_for_its_reader() -> None:
    async with connections() as (near, far):
        stream, accepted = await stream_pair(near, far)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(3 * INITIAL_WINDOW))
            await trio.testing.wait_all_tasks_blocked()
            assert far.statistics().buffered_bytes == INITIAL_WINDOW - 1
            got = 0
            while got < 3 * INITIAL_WINDOW:
                got += len(await accepted.receive_some())
                assert far.statistics().buffered_bytes <= INITIAL_WINDOW
