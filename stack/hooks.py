"""Functions of several owners that are called at the same moment; none needs to know of the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVarTuple

from .background import contained

Args = TypeVarTuple("Args")

Failed = Callable[[Exception, str], object]
"""Told what a hook raised, and the name it was registered under."""


class Hooks(Generic[*Args]):
    """Hooks that are called in the order of their registration; what one raises keeps no other from its call."""

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._hooks: dict[object, tuple[str, Callable[[*Args], object]]] = {}

    def add(self, hook: Callable[[*Args], object], *, name: str) -> Callable[[], None]:
        """Call a hook from now on, and return the function that takes it back; `name` is for the log."""
        key = object()
        self._hooks[key] = name, hook

        def remove() -> None:
            self._hooks.pop(key, None)

        return remove

    def __call__(self, *args: *Args) -> None:
        """Call every hook."""
        for name, hook in list(self._hooks.values()):
            with contained(partial(self._fail, name)):
                hook(*args)

    def _fail(self, name: str, error: Exception) -> None:
        self._failed(error, name)
