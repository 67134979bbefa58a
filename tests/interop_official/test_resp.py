"""The Redis client against scripted servers: exact commands, replies in any pieces, and hostile replies."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from interop.official.resp import MAX_BULK, MAX_ITEMS, MAX_LINE, Redis, RedisError, Reply, encode, open_redis


def connected(replies: bytes, *, piece: int = 1 << 20) -> tuple[Redis, trio.testing.MemorySendStream]:
    """Return a client of a server that has sent `replies` in pieces and closed, and what the client sends."""
    sends, receives = trio.testing.MemorySendStream(), trio.testing.MemoryReceiveStream()
    receives.put_data(replies)
    receives.put_eof()
    stream = trio.StapledStream(sends, Chopped(receives, piece))
    return Redis(stream), sends


class Chopped(trio.abc.ReceiveStream):
    """Gives what a stream holds in small pieces."""

    def __init__(self, stream: trio.abc.ReceiveStream, piece: int) -> None:
        self._stream = stream
        self._piece = piece

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(min(self._piece, max_bytes or self._piece))

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_commands_are_arrays_of_bulk_strings() -> None:
    redis, sent = connected(b":1\r\n:1\r\n*2\r\n$1\r\nk\r\n$2\r\nab\r\n+OK\r\n$1\r\nv\r\n$-1\r\n")
    await redis.delete("k")
    await redis.push("k", "é")
    assert await redis.pop("k") == "ab"
    await redis.set("k", "v")
    assert await redis.get("k") == "v"
    assert await redis.get("k") is None
    assert sent.get_data_nowait() == (
        b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"
        b"*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$2\r\n\xc3\xa9\r\n"
        b"*3\r\n$5\r\nBLPOP\r\n$1\r\nk\r\n$1\r\n0\r\n"
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
    )


ITEMS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=200))
REPLIES: st.SearchStrategy[Reply] = st.one_of(ITEMS, st.lists(ITEMS, max_size=MAX_ITEMS))


def encoded(reply: Reply) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(encoded(item) for item in reply)


@given(REPLIES, st.integers(1, 40))
def test_replies_are_read_in_any_pieces(reply: Reply, piece: int) -> None:
    async def ask() -> Reply:
        redis, _ = connected(encoded(reply), piece=piece)
        return await redis.command("X")

    assert trio.run(ask) == reply


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_a_command_reads_back_as_its_words(words: list[str]) -> None:
    async def ask() -> Reply:
        redis, _ = connected(encode(tuple(words)))
        return await redis.command("X")

    assert trio.run(ask) == [word.encode() for word in words]


@given(st.binary(max_size=300))
def test_no_answer_does_more_than_raise_a_redis_error(noise: bytes) -> None:
    async def ask() -> None:
        redis, _ = connected(noise)
        await redis.command("X")

    with contextlib.suppress(RedisError):
        trio.run(ask)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "closed"),
        (b"$5\r\nab", "closed"),
        (b"-WRONGTYPE no list\r\n", "WRONGTYPE no list"),
        (b"$%d\r\n" % (MAX_BULK + 1), "at most"),
        (b"$-2\r\n", "at most"),
        (b"*%d\r\n" % (MAX_ITEMS + 1), "at most"),
        (b"*1\r\n*1\r\n*1\r\n", "begins with"),
        (b"$1\r\nabc", "longer"),
        (b":1e3\r\n", "no number"),
        (b":" + b"9" * 30 + b"\r\n", "no number"),
        (b"+" + b"a" * (MAX_LINE + 1), "a line of more"),
        (b"+" + b"a" * (MAX_LINE + 1) + b"\r\n", "a line of more"),
        (b"HTTP/1.1 400\r\n", "begins with"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 20])
async def test_hostile_replies_are_refused(reply: bytes, reason: str, piece: int) -> None:
    redis, _ = connected(reply, piece=piece)
    with pytest.raises(RedisError, match=reason):
        await redis.command("X")


@pytest.mark.parametrize("reply", [b"*-1\r\n", b"+OK\r\n", b"*1\r\n$1\r\nk\r\n", b"*2\r\n$1\r\nk\r\n$1\r\n\xff\r\n"])
async def test_pop_takes_nothing_but_a_key_and_a_text(reply: bytes) -> None:
    redis, _ = connected(reply)
    with pytest.raises(RedisError):
        await redis.pop("k")


async def test_a_server_that_never_ends_its_line_costs_a_bounded_buffer() -> None:
    class Endless(trio.abc.ReceiveStream):
        given = 0

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            await trio.lowlevel.checkpoint()
            self.given += 512
            return b"a" * 512

        async def aclose(self) -> None:
            pass

    endless = Endless()
    with pytest.raises(RedisError, match="a line of more"):
        await Redis(trio.StapledStream(trio.testing.MemorySendStream(), endless)).command("X")
    assert endless.given <= MAX_LINE + 2 * 512


async def test_a_waiting_pop_can_be_cancelled() -> None:
    sends, receives = trio.testing.MemorySendStream(), trio.testing.MemoryReceiveStream()
    redis = Redis(trio.StapledStream(sends, receives))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(redis.pop, "k")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sends.get_data_nowait().startswith(b"*3\r\n$5\r\nBLPOP")


@pytest.mark.parametrize("address", ["", ":6379", "127.0.0.1:port"])
async def test_addresses_without_host_or_with_a_wrong_port_are_refused(address: str) -> None:
    with pytest.raises(ValueError):
        async with open_redis(address):
            pytest.fail("it opened")
