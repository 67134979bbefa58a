"""Ask the DNS: the system for host names, dnspython for TXT records."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import trio

from ..errors import ResolveError

_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


async def lookup_host(name: str, protocol: str) -> list[str]:
    """Return the IP addresses of host `name` in the system's order, for protocol dns, dns4 or dns6.

    Raises OSError or ResolveError.
    """
    try:
        found = await trio.socket.getaddrinfo(name, None, family=_FAMILIES[protocol], type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise ResolveError(f"{name!r} cannot be a host name: {error}") from error
    return [str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found]


async def lookup_txt(name: str, *, nameservers: Sequence[str] = (), port: int = 53) -> list[str]:
    """Return the TXT records of `name`, each with its character strings joined; raises ResolveError.

    Asks the system's name servers, or `nameservers` (IP addresses) at `port`.
    """
    # Imported here: most programs never resolve a /dnsaddr, and dnspython is slow to import.
    try:
        import dns.asyncresolver
        import dns.exception
        from dns.rdtypes.txtbase import TXTBase
    except ImportError as error:  # also out of file descriptors
        raise ResolveError(f"no TXT records of {name}: the resolver cannot be imported: {error}") from error

    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        if nameservers:
            resolver.nameservers, resolver.port = list(nameservers), port
        answer = await resolver.resolve(name, "TXT", search=False)
    except dns.exception.DNSException as error:
        raise ResolveError(f"no TXT records of {name}: {error}") from error
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer if isinstance(record, TXTBase)]
