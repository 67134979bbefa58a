"""The staggered race of addresses: exact delays, failures that start the next, losers, late winners, eight at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError, StackError
from peerstack.stack.swarm.dial.dialer import Race
from peerstack.stack.testing import seed_scheduler

from .parts import tcp

Clock = trio.testing.MockClock
Dial = Callable[[], Awaitable[str]]


class Course:
    """Addresses with what happens at each, and a record of what did."""

    def __init__(self, *runners: tuple[float, Dial], concurrency: int = 8) -> None:
        self.ranked = [(delay, tcp(number)) for number, (delay, _) in enumerate(runners)]
        self.started: list[tuple[float, int]] = []
        self.cancelled: list[int] = []
        self.discarded: list[str] = []
        self.running = self.most_at_once = 0
        self._dials = {tcp(number): (number, dial) for number, (_, dial) in enumerate(runners)}
        self._concurrency = concurrency

    async def run(self) -> str | None:
        race = Race(self._dial, self._discard, concurrency=self._concurrency)
        return await race.run(self.ranked)

    async def _dial(self, address: Multiaddr) -> str | None:
        number, dial = self._dials[address]
        self.started.append((trio.current_time(), number))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await dial()
        except (StackError, OSError, trio.TooSlowError):
            return None
        except trio.Cancelled:
            self.cancelled.append(number)
            raise
        finally:
            self.running -= 1

    async def _discard(self, result: str, first: str) -> None:
        assert first != result
        await trio.lowlevel.checkpoint()
        self.discarded.append(result)


def wins(after: float, name: str = "won") -> Dial:
    async def dial() -> str:
        await trio.sleep(after)
        return name

    return dial


def loses(after: float, error: Exception | None = None) -> Dial:
    async def dial() -> str:
        await trio.sleep(after)
        raise error or ConnectionRefusedError

    return dial


def stubborn(name: str, after: float = 1) -> Dial:
    """Win even though the race is over: the answer was there already."""

    async def dial() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(after)
        return name

    return dial


def never() -> Dial:
    return wins(1e9)


async def test_each_address_starts_at_its_time(autojump_clock: Clock) -> None:
    course = Course((0, never()), (0.25, never()), (0.5, never()), (0.5, never()), (2.0, wins(3, "the last")))
    assert await course.run() == "the last"
    assert course.started == [(0, 0), (0.25, 1), (0.5, 2), (0.5, 3), (2.0, 4)]
    assert trio.current_time() == 5


async def test_a_failure_of_all_before_it_starts_the_next_at_once(autojump_clock: Clock) -> None:
    course = Course((0, loses(0.125)), (0.25, loses(0.125)), (5.0, wins(0)))
    assert await course.run() == "won"
    assert course.started == [(0, 0), (0.125, 1), (0.25, 2)]


async def test_a_failure_beside_one_under_way_changes_nothing(autojump_clock: Clock) -> None:
    course = Course((0, never()), (0.25, loses(0.1)), (1.0, wins(0)))
    assert await course.run() == "won"
    assert course.started == [(0, 0), (0.25, 1), (1.0, 2)]


async def test_times_count_from_the_beginning_of_the_race(autojump_clock: Clock) -> None:
    await trio.sleep(100)
    course = Course((0, never()), (0.25, wins(0)))
    await course.run()
    assert course.started == [(100, 0), (100.25, 1)]


async def test_who_should_have_started_already_starts_at_once_and_not_later(autojump_clock: Clock) -> None:
    # All before it failed after its time had come.
    course = Course((0, loses(1)), (0.25, loses(2)), (0.5, wins(1)))
    assert await course.run() == "won"
    assert course.started == [(0, 0), (0.25, 1), (0.5, 2)]


async def test_the_first_success_cancels_the_others(autojump_clock: Clock) -> None:
    course = Course((0, never()), (0.25, never()), (0.5, wins(0.25)), (1.0, wins(0)))
    assert await course.run() == "won"
    assert sorted(course.cancelled) == [0, 1]
    assert [number for _, number in course.started] == [0, 1, 2]
    assert trio.current_time() == 0.75


@pytest.mark.parametrize("seed", range(10))
async def test_of_two_successes_in_one_moment_one_is_discarded(seed: int, autojump_clock: Clock) -> None:
    with seed_scheduler(seed):
        course = Course((0, stubborn("one")), (0, stubborn("other")))
        winner = await course.run()
    assert {winner, *course.discarded} == {"one", "other"}
    assert len(course.discarded) == 1


async def test_a_late_winner_is_discarded_even_while_the_race_is_cancelled(autojump_clock: Clock) -> None:
    course = Course((0, stubborn("late", 3)), (0.25, wins(1)))
    assert await course.run() == "won"
    assert course.discarded == ["late"]


async def test_eight_at_once(autojump_clock: Clock) -> None:
    course = Course(*[(0, loses(1)) for _ in range(20)], (0, wins(1)), concurrency=8)
    assert await course.run() == "won"
    assert course.most_at_once == 8
    assert trio.current_time() == 3


async def test_none_when_all_fail(autojump_clock: Clock) -> None:
    errors = [ConnectionLost("gone"), RemoteProtocolError("nonsense"), OSError(113, "no route"), trio.TooSlowError()]
    course = Course(*[(0, loses(1, error)) for error in errors])
    assert await course.run() is None


async def test_none_without_candidates(autojump_clock: Clock) -> None:
    assert await Course().run() is None


async def test_a_bug_is_not_taken_for_a_failed_dial(autojump_clock: Clock) -> None:
    course = Course((0, loses(1, TypeError("a bug"))), (0.25, wins(9)))
    with pytest.raises(ExceptionGroup) as caught:
        await course.run()
    assert caught.group_contains(TypeError, match="a bug")


async def test_who_cancels_the_race_cancels_all(autojump_clock: Clock) -> None:
    course = Course((0, never()), (0.25, never()))
    with trio.move_on_after(1) as scope:
        await course.run()
    assert scope.cancelled_caught
    assert sorted(course.cancelled) == [0, 1]
    assert course.running == 0
