"""The publish/subscribe commands of the contract, and what was received on each topic."""

import re
import time
from collections import Counter

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.floodsub import FloodSub

FORM = re.compile(rb"([1-9A-HJ-NP-Za-km-z]+):([0-9]+):x*")


class Receipts:
    """What the application received on one topic."""

    def __init__(self, self_id):
        """Start with nothing; `self_id` is our own peer id, whose messages are not counted."""
        self._self_id = self_id
        self._seen = set()
        self._counts = Counter()
        self._authors = Counter()
        self._news = trio.Event()

    def add(self, message):
        """Count one delivered message."""
        form = FORM.fullmatch(message.data)
        if form is None:
            self._counts["malformed"] += 1
            return
        author = form[1].decode()
        if author == self._self_id:
            return
        self._counts["wrong_author"] += str(ID(message.from_id)) != author
        content = (author, form[2], len(message.data))  # says all of a message of this form
        if content in self._seen:
            self._counts["duplicates"] += 1
            return
        self._seen.add(content)
        self._authors[author] += 1
        self._news.set()
        self._news = trio.Event()

    async def wait(self, count, seconds):
        """Wait until `count` messages were received, or for `seconds`."""
        with trio.move_on_after(seconds):
            while len(self._seen) < count:
                await self._news.wait()

    def answer(self):
        """Return the answer of `received`."""
        counts = {name: self._counts[name] for name in ("duplicates", "malformed", "wrong_author")}
        return {"total": len(self._seen), **counts, "authors": dict(self._authors)}


class Topics:
    """The commands on one Pubsub; None stands for a program started without one."""

    def __init__(self, pubsub, nursery):
        """Count what is received in tasks of `nursery`, which the caller owns."""
        self._pubsub_or_none = pubsub
        self._nursery = nursery
        self._receipts = {}

    @property
    def commands(self):
        """Every command by its name."""
        return {
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
            "publish": self.publish,
            "wait_received": self.wait_received,
            "received": self.received,
            "topic_peers": self.topic_peers,
            "mesh": self.mesh,
            "rpc_counts": self.rpc_counts,
        }

    async def subscribe(self, topic):
        """Subscribe, and count from now on."""
        if topic in self._pubsub.topic_ids:
            return {}
        subscription = await self._pubsub.subscribe(topic)
        self._nursery.start_soon(self._count, subscription, self._of(topic))
        return {}

    async def _count(self, subscription, receipts):
        async for message in subscription:  # ends when we unsubscribe
            receipts.add(message)

    async def unsubscribe(self, topic):
        """Unsubscribe; the counts stay."""
        await self._pubsub.unsubscribe(topic)
        return {}

    async def publish(self, topic, count, bytes, start=0, interval_ms=0):
        """Publish messages `start` to `start + count - 1`."""
        failed, first_error = 0, None
        begun = time.perf_counter()
        for number in range(start, start + count):
            # Publishing has no checkpoint of its own: without one nothing is sent before the last is made.
            await trio.sleep(interval_ms / 1000 if number > start else 0)
            data = f"{self._pubsub.my_id}:{number}:".ljust(bytes, "x").encode()
            try:
                await self._pubsub.publish(topic, data)
            except Exception as error:  # noqa: BLE001  the contract: counted, whatever it is
                failed += 1
                first_error = first_error or repr(error)
        seconds = time.perf_counter() - begun
        return {"published": count - failed, "failed": failed, "first_error": first_error, "seconds": seconds}

    async def wait_received(self, topic, count, seconds):
        """Wait for `count` messages, at most `seconds`."""
        begun = time.perf_counter()
        receipts = self._of(topic)
        await receipts.wait(count, seconds)
        return {**receipts.answer(), "seconds": time.perf_counter() - begun}

    async def received(self, topic):
        """Tell what was received so far."""
        return self._of(topic).answer()

    async def topic_peers(self, topic):
        """Tell which connected peers subscribe."""
        return {"peers": [str(peer) for peer in self._pubsub.peer_topics.get(topic, ())]}

    async def mesh(self, topic):
        """Tell who is in our mesh; floodsub has none."""
        router = self._pubsub.router
        if isinstance(router, FloodSub):
            return {"peers": None}
        return {"peers": [str(peer) for peer in router.mesh.get(topic, ())]}

    async def rpc_counts(self):
        """Tell what RPCs held since the start."""
        return self._pubsub.rpc_counts()

    @property
    def _pubsub(self):
        if self._pubsub_or_none is None:
            raise ValueError("started without --pubsub")
        return self._pubsub_or_none

    def _of(self, topic):
        return self._receipts.setdefault(topic, Receipts(str(self._pubsub.my_id)))
