"""The rows of the matrix, the known limits of the others, and how a pair of peers is put through them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

import trio

from interop.layers import PLAIN, Layers
from interop.peer import CommandFailed, NoAnswer, Peer, Unsupported

KEY_TYPES = ("ed25519", "secp256k1", "ecdsa", "rsa")
ECHO_BYTES = 8 << 20
DIGEST_BYTES = 1 << 20
STREAMS = 100
PINGS = 10
SERVED = frozenset(
    {
        "/ipfs/id/1.0.0",
        "/ipfs/ping/1.0.0",
        "/interop/echo/1.0.0",
        "/interop/digest/1.0.0",
        "/interop/reset/1.0.0",
        "/perf/1.0.0",
    }
)
UNIX = "/unix/"
OTHER_ID = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


class Outcome(StrEnum):
    """How one cell ended."""

    OK = "ok"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"


class Direction(StrEnum):
    """Who dials."""

    THEIRS_DIALS = "theirs dials ours"
    OURS_DIALS = "ours dials theirs"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A peer program: its short name and the command that starts it."""

    name: str
    argv: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the matrix a cell stands."""

    peer: str
    direction: Direction
    key_type: str
    row: str
    layers: Layers = PLAIN


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a foreign implementation cannot do; None stands for all of a kind."""

    peer: str
    reason: str
    key_type: str | None = None
    row: str | None = None
    direction: Direction | None = None
    transport: str | None = None
    security: str | None = None
    muxer: str | None = None
    private: bool | None = None
    steady: bool = True
    """Whether it shows each time and soon; what does not, is not tried."""

    def covers(self, place: Place) -> bool:
        """Return whether the limit is about this cell."""
        return (
            self.peer == place.peer
            and self.key_type in (None, place.key_type)
            and self.row in (None, place.row)
            and self.direction in (None, place.direction)
            and self.transport in (None, place.layers.transport)
            and self.security in (None, place.layers.security)
            and self.muxer in (None, place.layers.muxer)
            and self.private in (None, place.layers.private)
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How one row ended for one peer, direction and key type."""

    place: Place
    outcome: Outcome
    seconds: float
    reason: str = ""


class CheckFailed(Exception):
    """An answer was not what the row asks for; the message says what it was."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Two running peers and who dials; `outsider` is a further dialer, which has the key of another network."""

    ours: Peer
    theirs: Peer
    direction: Direction
    outsider: Peer | None = None

    @property
    def peers(self) -> list[Peer]:
        """All of them, in the order in which they are started."""
        return [self.theirs, self.ours, *([self.outsider] if self.outsider else [])]

    @property
    def dialer(self) -> Peer:
        """The side that connects."""
        return self.theirs if self.direction is Direction.THEIRS_DIALS else self.ours

    @property
    def listener(self) -> Peer:
        """The side that is connected to."""
        return self.ours if self.direction is Direction.THEIRS_DIALS else self.theirs

    def other(self, peer: Peer) -> Peer:
        """The side that is not `peer`."""
        return self.theirs if peer is self.ours else self.ours


def expect(holds: bool, found: str) -> None:
    """Raise CheckFailed that says what was `found`, unless `holds`."""
    if not holds:
        raise CheckFailed(found)


async def connect(session: Session) -> None:
    """The dialer connects and names the listener's peer id."""
    answer = await session.dialer.call("connect", address=session.listener.address)
    found = answer["peer_id"]
    expect(found == session.listener.peer_id, f"connected to {found}, not {session.listener.peer_id}")


async def ours_reads_theirs(session: Session) -> None:
    """Our side has the other's identify."""
    await _identify(session, session.ours)


async def theirs_reads_ours(session: Session) -> None:
    """The other side has our identify."""
    await _identify(session, session.theirs)


async def _identify(session: Session, reader: Peer) -> None:
    told = session.other(reader)
    answer = await reader.call("identify", peer=told.peer_id)
    complaints = list(_complaints(answer, told, reader, reader_dialed=reader is session.dialer))
    expect(not complaints, "; ".join(complaints))


async def ours_verifies_theirs(session: Session) -> None:
    """Our side finds the other's signed peer record valid."""
    await _signed_record(session, session.ours)


async def theirs_verifies_ours(session: Session) -> None:
    """The other side finds our signed peer record valid."""
    await _signed_record(session, session.theirs)


async def _signed_record(session: Session, reader: Peer) -> None:
    told = session.other(reader)
    answer = await reader.call("identify", peer=told.peer_id)
    expect(answer["signed_record"] is not False, f"{reader.name} has no valid signed peer record of {told.name}")


def _complaints(answer: Mapping[str, Any], told: Peer, reader: Peer, *, reader_dialed: bool) -> Iterator[str]:
    # None stands for what an implementation does not expose, of which nothing can be said.
    agent = answer["agent"]
    if agent is not None and told.implementation not in agent:
        yield f"agent {agent!r} does not name {told.implementation}"
    protocols = answer["protocols"]
    if protocols is not None and (missing := SERVED - set(protocols)):
        yield f"protocols lack {', '.join(sorted(missing))}"
    # A path in a file system need not be announced to others.
    listening = {_without_peer(address) for address in told.addresses if not address.startswith(UNIX)}
    addresses = answer["listen_addresses"]
    if addresses is not None and listening and not listening & {_without_peer(address) for address in addresses}:
        yield f"listen addresses {addresses} hold none of {sorted(listening)}"
    observed = answer["observed_address"]
    if observed is not None and not _is_seen(observed, told, reader, reader_dialed=reader_dialed):
        yield f"observed address {observed} is not where {reader.name} is"


def _is_seen(observed: str, told: Peer, reader: Peer, *, reader_dialed: bool) -> bool:
    if observed.startswith(UNIX):  # a dialer has no path of its own, so both are where the listener is
        listener = told if reader_dialed else reader
        return unix_path(observed) in map(unix_path, listener.addresses)
    plain = _without_peer(observed)
    if reader_dialed:  # from a port of the system's choice
        return plain.startswith(("/ip4/127.0.0.1/tcp/", "/ip4/127.0.0.1/udp/"))
    return plain in {_without_peer(address) for address in reader.addresses}


def unix_path(address: str) -> str:
    """Return the path of a unix socket's address, which each implementation writes its own way."""
    path = unquote(_without_peer(address).removeprefix(UNIX))
    return f"/{path.lstrip('/')}"


def _without_peer(address: str) -> str:
    return address.partition("/p2p/")[0].replace("/wss", "/tls/ws")  # which mean the same


async def ping(session: Session) -> None:
    """Ten pings on one stream."""
    answer = await session.dialer.call("ping", peer=session.listener.peer_id, count=PINGS)
    times = answer["rtt_us"]
    expect(len(times) == PINGS and min(times) > 0, f"round trips in µs: {times}")


async def echo(session: Session, size: int = ECHO_BYTES) -> None:
    """8 MiB, or `size` bytes, come back as they went."""
    answer = await session.dialer.call("echo", peer=session.listener.peer_id, bytes=size, chunk=65_536)
    expect(answer["bytes"] == size, f"{answer['bytes']} of {size} bytes came back")
    expect(answer["sha256_sent"] == answer["sha256_received"], "other bytes came back")


async def streams(session: Session) -> None:
    """A hundred streams are open at once and all work."""
    answer = await session.dialer.call("streams", peer=session.listener.peer_id, count=STREAMS, bytes=1024)
    expect(answer["completed"] == STREAMS, f"{answer['completed']} of {STREAMS} streams completed")


async def half_close(session: Session) -> None:
    """The answer still arrives after the dialer's write side is closed."""
    answer = await session.dialer.call("digest", peer=session.listener.peer_id, bytes=DIGEST_BYTES)
    sent, remote = answer["sha256_sent"], answer["sha256_remote"]
    expect(sent == remote, f"sent {sent}, the listener saw {remote or 'nothing'}")


async def reset(session: Session) -> None:
    """A stream that the listener resets looks reset to the dialer."""
    answer = await session.dialer.call("reset", peer=session.listener.peer_id)
    expect(answer["outcome"] == "reset", f"the dialer saw {answer['outcome']}")


async def wrong_peer_id(session: Session) -> None:
    """Who presents another identity than dialed is refused, and the dialer lives on."""
    address = f"{_without_peer(session.listener.address)}/p2p/{OTHER_ID}"
    try:
        answer = await session.dialer.call("connect", address=address)
    except CommandFailed:
        await session.dialer.call("ping", peer=session.listener.peer_id, count=1)
        return
    raise CheckFailed(f"connected to {answer.get('peer_id')}, dialed as {OTHER_ID}")


Check = Callable[[Session], Awaitable[None]]
ROWS: Mapping[str, Check] = {
    "connect": connect,
    "ping 10": ping,  # before what the listener is asked, which may learn of the connection after the dialer
    "identify: ours reads theirs": ours_reads_theirs,
    "identify: theirs reads ours": theirs_reads_ours,
    "signed record: ours verifies theirs": ours_verifies_theirs,
    "signed record: theirs verifies ours": theirs_verifies_ours,
    "echo 8 MiB": echo,
    "100 streams at once": streams,
    "half-close": half_close,
    "reset seen as reset": reset,
    "wrong peer id refused": wrong_peer_id,
}

KNOWN_LIMITS: Sequence[Limit] = (
    Limit(
        peer="rust",
        row="signed record: theirs verifies ours",
        reason="rust-libp2p's identify reads records of its own former domain only, libp2p-routing-state",
    ),
    Limit(peer="js", key_type="ecdsa", reason="js-libp2p makes no peer id from ECDSA keys"),
    Limit(peer="py", key_type="ecdsa", reason="py-libp2p can neither sign nor verify with ECDSA keys"),
    Limit(
        peer="py",
        key_type="rsa",
        row="signed record: ours verifies theirs",
        reason="py-libp2p leaves the required key type out of the record's envelope, since RSA's is 0 (proto3)",
    ),
)


async def run_pair(
    ours: Program,
    theirs: Program,
    key_types: Sequence[str],
    *,
    limits: Sequence[Limit] = KNOWN_LIMITS,
    directions: Sequence[Direction] = tuple(Direction),
) -> tuple[list[Cell], dict[str, str]]:
    """Put a pair through every row, both ways or in some `directions`.

    Returns the cells, and "implementation version" by name.
    """
    cells: list[Cell] = []
    versions: dict[str, str] = {}
    for key_type in key_types:
        for direction in directions:
            places = [Place(peer=theirs.name, direction=direction, key_type=key_type, row=row) for row in ROWS]
            their_peer = Peer(theirs.name, theirs.argv, key_type=key_type)
            our_peer = Peer(ours.name, ours.argv, key_type=key_type)
            session = Session(ours=our_peer, theirs=their_peer, direction=direction)
            cells += await run_session(session, ROWS, places, limits, versions)
    return cells, versions


async def run_session(
    session: Session,
    rows: Mapping[str, Check],
    places: Sequence[Place],
    limits: Sequence[Limit],
    versions: dict[str, str],
) -> list[Cell]:
    """Start the peers and put them through the rows of `places`; adds to `versions`."""
    try:
        async with AsyncExitStack() as running:
            for peer in session.peers:
                await running.enter_async_context(peer)
                versions[peer.name] = f"{peer.implementation} {peer.version}"
            return await _run_rows(session, rows, places, limits)
    except Unsupported as error:
        return [to_cell(place, str(error), 0.0, limits) for place in places]
    except NoAnswer as error:  # not what a limit means: the program did not even start
        return [to_cell(place, str(error), 0.0, ()) for place in places]


async def _run_rows(
    session: Session, rows: Mapping[str, Check], places: Sequence[Place], limits: Sequence[Limit]
) -> list[Cell]:
    cells: list[Cell] = []
    lost = ""
    for place in places:
        if (limit := _limit_on(place, limits)) is not None and not limit.steady:
            cells.append(to_cell(place, limit.reason, 0.0, limits))
            continue
        begun = trio.current_time()
        reason = lost or await _complaint(rows[place.row], session)
        if place.row == "connect" and reason:
            lost = "no connection"
        cells.append(to_cell(place, reason, trio.current_time() - begun, limits))
    return cells


async def _complaint(check: Check, session: Session) -> str:
    try:
        await check(session)
    except (CheckFailed, CommandFailed, NoAnswer) as error:
        return str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"an answer the contract does not know: {error!r}"
    return ""


def to_cell(place: Place, reason: str, seconds: float, limits: Sequence[Limit]) -> Cell:
    """Return the cell of a row that ended with `reason` (empty: well), in the light of the known limits."""
    limit = _limit_on(place, limits)
    outcome = Outcome.FAILED if reason else Outcome.OK
    if limit is not None and reason:
        outcome, reason = Outcome.IMPOSSIBLE, limit.reason
    elif limit is not None:
        outcome, reason = Outcome.FAILED, f"works, so this known limit is out of date: {limit.reason}"
    return Cell(place=place, outcome=outcome, seconds=seconds, reason=reason)


def _limit_on(place: Place, limits: Sequence[Limit]) -> Limit | None:
    return next((limit for limit in limits if limit.covers(place)), None)
