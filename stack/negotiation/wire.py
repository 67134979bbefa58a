"""The bytes of multistream-select 1.0: uvarint length, UTF-8 text, newline.

    header    13 "/multistream/1.0.0\\n"     both sides, once, before anything else
    proposal  <n> "/yamux/1.0.0\\n"          dialer
    echo      the same bytes                listener: agreed, the protocol's own bytes follow
    na        03 "na\\n"                     listener: not supported, the dialer may propose another
    ls        03 "ls\\n"                     dialer: which ones are there? Optional; go says na, rust and js answer

The length counts the newline. Spec: libp2p `connections/README.md`, multiformats `multistream-select`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ForeignProtocol, LocalProtocolError, RemoteProtocolError
from ..wire import varint

HEADER = "/multistream/1.0.0"
NOT_AVAILABLE = "na"
LIST = "ls"

MAX_MESSAGE = 1024
"""Bytes of text and newline accepted: go and js stop here, so nothing longer is in use."""
MAX_OWN_MESSAGE = 140
"""Bytes of text and newline proposed, newline included: what the strictest live listener still takes."""
MAX_LIST = 16383
"""Bytes of an answer to `ls`: rust reads lengths of two bytes and no more."""

_SHOWN = 32
_NONCE_SIZE = 24
_GREETINGS = (
    (b"HTTP/", "an HTTP server"),
    (b"<!DOCTYPE ", "an HTTP server"),  # HTTP/0.9 has no status line, as for a first line that is none of HTTP/1
    (b"<!doctype ", "an HTTP server"),
    (b"<html", "an HTTP server"),
    (b"GET ", "an HTTP client"),
    (b"HEAD ", "an HTTP client"),
    (b"POST ", "an HTTP client"),
    (b"OPTIONS ", "an HTTP client"),
    (b"CONNECT ", "an HTTP client"),
    (b"PRI * HTTP/2", "an HTTP/2 client"),
    (b"SSH-", "SSH"),
    (b"\x16\x03", "TLS"),
    (b"\x15\x03", "TLS"),
)


def encode_message(text: str, *, limit: int = MAX_OWN_MESSAGE) -> bytes:
    """Encode one message; raises LocalProtocolError for text that no peer would take."""
    body = text.encode() + b"\n"
    if not text or "\n" in text:
        raise LocalProtocolError(f"a protocol id must be one line of text, not {text!r}")
    if len(body) > limit:
        raise LocalProtocolError(f"protocol id of {len(body) - 1} bytes; at most {limit - 1} can be sent: {text!r}")
    return varint.encode(len(body)) + body


def greeting() -> bytes:
    """Return what either side of every stream says first."""
    return encode_message(HEADER)


def encode_list(protocols: Iterable[str]) -> bytes:
    """Encode the answer to `ls`: as many of `protocols` as fit into MAX_LIST bytes."""
    body = b""
    for protocol in protocols:
        entry = encode_message(protocol, limit=MAX_MESSAGE)
        if len(body) + len(entry) + 1 > MAX_LIST:
            break
        body += entry
    return varint.encode(len(body) + 1) + body + b"\n"


def decode_message(data: bytes | bytearray) -> tuple[str, int] | None:
    """Decode the message at the start of `data`: its text and its size in bytes, or None if it is incomplete.

    Raises RemoteProtocolError as soon as the bytes at hand cannot become a message.
    """
    try:
        length, start = varint.decode(data)
    except varint.Incomplete:
        return None
    if not 1 <= length <= MAX_MESSAGE:
        raise RemoteProtocolError(f"message of {length} bytes; at least 1 and at most {MAX_MESSAGE} are allowed")
    end = start + length
    if len(data) < end:
        return None
    if data[end - 1] != 0x0A:
        raise RemoteProtocolError(f"message without the closing newline: {show(data[:end])}")
    try:
        return data[start : end - 1].decode(), end
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"message is not UTF-8 text: {show(data[:end])}") from None


HEADER_MESSAGE = encode_message(HEADER)
NOT_AVAILABLE_MESSAGE = encode_message(NOT_AVAILABLE)


def check_header(data: bytes | bytearray) -> bool:
    """Return whether `data` begins with the whole header.

    Raises RemoteProtocolError at the first byte that differs, so that a peer of another kind, which sends
    less than a header's worth and waits, is found out at once. The message guesses what it speaks.
    """
    seen = data[: len(HEADER_MESSAGE)]
    if not HEADER_MESSAGE.startswith(seen):
        guess = guess_speaker(data)
        if guess is not None:
            verb = "be" if guess.startswith("an ") else "speak"
            hint = f"; the peer seems to {verb} {guess}"
        else:
            hint = "; the peer may be in a private network" if _may_be_nonce(data) else ""
        raise ForeignProtocol(f"expected the multistream-select header, got {show(data)}{hint}", speaks=guess)
    return len(seen) == len(HEADER_MESSAGE)


def guess_speaker(data: bytes | bytearray) -> str | None:
    """Name the kind of peer that would greet with `data`, if it is a well-known one."""
    for greeting, name in _GREETINGS:
        if data.startswith(greeting):
            return name
    return None


def _may_be_nonce(data: bytes | bytearray) -> bool:
    """Return whether `data` can be what comes first in a private network: 24 random bytes, hardly ever all ASCII."""
    return len(data) >= _NONCE_SIZE and not data.isascii()


def show(data: bytes | bytearray) -> str:
    """Show the first bytes of `data` as printable ASCII, for an error message."""
    more = "..." if len(data) > _SHOWN else ""
    return repr(bytes(data[:_SHOWN])) + more
