"""One connection whose streams our side serves, and what the peer sees of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from peerstack.stack.abc import MuxedConnection, Stream, StreamHandler
from peerstack.stack.bugs import BugReporter
from peerstack.stack.errors import (
    StreamReset,
)
from peerstack.stack.events import Event
from peerstack.stack.limits import Limits, Scopes
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.negotiation import negotiate_outbound, optimistic_prefix
from peerstack.stack.swarm import Connection, SwarmConfig
from peerstack.stack.swarm.streams import Streams
from peerstack.stack.testing import RecordingObserver, Side, muxed_pair

from .parts import read_all

ECHO = "/echo/1"


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def wait_for_ever(stream: Stream) -> None:
    await trio.sleep_forever()


@dataclass
class Served:
    """Our side serves streams; `far` is a raw connection of the peer's."""

    streams: Streams
    connection: Connection
    scopes: Scopes
    observer: RecordingObserver
    far: MuxedConnection
    near: Side
    nursery: trio.Nursery

    async def ask(self, protocol: str = ECHO) -> Stream:
        """Open a stream as the peer does."""
        stream = await self.far.open_stream()
        await negotiate_outbound(stream, [protocol])
        return stream

    async def propose(self, protocol: str = ECHO) -> Stream:
        """Open a stream and propose, without waiting for the answer."""
        stream = await self.far.open_stream()
        await stream.send_all(optimistic_prefix(protocol))
        return stream

    @property
    def in_use(self) -> int:
        """Streams counted anywhere."""
        return sum(self.scopes.system.statistics().get(kind, 0) for kind in ("inbound streams", "outbound streams"))

    @property
    def events(self) -> list[Event]:
        return self.observer.events


@asynccontextmanager
async def serving(
    handlers: dict[str, StreamHandler] | None = None, *, limits: Limits | None = None, config: SwarmConfig | None = None
) -> AsyncIterator[Served]:
    scopes, observer = Scopes(limits or Limits()), RecordingObserver()
    config = config or SwarmConfig()
    bugs = BugReporter(raise_bugs=config.raise_handler_errors)
    streams = Streams(scopes=scopes, config=config, bugs=bugs, notify=observer.notify)
    streams.handlers.update({ECHO: echo} if handlers is None else handlers)
    async with muxed_pair(Yamux(), Yamux()) as (near, far):
        await trio.testing.wait_all_tasks_blocked()
        info = near.connection.info
        connection = Connection(near.connection, scopes.connected(scopes.dial(), info.remote_peer, info.remote_address))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(streams.accept, connection, nursery)
            yield Served(streams, connection, scopes, observer, far.connection, near, nursery)
            nursery.cancel_scope.cancel()
    connection.drop_streams()
    connection.scope.close()
    assert scopes.system.statistics() == {}
    assert scopes.transient.statistics() == {}


async def reset_of(stream: Stream) -> int | None:
    """Return the code that the peer reset the stream with."""
    with pytest.raises(StreamReset) as caught:
        await read_all(stream)
    assert caught.value.remote
    return caught.value.code
