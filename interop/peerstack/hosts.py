"""Makes peerstack hosts as the contract wants them, with limits wide enough for the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from interop.peerstack.layers import CONNECTIONS, STREAMS, Layers
from peerstack import open_host
from peerstack.protocols import identify, perf, ping
from peerstack.stack.abc import Stream
from peerstack.stack.errors import StackError
from peerstack.stack.events import Event, InboundRefused, Observer, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.identity.identity import KeyTypeName
from peerstack.stack.limits import Limits
from peerstack.stack.swarm import Connection, TrimConfig

LIMITS = Limits(
    connections=CONNECTIONS,
    inbound_connections=CONNECTIONS,
    connections_per_peer=CONNECTIONS,
    inbound_connections_per_ip=CONNECTIONS,
    pending_inbound=CONNECTIONS,
    pending_inbound_per_ip=CONNECTIONS,
    pending_outbound=CONNECTIONS,
    streams=4 * STREAMS,
    streams_per_peer=2 * STREAMS,
    pending_streams=STREAMS,
    inbound_streams_per_peer=STREAMS,
    inbound_streams_per_connection=STREAMS,
    inbound_streams_per_peer_and_protocol=STREAMS,
    inbound_streams_overrides=dict.fromkeys((ping.PROTOCOL, perf.PROTOCOL, identify.PROTOCOL), STREAMS),
)


class NotConnected(StackError):
    """A command names a peer that this one has no connection to."""


class Identified:
    """Keeps what each peer last said of itself; an observer."""

    def __init__(self) -> None:
        self._said: dict[PeerId, PeerIdentified] = {}

    def notify(self, event: Event) -> None:
        """Take note of what identify or a push brought."""
        if isinstance(event, PeerIdentified):
            self._said[event.peer] = event

    async def wait(self, connection: Connection) -> PeerIdentified:
        """Return what the peer said, once identify has finished there. Raises StackError if it failed."""
        await connection.identified.wait()
        said = self._said.get(connection.remote_peer)
        if said is None:
            raise StackError(f"identify with {connection.remote_peer} failed")
        return said


class Refused:
    """Keeps why connections that arrived were refused or failed; an observer."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def notify(self, event: Event) -> None:
        """Take note of the reason."""
        if isinstance(event, InboundRefused):
            self.reasons.append(event.reason)


def make_host(
    key_type: KeyTypeName, layers: Layers, listen: Sequence[str] = (), observers: Sequence[Observer] = ()
) -> AbstractAsyncContextManager[Host]:
    """Return a host with a fresh key, to be entered."""
    identity = Identity.generate(key_type)
    return open_host(
        identity=identity,
        listen=listen,
        transports=layers.transports(),
        native_transports=layers.native_transports(identity),
        security=layers.security(identity),
        muxers=[layers.muxer],
        private_network=layers.network,
        limits=LIMITS,
        trim=TrimConfig(low=CONNECTIONS, high=CONNECTIONS),
        observers=observers,
    )


def connection_to(host: Host, peer: PeerId) -> Connection:
    """Return the best connection to a peer. Raises NotConnected."""
    connections = host.swarm.connections(peer)
    if not connections:
        raise NotConnected(f"not connected to {peer}")
    return connections[0]


async def open_agreed(host: Host, connection: Connection, protocol: str) -> Stream:
    """Open a stream and return when the peer has agreed to its protocol, so that it is open on both sides."""
    return await host.swarm.open_stream(connection, [protocol])
