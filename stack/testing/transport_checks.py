"""The conformance suite for transports of plain byte streams."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import TypeAlias

import trio
import trio.testing
from multiaddr import Multiaddr

from ..abc import DEFAULT_DIAL, DialOptions, Pipe, RawConnection, StreamTransport
from .checks import (
    Clogged,
    cancel_at_each_step,
    clog,
    raising,
    receive_exactly,
    receive_until_end,
    require,
    run_checks,
    some_bytes,
    transfer,
)
from .pipe_checks import check_pipe
from .transport_subject import Server, Subject, ready

LARGE = 4 * 1024 * 1024


async def check_stream_transport(
    make_transport: Callable[[], StreamTransport],
    listen_address: Multiaddr,
    *,
    settle: float = 0.05,
    half_close: bool = True,
) -> None:
    """Check a transport of byte streams. Raises `AssertionError`.

    `make_transport` is called twice: first for the side that dials, then for the side that listens. `listen_address`
    must leave the choice of port to the transport (`/ip4/127.0.0.1/tcp/0`, `/memory/0`). `settle` is how many seconds
    without progress make a stream count as clogged: more than a round trip, and than a kernel delays its answers.
    `half_close=False` is for transports, such as WebSocket, whose connections end in both directions at once: their
    `send_eof` ends the stream after what was sent, and nothing is asked of the other direction.
    """
    subject = Subject(make_transport(), make_transport(), listen_address, settle, half_close)
    await run_checks(_CHECKS, subject, settle=settle)


async def _addresses(subject: Subject) -> None:
    """Both ends know their addresses, and the listener its real one."""
    require(subject.listener.can_listen(subject.address), f"can_listen({subject.address}) is False")
    async with subject.connections() as (near, far):
        listening = far.local_address
        require(listening != subject.address, f"the listener still has {listening}, not what it was bound to")
        require(subject.dialer.can_dial(listening), f"can_dial({listening}) is False")
        require(near.remote_address == listening, f"dialed {listening}, but got to {near.remote_address}")
        same = far.remote_address == near.local_address
        require(same, f"the dialer has {near.local_address}, the listener sees {far.remote_address}")
    foreign = Multiaddr("/ip4/127.0.0.1/udp/1")
    require(not subject.dialer.can_dial(foreign), f"can_dial({foreign}) is True")
    require(not subject.listener.can_listen(foreign), f"can_listen({foreign}) is True")


async def _both_ways(subject: Subject) -> None:
    """A connection carries bytes both ways."""
    async with subject.connections() as (near, far):
        for size in (1, 2, 1000, 20_000):
            await transfer(near.stream, far.stream, some_bytes(size, seed=1))
            await transfer(far.stream, near.stream, some_bytes(size, seed=2))


async def _several(subject: Subject) -> None:
    """A listener accepts several connections, and they do not mix."""
    async with subject.listening() as listener:
        pairs = [await subject.pair(listener) for _ in range(8)]
        for index, (near, _) in enumerate(pairs):
            await near.stream.send_all(b"%d" % index)
        for index, (near, far) in enumerate(pairs):
            got = await receive_exactly(far.stream, 1)
            require(got == b"%d" % index, f"connection {index} delivered {got!r}")
            await near.stream.aclose()
            await far.stream.aclose()


async def _half_close(subject: Subject) -> None:
    """After send_eof the other side gets what was sent and the end, and its direction goes on if it can."""
    async with subject.connections() as (near, far):
        await near.stream.send_all(b"question")
        await _half_closeable(near).send_eof()
        require(await receive_until_end(far.stream) == b"question", "bytes before the end were lost")
        if not subject.half_close:
            return
        await far.stream.send_all(b"answer")
        await far.stream.aclose()
        require(await receive_until_end(near.stream) == b"answer", "the direction that was open lost bytes")


async def _large(subject: Subject) -> None:
    """Megabytes in both directions at once come out as they went in."""
    async with subject.connections() as (near, far):

        async def send(connection: RawConnection, seed: int) -> None:
            await connection.stream.send_all(some_bytes(LARGE, seed))

        async def receive(connection: RawConnection, seed: int) -> None:
            got = sha256(await receive_exactly(connection.stream, LARGE)).digest()
            require(got == sha256(some_bytes(LARGE, seed)).digest(), "bytes came out changed")

        async with trio.open_nursery() as nursery:
            for sender, receiver, seed in ((near, far, 1), (far, near, 2)):
                nursery.start_soon(send, sender, seed)
                nursery.start_soon(receive, receiver, seed)


async def _back_pressure(subject: Subject) -> None:
    """A sender waits for a reader that does not read, and goes on when it does."""
    async with subject.connections() as (near, far):
        await clog(near.stream, subject.settle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.stream.send_all, b"end")
            tail = b""
            while tail != b"end":
                piece = await far.stream.receive_some()
                require(piece, "the stream ended while a sender was waiting")
                tail = (tail + piece)[-3:]


async def _close_wakes(subject: Subject) -> None:
    """Closing one end ends the waiting of both: the other side sees the end, our own task ClosedResourceError."""

    async def expect_end(connection: RawConnection) -> None:
        require(await connection.stream.receive_some() == b"", "bytes arrived that were never sent")

    async def expect_closed(connection: RawConnection) -> None:
        with raising("receive_some on a stream that is closed meanwhile", trio.ClosedResourceError):
            await connection.stream.receive_some()

    for swapped in (False, True):
        async with subject.connections() as pair:
            near, far = pair[::-1] if swapped else pair
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_closed, near)
                nursery.start_soon(expect_end, far)
                await trio.testing.wait_all_tasks_blocked()
                await near.stream.aclose()


async def _abort(subject: Subject) -> None:
    """A side that closes without reading what came in breaks the other side's sending, and does not block it."""
    async with subject.connections() as (near, far):
        await clog(near.stream, subject.settle)
        async with trio.open_nursery() as nursery:

            async def expect_broken() -> None:
                with raising("sending to a side that is gone", trio.BrokenResourceError):
                    while True:
                        await near.stream.send_all(bytes(10_000))

            nursery.start_soon(expect_broken)
            await trio.testing.wait_all_tasks_blocked()
            await trio.aclose_forcefully(far.stream)


