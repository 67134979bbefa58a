"""Whole libp2p handshakes with fixed keys: every byte on the wire stays what it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from peerstack.stack.identity import Identity
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.noise import Handshake, Noise, StaticKey
from peerstack.stack.security.noise import noise as driver

from .parties import static_key

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/noise_libp2p.json").read_text())
TRANSCRIPTS = [pytest.param(vector, id=vector["name"]) for vector in VECTORS["transcripts"]]


async def transcript(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Run the handshake of a vector, exchange its messages, and return what went over the wire in each direction."""
    ephemeral = {True: static_key(vector["dialer"]["ephemeral"]), False: static_key(vector["listener"]["ephemeral"])}

    def fixed(*, initiator: bool, static: StaticKey, prologue: bytes) -> Handshake:
        return Handshake(
            initiator=initiator, static=static, prologue=prologue, dangerous_fixed_ephemeral=ephemeral[initiator]
        )

    monkeypatch.setattr(driver, "Handshake", fixed)
    ends = {"dialer": memory_pipe_pair(), "listener": memory_pipe_pair()}
    wire = {"dialer": b"", "listener": b""}

    async def relay(role: str, source: MemoryPipe, sink: MemoryPipe) -> None:
        async for data in source:
            wire[role] += data
            await sink.send_all(data)

    async def side(role: str, other: str) -> None:
        noise = Noise(
            Identity.decode(bytes.fromhex(vector[role]["identity"])), static=static_key(vector[role]["static"])
        )
        secured = await noise.secure(
            ends[role][0], initiator=role == "dialer", expect=None, muxers=vector[role]["muxers"]
        )
        assert secured.muxer == vector["muxer"]
        assert secured.remote_peer == Identity.decode(bytes.fromhex(vector[other]["identity"])).peer_id
        await secured.channel.send_all(vector[role]["says"].encode())
        assert await secured.channel.receive_some() == vector[other]["says"].encode()

    async with trio.open_nursery() as relays:
        relays.start_soon(relay, "dialer", ends["dialer"][1], ends["listener"][1])
        relays.start_soon(relay, "listener", ends["listener"][1], ends["dialer"][1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side, "dialer", "listener")
            nursery.start_soon(side, "listener", "dialer")
        relays.cancel_scope.cancel()
    return {role: sent.hex() for role, sent in wire.items()}


@pytest.mark.parametrize("vector", TRANSCRIPTS)
async def test_every_byte_on_the_wire(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert await transcript(vector, monkeypatch) == {role: vector[role]["wire"] for role in ("dialer", "listener")}


@pytest.mark.parametrize("vector", TRANSCRIPTS)
def test_the_transcript_has_the_sizes_of_the_spec(vector: dict[str, Any]) -> None:
    dialer, listener = (bytes.fromhex(vector[role]["wire"]) for role in ("dialer", "listener"))
    assert dialer[:2] == b"\0\x20"
    assert dialer[2:34] == static_key(vector["dialer"]["ephemeral"]).public
    assert listener[2:34] == static_key(vector["listener"]["ephemeral"]).public
    third = int.from_bytes(dialer[34:36], "big")
    assert len(dialer) == 36 + third + 2 + len(vector["dialer"]["says"]) + 16
    second = int.from_bytes(listener[:2], "big")
    assert len(listener) == 2 + second + 2 + len(vector["listener"]["says"]) + 16
