"""Yamux streams as trio streams: trio's own suite, what a reset or a lost connection leaves, and what wakes whom."""

import pytest
import trio
import trio.testing

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import ConnectionLost, StreamReset
from peerstack.stack.muxing.yamux import Config, YamuxStream
from peerstack.stack.muxing.yamux.connection import HIGH_WATER
from peerstack.stack.muxing.yamux.wire import ACK, DATA, FIN, GO_AWAY, INITIAL_WINDOW, RST, SYN, WINDOW_UPDATE

from .cores import frame
from .raw import RawPeer, against_raw, connections, raises, stream_pair


async def test_it_is_a_proper_half_closeable_stream_when_the_window_is_empty() -> None:
    async with connections() as (near, far):

        async def make() -> tuple[YamuxStream, YamuxStream]:
            return await stream_pair(near, far)

        async def make_clogged() -> tuple[YamuxStream, YamuxStream]:
            pair = await make()
            for stream in pair:
                await stream.send_all(bytes(near._core.send_credit(stream._id) or far._core.send_credit(stream._id)))
                await trio.testing.wait_all_tasks_blocked()
            return pair

        await trio.testing.check_half_closeable_stream(make, make_clogged)


async def clog_wire(peer: RawPeer) -> None:
    """Fill the send queue with data of other streams, which the peer does not read."""
    for number in range(3):
        await (await peer.accepted(101 + 2 * number)).send_all(bytes(INITIAL_WINDOW))
    assert peer.connection.congested


async def test_senders_wait_when_the_wire_is_full() -> None:
    async with against_raw(capacity=1000) as peer:
        streams = [await peer.accepted(1 + 2 * number) for number in range(2)]
        await clog_wire(peer)
        assert peer.connection.statistics().queued_bytes >= HIGH_WATER
        sent = trio.Event()

        async def send() -> None:
            await streams[0].send_all(b"x")
            sent.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(streams[1].wait_send_all_might_not_block)
            await trio.testing.wait_all_tasks_blocked()
            assert not sent.is_set()
            while not sent.is_set():
                peer.received()
                await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("way", ["aclose", "reset", "peer"])
async def test_the_end_of_a_stream_wakes_its_sender_while_the_wire_is_full(way: str) -> None:
    async with against_raw(capacity=1000) as peer:
        stream = await peer.accepted(5)
        await clog_wire(peer)
        async with trio.open_nursery() as nursery:
            error = trio.ClosedResourceError if way == "aclose" else StreamReset
            nursery.start_soon(raises, error, lambda: stream.send_all(b"x"))
            await trio.testing.wait_all_tasks_blocked()
            if way == "aclose":
                await stream.aclose()
            elif way == "reset":
                stream.reset()
            else:
                await peer.send(frame(WINDOW_UPDATE, RST, 5))


