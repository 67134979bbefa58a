"""What stands for TCP under a WebSocket in tests: streams in memory, behind TCP addresses."""

from __future__ import annotations

from dataclasses import replace

from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, RawConnection, StreamListener, StreamTransport
from peerstack.stack.addressing import components, parse_address, tcp_address, tcp_endpoint
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.websocket import WebSocketPipe


def as_memory(address: Multiaddr) -> Multiaddr:
    endpoint = tcp_endpoint(address)
    assert endpoint is not None
    return parse_address(f"/memory/{endpoint.port}")


def as_tcp(address: Multiaddr) -> Multiaddr:
    ((_, number),) = components(address)
    return tcp_address("127.0.0.1", int(number or 0) % 65536)


def _dressed(raw: RawConnection) -> RawConnection:
    return replace(raw, local_address=as_tcp(raw.local_address), remote_address=as_tcp(raw.remote_address))


class LikeTcp:
    """A transport for `/memory/N` whose addresses look like TCP's."""

    def __init__(self, inner: StreamTransport) -> None:
        self._inner = inner

    def can_dial(self, address: Multiaddr) -> bool:
        return tcp_endpoint(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        return tcp_endpoint(address) is not None

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        return _dressed(await self._inner.dial(as_memory(address), options))

    async def listen(self, address: Multiaddr) -> StreamListener:
        return LikeTcpListener(await self._inner.listen(as_memory(address)))


class LikeTcpListener(StreamListener):
    def __init__(self, inner: StreamListener) -> None:
        self._inner = inner
        self.addresses = (as_tcp(inner.address),)

    async def accept(self) -> RawConnection:
        return _dressed(await self._inner.accept())

    async def aclose(self) -> None:
        await self._inner.aclose()


class MemoryTcp(LikeTcp):
    """The memory transport, with such addresses."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(MemoryTransport(network))


def websocket_pair(capacity: int = 64 * 1024) -> tuple[WebSocketPipe, WebSocketPipe]:
    """Return a client and a server, after the handshake."""
    near, far = memory_pipe_pair(capacity)
    return WebSocketPipe(near, client=True), WebSocketPipe(far, client=False)


def half_websocket(*, client: bool, capacity: int = 64 * 1024) -> tuple[WebSocketPipe, MemoryPipe]:
    """Return one end after the handshake, and the raw bytes that the other end sees."""
    near, far = memory_pipe_pair(capacity)
    return WebSocketPipe(near, client=client), far
