"""Gaps in the numbers of authors."""

from __future__ import annotations

import pytest

from peerstack.protocols.pubsub.sequence import MAX_GAP, Place, SequenceNumbers, SequenceTracker

A, B = b"author a", b"author b"


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ([5, 6, 7], [Place(), Place(), Place()]),
        ([5, 8], [Place(), Place(gap=2)]),
        ([5, 8, 6, 9], [Place(), Place(gap=2), Place(late=True), Place()]),
        ([5, 5], [Place(), Place(late=True)]),
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
