"""The listener's side of multistream-select: what it answers, refuses, and hands over."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from peerstack.stack.errors import NegotiationError, RemoteProtocolError
from peerstack.stack.negotiation import Replay, negotiate_inbound
from peerstack.stack.negotiation.wire import HEADER_MESSAGE, encode_message

NA, LS = b"\x03na\n", b"\x03ls\n"
NOISE, TLS, YAMUX = encode_message("/noise"), encode_message("/tls/1.0.0"), encode_message("/yamux/1.0.0")


class Peer:
    """A dialer that said everything at once, and what it was answered."""

    def __init__(self, said: bytes) -> None:
        near, self._far = trio.testing.memory_stream_pair()
        self._said = said
        self.stream = Replay(near)

    async def speak(self) -> Replay:
        await self._far.send_all(self._said)
        await self._far.send_eof()
        return self.stream

    async def heard(self) -> bytes:
        await self.stream.aclose()
        return b"".join([bytes(chunk) async for chunk in self._far])


async def test_the_proposal_is_echoed_byte_for_byte() -> None:
    peer = Peer(HEADER_MESSAGE + NOISE)
    assert await negotiate_inbound(await peer.speak(), {"/noise"}) == "/noise"
    assert await peer.heard() == HEADER_MESSAGE + NOISE


@pytest.mark.parametrize("supported", [{"/yamux/1.0.0"}, ["/yamux/1.0.0"], lambda name: name.startswith("/yamux/")])
async def test_refused_proposals_get_na_until_one_is_supported(supported: Callable[[str], bool]) -> None:
    peer = Peer(HEADER_MESSAGE + NOISE + TLS + YAMUX)
    assert await negotiate_inbound(await peer.speak(), supported) == "/yamux/1.0.0"
    assert await peer.heard() == HEADER_MESSAGE + NA + NA + YAMUX


async def test_the_header_is_answered_before_the_proposal_arrives() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(negotiate_inbound, Replay(near), {"/noise"})
        await far.send_all(HEADER_MESSAGE)
        assert await far.receive_some() == HEADER_MESSAGE
        await far.send_all(NOISE)
        assert await far.receive_some() == NOISE


async def test_data_behind_the_proposal_belongs_to_the_protocol() -> None:
    peer = Peer(HEADER_MESSAGE + NOISE + b"optimistic data")
    stream = await peer.speak()
    await negotiate_inbound(stream, {"/noise"})
    assert await stream.receive_some() == b"optimistic data"
    assert await stream.receive_some() == b""


async def test_na_is_sent_even_if_optimistic_data_follows_that_is_no_proposal() -> None:
    peer = Peer(HEADER_MESSAGE + NOISE + b"\x00data")
    with pytest.raises(RemoteProtocolError, match="message of 0 bytes"):
        await negotiate_inbound(await peer.speak(), {"/tls/1.0.0"})
    assert await peer.heard() == HEADER_MESSAGE + NA


async def test_sixteen_proposals_in_vain_are_enough() -> None:
    peer = Peer(HEADER_MESSAGE + NOISE * 16 + TLS)
    with pytest.raises(NegotiationError, match="none is supported here") as caught:
        await negotiate_inbound(await peer.speak(), {"/tls/1.0.0"})
    assert caught.value.offered == ("/noise",) * 16
    assert await peer.heard() == HEADER_MESSAGE + NA * 16


async def test_the_sixteenth_proposal_still_counts() -> None:
    peer = Peer(HEADER_MESSAGE + NOISE * 15 + TLS)
    assert await negotiate_inbound(await peer.speak(), {"/tls/1.0.0"}) == "/tls/1.0.0"


async def test_the_number_of_proposals_is_the_callers_choice() -> None:
    peer = Peer(HEADER_MESSAGE + NOISE + TLS)
    with pytest.raises(NegotiationError):
        await negotiate_inbound(await peer.speak(), {"/tls/1.0.0"}, max_proposals=1)


async def test_a_dialer_that_gives_up_is_told_from_one_that_breaks_off() -> None:
    gives_up = Peer(HEADER_MESSAGE + NOISE + TLS)
    with pytest.raises(NegotiationError, match=r"proposed '/noise', '/tls/1.0.0' and gave up") as caught:
        await negotiate_inbound(await gives_up.speak(), {"/yamux/1.0.0"})
    assert caught.value.offered == ("/noise", "/tls/1.0.0")
    breaks_off = Peer(HEADER_MESSAGE + NOISE + TLS[:3])
    with pytest.raises(RemoteProtocolError, match=r"closed the stream instead of proposing .* after b'\\x0b/t'"):
        await negotiate_inbound(await breaks_off.speak(), {"/yamux/1.0.0"})


@pytest.mark.parametrize("size", range(len(HEADER_MESSAGE + NOISE)))
async def test_a_dialer_that_closes_at_any_byte_is_reported(size: int) -> None:
    peer = Peer((HEADER_MESSAGE + NOISE)[:size])
    with pytest.raises(RemoteProtocolError, match="the peer closed the stream"):
        await negotiate_inbound(await peer.speak(), {"/noise"})


async def test_a_hostile_name_is_escaped_and_cut_in_the_message() -> None:
    peer = Peer(HEADER_MESSAGE + encode_message("\x1b[2J\r" + "\u202e" * 200, limit=1024))
    with pytest.raises(NegotiationError) as caught:
        await negotiate_inbound(await peer.speak(), {"/noise"})
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


async def test_the_longest_name_can_be_agreed_on() -> None:
    name = "/" + "x" * 1022
    peer = Peer(HEADER_MESSAGE + encode_message(name, limit=1024))
    assert await negotiate_inbound(await peer.speak(), {name}) == name


async def test_ls_gets_na_unless_allowed() -> None:
    peer = Peer(HEADER_MESSAGE + LS + NOISE)
    assert await negotiate_inbound(await peer.speak(), {"/noise"}) == "/noise"
    assert await peer.heard() == HEADER_MESSAGE + NA + NOISE


async def test_ls_is_answered_where_allowed_and_counts_as_a_proposal() -> None:
    peer = Peer(HEADER_MESSAGE + LS + NOISE)
    assert await negotiate_inbound(await peer.speak(), {"/noise"}, answer_ls=["/noise", "/a"]) == "/noise"
    assert await peer.heard() == HEADER_MESSAGE + b"\x0d\x07/noise\n\x03/a\n\n" + NOISE
    greedy = Peer(HEADER_MESSAGE + LS * 17)
    with pytest.raises(NegotiationError):
        await negotiate_inbound(await greedy.speak(), {"/noise"}, answer_ls=["/noise"])
    assert await greedy.heard() == HEADER_MESSAGE + b"\x09\x07/noise\n\n" * 16


async def test_the_terminated_simultaneous_open_gets_na() -> None:
    peer = Peer(HEADER_MESSAGE + encode_message("/libp2p/simultaneous-connect") + NOISE)
    assert await negotiate_inbound(await peer.speak(), {"/noise"}) == "/noise"
    assert await peer.heard() == HEADER_MESSAGE + NA + NOISE


async def test_data_of_a_peer_that_does_not_read_the_echo_is_served() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(HEADER_MESSAGE + NOISE + b"fire and forget")
    await far.send_eof()
    far.receive_stream.close()
    stream = Replay(near)
    assert await negotiate_inbound(stream, {"/noise"}) == "/noise"
    assert await stream.receive_some() == b"fire and forget"


async def test_a_dribbling_dialer_is_understood() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    data = HEADER_MESSAGE + TLS + NOISE + b"data"
    stream = Replay(near)

    async def dribble() -> None:
        for byte in data:
            await far.send_all(bytes([byte]))

    async def drain() -> None:
        heard = b""
        while len(heard) < len(HEADER_MESSAGE + NA + NOISE):
            heard += bytes(await far.receive_some())
        assert heard == HEADER_MESSAGE + NA + NOISE

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        nursery.start_soon(drain)
        assert await negotiate_inbound(stream, {"/noise"}) == "/noise"
        received = b""
        while len(received) < 4:
            received += bytes(await stream.receive_some())
    assert received == b"data"


async def test_a_dialer_that_reads_nothing_can_be_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far.send_all, HEADER_MESSAGE + NOISE)
        with pytest.raises(trio.TooSlowError), trio.fail_after(10):
            await negotiate_inbound(Replay(near), {"/noise"})
