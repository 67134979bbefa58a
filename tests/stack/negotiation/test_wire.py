"""The bytes of multistream-select, and where its decoder stops."""

import pytest

from peerstack.stack.errors import LocalProtocolError, RemoteProtocolError
from peerstack.stack.negotiation import wire

HEADER = bytes.fromhex("132f6d756c746973747265616d2f312e302e300a")


@pytest.mark.parametrize(
    ("text", "golden"),
    [
        ("/multistream/1.0.0", HEADER),
        ("na", bytes.fromhex("036e610a")),
        ("ls", bytes.fromhex("036c730a")),
        ("/yamux/1.0.0", bytes.fromhex("0d2f79616d75782f312e302e300a")),
        ("/noise", bytes.fromhex("072f6e6f6973650a")),
        ("/ipfs/ping/1.0.0", b"\x11/ipfs/ping/1.0.0\n"),
    ],
)
def test_messages_have_the_golden_bytes(text: str, golden: bytes) -> None:
    assert wire.encode_message(text) == golden
    assert wire.decode_message(golden) == (text, len(golden))


def test_the_constants_are_the_golden_bytes() -> None:
    assert wire.HEADER_MESSAGE == HEADER
    assert wire.NOT_AVAILABLE_MESSAGE == b"\x03na\n"


def test_the_length_counts_the_newline_and_takes_two_bytes_from_128() -> None:
    assert wire.encode_message("x" * 126)[:1] == b"\x7f"
    assert wire.encode_message("x" * 127)[:2] == b"\x80\x01"
    assert wire.encode_message("x" * 1023, limit=1024)[:2] == b"\x80\x08"


def test_own_ids_end_at_140_bytes() -> None:
    assert len(wire.encode_message("x" * 139)) == 142
    with pytest.raises(LocalProtocolError, match="of 140 bytes; at most 139"):
        wire.encode_message("x" * 140)


@pytest.mark.parametrize("text", ["", "\n", "/a\n/b", "/a\n"])
def test_what_is_not_one_line_is_not_sent(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="one line"):
        wire.encode_message(text)


def test_the_longest_message_is_accepted_and_one_byte_more_is_not() -> None:
    assert wire.decode_message(b"\x80\x08" + b"x" * 1023 + b"\n") == ("x" * 1023, 1026)
    with pytest.raises(RemoteProtocolError, match="message of 1025 bytes"):
        wire.decode_message(b"\x81\x08")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x00", "message of 0 bytes"),
        (b"\x81\x00", "longer than needed"),
        (bytes.fromhex("8080808008"), "message of 2147483648 bytes"),
        (bytes.fromhex("ffffffffffffffff7f"), "message of 9223372036854775807 bytes"),
        (bytes.fromhex("80808080808080808001"), "longer than 9 bytes"),
        (b"\x03na ", "closing newline"),
        (b"\x03\xff\xfe\n", "not UTF-8"),
    ],
)
def test_malformed_messages_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        wire.decode_message(data)


@pytest.mark.parametrize("size", range(14))
def test_a_message_is_incomplete_up_to_its_last_byte(size: int) -> None:
    assert wire.decode_message(wire.encode_message("/yamux/1.0.0")[:size]) is None


def test_text_is_byte_exact() -> None:
    assert wire.decode_message(b"\x06/foo \n") == ("/foo ", 7)
    assert wire.decode_message(b"\x01\n") == ("", 2)
    assert wire.decode_message(b"\x04a\nb\n") == ("a\nb", 5)


def test_an_answer_to_ls_is_one_message_of_messages() -> None:
    assert wire.encode_list(["/a", "/b/c"]) == b"\x0b\x03/a\n\x05/b/c\n\n"
    assert wire.encode_list([]) == b"\x01\n"


def test_an_answer_to_ls_stops_where_rust_stops_reading() -> None:
    answer = wire.encode_list(["/" + "x" * 98] * 1000)
    assert len(answer) <= 2 + wire.MAX_LIST
    assert len(answer) > wire.MAX_LIST - 101
    assert answer.endswith(b"x\n\n")


@pytest.mark.parametrize("size", range(20))
def test_the_header_is_incomplete_up_to_its_last_byte(size: int) -> None:
    assert not wire.check_header(HEADER[:size])


def test_the_header_may_have_more_behind_it() -> None:
    assert wire.check_header(HEADER)
    assert wire.check_header(HEADER + b"\xff")


@pytest.mark.parametrize("position", range(20))
def test_a_header_is_refused_at_its_first_wrong_byte(position: int) -> None:
    wrong = HEADER[:position] + bytes([HEADER[position] ^ 1])
    with pytest.raises(RemoteProtocolError, match="expected the multistream-select header"):
        wire.check_header(wrong)


def test_random_bytes_may_come_from_a_private_network() -> None:
    with pytest.raises(RemoteProtocolError, match=r"the peer may be in a private network$"):
        wire.check_header(b"\xf0" * 24)
    for other in (b"\xf0" * 23, b"x" * 24):
        with pytest.raises(RemoteProtocolError, match=r"'$"):
            wire.check_header(other)


@pytest.mark.parametrize(
    ("greeting", "guess"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server"),
        (b'<!DOCTYPE HTML>\n<html lang="en">\n', "an HTTP server"),
        (b"<html>\r\n<head>", "an HTTP server"),
        (b"GET / HTTP/1.1\r\n", "an HTTP client"),
        (b"PRI * HTTP/2.0\r\n", "an HTTP/2 client"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"\x16\x03\x01\x02\x00\x01", "TLS"),
    ],
)
def test_a_foreign_peer_is_named(greeting: bytes, guess: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"the peer seems to (be|speak) {guess}$"):
        wire.check_header(greeting)


def test_an_unknown_greeting_is_shown_but_not_guessed() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        wire.check_header(b"\x00\x1b[31m\n" + b"z" * 1000)
    assert str(caught.value) == (
        "expected the multistream-select header, got b'\\x00\\x1b[31m\\nzzzzzzzzzzzzzzzzzzzzzzzzz'..."
    )
