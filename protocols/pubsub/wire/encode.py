"""Encode messages, subscriptions and control entries as fields of an RPC, and RPCs as frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from peerstack.stack.wire.varint import encode_uint64

from .types import Extensions, IHave, Message, Prune, Subscription

MAX_CONTROL = 16 * 1024  # bytes of control in one RPC: rust-libp2p refuses more
MAX_IDONTWANT = 10  # ids in one RPC: go-libp2p-pubsub reads no more
_TEST_EXTENSION = 6492434  # number of a field of RPCs, and of one of ControlExtensions
TEST_EXTENSION = encode_uint64(_TEST_EXTENSION << 3 | 2) + b"\0"  # the field of an RPC, an empty message

_HEADER_SIZE = 4  # bytes of tag and length round the content of a field below 2 MiB


def make_message(
    topic: str,
    data: bytes,
    *,
    author: bytes | None = None,
    seqno: bytes | None = None,
    signature: bytes | None = None,
    key: bytes | None = None,
) -> Message:
    """Return a message of these fields with its encoding; fields that are None are absent from it."""
    signed = encode_fields(author, data, seqno, topic.encode())
    encoded = signed + encode_signature(signature, key)
    return Message(topic, data, author, seqno, signature, key, encoded, len(signed))


def encode_fields(author: bytes | None, data: bytes | None, seqno: bytes | None, topic: bytes) -> bytes:
    """Return fields 1 to 4 of a message in order, the part that is signed."""
    parts = [b"\n", encode_uint64(len(author)), author] if author is not None else []
    if data is not None:
        parts += (b"\x12", encode_uint64(len(data)), data)
    if seqno is not None:
        parts += (b"\x1a", encode_uint64(len(seqno)), seqno)
    parts += (b'"', encode_uint64(len(topic)), topic)
    return b"".join(parts)


def encode_signature(signature: bytes | None, key: bytes | None) -> bytes:
    """Return fields 5 and 6 of a message, the part that is not signed."""
    encoded = b"" if signature is None else _field(b"*", signature)
    return encoded if key is None else encoded + _field(b"2", key)


def encode_subscriptions(subscriptions: Iterable[Subscription]) -> list[bytes]:
    """Return a `subscriptions` field of an RPC for each of `subscriptions`."""
    return [_field(b"\n", _subscription(subscription)) for subscription in subscriptions]


def encode_control(
    *,
    ihave: Iterable[IHave] = (),
    iwant: Sequence[bytes] = (),
    graft: Iterable[str] = (),
    prune: Iterable[Prune] = (),
    idontwant: Iterable[bytes] = (),
    extensions: Extensions | None = None,
    max_size: int = MAX_CONTROL,
) -> list[bytes]:
    """Return `control` fields of at most `max_size` bytes, extensions in the first; send each in an RPC of its own.

    Lists of ids are split over entries, suggested peers that do not fit into a PRUNE are left out, and each field
    has at most ten IDONTWANT. One id or topic that is longer than `max_size` by itself makes a longer field.
    """
    space = max_size - _HEADER_SIZE
    entries: list[bytes] = [] if extensions is None else [_field(b"2", _extensions(extensions))]
    entries += [_field(b"\x1a", _text(b"\n", topic)) for topic in graft]
    entries += [_field(b'"', _prune(entry, space - _HEADER_SIZE)) for entry in prune]
    entries += _id_entries(b"\x12", b"", b"\n", iwant, space)
    for entry in ihave:
        entries += _id_entries(b"\n", _text(b"\n", entry.topic), b"\x12", entry.ids, space)
    refused = [_field(b"*", _field(b"\n", message_id)) for message_id in idontwant]
    return [_field(b"\x1a", content) for content in _pack(entries, refused, space)]


def frame(parts: Sequence[bytes]) -> bytes:
    """Return the frame of the RPC that consists of the fields `parts`."""
    return join_frames((parts,))


def join_frames(frames: Iterable[Sequence[bytes]]) -> bytes:
    """Return the frames of several RPCs in a row, each given by its fields; every byte is copied once."""
    pieces: list[bytes] = []
    for parts in frames:
        pieces.append(encode_uint64(sum(map(len, parts))))
        pieces += parts
    return b"".join(pieces)


def _pack(entries: list[bytes], refused: list[bytes], space: int) -> Iterator[bytes]:
    content: list[bytes] = []
    size = of_refused = 0
    for index, entry in enumerate(entries + refused):
        is_refused = index >= len(entries)
        if content and (size + len(entry) > space or of_refused == MAX_IDONTWANT):
            yield b"".join(content)
            content, size, of_refused = [], 0, 0
        content.append(entry)
        size += len(entry)
        of_refused += is_refused
    if content:
        yield b"".join(content)


def _id_entries(tag: bytes, prefix: bytes, id_tag: bytes, ids: Iterable[bytes], space: int) -> Iterator[bytes]:
    """Yield entries that begin with `prefix` and share `ids` among them, of at most `space` bytes each."""
    content, size = [prefix], len(prefix) + _HEADER_SIZE
    for message_id in ids:
        encoded = _field(id_tag, message_id)
        if len(content) > 1 and size + len(encoded) > space:
            yield _field(tag, b"".join(content))
            content, size = [prefix], len(prefix) + _HEADER_SIZE
        content.append(encoded)
        size += len(encoded)
    if len(content) > 1:
        yield _field(tag, b"".join(content))


def _subscription(subscription: Subscription) -> bytes:
    content = (b"\x08\x01" if subscription.subscribe else b"\x08\x00") + _text(b"\x12", subscription.topic)
    if subscription.requests_partial:
        content += b"\x18\x01"
    if subscription.supports_partial:
        content += b"\x20\x01"
    return content


def _prune(prune: Prune, space: int) -> bytes:
    backoff = b"" if prune.backoff is None else b"\x18" + encode_uint64(prune.backoff)
    content = [_text(b"\n", prune.topic)]
    space -= len(content[0]) + len(backoff)
    for info in prune.peers:
        record = b"" if info.record is None else _field(b"\x12", info.record)
        encoded = _field(b"\x12", _field(b"\n", info.peer) + record)
        if len(encoded) <= space:
            content.append(encoded)
            space -= len(encoded)
    return b"".join((*content, backoff))


def _extensions(extensions: Extensions) -> bytes:
    content = b"\x50\x01" if extensions.partial_messages else b""
    return content + (encode_uint64(_TEST_EXTENSION << 3) + b"\x01" if extensions.test_extension else b"")


def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, text.encode())


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + encode_uint64(len(content)) + content
