"""Two yamux cores under random commands, cuts and delays, against a model: all arrives in order, nothing is left."""

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.limits import WindowBudget
from peerstack.stack.muxing.core import (
    DataReceived,
    Event,
    StreamClosed,
    StreamFinished,
    StreamOpened,
    StreamWasReset,
)
from peerstack.stack.muxing.yamux import Config
from peerstack.stack.muxing.yamux.core import YamuxCore
from peerstack.stack.muxing.yamux.wire import HEADER, INITIAL_WINDOW

PATTERN = bytes(range(251)) * 5000
NEVER = 1e9  # the model lets bytes lie on the wire for as long as it likes, which is no silence
CONFIGS = [
    Config(keepalive_timeout=NEVER),
    Config(keepalive_timeout=NEVER, max_window=INITIAL_WINDOW, close_timeout=1),
    Config(
        keepalive_timeout=NEVER, max_window=2 * INITIAL_WINDOW, max_inbound_streams=2, early_streams=3, ack_backlog=3
    ),
    Config(keepalive_timeout=NEVER, max_buffered=INITIAL_WINDOW, max_outbound_streams=4),
]


@dataclass(slots=True)
class Flow:
    """One direction of a stream, as the model sees it."""

    sent: int = 0
    received: int = 0
    unread: int = 0
    ended: bool = False
    cut: bool = False
    """Reset by either side, or not read: what arrives is a prefix only."""


@dataclass
class Party:
    """A core, what it knows of its streams, and the bytes on the way to it."""

    core: YamuxCore
    budget: WindowBudget
    wire: bytearray = field(default_factory=bytearray)
    streams: set[int] = field(default_factory=set)


class Model:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.now = 0.0
        budgets = [WindowBudget(3 * INITIAL_WINDOW) for _ in range(2)]
        self.parties = [
            Party(YamuxCore(client=index == 0, config=config, budget=budget, now=0.0), budget)
            for index, budget in enumerate(budgets)
        ]
        self.flows: defaultdict[tuple[int, int], Flow] = defaultdict(Flow)
        """By the party that sends, and the stream."""

    # ---- commands

    def run(self, command: str, index: int, pick: int, amount: int) -> None:
        party = self.parties[index]
        if command == "open":
            if party.core.can_open:
                party.streams.add(party.core.open_stream(self.now))
        elif command == "deliver":
            self.deliver(index, amount)
        elif command == "wait":
            self.now += amount / 100_000
            for number, each in enumerate(self.parties):
                self.take_note(number, each.core.handle_deadline(self.now))
        elif party.streams:
            stream_id = sorted(party.streams)[pick % len(party.streams)]
            self.use(command, index, stream_id, amount)
        self.collect(index)

    def use(self, command: str, index: int, stream_id: int, amount: int) -> None:
        core = self.parties[index].core
        mine, theirs = self.flows[index, stream_id], self.flows[1 - index, stream_id]
        if command == "send" and not mine.ended and not mine.cut:
            position = mine.sent % 251
            credit = core.send_credit(stream_id)
            size = core.send_data(stream_id, memoryview(PATTERN)[position : position + amount], self.now)
            assert size == min(amount, credit, INITIAL_WINDOW)
            mine.sent += size
        elif command == "consume":
            size = min(amount, theirs.unread)
            theirs.unread -= size
            core.consumed(stream_id, size, self.now)
        elif command == "end":
            mine.ended = True
            self.take_note(index, core.send_eof(stream_id))
        elif command == "close":
            mine.ended = theirs.cut = True
            self.take_note(index, core.close(stream_id, self.now))
        elif command == "reset":
            mine.cut = theirs.cut = True
            self.take_note(index, core.reset(stream_id, amount))

    # ---- the wire

    def collect(self, index: int) -> None:
        for number in (index, 1 - index):
            self.parties[1 - number].wire += b"".join(self.parties[number].core.data_to_send())

    def deliver(self, index: int, size: int) -> None:
        party = self.parties[index]
        data, party.wire = bytes(party.wire[:size]), party.wire[size:]
        self.take_note(index, party.core.receive_data(data, self.now))
        self.collect(index)

    def take_note(self, index: int, events: list[Event]) -> None:
        party = self.parties[index]
        for event in events:
            if isinstance(event, StreamOpened):
                assert event.stream_id % 2 == index  # the peer's: odd for the server, even for the client
                party.streams.add(event.stream_id)
            elif isinstance(event, DataReceived):
                self.received(index, event)
            elif isinstance(event, StreamFinished):
                flow = self.flows[1 - index, event.stream_id]
                assert flow.ended
                assert flow.cut or flow.received == flow.sent
            elif isinstance(event, StreamWasReset):
                for number in range(2):
                    self.flows[number, event.stream_id].cut = True
            elif isinstance(event, StreamClosed):
                party.streams.discard(event.stream_id)

    def received(self, index: int, event: DataReceived) -> None:
        flow = self.flows[1 - index, event.stream_id]
        start = flow.received % 251
        assert event.data == PATTERN[start : start + len(event.data)]
        flow.received += len(event.data)
        flow.unread += len(event.data)
        assert flow.received <= flow.sent
        assert flow.unread <= self.config.max_window
        assert self.parties[index].core.buffered <= self.config.max_buffered

    # ---- the end

    def settle(self) -> None:
        while any(party.wire for party in self.parties):
            for index in range(2):
                self.deliver(index, 2**30)

    def check_credit(self, index: int, stream_id: int) -> None:
        """Check that both sides agree on what may still be sent, now that nothing is under way."""
        states = [party.core._streams.get(stream_id) for party in (self.parties[index], self.parties[1 - index])]
        if states[0] is not None and states[1] is not None:
            assert states[0].send_credit == states[1].receive_credit

    def finish(self) -> None:
        """Read and close everything; check that all of it arrived and that nothing is left."""
        self.settle()
        for index, party in enumerate(self.parties):
            for stream_id in sorted(party.streams):
                self.use("consume", index, stream_id, 2**30)
        self.collect(0)
        self.settle()
        for (index, stream_id), flow in self.flows.items():
            if not flow.cut:
                assert flow.received == flow.sent, (index, stream_id)
                self.check_credit(index, stream_id)
        for _ in range(2):  # a stream that was opened and never used is heard of when it is closed
            for index, party in enumerate(self.parties):
                for stream_id in sorted(party.streams):
                    self.use("close", index, stream_id, 0)
            self.collect(0)
            self.settle()
        for party in self.parties:
            core = party.core
            assert party.streams == set()
            assert (core.stream_count, core.buffered) == (0, 0)
            assert (core._inbound, core._outbound, core._unacknowledged) == (0, 0, 0)
            assert party.budget.used == 0


