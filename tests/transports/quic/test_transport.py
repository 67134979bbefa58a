"""The QUIC transport: which addresses it takes, which socket it dials from, and whole hosts on it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from peerstack import open_host
from peerstack.protocols import perf
from peerstack.protocols.ping import ping
from peerstack.protocols.pubsub import open_pubsub
from peerstack.stack.addressing import parse_address
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.transports.quic import QuicConfig, QuicTransport

from .hosts import ANYWHERE, attempt, join


@pytest.mark.parametrize(
    ("address", "dial", "listen"),
    [
        ("/ip4/127.0.0.1/udp/4001/quic-v1", True, True),
        ("/ip4/127.0.0.1/udp/0/quic-v1", False, True),
        ("/ip6/::1/udp/4001/quic-v1", True, True),
        ("/ip6zone/lo/ip6/fe80::1/udp/4001/quic-v1", True, True),
        ("/ip6zone/nowhere/ip6/fe80::1/udp/4001/quic-v1", False, False),
        ("/dns4/example.com/udp/4001/quic-v1", False, False),
        ("/ip4/127.0.0.1/udp/4001/quic", False, False),
        ("/ip4/127.0.0.1/udp/4001/quic-v1/webtransport", False, False),
        ("/ip4/127.0.0.1/tcp/4001", False, False),
        ("/ip4/127.0.0.1/udp/4001", False, False),
    ],
)
def test_it_takes_quic_with_known_addresses(address: str, dial: bool, listen: bool) -> None:
    transport = QuicTransport(Identity.generate())
    assert transport.can_dial(parse_address(address)) is dial
    assert transport.can_listen(parse_address(address)) is listen


def test_it_says_whom_it_proves_to_be() -> None:
    identity = Identity.generate()
    assert QuicTransport(identity).local_peer == identity.peer_id


async def test_other_addresses_are_invalid() -> None:
    transport = QuicTransport(Identity.generate())
    for address in ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1"):
        with pytest.raises(InvalidAddress, match="is not a QUIC address"):
            await transport.listen(parse_address(address))
        with pytest.raises(InvalidAddress, match="is not a QUIC address"):
            await transport.dial(parse_address(address), None, attempt())


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1"])
async def test_dials_leave_from_where_it_listens(address: str) -> None:
    dialer, server = QuicTransport(Identity.generate()), QuicTransport(Identity.generate())
    async with await dialer.listen(parse_address(address)) as own:
        async with await server.listen(parse_address(address)) as listener:
            near, far = await join(dialer, listener)
            assert near.info.local_address == own.address == far.info.remote_address
            assert near.info.remote_address == listener.address == far.info.local_address
            await near.aclose()
            await far.aclose()


async def test_a_listener_on_loopback_is_not_left_for_the_internet_nor_for_another_family() -> None:
    transport = QuicTransport(Identity.generate())
    async with await transport.listen(ANYWHERE):
        bound = [transport._endpoint_for(target) for target in (("192.0.2.1", 1), ("::1", 1, 0, 0))]
        assert transport._endpoint_for(("127.0.0.1", 1)).listening
        assert [endpoint.listening for endpoint in bound] == [False, False]
        for endpoint in bound:
            endpoint.stop_listening()


async def test_dials_without_a_listener_share_one_socket() -> None:
    dialer, server = QuicTransport(Identity.generate()), QuicTransport(Identity.generate())
    async with await server.listen(ANYWHERE) as listener:
        pairs = [await join(dialer, listener) for _ in range(3)]
        assert len({near.info.local_address for near, _ in pairs}) == 1
        for pair in pairs:
            for connection in pair:
                await connection.aclose()
    assert all(endpoint._socket._shared.socket._socket.fileno() == -1 for endpoint in dialer._endpoints)  # type: ignore[attr-defined]


async def test_a_wildcard_listener_knows_which_address_a_peer_reached() -> None:
    dialer, server = QuicTransport(Identity.generate()), QuicTransport(Identity.generate())
    async with await server.listen(parse_address("/ip4/0.0.0.0/udp/0/quic-v1")) as listener:
        port = listener.address.value_for_protocol("udp")
        listener.addresses = (parse_address(f"/ip4/127.0.0.1/udp/{port}/quic-v1"),)
        near, far = await join(dialer, listener)
        assert far.info.local_address == listener.address
        await near.aclose()
        await far.aclose()


async def test_whole_hosts_speak_over_quic() -> None:
    async with quic_host() as alice, quic_host() as bob:
        with trio.fail_after(20):
            peer = await bob.connect(*alice.addresses)
            assert [connection.info.muxer for connection in bob.connections(peer)] == ["quic"]
            assert 0 <= await ping(bob, peer) < 20
            assert "/ipfs/ping/1.0.0" in bob.peerstore.protocols(peer)
            alice.handle(perf.PROTOCOL, lambda stream: perf.serve(stream, perf.PerfConfig()))
            result = await perf.measure(bob, peer, upload=100_000, download=100_000)
            assert result.download_bytes == 100_000


async def test_messages_are_published_over_quic() -> None:
    async with quic_host() as alice, quic_host() as bob, open_pubsub(alice) as here, open_pubsub(bob) as there:
        with trio.fail_after(20):
            async with here.join("lobby") as talking, there.join("lobby") as listening:
                await bob.connect(*alice.addresses)
                while not talking.peers:
                    await trio.lowlevel.checkpoint()
                await talking.publish(b"hello")
                async for message in listening:
                    assert message.data == b"hello"
                    break


def quic_host() -> AbstractAsyncContextManager[Host]:
    identity = Identity.generate()
    return open_host(
        listen=[str(ANYWHERE)], identity=identity, native_transports=[QuicTransport(identity)], transports=[]
    )


def test_without_its_extra_the_transport_says_what_to_install() -> None:
    missing = "sys.modules['aioquic'] = sys.modules['peerstack_engine'] = None"
    program = f"import sys; {missing}; import peerstack.transports.quic"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: QUIC needs the extra `quic`: pip install '.[quic]'" in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"idle_timeout": 0},
        {"datagram_size": 1199},
        {"datagram_size": 1500},
        {"loopback_datagram_size": 17_000},
        {"keepalive_interval": 40.0},
        {"stream_window": 20_000_000},
        {"connection_window": 20_000_000},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        QuicConfig(**wrong)  # type: ignore[arg-type]  # sizes and times
