"""A signature verifies for one message and one key only; any other bit of the three makes it invalid."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from peerstack.stack.errors import InvalidKey, InvalidSignature
from peerstack.stack.identity import Identity, KeyType, PublicKey

MESSAGE = b"a message of some length, longer than a block of any hash function in use here...."
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def flips(data: bytes) -> list[bytes]:
    """Return `data` once for each of its bytes, with one bit of that byte flipped."""
    return [data[:i] + bytes((data[i] ^ (1 << i % 8),)) + data[i + 1 :] for i in range(len(data))]


def test_signature_verifies(identity: Identity) -> None:
    identity.public_key.verify(MESSAGE, identity.sign(MESSAGE))
    PublicKey.decode(identity.public_key.encode()).verify(b"", identity.sign(b""))


def test_each_byte_of_the_signature_counts(identity: Identity) -> None:
    # RUSTSEC-2019-0004: a verification that accepted any signature
    for signature in flips(identity.sign(MESSAGE)):
        with pytest.raises(InvalidSignature):
            identity.public_key.verify(MESSAGE, signature)


def test_each_byte_of_the_message_counts(identity: Identity) -> None:
    signature = identity.sign(MESSAGE)
    for message in [*flips(MESSAGE), MESSAGE[:-1], MESSAGE + b"\0", b""]:
        with pytest.raises(InvalidSignature):
            identity.public_key.verify(message, signature)


def test_each_byte_of_the_key_counts(identity: Identity) -> None:
    signature = identity.sign(MESSAGE)
    for encoded in flips(identity.public_key.encode()):
        with pytest.raises((InvalidKey, InvalidSignature)):
            PublicKey.decode(encoded).verify(MESSAGE, signature)


def test_truncated_empty_and_trailing_signatures(identity: Identity) -> None:
    signature = identity.sign(MESSAGE)
    cuts = [signature[:cut] for cut in range(len(signature))]
    for bad in [*cuts, signature + b"\0", b"\0" + signature, signature * 2, bytes(len(signature))]:
        with pytest.raises(InvalidSignature):
            identity.public_key.verify(MESSAGE, bad)


def test_signature_of_another_key(identity: Identity) -> None:
    other = Identity.generate(identity.public_key.key_type)
    with pytest.raises(InvalidSignature, match=str(identity.peer_id)):
        identity.public_key.verify(MESSAGE, other.sign(MESSAGE))


def test_signature_of_another_key_type(identity: Identity, identities: dict[KeyType, Identity]) -> None:
    for other in set(KeyType) - {identity.public_key.key_type}:
        with pytest.raises(InvalidSignature):
            identity.public_key.verify(MESSAGE, identities[other].sign(MESSAGE))


def test_points_off_the_ed25519_curve_verify_nothing(ed25519: Identity) -> None:
    off_curve = PublicKey(KeyType.ED25519, b"\x02" + bytes(31))
    with pytest.raises(InvalidSignature):
        off_curve.verify(MESSAGE, ed25519.sign(MESSAGE))


def test_secp256k1_signatures_have_a_low_s(identities: dict[KeyType, Identity]) -> None:
    identity = identities[KeyType.SECP256K1]
    for number in range(16):
        message = bytes((number,))
        r, s = decode_dss_signature(identity.sign(message))
        assert s <= ORDER // 2
        with pytest.raises(InvalidSignature):
            identity.public_key.verify(message, encode_dss_signature(r, ORDER - s))
