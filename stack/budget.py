"""A number of bytes that may be reserved, possibly inside a larger budget."""

from __future__ import annotations


class Budget:
    """Bytes that may be reserved here and in every budget above; all or nothing."""

    __slots__ = ("_parent", "limit", "used")

    def __init__(self, limit: int, parent: Budget | None = None) -> None:
        self.limit = limit
        self.used = 0
        self._parent = parent

    def reserve(self, size: int) -> bool:
        """Reserve `size` bytes; False, and nothing reserved, when they are not to be had."""
        if self.used + size > self.limit:
            return False
        if self._parent is not None and not self._parent.reserve(size):
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Give back `size` bytes."""
        self.used -= size
        if self._parent is not None:
            self._parent.release(size)
