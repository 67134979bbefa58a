"""What the wire carries: messages, subscriptions and control entries, as plain slotted objects (they are many)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peerstack.stack.wire.varint import encode_uint64

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId

FLOODSUB = "/floodsub/1.0.0"
MESHSUB_10 = "/meshsub/1.0.0"
MESHSUB_11 = "/meshsub/1.1.0"
MESHSUB_12 = "/meshsub/1.2.0"
MESHSUB_13 = "/meshsub/1.3.0"


@dataclass(slots=True, eq=False)
class Message:
    """A published message. Compared by identity: two copies of a message share their `id`, not their source.

    `author`, `seqno`, `signature` and `key` are as they came, unchecked; None means absent, which is not empty.
    """

    topic: str
    data: bytes
    author: bytes | None
    """The multihash of a peer id (field `from`)."""
    seqno: bytes | None
    """A counter of the author, 8 bytes most significant first."""
    signature: bytes | None
    key: bytes | None
    """The author's `PublicKey` protobuf, where the peer id does not contain it."""
    encoded: bytes
    """The protobuf with the fields in order: what is sent on."""
    signed_size: int
    """The signature covers `encoded[:signed_size]`: everything but the signature and the key."""
    id: bytes = b""
    """What the id function of the topic makes of the message; empty until it was asked."""
    source: PeerId | None = None
    """The peer it came from, None if it was published here."""
    _entry: bytes = field(default=b"", init=False, repr=False)

    @property
    def entry(self) -> bytes:
        """The `publish` field of an RPC that carries the message, made once for all recipients."""
        if not self._entry:
            self._entry = b"\x12" + encode_uint64(len(self.encoded)) + self.encoded
        return self._entry


@dataclass(slots=True)
class Subscription:
    """An announcement that a peer subscribes to a topic, or unsubscribes."""

    subscribe: bool
    topic: str
    requests_partial: bool = False
    supports_partial: bool = False


@dataclass(slots=True)
class IHave:
    """Messages of a topic a peer can be asked for."""

    topic: str
    ids: list[bytes]


@dataclass(slots=True)
class PeerInfo:
    """A peer suggested in its stead by a peer that prunes; the signed peer record is not verified yet."""

    peer: bytes
    record: bytes | None = None


@dataclass(slots=True)
class Prune:
    """A PRUNE: the peer removed us from its mesh."""

    topic: str
    peers: list[PeerInfo] = field(default_factory=list)
    backoff: int | None = None
    """Seconds, any number below 2**64: clamp before use."""


@dataclass(slots=True)
class Extensions:
    """What a peer can do beyond the version it speaks; in the first RPC of a stream only (gossipsub-v1.3)."""

    partial_messages: bool = False
    test_extension: bool = False


@dataclass(slots=True)
class Rpc:
    """A decoded frame; the entries of all its control fields are merged."""

    subscriptions: list[Subscription] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    ihave: list[IHave] = field(default_factory=list)
    iwant: list[bytes] = field(default_factory=list)
    """The ids of all IWANT entries."""
    graft: list[str] = field(default_factory=list)
    prune: list[Prune] = field(default_factory=list)
    idontwant: list[bytes] = field(default_factory=list)
    """The ids of all IDONTWANT entries."""
    extensions: Extensions | None = None
    test_extension: bool = False
    partial: int = 0
    """How many partial messages there were; none is read."""
    ignored: int = 0
    """Entries that were skipped because they are beyond a limit, or name no topic or peer."""
