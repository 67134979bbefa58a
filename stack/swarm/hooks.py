"""Functions that several services register independently: called at an event, or run beside a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVarTuple

import trio

from ..background import contained
from ..bugs import BugReporter
from .connections import Connection

Args = TypeVarTuple("Args")

Failed = Callable[[Exception, str], object]
"""Called with what a hook raised, and the name it was registered under."""


class Hooks(Generic[*Args]):
    """Hooks that are called in the order of their registration; what one raises keeps no other from its call."""

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._hooks: dict[object, tuple[str, Callable[[*Args], object]]] = {}

    def add(self, hook: Callable[[*Args], object], *, name: str) -> Callable[[], None]:
        """Call a hook from now on, and return the function that takes it back; `name` is for the log."""
        key = object()
        self._hooks[key] = name, hook

        def remove() -> None:
            self._hooks.pop(key, None)

        return remove

    def __call__(self, *args: *Args) -> None:
        """Call every hook."""
        for name, hook in list(self._hooks.values()):
            with contained(partial(self._fail, name)):
                hook(*args)

    def _fail(self, name: str, error: Exception) -> None:
        self._failed(error, name)


ConnectionHook = Callable[[Connection], Awaitable[None]]
"""Runs beside a new connection, in a task of its own that ends with the connection."""


@dataclass(slots=True, eq=False)
class _Registration:
    name: str
    hook: ConnectionHook
    identifies: bool
    advice: str | None
    running: set[trio.CancelScope] = field(default_factory=set)


class ConnectionHooks:
    """The hooks of several services; what one raises or waits for delays and harms no other."""

    def __init__(self, bugs: BugReporter) -> None:
        self._bugs = bugs
        self._registrations: dict[_Registration, None] = {}

    def add(
        self, hook: ConnectionHook, *, name: str, identifies: bool = False, advice: str | None = None
    ) -> Callable[[], None]:
        """Run a hook beside every connection that is opened from now on, and return the function that takes it back.

        Taking it back cancels what runs of it. A connection counts as identified, and `connect` returns, when the hooks
        that say `identifies` are done; the dial report has a stage of that `name`, with `advice` for one that gives no
        answer in time.
        """
        registration = _Registration(name, hook, identifies, advice)
        self._registrations[registration] = None

        def remove() -> None:
            self._registrations.pop(registration, None)
            for scope in registration.running:
                scope.cancel()

        return remove

    @property
    def stage(self) -> tuple[str, str | None]:
        """The name of the stage in which `connect` waits for the hooks that identify, and the advice for silence."""
        waited = [item for item in self._registrations if item.identifies]
        advice = next((item.advice for item in waited if item.advice is not None), None)
        return " and ".join(dict.fromkeys(item.name for item in waited)) or "connection hooks", advice

    async def run(self, connection: Connection) -> None:
        """Run all hooks beside a connection, and mark it as identified when those that identify are done."""
        async with trio.open_nursery() as nursery:
            try:
                async with trio.open_nursery() as identifying:
                    for registration in self._registrations:
                        owner = identifying if registration.identifies else nursery
                        owner.start_soon(self._run_one, registration, connection)
            finally:
                connection.identified.set()

    async def _run_one(self, registration: _Registration, connection: Connection) -> None:
        with trio.CancelScope() as scope:
            registration.running.add(scope)
            try:
                with contained(partial(self._failed, registration, connection)):
                    await registration.hook(connection)
            finally:
                registration.running.discard(scope)

    def _failed(self, registration: _Registration, connection: Connection, error: Exception) -> None:
        if registration.identifies and connection.hook_failure is None:
            connection.hook_failure = error
        self._bugs.reason(error, f"{registration.name} on the connection to {connection.remote_peer}")
