"""What happened in a simulated network, event by event, and one hash over all of it."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_EVENTS: Final = 200_000
"""Events kept for reading; the hashes cover those dropped, too."""


class TraceKind(StrEnum):
    """What a trace event tells."""

    DIAL = "dial"
    CONNECTED = "connected"
    REFUSED = "refused"
    SENT = "sent"
    LOST = "lost"
    HELD = "held"
    DELIVERED = "delivered"
    PARTITIONED = "partitioned"
    HEALED = "healed"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One thing that happened at a node."""

    time: int
    """Nanoseconds since the network began."""
    node: str
    link: str
    """`from>to#wire`, or empty."""
    kind: TraceKind
    what: str
    """What moved: data, fin, gone, reset; or a note."""
    size: int
    digest: str
    """Of the bytes that moved, in hexadecimal; empty when none did."""

    def line(self, *, contents: bool = True) -> str:
        """Return the event as one line; without `contents` it leaves the digest out."""
        fields = (self.time, self.node, self.link, self.kind, self.what, self.size, self.digest if contents else "")
        return " ".join(str(field) or "-" for field in fields)


class Trace:
    """Collects events and hashes them as they come."""

    def __init__(self) -> None:
        self.events: deque[TraceEvent] = deque(maxlen=MAX_EVENTS)
        self._hash = hashlib.sha256()
        self._hash_without_contents = hashlib.sha256()

    def add(self, event: TraceEvent) -> None:
        """Take note of an event."""
        self.events.append(event)
        self._hash.update(event.line().encode() + b"\n")
        self._hash_without_contents.update(event.line(contents=False).encode() + b"\n")

    def hash(self, *, contents: bool = True) -> str:
        """Return the SHA-256 over all events in hexadecimal; `contents=False` leaves out what the bytes were."""
        return (self._hash if contents else self._hash_without_contents).hexdigest()


def digest_of(data: bytes) -> str:
    """Return a short digest of the bytes, empty for none."""
    return hashlib.blake2b(data, digest_size=8).hexdigest() if data else ""
