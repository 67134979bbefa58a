"""What applications and protocols hand to a host, and what a protocol needs of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .streams import ConnectionInfo, Stream

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..identity import PeerId


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Serves one inbound stream; the stream is closed when it returns, and reset when it raises."""


class Gater(Protocol):
    """Decides which peers and addresses may be dialed or accepted; every answer is yes (True) or no (False).

    One that raises, or answers anything else, refuses that connection, and the log says so with a traceback.
    """

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        """Asked before each dial of an address."""
        ...

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        """Asked for each arriving connection before a byte is read."""
        ...

    def allow_connection(self, info: ConnectionInfo) -> bool:
        """Asked when the peer is authenticated, in either direction."""
        ...


class OpensStreams(Protocol):
    """What the dialing side of a protocol needs of a host."""

    async def open_stream(
        self, peer: PeerId | str | Multiaddr, protocol: str, /, *, allow_limited: bool = False
    ) -> Stream:
        """Open a stream to the peer (its id, or an address that ends in it) for a protocol, connecting at need.

        `allow_limited` says that a connection will do on which a relay limits time or data. Raises `StackError`.
        """
        ...
