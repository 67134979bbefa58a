"""Attacks on one stream of a connection that is fine otherwise."""

from __future__ import annotations

import trio

from peerstack.stack.muxing.yamux.wire import (
    DATA,
    FIN,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from peerstack.stack.negotiation import optimistic_prefix

from .peers import (
    HEADER,
    Cost,
    attack,
    data,
    frame,
    frames,
    on_a_stream,
    secured,
    until_the_end,
)


@attack(Cost.STREAM, "HTTP")
async def speaks_http_on_a_stream(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, b"GET / HTTP/1.1\r\n\r\n")


@attack(Cost.STREAM, "the peer was too slow to agree on a protocol", within=10)
async def opens_a_stream_and_says_nothing(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw)


@attack(Cost.STREAM, "the peer was too slow to agree on a protocol", within=10)
async def dribbles_on_a_stream(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, *(bytes([byte]) for byte in HEADER), pause=1)


@attack(Cost.STREAM, "length|long|bytes")
async def lies_about_the_length_on_a_stream(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, HEADER + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")


@attack(Cost.STREAM, "none is supported here")
async def proposes_for_ever_on_a_stream(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, HEADER + b"\x06/none\n" * 1000)


@attack(Cost.STREAM, "closed the stream")
async def ends_a_stream_at_once(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, then=frame(DATA, FIN, 1))


@attack(Cost.STREAM, "reset by the peer")
async def resets_a_stream_in_the_midst_of_it(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, optimistic_prefix("/echo/1") + b"hello", then=frame(WINDOW_UPDATE, RST, 1))


@attack(Cost.STREAM, "our limit of 512 inbound streams in scope")
async def holds_streams_open_in_a_flood(raw: trio.abc.Stream) -> None:
    channel = await secured(raw)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_the_end, channel)
        for number in range(1, 1400, 2):
            await channel.send_all(frame(WINDOW_UPDATE, SYN, number))


@attack(Cost.STREAM, "our limit of 2 inbound streams in scope")
async def pings_on_too_many_streams(raw: trio.abc.Stream) -> None:
    await frames(raw, *(data(n, optimistic_prefix("/ipfs/ping/1.0.0"), SYN) for n in (1, 3, 5)))


@attack(Cost.STREAM, "/ipfs/id/push/1.0.0 ended")
async def lies_about_the_length_of_a_message(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, optimistic_prefix("/ipfs/id/push/1.0.0") + b"\xff\xff\xff\xff\x07")


@attack(Cost.STREAM, "/ipfs/id/push/1.0.0 ended")
async def pushes_garbage(raw: trio.abc.Stream) -> None:
    await on_a_stream(raw, optimistic_prefix("/ipfs/id/push/1.0.0") + b"\x20" + b"\xff" * 32, then=frame(DATA, FIN, 1))
