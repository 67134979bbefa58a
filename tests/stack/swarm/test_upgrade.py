"""Each stage of an upgrade: what it finds, how it fails, and that a failure closes the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction, MuxedConnection, RawConnection, Secured
from peerstack.stack.errors import (
    ConnectionLost,
    NegotiationError,
    PeerIdMismatch,
    RemoteProtocolError,
    StackError,
)
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.memory import MemoryPipe, memory_address, memory_pipe_pair
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.negotiation import negotiate_inbound, negotiate_outbound
from peerstack.stack.report import Attempt, Outcome, Stage, StageName
from peerstack.stack.security.noise import Noise
from peerstack.stack.swarm import HostUpgrader, SwarmConfig, UpgradedTransport
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

Clock = trio.testing.MockClock
ALICE, BOB = Identity.generate(), Identity.generate()
HERE, THERE = memory_address(1), memory_address(2)

Remote = Callable[[MemoryPipe], Awaitable[None]]
"""What the other end of the connection does."""


def transport(identity: Identity = ALICE, **settings: float) -> HostUpgrader:
    return HostUpgrader([Noise(identity)], [Yamux()], SwarmConfig(**settings))  # type: ignore[arg-type] # times


class Upgrade:
    """One upgrade of ours against a remote that does as it is told."""

    def __init__(self, remote: Remote, *, direction: Direction = Direction.OUTBOUND, expect: PeerId | None = None):
        self.attempt = Attempt("/memory/2", trio.current_time())
        self.connection: MuxedConnection | None = None
        self.error: Exception | None = None
        self.remote_saw_the_end = False
        self._remote = remote
        self._direction = direction
        self._expect = expect

    async def run(self, ours: HostUpgrader) -> Stage:
        """Run both ends; return the last stage."""
        near, far = memory_pipe_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_remote, far)
            try:
                self.connection = await ours.upgrade(
                    RawConnection(near, HERE, THERE), self._direction, self._expect, self.attempt
                )
            except (StackError, trio.TooSlowError) as error:
                self.error = error
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.ClosedResourceError):
                    await near.send_all(b"")
            nursery.cancel_scope.cancel()
        return self.attempt.stages[-1]

    async def _run_remote(self, pipe: MemoryPipe) -> None:
        with suppress(StackError, trio.BrokenResourceError):
            await self._remote(pipe)


async def upgrade(remote: Remote, **how: object) -> tuple[Upgrade, Stage]:
    run = Upgrade(remote, **how)  # type: ignore[arg-type] # passed on as they are
    return run, await run.run(transport())


async def honest(pipe: MemoryPipe) -> None:
    await transport(BOB).upgrade(RawConnection(pipe, THERE, HERE), Direction.INBOUND, None, Attempt("", 0))
    await trio.sleep_forever()


async def silent(pipe: MemoryPipe) -> None:
    await trio.sleep_forever()


async def closing(pipe: MemoryPipe) -> None:
    await pipe.aclose()


async def silent_after_security(pipe: MemoryPipe) -> None:
    await negotiate_inbound(pipe, ["/noise"])
    await trio.sleep_forever()


# ---- success


async def test_a_good_upgrade_tells_what_was_found(autojump_clock: Clock) -> None:
    run, _ = await upgrade(honest, expect=BOB.peer_id)
    assert run.connection is not None
    info = run.connection.info
    assert (info.remote_peer, info.direction, info.security, info.muxer) == (
        BOB.peer_id,
        Direction.OUTBOUND,
        "/noise",
        "/yamux/1.0.0",
    )
    assert (info.local_address, info.remote_address) == (HERE, THERE)
    assert [(str(stage.name), stage.outcome, stage.expected, stage.found) for stage in run.attempt.stages] == [
        ("security negotiation", Outcome.OK, "/noise", "/noise"),
        ("security handshake", Outcome.OK, str(BOB.peer_id), str(BOB.peer_id)),
        ("muxer negotiation", Outcome.OK, "/yamux/1.0.0", "/yamux/1.0.0, agreed in the handshake"),
    ]


class WithoutEarlyMuxer:
    """Noise of a peer that does not know early muxer negotiation, such as rust-libp2p."""

    protocol_id = "/noise"

    def __init__(self, identity: Identity, answer: str | None = None) -> None:
        self._noise = Noise(identity)
        self._answer = answer

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        secured = await self._noise.secure(stream, initiator=initiator, expect=expect, muxers=())
        return Secured(secured.channel, secured.remote_public_key, self._answer)


def plain_negotiation(identity: Identity, answer: str | None = None) -> HostUpgrader:
    return HostUpgrader([WithoutEarlyMuxer(identity, answer)], [Yamux()])


@pytest.mark.parametrize("direction", Direction)
async def test_the_muxer_is_negotiated_when_the_handshake_names_none(
    direction: Direction, autojump_clock: Clock
) -> None:
    other = {Direction.INBOUND: Direction.OUTBOUND, Direction.OUTBOUND: Direction.INBOUND}[direction]

    async def remote(pipe: MemoryPipe) -> None:
        await plain_negotiation(BOB).upgrade(RawConnection(pipe, THERE, HERE), other, None, Attempt("", 0))

    run = Upgrade(remote, direction=direction)
    stage = await run.run(plain_negotiation(ALICE))
    assert (stage.name, stage.found) == (StageName.MUXER_NEGOTIATION, "/yamux/1.0.0")
    assert run.connection is not None


# ---- security negotiation


async def test_a_port_that_accepts_and_stays_silent(autojump_clock: Clock) -> None:
    run, stage = await upgrade(silent)
    assert isinstance(run.error, trio.TooSlowError)
    assert trio.current_time() == 5
    assert stage.to_json() == {
        "stage": "security negotiation",
        "outcome": "failed",
        "started_ms": 0,
        "ended_ms": 5000,
        "expected": "/noise",
        "error": "no answer within 5 s",
        "advice": "the port accepts but stays silent: is it a libp2p port?",
    }


@pytest.mark.parametrize("direction", Direction)
async def test_a_peer_that_hangs_up_at_once(direction: Direction, autojump_clock: Clock) -> None:
    run, stage = await upgrade(closing, direction=direction)
    assert isinstance(run.error, (ConnectionLost, RemoteProtocolError))
    assert "closed" in str(stage.error)
    assert stage.advice == "is it a libp2p port? Is the peer full, or in a private network?"


async def test_a_port_that_speaks_something_else(autojump_clock: Clock) -> None:
    async def web_server(pipe: MemoryPipe) -> None:
        await pipe.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await trio.sleep_forever()

    run, stage = await upgrade(web_server)
    assert isinstance(run.error, RemoteProtocolError)
    assert "HTTP" in str(stage.error)


async def test_no_security_protocol_in_common(autojump_clock: Clock) -> None:
    async def tls_only(pipe: MemoryPipe) -> None:
        await negotiate_inbound(pipe, ["/tls/1.0.0"])

    run, stage = await upgrade(tls_only)
    assert isinstance(run.error, NegotiationError)
    assert stage.advice == "both sides need a security protocol in common, such as noise"
    assert stage.expected == "/noise"


# ---- security handshake


async def test_another_peer_than_expected_names_both(autojump_clock: Clock) -> None:
    expected = Identity.generate().peer_id
    run, stage = await upgrade(honest, expect=expected)
    assert isinstance(run.error, PeerIdMismatch)
    assert (stage.name, stage.expected, stage.found) == (StageName.SECURITY, str(expected), str(BOB.peer_id))
    assert str(expected) in str(stage.error)
    assert str(BOB.peer_id) in str(stage.error)
    assert "has changed its key, or is another peer" in str(stage.advice)


async def test_a_peer_that_falls_silent_in_the_handshake(autojump_clock: Clock) -> None:
    run, stage = await upgrade(silent_after_security)
    assert isinstance(run.error, trio.TooSlowError)
    assert trio.current_time() == 10
    assert (stage.name, stage.error) == (StageName.SECURITY, "no answer within 10 s")
    assert stage.advice == "the peer fell silent half-way: it may be overloaded, or the way to it loses packets"


async def test_a_peer_that_hangs_up_in_the_handshake(autojump_clock: Clock) -> None:
    async def remote(pipe: MemoryPipe) -> None:
        await negotiate_inbound(pipe, ["/noise"])
        await pipe.aclose()

    run, stage = await upgrade(remote)
    assert isinstance(run.error, ConnectionLost)
    assert stage.name is StageName.SECURITY
    assert stage.advice == "the peer gave up or broke the handshake: its own log says why"


async def test_a_peer_that_breaks_the_handshake(autojump_clock: Clock) -> None:
    async def remote(pipe: MemoryPipe) -> None:
        await negotiate_inbound(pipe, ["/noise"])
        await pipe.send_all(b"\x00\x60" + bytes(96))
        await trio.sleep_forever()

    run, stage = await upgrade(remote)
    assert isinstance(run.error, RemoteProtocolError)
    assert stage.name is StageName.SECURITY


# ---- muxer negotiation


async def test_a_peer_that_falls_silent_before_the_muxer(autojump_clock: Clock) -> None:
    async def remote(pipe: MemoryPipe) -> None:
        await negotiate_inbound(pipe, ["/noise"])
        await Noise(BOB).secure(pipe, initiator=False, expect=None, muxers=())
        await trio.sleep_forever()

    run = Upgrade(remote)
    stage = await run.run(plain_negotiation(ALICE))
    assert isinstance(run.error, trio.TooSlowError)
    assert (stage.name, stage.error, stage.expected) == (
        StageName.MUXER_NEGOTIATION,
        "no answer within 5 s",
        "/yamux/1.0.0",
    )


async def test_no_muxer_in_common(autojump_clock: Clock) -> None:
    async def remote(pipe: MemoryPipe) -> None:
        await negotiate_inbound(pipe, ["/noise"])
        secured = await Noise(BOB).secure(pipe, initiator=False, expect=None, muxers=())
        await negotiate_inbound(secured.channel, ["/mplex/6.7.0"])

    run = Upgrade(remote)
    stage = await run.run(plain_negotiation(ALICE))
    assert isinstance(run.error, NegotiationError)
    assert (stage.name, stage.advice) == (
        StageName.MUXER_NEGOTIATION,
        "both sides need a stream muxer in common, such as yamux",
    )


async def test_a_security_protocol_that_names_a_muxer_of_its_own(autojump_clock: Clock) -> None:
    run = Upgrade(honest)
    stage = await run.run(plain_negotiation(ALICE, "/mplex/6.7.0"))
    assert isinstance(run.error, NegotiationError)
    assert "/mplex/6.7.0, which was not offered" in str(stage.error)


# ---- arriving connections


async def arrive(remote: Remote, **settings: float) -> tuple[Exception, float]:
    """Let a remote connect to a listener, and return how its upgrade failed, and when."""
    network = MemoryNetwork()
    ours = UpgradedTransport(MemoryTransport(network), HostUpgrader([Noise(ALICE)], [Yamux()], SwarmConfig(**settings)))  # type: ignore[arg-type] # times
    async with await ours.listen(memory_address(7)) as listener, trio.open_nursery() as nursery:
        raw = await MemoryTransport(network).dial(memory_address(7))
        assert isinstance(raw.stream, MemoryPipe)
        nursery.start_soon(remote, raw.stream)
        incoming = await listener.accept()
        assert incoming.remote_address == raw.local_address
        with pytest.raises(StackError) as caught:
            await incoming.upgrade()
        nursery.cancel_scope.cancel()
    return caught.value, trio.current_time()


async def test_an_arrival_that_dribbles_is_lost_at_the_deadline(autojump_clock: Clock) -> None:
    async def slow_loris(pipe: MemoryPipe) -> None:
        for byte in b"\x13/multistream/1.0.0\n":
            with suppress(trio.BrokenResourceError):
                await pipe.send_all(bytes([byte]))
            await trio.sleep(1)

    error, when = await arrive(slow_loris)
    assert isinstance(error, ConnectionLost)
    assert str(error) == "the peer was too slow in the security negotiation"
    assert when == 5


async def test_an_arrival_that_stops_in_the_handshake_is_lost_at_its_deadline(autojump_clock: Clock) -> None:
    async def stops(pipe: MemoryPipe) -> None:
        await negotiate_outbound(pipe, ["/noise"])
        await trio.sleep_forever()

    error, when = await arrive(stops)
    assert str(error) == "the peer was too slow in the security handshake"
    assert when == 10


async def test_an_arrival_can_be_refused_without_a_word(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    ours = UpgradedTransport(MemoryTransport(network), HostUpgrader([Noise(ALICE)], [Yamux()]))
    async with await ours.listen(memory_address(7)) as listener:
        raw = await MemoryTransport(network).dial(memory_address(7))
        await (await listener.accept()).refuse()
        assert await raw.stream.receive_some() == b""


# ---- the transport itself


async def test_what_it_can_dial_and_listen_on_is_up_to_the_transport_below() -> None:
    ours = UpgradedTransport(MemoryTransport(MemoryNetwork()), transport())
    assert ours.can_dial(memory_address(1))
    assert not ours.can_dial(memory_address(0))
    assert ours.can_listen(memory_address(0))


async def test_a_connect_that_takes_too_long(autojump_clock: Clock) -> None:
    class Firewall(MemoryTransport):
        async def dial(self, address: object, options: object = None) -> RawConnection:
            await trio.sleep_forever()
            raise AssertionError

    ours = UpgradedTransport(Firewall(MemoryNetwork()), HostUpgrader([Noise(ALICE)], [Yamux()]))
    attempt = Attempt("/memory/7", trio.current_time())
    with pytest.raises(trio.TooSlowError):
        await ours.dial(memory_address(7), None, attempt)
    assert trio.current_time() == 5
    (stage,) = attempt.stages
    assert (stage.name, stage.advice) == (
        StageName.CONNECT,
        "no answer at all: a firewall may drop the packets, or the host is down",
    )


@pytest.mark.parametrize(("security", "muxers"), [([], [Yamux()]), ([Noise(ALICE)], [])])
async def test_it_needs_both_security_and_a_muxer(security: list[Noise], muxers: list[Yamux]) -> None:
    with pytest.raises(ValueError, match="at least one security protocol and one muxer"):
        HostUpgrader(security, muxers)


@pytest.mark.parametrize("steps", range(12))
async def test_an_upgrade_cancelled_at_any_step_closes_the_connection(steps: int, autojump_clock: Clock) -> None:
    near, far = memory_pipe_pair()
    attempt = Attempt("", trio.current_time())
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Upgrade(honest)._run_remote, far)

        async def upgrade_ours() -> None:
            with scope:
                await transport().upgrade(RawConnection(near, HERE, THERE), Direction.OUTBOUND, None, attempt)

        nursery.start_soon(upgrade_ours)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        if scope.cancelled_caught:
            assert attempt.outcome is Outcome.CANCELLED
            assert attempt.failure is not None
            with pytest.raises(trio.ClosedResourceError):
                await near.send_all(b"")
        nursery.cancel_scope.cancel()


def test_settings_must_be_positive() -> None:
    with pytest.raises(ValueError, match="handshake_timeout must be more than 0, not 0"):
        SwarmConfig(handshake_timeout=0)
