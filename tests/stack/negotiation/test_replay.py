"""Replay: a trio stream like the one it wraps, that takes bytes back."""

import pytest
import trio
import trio.testing

from peerstack.stack.errors import LocalProtocolError
from peerstack.stack.negotiation import Replay


class OneWayOut(trio.abc.Stream):
    """A stream that cannot close its write half alone, as TLS over TCP cannot."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("not called")

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("not called")

    async def aclose(self) -> None:
        raise AssertionError("not called")


async def make_pair() -> tuple[Replay, Replay]:
    near, far = trio.testing.memory_stream_pair()
    return Replay(near), Replay(far)


async def make_lockstep_pair() -> tuple[Replay, Replay]:
    near, far = trio.testing.lockstep_stream_pair()
    return Replay(near), Replay(far)


async def test_it_is_a_proper_half_closeable_stream() -> None:
    await trio.testing.check_half_closeable_stream(make_pair, None)
    await trio.testing.check_two_way_stream(make_lockstep_pair, make_lockstep_pair)


async def test_bytes_given_back_come_first_and_in_order() -> None:
    near, far = await make_pair()
    await far.send_all(b"behind")
    near.unread(b"second")
    near.unread(b"first")
    assert await near.receive_some(3) == b"fir"
    near.unread(b"fir")
    assert await near.receive_some() == b"firstsecond"
    assert await near.receive_some() == b"behind"


async def test_bytes_given_back_are_received_even_behind_the_end() -> None:
    near, far = await make_pair()
    await far.send_eof()
    near.unread(b"x")
    assert await near.receive_some(100) == b"x"
    assert await near.receive_some(100) == b""


async def test_the_rules_for_sizes_hold_with_bytes_given_back() -> None:
    near, _ = await make_pair()
    near.unread(b"x")
    with pytest.raises(ValueError, match="max_bytes"):
        await near.receive_some(0)
    assert await near.receive_some() == b"x"


async def test_receiving_what_was_given_back_is_a_checkpoint() -> None:
    near, _ = await make_pair()
    near.unread(b"x")
    with trio.testing.assert_checkpoints():
        await near.receive_some()


async def test_a_closed_stream_forgets_what_was_given_back() -> None:
    near, _ = await make_pair()
    near.unread(b"x")
    await near.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some()


async def test_a_stream_that_cannot_half_close_says_so() -> None:
    with pytest.raises(LocalProtocolError, match="OneWayOut cannot close only its write half"):
        await Replay(OneWayOut()).send_eof()
