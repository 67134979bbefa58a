"""The mplex muxer, and its connections: the driver of every muxer with the core of mplex."""

from __future__ import annotations

import trio

from ...abc import Channel, ConnectionInfo
from ..connection import DrivenConnection
from ..stream import DrivenStream
from .config import Config
from .core import MplexCore
from .wire import PROTOCOL_ID


class Mplex:
    """The mplex muxer with our settings. It has no flow control: see the package."""

    protocol_id = PROTOCOL_ID

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def mux(self, channel: Channel, info: ConnectionInfo) -> MplexConnection:
        """Wrap the channel; see `abc.Muxer.mux`."""
        return MplexConnection(channel, info, self._config)


class MplexStream(DrivenStream):
    """One stream of an mplex connection."""

    __slots__ = ()


class MplexConnection(DrivenConnection[MplexStream]):
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
