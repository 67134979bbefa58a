"""The Noise XX handshake as a machine without I/O: messages in, messages out, and a session at the end.

One class a phase: a `Handshake` has no way to encrypt application data, and the `Session` that `finish` returns
has no way back (noiseprotocol.org, sections 5 and 7.5).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ...errors import LocalProtocolError, RemoteProtocolError
from .wire import KEY_SIZE, NOISE_NAME, NONCE, TAG_SIZE


@dataclass(frozen=True, slots=True)
class Session:
    """The result of a handshake: one cipher for each direction, with fresh counters."""

    send: ChaCha20Poly1305
    receive: ChaCha20Poly1305
    remote_static: bytes
    """The peer's X25519 key, 32 bytes; authenticated by Noise, not yet bound to an identity."""


class StaticKey:
    """An X25519 key pair for handshakes; not the identity, never stored."""

    __slots__ = ("private", "public")

    def __init__(self, private: X25519PrivateKey | None = None) -> None:
        self.private = private or X25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()


class Handshake:
    """One side of an XX handshake.

    The initiator calls `write(b"")`, `read`, `write(payload)`; the responder `read`, `write(payload)`, `read`.
    Then `finish`. Any error ends the handshake; discard the object.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        static: StaticKey,
        prologue: bytes = b"",
        dangerous_fixed_ephemeral: StaticKey | None = None,
    ) -> None:
        self._initiator = initiator
        self._static = static
        self._ephemeral = dangerous_fixed_ephemeral or StaticKey()
        self._remote_ephemeral = b""
        self._remote_static = b""
        self._chain = self._hash = NOISE_NAME
        self._cipher: ChaCha20Poly1305 | None = None
        self._nonce = 0
        self._turn = 0
        self._mix_hash(prologue)

    @property
    def remote_static(self) -> bytes:
        """The peer's static key, once it has been read."""
        return self._remote_static

    @property
    def complete(self) -> bool:
        """Whether all three messages have passed."""
        return self._turn == 3

    def write(self, payload: bytes) -> bytes:
        """Return our next message, without its length prefix. Raises LocalProtocolError out of turn."""
        if self.complete or (self._turn % 2 == 0) != self._initiator:
            raise LocalProtocolError("it is not our turn in the Noise handshake")
        turn, self._turn = self._turn, self._turn + 1
        if turn == 2:
            message = self._write_static()
        else:
            message = self._ephemeral.public
            self._mix_hash(message)
            if turn == 1:
                self._mix_dh(self._ephemeral, self._remote_ephemeral)
                message += self._write_static()
        return message + self._encrypt(payload)

    def read(self, message: bytes) -> bytes:
        """Take the peer's next message and return its payload.

        Raises RemoteProtocolError for a message that does not decrypt, LocalProtocolError out of turn.
        """
        if self.complete or (self._turn % 2 == 0) == self._initiator:
            raise LocalProtocolError("it is not the peer's turn in the Noise handshake")
        turn, self._turn = self._turn, self._turn + 1
        if turn < 2:
            self._remote_ephemeral, message = self._split(message, KEY_SIZE)
            self._mix_hash(self._remote_ephemeral)
        if turn == 1:
            self._mix_dh(self._ephemeral, self._remote_ephemeral)
        if turn > 0:
            sealed, message = self._split(message, KEY_SIZE + TAG_SIZE)
            self._remote_static = self._decrypt(sealed)
            # es for the initiator, se for the responder: our ephemeral with their static, either way.
            self._mix_dh(self._ephemeral, self._remote_static)
        return self._decrypt(message)

    def finish(self) -> Session:
        """Split into the two ciphers of the session. Raises LocalProtocolError before the handshake is complete."""
        if not self.complete:
            raise LocalProtocolError("the Noise handshake is not complete")
        first, second = self._derive(b"")
        send, receive = (first, second) if self._initiator else (second, first)
        return Session(ChaCha20Poly1305(send), ChaCha20Poly1305(receive), self._remote_static)

    def _write_static(self) -> bytes:
        sealed = self._encrypt(self._static.public)
        self._mix_dh(self._static, self._remote_ephemeral)
        return sealed

    def _split(self, message: bytes, size: int) -> tuple[bytes, bytes]:
        if len(message) < size:
            raise RemoteProtocolError(f"Noise handshake message {self._turn} is too short: {len(message)} bytes")
        return message[:size], message[size:]

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_dh(self, ours: StaticKey, theirs: bytes) -> None:
        try:
            secret = ours.private.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            # RFC 7748 low-order points give an all-zero secret; `cryptography` refuses them.
            raise RemoteProtocolError("the peer's Noise key is a low-order point") from None
        self._chain, key = self._derive(secret)
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def _derive(self, material: bytes) -> tuple[bytes, bytes]:
        """HKDF of section 4.3 with two outputs."""
        temporary = hmac.digest(self._chain, material, "sha256")
        first = hmac.digest(temporary, b"\x01", "sha256")
        return first, hmac.digest(temporary, first + b"\x02", "sha256")

    def _encrypt(self, plaintext: bytes) -> bytes:
        if self._cipher is None:
            sealed = plaintext
        else:
            sealed = self._cipher.encrypt(NONCE.pack(self._nonce), plaintext, self._hash)
            self._nonce += 1
        self._mix_hash(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        plaintext = sealed
        if self._cipher is not None:
            try:
                plaintext = self._cipher.decrypt(NONCE.pack(self._nonce), sealed, self._hash)
            except InvalidTag:
                raise RemoteProtocolError(f"Noise handshake message {self._turn} does not decrypt") from None
            self._nonce += 1
        self._mix_hash(sealed)
        return plaintext
