"""The perf contract: uploads, downloads and round trips over `/perf/1.0.0`, each summed up as a box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import trio

from interop.official.boxes import Box, perf_yaml
from interop.official.resp import Redis, open_redis
from interop.official.settings import Settings, Unsupported
from interop.official.transport import announced, log, target
from peerstack.protocols import perf
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

POLL_SECONDS = 0.1
_GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much the dialer moves, and how often."""

    upload_bytes: int = 1 << 30
    download_bytes: int = 1 << 30
    upload_iterations: int = 10
    download_iterations: int = 10
    latency_iterations: int = 100
    duration: int = 20
    """Seconds of an iteration, which the contract passes and, like other programs of it, this one does not use."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; absent, empty and `null` ones mean the default. Raises Unsupported."""
        names = cls.__dataclass_fields__
        given = {name: environment.get(name.upper(), "") for name in names}
        return cls(**{name: _count(name, text) for name, text in given.items() if text not in ("", "null")})


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or (name.endswith("iterations") and not int(text)):
        raise Unsupported(f"{name.upper()} is {text!r}, no number that can be used")
    return int(text)


async def run(settings: Settings, load: Load) -> str:
    """Play one role; return what goes to standard output."""
    if settings.dialer:
        return await _dial(settings, load)
    await _listen(settings)
    return ""


async def _listen(settings: Settings) -> None:
    async with settings.open_host() as host:
        host.handle(perf.PROTOCOL, partial(perf.serve, config=perf.PerfConfig()), max_streams_per_peer=1)
        address = announced(await host.listen(settings.address))
        async with open_redis(settings.redis) as redis:
            await redis.set(settings.key, str(address))
        log(f"listening on {address}")
        await trio.sleep_forever()


async def _dial(settings: Settings, load: Load) -> str:
    with trio.fail_after(settings.patience):
        async with open_redis(settings.redis) as redis:
            text = await _poll(redis, settings.key)
    log(f"dialing {text}")
    address, peer = target(text)
    async with settings.open_host() as host:
        await host.swarm.dial(peer, [address])
        return await _measure(host, peer, load)


async def _poll(redis: Redis, key: str) -> str:
    while (text := await redis.get(key)) is None:  # noqa: ASYNC110 - what it waits for is in another process
        await trio.sleep(POLL_SECONDS)
    return text


async def _measure(host: Host, peer: PeerId, load: Load) -> str:
    uploads = [await _gbps(host, peer, upload=load.upload_bytes) for _ in range(load.upload_iterations)]
    downloads = [await _gbps(host, peer, download=load.download_bytes) for _ in range(load.download_iterations)]
    latencies = [1000 * await _seconds(host, peer, upload=1, download=1) for _ in range(load.latency_iterations)]
    return "\n".join(
        (
            perf_yaml("upload", Box.of(uploads), unit="Gbps", digits=2),
            perf_yaml("download", Box.of(downloads), unit="Gbps", digits=2),
            perf_yaml("latency", Box.of(latencies), unit="ms", digits=3),
        )
    )


async def _gbps(host: Host, peer: PeerId, *, upload: int = 0, download: int = 0) -> float:
    seconds = await _seconds(host, peer, upload=upload, download=download)
    return (upload + download) * 8 / _GIGA / seconds


async def _seconds(host: Host, peer: PeerId, *, upload: int, download: int) -> float:
    """Return how long one exchange took, from the opening of its stream until its end."""
    begun = trio.current_time()
    await perf.measure(host, peer, upload=upload, download=download)
    return trio.current_time() - begun
