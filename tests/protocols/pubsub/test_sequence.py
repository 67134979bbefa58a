"""Gaps in the numbers of authors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerstack.protocols.pubsub.validation.sequence import (
    CLOSING,
    MAX_GAP,
    REPEATED,
    Place,
    SequenceNumbers,
    SequenceTracker,
)

A, B = b"author a", b"author b"


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ([5, 6, 7], [Place(), Place(), Place()]),
        ([5, 8], [Place(), Place(gap=2)]),
        ([5, 8, 6, 9], [Place(), Place(gap=2), CLOSING, Place()]),
        ([5, 5], [Place(), REPEATED]),
        ([5, 4, 4], [Place(), Place(late=True), REPEATED]),
        ([5, 9, 7, 6, 8, 7], [Place(), Place(gap=3), CLOSING, CLOSING, CLOSING, REPEATED]),
        ([5, 5 + MAX_GAP], [Place(), Place(gap=MAX_GAP - 1)]),
        ([5, 6 + MAX_GAP], [Place(), Place()]),  # the author began anew
    ],
)
def test_a_gap_is_what_was_skipped_since_the_highest(numbers: list[int], places: list[Place]) -> None:
    tracker = SequenceTracker()
    assert [tracker.place(A, number) for number in numbers] == places


def test_authors_have_numbers_of_their_own() -> None:
    tracker = SequenceTracker()
    tracker.place(A, 5)
    assert tracker.place(B, 100) == Place()
    assert tracker.place(A, 7) == Place(gap=1)


def test_no_more_authors_are_remembered_than_allowed_and_the_busy_ones_stay() -> None:
    tracker = SequenceTracker(max_authors=10)
    for number in range(100):
        tracker.place(b"made up %d" % number, 1)
        tracker.place(A, number)
    assert len(tracker) == 10
    assert tracker.place(A, 101) == Place(gap=1)


def test_our_own_numbers_begin_at_the_clock_and_go_up_by_one() -> None:
    numbers = SequenceNumbers(1_700_000_000_000_000_000)
    assert [numbers.take() - 1_700_000_000_000_000_000 for _ in range(3)] == [0, 1, 2]


def test_a_number_taken_for_nothing_is_used_again_unless_a_later_one_was_taken() -> None:
    numbers = SequenceNumbers(100)
    numbers.give_back(numbers.take())
    first, second = numbers.take(), numbers.take()
    numbers.give_back(first)
    assert (first, second, numbers.take()) == (100, 101, 102)


# ---- what came, what is missing


def test_a_burst_that_comes_last_in_first_out_is_missing_nothing_in_the_end() -> None:
    """An old rust-libp2p sends its queue from the end, a batch at a time."""
    tracker = SequenceTracker()
    tracker.place(A, 0)
    gaps = sum(
        tracker.place(A, number).gap for batch in range(0, 1000, 100) for number in range(batch + 100, batch, -1)
    )
    assert gaps == tracker.skipped == tracker.closed == 990
    assert tracker.missing == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_runs_are_what_a_set_of_numbers_says(steps: list[tuple[int, bool]]) -> None:
    tracker, came, lowest = SequenceTracker(), set[int](), 100
    for number, forget in steps:
        if forget and number in came and len(came) > 1 and number != min(came):
            tracker.forget(A, number)
            came.discard(number)
        elif not forget:
            place = tracker.place(A, number)
            assert place.repeated == (number in came)
            assert place.late == (bool(came) and number <= max(came))
            assert place.closes == (bool(came) and min(came) < number < max(came) and number not in came)
            came.add(number)
            lowest = min(came)
        expected = max(came) - lowest + 1 - len(came) if came else 0
        if came and min(came) == lowest:
            # Numbers below the first were never skipped, but those between are: all that are not there.
            assert tracker.missing <= expected
    if came:
        runs = tracker._authors[A]
        assert {n for start, end in zip(runs.starts, runs.ends, strict=True) for n in range(start, end + 1)} == came
        assert all(end + 1 < start for end, start in zip(runs.ends, runs.starts[1:], strict=False))
        assert tracker._all_runs == len(runs.starts)


@given(st.permutations(range(12)))
def test_in_any_order_what_came_in_between_is_missing_no_more(order: list[int]) -> None:
    tracker = SequenceTracker()
    tracker.place(A, -1)
    for number in order:
        tracker.place(A, number)
    assert tracker.missing == 0
    assert tracker._authors[A].starts == [-1]


def test_a_message_that_was_dropped_may_come_again_and_is_missing_until_then() -> None:
    tracker = SequenceTracker()
    for number in (1, 2, 3):
        tracker.place(A, number)
    tracker.forget(A, 2)
    assert tracker.missing == 1
    assert tracker.place(A, 2) == CLOSING
    tracker.place(A, 9)
    tracker.forget(A, 9)
    assert tracker.missing == 0
    assert tracker.place(A, 9) == Place(gap=5)
    tracker.forget(B, 1)
    tracker.place(B, 1)
    tracker.forget(B, 1)
    assert len(tracker) == 1


def test_runs_are_bounded_for_an_author_and_for_all() -> None:
    tracker = SequenceTracker(max_runs=10, max_all_runs=25)
    for number in range(0, 100, 2):
        tracker.place(A, number)
    assert len(tracker._authors[A].starts) == 10
    assert tracker.place(A, 2) == Place(late=True)
    for author in range(10):
        for number in range(0, 20, 2):
            tracker.place(b"%d" % author, number)
        assert tracker._all_runs == sum(len(runs.starts) for runs in tracker._authors.values()) <= 25
