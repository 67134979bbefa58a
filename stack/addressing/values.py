"""How the value of each multiaddr protocol is written in text and in bytes."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote, unquote

from multiaddr import exceptions, protocols
from multiaddr.codecs import codec_by_name

from ..identity import PeerId

VARIABLE = -1
"""Size of a value that stands behind its length."""

_T = TypeVar("_T")
# With the underscore, which no IDNA name has but many names of containers and services.
_LABEL = r"[a-z0-9_](?!.--)(?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PLAIN_DOMAIN = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE | re.ASCII)
_ZONE = re.compile(r"[!-.0-~]{1,64}")


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a protocol; `size` in bytes, `what` in words; `encode` and `decode` raise ValueError."""

    size: int
    what: str
    encode: Callable[[str], bytes]
    decode: Callable[[bytes], str]


def _encode_ip4(text: str) -> bytes:
    return _from_system(partial(socket.inet_pton, socket.AF_INET, text), "IPv6 goes into /ip6, a name into /dns")


def _encode_ip6(text: str) -> bytes:
    hint = "a zone goes in front, like /ip6zone/eth0/ip6/fe80::1" if "%" in text else ""
    return _from_system(partial(socket.inet_pton, socket.AF_INET6, text), hint)


def _from_system(call: Callable[[], _T], hint: str) -> _T:
    try:
        return call()
    except (OSError, ValueError):
        raise ValueError(hint) from None


def _encode_number(size: int, text: str) -> bytes:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError
    number = int(text)
    if number >> 8 * size:
        raise ValueError(f"the largest is {(1 << 8 * size) - 1}")
    return number.to_bytes(size, "big")


def _decode_number(data: bytes) -> str:
    return str(int.from_bytes(data, "big"))


def _encode_zone(text: str) -> bytes:
    if not _ZONE.fullmatch(text):
        raise ValueError
    return text.encode()


def _decode_zone(data: bytes) -> str:
    text = data.decode()
    _encode_zone(text)
    return text


def _encode_domain(text: str) -> bytes:
    # IDNA's tables are large and slow; plain ASCII names, nearly all there are, do not need them.
    if _PLAIN_DOMAIN.fullmatch(text):
        return text.encode()
    return _from_library(lambda: codec_by_name("domain").to_bytes(None, text))


def _decode_domain(data: bytes) -> str:
    text = data.decode()
    _encode_domain(text)
    return text


def _encode_peer(text: str) -> bytes:
    return PeerId.parse(text).to_bytes()


def _decode_peer(data: bytes) -> str:
    return str(PeerId.from_bytes(data))


def _encode_path(text: str) -> bytes:
    path = unquote(text, errors="strict").strip("/")
    if not path or "\\" in path or "\0" in path:
        raise ValueError
    return b"/" + path.encode()


def _decode_path(data: bytes) -> str:
    text = quote(data.decode())
    if _encode_path(text) != data:
        raise ValueError("not an absolute path in canonical form")
    return text


def _library(codec: str, name: str, size: int, what: str) -> Value:
    """Write a rare value by the library's codec, imported on first use because some are slow to import."""
    protocol = protocols.protocol_with_name(name)

    def encode(text: str) -> bytes:
        return _from_library(lambda: codec_by_name(codec).to_bytes(protocol, text))

    def decode(data: bytes) -> str:
        text = _from_library(lambda: codec_by_name(codec).to_string(protocol, data))
        if encode(text) != data:
            raise ValueError("not in canonical form")
        return text

    return Value(size, what, encode, decode)


def _from_library(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except (exceptions.StringParseError, exceptions.BinaryParseError) as error:
        raise ValueError(error.message) from None
    except (exceptions.Error, ValueError, LookupError, TypeError) as error:
        raise ValueError(str(error)) from None
    except (ImportError, OSError) as error:
        # Out of file descriptors no module can be read; one address from a peer must not end more than itself.
        raise ValueError(f"its codec cannot be loaded: {error}") from None


_PORT = Value(2, "a port from 0 to 65535", partial(_encode_number, 2), _decode_number)
_DOMAIN = Value(VARIABLE, "a host name like example.com", _encode_domain, _decode_domain)

VALUES = {
    "ip4": Value(4, "an IPv4 address like 127.0.0.1", _encode_ip4, partial(socket.inet_ntop, socket.AF_INET)),
    "ip6": Value(16, "an IPv6 address like ::1", _encode_ip6, partial(socket.inet_ntop, socket.AF_INET6)),
    "ip6zone": Value(VARIABLE, "the name of a network interface", _encode_zone, _decode_zone),
    "ipcidr": Value(1, "a prefix length", partial(_encode_number, 1), _decode_number),
    "tcp": _PORT,
    "udp": _PORT,
    "dccp": _PORT,
    "sctp": _PORT,
    "dns": _DOMAIN,
    "dns4": _DOMAIN,
    "dns6": _DOMAIN,
    "dnsaddr": _DOMAIN,
    "sni": _DOMAIN,
    "p2p": Value(VARIABLE, "a peer id like 12D3Koo... or Qm...", _encode_peer, _decode_peer),
    "memory": Value(8, "a number", partial(_encode_number, 8), _decode_number),
    "unix": Value(VARIABLE, "a path", _encode_path, _decode_path),
    "http-path": _library("http_path", "http-path", VARIABLE, "a percent-encoded path"),
    "certhash": _library("certhash", "certhash", VARIABLE, "a multihash in base64url, like uEi..."),
    "onion": _library("onion", "onion", 12, "16 base32 characters, ':' and a port"),
    "onion3": _library("onion3", "onion3", 37, "56 base32 characters, ':' and a port"),
    "garlic64": _library("garlic64", "garlic64", VARIABLE, "an I2P destination in base64"),
    "garlic32": _library("garlic32", "garlic32", VARIABLE, "an I2P address in base32"),
}
"""By protocol name; protocols of the registry that are absent here take no value."""
