"""The suites for transports and pipes fail for implementations with one fault each."""

import re

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, Buffer, DialOptions, RawConnection, StreamListener
from peerstack.stack.memory import ByteQueue, MemoryListener, MemoryPipe, memory_pipe_pair
from peerstack.stack.testing import check_pipe, check_stream_transport
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

ANY = Multiaddr("/memory/0")


class LosesArrivals(MemoryListener):
    """Has a checkpoint after the connection was taken."""

    async def accept(self) -> RawConnection:
        connection = await super().accept()
        await trio.lowlevel.checkpoint()
        return connection


class NeverWakes(MemoryListener):
    """Forgets who waits when it is closed."""

    async def accept(self) -> RawConnection:
        with trio.CancelScope() as scope:
            try:
                return await super().accept()
            except trio.ClosedResourceError:
                scope.shield = False
                await trio.sleep_forever()
        raise AssertionError("unreachable")


class LosesArrivalsTransport(MemoryTransport):
    listener_class: type[MemoryListener] = LosesArrivals

    async def listen(self, address: Multiaddr) -> StreamListener:
        listener = self._network.bind(address)
        listener.__class__ = self.listener_class
        return listener


class NeverWakesTransport(LosesArrivalsTransport):
    listener_class = NeverWakes


class LeaksDials(MemoryTransport):
    """Has a checkpoint after the connection was made."""

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        connection = await super().dial(address, options)
        await trio.lowlevel.checkpoint()
        return connection


class VagueRefusal(MemoryTransport):
    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        try:
            return await super().dial(address, options)
        except ConnectionRefusedError:
            raise OSError("something is wrong") from None


class HangsWhenRefused(MemoryTransport):
    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        try:
            return await super().dial(address, options)
        except ConnectionRefusedError:
            await trio.sleep_forever()
        raise AssertionError("unreachable")


class FromOnePortOnly(MemoryTransport):
    """Dials from a listener's port even where that is connected already."""

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        if options.from_listener and address in self.__dict__.setdefault("connected", set()):
            raise OSError("Address already in use")
        self.__dict__.setdefault("connected", set()).add(address)
        return await super().dial(address, options)


class Rebinds(MemoryTransport):
    async def listen(self, address: Multiaddr) -> StreamListener:
        self._network._listeners.clear()
        return await super().listen(address)


class Everything(MemoryTransport):
    def can_dial(self, address: Multiaddr) -> bool:
        return True


class KeepsAddress(MemoryTransport):
    async def listen(self, address: Multiaddr) -> StreamListener:
        listener = await super().listen(address)
        listener.addresses = (address,)
        return listener

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        number = max(self._network._listeners)
        connection = await super().dial(Multiaddr(f"/memory/{number}"), options)
        return RawConnection(connection.stream, connection.local_address, address)


