"""QUIC: dials and listens on `/ip4|ip6/ADDRESS/udp/PORT/quic-v1`, all over as few sockets as can be."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, Direction
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.limits import GrowsWindows, WindowBudget
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.net.shared import SharedNetwork
from peerstack.stack.net.udp import DatagramNetwork
from peerstack.stack.report import Attempt, Stage, StageName
from peerstack.stack.security.tls.certificate import make_certificate

from .address import socket_address
from .certificates import CertificateVerifier
from .config import MIB, QuicConfig
from .connection import QuicConnection
from .endpoint import Endpoint
from .engines import find_engine
from .interface import EngineFactory, EngineSettings
from .listener import QuicListener
from .punch import open_punch
from .tokens import reset_key

GROWTH_BUDGET = 256 * MIB
"""Bytes by which the receive windows of all connections together may grow, where neither a host nor a user says it."""


class QuicTransport(GrowsWindows):
    """Connections to authenticated peers over QUIC version 1; implements `abc.Transport`."""

    def __init__(
        self,
        identity: Identity,
        config: QuicConfig | None = None,
        *,
        memory: WindowBudget | None = None,
        network: DatagramNetwork | None = None,
        engine: EngineFactory | str | None = None,
    ) -> None:
        """`memory` bounds the growth of receive windows, by default what the host's `Limits` say.

        `network` is the operating system's UDP by default; a `SharedNetwork` lets other protocols use the same ports.
        `engine` is the name of one of `engines.ENGINES`, or makes one for each socket; by default the best that can be
        imported. Raises ValueError for a name that there is none of, ImportError for one that is not installed.
        """
        self.local_peer = identity.peer_id
        """Who this transport proves to be."""
        self._config = config or QuicConfig()
        self._memory = memory
        self._make_engine = find_engine(engine)
        self._settings = EngineSettings(
            self._config, make_certificate(identity), reset_key(identity), memory or WindowBudget(GROWTH_BUDGET)
        )
        self._network = network or SharedNetwork()
        self._endpoints: list[Endpoint] = []

    def grow_within(self, budget: WindowBudget, per_connection: int) -> None:
        """Take what windows grow by from a host's budget, unless `memory` was given; see `limits.GrowsWindows`."""
        if self._memory is None:
            self._settings = replace(self._settings, budget=budget, growth=per_connection)

    @property
    def engines(self) -> dict[str, str]:
        """Which engine this transport uses; see `abc.HasEngines`."""
        return {"quic-v1": self._make_engine.name}

    def can_dial(self, address: Multiaddr) -> bool:
        """Say whether the address is a QUIC one with its IP address known."""
        target = _match(address)
        return target is not None and target[1] != 0

    def can_listen(self, address: Multiaddr) -> bool:
        """Say whether the address is a QUIC one; port 0 takes a free one."""
        return _match(address) is not None

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> QuicConnection:
        """Connect and authenticate, recording two stages; see `abc.Transport.dial`.

        It dials from a listener's port, if there is one that leads there, whatever `options` say. With `INBOUND` it
        sends random bytes until the peer's own dial arrives from that address, listener or not, and is the server.
        """
        target = _reachable(_target(address))
        attempt.engine = self._make_engine.name
        await trio.lowlevel.checkpoint()
        if options.direction is Direction.INBOUND:
            return await self._serve_dialed(target, peer, attempt)
        connection = self._connect(self._dialing_endpoint(target, attempt), target, peer)
        try:
            async with connection.driven():
                with _stage(attempt, StageName.CONNECT, self._config.connect_timeout):
                    await connection.wait_answered()
                expected = None if peer is None else str(peer)
                with _stage(attempt, StageName.SECURITY, self._config.handshake_timeout, expected=expected) as stage:
                    await connection.wait_connected(Direction.OUTBOUND)
                    stage.found = str(connection.remote_peer)
        except BaseException:
            connection.abandon()
            raise
        return connection

    async def _serve_dialed(self, target: SocketAddress, peer: PeerId | None, attempt: Attempt) -> QuicConnection:
        """Wait for the peer's dial from there, and be its server."""
        async with open_punch(self._dialing_endpoint(target, attempt), target, peer) as punch:
            with _stage(attempt, StageName.CONNECT, self._config.connect_timeout):
                await punch.wait_answered()
            with attempt.stage(StageName.SECURITY, expected=None if peer is None else str(peer)) as stage:
                connection = await punch.wait_connected(self._config.handshake_timeout)
                stage.found = str(connection.remote_peer)
        return connection

    def _connect(self, endpoint: Endpoint, target: SocketAddress, peer: PeerId | None) -> QuicConnection:
        verifier = CertificateVerifier(peer)
        try:
            handle = endpoint.engine.connect(target, verifier, trio.current_time())
            return QuicConnection(endpoint, handle, verifier, dialing=target)
        except BaseException:
            endpoint.close_if_unused()
            raise

    async def listen(self, address: Multiaddr) -> QuicListener:
        """Bind. Raises `OSError` with the cause, `InvalidAddress` for other addresses."""
        target = _target(address)
        await trio.lowlevel.checkpoint()
        try:
            endpoint = self._bind(target)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
        endpoint.listen()
        return QuicListener(endpoint)

    def _bind(self, address: SocketAddress) -> Endpoint:
        engine = self._make_engine(self._settings)
        endpoint = Endpoint(self._network.bind(address), engine, self._config)
        self._endpoints = [*self._open_endpoints(), endpoint]
        return endpoint

    def _open_endpoints(self) -> list[Endpoint]:
        return [endpoint for endpoint in self._endpoints if not endpoint.closed]

    def _dialing_endpoint(self, target: SocketAddress, attempt: Attempt) -> Endpoint:
        try:
            _check_scope(target)
            return self._endpoint_for(target)
        except OSError as error:
            attempt.fail(StageName.CONNECT, error)
            raise

    def _endpoint_for(self, target: SocketAddress) -> Endpoint:
        """Dial from where we listen, if that leads there: peers then see an address at which we can be dialed."""
        suitable = [endpoint for endpoint in self._open_endpoints() if _leads_to(endpoint.address, target)]
        suitable.sort(key=lambda endpoint: not endpoint.listening)
        if suitable:
            return suitable[0]
        return self._bind(("::", 0, 0, 0) if len(target) == 4 else ("0.0.0.0", 0))


