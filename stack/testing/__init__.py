"""The test kit: conformance suites, a simulated network, and small things in memory to test on."""

from ..memory import MemoryPipe, memory_pipe_pair
from .observers import RecordingObserver
from .plain import PlainChannel, plain_channel_pair

__all__ = [
    "MemoryPipe",
    "PlainChannel",
    "RecordingObserver",
    "memory_pipe_pair",
    "plain_channel_pair",
]
