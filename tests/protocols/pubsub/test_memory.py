"""What pubsub holds of a peer's messages counts in the peer's share of `Limits.memory`, and is given back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack import Limits, open_host
from peerstack.protocols.pubsub import JoinedTopic, Pubsub, PubsubConfig, PubsubMessage, ValidationResult, open_pubsub
from peerstack.protocols.pubsub.wire import FLOODSUB
from peerstack.stack.abc import Stream
from peerstack.stack.errors import StreamReset
from peerstack.stack.events import HandlerFailed
from peerstack.stack.host import Host
from peerstack.stack.testing import RecordingObserver
from peerstack.stack.wire import varint
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

Clock = trio.testing.MockClock
MIB = 1 << 20


async def read_on(stream: Stream) -> None:
    while await stream.receive_some():
        pass


@asynccontextmanager
async def open_two(limits: Limits) -> AsyncIterator[tuple[Host, Host, Pubsub, RecordingObserver]]:
    """Open a host that speaks pubsub within limits, and one connected to it that speaks none by itself."""
    network, events = MemoryNetwork(), RecordingObserver()
    async with (
        open_host(
            listen=["/memory/0"], transports=[MemoryTransport(network)], limits=limits, observers=[events]
        ) as ours,
        open_pubsub(ours, PubsubConfig(thread_from=None)) as pubsub,
        open_host(transports=[MemoryTransport(network)]) as theirs,
    ):
        theirs.handle(FLOODSUB, read_on)
        await theirs.connect(*ours.addresses)
        yield ours, theirs, pubsub, events


def used(host: Host) -> int:
    return host.statistics().swarm.limits["system"].get("bytes of memory", 0)


async def test_a_message_that_has_begun_counts_before_it_came(autojump_clock: Clock) -> None:
    async with open_two(Limits()) as (ours, theirs, _, _):
        stream = await theirs.open_stream(ours.peer_id, FLOODSUB)
        await stream.send_all(varint.encode(MIB) + bytes(5000))
        await trio.sleep(0.1)
        assert MIB <= used(ours) < MIB + 20_000
        stream.reset()
        await trio.sleep(0.1)
        assert used(ours) == 0


async def test_over_the_share_of_a_peer_the_stream_is_reset(autojump_clock: Clock) -> None:
    async with open_two(Limits(memory_per_peer=3 * MIB)) as (ours, theirs, _, events):
        streams = [await theirs.open_stream(ours.peer_id, FLOODSUB) for _ in range(3)]
        for stream in streams:
            await stream.send_all(varint.encode(3 * MIB // 2 - 10) + bytes(5000))
            await trio.sleep(0.1)
        with pytest.raises(StreamReset), trio.fail_after(10):
            await streams[2].receive_some()
        assert 3 * MIB - 20 <= used(ours) <= 3 * MIB
        assert events.of(HandlerFailed) == []
        for stream in streams:
            stream.reset()
        await trio.sleep(0.1)
        assert used(ours) == 0


@asynccontextmanager
async def open_talk(
    limits: Limits, **join: object
) -> AsyncIterator[tuple[JoinedTopic[bytes], JoinedTopic[bytes], Host, Pubsub]]:
    """Open two that speak pubsub, the second within limits, and a joined topic of each."""
    network = MemoryNetwork()
    config = PubsubConfig(thread_from=None)
    async with (
        open_host(listen=["/memory/0"], transports=[MemoryTransport(network)]) as alice,
        open_pubsub(alice, config, seed=1) as at_alice,
        open_host(transports=[MemoryTransport(network)], limits=limits) as bob,
        open_pubsub(bob, config, seed=2) as at_bob,
        at_alice.join("news") as topic,
        at_bob.join("news", **join) as lobby,  # type: ignore[call-overload]  # the test says what to join with
    ):
        await bob.connect(*alice.addresses)
        await topic.wait_peers()
        yield topic, lobby, bob, at_bob


async def test_messages_in_validators_count_until_their_result(autojump_clock: Clock) -> None:
    done = trio.Event()

    async def wait(message: PubsubMessage[bytes]) -> ValidationResult:
        await done.wait()
        return ValidationResult.ACCEPT

    async with open_talk(Limits(), validators=[wait]) as (topic, lobby, bob, _):
        for number in range(10):
            await topic.publish(b"%d" % number + bytes(100_000))
        await trio.sleep(1)
        assert 1_000_000 < used(bob) < 1_200_000
        done.set()
        await trio.sleep(1)
        assert used(bob) == 0
        assert lobby.statistics().waiting == 10


@pytest.mark.parametrize("how", ["times out", "raises", "leaves"])
async def test_messages_whose_validator_never_ends_are_freed(autojump_clock: Clock, how: str) -> None:
    async def never(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep(2 if how == "raises" else 10**6)
        raise ZeroDivisionError

    async with open_talk(Limits(), validators=[never]) as (topic, _, bob, pubsub):
        for _ in range(10):
            await topic.publish(bytes(100_000))
        await trio.sleep(1)
        assert used(bob) > 1_000_000
        if how == "leaves":
            await bob.disconnect(next(iter(bob.peers)))
        await trio.sleep(10)
        assert used(bob) == 0
        assert len(pubsub._router._pending) == 0


async def test_where_validators_are_slow_the_reading_waits_for_memory_and_nothing_is_lost(
    autojump_clock: Clock,
) -> None:
    most = 0

    async def slow(message: PubsubMessage[bytes]) -> ValidationResult:
        nonlocal most
        most = max(most, used(lobby_host))
        await trio.sleep(0.1)
        return ValidationResult.ACCEPT

    limits = Limits(memory_per_peer=500_000)
    async with open_talk(limits, validators=[slow]) as (topic, lobby, lobby_host, _):
        for number in range(50):
            await topic.publish(b"%d" % number + bytes(100_000))
        with trio.fail_after(60):
            got = [int((await lobby.receive()).data.rstrip(b"\0")) for _ in range(50)]
        assert got == list(range(50))
        assert 200_000 < most <= 500_000
        await trio.sleep(1)
        assert used(lobby_host) == 0


async def test_many_messages_leave_nothing_held(autojump_clock: Clock) -> None:
    async with open_talk(Limits()) as (topic, lobby, bob, _):
        for _ in range(300):
            await topic.publish(bytes(20_000))
        for _ in range(300):
            await lobby.receive()
        await trio.sleep(1)
        assert used(bob) == 0
