"""What became of a published message, peer by peer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import trio

from peerstack.stack.identity import PeerId


class DeliveryState(StrEnum):
    """How far a message has come on its way to one peer."""

    QUEUED = "queued"
    """It waits for its turn on the stream to the peer."""
    SENT = "sent"
    """The connection has taken it: nothing of ours can lose it any more, only the connection or the peer."""
    DROPPED = "dropped"
    """It will not be sent; the reason says why."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The state of a message for one peer, and the reason where there is something to explain."""

    state: DeliveryState
    reason: str = ""


QUEUED = Delivery(DeliveryState.QUEUED)
SENT = Delivery(DeliveryState.SENT)
NOT_NEEDED = Delivery(DeliveryState.SENT, "the peer said that it has the message already")


class Receipt:
    """What became of a published message; it goes on changing until nothing is queued any more.

    It speaks of the peers that we sent to ourselves. They pass the message on; nobody reports back from farther away.
    """

    __slots__ = ("_deliveries", "_settled", "_waiting", "id", "repeated", "seqno", "size", "topic")

    def __init__(self, topic: str, message_id: bytes, seqno: int | None, size: int) -> None:
        self.topic = topic
        self.id = message_id
        self.seqno = seqno
        """The number the message was signed with, or None where messages are not signed."""
        self.size = size
        """Bytes of payload."""
        self.repeated = False
        """Whether a message with this id was seen lately, so that it goes to nobody again.

        It happens where ids are made of the payload alone.
        """
        self._deliveries: dict[PeerId, Delivery] = {}
        self._waiting = 0
        self._settled: trio.Event | None = None

    @property
    def peers(self) -> Mapping[PeerId, Delivery]:
        """The state for each peer that the message was meant for."""
        return MappingProxyType(self._deliveries)

    @property
    def queued(self) -> tuple[PeerId, ...]:
        """The peers for which the message still waits."""
        return self._in(DeliveryState.QUEUED)

    @property
    def sent(self) -> tuple[PeerId, ...]:
        """The peers whose connection has taken the message."""
        return self._in(DeliveryState.SENT)

    @property
    def dropped(self) -> tuple[PeerId, ...]:
        """The peers that will not get the message from us; `peers` has the reasons."""
        return self._in(DeliveryState.DROPPED)

    @property
    def reached_nobody(self) -> bool:
        """Whether the message is neither sent nor queued for anybody: no peer is there, or all were dropped."""
        return not any(delivery.state is not DeliveryState.DROPPED for delivery in self._deliveries.values())

    async def wait_sent(self) -> None:
        """Wait until nothing is queued: each peer is then either sent or dropped."""
        if self._waiting:
            self._settled = self._settled or trio.Event()
            await self._settled.wait()
        else:
            await trio.lowlevel.checkpoint()

    def __repr__(self) -> str:
        counts = f"{len(self.sent)} sent, {len(self.queued)} queued, {len(self.dropped)} dropped"
        return f"<Receipt {self.topic!r} {self.id.hex()[:16]} {counts}>"

    # ---- for whoever sends

    def settle(self, peer: PeerId, delivery: Delivery) -> None:
        """Note what became of the message for a peer."""
        before = self._deliveries.get(peer)
        self._deliveries[peer] = delivery
        if delivery is QUEUED:
            self._waiting += before is not QUEUED
        elif before is QUEUED:
            self._waiting -= 1
            if not self._waiting and self._settled is not None:
                self._settled.set()

    def _in(self, state: DeliveryState) -> tuple[PeerId, ...]:
        return tuple(peer for peer, delivery in self._deliveries.items() if delivery.state is state)
