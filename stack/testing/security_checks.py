"""The conformance suite for security protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import trio
import trio.testing

from ..abc import Channel, Secured, Security
from ..errors import ConnectionLost, NegotiationError, PeerIdMismatch, RemoteProtocolError, StackError
from ..identity import Identity, PeerId
from ..memory import MemoryPipe, memory_pipe_pair
from .channel_checks import check_channel
from .checks import cancel_at_each_step, raising, receive_exactly, require, run_checks, some_bytes, transfer
from .relay import Forward, byte_by_byte, counting, cut_after, flip, pass_on, relay

FAILURES: Final = (RemoteProtocolError, ConnectionLost)
"""The errors of a handshake that the other side breaks."""

_SAMPLES: Final = 16
_SLACK: Final = 16

MakeSecurity: TypeAlias = Callable[[Identity], Security]
Outcome: TypeAlias = Secured | StackError | None
"""The result of one side's handshake; None while it still waits."""


@dataclass(frozen=True, slots=True)
class _Subject:
    make_security: MakeSecurity
    settle: float
    dialer: Identity = field(default_factory=Identity.generate)
    listener: Identity = field(default_factory=Identity.generate)

    async def secure(
        self,
        stream: trio.abc.Stream,
        *,
        initiator: bool,
        expect: PeerId | None = None,
        muxers: Sequence[str] = (),
    ) -> Secured:
        identity = self.dialer if initiator else self.listener
        security = self.make_security(identity)
        return await security.secure(stream, initiator=initiator, expect=expect, muxers=muxers)

    async def outcomes(
        self,
        streams: tuple[trio.abc.Stream, trio.abc.Stream],
        *,
        expect: tuple[PeerId | None, PeerId | None] = (None, None),
        muxers: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> list[Outcome]:
        """Run both sides and return the results of the dialer and the listener; a side that fails hangs up."""
        outcomes: list[Outcome] = [None, None]

        async def one(index: int) -> None:
            try:
                outcomes[index] = await self.secure(
                    streams[index], initiator=index == 0, expect=expect[index], muxers=muxers[index]
                )
            except StackError as error:
                outcomes[index] = error
                await streams[index].aclose()

        with trio.move_on_after(60 * self.settle):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, 0)
                nursery.start_soon(one, 1)
        return outcomes

    async def channels(self) -> tuple[Channel, Channel]:
        """Return the channels of an undisturbed handshake."""
        dialed, accepted = _both_secured(await self.outcomes(memory_pipe_pair()))
        return dialed.channel, accepted.channel


async def check_security(make_security: MakeSecurity, *, settle: float = 0.05, integrity: bool = True) -> None:
    """Check a security protocol. Raises `AssertionError`.

    `make_security` makes the protocol for a given identity. `settle` is how many seconds without progress count as
    waiting for ever. `integrity=False` is for protocols that protect nothing, such as plaintext: it leaves out that
    data which was changed or cut short on the way is noticed.
    """
    checks = (*_CHECKS, *_INTEGRITY_CHECKS) if integrity else _CHECKS
    await run_checks(checks, _Subject(make_security, settle), settle=settle)


async def _who(subject: _Subject) -> None:
    """Both sides learn the other's identity, whether they expect it or not."""
    ids = subject.listener.peer_id, subject.dialer.peer_id
    for expect in ((None, None), ids, (ids[0], None)):
        dialed, accepted = _both_secured(await subject.outcomes(memory_pipe_pair(), expect=expect))
        require(dialed.remote_public_key == subject.listener.public_key, "the dialer got another key")
        require(accepted.remote_public_key == subject.dialer.public_key, "the listener got another key")
        require((dialed.remote_peer, accepted.remote_peer) == ids, "a peer id is not that of its key")


async def _wrong_peer(subject: _Subject) -> None:
    """A side that expects another peer raises PeerIdMismatch, which names both."""
    other = Identity.generate().peer_id
    for index, actual in enumerate((subject.listener.peer_id, subject.dialer.peer_id)):
        expect = (other, None) if index == 0 else (None, other)
        outcome = (await subject.outcomes(memory_pipe_pair(), expect=expect))[index]
        if not isinstance(outcome, PeerIdMismatch):
            raise AssertionError(f"expecting another peer must raise PeerIdMismatch, but gave {outcome!r}")
        require(outcome.expected == other, f"PeerIdMismatch.expected is {outcome.expected}")
        require(outcome.actual == actual, f"PeerIdMismatch.actual is {outcome.actual}")


