"""What commands tell of the network they are in: its key, and peers that are lost and come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .events import Told


@dataclass(frozen=True, slots=True)
class SwarmKeyShown(Told):
    """The key of a private network, by its fingerprint; the key itself is never shown."""

    event: ClassVar[str] = "swarm_key"
    fingerprint: str
    """32 hexadecimal digits, as kubo and rust-libp2p compute it."""
    file: str


@dataclass(frozen=True, slots=True)
class PeerLost(Told):
    """A peer that was asked for with --peer is gone, and is dialed again; `reason` is null for an orderly end."""

    event: ClassVar[str] = "peer_lost"
    peer_id: str
    address: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class PeerBack(Told):
    """It is back; the peer id is another one if a new peer answers at an address that names none."""

    event: ClassVar[str] = "peer_back"
    peer_id: str
    address: str
    seconds: float
    """For how long it was gone."""
