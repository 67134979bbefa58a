"""What commands that talk to a peer have in common: a host, a checked address, and a connection that is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo
from peerstack.stack.addressing import parse_address, split_peer, transport_name, with_peer
from peerstack.stack.errors import InvalidPeerId
from peerstack.stack.events import Event, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from . import events
from .failure import CommandError
from .host_options import load_host_config, open_any_host
from .options import DialOptions
from .output import Output

EXAMPLE = "/ip4/127.0.0.1/tcp/4001"


@dataclass(frozen=True, slots=True)
class Reached:
    """A peer that was dialed, and the host that did."""

    host: Host
    peer: PeerId


class IdentifiedPeers:
    """An observer that keeps what peers last said of themselves."""

    def __init__(self) -> None:
        self.last: dict[PeerId, PeerIdentified] = {}

    def notify(self, event: Event) -> None:
        """Keep what identify found."""
        if isinstance(event, PeerIdentified):
            self.last[event.peer] = event


def parse_dialable(text: str) -> Multiaddr:
    """Return the address of a peer; InvalidAddress for what is none, CommandError where only the peer is named."""
    if is_peer_id(text) or not split_peer(parse_address(text))[0].to_bytes():
        raise CommandError(f"{text} says who the peer is, but not where; put its address in front, such as {EXAMPLE}")
    return parse_address(text)


def is_peer_id(text: str) -> bool:
    """Return whether the text is a peer id and nothing more."""
    try:
        PeerId.parse(text)
    except InvalidPeerId:
        return False
    return True


@asynccontextmanager
async def open_connection(text: str, options: DialOptions, output: Output) -> AsyncIterator[Reached]:
    """Open a host that is connected to the peer at an address. Raises CommandError, DialError."""
    address = parse_dialable(text)
    async with open_any_host(config=load_host_config(options, dial=[address])) as host:
        with output.working(f"dialing {address}"):
            peer = await host.connect(address)
        # For commands that must dial again when the connection is lost.
        host.add_addresses(peer, [split_peer(address)[0]])
        output.emit(connected(host.connections(peer)[0].info))
        yield Reached(host, peer)


def connected(info: ConnectionInfo) -> events.Connected:
    """Return the event for a new connection."""
    return events.Connected(
        peer_id=str(info.remote_peer),
        address=str(info.remote_address),
        direction=str(info.direction),
        security=info.security,
        muxer=info.muxer,
    )


def identified(event: PeerIdentified, *, asked: bool = True) -> events.Identified:
    """Return the event for an identified peer, with all details if `asked`."""
    kind = events.Identified if asked else events.Introduced
    return kind(
        peer_id=str(event.peer),
        agent=event.agent,
        protocol_version=event.protocol_version,
        protocols=event.protocols,
        addresses=tuple(_with_peer(address, event.peer) for address in event.addresses),
        observed_address=None if event.observed_address is None else str(event.observed_address),
        signed=event.signed,
    )


def _with_peer(address: Multiaddr, peer: PeerId) -> str:
    _, named = split_peer(address)
    complete = named is not None or transport_name(address) == "unix"  # nothing can follow a path
    return str(address if complete else with_peer(address, peer))
