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
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    encode_header,
)
from peerstack.stack.negotiation import negotiate_outbound, optimistic_prefix
from peerstack.stack.pipes import as_pipe
from peerstack.stack.security.noise import Handshake, Noise, NoiseChannel, StaticKey
from peerstack.stack.security.noise.wire import LENGTH, SIGNATURE_PREFIX, Payload

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


async def secured(wire: trio.abc.Stream) -> NoiseChannel:
    """Go through an honest handshake; what follows is raw bytes inside the channel."""
    pipe = as_pipe(wire)
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


async def frames(wire: trio.abc.Stream, *sent: bytes) -> None:
    """Send yamux frames after an honest handshake, and read until the end."""
    channel = await secured(wire)
    with suppress(trio.BrokenResourceError):
        await channel.send_all(b"".join(sent))
    await until_the_end(channel)


async def on_a_stream(wire: trio.abc.Stream, *sent: bytes, pause: float = 0, then: bytes = b"") -> None:
    """Send bytes on a new stream after an honest handshake, and read until the end."""
    channel = await secured(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_the_end, channel)
        with suppress(trio.BrokenResourceError):
            await channel.send_all(frame(WINDOW_UPDATE, SYN, 1))
            for piece in sent:
                await channel.send_all(data(1, piece))
                await trio.sleep(pause)
            if then:
                await channel.send_all(then)


async def half_handshake(wire: trio.abc.Stream) -> tuple[Handshake, StaticKey]:
    """Take part in the Noise handshake until the last message is ours to send."""
    pipe = as_pipe(wire)
    await negotiate_outbound(pipe, ["/noise"])
    static = StaticKey()
    handshake = Handshake(initiator=True, static=static)
    await send_noise(wire, handshake.write(b""))
    received = b""
    while len(received) < 2 or len(received) < 2 + LENGTH.unpack_from(received)[0]:
        received += await pipe.receive_some()
    handshake.read(received[2:])
    return handshake, static


async def send_noise(wire: trio.abc.Stream, message: bytes, size: int | None = None) -> None:
    """Send a Noise message behind its size, or behind another."""
    await wire.send_all(LENGTH.pack(len(message) if size is None else size) + message)


# ---- the socket: before anything is known of the peer


@attack(Cost.HANDSHAKE, "closed")
async def hangs_up_at_once(wire: trio.abc.Stream) -> None:
    await wire.aclose()


@attack(Cost.HANDSHAKE, "the peer broke the protocol: .*HTTP")
async def speaks_http(wire: trio.abc.Stream) -> None:
    await wire.send_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol")
async def sends_garbage(wire: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError):
        await wire.send_all(bytes(range(256)) * 4096)
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security negotiation", within=5)
async def says_nothing(wire: trio.abc.Stream) -> None:
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security negotiation", within=5)
async def dribbles_the_header(wire: trio.abc.Stream) -> None:
    await dribble(wire, HEADER)
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security negotiation", within=5)
async def dribbles_a_proposal(wire: trio.abc.Stream) -> None:
    await wire.send_all(HEADER)
    await dribble(wire, b"\x07/noise")
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "closed")
async def hangs_up_inside_the_header(wire: trio.abc.Stream) -> None:
    await wire.send_all(HEADER[:7])
    await wire.aclose()


@attack(Cost.HANDSHAKE, "the peer broke the protocol: .*(length|long|bytes)")
async def lies_about_the_length_of_a_proposal(wire: trio.abc.Stream) -> None:
    await wire.send_all(HEADER + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: .*(length|long|bytes)")
async def proposes_a_protocol_of_a_megabyte(wire: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError):
        await wire.send_all(HEADER + b"\x80\x80\x40" + b"/" * 2**20)
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "none is supported here")
async def proposes_for_ever(wire: trio.abc.Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_the_end, wire)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await wire.send_all(HEADER)
            for _ in range(1000):
                await wire.send_all(b"\x06/none\n")


@attack(Cost.HANDSHAKE, "the peer proposed '/plaintext/2.0.0' and gave up")
async def wants_no_security(wire: trio.abc.Stream) -> None:
    await wire.send_all(HEADER + b"\x11/plaintext/2.0.0\n")
    await as_pipe(wire).send_eof()
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security handshake", within=10)
async def stops_before_the_handshake(wire: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(wire), ["/noise"])
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security handshake", within=10)
async def dribbles_the_handshake(wire: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(wire), ["/noise"])
    await dribble(wire, b"\x00\x20" + bytes(32))
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security handshake", within=10)
async def stops_before_the_last_message(wire: trio.abc.Stream) -> None:
    await half_handshake(wire)
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer closed the connection")
async def hangs_up_in_the_handshake(wire: trio.abc.Stream) -> None:
    await half_handshake(wire)
    await wire.aclose()


