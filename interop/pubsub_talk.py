"""What the publish/subscribe rows are made of: peers that meet in a topic, and messages carried between them."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import Any, Protocol, TypeVar

import trio

from interop.matrix import CheckFailed, expect
from interop.peer import PeerError

KIB = 1024
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 20.0
SILENCE_SECONDS = 0.5
"""How long a message that must not be delivered is waited for, after it is known to have arrived."""
FAILURES = (CheckFailed, PeerError, KeyError, TypeError, ValueError, AttributeError)
"""What ends a row; those that are Python's own come of an answer that the contract does not know."""
FAULTS = ("duplicates", "malformed", "wrong_author")

_numbers = count()
T = TypeVar("T")


class Speaker(Protocol):
    """A peer as the rows see it."""

    @property
    def name(self) -> str:
        """The short name of its program."""
        ...

    @property
    def peer_id(self) -> str:
        """Its peer id in base58."""
        ...

    @property
    def address(self) -> str:
        """Where it listens, with its peer id."""
        ...

    async def call(self, op: str, **arguments: object) -> dict[str, Any]:
        """Return the answer to one command; raises CommandFailed or NoAnswer."""
        ...


def describe(failure: Exception) -> str:
    """Return why a row failed."""
    if isinstance(failure, CheckFailed | PeerError):
        return str(failure)
    return f"an answer the contract does not know: {failure!r}"


async def side_by_side(*jobs: Callable[[], Awaitable[None]]) -> None:
    """Do all at the same time. The first failure ends the others, and leaves as itself, not in a group."""
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def do(job: Callable[[], Awaitable[None]]) -> None:
            try:
                await job()
            except FAILURES as failure:
                failures.append(failure)
                nursery.cancel_scope.cancel()

        for job in jobs:
            nursery.start_soon(do, job)
    if failures:
        raise failures[0]


