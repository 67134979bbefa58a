"""The publish/subscribe commands of the contract, one function each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from time import perf_counter

import trio

from interop.peerstack.command import Answer, Command
from interop.peerstack.operations import Operation, Program
from interop.peerstack.receipts import Receipts, message_data
from peerstack.protocols.pubsub import Pubsub, Receipt
from peerstack.stack.errors import StackError

BUFFER = 100_000
"""Messages that may wait for a reader; beyond that the network waits."""


class Topics:
    """The topics that commands named, and the tasks that read those we are subscribed to."""

    def __init__(self, pubsub: Pubsub, nursery: trio.Nursery) -> None:
        """Count what is received in tasks of `nursery`, which the caller owns."""
        self.pubsub = pubsub
        self._nursery = nursery
        self._receipts: dict[str, Receipts] = {}
        self._readers: dict[str, _Reader] = {}

    def receipts(self, topic: str) -> Receipts:
        """Return what was received on a topic."""
        return self._receipts.setdefault(topic, Receipts(self.pubsub.host.peer_id))

    async def subscribe(self, topic: str) -> None:
        """Subscribe and count from now on; nothing if we are."""
        if topic not in self._readers:
            self._readers[topic] = reader = _Reader()
            await self._nursery.start(reader.run, self.pubsub, topic, self.receipts(topic))

    async def unsubscribe(self, topic: str) -> None:
        """Leave, and return when the topic is left."""
        if reader := self._readers.pop(topic, None):
            reader.scope.cancel()
            await reader.left.wait()


class _Reader:
    """Reads one topic until its scope is cancelled."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.left = trio.Event()

    async def run(self, pubsub: Pubsub, topic: str, receipts: Receipts, *, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            async with pubsub.join(topic, buffer=BUFFER) as joined:
                task_status.started()
                async for message in joined:
                    receipts.add(message)
        self.left.set()


async def subscribe(program: Program, command: Command) -> Answer:
    """Subscribe and count what is delivered."""
    await _topics(program).subscribe(command.topic)
    return {}


async def unsubscribe(program: Program, command: Command) -> Answer:
    """Unsubscribe; the counts stay."""
    await _topics(program).unsubscribe(command.topic)
    return {}


async def publish(program: Program, command: Command) -> Answer:
    """Publish messages, counting those that fail."""
    pubsub = _topics(program).pubsub
    errors: list[str] = []
    receipts: list[Receipt] = []
    begun = perf_counter()
    for number in range(command.start, command.start + command.count):
        if number > command.start and command.interval_ms:
            await trio.sleep(command.interval_ms / 1000)
        try:
            receipt = await pubsub.publish(command.topic, message_data(pubsub.host.peer_id, number, command.bytes))
        except StackError as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            if command.confirm:
                receipts.append(receipt)
    answer: dict[str, object] = {
        "published": command.count - len(errors),
        "failed": len(errors),
        "first_error": errors[0] if errors else None,
        "seconds": perf_counter() - begun,
    }
    if command.confirm:
        answer["acknowledged"] = await _acknowledged(receipts, command.seconds)
    return answer


async def _acknowledged(receipts: Sequence[Receipt], seconds: float) -> Mapping[str, int]:
    """Return how many messages are known to have come to the host of each peer."""
    with trio.move_on_after(seconds):
        for receipt in receipts:
            await receipt.wait_acknowledged()
    return Counter(str(peer) for receipt in receipts for peer in receipt.acknowledged)


async def wait_received(program: Program, command: Command) -> Answer:
    """Wait for messages, then tell what was received."""
    receipts = _topics(program).receipts(command.topic)
    begun = perf_counter()
    await receipts.wait(command.count, command.seconds)
    return {**receipts.answer(), "seconds": perf_counter() - begun}


async def received(program: Program, command: Command) -> Answer:
    """Tell what was received so far."""
    return _topics(program).receipts(command.topic).answer()


async def topic_peers(program: Program, command: Command) -> Answer:
    """Tell which connected peers subscribe."""
    return {"peers": [str(peer) for peer in _topics(program).pubsub.topic_peers(command.topic)]}


async def mesh(program: Program, command: Command) -> Answer:
    """Tell who is in our mesh; floodsub has none."""
    pubsub = _topics(program).pubsub
    if pubsub.config.gossip.floodsub_only:
        return {"peers": None}
    return {"peers": list(pubsub.statistics().topics.get(command.topic, ()))}


async def rpc_counts(program: Program, command: Command) -> Answer:
    """Tell how many entries of each kind were in the RPCs."""
    statistics = _topics(program).pubsub.statistics()
    return {"received": dict(statistics.entries_received), "sent": dict(statistics.entries_sent)}


async def scores(program: Program, command: Command) -> Answer:
    """Tell the score of every peer, and below which it is graylisted; null without scores."""
    pubsub = _topics(program).pubsub
    if (scoring := pubsub.config.score) is None:
        return {"scores": None, "graylist": None}
    peers = pubsub.statistics().peers
    return {"scores": {peer: found.score for peer, found in peers.items()}, "graylist": scoring.graylist_threshold}


def _topics(program: Program) -> Topics:
    if program.topics is None:
        raise ValueError("started without --pubsub")
    return program.topics


TOPIC_OPERATIONS: Mapping[str, Operation] = {
    "subscribe": subscribe,
    "unsubscribe": unsubscribe,
    "publish": publish,
    "wait_received": wait_received,
    "received": received,
    "topic_peers": topic_peers,
    "mesh": mesh,
    "rpc_counts": rpc_counts,
    "scores": scores,
}
