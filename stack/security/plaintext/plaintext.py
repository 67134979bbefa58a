"""The plaintext handshake, in which both sides claim who they are and prove nothing, and a channel without security."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import trio

from ...abc import Buffer, Channel, Pipe, Secured
from ...background import Guard
from ...errors import ConnectionLost, InvalidInput, InvalidKey, PeerIdMismatch, RemoteProtocolError
from ...framing import encode_length_prefixed, read_length_prefixed
from ...identity import Identity, PeerId, PublicKey
from ...net.pipes import as_pipe
from .wire import MAX_EXCHANGE, PROTOCOL_ID, Exchange

READ_SIZE = 64 * 1024
"""Bytes asked of the pipe at a time."""

MAX_READ = 4 * READ_SIZE
"""Most bytes that one `read` returns, so that a fast sender cannot keep the reader from its other work."""


class InsecurePlaintext:
    """No security: every host on the path can read and change every byte, and claim to be any peer.

    For tests, and for looking at the wire. Listed beside a real protocol, it may be chosen by the peer, or by a host on
    the path. It names no muxer early.
    """

    protocol_id = PROTOCOL_ID

    def __init__(self, identity: Identity, *, for_tests_only: Literal[True]) -> None:
        """`for_tests_only` must be given, InvalidInput otherwise: it says that no security is meant."""
        if for_tests_only is not True:
            raise InvalidInput("plaintext protects nothing; say for_tests_only=True if that is meant")
        self.local_peer = identity.peer_id
        """The peer id this claims."""
        self._exchange = Exchange(identity.peer_id.to_bytes(), identity.public_key.encode()).encode()

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        """Exchange claims; see `abc.Security.secure`. Both sides send first, whichever dialed."""
        pipe = as_pipe(stream)
        try:
            await pipe.send_all(encode_length_prefixed(self._exchange))
            data = await read_length_prefixed(pipe, limit=MAX_EXCHANGE)
        except ConnectionLost:
            raise
        except trio.BrokenResourceError as error:
            raise ConnectionLost(f"the connection broke during the plaintext exchange: {error}") from error
        return Secured(PlainChannel(pipe), _check(Exchange.decode(data), expect))


def _check(exchange: Exchange, expect: PeerId | None) -> PublicKey:
    """Return the claimed key, if id and key belong together and are those expected."""
    try:
        key = PublicKey.decode(exchange.public_key)
    except InvalidKey as error:
        raise RemoteProtocolError(f"the peer's identity key is not usable: {error}") from error
    if key.peer_id.to_bytes() != exchange.peer_id:
        raise RemoteProtocolError(f"the peer claims an id that is not that of its key, {key.peer_id}")
    if expect is not None and key.peer_id != expect:
        raise PeerIdMismatch(expect, key.peer_id)
    return key


class PlainChannel(Channel):
    """Passes bytes on as they are. Never use it between hosts: every host on the path can read and change them."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._sending = Guard("another task is sending on this channel")

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Copy the buffers into the queue."""
        data = b"".join(buffers)
        if data:
            self._queue.append(memoryview(data))
            self._queued += len(data)

    @property
    def queued(self) -> int:
        """Bytes not yet taken by the pipe."""
        return self._queued

    def flush_nowait(self) -> None:
        """Hand the pipe what it takes at once."""
        while self._queue:
            sent = self._pipe.send_nowait(self._queue[0])
            if not sent:
                return
            self._advance(sent)

    async def flush(self) -> None:
        """Wait until the pipe has taken the whole queue."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            while self._queue:
                self._advance(await self._pipe.send_some(self._queue[0]))

    async def send_eof(self) -> None:
        """End our direction of the pipe."""
        await self._pipe.send_eof()

    async def read(self) -> list[bytes]:
        """Wait for bytes and return all that are there; an empty list is the end."""
        while True:
            await self._pipe.wait_receive_might_not_block()
            pieces = self._read_nowait()
            if pieces is not None:
                return pieces

    def _read_nowait(self) -> list[bytes] | None:
        """Return what is there, nothing at the end, and None when it would have to be waited for after all."""
        buffer = memoryview(bytearray(READ_SIZE))
        pieces: list[bytes] = []
        while len(pieces) < MAX_READ // READ_SIZE:
            try:
                count = self._pipe.receive_nowait(buffer)
            except trio.WouldBlock:
                return pieces or None
            if not count:
                break
            pieces.append(bytes(buffer[:count]))
        return pieces

    def unread(self, data: bytes) -> None:
        """Give bytes back: the next read returns them first."""
        self._pipe.unread(data)

    async def send_all(self, data: Buffer) -> None:
        """Write the data and flush."""
        self.write([data])
        await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe has room."""
        await self._pipe.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return at most `max_bytes` of them; none at the end."""
        return bytes(await self._pipe.receive_some(max_bytes))

    async def aclose(self) -> None:
        """Close the pipe; what is still queued is lost."""
        # The queue stays as it is: a task that flushes may be in the middle of it.
        await self._pipe.aclose()

    def _advance(self, sent: int) -> None:
        piece = self._queue.popleft()
        self._queued -= sent
        if sent < len(piece):
            self._queue.appendleft(piece[sent:])
