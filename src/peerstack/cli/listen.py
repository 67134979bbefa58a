"""`peerstack listen`: wait for peers and show who connects."""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import partial
from typing import Annotated

import trio
from cyclopts import App, Parameter
from multiaddr import Multiaddr

from peerstack._defaults import MissingExtra
from peerstack.protocols import perf as perf_protocol
from peerstack.stack.addressing import parse_address, transport_name
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.events import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    InboundRefused,
    ListenStopped,
    PeerIdentified,
)
from peerstack.stack.host import Host

from . import events
from .failure import CommandError
from .host_options import load_host_config, open_any_host
from .options import LISTEN, Json, ListenOptions
from .output import Output
from .peers import connected, identified
from .runner import run

EVERYWHERE = "/ip4/0.0.0.0/tcp/0"
"""Any free port on all interfaces."""
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
"""Any free port that only this machine can reach."""
BACKLOG = 1000
"""Events kept for printing: many peers that connect and disconnect must not fill the memory."""

app = App(
    name="listen",
    usage="Usage: peerstack listen [OPTIONS] [ADDRESS...]",
    help_epilogue="""The host answers ping and identify, and perf if asked to; it runs until Ctrl-C.
By default any peer on the network can connect; listen on 127.0.0.1 to accept
only programs on this machine. The peer id is new each time unless --identity
names a key file. Secure WebSocket needs a web certificate. With --swarm-key
only peers with the same key can connect.

Examples:
  peerstack listen /ip4/127.0.0.1/tcp/4001
  peerstack listen --listen /ip4/0.0.0.0/tcp/4001 --listen /ip6/::/tcp/4001
  peerstack id new --out my.key && peerstack listen --identity my.key --perf
  peerstack listen --listen /ip4/0.0.0.0/tcp/443/tls/ws --cert cert-and-key.pem
  peerstack listen /ip4/0.0.0.0/udp/4001/quic-v1 /unix/tmp/p.sock
  peerstack listen --swarm-key swarm.key
  peerstack listen /ip4/0.0.0.0/tcp/4001 --announce /ip4/203.0.113.7/tcp/4001""",
)

_ADDRESSES = Parameter(help="The same as --listen ADDRESS; may be repeated.", name="ADDRESS", show_default=False)
_LISTEN = Parameter(
    help=f"Listen here; may be repeated; tcp/0 takes a free port. Without any: {EVERYWHERE}.",
    metavar="ADDRESS",
    show_default=False,
)
_PERF = Parameter(help="Let peers measure throughput; this costs bandwidth.", show_default=False)


@app.default
def listen(
    *addresses: Annotated[str, _ADDRESSES],
    listen: Annotated[tuple[str, ...], _LISTEN] = (),
    perf: Annotated[bool, _PERF] = False,
    options: ListenOptions = LISTEN,
    json: Json = False,
) -> int:
    """Wait for peers and show who connects."""
    wanted = (*addresses, *listen) or (EVERYWHERE,)
    return run(partial(_listen, wanted, perf, options), json=json, verbose=options.verbose)


async def _listen(addresses: tuple[str, ...], perf: bool, options: ListenOptions, output: Output) -> int:
    wanted = [parse_address(text) for text in addresses]
    feed = Feed()
    config = load_host_config(options, listen=wanted)
    async with open_any_host(config=config) as host:
        if perf:
            serve = partial(perf_protocol.serve, config=perf_protocol.PerfConfig())
            host.handle(perf_protocol.PROTOCOL, serve, max_streams_per_peer=perf_protocol.MAX_STREAMS_PER_PEER)
        host.observe(feed)
        for address in wanted:
            await bind(host, address)
        host.announce(config.announce)
        output.emit(events.Listening(str(host.peer_id), tuple(map(str, host.addresses)), host.swarm.engines))
        output.hint("Try `peerstack ping` with one of these addresses. Ctrl-C stops it.")
        while True:
            for shown in await feed.next():
                output.emit(shown)


async def bind(host: Host, address: Multiaddr) -> None:
    """Listen on an address. Raises CommandError."""
    try:
        await host.listen(address)
    except MissingExtra as error:
        raise CommandError(str(error)) from error
    except InvalidAddress as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        problems = _NO_SOCKET_FILE if transport_name(address) == "unix" else _NO_PORT
        # The transport names the address already; keep only the text of the system.
        problem = problems.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        raise CommandError(f"cannot listen on {address}: {problem}") from error


_NO_PORT = {
    errno.EADDRINUSE: "the port is in use; choose another one, or 0 for any free port",
    errno.EACCES: "ports below 1024 need privileges; choose a higher one",
    errno.EADDRNOTAVAIL: f"this machine does not have that address; {EVERYWHERE} listens on all that it has",
}
_NO_SOCKET_FILE = {
    errno.EADDRINUSE: "another program listens there, or it is not a socket; choose another path",
    errno.EACCES: "you cannot write to its folder; choose another path",
    errno.ENOENT: "its folder does not exist; make it, or choose another path",
    errno.ENOTDIR: "its folder is a file; choose another path",
}


class Feed:
    """An observer that keeps what happens until it can be printed."""

    def __init__(self, limit: int = BACKLOG) -> None:
        self._limit = limit
        self._waiting: deque[events.OutputEvent] = deque()
        self._dropped = 0
        self._more = trio.Event()

    def notify(self, event: Event) -> None:
        """Keep an event if it is one that is printed and there is room."""
        shown = _to_output(event)
        if shown is None:
            return
        if len(self._waiting) < self._limit:
            self._waiting.append(shown)
        else:
            self._dropped += 1
        self._more.set()

    async def next(self) -> list[events.OutputEvent]:
        """Wait until there are events and return all of them."""
        await self._more.wait()
        self._more = trio.Event()
        found = [*self._waiting, *([events.Dropped(self._dropped)] if self._dropped else [])]
        self._waiting.clear()
        self._dropped = 0
        return found


def _to_output(event: Event) -> events.OutputEvent | None:
    match event:
        case ConnectionOpened(info):
            return connected(info)
        case ConnectionClosed(info, reason):
            return events.Disconnected(str(info.remote_peer), reason)
        case PeerIdentified():
            return identified(event, asked=False)
        case InboundRefused(address, reason):
            return events.Refused(str(address), reason)
        case ListenStopped(address, str(error)):
            return events.Stopped(str(address), error)
        case _:
            return None
