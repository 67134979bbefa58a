"""How connections come about: transports, listeners, and what makes authenticated, muxed connections of raw ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import trio

from .streams import Channel, ConnectionInfo, ConnectionLimits, Direction, MuxedConnection, Pipe

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..identity import PeerId, PublicKey
    from ..report import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class DialOptions:
    """How a dial differs from an ordinary one; dials that differ in this are never merged."""

    direction: Direction = Direction.OUTBOUND
    """`INBOUND`: the peer begins the handshakes, although this side connects, too.

    For a hole punch, where both sides dial and one has to be the server. The connection is inbound then, for its muxer
    and in its `info`; only one whose peer dials with `OUTBOUND` comes about.
    """
    from_listener: bool = False
    """Dial from the port of a listener of this host, where the transport can: QUIC always does.

    Peers, and NATs on the way, then see an address that leads to the listener.
    """
    at_once: bool = False
    """Dial all addresses side by side, instead of the best first and others a little later.

    A hole punch needs it: the peer dials now, and its packets get through only after one of ours has left.
    """


DEFAULT_DIAL: Final = DialOptions()
"""An ordinary dial."""


@dataclass(frozen=True, slots=True)
class RawConnection:
    """A raw byte stream to another host, not yet authenticated, and its two ends."""

    stream: trio.abc.Stream
    local_address: Multiaddr
    remote_address: Multiaddr
    handshake: Callable[[], Awaitable[trio.abc.Stream]] | None = None
    """What a listener leaves to be done before bytes flow, such as an HTTP upgrade: returns the stream to use then.

    The upgrader runs it once, under a deadline of its own and beside other work, so that a slow client
    holds up no other, and closes `stream` when it fails. Raises `RemoteProtocolError`, `trio.BrokenResourceError`.
    """
    relay: PeerId | None = None
    """The peer that forwards the bytes; None if the stream is direct."""
    limits: ConnectionLimits | None = None
    """What the relay allows; None if there is no limit."""


@dataclass(frozen=True, slots=True)
class Secured:
    """The result of a security handshake: the channel, the peer's key, and the muxer if both sides named one early."""

    channel: Channel
    remote_public_key: PublicKey
    muxer: str | None = None

    @property
    def remote_peer(self) -> PeerId:
        """The authenticated peer."""
        return self.remote_public_key.peer_id


class Incoming(ABC):
    """A connection that arrived at a listener and is not authenticated yet; refusing it costs nothing."""

    local_address: Multiaddr
    remote_address: Multiaddr
    relay: PeerId | None = None
    """The peer that forwards it; limits for each address then count by relay."""

    @abstractmethod
    async def upgrade(self) -> MuxedConnection:
        """Authenticate and mux. The caller sets the deadline. Closes the stream when it fails."""

    @abstractmethod
    async def refuse(self) -> None:
        """Close the connection without a handshake, with no reason beyond that (QUIC: CONNECTION_REFUSED)."""


class _Bound(trio.abc.AsyncResource):
    """What listeners have in common: the addresses they are reached at."""

    _addresses: tuple[Multiaddr, ...] = ()
    _changed: Callable[[], None] | None = None

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """As bound: with the real port, but possibly unspecified. There may be several or none, and they may change.

        A listener assigns them, at first and at every change; that calls what `on_addresses_changed` was given.
        """
        return self._addresses

    @addresses.setter
    def addresses(self, addresses: tuple[Multiaddr, ...]) -> None:
        changed = addresses != self._addresses
        self._addresses = addresses
        if changed and self._changed is not None:
            self._changed()

    @property
    def address(self) -> Multiaddr:
        """The first address, which is the only one of a listener on a socket. Raises IndexError if there is none."""
        return self.addresses[0]

    def on_addresses_changed(self, changed: Callable[[], None]) -> None:
        """Call this whenever `addresses` have changed, in place of an earlier one; it must not raise."""
        self._changed = changed


class StreamListener(_Bound):
    """Yields raw byte streams that arrive at its addresses."""

    @abstractmethod
    async def accept(self) -> RawConnection:
        """Wait for the next one. Raises `trio.ClosedResourceError` after `aclose`; survives a peer's early reset."""