def _match(address: Multiaddr) -> SocketAddress | None:
    try:
        return socket_address(address)
    except InvalidAddress:
        return None


def _target(address: Multiaddr) -> SocketAddress:
    target = socket_address(address)
    if target is None:
        raise InvalidAddress(f"{address} is not a QUIC address such as /ip4/127.0.0.1/udp/4001/quic-v1")
    return target


def _reachable(target: SocketAddress) -> SocketAddress:
    """Return the address itself, or loopback for 0.0.0.0 and ::, as TCP has it: answers would come from there."""
    if not ip_address(target[0].partition("%")[0]).is_unspecified:
        return target
    return ("127.0.0.1", target[1]) if len(target) == 2 else ("::1", *target[1:])


def _check_scope(target: SocketAddress) -> None:
    """Raise OSError for a link-local address without its link, as TCP has it; UDP sends it to any link."""
    if len(target) == 4 and target[3] == 0 and ip_address(target[0]).is_link_local:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _leads_to(bound: SocketAddress, target: SocketAddress) -> bool:
    if len(bound) != len(target):
        return False
    here, there = (ip_address(address[0].partition("%")[0]) for address in (bound, target))
    return here.is_unspecified or here.is_loopback == there.is_loopback


@contextmanager
def _stage(attempt: Attempt, name: StageName, seconds: float, *, expected: str | None = None) -> Iterator[Stage]:
    with attempt.stage(name, expected=expected) as stage:
        try:
            with trio.fail_after(seconds):
                yield stage
        except trio.TooSlowError:
            raise trio.TooSlowError(f"no answer within {seconds:g} s") from None
