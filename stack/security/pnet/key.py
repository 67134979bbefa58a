"""The key of a private network, and the files it is kept in.

    /key/swarm/psk/1.0.0/
    /base16/
    6189c5cf0b87fb800c1a9feeda73c6ab5e998db48fb9e6a978575c770ceef683

The second line is `/base16/`, `/base64/` or `/bin/`; the key follows it, 32 bytes in that form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Final, Self

import trio
from Crypto.Cipher import Salsa20

from ...errors import InvalidKey, KeyFileError
from ...identity import key_file
from .pipe import PrivatePipe
from .xsalsa20 import KEY_SIZE

HEADER: Final = "/key/swarm/psk/1.0.0/"
_ENCODINGS: Final = ("/base16/", "/base64/", "/bin/")


class PreSharedKey:
    """The key that the members of a private network share; it is never shown, only its fingerprint."""

    __slots__ = ("_key", "fingerprint")

    def __init__(self, key: bytes) -> None:
        """Take a key of 32 bytes; InvalidKey for any other number."""
        if len(key) != KEY_SIZE:
            raise InvalidKey(f"the key of a private network has {KEY_SIZE} bytes, not {len(key)}")
        self._key = bytes(key)
        # As in kubo and rust-libp2p: neither of the two functions alone ever sees enough to reveal the key.
        keystream = Salsa20.new(key=self._key, nonce=b"finprint").encrypt(bytes(64))
        self.fingerprint: str = hashlib.shake_128(keystream).hexdigest(16)
        """Tells keys apart without revealing them: 32 hexadecimal digits, the same in kubo and rust-libp2p."""

    @classmethod
    def generate(cls) -> Self:
        """Return a new key."""
        return cls(os.urandom(KEY_SIZE))

    @classmethod
    def parse(cls, content: str | bytes) -> Self:
        """Return the key in the content of a `swarm.key` file; InvalidKey with what is wrong with it."""
        data = content.encode() if isinstance(content, str) else content
        header, _, rest = data.partition(b"\n")
        if header.strip() != HEADER.encode():
            raise InvalidKey(f"the first line is not {HEADER}")
        encoding, _, body = rest.partition(b"\n")
        return cls(_decode(encoding.strip().decode(errors="replace"), body))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the key in a `swarm.key` file, which only its owner may be able to read. Raises KeyFileError."""
        path = Path(path)
        content = key_file.read_private(path, create="PreSharedKey.generate().save(path)")
        try:
            return cls.parse(content)
        except InvalidKey as error:
            raise KeyFileError(f"{path} is not the key of a private network: {error}") from error

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a `swarm.key` file that only its owner can read. Raises KeyFileError, also if there is one already."""
        text = f"{HEADER}\n/base16/\n{self._key.hex()}\n"
        key_file.write(Path(path), text.encode(), overwrite=overwrite)

    def protect(self, stream: trio.abc.Stream) -> PrivatePipe:
        """Return a pipe inside the private network, over a fresh stream; see `abc.Protector`."""
        return PrivatePipe(stream, self._key)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, PreSharedKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<PreSharedKey with fingerprint {self.fingerprint}>"

    def __str__(self) -> str:
        return f"fingerprint {self.fingerprint}"


def _decode(encoding: str, body: bytes) -> bytes:
    try:
        match encoding:
            case "/base16/":
                return bytes.fromhex(body.strip().decode("ascii"))
            case "/base64/":
                return base64.b64decode(body.strip(), validate=True)
            case "/bin/":
                return body.removesuffix(b"\n") if len(body) == KEY_SIZE + 1 else body
    except (binascii.Error, ValueError):
        raise InvalidKey(f"the third line is no key in {encoding.strip('/')}") from None
    raise InvalidKey(f"the second line is not one of {', '.join(_ENCODINGS)}")
