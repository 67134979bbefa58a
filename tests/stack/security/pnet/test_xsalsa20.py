"""XSalsa20 against the vectors of NaCl and against libsodium."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_secretbox

from peerstack.stack.security.pnet.xsalsa20 import hsalsa20, xsalsa20

# NaCl's tests core1, core2 and stream3: a Diffie-Hellman secret, what is derived of it, and the keystream of that.
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
FIRST = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
SECOND = bytes.fromhex("dc908dda0b9344a953629b733820778880f3ceb421bb61b91cbd4c3e66256ce4")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
KEYSTREAM = bytes.fromhex("eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880")


@pytest.mark.parametrize(("key", "nonce", "derived"), [(SHARED, bytes(16), FIRST), (FIRST, NONCE[:16], SECOND)])
def test_the_derivation_has_the_vectors_of_nacl(key: bytes, nonce: bytes, derived: bytes) -> None:
    assert hsalsa20(key, nonce) == derived


def test_the_keystream_has_the_vector_of_nacl() -> None:
    assert xsalsa20(FIRST, NONCE).encrypt(bytes(32)) == KEYSTREAM


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=24, max_size=24), st.binary(max_size=300))
def test_libsodium_has_the_same_keystream(key: bytes, nonce: bytes, message: bytes) -> None:
    # A secretbox is 16 bytes of authenticator, then the message under the keystream from its 33rd byte on.
    box = crypto_secretbox(message, nonce, key)
    assert xsalsa20(key, nonce).encrypt(bytes(32) + message)[32:] == box[16:]
