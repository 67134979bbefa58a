"""Describe failures, and log bugs with their traceback, at a bounded rate."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Hashable

import trio

from .errors import RemoteProtocolError, describe, is_expected
from .limits import RateLimiter

_log = logging.getLogger(__name__)

LINES_PER_SECOND = 1 / 30
"""Tracebacks a second of one bug, in the long run: a peer that can trigger it must not fill a disk."""
LINES_AT_ONCE = 3
"""Tracebacks of one bug that are written at once before the rate applies."""
MAX_BUGS = 256
"""Bugs whose rates are remembered."""


class BugReporter:
    """Separates bugs from failures of peers and the network, and logs them; `raise_bugs` raises them, for tests."""

    def __init__(self, *, raise_bugs: bool = False) -> None:
        self._raise_bugs = raise_bugs
        self._lines = RateLimiter(LINES_PER_SECOND, LINES_AT_ONCE, capacity=MAX_BUGS)
        self._left_out: dict[Hashable, int] = {}

    def reason(self, error: Exception, what: str, *, now: float | None = None) -> str:
        """Return why `what` failed, and whose fault it was; a bug is reported.

        `now` is for code that runs outside of trio; by default it is trio's clock that bounds the rate.
        """
        if isinstance(error, RemoteProtocolError):
            return f"the peer broke the protocol: {error}"
        if not is_expected(error):
            self.report(error, f"{what} failed by a bug", now=now)
        return describe(error)

    def report(self, error: Exception, line: str, *, now: float | None = None) -> None:
        """Log a bug with its traceback, or only count it where the same one was just logged."""
        if self._raise_bugs:
            raise error
        kind = (type(error), _place(error))
        if not self._lines.allow(kind, trio.current_time() if now is None else now):
            if len(self._left_out) < MAX_BUGS or kind in self._left_out:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        left_out = self._left_out.pop(kind, 0)
        more = f" (and {left_out} times more since the last such line)" if left_out else ""
        _log.error("%s%s", line, more, exc_info=error)


def _place(error: BaseException) -> Hashable:
    """Return the line of code that raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frame = line = None
    for frame, line in traceback.walk_tb(error.__traceback__):  # noqa: B007 - the last one counts
        pass
    return None if frame is None else (frame.f_code.co_filename, line)
