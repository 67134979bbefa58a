"""Resolve the names in multiaddrs: /dns, /dns4 and /dns6 to IP addresses, /dnsaddr to what its TXT records say.

The owner of a /dnsaddr zone can answer with many, nested, looping or slow records, to make us dial or look
up a victim. So there are limits, and the report says what they cut off.
Spec: libp2p `addressing/README.md`, multiformats `multiaddr/protocols/DNSADDR.md`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import trio
from multiaddr import Multiaddr

from ..errors import InvalidAddress, ResolveError
from . import codec
from .codec import Component
from .dns_lookup import lookup_host, lookup_txt
from .parse import components, parse_address
from .reach import is_unix

LookupHost = Callable[[str, str], Awaitable[Sequence[str]]]
"""Look up a host name for dns, dns4 or dns6: its IP addresses as text. Raises OSError or ResolveError."""
LookupTxt = Callable[[str], Awaitable[Sequence[str]]]
"""Look up the TXT records of a name. Raises OSError or ResolveError."""

_log = logging.getLogger(__name__)

_HOST_PROTOCOLS = frozenset({"dns", "dns4", "dns6"})
_RECORD_PREFIX = "dnsaddr="
_MAX_PROBLEMS = 10
"""Problems kept of one resolution, beside the limits that ended it; any zone's records can cause them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverConfig:
    """The bounds of one resolution."""

    max_results: int = 100
    """Addresses that one multiaddr can become. go-libp2p has the same."""
    max_depth: int = 4
    """Names to follow one behind the other. go-libp2p has the same."""
    max_lookups: int = 32
    """Queries for one multiaddr. rust-libp2p has the same."""
    max_txt_records: int = 16
    """Records to follow of one name, after those for other peers were dropped. rust-libp2p has the same."""
    lookup_timeout: float = 5.0
    """Seconds for one query; how long it takes is up to the zone's name server."""

    def __post_init__(self) -> None:
        bounds = (self.max_results, self.max_depth, self.max_lookups, self.max_txt_records, self.lookup_timeout)
        if min(bounds) <= 0:
            raise ValueError(f"every bound must be positive, or nothing can be resolved: {self}")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a multiaddr resolved to, in order; `problems` tells in a line each what failed or was cut off."""

    addresses: tuple[Multiaddr, ...]
    problems: tuple[str, ...]


class Resolver:
    """Resolves names in multiaddrs by the system's DNS, or by the functions given."""

    def __init__(
        self,
        *,
        lookup_host: LookupHost = lookup_host,
        lookup_txt: LookupTxt = lookup_txt,
        config: ResolverConfig | None = None,
    ) -> None:
        self._lookup_host = lookup_host
        self._lookup_txt = lookup_txt
        self._config = config or ResolverConfig()

    async def resolve(self, address: Multiaddr) -> list[Multiaddr]:
        """Return the multiaddrs without names that `address` stands for, in order and each once.

        An address without names stands for itself. Raises ResolveError when none is found; otherwise failures
        are logged only, and in `resolve_with_problems`.
        """
        resolution = await self.resolve_with_problems(address)
        if not resolution.addresses:
            reasons = "; ".join(resolution.problems) or "no usable records"
            raise ResolveError(f"cannot resolve {address}: {reasons}")
        for problem in resolution.problems:
            _log.info("resolving %s: %s", address, problem)
        return list(resolution.addresses)

    async def resolve_with_problems(self, address: Multiaddr) -> Resolution:
        """Resolve like `resolve`, but return what went wrong beside what was found; raises nothing."""
        walk = _Walk(self._lookup_host, self._lookup_txt, self._config)
        await walk.follow(address, ())
        return Resolution(tuple(walk.results), tuple(walk.problems))


