"""Two yamux cores joined without I/O, and frames made by hand."""

from collections.abc import Iterable

from peerstack.stack.limits import WindowBudget
from peerstack.stack.muxing.core import DataReceived, Event, StreamOpened
from peerstack.stack.muxing.yamux import Config
from peerstack.stack.muxing.yamux.core import YamuxCore
from peerstack.stack.muxing.yamux.wire import HEADER_SIZE, decode_header, encode_header

MiB = 1024 * 1024


def frame(kind: int, flags: int = 0, stream_id: int = 0, length: int | None = None, body: bytes = b"") -> bytes:
    """Return a frame; its length is that of the body unless given."""
    return encode_header(kind, flags, stream_id, len(body) if length is None else length) + body


def parse(data: bytes) -> list[tuple[int, int, int, int]]:
    """Return (type, flags, stream id, length) of each frame."""
    frames, position = [], 0
    while position < len(data):
        header = decode_header(data, position)
        frames.append(header)
        position += HEADER_SIZE + (header[3] if header[0] == 0 else 0)
    return frames


class Side:
    """One core with its clock, what it was told, and what came out of it."""

    def __init__(self, *, client: bool, config: Config | None = None, memory: int = 1024 * MiB) -> None:
        self.now = 100.0
        self.config = config or Config()
        self.budget = WindowBudget(memory)
        self.core = YamuxCore(client=client, config=self.config, budget=self.budget, now=self.now)
        self.events: list[Event] = []

    def receive(self, *frames: bytes) -> list[Event]:
        """Receive bytes, each piece by itself; return the events."""
        events: list[Event] = []
        for data in frames:
            events += self.core.receive_data(data, self.now)
        self.events += events
        return events

    def sent(self) -> bytes:
        """Return the bytes to be sent."""
        return b"".join(self.core.data_to_send())

    def frames(self) -> list[tuple[int, int, int, int]]:
        """Return the frames to be sent, without pings."""
        return [header for header in parse(self.sent()) if header[0] != 2]

    def open(self) -> int:
        """Open a stream."""
        return self.core.open_stream(self.now)

    def send(self, stream_id: int, data: bytes | memoryview) -> int:
        """Send data; return how much of it went."""
        return self.core.send_data(stream_id, memoryview(data), self.now)

    def send_all(self, stream_id: int, data: bytes) -> int:
        """Send data until the window is empty; return how much of it went."""
        total, view = 0, memoryview(data)
        while size := self.send(stream_id, view[total:]):
            total += size
        return total

    def consume(self, stream_id: int, size: int) -> None:
        """Let the application take bytes."""
        self.core.consumed(stream_id, size, self.now)

    def data_of(self, stream_id: int) -> bytes:
        """Return all data that came for a stream."""
        return joined(self.events, stream_id)

    def idle(self) -> bool:
        """Whether nothing is held for any stream."""
        core = self.core
        counts = (core.stream_count, core.buffered, core._inbound, core._outbound, core._unacknowledged)
        return counts == (0, 0, 0, 0, 0) and self.budget.used == 0


class Pair:
    """A client and a server."""

    def __init__(self, config: Config | None = None, *, memory: int = 1024 * MiB) -> None:
        self.client = Side(client=True, config=config, memory=memory)
        self.server = Side(client=False, config=config, memory=memory)

    def drive(self) -> None:
        """Carry bytes both ways until there are none."""
        while data := (self.client.sent(), self.server.sent()):
            if not any(data):
                return
            self.server.receive(data[0])
            self.client.receive(data[1])

    def advance(self, seconds: float) -> None:
        """Let time pass for both."""
        self.client.now += seconds
        self.server.now += seconds

    def open(self) -> int:
        """Open a stream from the client that the server has answered."""
        stream_id = self.client.open()
        self.client.send(stream_id, b"?")
        self.drive()
        assert StreamOpened(stream_id) in self.server.events
        self.server.consume(stream_id, 1)
        self.server.send(stream_id, b"!")
        self.drive()
        self.client.consume(stream_id, 1)
        self.client.events.clear()
        self.server.events.clear()
        return stream_id


def joined(events: Iterable[Event], stream_id: int) -> bytes:
    """Return the data of a stream among the events."""
    return b"".join(event.data for event in events if isinstance(event, DataReceived) and event.stream_id == stream_id)
