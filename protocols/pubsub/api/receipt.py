"""What became of a published message, peer by peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import trio

from peerstack.stack.identity import PeerId


class DeliveryState(StrEnum):
    """How far a message has come on its way to one peer."""

    QUEUED = "queued"
    """It waits for its turn on the stream to the peer, for the first time or, after the stream broke, again."""
    SENT = "sent"
    """It was handed to the connection. That does not prove that it left this machine, let alone that it arrived."""
    ACKNOWLEDGED = "acknowledged"
    """The peer's host has received it (`wait_acknowledged`). Its pubsub may not have read it, and may drop it."""
    UNCERTAIN = "uncertain"
    """It was handed to a connection, in part or whole, that ended within a minute: it may have arrived or not."""
    NOT_NEEDED = "not needed"
    """The peer said (IDONTWANT) that it has the message already, so it was not sent."""
    DROPPED = "dropped"
    """It was not sent and will not be; the reason says why."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The state of a message for one peer, and the reason where there is something to explain."""

    state: DeliveryState
    reason: str = ""


QUEUED = Delivery(DeliveryState.QUEUED)
SENT = Delivery(DeliveryState.SENT)
ACKNOWLEDGED = Delivery(DeliveryState.ACKNOWLEDGED)
NOT_NEEDED = Delivery(DeliveryState.NOT_NEEDED, "the peer said that it has the message already")


class Receipt:
    """What became of a published message; it goes on changing until nothing is queued any more.

    It speaks of the peers that we sent to ourselves. They forward the message; no peer reports back from farther away.
    No state says that a peer accepted the message: publish/subscribe has no such answer.
    """

    __slots__ = (
        "_acknowledge",
        "_deliveries",
        "_on_lost",
        "_settled",
        "_waiting",
        "id",
        "repeated",
        "seqno",
        "size",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        message_id: bytes,
        seqno: int | None,
        size: int,
        on_lost: Callable[[bytes], None] | None = None,
        acknowledge: Callable[[PeerId], Awaitable[bool]] | None = None,
    ) -> None:
        self.topic = topic
        self.id = message_id
        self.seqno = seqno
        """The number the message was signed with, or None where messages are not signed."""
        self.size = size
        """Bytes of payload."""
        self.repeated = False
        """Whether a message with this id was seen lately, so that it is not sent again.

        It happens where ids are made of the payload alone.
        """
        self._acknowledge = acknowledge
        """Waits until a peer has received what was sent to it; whether that is known."""
        self._on_lost = on_lost
        """Called with the id when it is dropped for the last peer, so that it went nowhere."""
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
        """The peers whose connection has taken the message, which proves no more than that."""
        return self._in(DeliveryState.SENT, DeliveryState.ACKNOWLEDGED)

    @property
    def acknowledged(self) -> tuple[PeerId, ...]:
        """Those of them whose host is known to have received it; only `wait_acknowledged` finds out."""
        return self._in(DeliveryState.ACKNOWLEDGED)

    @property
    def uncertain(self) -> tuple[PeerId, ...]:
        """The peers whose connection ended right after it had taken the message, or while it took it."""
        return self._in(DeliveryState.UNCERTAIN)

    @property
    def dropped(self) -> tuple[PeerId, ...]:
        """The peers that will not get the message from us; `peers` has the reasons."""
        return self._in(DeliveryState.DROPPED)

    @property
    def reached_no_peer(self) -> bool:
        """Whether the message went nowhere and waits for no peer: none subscribes, or it was dropped for all."""
        return not any(delivery.state is not DeliveryState.DROPPED for delivery in self._deliveries.values())

    async def wait_sent(self) -> None:
        """Wait until nothing is queued: for each peer it is then sent, dropped, uncertain or not needed."""
        if self._waiting:
            self._settled = self._settled or trio.Event()
            await self._settled.wait()
        else:
            await trio.lowlevel.checkpoint()

    async def wait_acknowledged(self) -> tuple[PeerId, ...]:
        """Wait until nothing is queued and the host of each peer has received the message; return those that have.

        It costs a round trip on each connection, which all receipts share that wait for one. What it proves,
        `MuxedConnection.wait_acknowledged` says: that the bytes arrived at the peer's host. Whether its pubsub took the
        message, nothing tells. A peer that is lost meanwhile is left out; one that does not answer is waited for until
        its connection is given up.
        """
        await self.wait_sent()
        if self._acknowledge is not None:
            async with trio.open_nursery() as nursery:
                for peer in self._in(DeliveryState.SENT):
                    nursery.start_soon(self._ask, peer)
        return self.acknowledged

    async def _ask(self, peer: PeerId) -> None:
        known = self._acknowledge is not None and await self._acknowledge(peer)
        if known and self._deliveries[peer] is SENT:
            self.settle(peer, ACKNOWLEDGED)

    def __repr__(self) -> str:
        counts = f"{len(self.sent)} sent, {len(self.queued)} queued, {len(self.dropped)} dropped"
        return f"<Receipt {self.topic!r} {self.id.hex()[:16]} {counts}>"

    # ---- for the sender

    def settle(self, peer: PeerId, delivery: Delivery) -> None:
        """Note what became of the message for a peer."""
        before = self._deliveries.get(peer)
        if before is ACKNOWLEDGED:
            return  # it may be sent again on a new stream, but what is known stays known
        self._deliveries[peer] = delivery
        if delivery is QUEUED:
            self._waiting += before is not QUEUED
        elif before is QUEUED:
            self._waiting -= 1
            if not self._waiting:
                self._no_more_waiting()

    def _no_more_waiting(self) -> None:
        if self._settled is not None:
            self._settled.set()
            self._settled = None
        if self._on_lost is not None and self.reached_no_peer:
            self._on_lost(self.id)

    def _in(self, *states: DeliveryState) -> tuple[PeerId, ...]:
        return tuple(peer for peer, delivery in self._deliveries.items() if delivery.state in states)
