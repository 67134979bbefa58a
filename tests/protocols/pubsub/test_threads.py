"""Signatures checked in threads, while what comes next is read: order, bounds, and ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from threading import Event

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import JoinedTopic, PubsubConfig
from peerstack.protocols.pubsub.validation import signing
from peerstack.protocols.pubsub.validation.signing import RejectReason
from peerstack.protocols.pubsub.wire import Message

from .parts import Node, open_nodes, open_topics


class Checks:
    """Holds up the threads that check signatures, each until it is let go."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        """Payloads, one for each batch, as its check began."""
        self.forged = b""
        """The payload whose signature is spoilt on the way."""
        self._news = trio.Event()
        self._holds: dict[bytes, Event] = {}
        self._verify = signing.verify_batch

    def hold(self, data: bytes) -> None:
        """Let the check of this message wait for `let_go`."""
        self._holds[data] = Event()

    def let_go(self, data: bytes) -> None:
        self._holds.pop(data).set()

    def let_all_go(self) -> None:
        for data in list(self._holds):
            self.let_go(data)

    async def wait_begun(self, count: int) -> None:
        """Wait until so many batches are being checked, or have been."""
        with trio.fail_after(30):
            while len(self.begun) < count:
                await self._news.wait()

    def __call__(self, messages: Sequence[Message]) -> list[RejectReason | None]:
        """Check a batch in its thread."""
        data = messages[0].data
        trio.from_thread.run_sync(self._note, data)
        if (held := self._holds.get(data)) is not None:
            held.wait(30)
        for message in messages:
            if message.data == self.forged:
                message.signature = bytes(64)
        return self._verify(messages)

    def _note(self, data: bytes) -> None:
        self.begun.append(data)
        self._news.set()
        self._news = trio.Event()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    held = Checks()
    monkeypatch.setattr(signing, "verify_batch", held)
    monkeypatch.setattr(signing, "releases_the_gil", lambda: True)
    yield held
    held.let_all_go()


@asynccontextmanager
async def opened(checks: Checks) -> AsyncIterator[tuple[list[Node], JoinedTopic[bytes], JoinedTopic[bytes]]]:
    async with open_nodes(2, PubsubConfig(thread_from=1), threads=True) as nodes:
        async with open_topics(nodes) as (sender, receiver):
            try:
                yield nodes, sender, receiver
            finally:
                checks.let_all_go()  # leaving waits for threads


async def read(topic: JoinedTopic[bytes], count: int) -> list[bytes]:
    messages: list[bytes] = []
    with trio.fail_after(30):
        async for message in topic:
            messages.append(message.data)
            if len(messages) == count:
                break
    return messages


async def test_what_is_checked_first_is_still_delivered_in_order(checks: Checks) -> None:
    async with opened(checks) as (_, sender, receiver):
        checks.hold(b"one")
        await sender.publish(b"one")
        await checks.wait_begun(1)
        await sender.publish(b"two")
        await checks.wait_begun(2)
        checks.let_go(b"one")
        assert await read(receiver, 2) == [b"one", b"two"]


async def test_two_batches_of_a_peer_are_checked_at_once_and_no_more(checks: Checks) -> None:
    async with opened(checks) as (nodes, sender, receiver):
        checks.hold(b"one")
        for number, data in enumerate((b"one", b"two"), start=1):
            await sender.publish(data)
            await checks.wait_begun(number)
        await sender.publish(b"three")
        await trio.testing.wait_all_tasks_blocked()
        assert len(nodes[1].pubsub._peers.streams[nodes[0].peer_id].validating) == 2
        assert checks.begun == [b"one", b"two"]
        checks.let_go(b"one")
        await checks.wait_begun(3)
        assert await read(receiver, 3) == [b"one", b"two", b"three"]


async def test_a_stream_that_ends_waits_until_its_messages_are_validated(checks: Checks) -> None:
    async with opened(checks) as (nodes, sender, receiver):
        checks.hold(b"last")
        await sender.publish(b"last")
        await checks.wait_begun(1)
        link = nodes[0].pubsub._peers.streams[nodes[1].peer_id]
        link.queue.end()
        await trio.testing.wait_all_tasks_blocked()
        assert not link.read_to_end.is_set()
        checks.let_go(b"last")
        with trio.fail_after(30):
            await link.read_to_end.wait()
        assert await read(receiver, 1) == [b"last"]


async def test_a_forgery_among_others_is_found(checks: Checks) -> None:
    checks.forged = b"bad"
    async with opened(checks) as (nodes, sender, receiver):
        for data in (b"good", b"bad", b"fine"):
            await sender.publish(data)
        assert await read(receiver, 2) == [b"good", b"fine"]
        assert nodes[1].pubsub.statistics().rejected == {RejectReason.INVALID_SIGNATURE: 1}
