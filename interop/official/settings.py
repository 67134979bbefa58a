"""What the contracts say by environment variables, and hosts made as they say."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Self

from peerstack import open_host
from peerstack.stack.abc import Muxer, Security, StreamTransport
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.security.noise import Noise
from peerstack.transports.tcp import TcpTransport

PATIENCE_SECONDS = 180.0
_ADDRESSES = {"tcp": "/ip4/{}/tcp/0", "ws": "/ip4/{}/tcp/0/ws", "quic-v1": "/ip4/{}/udp/0/quic-v1"}
NATIVE = ("quic-v1",)
"""Transports that bring security and muxing of their own."""
SECURITY = ("noise", "tls")
MUXERS = ("yamux", "mplex")


class Unsupported(Exception):
    """The environment asks for what these programs do not have, or leaves out what they need."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One role in one test."""

    dialer: bool
    redis: str
    key: str
    """Under which the listener's address is stored."""
    transport: str
    security: str | None = None
    muxer: str | None = None
    ip: str = "0.0.0.0"
    patience: float = PATIENCE_SECONDS
    legacy: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables of the current contract, or those of the older one, in lower case. Raises Unsupported."""
        legacy = "TEST_KEY" not in environment and "transport" in environment
        return cls._older(environment) if legacy else cls._current(environment)

    @classmethod
    def _current(cls, environment: Mapping[str, str]) -> Self:
        return cls(
            dialer=_flag(environment, "IS_DIALER"),
            redis=_needed(environment, "REDIS_ADDR"),
            key=f"{_needed(environment, 'TEST_KEY')}_listener_multiaddr",
            transport=_needed(environment, "TRANSPORT"),
            security=environment.get("SECURE_CHANNEL") or None,
            muxer=environment.get("MUXER") or None,
            ip=environment.get("LISTENER_IP") or cls.ip,
            patience=_seconds(environment, "TEST_TIMEOUT_SECS"),
        )

    @classmethod
    def _older(cls, environment: Mapping[str, str]) -> Self:
        return cls(
            dialer=_flag(environment, "is_dialer"),
            redis=environment.get("redis_addr") or "redis:6379",
            key="listenerAddr",
            transport=_needed(environment, "transport"),
            security=environment.get("security") or None,
            muxer=environment.get("muxer") or None,
            ip=environment.get("ip") or cls.ip,
            patience=_seconds(environment, "test_timeout_seconds"),
            legacy=True,
        )

    def __post_init__(self) -> None:
        if self.transport not in _ADDRESSES:
            raise Unsupported(f"transport {self.transport!r}: this program has {', '.join(_ADDRESSES)}")
        if self.transport in NATIVE:
            return
        if self.security not in SECURITY:
            raise Unsupported(f"secure channel {self.security!r}: this program has {', '.join(SECURITY)}")
        if self.muxer not in MUXERS:
            raise Unsupported(f"muxer {self.muxer!r}: this program has {', '.join(MUXERS)}")

    @property
    def address(self) -> str:
        """Where the listener listens."""
        return _ADDRESSES[self.transport].format(self.ip)

    def open_host(self) -> AbstractAsyncContextManager[Host]:
        """Open a host that has what the test names and nothing else. Raises Unsupported where it is not installed."""
        identity = Identity.generate()
        try:
            if self.transport in NATIVE:
                from peerstack.transports.quic import QuicTransport

                return open_host(identity=identity, transports=[], native_transports=[QuicTransport(identity)])
            return open_host(
                identity=identity,
                transports=[self._stream_transport()],
                security=[self._security(identity)],
                muxers=[self._muxer()],
            )
        except ImportError as error:
            raise Unsupported(str(error)) from error

    def _stream_transport(self) -> StreamTransport:
        if self.transport == "tcp":
            return TcpTransport()
        from peerstack.transports.websocket import WebSocketTransport

        return WebSocketTransport(TcpTransport())

    def _security(self, identity: Identity) -> Security:
        if self.security == "noise":
            return Noise(identity)
        from peerstack.stack.security.tls import Tls

        return Tls(identity)

    def _muxer(self) -> Muxer:
        if self.muxer == "yamux":
            return Yamux()
        muxer: Muxer = import_module("peerstack.stack.muxing.mplex").Mplex()
        return muxer


def _needed(environment: Mapping[str, str], name: str) -> str:
    if not (value := environment.get(name)):
        raise Unsupported(f"the environment has no {name}")
    return value


def _flag(environment: Mapping[str, str], name: str) -> bool:
    match _needed(environment, name):
        case "true":
            return True
        case "false":
            return False
        case value:
            raise Unsupported(f"{name} is {value!r}, neither true nor false")


def _seconds(environment: Mapping[str, str], name: str) -> float:
    try:
        seconds = float(environment.get(name) or PATIENCE_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise Unsupported(f"{name} is {environment.get(name)!r}, no number of seconds")
    return seconds
