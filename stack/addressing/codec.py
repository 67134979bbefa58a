"""Strict parsing of multiaddr text and bytes, which the multiaddr library does not do.

    multiaddr = *( uvarint code, [uvarint length,] value )      a length where the value's size varies

multiaddr 0.2 takes truncated values, trailing and non-minimal bytes, `//`, `=`, text without the leading slash
and digits of any script; it stores a peer id given as a CID in other bytes than its base58 form, does not know
`/ipfs/`, and fails with TypeError on short input. Spec: multiformats `multiaddr`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from textwrap import shorten
from typing import NamedTuple

from multiaddr.protocols import PROTOCOLS

from ..errors import InvalidAddress, RemoteProtocolError
from ..wire import varint
from .values import VALUES, VARIABLE, Value

MAX_SIZE = 1024
"""Bytes of one multiaddr; the spec sets no limit, the longest in use (webtransport behind a relay) has about 250."""
MAX_COMPONENTS = 20
"""Components of one multiaddr; the longest in use has about 10."""
MAX_TEXT = 4 * MAX_SIZE
"""Characters of one multiaddr; percent-encoding makes three of a byte."""

EXAMPLE = "/ip4/127.0.0.1/tcp/4001"

_SHOWN = 80
_REASON = 120


class Component(NamedTuple):
    """One protocol of a multiaddr and its value, None for a protocol without one."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A known protocol; `prefix` is its code in bytes."""

    name: str
    prefix: bytes
    value: Value | None


_BY_CODE = {entry.code: _Kind(entry.name, varint.encode(entry.code), VALUES.get(entry.name)) for entry in PROTOCOLS}
_BY_NAME = {kind.name: kind for kind in _BY_CODE.values()}
_BY_NAME["ipfs"] = _BY_NAME["p2p"]


@lru_cache(maxsize=1024)
def decode(data: bytes) -> tuple[Component, ...]:
    """Decode the bytes of a multiaddr; raises InvalidAddress unless they are one, in canonical form."""
    if not data:
        raise InvalidAddress("the multiaddr is empty")
    if len(data) > MAX_SIZE:
        raise InvalidAddress(f"multiaddr of {len(data)} bytes; the limit is {MAX_SIZE}")
    components: list[Component] = []
    offset = 0
    while offset < len(data):
        component, offset = _decode_component(data, offset)
        components.append(component)
    if len(components) > MAX_COMPONENTS:
        raise InvalidAddress(f"multiaddr of {len(components)} components; the limit is {MAX_COMPONENTS}")
    if any(component.name == "unix" for component in components[:-1]):
        raise InvalidAddress("nothing can follow /unix: its path takes the rest of the multiaddr")
    return tuple(components)


def encode(text: str) -> bytes:
    """Encode the text of a multiaddr; raises InvalidAddress with what is wrong in it and how it should look."""
    if len(text) > MAX_TEXT:
        raise InvalidAddress(f"multiaddr of {len(text)} characters; the limit is {MAX_SIZE} bytes")
    if not text.startswith("/"):
        raise InvalidAddress(f"a multiaddr begins with '/', like {EXAMPLE}; got {show(text)}")
    parts = text.removesuffix("/").split("/")
    encoded = bytearray()
    at = 1
    while at < len(parts):
        at = _encode_component(encoded, parts, at)
    data = bytes(encoded)
    decode(data)
    return data


def text(parts: Iterable[Component]) -> str:
    """Write components as the text of a multiaddr."""
    return "".join(map(_component_text, parts))


def is_protocol(name: str) -> bool:
    """Return whether a protocol of multiaddrs has this name."""
    return name in _BY_NAME


def takes_value(name: str) -> bool:
    """Return whether a value stands behind the protocol of this name."""
    kind = _BY_NAME.get(name)
    return kind is not None and kind.value is not None


def show(text: str) -> str:
    """Quote text from outside for an error message of one line, cut where it is long."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _component_text(part: Component) -> str:
    if part.value is None:
        return f"/{part.name}"
    # Paths begin with a slash of their own.
    return f"/{part.name}{part.value}" if part.name == "unix" else f"/{part.name}/{part.value}"


def _decode_component(data: bytes, offset: int) -> tuple[Component, int]:
    """Decode the component at `offset`: it, and the offset behind it."""
    code, offset = _decode_varint(data, offset)
    kind = _BY_CODE.get(code)
    if kind is None:
        raise InvalidAddress(f"unknown multiaddr protocol code {code}")
    if kind.value is None:
        return Component(kind.name, None), offset
    size = kind.value.size
    if size == VARIABLE:
        size, offset = _decode_varint(data, offset)
    encoded = data[offset : offset + size]
    if len(encoded) < size:
        raise InvalidAddress(f"/{kind.name} has a value of {size} bytes, but the multiaddr ends after {len(encoded)}")
    try:
        return Component(kind.name, kind.value.decode(encoded)), offset + size
    except ValueError as error:
        reason = _plain(error) or f"expected {kind.value.what}"
        raise InvalidAddress(f"value of /{kind.name} in multiaddr bytes: {reason}") from None


def _decode_varint(data: bytes, offset: int) -> tuple[int, int]:
    try:
        return varint.decode(data, offset)
    except RemoteProtocolError as error:
        raise InvalidAddress(f"malformed multiaddr bytes: {error}") from None


def _encode_component(encoded: bytearray, parts: list[str], at: int) -> int:
    """Append the component that begins with `parts[at]`; return where the next one begins."""
    name = parts[at]
    kind = _BY_NAME.get(name)
    if kind is None:
        raise InvalidAddress(f"{_unknown(parts, at)} in {_shown(parts)}")
    encoded += kind.prefix
    if kind.value is None:
        return at + 1
    end = len(parts) if name == "unix" else at + 2
    text = "/".join(parts[at + 1 : end])
    if not text:
        raise InvalidAddress(f"/{name} needs a value in {_shown(parts)}: {kind.value.what}")
    value = _encode_value(kind.value, text, parts, at)
    if kind.value.size == VARIABLE:
        encoded += varint.encode(len(value))
    encoded += value
    return end


def _encode_value(value: Value, text: str, parts: list[str], at: int) -> bytes:
    try:
        return value.encode(text)
    except ValueError as error:
        reason = f" ({_plain(error)})" if str(error) else ""
        message = f"/{parts[at]} needs {value.what}, not {show(text)}, in {_shown(parts)}{reason}"
        raise InvalidAddress(message) from None


def _unknown(parts: list[str], at: int) -> str:
    """Return what is wrong with the name `parts[at]`."""
    if not parts[at]:
        return "empty component ('//')"
    complaint = f"unknown protocol {show(parts[at])}"
    if at >= 3 and parts[at - 1] in _BY_NAME and parts[at - 2] in VALUES:
        return f"{complaint} (was the value of /{parts[at - 2]} left out?)"
    if at >= 2 and parts[at - 1] in _BY_NAME:
        return f"{complaint} (/{parts[at - 1]} takes no value)"
    return complaint


def _plain(error: ValueError) -> str:
    """Escape the reason of an error, into which the library copies what it was given; cut between words."""
    return ascii(shorten(str(error), _REASON, placeholder=" ..."))[1:-1]


def _shown(parts: list[str]) -> str:
    return show("/".join(parts))
