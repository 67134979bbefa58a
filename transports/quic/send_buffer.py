"""How much each stream may queue to be sent: a connection's memory is bounded, and no stream stops the others."""

from __future__ import annotations

from collections.abc import Collection

from peerstack.stack.background import Waiter

from .config import QuicConfig
from .interface import Engine


class SendRoom:
    """The send buffers of one connection's streams, and the senders that wait for room in them."""

    def __init__(self, engine: Engine, config: QuicConfig) -> None:
        self._engine = engine
        self._config = config
        self._waiting: dict[int, Waiter] = {}

    def used(self, stream_id: int) -> bool:
        """Say whether a stream has bytes that were not acknowledged."""
        return self._engine.send_room(stream_id) < self._config.send_buffer

    def of(self, stream_id: int, streams: Collection[int]) -> int:
        """Return how many bytes a stream may queue now; `streams` are all there are."""
        return self._room(stream_id, self.queued(streams))

    def queued(self, streams: Collection[int]) -> int:
        """Count what all streams have queued; 0 while they are so few that it cannot be too much."""
        size = self._config.send_buffer
        if len(streams) * size <= self._config.connection_send_buffer:
            return 0
        return sum(size - self._engine.send_room(stream_id) for stream_id in streams)

    def _room(self, stream_id: int, queued: int) -> int:
        room, config = self._engine.send_room(stream_id), self._config
        if queued < config.connection_send_buffer:
            return room
        return config.least_send_buffer - (config.send_buffer - room)

    def is_there(self, stream_id: int, streams: Collection[int], sender: Waiter) -> bool:
        """Say whether a stream may queue something now; if not, the sender is woken once there is room."""
        if self.of(stream_id, streams) > 0:
            return True
        self._waiting[stream_id] = sender
        return False

    def wake(self, streams: Collection[int]) -> None:
        """Wake the senders that have room for more than a few packets."""
        if self._waiting:
            queued, enough = self.queued(streams), self._config.least_send_buffer // 2
            for stream_id in [each for each in self._waiting if self._room(each, queued) >= enough]:
                self._waiting.pop(stream_id).wake()
