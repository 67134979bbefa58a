"""What all schemes hand out: a key pair as bytes and a function, and the shape of a verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

Verify: TypeAlias = Callable[[bytes, bytes], None]
"""Called with signature and message; raises `cryptography.exceptions.InvalidSignature`."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair; `public` and `private` are the data fields of the containers."""

    public: bytes
    private: bytes = field(repr=False)
    sign: Callable[[bytes], bytes] = field(repr=False)
