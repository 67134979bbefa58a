"""Which of several connections to one peer is the best."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.abc import ConnectionState, Direction
from peerstack.stack.swarm.preference import Rank, rank

IN, OUT = Direction.INBOUND, Direction.OUTBOUND
ALIVE, SUSPECTED, CLOSING = ConnectionState.ALIVE, ConnectionState.SUSPECTED, ConnectionState.CLOSING


def of(
    state: ConnectionState = ALIVE,
    *,
    relayed: bool = False,
    limited: bool = False,
    direction: Direction = OUT,
    number: int = 0,
    dials_for_both: Direction = OUT,
) -> Rank:
    return rank(
        state=state,
        relayed=relayed,
        limited=limited,
        direction=direction,
        number=number,
        dials_for_both=dials_for_both,
    )


def test_alive_comes_before_suspected_before_closing_whatever_else_holds() -> None:
    worst_alive = of(relayed=True, direction=IN, number=0)
    best_suspected = of(SUSPECTED, number=9)
    assert worst_alive < best_suspected < of(CLOSING, number=10)


def test_direct_comes_before_relayed_by_either_dialer_and_at_any_time() -> None:
    assert of(direction=IN, number=0) < of(relayed=True, number=9)


def test_relayed_without_limits_comes_before_relayed_with_limits() -> None:
    assert of(relayed=True, direction=IN, number=0) < of(relayed=True, limited=True, number=9)


def test_of_two_in_the_same_direction_the_newer_is_better() -> None:
    for direction in (IN, OUT):
        assert of(direction=direction, number=2) < of(direction=direction, number=1)


def test_of_two_in_both_directions_the_one_dialed_by_the_lower_peer_is_better() -> None:
    assert of(direction=OUT, number=0) < of(direction=IN, number=9)
    assert of(direction=IN, number=0, dials_for_both=IN) < of(direction=OUT, number=9, dials_for_both=IN)


@given(st.lists(st.tuples(st.sampled_from(ConnectionState), st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_both_sides_choose_the_same(connections: list[tuple[ConnectionState, bool, bool]]) -> None:
    lower: list[tuple[Rank, int]] = []
    higher: list[tuple[Rank, int]] = []
    for number, (state, relayed, by_lower) in enumerate(connections):
        for side, dials_for_both in ((lower, OUT), (higher, IN)):
            direction = dials_for_both if by_lower else {IN: OUT, OUT: IN}[dials_for_both]
            place = of(state, relayed=relayed, direction=direction, number=number, dials_for_both=dials_for_both)
            side.append((place, number))
    assert min(lower)[1] == min(higher)[1]


def test_no_two_connections_rank_alike() -> None:
    every = [of(direction=direction, number=number) for number, direction in enumerate((IN, OUT, IN, OUT))]
    assert all(one != other for one, other in permutations(every, 2))
