"""Which peers sent a message, remembered for as long as late copies can arrive."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId


class Status(Enum):
    """The state of a message. One that a validator ignored is forgotten: no peer is credited or penalised."""

    PENDING = "pending"
    """It is in validation."""
    VALID = "valid"
    INVALID = "invalid"


class Delivery:
    """One message and the peers that sent it."""

    __slots__ = ("_peers", "counts_until", "expires", "status")

    def __init__(self, expires: float) -> None:
        self.status = Status.PENDING
        self.expires = expires
        self.counts_until = 0.0
        """The end of the window in which a copy of a valid message counts as a delivery."""
        self._peers: dict[PeerId, None] | None = None

    def note(self, peer: PeerId) -> bool:
        """Remember that `peer` sent the message, and return whether that is new."""
        if self._peers is None:
            self._peers = {peer: None}
            return True
        if peer in self._peers:
            return False
        self._peers[peer] = None
        return True

    @property
    def peers(self) -> Iterable[PeerId]:
        """Those noted, in the order they sent the message."""
        return self._peers or ()

    def forget_peers(self) -> None:
        """Forget the peers, to save memory."""
        self._peers = None


class Deliveries:
    """The messages of the last `ttl` seconds, `capacity` at most: the oldest go first."""

    __slots__ = ("_capacity", "_deliveries", "_ttl")

    def __init__(self, ttl: float, capacity: int) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._deliveries: dict[bytes, Delivery] = {}  # by age, since `ttl` is the same for all

    def __len__(self) -> int:
        return len(self._deliveries)

    def get(self, message_id: bytes) -> Delivery | None:
        """Return the message, if it is remembered."""
        return self._deliveries.get(message_id)

    def begin(self, message_id: bytes, now: float) -> Delivery:
        """Return the message as one in validation; what an earlier validation of that id found is forgotten."""
        delivery = self._deliveries.get(message_id)
        if delivery is not None:
            if delivery.status is Status.PENDING:
                return delivery
            del self._deliveries[message_id]  # so that it goes to the end of the row
        elif len(self._deliveries) >= self._capacity:
            del self._deliveries[next(iter(self._deliveries))]
        delivery = self._deliveries[message_id] = Delivery(now + self._ttl)
        return delivery

    def forget(self, message_id: bytes) -> None:
        """Remember nothing of the message."""
        self._deliveries.pop(message_id, None)

    def expire(self, now: float) -> None:
        """Drop the messages whose time is over."""
        old = []
        for message_id, delivery in self._deliveries.items():
            if delivery.expires > now:
                break
            old.append(message_id)
        for message_id in old:
            del self._deliveries[message_id]
