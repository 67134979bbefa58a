"""A chat room on the network: sends and receives lines and presences, and keeps the model of the room up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from math import inf

import trio
from multiaddr import Multiaddr

from peerstack.protocols.identify.learn import is_plausible
from peerstack.protocols.pubsub import JoinedTopic, PeerJoined, Receipt, WhenFull
from peerstack.stack.addressing import is_loopback, is_public, is_unix
from peerstack.stack.background import open_background
from peerstack.stack.errors import InvalidInput
from peerstack.stack.identity import PeerId

from .chat_model import PRESENCE_INTERVAL, ChatModel
from .chat_neighbours import Neighbours
from .chat_presence import topic_of
from .events import Noted, OutputEvent
from .pubsub_node import OpenNode, receipt_event, wait_acknowledged
from .render_pubsub import short

TICK = 0.5  # seconds
BACKLOG = 1000
"""Events that may wait to be shown, and lines that may wait to be sent. Beyond that the sender waits."""
LEAVE_PATIENCE = 10.0  # seconds
ALONE = "not sent: no other member is here yet"
HELP = (
    "/who        who is here, and who is connected to whom",
    "/name NAME  change your name",
    "/help       this list",
    "/quit       leave, like Ctrl-C",
    "other lines are sent to the room; put a space before a / that is not a command",
)


class ChatSession:
    """A joined chat room. Get it from `open_session`, read `events`, and end it with `leave`."""

    def __init__(
        self, node: OpenNode, model: ChatModel, room: JoinedTopic[bytes], presence: JoinedTopic[bytes]
    ) -> None:
        self.model = model
        self.reached_no_peer = 0
        """How many of our lines reached no peer."""
        self.on_said: Callable[[str, Receipt], None] = lambda text, receipt: None
        """Called with each line that we published; its receipt follows in `events` when it is complete."""
        self._node = node
        self._room = room
        self._presence = presence
        self._present_at = -inf
        self._neighbours = Neighbours(node.pubsub.host, model)
        self._scope = trio.CancelScope()
        self._sent_to: dict[PeerId, None] = {}
        self._said, self._to_follow = trio.open_memory_channel[Receipt](BACKLOG)
        self._followed = trio.Event()
        self._send, self.events = trio.open_memory_channel[OutputEvent](BACKLOG)
        """The events to show, in order; ends when the room was left."""

    # ---- what people type

    async def enter(self, text: str) -> bool:
        """Publish a line, or run the command that it is; return whether to stay."""
        command, _, argument = text.partition(" ")
        match command:
            case "/quit":
                return False
            case "/who":
                await self._emit(self.model.who())
            case "/name":
                await self._emit(self.model.rename(argument))
            case "/help":
                await self._emit(Noted("info", line) for line in HELP)
            case _ if command.startswith("/"):
                await self._emit([Noted("warning", f"{command} is no command; /help lists them")])
            case _:
                await self.say(text.strip())
        return True

    async def say(self, text: str) -> Receipt | None:
        """Publish a line to the room; None if it cannot be published. `events` gets the receipt when it is complete."""
        data = text.encode(errors="replace")
        if not data:
            return None
        await self._tell_presence()
        try:
            receipt = await self._room.publish(data)
        except InvalidInput as error:
            await self._emit([Noted("warning", str(error))])
            return None
        self.on_said(text, receipt)
        await self._said.send(receipt)
        return receipt

    async def wait_company(self, seconds: float) -> None:
        """Wait until another member is here, with a limit."""
        with trio.move_on_after(seconds):
            await self._room.wait_peers()

    async def leave(self) -> None:
        """Announce that we leave, end `events`, and wait until the neighbours have received all lines."""
        await self._said.aclose()
        with trio.move_on_after(LEAVE_PATIENCE):
            await self._followed.wait()
            receipt = await self._presence.publish(self._who_we_are(leaving=True))
            await receipt.wait_sent()
            self._sent_to.update(dict.fromkeys(receipt.sent))
        self._scope.cancel()
        await self._emit(self.model.flush())
        await wait_acknowledged(self._node.pubsub, self._sent_to)
        await self._send.aclose()

    # ---- in the background

    async def run(self) -> None:
        """Keep the model up to date until the room is left."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for task in (
                    self._receive_lines,
                    self._receive_presences,
                    self._watch_peers,
                    self._follow,
                    self._keep_time,
                ):
                    nursery.start_soon(task)
                nursery.start_soon(self._node.redialer.run, self._send.send)
                nursery.start_soon(self._neighbours.run)

    async def _receive_lines(self) -> None:
        async for message in self._room:
            if message.missed:
                await self._emit([Noted("warning", f"{message.missed} lines came too fast to be shown")])
            peer = str(message.author or message.source)
            await self._emit(self.model.line_received(peer, message.data, trio.current_time()))

    async def _receive_presences(self) -> None:
        async for message in self._presence:
            peer = str(message.author or message.source)
            now, believed = trio.current_time(), self._believed(message.source)
            await self._emit(self.model.presence_received(peer, message.data, now, believed))

    def _believed(self, neighbour: PeerId | None) -> Callable[[Multiaddr], bool]:
        """Return the filter for addresses from a neighbour: it must not make us dial private ones."""
        connections = [] if neighbour is None else self._node.pubsub.host.connections(neighbour)
        if not connections:
            return lambda address: False
        return partial(is_plausible, seen_at=connections[0].info.remote_address)

    async def _watch_peers(self) -> None:
        async for change in self._room.peer_events():
            happened = self.model.peer_joined if isinstance(change, PeerJoined) else self.model.peer_left
            await self._emit(happened(str(change.peer), trio.current_time()))

    async def _follow(self) -> None:
        """Pass on the receipt of each line."""
        async for receipt in self._to_follow:
            await receipt.wait_sent()
            self._sent_to.update(dict.fromkeys(receipt.sent))
            warnings = [
                Noted("warning", f"not sent to {short(str(peer))}: {receipt.peers[peer].reason}")
                for peer in receipt.dropped
            ]
            if receipt.reached_no_peer:
                self.reached_no_peer += 1
                warnings.append(Noted("warning", ALONE))
            await self._emit([receipt_event(receipt), *warnings])
        self._followed.set()

    async def _keep_time(self) -> None:
        while True:
            now = trio.current_time()
            await self._emit(self.model.tick(now))
            if now - self._present_at >= PRESENCE_INTERVAL:
                self.model.presence_due = True
            await self._tell_presence()
            await trio.sleep(TICK)

    async def _tell_presence(self) -> None:
        """Publish our presence if it is due and another member listens."""
        if self.model.presence_due and self._presence.peers:
            self._present_at = trio.current_time()
            await self._presence.publish(self._who_we_are())

    def _who_we_are(self, *, leaving: bool = False) -> bytes:
        # Public addresses first, since only a few fit.
        found = [address for address in self._node.pubsub.host.announced_addresses if not is_unix(address)]
        found.sort(key=lambda address: (is_loopback(address), not is_public(address)))
        return self.model.presence(found, leaving=leaving)

    async def _emit(self, happened: Iterable[OutputEvent]) -> None:
        for event in happened:
            await self._send.send(event)


@asynccontextmanager
async def open_session(node: OpenNode, room: str, name: str) -> AsyncIterator[ChatSession]:
    """Enter a room for the time of the block."""
    pubsub = node.pubsub
    model = ChatModel(room, str(pubsub.host.peer_id), name)
    # A blocked screen must not hold up the network. The room is joined last, so that our name is known by then.
    async with (
        pubsub.join(topic_of(room), when_full=WhenFull.DROP_OLDEST) as presence,
        pubsub.join(room, when_full=WhenFull.DROP_OLDEST) as joined,
        open_background() as nursery,
    ):
        session = ChatSession(node, model, joined, presence)
        nursery.start_soon(session.run)
        yield session
