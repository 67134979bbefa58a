"""Turns raw connections, and transports of them, into authenticated, muxed ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import trio
from multiaddr import Multiaddr

from ..abc import (
    DEFAULT_DIAL,
    Channel,
    ConnectionInfo,
    DialOptions,
    Direction,
    Incoming,
    Listener,
    MuxedConnection,
    Muxer,
    Pipe,
    Protector,
    RawConnection,
    Secured,
    Security,
    StreamListener,
    StreamTransport,
    Upgrader,
)
from ..background import close_at_once
from ..errors import ConnectionLost, NegotiationError, RemoteProtocolError
from ..identity import PeerId
from ..negotiation import negotiate_inbound, negotiate_outbound
from ..net.pipes import as_pipe
from ..report import Attempt, Stage, StageName
from .config import SwarmConfig

KEY_ADVICE = "both sides need the same swarm.key, or neither has one: compare the fingerprints"
"""What to do where first words make no sense inside a private network."""


class UpgradedTransport:
    """A `Transport` made of a `StreamTransport` and an upgrader."""

    def __init__(self, transport: StreamTransport, upgrader: Upgrader, config: SwarmConfig | None = None) -> None:
        self._transport = transport
        self._upgrader = upgrader
        self._config = config or SwarmConfig()

    def can_dial(self, address: Multiaddr) -> bool:
        """Ask the transport below."""
        return self._transport.can_dial(address)

    def can_listen(self, address: Multiaddr) -> bool:
        """Ask the transport below."""
        return self._transport.can_listen(address)

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> MuxedConnection:
        """Connect, authenticate, mux; see `abc.Transport.dial`."""
        with _stage(attempt, StageName.CONNECT, self._config.connect_timeout):
            raw = await self._transport.dial(address, options)
        return await self._upgrader.upgrade(raw, options.direction, peer, attempt)

    async def listen(self, address: Multiaddr) -> Listener:
        """Bind; see `abc.Transport.listen`."""
        return _UpgradedListener(self._upgrader, await self._transport.listen(address))


class HostUpgrader:
    """The `Upgrader` of a host: its security protocols and muxers, in order of preference."""

    def __init__(
        self,
        security: Sequence[Security],
        muxers: Sequence[Muxer],
        config: SwarmConfig | None = None,
        *,
        protector: Protector | None = None,
    ) -> None:
        if not security or not muxers:
            raise ValueError("a host needs at least one security protocol and one muxer")
        self._security: Mapping[str, Security] = {item.protocol_id: item for item in security}
        self._muxers: Mapping[str, Muxer] = {item.protocol_id: item for item in muxers}
        self._config = config or SwarmConfig()
        self._protector = protector
        self.hint = "" if protector is None else f" (does it have our network key, {protector}?)"
        """What may be behind first words that make no sense, or are missing."""

    async def upgrade(
        self, raw: RawConnection, direction: Direction, expect: PeerId | None, attempt: Attempt
    ) -> MuxedConnection:
        """Authenticate and mux, recording each stage; see `abc.Upgrader.upgrade`."""
        try:
            if raw.handshake is not None:
                with _stage(attempt, StageName.CONNECT, self._config.connect_timeout):
                    raw = replace(raw, stream=await raw.handshake(), handshake=None)
            security, secured = await self._secure(raw, direction, expect, attempt)
            if isinstance(raw.stream, Pipe):
                raw.stream.trust()
            muxer = await self._choose_muxer(secured, direction, attempt)
            info = ConnectionInfo(
                remote_peer=secured.remote_peer,
                remote_public_key=secured.remote_public_key,
                local_address=raw.local_address,
                remote_address=raw.remote_address,
                direction=direction,
                security=security,
                muxer=muxer.protocol_id,
                relay=raw.relay,
                limited=raw.limits,
            )
            return muxer.mux(secured.channel, info)
        except BaseException:
            await close_at_once(raw.stream)
            raise

    def incoming(self, raw: RawConnection) -> Incoming:
        """Wrap a raw connection that arrived; see `abc.Upgrader.incoming`."""
        return _Arrival(self, raw)

    async def _secure(
        self, raw: RawConnection, direction: Direction, expect: PeerId | None, attempt: Attempt
    ) -> tuple[str, Secured]:
        pipe = self._protected(raw.stream)
        names = list(self._security)
        limit, known = self._config.negotiation_timeout, " or ".join(names)
        with _stage(attempt, StageName.SECURITY_NEGOTIATION, limit, expected=known, hint=self.hint) as stage:
            if direction is Direction.OUTBOUND:
                name = await negotiate_outbound(pipe, names)
            else:
                name = await negotiate_inbound(pipe, names)
            stage.found = name
        expected = None if expect is None else str(expect)
        with _stage(attempt, StageName.SECURITY, self._config.handshake_timeout, expected=expected) as stage:
            initiator = direction is Direction.OUTBOUND
            secured = await self._security[name].secure(
                pipe, initiator=initiator, expect=expect, muxers=tuple(self._muxers)
            )
            stage.found = str(secured.remote_peer)
        return name, secured

    def _protected(self, stream: trio.abc.Stream) -> Pipe:
        return as_pipe(stream) if self._protector is None else self._protector.protect(stream)

    async def _choose_muxer(self, secured: Secured, direction: Direction, attempt: Attempt) -> Muxer:
        names = list(self._muxers)
        limit = self._config.negotiation_timeout
        with _stage(attempt, StageName.MUXER_NEGOTIATION, limit, expected=" or ".join(names)) as stage:
            if secured.muxer is not None:
                name = secured.muxer
                if name not in self._muxers:
                    raise NegotiationError(f"the peer chose muxer {name}, which was not offered", offered=tuple(names))
                stage.found = f"{name}, agreed in the handshake"
            else:
                name = await self._negotiate_muxer(secured.channel, names, direction)
                stage.found = name
        return self._muxers[name]

    async def _negotiate_muxer(self, channel: Channel, names: list[str], direction: Direction) -> str:
        if direction is Direction.OUTBOUND:
            return await negotiate_outbound(channel, names)
        return await negotiate_inbound(channel, names)


class _UpgradedListener(Listener):
    def __init__(self, upgrader: Upgrader, listener: StreamListener) -> None:
        self._upgrader = upgrader
        self._listener = listener
        self._follow()
        listener.on_addresses_changed(self._follow)

    def _follow(self) -> None:
        self.addresses = self._listener.addresses

    async def accept(self) -> Incoming:
        return self._upgrader.incoming(await self._listener.accept())

    async def aclose(self) -> None:
        await self._listener.aclose()


class _Arrival(Incoming):
    def __init__(self, upgrader: HostUpgrader, raw: RawConnection) -> None:
        self._upgrader = upgrader
        self._raw = raw
        self.local_address = raw.local_address
        self.remote_address = raw.remote_address
        self.relay = raw.relay

    async def upgrade(self) -> MuxedConnection:
        attempt = Attempt(str(self.remote_address), trio.current_time())
        try:
            return await self._upgrader.upgrade(self._raw, Direction.INBOUND, None, attempt)
        except trio.TooSlowError:
            failed = attempt.failure
            hint = self._upgrader.hint if failed and failed.name is StageName.SECURITY_NEGOTIATION else ""
            where = failed.name if failed else "upgrade"
            raise ConnectionLost(f"the peer was too slow in the {where}{hint}") from None

    async def refuse(self) -> None:
        await trio.aclose_forcefully(self._raw.stream)


@contextmanager
def _stage(
    attempt: Attempt, name: StageName, seconds: float, *, expected: str | None = None, hint: str = ""
) -> Iterator[Stage]:
    """Record a stage that must end in time; a stream that breaks is a lost connection of that stage.

    `hint` goes behind the error when the peer is silent, hangs up, or breaks the protocol; it is about a network key.
    """
    with attempt.stage(name, expected=expected) as stage:
        try:
            with _advised(stage, KEY_ADVICE if hint else None), trio.fail_after(seconds):
                yield stage
        except trio.TooSlowError:
            raise trio.TooSlowError(f"no answer within {seconds:g} s{hint}") from None
        except RemoteProtocolError as error:
            if not hint:
                raise
            raise RemoteProtocolError(f"{error}{hint}", code=error.code) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if not isinstance(error, ConnectionLost):
                raise ConnectionLost(f"the peer closed the connection: {error}{hint}") from error
            if not hint:
                raise
            raise ConnectionLost(f"{error}{hint}") from error


@contextmanager
def _advised(stage: Stage, advice: str | None) -> Iterator[None]:
    """Advise this, instead of what fits the stage, when the peer is silent, hangs up, or breaks the protocol."""
    try:
        yield
    except (trio.TooSlowError, RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
        stage.advice = advice
        raise
