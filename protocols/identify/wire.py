"""Identify on the wire (`identify/README.md`): one protobuf, cut into length-prefixed messages, up to the end.

    public key 1 · listen address 2* · protocol 3* · observed address 4 · protocol version 5 · agent 6 · record 8

Receivers merge all messages they get. Ours are small enough for the strictest of them (rust-libp2p takes the first
4096 bytes and nothing else), so what matters least goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from google.protobuf.message import DecodeError

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.framing import encode_length_prefixed
from peerstack.stack.host.peerstore import printable

from .identify_pb2 import Identify as Message

MAX_SENT_MESSAGE = 4096
"""Bytes of one message of ours (rust-libp2p)."""
MAX_MESSAGE = 8192
"""Bytes of one message accepted (go and js)."""
MAX_MESSAGES = 10
"""Messages merged (go and js): together with the above what one peer can make us hold."""
MAX_PROTOCOLS = 1024
"""Protocols kept: chunked messages with 80 KiB of them would stay in the peerstore (go-libp2p #3501)."""
MAX_ADDRESSES = 500
"""Listen addresses kept (go-libp2p)."""
MAX_TEXT = 128
"""Characters kept of agent and protocol version; both end up in logs and terminals (CVE-2020-26283)."""
PROTOCOL_VERSION = "ipfs/0.1.0"
"""The version that all implementations send, and none checks."""

_OBSERVED_ROOM = 256  # kept free in the first message; it differs from peer to peer, all the rest is encoded once
_ROOM = MAX_SENT_MESSAGE - _OBSERVED_ROOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """What a peer says of itself; None or empty is not said, in a push that means unchanged."""

    public_key: bytes | None = None
    listen_addresses: tuple[bytes, ...] = ()
    protocols: tuple[str, ...] = ()
    observed_address: bytes | None = None
    protocol_version: str = ""
    agent: str = ""
    signed_record: bytes | None = None


def encode(identify: Identify) -> bytes:
    """Return the length-prefixed messages that say it, the first as small as every receiver wants it.

    The signed record comes second where it does not fit into the first: rust-libp2p does without it, the others
    merge both. Left out is what no peer would take: a field of more than one message, and what ten cannot hold.
    """
    first, rest = _messages(replace(identify, observed_address=None))
    if identify.observed_address is not None and len(identify.observed_address) <= _OBSERVED_ROOM - 4:
        first += Message(observed_addr=identify.observed_address).SerializeToString()
    return encode_length_prefixed(first) + rest


def decode(messages: Iterable[bytes]) -> Identify:
    """Return what the messages say together, cut to the limits above; RemoteProtocolError if they are malformed."""
    merged = Message()
    try:
        for message in messages:
            merged.MergeFromString(message)
    except (DecodeError, UnicodeDecodeError) as error:
        raise RemoteProtocolError("an identify message is not a protobuf") from error
    return Identify(
        public_key=merged.public_key if merged.HasField("public_key") else None,
        listen_addresses=tuple(merged.listen_addrs[:MAX_ADDRESSES]),
        protocols=_texts(merged.protocols),
        observed_address=merged.observed_addr if merged.HasField("observed_addr") else None,
        protocol_version=printable(_text(merged.protocol_version), MAX_TEXT),
        agent=printable(_text(merged.agent_version), MAX_TEXT),
        signed_record=merged.signed_peer_record if merged.HasField("signed_peer_record") else None,
    )


@lru_cache(maxsize=8)
def _messages(identify: Identify) -> tuple[bytes, bytes]:
    """Return the first message, and the others behind their lengths; kept, being the same for nearly all peers."""
    messages = _pack(_fields(identify))
    if identify.signed_record is not None:
        _add_record(messages, Message(signed_peer_record=identify.signed_record).SerializeToString())
    return messages[0], b"".join(encode_length_prefixed(message) for message in messages[1:MAX_MESSAGES])


def _fields(identify: Identify) -> Iterator[bytes]:
    """Encode each field on its own; protobufs are merged by joining them."""
    if identify.public_key is not None:
        yield Message(public_key=identify.public_key).SerializeToString()
    if identify.protocol_version:
        yield Message(protocol_version=identify.protocol_version).SerializeToString()
    if identify.agent:
        yield Message(agent_version=identify.agent[:MAX_TEXT]).SerializeToString()
    for protocol in identify.protocols:
        yield Message(protocols=[protocol]).SerializeToString()
    for address in identify.listen_addresses:
        yield Message(listen_addrs=[address]).SerializeToString()


def _pack(fields: Iterable[bytes]) -> list[bytes]:
    messages = [b""]
    for field in fields:
        if len(messages[-1]) + len(field) <= _ROOM:
            messages[-1] += field
        elif len(field) <= _ROOM:
            messages.append(field)
    return messages


def _add_record(messages: list[bytes], record: bytes) -> None:
    if len(messages) == 1 and len(messages[0]) + len(record) <= _ROOM:
        messages[0] += record
    elif len(record) <= MAX_MESSAGE:
        messages.insert(1, record)


def _texts(texts: Iterable[str | bytes]) -> tuple[str, ...]:
    """Return the different ones among the first texts; what is not UTF-8 cannot be asked for, so it is left out."""
    return tuple(dict.fromkeys(text for text in islice(texts, MAX_PROTOCOLS) if isinstance(text, str)))


def _text(text: str | bytes) -> str:
    """Return a string field, which protobuf hands out as bytes where a peer sent other than UTF-8."""
    return text if isinstance(text, str) else text.decode(errors="replace")
