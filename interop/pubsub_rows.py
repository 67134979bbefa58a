"""The publish/subscribe rows: what two peers, sometimes with a third, must do for one another."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from interop.matrix import KEY_TYPES, Direction, expect
from interop.pubsub_talk import (
    KIB,
    POLL_SECONDS,
    Speaker,
    carry,
    check_backoff,
    entries,
    expect_alive,
    expect_flawless,
    expect_received,
    expect_silence,
    meet,
    mesh,
    publish,
    side_by_side,
    subscribe,
    until,
    wait_forgotten,
    wait_known,
    wait_mesh,
    wait_subscribed,
)

BURST = 500
MANY = 1000
PACE_MS = 2
FEW = 20
LARGE_BYTES = 64 * KIB
IDONTWANT_BYTES = 4 * KIB
"""Above what each implementation thinks worth an IDONTWANT."""
RECENT = 10
BACKOFF_SECONDS = 2
HEARTBEAT_SECONDS = 1.0
SCORED_HEARTBEATS = 3
"""How often a score is looked at."""

STRICT = ("--pubsub", "gossipsub")
SCORING = ("--pubsub", "gossipsub", "--pubsub-score", "default")
UNSIGNED = ("--pubsub", "gossipsub", "--pubsub-sign", "none")
FLOODSUB = ("--pubsub", "floodsub")
STOCK = (*STRICT, "--pubsub-queues", "stock")
PACED = (*STOCK, "--pubsub-pacing", "default")
BACKOFF = ("--pubsub", "gossipsub", "--pubsub-backoff", str(BACKOFF_SECONDS))
NO_MESH = ("--pubsub", "gossipsub", "--pubsub-degree", "0")

WHOLE_SECONDS = {"py": 1}
"""Seconds by which a backoff of these may be too short; py-libp2p keeps the time in whole seconds."""
SHORT_NUMBERS = 0.1
"""Share of js-libp2p's floodsub messages that may be missing; it writes about one sequence number in 256 too short."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Two peers, connected by one of them, an unused topic, and the other peers that the row asks for."""

    ours: Speaker
    theirs: Speaker
    direction: Direction
    topic: str
    helpers: Sequence[Speaker] = ()

    @property
    def backoff(self) -> int:
        """Seconds that must pass between PRUNE and GRAFT."""
        return BACKOFF_SECONDS - WHOLE_SECONDS.get(self.theirs.name, 0)


async def ours_to_theirs(scene: Scene) -> None:
    """Every message of a burst of ours is delivered there once, by its author."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await carry(scene.topic, scene.ours, scene.theirs, BURST)


async def paced_to_stock(scene: Scene) -> None:
    """What is published slowly enough all arrives where queues are as short as they come: 32 messages in most."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await carry(scene.topic, scene.ours, scene.theirs, MANY, interval_ms=PACE_MS)


async def paced_by_default(scene: Scene) -> None:
    """A burst of a program that sets nothing all arrives at one that sets nothing, and the receipts say no more."""
    await meet(scene.topic, scene.ours, scene.theirs)
    before = await scene.theirs.call("received", topic=scene.topic)
    await _expect_honest_receipts(scene, MANY)
    await expect_received(scene.topic, scene.ours, scene.theirs, MANY, before=before)


async def unpaced_to_stock(scene: Scene) -> None:
    """Of a burst that no pacing spreads some may be lost; the receipts say no more than that it came to the host."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await _expect_honest_receipts(scene, MANY)
    expect_flawless(scene.theirs, await scene.theirs.call("received", topic=scene.topic))
    await expect_alive(scene.ours, scene.theirs)


async def _expect_honest_receipts(scene: Scene, number: int) -> None:
    """Publish, and raise CheckFailed if more messages are called acknowledged than the other host has read."""
    before = await entries(scene.theirs, "received", "publish")
    answer = await publish(scene.ours, scene.topic, number, confirm=True)
    told = answer["acknowledged"].get(scene.theirs.peer_id, 0)
    expect(told > 0, f"{scene.ours.name} knows of no message that it arrived")
    if before is not None:
        await until(
            f"{scene.theirs.name} waits for the {told} messages that {scene.ours.name} calls acknowledged",
            lambda: entries(scene.theirs, "received", "publish"),
            lambda found: found is not None and found - before >= told,
        )


async def theirs_to_ours(scene: Scene) -> None:
    """Every message of a burst of theirs is delivered here once, by its author."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await carry(scene.topic, scene.theirs, scene.ours, BURST)


