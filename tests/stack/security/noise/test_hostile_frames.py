"""Frames that do not decrypt end the channel: changed, too short, repeated, out of order, beyond the counter."""

import pytest
import trio

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.noise import NoiseChannel
from peerstack.stack.security.noise.wire import LENGTH, MAX_NONCE, NONCE

from .parties import sessions


class Attacked:
    """A channel, and frames of its peer to be sent as one likes."""

    def __init__(self, *contents: bytes, first: int = 0) -> None:
        near, far = memory_pipe_pair(1024 * 1024)
        mine, theirs = sessions()
        self.near: MemoryPipe = near
        self.channel = NoiseChannel(far, theirs)
        sealed = [mine.send.encrypt(NONCE.pack(first + n), content, None) for n, content in enumerate(contents)]
        self.frames = [LENGTH.pack(len(frame)) + frame for frame in sealed]

    async def refused(self, data: bytes) -> None:
        self.near.send_nowait(data)
        with pytest.raises(RemoteProtocolError, match=r"does not decrypt|used up"):
            await self.channel.read()


async def test_any_changed_bit_of_a_frame() -> None:
    size = len(Attacked(b"abc").frames[0])
    for position in range(2, size):
        attacked = Attacked(b"abc")
        frame = bytearray(attacked.frames[0])
        frame[position] ^= 1 << position % 8
        await attacked.refused(bytes(frame))


@pytest.mark.parametrize("size", range(16))
async def test_a_frame_without_room_for_its_tag(size: int) -> None:
    await Attacked().refused(LENGTH.pack(size) + bytes(size))


async def test_a_length_that_is_too_small() -> None:
    attacked = Attacked(b"abc")
    await attacked.refused(LENGTH.pack(18) + attacked.frames[0][2:])


async def test_a_repeated_frame() -> None:
    attacked = Attacked(b"abc")
    attacked.near.send_nowait(attacked.frames[0])
    assert await attacked.channel.read() == [b"abc"]
    await attacked.refused(attacked.frames[0])


async def test_frames_out_of_order() -> None:
    attacked = Attacked(b"abc", b"def")
    await attacked.refused(attacked.frames[1] + attacked.frames[0])


async def test_good_frames_before_the_bad_one_count_however_they_arrive() -> None:
    attacked = Attacked(b"abc", b"def")
    attacked.near.send_nowait(attacked.frames[0] + attacked.frames[1][:-1] + b"?")
    assert await attacked.channel.read() == [b"abc"]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="frame 1 of 19 bytes does not decrypt"):
            await attacked.channel.read()


async def test_after_a_bad_frame_even_a_good_one_is_refused() -> None:
    # An attacker who changed a frame could send the original one later (snow RUSTSEC-2024-0011, CVE-2021-4239).
    attacked = Attacked(b"abc")
    await attacked.refused(attacked.frames[0][:-1] + b"?")
    await attacked.refused(attacked.frames[0])


async def test_frames_of_our_own_direction() -> None:
    near, far = memory_pipe_pair()
    _, theirs = sessions()
    channel = NoiseChannel(far, theirs)
    sealed = theirs.send.encrypt(NONCE.pack(0), b"abc", None)
    near.send_nowait(LENGTH.pack(len(sealed)) + sealed)
    with pytest.raises(RemoteProtocolError, match="frame 0 of 19 bytes does not decrypt"):
        await channel.read()


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_counter_that_would_wrap(count: int) -> None:
    attacked = Attacked(b"abc", first=MAX_NONCE)
    attacked.channel._receive_nonce = MAX_NONCE
    attacked.near.send_nowait(attacked.frames[0] + (LENGTH.pack(16) + bytes(16)) * (count - 1))
    assert await attacked.channel.read() == [b"abc"]
    with pytest.raises(RemoteProtocolError, match="counter is used up"):
        await attacked.channel.read()


async def test_a_pipe_that_breaks() -> None:
    attacked = Attacked()
    attacked.near.abort()
    with pytest.raises(trio.BrokenResourceError):
        await attacked.channel.read()
