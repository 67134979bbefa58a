"""An observer that remembers, for tests that wait for an event or ask what happened."""

from __future__ import annotations

from typing import TypeVar

import trio

from ..events import Event

EventT = TypeVar("EventT", bound=Event)


class RecordingObserver:
    """Keeps every event in `events`, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = trio.lowlevel.ParkingLot()

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        self.events.append(event)
        self._arrived.unpark_all()

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[EventT], *, count: int = 1) -> EventT:
        """Wait until `count` events of a kind have happened and return the last of them."""
        await trio.lowlevel.checkpoint()
        while len(self.of(kind)) < count:
            await self._arrived.park()
        return self.of(kind)[count - 1]
