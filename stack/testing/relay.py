"""A relay between two pipes that passes bytes on, or changes them in a chosen way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import trio

from ..memory import MemoryPipe, memory_pipe_pair

Forward: TypeAlias = Callable[[MemoryPipe, MemoryPipe], Awaitable[None]]
"""Carries bytes from one pipe to another until the end."""


@asynccontextmanager
async def relay(there: Forward, back: Forward) -> AsyncIterator[tuple[MemoryPipe, MemoryPipe]]:
    """Give two pipes that are connected through `there` (from the first to the second) and `back`."""
    near, near_inside = memory_pipe_pair()
    far_inside, far = memory_pipe_pair()

    async def carry(forward: Forward, source: MemoryPipe, sink: MemoryPipe) -> None:
        with suppress(trio.BrokenResourceError):
            await forward(source, sink)
            await sink.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry, there, near_inside, far_inside)
        nursery.start_soon(carry, back, far_inside, near_inside)
        async with near, far:
            yield near, far
        nursery.cancel_scope.cancel()


async def pass_on(source: MemoryPipe, sink: MemoryPipe) -> None:
    """Pass everything on as it is."""
    async for data in source:
        await sink.send_all(data)


async def byte_by_byte(source: MemoryPipe, sink: MemoryPipe) -> None:
    """Pass every byte on by itself, and let the reader run before the next."""
    async for data in source:
        for index in range(len(data)):
            await sink.send_all(data[index : index + 1])
            await trio.lowlevel.checkpoint()


def cut_after(size: int) -> Forward:
    """Pass on `size` bytes, then end."""

    async def forward(source: MemoryPipe, sink: MemoryPipe) -> None:
        left = size
        while left and (data := await source.receive_some(left)):
            await sink.send_all(data)
            left -= len(data)

    return forward


def flip(position: int) -> Forward:
    """Change the lowest bit of the byte at `position`, and pass on everything else as it is."""

    async def forward(source: MemoryPipe, sink: MemoryPipe) -> None:
        await cut_after(position)(source, sink)
        changed = bytes(byte ^ 1 for byte in await source.receive_some(1))
        await sink.send_all(changed)
        await pass_on(source, sink)

    return forward


def counting(sizes: list[int]) -> Forward:
    """Pass everything on, and note the size of each piece."""

    async def forward(source: MemoryPipe, sink: MemoryPipe) -> None:
        async for data in source:
            sizes.append(len(data))
            await sink.send_all(data)

    return forward
