"""Byte streams between hosts of one process."""

from .memory import MemoryNetwork, MemoryTransport

__all__ = ["MemoryNetwork", "MemoryTransport"]
