"""Runs in which trio's scheduler makes the same choices each time, on a clock that jumps over idle time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TypeVar

import trio
import trio.testing

# trio offers no public way to do this; its own Hypothesis support uses the same names. Nothing else here is private.
from trio._core import _run as _trio_run

_RANDOM = "_r"
_DETERMINISTIC = "_ALLOW_DETERMINISTIC_SCHEDULING"

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
