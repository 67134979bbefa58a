"""Checks of what programs hand to the public calls: a wrong thing is refused at the call, in one line.

What is clear is taken, such as the text of a peer id. TypeError where the kind of thing is wrong, InvalidInput where
its value is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from multiaddr import Multiaddr

from ..abc import StreamHandler
from ..addressing import components, is_unix, is_unspecified, parse_address, parse_addresses, parse_peer, split_peer
from ..addressing.usable import lacking_zone, why_no_single_host
from ..errors import InvalidAddress, InvalidInput
from ..identity import PeerId

MAX_PROTOCOL_ID = 139
"""Characters of a protocol id: with the newline behind it as many as every peer takes, see `negotiation.wire`."""
MAX_ANNOUNCED = 30
"""External addresses of one host: all receivers must be able to read what it says of itself."""

Target = PeerId | str | Multiaddr
"""A peer to connect to: its id, or an address that may end in `/p2p/<peer id>`."""

_MACHINE_ONLY = frozenset({"ip4", "ip6", "ip6zone", "dns", "dns4", "dns6", "udp"})
"""What alone says where a machine is, but not how to talk to it."""


def type_name(value: object) -> str:
    """Name what was given: "int", or "the class Host"."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


# ---- parts


def check_part(part: object, what: str, *methods: str) -> None:
    """Raise TypeError if `part` lacks one of these methods, or is a class instead of an object made of it."""
    missing = [name for name in methods if not callable(getattr(part, name, None))]
    if isinstance(part, type) and not missing:
        raise TypeError(f"{what}: {part.__name__} is a class; give an object made of it, such as {part.__name__}(...)")
    if missing:
        raise TypeError(f"{what}: {type_name(part)} has no method {' and no '.join(missing)}")


def check_observer(observer: object) -> None:
    """Raise TypeError for what has no `notify`, or one that would have to be awaited: events do not wait."""
    check_part(observer, "an observer", "notify")
    if inspect.iscoroutinefunction(getattr(observer, "notify", None)):
        raise TypeError(f"an observer: notify of {type_name(observer)} is async, and nothing would run it; take def")


def check_kind(value: object, what: str, kind: type, hint: str = "") -> None:
    """Raise TypeError unless `value` is a `kind`; `hint` says how to get one."""
    if not isinstance(value, kind):
        raise TypeError(f"{what} must be of type {kind.__name__}{hint}, not {type_name(value)}")


def as_list(values: object, what: str) -> list[Any]:
    """Return what an argument lists. Raises TypeError for a single thing where a list is wanted."""
    if isinstance(values, (str, bytes, type)) or not isinstance(values, Iterable):
        raise TypeError(f"{what} is a list, even of one: not {type_name(values)}")
    return list(values)


# ---- protocols


def check_protocol(protocol: str) -> None:
    """Raise unless this can be the id of a protocol that we serve; rust-libp2p refuses those without the slash."""
    if not isinstance(protocol, str):
        raise TypeError(f"a protocol id is text such as /example/echo/1.0.0, not {type_name(protocol)}")
    if not (protocol.startswith("/") and protocol.isascii() and protocol.isprintable()):
        raise InvalidInput(f"protocol id {protocol!r} must begin with / and be printable ASCII")
    if len(protocol) > MAX_PROTOCOL_ID:
        raise InvalidInput(f"a protocol id has at most {MAX_PROTOCOL_ID} characters, not {len(protocol)}")


def check_handler(protocol: str, handler: StreamHandler) -> None:
    """Raise TypeError for what cannot be awaited when it is called with a stream.

    A plain function may return an awaitable; it is taken where it says so by its return annotation.
    """
    wanted = f"the handler of {protocol} must be an async function that takes a stream (async def)"
    if not callable(handler) or isinstance(handler, type):
        raise TypeError(f"{wanted}, not {type_name(handler)}")
    function: Any = handler
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{wanted}; {function.__name__} is a generator, which nothing would run: it has a `yield`")
    if not inspect.isroutine(function) or inspect.iscoroutinefunction(function) or inspect.isbuiltin(function):
        return
    if function.__name__ != "<lambda>" and getattr(function, "__annotations__", {}).get("return") in (None, "None"):
        raise TypeError(f"{wanted}; {function.__name__} is a plain function")


