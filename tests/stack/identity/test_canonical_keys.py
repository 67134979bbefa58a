"""One key has one encoding: every other protobuf or DER form of it is refused, since it would give a second peer id."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from peerstack.stack.errors import InvalidKey
from peerstack.stack.identity import Identity, KeyType, PublicKey
from peerstack.stack.identity.wire import MAX_PUBLIC_KEY

POINT = bytes(range(32))
CANONICAL = b"\x08\x01\x12\x20" + POINT


def der(tag: int, *parts: bytes) -> bytes:
    """Return a DER value of up to 64 KiB."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def public_ec_key(curve: ec.EllipticCurve, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    encoding = Encoding.DER if form is PublicFormat.SubjectPublicKeyInfo else Encoding.X962
    return ec.generate_private_key(curve).public_key().public_bytes(encoding, form)


def test_round_trip(identity: Identity) -> None:
    key = PublicKey.decode(identity.public_key.encode())
    assert key == identity.public_key
    assert hash(key) == hash(identity.public_key)
    assert key.peer_id == identity.peer_id


def test_the_type_of_rsa_keys_is_written_although_it_is_zero(identity: Identity) -> None:
    assert identity.public_key.encode()[:3] == bytes((0x08, identity.public_key.key_type, 0x12))


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(CANONICAL + b"\x18\x00", id="unknown field behind"),
        pytest.param(CANONICAL + b"\x08\x01", id="type twice"),
        pytest.param(CANONICAL + CANONICAL, id="everything twice"),
        pytest.param(b"\x12\x20" + POINT + b"\x08\x01", id="fields in other order"),
        pytest.param(b"\x18\x00" + CANONICAL, id="unknown field in front"),
        pytest.param(b"\x08\x81\x00\x12\x20" + POINT, id="longer type varint than needed"),
        pytest.param(b"\x08\x01\x12\xa0\x00" + POINT, id="longer length varint than needed"),
        pytest.param(b"\x88\x00\x01\x12\x20" + POINT, id="longer tag than needed"),
        pytest.param(b"\x12\x20" + POINT, id="no type"),
        pytest.param(b"\x08\x01", id="no data"),
        pytest.param(b"\x08\x01\x12", id="no length"),
        pytest.param(b"\x08\x01\x12\x00", id="empty data"),
        pytest.param(b"\x08\x01\x12\x80", id="cut in the length"),
        pytest.param(CANONICAL[:-1], id="cut in the data"),
        pytest.param(CANONICAL + b"\x00", id="a byte behind"),
        pytest.param(b"\x08\x04\x12\x20" + POINT, id="key type 4"),
        pytest.param(b"\x08\x7f\x12\x20" + POINT, id="key type 127"),
        pytest.param(b"\x08\x01\x12\x1f" + POINT[1:], id="31 bytes of Ed25519"),
        pytest.param(b"\x08\x01\x12\x21" + POINT + b"x", id="33 bytes of Ed25519"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_other_protobufs_are_refused(encoded: bytes) -> None:
    assert PublicKey.decode(CANONICAL).data == POINT
    with pytest.raises(InvalidKey):
        PublicKey.decode(encoded)


def test_every_cut_is_refused(identity: Identity) -> None:
    encoded = identity.public_key.encode()
    for cut in range(len(encoded)):
        with pytest.raises(InvalidKey):
            PublicKey.decode(encoded[:cut])


def test_data_of_another_type_is_refused(identity: Identity) -> None:
    data = identity.public_key.data
    for key_type in set(KeyType) - {identity.public_key.key_type}:
        with pytest.raises(InvalidKey):
            PublicKey(key_type, data)


def test_keys_over_four_kibibytes_are_refused_unread() -> None:
    with pytest.raises(InvalidKey, match="over the limit of 4096"):
        PublicKey.decode(b"\x08\x01\x12\xff\x7f" + bytes(MAX_PUBLIC_KEY))


def test_secp256k1_keys_are_compressed_points_on_the_curve() -> None:
    curve = ec.SECP256K1()
    good = public_ec_key(curve, PublicFormat.CompressedPoint)
    assert PublicKey(KeyType.SECP256K1, good).data == good
    for bad in (
        public_ec_key(curve, PublicFormat.UncompressedPoint),
        b"\x02" + b"\xff" * 32,  # beyond the field
        b"\x02" + bytes(31) + b"\x05",  # no point has this x
        b"\x04" + good[1:],
        b"\x00" * 33,
    ):
        with pytest.raises(InvalidKey):
            PublicKey(KeyType.SECP256K1, bad)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_ecdsa_curves_of_at_least_128_bits_are_taken(curve: ec.EllipticCurve) -> None:
    data = public_ec_key(curve)
    assert PublicKey(KeyType.ECDSA, data).data == data


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()], ids=lambda curve: curve.name)
def test_other_ecdsa_curves_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(InvalidKey, match="P-256"):
        PublicKey(KeyType.ECDSA, public_ec_key(curve))


