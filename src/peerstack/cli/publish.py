"""`peerstack pubsub publish`: publish messages and show which peers each was sent to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Parameter
from cyclopts.validators import Number

from peerstack.protocols.pubsub import Pubsub, PubsubConfig, Receipt
from peerstack.stack.background import open_background
from peerstack.stack.errors import StackError
from peerstack.stack.identity import PeerId

from . import events, standard_input
from .failure import CommandError, Failure
from .options import NODE, Json, NodeOptions, seconds_option
from .output import Output, OutputClosed
from .pubsub_node import (
    Listen,
    Node,
    NoSign,
    Peers,
    TopicName,
    check_topics,
    listening,
    open_node,
    receipt_event,
    wait_acknowledged,
    wait_subscribers,
)
from .runner import run

NO_SUBSCRIBER = 1
"""Exit code when no peer subscribes, or a message was sent to no peer."""
AHEAD = 1024
"""Messages published before the receipt of the first of them is printed; the queues have bounds of their own."""
MAX_MESSAGE = PubsubConfig().max_message

app = App(
    name="publish",
    usage="Usage: peerstack pubsub publish [OPTIONS] TOPIC [DATA...]",
    help_epilogue="""Each DATA is one message. --file publishes a file as one message (- is standard
input), --lines or a pipe each line of standard input. The command waits for a
subscriber, and ends when the hosts of the peers have received everything. A
--peer that is lost meanwhile is dialed again. The exit code is 0 if every
message was sent to a peer, 1 if one was sent to none, 2 if the command failed.

Examples:
  peerstack pubsub publish news hello --peer /ip4/127.0.0.1/tcp/4001
  peerstack pubsub publish news --file photo.jpg --peer /ip4/127.0.0.1/tcp/4001
  ls | peerstack pubsub publish news --peer /ip4/127.0.0.1/tcp/4001""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where messages come from, as it was typed."""

    data: tuple[str, ...]
    file: Path | None
    lines: bool
    piped: bool
    """Whether the lines are published since nothing else was given."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long to wait, in seconds, and for how many subscribers."""

    seconds: float
    subscribers: int


@app.default
def publish(
    topic: TopicName,
    /,
    *data: Annotated[str, Parameter(help="A message each.", name="DATA")],
    file: Annotated[
        Path | None, Parameter(help="Publish this file as one message.", show_default=False, allow_leading_hyphen=True)
    ] = None,
    lines: Annotated[bool, Parameter(help="Publish each line of standard input.", show_default=False)] = False,
    count: Annotated[
        int, Parameter(help="Publish everything this many times.", metavar="N", validator=Number(gte=1))
    ] = 1,
    peer: Peers = (),
    listen: Listen = (),
    no_sign: NoSign = False,
    wait: Annotated[float, seconds_option("How long to wait for subscribers.")] = 10.0,
    subscribers: Annotated[
        int, Parameter(help="How many subscribers to wait for.", metavar="N", validator=Number(gte=1))
    ] = 1,
    rate: Annotated[
        float | None,
        Parameter(
            help="Messages per second for each peer; by default only bursts to go, js, rust and py are slowed.",
            metavar="N",
            validator=Number(gt=0),
            show_default=False,
        ),
    ] = None,
    options: NodeOptions = NODE,
    json: Json = False,
) -> int:
    """Publish messages and show which peers each was sent to."""
    node = Node(listen=listen, peers=peer, signed=not no_sign, rate=rate, options=options)
    piped = not data and file is None and not lines and standard_input.is_given()
    source = Source(data=data, file=file, lines=lines or piped, piped=piped, count=count)
    program = partial(_publish, topic, source, node, Waiting(seconds=wait, subscribers=subscribers))
    return run(program, json=json, verbose=options.verbose)


async def _publish(topic: str, source: Source, node: Node, waiting: Waiting, output: Output) -> int:
    check_topics([topic])
    _check(source, node)
    payloads = None if source.lines else await _payloads(source)
    async with open_node(node, output) as opened, open_background() as nursery:
        pubsub = opened.pubsub
        nursery.start_soon(opened.redialer.run, partial(_emit, output))
        if node.listen:
            output.emit(listening(pubsub.host))
        with output.working(f"waiting for a subscriber to {topic}"):
            found = await wait_subscribers(pubsub, topic, waiting.subscribers, waiting.seconds)
        if found < waiting.subscribers:
            output.fail(Failure(_too_few(topic, node, waiting, found)))
            return NO_SUBSCRIBER
        ledger = Ledger()
        with ExitStack() as stack:
            if payloads is not None and len(payloads) * source.count > 1:
                total = sum(map(len, payloads)) * source.count
                ledger.show = partial(stack.enter_context(output.progress({"publish": total})), "publish")
            await _publish_all(pubsub, topic, _messages(payloads, source.count), ledger, output)
        if source.piped and not ledger.published:
            raise CommandError(_NOTHING)
        with output.working("waiting until the peers have received it"):
            acknowledged = await wait_acknowledged(pubsub, ledger.peers)
    output.emit(ledger.summary(acknowledged))
    return NO_SUBSCRIBER if ledger.reached_nobody else 0


async def _emit(output: Output, event: events.OutputEvent) -> None:
    # The task that prints the receipts notices that the output is closed.
    with suppress(OutputClosed):
        await output.emit_when_ready(event)


