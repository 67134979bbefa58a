"""The processes of a lane of publish/subscribe rows: started when first needed, connected the way a row wants it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import trio

from interop.matrix import Direction, Program
from interop.peer import CommandFailed, Peer
from interop.pubsub_rows import Helper, Row, Scene
from interop.pubsub_talk import Speaker, wait_forgotten

_topics = count(1)


class Member(Speaker, Protocol):
    """A peer that can be connected to."""

    @property
    def implementation(self) -> str:
        """What it calls itself."""
        ...

    @property
    def version(self) -> str:
        """The version of that."""
        ...


class Start(Protocol):
    """How a peer of a program is started; a real process, or what a test puts in its place."""

    def __call__(
        self, program: Program, key_type: str, options: tuple[str, ...]
    ) -> AbstractAsyncContextManager[Member]:
        """Return the peer, to be entered; raises Unsupported or NoAnswer then."""
        ...


def start_process(program: Program, key_type: str, options: tuple[str, ...]) -> Peer:
    """Return a peer process, to be entered."""
    return Peer(program.name, program.argv, key_type=key_type, options=options)


@dataclass(eq=False)
class _Link:
    """Two connected peers."""

    dialer: Member
    listener: Member
    topics: list[str] = field(default_factory=list)
    """What they may have told each other to be subscribed to."""


@asynccontextmanager
async def open_stage(
    ours: Program, theirs: Program, key_type: str, start: Start = start_process
) -> AsyncIterator["Stage"]:
    """Give rows of two programs their peers; all leave with the block."""
    async with trio.open_nursery() as nursery:
        yield Stage(ours, theirs, key_type, start, nursery)
        nursery.cancel_scope.cancel()


class Stage:
    """The peers that the rows of one lane share. Get it from `open_stage`."""

    def __init__(self, ours: Program, theirs: Program, key_type: str, start: Start, nursery: trio.Nursery) -> None:
        self.ours = ours
        self.theirs = theirs
        self._key_type = key_type
        self._start = start
        self._nursery = nursery
        self._members: dict[tuple[bool, tuple[str, ...], int], Member] = {}
        self._links: dict[frozenset[str], _Link] = {}

    @property
    def versions(self) -> dict[str, str]:
        """What the peers started so far call themselves, by short name."""
        return {member.name: f"{member.implementation} {member.version}" for member in self._members.values()}

    async def prepare(self, row: Row, direction: Direction) -> Scene:
        """Return the peers of a row, connected. Raises Unsupported, NoAnswer, CommandFailed or CheckFailed."""
        theirs = await self._member(row.theirs, is_ours=False)
        ours = await self._member(row.ours, is_ours=True)
        scene = Scene(
            ours=ours,
            theirs=theirs,
            direction=direction,
            topic=f"interop/{next(_topics)}",
            helpers=[await self._member(helper.options, is_ours=helper.is_ours, copy=1) for helper in row.helpers],
        )
        if row.connected:
            await self._join(ours, theirs, direction, scene.topic)
        for helper in row.helpers:
            await self._introduce(helper, ours, theirs, direction, scene.topic)
        return scene

    async def _member(self, options: tuple[str, ...], *, is_ours: bool, copy: int = 0) -> Member:
        key = (is_ours, options, copy)
        if key not in self._members:
            program = self.ours if is_ours else self.theirs
            self._members[key] = await self._nursery.start(self._keep, program, options)
        return self._members[key]

    async def _keep(self, program: Program, options: tuple[str, ...], *, task_status: trio.TaskStatus[Member]) -> None:
        # In a task of its own, for a row that is cancelled must not take along what later rows use.
        async with self._start(program, self._key_type, options) as member:
            task_status.started(member)
            await trio.sleep_forever()

    async def _introduce(self, helper: Helper, ours: Member, theirs: Member, direction: Direction, topic: str) -> None:
        member = await self._member(helper.options, is_ours=helper.is_ours, copy=1)
        if helper.knows_ours:
            await self._join(ours, member, direction, topic)
        if helper.knows_theirs:
            await self._join(member, theirs, direction, topic)

    async def _join(self, ours: Member, theirs: Member, direction: Direction, topic: str) -> None:
        """Connect two, the one of the wanted side dialing, unless they are so connected already."""
        dialer, listener = (ours, theirs) if direction is Direction.OURS_DIALS else (theirs, ours)
        pair = frozenset((ours.peer_id, theirs.peer_id))
        link = self._links.get(pair)
        if link is not None and link.dialer is not dialer:
            await self._part(link)
            link = None
        if link is None:
            await dialer.call("connect", address=listener.address)
            self._links[pair] = link = _Link(dialer, listener)
        link.topics.append(topic)

    async def _part(self, link: _Link) -> None:
        """Disconnect two, wait until both know it, and let them leave what would bring GRAFTs when they meet again."""
        del self._links[frozenset((link.dialer.peer_id, link.listener.peer_id))]
        with suppress(CommandFailed):  # a row may have ended with the connection gone
            await link.dialer.call("disconnect", peer=link.listener.peer_id)
        for topic in link.topics:
            await wait_forgotten(topic, link.dialer, link.listener)
            await wait_forgotten(topic, link.listener, link.dialer)
            for member in (link.dialer, link.listener):
                await member.call("unsubscribe", topic=topic)
