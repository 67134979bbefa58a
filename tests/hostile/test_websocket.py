"""What a peer does wrong in a WebSocket costs it the connection, in a stated time, and leaves a line that says why."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr
from websockets.frames import Frame, Opcode
from websockets.uri import WebSocketURI

from peerstack import open_host
from peerstack.stack.abc import Stream, StreamTransport
from peerstack.stack.errors import DialError
from peerstack.stack.events import ConnectionClosed, InboundRefused
from peerstack.stack.host import Host
from peerstack.stack.net.pipes import as_pipe
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork
from peerstack.transports.websocket import WebSocketPipe, WebSocketTransport, client_context, server_context
from peerstack.transports.websocket.handshake import connect_websocket

from ..transports.websocket.certificates import Authority
from ..transports.websocket.in_memory import MemoryTcp
from .peers import dribble, secured, until_the_end

Clock = trio.testing.MockClock
Attack = Callable[[trio.abc.Stream], Awaitable[None]]
ECHO = "/echo/1"
PLAIN, SECURE = Multiaddr("/memory/7"), Multiaddr("/memory/8")
URI = WebSocketURI(False, "127.0.0.1", 7, "/", "")
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
KEY = b"abcd"
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Field:
    """A host that listens on plain and secure WebSocket, an honest peer, and what was heard."""

    network: MemoryNetwork
    victim: Host
    honest: Host
    observer: RecordingObserver

    def reserved(self) -> dict[str, dict[str, int]]:
        limits = self.victim.statistics().swarm.limits
        return {name: limits[name] for name in ("system", "transient")}

    async def honest_exchange(self) -> None:
        """Talk over the connection there is, and over new ones of both kinds."""
        for address in self.victim.addresses:
            await self.honest.connect(address)
            async with await self.honest.open_stream(self.victim.peer_id, ECHO) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
            await self.honest.disconnect(self.victim.peer_id)


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    return server_context(*authority.issue("127.0.0.1")), client_context(authority.file)


@asynccontextmanager
async def field(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[Field]:
    network, observer = MemoryNetwork(), RecordingObserver()
    server, client = contexts

    def transports() -> list[StreamTransport]:
        return [WebSocketTransport(MemoryTcp(network), server_tls=server, client_tls=client)]

    async with (
        open_host(
            listen=["/ip4/127.0.0.1/tcp/7/ws", "/ip4/127.0.0.1/tcp/8/tls/ws"],
            transports=transports(),
            observers=[observer],
            swarm=SwarmConfig(raise_handler_errors=True),
        ) as victim,
        open_host(transports=transports()) as honest,
    ):
        victim.handle(ECHO, echo)
        yield Field(network, victim, honest, observer)


def sends(*pieces: bytes) -> Attack:
    """Send bytes to the socket, and read until the end."""

    async def attack(raw: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            for piece in pieces:
                await raw.send_all(piece)
        await until_the_end(raw)

    return attack


def frames(*pieces: bytes) -> Attack:
    """Send frames after an honest upgrade."""

    async def attack(raw: trio.abc.Stream) -> None:
        await connect_websocket(as_pipe(raw), URI)
        await sends(*pieces)(raw)

    return attack


def framed(opcode: Opcode, payload: bytes, **bits: bool) -> bytes:
    return Frame(opcode, payload, **bits).serialize(mask=True)


def frame_head(size: int) -> bytes:
    """Begin a masked binary frame of any size."""
    return b"\x82\xff" + size.to_bytes(8, "big") + KEY


async def dribbles_the_request(raw: trio.abc.Stream) -> None:
    await dribble(raw, REQUEST)
    await until_the_end(raw)


async def says_nothing(raw: trio.abc.Stream) -> None:
    await until_the_end(raw)


async def agrees_and_says_nothing(raw: trio.abc.Stream) -> None:
    await frames()(raw)


async def agrees_and_sends_empty_frames(raw: trio.abc.Stream) -> None:
    await connect_websocket(as_pipe(raw), URI)
    with suppress(trio.BrokenResourceError):
        while True:
            await raw.send_all(framed(Opcode.BINARY, b"") * 100)
            await trio.sleep(0.1)


async def agrees_and_pings_without_reading(raw: trio.abc.Stream) -> None:
    await connect_websocket(as_pipe(raw), URI)
    with suppress(trio.BrokenResourceError):
        while True:
            await raw.send_all(framed(Opcode.PING, bytes(125)) * 100)
            await trio.sleep(0.01)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
BROKE = "the peer broke the protocol: "
SLOW = SwarmConfig().connect_timeout
NEGOTIATION = SwarmConfig().negotiation_timeout


BEFORE: dict[str, tuple[Multiaddr, Attack, str, float]] = {
    "posts": (PLAIN, sends(REQUEST.replace(b"GET", b"POST")), f"{BROKE}WebSocket handshake: .*", 0),
    "browses": (
        PLAIN,
        sends(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        f"{BROKE}WebSocket handshake: missing Connection",
        0,
    ),
    "leaves out the key": (
        PLAIN,
        sends(re.sub(rb"Sec-WebSocket-Key: .*\r\n", b"", REQUEST)),
        f"{BROKE}WebSocket handshake: missing Sec-WebSocket-Key",
        0,
    ),
    "sends headers without end": (
        PLAIN,
        sends(REQUEST[:-2], *([b"X: " + b"x" * 1000 + b"\r\n"] * 100)),
        f"{BROKE}WebSocket handshake: a request with headers of more than 8192 bytes",
        0,
    ),
    "speaks plain libp2p": (
        PLAIN,
        sends(b"\x13/multistream/1.0.0\n"),
        f"{BROKE}WebSocket handshake: a request in HTTP was expected, but .*multistream",
        0,
    ),
    "speaks TLS to a plain port": (PLAIN, sends(HELLO), f"{BROKE}WebSocket handshake: the peer speaks TLS here", 0),
    "sends garbage": (PLAIN, sends(bytes(range(256)) * 100), f"{BROKE}WebSocket handshake: ", 0),
    "says nothing": (PLAIN, says_nothing, "the peer was too slow in the transport connect", SLOW),
    "dribbles": (PLAIN, dribbles_the_request, "the peer was too slow in the transport connect", SLOW),
    "speaks HTTP to a secure port": (SECURE, sends(REQUEST), f"{BROKE}TLS handshake: http request", 0),
    "speaks libp2p to a secure port": (SECURE, sends(b"\x13/multistream/1.0.0\n"), f"{BROKE}TLS handshake: ", 0),
    "sends half a hello": (SECURE, sends(HELLO), "the peer was too slow in the transport connect", SLOW),
    "says nothing in secret": (SECURE, says_nothing, "the peer was too slow in the transport connect", SLOW),
    "sends text": (PLAIN, frames(framed(Opcode.TEXT, b"hi")), f"{BROKE}WebSocket: text where libp2p sends binary", 0),
    "does not mask": (
        PLAIN,
        frames(Frame(Opcode.BINARY, b"hi").serialize(mask=False)),
        f"{BROKE}WebSocket: a frame of a client is not masked",
        0,
    ),
    "sets reserved bits": (PLAIN, frames(b"\xc2\x82" + KEY + b"hi"), f"{BROKE}WebSocket: reserved bits are set", 0),
    "lies about a size": (
        PLAIN,
        frames(b"\x82\xff" + b"\x7f" + b"\xff" * 7 + KEY),
        f"{BROKE}WebSocket: a message of 9223372036854775807 bytes or more",
        0,
    ),
    "sends more than a MiB in one frame": (
        PLAIN,
        frames(frame_head(MIB + 1)),
        f"{BROKE}WebSocket: a message of 1048577 bytes or more; the limit is 1048576",
        0,
    ),
    "sends a message without end": (
        PLAIN,
        frames(framed(Opcode.BINARY, b"", fin=False), *([framed(Opcode.CONT, bytes(60_000), fin=False)] * 20)),
        BROKE,
        0,
    ),
    "closes with an error": (PLAIN, frames(framed(Opcode.CLOSE, b"\x03\xf3")), "closed the WebSocket: 1011", 0),
    "closes at once": (PLAIN, frames(framed(Opcode.CLOSE, b"\x03\xe8")), "closed", 0),
    "agrees and says nothing": (
        PLAIN,
        agrees_and_says_nothing,
        "the peer was too slow in the security negotiation",
        NEGOTIATION,
    ),
    "agrees and sends empty frames": (
        PLAIN,
        agrees_and_sends_empty_frames,
        "the peer was too slow in the security negotiation",
        NEGOTIATION,
    ),
    "agrees and pings without reading": (
        PLAIN,
        agrees_and_pings_without_reading,
        "the peer was too slow in the security negotiation",
        NEGOTIATION,
    ),
}


@pytest.mark.parametrize("name", BEFORE)
async def test_it_costs_the_connection_before_it_is_one(
    name: str,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    autojump_clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "peerstack")
    address, attack, says, within = BEFORE[name]
    async with field(contexts) as battle, trio.open_nursery() as nursery:
        calm = battle.reserved()
        began = trio.current_time()
        nursery.start_soon(attack, battle.network.connect(address).stream)
        event = await battle.observer.wait_for(InboundRefused)
        assert trio.current_time() - began <= within
        assert re.search(says, event.reason), event.reason
        await trio.testing.wait_all_tasks_blocked()
        assert battle.reserved() == calm
        lines = [record.getMessage() for record in caplog.records if record.name.startswith("peerstack")]
        assert lines == [f"connection from {event.remote_address} refused: {event.reason}"]
        await battle.honest_exchange()
        nursery.cancel_scope.cancel()


async def inside(pipe: WebSocketPipe, raw: trio.abc.Stream, data: bytes) -> None:
    """Go through honest handshakes up to a secured channel, and then send these bytes to the socket."""
    await secured(pipe)
    await trio.testing.wait_all_tasks_blocked()
    await raw.send_all(data)
    await until_the_end(raw)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (framed(Opcode.TEXT, b"hi"), f"{BROKE}WebSocket: text where"),
        (Frame(Opcode.BINARY, b"hi").serialize(mask=False), f"{BROKE}WebSocket: a frame of a client is not masked"),
        (b"\x8b\x80" + KEY, f"{BROKE}WebSocket: a frame has the unknown opcode 11"),
        (framed(Opcode.CLOSE, b"\x03\xea"), "the connection broke: the peer closed the WebSocket: 1002"),
        (frame_head(256 * MIB + 1), f"{BROKE}WebSocket: a message of 268435457 bytes or more; the limit is 268435456"),
    ],
    ids=["text", "unmasked", "unknown opcode", "closed with an error", "beyond every size"],
)
async def test_it_costs_the_connection(
    data: bytes, says: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext], autojump_clock: Clock
) -> None:
    async with field(contexts) as battle, trio.open_nursery() as nursery:
        calm = battle.reserved()
        raw = battle.network.connect(PLAIN).stream
        pipe = await connect_websocket(as_pipe(raw), URI)
        nursery.start_soon(inside, pipe, raw, data)
        event = await battle.observer.wait_for(ConnectionClosed)
        assert (event.reason or "").startswith(says), event.reason
        await trio.sleep(SwarmConfig().handler_grace)
        assert battle.reserved() == calm
        await battle.honest_exchange()
        nursery.cancel_scope.cancel()


ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (dribble, f"transport connect: no answer within {SLOW:g} s"),
        (lambda raw, data: raw.send_all(data[:20]), f"transport connect: no answer within {SLOW:g} s"),
        (lambda raw, data: raw.send_all(data), "transport connect: WebSocket handshake: .*Sec-WebSocket-Accept"),
        (lambda raw, data: raw.send_all(b"HTTP/1.1 101 " + bytes(9000)), "transport connect: WebSocket handshake: "),
        (lambda raw, data: raw.send_all(b"\x13/multistream/1.0.0\n"), "transport connect: .*an answer in HTTP was"),
    ],
    ids=["dribbles", "stops half-way", "proves nothing", "sends headers without end", "speaks plain libp2p"],
)
async def test_a_server_costs_a_dialer_no_more_than_the_deadline(
    answer: Callable[[trio.abc.Stream, bytes], Awaitable[None]], says: str, autojump_clock: Clock
) -> None:
    network = MemoryNetwork()
    transport = WebSocketTransport(MemoryTcp(network))
    async with (
        await MemoryTcp(network).listen(Multiaddr("/ip4/127.0.0.1/tcp/7")) as listener,
        open_host(transports=[transport]) as victim,
        trio.open_nursery() as nursery,
    ):

        async def serve() -> None:
            raw = await listener.accept()
            await answer(raw.stream, ANSWER)
            await until_the_end(raw.stream)

        nursery.start_soon(serve)
        began = trio.current_time()
        with pytest.raises(DialError, match=says):
            await victim.connect("/ip4/127.0.0.1/tcp/7/ws")
        assert trio.current_time() - began <= SLOW
        assert victim.statistics().swarm.limits["system"] == {}
        nursery.cancel_scope.cancel()
