"""One process of `peerstack demo pubsub`: does what lines of JSON on standard input say, and ends with them.

| command | fields | answer |
|---|---|---|
| | | at the start: `peer_id`, `address` |
| `connect` | `addresses` | empty |
| `mesh` | `sizes`, `seconds` | `size`: the neighbours in the mesh, once they are as many as it says for us |
| `publish` | `round`, `count` | `reached_no_peer`: how many were sent to no peer |
| `collect` | `round`, `authors`, `count`, `seconds` | empty, once all came of all the others |
| `report` | | `authors`: for each, messages `delivered` by round, and `duplicates` |

`seconds` is when it stops to wait.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import trio
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.protocols.pubsub import JoinedTopic, Pubsub, open_pubsub
from peerstack.stack.background import open_background

from .pubsub_node import Bell
from .standard_input import lines

TOPIC = "demo"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
MAX_COMMAND = 64 * 1024  # bytes


class Counts:
    """Which messages have come, and how often."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._delivered: Counter[tuple[str, int]] = Counter()
        self._duplicates: Counter[str] = Counter()
        self._more = trio.Event()

    def add(self, data: bytes) -> None:
        """Count a message."""
        author, number, _ = data.decode().split()
        if data in self._seen:
            self._duplicates[author] += 1
            return
        self._seen.add(data)
        self._delivered[author, int(number)] += 1
        self._more.set()

    async def wait(self, number: int, authors: Sequence[str], count: int) -> None:
        """Wait until so many different messages of a round have come from each author."""
        while any(self._delivered[author, number] < count for author in authors):
            self._more = trio.Event()
            await self._more.wait()

    def report(self) -> dict[str, Any]:
        """Return what has come by author."""
        authors: dict[str, Any] = {}
        for (author, number), count in self._delivered.items():
            found = authors.setdefault(author, {"delivered": {}, "duplicates": self._duplicates[author]})
            found["delivered"][str(number)] = count
        return authors


class Worker:
    """What one process does."""

    def __init__(self, name: str, pubsub: Pubsub, topic: JoinedTopic[bytes]) -> None:
        self._name = name
        self._pubsub = pubsub
        self._topic = topic
        self._counts = Counts()

    async def listen(self) -> None:
        """Count what comes, for ever."""
        async for message in self._topic:
            self._counts.add(message.data)

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a command says, and return the answer."""
        match command:
            case {"do": "connect", "addresses": addresses}:
                for address in addresses:
                    await self._pubsub.host.connect(Multiaddr(address))
                return {}
            case {"do": "mesh", "sizes": sizes, "seconds": seconds}:
                return {"size": await self._wait_mesh(sizes[self._name], seconds)}
            case {"do": "publish", "round": number, "count": count}:
                return {"reached_no_peer": await self._publish(number, count)}
            case {"do": "collect", "round": number, "authors": authors, "count": count, "seconds": seconds}:
                others = [author for author in authors if author != self._name]
                with trio.move_on_after(seconds):
                    await self._counts.wait(number, others, count)
                return {}
            case _:
                return {"authors": self._counts.report()}

    async def _wait_mesh(self, size: int, seconds: float) -> int:
        bell = Bell()
        self._pubsub.host.observe(bell)
        with trio.move_on_after(seconds):
            while len(self._topic.mesh) < size:
                await bell.wait()
        self._pubsub.host.unobserve(bell)
        return len(self._topic.mesh)

    async def _publish(self, number: int, count: int) -> int:
        receipts = [await self._topic.publish(f"{self._name} {number} {index}".encode()) for index in range(count)]
        for receipt in receipts:
            await receipt.wait_sent()
        return sum(receipt.reached_no_peer for receipt in receipts)


async def work(name: str) -> None:
    """Be one of the processes, until standard input ends."""
    async with (
        open_host(listen=[LOOPBACK], agent=name) as host,
        open_pubsub(host) as pubsub,
        pubsub.join(TOPIC) as topic,
        open_background() as nursery,
    ):
        worker = Worker(name, pubsub, topic)
        nursery.start_soon(worker.listen)
        _answer({"peer_id": str(host.peer_id), "address": str(host.addresses[0])})
        async for line in lines(MAX_COMMAND):
            _answer(await worker.do(json.loads(line)))


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    trio.run(work, sys.argv[1])
