"""What the core of a muxer tells its driver. Stream ids here are the core's own names for streams, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes for a stream; tell the core with `consumed` when the application has taken them."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The peer will send no more on the stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamWasReset:
    """The stream is gone, by the peer or by a limit of ours (`remote` tells).

    What the peer sent before its own reset may still be read; after a limit of ours nothing may.
    """

    stream_id: int
    code: int
    remote: bool


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """The stream's send window was empty and is not any more."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamAcknowledged:
    """The peer took a stream of ours; another may be opened (where the wire has a word for it)."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """Both halves of the stream are done; the core has forgotten it."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer ends the session (where the wire has a word for it)."""

    code: int


Event: TypeAlias = (
    StreamOpened
    | DataReceived
    | StreamFinished
    | StreamWasReset
    | WindowOpened
    | StreamAcknowledged
    | StreamClosed
    | GoAwayReceived
)
