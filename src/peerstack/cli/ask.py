"""`peerstack identify` and `peerstack explain`: who a peer is, and why a dial fails."""

from __future__ import annotations

from functools import partial

from cyclopts import App

from peerstack.stack.errors import DialError

from . import events
from .failure import CommandError, add_advice
from .host_options import load_host_config, open_any_host
from .options import DIAL, Address, DialOptions, Json
from .output import Output
from .peers import IdentifiedPeers, identified, parse_dialable
from .runner import run

NOT_REACHED = 1
"""Exit code of `explain` when the dial failed."""

identify_app = App(
    name="identify",
    help_epilogue="""Shows the agent and protocols of the peer, its addresses, the address it sees
for us, and whether it signed its addresses.

Examples:
  peerstack identify /ip4/127.0.0.1/tcp/4001
  peerstack identify /dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7… --json""",
)
explain_app = App(
    name="explain",
    help_epilogue="""For each address and each stage of the dial: how long it took, what was expected
and what was found, what went wrong, and what to do about it.
The exit code is 0 if the peer was reached, 1 if not, 2 if the address is invalid.

Examples:
  peerstack explain /ip4/127.0.0.1/tcp/4001
  peerstack explain /dns4/example.org/tcp/443/tls/ws --ca authority.pem
  peerstack explain /dns4/example.org/tcp/4001/p2p/12D3KooW… --json""",
)


@identify_app.default
def identify(address: Address, /, *, options: DialOptions = DIAL, json: Json = False) -> int:
    """Ask a peer who it is and what it serves."""
    return run(partial(_identify, address, options), json=json, verbose=options.verbose)


async def _identify(text: str, options: DialOptions, output: Output) -> int:
    address = parse_dialable(text)
    peers = IdentifiedPeers()
    async with open_any_host(config=load_host_config(options, dial=[address]), observers=[peers]) as host:
        with output.working(f"asking {address}"):
            peer = await host.connect(address)
        if peer not in peers.last:
            raise CommandError(
                f"{peer} can be reached, but does not answer identify; `peerstack explain {text}` shows every stage"
            )
        output.emit(identified(peers.last[peer]))
    return 0


@explain_app.default
def explain(address: Address, /, *, options: DialOptions = DIAL, json: Json = False) -> int:
    """Dial a peer and show every stage, and why it fails if it does."""
    return run(partial(_explain, address, options), json=json, verbose=options.verbose)


async def _explain(text: str, options: DialOptions, output: Output) -> int:
    address = parse_dialable(text)
    async with open_any_host(config=load_host_config(options, dial=[address])) as host:
        try:
            with output.working(f"dialing {address}"):
                peer, report = await host.connect_with_report(address)
        except DialError as error:
            add_advice(error.report)
            output.emit(events.Report(error.report, reached=None))
            return NOT_REACHED
        output.emit(events.Report(report, reached=str(peer)))
    return 0
