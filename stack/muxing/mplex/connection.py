"""The mplex muxer, and its connections: the driver of every muxer with the core of mplex."""

from __future__ import annotations

from contextlib import suppress

import trio

from ...abc import Channel, ConnectionInfo
from ...background import SharedWait, open_background
from ...errors import ConnectionLost, StreamReset
from ...negotiation import greeting
from ..driver import MuxerDriver
from ..stream import MuxerStream
from .config import Config
from .core import MplexCore
from .wire import PROTOCOL_ID

_GREETING = greeting()


class Mplex:
    """The mplex muxer with our settings. It has no flow control: see the package."""

    protocol_id = PROTOCOL_ID

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def mux(self, channel: Channel, info: ConnectionInfo) -> MplexConnection:
        """Wrap the channel; see `abc.Muxer.mux`."""
        return MplexConnection(channel, info, self._config)


class MplexStream(MuxerStream):
    """One stream of an mplex connection."""

    __slots__ = ()


class MplexConnection(MuxerDriver[MplexStream]):
    """Many streams over one channel, all at the pace of the slowest reader."""

    def __init__(self, channel: Channel, info: ConnectionInfo, config: Config) -> None:
        super().__init__(
            channel,
            info,
            MplexCore(config=config, now=trio.current_time()),
            MplexStream,
            accept_backlog=config.accept_backlog,
            soonest_deadline=min(config.stall_timeout, config.close_timeout),
        )
        self._config = config
        self._answer = SharedWait(self._ask_by_stream)

    async def run(self) -> None:
        """Move bytes until the connection ends, and probe a peer that has been silent for long."""
        async with open_background() as nursery:
            nursery.start_soon(self._keep_alive)
            await super().run()

    async def wait_acknowledged(self) -> None:
        """Wait for the answer to a stream that follows what was sent; see `abc.MuxedConnection.wait_acknowledged`.

        Mplex has no pings, but every stream of libp2p begins with the same line, to which every peer answers with the
        same. A reset is an answer, too: messages are read in order, whatever becomes of the stream.
        """
        await self._answer()

    async def _ask_by_stream(self) -> None:
        stream = await self.open_stream()
        try:
            await stream.send_all(_GREETING)
            with suppress(StreamReset):
                await stream.receive_some()
        finally:
            stream.reset()

    async def _keep_alive(self) -> None:
        interval, timeout = self._config.keepalive_interval, self._config.keepalive_timeout
        while True:
            heard = self._heard
            await trio.sleep(interval)
            if self._heard != heard:
                continue
            with trio.move_on_after(timeout) as scope, suppress(ConnectionLost):
                await self.probe()
            if scope.cancelled_caught:
                silence = interval + timeout
                self._end(ConnectionLost(f"the peer did not answer and has been silent for {silence:.0f} s or longer"))
