"""Runs what a command does: under trio, with signals that end it quietly, and failures that end in one line."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable

import trio

from peerstack.stack.background import open_background

from .failure import FAILURES, CommandError, Failure, failure_of
from .output import Output, OutputClosed

Program = Callable[[Output], Awaitable[int]]
"""What a command does; returns the exit code."""

FAILED = 2
CLOSED_PIPE = 141
"""Exit code when whoever read our output has gone: 128 + SIGPIPE, as of programs that the signal kills."""
_UNHEARD = logging.NullHandler()
"""What the library logs for operators is told here by events, or in the one line of a failure."""
_STOP = (signal.SIGINT, signal.SIGTERM)


def run(program: Program, *, json: bool) -> int:
    """Run a program to its end and return the exit code."""
    logging.getLogger("peerstack").addHandler(_UNHEARD)
    output = Output(json=json)
    try:
        return trio.run(_stoppable, program, output)
    except OutputClosed:
        return CLOSED_PIPE
    except CommandError as error:
        output.fail(Failure(str(error)))
    except FAILURES as error:
        output.fail(failure_of(error))
    return FAILED


async def _stoppable(program: Program, output: Output) -> int:
    """Run the program until it returns or a signal comes; hosts it has open say goodbye either way."""
    caught: list[int] = []
    with trio.open_signal_receiver(*_STOP) as signals:
        async with open_background() as nursery:
            scope = trio.CancelScope()

            async def watch() -> None:
                async for number in signals:
                    caught.append(number)
                    scope.cancel()

            nursery.start_soon(watch)
            with scope:
                return await program(output)
    return 128 + caught[0]
