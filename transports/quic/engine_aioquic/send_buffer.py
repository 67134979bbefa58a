"""How much each stream may queue to be sent: a connection's memory is bounded, and no stream stops the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from aioquic.quic.stream import QuicStream, QuicStreamSender

from ..config import QuicConfig

SENDER_NAMES: Final = ("_buffer_fin", "_buffer_start", "_buffer_stop", "_reset_error_code")
"""The private names of `QuicStreamSender` that this module and `connection.py` read."""


class SendBuffers:
    """What the streams of one connection have queued: sent and not acknowledged, or not sent yet."""

    def __init__(self, streams: Mapping[int, QuicStream], config: QuicConfig) -> None:
        self._streams = streams
        self._config = config
        self._at_most = 0
        """No less than what all streams have queued."""
        self.blocked: set[int] = set()
        """Streams that found no room, and were not named by `unblocked` since."""

    def write(self, stream_id: int, data: bytes | memoryview) -> int:
        """Queue what there is room for and return its size; 0 if there is none, then `unblocked` names the stream."""
        stream = self._streams.get(stream_id)
        if stream is None or not is_open(stream.sender):
            return 0
        room = self._largest() - _queued(stream.sender)
        if room <= 0:
            self.blocked.add(stream_id)
            return 0
        if room < len(data):
            data = data[:room]
        stream.sender.write(data)  # type: ignore[arg-type]  # it appends to a bytearray: any buffer will do
        self._at_most += len(data)
        return len(data)

    def unblocked(self, *, idle: bool) -> list[int]:
        """Return, once, the streams that have room again: for some packets, or for any byte if no more will come soon.

        `idle` says that nothing is under way, whose acknowledgement would make more room.
        """
        most = self._largest() - (1 if idle else self._config.least_send_buffer // 2)
        streams = self._streams
        found = [each for each in self.blocked if each not in streams or _queued(streams[each].sender) <= most]
        self.blocked.difference_update(found)
        return found

    def _largest(self) -> int:
        """Return how much one stream may queue now."""
        config = self._config
        if self._at_most >= config.connection_send_buffer:
            self._at_most = self.queued()
        return config.send_buffer if self._at_most < config.connection_send_buffer else config.least_send_buffer

    def queued(self) -> int:
        """Count what all streams have queued."""
        return sum(_queued(stream.sender) for stream in self._streams.values())


def is_open(sender: QuicStreamSender) -> bool:
    """Say whether something can be sent: neither an end nor a reset was, nor has the peer stopped reading."""
    return sender._buffer_fin is None and sender._reset_error_code is None


def _queued(sender: QuicStreamSender) -> int:
    return sender._buffer_stop - sender._buffer_start


class Acknowledgements:
    """What is to be told when all that was written up to some moment has arrived."""

    def __init__(self, streams: Mapping[int, QuicStream]) -> None:
        self._streams = streams
        self.marks: dict[int, dict[int, int]] = {}
        """Moments, and up to where each stream had written then; of streams for which that has not arrived."""
        self._last = 0

    def mark(self) -> int:
        """Name this moment."""
        self._last += 1
        self.marks[self._last] = {
            stream_id: stream.sender._buffer_stop + (stream.sender._buffer_fin is not None)
            for stream_id, stream in self._streams.items()
            if not stream.sender.is_finished
        }
        return self._last

    def reached(self) -> Iterator[int]:
        """Yield, once, the moments up to which everything was acknowledged, or its stream reset."""
        for mark, waiting in [*self.marks.items()]:
            for stream_id, position in [*waiting.items()]:
                stream = self._streams.get(stream_id)
                if stream is None or _arrived(stream.sender, position):
                    del waiting[stream_id]
            if not waiting:
                del self.marks[mark]
                yield mark


def _arrived(sender: QuicStreamSender, position: int) -> bool:
    return sender.is_finished or sender._reset_error_code is not None or sender._buffer_start >= position
