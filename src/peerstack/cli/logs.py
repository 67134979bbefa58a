"""What `-v` shows on stderr: events, and what the library logs, in lines that people can read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from peerstack.stack import events
from peerstack.stack.events import Event

from .shapes import printable

_SILENT = logging.NullHandler()
"""Without any handler Python prints warnings of every library; failures are printed in one line of ours instead."""

_log = logging.getLogger("peerstack.events")


@contextmanager
def shown(verbose: int, stderr: TextIO | None) -> Iterator[None]:
    """Show during the block what the library logs: with 1 what concerns operators, with 2 all, with 0 nothing.

    Other libraries are silent in any case.
    """
    ours, root = logging.getLogger("peerstack"), logging.getLogger()
    handler: logging.Handler = logging.NullHandler()
    if verbose and stderr is not None:
        handler = logging.StreamHandler(stderr)
        handler.setFormatter(_Readable())
    level = ours.level
    if verbose:
        ours.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    ours.addHandler(handler)
    root.addHandler(_SILENT)
    try:
        yield
    finally:
        root.removeHandler(_SILENT)
        ours.removeHandler(handler)
        ours.setLevel(level)


class _Readable(logging.Formatter):
    """Time, level, logger and message, without what could control the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        lines = super().format(record).replace(" peerstack.", " ", 1).splitlines()
        return "\n".join(map(printable, lines))


class EventLog:
    """An observer that logs what happens to connections, and of streams with `-vv`."""

    def notify(self, event: Event) -> None:
        """Log an event."""
        match event:
            case events.ConnectionOpened(info):
                how = f"{info.direction}, {info.security}, {info.muxer}"
                _log.info("connected to %s at %s (%s)", info.remote_peer, info.remote_address, how)
            case events.ConnectionClosed(info, reason):
                _log.info("disconnected from %s: %s", info.remote_peer, reason or "in good order")
            case events.PeerIdentified():
                _log.info("identified %s: %s", event.peer, event.agent or "an agent without a name")
            case events.DialFailed(report):
                _log.info("%s", report.error())
            case events.InboundRefused(address, reason):
                _log.info("refused a connection from %s: %s", address, reason)
            case _:
                _log.debug("%s", event)