async def until(what: str, ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Ask again and again until the answer holds, and return it. Raises CheckFailed with the last one."""
    found = await ask()
    with trio.move_on_after(PATIENCE_SECONDS):
        while not holds(found):
            await trio.sleep(POLL_SECONDS)
            found = await ask()
    expect(holds(found), f"{what}: {found} after {PATIENCE_SECONDS:g} s")
    return found


async def subscribers(peer: Speaker, topic: str) -> list[str]:
    """Return the peers that `peer` knows to subscribe."""
    answer = await peer.call("topic_peers", topic=topic)
    return [str(other) for other in answer["peers"]]


async def mesh(peer: Speaker, topic: str) -> list[str] | None:
    """Return the peers in its mesh; None where it does not tell, or has none."""
    peers = (await peer.call("mesh", topic=topic))["peers"]
    return None if peers is None else [str(other) for other in peers]


async def entries(peer: Speaker, way: str, kind: str) -> int | None:
    """Return how many entries of a kind were "received" or "sent"; None where it does not tell."""
    found = (await peer.call("rpc_counts"))[way][kind]
    return None if found is None else int(found)


async def subscribe(topic: str, *peers: Speaker) -> None:
    """Let all subscribe."""
    for peer in peers:
        await peer.call("subscribe", topic=topic)


async def wait_subscribed(topic: str, *peers: Speaker) -> None:
    """Wait until each knows that all the others subscribe."""
    for peer in peers:
        await wait_known(topic, peer, _others(peer, peers))


async def wait_known(topic: str, peer: Speaker, others: Sequence[Speaker]) -> None:
    """Wait until `peer` knows that the others subscribe."""

    async def missing() -> list[str]:
        found = await subscribers(peer, topic)
        return [other.name for other in others if other.peer_id not in found]

    await until(f"{peer.name} waits for others to subscribe", missing, lambda found: not found)


async def wait_forgotten(topic: str, peer: Speaker, other: Speaker) -> None:
    """Wait until `peer` knows that another does not subscribe."""
    await until(
        f"{peer.name} still takes {other.name} for a subscriber",
        lambda: subscribers(peer, topic),
        lambda found: other.peer_id not in found,
    )


async def wait_mesh(topic: str, peer: Speaker, others: Sequence[Speaker]) -> None:
    """Wait until all the others are in the mesh of `peer`, where it has one and tells."""
    wanted = {other.peer_id for other in others}
    await until(
        f"{peer.name} waits for {_names(others)} in its mesh",
        lambda: mesh(peer, topic),
        lambda found: found is None or wanted <= set(found),
    )


async def meet(topic: str, *peers: Speaker) -> None:
    """Let all subscribe and wait until each has all the others in its mesh."""
    await subscribe(topic, *peers)
    await wait_subscribed(topic, *peers)
    for peer in peers:
        await wait_mesh(topic, peer, _others(peer, peers))


async def publish(
    sender: Speaker, topic: str, number: int, *, size: int = KIB, interval_ms: int = 0, confirm: bool = False
) -> dict[str, Any]:
    """Publish that many messages, of numbers never used before: ids are made of the data, not of the topic.

    `confirm` asks for the receipts, which ours alone has.
    """
    start = next(_numbers) * 10_000
    extra = {"confirm": True} if confirm else {}
    answer = await sender.call(
        "publish", topic=topic, count=number, bytes=size, start=start, interval_ms=interval_ms, **extra
    )
    published, error = answer["published"], answer["first_error"]
    expect(published == number, f"{sender.name} published {published} of {number}: {error}")
    return answer


async def carry(
    topic: str,
    sender: Speaker,
    receiver: Speaker,
    number: int,
    *,
    size: int = KIB,
    interval_ms: int = 0,
    lost: int = 0,
) -> None:
    """Let one publish what the other must receive, each message once and by its author; so many may be `lost`."""
    before = await receiver.call("received", topic=topic)
    await publish(sender, topic, number, size=size, interval_ms=interval_ms)
    await expect_received(topic, sender, receiver, number - lost, before=before)


async def expect_received(
    topic: str, sender: Speaker, receiver: Speaker, number: int, *, before: dict[str, Any]
) -> None:
    """Wait until the receiver has at least `number` more messages of the sender than before, and nothing is wrong."""
    wanted = before["total"] + number
    answer = await receiver.call("wait_received", topic=topic, count=wanted, seconds=PATIENCE_SECONDS)
    found = answer["authors"].get(sender.peer_id, 0) - before["authors"].get(sender.peer_id, 0)
    expect(found >= number, f"{receiver.name} received {found} of {number} messages of {sender.name}: {answer}")
    expect_flawless(receiver, answer)


def expect_flawless(receiver: Speaker, answer: dict[str, Any]) -> None:
    """Raise CheckFailed unless every message came once and from whom it names."""
    faults = {kind: answer[kind] for kind in FAULTS if answer[kind]}
    expect(not faults, f"{receiver.name} counts {faults}")


async def expect_silence(topic: str, receiver: Speaker, before: dict[str, Any]) -> None:
    """Raise CheckFailed if another message is delivered."""
    total = before["total"]
    answer = await receiver.call("wait_received", topic=topic, count=total + 1, seconds=SILENCE_SECONDS)
    more = answer["total"] + answer["malformed"] - total - before["malformed"]
    expect(more == 0, f"{receiver.name} received {more} messages that it should not")


async def expect_alive(peer: Speaker, other: Speaker) -> None:
    """Raise CheckFailed unless a ping comes back."""
    answer = await peer.call("ping", peer=other.peer_id, count=1)
    expect(len(answer["rtt_us"]) == 1, f"{peer.name} cannot ping {other.name}")


def check_backoff(moment: float, backoff: float, what: str) -> None:
    """Raise CheckFailed if a backoff of that many seconds, begun at `moment` or later, cannot be over yet."""
    passed = trio.current_time() - moment
    if passed < backoff:
        raise CheckFailed(f"{what} after {passed:.1f} s, within the backoff of {backoff:g} s")


def _others(peer: Speaker, peers: Iterable[Speaker]) -> list[Speaker]:
    return [other for other in peers if other is not peer]


def _names(peers: Iterable[Speaker]) -> str:
    return ", ".join(peer.name for peer in peers)
