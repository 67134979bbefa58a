"""The suites for security protocols and channels fail for implementations with one fault each."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Buffer, Secured
from peerstack.stack.errors import ConnectionLost, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.identity import Identity, PeerId, PublicKey
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.net.pipes import as_pipe
from peerstack.stack.security.noise import Noise
from peerstack.stack.testing import PlainChannel, check_channel, check_security


class Credulous(Noise):
    """Takes any peer for the expected one."""

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        return await super().secure(stream, initiator=initiator, expect=None, muxers=muxers)


class Confused(Noise):
    """Swaps the ids in its complaint."""

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        try:
            return await super().secure(stream, initiator=initiator, expect=expect, muxers=muxers)
        except PeerIdMismatch as error:
            raise PeerIdMismatch(error.actual, error.expected) from None


class Opinionated(Noise):
    """Names a muxer that was not offered."""

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        secured = await super().secure(stream, initiator=initiator, expect=expect, muxers=muxers)
        return Secured(secured.channel, secured.remote_public_key, "/own")


class Stubborn(Noise):
    """Each side names its own favourite muxer."""

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        secured = await super().secure(stream, initiator=initiator, expect=expect, muxers=muxers)
        return Secured(secured.channel, secured.remote_public_key, muxers[0] if muxers else None)


class Narcissist(Noise):
    """Takes the peer for itself."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self._own = identity.public_key

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        secured = await super().secure(stream, initiator=initiator, expect=expect, muxers=muxers)
        return Secured(secured.channel, self._own, secured.muxer)


class NoSecurity:
    """Exchanges public keys and believes them; nothing is encrypted."""

    protocol_id = "/none"

    def __init__(self, identity: Identity) -> None:
        self._key = identity.public_key.encode()

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        pipe = as_pipe(stream)
        try:
            await pipe.send_all(bytes([len(self._key)]) + self._key)
            size = await self._receive(pipe, 1)
            key = await self._receive(pipe, size[0])
        except trio.BrokenResourceError:
            raise ConnectionLost("gone") from None
        try:
            remote = PublicKey.decode(key)
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        if expect is not None and remote.peer_id != expect:
            raise PeerIdMismatch(expect, remote.peer_id)
        return Secured(PlainChannel(pipe), remote, None)

    async def _receive(self, stream: trio.abc.Stream, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await stream.receive_some(size - len(data))
            if not piece:
                raise ConnectionLost("the end")
            data += piece
        return data


class Careless(NoSecurity):
    """Takes what the peer sends for a key, whatever it is."""

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        try:
            return await super().secure(stream, initiator=initiator, expect=expect, muxers=muxers)
        except (RemoteProtocolError, ConnectionLost):
            return Secured(PlainChannel(as_pipe(stream)), Identity.generate().public_key, None)


@pytest.mark.parametrize(
    ("security", "complaint"),
    [
        (Credulous, "must raise PeerIdMismatch"),
        (Confused, "PeerIdMismatch.expected is"),
        (Opinionated, "the dialer has /own"),
        (Stubborn, "the dialer has /a, the listener /b"),
        (Narcissist, "got another key"),
        (NoSecurity, "neither side noticed|changed data"),
        (Careless, "the handshake gave|the handshake ended"),
    ],
)
async def test_faulty_protocols_fail(
    security: type[Noise] | type[NoSecurity], complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await check_security(security)


class RefersToBuffers(PlainChannel):
    def write(self, buffers: Sequence[Buffer]) -> None:
        for buffer in buffers:
            self._queue.append(memoryview(buffer))
            self._queued += len(buffer)


class QueuesNothing(PlainChannel):
    @property
    def queued(self) -> int:
        return 0


class NeverEmpty(PlainChannel):
    @property
    def queued(self) -> int:
        return 1


class LosesWhenCancelled(PlainChannel):
    async def flush(self) -> None:
        try:
            await super().flush()
        except trio.Cancelled:
            self._queue.clear()
            self._queued = 0
            raise


class TakesTurns(PlainChannel):
    """Lets a second flush wait."""

    async def flush(self) -> None:
        if self._sending._held:
            await trio.sleep_forever()
        await super().flush()


class UnreadsBehind(PlainChannel):
    def unread(self, data: bytes) -> None:
        self._pipe.incoming._pieces.append(memoryview(data))  # type: ignore[attr-defined]  # it is a memory pipe
        self._pipe.incoming.size += len(data)  # type: ignore[attr-defined]  # it is a memory pipe


class EndsWithNothing(PlainChannel):
    async def read(self) -> list[bytes]:
        return await super().read() or [b""]


@pytest.mark.parametrize(
    ("channel", "complaint"),
    [
        (RefersToBuffers, "referred to a caller's buffer"),
        (QueuesNothing, "are queued"),
        (NeverEmpty, "a new channel has bytes queued"),
        (LosesWhenCancelled, "no back-pressure|ended after"),
        (TakesTurns, "hangs"),
        (UnreadsBehind, "unread|given back"),
        (EndsWithNothing, "the end is not an empty list"),
    ],
)
async def test_faulty_channels_fail(
    channel: type[PlainChannel], complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await check_channel(_pairs_of(channel))


def _pairs_of(
    channel: Callable[[MemoryPipe], PlainChannel],
) -> Callable[[], Awaitable[tuple[PlainChannel, PlainChannel]]]:
    async def make() -> tuple[PlainChannel, PlainChannel]:
        near, far = memory_pipe_pair()
        return channel(near), channel(far)

    return make
