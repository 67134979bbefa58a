"""Links to peers: opened anew when a stream breaks, and wound up when the connection or pubsub is closed."""

from __future__ import annotations

import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import JoinedTopic, PubsubMessage, open_pubsub
from peerstack.protocols.pubsub.api.events import PubsubPeerAdded, PubsubPeerRemoved
from peerstack.stack.abc import Stream
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import Node, open_nodes, open_topics

Clock = trio.testing.MockClock


def break_stream(sender: Node, receiver: Node) -> None:
    """Let the receiver reset the stream on which the sender writes; the connection stays."""
    (stream,) = receiver.pubsub._peers.streams[sender.peer_id].inbound
    stream.reset()


async def soon(topic: JoinedTopic[bytes]) -> PubsubMessage[bytes]:
    with trio.fail_after(10):
        return await topic.receive()


async def added(node: Node, count: int) -> None:
    with trio.fail_after(30):
        await node.events.wait_for(PubsubPeerAdded, count=count)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_stream_that_breaks_is_opened_again(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        break_stream(alice, bob)
        await added(alice, 2)
        await at_alice.publish(b"still here")
        assert (await soon(at_bob)).data == b"still here"


async def test_what_the_peer_subscribes_to_is_known_after_our_stream_broke(autojump_clock: Clock) -> None:
    """The peer's own stream goes on, so it has no reason to say again what it said."""
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        for _ in range(3):
            before = len(alice.events.of(PubsubPeerAdded))
            break_stream(alice, bob)
            await added(alice, before + 1)
            assert at_alice.peers == [bob.peer_id]
            await at_bob.publish(b"from bob")
            assert (await soon(at_alice)).data == b"from bob"


async def test_what_a_peer_says_while_our_stream_is_opened_anew_is_not_lost(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        break_stream(alice, bob)
        await trio.testing.wait_all_tasks_blocked()
        async with bob.pubsub.join("more"):
            await at_bob.publish(b"in between")
            with trio.fail_after(5):
                assert (await soon(at_alice)).data == b"in between"
            await trio.testing.wait_all_tasks_blocked()
            assert alice.pubsub.topic_peers("more") == [bob.peer_id]


async def test_a_peer_that_reconnects_while_its_stream_is_awaited_is_linked_again(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        for _ in range(2):  # the second wait is two seconds long
            before = len(alice.events.of(PubsubPeerAdded))
            break_stream(alice, bob)
            await added(alice, before + 1)
        break_stream(alice, bob)
        await trio.sleep(0.1)
        await bob.host.disconnect(alice.peer_id)
        await bob.host.connect(*alice.host.addresses)
        with trio.fail_after(60):
            await at_alice.wait_peers()
            await at_bob.wait_peers()
        await at_alice.publish(b"again")
        assert (await soon(at_bob)).data == b"again"


async def test_a_peer_whose_stream_cannot_be_opened_is_given_up_but_may_come_back(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (alice,):
        async with open_host(transports=[MemoryTransport(network)]) as other:

            async def reset_inbound(stream: Stream) -> None:
                stream.reset()

            other.handle("/meshsub/1.1.0", reset_inbound)
            await other.connect(*alice.host.addresses)
            with trio.fail_after(60):
                removed = await alice.events.wait_for(PubsubPeerRemoved)
            assert removed.peer == other.peer_id
            assert alice.pubsub.statistics().peers == {}
            assert 1 <= len(alice.events.of(PubsubPeerAdded)) <= 4  # the first try and three more
            other.unhandle("/meshsub/1.1.0")
            async with open_pubsub(other):
                await trio.sleep(1)
                assert set(alice.pubsub.statistics().peers) == {str(other.peer_id)}


async def test_a_pubsub_that_is_closed_leaves_no_streams(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (alice,):
        async with open_host(transports=[MemoryTransport(network)]) as host:
            await host.connect(*alice.host.addresses)
            await trio.testing.wait_all_tasks_blocked()
            before = host.statistics().swarm.streams
            async with open_pubsub(host):
                await trio.sleep(1)
                assert host.statistics().swarm.streams == before + 2
            await trio.sleep(15)
            assert host.statistics().swarm.streams == before
            assert alice.pubsub.statistics().peers == {}


async def test_pubsub_can_be_opened_again_on_the_same_host(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (alice,), alice.pubsub.join("news") as at_alice:
        async with open_host(transports=[MemoryTransport(network)]) as host:
            await host.connect(*alice.host.addresses)
            for _ in range(3):
                async with open_pubsub(host) as pubsub, pubsub.join("news") as topic:
                    with trio.fail_after(30):
                        await topic.wait_peers()
                        await at_alice.wait_peers()
                    await topic.publish(b"to alice")
                    assert (await soon(at_alice)).data == b"to alice"
                    await at_alice.publish(b"from alice")
                    with trio.fail_after(30):
                        assert (await soon(topic)).data == b"from alice"
