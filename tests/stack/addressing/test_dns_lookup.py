"""Questions to the system's resolver and, over loopback, to a name server."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
import trio

from peerstack.stack.addressing import Resolver, parse_address
from peerstack.stack.addressing.dns_lookup import lookup_host, lookup_txt
from peerstack.stack.errors import ResolveError

Answer = Callable[[dns.message.Message], dns.message.Message]


@asynccontextmanager
async def name_server(answer: Answer) -> AsyncIterator[int]:
    """Serve DNS over UDP on loopback; yields the port."""

    async def serve() -> None:
        while True:
            query, client = await server.recvfrom(4096)
            response = answer(dns.message.make_response(dns.message.from_wire(query)))
            await server.sendto(response.to_wire(), client)

    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as server:
        await server.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield server.getsockname()[1]
            nursery.cancel_scope.cancel()


def txt(*records: str) -> Answer:
    def answer(response: dns.message.Message) -> dns.message.Message:
        response.answer.append(dns.rrset.from_text(response.question[0].name, 60, "IN", "TXT", *records))
        return response

    return answer


async def test_txt_records_come_from_the_name_server_with_their_strings_joined() -> None:
    async with name_server(txt('"dnsaddr=/ip4/192.0.2.1" "/tcp/1"', '"v=spf1 -all"', '"\\255"')) as port:
        found = await lookup_txt("_dnsaddr.example.com", nameservers=["127.0.0.1"], port=port)
    assert sorted(found) == ["dnsaddr=/ip4/192.0.2.1/tcp/1", "v=spf1 -all", "\ufffd"]


async def test_a_resolver_works_on_a_name_server() -> None:
    async with name_server(txt('"dnsaddr=/ip4/192.0.2.1/tcp/1"')) as port:
        resolver = Resolver(lookup_txt=partial(lookup_txt, nameservers=["127.0.0.1"], port=port))
        assert await resolver.resolve(parse_address("/dnsaddr/a")) == [parse_address("/ip4/192.0.2.1/tcp/1")]


async def test_a_name_that_does_not_exist_is_our_error() -> None:
    def no_such_name(response: dns.message.Message) -> dns.message.Message:
        response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    async with name_server(no_such_name) as port:
        with pytest.raises(ResolveError, match=r"no TXT records of a\.example: .*does not exist"):
            await lookup_txt("a.example", nameservers=["127.0.0.1"], port=port)


async def test_without_name_servers_the_systems_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_configuration(resolver: object, filename: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("dns.resolver.BaseResolver.read_resolv_conf", no_configuration)
    with pytest.raises(ResolveError, match="no nameservers"):
        await lookup_txt("a.example")


async def test_a_name_that_dns_cannot_hold_is_our_error() -> None:
    with pytest.raises(ResolveError, match="no TXT records of"):
        await lookup_txt("a" * 64, nameservers=["127.0.0.1"])


@pytest.mark.parametrize(("protocol", "expected"), [("dns", "127.0.0.1"), ("dns4", "127.0.0.1"), ("dns6", "::1")])
async def test_host_names_come_from_the_system(protocol: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def getaddrinfo(host: str, port: None, *, family: int, type: int) -> list[tuple[object, ...]]:
        asked.append(family)
        return [(family, type, 6, "", (expected, 0))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    assert await lookup_host("localhost", protocol) == [expected]
    families = {"dns": trio.socket.AF_UNSPEC, "dns4": trio.socket.AF_INET, "dns6": trio.socket.AF_INET6}
    assert asked == [families[protocol]]


async def test_the_interface_is_taken_off_an_address_of_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*args: object, **options: object) -> list[tuple[object, ...]]:
        return [(10, 1, 6, "", ("fe80::1%eth0", 0, 0, 2))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    assert await lookup_host("a", "dns6") == ["fe80::1"]


async def test_an_ip_address_in_place_of_a_name_needs_no_dns() -> None:
    assert await lookup_host("127.0.0.1", "dns4") == ["127.0.0.1"]


async def test_a_name_that_is_no_host_name_is_our_error() -> None:
    with pytest.raises(ResolveError, match="cannot be a host name"):
        await lookup_host("a" * 64 + "\u03b5", "dns")
