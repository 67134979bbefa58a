"""The listeners of a swarm: who accepts on which addresses, and what becomes of a listener that fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
from multiaddr import Multiaddr

from ..abc import Incoming, Listener, Transport
from ..addressing import expand_unspecified, is_unspecified, parse_address
from ..addressing.usable import what_it_takes, why_no_single_host, why_unlistenable
from ..background import close_at_once, contained
from ..bugs import BugReporter
from ..errors import InvalidAddress, describe, is_expected
from ..events import Event, ListenStarted, ListenStopped
from .hooks import Hooks

_log = logging.getLogger(__name__)

LISTENER_CLOSE_TIMEOUT = 2.0
"""Seconds for a listener to close, which needs no peer; a transport that hangs must not hold up the end of a host."""


@dataclass(eq=False)
class _Listening:
    """A listener, and what observers were told of it."""

    listener: Listener
    asked: Multiaddr
    """The address given to `listen`."""
    addresses: tuple[Multiaddr, ...]
    """Those that are valid, as they were told last."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopped: trio.Event = field(default_factory=trio.Event)


class Listeners:
    """Listens with the transport that understands an address, and follows addresses that change."""

    def __init__(
        self,
        *,
        transports: Sequence[Transport],
        admit: Callable[[Incoming], Awaitable[None]],
        refused: Callable[[Incoming, Exception], object],
        check_running: Callable[[], None],
        start_soon: Callable[..., None],
        bugs: BugReporter,
        notify: Callable[[Event], None],
    ) -> None:
        """`admit` gets each connection that arrives, and `refused` what `admit` raised for it.

        `check_running` raises LocalProtocolError when the swarm is over.
        """
        self.ending = False
        """Whether the swarm is being closed, so that listeners that fail are no news."""
        self.changed = Hooks[()](bugs.reason)
        """Called when `addresses` have changed by anything but the end of the swarm."""
        self._transports = transports
        self._admit = admit
        self._refused = refused
        self._check_running = check_running
        self._start_soon = start_soon
        self._bugs = bugs
        self._notify = notify
        self._open: list[_Listening] = []

    @property
    def addresses(self) -> list[Multiaddr]:
        """The addresses listened on, as bound."""
        return [address for listening in self._open for address in listening.addresses]

    async def listen(self, address: Multiaddr) -> tuple[Multiaddr, ...]:
        """Listen, and return the addresses as bound. Raises InvalidAddress, OSError."""
        if (many := why_no_single_host(address)) is not None:
            raise InvalidAddress(f"cannot listen on {address}: {many}")
        transport = next((item for item in self._transports if item.can_listen(address)), None)
        if transport is None:
            reason = why_unlistenable(address)
            raise InvalidAddress(
                f"cannot listen on {address}: {reason}"
                if reason
                else f"no transport of this host can listen on {address}{what_it_takes(address)}"
            )
        self._check_running()
        listener = await transport.listen(address)
        try:
            self._check_running()  # it may have ended meanwhile
            addresses = _checked(listener)
        except BaseException:
            await close_at_once(listener)
            raise
        listening = _Listening(listener, address, addresses)
        self._open.append(listening)
        listener.on_addresses_changed(partial(self._follow, listening))
        self._start_soon(self._serve, listening)
        for bound in addresses:
            self._notify(ListenStarted(bound))
        if addresses:
            self.changed()
        return addresses

    async def unlisten(self, address: Multiaddr) -> None:
        """Close the listeners on an address, and return when they are closed; their connections stay.

        The address is one as bound, one of those that an unspecified one stands for, or one given to `listen`.
        Raises InvalidAddress if there is no such listener.
        """
        found = [listening for listening in self._open if _is_on(listening, address)]
        found = found or [listening for listening in self._open if listening.asked == address]
        if not found:
            known = ", ".join(map(str, self.addresses)) or "nothing"
            raise InvalidAddress(f"this host does not listen on {address}; it listens on {known}")
        for listening in found:
            listening.scope.cancel()
        for listening in found:
            await listening.stopped.wait()

    async def aclose(self) -> None:
        """Close all of them, because the swarm ends."""
        self.ending = True
        async with trio.open_nursery() as nursery:
            for listening in list(self._open):
                nursery.start_soon(self._close, listening)

    async def _serve(self, listening: _Listening) -> None:
        """Accept connections until the listener is closed or fails, which costs that listener only."""
        stopped: list[Exception] = []
        try:
            with contained(stopped.append), listening.scope:
                while True:
                    incoming = await listening.listener.accept()
                    with contained(partial(self._refused, incoming)):
                        await self._admit(incoming)
        finally:
            self._open.remove(listening)
            with trio.move_on_after(LISTENER_CLOSE_TIMEOUT, shield=True):
                await self._close(listening)
            error = self._why_stopped(listening, stopped)
            for address in listening.addresses:
                self._notify(ListenStopped(address, error))
            if listening.addresses and not self.ending:
                self.changed()
            listening.stopped.set()

    def _follow(self, listening: _Listening) -> None:
        """Report addresses that a listener has now, or has no more."""
        if listening not in self._open:
            return
        with contained(partial(self._bugs.reason, what=f"a change of the addresses of {listening.listener!r}")):
            before, after = listening.addresses, _checked(listening.listener)
            listening.addresses = after
            for address in before:
                if address not in after:
                    self._notify(ListenStopped(address, None))
            for address in after:
                if address not in before:
                    self._notify(ListenStarted(address))
            self.changed()

    def _why_stopped(self, listening: _Listening, stopped: list[Exception]) -> str | None:
        """Return why a listener failed; None when it was closed, also by the end of the swarm that it raced with."""
        if not stopped or isinstance(stopped[0], trio.ClosedResourceError):
            return None
        (error,) = stopped
        where = ", ".join(map(str, listening.addresses or (listening.asked,)))
        if not is_expected(error):
            return self._bugs.reason(error, f"listening on {where}")
        if self.ending:
            return None
        _log.error("no longer listening on %s: %s", where, describe(error))
        return describe(error)

    async def _close(self, listening: _Listening) -> None:
        with contained(partial(self._bugs.reason, what=f"closing the listener on {listening.asked}")):
            await listening.listener.aclose()


def _is_on(listening: _Listening, address: Multiaddr) -> bool:
    return any(
        address == bound or (is_unspecified(bound) and address in expand_unspecified(bound))
        for bound in listening.addresses
    )


def _checked(listener: Listener) -> tuple[Multiaddr, ...]:
    """Return the addresses of a listener. Raises if it says that it has some that peers could not be told."""
    addresses: tuple[Any, ...] = tuple(listener.addresses)
    for address in addresses:
        if not isinstance(address, Multiaddr):
            raise TypeError(f"{listener!r} listens on a {type(address).__name__}; its addresses must be Multiaddrs")
        parse_address(address)
    return addresses
