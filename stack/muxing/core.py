"""What the driver asks of the core of a muxer."""

from __future__ import annotations

from typing import Protocol

from ..abc import Buffer
from .events import Event


class MuxerCore(Protocol):
    """One side of a session as a machine without I/O: bytes and commands in, events and bytes out, one deadline.

    The driver sends what `data_to_send` returns after every call. Times are seconds of trio's clock.
    """

    @property
    def rtt(self) -> float | None:
        """The latest round-trip time in seconds."""
        ...

    @property
    def leaving(self) -> bool:
        """Whether either side has said goodbye."""
        ...

    @property
    def stream_count(self) -> int:
        """Streams in either direction that are not done."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes received that the application has not consumed."""
        ...

    @property
    def saturated(self) -> bool:
        """Whether nothing more should be read until the application has consumed some; always no with flow control."""
        ...

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called now."""
        ...

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would return anything."""
        ...

    def send_credit(self, stream_id: int) -> int:
        """Return how many bytes the stream may send now; 0 for a stream that is gone."""
        ...

    def data_to_send(self) -> list[Buffer]:
        """Return the buffers to be sent, as one run of bytes, and forget them."""
        ...

    def open_stream(self, now: float) -> int:
        """Begin a stream and return its id."""
        ...

    def send_data(self, stream_id: int, data: memoryview, now: float) -> int:
        """Frame the first part of `data` and return its size; 0 when the stream may not send now."""
        ...

    def send_eof(self, stream_id: int) -> list[Event]:
        """End our half of the stream."""
        ...

    def close(self, stream_id: int, now: float) -> list[Event]:
        """End our half and stop listening."""
        ...

    def reset(self, stream_id: int, code: int = ...) -> list[Event]:
        """Abort the stream; nothing happens if it is gone already."""
        ...

    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """Note that the application took `size` received bytes."""
        ...

    def hold(self, size: int) -> None:
        """Go on counting bytes of a stream that is gone, which may still be read; fewer than none when they were."""
        ...

    def leave(self) -> None:
        """Begin nothing new, and say goodbye if there is a word for it."""
        ...

    def blame(self, code: int | None) -> None:
        """Tell the peer that it broke the protocol, if there is a word for it."""
        ...

    def release(self) -> None:
        """Give back what all streams have reserved; the session is over."""
        ...

    def next_deadline(self) -> float:
        """Return when `handle_deadline` should be called next."""
        ...

    def handle_deadline(self, now: float) -> list[Event]:
        """Run what is due at `now`. Raises ConnectionLost."""
        ...

    def receive_data(self, data: bytes, now: float, events: list[Event] | None = None) -> list[Event]:
        """Take bytes from the peer and return what they mean, in `events` if that is given.

        Raises RemoteProtocolError; `events` then holds what came before.
        """
        ...
