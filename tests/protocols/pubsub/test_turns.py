"""How often a loop over messages lets the others run."""

from __future__ import annotations

import pytest
import trio

from peerstack.protocols.pubsub.turns import MESSAGE_WORK, WORK, Turns


class Steps(trio.abc.Instrument):
    """Counts how often the task that made it is gone on with."""

    def __init__(self) -> None:
        self.count = 0
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self._task


@pytest.mark.parametrize(
    ("size", "messages", "pauses"),
    [
        (0, WORK // MESSAGE_WORK - 1, 0),
        (0, WORK // MESSAGE_WORK, 1),
        (0, 4 * WORK // MESSAGE_WORK, 4),
        (MESSAGE_WORK, WORK // MESSAGE_WORK, 2),
        (WORK, 1, 1),
        (100 * WORK, 3, 3),
    ],
)
async def test_work_is_counted_in_messages_and_bytes(size: int, messages: int, pauses: int) -> None:
    turns, steps = Turns(), Steps()
    trio.lowlevel.add_instrument(steps)
    for _ in range(messages):
        await turns.take(size)
    trio.lowlevel.remove_instrument(steps)
    assert steps.count == pauses


async def test_a_pause_is_no_place_to_be_cancelled() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await Turns().take(WORK)
    assert not scope.cancelled_caught