async def _muxers(subject: _Subject) -> None:
    """Both sides name the same muxer, or none; without one in common the handshake may fail."""
    cases: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
        (("/a", "/b"), ("/b", "/a")),
        (("/a", "/b"), ("/b",)),
        ((), ("/b",)),
        (("/a",), ()),
        ((), ()),
    )
    for ours, theirs in cases:
        dialed, accepted = _both_secured(await subject.outcomes(memory_pipe_pair(), muxers=(ours, theirs)))
        what = f"with {ours} and {theirs} the dialer has {dialed.muxer}, the listener {accepted.muxer}"
        require(dialed.muxer == accepted.muxer, what)
        require(dialed.muxer is None or dialed.muxer in set(ours) & set(theirs), what)
    for outcome in await subject.outcomes(memory_pipe_pair(), muxers=(("/a",), ("/b",))):
        if isinstance(outcome, Secured):
            require(outcome.muxer is None, f"with nothing in common a side has {outcome.muxer}")
        else:
            require(isinstance(outcome, (NegotiationError, *FAILURES)), f"without a muxer in common: {outcome!r}")


async def _channel(subject: _Subject) -> None:
    """The channels are proper channels."""
    await check_channel(subject.channels, settle=subject.settle)


async def _early_data(subject: _Subject) -> None:
    """Bytes sent right after the handshake arrive, even when they come in one piece with its end."""
    for speaker in (True, False):
        near, far = memory_pipe_pair()

        async def speak(pipe: MemoryPipe, initiator: bool) -> None:
            channel = (await subject.secure(pipe, initiator=initiator)).channel
            await channel.send_all(b"hello")
            await channel.aclose()

        async def listen(pipe: MemoryPipe, initiator: bool) -> None:
            channel = (await subject.secure(pipe, initiator=initiator)).channel
            require(await receive_exactly(channel, 5) == b"hello", "the first bytes came out changed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak, near, speaker)
            nursery.start_soon(listen, far, not speaker)


async def _plain_streams(subject: _Subject) -> None:
    """Any trio stream will do, not only pipes."""
    dialed, accepted = _both_secured(await subject.outcomes(trio.testing.memory_stream_pair()))
    for size in (1, 200_000):
        await transfer(dialed.channel, accepted.channel, some_bytes(size))
        await transfer(accepted.channel, dialed.channel, some_bytes(size))


async def _dribbled(subject: _Subject) -> None:
    """A handshake and data that arrive byte by byte work."""
    async with relay(byte_by_byte, byte_by_byte) as (near, far):
        dialed, accepted = _both_secured(await subject.outcomes((near, far)))
        await transfer(dialed.channel, accepted.channel, some_bytes(3000))
        await transfer(accepted.channel, dialed.channel, some_bytes(3000))


async def _truncated(subject: _Subject) -> None:
    """A handshake that ends early fails with RemoteProtocolError or ConnectionLost, wherever it ends."""
    for toward_listener in (True, False):
        size = await _least_size(subject, toward_listener)
        for end in (*range(0, size, max(1, size // 40)), size - 1):
            outcomes = await _with_relay(subject, toward_listener, cut_after(end))
            # The side that sent everything may be done; the side that misses bytes must not be.
            _require_failure(outcomes[1 if toward_listener else 0], f"the handshake ended after {end} of {size} bytes")


async def _changed(subject: _Subject) -> None:
    """A handshake in which one bit was changed does not succeed on both sides."""
    for toward_listener in (True, False):
        size = await _least_size(subject, toward_listener)
        for position in (*range(0, size, max(1, size // 40)), size - 1):
            outcomes = await _with_relay(subject, toward_listener, flip(position))
            fooled = all(isinstance(outcome, Secured) for outcome in outcomes)
            require(not fooled, f"neither side noticed that byte {position} of {size} of the handshake was changed")
            for outcome in outcomes:
                kinds = (Secured, PeerIdMismatch, *FAILURES, type(None))
                require(isinstance(outcome, kinds), f"a changed handshake gave {outcome!r}")


async def _garbage(subject: _Subject) -> None:
    """Bytes that are no handshake fail it with RemoteProtocolError or ConnectionLost."""
    for initiator in (True, False):
        for data in (b"", b"\0" * 70_000, b"\xff" * 70_000, b"GET / HTTP/1.1\r\n\r\n", some_bytes(70_000)):
            near, far = memory_pipe_pair()
            outcome: Outcome = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_and_hang_up, far, data)
                try:
                    outcome = await subject.secure(near, initiator=initiator)
                except StackError as error:
                    outcome = error
                nursery.cancel_scope.cancel()
            _require_failure(outcome, f"the peer sent {data[:20]!r}...")


async def _cancelled(subject: _Subject) -> None:
    """A handshake can be cancelled at any step."""
    for initiator in (True, False):
        async with trio.open_nursery() as nursery:

            async def other_side(pipe: MemoryPipe, initiator: bool) -> None:
                with suppress(StackError):
                    await subject.secure(pipe, initiator=initiator)

            async def handshake(initiator: bool = initiator) -> None:
                near, far = memory_pipe_pair()
                nursery.start_soon(other_side, far, not initiator)
                async with near:
                    await subject.secure(near, initiator=initiator)

            await cancel_at_each_step(handshake, trio.lowlevel.checkpoint)


async def _changed_data(subject: _Subject) -> None:
    """Data in which one bit was changed is not handed out: reading raises RemoteProtocolError or ConnectionLost."""
    size = await _handshake_size(subject, True)
    async with relay(flip(size + 40), pass_on) as streams:
        dialed, accepted = _both_secured(await subject.outcomes(streams))
        await dialed.channel.send_all(some_bytes(1000))
        await streams[0].send_eof()
        with raising("reading changed data", *FAILURES):
            got = await receive_exactly(accepted.channel, 1000)
            require(got == some_bytes(1000), "changed data was handed out")


async def _truncated_data(subject: _Subject) -> None:
    """An end inside a frame is no orderly end: reading raises ConnectionLost or RemoteProtocolError."""
    size = await _handshake_size(subject, True)
    async with relay(cut_after(size + 500), pass_on) as streams:
        dialed, accepted = _both_secured(await subject.outcomes(streams))
        await dialed.channel.send_all(some_bytes(1000))
        with raising("reading a frame that is cut short", *FAILURES):
            await receive_exactly(accepted.channel, 1000)


def _both_secured(outcomes: Sequence[Outcome]) -> tuple[Secured, Secured]:
    dialed, accepted = outcomes
    if isinstance(dialed, Secured) and isinstance(accepted, Secured):
        return dialed, accepted
    raise AssertionError(f"the handshake gave {dialed!r} on the dialing and {accepted!r} on the listening side")


def _require_failure(outcome: Outcome, why: str) -> None:
    if outcome is None:
        raise AssertionError(f"{why}, but the handshake still waits")
    require(isinstance(outcome, FAILURES), f"{why}, but the handshake gave {outcome!r}")


async def _handshake_size(subject: _Subject, toward_listener: bool) -> int:
    """Return how many bytes a handshake takes in one direction."""
    there: list[int] = []
    back: list[int] = []
    async with relay(counting(there), counting(back)) as streams:
        _both_secured(await subject.outcomes(streams))
    return sum(there if toward_listener else back)


async def _least_size(subject: _Subject, toward_listener: bool) -> int:
    """Return a size that no handshake in one direction falls below: DER signatures vary by some bytes."""
    sizes = {await _handshake_size(subject, toward_listener) for _ in range(_SAMPLES)}
    return min(sizes) - (_SLACK if len(sizes) > 1 else 0)


async def _with_relay(subject: _Subject, toward_listener: bool, forward: Forward) -> list[Outcome]:
    """Run a handshake with one direction changed by a relay."""
    there, back = (forward, pass_on) if toward_listener else (pass_on, forward)
    async with relay(there, back) as streams:
        return await subject.outcomes(streams)


async def _send_and_hang_up(pipe: MemoryPipe, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await pipe.send_all(data)
        await pipe.send_eof()
        await trio.sleep_forever()


_CHECKS = (
    _who,
    _wrong_peer,
    _muxers,
    _channel,
    _early_data,
    _plain_streams,
    _dribbled,
    _truncated,
    _changed,
    _garbage,
    _cancelled,
)
_INTEGRITY_CHECKS = (_changed_data, _truncated_data)