async def few_both_ways(scene: Scene) -> None:
    """A few messages each way."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await carry(scene.topic, scene.ours, scene.theirs, FEW)
    await carry(scene.topic, scene.theirs, scene.ours, FEW)


async def large_both_ways(scene: Scene) -> None:
    """Large messages each way."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await carry(scene.topic, scene.ours, scene.theirs, FEW, size=LARGE_BYTES)
    await carry(scene.topic, scene.theirs, scene.ours, FEW, size=LARGE_BYTES)


async def scored_well(scene: Scene) -> None:
    """A burst each way with our default scores, which do not graylist the peer for it, now or some heartbeats later."""
    await meet(scene.topic, scene.ours, scene.theirs)
    await carry(scene.topic, scene.ours, scene.theirs, BURST)
    await carry(scene.topic, scene.theirs, scene.ours, BURST)
    for _ in range(SCORED_HEARTBEATS):
        answer = await scene.ours.call("scores")
        score = answer["scores"][scene.theirs.peer_id]
        expect(score >= answer["graylist"], f"{scene.theirs.name} is graylisted: {score}")
        await trio.sleep(HEARTBEAT_SECONDS)
    await expect_alive(scene.ours, scene.theirs)
    for peer in (scene.ours, scene.theirs):
        found = (await peer.call("received", topic=scene.topic))["total"]
        expect(found == BURST, f"{peer.name} received {found} messages of {BURST}")


async def floodsub_both_ways(scene: Scene) -> None:
    """Each way between one that speaks floodsub alone and one that prefers gossipsub."""
    await subscribe(scene.topic, scene.ours, scene.theirs)
    await wait_subscribed(scene.topic, scene.ours, scene.theirs)
    lost = round(FEW * SHORT_NUMBERS) if scene.theirs.name == "js" else 0
    await carry(scene.topic, scene.ours, scene.theirs, FEW)
    await carry(scene.topic, scene.theirs, scene.ours, FEW, lost=lost)


async def both_refuse(scene: Scene) -> None:
    """One signs and demands signatures, the other forbids them: nothing is delivered, and they stay connected."""
    await subscribe(scene.topic, scene.ours, scene.theirs)
    await wait_subscribed(scene.topic, scene.ours, scene.theirs)
    await _refused(scene, scene.ours, scene.theirs)
    await _refused(scene, scene.theirs, scene.ours)


async def _refused(scene: Scene, sender: Speaker, receiver: Speaker) -> None:
    before = await receiver.call("received", topic=scene.topic)
    arrived = await entries(receiver, "received", "publish")
    await publish(sender, scene.topic, FEW)
    if arrived is not None:
        await until(
            f"{receiver.name} waits for messages to refuse",
            lambda: entries(receiver, "received", "publish"),
            lambda found: found is not None and found > arrived,
        )
    await expect_silence(scene.topic, receiver, before)
    await expect_alive(receiver, sender)


async def both_dial(scene: Scene) -> None:
    """Both connect at the same time, which may leave two connections, and all messages arrive."""
    await subscribe(scene.topic, scene.ours, scene.theirs)
    await side_by_side(
        partial(_dial, scene.ours, scene.theirs),
        partial(_dial, scene.theirs, scene.ours),
    )
    await few_both_ways(scene)


async def again(scene: Scene) -> None:
    """They meet, lose the connection, and meet again in the same topic."""
    pair = (scene.ours, scene.theirs)
    dialer, listener = pair if scene.direction is Direction.OURS_DIALS else pair[::-1]
    await few_both_ways(scene)
    await dialer.call("disconnect", peer=listener.peer_id)
    await wait_forgotten(scene.topic, dialer, listener)
    await wait_forgotten(scene.topic, listener, dialer)
    await _dial(dialer, listener)
    await few_both_ways(scene)


async def _dial(dialer: Speaker, listener: Speaker) -> None:
    await dialer.call("connect", address=listener.address)


async def theirs_leaves(scene: Scene) -> None:
    """Theirs unsubscribes, gets nothing more, subscribes again and gets messages again."""
    await _leave_and_return(scene, scene.theirs, scene.ours)


