"""Connects members of a chat room that are not connected directly, so that any of them may leave.

The addresses come from presence messages, which their authors sign like all messages of the room.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import trio

from peerstack.stack.errors import StackError
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from .chat_model import ChatModel, Member

ENOUGH = 12
"""Connections to members beyond which no more are dialed: the room stays connected with fewer."""
HEAD_START = 3.0
"""Seconds that the member with the lower peer id has to dial the other, so that they do not dial at once."""
FIRST_WAIT = 15.0
LONGEST_WAIT = 300.0
"""Seconds before a member that could not be reached is dialed again, first and at most."""
PATIENCE = 10.0
"""Seconds for one dial."""
TICK = 0.5
"""Seconds between any two dials: a member can name the addresses of victims."""


@dataclass(slots=True)
class _Known:
    """When a member is dialed next, and how long to wait after that."""

    due: float
    wait: float = FIRST_WAIT


class DialPlan:
    """Which member to dial when; does no I/O and reads no clock."""

    def __init__(self, me: str, *, chance: Callable[[], float] = random.random) -> None:
        self._me = me
        self._chance = chance
        self._known: dict[str, _Known] = {}

    def next(self, members: Iterable[Member], now: float) -> Member | None:
        """Return the member to dial now, if one is due, and count it as dialed."""
        present = list(members)
        self._forget({member.peer for member in present})
        if sum(member.direct for member in present) >= ENOUGH:
            return None
        due = list(self._due(present, now))
        if not due:
            return None
        # At random, so that a large room does not cluster around the first members.
        chosen = due[min(int(self._chance() * len(due)), len(due) - 1)]
        known = self._known[chosen.peer]
        known.due = now + known.wait
        known.wait = min(2 * known.wait, LONGEST_WAIT)
        return chosen

    def _due(self, members: Iterable[Member], now: float) -> Iterator[Member]:
        for member in members:
            if member.direct or member.leaving or not member.addresses:
                continue
            known = self._known.get(member.peer)
            if known is None:
                known = self._known[member.peer] = _Known(now + (0.0 if self._me < member.peer else HEAD_START))
            if known.due <= now:
                yield member

    def _forget(self, present: set[str]) -> None:
        for peer in self._known.keys() - present:
            del self._known[peer]


class Neighbours:
    """Dials members of a room by the plan."""

    def __init__(self, host: Host, model: ChatModel) -> None:
        self._host = host
        self._model = model
        self._plan = DialPlan(model.me)

    async def run(self) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                member = self._plan.next(self._model.members.values(), trio.current_time())
                if member is not None:
                    nursery.start_soon(self._dial, member)
                await trio.sleep(TICK)

    async def _dial(self, member: Member) -> None:
        peer = PeerId.parse(member.peer)
        if self._host.connections(peer):
            return
        with trio.move_on_after(PATIENCE), suppress(StackError, OSError):
            await self._host.connect(peer, *member.addresses)
