"""The work of each group that two peers do, through the peer contract."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import trio

from benchmarks.measures import Sizes
from benchmarks.memory import Memory, memory_of
from interop.layers import PLAIN, Certificates, Layers
from interop.matrix import Program
from interop.peer import Peer

KEY_TYPE = "ed25519"
PATIENCE_SECONDS = 120.0
FEWEST_DIALS = 5
MIB = 1 << 20
WARM_UP = 8
"""What share of the bytes of a transfer is moved before it."""

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
    with TemporaryDirectory(prefix="peerstack-bench-") as folder:
        # The ceilings, which run over the plain layers only, know no options.
        options = [] if layers == PLAIN else layers.options(Certificates.make(Path(folder)))

        def peer(role: str) -> Peer:
            return Peer(
                f"{program.name} ({role})",
                program.argv,
                key_type=KEY_TYPE,
                listen=layers.listen(Path(folder)),
                options=options,
                patience=PATIENCE_SECONDS,
            )

        async with peer("listener") as listener, peer("dialer") as dialer:
            await dialer.call("connect", address=listener.address)
            yield Pair(listener, dialer)


async def download(pair: Pair, sizes: Sizes) -> float:
    """Return the MiB/s of one stream from the listener."""
    return await _throughput(lambda total: pair.move(0, total, sizes.chunk), sizes)


async def upload(pair: Pair, sizes: Sizes) -> float:
    """Return the MiB/s of one stream to the listener."""
    return await _throughput(lambda total: pair.move(total, 0, sizes.chunk), sizes)


async def _throughput(move: Callable[[int], Awaitable[float]], sizes: Sizes) -> float:
    total = bytes_to_move(sizes, await move(sizes.bytes // WARM_UP))
    return total / await move(total) / MIB


def bytes_to_move(sizes: Sizes, seconds: float) -> int:
    """Return how many bytes to move after a warm-up of so many seconds: fewer where they would take too long."""
    affordable = int(sizes.bytes // WARM_UP / seconds * sizes.patience)
    return max(sizes.bytes // WARM_UP, min(sizes.bytes, affordable - affordable % sizes.chunk))


async def ping(pair: Pair, sizes: Sizes) -> Values:
    """Ping often on one stream."""
    await pair.ping(sizes.pings // 10)
    return {"ping": median(await pair.ping(sizes.pings))}


async def dials(pair: Pair, sizes: Sizes) -> Values:
    """Dial one after another, then side by side."""
    at_once = sizes.dials_at_once
    few, all_of_them = await pair.dial(FEWEST_DIALS, 1), await pair.dial(at_once, at_once)
    return {
        "dials": await pair.dial(affordable(sizes, few, FEWEST_DIALS, sizes.dials), 1),
        "dials50": await pair.dial(affordable(sizes, all_of_them, at_once, sizes.dials_at_once_count), at_once),
    }


async def streams(pair: Pair, sizes: Sizes) -> Values:
    """Open streams one after another, then side by side."""
    some, at_once = sizes.streams // 10, sizes.streams_at_once
    one_by_one, side_by_side = await pair.stream(some, 1), await pair.stream(at_once, at_once)
    return {
        "streams": await pair.stream(affordable(sizes, one_by_one, some, sizes.streams), 1),
        "streams100": await pair.stream(affordable(sizes, side_by_side, at_once, sizes.streams_at_once_count), at_once),
    }


def affordable(sizes: Sizes, rate: float, least: int, most: int) -> int:
    """Return how many fit into the time at so many a second, within bounds."""
    return max(least, min(most, int(rate * sizes.patience)))


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


@dataclass(frozen=True)
class Part:
    """What is measured by itself, so that its failure costs no other number of its group."""

    name: str
    """What it is called beside the group it belongs to; empty where it is all of it."""
    measures: Sequence[str]
    work: Callable[[Pair, Sizes], Awaitable[Values]]


def _moving(prefix: str, *, share: int) -> Sequence[Part]:
    """Return the parts of a group of throughput, which moves a share of the bytes."""

    def part(direction: Callable[[Pair, Sizes], Awaitable[float]]) -> Part:
        name = direction.__name__
        key = prefix + name

        async def work(pair: Pair, sizes: Sizes) -> Values:
            return {key: await direction(pair, replace(sizes, bytes=sizes.bytes // share))}

        return Part(name, (key,), work)

    return part(download), part(upload)


LAYERS: Mapping[str, Layers] = {
    "tls": Layers(security="tls"),
    "ws": Layers(transport="ws"),
    "wss": Layers(transport="wss"),
    "quic": Layers(transport="quic-v1", security="", muxer=""),
}
"""What the pairs of a group are connected over, where it is not TCP, Noise and yamux."""
WORK: Mapping[str, Sequence[Part]] = {
    "throughput": _moving("", share=1),
    "tls": _moving("tls_", share=2),
    "ws": _moving("ws_", share=2),
    "wss": _moving("wss_", share=2),
    "quic": _moving("quic_", share=8),
    "ping": (Part("", ("ping",), ping),),
    "dials": (Part("", ("dials", "dials50"), dials),),
    "streams": (Part("", ("streams", "streams100"), streams),),
    "memory": (Part("", ("listener_rss", "listener_pss", "dialer_rss"), memory),),
}
