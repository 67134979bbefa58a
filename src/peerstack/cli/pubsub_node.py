"""What the commands of publish/subscribe have in common: a host with pubsub that listens and has dialed its peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import trio
from cyclopts import Parameter

from peerstack.protocols.pubsub import Pacing, Pubsub, PubsubConfig, SignaturePolicy, open_pubsub
from peerstack.protocols.pubsub.api.receipt import Receipt as PubsubReceipt
from peerstack.stack.addressing import parse_address
from peerstack.stack.errors import StackError
from peerstack.stack.events import Event
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from . import events
from .failure import CommandError
from .host_options import load_host_config, open_any_host
from .listen import bind
from .options import NODE, NodeOptions
from .output import Output
from .peers import parse_dialable
from .redial import Redialer

PATIENCE = 10.0
"""Seconds that the hosts of peers have to acknowledge the last message."""
MAX_TOPIC = 1024  # bytes

_UNANSWERED = (StackError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)

TopicName: TypeAlias = Annotated[str, Parameter(help="The name of the topic.", name="TOPIC")]
Listen: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        help="Listen here; may be repeated; tcp/0 takes a free port.",
        metavar="ADDRESS",
        show_default=lambda addresses: " ".join(addresses) or "nowhere",
    ),
]
Peers: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(help="Connect to the peer at this address; may be repeated.", metavar="ADDRESS", show_default=False),
]
NoSign: TypeAlias = Annotated[
    bool,
    Parameter(
        help="Send messages without author, number and signature, and refuse signed ones; equal messages are one.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Where to listen and whom to dial, as it was typed."""

    listen: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    signed: bool = True
    rate: float | None = None
    """Messages a second for each peer; None is pubsub's default."""
    options: NodeOptions = NODE


@dataclass(frozen=True, slots=True)
class OpenNode:
    """A host with pubsub that is connected to its peers."""

    pubsub: Pubsub
    redialer: Redialer
    """Run it to have peers dialed again that are lost."""


@asynccontextmanager
async def open_node(node: Node, output: Output) -> AsyncIterator[OpenNode]:
    """Open a host that listens and is connected to its peers, with pubsub. Raises CommandError and StackError."""
    listen = [parse_address(text) for text in node.listen]
    peers = [parse_dialable(text) for text in node.peers]
    config = load_host_config(node.options, listen=listen, dial=peers)
    async with (
        open_any_host(config=config) as host,
        open_pubsub(host, _config(node)) as pubsub,
    ):
        redialer = Redialer(host)
        for address in listen:
            await bind(host, address)
        host.announce(config.announce)
        for address in peers:
            with output.working(f"dialing {address}"):
                await redialer.connect(address)
        yield OpenNode(pubsub, redialer)


def _config(node: Node) -> PubsubConfig:
    signatures = SignaturePolicy.STRICT_SIGN if node.signed else SignaturePolicy.STRICT_NO_SIGN
    pacing = Pacing() if node.rate is None else Pacing(rate=node.rate, burst=1, every_peer=True)
    return PubsubConfig(signatures=signatures, pacing=pacing)


_ADDRESSES = ("/ip4/", "/ip6/", "/dns/", "/dns4/", "/dns6/", "/dnsaddr/", "/unix/")


def check_topics(topics: Iterable[str]) -> None:
    """Raise CommandError for a name that no topic can have."""
    for topic in topics:
        size = len(topic.encode(errors="surrogatepass"))
        if not 0 < size <= MAX_TOPIC:
            raise CommandError(f"a topic name has 1 to {MAX_TOPIC} bytes, not {size}")
        if not _is_utf8(topic):
            raise CommandError(f"a topic name is UTF-8, and {topic!r} is not")
        if topic.startswith(_ADDRESSES):
            raise CommandError(
                f"{topic} is an address, not a topic; give it with --peer to connect there, or with --listen"
            )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def listening(host: Host) -> events.Listening:
    """Return the event that says where a host can be reached."""
    return events.Listening(str(host.peer_id), tuple(map(str, host.addresses)), host.swarm.engines)


def receipt_event(receipt: PubsubReceipt) -> events.Receipt:
    """Return the event for a receipt."""
    dropped = tuple(events.NotSent(str(peer), receipt.peers[peer].reason) for peer in receipt.dropped)
    return events.Receipt(
        topic=receipt.topic,
        id=receipt.id.hex(),
        seqno=receipt.seqno,
        bytes=receipt.size,
        sent=tuple(map(str, receipt.sent)),
        queued=tuple(map(str, receipt.queued)),
        uncertain=tuple(map(str, receipt.uncertain)),
        dropped=dropped,
    )


class Bell:
    """An observer that lets one task wait for the next event of any kind."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def notify(self, event: Event) -> None:
        """Wake the waiting task."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait for an event since the last call."""
        await self._rung.wait()
        self._rung = trio.Event()


async def wait_subscribers(pubsub: Pubsub, topic: str, count: int, seconds: float) -> int:
    """Wait until so many connected peers subscribe to a topic, or the time is over; return how many do."""
    bell = Bell()
    pubsub.host.observe(bell)
    try:
        with trio.move_on_after(seconds):
            while len(pubsub.topic_peers(topic)) < count:
                await bell.wait()
    finally:
        pubsub.host.unobserve(bell)
    return len(pubsub.topic_peers(topic))


async def wait_acknowledged(pubsub: Pubsub, peers: Iterable[PeerId]) -> int:
    """Wait, but not for ever, until the hosts of peers have received what was sent to them; return how many have."""
    received: list[PeerId] = []

    async def ask(peer: PeerId) -> None:
        if await pubsub.acknowledged(peer):
            received.append(peer)

    with trio.move_on_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(ask, peer)
    return len(received)
