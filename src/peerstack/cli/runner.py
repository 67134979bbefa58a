"""Runs a command under trio: signals end it quietly, and failures print one line."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FrameType

import trio

from . import logs
from .entry import CLOSED_PIPE
from .failure import FAILURES, CommandError, Failure, failure_of
from .output import Output, OutputClosed
from .signals import exit_code, handled, leave_at_once

Program = Callable[[Output], Awaitable[int]]
"""What a command does; returns the exit code."""

FAILED = 2


def run(program: Program, *, json: bool, verbose: int = 0) -> int:
    """Run a program to its end and return the exit code; `verbose` is how many `-v` there were."""
    output = Output(json=json, logs=verbose > 0)
    try:
        with logs.shown(verbose, sys.stderr):
            return trio.run(_stoppable, program, output)
    except OutputClosed:
        return CLOSED_PIPE
    except CommandError as error:
        output.fail(Failure(str(error)))
    except FAILURES as error:
        output.fail(failure_of(error))
    return FAILED


async def _stoppable(program: Program, output: Output) -> int:
    """Run the program until it returns, or a signal comes: then its hosts close in good order.

    A second signal ends it at once, also during a computation that lets no other task run.
    """
    caught: list[int] = []
    scope = trio.CancelScope()
    token = trio.lowlevel.current_trio_token()

    def stop(number: int, _frame: FrameType | None) -> None:
        if caught:
            leave_at_once(caught[0])
        caught.append(number)
        token.run_sync_soon(scope.cancel)

    with handled(stop), scope:
        return await program(output)
    return exit_code(caught[0])
