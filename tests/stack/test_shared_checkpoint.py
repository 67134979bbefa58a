"""How often a loop yields to other tasks."""

from __future__ import annotations

import pytest
import trio

from peerstack.stack.background import WORK_PER_CHECKPOINT, WORK_PER_ITEM, SharedCheckpoint


class Steps(trio.abc.Instrument):
    """Counts how often the task that made it is gone on with."""

    def __init__(self) -> None:
        self.count = 0
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self._task


@pytest.mark.parametrize(
    ("size", "items", "pauses"),
    [
        (0, WORK_PER_CHECKPOINT // WORK_PER_ITEM - 1, 0),
        (0, WORK_PER_CHECKPOINT // WORK_PER_ITEM, 1),
        (0, 4 * WORK_PER_CHECKPOINT // WORK_PER_ITEM, 4),
        (WORK_PER_ITEM, WORK_PER_CHECKPOINT // WORK_PER_ITEM, 2),
        (WORK_PER_CHECKPOINT, 1, 1),
        (100 * WORK_PER_CHECKPOINT, 3, 3),
    ],
)
async def test_work_is_counted_in_items_and_bytes(size: int, items: int, pauses: int) -> None:
    checkpoint, steps = SharedCheckpoint(), Steps()
    trio.lowlevel.add_instrument(steps)
    for _ in range(items):
        await checkpoint.count(size)
    trio.lowlevel.remove_instrument(steps)
    assert steps.count == pauses


async def test_a_pause_is_no_place_to_be_cancelled() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await SharedCheckpoint().count(WORK_PER_CHECKPOINT)
    assert not scope.cancelled_caught
