"""Every stream muxer passes the same suite."""

import pytest
import trio.testing

from peerstack.stack.muxing.mplex import Config, Mplex
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.testing import check_muxer


async def test_yamux(autojump_clock: trio.testing.MockClock) -> None:
    await check_muxer(Yamux)


@pytest.mark.slow
async def test_yamux_over_a_tiny_pipe(autojump_clock: trio.testing.MockClock) -> None:
    await check_muxer(Yamux, capacity=1000)


def mplex() -> Mplex:
    return Mplex(Config(max_stream_buffer=256 * 1024))  # soon full


async def test_mplex(autojump_clock: trio.testing.MockClock) -> None:
    await check_muxer(mplex, flow_control=False)


@pytest.mark.slow
async def test_mplex_over_a_tiny_pipe(autojump_clock: trio.testing.MockClock) -> None:
    await check_muxer(mplex, capacity=1000, flow_control=False)
