"""Connections and transports that do as they are told, and a swarm that must leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import (
    DEFAULT_DIAL,
    ConnectionInfo,
    DialOptions,
    Direction,
    Incoming,
    Listener,
    MuxedConnection,
    Stream,
)
from peerstack.stack.errors import ConnectionLost, DialError
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.report import Attempt, DialReport, StageName
from peerstack.stack.swarm import Swarm
from peerstack.stack.testing import RecordingObserver

PEERS = sorted(Identity.generate().peer_id for _ in range(4))
"""In the order that decides who closes what."""
LOWEST, PEER, OTHER_PEER, HIGHEST = PEERS


def tcp(number: int) -> Multiaddr:
    """Return the address of a peer on the internet; all of them are ranked alike but for their order."""
    return Multiaddr(f"/ip4/203.0.113.{number}/tcp/4001")


ONE, TWO, THREE = tcp(1), tcp(2), tcp(3)
LISTEN = Multiaddr("/ip4/0.0.0.0/tcp/4001")


def info(
    peer: PeerId = PEER,
    direction: Direction = Direction.OUTBOUND,
    remote_address: Multiaddr | None = None,
) -> ConnectionInfo:
    return ConnectionInfo(
        remote_peer=peer,
        remote_public_key=None,
        local_address=tcp(200),
        remote_address=remote_address or tcp(1),
        direction=direction,
        security="/test",
        muxer="/test",
    )


class FakeConnection(MuxedConnection):
    """A connection without a pipe: it runs until it is closed or told to fail."""

    def __init__(self, described: ConnectionInfo | None = None) -> None:
        self.info = described or info()
        self.streams: list[Stream] = []
        self.times_closed = 0
        self.has_run = False
        self._over = trio.Event()
        self._failure: Exception | None = None

    async def run(self) -> None:
        if self._over.is_set():
            raise trio.ClosedResourceError("closed before it ran")
        self.has_run = True
        await self._over.wait()
        if self._failure is not None:
            raise self._failure

    def fail(self, failure: Exception | None = None) -> None:
        """End by itself."""
        self._failure = failure
        self._over.set()

    async def open_stream(self) -> Stream:
        await trio.lowlevel.checkpoint()
        raise ConnectionLost("this connection has no streams")

    async def accept_stream(self) -> Stream:
        await self._over.wait()
        raise ConnectionLost("gone")

    async def aclose(self) -> None:
        self.times_closed += 1
        self._over.set()
        await trio.lowlevel.checkpoint()

    @property
    def closed(self) -> bool:
        return self._over.is_set()

    @property
    def rtt(self) -> float | None:
        return None

    @property
    def stream_count(self) -> int:
        return len(self.streams)


def inbound(peer: PeerId = PEER, remote_address: Multiaddr | None = None) -> FakeConnection:
    return FakeConnection(info(peer, Direction.INBOUND, remote_address or tcp(7)))


Script = Callable[[Attempt], Awaitable[MuxedConnection]]
"""What happens at one address."""


class ScriptedTransport:
    """A transport that knows some addresses and what happens there, and remembers when it was asked."""

    def __init__(self, scripts: Mapping[Multiaddr, Script]) -> None:
        self.scripts = dict(scripts)
        self.dialed: list[tuple[float, Multiaddr]] = []
        self.options: list[DialOptions] = []
        self.under_way = 0
        self.most_at_once = 0
        self.cancelled: list[Multiaddr] = []

    def can_dial(self, address: Multiaddr) -> bool:
        return address in self.scripts

    def can_listen(self, address: Multiaddr) -> bool:
        return False

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> MuxedConnection:
        self.dialed.append((trio.current_time(), address))
        self.options.append(options)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            return await self.scripts[address](attempt)
        except trio.Cancelled:
            self.cancelled.append(address)
            raise
        finally:
            self.under_way -= 1

    async def listen(self, address: Multiaddr) -> Listener:
        raise NotImplementedError


def answers(connection: MuxedConnection | None = None, *, after: float = 0) -> Script:
    """A peer that answers after some seconds."""

    async def script(attempt: Attempt) -> MuxedConnection:
        with attempt.stage(StageName.CONNECT):
            await trio.sleep(after)
        return connection or FakeConnection()

    return script


def fails(error: Exception, *, after: float = 0, stage: StageName = StageName.CONNECT) -> Script:
    """An address where the dial fails after some seconds."""

    async def script(attempt: Attempt) -> MuxedConnection:
        with attempt.stage(stage):
            await trio.sleep(after)
            raise error

    return script


async def stays_silent(attempt: Attempt) -> MuxedConnection:
    """An address that never answers."""
    with attempt.stage(StageName.CONNECT):
        await trio.sleep_forever()
    raise AssertionError


def refused(*, after: float = 0) -> Script:
    return fails(ConnectionRefusedError(111, "Connection refused"), after=after)


class FakeIncoming(Incoming):
    """A connection that arrives; `outcome` is awaited to authenticate it."""

    def __init__(self, outcome: Callable[[], Awaitable[MuxedConnection]], remote_address: Multiaddr) -> None:
        self.local_address = tcp(200)
        self.remote_address = remote_address
        self.refused = False
        self.upgrading = trio.Event()
        self._outcome = outcome

    async def upgrade(self) -> MuxedConnection:
        self.upgrading.set()
        return await self._outcome()

    async def refuse(self) -> None:
        self.refused = True
        await trio.lowlevel.checkpoint()


class FakeListener(Listener):
    """A listener at which connections arrive when a test says so."""

    def __init__(self, *addresses: Multiaddr) -> None:
        self.addresses = addresses
        self._arrive, self._arrivals = trio.open_memory_channel[Incoming | BaseException](1000)

    def arrive(
        self,
        outcome: Callable[[], Awaitable[MuxedConnection]] = trio.sleep_forever,
        *,
        remote_address: Multiaddr | None = None,
    ) -> FakeIncoming:
        incoming = FakeIncoming(outcome, remote_address or tcp(7))
        self._arrive.send_nowait(incoming)
        return incoming

    def break_down(self, error: BaseException) -> None:
        self._arrive.send_nowait(error)

    async def accept(self) -> Incoming:
        item = await self._arrivals.receive()
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        self._arrivals.close()
        await trio.lowlevel.checkpoint()


class ListeningTransport(ScriptedTransport):
    """Listens where it is told, on one listener that the test drives."""

    def __init__(self, listener: FakeListener) -> None:
        super().__init__({})
        self.listener = listener

    def can_listen(self, address: Multiaddr) -> bool:
        return address == self.listener.address

    async def listen(self, address: Multiaddr) -> Listener:
        await trio.lowlevel.checkpoint()
        return self.listener


def in_use(swarm: Swarm) -> dict[str, dict[str, int]]:
    """Return what is reserved; empty dictionaries when nothing is."""
    limits = swarm.statistics().limits
    return {"system": limits["system"], "transient": limits["transient"]}


NOTHING: dict[str, dict[str, int]] = {"system": {}, "transient": {}}


@asynccontextmanager
async def running(
    *transports: ScriptedTransport, local_peer: PeerId = LOWEST, **settings: Any
) -> AsyncIterator[tuple[Swarm, RecordingObserver]]:
    """Run a swarm, and demand at the end that nothing is reserved and no peer connected."""
    observer = RecordingObserver()
    swarm = Swarm(local_peer=local_peer, transports=transports, notify=observer.notify, **settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(swarm.run)
        try:
            yield swarm, observer
        finally:
            with trio.CancelScope(shield=True):
                await swarm.aclose()
    assert in_use(swarm) == NOTHING
    assert swarm.peers == []
    assert all(transport.under_way == 0 for transport in transports)


async def connection_of(connection: MuxedConnection) -> MuxedConnection:
    await trio.lowlevel.checkpoint()
    return connection


def at(dialed: Sequence[tuple[float, Multiaddr]], address: Multiaddr) -> float:
    """Return when an address was dialed."""
    return next(when for when, which in dialed if which == address)


async def failed_dial(swarm: Swarm, peer: PeerId | None, *addresses: Multiaddr) -> DialReport:
    with pytest.raises(DialError) as caught:
        await swarm.dial(peer, addresses)
    return caught.value.report


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def read_all(stream: trio.abc.ReceiveStream) -> None:
    """Read to the end."""
    async for _ in stream:
        pass
