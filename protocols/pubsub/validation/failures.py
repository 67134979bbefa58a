"""What the application's code raises inside pubsub: contained, and logged without flooding the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Final

import trio

from peerstack.stack.background import contained

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId

    from ..scoring.config import ScoreConfig

_log = logging.getLogger(__name__)

QUIET: Final = 60.0
"""Seconds between two lines on one topic: peers choose how often its validators fail."""


class Failures:
    """Contains what the validators, the codec and the id function of one topic raise: it costs the message.

    The first failure is logged with its traceback, later ones in a line a minute with their number.
    """

    def __init__(self, subject: str, cost: str = "the message is ignored") -> None:
        self.count = 0
        """Failures so far."""
        self._subject = subject
        self._cost = cost
        self._unlogged = 0
        self._quiet_until = -inf

    def contained(self, what: str) -> contained:
        """Return a block that contains what `what` raises, and reports it."""
        return contained(partial(self.report, what))

    def report(self, what: str, error: Exception) -> None:
        """Log that `what` failed, or count it for the next line."""
        now = trio.current_time()
        first = not self.count
        self.count += 1
        self._unlogged += 1
        if first:
            _log.error("%s of %s failed; %s", what, self._subject, self._cost, exc_info=error)
        elif now < self._quiet_until:
            return
        else:
            _log.error(
                "%s of %s failed, %d times since the last line; %s; the last error: %r",
                what,
                self._subject,
                self._unlogged,
                self._cost,
                error,
            )
        self._unlogged = 0
        self._quiet_until = now + QUIET

    def close(self) -> None:
        """Log the failures that were counted since the last line."""
        if self._unlogged:
            _log.error("the code of %s failed %d more times; %s", self._subject, self._unlogged, self._cost)
            self._unlogged = 0


def contain_application_score(config: ScoreConfig | None) -> ScoreConfig | None:
    """Return the same settings with an `application_score` that gives 0 where the application's raises."""
    if config is None or config.application_score is None:
        return config
    return replace(config, application_score=_contained_score(config.application_score))


def _contained_score(score: Callable[[PeerId], float]) -> Callable[[PeerId], float]:
    failures = Failures("pubsub", "it counts as 0")

    def points(peer: PeerId) -> float:
        with failures.contained("the application_score"):
            found = float(score(peer))
            if not isfinite(found):
                raise ValueError(f"application_score must return finite numbers, but returned {found} for {peer}")
            return found
        return 0.0

    return points
