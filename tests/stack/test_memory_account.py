"""What protocols hold in memory is reserved before, in steps, and nothing stays reserved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.errors import LimitExceeded
from peerstack.stack.identity import PeerId
from peerstack.stack.limits import Limits, MemoryAccount, Resource, Scope, Scopes

PEER = PeerId.from_bytes(b"\x12\x20" + bytes(32))


def test_over_the_share_of_a_peer_is_refused_and_changes_nothing() -> None:
    scopes = Scopes(Limits(memory=100_000, memory_per_peer=50_000))
    account = MemoryAccount(scopes.peer(PEER))
    account.hold(50_000)
    with pytest.raises(LimitExceeded, match="our limit of 50000 bytes of memory in scope 'peer Qm"):
        account.hold(1)
    assert account.held == scopes.system.used(Resource.MEMORY) == 50_000
    account.free(50_000)
    assert scopes.system.statistics() == {}
    assert scopes.statistics()["scopes"] == {"keyed": 1}


def test_over_the_whole_is_refused_for_all_peers_together() -> None:
    scopes = Scopes(Limits(memory=100_000))
    accounts = [MemoryAccount(scopes.peer(PeerId.from_bytes(b"\x12\x20" + bytes([n]) * 32))) for n in range(3)]
    accounts[0].hold(60_000)
    accounts[1].hold(30_000)
    with pytest.raises(LimitExceeded, match="our limit of 100000 bytes of memory in scope 'system'"):
        accounts[2].hold(50_000)
    accounts[0].free(60_000)
    accounts[2].hold(50_000)


def test_two_protocols_share_what_a_peer_may_have() -> None:
    scopes = Scopes(Limits(memory_per_peer=50_000))
    one, other = MemoryAccount(scopes.peer(PEER)), MemoryAccount(scopes.peer(PEER))
    one.hold(30_000)
    with pytest.raises(LimitExceeded):
        other.hold(30_000)


def test_giving_back_what_is_not_held_is_a_bug() -> None:
    account = MemoryAccount(Scope("peer", {}))
    account.hold(5)
    with pytest.raises(ValueError, match="6 bytes given back, but only 5 are held"):
        account.free(6)


@given(st.lists(st.integers(-200_000, 200_000), max_size=50))
def test_what_is_reserved_is_what_is_held_and_a_little_more(steps: list[int]) -> None:
    scope = Scope("peer", {Resource.MEMORY: 500_000})
    account = MemoryAccount(scope)
    for step in steps:
        held = account.held
        try:
            account.hold(step) if step > 0 else account.free(min(-step, held))
        except LimitExceeded:
            assert account.held == held > 500_000 - step
        reserved = scope.used(Resource.MEMORY)
        assert account.held <= reserved < account.held + 5 * 16384
        assert bool(reserved) == bool(account.held)