async def _refused(subject: Subject) -> None:
    """A dial to an address without a listener raises ConnectionRefusedError."""
    async with subject.listening() as listener:
        address = listener.address
    with raising(f"dialing {address}, which was closed,", ConnectionRefusedError):
        await subject.dialer.dial(address, DEFAULT_DIAL)


async def _listener_close(subject: Subject) -> None:
    """Closing a listener wakes a task that accepts, can be repeated, keeps its connections, and frees the address."""
    async with subject.listening() as listener:
        near, far = await subject.pair(listener)
        async with near.stream, far.stream:
            async with trio.open_nursery() as nursery:

                async def expect_closed() -> None:
                    with raising("accept on a listener that is closed meanwhile", trio.ClosedResourceError):
                        await listener.accept()

                nursery.start_soon(expect_closed)
                await trio.testing.wait_all_tasks_blocked()
                await listener.aclose()
            await listener.aclose()
            with raising("accept on a closed listener", trio.ClosedResourceError):
                await listener.accept()
            await near.stream.send_all(b"still here")
            require(await receive_exactly(far.stream, 10) == b"still here", "an accepted connection was harmed")
    async with await subject.listener.listen(listener.address) as again:
        require(again.address == listener.address, "the freed address could not be bound again")


async def _in_use(subject: Subject) -> None:
    """Listening twice on one address raises OSError with EADDRINUSE."""
    async with subject.listening() as listener:
        try:
            async with await subject.listener.listen(listener.address):
                pass
        except OSError as error:
            require(error.errno == errno.EADDRINUSE, f"the error is {error!r}")
        else:
            raise AssertionError(f"{listener.address} could be bound twice")
        near, far = await subject.pair(listener)
        await near.stream.aclose()
        await far.stream.aclose()


async def _from_listener(subject: Subject) -> None:
    """Dials that may leave from a listener's port get there, also several to one address, and it goes on listening."""
    options = DialOptions(from_listener=True)
    async with subject.listening() as listener, await subject.dialer.listen(subject.address) as dialers:
        pairs: list[tuple[RawConnection, RawConnection]] = []
        for number in range(3):
            try:
                pairs.append(await subject.pair(listener, options))
            except* OSError as group:
                what = f"beside {number} other connections it failed: {group.exceptions[0]}"
                raise AssertionError(what) from group
        for near, far in pairs:
            same = far.remote_address == near.local_address
            require(same, f"the dialer has {near.local_address}, the listener sees {far.remote_address}")
            await transfer(near.stream, far.stream, some_bytes(1000, seed=1))
            await transfer(far.stream, near.stream, some_bytes(1000, seed=2))
        pairs.append(await replace(subject, dialer=subject.listener).pair(dialers, options))
        for near, far in pairs:
            await near.stream.aclose()
            await far.stream.aclose()


