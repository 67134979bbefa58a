"""Asks the connection gater of a host. It is the user's code: if it fails, the answer is no, and logged as a bug."""

from __future__ import annotations

from collections.abc import Callable

from multiaddr import Multiaddr

from ..abc import ConnectionInfo, Gater
from ..background import contained
from ..bugs import BugReporter
from ..errors import Refused
from ..identity import PeerId


class Gate:
    """Each check raises Refused where the gater says no, raises, or says neither yes nor no."""

    def __init__(self, gater: Gater | None, bugs: BugReporter) -> None:
        self._gater = gater
        self._bugs = bugs

    def check_dial(self, peer: PeerId | None, address: Multiaddr) -> None:
        """Ask before an address is dialed."""
        if (gater := self._gater) is not None:
            self._check(f"address {address}", lambda: gater.allow_dial(peer, address))

    def check_accept(self, address: Multiaddr) -> None:
        """Ask before anything is read of an arriving connection."""
        if (gater := self._gater) is not None:
            self._check(f"address {address}", lambda: gater.allow_accept(address))

    def check_connection(self, info: ConnectionInfo) -> None:
        """Ask when the peer is authenticated."""
        if (gater := self._gater) is not None:
            self._check(f"peer {info.remote_peer}", lambda: gater.allow_connection(info))

    def _check(self, what: str, ask: Callable[[], bool]) -> None:
        def failed(error: Exception) -> None:
            self._bugs.report(error, f"the connection gater failed; {what} is refused")
            raise Refused(f"our connection gater failed on {what}: {type(error).__name__}: {error}") from error

        answer = False
        with contained(failed):
            answer = ask()
            if not isinstance(answer, bool):
                # An `async def` would allow every peer: what it returns is true.
                raise TypeError(f"the gater has to answer True or False, not {answer!r}")
        if not answer:
            raise Refused(f"our connection gater refuses {what}")
