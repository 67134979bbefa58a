"""`peerstack pubsub subscribe`: print the messages of topics."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import trio
from cyclopts import App, Parameter
from cyclopts.validators import Number

from peerstack.protocols.pubsub import JoinedTopic, PubsubMessage, SubscriptionOverflow, WhenFull
from peerstack.stack.background import open_background

from . import events
from .listen import EVERYWHERE, LOOPBACK
from .options import NODE, Json, NodeOptions
from .output import Output
from .pubsub_node import Listen, Node, NoSign, Peers, check_topics, listening, open_node
from .redial import Redialer
from .runner import run

app = App(
    name="subscribe",
    usage="Usage: peerstack pubsub subscribe [OPTIONS] TOPIC...",
    help_epilogue="""Runs until --count messages have arrived, or until Ctrl-C. Messages are signed
by their authors, except with --no-sign. Peers can connect to the addresses
printed first, which are on this machine only unless --listen says otherwise. A
--peer that is lost is dialed again. In the JSON form the data is base64.

Examples:
  peerstack pubsub subscribe news --listen /ip4/127.0.0.1/tcp/4001
  peerstack pubsub subscribe news weather --peer /ip4/127.0.0.1/tcp/4001
  peerstack pubsub subscribe news --swarm-key swarm.key
  peerstack pubsub subscribe news --count 1 --json""",
)

Choice = Literal["wait", "drop-oldest", "fail"]
_WHEN_FULL: dict[Choice, WhenFull] = {
    "wait": WhenFull.WAIT,
    "drop-oldest": WhenFull.DROP_OLDEST,
    "fail": WhenFull.RAISE,
}
Arrival = PubsubMessage[bytes] | SubscriptionOverflow | events.OutputEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How messages are read: how many in all, how many may wait, and what happens then."""

    count: int | None
    buffer: int
    when_full: Choice


@app.default
def subscribe(
    topic: Annotated[str, Parameter(help="The name of the topic; more may follow.", name="TOPIC")],
    /,
    *topics: Annotated[str, Parameter(show=False)],
    listen: Listen = (LOOPBACK,),
    peer: Peers = (),
    no_sign: NoSign = False,
    count: Annotated[
        int | None, Parameter(help="End after this many messages.", metavar="N", validator=Number(gte=1))
    ] = None,
    buffer: Annotated[
        int, Parameter(help="Messages of a topic that may wait to be printed.", metavar="N", validator=Number(gte=1))
    ] = 1024,
    when_full: Annotated[
        Choice, Parameter(help="If the buffer is full: make the network wait, drop the oldest, or fail.")
    ] = "wait",
    options: NodeOptions = NODE,
    json: Json = False,
) -> int:
    """Print the messages of topics."""
    node = Node(listen=listen, peers=peer, signed=not no_sign, options=options)
    reading = Reading(count=count, buffer=buffer, when_full=when_full)
    return run(partial(_subscribe, (topic, *topics), node, reading), json=json, verbose=options.verbose)


async def _subscribe(topics: Sequence[str], node: Node, reading: Reading, output: Output) -> int:
    check_topics(topics)
    when_full = _WHEN_FULL[reading.when_full]
    async with open_node(node, output) as opened, AsyncExitStack() as stack:
        pubsub = opened.pubsub
        joins = (pubsub.join(topic, buffer=reading.buffer, when_full=when_full) for topic in dict.fromkeys(topics))
        joined_topics = [await stack.enter_async_context(join) for join in joins]
        output.emit(listening(pubsub.host))
        output.hint(
            f"Try `peerstack pubsub publish {topics[0]} hello --peer` with one of these addresses. Ctrl-C stops it."
        )
        if node.listen == (LOOPBACK,):
            output.hint(f"Only programs on this machine can connect; use --listen {EVERYWHERE} to let others in.")
        left, missing = reading.count, 0
        async with _merged(joined_topics, opened.redialer) as arrivals:
            async for arrival in arrivals:
                if isinstance(arrival, events.OutputEvent):
                    await output.emit_when_ready(arrival)
                    continue
                if isinstance(arrival, SubscriptionOverflow):
                    raise arrival
                missing += arrival.gap - arrival.closes
                await output.emit_when_ready(received(arrival, missing))
                left = None if left is None else left - 1
                if left == 0:
                    break
    return 0


@asynccontextmanager
async def _merged(
    joined_topics: Sequence[JoinedTopic[bytes]], redialer: Redialer
) -> AsyncIterator[trio.MemoryReceiveChannel[Arrival]]:
    """Yield a channel with the messages of all topics, and the events of the redialer.

    So one task reads, and what it raises leaves as itself.
    """
    send, receive = trio.open_memory_channel[Arrival](0)

    async def pass_on(joined: JoinedTopic[bytes]) -> None:
        try:
            async for message in joined:
                await send.send(message)
        except SubscriptionOverflow as overflow:
            await send.send(overflow)

    async with open_background() as nursery:
        for joined in joined_topics:
            nursery.start_soon(pass_on, joined)
        nursery.start_soon(redialer.run, send.send)
        yield receive


def received(message: PubsubMessage[bytes], missing: int) -> events.MessageReceived:
    """Return the event for a message; `missing` numbers were skipped so far and did not come."""
    return events.MessageReceived(
        topic=message.topic,
        author=None if message.author is None else str(message.author),
        seqno=message.seqno,
        data=base64.b64encode(message.data).decode(),
        gap=message.gap,
        late=message.late,
        closes=message.closes,
        missing=missing,
        missed=message.missed,
        fetched=message.fetched,
    )
