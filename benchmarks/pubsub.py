"""The work of publish/subscribe: one peer of a team publishes, all others count what they receive."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

import trio

from benchmarks.measures import PACED, Sizes
from benchmarks.memory import peak_of
from benchmarks.processor import processor_time
from benchmarks.work import KEY_TYPE, PATIENCE_SECONDS, Values
from interop.matrix import Program
from interop.peer import Peer

TOPIC = "bench"
OPTIONS = ("--pubsub", "gossipsub")
GAP_MS = 4
"""Between two messages of those who are not sent bursts."""
MANY, NEIGHBOURS = 10, 6
"""A larger team, and with how many each of it is connected: as many as a mesh wants."""
AT_ONCE = 5_000
"""Messages that one command publishes, so that none takes longer than a peer program waits."""
WARM_UP = 0.25
"""Messages to warm up with, as a share of those of a sample."""
STILL_SECONDS = 1.0
"""Who receives nothing for so long receives nothing more."""
READY_SECONDS = 20.0
POLL_SECONDS = 0.1
BYTES = {"64b": 64, "1k": 1 << 10, "64k": 64 << 10}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of some messages."""

    expected: int
    """Messages times receivers."""
    delivered: int
    receivers: int
    seconds: float
    """From the first publish to the last delivery, by a second too long where not all were delivered."""
    processor_seconds: float
    """Of all processes."""

    @property
    def rate(self) -> float:
        """Messages delivered to every receiver in a second."""
        return self.delivered / self.receivers / self.seconds


class Team:
    """Connected peers that are subscribed; the first publishes."""

    def __init__(self, peers: Sequence[Peer], gap_ms: int) -> None:
        self.publisher, *self.receivers = self.peers = peers
        self.version = peers[0].version
        self._gap_ms = gap_ms
        self._published = 0
        self._received = [0] * len(self.receivers)

    async def publish(self, count: int, size: int) -> Sent:
        """Publish `count` messages of `size` bytes and wait until they have arrived or nothing does any more."""
        processor, begun = self._processor_time(), perf_counter()
        end = self._published + count
        for start in range(self._published, end, AT_ONCE):
            part = min(AT_ONCE, end - start)
            await self.publisher.call(
                "publish", topic=TOPIC, count=part, bytes=size, start=start, interval_ms=self._gap_ms
            )
        self._published = end
        before, ended = sum(self._received), await self._arrived(count)
        return Sent(
            expected=count * len(self.receivers),
            delivered=sum(self._received) - before,
            receivers=len(self.receivers),
            seconds=ended - begun,
            processor_seconds=self._processor_time() - processor,
        )

    async def _arrived(self, count: int) -> float:
        """Return when the last message came in."""
        wanted = [received + count for received in self._received]
        while True:
            at, before = perf_counter(), self._received
            self._received = [await _wait(*pair) for pair in zip(self.receivers, wanted, strict=True)]
            if self._received == wanted:
                return perf_counter()
            if self._received == before:
                return at

    def _processor_time(self) -> float:
        return sum(processor_time(peer.pid) for peer in self.peers)


async def _wait(receiver: Peer, count: int) -> int:
    """Return how many messages a receiver has, `count` if it gets so many in time."""
    answer = await receiver.call("wait_received", topic=TOPIC, count=count, seconds=STILL_SECONDS)
    return int(answer["total"])


@asynccontextmanager
async def open_team(program: Program, count: int) -> AsyncIterator[Team]:
    """Start fresh peers, connect each with the next ones in a ring, subscribe, and wait until they know of it."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(_peer(program, number)) for number in range(count)]
        for peer in peers:
            await peer.call("subscribe", topic=TOPIC)
        neighbours = min(NEIGHBOURS, count - 1)
        for dialer, listener in ring(count, neighbours):
            await peers[dialer].call("connect", address=peers[listener].address)
        await _wait_ready(peers, neighbours)
        yield Team(peers, GAP_MS if program.name == PACED else 0)


def ring(count: int, neighbours: int) -> list[tuple[int, int]]:
    """Return who dials whom, so that each of `count` has so many neighbours, one or an even number."""
    steps = range(1, neighbours // 2 + 1 if neighbours > 1 else 2)
    dialers = range(count if neighbours > 1 else 1)
    return [(dialer, (dialer + step) % count) for dialer in dialers for step in steps]


def _peer(program: Program, number: int) -> Peer:
    name = f"{program.name} ({number + 1})"
    return Peer(name, program.argv, key_type=KEY_TYPE, options=OPTIONS, patience=PATIENCE_SECONDS)


async def _wait_ready(peers: Sequence[Peer], neighbours: int) -> None:
    waiting, until = list(peers), trio.current_time() + READY_SECONDS
    while waiting := [peer for peer in waiting if not await _is_ready(peer, neighbours)]:
        if trio.current_time() > until:
            raise ValueError(f"{waiting[0].name} did not see {neighbours} subscribers in {READY_SECONDS:g} s")
        await trio.sleep(POLL_SECONDS)


async def _is_ready(peer: Peer, neighbours: int) -> bool:
    """Return whether a peer knows its neighbours and has at least half of them in its mesh, if it tells of it."""
    known = (await peer.call("topic_peers", topic=TOPIC))["peers"]
    mesh = (await peer.call("mesh", topic=TOPIC))["peers"]
    return len(known) >= neighbours and (mesh is None or 2 * len(mesh) >= neighbours)


async def some(team: Team, sizes: Sizes) -> Values:
    """Publish messages of each size."""
    sent = {name: await _sample(team, size, sizes) for name, size in BYTES.items()}
    suffix, expected = _suffix(team), sum(one.expected for one in sent.values())
    return {
        **{f"rate{name}{suffix}": one.rate for name, one in sent.items()},
        **{f"cost{name}{suffix}": one.processor_seconds / max(1, one.delivered) * 1e6 for name, one in sent.items()},
        f"lost{suffix}": (expected - sum(one.delivered for one in sent.values())) / expected * 100,
    }


async def _sample(team: Team, size: int, sizes: Sizes) -> Sent:
    """Publish as many messages as take the time that is there, after fewer to warm up; who is slow does without."""
    sent = await team.publish(sizes.fewest_messages, size)
    for share in (WARM_UP, 1.0):
        if sent.seconds > sizes.message_patience:
            break
        count = int(sent.rate * sizes.message_patience * share)
        sent = await team.publish(min(sizes.messages, max(sizes.fewest_messages, count)), size)
    return sent


async def burst(team: Team, sizes: Sizes) -> Values:
    """Publish very many messages as fast as they are taken."""
    sent = await team.publish(sizes.burst, 1 << 10)
    suffix = _suffix(team)
    return {
        f"burst_rate{suffix}": sent.rate,
        f"burst_lost{suffix}": sent.expected - sent.delivered,
        f"burst_publisher{suffix}": peak_of(team.publisher.pid) / 1024,
        f"burst_receiver{suffix}": max(peak_of(receiver.pid) for receiver in team.receivers) / 1024,
    }


def _suffix(team: Team) -> str:
    return f"_{len(team.peers)}"


TEAM_WORK: Mapping[str, tuple[int, Callable[[Team, Sizes], Awaitable[Values]]]] = {
    "pubsub": (2, some),
    "pubsub10": (MANY, some),
    "burst": (2, burst),
    "burst10": (MANY, burst),
}
"""How many peers do the work of each group, and what it is."""
