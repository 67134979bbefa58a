"""What all connections with `MuxedStream`s have in common: those of muxers, and native ones such as QUIC."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import Generic, TypeVar

import trio

from ..errors import ConnectionLost, StackError
from .stream import MuxedStream, StreamConnection

StreamT = TypeVar("StreamT", bound=MuxedStream)


class StreamRegistry(StreamConnection, Generic[StreamT]):
    """The streams of a connection: those open, those to be accepted, and the tasks that wait for one."""

    def __init__(self) -> None:
        self.on_stream_closed = None
        self._streams: dict[int, StreamT] = {}
        self._accepted: deque[StreamT] = deque()
        self._acceptable = trio.lowlevel.ParkingLot()
        self._openable = trio.lowlevel.ParkingLot()
        self._failure: StackError | None = None
        """Why the connection is over."""
        self._ending: StackError | None = None
        """Why it is about to end: nothing is sent any more, but what arrived may still be read."""

    # ---- opening and accepting

    async def open_stream(self) -> StreamT:
        """Open a stream; it reaches the peer with the first bytes sent on it."""
        await trio.lowlevel.checkpoint()
        while True:
            if self.closed:
                raise self._lost()
            stream = self._begin_stream() if self._can_open else None
            if stream is not None:
                break
            await self._openable.park()
        if self._can_open:
            # There may be room for more tasks than the one that was woken.
            self._openable.unpark()
        return stream

    async def accept_stream(self) -> StreamT:
        """Wait for the next stream the peer opens."""
        await trio.lowlevel.checkpoint()
        while not self._accepted:
            if self._failure is not None:
                raise self._lost()
            await self._acceptable.park()
        return self._accepted.popleft()

    @property
    @abstractmethod
    def _can_open(self) -> bool:
        """Whether one more stream may be opened now; `_openable` is woken when that may have changed."""

    @abstractmethod
    def _begin_stream(self) -> StreamT | None:
        """Register a new stream of ours and return it; None if none can be opened now after all."""

    def _offer(self, stream: StreamT) -> None:
        """Let a stream of the peer be accepted."""
        self._accepted.append(stream)
        self._acceptable.unpark()

    # ---- ending

    def _tell_closed(self, stream: StreamT) -> None:
        if self.on_stream_closed is not None:
            self.on_stream_closed(stream)

    def _stop_sending(self, reason: StackError) -> None:
        """Let no stream send any more, and none be opened: what they sent from now on would be lost."""
        if self._failure is None and self._ending is None:
            self._ending = reason
            for stream in self._streams.values():
                stream.break_sending(self._lost())
            self._openable.unpark_all()

    def _break_streams(self) -> None:
        """Break all streams, and wake the tasks that wait for one: the connection is over."""
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.break_off(self._lost())
            self._tell_closed(stream)
        self._openable.unpark_all()
        self._acceptable.unpark_all()

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(str(self._failure or self._ending))


class OrderlyClose(ConnectionLost):
    """An orderly end."""
