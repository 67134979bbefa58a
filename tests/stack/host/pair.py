"""A dialing and a listening host in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from peerstack import open_host
from peerstack.stack.abc import Stream
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.swarm import Connection, SwarmConfig
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

ECHO = "/echo/1"
PEER = Identity.generate().peer_id


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def wait_for_ever(connection: Connection) -> None:
    await trio.sleep_forever()


class Pair:
    """A dialing and a listening host in memory."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.observer = RecordingObserver()
        """Of both."""

    @asynccontextmanager
    async def open(self, **of_the_listener: object) -> AsyncIterator[tuple[Host, Host]]:
        settings: dict[str, object] = {
            "transports": [MemoryTransport(self.network)],
            "observers": [self.observer],
            "swarm": SwarmConfig(raise_handler_errors=True),
        }
        listening = {**settings, "listen": ["/memory/7"], **of_the_listener}
        async with open_host(**settings) as alice, open_host(**listening) as bob:  # type: ignore[arg-type] # settings
            bob.handle(ECHO, echo)
            yield alice, bob
