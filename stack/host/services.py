"""Services: what `open_x(host)` registers with a host under a name, and takes back when its block is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import trio
from multiaddr import Multiaddr

from ..abc import StreamHandler
from ..addressing import AnyPeer, parse_peer
from ..background import open_background
from ..errors import InvalidInput
from ..events import Observer
from ..identity import PeerId
from ..swarm import Connection
from ..swarm.hooks import ConnectionHook
from .host import Host
from .reachability import Reachability


class Service:
    """What one service has registered with a host, under its name. Get it from `open_service`."""

    def __init__(self, host: Host, name: str, nursery: trio.Nursery) -> None:
        self.host = host
        self.name = name
        self.nursery = nursery
        """For the tasks of the service: cancelled when its block is left, and when the host ends."""
        self._undo = ExitStack()
        self._undo.callback(host.announce, [], source=name)
        self._undo.callback(host.report_reachability, {}, source=name)
        self._tagged: dict[PeerId, None] = {}
        self._protected: dict[PeerId, None] = {}

    def __repr__(self) -> str:
        return f"<Service {self.name} of {self.host.peer_id}>"

    # ---- streams

    def handle(self, protocol: str, handler: StreamHandler, *, max_streams_per_peer: int | None = None) -> None:
        """Serve a protocol as `Host.handle` does. Raises InvalidInput if this host serves it already."""
        if protocol in self.host.protocols:
            raise InvalidInput(f"this host serves {protocol} already; {self.name} cannot serve it, too")
        self.host.handle(protocol, handler, max_streams_per_peer=max_streams_per_peer)
        self._undo.callback(self._unhandle, protocol, handler)

    def _unhandle(self, protocol: str, handler: StreamHandler) -> None:
        if self.host.swarm.handlers.get(protocol) == handler:  # and not one that took its place
            self.host.unhandle(protocol)

    # ---- hooks and events

    def on_connection(self, hook: ConnectionHook, *, identifies: bool = False, advice: str | None = None) -> None:
        """Run a hook beside every new connection; see `ConnectionHooks.add`. Leaving the service cancels it."""
        hooks = self.host.swarm.on_connection
        self._undo.callback(hooks.add(hook, name=self.name, identifies=identifies, advice=advice))

    def on_connection_gone(self, hook: Callable[[Connection], object]) -> None:
        """Call a hook when a connection has ended."""
        self._undo.callback(self.host.swarm.on_connection_gone.add(hook, name=self.name))

    def on_disconnected(self, hook: Callable[[PeerId], object]) -> None:
        """Call a hook when the last connection to a peer is gone."""
        self._undo.callback(self.host.swarm.on_disconnected.add(hook, name=self.name))

    def on_changed(self, hook: Callable[[], object]) -> None:
        """Call a hook when our addresses or protocols may have changed."""
        self._undo.callback(self.host.on_changed.add(hook, name=self.name))

    def observe(self, observer: Observer) -> None:
        """Send events to an observer."""
        self.host.observe(observer)
        self._undo.callback(self.host.unobserve, observer)

    # ---- addresses

    def announce(self, addresses: str | Multiaddr | Iterable[str | Multiaddr]) -> None:
        """Announce addresses of this host, in place of earlier ones of this service; see `Host.announce`."""
        self.host.announce(addresses, source=self.name)

    def report_reachability(self, statuses: Mapping[Multiaddr, Reachability]) -> None:
        """Report which of our addresses others can dial; see `Host.report_reachability`."""
        self.host.report_reachability(statuses, source=self.name)

    # ---- what peers are worth

    def tag(self, peer: AnyPeer, value: int) -> None:
        """Set what a peer is worth to this service when connections must be trimmed."""
        peer = parse_peer(peer)
        self.host.tag(peer, self.name, value)
        self._tagged[peer] = None

    def untag(self, peer: AnyPeer) -> None:
        """Take the tag of this service back."""
        peer = parse_peer(peer)
        self.host.untag(peer, self.name)
        self._tagged.pop(peer, None)

    def protect(self, peer: AnyPeer) -> None:
        """Never trim a peer while this service is open, or until `unprotect`."""
        peer = parse_peer(peer)
        self.host.protect(peer, self.name)
        self._protected[peer] = None

    def unprotect(self, peer: AnyPeer) -> None:
        """Take the protection of this service back."""
        peer = parse_peer(peer)
        self.host.unprotect(peer, self.name)
        self._protected.pop(peer, None)

    # ---- the end

    def take_back(self) -> None:
        """Take back all that this service has registered, and nothing else; streams that are open go on."""
        self._undo.close()
        for peer in list(self._tagged):
            self.untag(peer)
        for peer in list(self._protected):
            self.unprotect(peer)


@asynccontextmanager
async def open_service(host: Host, name: str) -> AsyncIterator[Service]:
    """Open a service under a name that no other on this host has; `async with open_x(host)` is built on it.

    What the service registers is taken back when the block is left. Its tasks are cancelled then or when the host ends,
    whichever is first. A task that crashes is a bug, and leaves the block as a group. Raises InvalidInput for a name
    that is taken.
    """
    if name in host.services:
        raise InvalidInput(f"this host has {name} already; open it once")
    async with open_background() as background:
        nursery = await background.start(partial(_run_tasks, host.ended))
        service = Service(host, name, nursery)
        host.services[name] = service
        try:
            yield service
        finally:
            del host.services[name]
            service.take_back()


async def _run_tasks(ended: trio.Event, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Hold the nursery of a service until its host ends."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await ended.wait()
        nursery.cancel_scope.cancel()
