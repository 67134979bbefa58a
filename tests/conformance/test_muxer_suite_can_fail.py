"""The suite for muxers fails for implementations with one fault each."""

import re
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Buffer, Channel, ConnectionInfo
from peerstack.stack.errors import StackError
from peerstack.stack.memory import DEFAULT_CAPACITY
from peerstack.stack.muxing.core import Half
from peerstack.stack.muxing.yamux import Yamux, YamuxConnection, YamuxStream
from peerstack.stack.testing import check_muxer
from peerstack.stack.testing.connections import MuxerSubject
from peerstack.stack.testing.ending_checks import check_endings


class LosesStreams(YamuxConnection):
    """Has a checkpoint after the stream was taken."""

    async def accept_stream(self) -> YamuxStream:
        stream = await super().accept_stream()
        await trio.lowlevel.checkpoint()
        return stream


class LeaksStreams(YamuxConnection):
    """Has a checkpoint after the stream was made."""

    async def open_stream(self) -> YamuxStream:
        stream = await super().open_stream()
        await trio.lowlevel.checkpoint()
        return stream


class Miscounts(YamuxConnection):
    @property
    def stream_count(self) -> int:
        return super().stream_count + 1


class TellsTwice(YamuxConnection):
    def _forget(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        super()._forget(stream_id)
        if stream is not None and self.on_stream_closed is not None:
            self.on_stream_closed(stream)


class NegativeTime(YamuxConnection):
    @property
    def rtt(self) -> float | None:
        return -1.0


class AcceptsForEver(YamuxConnection):
    """Does not wake who accepts when the connection ends."""

    async def accept_stream(self) -> YamuxStream:
        try:
            return await super().accept_stream()
        except trio.BrokenResourceError:
            await trio.sleep_forever()
        raise AssertionError("unreachable")


class CloseIsLost(YamuxConnection):
    """Raises after an orderly close."""

    async def run(self) -> None:
        await super().run()
        raise self._lost()


class IgnoresLoss(YamuxConnection):
    """Ends well whatever happened."""

    async def run(self) -> None:
        with suppress(trio.BrokenResourceError):
            await super().run()


class LocalResets(YamuxConnection):
    """Blames itself for the peer's resets."""

    def _was_reset(self, stream_id: int, code: int, remote: bool) -> None:
        super()._was_reset(stream_id, code, False)


class ResetsAreEnds(YamuxConnection):
    """Takes a reset for the end of the stream."""

    def _was_reset(self, stream_id: int, code: int, remote: bool) -> None:
        if (stream := self._streams.get(stream_id)) is not None:
            stream.finish()


class Greedy(YamuxConnection):
    """Opens the window of streams that are not read."""

    def _dispatch(self, events: list[object]) -> None:  # type: ignore[override]  # passed through
        super()._dispatch(events)  # type: ignore[arg-type]
        for stream in self._core._streams.values():
            if stream.buffered > 100_000:
                self._core.consumed(stream.stream_id, stream.buffered, trio.current_time())


class AlwaysAcknowledges(YamuxConnection):
    """Says that everything has arrived, also when the connection is gone."""

    async def wait_acknowledged(self) -> None:
        await trio.lowlevel.checkpoint()


class DropsBeforeResets(YamuxConnection):
    """Forgets what arrived before the peer's reset."""

    def _was_reset(self, stream_id: int, code: int, remote: bool) -> None:
        if (stream := self._streams.get(stream_id)) is not None:
            stream._drop_unread()
        super()._was_reset(stream_id, code, remote)


class TakesWhileClosing(YamuxConnection):
    """Goes on taking bytes that it throws away."""

    def _stop_sending(self, reason: StackError) -> None:
        pass


class ClosesTheWindow(YamuxConnection):
    """Lets a peer wait for ever that sends on a stream that is not read."""

    def _pump(self) -> None:
        for stream in self._core._streams.values():
            if stream.receive is Half.IGNORED:
                stream.consumed = 0
        super()._pump()


TRIO = "trio's own suite"


def leave_out_trios_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time, for faults that it does not find."""

    async def passed(*_: object) -> None:
        pass

    monkeypatch.setattr("trio.testing.check_half_closeable_stream", passed)


@pytest.mark.parametrize(
    ("connection", "complaint"),
    [
        (LosesStreams, "loses no stream|without loss or leak"),
        (LeaksStreams, "leaked"),
        (Miscounts, "still counted"),
        (TellsTwice, "on_stream_closed was called 400 times"),
        (NegativeTime, "rtt is -1"),
        (AcceptsForEver, "hangs"),
        (CloseIsLost, "after an orderly close"),
        (IgnoresLoss, "run ended with None"),
        (LocalResets, "remote is False"),
        (ResetsAreEnds, "trio's own suite.*hangs"),
        (Greedy, "took|no back-pressure"),
        (AlwaysAcknowledges, "wait_acknowledged on a connection that is gone must raise"),
    ],
)
async def test_faulty_connections_fail(
    connection: type[YamuxConnection],
    complaint: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if TRIO not in complaint:
        leave_out_trios_suite(monkeypatch)
    with pytest.raises(AssertionError, match=re.compile(complaint, re.DOTALL)):
        await check_muxer(_muxer_of(lambda made: _become(made, connection)))


class UnreadsBehind(YamuxStream):
    __slots__ = ()

    def unread(self, data: bytes) -> None:
        self._chunks.append(data)


class ResetsTwice(YamuxStream):
    __slots__ = ()

    def reset(self, code: int = 0) -> None:
        if self._send_failure is not None:
            raise RuntimeError("reset already")
        super().reset(code)


class ForgetsCancelledCloses(YamuxStream):
    __slots__ = ()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        await super().aclose()


class WrongConnection(YamuxStream):
    __slots__ = ()

    @property
    def connection(self) -> YamuxConnection:
        ours = self._connection
        assert isinstance(ours, YamuxConnection)
        return Yamux().mux(ours._channel, ours.info)


class DropsAfterEnd(YamuxStream):
    """Forgets what it has not delivered when the peer ends the stream."""

    __slots__ = ()

    def finish(self) -> None:
        self._chunks.clear()
        super().finish()


class SaysItTook(YamuxStream):
    """Takes what it was given for sent, though it was closed meanwhile."""

    __slots__ = ()

    async def send_all(self, data: Buffer) -> None:
        with suppress(trio.ClosedResourceError):
            await super().send_all(data)


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (UnreadsBehind, "unread"),
        (ForgetsCancelledCloses, "trio's own suite.*hangs"),
        (WrongConnection, "stream.connection is another"),
        (DropsAfterEnd, "trio's own suite"),
        (SaysItTook, "trio's own suite"),
    ],
)
async def test_faulty_streams_fail(
    stream: type[YamuxStream],
    complaint: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerstack.stack.muxing.yamux.connection.YamuxStream", stream)
    if TRIO not in complaint:
        leave_out_trios_suite(monkeypatch)
    with pytest.raises(AssertionError, match=complaint):
        await check_muxer(Yamux)


class EndsLoudly(YamuxStream):
    """Cannot end its direction once the peer has reset the stream."""

    __slots__ = ()

    async def send_eof(self) -> None:
        if self._send_failure is not None:
            raise AssertionError("send_eof raised") from self._send_failure
        await super().send_eof()


@pytest.mark.parametrize(
    ("connection", "stream", "complaint"),
    [
        (DropsBeforeResets, YamuxStream, "of 1000 bytes that arrived before the reset 1 could be read"),
        (TakesWhileClosing, YamuxStream, "bytes were taken, and .* arrived"),
        (ClosesTheWindow, YamuxStream, "a large question.*hangs"),
        (YamuxConnection, EndsLoudly, "send_eof raised"),
    ],
)
async def test_faulty_ends_fail(
    connection: type[YamuxConnection],
    stream: type[YamuxStream],
    complaint: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerstack.stack.muxing.yamux.connection.YamuxStream", stream)
    muxer = _muxer_of(lambda made: _become(made, connection))
    with pytest.raises(AssertionError, match=complaint):
        await check_endings(MuxerSubject(muxer, DEFAULT_CAPACITY, settle=0.05))


async def test_an_unexpected_error_leaves_as_itself_and_names_the_check(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerstack.stack.muxing.yamux.connection.YamuxStream", ResetsTwice)
    leave_out_trios_suite(monkeypatch)
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="reset already"), flatten_subgroups=True) as error:
        await check_muxer(Yamux)
    assert any("A reset reaches the other side" in note for note in error.value.__notes__)


def _become(made: YamuxConnection, kind: type[YamuxConnection]) -> YamuxConnection:
    made.__class__ = kind
    return made


def _muxer_of(change: Callable[[YamuxConnection], YamuxConnection]) -> Callable[[], Yamux]:
    class Changed(Yamux):
        def mux(self, channel: Channel, info: ConnectionInfo) -> YamuxConnection:
            return change(super().mux(channel, info))

    return Changed
