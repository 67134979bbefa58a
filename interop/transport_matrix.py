"""Puts pairs of peers through the rows over every transport, security protocol and muxer."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import trio

from interop.layers import Certificates, Layers, all_layers, write_network_key
from interop.matrix import (
    KNOWN_LIMITS,
    Cell,
    Check,
    Direction,
    Limit,
    Place,
    Program,
    Session,
    connect,
    echo,
    half_close,
    ours_reads_theirs,
    ping,
    reset,
    run_session,
    streams,
    theirs_reads_ours,
    wrong_peer_id,
)
from interop.network_rows import OTHER_KEY, other_key_refused
from interop.peer import Peer

KEY_TYPE = "ed25519"
PAIRS_AT_ONCE = 2
SLOW = frozenset({"py", "peerstack"})
"""Who gets less to echo: py-libp2p moves a few MiB a second, and our program beside itself is for the tests."""
COMBINATIONS: Sequence[Layers] = all_layers()

ROWS: Mapping[str, Check] = {
    "connect": connect,
    "ping 10": ping,
    "identify: ours reads theirs": ours_reads_theirs,
    "identify: theirs reads ours": theirs_reads_ours,
    "echo 8 MiB": echo,
    "echo 2 MiB": partial(echo, size=2 << 20),
    "100 streams at once": streams,
    "half-close": half_close,
    "reset seen as reset": reset,
    "wrong peer id refused": wrong_peer_id,
    OTHER_KEY: other_key_refused,
}

QUIC = "quic-v1"
TRANSPORT_LIMITS: Sequence[Limit] = (
    Limit(peer="go", muxer="mplex", reason="go-libp2p has no mplex any more"),
    Limit(peer="go", transport="unix", reason="go-libp2p has no transport for unix sockets"),
    Limit(peer="py", transport="unix", reason="py-libp2p has no transport for unix sockets"),
    Limit(
        peer="py",
        private=True,
        reason="py-libp2p's private networks are its own: a nonce of 8 bytes and Salsa20, not 24 bytes and XSalsa20",
    ),
    Limit(
        peer="js",
        transport=QUIC,
        row="reset seen as reset",
        direction=Direction.THEIRS_DIALS,
        reason="js-libp2p's QUIC shows the reset of a stream to the application as its end",
    ),
    Limit(
        peer="rust",
        transport=QUIC,
        row="reset seen as reset",
        direction=Direction.OURS_DIALS,
        reason="rust-libp2p's QUIC finishes a stream that is dropped, and has no other way to reset it",
    ),
    Limit(
        peer="rust",
        muxer="mplex",
        row="reset seen as reset",
        direction=Direction.OURS_DIALS,
        steady=False,  # it would take all the patience there is
        reason="rust-libp2p leaves mplex's reset of a dropped stream unsent until something else wakes the connection",
    ),
    Limit(
        peer="rust",
        transport=QUIC,
        row="ping 10",
        direction=Direction.OURS_DIALS,
        steady=False,  # it would take all the patience there is
        reason="rust-libp2p answers the first ping of a QUIC stream only; it does not wait for what comes after it",
    ),
    *(
        Limit(peer="py", muxer="mplex", row=row, direction=Direction.THEIRS_DIALS, steady=False, reason=reason)
        for row, reason in (
            ("echo 2 MiB", "py-libp2p's mplex cannot write a stream while it waits to read it: both stand still"),
            ("reset seen as reset", "py-libp2p's mplex ends a stream before it notes that it was reset"),
        )
    ),
    Limit(
        peer="py",
        transport=QUIC,
        row="identify: ours reads theirs",
        direction=Direction.THEIRS_DIALS,
        reason="py-libp2p says of a QUIC connection that it observed a TCP address",
    ),
    *(
        Limit(peer="py", transport=QUIC, row=row, steady=False, reason=reason)
        for reason, rows in (
            ("py-libp2p can often not read a QUIC stream after closing its write side", ("100 streams at once",)),
            ("py-libp2p drops what a QUIC stream brings faster than it is read", ("echo 2 MiB", "half-close")),
        )
        for row in rows
    ),
)


def rows_for(peer: str, layers: Layers) -> list[str]:
    """Return the names of the rows that a peer is put through over `layers`."""
    left_out = {"echo 8 MiB" if peer in SLOW else "echo 2 MiB"}
    if not layers.private:
        left_out.add(OTHER_KEY)
    return [row for row in ROWS if row not in left_out]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The files that peers are given."""

    folder: Path
    certificates: Certificates
    network: Path
    """Key of the private network."""
    other_network: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Write fresh ones into `folder`."""
        return cls(
            folder=folder,
            certificates=Certificates.make(folder),
            network=write_network_key(folder / "swarm.key"),
            other_network=write_network_key(folder / "other.key"),
        )

    def session(self, ours: Program, theirs: Program, direction: Direction, layers: Layers) -> Session:
        """Return the peers that are to be started, with an outsider for a private network."""
        dialer = theirs if direction is Direction.THEIRS_DIALS else ours
        return Session(
            ours=self._peer(ours, layers, self.network),
            theirs=self._peer(theirs, layers, self.network),
            direction=direction,
            outsider=self._peer(dialer, layers, self.other_network) if layers.private else None,
        )

    def _peer(self, program: Program, layers: Layers, network: Path) -> Peer:
        listen, options = layers.listen(self.folder), layers.options(self.certificates, network)
        return Peer(program.name, program.argv, key_type=KEY_TYPE, listen=listen, options=options)


async def run_transports(
    ours: Program,
    programs: Sequence[Program],
    *,
    combinations: Sequence[Layers] = COMBINATIONS,
    limits: Sequence[Limit] = (*KNOWN_LIMITS, *TRANSPORT_LIMITS),
    directions: Sequence[Direction] = tuple(Direction),
) -> tuple[list[Cell], dict[str, str]]:
    """Put ours and each of the others through every row over all `combinations`, both ways, or in some `directions`.

    Returns the cells in order, and "implementation version" by name.
    """
    jobs = [(theirs, direction, layers) for theirs in programs for direction in directions for layers in combinations]
    found: dict[int, list[Cell]] = {}
    versions: dict[str, str] = {}
    seats = trio.CapacityLimiter(PAIRS_AT_ONCE)

    async def work(number: int, theirs: Program, direction: Direction, layers: Layers) -> None:
        async with seats:
            places = [
                Place(peer=theirs.name, direction=direction, key_type=KEY_TYPE, row=row, layers=layers)
                for row in rows_for(theirs.name, layers)
            ]
            session = stage.session(ours, theirs, direction, layers)
            found[number] = await run_session(session, ROWS, places, limits, versions)

    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        stage = Stage.make(Path(folder))
        async with trio.open_nursery() as nursery:
            for number, job in enumerate(jobs):
                nursery.start_soon(work, number, *job)
    return [cell for number in sorted(found) for cell in found[number]], versions
