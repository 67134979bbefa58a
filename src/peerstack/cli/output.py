"""All output: lines of JSON, or text that rich draws if stdout is a terminal."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import trio

from .events import Failed, OutputEvent, Progress
from .failure import Failure
from .render import describe
from .shapes import Shape, Span, Style, plain_lines, printable
from .units import mib_s

if TYPE_CHECKING:
    from .terminal import Terminal

PROGRESS_INTERVAL = 1.0  # seconds between two lines of progress
PIECE = 1024  # characters; a pipe that is ready takes the 4096 bytes that they can have
REFRESH_INTERVAL = 0.1  # seconds between two drawings of a progress bar


class OutputClosed(Exception):
    """The reader of our output has gone, so the command ends."""


class Output:
    """Prints the events of commands in the form that was asked for."""

    def __init__(
        self, *, json: bool, logs: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self._json = json
        # None where the program was started with a standard stream closed; print then prints nothing.
        self._stdout: TextIO | None = stdout or sys.stdout
        self._stderr: TextIO | None = stderr or sys.stderr
        self._terminal = not json and _is_terminal(self._stdout)
        # Lines of a log and something that is drawn again and again cannot share a terminal.
        self._live = not json and not logs and _is_terminal(self._stderr)
        self._in_pieces = trio.Lock()
        self._behind: deque[OutputEvent] = deque()
        """Events that came while a task was in the middle of a line."""

    # ---- what commands use

    @property
    def live(self) -> bool:
        """Whether spinners and progress bars are shown."""
        return self._live

    @property
    def json(self) -> bool:
        """Whether the output is JSON."""
        return self._json

    def emit(self, event: OutputEvent) -> None:
        """Print something that happened, behind the line that another task is printing. Raises OutputClosed."""
        if self._in_pieces.locked():
            self._behind.append(event)
        else:
            self._emit(event)

    def _emit(self, event: OutputEvent) -> None:
        if self._json:
            self._print(to_line(event))
            return
        for shape in describe(event):
            self._show(shape)

    async def emit_when_ready(self, event: OutputEvent) -> None:
        """Print something once the output accepts it, while other tasks run. Raises OutputClosed."""
        async with self._in_pieces:
            await self._emit_in_pieces(event)
            while self._behind:
                self._emit(self._behind.popleft())

    async def _emit_in_pieces(self, event: OutputEvent) -> None:
        if self._terminal:
            await self._wait_ready()
            self._emit(event)
            return
        lines = [to_line(event)] if self._json else [text for s in describe(event) for text in plain_lines(s)]
        for text in lines:
            for start in range(0, len(text) + 1, PIECE):
                await self._wait_ready()
                self._print(text[start : start + PIECE], end="\n" if start + PIECE > len(text) else "")

    def hint(self, text: str) -> None:
        """Print advice that only a person at a terminal needs."""
        if self._terminal:
            self._show((Span(text, Style.DIM),))

    def fail(self, failure: Failure) -> None:
        """Print why the command ends: one line for people on stderr, and in JSON mode an object on stdout too."""
        # The output may be closed; the exit code remains.
        with contextlib.suppress(OutputClosed):
            if self._json:
                self._print(to_line(Failed(failure.message, failure.report)))
        with contextlib.suppress(OSError):
            print(f"peerstack: {printable(failure.message)}", file=self._stderr, flush=True)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show on a terminal, during the block, what is being waited for."""
        if not self._live:
            yield
            return
        with self._stderr_terminal.spinner(what):
            yield

    @contextmanager
    def progress(self, totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
        """Show the progress of transfers with these names and total bytes.

        Call what is yielded, as often as you like, with a name and the bytes done so far.
        """
        with contextlib.ExitStack() as stack:
            if self._live:
                interval, show = REFRESH_INTERVAL, stack.enter_context(self._stderr_terminal.bars())
            else:
                interval, show = PROGRESS_INTERVAL, self.emit
            yield _Meters(totals, interval, show).update

    # ---- how it is done

    @cached_property
    def _stdout_terminal(self) -> Terminal:
        from .terminal import Terminal

        return Terminal(self._stdout)

    @cached_property
    def _stderr_terminal(self) -> Terminal:
        from .terminal import Terminal

        return Terminal(self._stderr)

    def _show(self, shape: Shape) -> None:
        if self._terminal:
            self._stdout_terminal.draw(shape)
        else:
            for text in plain_lines(shape):
                self._print(text)

    async def _wait_ready(self) -> None:
        """Wait until a piece can be written without waiting, where the system knows."""
        await trio.lowlevel.checkpoint()
        # Files on disks are always ready, what is in the memory has no number, and Windows can watch sockets only.
        with contextlib.suppress(OSError):
            if self._stdout is not None and sys.platform != "win32":
                await trio.lowlevel.wait_writable(self._stdout.fileno())

    def _print(self, text: str, end: str = "\n") -> None:
        try:
            print(text, end=end, file=self._stdout, flush=True)
        except OSError as error:
            # Windows says "invalid argument" for a pipe without a reader.
            if not isinstance(error, BrokenPipeError) and (sys.platform, error.errno) != ("win32", errno.EINVAL):
                raise
            raise OutputClosed from None


def to_line(event: OutputEvent) -> str:
    """Return the line of the JSON form: ASCII without control characters, whatever other peers sent."""
    return json.dumps(event.to_json(), ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")


def _is_terminal(file: TextIO | None) -> bool:
    return file is not None and file.isatty() and os.environ.get("TERM") != "dumb"


class _Meters:
    """Shows the progress of transfers, one after the other, now and then and at the end of each."""

    def __init__(self, totals: Mapping[str, int], interval: float, show: Callable[[Progress], None]) -> None:
        self._totals = totals
        self._interval = interval
        self._show = show
        self._started: dict[str, float] = {}
        self._shown = self._latest = time.monotonic()

    def update(self, name: str, done: int) -> None:
        now = time.monotonic()
        # A transfer begins when the one before it has ended.
        started = self._started.setdefault(name, self._latest)
        self._latest = now
        if done == self._totals[name] or now - self._shown >= self._interval:
            self._shown = now
            self._show(Progress(name, done, self._totals[name], mib_s(done, now - started)))
