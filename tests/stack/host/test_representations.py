"""What hosts, connections and streams look like in a log: who is there, and nothing secret."""

from __future__ import annotations

import trio.testing

from peerstack.protocols.pubsub import open_pubsub
from peerstack.transports.quic import QuicConnection

from .pair import ECHO, Pair

Clock = trio.testing.MockClock


async def test_what_is_seen_of_a_connection(autojump_clock: Clock) -> None:
    pair = Pair()
    async with pair.open() as (alice, bob):
        await alice.connect(bob.addresses)
        stream = await alice.open_stream(bob.peer_id, ECHO)
        await stream.send_all(b"x")
        assert repr(stream) == f"<OptimisticStream {ECHO} with {bob.peer_id}>"
        other = await alice.open_stream(bob.peer_id, "/unknown/1", ECHO)
        assert repr(other).startswith("<YamuxStream ")
        assert repr(other).endswith(f" {ECHO} with {bob.peer_id}>")
        [connection] = alice.connections()
        assert repr(connection).startswith(f"<YamuxConnection outbound to {bob.peer_id} at /memory/7, ")
        [theirs] = bob.connections()
        assert repr(theirs).startswith(f"<YamuxConnection inbound from {alice.peer_id} at /memory/")
        [entry] = alice.swarm.connections()
        assert repr(connection) in repr(entry)
        assert repr(alice.peerstore) == "<Peerstore of 1 peers>"
        async with open_pubsub(alice) as pubsub:
            assert repr(pubsub) == f"<Pubsub of {alice.peer_id}, 0 topics>"
        assert repr(alice) == f"<Host {alice.peer_id}, 0 listeners, 1 peers>"


def test_a_connection_without_a_peer_has_a_representation_too() -> None:
    assert repr(QuicConnection.__new__(QuicConnection)) == "<QuicConnection not authenticated>"
