"""Every security protocol, and every channel, passes the same suite."""

import trio.testing

from peerstack.stack.security.noise import Noise
from peerstack.stack.security.plaintext import InsecurePlaintext
from peerstack.stack.security.tls import Tls
from peerstack.stack.testing import PlainChannel, check_channel, check_security, plain_channel_pair


async def test_plain_channel(autojump_clock: trio.testing.MockClock) -> None:
    async def make() -> tuple[PlainChannel, PlainChannel]:
        return plain_channel_pair()

    await check_channel(make)


async def test_noise(autojump_clock: trio.testing.MockClock) -> None:
    await check_security(Noise)


async def test_tls(autojump_clock: trio.testing.MockClock) -> None:
    await check_security(Tls)


async def test_plaintext(autojump_clock: trio.testing.MockClock) -> None:
    await check_security(lambda identity: InsecurePlaintext(identity, for_tests_only=True), integrity=False)
