"""The settings of a pubsub instance."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..router.config import GossipConfig
from ..scoring.config import ScoreConfig
from ..scoring.gater import GaterConfig
from ..streams.pacing import Pacing
from ..validation.message_id import MessageIdFunction, default_id
from ..validation.signing import SignaturePolicy
from ..wire import RpcLimits

MESSAGE_OVERHEAD = 8 * 1024
"""Bytes that a message may have besides its payload: the topic, the author, the signature, and a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """What may wait for each peer, and for how long."""

    max_messages: int = 4096
    """Messages queued for one peer before `publish` waits; peers share them, so one more peer costs 8 bytes each."""
    max_bytes: int = 8 << 20
    """Bytes of messages queued for one peer before `publish` waits."""
    max_control: int = 1 << 20
    """Bytes of control messages queued for one peer; one that lets more pile up does not read, and is dropped."""
    stall_timeout: float = 30.0
    """Seconds in which a peer must take what was sent last (at most 256 KiB); then the queue is dropped, and a new
    stream is opened after a while."""
    open_timeout: float = 10.0
    """Seconds that a peer has to agree to a protocol on the stream that we open to it."""
    forward_patience: float = 2.0
    """Seconds in which a peer whose queue is full must take something, or what must be passed on to it no longer holds
    up the reading of others; nor does `publish` wait for it, while a reader here holds up the network."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PubsubConfig:
    """Settings of a pubsub instance; the defaults suit any network."""

    signatures: SignaturePolicy = SignaturePolicy.STRICT_SIGN
    """Whether messages carry and need a signature."""
    message_id: MessageIdFunction = default_id
    """Where two messages have the same id, they are one. Gossip works only among peers that agree on it."""
    gossip: GossipConfig = field(default_factory=GossipConfig)
    """Mesh and gossip."""
    score: ScoreConfig | None = field(default_factory=ScoreConfig.recommended)
    """How peers are scored; None scores no peer."""
    gater: GaterConfig | None = None
    """Throttles peers whose messages are rarely valid while validation is overloaded; None lets all pass."""
    queues: QueueConfig = field(default_factory=QueueConfig)
    """What may wait for each peer."""
    pacing: Pacing | None = field(default_factory=Pacing)
    """How fast messages go to peers with short queues; None sends to all as fast as they read."""
    limits: RpcLimits = field(default_factory=RpcLimits)
    """What one RPC of a peer may hold."""
    max_message: int = 1 << 20
    """Bytes of payload that a message may have, ours or of others (go-libp2p: about 1 MiB; rust-libp2p: 64 KiB)."""
    max_frame: int = 48 * 1024
    """Bytes of the RPCs we send, unless one message is larger: rust-libp2p reads 64 KiB, with some of what follows."""
    max_sent_rpc: int = 1 << 20
    """Bytes of the largest RPC we send, which is one message with all that belongs to it (go-libp2p reads no larger).

    It grows with a larger `max_message`, which needs peers that were configured for it."""
    max_rpc: int = 4 << 20
    """Bytes of the RPCs we read: js-libp2p answers an IWANT in one, whatever its size."""
    thread_from: int | None = 8
    """Signatures that must come together to be worth a worker thread, whose wake-up costs as much as a check or two.

    Only where the library works beside other threads (PyNaCl, the extra `fast`). None keeps all in one thread, which
    repeatable runs under a virtual clock need.
    """
    validation_timeout: float = 5.0
    """Seconds that an asynchronous validator may take; the message is ignored after that."""
    validation_concurrency: int = 256
    """Messages of a topic in asynchronous validators at the same time; reading waits beyond that."""
    close_timeout: float = 5.0
    """Seconds that leaving the block waits for what is queued."""

    @property
    def largest_rpc(self) -> int:
        """Bytes of the largest RPC that is sent."""
        return self.max_sent_rpc if self.max_message <= self.max_sent_rpc else self.max_message + MESSAGE_OVERHEAD

    def __post_init__(self) -> None:
        if self.max_rpc <= self.max_message:
            raise ValueError(f"max_rpc {self.max_rpc} must be larger than max_message {self.max_message}")
        for name in ("max_message", "max_frame", "max_sent_rpc", "validation_timeout", "validation_concurrency"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.close_timeout < 0:
            raise ValueError(f"close_timeout must not be negative, but is {self.close_timeout}")
