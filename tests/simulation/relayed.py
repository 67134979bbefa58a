"""A transport made of streams over another connection, with limits: what a relay is to the rest of the stack.

A stream to the relay names the peer; the relay opens a stream to that peer, names the dialer, and passes bytes on until
its limits are reached. What runs on these streams is secured and muxed by the upgrader of the host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import (
    DEFAULT_DIAL,
    ConnectionLimits,
    DialOptions,
    Incoming,
    Listener,
    MuxedConnection,
    RawConnection,
    Stream,
)
from peerstack.stack.addressing import is_relayed, parse_address, split_peer
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId
from peerstack.stack.report import Attempt, StageName

TO_RELAY, FROM_RELAY = "/relay-double/dial/1", "/relay-double/arrive/1"
LIMITS = ConnectionLimits(seconds=60, data=1 << 16)
OK = b"+"


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    """Read this many bytes and no more: what follows is for who reads next."""
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise ConnectionLost("the relay hung up")
        data += more
    return data


async def send_peer(stream: trio.abc.SendStream, peer: PeerId) -> None:
    await stream.send_all(bytes([len(peer.to_bytes())]) + peer.to_bytes())


async def receive_peer(stream: trio.abc.ReceiveStream) -> PeerId:
    (size,) = await receive_exactly(stream, 1)
    return PeerId.from_bytes(await receive_exactly(stream, size))


class Relay:
    """Passes the bytes of others on, within its limits."""

    def __init__(self, host: Host, limits: ConnectionLimits = LIMITS, *, delay: float = 0) -> None:
        self.limits = limits
        self.open_circuits = 0
        self._host = host
        self._delay = delay
        host.handle(TO_RELAY, self._forward)

    async def _forward(self, near: Stream) -> None:
        peer = await receive_peer(near)
        await trio.sleep(self._delay)
        async with await self._host.open_stream(peer, FROM_RELAY) as far:
            await send_peer(far, near.remote_peer)
            await near.send_all(OK)
            self.open_circuits += 1
            try:
                with trio.move_on_after(self.limits.seconds or float("inf")):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._pass_on, near, far, nursery.cancel_scope)
                        nursery.start_soon(self._pass_on, far, near, nursery.cancel_scope)
            finally:
                self.open_circuits -= 1

    async def _pass_on(self, source: Stream, sink: Stream, over: trio.CancelScope) -> None:
        left = self.limits.data or 1 << 60
        try:
            while left > 0 and (data := await source.receive_some(left)):
                left -= len(data)
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        over.cancel()


class Circuit(trio.abc.Stream):
    """A stream through a relay, that says when it is closed: its handler waits for that."""

    def __init__(self, stream: Stream) -> None:
        self.closed = trio.Event()
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.closed.set()
        await self._stream.aclose()


class CircuitListener(Listener):
    """Where circuits through one relay arrive."""

    def __init__(self, host: Host, address: Multiaddr, relay: PeerId, limits: ConnectionLimits | None) -> None:
        self.addresses = (address,)
        self._host = host
        self._relay = relay
        self._limits = limits
        self._arrive, self._arrivals = trio.open_memory_channel[RawConnection](8)
        host.handle(FROM_RELAY, self._arrived)

    async def _arrived(self, stream: Stream) -> None:
        await receive_peer(stream)
        circuit = Circuit(stream)
        origin = parse_address(f"/p2p/{self._relay}/p2p-circuit")
        raw = RawConnection(circuit, self.address, origin, relay=self._relay, limits=self._limits)
        await self._arrive.send(raw)
        await circuit.closed.wait()

    async def accept(self) -> Incoming:
        raw = await self._arrivals.receive()
        incoming = self._host.upgrader.incoming(raw)
        assert incoming.relay == self._relay
        return incoming

    async def aclose(self) -> None:
        self._host.unhandle(FROM_RELAY)
        self._arrivals.close()
        await trio.lowlevel.checkpoint()


class RelayedTransport:
    """A `Transport` of circuits: it knows the host's upgrader, and the host knows nothing of relays."""

    def __init__(self, host: Host, limits: ConnectionLimits | None = LIMITS) -> None:
        self._host = host
        self._limits = limits

    def can_dial(self, address: Multiaddr) -> bool:
        return is_relayed(address)

    def can_listen(self, address: Multiaddr) -> bool:
        return is_relayed(address)

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> MuxedConnection:
        assert peer is not None
        where, relay = _relay_of(address)
        with attempt.stage(StageName.CONNECT):
            stream = await self._host.open_stream(where, TO_RELAY)
            await send_peer(stream, peer)
            await receive_exactly(stream, len(OK))
        here = parse_address(f"/p2p/{relay}/p2p-circuit")
        raw = RawConnection(Circuit(stream), here, address, relay=relay, limits=self._limits)
        return await self._host.upgrader.upgrade(raw, options.direction, peer, attempt)

    async def listen(self, address: Multiaddr) -> Listener:
        where, relay = _relay_of(address)
        await self._host.connect(where)
        return CircuitListener(self._host, address, relay, self._limits)


def _relay_of(address: Multiaddr) -> tuple[Multiaddr, PeerId]:
    """Return the address of the relay, with and as its id."""
    where = parse_address(str(address).partition("/p2p-circuit")[0])
    relay = split_peer(where)[1]
    assert relay is not None
    return where, relay


@asynccontextmanager
async def open_relayed(host: Host, limits: ConnectionLimits | None = LIMITS) -> AsyncIterator[RelayedTransport]:
    """Let a host dial and listen through relays until the block is left."""
    transport = RelayedTransport(host, limits)
    host.swarm.add_transport(transport)
    try:
        yield transport
    finally:
        host.swarm.remove_transport(transport)
