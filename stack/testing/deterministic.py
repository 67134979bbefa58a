"""Runs that repeat: trio's scheduler makes the same choices, the clock jumps over idle time, identities are seeded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TypeVar

import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# trio offers no public way to do this; its own Hypothesis support uses the same names. Nothing else here is private.
from trio._core import _run as _trio_run

from ..identity import Identity

_RANDOM = "_r"
_DETERMINISTIC = "_ALLOW_DETERMINISTIC_SCHEDULING"
_PREFIX = bytes([0x08, 1, 0x12, 64])  # PrivateKey { Type: Ed25519, Data: 64 bytes }, peer-ids/peer-ids.md

ResultT = TypeVar("ResultT")


@contextmanager
def seed_scheduler(seed: int) -> Iterator[None]:
    """Make the order in which trio runs its tasks depend on `seed` alone, within the block.

    It holds for every trio loop of the process. Tasks that wait for threads, sockets or other processes still depend
    on those.
    """
    names = _trio_run.__dict__
    random: Random = names[_RANDOM]
    state, allowed = random.getstate(), names.get(_DETERMINISTIC)
    random.seed(seed)
    if allowed is not None:
        names[_DETERMINISTIC] = True
    try:
        yield
    finally:
        random.setstate(state)
        if allowed is not None:
            names[_DETERMINISTIC] = allowed


def run_deterministic(
    async_function: Callable[..., Awaitable[ResultT]],
    *args: object,
    seed: int,
) -> ResultT:
    """Run as `trio.run` does, with a seeded scheduler and a `MockClock` that starts at 0 and jumps when all wait."""
    with seed_scheduler(seed):
        return trio.run(async_function, *args, clock=trio.testing.MockClock(autojump_threshold=0))


def seeded_identity(random: Random) -> Identity:
    """Return the next Ed25519 identity of a random generator. It is not secret: for tests only."""
    secret = random.randbytes(32)
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return Identity.decode(_PREFIX + secret + public)
