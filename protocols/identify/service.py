"""The identify service of a host: asks every new peer, answers all, and pushes what changes."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import MuxedConnection, Stream
from peerstack.stack.addressing import transport_name
from peerstack.stack.background import contained
from peerstack.stack.bugs import BugReporter
from peerstack.stack.errors import ConnectionLost, PeerIdMismatch, StackError
from peerstack.stack.events import AddressesChanged, Event, PeerIdentified
from peerstack.stack.host import Host, Peerstore, open_service
from peerstack.stack.host.arguments import is_tellable
from peerstack.stack.identity import Identity, PeerId, PeerRecord
from peerstack.stack.limits import MemoryAccount, RateLimiter
from peerstack.stack.swarm.observed import ObservedAddresses

from .identify import PROTOCOL, PUSH_PROTOCOL
from .identify import identify as receive_answer
from .identify import serve as send_answer
from .identify import serve_push as receive_push
from .learn import check_key, learn
from .wire import PROTOCOL_VERSION, Identify

_log = logging.getLogger(__name__)

_FAILURES = (StackError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


@dataclass(frozen=True, kw_only=True)
class IdentifyConfig:
    """Settings of identify; times in seconds."""

    agent: str = "peerstack"
    """What we call ourselves."""
    protocol_version: str = PROTOCOL_VERSION
    """The version that all implementations send."""
    timeout: float = 5.0
    """For one exchange, in either direction: a peer could send byte by byte, or never read (go and js: 5 s)."""
    max_addresses: int = 30
    """Addresses of ours that are told: more would not fit into what all peers read."""
    push_delay: float = 0.5
    """Waited for further changes before pushing, so that many make one push (js-libp2p: 1 s)."""
    push_concurrency: int = 16
    """Peers pushed to at the same time (go and js: 32)."""
    push_rate: float = 1.0
    """Pushes a second taken from one peer in the long run; each costs a signature to check."""
    push_burst: int = 4
    """Pushes taken from one peer at once before the rate applies."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str) and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")


class IdentifyHost(Protocol):
    """What identify needs of a host."""

    @property
    def identity(self) -> Identity:
        """The key pair of this host."""
        ...

    @property
    def peerstore(self) -> Peerstore:
        """Where what peers say is kept."""
        ...

    @property
    def listen_addresses(self) -> Sequence[Multiaddr]:
        """The addresses listened on, as bound."""
        ...

    @property
    def announced_addresses(self) -> Sequence[Multiaddr]:
        """The addresses others should dial, the most useful first, without `/p2p/`."""
        ...

    @property
    def protocols(self) -> Sequence[str]:
        """The protocols accepted from others."""
        ...

    @property
    def connections(self) -> Sequence[MuxedConnection]:
        """All open connections."""
        ...

    async def open_stream_on(self, connection: MuxedConnection, protocol: str, /) -> Stream:
        """Open a stream on this very connection. Raises `StackError`."""
        ...

    def memory_of(self, peer: PeerId, /) -> MemoryAccount:
        """Return an account of the memory held for a peer."""
        ...

    def notify(self, event: Event, /) -> None:
        """Pass an event on to the observers."""
        ...


