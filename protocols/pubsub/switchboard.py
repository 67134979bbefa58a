"""The links to all peers: opened as peers come, fed with what the core decides, and cleared up behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Final

import trio

from peerstack.stack.abc import ConnectionInfo, Direction, Stream
from peerstack.stack.addressing import ip_of, is_relayed
from peerstack.stack.events import ConnectionClosed, Event, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from .core import GossipCore
from .core_events import CoreEvent, Misbehaved, Outgoing, PeersSuggested, ShouldDisconnect, Version
from .entries import Entries
from .events import ForwardDropped, PeerDropped, PubsubPeerAdded, PubsubPeerRemoved
from .introductions import Introductions
from .keeping import note_mesh
from .link import BROKEN, Link
from .send_queue import SendQueue
from .settings import PubsubConfig
from .wire import (
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

_log = logging.getLogger(__name__)

VERSIONS: Final = {
    MESHSUB_13: Version.V13,
    MESHSUB_12: Version.V12,
    MESHSUB_11: Version.V11,
    MESHSUB_10: Version.V10,
    FLOODSUB: Version.FLOODSUB,
}
RETRIES: Final = (0.5, 2.0, 8.0)
"""Seconds before each new try to open our stream, when it broke while the connection lasts."""
HEAR_OUT: Final = 0.5
"""Seconds in which a peer whose end of our stream broke may end its own, before it counts as gone."""
PARTING: Final = 1.0
"""Seconds that a peer has to read the last message, before we go."""
STEADY: Final = 60.0
"""Seconds after which a link that broke counts as new, with all its tries."""

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
                    self._core.set_record(peer, self._host.peerstore.record(peer))
                elif self._host.peerstore.supports(peer, *self.protocols):
                    self.link(peer)
            case ConnectionClosed(info=info) if info.remote_peer in self._links:
                if not self._host.connections(info.remote_peer):
                    self._links[info.remote_peer].queue.close("the connection is gone")
                    self._links[info.remote_peer].hurry.set()

    def link(self, peer: PeerId) -> Link:
        """Return the link to a peer; it is made, and its stream opened, if there is none."""
        link = self._links.get(peer)
        if link is None:
            queue = SendQueue(
                peer,
                self._config.queues,
                max_frame=self._config.max_frame,
                wanted=lambda message: self._core.wants(peer, message.id),
            )
            link = self._links[peer] = Link(peer, queue, self._config.queues, self.entries)
            self._nursery.start_soon(self._run, link)
        return link

    async def _run(self, link: Link) -> None:
        """Keep our stream to one peer open until the connection is gone or there is no hope."""
        reason, retries = "", iter(RETRIES)
        try:
            while not link.queue.closed:
                opened_at = trio.current_time()
                reason = await self._talk(link)
                if trio.current_time() - opened_at > STEADY:
                    retries = iter(RETRIES)
                wait = next(retries, inf)
                if wait == inf or link.queue.closed or not self._host.connections(link.peer):
                    return
                _log.debug("pubsub stream to %s: %s; next try in %g s", link.peer, reason, wait)
                link.hurry = trio.Event()
                with trio.move_on_after(wait):
                    await link.hurry.wait()
        finally:
            self._remove(link, reason)

    def _remove(self, link: Link, reason: str) -> None:
        dropped = len(link.queue)
        link.queue.close(reason or "pubsub was closed")
        link.opened.set()
        for stream in link.inbound:
            stream.reset()  # the peer will begin anew, and say again what it subscribes to
        del self._links[link.peer]
        self._host.events.notify(PubsubPeerRemoved(link.peer, link.queue.reason, dropped))

    async def _talk(self, link: Link) -> str:
        """Open our stream to a peer and send until it breaks; return why it is over."""
        peer = link.peer
        connections = self._host.connections(peer)
        if not connections:
            return "the connection is gone"
        known = self._host.peerstore.supports(peer, *self.protocols) or tuple(self.protocols)
        try:
            stream = await self._host.open_stream(peer, *known)
        except (*BROKEN, OSError) as error:
            return f"no stream could be opened: {error}"
        try:
            self._begin(link, stream)
            reason = await link.send(stream)
            if not link.queue.closed:
                # A peer that leaves breaks our stream, and what it said last may still be on its way to the core.
                with trio.move_on_after(HEAR_OUT):
                    await link.wait_heard()
            return reason
        finally:
            link.opened = trio.Event()
            link.topics = self._core.topics_of(peer)
            self._core.remove_peer(peer, trio.current_time())
            self.flush()
            # Not a reset, which would throw away what the connection has taken but not sent yet.
            with trio.CancelScope(shield=True):
                await stream.aclose()

    def _begin(self, link: Link, stream: Stream) -> None:
        link.protocol = stream.protocol
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
            if not link.queue.overfull:
                link.queue.put(message)

    def tell_all(self, subscriptions: Sequence[bytes]) -> None:
        """Queue encoded subscriptions for every peer whose stream is open; the others hear of them in the hello."""
        for link in self._links.values():
            if link.protocol:
                link.queue.put_control(subscriptions)
                self.entries.subscriptions += len(subscriptions)

    def forward(self, message: Message, peers: Sequence[PeerId], now: float) -> None:
        """Queue a message of others for peers; where even the reserve is used up, gossip will tell of it."""
        for peer in peers:
            link = self._links.get(peer)
            if link is None or link.queue.closed:
                continue
            if link.queue.overfull:
                link.forward_dropped += 1
                self._core.dropped(message.id, peer, now)
                self._host.events.notify(ForwardDropped(peer, 1))
            else:
                link.queue.put(message)

    async def wait_room(self) -> None:
        """Wait for peers whose queue is full, as long as they take something now and then."""
        patience = self._config.queues.forward_patience
        for link in tuple(self._links.values()):
            queue = link.queue
            if queue.full and trio.current_time() - queue.progressed_at < patience:
                with trio.move_on_after(patience):
                    await queue.wait_room()

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
    if is_relayed(info.remote_address):
        return []
    ip = ip_of(info.remote_address)
    return [] if ip is None else [str(ip)]