@pytest.mark.parametrize(
    ("transport", "complaint"),
    [
        (LosesArrivalsTransport, "loses no connection"),
        (NeverWakesTransport, "wakes a task that accepts.*hangs"),
        (LeaksDials, "leaves nothing open.*hangs"),
        (HangsWhenRefused, "ConnectionRefusedError.*hangs"),
        (Rebinds, "could be bound twice"),
        (FromOnePortOnly, "beside 1 other connections it failed: Address already in use"),
        (Everything, "can_dial.*is True"),
        (KeepsAddress, "the listener still has"),
    ],
)
async def test_faulty_transports_fail(
    transport: type[MemoryTransport], complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    with pytest.raises(AssertionError, match=re.compile(complaint, re.DOTALL)):
        await check_stream_transport(lambda: transport(network), ANY)


class EndsBothWays(MemoryPipe):
    """Takes its own end for the end of everything."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await super().receive_some(max_bytes)
        return b"" if self._sent_eof else data


class EndsBothWaysNetwork(MemoryNetwork):
    def connect(self, address: Multiaddr) -> RawConnection:
        connection = super().connect(address)
        connection.stream.__class__ = EndsBothWays
        return connection


async def test_who_cannot_close_one_direction_only_has_to_say_so(autojump_clock: trio.testing.MockClock) -> None:
    network = EndsBothWaysNetwork()
    with pytest.raises(AssertionError, match="the direction that was open lost bytes"):
        await check_stream_transport(lambda: MemoryTransport(network), ANY)
    await check_stream_transport(lambda: MemoryTransport(network), ANY, half_close=False)


async def test_a_wrong_error_leaves_as_itself_and_names_the_check(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    with pytest.raises(OSError, match="something is wrong") as error:
        await check_stream_transport(lambda: VagueRefusal(network), ANY)
    assert any("without a listener" in note for note in error.value.__notes__)


class PlainStream(trio.abc.HalfCloseableStream):
    """A pipe that does not tell that it is one."""

    def __init__(self, pipe: MemoryPipe) -> None:
        self._pipe = pipe

    async def send_all(self, data: Buffer) -> None:
        await self._pipe.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._pipe.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._pipe.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._pipe.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._pipe.aclose()


class PlainNetwork(MemoryNetwork):
    """Makes connections of other streams than pipes."""

    def make(self) -> tuple[trio.abc.Stream, trio.abc.Stream]:
        near, far = memory_pipe_pair()
        return PlainStream(near), PlainStream(far)

    def connect(self, address: Multiaddr) -> RawConnection:
        listener = self.find(address)
        near, far = self.make()
        origin = Multiaddr(f"/memory/{self.free_number()}")
        listener.deliver(RawConnection(far, listener.address, origin))
        return RawConnection(near, origin, listener.address)


class BoundlessNetwork(PlainNetwork):
    def make(self) -> tuple[trio.abc.Stream, trio.abc.Stream]:
        return trio.testing.memory_stream_pair()


async def test_plain_streams_need_not_be_pipes(autojump_clock: trio.testing.MockClock) -> None:
    network = PlainNetwork()
    await check_stream_transport(lambda: MemoryTransport(network), ANY)


async def test_streams_without_back_pressure_fail(autojump_clock: trio.testing.MockClock) -> None:
    network = BoundlessNetwork()
    with pytest.raises(AssertionError, match="no back-pressure"):
        await check_stream_transport(lambda: MemoryTransport(network), ANY)


class RefersToBuffer(MemoryPipe):
    def send_nowait(self, data: Buffer) -> int:
        sent = super().send_nowait(b"")
        view = memoryview(data)
        self.outgoing._pieces.append(view)
        self.outgoing.size += len(view)
        self.outgoing.wake()
        return sent + len(view)


class EndsForBlocks(MemoryPipe):
    def receive_nowait(self, buffer: memoryview) -> int:
        try:
            return super().receive_nowait(buffer)
        except trio.WouldBlock:
            return 0


class UnreadsBehind(MemoryPipe):
    def unread(self, data: bytes) -> None:
        self.incoming._pieces.append(memoryview(data))
        self.incoming.size += len(data)


class SendsWhenCancelled(MemoryPipe):
    async def send_some(self, data: Buffer) -> int:
        try:
            return await super().send_some(data)
        except trio.Cancelled:
            self.outgoing.capacity += 1
            self.outgoing.put(b"x")
            raise


class IgnoresTheDead(MemoryPipe):
    def send_nowait(self, data: Buffer) -> int:
        try:
            return super().send_nowait(data)
        except trio.BrokenResourceError:
            return len(memoryview(data))


class ReceivesWhenClosed(MemoryPipe):
    def receive_nowait(self, buffer: memoryview) -> int:
        return self.incoming.take_into(buffer)


class Deaf(MemoryPipe):
    """Does not wake its own tasks when it is closed."""

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.checkpoint()


class DropsWhatItTook(MemoryPipe):
    """Throws away, at its close, what the peer has not received."""

    async def aclose(self) -> None:
        self.abort()
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("pipe", "complaint"),
    [
        (RefersToBuffer, "refers to the caller's buffer"),
        (EndsForBlocks, "WouldBlock"),
        (UnreadsBehind, "receive_nowait gave"),
        (SendsWhenCancelled, "bytes went"),
        (IgnoresTheDead, "hangs"),
        (Deaf, "hangs"),
        (DropsWhatItTook, "send_all took 1000 bytes, and 0 arrived"),
    ],
)
async def test_faulty_pipes_fail(
    pipe: type[MemoryPipe], complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def make() -> tuple[MemoryPipe, MemoryPipe]:
        one, other = ByteQueue(1000), ByteQueue(1000)
        return pipe(one, other), pipe(other, one)

    with pytest.raises(AssertionError, match=complaint):
        await check_pipe(make)


async def test_a_pipe_that_receives_after_its_close_fails(autojump_clock: trio.testing.MockClock) -> None:
    async def make() -> tuple[MemoryPipe, MemoryPipe]:
        one, other = ByteQueue(1000), ByteQueue(1000)
        return ReceivesWhenClosed(one, other), ReceivesWhenClosed(other, one)

    with pytest.raises(AssertionError, match="receive_nowait on a closed pipe"):
        await check_pipe(make)
