"""Hosts of commands: they take every address that what is installed can carry."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from peerstack import open_host
from peerstack._on_demand import MissingExtra, default_native_transports, default_transports
from peerstack.stack.events import Observer
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity

from .host_options import PLAIN, Wiring
from .logs import EventLog

__all__ = ["MissingExtra", "open_any_host"]


def open_any_host(
    *,
    wiring: Wiring = PLAIN,
    agent: str | None = None,
    observers: Iterable[Observer] = (),
) -> AbstractAsyncContextManager[Host]:
    """Open a host with all that is installed, as `open_host` does, and the certificates and the key of the wiring."""
    identity = wiring.identity or Identity.generate()
    if wiring.verbose:
        observers = [*observers, EventLog()]
    return open_host(
        identity=identity,
        transports=default_transports(server_tls=wiring.server_tls, client_tls=wiring.client_tls),
        native_transports=default_native_transports(identity) if wiring.private_network is None else [],
        private_network=wiring.private_network,
        agent=agent,
        observers=observers,
    )
