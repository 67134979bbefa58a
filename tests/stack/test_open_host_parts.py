"""What open_host is given: wrong parts are refused in one line, and left out they are all that is installed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host, ping
from peerstack.protocols.pubsub import open_pubsub
from peerstack.stack.errors import DialError, InvalidAddress, InvalidInput
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.limits import Limits
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.plaintext import InsecurePlaintext
from peerstack.stack.security.tls import Tls
from peerstack.stack.swarm import SwarmConfig, TrimConfig
from peerstack.stack.testing import SimulatedNetwork
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.quic import QuicTransport
from peerstack.transports.tcp import TcpTransport

Clock = trio.testing.MockClock
US, OTHER = Identity.generate(), Identity.generate()


async def refused(kind: type[BaseException] | tuple[type[BaseException], ...], **settings: Any) -> str:
    """Return the line with which open_host refuses these settings."""
    with pytest.raises(kind) as caught:
        async with open_host(**settings):
            pass
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"identity": "my.key"}, "must be of type Identity (such as Identity.load(path) returns), not str"),
        ({"identity": US.peer_id}, "not PeerId"),
        ({"identity": Identity}, "not the class Identity"),
        ({"limits": {"connections": 5}}, "limits must be of type Limits, not dict"),
        ({"limits": Limits}, "limits must be of type Limits, not the class Limits"),
        ({"trim": 5}, "trim must be of type TrimConfig, not int"),
        ({"swarm": TrimConfig()}, "swarm must be of type SwarmConfig, not TrimConfig"),
        ({"resolver": "1.1.1.1"}, "resolver: str has no method resolve"),
        ({"gater": print}, "has no method allow_dial and no allow_accept and no allow_connection"),
        ({"private_network": "swarm.key"}, "private_network: str has no method protect"),
        ({"agent": 5}, "agent is text"),
        ({"agent": b"x"}, "agent is text"),
        ({"transports": TcpTransport()}, "transports is a list, even of one: not TcpTransport"),
        ({"transports": TcpTransport}, "transports is a list, even of one: not the class TcpTransport"),
        (
            {"transports": [TcpTransport]},
            "TcpTransport is a class; give an object made of it, such as TcpTransport(...)",
        ),
        ({"transports": ["tcp"]}, "transports: str has no method can_dial"),
        ({"transports": "tcp"}, "transports is a list"),
        ({"transports": [QuicTransport(US)]}, "QuicTransport brings its own security and muxer; give it as native_"),
        ({"native_transports": QuicTransport(US)}, "native_transports is a list"),
        ({"native_transports": [QuicTransport]}, "QuicTransport is a class; give an object"),
        ({"native_transports": [TcpTransport()]}, "TcpTransport carries plain bytes; give it as transports="),
        ({"security": Noise(US)}, "security is a list"),
        ({"security": [Noise]}, "Noise is a class"),
        ({"security": [Yamux()]}, "security: Yamux has no method secure"),
        ({"security": ["/noise"]}, "security: str has no method secure"),
        ({"muxers": Yamux()}, "muxers is a list"),
        ({"muxers": [Yamux]}, "Yamux is a class"),
        ({"muxers": [Noise(US)]}, "muxers: Noise has no method mux"),
        ({"listen": 5}, "addresses are a list of text such as"),
        ({"listen": [5]}, "an address is text such as"),
        ({"listen": b"/memory/1"}, "addresses are a list of text such as"),
        ({"observers": 5}, "observers is a list"),
    ],
)
async def test_what_is_no_such_part_is_refused(settings: dict[str, Any], line: str, autojump_clock: Clock) -> None:
    assert line in await refused(TypeError, **settings)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"security": []}, "security is empty"),
        ({"muxers": []}, "muxers is empty"),
        ({"listen": "nonsense"}, "multiaddr"),
        ({"listen": ["/"]}, "empty"),
        ({"listen": f"/ip4/127.0.0.1/tcp/0/p2p/{OTHER.peer_id}"}, "is an address of another peer than"),
        ({"agent": "x" * 129}, "at most 128 printable characters"),
        ({"agent": "a\nb"}, "at most 128 printable characters"),
        ({"agent": "\udcff"}, "at most 128 printable characters"),
    ],
)
async def test_a_value_that_cannot_be_is_refused(settings: dict[str, Any], line: str, autojump_clock: Clock) -> None:
    assert line in await refused(InvalidInput, **settings)


@pytest.mark.parametrize(
    "parts",
    [
        {"security": [Noise(OTHER)]},
        {"security": [Noise(US), Tls(OTHER)]},
        {"security": [InsecurePlaintext(OTHER, for_tests_only=True)]},
        {"native_transports": [QuicTransport(OTHER)]},
    ],
)
@pytest.mark.parametrize("identity", [US, None])
async def test_parts_of_another_identity_are_refused(
    parts: dict[str, Any], identity: Identity | None, autojump_clock: Clock
) -> None:
    line = await refused(InvalidInput, identity=identity, **parts)
    assert "was made for peer" in line
    assert "give both the same, open_host(identity=identity, ...)" in line


async def test_parts_of_the_same_identity_are_taken(autojump_clock: Clock) -> None:
    parts: dict[str, Any] = {"security": (item(US) for item in (Noise, Tls)), "native_transports": [QuicTransport(US)]}
    async with open_host(identity=US, swarm=SwarmConfig(), **parts) as host:
        assert host.peer_id == US.peer_id


async def test_one_address_may_be_listened_on_without_a_list(autojump_clock: Clock) -> None:
    transports = [MemoryTransport(MemoryNetwork())]
    for address in ("/memory/7", Multiaddr("/memory/7")):
        async with open_host(listen=address, transports=transports) as host:
            assert host.announced_addresses == [Multiaddr("/memory/7")]


# ---- what is installed


@pytest.mark.parametrize("end", ["tcp/0", "tcp/0/ws", "udp/0/quic-v1", "unix"])
async def test_a_host_speaks_what_is_installed(end: str, tmp_path: Path) -> None:
    address = f"/unix{tmp_path}/app.sock" if end == "unix" else f"/ip4/127.0.0.1/{end}"
    async with open_host(listen=address) as alice, open_host() as bob:
        peer = await bob.connect(alice.addresses)
        assert await ping(bob, peer) >= 0


async def test_a_peer_that_speaks_tls_only_is_understood() -> None:
    async with open_host(listen="/ip4/127.0.0.1/tcp/0", identity=US, security=[Tls(US)]) as alice, open_host() as bob:
        await bob.connect(alice.addresses)
        assert bob.connections(alice.peer_id)[0].info.security == "/tls/1.0.0"


async def test_who_names_transports_has_no_others(tmp_path: Path) -> None:
    async with open_host(transports=[TcpTransport()]) as host:
        for address, takes in (
            (
                "/ip4/127.0.0.1/udp/0/quic-v1",
                "it takes QuicTransport(identity) in native_transports=, of the extra",
            ),
            ("/ip4/127.0.0.1/tcp/0/ws", "it takes WebSocketTransport(TcpTransport()) in transports=, of the extra"),
            (f"/unix{tmp_path}/app.sock", "it takes UnixTransport() in transports="),
        ):
            with pytest.raises(InvalidAddress) as caught:
                await host.listen(address)
            assert f"no transport of this host can listen on {address}; {takes}" in str(caught.value)
        with pytest.raises(DialError, match="it takes QuicTransport"):
            await host.connect("/ip4/127.0.0.1/udp/1/quic-v1")


async def test_the_windows_of_quic_grow_within_the_limits_of_the_host() -> None:
    limits = Limits(receive_windows=1, receive_windows_per_connection=1)
    async with open_host(listen="/ip4/127.0.0.1/udp/0/quic-v1", limits=limits) as host:
        address = host.swarm.listen_addresses[0]
        [transport] = [item for item in host.swarm._transports if item.can_listen(address)]
        real = transport.real  # type: ignore[attr-defined]
        assert real._settings.budget is host.swarm.scopes.windows


def run(program: str) -> str:
    ran = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_no_library_of_an_extra_is_loaded_before_it_is_needed() -> None:
    program = """
