"""Topics with typed payloads: what does not fit the type is rejected, and no peer is charged for bugs of a codec."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import Codec, JsonCodec
from peerstack.stack.errors import InvalidInput
from peerstack.stack.events import HandlerFailed

from .parts import open_nodes

Clock = trio.testing.MockClock


@dataclass
class Reading:
    sensor: str
    degrees: float


class Fixed:
    """Numbers of four bytes; `struct.error` is no ValueError."""

    def encode(self, value: int, /) -> bytes:
        return struct.pack(">I", value)

    def decode(self, data: bytes, /) -> int:
        number: int = struct.unpack(">I", data)[0]
        return number


class Numbers:
    """Numbers in decimal."""

    def encode(self, value: int, /) -> bytes:
        return b"%d" % value

    def decode(self, data: bytes, /) -> int:
        return int(data)


NUMBERS: Codec[int] = Numbers()


async def test_values_travel_as_they_are(autojump_clock: Clock) -> None:
    codec = JsonCodec(Reading)
    async with open_nodes(2) as (alice, bob):
        async with (
            alice.pubsub.join("readings", codec=codec) as at_alice,
            bob.pubsub.join("readings", codec=codec) as at_bob,
        ):
            await at_alice.wait_peers()
            await at_alice.publish(Reading("roof", 21.5))
            with trio.fail_after(10):
                message = await at_bob.receive()
            assert message.value == Reading("roof", 21.5)
            assert message.data == b'{"sensor":"roof","degrees":21.5}'


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"{}", b'{"sensor":1,"degrees":2}', b'{"sensor":"a"}', b"[" * 100_000, b"1e999999"],
    ids=lambda data: str(data[:12]),
)
async def test_what_fits_no_type_is_rejected(autojump_clock: Clock, data: bytes) -> None:
    codec = JsonCodec(Reading)
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("readings") as raw:
        async with bob.pubsub.join("readings", codec=codec) as at_bob:
            await raw.wait_peers()
            await raw.publish(data)
            await raw.publish(codec.encode(Reading("roof", 1)))
            with trio.fail_after(10):
                assert (await at_bob.receive()).value == Reading("roof", 1)
            assert bob.pubsub.statistics().rejected == {"undecodable": 1}


async def test_a_value_of_another_type_is_not_published(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,), alice.pubsub.join("readings", codec=JsonCodec(Reading)) as topic:
        with pytest.raises(TypeError, match="this topic carries Reading, not str"):
            await topic.publish("warm")  # type: ignore[arg-type]  # what is tested


async def test_a_codec_that_fails_by_a_bug_costs_the_message_alone(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("numbers") as raw:
        async with bob.pubsub.join("numbers", codec=Fixed()) as at_bob:
            await raw.wait_peers()
            await raw.publish(b"three")
            await raw.publish(bytes(4))
            with trio.fail_after(10):
                assert (await at_bob.receive()).value == 0
            assert bob.pubsub.statistics().ignored == {"validation_ignored": 1}
            assert bob.pubsub.score(alice.peer_id) >= 0
            assert bob.events.of(HandlerFailed) == []
            assert "the codec of 'numbers' failed" in caplog.text


async def test_subscriptions_to_one_topic_share_the_codec(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,), alice.pubsub.join("numbers", codec=NUMBERS):
        async with alice.pubsub.join("numbers", codec=NUMBERS):
            pass
        with pytest.raises(InvalidInput, match="with another codec already"):
            async with alice.pubsub.join("numbers", codec=Fixed()):
                pass


def test_without_the_extra_the_error_names_it() -> None:
    program = (
        "import sys; sys.modules['msgspec'] = None; from peerstack.protocols.pubsub import JsonCodec; JsonCodec(int)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr.endswith(
        "ImportError: typed topics need the extra `typed`: pip install '.[typed]' in a clone of peerstack\n"
    )
