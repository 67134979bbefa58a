"""XSalsa20: Salsa20 of pycryptodome with the longer nonce that NaCl gave it (cr.yp.to/snuffle/xsalsa-20110204.pdf).

subkey    = HSalsa20(key, nonce[0:16])
keystream = Salsa20(subkey, nonce[16:24])
"""

from __future__ import annotations

import struct
from typing import Final

from Crypto.Cipher import Salsa20
from Crypto.Cipher.Salsa20 import Salsa20Cipher

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 24

_CONSTANT: Final = struct.unpack("<4I", b"expand 32-byte k")
_DOUBLE_ROUND: Final = (
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)
_OUTPUT: Final = (0, 5, 10, 15, 6, 7, 8, 9)


def xsalsa20(key: bytes, nonce: bytes) -> Salsa20Cipher:
    """Return a cipher at the beginning of its keystream, from a key of 32 bytes and a nonce of 24."""
    return Salsa20.new(key=hsalsa20(key, nonce[:16]), nonce=nonce[16:NONCE_SIZE])


def hsalsa20(key: bytes, nonce: bytes) -> bytes:
    """Derive a key of 32 bytes from another and 16 bytes of nonce; once for each direction of a connection."""
    k, n, c = struct.unpack("<8I", key), struct.unpack("<4I", nonce), _CONSTANT
    x = [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]
    for _ in range(10):
        for one, two, three, four in _DOUBLE_ROUND:
            x[two] ^= _rotate(x[one] + x[four], 7)
            x[three] ^= _rotate(x[two] + x[one], 9)
            x[four] ^= _rotate(x[three] + x[two], 13)
            x[one] ^= _rotate(x[four] + x[three], 18)
    return struct.pack("<8I", *(x[index] for index in _OUTPUT))


def _rotate(word: int, by: int) -> int:
    word &= 0xFFFFFFFF
    return (word << by | word >> 32 - by) & 0xFFFFFFFF
