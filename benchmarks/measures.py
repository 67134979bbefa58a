"""What is measured, in groups, and who takes part."""

from collections.abc import Sequence
from dataclasses import dataclass

OURS = "peerstack"
SMALL = "peerstack-1350"
SMALL_DATAGRAM = 1350
"""Bytes; what ours sends where it is not loopback."""
RAW = "raw"
SEALED = "sealed"
CEILINGS = (RAW, SEALED)
FOREIGN = ("go", "rust", "js", "py")
PACED = "py-paced"
BARE = "bare"
TRIO = "trio"
FOUR = "four"
LABELS = {
    OURS: "peerstack",
    SMALL: f"peerstack, {SMALL_DATAGRAM} B datagrams",
    "go": "go-libp2p",
    "rust": "rust-libp2p",
    "js": "js-libp2p",
    "py": "py-libp2p",
    PACED: "py-libp2p, 4 ms apart",
    RAW: "trio TCP, plain",
    SEALED: "trio TCP, encrypted frames",
    BARE: "bare interpreter",
    TRIO: "trio alone",
    FOUR: "the four dependencies alone",
}
"""Names of those who take part, in the order in which tables and bars show them."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """Measures that are taken together."""

    key: str
    title: str
    how: str
    """How they are taken, a sentence or two for the document."""
    measures: Sequence[Measure]
    entrants: Sequence[str]
    """Who can take part."""
    turns: int = 1
    """How many turns each entrant takes in each round; more for the short and noisy measures."""
    rounds: int | None = None
    """In how many rounds at most it is taken, where that takes long or another could only find the same."""


def _throughput(key: str, title: str, how: str, *further: str) -> Group:
    return Group(
        key=key,
        title=title,
        how=how,
        measures=(
            Measure(key=f"{key}_download", title="download", unit="MiB/s", more_is_better=True),
            Measure(key=f"{key}_upload", title="upload", unit="MiB/s", more_is_better=True),
        ),
        entrants=(OURS, *further, *FOREIGN),
        rounds=3,
    )


GROUPS = (
    Group(
        key="throughput",
        title="Throughput of one stream",
        how="One stream, {megabytes} MiB in writes of 256 KiB over the perf protocol, each way after an eighth of that "
        "as a warm-up; who would take more than {patience:g} seconds moves less. The clock of the dialer.",
        measures=(
            Measure(key="download", title="download", unit="MiB/s", more_is_better=True),
            Measure(key="upload", title="upload", unit="MiB/s", more_is_better=True),
        ),
        entrants=(OURS, *FOREIGN, *CEILINGS),
        turns=2,
    ),
    _throughput("tls", "Throughput over TLS", "The same over TCP, TLS 1.3 and yamux, with half of the bytes."),
    _throughput("ws", "Throughput over WebSocket", "The same over WebSocket, Noise and yamux, with half of the bytes."),
    _throughput(
        "wss",
        "Throughput over secure WebSocket",
        "The same over TLS, WebSocket, Noise and yamux, with half of the bytes.",
    ),
    _throughput(
        "quic",
        "Throughput over QUIC",
        "The same over QUIC version 1, with an eighth of the bytes. Ours sends datagrams of 16 000 bytes on loopback "
        f"to peers that take them, and of {SMALL_DATAGRAM} elsewhere; its second line is with those. The others send "
        "at most 1500 everywhere.",
        SMALL,
    ),
    Group(
        key="ping",
        title="Round trip",
        how="The median of {pings} pings of 32 bytes on one stream, after a tenth of that as a warm-up.",
        measures=(Measure(key="ping", title="ping", unit="µs"),),
        entrants=(OURS, *FOREIGN, RAW),
        turns=3,
    ),
    Group(
        key="dials",
        title="Dials",
        how="TCP connect, Noise, yamux, one ping, close: {dials} one after another, then {dials_at_once_count} by 50 "
        "hosts side by side. Who would take more than {patience:g} seconds for either does fewer. Plain TCP does the "
        "same without Noise and yamux.",
        measures=(
            Measure(key="dials", title="one after another", unit="/s", more_is_better=True),
            Measure(key="dials50", title="50 at once", unit="/s", more_is_better=True),
        ),
        entrants=(OURS, *FOREIGN, RAW),
    ),
    Group(
        key="streams",
        title="Streams",
        how="Open a stream, send 32 bytes, half-close, read them back and the end: {streams} one after another, then "
        "{streams_at_once_count}, 100 at a time, all on one connection. Who would take more than {patience:g} seconds "
        "for either opens fewer.",
        measures=(
            Measure(key="streams", title="one after another", unit="/s", more_is_better=True),
            Measure(key="streams100", title="100 at once", unit="/s", more_is_better=True),
        ),
        entrants=(OURS, *FOREIGN),
    ),
    Group(
        key="memory",
        title="Memory of an idle connection",
        how="What {idle} idle connections, each from another host, add to the listening process, divided by their "
        "number: resident set (RSS) and proportional set (PSS), {settle:g} s after the last dial, against the "
        "same process with 8 connections. The dialing process holds a whole host for each connection.",
        measures=(
            Measure(key="listener_rss", title="listener, RSS", unit="KiB"),
            Measure(key="listener_pss", title="listener, PSS", unit="KiB"),
            Measure(key="dialer_rss", title="dialer with its host, RSS", unit="KiB"),
        ),
        entrants=(OURS, *FOREIGN),
        rounds=2,
    ),
    Group(
        key="pubsub",
        title="Publish/subscribe between two peers",
        how="Messages signed with Ed25519 and verified, published as fast as they are taken: as many as take about "
        "{message_patience:g} s, but at least {fewest_messages}, after a quarter of that as a warm-up. Messages a "
        "second from the first publish to the last delivery; user and system time of both processes for each message "
        "delivered; and what was never delivered. py-libp2p publishes in a burst like the others, and once more with "
        "4 ms between messages.",
        measures=(
            Measure(key="rate64b_2", title="64 B", unit="/s", more_is_better=True),
            Measure(key="rate1k_2", title="1 KiB", unit="/s", more_is_better=True),
            Measure(key="rate64k_2", title="64 KiB", unit="/s", more_is_better=True),
            Measure(key="cost64b_2", title="64 B, processor", unit="µs"),
            Measure(key="cost1k_2", title="1 KiB, processor", unit="µs"),
            Measure(key="cost64k_2", title="64 KiB, processor", unit="µs"),
            Measure(key="lost_2", title="lost", unit="%"),
        ),
        entrants=(OURS, *FOREIGN, PACED),
        rounds=3,
    ),
    Group(
        key="pubsub10",
        title="Publish/subscribe through ten peers",
        how="The same in ten processes, each connected with six others; one publishes, and all others must get "
        "everything. Messages a second that all have got, and the time of all ten processes for each delivery.",
        measures=(
            Measure(key="rate64b_10", title="64 B", unit="/s", more_is_better=True),
            Measure(key="rate1k_10", title="1 KiB", unit="/s", more_is_better=True),
            Measure(key="rate64k_10", title="64 KiB", unit="/s", more_is_better=True),
            Measure(key="cost64b_10", title="64 B, processor", unit="µs"),
            Measure(key="cost1k_10", title="1 KiB, processor", unit="µs"),
            Measure(key="cost64k_10", title="64 KiB, processor", unit="µs"),
            Measure(key="lost_10", title="lost", unit="%"),
        ),
        entrants=(OURS, *FOREIGN),
        rounds=1,
    ),
    Group(
        key="burst",
        title="A burst between two peers",
        how="{burst} messages of 1 KiB, signed and verified, as fast as they are taken, and the resident sets at "
        "their largest. The queues are as large as the peer contract asks, which is more than the defaults.",
        measures=(
            Measure(key="burst_rate_2", title="delivered", unit="/s", more_is_better=True),
            Measure(key="burst_lost_2", title="lost", unit=""),
            Measure(key="burst_publisher_2", title="publisher, peak", unit="MiB"),
            Measure(key="burst_receiver_2", title="largest receiver, peak", unit="MiB"),
        ),
        entrants=(OURS,),
        rounds=1,
    ),
    Group(
        key="burst10",
        title="A burst through ten peers",
        how="The same through ten peers, connected as above.",
        measures=(
            Measure(key="burst_rate_10", title="delivered", unit="/s", more_is_better=True),
            Measure(key="burst_lost_10", title="lost", unit=""),
            Measure(key="burst_publisher_10", title="publisher, peak", unit="MiB"),
            Measure(key="burst_receiver_10", title="largest receiver, peak", unit="MiB"),
        ),
        entrants=(OURS,),
        rounds=1,
    ),
    Group(
        key="import",
        title="Import time",
        how="Fresh interpreters, from start to exit; each sample is the median of {starts}, less that of an "
        "interpreter of the same environment that imports nothing, right before.",
        measures=(
            Measure(key="import", title="above the bare interpreter", unit="ms"),
            Measure(key="start", title="whole process", unit="ms"),
        ),
        entrants=(OURS, "py", TRIO, BARE),
    ),
    Group(
        key="size",
        title="Installed size",
        how="The wheel, built and installed by pip into a fresh environment; everything else that this brings, and the "
        "size of all files, compiled ones included. py-libp2p as its peer here is installed.",
        measures=(
            Measure(key="packages", title="third-party packages", unit=""),
            Measure(key="beyond", title="not brought by the four", unit=""),
            Measure(key="size", title="size", unit="MB"),
        ),
        entrants=(OURS, "py", FOUR),
        rounds=1,
    ),
)
MEASURES = {measure.key: measure for group in GROUPS for measure in group.measures}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much work one sample is."""

    bytes: int = 256 << 20
    chunk: int = 256 << 10
    pings: int = 1000
    dials: int = 200
    dials_at_once: int = 50
    dials_at_once_count: int = 400
    streams: int = 1000
    streams_at_once: int = 100
    streams_at_once_count: int = 2000
    idle: int = 500
    warm_up_idle: int = 8
    settle: float = 2.0
    """Seconds between the last idle connection and the look at the memory."""
    patience: float = 2.5
    """Seconds of one transfer, of dials or of streams; who would need more does less."""
    messages: int = 20_000
    """Messages published for one sample, at most."""
    fewest_messages: int = 20
    message_patience: float = 1.0
    """Seconds of publishing; who would need more for all messages publishes fewer."""
    burst: int = 100_000
    starts: int = 3
    """Interpreters started for one sample of the import time."""

    @property
    def megabytes(self) -> int:
        """The bytes of one transfer in MiB."""
        return self.bytes >> 20


QUICK = Sizes(
    bytes=32 << 20,
    pings=100,
    dials=20,
    dials_at_once_count=100,
    streams=100,
    streams_at_once_count=200,
    idle=50,
    settle=0.5,
    patience=0.5,
    messages=1000,
    fewest_messages=10,
    message_patience=0.3,
    burst=5000,
    starts=1,
)