class Listener(_Bound):
    """Yields connections that arrive at its addresses, to be upgraded."""

    @abstractmethod
    async def accept(self) -> Incoming:
        """Wait for the next connection. Raises `trio.ClosedResourceError` after `aclose`."""


class StreamTransport(Protocol):
    """Carries plain byte streams: TCP, memory, WebSocket. `UpgradedTransport` makes a `Transport` of it."""

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether `dial` understands this address (names resolved already)."""
        ...

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether `listen` understands this address."""
        ...

    async def dial(self, address: Multiaddr, options: DialOptions) -> RawConnection:
        """Connect. Raises `OSError` or `StackError`.

        The upgrader shakes hands as `options.direction` says; a transport with handshakes of its own, such as
        WebSocket, does so, too. Options that mean nothing to a transport are ignored.
        """
        ...

    async def listen(self, address: Multiaddr) -> StreamListener:
        """Bind. Raises `OSError` or `StackError`."""
        ...


class Transport(Protocol):
    """Carries authenticated, muxed connections; the only thing a swarm knows."""

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether `dial` understands this address."""
        ...

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether `listen` understands this address."""
        ...

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions
    ) -> MuxedConnection:
        """Connect, authenticate, mux, recording each stage in `attempt`. Raises `OSError` or `StackError`.

        The connection has the direction that `options` names. A transport that cannot be the server of a connection
        that it dials raises `LocalProtocolError` for `INBOUND`; `OSError` with `EADDRINUSE` says there that the peer's
        own dial was first and is at a listener. `from_listener` is a wish.
        """
        ...

    async def listen(self, address: Multiaddr) -> Listener:
        """Bind. Raises `OSError` or `StackError`."""
        ...


class Upgrader(Protocol):
    """Makes authenticated, muxed connections of raw ones, with the security protocols and muxers of one host.

    A transport whose raw connections are streams of other connections, as through a relay, is made with that of the
    host (`host.upgrader`).
    """

    async def upgrade(
        self, raw: RawConnection, direction: Direction, expect: PeerId | None, attempt: Attempt
    ) -> MuxedConnection:
        """Authenticate and mux, recording each stage in `attempt`; `OUTBOUND` begins the handshake.

        Raises `PeerIdMismatch` when another peer than `expect` is there, `NegotiationError`, `RemoteProtocolError`,
        `ConnectionLost`, `trio.TooSlowError`; then the raw connection is closed.
        """
        ...

    def incoming(self, raw: RawConnection) -> Incoming:
        """Return a raw connection that arrived as what `Listener.accept` returns."""
        ...


class Protector(Protocol):
    """Keeps other peers off a raw connection before anything is sent on it, as the key of a private network does."""

    def protect(self, stream: trio.abc.Stream) -> Pipe:
        """Return the pipe to use instead of the stream; without the key it cannot be read."""
        ...


class Security(Protocol):
    """Authenticates and encrypts a byte stream."""

    @property
    def protocol_id(self) -> str:
        """The id that multistream-select negotiates, such as `/noise`."""
        ...

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        """Run the handshake. `muxers` are ours in order of preference, for early negotiation.

        Raises `PeerIdMismatch` when `expect` is given and another peer is there, `RemoteProtocolError` for a broken
        handshake, `ConnectionLost` when the stream ends early.
        """
        ...


class Muxer(Protocol):
    """Makes many streams of one channel."""

    @property
    def protocol_id(self) -> str:
        """The id that multistream-select negotiates, such as `/yamux/1.0.0`."""
        ...

    def mux(self, channel: Channel, info: ConnectionInfo) -> MuxedConnection:
        """Wrap the channel; `info.direction` says who is the client."""
        ...


@runtime_checkable
class HasEngines(Protocol):
    """A transport for whose protocol there are several engines, such as QUIC; statistics say which one it uses."""

    @property
    def engines(self) -> dict[str, str]:
        """The engine of each protocol, by its name in addresses: `{"quic-v1": "aioquic"}`; none before it is needed."""
        ...


@runtime_checkable
class ProvesPeer(Protocol):
    """A part that was made for one identity and proves it, such as Noise; `open_host` takes only those of its own."""

    @property
    def local_peer(self) -> PeerId:
        """The peer id that it proves."""
        ...
