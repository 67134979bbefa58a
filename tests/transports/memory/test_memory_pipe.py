"""The pipe in memory: a proper trio stream, bounded, and movable without waiting."""

import trio
import trio.testing

from peerstack.stack.memory import MemoryPipe, memory_pipe_pair


async def make_pair() -> tuple[MemoryPipe, MemoryPipe]:
    return memory_pipe_pair()


async def make_clogged_pair() -> tuple[MemoryPipe, MemoryPipe]:
    near, far = memory_pipe_pair()
    for pipe in near, far:
        while pipe.send_nowait(bytes(10_000)):
            pass
    return near, far


async def test_it_is_a_proper_half_closeable_stream() -> None:
    await trio.testing.check_half_closeable_stream(make_pair, make_clogged_pair)