def test_compressed_ecdsa_point_is_refused() -> None:
    point = public_ec_key(ec.SECP256R1(), PublicFormat.CompressedPoint)
    algorithm = der(0x30, bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06082a8648ce3d030107"))
    with pytest.raises(InvalidKey, match="canonical"):
        PublicKey(KeyType.ECDSA, der(0x30, algorithm, der(0x03, b"\0" + point)))


def rsa_key(modulus: int, exponent: int, *, algorithm: str = "06092a864886f70d0101010500") -> bytes:
    """Return a PKIX DER; the default algorithm is rsaEncryption with its NULL parameter."""

    def number(value: int) -> bytes:
        return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    sequence = der(0x30, number(modulus), number(exponent))
    return der(0x30, der(0x30, bytes.fromhex(algorithm)), der(0x03, b"\0" + sequence))


MODULUS = (1 << 2047) | 12345


def test_hand_made_rsa_key_is_taken() -> None:
    assert PublicKey(KeyType.RSA, rsa_key(MODULUS, 65537)).peer_id


@pytest.mark.parametrize("algorithm", ["06092a864886f70d010101", "06092a864886f70d01010a"], ids=["no NULL", "PSS"])
def test_other_der_of_an_rsa_key_is_refused(algorithm: str) -> None:
    with pytest.raises(InvalidKey):
        PublicKey(KeyType.RSA, rsa_key(MODULUS, 65537, algorithm=algorithm))


@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 65536, 2**32, 2**32 + 1, 2**512 + 1])
def test_weird_rsa_exponents_are_refused(exponent: int) -> None:
    with pytest.raises(InvalidKey):
        PublicKey(KeyType.RSA, rsa_key(MODULUS, exponent))


@pytest.mark.parametrize("exponent", [3, 17, 65537, 2**32 - 1])
def test_odd_rsa_exponents_below_two_to_the_32_are_taken(exponent: int) -> None:
    assert PublicKey(KeyType.RSA, rsa_key(MODULUS, exponent)).peer_id


def test_even_rsa_modulus_is_refused() -> None:
    with pytest.raises(InvalidKey, match="odd"):
        PublicKey(KeyType.RSA, rsa_key(MODULUS - 1, 65537))


@pytest.mark.parametrize("bits", [2048, 3072, 8192])
def test_rsa_sizes_at_the_limits_are_taken(bits: int) -> None:
    assert PublicKey(KeyType.RSA, rsa_key((1 << (bits - 1)) | 1, 65537)).peer_id


@pytest.mark.parametrize("bits", [512, 1024, 2047, 8193, 16384, 30000])
def test_rsa_sizes_beyond_the_limits_are_refused_before_any_use(bits: int) -> None:
    # CVE-2023-39533: the key is refused when it is decoded, so nothing is ever verified with it
    encoded = b"\x08\x00\x12"
    data = rsa_key((1 << (bits - 1)) | 1, 65537)
    encoded += (bytes((len(data),)) if len(data) < 0x80 else bytes((len(data) & 0x7F | 0x80, len(data) >> 7))) + data
    with pytest.raises(InvalidKey, match=f"2048 to 8192 bits, not {bits}"):
        PublicKey.decode(encoded)


def test_representation_is_short_and_names_the_peer(identity: Identity) -> None:
    assert repr(identity.public_key) == f"<PublicKey {identity.public_key.key_type.name} of {identity.peer_id}>"
