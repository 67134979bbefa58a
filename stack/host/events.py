"""Hands the events of one host to its observers, and to the tasks of an application that iterate over them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, overload

import trio

from ..background import Waiter, contained
from ..errors import InvalidInput
from ..events import Event, EventsMissed, Observer
from .arguments import as_list, check_observer, type_name

_log = logging.getLogger(__name__)

EventT = TypeVar("EventT")


class EventSubscription(Generic[EventT]):
    """An async iterator over the events of a host; get it from `host.events.subscribe` and use it as `with`.

    It ends with the host. One task at a time may iterate.
    """

    def __init__(self, kinds: tuple[type, ...], buffer: int, leave: Callable[[Observer], None]) -> None:
        self.missed = 0
        """Events dropped so far, since the reader was slower than they came."""
        self._told = 0
        self._kinds = kinds
        self._buffer = buffer
        self._leave = leave
        self._events: deque[EventT] = deque()
        self._readable = Waiter()
        self._closed = False

    def notify(self, event: Event) -> None:
        """Take an event, in place of the oldest where the buffer is full."""
        if self._closed or (self._kinds and not isinstance(event, self._kinds)):
            return
        if len(self._events) == self._buffer:
            self._events.popleft()
            self.missed += 1
        self._events.append(event)  # type: ignore[arg-type] # of a kind asked for
        self._readable.wake()

    def close(self) -> None:
        """Take no more events: the iteration ends after those that wait."""
        self._closed = True
        self._leave(self)
        self._readable.wake()

    def __enter__(self) -> EventSubscription[EventT]:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __aiter__(self) -> EventSubscription[EventT]:
        return self

    async def __anext__(self) -> EventT | EventsMissed:
        """Return the next event, or first how many were dropped before it."""
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            await self._readable.wait()
        if self.missed != self._told:
            count, self._told = self.missed - self._told, self.missed
            return EventsMissed(count)
        return self._events.popleft()


class EventHub:
    """Hands events to observers.

    Events come up deep inside, where what an observer raises would be taken for the failure of a stream or a peer. So
    it is kept for the owner of the host, which has to end and raise it.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.observers: tuple[Observer, ...] = ()
        for observer in as_list(observers, "observers"):
            self.add(observer)
        self.on_failure: Callable[[], None] = lambda: None
        """Called when the first observer has failed."""
        self.failure: Exception | None = None
        """What it raised."""
        self._closed = False

    def add(self, observer: Observer) -> None:
        """Add an observer. Raises TypeError for what has no `notify`, or an async one."""
        check_observer(observer)
        self.observers = (*self.observers, observer)

    def remove(self, observer: Observer) -> None:
        """Remove an observer; nothing happens if it is none. One that was added twice remains once."""
        for place, item in enumerate(self.observers):
            if item is observer:
                self.observers = self.observers[:place] + self.observers[place + 1 :]
                return

    @overload
    def subscribe(self, *, buffer: int = ...) -> EventSubscription[Event]: ...

    @overload
    def subscribe(self, *kinds: type[EventT], buffer: int = ...) -> EventSubscription[EventT]: ...

    def subscribe(self, *kinds: type[Any], buffer: int = 1024) -> EventSubscription[Any]:
        """Iterate over events: `with host.events.subscribe(PeerConnected) as events: async for event in events: ...`.

        `kinds` are the classes of events wanted, all if none is given; `buffer` is how many may wait for the reader.
        Where more come the oldest are dropped, and an `EventsMissed` in their place says how many. Raises TypeError
        for a kind that is no class, InvalidInput for a buffer that holds nothing.
        """
        for kind in kinds:
            if not isinstance(kind, type):
                raise TypeError(f"a kind of event is a class such as PeerConnected, not {type_name(kind)}")
        if not isinstance(buffer, int):
            raise TypeError(f"the buffer is a number of events, not {type_name(buffer)}")
        if buffer < 1:
            raise InvalidInput(f"the buffer must hold at least one event, not {buffer}")
        subscription: EventSubscription[Any] = EventSubscription(kinds, buffer, self.remove)
        self.add(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def notify(self, event: Event) -> None:
        """Pass an event to every observer."""
        for observer in self.observers:
            with contained(partial(self._failed, observer, event)):
                observer.notify(event)

    def close(self) -> None:
        """End all iterations over events: no more come."""
        self._closed = True
        for observer in self.observers:
            if isinstance(observer, EventSubscription):
                observer.close()

    def _failed(self, observer: Observer, event: Event, error: Exception) -> None:
        what = type(event).__name__
        _log.error("%r failed at %s; an observer that fails ends its host", observer, what, exc_info=error)
        if self.failure is None:
            self.failure = error
            self.on_failure()
