"""Mplex cores without I/O, and messages made by hand."""

from __future__ import annotations

from peerstack.stack.muxing.core import DataReceived, Event
from peerstack.stack.muxing.mplex import Config
from peerstack.stack.muxing.mplex.core import MplexCore
from peerstack.stack.muxing.mplex.wire import decode_header, encode_header

NEW, MESSAGE_RECEIVER, MESSAGE_INITIATOR, CLOSE_RECEIVER, CLOSE_INITIATOR, RESET_RECEIVER, RESET_INITIATOR = range(7)


def frame(number: int, flag: int, body: bytes = b"") -> bytes:
    """Return a message."""
    return encode_header(number, flag, len(body)) + body


def parse(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return (stream id, flag, body) of each message."""
    frames, position = [], 0
    while position < len(data):
        number, flag, length, position = decode_header(data, position)
        frames.append((number, flag, data[position : position + length]))
        position += length
    return frames


class Side:
    """One core with its clock."""

    def __init__(self, config: Config | None = None) -> None:
        self.now = 100.0
        self.core = MplexCore(config=config or Config(), now=self.now)

    def receive(self, *pieces: bytes) -> list[Event]:
        """Receive bytes, each piece by itself; return the events."""
        return [event for piece in pieces for event in self.core.receive_data(piece, self.now)]

    def frames(self) -> list[tuple[int, int, bytes]]:
        """Return the messages to be sent."""
        return parse(b"".join(self.core.data_to_send()))

    def open(self) -> int:
        """Open a stream."""
        return self.core.open_stream(self.now)

    def send(self, key: int, data: bytes) -> int:
        """Send data; return how much of it went."""
        return self.core.send_data(key, memoryview(data), self.now)


def data_of(events: list[Event], key: int) -> bytes:
    """Return the data of a stream among the events."""
    return b"".join(event.data for event in events if isinstance(event, DataReceived) and event.stream_id == key)
