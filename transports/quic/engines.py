"""Which engine carries a transport: the one that is asked for, or the first that can be imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .interface import EngineFactory


def _aioquic() -> EngineFactory:
    from .engine_aioquic import AioquicEngine

    return AioquicEngine


def _native() -> EngineFactory:
    from .engine_native import NativeEngine

    return NativeEngine


ENGINES: Final[dict[str, Callable[[], EngineFactory]]] = {"aioquic": _aioquic, "native": _native}
"""What imports each engine, by name, the preferred first."""


def find_engine(wanted: EngineFactory | str | None) -> EngineFactory:
    """Return the engine with this name, the factory itself, or, for None, the first that can be imported.

    Raises ValueError for a name that there is none of, ImportError for an engine that is not installed.
    """
    if wanted is None:
        return _first()
    if not isinstance(wanted, str):
        return wanted
    if wanted not in ENGINES:
        raise ValueError(f"there is no QUIC engine {wanted!r}; there are {', '.join(ENGINES)}")
    return ENGINES[wanted]()


def _first() -> EngineFactory:
    failure: ImportError | None = None
    for load in ENGINES.values():
        try:
            return load()
        except ImportError as error:
            failure = failure or error
    assert failure is not None
    raise failure
