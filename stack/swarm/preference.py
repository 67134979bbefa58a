"""Which of several connections to one peer new streams should use."""

from __future__ import annotations

from typing import TypeAlias

from ..abc import ConnectionState, Direction

Rank: TypeAlias = tuple[int, bool, bool, bool, int]
"""What connections to one peer are sorted by, the best first."""

_STATES = (ConnectionState.ALIVE, ConnectionState.SUSPECTED, ConnectionState.CLOSING)


def rank(
    *,
    state: ConnectionState,
    relayed: bool,
    limited: bool,
    direction: Direction,
    number: int,
    dials_for_both: Direction,
) -> Rank:
    """Rank a connection among those to one peer.

    - Alive before suspected, before closing.
    - Direct before relayed, and before relayed with limits, which the relay soon ends.
    - Of two dialed by different sides, the one dialed by the lower peer id, so that after simultaneous dials both
      sides prefer the same. `dials_for_both` is the direction that such a connection has for us.
    - Of two dialed by the same side, the newer: a peer that dials again has lost the older one, as when it was
      restarted. `number` counts connections in the order in which they were authenticated.
    """
    return _STATES.index(state), relayed, limited, direction is not dials_for_both, -number
