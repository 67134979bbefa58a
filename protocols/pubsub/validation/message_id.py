"""What makes two messages the same: functions from a message to its id, which all peers of a topic must share.

IHAVE, IWANT and IDONTWANT speak of ids. The implementations have different defaults, so a mixed
network still sends messages along its meshes, but recovers none by gossip and penalises peers for promises they
could not keep. Choose one function for the topic everywhere; `sha256_of_data` is the easiest to write in any language.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias

from ..wire import Message
from .signing import author_of

MessageIdFunction: TypeAlias = Callable[[Message], bytes]
"""Must give the same bytes for the same message at every peer, and not raise; at most 1 KiB travels in gossip."""

_INLINE = 0  # the first byte of peer ids that contain the public key; behind it comes the length
_NO_AUTHOR = "15R"  # what rust-libp2p writes for a message without author


def default_id(message: Message) -> bytes:
    """Return author and sequence number, the default of go-libp2p-pubsub; of anonymous messages SHA-256 of the data.

    go itself gives the same empty id to all anonymous messages, so it needs a function of its own there as well.
    """
    if message.author is None and message.seqno is None:
        return sha256_of_data(message)
    return (message.author or b"") + (message.seqno or b"")


def sha256_of_data(message: Message) -> bytes:
    """Return SHA-256 of the data: equal content is the same message, regardless of author."""
    return hashlib.sha256(message.data).digest()


def rust_default_id(message: Message) -> bytes:
    """Return the default of rust-libp2p: the author's peer id in base58, then the sequence number in decimal."""
    author = _NO_AUTHOR if message.author is None else str(author_of(message.author))
    return f"{author}{int.from_bytes(message.seqno or b'', 'big')}".encode()


def js_default_id(message: Message) -> bytes:
    """Return the default of js-libp2p: the author's public key as protobuf, then the sequence number.

    Of anonymous messages that is SHA-256 of the data.
    """
    if message.author is None:
        return sha256_of_data(message)
    key = message.author[2:] if message.author[:1] == bytes((_INLINE,)) else message.key
    return (key or b"") + (message.seqno or b"")


NUMBERED: Final = frozenset({default_id, rust_default_id, js_default_id})
"""With these, a number of an author is a message: what comes with a number that is known, came before."""


def id_of(message: Message, function: MessageIdFunction) -> bytes:
    """Return the id of a message. Raises TypeError if `function` returns no bytes, and what it raises."""
    found = function(message)
    if isinstance(found, bytes):
        return found
    raise TypeError(f"a message_id function returns bytes, not {found!r}")
