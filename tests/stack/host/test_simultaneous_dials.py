"""Two hosts dial one another at once, one as the client and one as the server: a hole punch without a NAT."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import DialOptions, Direction, Muxer, Secured, Security, Stream
from peerstack.stack.errors import DialError
from peerstack.stack.events import ConnectionOpened
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.report import Outcome, StageName
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.pnet import PreSharedKey
from peerstack.stack.security.tls import Tls
from peerstack.stack.swarm import Connection
from peerstack.stack.testing import RecordingObserver

from ..crossing import Crossing, CrossingTransport

Clock = trio.testing.MockClock
ALICE, BOB = Identity.generate(), Identity.generate()
WHO = "/who/1"
CLIENT = DialOptions(from_listener=True, at_once=True)
SERVER = DialOptions(direction=Direction.INBOUND, from_listener=True, at_once=True)


class Late:
    """A security protocol that leaves the muxer to be negotiated afterwards."""

    def __init__(self, inner: Security) -> None:
        self.protocol_id = inner.protocol_id
        self._inner = inner

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        return await self._inner.secure(stream, initiator=initiator, expect=expect, muxers=())


@asynccontextmanager
async def hosts(
    security: Callable[[Identity], Security] = Noise,
    muxer: Callable[[], Muxer] = Yamux,
    private_network: PreSharedKey | None = None,
    observer: RecordingObserver | None = None,
) -> AsyncIterator[tuple[Host, Host, list[CrossingTransport]]]:
    network = Crossing()
    transports = [CrossingTransport(network, number) for number in (1, 2)]
    open_one = partial(open_host, muxers=[muxer()], private_network=private_network)
    async with (
        open_one(identity=ALICE, transports=transports[:1], security=[security(ALICE)]) as alice,
        open_one(
            identity=BOB,
            transports=transports[1:],
            security=[security(BOB)],
            observers=[] if observer is None else [observer],
        ) as bob,
    ):
        yield alice, bob, transports


async def both(
    alice: Host, bob: Host, transports: Sequence[CrossingTransport], *, late: str = ""
) -> tuple[Connection, Connection]:
    """Dial from both sides: Alice as the client, Bob as the server; one of them later than the other."""
    found: dict[str, Connection] = {}

    async def dial(name: str, host: Host, peer: PeerId, address: Multiaddr, options: DialOptions) -> None:
        if name == late:
            await trio.sleep(0.2)
        found[name], report = await host.swarm.dial(peer, [address], direct=True, options=options)
        assert [stage.outcome for stage in report.attempts[0].stages] == [Outcome.OK] * 4

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, "alice", alice, bob.peer_id, transports[1].address, CLIENT)
        nursery.start_soon(dial, "bob", bob, alice.peer_id, transports[0].address, SERVER)
    return found["alice"], found["bob"]


async def check_streams(host: Host, other: Host) -> None:
    """Open streams from one side, several at once; the other says who it thinks is there."""

    async def who(stream: Stream) -> None:
        await stream.send_all(str(stream.remote_peer).encode())

    other.handle(WHO, who)

    async def ask() -> None:
        async with await host.open_stream(other.peer_id, WHO) as stream:
            said = b"".join([data async for data in stream])
            assert said == str(host.peer_id).encode()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)


@pytest.mark.parametrize("late", ["alice", "bob"])
@pytest.mark.parametrize("early", [True, False], ids=["early muxer", "late muxer"])
@pytest.mark.parametrize("security", [Noise, Tls], ids=["noise", "tls"])
async def test_one_connection_that_works_both_ways(
    security: Callable[[Identity], Security], early: bool, late: str, autojump_clock: Clock
) -> None:
    def made(identity: Identity) -> Security:
        return security(identity) if early else Late(security(identity))

    observer = RecordingObserver()
    async with hosts(made, observer=observer) as (alice, bob, transports):
        near, far = await both(alice, bob, transports, late=late)
        for connection, peer, direction, remote in (
            (near, bob, Direction.OUTBOUND, transports[1]),
            (far, alice, Direction.INBOUND, transports[0]),
        ):
            info = connection.muxed.info
            assert (info.remote_peer, info.remote_public_key) == (peer.peer_id, peer.identity.public_key)
            assert (info.direction, info.remote_address) == (direction, remote.address)
            assert connection.dialed == remote.address
        assert [event.info for event in observer.of(ConnectionOpened)] == [far.muxed.info]
        await check_streams(alice, bob)
        await check_streams(bob, alice)
        # The client has the odd numbers (yamux): two sides that both took them would meet on one.
        streams = [await near.muxed.open_stream(), await far.muxed.open_stream()]
        assert [stream._id % 2 for stream in streams] == [1, 0]  # type: ignore[attr-defined]
        await near.identified.wait()
        await far.identified.wait()
        assert (near.hook_failure, far.hook_failure) == (None, None)
        assert [transport.options for transport in transports] == [[CLIENT], [SERVER]]


async def test_over_mplex_in_a_private_network(autojump_clock: Clock) -> None:
    async with hosts(muxer=Mplex, private_network=PreSharedKey.generate()) as (alice, bob, transports):
        await both(alice, bob, transports)
        await check_streams(alice, bob)
        await check_streams(bob, alice)


async def test_the_server_tells_another_peer_than_the_expected(autojump_clock: Clock) -> None:
    other = Identity.generate().peer_id
    async with hosts() as (alice, bob, transports), trio.open_nursery() as nursery:

        async def dial() -> None:
            with suppress(DialError):  # the client is done before the server knows who it is
                await alice.swarm.dial(bob.peer_id, [transports[1].address], options=CLIENT)

        nursery.start_soon(dial)
        with pytest.raises(DialError) as caught:
            await bob.swarm.dial(other, [transports[0].address], options=SERVER)
        failure = caught.value.report.attempts[0].failure
        assert failure is not None
        assert (failure.name, failure.expected) == (StageName.SECURITY, str(other))
        assert failure.found == str(alice.peer_id)


async def test_two_clients_do_not_wait_for_one_another_for_ever(autojump_clock: Clock) -> None:
    async with hosts() as (alice, bob, transports), trio.open_nursery() as nursery:

        async def dial(host: Host, peer: PeerId, address: Multiaddr) -> None:
            with pytest.raises(DialError):
                await host.swarm.dial(peer, [address])

        nursery.start_soon(dial, alice, bob.peer_id, transports[1].address)
        nursery.start_soon(dial, bob, alice.peer_id, transports[0].address)