async def ours_leaves(scene: Scene) -> None:
    """Ours unsubscribes, gets nothing more, subscribes again and gets messages again."""
    await _leave_and_return(scene, scene.ours, scene.theirs)


async def _leave_and_return(scene: Scene, leaver: Speaker, stayer: Speaker) -> None:
    topic, other = scene.topic, f"{scene.topic}/other"
    await meet(topic, leaver, stayer)
    await meet(other, leaver, stayer)
    await carry(topic, stayer, leaver, FEW)
    await leaver.call("unsubscribe", topic=topic)
    await wait_forgotten(topic, stayer, leaver)
    before = await leaver.call("received", topic=topic)
    await publish(stayer, topic, 1)
    await carry(other, stayer, leaver, 1)  # behind the other one, on the same way
    after = await leaver.call("received", topic=topic)
    expect(after["total"] == before["total"], f"{leaver.name} received what it had unsubscribed from")
    await meet(topic, leaver, stayer)
    # What was published meanwhile may come by gossip, so one of those now published may be missing unseen.
    await carry(topic, stayer, leaver, FEW)


async def theirs_prunes(scene: Scene) -> None:
    """Theirs prunes us as it leaves; we graft it when its backoff is over, not before."""
    await _prune_and_graft(scene, scene.theirs, scene.ours)


async def ours_prunes(scene: Scene) -> None:
    """We prune as we leave; the peer does not graft before our backoff is over, and then we are in the mesh again."""
    await _prune_and_graft(scene, scene.ours, scene.theirs)


async def _prune_and_graft(scene: Scene, leaver: Speaker, stayer: Speaker) -> None:
    topic, ours = scene.topic, scene.ours
    await meet(topic, leaver, stayer)
    prunes = await entries(stayer, "received", "prune")
    begun = trio.current_time()
    await leaver.call("unsubscribe", topic=topic)
    await wait_forgotten(topic, stayer, leaver)
    if prunes is not None:
        await until(
            f"{stayer.name} waits for a PRUNE",
            lambda: entries(stayer, "received", "prune"),
            lambda found: found is not None and found > prunes,
        )
    before = await _grafts(ours)
    await leaver.call("subscribe", topic=topic)
    while not await _in_mesh(ours, topic, scene.theirs):
        if (found := await _grafts(ours)) != before:
            check_backoff(begun, scene.backoff, f"(GRAFTs sent, received) went from {before} to {found}")
        await trio.sleep(POLL_SECONDS)
    check_backoff(begun, scene.backoff, "the mesh was joined again")
    await wait_mesh(topic, scene.theirs, [ours])


async def _grafts(ours: Speaker) -> tuple[int | None, int | None]:
    return await entries(ours, "sent", "graft"), await entries(ours, "received", "graft")


async def _in_mesh(peer: Speaker, topic: str, other: Speaker) -> bool:
    return other.peer_id in (await mesh(peer, topic) or ())


async def idontwant(scene: Scene) -> None:
    """Of three that know one another, the two that receive a large message tell each other not to send it."""
    (publisher,) = scene.helpers
    await meet(scene.topic, scene.ours, scene.theirs, publisher)
    here, there, said = (
        await entries(scene.ours, "received", "idontwant"),
        await entries(scene.theirs, "received", "idontwant"),
        await entries(scene.ours, "sent", "idontwant"),
    )
    await carry(scene.topic, publisher, scene.ours, FEW, size=IDONTWANT_BYTES, interval_ms=20)
    await _wait_for_more(scene.ours, "received", here)
    await _wait_for_more(scene.ours, "sent", said)
    await _wait_for_more(scene.theirs, "received", there)


async def _wait_for_more(peer: Speaker, way: str, before: int | None) -> None:
    if before is not None:
        await until(
            f"{peer.name} waits for an IDONTWANT {way}",
            lambda: entries(peer, way, "idontwant"),
            lambda found: found is not None and found > before,
        )


async def late_ours(scene: Scene) -> None:
    """We join late, in no mesh, and get by gossip what theirs published before."""
    (witness,) = scene.helpers
    await meet(scene.topic, scene.theirs, witness)
    await _catch_up(scene, scene.theirs, scene.ours)


async def late_theirs(scene: Scene) -> None:
    """Theirs joins late, is kept out of the mesh, and gets by gossip what we published before."""
    await subscribe(scene.topic, scene.ours)
    await _catch_up(scene, scene.ours, scene.theirs)


