"""A world of peers without processes that publish and subscribe by the contract, or with one chosen fault."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from interop.matrix import Program
from interop.peer import CommandFailed, NoAnswer, Unsupported
from interop.pubsub_rows import BACKOFF_SECONDS

ENTRIES = ("subscriptions", "publish", "ihave", "iwant", "graft", "prune", "idontwant")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A published message."""

    author: "FakeMember"
    topic: str
    number: int
    size: int


@dataclass(eq=False)
class World:
    """All peers, who is connected, and what goes wrong."""

    faults: frozenset[str] = frozenset()
    unsupported: str = ""
    members: dict[str, "FakeMember"] = field(default_factory=dict)
    dials: list[tuple[str, str]] = field(default_factory=list)
    """Names of dialers and of those they dialed."""
    links: set[frozenset[str]] = field(default_factory=set)
    backoffs: dict[tuple[frozenset[str], str], float] = field(default_factory=dict)
    grafted: set[tuple[frozenset[str], str]] = field(default_factory=set)

    @asynccontextmanager
    async def start(self, program: Program, key_type: str, options: tuple[str, ...]) -> AsyncIterator["FakeMember"]:
        """Start a peer, as `Start` wants it."""
        await trio.lowlevel.checkpoint()
        if "absent" in self.faults:
            raise NoAnswer(f"{program.name}, start: left with code 1")
        if self.unsupported and self.unsupported in options:
            raise Unsupported(program.name, self.unsupported, "none here")
        member = FakeMember(self, program.name, f"Qm{len(self.members)}{program.name}", options)
        self.members[member.peer_id] = member
        yield member

    def linked(self, one: "FakeMember", other: "FakeMember") -> bool:
        return frozenset((one.peer_id, other.peer_id)) in self.links

    def graft(self) -> None:
        """Put into meshes who belongs there by now."""
        for pair in self.links:
            one, other = (self.members[peer] for peer in pair)
            for topic in one.topics & other.topics:
                key = (pair, topic)
                if key not in self.grafted and self._may_graft(one, other, key):
                    self.grafted.add(key)
                    for member in (one, other):
                        member.sent["graft"] += 1
                        member.received["graft"] += 1

    def _may_graft(self, one: "FakeMember", other: "FakeMember", key: tuple[frozenset[str], str]) -> bool:
        meshless = one.meshless or other.meshless
        return not meshless and trio.current_time() >= self.backoffs.get(key, 0.0)

    def prune(self, leaver: "FakeMember", topic: str) -> None:
        for key in [key for key in self.grafted if leaver.peer_id in key[0] and key[1] == topic]:
            self.grafted.remove(key)
            backoff = 0.5 if "grafts early" in self.faults else BACKOFF_SECONDS
            self.backoffs[key] = trio.current_time() + backoff
            (other,) = (self.members[peer] for peer in key[0] if peer != leaver.peer_id)
            other.received["prune"] += "prunes silently" not in self.faults


