"""What the conformance suite for transports runs on: two transports, the connections between them, and a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import trio
from multiaddr import Multiaddr

from ..abc import DEFAULT_DIAL, DialOptions, RawConnection, StreamListener, StreamTransport
from ..errors import StackError
from .checks import receive_until_end


@dataclass(frozen=True, slots=True)
class Subject:
    """The transports under test."""

    dialer: StreamTransport
    listener: StreamTransport
    address: Multiaddr
    settle: float
    half_close: bool

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[StreamListener]:
        """Open a listener."""
        async with await self.listener.listen(self.address) as listener:
            yield listener

    @asynccontextmanager
    async def connections(self) -> AsyncIterator[tuple[RawConnection, RawConnection]]:
        """Open a listener and one connection, and give the dialing and the accepting end."""
        async with self.listening() as listener:
            near, far = await self.pair(listener)
            async with near.stream, far.stream:
                yield near, far

    async def pair(
        self, listener: StreamListener, options: DialOptions = DEFAULT_DIAL
    ) -> tuple[RawConnection, RawConnection]:
        """Open one more connection, and give the dialing and the accepting end."""
        accepted: list[RawConnection] = []

        async def accept() -> None:
            accepted.append(await ready(await listener.accept()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            dialed = await self.dialer.dial(listener.address, options)
        return dialed, accepted[0]


async def ready(connection: RawConnection) -> RawConnection:
    """Shake hands where the transport leaves that to the accepting side."""
    if connection.handshake is None:
        return connection
    return replace(connection, stream=await connection.handshake(), handshake=None)


class Server:
    """Accepts connections and reads each to its end."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._open = 0
        self._ended = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Accept until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                connection = await self._listener.accept()
                self._open += 1
                nursery.start_soon(self._read, connection)

    async def wait_idle(self) -> None:
        """Wait until no connection is open."""
        while self._open:
            await self._ended.park()

    async def _read(self, connection: RawConnection) -> None:
        async with connection.stream:
            with suppress(trio.BrokenResourceError, StackError):
                await receive_until_end((await ready(connection)).stream)
        self._open -= 1
        self._ended.unpark_all()
