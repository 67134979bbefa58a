"""The conformance suite for stream muxers."""

from __future__ import annotations

from collections.abc import Callable

from ..abc import Muxer
from ..memory import DEFAULT_CAPACITY
from .connection_checks import check_broken_pipes, check_connections
from .connections import MuxerSubject
from .ending_checks import check_endings
from .stream_checks import check_streams


async def check_muxer(
    make_muxer: Callable[[], Muxer],
    *,
    capacity: int = DEFAULT_CAPACITY,
    settle: float = 0.05,
    flow_control: bool = True,
) -> None:
    """Check a stream muxer, over a pipe in memory without security. Raises `AssertionError`.

    `make_muxer` is called for each side of each connection. `capacity` is how many bytes the pipe below holds: small
    numbers make every frame arrive in pieces. `settle` is how many seconds without progress make a stream count as
    clogged. `flow_control=False` is for muxers without, such as mplex: nothing is asked of other streams while one is
    not read.
    """
    subject = MuxerSubject(make_muxer, capacity, settle, flow_control)
    await check_streams(subject)
    await check_endings(subject)
    await check_connections(subject)
    await check_broken_pipes(subject)
