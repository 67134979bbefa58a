"""Frame headers: their golden bytes, and what is no header of this version."""

import pytest

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.muxing.yamux import PROTOCOL_ID, GoAwayCode
from peerstack.stack.muxing.yamux.wire import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    decode_header,
    encode_header,
)

GOLDEN = [
    ((DATA, SYN, 1, 5), "00 00 0001 00000001 00000005"),
    ((DATA, ACK | FIN, 2, 0), "00 00 0006 00000002 00000000"),
    ((WINDOW_UPDATE, 0, 3, 262144), "00 01 0000 00000003 00040000"),
    ((WINDOW_UPDATE, RST, 0xFFFFFFFF, 0x1002), "00 01 0008 ffffffff 00001002"),
    ((PING, SYN, 0, 0xDEADBEEF), "00 02 0001 00000000 deadbeef"),
    ((GO_AWAY, 0, 0, GoAwayCode.INTERNAL_ERROR), "00 03 0000 00000000 00000002"),
]


@pytest.mark.parametrize(("header", "data"), GOLDEN)
def test_golden_headers(header: tuple[int, int, int, int], data: str) -> None:
    encoded = bytes.fromhex(data)
    assert len(encoded) == HEADER_SIZE
    assert encode_header(*header) == encoded
    assert decode_header(encoded) == header
    assert decode_header(b"xx" + encoded + b"yy", 2) == header


@pytest.mark.parametrize(
    ("data", "what"), [("01 00", "version 1"), ("ff 02", "version 255"), ("00 04", "frame type 4")]
)
def test_other_versions_and_types_are_protocol_errors(data: str, what: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"yamux {what} is unknown") as caught:
        decode_header(bytes.fromhex(data) + bytes(10))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR


def test_the_protocol_s_id() -> None:
    assert PROTOCOL_ID == "/yamux/1.0.0"