AMOUNTS = st.one_of(st.integers(0, 40), st.integers(0, 2 * INITIAL_WINDOW), st.just(INITIAL_WINDOW))
COMMANDS = st.tuples(
    st.sampled_from(["open", "send", "send", "consume", "deliver", "deliver", "end", "close", "reset", "wait"]),
    st.integers(0, 1),
    st.integers(0, 7),
    AMOUNTS,
)


@settings(max_examples=400, deadline=None)
@given(commands=st.lists(COMMANDS, max_size=80), config=st.sampled_from(CONFIGS), opened=st.integers(0, 2))
def test_honest_peers_lose_nothing_and_never_offend(
    commands: list[tuple[str, int, int, int]], config: Config, opened: int
) -> None:
    model = Model(config)
    for pick in range(opened):
        model.run("open", 0, 0, 0)
        model.run("send", 0, pick, INITIAL_WINDOW)
        model.settle()
        model.run("consume", 1, pick, INITIAL_WINDOW)
    for command in commands:
        model.run(*command)
    model.finish()


@settings(max_examples=60, deadline=None)
@given(
    amounts=st.lists(AMOUNTS, min_size=1, max_size=25),
    cuts=st.lists(st.integers(1, 100_000), min_size=1, max_size=8),
    latency=st.floats(0.0, 0.2),
)
def test_one_busy_stream_delivers_all_as_its_window_grows(amounts: list[int], cuts: list[int], latency: float) -> None:
    model = Model(Config())
    model.run("open", 0, 0, 0)
    model.run("send", 0, 0, 1)
    for turn, amount in enumerate(amounts * 4):
        model.run("send", 0, 0, amount)
        model.run("deliver", 1, 0, cuts[turn % len(cuts)])
        model.now += latency
        model.run("consume", 1, 0, amount)
        model.run("deliver", 0, 0, cuts[turn % len(cuts)])
    model.finish()
    flow = model.flows[0, 1]
    assert flow.received == flow.sent >= 1


FIELDS = st.tuples(
    st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
    st.integers(0, 31),
    st.sampled_from([0, 1, 2, 3, 4, 5, 2**32 - 1]),
    st.sampled_from([0, 0, 1, 5, INITIAL_WINDOW, INITIAL_WINDOW + 1, 2**31, 2**32 - 1]),
)


@settings(max_examples=300, deadline=None)
@given(frames=st.lists(FIELDS, max_size=30), client=st.booleans(), opened=st.integers(0, 3))
def test_no_frames_crash_a_core_or_leave_it_unbounded(
    frames: list[tuple[int, int, int, int]], client: bool, opened: int
) -> None:
    budget = WindowBudget(INITIAL_WINDOW)
    core = YamuxCore(client=client, config=Config(max_buffered=INITIAL_WINDOW), budget=budget, now=0.0)
    for _ in range(opened):
        core.send_data(core.open_stream(0.0), memoryview(b"x"), 0.0)
    code: int | None = 1
    try:
        for kind, flags, stream_id, length in frames:
            core.receive_data(HEADER.pack(0, kind, flags, stream_id, length), 0.0)
            if kind == 0:
                core.receive_data(bytes(min(length, INITIAL_WINDOW)), 0.0)
            assert 0 <= core.buffered <= INITIAL_WINDOW
            assert core.stream_count <= 6
    except RemoteProtocolError as error:
        code = error.code
    core.release()
    assert code == 1
    assert core.stream_count == core.buffered == budget.used == 0


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(1, 50))
def test_no_bytes_crash_a_core(data: bytes, cut: int) -> None:
    core = YamuxCore(client=False, config=Config(), budget=WindowBudget(0), now=0.0)
    try:
        for start in range(0, len(data), cut):
            core.receive_data(data[start : start + cut], 0.0)
        core.handle_deadline(1.0)
    except (RemoteProtocolError, ConnectionLost):
        pass
    assert core.buffered <= len(data)
