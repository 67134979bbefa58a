"""The host: an authenticated peer with handlers for protocols; what applications work with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import trio
from multiaddr import Multiaddr

from ..abc import ConnectionState, MuxedConnection, PeerRouting, Stream, StreamHandler, Upgrader
from ..addressing import (
    AnyPeer,
    expand_unspecified,
    is_unspecified,
    parse_address,
    parse_addresses,
    parse_peer,
    transport_name,
    with_peer,
)
from ..errors import ConnectionLost, DialError, InvalidInput, LocalProtocolError
from ..events import DialFailed, Observer
from ..identity import Identity, PeerId
from ..limits import MemoryAccount
from ..report import Attempt, DialReport, Outcome
from ..swarm import Connection, ObservedAddresses, Swarm, SwarmStatistics
from ..swarm.hooks import Hooks
from .arguments import (
    Target,
    address_of,
    announceable,
    check_handler,
    check_kind,
    check_protocol,
    check_tag,
    parse_targets,
)
from .events import EventHub
from .peerstore import Peerstore, Ttl
from .quirks import takes_early_proposals
from .reachability import Reachability, ReachabilityReports
from .routing import Search, check_router


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """A snapshot of a host."""

    peer_id: str
    protocols: tuple[str, ...]
    swarm: SwarmStatistics


class Host:
    """An authenticated peer. Get one from `open_host`.

    Where a method takes a peer, it is a `PeerId`, the text of one, or an address that ends in `/p2p/<id>`; where it
    takes an address, text or a `Multiaddr`. TypeError for anything else, InvalidInput for text that is neither.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        swarm: Swarm,
        peerstore: Peerstore,
        events: EventHub,
        observed: ObservedAddresses | None = None,
        upgrader: Upgrader | None = None,
    ) -> None:
        self.identity = identity
        self.peer_id = identity.peer_id
        self.peerstore = peerstore
        self.swarm = swarm
        self.events = events
        self._upgrader = upgrader
        self._routers: list[PeerRouting] = []
        self.on_changed = Hooks[()](swarm.bugs.reason)
        """Called when our addresses or protocols may have changed."""
        self._observed = observed or ObservedAddresses()
        self.services: dict[str, object] = {}
        """What was opened on this host and is still open, by name; see `open_service`."""
        self.ended = trio.Event()
        """Set when the host has ended."""
        self._announced: dict[str, tuple[Multiaddr, ...]] = {}
        self._reachability = ReachabilityReports()
        swarm.on_listen_addresses_changed.add(self.on_changed, name="the host")
        swarm.on_connection_opened.add(self._connection_opened, name="the peerstore")
        swarm.on_disconnected.add(peerstore.disconnected, name="the peerstore")

    def _connection_opened(self, connection: Connection) -> None:
        self.peerstore.connected(connection.remote_peer)
        if connection.dialed is not None:
            self.peerstore.add_addresses(connection.remote_peer, [connection.dialed], Ttl.DIALED)

    def __repr__(self) -> str:
        return f"<Host {self.peer_id}, {len(self.swarm.listen_addresses)} listeners, {len(self.peers)} peers>"

    # ---- where we are

    @property
    def addresses(self) -> list[Multiaddr]:
        """Where others reach this host, each ending in `/p2p/<our id>`; unspecified addresses are listed out.

        Those of unix sockets stay without: nothing can follow a path.
        """
        return [self._named(address) for address in self.announced_addresses]

    @property
    def announced_addresses(self) -> list[Multiaddr]:
        """The same without `/p2p`, as peers are told them."""
        found: dict[Multiaddr, None] = {}
        for address in self.swarm.listen_addresses:
            found.update(dict.fromkeys(_listed_out(address)))
        for external in self._announced.values():
            found.update(dict.fromkeys(external))
        found.update(dict.fromkeys(self.observed_addresses))
        return list(found)

    @property
    def observed_addresses(self) -> tuple[Multiaddr, ...]:
        """Our addresses as enough peers agree on seeing us; what one of them sees is in the peerstore."""
        return self._observed.addresses(self.swarm.listen_addresses)

    def announce(self, addresses: str | Multiaddr | Iterable[str | Multiaddr], *, source: str = "application") -> None:
        """Announce these external addresses too, in place of earlier ones of this source; an empty list takes back.

        Sources are the application, for configured addresses, and services such as a port mapper or a relay.
        One address or several, each with or without `/p2p` and our own id behind it. Raises InvalidAddress for one at
        which no other peer could dial this host: of another peer, empty, unspecified, multicast, broadcast, link-local
        without a zone, of port 0, without a transport, a path in the file system; and for more than 30. Then the
        earlier ones stay.
        """
        check_kind(source, "the source of addresses", str)
        external = announceable(addresses, self.peer_id)
        if external == self._announced.get(source, ()):
            return
        if external:
            self._announced[source] = external
        else:
            del self._announced[source]
        self.on_changed()

    @property
    def reachability(self) -> dict[Multiaddr, Reachability]:
        """Whether others can dial our addresses, as far as services have reported it."""
        return dict(self._reachability.current)

    def report_reachability(self, statuses: Mapping[Multiaddr, Reachability], *, source: str) -> None:
        """Report what a service found of our addresses, in place of its earlier report; an empty one takes it back.

        Observers get `ReachabilityChanged` when that changes the whole. Where sources differ, reachable counts more
        than unreachable, and that more than unknown.
        """
        changed = self._reachability.report(statuses, source)
        if changed is not None:
            self.events.notify(changed)

    async def listen(self, address: str | Multiaddr) -> list[Multiaddr]:
        """Listen on one more address and return where others reach it. Raises InvalidAddress, OSError."""
        bound = await self.swarm.listen(address_of(self.peer_id, parse_address(address)))
        return [self._named(item) for each in bound for item in _listed_out(each)]

    async def unlisten(self, address: str | Multiaddr) -> None:
        """Stop listening on an address, as given to `listen` or returned by it; connections stay.

        A listener with several addresses, as on all interfaces, stops with all of them, and peers are told. Raises
        InvalidAddress if this host does not listen there.
        """
        await self.swarm.unlisten(address_of(self.peer_id, parse_address(address)))

    def _named(self, address: Multiaddr) -> Multiaddr:
        return address if transport_name(address) == "unix" else with_peer(address, self.peer_id)

    @property
    def upgrader(self) -> Upgrader:
        """What secures and muxes raw connections for this host; for transports whose bytes go through streams.

        Such a transport is added with `host.swarm.add_transport`. Raises LocalProtocolError for a host without one.
        """
        if self._upgrader is None:
            raise LocalProtocolError("this host was made without an upgrader; open_host gives it one")
        return self._upgrader

    # ---- protocols

    def handle(self, protocol: str, handler: StreamHandler, *, max_streams_per_peer: int | None = None) -> None:
        """Serve inbound streams of a protocol, in place of an earlier handler.

        `max_streams_per_peer` is how many one peer may hold open, for a protocol that needs no more; never more than
        `Limits.inbound_streams_per_peer_and_protocol`, and `Limits.inbound_streams_overrides` comes first.
        The stream is closed when the handler returns, and reset when it raises, which harms nothing else.
        Raises InvalidInput for an id that does not begin with a slash (rust-libp2p refuses others), is longer than 139
        characters or not printable ASCII; TypeError for a handler that is not async.
        """
        check_protocol(protocol)
        check_handler(protocol, handler)
        if max_streams_per_peer is not None:
            check_kind(max_streams_per_peer, "max_streams_per_peer", int)
            if max_streams_per_peer < 1:
                raise InvalidInput(f"max_streams_per_peer must be positive, not {max_streams_per_peer}")
        self.swarm.scopes.declare_streams(protocol, max_streams_per_peer)
        self.swarm.handlers[protocol] = handler
        self.on_changed()

    def unhandle(self, protocol: str) -> None:
        """Refuse a protocol from now on; streams that are open go on."""
        check_protocol(protocol)
        self.swarm.handlers.pop(protocol, None)
        self.on_changed()

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols served."""
        return tuple(self.swarm.handlers)

    # ---- peers

    async def connect(self, *targets: Target | Iterable[Target], direct: bool = False) -> PeerId:
        """Connect to one peer by its id, its addresses, or both, and return its id once it is identified.

        An open connection is used again, and a list of addresses counts as these addresses. If neither they nor those
        in the peerstore answer, all routers are asked, and what they find is dialed as it comes. `direct` wants a
        connection that no relay forwards: if all are relayed, the peer is dialed beside them. Raises DialError with its
        report, InvalidInput for unusable targets.
        """
        peer, _ = await self.connect_with_report(*targets, direct=direct)
        return peer

    async def connect_with_report(
        self, *targets: Target | Iterable[Target], direct: bool = False
    ) -> tuple[PeerId, DialReport]:
        """Connect as `connect` does, and return the report of the dial as well."""
        peer, addresses = parse_targets(targets)
        if peer is not None:
            addresses += [item for item in self.peerstore.addresses(peer) if item not in addresses]
        connection, report = await self._dial(peer, addresses, direct)
        await self._wait_identified(connection, report)
        return connection.remote_peer, report

    async def _dial(
        self, peer: PeerId | None, addresses: Sequence[Multiaddr], direct: bool
    ) -> tuple[Connection, DialReport]:
        """Dial these addresses and, if none answers, those that the routers find."""
        if peer is None or peer == self.peer_id or not self._routers:
            return await self.swarm.dial(peer, addresses, direct=direct)
        report = DialReport(str(peer))
        if addresses or self.swarm.connections(peer):
            try:
                return await self.swarm.dial(peer, addresses, direct=direct)
            except DialError as error:
                told = error.report  # of all who shared the dial: what comes now is ours only
                report.epoch, report.notes = told.epoch, list(told.notes)
                report.resolutions, report.attempts = list(told.resolutions), list(told.attempts)

        async def dial(found: Sequence[Multiaddr], report: DialReport) -> Connection:
            connection, _ = await self.swarm.dial(peer, found, direct=direct, report=report)
            return connection

        search = Search(peer, report, dial, config=self.swarm.config, bugs=self.swarm.bugs)
        try:
            return await search.run(self._routers, addresses), report
        except DialError:
            self.events.notify(DialFailed(report))
            raise

    async def _wait_identified(self, connection: Connection, report: DialReport) -> None:
        name, silence_advice = self.swarm.on_connection.stage
        attempt = _unidentified(report, name) or Attempt(str(connection.muxed.info.remote_address), report.epoch)
        try:
            with attempt.stage(name) as stage:
                try:
                    connection = await self._identified(connection)
                except trio.TooSlowError:
                    stage.advice = silence_advice
                    raise
                except ConnectionLost:
                    stage.limit = "theirs, most likely: it knew who we are when it hung up"
                    stage.advice = "the peer's limits or its gater may refuse this host: its own log says why"
                    raise
                stage.found = self.peerstore.agent(connection.remote_peer) or None
            if connection.hook_failure is not None:
                attempt.fail_stage(stage, connection.hook_failure)
        except trio.TooSlowError:
            # The connection stands all the same; the report says what is missing.
            attempt.outcome = Outcome.OK
        except ConnectionLost:
            if attempt not in report.attempts:
                report.attempts.append(attempt)
            raise report.error() from None

    async def _identified(self, connection: Connection) -> Connection:
        """Wait until the peer is identified, and return the connection that it is on.

        Raises trio.TooSlowError, and ConnectionLost if it hung up instead.
        """
        timeout = self.swarm.config.hook_timeout
        with trio.move_on_after(timeout):
            await connection.identified.wait()
            while connection.muxed.closed:
                await connection.gone.wait()
                # It may have been one too many of a simultaneous dial.
                others = self.swarm.connections(connection.remote_peer)
                if not others:
                    reason = connection.reason or "the peer hung up"
                    raise ConnectionLost(f"{reason}, right after the handshake")
                connection = others[0]
                await connection.identified.wait()
            return connection
        raise trio.TooSlowError(f"no answer within {timeout:g} s")

    async def open_stream(self, peer: AnyPeer, *protocols: str, allow_limited: bool = False) -> Stream:
        """Open a stream for the first of `protocols` that the peer supports, dialing if need be.

        An address that ends in the peer's id is dialed together with those that are known. Use the stream as
        `async with`. `allow_limited` says that the protocol can use a connection on which a relay limits time
        or data; without it LimitedConnection is raised if there is no other. Raises DialError, NegotiationError,
        LimitExceeded, StreamReset, ConnectionLost.
        """
        target, peer = peer, parse_peer(peer)
        if not protocols or not all(isinstance(protocol, str) for protocol in protocols):
            raise InvalidInput(f"open_stream takes one or more protocol ids, each a str, not {protocols!r}")
        connection = self._connection(peer, allow_limited)
        if connection is None:
            await self.connect(target)
            connection = self._connection(peer, allow_limited)
            if connection is None:
                raise DialError(f"peer {peer} hung up at once", DialReport(str(peer)))
        elif connection.muxed.state is ConnectionState.SUSPECTED:
            return await self._open_on_suspected(connection, protocols, allow_limited)
        known = len(protocols) == 1 and protocols[0] in self.peerstore.protocols(peer)
        early = known and takes_early_proposals(self.peerstore.agent(peer))
        return await self.swarm.open_stream(connection, protocols, supported=early, allow_limited=allow_limited)

    async def _open_on_suspected(self, connection: Connection, protocols: Sequence[str], allow_limited: bool) -> Stream:
        """Open a stream where the peer may be gone: when no answer is as quick as usual, the peer is dialed beside.

        Agreement on the protocol is awaited, as it proves that the connection is alive.
        """
        with suppress(ConnectionLost), trio.move_on_after(self.swarm.patience(connection)):
            return await self.swarm.open_stream(connection, protocols, allow_limited=allow_limited)
        # One with limits that is alive beside it is of no use to a protocol that did not ask for such.
        limited = not allow_limited and any(item.limited for item in self.swarm.connections(connection.remote_peer))
        await self.connect(connection.remote_peer, direct=limited)
        better = self._connection(connection.remote_peer, allow_limited)
        if better is None:
            raise DialError(f"peer {connection.remote_peer} hung up at once", DialReport(str(connection.remote_peer)))
        return await self.swarm.open_stream(better, protocols, allow_limited=allow_limited)

    def _connection(self, peer: PeerId, allow_limited: bool) -> Connection | None:
        """Return the best connection for a stream; one with limits only if it is allowed, or there is no other."""
        connections = self.swarm.connections(peer)
        usable = (item for item in connections if allow_limited or not item.limited)
        return next(usable, connections[0] if connections else None)

    def connections(self, peer: AnyPeer | None = None) -> list[MuxedConnection]:
        """Return the connections to one peer, the best first, or all."""
        wanted = None if peer is None else parse_peer(peer)
        return [connection.muxed for connection in self.swarm.connections(wanted)]

    @property
    def peers(self) -> list[PeerId]:
        """The connected peers."""
        return self.swarm.peers

    def add_router(self, router: PeerRouting) -> None:
        """Ask one more router for addresses of peers from now on. Raises TypeError for what cannot search."""
        check_router(router)
        self._routers.append(router)

    def remove_router(self, router: PeerRouting) -> None:
        """Ask a router no more; nothing happens if it is not asked."""
        if router in self._routers:
            self._routers.remove(router)

    async def disconnect(self, peer: AnyPeer) -> None:
        """Close every connection to a peer; nothing happens if there is none."""
        await self.swarm.disconnect(parse_peer(peer))

    def memory_of(self, peer: AnyPeer) -> MemoryAccount:
        """Return an account of the memory that one protocol holds for a peer, within `Limits.memory` and its share.

        A protocol holds there what it is about to read or keep of the peer, and frees it afterwards.
        """
        return MemoryAccount(self.swarm.scopes.peer(parse_peer(peer)))

    def tag(self, peer: AnyPeer, name: str, value: int) -> None:
        """Set what a peer is worth when connections must be trimmed; the tags of a peer add up."""
        check_tag(name, value)
        self.swarm.trimmer.tag(parse_peer(peer), name, value)

    def untag(self, peer: AnyPeer, name: str) -> None:
        """Take a tag back; nothing happens if there is none."""
        check_tag(name)
        self.swarm.trimmer.untag(parse_peer(peer), name)

    def protect(self, peer: AnyPeer, name: str) -> None:
        """Never trim a peer until `unprotect` with the same name."""
        check_tag(name)
        self.swarm.trimmer.protect(parse_peer(peer), name)

    def unprotect(self, peer: AnyPeer, name: str) -> None:
        """Take a protection back."""
        check_tag(name)
        self.swarm.trimmer.unprotect(parse_peer(peer), name)

    def add_addresses(
        self,
        peer: AnyPeer,
        addresses: str | Multiaddr | Iterable[str | Multiaddr],
        ttl: Ttl | float = Ttl.DISCOVERED,
    ) -> None:
        """Remember one or several addresses of a peer for later dials, for a class of time or a number of seconds.

        Raises InvalidAddress, also for one that names another peer; then none is remembered.
        """
        peer = parse_peer(peer)
        own = [address_of(peer, address) for address in parse_addresses(addresses)]
        self.peerstore.add_addresses(peer, own, ttl)

    # ---- the rest

    def observe(self, observer: Observer) -> None:
        """Send events to one more observer. Raises TypeError for what has no `notify`."""
        self.events.add(observer)

    def unobserve(self, observer: Observer) -> None:
        """Send an observer no more events; nothing happens if it is none."""
        self.events.remove(observer)

    def statistics(self) -> HostStatistics:
        """Return a snapshot."""
        return HostStatistics(str(self.peer_id), self.protocols, self.swarm.statistics())


def _unidentified(report: DialReport, name: str) -> Attempt | None:
    """Return the attempt that made the connection, unless it has the stage of this name already."""
    made = next((item for item in report.attempts if item.outcome is Outcome.OK), None)
    waited_for = made is not None and any(stage.name == name for stage in made.stages)
    return None if waited_for else made


def _listed_out(address: Multiaddr) -> list[Multiaddr]:
    """Return an address as bound, or those of all interfaces where it is unspecified."""
    return expand_unspecified(address) if is_unspecified(address) else [address]
