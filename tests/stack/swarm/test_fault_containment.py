"""What plug-ins and handlers raise costs the stream, dial, connection or listener it was raised for, and is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Never

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import Channel, ConnectionInfo, Direction, Incoming, MuxedConnection, RawConnection, Stream
from peerstack.stack.errors import ConnectionLost, ResolveError
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, HandlerFailed, InboundRefused, ListenStopped
from peerstack.stack.identity import Identity
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.report import Attempt, Outcome, StageName
from peerstack.stack.security.noise import Noise
from peerstack.stack.swarm import Connection, HostUpgrader
from peerstack.stack.testing import memory_pipe_pair, muxed_pair

from .parts import (
    LISTEN,
    ONE,
    PEER,
    TWO,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    ScriptedTransport,
    answers,
    connection_of,
    failed_dial,
    fails,
    in_use,
    inbound,
    running,
    settle,
)
from .serving import ECHO, echo, serving

Clock = trio.testing.MockClock


class ByTheUser(BaseException):
    """What is no Exception."""


BUGS = [
    ZeroDivisionError("a bug"),
    ByTheUser("a bug"),
    ExceptionGroup("group", [ExceptionGroup("of groups", [ValueError("a bug")]), OSError("beside it")]),
    BaseExceptionGroup("group", [ByTheUser("a bug")]),
    GeneratorExit("a bug"),
]
by_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)


# ---- handlers


async def fails_in_its_nursery_when_cancelled(stream: Stream) -> None:
    async def say_bye() -> None:
        try:
            await trio.sleep_forever()
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise ConnectionLost("bye could not be said")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_bye)
        nursery.start_soon(trio.sleep_forever)


async def goes_on_when_cancelled(stream: Stream) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
    raise ValueError("a bug")


@pytest.mark.parametrize("handler", [fails_in_its_nursery_when_cancelled, goes_on_when_cancelled])
async def test_a_handler_that_raises_when_it_is_cancelled_costs_its_stream_only(
    handler: Callable[[Stream], Awaitable[None]], autojump_clock: Clock
) -> None:
    async with serving({"/raises/1": handler}) as served:
        for _ in range(2):
            await served.propose("/raises/1")
        await settle()
    assert served.in_use == 0


@by_bug
async def test_a_bug_in_a_handler_costs_its_stream_only(bug: BaseException, autojump_clock: Clock) -> None:
    async def handler(stream: Stream) -> None:
        raise bug

    async with serving({ECHO: echo, "/raises/1": handler}) as served:
        other = await served.ask()
        await served.propose("/raises/1")
        await settle()
        (failed,) = served.observer.of(HandlerFailed)
        assert bug in (failed.error, failed.error.__cause__)
        await other.send_all(b"still here")
        assert await other.receive_some() == b"still here"
        assert served.in_use == 1


# ---- dials


@by_bug
async def test_a_bug_in_a_transport_costs_that_address_only(
    bug: BaseException, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def raises(attempt: Attempt) -> MuxedConnection:
        with attempt.stage(StageName.SECURITY):
            raise bug

    async with running(ScriptedTransport({ONE: raises, TWO: answers()})) as (swarm, _):
        report = await failed_dial(swarm, PEER, ONE)
        assert report.attempts[0].outcome is Outcome.FAILED
        stage = report.attempts[0].failure
        assert stage is not None
        assert stage.error is not None
        assert stage.error.startswith("a bug: ")
        assert "traceback" in (stage.advice or "")
        assert f"dialing {ONE} failed by a bug" in caplog.text
        assert in_use(swarm)["transient"] == {}
        _, report = await swarm.dial(PEER, [ONE, TWO])
        assert [attempt.outcome for attempt in report.attempts] == [Outcome.FAILED, Outcome.OK]


class Undecided(ScriptedTransport):
    """A transport that cannot say what it can dial."""

    def can_dial(self, address: Multiaddr) -> bool:
        raise ImportError("no module named codec")


async def test_a_transport_that_cannot_say_what_it_can_dial_is_left_out_and_named(autojump_clock: Clock) -> None:
    async with running(Undecided({}), ScriptedTransport({ONE: answers()})) as (swarm, _):
        _, report = await swarm.dial(PEER, [ONE])
        (note,) = report.notes
        assert "Undecided" in note
        assert "no module named codec" in note


class BrokenResolver:
    """A resolver with a bug."""

    async def resolve(self, address: Multiaddr) -> list[Multiaddr]:
        if "good" in str(address):
            return [ONE]
        raise OSError(24, "Too many open files") if "files" in str(address) else KeyError("a bug")


async def test_a_bug_in_the_resolver_costs_that_name_only(autojump_clock: Clock) -> None:
    names = [Multiaddr(f"/dns4/{name}.example/tcp/1") for name in ("bad", "files", "good")]
    async with running(ScriptedTransport({ONE: answers()}), resolver=BrokenResolver()) as (swarm, _):
        _, report = await swarm.dial(PEER, names)
        bad, files, good = (resolution.failure for resolution in report.resolutions)
        assert bad is not None
        assert bad.error == "a bug: KeyError: 'a bug'"
        assert files is not None
        assert files.limit == "ours: open files, set by the operating system"
        assert good is None


async def test_a_dial_that_cannot_even_be_recorded_fails_and_says_why(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Multiaddr) -> str:
        raise ImportError("no codec to be had")

    async with running(ScriptedTransport({ONE: answers()})) as (swarm, _):
        with monkeypatch.context() as patch:
            patch.setattr(Multiaddr, "__str__", fail)
            report = await failed_dial(swarm, PEER, ONE)
        assert report.notes == ["the dial failed: no codec to be had"]
        await swarm.dial(PEER, [ONE])


# ---- connections


@by_bug
async def test_a_bug_in_the_hook_costs_what_it_would_have_told(bug: BaseException, autojump_clock: Clock) -> None:
    async def hook(connection: Connection) -> None:
        raise bug

    async with running(ScriptedTransport({ONE: answers()})) as (swarm, _):
        swarm.on_connection.add(hook, name="test", identifies=True)
        connection, _report = await swarm.dial(PEER, [ONE])
        await connection.identified.wait()
        assert connection.hook_failure is not None
        assert bug in (connection.hook_failure, connection.hook_failure.__cause__)
        assert swarm.peers == [PEER]


class Undone(FakeConnection):
    """A muxer with a bug in the method named."""

    def __init__(self, bug: BaseException, where: str) -> None:
        super().__init__()
        self._bug = bug
        self._where = where

    async def run(self) -> None:
        if self._where == "run":
            raise self._bug
        await super().run()

    async def accept_stream(self) -> Stream:
        if self._where == "accept_stream":
            raise self._bug
        return await super().accept_stream()

    async def aclose(self) -> None:
        if self._where == "aclose":
            raise self._bug
        await super().aclose()


@by_bug
@pytest.mark.parametrize("where", ["run", "accept_stream"])
async def test_a_bug_in_a_muxer_costs_that_connection_only(
    where: str, bug: BaseException, autojump_clock: Clock
) -> None:
    muxed = Undone(bug, where)
    async with running(ScriptedTransport({ONE: answers(muxed), TWO: answers()})) as (swarm, observer):
        connection, _ = await swarm.dial(PEER, [ONE])
        await connection.gone.wait()
        assert "a bug" in (connection.reason or "")
        assert muxed.closed
        await swarm.dial(PEER, [TWO])
        assert len(observer.of(ConnectionClosed)) == 1


@by_bug
async def test_a_muxer_that_cannot_be_closed_is_told_and_nothing_else(
    bug: BaseException, autojump_clock: Clock
) -> None:
    async with running(ScriptedTransport({ONE: answers(Undone(bug, "aclose"))})) as (swarm, _):
        connection, _ = await swarm.dial(PEER, [ONE])
        await swarm.disconnect(PEER)
        assert "a bug" in (connection.reason or "")
        assert swarm.peers == []


async def test_a_stream_opened_on_a_connection_that_is_gone_is_not_counted_for_ever() -> None:
    async with running(ScriptedTransport({ONE: answers()})) as (swarm, _), muxed_pair(Yamux(), Yamux()) as (near, _far):
        connection, _ = await swarm.dial(PEER, [ONE])
        await swarm.disconnect(PEER)
        closed: list[str] = []
        connection.when_closed(await near.connection.open_stream(), lambda: closed.append("closed"))
        assert closed == ["closed"]


async def test_a_muxer_that_cannot_begin_costs_the_wire_too(autojump_clock: Clock) -> None:
    class Broken(Yamux):
        def mux(self, channel: Channel, info: ConnectionInfo) -> Never:
            raise ZeroDivisionError("a bug")

    noise = Noise(Identity.generate())
    near, far = memory_pipe_pair()
    transport = HostUpgrader([noise], [Broken()])
    other = HostUpgrader([Noise(Identity.generate())], [Yamux()])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                other.upgrade, RawConnection(far, ONE, TWO), Direction.INBOUND, None, Attempt("x", trio.current_time())
            )
        )
        raw = RawConnection(near, TWO, ONE)
        with pytest.raises(ZeroDivisionError):
            await transport.upgrade(raw, Direction.OUTBOUND, None, Attempt("x", trio.current_time()))
        with pytest.raises(trio.ClosedResourceError):
            await near.send_all(b"x")


# ---- listeners


@by_bug
async def test_a_bug_in_a_listener_costs_that_listener_only(
    bug: BaseException, transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(transport, ScriptedTransport({ONE: answers()})) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.break_down(bug)
        assert "a bug" in ((await observer.wait_for(ListenStopped)).error or "")
        assert swarm.listen_addresses == []
        assert f"listening on {LISTEN} failed by a bug" in caplog.text
        await swarm.dial(PEER, [ONE])


@by_bug
async def test_a_bug_in_refusing_costs_that_arrival_only(
    bug: BaseException, transport: ListeningTransport, listener: FakeListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoGater:
        def allow_dial(self, *args: object) -> bool:
            return True

        def allow_accept(self, address: Multiaddr) -> bool:
            return address != TWO

        def allow_connection(self, *args: object) -> bool:
            return True

    async def refuse() -> None:
        raise bug

    async with running(transport, gater=NoGater()) as (swarm, observer):
        await swarm.listen(LISTEN)
        incoming: Incoming = listener.arrive(remote_address=TWO)
        monkeypatch.setattr(incoming, "refuse", refuse)
        assert "a bug" in (await observer.wait_for(InboundRefused)).reason
        listener.arrive(lambda: connection_of(inbound()))
        await observer.wait_for(ConnectionOpened)


# ---- the end


async def test_arrivals_while_the_swarm_ends_are_no_failure(
    transport: ListeningTransport, listener: FakeListener
) -> None:
    """Each task may be the first that learns of the end."""
    for _ in range(20):
        async with running(ListeningTransport(arrivals := FakeListener(LISTEN))) as (swarm, observer):
            await swarm.listen(LISTEN)
            for _ in range(10):
                arrivals.arrive(lambda: connection_of(inbound()))
            await trio.lowlevel.checkpoint()
            swarm._nursery.cancel_scope.cancel()  # type: ignore[union-attr]
            arrivals.arrive(lambda: connection_of(inbound()))
        assert [event.error for event in observer.of(ListenStopped)] == [None]


async def test_a_listener_that_breaks_since_it_is_closed_is_no_news(
    transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        await settle()
        listener.break_down(OSError(9, "Bad file descriptor"))
    assert observer.of(ListenStopped) == [ListenStopped(LISTEN, None)]
    assert caplog.messages == []


async def test_a_name_that_leads_nowhere_is_no_bug(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Nowhere:
        async def resolve(self, address: Multiaddr) -> list[Multiaddr]:
            raise ResolveError("no such name")

    async with running(ScriptedTransport({ONE: fails(ConnectionLost("x"))}), resolver=Nowhere()) as (swarm, _):
        await failed_dial(swarm, PEER, Multiaddr("/dns4/x.example/tcp/1"), ONE)
    assert caplog.messages == []
