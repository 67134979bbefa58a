"""The data path of TLS 1.3: records are sealed into the send queue, and opened from the receive buffer, without copies.

OpenSSL does the handshake and hands over its traffic secrets (as for TLS in the kernel). OpenSSL's own records would go
through two memory buffers, one record and three copies at a time, which takes longer than encrypting them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio
from cryptography.exceptions import InvalidTag

from ...abc import Buffer, Pipe
from ...errors import ConnectionLost, RemoteProtocolError
from ..sealed import SealedChannel, borrow_buffer, give_back
from . import records
from .alerts import describe_alert
from .records import ALERT, APPLICATION_DATA, HANDSHAKE, HEADER, MAX_PLAINTEXT, NONCE_SIZE, VERSION, TrafficKeys

MAX_MESSAGE: Final = 64 * 1024
"""Bytes of the longest message after the handshake that is accepted: a session ticket, which may hold certificates."""
MAX_IDLE_RECORDS: Final = 32
"""Records in a row that carry no data. Each costs a peer 22 bytes and us a decryption; go-libp2p accepts 16."""
_HEADER_SIZE: Final = HEADER.size
_OVERHEAD: Final = _HEADER_SIZE + 1 + records.TAG_SIZE
_MESSAGE_HEADER: Final = 4
_WARNING, _FATAL = 1, 2


class TlsChannel(SealedChannel):
    """An encrypted channel over a pipe, after the handshake."""

    frame = "TLS record"

    def __init__(self, pipe: Pipe, send: TrafficKeys, receive: TrafficKeys) -> None:
        super().__init__(pipe)
        self._send_keys = send
        self._receive_keys = receive
        self._message = b""
        self._idle_records = 0
        self._owes_update = False

    # ---- sending

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Seal the buffers, as one run of bytes, into the queue."""
        if self._owes_update:
            # Before the next data, as section 4.6.3 asks; many requests in the meantime get one answer.
            self._owes_update = False
            self._update_keys()
        scratch = borrow_buffer()
        filled = 0
        with memoryview(scratch) as plaintext:
            for buffer in buffers:
                position, size = 0, len(buffer)
                view = memoryview(buffer)
                while position < size:
                    step = min(size - position, MAX_PLAINTEXT - filled)
                    # The cipher needs data and type in one piece.
                    plaintext[filled : filled + step] = view[position : position + step]
                    position += step
                    filled += step
                    if filled == MAX_PLAINTEXT:
                        self._seal(plaintext, filled, APPLICATION_DATA)
                        filled = 0
            if filled:
                self._seal(plaintext, filled, APPLICATION_DATA)
        give_back(scratch)

    def _seal(self, plaintext: memoryview, size: int, kind: int) -> None:
        """Seal `plaintext[:size]`, a content of the given type; the byte behind it is overwritten."""
        keys = self._send_keys
        if keys.sequence >= keys.limit and kind == APPLICATION_DATA:
            self._update_keys()
            keys = self._send_keys
        plaintext[size] = kind
        record = self._reserve(size + _OVERHEAD)
        header = HEADER.pack(APPLICATION_DATA, VERSION, size + _OVERHEAD - _HEADER_SIZE)
        record[:_HEADER_SIZE] = header
        nonce = (keys.iv ^ keys.sequence).to_bytes(NONCE_SIZE, "big")
        # Before it is used, so that no nonce is used twice whatever is raised here, such as a KeyboardInterrupt.
        keys.sequence += 1
        keys.encrypt_into(nonce, plaintext[: size + 1], header, record[_HEADER_SIZE:])

    def _seal_bytes(self, content: bytes, kind: int) -> None:
        self._seal(memoryview(bytearray(content + b"\0")), len(content), kind)

    def _update_keys(self) -> None:
        self._seal_bytes(bytes([records.KEY_UPDATE, 0, 0, 1, 0]), HANDSHAKE)
        self._send_keys = self._send_keys.next()

    async def send_eof(self) -> None:
        """Send close_notify, and end our direction of the pipe."""
        with self._sending:
            self._seal_bytes(bytes([_WARNING, records.CLOSE_NOTIFY]), ALERT)
            await self._flush()
            await self._pipe.send_eof()

    # ---- receiving

    def _open(self, view: memoryview, end: int) -> list[bytes]:
        buffer = borrow_buffer()
        try:
            with memoryview(buffer) as opened:
                size, used = self._open_into(opened, view, end)
                self._partial = bytes(view[used:end])
                return [bytes(opened[:size])] if size else []
        finally:
            give_back(buffer)

    def _open_into(self, opened: memoryview, view: memoryview, end: int) -> tuple[int, int]:
        """Open whole records of `view[:end]`; return the bytes of data in `opened`, and the bytes of records used."""
        filled = position = 0
        while end - position >= _HEADER_SIZE:
            kind, _, size = HEADER.unpack_from(view, position)
            if kind != APPLICATION_DATA or not records.MIN_CIPHERTEXT <= size <= records.MAX_CIPHERTEXT:
                self._refuse_header(kind, size)
                return filled, end
            start = position + _HEADER_SIZE
            stop = start + size
            if stop > end:
                break
            keys = self._receive_keys
            last = filled + size - records.MIN_CIPHERTEXT
            nonce = (keys.iv ^ keys.sequence).to_bytes(NONCE_SIZE, "big")
            try:
                # The type at the end of one record's content is where the next one's content goes.
                keys.decrypt_into(nonce, view[start:stop], view[position:start], opened[filled : last + 1])
            except InvalidTag:
                # Permanently: an attacker who changed the record could send the original one later.
                self._fail(records.BAD_RECORD_MAC, f"TLS record {keys.sequence} of {size} bytes does not decrypt")
                return filled, end
            keys.sequence += 1
            position = stop
            if opened[last] == APPLICATION_DATA and filled < last <= filled + MAX_PLAINTEXT and not self._message:
                self._idle_records = 0
                filled = last
                continue
            filled = self._take(opened, filled, last + 1)
            if self._failure is not None or self._ended:
                return filled, end
        return filled, position

    def _take(self, opened: memoryview, start: int, stop: int) -> int:
        """Take a record that is padded, empty or no data, and return where the data ends now."""
        inner = bytes(opened[start:stop]).rstrip(b"\0")
        content, kind = inner[:-1], inner[-1] if inner else None
        if len(content) > MAX_PLAINTEXT:
            self._fail(records.RECORD_OVERFLOW, f"a TLS record holds more than {MAX_PLAINTEXT} bytes")
        elif self._message and kind != HANDSHAKE:
            self._fail(records.UNEXPECTED_MESSAGE, "a TLS record of another type stands inside a message")
        elif kind == APPLICATION_DATA and content:
            self._idle_records = 0
            return start + len(content)
        elif (idle := self._idle_records + 1) > MAX_IDLE_RECORDS:
            self._fail(records.UNEXPECTED_MESSAGE, f"{idle} TLS records in a row carry no data")
        else:
            self._idle_records = idle
            self._take_control(kind, content)
        return start

    def _take_control(self, kind: int | None, content: bytes) -> None:
        if kind == HANDSHAKE and content:
            self._message += content
            self._take_messages()
        elif kind == ALERT and len(content) == len((_FATAL, records.CLOSE_NOTIFY)):
            self._take_alert(content[1])
        elif kind != APPLICATION_DATA:
            self._fail(records.UNEXPECTED_MESSAGE, f"a TLS record has the type {kind} and {len(content)} bytes")

    def _take_messages(self) -> None:
        received, position = self._message, 0
        while len(received) - position >= _MESSAGE_HEADER and self._failure is None:
            size = int.from_bytes(received[position + 1 : position + _MESSAGE_HEADER], "big")
            if size > MAX_MESSAGE:
                return self._fail(records.DECODE_ERROR, f"a TLS message has {size} bytes, more than {MAX_MESSAGE}")
            start = position + _MESSAGE_HEADER
            if len(received) < start + size:
                break
            kind, position = received[position], start + size
            if kind == records.KEY_UPDATE:
                self._take_key_update(received[start:position], last=position == len(received))
            elif kind != records.NEW_SESSION_TICKET:  # tickets are for resumption, which shows no certificate
                self._fail(records.UNEXPECTED_MESSAGE, f"the TLS message {kind} is out of place after the handshake")
        self._message = received[position:]
        return None

    def _take_key_update(self, body: bytes, *, last: bool) -> None:
        if len(body) != 1:
            self._fail(records.DECODE_ERROR, "a TLS key update is malformed")
        elif body not in (b"\0", b"\1"):
            self._fail(records.ILLEGAL_PARAMETER, f"a TLS key update asks for {body[0]}, neither 0 nor 1")
        elif not last:
            self._fail(records.UNEXPECTED_MESSAGE, "a TLS key update is not the end of its record")
        else:
            self._receive_keys = self._receive_keys.next()
            self._owes_update = self._owes_update or body == b"\1"

    def _take_alert(self, alert: int) -> None:
        if alert == records.CLOSE_NOTIFY:
            self._ended = True
        elif alert != records.USER_CANCELED:
            self._failure = ConnectionLost(f"the peer ended the connection: {describe_alert(records.name_of(alert))}")

    def _refuse_header(self, kind: int, size: int) -> None:
        if kind == APPLICATION_DATA and size > records.MAX_CIPHERTEXT:
            self._fail(records.RECORD_OVERFLOW, f"a TLS record has {size} bytes, more than {records.MAX_CIPHERTEXT}")
        else:
            self._fail(records.UNEXPECTED_MESSAGE, f"not a TLS record: it has the type {kind} and {size} bytes")

    def _fail(self, alert: int, message: str) -> None:
        """Stop receiving, and send the peer the alert if the pipe takes it at once."""
        self._failure = RemoteProtocolError(message)
        self._seal_bytes(bytes([_FATAL, alert]), ALERT)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # then the peer is gone
            self.flush_nowait()
