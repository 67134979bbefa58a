"""Raise at every checkpoint of everything that is not the host's own: it lives on, and nothing is left behind.

A point is a piece of work of a plug-in or of an application. To add one, wrap its work in `strike(...)` in `_network`.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import DEFAULT_DIAL, Channel, ConnectionInfo, DialOptions, RawConnection, Secured, Stream
from peerstack.stack.addressing.resolve import Resolver
from peerstack.stack.errors import StackError
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.security.noise import Noise
from peerstack.stack.swarm import Connection
from peerstack.stack.testing import run_deterministic
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .checkpoints import ERRORS, INTERRUPTS, Strike

ECHO, STUBBORN = "/echo/1", "/stubborn/1"
ALICE, BOB, CAROL = (Identity.generate() for _ in range(3))


class Struck:
    """Strikes at one point, and lets the work of all others pass."""

    def __init__(self, point: str, strike: Strike) -> None:
        self._point = point
        self.strike = strike

    async def __call__(self, point: str, work: Any) -> Any:
        return await (self.strike(work) if point == self._point else work)


# ---- plug-ins that are struck


class StruckTransport(MemoryTransport):
    def __init__(self, network: MemoryNetwork, struck: Struck) -> None:
        super().__init__(network)
        self._struck = struck

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        raw: RawConnection = await self._struck("transport dial", super().dial(address, options))
        return raw


class StruckSecurity:
    protocol_id = Noise.protocol_id

    def __init__(self, noise: Noise, struck: Struck) -> None:
        self._noise = noise
        self._struck = struck

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        work = self._noise.secure(stream, initiator=initiator, expect=expect, muxers=muxers)
        secured: Secured = await self._struck("dialing security" if initiator else "accepting security", work)
        return secured


class StruckMuxer(Yamux):
    def __init__(self, struck: Struck, point: str) -> None:
        super().__init__()
        self._struck = struck
        self._point = point

    def mux(self, channel: Channel, info: ConnectionInfo) -> Any:
        muxed = super().mux(channel, info)
        run, accept_stream = muxed.run, muxed.accept_stream
        muxed.run = lambda: self._struck(f"{self._point} run", run())  # type: ignore[method-assign]
        muxed.accept_stream = lambda: self._struck(  # type: ignore[method-assign]
            f"{self._point} accept_stream", accept_stream()
        )
        return muxed


class StruckResolver(Resolver):
    def __init__(self, struck: Struck) -> None:
        super().__init__()
        self._struck = struck

    async def resolve(self, address: Multiaddr) -> list[Multiaddr]:
        async def look_up() -> list[Multiaddr]:
            await trio.sleep(0.1)
            return [Multiaddr("/memory/7")]

        found: list[Multiaddr] = await self._struck("resolver", look_up())
        return found


async def stubborn(stream: Stream) -> None:
    """Raise from a nursery when cancelled, which makes a group with the cancellation."""

    async def say_bye() -> None:
        try:
            await trio.sleep_forever()
        finally:
            await stream.send_all(b"bye")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_bye)
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("the clean-up failed")


# ---- the scenario


@asynccontextmanager
async def _network(struck: Struck) -> AsyncIterator[tuple[Host, Host, Host]]:
    """Open three hosts; everything of Alice and Bob may be struck, nothing of Carol."""
    network = MemoryNetwork()

    async def echo(stream: Stream) -> None:
        async def answer() -> None:
            async for data in stream:
                await stream.send_all(data)

        await struck("handler", answer())

    def hook(host: Host, point: str) -> None:
        (registration,) = host.swarm.on_connection._registrations
        inner = registration.hook

        async def ask(connection: Connection) -> None:
            await struck(point, inner(connection))

        registration.hook = ask

    def host(identity: Identity, name: str, **more: Any) -> Any:
        return open_host(
            identity=identity,
            transports=[StruckTransport(network, struck)],
            security=[StruckSecurity(Noise(identity), struck)],
            muxers=[StruckMuxer(struck, name)],
            resolver=StruckResolver(struck),
            **more,
        )

    async with host(BOB, "accepting muxer", listen=["/memory/7"]) as bob, host(ALICE, "dialing muxer") as alice:
        async with open_host(identity=CAROL, transports=[MemoryTransport(network)]) as carol:
            bob.handle(ECHO, echo)
            bob.handle(STUBBORN, stubborn)
            hook(alice, "dialing hook")
            hook(bob, "accepting hook")
            yield alice, bob, carol


async def _talk(alice: Host, bob: Host) -> None:
    """Do a bit of everything; what was struck may fail it, but only as the interface says."""
    with trio.move_on_after(60):
        try:
            await alice.connect(Multiaddr("/dns/bob.example/tcp/1"), bob.peer_id)
            await (await alice.open_stream(bob.peer_id, STUBBORN)).send_all(b"x")
            async with await alice.open_stream(bob.peer_id, ECHO) as stream:
                await stream.send_all(b"hello")
                await stream.send_eof()
                while await stream.receive_some():
                    pass
        except (StackError, trio.BrokenResourceError):
            pass


async def _works(carol: Host, bob: Host) -> None:
    await carol.connect(*bob.addresses)
    async with await carol.open_stream(bob.peer_id, ECHO) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


async def _scenario(struck: Struck, scope: trio.CancelScope | None = None) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    hosts: list[Host] = []
    with scope or trio.CancelScope():
        async with _network(struck) as (alice, bob, carol):
            hosts += (alice, bob, carol)
            await _talk(alice, bob)
            await _works(carol, bob)
    for host in hosts:
        limits = host.statistics().swarm.limits
        assert limits["system"] == limits["transient"] == {}
        assert host.connections() == host.swarm.listen_addresses == []
    assert trio.lowlevel.current_statistics().tasks_living == before


FEW = ["handler", "resolver", "transport dial", "dialing hook", "accepting hook"]
"""Points with few checkpoints; each kind of error is raised at each of them."""
MANY = [
    "dialing security",
    "accepting security",
    "dialing muxer run",
    "accepting muxer run",
    "dialing muxer accept_stream",
    "accepting muxer accept_stream",
]
"""Points with many; the kinds take turns."""


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """Format no tracebacks; there are hundreds."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _at_each_checkpoint(point: str, *errors: Callable[[], BaseException], leaves: bool = False) -> None:
    at = 0
    for at in range(1000):
        struck = Struck(point, Strike(at, errors[at % len(errors)]))
        try:
            run_deterministic(_scenario, struck, seed=at)
        except (KeyboardInterrupt, SystemExit):
            assert leaves
        else:
            assert not (leaves and struck.strike.raised), "the interrupt was lost"
        if not struck.strike.struck:
            break
    assert at > 0, "the point has no checkpoint"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("point", FEW)
