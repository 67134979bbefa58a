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
async def hangs_up_at_once(raw: trio.abc.Stream) -> None:
    await raw.aclose()


@attack(Cost.HANDSHAKE, "the peer broke the protocol: .*HTTP")
async def speaks_http(raw: trio.abc.Stream) -> None:
    await raw.send_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol")
async def sends_garbage(raw: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError):
        await raw.send_all(bytes(range(256)) * 4096)
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security negotiation", within=5)
async def says_nothing(raw: trio.abc.Stream) -> None:
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security negotiation", within=5)
async def dribbles_the_header(raw: trio.abc.Stream) -> None:
    await dribble(raw, HEADER)
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security negotiation", within=5)
async def dribbles_a_proposal(raw: trio.abc.Stream) -> None:
    await raw.send_all(HEADER)
    await dribble(raw, b"\x07/noise")
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "closed")
async def hangs_up_inside_the_header(raw: trio.abc.Stream) -> None:
    await raw.send_all(HEADER[:7])
    await raw.aclose()


@attack(Cost.HANDSHAKE, "the peer broke the protocol: .*(length|long|bytes)")
async def lies_about_the_length_of_a_proposal(raw: trio.abc.Stream) -> None:
    await raw.send_all(HEADER + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: .*(length|long|bytes)")
async def proposes_a_protocol_of_a_megabyte(raw: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError):
        await raw.send_all(HEADER + b"\x80\x80\x40" + b"/" * 2**20)
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "none is supported here")
async def proposes_for_ever(raw: trio.abc.Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_the_end, raw)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await raw.send_all(HEADER)
            for _ in range(1000):
                await raw.send_all(b"\x06/none\n")


@attack(Cost.HANDSHAKE, "the peer proposed '/plaintext/2.0.0' and gave up")
async def wants_no_security(raw: trio.abc.Stream) -> None:
    await raw.send_all(HEADER + b"\x11/plaintext/2.0.0\n")
    await as_pipe(raw).send_eof()
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security handshake", within=10)
async def stops_before_the_handshake(raw: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(raw), ["/noise"])
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security handshake", within=10)
async def dribbles_the_handshake(raw: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(raw), ["/noise"])
    await dribble(raw, b"\x00\x20" + bytes(32))
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the security handshake", within=10)
async def stops_before_the_last_message(raw: trio.abc.Stream) -> None:
    await half_handshake(raw)
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer closed the connection")
async def hangs_up_in_the_handshake(raw: trio.abc.Stream) -> None:
    await half_handshake(raw)
    await raw.aclose()


@attack(Cost.HANDSHAKE, "the peer broke the protocol: Noise handshake message of 65535 bytes is over 8192")
async def lies_about_the_length_of_the_handshake(raw: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(raw), ["/noise"])
    await send_noise(raw, b"", size=65535)
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol")
async def sends_a_handshake_of_zeros(raw: trio.abc.Stream) -> None:
    await negotiate_outbound(as_pipe(raw), ["/noise"])
    await send_noise(raw, bytes(32))
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: the peer's signature does not cover its Noise key")
async def presents_the_identity_of_another(raw: trio.abc.Stream) -> None:
    handshake, static = await half_handshake(raw)
    victim, mallory = Identity.generate(), Identity.generate()
    signature = mallory.sign(SIGNATURE_PREFIX + static.public)
    await send_noise(raw, handshake.write(Payload(victim.public_key.encode(), signature).encode()))
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: the peer's signature does not cover its Noise key")
async def replays_the_proof_of_another(raw: trio.abc.Stream) -> None:
    handshake, _ = await half_handshake(raw)
    victim = Identity.generate()
    signature = victim.sign(SIGNATURE_PREFIX + StaticKey().public)
    await send_noise(raw, handshake.write(Payload(victim.public_key.encode(), signature).encode()))
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: the peer's identity key is not usable")
async def presents_garbage_for_an_identity(raw: trio.abc.Stream) -> None:
    handshake, _ = await half_handshake(raw)
    await send_noise(raw, handshake.write(Payload(b"\x08\x01\x12\x04abcd", bytes(64)).encode()))
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer broke the protocol: Noise payload is not a valid protobuf")
async def ends_the_handshake_with_garbage(raw: trio.abc.Stream) -> None:
    handshake, _ = await half_handshake(raw)
    await send_noise(raw, handshake.write(b"\xff" * 100))
    await until_the_end(raw)


@attack(Cost.HANDSHAKE, "the peer was too slow in the muxer negotiation", within=5)
async def never_chooses_a_muxer(raw: trio.abc.Stream) -> None:
    pipe = as_pipe(raw)
    await negotiate_outbound(pipe, ["/noise"])
    secured = await Noise(Identity.generate()).secure(pipe, initiator=True, expect=None, muxers=())
    await until_the_end(secured.channel)
