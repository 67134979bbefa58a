"""The transport contract: the listener publishes its address through Redis, the dialer connects and pings once."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import trio
from multiaddr import Multiaddr

from interop.official.boxes import ping_json, ping_yaml
from interop.official.resp import open_redis
from interop.official.settings import Settings
from peerstack.protocols.ping import pings
from peerstack.stack.addressing import components, parse_address, split_peer
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId


async def run(settings: Settings) -> str:
    """Play one role; return what goes to standard output. Raises TooSlowError when the test's time is over."""
    with trio.fail_after(settings.patience):
        if settings.dialer:
            return await _dial(settings)
        await _listen(settings)
    return ""


async def _listen(settings: Settings) -> None:
    async with settings.open_host() as host:
        address = announced(await host.listen(settings.address))
        async with open_redis(settings.redis) as redis:
            await redis.delete(settings.key)
            await redis.push(settings.key, str(address))
        log(f"listening on {address}")
        await trio.sleep_forever()


async def _dial(settings: Settings) -> str:
    async with open_redis(settings.redis) as redis:
        text = await redis.pop(settings.key)
    log(f"dialing {text}")
    address, peer = target(text)
    async with settings.open_host() as host:
        handshake_plus_one_rtt, ping_rtt = await _time(host, address, peer)
    return (ping_json if settings.legacy else ping_yaml)(handshake_plus_one_rtt, ping_rtt)


async def _time(host: Host, address: Multiaddr, peer: PeerId) -> tuple[float, float]:
    """Return the seconds from before the dial until the first pong, and those of that ping alone."""
    begun = trio.current_time()
    # By the swarm: `Host.connect` waits for identify too, which is no part of what is measured.
    await host.swarm.dial(peer, [address])
    async with pings(host, peer) as times:
        ping_rtt = await anext(times)
        return trio.current_time() - begun, ping_rtt


def announced(addresses: Iterable[Multiaddr]) -> Multiaddr:
    """Choose what the dialer is told: it runs on another machine, so the first address that is not loopback."""
    found = list(addresses)
    return next((address for address in found if not _is_loopback(address)), found[0])


def _is_loopback(address: Multiaddr) -> bool:
    first = components(address)[0]
    return (first.value or "").startswith("127.") or first.value == "::1"


def target(text: str) -> tuple[Multiaddr, PeerId]:
    """Take a published address apart. Raises InvalidAddress."""
    address, peer = split_peer(parse_address(text))
    if peer is None:
        raise InvalidAddress(f"{text} names no peer")
    return address, peer


def log(line: str) -> None:
    """Say something where the harness does not look for results."""
    print(line, file=sys.stderr, flush=True)
