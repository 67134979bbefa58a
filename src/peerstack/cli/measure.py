"""`peerstack ping` and `peerstack perf`: the round-trip time to a peer, and the throughput."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from typing import Annotated

import trio
from cyclopts import App, Parameter
from cyclopts.validators import Number

from peerstack.protocols import perf as perf_protocol
from peerstack.protocols.ping import Pings, pings
from peerstack.stack.errors import DialError, NegotiationError, StreamReset
from peerstack.stack.framing import EndOfMessages

from . import events
from .failure import CommandError
from .options import DIAL, Address, DialOptions, Json, seconds_option, size_option
from .output import Output
from .peers import Reached, open_connection
from .runner import run
from .units import MIB, mib_s, milliseconds

NO_ANSWER = 1
"""Exit code of `ping` when no ping was answered."""

_LOST = (trio.TooSlowError, trio.BrokenResourceError, EndOfMessages, DialError)

ping_app = App(
    name="ping",
    help_epilogue="""Each line is one round trip over the encrypted connection, without the dial.
The exit code is 0 if any ping was answered, 1 if none was, 2 if the peer could
not be reached at all.

Examples:
  peerstack ping /ip4/127.0.0.1/tcp/4001
  peerstack ping /dns4/example.org/tcp/4001/p2p/12D3KooW… --interval 0.2
  peerstack ping /dns4/example.org/tcp/443/tls/ws --ca authority.pem
  peerstack ping /ip4/127.0.0.1/udp/4001/quic-v1 --count 1
  peerstack ping /ip4/127.0.0.1/tcp/4001 --swarm-key swarm.key
  peerstack ping /ip4/127.0.0.1/tcp/4001 --json | tail -1""",
)
perf_app = App(
    name="perf",
    help_epilogue="""The peer must serve it: `peerstack listen --perf`, or any other libp2p program
that has /perf/1.0.0. The upload comes first, then the download, on one stream.

Examples:
  peerstack perf /ip4/127.0.0.1/tcp/4001
  peerstack perf /ip4/127.0.0.1/tcp/4001 --upload 1GB --download 0
  peerstack perf /ip4/127.0.0.1/tcp/4001 --json | tail -1""",
)


# ---- ping


@ping_app.default
def ping(
    address: Address,
    /,
    *,
    count: Annotated[int, Parameter(help="How many to send.", metavar="N", validator=Number(gte=1))] = 4,
    interval: Annotated[float, seconds_option("Time between pings.")] = 1.0,
    timeout: Annotated[float, seconds_option("When a ping counts as lost.")] = 5.0,
    options: DialOptions = DIAL,
    json: Json = False,
) -> int:
    """Measure the round-trip time to a peer."""
    return run(partial(_ping, address, options, count, interval, timeout), json=json, verbose=options.verbose)


async def _ping(address: str, options: DialOptions, count: int, interval: float, timeout: float, output: Output) -> int:
    async with open_connection(address, options, output) as reached:
        summary = await send_pings(reached, output, count=count, interval=interval, timeout=timeout)
        return 0 if summary.received else NO_ANSWER


async def send_pings(
    reached: Reached, output: Output, *, count: int, interval: float, timeout: float
) -> events.PingSummary:
    """Send pings, emit each result and the summary, and return the summary. Raises NegotiationError."""
    times: list[float] = []
    async with AsyncExitStack() as stack:
        current: Pings | None = None
        for seq in range(1, count + 1):
            started = trio.current_time()
            try:
                with trio.fail_after(timeout):
                    if current is None:
                        current = await stack.enter_async_context(pings(reached.host, reached.peer))
                    times.append(milliseconds(await anext(current)))
                output.emit(events.Pong(seq, times[-1]))
            except _LOST as error:
                output.emit(events.Lost(seq, _reason(error, timeout)))
                if current is not None:
                    # Its echo may still come, and must not be taken for that of the next one.
                    current.stream.reset()
                    current = None
            if seq < count:
                await trio.sleep_until(started + interval)
    summary = events.PingSummary(count, len(times), _round_trips(times))
    output.emit(summary)
    return summary


def _reason(error: Exception, timeout: float) -> str:
    return f"no answer within {timeout:g} s" if isinstance(error, trio.TooSlowError) else str(error)


def _round_trips(times: list[float]) -> events.RoundTrips:
    if not times:
        return events.RoundTrips(None, None, None)
    return events.RoundTrips(min(times), round(median(times), 3), max(times))


# ---- perf


@perf_app.default
def perf(
    address: Address,
    /,
    *,
    upload: Annotated[int, size_option("How much to send: bytes, or a size such as 64MiB or 1GB.")] = 64 * MIB,
    download: Annotated[int, size_option("How much to receive.")] = 64 * MIB,
    options: DialOptions = DIAL,
    json: Json = False,
) -> int:
    """Measure how fast bytes move to and from a peer."""
    return run(partial(_perf, address, options, upload, download), json=json, verbose=options.verbose)


async def _perf(address: str, options: DialOptions, upload: int, download: int, output: Output) -> int:
    async with open_connection(address, options, output) as reached:
        output.emit(await transfer(reached, output, upload=upload, download=download))
    return 0


async def transfer(reached: Reached, output: Output, *, upload: int, download: int) -> events.PerfSummary:
    """Move bytes both ways, show the progress, and return the rates. Raises CommandError."""
    with output.progress({"upload": upload, "download": download}) as show:

        def on_progress(sent: int, received: int) -> None:
            # Once bytes come back, all have been sent.
            if received:
                show("download", received)
            else:
                show("upload", sent)

        try:
            result = await perf_protocol.measure(
                reached.host, reached.peer, upload=upload, download=download, on_progress=on_progress
            )
        except NegotiationError as error:
            raise CommandError(
                f"the peer does not serve {perf_protocol.PROTOCOL}; if it is yours, run it as: peerstack listen --perf"
            ) from error
        except StreamReset as error:
            raise CommandError(
                f"the peer ended the transfer ({error}); it may have a limit, so try smaller sizes"
            ) from error
    return events.PerfSummary(
        _transferred(output, "upload", result.upload_bytes, result.upload_seconds),
        _transferred(output, "download", result.download_bytes, result.download_seconds),
    )


def _transferred(output: Output, direction: str, count: int, seconds: float) -> float | None:
    if not count:
        return None
    rate = mib_s(count, seconds)
    output.emit(events.Transfer(direction, count, round(seconds, 6), rate))
    return rate
