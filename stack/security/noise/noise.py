"""Noise XX over a byte stream: runs the handshake, checks the peer's identity, returns the channel."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import trio

from ...abc import Pipe, Secured
from ...errors import ConnectionLost, InvalidKey, InvalidSignature, PeerIdMismatch, RemoteProtocolError
from ...identity import Identity, PeerId, PublicKey
from ...net.pipes import as_pipe
from .channel import NoiseChannel
from .core import Handshake, StaticKey
from .wire import LENGTH, MAX_HANDSHAKE_MESSAGE, PROTOCOL_ID, SIGNATURE_PREFIX, Payload, agree_on_muxer


class Noise:
    """The Noise security protocol with our identity.

    One X25519 static key serves all handshakes of this object, so that it is signed once; it is never stored.
    """

    protocol_id = PROTOCOL_ID

    def __init__(self, identity: Identity, *, static: StaticKey | None = None) -> None:
        self._static = static or StaticKey()
        self.prologue = b""
        """Of every handshake; see `with_prologue`."""
        self._identity_key = identity.public_key.encode()
        self.local_peer = identity.peer_id
        """The peer id this proves."""
        self._signature = identity.sign(SIGNATURE_PREFIX + self._static.public)

    def with_prologue(self, prologue: bytes) -> Noise:
        """Return the same, with a prologue for its handshakes: bytes that both sides must know without sending them.

        WebRTC puts the fingerprints of the certificates below it there. Where the prologues differ the handshake fails
        as `RemoteProtocolError` (noiseprotocol.org, section 6).
        """
        bound = copy(self)
        bound.prologue = prologue
        return bound

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        """Run the handshake; see `abc.Security.secure`."""
        pipe = as_pipe(stream)
        handshake = Handshake(initiator=initiator, static=self._static, prologue=self.prologue)
        payload = Payload(self._identity_key, self._signature, tuple(muxers)).encode()
        try:
            if initiator:
                await _send(pipe, handshake.write(b""))
                remote, theirs = _check(handshake, handshake.read(await _receive(pipe)), expect)
                muxer = agree_on_muxer(muxers, theirs)
                await _send(pipe, handshake.write(payload))
            else:
                handshake.read(await _receive(pipe))
                await _send(pipe, handshake.write(payload))
                remote, theirs = _check(handshake, handshake.read(await _receive(pipe)), expect)
                muxer = agree_on_muxer(theirs, muxers)
        except ConnectionLost:
            raise
        except trio.BrokenResourceError as error:
            raise ConnectionLost(f"the connection broke during the Noise handshake: {error}") from error
        return Secured(NoiseChannel(pipe, handshake.finish()), remote, muxer)


def _check(handshake: Handshake, data: bytes, expect: PeerId | None) -> tuple[PublicKey, tuple[str, ...]]:
    """Check a payload in the order of the spec; return who the peer is and its muxers."""
    payload = Payload.decode(data)
    try:
        key = PublicKey.decode(payload.identity_key)
        if expect is not None and key.peer_id != expect:
            raise PeerIdMismatch(expect, key.peer_id)
        key.verify(SIGNATURE_PREFIX + handshake.remote_static, payload.signature)
    except InvalidKey as error:
        raise RemoteProtocolError(f"the peer's identity key is not usable: {error}") from error
    except InvalidSignature:
        raise RemoteProtocolError("the peer's signature does not cover its Noise key") from None
    return key, payload.muxers


async def _send(pipe: Pipe, message: bytes) -> None:
    await pipe.send_all(LENGTH.pack(len(message)) + message)


async def _receive(pipe: Pipe) -> bytes:
    frame = b""
    while len(frame) < LENGTH.size or len(frame) < _frame_size(frame):
        data = await pipe.receive_some()
        if not data:
            raise ConnectionLost("the peer closed the connection during the Noise handshake")
        frame += data
    end = _frame_size(frame)
    if end < len(frame):
        pipe.unread(frame[end:])
    return frame[LENGTH.size : end]


def _frame_size(frame: bytes) -> int:
    """Return the size of the frame with its prefix, checked before a byte of it is waited for."""
    size: int = LENGTH.unpack_from(frame)[0]
    if size > MAX_HANDSHAKE_MESSAGE:
        raise RemoteProtocolError(f"Noise handshake message of {size} bytes is over {MAX_HANDSHAKE_MESSAGE}")
    return LENGTH.size + size