@pytest.mark.parametrize("way", ["aclose", "reset", "peer"])
async def test_the_end_of_a_stream_wakes_its_sender_while_the_window_is_empty(way: str) -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await stream.send_all(bytes(INITIAL_WINDOW))
        async with trio.open_nursery() as nursery:
            error = trio.ClosedResourceError if way == "aclose" else StreamReset
            nursery.start_soon(raises, error, lambda: stream.send_all(b"x"))
            nursery.start_soon(raises, error, stream.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            if way == "aclose":
                await stream.aclose()
            elif way == "reset":
                stream.reset()
            else:
                await peer.send(frame(DATA, RST, 1))


async def test_data_after_the_end_wakes_a_sender_that_would_wait_for_ever() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(DATA, FIN, 1))
        await stream.send_all(bytes(INITIAL_WINDOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises, StreamReset, lambda: stream.send_all(b"x"), "by a limit of ours")
            await trio.testing.wait_all_tasks_blocked()
            await peer.send(frame(DATA, 0, 1, body=b"more"))
        await raises(StreamReset, stream.receive_some)


async def test_one_task_at_a_time_in_each_direction() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await stream.send_all(bytes(INITIAL_WINDOW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"x")
            nursery.start_soon(stream.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            for operation in (
                lambda: stream.send_all(b"y"),
                stream.wait_send_all_might_not_block,
                stream.send_eof,
                stream.receive_some,
            ):
                await raises(trio.BusyResourceError, operation)
            nursery.cancel_scope.cancel()


async def test_small_reads_of_a_large_piece_do_not_copy_the_rest_of_it() -> None:
    async with connections(capacity=1024 * 1024) as (near, far):
        stream, accepted = await stream_pair(near, far)
        large = bytes(range(250)) * 250
        await stream.send_all(large)
        await trio.testing.wait_all_tasks_blocked()
        piece = accepted._chunks[0]
        got = b"".join([await accepted.receive_some(100) for _ in range(3)])
        assert isinstance(rest := accepted._chunks[0], memoryview)
        assert rest.obj is piece
        accepted.unread(b"again")
        got += (await accepted.receive_some())[5:]
        assert type(got) is bytes
        while len(got) < len(large):
            got += await accepted.receive_some(7000)
        assert got == large


async def test_a_large_piece_is_handed_on_as_it_is_and_small_ones_are_joined() -> None:
    async with connections(capacity=1024 * 1024) as (near, far):
        stream, accepted = await stream_pair(near, far)
        large = bytes(65_000)
        await stream.send_all(large)
        await stream.send_all(b"a" * 10)
        await stream.send_all(b"b" * 10)
        await trio.testing.wait_all_tasks_blocked()
        pieces = list(accepted._chunks)
        got = [await accepted.receive_some() for _ in range(2)]
        assert sum(map(len, got)) == 65_020
        assert got[0] is pieces[0]
        assert got[1].endswith(b"a" * 10 + b"b" * 10)


async def test_joining_stops_at_a_bound() -> None:
    async with connections(capacity=1024 * 1024) as (near, far):
        stream, accepted = await stream_pair(near, far)
        for _ in range(100):
            await stream.send_all(bytes(1000))
            await trio.testing.wait_all_tasks_blocked()
        sizes: list[int] = []
        while sum(sizes) < 100_000:
            sizes.append(len(await accepted.receive_some()))
        assert sizes == [65_000, 35_000]


async def test_at_most_so_many_bytes() -> None:
    async with connections() as (near, far):
        stream, accepted = await stream_pair(near, far)
        await stream.send_all(b"abcdef")
        assert [await accepted.receive_some(4), await accepted.receive_some(4)] == [b"abcd", b"ef"]


async def test_words_for_people() -> None:
    async with connections() as (near, far):
        stream, _ = await stream_pair(near, far)
        assert repr(stream) == f"<YamuxStream 1 not negotiated with {near.info.remote_peer}>"
        stream.protocol = "/echo/1.0.0"
        stream.reset()
        assert repr(stream).startswith("<YamuxStream closed /echo/1.0.0 with ")


# ---- resets


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "reset by the peer$"), (StreamCode.GATED, r"\(gated\)"), (0x77, r"\(code 0x77\)")],
)
async def test_a_reset_of_the_peer_says_its_code(code: int, words: str) -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(WINDOW_UPDATE, RST, 1, code))
        for operation in stream.receive_some, lambda: stream.send_all(b"x"):
            with pytest.raises(StreamReset, match=words) as caught:
                await operation()
            assert caught.value.remote
            assert caught.value.code == code
        await stream.send_eof()  # nothing is left to be promised
        await stream.aclose()
        await raises(trio.ClosedResourceError, stream.receive_some)
        assert peer.received() == []


async def test_what_came_before_the_peer_s_reset_can_be_read() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        data = frame(DATA, 0, 1, body=b"the whole answer")
        await peer.send(data, frame(DATA, RST, 1))
        await raises(StreamReset, lambda: stream.send_all(b"x"))
        await stream.send_eof()
        assert await stream.receive_some(3) == b"the"
        stream.unread(b"the")
        assert await stream.receive_some() == b"the whole answer"
        await raises(StreamReset, stream.receive_some)
        await raises(trio.ClosedResourceError, lambda: stream.send_all(b"x"))  # for its end was sent, as far as it goes