@attack(Cost.HANDSHAKE, "the peer broke the protocol: Noise handshake message of 65535 bytes is over 8192")
async def lies_about_the_length_of_the_handshake(wire: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(wire), ["/noise"])
    await send_noise(wire, b"", size=65535)
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol")
async def sends_a_handshake_of_zeros(wire: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(wire), ["/noise"])
    await send_noise(wire, bytes(32))
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: the peer's signature does not cover its Noise key")
async def presents_the_identity_of_another(wire: trio.abc.Stream) -> None:
    handshake, static = await half_handshake(wire)
    victim, mallory = Identity.generate(), Identity.generate()
    signature = mallory.sign(SIGNATURE_PREFIX + static.public)
    await send_noise(wire, handshake.write(Payload(victim.public_key.encode(), signature).encode()))
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: the peer's signature does not cover its Noise key")
async def replays_the_proof_of_another(wire: trio.abc.Stream) -> None:
    handshake, _ = await half_handshake(wire)
    victim = Identity.generate()
    signature = victim.sign(SIGNATURE_PREFIX + StaticKey().public)
    await send_noise(wire, handshake.write(Payload(victim.public_key.encode(), signature).encode()))
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: the peer's identity key is not usable")
async def presents_garbage_for_an_identity(wire: trio.abc.Stream) -> None:
    handshake, _ = await half_handshake(wire)
    await send_noise(wire, handshake.write(Payload(b"\x08\x01\x12\x04abcd", bytes(64)).encode()))
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: Noise payload is not a valid protobuf")
async def ends_the_handshake_with_garbage(wire: trio.abc.Stream) -> None:
    handshake, _ = await half_handshake(wire)
    await send_noise(wire, handshake.write(b"\xff" * 100))
    await until_the_end(wire)


@attack(Cost.HANDSHAKE, "the peer was too slow in the muxer negotiation", within=5)
async def never_chooses_a_muxer(wire: trio.abc.Stream) -> None:
    pipe = as_pipe(wire)
    await negotiate_outbound(pipe, ["/noise"])
    secured = await Noise(Identity.generate()).secure(pipe, initiator=True, expect=None, muxers=())
    await until_the_end(secured.channel)


# ---- the secured channel: the peer is who it says, and sends what it likes


@attack(Cost.CONNECTION, "the peer broke the protocol: Noise frame 0 of 64 bytes does not decrypt")
async def sends_what_does_not_decrypt(wire: trio.abc.Stream) -> None:
    await secured(wire)
    await send_noise(wire, bytes(64))
    await until_the_end(wire)


@attack(Cost.CONNECTION, "the connection ended inside a Noise frame|the connection broke")
async def hangs_up_inside_a_frame(wire: trio.abc.Stream) -> None:
    await secured(wire)
    await send_noise(wire, bytes(64), size=65535)
    await wire.aclose()


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux version 71 is unknown")
async def speaks_http_inside_the_channel(wire: trio.abc.Stream) -> None:
    await frames(wire, b"GET / HTTP/1.1\r\n\r\n")


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux frame type 9 is unknown")
async def sends_an_unknown_frame(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(9, 0, 0))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: .* over its window")
async def opens_with_more_than_the_window(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(DATA, SYN, 1, INITIAL_WINDOW + 1))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: .* whose window is")
async def sends_beyond_its_window(wire: trio.abc.Stream) -> None:
    full = optimistic_prefix("/sink/1").ljust(INITIAL_WINDOW, b"x")
    await frames(wire, data(1, full, SYN), data(1, b"!"))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: .* whose window is")
async def lies_about_the_length_of_data(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(WINDOW_UPDATE, SYN, 1), frame(DATA, 0, 1, 2**32 - 1))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: window of stream 1 grows beyond")
async def overflows_our_window(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(WINDOW_UPDATE, SYN, 1, 2**32 - 1), frame(WINDOW_UPDATE, 0, 1, 2**32 - 1))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: stream 2 is not the peer's to open")
async def opens_a_stream_of_ours(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(WINDOW_UPDATE, SYN, 2))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: stream 1 is open already")
async def opens_a_stream_twice(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(WINDOW_UPDATE, SYN, 1) * 2)


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: frame of type 2 for stream 7")
async def pings_a_stream(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(PING, SYN, 7))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more data for streams that do not exist")
async def sends_to_streams_that_do_not_exist(wire: trio.abc.Stream) -> None:
    await frames(wire, *(data(99, bytes(60_000)) for _ in range(6)))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 5000 streams opened in a second")
async def opens_and_resets_streams_in_a_flood(wire: trio.abc.Stream) -> None:
    await frames(wire, *(frame(WINDOW_UPDATE, SYN, n) + frame(WINDOW_UPDATE, RST, n) for n in range(1, 40_000, 2)))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 5000 streams opened in a second")