class IdentifyService:
    """Identify and push of one host. `serve` and `serve_push` are the handlers, `run` sends the pushes."""

    def __init__(
        self,
        host: IdentifyHost,
        config: IdentifyConfig | None = None,
        *,
        observed: ObservedAddresses | None = None,
        bugs: BugReporter | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._host = host
        self._config = config or IdentifyConfig()
        self._bugs = bugs or BugReporter()
        self._announced: tuple[Multiaddr, ...] | None = None
        self._observed = observed or ObservedAddresses()
        self._believed: tuple[Multiaddr, ...] = ()
        self._now_ns = now_ns
        self._current: Identify | None = None
        self._seq = 0
        self._told: WeakKeyDictionary[MuxedConnection, Identify] = WeakKeyDictionary()
        self._changed = trio.Event()
        self._push_rates = RateLimiter(self._config.push_rate, self._config.push_burst)
        self._pushing: set[PeerId] = set()

    # --- asking

    async def identify_connection(self, connection: MuxedConnection) -> None:
        """Identify the peer of a new connection; what goes wrong is logged, and costs no more than the knowledge.

        The hook for a swarm. A peer that shows another key than it proved loses the connection.
        """
        try:
            await self.identify(connection)
        except _FAILURES as error:
            _log.debug("identify of %s failed: %s", connection.remote_peer, error)

    async def identify(self, connection: MuxedConnection) -> PeerIdentified:
        """Ask the peer of a connection who it is, and remember it.

        Raises StackError, trio.BrokenResourceError, or trio.TooSlowError; PeerIdMismatch after closing the
        connection, when the peer shows another key than it proved to have.
        """
        with trio.fail_after(self._config.timeout):
            stream = await self._host.open_stream_on(connection, PROTOCOL)
            try:
                received = await receive_answer(stream, memory=self._host.memory_of(connection.remote_peer))
            except BaseException:
                stream.reset()
                raise
        learned = await self._learn(connection, received, pushed=False)
        told = self._told.get(connection)
        if told is not None and told is not self._snapshot():
            self.changed()
        return learned

    async def _learn(self, connection: MuxedConnection, received: Identify, *, pushed: bool) -> PeerIdentified:
        try:
            check_key(connection.info, received)
        except PeerIdMismatch as error:
            _log.warning("closing the connection to %s: %s", connection.remote_peer, error)
            await connection.aclose()
            raise
        learned = learn(self._host.peerstore, connection.info, received, pushed=pushed)
        if learned.observed_address is not None and not connection.closed:
            self._note_observed(connection, learned.observed_address)
        self._host.notify(learned)
        return learned

    # --- our address as others see it

    @property
    def observed_addresses(self) -> tuple[Multiaddr, ...]:
        """Our addresses that enough peers agree on seeing us at."""
        self._observed.retain(self._host.connections)
        return self._observed.addresses(self._host.listen_addresses)

    def _note_observed(self, connection: MuxedConnection, observed: Multiaddr) -> None:
        info = connection.info
        counts = self._observed.record(
            connection,
            observed=observed,
            local=info.local_address,
            remote=info.remote_address,
            listening=self._host.listen_addresses,
        )
        if counts and self._believed != (believed := self._observed.addresses(self._host.listen_addresses)):
            self._believed = believed
            self.changed()

    # --- answering

    async def serve(self, stream: Stream) -> None:
        """Answer identify; the handler of `/ipfs/id/1.0.0`."""
        ours = self._snapshot()
        self._told[stream.connection] = ours
        await self._send(stream, ours)

    async def _send(self, stream: Stream, ours: Identify) -> None:
        """Send what we are; resets the stream when the peer is too slow to take it."""
        seen_at = _seen_at(stream.connection.info.remote_address)
        with trio.move_on_after(self._config.timeout):
            await send_answer(stream, replace(ours, observed_address=seen_at))
            return
        stream.reset()

    def _snapshot(self) -> Identify:
        """Return what we say of ourselves, the very same object for as long as nothing changes."""
        addresses = tuple(a.to_bytes() for a in self._host.announced_addresses[: self._config.max_addresses])
        protocols = tuple(self._host.protocols)
        current = self._current
        if current is not None and (current.listen_addresses, current.protocols) == (addresses, protocols):
            return current
        record = None if current is None else current.signed_record
        if current is None or current.listen_addresses != addresses:
            record = self._seal(addresses)
        self._current = Identify(
            public_key=self._host.identity.public_key.encode(),
            listen_addresses=addresses,
            protocols=protocols,
            protocol_version=self._config.protocol_version,
            agent=self._config.agent,
            signed_record=record,
        )
        return self._current

    def _seal(self, addresses: tuple[bytes, ...]) -> bytes:
        # A clock only so that the number is higher after a restart, too; two in one tick must still differ.
        self._seq = max(self._seq + 1, self._now_ns())
        identity = self._host.identity
        return PeerRecord(identity.peer_id, self._seq, addresses).seal(identity).encode()

    # --- pushes from others

    async def serve_push(self, stream: Stream) -> None:
        """Take what the peer pushes; the handler of `/ipfs/id/push/1.0.0`.

        Resets the stream when the peer pushes too often or too slowly. Raises RemoteProtocolError.
        """
        peer = stream.remote_peer
        if peer in self._pushing or not self._push_rates.allow(peer, trio.current_time()):
            stream.reset()
            return
        self._pushing.add(peer)
        try:
            with trio.move_on_after(self._config.timeout):
                received = await receive_push(stream, memory=self._host.memory_of(stream.remote_peer))
                await self._learn(stream.connection, received, pushed=True)
                return
        finally:
            self._pushing.discard(peer)
        stream.reset()

    # --- our own pushes

    def changed(self) -> None:
        """Note that our addresses or protocols may have changed; peers that know the old ones soon get a push."""
        self._changed.set()

    async def run(self) -> None:
        """Push changes to all peers that were told something else, until cancelled."""
        failed = partial(self._bugs.reason, what="telling the peers what changed")
        with contained(failed):
            self._announced = tuple(self._host.announced_addresses)
        while True:
            await self._changed.wait()
            await trio.sleep(self._config.push_delay)
            self._changed = trio.Event()
            with contained(failed):
                await self._push_changes()

    async def _push_changes(self) -> None:
        addresses = tuple(self._host.announced_addresses)
        if self._announced != addresses:
            self._announced = addresses
            self._host.notify(AddressesChanged(addresses))
        await self._push_to_all()

    async def _push_to_all(self) -> None:
        limiter = trio.CapacityLimiter(self._config.push_concurrency)
        ours = self._snapshot()
        async with trio.open_nursery() as nursery:
            for connection in self._host.connections:
                # A peer that has not asked yet gets the newest when it does.
                behind = self._told.get(connection, ours) is not ours
                if behind and self._host.peerstore.supports(connection.remote_peer, PUSH_PROTOCOL):
                    nursery.start_soon(self._push, connection, ours, limiter)

    async def _push(self, connection: MuxedConnection, ours: Identify, limiter: trio.CapacityLimiter) -> None:
        failed = partial(self._push_failed, connection)
        async with limiter:
            with contained(failed):
                with trio.fail_after(self._config.timeout):
                    stream = await self._host.open_stream_on(connection, PUSH_PROTOCOL)
                self._told[connection] = ours
                await self._send(stream, ours)

    def _push_failed(self, connection: MuxedConnection, error: Exception) -> None:
        reason = self._bugs.reason(error, f"the push to {connection.remote_peer}")
        _log.debug("push to %s failed: %s", connection.remote_peer, reason)


def _seen_at(address: Multiaddr) -> bytes | None:
    """Encode where we see a peer; None over a unix socket, whose client has no address but the listener's own path."""
    return None if transport_name(address) == "unix" else address.to_bytes()


@asynccontextmanager
async def open_identify(
    host: Host, config: IdentifyConfig | None = None, *, observed: ObservedAddresses
) -> AsyncIterator[IdentifyService]:
    """Serve identify and push on a host, and ask every new peer, until the block is left; `open_host` does so.

    `observed` is that of the host, and gets what peers say of our address. Raises InvalidInput if the host has identify
    already.
    """
    async with open_service(host, "identify") as service:
        asking = IdentifyService(_HostView(host), config, observed=observed, bugs=host.swarm.bugs)
        service.handle(PROTOCOL, asking.serve, max_streams_per_peer=16)  # as in go-libp2p
        service.handle(PUSH_PROTOCOL, asking.serve_push, max_streams_per_peer=1)
        service.on_changed(asking.changed)
        service.on_connection(
            lambda connection: asking.identify_connection(connection.muxed),
            identifies=True,
            advice="the connection works, but the peer does not answer identify",
        )
        service.on_connection_gone(lambda connection: observed.remove(connection.muxed))
        service.nursery.start_soon(asking.run)
        yield asking


class _HostView:
    """A host as identify sees it."""

    def __init__(self, host: Host) -> None:
        self.identity = host.identity
        self.peerstore = host.peerstore
        self.notify: Callable[[Event], None] = host.events.notify
        self.memory_of: Callable[[PeerId], MemoryAccount] = host.memory_of
        self._host = host

    @property
    def listen_addresses(self) -> Sequence[Multiaddr]:
        return self._host.swarm.listen_addresses

    @property
    def announced_addresses(self) -> Sequence[Multiaddr]:
        return [address for address in self._host.announced_addresses if is_tellable(address)]

    @property
    def protocols(self) -> Sequence[str]:
        return self._host.protocols

    @property
    def connections(self) -> Sequence[MuxedConnection]:
        return self._host.connections()

    async def open_stream_on(self, connection: MuxedConnection, protocol: str, /) -> Stream:
        for candidate in self._host.swarm.connections(connection.remote_peer):
            if candidate.muxed is connection:
                return await self._host.swarm.open_stream(candidate, [protocol], allow_limited=True)
        raise ConnectionLost("the connection is gone")
