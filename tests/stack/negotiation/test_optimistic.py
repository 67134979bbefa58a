"""Optimistic negotiation: data leaves with the proposal, the answer is read later."""

import pytest
import trio
import trio.testing

from peerstack.stack.errors import LocalProtocolError, NegotiationError, RemoteProtocolError
from peerstack.stack.negotiation import Replay, negotiate_inbound, optimistic_prefix, read_answer
from peerstack.stack.negotiation.wire import HEADER_MESSAGE, encode_message

PING = encode_message("/ipfs/ping/1.0.0")


async def stream_that_says(said: bytes) -> Replay:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(said)
    await far.send_eof()
    return Replay(near)


def test_the_prefix_is_header_and_proposal() -> None:
    assert optimistic_prefix("/ipfs/ping/1.0.0") == HEADER_MESSAGE + PING
    with pytest.raises(LocalProtocolError):
        optimistic_prefix("/" + "x" * 139)


async def test_the_answer_is_consumed_and_nothing_else() -> None:
    stream = await stream_that_says(HEADER_MESSAGE + PING + b"pong")
    await read_answer(stream, "/ipfs/ping/1.0.0")
    assert await stream.receive_some() == b"pong"


async def test_a_refusal_is_reported_late() -> None:
    stream = await stream_that_says(HEADER_MESSAGE + b"\x03na\n")
    with pytest.raises(NegotiationError, match=r"does not support '/ipfs/ping/1.0.0'") as caught:
        await read_answer(stream, "/ipfs/ping/1.0.0")
    assert caught.value.offered == ("/ipfs/ping/1.0.0",)


async def test_another_answer_is_the_peers_fault() -> None:
    stream = await stream_that_says(HEADER_MESSAGE + encode_message("/other"))
    with pytest.raises(RemoteProtocolError, match="answered '/other'"):
        await read_answer(stream, "/ipfs/ping/1.0.0")


@pytest.mark.parametrize("size", range(len(HEADER_MESSAGE + PING)))
async def test_an_end_before_the_answer_is_reported(size: int) -> None:
    stream = await stream_that_says((HEADER_MESSAGE + PING)[:size])
    with pytest.raises(RemoteProtocolError, match="the peer closed the stream"):
        await read_answer(stream, "/ipfs/ping/1.0.0")


async def test_one_write_carries_the_whole_exchange_to_our_listener() -> None:
    dialer, listener = (Replay(end) for end in trio.testing.memory_stream_pair())
    await dialer.send_all(optimistic_prefix("/ipfs/ping/1.0.0") + b"ping")
    await dialer.send_eof()
    assert await negotiate_inbound(listener, {"/ipfs/ping/1.0.0"}) == "/ipfs/ping/1.0.0"
    assert await listener.receive_some() == b"ping"
    await listener.send_all(b"pong")
    await read_answer(dialer, "/ipfs/ping/1.0.0")
    assert await dialer.receive_some() == b"pong"
