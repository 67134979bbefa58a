"""Events for the observers of the host, besides those of the router (`router.events`)."""

from __future__ import annotations

from dataclasses import dataclass

from peerstack.stack.events import ProtocolEvent
from peerstack.stack.identity import PeerId


@dataclass(frozen=True, slots=True)
class PubsubPeerAdded(ProtocolEvent):
    """Our stream to a peer that speaks pubsub is open."""

    peer: PeerId
    protocol: str


@dataclass(frozen=True, slots=True)
class PubsubPeerRemoved(ProtocolEvent):
    """Our stream to a peer has ended; `dropped` messages were still queued for it."""

    peer: PeerId
    reason: str
    dropped: int


@dataclass(frozen=True, slots=True)
class MessageRejected(ProtocolEvent):
    """A message was invalid; the peer it came from loses score."""

    peer: PeerId
    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForwardDropped(ProtocolEvent):
    """Messages were not forwarded to a peer whose queue is full; they are offered by gossip later."""

    peer: PeerId
    count: int


@dataclass(frozen=True, slots=True)
class MalformedRpc(ProtocolEvent):
    """A peer sent something that is not an RPC; its stream was reset."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PeerDropped(ProtocolEvent):
    """A peer was disconnected because its score stayed low."""

    peer: PeerId
    reason: str
