"""A pipe that only holders of a pre-shared key can read.

Each direction begins with 24 bytes of nonce in clear; everything after them is XORed with the one keystream of
XSalsa20(key, nonce). There is no handshake and no integrity: that is for the security protocol inside.
"""

from __future__ import annotations

import os
from contextlib import suppress
from operator import index
from typing import Final

import trio
from Crypto.Cipher.Salsa20 import Salsa20Cipher
from Crypto.Util.strxor import strxor

from ...abc import Buffer, Pipe
from ...background import Guard
from ...errors import RemoteProtocolError
from ...net.pipes import as_pipe
from .xsalsa20 import NONCE_SIZE, xsalsa20

CHUNK: Final = 64 * 1024
"""Bytes encrypted at a time: what the pipe below refuses of it is encrypted again."""
_ZEROS: Final = bytes(CHUNK)


class _Keystream:
    """A keystream whose next bytes can be read before they are used up.

    A byte of it belongs to one position of the stream, not to what is sent there: if the pipe below takes only a part,
    or a send is cancelled, the rest encrypts what the caller sends next.
    """

    __slots__ = ("_ahead", "_cipher")

    def __init__(self, cipher: Salsa20Cipher) -> None:
        self._cipher = cipher
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, at most CHUNK, without using them up."""
        missing = size - len(self._ahead)
        if missing > 0:
            self._ahead += self._cipher.encrypt(_ZEROS[:missing])
        return self._ahead[:size]

    def advance(self, size: int) -> None:
        """Use up `size` bytes that were read."""
        self._ahead = self._ahead[size:]


class PrivatePipe(Pipe):
    """A byte stream inside a private network, over any stream.

    A nonce travels with the first bytes of its side, or alone before that side first receives.
    """

    __slots__ = ("_cipher", "_key", "_keystream", "_nonce", "_pipe", "_receiving", "_replay", "_sending", "_theirs")

    def __init__(self, stream: trio.abc.Stream, key: bytes) -> None:
        self._pipe = as_pipe(stream)
        self._key = key
        self._nonce = os.urandom(NONCE_SIZE)
        """The part of our nonce still to be sent."""
        self._keystream = _Keystream(xsalsa20(key, self._nonce))
        self._theirs = b""
        """The part of the peer's nonce received so far."""
        self._cipher: Salsa20Cipher | None = None
        self._replay = b""
        self._sending = Guard("another task is sending on this connection")
        self._receiving = Guard("another task is receiving on this connection")

    # ---- sending

    def send_nowait(self, data: Buffer) -> int:
        """Send what fits at once; see `Pipe.send_nowait`."""
        with self._sending, memoryview(data).cast("B") as view:
            position = 0
            while position < len(view):
                sealed = self._seal(view[position:])
                taken = self._pipe.send_nowait(sealed)
                position += self._sent(taken)
                if taken < len(sealed):
                    break
            return position

    async def send_some(self, data: Buffer) -> int:
        """Wait until something can be sent, send it, and return how many bytes went."""
        with self._sending:
            return await self._send_some(data)

    async def _send_some(self, data: Buffer) -> int:
        sent = 0
        while not sent:
            sent = self._sent(await self._pipe.send_some(self._seal(data)))
        return sent

    def _seal(self, data: Buffer) -> bytes:
        """Return the first part of the data as it goes over the wire, behind what is left of the nonce."""
        piece = bytes(memoryview(data).cast("B")[:CHUNK])
        return self._nonce + strxor(piece, self._keystream.peek(len(piece)))

    def _sent(self, taken: int) -> int:
        """Note what the pipe below took; return how many bytes of data that are."""
        data = max(0, taken - len(self._nonce))
        self._nonce = self._nonce[taken:]
        self._keystream.advance(data)
        return data

    async def send_all(self, data: Buffer) -> None:
        """Send everything."""
        with self._sending, memoryview(data).cast("B") as view:
            if not view:
                await self._pipe.send_all(b"")
            await trio.lowlevel.checkpoint()  # the pipe below may send what fits without one
            position = 0
            while position < len(view):
                position += await self._send_some(view[position:])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe below takes bytes again."""
        with self._sending:
            await self._pipe.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction of the pipe."""
        with self._sending:
            await self._pipe.send_eof()

    def _introduce(self) -> None:
        """Send our nonce now, if no data carried it: some peers wait for it before they send anything."""
        if self._nonce and self._cipher is None and not self._sending.held:
            # Where the other direction has ended already, there may still be something to receive.
            with self._sending, suppress(trio.BrokenResourceError):
                self._nonce = self._nonce[self._pipe.send_nowait(self._nonce) :]

    # ---- receiving

    def receive_nowait(self, buffer: memoryview) -> int:
        """Receive into `buffer`; see `Pipe.receive_nowait`. Raises RemoteProtocolError for a nonce cut short."""
        if self._replay:
            size = min(len(buffer), len(self._replay))
            buffer[:size], self._replay = self._replay[:size], self._replay[size:]
            return size
        self._introduce()
        while self._cipher is None:
            piece = bytearray(NONCE_SIZE - len(self._theirs))
            with memoryview(piece) as view:
                size = self._pipe.receive_nowait(view)
            if not size:
                return self._no_nonce()
            self._take_nonce(piece[:size])
        size = self._pipe.receive_nowait(buffer)
        if size:
            arrived = buffer[:size]
            self._cipher.decrypt(arrived, arrived)
        return size

    async def wait_receive_might_not_block(self) -> None:
        """Wait until there is something to receive."""
        if self._replay:
            await trio.lowlevel.checkpoint()
        else:
            await self._pipe.wait_receive_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end. Raises RemoteProtocolError for a nonce cut short."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            if self._replay:
                await trio.lowlevel.checkpoint()
                size = len(self._replay) if max_bytes is None else max_bytes
                data, self._replay = self._replay[:size], self._replay[size:]
                return data
            self._introduce()
            while self._cipher is None:
                piece = await self._pipe.receive_some(NONCE_SIZE - len(self._theirs))
                if not piece:
                    self._no_nonce()
                    return b""
                self._take_nonce(piece)
            return self._cipher.decrypt(await self._pipe.receive_some(max_bytes))

    def _take_nonce(self, piece: bytes | bytearray) -> None:
        self._theirs += piece
        if len(self._theirs) == NONCE_SIZE:
            self._cipher = xsalsa20(self._key, self._theirs)

    def _no_nonce(self) -> int:
        """The peer sent nothing at all, which is an ordinary end, or stopped inside its nonce."""
        if self._theirs:
            raise RemoteProtocolError(f"the stream ended after {len(self._theirs)} of the nonce's {NONCE_SIZE} bytes")
        return 0

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next receive returns them first."""
        self._replay = data + self._replay

    async def aclose(self) -> None:
        """Close the pipe below."""
        await self._pipe.aclose()
