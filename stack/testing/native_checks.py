"""The conformance suite for transports that bring security and streams of their own, such as QUIC."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import trio
import trio.testing
from multiaddr import Multiaddr

from ..abc import DEFAULT_DIAL, DialOptions, Direction, Incoming, Listener, MuxedConnection, Transport
from ..background import open_background
from ..errors import LocalProtocolError, PeerIdMismatch, StackError
from ..identity import Identity
from ..report import Attempt
from .checks import cancel_at_each_step, raising, require, run_checks, some_bytes, transfer
from .connection_checks import check_connections
from .connections import ConnectionEnd, StreamPair, open_pair
from .ending_checks import check_endings
from .stream_checks import check_streams


@dataclass(frozen=True, slots=True)
class _Subject:
    dialer: Transport
    listener: Transport
    dialing: Identity
    listening: Identity
    address: Multiaddr
    settle: float
    flow_control: bool = True

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[Listener]:
        async with await self.listener.listen(self.address) as listener:
            yield listener

    async def dial(self, listener: Listener, peer: Identity | None = None) -> MuxedConnection:
        attempt = Attempt(str(listener.address), trio.current_time())
        return await self.dialer.dial(listener.address, (peer or self.listening).peer_id, attempt, DEFAULT_DIAL)

    async def serve(self, dialers: Listener, peer: Identity | None = None) -> MuxedConnection:
        """Dial back from the listening side, as the server of the connection."""
        attempt = Attempt(str(dialers.address), trio.current_time())
        options = DialOptions(direction=Direction.INBOUND, from_listener=True)
        return await self.listener.dial(dialers.address, (peer or self.dialing).peer_id, attempt, options)

    async def pair(self, listener: Listener, running: trio.Nursery) -> tuple[ConnectionEnd, ConnectionEnd]:
        """Dial and accept. Each end runs from the start: the other may need it to finish the handshake."""
        ends: list[ConnectionEnd] = []

        def run(connection: MuxedConnection) -> ConnectionEnd:
            end = ConnectionEnd(connection)
            running.start_soon(end.run)
            return end

        async def accept() -> None:
            ends.append(run(await (await listener.accept()).upgrade()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            dialed = run(await self.dial(listener))
        return dialed, ends[0]

    @asynccontextmanager
    async def sides(self) -> AsyncIterator[tuple[ConnectionEnd, ConnectionEnd]]:
        """Run two connections."""
        async with self.bound() as listener, open_background() as nursery:
            yield await self.pair(listener, nursery)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[StreamPair]:
        """Run two connections with one stream between them."""
        async with self.sides() as (near, far):
            yield await open_pair(near.connection, far.connection)


async def check_transport(
    make_transport: Callable[[Identity], Transport], listen_address: Multiaddr, *, settle: float = 0.05
) -> None:
    """Check a transport of authenticated connections with streams. Raises `AssertionError`.

    `make_transport` is called twice, with the identity of the side that dials, then of the side that listens.
    `listen_address` must leave the choice of port to the transport. `settle` is how many seconds without progress make
    a stream count as clogged. Being the server of a connection that it dials is not asked of a transport that raises
    `LocalProtocolError` for it.
    """
    dialing, listening = Identity.generate(), Identity.generate()
    subject = _Subject(make_transport(dialing), make_transport(listening), dialing, listening, listen_address, settle)
    await run_checks(_CHECKS, subject, settle=settle)
    if await _can_serve(subject):
        await run_checks(_SERVER_CHECKS, subject, settle=settle)
    await check_streams(subject)
    await check_endings(subject)
    await check_connections(subject)


async def _who_and_where(subject: _Subject) -> None:
    """Both ends know who and where the other is, and the listener its real address."""
    require(subject.listener.can_listen(subject.address), f"can_listen({subject.address}) is False")
    async with subject.bound() as listener, open_background() as nursery:
        require(listener.address != subject.address, f"the listener still has {listener.address}")
        require(subject.dialer.can_dial(listener.address), f"can_dial({listener.address}) is False")
        near, far = (end.connection for end in await subject.pair(listener, nursery))
        for connection, peer, direction in (
            (near, subject.listening, Direction.OUTBOUND),
            (far, subject.dialing, Direction.INBOUND),
        ):
            info = connection.info
            require(info.remote_peer == peer.peer_id, f"{info.remote_peer} is another peer")
            require(info.remote_public_key == peer.public_key, "the public key is another peer's")
            require(info.direction is direction, f"the direction is {info.direction}")
            require(info.security and info.muxer, "security and muxer have no names")
            require(not connection.closed, "a new connection is closed")
        require(near.info.remote_address == listener.address, f"the dialed address is {near.info.remote_address}")
        same = far.info.remote_address.value_for_protocol("udp") == near.info.local_address.value_for_protocol("udp")
        require(same, f"the listener sees {far.info.remote_address}, the dialer has {near.info.local_address}")
        await near.aclose()
        await far.aclose()
    foreign = Multiaddr("/ip4/127.0.0.1/tcp/1")
    require(not subject.dialer.can_dial(foreign), f"can_dial({foreign}) is True")
    require(not subject.listener.can_listen(foreign), f"can_listen({foreign}) is True")


async def _several(subject: _Subject) -> None:
    """A listener accepts several connections at once, and they do not mix."""
    async with subject.bound() as listener, open_background() as nursery:
        pairs = [await subject.pair(listener, nursery) for _ in range(8)]
        streams = [await open_pair(near.connection, far.connection) for near, far in pairs]
        for seed, (stream, accepted) in enumerate(streams):
            await transfer(stream, accepted, some_bytes(10_000, seed))
        for near, _ in pairs:
            await near.connection.aclose()
        for _, far in pairs:
            await far.ended.wait()


async def _other_peer(subject: _Subject) -> None:
    """A dial that finds another peer than the expected one raises PeerIdMismatch, and the listener lives on."""
    async with subject.bound() as listener, open_background() as nursery:
        nursery.start_soon(_upgrade_all, listener)
        expected = Identity.generate()
        try:
            await subject.dial(listener, expected)
        except PeerIdMismatch as error:
            named = error.expected == expected.peer_id and error.actual == subject.listening.peer_id
            require(named, f"PeerIdMismatch names {error.expected} and {error.actual}")
        else:
            raise AssertionError("a connection to another peer was made")
        await (await subject.dial(listener)).aclose()


async def _refused(subject: _Subject) -> None:
    """A connection that the listener refuses is a failed dial, and the next may succeed."""
    async with subject.bound() as listener, open_background() as running:

        async def refuse() -> None:
            while True:
                await (await listener.accept()).refuse()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            with raising("a dial that is refused", OSError, StackError, trio.TooSlowError):
                await subject.dial(listener)
            nursery.cancel_scope.cancel()
        for end in await subject.pair(listener, running):
            await end.connection.aclose()


async def _close_while_accepting(listener: Listener) -> None:
    async def expect_closed() -> None:
        with raising("accept on a listener that is closed meanwhile", trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as waiting:
        waiting.start_soon(expect_closed)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()


async def _listener_close(subject: _Subject) -> None:
    """Closing a listener wakes the task that accepts, can be repeated, and leaves its connections open."""
    async with subject.bound() as listener:
        await _close_while_accepting(listener)
    async with subject.bound() as listener, open_background() as nursery:
        near, far = await subject.pair(listener, nursery)
        await _close_while_accepting(listener)
        await listener.aclose()
        with raising("accept on a closed listener", trio.ClosedResourceError):
            await listener.accept()
        stream, accepted = await open_pair(near.connection, far.connection)
        await transfer(stream, accepted, b"still here")


async def _in_use(subject: _Subject) -> None:
    """Listening twice on one address raises OSError with EADDRINUSE; after a close it is free again."""
    async with subject.bound() as listener:
        try:
            async with await subject.listener.listen(listener.address):
                pass
        except OSError as error:
            require(error.errno == errno.EADDRINUSE, f"the error is {error!r}")
        else:
            raise AssertionError(f"{listener.address} could be bound twice")
    async with await subject.listener.listen(listener.address) as again:
        require(again.address == listener.address, "the freed address could not be bound again")


async def _cancelled_dial(subject: _Subject) -> None:
    """A dial cancelled at any step leaves the listener able to serve the next."""
    async with subject.bound() as listener, open_background() as nursery:
        nursery.start_soon(_upgrade_all, listener)

        async def dial() -> None:
            await (await subject.dial(listener)).aclose()

        await cancel_at_each_step(dial, dial)


async def _cancelled_accept(subject: _Subject) -> None:
    """An accept cancelled at any step loses no connection."""
    accepted: list[Incoming] = []
    async with subject.bound() as listener, open_background() as nursery:

        async def dial() -> None:
            try:
                connection = await subject.dial(listener)
            except (OSError, StackError, trio.TooSlowError) as error:
                raise AssertionError(f"a connection that arrived was lost: {error}") from error
            await connection.run()

        async def accept() -> None:
            accepted.append(await listener.accept())

        async def accept_again() -> None:
            if not accepted:
                await accept()
            await (await accepted.pop().upgrade()).aclose()
            nursery.start_soon(dial)

        nursery.start_soon(dial)
        await cancel_at_each_step(accept, accept_again)
        await (await (await listener.accept()).upgrade()).aclose()


async def _can_serve(subject: _Subject) -> bool:
    """Return whether the transport can be the server of a connection that it dials."""
    async with subject.bound() as silent:
        try:
            with trio.move_on_after(subject.settle):
                await subject.serve(silent)
        except LocalProtocolError:
            return False
    return True


async def _both_dial(subject: _Subject) -> None:
    """Two sides that dial one another, one as the server, get one connection, which no listener sees."""
    async with _both_listen(subject) as (listener, dialers), open_background() as running:
        near, far = await _meet(subject, listener, dialers, running)
        for end, peer, direction in (
            (near, subject.listening, Direction.OUTBOUND),
            (far, subject.dialing, Direction.INBOUND),
        ):
            info = end.connection.info
            require(info.remote_peer == peer.peer_id, f"{info.remote_peer} is another peer")
            require(info.direction is direction, f"the direction is {info.direction}, not {direction}")
        for one, other in ((near, far), (far, near)):
            stream, accepted = await open_pair(one.connection, other.connection)
            await transfer(stream, accepted, some_bytes(10_000, 1))
            await transfer(accepted, stream, some_bytes(10_000, 2))
        await near.connection.aclose()
        await far.ended.wait()


async def _both_dial_another(subject: _Subject) -> None:
    """The server of a dial raises PeerIdMismatch for another client than the expected one."""
    async with _both_listen(subject) as (listener, dialers), open_background() as running:
        expected = Identity.generate()
        try:
            await _meet(subject, listener, dialers, running, expected)
        except PeerIdMismatch as error:
            named = error.expected == expected.peer_id and error.actual == subject.dialing.peer_id
            require(named, f"PeerIdMismatch names {error.expected} and {error.actual}")
        else:
            raise AssertionError("a connection with another peer was made")


async def _cancelled_serve(subject: _Subject) -> None:
    """A dial as the server that is cancelled at any step leaves no trace: the listener sees the peer again."""
    async with subject.bound() as listener, await subject.dialer.listen(subject.address) as dialers:

        async def serve() -> None:
            async with open_background() as nursery:
                nursery.start_soon(_dial_until_it_works, subject, listener)
                await (await subject.serve(dialers)).aclose()

        async def listens_still() -> None:
            async with open_background() as nursery:
                nursery.start_soon(_upgrade_all, listener)
                await (await subject.dial(listener)).aclose()

        await cancel_at_each_step(serve, listens_still)


async def _dial_until_it_works(subject: _Subject, listener: Listener) -> None:
    await trio.testing.wait_all_tasks_blocked()
    with suppress(OSError, StackError, trio.TooSlowError):
        await (await subject.dial(listener)).run()


async def _meet(
    subject: _Subject, listener: Listener, dialers: Listener, running: trio.Nursery, peer: Identity | None = None
) -> tuple[ConnectionEnd, ConnectionEnd]:
    """Dial from both sides, and run what comes of it."""
    near: list[ConnectionEnd] = []
    dialed = trio.Event()

    async def dial() -> None:
        await trio.testing.wait_all_tasks_blocked()
        near.append(ConnectionEnd(await subject.dial(listener)))
        running.start_soon(near[0].run)
        dialed.set()

    async with open_background() as nursery:
        nursery.start_soon(dial)
        far = ConnectionEnd(await subject.serve(dialers, peer))
        running.start_soon(far.run)
        await dialed.wait()
    return near[0], far


@asynccontextmanager
async def _both_listen(subject: _Subject) -> AsyncIterator[tuple[Listener, Listener]]:
    """Listen on both sides; a connection that arrives at a listener fails the check."""

    async def sees_nothing(listener: Listener) -> None:
        incoming = await listener.accept()
        raise AssertionError(f"a listener saw the connection from {incoming.remote_address}")

    async with subject.bound() as listener, await subject.dialer.listen(subject.address) as dialers:
        async with open_background() as nursery:
            nursery.start_soon(sees_nothing, listener)
            nursery.start_soon(sees_nothing, dialers)
            yield listener, dialers


async def _upgrade_all(listener: Listener) -> None:
    async def serve(incoming: Incoming) -> None:
        with suppress(StackError):
            await (await incoming.upgrade()).run()

    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(serve, await listener.accept())


_CHECKS: tuple[Callable[[_Subject], Awaitable[None]], ...] = (
    _who_and_where,
    _several,
    _other_peer,
    _refused,
    _listener_close,
    _in_use,
    _cancelled_dial,
    _cancelled_accept,
)

_SERVER_CHECKS: tuple[Callable[[_Subject], Awaitable[None]], ...] = (
    _both_dial,
    _both_dial_another,
    _cancelled_serve,
)
