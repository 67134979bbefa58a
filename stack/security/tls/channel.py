"""The data path of TLS: OpenSSL between two memory buffers, and the pipe."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import index
from typing import Final

import trio
from OpenSSL import SSL

from ...abc import Buffer, Channel, Pipe
from ...background import Guard
from ...errors import ConnectionLost, RemoteProtocolError

RECORD: Final = 16 * 1024
"""Bytes of plaintext in a full record."""
_OUTPUT: Final = 256 * 1024
_RECEIVE: Final = 256 * 1024
_DIRECT: Final = 8 * 1024
"""Buffers at least this large are sealed where they lie; smaller ones are joined first, to share a record."""
_KEPT_BUFFERS: Final = 4
_HEADER: Final = 5  # bytes of a record's header, of which the last two are the length of the rest

_free_buffers: list[bytearray] = []


class _Records:
    """Follows where records begin, to tell an end of the wire between two of them from one inside."""

    __slots__ = ("_header", "_missing")

    def __init__(self) -> None:
        self._header = b""
        self._missing = 0

    @property
    def inside(self) -> bool:
        """Whether bytes of a record are still to come."""
        return bool(self._header or self._missing)

    def follow(self, data: memoryview) -> None:
        """Take note of bytes that arrived."""
        position, end = self._missing, len(data)
        if self._header:
            position = -len(self._header)
        while position < end:
            header = (
                (self._header + bytes(data[: _HEADER + position]))
                if position < 0
                else data[position : position + _HEADER]
            )
            if len(header) < _HEADER:
                self._header, self._missing = bytes(header), 0
                return
            self._header = b""
            position += _HEADER + (header[3] << 8 | header[4])
        self._missing = position - end


class TlsChannel(Channel):
    """An encrypted channel over a pipe, after the handshake."""

    def __init__(self, pipe: Pipe, connection: SSL.Connection) -> None:
        self._pipe = pipe
        self._connection = connection
        self._output: deque[memoryview] = deque()
        self._queued = 0
        self._pushback: list[bytes] = []
        self._ended = False
        self._records = _Records()
        self._sending = Guard("another task is sending on this channel")
        self._receiving = Guard("another task is receiving on this channel")

    # ---- sending

    @property
    def queued(self) -> int:
        """Bytes sealed but not yet taken by the pipe."""
        return self._queued

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Seal the buffers, as one run of bytes, into the queue."""
        small: list[Buffer] = []
        size = 0
        for buffer in buffers:
            if len(buffer) < _DIRECT and size + len(buffer) <= RECORD:
                small.append(buffer)
                size += len(buffer)
                continue
            if size:
                self._seal(b"".join(small))
                small, size = [], 0
            if len(buffer) < _DIRECT:
                small, size = [buffer], len(buffer)
            else:
                self._seal(buffer)
        if size:
            self._seal(b"".join(small))
        self._collect()

    def _seal(self, plaintext: Buffer) -> None:
        send = self._connection.send
        try:
            sent = send(plaintext)
            # OpenSSL takes one record at a time.
            with memoryview(plaintext) as view:
                while sent < len(view):
                    sent += send(view[sent : sent + RECORD])
        except SSL.Error as error:
            raise ConnectionLost(f"TLS can not send any more: {error}") from None

    def _collect(self) -> None:
        for data in take_output(self._connection):
            self._output.append(memoryview(data))
            self._queued += len(data)

    def flush_nowait(self) -> None:
        """Hand the pipe as much of the queue as it takes without waiting."""
        while self._output:
            sent = self._pipe.send_nowait(self._output[0])
            if not sent:
                return
            self._sent(sent)

    async def flush(self) -> None:
        """Wait until the pipe has taken the whole queue."""
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            while self._output:
                self._sent(await self._pipe.send_some(self._output[0]))

    def _sent(self, size: int) -> None:
        self._queued -= size
        first = self._output[0]
        if size == len(first):
            self._output.popleft()
        else:
            self._output[0] = first[size:]

    async def send_eof(self) -> None:
        """Say that we are done (close_notify), and end our direction of the pipe."""
        self._connection.shutdown()
        self._collect()
        await self.flush()
        await self._pipe.send_eof()

    # ---- receiving

    async def read(self) -> list[bytes]:
        """Wait for bytes and return the plaintext of every whole record that is there; an empty list is the end."""
        if self._pushback:
            await trio.lowlevel.checkpoint()
            chunks, self._pushback = self._pushback, []
            return chunks
        with self._receiving:
            # What came together with the end of the handshake waits inside OpenSSL.
            opened = self._open()
            while not opened and not self._ended:
                await self._pipe.wait_receive_might_not_block()
                self._receive_nowait()
                opened = self._open()
            return opened

    def _receive_nowait(self) -> None:
        buffer = _free_buffers.pop() if _free_buffers else bytearray(_RECEIVE)
        try:
            with memoryview(buffer) as view:
                received = self._pipe.receive_nowait(view)
                if received:
                    with view[:received] as arrived:
                        self._records.follow(arrived)
                        self._connection.bio_write(arrived)
                elif self._records.inside:
                    raise ConnectionLost("the connection ended inside a TLS record")
                else:
                    self._ended = True
        except trio.WouldBlock:
            pass
        finally:
            if len(_free_buffers) < _KEPT_BUFFERS:
                _free_buffers.append(buffer)

    def _open(self) -> list[bytes]:
        chunks: list[bytes] = []
        try:
            while True:
                chunks.append(self._connection.recv(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._ended = True
        except SSL.Error as error:
            self._ended = True
            raise RemoteProtocolError(f"a TLS record does not decrypt, or is not one: {error}") from None
        # A key update of the peer asks for one of ours.
        self._collect()
        return chunks

    def unread(self, data: bytes) -> None:
        """Give bytes back: the next read returns them first."""
        if data:
            self._pushback.insert(0, data)

    # ---- as a plain trio stream, for the negotiation of a muxer

    async def send_all(self, data: Buffer) -> None:
        """Seal and send everything."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            if len(data):
                self.write([data])
        await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe takes bytes again."""
        await self._pipe.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        chunks = await self.read()
        if not chunks:
            return b""
        data = b"".join(chunks)
        if max_bytes is not None and len(data) > max_bytes:
            self.unread(data[max_bytes:])
            data = data[:max_bytes]
        return data

    async def aclose(self) -> None:
        """Close the pipe; what is queued and not flushed is lost."""
        await self._pipe.aclose()


def take_output(connection: SSL.Connection) -> list[bytes]:
    """Return the records that OpenSSL wants sent."""
    output: list[bytes] = []
    try:
        while True:
            output.append(connection.bio_read(_OUTPUT))
    except SSL.WantReadError:
        return output
