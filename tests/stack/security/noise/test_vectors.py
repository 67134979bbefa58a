"""Noise handshakes that other implementations wrote, byte for byte, transport messages too."""

import json
from pathlib import Path
from typing import Any

import pytest

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.security.noise import Handshake
from peerstack.stack.security.noise.wire import NONCE

from .parties import static_key

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/noise.json").read_text())
HANDSHAKES = [pytest.param(vector, id=vector["name"]) for vector in VECTORS["handshakes"]]


def sides(vector: dict[str, Any]) -> tuple[Handshake, Handshake]:
    alice, bob = (
        Handshake(
            initiator=role == "initiator",
            static=static_key(vector[f"{role}_static"]),
            prologue=bytes.fromhex(vector["prologue"]),
            dangerous_fixed_ephemeral=static_key(vector[f"{role}_ephemeral"]),
        )
        for role in ("initiator", "responder")
    )
    return alice, bob


def messages(vector: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(bytes.fromhex(entry["payload"]), bytes.fromhex(entry["message"])) for entry in vector["messages"]]


@pytest.mark.parametrize("vector", HANDSHAKES)
def test_every_byte_of_the_handshake_and_of_the_session(vector: dict[str, Any]) -> None:
    alice, bob = sides(vector)
    script = messages(vector)
    for turn, (payload, message) in enumerate(script[:3]):
        writer, reader = (alice, bob) if turn % 2 == 0 else (bob, alice)
        assert writer.write(payload) == message
        assert reader.read(message) == payload
    assert alice.complete
    assert bob.complete
    assert alice.remote_static == static_key(vector["responder_static"]).public
    assert bob.remote_static == static_key(vector["initiator_static"]).public
    sessions = alice.finish(), bob.finish()
    counters = [0, 0]
    for turn, (payload, message) in enumerate(script[3:], start=3):
        role = turn % 2
        writing, reading = sessions[role], sessions[1 - role]
        nonce = NONCE.pack(counters[role])
        counters[role] += 1
        assert writing.send.encrypt(nonce, payload, None) == message
        assert reading.receive.decrypt(nonce, message, None) == payload


@pytest.mark.parametrize("vector", HANDSHAKES)
def test_another_prologue_is_another_handshake(vector: dict[str, Any]) -> None:
    alice, _ = sides(vector)
    _, bob = sides(vector | {"prologue": vector["prologue"] + "00"})
    bob.read(alice.write(b""))
    with pytest.raises(RemoteProtocolError, match="message 2 does not decrypt"):
        alice.read(bob.write(b""))
