"""Packets outside of connections: headers for routing, version negotiation, Retry, and refusal (RFC 9000, 17.2)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler

from peerstack.stack.net.datagrams import SocketAddress

ID_SIZE: Final = 8
"""Bytes of the connection ids we choose."""
VERSION: Final = int(QuicProtocolVersion.VERSION_1)
SMALLEST_INITIAL: Final = 1200
MAX_ID: Final = 20
_LONG, _FIXED, _TYPE = 0x80, 0x40, 0x30
_GREASE: Final = 0x1A2A3A4A
"""A version that does not exist, offered too, so that no peer learns to expect just one (RFC 9000, 15)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What routing needs of the first packet in a datagram."""

    destination: bytes
    source: bytes = b""
    version: int | None = None
    """None for a short header: a packet of an established connection."""
    initial: bool = False
    token: bytes = b""


def parse_header(datagram: bytes) -> Header | None:
    """Read the invariant part of the first packet, and an Initial's token; None if it is none (RFC 8999)."""
    size = len(datagram)
    if size < 1 + ID_SIZE:
        return None
    first = datagram[0]
    if not first & _LONG:
        return Header(datagram[1 : 1 + ID_SIZE]) if first & _FIXED else None
    destination_end = 6 + datagram[5]
    if size <= destination_end:
        return None
    source_end = destination_end + 1 + datagram[destination_end]
    version = int.from_bytes(datagram[1:5], "big")
    if size < source_end:
        return None
    destination, source = datagram[6:destination_end], datagram[destination_end + 1 : source_end]
    initial = version == VERSION and first & (_FIXED | _TYPE) == _FIXED
    if version == VERSION and max(len(destination), len(source)) > MAX_ID:
        return None
    return Header(destination, source, version, initial, _token(datagram, source_end) if initial else b"")


def _token(datagram: bytes, start: int) -> bytes:
    if start >= len(datagram):
        return b""
    width = 1 << (datagram[start] >> 6)
    size = int.from_bytes(datagram[start : start + width], "big") & ((1 << (8 * width - 2)) - 1)
    return datagram[start + width : start + width + size]


def encode_version_negotiation(header: Header) -> bytes:
    """Return the answer to a version we do not speak."""
    return encode_quic_version_negotiation(
        source_cid=header.destination, destination_cid=header.source, supported_versions=[VERSION, _GREASE]
    )


def encode_refusal(header: Header) -> bytes:
    """Return an Initial packet that refuses a connection (CONNECTION_REFUSED), without keeping any state."""
    keys = CryptoPair()
    keys.setup_initial(cid=header.destination, is_client=False, version=VERSION)
    builder = QuicPacketBuilder(
        host_cid=header.destination,
        is_client=False,
        max_datagram_size=SMALLEST_INITIAL,
        peer_cid=header.source,
        version=VERSION,
    )
    builder.start_packet(QuicPacketType.INITIAL, keys)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=25)
    frame.push_uint_var(QuicErrorCode.CONNECTION_REFUSED)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]


class RetryTokens:
    """Tokens by which a client proves that it receives what is sent to its address (RFC 9000, 8.1.2)."""

    def __init__(self) -> None:
        self._handler = QuicRetryTokenHandler()

    def retry(self, header: Header, address: SocketAddress, now: float) -> bytes:
        """Return the Retry packet that asks for proof."""
        source = os.urandom(ID_SIZE)
        token = self._handler.create_token(
            address=_plain(address),
            original_destination_connection_id=header.destination,
            retry_source_connection_id=source,
            now=now,
        )
        return encode_quic_retry(
            version=VERSION,
            source_cid=source,
            destination_cid=header.source,
            original_destination_cid=header.destination,
            retry_token=token,
        )

    def original_id(self, header: Header, address: SocketAddress, now: float) -> bytes | None:
        """Return the id the client first sent to, if its token is one of ours, recent, and for this address."""
        try:
            return self._handler.validate_token(
                address=_plain(address), destination_cid=header.destination, token=header.token, now=now
            )
        except ValueError:
            return None


def _plain(address: SocketAddress) -> tuple[str, int]:
    return address[0].partition("%")[0], address[1]
