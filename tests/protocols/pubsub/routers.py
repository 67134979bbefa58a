"""Router cores in virtual time: one among peers that are made by hand, or a group that talk to each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Outgoing, RouterEvent, Version
from peerstack.protocols.pubsub.router.router import GossipsubRouter
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.scoring.gater import GaterConfig
from peerstack.protocols.pubsub.wire import (
    Extensions,
    IHave,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    make_message,
)
from peerstack.stack.identity import PeerId

from .names import named

BEGIN = 1000.0
AUTHOR = 999


def peer_id(index: int) -> PeerId:
    """Return the peer id that always goes with a number."""
    return named(str(index))


def message(number: int, *, topic: str = "t", size: int = 10, author: int = AUTHOR, forged: bool = False) -> Message:
    """Return a message with an id from author and number; a forged one has the id and another content."""
    by, seqno = peer_id(author).to_bytes(), number.to_bytes(8, "big")
    made = make_message(topic, (b"!" if forged else b".") * size, author=by, seqno=seqno)
    made.id = by + seqno
    return made


class Lone:
    """One core, whose peers are numbers from 1 on and say what the test wants."""

    def __init__(
        self,
        config: GossipConfig | None = None,
        *,
        peers: int = 0,
        score: ScoreConfig | None = None,
        gater: GaterConfig | None = None,
        direct: Iterable[int] = (),
        joined: bool = True,
        seed: int = 1,
    ) -> None:
        self.now = BEGIN
        self.config = config or GossipConfig()
        self.core = GossipsubRouter(
            peer_id(0),
            self.config,
            random=Random(seed),
            now=self.now,
            score=score,
            gater=gater,
            direct=[peer_id(index) for index in direct],
        )
        self.sent: dict[int, list[Outgoing]] = {}
        """What each peer was sent, all of it."""
        self.log: list[RouterEvent] = []
        self._names: dict[PeerId, int] = {peer_id(0): 0}
        for index in range(1, peers + 1):
            self.add(index)
        if joined:
            self.core.join("t", self.now)

    def add(
        self,
        index: int,
        version: Version = Version.V12,
        *,
        outbound: bool = True,
        topics: Iterable[str] = ("t",),
        ip: str | None = None,
    ) -> None:
        """Add a peer that subscribes to topics."""
        self._names[peer_id(index)] = index
        ips = [ip if ip is not None else f"10.{index >> 8}.{index & 255}.1"]
        self.core.add_peer(peer_id(index), version, outbound=outbound, ips=ips, now=self.now)
        self.says(index, subscribe=topics)

    def says(
        self,
        index: int,
        *messages: Message,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        ihave: dict[str, list[bytes]] | None = None,
        iwant: Iterable[bytes] = (),
        graft: Iterable[str] = (),
        prune: Iterable[str] = (),
        backoff: int | None = None,
        suggests: Iterable[PeerInfo] = (),
        idontwant: Iterable[bytes] = (),
        extensions: Extensions | None = None,
    ) -> list[Message]:
        """Let a peer send one RPC; return what is to be validated."""
        rpc = Rpc(
            subscriptions=[Subscription(True, topic) for topic in subscribe]
            + [Subscription(False, topic) for topic in unsubscribe],
            messages=list(messages),
            ihave=[IHave(topic, ids) for topic, ids in (ihave or {}).items()],
            iwant=list(iwant),
            graft=list(graft),
            prune=[Prune(topic, list(suggests), backoff) for topic in prune],
            idontwant=list(idontwant),
            extensions=extensions,
        )
        fresh = self.core.receive(peer_id(index), rpc, self.now)
        self._drain()
        return fresh

    def accept(self, accepted: Message) -> list[int]:
        """Accept a message; return to whom it goes, in order of number."""
        recipients = self.core.accept(accepted, self.now)
        self._drain()
        return self.numbers(recipients)

    def publish(self, published: Message) -> list[int]:
        """Publish a message; return to whom it goes, in order of number."""
        return self.numbers(self.core.publish(published, self.now) or [])

    def numbers(self, peers: Iterable[PeerId]) -> list[int]:
        """Return the numbers of peers, sorted."""
        return sorted(self._names[peer] for peer in peers)

    def mesh(self, topic: str = "t") -> list[int]:
        """Return the mesh."""
        return self.numbers(self.core.mesh(topic))

    def beat(self, count: int = 1) -> None:
        """Let so many heartbeats pass."""
        for _ in range(count):
            self.now = max(self.now, self.core.next_deadline())
            self.core.handle_deadline(self.now)
            self._drain()

    def wait(self, seconds: float) -> None:
        """Let time pass, with its heartbeats."""
        until = self.now + seconds
        while self.core.next_deadline() <= until:
            self.beat()
        self.now = until

    def leave(self, topic: str = "t") -> None:
        """Leave a topic."""
        self.core.leave(topic, self.now)
        self._drain()

    def join(self, topic: str = "t") -> None:
        """Join a topic."""
        self.core.join(topic, self.now)
        self._drain()

    def remove(self, index: int) -> None:
        """Let a peer be gone."""
        self.core.remove_peer(peer_id(index), self.now)
        self._drain()

    def said_to(self, index: int) -> Outgoing:
        """Return all that a peer was sent since this was last asked, as one."""
        self._drain()
        merged = Outgoing()
        for each in self.sent.pop(index, []):
            merged.ihave += each.ihave
            merged.iwant += each.iwant
            merged.graft += each.graft
            merged.prune += each.prune
            merged.idontwant += each.idontwant
            merged.messages += each.messages
        return merged

    def told(self) -> dict[int, Outgoing]:
        """Return all that was sent since this was last asked."""
        self._drain()
        return {index: self.said_to(index) for index in sorted(self.sent)}

    def events(self, *kinds: type) -> list[RouterEvent]:
        """Return the events of these kinds so far."""
        self._drain()
        return [event for event in self.log if isinstance(event, kinds)]

    def score(self, index: int) -> float:
        """Return the score of a peer."""
        return self.core.score(peer_id(index))

    def _drain(self) -> None:
        for peer, outgoing in self.core.take_outgoing().items():
            self.sent.setdefault(self._names[peer], []).append(outgoing)
        self.log += self.core.take_events()


class Group:
    """Cores that are connected to each other; RPCs arrive at once and in order, and every message is accepted."""

    def __init__(
        self, count: int, config: GossipConfig | None = None, *, score: ScoreConfig | None = None, seed: int = 1
    ) -> None:
        self.slow = False
        """Whether validation takes longer than any RPC."""
        self.now = BEGIN
        self.seed = seed
        self.cores = [
            GossipsubRouter(
                peer_id(index), config or GossipConfig(), random=Random(f"{seed}/{index}"), now=self.now, score=score
            )
            for index in range(count)
        ]
        self.names = {peer_id(index): index for index in range(count)}
        self.joined: list[list[str]] = [[] for _ in range(count)]
        self.links: set[tuple[int, int]] = set()
        self.received: list[dict[bytes, int]] = [{} for _ in range(count)]
        """For each core, how many copies of each message came."""
        self.history: list[str] = []
        """Who sent what to whom, in order."""
        self.cut: set[tuple[int, int]] = set()
        """Links that lose full messages."""
        self._under_way: deque[tuple[int, int, Rpc]] = deque()
        self._unvalidated: list[tuple[int, Message]] = []

    def connect(self, dialer: int, other: int, version: Version = Version.V12) -> None:
        """Connect two cores."""
        self.links |= {(dialer, other), (other, dialer)}
        for one, two, outbound in ((dialer, other, True), (other, dialer, False)):
            self.cores[one].add_peer(
                peer_id(two), version, outbound=outbound, ips=[f"10.0.{two >> 8}.{two & 255}"], now=self.now
            )
        for one, two in ((dialer, other), (other, dialer)):
            subscriptions = [Subscription(True, topic) for topic in self.joined[one]]
            self._under_way.append((one, two, Rpc(subscriptions=subscriptions)))
        self.settle()

    def connect_all(self) -> None:
        """Connect every router with every other."""
        for one in range(len(self.cores)):
            for two in range(one):
                self.connect(one, two)

    def connect_some(self, degree: int) -> None:
        """Connect every router with so many others, at random."""
        random = Random(self.seed)
        for one in range(len(self.cores)):
            others = [two for two in range(len(self.cores)) if two != one and (one, two) not in self.links]
            for two in random.sample(others, degree):
                self.connect(one, two)

    def join(self, index: int, topic: str = "t") -> None:
        """Join a topic, and announce it to all."""
        self.joined[index].append(topic)
        for one, two in sorted(self.links):
            if one == index:
                self._under_way.append((one, two, Rpc(subscriptions=[Subscription(True, topic)])))
        self.cores[index].join(topic, self.now)
        self.settle()

    def publish(self, index: int, published: Message) -> None:
        """Publish a message, and let it travel."""
        self._send(index, published, self.cores[index].publish(published, self.now) or [])
        self.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass, heartbeat by heartbeat."""
        until = self.now + seconds
        while True:
            due, index = min((core.next_deadline(), index) for index, core in enumerate(self.cores))
            if due > until:
                break
            self.now = max(self.now, due)
            self.cores[index].handle_deadline(self.now)
            self.settle()
        self.now = until

    def holders(self, sent: Message) -> list[int]:
        """Return who got a message."""
        return [index for index, received in enumerate(self.received) if sent.id in received]

    def settle(self) -> None:
        """Deliver until nothing is under way."""
        for index in range(len(self.cores)):
            self._collect(index)
        while self._under_way:
            source, target, rpc = self._under_way.popleft()
            for each in rpc.messages:
                counts = self.received[target]
                counts[each.id] = counts.get(each.id, 0) + 1
            for fresh in self.cores[target].receive(peer_id(source), rpc, self.now):
                self._unvalidated.append((target, fresh))
            self._collect(target)
            if not self.slow or not self._under_way:
                self._validate()

    def _validate(self) -> None:
        unvalidated, self._unvalidated = self._unvalidated, []
        for index, fresh in unvalidated:
            self._send(index, fresh, self.cores[index].accept(fresh, self.now))
            self._collect(index)

    def _collect(self, index: int) -> None:
        core = self.cores[index]
        core.take_events()
        for peer, out in core.take_outgoing().items():
            other = self.names[peer]
            rpc = Rpc(
                ihave=list(out.ihave),
                iwant=list(out.iwant),
                graft=list(out.graft),
                prune=list(out.prune),
                idontwant=list(out.idontwant),
                messages=[_copy(each) for each in out.messages],
            )
            self.history.append(f"{index}>{other} {_summary(rpc)}")
            self._under_way.append((index, other, rpc))

    def _send(self, index: int, sent: Message, peers: Iterable[PeerId]) -> None:
        for peer in peers:
            other = self.names[peer]
            self.history.append(f"{index}>{other} message {sent.id[-4:].hex()}")
            if (index, other) not in self.cut:
                self._under_way.append((index, other, Rpc(messages=[_copy(sent)])))


def _copy(sent: Message) -> Message:
    return replace(sent, source=None)


def _summary(rpc: Rpc) -> str:
    ihave = [(offer.topic, [message_id[-4:].hex() for message_id in offer.ids]) for offer in rpc.ihave]
    iwant = [message_id[-4:].hex() for message_id in rpc.iwant]
    prune = [each.topic for each in rpc.prune]
    return f"{ihave} {iwant} {rpc.graft} {prune} {len(rpc.idontwant)} {len(rpc.messages)}"
