"""Attacks inside the secured channel: the peer is who it says, and sends what it likes."""

from __future__ import annotations

from contextlib import suppress

import trio

from peerstack.stack.muxing.yamux.wire import (
    DATA,
    GO_AWAY,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from peerstack.stack.negotiation import optimistic_prefix

from .peers import (
    Cost,
    attack,
    data,
    frame,
    frames,
    secured,
    send_noise,
    until_the_end,
)


@attack(Cost.CONNECTION, "the peer broke the protocol: Noise frame 0 of 64 bytes does not decrypt")
async def sends_what_does_not_decrypt(raw: trio.abc.Stream) -> None:
    await secured(raw)
    await send_noise(raw, bytes(64))
    await until_the_end(raw)


@attack(Cost.CONNECTION, "the connection ended inside a Noise frame|the connection broke")
async def hangs_up_inside_a_frame(raw: trio.abc.Stream) -> None:
    await secured(raw)
    await send_noise(raw, bytes(64), size=65535)
    await raw.aclose()


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux version 71 is unknown")
async def speaks_http_inside_the_channel(raw: trio.abc.Stream) -> None:
    await frames(raw, b"GET / HTTP/1.1\r\n\r\n")


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux frame type 9 is unknown")
async def sends_an_unknown_frame(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(9, 0, 0))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: .* over its window")
async def opens_with_more_than_the_window(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(DATA, SYN, 1, INITIAL_WINDOW + 1))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: .* whose window is")
async def sends_beyond_its_window(raw: trio.abc.Stream) -> None:
    full = optimistic_prefix("/sink/1").ljust(INITIAL_WINDOW, b"x")
    await frames(raw, data(1, full, SYN), data(1, b"!"))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: .* whose window is")
async def lies_about_the_length_of_data(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(WINDOW_UPDATE, SYN, 1), frame(DATA, 0, 1, 2**32 - 1))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: window of stream 1 grows beyond")
async def overflows_our_window(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(WINDOW_UPDATE, SYN, 1, 2**32 - 1), frame(WINDOW_UPDATE, 0, 1, 2**32 - 1))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: stream 2 is not the peer's to open")
async def opens_a_stream_of_ours(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(WINDOW_UPDATE, SYN, 2))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: stream 1 is open already")
async def opens_a_stream_twice(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(WINDOW_UPDATE, SYN, 1) * 2)


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: frame of type 2 for stream 7")
async def pings_a_stream(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(PING, SYN, 7))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more data for streams that do not exist")
async def sends_to_streams_that_do_not_exist(raw: trio.abc.Stream) -> None:
    await frames(raw, *(data(99, bytes(60_000)) for _ in range(6)))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 5000 streams opened in a second")
async def opens_and_resets_streams_in_a_flood(raw: trio.abc.Stream) -> None:
    await frames(raw, *(frame(WINDOW_UPDATE, SYN, n) + frame(WINDOW_UPDATE, RST, n) for n in range(1, 40_000, 2)))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 5000 streams opened in a second")
async def opens_streams_in_a_flood(raw: trio.abc.Stream) -> None:
    await frames(raw, *(frame(WINDOW_UPDATE, SYN, n) for n in range(1, 40_000, 2)))


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 20000 frames without content in a second")
async def pings_in_a_flood(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(PING, SYN, 0, 7) * 60_000)


@attack(Cost.CONNECTION, "the peer broke the protocol: yamux: more than 20000 frames without content in a second")
async def sends_empty_data_in_a_flood(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(WINDOW_UPDATE, SYN, 1), frame(DATA, 0, 1) * 60_000)


@attack(Cost.CONNECTION, "the peer did not answer a ping and has been silent for", within=40)
async def falls_silent(raw: trio.abc.Stream) -> None:
    await secured(raw)
    await trio.sleep(60)


@attack(Cost.CONNECTION, "the peer did not answer a ping and has been silent for", within=40)
async def stops_inside_a_frame(raw: trio.abc.Stream) -> None:
    channel = await secured(raw)
    await channel.send_all(frame(DATA, SYN, 1, INITIAL_WINDOW, bytes(10)))
    await trio.sleep(60)


@attack(Cost.CONNECTION, "the peer did not answer a ping and has been silent for", within=40)
async def never_reads_what_it_asked_for(raw: trio.abc.Stream) -> None:
    channel = await secured(raw)
    await channel.send_all(data(1, optimistic_prefix("/echo/1"), SYN))
    for _ in range(4):
        await channel.send_all(data(1, bytes(60_000)))
    await trio.sleep(60)


@attack(Cost.CONNECTION, "the peer broke the protocol: the peer asks for answers and does not read them", within=12)
async def pings_and_never_reads(raw: trio.abc.Stream) -> None:
    channel = await secured(raw)
    with suppress(trio.BrokenResourceError):
        for _ in range(12):
            await channel.send_all(frame(PING, SYN, 0, 7) * 15_000)
            await trio.sleep(1)


@attack(Cost.CONNECTION, "while streams were open|the connection broke")
async def hangs_up_without_go_away(raw: trio.abc.Stream) -> None:
    channel = await secured(raw)
    await channel.send_all(data(1, optimistic_prefix("/echo/1"), SYN))
    await channel.aclose()


@attack(Cost.CONNECTION, "the peer closed the connection with: internal error")
async def blames_itself(raw: trio.abc.Stream) -> None:
    await frames(raw, frame(GO_AWAY, 0, 0, 2), data(1, b"and goes on", SYN))
