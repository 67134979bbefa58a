"""The links to all peers: opened as peers come, fed with what the core decides, and cleared up behind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import trio

from peerstack.stack.abc import ConnectionInfo, Direction, Stream
from peerstack.stack.addressing import ip_of
from peerstack.stack.events import ConnectionClosed, Event, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from ..api.config import PubsubConfig
from ..api.events import ForwardDropped, PeerDropped, PubsubPeerAdded, PubsubPeerRemoved
from ..router.events import CoreEvent, Misbehaved, Outgoing, PeersSuggested, ShouldDisconnect, Version
from ..router.router import GossipCore
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
from .connection_tags import note_mesh
from .dialer import Introductions
from .pacing import Pace
from .peer_streams import BROKEN, Link
from .rpc_counts import Entries
from .send_queue import SendQueue

_log = logging.getLogger(__name__)

VERSIONS: Final = {
    MESHSUB_13: Version.V13,
    MESHSUB_12: Version.V12,
    MESHSUB_11: Version.V11,
    MESHSUB_10: Version.V10,
    FLOODSUB: Version.FLOODSUB,
}
RETRIES: Final = (0.5, 2.0, 8.0, 30.0, 60.0)
"""Seconds before each new try to open our stream, when it ended while the connection lasts; the last one recurs."""
LEAST_PAUSE: Final = RETRIES[0]
"""Seconds between two tries however much a peer hurries us: each costs a stream and what must be said again."""
GRACE: Final = 2.0
"""Seconds without a stream for which a peer stays in the router, and what is meant for it waits."""
UNHEARD_OF: Final = 3
"""Tries to open a stream to a peer of which nothing says that it speaks pubsub."""
HEAR_OUT: Final = 0.5
"""Seconds in which a peer whose end of our stream broke may end its own, before it counts as gone."""
PARTING: Final = 1.0
"""Seconds that a peer has to read the last message, before we go."""
STEADY: Final = 60.0
"""Seconds after which a stream that breaks, other than by taking nothing, breaks for the first time again."""

MAX_DROPPED: Final = 100
"""Peers whose disconnecting is remembered."""

Hello = Callable[[], list[bytes]]


class Switchboard:
    """Keeps one link for each connected peer that speaks pubsub."""

    def __init__(
        self,
        host: Host,
        core: GossipCore,
        config: PubsubConfig,
        nursery: trio.Nursery,
        *,
        introductions: Introductions,
        hello: Hello,
        on_event: Callable[[CoreEvent], None],
    ) -> None:
        self._host = host
        self._core = core
        self._config = config
        self._nursery = nursery
        self._introductions = introductions
        self._hello = hello
        self._on_event = on_event
        self._links: dict[PeerId, Link] = {}
        self.protocols = [FLOODSUB] if config.gossip.floodsub_only else list(VERSIONS)
        """What we offer, the newest first."""
        self.dropped: dict[str, str] = {}
        """The peers disconnected lately for what they did, and why."""
        self.entries = Entries()
        """What was queued for peers, and of messages what was sent."""
        self.counts: Counter[str] = Counter()
        """Our streams to peers: opened, not opened, ended, and of those that ended because the peer took nothing."""
        self._crowded: dict[PeerId, None] = {}
        """Peers with a full queue that something was passed on to."""

    @property
    def links(self) -> Mapping[PeerId, Link]:
        """The links by peer."""
        return MappingProxyType(self._links)

    # ---- peers come and go

    def notify(self, event: Event) -> None:
        """Hear of peers; this is an observer of the host."""
        match event:
            case PeerIdentified(peer=peer):
                if peer in self._links:
                    self._links[peer].hurry.set()
                    self._set_pace(self._links[peer])
                    self._core.set_record(peer, self._host.peerstore.record(peer))
                elif self._host.peerstore.supports(peer, *self.protocols):
                    self.link(peer)
            case ConnectionClosed(info=info, reason=reason) if info.remote_peer in self._links:
                if not self._host.connections(info.remote_peer):
                    self._links[info.remote_peer].queue.close("the connection is gone", lost=reason is not None)
                    self._links[info.remote_peer].hurry.set()

    def link(self, peer: PeerId) -> Link:
        """Return the link to a peer; it is made, and its stream opened, if there is none."""
        link = self._links.get(peer)
        if link is None:
            queue = SendQueue(
                peer,
                self._config.queues,
                max_frame=self._config.max_frame,
                max_rpc=self._config.largest_rpc,
                wanted=lambda message: self._core.wants(peer, message.id),
            )
            link = self._links[peer] = Link(peer, queue, self._config.queues, self.entries)
            self._nursery.start_soon(self._run, link)
        return link

    def _set_pace(self, link: Link) -> None:
        pacing = self._config.pacing
        if pacing is None or not pacing.holds_for(self._host.peerstore.agent(link.peer)):
            link.pace = None
        elif link.pace is None:
            link.pace = Pace(pacing, trio.current_time())

    async def acknowledged(self, peer: PeerId) -> bool:
        """Wait until a peer's host has received what was sent to it so far; False if that cannot be known."""
        link = self._links.get(peer)
        if link is None:
            await trio.lowlevel.checkpoint()
            return False
        return await link.acknowledged()

    async def _run(self, link: Link) -> None:
        """Keep our stream to one peer open as long as there is a connection, with pauses that grow."""
        reason, lost = "", False
        try:
            while not link.queue.closed:
                began = trio.current_time()
                reason = await self._talk(link)
                lost = not self._host.connections(link.peer)
                if lost or link.queue.closed or link.queue.ending:
                    break
                if trio.current_time() - began > STEADY and not link.stalled:
                    link.failures = 0
                link.failures += 1
                if self._hopeless(link):
                    break
                await self._pause(link, reason)
        finally:
            self._remove(link, reason, lost=lost)
        if not link.queue.ending and self._reachable(link.peer):
            self.link(link.peer)  # it came back while this link was wound up

    def _reachable(self, peer: PeerId) -> bool:
        return bool(self._host.connections(peer) and self._host.peerstore.supports(peer, *self.protocols))

    def _hopeless(self, link: Link) -> bool:
        """Return whether a peer does not speak pubsub any more; if it does after all, it opens its stream."""
        store, peer = self._host.peerstore, link.peer
        if link.inbound or store.supports(peer, *self.protocols):
            return False
        return bool(store.protocols(peer)) or link.failures > UNHEARD_OF

    async def _pause(self, link: Link, reason: str) -> None:
        """Wait before the next stream to a peer; what the last one may have lost waits for it, if that is soon."""
        pause = RETRIES[min(link.failures, len(RETRIES)) - 1]
        _log.debug("pubsub stream to %s: %s; next try in %g s", link.peer, reason, pause)
        if link.stalled or not link.opened.is_set() or pause > GRACE:
            self._suspend(link, reason)
        else:
            link.queue.restore()
        link.hurry = trio.Event()
        began = trio.current_time()
        with trio.move_on_after(pause):
            await link.hurry.wait()
        if not link.queue.closed:
            await trio.sleep_until(began + LEAST_PAUSE)

    def _suspend(self, link: Link, reason: str) -> None:
        """Take a peer that cannot be sent anything out of the router."""
        dropped = link.queue.shut(reason)
        if link.opened.is_set():
            self._forget(link)
            self._host.events.notify(PubsubPeerRemoved(link.peer, reason, dropped))
        else:
            link.hang_up()

    def _forget(self, link: Link) -> None:
        link.opened = trio.Event()
        link.topics = self._core.topics_of(link.peer)
        self._core.remove_peer(link.peer, trio.current_time())
        self.flush()

    def _remove(self, link: Link, reason: str, *, lost: bool) -> None:
        known, dropped = link.opened.is_set(), len(link.queue)
        link.queue.close(reason or "pubsub was closed", lost=lost and not link.orderly)
        if known:
            self._forget(link)
        link.hang_up()
        link.opened.set()
        del self._links[link.peer]
        if known:
            self._host.events.notify(PubsubPeerRemoved(link.peer, link.queue.reason, dropped))

    def adopt(self, link: Link, stream: Stream) -> None:
        """Read this stream of a peer as well."""
        if link.opened.is_set() and link.queue.paused and not link.inbound:
            # Both directions begin anew, so its pubsub does: it has not said yet what it subscribes to.
            self._forget(link)
            link.queue.resend_nothing("the peer began anew")
        link.adopt(stream)

    async def _talk(self, link: Link) -> str:
        """Open our stream to a peer and send until it breaks; return why it is over."""
        stream, reason = await self._open(link.peer)
        if stream is None:
            return reason
        try:
            self._begin(link, stream)
            reason = await link.send(stream)
            link.queue.pause()
            self.counts["stalled" if link.stalled else "ended"] += 1
            if not link.queue.reason:
                # A peer that leaves breaks our stream, and what it said last may still be on its way to the core.
                with trio.move_on_after(HEAR_OUT):
                    await link.wait_heard()
            return reason
        finally:
            # Not a reset, which would throw away what the connection has taken but not sent yet.
            with trio.CancelScope(shield=True):
                await stream.aclose()

    async def _open(self, peer: PeerId) -> tuple[Stream | None, str]:
        """Open our stream to a peer; return it, or why there is none."""
        if not self._host.connections(peer):
            return None, "the connection is gone"
        known = self._host.peerstore.supports(peer, *self.protocols)
        # Two at least are offered: of a single one the answer would not be waited for, and a peer may never give it.
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

    def _begin(self, link: Link, stream: Stream) -> None:
        self.counts["opened"] += 1
        if link.opened.is_set():
            self._forget(link)
        link.protocol = stream.protocol
        self._set_pace(link)
        info = stream.connection.info
        version = VERSIONS[stream.protocol]
        self._core.add_peer(
            link.peer,
            version,
            outbound=info.direction is Direction.OUTBOUND,
            ips=_ips(info),
            now=trio.current_time(),
        )
        self._core.set_record(link.peer, self._host.peerstore.record(link.peer))
        if link.topics:
            known = [Subscription(True, topic) for topic in link.topics]
            self._core.receive(link.peer, Rpc(subscriptions=known), trio.current_time())
        hello = self._hello()
        self.entries.subscriptions += len(hello)
        if version >= Version.V13:
            # In the first RPC or not at all.
            hello = encode_control(extensions=Extensions()) + hello
        link.queue.begin(hello)
        link.opened.set()
        self._host.events.notify(PubsubPeerAdded(link.peer, stream.protocol))
        self.flush()

    # ---- sending

    def flush(self) -> None:
        """Queue what the core wants sent, and act on what it found."""
        for peer, outgoing in self._core.take_outgoing().items():
            link = self._links.get(peer)
            if link is not None:
                self._queue(link, outgoing)
        for event in self._core.take_events():
            self._act(event)

    def _act(self, event: CoreEvent) -> None:
        match event:
            case ShouldDisconnect(peer=peer, reason=reason):
                self.dropped.pop(str(peer), None)
                self.dropped[str(peer)] = reason
                if len(self.dropped) > MAX_DROPPED:
                    del self.dropped[next(iter(self.dropped))]
                self._host.events.notify(PeerDropped(peer, reason))
                self._nursery.start_soon(self._host.disconnect, peer)
            case PeersSuggested(peers=peers):
                self._introductions.suggest(peers)
                self._host.events.notify(event)
            case Misbehaved(peer=peer, reason=reason):
                self.blame(peer, reason)
                self._host.events.notify(event)
            case _:
                note_mesh(self._host, event)
                self._host.events.notify(event)
        self._on_event(event)

    def blame(self, peer: PeerId, offence: str) -> None:
        """Note the last thing a peer did wrong."""
        link = self._links.get(peer)
        if link is not None:
            link.offence = offence

    def _queue(self, link: Link, outgoing: Outgoing) -> None:
        self.entries.count_control(outgoing)
        link.queue.put_control(
            encode_control(
                ihave=outgoing.ihave,
                iwant=outgoing.iwant,
                graft=outgoing.graft,
                prune=outgoing.prune,
                idontwant=outgoing.idontwant,
            )
        )
        for message in outgoing.messages:
            if not link.queue.overfull and not link.queue.reason:
                link.queue.put(message)

    def tell_all(self, subscriptions: Sequence[bytes]) -> None:
        """Queue encoded subscriptions for every peer whose stream is open; the others hear of them in the hello."""
        for link in self._links.values():
            if link.opened.is_set():
                link.queue.put_control(subscriptions)
                self.entries.subscriptions += len(subscriptions)

    def forward(self, message: Message, peers: Sequence[PeerId], now: float) -> None:
        """Queue a message of others for peers; where even the reserve is used up, gossip will tell of it."""
        for peer in peers:
            link = self._links.get(peer)
            if link is None or link.queue.reason:
                continue
            queue = link.queue
            if queue.overfull or not queue.put(message):
                link.forward_dropped += 1
                if queue.overfull:
                    self._core.dropped(message.id, peer, now)
                self._host.events.notify(ForwardDropped(peer, 1))
            if queue.full:
                self._crowded[peer] = None

    async def wait_room(self) -> None:
        """Wait for peers that something was passed on to and whose queue is full, unless they take nothing."""
        patience = self._config.queues.forward_patience
        for peer in tuple(self._crowded):
            link = self._links.get(peer)
            if link is None or not link.queue.full:
                self._crowded.pop(peer, None)
            elif link.queue.stuck_for(trio.current_time()) < patience:
                with trio.move_on_after(patience):
                    await link.queue.wait_room()

    async def drain(self) -> None:
        """Wait until everything queued was taken by the connections."""
        for link in tuple(self._links.values()):
            await link.queue.wait_idle()

    async def part(self) -> None:
        """End our streams, and wait until the peers have read them: what is unread is lost with the connection.

        They tell by ending their direction, as go-libp2p, rust-libp2p and we do. js-libp2p and py-libp2p do not, and
        just get the time.
        """
        links = tuple(self._links.values())
        for link in links:
            link.queue.end()
        for link in links:
            with trio.move_on_at(link.published_at + PARTING):
                await link.parted.wait()


def _ips(info: ConnectionInfo) -> list[str]:
    """Return the peer's IP address; a relay's says nothing about the peer."""
    if info.relay is not None:
        return []
    ip = ip_of(info.remote_address)
    return [] if ip is None else [str(ip)]