class FakeMember:
    """One peer."""

    implementation = "fake"
    version = "v1"

    def __init__(self, world: World, name: str, peer_id: str, options: tuple[str, ...]) -> None:
        self.name = name
        self.peer_id = peer_id
        self.address = f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id}"
        self.signs = "none" not in options
        self.floods = "floodsub" in options
        self.meshless = self.floods or "0" in options
        self.topics: set[str] = set()
        self.got: dict[str, set[Sent]] = {}
        self.published: list[Sent] = []
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self._world = world
        self._faults = world.faults
        operations: list[Callable[..., Awaitable[dict[str, Any]]]] = [
            self.connect,
            self.disconnect,
            self.ping,
            self.subscribe,
            self.unsubscribe,
            self.publish,
            self.wait_received,
            self.topic_peers,
            self.mesh,
            self.rpc_counts,
            self.scores,
        ]
        self._operations = {operation.__name__: operation for operation in operations}
        self._operations["received"] = self.tell_received

    async def call(self, op: str, **arguments: Any) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self._world.graft()
        return await self._operations[op](**arguments)

    async def connect(self, address: str) -> dict[str, Any]:
        if "does not dial" in self._faults:
            raise CommandFailed(f"{self.name}, connect: refused")
        other = self._world.members[address.rpartition("/")[2]]
        self._world.dials.append((self.name, other.name))
        self._world.links.add(frozenset((self.peer_id, other.peer_id)))
        return {"peer_id": other.peer_id}

    async def disconnect(self, peer: str) -> dict[str, Any]:
        if "stays connected" not in self._faults:
            self._world.links.remove(frozenset((self.peer_id, peer)))
        return {}

    async def ping(self, peer: str, count: int) -> dict[str, Any]:
        if "hangs up" in self._faults:
            raise CommandFailed(f"{self.name}, ping: not connected")
        return {"rtt_us": [1.5] * count}

    async def subscribe(self, topic: str) -> dict[str, Any]:
        self.topics.add(topic)
        for other in self._world.members.values():
            if self._world.linked(self, other) and "tells no late joiner" not in self._faults:
                for message in other.published:
                    self.take(message)
        return {}

    async def unsubscribe(self, topic: str) -> dict[str, Any]:
        if "delivers after leaving" not in self._faults:
            self._world.prune(self, topic)
            self.topics.discard(topic)
        elif topic in self.topics:
            self.topics.remove(topic)
            self.topics.add(f"{topic}!")
        return {}

    async def publish(
        self, topic: str, count: int, bytes: int, start: int, interval_ms: int, confirm: bool = False
    ) -> dict[str, Any]:
        made = [Sent(author=self, topic=topic, number=n, size=bytes) for n in range(start, start + count)]
        self.published += made
        for message in made[1:] if f"loses {bytes}" in self._faults and count > 1 else made:
            self._pass_on(message)
        failed = int("fails to publish" in self._faults)
        answer: dict[str, Any] = {
            "published": count - failed,
            "failed": failed,
            "first_error": "no" if failed else None,
        }
        return answer | ({"acknowledged": self._acknowledged(made)} if confirm else {})

    def _acknowledged(self, made: list[Sent]) -> dict[str, int]:
        more = int("acknowledges too much" in self._faults)
        members = self._world.members.values()
        return {m.peer_id: sum(message in m.got.get(message.topic, ()) for message in made) + more for m in members}

    def _pass_on(self, message: Sent) -> None:
        for other in self._world.members.values():
            if self._world.linked(self, other) and message not in other.got.get(message.topic, ()):
                other.received["publish"] += 1
                if "no idontwant" not in self._faults and message.size > 1024:
                    for counts in (other.received, other.sent):
                        counts["idontwant"] += 1
                if other.take(message):
                    other._pass_on(message)

    def take(self, message: Sent) -> bool:
        """Deliver a message if it is new, wanted and of the right policy."""
        got = self.got.setdefault(message.topic, set())
        wanted = message.topic in self.topics or f"{message.topic}!" in self.topics
        fits = message.author.signs == self.signs or "takes all" in self._faults
        if message.author is self or message in got or not wanted or not fits:
            return False
        got.add(message)
        return True

    async def wait_received(self, topic: str, count: int, seconds: float) -> dict[str, Any]:
        if "never answers" in self._faults:
            await trio.sleep_forever()
        if len(self.got.get(topic, ())) < count:
            await trio.sleep(seconds)
        return await self.call("received", topic=topic)

    async def tell_received(self, topic: str) -> dict[str, Any]:
        got = self.got.get(topic, set())
        authors = Counter(message.author.peer_id for message in got)
        flaws = {name: int(f"counts {name}" in self._faults) for name in ("duplicates", "malformed", "wrong_author")}
        return {"total": len(got), "authors": dict(authors), **flaws}

    async def topic_peers(self, topic: str) -> dict[str, Any]:
        if "tells nothing" in self._faults:
            return {}
        members = self._world.members.values()
        return {"peers": [m.peer_id for m in members if self._world.linked(self, m) and topic in m.topics]}

    async def mesh(self, topic: str) -> dict[str, Any]:
        pairs = [pair for pair, name in self._world.grafted if name == topic and pair in self._world.links]
        found = [peer for pair in pairs if self.peer_id in pair for peer in pair if peer != self.peer_id]
        if "keeps a mesh" in self._faults and self.meshless:
            found = ["Qmother"]
        return {"peers": None if self.floods else found}

    async def scores(self) -> dict[str, Any]:
        score = -81.0 if "scores badly" in self._faults else 0.0
        return {"scores": dict.fromkeys(self._world.members, score), "graylist": -80.0}

    async def rpc_counts(self) -> dict[str, Any]:
        both = {"received": self.received, "sent": self.sent}
        return {way: {name: counts[name] for name in ENTRIES} for way, counts in both.items()}
