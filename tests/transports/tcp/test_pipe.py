"""A TCP socket as a pipe: trio's suite over loopback, bytes without waiting, and errors in trio's words."""

import socket
import struct

import pytest
import trio
import trio.testing

from peerstack.stack.testing.checks import clog
from peerstack.transports.tcp import TcpPipe

SETTLE = 0.05  # seconds; kernels delay their answers by up to 40 ms


def sockets() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def pair() -> tuple[TcpPipe, TcpPipe]:
    near, far = sockets()
    return TcpPipe(near), TcpPipe(far)


async def make_pair() -> tuple[TcpPipe, TcpPipe]:
    return pair()


async def make_clogged_pair() -> tuple[TcpPipe, TcpPipe]:
    near, far = pair()
    await clog(near, SETTLE)
    return near, far


async def test_it_is_a_proper_half_closeable_stream() -> None:
    await trio.testing.check_half_closeable_stream(make_pair, None)


async def test_it_waits_and_wakes_properly_when_it_is_clogged() -> None:
    # One way only: Linux never lets a TCP connection be clogged for good in both.
    await trio.testing.check_one_way_stream(make_pair, make_clogged_pair)


async def test_bytes_without_waiting() -> None:
    near, far = pair()
    async with near, far:
        buffer = bytearray(10)
        with pytest.raises(trio.WouldBlock):
            far.receive_nowait(memoryview(buffer))
        assert near.send_nowait(b"abc") == 3
        await far.wait_receive_might_not_block()
        assert far.receive_nowait(memoryview(buffer)[2:]) == 3
        assert bytes(buffer[:5]) == b"\0\0abc"
        await near.send_eof()
        await far.wait_receive_might_not_block()
        assert far.receive_nowait(memoryview(buffer)) == 0


async def test_a_full_socket_takes_nothing_and_then_a_part() -> None:
    near, far = pair()
    async with near, far:
        taken = await clog(near, SETTLE)
        assert near.send_nowait(b"x") == 0
        received = 0

        async def read() -> None:
            nonlocal received
            async for data in far:
                received += len(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            sent = await near.send_some(bytes(50 * 1024 * 1024))
            assert 0 < sent < 50 * 1024 * 1024
            await near.send_eof()
        assert received == taken + sent


async def test_a_cancelled_send_some_sends_nothing() -> None:
    near, far = pair()
    async with near, far:
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.send_some(b"lost")
        await near.send_some(b"kept")
        assert await far.receive_some() == b"kept"


async def test_unread_bytes_come_first_in_every_way_of_receiving() -> None:
    near, far = pair()
    async with near, far:
        await near.send_all(b"ghi")
        far.unread(b"def")
        far.unread(b"abc")
        await far.wait_receive_might_not_block()
        buffer = bytearray(2)
        assert far.receive_nowait(memoryview(buffer)) == 2
        assert buffer == b"ab"
        assert await far.receive_some(3) == b"cde"
        assert await far.receive_some() == b"f"
        assert await far.receive_some(2) == b"gh"
        assert await far.receive_some(2) == b"i"


async def test_one_task_at_a_time_in_each_direction() -> None:
    near, far = pair()
    async with near, far, trio.open_nursery() as nursery:
        await clog(near, SETTLE)
        nursery.start_soon(near.send_all, b"x")
        nursery.start_soon(near.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        for operation in (
            lambda: near.send_all(b"y"),
            near.wait_send_all_might_not_block,
            near.send_eof,
            near.receive_some,
        ):
            with pytest.raises(trio.BusyResourceError):
                await operation()
        nursery.cancel_scope.cancel()


async def test_a_connection_that_was_reset_is_broken_in_every_way() -> None:
    near, far = pair()
    async with near:
        far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await far.aclose()
        with pytest.raises(trio.BrokenResourceError, match="TCP: "):
            await near.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="TCP: "):
            await near.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError, match="TCP: "):
            near.send_nowait(b"x")
        with pytest.raises(trio.BrokenResourceError, match="TCP: "):
            await near.send_eof()


async def test_receiving_without_waiting_from_a_connection_that_was_reset() -> None:
    near, far = pair()
    async with near:
        far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await far.aclose()
        await near.wait_receive_might_not_block()
        with pytest.raises(trio.BrokenResourceError, match="TCP: "):
            near.receive_nowait(memoryview(bytearray(1)))


async def test_a_closed_pipe_is_closed_in_every_way() -> None:
    near, far = pair()
    async with far:
        await near.aclose()
        await near.aclose()
        for operation in (
            lambda: near.send_all(b"x"),
            lambda: near.send_some(b"x"),
            near.send_eof,
            near.wait_send_all_might_not_block,
            near.receive_some,
            near.wait_receive_might_not_block,
        ):
            with pytest.raises(trio.ClosedResourceError):
                await operation()
        with pytest.raises(trio.ClosedResourceError):
            near.send_nowait(b"x")
        with pytest.raises(trio.ClosedResourceError):
            near.receive_nowait(memoryview(bytearray(1)))


async def test_nothing_is_sent_after_the_end() -> None:
    near, far = pair()
    async with near, far:
        await near.send_eof()
        await near.send_eof()
        for operation in lambda: near.send_all(b"x"), lambda: near.send_some(b"x"), near.wait_send_all_might_not_block:
            with pytest.raises(trio.ClosedResourceError):
                await operation()
        with pytest.raises(trio.ClosedResourceError):
            near.send_nowait(b"x")
        await far.send_all(b"still there")
        assert await near.receive_some() == b"still there"


async def test_small_packets_go_at_once() -> None:
    near, far = pair()
    async with near, far:
        for pipe in near, far:
            assert pipe.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not pipe.socket.getblocking()
