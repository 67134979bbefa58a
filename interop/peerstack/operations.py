"""The commands about one connection, one function each."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from interop.peerstack import addresses
from interop.peerstack.command import Answer, Command
from interop.peerstack.hosts import Identified, Refused, connection_to, open_agreed
from interop.peerstack.layers import Layers
from interop.peerstack.serve import DIGEST, ECHO, RESET
from interop.peerstack.streams import closing, exchange
from peerstack.protocols import perf, ping
from peerstack.stack.abc import Stream
from peerstack.stack.errors import StreamReset
from peerstack.stack.host import Host
from peerstack.stack.identity.identity import KeyTypeName

if TYPE_CHECKING:
    from interop.peerstack.topics import Topics

EARLY_STREAMS = 8


@dataclass(frozen=True, kw_only=True)
class Program:
    """The running peer."""

    host: Host
    key_type: KeyTypeName
    layers: Layers
    identified: Identified
    refused: Refused
    background: trio.Nursery
    """For what a command leaves behind, until the program leaves."""
    topics: Topics | None = None
    """None where the program was started without publish/subscribe."""


Operation = Callable[[Program, Command], Awaitable[Answer]]


async def connect(program: Program, command: Command) -> Answer:
    """Connect to the peer that the address names."""
    address, peer = addresses.read(command.address)
    return {"peer_id": str(await program.host.connect(peer, address))}


async def disconnect(program: Program, command: Command) -> Answer:
    """Close every connection to a peer."""
    await program.host.disconnect(command.peer_id)
    return {}


async def identify(program: Program, command: Command) -> Answer:
    """Say what a peer said of itself."""
    said = await program.identified.wait(connection_to(program.host, command.peer_id))
    return {
        "agent": said.agent,
        "protocol_version": said.protocol_version,
        "protocols": said.protocols,
        "listen_addresses": [str(address) for address in said.addresses],
        "observed_address": None if said.observed_address is None else str(said.observed_address),
        "signed_record": said.signed,
    }


async def refusals(program: Program, command: Command) -> Answer:
    """Return why inbound connections were refused or failed."""
    return {"reasons": program.refused.reasons}


async def ping_often(program: Program, command: Command) -> Answer:
    """Ping on one stream."""
    async with ping.pings(program.host, command.peer_id) as times:
        return {"rtt_us": [await anext(times) * 1e6 for _ in range(command.count)]}


async def echo(program: Program, command: Command) -> Answer:
    """Send random bytes and receive them back meanwhile."""
    payload = os.urandom(command.bytes)
    async with closing(await program.host.open_stream(command.peer_id, ECHO)) as stream:
        begun = perf_counter()
        received = await exchange(stream, payload, command.chunk)
        seconds = perf_counter() - begun
    return {
        "bytes": sum(map(len, received)),
        "sha256_sent": sha256([payload]),
        "sha256_received": sha256(received),
        "seconds": seconds,
    }


async def streams(program: Program, command: Command) -> Answer:
    """Keep many echo streams open together, then use and close each."""
    connection = connection_to(program.host, command.peer_id)
    opened: list[Stream] = []
    early = trio.CapacityLimiter(EARLY_STREAMS)
    right: list[bool] = []

    async def open_one() -> None:
        async with early:
            opened.append(await open_agreed(program.host, connection, ECHO))

    async def use(stream: Stream) -> None:
        payload = os.urandom(command.bytes)
        async with closing(stream):
            right.append(b"".join(await exchange(stream, payload, command.chunk)) == payload)

    async with trio.open_nursery() as nursery:
        for _ in range(command.count):
            nursery.start_soon(open_one)
    async with trio.open_nursery() as nursery:
        for stream in opened:
            nursery.start_soon(use, stream)
    return {"completed": sum(right)}


async def digest(program: Program, command: Command) -> Answer:
    """Send, half-close, then receive the peer's digest of it."""
    payload = os.urandom(command.bytes)
    async with closing(await program.host.open_stream(command.peer_id, DIGEST)) as stream:
        answer = b"".join(await exchange(stream, payload, command.chunk))
    return {"sha256_sent": sha256([payload]), "sha256_remote": answer.hex()}


async def reset(program: Program, command: Command) -> Answer:
    """Say how the end of a stream that the peer resets looks."""
    async with closing(await program.host.open_stream(command.peer_id, RESET)) as stream:
        await stream.send_all(b"x")
        try:
            return {"outcome": "data" if await stream.receive_some() else "eof"}
        except StreamReset:
            return {"outcome": "reset"}


async def measure(program: Program, command: Command) -> Answer:
    """Time one perf exchange."""
    block = memoryview(bytes(command.chunk))
    async with closing(await program.host.open_stream(command.peer_id, perf.PROTOCOL)) as stream:
        begun = perf_counter()
        await stream.send_all(struct.pack(">Q", command.download))
        for _ in range(command.upload // command.chunk):
            await stream.send_all(block)
        if rest := command.upload % command.chunk:
            await stream.send_all(block[:rest])
        await stream.send_eof()
        received = len(data := await stream.receive_some())
        turned = perf_counter()
        while data:
            data = await stream.receive_some()
            received += len(data)
        ended = perf_counter()
    if received != command.download:
        raise EOFError(f"{received} of {command.download} bytes arrived")
    return {"upload_seconds": turned - begun, "download_seconds": ended - turned}


def sha256(chunks: Iterable[bytes | bytearray]) -> str:
    """Return the digest of all chunks in hex."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


OPERATIONS: Mapping[str, Operation] = {
    "connect": connect,
    "disconnect": disconnect,
    "identify": identify,
    "refusals": refusals,
    "ping": ping_often,
    "echo": echo,
    "streams": streams,
    "digest": digest,
    "reset": reset,
    "perf": measure,
}
