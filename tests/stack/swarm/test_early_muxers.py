"""Muxers named in the handshake: both sides end with the same one, and negotiate it later where either names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction, MuxedConnection, Muxer, RawConnection, Secured, Security
from peerstack.stack.errors import ConnectionLost, NegotiationError, RemoteProtocolError, StackError
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.memory import MemoryPipe, memory_address, memory_pipe_pair
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.report import Attempt, Stage, StageName
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.tls import Tls
from peerstack.stack.swarm import HostUpgrader

Clock = trio.testing.MockClock
ALICE, BOB = Identity.generate(), Identity.generate()
YAMUX, MPLEX = "/yamux/1.0.0", "/mplex/6.7.0"
MAKE: dict[str, type[Noise] | type[Tls]] = {"noise": Noise, "tls": Tls}

both_securities = pytest.mark.parametrize("security", MAKE)


class WithoutEarlyMuxers:
    """A security protocol of a peer that names no muxers in its handshake, such as rust-libp2p."""

    def __init__(self, security: Security) -> None:
        self._security = security
        self.protocol_id = security.protocol_id

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        return await self._security.secure(stream, initiator=initiator, expect=expect, muxers=())


@dataclass
class End:
    """One side of an upgrade, and what came of it."""

    security: Security
    muxers: tuple[str, ...]
    direction: Direction
    attempt: Attempt = field(default_factory=lambda: Attempt("", trio.current_time()))
    connection: MuxedConnection | None = None
    error: StackError | None = None

    async def upgrade(self, pipe: MemoryPipe) -> None:
        muxers: list[Muxer] = [Yamux() if name == YAMUX else Mplex() for name in self.muxers]
        transport = HostUpgrader([self.security], muxers)
        raw = RawConnection(pipe, memory_address(1), memory_address(2))
        try:
            self.connection = await transport.upgrade(raw, self.direction, None, self.attempt)
        except StackError as error:
            self.error = error

    @property
    def last(self) -> Stage:
        return self.attempt.stages[-1]

    @property
    def muxed(self) -> MuxedConnection:
        assert self.connection is not None, self.error
        return self.connection


async def upgraded(
    security: str, ours: tuple[str, ...], theirs: tuple[str, ...], *, early: tuple[bool, bool] = (True, True)
) -> tuple[End, End]:
    """Upgrade both ends of a connection; `early` says whether the dialer and the listener name their muxers early."""
    ends: list[End] = []
    sides = zip((ALICE, BOB), (ours, theirs), early, (Direction.OUTBOUND, Direction.INBOUND), strict=True)
    for identity, muxers, names_early, direction in sides:
        protocol: Security = MAKE[security](identity)
        ends.append(End(protocol if names_early else WithoutEarlyMuxers(protocol), muxers, direction))
    async with trio.open_nursery() as nursery:
        for end, pipe in zip(ends, memory_pipe_pair(), strict=True):
            nursery.start_soon(end.upgrade, pipe)
    return ends[0], ends[1]


async def talk(dialer: MuxedConnection, listener: MuxedConnection) -> None:
    """Carry bytes over a stream each way, which fails unless both sides run the same muxer."""
    async with trio.open_nursery() as nursery:
        for connection in (dialer, listener):
            nursery.start_soon(connection.run)
        for one, other in ((dialer, listener), (listener, dialer)):
            stream = await one.open_stream()
            await stream.send_all(b"hello")
            assert await (await other.accept_stream()).receive_some() == b"hello"
        nursery.cancel_scope.cancel()


@both_securities
@pytest.mark.parametrize(
    ("dialer", "listener", "agreed"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        ((YAMUX, MPLEX), (MPLEX, YAMUX), YAMUX),
        ((MPLEX, YAMUX), (YAMUX, MPLEX), MPLEX),
        ((YAMUX, MPLEX), (MPLEX,), MPLEX),
        ((MPLEX,), (YAMUX, MPLEX), MPLEX),
    ],
)
async def test_the_first_of_the_dialers_that_the_listener_has(
    security: str, dialer: tuple[str, ...], listener: tuple[str, ...], agreed: str, autojump_clock: Clock
) -> None:
    ends = await upgraded(security, dialer, listener)
    for end in ends:
        assert end.muxed.info.muxer == agreed
        assert end.last.found == f"{agreed}, agreed in the handshake"
    await talk(ends[0].muxed, ends[1].muxed)


@both_securities
@pytest.mark.parametrize("early", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("dialer", "agreed"), [((YAMUX, MPLEX), YAMUX), ((MPLEX, YAMUX), MPLEX)])
async def test_where_either_side_names_none_the_muxer_is_negotiated_afterwards(
    security: str, early: tuple[bool, bool], dialer: tuple[str, ...], agreed: str, autojump_clock: Clock
) -> None:
    ends = await upgraded(security, dialer, (YAMUX, MPLEX), early=early)
    for end in ends:
        assert (end.last.name, end.last.found) == (StageName.MUXER_NEGOTIATION, agreed)
        assert end.muxed.info.muxer == agreed
    await talk(ends[0].muxed, ends[1].muxed)


async def test_noise_without_a_muxer_in_common_fails_in_the_handshake_as_the_spec_says(autojump_clock: Clock) -> None:
    dialer, listener = await upgraded("noise", (YAMUX,), (MPLEX,))
    # The dialer knows both lists first, and hangs up; go-libp2p would go on, to fail a step later.
    assert isinstance(dialer.error, RemoteProtocolError)
    assert f"no muxer in common: {YAMUX} and {MPLEX}" in str(dialer.error)
    assert isinstance(listener.error, ConnectionLost)
    assert {dialer.last.name, listener.last.name} == {StageName.SECURITY}


async def test_tls_without_a_muxer_in_common_fails_in_the_negotiation(autojump_clock: Clock) -> None:
    await no_muxer_at_the_end("tls", (True, True))


@both_securities
@pytest.mark.parametrize("early", [(True, False), (False, True)])
async def test_without_a_muxer_in_common_there_is_none_later_either(
    security: str, early: tuple[bool, bool], autojump_clock: Clock
) -> None:
    await no_muxer_at_the_end(security, early)


async def no_muxer_at_the_end(security: str, early: tuple[bool, bool]) -> None:
    for end in await upgraded(security, (YAMUX,), (MPLEX,), early=early):
        assert isinstance(end.error, NegotiationError)
        assert end.last.name is StageName.MUXER_NEGOTIATION
        assert end.last.advice == "both sides need a stream muxer in common, such as yamux"
