"""What pubsub tells the observers of the host, besides what its core decides (`router_events`)."""

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
    """Our stream to a peer is over; `dropped` messages were still queued for it."""

    peer: PeerId
    reason: str
    dropped: int


@dataclass(frozen=True, slots=True)
class MessageRejected(ProtocolEvent):
    """A message was not valid, which counts against the peer it came from."""

    peer: PeerId
    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForwardDropped(ProtocolEvent):
    """Messages were not passed on to a peer whose queue is full; it is told of them by gossip."""

    peer: PeerId
    count: int


@dataclass(frozen=True, slots=True)
class MalformedRpc(ProtocolEvent):
    """A peer sent what is no RPC; its stream was reset."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PeerDropped(ProtocolEvent):
    """A peer was disconnected for what it did."""

    peer: PeerId
    reason: str
