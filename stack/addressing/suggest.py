"""What a person most likely meant by text that is not a multiaddr: host and port, a URL, a multiaddr with a slip.

Only errors are made of it: nothing is dialed that was not typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from ..errors import InvalidAddress, InvalidPeerId
from ..identity import PeerId
from . import codec

MAX_TEXT = 300
"""Characters of text for which a suggestion is sought; the longest addresses in use have about 250."""
USUAL_PORT = "4001"

_ALIASES = {"ipv4": "ip4", "ipv6": "ip6", "ip": "ip4", "host": "dns", "websocket": "ws", "quic-v2": "quic-v1"}
_HOSTS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})
_NAMES = frozenset({"dns", "dns4", "dns6"})
_TYPABLE = ("ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "tcp", "udp", "quic-v1", "ws", "wss", "tls", "unix", "p2p")
"""Protocols that a slip of the keyboard is taken for."""
_SCHEMES = {
    "ws": ("tcp", "80", "/ws"),
    "wss": ("tcp", "443", "/tls/ws"),
    "http": ("tcp", "80", "/ws"),
    "https": ("tcp", "443", "/tls/ws"),
    "tcp": ("tcp", USUAL_PORT, ""),
    "libp2p": ("tcp", USUAL_PORT, ""),
    "p2p": ("tcp", USUAL_PORT, ""),
    "udp": ("udp", USUAL_PORT, "/quic-v1"),
    "quic": ("udp", USUAL_PORT, "/quic-v1"),
}
"""What a URL of each scheme stands for: the layer, the port where it names none, and what goes on top."""
_OTHER_KINDS = (
    (re.compile(r"enr:|enode://", re.IGNORECASE), "node records of Ethereum are not read here; type the multiaddr"),
    (re.compile(r".*\.eth(:[0-9]+)?", re.IGNORECASE), "ENS names are not looked up here; type the multiaddr"),
    (re.compile(r".*\.onion(:[0-9]+)?", re.IGNORECASE), "there is no transport for Tor here; type another address"),
)
# Git's shell on Windows takes /ip4/... for a path in its own folder.
_SHELL_PATH = re.compile(r"[a-z]:[\\/].*?[\\/]((?:ip4|ip6|dns|dns4|dns6|dnsaddr)[\\/].+)", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9a-f:.%\w-]+)\]|(?P<host>[^\s/:@\[\]]+))?(?::(?P<port>[0-9]{1,5}))?", re.I)


def suggestion(text: str) -> str | None:
    """Return what to do instead of typing `text`, which is not a multiaddr; None if there is nothing to suggest."""
    if len(text) > MAX_TEXT:
        return None
    bare = text.strip(" \t\r\n'\"<>,;")
    for pattern, advice in _OTHER_KINDS:
        if pattern.match(bare):
            return f"{advice}, like {codec.EXAMPLE}"
    for guess in _guesses(bare):
        if _is_multiaddr(guess):
            return f"did you mean {guess}?" if text.startswith("/") else f"type {guess}"
    return None


def _is_multiaddr(text: str) -> bool:
    try:
        codec.encode(text)
    except InvalidAddress:
        return False
    return text.isascii()


def _guesses(text: str) -> Iterator[str]:
    """Yield what `text` may stand for, the most likely first; some may be none either."""
    if text.startswith("/"):
        yield _mended(text)
        return
    if found := _SHELL_PATH.match(text):
        yield _mended("/" + found[1].replace("\\", "/"))
    if text.startswith("dnsaddr="):
        yield text.removeprefix("dnsaddr=")
    if text.startswith("_dnsaddr."):
        yield f"/dnsaddr/{text.removeprefix('_dnsaddr.')}"
    if "://" in text:
        yield from _of_url(text)
    elif text.partition("/")[0].lower() in (*_TYPABLE, *_ALIASES):
        yield _mended("/" + text)
    else:
        yield from _of_socket(text)


# ---- host and port


def _of_socket(text: str) -> Iterator[str]:
    if _is_peer_id(text):
        yield f"/p2p/{text}"
        return
    peer, at, rest = text.rpartition("@")
    suffix = f"/p2p/{peer}" if at and _is_peer_id(peer) else ""
    host, slash, behind = (rest if at else text).partition("/")
    path = _mended(f"/{behind}") if slash and behind else ""
    if _version(host):  # IPv6 without brackets is full of colons
        yield f"{_host(_with_zone(host))}{path or f'/tcp/{USUAL_PORT}'}{suffix}"
    elif found := _HOST_AND_PORT.fullmatch(host):
        name, port = found["v6"] or found["host"] or "", found["port"]
        if name.isdecimal() and not port:
            name, port = "", name
        if port or "." in name or name == "localhost" or found["v6"]:
            layer = "" if path.startswith(("/tcp", "/udp")) else f"/tcp/{port or USUAL_PORT}"
            yield f"{_host(_with_zone(name) or '127.0.0.1')}{layer}{path}{suffix}"


def _of_url(text: str) -> Iterator[str]:
    scheme, _, rest = text.partition("://")
    if scheme.lower() == "unix":
        yield f"/unix/{quote(rest.strip('/'))}"
        return
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        return
    layer, usual, top = _SCHEMES.get(scheme.lower(), _SCHEMES["tcp"])
    path = url.path.strip("/")
    path = f"/http-path/{quote(path, safe='')}" if path and top.endswith("ws") else ""
    if host:
        yield f"{_host(host)}/{layer}/{port or usual}{top}{path}"


def _with_zone(host: str) -> str:
    """Add an interface to an address of one link, which needs one; which it is, only the person knows."""
    return f"{host}%eth0" if "%" not in host and _version(host) == 6 and ip_address(host).is_link_local else host


def _host(name: str) -> str:
    """Write an IP address, with a zone if it has one, or a name as the beginning of a multiaddr."""
    bare, _, zone = name.partition("%")
    version = _version(bare)
    if not version:
        return f"/dns/{name}"
    return f"/ip6zone/{zone}/ip6/{bare}" if zone and version == 6 else f"/ip{version}/{bare}"


def _version(text: str) -> int:
    """Return the version of an IP address, 0 for what is none."""
    try:
        return ip_address(text.partition("%")[0]).version
    except ValueError:
        return 0


def _is_peer_id(text: str) -> bool:
    try:
        PeerId.parse(text)
    except InvalidPeerId:
        return False
    return True


# ---- multiaddrs with a slip


def _mended(text: str) -> str:
    """Mend the slips in the text of a multiaddr, as far as they are known."""
    parts = [part for part in text.split("/") if part]
    mended = ""
    at = 0
    while at < len(parts):
        name, rest = _protocol(parts[at]), parts[at + 1 :]
        if name == "unix":
            return f"{mended}/unix/{'/'.join(rest)}"
        if name in _HOSTS and rest:
            found, taken = _mended_host(name, rest)
            mended += found
        else:
            takes = codec.takes_value(name) and bool(rest)
            mended += f"/{name}/{rest[0]}" if takes else f"/{name}"
            taken = int(takes)
        at += 1 + taken
    return mended


def _protocol(word: str) -> str:
    """Return the protocol that a word is, or comes nearest to."""
    lower = word.lower()
    if codec.is_protocol(lower):
        return lower
    if lower in _ALIASES:
        return _ALIASES[lower]
    return next(iter(get_close_matches(lower, _TYPABLE, 1, 0.6)), word)


def _mended_host(name: str, rest: Sequence[str]) -> tuple[str, int]:
    """Mend a host and the port behind it; return the text, and how many parts of `rest` are in it."""
    value, taken = rest[0], 1
    if codec.is_protocol(value.lower()):
        return f"/{name}", 0  # the host was left out; which it is cannot be guessed
    port = ""
    if not _version(value) and (found := _HOST_AND_PORT.fullmatch(value)):
        value, port = found["v6"] or found["host"] or "", found["port"] or ""
    behind = [part.lower() for part in rest[1:3]]
    if not port and behind and behind[0].isdecimal():
        port, taken = behind[0], 2
    text = f"/{name}/{value}" if name in _NAMES and not _version(value) else _host(value)
    if not port or behind[:1] in (["tcp"], ["udp"]):
        return text, taken
    layer = "udp" if any(part.startswith(("quic", "webtransport")) for part in behind) else "tcp"
    return f"{text}/{layer}/{port}", taken
