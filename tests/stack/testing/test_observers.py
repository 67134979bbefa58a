"""The recording observer: events in order, by kind, and waited for."""

import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.events import Event, ListenStarted, ListenStopped
from peerstack.stack.testing import RecordingObserver

ADDRESS = Multiaddr("/memory/1")


async def test_events_are_kept_in_order_and_by_kind() -> None:
    observer = RecordingObserver()
    events: list[Event] = [ListenStarted(ADDRESS), ListenStopped(ADDRESS, None), ListenStarted(ADDRESS)]
    for event in events:
        observer.notify(event)
    assert observer.events == events
    assert observer.of(ListenStopped) == [events[1]]
    assert await observer.wait_for(ListenStarted) is events[0]


async def test_waiting_ends_with_the_event_asked_for() -> None:
    observer = RecordingObserver()
    got: list[ListenStopped] = []

    async def wait() -> None:
        got.append(await observer.wait_for(ListenStopped, count=2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for reason in ("first", "second", "third"):
            await trio.testing.wait_all_tasks_blocked()
            assert len(got) == (reason == "third")
            observer.notify(ListenStarted(ADDRESS))
            observer.notify(ListenStopped(ADDRESS, reason))
    assert got == [ListenStopped(ADDRESS, "second")]
