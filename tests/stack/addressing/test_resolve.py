"""Resolution of names against a fake DNS: order, suffixes, failures, and every bound."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from peerstack.stack.addressing import Resolver, ResolverConfig, parse_address
from peerstack.stack.errors import ResolveError

ALICE = "/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
BOB = "/p2p/QmaEANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG"


class FakeDns:
    """A DNS of two tables; an exception in them is raised, a name without entry does not exist."""

    def __init__(
        self,
        *,
        hosts: dict[tuple[str, str], list[str] | Exception] | None = None,
        txt: dict[str, list[str] | Exception] | None = None,
    ) -> None:
        self._hosts = hosts or {}
        self._txt = txt or {}
        self.queries: list[str] = []

    async def lookup_host(self, name: str, protocol: str) -> Sequence[str]:
        return self._answer(name, self._hosts.get((name, protocol), OSError("Name or service not known")))

    async def lookup_txt(self, name: str) -> Sequence[str]:
        return self._answer(name, self._txt.get(name, ResolveError(f"no TXT records of {name}")))

    def _answer(self, name: str, answer: list[str] | Exception) -> Sequence[str]:
        self.queries.append(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def resolver(self, config: ResolverConfig | None = None) -> Resolver:
        return Resolver(lookup_host=self.lookup_host, lookup_txt=self.lookup_txt, config=config)


async def resolve(dns: FakeDns, text: str, config: ResolverConfig | None = None) -> list[str]:
    return [str(address) for address in await dns.resolver(config).resolve(parse_address(text))]


async def problems_of(dns: FakeDns, text: str, config: ResolverConfig | None = None) -> tuple[str, ...]:
    return (await dns.resolver(config).resolve_with_problems(parse_address(text))).problems


@pytest.mark.parametrize(
    ("protocol", "found"),
    [("dns", ["2001:db8::1", "192.0.2.1"]), ("dns4", ["192.0.2.1"]), ("dns6", ["2001:db8::1"])],
)
async def test_a_host_name_becomes_its_ip_addresses_in_the_order_of_the_dns(protocol: str, found: list[str]) -> None:
    dns = FakeDns(hosts={("example.com", protocol): found})
    expected = [f"/{'ip6' if ':' in ip else 'ip4'}/{ip}/tcp/443{ALICE}" for ip in found]
    assert await resolve(dns, f"/{protocol}/example.com/tcp/443{ALICE}") == expected


@pytest.mark.parametrize(
    ("behind", "resolved"),
    [
        ("/tcp/443/wss", "/tcp/443/tls/sni/example.com/ws"),
        ("/tcp/443/tls/ws", "/tcp/443/tls/sni/example.com/ws"),
        ("/tcp/443/wss/http-path/p2p", "/tcp/443/tls/sni/example.com/ws/http-path/p2p"),
        ("/tcp/443/tls/sni/other.org/ws", "/tcp/443/tls/sni/other.org/ws"),
        ("/tcp/80/ws", "/tcp/80/sni/example.com/ws"),
        ("/tcp/80/ws/http-path/p2p", "/tcp/80/sni/example.com/ws/http-path/p2p"),
        ("/tcp/80/sni/other.org/ws", "/tcp/80/sni/other.org/ws"),
        ("/tcp/443", "/tcp/443"),
        ("/udp/443/quic-v1", "/udp/443/quic-v1"),
    ],
)
@pytest.mark.parametrize("name", ["example.com", "example.com."])
async def test_the_name_that_a_server_must_hear_is_kept(name: str, behind: str, resolved: str) -> None:
    dns = FakeDns(hosts={(name, "dns4"): ["192.0.2.1"]})
    assert await resolve(dns, f"/dns4/{name}{behind}{ALICE}") == [f"/ip4/192.0.2.1{resolved}{ALICE}"]


@pytest.mark.parametrize(
    "text", ["/ip4/192.0.2.1/tcp/1", "/memory/1", f"/ip4/192.0.2.1/tcp/1{ALICE}/p2p-circuit/dns/a"]
)
async def test_an_address_without_names_stands_for_itself(text: str) -> None:
    dns = FakeDns()
    assert await resolve(dns, text) == [text]
    assert dns.queries == []


async def test_a_dnsaddr_becomes_its_records_in_order_and_each_once() -> None:
    first, second = f"/ip4/192.0.2.1/tcp/1{ALICE}", f"/ip4/192.0.2.1/udp/1/quic-v1{ALICE}"
    dns = FakeDns(txt={"_dnsaddr.example.com": [f"dnsaddr={second}", f"dnsaddr={first}", f"dnsaddr={second}"]})
    assert await resolve(dns, "/dnsaddr/example.com") == [second, first]


async def test_only_records_of_the_wanted_peer_are_followed() -> None:
    dns = FakeDns(
        txt={
            "_dnsaddr.example.com": [
                f"dnsaddr=/dnsaddr/alice.example.com{ALICE}",
                f"dnsaddr=/dnsaddr/bob.example.com{BOB}",
                "dnsaddr=/ip4/192.0.2.9/tcp/9",
                "dnsaddr=/tcp/1",
            ],
            "_dnsaddr.alice.example.com": [
                f"dnsaddr=/ip4/192.0.2.1/tcp/1{ALICE}",
                f"dnsaddr=/ip4/192.0.2.2/tcp/1{BOB}",
            ],
        }
    )
    assert await resolve(dns, f"/dnsaddr/example.com{ALICE}") == [f"/ip4/192.0.2.1/tcp/1{ALICE}"]
    assert dns.queries == ["_dnsaddr.example.com", "_dnsaddr.alice.example.com"]


async def test_a_suffix_of_several_components_must_match_whole() -> None:
    dns = FakeDns(
        txt={
            "_dnsaddr.a": [
                f"dnsaddr=/ip4/192.0.2.1/tcp/1{BOB}/p2p-circuit{ALICE}",
                f"dnsaddr=/ip4/192.0.2.1/tcp/1{ALICE}",
            ]
        }
    )
    assert await resolve(dns, f"/dnsaddr/a/p2p-circuit{ALICE}") == [f"/ip4/192.0.2.1/tcp/1{BOB}/p2p-circuit{ALICE}"]


async def test_names_inside_records_are_resolved_too() -> None:
    dns = FakeDns(
        hosts={("host.example.com", "dns4"): ["192.0.2.1", "192.0.2.2"]},
        txt={"_dnsaddr.example.com": ["dnsaddr=/dns4/host.example.com/tcp/1"]},
    )
    assert await resolve(dns, "/dnsaddr/example.com") == ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"]


async def test_foreign_and_malformed_records_are_passed_over() -> None:
    good = "/ip4/192.0.2.1/tcp/1"
    dns = FakeDns(
        txt={"_dnsaddr.a": ["v=spf1 -all", "", "dnsaddr=", "dnsaddr=nonsense", f"DNSADDR={good}", f"dnsaddr={good}"]}
    )
    assert await resolve(dns, "/dnsaddr/a") == [good]
    problems = await problems_of(dns, "/dnsaddr/a")
    assert len(problems) == 2
    assert "got 'nonsense'" in problems[1]


async def test_one_branch_may_fail_where_another_succeeds() -> None:
    dns = FakeDns(
        hosts={("down", "dns"): OSError("Temporary failure in name resolution")},
        txt={"_dnsaddr.a": ["dnsaddr=/dns/down/tcp/1", "dnsaddr=/ip4/192.0.2.1/tcp/1"]},
    )
    assert await resolve(dns, "/dnsaddr/a") == ["/ip4/192.0.2.1/tcp/1"]
    assert await problems_of(dns, "/dnsaddr/a") == ("looking up down: Temporary failure in name resolution",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/dns/nowhere/tcp/1", "cannot resolve /dns/nowhere/tcp/1: looking up nowhere: Name or service not known"),
        ("/dnsaddr/nowhere", "looking up _dnsaddr.nowhere: no TXT records of _dnsaddr.nowhere"),
        (f"/dnsaddr/empty{ALICE}", f"no record of _dnsaddr.empty holds a multiaddr that ends in {ALICE}"),
        ("/dnsaddr/empty", "no record of _dnsaddr.empty holds a multiaddr$"),
        ("/dns/empty/tcp/1", "looking up empty: it has no addresses"),
        ("/tcp/1/dnsaddr/a", "/dnsaddr/a can stand only at the beginning"),
        ("/dns/junk/tcp/1", "/ip4 needs an IPv4 address"),
    ],
)
async def test_an_error_names_the_name_and_the_cause(text: str, why: str) -> None:
    dns = FakeDns(
        hosts={("empty", "dns"): [], ("junk", "dns"): ["junk"]},
        txt={"_dnsaddr.empty": ["v=spf1 -all"]},
    )
    with pytest.raises(ResolveError, match=why):
        await resolve(dns, text)


async def test_a_loop_is_an_error_that_shows_the_way() -> None:
    dns = FakeDns(txt={"_dnsaddr.a": ["dnsaddr=/dnsaddr/b"], "_dnsaddr.b": ["dnsaddr=/dnsaddr/A"]})
    with pytest.raises(ResolveError, match="/dnsaddr/a leads back to itself by /dnsaddr/a -> /dnsaddr/b"):
        await resolve(dns, "/dnsaddr/a")
    assert dns.queries == ["_dnsaddr.a", "_dnsaddr.b"]


async def test_four_names_deep_is_deep_enough() -> None:
    chain = {f"_dnsaddr.n{depth}": [f"dnsaddr=/dnsaddr/n{depth + 1}"] for depth in range(10)}
    dns = FakeDns(txt={**chain, "_dnsaddr.n3": ["dnsaddr=/ip4/192.0.2.1/tcp/1", "dnsaddr=/dnsaddr/n4"]})
    assert await resolve(dns, "/dnsaddr/n0") == ["/ip4/192.0.2.1/tcp/1"]
    assert await problems_of(dns, "/dnsaddr/n0") == ("/dnsaddr/n4 is more than 4 names deep",)
    with pytest.raises(ResolveError, match="/dnsaddr/n2 is more than 2 names deep"):
        await resolve(dns, "/dnsaddr/n0", ResolverConfig(max_depth=2))


async def test_sixteen_matching_records_are_followed_of_one_name() -> None:
    records = [f"dnsaddr=/ip4/192.0.2.1/tcp/{port}{BOB if port < 50 else ALICE}" for port in range(100)]
    dns = FakeDns(txt={"_dnsaddr.a": records})
    assert len(await resolve(dns, f"/dnsaddr/a{ALICE}")) == 16
    assert await problems_of(dns, f"/dnsaddr/a{ALICE}") == ("more than 16 records of _dnsaddr.a; the rest is left out",)
    assert len(await resolve(FakeDns(txt={"_dnsaddr.a": records[:16]}), "/dnsaddr/a")) == 16


async def test_thirty_two_queries_are_made_for_one_address() -> None:
    fan_out = {
        f"_dnsaddr.a{index}": [f"dnsaddr=/dns4/v{index}-{port}/tcp/1" for port in range(16)] for index in range(16)
    }
    dns = FakeDns(txt={"_dnsaddr.a": [f"dnsaddr=/dnsaddr/a{index}" for index in range(16)], **fan_out})
    with pytest.raises(ResolveError, match=r"cannot resolve /dnsaddr/a: looking up v0-0: .*more than 32 queries"):
        await resolve(dns, "/dnsaddr/a")
    assert len(dns.queries) == 32


async def test_a_hundred_addresses_are_enough_and_end_the_queries() -> None:
    many = [f"192.0.{high}.{low}" for high in range(2) for low in range(60)]
    dns = FakeDns(
        hosts={("many", "dns4"): many},
        txt={"_dnsaddr.a": ["dnsaddr=/dns4/many/tcp/1", "dnsaddr=/dns4/more/tcp/1"]},
    )
    assert len(await resolve(dns, "/dnsaddr/a")) == 100
    assert dns.queries == ["_dnsaddr.a", "many"]
    assert await problems_of(dns, "/dnsaddr/a") == ("more than 100 addresses; the rest is left out",)


async def test_the_account_of_problems_is_bounded() -> None:
    dns = FakeDns(txt={"_dnsaddr.a": [f"dnsaddr={'x' * index}" for index in range(1000)]})
    assert len(await problems_of(dns, "/dnsaddr/a")) == 10


async def test_a_slow_name_server_costs_five_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async def never(name: str) -> Sequence[str]:
        await trio.sleep_forever()
        raise AssertionError("not reached")

    start = trio.current_time()
    with pytest.raises(ResolveError, match=r"looking up _dnsaddr.a: no answer within 5 s"):
        await Resolver(lookup_txt=never).resolve(parse_address("/dnsaddr/a"))
    assert trio.current_time() - start == 5


async def test_failures_beside_a_success_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    dns = FakeDns(txt={"_dnsaddr.a": ["dnsaddr=junk", "dnsaddr=/ip4/192.0.2.1/tcp/1"]})
    with caplog.at_level("INFO"):
        await resolve(dns, "/dnsaddr/a")
    assert "resolving /dnsaddr/a: a multiaddr begins with '/'" in caplog.text


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ResolverConfig(max_lookups=0)
