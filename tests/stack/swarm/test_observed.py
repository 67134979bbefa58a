"""No single observer can make us believe in an address of our own, however many identities it has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from peerstack.stack.swarm.observed import ObservedAddresses

LISTEN = Multiaddr("/ip4/0.0.0.0/tcp/4001")
LOCAL = Multiaddr("/ip4/192.168.1.5/tcp/4001")
SEEN = Multiaddr("/ip4/198.51.100.7/tcp/4001")
RELAYED = "/ip4/9.9.9.9/tcp/1/p2p/12D3KooWQ9j2nLDL1cvqCqvvUkCLWBmkFY3A3jLvtcJnSdHBPMyy/p2p-circuit"


def observer(number: int) -> Multiaddr:
    return Multiaddr(f"/ip4/9.9.9.{number}/tcp/4001")


def record(
    observed: ObservedAddresses,
    connection: int,
    *,
    seen: Multiaddr = SEEN,
    local: Multiaddr = LOCAL,
    remote: Multiaddr | None = None,
    listening: tuple[Multiaddr, ...] = (LISTEN,),
) -> bool:
    remote = remote or observer(connection)
    return observed.record(connection, observed=seen, local=local, remote=remote, listening=listening)


def test_four_observers_convince_and_three_do_not() -> None:
    observed = ObservedAddresses()
    for number in range(3):
        assert record(observed, number)
    assert observed.addresses([LISTEN]) == ()
    record(observed, 3)
    assert observed.addresses([LISTEN]) == (SEEN,)


def test_many_identities_at_one_ip_have_one_voice() -> None:
    observed = ObservedAddresses()
    for number in range(50):
        record(observed, number, remote=observer(1))
    for number in range(50, 100):
        record(observed, number, remote=Multiaddr(f"/ip6/2001:db8:0:1{number:02x}::1/tcp/1"))
    assert observed.addresses([LISTEN]) == ()


def test_a_closed_connection_takes_its_word_with_it() -> None:
    observed = ObservedAddresses()
    for number in range(4):
        record(observed, number)
    observed.remove(2)
    observed.remove(2)
    assert observed.addresses([LISTEN]) == ()
    assert observed.count == 3


def test_only_open_connections_are_heard() -> None:
    observed = ObservedAddresses()
    for number in range(4):
        record(observed, number)
    observed.retain([0, 1, 3, 9])
    assert observed.count == 3


def test_a_peer_that_changes_its_mind_has_one_voice_and_may_withdraw_it() -> None:
    observed = ObservedAddresses(quorum=1)
    other = Multiaddr("/ip4/198.51.100.8/tcp/4001")
    record(observed, 1)
    record(observed, 1, seen=other)
    assert observed.addresses([LISTEN]) == (other,)
    assert not record(observed, 1, seen=Multiaddr("/ip4/127.0.0.1/tcp/1"))
    assert observed.addresses([LISTEN]) == ()


@pytest.mark.parametrize(
    ("seen", "local", "remote"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/9.9.9.9/tcp/1"),
        ("/ip4/198.51.100.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/1"),
        ("/ip4/198.51.100.7/tcp/4001", "/ip4/192.168.1.5/tcp/4001", RELAYED),
        (RELAYED, "/ip4/192.168.1.5/tcp/4001", "/ip4/9.9.9.9/tcp/1"),
        ("/ip4/198.51.100.7/udp/4001/quic-v1", "/ip4/192.168.1.5/tcp/4001", "/ip4/9.9.9.9/tcp/1"),
        ("/ip6/2001:4860::1/tcp/4001", "/ip4/192.168.1.5/tcp/4001", "/ip4/9.9.9.9/tcp/1"),
        ("/ip4/0.0.0.0/tcp/4001", "/ip4/192.168.1.5/tcp/4001", "/ip4/9.9.9.9/tcp/1"),
        ("/ip6/64:ff9b::102:304/tcp/4001", "/ip6/fd00::5/tcp/4001", "/ip6/2001:4860::1/tcp/1"),
        ("/dns4/victim.org/tcp/4001", "/ip4/192.168.1.5/tcp/4001", "/ip4/9.9.9.9/tcp/1"),
        ("/ip4/198.51.100.7/tcp/4001", "/ip4/192.168.1.5/tcp/51234", "/ip4/9.9.9.9/tcp/1"),
        ("/ip4/198.51.100.7/tcp/4001", "/memory/5", "/ip4/9.9.9.9/tcp/1"),
    ],
)
def test_what_says_nothing_about_a_listener_does_not_count(seen: str, local: str, remote: str) -> None:
    observed = ObservedAddresses(quorum=1)
    listening = (LISTEN, Multiaddr("/ip6/fd00::5/tcp/4001"), Multiaddr("/memory/5"))
    assert not record(
        observed, 1, seen=Multiaddr(seen), local=Multiaddr(local), remote=Multiaddr(remote), listening=listening
    )
    assert observed.count == 0


def test_the_port_of_another_ip_is_not_our_listener() -> None:
    observed = ObservedAddresses(quorum=1)
    assert not record(observed, 1, listening=(Multiaddr("/ip4/192.168.1.6/tcp/4001"),))
    assert record(observed, 1, listening=(LOCAL,))
    assert observed.addresses([LISTEN]) == ()
    assert observed.addresses([LOCAL]) == (SEEN,)


def test_a_dual_stack_listener_is_seen_by_ipv4_too() -> None:
    both = Multiaddr("/ip6/::/tcp/4001")
    observed = ObservedAddresses(quorum=1)
    assert record(observed, 1, listening=(both,))
    assert observed.addresses([both]) == (SEEN,)


def test_what_is_built_on_the_port_comes_along() -> None:
    listen = Multiaddr("/ip4/0.0.0.0/tcp/4001/ws")
    observed = ObservedAddresses(quorum=1)
    record(observed, 1, local=Multiaddr("/ip4/192.168.1.5/tcp/4001/ws"), listening=(listen,))
    assert observed.addresses([listen, Multiaddr("/memory/1")]) == (Multiaddr("/ip4/198.51.100.7/tcp/4001/ws"),)


def test_a_symmetric_nat_gives_no_more_than_three_addresses_the_most_agreed_first() -> None:
    observed = ObservedAddresses(quorum=1)
    for port in range(1, 10):
        record(observed, port, seen=Multiaddr(f"/ip4/198.51.100.7/tcp/{port}"))
    record(observed, 10, seen=Multiaddr("/ip4/198.51.100.7/tcp/9"))
    addresses = observed.addresses([LISTEN])
    assert len(addresses) == 3
    assert addresses[0] == Multiaddr("/ip4/198.51.100.7/tcp/9")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)), max_size=40))
def test_what_is_kept_is_what_counting_anew_would_give(words: list[tuple[int, int, int]]) -> None:
    """Each word is a connection that says where it sees us, from one of some addresses; the last of them leaves."""
    observed = ObservedAddresses(quorum=2)
    standing: dict[int, tuple[Multiaddr, int]] = {}
    for connection, port, source in words:
        seen = Multiaddr(f"/ip4/198.51.100.7/tcp/{port + 1}")
        if port == 2:
            observed.remove(connection)
            standing.pop(connection, None)
        else:
            record(observed, connection, seen=seen, remote=observer(source))
            standing[connection] = (seen, source)
    heard: dict[Multiaddr, set[int]] = {}
    for seen, source in standing.values():
        heard.setdefault(seen, set()).add(source)
    assert set(observed.addresses([LISTEN])) == {seen for seen, sources in heard.items() if len(sources) >= 2}
    assert observed.count == len(standing)
    for connection in standing:
        observed.remove(connection)
    assert observed.addresses([LISTEN]) == ()
    assert not observed._reports, "something is kept of those who left"
