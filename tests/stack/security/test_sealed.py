"""What Noise and TLS share: the queue sends nothing twice, whichever task flushes, and a buffer has one borrower."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Pipe
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.net.sockets import SocketPipe
from peerstack.stack.security import sealed
from peerstack.stack.security.tls.channel import TlsChannel

from .tls.parties import ONE, OTHER, keys

NO_RECORD = b"\x15\x03\x03\x00\x02\x02\x28"


def channel_over(pipe: Pipe) -> TlsChannel:
    return TlsChannel(pipe, keys(ONE), keys(OTHER))


def channel_and_pipe(capacity: int) -> tuple[TlsChannel, MemoryPipe]:
    near, far = memory_pipe_pair(capacity)
    return channel_over(near), far


async def received(pipe: Pipe) -> bytes:
    """Read what a sender of keys ONE sends, to its end."""
    receiver = TlsChannel(pipe, keys(OTHER), keys(ONE))
    data = b""
    while pieces := await receiver.read():
        data += b"".join(pieces)
    return data


async def test_pushing_while_another_task_flushes_sends_nothing_twice() -> None:
    near, far = (SocketPipe(end) for end in socket.socketpair())
    channel = channel_over(near)
    data = bytes(range(256)) * 8000
    channel.write([data])
    async with near, far, trio.open_nursery() as nursery:

        async def flush() -> None:
            await channel.flush()
            await channel.send_eof()

        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked()
        taken = far.socket.recv(1 << 20)  # there is room again, but the task that flushes does not know yet
        channel.flush_nowait()
        far.unread(taken)
        with trio.fail_after(5):
            assert await received(far) == data


async def test_a_bad_record_is_told_from_while_a_task_waits_to_send() -> None:
    channel, far = channel_and_pipe(10)
    channel.write([b"x" * 100])
    channel.flush_nowait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.wait_send_all_might_not_block)
        await trio.testing.wait_all_tasks_blocked()
        far.send_nowait(NO_RECORD)
        with pytest.raises(RemoteProtocolError, match="not a TLS record"):
            await channel.read()
        nursery.cancel_scope.cancel()


class SlowToEnd(MemoryPipe):
    """Has its end wait for room, as a WebSocket has, and lets no task send meanwhile."""

    async def send_eof(self) -> None:
        with self._sending:
            await trio.sleep_forever()


async def test_a_bad_record_is_told_from_while_the_end_is_sent() -> None:
    near, far = memory_pipe_pair()
    channel = channel_over(SlowToEnd(near.incoming, near.outgoing))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.send_eof)
        await trio.testing.wait_all_tasks_blocked()
        far.send_nowait(NO_RECORD)
        with pytest.raises(RemoteProtocolError, match="not a TLS record"):
            await channel.read()
        nursery.cancel_scope.cancel()


async def test_an_end_that_comes_amid_a_flush_seals_nothing() -> None:
    channel, _ = channel_and_pipe(10)
    channel.write([b"x" * 100])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.flush)
        await trio.testing.wait_all_tasks_blocked()
        queued = channel.queued
        with pytest.raises(trio.BusyResourceError):
            await channel.send_eof()
        assert channel.queued == queued
        nursery.cancel_scope.cancel()


class TakenMeanwhile(list[object]):
    """A pool whose last buffer another thread takes just after it was seen."""

    def __len__(self) -> int:
        return 1


async def test_threads_may_race_for_the_last_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_free_segments", TakenMeanwhile())
    monkeypatch.setattr(sealed, "_free_buffers", TakenMeanwhile())
    assert len(sealed.borrow_buffer()) == sealed.RECEIVE_SIZE
    channel, pipe = channel_and_pipe(1000)
    channel.write([b"data"])
    await channel.send_eof()
    assert await received(pipe) == b"data"
