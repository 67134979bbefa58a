"""Relayed connections beside direct ones: which is chosen, which is closed, and what limits forbid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo, ConnectionLimits, Direction
from peerstack.stack.addressing import parse_address
from peerstack.stack.errors import ConnectionLost, LimitedConnection
from peerstack.stack.events import ConnectionOpened

from .parts import (
    HIGHEST,
    LISTEN,
    OTHER_PEER,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    Script,
    ScriptedTransport,
    answers,
    connection_of,
    failed_dial,
    info,
    refused,
    running,
    tcp,
)
from .test_liveness import Probed
from .test_redundant import some_stream

Clock = trio.testing.MockClock
RELAY = OTHER_PEER
LIMITS = ConnectionLimits(seconds=120, data=1 << 17)
CIRCUIT = parse_address(f"/ip4/203.0.113.99/tcp/4001/p2p/{RELAY}/p2p-circuit")


def relayed(direction: Direction = Direction.OUTBOUND, limits: ConnectionLimits | None = LIMITS) -> FakeConnection:
    return FakeConnection(relayed_info(direction, limits))


def relayed_info(direction: Direction, limits: ConnectionLimits | None = None) -> ConnectionInfo:
    return replace(info(HIGHEST, direction, CIRCUIT), relay=RELAY, limited=limits)


def scripted(**scripts: Script) -> ScriptedTransport:
    places: dict[str, Multiaddr] = {"circuit": CIRCUIT, "one": tcp(1), "two": tcp(2)}
    return ScriptedTransport({places[name]: script for name, script in scripts.items()})


async def test_a_dial_takes_the_relayed_connection_and_a_direct_dial_does_not(autojump_clock: Clock) -> None:
    by_relay, direct = relayed(), FakeConnection(info(HIGHEST))
    async with running(scripted(circuit=answers(by_relay), one=answers(direct))) as (swarm, _):
        first, _ = await swarm.dial(HIGHEST, [CIRCUIT])
        again, report = await swarm.dial(HIGHEST, [tcp(1)])
        assert first is again
        assert (first.muxed, report.notes) == (by_relay, ["already connected"])
        beside, report = await swarm.dial(HIGHEST, [CIRCUIT, tcp(1)], direct=True)
        assert beside.muxed is direct
        assert report.notes == [f"{CIRCUIT} is left out: it is relayed, and a direct connection is asked for"]
        assert [item.muxed for item in swarm.connections(HIGHEST)] == [direct, by_relay]
        same, report = await swarm.dial(HIGHEST, [], direct=True)
        assert (same, report.notes) == (beside, ["already connected"])


async def test_a_direct_dial_that_fails_leaves_the_relayed_connection(autojump_clock: Clock) -> None:
    by_relay = relayed()
    async with running(scripted(circuit=answers(by_relay), one=refused())) as (swarm, _):
        await swarm.dial(HIGHEST, [CIRCUIT])
        with pytest.raises(Exception, match="could not dial"):
            await swarm.dial(HIGHEST, [tcp(1)], direct=True)
        await trio.sleep(100)
        assert not by_relay.closed


async def test_a_direct_dial_is_not_merged_with_one_that_takes_a_relay(autojump_clock: Clock) -> None:
    transport = scripted(circuit=answers(relayed(), after=1), one=answers(FakeConnection(info(HIGHEST)), after=5))
    async with running(transport) as (swarm, _), trio.open_nursery() as nursery:
        nursery.start_soon(swarm.dial, HIGHEST, [CIRCUIT])
        await trio.sleep(0.5)
        connection, _ = await swarm.dial(HIGHEST, [tcp(1)], direct=True)
        assert not connection.relayed


async def test_the_relayed_one_is_closed_once_the_direct_one_is_there_and_it_is_idle(autojump_clock: Clock) -> None:
    by_relay, direct = relayed(), FakeConnection(info(HIGHEST))
    async with running(scripted(circuit=answers(by_relay), one=answers(direct))) as (swarm, _):
        await swarm.dial(HIGHEST, [CIRCUIT])
        await trio.sleep(0.1)
        by_relay.streams.append(await some_stream())
        await swarm.dial(HIGHEST, [tcp(1)], direct=True)
        await trio.sleep(100)
        assert not by_relay.closed
        by_relay.streams.clear()
        await trio.sleep(1.5)
        assert (by_relay.closed, direct.closed) == (True, False)


@pytest.mark.parametrize("silent", [False, True])
async def test_a_relayed_one_that_arrives_never_closes_the_direct_one(silent: bool, autojump_clock: Clock) -> None:
    listener, direct, by_relay = FakeListener(LISTEN), Probed(silent=silent), relayed(Direction.INBOUND)
    async with running(scripted(one=answers(direct)), ListeningTransport(listener)) as (swarm, observer):
        await swarm.listen(LISTEN)
        await swarm.dial(HIGHEST, [tcp(1)])
        listener.arrive(lambda: connection_of(by_relay))
        await observer.wait_for(ConnectionOpened, count=2)
        await trio.sleep(100)
        assert (direct.closed, by_relay.closed) == (False, False)
        direct.answers.set()
        await trio.sleep(10)
        assert (direct.closed, by_relay.closed) == (False, False)
        assert swarm.connections(HIGHEST)[0].muxed is direct


async def test_one_with_limits_does_not_make_one_without_superfluous(autojump_clock: Clock) -> None:
    unlimited, limited = relayed(limits=None), relayed()
    async with running(scripted(one=answers(unlimited), two=answers(limited))) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        await trio.sleep(0.1)
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(5)
        assert (unlimited.closed, limited.closed) == (False, True)


async def test_a_direct_connection_that_comes_too_late_in_a_race_is_kept(autojump_clock: Clock) -> None:
    direct = FakeConnection(info(HIGHEST))

    async def stubborn(attempt: object) -> FakeConnection:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        return direct

    async with running(scripted(one=stubborn, circuit=answers(relayed()))) as (swarm, _):
        await swarm.dial(HIGHEST, [tcp(1), CIRCUIT])
        assert swarm.connections(HIGHEST)[0].muxed is direct
        await trio.sleep(5)
        assert [item.muxed for item in swarm.connections(HIGHEST)] == [direct]


async def test_a_stream_on_a_limited_connection_is_for_protocols_that_ask_for_it(autojump_clock: Clock) -> None:
    async with running(scripted(circuit=answers(relayed()))) as (swarm, _):
        connection, _ = await swarm.dial(HIGHEST, [CIRCUIT])
        with pytest.raises(LimitedConnection) as caught:
            await swarm.open_stream(connection, ["/echo/1"])
        text = str(caught.value)
        assert f"goes through relay {RELAY}, which allows 120 s and 131072 bytes each way; /echo/1 is not" in text
        assert "direct=True" in text
        assert "allow_limited=True" in text
        with pytest.raises(ConnectionLost, match="has no streams"):
            await swarm.open_stream(connection, ["/echo/1"], allow_limited=True)


async def test_a_relay_without_limits_is_for_every_protocol(autojump_clock: Clock) -> None:
    async with running(scripted(circuit=answers(relayed(limits=None)))) as (swarm, _):
        connection, _ = await swarm.dial(HIGHEST, [CIRCUIT])
        with pytest.raises(ConnectionLost, match="has no streams"):
            await swarm.open_stream(connection, ["/echo/1"])


async def test_a_direct_dial_with_nothing_but_relayed_addresses_says_so(autojump_clock: Clock) -> None:
    async with running(scripted(circuit=answers(relayed()))) as (swarm, _):
        with pytest.raises(Exception, match="it is relayed, and a direct connection is asked for"):
            await swarm.dial(HIGHEST, [CIRCUIT], direct=True)
        assert (await failed_dial(swarm, HIGHEST)).attempts == []


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (ConnectionLimits(seconds=120), "120 s"),
        (ConnectionLimits(data=5), "5 bytes each way"),
        (ConnectionLimits(), "an amount it does not tell"),
    ],
)
def test_limits_are_told_in_words(limits: ConnectionLimits, told: str) -> None:
    assert str(limits) == told
