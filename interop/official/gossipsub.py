"""The gossipsub contract: a node of a simulated network, which obeys a script and says what it receives."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interop.official.script import (
    ID_BYTES,
    LARGEST,
    Connect,
    IfNodeIdEquals,
    InitGossipSub,
    Instruction,
    Publish,
    SetValidationDelay,
    Subscribe,
    WaitUntil,
    load,
)
from interop.official.settings import Unsupported
from peerstack import open_host
from peerstack.protocols.pubsub import (
    GossipConfig,
    JoinedTopic,
    Message,
    Pubsub,
    PubsubConfig,
    PubsubMessage,
    SignaturePolicy,
    ValidationResult,
    open_pubsub,
)
from peerstack.stack.background import open_background
from peerstack.stack.errors import InvalidInput
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity

PORT = 9000
LISTEN = f"/ip4/0.0.0.0/tcp/{PORT}"
VALIDATION_SECONDS = 3600.0
SEED_BYTES = 32
_ED25519_KEY = b"\x08\x01\x12\x40"
"""How the protobuf of an Ed25519 private key begins; seed and public half follow."""
_HOSTNAME = re.compile(r"node(\d{1,9})")

Say = Callable[[Mapping[str, object]], None]
Locate = Callable[[int], Awaitable[str]]
"""Returns the address of a node, with its peer id."""


def run(params: Path) -> None:
    """Do what the script says, as the node that this machine's name tells; the log is written as things happen."""
    begun = perf_counter()
    script = load(params)
    trio.run(_run, node_of(socket.gethostname()), script, begun)


def node_of(hostname: str) -> int:
    """Return the number in a name like `node7`. Raises Unsupported."""
    if (match := _HOSTNAME.match(hostname)) is None:
        raise Unsupported(f"this machine is called {hostname!r}, not node0, node1 ...")
    return int(match[1])


def identity_of(node: int) -> Identity:
    """Return the identity that all programs of the contract derive from a node's number."""
    seed = node.to_bytes(SEED_BYTES, "little")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return Identity.decode(_ED25519_KEY + seed + public)


async def locate(node: int) -> str:
    """Return a node's address by looking its name up. Raises OSError."""
    found = await trio.socket.getaddrinfo(f"node{node}", PORT, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return f"/ip4/{found[0][4][0]}/tcp/{PORT}/p2p/{identity_of(node).peer_id}"


def say(fields: Mapping[str, object]) -> None:
    """Write one line of the log."""
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    sys.stdout.write(json.dumps({"time": time, "level": "INFO", "service": "gossipsub", **fields}) + "\n")
    sys.stdout.flush()


async def _run(number: int, script: Sequence[Instruction], begun: float) -> None:
    started = trio.current_time() - (perf_counter() - begun)
    async with open_host(identity=identity_of(number), listen=[LISTEN]) as host, AsyncExitStack() as stack:
        await Node(number, host, stack, started=started, locate=locate, say=say).run(script)


class Node:
    """One node of the network; what it opens is closed with `stack`."""

    def __init__(
        self, number: int, host: Host, stack: AsyncExitStack, *, started: float, locate: Locate, say: Say
    ) -> None:
        """`started` is the moment, by the clock of trio, from which the script counts its seconds."""
        self._number = number
        self._host = host
        self._stack = stack
        self._started = started
        self._locate = locate
        self._say = say
        self._delays: dict[str, float] = {}
        self._pubsub: Pubsub | None = None

    async def run(self, script: Sequence[Instruction]) -> None:
        """Do all of a script. Raises InvalidInput where initGossipSub is missing, and what dialing raises."""
        self._say({"msg": "PeerID", "id": str(self._host.peer_id), "node_id": self._number})
        reading = await self._stack.enter_async_context(open_background())
        self._stack.callback(reading.cancel_scope.cancel)
        for instruction in script:
            await self._obey(instruction, reading)

    async def _obey(self, instruction: Instruction, reading: trio.Nursery) -> None:
        match instruction:
            case InitGossipSub(config):
                self._pubsub = await self._stack.enter_async_context(open_pubsub(self._host, self._settings(config)))
            case Connect(nodes):
                for node in nodes:
                    await self._host.connect(await self._locate(node))
            case IfNodeIdEquals(node, inner):
                if node == self._number:
                    await self._obey(inner, reading)
            case WaitUntil(seconds):
                await trio.sleep_until(self._started + seconds)
            case Publish(data, topic):
                await self._speaking().publish(topic, data)
            case Subscribe(topic):
                joined = self._speaking().join(topic, validators=[self._validate])
                reading.start_soon(_read, await self._stack.enter_async_context(joined))
            case SetValidationDelay(topic, seconds):
                self._delays[topic] = seconds

    def _speaking(self) -> Pubsub:
        if self._pubsub is None:
            raise InvalidInput("the script comes to gossipsub before initGossipSub")
        return self._pubsub

    def _settings(self, config: GossipConfig) -> PubsubConfig:
        return PubsubConfig(
            signatures=SignaturePolicy.STRICT_NO_SIGN,
            message_id=self._message_id,
            gossip=config,
            score=None,
            pacing=None,
            max_message=LARGEST,
            max_rpc=2 * LARGEST,
            validation_timeout=VALIDATION_SECONDS,
        )

    def _message_id(self, message: Message) -> bytes:
        """Return the first bytes of the data; asked once for every copy that arrives, each of which is to be logged."""
        number = message.data[:ID_BYTES]
        if message.source is not None:
            self._say(
                {
                    "msg": "Received Message",
                    "id": str(int.from_bytes(number, "big")),
                    "from": str(message.source),
                    "topic": message.topic,
                }
            )
        return number

    async def _validate(self, message: PubsubMessage[Any]) -> ValidationResult:
        await trio.sleep(self._delays.get(message.topic, 0.0))
        return ValidationResult.ACCEPT


async def _read(messages: JoinedTopic[bytes]) -> None:
    """Take what arrives, so that nothing waits for us."""
    async for message in messages:
        print(f"received {int.from_bytes(message.id, 'big')}", file=sys.stderr)
