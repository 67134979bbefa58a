"""The connections of a swarm, by peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import trio
from multiaddr import Multiaddr

from ..abc import ConnectionState, Direction, MuxedConnection, Stream
from ..identity import PeerId
from ..limits import ConnectionScope
from .preference import Rank, rank

_numbers = count()


class Connection:
    """A connection in the table: the muxed connection, what it counts as, and whether the peer is identified."""

    __slots__ = (
        "_on_closed",
        "dialed",
        "gone",
        "hook_failure",
        "identified",
        "muxed",
        "number",
        "opened",
        "reason",
        "relayed",
        "scope",
        "serving",
    )

    def __init__(self, muxed: MuxedConnection, scope: ConnectionScope, dialed: Multiaddr | None = None) -> None:
        self.muxed = muxed
        self.scope = scope
        self.gone = trio.Event()
        """Set when the connection has left the table."""
        self.reason: str | None = None
        """Why it was lost; None while it is open, and after an orderly end."""
        self.opened = trio.current_time()
        """On trio's clock, in seconds."""
        self.number = next(_numbers)
        """The newer of two connections has the higher one."""
        self.dialed = dialed
        """The address that led to the peer, as it was given: with the name, if names were resolved. None inbound."""
        self.relayed = muxed.info.relay is not None
        self.identified = trio.Event()
        """Set when the hooks that identify the peer are done, well or not."""
        self.hook_failure: Exception | None = None
        """What such a hook raised."""
        self.serving = trio.CancelScope()
        """Round everything that serves it: cancelled where the muxer fails to end."""
        self._on_closed: dict[Stream, Callable[[], None]] = {}
        muxed.on_stream_closed = self._stream_closed

    def __repr__(self) -> str:
        return f"<Connection {self.number} of {self.muxed!r}>"

    @property
    def remote_peer(self) -> PeerId:
        """The authenticated peer."""
        return self.muxed.info.remote_peer

    @property
    def limited(self) -> bool:
        """Whether a relay limits its time or data."""
        return self.muxed.info.limited is not None

    @property
    def idle(self) -> bool:
        """Whether the hooks that identify are done and no stream is open."""
        return self.identified.is_set() and self.muxed.stream_count == 0

    def when_closed(self, stream: Stream, callback: Callable[[], None]) -> None:
        """Call back once when the stream is done, or the connection is lost."""
        self._on_closed[stream] = callback
        if self.gone.is_set():  # a muxer may open a stream before its end is known
            self._stream_closed(stream)

    def drop_streams(self) -> None:
        """Take all streams for closed: the connection is gone."""
        for stream in list(self._on_closed):
            self._stream_closed(stream)

    def _stream_closed(self, stream: Stream) -> None:
        callback = self._on_closed.pop(stream, None)
        if callback is not None:
            callback()


class ConnectionTable:
    """All open connections; several to one peer are possible, one of them is the best."""

    def __init__(self, local_peer: PeerId) -> None:
        self._local_peer = local_peer
        self._connections: dict[PeerId, list[Connection]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._connections.values()))

    def __iter__(self) -> Iterator[Connection]:
        for connections in list(self._connections.values()):
            yield from list(connections)

    def __contains__(self, peer: object) -> bool:
        """Whether there is a connection to a peer."""
        return peer in self._connections

    @property
    def peers(self) -> list[PeerId]:
        """The peers there is a connection to."""
        return list(self._connections)

    def of(self, peer: PeerId) -> list[Connection]:
        """Return the connections to one peer that are not closing, the best first."""
        open_ones = [item for item in self._connections.get(peer, ()) if not item.muxed.closed]
        return sorted(open_ones, key=self._rank) if len(open_ones) > 1 else open_ones

    def all_of(self, peer: PeerId) -> list[Connection]:
        """Return the connections to one peer, those that are closing, too."""
        return list(self._connections.get(peer, ()))

    def best(self, peer: PeerId) -> Connection | None:
        """Return the connection that new streams should use."""
        return next(iter(self.of(peer)), None)

    def add(self, connection: Connection) -> None:
        """Enter a connection."""
        self._connections.setdefault(connection.remote_peer, []).append(connection)

    def remove(self, connection: Connection) -> None:
        """Take a connection out."""
        connections = self._connections[connection.remote_peer]
        connections.remove(connection)
        if not connections:
            del self._connections[connection.remote_peer]

    def redundant(self, peer: PeerId) -> list[Connection]:
        """Return the connections dialed by us that are superfluous beside a better one that is alive.

        Both sides prefer the same one, and only the dialer of another closes it, so that they never close one each.
        """
        alive = [item for item in self.of(peer) if item.muxed.state is ConnectionState.ALIVE]
        return [item for item in alive[1:] if item.muxed.info.direction is Direction.OUTBOUND]

    def _rank(self, connection: Connection) -> Rank:
        lower = self._local_peer < connection.remote_peer
        return rank(
            state=connection.muxed.state,
            relayed=connection.relayed,
            limited=connection.limited,
            direction=connection.muxed.info.direction,
            number=connection.number,
            dials_for_both=Direction.OUTBOUND if lower else Direction.INBOUND,
        )
