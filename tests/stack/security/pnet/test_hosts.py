"""Hosts in private networks: who has the key gets through, others fail early and are told why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack import DialError, Host, Identity, InvalidInput, open_host, ping
from peerstack.stack.abc import Protector
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.events import Event, InboundRefused
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.pnet import PreSharedKey, PrivatePipe
from peerstack.stack.swarm import HostUpgrader, UpgradedTransport
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

Clock = trio.testing.MockClock
OURS, THEIRS = PreSharedKey.generate(), PreSharedKey.generate()


class Refusals:
    """Keeps the reasons for which arrivals were refused."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def notify(self, event: Event) -> None:
        if isinstance(event, InboundRefused):
            self.reasons.append(event.reason)


class EndsWithoutAnswer:
    """A protector of which every pipe is lost at once, as a WebSocket is that ends without a Close frame."""

    def __str__(self) -> str:
        return "mine"

    def protect(self, stream: trio.abc.Stream) -> PrivatePipe:
        return LostPipe(stream, bytes(32))


class LostPipe(PrivatePipe):
    def receive_nowait(self, buffer: memoryview) -> int:
        raise ConnectionLost("no answer")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise ConnectionLost("no answer")


@asynccontextmanager
async def hosts(listener: Protector | None, dialer: Protector | None) -> AsyncIterator[tuple[Host, Host, Refusals]]:
    network, refusals = MemoryNetwork(), Refusals()
    async with (
        open_host(
            transports=[MemoryTransport(network)], listen=["/memory/0"], private_network=listener, observers=[refusals]
        ) as alice,
        open_host(transports=[MemoryTransport(network)], private_network=dialer) as bob,
    ):
        yield alice, bob, refusals


async def test_with_the_key_everything_works(autojump_clock: Clock) -> None:
    async with hosts(OURS, OURS) as (alice, bob, _):
        assert await bob.connect(alice.addresses[0]) == alice.peer_id
        assert await ping(bob, alice.peer_id) >= 0


@pytest.mark.parametrize(("listener", "dialer"), [(OURS, THEIRS), (OURS, None), (None, OURS)])
async def test_without_the_key_the_first_words_fail_and_both_are_told_why(
    listener: PreSharedKey | None, dialer: PreSharedKey | None, autojump_clock: Clock
) -> None:
    async with hosts(listener, dialer) as (alice, bob, refusals):
        began = trio.current_time()
        with pytest.raises(DialError) as caught:
            await bob.connect(alice.addresses[0])
        assert trio.current_time() - began <= 5
        (attempt,) = caught.value.report.attempts
        assert attempt.failure is not None
        assert attempt.failure.name == "security negotiation"
        await trio.testing.wait_all_tasks_blocked()
        advice = str(attempt.failure.advice)
        if dialer is None:
            assert "the peer may be in a private network" in str(caught.value)
            assert "Is the peer full, or in a private network?" in advice
        else:
            assert f"does it have our network key, {dialer}?" in str(caught.value)
            assert advice.startswith("both sides need the same swarm.key")
        if listener is not None:
            assert f"does it have our network key, {listener}?" in refusals.reasons[0]
        else:
            assert "the peer may be in a private network" in refusals.reasons[0]


async def test_a_dial_that_ends_without_an_error_names_the_key_as_well(autojump_clock: Clock) -> None:
    async with hosts(None, EndsWithoutAnswer()) as (alice, bob, _):
        with pytest.raises(DialError, match=r"security negotiation: no answer \(does it have our network key, mine"):
            await bob.connect(alice.addresses[0])


async def test_a_listener_serves_others_after_a_peer_without_the_key(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[MemoryTransport(network)], listen=["/memory/0"], private_network=OURS) as alice,
        open_host(transports=[MemoryTransport(network)], private_network=THEIRS) as other,
        open_host(transports=[MemoryTransport(network)], private_network=OURS) as bob,
    ):
        with pytest.raises(DialError):
            await other.connect(alice.addresses[0])
        assert await bob.connect(alice.addresses[0]) == alice.peer_id


async def test_a_silent_peer_may_lack_the_key(autojump_clock: Clock) -> None:
    network, refusals = MemoryNetwork(), Refusals()
    async with open_host(
        transports=[MemoryTransport(network)], listen=["/memory/0"], private_network=OURS, observers=[refusals]
    ) as alice:
        raw = await MemoryTransport(network).dial(alice.swarm.listen_addresses[0])
        await trio.sleep(6)
        await raw.stream.aclose()
    (reason,) = refusals.reasons
    assert "too slow in the security negotiation (does it have our network key" in reason


async def test_native_transports_are_refused() -> None:
    class Quicksilver(UpgradedTransport):
        """A native transport."""

    upgrader = HostUpgrader([Noise(Identity.generate())], [Yamux()])
    native = Quicksilver(MemoryTransport(MemoryNetwork()), upgrader)
    with pytest.raises(InvalidInput, match=r"cannot protect native transports, which .*: Quicksilver"):
        async with open_host(private_network=OURS, native_transports=[native]):
            pass


async def test_the_environment_can_demand_a_key(monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock) -> None:
    monkeypatch.setenv("LIBP2P_FORCE_PNET", "1")
    with pytest.raises(InvalidInput, match="LIBP2P_FORCE_PNET=1 forbids hosts without a key"):
        async with open_host():
            pass
    async with hosts(OURS, OURS) as (alice, bob, _):
        await bob.connect(alice.addresses[0])
    monkeypatch.setenv("LIBP2P_FORCE_PNET", "0")
    async with open_host():
        pass
