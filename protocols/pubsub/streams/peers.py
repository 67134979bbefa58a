"""All peers that speak pubsub: their streams are opened, fed with what the router decides, and closed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import trio

from peerstack.stack.abc import ConnectionInfo, Direction, Stream
from peerstack.stack.addressing import ip_of
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, Event, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from ..api.config import PubsubConfig
from ..api.events import ForwardDropped, PeerDropped, PubsubPeerAdded, PubsubPeerRemoved
from ..api.statistics import RpcCounts
from ..router.events import Misbehaved, Outgoing, PeersSuggested, RouterEvent, ShouldDisconnect, Version
from ..router.router import GossipsubRouter
from ..wire import (
    FLOODSUB,
    MESHSUB_10,
    MESHSUB_11,
    MESHSUB_12,
    MESHSUB_13,
    Extensions,
    Message,
    Rpc,
    Subscription,
    encode_control,
)
from .connections import PeerDialer, tag_mesh_peer
from .pacing import Pace
from .peer_streams import BROKEN, MOVED, PeerStreams
from .send_queue import SendQueue

_log = logging.getLogger(__name__)

VERSIONS: Final = {
    MESHSUB_13: Version.V13,
    MESHSUB_12: Version.V12,
    MESHSUB_11: Version.V11,
    MESHSUB_10: Version.V10,
    FLOODSUB: Version.FLOODSUB,
}
RETRY_PAUSES: Final = (0.5, 2.0, 8.0, 30.0, 60.0)
"""Seconds before each new try to open our stream, when it ended while the connection lasts; the last one recurs."""
MIN_RETRY_PAUSE: Final = RETRY_PAUSES[0]
"""Seconds between two tries, even if the peer opens streams sooner: each costs a stream and a hello."""
GRACE: Final = 2.0
"""Seconds without a stream for which a peer stays in the router, and what is meant for it waits."""
MAX_UNKNOWN_TRIES: Final = 3
"""Tries to open a stream to a peer that identify does not list as one with pubsub."""
READ_LAST_TIMEOUT: Final = 0.5
"""Seconds in which the inbound streams of a peer that broke our stream are still read, before it counts as gone."""
READ_TIMEOUT: Final = 1.0
"""Seconds that a peer has to read the last message before we close."""
STABLE_AFTER: Final = 60.0
"""Seconds after which a stream counts as stable: when it breaks, the retry pauses begin anew."""

MAX_DROPPED: Final = 100
"""Disconnected peers that are remembered with the reason."""

Hello = Callable[[], list[bytes]]


class PubsubPeers:
    """Keeps the streams to each connected peer that speaks pubsub."""

    def __init__(
        self,
        host: Host,
        router: GossipsubRouter,
        config: PubsubConfig,
        nursery: trio.Nursery,
        *,
        dialer: PeerDialer,
        hello: Hello,
        on_event: Callable[[RouterEvent], None],
    ) -> None:
        self._host = host
        self._router = router
        self._config = config
        self._nursery = nursery
        self._dialer = dialer
        self._hello = hello
        self._on_event = on_event
        self._streams: dict[PeerId, PeerStreams] = {}
        self.protocols = [FLOODSUB] if config.gossip.floodsub_only else list(VERSIONS)
        """What we offer, the newest first."""
        self.dropped: dict[str, str] = {}
        """The peers disconnected lately for what they did, and why."""
        self.rpc_counts = RpcCounts()
        """What was queued for peers, and of messages what was sent."""
        self.counts: Counter[str] = Counter()
        """Our streams to peers: opened, not opened, ended, and of those that ended because the peer took nothing."""
        self._full: dict[PeerId, None] = {}
        """Peers with a full queue that something was forwarded to."""

    @property
    def streams(self) -> Mapping[PeerId, PeerStreams]:
        """The streams by peer."""
        return MappingProxyType(self._streams)

    # ---- connecting and disconnecting

    def notify(self, event: Event) -> None:
        """Handle events of the host, as its observer."""
        match event:
            case PeerIdentified(peer=peer):
                if peer in self._streams:
                    self._streams[peer].retry_now.set()
                    self._set_pace(self._streams[peer])
                    self._router.set_record(peer, self._host.peerstore.record(peer))
                elif self._host.peerstore.supports(peer, *self.protocols):
                    self.streams_to(peer)
            case ConnectionOpened(info=info) if info.remote_peer in self._streams and info.relay is None:
                self._streams[info.remote_peer].prefer_direct()
                self._streams[info.remote_peer].retry_now.set()
            case ConnectionClosed(info=info) if info.remote_peer in self._streams:
                if not self._host.connections(info.remote_peer):
                    self._streams[info.remote_peer].queue.close("the connection is gone")
                    self._streams[info.remote_peer].retry_now.set()

    def streams_to(self, peer: PeerId) -> PeerStreams:
        """Return the streams to a peer; if there are none, ours is opened."""
        streams = self._streams.get(peer)
        if streams is None:
            queue = SendQueue(
                peer,
                self._config.queues,
                max_frame=self._config.max_frame,
                max_rpc=self._config.largest_rpc,
                wanted=lambda message: self._router.wants(peer, message.id),
            )
            streams = self._streams[peer] = PeerStreams(peer, queue, self._config.queues, self.rpc_counts)
            self._nursery.start_soon(self._run, streams)
        return streams

    def _set_pace(self, streams: PeerStreams) -> None:
        pacing = self._config.pacing
        if pacing is None or not pacing.holds_for(self._host.peerstore.agent(streams.peer)):
            streams.pace = None
        elif streams.pace is None:
            streams.pace = Pace(pacing, trio.current_time())

    async def acknowledged(self, peer: PeerId) -> bool:
        """Wait until a peer's host has received what was sent to it so far; False if that cannot be known."""
        streams = self._streams.get(peer)
        if streams is None:
            await trio.lowlevel.checkpoint()
            return False
        return await streams.acknowledged()

    async def _run(self, streams: PeerStreams) -> None:
        """Keep our stream to one peer open as long as there is a connection, with pauses that grow."""
        reason, lost = "", False
        try:
            while not streams.queue.closed:
                began = trio.current_time()
                reason = await self._run_stream(streams)
                lost = not self._host.connections(streams.peer)
                if lost or streams.queue.closed or streams.queue.ending:
                    break
                if reason == MOVED:
                    continue
                if trio.current_time() - began > STABLE_AFTER and not streams.stalled:
                    streams.failures = 0
                streams.failures += 1
                if self._speaks_no_pubsub(streams):
                    break
                await self._pause(streams, reason)
        finally:
            self._remove(streams, reason, lost=lost)
        if not streams.queue.ending and self._reachable(streams.peer):
            self.streams_to(streams.peer)  # it came back while these were being closed

    def _reachable(self, peer: PeerId) -> bool:
        return bool(self._host.connections(peer) and self._host.peerstore.supports(peer, *self.protocols))

    def _speaks_no_pubsub(self, streams: PeerStreams) -> bool:
        """Return whether a peer does not speak pubsub any more; if it does, it will open a stream."""
        store, peer = self._host.peerstore, streams.peer
        if streams.inbound or store.supports(peer, *self.protocols):
            return False
        return bool(store.protocols(peer)) or streams.failures > MAX_UNKNOWN_TRIES

    async def _pause(self, streams: PeerStreams, reason: str) -> None:
        """Wait before the next stream to a peer; keep what the last one may have lost, if the wait is short."""
        pause = RETRY_PAUSES[min(streams.failures, len(RETRY_PAUSES)) - 1]
        _log.debug("pubsub stream to %s: %s; next try in %g s", streams.peer, reason, pause)
        if streams.stalled or not streams.opened.is_set() or pause > GRACE:
            self._suspend(streams, reason)
        else:
            streams.queue.restore()
        streams.retry_now = trio.Event()
        began = trio.current_time()
        with trio.move_on_after(pause):
            await streams.retry_now.wait()
        if not streams.queue.closed:
            await trio.sleep_until(began + MIN_RETRY_PAUSE)

    def _suspend(self, streams: PeerStreams, reason: str) -> None:
        """Take a peer that cannot be sent anything out of the router."""
        dropped = streams.queue.shut(reason)
        if streams.opened.is_set():
            self._forget(streams)
            self._host.events.notify(PubsubPeerRemoved(streams.peer, reason, dropped))
        else:
            streams.reset_inbound()

    def _forget(self, streams: PeerStreams) -> None:
        streams.opened = trio.Event()
        streams.topics = self._router.topics_of(streams.peer)
        self._router.remove_peer(streams.peer, trio.current_time())
        self.flush()

    def _remove(self, streams: PeerStreams, reason: str, *, lost: bool) -> None:
        known, dropped = streams.opened.is_set(), len(streams.queue)
        streams.queue.close(reason or "pubsub was closed", lost=lost)
        if known:
            self._forget(streams)
        streams.reset_inbound()
        streams.opened.set()
        del self._streams[streams.peer]
        if known:
            self._host.events.notify(PubsubPeerRemoved(streams.peer, streams.queue.reason, dropped))

    def adopt(self, streams: PeerStreams, stream: Stream) -> None:
        """Add an inbound stream of a peer."""
        if streams.opened.is_set() and streams.queue.paused and not streams.inbound:
            # Both directions are new, so its pubsub was restarted: it has not announced its subscriptions yet.
            self._forget(streams)
            streams.queue.resend_nothing("the peer restarted its pubsub")
        streams.adopt(stream)

    async def _run_stream(self, streams: PeerStreams) -> str:
        """Open our stream to a peer and send until it breaks; return why it is over."""
        stream, reason = await self._open(streams.peer)
        if stream is None:
            return reason
        try:
            self._begin(streams, stream)
            reason = await streams.send(stream)
            if reason == MOVED:
                self.counts["moved"] += 1
                return reason
            streams.queue.pause()
            self.counts["stalled" if streams.stalled else "ended"] += 1
            if not streams.queue.reason:
                # A peer that leaves breaks our stream, while its last messages may not have been read yet.
                with trio.move_on_after(READ_LAST_TIMEOUT):
                    await streams.wait_inbound_read()
            return reason
        finally:
            # Not a reset, which would discard what the connection has taken but not sent yet.
            with trio.CancelScope(shield=True):
                await stream.aclose()

    async def _open(self, peer: PeerId) -> tuple[Stream | None, str]:
        """Open our stream to a peer; return it, or why there is none."""
        if not self._host.connections(peer):
            return None, "the connection is gone"
        known = self._host.peerstore.supports(peer, *self.protocols)
        # At least two are offered: for a single one negotiation is optimistic, and the peer may never answer.
        offered = [*known, *(protocol for protocol in self.protocols if protocol not in known), self.protocols[-1]]
        timeout = self._config.queues.open_timeout
        reason = f"no stream could be opened: the peer agreed to no protocol within {timeout:g} s"
        with trio.move_on_after(timeout):
            try:
                return await self._host.open_stream(peer, *offered), ""
            except (*BROKEN, OSError) as error:
                reason = f"no stream could be opened: {error}"
        self.counts["not opened"] += 1
        return None, reason

    def _begin(self, streams: PeerStreams, stream: Stream) -> None:
        self.counts["opened"] += 1
        moved = streams.opened.is_set() and not streams.queue.paused
        if streams.opened.is_set() and not moved:
            self._forget(streams)
        streams.protocol = stream.protocol
        self._set_pace(streams)
        info = stream.connection.info
        version = VERSIONS[stream.protocol]
        self._router.add_peer(
            streams.peer,
            version,
            outbound=info.direction is Direction.OUTBOUND,
            ips=_ips(info),
            now=trio.current_time(),
        )
        self._router.set_record(streams.peer, self._host.peerstore.record(streams.peer))
        if streams.topics and not moved:
            known = [Subscription(True, topic) for topic in streams.topics]
            self._router.receive(streams.peer, Rpc(subscriptions=known), trio.current_time())
        hello = self._hello()
        self.rpc_counts.subscriptions += len(hello)
        if version >= Version.V13:
            # In the first RPC or not at all.
            hello = encode_control(extensions=Extensions()) + hello
        streams.queue.begin(hello, moved=moved)
        streams.opened.set()
        if not moved:
            self._host.events.notify(PubsubPeerAdded(streams.peer, stream.protocol))
        self.flush()

    # ---- sending

    def flush(self) -> None:
        """Queue what the router wants sent, and handle its events."""
        for peer, outgoing in self._router.take_outgoing().items():
            streams = self._streams.get(peer)
            if streams is not None:
                self._queue(streams, outgoing)
        for event in self._router.take_events():
            self._handle(event)

    def _handle(self, event: RouterEvent) -> None:
        match event:
            case ShouldDisconnect(peer=peer, reason=reason):
                self.dropped.pop(str(peer), None)
                self.dropped[str(peer)] = reason
                if len(self.dropped) > MAX_DROPPED:
                    del self.dropped[next(iter(self.dropped))]
                self._host.events.notify(PeerDropped(peer, reason))
                self._nursery.start_soon(self._host.disconnect, peer)
            case PeersSuggested(peers=peers):
                self._dialer.suggest(peers)
                self._host.events.notify(event)
            case Misbehaved(peer=peer, reason=reason):
                self.note_offence(peer, reason)
                self._host.events.notify(event)
            case _:
                tag_mesh_peer(self._host, event)
                self._host.events.notify(event)
        self._on_event(event)

    def note_offence(self, peer: PeerId, offence: str) -> None:
        """Record the last offence of a peer."""
        streams = self._streams.get(peer)
        if streams is not None:
            streams.offence = offence

    def _queue(self, streams: PeerStreams, outgoing: Outgoing) -> None:
        self.rpc_counts.count_control(outgoing)
        streams.queue.put_control(
            encode_control(
                ihave=outgoing.ihave,
                iwant=outgoing.iwant,
                graft=outgoing.graft,
                prune=outgoing.prune,
                idontwant=outgoing.idontwant,
            )
        )
        for message in outgoing.messages:
            if not streams.queue.overfull and not streams.queue.reason:
                streams.queue.put(message)

    def announce(self, subscriptions: Sequence[bytes]) -> None:
        """Queue encoded subscriptions for every peer whose stream is open; the others get them in the hello."""
        for streams in self._streams.values():
            if streams.opened.is_set():
                streams.queue.put_control(subscriptions)
                self.rpc_counts.subscriptions += len(subscriptions)

    def forward(self, message: Message, peers: Sequence[PeerId], now: float) -> None:
        """Forward a message to peers; where the reserve of the queue is used up, it is offered by gossip later."""
        for peer in peers:
            streams = self._streams.get(peer)
            if streams is None or streams.queue.reason:
                continue
            queue = streams.queue
            if queue.overfull or not queue.put(message):
                streams.forward_dropped += 1
                if queue.overfull:
                    self._router.dropped(message.id, peer, now)
                self._host.events.notify(ForwardDropped(peer, 1))
            if queue.full:
                self._full[peer] = None

    async def wait_space(self) -> None:
        """Wait for peers with a full queue that something was forwarded to, unless they take nothing."""
        patience = self._config.queues.forward_patience
        for peer in tuple(self._full):
            streams = self._streams.get(peer)
            if streams is None or not streams.queue.full:
                self._full.pop(peer, None)
            elif streams.queue.stuck_for(trio.current_time()) < patience:
                with trio.move_on_after(patience):
                    await streams.queue.wait_space()

    async def drain(self) -> None:
        """Wait until everything queued was taken by the connections."""
        for streams in tuple(self._streams.values()):
            await streams.queue.wait_idle()

    async def close_streams(self) -> None:
        """End our streams, and wait until the peers have read them: what is unread is lost with the connection.

        go-libp2p, rust-libp2p and peerstack confirm by ending their direction. js-libp2p and py-libp2p do not, and only
        get the time.
        """
        open_streams = tuple(self._streams.values())
        for streams in open_streams:
            streams.queue.end()
        for streams in open_streams:
            with trio.move_on_at(streams.published_at + READ_TIMEOUT):
                await streams.read_to_end.wait()


def _ips(info: ConnectionInfo) -> list[str]:
    """Return the peer's IP address; a relay's says nothing about the peer."""
    if info.relay is not None:
        return []
    ip = ip_of(info.remote_address)
    return [] if ip is None else [str(ip)]
