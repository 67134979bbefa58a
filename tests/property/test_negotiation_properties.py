"""multistream-select under arbitrary bytes and arbitrary chunking: only our errors, and no byte lost."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.errors import LocalProtocolError, NegotiationError, RemoteProtocolError
from peerstack.stack.negotiation import negotiate_inbound, negotiate_outbound, read_answer, wire

T = TypeVar("T")
IDS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=30).map("/".__add__)


class Chunked:
    """A stream that delivers `chunks` as they are, then ends; it must never be asked to wait."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.rest = [chunk for chunk in chunks if chunk]
        self.sent = b""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes:
        if not self.rest:
            return b""
        chunk = self.rest.pop(0)
        if max_bytes is not None and len(chunk) > max_bytes:
            self.rest.insert(0, chunk[max_bytes:])
        return chunk[:max_bytes]

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        self.sent += bytes(data)

    def unread(self, data: bytes, /) -> None:
        self.rest.insert(0, data)


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut `data` anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def run(call: Callable[[], Awaitable[T]]) -> T:
    """Run `call` to its end in a loop of its own."""

    async def main() -> T:
        return await call()

    return trio.run(main)


@given(IDS)
def test_messages_round_trip(text: str) -> None:
    encoded = wire.encode_message(text, limit=1024)
    assert wire.decode_message(encoded) == (text, len(encoded))
    assert wire.decode_message(encoded + b"more") == (text, len(encoded))


@given(st.text(max_size=300))
def test_the_encoder_gives_a_message_or_our_error(text: str) -> None:
    with contextlib.suppress(LocalProtocolError):
        encoded = wire.encode_message(text)
        assert wire.decode_message(encoded) == (text, len(encoded))


@given(st.binary(max_size=64))
def test_the_decoder_is_bounded_and_canonical(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decoded = wire.decode_message(data)
        if decoded is None:
            return
        text, size = decoded
        assert data[:size].endswith(text.encode() + b"\n")
        assert size <= 2 + wire.MAX_MESSAGE


@given(st.binary(max_size=40))
def test_header_check_never_calls_a_wrong_header_right(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert wire.check_header(data) == data.startswith(wire.HEADER_MESSAGE)


@given(st.data(), st.lists(IDS, min_size=1, max_size=6, unique=True), st.binary(max_size=3000))
def test_the_dialer_loses_no_byte_however_they_are_cut(data: st.DataObject, ids: list[str], rest: bytes) -> None:
    chosen = data.draw(st.integers(0, len(ids) - 1))
    answers = wire.NOT_AVAILABLE_MESSAGE * chosen + wire.encode_message(ids[chosen])
    stream = Chunked(data.draw(cut(wire.HEADER_MESSAGE + answers + rest)))
    assert run(lambda: negotiate_outbound(stream, ids)) == ids[chosen]
    assert b"".join(stream.rest) == rest
    assert stream.sent == wire.HEADER_MESSAGE + b"".join(map(wire.encode_message, ids[: chosen + 1]))


@given(st.data(), st.lists(IDS, min_size=1, max_size=6, unique=True), st.binary(max_size=3000))
def test_the_listener_loses_no_byte_however_they_are_cut(data: st.DataObject, ids: list[str], rest: bytes) -> None:
    proposals = b"".join(map(wire.encode_message, ids))
    stream = Chunked(data.draw(cut(wire.HEADER_MESSAGE + proposals + rest)))
    assert run(lambda: negotiate_inbound(stream, {ids[-1]})) == ids[-1]
    assert b"".join(stream.rest) == rest
    expected = wire.NOT_AVAILABLE_MESSAGE * (len(ids) - 1) + wire.encode_message(ids[-1])
    assert stream.sent == wire.HEADER_MESSAGE + expected


@given(st.data(), IDS, st.binary(max_size=3000))
def test_a_late_answer_loses_no_byte_however_it_is_cut(data: st.DataObject, name: str, rest: bytes) -> None:
    stream = Chunked(data.draw(cut(wire.HEADER_MESSAGE + wire.encode_message(name) + rest)))
    run(lambda: read_answer(stream, name))
    assert b"".join(stream.rest) == rest


@pytest.mark.parametrize("prefix", [b"", wire.HEADER_MESSAGE])
@given(st.data())
def test_garbage_leads_to_our_errors_only(prefix: bytes, data: st.DataObject) -> None:
    garbage = prefix + data.draw(st.binary(max_size=200))
    with contextlib.suppress(NegotiationError, RemoteProtocolError):
        run(lambda: negotiate_outbound(Chunked([garbage]), ["/noise", "/tls/1.0.0"]))
    with contextlib.suppress(NegotiationError, RemoteProtocolError):
        run(lambda: negotiate_inbound(Chunked([garbage]), {"/noise"}))