import sys, trio
from peerstack import open_host, ping
async def main():
    async with open_host(listen="/ip4/127.0.0.1/tcp/0") as alice, open_host() as bob:
        await ping(bob, await bob.connect(alice.addresses))
        print(*{'aioquic', 'websockets', 'OpenSSL'} & set(sys.modules))
trio.run(main)
"""
    assert run(program) == ""


@pytest.mark.parametrize(
    ("module", "extra", "address"),
    [("aioquic", "quic", "/ip4/127.0.0.1/udp/1/quic-v1"), ("websockets", "websocket", "/ip4/127.0.0.1/tcp/1/ws")],
)
def test_a_missing_extra_is_named_for_each_address_that_needs_it(module: str, extra: str, address: str) -> None:
    program = f"""
import sys, trio
sys.modules[{module!r}] = None
from peerstack import DialError, InvalidAddress, open_host
async def main():
    async with open_host() as host:
        for call in (host.listen, host.connect, host.connect):
            try:
                await call({address!r})
            except (InvalidAddress, DialError) as error:
                print(error)
trio.run(main)
"""
    lines = run(program).splitlines()
    assert len(lines) == 3
    assert all(f"needs the extra `{extra}`: pip install '.[{extra}]'" in line for line in lines)


def test_without_tls_a_host_offers_noise() -> None:
    program = """
