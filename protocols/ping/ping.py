"""Ping (`ping/ping.md`): 32 random bytes, sent back as they came, as often as the dialer likes on one stream.

dialer                      listener
  ── 32 bytes ────────────────▶
  ◀──────────────── 32 bytes ──
  ── end ─────────────────────▶
  ◀───────────────────── end ──
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Self

import trio

from peerstack.stack.abc import OpensStreams, Stream
from peerstack.stack.addressing import AnyPeer
from peerstack.stack.errors import InvalidInput, RemoteProtocolError
from peerstack.stack.framing import BufferedReader, EndOfMessages
from peerstack.stack.host.arguments import check_part

PROTOCOL = "/ipfs/ping/1.0.0"
SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PingConfig:
    """Deadlines of the answering side, in seconds; a peer could hold its streams open for ever."""

    idle: float = 30.0
    """Between two pings; rust-libp2p sends one every 15 s on a long-lived stream."""
    total: float = 60.0
    """For one stream, however busy: an endless loop of pings costs the sender no more than us (go-libp2p: 30 s)."""

    def __post_init__(self) -> None:
        if self.idle <= 0 or self.total <= 0:
            raise ValueError(f"deadlines must be positive: idle {self.idle}, total {self.total}")


async def ping(host: OpensStreams, peer: AnyPeer, *, count: int = 1) -> float:
    """Return the round-trip time to a peer in seconds, the median of `count` pings on one stream.

    The peer is a PeerId, the text of one, or an address that ends in `/p2p/<id>`. Raises RemoteProtocolError for
    a wrong echo, and what `open_stream` and the stream raise.
    """
    if not isinstance(count, int) or count < 1:
        raise InvalidInput(f"count is a whole number of pings, at least 1, not {count!r}")
    async with pings(host, peer) as times:
        return median([await anext(times) for _ in range(count)])


@asynccontextmanager
async def pings(host: OpensStreams, peer: AnyPeer) -> AsyncIterator[Pings]:
    """Open an endless iterator of round-trip times in seconds; each step sends one ping.

    The caller sets the pace, by what it does between two steps.
    """
    check_part(host, "the host that pings", "open_stream")
    iterator = Pings(host, peer, await host.open_stream(peer, PROTOCOL, allow_limited=True))
    try:
        yield iterator
    except BaseException:
        iterator.stream.reset()
        raise
    await iterator.stream.aclose()


class Pings:
    """Round-trip times to one peer; see `pings`."""

    def __init__(self, host: OpensStreams, peer: AnyPeer, stream: Stream) -> None:
        self.stream = stream
        self._host = host
        self._peer = peer
        self._reader = BufferedReader(stream)
        self._answered = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> float:
        """Send one ping and return how long its echo took, in seconds."""
        try:
            return await self._round()
        except (EndOfMessages, trio.BrokenResourceError):
            # Listeners end long-lived streams (go after 30 s): that says nothing about the peer.
            if not self._answered:
                raise
        self.stream.reset()
        self.stream = await self._host.open_stream(self._peer, PROTOCOL, allow_limited=True)
        self._reader = BufferedReader(self.stream)
        self._answered = False
        return await self._round()

    async def _round(self) -> float:
        payload = secrets.token_bytes(SIZE)
        started = trio.current_time()
        await self.stream.send_all(payload)
        echo = await self._reader.receive_exactly(SIZE)
        elapsed = trio.current_time() - started
        if echo != payload:
            raise RemoteProtocolError("the peer answered a ping with other bytes than were sent")
        self._answered = True
        return elapsed


_DEFAULT = PingConfig()


async def serve(stream: Stream, config: PingConfig = _DEFAULT) -> None:
    """Echo pings until the peer is done; reset the stream when it takes longer than the config allows.

    Raises RemoteProtocolError when the stream ends inside a ping.
    """
    reader = BufferedReader(stream)
    end = trio.current_time() + config.total
    # One scope whose deadline moves: a scope for each ping would cost more than the rest of the echo.
    with trio.CancelScope() as scope:
        while True:
            scope.deadline = min(trio.current_time() + config.idle, end)
            try:
                payload = await reader.receive_exactly(SIZE)
            except EndOfMessages:
                await stream.aclose()
                return
            await stream.send_all(payload)
    stream.reset()