def _too_few(topic: str, node: Node, waiting: Waiting, found: int) -> str:
    who = "no peer subscribes" if not found else f"only {found} of {waiting.subscribers} peers subscribe"
    advice = (
        f"start one there with: peerstack pubsub subscribe {topic}"
        if node.peers
        else "give its address with --peer ADDRESS"
    )
    return f"{who} to {topic!r} after {waiting.seconds:g} s; {advice}"


# ---- what is published

_WHAT = "give DATA, --file FILE, or --lines for the lines of standard input"
_NOTHING = f"nothing to publish; {_WHAT}"
_ONE_THING = f"publish one thing at a time; {_WHAT}"


def _check(source: Source, node: Node) -> None:
    given = bool(source.data) + (source.file is not None) + source.lines
    if given != 1:
        raise CommandError(_ONE_THING if given else _NOTHING)
    if not node.peers and not node.listen:
        raise CommandError(
            "no peer can be reached; give the address of a subscriber with --peer, or wait for one with --listen"
        )
    if source.count > 1 and source.lines:
        raise CommandError("the lines of standard input can be read only once; leave out --count")
    if source.count > 1 and not node.signed:
        raise CommandError("--count needs signatures, since equal unsigned messages are one; leave out --no-sign")


async def _payloads(source: Source) -> list[bytes]:
    if source.file is not None:
        # It may be a pipe without a writer: a signal must not wait for that.
        if str(source.file) == "-":
            data = await _read_input()
        else:
            data = await trio.to_thread.run_sync(_read, source.file, abandon_on_cancel=True)
        return [_checked(data, f"the file {source.file}")]
    return [_checked(text.encode(errors="surrogateescape"), "DATA") for text in source.data]


def _read(file: Path) -> bytes:
    # Read one byte more than fits, to notice larger files without filling the memory.
    with file.open("rb") as opened:
        return opened.read(MAX_MESSAGE + 1)


async def _read_input() -> bytes:
    data = b""
    async for chunk in standard_input.chunks():
        data += chunk
        if len(data) > MAX_MESSAGE:
            break
    return data


def _checked(data: bytes, name: str) -> bytes:
    if not data:
        raise CommandError(f"{name} is empty; a message has at least one byte")
    if len(data) > MAX_MESSAGE:
        raise CommandError(f"{name} is too large; a message has at most {MAX_MESSAGE} bytes")
    return data


async def _messages(payloads: Sequence[bytes] | None, count: int) -> AsyncIterator[bytes]:
    if payloads is not None:
        for _ in range(count):
            for data in payloads:
                yield data
        return
    async for line in standard_input.lines(MAX_MESSAGE):
        _check_text(line)
        if line:
            yield line


def _check_text(line: bytes) -> None:
    try:
        binary = "\0" in line.decode()
    except UnicodeDecodeError:
        binary = True
    if binary:
        raise CommandError("standard input is not text; publish it as one message with --file -")


# ---- publishing


@dataclass(slots=True)
class Ledger:
    """Counts the outcomes of all messages."""

    published: int = 0
    bytes: int = 0
    sent: int = 0
    uncertain: int = 0
    dropped: int = 0
    reached_nobody: int = 0
    peers: dict[PeerId, None] = field(default_factory=dict)
    """Those that something was sent to, in order."""
    show: partial[None] | None = None
    """Shows the progress in bytes, if that is wanted."""

    def add(self, receipt: Receipt) -> None:
        """Count a message of which nothing is queued any more."""
        self.published += 1
        self.bytes += receipt.size
        self.sent += len(receipt.sent)
        self.uncertain += len(receipt.uncertain)
        self.dropped += len(receipt.dropped)
        self.reached_nobody += receipt.reached_no_peer
        self.peers.update(dict.fromkeys((*receipt.sent, *receipt.uncertain)))
        if self.show is not None:
            self.show(self.bytes)

    def summary(self, acknowledged: int) -> events.PublishSummary:
        """Return the event at the end."""
        return events.PublishSummary(
            published=self.published,
            bytes=self.bytes,
            sent=self.sent,
            uncertain=self.uncertain,
            dropped=self.dropped,
            reached_nobody=self.reached_nobody,
            peers=len(self.peers),
            acknowledged=acknowledged,
        )


async def _publish_all(
    pubsub: Pubsub, topic: str, messages: AsyncIterator[bytes], ledger: Ledger, output: Output
) -> None:
    """Publish, and print each receipt once nothing of its message is queued any more."""
    # Beside a progress bar only failures are worth a line.
    quiet = ledger.show is not None and output.live
    async with _receipts(pubsub, topic, messages) as receipts:
        async for receipt in receipts:
            if isinstance(receipt, Exception):
                raise receipt
            await receipt.wait_sent()
            ledger.add(receipt)
            if not quiet or receipt.dropped or receipt.reached_no_peer:
                await output.emit_when_ready(receipt_event(receipt))


@asynccontextmanager
async def _receipts(
    pubsub: Pubsub, topic: str, messages: AsyncIterator[bytes]
) -> AsyncIterator[trio.MemoryReceiveChannel[Receipt | Exception]]:
    """Publish in the background; yields the receipts in order, and what went wrong as the last."""
    send, receive = trio.open_memory_channel[Receipt | Exception](AHEAD)

    async def publish_each() -> None:
        async with send:
            try:
                async for data in messages:
                    await send.send(await pubsub.publish(topic, data))
            except (CommandError, StackError) as error:
                await send.send(error)

    async with open_background() as nursery:
        nursery.start_soon(publish_each)
        yield receive
