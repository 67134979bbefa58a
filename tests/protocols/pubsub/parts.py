"""Hosts that speak pubsub, in one process, for the tests of the driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import trio

from peerstack import open_host
from peerstack.protocols.pubsub import JoinedTopic, Pubsub, PubsubConfig, open_pubsub
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport


@dataclass(frozen=True, slots=True)
class Node:
    """A host and what it does."""

    host: Host
    pubsub: Pubsub
    events: RecordingObserver

    @property
    def peer_id(self) -> PeerId:
        return self.host.peer_id


@asynccontextmanager
async def open_nodes(
    count: int,
    *configs: PubsubConfig,
    connect: bool = True,
    network: MemoryNetwork | None = None,
    threads: bool = False,
) -> AsyncIterator[list[Node]]:
    """Open so many nodes, each connected to all; the last config given holds for the rest too."""
    network = network or MemoryNetwork()
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for index in range(count):
            events = RecordingObserver()
            opened = open_host(listen=["/memory/0"], transports=[MemoryTransport(network)], observers=[events])
            host = await stack.enter_async_context(opened)
            config = configs[min(index, len(configs) - 1)] if configs else PubsubConfig()
            if not threads:  # a virtual clock would jump on while one works
                config = replace(config, thread_from=None)
            pubsub = await stack.enter_async_context(open_pubsub(host, config, seed=index))
            if connect:
                for earlier in nodes:
                    await host.connect(*earlier.host.addresses)
            nodes.append(Node(host, pubsub, events))
        yield nodes


@asynccontextmanager
async def open_topics(nodes: list[Node], topic: str = "news") -> AsyncIterator[list[JoinedTopic[bytes]]]:
    """Join a topic on all nodes, and wait until each knows of all others."""
    async with AsyncExitStack() as stack:
        topics = [await stack.enter_async_context(node.pubsub.join(topic)) for node in nodes]
        for joined in topics:
            with trio.fail_after(30):
                await joined.wait_peers(len(nodes) - 1)
        yield topics
