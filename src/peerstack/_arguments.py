"""Checks the arguments of `open_host` before anything of the host exists."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from peerstack.protocols.identify import MAX_AGENT
from peerstack.stack.abc import Muxer, ProvesPeer, Security, StreamTransport, Transport
from peerstack.stack.errors import InvalidInput
from peerstack.stack.host.arguments import as_list, check_kind, check_part, type_name
from peerstack.stack.identity import Identity
from peerstack.stack.limits import Limits
from peerstack.stack.swarm import SwarmConfig, TrimConfig

if TYPE_CHECKING:
    from peerstack.stack.abc import Gater, Protector
    from peerstack.stack.addressing.resolve import Resolver

_TRANSPORT = ("can_dial", "can_listen", "dial", "listen")


def check_settings(
    *,
    identity: Identity | None,
    limits: Limits | None,
    trim: TrimConfig | None,
    swarm: SwarmConfig | None,
    resolver: Resolver | None,
) -> None:
    """Raise TypeError for a setting of the wrong kind."""
    if identity is not None:
        check_kind(identity, "identity", Identity, " (such as Identity.load(path) returns)")
    for name, value, kind in (
        ("limits", limits, Limits),
        ("trim", trim, TrimConfig),
        ("swarm", swarm, SwarmConfig),
    ):
        if value is not None:
            check_kind(value, name, kind)
    if resolver is not None:
        check_part(resolver, "resolver", "resolve")


def check_plugins(*, gater: Gater | None, private_network: Protector | None) -> None:
    """Raise TypeError for what is no gater, or no key of a private network."""
    if gater is not None:
        check_part(gater, "gater", "allow_dial", "allow_accept", "allow_connection")
    if private_network is not None:
        check_part(private_network, "private_network", "protect")


def checked_agent(agent: str | None, default: str) -> str:
    """Return what identify calls this program. Raises for what peers could not read."""
    if agent is None:
        return default
    if not isinstance(agent, str):
        raise TypeError(f"agent is text such as my-program/1.0, not {type_name(agent)}")
    if len(agent) > MAX_AGENT or not agent.isprintable():
        raise InvalidInput(f"agent is at most {MAX_AGENT} printable characters, not {agent[:MAX_AGENT]!a}")
    return agent or default


def checked_transports(transports: Iterable[StreamTransport]) -> list[StreamTransport]:
    """Return the transports of byte streams. Raises TypeError for others."""
    given = as_list(transports, "transports")
    for transport in given:
        check_part(transport, "transports", *_TRANSPORT)
        if not _takes(transport, 1):
            name = type(transport).__name__
            raise TypeError(f"transports: {name} brings its own security and muxer; give it as native_transports=")
    return given


def checked_native_transports(transports: Iterable[Transport]) -> list[Transport]:
    """Return the transports that bring security and muxing. Raises TypeError for others."""
    given = as_list(transports, "native_transports")
    for transport in given:
        check_part(transport, "native_transports", *_TRANSPORT)
        if not _takes(transport, 3):
            name = type(transport).__name__
            raise TypeError(f"native_transports: {name} carries plain bytes; give it as transports=")
    return given


def checked_security(security: Iterable[Security]) -> list[Security]:
    """Return the security protocols. Raises for something else, or none."""
    return _checked_protocols(security, "security", "secure")


def checked_muxers(muxers: Iterable[Muxer]) -> list[Muxer]:
    """Return the muxers. Raises for something else, or none."""
    return _checked_protocols(muxers, "muxers", "mux")


def check_identity(identity: Identity, parts: Iterable[object]) -> None:
    """Raise InvalidInput if one of the parts proves to peers that it is another peer than the host says."""
    for part in parts:
        if isinstance(part, ProvesPeer) and part.local_peer != identity.peer_id:
            raise InvalidInput(
                f"{type(part).__name__} was made for peer {part.local_peer}, and the host is {identity.peer_id}: "
                "give both the same, open_host(identity=identity, ...)"
            )


def _checked_protocols(given: object, what: str, method: str) -> list[Any]:
    protocols = as_list(given, what)
    if not protocols:
        raise InvalidInput(f"{what} is empty: without one no connection can be made; leave it out for the default")
    for protocol in protocols:
        check_part(protocol, what, method)
        if not isinstance(getattr(protocol, "protocol_id", None), str):
            raise TypeError(f"{what}: {type_name(protocol)} has no protocol_id")
    return protocols


def _takes(transport: StreamTransport | Transport, count: int) -> bool:
    """Return whether `dial` takes so many arguments: an address, and where it authenticates a peer and an attempt."""
    try:
        inspect.signature(transport.dial).bind(*[None] * count)
    except TypeError:
        return False
    return True
