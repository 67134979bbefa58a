"""Publish and subscribe with a peer that comes back on a new connection while the old one is dead and unnoticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import JoinedTopic, PubsubConfig, SignaturePolicy, open_pubsub
from peerstack.stack.abc import Muxer
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux

from ...stack.host.roaming import Meeting, meeting

Clock = trio.testing.MockClock
MESSAGES = 60
UNSIGNED = PubsubConfig(signatures=SignaturePolicy.STRICT_NO_SIGN)
"""Many signatures at once are checked in threads, for which this clock does not wait."""

each_muxer = pytest.mark.parametrize("muxer", [Yamux, Mplex])
each_combination = pytest.mark.parametrize(
    ("lower", "old_by_mover", "new_by_mover"),
    [(lower, old, new) for lower in (True, False) for old in (True, False) for new in (True, False)],
)


@asynccontextmanager
async def topics(meet: Meeting) -> AsyncIterator[tuple[JoinedTopic[bytes], JoinedTopic[bytes]]]:
    async with AsyncExitStack() as stack:
        joined: list[JoinedTopic[bytes]] = []
        for host in (meet.settled, meet.mover):
            pubsub = await stack.enter_async_context(open_pubsub(host, UNSIGNED, seed=len(joined)))
            joined.append(await stack.enter_async_context(pubsub.join("news")))
        await trio.sleep(3)
        yield joined[0], joined[1]


async def publish(topic: JoinedTopic[bytes], author: bytes) -> None:
    for number in range(MESSAGES):
        await topic.publish(b"%s %d" % (author, number))
        await trio.sleep(0.05)


async def hear(topic: JoinedTopic[bytes], heard: list[int]) -> None:
    while len(heard) < MESSAGES:
        heard.append(int((await topic.receive()).data.split()[1]))


@each_muxer
@each_combination
async def test_what_is_published_from_then_on_arrives(
    muxer: Callable[[], Muxer], lower: bool, old_by_mover: bool, new_by_mover: bool, autojump_clock: Clock
) -> None:
    async with meeting(muxer, mover_is_lower=lower, mover_dials=old_by_mover) as meet, topics(meet) as (home, away):
        await meet.move()
        await trio.sleep(10)
        await meet.meet(meet.mover if new_by_mover else meet.settled)
        await trio.sleep(0.02)
        at_home: list[int] = []
        at_away: list[int] = []
        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish, home, b"home")
                nursery.start_soon(publish, away, b"away")
                nursery.start_soon(hear, home, at_home)
                nursery.start_soon(hear, away, at_away)
        assert sorted(at_home) == list(range(MESSAGES))
        assert sorted(at_away) == list(range(MESSAGES))
