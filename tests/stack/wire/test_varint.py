"""Unsigned varints: the vectors of the specification, and what it forbids."""

import pytest

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.wire import varint

# unsigned-varint README
VECTORS = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16384, "808001"),
    (2**31, "8080808008"),
    (2**63 - 1, "ffffffffffffffff7f"),
]


@pytest.mark.parametrize(("value", "encoded"), VECTORS)
def test_vectors_both_ways(value: int, encoded: str) -> None:
    assert varint.encode(value).hex() == encoded
    assert varint.decode(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_decodes_inside_a_larger_buffer(wrap: type[bytes]) -> None:
    assert varint.decode(wrap(b"\xff\xac\x02\xff"), 1) == (300, 3)
    assert varint.decode(wrap(b"\xff\x05\xff"), 1) == (5, 2)


@pytest.mark.parametrize("encoded", ["8100", "8000", "ff8000", "808080808080808000"])
def test_longer_than_needed(encoded: str) -> None:
    with pytest.raises(RemoteProtocolError, match="longer than needed"):
        varint.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize("encoded", ["ff" * 9 + "01", "80" * 9, "ff" * 9, "ff" * 100])
def test_more_than_nine_bytes(encoded: str) -> None:
    with pytest.raises(RemoteProtocolError, match="longer than 9 bytes") as caught:
        varint.decode(bytes.fromhex(encoded))
    assert not isinstance(caught.value, varint.Incomplete)


@pytest.mark.parametrize("encoded", ["", "80", "ffff", "ff" * 8])
def test_ends_too_early(encoded: str) -> None:
    with pytest.raises(varint.Incomplete):
        varint.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize("value", [-1, -128, 2**63, 2**64])
def test_values_that_do_not_fit(value: int) -> None:
    with pytest.raises(ValueError, match="63 bits"):
        varint.encode(value)