async def test_an_end_before_the_peer_s_reset_is_an_end() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(DATA, 0, 1, body=b"answer"), frame(DATA, FIN, 1), frame(DATA, RST, 1))
        assert [await stream.receive_some() for _ in range(3)] == [b"answer", b"", b""]
        await raises(StreamReset, lambda: stream.send_all(b"x"))


@pytest.mark.parametrize("way", ["read", "close", "reset", "end of the connection"])
async def test_what_a_reset_stream_holds_is_counted_until_it_is_read_or_dropped(way: str) -> None:
    async with against_raw() as peer:
        stream = await peer.accepted(body=bytes(100_000))
        await peer.send(frame(DATA, RST, 1))
        assert peer.connection.stream_count == 0
        assert peer.connection.statistics().buffered_bytes == 100_000
        if way == "read":
            await stream.receive_some(60_000)
            assert peer.connection.statistics().buffered_bytes == 40_000
            await stream.receive_some()
        elif way == "close":
            await stream.aclose()
        elif way == "reset":
            stream.reset()
        else:
            await peer.send(frame(GO_AWAY, 0, 0, 0))
            assert peer.connection.statistics().buffered_bytes == 100_000
            await stream.aclose()
        assert peer.connection.statistics().buffered_bytes == 0


async def test_streams_reset_with_unread_bytes_are_bounded_together() -> None:
    async with against_raw(Config(max_buffered=4 * INITIAL_WINDOW)) as peer:
        kept = []
        for number in range(8):
            stream = await peer.accepted(1 + 2 * number, bytes(INITIAL_WINDOW))
            await peer.send(frame(WINDOW_UPDATE, RST, 1 + 2 * number))
            kept.append(stream)
            assert peer.connection.statistics().buffered_bytes <= 4 * INITIAL_WINDOW
        assert sum(bool(stream._chunks) for stream in kept) == 4
        for stream in kept:
            await stream.aclose()
        assert peer.connection.statistics().buffered_bytes == 0


async def test_what_we_reset_is_dropped() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted(body=b"dropped")
        stream.reset()
        with pytest.raises(StreamReset, match="by this side"):
            await stream.receive_some()
        stream.unread(b"given back too late")
        assert peer.connection.statistics().buffered_bytes == 0


async def test_our_reset_carries_its_code_to_the_peer() -> None:
    async with connections() as (near, far):
        stream, accepted = await stream_pair(near, far)
        stream.reset(StreamCode.RATE_LIMITED)
        with pytest.raises(StreamReset, match="by this side") as ours:
            await stream.send_all(b"x")
        assert not ours.value.remote
        with pytest.raises(StreamReset, match="rate limited") as theirs:
            await accepted.receive_some()
        assert (theirs.value.remote, theirs.value.code) == (True, StreamCode.RATE_LIMITED)
        stream.reset()
        await stream.aclose()
        await raises(trio.ClosedResourceError, stream.receive_some)


async def test_a_stream_over_the_memory_limit_says_that_the_limit_is_ours() -> None:
    async with against_raw(Config(max_buffered=INITIAL_WINDOW)) as peer:
        first = await peer.accepted(1, bytes(200_000))
        second = await peer.accepted(3, bytes(100_000))
        with pytest.raises(StreamReset, match=r"by a limit of ours \(resource limit\)") as caught:
            await second.receive_some()
        assert not caught.value.remote
        assert sum([len(await first.receive_some()) for _ in range(len(first._chunks))]) == 200_000


# ---- what outlives the connection


async def test_bytes_and_the_end_can_be_read_after_an_orderly_close() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(DATA, FIN, 1, body=b"last words"), frame(GO_AWAY, 0, 0, 0))
        await peer.side.ended.wait()
        assert await stream.receive_some() == b"last words"
        assert await stream.receive_some() == b""
        await raises(ConnectionLost, lambda: stream.send_all(b"x"))