# ---- addresses


def address_of(peer: PeerId, address: Multiaddr) -> Multiaddr:
    """Return an address of `peer` without its `/p2p`. Raises InvalidAddress for that of another peer, and for none."""
    bare, named = split_peer(address)
    if named not in (None, peer):
        raise InvalidAddress(f"{address} is an address of another peer than {peer}")
    if not bare.to_bytes():
        raise InvalidAddress(f"{address} says who, but not where; an address is such as /ip4/203.0.113.1/tcp/4001")
    return bare


def announceable(addresses: str | Multiaddr | Iterable[str | Multiaddr], us: PeerId) -> tuple[Multiaddr, ...]:
    """Return the external addresses of a host, without `/p2p` and each once.

    Raises InvalidAddress for one at which no other peer could dial this host, or for too many.
    """
    external = dict.fromkeys(_dialable(address_of(us, address)) for address in parse_addresses(addresses))
    if len(external) > MAX_ANNOUNCED:
        raise InvalidAddress(f"a host announces at most {MAX_ANNOUNCED} addresses, not {len(external)}")
    return tuple(external)


def is_tellable(address: Multiaddr) -> bool:
    """Return whether others may be told of an address of ours: no path in our file system, and not 0.0.0.0 or ::."""
    return bool(address.to_bytes()) and not is_unix(address) and not is_unspecified(address)


def _dialable(address: Multiaddr) -> Multiaddr:
    parts = components(address)
    if is_unix(address):
        raise InvalidAddress(f"{address} is of no use to others: peers are never told of paths in a file system")
    if is_unspecified(address):
        raise InvalidAddress(f"{address} cannot be dialed: announce the IP address or name that others see")
    if (reason := why_no_single_host(address) or lacking_zone(address)) is not None:
        raise InvalidAddress(f"{address} cannot be dialed: {reason}")
    if any(name in ("tcp", "udp") and value == "0" for name, value in parts):
        raise InvalidAddress(f"{address} cannot be dialed: port 0 stands for any free port; announce the real one")
    if all(name in _MACHINE_ONLY for name, _ in parts):
        raise InvalidAddress(f"{address} names no transport: such as /tcp/4001 or /udp/4001/quic-v1 is missing")
    return address


# ---- worth


def check_tag(name: str, value: float = 0) -> None:
    """Raise unless these are the name of a tag and its value, a number."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a tag is text, not {type_name(name)}")
    if not isinstance(value, (int, float)):
        raise TypeError(f"the value of a tag is a number, not {type_name(value)}")
    if math.isnan(value):
        raise InvalidInput("the value of a tag is a number, not nan")


# ---- targets


def parse_targets(targets: Iterable[Target | Iterable[Target]]) -> tuple[PeerId | None, list[Multiaddr]]:
    """Split targets into the one peer they name, if any, and addresses. Raises InvalidInput, TypeError."""
    peers: set[PeerId] = set()
    addresses: list[Multiaddr] = []
    for target in _flat(targets):
        if isinstance(target, PeerId) or (isinstance(target, str) and not target.startswith("/")):
            peers.add(parse_peer(target))
            continue
        address, peer = split_peer(parse_address(target))
        if peer is not None:
            peers.add(peer)
        if len(address.to_bytes()):
            addresses.append(address)
    if not peers and not addresses:
        raise InvalidInput(
            "no peer to connect to: give a peer id or an address such as /ip4/127.0.0.1/tcp/4001/p2p/12D3…"
        )
    if len(peers) > 1:
        raise InvalidAddress(f"these addresses name {len(peers)} different peers; connect to one at a time")
    return (peers.pop() if peers else None), addresses


def _flat(targets: Iterable[Target | Iterable[Target]]) -> Iterator[Target]:
    for target in targets:
        if isinstance(target, (PeerId, str, Multiaddr)):
            yield target
        elif isinstance(target, (list, tuple, set, frozenset)):
            yield from target
        else:
            raise TypeError(f"a target is a PeerId, an address or a list of addresses, not {type_name(target)}")
