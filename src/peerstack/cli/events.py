"""The events that commands emit: one class for each line of the JSON form, which is a contract (docs/cli.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from peerstack.stack.report import DialReport


@dataclass(frozen=True, slots=True)
class OutputEvent:
    """An event of a command; its fields are those of the JSON object."""

    event: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the object of the JSON form."""
        return {"event": self.event, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Listening(OutputEvent):
    """The host can be dialed; every address ends in `/p2p/<its id>`."""

    event: ClassVar[str] = "listening"
    peer_id: str
    addresses: tuple[str, ...]
    engines: dict[str, str] = field(default_factory=dict)
    """What carries protocols for which there are several engines: `{"quic-v1": "aioquic"}`."""


@dataclass(frozen=True, slots=True)
class Connected(OutputEvent):
    """A connection is authenticated."""

    event: ClassVar[str] = "connected"
    peer_id: str
    address: str
    direction: str
    security: str
    muxer: str


@dataclass(frozen=True, slots=True)
class Disconnected(OutputEvent):
    """A connection ended; `reason` is null for an orderly end."""

    event: ClassVar[str] = "disconnected"
    peer_id: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Refused(OutputEvent):
    """An inbound connection was refused or failed."""

    event: ClassVar[str] = "refused"
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped(OutputEvent):
    """A listener failed."""

    event: ClassVar[str] = "stopped"
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dropped(OutputEvent):
    """So many events came faster than they could be printed."""

    event: ClassVar[str] = "dropped"
    count: int


@dataclass(frozen=True, slots=True)
class Identified(OutputEvent):
    """What a peer says of itself."""

    event: ClassVar[str] = "identified"
    peer_id: str
    agent: str
    protocol_version: str
    protocols: tuple[str, ...]
    addresses: tuple[str, ...]
    observed_address: str | None
    signed: bool


@dataclass(frozen=True, slots=True)
class Introduced(Identified):
    """The same in JSON, but one line in text: the user did not ask for it."""


@dataclass(frozen=True, slots=True)
class Pong(OutputEvent):
    """A ping came back."""

    event: ClassVar[str] = "pong"
    seq: int
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class Lost(OutputEvent):
    """A ping did not come back."""

    event: ClassVar[str] = "lost"
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Round-trip times in milliseconds, null when there are none."""

    min: float | None
    median: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class PingSummary(OutputEvent):
    """The end of `ping`."""

    event: ClassVar[str] = "summary"
    sent: int
    received: int
    rtt_ms: RoundTrips


@dataclass(frozen=True, slots=True)
class Progress(OutputEvent):
    """How far a transfer has come."""

    event: ClassVar[str] = "progress"
    direction: str
    bytes: int
    total: int
    mib_s: float


@dataclass(frozen=True, slots=True)
class Transfer(OutputEvent):
    """A transfer is complete."""

    event: ClassVar[str] = "transfer"
    direction: str
    bytes: int
    seconds: float
    mib_s: float


@dataclass(frozen=True, slots=True)
class PerfSummary(OutputEvent):
    """The end of `perf`, in MiB per second; null for a direction in which nothing was moved."""

    event: ClassVar[str] = "summary"
    upload_mib_s: float | None
    download_mib_s: float | None


@dataclass(frozen=True, slots=True)
class KeyShown(OutputEvent):
    """An identity, as far as it is known; a hashed peer id tells nothing of its key."""

    event: ClassVar[str] = "identity"
    peer_id: str
    type: str | None
    public_key: str | None
    """Base64 of the protobuf."""
    cid: str
    base36: str
    hex: str
    file: str | None


@dataclass(frozen=True, slots=True)
class Converted(OutputEvent):
    """A peer id in another form."""

    event: ClassVar[str] = "converted"
    peer_id: str
    to: str
    text: str


@dataclass(frozen=True, slots=True)
class Report(OutputEvent):
    """What happened in a dial, stage by stage."""

    event: ClassVar[str] = "report"
    report: DialReport
    reached: str | None
    """The peer id that was proved; not part of the JSON form, which has it as what the handshake found."""

    def to_json(self) -> dict[str, Any]:
        """Return the report itself as the object."""
        return {"event": self.event, **self.report.to_json()}


@dataclass(frozen=True, slots=True)
class Step(OutputEvent):
    """The next part of the demo begins."""

    event: ClassVar[str] = "step"
    number: int
    title: str


@dataclass(frozen=True, slots=True)
class Exchanged(OutputEvent):
    """A message went to the peer and an answer came back."""

    event: ClassVar[str] = "message"
    protocol: str
    sent: str
    received: str


@dataclass(frozen=True, slots=True)
class TryNext(OutputEvent):
    """Commands worth trying now."""

    event: ClassVar[str] = "next"
    commands: tuple[str, ...]


# ---- publish/subscribe


@dataclass(frozen=True, slots=True)
class MessageReceived(OutputEvent):
    """A message of a topic; `from` and `seqno` are null where messages are not signed."""

    event: ClassVar[str] = "message"
    topic: str
    author: str | None = field(metadata={"json": "from"})
    seqno: int | None
    data: str
    """Base64."""
    gap: int
    """Numbers of the author skipped before this one."""
    late: bool
    """Whether a message with a higher number of the author came before."""
    closes: bool
    """Whether it was counted in the gap of an earlier message."""
    missing: int
    """Of all numbers skipped so far, those that did not come yet: the sum of the gaps, less those closed."""
    missed: int
    """Messages dropped here before this one, since they were not printed fast enough."""
    fetched: bool = False
    """Whether it was asked for (gossip), so that it may come behind newer ones: also what was published before."""

    def to_json(self) -> dict[str, Any]:
        """Return the object, with the author as `from`, its name in the protocol."""
        return {"event": self.event, **{("from" if k == "author" else k): v for k, v in asdict(self).items()}}


@dataclass(frozen=True, slots=True)
class NotSent:
    """A peer that a message was not sent to, and why."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt(OutputEvent):
    """The receipt of a message we published, peer by peer."""

    event: ClassVar[str] = "receipt"
    topic: str
    id: str
    """Hexadecimal."""
    seqno: int | None
    bytes: int
    sent: tuple[str, ...]
    queued: tuple[str, ...]
    uncertain: tuple[str, ...]
    """Those whose connection was lost right after it had taken the message."""
    dropped: tuple[NotSent, ...]


@dataclass(frozen=True, slots=True)
class PublishSummary(OutputEvent):
    """The end of `pubsub publish`."""

    event: ClassVar[str] = "summary"
    published: int
    bytes: int
    sent: int
    """Deliveries: one for each message and peer, handed to its connection."""
    uncertain: int
    """Those handed to a connection that was lost soon after."""
    dropped: int
    reached_nobody: int
    """Messages that were sent to no peer at all."""
    peers: int
    """Those that something was sent to."""
    acknowledged: int
    """Those of them whose host has received all that was sent to it; peers do not say whether they dropped it."""


@dataclass(frozen=True, slots=True)
class Joined(OutputEvent):
    """A member is in the chat room now; the name is null if the member gives none."""

    event: ClassVar[str] = "joined"
    peer_id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Renamed(OutputEvent):
    """A member of the chat room changed its name."""

    event: ClassVar[str] = "renamed"
    peer_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Left(OutputEvent):
    """A member left the chat room."""

    event: ClassVar[str] = "left"
    peer_id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Said(OutputEvent):
    """A member sent a line; `label` is the name as shown, unique in the room."""

    event: ClassVar[str] = "said"
    peer_id: str
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Noted(OutputEvent):
    """A note or warning of the chat itself; `level` is info or warning."""

    event: ClassVar[str] = "note"
    level: str
    text: str


# ---- demo pubsub


@dataclass(frozen=True, slots=True)
class Round(OutputEvent):
    """A round of the demo is over: every running process has published."""

    event: ClassVar[str] = "round"
    number: int
    publishers: int
    delivered: int
    expected: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cell:
    """What one process got from another; processes that were killed do not count in the verdict."""

    publisher: str
    receiver: str
    delivered: int
    expected: int
    duplicates: int
    alive: bool


@dataclass(frozen=True, slots=True)
class Deliveries(OutputEvent):
    """How many messages each process got from each."""

    event: ClassVar[str] = "deliveries"
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Verdict(OutputEvent):
    """Whether every running process got every message that was meant for it, once."""

    event: ClassVar[str] = "verdict"
    complete: bool
    missing: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Failed(OutputEvent):
    """The command failed; `message` says in one line what is wrong and what to do."""

    event: ClassVar[str] = "error"
    message: str
    report: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SwarmKeyShown(OutputEvent):
    """The key of a private network, by its fingerprint; the key itself is never shown."""

    event: ClassVar[str] = "swarm_key"
    fingerprint: str
    """32 hexadecimal digits, as kubo and rust-libp2p compute it."""
    file: str


@dataclass(frozen=True, slots=True)
class PeerLost(OutputEvent):
    """A peer that was asked for with --peer is gone, and is dialed again; `reason` is null for an orderly end."""

    event: ClassVar[str] = "peer_lost"
    peer_id: str
    address: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class PeerBack(OutputEvent):
    """It is back; the peer id is another one if a new peer answers at an address that names none."""

    event: ClassVar[str] = "peer_back"
    peer_id: str
    address: str
    seconds: float
    """For how long it was gone."""