import sys, trio
sys.modules['OpenSSL'] = None
from peerstack import open_host
from peerstack.stack.identity import Identity
from peerstack._defaults import default_security
print(*[item.protocol_id for item in default_security(Identity.generate())])
"""
    assert run(program) == "/noise"


# ---- other loops


def test_under_asyncio_the_first_call_says_what_to_do() -> None:
    async def main(manager: Any) -> None:
        async with manager:
            pass

    host: Any = None
    for manager in (open_host(), open_host(listen="/ip4/127.0.0.1/tcp/0"), open_pubsub(host), SimulatedNetwork(1)):
        with pytest.raises(RuntimeError, match=r"works in tasks of trio.*start with trio\.run\(main\)") as caught:
            asyncio.run(main(manager))
        assert "\n" not in str(caught.value)


def test_trio_runs_inside_a_cell_of_a_notebook() -> None:
    async def main() -> str:
        async with open_host(transports=[MemoryTransport(MemoryNetwork())]) as host:
            return str(host.peer_id)

    async def cell() -> str:
        return trio.run(main)

    assert asyncio.run(cell()).startswith("12D3")


# ---- what they look like


async def test_what_a_host_looks_like(autojump_clock: Clock) -> None:
    transports = [MemoryTransport(MemoryNetwork())]
    async with open_host(listen="/memory/7", transports=transports) as alice, open_host(transports=transports) as bob:
        await bob.connect(alice.addresses)
        assert repr(alice) == f"<Host {alice.peer_id}, 1 listeners, 1 peers>"
    assert isinstance(alice, Host)


async def test_a_transport_that_passes_any_arguments_on_is_taken_as_either_kind(autojump_clock: Clock) -> None:
    class Traced:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def dial(self, *arguments: Any) -> Any:
            return await self._inner.dial(*arguments)  # type: ignore[attr-defined]

    streams: Any = [Traced(MemoryTransport(MemoryNetwork()))]
    native: Any = [Traced(QuicTransport(US))]
    async with open_host(identity=US, transports=streams, native_transports=native) as host:
        assert host.peer_id == US.peer_id