def test_an_error_at_any_checkpoint_ends_no_host(point: str, error: str) -> None:
    _at_each_checkpoint(point, ERRORS[error])


@pytest.mark.parametrize("point", MANY)
def test_errors_that_take_turns_at_any_checkpoint_end_no_host(point: str) -> None:
    _at_each_checkpoint(point, *ERRORS.values())


@pytest.mark.parametrize("point", [*FEW, *MANY])
def test_an_interrupt_at_any_checkpoint_leaves_as_itself(point: str) -> None:
    _at_each_checkpoint(point, *INTERRUPTS.values(), leaves=True)


# ---- the whole, cancelled or interrupted from outside


class AtStep(trio.abc.Instrument):
    """Does something at one step of the scheduler."""

    def __init__(self, step: int, do: Callable[[], object]) -> None:
        self.countdown = step
        self._do = do

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.countdown -= 1
        if self.countdown == 0:
            self._do()


NOTHING = ("nothing", Strike(0, AssertionError))


def test_a_signal_at_any_step_leaves_as_a_keyboard_interrupt() -> None:
    step = 0
    for step in range(1, 10_000, 37):
        instrument = AtStep(step, lambda: signal.raise_signal(signal.SIGINT))

        async def run(instrument: AtStep = instrument) -> None:
            trio.lowlevel.add_instrument(instrument)
            await _scenario(Struck(*NOTHING))

        try:
            run_deterministic(run, seed=step)
        except KeyboardInterrupt:
            continue
        assert instrument.countdown > 0, f"the signal at step {step} was lost"
        break
    assert step > 100


def test_a_cancellation_at_any_step_leaves_nothing() -> None:
    step = 0
    for step in range(1, 10_000, 37):
        scope = trio.CancelScope()
        instrument = AtStep(step, scope.cancel)

        async def run(scope: trio.CancelScope = scope, instrument: AtStep = instrument) -> None:
            trio.lowlevel.add_instrument(instrument)
            await _scenario(Struck(*NOTHING), scope)

        run_deterministic(run, seed=step)
        if instrument.countdown > 0:
            break
    assert step > 100
