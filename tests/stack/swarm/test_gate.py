"""A connection gater that fails has said no: that connection is refused, the log says why, and the host lives on."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo
from peerstack.stack.bugs import BugReporter
from peerstack.stack.errors import Refused
from peerstack.stack.events import ConnectionOpened, InboundRefused
from peerstack.stack.identity import PeerId
from peerstack.stack.report import StageName
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.swarm.gate import Gate

from .parts import (
    LISTEN,
    ONE,
    OTHER_PEER,
    PEER,
    TWO,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    ScriptedTransport,
    answers,
    connection_of,
    failed_dial,
    inbound,
    info,
    running,
    settle,
    tcp,
)

Clock = trio.testing.MockClock


class Buggy:
    """A gater that fails at one peer or address, and lets in all others."""

    def __init__(self, at: PeerId | Multiaddr) -> None:
        self._at = at

    def _answer(self, asked: object) -> bool:
        if asked == self._at:
            raise KeyError("no such country")
        return True

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        return self._answer(address)

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        return self._answer(remote_address)

    def allow_connection(self, info: ConnectionInfo) -> bool:
        return self._answer(info.remote_peer)


class Asynchronous:
    """A gater written as if it were awaited; `Any` hides from the type checker what it would say."""

    allow_dial: Any
    allow_connection: Any

    async def allow_accept(self, remote_address: Multiaddr) -> bool:
        return False


def logged(caplog: pytest.LogCaptureFixture, what: str) -> bool:
    """Return whether there is one error about it, with the traceback."""
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError
    return record.getMessage() == f"the connection gater failed; {what} is refused"


async def test_a_failure_about_an_address_refuses_what_arrives_from_there(
    transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(transport, gater=Buggy(tcp(66))) as (swarm, observer):
        await swarm.listen(LISTEN)
        incoming = listener.arrive(remote_address=tcp(66))
        event = await observer.wait_for(InboundRefused)
        assert event.reason == f"our connection gater failed on address {tcp(66)}: KeyError: 'no such country'"
        assert incoming.refused
        assert logged(caplog, f"address {tcp(66)}")
        listener.arrive(lambda: connection_of(inbound()), remote_address=tcp(7))
        await observer.wait_for(ConnectionOpened)


async def test_a_failure_about_a_peer_refuses_its_connection(
    transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(transport, gater=Buggy(PEER)) as (swarm, observer):
        await swarm.listen(LISTEN)
        refused = inbound(PEER)
        listener.arrive(lambda: connection_of(refused))
        event = await observer.wait_for(InboundRefused)
        assert event.reason == f"our connection gater failed on peer {PEER}: KeyError: 'no such country'"
        await settle()
        assert refused.closed
        assert logged(caplog, f"peer {PEER}")
        listener.arrive(lambda: connection_of(inbound(OTHER_PEER)))
        await observer.wait_for(ConnectionOpened)


async def test_a_failure_about_an_address_leaves_it_out_of_a_dial(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    transport = ScriptedTransport({ONE: answers(), TWO: answers()})
    async with running(transport, gater=Buggy(ONE)) as (swarm, _):
        _, report = await swarm.dial(PEER, [ONE, TWO])
        reason = f"our connection gater failed on address {ONE}: KeyError: 'no such country'"
        assert report.notes == [f"{ONE} is left out: {reason}"]
        assert [address for _, address in transport.dialed] == [TWO]
        assert logged(caplog, f"address {ONE}")


async def test_a_failure_about_a_peer_fails_the_dial_and_nothing_else(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    dialed = FakeConnection(info(PEER))
    transport = ScriptedTransport({ONE: answers(dialed), TWO: answers(FakeConnection(info(OTHER_PEER)))})
    async with running(transport, gater=Buggy(PEER)) as (swarm, _):
        report = await failed_dial(swarm, PEER, ONE)
        stage = report.attempts[0].failure
        assert stage is not None
        assert (stage.name, stage.limit) == (StageName.SECURITY, "ours: the connection gater")
        assert stage.error == f"our connection gater failed on peer {PEER}: KeyError: 'no such country'"
        assert dialed.closed
        assert logged(caplog, f"peer {PEER}")
        await swarm.dial(OTHER_PEER, [TWO])
        assert swarm.peers == [OTHER_PEER]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_an_answer_that_is_neither_yes_nor_no_refuses(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(Asynchronous(), BugReporter())  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(Refused, match="has to answer True or False, not <coroutine"):
        gate.check_accept(ONE)


async def test_fixtures_can_ask_for_the_failure_itself(transport: ListeningTransport, listener: FakeListener) -> None:
    async def run() -> None:
        settings = SwarmConfig(raise_handler_errors=True)
        async with running(transport, gater=Buggy(tcp(66)), config=settings) as (swarm, observer):
            await swarm.listen(LISTEN)
            listener.arrive(remote_address=tcp(66))
            await observer.wait_for(ConnectionOpened)

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.group_contains(KeyError)