async def test_bytes_without_their_end_are_not_mistaken_for_all() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted()
        await peer.send(frame(DATA, 0, 1, body=b"first half"), frame(GO_AWAY, 0, 0, 0))
        assert await stream.receive_some() == b"first half"
        await raises(ConnectionLost, stream.receive_some, "the peer closed the connection")


async def test_a_stream_whose_id_the_peer_uses_again_leaves_the_new_one_alone() -> None:
    async with against_raw() as peer:
        old = await peer.accepted(1, b"old")
        await old.send_eof()
        await peer.send(frame(DATA, FIN, 1))
        new = await peer.accepted(1, bytes(INITIAL_WINDOW))
        await new.send_all(b"hello")
        peer.received()
        assert peer.connection.statistics().buffered_bytes == INITIAL_WINDOW + len(b"old")
        assert await old.receive_some() == b"old"
        old.unread(b"old")
        assert peer.connection.statistics().buffered_bytes == INITIAL_WINDOW + len(b"old")
        assert await old.receive_some() == b"old"
        assert peer.connection.statistics().buffered_bytes == INITIAL_WINDOW
        await old.aclose()
        old.reset()
        await new.send_all(b"hello")
        assert peer.received() == [(DATA, 0, 1, 5)]


async def test_closing_with_bytes_unread_frees_them_and_ends_our_half_only() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted(1, bytes(1000))
        await stream.aclose()
        assert peer.connection.statistics().buffered_bytes == 0
        assert peer.received() == [(DATA, ACK | FIN, 1, 0)]
        assert peer.connection.stream_count == 1
        await peer.send(frame(DATA, FIN, 1))
        assert peer.connection.stream_count == 0


async def test_an_answer_without_reading_is_followed_by_its_end_and_credit_for_the_rest_of_the_question() -> None:
    async with against_raw() as peer:
        stream = await peer.accepted(1, bytes(INITIAL_WINDOW))
        await stream.send_all(b"too large")
        await stream.aclose()
        # The peer may be waiting for credit before it comes to read: no reset, that would cost it the answer.
        assert peer.received() == [
            (DATA, ACK, 1, len(b"too large")),
            (DATA, FIN, 1, 0),
            (WINDOW_UPDATE, 0, 1, INITIAL_WINDOW),
        ]
        await peer.send(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW // 2)))
        assert peer.received() == [(WINDOW_UPDATE, 0, 1, INITIAL_WINDOW // 2)]
        assert peer.connection.statistics().buffered_bytes == 0
        await peer.send(frame(DATA, FIN, 1))
        assert peer.received() == []
        assert peer.connection.stream_count == 0


async def test_on_stream_closed_is_called_once_for_each_stream() -> None:
    async with against_raw() as peer:
        finished, reset, refused, broken = [await peer.accepted(1 + 2 * number) for number in range(4)]
        await peer.send(frame(DATA, FIN, 1), frame(WINDOW_UPDATE, RST, 3))
        await finished.aclose()
        refused.reset()
        assert peer.side.closed_streams == [reset, finished, refused]
        await peer.send(frame(GO_AWAY, 0, 0, 0))
        assert peer.side.closed_streams == [reset, finished, refused, broken]


async def test_a_stream_that_is_no_longer_accepted_costs_only_itself() -> None:
    async with against_raw(Config(accept_backlog=2)) as peer:
        await peer.send(*(frame(DATA, SYN, 1 + 2 * number, body=b"x") for number in range(4)))
        assert peer.received() == [(WINDOW_UPDATE, RST, stream_id, StreamCode.RESOURCE_LIMIT) for stream_id in (5, 7)]
        for _ in range(2):
            assert await (await peer.connection.accept_stream()).receive_some() == b"x"
        assert await (await peer.accepted(9, b"y")).receive_some() == b"y"
