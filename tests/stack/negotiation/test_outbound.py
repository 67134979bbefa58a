"""The dialer's side of multistream-select: what it sends, and what each answer leads to."""

import pytest
import trio
import trio.testing

from peerstack.stack.errors import LocalProtocolError, NegotiationError, RemoteProtocolError
from peerstack.stack.negotiation import Replay, negotiate_outbound
from peerstack.stack.negotiation.wire import HEADER_MESSAGE, encode_message

NA = b"\x03na\n"
NOISE, TLS, YAMUX = encode_message("/noise"), encode_message("/tls/1.0.0"), encode_message("/yamux/1.0.0")


class CountedWrites(Replay):
    """Remembers each write."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.writes: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        await super().send_all(data)


async def peer_that_says(said: bytes) -> CountedWrites:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(said)
    await far.send_eof()
    return CountedWrites(near)


async def test_header_and_first_proposal_leave_in_one_write() -> None:
    stream = await peer_that_says(HEADER_MESSAGE + NOISE)
    assert await negotiate_outbound(stream, ["/noise", "/tls/1.0.0"]) == "/noise"
    assert stream.writes == [HEADER_MESSAGE + NOISE]


async def test_others_are_proposed_in_order_until_one_is_taken() -> None:
    stream = await peer_that_says(HEADER_MESSAGE + NA + NA + YAMUX)
    assert await negotiate_outbound(stream, ["/noise", "/tls/1.0.0", "/yamux/1.0.0", "/never"]) == "/yamux/1.0.0"
    assert stream.writes == [HEADER_MESSAGE + NOISE, TLS, YAMUX]


async def test_refusal_of_all_says_what_was_offered() -> None:
    stream = await peer_that_says(HEADER_MESSAGE + NA * 1000)
    with pytest.raises(NegotiationError, match=r"supports none of '/noise', '/tls/1.0.0'") as caught:
        await negotiate_outbound(stream, ["/noise", "/tls/1.0.0"])
    assert caught.value.offered == ("/noise", "/tls/1.0.0")
    assert stream.writes == [HEADER_MESSAGE + NOISE, TLS]


async def test_bytes_behind_the_agreement_belong_to_the_protocol() -> None:
    stream = await peer_that_says(HEADER_MESSAGE + NOISE + b"\x00\x20first noise message")
    await negotiate_outbound(stream, ["/noise"])
    assert await stream.receive_some() == b"\x00\x20first noise message"
    assert await stream.receive_some() == b""


@pytest.mark.parametrize("answer", [TLS, HEADER_MESSAGE, encode_message("ls"), b"\x08/noise \n", b"\x04na \n"])
async def test_an_answer_to_another_question_is_the_peers_fault(answer: bytes) -> None:
    stream = await peer_that_says(HEADER_MESSAGE + answer)
    with pytest.raises(RemoteProtocolError, match=r"proposed '/noise', but the peer answered"):
        await negotiate_outbound(stream, ["/noise"])


@pytest.mark.parametrize("size", range(len(HEADER_MESSAGE)))
async def test_a_peer_that_closes_inside_the_header_is_reported(size: int) -> None:
    stream = await peer_that_says(HEADER_MESSAGE[:size])
    with pytest.raises(RemoteProtocolError, match="closed the stream before the multistream-select header"):
        await negotiate_outbound(stream, ["/noise"])


@pytest.mark.parametrize("size", range(len(NOISE)))
async def test_a_peer_that_closes_inside_its_answer_is_reported(size: int) -> None:
    stream = await peer_that_says(HEADER_MESSAGE + NOISE[:size])
    with pytest.raises(RemoteProtocolError, match="closed the stream instead of answering the proposal of '/noise'"):
        await negotiate_outbound(stream, ["/noise"])


async def test_a_web_server_is_recognised() -> None:
    stream = await peer_that_says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match=r"got b'HTTP/1\.1 400 .*'\.\.\.; the peer seems to be an HTTP"):
        await negotiate_outbound(stream, ["/noise"])


async def test_a_banner_shorter_than_its_apparent_length_is_not_waited_for() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(b"SSH-2.0-x\r\n")  # 'S' would announce 83 bytes, and the server now waits for us
    with pytest.raises(RemoteProtocolError, match="speak SSH"):
        await negotiate_outbound(Replay(near), ["/noise"])


async def test_a_huge_announcement_is_refused_at_once() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(HEADER_MESSAGE + bytes.fromhex("ffffffffffffffff7f"))
    with pytest.raises(RemoteProtocolError, match="message of 9223372036854775807 bytes"):
        await negotiate_outbound(Replay(near), ["/noise"])


@pytest.mark.parametrize("protocols", [[], ["/" + "x" * 139], ["/noise", ""]])
async def test_what_cannot_be_proposed_is_refused_before_anything_is_sent(protocols: list[str]) -> None:
    stream = await peer_that_says(b"")
    with pytest.raises(LocalProtocolError):
        await negotiate_outbound(stream, protocols)
    assert stream.writes == []


async def test_a_silent_peer_is_waited_for_until_the_callers_deadline(autojump_clock: trio.testing.MockClock) -> None:
    near, _far = trio.testing.memory_stream_pair()
    with pytest.raises(trio.TooSlowError), trio.fail_after(10):
        await negotiate_outbound(Replay(near), ["/noise"])
    assert trio.current_time() >= 10
