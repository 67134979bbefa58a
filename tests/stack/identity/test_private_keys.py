"""Private keys: what is read, what is refused, and that no secret shows."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peerstack.stack.errors import InvalidKey
from peerstack.stack.identity import Identity, KeyType
from peerstack.stack.identity.wire import encode_key

SEED = bytes(range(32))


def test_round_trip(identity: Identity) -> None:
    again = Identity.decode(identity.encode())
    assert again.peer_id == identity.peer_id
    assert again.encode() == identity.encode()
    identity.public_key.verify(b"x", again.sign(b"x"))


def test_generated_identities_differ() -> None:
    assert Identity.generate().peer_id != Identity.generate().peer_id


def test_ed25519_is_the_default_and_names_are_taken() -> None:
    assert Identity.generate().public_key.key_type is KeyType.ED25519
    assert Identity.generate("secp256k1").public_key.key_type is KeyType.SECP256K1


@pytest.mark.parametrize("bits", [512, 1024, 2047, 8193])
def test_rsa_sizes_beyond_the_limits_are_not_generated(bits: int) -> None:
    with pytest.raises(InvalidKey, match="2048 to 8192"):
        Identity.generate("rsa", bits=bits)


def test_a_secret_is_in_no_representation(identity: Identity) -> None:
    secret = identity.encode()
    texts = [repr(identity), str(identity), f"{identity}", repr(identity._pair), repr(identity.public_key)]
    for text in texts:
        assert secret[8:40].hex() not in text
        assert repr(secret[8:40])[2:-1] not in text
    assert str(identity.peer_id) in repr(identity)


def test_ed25519_halves_belong_together(ed25519: Identity) -> None:
    # RUSTSEC-2022-0093: signing with a public half of an attacker's choice gives the seed away
    public = ed25519.public_key.data
    seed = ed25519.encode()[4:36]
    assert Identity.decode(encode_key(KeyType.ED25519, seed + public * 2)).peer_id == ed25519.peer_id
    for halves in (SEED + public, seed + SEED, seed + public + SEED, seed + SEED + public, SEED + public + public):
        with pytest.raises(InvalidKey, match="does not belong"):
            Identity.decode(encode_key(KeyType.ED25519, halves))


@pytest.mark.parametrize("size", [0, 31, 32, 33, 63, 65, 95, 97, 128])
def test_ed25519_sizes(size: int) -> None:
    with pytest.raises(InvalidKey, match="64 bytes"):
        Identity.decode(encode_key(KeyType.ED25519, bytes(size)))


def test_secp256k1_scalar_is_between_zero_and_the_order() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    last = (order - 1).to_bytes(32, "big")
    assert Identity.decode(encode_key(KeyType.SECP256K1, last)).encode().endswith(last)
    for data in (bytes(32), order.to_bytes(32, "big"), b"\xff" * 32, SEED[1:], SEED + b"\0", b""):
        with pytest.raises(InvalidKey, match="below the group order"):
            Identity.decode(encode_key(KeyType.SECP256K1, data))


def test_ecdsa_halves_belong_together() -> None:
    encoded, other = (Identity.generate("ecdsa").encode() for _ in range(2))
    with pytest.raises(InvalidKey, match="parts do not fit"):
        Identity.decode(encoded[:-64] + other[-64:])


def test_numbers_of_an_rsa_key_belong_together(identities: dict[KeyType, Identity]) -> None:
    encoded = bytearray(identities[KeyType.RSA].encode())
    encoded[-1] ^= 1
    with pytest.raises(InvalidKey, match="do not fit"):
        Identity.decode(bytes(encoded))


@pytest.mark.parametrize("key_type", [KeyType.RSA, KeyType.ECDSA])
def test_private_key_of_another_type(key_type: KeyType, identities: dict[KeyType, Identity]) -> None:
    other = KeyType.ECDSA if key_type is KeyType.RSA else KeyType.RSA
    data = identities[other]._pair.private
    with pytest.raises(InvalidKey, match="of another type"):
        Identity.decode(encode_key(key_type, data))


@pytest.mark.parametrize("key_type", [KeyType.RSA, KeyType.ECDSA])
def test_private_key_that_is_no_der(key_type: KeyType) -> None:
    with pytest.raises(InvalidKey, match="is not"):
        Identity.decode(encode_key(key_type, b"nonsense"))


def test_ecdsa_private_key_on_a_weak_curve() -> None:
    key = ec.generate_private_key(ec.SECP224R1())
    data = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with pytest.raises(InvalidKey, match="P-256"):
        Identity.decode(encode_key(KeyType.ECDSA, data))


def test_a_public_key_is_no_private_key(identity: Identity) -> None:
    with pytest.raises(InvalidKey):
        Identity.decode(identity.public_key.encode())


def test_giant_private_keys_are_refused_unread() -> None:
    with pytest.raises(InvalidKey, match="over the limit"):
        Identity.decode(b"\x08\x00\x12\x80\x80\x04" + bytes(1 << 16))


def test_rsa_private_key_of_a_weak_size() -> None:
    key = rsa.generate_private_key(65537, 1024)
    data = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with pytest.raises(InvalidKey, match="2048 to 8192 bits, not 1024"):
        Identity.decode(encode_key(KeyType.RSA, data))
