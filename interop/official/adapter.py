"""Lets a peer program of our own contract (`../CONTRACT.md`) play a role of the transport contract.

It is not the program that the foreign implementation brings for that contract: it starts the peer that we made with
it, and speaks to Redis in its place. It shows that the foreign stack and ours ping each other by way of the contract.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from time import perf_counter

import trio

from interop.official.boxes import ping_yaml
from interop.official.resp import RedisError, open_redis
from interop.official.settings import NATIVE, Settings
from interop.official.settings import Unsupported as NotInContract
from interop.official.transport import log
from interop.peer import Peer, PeerError, Unsupported
from peerstack.stack.addressing import components, parse_address
from peerstack.stack.errors import InvalidAddress

IMPOSSIBLE = 3
"""Exit code where the peer says that it has no such transport, secure channel or muxer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the role that the environment names; return 1 if that failed, IMPOSSIBLE if it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m interop.official.adapter", description=__doc__)
    parser.add_argument("name", help="what the peer is called")
    parser.add_argument("argv", nargs="+", help="how the peer is started")
    parser.add_argument("contract", choices=["transport"])
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(trio.run(_run, options.name, options.argv, Settings.of(os.environ)))
    except Unsupported as error:
        log(str(error))
        return IMPOSSIBLE
    except (NotInContract, PeerError, RedisError, InvalidAddress, OSError, trio.TooSlowError) as error:
        log(f"{type(error).__name__}: {error}")
        return 1
    return 0


async def _run(name: str, argv: Sequence[str], settings: Settings) -> str:
    with trio.fail_after(settings.patience):
        async with Peer(name, argv, key_type="ed25519", options=_options(settings)) as peer:
            if settings.dialer:
                return await _dial(peer, settings)
            await _listen(peer, settings)
    return ""


def _options(settings: Settings) -> list[str]:
    """Return the options for what the test names; besides, every peer listens on TCP."""
    options = [] if settings.transport == "tcp" else ["--listen", settings.address]
    if settings.transport not in NATIVE:
        options += ["--security", settings.security or "", "--muxer", settings.muxer or ""]
    return options


async def _listen(peer: Peer, settings: Settings) -> None:
    address = next(address for address in peer.addresses if _carried_by(address) == settings.transport)
    async with open_redis(settings.redis) as redis:
        await redis.delete(settings.key)
        await redis.push(settings.key, address)
    await trio.sleep_forever()


def _carried_by(address: str) -> str:
    names = [component.name for component in components(parse_address(address)) if component.name != "p2p"]
    return names[-1]


async def _dial(peer: Peer, settings: Settings) -> str:
    async with open_redis(settings.redis) as redis:
        address = await redis.pop(settings.key)
    begun = perf_counter()
    connected = await peer.call("connect", address=address)
    pinged = await peer.call("ping", peer=connected["peer_id"], count=1)
    # With what the peer needs to read two commands and to answer them.
    return ping_yaml(perf_counter() - begun, pinged["rtt_us"][0] / 1e6)


if __name__ == "__main__":
    sys.exit(main())
