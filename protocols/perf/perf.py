"""Perf (`perf/perf.md`): upload some bytes, then download some, and see how long each took.

client                                     server
  ── u64 big endian: bytes wanted back ──────▶
  ── any bytes, then the end ────────────────▶
  ◀──────────── so many bytes, then the end ──      never before the client's end
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from peerstack.stack.abc import OpensStreams, Stream
from peerstack.stack.addressing import AnyPeer
from peerstack.stack.errors import LimitExceeded, Refused, RemoteProtocolError
from peerstack.stack.host.arguments import check_part
from peerstack.stack.identity import PeerId

PROTOCOL = "/perf/1.0.0"
MAX_STREAMS_PER_PEER = 2
"""For `host.handle`: one exchange, and the next while it ends. js-libp2p serves 1, go-libp2p does not know perf and
serves its default, 64 and more: they would share one connection, and measure each other."""
BLOCK = 256 * 1024
"""Bytes given to the stream at once, always the same ones: nothing is copied or generated while the clock runs."""
MAX_BYTES = (1 << 64) - 1

GIB = 1024**3

_HEADER = struct.Struct(">Q")
_ZEROS = memoryview(bytes(BLOCK))

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfConfig:
    """What a client may ask of us: the eight bytes of a request can ask for 2**64 - 1 bytes."""

    max_upload: int = 16 * GIB
    """Bytes a client may send in one exchange."""
    max_download: int = 16 * GIB
    """Bytes a client may ask for in one exchange."""
    max_seconds: float = 300.0
    """For one exchange (rust-libp2p: 5 min)."""
    allowed: frozenset[PeerId] | None = None
    """The peers served; None for all."""

    def __post_init__(self) -> None:
        if self.max_upload < 0 or not 0 <= self.max_download <= MAX_BYTES or self.max_seconds <= 0:
            raise ValueError(f"limits out of range: {self}")


@dataclass(frozen=True, slots=True)
class PerfResult:
    """What was moved, in bytes, and how long it took, in seconds."""

    upload_bytes: int
    upload_seconds: float
    """From the first byte sent until the peer has seen the last, as shown by its first byte or its end."""
    download_bytes: int
    download_seconds: float
    """From then until the end."""


async def measure(
    host: OpensStreams, peer: AnyPeer, *, upload: int, download: int, on_progress: Progress | None = None
) -> PerfResult:
    """Upload and download so many bytes, one after the other, to a peer by its id or an address that ends in it.

    `on_progress` is called after each block with the bytes uploaded and downloaded so far; a slow one slows the
    measurement. Raises ValueError for impossible sizes, RemoteProtocolError when the peer sends another number of
    bytes than asked for, and what `open_stream` and the stream raise.
    """
    check_part(host, "the host that measures", "open_stream")
    if not isinstance(upload, int) or not isinstance(download, int):
        raise TypeError(f"upload and download are numbers of bytes, not {upload!r} and {download!r}")
    if upload < 0 or not 0 <= download <= MAX_BYTES:
        raise ValueError(f"cannot move {upload} bytes there and {download} back")
    async with _open(host, peer) as stream:
        started = trio.current_time()
        await stream.send_all(_HEADER.pack(download))
        await _send_zeros(stream, upload, lambda sent: on_progress and on_progress(sent, 0))
        await stream.send_eof()
        chunk = await stream.receive_some(BLOCK)
        turned = trio.current_time()
        received = len(chunk)
        while chunk and received <= download:
            if on_progress:
                on_progress(upload, received)
            chunk = await stream.receive_some(BLOCK)
            received += len(chunk)
        ended = trio.current_time()
        if received != download:
            raise RemoteProtocolError(f"asked for {download} bytes, but the peer sent {'more' if chunk else received}")
    return PerfResult(upload, turned - started, download, ended - turned)


async def serve(stream: Stream, config: PerfConfig) -> None:
    """Take what the peer uploads, then send what it asked for, within the config's limits.

    Give `host.handle` the limit `max_streams_per_peer=MAX_STREAMS_PER_PEER` with it: without that a peer may have as
    many exchanges as `Limits` allows for any protocol (256).
    Raises Refused, LimitExceeded, or RemoteProtocolError; the stream is reset when the time is over.
    """
    if config.allowed is not None and stream.remote_peer not in config.allowed:
        raise Refused(f"perf is not served to {stream.remote_peer}")
    with trio.move_on_after(config.max_seconds):
        wanted, uploaded = await _receive_header(stream)
        if wanted > config.max_download:
            raise LimitExceeded("perf", "bytes to send back", config.max_download)
        while uploaded <= config.max_upload:
            chunk = await stream.receive_some(BLOCK)
            if not chunk:
                await _send_zeros(stream, wanted)
                await stream.aclose()
                return
            uploaded += len(chunk)
        raise LimitExceeded("perf", "bytes to receive", config.max_upload)
    stream.reset()


async def _receive_header(stream: Stream) -> tuple[int, int]:
    """Return how many bytes the client wants, and how many it uploaded together with the header."""
    header = bytearray()
    while len(header) < _HEADER.size:
        chunk = await stream.receive_some(BLOCK)
        if not chunk:
            raise RemoteProtocolError(f"the stream ended after {len(header)} of the {_HEADER.size} bytes of the header")
        header += chunk
    return _HEADER.unpack_from(header)[0], len(header) - _HEADER.size


async def _send_zeros(stream: Stream, count: int, on_sent: Callable[[int], object] = lambda sent: None) -> None:
    sent = 0
    while sent < count:
        size = min(BLOCK, count - sent)
        await stream.send_all(_ZEROS[:size])
        sent += size
        on_sent(sent)


@asynccontextmanager
async def _open(host: OpensStreams, peer: AnyPeer) -> AsyncIterator[Stream]:
    stream = await host.open_stream(peer, PROTOCOL)
    try:
        yield stream
    except BaseException:
        stream.reset()
        raise
    await stream.aclose()
