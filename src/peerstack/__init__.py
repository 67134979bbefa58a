"""A modular peer-to-peer networking stack for Python on trio, byte-compatible with libp2p."""

from __future__ import annotations

from importlib import import_module

# Not that of `typing`, whose import takes as long as all that comes before a signal can be answered.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from peerstack._public import *  # noqa: F403 - its `__all__` is that of the package


def __getattr__(name: str) -> Any:
    # The command begins here, too: it must be able to answer a signal before half a second of imports is over.
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    public = import_module("peerstack._public")
    if name not in ("__all__", *public.__all__):
        # A folder of the package that was loaded by this very import.
        if name in globals():
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(public, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("peerstack._public").__all__})
