"""The parties of a handshake: two honest ones, and a hostile one that speaks raw frames."""

from collections.abc import Sequence

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerstack.stack.abc import Pipe, Secured
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.security.noise import Handshake, Noise, NoiseChannel, Session, StaticKey
from peerstack.stack.security.noise.wire import LENGTH, SIGNATURE_PREFIX, Payload

ALICE = Identity.generate()
BOB = Identity.generate()
MALLORY = Identity.generate()
CAPACITY = 1024 * 1024


def static_key(secret: str) -> StaticKey:
    """Return the X25519 key pair with this secret in hex."""
    return StaticKey(X25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))


def sessions() -> tuple[Session, Session]:
    """Return both ends of a session."""
    alice = Handshake(initiator=True, static=StaticKey())
    bob = Handshake(initiator=False, static=StaticKey())
    bob.read(alice.write(b""))
    alice.read(bob.write(b""))
    bob.read(alice.write(b""))
    return alice.finish(), bob.finish()


def channel_pair(capacity: int = CAPACITY) -> tuple[NoiseChannel, NoiseChannel]:
    """Return two connected channels; each direction holds `capacity` sealed bytes before the sender waits."""
    near, far = memory_pipe_pair(capacity)
    alice, bob = sessions()
    return NoiseChannel(near, alice), NoiseChannel(far, bob)


async def secure_both(
    near: trio.abc.Stream,
    far: trio.abc.Stream,
    *,
    muxers: Sequence[str] = (),
    their_muxers: Sequence[str] = (),
    expect: PeerId | None = None,
    listener_expects: PeerId | None = None,
) -> tuple[Secured, Secured]:
    """Let Alice dial Bob over the two ends of a stream."""
    secured: dict[str, Secured] = {}

    async def dial() -> None:
        noise = Noise(ALICE)
        secured["alice"] = await noise.secure(near, initiator=True, expect=expect, muxers=muxers)

    async def listen() -> None:
        noise = Noise(BOB)
        secured["bob"] = await noise.secure(far, initiator=False, expect=listener_expects, muxers=their_muxers)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(listen)
    return secured["alice"], secured["bob"]


class RawPeer:
    """A peer that does as it is told: raw frames over a pipe, and a handshake that signs what it likes."""

    def __init__(self, pipe: Pipe, *, initiator: bool, identity: Identity = MALLORY) -> None:
        self.pipe = pipe
        self.static = StaticKey()
        self.handshake = Handshake(initiator=initiator, static=self.static)
        self.identity = identity

    def honest_payload(self, muxers: tuple[str, ...] = ()) -> bytes:
        """Return what an honest peer would send."""
        signature = self.identity.sign(SIGNATURE_PREFIX + self.static.public)
        return Payload(self.identity.public_key.encode(), signature, muxers).encode()

    async def send(self, message: bytes) -> None:
        """Send one frame."""
        await self.pipe.send_all(LENGTH.pack(len(message)) + message)

    async def receive(self) -> bytes:
        """Receive one frame."""
        size = LENGTH.unpack(await self._receive_exactly(LENGTH.size))[0]
        return await self._receive_exactly(size)

    async def _receive_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await self.pipe.receive_some(size - len(data))
            assert piece, "the pipe ended"
            data += piece
        return data

    async def talk(self, payload: bytes | None = None, tail: bytes = b"") -> None:
        """Take our part of the handshake with this payload; `tail` is sent in one piece with our last message."""
        payload = self.honest_payload() if payload is None else payload
        if self.handshake._initiator:
            await self.send(self.handshake.write(b""))
            self.handshake.read(await self.receive())
            message = self.handshake.write(payload)
            await self.pipe.send_all(LENGTH.pack(len(message)) + message + tail)
        else:
            self.handshake.read(await self.receive())
            message = self.handshake.write(payload)
            await self.pipe.send_all(LENGTH.pack(len(message)) + message + tail)