async def _dial_cancelled(subject: Subject) -> None:
    """A dial cancelled at any step leaves nothing open, and the listener works."""
    async with subject.listening() as listener, trio.open_nursery() as nursery:
        server = Server(listener)
        nursery.start_soon(server.run)

        async def dial() -> None:
            connection = await subject.dialer.dial(listener.address, DEFAULT_DIAL)
            await trio.aclose_forcefully(connection.stream)

        async def works_still() -> None:
            async with (await subject.dialer.dial(listener.address, DEFAULT_DIAL)).stream as stream:
                await stream.send_all(b"x")

        await cancel_at_each_step(dial, works_still)
        await trio.sleep(subject.settle)
        await server.wait_idle()
        nursery.cancel_scope.cancel()


async def _accept_cancelled(subject: Subject) -> None:
    """An accept cancelled at any step loses no connection."""
    accepted: list[RawConnection] = []
    dialed = trio.Event()
    async with subject.listening() as listener, trio.open_nursery() as nursery:

        async def accept() -> None:
            accepted.append(await listener.accept())

        async def dial() -> None:
            # It may not be done before the other side has taken part in a handshake.
            await (await subject.dialer.dial(listener.address, DEFAULT_DIAL)).stream.aclose()
            dialed.set()

        async def one_more_dial() -> None:
            nonlocal dialed
            if not accepted:
                await accept()
            connection = await ready(accepted.pop())
            await dialed.wait()
            await connection.stream.aclose()
            dialed = trio.Event()
            nursery.start_soon(dial)
            await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(dial)
        await trio.testing.wait_all_tasks_blocked()
        await cancel_at_each_step(accept, one_more_dial)
        nursery.cancel_scope.cancel()


async def _trio_suite(subject: Subject) -> None:
    """Connections pass trio's own suite for half-closeable streams, or that for streams of both directions."""
    async with subject.listening() as listener:

        async def make() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
            near, far = await subject.pair(listener)
            return _half_closeable(near), _half_closeable(far)

        async def make_flipped() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
            near, far = await make()
            return far, near

        # Clogged in one direction only: Linux never lets a TCP connection be clogged for good in both.
        for maker in (make, make_flipped):
            if subject.half_close:
                await trio.testing.check_half_closeable_stream(maker, None)
            else:
                await trio.testing.check_two_way_stream(maker, None)
            async with Clogged(maker, lambda pair: clog(pair[0], subject.settle)) as clogged:
                await trio.testing.check_one_way_stream(maker, clogged)
                await _busy_eof(clogged)


async def _pipe(subject: Subject) -> None:
    """Connections that claim to be pipes move bytes without waiting, as pipes do."""
    async with subject.listening() as listener:

        async def make() -> tuple[Pipe, Pipe]:
            near, far = (connection.stream for connection in await subject.pair(listener))
            if isinstance(near, Pipe) and isinstance(far, Pipe):
                return near, far
            await near.aclose()
            await far.aclose()
            raise _NotPipes

        with suppress(_NotPipes):
            await check_pipe(make, settle=subject.settle)


class _NotPipes(Exception):
    """The transport makes plain streams, which is allowed."""


_Maker: TypeAlias = Callable[[], Awaitable[tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]]]


async def _busy_eof(make_clogged: _Maker) -> None:
    sender, receiver = await make_clogged()
    async with sender, receiver, trio.open_nursery() as nursery:
        nursery.start_soon(sender.wait_send_all_might_not_block)
        await trio.testing.wait_all_tasks_blocked()
        with raising("send_eof while another task waits to send", trio.BusyResourceError):
            await sender.send_eof()
        nursery.cancel_scope.cancel()


def _half_closeable(connection: RawConnection) -> trio.abc.HalfCloseableStream:
    if not isinstance(connection.stream, trio.abc.HalfCloseableStream):
        raise AssertionError(f"{type(connection.stream).__name__} cannot be half-closed")
    return connection.stream


_CHECKS = (
    _addresses,
    _both_ways,
    _several,
    _half_close,
    _large,
    _back_pressure,
    _close_wakes,
    _abort,
    _refused,
    _listener_close,
    _in_use,
    _from_listener,
    _dial_cancelled,
    _accept_cancelled,
    _trio_suite,
    _pipe,
)
