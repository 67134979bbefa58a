"""Key-value stores: what a host keeps, in memory or on disk."""

from .memory import MemoryDatastore

__all__ = ["MemoryDatastore"]
