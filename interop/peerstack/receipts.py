"""Counts what the application received on one topic."""

from __future__ import annotations

import re
from collections import Counter

import trio

from interop.peerstack.command import Answer
from peerstack.protocols.pubsub import PubsubMessage
from peerstack.stack.identity import PeerId

_FORM = re.compile(rb"([1-9A-HJ-NP-Za-km-z]+):([0-9]+):x*")


def message_data(publisher: PeerId, number: int, size: int) -> bytes:
    """Return the data of message `number`, filled up to `size` bytes where it is shorter."""
    return f"{publisher}:{number}:".encode().ljust(size, b"x")


class Receipts:
    """What was received on one topic, our own messages aside."""

    def __init__(self, self_id: PeerId) -> None:
        self._self_id = str(self_id)
        self._seen: set[tuple[bytes, bytes, int]] = set()
        self._authors: Counter[str] = Counter()
        self._duplicates = 0
        self._malformed = 0
        self._wrong_author = 0
        self._news = trio.Event()

    def add(self, message: PubsubMessage[bytes]) -> None:
        """Count one message."""
        form = _FORM.fullmatch(message.data)
        if form is None:
            self._malformed += 1
            return
        author = form[1].decode()
        if author == self._self_id:
            return
        if message.author is not None and str(message.author) != author:
            self._wrong_author += 1
        content = (form[1], form[2], len(message.data))  # says all of a message of this form
        if content in self._seen:
            self._duplicates += 1
            return
        self._seen.add(content)
        self._authors[author] += 1
        self._news.set()
        self._news = trio.Event()

    async def wait(self, count: int, seconds: float) -> None:
        """Wait until `count` different messages were received, or for `seconds`."""
        with trio.move_on_after(seconds):
            while len(self._seen) < count:
                await self._news.wait()

    def answer(self) -> Answer:
        """Return the counts, as `received` tells them."""
        return {
            "total": len(self._seen),
            "duplicates": self._duplicates,
            "malformed": self._malformed,
            "wrong_author": self._wrong_author,
            "authors": dict(self._authors),
        }
