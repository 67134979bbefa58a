"""Hostile peers that speak raw bytes: to a socket, inside a secured channel, and on a muxed stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import trio

from peerstack.stack.identity import Identity
from peerstack.stack.muxing.yamux.wire import (
    DATA,
    SYN,
    WINDOW_UPDATE,
    encode_header,
)
from peerstack.stack.negotiation import negotiate_outbound
from peerstack.stack.net.pipes import as_pipe
from peerstack.stack.security.noise import Handshake, Noise, NoiseChannel, StaticKey
from peerstack.stack.security.noise.wire import LENGTH

HEADER = b"\x13/multistream/1.0.0\n"
YAMUX = "/yamux/1.0.0"


class Cost(StrEnum):
    """What an attack costs the attacker."""

    HANDSHAKE = "the connection before it is one"
    CONNECTION = "the connection"
    STREAM = "the stream"


@dataclass(frozen=True, slots=True)
class Attack:
    """What a peer does, and what must come of it."""

    run: Callable[[trio.abc.Stream], Awaitable[None]]
    cost: Cost
    says: str
    """What the one debug line says, a regular expression."""
    within: float
    """Seconds after which it is over, at most."""

    @property
    def name(self) -> str:
        """The attack in words."""
        return self.run.__name__


ATTACKS: list[Attack] = []


def attack(
    cost: Cost, says: str, *, within: float = 0.0
) -> Callable[[Callable[[trio.abc.Stream], Awaitable[None]]], Callable[[trio.abc.Stream], Awaitable[None]]]:
    """Enter an attack into the list."""

    def enter(run: Callable[[trio.abc.Stream], Awaitable[None]]) -> Callable[[trio.abc.Stream], Awaitable[None]]:
        ATTACKS.append(Attack(run, cost, says, within))
        return run

    return enter


# ---- what attacks are made of


async def until_the_end(stream: trio.abc.ReceiveStream) -> None:
    """Read and ignore whatever comes, until the other side has had enough."""
    with suppress(trio.BrokenResourceError):
        async for _ in stream:
            pass


async def dribble(stream: trio.abc.Stream, data: bytes, pause: float = 1.0) -> None:
    """Send one byte after the other, slowly."""
    with suppress(trio.BrokenResourceError):
        for index in range(len(data)):
            await stream.send_all(data[index : index + 1])
            await trio.sleep(pause)


async def secured(raw: trio.abc.Stream) -> NoiseChannel:
    """Go through an honest handshake; what follows is raw bytes inside the channel."""
    pipe = as_pipe(raw)
    await negotiate_outbound(pipe, ["/noise"])
    noise = Noise(Identity.generate())
    channel = (await noise.secure(pipe, initiator=True, expect=None, muxers=[YAMUX])).channel
    assert isinstance(channel, NoiseChannel)
    return channel


def frame(kind: int, flags: int, stream_id: int, length: int = 0, body: bytes = b"") -> bytes:
    """Encode a yamux frame; its length need not be that of the body."""
    return encode_header(kind, flags, stream_id, length) + body


def data(stream_id: int, body: bytes, flags: int = 0) -> bytes:
    """Encode an honest data frame."""
    return frame(DATA, flags, stream_id, len(body), body)


async def frames(raw: trio.abc.Stream, *sent: bytes) -> None:
    """Send yamux frames after an honest handshake, and read until the end."""
    channel = await secured(raw)
    with suppress(trio.BrokenResourceError):
        await channel.send_all(b"".join(sent))
    await until_the_end(channel)


async def on_a_stream(raw: trio.abc.Stream, *sent: bytes, pause: float = 0, then: bytes = b"") -> None:
    """Send bytes on a new stream after an honest handshake, and read until the end."""
    channel = await secured(raw)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_the_end, channel)
        with suppress(trio.BrokenResourceError):
            await channel.send_all(frame(WINDOW_UPDATE, SYN, 1))
            for piece in sent:
                await channel.send_all(data(1, piece))
                await trio.sleep(pause)
            if then:
                await channel.send_all(then)


async def half_handshake(raw: trio.abc.Stream) -> tuple[Handshake, StaticKey]:
    """Take part in the Noise handshake until the last message is ours to send."""
    pipe = as_pipe(raw)
    await negotiate_outbound(pipe, ["/noise"])
    static = StaticKey()
    handshake = Handshake(initiator=True, static=static)
    await send_noise(raw, handshake.write(b""))
    received = b""
    while len(received) < 2 or len(received) < 2 + LENGTH.unpack_from(received)[0]:
        received += await pipe.receive_some()
    handshake.read(received[2:])
    return handshake, static


async def send_noise(raw: trio.abc.Stream, message: bytes, size: int | None = None) -> None:
    """Send a Noise message behind its size, or behind another."""
    await raw.send_all(LENGTH.pack(len(message) if size is None else size) + message)
