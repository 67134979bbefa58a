"""Byte streams in memory: what the memory transport, the simulated network and the test kit are made of."""

from .exchange import Exchange, MemoryListener, memory_address, memory_number
from .pipe import DEFAULT_CAPACITY, MemoryPipe, memory_pipe_pair
from .queue import ByteQueue, QueueState

__all__ = [
    "DEFAULT_CAPACITY",
    "ByteQueue",
    "Exchange",
    "MemoryListener",
    "MemoryPipe",
    "QueueState",
    "memory_address",
    "memory_number",
    "memory_pipe_pair",
]
