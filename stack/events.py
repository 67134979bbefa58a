"""Events sent to observers: what happened, as values; metrics and tests build on them, logs are separate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from .abc import ConnectionInfo, Direction
    from .identity import PeerId
    from .report import DialReport


@dataclass(frozen=True, slots=True)
class ListenStarted:
    """A listener is bound."""

    address: Multiaddr


@dataclass(frozen=True, slots=True)
class ListenStopped:
    """A listener ended; `error` says why, None when it was asked to."""

    address: Multiaddr
    error: str | None


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No address of a peer could be dialed."""

    report: DialReport


@dataclass(frozen=True, slots=True)
class InboundRefused:
    """An arriving connection was refused or failed; `reason` says why and whose fault it was."""

    remote_address: Multiaddr
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A connection is authenticated and in the table."""

    info: ConnectionInfo


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A connection left the table; `reason` says why, None for an orderly close."""

    info: ConnectionInfo
    reason: str | None


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """The first connection to a peer is open; it follows `ConnectionOpened`."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The last connection to a peer is gone; it follows `ConnectionClosed`."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream was opened and its protocol agreed.

    Where the protocol was proposed with the first bytes, this comes when the peer's answer was read; a stream that
    ends before that has neither this event nor `StreamClosed`.
    """

    peer: PeerId
    protocol: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream of which there was a `StreamOpened` has ended."""

    peer: PeerId
    protocol: str


@dataclass(frozen=True, slots=True)
class HandlerFailed:
    """A handler raised; its stream was reset and nothing else was harmed."""

    peer: PeerId
    protocol: str
    error: Exception


@dataclass(frozen=True, slots=True)
class PeerIdentified:
    """Identify finished, or a push came in."""

    peer: PeerId
    agent: str
    protocol_version: str
    protocols: tuple[str, ...]
    addresses: tuple[Multiaddr, ...]
    observed_address: Multiaddr | None
    signed: bool


@dataclass(frozen=True, slots=True)
class AddressesChanged:
    """The addresses this host announces have changed."""

    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class ReachabilityChanged:
    """A service found out whether others can dial our addresses; every address it is reported for is in one of three.

    Like go-libp2p's `EvtHostReachableAddrsChanged`.
    """

    reachable: tuple[Multiaddr, ...]
    unreachable: tuple[Multiaddr, ...]
    unknown: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """Only in an iteration over events: so many were dropped here, since they came faster than they were read."""

    count: int


@dataclass(frozen=True, slots=True)
class ProtocolEvent:
    """Base of the events of protocols; each protocol has its own kinds beside its code."""


Event: TypeAlias = (
    ListenStarted
    | ListenStopped
    | DialFailed
    | InboundRefused
    | ConnectionOpened
    | ConnectionClosed
    | PeerConnected
    | PeerDisconnected
    | StreamOpened
    | StreamClosed
    | HandlerFailed
    | PeerIdentified
    | AddressesChanged
    | ReachabilityChanged
    | EventsMissed
    | ProtocolEvent
)


class Observer(Protocol):
    """Receives events; must not block. What it raises ends the host, and leaves `open_host` as itself."""

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        ...
