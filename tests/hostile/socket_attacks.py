"""Attacks on the socket, before anything is known of the peer."""

from __future__ import annotations

from contextlib import suppress

import trio

from peerstack.stack.identity import Identity
from peerstack.stack.negotiation import negotiate_outbound
from peerstack.stack.net.pipes import as_pipe
from peerstack.stack.security.noise import Noise, StaticKey
from peerstack.stack.security.noise.wire import SIGNATURE_PREFIX, Payload

from .peers import (
    HEADER,
    Cost,
    attack,
    dribble,
    half_handshake,
    send_noise,
    until_the_end,
)


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
