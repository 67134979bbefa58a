"""A field with a host under attack, an honest one that talks to it, and peers that write RPCs by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import JoinedTopic, PubsubConfig
from peerstack.protocols.pubsub.validation.signing import sign
from peerstack.protocols.pubsub.wire import (
    MESHSUB_12,
    Message,
    Rpc,
    Subscription,
    decode_rpc,
    encode_control,
    encode_subscriptions,
    frame,
)
from peerstack.stack.abc import Stream
from peerstack.stack.errors import StackError
from peerstack.stack.events import HandlerFailed
from peerstack.stack.framing import EndOfMessages, FrameReader
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from ..protocols.pubsub.parts import Node, open_nodes, open_topics

TOPIC = "news"
FIRST_SEQNO = 1_000_000


@dataclass(eq=False)
class Hostile:
    """A plain host; whatever it says of pubsub is written by hand."""

    host: Host
    victim: Node
    protocol: str
    heard: Rpc = field(default_factory=Rpc)
    """All the victim said."""
    streams: int = 0
    """How many streams the victim opened."""
    _stream: Stream | None = None
    _seqno: int = FIRST_SEQNO

    @property
    def peer_id(self) -> PeerId:
        return self.host.peer_id

    @property
    def score(self) -> float:
        return self.victim.pubsub.score(self.peer_id)

    @property
    def stream(self) -> Stream:
        """The stream to write on."""
        assert self._stream is not None
        return self._stream

    async def begin(self) -> None:
        """Open the stream to write on, in place of the one there was."""
        self._stream = await self.host.open_stream(self.victim.peer_id, self.protocol)

    async def say(self, *parts: bytes) -> None:
        """Send an RPC of these fields, and let the victim make of it what it will."""
        await self.raw(frame(parts))

    async def raw(self, data: bytes) -> None:
        """Send bytes, and let the victim make of them what it will."""
        await self.stream.send_all(data)
        await trio.testing.wait_all_tasks_blocked()

    async def try_raw(self, data: bytes) -> None:
        """Send bytes to a victim that may have had enough."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.raw(data)

    async def subscribe(self, *topics: str) -> None:
        await self.say(*encode_subscriptions([Subscription(True, topic) for topic in topics]))

    async def graft(self, *topics: str) -> None:
        await self.say(*encode_control(graft=topics))

    def message(self, data: bytes = b"", *, topic: str = TOPIC, author: Identity | None = None) -> Message:
        """Return a message with a valid signature, of this peer unless it is another's."""
        self._seqno += 1
        return sign(author or self.host.identity, topic, data or b"%d" % self._seqno, self._seqno)

    async def publish(self, *messages: Message) -> None:
        await self.say(*(message.entry for message in messages))

    async def leave(self) -> None:
        await self.host.disconnect(self.victim.peer_id)
        await trio.testing.wait_all_tasks_blocked()

    async def listen(self, stream: Stream) -> None:
        """Take down what the victim says."""
        self.streams += 1
        reader = FrameReader(stream, limit=1 << 26)
        with suppress(EndOfMessages, StackError, trio.BrokenResourceError):
            while True:
                for data in await reader.receive():
                    self._take_down(decode_rpc(data))

    def _take_down(self, rpc: Rpc) -> None:
        for name in ("subscriptions", "messages", "ihave", "iwant", "graft", "prune", "idontwant"):
            getattr(self.heard, name).extend(getattr(rpc, name))

    async def never_read(self, stream: Stream) -> None:
        """Hold the victim's stream without reading from it."""
        self.streams += 1
        await trio.sleep_forever()

    async def trickle(self, stream: Stream) -> None:
        """Read one byte at a time."""
        self.streams += 1
        with suppress(StackError, trio.BrokenResourceError):
            while await stream.receive_some(1):  # noqa: ASYNC110
                await trio.sleep(0.01)


Reader = Callable[[Hostile, Stream], Awaitable[None]]


@dataclass(eq=False)
class Field:
    """What an attack happens on."""

    network: MemoryNetwork
    victim: Node
    honest: Node
    at_victim: JoinedTopic[bytes]
    at_honest: JoinedTopic[bytes]
    exchanged: int = 0

    async def honest_exchange(self, count: int = 1) -> None:
        """Publish from the honest peer to the victim and back: nothing may get lost, nor anything else come."""
        for sender, receiver in ((self.at_honest, self.at_victim), (self.at_victim, self.at_honest)):
            for _ in range(count):
                self.exchanged += 1  # a message that was seen before would be none
                await sender.publish(b"honest %d" % self.exchanged)
                with trio.fail_after(30):
                    assert (await receiver.receive()).data == b"honest %d" % self.exchanged
        assert self.at_victim.statistics().waiting == 0
        assert self.victim.events.of(HandlerFailed) == []


@asynccontextmanager
async def field_of_battle(config: PubsubConfig | None = None) -> AsyncIterator[Field]:
    """Open a victim and an honest peer in one topic; at the end they still talk, and no handler has crashed."""
    network = MemoryNetwork()
    async with open_nodes(2, config or PubsubConfig(), network=network) as (victim, honest):
        async with open_topics([victim, honest], TOPIC) as (at_victim, at_honest):
            await trio.sleep(1.5)
            place = Field(network, victim, honest, at_victim, at_honest)
            await place.honest_exchange()
            yield place
            await place.honest_exchange()


@asynccontextmanager
async def hostile_peer(
    place: Field,
    *topics: str,
    protocol: str = MESHSUB_12,
    reads: Reader = Hostile.listen,
    identity: Identity | None = None,
) -> AsyncIterator[Hostile]:
    """Connect a hostile peer to the victim, subscribed to these topics."""
    async with open_host(transports=[MemoryTransport(place.network)], identity=identity) as host:
        peer = Hostile(host, place.victim, protocol)
        host.handle(protocol, partial(reads, peer))
        await host.connect(*place.victim.host.addresses)
        await peer.begin()
        await trio.testing.wait_all_tasks_blocked()
        assert str(peer.peer_id) in place.victim.pubsub.statistics().peers
        if topics:
            await peer.subscribe(*topics)
        await trio.testing.wait_all_tasks_blocked()
        yield peer


def kept(node: Node, peer: PeerId | None = None) -> dict[str, int]:
    """Return the sizes of all the router keeps by what peers say, of one peer or of all."""
    core = node.pubsub._router
    state = core._state
    peers = [found for found in state.peers.values() if peer is None or found.id == peer]
    return {
        "links": len(node.pubsub._peers.streams),
        "peers": len(state.peers),
        "topics": len(state.topics),
        "topics of peers": sum(len(found.topics) for found in peers),
        "unwanted ids": sum(len(found.dontwant) for found in peers),
        "promises": len(core._gossip.promises),
        "validating": len(core._pending),
        "pending": len(state.pending),
    }
