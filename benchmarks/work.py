"""The work of each group that two peers do, through the peer contract."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median

import trio

from benchmarks.measures import Sizes
from benchmarks.memory import Memory, memory_of
from interop.layers import PLAIN, Layers
from interop.matrix import Program
from interop.peer import Peer

KEY_TYPE = "ed25519"
PATIENCE_SECONDS = 120.0
FEWEST_DIALS = 5

Values = dict[str, float]


@dataclass(frozen=True)
class Pair:
    """An implementation against itself, in two processes, connected."""

    listener: Peer
    dialer: Peer

    async def move(self, upload: int, download: int, chunk: int) -> float:
        """Move bytes over one stream in one direction, the other being 0; return the seconds."""
        answer = await self.dialer.call(
            "perf", peer=self.listener.peer_id, upload=upload, download=download, chunk=chunk
        )
        return float(answer["upload_seconds" if upload else "download_seconds"])

    async def ping(self, count: int) -> list[float]:
        """Return the times of `count` pings on one stream, in microseconds."""
        return list((await self.dialer.call("ping", peer=self.listener.peer_id, count=count))["rtt_us"])

    async def dial(self, count: int, concurrency: int) -> float:
        """Return the dials per second."""
        address = self.listener.address
        answer = await self.dialer.call("bench_dial", address=address, count=count, concurrency=concurrency)
        return count / float(answer["seconds"])

    async def stream(self, count: int, concurrency: int) -> float:
        """Return the streams per second."""
        peer = self.listener.peer_id
        answer = await self.dialer.call("bench_streams", peer=peer, count=count, concurrency=concurrency)
        return count / float(answer["seconds"])

    async def hold(self, count: int) -> None:
        """Make idle connections. Raises ValueError when some did not stay open."""
        answer = await self.dialer.call("idle_connections", address=self.listener.address, count=count)
        if answer["open"] != count:
            raise ValueError(f"{answer['open']} of {count} connections stayed open")


@asynccontextmanager
async def open_pair(program: Program, layers: Layers = PLAIN) -> AsyncIterator[Pair]:
    """Start two fresh peers and connect them over the given layers."""
    options = [] if layers == PLAIN or not layers.security else ["--security", layers.security]

    def peer(role: str) -> Peer:
        return Peer(
            f"{program.name} ({role})",
            program.argv,
            key_type=KEY_TYPE,
            listen=layers.listen,
            options=options,
            patience=PATIENCE_SECONDS,
        )

    async with peer("listener") as listener, peer("dialer") as dialer:
        await dialer.call("connect", address=listener.address)
        yield Pair(listener, dialer)


async def throughput(pair: Pair, sizes: Sizes) -> Values:
    """Download, then upload."""
    for upload, download in ((0, sizes.bytes // 8), (sizes.bytes // 8, 0)):
        await pair.move(upload, download, sizes.chunk)
    return {
        "download": sizes.megabytes / await pair.move(0, sizes.bytes, sizes.chunk),
        "upload": sizes.megabytes / await pair.move(sizes.bytes, 0, sizes.chunk),
    }


def throughput_over(name: str, share: int = 1) -> Callable[[Pair, Sizes], Awaitable[Values]]:
    """Return the work of a group that moves a share of the bytes over other layers."""

    async def work(pair: Pair, sizes: Sizes) -> Values:
        found = await throughput(pair, replace(sizes, bytes=sizes.bytes // share))
        return {f"{name}_{direction}": value for direction, value in found.items()}

    return work


async def ping(pair: Pair, sizes: Sizes) -> Values:
    """Ping often on one stream."""
    await pair.ping(sizes.pings // 10)
    return {"ping": median(await pair.ping(sizes.pings))}


async def dials(pair: Pair, sizes: Sizes) -> Values:
    """Dial one after another, then side by side."""
    rate = await pair.dial(FEWEST_DIALS, 1)
    count = min(sizes.dials, max(FEWEST_DIALS, int(rate * sizes.patience)))
    one_by_one = await pair.dial(count, 1)
    await pair.dial(sizes.dials_at_once, sizes.dials_at_once)
    return {"dials": one_by_one, "dials50": await pair.dial(sizes.dials_at_once_count, sizes.dials_at_once)}


async def streams(pair: Pair, sizes: Sizes) -> Values:
    """Open streams one after another, then side by side."""
    await pair.stream(sizes.streams // 5, 1)
    one_by_one = await pair.stream(sizes.streams, 1)
    await pair.stream(sizes.streams_at_once, sizes.streams_at_once)
    return {"streams": one_by_one, "streams100": await pair.stream(sizes.streams_at_once_count, sizes.streams_at_once)}


async def memory(pair: Pair, sizes: Sizes) -> Values:
    """Hold idle connections and look at both processes before and after."""
    await pair.hold(sizes.warm_up_idle)
    before = await _memory_of_both(pair, sizes.settle)
    await pair.hold(sizes.idle)
    after = await _memory_of_both(pair, sizes.settle)
    listener, dialer = ((then - now) / sizes.idle for now, then in zip(before, after, strict=True))
    return {"listener_rss": listener.rss, "listener_pss": listener.pss, "dialer_rss": dialer.rss}


async def _memory_of_both(pair: Pair, settle: float) -> tuple[Memory, Memory]:
    await trio.sleep(settle)  # identify and what else follows a connection
    return memory_of(pair.listener.pid), memory_of(pair.dialer.pid)


LAYERS: Mapping[str, Layers] = {
    "tls": Layers(security="tls"),
    "ws": Layers(transport="ws"),
    "quic": Layers(transport="quic-v1", security="", muxer=""),
}
"""What the pairs of a group are connected over, where it is not TCP, Noise and yamux."""
WORK: Mapping[str, Callable[[Pair, Sizes], Awaitable[Values]]] = {
    "throughput": throughput,
    "tls": throughput_over("tls"),
    "ws": throughput_over("ws"),
    "quic": throughput_over("quic", share=8),
    "ping": ping,
    "dials": dials,
    "streams": streams,
    "memory": memory,
}
