"""Agree on a protocol over a fresh stream by multistream-select 1.0.

Deadlines are the caller's: a peer may send byte by byte, or never answer. After an error or a cancellation the stream
is in an unknown state and must be closed.

Negotiation reads in chunks and gives back what it read too much by `unread`, so that the protocol that
follows sees every byte after the agreement. Wrap a stream that has no `unread` in `Replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import trio

from ..errors import LocalProtocolError, NegotiationError, RemoteProtocolError
from .wire import (
    HEADER_MESSAGE,
    LIST,
    MAX_MESSAGE,
    NOT_AVAILABLE,
    NOT_AVAILABLE_MESSAGE,
    check_header,
    decode_message,
    encode_list,
    encode_message,
    show,
)

MAX_PROPOSALS = 16
"""Proposals a listener refuses before it gives up: the spec sets no end to them, and each costs the dialer 3 bytes."""

_READ_SIZE = MAX_MESSAGE + 2


class Unreadable(Protocol):
    """A stream that can take back bytes which were read from it."""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes | bytearray:
        """Receive at least one byte, or none at the end."""
        ...

    async def send_all(self, data: bytes, /) -> None:
        """Send all of `data`."""
        ...

    def unread(self, data: bytes, /) -> None:
        """Put `data` in front of what `receive_some` returns next."""
        ...


class Replay(trio.abc.HalfCloseableStream):
    """A trio stream with `unread` on top; everything else goes to `stream`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._unread = b""

    def unread(self, data: bytes, /) -> None:
        """Put `data` in front of what `receive_some` returns next."""
        self._unread = data + self._unread

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what was unread, then from the stream."""
        if not self._unread or (max_bytes is not None and max_bytes < 1):
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._unread) if max_bytes is None else max_bytes
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the write half; raises LocalProtocolError if the stream below cannot."""
        if not isinstance(self._stream, trio.abc.HalfCloseableStream):
            raise LocalProtocolError(f"{type(self._stream).__name__} cannot close only its write half")
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream below, and forget what was unread."""
        self._unread = b""
        await self._stream.aclose()


async def negotiate_outbound(stream: Unreadable, protocols: Sequence[str]) -> str:
    """Propose `protocols` in order of preference; return the one the peer takes.

    The header and the first proposal leave in one write. Raises NegotiationError when the peer refuses all,
    RemoteProtocolError when it answers anything else or closes, LocalProtocolError for ids that cannot be sent.
    """
    proposals = [encode_message(protocol) for protocol in protocols]
    if not proposals:
        raise LocalProtocolError("no protocol to propose")
    reader = _Reader(stream)
    await stream.send_all(HEADER_MESSAGE + proposals[0])
    await reader.header()
    for index, protocol in enumerate(protocols):
        if index > 0:
            await stream.send_all(proposals[index])
        if await reader.answer(protocol):
            reader.finish()
            return protocol
    raise NegotiationError(f"the peer supports none of {_names(protocols)}", offered=tuple(protocols))


async def negotiate_inbound(
    stream: Unreadable,
    supported: Callable[[str], bool] | Collection[str],
    *,
    max_proposals: int = MAX_PROPOSALS,
    answer_ls: Collection[str] | None = None,
) -> str:
    """Accept the first proposal of the peer that is `supported`, and return it.

    Raises NegotiationError when the peer gives up or made `max_proposals` without success (`offered` holds them),
    RemoteProtocolError when it says anything else. `ls` gets `na`, as from go, because the answer tells every
    peer what runs here; pass the names as `answer_ls` to answer it.
    """
    is_supported = supported if callable(supported) else supported.__contains__
    reader = _Reader(stream)
    await reader.header()
    pending = HEADER_MESSAGE
    refused: list[str] = []
    while len(refused) < max_proposals:
        if pending and not reader.has_message():
            await stream.send_all(pending)
            pending = b""
        proposal = await reader.proposal(refused)
        if is_supported(proposal):
            await _echo(stream, pending + encode_message(proposal, limit=MAX_MESSAGE))
            reader.finish()
            return proposal
        refused.append(proposal)
        listing = answer_ls if proposal == LIST else None
        await stream.send_all(pending + (NOT_AVAILABLE_MESSAGE if listing is None else encode_list(listing)))
        pending = b""
    raise NegotiationError(f"the peer proposed {_names(refused)}; none is supported here", offered=tuple(refused))


def optimistic_prefix(protocol: str) -> bytes:
    """Encode header and proposal to send in front of the first data, before the peer agreed to anything.

    Saves a round trip where the peer is known to support `protocol`. Read the answer with `read_answer` before
    the first read of data. Three traps (spec and go `lazyClient.go`):

    - Never nest two optimistic negotiations: a listener that refuses the outer one parses the data, hence the
      inner negotiation, as further proposals.
    - On close, first send what is left and the end of the write half, then read the answer, and only then
      close: rust-libp2p drops the data when it cannot send its echo.
    - The answer may be `na`: the data is lost then, and every later operation must fail.
    """
    return HEADER_MESSAGE + encode_message(protocol)


async def read_answer(stream: Unreadable, protocol: str) -> None:
    """Read the peer's header and its answer to `optimistic_prefix(protocol)`.

    Raises NegotiationError when the peer refuses, RemoteProtocolError when it answers anything else or closes.
    """
    reader = _Reader(stream)
    await reader.header()
    if not await reader.answer(protocol):
        raise NegotiationError(f"the peer does not support {_names([protocol])}", offered=(protocol,))
    reader.finish()


async def _echo(stream: Unreadable, data: bytes) -> None:
    """Send the agreement; a peer that sent its data and reads no answer is served all the same, as go does."""
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()


def _names(protocols: Sequence[str]) -> str:
    return ", ".join(show(protocol.encode())[1:] for protocol in protocols)


class _Reader:
    """Reads messages from a stream in chunks and remembers what was read too much."""

    def __init__(self, stream: Unreadable) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def header(self) -> None:
        """Read the header."""
        while not check_header(self._buffer):
            if not await self._fill():
                raise self._closed("before the multistream-select header was complete")
        del self._buffer[: len(HEADER_MESSAGE)]

    async def answer(self, protocol: str) -> bool:
        """Read whether the peer takes `protocol`."""
        text = await self._message()
        if text is None:
            raise self._closed(f"instead of answering the proposal of {protocol!r}")
        if text not in (protocol, NOT_AVAILABLE):
            raise RemoteProtocolError(f"proposed {protocol!r}, but the peer answered {_names([text])}")
        return text == protocol

    async def proposal(self, refused: list[str]) -> str:
        """Read the next proposal; `refused` are those before it."""
        text = await self._message()
        if text is not None:
            return text
        if not refused or self._buffer:
            raise self._closed("instead of proposing a protocol")
        message = f"the peer proposed {_names(refused)} and gave up; none is supported here"
        raise NegotiationError(message, offered=tuple(refused))

    def has_message(self) -> bool:
        """Return whether a whole message is at hand, so that reading it would not wait."""
        return decode_message(self._buffer) is not None

    def finish(self) -> None:
        """Give back what belongs to the protocol that follows."""
        if self._buffer:
            self._stream.unread(bytes(self._buffer))

    async def _message(self) -> str | None:
        """Read one message, or None at the end of the stream."""
        while True:
            decoded = decode_message(self._buffer)
            if decoded is not None:
                text, size = decoded
                del self._buffer[:size]
                return text
            if not await self._fill():
                return None

    async def _fill(self) -> bool:
        data = await self._stream.receive_some(_READ_SIZE)
        self._buffer += data
        return bool(data)

    def _closed(self, when: str) -> RemoteProtocolError:
        rest = f" after {show(self._buffer)}" if self._buffer else ""
        return RemoteProtocolError(f"the peer closed the stream {when}{rest}")