async def _catch_up(scene: Scene, early: Speaker, late: Speaker) -> None:
    before = await late.call("received", topic=scene.topic)
    await publish(early, scene.topic, RECENT)
    await subscribe(scene.topic, late)
    await wait_known(scene.topic, early, [late])
    await expect_received(scene.topic, early, late, RECENT, before=before)
    # Who grafts is pruned at the next heartbeat at the latest.
    await until(
        f"{scene.ours.name} waits for its mesh of degree 0 to be empty",
        lambda: mesh(scene.ours, scene.topic),
        lambda found: not found,
    )


Check = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Helper:
    """One more peer of a row, and whom of the two it is connected to."""

    options: tuple[str, ...]
    is_ours: bool
    knows_ours: bool = True
    knows_theirs: bool = True


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its check, and how the peers in it are started."""

    name: str
    check: Check
    ours: tuple[str, ...] = STRICT
    theirs: tuple[str, ...] = STRICT
    helpers: tuple[Helper, ...] = ()
    key_types: tuple[str, ...] = ("ed25519",)
    directions: tuple[Direction, ...] = tuple(Direction)
    connected: bool = True
    """Whether the two are connected before the check begins."""


PLAIN = (
    Row(name="publish 500 x 1 KiB: ours to theirs", check=ours_to_theirs),
    Row(name="publish 500 x 1 KiB: theirs to ours", check=theirs_to_ours),
    Row(name="publish 20 x 64 KiB both ways", check=large_both_ways),
    Row(name="publish 500 x 1 KiB both ways, ours scoring", check=scored_well, ours=SCORING),
    Row(name="publish 20 unsigned both ways", check=few_both_ways, ours=UNSIGNED, theirs=UNSIGNED),
    Row(name="ours strict, theirs unsigned: both refuse", check=both_refuse, theirs=UNSIGNED),
    Row(name="ours unsigned, theirs strict: both refuse", check=both_refuse, ours=UNSIGNED),
    Row(name="floodsub: theirs knows nothing else", check=floodsub_both_ways, theirs=FLOODSUB),
    Row(name="floodsub: ours knows nothing else", check=floodsub_both_ways, ours=FLOODSUB),
)
STOCK_QUEUES = (
    Row(name="publish 1000 x 1 KiB, 2 ms apart: ours to stock queues", check=paced_to_stock, theirs=STOCK),
    Row(name="publish 1000 x 1 KiB at once, all defaults", check=paced_by_default, ours=PACED, theirs=STOCK),
    Row(name="publish 1000 x 1 KiB at once, unpaced: receipts", check=unpaced_to_stock, theirs=STOCK),
)
CONNECTING = (
    Row(name="both dial at once", check=both_dial, directions=(Direction.THEIRS_DIALS,), connected=False),
    Row(name="connected again, same topic", check=again),
)
KEYS = (Row(name="publish 20 x 1 KiB both ways", check=few_both_ways, key_types=KEY_TYPES),)
LEAVING = (
    Row(name="unsubscribe and again: theirs", check=theirs_leaves, ours=BACKOFF, theirs=BACKOFF),
    Row(name="unsubscribe and again: ours", check=ours_leaves, ours=BACKOFF, theirs=BACKOFF),
)
BACKOFFS = (
    Row(name="PRUNE of theirs, backoff, GRAFT", check=theirs_prunes, ours=BACKOFF, theirs=BACKOFF),
    Row(name="PRUNE of ours, backoff, GRAFT", check=ours_prunes, ours=BACKOFF, theirs=BACKOFF),
)
GOSSIP = (
    Row(
        name="IDONTWANT in a triangle",
        check=idontwant,
        helpers=(Helper(options=STRICT, is_ours=False),),
    ),
    Row(name="late joiner by IHAVE, IWANT: theirs", check=late_theirs, ours=NO_MESH),
    Row(
        name="late joiner by IHAVE, IWANT: ours",
        check=late_ours,
        ours=NO_MESH,
        helpers=(Helper(options=STRICT, is_ours=True, knows_ours=False),),
    ),
)
LANES: Sequence[Sequence[Row]] = (PLAIN, STOCK_QUEUES, CONNECTING, KEYS, LEAVING, BACKOFFS, GOSSIP)
"""Rows that share processes, one after the other; lanes run side by side."""
ROWS = {row.name: row for lane in LANES for row in lane}
