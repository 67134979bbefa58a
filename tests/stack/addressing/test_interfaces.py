"""What 0.0.0.0 and :: stand for on a machine."""

import ctypes
import itertools
import logging
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from peerstack.stack.addressing import expand_unspecified, interface_addresses, interfaces, parse_address

MACHINE = [ip_address(text) for text in ("127.0.0.1", "192.0.2.7", "::1", "2001:db8::7", "fe80::7", "192.0.2.7")]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("/ip4/0.0.0.0/tcp/4001/ws", ["/ip4/127.0.0.1/tcp/4001/ws", "/ip4/192.0.2.7/tcp/4001/ws"]),
        ("/ip6/::/udp/1/quic-v1", ["/ip6/::1/udp/1/quic-v1", "/ip6/2001:db8::7/udp/1/quic-v1"]),
        ("/ip4/0.0.0.0", ["/ip4/127.0.0.1", "/ip4/192.0.2.7"]),
        ("/ip4/192.0.2.9/tcp/1", ["/ip4/192.0.2.9/tcp/1"]),
        ("/dns/example.com/tcp/1", ["/dns/example.com/tcp/1"]),
        ("/memory/1", ["/memory/1"]),
    ],
)
def test_an_unspecified_address_becomes_one_of_each_interface(text: str, expanded: list[str]) -> None:
    found = expand_unspecified(parse_address(text), interfaces=lambda: MACHINE)
    assert [str(address) for address in found] == expanded


def test_a_machine_without_ipv6_has_no_ipv6_addresses() -> None:
    assert expand_unspecified(parse_address("/ip6/::/tcp/1"), interfaces=lambda: MACHINE[:2]) == []


def test_this_machine_has_a_loopback_interface() -> None:
    assert IPv4Address("127.0.0.1") in interface_addresses()
    assert parse_address("/ip4/127.0.0.1/tcp/1") in expand_unspecified(parse_address("/ip4/0.0.0.0/tcp/1"))


class LibraryWithout:
    """A C library of a system that has no getifaddrs."""

    def __init__(self, name: None, use_errno: bool) -> None:
        pass


class FailingLibrary(LibraryWithout):
    """A C library whose getifaddrs fails."""

    def getifaddrs(self, head: object) -> int:
        return -1


@pytest.mark.parametrize("library", [LibraryWithout, FailingLibrary])
def test_without_the_systems_list_the_routes_are_asked(
    library: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    with caplog.at_level(logging.DEBUG):
        found = interface_addresses()
    assert found[:2] == [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    assert len(found) == len(set(found))
    assert "asking the routes instead" in caplog.text


class Unroutable:
    """A socket on a machine without a default route."""

    def __init__(self, family: int, kind: int) -> None:
        raise OSError("network is unreachable")


def test_without_routes_loopback_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", LibraryWithout)
    monkeypatch.setattr("socket.socket", Unroutable)
    assert interface_addresses() == [IPv4Address("127.0.0.1"), IPv6Address("::1")]


@pytest.mark.parametrize(
    ("platform", "head", "family"), [("linux", b"\x02\x00", 2), ("darwin", b"\x10\x02", 2), ("darwin", b"\x1c\x1e", 30)]
)
def test_the_family_is_where_the_system_puts_it(
    platform: str, head: bytes, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("sys.byteorder", "little")
    assert interfaces._family_of(head) == family


def entry(flags: int, sockaddr: bytes | None) -> tuple[interfaces._Ifaddrs, ctypes.Array[ctypes.c_char] | None]:
    memory = ctypes.create_string_buffer(sockaddr, len(sockaddr)) if sockaddr else None
    return interfaces._Ifaddrs(None, b"x0", flags, ctypes.addressof(memory) if memory else None), memory


def test_only_ip_addresses_of_interfaces_that_are_up_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    up, down = 0x1, 0x0
    entries = [
        entry(down, b"\x02\x00\x00\x00\xc0\x00\x02\x01" + bytes(8)),
        entry(up, None),
        entry(up, b"\x11\x00" + bytes(18)),
        entry(up, b"\x02\x00\x00\x00\xc0\x00\x02\x02" + bytes(8)),
        entry(up, b"\x0a\x00" + bytes(6) + ip_address("2001:db8::3").packed + bytes(4)),
    ]
    for (earlier, _), (later, _) in itertools.pairwise(entries):
        earlier.next = ctypes.pointer(later)
    freed = []

    class Library(LibraryWithout):
        def getifaddrs(self, head: Any) -> int:
            ctypes.cast(head, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(entries[0][0])
            return 0

        def freeifaddrs(self, head: object) -> None:
            freed.append(head)

    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(interfaces, "_family_of", lambda head: {2: socket.AF_INET, 10: socket.AF_INET6}.get(head[0], 0))
    assert interface_addresses() == [ip_address("192.0.2.2"), ip_address("2001:db8::3")]
    assert len(freed) == 1


def test_a_list_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looping, _memory = entry(0x1, b"\x02\x00\x00\x00\xc0\x00\x02\x02" + bytes(8))
    looping.next = ctypes.pointer(looping)

    class Library(LibraryWithout):
        def getifaddrs(self, head: Any) -> int:
            ctypes.cast(head, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(looping)
            return 0

        def freeifaddrs(self, head: object) -> None:
            pass

    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(interfaces, "_family_of", lambda head: socket.AF_INET)
    assert interface_addresses() == [ip_address("192.0.2.2")]
