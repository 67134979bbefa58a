"""In which order, and how far apart, the addresses of a peer are dialed (go-libp2p's default, after RFC 8305).

    local and public addresses  side by side, each: TCP, then QUIC, then everything else
    within TCP, within QUIC     IPv6, then IPv4 one step later, then the rest one step later
    relayed addresses           half a second behind direct ones

Other than in go TCP comes before QUIC: QUIC in Python carries a tenth to a fifth of what TCP does, for as much work.
A step is 250 ms on the internet and 30 ms in a local network. What comes first is never delayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from multiaddr import Multiaddr

from ...addressing.match import is_relayed
from ...addressing.parse import components
from ...addressing.reach import is_loopback, is_private

MAX_ADDRESSES = 25
"""Addresses of one peer dialed in one go: its own list could name 500 victims (js-libp2p: 25)."""
PUBLIC_STEP = 0.25
LOCAL_STEP = 0.03
PUBLIC_OTHER_STEP = 1.0
LOCAL_OTHER_STEP = 0.1
RELAY_DELAY = 0.5


class _Kind(IntEnum):
    TCP = 0
    QUIC = 1
    OTHER = 2


_LOCAL = frozenset({"memory", "unix"})
_NOT_PLAIN_QUIC = frozenset({"webtransport", "webrtc", "webrtc-direct"})
_NOT_PLAIN_TCP = frozenset({"ws", "wss", "http", "https"})


def rank(
    addresses: Iterable[Multiaddr], *, limit: int = MAX_ADDRESSES, at_once: bool = False
) -> list[tuple[float, Multiaddr]]:
    """Return at most `limit` different addresses with the seconds to wait before each, in order; the first waits 0.

    Addresses of equal rank keep their order, so put those first that worked last. `at_once` makes none wait.
    """
    unique = list(dict.fromkeys(addresses))
    relayed = [address for address in unique if is_relayed(address)]
    direct = [address for address in unique if not is_relayed(address)]
    local = [address for address in direct if _is_local(address)]
    public = [address for address in direct if not _is_local(address)]
    behind = RELAY_DELAY if direct else 0.0
    ranked = [
        *_stagger(local, LOCAL_STEP, LOCAL_OTHER_STEP),
        *_stagger(public, PUBLIC_STEP, PUBLIC_OTHER_STEP),
        *((behind + delay, address) for delay, address in _stagger(relayed, PUBLIC_STEP, PUBLIC_OTHER_STEP)),
    ]
    ranked.sort(key=lambda item: item[0])
    return [(0.0 if at_once else delay, address) for delay, address in ranked[:limit]]


def _stagger(addresses: Sequence[Multiaddr], step: float, other_step: float) -> list[tuple[float, Multiaddr]]:
    ranked: list[tuple[float, Multiaddr]] = []
    for kind in _Kind:
        same = _happy_eyeballs([address for address in addresses if _kind(address) is kind])
        pause = other_step if kind is _Kind.OTHER else step
        start = ranked[-1][0] + pause if ranked else 0.0
        ranked += ((start + min(place, 2) * pause, address) for place, address in enumerate(same))
    return ranked


def _happy_eyeballs(addresses: Sequence[Multiaddr]) -> list[Multiaddr]:
    """Put loopback first, then IPv6; but the second is of the other family than the first, if there is one."""
    ordered = sorted(addresses, key=lambda address: (not is_loopback(address), not _is_ip6(address)))
    for place, address in enumerate(ordered[1:], 1):
        if _is_ip6(address) != _is_ip6(ordered[0]):
            ordered.insert(1, ordered.pop(place))
            break
    return ordered


def _kind(address: Multiaddr) -> _Kind:
    names = {component.name for component in components(address)}
    if "quic-v1" in names and not names & _NOT_PLAIN_QUIC:
        return _Kind.QUIC
    if names & _LOCAL or ("tcp" in names and not names & _NOT_PLAIN_TCP):
        return _Kind.TCP
    return _Kind.OTHER


def _is_local(address: Multiaddr) -> bool:
    return is_private(address) or any(component.name in _LOCAL for component in components(address))


def _is_ip6(address: Multiaddr) -> bool:
    return any(component.name in ("ip6", "dns6") for component in components(address)[:2])
