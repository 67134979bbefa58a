"""The yamux muxer, and its connections: the driver of every muxer with the core of yamux."""

from __future__ import annotations

import trio

from ...abc import Channel, ConnectionInfo, Direction
from ...codes import describe_code
from ...errors import ConnectionLost, StackError
from ...limits import WindowBudget
from ..driver import CLOSE_LINGER, HIGH_WATER, MAX_QUEUED, MuxerDriver, Statistics
from ..stream import MuxerStream
from ..stream_registry import OrderlyClose
from .config import Config
from .core import YamuxCore
from .wire import PROTOCOL_ID, GoAwayCode

__all__ = ["CLOSE_LINGER", "HIGH_WATER", "MAX_QUEUED", "Statistics", "Yamux", "YamuxConnection", "YamuxStream"]


class Yamux:
    """The yamux muxer with our settings."""

    protocol_id = PROTOCOL_ID

    def __init__(self, config: Config | None = None, *, memory: WindowBudget | None = None) -> None:
        """`memory` bounds the growth of windows over all connections of a host; 256 MiB by default."""
        self._config = config or Config()
        self._memory = memory or WindowBudget(256 * 1024 * 1024)

    def mux(self, channel: Channel, info: ConnectionInfo) -> YamuxConnection:
        """Wrap the channel; see `abc.Muxer.mux`."""
        return YamuxConnection(channel, info, self._config, WindowBudget(self._config.max_window_growth, self._memory))


class YamuxStream(MuxerStream):
    """One stream of a yamux connection."""

    __slots__ = ()


class YamuxConnection(MuxerDriver[YamuxStream]):
    """Many streams over one channel, with windows and pings."""

    _core: YamuxCore

    def __init__(self, channel: Channel, info: ConnectionInfo, config: Config, budget: WindowBudget) -> None:
        client = info.direction is Direction.OUTBOUND
        super().__init__(
            channel,
            info,
            YamuxCore(client=client, config=config, budget=budget, now=trio.current_time()),
            YamuxStream,
            accept_backlog=config.accept_backlog,
            soonest_deadline=min(config.keepalive_timeout, config.close_timeout),
        )

    async def wait_acknowledged(self) -> None:
        """Wait for the answer to a ping that follows what was sent; see `abc.MuxedConnection.wait_acknowledged`."""
        self._check_open()
        number = self._core.ask(self._question())
        self._pump()
        await self._until(lambda: self._core.answered_pings >= number)

    def _go_away_reason(self, code: int) -> StackError:
        if code == GoAwayCode.NORMAL:
            return OrderlyClose("the peer closed the connection")
        try:
            reason = GoAwayCode(code).name.lower().replace("_", " ")
        except ValueError:
            reason = describe_code(code)
        return ConnectionLost(f"the peer closed the connection with: {reason}")
