"""`peerstack demo`: the main features, over real TCP."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App

from peerstack import open_host
from peerstack.protocols import perf
from peerstack.stack.abc import Stream
from peerstack.stack.addressing import split_peer, with_peer
from peerstack.stack.errors import DialError
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId

from . import events
from .host_options import NO_PRIVATE_DEMO, refuse_if_forced
from .measure import send_pings, transfer
from .options import Json, size_option
from .output import Output
from .peers import IdentifiedPeers, Reached, connected, identified
from .runner import run
from .units import MIB
from .units import size as written_size

SHOUT = "/example/shout/1.0.0"
COMMANDS = (
    "peerstack listen --perf --listen /ip4/127.0.0.1/tcp/4001",
    "peerstack ping /ip4/127.0.0.1/tcp/4001          # in another terminal",
    "peerstack explain /ip4/127.0.0.1/tcp/4002       # where nothing listens",
)


def commands_to_try() -> tuple[str, ...]:
    """Return the commands ready to paste: with their path where the shell would not find `peerstack`."""
    started = Path(sys.argv[0])
    if shutil.which("peerstack") is not None or started.name != "peerstack":
        return COMMANDS
    here = os.path.relpath(started)
    return tuple(command.replace("peerstack", here, 1) for command in COMMANDS)


app = App(
    name="demo",
    help_epilogue="""Two hosts in one process, on TCP ports of this machine only: they authenticate,
identify, ping, use a custom protocol, move 64 MiB, and fail once on purpose
to show how a failure is explained.

Examples:
  peerstack demo
  peerstack demo --size 1GB
  peerstack demo pubsub                             messages arrive although a process is killed""",
)
app.command(
    "peerstack.cli.demo_pubsub:app", name="pubsub", help="Show that messages arrive even when a process is killed."
)


@app.default
def demo(
    *, size: Annotated[int, size_option("How much to transfer, such as 64MiB or 1GB.")] = 64 * MIB, json: Json = False
) -> int:
    """Show the main features over real TCP."""
    return run(partial(_demo, size), json=json)


async def _demo(size: int, output: Output) -> int:
    refuse_if_forced(NO_PRIVATE_DEMO)
    peers = IdentifiedPeers()
    async with (
        open_host(listen=["/ip4/127.0.0.1/tcp/0"], agent="alice") as alice,
        open_host(agent="bob", observers=[peers]) as bob,
    ):
        alice.handle(SHOUT, shout)
        only_bob = perf.PerfConfig(allowed=frozenset({bob.peer_id}), max_upload=size)
        alice.handle(perf.PROTOCOL, partial(perf.serve, config=only_bob), max_streams_per_peer=1)

        output.emit(events.Step(1, "Alice listens"))
        output.emit(events.Listening(str(alice.peer_id), tuple(str(address) for address in alice.addresses)))

        output.emit(events.Step(2, "Bob dials Alice, and each proves its peer id"))
        reached = Reached(bob, await bob.connect(alice.addresses[0]))
        output.emit(connected(bob.connections(reached.peer)[0].info))

        output.emit(events.Step(3, "Bob learns who Alice is (identify)"))
        output.emit(identified(peers.last[reached.peer]))

        output.emit(events.Step(4, "Bob pings Alice"))
        await send_pings(reached, output, count=5, interval=0.0, timeout=5.0)

        output.emit(events.Step(5, "Bob uses a custom protocol with Alice"))
        output.emit(await _shout_at(bob, reached.peer))

        output.emit(events.Step(6, f"Bob sends Alice {written_size(size)}"))
        await transfer(reached, output, upload=size, download=0)

        output.emit(events.Step(7, "Bob dials Alice's address, but expects another peer"))
        output.emit(await _fail(bob, alice))
    output.emit(events.TryNext(commands_to_try()))
    return 0


async def shout(stream: Stream) -> None:
    """Serve the demo's protocol: send everything back in capital letters."""
    async for chunk in stream:
        await stream.send_all(bytes(chunk).upper())


async def _shout_at(host: Host, peer: PeerId) -> events.Exchanged:
    said = b"hello, alice"
    async with await host.open_stream(peer, SHOUT) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        echoed = b"".join([bytes(chunk) async for chunk in stream])
    return events.Exchanged(SHOUT, said.decode(), echoed.decode())


async def _fail(bob: Host, alice: Host) -> events.Report:
    """Dial a peer where another one is, and return the report."""
    other_peer = Identity.generate().peer_id
    where, _ = split_peer(alice.addresses[0])
    try:
        await bob.connect(with_peer(where, other_peer))
    except DialError as error:
        return events.Report(error.report, reached=None)
    raise AssertionError("Alice has proved an id that is not hers")