async def opens_streams_in_a_flood(wire: trio.abc.Stream) -> None:
    await frames(wire, *(frame(WINDOW_UPDATE, SYN, n) for n in range(1, 40_000, 2)))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 20000 frames without content in a second")
async def pings_in_a_flood(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(PING, SYN, 0, 7) * 60_000)


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 20000 frames without content in a second")
async def sends_empty_data_in_a_flood(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(WINDOW_UPDATE, SYN, 1), frame(DATA, 0, 1) * 60_000)


@attack(Cost.CONNECTION, "the peer did not answer a ping and has been silent for", within=40)
async def falls_silent(wire: trio.abc.Stream) -> None:
    await secured(wire)
    await trio.sleep(60)


@attack(Cost.CONNECTION, "the peer did not answer a ping and has been silent for", within=40)
async def stops_inside_a_frame(wire: trio.abc.Stream) -> None:
    channel = await secured(wire)
    await channel.send_all(frame(DATA, SYN, 1, INITIAL_WINDOW, bytes(10)))
    await trio.sleep(60)


@attack(Cost.CONNECTION, "the peer did not answer a ping and has been silent for", within=40)
async def never_reads_what_it_asked_for(wire: trio.abc.Stream) -> None:
    channel = await secured(wire)
    await channel.send_all(data(1, optimistic_prefix("/echo/1"), SYN))
    for _ in range(4):
        await channel.send_all(data(1, bytes(60_000)))
    await trio.sleep(60)


@attack(Cost.CONNECTION, "the peer broke the protocol: the peer asks for answers and does not read them", within=12)
async def pings_and_never_reads(wire: trio.abc.Stream) -> None:
    channel = await secured(wire)
    with suppress(trio.BrokenResourceError):
        for _ in range(12):
            await channel.send_all(frame(PING, SYN, 0, 7) * 15_000)
            await trio.sleep(1)


@attack(Cost.CONNECTION, "without a goodbye|the connection broke")
async def hangs_up_without_a_goodbye(wire: trio.abc.Stream) -> None:
    channel = await secured(wire)
    await channel.send_all(data(1, optimistic_prefix("/echo/1"), SYN))
    await channel.aclose()


@attack(Cost.CONNECTION, "the peer closed the connection with: internal error")
async def blames_itself(wire: trio.abc.Stream) -> None:
    await frames(wire, frame(GO_AWAY, 0, 0, 2), data(1, b"and goes on", SYN))


# ---- the muxed stream: the connection is fine, a stream is not


@attack(Cost.STREAM, "HTTP")
async def speaks_http_on_a_stream(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, b"GET / HTTP/1.1\r\n\r\n")


@attack(Cost.STREAM, "the peer was too slow to agree on a protocol", within=10)
async def opens_a_stream_and_says_nothing(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire)


@attack(Cost.STREAM, "the peer was too slow to agree on a protocol", within=10)
async def dribbles_on_a_stream(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, *(bytes([byte]) for byte in HEADER), pause=1)


@attack(Cost.STREAM, "length|long|bytes")
async def lies_about_the_length_on_a_stream(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, HEADER + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")


@attack(Cost.STREAM, "none is supported here")
async def proposes_for_ever_on_a_stream(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, HEADER + b"\x06/none\n" * 1000)


@attack(Cost.STREAM, "closed the stream")
async def ends_a_stream_at_once(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, then=frame(DATA, FIN, 1))


@attack(Cost.STREAM, "reset by the peer")
async def resets_a_stream_in_the_midst_of_it(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, optimistic_prefix("/echo/1") + b"hello", then=frame(WINDOW_UPDATE, RST, 1))


@attack(Cost.STREAM, "our limit of 512 inbound streams in scope")
async def holds_streams_open_in_a_flood(wire: trio.abc.Stream) -> None:
    channel = await secured(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_the_end, channel)
        for number in range(1, 1400, 2):
            await channel.send_all(frame(WINDOW_UPDATE, SYN, number))


@attack(Cost.STREAM, "our limit of 2 inbound streams in scope")
async def pings_on_too_many_streams(wire: trio.abc.Stream) -> None:
    await frames(wire, *(data(n, optimistic_prefix("/ipfs/ping/1.0.0"), SYN) for n in (1, 3, 5)))


@attack(Cost.STREAM, "/ipfs/id/push/1.0.0 ended")
async def lies_about_the_length_of_a_message(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, optimistic_prefix("/ipfs/id/push/1.0.0") + b"\xff\xff\xff\xff\x07")


@attack(Cost.STREAM, "/ipfs/id/push/1.0.0 ended")
async def pushes_garbage(wire: trio.abc.Stream) -> None:
    await on_a_stream(wire, optimistic_prefix("/ipfs/id/push/1.0.0") + b"\x20" + b"\xff" * 32, then=frame(DATA, FIN, 1))