class _Walk:
    """One resolution: what it found, and what it may still spend."""

    def __init__(self, lookup_host: LookupHost, lookup_txt: LookupTxt, config: ResolverConfig) -> None:
        self._lookup_host = lookup_host
        self._lookup_txt = lookup_txt
        self._config = config
        self._lookups = 0
        self.results: dict[Multiaddr, None] = {}
        self.problems: dict[str, None] = {}

    async def follow(self, address: Multiaddr, path: tuple[str, ...]) -> None:
        """Add all that `address` stands for; `path` are the names that led to it."""
        parts = components(address)
        at = _first_name(parts)
        if at is None:
            self._add(address)
            return
        name = f"/{parts[at].name}/{parts[at].value}".lower()
        if name in path:
            self._report(f"{name} leads back to itself by {' -> '.join(path)}")
        elif len(path) >= self._config.max_depth:
            self._report(f"{name} is more than {self._config.max_depth} names deep")
        elif len(self.results) >= self._config.max_results:
            self._report_limit(f"more than {self._config.max_results} addresses")
        else:
            for found in await self._look_up(parts, at):
                await self.follow(found, (*path, name))

    def _add(self, address: Multiaddr) -> None:
        if address in self.results or len(self.results) < self._config.max_results:
            self.results[address] = None
        else:
            self._report_limit(f"more than {self._config.max_results} addresses")

    async def _look_up(self, parts: tuple[Component, ...], at: int) -> list[Multiaddr]:
        """Return the multiaddr of `parts` with the name at `at` replaced by each thing the DNS says of it."""
        protocol, name = parts[at].name, parts[at].value or ""
        if protocol in _HOST_PROTOCOLS:
            hosts = await self._query(name, partial(self._lookup_host, name, protocol))
            if hosts is not None and not hosts:
                self._report(f"looking up {name}: it has no addresses")
            before, behind = codec.text(parts[:at]), codec.text(_keep_name(name, parts[at + 1 :]))
            return list(self._usable(f"{before}/{_ip_protocol(host)}/{host}{behind}" for host in hosts or ()))
        if at > 0:
            self._report(f"/dnsaddr/{name} can stand only at the beginning of a multiaddr")
            return []
        query = f"_dnsaddr.{name}"
        records = await self._query(query, partial(self._lookup_txt, query))
        if records is None:
            return []
        texts = (record.removeprefix(_RECORD_PREFIX) for record in records if record.startswith(_RECORD_PREFIX))
        return self._matching(self._usable(texts), parts[1:], query)

    async def _query(self, name: str, lookup: Callable[[], Awaitable[Sequence[str]]]) -> Sequence[str] | None:
        """Return the answer to one query, or None if there is none, for a reason that is reported."""
        if self._lookups >= self._config.max_lookups:
            self._report_limit(f"more than {self._config.max_lookups} queries")
            return None
        self._lookups += 1
        with trio.move_on_after(self._config.lookup_timeout):
            try:
                return await lookup()
            except (OSError, ResolveError) as error:
                self._report(f"looking up {name}: {error}")
                return None
        self._report(f"looking up {name}: no answer within {self._config.lookup_timeout:g} s")
        return None

    def _usable(self, texts: Iterable[str]) -> Iterator[Multiaddr]:
        for text in texts:
            try:
                address = parse_address(text)
            except InvalidAddress as error:
                self._report(str(error))
                continue
            if is_unix(address):
                self._report(f"{address} is a path in our own file system, which is not for others to name")
            else:
                yield address

    def _matching(self, found: Iterator[Multiaddr], suffix: tuple[Component, ...], query: str) -> list[Multiaddr]:
        """Keep what ends in `suffix`, typically the id of the wanted peer, up to the limit."""
        kept: list[Multiaddr] = []
        for address in found:
            if suffix and components(address)[-len(suffix) :] != suffix:
                continue
            if len(kept) == self._config.max_txt_records:
                self._report(f"more than {len(kept)} records of {query}; the rest is left out")
                break
            kept.append(address)
        if not kept:
            self._report(
                f"no record of {query} holds a multiaddr" + (f" that ends in {codec.text(suffix)}" if suffix else "")
            )
        return kept

    def _report(self, problem: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems[problem] = None

    def _report_limit(self, limit: str) -> None:
        """Report the end of all further searching, whatever came before."""
        self.problems[f"{limit}; the rest is left out"] = None


def _first_name(parts: tuple[Component, ...]) -> int | None:
    """Return where the first name is; those behind a relay are the relay's to resolve."""
    for index, (protocol, _) in enumerate(parts):
        if protocol == "p2p-circuit":
            return None
        if protocol in _HOST_PROTOCOLS or protocol == "dnsaddr":
            return index
    return None


def _ip_protocol(host: str) -> str:
    return "ip6" if ":" in host else "ip4"


def _keep_name(name: str, parts: tuple[Component, ...]) -> tuple[Component, ...]:
    """Keep the name where a WebSocket's server needs it: many share one IP address (RFC 9110, 7.2; RFC 6066, 3).

    A secure one becomes /tls/sni/NAME/ws, as in go. For a plain one no standard has a place; it becomes /sni/NAME/ws.
    """
    sni = Component("sni", name.rstrip("."))
    match parts:
        case (Component("tcp") as tcp, Component("wss"), *rest) | (
            Component("tcp") as tcp,
            Component("tls"),
            Component("ws"),
            *rest,
        ):
            return (tcp, Component("tls", None), sni, Component("ws", None), *rest)
        case (Component("tcp") as tcp, Component("ws") as ws, *rest):
            return (tcp, sni, ws, *rest)
    return parts
