"""libsodium and OpenSSL hold the same Ed25519 signatures valid, since a network that disagrees on them falls apart."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidSignature

from peerstack.stack.identity.schemes import Verify, ed25519, sodium

P = (1 << 255) - 19
L = (1 << 252) + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
MESSAGE = b"a message"
Point = tuple[int, int]
IDENTITY: Point = (0, 1)
LIBRARIES = {"openssl": ed25519.OPENSSL, "sodium": ed25519.SODIUM}


@pytest.fixture(params=LIBRARIES)
def load(request: pytest.FixtureRequest) -> Callable[[bytes], Verify]:
    """Return `load_public` of each library in turn."""
    library = LIBRARIES[request.param]
    assert library is not None, "PyNaCl is part of the development tools"
    return library.load_public


def valid(verify: Verify, signature: bytes, message: bytes = MESSAGE) -> bool:
    try:
        verify(signature, message)
    except InvalidSignature:
        return False
    return True


# ---- the curve, slowly, to make signatures that no library would


def add(a: Point, b: Point) -> Point:
    k = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P)
    return x % P, y % P


def multiply(number: int, point: Point) -> Point:
    result = IDENTITY
    while number:
        if number & 1:
            result = add(result, point)
        point = add(point, point)
        number >>= 1
    return result


def recover(y: int) -> Point | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (P - x if x & 1 else x), y


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def scalar(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def _order_eight() -> Point:
    points = (multiply(L, point) for y in range(2, 50) if (point := recover(y)) is not None)
    return next(point for point in points if multiply(4, point) != IDENTITY)


BASE = recover(4 * pow(5, -1, P) % P)
assert BASE is not None
TORSION = _order_eight()
SECRET, NONCE = scalar(b"secret"), scalar(b"nonce")
PUBLIC, RANDOM = multiply(SECRET, BASE), multiply(NONCE, BASE)


def sign(secret: int, public: bytes, nonce: int, random: bytes) -> bytes:
    number = (nonce + scalar(random, public, MESSAGE) * secret) % L
    return random + number.to_bytes(32, "little")


GOOD = sign(SECRET, encode(PUBLIC), NONCE, encode(RANDOM))


def test_both_verify(load: Callable[[bytes], Verify]) -> None:
    assert valid(load(encode(PUBLIC)), GOOD)


def test_each_bit_counts(load: Callable[[bytes], Verify]) -> None:
    verify = load(encode(PUBLIC))
    for position in range(len(GOOD) * 8):
        assert not valid(verify, flip(GOOD, position))
    for position in range(len(MESSAGE) * 8):
        assert not valid(verify, GOOD, flip(MESSAGE, position))
    for position in range(256):
        assert not valid(load(flip(encode(PUBLIC), position)), GOOD)


def flip(data: bytes, position: int) -> bytes:
    return (int.from_bytes(data, "little") ^ 1 << position).to_bytes(len(data), "little")


@pytest.mark.parametrize("size", [0, 1, 32, 63])
def test_signatures_have_64_bytes(load: Callable[[bytes], Verify], size: int) -> None:
    verify = load(encode(PUBLIC))
    # What is cut off the signature is put before the message, so that the bytes in a row are the same.
    assert not valid(verify, GOOD[:size], GOOD[size:] + MESSAGE)
    assert not valid(verify, GOOD + MESSAGE[:1], MESSAGE[1:])


@pytest.mark.parametrize("times", range(1, 16))
def test_s_is_below_the_order(load: Callable[[bytes], Verify], times: int) -> None:
    number = int.from_bytes(GOOD[32:], "little") + times * L
    if number < 1 << 256:
        assert not valid(load(encode(PUBLIC)), GOOD[:32] + number.to_bytes(32, "little"))


def test_the_equation_is_checked_without_the_cofactor(load: Callable[[bytes], Verify]) -> None:
    random = encode(add(RANDOM, TORSION))
    assert not valid(load(encode(PUBLIC)), sign(SECRET, encode(PUBLIC), NONCE, random))


def test_points_r_of_small_order_are_no_reason_to_refuse(load: Callable[[bytes], Verify]) -> None:
    # libsodium alone would refuse it. Only R = identity can be right: then S is the hash times the secret.
    signature = sign(SECRET, encode(PUBLIC), 0, encode(IDENTITY))
    assert valid(load(encode(PUBLIC)), signature)
    assert not valid(load(encode(PUBLIC)), flip(signature, 300))
    assert not valid(load(encode(PUBLIC)), encode(TORSION) + signature[32:])


@pytest.mark.parametrize("key", [encode(IDENTITY), (P + 1).to_bytes(32, "little"), flip(encode(IDENTITY), 255)])
def test_keys_of_small_order_are_no_reason_to_refuse(key: bytes) -> None:
    signature = sign(0, key, NONCE, encode(RANDOM))
    results = {valid(library.load_public(key), signature) for library in LIBRARIES.values() if library}
    assert len(results) == 1


def test_a_key_of_small_order_verifies_whatever_fits() -> None:
    assert valid(sodium.load_public(encode(IDENTITY)), sign(0, encode(IDENTITY), NONCE, encode(RANDOM)))


def test_all_eight_points_of_small_order_are_known() -> None:
    points = [encode(multiply(times, TORSION)) for times in range(8)]
    assert len(set(points)) == 8
    assert all(map(sodium._is_unusual, points))
    assert not sodium._is_unusual(encode(PUBLIC))
    assert sodium._is_unusual((P + 5).to_bytes(32, "little"))


def test_both_write_the_same_signature() -> None:
    assert ed25519.SODIUM is not None
    pair = ed25519.generate(0)
    expected = pair.sign(MESSAGE)
    assert ed25519.SODIUM.sign(pair.private, MESSAGE) == ed25519.OPENSSL.sign(pair.private, MESSAGE) == expected


PROGRAM = """
import sys
{before}
from peerstack.stack.identity import Identity
identity = Identity.generate()
identity.public_key.verify(b"message", identity.sign(b"message"))
from peerstack.stack.identity.schemes import ed25519
print(ed25519.LIBRARY is ed25519.OPENSSL)
"""


@pytest.mark.parametrize(
    ("before", "openssl"),
    [
        ("", "False"),
        ("sys.modules['nacl'] = None", "True"),
        # A libsodium that takes everything, as one that multiplies by the cofactor takes too much.
        ("import nacl.bindings; nacl.bindings.crypto_sign_open = lambda signed, key: b''", "True"),
    ],
    ids=["installed", "missing", "with cofactor"],
)
def test_openssl_stands_in_where_libsodium_cannot_be_used(before: str, openssl: str) -> None:
    program = PROGRAM.format(before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [openssl]
